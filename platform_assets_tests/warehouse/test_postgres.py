"""What is special to PostgreSQL as a warehouse: keys, locks and roles, and what is said when it is gone."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pg8000.native import Connection as Control

from platform_assets.errors import QueryTimeout, WarehouseBusy, WarehouseError
from platform_assets.lake.duck import SqlEngine
from platform_assets.model.totesys import star
from platform_assets.source.connection import Connection
from platform_assets.source.session import open_control
from platform_assets.warehouse.interface import BoundSql, Load
from platform_assets.warehouse.postgres import PostgresWarehouse
from platform_assets_tests.fixtures.cutting import CuttingWire
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.warehouse.conformance import DAY, StarLake, fetch, row_of


@pytest.fixture
def server(new_database: NewDatabase) -> Connection:
    return new_database().owner


@pytest.fixture
def control(server: Connection) -> Iterator[Control]:
    """A session beside the warehouse's."""
    with closing(open_control(server)) as opened:
        yield opened


@pytest.fixture
def engine(tmp_path: Path) -> SqlEngine:
    return SqlEngine(256, 2, tmp_path / "spill")


@pytest.fixture
def warehouse(server: Connection, engine: SqlEngine) -> PostgresWarehouse:
    return PostgresWarehouse(lambda: server, engine)


@pytest.fixture
def lake(tmp_path: Path) -> StarLake:
    return StarLake.with_rows(tmp_path / "lake")


def test_a_type_that_was_made_after_the_first_session_is_known_to_queries(
    warehouse: PostgresWarehouse, control: Control
) -> None:
    assert warehouse.status() == []
    control.run("CREATE TYPE mood AS ENUM ('calm', 'cross')")
    assert fetch(warehouse, "SELECT 'calm'::mood") == [("calm",)]
    assert warehouse.status() == []
    control.run("ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet'")
    assert fetch(warehouse, "SELECT 'quiet'::mood") == [("quiet",)]


def test_a_database_that_is_named_later_has_a_session_of_its_own(
    new_database: NewDatabase, engine: SqlEngine
) -> None:
    databases = [new_database().owner, new_database().owner]
    named = iter(databases)
    warehouse = PostgresWarehouse(lambda: next(named), engine)
    for database in databases:
        with warehouse._transaction(warehouse.connect(), "ask") as session:
            assert session.rows("SELECT current_database()::text AS name") == [{"name": database.database}]


def test_the_server_itself_keeps_primary_and_foreign_keys(
    warehouse: PostgresWarehouse, lake: StarLake, control: Control
) -> None:
    warehouse.load(lake.lake, star.TABLES)
    found = control.run(
        "SELECT conrelid::regclass::text, contype::text, a.attname, "
        "coalesce(nullif(confrelid, 0)::regclass::text, '') "
        "FROM pg_constraint AS k JOIN pg_attribute AS a ON a.attrelid = conrelid AND a.attnum = conkey[1] "
        "WHERE connamespace = 'star'::regnamespace AND contype IN ('p', 'f') AND convalidated"
    )
    expected = [[f"star.{table.name}", "p", table.primary_key[0], ""] for table in star.TABLES]
    for table in star.TABLES:
        expected += [
            [f"star.{table.name}", "f", column, f"star.{parent}"] for column, parent in table.foreign_keys
        ]
    assert sorted(found) == sorted(expected)


def test_a_load_that_finds_its_schema_complete_changes_nothing_in_the_catalogue(
    warehouse: PostgresWarehouse, lake: StarLake, control: Control
) -> None:
    def catalogue() -> list[Any]:
        return list(
            control.run("SELECT oid, xmin::text FROM pg_class WHERE relnamespace = 'star'::regnamespace")
        )

    warehouse.load(lake.lake, star.TABLES)
    before = sorted(catalogue())
    lake.put("fact_payment", 2, row_of(star.FACT_PAYMENT, 3, 2))
    assert warehouse.load(lake.lake, [star.FACT_PAYMENT]) == {"fact_payment": Load(1, 2, 1, 3)}
    assert sorted(catalogue()) == before


def test_grants_and_views_of_others_outlive_a_new_column_and_a_star_schema_made_anew(
    warehouse: PostgresWarehouse, lake: StarLake, control: Control, server: Connection
) -> None:
    warehouse.load(lake.lake, star.TABLES)
    analyst = f"{server.database}_analyst"
    control.run(f"CREATE ROLE {analyst}")
    control.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA star TO {analyst}")
    control.run("CREATE SCHEMA mine")
    control.run("CREATE VIEW mine.paid AS SELECT payment_id, valid_to FROM star.fact_payment_history")
    payment = replace(
        star.FACT_PAYMENT,
        columns=(*star.FACT_PAYMENT.columns, replace(star.DIM_DESIGN.columns[1], name="note")),
    )
    model = tuple(payment if table is star.FACT_PAYMENT else table for table in star.TABLES)
    lake = lake.of(model)
    lake.put("fact_payment", 2, row_of(payment, 3, 2, note="new"))
    replace(warehouse, tables=model).load(lake.lake, [payment])
    for name in ("fact_payment", "fact_payment_current", "fact_payment_history"):
        assert control.run(f"SELECT has_table_privilege('{analyst}', 'star.{name}', 'SELECT')") == [[True]]
    assert control.run("SELECT count(*) FROM mine.paid") == [[3]]
    assert fetch(warehouse, "SELECT payment_id, note FROM star.fact_payment_current ORDER BY 1") == [
        (1, None),
        (2, None),
        (3, "new"),
    ]
    shutil.rmtree(lake.lake.processed)
    for table in model:
        lake.put(table.name, 3, row_of(table, 1, 3))
    replace(warehouse, tables=model).load(lake.lake, model)
    assert control.run("SELECT count(*) FROM mine.paid") == [[1]]
    assert control.run(f"SELECT has_table_privilege('{analyst}', 'star.fact_payment', 'SELECT')") == [[True]]


def test_a_commit_whose_answer_was_lost_is_found_done(
    warehouse: PostgresWarehouse, server: Connection, lake: StarLake
) -> None:
    with CuttingWire(server, after=b'INSERT INTO "platform"') as wire:
        cut = replace(warehouse, connect=lambda: wire.connection)
        with pytest.raises(WarehouseBusy, match="cannot be reached, or the connection was lost"):
            cut.load(lake.lake, star.TABLES)
    assert warehouse.status() == []
    warehouse.load(lake.lake, star.TABLES)
    assert {one.row_count for one in warehouse.status()} == {1, 2}


def test_a_load_that_waits_too_long_for_another_may_be_tried_again(
    warehouse: PostgresWarehouse, lake: StarLake, control: Control
) -> None:
    warehouse.load(lake.lake, star.TABLES)
    lake.put("fact_payment", 2, row_of(star.FACT_PAYMENT, 3, 2))
    control.run("BEGIN")
    control.run("LOCK TABLE star.fact_payment IN ACCESS EXCLUSIVE MODE")
    impatient = replace(warehouse, lock_timeout=0.1)
    with pytest.raises(WarehouseBusy, match=r"for longer than warehouse.postgres.lock_timeout"):
        impatient.load(lake.lake, star.TABLES)
    with (
        pytest.raises(WarehouseBusy, match="run the query"),
        impatient.query("SELECT * FROM star.fact_payment"),
    ):
        pass
    control.run("ROLLBACK")
    assert warehouse.load(lake.lake, [star.FACT_PAYMENT]) == {"fact_payment": Load(1, 2, 1, 3)}


def test_a_statement_that_takes_too_long_is_ended(warehouse: PostgresWarehouse) -> None:
    hasty = replace(warehouse, statement_timeout=1)
    with (
        pytest.raises(
            WarehouseError,
            match=r"timeout \(SQLSTATE 57014\)\. Raise warehouse.postgres.statement_timeout",
        ),
        hasty.query("SELECT pg_sleep(60)") as rows,
    ):
        rows.read_all()


def test_a_server_that_is_not_there_may_be_tried_again_and_a_refused_login_may_not(
    warehouse: PostgresWarehouse, server: Connection
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = replace(server, port=free.getsockname()[1])
    with pytest.raises(WarehouseBusy, match="cannot be reached") as gone:
        replace(warehouse, connect=lambda: nobody).status()
    for wrong in (replace(server, password="not this"), replace(server, database="no_such_database")):
        with pytest.raises(WarehouseError, match="refused the login") as refused:
            replace(warehouse, connect=lambda wrong=wrong: wrong).status()  # type: ignore[misc]
        assert not refused.value.retryable
        assert "not this" not in str(refused.value)
    assert gone.value.retryable
    assert server.password not in str(gone.value) + repr(warehouse)


def test_numerics_come_as_decimals_where_they_have_digits_and_as_text_where_not(
    warehouse: PostgresWarehouse,
) -> None:
    sql = (
        "SELECT 1.50::numeric(10, 2) AS money, 'NaN'::numeric(10, 2) AS nothing, 10 / 4.0 AS free, "
        "sum(x)::numeric(38, 2) AS total FROM (VALUES (1.25), (2.50)) AS v(x)"
    )
    with warehouse.query(sql) as rows:
        found = rows.read_all()
    assert found.schema.types == [
        pa.decimal128(10, 2),
        pa.decimal128(10, 2),
        pa.string(),
        pa.decimal128(38, 2),
    ]
    assert found.to_pylist() == [
        {"money": Decimal("1.50"), "nothing": None, "free": "2.5000000000000000", "total": Decimal("3.75")}
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS one;",
        "SELECT 1 AS one -- the end",
        "VALUES (1)",
        "SHOW transaction_read_only",
        "EXPLAIN SELECT 1",
    ],
)
def test_any_statement_that_reads_is_a_query(warehouse: PostgresWarehouse, sql: str) -> None:
    assert len(fetch(warehouse, sql)) == 1


def test_a_query_that_takes_too_long_is_stopped(warehouse: PostgresWarehouse) -> None:
    with (
        pytest.raises(QueryTimeout, match=r"longer than 0\.2 seconds and was stopped"),
        warehouse.query("SELECT pg_sleep(60)", timeout=0.2) as rows,
    ):
        rows.read_all()


def test_values_of_every_usual_type_can_be_bound(warehouse: PostgresWarehouse) -> None:
    values: dict[str, Any] = {
        "text": "it's",
        "number": 2**40,
        "ratio": 0.5,
        "money": Decimal("1.50"),
        "day": dt.date(2026, 1, 2),
        "moment": dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC),
        "truth": True,
    }
    parts = ("SELECT ", *(f" AS {name}, " for name in list(values)[:-1]), " AS truth")
    # A numeric without declared precision comes as text.
    expected = tuple({**values, "money": "1.5"}.values())
    assert fetch(warehouse, BoundSql(parts, tuple(values), values)) == [expected]


def test_a_stream_that_is_dropped_lets_the_next_load_through(
    warehouse: PostgresWarehouse, lake: StarLake
) -> None:
    warehouse.load(lake.lake, star.TABLES)
    with warehouse.query("SELECT generate_series(1, 5000000) AS number") as rows:
        assert rows.read_next_batch()["number"][0].as_py() == 1
    lake.put("fact_payment", 2, row_of(star.FACT_PAYMENT, 3, 2))
    assert warehouse.load(lake.lake, [star.FACT_PAYMENT]) == {"fact_payment": Load(1, 2, 1, 3)}


def test_an_error_in_the_middle_of_a_stream_is_the_platforms(warehouse: PostgresWarehouse) -> None:
    sql = "SELECT 1 / (2000000 - n) AS x FROM generate_series(1, 3000000) AS g(n)"
    with (
        pytest.raises(WarehouseError, match=r"not run the query: division by zero \(SQLSTATE 22012\)\.$"),
        warehouse.query(sql) as rows,
    ):
        rows.read_all()


def test_every_arrow_type_with_a_place_in_postgresql_is_written(warehouse: PostgresWarehouse) -> None:
    rows = pa.table(
        {
            "tiny": pa.array([-128, None], pa.int8()),
            "unsigned": pa.array([2**64 - 1, None], pa.uint64()),
            "half": pa.array([0.5, None], pa.float16()),
            "kind": pa.array(["a", None]).dictionary_encode(),
            "large": pa.array(["é", None], pa.large_string()),
            "fixed": pa.array([b"ab", None], pa.binary(2)),
            "clock": pa.array([1, None], pa.time32("s")),
            "nanos": pa.array([1_000, None], pa.timestamp("ns", "Europe/London")),
            "day": pa.array([DAY, None], pa.date64()),
            "nothing": pa.nulls(2),
        }
    )
    assert warehouse.write(["mine", "types"], rows.to_reader()) == 2
    with warehouse.read(["mine", "types"]) as found:
        written = found.read_all()
    assert [str(type_) for type_ in written.schema.types] == [
        *("int16", "decimal128(20, 0)", "float", "string", "string", "binary", "time64[us]"),
        *("timestamp[us, tz=UTC]", "date32[day]", "string"),
    ]
    assert [column[0].as_py() for column in written.columns][:6] == [-128, 2**64 - 1, 0.5, "a", "é", b"ab"]
    assert [column[1].as_py() for column in written.columns] == [None] * 10


def test_a_users_table_keeps_its_grants_where_its_columns_stay(
    warehouse: PostgresWarehouse, control: Control
) -> None:
    rows = pa.table({"x": [1, 2]})
    warehouse.write(["mine", "report"], rows.to_reader())
    before = control.run("SELECT 'mine.report'::regclass::oid")
    control.run("CREATE VIEW mine.total AS SELECT sum(x) AS total FROM mine.report")
    assert warehouse.write(["mine", "report"], pa.table({"x": [5]}).to_reader()) == 1
    assert control.run("SELECT 'mine.report'::regclass::oid") == before
    assert control.run("SELECT total::integer FROM mine.total") == [[5]]
    with pytest.raises(WarehouseError, match="other objects depend on it"):
        warehouse.write(["mine", "report"], pa.table({"y": [5]}).to_reader())
    with pytest.raises(WarehouseError, match="a view or another object has this name"):
        warehouse.write(["mine", "total"], rows.to_reader())
    assert control.run("SELECT total::integer FROM mine.total") == [[5]]


def test_tables_of_another_role_are_loaded_once_the_grants_in_the_message_were_run(
    warehouse: PostgresWarehouse, lake: StarLake, control: Control, server: Connection
) -> None:
    warehouse.load(lake.lake, star.TABLES)
    lake.put("fact_payment", 2, row_of(star.FACT_PAYMENT, 3, 2))
    role = f"{server.database}_other"
    control.run(f"CREATE ROLE {role} LOGIN PASSWORD 'open'")
    other = replace(warehouse, connect=lambda: replace(server, user=role, password="open"))
    with pytest.raises(WarehouseError, match="Ask an administrator of the database to run") as error:
        other.load(lake.lake, [star.FACT_PAYMENT])
    grants = str(error.value).partition("run: ")[2].split("; ")
    assert f'GRANT SELECT, INSERT ON TABLE "platform"."loads" TO "{role}"' in grants
    assert f'GRANT SELECT, INSERT, UPDATE ON TABLE "star"."fact_payment" TO "{role}"' in grants
    for grant in grants:
        control.run(grant)
    assert other.load(lake.lake, [star.FACT_PAYMENT]) == {"fact_payment": Load(1, 2, 1, 3)}


def test_a_star_schema_of_other_names_is_beside_the_first(
    warehouse: PostgresWarehouse, lake: StarLake, tmp_path: Path
) -> None:
    warehouse.load(lake.lake, star.TABLES)
    second = replace(warehouse, star_schema="Star 2", platform_schema="Platform 2")
    other = StarLake.with_rows(tmp_path / "other")
    assert second.load(other.lake, [star.FACT_PAYMENT]) == {"fact_payment": Load(0, 1, 2, 2)}
    assert len(warehouse.status()) == len(star.TABLES)
    assert fetch(second, 'SELECT count(*) FROM "Star 2".fact_payment_current') == [(2,)]
    with pytest.raises(WarehouseError, match="belongs to the platform"):
        second.write(["Star 2", "mine"], pa.table({"x": [1]}).to_reader())


def _text(data: bytes) -> pa.Array:
    offsets = pa.py_buffer(struct.pack("<ii", 0, len(data)))
    return pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(data)])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (pa.array([-(2**63)], pa.timestamp("us")), "column odd has a timestamp before 4714 BC"),
        (pa.array([1], pa.timestamp("ns")), "column odd of type timestamp.* without loss"),
        (_text(b"a\0b"), "column odd, row 1: invalid byte sequence .* 0x00"),
        (_text(b"\xe9"), "column odd, row 1: invalid byte sequence .* 0xe9"),
        (pa.array([2**31 - 1], pa.date32()), "column odd, row 1: date out of range"),
    ],
    ids=["early timestamp", "nanoseconds", "NUL", "no UTF-8", "far date"],
)
def test_a_value_that_is_refused_is_named_by_its_column_and_not_tried_again(
    warehouse: PostgresWarehouse, values: pa.Array, says: str
) -> None:
    rows = pa.table({"id": pa.array([1]), "odd": values})
    with pytest.raises(WarehouseError, match=f"could not write mine.t: {says}") as refused:
        warehouse.write(["mine", "t"], rows.to_reader())
    assert not refused.value.retryable
    assert "cannot be reached" not in str(refused.value)


def test_settings_of_the_role_do_not_disturb_a_load(
    warehouse: PostgresWarehouse, lake: StarLake, control: Control, server: Connection
) -> None:
    hostile = {
        "quote_all_identifiers": "on",
        "default_transaction_isolation": "serializable",
        "default_transaction_read_only": "on",
        "idle_in_transaction_session_timeout": "1",
        "transaction_timeout": "100",
        "statement_timeout": "1",
        "standard_conforming_strings": "off",
        "row_security": "off",
        "search_path": "nowhere",
    }
    for name, value in hostile.items():
        control.run(f"ALTER DATABASE {server.database} SET {name} = '{value}'")
    warehouse.load(lake.lake, star.TABLES)
    assert {status.table for status in warehouse.status()} == {table.name for table in star.TABLES}
    assert warehouse.write(["mine", "t"], pa.table({"x": ["a\\b"]}).to_reader()) == 1
    assert warehouse.write(["mine", "t"], pa.table({"x": ["a\\b"]}).to_reader()) == 1
    with warehouse.query("SELECT x FROM mine.t") as found:
        assert found.read_all().to_pylist() == [{"x": "a\\b"}]


def test_nobody_is_advised_to_grant_the_rights_of_a_superuser(
    server: Connection, control: Control, engine: SqlEngine
) -> None:
    role = f"writer_{server.database}"
    control.run(f"CREATE ROLE {role} LOGIN PASSWORD 'only in this test'")
    try:
        for statement in (
            "CREATE SCHEMA mine",
            "CREATE TABLE mine.t (x integer)",
            f"GRANT USAGE, CREATE ON SCHEMA mine TO {role}",
            f"GRANT TEMPORARY ON DATABASE {server.database} TO {role}",
        ):
            control.run(statement)
        writer = replace(server, user=role, password="only in this test")
        warehouse = PostgresWarehouse(lambda: writer, engine)
        with pytest.raises(WarehouseError) as refused:
            warehouse.write(["mine", "t"], pa.table({"x": [1]}).to_reader())
        assert str(refused.value).endswith(f'ALTER TABLE "mine"."t" OWNER TO "{role}";')
        control.run(f'ALTER TABLE "mine"."t" OWNER TO "{role}"')
        assert warehouse.write(["mine", "t"], pa.table({"x": [1]}).to_reader()) == 1
    finally:
        control.run(f"DROP OWNED BY {role}")
        control.run(f"DROP ROLE {role}")
