"""Column types of PostgreSQL and Arrow: users' tables on their way in, query results on their way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.errors import WarehouseError
from platform_assets.model.dialects import POSTGRES
from platform_assets.model.table import Timestamp

_MOST_DIGITS = 38
_EARLIEST_MICROSECONDS = -210_866_803_200_000_000  # 4714-11-24 BC, see "Date/Time Types" in the manual

_TYPES: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (lambda type_: type_ in (pa.int8(), pa.uint8(), pa.int16()), "smallint"),
    (lambda type_: type_ in (pa.uint16(), pa.int32()), "integer"),
    (lambda type_: type_ in (pa.uint32(), pa.int64()), "bigint"),
    (pa.types.is_uint64, "numeric(20,0)"),
    (lambda type_: type_ in (pa.float16(), pa.float32()), "real"),
    (pa.types.is_float64, "double precision"),
    (pa.types.is_boolean, "boolean"),
    (lambda type_: pa.types.is_string(type_) or pa.types.is_large_string(type_), "text"),
    (lambda type_: type_ == pa.string_view() or pa.types.is_null(type_), "text"),
    (lambda type_: pa.types.is_binary(type_) or pa.types.is_large_binary(type_), "bytea"),
    (lambda type_: type_ == pa.binary_view() or pa.types.is_fixed_size_binary(type_), "bytea"),
    (pa.types.is_date, "date"),
    (pa.types.is_time, "time without time zone"),
)
_SENT_AS: Mapping[str, pa.DataType] = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "numeric(20,0)": pa.decimal128(20, 0),
    "real": pa.float32(),
    "text": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time without time zone": pa.time64("us"),
    "timestamp without time zone": pa.timestamp("us"),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
}


class ColumnRefused(WarehouseError):
    """A value cannot be sent; the message is a clause that names its column."""


def declared_type(table: str, field: pa.Field) -> str:
    """Return the PostgreSQL type for a column of a user's table, as the catalogue spells it.

    Raises:
        WarehouseError: PostgreSQL has no type for the column.
    """
    type_ = field.type
    if pa.types.is_dictionary(type_):
        return declared_type(table, field.with_type(type_.value_type))
    if pa.types.is_decimal(type_):
        if type_.precision <= _MOST_DIGITS:
            return f"numeric({type_.precision},{type_.scale})"
    elif pa.types.is_timestamp(type_):
        return POSTGRES.type_name(Timestamp(utc=type_.tz is not None))
    for holds, name in _TYPES:
        if holds(type_):
            return name
    raise WarehouseError(
        f"Table {table} cannot be written: PostgreSQL has no type for column {field.name}, which is {type_}. "
        "Convert the column to text, such as JSON, or split it into several columns."
    )


def outgoing(rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Convert a user's rows to the types for COPY.

    Raises:
        ColumnRefused: The conversion of a value would lose information.
    """
    names = rows.schema.names
    declared = [declared_type("", field) for field in rows.schema]
    for batch in rows:
        columns = map(_outgoing_column, names, batch.columns, declared)
        yield pa.RecordBatch.from_arrays(list(columns), names=names)


def _outgoing_column(name: str, column: pa.Array, declared: str) -> pa.Array:
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    try:
        if pa.types.is_decimal(plain.type):
            return plain.cast(pa.decimal128(plain.type.precision, plain.type.scale))
        sent = plain.cast(_SENT_AS.get(declared, plain.type))
    except pa.ArrowInvalid as error:
        raise ColumnRefused(
            f"column {name} of type {column.type} cannot be written as {declared} without loss: {error}. "
            "Round or truncate its values first, or write it as text."
        ) from error
    return sent.cast(pa.int64()) if pa.types.is_time(sent.type) else sent


def refuse_early_timestamps(batch: pa.RecordBatch) -> None:
    """Reject timestamps that the driver cannot send: it would end the COPY like a broken connection.

    Raises:
        ColumnRefused: A timestamp is earlier than PostgreSQL's first.
    """
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_timestamp(column.type) and column.type.unit == "us":
            earliest = pc.min(column.cast(pa.int64())).as_py()
            if earliest is not None and earliest < _EARLIEST_MICROSECONDS:
                raise ColumnRefused(
                    f"column {name} has a timestamp before 4714 BC, the earliest year in PostgreSQL. "
                    "Correct the timestamp or set it to NULL, and write again."
                )


def result_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of a query's result: numerics are decimals, or text if they have no precision."""
    return pa.schema([_result_field(field) for field in schema])


def _result_field(field: pa.Field) -> pa.Field:
    metadata = field.metadata or {}
    if metadata.get(b"ADBC:postgresql:typname") != b"numeric":
        return pa.field(field.name, field.type)
    modifier = int(metadata.get(b"POSTGRESQL:typmod", b"-1")) - 4
    # The scale has 11 bits and a sign (see the catalogue's pg_attribute.atttypmod).
    precision, scale = modifier >> 16, ((modifier & 0x7FF) ^ 1024) - 1024
    is_decimal = modifier >= 0 and precision <= _MOST_DIGITS
    return pa.field(field.name, pa.decimal128(precision, scale) if is_decimal else pa.string())


def result_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Convert a batch of a query's result to its schema."""
    columns = map(_result_column, batch.columns, schema.types)
    return pa.RecordBatch.from_arrays(list(columns), schema=schema)


def _result_column(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if column.type == wanted:
        return column
    digits = column.storage
    if not pa.types.is_decimal(wanted):
        return digits
    # Decimals have no nan, inf and -inf. Given values of Python, pyarrow would import pandas.
    return pc.if_else(pc.match_substring(digits, "n"), pa.nulls(len(digits), digits.type), digits).cast(
        wanted
    )
