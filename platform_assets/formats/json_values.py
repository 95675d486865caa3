"""JSON documents and JSON lines: a sequence of values, read one after another, of any length."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

from platform_assets.formats.problems import ProblemKind
from platform_assets.formats.reading import Item, Reading, Stream, Unit, sampled
from platform_assets.formats.text import Decoder, Encoding, read_rest_as_text
from platform_assets.formats.trees import Tables


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object with all its members; a key that is there again gets a number: `key_2`."""
    made = dict(members)
    if len(made) == len(members):
        return made
    made = {}
    numbers: dict[str, int] = {}
    for key, value in members:
        name = key
        while name in made:
            numbers[key] = numbers.get(key, 1) + 1
            name = f"{key}_{numbers[key]}"
        made[name] = value
    return made


# Numbers keep their spelling: an id of 30 digits would lose digits as a number.
_DECODER = json.JSONDecoder(
    parse_float=str, parse_int=str, parse_constant=str, strict=False, object_pairs_hook=_object
)
_SCAN: Callable[[str, int], tuple[Any, int]] = vars(_DECODER)["scan_once"]
_BLANK = re.compile(r"[\s\x1e]*")
_BETWEEN = re.compile(r"[\s,]*")
_ESCAPE = re.compile(rb'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_ESCAPED = {b"b": b" ", b"f": b"\n", b"n": b"\n", b"r": b"\n", b"t": b"\t"}
_SHARE_OF_DOCUMENT = 4
_SHARE_OF_BLOCK = 8
_FIRST_NEED = 64 * 1024


def looks_like_json(head: str, *, is_whole: bool) -> bool:
    """Return True if a text starts like JSON: an object or array, complete or cut off at the end."""
    text = head.lstrip()
    if not text.startswith(("{", "[")):
        return False
    try:
        _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        return not is_whole and (error.pos >= len(text) - 16 or error.msg.startswith("Unterminated"))
    except RecursionError:
        return True
    return True


def read_json(stream: Stream, reading: Reading, encoding: Encoding) -> Iterator[Item]:
    """Read values: the elements of one array, the values of lines, or one document."""
    decoders: list[Decoder] = []
    values: list[_Values] = []

    def units() -> Iterator[Unit]:
        stream.read(encoding.mark)
        decoder = Decoder(encoding)
        one = _Values(decoder.utf8(stream.chunks()), reading.limits.document // _SHARE_OF_DOCUMENT)
        decoders[:], values[:] = [decoder], [one]
        tables, first_row = Tables(reading.container, reading.column_words), 0
        for batch in one.batches(reading.limits.block // _SHARE_OF_BLOCK):
            if one.is_document:
                # Within a document, rows are numbered by their positions in its lists.
                tables = Tables(reading.container, reading.column_words, numbers_members=True)
            yield Unit(partial(tables.pieces, batch, first_row), len(batch))
            first_row += len(batch)

    yield from sampled(units, stream, reading)
    (one,) = values
    if one.broken_lines:
        count = one.broken_lines_total
        yield reading.problem(
            ProblemKind.CORRUPT, f"{count:,} lines are not valid JSON and were read as text"
        )
        yield from read_rest_as_text((line.encode() + b"\n" for line in one.broken_lines), reading)
    if one.failure is not None:
        kind, what = one.failure
        if kind is not None:
            yield reading.problem(kind, f"{what}; the rest was read as text")
        yield from read_rest_as_text(_unescaped(one.rest()), reading)
    yield from decoders[0].problems(reading)


class _Values:
    """The values of a JSON text, in batches. Otherwise `failure` has the reason and `rest` what is left.

    Attributes:
        is_document: True if the value is the only value of the text, and not the element of an array.
        broken_lines: Invalid lines among JSON lines, up to the limit.
        broken_lines_total: Number of invalid lines.
        failure: Kind of the problem and a description; no kind if a value is only too long to be held in
            memory.
    """

    def __init__(self, chunks: Iterator[bytes], limit: int) -> None:
        self._chunks = chunks
        self._limit = limit
        self._buffer = ""
        self._at = 0
        self._before = 0
        self.is_document = False
        self.broken_lines: list[str] = []
        self.broken_lines_total = 0
        self.failure: tuple[ProblemKind | None, str] | None = None

    def rest(self) -> Iterator[bytes]:
        return chain([self._buffer[self._at :].encode()], self._chunks)

    def batches(self, size: int) -> Iterator[list[Any]]:
        """Batches of values of about the given number of characters; the last batch has the rest."""
        batch: list[Any] = []
        in_array = False
        given, start = 0, 0
        while self._skip(in_array=in_array):
            if in_array and self._buffer[self._at] == "]":
                in_array = False
                self._at += 1
                continue
            if given == 0 and not in_array and self._buffer[self._at] == "[":
                in_array = True
                self._at += 1
                continue
            found, value = self._next(may_skip_a_line=given > 0 and not in_array)
            if self.failure is not None:
                break
            if found:
                batch.append(value)
                given += 1
                if given == 1 and not in_array:
                    self.is_document = not self._skip(in_array=False)
                else:
                    given += self._follow(batch, start + size, in_array=in_array)
            if self._before + self._at - start >= size and batch:
                yield batch
                batch, start = [], self._before + self._at
        else:
            if in_array:
                self.failure = (ProblemKind.TRUNCATED, "the file ends within its array")
        if batch:
            yield batch

    def _skip(self, *, in_array: bool) -> bool:
        """Skip the characters between values; return False at the end of the text."""
        between = _BETWEEN if in_array else _BLANK
        while True:
            space = between.match(self._buffer, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._buffer):
                return True
            if not self._more(1):
                return False

    def _follow(self, batch: list[Any], until: int, *, in_array: bool) -> int:
        """Take the following values that were read completely; an incomplete value is left."""
        between = _BETWEEN if in_array else _BLANK
        scan, buffer, at, count = _SCAN, self._buffer, self._at, 0
        until = min(until - self._before, len(buffer))
        try:
            while at < until:
                space = between.match(buffer, at)
                at = space.end() if space else at
                value, end = scan(buffer, at)
                # A number may continue in text that is not read yet.
                if end >= len(buffer):
                    break
                batch.append(value)
                count += 1
                at = end
        except (StopIteration, RecursionError, ValueError):
            pass
        self._at = at
        return count

    def _next(self, *, may_skip_a_line: bool) -> tuple[bool, Any]:
        need = _FIRST_NEED
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
                # A number may continue in text that is not read yet.
                if end < len(self._buffer) or not self._more(1):
                    self._at = end
                    return True, value
            except RecursionError:
                self.failure = (ProblemKind.TOO_DEEP, "a value is nested too deeply")
                return False, None
            except (json.JSONDecodeError, ValueError) as error:
                line_end = self._buffer.find("\n", self._at)
                if may_skip_a_line and line_end >= 0:
                    self._skip_line(line_end)
                    return False, None
                held = len(self._buffer) - self._at
                if held >= self._limit:
                    self.failure = (None, f"a value is longer than {self._limit:,} characters")
                    return False, None
                # Double the step each time, so that a long value is not parsed from its start too often.
                if self._more(min(max(need, held), self._limit - held)):
                    need *= 2
                    continue
                if may_skip_a_line:
                    self._skip_line(len(self._buffer))
                    return False, None
                self.failure = _verdict(error, self._buffer)
                return False, None

    def _skip_line(self, line_end: int) -> None:
        self.broken_lines_total += 1
        self.broken_lines.append(self._buffer[self._at : line_end])
        self._at = line_end

    def _more(self, need: int) -> bool:
        """Read more characters; return False at the end."""
        taken, count = [], 0
        for chunk in self._chunks:
            taken.append(chunk.decode())
            count += len(taken[-1])
            if count >= need:
                break
        if taken:
            self._before += self._at
            self._buffer = self._buffer[self._at :] + "".join(taken)
            self._at = 0
        return bool(taken)


def _verdict(error: ValueError, buffer: str) -> tuple[ProblemKind, str]:
    if isinstance(error, json.JSONDecodeError) and (
        error.pos >= len(buffer.rstrip()) or error.msg.startswith("Unterminated")
    ):
        return ProblemKind.TRUNCATED, "the file ends within a value"
    return ProblemKind.CORRUPT, "it is not valid JSON"


def _unescaped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """JSON text with its escapes resolved, so that word boundaries and @ signs are found."""
    kept = b""
    for chunk in chunks:
        data = kept + chunk
        # A backslash among the last bytes may start an incomplete escape.
        cut = data.find(b"\\", max(len(data) - 6, 0))
        data, kept = (data[:cut], data[cut:]) if cut >= 0 else (data, b"")
        if data:
            yield _ESCAPE.sub(_meaning, data)
    if kept:
        yield _ESCAPE.sub(_meaning, kept)


def _meaning(escape: re.Match[bytes]) -> bytes:
    if escape[1] is not None:
        return chr(int(escape[1], 16)).encode(errors="replace")
    return _ESCAPED.get(escape[2], escape[2])
