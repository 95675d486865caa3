"""Secrets in SQL: the values of columns named after secrets, in INSERT and in PostgreSQL's COPY.

Passwords of users (`IDENTIFIED BY`) are found in `secrets`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from platform_assets.dlp.local.scanners.pairs import mentions_secrets, paired_secret
from platform_assets.dlp.local.scanners.text import (
    ENTROPY,
    HOTWORD,
    InfoTypeScanner,
    Match,
    ScannedText,
    spans,
)

# Up to the names of the columns.
_HEAD = rb"(?i)\b(?:insert\s+(?:ignore\s+|overwrite\s+)?into|replace\s+into|copy)\s+[^\s(;'][^(;'\n]{0,120}\("
_BEFORE_ROWS = re.compile(
    rb"(?i)(?P<columns>[^()]{1,4000})\)\s*"
    rb"(?:(?:output\s[^\n;(]{1,80}\s)?values\s*\(|from\s+stdin\b[^\n;]{0,80};\r?(?P<copy>\n))"
)
# Nothing is read twice: a long text that is no row would otherwise take for ever.
_LITERAL = re.compile(
    rb"\s*+(?:[NEXB]?'(?P<text>(?:[^'\\]|\\.|'')*+)'|\"(?P<double>[^\"\n]*+)\""
    rb"|[^,()'\"]*+(?:\([^()]*+\))?[^,()'\"]*+)(?:::[\w ]++)?\s*+(?P<end>[,)])"
)
_NEXT_ROW = re.compile(rb"\s*,\s*\(")
_SIGNS_OF_NAMES = ' \t\r\n"`[]'


def _look_at_statements(text: ScannedText, found: list[Match]) -> None:
    for _, end in spans(_HEAD, text.data):
        before = _BEFORE_ROWS.match(text.data, end)
        if before is None:
            continue
        columns = before["columns"].decode("utf-8", "replace").split(",")
        named = {
            place: name.strip(_SIGNS_OF_NAMES) for place, name in enumerate(columns) if mentions_secrets(name)
        }
        if named and before["copy"] is not None:
            _look_at_lines(text, found, before.end(), named)
        elif named:
            _look_at_rows(text, found, before.end(), named)


def _look_at_rows(text: ScannedText, found: list[Match], start: int, named: dict[int, str]) -> None:
    """Find the secrets among the rows behind VALUES."""
    data, at = text.data, start
    while True:
        place, end = 0, b","
        while end == b",":
            literal = _LITERAL.match(data, at)
            if literal is None:
                return
            kind = "text" if literal["text"] is not None else "double"
            if place in named and literal[kind] is not None:
                _add(text, found, named[place], *literal.span(kind))
            at, end = literal.end(), literal["end"]
            place += 1
        another = _NEXT_ROW.match(data, at)
        if another is None:
            return
        at = another.end()


def _look_at_lines(text: ScannedText, found: list[Match], start: int, named: dict[int, str]) -> None:
    """Find the secrets among the lines of COPY, whose values are separated by tabs."""
    data, at, last = text.data, start, max(named)
    while at < len(data) and data[at : at + 2] != b"\\.":
        stop = data.find(b"\n", at)
        stop = len(data) if stop < 0 else stop
        first = at
        for place, value in enumerate(data[at:stop].split(b"\t", last + 1)):
            if place in named and value != b"\\N":
                _add(text, found, named[place], first, first + len(value))
            first += len(value) + 1
        at = stop + 1


def _add(text: ScannedText, found: list[Match], name: str, start: int, end: int) -> None:
    judged = paired_secret(name, text.data[start:end].decode("utf-8", "replace"), dummies=text.dummies)
    if judged is not None and judged[0] in text.names and judged[1] >= text.floor:
        found.append(Match(start, end, *judged, ENTROPY | HOTWORD, 0))


def scanners() -> Iterator[InfoTypeScanner]:
    """Yield the scanner of this module."""
    needs = (b"NTO ", b"nsert into", b"FROM stdin")
    yield InfoTypeScanner(frozenset({"PASSWORD", "AUTH_TOKEN"}), needs, _look_at_statements)
