"""Conversion of text columns to the lake's types, and type inference.

A value that does not have its column's type is never guessed: its row goes to the dead letters.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.lake.arrow import arrow_type
from platform_assets.model.table import (
    Binary,
    Boolean,
    Date,
    Decimal,
    Float,
    Integer,
    LogicalType,
    Text,
    Time,
    Timestamp,
)

_TRUE = ["true", "t", "yes", "y", "1"]
_FALSE = ["false", "f", "no", "n", "0"]
_INTEGER = r"^[+-]?[0-9]{1,38}$"
_DECIMAL = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$"
_FLOAT = r"(?i)^[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|inf|infinity)$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_TIME = rf"^{_CLOCK}$"
_ZONED = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ]{_CLOCK}(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$"
_UNZONED = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ]{_CLOCK})?$"
# Patterns for inferring types of undeclared columns: a number with leading zeros is a code, not a number.
_FOUND_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"
_FOUND_DECIMAL = r"^-?(0|[1-9][0-9]{0,28})(\.[0-9]{1,9})?$"
_FOUND_FLOAT = r"(?i)^-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]+)?$"
_FOUND_BOOLEAN = r"(?i)^(true|false)$"
_FOUND = (
    (_FOUND_INTEGER, Integer(64)),
    (_FOUND_DECIMAL, Decimal(38, 9)),
    (_FOUND_FLOAT, Float(64)),
    (_FOUND_BOOLEAN, Boolean()),
    (_DATE, Date()),
    (_ZONED, Timestamp(utc=True)),
    (_UNZONED, Timestamp()),
)


@dataclass(frozen=True)
class Converted:
    """A converted column.

    Args:
        values: The values; NULL where a value could not be converted.
        bad: The rows whose value could not be converted.
    """

    values: pa.Array
    bad: tuple[int, ...] = ()


def type_name(type_: LogicalType) -> str:
    """The name of a type in messages and reasons."""
    match type_:
        case Integer(bits=bits):
            return f"integer of {bits} bits"
        case Decimal(precision=precision, scale=scale):
            return f"decimal({precision},{scale})"
        case Timestamp(utc=True):
            return "timestamp with zone"
        case _:
            return type(type_).__name__.lower()


def rule_name(type_: LogicalType) -> str:
    """The name of the rule that a value of another type breaks."""
    return type(type_).__name__.lower()


def convert(values: pa.Array, type_: LogicalType, written: str | None = None) -> Converted:
    """Convert a column to its declared type.

    Args:
        values: Text, or values of another type from a file that has types.
        type_: The declared type.
        written: The `strptime` format of dates and timestamps; None means ISO 8601.
    """
    target = arrow_type(type_)
    if not pa.types.is_string(values.type):
        if isinstance(type_, Time):
            values = values.cast(pa.time64("us"), safe=False) if pa.types.is_time(values.type) else values
        return _cast(values, lambda some: some.cast(target), target)
    if isinstance(type_, Text):
        return Converted(values)
    trimmed = pc.utf8_trim_whitespace(values)
    if written is not None and isinstance(type_, Date | Timestamp):
        return _by_format(trimmed, type_, written)
    shape, cast = _conversion(type_)
    fits = pc.match_substring_regex(trimmed, shape)
    wrong = _indices(pc.invert(fits))
    if wrong:
        trimmed = pc.if_else(fits, trimmed, pa.scalar(None, pa.string()))
    converted = _cast(trimmed, cast, target)
    return Converted(converted.values, tuple(sorted({*wrong, *converted.bad})))


def find_type(values: pa.Array) -> LogicalType:
    """The narrowest type that all text of a column has."""
    given = values.drop_null()
    if not len(given):
        return Text()
    for shape, type_ in _FOUND:
        if pc.all(pc.match_substring_regex(given, shape)).as_py() and not convert(given, type_).bad:
            return type_
    return Text()


def kept_type(type_: pa.DataType) -> LogicalType | None:
    """The logical type that holds every value of an Arrow type, or None."""
    types = pa.types
    if types.is_dictionary(type_):
        return kept_type(type_.value_type)
    if types.is_decimal(type_):
        return Decimal(type_.precision, type_.scale) if type_.precision <= 38 and type_.scale >= 0 else None
    if types.is_timestamp(type_):
        return Timestamp(utc=type_.tz is not None)
    if type_ == pa.uint64():
        return Decimal(20, 0)
    if type_ in (pa.int64(), pa.uint32()):
        return Integer(64)
    simple: tuple[tuple[Callable[[pa.DataType], bool], LogicalType], ...] = (
        (types.is_integer, Integer(32)),
        (types.is_float64, Float(64)),
        (types.is_floating, Float(32)),
        (types.is_boolean, Boolean()),
        (types.is_date, Date()),
        (types.is_time, Time()),
        (
            lambda type_: (
                types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_)
            ),
            Text(),
        ),
        (lambda type_: types.is_binary(type_) or types.is_large_binary(type_), Binary()),
        (types.is_fixed_size_binary, Binary()),
        (types.is_null, Text()),
    )
    return next((logical for is_one, logical in simple if is_one(type_)), None)


def is_taken_as(found: pa.DataType, declared: LogicalType) -> bool:
    """Return True if a typed file column may be converted to a declared type."""
    kept = kept_type(found)
    if kept is None:
        return False
    if isinstance(kept, Text) or type(kept) is type(declared):
        return True
    wider = {Integer: (Decimal, Float), Decimal: (Float,), Date: (Timestamp,)}
    return isinstance(declared, wider.get(type(kept), ()))


def _conversion(type_: LogicalType) -> tuple[str, Callable[[pa.Array], pa.Array]]:
    target = arrow_type(type_)
    match type_:
        case Integer():
            return _INTEGER, lambda some: _unsigned(some).cast(target)
        case Decimal():
            return _DECIMAL, lambda some: some.cast(target)
        case Float():
            return _FLOAT, lambda some: _unsigned(some).cast(pa.float64()).cast(target)
        case Boolean():
            return rf"(?i)^({'|'.join([*_TRUE, *_FALSE])})$", _truth
        case Date():
            return _DATE, lambda some: some.cast(target)
        case Time():
            return _TIME, _clock
        case Timestamp(utc=True):
            return _ZONED, lambda some: some.cast(target)
        case _:
            return _UNZONED, lambda some: some.cast(target)


def _unsigned(values: pa.Array) -> pa.Array:
    """Numbers without a leading plus, which the conversion does not accept."""
    return pc.replace_substring_regex(values, r"^\+", "")


def _truth(values: pa.Array) -> pa.Array:
    is_true = pc.is_in(pc.utf8_lower(values), pa.array(_TRUE))
    return pc.if_else(pc.is_valid(values), is_true, pa.scalar(None, pa.bool_()))


def _clock(values: pa.Array) -> pa.Array:
    texts = values.to_pylist()
    return pa.array(
        [
            None if text is None else dt.time.fromisoformat(text).isoformat("microseconds")
            for text in map(_whole_fraction, texts)
        ],
        pa.string(),
    )


def _whole_fraction(text: str | None) -> str | None:
    """Times with all six digits of the fraction, which Python requires."""
    if text is None:
        return None
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<6}" if fraction else whole


def _by_format(values: pa.Array, type_: LogicalType, written: str) -> Converted:
    parsed = pc.strptime(values, format=written, unit="us", error_is_null=True)
    bad = _indices(pc.and_(pc.is_null(parsed), pc.is_valid(values)))
    target = arrow_type(type_)
    return Converted(_as_day(parsed) if isinstance(type_, Date) else parsed.cast(target), bad)


def _as_day(values: pa.Array) -> pa.Array:
    return pc.floor_temporal(values, unit="day").cast(pa.date32())


def _cast(values: pa.Array, cast: Callable[[pa.Array], pa.Array], target: pa.DataType) -> Converted:
    """Convert values; if some are invalid, split the values in halves until they are found."""
    try:
        return Converted(cast(values))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if len(values) <= 1:
            return Converted(pa.nulls(len(values), target), tuple(range(len(values))))
    middle = len(values) // 2
    left, right = (_cast(some, cast, target) for some in (values[:middle], values[middle:]))
    return Converted(
        pa.concat_arrays([left.values, right.values]), (*left.bad, *(middle + index for index in right.bad))
    )


def _indices(mask: Any) -> tuple[int, ...]:
    """The indices where a mask is true; NULL counts as false."""
    return tuple(pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist())
