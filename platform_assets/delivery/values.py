"""Messages of DuckDB without the values of rows, which receipts, logs and e-mails must not repeat."""

from __future__ import annotations

import re

_ABOUT_VALUES = re.compile(r"(Conversion|Out of Range|Invalid Input) Error: ")
_QUERY = "\n\nLINE "
_QUOTED = re.compile(r"""(["'])(?:.*)\1""", re.DOTALL)
_INPUT = re.compile(
    r"(Input: |with value |out of range: |on: )\S.*?(?= when casting| can't be |$)", re.DOTALL
)
_CALCULATION = re.compile(r"\([^()]*\)!|: '?[-\d].*$", re.DOTALL)
_WITHOUT_VALUES = ("More than one row returned by a subquery", "column ")
"""Beginnings of messages that repeat no value; the last is that of the renderers' own messages."""


def without_values(text: str) -> str:
    """Return a message of DuckDB without values of rows; messages of other kinds are returned as they are.

    The type, the column and the line of the query, which is the user's own, stay.

    Args:
        text: The message.
    """
    kind = _ABOUT_VALUES.search(text)
    if kind is None or text[kind.end() :].startswith(_WITHOUT_VALUES):
        return text
    message, line, query = text[kind.end() :].rpartition(_QUERY)
    if not line:
        message, query = query, ""
    if kind[1] == "Invalid Input":
        # Free text: what a function says of its argument.
        message = "a function does not take a value, which is not shown"
    else:
        message = _QUOTED.sub(r"\1...\1", message)
        message = _CALCULATION.sub(" ...", _INPUT.sub(r"\1...", message))
    return f"{text[: kind.end()]}{message}{line}{query}"
