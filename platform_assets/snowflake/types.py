"""Parquet's types, which of them contain which, and what each is in Snowflake."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from platform_assets.errors import ParquetError
from platform_assets.snowflake.identifiers import path

_DIGITS = {
    (8, True): 3,
    (16, True): 5,
    (32, True): 10,
    (64, True): 19,
    (8, False): 3,
    (16, False): 5,
    (32, False): 10,
    (64, False): 20,
}
_UNITS = ("ms", "us", "ns")
_UNIT_NAMES = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}
_FRACTION_DIGITS = {"ms": 3, "us": 6, "ns": 9}
_MOST_DIGITS = 38
_LARGEST_SCALE = 37
# Whole numbers up to these many bits are exact in Snowflake's FLOAT, which has 53 bits for them.
_EXACT_IN_FLOAT = 32
_PLAIN_PHYSICAL = {
    "BOOLEAN": "boolean",
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "BYTE_ARRAY": "binary",
}
_TEXTS = ("string", "enum", "json")
_UUID_AS_TEXT = (
    "LOWER(REGEXP_REPLACE(HEX_ENCODE({column}::BINARY), "
    "'(.{{8}})(.{{4}})(.{{4}})(.{{4}})(.{{12}})', '\\\\1-\\\\2-\\\\3-\\\\4-\\\\5'))"
)
_SNOWFLAKE_TYPE = re.compile(
    r"(NUMBER|DECIMAL|NUMERIC|INT|INTEGER|BIGINT|SMALLINT|TINYINT|BYTEINT|FLOAT|DOUBLE|REAL|VARCHAR|CHAR|STRING"
    r"|TEXT|BINARY|VARBINARY|BOOLEAN|DATE|DATETIME|TIME|TIMESTAMP|TIMESTAMP_NTZ|TIMESTAMP_LTZ|TIMESTAMP_TZ"
    r"|VARIANT|OBJECT|ARRAY|GEOGRAPHY|GEOMETRY)( ?\( ?\d+( ?, ?\d+)? ?\))?"
)


@dataclass(frozen=True, slots=True)
class ParquetType:
    """What a column of a Parquet file holds, physical and logical type in one.

    Attributes:
        kind: boolean, int, float16, float32, float64, decimal, string, enum, json, bson, uuid, binary, fixed,
            date, time, timestamp, int96, interval, null, list, map, struct.
        bits: Of an int: 8, 16, 32 or 64.
        signed: Of an int.
        length: Of a fixed, in bytes.
        precision: Of a decimal, in digits.
        scale: Of a decimal.
        unit: Of a time or timestamp: ms, us or ns.
        utc: Of a timestamp: it names an instant; else it is what a clock on some wall showed.
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
            case "time":
                return f"time({self.unit})"
            case "timestamp":
                return f"timestamp({self.unit}{',utc' if self.utc else ''})"
            case _:
                return self.kind

    @property
    def is_nested(self) -> bool:
        """Whether it holds other values."""
        return self.kind in ("list", "map", "struct")


# What the names of types in overrides may be: whole names, or kinds.
KINDS = (
    *("boolean", "int", "float16", "float32", "float64", "decimal", "string", "enum", "json", "bson", "uuid"),
    *("binary", "fixed", "date", "time", "timestamp", "int96", "interval", "null", "list", "map", "struct"),
)


@functools.lru_cache(maxsize=4096)
def parquet_type(physical: str, logical: str, converted: str, length: int) -> ParquetType:
    """The type of a column that holds no other values, from what pyarrow says of it.

    Args:
        physical: `ColumnSchema.physical_type`.
        logical: `ColumnSchema.logical_type` as JSON.
        converted: `ColumnSchema.converted_type`, which files older than logical types have.
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
        case "String" | "Enum" | "JSON" | "BSON" | "UUID" | "Date" | "Float16" | "Interval" | "Null" as name:
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
    """The narrowest type that holds every value of both exactly, or None where there is none."""
    if one == other or other.kind == "null":
        return one
    if one.kind == "null":
        return other
    kinds = {one.kind, other.kind}
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
    return ParquetType("decimal", precision=precision, scale=scale) if precision <= _MOST_DIGITS else None


def _digits(type_: ParquetType) -> tuple[int, int]:
    if type_.kind == "int":
        return _DIGITS[type_.bits, type_.signed], 0
    return type_.precision - type_.scale, type_.scale


def snowflake_type(type_: ParquetType) -> str:
    """The Snowflake type that holds a Parquet type's values exactly.

    Instants become TIMESTAMP_TZ, which shows the same to every session, where TIMESTAMP_LTZ would show
    another day to a session in another zone. What is only ever null becomes VARIANT: it takes whatever comes
    later.

    Raises:
        ParquetError: There is none; the message says what to do.
    """
    match type_.kind:
        case "int":
            return f"NUMBER({_DIGITS[type_.bits, type_.signed]}, 0)"
        case "decimal":
            return _number(type_)
        case "float16" | "float32" | "float64":
            return "FLOAT"
        case "boolean" | "date" as kind:
            return kind.upper()
        case "string" | "enum":
            return "VARCHAR"
        case "json" | "null":
            return "VARIANT"
        case "binary" | "bson" | "uuid" | "fixed":
            return "BINARY"
        case "time":
            return f"TIME({_FRACTION_DIGITS[type_.unit]})"
        case "timestamp":
            return f"TIMESTAMP_{'TZ' if type_.utc else 'NTZ'}({_FRACTION_DIGITS[type_.unit]})"
        case "int96":
            return "TIMESTAMP_NTZ(9)"
        case "list":
            return "ARRAY"
        case "map" | "struct":
            return "OBJECT"
    raise ParquetError(
        f"Snowflake has no type for {type_.name}. Name one, {type_.name}=BINARY to keep the bytes as they "
        "are, or write the column as an integer or as text."
    )


def _number(type_: ParquetType) -> str:
    if type_.precision > _MOST_DIGITS:
        raise ParquetError(
            f"{type_.name} has more than the {_MOST_DIGITS} digits that Snowflake's NUMBER holds. Write the "
            f"column with fewer digits or as text, or name a type for it: {type_.name}=FLOAT keeps about 15 "
            f"digits, {type_.name}=NUMBER({_MOST_DIGITS},{min(type_.scale, _LARGEST_SCALE)}) refuses rows "
            "that are larger."
        )
    if type_.scale > _LARGEST_SCALE:
        raise ParquetError(
            f"{type_.name} has more than the {_LARGEST_SCALE} decimal places of Snowflake's NUMBER. Write "
            f"the column with fewer or as text, or name a type for it: {type_.name}=FLOAT keeps about 15 "
            "digits."
        )
    return f"NUMBER({type_.precision}, {type_.scale})"


def checked_type(text: str) -> str:
    """A Snowflake type that somebody names, in upper case.

    Raises:
        ParquetError: It is none that a column can be loaded into.
    """
    upper = " ".join(text.upper().split())
    if not _SNOWFLAKE_TYPE.fullmatch(upper):
        raise ParquetError(
            f"{text!r} is no Snowflake type; write one such as NUMBER(12,2), VARCHAR or TIMESTAMP_LTZ(6)."
        )
    return upper


def checked_kind(text: str) -> str:
    """The name of a Parquet type that somebody wants to be another type in Snowflake.

    Raises:
        ParquetError: There is none of that name.
    """
    name = text.replace(" ", "").lower()
    kind = re.sub(r"\(.*\)$", "", name)
    if kind not in KINDS and not re.fullmatch(r"u?int(8|16|32|64)", kind):
        raise ParquetError(f"Parquet has no type {text!r}; it has {', '.join(KINDS)}, and int8 to uint64.")
    return name


def override_for(type_: ParquetType, overrides: Mapping[str, str]) -> str | None:
    """What a type is to be instead, looked up by its whole name first, then by its kind."""
    return overrides.get(type_.name) or overrides.get(type_.kind)


def expression(column: str, type_: ParquetType, target: str) -> str:
    """SQL that gives a column of the file as a Snowflake type, for COPY's SELECT."""
    source = path(column)
    is_text = target.startswith(("VARCHAR", "STRING", "TEXT", "CHAR"))
    if type_.kind == "json" and not is_text:
        # COPY takes JSON for text, which nobody could look into.
        parsed = f"PARSE_JSON({source}::VARCHAR)"
        return parsed if target == "VARIANT" else f"{parsed}::{target}"
    if type_.kind == "uuid" and is_text:
        return f"{_UUID_AS_TEXT.format(column=source)}::{target}"
    if type_.kind in ("binary", "fixed", "bson") and is_text:
        return f"TO_VARCHAR({source}::BINARY, 'UTF-8')::{target}"
    return f"{source}::{target}"
