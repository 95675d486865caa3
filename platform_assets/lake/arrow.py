"""Mapping between the model's logical types and the Arrow types that the lake stores."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

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


def arrow_type(type_: LogicalType) -> pa.DataType:
    """Return the Arrow type that stores a logical type; Delta has no TIME, so times are ISO 8601 text."""
    match type_:
        case Integer(bits=64):
            return pa.int64()
        case Integer():
            return pa.int32()
        case Decimal(precision=precision, scale=scale):
            return pa.decimal128(precision, scale)
        case Float(bits=bits):
            return pa.float32() if bits == 32 else pa.float64()
        case Text() | Time():
            return pa.string()
        case Binary():
            return pa.binary()
        case Boolean():
            return pa.bool_()
        case Date():
            return pa.date32()
        case Timestamp(utc=utc):
            return pa.timestamp("us", tz="UTC" if utc else None)


def logical_type_of(type_: pa.DataType) -> LogicalType:
    """Return the logical type that the lake stores as this Arrow type; of several, the most general.

    Raises:
        ValueError: No logical type is stored as this Arrow type.
    """
    if pa.types.is_decimal(type_):
        return Decimal(type_.precision, type_.scale)
    if pa.types.is_timestamp(type_):
        return Timestamp(utc=type_.tz is not None)
    for logical in (Integer(32), Integer(64), Float(32), Float(64), Boolean(), Date()):
        if arrow_type(logical) == type_:
            return logical
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return Text()
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_):
        return Binary()
    raise ValueError(f"the lake holds no column as {type_}")


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of a lake table with these columns.

    Every field is nullable: the lake keeps the source's values even where they break a rule. Rules are
    enforced where rows leave the lake.
    """
    return pa.schema([pa.field(column.name, arrow_type(column.type)) for column in columns])
