"""How the model's logical types are held in the lake, as Arrow types."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from platform_assets.model.table import (
    Boolean,
    Column,
    Date,
    Decimal,
    Integer,
    LogicalType,
    Text,
    Time,
    Timestamp,
)


def arrow_type(type_: LogicalType) -> pa.DataType:
    """The Arrow type that the lake holds a logical type as; Delta has no TIME, so times are ISO 8601 text."""
    match type_:
        case Integer(bits=64):
            return pa.int64()
        case Integer():
            return pa.int32()
        case Decimal(precision=precision, scale=scale):
            return pa.decimal128(precision, scale)
        case Text() | Time():
            return pa.string()
        case Boolean():
            return pa.bool_()
        case Date():
            return pa.date32()
        case Timestamp(utc=utc):
            return pa.timestamp("us", tz="UTC" if utc else None)


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of a lake table with these columns.

    Every field is nullable: the lake keeps what the source holds even where it breaks a rule, and rules are
    enforced where rows leave it.
    """
    return pa.schema([pa.field(column.name, arrow_type(column.type)) for column in columns])
