"""Runs all scanners over a text, for the requested info types."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from itertools import chain

from platform_assets.dlp.local.context import NOTHING, Hotwords, Surroundings
from platform_assets.dlp.local.detectors import DETECTORS
from platform_assets.dlp.local.detectors.identifiers import NOT_AN_IDENTIFIER
from platform_assets.dlp.local.regex import literal_finder
from platform_assets.dlp.local.scanners import (
    commands,
    network,
    numbers,
    pairs,
    people,
    secrets,
    services,
    statements,
)
from platform_assets.dlp.local.scanners.text import (
    VERY_UNLIKELY,
    InfoTypeScanner,
    Match,
    ScannedText,
    Segments,
)
from platform_assets.formats.words import split_words

_REMEMBERED = 32_768
_WORDS_BEFORE, _WORDS_AFTER = 9, 4
# Blanks, hyphens and digits that word processors, web pages and keyboards write instead of those of ASCII.
# Colours of terminals and escapes of line breaks stick to a value as if they were its letters.
_FOREIGN = re.compile(
    rb"\x1b\[[0-9;]{0,16}m|\\[nrt](?=[0-9+(]|[A-Z]{2}[0-9])"
    rb"|\\u00(?:2[0267]|3[CDEcde]|0[9ADad])|\xc2[\xa0\xad]|\xe2\x80[\x80-\x8b\x90-\x93\xaf]|\xe2\x88\x92|\xe3\x80\x80|\xef\xbc[\x8d\x90-\x99]"
)
_SIGNS = (b"\x1b[", b"\\n", b"\\r", b"\\t", b"\\u00")
_PLAIN = {
    character.encode(): instead
    for characters, instead in (
        ("\u00a0\u202f\u3000" + "".join(map(chr, range(0x2000, 0x200B))), b" "),
        ("\u2010\u2011\u2012\u2013\u2212\uff0d", b"-"),
        # They show nothing: a soft hyphen, and a blank of no width.
        ("\u00ad\u200b", b""),
        *((chr(0xFF10 + digit), b"%d" % digit) for digit in range(10)),
    )
    for character in characters
}
_PLAIN |= {b"\\u00%02x" % sign: b"%c" % sign for sign in b"\"'&<=>"}
_PLAIN |= {escape[:4] + escape[4:].upper(): sign for escape, sign in _PLAIN.items() if escape[:1] == b"\\"}


class Scanner:
    """Finds candidates for a set of info types.

    Args:
        names: The info types to report. Others are scanned for too if they could explain the same text.
        floor: The lowest likelihood that is needed.
        dummies: True if sequences and UUIDs in a secret's place count as secrets.
    """

    def __init__(self, names: frozenset[str], floor: int, dummies: bool = False) -> None:
        self._dummies = dummies
        self._names = names
        self._floor = floor
        self._around: dict[tuple[bytes, bytes], Surroundings] = {}
        self.scanners = tuple(
            scanner
            for module in (numbers, network, services, secrets, pairs, commands, statements, people)
            for scanner in module.scanners()
            if names & scanner.names
        )
        self._needed = literal_finder(sorted({need for scanner in self.scanners for need in scanner.needs}))

    def scan(
        self,
        data: bytes,
        header: Surroundings = NOTHING,
        lines: bool = False,
        everything: bool = False,
        scanners: Iterable[InfoTypeScanner] | None = None,
        segments: Segments | None = None,
    ) -> list[Match]:
        """Find candidates.

        Args:
            data: The text.
            header: The hotwords in its column's name.
            lines: True if every line is a separate value without relation to its neighbours.
            everything: True to include invalid candidates and those below the floor.
            scanners: The scanners to run; None means all.
            segments: The parts of the text, if it has several, instead of a header.

        Returns:
            The candidates, including overlapping ones.
        """
        if (not data.isascii() or any(sign in data for sign in _SIGNS)) and _FOREIGN.search(data):
            return self._scan_plain(data, header, lines, everything, scanners, segments)
        found: list[Match] = []
        floor = VERY_UNLIKELY if everything else self._floor
        text = ScannedText(
            data,
            self._names,
            floor,
            everything,
            header.as_title,
            lines,
            self._words_around,
            _ends_of_hotwords,
            self._dummies,
            segments,
        )
        there = self._needed(data)
        for scanner in self.scanners if scanners is None else scanners:
            if not scanner.needs or any(need in there for need in scanner.needs):
                scanner.look(text, found)
        return found

    def _scan_plain(
        self,
        data: bytes,
        header: Surroundings,
        lines: bool,
        everything: bool,
        scanners: Iterable[InfoTypeScanner] | None,
        segments: Segments | None,
    ) -> list[Match]:
        """Find candidates with blanks, hyphens and digits as ASCII has them, at their places in the text."""
        places: list[int] = []
        shifts = [0]

        def plain(match: re.Match[bytes]) -> bytes:
            instead = _PLAIN.get(match[0], b" ")
            places.append(match.start() - shifts[-1])
            shifts.append(shifts[-1] + len(match[0]) - len(instead))
            return instead

        written = _FOREIGN.sub(plain, data)
        if segments is not None:
            foreign = [at + shifts[number] for number, at in enumerate(places)]
            segments = replace(
                segments, starts=[at - shifts[bisect_left(foreign, at)] for at in segments.starts]
            )
        found = self.scan(written, header, lines, everything, scanners, segments)
        return [
            match._replace(
                start=match.start + shifts[bisect_left(places, match.start)],
                end=match.end + shifts[bisect_left(places, match.end)],
            )
            for match in found
        ]

    def _words_around(self, before: bytes, after: bytes) -> Surroundings:
        """The hotwords around a position, cached because data repeats its words."""
        key = before, after
        surroundings = self._around.get(key)
        if surroundings is None:
            if len(self._around) >= _REMEMBERED:
                self._around.clear()
            surroundings = self._around[key] = hotwords().among(
                split_words(before.decode("utf-8", "replace"))[-_WORDS_BEFORE:],
                split_words(after.decode("utf-8", "replace"))[:_WORDS_AFTER] if after else (),
            )
        return surroundings


_SHORT = 2
_END = "(?:[^a-z]|$)"


@lru_cache(maxsize=512)
def _ends_of_hotwords(info_types: tuple[str, ...]) -> tuple[str, str]:
    """A pattern that matches wherever a hotword ends, and in places where none does.

    The second pattern is the same without regard to what follows.
    """
    # Folding of case beyond ASCII is left to the words: the Kelvin sign is a k.
    patterns = {r"\xe2\x84\xaa"}
    for phrase in chain.from_iterable(map(hotwords().phrases_of, info_types)):
        *above, last = (re.sub(r"[^a-z0-9]+", r"[\\x80-\\xff]+", word) for word in phrase)
        if len(last) > _SHORT:
            patterns.add(f"(?i:{last})")
        else:
            # The end of an acronym, `I.P.`, would be in any text: here are the letters before it too.
            before = f"(?i:{above[-1]})[^A-Za-z0-9]*" if above else ""
            patterns.add(f"{before}(?i:{last}){_END}")
    pattern = "|".join(sorted(patterns))
    return pattern, pattern.replace(_END, "")


@lru_cache(maxsize=1)
def hotwords() -> Hotwords:
    """The index of all info types' hotwords."""
    return Hotwords(
        {detector.name: detector.phrases for detector in DETECTORS}, NOT_AN_IDENTIFIER.split(", ")
    )
