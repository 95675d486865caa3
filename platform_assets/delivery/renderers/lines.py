"""Files that are made of one text per row: CSV, JSON and JSON lines; and cutting them into parts."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from platform_assets.delivery.interfaces import Bytes, Rows
from platform_assets.delivery.renderers.workshop import SqlColumn, Workshop

_MARKS = {
    "utf-8-sig": (codecs.BOM_UTF8, "utf-8"),
    "utf-16": (codecs.BOM_UTF16_LE, "utf-16-le"),
    "utf-32": (codecs.BOM_UTF32_LE, "utf-32-le"),
}


@dataclass(frozen=True)
class Cut:
    """Largest size of a part.

    Attributes:
        rows: Number of rows; None for no limit.
        size: Bytes; None for no limit. A part has at least one row.
    """

    rows: int | None = None
    size: int | None = None


WHOLE = Cut()
"""No limit: one part."""


@dataclass(frozen=True)
class LineFormat:
    """A format with one text per row.

    Attributes:
        sql: Returns SQL for the text of a row, with its line end, from the columns.
        suffix: Suffix of its files.
        content_type: Its media type.
        head: Returns the text before the first row, from the columns.
        foot: Text behind the last row.
        first: Number of bytes that are left out at the start of the first row: those that separate rows.
        encoding: The encoding.
        timezone: The time zone of times with a zone.
        refusal: Returns the message for a text that cannot be encoded: from the name of the rows, the
            columns, the row's number from 1, its text, and the error.
        cut: Largest size of a part.
    """

    sql: Callable[[Sequence[SqlColumn]], str]
    suffix: str
    content_type: str
    head: Callable[[Sequence[SqlColumn]], str] = lambda columns: ""
    foot: str = ""
    first: int = 0
    encoding: str = "utf-8"
    timezone: str = "UTC"
    refusal: Callable[[str, Sequence[SqlColumn], int, str, UnicodeEncodeError], Exception] | None = None
    cut: Cut = WHOLE

    def files(self, rows: Rows, workshop: Workshop) -> Iterator[Bytes]:
        """Render rows as one file, or as several parts, each read before the next is asked for.

        Raises:
            DeliveryError: A value cannot be rendered or encoded.
        """
        with workshop.relation(rows, self.timezone) as relation:
            mark, encoding = _MARKS.get(self.encoding, (b"", self.encoding))
            head = mark + self._head(rows, relation.columns, encoding)
            batches = relation.stream(self.sql(relation.columns))
            lines = (
                _utf8(batch.column(0))
                if encoding == "utf-8"
                else self._encoded(batch.column(0), rows, relation.columns, encoding, before)
                for before, batch in _numbered(batches)
            )
            parts = _Parts(lines, self.cut, head, self.foot.encode(encoding), self.first)
            is_cut = self.cut != WHOLE
            for number, part in enumerate(parts.parts(), 1):
                name = f"{rows.name}-{number:04d}" if is_cut else rows.name
                yield Bytes(
                    f"{name}{self.suffix}",
                    part.chunks(),
                    row_count=part.row_count,
                    content_type=self.content_type,
                )

    def _head(self, rows: Rows, columns: Sequence[SqlColumn], encoding: str) -> bytes:
        text = self.head(columns)
        try:
            return text.encode(encoding)
        except UnicodeEncodeError as error:
            raise self._refused(rows, columns, 0, text, error) from None

    def _encoded(
        self, texts: pa.Array, rows: Rows, columns: Sequence[SqlColumn], encoding: str, before: int
    ) -> _Lines:
        encoded = []
        for number, text in enumerate(texts.to_pylist(), before + 1):
            try:
                encoded.append(text.encode(encoding))
            except UnicodeEncodeError as error:
                raise self._refused(rows, columns, number, text, error) from None
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return _Lines(memoryview(b"".join(encoded)), ends)

    def _refused(
        self, rows: Rows, columns: Sequence[SqlColumn], number: int, text: str, error: UnicodeEncodeError
    ) -> Exception:
        return self.refusal(rows.name, columns, number, text, error) if self.refusal else error


@dataclass(frozen=True)
class _Lines:
    """Encoded lines of one batch.

    Attributes:
        data: All of them.
        ends: Where each starts in `data`, and where the last ends.
    """

    data: memoryview
    ends: np.ndarray[tuple[int], np.dtype[np.int64]]


def _numbered(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield batches with the number of rows before each."""
    before = 0
    for batch in batches:
        if batch.num_rows:
            yield before, batch
            before += batch.num_rows


def _utf8(texts: pa.Array) -> _Lines:
    """Return texts as they are in Arrow's memory."""
    if pa.types.is_string_view(texts.type):
        texts = texts.cast(pa.large_string())
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1]
    return _Lines(memoryview(data if data is not None else b""), ends.astype(np.int64, copy=False))


@dataclass
class _Part:
    """One part, which reads its lines from the stream that it shares with the others."""

    of: _Parts
    rows: int = 0
    is_read: bool = False

    def row_count(self) -> int | None:
        return self.rows if self.is_read else None

    def chunks(self) -> Iterator[bytes]:
        cut, parts = self.of.cut, self.of
        size = len(parts.head) + len(parts.foot)
        if parts.head:
            yield parts.head
        while parts.has_more():
            start, ends = parts.start, parts.lines.ends
            stop = len(ends) - 1
            skipped = parts.first if self.rows == 0 else 0
            if cut.rows is not None:
                stop = min(stop, start + cut.rows - self.rows)
            if cut.size is not None:
                room = ends[start] + skipped + cut.size - size
                stop = min(stop, int(np.searchsorted(ends, room, side="right")) - 1)
                if self.rows == 0:
                    stop = max(stop, start + 1)
            if stop <= start:
                break
            chunk = bytes(parts.lines.data[int(ends[start]) + skipped : int(ends[stop])])
            self.rows += stop - start
            size += len(chunk)
            parts.start = stop
            yield chunk
        if parts.foot:
            yield parts.foot
        self.is_read = True


@dataclass
class _Parts:
    """A stream of lines and how far it was read."""

    stream: Iterator[_Lines]
    cut: Cut
    head: bytes
    foot: bytes
    first: int
    lines: _Lines = field(default_factory=lambda: _Lines(memoryview(b""), np.zeros(1, np.int64)))
    start: int = 0

    def has_more(self) -> bool:
        while self.start >= len(self.lines.ends) - 1:
            following = next(self.stream, None)
            if following is None:
                return False
            self.lines, self.start = following, 0
        return True

    def parts(self) -> Iterator[_Part]:
        yield _Part(self)
        while self.has_more():
            yield _Part(self)
