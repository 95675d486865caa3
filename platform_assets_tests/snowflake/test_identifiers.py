"""A name means in Snowflake what it means in the file, whatever it is made of."""

from __future__ import annotations

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from platform_assets.errors import ParquetError
from platform_assets.snowflake.identifiers import (
    RESERVED_WORDS,
    identifier,
    literal,
    path,
    plain_name,
    typed_identifier,
    typed_name,
)

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=60)


def meaning(sql: str) -> str:
    """What Snowflake takes an identifier for: as it stands in quotes, else in upper case."""
    found = exp.to_identifier(
        sqlglot.parse_one(f"SELECT 1 AS {sql}", dialect="snowflake").selects[0].args["alias"]
    )
    return str(found.this) if found.args.get("quoted") else str(found.this).upper()


@given(NAMES)
def test_any_name_means_itself(name: str) -> None:
    assert meaning(identifier(name)) == name


@given(NAMES)
def test_any_text_is_a_literal_of_itself(text: str) -> None:
    parsed = sqlglot.parse_one(f"SELECT {literal(text)}", dialect="snowflake").selects[0]
    assert parsed.this == text


@given(NAMES, NAMES)
def test_made_up_names_need_no_quotes_and_tell_names_apart(one: str, other: str) -> None:
    made = plain_name(one)
    assert set(made) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
    if one.upper() != other.upper():
        assert made != plain_name(other)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("STAFF_ID", "STAFF_ID"),
        ("staff_id", '"staff_id"'),
        ("Time_ID", '"Time_ID"'),
        ("ORDER", '"ORDER"'),
        ("1ST", '"1ST"'),
        ('a"b', '"a""b"'),
        ("A B", '"A B"'),
        ("ÜBER", '"ÜBER"'),
    ],
)
def test_quotes_stand_where_snowflake_would_fold_or_reserve(name: str, expected: str) -> None:
    assert identifier(name) == expected


def test_reserved_words_are_all_quoted() -> None:
    assert {"ORDER", "GROUP", "TABLE", "QUALIFY", "ILIKE", "GSCLUSTER", "MINUS"} <= RESERVED_WORDS
    assert all(identifier(word) == f'"{word}"' for word in RESERVED_WORDS)


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 256])
def test_names_that_snowflake_cannot_have_are_refused(name: str) -> None:
    with pytest.raises(ParquetError, match="1 to 255 characters"):
        identifier(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("analytics", "ANALYTICS"), ('"analytics"', '"analytics"'), ('"A"', "A"), ("order", '"ORDER"')],
)
def test_names_that_somebody_types_fold_as_in_sql(text: str, expected: str) -> None:
    assert typed_identifier(text) == expected


def test_a_qualified_name_is_taken_part_by_part() -> None:
    assert typed_name('analytics."my.schema".f') == 'ANALYTICS."my.schema".F'


@pytest.mark.parametrize("text", ["", "a b", "1a", "a;b", 'a"b', "a.b", '""'])
def test_what_is_no_identifier_is_refused(text: str) -> None:
    with pytest.raises(ParquetError, match="is not an identifier"):
        typed_identifier(text)


def test_a_path_keeps_the_case_of_the_file() -> None:
    assert path("Time_ID") == '$1:"Time_ID"'
