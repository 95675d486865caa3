"""The declared star schema is the one that is described, and its SQL is what its declarations say."""

import pytest
import sqlglot
from sqlglot import exp

from platform_assets.model.dialects import type_name
from platform_assets.model.star_model import columns_of
from platform_assets.model.table import Column, Date, Table, Text, Time
from platform_assets.model.totesys.star import DIMENSIONS, FACTS, STAR, TABLES

VERSION_TIMES = "created_date date, created_time time, last_updated_date date, last_updated_time time"
DESCRIBED = {
    "fact_sales_order": (
        f"sales_record_id integer, sales_order_id integer, {VERSION_TIMES}, sales_staff_id integer, "
        "counterparty_id integer, units_sold integer, unit_price numeric(10,2), currency_id integer, "
        "design_id integer, agreed_payment_date date, agreed_delivery_date date, "
        "agreed_delivery_location_id integer"
    ),
    "fact_purchase_order": (
        f"purchase_record_id integer, purchase_order_id integer, {VERSION_TIMES}, staff_id integer, "
        "counterparty_id integer, item_code text, item_quantity integer, item_unit_price numeric(10,2), "
        "currency_id integer, agreed_delivery_date date, agreed_payment_date date, "
        "agreed_delivery_location_id integer"
    ),
    "fact_payment": (
        f"payment_record_id integer, payment_id integer, {VERSION_TIMES}, transaction_id integer, "
        "counterparty_id integer, payment_amount numeric(10,2), currency_id integer, "
        "payment_type_id integer, paid boolean, payment_date date"
    ),
    "dim_date": (
        "date_id date, year integer, month integer, day integer, day_of_week integer, day_name text, "
        "month_name text, quarter integer"
    ),
    "dim_staff": (
        "staff_id integer, first_name text, last_name text, department_name text, location text, "
        "email_address text"
    ),
    "dim_location": (
        "location_id integer, address_line_1 text, address_line_2 text?, district text?, city text, "
        "postal_code text, country text, phone text"
    ),
    "dim_currency": "currency_id integer, currency_code text, currency_name text",
    "dim_design": "design_id integer, design_name text, file_location text, file_name text",
    "dim_counterparty": (
        "counterparty_id integer, counterparty_legal_name text, counterparty_legal_address_line_1 text, "
        "counterparty_legal_address_line_2 text?, counterparty_legal_district text?, "
        "counterparty_legal_city text, counterparty_legal_postal_code text, counterparty_legal_country text, "
        "counterparty_legal_phone_number text"
    ),
    "dim_transaction": (
        "transaction_id integer, transaction_type text, sales_order_id integer?, purchase_order_id integer?"
    ),
    "dim_payment_type": "payment_type_id integer, payment_type_name text",
}
PLATFORM = "_change text, _batch bigint, _seen_at timestamp with time zone"
REFERENCES = {
    "sales_staff_id": "dim_staff",
    "staff_id": "dim_staff",
    "counterparty_id": "dim_counterparty",
    "currency_id": "dim_currency",
    "design_id": "dim_design",
    "agreed_delivery_location_id": "dim_location",
    "transaction_id": "dim_transaction",
    "payment_type_id": "dim_payment_type",
}

by_name = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


def described(column: Column) -> str:
    return f"{column.name} {type_name(column.type)}{'?' if column.nullable else ''}"


@by_name
def test_a_table_has_the_columns_that_are_described_and_the_platforms_own(table: Table) -> None:
    assert ", ".join(map(described, table.columns)) == DESCRIBED[table.name]
    assert ", ".join(map(described, columns_of(table))) == f"{DESCRIBED[table.name]}, {PLATFORM}"
    assert table.primary_key == (table.columns[0].name,)
    assert all(column.description for column in table.columns)


def test_there_are_three_facts_and_eight_dimensions() -> None:
    assert {table.name for table in TABLES} == set(DESCRIBED)
    assert [table.name for table in FACTS] == [name for name in DESCRIBED if name.startswith("fact_")]
    assert {table.name for table in DIMENSIONS} == {name for name in DESCRIBED if name.startswith("dim_")}


@by_name
def test_every_key_and_every_date_of_a_fact_points_to_its_dimension(table: Table) -> None:
    if table.kind == "dimension":
        assert (table.foreign_keys, table.business_key) == ((), None)
        return
    own = {table.primary_key[0], table.business_key}
    expected = {
        column.name: "dim_date" if isinstance(column.type, Date) else REFERENCES[column.name]
        for column in table.columns
        if column.name not in own and (isinstance(column.type, Date) or column.name.endswith("_id"))
    }
    assert dict(table.foreign_keys) == expected
    assert table.business_key == table.columns[1].name


def test_every_table_has_one_select_and_there_is_no_other() -> None:
    assert sorted(file.stem for file in STAR.folder.glob("*.sql")) == sorted(DESCRIBED)


@by_name
def test_a_select_reads_what_is_declared(table: Table) -> None:
    [statement] = sqlglot.parse(STAR.select_of(table), dialect="duckdb")
    assert isinstance(statement, exp.Select)
    found = {(name.db, name.name) for name in statement.find_all(exp.Table)}
    assert found == {
        *(("totesys", name) for name in table.reads),
        *(("reference", name) for name in table.inputs),
    }
    inputs = {"dim_date": ("calendar",), "dim_currency": ("currency_name",)}
    assert table.inputs == inputs.get(table.name, ())


def test_the_calendar_is_derived_from_all_facts_and_built_last() -> None:
    facts = tuple(fact.name for fact in FACTS)
    assert {table.name: table.derived_from for table in TABLES if table.derived_from} == {"dim_date": facts}
    others = [table.name for table in DIMENSIONS if table.name != "dim_date"]
    order = [table.name for table in STAR.in_building_order(TABLES)]
    assert order == [*others, *facts, "dim_date"]


@by_name
def test_a_select_gives_the_declared_columns_in_their_order(table: Table) -> None:
    [statement] = sqlglot.parse(STAR.select_of(table), dialect="duckdb")
    assert isinstance(statement, exp.Select)
    assert statement.named_selects == [column.name for column in columns_of(table)]
    for column in statement.find_all(exp.Column):
        assert column.table, f"{column.sql()} does not say of which table it is"


@by_name
def test_a_select_can_be_written_for_spark(table: Table) -> None:
    [spark] = sqlglot.transpile(
        STAR.select_of(table), read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE
    )
    statement = sqlglot.parse_one(spark, dialect="spark")
    assert statement.named_selects == [column.name for column in columns_of(table)]
    unknown = {function.name for function in statement.find_all(exp.Anonymous)}
    assert unknown == set()


@by_name
def test_times_are_text_in_the_lake_and_names_are_text(table: Table) -> None:
    for column in table.columns:
        if column.name.endswith("_time"):
            assert column.type == Time()
        if column.name.endswith(("_name", "_code")):
            assert column.type == Text()
