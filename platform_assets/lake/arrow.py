"""Mapping between the model's logical types and the Arrow types that the lake stores."""

from __future__ import annotations

import datetime as dt
from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
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

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_UTC_TIME = pa.timestamp("us", tz="UTC")
_ARRAY_CODES = {
    pa.int32(): "i",
    pa.int64(): "q",
    pa.float32(): "f",
    pa.float64(): "d",
    pa.date32(): "i",
    _UTC_TIME: "q",
}


def time_of(micros: int) -> dt.datetime:
    """Return the time of a number of microseconds since 1970, UTC.

    Raises:
        OverflowError: It is outside the years 1 to 9999.
    """
    return _EPOCH + micros * _MICROSECOND


def micros_of(at: dt.datetime) -> int:
    """Return the microseconds from 1970 to a time."""
    return (at - _EPOCH) // _MICROSECOND


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


def one_array(values: pa.ChunkedArray) -> pa.Array:
    """Return the values as one array.

    Of no chunks, pyarrow's own `combine_chunks` makes an array with the help of pandas, see `table_of`.
    """
    return pa.concat_arrays(values.chunks) if values.num_chunks else pa.nulls(0, values.type)


def python_values(values: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return the values in Python's types.

    For times with a zone, pyarrow's own `to_pylist` imports pandas, see `table_of`.

    Raises:
        OverflowError: A time is outside the years 1 to 9999.
    """
    if values.type != _UTC_TIME:
        return list(values.to_pylist())
    micros = values.cast(pa.int64()).to_pylist()
    return [None if value is None else time_of(value) for value in micros]


def python_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows with values in Python's types by column name, see `python_values`."""
    columns = map(python_values, table.columns)
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return an Arrow table of rows of Python values: text, numbers, dates and times with a zone.

    The arrays are made of buffers, because pyarrow's own functions import pandas: half a second per process.

    Args:
        rows: The value of each field by name; None is NULL. Other names are ignored.
        schema: The table's fields.

    Raises:
        UnicodeEncodeError: A text has characters that cannot be encoded.
    """
    arrays = [
        _array([row[name] for row in rows], type_)
        for name, type_ in zip(schema.names, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    valid = None
    if None in values:
        valid = pa.py_buffer(np.packbits([value is not None for value in values], bitorder="little"))
    if pa.types.is_string(type_):
        texts = values if valid is None else [value or "" for value in values]
        data = "".join(texts).encode()
        lengths = map(len, texts if data.isascii() else map(str.encode, texts))
        buffers = [valid, pa.py_buffer(array("i", accumulate(lengths, initial=0))), pa.py_buffer(data)]
        return pa.Array.from_buffers(type_, len(values), buffers)
    if pa.types.is_timestamp(type_):
        values = [None if value is None else micros_of(value) for value in values]
    elif pa.types.is_date32(type_):
        values = [None if value is None else value.toordinal() - _EPOCH.toordinal() for value in values]
    numbers = array(_ARRAY_CODES[type_], (0 if value is None else value for value in values))
    return pa.Array.from_buffers(type_, len(values), [valid, pa.py_buffer(numbers)])
