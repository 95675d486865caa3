"""The names of the logical types in each engine, and the quoting of each: one table, compared as a whole."""

from __future__ import annotations

import duckdb
import pytest
import sqlglot

from platform_assets.model.dialects import BIGQUERY, DIALECTS, DUCKDB, POSTGRES, SNOWFLAKE, Dialect, type_name
from platform_assets.model.table import (
    Binary,
    Boolean,
    Column,
    Date,
    Decimal,
    Float,
    Integer,
    LogicalType,
    Text,
    Time,
    Timestamp,
)

NAMES: dict[LogicalType, str] = {
    Integer(32): "INTEGER | integer | NUMBER(10, 0) | INT64 | integer",
    Integer(64): "BIGINT | bigint | NUMBER(19, 0) | INT64 | bigint",
    Decimal(12, 2): "DECIMAL(12,2) | numeric(12,2) | NUMBER(12, 2) | NUMERIC(12, 2) | numeric(12,2)",
    Decimal(29, 0): "DECIMAL(29,0) | numeric(29,0) | NUMBER(29) | NUMERIC(29, 0) | numeric(29,0)",
    Decimal(30, 0): "DECIMAL(30,0) | numeric(30,0) | NUMBER(30) | BIGNUMERIC(30, 0) | numeric(30,0)",
    Decimal(12, 10): "DECIMAL(12,10) | numeric(12,10) | NUMBER(12, 10) | BIGNUMERIC(12, 10) | numeric(12,10)",
    Float(32): "FLOAT | real | FLOAT | FLOAT64 | real",
    Float(64): "DOUBLE | double precision | FLOAT | FLOAT64 | double precision",
    Text(): "VARCHAR | text | VARCHAR | STRING | text",
    Text(20): "VARCHAR | text | VARCHAR | STRING | varchar(20)",
    Binary(): "BLOB | bytea | BINARY | BYTES | bytea",
    Boolean(): "BOOLEAN | boolean | BOOLEAN | BOOL | boolean",
    Date(): "DATE | date | DATE | DATE | date",
    Date(infinite=True): "DATE | date | DATE | DATE | date",
    Time(): "TIME | time without time zone | TIME(6) | TIME | time",
    Timestamp(): "TIMESTAMP | timestamp without time zone | TIMESTAMP_NTZ(6) | DATETIME | timestamp",
    Timestamp(infinite=True): (
        "TIMESTAMP | timestamp without time zone | TIMESTAMP_NTZ(6) | DATETIME | timestamp"
    ),
    Timestamp(utc=True): (
        "TIMESTAMPTZ | timestamp with time zone | TIMESTAMP_TZ(6) | TIMESTAMP | timestamp with time zone"
    ),
    Timestamp(utc=True, infinite=True): (
        "TIMESTAMPTZ | timestamp with time zone | TIMESTAMP_TZ(6) | TIMESTAMP | timestamp with time zone"
    ),
}
AWKWARD = ("plain", 'a "quoted" one', "a `marked` one", "back\\slash", "o'clock", "Überschrift", "a.b", "")


@pytest.mark.parametrize("type_", NAMES, ids=str)
def test_every_logical_type_has_a_name_in_each_engine_and_one_to_show(type_: LogicalType) -> None:
    assert [*(one.type_name(type_) for one in DIALECTS), type_name(type_)] == NAMES[type_].split(" | ")


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.engine)
@pytest.mark.parametrize("text", [*AWKWARD, "two\nlines", "\r\0"])
def test_what_is_quoted_is_read_as_what_it_was(dialect: Dialect, text: str) -> None:
    read = sqlglot.parse_one(f"SELECT {dialect.literal(text)} AS {dialect.quote('x')}", dialect.engine)
    # sqlglot leaves BigQuery's escape of a zero byte as written.
    assert read.selects[0].this.this.replace("\\x00", "\0") == text


@pytest.mark.parametrize("name", [one for one in AWKWARD if one])
def test_duckdb_reads_its_quoted_names_and_text(name: str) -> None:
    [(value,)] = duckdb.sql(f"SELECT {DUCKDB.literal(name)} AS {DUCKDB.quote(name)}").fetchall()
    columns = duckdb.sql(f"SELECT 1 AS {DUCKDB.quote(name)}").columns
    assert (value, columns) == (name, [name])


def test_a_column_is_declared_with_its_description_where_the_engine_has_a_place_for_it() -> None:
    column = Column("paid at", Timestamp(utc=True), "When it's paid", nullable=False)
    assert [one.declaration(column) for one in DIALECTS] == [
        '"paid at" TIMESTAMPTZ NOT NULL',
        '"paid at" timestamp with time zone NOT NULL',
        "\"paid at\" TIMESTAMP_TZ(6) NOT NULL COMMENT 'When it''s paid'",
        "`paid at` TIMESTAMP NOT NULL OPTIONS (description = 'When it\\'s paid')",
    ]
    assert DUCKDB.declaration(column, required=False) == '"paid at" TIMESTAMPTZ'


def test_qualified_names_and_lists_of_columns_are_quoted_part_by_part() -> None:
    assert POSTGRES.quote("a.b", 'c"d') == '"a.b"."c""d"'
    assert BIGQUERY.quote("p", "a`b", "c\\d") == "`p`.`a\\`b`.`c\\\\d`"
    assert SNOWFLAKE.columns(["a", "b"], "new") == '"new"."a", "new"."b"'
