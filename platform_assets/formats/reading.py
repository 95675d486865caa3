"""Shared by all formats: the pieces for an inspector, the limits, and the stream to read.

A format is a function of a `Stream` and a `Reading` that yields items. It raises no errors about the stream's
content: bad input becomes a `Problem`, and the rest is still read, if necessary as plain strings.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import BinaryIO, TypeAlias

import pyarrow as pa

from platform_assets.formats.isolation import is_about_content, kind_of_error
from platform_assets.formats.problems import Problem, ProblemKind

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
HEAD = 64 * KIB
"""Number of bytes used to detect a file's format, encoding and dialect."""

_CHUNK = 256 * KIB


@dataclass(frozen=True)
class TextPiece:
    """A window of text.

    Windows of one text overlap, so that no value is cut in two: each window reports what starts in its own
    range.

    Args:
        text: The text in UTF-8.
        container: Names of nested files and of sheets, from the outside in; empty for the object.
        byte_offset: Start of the window in the UTF-8 bytes of the whole text, which are the file's own bytes
            if it is in UTF-8; None if the piece stands alone, such as a name or a page.
        codepoint_offset: The same in code points.
        own: Range of `text`, in bytes, that this window reports; None means all of it.
        is_content: True for the file's content, False for the strings of a file that was not understood.
    """

    text: bytes
    container: tuple[str, ...] = ()
    byte_offset: int | None = None
    codepoint_offset: int = 0
    own: tuple[int, int] | None = None
    is_content: bool = True


@dataclass(frozen=True)
class NamePiece:
    """A name that is part of the data: of the object, of a file in an archive, or of a sheet."""

    text: bytes
    container: tuple[str, ...] = ()


class Cells:
    """A column with few texts; documents have thousands of them, and an array of each would cost more.

    Args:
        texts: The texts that are not null, all of them valid.
        places: The row of each, ascending, counted from 0.
        length: Number of rows.
    """

    __slots__ = ("length", "places", "texts")

    def __init__(self, texts: Sequence[str], places: Sequence[int], length: int) -> None:
        self.texts = texts
        self.places = places
        self.length = length

    def __len__(self) -> int:
        return self.length

    def to_pylist(self) -> list[str | None]:
        """A text or None for each row."""
        values: list[str | None] = [None] * self.length
        for at, text in zip(self.places, self.texts, strict=True):
            values[at] = text
        return values

    def array(self) -> pa.Array:
        """The same as an array."""
        if not self.texts:
            return pa.nulls(self.length, pa.large_string())
        return pa.array(self.to_pylist(), pa.large_string())


def cells_of_texts(texts: Sequence[str | None]) -> Cells:
    """A text or None for each row, as cells."""
    held = [text for text in texts if text is not None]
    if len(held) == len(texts):
        return Cells(held, range(len(held)), len(held))
    return Cells(held, [at for at, text in enumerate(texts) if text is not None], len(texts))


def texts_array(texts: Sequence[str | None]) -> pa.Array:
    """Texts as an array; half of a surrogate pair, which JSON may escape, becomes a question mark."""
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        whole = [None if text is None else text.encode(errors="replace").decode() for text in texts]
        return pa.array(whole, pa.large_string())


def is_text(text: str) -> bool:
    """Return True unless a text has half of a surrogate pair, which JSON may escape."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def cleaned(texts: Sequence[str]) -> Sequence[str]:
    """Texts with question marks in place of halves of surrogate pairs."""
    return [text.encode(errors="replace").decode() for text in texts]


@dataclass(frozen=True)
class ColumnsPiece:
    """Rows of a table.

    Args:
        columns: Texts by name of the column, all of one length; null if a row has no value. All are arrays,
            or all are cells.
        first_row: Number of the first row in its table, counted from 0 after the header.
        container: As in `TextPiece`.
        rows: Number of each row, if they are not consecutive: in ragged files and lists.
        is_new: True if the rows count; False if these are further columns of earlier rows.
    """

    columns: Mapping[str, pa.Array | Cells]
    first_row: int = 0
    container: tuple[str, ...] = ()
    rows: Sequence[int] | None = None
    is_new: bool = True

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return max((len(column) for column in self.columns.values()), default=0)


@dataclass(frozen=True)
class Skipped:
    """The amount left out by sampling.

    Args:
        container: As in `TextPiece`.
        rows: Rows left out, if the units belong to a table.
        units: Row groups, stripes, blocks or windows left out.
        units_total: Total number of units.
    """

    container: tuple[str, ...]
    rows: int
    units: int
    units_total: int


@dataclass(frozen=True)
class Part:
    """The start of a file, sheet or stream within the object, or of the object itself."""

    container: tuple[str, ...]


Item: TypeAlias = TextPiece | NamePiece | ColumnsPiece | Problem | Skipped | Part


@dataclass(frozen=True)
class Limits:
    """Limits that hold for objects of any size.

    Args:
        memory: Bytes that reading may hold at once; every buffer is a share of it.
        expanded: Bytes that may come out of compressed files and archives, all levels together.
        ratio: Maximum expansion relative to the object's own size. Applies from 64 MiB on: small files often
            compress better.
        parts: Number of nested files.
        depth: Levels of nested files.
        seconds: Time limit for one object; None means no limit.
    """

    memory: int = 256 * MIB
    expanded: int = 64 * GIB
    ratio: int = 200
    parts: int = 20_000
    depth: int = 8
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.memory < 4 * MIB:
            raise ValueError(f"an inspection needs at least 4 MiB of memory, found {self.memory:,} bytes")

    @property
    def window(self) -> int:
        """Size of a text window, in bytes."""
        return min(MIB, self.memory // 64)

    @property
    def overlap(self) -> int:
        """Bytes that a window shares with the next one; the longest secrets are keys of a few KiB."""
        return self.window // 32

    @property
    def block(self) -> int:
        """Bytes of rows in one piece."""
        return min(8 * MIB, self.memory // 32)

    @property
    def document(self) -> int:
        """Maximum bytes of what can only be read whole: a workbook, a PDF, a message, one JSON value."""
        return self.memory // 8

    def allowance(self, size: int | None) -> int:
        """Bytes that may come out of an object of a given size."""
        return self.expanded if size is None else min(self.expanded, max(64 * MIB, self.ratio * size))


@dataclass(frozen=True)
class Sampling:
    """Sampling of large objects.

    Args:
        above: Size in bytes above which an object is sampled; None means that everything is inspected.
    """

    above: int | None = None

    def stride(self, size: int | None) -> int:
        """One of this many units is inspected."""
        if self.above is None or size is None or size <= self.above:
            return 1
        return -(-size // self.above)


class Budget:
    """The remaining allowance for content that comes out of one object; shared by all levels."""

    def __init__(self, expanded: int, parts: int) -> None:
        self.expanded = expanded
        self.parts = parts


class Corrupt(Exception):
    """The data violates its format; becomes a `Problem`."""

    def __init__(self, kind: ProblemKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Stream:
    """A file or a part of one, read from its start.

    An error of the underlying file ends the stream early and is stored as `problem`: content before it was
    read.
    """

    def __init__(self, file: BinaryIO, name: str, size: int | None = None) -> None:
        self.name = name
        self.size = size
        self.problem: Problem | None = None
        self._file = file
        self._rewindable = _is_seekable(file)
        self._ahead = b""
        self._copy: BinaryIO | None = None
        self.head = self._fill(HEAD)
        self._ahead = self.head

    @property
    def is_rewindable(self) -> bool:
        """True if the stream can be read again."""
        return self._rewindable

    @property
    def is_in_head(self) -> bool:
        """True if the head is the whole stream."""
        return len(self.head) < HEAD

    def read(self, size: int) -> bytes:
        """Up to a number of bytes; empty at the end."""
        if self._ahead:
            taken, self._ahead = self._ahead[:size], self._ahead[size:]
            return taken
        return self._fill(size)

    def chunks(self) -> Iterator[bytes]:
        """The rest, in chunks."""
        while chunk := self.read(_CHUNK):
            yield chunk

    def rewind(self) -> None:
        """Start again from the beginning."""
        self._ahead = b""
        self._file.seek(0)

    def random_access(self) -> BinaryIO:
        """The whole stream as a file with random access; copied to disk if necessary."""
        if not self._rewindable:
            self._copy = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
            for chunk in self.chunks():
                self._copy.write(chunk)
            self._file, self._rewindable = self._copy, True
        self.rewind()
        return self._file

    def close(self) -> None:
        """Remove the copy on disk, if there is one; the underlying file stays open."""
        if self._copy is not None:
            self._copy.close()

    def whole(self, limit: int) -> bytes | None:
        """The whole content, or None if it exceeds the limit; content read so far is not lost then."""
        taken = bytearray()
        while len(taken) <= limit:
            chunk = self.read(min(_CHUNK, limit + 1 - len(taken)))
            if not chunk:
                return bytes(taken)
            taken += chunk
        self._ahead = bytes(taken) + self._ahead
        return None

    def _fill(self, size: int) -> bytes:
        filled = bytearray()
        while len(filled) < size:
            try:
                read = self._file.read(size - len(filled))
            except Corrupt as error:
                self.problem = Problem(error.kind, (), str(error))
                break
            except OSError as error:
                reason = error.strerror or type(error).__name__
                self.problem = Problem(ProblemKind.UNREACHABLE, (), f"reading failed: {reason}")
                break
            except BaseException as error:
                # A library that unpacks the file failed with an unexpected error.
                if not is_about_content(error):
                    raise
                message = f"reading stopped here ({kind_of_error(error)})"
                self.problem = Problem(ProblemKind.FAILED, (), message)
                break
            if not read:
                break
            filled += read
        return bytes(filled)


@dataclass(frozen=True)
class Reading:
    """The settings for reading one object, or a part of it.

    Args:
        limits: The limits.
        sampling: The sampling of large objects.
        in_full: Called repeatedly; returns True once a finding ends the sampling.
        budget: The remaining budget for nested files.
        container: The place of this part.
        open_part: Reads a nested file, given its stream and its settings.
        column_words: Words that are typical of column names, beside common ones.
    """

    limits: Limits
    sampling: Sampling
    in_full: Callable[[], bool]
    budget: Budget
    open_part: Callable[[Stream, Reading], Iterator[Item]]
    container: tuple[str, ...] = ()
    column_words: Set[str] = frozenset()

    def problem(self, kind: ProblemKind, message: str) -> Problem:
        """A problem of this part."""
        return Problem(kind, self.container, message)

    def guarded(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items of one of several parts; if reading it fails, the others are still read."""
        try:
            yield from items
        except BaseException as error:
            if not is_about_content(error):
                raise
            yield self.problem(ProblemKind.FAILED, f"reading stopped here ({kind_of_error(error)})")

    def within(self, name: str) -> Reading:
        """The settings for a nested part; its name may have bytes that are not text."""
        return replace(self, container=(*self.container, name.encode(errors="replace").decode()))

    def part(self, file: BinaryIO, name: str, size: int | None = None) -> Iterator[Item]:
        """Read a nested file.

        Args:
            file: The file.
            name: Its name.
            size: Its size in bytes, if known.
        """
        within = self.within(name)
        if len(within.container) > self.limits.depth:
            yield within.problem(
                ProblemKind.TOO_DEEP,
                f"files are opened {self.limits.depth} levels deep; this file is nested deeper",
            )
            return
        if self.budget.parts <= 0:
            yield within.problem(ProblemKind.TOO_MANY_PARTS, "it contains more files than allowed")
            return
        self.budget.parts -= 1
        yield from self.open_part(Stream(file, name, size), within)


@dataclass(frozen=True)
class Unit:
    """A row group, a stripe, a block or a window: the unit of sampling.

    Args:
        items: Reads it.
        rows: Number of its rows.
    """

    items: Callable[[], Iterable[Item]]
    rows: int = 0


def sampled(units: Callable[[], Iterator[Unit]], stream: Stream, reading: Reading) -> Iterator[Item]:
    """The items of the sampled units, and of the rest too if the sampling ends.

    The first unit is always taken, then one of each `stride`, at positions that do not coincide with periods
    in the data.

    Args:
        units: Returns the units; called a second time if the rest is read after all.
        stream: The stream of the units.
        reading: The settings of this reading.
    """
    stride = reading.sampling.stride(stream.size) if stream.is_rewindable else 1
    left_out: list[tuple[int, int]] = []
    total = 0
    for total, unit in enumerate(units(), 1):
        if stride == 1 or _is_chosen(total - 1, stride) or reading.in_full():
            yield from unit.items()
        else:
            left_out.append((total - 1, unit.rows))
    if left_out and reading.in_full():
        stream.rewind()
        wanted = {index for index, _ in left_out}
        left_out = []
        for index, unit in enumerate(units()):
            if index in wanted:
                yield from unit.items()
    if left_out:
        rows = sum(rows for _, rows in left_out)
        yield Skipped(reading.container, rows, len(left_out), total)
        yield reading.problem(
            ProblemKind.SAMPLED, f"{total - len(left_out):,} of {total:,} blocks were inspected"
        )


def _is_chosen(index: int, stride: int) -> bool:
    stratum = index // stride
    if stratum == 0:
        return index == 0
    digest = hashlib.blake2b(stratum.to_bytes(8, "little"), digest_size=8).digest()
    return index % stride == int.from_bytes(digest, "little") % stride


def _is_seekable(file: BinaryIO) -> bool:
    try:
        return file.seekable()
    except (AttributeError, OSError, ValueError):
        return False


class Guarded(io.RawIOBase):
    """A file whose bytes are counted against the budget, as they come out of an archive.

    Args:
        read: Returns up to a number of bytes.
        budget: The remaining budget.
    """

    def __init__(self, read: Callable[[int], bytes], budget: Budget) -> None:
        super().__init__()
        self._read = read
        self._budget = budget

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to a number of bytes.

        Raises:
            Corrupt: More comes out of the object than its size allows.
        """
        data = self._read(_CHUNK if size < 0 else min(size, _CHUNK))
        self._budget.expanded -= len(data)
        if self._budget.expanded < 0:
            raise Corrupt(
                ProblemKind.BOMB,
                "it unpacks to more bytes than an object of its size may have; reading stopped there",
            )
        return data
