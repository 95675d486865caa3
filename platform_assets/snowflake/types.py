"""Mapping of Parquet types to Snowflake types."""

from __future__ import annotations

import re
from collections.abc import Mapping

from platform_assets.errors import ParquetError
from platform_assets.parquet.types import DIGITS, KINDS, MOST_DIGITS, ParquetType
from platform_assets.snowflake.identifiers import path

_FRACTION_DIGITS = {"ms": 3, "us": 6, "ns": 9}
_LARGEST_SCALE = 37
# Types that would be silently loaded as another type.
_WITHOUT_A_TYPE = {
    "interval": "Snowflake has no type for {name}. Choose one, {name}=BINARY to keep the bytes unchanged, or "
    "write the column as an integer or as text.",
    "duration": "Snowflake has no type for {name}, a duration, and Parquet stores it as a plain number. "
    "Choose a type, {name}=NUMBER(19,0) to load that number of units, or write the column as a number whose "
    "name says its unit.",
    "period": "Snowflake has no type for a period of pandas, which Parquet stores as a plain number counted "
    "from 1970. Choose a type, {name}=NUMBER(19,0) to load that number, or write the column as a date.",
    "variant": "Parquet's variant type is written as encoded bytes, which COPY does not decode: they would "
    "arrive as an object of metadata and value. Write the column as JSON text and load it with the type "
    "VARIANT, or choose a type, {name}=OBJECT to keep the bytes unchanged.",
}
_UUID_AS_TEXT = (
    "LOWER(REGEXP_REPLACE(HEX_ENCODE({column}::BINARY), "
    "'(.{{8}})(.{{4}})(.{{4}})(.{{4}})(.{{12}})', '\\\\1-\\\\2-\\\\3-\\\\4-\\\\5'))"
)
_SNOWFLAKE_TYPE = re.compile(
    r"(NUMBER|DECIMAL|NUMERIC|INT|INTEGER|BIGINT|SMALLINT|TINYINT|BYTEINT|FLOAT|DOUBLE|REAL|VARCHAR|CHAR|STRING"
    r"|TEXT|BINARY|VARBINARY|BOOLEAN|DATE|DATETIME|TIME|TIMESTAMP|TIMESTAMP_NTZ|TIMESTAMP_LTZ|TIMESTAMP_TZ"
    r"|VARIANT|OBJECT|ARRAY|GEOGRAPHY|GEOMETRY)( ?\( ?\d+( ?, ?\d+)? ?\))?"
)


def snowflake_type(type_: ParquetType) -> str:
    """The Snowflake type that holds a Parquet type's values exactly.

    Instants become TIMESTAMP_TZ, which shows the same value in every session; TIMESTAMP_LTZ would show
    another day in a session with another time zone. Columns that contain only nulls become VARIANT, which
    accepts any later type.

    Raises:
        ParquetError: There is no such type; the message says what to do.
    """
    match type_.kind:
        case "int":
            return f"NUMBER({DIGITS[type_.bits, type_.signed]}, 0)"
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
        case "binary" | "bson" | "uuid" | "fixed" | "geometry" | "geography":
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
    raise ParquetError(_WITHOUT_A_TYPE.get(type_.kind, _WITHOUT_A_TYPE["interval"]).format(name=type_.name))


def _number(type_: ParquetType) -> str:
    if type_.precision > MOST_DIGITS:
        raise ParquetError(
            f"{type_.name} has more than the {MOST_DIGITS} digits that Snowflake's NUMBER holds. Write the "
            f"column with fewer digits or as text, or name a type for it: {type_.name}=FLOAT keeps about 15 "
            f"digits, {type_.name}=NUMBER({MOST_DIGITS},{min(type_.scale, _LARGEST_SCALE)}) refuses rows "
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
    """Validate a Snowflake type named by a user, and return it in upper case.

    Raises:
        ParquetError: A column cannot be loaded into this type.
    """
    upper = " ".join(text.upper().split())
    if not _SNOWFLAKE_TYPE.fullmatch(upper):
        raise ParquetError(
            f"{text!r} is not a Snowflake type; write a type such as NUMBER(12,2), VARCHAR or "
            "TIMESTAMP_LTZ(6)."
        )
    return upper


def checked_kind(text: str) -> str:
    """Validate the name of a Parquet type for which a user chooses another Snowflake type.

    Raises:
        ParquetError: No Parquet type has this name.
    """
    name = text.replace(" ", "").lower()
    kind = re.sub(r"\(.*\)$", "", name)
    if kind not in KINDS and not re.fullmatch(r"u?int(8|16|32|64)", kind):
        raise ParquetError(f"Parquet has no type {text!r}; it has {', '.join(KINDS)}, and int8 to uint64.")
    return name


def override_for(type_: ParquetType, overrides: Mapping[str, str]) -> str | None:
    """The overriding type for a Parquet type, looked up by full name first, then by kind."""
    return overrides.get(type_.name) or overrides.get(type_.kind)


def expression(column: str, type_: ParquetType, target: str) -> str:
    """SQL for COPY's SELECT that converts a column of the file to a Snowflake type."""
    source = path(column)
    is_text = target.startswith(("VARCHAR", "STRING", "TEXT", "CHAR"))
    if type_.kind == "json" and not is_text:
        # COPY reads JSON as text, whose members cannot be queried.
        parsed = f"PARSE_JSON({source}::VARCHAR)"
        return parsed if target == "VARIANT" else f"{parsed}::{target}"
    if type_.kind == "uuid" and is_text:
        return f"{_UUID_AS_TEXT.format(column=source)}::{target}"
    if type_.kind in ("binary", "fixed", "bson") and is_text:
        return f"TO_VARCHAR({source}::BINARY, 'UTF-8')::{target}"
    if type_.kind in ("geometry", "geography", "binary") and target in ("GEOGRAPHY", "GEOMETRY"):
        return f"TO_{target}({source}::BINARY)"  # well-known binary, also used by GeoParquet
    if type_.kind == "null" and target == "VARIANT":
        return "NULL::VARIANT"  # a null read as VARIANT would be a JSON null, which is not NULL
    return f"{source}::{target}"
