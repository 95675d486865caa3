"""Every PostgreSQL type arrives in the lake as the server prints it, or in its declared representation.

Values are written as SQL literals, read through ADBC with the module's expressions, written to Delta, and
read back by DuckDB and by Arrow. What they must be is asked of the server's own output functions.
"""

from __future__ import annotations

import datetime as dt
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal as Number
from pathlib import Path
from typing import Any
from urllib.parse import quote as url_quote

import adbc_driver_manager
import adbc_driver_postgresql
import duckdb
import pg8000.native
import pyarrow as pa
import pytest

from platform_assets.lake.arrow import arrow_type
from platform_assets.lake.delta import LakeTable
from platform_assets.model.dialects import quote
from platform_assets.model.table import (
    HASH_COLUMN,
    Binary,
    Boolean,
    Column,
    Date,
    Decimal,
    Float,
    Integer,
    LogicalType,
    Table,
    Text,
    Time,
    Timestamp,
)
from platform_assets.source.catalogue import Relation, declare, read_relations
from platform_assets.source.connection import Connection
from platform_assets.source.types import (
    SESSION_SETTINGS,
    SourceType,
    decode,
    holds,
    is_readable,
    logical_type,
    may_lose_to_null,
    select_expression,
    written,
)
from platform_assets_tests.fixtures.postgres import Database, NewDatabase

pytestmark = pytest.mark.sampled(2)

BATCH = Column("_batch", Integer(64))
TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'überglücklich', 'it''s "so so", {really}');
CREATE TYPE pair AS (number integer, note text);
CREATE TYPE nest AS (pair pair, moods mood[], period tstzrange);
CREATE DOMAIN price AS numeric(12,2) CHECK (VALUE > 0);
CREATE DOMAIN net_price AS price;
CREATE DOMAIN counted AS bigint NOT NULL;
CREATE DOMAIN numbers AS integer[];
CREATE DOMAIN positive_pair AS pair CHECK ((VALUE).number > 0);
CREATE DOMAIN label AS varchar(20);
CREATE TYPE floatrange AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE EXTENSION vector;
-- The server's wheel lacks the citext extension; this is what it declares.
CREATE TYPE citext;
CREATE FUNCTION citextin(cstring) RETURNS citext LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION citextout(citext) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE citext (INPUT = citextin, OUTPUT = citextout, LIKE = text, CATEGORY = 'S');
-- A type that is called like one of PostgreSQL's, and one whose cast to text says something else.
CREATE TYPE "date" AS ENUM ('apple', 'medjool');
CREATE TYPE shy AS ENUM ('secret');
CREATE FUNCTION hide(shy) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'nothing' $$;
CREATE CAST (shy AS text) WITH FUNCTION hide(shy);
-- The server's wheel has no parser for XML, so that documents are made of bytes.
CREATE CAST (bytea AS xml) WITHOUT FUNCTION;
"""


@dataclass(frozen=True)
class Case:
    """A type, some of its values as SQL, and the logical type that the lake is to hold it as.

    `differs` has the values that the lake holds in a declared representation of its own, as DuckDB prints it.
    """

    type: str
    lake: LogicalType
    values: Sequence[str]
    differs: Mapping[str, str | None] = field(default_factory=dict)


INSTANT, WALL_CLOCK = Timestamp(utc=True, infinite=True), Timestamp(infinite=True)
CASES = [
    Case("smallint", Integer(64), ["-32768", "0", "32767"]),
    Case("integer", Integer(64), ["-2147483648", "0", "2147483647"]),
    Case("bigint", Integer(64), ["-9223372036854775808", "0", "9223372036854775807"]),
    Case("oid", Integer(64), ["0", "2147483648", "4294967295"]),
    Case(
        "numeric(10,2)", Decimal(38, 2), ["0", "-0.01", "99999999.99", "-99999999.99", "1.005"]
        , {"'NaN'": None}
    ),
    Case("numeric(18,0)", Decimal(38, 0), ["999999999999999999", "-999999999999999999"], {"'NaN'": None}),
    Case("numeric(18,18)", Decimal(38, 18), ["0.999999999999999999", "-0.000000000000000001"]),
    Case("numeric(19,2)", Decimal(38, 2), ["99999999999999999.99", "-99999999999999999.99"], {"'NaN'": None}),
    Case("numeric(38,10)", Decimal(38, 10), ["9999999999999999999999999999.9999999999", "-0.0000000001"]),
    Case("numeric(38,0)", Decimal(38, 0), ["99999999999999999999999999999999999999"], {"'NaN'": None}),
    Case("numeric(38,38)", Decimal(38, 38), ["0.99999999999999999999999999999999999999", "-1e-38"]),
    Case("numeric(39,1)", Text(), ["99999999999999999999999999999999999999.9", "'NaN'", "0"]),
    Case("numeric(3,-2)", Text(), ["12345", "-99900"]),
    Case("numeric(2,4)", Text(), ["0.0099", "-0.0001"]),
    Case(
        "numeric",
        Text(),
        ["1.10", "1.1", "'NaN'", "'Infinity'", "'-Infinity'", "1e-1000", "repeat('9', 5000)::numeric"],
    ),
    Case(
        "money",
        Decimal(22, 3),
        [],
        {
            "'1234.56'": "1234.560",
            "'-92233720368547758.08'": "-92233720368547758.080",
            "'92233720368547758.07'": "92233720368547758.070",
        },
    ),
    Case("money[]", Text(), ["'{1.5,NULL,-1234.56}'"]),
    Case("real", Float(32), ["0.1", "'-0'", "3.4028235e38", "1e-45", "'NaN'", "'Infinity'", "'-Infinity'"]),
    Case(
        "double precision",
        Float(64),
        ["0.1", "'-0'", "1.7976931348623157e308", "5e-324", "'NaN'", "'Infinity'", "'-Infinity'"],
    ),
    Case("text", Text(), ["''", "' '", "E'\\t\\n \\\\ \"q\"'", "'€ 🎉 e\u0301'", "'NULL'", "chr(65534)"]),
    Case("varchar", Text(), ["''", "'x  '"]),
    Case("varchar(4)", Text(), ["'🎉🎉🎉🎉'", "'a   '"]),
    Case("char(5)", Text(), ["''", "'a'", "'€ b'"]),
    Case('"char"', Text(), ["'x'", "''", "E'\\\\351'"]),
    Case("name", Text(), ["'a_name'", "repeat('é', 31)"]),
    Case("citext", Text(), ["'MiXed'", "''"]),
    Case("bytea", Binary(), ["''", "'\\x00ff10'", "'\\x5c783030'", "'NULL'"]),
    Case("boolean", Boolean(), ["true", "false"]),
    Case(
        "date",
        Date(infinite=True),
        [
            "'2024-02-29'", "'1970-01-01'", "'1969-12-31'", "'0001-01-01'", "'0001-12-31 BC'",
            "'4714-11-24 BC'",
            "'9999-12-31'", "'10000-01-01'", "'262143-01-01'", "'5874897-12-31'", "'infinity'", "'-infinity'",
        ],
    ),
    Case(
        "timestamp",
        WALL_CLOCK,
        [
            "'2024-02-29 23:59:59.999999'", "'1969-12-31 23:59:59.999999'", "'0001-12-31 23:59:59 BC'",
            "'4714-11-24 00:00:00 BC'", "'10000-01-01 00:00:00.1'", "'294247-01-10 04:00:54.775805'",
            "'infinity'",
            "'-infinity'",
        ],
        {"'294247-01-10 04:00:54.775806'": "infinity", "'294276-12-31 23:59:59.999999'": "infinity"},
    ),
    Case("timestamp(0)", WALL_CLOCK, ["'2024-02-29 23:59:59.9'", "'infinity'"]),
    Case(
        "timestamptz",
        INSTANT,
        [
            "'2024-03-31 02:30:00.000001+02'", "'1969-12-31 23:59:59.999999Z'", "'4714-11-24 00:00:00Z BC'",
            "'10000-01-01 00:00:00Z'", "'294247-01-10 04:00:54.775805Z'", "'infinity'", "'-infinity'",
        ],
        {"'294247-01-10 04:00:54.775806Z'": "infinity", "'294276-12-31 23:59:59.999999Z'": "infinity"},
    ),
    Case(
        "time",
        Time(),
        ["'23:59:59.999999'"],
        {"'00:00'": "00:00:00.000000", "'12:30:00.5'": "12:30:00.500000", "'24:00'": "24:00:00.000000"},
    ),
    Case("timetz", Text(), ["'12:00:00.5+05:30'", "'24:00:00-15:59'"]),
    Case("interval", Text(), ["'1 year -2 mons 3 days -04:05:06.789'", "'0'", "'infinity'"]),
    Case("uuid", Text(), ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "repeat('0', 32)::uuid"]),
    Case("json", Text(), ["'{\"b\":  1,\"a\":[null], \"b\":2}'", "'null'", "'1e400'", "E'\"\\\\u00e9\"'"]),
    Case("jsonb", Text(), ["'{\"b\":  1,\"a\":[null], \"b\":2}'", "'null'", "'1e400'", "'\"é\"'"]),
    Case("jsonpath", Text(), ["'$.a[*] ? (@ > 1)'"]),
    Case("xml", Text(), ["convert_to('<a b=\"1\">é<!-- --></a>', 'UTF8')::xml"]),
    Case("xml[]", Text(), ["ARRAY[convert_to('<a b=\"1\"/>', 'UTF8')::xml, NULL]"]),
    Case("mood", Text(), ["'sad'", "'überglücklich'", "'it''s \"so so\", {really}'"]),
    Case('public."date"', Text(), ["'apple'", "'medjool'"]),
    Case("shy", Text(), ["'secret'"]),
    Case("price", Decimal(38, 2), ["0.01", "9999999999.99"]),
    Case("net_price", Decimal(38, 2), ["0.01", "9999999999.99"]),
    Case("counted", Integer(64), ["-1"]),
    Case("numbers", Text(), ["'{1,NULL}'", "'{}'"]),
    Case("label", Text(), ["'x '"]),
    Case("pair", Text(), ["ROW(1, 'a \"b\", (c)')", "ROW(NULL, NULL)", "ROW(1, NULL)", "ROW(NULL, '')"]),
    Case("positive_pair", Text(), ["ROW(1, NULL)", "ROW(NULL, NULL)"]),
    Case(
        "nest",
        Text(),
        [
            "ROW(ROW(1, 'x'), '{sad,NULL}', '[2024-01-01 00:00+02,)')", "ROW(NULL, NULL, NULL)",
            "ROW(ROW(NULL, NULL), '{}', 'empty')",
        ],
    ),
    Case("pair[]", Text(), ["ARRAY[ROW(1, 'a,b')::pair, NULL, ROW(NULL, NULL)::pair]"]),
    Case("integer[]", Text(), ["'{}'", "'{1,NULL,-3}'", "'{{1,2},{3,NULL}}'", "'[0:1]={5,6}'"]),
    Case("integer[][][]", Text(), ["'{{{1},{NULL}},{{3},{4}}}'"]),
    Case("text[]", Text(), ["'{\"\",NULL,\"NULL\",\"a,b\",\"{c}\"}'", "ARRAY[E'q\"\\\\', ' ']"]),
    Case("boolean[]", Text(), ["'{t,f,NULL}'"]),
    Case("char(3)[]", Text(), ["'{a,bcd}'"]),
    Case("bytea[]", Text(), ["ARRAY['\\x00ff'::bytea, NULL]"]),
    Case("double precision[]", Text(), ["'{NaN,Infinity,-0,0.1}'"]),
    Case("timestamptz[]", Text(), ["'{\"2024-01-01 00:00+02\",infinity,NULL}'"]),
    Case("mood[]", Text(), ["'{ok,NULL}'"]),
    Case("json[]", Text(), ["ARRAY['{\"a\": 1}'::json, NULL]"]),
    Case("box[]", Text(), ["'{(1,2),(3,4);(5,6),(7,8)}'"]),
    Case("int4range", Text(), ["'[1,10]'", "'empty'", "'(,)'"]),
    Case("numrange", Text(), ["'(1.50,NaN)'", "'[,2]'"]),
    Case("tstzrange", Text(), ["'[2024-01-01 00:00+02, infinity)'"]),
    Case("daterange", Text(), ["'[2024-01-01,2024-12-31]'", "'[4713-01-01 BC,infinity)'"]),
    Case("floatrange", Text(), ["'[0.1,Infinity)'"]),
    Case("int8multirange", Text(), ["'{[1,3), [5,6]}'", "'{}'"]),
    Case("datemultirange", Text(), ["'{[2024-01-01,2024-02-01), (2025-01-01,)}'"]),
    Case("tsrange[]", Text(), ["ARRAY[tsrange('2024-01-01', NULL), NULL]"]),
    Case("inet", Text(), ["'192.168.0.1'", "'192.168.0.1/24'", "'::1'", "'fe80::1/64'"]),
    Case("cidr", Text(), ["'10.0.0.0/8'", "'192.168.0.1/32'", "'2001:db8::/32'"]),
    Case("macaddr", Text(), ["'08:00:2B:01:02:03'"]),
    Case("macaddr8", Text(), ["'08:00:2b:01:02:03:04:05'"]),
    Case("bit(3)", Text(), ["B'101'"]),
    Case("bit varying", Text(), ["B''", "B'0101'"]),
    Case("tsvector", Text(), ["to_tsvector('english', 'The Fat Rats')", "'a:1A ''it''''s'''", "''"]),
    Case("tsquery", Text(), ["'fat & (rat:* | !cat:AB)'"]),
    Case("point", Text(), ["'(1.5,-0)'", "'(NaN,Infinity)'"]),
    Case("polygon", Text(), ["'((0,0),(1,1),(1,0))'"]),
    Case("circle", Text(), ["'<(0.1,0),2>'"]),
    Case("pg_lsn", Text(), ["'16/B374D848'"]),
    Case("xid8", Text(), ["'18446744073709551615'"]),
    Case("tid", Text(), ["'(1,2)'"]),
    Case("regclass", Text(), ["'pg_catalog.pg_class'"]),
    Case("int2vector", Text(), ["'1 2 3'"]),
    Case("vector(3)", Text(), ["'[1,2.5,-3]'"]),
]  # fmt: skip


@dataclass(frozen=True)
class Server:
    """One database, read as the platform reads: ADBC for rows, pg8000 for the catalogue and the truth."""

    control: pg8000.native.Connection
    bulk: adbc_driver_manager.AdbcConnection

    def relation(self, name: str) -> Relation:
        return read_relations(self.control.run, "public", [name])[name]

    def read(self, relation: Relation, table: Table) -> pa.Table:
        expressions = [
            f"{select_expression(column, source.type)} AS {quote(column.name)}"
            for column in table.columns
            if (source := relation.column(column.name))
        ]
        with adbc_driver_manager.AdbcStatement(self.bulk) as statement:
            statement.set_sql_query(
                f"SELECT {', '.join(expressions)} FROM {quote(relation.schema, relation.name)}"
            )
            handle, _ = statement.execute_query()
            read = pa.RecordBatchReader._import_from_c(handle.address).read_all().combine_chunks()
        arrays = [
            decode(chunked.combine_chunks(), column.type)
            for chunked, column in zip(read.columns, table.columns, strict=True)
        ]
        return pa.table(arrays, names=list(table.column_names))

    def printed(self, sql: str) -> list[list[str | None]]:
        """Rows of one column and more as the server's output functions print them."""
        return [list(row) for row in self.control.run(sql)]


def connect(connection: Connection, settings: Mapping[str, str] = SESSION_SETTINGS) -> Server:
    bulk = adbc_driver_manager.AdbcConnection(
        adbc_driver_postgresql.connect(
            f"postgresql://{url_quote(connection.user)}:{url_quote(connection.password)}@{connection.host}:"
            f"{connection.port}/{connection.database}?client_encoding=UTF8"
        )
    )
    control = pg8000.native.Connection(
        connection.user,
        host=connection.host,
        port=connection.port,
        database=connection.database,
        password=connection.password,
    )
    for name, value in settings.items():
        control.run(f"SET {name} = '{value}'")
        with adbc_driver_manager.AdbcStatement(bulk) as statement:
            statement.set_sql_query(f"SET {name} = '{value}'")
            statement.execute_update()
    return Server(control, bulk)


@pytest.fixture(scope="module")
def database(new_module_database: NewDatabase) -> Database:
    return new_module_database()


@pytest.fixture(scope="module")
def server(database: Database) -> Iterator[Server]:
    server = connect(database.owner)
    execute(server, TYPES)
    yield server
    server.control.close()
    server.bulk.close()


def execute(server: Server, script: str) -> None:
    for command in re.sub(r"^ *--.*$", "", script, flags=re.MULTILINE).split(";"):
        if command.strip():
            server.control.run(command)


def through_the_lake(rows: pa.Table, table: Table, place: Path) -> tuple[pa.Table, duckdb.DuckDBPyConnection]:
    """Write rows to a Delta table twice, compact it, and read the first half back, as Arrow and in DuckDB."""
    lake = LakeTable(str(place / "table"), (*table.columns, BATCH, HASH_COLUMN))
    for batch in (1, 2):
        number = pa.array([batch] * len(rows), pa.int64())
        stamped = rows.append_column("_batch", number).append_column(HASH_COLUMN.name, number)
        lake.append(lake.open(), stamped, stream="s", version=batch)
    handle = lake.open()
    assert handle is not None
    handle.optimize.compact()
    handle.create_checkpoint()
    handle = lake.open()
    assert lake.row_count(handle) == 2 * len(rows)
    assert lake.last_batch(handle) == (2 if len(rows) else 0)
    scanned = lake.scan(handle).read_all()
    scanned = scanned.filter(pa.compute.equal(scanned["_batch"], 1)).drop_columns(["_batch", "_hash"])
    connection = duckdb.connect(config={"autoinstall_known_extensions": False})
    connection.execute("SET TimeZone = 'UTC'")
    lake.create_view(connection, ["lake"], handle, batches=(0, 1))
    return scanned, connection


def as_the_server_prints(value: Any, type_: LogicalType, source: str) -> str | None:
    """What DuckDB gives for a value of the lake, in PostgreSQL's notation."""
    if value is None:
        return None
    match type_:
        case Boolean():
            return {"true": "t", "false": "f"}[value]
        case Date() | Timestamp():
            # DuckDB writes 4713-01-01 (BC) 00:00:00, PostgreSQL 4713-01-01 00:00:00 BC.
            return value.replace(" (BC)", "") + " BC" if " (BC)" in value else str(value)
        case Decimal():
            return format(value, "f")
        case Float():
            number = struct.unpack("f", struct.pack("f", value))[0] if source == "real" else value
            return struct.pack("d", number).hex()
        case _:
            return str(value)


def expected(printed: str | None, type_: LogicalType, source: str) -> str | None:
    if printed is not None and isinstance(type_, Float):
        number = float(printed)
        return struct.pack(
            "d", struct.unpack("f", struct.pack("f", number))[0] if source == "real" else number
        ).hex()
    return printed


@pytest.mark.parametrize("case", CASES, ids=[case.type for case in CASES])
def test_every_type_arrives_as_the_server_prints_it(server: Server, case: Case, tmp_path: Path) -> None:
    literals = [*case.values, *case.differs, *([] if case.type == "counted" else ["NULL"])]
    execute(server, f"DROP TABLE IF EXISTS v; CREATE TABLE v (id integer PRIMARY KEY, value {case.type})")
    for number, literal in enumerate(literals):
        server.control.run(f"INSERT INTO v VALUES ({number}, {literal})")
    relation = server.relation("v")
    table = declare(relation)
    assert table.column("value").type == case.lake
    scanned, duck = through_the_lake(server.read(relation, table), table, tmp_path)

    # format() prints with the type's output function, and nothing for NULL, which the values here tell apart.
    truth = dict(
        server.printed("SELECT id, CASE WHEN num_nulls(value) = 0 THEN format('%s', value) END FROM v")
    )
    truth = {number: expected(text, case.lake, case.type) for number, text in truth.items()}
    for literal, differs in case.differs.items():
        truth[literals.index(literal)] = differs
    value = {Float: "value", Decimal: "value", Binary: "'\\x' || lower(hex(value))"}.get(
        type(case.lake), "CAST(value AS VARCHAR)"
    )
    found = {
        number: as_the_server_prints(held, case.lake, case.type)
        for number, held in duck.execute(f"SELECT id, {value} FROM lake").fetchall()
    }
    assert found == truth
    # Arrow has no way to print some of these; that it holds the same as DuckDB is what matters.
    by_arrow = scanned.sort_by("id")["value"].combine_chunks()
    by_duckdb = duck.sql("SELECT value FROM lake ORDER BY id").to_arrow_table()["value"].combine_chunks()
    assert by_arrow.type == arrow_type(case.lake)
    assert (
        by_arrow.to_pylist() == by_duckdb.to_pylist()
        if _has_python_values(case)
        else (by_arrow.cast(_bits(case)).equals(by_duckdb.cast(by_arrow.type).cast(_bits(case))))
    )


def _has_python_values(case: Case) -> bool:
    return not isinstance(case.lake, Date | Timestamp | Float)


def _bits(case: Case) -> pa.DataType:
    return {Date: pa.int32(), Timestamp: pa.int64(), Float: pa.string()}[type(case.lake)]


def arrived(server: Server, table: Table) -> list[dict[str, Any]]:
    relation = server.relation(table.name)
    return server.read(relation, table).to_pylist()


def one_value(server: Server, kind: str, type_: LogicalType, literal: str) -> Any:
    """What a value becomes in a column that is declared as `type_`."""
    execute(server, f"DROP TABLE IF EXISTS v; CREATE TABLE v (id integer PRIMARY KEY, value {kind})")
    server.control.run(f"INSERT INTO v VALUES (1, {literal}), (2, NULL)")
    columns = (Column("id", Integer()), Column("value", type_, nullable=True))
    first, second = arrived(server, Table("v", "", columns, ("id",)))
    assert second["value"] is None
    return first["value"]


@pytest.mark.parametrize(
    ("kind", "type_", "literal", "value"),
    [
        ("date", Date(), "'infinity'", None),
        ("date", Date(), "'-infinity'", None),
        ("date", Date(), "'2024-02-29'", dt.date(2024, 2, 29)),
        ("timestamp", Timestamp(), "'infinity'", None),
        ("timestamp", Timestamp(), "'-infinity'", None),
        ("timestamp", Timestamp(), "'294247-01-01'", None),
        ("timestamp", Timestamp(), "'9999-12-31'", dt.datetime(9999, 12, 31)),  # noqa: DTZ001 - it has no zone
        ("timestamptz", Timestamp(utc=True), "'infinity'", None),
        ("timestamptz", Timestamp(utc=True), "'294276-01-01Z'", None),
        ("timestamptz", Timestamp(utc=True), "'2024-01-01 01:00+01'", dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
        ("numeric(10,2)", Decimal(10, 2), "'NaN'", None),
        ("numeric(10,2)", Decimal(12, 4), "-99999999.99", Number("-99999999.9900")),
        ("numeric(20,2)", Decimal(20, 2), "'NaN'", None),
        ("numeric(20,2)", Decimal(22, 4), "999999999999999999.99", Number("999999999999999999.9900")),
        ("numeric(3,-2)", Decimal(5, 0), "12345", Number(12300)),
        ("smallint", Decimal(7, 2), "-32768", Number("-32768.00")),
        ("integer", Decimal(38, 9), "-2147483648", Number("-2147483648.000000000")),
        ("bigint", Decimal(21, 2), "-9223372036854775808", Number("-9223372036854775808.00")),
        ("bigint", Integer(), "2147483647", 2**31 - 1),
        ("smallint", Integer(), "-32768", -(2**15)),
        ("real", Float(32), "0.1", 0.10000000149011612),
        ("date", Text(), "'4713-01-01 BC'", "4713-01-01 BC"),
        ("char(4)", Text(), "'é'", "é   "),
        ("time", Time(), "'12:30'", "12:30:00.000000"),
    ],
)
def test_a_declared_type_decides_how_a_value_arrives(
    server: Server, kind: str, type_: LogicalType, literal: str, value: Any
) -> None:
    assert one_value(server, kind, type_, literal) == value


@pytest.mark.parametrize("value", ["2147483648", "-2147483649"])
def test_a_value_that_does_not_fit_a_narrower_declaration_fails_the_read(server: Server, value: str) -> None:
    with pytest.raises(OSError, match="integer out of range"):
        one_value(server, "bigint", Integer(), value)


@pytest.mark.parametrize(
    ("type_", "held", "refused"),
    [
        (Integer(), ["smallint", "integer", "bigint", "counted"], ["oid", "numeric(4,0)", "text", "boolean"]),
        (Integer(64), ["smallint", "integer", "bigint", "oid"], ["numeric(4,0)", "xid8", "money", "date"]),
        (
            Decimal(10, 2),
            ["numeric(10,2)", "numeric(9,1)", "numeric(3,-2)", "smallint", "price_of_one"],
            [
                "numeric",
                "numeric(11,2)",
                "numeric(10,3)",
                "numeric(10,1)",
                "integer",
                "money",
                "real",
                "price",
            ],
        ),
        (
            Decimal(38, 2),
            ["numeric(38,2)", "bigint", "price", "net_price"],
            ["numeric(38,1)", "money", "oid"],
        ),
        (Decimal(38, 3), ["money"], ["money[]"]),
        (Float(32), ["real"], ["double precision", "numeric(3,1)", "integer"]),
        (Float(), ["real", "double precision"], ["numeric(3,1)", "integer", "floatrange"]),
        (
            Text(),
            [
                "text", "varchar(3)", "char(3)", "citext", "name", "uuid", "mood", "date", "jsonb", "pair",
                "int[]", "numeric", "numeric(39,0)", "timetz", "interval", "inet", 'public."date"',
            ],
            ["integer", "bytea", "boolean", "timestamp", "time", "numeric(38,0)", "money"],
        ),
        (Binary(), ["bytea"], ["text", "bytea[]", "bit(8)"]),
        (Boolean(), ["boolean"], ["integer", "text", "bit(1)"]),
        (Date(), ["date"], ["timestamp", "text", 'public."date"']),
        (Time(), ["time", "time(3)"], ["timetz", "interval", "text"]),
        (Timestamp(), ["timestamp", "timestamp(3)"], ["timestamptz", "date", "text"]),
        (Timestamp(utc=True), ["timestamptz", "timestamptz(0)"], ["timestamp", "text"]),
    ],
    ids=lambda one: written(one) if not isinstance(one, list) else "",
)  # fmt: skip
def test_a_type_is_held_by_those_that_take_all_its_values(
    server: Server, type_: LogicalType, held: list[str], refused: list[str]
) -> None:
    execute(server, "DROP DOMAIN IF EXISTS price_of_one CASCADE; CREATE DOMAIN price_of_one AS numeric(5,2)")
    for kinds, answer in ((held, True), (refused, False)):
        columns = ", ".join(f'"{number}" {kind}' for number, kind in enumerate(kinds))
        execute(server, f"DROP TABLE IF EXISTS v; CREATE TABLE v ({columns})")
        found = {
            kinds[int(column.name)]: holds(type_, column.type) for column in server.relation("v").columns
        }
        assert found == dict.fromkeys(kinds, answer)


def test_declared_text_is_text_an_enum_a_uuid_or_a_date_and_nothing_else(server: Server) -> None:
    readable = [
        "text",
        "varchar(9)",
        "char(2)",
        "name",
        "citext",
        "uuid",
        "date",
        "mood",
        'public."date"',
        "label",
    ]
    others = ["jsonb", "text[]", "inet", "pair", "numeric", "bytea", "integer", "numbers", "vector"]
    kinds = [*readable, *others]
    columns = ", ".join(f'"{number}" {kind}' for number, kind in enumerate(kinds))
    execute(server, f"DROP TABLE IF EXISTS v; CREATE TABLE v ({columns})")
    text = Column("value", Text())
    found = [
        kinds[int(column.name)] for column in server.relation("v").columns if is_readable(text, column.type)
    ]
    assert found == readable


def test_a_discovered_type_is_held_by_the_logical_type_that_it_gets(server: Server) -> None:
    columns = ", ".join(f'"{number}" {case.type}' for number, case in enumerate(CASES))
    execute(server, f"DROP TABLE IF EXISTS v; CREATE TABLE v ({columns})")
    relation = server.relation("v")
    assert [
        column.name for column in relation.columns if not holds(logical_type(column.type), column.type)
    ] == []
    # All that can become NULL is a NaN in a decimal.
    lossy = [
        CASES[int(column.name)].type
        for column in relation.columns
        if may_lose_to_null(logical_type(column.type), column.type)
    ]
    assert lossy == [case.type for case in CASES if isinstance(case.lake, Decimal) and case.type != "money"]
    date = SourceType("date", "b", True, -1, "date")
    assert may_lose_to_null(Date(), date)
    assert may_lose_to_null(Timestamp(utc=True), date)


def test_generated_columns_arrive_like_others(server: Server, tmp_path: Path) -> None:
    execute(
        server,
        "DROP TABLE IF EXISTS v; CREATE TABLE v (id integer PRIMARY KEY, net numeric(10,2), "
        "stored numeric(12,4) GENERATED ALWAYS AS (net * 1.2) STORED, "
        "virtual numeric(12,4) GENERATED ALWAYS AS (net * 2) VIRTUAL, "
        "serial bigint GENERATED ALWAYS AS IDENTITY);"
        "INSERT INTO v (id, net) VALUES (1, 10.01), (2, NULL)",
    )
    relation = server.relation("v")
    assert [column.name for column in relation.columns if column.generated] == ["stored", "virtual"]
    table = declare(relation)
    scanned, _ = through_the_lake(server.read(relation, table), table, tmp_path)
    assert scanned.to_pylist() == [
        {
            "id": 1,
            "net": Number("10.01"),
            "stored": Number("12.0120"),
            "virtual": Number("20.0200"),
            "serial": 1,
        },
        {"id": 2, "net": None, "stored": None, "virtual": None, "serial": 2},
    ]


NAMES = [
    "MixedCase", "select", "two words", 'a "quoted" one', "it's", "semi;colon--", "ünïcødé ✓", "列", " ", ".",
    "a.b",
    "back\\slash", "%s", "{x}", "comma,", "tab\t", "new\nline", "`tick`", "[1]", "$1", "x" * 63, "ctid_", "0",
]  # fmt: skip


@pytest.mark.parametrize("in_schema", ["public"])
def test_tables_and_columns_may_have_any_names(server: Server, in_schema: str, tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        columns = ", ".join(f"{quote(one)} text" for one in NAMES)
        values = ", ".join(f"'{part}'" for part in range(len(NAMES)))
        server.control.run(f"CREATE TABLE {quote(in_schema, name)} ({columns}, PRIMARY KEY ({quote(name)}))")
        server.control.run(f"INSERT INTO {quote(in_schema, name)} VALUES ({values})")
        relation = server.relation(name)
        table = declare(relation)
        assert (table.name, table.column_names, table.primary_key) == (name, tuple(NAMES), (name,))
        rows = server.read(relation, table)
        expected_row = {one: str(part) for part, one in enumerate(NAMES)}
        assert rows.to_pylist() == [expected_row]
        if number == 0:
            scanned, duck = through_the_lake(rows, table, tmp_path)
            assert scanned.to_pylist() == [expected_row]
            assert duck.sql(f"SELECT {', '.join(map(quote, NAMES))} FROM lake").fetchall() == [
                tuple(expected_row.values())
            ]
        server.control.run(f"DROP TABLE {quote(in_schema, name)}")


def test_a_table_with_1600_columns_arrives(server: Server, tmp_path: Path) -> None:
    kinds = ["integer", "smallint", "boolean", "date"]
    columns = ", ".join(f"c{number} {kinds[number % 4]}" for number in range(1, 1600))
    literals = {"integer": "7", "smallint": "-7", "boolean": "true", "date": "DATE 'infinity'"}
    values = ", ".join(literals[kinds[number % 4]] for number in range(1, 1600))
    execute(server, f"DROP TABLE IF EXISTS wide; CREATE TABLE wide (id integer PRIMARY KEY, {columns})")
    server.control.run(f"INSERT INTO wide VALUES (1, {values})")
    relation = server.relation("wide")
    table = declare(relation)
    assert len(table.columns) == 1600
    scanned, duck = through_the_lake(server.read(relation, table), table, tmp_path)
    assert scanned.num_columns == 1600
    assert [scanned[name][0].as_py() for name in ("id", "c1596", "c1597", "c1598")] == [1, 7, -7, True]
    assert duck.sql("SELECT c1, c1598, CAST(c1599 AS VARCHAR) FROM lake").fetchall() == [
        (-7, True, "infinity")
    ]


@pytest.mark.soak
@pytest.mark.parametrize(
    ("kind", "literal", "length"),
    [
        ("json", "'\"' || repeat('é2345678', 22222223) || '\"'", "strlen(value)"),
        ("bytea", "decode(repeat('00ff', 100000004) || '22', 'hex')", "octet_length(value)"),
    ],
    ids=["json", "bytea"],
)
def test_values_of_200_megabytes_arrive(
    server: Server, kind: str, literal: str, length: str, tmp_path: Path
) -> None:
    execute(
        server,
        f"DROP TABLE IF EXISTS large; CREATE TABLE large (id integer PRIMARY KEY, value {kind});"
        # Not compressed, which would take most of the test's time.
        "ALTER TABLE large ALTER value SET STORAGE EXTERNAL;"
        f"INSERT INTO large VALUES (1, CAST({literal} AS {kind}))",
    )
    relation = server.relation("large")
    table = declare(relation)
    lake = LakeTable(str(tmp_path / "table"), table.columns)
    lake.append(None, server.read(relation, table), stream="s", version=1)
    connection = duckdb.connect()
    lake.create_view(connection, ["lake"], lake.open())
    found = connection.sql(f"SELECT {length}, md5(value) FROM lake").fetchall()
    printed = "CAST(value AS text)" if kind == "json" else "value"
    truth = server.printed(f"SELECT octet_length({printed}), md5({printed}) FROM large")
    assert [list(row) for row in found] == truth
    assert found[0][0] == 200_000_009


def test_empty_and_partitioned_tables_and_views_arrive(server: Server, tmp_path: Path) -> None:
    execute(
        server,
        "DROP TABLE IF EXISTS parts CASCADE; "
        "CREATE TABLE parts (id integer PRIMARY KEY, since date, paid numeric(10,2)) PARTITION BY RANGE (id);"
        "CREATE VIEW seen AS SELECT * FROM parts",
    )
    for filled in (False, True):
        if filled:
            execute(
                server,
                # Attached, a partition may have its columns in another order.
                "CREATE TABLE low (paid numeric(10,2), id integer NOT NULL, since date);"
                "ALTER TABLE parts ATTACH PARTITION low FOR VALUES FROM (MINVALUE) TO (10);"
                "CREATE TABLE high PARTITION OF parts FOR VALUES FROM (10) TO (MAXVALUE);"
                "INSERT INTO parts VALUES (1, 'infinity', 1.5), (20, '2024-01-01', NULL)",
            )
        for name, key in (("parts", None), ("seen", ["id"])):
            relation = server.relation(name)
            table = declare(relation, key=key)
            place = tmp_path / f"{name}-{filled}"
            scanned, duck = through_the_lake(server.read(relation, table), table, place)
            assert scanned.schema.types == [pa.int64(), pa.date32(), pa.decimal128(38, 2)]
            assert duck.sql("SELECT id, CAST(since AS VARCHAR), paid FROM lake ORDER BY id").fetchall() == (
                [(1, "infinity", Number("1.50")), (20, "2024-01-01", None)] if filled else []
            )


def test_what_a_role_has_set_does_not_change_what_arrives(new_database: NewDatabase) -> None:
    database = new_database()
    server = connect(database.owner)
    role = quote(database.owner.user)
    unusual = {
        "DateStyle": "German",
        "IntervalStyle": "iso_8601",
        "TimeZone": "America/New_York",
        "extra_float_digits": "-15",
        "bytea_output": "escape",
    }
    for name, value in unusual.items():
        server.control.run(f"ALTER ROLE {role} IN DATABASE {database.owner.database} SET {name} = '{value}'")
    execute(
        server,
        "CREATE TABLE v (id integer PRIMARY KEY, days date[], spans interval, moments timestamptz[], "
        "at timestamptz, day date, floats float8[], bytes bytea[]);"
        "INSERT INTO v VALUES (1, '{2024-02-03}', '1 day 02:00', '{2024-02-03 00:00Z}', '2024-02-03 00:00Z', "
        "'2024-02-03', '{0.1}', ARRAY['\\xff'::bytea])",
    )
    unset = connect(database.owner, {})
    assert unset.printed("SELECT concat(day), concat(spans) FROM v") == [["03.02.2024", "P1DT2H"]]
    configured = connect(database.owner)
    relation = configured.relation("v")
    assert configured.read(relation, declare(relation)).to_pylist() == [
        {
            "id": 1,
            "days": "{2024-02-03}",
            "spans": "1 day 02:00:00",
            "moments": '{"2024-02-03 00:00:00+00"}',
            "at": dt.datetime(2024, 2, 3, tzinfo=dt.UTC),
            "day": dt.date(2024, 2, 3),
            "floats": "{0.1}",
            "bytes": '{"\\\\xff"}',
        }
    ]
    for one in (server, unset, configured):
        one.control.close()
        one.bulk.close()


@pytest.mark.parametrize(
    ("type_", "number", "minus_infinity", "infinity"),
    [
        (Timestamp(infinite=True), pa.int64(), -(2**63) + 946_684_800_000_000, 2**63 - 1),
        (Timestamp(utc=True, infinite=True), pa.int64(), -(2**63) + 946_684_800_000_000, 2**63 - 1),
        (Date(infinite=True), pa.int32(), -(2**31) + 10_957, 2**31 - 1),
    ],
)
def test_the_infinities_are_found_in_a_slice_and_beside_nulls(
    type_: Timestamp | Date, number: pa.DataType, minus_infinity: int, infinity: int
) -> None:
    # What ADBC makes of infinity, which is one before what it makes of minus infinity.
    overflowed = minus_infinity - 1
    numbers = pa.array([minus_infinity, None, 5, minus_infinity, overflowed, None], number)
    at = arrow_type(type_)
    decoded = decode(numbers.view(at)[2:], type_)
    assert decoded.type == at
    assert decoded.cast(number).to_pylist() == [5, -infinity, infinity, None]
    assert decode(pa.nulls(3, at), type_).null_count == 3
    assert len(decode(pa.array([], at), type_)) == 0
    finite = replace(type_, infinite=False)
    assert decode(numbers.view(at)[2:], finite).cast(number).to_pylist() == [5, None, None, None]
    assert decode(numbers.view(at)[2:3], finite).cast(number).to_pylist() == [5]


def test_a_decimal_is_read_from_what_is_printed_and_nan_is_null() -> None:
    printed = pa.array(["1", None, "-123.45", "NaN", "9999999999999999.9"])[1:]
    expected = [None, Number("-123.45"), None, Number("9999999999999999.90")]
    assert decode(printed, Decimal(38, 2)).to_pylist() == expected
    with pytest.raises(pa.ArrowInvalid):
        decode(printed, Decimal(4, 2))
