"""The declared source tables are the ones that its owner describes."""

import datetime as dt

import pytest

from platform_assets.model.table import Boolean, Column, Decimal, Integer, Table, Text, Timestamp
from platform_assets.model.totesys.source import EARLIEST_DATE, LATEST_DATE, TABLES

# name: columns between the key and the two timestamps, as `name type`, with `?` where NULL is allowed.
DESCRIBED = {
    "address": (
        "address_line_1 text, address_line_2 text?, district text?, city text, postal_code text, "
        "country text, phone text"
    ),
    "counterparty": (
        "counterparty_legal_name text, legal_address_id > address, commercial_contact text?, "
        "delivery_contact text?"
    ),
    "currency": "currency_code varchar(3)",
    "department": "department_name text, location text?, manager text?",
    "design": "design_name text, file_location text, file_name text",
    "staff": "first_name text, last_name text, department_id > department, email_address text",
    "sales_order": (
        "design_id > design, staff_id > staff, counterparty_id > counterparty, units_sold int, "
        "unit_price numeric(10,2), currency_id > currency, agreed_delivery_date date, "
        "agreed_payment_date date, agreed_delivery_location_id > address"
    ),
    "purchase_order": (
        "staff_id > staff, counterparty_id > counterparty, item_code text, item_quantity int, "
        "item_unit_price numeric(10,2), currency_id > currency, agreed_delivery_date date, "
        "agreed_payment_date date, agreed_delivery_location_id > address"
    ),
    "payment_type": "payment_type_name PaymentTypeName",
    "transaction": (
        "transaction_type TransactionType, sales_order_id > sales_order?, purchase_order_id > purchase_order?"
    ),
    "payment": (
        "transaction_id > transaction, counterparty_id > counterparty, payment_amount numeric(10,2), "
        "currency_id > currency, payment_type_id > payment_type, paid bool, payment_date date, "
        "company_ac_number int, counterparty_ac_number int"
    ),
}
ENUMS = {
    "PaymentTypeName": ("SALES_RECEIPT", "SALES_REFUND", "PURCHASE_PAYMENT", "PURCHASE_REFUND"),
    "TransactionType": ("SALE", "PURCHASE"),
}
UNIQUES = {"transaction": (("sales_order_id",), ("purchase_order_id",)), "payment": (("transaction_id",),)}


def described(column: Column) -> str:
    match column.type:
        case Integer(bits=32):
            kind = f"> {column.references}" if column.references else "int"
        case Decimal(precision=precision, scale=scale):
            kind = f"numeric({precision},{scale})"
        case Text(max_length=int(length)):
            kind = f"varchar({length})"
        case Text():
            kind = "date" if column.iso_date else column.enum or "text"
        case Boolean():
            kind = "bool"
        case other:
            raise AssertionError(other)
    return f"{column.name} {kind}{'?' if column.nullable else ''}"


def test_the_tables_are_the_eleven_that_are_business_data() -> None:
    assert {table.name for table in TABLES} == set(DESCRIBED)
    assert len(TABLES) == 11


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_has_the_columns_that_are_described(table: Table) -> None:
    key, *columns, created_at, last_updated = table.columns
    assert described(key) == f"{table.name}_id int"
    assert table.primary_key == (key.name,)
    assert ", ".join(map(described, columns)) == DESCRIBED[table.name]
    for column, name in ((created_at, "created_at"), (last_updated, "last_updated")):
        assert (column.name, column.type, column.nullable) == (name, Timestamp(utc=False), False)
    assert table.uniques == UNIQUES.get(table.name, ())
    assert (table.kind, table.reads, table.business_key) == ("source", (), None)
    assert all(column.description for column in table.columns)
    assert table.description


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_enumerated_columns_accept_their_labels_and_dates_a_sensible_range(table: Table) -> None:
    for column in table.columns:
        assert column.accepted == (ENUMS[column.enum] if column.enum else ())
        if column.iso_date:
            assert (column.minimum, column.maximum) == (EARLIEST_DATE, LATEST_DATE)
    assert EARLIEST_DATE < dt.date(2022, 11, 3) < LATEST_DATE


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_foreign_keys_point_to_tables_with_keys_of_one_column(table: Table) -> None:
    keys = {other.name: other.primary_key for other in TABLES}
    for _, parent in table.foreign_keys:
        assert len(keys[parent]) == 1
