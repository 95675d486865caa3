"""Rows of an uploaded file, in chunks, as the readers of all formats give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from platform_assets.errors import FeedError

ROWS_PER_CHUNK = 4_096
CHARACTERS_PER_CHUNK = 8 * 1024 * 1024


@dataclass(frozen=True)
class BadRow:
    """A rejected row.

    Attributes:
        line: The line where it starts, from 1.
        reason: The rules that it breaks, as `rule(column)`, without any of its values.
        values: Its values, as far as they could be parsed.
    """

    line: int
    reason: str
    values: Mapping[str, Any] | Sequence[str] = ()


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file.

    Attributes:
        lines: The line where each row starts, from 1.
        columns: The columns; text unless the format has types.
        bad: Lines among them that are not valid rows.
    """

    lines: Sequence[int]
    columns: Mapping[str, pa.Array]
    bad: Sequence[BadRow] = ()


@dataclass(frozen=True)
class RowFile:
    """An open file of rows.

    Attributes:
        names: Names of its columns in order; None if each row has its own, as in JSON.
        types: Types of its columns, if the format has them.
        chunks: Its rows.
    """

    names: Sequence[str] | None
    types: Mapping[str, pa.DataType] | None
    chunks: Iterator[Chunk]


class Unreadable(FeedError):
    """The file does not match its feed's format; none of its rows is loaded."""


class NoHeader(FeedError):
    """The file has no column names in the declared place."""


def text_chunk(lines: Sequence[int], columns: Mapping[str, list[Any]], bad: Sequence[BadRow]) -> Chunk:
    """A chunk of text columns; rows with invalid characters are bad."""
    try:
        return Chunk(lines, {name: pa.array(values, pa.string()) for name, values in columns.items()}, bad)
    except UnicodeEncodeError:
        wrong: dict[int, list[str]] = {}
        for name, values in columns.items():
            for index, value in enumerate(values):
                if value is not None and not _is_text(value):
                    wrong.setdefault(index, []).append(f"encoding({name})")
        right = [index for index in range(len(lines)) if index not in wrong]
        more = [
            BadRow(
                lines[index],
                "; ".join(reasons),
                {name: values[index] for name, values in columns.items()},
            )
            for index, reasons in wrong.items()
        ]
        kept = {name: [values[index] for index in right] for name, values in columns.items()}
        return text_chunk([lines[index] for index in right], kept, [*bad, *more])


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
