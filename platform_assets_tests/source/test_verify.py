"""Source and lake are compared without a row on the way, and any difference is found where it is."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import duckdb
import pg8000.native
import pyarrow as pa
import pytest

from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.model.dialects import quote
from platform_assets.model.table import (
    HASH_COLUMN,
    PLATFORM_COLUMNS,
    Column,
    Date,
    Float,
    Integer,
    Table,
    Timestamp,
)
from platform_assets.model.totesys.source import TABLES
from platform_assets.sample.embedded import EmbeddedPostgres
from platform_assets.source.catalogue import Relation, declare, read_relations
from platform_assets.source.connection import Connection
from platform_assets.source.outcome import TableChange, Verification
from platform_assets.source.session import adbc_uri
from platform_assets.source.types import SESSION_SETTINGS, decode, select_expression, value_expression
from platform_assets.source.verify import KeyBucket, KeyRange, RangeDifference, TableComparison, compare_table
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import Totesys

pytestmark = pytest.mark.sampled(2)

SEEN_AT = dt.datetime(2023, 3, 1, 10, tzinfo=dt.UTC)


@dataclass
class Bench:
    """A database, a lake on disk, and what was asked of the database."""

    reader: Connection
    owner: pg8000.native.Connection
    duck: duckdb.DuckDBPyConnection
    folder: Path
    statements: list[str] = field(default_factory=list)
    rows_transferred: int = 0

    def run(self, sql: str, **parameters: Any) -> list[Any]:
        rows = list(self.owner.run(sql, **parameters) or [])
        self.statements.append(sql)
        self.rows_transferred += len(rows)
        return rows

    def relation(self, name: str) -> Relation:
        return read_relations(self.owner.run, self.reader.schema, [name])[name]

    def expression(self, name: str) -> Any:
        relation = self.relation(name)
        types = {column.name: column.type for column in relation.columns}
        return lambda column: value_expression(column, types[column.name])

    def lake(self, table: Table) -> LakeTable:
        columns = (*table.columns, *PLATFORM_COLUMNS, HASH_COLUMN)
        return LakeTable(str(self.folder / table.name), columns)

    def capture(
        self,
        table: Table,
        *,
        batch: int = 1,
        change: str = "insert",
        where: str = "true",
        without: str = "false",
    ) -> None:
        """Append rows of the source to the lake as they are now."""
        types = {column.name: column.type for column in self.relation(table.name).columns}
        columns = ", ".join(
            f"{select_expression(column, types[column.name])} AS {quote(column.name)}"
            for column in table.columns
        )
        with adbc_driver_postgresql.dbapi.connect(adbc_uri(self.reader)) as connection:
            cursor = connection.cursor()
            for name, value in SESSION_SETTINGS.items():
                cursor.execute(f"SET {name} = '{value}'")
            query = f"SELECT {columns} FROM {quote(self.reader.schema, table.name)}"
            cursor.execute(f"{query} WHERE ({where}) AND NOT ({without})")
            raw = cursor.fetch_arrow_table()
        arrays = [decode(_one(raw[column.name]), column.type) for column in table.columns]
        self.append(table, arrays, batch=batch, change=change)

    def append(
        self, table: Table, arrays: Sequence[pa.Array], *, batch: int = 1, change: str = "insert"
    ) -> None:
        lake = self.lake(table)
        rows = len(arrays[0])
        stamps = [
            pa.array([change] * rows, pa.string()),
            pa.array([batch] * rows, pa.int64()),
            pa.array([SEEN_AT] * rows, pa.timestamp("us", "UTC")),
            pa.array([0] * rows, pa.int64()),
        ]
        written = pa.Table.from_arrays([*arrays, *stamps], schema=lake.arrow_schema)
        handle = lake.open()
        lake.append(handle, written, stream="test", version=lake.cursor(handle, "test") + 1)

    def compare(self, table: Table, **options: Any) -> TableComparison:
        lake = self.lake(table)
        lake.create_view(self.duck, ["versions"], lake.open())
        self.statements.clear()
        self.rows_transferred = 0
        return compare_table(
            self.run,
            self.duck,
            table,
            relation=quote(self.reader.schema, table.name),
            expression=self.expression(table.name),
            versions="versions",
            **options,
        )

    def found_by(self, table: Table, difference: RangeDifference) -> tuple[set[Any], set[Any]]:
        """The keys of the rows that the predicates of a difference find in the source and in the lake."""
        key = ", ".join(quote(name) for name in table.primary_key)
        source = self.owner.run(
            f"SELECT {key} FROM {quote(self.reader.schema, table.name)} WHERE {difference.source_predicate}"
        )
        lake = self.duck.sql(f"SELECT {key} FROM versions WHERE {difference.lake_predicate}").fetchall()
        return {tuple(row) for row in source or []}, set(lake)


def _one(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


@contextlib.contextmanager
def open_bench(owner: Connection, reader: Connection, folder: Path) -> Iterator[Bench]:
    with (
        contextlib.closing(
            pg8000.native.Connection(
                owner.user,
                host=owner.host,
                port=owner.port,
                database=owner.database,
                password=owner.password,
                ssl_context=False,
            )
        ) as session,
        SqlEngine(256, 2, folder / "tmp").connect() as duck,
    ):
        for name, value in SESSION_SETTINGS.items():
            session.run(f"SET {name} = '{value}'")
        yield Bench(reader, session, duck, folder / "lake")


@pytest.fixture
def bench(new_database: NewDatabase, tmp_path: Path) -> Iterator[Bench]:
    database = new_database()
    with open_bench(database.owner, database.reader, tmp_path) as made:
        yield made


NUMBERS = "CREATE TABLE numbers (id int PRIMARY KEY, a int, b int, t text)"
FILL = "INSERT INTO numbers SELECT i, i % 7, i % 5, 'text ' || i FROM generate_series(1, 1000) AS i"


@pytest.fixture
def numbers(bench: Bench) -> Table:
    """A table of a thousand rows that the lake holds."""
    bench.owner.run(NUMBERS)
    bench.owner.run(FILL)
    table = declare(bench.relation("numbers"))
    bench.capture(table)
    return table


def test_the_tables_of_totesys_are_equal_to_what_was_captured_of_them(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    database = new_database()
    Totesys.with_rows(database)
    with open_bench(database.owner, database.reader, tmp_path) as bench:
        for table in TABLES:
            bench.capture(table)
            comparison = bench.compare(table, rows_per_range=1)
            assert comparison.equal, str(comparison)
            assert comparison.rows_in_source == comparison.rows_in_lake > 0
            assert len(bench.statements) <= 2


# Each column with a value for every row, and what the third row's is changed to.
ZOO: dict[str, tuple[str, tuple[str, ...], str]] = {
    "small": ("smallint", ("-32768", "0", "32767"), "1"),
    "big": ("bigint", ("-9223372036854775808", "0", "9223372036854775807"), "1"),
    "price": ("numeric(10,2)", ("-0.05", "0", "99999999.99"), "99999999.98"),
    "exact": (
        "numeric(38,10)",
        ("-1234567890123456789012345678.0123456789", "0.0000000001", "'NaN'"),
        "0",
    ),
    "whole": ("numeric(38,0)", ("-99999999999999999999999999999999999999", "0", "7"), "8"),
    "share": ("numeric(3,3)", ("-0.5", "0", "0.999"), "0.998"),
    "fraction": ("numeric(38,38)", ("-0.5", "0", "0.00000000000000000000000000000000000001"), "0"),
    "free": ("numeric", ("'NaN'", "1.500", "1e50"), "1.50"),
    "cost": ("money", ("-0.05", "0", "92233720368547758.07"), "92233720368547758.06"),
    "single": ("real", ("'NaN'", "-0.1", "'Infinity'"), "'-Infinity'"),
    "double": ("double precision", ("1e-310", "'-0'", "0.1"), "0.10000000000000002"),
    "text": (
        "text",
        ("'it''s \"x\"\nžluť 東京 🎉 \x1f e\u0301'", "''", "repeat('é', 1000)"),
        "repeat('é', 1001)",
    ),
    "long": (
        "text",
        ("repeat('x', 1001)", "repeat('y', 100000)", "repeat('é', 2000) || 'a'"),
        "repeat('é', 2000) || 'b'",
    ),
    "padded": ("char(5)", ("'ab'", "''", "'abcde'"), "'abcdf'"),
    "bytes": ("bytea", (r"'\x00ff1f'", r"''", r"'\x61'"), r"'\x6100'"),
    "truth": ("boolean", ("true", "false", "true"), "false"),
    "day": ("date", ("'4713-01-01 BC'", "'1969-12-31'", "'infinity'"), "'-infinity'"),
    "far": ("date", ("'5874897-12-31'", "'10000-01-01'", "'2023-03-01'"), "'2023-03-02'"),
    "time": ("time", ("'24:00:00'", "'00:00:00'", "'23:59:59.999999'"), "'23:59:59.999998'"),
    "moment": (
        "timestamp",
        ("'4713-01-01 00:00:00 BC'", "'1969-12-31 23:59:59.999999'", "'infinity'"),
        "'-infinity'",
    ),
    "late": (
        "timestamp",
        ("'294246-12-31 23:59:59.999999'", "'0001-01-01'", "'2023-03-01'"),
        "'2023-03-01 00:00:00.000001'",
    ),
    "zoned": (
        "timestamptz",
        ("'0044-03-15 12:00:00+05 BC'", "'2023-03-01 09:30:15.123+02'", "'-infinity'"),
        "'infinity'",
    ),
    "json": ("jsonb", ("""'{"a": [1, null, "x"]}'""", "'[]'", "'1.50'"), "'1.5000'"),
    "list": ("int[]", ("'{{1,NULL},{3,4}}'", "'{}'", "'{1}'"), "'{NULL}'"),
    "span": ("int4range", ("'[1,5)'", "'empty'", "'(,)'"), "'[1,)'"),
    "address": ("inet", ("'10.0.0.1'", "'10.0.0.0/8'", "'::1'"), "'::1/64'"),
    "interval": ("interval", ("'1 mon -1 day'", "'0'", "'-00:00:00.000001'"), "'0'"),
    "Größe \"x\" select": ("int", ("1", "2", "3"), "4"),
}  # fmt: skip


@pytest.fixture(scope="module")
def zoo(
    new_module_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Bench, Table]]:
    """A table with a value of every kind, and nulls in rows 4 and 5, which the lake holds."""
    database = new_module_database()
    with open_bench(database.owner, database.reader, tmp_path_factory.mktemp("zoo")) as bench:
        columns = ", ".join(f"{quote(name)} {type_}" for name, (type_, _, _) in ZOO.items())
        bench.owner.run(f"CREATE TABLE zoo (id int PRIMARY KEY, {columns})")
        for row in range(3):
            values = ", ".join(values[row] for _, values, _ in ZOO.values())
            bench.owner.run(f"INSERT INTO zoo VALUES ({row + 1}, {values})")
        bench.owner.run("INSERT INTO zoo (id) VALUES (4), (5)")
        table = declare(bench.relation("zoo"))
        bench.capture(table)
        yield bench, table


def test_values_of_every_type_are_equal_on_both_sides(zoo: tuple[Bench, Table]) -> None:
    bench, table = zoo
    comparison = bench.compare(table, rows_per_range=1)
    assert comparison.differing == ()
    assert (comparison.rows_in_source, comparison.rows_in_lake) == (5, 5)
    assert str(comparison) == "zoo: source and lake hold the same 5 rows."


@pytest.mark.sampled(3)
@pytest.mark.parametrize("to", ["another value", "null", "a value from null"])
@pytest.mark.parametrize("name", ZOO)
def test_one_changed_value_of_any_type_is_found(zoo: tuple[Bench, Table], name: str, to: str) -> None:
    bench, table = zoo
    row = 4 if to == "a value from null" else 2 if to == "null" else 3
    value = "NULL" if to == "null" else ZOO[name][2]
    bench.owner.run("BEGIN")
    try:
        bench.owner.run(f"UPDATE zoo SET {quote(name)} = {value} WHERE id = {row}")
        comparison = bench.compare(table, rows_per_range=1)
        assert not comparison.equal
        (difference,) = comparison.differing
        assert (row,) in bench.found_by(table, difference)[0]
        assert len(bench.found_by(table, difference)[0]) <= 2
    finally:
        bench.owner.run("ROLLBACK")


def test_an_edit_that_the_lake_missed_is_located_by_the_range_of_its_key(
    bench: Bench, numbers: Table
) -> None:
    bench.owner.run("UPDATE numbers SET a = a + 1 WHERE id = 437")
    comparison = bench.compare(numbers, rows_per_range=100)
    (difference,) = comparison.differing
    assert isinstance(difference.keys, KeyRange)
    lower, upper = difference.keys.lower, difference.keys.upper
    assert lower is not None
    assert upper is not None
    assert lower <= 437 < upper < lower + 150
    assert difference.source_rows == difference.lake_rows == upper - lower
    assert comparison.ranges == 10
    rows = upper - lower
    assert str(comparison) == (
        "numbers: 1 of 10 ranges of keys differ between source (1,000 rows) and lake (1,000 rows): "
        f"id from {lower} to below {upper} ({rows} rows in both, of different content)."
    )
    keys = {(key,) for key in range(lower, upper)}
    assert bench.found_by(numbers, difference) == (keys, keys)
    bench.capture(numbers, batch=2, change="update", where=difference.source_predicate)
    assert bench.compare(numbers, rows_per_range=100).equal


def test_rows_that_only_one_side_has_are_located_also_beyond_the_last_key(
    bench: Bench, numbers: Table
) -> None:
    bench.owner.run("DELETE FROM numbers WHERE id = 1")
    bench.owner.run("INSERT INTO numbers VALUES (-2147483648, 0, 0, ''), (2147483647, 0, 0, '')")
    comparison = bench.compare(numbers, rows_per_range=100)
    first, last = comparison.differing
    assert isinstance(first.keys, KeyRange)
    assert isinstance(last.keys, KeyRange)
    assert first.keys.lower is None
    assert last.keys.upper is None
    assert (first.source_rows, last.source_rows) == (first.lake_rows, last.lake_rows + 1)
    assert (comparison.rows_in_source, comparison.rows_in_lake) == (1001, 1000)
    assert f"id below {first.keys.upper} (" in str(comparison)
    assert f"id from {last.keys.lower} on ({last.source_rows} rows in the source and " in str(comparison)
    assert (-2147483648,) in bench.found_by(numbers, first)[0]
    assert (1,) in bench.found_by(numbers, first)[1]
    assert (2147483647,) in bench.found_by(numbers, last)[0]


def test_the_latest_version_of_each_row_counts_and_deleted_rows_do_not(bench: Bench, numbers: Table) -> None:
    bench.owner.run("UPDATE numbers SET t = 'new' WHERE id <= 300")
    bench.capture(numbers, batch=2, change="update", where="id <= 300")
    bench.capture(numbers, batch=2, change="delete", where="id > 900")
    bench.owner.run("UPDATE numbers SET t = 'newer' WHERE id <= 100")
    bench.capture(numbers, batch=3, change="update", where="id <= 100")
    bench.capture(numbers, batch=3, change="insert", where="id > 990")
    bench.owner.run("DELETE FROM numbers WHERE id > 900 AND id <= 990")
    comparison = bench.compare(numbers, rows_per_range=50)
    assert comparison.equal, str(comparison)
    assert comparison.rows_in_lake == 910
    bench.owner.run("UPDATE numbers SET t = 'new' WHERE id = 50")  # as an older version had it
    assert len(bench.compare(numbers, rows_per_range=50).differing) == 1


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE numbers SET a = b, b = a WHERE id = 6",
        "UPDATE numbers SET t = CASE id WHEN 1 THEN 'text 2' ELSE 'text 1' END WHERE id IN (1, 2)",
        "UPDATE numbers SET id = 3000 - id WHERE id IN (1000, 999)",
        "UPDATE numbers SET a = NULL, b = a WHERE id = 6",
    ],
    ids=["columns", "rows", "keys", "null"],
)
def test_values_that_change_places_are_a_difference(bench: Bench, numbers: Table, edit: str) -> None:
    bench.owner.run(edit)
    assert not bench.compare(numbers).equal


def test_nulls_and_empty_texts_that_change_places_are_a_difference(bench: Bench) -> None:
    bench.owner.run("CREATE TABLE texts (id int PRIMARY KEY, a text, b text, c int, d int)")
    rows = "(1, 'a', 'b', 1, NULL), (2, NULL, '', NULL, 1), (3, 'a\x1f1\x1fb', '', 1, NULL)"
    bench.owner.run(f"INSERT INTO texts VALUES {rows}")
    table = declare(bench.relation("texts"))
    bench.capture(table)
    assert bench.compare(table).equal
    for edit in (
        "UPDATE texts SET c = d, d = c WHERE id = 1",
        "UPDATE texts SET a = b, b = a WHERE id = 2",
        "UPDATE texts SET a = 'a', b = 'b\x1f1\x1f' WHERE id = 3",
    ):
        bench.owner.run("BEGIN")
        bench.owner.run(edit)
        assert not bench.compare(table).equal, edit
        bench.owner.run("ROLLBACK")


def test_rows_with_composite_keys_are_located_by_a_hash_of_the_key(bench: Bench) -> None:
    bench.owner.run(
        """CREATE TABLE "Straße"
        ("Köln" text, day date, price numeric(10,2), v int, PRIMARY KEY ("Köln", day, price))"""
    )
    bench.owner.run(
        """INSERT INTO "Straße" SELECT 'Nr. ''' || i % 100 || E'\\n"ß"', DATE '2023-01-01' + i / 100,
        i * 0.01, i FROM generate_series(1, 5000) AS i"""
    )
    table = declare(bench.relation("Straße"))
    bench.capture(table)
    assert bench.compare(table, rows_per_range=100).equal
    bench.owner.run("""UPDATE "Straße" SET v = 0 WHERE v = 777""")
    comparison = bench.compare(table, rows_per_range=100)
    (difference,) = comparison.differing
    assert isinstance(difference.keys, KeyBucket)
    assert difference.keys.bits == 6
    assert comparison.ranges == 64
    source, lake = bench.found_by(table, difference)
    assert source == lake
    assert len(source) == difference.source_rows == difference.lake_rows
    assert 40 < len(source) < 130
    assert ('Nr. \'77\n"ß"', dt.date(2023, 1, 8), Decimal("7.77")) in source
    assert f"Köln, day, price in hash bucket {difference.keys.number} of 64 (" in str(comparison)
    assert "Nr." not in str(comparison)


@pytest.mark.parametrize("type_", ["text", "uuid", "numeric(20,0)", "date", "bytea"])
def test_a_row_that_the_lake_lacks_is_found_by_a_key_of_any_type(bench: Bench, type_: str) -> None:
    value = {
        "text": "'key ' || i",
        "uuid": "md5(CAST(i AS text))",
        "numeric(20,0)": "i * 1e15",
        "date": "DATE '1969-12-01' + i",
        "bytea": "decode(md5(CAST(i AS text)), 'hex')",
    }[type_]
    bench.owner.run(f"CREATE TABLE keyed (k {type_} PRIMARY KEY, v int)")
    bench.owner.run(f"INSERT INTO keyed SELECT CAST({value} AS {type_}), i FROM generate_series(1, 200) AS i")
    table = declare(bench.relation("keyed"))
    bench.capture(table, without="v = 123")
    (difference,) = bench.compare(table, rows_per_range=10).differing
    assert difference.source_rows == difference.lake_rows + 1
    source, lake = bench.found_by(table, difference)
    assert len(source) == difference.source_rows
    assert len(lake) == difference.lake_rows
    bench.capture(table, batch=2, where=f"({difference.source_predicate}) AND v = 123")
    assert bench.compare(table, rows_per_range=10).equal


def test_only_sums_travel_and_the_source_is_scanned_once(bench: Bench, numbers: Table) -> None:
    assert bench.compare(numbers, rows_per_range=100).equal
    assert len(bench.statements) == 1
    assert bench.rows_transferred == 10
    (plan,) = bench.owner.run(f"EXPLAIN (FORMAT json) {bench.statements[0]}")[0]
    assert str(plan).count("Scan on numbers") + str(plan).count("'Relation Name': 'numbers'") == 1


def test_an_empty_table_equals_an_empty_lake(bench: Bench) -> None:
    bench.owner.run("CREATE TABLE empty (id int PRIMARY KEY, price numeric(10,2), day date, t text)")
    bench.owner.run("CREATE TABLE empty_text (id text PRIMARY KEY, price numeric(38,2))")
    for name in ("empty", "empty_text"):
        table = declare(bench.relation(name))
        comparison = bench.compare(table)
        assert comparison.equal
        assert str(comparison) == f"{name}: source and lake hold the same 0 rows."
    bench.owner.run("INSERT INTO empty VALUES (1, 1, '2023-01-01', '')")
    table = declare(bench.relation("empty"))
    comparison = bench.compare(table)
    assert str(comparison) == (
        "empty: 1 of 1 ranges of keys differ between source (1 row) and lake (0 rows): "
        "all of id (1 row in the source and 0 in the lake)."
    )
    assert bench.found_by(table, comparison.differing[0]) == ({(1,)}, set())


@pytest.mark.soak
def test_many_columns_are_compared_as_well_as_few(bench: Bench) -> None:
    names = [f"c{number}" for number in range(1_500)]
    bench.owner.run(f"CREATE TABLE wide (id int PRIMARY KEY, {', '.join(f'{name} text' for name in names)})")
    bench.owner.run("INSERT INTO wide (id, c3, c99, c1499) VALUES (1, 'a', NULL, 'z'), (2, 'a', 'b', NULL)")
    table = declare(bench.relation("wide"))
    bench.capture(table)
    assert bench.compare(table).equal
    bench.owner.run("UPDATE wide SET c39 = c3, c3 = c39 WHERE id = 1")
    assert not bench.compare(table).equal
    bench.owner.run("UPDATE wide SET c39 = c3, c3 = c39 WHERE id = 1")
    bench.owner.run("UPDATE wide SET c1498 = c1499, c1499 = c1498 WHERE id = 1")
    assert not bench.compare(table).equal


def test_columns_that_the_source_has_dropped_can_be_left_out(bench: Bench, numbers: Table) -> None:
    bench.owner.run("ALTER TABLE numbers DROP COLUMN a")
    left = [column for column in numbers.columns if column.name != "a"]
    assert bench.compare(numbers, columns=left).equal
    bench.owner.run("UPDATE numbers SET b = b + 1 WHERE id = 1")
    assert not bench.compare(numbers, columns=left).equal


@pytest.mark.parametrize("type_", ["int", "text"])
@pytest.mark.parametrize("key", ["number", "version", "k0", "row", "c1", "source"])
def test_a_column_may_be_called_anything(bench: Bench, key: str, type_: str) -> None:
    names = [name for name in ("number", "version", "k0", "k1", "c0", "c1", "source", "row") if name != key]
    columns = ", ".join(f"{quote(name)} int" for name in names)
    bench.owner.run(f"CREATE TABLE source ({columns}, {quote(key)} {type_} PRIMARY KEY)")
    values = ", ".join(f"i * {place}" for place in range(len(names)))
    bench.owner.run(f"INSERT INTO source SELECT {values}, i FROM generate_series(1, 40) AS i")
    table = declare(bench.relation("source"))
    bench.capture(table)
    assert bench.compare(table, rows_per_range=10).equal
    bench.owner.run(f"UPDATE source SET k1 = 0 WHERE {quote(key)} = '7'")
    assert len(bench.compare(table, rows_per_range=10).differing) == 1


def test_of_many_differing_ranges_the_first_ten_are_named(bench: Bench, numbers: Table) -> None:
    bench.owner.run("UPDATE numbers SET a = a + 1")
    comparison = bench.compare(numbers, rows_per_range=50)
    assert len(comparison.differing) == comparison.ranges == 20
    assert str(comparison).count(" in both, of different content") == 10
    assert str(comparison).endswith("; and 10 ranges more.")


def test_what_a_declared_type_does_not_hold_is_null_on_both_sides(bench: Bench) -> None:
    bench.owner.run("CREATE TABLE strict (id int PRIMARY KEY, day date, moment timestamp, weight real)")
    bench.owner.run(
        "INSERT INTO strict VALUES (1, 'infinity', '-infinity', 0.1), (2, '2023-03-01', 'now', 2)"
    )
    types = (Date(), Timestamp(), Float(32))
    columns = (Column(name, type_) for name, type_ in zip(("day", "moment", "weight"), types, strict=True))
    table = Table("strict", "A row each.", (Column("id", Integer()), *columns), ("id",))
    bench.capture(table)
    assert bench.compare(table, rows_per_range=1).equal
    for edit in ("day = day + 1", "moment = moment + interval '1 us'", "weight = weight + 1"):
        bench.owner.run("BEGIN")
        bench.owner.run(f"UPDATE strict SET {edit} WHERE id = 2")
        assert len(bench.compare(table, rows_per_range=1).differing) == 1
        bench.owner.run("ROLLBACK")


def test_rows_without_a_key_are_in_the_first_range(bench: Bench) -> None:
    bench.owner.run("CREATE TABLE loose (id int, v int)")
    bench.owner.run("INSERT INTO loose SELECT nullif(i, 5), i FROM generate_series(1, 20) AS i")
    columns = (Column("id", Integer(), nullable=True), Column("v", Integer(), nullable=True))
    table = Table("loose", "A row each.", columns, ("id",))
    bench.capture(table)
    assert bench.compare(table, rows_per_range=5).equal
    bench.owner.run("UPDATE loose SET v = 0 WHERE id IS NULL")
    (difference,) = bench.compare(table, rows_per_range=5).differing
    assert isinstance(difference.keys, KeyRange)
    assert difference.keys.lower is None
    source, lake = bench.found_by(table, difference)
    assert (None,) in source & lake


def test_a_database_in_another_encoding_is_compared_as_unicode(
    postgres_server: EmbeddedPostgres, new_database: NewDatabase, tmp_path: Path
) -> None:
    first, name = new_database(), f"latin_{secrets.token_hex(4)}"
    with open_bench(first.owner, first.reader, tmp_path / "first") as bench:
        bench.owner.run(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0")
    owner = dataclasses.replace(first.owner, database=name)
    try:
        with open_bench(owner, owner, tmp_path) as bench:
            assert bench.owner.run("SHOW server_encoding") == [["LATIN1"]]
            bench.owner.run("CREATE TABLE texts (k text PRIMARY KEY, t text)")
            bench.owner.run("INSERT INTO texts VALUES ('é', 'Größe'), ('e', repeat('ß', 3000))")
            table = declare(bench.relation("texts"))
            bench.capture(table)
            assert bench.compare(table, rows_per_range=1).equal
            bench.owner.run("UPDATE texts SET t = 'Grösse' WHERE k = 'é'")
            assert len(bench.compare(table, rows_per_range=1).differing) == 1
    finally:
        postgres_server.drop_database(name)


def test_the_sentence_of_a_verification_ends_with_one_full_stop() -> None:
    table = Table("t", "", (Column("id", Integer()),), ("id",))
    differing = RangeDifference(KeyRange(), 2, 1, "true", "true")
    found = TableComparison(table, 2, 1, 1, (differing,))
    for after in (found, TableComparison(table, 2, 2, 1, ())):
        sentence = Verification(found, TableChange(inserted=1), after).sentence
        assert sentence.endswith(".")
        assert ".." not in sentence
        assert ".;" not in sentence
