"""Parquet's types, physical and logical combined, and which types can be widened to which."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from typing import Any

DIGITS = {
    (8, True): 3,
    (16, True): 5,
    (32, True): 10,
    (64, True): 19,
    (8, False): 3,
    (16, False): 5,
    (32, False): 10,
    (64, False): 20,
}
"""Decimal digits of integers, by their bits and signedness."""

MOST_DIGITS = 38
"""The maximum precision that decimals can be widened to."""

_UNITS = ("ms", "us", "ns")
_UNIT_NAMES = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}
# A 64-bit float has 53 bits for the mantissa, so integers up to this size are exact.
_EXACT_IN_FLOAT = 32
_PLAIN_PHYSICAL = {
    "BOOLEAN": "boolean",
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "BYTE_ARRAY": "binary",
}
_TEXTS = ("string", "enum", "json")


@dataclass(frozen=True, slots=True)
class ParquetType:
    """The type of a Parquet column, physical and logical type combined.

    Attributes:
        kind: boolean, int, float16, float32, float64, decimal, string, enum, json, bson, uuid, binary, fixed,
            date, time, timestamp, int96, interval, duration, period, variant, geometry, geography, null,
            list, map, struct.
        bits: Of an int: 8, 16, 32 or 64.
        signed: Of an int.
        length: Of a fixed, in bytes.
        precision: Of a decimal, in digits.
        scale: Of a decimal.
        unit: Of a time, timestamp or duration: s, ms, us or ns.
        utc: Of a timestamp: True for an instant, False for a wall clock time. Of a nested type: True if it
            contains such timestamps.
    """

    kind: str
    bits: int = 0
    signed: bool = True
    length: int = 0
    precision: int = 0
    scale: int = 0
    unit: str = ""
    utc: bool = False

    @property
    def name(self) -> str:
        """Its name in messages and overrides, such as `uint64`, `decimal(12,2)` or `timestamp(us,utc)`."""
        match self.kind:
            case "int":
                return f"{'' if self.signed else 'u'}int{self.bits}"
            case "decimal":
                return f"decimal({self.precision},{self.scale})"
            case "fixed":
                return f"fixed({self.length})"
            case "time" | "duration" as kind:
                return f"{kind}({self.unit})"
            case "timestamp":
                return f"timestamp({self.unit}{',utc' if self.utc else ''})"
            case _:
                return self.kind

    @property
    def is_nested(self) -> bool:
        """True if the type contains other types."""
        return self.kind in ("list", "map", "struct")


# Type names allowed in overrides: full names or kinds.
KINDS = (
    *("boolean", "int", "float16", "float32", "float64", "decimal", "string", "enum", "json", "bson", "uuid"),
    *("binary", "fixed", "date", "time", "timestamp", "int96", "interval", "duration", "period", "variant"),
    *("geometry", "geography", "null", "list", "map", "struct"),
)


@functools.lru_cache(maxsize=4096)
def parquet_type(physical: str, logical: str, converted: str, length: int) -> ParquetType:
    """The type of a column that is not nested, from pyarrow's description.

    Args:
        physical: `ColumnSchema.physical_type`.
        logical: `ColumnSchema.logical_type` as JSON.
        converted: `ColumnSchema.converted_type`, present in files older than logical types.
        length: Bytes of a FIXED_LEN_BYTE_ARRAY.
    """
    found: dict[str, Any] = json.loads(logical)
    match found["Type"]:
        case "Int":
            return ParquetType("int", bits=found["bitWidth"], signed=found["isSigned"])
        case "Decimal":
            return ParquetType("decimal", precision=found["precision"], scale=found["scale"])
        case "Time":
            return ParquetType("time", unit=_UNIT_NAMES[found["timeUnit"]])
        case "Timestamp":
            return ParquetType(
                "timestamp", unit=_UNIT_NAMES[found["timeUnit"]], utc=bool(found["isAdjustedToUTC"])
            )
        case (
            "String" | "Enum" | "JSON" | "BSON" | "UUID" | "Date" | "Float16" | "Interval" | "Null"
            | "Variant" | "Geometry" | "Geography"
        ) as name:  # fmt: skip
            return ParquetType(name.lower())
    if converted == "INTERVAL":
        return ParquetType("interval")
    match physical:
        case "INT32" | "INT64":
            return ParquetType("int", bits=int(physical[3:]))
        case "INT96":
            return ParquetType("int96")
        case "FIXED_LEN_BYTE_ARRAY":
            return ParquetType("fixed", length=length)
    return ParquetType(_PLAIN_PHYSICAL[physical])


def widened(one: ParquetType, other: ParquetType) -> ParquetType | None:
    """The narrowest type that holds every value of both types exactly, or None."""
    if one == other or other.kind == "null":
        return one
    if one.kind == "null":
        return other
    kinds = {one.kind, other.kind}
    if one.is_nested and one.kind == other.kind:
        return replace(one, utc=one.utc or other.utc, unit=one.unit or other.unit)
    if kinds == {"int"} and one.signed == other.signed:
        return max(one, other, key=lambda type_: type_.bits)
    if kinds <= {"int", "decimal"}:
        return _widened_numbers(one, other)
    if kinds <= {"float16", "float32", "float64"}:
        return max(one, other, key=lambda type_: type_.kind)
    if "int" in kinds and kinds & {"float16", "float32", "float64"}:
        whole = one if one.kind == "int" else other
        return ParquetType("float64") if whole.bits <= _EXACT_IN_FLOAT else None
    if kinds <= set(_TEXTS):
        return ParquetType("string")
    if kinds <= {"binary", "fixed", "bson", "uuid"}:
        return ParquetType("binary")
    if kinds == {"time"}:
        return max(one, other, key=lambda type_: _UNITS.index(type_.unit))
    if kinds == {"timestamp"} and one.utc == other.utc:
        return max(one, other, key=lambda type_: _UNITS.index(type_.unit))
    if kinds == {"timestamp", "int96"} and not (one.utc or other.utc):
        return ParquetType("timestamp", unit="ns")
    return None


def _widened_numbers(one: ParquetType, other: ParquetType) -> ParquetType | None:
    (whole, scale), (other_whole, other_scale) = _digits(one), _digits(other)
    scale = max(scale, other_scale)
    precision = max(whole, other_whole) + scale
    return ParquetType("decimal", precision=precision, scale=scale) if precision <= MOST_DIGITS else None


def _digits(type_: ParquetType) -> tuple[int, int]:
    if type_.kind == "int":
        return DIGITS[type_.bits, type_.signed], 0
    return type_.precision - type_.scale, type_.scale
