"""The warehouse: three overlapping star schemas, eleven tables, columns in their order.

`fact_*` hold one row for every version of an order or payment, deletions included; their `*_record_id` are
dense from 1 and never reused. `dim_*` hold the latest values. A row whose source row was deleted stays, with
`_change` = delete, because old facts still point to it. Every table ends with the platform's own columns.
"""

from __future__ import annotations

from pathlib import Path

from platform_assets.model.star_model import StarModel
from platform_assets.model.table import (
    Boolean,
    Column,
    Date,
    Decimal,
    Integer,
    Table,
    Text,
    Time,
)
from platform_assets.model.totesys import source

_VERSION_TIMES = (
    Column("created_date", Date(), "Day the source row was created", references="dim_date"),
    Column("created_time", Time(), "Time of day the source row was created; wall clock, no zone"),
    Column("last_updated_date", Date(), "Day of the source row's last_updated", references="dim_date"),
    Column("last_updated_time", Time(), "Time of day of the source row's last_updated; wall clock, no zone"),
)


def _date(name: str, description: str) -> Column:
    return Column(name, Date(), description, references="dim_date")


def _reference(name: str, dimension: str, description: str) -> Column:
    return Column(name, Integer(), description, references=dimension)


def _text(name: str, description: str, *, nullable: bool = False) -> Column:
    return Column(name, Text(), description, nullable=nullable)


def _fact(name: str, description: str, *columns: Column, business_key: str, reads: str) -> Table:
    record_id = f"{name.removeprefix('fact_').removesuffix('_order')}_record_id"
    return Table(
        name=name,
        description=description,
        columns=(
            Column(record_id, Integer(), "Surrogate key of the version; dense from 1, never reused"),
            *columns,
        ),
        primary_key=(record_id,),
        kind="fact",
        business_key=business_key,
        reads=(reads,),
    )


def _dimension(
    name: str,
    description: str,
    *columns: Column,
    reads: tuple[str, ...] = (),
    inputs: tuple[str, ...] = (),
    derived_from: tuple[str, ...] = (),
    constants: tuple[tuple[str, str], ...] = (),
) -> Table:
    return Table(
        name=name,
        description=description,
        columns=columns,
        primary_key=(columns[0].name,),
        kind="dimension",
        reads=reads,
        inputs=inputs,
        derived_from=derived_from,
        constants=constants,
    )


DIM_DATE = _dimension(
    "dim_date",
    "One row per day, for whole years from the first to the last date of any fact.",
    Column("date_id", Date(), "The day"),
    Column("year", Integer(), "Calendar year"),
    Column("month", Integer(), "Month of the year", minimum=1, maximum=12),
    Column("day", Integer(), "Day of the month", minimum=1, maximum=31),
    Column("day_of_week", Integer(), "Day of the week, 1 = Monday (ISO 8601)", minimum=1, maximum=7),
    _text("day_name", "Name of the day, in English"),
    _text("month_name", "Name of the month, in English"),
    Column("quarter", Integer(), "Quarter of the year", minimum=1, maximum=4),
    inputs=("calendar",),
    derived_from=("fact_sales_order", "fact_purchase_order", "fact_payment"),
    constants=(("_change", "A day never changes: insert"),),
)
DIM_STAFF = _dimension(
    "dim_staff",
    "One row per member of staff, with the department they work in.",
    Column("staff_id", Integer(), "Key of the member of staff"),
    _text("first_name", "Given name"),
    _text("last_name", "Family name"),
    _text("department_name", "Name of the department"),
    _text("location", "City the department is in; Unknown where the source has none"),
    _text("email_address", "Work e-mail address"),
    reads=("staff", "department"),
)
DIM_LOCATION = _dimension(
    "dim_location",
    "One row per address that something is delivered to.",
    Column("location_id", Integer(), "Key of the location: the source's address_id"),
    _text("address_line_1", "Street and number"),
    _text("address_line_2", "Second address line", nullable=True),
    _text("district", "District or county", nullable=True),
    _text("city", "City"),
    _text("postal_code", "Postal code; may start with zeros"),
    _text("country", "Country, in English"),
    _text("phone", "Telephone number; may start with zeros"),
    reads=("address",),
)
DIM_CURRENCY = _dimension(
    "dim_currency",
    "One row per currency that orders are made in.",
    Column("currency_id", Integer(), "Key of the currency"),
    _text("currency_code", "ISO 4217 code"),
    _text("currency_name", "Name of the currency, in English (Unicode CLDR)"),
    reads=("currency",),
    inputs=("currency_name",),
)
DIM_DESIGN = _dimension(
    "dim_design",
    "One row per tote bag design.",
    Column("design_id", Integer(), "Key of the design"),
    _text("design_name", "Name of the design"),
    _text("file_location", "Folder that holds the design file"),
    _text("file_name", "Name of the design file"),
    reads=("design",),
)
DIM_COUNTERPARTY = _dimension(
    "dim_counterparty",
    "One row per company that Totesys sells to or buys from, with its registered address.",
    Column("counterparty_id", Integer(), "Key of the company"),
    _text("counterparty_legal_name", "Registered name"),
    _text("counterparty_legal_address_line_1", "Registered address: street and number"),
    _text("counterparty_legal_address_line_2", "Registered address: second line", nullable=True),
    _text("counterparty_legal_district", "Registered address: district or county", nullable=True),
    _text("counterparty_legal_city", "Registered address: city"),
    _text("counterparty_legal_postal_code", "Registered address: postal code"),
    _text("counterparty_legal_country", "Registered address: country"),
    _text("counterparty_legal_phone_number", "Telephone number at the registered address"),
    reads=("counterparty", "address"),
)
DIM_TRANSACTION = _dimension(
    "dim_transaction",
    "One row per business transaction: a sale or a purchase.",
    Column("transaction_id", Integer(), "Key of the transaction"),
    Column("transaction_type", Text(), "Sale or purchase", accepted=("SALE", "PURCHASE")),
    Column("sales_order_id", Integer(), "The sale; empty for purchases and deleted sales", nullable=True),
    Column(
        "purchase_order_id", Integer(), "The purchase; empty for sales and deleted purchases", nullable=True
    ),
    reads=("transaction",),
)
DIM_PAYMENT_TYPE = _dimension(
    "dim_payment_type",
    "One row per kind of payment.",
    Column("payment_type_id", Integer(), "Key of the kind of payment"),
    Column(
        "payment_type_name",
        Text(),
        "Kind of payment",
        accepted=("SALES_RECEIPT", "SALES_REFUND", "PURCHASE_PAYMENT", "PURCHASE_REFUND"),
    ),
    reads=("payment_type",),
)
FACT_SALES_ORDER = _fact(
    "fact_sales_order",
    "One row for every version of a sales order, its deletion included.",
    Column("sales_order_id", Integer(), "The order, across its versions"),
    *_VERSION_TIMES,
    _reference("sales_staff_id", "dim_staff", "Member of staff who took the order"),
    _reference("counterparty_id", "dim_counterparty", "Customer"),
    Column("units_sold", Integer(), "Number of bags ordered"),
    Column("unit_price", Decimal(10, 2), "Price of one bag, in the order's currency"),
    _reference("currency_id", "dim_currency", "Currency of the price"),
    _reference("design_id", "dim_design", "Design that was ordered"),
    _date("agreed_payment_date", "Agreed day of payment"),
    _date("agreed_delivery_date", "Agreed day of delivery"),
    _reference("agreed_delivery_location_id", "dim_location", "Where the order is delivered"),
    business_key="sales_order_id",
    reads="sales_order",
)
FACT_PURCHASE_ORDER = _fact(
    "fact_purchase_order",
    "One row for every version of a purchase order, its deletion included.",
    Column("purchase_order_id", Integer(), "The order, across its versions"),
    *_VERSION_TIMES,
    _reference("staff_id", "dim_staff", "Member of staff who placed the order"),
    _reference("counterparty_id", "dim_counterparty", "Supplier"),
    _text("item_code", "Supplier's code of the item; may be all digits"),
    Column("item_quantity", Integer(), "Number of items ordered"),
    Column("item_unit_price", Decimal(10, 2), "Price of one item, in the order's currency"),
    _reference("currency_id", "dim_currency", "Currency of the price"),
    _date("agreed_delivery_date", "Agreed day of delivery"),
    _date("agreed_payment_date", "Agreed day of payment"),
    _reference("agreed_delivery_location_id", "dim_location", "Where the order is delivered"),
    business_key="purchase_order_id",
    reads="purchase_order",
)
FACT_PAYMENT = _fact(
    "fact_payment",
    "One row for every version of a payment, its deletion included.",
    Column("payment_id", Integer(), "The payment, across its versions"),
    *_VERSION_TIMES,
    _reference("transaction_id", "dim_transaction", "Transaction that is paid"),
    _reference("counterparty_id", "dim_counterparty", "Company that pays or is paid"),
    Column("payment_amount", Decimal(10, 2), "Amount, in the payment's currency"),
    _reference("currency_id", "dim_currency", "Currency of the amount"),
    _reference("payment_type_id", "dim_payment_type", "Kind of payment"),
    Column("paid", Boolean(), "Whether the payment has been made"),
    _date("payment_date", "Day the payment is due"),
    business_key="payment_id",
    reads="payment",
)

TABLES = (
    FACT_SALES_ORDER,
    FACT_PURCHASE_ORDER,
    FACT_PAYMENT,
    DIM_DATE,
    DIM_STAFF,
    DIM_LOCATION,
    DIM_CURRENCY,
    DIM_DESIGN,
    DIM_COUNTERPARTY,
    DIM_TRANSACTION,
    DIM_PAYMENT_TYPE,
)
"""The eleven tables, facts first."""

FACTS = tuple(table for table in TABLES if table.kind == "fact")
DIMENSIONS = tuple(table for table in TABLES if table.kind == "dimension")

STAR = StarModel("totesys", source.TABLES, TABLES, Path(__file__).parent)
