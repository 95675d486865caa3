"""Literals that are looked for in one pass: the same are found as by Python's own search."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from platform_assets.dlp.local.regex import literal_finder
from platform_assets.dlp.local.scanner import Scanner
from platform_assets_tests.fixtures.properties import examples

PIECES = st.sampled_from(
    [b"a", b"b", b"ab", b".", b"*", b"(", b"\\", b"\n", b"\0", b"\xff", b"\xc3\xa4", b"|"]
)
TEXTS = st.lists(PIECES, max_size=12).map(b"".join)


@settings(max_examples=examples(100), deadline=None)
@given(st.sets(TEXTS.filter(bool), min_size=1, max_size=8), TEXTS)
@example({b"machine ", b'" * "', b"@"}, b"machine x\xff @")
@example({b"ab"}, b"")
def test_the_literals_of_a_text_are_found(literals: set[bytes], text: bytes) -> None:
    found = literal_finder(sorted(literals))(text)
    assert sorted(found) == sorted(one for one in literals if one in text)


def test_a_scanner_that_needs_no_literal_and_one_without_types_scan() -> None:
    text = b"SWIFT: DEUTDEFF500"
    assert [one.name for one in Scanner(frozenset({"SWIFT_CODE"}), 2).scan(text)] == ["SWIFT_CODE"]
    assert Scanner(frozenset(), 2).scan(text) == []
