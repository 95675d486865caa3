"""Variables in queries: what is one, what is not, and how a value gets into the query."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.notebook.variables import Mention, VariableError, bound_sql, pasted, split

VALUES: dict[str, object] = {"name": "vm-1", "n": 3, "zone": "eu", "a": "A", "b": "B"}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("WHERE x = '$name'", "WHERE x = 'vm-1'"),
        ("WHERE x = '${name}s'", "WHERE x = 'vm-1s'"),
        ("WHERE x = '{{name}}' AND n = {{ n }}", "WHERE x = 'vm-1' AND n = 3"),
        ("FROM $zone.compute", "FROM eu.compute"),
        ('FROM "$zone"."x" JOIN `$a`', 'FROM "eu"."x" JOIN `A`'),
        ("LIKE '%-$name-%'", "LIKE '%-vm-1-%'"),
        ("'$a$b'", "'AB'"),
        ("LIMIT $n;", "LIMIT 3;"),
        ("($n)", "(3)"),
        ("-- not $missing\nSELECT $n", "-- not $missing\nSELECT 3"),
        ("/* $missing\n '$missing */ SELECT $n", "/* $missing\n '$missing */ SELECT 3"),
        ("/* never closed $missing", "/* never closed $missing"),
    ],
)
def test_variables_are_pasted(sql: str, expected: str) -> None:
    assert pasted(sql, VALUES) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT json_extract(x, '$.a.b'), x->'$[0]', x->>'$.\"name\"'",
        "SELECT $1 + $22",
        "SELECT $$it's $name$$",
        "SELECT $tag$ $name '$missing' $tag$",
        "SELECT '$$name'",
        "SELECT $$ open $",
        "SELECT v$session, a_$name FROM sys.v$name",
        "SELECT '{{1,2},{3,4}}', '{{\"a\", b}}', '{{}}', '${1}', '$', '$ 5', '$5'",
        "SELECT 'it''s' -- $name",
        "SELECT E'\\'$' || '$'",
        "$",
        "",
    ],
)
def test_a_dollar_that_belongs_to_the_query_stays(sql: str) -> None:
    assert pasted(sql, VALUES) == sql
    bound = bound_sql(sql, {})
    assert bound.parts == (sql,)
    assert not bound.values


def test_an_open_quote_reaches_to_the_end() -> None:
    assert pasted("SELECT '$name -- $a", VALUES) == "SELECT 'vm-1 -- A"


def test_what_would_end_the_quote_is_doubled() -> None:
    values = {"x": 'it\'s "so" `q` \\'}
    assert pasted("'$x'", values) == "'it''s \"so\" `q` \\'"
    assert pasted('"$x"', values) == '"it\'s ""so"" `q` \\"'
    assert pasted("`$x`", values) == '`it\'s "so" ``q`` \\`'
    assert pasted("E'$x'", values) == "E'it''s \"so\" `q` \\\\'"
    assert pasted("SELECT $x", {"x": "1 AS it"}) == "SELECT 1 AS it"


def test_values_have_their_text() -> None:
    values: dict[str, object] = {
        "d": dt.date(2026, 1, 2),
        "m": Decimal("1.50"),
        "i": np.int64(7),
        "t": pd.Timestamp("2026-01-02 03:04"),
        "many": ["it's", 2, dt.date(2026, 1, 2)],
        "truth": True,
    }
    expected = "'2026-01-02' 1.50 7 '2026-01-02 03:04:00' ('it''s', 2, '2026-01-02') True"
    assert pasted("'$d' $m $i '$t' ($many) $truth", values) == expected


def test_an_unknown_variable_is_an_error_that_names_it() -> None:
    with pytest.raises(VariableError, match=r"^The variable zon does not exist.*Did you mean zone\?.*--raw"):
        pasted("'$zon'", VALUES)
    with pytest.raises(VariableError, match=r"^The variable missing does not exist.* \{\{missing\}\} "):
        bound_sql("SELECT {{missing}}", VALUES)


@pytest.mark.parametrize("value", [None, {"a": 1}, pd.DataFrame(), object(), [1, None]])
def test_a_value_without_a_form_in_sql_is_refused(value: object) -> None:
    with pytest.raises(VariableError, match=r"^The variable x is of type "):
        pasted("SELECT $x", {"x": value})


def test_a_list_in_quotes_is_refused() -> None:
    with pytest.raises(VariableError, match="of type list"):
        pasted("'$x'", {"x": ["a"]})


def test_bound_values_never_enter_the_text() -> None:
    bound = bound_sql(
        "WHERE a = $name AND b IN ($ids) AND c = ${name} -- $n", {"name": "'; DROP", "ids": [1, 2]}
    )
    assert bound.text(lambda number: f"?{number}") == "WHERE a = ?1 AND b IN (?2, ?3) AND c = ?1 -- $n"
    assert list(bound.values.values()) == ["'; DROP", 1, 2]


def test_a_bound_variable_in_quotes_is_refused_and_other_text_in_quotes_stays() -> None:
    with pytest.raises(VariableError, match=r"^\$name stands in quotes.*without the quotes"):
        bound_sql("WHERE a = '$name'", VALUES)
    assert bound_sql("WHERE a = 'for $five'", VALUES).parts == ("WHERE a = 'for $five'",)
    with pytest.raises(VariableError, match=r"^\$x is an empty list"):
        bound_sql("IN ($x)", {"x": []})


@given(st.text(alphabet="ab $'\"`{}-/*\n\\E1_.;é"))
def test_the_pieces_of_any_text_are_the_text(sql: str) -> None:
    pieces = [one if isinstance(one, str) else one.written for one in split(sql)]
    assert "".join(pieces) == sql


# Pieces of SQL, each closed in itself, with what becomes of it.
_PIECES = st.sampled_from(
    [
        ("'it''s $.a $$ $1'", None),
        ("'$a'", "'A'"),
        ("'''$a'''", "'''A'''"),
        ("$a", "A"),
        ("${a}", "A"),
        ("{{a}}", "A"),
        ("-- $a '\n", None),
        ("/* $a ' */", None),
        ("$$ $a ' $$", None),
        ("$q$ $a $$ $q$", None),
        ("E'\\'$a'", "E'\\'A'"),
        ('"$a"', '"A"'),
        ("x$a", None),
        ("$1", None),
    ]
)


@given(st.lists(_PIECES, max_size=8))
def test_each_piece_of_a_query_is_read_by_its_own_rule(pieces: list[tuple[str, str | None]]) -> None:
    sql = " ".join(written for written, _ in pieces)
    expected = " ".join(written if becomes is None else becomes for written, becomes in pieces)
    assert pasted(sql, {"a": "A"}) == expected


@given(st.text(), st.sampled_from("'\"`"))
def test_no_value_gets_out_of_its_quotes(value: str, quote: str) -> None:
    inside = pasted(f"{quote}$x{quote}", {"x": value})[1:-1]
    assert inside.replace(quote * 2, "") == value.replace(quote, "")
    assert quote not in inside.replace(quote * 2, "")


def test_mentions_know_their_quotes() -> None:
    found = [one for one in split("$a '$b' E'$c' \"$d\"") if isinstance(one, Mention)]
    assert [(one.name, one.quote) for one in found] == [("a", ""), ("b", "'"), ("c", "E"), ("d", '"')]
