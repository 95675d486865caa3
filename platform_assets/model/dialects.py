"""SQL dialects as data: the names that each engine has for the logical types, and its quoting.

SQL that is the same in every engine is written by the rooms that run it, with a dialect as a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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

_ENGINES = ("duckdb", "postgres", "snowflake", "bigquery", "spark")
_NARROW, _WIDE = "decimal", "decimal that BigQuery's NUMERIC does not hold"
_NARROW_WHOLE, _WIDE_WHOLE = f"{_NARROW}, whole", f"{_WIDE}, whole"
_DECIMAL = "DECIMAL({0},{1})"
# PostgreSQL's names are those that its catalogue shows; Snowflake's are those that keep microseconds.
# Spark 4.0 has no TIME.
_TYPE_NAMES: Mapping[LogicalType | str, tuple[str, str, str, str, str]] = {
    Integer(32): ("INTEGER", "integer", "NUMBER(10, 0)", "INT64", "INT"),
    Integer(64): ("BIGINT", "bigint", "NUMBER(19, 0)", "INT64", "BIGINT"),
    _NARROW: (_DECIMAL, "numeric({0},{1})", "NUMBER({0}, {1})", "NUMERIC({0}, {1})", _DECIMAL),
    _NARROW_WHOLE: (_DECIMAL, "numeric({0},{1})", "NUMBER({0})", "NUMERIC({0}, {1})", _DECIMAL),
    _WIDE: (_DECIMAL, "numeric({0},{1})", "NUMBER({0}, {1})", "BIGNUMERIC({0}, {1})", _DECIMAL),
    _WIDE_WHOLE: (_DECIMAL, "numeric({0},{1})", "NUMBER({0})", "BIGNUMERIC({0}, {1})", _DECIMAL),
    Float(32): ("FLOAT", "real", "FLOAT", "FLOAT64", "FLOAT"),
    Float(64): ("DOUBLE", "double precision", "FLOAT", "FLOAT64", "DOUBLE"),
    Text(): ("VARCHAR", "text", "VARCHAR", "STRING", "STRING"),
    Binary(): ("BLOB", "bytea", "BINARY", "BYTES", "BINARY"),
    Boolean(): ("BOOLEAN", "boolean", "BOOLEAN", "BOOL", "BOOLEAN"),
    Date(): ("DATE", "date", "DATE", "DATE", "DATE"),
    Time(): ("TIME", "time without time zone", "TIME(6)", "TIME", "STRING"),
    Timestamp(): (
        *("TIMESTAMP", "timestamp without time zone", "TIMESTAMP_NTZ(6)", "DATETIME", "TIMESTAMP_NTZ"),
    ),
    Timestamp(utc=True): (
        *("TIMESTAMPTZ", "timestamp with time zone", "TIMESTAMP_TZ(6)", "TIMESTAMP", "TIMESTAMP"),
    ),
}


def _row(type_: LogicalType) -> LogicalType | str:
    """Return the key of a logical type's row: the type without what no engine's name depends on."""
    match type_:
        case Integer(bits=bits):
            return Integer(64 if bits == 64 else 32)
        case Decimal(precision=precision, scale=scale):
            # NUMERIC has 29 digits before the point and 9 after it, BIGNUMERIC 38 and 38.
            if scale <= 9 and precision - scale <= 29:
                return _NARROW if scale else _NARROW_WHOLE
            return _WIDE if scale else _WIDE_WHOLE
        case Text() | Date():
            return type(type_)()
        case Timestamp(utc=utc):
            return Timestamp(utc=utc)
        case _:
            return type_


@dataclass(frozen=True)
class Dialect:
    """Spelling of names, text and types in an engine's SQL.

    Args:
        engine: Name of the engine.
        mark: Character on both sides of a quoted identifier.
        name_escapes: Replacements inside a quoted identifier, in order.
        text_escapes: Replacements inside a text literal, in order.
        comment: A column's description in its declaration, with {} for the literal; empty where the engine
            has no place for it there.
        unenforced: Suffix of the declaration of a key.
    """

    engine: str
    mark: str = '"'
    name_escapes: tuple[tuple[str, str], ...] = (('"', '""'),)
    text_escapes: tuple[tuple[str, str], ...] = (("'", "''"),)
    comment: str = ""
    unenforced: str = ""

    def quote(self, *names: str) -> str:
        """Quote an identifier, qualified or not."""
        return ".".join(f"{self.mark}{_replaced(name, self.name_escapes)}{self.mark}" for name in names)

    def literal(self, text: str) -> str:
        """Quote a text literal, for places where parameters are not allowed (file lists, views)."""
        return f"'{_replaced(text, self.text_escapes)}'"

    def columns(self, names: Sequence[str], alias: str | None = None) -> str:
        """Return a quoted, comma-separated list of columns, each qualified with `alias` if given."""
        return ", ".join(self.quote(alias, name) if alias else self.quote(name) for name in names)

    def declaration(self, column: Column, *, required: bool | None = None) -> str:
        """Return a column's declaration in DDL, with its description where the engine has a place for it.

        Args:
            column: The column.
            required: Whether the column is NOT NULL; None means as declared.
        """
        null = "" if (column.nullable if required is None else not required) else " NOT NULL"
        comment = self.comment.format(self.literal(column.description)) if column.description else ""
        return f"{self.quote(column.name)} {self.type_name(column.type)}{null}{comment}"

    def type_name(self, type_: LogicalType) -> str:
        """Return the engine's name of a logical type; infinite dates have the name of the finite ones."""
        name = _TYPE_NAMES[_row(type_)][_ENGINES.index(self.engine)]
        return name.format(type_.precision, type_.scale) if isinstance(type_, Decimal) else name


def _replaced(text: str, escapes: Sequence[tuple[str, str]]) -> str:
    for plain, escaped in escapes:
        text = text.replace(plain, escaped)
    return text


DUCKDB = Dialect("duckdb")
POSTGRES = Dialect("postgres")
# Snowflake and BigQuery treat backslashes as escapes.
SNOWFLAKE = Dialect("snowflake", text_escapes=(("\\", "\\\\"), ("'", "''")), comment=" COMMENT {}")
BIGQUERY = Dialect(
    "bigquery",
    mark="`",
    name_escapes=(("\\", "\\\\"), ("`", "\\`")),
    text_escapes=(("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r"), ("\0", "\\x00")),
    comment=" OPTIONS (description = {})",
    unenforced=" NOT ENFORCED",
)
SPARK = Dialect(
    "spark",
    mark="`",
    name_escapes=(("`", "``"),),
    text_escapes=(("\\", "\\\\"), ("'", "\\'")),
)
DIALECTS = (DUCKDB, POSTGRES, SNOWFLAKE, BIGQUERY)

quote, literal, columns_sql = DUCKDB.quote, DUCKDB.literal, DUCKDB.columns
"""Quoting for DuckDB and PostgreSQL, which have the same rules; see `Dialect`."""


def type_name(type_: LogicalType) -> str:
    """Return the display name of a logical type: PostgreSQL's, with the limit of a text."""
    if isinstance(type_, Text) and type_.max_length:
        return f"varchar({type_.max_length})"
    return POSTGRES.type_name(type_).removesuffix(" without time zone")
