"""Names and literals in Snowflake's SQL.

A name from data keeps its case: it is quoted if Snowflake would fold it to upper case or reserves the word. A
name typed by a user as an option is already SQL, and folds as in Snowflake.
"""

from __future__ import annotations

import hashlib
import re

from platform_assets.errors import ParquetError
from platform_assets.model.dialects import SNOWFLAKE

LONGEST_NAME = 255

# https://docs.snowflake.com/en/sql-reference/reserved-keywords: reserved words, and words that are not
# allowed in some places. An unneeded entry here only costs two quotes.
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
        ParquetError: The name is not valid in Snowflake: empty, too long, or with a NUL character.
    """
    if not name or len(name) > LONGEST_NAME or "\0" in name:
        raise ParquetError(
            f"Snowflake cannot have the name {name[:60]!r}: a name has 1 to {LONGEST_NAME} characters and no "
            "NUL. Rename it where the file is written."
        )
    return name if _PLAIN.fullmatch(name) and name not in RESERVED_WORDS else quoted(name)


quoted, literal = SNOWFLAKE.quote, SNOWFLAKE.literal


def typed_identifier(text: str) -> str:
    """A name as typed by a user in SQL: `analytics` and `ANALYTICS` are equal, `"analytics"` is different.

    Raises:
        ParquetError: The text is not an identifier.
    """
    if not _TYPED.fullmatch(text):
        raise ParquetError(
            f"{text!r} is not an identifier. Write letters, digits, _ and $, not starting with a digit; put "
            'anything else in double quotes, as in "my schema".'
        )
    if text.startswith('"'):
        return identifier(text[1:-1].replace('""', '"'))
    return identifier(text.upper())


def typed_name(text: str) -> str:
    """A qualified name as typed by a user, such as `analytics.public.parquet`; each part is an identifier."""
    parts = re.findall(r'"(?:[^"]|"")*"|[^."]+', text)
    if ".".join(parts) != text:
        raise ParquetError(
            f"{text!r} is not a valid name: write up to three identifiers with a dot between them."
        )
    return ".".join(typed_identifier(part) for part in parts)


def plain_name(name: str) -> str:
    """A name that needs no quotes, made from another name; a hash is added if characters were lost."""
    plain = re.sub(r"[^A-Z0-9_]", "_", name.upper())[:200]
    if plain == name.upper() and re.match("[A-Z_]", plain):
        return plain
    return f"N_{plain}_{hashlib.blake2b(name.encode(), digest_size=4).hexdigest().upper()}"


def path(column: str) -> str:
    """The path of a Parquet column in the row that COPY reads, in the file's case."""
    return f"$1:{quoted(column)}"
