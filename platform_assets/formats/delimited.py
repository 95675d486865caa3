"""Delimited tables: CSV, TSV and similar, with detection of dialect and header.

A file is split at row ends into blocks, which Arrow parses. A row with a different number of fields is parsed
separately, and rows that cannot be parsed are inspected as text.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.csv

from platform_assets.formats.headers import is_header
from platform_assets.formats.problems import ProblemKind
from platform_assets.formats.reading import (
    ColumnsPiece,
    Item,
    Reading,
    Stream,
    TextPiece,
    Unit,
    sampled,
)
from platform_assets.formats.text import Decoder, Encoding, read_rest_as_text

_DELIMITERS = ",;\t|"
_ROWS_LOOKED_AT = 200
_LONGEST_TITLE = 10


@dataclass(frozen=True)
class DetectedDialect:
    """The dialect of a table.

    Args:
        delimiter: The field separator.
        columns: Names of the columns; generated if there is no header.
        header_rows: Number of rows up to and including the header; 0 if there is none.
    """

    delimiter: str
    columns: tuple[str, ...]
    header_rows: int


def detect_dialect(
    head: str, *, is_whole: bool, is_named: bool, column_words: Set[str] = frozenset()
) -> DetectedDialect | None:
    """Detect the dialect of a table from its start.

    Args:
        head: Its start.
        is_whole: True if `head` is the whole table; otherwise the last line may be cut.
        is_named: True if the file's name says that it is a table. Otherwise the content must be very clear.
        column_words: Words that are typical of column names, beside common ones.

    Returns:
        The dialect, or None if the text is not a table.
    """
    lines = head.splitlines(keepends=True)
    if not is_whole and len(lines) > 1:
        lines = lines[:-1]
    lines = lines[:_ROWS_LOOKED_AT]
    best: tuple[float, int, str, list[list[str]]] | None = None
    for delimiter in _DELIMITERS:
        rows = _parsed(lines, delimiter)
        if not rows:
            continue
        counts = Counter(len(row) for row in rows)
        width, frequency = max(counts.items(), key=lambda count: (count[1], count[0]))
        if width >= 2:
            share = frequency / len(rows)
            if best is None or (share, width) > best[:2]:
                best = (share, width, delimiter, rows)
    if best is None or best[0] < (0.5 if is_named else 0.95) or (not is_named and len(best[3]) < 3):
        if not is_named or not lines:
            return None
        rows = _parsed(lines, "\0") or [[line.rstrip("\r\n")] for line in lines]
        best = (1.0, 1, ",", rows)
    _, width, delimiter, rows = best
    if not is_named and not _looks_tabular(rows):
        return None
    # A title or a date may precede the table.
    at = next((place for place, row in enumerate(rows[:_LONGEST_TITLE]) if len(row) == width), 0)
    for place in (at, at - 1):
        named = _fitted(rows[place], rows[place + 1 :], width) if place >= 0 else None
        if named is not None and is_header(named, rows[place + 1 :], column_words):
            return DetectedDialect(delimiter, tuple(unique_names(named)), place + 1)
    return DetectedDialect(delimiter, tuple(unique_names([""] * width)), 0)


def _fitted(row: Sequence[str], below: Sequence[Sequence[str]], width: int) -> list[str] | None:
    """A row with a name for each column; None if it has too few or too many.

    Data rows may end with a delimiter that the header lacks, or begin with a name that has no column in the
    header.
    """
    if len(row) == width:
        return list(row)
    if len(row) != width - 1 or len(row) < 2:
        return None
    ends = all(not values[-1].strip() for values in below if len(values) == width)
    return [*row, ""] if ends else ["", *row]


def _parsed(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error:
        return []


def _looks_tabular(rows: Sequence[Sequence[str]]) -> bool:
    """Return True if fields are short, as in tables, unlike prose with a comma in each line."""
    # A header may contain sentences, such as the questions of a survey.
    fields = [field for row in rows[1:] or rows for field in row]
    return sum(field.count(" ") > 6 for field in fields) * 10 <= len(fields)


def unique_names(names: Iterable[str]) -> list[str]:
    """Unique names: duplicates and empty names get a number."""
    taken: dict[str, None] = {}
    for place, given in enumerate(names, 1):
        name = given.strip() or f"column_{place}"
        number = 1
        while name in taken:
            number += 1
            name = f"{given.strip() or 'column'}_{number}"
        taken[name] = None
    return list(taken)


def read_delimited(
    stream: Stream, reading: Reading, encoding: Encoding, dialect: DetectedDialect
) -> Iterator[Item]:
    """Read a table in blocks of rows."""
    decoders: list[Decoder] = []
    rests: list[Iterator[bytes]] = []

    def units() -> Iterator[Unit]:
        stream.read(encoding.mark)
        decoder = Decoder(encoding)
        decoders[:], rests[:] = [decoder], []
        blocks = _blocks(decoder.utf8(stream.chunks()), reading.limits.block, rests)
        first_row = 0
        for number, block in enumerate(blocks):
            header, body = b"", block
            if number == 0 and dialect.header_rows:
                header, body = _split_header(block, dialect.header_rows)
            rows = _Rows(body, dialect, reading, first_row)
            yield Unit(lambda rows=rows, header=header: rows.items(header), rows.count())  # type: ignore[misc]
            first_row += rows.count()

    yield from sampled(units, stream, reading)
    if rests:
        yield reading.problem(
            ProblemKind.TOO_LARGE,
            f"a row is longer than {reading.limits.block:,} bytes; the rest was read as text",
        )
        yield from read_rest_as_text(rests[0], reading)
    yield from decoders[0].problems(reading)


def _blocks(chunks: Iterator[bytes], size: int, rests: list[Iterator[bytes]]) -> Iterator[bytes]:
    """Split at row ends; the text after a row longer than a block goes to `rests`."""
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        if len(buffer) < size:
            continue
        end = _end_of_rows(buffer)
        if end:
            yield bytes(buffer[:end])
            del buffer[:end]
        elif len(buffer) >= 2 * size:
            rests.append(chain([bytes(buffer)], chunks))
            return
    if buffer:
        yield bytes(buffer)


def _end_of_rows(buffer: bytearray) -> int:
    """The end of the last complete row: a line end with an even number of quotation marks before it."""
    last = end = max(buffer.rfind(b"\n"), buffer.rfind(b"\r", 0, len(buffer) - 1)) + 1
    quotes = buffer.count(b'"', 0, end)
    for _ in range(64):
        if quotes % 2 == 0:
            return end
        mark = buffer.rfind(b'"', 0, end)
        end = buffer.rfind(b"\n", 0, mark) + 1
        quotes -= buffer.count(b'"', end, mark + 1)
    # Probably a stray quotation mark and not a quoted field: split at the line end.
    return last


def _split_header(block: bytes, rows: int) -> tuple[bytes, bytes]:
    end = 0
    for line in block.splitlines(keepends=True):
        end += len(line)
        if line.strip(b"\r\n") and block.count(b'"', 0, end) % 2 == 0:
            rows -= 1
            if not rows:
                break
    return block[:end], block[end:]


class _Rows:
    """The rows of one block, parsed at first use."""

    def __init__(self, block: bytes, dialect: DetectedDialect, reading: Reading, first_row: int) -> None:
        self._block = block
        self._dialect = dialect
        self._reading = reading
        self._first_row = first_row
        self._table: pa.Table | None = None
        self._odd: list[tuple[int, str]] = []
        self._is_parsed = False

    def count(self) -> int:
        self._parse()
        return 0 if self._table is None else self._table.num_rows + len(self._odd)

    def items(self, header: bytes) -> Iterator[Item]:
        container = self._reading.container
        if header:
            yield TextPiece(header, container)
        self._parse()
        if self._table is None:
            if self._block:
                yield from read_rest_as_text([self._block], self._reading)
            return
        table = self._table
        rows: list[int] | None = None
        if self._odd:
            odd = {number for number, _ in self._odd}
            rows = [self._first_row + at for at in range(self.count()) if at not in odd]
        if table.num_rows:
            columns = {name: table.column(name).combine_chunks() for name in table.column_names}
            yield ColumnsPiece(columns, self._first_row, container, rows)
        if self._odd:
            yield from self._odd_rows()

    def _odd_rows(self) -> Iterator[Item]:
        parsed: list[tuple[int, list[str]]] = []
        texts = []
        for number, text in self._odd:
            fields = _parsed([text], self._dialect.delimiter)
            if len(fields) == 1:
                parsed.append((self._first_row + number, fields[0]))
            else:
                texts.append(text)
        if parsed:
            width = max(len(fields) for _, fields in parsed)
            if width > 4 * len(self._dialect.columns) + 64:
                texts += [text for _, text in self._odd]
                parsed = []
        if parsed:
            names = unique_names(
                [*self._dialect.columns, *[""] * (width - len(self._dialect.columns))][: max(width, 1)]
            )
            columns = {
                name: pa.array(
                    [fields[at] if at < len(fields) else None for _, fields in parsed], pa.large_string()
                )
                for at, name in enumerate(names)
            }
            yield ColumnsPiece(columns, 0, self._reading.container, [number for number, _ in parsed])
        if texts:
            yield from read_rest_as_text([text.encode() + b"\n" for text in texts], self._reading)

    def _parse(self) -> None:
        if self._is_parsed:
            return
        self._is_parsed = True
        if not self._block.strip():
            return
        odd: list[tuple[int | None, str]] = []

        def put_aside(row: Any) -> str:
            odd.append((row.number, row.text))
            return "skip"

        names = self._dialect.columns
        try:
            self._table = pyarrow.csv.read_csv(
                pa.BufferReader(self._block),
                pyarrow.csv.ReadOptions(
                    column_names=names, use_threads=False, block_size=len(self._block) + 1
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=self._dialect.delimiter, newlines_in_values=True, invalid_row_handler=put_aside
                ),
                pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.large_string()),
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            self._table = None
            return
        # Rows are numbered from 1.
        self._odd = [(number - 1, text) for number, text in odd if number is not None]
