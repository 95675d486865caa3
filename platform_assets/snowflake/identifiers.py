"""Names and literals in Snowflake's SQL.

A name that comes from data keeps its case: it is quoted wherever Snowflake would fold it to upper case or has
the word for itself. A name that somebody types as an option is SQL already and folds as Snowflake folds it.
"""

from __future__ import annotations

import hashlib
import re

from platform_assets.errors import ParquetError

LONGEST_NAME = 255

# https://docs.snowflake.com/en/sql-reference/reserved-keywords: what is reserved, and what may not be used as
# it stands in some places. A word too many here costs two quotes.
RESERVED_WORDS = frozenset(
    re.findall(
        r"\w+",
        "ACCOUNT ALL ALTER AND ANY AS ASC BETWEEN BY CASE CAST CHECK COLUMN CONNECT CONNECTION CONSTRAINT "
        "CREATE CROSS CURRENT CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DATABASE DELETE "
        "DESC DISTINCT DROP ELSE EXISTS FALSE FOLLOWING FOR FROM FULL GRANT GROUP GSCLUSTER HAVING ILIKE "
        "IN INCREMENT INNER INSERT INTERSECT INTO IS ISSUE JOIN LATERAL LEFT LIKE LOCALTIME "
        "LOCALTIMESTAMP MINUS NATURAL NOT NULL OF ON OR ORDER ORGANIZATION OUTER QUALIFY REGEXP REVOKE "
        "RIGHT RLIKE ROW ROWS SAMPLE SCHEMA SELECT SET SOME START TABLE TABLESAMPLE THEN TO TRIGGER TRUE "
        "TRY_CAST UNION UNIQUE UPDATE USING VALUES VIEW WHEN WHENEVER WHERE WITH ",
    )
)

_PLAIN = re.compile(r"[A-Z_][A-Z0-9_$]*")
_TYPED = re.compile(r'[A-Za-z_][A-Za-z0-9_$]*|"(?:[^"]|"")+"')


def identifier(name: str) -> str:
    """A name from data as SQL that means exactly this name.

    Raises:
        ParquetError: Snowflake has no such name: it is empty, too long, or holds a NUL.
    """
    if not name or len(name) > LONGEST_NAME or "\0" in name:
        raise ParquetError(
            f"Snowflake cannot have the name {name[:60]!r}: a name has 1 to {LONGEST_NAME} characters and no "
            "NUL. Rename it where the file is written."
        )
    return name if _PLAIN.fullmatch(name) and name not in RESERVED_WORDS else quoted(name)


def quoted(name: str) -> str:
    """A name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def typed_identifier(text: str) -> str:
    """A name as somebody types it in SQL: `analytics` and `ANALYTICS` are one, `"analytics"` is another.

    Raises:
        ParquetError: It is no identifier.
    """
    if not _TYPED.fullmatch(text):
        raise ParquetError(
            f"{text!r} is no identifier. Write letters, digits, _ and $, the first no digit; anything "
            'else in double quotes, as in "my schema".'
        )
    if text.startswith('"'):
        return identifier(text[1:-1].replace('""', '"'))
    return identifier(text.upper())


def typed_name(text: str) -> str:
    """A qualified name as somebody types it, such as `analytics.public.parquet`, part by part as above."""
    parts = re.findall(r'"(?:[^"]|"")*"|[^."]+', text)
    if ".".join(parts) != text:
        raise ParquetError(f"{text!r} is no name: write up to three identifiers with a dot between them.")
    return ".".join(typed_identifier(part) for part in parts)


def plain_name(name: str) -> str:
    """A name made from another that needs no quotes; where some of it was lost, a hash tells it apart."""
    plain = re.sub(r"[^A-Z0-9_]", "_", name.upper())[:200]
    if plain == name.upper() and re.match("[A-Z_]", plain):
        return plain
    return f"N_{plain}_{hashlib.blake2b(name.encode(), digest_size=4).hexdigest().upper()}"


def literal(text: str) -> str:
    """A text literal; Snowflake takes a backslash in it for an escape."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def path(column: str) -> str:
    """Where a column of a Parquet file is in the row that COPY reads, its case as in the file."""
    return f"$1:{quoted(column)}"
