"""What changes in the shape of a source flows into the lake, or stops its table alone."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from platform_assets.errors import SourceError
from platform_assets.lake.lake import stream_current
from platform_assets.model.table import Float, Table
from platform_assets.model.totesys.source import TABLES
from platform_assets.source.catalogue import declare
from platform_assets.source.extract import Extractor, sample_rows
from platform_assets.source.outcome import Extraction, TableChange
from platform_assets.source.policy import CapturePolicy
from platform_assets.source.snapshot import SourceDatabase
from platform_assets_tests.fixtures.postgres import Database, NewDatabase
from platform_assets_tests.fixtures.totesys import SOURCE_TABLE, Platform, Totesys, rows_of

pytestmark = pytest.mark.sampled(2)


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_database())


@pytest.fixture
def platform(totesys: Totesys, tmp_path: Path) -> Platform:
    return Platform.on_disk(totesys, tmp_path)


def whole(platform: Platform, table: str, source: str = "totesys") -> list[dict[str, Any]]:
    """All versions with all columns that the lake has, those that are not declared among them."""
    bronze = dataclasses.replace(
        platform.lake.bronze(source, dataclasses.replace(SOURCE_TABLE["design"], name=table)), columns=()
    )
    return bronze.scan(bronze.open()).read_all().to_pylist()


def test_a_column_that_the_model_does_not_know_flows_into_the_lake_and_is_reported_once(
    totesys: Totesys, platform: Platform
) -> None:
    platform.extract()
    totesys.run("ALTER TABLE design ADD COLUMN colour text")
    change = platform.extract().tables["design"]
    assert (change.rows, change.drift) == (0, ("Column colour is new.",))
    assert "because its columns changed" in change.capture
    assert platform.extract().tables["design"].drift == ()
    totesys.update("design", 1, colour="red")
    assert platform.extract().tables["design"].updated == 1
    versions = rows_of(whole(platform, "design"), "design_id", "colour", "_batch")
    assert sorted(versions, key=str) == [
        (1, "red", 3),
        (1, None, 1),
        (2, None, 1),
    ]
    platform.build()
    assert rows_of(platform.star("dim_design"), "design_id", "design_name", "_change") == [
        (1, "Wooden", "update"),
        (2, "Bronze", "insert"),
    ]


def test_a_column_with_a_default_reaches_rows_that_nobody_has_written(
    totesys: Totesys, platform: Platform
) -> None:
    platform.extract()
    totesys.run("ALTER TABLE design ADD COLUMN stock integer NOT NULL DEFAULT 7")
    change = platform.extract().tables["design"]
    assert (change.updated, change.inserted, change.deleted) == (2, 0, 0)
    latest = [row for row in whole(platform, "design") if row["_batch"] == 2]
    assert sorted(rows_of(latest, "design_id", "stock")) == [(1, 7), (2, 7)]
    assert platform.extract().tables["design"].rows_read == 0


def test_a_further_column_that_goes_away_stays_in_the_lake(totesys: Totesys, platform: Platform) -> None:
    totesys.run("ALTER TABLE design ADD COLUMN colour text DEFAULT 'red'")
    platform.extract()
    totesys.run("ALTER TABLE design DROP COLUMN colour")
    assert platform.extract().tables["design"].drift == (
        "Column colour was dropped; the lake keeps it, NULL from now on.",
    )
    totesys.update("design", 1, design_name="Steel")
    platform.extract()
    assert sorted(rows_of(whole(platform, "design"), "design_id", "colour", "design_name"), key=str) == [
        (1, "red", "Wooden"),
        (1, None, "Steel"),
        (2, "red", "Bronze"),
    ]


def stopped(extraction: Extraction) -> dict[str, str]:
    return {name: change.stopped for name, change in extraction.tables.items() if change.stopped}


@pytest.mark.parametrize(
    ("statement", "back", "says"),
    [
        (
            "ALTER TABLE design RENAME COLUMN file_name TO file",
            "ALTER TABLE design RENAME COLUMN file TO file_name",
            "Table design has no column file_name, which is declared; it is now called file.",
        ),
        (
            "ALTER TABLE design ALTER file_name TYPE integer USING 1",
            "ALTER TABLE design ALTER file_name TYPE text USING 'a.json'",
            "design.file_name is integer, which does not fit the declared type, text.",
        ),
        (
            "ALTER TABLE design RENAME TO designs",
            "ALTER TABLE designs RENAME TO design",
            "Table design does not exist.",
        ),
        (
            "REVOKE SELECT ON design FROM {reader}",
            "GRANT SELECT ON design TO {reader}",
            "The role may not SELECT from design.",
        ),
    ],
    ids=["renamed column", "another type", "missing table", "lost privilege"],
)
def test_what_cannot_be_taken_in_stops_its_table_alone_and_loses_nothing(
    totesys: Totesys, platform: Platform, statement: str, back: str, says: str
) -> None:
    reader = totesys.database.reader.user
    platform.tick()
    totesys.run(statement.format(reader=reader))
    totesys.update("payment", 1, paid=True)
    extraction = platform.tick()
    assert stopped(extraction).keys() == {"design"}
    assert says in stopped(extraction)["design"]
    assert extraction.tables["payment"].updated == 1
    assert extraction.row_counts["design"] == 2
    assert platform.query("SELECT count(*) FROM star.dim_design") == [(2,)]
    totesys.run(back.format(reader=reader))
    totesys.update("design", 2, design_name="Steel")
    extraction = platform.tick()
    assert stopped(extraction) == {}
    assert platform.query("SELECT design_name FROM star.dim_design WHERE design_id = 2") == [("Steel",)]


def test_rows_that_point_into_a_stopped_table_wait_as_dead_letters(
    totesys: Totesys, platform: Platform
) -> None:
    platform.tick()
    totesys.run("ALTER TABLE design RENAME COLUMN file_name TO file")
    totesys.run(
        "INSERT INTO design (design_id, design_name, file_location, file, created_at, last_updated) "
        "VALUES (3, 'Steel', '/x', 'y', '2023-03-01', '2023-03-01')"
    )
    totesys.insert("sales_order", 3, design_id=3)
    extraction = platform.tick()
    assert extraction.tables["sales_order"].dead_lettered == 1
    assert [row["reason"] for row in platform.dead_letters()] == ["foreign_key(design_id)"]
    assert platform.query("SELECT count(*) FROM star.fact_sales_order") == [(2,)]
    totesys.run("ALTER TABLE design RENAME COLUMN file TO file_name")
    platform.tick()
    assert platform.broken() == {}
    assert platform.query("SELECT count(*) FROM star.fact_sales_order WHERE design_id = 3") == [(1,)]


def test_a_value_that_fits_no_longer_stops_its_table_alone(totesys: Totesys, platform: Platform) -> None:
    platform.extract()
    totesys.run("ALTER TABLE payment ALTER company_ac_number TYPE bigint")
    assert stopped(platform.extract()) == {}
    totesys.run("UPDATE payment SET company_ac_number = 3000000000 WHERE payment_id = 1")
    totesys.update("design", 1, design_name="Steel")
    extraction = platform.extract()
    assert "integer out of range" in stopped(extraction)["payment"]
    assert extraction.tables["design"].updated == 1
    totesys.run("UPDATE payment SET company_ac_number = 3 WHERE payment_id = 1")
    assert platform.extract().tables["payment"].updated == 1


def test_what_is_wrong_at_the_first_look_stops_its_table_alone(totesys: Totesys, platform: Platform) -> None:
    totesys.run("DROP TABLE payment", "ALTER TABLE design RENAME COLUMN file_name TO file")
    found = platform.extract().tables
    assert "Table payment does not exist." in found["payment"].stopped
    assert "Table design has no column file_name" in found["design"].stopped
    assert {name for name, change in found.items() if change.stopped} == {"payment", "design"}
    assert found["sales_order"].inserted == 2


def test_a_database_with_none_of_the_declared_tables_fails_with_all_that_is_wrong(
    totesys: Totesys, platform: Platform
) -> None:
    nowhere = dataclasses.replace(totesys, schema="information_schema")
    elsewhere = dataclasses.replace(platform, source=nowhere.source())
    with pytest.raises(SourceError) as error:
        elsewhere.extract()
    assert "does not match the declared tables" in str(error.value)
    assert "Table payment does not exist." in str(error.value)
    assert "Table design does not exist." in str(error.value)
    assert platform.lake.ledger.read().last_batch == 0


def discovered(database: Database, *names: str, **options: Any) -> SourceDatabase:
    """A source whose tables are as the server has them."""
    source = SourceDatabase("erp", (), lambda: database.reader, declared=False, **options)
    with source.snapshot() as snapshot:
        relations = snapshot.relations(names)
    tables = [declare(relations[name], key=source.keys.get(name)) for name in names]
    return dataclasses.replace(source, tables=tuple(tables))


def test_a_discovered_table_takes_in_columns_that_come_widen_and_go(
    totesys: Totesys, platform: Platform
) -> None:
    totesys.run(
        'CREATE TABLE "Odd Name" (id smallint PRIMARY KEY, price real, "größe" varchar(3)); '
        """INSERT INTO "Odd Name" VALUES (1, 'NaN', 'xl'), (2, 1.5, NULL)"""
    )
    source = discovered(totesys.database, "Odd Name")
    extractor = Extractor(source, platform.lake, platform.engine)
    [table] = source.tables

    def tick() -> tuple[int, tuple[str, ...]]:
        change = extractor.extract([table]).tables["Odd Name"]
        assert change.stopped == ""
        return change.rows, change.drift

    assert tick() == (2, ())
    totesys.run('ALTER TABLE "Odd Name" ALTER id TYPE bigint, ALTER price TYPE double precision')
    assert tick() == (
        0,
        ("Column id was smallint and is bigint.", "Column price was real and is double precision."),
    )
    totesys.run('INSERT INTO "Odd Name" VALUES (5000000000, 0.1)')
    assert tick() == (1, ())
    totesys.run('ALTER TABLE "Odd Name" RENAME "größe" TO size')
    rows, drift = tick()
    assert (rows, len(drift)) == (1, 1)
    assert drift[0].startswith("Column größe is now called size;")
    totesys.run('ALTER TABLE "Odd Name" DROP COLUMN price')
    assert tick() == (0, ("Column price was dropped; the lake keeps it, NULL from now on.",))
    totesys.run("""UPDATE "Odd Name" SET size = 'm' WHERE id = 2""")
    assert tick() == (1, ())
    names = ("id", "size", "größe", "price", "_batch")
    bronze = dataclasses.replace(platform.lake.bronze("erp", table), columns=())
    versions = sorted(rows_of(bronze.scan(bronze.open()).read_all().to_pylist(), *names), key=str)
    assert versions[0][0] == 1
    assert str(versions) == str(
        [
            (1, "xl", None, float("nan"), 4),
            (1, None, "xl", float("nan"), 1),
            (2, "m", None, None, 6),
            (2, None, None, 1.5, 1),
            (5_000_000_000, None, None, 0.1, 3),
        ]
    )


SCALES = "CREATE TABLE scale (id integer PRIMARY KEY, weight real)"


def weights(platform: Platform, table: Table) -> tuple[pa.DataType, list[float]]:
    """The type of a column in the lake, and its current values by key, as its readers get them."""
    rows = stream_current(platform.lake, platform.engine, "erp", table).read_all().sort_by("id")
    return rows["weight"].type, rows["weight"].to_pylist()


def single(value: float) -> float:
    """A number in 32 bits."""
    return float(np.float32(value))


def test_a_real_is_held_in_32_bits_and_looks_as_the_source_prints_it(
    totesys: Totesys, platform: Platform
) -> None:
    totesys.run(SCALES, "INSERT INTO scale VALUES (1, 32.38), (2, 0.1), (3, 3.4028235e38)")
    source = discovered(totesys.database, "scale")
    extractor = Extractor(source, platform.lake, platform.engine)
    assert extractor.extract(source.tables).tables["scale"].inserted == 3
    type_, held = weights(platform, source.tables[0])
    assert (type_, held) == (pa.float32(), [single(32.38), single(0.1), single(3.4028235e38)])
    seen = sample_rows(platform.lake, platform.engine, "erp", source.tables)["scale"]
    assert sorted(row["weight"] for row in seen) == [0.1, 32.38, 3.4028235e38]
    assert extractor.verify(source.tables)["scale"].passed


def test_a_lake_that_holds_a_real_as_double_goes_on_as_it_is(totesys: Totesys, platform: Platform) -> None:
    totesys.run(SCALES, "INSERT INTO scale VALUES (1, 32.38), (2, 0.1)")
    # As earlier releases read it.
    before = discovered(totesys.database, "scale", types={"scale": {"weight": Float(64)}})
    before = dataclasses.replace(before, tables=(declare_in(totesys, "scale", {"weight": Float(64)}),))
    Extractor(before, platform.lake, platform.engine).extract(before.tables)
    assert weights(platform, before.tables[0]) == (pa.float64(), [single(32.38), single(0.1)])
    source = discovered(totesys.database, "scale")
    extractor = Extractor(source, platform.lake, platform.engine)
    # All rows are written again, and none has changed.
    totesys.run("UPDATE scale SET weight = weight")
    change = extractor.extract(source.tables).tables["scale"]
    assert (change.rows_read, change.rows, change.stopped) == (2, 0, "")
    diff = dataclasses.replace(source, policy=CapturePolicy("diff"))
    assert Extractor(diff, platform.lake, platform.engine).extract(source.tables).tables["scale"].rows == 0
    assert extractor.verify(source.tables)["scale"].passed
    totesys.run("UPDATE scale SET weight = 7.77 WHERE id = 2", "INSERT INTO scale VALUES (3, 32.38)")
    assert extractor.extract(source.tables).tables["scale"] == TableChange(inserted=1, updated=1)
    # Whoever reads it by the catalogue of today gets what is there, of one kind in all rows.
    assert weights(platform, source.tables[0]) == (pa.float64(), [single(32.38), single(7.77), single(32.38)])
    assert extractor.verify(source.tables)["scale"].passed


def declare_in(totesys: Totesys, name: str, types: dict[str, Float]) -> Table:
    source = SourceDatabase("erp", (), lambda: totesys.database.reader, declared=False)
    with source.snapshot() as snapshot:
        return declare(snapshot.relations([name])[name], types=types)


def test_a_real_that_becomes_double_precision_widens_the_column_and_loses_nothing(
    totesys: Totesys, platform: Platform
) -> None:
    totesys.run(SCALES, "INSERT INTO scale VALUES (1, 32.38), (2, 0.1), (3, NULL)")
    source = discovered(totesys.database, "scale")
    extractor = Extractor(source, platform.lake, platform.engine)
    extractor.extract(source.tables)
    totesys.run("UPDATE scale SET weight = 0.2 WHERE id = 2")
    extractor.extract(source.tables)
    totesys.run("ALTER TABLE scale ALTER weight TYPE double precision")
    change = extractor.extract(source.tables).tables["scale"]
    assert (change.rows, change.rows_read, change.stopped) == (0, 3, "")
    totesys.run("UPDATE scale SET weight = 0.1 WHERE id = 3")
    assert extractor.extract(source.tables).tables["scale"] == TableChange(updated=1)
    # By a catalogue that does not know it yet.
    assert weights(platform, source.tables[0]) == (pa.float64(), [single(32.38), single(0.2), 0.1])
    assert extractor.verify(source.tables)["scale"].passed
    bronze = platform.lake.bronze("erp", source.tables[0])
    assert bronze.row_count(bronze.open()) == 5
    totesys.run("ALTER TABLE scale ALTER weight TYPE real", "UPDATE scale SET weight = 0.3 WHERE id = 1")
    assert extractor.extract(source.tables).tables["scale"].stopped == ""
    assert extractor.verify(source.tables)["scale"].passed


def test_a_further_real_of_a_declared_table_keeps_the_type_that_the_lake_has(
    totesys: Totesys, platform: Platform
) -> None:
    totesys.run("ALTER TABLE design ADD weight double precision DEFAULT 0.1")
    platform.extract()
    totesys.run("ALTER TABLE design ALTER weight TYPE real")
    assert stopped(platform.extract()) == {}
    assert {row["weight"] for row in whole(platform, "design")} == {0.1, single(0.1)}
    assert Extractor(platform.source, platform.lake, platform.engine).verify(TABLES)["design"].passed


def test_a_view_is_compared_whole_and_by_its_time_of_change_where_that_is_wanted(
    totesys: Totesys, platform: Platform
) -> None:
    totesys.run("CREATE VIEW designs AS SELECT design_id, design_name, last_updated FROM design")
    totesys.run(f"GRANT SELECT ON designs TO {totesys.database.reader.user}")
    keys = {"designs": ("design_id",)}
    source = discovered(totesys.database, "designs", keys=keys)
    policy = CapturePolicy("last_updated", lag=dt.timedelta(minutes=10), small_table_rows=0)

    def tick(source: SourceDatabase) -> tuple[int, int, int, str]:
        change = Extractor(source, platform.lake, platform.engine).extract(source.tables).tables["designs"]
        return change.rows_read, change.rows, change.deleted, change.capture

    assert tick(source)[:3] == (2, 2, 0)
    whole = tick(source)
    assert whole[:3] == (2, 0, 0)
    assert whole[3] == "a comparison of all rows (diff)"
    by_time = dataclasses.replace(source, policy=policy)
    assert tick(by_time)[:2] == (2, 0)  # no watermark yet
    totesys.update("design", 1, design_name="Steel", last_updated=dt.datetime(2024, 1, 1))  # noqa: DTZ001
    assert tick(by_time)[1] == 1
    read, changed, _, capture = tick(by_time)
    assert (read, changed) == (1, 0)
    assert capture.startswith("rows with a newer time of change")
    # Within the lag of the largest time that was seen; one before it would be missed.
    totesys.update("design", 2, design_name="Gold", last_updated=dt.datetime(2023, 12, 31, 23, 51))  # noqa: DTZ001
    assert tick(by_time)[:2] == (2, 1)
    # What lies ahead, for ever even, must not hide what comes before it.
    totesys.run("UPDATE design SET last_updated = 'infinity' WHERE design_id = 1")
    assert tick(by_time)[1] == 1
    soon = dt.datetime.now() + dt.timedelta(days=2)  # noqa: DTZ005
    totesys.update("design", 2, design_name="Tin", last_updated=soon)
    assert tick(by_time)[:2] == (2, 1)


def test_a_policy_that_asks_for_what_a_table_lacks_says_so(totesys: Totesys, platform: Platform) -> None:
    totesys.run("CREATE VIEW designs AS SELECT design_id, design_name FROM design")
    totesys.run(f"GRANT SELECT ON designs TO {totesys.database.reader.user}")
    keys = {"designs": ("design_id",)}
    for strategy, says in (
        ("xmin", "cannot be captured by xmin, because it is a view"),
        ("last_updated", "cannot be captured by its column last_updated, because the column does not exist"),
    ):
        policy = CapturePolicy(strategy)  # type: ignore[arg-type]
        source = discovered(totesys.database, "designs", keys=keys, policy=policy)
        [change] = Extractor(source, platform.lake, platform.engine).extract(source.tables).tables.values()
        assert says in change.stopped


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("('b', 2), ('b', 3)", "has rows with the same key (code)"),
        ("(NULL, 2)", "has rows without a value in the key (code)"),
    ],
)
def test_a_key_that_does_not_identify_rows_stops_its_table(
    totesys: Totesys, platform: Platform, rows: str, says: str
) -> None:
    totesys.run("CREATE TABLE loose (code text, n integer); INSERT INTO loose VALUES ('a', 1)")
    source = discovered(totesys.database, "loose", keys={"loose": ("code",)})
    extractor = Extractor(source, platform.lake, platform.engine)
    assert extractor.extract(source.tables).tables["loose"].inserted == 1
    totesys.run(f"INSERT INTO loose VALUES {rows}")
    assert says in extractor.extract(source.tables).tables["loose"].stopped
    totesys.run("DELETE FROM loose WHERE n > 1")
    assert extractor.extract(source.tables).tables["loose"] == TableChange()
