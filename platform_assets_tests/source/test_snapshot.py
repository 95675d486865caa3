"""A snapshot shows one moment of a real PostgreSQL, every value as it is, and says what it cannot read."""

from __future__ import annotations

import datetime as dt
import gc
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pg8000.exceptions import DatabaseError

from platform_assets.errors import SourceError, SourceUnavailable
from platform_assets.model import table as model
from platform_assets.model.dialects import POSTGRES
from platform_assets.model.table import Column, Table
from platform_assets.model.totesys.source import DESIGN, TABLES
from platform_assets.sample.embedded import EmbeddedPostgres
from platform_assets.source.connection import Connection
from platform_assets.source.session import SharedAdbc, adbc_uri
from platform_assets.source.snapshot import Snapshot, SourceDatabase
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import Database, NewDatabase
from platform_assets_tests.fixtures.reading import mistakes, read_table, reading
from platform_assets_tests.fixtures.totesys import SOURCE_TABLE, Totesys

Integer, Text, Boolean, Date, Time, Timestamp = (
    model.Integer,
    model.Text,
    model.Boolean,
    model.Date,
    model.Time,
    model.Timestamp,
)


@pytest.fixture(scope="module")
def database(new_module_database: NewDatabase) -> Database:
    return new_module_database()


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_database())


def test_all_tables_are_read_as_of_one_moment_whatever_is_committed_meanwhile(totesys: Totesys) -> None:
    counts = {}
    with totesys.source().snapshot() as snapshot:
        for number, table in enumerate(TABLES):
            with reading(snapshot, table) as rows:
                counts[table.name] = rows.read_all().num_rows
            if number == 0:
                totesys.run(
                    totesys.insert_sql("address", 3),
                    totesys.insert_sql("counterparty", 3, legal_address_id=3),
                    totesys.insert_sql("currency", 3),
                    totesys.insert_sql("department", 3),
                    totesys.insert_sql("design", 3),
                    totesys.insert_sql("staff", 3, department_id=3),
                    totesys.insert_sql("sales_order", 3),
                    totesys.insert_sql("purchase_order", 3),
                    totesys.insert_sql("payment_type", 3),
                    totesys.insert_sql("transaction", 4, sales_order_id=3),
                    "DELETE FROM payment",
                )
    assert counts == {
        "address": 2,
        "counterparty": 2,
        "currency": 2,
        "department": 2,
        "design": 2,
        "staff": 2,
        "sales_order": 2,
        "purchase_order": 1,
        "payment_type": 2,
        "transaction": 3,
        "payment": 3,
    }
    assert read_table(totesys.source(), SOURCE_TABLE["payment"]).num_rows == 0


def test_a_snapshot_says_when_it_was_taken_in_utc_and_where_in_the_sources_history(totesys: Totesys) -> None:
    totesys.run(f"ALTER ROLE {totesys.database.reader.user} SET TimeZone = 'Asia/Kathmandu'")
    try:
        before = dt.datetime.now(dt.UTC)
        with totesys.source().snapshot() as first:
            pass
        totesys.update("design", 1, design_name="Steel")
        with totesys.source().snapshot() as second:
            pass
    finally:
        totesys.run(f"ALTER ROLE {totesys.database.reader.user} RESET TimeZone")
    assert before <= first.taken_at <= second.taken_at <= dt.datetime.now(dt.UTC)
    assert first.taken_at.utcoffset() == dt.timedelta(0)
    assert int(first.position.split(":")[1]) < int(second.position.split(":")[1])


def test_the_source_is_only_read(totesys: Totesys) -> None:
    owner = SourceDatabase("any", TABLES, lambda: totesys.database.owner)
    with owner.snapshot() as snapshot, pytest.raises(DatabaseError, match="read-only transaction"):
        snapshot.control.run("DELETE FROM payment")


def number(precision: int, scale: int) -> model.Decimal:
    return model.Decimal(precision, scale)


LONG = "ab'ü€𝄞\\" * 100_000
MOMENT = dt.datetime(2023, 3, 1, 9, 30, 15, 123456)  # noqa: DTZ001 - the source's have no zone


@pytest.mark.parametrize(
    ("sql_type", "declared", "literals_and_values"),
    [
        (
            "numeric(10,2)",
            number(10, 2),
            {
                "99999999.99": Decimal("99999999.99"),
                "-99999999.99": Decimal("-99999999.99"),
                "0": Decimal("0.00"),
                "-0.01": Decimal("-0.01"),
                "2.4": Decimal("2.40"),
                "'NaN'": None,
                "NULL": None,
            },
        ),
        ("numeric(8,1)", number(10, 2), {"-1234567.8": Decimal("-1234567.80")}),
        ("numeric(18,4)", number(18, 4), {"-99999999999999.9999": Decimal("-99999999999999.9999")}),
        (
            "numeric(38,10)",
            number(38, 10),
            {f"{sign}{'9' * 28}.{'9' * 10}": Decimal(f"{sign}{'9' * 28}.{'9' * 10}") for sign in ("", "-")}
            | {"'NaN'": None, "NULL": None, "0.1": Decimal("0.1000000000")},
        ),
        ("smallint", number(10, 2), {"-32768": Decimal("-32768.00")}),
        ("integer", number(12, 2), {"2147483647": Decimal("2147483647.00")}),
        ("smallint", Integer(), {"-32768": -32768, "NULL": None}),
        ("integer", Integer(), {"-2147483648": -2147483648, "2147483647": 2147483647}),
        ("integer", Integer(64), {"2147483647": 2147483647}),
        ("bigint", Integer(64), {"-9223372036854775808": -(2**63), "9223372036854775807": 2**63 - 1}),
        (
            "text",
            Text(),
            {
                "''": "",
                "NULL": None,
                "'O''Hara'": "O'Hara",
                "'Ærøskøbing €𝄞 湖'": "Ærøskøbing €𝄞 湖",
                r"E'tab\t, line\n, \\ and \001'": "tab\t, line\n, \\ and \x01",
                "'NULL'": "NULL",
                "'\\N'": "\\N",
                POSTGRES.literal(LONG): LONG,
            },
        ),
        ("varchar(3)", Text(3), {"'€€€'": "€€€", "'a  '": "a  "}),
        ("varchar", Text(), {"'leading zeros 007'": "leading zeros 007"}),
        ("char(5)", Text(), {"'a b'": "a b  "}),
        ("name", Text(), {"'x'": "x"}),
        ("uuid", Text(), {"'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}),
        ("date", Text(), {"'2023-03-01'": "2023-03-01", "'infinity'": "infinity"}),
        ('"Mood of ""x"""', Text(), {"'it''s'": "it's", "NULL": None}),
        ("boolean", Boolean(), {"true": True, "false": False, "NULL": None}),
        (
            "date",
            Date(),
            {
                "'0001-01-01'": dt.date(1, 1, 1),
                "'9999-12-31'": dt.date(9999, 12, 31),
                "'infinity'": None,
                "'-infinity'": None,
                "NULL": None,
            },
        ),
        (
            "time",
            Time(),
            {
                "'00:00'": "00:00:00.000000",
                "'09:30:15.12'": "09:30:15.120000",
                "'23:59:59.999999'": "23:59:59.999999",
                "NULL": None,
            },
        ),
        (
            "timestamp",
            Timestamp(),
            {
                "'2023-03-01 09:30:15.123456'": MOMENT,
                "'0001-01-01'": dt.datetime(1, 1, 1),  # noqa: DTZ001
                "'9999-12-31 23:59:59.999999'": dt.datetime.max,  # noqa: DTZ901
                "'infinity'": None,
                "'-infinity'": None,
                "NULL": None,
            },
        ),
        ("timestamp(3)", Timestamp(), {"'2023-03-01 09:30:15.123'": MOMENT.replace(microsecond=123000)}),
        (
            "timestamptz",
            Timestamp(utc=True),
            {"'2023-03-01 15:15:15.123456+05:45'": MOMENT.replace(tzinfo=dt.UTC), "'infinity'": None},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_arrive_as_they_are(
    database: Database,
    sql_type: str,
    declared: model.LogicalType,
    literals_and_values: dict[str, object],
) -> None:
    totesys = Totesys(database)
    rows = ", ".join(f"({number}, {literal})" for number, literal in enumerate(literals_and_values))
    totesys.run(
        """DROP TYPE IF EXISTS "Mood of ""x\""" CASCADE; CREATE TYPE "Mood of ""x\""" AS ENUM ('it''s')""",
        f"DROP TABLE IF EXISTS v; CREATE TABLE v (value {sql_type}, id integer); "
        f"INSERT INTO v (id, value) VALUES {rows}",
    )
    table = Table("v", "", (Column("id", Integer()), Column("value", declared, nullable=True)), ("id",))
    found = read_table(SourceDatabase("any", (table,), lambda: database.reader), table).sort_by("id")
    assert found["value"].to_pylist() == list(literals_and_values.values())


def test_timestamps_beyond_the_year_9999_arrive_as_far_as_they_can_be_held(database: Database) -> None:
    Totesys(database).run(
        "DROP TABLE IF EXISTS far; CREATE TABLE far AS "
        "SELECT 1 AS id, timestamp '294246-12-31 23:59:59.999999' AS at UNION ALL "
        "SELECT 2, '294276-12-31 23:59:59.999999' UNION ALL SELECT 3, '4711-11-24 BC'"
    )
    table = Table("far", "", (Column("id", Integer()), Column("at", Timestamp())), ("id",))
    found = read_table(SourceDatabase("any", (table,), lambda: database.reader), table)
    expected = [np.datetime64("294246-12-31T23:59:59.999999"), None, np.datetime64("-4710-11-24", "us")]
    assert found["at"].cast(pa.int64()).to_pylist() == [
        moment if moment is None else int(moment.astype(np.int64)) for moment in expected
    ]


def test_rows_stream_in_batches(database: Database) -> None:
    Totesys(database).run(
        "DROP TABLE IF EXISTS long; CREATE TABLE long AS "
        "SELECT n AS id, repeat('x', 100) AS text FROM generate_series(1, 200000) AS n"
    )
    table = Table("long", "", (Column("id", Integer()), Column("text", Text())), ("id",))
    source = SourceDatabase("any", (table,), lambda: database.reader)
    with source.snapshot() as snapshot, reading(snapshot, table) as rows:
        sizes = [batch.num_rows for batch in rows]
    assert sum(sizes) == 200_000
    assert max(sizes) < 100_000


def test_a_view_and_a_table_in_parts_are_read_like_tables(database: Database) -> None:
    Totesys(database).run(
        "DROP TABLE IF EXISTS parted CASCADE; CREATE TABLE parted (extra text, name text, id integer) "
        "PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (9); "
        "INSERT INTO parted VALUES ('x', 'one', 1), ('y', NULL, 2); "
        "CREATE VIEW viewed AS SELECT * FROM parted"
    )
    for name in ("parted", "viewed"):
        table = Table(name, "", (Column("id", Integer()), Column("name", Text())), ("id",))
        found = read_table(SourceDatabase("any", (table,), lambda: database.reader), table)
        assert found.to_pylist() == [{"id": 1, "name": "one"}, {"id": 2, "name": None}]


@pytest.mark.parametrize("setting", ["DateStyle = 'German'", "DateStyle = 'SQL, DMY'"])
def test_dates_as_text_are_iso_dates_whatever_the_server_prefers(database: Database, setting: str) -> None:
    totesys = Totesys(database)
    totesys.run(
        "DROP TABLE IF EXISTS dated; CREATE TABLE dated AS SELECT 1 AS id, date '2023-03-01' AS day",
        f"ALTER ROLE {database.reader.user} SET {setting}",
    )
    table = Table("dated", "", (Column("id", Integer()), Column("day", Text(), iso_date=True)), ("id",))
    try:
        found = read_table(SourceDatabase("any", (table,), lambda: database.reader), table)
    finally:
        totesys.run(f"ALTER ROLE {database.reader.user} RESET DateStyle")
    assert found["day"].to_pylist() == ["2023-03-01"]


def test_text_of_a_database_in_another_encoding_arrives_as_unicode(
    postgres_server: EmbeddedPostgres, database: Database
) -> None:
    name = f"{database.owner.database}_latin1"
    postgres_server.query(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        owner = replace(database.owner, database=name)
        Totesys(Database(owner, owner)).run("CREATE TABLE t AS SELECT 1 AS id, 'Ærøskøbing ß' AS name")
        table = Table("t", "", (Column("id", Integer()), Column("name", Text())), ("id",))
        found = read_table(SourceDatabase("any", (table,), lambda: owner), table)
        found.validate(full=True)
        assert found["name"].to_pylist() == ["Ærøskøbing ß"]
    finally:
        postgres_server.drop_database(name)


AWKWARD = """it's "50%" of: a/b?c#d@e ünï €"""


def test_schemas_tables_and_columns_may_have_any_name(database: Database) -> None:
    totesys = Totesys(database)
    schema, table, column = (POSTGRES.quote(f"{kind} {AWKWARD}") for kind in "stc")
    totesys.run(
        f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; "
        f"GRANT USAGE ON SCHEMA {schema} TO {database.reader.user}; "
        f'CREATE TABLE {schema}.{table} ({column} text, "select" integer, "A" integer); '
        f"INSERT INTO {schema}.{table} VALUES ('x', 1, 2)"
    )
    columns = (Column(f"c {AWKWARD}", Text()), Column("select", Integer()), Column("A", Integer()))
    declared = Table(f"t {AWKWARD}", "", columns, ("select",))
    reader = replace(database.reader, schema=f"s {AWKWARD}")
    found = read_table(SourceDatabase("any", (declared,), lambda: reader), declared)
    assert found.to_pylist() == [{f"c {AWKWARD}": "x", "select": 1, "A": 2}]


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("plain", ":/@?#%'\"\\ &=+;"),
        ("plain", "%41%2F"),
        ("plain", "pässwört €𝄞"),
        ("plain", " spaces around "),
        (AWKWARD, "x"),
        ("UPPER and lower", "'"),
    ],
)
def test_users_passwords_and_databases_may_have_any_characters(
    postgres_server: EmbeddedPostgres, database: Database, user: str, password: str
) -> None:
    role, name = POSTGRES.quote(f"{user} {database.owner.database}"), f"d {AWKWARD} {database.owner.database}"
    postgres_server.create_database(name)
    owner = replace(database.owner, database=name)
    awkward = Totesys(Database(owner, owner))
    try:
        awkward.run(
            f"CREATE ROLE {role} LOGIN PASSWORD {POSTGRES.literal(password)}",
            "CREATE TABLE t AS SELECT 1 AS id",
            f"GRANT SELECT ON t TO {role}",
        )
        table = Table("t", "", (Column("id", Integer()),), ("id",))
        connection = replace(owner, user=f"{user} {database.owner.database}", password=password)
        assert read_table(SourceDatabase("any", (table,), lambda: connection), table)["id"].to_pylist() == [1]
        wrong = replace(connection, password=password + "x")
        with pytest.raises(SourceError, match="refused the login") as error:
            read_table(SourceDatabase("any", (table,), lambda: wrong), table)
        assert password not in str(error.value) or password in ("x", "'")
    finally:
        postgres_server.drop_database(name)
        Totesys(database).run(f"DROP ROLE IF EXISTS {role}")


@pytest.mark.parametrize(
    ("sql_type", "declared", "says"),
    [
        ("numeric(10,2)", Integer(), "v.value is numeric(10,2), which does not fit integer"),
        ("text", Integer(64), "v.value is text, which does not fit bigint"),
        ("numeric", number(10, 2), "v.value is numeric, which does not fit numeric(10,2)"),
        ("numeric(10,3)", number(10, 2), "v.value is numeric(10,3), which does not fit numeric(10,2)"),
        ("numeric(11,2)", number(10, 2), "v.value is numeric(11,2), which does not fit numeric(10,2)"),
        ("numeric(10,1)", number(10, 2), "v.value is numeric(10,1), which does not fit numeric(10,2)"),
        ("numeric(3,-2)", number(4, 2), "v.value is numeric(3,-2), which does not fit numeric(4,2)"),
        ("integer", number(10, 2), "v.value is integer, which does not fit numeric(10,2)"),
        ("smallint", number(6, 2), "v.value is smallint, which does not fit numeric(6,2)"),
        ("bigint", number(18, 0), "v.value is bigint, which does not fit numeric(18,0)"),
        ("double precision", number(10, 2), "v.value is double precision, which does not fit numeric(10,2)"),
        ("money", number(10, 2), "v.value is money, which does not fit numeric(10,2)"),
        ("bytea", Text(), "v.value is bytea, which does not fit text"),
        ("text[]", Text(), "v.value is text[], which does not fit text"),
        ("integer", Boolean(), "v.value is integer, which does not fit boolean"),
        ("timestamp", Date(), "v.value is timestamp without time zone, which does not fit date"),
        ("timetz", Time(), "v.value is time with time zone, which does not fit time"),
        ("date", Timestamp(), "v.value is date, which does not fit timestamp"),
        ("timestamptz", Timestamp(), "v.value is timestamp with time zone, which does not fit timestamp"),
        (
            "timestamp(3)",
            Timestamp(utc=True),
            "v.value is timestamp(3) without time zone, which does not fit timestamp with time zone",
        ),
    ],
)
def test_a_column_of_a_type_that_does_not_fit_is_named_with_both_types(
    database: Database, sql_type: str, declared: model.LogicalType, says: str
) -> None:
    Totesys(database).run(f"DROP TABLE IF EXISTS v; CREATE TABLE v (id integer, value {sql_type})")
    table = Table("v", "", (Column("id", Integer()), Column("value", declared)), ("id",))
    with pytest.raises(SourceError) as error:
        read_table(SourceDatabase("any", (table,), lambda: database.reader), table)
    expected = says.replace("does not fit", "does not fit the declared type,")
    assert f"{expected}. Undo the change" in str(error.value)
    assert not error.value.retryable


def test_numerics_with_a_scale_below_zero_are_read_where_they_fit(database: Database) -> None:
    Totesys(database).run(
        "DROP TABLE IF EXISTS v; CREATE TABLE v (id integer, value numeric(3,-2)); "
        "INSERT INTO v VALUES (1, 12345)"
    )
    table = Table("v", "", (Column("id", Integer()), Column("value", number(10, 2))), ("id",))
    found = read_table(SourceDatabase("any", (table,), lambda: database.reader), table)
    assert found["value"].to_pylist() == [Decimal("12300.00")]


def test_everything_that_is_not_as_declared_is_in_one_message(totesys: Totesys) -> None:
    reader = totesys.database.reader.user
    totesys.run(
        "DROP TABLE payment",
        "DROP TABLE purchase_order CASCADE",
        "ALTER TABLE design RENAME COLUMN file_name TO file",
        "ALTER TABLE design DROP COLUMN file_location",
        "ALTER TABLE department ALTER location TYPE bytea USING ''",
        f"REVOKE SELECT ON staff FROM {reader}",
        f"REVOKE SELECT ON address FROM {reader}",
        f"GRANT SELECT (address_id, city, created_at, last_updated) ON address TO {reader}",
    )
    with totesys.source().snapshot() as snapshot:
        found = mistakes(snapshot, TABLES)
    for part in (
        "Table payment does not exist.",
        "Table purchase_order does not exist.",
        "Table design has no column file_location, which is declared.",
        "Table design has no column file_name, which is declared.",
        "department.location is bytea, which does not fit the declared type, text.",
        'The role may not SELECT from staff. GRANT SELECT ON it, and USAGE ON SCHEMA "public".',
        *(
            f"The role may not SELECT {name} of address,"
            for name in ("address_line_1", "address_line_2", "district", "postal_code", "country", "phone")
        ),
    ):
        assert len([sentence for sentence in found if sentence.startswith(part)]) == 1
    assert len(found) == 12


def test_a_schema_that_may_not_be_used_is_a_missing_privilege(totesys: Totesys) -> None:
    totesys.run(
        "CREATE SCHEMA closed; CREATE TABLE closed.design (LIKE public.design); "
        f"GRANT SELECT ON closed.design TO {totesys.database.reader.user}"
    )
    closed = replace(totesys.database.reader, schema="closed")
    with pytest.raises(SourceError, match="The role may not SELECT from design") as error:
        read_table(SourceDatabase("any", TABLES, lambda: closed), DESIGN)
    assert not error.value.retryable


@contextmanager
def silent_server() -> Iterator[int]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    yield port


@pytest.mark.parametrize("where", [silent_server, closed_port])
@pytest.mark.parametrize("sslmode", ["disable", "prefer", "require"])
def test_a_server_that_does_not_answer_is_unavailable(
    database: Database, where: Callable[[], Any], sslmode: str
) -> None:
    with where() as port:
        connection = replace(database.reader, port=port, sslmode=sslmode, connect_timeout=0.5)
        with pytest.raises(
            SourceUnavailable, match=f"PostgreSQL at 127.0.0.1:{port} cannot be reached"
        ) as error:
            read_table(SourceDatabase("any", TABLES, lambda: connection), DESIGN)
    assert error.value.retryable
    assert connection.password not in str(error.value)


def test_a_silent_server_is_waited_for_as_long_as_is_set(database: Database) -> None:
    def read(port: int, connect_timeout: float) -> None:
        connection = replace(database.reader, port=port, sslmode="disable", connect_timeout=connect_timeout)
        with pytest.raises(SourceUnavailable, match="cannot be reached"):
            read_table(SourceDatabase("any", TABLES, lambda: connection), DESIGN)

    with ThreadPoolExecutor() as pool:
        with silent_server() as port:
            patient = pool.submit(read, port, PATIENCE)
            read(port, 0.5)
            assert not patient.done()
        # The server is gone, and whoever waited for an answer has been told so.
        patient.result(PATIENCE)


@pytest.mark.parametrize(
    ("changes", "says", "retryable"),
    [
        ({"host": "no-such-host.invalid"}, "PostgreSQL at no-such-host.invalid:.* cannot be reached", True),
        ({"password": "wr'ong"}, "refused the login of .*: password authentication failed", False),
        ({"user": "no such user"}, "refused the login of no such user", False),
        ({"database": "no such database"}, "has no database no such database", False),
    ],
)
def test_a_connection_that_is_refused_says_what_to_look_at(
    database: Database, changes: dict[str, Any], says: str, retryable: bool
) -> None:
    connection = replace(database.reader, **changes)
    with pytest.raises(SourceError, match=says) as error:
        read_table(SourceDatabase("any", TABLES, lambda: connection), DESIGN)
    assert error.value.retryable == retryable
    assert isinstance(error.value, SourceUnavailable) == retryable
    assert connection.password not in str(error.value)
    assert connection.password not in repr(error.value.__cause__)


def test_a_server_without_a_free_connection_may_be_asked_again(totesys: Totesys) -> None:
    reader = totesys.database.reader.user
    # With one there is one for the snapshot, and none for the rows.
    for limit, what in ((0, ""), (1, "opening a connection to read rows: .*")):
        totesys.run(f"ALTER ROLE {reader} CONNECTION LIMIT {limit}")
        try:
            with pytest.raises(SourceUnavailable, match=f"{what}too many connections for role"):
                read_table(totesys.source(), DESIGN)
        finally:
            totesys.run(f"ALTER ROLE {reader} CONNECTION LIMIT -1")


@pytest.mark.parametrize("limits", [(3600, 0.2), (2, 3600)], ids=["lock_timeout", "statement_timeout"])
def test_a_table_that_is_locked_for_too_long_may_be_asked_again(
    totesys: Totesys, limits: tuple[float, float]
) -> None:
    source = SourceDatabase("any", TABLES, lambda: totesys.database.reader, *limits)
    with totesys.session() as session:
        session.run("BEGIN")
        session.run("LOCK TABLE design IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(SourceUnavailable, match=r"reading .* tables?\b.*timeout"):
            read_table(source, DESIGN)
        session.run("ROLLBACK")


def test_a_snapshot_whose_connection_broke_is_unavailable(totesys: Totesys) -> None:
    with totesys.source().snapshot() as snapshot:
        totesys.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = current_database() AND usename = '{totesys.database.reader.user}'"
        )
        with pytest.raises(SourceUnavailable, match="cannot be reached, or the connection was lost"):
            snapshot.relations()


def test_no_session_is_left_behind(totesys: Totesys) -> None:
    for broken in (False, True):
        try:
            with totesys.source().snapshot() as snapshot, reading(snapshot, DESIGN) as rows:
                next(rows)
                assert not broken, "on purpose"
        except AssertionError:
            pass
    deadline = time.monotonic() + PATIENCE
    count = (
        f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{totesys.database.reader.user}' "
        "AND datname = current_database()"
    )
    while (left := totesys.run(count)) != [[0]] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == [[0]]


def foreign_keys(snapshot: Snapshot) -> set[tuple[str, str, str]]:
    return {(name, *key) for name, found in snapshot.relations().items() for key in found.foreign_keys}


def test_keys_that_the_source_enforces_are_known(totesys: Totesys) -> None:
    with totesys.source().snapshot() as snapshot:
        enforced = foreign_keys(snapshot)
    assert enforced == {
        (table.name, column, parent) for table in TABLES for column, parent in table.foreign_keys
    }
    totesys.run(
        "ALTER TABLE payment DROP CONSTRAINT payment_transaction_id_fkey",
        "ALTER TABLE payment ADD CONSTRAINT k FOREIGN KEY (transaction_id) REFERENCES transaction NOT VALID",
        "ALTER TABLE staff DROP CONSTRAINT staff_department_id_fkey",
    )
    with totesys.source().snapshot() as snapshot:
        assert enforced - foreign_keys(snapshot) == {
            ("payment", "transaction_id", "transaction"),
            ("staff", "department_id", "department"),
        }


def test_passwords_are_in_no_repr(database: Database) -> None:
    source = SourceDatabase("any", TABLES, lambda: database.reader)
    with source.snapshot() as snapshot:
        assert database.reader.password not in repr((source, snapshot, database.reader))


def test_a_bigint_may_be_declared_narrower_until_a_value_does_not_fit(database: Database) -> None:
    totesys = Totesys(database)
    totesys.run(
        "DROP TABLE IF EXISTS v; CREATE TABLE v (id integer, value bigint); INSERT INTO v VALUES (1, 7)"
    )
    table = Table("v", "", (Column("id", Integer()), Column("value", Integer())), ("id",))
    source = SourceDatabase("any", (table,), lambda: database.reader)
    assert read_table(source, table)["value"].to_pylist() == [7]
    totesys.run("INSERT INTO v VALUES (2, 2147483648)")
    with pytest.raises(SourceError, match=r"reading table v: .*integer out of range") as error:
        read_table(source, table)
    assert not error.value.retryable


class Abandoned:
    """A session that nobody closes; only the garbage collector finds it, because it refers to itself."""

    def __init__(self, shared: SharedAdbc, connection: Connection) -> None:
        self.session = shared.open(connection)
        self.session.__enter__()
        self.itself = self


def test_a_session_that_was_abandoned_is_closed_while_another_is_opened(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, freed = SharedAdbc(), []

    def collected(*arguments: Any) -> str:
        gc.collect()
        freed.append(abandoned() is None)
        return adbc_uri(*arguments)

    gc.disable()
    abandoned = weakref.ref(Abandoned(shared, database.reader))
    monkeypatch.setattr("platform_assets.source.session.adbc_uri", collected)
    try:
        with shared.open(database.reader):
            pass
    finally:
        gc.enable()
    assert freed == [True]
