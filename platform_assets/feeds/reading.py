"""Files as chunks of columns: each row with its line number, and bad lines with the reason.

Memory is bounded by the chunk size and by the longest accepted line. This module knows no declared types: the
values of a text file are text.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

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
from platform_assets.objects.bucket import Readable

_LONGEST_LINE = 16 * 1024 * 1024
_LONGEST_FIELD = 1024 * 1024
_MOST_COLUMNS = 4_000
_BYTES_PER_READ = 1024 * 1024
_JSON_BLANKS = " \t\n\r"


@contextmanager
def read_rows(
    feed: Feed, key: str, opened: AbstractContextManager[Readable], scratch: Path
) -> Iterator[RowFile]:
    """Read a file as its feed declares.

    Args:
        feed: The feed, with the format.
        key: The object's key.
        opened: Opens its bytes.
        scratch: A folder for formats that need random access.

    Raises:
        Unreadable: The file does not have that format, or is truncated; also raised between chunks.
        NoHeader: Its header is missing or invalid.
        ObjectsError: The object cannot be read.
    """
    with opened as source:
        stream: IO[bytes] = io.BufferedReader(_Raw(source), _BYTES_PER_READ)
        if key.lower().endswith(".gz"):
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
        if feed.format == "parquet":
            with _explained(feed):
                path = _copied(stream, scratch / "object.parquet")
            with _parquet(path) as found:
                yield found
            return
        if feed.format == "excel":
            from platform_assets.feeds.workbook import BYTES_OF_A_WORKBOOK, sheet_rows

            with _explained(feed):
                path = _copied(stream, scratch / "workbook", BYTES_OF_A_WORKBOOK)
            with sheet_rows(feed, path) as found:
                yield found
            path.unlink()
            return
        # Bytes that are not text make their row bad, not the whole file.
        encoding = "utf-8-sig" if feed.encoding.lower() in ("utf-8", "utf8", "utf_8") else feed.encoding
        newline = "" if feed.format == "csv" else "\n"
        text = io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline=newline)
        lines = _Lines(text)
        with _explained(feed):
            found = _csv(feed, lines) if feed.format == "csv" else RowFile(None, None, _json(feed, lines))
        yield RowFile(found.names, found.types, _checked(feed, found.chunks))


class _Raw(io.RawIOBase):
    """An object's stream as a raw stream of the standard library."""

    def __init__(self, source: Readable) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = self._source.read(len(buffer))
        buffer[: len(read)] = read
        return len(read)


class _LongLine(ValueError):
    """A line is longer than the limit."""


class _Lines:
    """The lines of a text, counted, with a limit to their length."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.number = 0
        self.characters = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(_LONGEST_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        self.characters += len(line)
        if len(line) < _LONGEST_LINE or line[-1] in "\r\n":
            return line
        while line and line[-1] not in "\r\n":
            line = self._text.readline(_LONGEST_LINE)
        raise _LongLine

    def read(self, size: int) -> str:
        """Some characters, regardless of lines."""
        return self._text.read(size)


@contextmanager
def _explained(feed: Feed) -> Iterator[None]:
    try:
        yield
    except UnicodeError as error:
        raise Unreadable(f"it is not text in {feed.encoding}: {error.reason}") from None  # type: ignore[attr-defined]
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise Unreadable("it is not a gzip file, or it is truncated") from None


def _checked(feed: Feed, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    with _explained(feed):
        yield from chunks


def _csv(feed: Feed, lines: _Lines) -> RowFile:
    dialect = feed.dialect
    # Python has one field size limit for all readers, which is lower; a field opened by a stray quote ends at
    # the limit of a line.
    csv.field_size_limit(_LONGEST_FIELD)
    for _ in range(dialect.skip):
        next(lines, None)
    reader = csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        escapechar=dialect.escape,
        doublequote=dialect.escape is None,
        quoting=csv.QUOTE_MINIMAL if dialect.quote is not None else csv.QUOTE_NONE,
        strict=True,
    )
    names = [column.name for column in feed.columns]
    if dialect.header:
        try:
            names = [name.strip() for name in next((row for row in reader if row), [])]
        except (csv.Error, _LongLine):
            raise NoHeader("its first line is not a header") from None
        if not names:
            raise Unreadable("it is empty: it has no header")
        try:
            "".join(names).encode()
        except UnicodeEncodeError:
            raise Unreadable(f"its header is not text in {feed.encoding}") from None
    return RowFile(names, None, _csv_chunks(feed, names, reader, lines))


def _csv_chunks(
    feed: Feed, names: Sequence[str], reader: Iterator[list[str]], lines: _Lines
) -> Iterator[Chunk]:
    width = len(names)
    nulls = dict.fromkeys(feed.dialect.nulls)
    starts: list[int] = []
    rows: list[list[str]] = []
    bad: list[BadRow] = []
    at_end = False
    until = lines.characters + CHARACTERS_PER_CHUNK
    while not at_end:
        start = lines.number + 1
        try:
            row = next(reader)
            if len(row) == width:
                starts.append(start)
                rows.append(row)
            elif row:
                bad.append(BadRow(start, f"fields({len(row)} instead of {width})", row))
        except StopIteration:
            at_end = True
        except csv.Error as error:
            bad.append(BadRow(start, _csv_reason(error)))
        except _LongLine:
            bad.append(BadRow(start, "length(line)"))
        if at_end or len(rows) + len(bad) >= ROWS_PER_CHUNK or lines.characters >= until:
            columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in names]
            values = [
                [None if value in nulls else value for value in column] if nulls else column
                for column in columns
            ]
            yield text_chunk(starts, dict(zip(names, values, strict=True)), bad)
            starts, rows, bad = [], [], []
            until = lines.characters + CHARACTERS_PER_CHUNK


def _csv_reason(error: csv.Error) -> str:
    """The rule that a line breaks, from the parser's message."""
    message = str(error)
    if "field larger" in message:
        return "length(field)"
    return "quote(not closed)" if "unexpected end" in message else "quote(in the middle of a field)"


def _json(feed: Feed, lines: _Lines) -> Iterator[Chunk]:
    """Rows of JSON objects: one per line, or the elements of one array."""
    elements = _json_lines(lines) if feed.format == "jsonl" else _json_elements(lines)
    starts: list[int] = []
    columns: dict[str, list[str | None]] = {}
    bad: list[BadRow] = []
    characters = 0
    for line, text in elements:
        row = _json_row(text)
        if isinstance(row, str):
            bad.append(BadRow(line, row))
        else:
            for name, value in row.items():
                values = columns.setdefault(name, [])
                if len(values) < len(starts):
                    values.extend([None] * (len(starts) - len(values)))
                values.append(value)
            starts.append(line)
            if len(columns) > _MOST_COLUMNS:
                raise Unreadable(f"its rows have more than {_MOST_COLUMNS:,} different names in them")
        characters += len(text or "")
        if len(starts) + len(bad) >= ROWS_PER_CHUNK or characters >= CHARACTERS_PER_CHUNK:
            yield text_chunk(starts, _padded(columns, len(starts)), bad)
            starts, columns, bad, characters = [], {}, [], 0
    yield text_chunk(starts, _padded(columns, len(starts)), bad)


def _padded(columns: Mapping[str, list[str | None]], rows: int) -> dict[str, list[str | None]]:
    return {name: [*values, *[None] * (rows - len(values))] for name, values in columns.items()}


def _json_lines(lines: _Lines) -> Iterator[tuple[int, str | None]]:
    while True:
        try:
            line = next(lines)
        except StopIteration:
            return
        except _LongLine:
            yield lines.number, None
            continue
        if not line.isspace():
            yield lines.number, line


def _json_row(text: str | None) -> dict[str, str | None] | str:
    """An object's members as text, or the rule that it breaks. Numbers keep their original spelling."""
    if text is None:
        return "length(line)"
    try:
        row = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
        if not isinstance(row, dict):
            return "json(no object)"
        "".join(row).encode()
        if any(isinstance(value, dict | list) for value in row.values()):
            whole = json.loads(text, parse_int=_Digits)
            row = {name: _nested(whole[name], value) for name, value in row.items()}
    except (ValueError, RecursionError) as error:
        return "encoding" if isinstance(error, UnicodeError) else "json(not valid)"
    return {
        name: ("true" if value else "false") if isinstance(value, bool) else value
        for name, value in row.items()
    }


class _Digits(int):
    """An integer of any length; Python limits conversions to some thousand digits."""

    def __new__(cls, text: str) -> _Digits:
        if len(text) > 4_000:
            raise ValueError("too many digits")
        return super().__new__(cls, text)


def _nested(whole: Any, value: Any) -> Any:
    return json.dumps(whole, ensure_ascii=False) if isinstance(value, dict | list) else value


def _json_elements(lines: _Lines) -> Iterator[tuple[int, str | None]]:
    """The elements of an array with the lines where they start, read piece by piece."""
    decoder = json.JSONDecoder(parse_int=str)
    window = _Window(lines)
    if window.next_character() != "[":
        raise Unreadable("it is not an array of objects; for one object per line use the format jsonl")
    window.take(1)
    is_first = True
    while (character := window.next_character()) != "]":
        if not is_first:
            if character != ",":
                raise Unreadable(f"it is not valid JSON in line {window.line:,}, or ends there")
            window.take(1)
            window.next_character()
        is_first = False
        yield window.line, window.element(decoder)
    window.take(1)
    if window.next_character():
        raise Unreadable(f"it has further content after its array, in line {window.line:,}")


class _Window:
    """The part of a text that is held in memory."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines
        self._text = ""
        self._at = 0
        self.line = 1

    def next_character(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            while self._at < len(self._text):
                character = self._text[self._at]
                if character not in _JSON_BLANKS:
                    return character
                self.take(1)
            if not self._more(_BYTES_PER_READ):
                return ""

    def take(self, characters: int) -> str:
        """Skip some characters."""
        taken = self._text[self._at : self._at + characters]
        self._at += characters
        self.line += taken.count("\n")
        return taken

    def element(self, decoder: json.JSONDecoder) -> str:
        """The text of the next value."""
        size = _BYTES_PER_READ
        while True:
            try:
                _, end = decoder.raw_decode(self._text, self._at)
                # A number may continue in text that is not read yet.
                if end < len(self._text):
                    return self.take(end - self._at)
            except RecursionError:
                raise Unreadable(f"its array is nested too deeply, in line {self.line:,}") from None
            except ValueError:
                if len(self._text) - self._at > 4 * _LONGEST_LINE:
                    raise Unreadable(f"an element is too long or not valid, in line {self.line:,}") from None
            if not self._more(size):
                raise Unreadable(f"it is not valid JSON in line {self.line:,}, or ends there")
            size *= 2

    def _more(self, size: int) -> bool:
        read = self._lines.read(size)
        self._text = self._text[self._at :] + read
        self._at = 0
        return bool(read)


def _copied(stream: IO[bytes], path: Path, most: int | None = None) -> Path:
    with path.open("wb") as file:
        while piece := stream.read(_BYTES_PER_READ):
            file.write(piece)
            if most is not None and file.tell() > most:
                raise Unreadable(f"it is larger than {most // 1024**2:,} MB, the limit for workbooks")
    return path


@contextmanager
def _parquet(path: Path) -> Iterator[RowFile]:
    import pyarrow.parquet as pq

    try:
        with _refused("its footer cannot be read"):
            found = pq.ParquetFile(path)
            schema = found.schema_arrow
        with found:
            types = dict(zip(schema.names, schema.types, strict=True))
            yield RowFile(schema.names, types, _parquet_chunks(found.iter_batches))
    finally:
        path.unlink()


def _parquet_chunks(batches: Callable[[int], Iterator[pa.RecordBatch]]) -> Iterator[Chunk]:
    number = 1
    with _refused("its rows cannot be read"):
        for batch in batches(ROWS_PER_CHUNK):
            columns = {
                name: column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
                for name, column in zip(batch.schema.names, batch.columns, strict=True)
            }
            yield Chunk(range(number, number + batch.num_rows), columns)
            number += batch.num_rows


@contextmanager
def _refused(what: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise Unreadable(f"it is not a Parquet file that can be read: {what} ({first})") from None
