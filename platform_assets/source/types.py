"""PostgreSQL's types in the lake: which logical type each becomes, and how its values get there.

A value travels in two steps: an SQL expression (`select_expression`) gives it in a form that ADBC reads fast,
and `decode` turns what arrives into the lake's Arrow type. What is in the catalogue is not known here.

| PostgreSQL | lake (discovered columns) |
| --- | --- |
| smallint, integer, bigint, oid | 64-bit integer |
| numeric(p, s) with 0 <= s <= p <= 38 | decimal(38, s); NaN is NULL |
| numeric otherwise | text, every digit, `NaN` and the infinities |
| money | decimal(22, 3) |
| real, double precision | double, NaN and the infinities included |
| text, varchar, char, citext, name | text; char keeps its padding |
| bytea, boolean | bytes, boolean |
| date | date, the infinities included |
| timestamp, timestamptz | microseconds, with infinities; from 294247-01-10 04:00:54.775806 on infinity |
| time | text `HH:MM:SS.ffffff` |
| everything else | text, what the type's output function prints |

A domain is what its base type is. What a column is declared as in the model takes precedence: a date or
timestamp that is not declared `infinite` arrives as NULL where it is infinite, or a timestamp after 294246.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from platform_assets.lake.duck import quote
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

SESSION_SETTINGS: Mapping[str, str] = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
}
"""What a session that reads must SET, as text literals.

What values look like as text depends on it, and roles and databases may have settings of their own.
"""

MOST_DIGITS = 38
"""Of a decimal in the lake."""
_MONEY = Decimal(22, 3)
"""Holds 64 bits of the smallest unit, whether the currency has none, two or three digits after the point."""
_DIGITS_OF_64_BITS = 18
_DIGITS_OF_INTEGERS = {"int2": 5, "int4": 10, "int8": 19}
_INFINITE_DAYS = 2**31 - 1
_INFINITE_MICROSECONDS = 2**63 - 1
# On the way the last two microseconds that both sides have stand for the infinities, as PostgreSQL's own
# overflow in ADBC. That of infinity arrives as DuckDB's.
_INFINITY = "294247-01-10 04:00:54.775807"
_MINUS_INFINITY = "294247-01-10 04:00:54.775806"


@dataclass(frozen=True)
class SourceType:
    """A column's type as the catalogue has it, domains resolved to what they are made of.

    Args:
        name: `typname` of the base type.
        kind: `typtype` of the base type: `b` base, `e` enum, `c` composite, `r` range, `m` multirange.
        builtin: Whether it is one of PostgreSQL's own, and not another of the same name.
        modifier: `atttypmod`, or the domain's, such as a numeric's precision and scale; -1 without one.
        text: The type as people write it, domains by their own name.
        is_array: Whether it is an array.
    """

    name: str
    kind: str
    builtin: bool
    modifier: int
    text: str
    is_array: bool = False

    @property
    def digits(self) -> tuple[int, int] | None:
        """Precision and scale of a numeric that has them; the scale can be negative, or above precision."""
        if not self.is_builtin("numeric") or self.modifier < 4:
            return None
        # The scale has 11 bits and a sign: numeric(3,-2) holds hundreds.
        return (self.modifier - 4) >> 16, (((self.modifier - 4) & 0x7FF) ^ 1024) - 1024

    def is_builtin(self, *names: str) -> bool:
        """Whether it is PostgreSQL's own type of one of these names."""
        return self.builtin and self.name in names


def logical_type(source: SourceType) -> LogicalType:
    """The logical type of a discovered column, wide, so that the source may widen its own."""
    if not source.builtin:
        return Text()
    match source.name:
        case "int2" | "int4" | "int8" | "oid":
            return Integer(64)
        case "numeric":
            precision, scale = source.digits or (MOST_DIGITS + 1, 0)
            return Decimal(MOST_DIGITS, scale) if 0 <= scale <= precision <= MOST_DIGITS else Text()
        case "money":
            return _MONEY
        case "float4" | "float8":
            return Float(64)
        case "bytea":
            return Binary()
        case "bool":
            return Boolean()
        case "date":
            return Date(infinite=True)
        case "time":
            return Time()
        case "timestamp" | "timestamptz":
            return Timestamp(utc=source.name == "timestamptz", infinite=True)
        case _:
            return Text()


def is_readable(column: Column, source: SourceType) -> bool:
    """Whether a column of the source is of a type that its declaration in the model allows.

    Text is text, an enum, a uuid or a date. See `holds` for the rest.
    """
    if isinstance(column.type, Text):
        names = ("text", "varchar", "bpchar", "name", "uuid", "date")
        return source.is_builtin(*names) or source.name == "citext" or source.kind == "e"
    return holds(column.type, source)


def holds(type_: LogicalType, source: SourceType) -> bool:
    """Whether a column of the lake takes all values of the source's type, without loss.

    A bigint may be read into fewer bits: a value that does not fit then fails the read. NaN and the
    infinities, where the logical type has none, arrive as NULL.
    """
    match type_:
        case Integer(bits=bits):
            return source.is_builtin("int2", "int4", "int8", *(["oid"] if bits == 64 else []))
        case Decimal(precision=precision, scale=scale):
            whole = precision - scale
            if source.is_builtin("money"):
                return scale >= _MONEY.scale and whole >= _MONEY.precision - _MONEY.scale
            if source.builtin and source.name in _DIGITS_OF_INTEGERS:
                return whole >= _DIGITS_OF_INTEGERS[source.name]
            if source.digits is None:
                return False
            found_precision, found_scale = source.digits
            return found_scale <= scale and found_precision - found_scale <= whole
        case Float(bits=bits):
            return source.is_builtin("float4", *(["float8"] if bits == 64 else []))
        case Text():
            # A date prints as ISO 8601. All else that has a type of its own in the lake is not text.
            return source.is_builtin("date") or isinstance(logical_type(source), Text)
        case Binary():
            return source.is_builtin("bytea")
        case Boolean():
            return source.is_builtin("bool")
        case Date():
            return source.is_builtin("date")
        case Time():
            return source.is_builtin("time")
        case Timestamp(utc=utc):
            return source.is_builtin("timestamptz" if utc else "timestamp")


def may_lose_to_null(type_: LogicalType, source: SourceType) -> bool:
    """Whether the source's type has values, NaN or infinities, that arrive as NULL in `type_`."""
    match type_:
        case Decimal():
            return source.is_builtin("numeric")
        case Date(infinite=infinite) | Timestamp(infinite=infinite):
            return not infinite
        case _:
            return False


def written(type_: LogicalType) -> str:
    """A logical type as PostgreSQL writes it."""
    match type_:
        case Integer(bits=bits):
            return "bigint" if bits == 64 else "integer"
        case Decimal(precision=precision, scale=scale):
            return f"numeric({precision},{scale})"
        case Float(bits=bits):
            return "double precision" if bits == 64 else "real"
        case Binary():
            return "bytea"
        case Timestamp(utc=True):
            return "timestamp with time zone"
        case _:
            return type(type_).__name__.lower()


def select_expression(column: Column, source: SourceType) -> str:
    """SQL that gives a column in a form that ADBC reads and `decode` turns into the lake's type.

    Args:
        column: The column, of a type that `holds` the source's.
        source: Its type in the source.

    Returns:
        An expression without an alias. It prints what `SESSION_SETTINGS` make it print.
    """
    name = quote(column.name)
    match column.type:
        case Integer(bits=bits):
            return f"{name}::pg_catalog.int{bits // 8}"
        case Decimal(scale=scale):
            return _decimal(name, scale, source)
        case Float(bits=bits):
            return f"{name}::pg_catalog.float{bits // 8}"
        case Text():
            if source.is_builtin("text", "varchar", "name"):
                return f"{name}::pg_catalog.text"
            # A cast to text is not what the type prints: it adds /32 to an inet and strips a char. And a
            # composite of NULLs IS NULL without being NULL.
            return f"CASE WHEN {name} IS DISTINCT FROM NULL THEN pg_catalog.concat({name}) END"
        case Binary():
            return f"{name}::pg_catalog.bytea"
        case Boolean():
            return f"{name}::pg_catalog.bool"
        case Date(infinite=True):
            return (
                f"CASE WHEN pg_catalog.isfinite({name}) THEN {name} - DATE 'epoch' "
                f"WHEN {name} > 'epoch' THEN {_INFINITE_DAYS} "
                f"WHEN {name} < 'epoch' THEN {-_INFINITE_DAYS} END"
            )
        case Date():
            return f"CASE WHEN pg_catalog.isfinite({name}) THEN {name}::pg_catalog.date END"
        case Time():
            return f"pg_catalog.to_char({name}, 'HH24:MI:SS.US')"
        case Timestamp(utc=utc, infinite=infinite):
            kind = f"pg_catalog.{'timestamptz' if utc else 'timestamp'}"
            if not infinite:
                # PostgreSQL's years go 30 further than microseconds since 1970 do.
                finite = f"pg_catalog.isfinite({name}) AND {name} < '294247-01-01'"
                return f"CASE WHEN {finite} THEN {name}::{kind} END"
            return (
                f"CASE WHEN {name} > '-infinity' AND {name} < '{_MINUS_INFINITY}' THEN {name}::{kind} "
                f"WHEN {name} = '-infinity' THEN '{_MINUS_INFINITY}'::{kind} "
                f"WHEN {name} IS NOT NULL THEN '{_INFINITY}'::{kind} END"
            )


def _decimal(name: str, scale: int, source: SourceType) -> str:
    """A decimal as one integer, all digits without the point, where 64 bits hold them, and as text elsewhere.

    The integer is a little cheaper on the whole, and takes half the memory on the way.
    """
    if source.is_builtin("int2", "int4") and _DIGITS_OF_INTEGERS[source.name] + scale <= _DIGITS_OF_64_BITS:
        return f"{name}::pg_catalog.int8 * {10**scale}"
    if not source.is_builtin("numeric"):
        return f"{name}::pg_catalog.numeric::pg_catalog.text"
    number = f"NULLIF({name}::pg_catalog.numeric, 'NaN')"
    precision, found_scale = source.digits or (MOST_DIGITS, 0)
    if precision - found_scale + scale <= _DIGITS_OF_64_BITS:
        return f"({number} * {10**scale})::pg_catalog.int8"
    return f"{number}::pg_catalog.text"


def decode(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """What a `select_expression` gave, in the lake's type.

    Args:
        array: As ADBC made it.
        type_: Arrow type of the column's logical type, see `lake.arrow.arrow_type`.

    Raises:
        pa.ArrowInvalid: A value does not fit.
    """
    if pa.types.is_decimal(type_) and array.type == pa.int64():
        # The digits come as one integer; widening it and giving it the scale costs a copy and no arithmetic.
        wide = array.cast(pa.decimal128(19, 0))
        return pa.Array.from_buffers(type_, len(wide), wide.buffers(), wide.null_count, wide.offset)
    if pa.types.is_date32(type_) and array.type == pa.int32():
        return array.view(type_)
    if array.type != type_:
        array = array.cast(type_)
    return _with_infinities(array) if pa.types.is_timestamp(type_) else array


def _with_infinities(array: pa.Array) -> pa.Array:
    """Timestamps with DuckDB's minus infinity where its stand-in came."""
    import numpy as np

    validity, data = array.buffers()
    if data is None or not len(array):
        return array
    values = np.frombuffer(data, np.int64, array.offset + len(array))
    stands_in = values == _INFINITE_MICROSECONDS - 1
    if not stands_in.any():
        return array
    values = np.where(stands_in, -_INFINITE_MICROSECONDS, values)
    buffers = [validity, pa.py_buffer(values)]
    return pa.Array.from_buffers(array.type, len(array), buffers, array.null_count, array.offset)
