"""What every warehouse does, whichever its engine: one body per behaviour, run over all of them."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from platform_assets.errors import DlpError, WarehouseError
from platform_assets.lake.delta import REBUILT, LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.model.star_model import STREAM, columns_of
from platform_assets.model.table import (
    Binary,
    Boolean,
    Column,
    Date,
    Float,
    Integer,
    Table,
    Text,
    Time,
    Timestamp,
)
from platform_assets.model.table import Decimal as DecimalType
from platform_assets.model.totesys import star
from platform_assets.warehouse.interface import BoundSql, Load, Warehouse
from platform_assets.warehouse.loading import Incoming
from platform_assets.warehouse.verify import lost_rows
from platform_assets_tests.fixtures.poison import OwnError, PanicException, poison_call, told
from platform_assets_tests.fixtures.properties import is_thorough
from platform_assets_tests.warehouse.conformance import (
    DAY,
    MODEL,
    SEEN_AT,
    EngineUnderTest,
    StarLake,
    fetch,
    loaded_or_error,
    names_of,
    row_of,
    tuples,
)

pytestmark = pytest.mark.sampled(2)

AWKWARD_TEXTS = (
    *("", " ", "  both sides  ", "'", '"', "''", '""', "`", "it's", 'say "so"'),
    *("\\", "\\\\", "\\n", "\\N", "\\.", "\n", "\r\n", "a\nb", "a\tb", ",", "a,b", ";", "--", "/* */"),
    *("NULL", "null", "None", "NaN", "true", "{}", "[]", '{"a": "b"}', "$1", ":a", "%s", "?"),
    *("0", "007", "08841", "+441134960000", "1e5", "0x1F", "1,5"),
    *("$$", "${HOME}", "&amp;", "%00", "; DROP TABLE star.dim_staff; --", "\x01\x1f\x7f", "\u00a0", "\u200b"),
    *("Zürich", "ß", "Ærø", "東京", "한국어", "עברית", "e\u0301", "\u00e9", "\U0010ffff"),
    *("🧺👜", "👨\u200d👩\u200d👧"),
)

EVERY_TYPE = Table(
    name="fact_every_type",
    description="One row per measurement.",
    columns=(
        Column("every_type_record_id", Integer(64)),
        Column("every_type_id", Integer()),
        Column("small", Integer(), nullable=True),
        Column("large", Integer(64), nullable=True),
        Column("money", DecimalType(10, 2), nullable=True),
        Column("digits", DecimalType(38, 10), nullable=True),
        Column("whole", DecimalType(38, 0), nullable=True),
        Column("ratio", Float(64), nullable=True),
        Column("single", Float(32), nullable=True),
        Column("words", Text(), nullable=True),
        Column("bytes", Binary(), nullable=True),
        Column("yes", Boolean(), nullable=True),
        Column("day", Date(), nullable=True),
        Column("time_of_day", Time(), nullable=True),
        Column("moment", Timestamp(utc=True), nullable=True),
        Column("wall_clock", Timestamp(), nullable=True),
    ),
    primary_key=("every_type_record_id",),
    kind="fact",
    business_key="every_type_id",
)
EXTREMES: tuple[dict[str, Any], ...] = (
    {
        "small": 2**31 - 1,
        "large": 2**63 - 1,
        "money": Decimal("99999999.99"),
        "digits": Decimal("9999999999999999999999999999.9999999999"),
        "whole": Decimal("9" * 38),
        "ratio": 1.7976931348623157e308,
        "single": 3.4028234663852886e38,
        "words": "the greatest",
        "bytes": bytes(range(256)),
        "yes": True,
        "day": dt.date(9999, 12, 31),
        "time_of_day": "23:59:59.999999",
        "moment": dt.datetime(9999, 12, 31, 23, 59, 59, 999999, dt.UTC),
        "wall_clock": dt.datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
    },
    {
        "small": -(2**31),
        "large": -(2**63),
        "money": Decimal("-99999999.99"),
        "digits": Decimal("-9999999999999999999999999999.9999999999"),
        "whole": Decimal("-" + "9" * 38),
        "ratio": 5e-324,
        "single": -1.401298464324817e-45,
        "words": "",
        "bytes": b"",
        "yes": False,
        "day": dt.date(1, 1, 1),
        "time_of_day": "00:00:00.000000",
        "moment": dt.datetime(1, 1, 1, 0, 0, 0, 1, dt.UTC),
        "wall_clock": dt.datetime(1, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001
    },
    {
        "small": 0,
        "large": 2**53 + 1,
        "money": Decimal("0.10"),
        "digits": Decimal("0.0000000001"),
        "whole": Decimal("10000000000000000000"),
        "ratio": 0.1,
        "single": 0.5,
        "words": "007",
        "bytes": b"\\x00'\n",
        "yes": True,
        "day": dt.date(2024, 2, 29),
        "time_of_day": "12:00:00.000001",
        "moment": dt.datetime(2023, 3, 26, 1, 30, 0, 123457, dt.UTC),
        "wall_clock": dt.datetime(2023, 3, 26, 1, 30, 0, 123457),  # noqa: DTZ001
    },
    {},
)


_, DESIGN, SALES, PAYMENT = MODEL
LOCATION = next(one for one in star.TABLES if one.name == "dim_location")


@pytest.fixture
def lake(tmp_path: Path) -> StarLake:
    """A lake with a row or two in every table of the model, of batch 1."""
    return StarLake.with_rows(tmp_path / "lake", MODEL)


@pytest.fixture
def whole_lake(tmp_path: Path) -> StarLake:
    """A lake with a row or two in every star table, of batch 1."""
    return StarLake.with_rows(tmp_path / "lake")


def make(engine: EngineUnderTest, tables: Sequence[Table] = MODEL) -> Warehouse:
    """A warehouse of a model that nothing was ever loaded into."""
    return replace(engine.make(), tables=tuple(tables))  # type: ignore[type-var]


@pytest.fixture
def warehouse(engine: EngineUnderTest) -> Warehouse:
    return make(engine)


def load(warehouse: Warehouse, lake: StarLake, *tables: str) -> dict[str, Load]:
    return warehouse.load(lake.lake, [lake.table(name) for name in tables] if tables else lake.tables)


def second_batch(lake: StarLake) -> None:
    """A version of a sale and of its designs, and a deleted payment."""
    lake.put(
        "dim_design",
        2,
        row_of(DESIGN, 1, 2, "update", design_name="Æther"),
        row_of(DESIGN, 2, 2),
    )
    sale = row_of(SALES, 3, 2, "update", sales_order_id=1, design_id=2, units_sold=77)
    lake.put("fact_sales_order", 2, sale)
    lake.put("fact_payment", 2, row_of(PAYMENT, 3, 2, "delete", payment_id=1))


def test_the_tables_have_the_declared_columns_types_and_nulls(
    engine: EngineUnderTest, whole_lake: StarLake
) -> None:
    warehouse = engine.make()
    load(warehouse, whole_lake)
    for table in star.TABLES:
        assert fetch(warehouse, engine.declared(table.name)) == [
            (column.name, engine.types(column.type), "YES" if column.nullable else "NO")
            for column in columns_of(table)
        ], table.name


def test_a_first_load_holds_what_the_lake_holds_and_says_so(
    engine: EngineUnderTest, whole_lake: StarLake
) -> None:
    warehouse = engine.make()
    assert warehouse.status() == []
    assert warehouse.sample(star.TABLES, 3) == {table.name: [] for table in star.TABLES}
    begun = dt.datetime.now(dt.UTC)
    loads = load(warehouse, whole_lake)
    ended = dt.datetime.now(dt.UTC)
    counts = {table.name: 2 if table.kind == "fact" else 1 for table in star.TABLES}
    assert loads == {name: Load(0, 1, count, count) for name, count in counts.items()}
    assert engine.star(warehouse, star.TABLES) == whole_lake.star()
    statuses = warehouse.status()
    assert {status.table: (status.row_count, status.last_batch) for status in statuses} == {
        name: (count, 1) for name, count in counts.items()
    }
    for status in statuses:
        assert status.seen_at == SEEN_AT + dt.timedelta(minutes=1)
        assert status.loaded_at is not None
        # An account elsewhere has a clock of its own.
        assert begun - dt.timedelta(minutes=2) < status.loaded_at < ended + dt.timedelta(minutes=2)


def test_a_lake_without_star_tables_loads_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    lake = StarLake.create(tmp_path / "empty").of(MODEL)
    assert load(warehouse, lake) == {table.name: Load(0, 0, 0, 0) for table in MODEL}
    assert warehouse.status() == []


@pytest.mark.needs("tables")
def test_values_come_back_to_the_last_digit_and_microsecond(
    engine: EngineUnderTest, warehouse: Warehouse, tmp_path: Path
) -> None:
    lake = StarLake.create(tmp_path / "lake").of([EVERY_TYPE])
    nothing = {column.name: None for column in EVERY_TYPE.columns[2:]}
    rows = [row_of(EVERY_TYPE, key, 1, **(nothing | values)) for key, values in enumerate(EXTREMES, 1)]
    lake.put("fact_every_type", 1, *rows)
    warehouse = replace(warehouse, tables=(EVERY_TYPE,))  # type: ignore[type-var]
    assert load(warehouse, lake)["fact_every_type"] == Load(0, 1, len(rows), len(rows))
    assert engine.star(warehouse, [EVERY_TYPE]) == lake.star()


@pytest.mark.needs("tables", "arrow_types")
def test_values_come_back_in_their_arrow_types(
    engine: EngineUnderTest, warehouse: Warehouse, tmp_path: Path
) -> None:
    lake = StarLake.create(tmp_path / "lake").of([EVERY_TYPE])
    lake.put("fact_every_type", 1, row_of(EVERY_TYPE, 1, 1))
    warehouse = replace(warehouse, tables=(EVERY_TYPE,))  # type: ignore[type-var]
    load(warehouse, lake)
    with warehouse.query(f"SELECT * FROM {engine.quote(engine.star_schema, 'fact_every_type')}") as rows:
        found = [(field.name, field.type) for field in rows.schema]
    assert found == [(column.name, engine.arrow_type(column.type)) for column in columns_of(EVERY_TYPE)]


def test_texts_come_back_as_they_are(engine: EngineUnderTest, tmp_path: Path) -> None:
    warehouse, lake = make(engine, [LOCATION]), StarLake.with_rows(tmp_path / "lake", [LOCATION])
    rows = [
        row_of(LOCATION, key, 2, address_line_1=text, address_line_2=text, district=None, city=text)
        for key, text in enumerate(AWKWARD_TEXTS, 2)
    ]
    lake.put("dim_location", 2, *rows)
    load(warehouse, lake)
    columns = ["location_id", "address_line_1", "address_line_2", "district", "city"]
    assert engine.rows(warehouse, "dim_location", columns)[1:] == [
        (key, text, text, None, text) for key, text in enumerate(AWKWARD_TEXTS, 2)
    ]
    # Once more, by the way of rows that are merged.
    lake.put("dim_location", 3, *(row | {"_batch": 3, "_change": "update"} for row in rows))
    load(warehouse, lake)
    assert engine.rows(warehouse, "dim_location", columns)[1:] == [
        (key, text, text, None, text) for key, text in enumerate(AWKWARD_TEXTS, 2)
    ]


@pytest.mark.needs("large_text")
def test_a_text_of_16_megabytes_comes_back(engine: EngineUnderTest, tmp_path: Path) -> None:
    warehouse, lake = make(engine, [LOCATION]), StarLake.with_rows(tmp_path / "lake", [LOCATION])
    text = "tote ä bag\n" * (16_000_000 // 12)
    lake.put("dim_location", 2, row_of(LOCATION, 2, 2, address_line_2=text))
    load(warehouse, lake)
    [_, (_, found)] = engine.rows(warehouse, "dim_location", ["location_id", "address_line_2"])
    assert len(found) == len(text)
    assert found == text


def test_a_repeated_batch_does_nothing(engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake) -> None:
    load(warehouse, lake)
    before = (warehouse.status(), engine.star(warehouse, MODEL))
    counts = {table.name: 2 if table.kind == "fact" else 1 for table in MODEL}
    assert load(warehouse, lake) == {name: Load(1, 1, 0, count) for name, count in counts.items()}
    assert load(warehouse, lake, "fact_payment") == {"fact_payment": Load(1, 1, 0, 2)}
    assert (warehouse.status(), engine.star(warehouse, MODEL)) == before


def test_an_empty_batch_is_taken_in_once(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    load(warehouse, lake)
    for name in ("fact_payment", "dim_design"):
        lake.put(name, 2)
    # A dimension that nothing happened to stays at its version in the lake.
    assert load(warehouse, lake, "fact_payment", "dim_design") == {
        "fact_payment": Load(1, 2, 0, 2),
        "dim_design": Load(1, 1, 0, 1),
    }
    assert load(warehouse, lake, "fact_payment") == {"fact_payment": Load(2, 2, 0, 2)}
    assert engine.star(warehouse, MODEL) == lake.star()


def test_a_later_batch_appends_facts_and_merges_dimensions(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    load(warehouse, lake)
    second_batch(lake)
    loads = load(warehouse, lake)
    assert {name: done for name, done in loads.items() if done.rows_written} == {
        "dim_design": Load(1, 2, 2, 2),
        "fact_sales_order": Load(1, 2, 1, 3),
        "fact_payment": Load(1, 2, 1, 3),
    }
    assert engine.star(warehouse, MODEL) == lake.star()
    assert engine.rows(warehouse, "dim_design", ["design_id", "design_name", "_change"]) == [
        (1, "Æther", "update"),
        (2, "design_name 2", "insert"),
    ]


def test_a_dimension_that_was_updated_twice_has_its_latest_values_once(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    load(warehouse, lake)
    for batch, name in ((2, "first"), (3, "second")):
        lake.put("dim_design", batch, row_of(DESIGN, 1, batch, "update", design_name=name))
    assert load(warehouse, lake, "dim_design") == {"dim_design": Load(1, 3, 1, 1)}
    assert engine.rows(warehouse, "dim_design", ["design_id", "design_name", "_batch"]) == [(1, "second", 3)]


def test_batches_that_come_late_are_caught_up_with(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    load(warehouse, lake)
    second_batch(lake)
    # Batches have gaps, a row may be of a day long past, and the calendar grows by days of batches before.
    past = DAY - dt.timedelta(days=800)
    for batch in (5, 9):
        sale = row_of(SALES, batch, batch, "update", sales_order_id=2, created_date=past)
        lake.put("fact_sales_order", batch, sale)
    lake.put("dim_date", 9, row_of(star.DIM_DATE, 1, 1, date_id=past, year=2020))
    loads = load(warehouse, lake)
    assert loads["fact_sales_order"] == Load(1, 9, 3, 5)
    assert (loads["dim_date"].batch, loads["dim_date"].row_count) == (9, 2)
    assert engine.star(warehouse, MODEL) == lake.star()


def test_loading_a_single_fact_brings_its_dimensions_along(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    assert load(warehouse, lake, "fact_payment") == {"fact_payment": Load(0, 1, 2, 2)}
    found = {one.table for one in warehouse.status() if one.row_count}
    assert found == {"fact_payment", *(parent for _, parent in PAYMENT.foreign_keys)}
    load(warehouse, lake)
    assert engine.star(warehouse, MODEL) == lake.star()


def test_the_views_show_the_latest_versions_and_all_of_them_in_time(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    load(warehouse, lake)
    second_batch(lake)
    load(warehouse, lake)
    columns = ["sales_order_id", "sales_record_id", "units_sold"]
    assert engine.rows(warehouse, "fact_sales_order_current", columns) == [(1, 3, 77), (2, 2, 2)]
    assert engine.rows(warehouse, "fact_payment_current", ["payment_id"]) == [(2,)]
    columns = ["payment_record_id", "payment_id", "valid_from", "valid_to", "change"]
    first, second = SEEN_AT + dt.timedelta(minutes=1), SEEN_AT + dt.timedelta(minutes=2)
    assert engine.rows(warehouse, "fact_payment_history", columns) == [
        (1, 1, first, second, "insert"),
        (2, 2, first, None, "insert"),
        (3, 1, second, None, "delete"),
    ]


def with_column(table: Table, *added: Column) -> Table:
    return replace(table, columns=(*table.columns, *added))


@pytest.mark.needs("tables", "evolving")
def test_a_column_that_the_model_gained_is_added(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    load(warehouse, lake)
    design = with_column(DESIGN, Column("weight", DecimalType(6, 3), "Kilograms"))
    payment = with_column(
        PAYMENT,
        Column("note", Text(), "What the payer wrote"),
        Column("design_id", Integer(), "Design that is paid", nullable=True, references="dim_design"),
    )
    changed = {"dim_design": design, "fact_payment": payment}
    model = tuple(changed.get(table.name, table) for table in MODEL)
    lake = lake.of(model)
    lake.put("dim_design", 2, row_of(design, 2, 2, weight=Decimal("0.125")))
    lake.put("fact_payment", 2, row_of(payment, 3, 2, "update", payment_id=1, note="thanks", design_id=2))
    newer = replace(warehouse, tables=model)  # type: ignore[type-var]
    assert load(newer, lake)["fact_payment"] == Load(1, 2, 1, 3)
    assert engine.star(newer, model) == lake.star()
    assert engine.rows(newer, "dim_design", ["design_id", "weight"]) == [(1, None), (2, Decimal("0.125"))]
    columns = ["payment_id", "note", "design_id"]
    assert engine.rows(newer, "fact_payment_current", columns) == [(1, "thanks", 2), (2, None, None)]
    columns = ["payment_record_id", "note", "valid_to"]
    assert [row[1] for row in engine.rows(newer, "fact_payment_history", columns)] == [None, None, "thanks"]
    # A platform that was not updated yet goes on: what it does not know has no value.
    lake.put("fact_payment", 3, row_of(payment, 4, 3, note="unseen", design_id=None))
    assert load(warehouse, lake.of(MODEL), "fact_payment")["fact_payment"] == Load(2, 3, 1, 4)
    assert [row[1] for row in engine.rows(newer, "fact_payment", ["payment_record_id", "note"])] == [
        None,
        None,
        "thanks",
        None,
    ]


FIRST_OR_LATER = pytest.mark.parametrize(
    "first",
    [
        pytest.param(True, id="the first load", marks=pytest.mark.soak),
        pytest.param(False, id="a later load"),
    ],
)
LOST = {
    "a fact": ("DROP TABLE star.fact_sales_order CASCADE",),
    "a dimension": ("DROP TABLE star.dim_design CASCADE",),
    "all": ("DROP SCHEMA star CASCADE",),
    "a fact's column": ("ALTER TABLE star.fact_sales_order DROP COLUMN units_sold CASCADE",),
    "a dimension's column": ("ALTER TABLE star.dim_design DROP COLUMN design_name CASCADE",),
    "both views": ("DROP VIEW star.fact_sales_order_current", "DROP VIEW star.fact_sales_order_history"),
}


@pytest.mark.needs("dropping")
@pytest.mark.parametrize(
    "news",
    [pytest.param(False, id="nothing new", marks=pytest.mark.soak), pytest.param(True, id="something new")],
)
@pytest.mark.parametrize("lost", LOST)
def test_what_somebody_dropped_from_the_warehouse_is_loaded_again(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake, lost: str, news: bool
) -> None:
    load(warehouse, lake)
    engine.execute(warehouse, LOST[lost])
    if news:
        lake.put("fact_sales_order", 2, row_of(SALES, 3, 2))
        lake.put("dim_design", 2, row_of(DESIGN, 2, 2))
    for _ in range(2):
        loads = load(warehouse, lake)
        assert [load_.stopped for load_ in loads.values() if load_.stopped] == []
        assert engine.star(warehouse, MODEL) == lake.star()
    # Views alone come back with the next rows.
    if news or lost != "both views":
        columns = ["sales_order_id", "units_sold"]
        held = engine.rows(warehouse, "fact_sales_order_current", columns)
        assert held == engine.rows(warehouse, "fact_sales_order", columns)
    lake.put("fact_sales_order", 3, row_of(SALES, 4, 3))
    assert load(warehouse, lake)["fact_sales_order"].rows_written == 1
    assert engine.star(warehouse, MODEL) == lake.star()


@pytest.mark.needs("dropping")
def test_a_dropped_table_is_not_forgotten_when_another_one_is_loaded_first(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    load(warehouse, lake)
    engine.execute(warehouse, LOST["a fact"])
    lake.put("fact_payment", 2, row_of(PAYMENT, 3, 2))
    load(warehouse, lake, "fact_payment")
    load(warehouse, lake)
    assert engine.star(warehouse, MODEL) == lake.star()


@pytest.mark.soak
@pytest.mark.needs("many_rows")
def test_200_000_rows_are_loaded_and_streamed(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    count = 200_000
    target = lake.lake.star(SALES)
    [row] = pa.Table.from_pylist([row_of(SALES, 1, 2)], schema=target.arrow_schema).to_batches()
    columns = {name: pa.repeat(row[name][0], count) for name in row.schema.names}
    columns["sales_record_id"] = pa.array(range(3, count + 3), pa.int32())
    columns["units_sold"] = pa.array(((key * 7919) % 1_000_003 for key in range(count)), pa.int32())
    load(warehouse, lake)
    lake.put_arrow("fact_sales_order", 2, pa.table(columns, schema=target.arrow_schema))
    assert load(warehouse, lake, "fact_sales_order")["fact_sales_order"] == Load(1, 2, count, count + 2)
    named = ", ".join(engine.quote(name) for name in ("sales_record_id", "units_sold"))
    relation = engine.quote(engine.star_schema, "fact_sales_order")
    with warehouse.query(f"SELECT {named} FROM {relation} WHERE {engine.quote('_batch')} = 2") as rows:
        batches = list(rows)
    assert len(batches) > 1
    found = pa.Table.from_batches(batches).sort_by(named.partition(",")[0].strip('"`'))
    assert found["units_sold"].to_pylist() == columns["units_sold"].to_pylist()


@pytest.mark.needs("concurrency")
def test_two_loaders_at_once_load_everything_once(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    for batch in (1, 2):
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda _: load(warehouse, lake), range(3)))
        assert engine.star(warehouse, MODEL) == lake.star()
        assert sum(loads["fact_sales_order"].rows_written for loads in found) == (2 if batch == 1 else 1)
        second_batch(lake) if batch == 1 else None


def test_rows_and_tables_that_somebody_removed_are_noticed_and_loaded_again(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake, tmp_path: Path
) -> None:
    second_batch(lake)
    load(warehouse, lake)

    def lost() -> dict[str, tuple[int, list[int]]]:
        loaded = {status.table: status for status in warehouse.status()}
        counting = SqlEngine(128, 1, tmp_path / "counting")
        found = {
            one.name: lost_rows(lake.lake, warehouse, counting, one, loaded.get(one.name)) for one in MODEL
        }
        return {name: (one.rows, list(one.batches)) for name, one in found.items() if one is not None}

    def again(*names: str) -> dict[str, Load]:
        loads = warehouse.load(lake.lake, lake.tables, again=names)
        assert [load_.stopped for load_ in loads.values() if load_.stopped] == []
        return loads

    assert lost() == {}
    sales, payments = (engine.quote("star", name) for name in ("fact_sales_order", "fact_payment"))
    engine.execute(warehouse, [f"DELETE FROM {sales} WHERE {engine.quote('sales_record_id')} IN (1, 3)"])
    assert lost() == {"fact_sales_order": (2, [1, 2])}
    lake.put("fact_sales_order", 3, row_of(SALES, 4, 3))
    assert load(warehouse, lake)["fact_sales_order"].rows_written == 1
    assert lost() == {"fact_sales_order": (2, [1, 2])}
    loads = again("fact_sales_order")
    assert (loads["fact_sales_order"].rows_written, loads["fact_payment"].rows_written) == (4, 0)
    assert lost() == {}
    assert engine.star(warehouse, MODEL) == lake.star()
    engine.execute(warehouse, [f"DROP TABLE {payments}{' CASCADE' if engine.name == 'PostgreSQL' else ''}"])
    assert lost() == {"fact_payment": (3, [])}
    again("fact_payment")
    assert lost() == {}
    assert engine.star(warehouse, MODEL) == lake.star()
    lake.put("fact_payment", 4, row_of(PAYMENT, 4, 4))
    assert load(warehouse, lake)["fact_payment"].rows_written == 1
    assert engine.star(warehouse, MODEL) == lake.star()


def test_rebuilt_rows_of_a_star_table_replace_what_was_loaded(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    load(warehouse, lake)
    target = lake.lake.star(SALES)
    handle = target.open()
    assert handle is not None
    rows = [{**row, "units_sold": 70} for row in target.scan(handle).read_all().to_pylist()]
    changed = pa.Table.from_pylist(rows, target.arrow_schema)
    target.overwrite(handle, changed, stream=STREAM, version=1, also={REBUILT: 1})
    loads = load(warehouse, lake)
    assert (loads["fact_sales_order"].rows_written, loads["fact_payment"].rows_written) == (2, 0)
    assert engine.star(warehouse, MODEL) == lake.star()
    assert load(warehouse, lake)["fact_sales_order"].rows_written == 0
    lake.put("fact_sales_order", 2, row_of(SALES, 3, 2))
    assert load(warehouse, lake)["fact_sales_order"].rows_written == 1
    assert engine.star(warehouse, MODEL) == lake.star()


@pytest.mark.needs("concurrency", "dropping")
@pytest.mark.parametrize("lost", ["a fact", "a fact's column"])
def test_two_loaders_at_once_load_what_somebody_dropped_once(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake, lost: str
) -> None:
    load(warehouse, lake)
    engine.execute(warehouse, LOST[lost])
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: load(warehouse, lake), range(3)))
    assert engine.star(warehouse, MODEL) == lake.star()
    assert sum(loads["fact_sales_order"].rows_written for loads in found) == 2


def test_many_warehouses_are_loaded_from_one_lake_and_one_that_is_added_later_catches_up(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    load(warehouse, lake)
    second_batch(lake)
    another = make(engine)
    assert load(another, lake)["fact_sales_order"] == Load(0, 2, 3, 3)
    assert load(warehouse, lake)["fact_sales_order"] == Load(1, 2, 1, 3)
    assert engine.star(another, MODEL) == engine.star(warehouse, MODEL) == lake.star()


def test_a_warehouse_of_another_lake_is_refused(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake, tmp_path: Path
) -> None:
    load(warehouse, lake)
    other = StarLake.with_rows(tmp_path / "other", MODEL)
    second_batch(other)
    before = (warehouse.status(), engine.star(warehouse, MODEL))
    with pytest.raises(WarehouseError, match="was loaded from another lake") as error:
        load(warehouse, other)
    assert not error.value.retryable
    assert (warehouse.status(), engine.star(warehouse, MODEL)) == before


def test_star_tables_that_were_made_anew_replace_what_was_loaded(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    second_batch(lake)
    load(warehouse, lake)
    shutil.rmtree(lake.lake.processed)
    for table in MODEL:
        values = {"units_sold": 8} if table is SALES else {}
        keys = (1, 2, 5) if table.kind == "fact" else (1,)
        lake.put(table.name, 4, *(row_of(table, key, 4, **values) for key in keys))
    assert load(warehouse, lake)["fact_sales_order"] == Load(0, 4, 3, 3)
    assert engine.star(warehouse, MODEL) == lake.star()
    lake.put("fact_sales_order", 5, row_of(SALES, 6, 5, "update", sales_order_id=1))
    assert load(warehouse, lake)["fact_sales_order"] == Load(4, 5, 1, 4)
    assert engine.star(warehouse, MODEL) == lake.star()


@FIRST_OR_LATER
def test_a_row_whose_dimension_row_is_missing_keeps_its_fact_alone_from_being_loaded(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake, first: bool
) -> None:
    if not first:
        load(warehouse, lake)
    before = engine.star(warehouse, MODEL).get("fact_sales_order", [])
    second_batch(lake)
    rows = [
        row_of(SALES, 10 + key, 3, "update", sales_order_id=1, design_id=90 + key % 4) for key in range(8)
    ]
    lake.put("fact_sales_order", 3, *rows)
    loads = load(warehouse, lake)
    assert {name: done.stopped for name, done in loads.items() if done.stopped} == {
        "fact_sales_order": "New rows of fact_sales_order cannot be loaded: their design_id refers to rows "
        "that dim_design does not have, such as 90, 91, 92. Materialize star/dim_design and the source "
        "tables that it reads, then load again."
    }
    assert loads["fact_payment"].rows_written == (3 if first else 1)
    assert engine.star(warehouse, MODEL) | {"fact_sales_order": before} == lake.star() | {
        "fact_sales_order": before
    }
    assert engine.star(warehouse, MODEL).get("fact_sales_order", []) == before
    lake.put("dim_design", 4, *(row_of(DESIGN, 90 + key, 4) for key in range(4)))
    load(warehouse, lake)
    assert engine.star(warehouse, MODEL) == lake.star()


@FIRST_OR_LATER
@pytest.mark.parametrize(
    ("table", "value"),
    [
        pytest.param("fact_payment", {"paid": None}, id="a null in a fact", marks=pytest.mark.soak),
        pytest.param("fact_payment", {"created_time": "25:00:00"}, id="no time"),
        pytest.param("dim_design", {"file_name": None}, id="a null in a dimension"),
    ],
)
def test_a_value_that_breaks_the_declaration_keeps_its_table_alone_from_being_loaded(
    engine: EngineUnderTest,
    warehouse: Warehouse,
    lake: StarLake,
    first: bool,
    table: str,
    value: dict[str, Any],
) -> None:
    if not first:
        load(warehouse, lake)
    before = engine.star(warehouse, MODEL).get(table, [])
    second_batch(lake)
    lake.put(table, 3, row_of(lake.table(table), 7, 3, **value))
    loads = load(warehouse, lake)
    [[name, broken]] = value.items()
    assert (broken or name) in loads[table].stopped
    found = engine.star(warehouse, MODEL)
    assert found.get(table, []) == before
    stopped = {name for name, done in loads.items() if done.stopped}
    # Where the design with the new key is held back, so is the sale of it.
    assert stopped == {table, "fact_sales_order"} if table == "dim_design" else stopped == {table}
    landed = [name for name in found if name not in stopped]
    assert {name: found[name] for name in landed} == {name: lake.rows(name) for name in landed}
    assert len(landed) == len(MODEL) - len(stopped)


POISON = (
    OverflowError("date value out of range"),
    MemoryError("malloc of size 131072 failed"),
    DlpError("The service refused it."),
    OwnError("what nobody expected"),
    PanicException("called `Option::unwrap()` on a `None` value"),
)


@pytest.mark.thorough
def test_a_poisoned_table_is_stopped_alone_and_catches_up(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned = "fact_payment"
    load(warehouse, lake)
    batch = Incoming.batch.fget  # type: ignore[attr-defined]
    for number, error in enumerate(POISON if is_thorough() else POISON[-2:], 2):
        if number == 2:
            second_batch(lake)
        else:
            lake.put("dim_design", number, row_of(DESIGN, 1, number, "update", design_name=f"{number}"))
            sale = row_of(SALES, number + 1, number, "update", sales_order_id=1, design_id=2)
            lake.put("fact_sales_order", number, sale)
            lake.put("fact_payment", number, row_of(PAYMENT, number + 1, number, "update", payment_id=1))
        with monkeypatch.context() as patch:

            def poisoned_batch(one: Incoming, error: BaseException = error) -> int:
                if one.table.name == poisoned:
                    raise error
                return int(batch(one))

            # Every engine asks for it in the middle of a table's load, to record it.
            patch.setattr(Incoming, "batch", property(poisoned_batch))
            loads = load(warehouse, lake)
        assert {name for name, done in loads.items() if done.stopped} == {poisoned}
        assert told(error) in loads[poisoned].stopped
        found = engine.star(warehouse, MODEL)
        assert found == lake.star() | {poisoned: found[poisoned]}
        assert len(found[poisoned]) == number
        assert load(warehouse, lake)[poisoned] == Load(number - 1, number, 1, number + 1)
        assert engine.star(warehouse, MODEL) == lake.star()


def test_a_star_table_that_cannot_be_opened_is_stopped_alone(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = OwnError("what nobody expected")
    second_batch(lake)
    with monkeypatch.context() as patch:
        poison_call(patch, LakeTable, "open", lambda one: one.uri.endswith("dim_design"), error)
        loads = load(warehouse, lake)
    # No design was ever loaded, so that no sale of one can be either.
    assert {name for name, done in loads.items() if done.stopped} == {"dim_design", "fact_sales_order"}
    assert told(error) in loads["dim_design"].stopped
    assert "rows that dim_design does not have" in loads["fact_sales_order"].stopped
    load(warehouse, lake)
    assert engine.star(warehouse, MODEL) == lake.star()


@pytest.mark.needs("crash")
@FIRST_OR_LATER
def test_a_crash_between_any_two_statements_leaves_nothing_or_all(
    engine: EngineUnderTest, tmp_path: Path, first: bool
) -> None:
    # A fact and a dimension have every kind of statement; more of them would only take longer.
    tables = PAYMENTS

    def make_lake(name: str) -> StarLake:
        made = StarLake.create(tmp_path / name).of(tables)
        for table in tables:
            made.put(table.name, 1, row_of(table, 1, 1))
        return made

    lake, warehouse = make_lake(f"{first}"), make(engine, tables)
    if not first:
        load(warehouse, lake)
        another_batch(lake)
    before, after = engine.star(warehouse, tables), lake.star()
    number, last = 0, False
    while not last:
        number += 1
        with engine.crashing(warehouse, number) as doomed:  # type: ignore[misc]
            last = loaded_or_error(doomed, lake) is None
        found = engine.star(warehouse, tables)
        assert found in (before, after), f"crash before statement {number}"
        if found == after and not last:
            # Committed, but not finished: a retry has nothing to load, and may have to finish.
            assert not any(done.rows_written for done in load(warehouse, lake).values())
            assert engine.star(warehouse, tables) == after
            warehouse = make(engine, tables)
            if not first:
                lake = make_lake(f"{first}-{number}")
                load(warehouse, lake)
                another_batch(lake)
                after = lake.star()
    assert number > 2 * len(tables)
    assert engine.star(warehouse, tables) == after


PAYMENTS = (
    replace(
        star.FACT_PAYMENT,
        columns=tuple(
            column
            for column in star.FACT_PAYMENT.columns
            if column.references in (None, star.DIM_PAYMENT_TYPE.name)
        ),
    ),
    star.DIM_PAYMENT_TYPE,
)
"""A star schema of a fact and a dimension."""


def another_batch(lake: StarLake) -> None:
    """An updated and a new kind of payment, and a payment of the new kind."""
    kind = lake.table(star.DIM_PAYMENT_TYPE.name)
    lake.put(kind.name, 2, *(row_of(kind, key, 2, payment_type_name=f"kind {key}") for key in (1, 2)))
    payment = lake.table(PAYMENT.name)
    lake.put(payment.name, 2, row_of(payment, 3, 2, payment_id=3, payment_type_id=2))


@pytest.fixture
def small_table() -> pa.Table:
    return pa.table({"x": pa.array([1, 2], pa.int32()), "y": ["a", None]})


NAMES = (
    "select",
    "Mixed Case",
    "UPPER",
    "lower",
    'a "quoted" name',
    "ümläut",
    "1st",
    "a.b",
    "semi;colon",
    "per%cent",
)


@pytest.mark.parametrize("name", NAMES)
def test_reserved_and_mixed_case_names_are_kept(
    engine: EngineUnderTest, warehouse: Warehouse, name: str
) -> None:
    rows = pa.table({name: pa.array([1, 2], pa.int64()), f"{name} 2": ["a", None]})
    if any(name in refusal.name or name == refusal.what for refusal in engine.refuses):
        pytest.skip(f"{engine.name} refuses this name, which another test proves")
    assert warehouse.write(["Mine", name], rows.to_reader()) == 2
    columns = f"{engine.quote(name)}, {engine.quote(f'{name} 2')}"
    sql = f"SELECT {columns} FROM {engine.quote('Mine', name)} ORDER BY {engine.quote(name)}"
    assert fetch(warehouse, sql) == [(1, "a"), (2, None)]
    with warehouse.read(["Mine", name], [f"{name} 2", name]) as found:
        assert found.read_all().sort_by(name).to_pydict() == {f"{name} 2": ["a", None], name: [1, 2]}
    with warehouse.read(["Mine", name]) as found:
        assert found.schema.names == rows.schema.names


def test_a_users_table_is_replaced_with_its_types(engine: EngineUnderTest, warehouse: Warehouse) -> None:
    first = pa.table(
        {
            "number": pa.array([1, 2**40, None], pa.int64()),
            "amount": pa.array([Decimal("1.10"), Decimal("-99999999.99"), None], pa.decimal128(10, 2)),
            "ratio": pa.array([0.1, 1e300, None], pa.float64()),
            "flag": pa.array([True, False, None]),
            "text": pa.array(["it's", "", None]),
            "day": pa.array([DAY, dt.date(1, 1, 1), None]),
            "moment": pa.array([SEEN_AT, SEEN_AT, None], pa.timestamp("us", "UTC")),
            "data": pa.array([b"\x00\xff", b"", None], pa.binary()),
        }
    )
    assert warehouse.write(["mine", "report"], first.to_reader()) == 3
    sql = f"SELECT * FROM {engine.quote('mine', 'report')} ORDER BY {engine.quote('number')}"
    assert sorted(fetch(warehouse, sql), key=repr) == sorted(tuples(first), key=repr)
    assert warehouse.write(["mine", "report"], pa.table({"number": [7]}).to_reader()) == 1
    assert fetch(warehouse, sql) == [(7,)]
    none = pa.schema([("number", pa.int64())]).empty_table()
    assert warehouse.write(["mine", "report"], none.to_reader()) == 0
    assert fetch(warehouse, sql) == []


def test_a_users_table_stays_as_it_was_where_the_rows_break_off(
    engine: EngineUnderTest, warehouse: Warehouse, small_table: pa.Table
) -> None:
    def breaking() -> Iterator[pa.RecordBatch]:
        yield from small_table.to_batches()
        raise ValueError("the rows end here")

    warehouse.write(["mine", "report"], small_table.to_reader())
    with pytest.raises(WarehouseError, match="the rows end here"):
        warehouse.write(["mine", "report"], pa.RecordBatchReader.from_batches(small_table.schema, breaking()))
    sql = f"SELECT * FROM {engine.quote('mine', 'report')} ORDER BY {engine.quote('x')}"
    assert fetch(warehouse, sql) == [(1, "a"), (2, None)]


def test_the_platforms_own_schemas_are_not_written_to(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake, small_table: pa.Table
) -> None:
    load(warehouse, lake)
    for schema in ("star", "platform"):
        with pytest.raises(WarehouseError, match="belongs to the platform; write to another "):
            warehouse.write([schema, "dim_staff"], small_table.to_reader())
        assert engine.star(warehouse, MODEL) == lake.star(), schema


def test_what_the_engine_refuses_is_said(engine: EngineUnderTest, warehouse: Warehouse) -> None:
    for refusal in engine.refuses:
        with pytest.raises(WarehouseError) as error:
            warehouse.write(refusal.name, refusal.rows().to_reader())
        assert refusal.says in str(error.value), refusal.what
        assert not error.value.retryable, refusal.what


def test_a_query_that_is_wrong_says_so(engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake) -> None:
    load(warehouse, lake)
    for wrong, sql in {
        "selec": "SELEC 1",
        "no_such_table": f"SELECT * FROM {engine.quote(engine.star_schema, 'no_such_table')}",
        "no_such_column": f"SELECT no_such_column FROM {engine.quote(engine.star_schema, 'dim_date')}",
    }.items():
        with pytest.raises(WarehouseError) as error, warehouse.query(sql) as rows:
            rows.read_all()
        assert wrong in str(error.value).lower()


def test_a_query_that_writes_is_refused(
    engine: EngineUnderTest, warehouse: Warehouse, lake: StarLake
) -> None:
    load(warehouse, lake)
    relation, new = (engine.quote(engine.star_schema, name) for name in ("dim_date", "dim_other"))
    for sql in (
        f"DELETE FROM {relation}",
        f"INSERT INTO {relation} SELECT * FROM {relation}",
        f"DROP TABLE {relation}",
        f"CREATE TABLE {new} AS SELECT 1 AS one",
    ):
        with pytest.raises(WarehouseError), warehouse.query(sql) as rows:
            rows.read_all()
        assert engine.star(warehouse, MODEL) == lake.star(), sql


def test_a_query_before_the_first_load_says_that_there_is_nothing(
    engine: EngineUnderTest, warehouse: Warehouse
) -> None:
    sql = f"SELECT * FROM {engine.quote(engine.star_schema, 'dim_date')}"
    with pytest.raises(WarehouseError, match="totesys_to_warehouse"), warehouse.query(sql) as rows:
        rows.read_all()


def test_a_sample_shows_the_newest_facts(warehouse: Warehouse, lake: StarLake) -> None:
    load(warehouse, lake)
    second_batch(lake)
    load(warehouse, lake)
    sample = warehouse.sample([PAYMENT, star.DIM_DATE], 2)
    assert [row["payment_record_id"] for row in sample["fact_payment"]] == [3, 2]
    assert sample["fact_payment"][0]["created_time"] == dt.time(9, 30, 15, 123456)
    assert sample["fact_payment"][0]["payment_amount"] == Decimal("3.10")
    assert [list(row) for row in sample["dim_date"]] == [names_of(star.DIM_DATE)]


@pytest.mark.needs("permissions")
def test_a_missing_permission_is_named_with_the_grants_that_give_it(
    engine: EngineUnderTest, whole_lake: StarLake, small_table: pa.Table
) -> None:
    def attempt(kind: str, warehouse: Warehouse) -> None:
        if kind == "load":
            load(warehouse, whole_lake)
        else:
            warehouse.write(["mine", "report"], small_table.to_reader())

    missing: Sequence[Any] = engine.permissions()
    assert missing
    for one in missing:
        warehouse = one.warehouse()
        with pytest.raises(WarehouseError) as error:
            attempt(one.attempt, warehouse)
        assert not error.value.retryable, one.what
        for grant in one.grants:
            assert grant in str(error.value), one.what
        one.give(one.grants)
        attempt(one.attempt, warehouse)


def test_values_of_a_query_travel_beside_its_text(engine: EngineUnderTest) -> None:
    warehouse = engine.make()
    awkward = "it's \\ '; DROP TABLE star.dim_staff; --"
    query = BoundSql(
        ("SELECT ", " AS word, ", " + 1 AS number, ", " || '!' AS again"),
        ("word", "number", "word"),
        {"word": awkward, "number": 41},
    )
    warehouse.write(("own", "one"), pa.table({"word": ["a", "b", "c"], "number": [1, 2, 3]}).to_reader())
    assert fetch(warehouse, query) == [(awkward, 42, f"{awkward}!")]
    where = BoundSql(
        (f"SELECT number FROM {engine.quote('own', 'one')} WHERE word IN (", ", ", ") ORDER BY number"),
        ("first", "second"),
        {"first": "a", "second": "c"},
    )
    assert [int(number) for (number,) in fetch(warehouse, where)] == [1, 3]
