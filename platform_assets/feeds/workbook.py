"""Sheets of workbooks as chunks of columns; each row has its number in the sheet."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platform_assets.feeds.feed import Feed
from platform_assets.feeds.rows import (
    CHARACTERS_PER_CHUNK,
    ROWS_PER_CHUNK,
    BadRow,
    Chunk,
    NoHeader,
    RowFile,
    Unreadable,
    text_chunk,
)
from platform_assets.formats.sheets import SheetUnreadable, read_sheet

BYTES_OF_A_WORKBOOK = 512 * 1024 * 1024
"""The maximum size of a workbook, in bytes."""

_SECONDS = 900

_Row = tuple[int, "list[Any] | str"]


@contextmanager
def sheet_rows(feed: Feed, path: Path) -> Iterator[RowFile]:
    """Read the sheet of a workbook that a feed names.

    Args:
        feed: The feed, with the sheet and the header row.
        path: The workbook.

    Raises:
        Unreadable: The file is not a workbook, is encrypted or truncated, or exceeds a limit; also raised
            between chunks.
        NoHeader: The sheet does not exist, or its header is missing or invalid.
    """
    memory = feed.sheet.memory_mb * 1024**2
    with path.open("rb") as file, read_sheet(file, feed.sheet.name, memory=memory, seconds=_SECONDS) as read:
        rows = _rows(feed, read)
        names = _header(feed, rows)
        yield RowFile([name for name in names if name], None, _chunks(feed, names, rows))


def _rows(feed: Feed, read: Iterator[_Row]) -> Iterator[_Row]:
    """The rows from the header on, or from the first row on if there is no header."""
    try:
        for number, cells in read:
            if number >= feed.sheet.header_row:
                yield number, cells
    except SheetUnreadable as error:
        raise _problem(feed, error) from None


def _problem(feed: Feed, error: SheetUnreadable) -> Exception:
    memory = f"it needs more memory than sheet.memory_mb, {feed.sheet.memory_mb:,} MB"
    match error.problem:
        case "sheet":
            return NoHeader(f"none of its {error.sheets:,} sheets is {feed.sheet.name!r}")
        case "password":
            return Unreadable("it is protected by a password")
        case "memory":
            return Unreadable(memory)
        case "killed":
            return Unreadable(
                f"its reader ended with {error.code}: {memory}, it took more than {_SECONDS:,} seconds, or "
                "it is damaged"
            )
        case "garbled":
            return Unreadable("its reader's answer was not understood")
        case _:
            return Unreadable("it is not a workbook, or it is truncated or damaged")


def _header(feed: Feed, rows: Iterator[_Row]) -> list[str]:
    """The column names by their position in the sheet; empty if there is no header."""
    header = feed.sheet.header_row
    if not header:
        return [column.name for column in feed.columns]
    first = next(rows, None)
    if first is None:
        raise Unreadable(f"its sheet has no header: it is empty from row {header:,} on")
    number, cells = first
    if number != header or isinstance(cells, str):
        raise NoHeader(f"its row {header:,} is not a header")
    try:
        "".join(names := [(_text(cell) or "").strip() for cell in cells]).encode()
    except UnicodeEncodeError:
        raise Unreadable("its header is not text") from None
    if not any(names):
        raise NoHeader(f"its row {header:,} is not a header")
    return names


def _chunks(feed: Feed, names: Sequence[str], rows: Iterator[_Row]) -> Iterator[Chunk]:
    nulls = frozenset(feed.dialect.nulls)
    places = [place for place, name in enumerate(names) if name]
    formats = [feed.formats.get(names[place]) for place in places]
    starts: list[int] = []
    kept: list[list[str | None]] = []
    bad: list[BadRow] = []
    characters = 0

    def chunk() -> Chunk:
        columns = zip(*kept, strict=True) if kept else ((),) * len(places)
        given = {names[place]: list(column) for place, column in zip(places, columns, strict=True)}
        return text_chunk(starts, given, bad)

    for number, cells in rows:
        if isinstance(cells, str):
            bad.append(BadRow(number, cells))
            continue
        nameless = next(
            (
                place
                for place, cell in enumerate(cells)
                if cell is not None and (place >= len(names) or not names[place])
            ),
            None,
        )
        if nameless is not None:
            reason = f"header(none above column {_letters(nameless)})"
            bad.append(BadRow(number, reason, [_text(cell) or "" for cell in cells]))
        else:
            values = [
                _text(cells[place], written) if place < len(cells) else None
                for place, written in zip(places, formats, strict=True)
            ]
            kept.append([None if value in nulls else value for value in values])
            starts.append(number)
        characters += sum(map(len, filter(None, cells)))
        if len(starts) + len(bad) >= ROWS_PER_CHUNK or characters >= CHARACTERS_PER_CHUNK:
            yield chunk()
            starts, kept, bad, characters = [], [], [], 0
    yield chunk()


def _text(cell: Any, written: str | None = None) -> str | None:
    """A cell as text; a date in the format of its column, if that format preserves it."""
    if not isinstance(cell, list):
        return None if cell is None else str(cell)
    text = str(cell[0])
    if written is not None:
        at = dt.datetime.fromisoformat(text)
        with contextlib.suppress(ValueError):
            # Dates have no time zone, neither in sheets nor in such text.
            if dt.datetime.strptime(as_written := at.strftime(written), written) == at:  # noqa: DTZ007
                return as_written
    return text


def _letters(place: int) -> str:
    """The letters of a sheet's column, from its position, counted from 0."""
    letters, rest = "", place + 1
    while rest:
        rest, letter = divmod(rest - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters
