"""A text being scanned, what a scan finds in it, and how it asks for the words around."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import re2  # type: ignore[import-untyped]

from platform_assets.dlp.context import FAR, NOTHING, Surroundings
from platform_assets.dlp.detectors import DETECTORS
from platform_assets.dlp.model import Evidence, Likelihood

VERY_UNLIKELY, UNLIKELY, POSSIBLE, LIKELY, VERY_LIKELY = map(int, Likelihood)

SHAPE, VALIDATOR, PREFIX, ENTROPY, HOTWORD, HEADER, COLUMN, DICTIONARY, CUSTOM = (
    1 << place for place in range(len(Evidence))
)
"""Evidence as bits, in the order of `Evidence`."""

PRIORITY = {detector.name: place for place, detector in enumerate(DETECTORS)}
"""Place of an info type among equals."""


class Match(NamedTuple):
    """A candidate with what speaks for it.

    Args:
        start: Its first byte.
        end: The byte after its last.
        name: Name of the info type.
        likelihood: How sure it is, hotwords included.
        evidence: What speaks for it, as bits.
        distance: Words between it and its hotword; large where there is none.
        valid: Whether it has the check digits and ranges of its type.
    """

    start: int
    end: int
    name: str
    likelihood: int
    evidence: int
    distance: int = FAR
    valid: bool = True


def latin_1() -> re2.Options:
    """Options under which a pattern is matched byte by byte, whatever the bytes are."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.max_mem = 64 << 20
    return options


@lru_cache(maxsize=512)
def compiled(pattern: str | bytes) -> re2._Regexp:
    """A pattern over bytes, compiled once."""
    return re2.compile(pattern.encode() if isinstance(pattern, str) else pattern, latin_1())


@lru_cache(maxsize=512)
def _matcher(pattern: str | bytes) -> Callable[[Any, bytes, int, int], list[tuple[int, int]]]:
    # The method of RE2 itself: the match objects of its wrapper cost more than a match does.
    matcher: Callable[[Any, bytes, int, int], list[tuple[int, int]]] = compiled(pattern)._regexp.Match
    return matcher


_UNANCHORED = re2._Anchor.UNANCHORED

# How a text looks: 0 for digits, A and a for letters. Bytes above ASCII are letters.
SHAPES = bytes(
    ord("0")
    if 48 <= byte <= 57
    else ord("A")
    if 65 <= byte <= 90
    else ord("a")
    if 97 <= byte <= 122 or byte >= 128
    else byte
    for byte in range(256)
)
WORD_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
JOINERS = frozenset(b".-/")
SEPARATORS = b" -./()+,\t"


_BEFORE, _AFTER = 64, 24
_CLAUSE_END = re.compile(rb"[,;|\t]|[.!?] ")
_NO_WORD = re.compile(rb"[^A-Za-z0-9_\x80-\xff]")
_NAMED_BEFORE = re.compile(rb"[A-Za-z\x80-\xff]{2}")


@dataclass(frozen=True)
class Text:
    """A text being scanned, and what is asked of it.

    Args:
        data: The text.
        names: Names of the info types that are asked for.
        floor: The least likelihood that is wanted.
        everything: Whether what is not valid is wanted too.
        header: What its column's name says.
        lines: Whether every line is a value of its own.
        words_around: Tells what the words before and after a place say.
    """

    data: bytes
    names: frozenset[str]
    floor: int
    everything: bool
    header: Surroundings
    lines: bool
    words_around: Callable[[bytes, bytes], Surroundings]

    def around(self, start: int, end: int) -> Surroundings:
        """What the words around a place and the header say together."""
        data = self.data
        first = max(start - _BEFORE, 0)
        line = data.rfind(b"\n", first, start) + 1
        before = data[max(line, first) : start]
        if line and not self.lines and not _NAMED_BEFORE.search(before):
            # A value on a line of its own is named by the line above.
            before = data[first:start]
        if first and first > line and data[first - 1] in WORD_BYTES and before:
            # A word that the window cuts off is no word.
            cut = _NO_WORD.search(before)
            before = before[cut.start() :] if cut else b""
        after = data[end : end + _AFTER].partition(b"\n")[0]
        clause = _CLAUSE_END.search(after)
        if clause:
            after = after[: clause.start()]
        surroundings = self.words_around(before, after)
        if self.header is NOTHING:
            return surroundings
        if surroundings is NOTHING:
            return self.header
        hot = dict(surroundings.hot)
        for name in self.header.hot:
            hot[name] = 0
        return Surroundings(hot, min(surroundings.against, self.header.against + 1))

    def named(self, name: str, surroundings: Surroundings) -> tuple[int, int]:
        """The distance of an info type's hotword, and the evidence that it is."""
        distance = surroundings.hot.get(name)
        if distance is None:
            return FAR, 0
        return distance, HEADER if name in self.header.hot else HOTWORD

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
        """Add a candidate that has one likelihood alone and another beside a hotword."""
        distance, named = self.named(name, surroundings or self.around(*span))
        likelihood = max(alone, hot) if named else alone
        if likelihood >= self.floor:
            found.append(Match(*span, name, likelihood, evidence | named, distance, valid))

    def stands_alone(self, start: int, end: int, within: frozenset[int] = WORD_BYTES) -> bool:
        """Whether what is before and after a place does not belong to it."""
        data = self.data
        return not ((start > 0 and data[start - 1] in within) or (end < len(data) and data[end] in within))


@dataclass(frozen=True)
class Family:
    """Info types that one scan finds.

    Args:
        names: Their names.
        needs: Texts of which at least one is in every text that holds one; empty where there is no such.
        look: Finds them.
        form: What a table's values have to have in common to be judged by a sample, as ordinary tables are
            full of look-alikes: `digits` for every digit and runs of letters, `runs` for the runs of both.
            None for secrets, which may be in any value.
    """

    names: frozenset[str]
    needs: tuple[bytes, ...]
    look: Callable[[Text, list[Match]], None]
    form: str | None = None


def spans(pattern: bytes | str, data: bytes) -> Iterator[tuple[int, int]]:
    """Where a pattern matches."""
    match = _matcher(pattern)
    place, size = 0, len(data)
    while place < size:
        start, end = match(_UNANCHORED, data, place, size)[0]
        if start < 0:
            return
        yield start, end
        place = end if end > place else place + 1
