"""A large table that the lake does not have yet is read by workers, with the rows that one process reads."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets.model.table import Binary, Column, Date, Decimal, Integer, Table, Text, Timestamp
from platform_assets.rooms import Rooms
from platform_assets.settings import load_settings
from platform_assets.source.assembly import SourceRoom
from platform_assets.source.extract import Extractor
from platform_assets.source.first_load import FirstLoad, LoadTarget
from platform_assets.source.snapshot import SourceDatabase
from platform_assets.spark.first_load import SparkFirstLoader
from platform_assets.spark.session import SparkTarget
from platform_assets_tests.fixtures.capture import session
from platform_assets_tests.fixtures.postgres import Database, NewDatabase

NOTE = Table(
    "note",
    "A table of more than 32 MiB, most of which is empty pages.",
    (
        Column("id", Integer(), ""),
        Column("author", Integer(), ""),
        Column("body", Text(), ""),
        Column("attached", Binary(), "", nullable=True),
        Column("price", Decimal(12, 2), "", nullable=True),
        Column("day", Date(infinite=True), "", nullable=True),
        Column("at", Timestamp(), "", nullable=True),
        Column("sent", Timestamp(utc=True), "", nullable=True),
    ),
    ("id",),
)
SMALL = Table("small", "A small table.", (Column("id", Integer(), ""),), ("id",))
ROWS = 4_300
CONFIGURATION = Path(__file__).parents[2] / "config" / "platform.conf"
TABLES = (NOTE, SMALL)


@dataclasses.dataclass(frozen=True)
class Watched(SparkFirstLoader):
    """Workers that remember what they were asked for."""

    loads: list[tuple[str, int]] = dataclasses.field(default_factory=list)

    def load(self, load: FirstLoad, target: LoadTarget) -> int:
        self.loads.append((load.scan.table, len(load.scan.queries)))
        return super().load(load, target)


@pytest.fixture(scope="module")
def database(new_module_database: NewDatabase) -> Database:
    made = new_module_database()
    with session(made.owner) as owner:
        for statement in (
            "CREATE TABLE small (id int PRIMARY KEY)",
            "INSERT INTO small VALUES (1), (2)",
            "CREATE TABLE note (id int PRIMARY KEY, author int NOT NULL, body text NOT NULL, attached bytea, "
            "price numeric(12, 2), day date, at timestamp(6), sent timestamptz) WITH (fillfactor = 10)",
            "INSERT INTO note SELECT n, -n, repeat(md5(n::text), 22) || 'Łódź', decode(md5(n::text), 'hex'), "
            "n / 7.0, date '1999-12-31' + n, timestamp '2024-01-01' + n * interval '1.000001 s', "
            "timestamptz '2024-01-01 12:00+05' + n * interval '1 h' "
            f"FROM generate_series(1, {ROWS - 2}) AS n",
            f"INSERT INTO note VALUES ({ROWS - 1}, 0, '', NULL, NULL, 'infinity', NULL, NULL), "
            f"({ROWS}, 0, '', '', 0, '-infinity', '0044-03-15 BC', '1582-10-10')",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC",
        ):
            owner.run(statement)
        owner.run("VACUUM (ANALYZE) note")
    return made


def source_of(database: Database) -> SourceDatabase:
    return SourceDatabase("shop", TABLES, lambda: database.reader)


def rows_of(lake: Lake, table: Table) -> pa.Table:
    bronze = lake.bronze("shop", table)
    handle = bronze.open()
    assert handle is not None
    rows = bronze.scan(handle).read_all().sort_by("id")
    return rows.drop_columns("_seen_at")


@pytest.mark.parametrize("target", ["sail_target", "spark_target"])
def test_workers_load_the_rows_that_one_process_loads(
    request: pytest.FixtureRequest, database: Database, tmp_path: Path, target: str
) -> None:
    chosen: SparkTarget = request.getfixturevalue(target)
    loader = Watched(replace(chosen, partitions=5))
    loader.target._open.extend(chosen._open)
    sql = SqlEngine(256, 2, tmp_path / "tmp")
    expected = Lake(str(tmp_path / "expected"), str(tmp_path / "expected processed"))
    lake = Lake(str(tmp_path / "lake"), str(tmp_path / "processed"))
    alone = Extractor(source_of(database), expected, sql).extract(TABLES)
    together = Extractor(source_of(database), lake, sql, first_loader=loader).extract(TABLES)
    assert loader.loads == [("note", 5)]
    assert {name: change.stopped for name, change in together.tables.items()} == {"note": "", "small": ""}
    counts = {name: (change.inserted, change.rows_read) for name, change in together.tables.items()}
    assert counts == {"note": (ROWS, ROWS), "small": (2, 2)}
    assert counts == {name: (change.inserted, change.rows_read) for name, change in alone.tables.items()}
    for table in TABLES:
        assert rows_of(lake, table).equals(rows_of(expected, table))
        stored, wanted = (one.bronze("shop", table).open() for one in (lake, expected))
        assert stored is not None
        assert wanted is not None
        assert stored.schema() == wanted.schema()
        assert stored.metadata().configuration == wanted.metadata().configuration
    assert len(lake.bronze("shop", NOTE).open().file_uris()) > 1  # type: ignore[union-attr]
    # The next tick finds the cursor, and this process reads what has changed.
    again = Extractor(source_of(database), lake, sql, first_loader=loader).extract(TABLES)
    assert [change.inserted + change.updated + change.deleted for change in again.tables.values()] == [0, 0]
    assert loader.loads == [("note", 5)]
    verified = Extractor(source_of(database), lake, sql).verify(TABLES)
    assert {name: one.passed for name, one in verified.items()} == {"note": True, "small": True}


def test_a_first_load_that_fails_stops_its_table_only_and_is_caught_up(
    database: Database, tmp_path: Path
) -> None:
    lake = Lake(str(tmp_path / "lake"), str(tmp_path / "processed"))
    sql = SqlEngine(256, 2, tmp_path / "tmp")
    absent = SparkFirstLoader(SparkTarget(lambda: "sc://127.0.0.1:1"))
    found = Extractor(source_of(database), lake, sql, first_loader=absent).extract(TABLES)
    assert "Spark Connect at 127.0.0.1:1 does not answer" in found.tables["note"].stopped
    assert (found.tables["small"].inserted, found.tables["small"].stopped) == (2, "")
    caught_up = Extractor(source_of(database), lake, sql).extract(TABLES)
    assert caught_up.tables["note"].inserted == ROWS


def test_a_load_does_not_show_the_password_that_it_carries(database: Database, tmp_path: Path) -> None:
    seen: list[str] = []

    @dataclasses.dataclass(frozen=True)
    class Shown:
        parts: int = 3

        def load(self, load: FirstLoad, target: LoadTarget) -> int:
            seen.append(repr(load))
            return 0

    sql = SqlEngine(256, 2, tmp_path / "tmp")
    lake = Lake(str(tmp_path / "lake"), str(tmp_path / "processed"))
    Extractor(source_of(database), lake, sql, first_loader=Shown()).extract([NOTE])
    assert len(seen) == 1
    assert database.reader.password not in seen[0]


@pytest.mark.parametrize(
    ("keys", "has_workers"),
    [
        ("", False),
        ("engine = sail", False),
        ("spark.first_loads = true", False),
        ("engine = sail\nspark { first_loads = true, partitions = 3 }", True),
    ],
)
def test_first_loads_are_spread_where_the_settings_say_so(
    tmp_path: Path, keys: str, has_workers: bool
) -> None:
    file = tmp_path / "own.conf"
    file.write_text(f'include required(file("{CONFIGURATION}"))\n{keys}\n')
    found = Rooms(load_settings(file)).of(SourceRoom).workers_of_first_loads()
    assert isinstance(found, SparkFirstLoader) == has_workers
    assert found is None or found.parts == 3
