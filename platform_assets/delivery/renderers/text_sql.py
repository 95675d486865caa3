"""The textual form of each type, as DuckDB SQL: plain text for CSV, and JSON.

| type | plain text | JSON |
| --- | --- | --- |
| integers, decimals | all digits | number, all digits |
| floating point | the shortest text of the value; NaN, Infinity, -Infinity | number; these as text |
| boolean | true, false | true, false |
| date | 2026-01-31 | text, the same |
| timestamp | 2026-01-31 08:00:00.5 | text, 2026-01-31T08:00:00.5 |
| timestamp with zone | 2026-01-31 08:00:00.5+00:00 | text, 2026-01-31T08:00:00.5Z |
| time, interval | 08:00:00.5, 3 days | text, the same |
| binary | Base64 | text, the same |
| list, struct, map | as JSON | array, object, object |
"""

from __future__ import annotations

import json

import pyarrow as pa

from platform_assets.model.dialects import literal


def is_textual(type_: pa.DataType) -> bool:
    """Return whether values of a type are texts that may hold any character."""
    return (
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
        or is_nested(type_)
    )


def is_nested(type_: pa.DataType) -> bool:
    """Return whether a type has types within it."""
    return bool(pa.types.is_nested(type_) and not pa.types.is_dictionary(type_))


def is_binary(type_: pa.DataType) -> bool:
    """Return whether values of a type are strings of bytes."""
    return bool(
        pa.types.is_binary(type_)
        or pa.types.is_large_binary(type_)
        or pa.types.is_fixed_size_binary(type_)
        or pa.types.is_binary_view(type_)
    )


def _number(sql: str, text: str, around: str = "") -> str:
    """Return SQL for a floating-point number; what is no finite number is named, within `around`."""
    nan, plus, minus = (literal(around + name + around) for name in ("NaN", "Infinity", "-Infinity"))
    return (
        f"CASE WHEN isfinite({sql}) THEN {text} WHEN isnan({sql}) THEN {nan} WHEN {sql} > 0 THEN {plus} "
        f"WHEN {sql} < 0 THEN {minus} END"
    )


def plain_text(type_: pa.DataType, sql: str, timezone: str = "UTC") -> str:
    """Return SQL for the text of a value; NULL where the value is NULL.

    Args:
        type_: The value's type.
        sql: The value.
        timezone: The time zone of the connection.
    """
    text = f"CAST({sql} AS VARCHAR)"
    if pa.types.is_floating(type_):
        return _number(sql, text)
    if pa.types.is_decimal(type_):
        return _with_zero(type_, text)
    if pa.types.is_timestamp(type_) and type_.tz is not None:
        return _with_minutes(type_, sql, text, timezone)
    if is_binary(type_):
        return f"to_base64({sql})"
    if is_nested(type_):
        return json_text(type_, sql)
    return text


def _with_zero(type_: pa.DataType, text: str) -> str:
    """Return a decimal's text with the 0 before the point that DuckDB leaves out where no digit may be there.

    JSON knows no number without it.
    """
    return rf"regexp_replace({text}, '^(-?)\.', '\10.')" if type_.scale == type_.precision else text


def _with_minutes(type_: pa.DataType, sql: str, text: str, timezone: str) -> str:
    """Return a timestamp's text with the minutes of its offset, which DuckDB leaves out where they are 0."""
    always = f"{text} || ':00'"
    whole = always if timezone == "UTC" else rf"regexp_replace({text}, '([+-]\d\d)$', '\1:00')"
    return _unless_infinite(type_, sql, whole, text)


def _unless_infinite(type_: pa.DataType, sql: str, finite: str, infinite: str) -> str:
    """Choose between SQL for finite times and for the others, which those with nanoseconds do not have."""
    if type_.unit == "ns":
        return finite
    return f"CASE WHEN isfinite({sql}) THEN {finite} ELSE {infinite} END"


def json_text(type_: pa.DataType, sql: str, depth: int = 0) -> str:
    """Return SQL for a value as JSON; NULL where the value is NULL.

    Times with a zone are written in UTC: the connection's time zone must be that.

    Args:
        type_: The value's type.
        sql: The value.
        depth: Number of types that it is within.
    """
    text = f"CAST({sql} AS VARCHAR)"
    if pa.types.is_null(type_):
        return "CAST(NULL AS VARCHAR)"
    if pa.types.is_integer(type_) or pa.types.is_boolean(type_):
        return text
    if pa.types.is_decimal(type_):
        return _with_zero(type_, text)
    if pa.types.is_floating(type_):
        return _number(sql, text, '"')
    if pa.types.is_timestamp(type_):
        whole = f"replace({text}, ' ', 'T')"
        if type_.tz is not None:
            whole = f"left({whole}, -3) || 'Z'"
        return f"""'"' || {_unless_infinite(type_, sql, whole, text)} || '"'"""
    if is_binary(type_):
        return f"""'"' || to_base64({sql}) || '"'"""
    if pa.types.is_map(type_):
        entry = f"e{depth}"
        key = plain_text(type_.key_type, f"{entry}.key")
        member = (
            f"concat(CAST(to_json({key}) AS VARCHAR), ':', "
            f"coalesce({json_text(type_.item_type, f'{entry}.value', depth + 1)}, 'null'))"
        )
        return _joined(sql, f"map_entries({sql})", entry, member, "{}")
    if pa.types.is_struct(type_):
        # By place: DuckDB ignores the case of names.
        members = ", ',', ".join(
            _member_sql(type_.field(place), f"struct_extract_at({sql}, {place + 1})", depth)
            for place in range(type_.num_fields)
        )
        return f"CASE WHEN {sql} IS NOT NULL THEN concat('{{', {members or literal('')}, '}}') END"
    if hasattr(type_, "value_type") and is_nested(type_):
        item = f"e{depth}"
        member = f"coalesce({json_text(type_.value_type, item, depth + 1)}, 'null')"
        return _joined(sql, sql, item, member, "[]")
    if is_textual(type_):
        return f"CAST(to_json({text}) AS VARCHAR)"
    return f"""'"' || {text} || '"'"""


def _member_sql(field: pa.Field, sql: str, depth: int) -> str:
    key = literal(json.dumps(field.name, ensure_ascii=False) + ":")
    return f"{key}, coalesce({json_text(field.type, sql, depth)}, 'null')"


def _joined(sql: str, members: str, name: str, member: str, brackets: str) -> str:
    """Return SQL for the members of a list between brackets; NULL where the list is NULL."""
    texts = f"array_to_string(list_transform({members}, lambda {name}: {member}), ',')"
    return (
        f"CASE WHEN {sql} IS NOT NULL THEN {literal(brackets[0])} || coalesce({texts}, '') || "
        f"{literal(brackets[1])} END"
    )
