"""PostgreSQL's types in the lake: the logical type of each, and the conversion of its values.

A value is converted in two steps: an SQL expression (`select_expression`) returns a form that ADBC reads
fast, and `decode` converts it to the lake's Arrow type. `value_expression` returns the value as the lake
stores it, for comparisons on the server. This module does not read the catalogue.

| PostgreSQL | lake (discovered columns) |
| --- | --- |
| smallint, integer, bigint, oid | 64-bit integer |
| numeric(p, s) with 0 <= s <= p <= 38 | decimal(38, s); NaN is NULL |
| numeric otherwise | text, every digit, `NaN` and the infinities |
| money | decimal(22, 3) |
| real, double precision | 32-bit float, double, NaN and the infinities included |
| text, varchar, char, citext, name | text; char keeps its padding |
| bytea, boolean | bytes, boolean |
| date | date, the infinities included |
| timestamp, timestamptz | microseconds, with infinities; from 294247-01-10 04:00:54.775806 on infinity |
| time | text `HH:MM:SS.ffffff` |
| everything else | text, what the type's output function prints |

A domain has the type of its base type. The model's declaration of a column takes precedence: in a column that
is not declared `infinite`, infinite dates and timestamps, and timestamps after 294246, become NULL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.lake.arrow import arrow_type
from platform_assets.model.dialects import POSTGRES, literal, quote
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
"""Settings that a reading session must SET, as text literals.

They determine the text form of values, and roles and databases may have their own settings.
"""

MOST_DIGITS = 38
"""Most digits of a decimal in the lake."""
_MONEY = Decimal(22, 3)
"""Holds 64 bits of the smallest unit, for currencies with zero, two or three digits after the point."""
_DIGITS_OF_64_BITS = 18
_DIGITS_OF_INTEGERS = {"int2": 5, "int4": 10, "int8": 19}
_INFINITE_DAYS = 2**31 - 1
_INFINITE_MICROSECONDS = 2**63 - 1
_MICROSECONDS_PER_DAY = 86_400_000_000
# PostgreSQL counts days and microseconds from 2000-01-01, and ADBC adds the difference to 1970. A sum that is
# too large wraps around to a value far before PostgreSQL's first day.
_DAYS_TO_2000 = 10_957
_FIRST_DAY = -2_440_588  # 4714-11-24 BC, day 0 of the Julian period
# The last two microseconds of the lake's range: they represent the infinities in comparisons.
_INFINITY = "294247-01-10 04:00:54.775807"
_MINUS_INFINITY = "294247-01-10 04:00:54.775806"
# The range of columns that are not declared infinite ends at a whole day.
_END_OF_MICROSECONDS = "294247-01-01"
_END_OF_FINITE_MICROSECONDS = 9_223_371_244_800_000_000


@dataclass(frozen=True)
class SourceType:
    """A column's type from the catalogue, with domains resolved to their base type.

    Args:
        name: `typname` of the base type.
        kind: `typtype` of the base type: `b` base, `e` enum, `c` composite, `r` range, `m` multirange.
        builtin: Whether the type is built into PostgreSQL, not a user's type of the same name.
        modifier: `atttypmod`, or the domain's, such as a numeric's precision and scale; -1 without one.
        text: The type as PostgreSQL writes it, domains by their own name.
        is_array: Whether the type is an array.
        encoding: PostgreSQL's name of the text's encoding, if the database does not define it.
    """

    name: str
    kind: str
    builtin: bool
    modifier: int
    text: str
    is_array: bool = False
    encoding: str = ""

    @property
    def digits(self) -> tuple[int, int] | None:
        """Precision and scale of a numeric, if any; the scale can be negative or exceed the precision."""
        if not self.is_builtin("numeric") or self.modifier < 4:
            return None
        # The scale has 11 bits and a sign: numeric(3,-2) holds hundreds.
        return (self.modifier - 4) >> 16, (((self.modifier - 4) & 0x7FF) ^ 1024) - 1024

    def is_builtin(self, *names: str) -> bool:
        """Return whether the type is PostgreSQL's built-in type with one of these names."""
        return self.builtin and self.name in names


def logical_type(source: SourceType) -> LogicalType:
    """Return the logical type of a discovered column, wide enough for the source to widen its own."""
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
        case "float4":
            # A widened float would print digits that the value does not have: 32.38 as 32.380001068115234.
            return Float(32)
        case "float8":
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
    """Return whether the model's declaration of a column allows the source's type.

    Text is text, an enum, a uuid or a date. See `holds` for the rest.
    """
    if isinstance(column.type, Text):
        names = ("text", "varchar", "bpchar", "name", "uuid", "date")
        return source.is_builtin(*names) or source.name == "citext" or source.kind == "e"
    return holds(column.type, source)


def holds(type_: LogicalType, source: SourceType) -> bool:
    """Return whether a column of the lake holds all values of the source's type without loss.

    A bigint may be read into fewer bits: a value that does not fit then fails the read. NaN and the
    infinities become NULL if the logical type does not have them.
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
            # A date prints as ISO 8601. All other types with their own type in the lake are not text.
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


def widens(former: LogicalType, type_: LogicalType) -> bool:
    """Return whether a column of the lake can change to another type with all its values unchanged.

    All other types of discovered columns already have the lake's full width.
    """
    return former == Float(32) and type_ == Float(64)


def may_lose_to_null(type_: LogicalType, source: SourceType) -> bool:
    """Return whether the source's type has values (NaN, infinities) that become NULL in `type_`."""
    match type_:
        case Decimal():
            return source.is_builtin("numeric")
        case Date(infinite=infinite) | Timestamp(infinite=infinite):
            return not infinite
        case _:
            return False


def written(type_: LogicalType) -> str:
    """Return the PostgreSQL name of a logical type."""
    return POSTGRES.type_name(type_).removesuffix(" without time zone")


def select_expression(column: Column, source: SourceType) -> str:
    """Return SQL for a column in a form that ADBC reads and `decode` converts to the lake's type.

    Args:
        column: The column, with a type that `holds` the source's type.
        source: Its type in the source.

    Returns:
        An expression without an alias. Its text form depends on `SESSION_SETTINGS`.
    """
    name = quote(column.name)
    match column.type:
        case Integer(bits=bits):
            return f"{name}::pg_catalog.int{bits // 8}"
        case Decimal():
            # Printing a number costs the server less than arithmetic, and parsing it is cheap.
            number = f"{name}::pg_catalog.numeric" if source.is_builtin("money") else name
            return f"{number}::pg_catalog.text"
        case Float(bits=bits):
            return f"{name}::pg_catalog.float{bits // 8}"
        case Text():
            if source.is_builtin("text", "varchar", "name"):
                return decoded(f"{name}::pg_catalog.text", source.encoding)
            # A cast to text differs from the type's output: it adds /32 to an inet and strips a char. IS NULL
            # does not work either, because it is true for a composite of NULLs, which is not NULL.
            printed = decoded(f"pg_catalog.concat({name})", source.encoding)
            return f"CASE WHEN {name} IS DISTINCT FROM NULL THEN {printed} END"
        case Binary():
            return f"{name}::pg_catalog.bytea"
        case Boolean():
            return f"{name}::pg_catalog.bool"
        case Date():
            return f"{name}::pg_catalog.date"
        case Time():
            return f"pg_catalog.to_char({name}, 'HH24:MI:SS.US')"
        case Timestamp(utc=utc):
            return f"{name}::pg_catalog.{'timestamptz' if utc else 'timestamp'}"


def decoded(text: str, encoding: str) -> str:
    """Return SQL for a text as UTF-8, in a database that does not define its encoding.

    Args:
        text: SQL for the text.
        encoding: PostgreSQL's name of the encoding; empty if the database defines it.
    """
    if not encoding:
        return text
    as_bytes = f"pg_catalog.convert_to({text}, 'SQL_ASCII')"
    return (
        f"pg_catalog.convert_from(pg_catalog.convert({as_bytes}, {literal(encoding)}, 'UTF8'), 'SQL_ASCII')"
    )


def value_expression(column: Column, source: SourceType) -> str:
    """Return SQL for a column's value as the lake stores it; NULL if the lake stores NULL.

    Decimals of up to 18 digits are returned as one integer, all digits without the point. Columns with
    infinite dates are returned as days since 1970. The last two microseconds of the lake's range represent
    minus infinity and infinity.

    Args:
        column: The column, with a type that `holds` the source's type.
        source: Its type in the source.
    """
    name = quote(column.name)
    match column.type:
        case Decimal(scale=scale):
            return _decimal(name, scale, source)
        case Date(infinite=True):
            return (
                f"CASE WHEN pg_catalog.isfinite({name}) THEN {name} - DATE 'epoch' "
                f"WHEN {name} > 'epoch' THEN {_INFINITE_DAYS} "
                f"WHEN {name} < 'epoch' THEN {-_INFINITE_DAYS} END"
            )
        case Date():
            return f"CASE WHEN pg_catalog.isfinite({name}) THEN {name} END"
        case Timestamp(utc=utc, infinite=True):
            kind = f"pg_catalog.{'timestamptz' if utc else 'timestamp'}"
            return (
                f"CASE WHEN {name} > '-infinity' AND {name} < '{_MINUS_INFINITY}' THEN {name} "
                f"WHEN {name} = '-infinity' THEN '{_MINUS_INFINITY}'::{kind} "
                f"WHEN {name} IS NOT NULL THEN '{_INFINITY}'::{kind} END"
            )
        case Timestamp():
            finite = f"pg_catalog.isfinite({name}) AND {name} < '{_END_OF_MICROSECONDS}'"
            return f"CASE WHEN {finite} THEN {name} END"
        case _:
            return select_expression(column, source)


def _decimal(name: str, scale: int, source: SourceType) -> str:
    """Return SQL for a decimal as one integer without the point if it fits 64 bits, else as text."""
    if source.is_builtin("int2", "int4") and _DIGITS_OF_INTEGERS[source.name] + scale <= _DIGITS_OF_64_BITS:
        return f"{name}::pg_catalog.int8 * {10**scale}"
    if not source.is_builtin("numeric"):
        return f"{name}::pg_catalog.numeric::pg_catalog.text"
    number = f"NULLIF({name}::pg_catalog.numeric, 'NaN')"
    precision, found_scale = source.digits or (MOST_DIGITS, 0)
    if precision - found_scale + scale <= _DIGITS_OF_64_BITS:
        return f"({number} * {10**scale})::pg_catalog.int8"
    return f"{number}::pg_catalog.text"


def decode(array: pa.Array, type_: LogicalType) -> pa.Array:
    """Convert the result of a `select_expression` to the lake's type.

    Args:
        array: The array from ADBC.
        type_: The column's logical type.

    Raises:
        pa.ArrowInvalid: A value does not fit.
    """
    target = arrow_type(type_)
    if isinstance(type_, Decimal):
        return _decimals(array, target)
    if array.type != target:
        array = array.cast(target)
    match type_:
        case Date(infinite=infinite):
            return _in_range(
                array,
                np.dtype(np.int32),
                first=_FIRST_DAY,
                end=_INFINITE_DAYS,
                minus_infinity=-(2**31) + _DAYS_TO_2000,
                infinity=_INFINITE_DAYS if infinite else None,
            )
        case Timestamp(infinite=infinite):
            return _in_range(
                array,
                np.dtype(np.int64),
                first=_FIRST_DAY * _MICROSECONDS_PER_DAY,
                end=_INFINITE_MICROSECONDS - 1 if infinite else _END_OF_FINITE_MICROSECONDS,
                minus_infinity=-(2**63) + _DAYS_TO_2000 * _MICROSECONDS_PER_DAY,
                infinity=_INFINITE_MICROSECONDS if infinite else None,
            )
        case _:
            return array


def _decimals(printed: pa.Array, target: pa.DataType) -> pa.Array:
    """Convert numbers printed by the server, NaN to NULL."""
    try:
        return printed.cast(target)
    except pa.ArrowInvalid:
        is_number = pc.not_equal(printed, "NaN")
        return pc.if_else(is_number, printed, None).cast(target)


def _in_range(
    array: pa.Array, dtype: np.dtype[Any], *, first: int, end: int, minus_infinity: int, infinity: int | None
) -> pa.Array:
    """Convert dates or timestamps out of range to infinities, or to NULL if `infinity` is None.

    Args:
        array: Days or microseconds since 1970; numbers below `first` have wrapped around.
        dtype: Type of the numbers.
        first: The smallest valid number.
        end: The end of the valid range, exclusive.
        minus_infinity: The number that minus infinity has become.
        infinity: DuckDB's infinity; its minus infinity has the opposite sign.
    """
    validity, data = array.buffers()
    if data is None or not len(array):
        return array
    values = np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize)
    if first <= values.min() and values.max() < end:
        return array
    beyond = (values < first) | (values >= end)
    if infinity is None:
        return pc.if_else(pa.array(beyond), pa.scalar(None, array.type), array)
    values = np.where(beyond, np.where(values == minus_infinity, -infinity, infinity), values).astype(dtype)
    whole = pa.Array.from_buffers(array.type, len(array), [None, pa.py_buffer(values)])
    return whole if validity is None else pc.if_else(array.is_valid(), whole, pa.scalar(None, array.type))
