"""The source: the eleven business tables of Totesys, PostgreSQL schema `public`, as its owner declares them.

`created_at` and `last_updated` are `timestamp(3)` without zone: the wall-clock time of the application that
wrote them. Nothing maintains `last_updated`, so edits may leave it unchanged. Physical column order differs
in some copies; columns are therefore always read by name.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal

from platform_assets.model.table import Boolean, Column, Decimal, Integer, Table, Text, Timestamp

EARLIEST_DATE = dt.date(1970, 1, 1)
LATEST_DATE = dt.date(2199, 12, 31)
"""Dates outside this range are typing errors, and would stretch the calendar dimension by thousands of
years."""

_CREATED_AT = Column("created_at", Timestamp(), "When the row was created; wall-clock time, no zone")
_LAST_UPDATED = Column(
    "last_updated", Timestamp(), "When the application says it last changed the row; wall-clock time, no zone"
)
_ZERO = decimal.Decimal(0)


def _iso_date(name: str, description: str) -> Column:
    return Column(
        name,
        Text(),
        description + ", as YYYY-MM-DD",
        iso_date=True,
        minimum=EARLIEST_DATE,
        maximum=LATEST_DATE,
    )


def _reference(name: str, table: str, description: str, *, nullable: bool = False) -> Column:
    return Column(name, Integer(), description, references=table, nullable=nullable)


def _person(name: str, description: str, *, nullable: bool = False) -> Column:
    return Column(name, Text(), description, nullable=nullable, info_types=("PERSON_NAME",))


def _table(
    name: str,
    description: str,
    *columns: Column,
    uniques: tuple[tuple[str, ...], ...] = (),
    is_event: bool = False,
) -> Table:
    key = f"{name}_id"
    times: tuple[Column, ...] = (_CREATED_AT, _LAST_UPDATED)
    if is_event:
        # The dates of these timestamps become days of the calendar, like the text dates.
        times = tuple(dataclasses.replace(time, minimum=EARLIEST_DATE, maximum=LATEST_DATE) for time in times)
    return Table(
        name=name,
        description=description,
        columns=(Column(key, Integer(), "Primary key"), *columns, *times),
        primary_key=(key,),
        uniques=uniques,
    )


ADDRESS = _table(
    "address",
    "One row per postal address of a counterparty or a delivery location.",
    Column("address_line_1", Text(), "Street and number", info_types=("STREET_ADDRESS",)),
    Column("address_line_2", Text(), "Second address line", nullable=True),
    Column("district", Text(), "District or county", nullable=True),
    Column("city", Text(), "City"),
    Column("postal_code", Text(), "Postal code; may start with zeros"),
    Column("country", Text(), "Country, in English"),
    Column("phone", Text(), "Telephone number; may start with zeros", info_types=("PHONE_NUMBER",)),
)
COUNTERPARTY = _table(
    "counterparty",
    "One row per company that Totesys sells to or buys from.",
    Column("counterparty_legal_name", Text(), "Registered name"),
    _reference("legal_address_id", "address", "Registered address"),
    _person("commercial_contact", "Person to talk to about orders", nullable=True),
    _person("delivery_contact", "Person to talk to about deliveries", nullable=True),
)
CURRENCY = _table(
    "currency",
    "One row per currency that orders are made in.",
    Column("currency_code", Text(3), "ISO 4217 code"),
)
DEPARTMENT = _table(
    "department",
    "One row per department of the company.",
    Column("department_name", Text(), "Name of the department"),
    Column("location", Text(), "City the department is in", nullable=True),
    _person("manager", "Name of its manager", nullable=True),
)
DESIGN = _table(
    "design",
    "One row per tote bag design.",
    Column("design_name", Text(), "Name of the design"),
    Column("file_location", Text(), "Folder that holds the design file"),
    Column("file_name", Text(), "Name of the design file"),
)
STAFF = _table(
    "staff",
    "One row per member of staff.",
    _person("first_name", "Given name"),
    _person("last_name", "Family name"),
    _reference("department_id", "department", "Department the person works in"),
    Column("email_address", Text(), "Work e-mail address", info_types=("EMAIL_ADDRESS",)),
)
SALES_ORDER = _table(
    "sales_order",
    "One row per order that a counterparty placed with the company.",
    _reference("design_id", "design", "Design that was ordered"),
    _reference("staff_id", "staff", "Member of staff who took the order"),
    _reference("counterparty_id", "counterparty", "Customer"),
    Column("units_sold", Integer(), "Number of bags ordered", minimum=0),
    Column("unit_price", Decimal(10, 2), "Price of one bag, in the order's currency", minimum=_ZERO),
    _reference("currency_id", "currency", "Currency of the price"),
    _iso_date("agreed_delivery_date", "Agreed day of delivery"),
    _iso_date("agreed_payment_date", "Agreed day of payment"),
    _reference("agreed_delivery_location_id", "address", "Where the order is delivered"),
    is_event=True,
)
PURCHASE_ORDER = _table(
    "purchase_order",
    "One row per order that the company placed with a counterparty.",
    _reference("staff_id", "staff", "Member of staff who placed the order"),
    _reference("counterparty_id", "counterparty", "Supplier"),
    Column("item_code", Text(), "Supplier's code of the item; may be all digits"),
    Column("item_quantity", Integer(), "Number of items ordered", minimum=0),
    Column("item_unit_price", Decimal(10, 2), "Price of one item, in the order's currency", minimum=_ZERO),
    _reference("currency_id", "currency", "Currency of the price"),
    _iso_date("agreed_delivery_date", "Agreed day of delivery"),
    _iso_date("agreed_payment_date", "Agreed day of payment"),
    _reference("agreed_delivery_location_id", "address", "Where the order is delivered"),
    is_event=True,
)
PAYMENT_TYPE = _table(
    "payment_type",
    "One row per kind of payment.",
    Column(
        "payment_type_name",
        Text(),
        "Kind of payment",
        enum="PaymentTypeName",
        accepted=("SALES_RECEIPT", "SALES_REFUND", "PURCHASE_PAYMENT", "PURCHASE_REFUND"),
    ),
)
TRANSACTION = _table(
    "transaction",
    "One row per business transaction: a sale or a purchase.",
    Column(
        "transaction_type", Text(), "Sale or purchase", enum="TransactionType", accepted=("SALE", "PURCHASE")
    ),
    _reference(
        "sales_order_id", "sales_order", "The sale; empty for purchases and deleted sales", nullable=True
    ),
    _reference(
        "purchase_order_id",
        "purchase_order",
        "The purchase; empty for sales and deleted purchases",
        nullable=True,
    ),
    uniques=(("sales_order_id",), ("purchase_order_id",)),
)
PAYMENT = _table(
    "payment",
    "One row per payment that settles a transaction.",
    _reference("transaction_id", "transaction", "Transaction that is paid"),
    _reference("counterparty_id", "counterparty", "Company that pays or is paid"),
    Column("payment_amount", Decimal(10, 2), "Amount, in the payment's currency", minimum=_ZERO),
    _reference("currency_id", "currency", "Currency of the amount"),
    _reference("payment_type_id", "payment_type", "Kind of payment"),
    Column("paid", Boolean(), "Whether the payment has been made"),
    _iso_date("payment_date", "Day the payment is due"),
    Column("company_ac_number", Integer(), "The company's account number"),
    Column("counterparty_ac_number", Integer(), "The counterparty's account number"),
    uniques=(("transaction_id",),),
    is_event=True,
)

TABLES = (
    ADDRESS,
    COUNTERPARTY,
    CURRENCY,
    DEPARTMENT,
    DESIGN,
    STAFF,
    SALES_ORDER,
    PURCHASE_ORDER,
    PAYMENT_TYPE,
    TRANSACTION,
    PAYMENT,
)
"""The eleven tables. `_prisma_migrations`, the twelfth in the schema, is not business data and is left
out."""
