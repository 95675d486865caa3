"""The real snapshots of Totesys: the files, their database, and what a warehouse must make of them.

Nothing here asks the platform: tables, types and mappings are written out as its users were promised them.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pg8000.native

import platform_assets

FOLDER = Path(platform_assets.__file__).parents[2] / "shared" / "data" / "totesys"
SNAPSHOTS = ("2023-03-23", "2023-03-24", "2023-11-06")

Row = dict[str, Any]
Rows = dict[int, Row]
Snapshot = dict[str, Rows]
"""The rows of every table by primary key."""

DDL = """
CREATE TYPE "PaymentTypeName" AS ENUM ('SALES_RECEIPT', 'SALES_REFUND', 'PURCHASE_PAYMENT',
  'PURCHASE_REFUND');
CREATE TYPE "TransactionType" AS ENUM ('SALE', 'PURCHASE');
CREATE TABLE address (
  address_id serial PRIMARY KEY, address_line_1 text NOT NULL, address_line_2 text, district text, city
  text NOT NULL,
  postal_code text NOT NULL, country text NOT NULL, phone text NOT NULL,
  created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, last_updated timestamp(3) NOT NULL);
CREATE TABLE counterparty (
  counterparty_id serial PRIMARY KEY, counterparty_legal_name text NOT NULL,
  legal_address_id integer NOT NULL REFERENCES address ON UPDATE CASCADE ON DELETE RESTRICT,
  commercial_contact text, delivery_contact text,
  created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, last_updated timestamp(3) NOT NULL);
CREATE TABLE currency (
  currency_id serial PRIMARY KEY, currency_code varchar(3) NOT NULL,
  created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, last_updated timestamp(3) NOT NULL);
CREATE TABLE department (
  department_id serial PRIMARY KEY, department_name text NOT NULL, location text, manager text,
  created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, last_updated timestamp(3) NOT NULL);
CREATE TABLE design (
  design_id serial PRIMARY KEY, created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, design_name
  text NOT NULL,
  file_location text NOT NULL, file_name text NOT NULL, last_updated timestamp(3) NOT NULL);
CREATE TABLE staff (
  staff_id serial PRIMARY KEY, first_name text NOT NULL, last_name text NOT NULL,
  department_id integer NOT NULL REFERENCES department ON UPDATE CASCADE ON DELETE RESTRICT,
  email_address text NOT NULL,
  created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, last_updated timestamp(3) NOT NULL);
CREATE TABLE sales_order (
  sales_order_id serial PRIMARY KEY,
  created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, last_updated timestamp(3) NOT NULL,
  design_id integer NOT NULL REFERENCES design ON UPDATE CASCADE ON DELETE RESTRICT,
  staff_id integer NOT NULL REFERENCES staff ON UPDATE CASCADE ON DELETE RESTRICT,
  counterparty_id integer NOT NULL REFERENCES counterparty ON UPDATE CASCADE ON DELETE RESTRICT,
  units_sold integer NOT NULL, unit_price numeric(10,2) NOT NULL,
  currency_id integer NOT NULL REFERENCES currency ON UPDATE CASCADE ON DELETE RESTRICT,
  agreed_delivery_date text NOT NULL, agreed_payment_date text NOT NULL,
  agreed_delivery_location_id integer NOT NULL REFERENCES address ON UPDATE CASCADE ON DELETE RESTRICT);
CREATE TABLE purchase_order (
  purchase_order_id serial PRIMARY KEY,
  created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, last_updated timestamp(3) NOT NULL,
  staff_id integer NOT NULL REFERENCES staff ON UPDATE CASCADE ON DELETE RESTRICT,
  counterparty_id integer NOT NULL REFERENCES counterparty ON UPDATE CASCADE ON DELETE RESTRICT,
  item_code text NOT NULL, item_quantity integer NOT NULL, item_unit_price numeric(10,2) NOT NULL,
  currency_id integer NOT NULL REFERENCES currency ON UPDATE CASCADE ON DELETE RESTRICT,
  agreed_delivery_date text NOT NULL, agreed_payment_date text NOT NULL,
  agreed_delivery_location_id integer NOT NULL REFERENCES address ON UPDATE CASCADE ON DELETE RESTRICT);
CREATE TABLE payment_type (
  payment_type_id serial PRIMARY KEY, payment_type_name "PaymentTypeName" NOT NULL,
  created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, last_updated timestamp(3) NOT NULL);
CREATE TABLE transaction (
  transaction_id serial PRIMARY KEY, transaction_type "TransactionType" NOT NULL,
  sales_order_id integer UNIQUE REFERENCES sales_order ON UPDATE CASCADE ON DELETE SET NULL,
  purchase_order_id integer UNIQUE REFERENCES purchase_order ON UPDATE CASCADE ON DELETE SET NULL,
  created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, last_updated timestamp(3) NOT NULL);
CREATE TABLE payment (
  payment_id serial PRIMARY KEY,
  created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, last_updated timestamp(3) NOT NULL,
  transaction_id integer UNIQUE NOT NULL REFERENCES transaction ON UPDATE CASCADE ON DELETE RESTRICT,
  counterparty_id integer NOT NULL REFERENCES counterparty ON UPDATE CASCADE ON DELETE RESTRICT,
  payment_amount numeric(10,2) NOT NULL,
  currency_id integer NOT NULL REFERENCES currency ON UPDATE CASCADE ON DELETE RESTRICT,
  payment_type_id integer NOT NULL REFERENCES payment_type ON UPDATE CASCADE ON DELETE RESTRICT,
  paid boolean NOT NULL, payment_date text NOT NULL,
  company_ac_number integer NOT NULL, counterparty_ac_number integer NOT NULL);
CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, migration_name text NOT NULL);
"""

TABLES = (
    "address",
    "counterparty",
    "currency",
    "department",
    "design",
    "staff",
    "sales_order",
    "purchase_order",
    "payment_type",
    "transaction",
    "payment",
)
"""Parents first."""

_NUMERIC = {"unit_price", "item_unit_price", "payment_amount"}
_INTEGERS = {"units_sold", "item_quantity", "company_ac_number", "counterparty_ac_number"}

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

CURRENCY_NAMES = {"GBP": "British Pound", "USD": "US Dollar", "EUR": "Euro"}


def parse(column: str, text: str) -> Any:
    """The value that a field of a file stands for."""
    if text == "":
        return None
    if column.endswith("_id") or column in _INTEGERS:
        return int(text)
    if column in _NUMERIC:
        return Decimal(text)
    if column in ("created_at", "last_updated"):
        return dt.datetime.fromisoformat(text)
    if column == "paid":
        return {"t": True, "f": False}[text]
    return text


def read(name: str) -> Snapshot:
    """The snapshot in the folder `name`."""
    snapshot = {}
    for table in TABLES:
        with (FOLDER / name / f"{table}.csv").open(newline="", encoding="utf-8") as file:
            rows = [
                {column: parse(column, text) for column, text in row.items()} for row in csv.DictReader(file)
            ]
        snapshot[table] = {row[f"{table}_id"]: row for row in rows}
    return snapshot


def play(session: pg8000.native.Connection, name: str) -> None:
    """Makes the database hold a snapshot: inserts what is new, updates what differs, deletes what is gone.

    New rows are inserted in an order that is not that of their ids, as it is in the real database.
    """
    session.run("BEGIN")
    for table in TABLES:
        text = (FOLDER / name / f"{table}.csv").read_text(encoding="utf-8")
        names = text.partition("\n")[0].strip().split(",")
        columns = ", ".join(names)
        session.run(f"CREATE TEMP TABLE played (LIKE {table}) ON COMMIT DROP")
        session.run(f"COPY played ({columns}) FROM STDIN (FORMAT csv, HEADER)", stream=io.StringIO(text))
        updates = ", ".join(f"{column} = excluded.{column}" for column in names[1:])
        session.run(
            f"INSERT INTO {table} AS kept ({columns}) SELECT {columns} FROM played "
            f"ORDER BY md5({names[0]}::text) ON CONFLICT ({names[0]}) "
            f"DO UPDATE SET {updates} WHERE kept IS DISTINCT FROM excluded"
        )
        session.run("DROP TABLE played")
    for table in reversed(TABLES):
        ids = list(read(name)[table])
        session.run(f"DELETE FROM {table} WHERE {table}_id <> ALL(CAST(:ids AS integer[]))", ids=ids)
    session.run("COMMIT")


def in_database(session: pg8000.native.Connection) -> Snapshot:
    """Everything that the database holds."""
    found: Snapshot = {}
    for table in TABLES:
        rows = session.run(f"SELECT * FROM {table}")
        names = [column["name"] for column in session.columns]
        found[table] = {
            row[f"{table}_id"]: row for row in (dict(zip(names, row, strict=True)) for row in rows)
        }
    return found


def edits(before: Rows, after: Rows, *, silent: bool | None = None) -> list[int]:
    """Keys of rows that differ; where `silent` is given, those whose `last_updated` stayed, or changed."""
    return [
        key
        for key, row in after.items()
        if key in before
        and row != before[key]
        and (silent is None or silent == (row["last_updated"] == before[key]["last_updated"]))
    ]


def versions(states: Iterable[Rows]) -> list[tuple[int, int, str, Row]]:
    """What happened to each row of a table: (number of the state from 1, key, change, values), in that order.

    A deleted row's values are its last ones.
    """
    happened: list[tuple[int, int, str, Row]] = []
    before: Rows = {}
    for number, rows in enumerate(states, start=1):
        changes = [(key, "insert", rows[key]) for key in rows.keys() - before.keys()]
        changes += [(key, "update", rows[key]) for key in edits(before, rows)]
        changes += [(key, "delete", before[key]) for key in before.keys() - rows.keys()]
        happened += [
            (number, key, change, row) for key, change, row in sorted(changes, key=lambda change: change[0])
        ]
        before = rows
    return happened


def _day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def fact_sales_order(row: Row) -> tuple[Any, ...]:
    """A sales order as the fact's columns after the record id."""
    created, updated = row["created_at"], row["last_updated"]
    return (
        row["sales_order_id"],
        created.date(),
        created.time(),
        updated.date(),
        updated.time(),
        row["staff_id"],
        row["counterparty_id"],
        row["units_sold"],
        row["unit_price"],
        row["currency_id"],
        row["design_id"],
        _day(row["agreed_payment_date"]),
        _day(row["agreed_delivery_date"]),
        row["agreed_delivery_location_id"],
    )


def fact_purchase_order(row: Row) -> tuple[Any, ...]:
    """A purchase order as the fact's columns after the record id."""
    created, updated = row["created_at"], row["last_updated"]
    return (
        row["purchase_order_id"],
        created.date(),
        created.time(),
        updated.date(),
        updated.time(),
        row["staff_id"],
        row["counterparty_id"],
        row["item_code"],
        row["item_quantity"],
        row["item_unit_price"],
        row["currency_id"],
        _day(row["agreed_delivery_date"]),
        _day(row["agreed_payment_date"]),
        row["agreed_delivery_location_id"],
    )


def fact_payment(row: Row) -> tuple[Any, ...]:
    """A payment as the fact's columns after the record id."""
    created, updated = row["created_at"], row["last_updated"]
    return (
        row["payment_id"],
        created.date(),
        created.time(),
        updated.date(),
        updated.time(),
        row["transaction_id"],
        row["counterparty_id"],
        row["payment_amount"],
        row["currency_id"],
        row["payment_type_id"],
        row["paid"],
        _day(row["payment_date"]),
    )


FACTS = {
    "fact_sales_order": ("sales_order", fact_sales_order),
    "fact_purchase_order": ("purchase_order", fact_purchase_order),
    "fact_payment": ("payment", fact_payment),
}
"""The source table of each fact, and its mapping."""


def dimensions(snapshot: Snapshot) -> dict[str, dict[int, tuple[Any, ...]]]:
    """The rows of each dimension but the calendar, by key, without the platform's columns."""
    addresses, departments = snapshot["address"], snapshot["department"]

    def picked(table: str, *columns: str) -> dict[int, tuple[Any, ...]]:
        return {key: tuple(row[column] for column in columns) for key, row in snapshot[table].items()}

    place = ("address_line_1", "address_line_2", "district", "city", "postal_code", "country", "phone")
    return {
        "dim_staff": {
            key: (
                key,
                row["first_name"],
                row["last_name"],
                departments[row["department_id"]]["department_name"],
                departments[row["department_id"]]["location"],
                row["email_address"],
            )
            for key, row in snapshot["staff"].items()
        },
        "dim_location": picked("address", "address_id", *place),
        "dim_currency": {
            key: (key, row["currency_code"], CURRENCY_NAMES[row["currency_code"]])
            for key, row in snapshot["currency"].items()
        },
        "dim_design": picked("design", "design_id", "design_name", "file_location", "file_name"),
        "dim_counterparty": {
            key: (
                key,
                row["counterparty_legal_name"],
                *(addresses[row["legal_address_id"]][name] for name in place),
            )
            for key, row in snapshot["counterparty"].items()
        },
        "dim_transaction": picked(
            "transaction", "transaction_id", "transaction_type", "sales_order_id", "purchase_order_id"
        ),
        "dim_payment_type": picked("payment_type", "payment_type_id", "payment_type_name"),
    }


def calendar(facts: Mapping[str, Iterable[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """The calendar's rows, without the platform's columns: whole years, first to last date of any fact."""
    days = [
        value
        for rows in facts.values()
        for row in rows
        for value in row
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime)
    ]
    day, rows = dt.date(min(days).year, 1, 1), []
    while day.year <= max(days).year:
        weekday = day.isoweekday()
        name = _DAYS[weekday - 1]
        quarter = (day.month - 1) // 3 + 1
        month = _MONTHS[day.month - 1]
        rows.append((day, day.year, day.month, day.day, weekday, name, month, quarter))
        day += dt.timedelta(days=1)
    return rows
