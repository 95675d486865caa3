"""A text being scanned, the matches of a scan, and access to the surrounding words."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from platform_assets.dlp.local.context import FAR, NOTHING, Surroundings
from platform_assets.dlp.local.detectors import DETECTORS
from platform_assets.dlp.local.regex import UNANCHORED, matcher
from platform_assets.dlp.model import Evidence, Likelihood

VERY_UNLIKELY, UNLIKELY, POSSIBLE, LIKELY, VERY_LIKELY = map(int, Likelihood)

SHAPE, VALIDATOR, PREFIX, ENTROPY, HOTWORD, HEADER, COLUMN, DICTIONARY, CUSTOM = (
    1 << place for place in range(len(Evidence))
)
"""Evidence as bits, in the order of `Evidence`."""

PRIORITY = {detector.name: place for place, detector in enumerate(DETECTORS)}
"""Priority of an info type among equally likely ones."""


class Match(NamedTuple):
    """A candidate with its evidence.

    Args:
        start: Its first byte.
        end: The byte after its last.
        name: Name of the info type.
        likelihood: Its likelihood, including hotwords.
        evidence: The evidence, as bits.
        distance: Number of words between it and its hotword; large if there is none.
        valid: True if it has the check digits and ranges of its type.
    """

    start: int
    end: int
    name: str
    likelihood: int
    evidence: int
    distance: int = FAR
    valid: bool = True


WORD_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
JOINERS = frozenset(b".-/")
SEPARATORS = b" -./()+,\t"


_LINE_BREAK = ord("\n")
_BEFORE, _AFTER = 64, 24
_CLAUSE_END = re.compile(rb"[,;|\t]|[.!?] ")
_NO_WORD = re.compile(rb"[^A-Za-z0-9_\x80-\xff]")
_NAMED_BEFORE = re.compile(rb"[A-Za-z\x80-\xff]{2,}")
# A key, not a value: what follows it says nothing of the line above.
_KEY = re.compile(rb"[\"'`]?[ \t]*[:=]")
# Not in a domain, as in jane@example.com.
_SAYS_SO = (
    rb"(?i)placeholder|\b(?:e\.g\.|i\.e\.|eg:)|(?:^|[^a-z0-9@.\-/])(?:examples?|samples?|dummy|fake|such as|"
    rb"for instance)(?:[^a-z0-9.@\-]|\.[^a-z0-9]|\.?$)"
)
_MAY_SAY_SO = rb"(?i)placeholder|e\.g\.|i\.e\.|eg:|example|sample|dummy|fake|such as|for instance"
_NO_WORDS = re.compile(rb"(?:[^A-Za-z\n<]|<[^<>\n]{0,40}>)*")
_SAYS_SO_AT_END = re.compile(rb"(?i)(?:for example|for instance|e\.g\.|such as)[,:]?[ \t]*\r?\n$")
OF_EXAMPLES = "example"
"""A hotword of fields below a key for examples: `examples[].phone`."""
_SESSION = 200
_SENTENCE = 3
"""Number of words after a value from which on it is not alone on its line."""


BETWEEN = b"\n\0\n"
"""Separates texts that are scanned as one: nothing matches across it, as it is no blank and no word."""


@dataclass(frozen=True)
class Segments:
    """Parts of a text that have nothing to do with each other, such as columns with few values.

    Args:
        starts: The first byte of each, ascending; `BETWEEN` precedes each but the first.
        titles: Returns the hotwords in the name of one of them.
    """

    starts: Sequence[int]
    titles: Callable[[int], Surroundings]

    def of(self, position: int) -> tuple[int, Surroundings]:
        """The first byte of the part of a position, and the hotwords in its name."""
        at = bisect_right(self.starts, position) - 1
        return self.starts[at], self.titles(at)

    def span(self, position: int, size: int) -> tuple[int, int]:
        """The span of the part of a position, in a text of a size."""
        at = bisect_right(self.starts, position)
        last = self.starts[at] - len(BETWEEN) if at < len(self.starts) else size
        return self.starts[at - 1], last


_WORTH = 512
"""Bytes of a text for each question about its parts from which on all of it is searched once."""
_DENSE = 64
"""Bytes of a text for each place of a pattern below which nearly every part of the text has one."""


class _Sightings:
    """Places of a pattern in a text, found once for questions about many parts of the text.

    Only the parts are searched before there are many questions: searching a long text would cost more.

    Args:
        pattern: The pattern. What is around a match must not matter: no anchors, and no boundaries of words.
        data: The text.
    """

    def __init__(self, pattern: bytes | str, data: bytes) -> None:
        self._pattern = pattern
        self._data = data
        self._left = len(data) // _WORTH
        self._starts: list[int] | None = None
        self._ends: list[int] = []

    def may_be(self, first: int, last: int) -> bool:
        """Return False only if the pattern matches nowhere within a part of the text."""
        starts = self._starts
        if starts is None:
            if self._left > 0:
                self._left -= 1
                return found_in(self._pattern, self._data[max(first, 0) : last])
            starts = self._starts = self._found()
        # A match within the part is one of the places, or overlaps with one.
        at = bisect_left(starts, last) - 1
        return at >= 0 and self._ends[at] > first

    def _found(self) -> list[int]:
        starts: list[int] = []
        for start, end in spans(self._pattern, self._data):
            starts.append(start)
            self._ends.append(end)
            if len(starts) > start // _DENSE + _DENSE:
                self._ends = [len(self._data)]
                return [0]
        return starts


@dataclass(frozen=True)
class ScannedText:
    """A text being scanned, with the request.

    Args:
        data: The text.
        names: Names of the requested info types.
        floor: The lowest likelihood that is needed.
        everything: True to include invalid candidates.
        _header: The hotwords in its column's name, as a title; `header_at` is for everybody.
        lines: True if every line is a separate value.
        words_around: Returns the hotwords before and after a position.
        ends_of_hotwords: Returns a pattern that matches wherever a hotword of some info types ends, and in
            places where none does; and the same without regard to what follows.
        dummies: True if sequences and UUIDs in a secret's place count as secrets.
        segments: The parts of the text, if it has several, each with a header of its own.
        remembered: What scanners have found out about the text as a whole.
    """

    data: bytes
    names: frozenset[str]
    floor: int
    everything: bool
    _header: Surroundings
    lines: bool
    words_around: Callable[[bytes, bytes], Surroundings]
    ends_of_hotwords: Callable[[tuple[str, ...]], tuple[str, str]]
    dummies: bool = False
    segments: Segments | None = None
    remembered: dict[str, bool] = field(default_factory=dict)
    _sightings: dict[bytes | str, _Sightings] = field(default_factory=dict)

    def may_have(self, pattern: bytes | str, first: int, last: int) -> bool:
        """Return False only if a pattern matches nowhere within a part of the text.

        Args:
            pattern: The pattern, without anchors and boundaries of words.
            first: Start of the part; may be negative.
            last: The byte after the part; may be beyond the text.
        """
        sightings = self._sightings.get(pattern)
        if sightings is None:
            sightings = self._sightings[pattern] = _Sightings(pattern, self.data)
        return sightings.may_be(first, last)

    def header_at(self, position: int) -> Surroundings:
        """The hotwords in the name of the column at a position."""
        return self._header if self.segments is None else self.segments.of(position)[1]

    def part_of(self, position: int) -> tuple[int, int]:
        """The span of the text around a position that belongs together."""
        size = len(self.data)
        return (0, size) if self.segments is None else self.segments.span(position, size)

    def around_for(self, start: int, end: int, *names: str) -> Surroundings:
        """The same as `around` for the hotwords of some info types; those of others may be missing."""
        if self.is_value(start, end):
            return self.header_at(start)
        pattern, anywhere = self.ends_of_hotwords(names)
        if not self.may_have(anywhere, start - _BEFORE, end + _AFTER):
            return self.header_at(start)
        data = self.data
        near = data[max(start - _BEFORE, 0) : start] + b"\n" + data[end : end + _AFTER]
        return self.around(start, end) if found_in(pattern, near) else self.header_at(start)

    def around(self, start: int, end: int) -> Surroundings:
        """The hotwords around a position and in the header together."""
        if self.is_value(start, end):
            return self.header_at(start)
        data = self.data
        begin, header = (0, self._header) if self.segments is None else self.segments.of(start)
        first = max(start - _BEFORE, begin)
        line = data.rfind(b"\n", first, start) + 1
        before = data[max(line, first) : start]
        after = data[end : end + _AFTER].partition(b"\n")[0]
        if (
            line
            and not self.lines
            and not _NAMED_BEFORE.search(before)
            and len(_NAMED_BEFORE.findall(after)) < _SENTENCE
            and not _KEY.match(after)
        ):
            # A value on a line of its own is named by the line above.
            before = data[first:start]
        if first and first > line and data[first - 1] in WORD_BYTES and before:
            # Ignore a word that is cut off by the window.
            cut = _NO_WORD.search(before)
            before = before[cut.start() :] if cut else b""
        clause = _CLAUSE_END.search(after)
        if clause:
            after = after[: clause.start()]
        surroundings = self.words_around(before, after)
        if header is NOTHING:
            return surroundings
        if surroundings is NOTHING:
            return header
        hot = {**surroundings.hot, **dict.fromkeys(header.hot, 0)}
        return Surroundings(hot, min(surroundings.against, header.against + 1), header.title)

    def is_example(self, start: int) -> bool:
        """Return True if the text before a position, or its column's name, calls what follows an example."""
        if OF_EXAMPLES in self.header_at(start).hot:
            return True
        if self.is_in_session(start):
            return True
        if self.lines and self.data[start - 1 : start] in b"\n":
            return False
        first = max(start - _BEFORE, 0)
        if not self.may_have(_MAY_SAY_SO, first, start):
            return False
        line = self.data.rfind(b"\n", first, start) + 1
        if (
            line
            and not self.lines
            and (
                _NO_WORDS.fullmatch(self.data, line, start)
                or _SAYS_SO_AT_END.search(self.data, max(line - 24, 0), line)
            )
        ):
            line = self.data.rfind(b"\n", first, line - 1) + 1  # the sentence began on the line above
        part = self.data[max(line, first) : start]
        return found_in(_SAYS_SO, part)

    def is_in_session(self, start: int) -> bool:
        """Return True after the prompt of a session with an interpreter, or up to two lines below."""
        if self.lines or not self.may_have(b">>> ", start - _SESSION, start):
            return False
        before = self.data[max(start - _SESSION, 0) : start]
        return b">>> " in before and any(
            line.lstrip(b" \t*#/").startswith(b">>> ") for line in before.split(b"\n")[-3:]
        )

    def before(self, start: int) -> Surroundings:
        """The hotwords before a position on its line."""
        line = self.data.rfind(b"\n", max(start - _BEFORE, 0), start) + 1
        return self.words_around(self.data[max(line, start - _BEFORE, 0) : start], b"")

    def named(self, name: str, surroundings: Surroundings) -> tuple[int, int]:
        """The distance of an info type's hotword, and the evidence of it."""
        distance = surroundings.hot.get(name)
        if distance is None:
            return FAR, 0
        return distance, HEADER if name in surroundings.title else HOTWORD

    def add(
        self,
        found: list[Match],
        span: tuple[int, int],
        name: str,
        alone: int,
        evidence: int,
        hot: int = VERY_LIKELY,
        valid: bool = True,
        surroundings: Surroundings | None = None,
    ) -> None:
        """Add a candidate with one likelihood alone and another beside a hotword."""
        distance, named = self.named(name, surroundings or self.around_for(*span, name))
        likelihood = max(alone, hot) if named else alone
        if likelihood >= self.floor:
            found.append(Match(*span, name, likelihood, evidence | named, distance, valid))

    def is_value(self, start: int, end: int) -> bool:
        """Return True for a value of a column as a whole, and not a part of a sentence in it."""
        data = self.data
        return (
            self.lines
            and (not start or data[start - 1] == _LINE_BREAK)
            and (end == len(data) or data[end] == _LINE_BREAK)
        )

    def stands_alone(self, start: int, end: int, within: frozenset[int] = WORD_BYTES) -> bool:
        """Return True if the characters before and after a match do not belong to it."""
        data = self.data
        return not ((start > 0 and data[start - 1] in within) or (end < len(data) and data[end] in within))


@dataclass(frozen=True)
class InfoTypeScanner:
    """A scanner of some info types, which looks for all of them in one pass.

    Args:
        names: Names of the info types.
        needs: Every text with a match contains at least one of these; empty if that is not so.
        look: Runs the scan.
        form: The form that values of a table must share to be judged by a sample, because ordinary tables are
            full of similar values: `digits` for every digit and runs of letters, `runs` for the runs of both.
            None for secrets, which may be in any value.
    """

    names: frozenset[str]
    needs: tuple[bytes, ...]
    look: Callable[[ScannedText, list[Match]], None]
    form: str | None = None


def found_in(pattern: bytes | str, data: bytes) -> bool:
    """Return True if a pattern matches anywhere in some bytes."""
    return matcher(pattern)(UNANCHORED, data, 0, len(data))[0][0] >= 0


def spans(pattern: bytes | str, data: bytes) -> Iterator[tuple[int, int]]:
    """The positions where a pattern matches."""
    match = matcher(pattern)
    place, size = 0, len(data)
    while place < size:
        start, end = match(UNANCHORED, data, place, size)[0]
        if start < 0:
            return
        yield start, end
        place = end if end > place else place + 1
