"""The sample business: as large as asked for, always the same, and as awkward as the real one."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pg8000.native
import pytest
from pg8000.exceptions import DatabaseError
from typer.testing import CliRunner

import platform_assets
from platform_assets.cli import app
from platform_assets.errors import SampleError
from platform_assets.model.dialects import POSTGRES
from platform_assets.model.totesys.source import TABLES
from platform_assets.sample import business, rows
from platform_assets.sample.database import Advance, Sample, advance_sample, create_sample, ensure_sample
from platform_assets.sample.embedded import EmbeddedPostgres
from platform_assets.source.connection import Connection
from platform_assets_tests.fixtures.environment import python_path
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import Database, NewDatabase

PACKAGE_PARENT = Path(platform_assets.__file__).parents[1]
GROWING = ("design", "sales_order", "purchase_order", "transaction", "payment")


def query(connection: Connection, sql: str, **parameters: Any) -> list[Any]:
    """Runs SQL on a connection of its own and returns the rows."""
    with contextlib.closing(
        pg8000.native.Connection(
            connection.user,
            host=connection.host,
            port=connection.port,
            database=connection.database,
            password=connection.password,
            ssl_context=False,
        )
    ) as session:
        return list(session.run(sql, **parameters) or [])


def value(connection: Connection, sql: str, **parameters: Any) -> Any:
    [[only]] = query(connection, sql, **parameters)
    return only


def contents(connection: Connection) -> dict[str, str]:
    """A digest of every table's rows as they lie."""
    return {
        table.name: value(
            connection,
            f"SELECT md5(string_agg(t::text, chr(10) ORDER BY ctid)) FROM {POSTGRES.quote(table.name)} AS t",
        )
        for table in TABLES
    }


def table_ids(connection: Connection) -> list[list[int]]:
    """The server's own numbers of the tables, which a table that is created anew does not keep."""
    names = ", ".join(POSTGRES.literal(table.name) for table in TABLES)
    return query(connection, f"SELECT oid FROM pg_class WHERE relname IN ({names}) ORDER BY relname")


def rows_by_id(connection: Connection, table: str) -> dict[int, dict[str, Any]]:
    of_table = f"attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"
    names = [
        name
        for (name,) in query(
            connection,
            f"SELECT attname FROM pg_attribute WHERE {of_table}",
        )
    ]
    key = names.index(f"{table}_id")
    return {
        row[key]: dict(zip(names, row, strict=True)) for row in query(connection, f"SELECT * FROM {table}")
    }


@pytest.fixture(scope="module")
def default(new_module_database: NewDatabase) -> tuple[Connection, Sample]:
    """The reader's connection to a sample of the default size, and what its creation said."""
    database = new_module_database()
    return database.reader, create_sample(database.owner)


@pytest.fixture
def small(new_database: NewDatabase) -> Database:
    """A sample with 1,050 sales orders, ten weeks of business."""
    database = new_database()
    create_sample(database.owner, sales=1_050, seed=7)
    return database


def test_a_default_sample_has_the_size_that_was_asked_for_and_says_so(
    default: tuple[Connection, Sample],
) -> None:
    reader, made = default
    counts = {table.name: value(reader, f"SELECT count(*) FROM {table.name}") for table in TABLES}
    assert counts == {
        "address": 30,
        "counterparty": 20,
        "currency": 3,
        "department": 8,
        "design": made.designs,
        "staff": 20,
        "sales_order": 13_000,
        "purchase_order": 5_362,
        "payment_type": 4,
        "transaction": 18_362,
        "payment": 18_362,
    }
    assert (made.sales_orders, made.purchase_orders) == (13_000, 5_362)
    assert made.payments_made == value(reader, "SELECT count(*) FROM payment WHERE paid")
    assert (made.first_day, made.last_day) == (dt.date(2022, 11, 3), dt.date(2025, 3, 18))
    assert value(reader, "SELECT max(created_at)::date FROM transaction") == made.last_day
    assert 540 <= made.designs <= 640


def test_the_schema_is_that_of_the_real_database(default: tuple[Connection, Sample]) -> None:
    reader, _ = default
    columns = {
        (table, name): (kind, nullable == "YES", default_value)
        for table, name, kind, nullable, default_value in query(
            reader,
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), "
            "CASE WHEN a.attnotnull THEN 'NO' ELSE 'YES' END, pg_get_expr(d.adbin, d.adrelid) "
            "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r' "
            "JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public' "
            "LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attnum > 0",
        )
    }
    for table in TABLES:
        assert columns[table.name, "created_at"][0] == "timestamp(3) without time zone"
        assert columns[table.name, "created_at"][2] == "CURRENT_TIMESTAMP"
        assert columns[table.name, "last_updated"] == ("timestamp(3) without time zone", False, None)
        assert columns[table.name, f"{table.name}_id"][:2] == ("integer", False)
        assert {name for owner, name in columns if owner == table.name} == set(table.column_names)
        for column in table.columns:
            assert columns[table.name, column.name][1] == column.nullable
    assert columns["sales_order", "unit_price"][0] == "numeric(10,2)"
    assert columns["sales_order", "agreed_delivery_date"][0] == "text"
    assert columns["currency", "currency_code"][0] == "character varying(3)"
    assert columns["transaction", "transaction_type"][0] == '"TransactionType"'
    assert columns["payment_type", "payment_type_name"][0] == '"PaymentTypeName"'
    assert (
        value(
            reader,
            "SELECT attname FROM pg_attribute WHERE attrelid = 'design'::regclass "
            "ORDER BY attnum DESC LIMIT 1",
        )
        == "last_updated"
    )
    assert value(reader, "SELECT count(*) FROM _prisma_migrations") == 1
    constraints = query(
        reader,
        "SELECT conrelid::regclass::text, contype::text, pg_get_constraintdef(oid), convalidated "
        "FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'u', 'f')",
    )
    assert all(validated for *_, validated in constraints)
    assert {(table, text) for table, kind, text, _ in constraints if kind == "u"} == {
        ("transaction", "UNIQUE (sales_order_id)"),
        ("transaction", "UNIQUE (purchase_order_id)"),
        ("payment", "UNIQUE (transaction_id)"),
    }
    foreign = {text for _, kind, text, _ in constraints if kind == "f"}
    assert sum(kind == "f" for _, kind, *_ in constraints) == sum(len(table.foreign_keys) for table in TABLES)
    assert {text for text in foreign if text.endswith("ON DELETE SET NULL")} == {
        "FOREIGN KEY (sales_order_id) REFERENCES sales_order(sales_order_id) "
        "ON UPDATE CASCADE ON DELETE SET NULL",
        "FOREIGN KEY (purchase_order_id) REFERENCES purchase_order(purchase_order_id) "
        "ON UPDATE CASCADE ON DELETE SET NULL",
    }
    assert all(
        text.endswith(("ON UPDATE CASCADE ON DELETE RESTRICT", "ON DELETE SET NULL")) for text in foreign
    )


def test_the_static_tables_hold_the_awkward_values(default: tuple[Connection, Sample]) -> None:
    reader, _ = default
    assert value(reader, "SELECT count(*) FROM address WHERE address_line_2 IS NULL") == 20
    assert value(reader, "SELECT count(*) FROM address WHERE district IS NULL") == 14
    assert value(reader, "SELECT count(*) FROM address WHERE '' IN (address_line_2, district, city)") == 0
    assert value(reader, "SELECT count(*) FROM address WHERE postal_code LIKE '0%'") >= 3
    assert value(reader, "SELECT count(*) FROM address WHERE phone LIKE '0%'") >= 3
    countries = {name for (name,) in query(reader, "SELECT country FROM address")}
    assert {"Democratic People's Republic of Korea", "Svalbard & Jan Mayen Islands"} <= countries
    assert value(reader, "SELECT count(*) FROM address WHERE postal_code = '08841'") == 1
    assert value(reader, "SELECT count(*) FROM counterparty WHERE delivery_contact = 'Christy O''Hara'") == 1
    assert value(reader, "SELECT count(*) FROM counterparty WHERE counterparty_legal_name LIKE '%, %'") >= 5
    assert query(reader, "SELECT department_id FROM department WHERE location = 'Leds'") == [[4]]
    assert value(reader, "SELECT count(*) FROM staff WHERE email_address LIKE '%''%@%'") >= 1
    assert query(reader, "SELECT currency_code FROM currency ORDER BY currency_id") == [
        ["GBP"],
        ["USD"],
        ["EUR"],
    ]
    assert query(reader, "SELECT payment_type_name::text FROM payment_type ORDER BY payment_type_id") == [
        ["SALES_RECEIPT"],
        ["SALES_REFUND"],
        ["PURCHASE_PAYMENT"],
        ["PURCHASE_REFUND"],
    ]
    assert value(reader, "SELECT count(*) FROM purchase_order WHERE item_code = '9002744'") == 1


def test_orders_come_in_office_hours_at_the_measured_rates(default: tuple[Connection, Sample]) -> None:
    reader, _ = default
    for table in ("sales_order", "purchase_order", "design"):
        days, hours = query(
            reader,
            f"SELECT array_agg(DISTINCT extract(isodow FROM created_at)::int), "
            f"array_agg(DISTINCT extract(hour FROM created_at)::int) FROM {table}",
        )[0]
        assert sorted(days) == [1, 2, 3, 4, 5]
        assert sorted(hours) == list(range(8, 19))
    for table, mean in (("sales_order", 21), ("purchase_order", 8.7)):
        [[average, spread, most]] = query(
            reader,
            "SELECT avg(n)::float, stddev(n)::float, max(n) FROM "
            f"(SELECT count(*) AS n FROM {table} GROUP BY created_at::date) AS daily",
        )
        assert average == pytest.approx(mean, rel=0.03)
        assert mean * 0.1 < spread < mean * 0.5
        assert most < mean * 2.5
    early, late = (
        value(reader, "SELECT count(*) FROM design WHERE created_at < :day", day=day)
        for day in (dt.date(2023, 3, 23), dt.date(2023, 11, 6))
    )
    assert 75 <= early <= 130  # 102 in the real database
    assert 215 <= late <= 285  # 249


def test_quantities_prices_and_dates_are_distributed_as_measured(default: tuple[Connection, Sample]) -> None:
    reader, _ = default
    for column, table, low, high, mean in (
        ("units_sold", "sales_order", 1_000, 99_999, 50_500),
        ("unit_price", "sales_order", 2, 4, 3),
        ("item_quantity", "purchase_order", 1, 999, 500),
        ("item_unit_price", "purchase_order", 1, Decimal("999.99"), 500),
    ):
        [[smallest, largest, average]] = query(
            reader, f"SELECT min({column}), max({column}), avg({column})::float FROM {table}"
        )
        assert low <= smallest < low + (high - low) * Decimal("0.02")
        assert high - (high - low) * Decimal("0.02") < largest <= high
        assert average == pytest.approx(mean, rel=0.03)
    for table in ("sales_order", "purchase_order"):
        shape = r"^\d{4}-\d{2}-\d{2}$"
        assert value(
            reader,
            f"SELECT bool_and(agreed_delivery_date ~ '{shape}' AND agreed_payment_date ~ '{shape}') "
            f"FROM {table}",
        )
        [[earliest, latest, pushed, due_earliest, due_latest]] = query(
            reader,
            "SELECT min(delivery), max(delivery), avg((delivery > 10)::int)::float, min(due), max(due) FROM "
            "(SELECT agreed_delivery_date::date - created_at::date AS delivery, "
            f"agreed_payment_date::date - created_at::date AS due FROM {table}) AS lags",
        )
        assert (earliest, due_earliest, due_latest) == (0, 0, 6)
        assert 300 < latest <= 720
        assert 0.003 < pushed < 0.012
    assert value(reader, r"SELECT bool_and(item_code ~ '^[0-9A-Z]{7}$') FROM purchase_order")
    for table, column, count in (
        ("sales_order", "staff_id", 20),
        ("sales_order", "counterparty_id", 20),
        ("sales_order", "currency_id", 3),
        ("purchase_order", "agreed_delivery_location_id", 30),
    ):
        assert value(reader, f"SELECT count(DISTINCT {column}) FROM {table}") == count
    assert value(reader, "SELECT min(company_ac_number) FROM payment") >= 10_000_000
    assert value(reader, "SELECT count(DISTINCT design_id) FROM sales_order") > 500
    assert (
        value(
            reader,
            "SELECT count(*) FROM sales_order s JOIN design d USING (design_id) "
            "WHERE d.created_at > s.created_at",
        )
        == 0
    )


def test_a_payment_repeats_its_order_exactly(default: tuple[Connection, Sample]) -> None:
    reader, _ = default
    orders = (
        "SELECT sales_order_id AS sale, NULL::int AS purchase, 1 AS payment_type_id, created_at, "
        "counterparty_id, "
        "currency_id, agreed_payment_date AS payment_date, units_sold * unit_price AS payment_amount "
        "FROM sales_order UNION ALL "
        "SELECT NULL, purchase_order_id, 3, created_at, counterparty_id, currency_id, agreed_payment_date, "
        "item_quantity * item_unit_price FROM purchase_order"
    )
    repeated = "created_at, counterparty_id, currency_id, payment_date, payment_amount, payment_type_id"
    matching = value(
        reader,
        f"SELECT count(*) FROM payment JOIN transaction t USING (transaction_id, created_at) "
        f"JOIN ({orders}) AS o USING ({repeated}) "
        "WHERE o.sale = t.sales_order_id OR o.purchase = t.purchase_order_id",
    )
    assert matching == value(reader, "SELECT count(*) FROM payment") == 18_362
    assert value(
        reader,
        "SELECT bool_and((transaction_type = 'SALE') = (sales_order_id IS NOT NULL) "
        "AND (transaction_type = 'PURCHASE') = (purchase_order_id IS NOT NULL)) FROM transaction",
    )


def test_payments_are_made_in_one_run_a_working_day_at_five_to_eight(
    default: tuple[Connection, Sample],
) -> None:
    reader, made = default
    batches = query(
        reader,
        "SELECT last_updated, count(*) FROM payment WHERE last_updated <> created_at GROUP BY 1 ORDER BY 1",
    )
    days = [when.date() for when, _ in batches]
    assert len(set(days)) == len(days) > 600
    assert all(when.weekday() < 5 and (when.hour, when.minute) == (7, 55) for when, _ in batches)
    assert all(when.microsecond % 1_000 == 0 for when, _ in batches)
    assert 25 <= max(count for _, count in batches) <= 45
    assert (
        value(reader, "SELECT count(*) FROM payment WHERE paid AND last_updated::date::text <> payment_date")
        == 0
    )
    assert value(reader, "SELECT count(*) FROM payment WHERE paid = (last_updated = created_at)") == 0
    assert (
        value(
            reader,
            "SELECT count(*) FROM payment WHERE NOT paid AND payment_date::date <= :last "
            "AND payment_date::date > created_at::date AND extract(isodow FROM payment_date::date) < 6",
            last=made.last_day,
        )
        == 0
    )
    for table in ("sales_order", "purchase_order", "transaction", "design"):
        assert value(reader, f"SELECT count(*) FROM {table} WHERE last_updated <> created_at") == 0


def test_ids_times_and_natural_order_do_not_agree(default: tuple[Connection, Sample]) -> None:
    reader, _ = default
    for table in ("sales_order", "purchase_order", "transaction", "payment"):
        key = f"{table}_id"
        assert query(reader, f"SELECT min({key}), max({key}) - count(*) FROM {table}") == [[1, 0]]  # no gaps
        assert (
            value(
                reader,
                f"SELECT count(*) FROM "
                f"(SELECT {key}, lag({key}) OVER (ORDER BY ctid) AS before FROM {table}) AS o "
                f"WHERE {key} < before",
            )
            > 0
        )
    backwards = {
        table: value(
            reader,
            f"SELECT count(*) FROM (SELECT created_at, lag(created_at) OVER (ORDER BY {table}_id) AS before "
            f"FROM {table}) AS o WHERE created_at < before",
        )
        for table in ("sales_order", "transaction", "payment")
    }
    assert all(1 <= count <= 60 for count in backwards.values())
    crossed = value(reader, "SELECT count(*) FROM payment WHERE payment_id <> transaction_id")
    assert 10 <= crossed <= 90  # 38 of 15,836 in the real database
    zero = value(
        reader, "SELECT count(*) FROM sales_order WHERE created_at = date_trunc('second', created_at)"
    )
    assert 8 <= zero <= 60  # 25 of 12,913
    assert (
        value(
            reader,
            "SELECT count(*) FROM (SELECT created_at FROM transaction GROUP BY 1 HAVING count(*) > 1) t",
        )
        > 0
    )


def test_the_same_seed_gives_the_same_rows_in_the_same_order_and_another_does_not(
    new_database: NewDatabase,
) -> None:
    first, second, other = new_database(), new_database(), new_database()
    for database, seed in ((first, 11), (second, 11), (other, 12)):
        create_sample(database.owner, sales=2_000, seed=seed)
    assert contents(first.reader) == contents(second.reader)
    for database in (first, second):
        advance_sample(database.owner, days=4, silent_edits=15, deletes=6, seed=3)
        advance_sample(database.owner, days=2, silent_edits=5, deletes=2)
    assert contents(first.reader) == contents(second.reader)
    differing = {
        name for name, digest in contents(other.reader).items() if digest != contents(first.reader)[name]
    }
    assert differing == set(GROWING)


def test_larger_samples_keep_the_period_and_smaller_ones_are_shorter(new_database: NewDatabase) -> None:
    database = new_database()
    made = create_sample(database.owner, sales=40_000)
    assert made.last_day == dt.date(2025, 3, 18)
    assert value(database.reader, "SELECT count(DISTINCT created_at::date) FROM sales_order") == 619
    made = create_sample(database.owner, sales=100, replace=True)
    assert made.last_day == dt.date(2022, 11, 9)
    assert value(database.reader, "SELECT count(*) FROM sales_order") == 100
    made = create_sample(database.owner, sales=1, replace=True)
    assert (made.sales_orders, made.purchase_orders, made.last_day) == (1, 1, dt.date(2022, 11, 3))


def test_a_plan_for_fifty_million_sales_comes_in_pieces_of_bounded_size() -> None:
    plan = business.opening_plan(50_000_000, business.generator(1))
    pieces = list(plan.chunks())
    assert sum(int(piece.sales.sum()) for piece in pieces) == 50_000_000
    assert max(int((piece.sales + piece.purchases).sum()) for piece in pieces) < 250_000
    assert [int(day) for piece in pieces for day in piece.days] == plan.days.tolist()


def test_what_exists_is_only_replaced_when_that_is_asked_for(small: Database) -> None:
    before = contents(small.reader)
    with pytest.raises(
        SampleError, match=r"already holds 1,050 sales orders from 2022-11-03 to .* Use --replace"
    ):
        create_sample(small.owner, sales=100)
    assert contents(small.reader) == before
    create_sample(small.owner, sales=100, seed=1, replace=True)
    assert value(small.reader, "SELECT count(*) FROM sales_order") == 100  # and the reader still reads
    create_sample(small.owner, sales=1_050, seed=7, replace=True)
    assert contents(small.reader) == before


def test_impossible_sizes_are_refused(new_database: NewDatabase) -> None:
    owner = new_database().owner
    for sales in (0, -1, 50_000_001):
        with pytest.raises(SampleError, match="between 1 and 50,000,000"):
            create_sample(owner, sales=sales)
    with pytest.raises(SampleError, match="seed"):
        create_sample(owner, sales=1, seed=-1)
    with pytest.raises(SampleError, match="holds no sample to advance"):
        advance_sample(owner, days=1)


def test_progress_is_reported_until_everything_is_done(new_database: NewDatabase) -> None:
    told: list[tuple[str, int, int]] = []
    create_sample(
        new_database().owner, sales=100, progress=lambda step, done, total: told.append((step, done, total))
    )
    assert told[0] == ("orders", 0, 141)
    assert ("orders", 141, 141) in told
    assert told[-1] == ("keys", 31, 31)


def test_nothing_is_left_of_a_creation_that_was_killed(
    postgres_server: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    database = new_database()
    code = (
        "import sys; from pathlib import Path\n"
        "from platform_assets.sample.embedded import EmbeddedPostgres\n"
        "from platform_assets.sample.database import create_sample\n"
        "create_sample(EmbeddedPostgres(Path(sys.argv[1])).owner(sys.argv[2]), sales=2_000_000)"
    )
    creator = subprocess.Popen(
        [sys.executable, "-c", code, str(postgres_server.directory), database.owner.database],
        env=os.environ | {"PYTHONPATH": python_path(PACKAGE_PARENT)},
    )
    copying = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'"
    )
    deadline = time.monotonic() + PATIENCE
    while not value(database.owner, copying) and time.monotonic() < deadline:
        time.sleep(0.01)
    creator.send_signal(signal.SIGKILL)
    assert creator.wait() == -signal.SIGKILL
    made = create_sample(database.owner, sales=100)  # waits for the dead session's lock, then starts afresh
    assert made.sales_orders == value(database.reader, "SELECT count(*) FROM sales_order") == 100
    assert query(database.owner, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'sample%'") == []


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    EmbeddedPostgres(tmp_path / "source").stop()


ENSURE = """
import sys
from pathlib import Path
from platform_assets.sample.embedded import EmbeddedPostgres
from platform_assets.sample.database import ensure_sample
reader = ensure_sample(EmbeddedPostgres(Path(sys.argv[1])), 300, 5)
heavy = sorted({"numpy", "pandas", "pyarrow", "pg8000", "dagster"} & set(sys.modules))
print(reader.user, reader.port, *heavy)
"""


def test_processes_that_ensure_the_sample_at_once_make_one_and_the_next_only_looks(state_dir: Path) -> None:
    command = [sys.executable, "-c", ENSURE, str(state_dir / "source")]
    environment = os.environ | {"PYTHONPATH": python_path(PACKAGE_PARENT)}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    embedded = EmbeddedPostgres(state_dir / "source")
    assert {tuple(words[:2]) for words in said} == {("totesys_reader", str(embedded.owner().port))}
    assert value(embedded.reader(), "SELECT count(*) FROM sales_order") == 300
    before, tables = contents(embedded.owner()), table_ids(embedded.owner())
    again = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE
    ).stdout
    assert again == f"totesys_reader {embedded.owner().port}\n"  # and nothing heavy was imported
    assert ensure_sample(embedded, 999, 1) == embedded.reader()
    assert (contents(embedded.owner()), table_ids(embedded.owner())) == (before, tables)


def changed(before: dict[int, dict[str, Any]], after: dict[int, dict[str, Any]]) -> dict[int, set[str]]:
    """For each row that is in both, the names of the columns that differ."""
    return {
        key: {name for name in row if row[name] != after[key][name]}
        for key, row in before.items()
        if key in after and row != after[key]
    }


def test_advancing_adds_working_days_at_the_volume_so_far(small: Database) -> None:
    before = {table: rows_by_id(small.reader, table) for table in GROWING}
    last = max(row["created_at"] for row in before["transaction"].values()).date()
    done = advance_sample(small.owner, days=20, seed=1)
    after = {table: rows_by_id(small.reader, table) for table in GROWING}
    new = {table: [row for key, row in after[table].items() if key not in before[table]] for table in GROWING}
    days = sorted({row["created_at"].date() for row in new["sales_order"]})
    assert (done.first_day, done.last_day) == (days[0], days[-1])
    assert len(days) == 20
    assert days[0] > last
    assert all(day.weekday() < 5 for day in days)
    assert 340 <= len(new["sales_order"]) <= 500
    assert 120 <= len(new["purchase_order"]) <= 230
    assert done == Advance(
        first_day=days[0],
        last_day=days[-1],
        sales_orders=len(new["sales_order"]),
        purchase_orders=len(new["purchase_order"]),
        designs=len(new["design"]),
        payments_made=sum(row["paid"] for row in after["payment"].values())
        - sum(row["paid"] for row in before["payment"].values()),
        silent_edits=0,
        deleted_orders=0,
        orphaned_transactions=0,
    )
    assert (
        len(new["transaction"]) == len(new["payment"]) == len(new["sales_order"]) + len(new["purchase_order"])
    )
    assert done.designs >= 5
    for table in ("design", "sales_order", "purchase_order", "transaction"):
        assert changed(before[table], after[table]) == {}
        assert sorted(after[table]) == list(range(1, len(after[table]) + 1))


def test_the_payment_run_pays_what_is_due_with_one_timestamp_a_day(small: Database) -> None:
    before = rows_by_id(small.reader, "payment")
    done = advance_sample(small.owner, days=3, seed=1)
    after = rows_by_id(small.reader, "payment")
    differing = changed(before, after)
    assert len(differing) >= 10
    assert all(columns == {"paid", "last_updated"} for columns in differing.values())
    runs: dict[dt.date, set[dt.datetime]] = {}
    for key in [*differing, *(set(after) - set(before))]:
        row = after[key]
        if row["paid"]:
            assert row["payment_date"] == row["last_updated"].date().isoformat()
            runs.setdefault(row["last_updated"].date(), set()).add(row["last_updated"])
    assert sorted(runs) == [
        dt.date(2023, 1, 12),
        dt.date(2023, 1, 13),
        dt.date(2023, 1, 16),
    ]  # over a weekend
    assert all(len(times) == 1 for times in runs.values())
    assert all((when.hour, when.minute) == (7, 55) for times in runs.values() for when in times)
    still_due = [
        row
        for row in after.values()
        if not row["paid"]
        and row["payment_date"] <= done.last_day.isoformat()
        and row["payment_date"] > row["created_at"].date().isoformat()
    ]
    assert all(dt.date.fromisoformat(row["payment_date"]).weekday() >= 5 for row in still_due)


def test_silent_edits_change_one_column_each_and_never_last_updated(small: Database) -> None:
    tables = ("sales_order", "purchase_order", "design")
    before = {table: rows_by_id(small.reader, table) for table in tables}
    assert advance_sample(small.owner, days=1, silent_edits=90, seed=2).silent_edits == 90
    differing = {table: changed(before[table], rows_by_id(small.reader, table)) for table in tables}
    edits = [columns for rows_ in differing.values() for columns in rows_.values()]
    assert len(edits) == 90
    assert all(len(columns) == 1 for columns in edits)
    names = {table: set().union(*rows_.values()) for table, rows_ in differing.items()}
    assert names == {
        "sales_order": {"design_id", "staff_id", "agreed_delivery_date", "agreed_delivery_location_id"},
        "purchase_order": {"staff_id", "item_code", "agreed_delivery_date", "agreed_delivery_location_id"},
        "design": {"file_location"},
    }
    after = rows_by_id(small.reader, "sales_order")
    for key, columns in differing["sales_order"].items():
        if columns == {"agreed_delivery_date"}:
            latest = after[key]["created_at"].date() + dt.timedelta(days=720)
            assert before["sales_order"][key]["agreed_delivery_date"] < after[key]["agreed_delivery_date"]
            assert after[key]["agreed_delivery_date"] <= latest.isoformat()


def test_deletions_take_whole_orders_and_keep_every_reference_valid(small: Database) -> None:
    before = {table: rows_by_id(small.reader, table) for table in GROWING}
    done = advance_sample(small.owner, days=1, deletes=40, seed=4)
    after = {table: rows_by_id(small.reader, table) for table in GROWING}
    gone = {table: set(before[table]) - set(after[table]) for table in GROWING}
    assert done.deleted_orders == 40
    assert len(gone["sales_order"]) + len(gone["purchase_order"]) == 40
    assert len(gone["sales_order"]) > 10
    assert len(gone["purchase_order"]) > 0
    assert len(gone["payment"]) == 40
    assert len(gone["transaction"]) == 40 - done.orphaned_transactions
    assert 5 <= done.orphaned_transactions <= 35
    orphans = [
        key
        for key, row in after["transaction"].items()
        if row["sales_order_id"] is None and row["purchase_order_id"] is None
    ]
    assert len(orphans) == done.orphaned_transactions
    assert not {row["transaction_id"] for row in after["payment"].values()} & set(orphans)
    assert {before["payment"][key]["transaction_id"] for key in gone["payment"]} == gone["transaction"] | set(
        orphans
    )


def test_ids_of_deleted_rows_never_come_back(new_database: NewDatabase) -> None:
    database = new_database()
    create_sample(database.owner, sales=5)
    seen: set[int] = set()
    for _ in range(4):
        present = {key for (key,) in query(database.reader, "SELECT transaction_id FROM transaction")}
        total = value(database.reader, "SELECT count(*) FROM payment")
        advance_sample(database.owner, days=1, deletes=total)
        left = {key for (key,) in query(database.reader, "SELECT transaction_id FROM transaction")}
        seen |= present
        assert min(left - present) > max(seen)


def test_asking_for_more_than_there_is_changes_nothing(small: Database) -> None:
    before = contents(small.reader)
    with pytest.raises(SampleError, match=r"asked for 5,000 orders to delete, but the sample has only 1,483"):
        advance_sample(small.owner, days=1, deletes=5_000)
    with pytest.raises(SampleError, match=r"rows of \w+ to edit, but the sample has only"):
        advance_sample(small.owner, days=1, silent_edits=50_000)
    with pytest.raises(SampleError, match="1 working day or more"):
        advance_sample(small.owner, days=0)
    assert contents(small.reader) == before


def test_a_database_that_does_not_answer_is_explained(postgres_server: EmbeddedPostgres) -> None:
    owner = postgres_server.owner()
    with pytest.raises(SampleError, match=r"could not create the sample at 127.0.0.1:1/totesys"):
        create_sample(Connection(owner.host, 1, owner.database, owner.user, owner.password))
    with pytest.raises(SampleError, match="password authentication failed") as refused:
        create_sample(Connection(owner.host, owner.port, owner.database, owner.user, "wrong-password"))
    assert "wrong-password" not in str(refused.value)


def test_the_reader_cannot_create_or_advance(small: Database) -> None:
    with pytest.raises(SampleError, match="permission denied"):
        advance_sample(small.reader, days=1)
    with pytest.raises(SampleError, match="permission denied"):
        create_sample(small.reader, sales=10, replace=True)


def test_binary_rows_arrive_as_they_were_given(new_database: NewDatabase) -> None:
    at = dt.datetime.fromisoformat
    owner = new_database().owner
    columns = {
        "number": rows.integer(np.array([-1, 0, 2**31 - 1]), null=np.array([False, True, False])),
        "flag": rows.boolean(np.array([True, False, True])),
        "price": rows.numeric(np.array([1, 40_000_000, 9_999_999_999])),
        "words": rows.text(["", None, "Zoë, 'quoted'\n\t\\"]),
        "moment": rows.timestamp(np.array([0, 1_667_485_249_962_000, 946_684_800_000_001])),
    }
    with contextlib.closing(
        pg8000.native.Connection(
            owner.user, owner.host, owner.database, owner.port, owner.password, ssl_context=False
        )
    ) as session:
        session.run(
            "CREATE TABLE t (number int, flag bool, price numeric(10,2), words text, moment timestamp)"
        )
        stream = rows.pieces(rows.encode(list(columns.values())), size=7)
        session.run("COPY t FROM STDIN WITH (FORMAT binary)", stream=stream)
        assert session.run("SELECT * FROM t") == [
            [-1, True, Decimal("0.01"), "", at("1970-01-01")],
            [None, False, Decimal("400000.00"), None, at("2022-11-03 14:20:49.962")],
            [
                2**31 - 1,
                True,
                Decimal("99999999.99"),
                "Zoë, 'quoted'\n\t\\",
                at("2000-01-01 00:00:00.000001"),
            ],
        ]
        with pytest.raises(DatabaseError):
            session.run("COPY t FROM STDIN WITH (FORMAT binary)", stream=[b"no copy stream"])


def test_the_commands_create_advance_and_explain(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(state_dir))
    command = CliRunner()

    def run(*words: str) -> tuple[int, str, str]:
        result = command.invoke(app, ["sample", *words])
        return result.exit_code, " ".join(result.stdout.split()), result.stderr

    assert "contains no PostgreSQL" in run("status")[1]
    code, said, _ = run("create", "--sales", "60", "--seed", "4")
    assert code == 0
    assert "sales orders 60 purchase orders 25" in said
    code, said, error = run("create")
    assert (code, said) == (1, "")
    assert "already holds 60 sales orders" in error
    assert "Traceback" not in error
    assert run("create", "--sales", "30", "--replace")[0] == 0
    code, said, _ = run("advance", "--days", "2", "--silent-edits", "3", "--deletes", "1")
    assert code == 0
    assert "silent edits 3 deleted orders 1" in said
    code, _, error = run("advance", "--days", "0")
    assert (code, error.count("\n")) == (1, 1)
    assert "running at 127.0.0.1:" in run("status")[1]
    assert "running at 127.0.0.1:" in run("start")[1]
    assert run("stop")[1] == "PostgreSQL has stopped."
    assert run("stop")[1] == "PostgreSQL was not running."
    assert "is not running" in run("status")[1]
