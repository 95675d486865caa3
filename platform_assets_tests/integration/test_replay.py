"""The real snapshots, played one after another into a PostgreSQL, come out as the files say."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from platform_assets.source.outcome import Extraction
from platform_assets_tests.fixtures.postgres import Database, NewDatabase
from platform_assets_tests.integration import totesys_files as files
from platform_assets_tests.integration.installation import FACTS, NO_TELEMETRY, Installation, session

pytestmark = [
    pytest.mark.skipif(
        not files.FOLDER.is_dir(),
        reason="the real snapshots of Totesys are not beside this project, in ../shared/data/totesys",
    ),
    # Where they are not, the coverage has to be the same.
    pytest.mark.no_cover,
]

_VERSION = "created_date DATE, created_time TIME, last_updated_date DATE, last_updated_time TIME"
_PLATFORM = "_change VARCHAR, _batch BIGINT, _seen_at TIMESTAMP WITH TIME ZONE"
COLUMNS = {
    "fact_sales_order": (
        f"sales_record_id INTEGER, sales_order_id INTEGER, {_VERSION}, sales_staff_id INTEGER, "
        "counterparty_id INTEGER, units_sold INTEGER, unit_price DECIMAL(10,2), currency_id "
        "INTEGER, design_id INTEGER, agreed_payment_date DATE, agreed_delivery_date DATE, "
        "agreed_delivery_location_id INTEGER"
    ),
    "fact_purchase_order": (
        f"purchase_record_id INTEGER, purchase_order_id INTEGER, {_VERSION}, staff_id INTEGER, "
        "counterparty_id INTEGER, item_code VARCHAR, item_quantity INTEGER, item_unit_price "
        "DECIMAL(10,2), currency_id INTEGER, agreed_delivery_date DATE, agreed_payment_date DATE, "
        "agreed_delivery_location_id INTEGER"
    ),
    "fact_payment": (
        f"payment_record_id INTEGER, payment_id INTEGER, {_VERSION}, transaction_id INTEGER, "
        "counterparty_id INTEGER, payment_amount DECIMAL(10,2), currency_id INTEGER, "
        "payment_type_id INTEGER, paid BOOLEAN, payment_date DATE"
    ),
    "dim_date": (
        "date_id DATE, year INTEGER, month INTEGER, day INTEGER, day_of_week INTEGER, day_name "
        "VARCHAR, month_name VARCHAR, quarter INTEGER"
    ),
    "dim_staff": (
        "staff_id INTEGER, first_name VARCHAR, last_name VARCHAR, department_name VARCHAR, "
        "location VARCHAR, email_address VARCHAR"
    ),
    "dim_location": (
        "location_id INTEGER, address_line_1 VARCHAR, address_line_2 VARCHAR?, district VARCHAR?, "
        "city VARCHAR, postal_code VARCHAR, country VARCHAR, phone VARCHAR"
    ),
    "dim_currency": ("currency_id INTEGER, currency_code VARCHAR, currency_name VARCHAR"),
    "dim_design": ("design_id INTEGER, design_name VARCHAR, file_location VARCHAR, file_name VARCHAR"),
    "dim_counterparty": (
        "counterparty_id INTEGER, counterparty_legal_name VARCHAR, "
        "counterparty_legal_address_line_1 VARCHAR, counterparty_legal_address_line_2 VARCHAR?, "
        "counterparty_legal_district VARCHAR?, counterparty_legal_city VARCHAR, "
        "counterparty_legal_postal_code VARCHAR, counterparty_legal_country VARCHAR, "
        "counterparty_legal_phone_number VARCHAR"
    ),
    "dim_transaction": (
        "transaction_id INTEGER, transaction_type VARCHAR, sales_order_id INTEGER?, "
        "purchase_order_id INTEGER?"
    ),
    "dim_payment_type": ("payment_type_id INTEGER, payment_type_name VARCHAR"),
}
"""The warehouse as its users were promised it; a question mark where NULL is allowed."""

NAMES = {table: re.findall(r"(\w+) [A-Z]", columns) for table, columns in COLUMNS.items()}

SILENT_EDITS = {"sales_order": (0, 37), "purchase_order": (0, 39), "design": (1, 35)}
PAYMENTS_MADE = (20, 41)
"""Between the first and the second, and the second and the third snapshot."""

GONE_SALES = (100, 101, 102, 5099)
GONE_PURCHASES = (7, 2247)
KEPT_TRANSACTIONS = {("sales_order", 101), ("purchase_order", 7)}
"""Orders whose transaction stays when they are deleted, pointing to nothing."""
BACK_AGAIN = 100


@dataclass(frozen=True)
class State:
    """What there was after a tick.

    Args:
        source: The rows of the source, from the files.
        extraction: What the tick says it did; None where the main job ran it.
        warehouse: All rows of the warehouse's star tables.
        current: The rows of the `_current` views.
        history: The rows of the `_history` views, by key and record id.
    """

    source: files.Snapshot
    extraction: Extraction | None
    warehouse: dict[str, list[tuple[Any, ...]]]
    current: dict[str, list[tuple[Any, ...]]]
    history: dict[str, list[tuple[Any, ...]]]

    @classmethod
    def now(cls, platform: Installation, source: files.Snapshot, extraction: Extraction | None) -> State:
        return cls(
            source,
            extraction,
            platform.warehouse_rows(),
            {fact: platform.query(f"FROM star.{fact}_current ORDER BY 1") for fact in FACTS},
            {fact: platform.query(f"FROM star.{fact}_history ORDER BY 2, 1") for fact in FACTS},
        )


@dataclass(frozen=True)
class Replay:
    """The platform, its source and its states after each of the three snapshots."""

    platform: Installation
    database: Database
    states: tuple[State, ...]


@pytest.fixture(scope="module")
def replay(new_module_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """The three snapshots: the main job brings the last one in, with its checks."""
    database = new_module_database()
    platform = Installation.create(tmp_path_factory.mktemp("replay"), database.reader)
    states = []
    with (
        session(database.owner) as owner,
        dg.DagsterInstance.ephemeral(settings=NO_TELEMETRY) as instance,
    ):
        owner.run(files.DDL)
        owner.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {database.reader.user}")
        for name in files.SNAPSHOTS:
            files.play(owner, name)
            source = files.read(name)
            assert files.in_database(owner) == source
            extraction = None
            if name == files.SNAPSHOTS[-1]:
                run = platform.run_job(instance)
                assert run.success
                assert [check for check in run.get_asset_check_evaluations() if not check.passed] == []
            else:
                extraction = platform.tick()
            states.append(State.now(platform, source, extraction))
    return Replay(platform, database, tuple(states))


def expected_facts(sources: list[files.Snapshot], fact: str) -> list[tuple[Any, ...]]:
    """A fact's rows from the second column on, without `_seen_at`, in order of record ids."""
    table, mapped = files.FACTS[fact]
    return [
        (*mapped(row), change, batch)
        for batch, _, change, row in files.versions(source[table] for source in sources)
    ]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("fact", FACTS)
def test_the_current_view_equals_the_source_row_for_row(replay: Replay, fact: str, number: int) -> None:
    state = replay.states[number]
    table, mapped = files.FACTS[fact]
    found = {row[1]: row[1:-3] for row in state.current[fact]}
    assert found == {key: mapped(row) for key, row in state.source[table].items()}
    assert len(state.current[fact]) == len(state.source[table])


@pytest.mark.parametrize("fact", FACTS)
def test_the_fact_has_every_version_that_happened_and_no_other(replay: Replay, fact: str) -> None:
    for number, state in enumerate(replay.states, start=1):
        expected = expected_facts([state.source for state in replay.states[:number]], fact)
        assert [row[1:-1] for row in state.warehouse[fact]] == expected


@pytest.mark.parametrize("fact", FACTS)
def test_record_ids_are_dense_and_a_version_keeps_its_own_for_ever(replay: Replay, fact: str) -> None:
    for state in replay.states:
        ids = [row[0] for row in state.warehouse[fact]]
        assert ids == list(range(1, len(ids) + 1))
    for before, after in zip(replay.states, replay.states[1:], strict=False):
        assert after.warehouse[fact][: len(before.warehouse[fact])] == before.warehouse[fact]


@pytest.mark.parametrize("table", ["sales_order", "purchase_order", "design"])
def test_every_silent_edit_is_a_version_in_the_lake(replay: Replay, table: str) -> None:
    versions = {(row["_batch"], row[f"{table}_id"]): row for row in replay.platform.bronze_versions(table)}
    for batch, (before, after) in enumerate(zip(replay.states, replay.states[1:], strict=False), start=2):
        silent = files.edits(before.source[table], after.source[table], silent=True)
        assert len(silent) == SILENT_EDITS[table][batch - 2]
        for key in silent:
            version = versions[batch, key]
            assert version["_change"] == "update"
            assert {name: version[name] for name in after.source[table][key]} == after.source[table][key]
            assert version["last_updated"] == before.source[table][key]["last_updated"]


@pytest.mark.parametrize("table", files.TABLES)
def test_the_lake_has_every_version_that_happened_and_no_other(replay: Replay, table: str) -> None:
    names = list(replay.states[0].source[table][1])
    found = [
        (row["_batch"], row[f"{table}_id"], row["_change"], {name: row[name] for name in names})
        for row in replay.platform.bronze_versions(table)
        if row["_batch"] <= 3
    ]
    assert found == files.versions(state.source[table] for state in replay.states)


def test_payments_that_were_made_are_updates_with_their_own_last_updated(replay: Replay) -> None:
    for state, made in zip(replay.states[1:], PAYMENTS_MADE, strict=True):
        batch = replay.states.index(state) + 1
        updates = [row for row in state.warehouse["fact_payment"] if row[-3:-1] == ("update", batch)]
        assert len(updates) == made
        assert all(row[11] is True for row in updates)
        assert {row[5].strftime("%H:%M") for row in updates} == {"07:55"}


def test_the_tick_says_what_it_found(replay: Replay) -> None:
    extraction = replay.states[1].extraction
    assert extraction is not None
    assert {
        name: (change.inserted, change.updated, change.deleted, change.dead_lettered)
        for name, change in extraction.tables.items()
        if change.rows
    } == {
        "design": (0, 1, 0, 0),
        "sales_order": (30, 0, 0, 0),
        "purchase_order": (12, 0, 0, 0),
        "transaction": (42, 0, 0, 0),
        "payment": (42, 20, 0, 0),
    }
    assert extraction.row_counts == {name: len(rows) for name, rows in replay.states[1].source.items()}


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize(
    "dimension", [name for name in COLUMNS if name.startswith("dim_") and name != "dim_date"]
)
def test_a_dimension_has_the_latest_values(replay: Replay, dimension: str, number: int) -> None:
    state = replay.states[number]
    found = {row[0]: row[:-3] for row in state.warehouse[dimension]}
    assert found == files.dimensions(state.source)[dimension]
    assert len(found) == len(state.warehouse[dimension])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_calendar_covers_whole_years_of_all_dates_of_all_facts(replay: Replay, number: int) -> None:
    state = replay.states[number]
    facts = {fact: [row[1:-3] for row in state.warehouse[fact]] for fact in FACTS}
    assert [row[:-3] for row in state.warehouse["dim_date"]] == files.calendar(facts)


def test_values_that_break_careless_code_are_as_in_the_source(replay: Replay) -> None:
    last = replay.states[-1].warehouse
    by_key = {name: {row[0]: row for row in rows} for name, rows in last.items()}
    postal_codes = {row[5] for row in last["dim_location"]}
    assert "08841" in postal_codes
    assert any(row[7].startswith("0") for row in last["dim_location"])
    assert {"Democratic People's Republic of Korea", "Svalbard & Jan Mayen Islands"} <= {
        row[6] for row in last["dim_location"]
    }
    assert by_key["dim_counterparty"][2][1] == "Leannon, Predovic and Morar"
    assert sum(row[2] is None for row in last["dim_location"]) == 20
    assert sum(row[3] is None for row in last["dim_location"]) == 14
    assert "Leds" in {row[4] for row in last["dim_staff"]}
    whole_seconds = [row for row in last["fact_sales_order"] if row[3].microsecond == 0]
    created = {row["created_at"] for row in replay.states[-1].source["sales_order"].values()}
    assert {dt.datetime.combine(row[2], row[3]) for row in whole_seconds} == {
        moment for moment in created if moment.microsecond == 0
    }
    assert whole_seconds
    assert by_key["fact_sales_order"][2][9] == Decimal("3.94")


def test_the_warehouse_has_the_promised_columns_types_and_order(replay: Replay) -> None:
    found: dict[str, str] = {}
    for table, column, kind, nullable in replay.platform.query(
        "SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns() "
        "WHERE schema_name = 'star' AND table_name IN (SELECT table_name FROM duckdb_tables()) "
        "ORDER BY table_name, column_index"
    ):
        separator = ", " if table in found else ""
        found[table] = f"{found.get(table, '')}{separator}{column} {kind}{'?' if nullable else ''}"
    assert found == {table: f"{columns}, {_PLATFORM}" for table, columns in COLUMNS.items()}


def test_the_warehouse_declares_the_primary_keys(replay: Replay) -> None:
    keys = dict(
        replay.platform.query(
            "SELECT table_name, constraint_column_names FROM duckdb_constraints() "
            "WHERE schema_name = 'star' AND constraint_type = 'PRIMARY KEY'"
        )
    )
    assert keys == {table: names[:1] for table, names in NAMES.items()}


def test_the_views_have_the_promised_columns(replay: Replay) -> None:
    views: dict[str, list[str]] = {}
    for view, column in replay.platform.query(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'star' "
        "AND table_name NOT IN (SELECT table_name FROM duckdb_tables()) ORDER BY table_name, column_index"
    ):
        views.setdefault(view, []).append(column)
    expected = {}
    for fact in FACTS:
        expected[f"{fact}_current"] = [*NAMES[fact], "_change", "_batch", "_seen_at"]
        expected[f"{fact}_history"] = [*NAMES[fact], "valid_from", "valid_to", "change"]
    assert views == expected


def test_every_fact_row_points_to_dimension_rows_that_exist(replay: Replay) -> None:
    assert dangling_keys(replay.states[-1].warehouse) == []


def dangling_keys(warehouse: dict[str, list[tuple[Any, ...]]]) -> list[str]:
    """Foreign keys of facts that no dimension row has."""
    keys = {name: {row[0] for row in rows} for name, rows in warehouse.items()}
    references = {
        "staff_id": "dim_staff",
        "sales_staff_id": "dim_staff",
        "counterparty_id": "dim_counterparty",
        "currency_id": "dim_currency",
        "design_id": "dim_design",
        "agreed_delivery_location_id": "dim_location",
        "transaction_id": "dim_transaction",
        "payment_type_id": "dim_payment_type",
    }
    dangling = []
    for fact in FACTS:
        for index, name in enumerate(NAMES[fact]):
            dimension = references.get(name, "dim_date" if name.endswith("_date") else "")
            if dimension:
                dangling += [
                    f"{fact}.{name} = {row[index]}"
                    for row in warehouse[fact]
                    if row[index] not in keys[dimension]
                ]
    return dangling


@pytest.mark.parametrize("fact", FACTS)
def test_each_version_is_valid_until_the_next_one(replay: Replay, fact: str) -> None:
    assert_history_is_a_chain(replay.states[-1], fact)


def assert_history_is_a_chain(state: State, fact: str) -> None:
    """Each key's versions follow one another without gap or overlap; the last one has no end."""
    by_key: dict[int, list[tuple[Any, ...]]] = {}
    for row in state.history[fact]:
        by_key.setdefault(row[1], []).append(row)
    facts = {row[0]: row for row in state.warehouse[fact]}
    for versions in by_key.values():
        *earlier, last = versions
        assert versions[0][-1] == "insert"
        assert last[-2] is None
        for one, following in zip(earlier, versions[1:], strict=True):
            assert one[-3] < one[-2] == following[-3]
        for version in versions:
            assert version[:-3] == facts[version[0]][:-3]
            assert (version[-3], version[-1]) == (facts[version[0]][-1], facts[version[0]][-3])
    assert sum(map(len, by_key.values())) == len(facts)


def test_all_rows_of_a_batch_were_seen_at_the_same_moment(replay: Replay) -> None:
    moments: dict[int, set[dt.datetime]] = {}
    for rows in replay.states[-1].warehouse.values():
        for row in rows:
            moments.setdefault(row[-2], set()).add(row[-1])
    assert sorted(moments) == [1, 2, 3]
    assert all(len(seen) == 1 for seen in moments.values())
    assert sorted(seen for each in moments.values() for seen in each) == [
        next(iter(moments[batch])) for batch in (1, 2, 3)
    ]


@pytest.fixture(scope="module")
def deleted(replay: Replay) -> tuple[State, State]:
    """The states after a tick that saw orders and their payments deleted, and one that saw one back."""
    source = files.read(files.SNAPSHOTS[-1])
    with session(replay.database.owner) as owner:
        owner.run("BEGIN")
        orders = [("sales_order", key) for key in GONE_SALES] + [
            ("purchase_order", key) for key in GONE_PURCHASES
        ]
        for table, order in orders:
            transaction = next(row for row in source["transaction"].values() if row[f"{table}_id"] == order)
            key = transaction["transaction_id"]
            payment = next(row for row in source["payment"].values() if row["transaction_id"] == key)
            owner.run("DELETE FROM payment WHERE payment_id = :id", id=payment["payment_id"])
            del source["payment"][payment["payment_id"]]
            if (table, order) in KEPT_TRANSACTIONS:
                source["transaction"][key] = {**transaction, f"{table}_id": None}
            else:
                owner.run("DELETE FROM transaction WHERE transaction_id = :id", id=key)
                del source["transaction"][key]
            owner.run(f"DELETE FROM {table} WHERE {table}_id = :id", id=order)
            del source[table][order]
        owner.run("COMMIT")
        assert files.in_database(owner) == source
    gone = State.now(replay.platform, source, replay.platform.tick())

    source = {table: dict(rows) for table, rows in source.items()}
    before = files.read(files.SNAPSHOTS[-1])
    transaction = next(row for row in before["transaction"].values() if row["sales_order_id"] == BACK_AGAIN)
    with session(replay.database.owner) as owner:
        owner.run("BEGIN")
        for table, row in (("sales_order", before["sales_order"][BACK_AGAIN]), ("transaction", transaction)):
            names = ", ".join(row)
            types = {"unit_price": "numeric", "transaction_type": '"TransactionType"'}
            values = ", ".join(
                f"CAST(:{name} AS {types[name]})" if name in types else f":{name}" for name in row
            )
            owner.run(f"INSERT INTO {table} ({names}) VALUES ({values})", **row)
            source[table][row[f"{table}_id"]] = row
        owner.run("COMMIT")
        assert files.in_database(owner) == source
    return gone, State.now(replay.platform, source, replay.platform.tick())


@pytest.mark.parametrize("fact", FACTS)
def test_deleted_orders_leave_the_current_view_and_stay_in_the_history(
    replay: Replay, deleted: tuple[State, State], fact: str
) -> None:
    gone, back = deleted
    table, mapped = files.FACTS[fact]
    sources = [state.source for state in (*replay.states, gone, back)]
    assert [row[1:-1] for row in back.warehouse[fact]] == expected_facts(sources, fact)
    for state in (gone, back):
        assert [row[1:-3] for row in sorted(state.current[fact], key=lambda row: row[1])] == [
            mapped(row) for _, row in sorted(state.source[table].items())
        ]
        assert_history_is_a_chain(state, fact)
    changes = Counter(row[-3] for row in gone.warehouse[fact] if row[-2] == 4)
    assert changes == {
        "delete": {"fact_sales_order": 4, "fact_purchase_order": 2, "fact_payment": 6}[fact],
    }


def test_a_deleted_transaction_stays_in_its_dimension_and_one_without_order_points_to_nothing(
    replay: Replay, deleted: tuple[State, State]
) -> None:
    gone, back = deleted
    rows = {row[0]: row for row in gone.warehouse["dim_transaction"]}
    before = {row[0]: row for row in replay.states[-1].warehouse["dim_transaction"]}
    expected = files.dimensions(gone.source)["dim_transaction"]
    assert rows.keys() == before.keys()
    assert {key: row[:-3] for key, row in rows.items() if row[-3] != "delete"} == expected
    removed = [row for row in rows.values() if row[-3] == "delete"]
    assert len(removed) == len(GONE_SALES) + len(GONE_PURCHASES) - len(KEPT_TRANSACTIONS)
    assert [row[:-3] for row in removed] == [before[row[0]][:-3] for row in removed]
    orphans = [row for row in rows.values() if row[-3:-1] == ("update", 4)]
    assert sorted(row[1:4] for row in orphans) == [("PURCHASE", None, None), ("SALE", None, None)]
    returned = [row for row in back.warehouse["dim_transaction"] if row[-2] == 5]
    assert [(row[1], row[2], row[-3]) for row in returned] == [("SALE", BACK_AGAIN, "insert")]


def test_no_deletion_leaves_a_fact_row_that_points_to_nothing(deleted: tuple[State, State]) -> None:
    for state in deleted:
        assert dangling_keys(state.warehouse) == []


def test_a_star_schema_that_is_rebuilt_from_the_lake_is_the_same_and_goes_on_from_there(
    replay: Replay, deleted: tuple[State, State], tmp_path: Path
) -> None:
    platform = copy_of(replay.platform, tmp_path, replay.database)
    before, loaded = platform.star_rows(), platform.warehouse_rows()
    with contextlib.closing(duckdb.connect(str(platform.warehouse))) as stale:
        stale.execute("UPDATE star.dim_staff SET location = 'as an older SELECT had it'")
    shutil.rmtree(platform.processed)
    platform.load()
    assert platform.star_rows() == before
    assert platform.warehouse_rows() == loaded
    # What happens next must still reach a warehouse that was loaded from the tables as they were before.
    with session(replay.database.owner) as owner:
        owner.run("UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id = 2")
        owner.run("UPDATE design SET file_location = '/elsewhere' WHERE design_id = 2")
        try:
            platform.tick()
        finally:
            owner.run("UPDATE sales_order SET units_sold = units_sold - 1 WHERE sales_order_id = 2")
            location = deleted[1].source["design"][2]["file_location"]
            owner.run("UPDATE design SET file_location = :place WHERE design_id = 2", place=location)
    units = deleted[1].source["sales_order"][2]["units_sold"]
    assert platform.query(
        "SELECT units_sold FROM star.fact_sales_order_current WHERE sales_order_id = 2"
    ) == [(units + 1,)]
    assert platform.query("SELECT file_location FROM star.dim_design WHERE design_id = 2") == [
        ("/elsewhere",)
    ]
    assert platform.warehouse_rows() == platform.star_rows_as_loaded()


def test_a_warehouse_that_is_loaded_afresh_is_the_same(
    replay: Replay, deleted: tuple[State, State], tmp_path: Path
) -> None:
    platform = copy_of(replay.platform, tmp_path, replay.database)
    before = platform.warehouse_rows()
    platform.warehouse.unlink()
    platform.load()
    assert platform.warehouse_rows() == before
    views = {fact: platform.query(f"FROM star.{fact}_history ORDER BY 2, 1") for fact in FACTS}
    assert views == deleted[1].history


def copy_of(platform: Installation, folder: Path, database: Database) -> Installation:
    """A platform with the same lake and warehouse in another folder."""
    copied = Installation.create(folder / "copy", database.reader)
    shutil.copytree(platform.folder / "lake", copied.folder / "lake")
    shutil.copy(platform.warehouse, copied.warehouse)
    return copied
