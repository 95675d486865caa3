"""Finds candidates in bytes: linear-time scans for families of look-alikes, then what each could be.

A scan is one RE2 pattern that finds everything of a family at memory speed: runs of digits, codes in
capitals, names of secrets. What a run of digits could be is looked up by its shape, which is remembered, as
data repeats its formats. Check digits are computed only of what could then be reported.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import re2  # type: ignore[import-untyped]

from platform_assets.dlp import checks, phones
from platform_assets.dlp.context import FAR, NOTHING, Hotwords, Surroundings, words_of
from platform_assets.dlp.detectors import BY_NAME, DETECTORS
from platform_assets.dlp.detectors import contacts as _contacts
from platform_assets.dlp.detectors import credentials as _credentials
from platform_assets.dlp.detectors import people as _people
from platform_assets.dlp.detectors.declaration import word_set
from platform_assets.dlp.detectors.identifiers import IDENTIFIERS, NOT_AN_IDENTIFIER
from platform_assets.dlp.detectors.service_keys import SERVICE_KEYS
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


@lru_cache(maxsize=512)
def compiled(pattern: str | bytes) -> re2._Regexp:
    """A pattern over bytes: compiled once, in Latin-1, so that what is no UTF-8 is matched as well."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.max_mem = 64 << 20
    return re2.compile(pattern.encode() if isinstance(pattern, str) else pattern, options)


# How a text looks: 0 for digits, A and a for letters. Bytes above ASCII are letters.
_SHAPES = bytes(
    ord("0")
    if 48 <= byte <= 57
    else ord("A")
    if 65 <= byte <= 90
    else ord("a")
    if 97 <= byte <= 122 or byte >= 128
    else byte
    for byte in range(256)
)
_WORD_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_JOINERS = frozenset(b".-/,")
_KEY_BYTES = _WORD_BYTES | frozenset(b"-+/=")
_SEPARATORS = b" -./()+,\t"

DIGITS = rb"[+(]{0,2}[0-9](?:[ \-./()]{0,3}[0-9]){6,40}"
MIXED = (
    rb"\b(?:[A-Z]{1,6}[0-9]|[0-9]{1,16}[A-Z])[A-Z0-9]{4,32}\b"
    rb"|\b[A-Z]{2}[0-9]{2}[ \-][A-Z0-9]{4}(?:[ \-]?[A-Z0-9]{1,4}){2,8}\b"
    rb"|\b[A-Z]{2}[ \-]?[0-9]{2}[ \-][0-9]{2}[ \-][0-9]{2}[ \-][A-D]\b|\b[A-Z]{2} [0-9]{6} [A-D]\b"
    rb"|\b[0-9]{8}[\- ][A-Z]\b|\b[A-Z][\- ][0-9]{7}[\- ]?[A-Z]\b|\b[0-9]{2}\.[0-9]{3}\.[0-9]{3}-?[A-Z]\b"
    rb"|\b[A-Z]{3} [A-Z]{3} [0-9]{2}[A-Z][0-9]{2} [A-Z][0-9]{3}[A-Z]\b|\b[A-Z]{3} [0-9]{6}\b"
    rb"|\b[A-Z]{2}[ \-](?:[A-Z0-9]{2}[ \-])?[0-9]{7,12}(?:[ \-]?[A-Z][0-9]{2})?\b"
    rb"|\b[A-Z]{2} ?[0-9]{3} [0-9]{4} [0-9]{2}\b|\bCHE-?[0-9]{3}\.?[0-9]{3}\.?[0-9]{3}(?: ?[A-Z]{3,4})?\b"
    rb"|\b[12378][ .][0-9]{2}[ .][0-9]{2}[ .]2[AB][ .][0-9]{3}[ .][0-9]{3}[ .][0-9]{2}\b"
    rb"|\b[A-Z]{6}[0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]\b"
)


@dataclass(frozen=True)
class _Hit:
    """What a part of a shape could be."""

    start: int
    end: int
    name: str
    likelihood: int
    valid: Callable[[str], bool] | None
    tolerant: bool
    strong: bool


def _bounded(shape: str, name: str) -> re.Pattern[str]:
    pattern = shape.replace("([", "(?P<sep>[", 1).replace(r"\g<sep>", "(?P=sep)")
    before, after = r"(?<![0Aa_])(?<![0Aa][.\-/,])", r"(?![0Aa_])(?![.\-/,]0)"
    if " " in shape:
        before += "(?<!0 )"
        after += "" if name == "CREDIT_CARD_NUMBER" else "(?! 0)"
    return re.compile(f"{before}(?:{pattern}){after}")


_FORMS = tuple(
    (_bounded(form.shape, detector.name), detector, int(form.likelihood))
    for detector in IDENTIFIERS
    for form in detector.forms
)
_LONGEST_FORM = 64

# Telephone numbers by their look, each with the likelihood of one that a numbering plan assigns.
_PHONE_FORMS = tuple(
    (re.compile(rf"(?<![0Aa_+(])(?<![0Aa][.\-/,])(?:{shape})(?![0A_])(?![.\-/]0)"), kind, likelihood)
    for shape, kind, likelihood in (
        (r"\(?\+\(?0{1,3}\)?(?:[ \-./()]{0,3}0){6,13}", "international", LIKELY),
        (r"(?:0[ .\-]?)?\(000\)[ .\-]?000[ .\-]?0000", "american", LIKELY),
        (r"(?:0[ .\-])?000-000-0000", "american", LIKELY),
        (r"(?:0[ .])?000\.000\.0000", "american", LIKELY),
        (r"(?:0[ ])?000 000[ \-]0000", "american", POSSIBLE),
        (r"000[\- .]\(?000\)?[\- .]000[\- .]0000", "international", LIKELY),
        (r"\(?00{1,4}\)?[ \-/.](?:0{2,8})(?:[ \-.]0{2,4}){0,4}", "national", POSSIBLE),
        (r"0{3,4}[ \-.]0{3,4}", "local", UNLIKELY),
        (r"0{10,11}", "bare", UNLIKELY),
        (r"0{12,15}", "bare", UNLIKELY),
        (r"0{7,9}", "bare", VERY_UNLIKELY),
        (r"\(?0{1,5}\)?(?:[ \-./()]{1,3}0{1,8}){1,6}", "other", UNLIKELY),
    )
)
_DATE_SHAPE = re.compile(r"(?<!0)(?:0000[\-/. ]00[\-/. ]00|00[\-/. ]00[\-/. ]0000|0{1,2}/0{1,2}/00)(?!0)")


def _hits(shape: str) -> tuple[tuple[_Hit, ...], tuple[tuple[int, int, str, int], ...]]:
    """What the parts of a shape could be: identifiers, and telephone numbers with their way of writing."""
    identifiers = []
    for pattern, detector, likelihood in _FORMS:
        for match in pattern.finditer(shape):
            identifiers.append(
                _Hit(
                    match.start(),
                    match.end(),
                    detector.name,
                    likelihood,
                    detector.valid,
                    detector.tolerant,
                    detector.chance <= 0.03,
                )
            )
    numbers: list[tuple[int, int, str, int]] = []
    if "A" not in shape and "a" not in shape:
        dates = [match.span() for match in _DATE_SHAPE.finditer(shape)]
        for phone, kind, likelihood in _PHONE_FORMS:
            for match in phone.finditer(shape):
                start, end = match.span()
                digits = shape.count("0", start, end)
                if not 7 <= digits <= 16 or any(first < end and start < last for first, last in dates):
                    continue
                if not any(first <= start and end <= last for first, last, _, _ in numbers):
                    numbers.append((start, end, kind, likelihood))
    # One detector reports a place once, by its likeliest form.
    identifiers.sort(key=lambda hit: -hit.likelihood)
    unique: dict[tuple[int, int, str], _Hit] = {}
    for hit in identifiers:
        unique.setdefault((hit.start, hit.end, hit.name), hit)
    return tuple(unique.values()), tuple(numbers)


_SHAPES_REMEMBERED = 65_536


class Scanner:
    """Finds candidates for a set of info types.

    Args:
        names: The info types that are reported. Others are looked for where they could explain the same text.
        floor: The least likelihood that anybody asks for.
    """

    def __init__(self, names: frozenset[str], floor: int) -> None:
        self._names = names
        self.floor = floor
        self._known: dict[bytes, tuple[tuple[_Hit, ...], tuple[tuple[int, int, str, int], ...]]] = {}
        self.hotwords = Hotwords(
            {detector.name: detector.phrases for detector in DETECTORS}, NOT_AN_IDENTIFIER.split(", ")
        )
        self._around: dict[tuple[bytes, bytes], Surroundings] = {}
        self.families = tuple(family for family in _families() if names & family.names)
        self.dense = frozenset[str]().union(*(family.names for family in self.families if family.dense))

    def scan(
        self,
        data: bytes,
        header: Surroundings = NOTHING,
        lines: bool = False,
        everything: bool = False,
        dense: bool | None = None,
    ) -> list[Match]:
        """Find candidates.

        Args:
            data: The text.
            header: What its column's name says.
            lines: Whether every line is a value of its own, which knows nothing of its neighbours.
            everything: Whether candidates below the floor, and invalid ones, are wanted too.
            dense: Only the dense families, or only the others; None for all.

        Returns:
            The candidates, overlapping ones included.
        """
        found: list[Match] = []
        text = _Text(self, data, header, lines, VERY_UNLIKELY if everything else self.floor, everything)
        for family in self.families:
            if dense is not None and family.dense is not dense:
                continue
            if not family.needs or any(need in data for need in family.needs):
                family.look(text, found)
        return found

    def shape(self, text: bytes) -> tuple[tuple[_Hit, ...], tuple[tuple[int, int, str, int], ...]]:
        """What a text could be by its shape, remembered."""
        shape = text.translate(_SHAPES)
        hits = self._known.get(shape)
        if hits is None:
            if len(self._known) >= _SHAPES_REMEMBERED:
                self._known.clear()
            hits = self._known[shape] = _hits(shape.decode("latin-1"))
        return hits

    def around(self, before: bytes, after: bytes) -> Surroundings:
        """What the words around a place say, remembered."""
        key = before, after
        surroundings = self._around.get(key)
        if surroundings is None:
            if len(self._around) >= _SHAPES_REMEMBERED:
                self._around.clear()
            surroundings = self._around[key] = self.hotwords.among(
                words_of(before.decode("utf-8", "replace"))[-_WORDS_BEFORE:],
                words_of(after.decode("utf-8", "replace"))[:_WORDS_AFTER],
            )
        return surroundings


_BEFORE, _AFTER = 64, 24
_WORDS_BEFORE, _WORDS_AFTER = 9, 4
_CLAUSE_END = re.compile(rb"[,;|\t]|[.!?] ")
_NAMED_BEFORE = re.compile(rb"[A-Za-z\x80-\xff]{2}")


class _Text:
    """A text being scanned, and what is asked of it."""

    def __init__(
        self, scanner: Scanner, data: bytes, header: Surroundings, lines: bool, floor: int, everything: bool
    ) -> None:
        self.scanner = scanner
        self.data = data
        self.header = header
        self.lines = lines
        self.floor = floor
        self.everything = everything

    def around(self, start: int, end: int) -> Surroundings:
        """What the words around a place and the header say together."""
        data = self.data
        first = max(start - _BEFORE, 0)
        line = data.rfind(b"\n", first, start) + 1
        before = data[max(line, first) : start]
        if line and not self.lines and not _NAMED_BEFORE.search(before):
            # A value on a line of its own is named by the line above.
            before = data[first:start]
        if first and first > line and data[first - 1] in _WORD_BYTES and before:
            # A word that the window cuts off is no word.
            cut = re.search(rb"[^A-Za-z0-9_\x80-\xff]", before)
            before = before[cut.start() :] if cut else b""
        after = data[end : end + _AFTER].partition(b"\n")[0]
        clause = _CLAUSE_END.search(after)
        if clause:
            after = after[: clause.start()]
        surroundings = self.scanner.around(before, after)
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

    def stands_alone(self, start: int, end: int, within: frozenset[int] = _WORD_BYTES) -> bool:
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
        dense: Whether ordinary tables are full of look-alikes, so that it pays to judge them by their shapes.
    """

    names: frozenset[str]
    needs: tuple[bytes, ...]
    look: Callable[[_Text, list[Match]], None]
    dense: bool = False


def spans(pattern: bytes | str, data: bytes) -> Iterator[tuple[int, int]]:
    """Where a pattern matches."""
    for match in compiled(pattern).finditer(data):
        yield match.span()


def _look_at_numbers(text: _Text, found: list[Match]) -> None:
    _look_at_shapes(text, found, DIGITS)


def _look_at_mixed(text: _Text, found: list[Match]) -> None:
    _look_at_shapes(text, found, MIXED)


def _look_at_shapes(text: _Text, found: list[Match], pattern: bytes) -> None:
    """Look up what runs of digits and letters could be by their shapes, and check what could be reported."""
    data, shape_of = text.data, text.scanner.shape
    size = len(data)
    for start, end in spans(pattern, data):
        identifiers, numbers = shape_of(data[start:end])
        if not identifiers and not numbers:
            continue
        # Part of a longer token: a decimal, a UUID, an order number with letters in front.
        glued = start > 0 and (
            data[start - 1] in _WORD_BYTES
            or (data[start - 1] in _JOINERS and start > 1 and data[start - 2] in _WORD_BYTES)
        )
        if glued and data[start - 1] in _WORD_BYTES:
            identifiers = tuple(hit for hit in identifiers if hit.start)
            numbers = tuple(number for number in numbers if number[0])
        ends_in_word = end < size and (
            data[end] in _WORD_BYTES
            or (data[end] in b"-./" and end + 1 < size and data[end + 1] in _WORD_BYTES)
        )
        last = end - start
        around: dict[int, Surroundings] = {}
        for hit in identifiers:
            if (
                ends_in_word
                and hit.end == last
                and (data[end] in _WORD_BYTES or data[end + 1 : end + 2].isdigit())
            ):
                continue
            first, after = start + hit.start, start + hit.end
            surroundings = around.get(first)
            if surroundings is None:
                surroundings = around[first] = text.around(first, after)
            distance, named = text.named(hit.name, surroundings)
            _identifier(
                text,
                found,
                hit,
                (first, after),
                distance,
                named,
                surroundings.against,
                glued and not hit.start,
            )
        if numbers:
            _phones(text, found, start, last, numbers, glued, ends_in_word)


def _identifier(
    text: _Text,
    found: list[Match],
    hit: _Hit,
    span: tuple[int, int],
    distance: int,
    named: int,
    against: int,
    glued: bool,
) -> None:
    """Judge what could be an identifier."""
    alone = hit.likelihood
    if against < 4:
        alone -= 1 if hit.strong else 2
    if glued:
        alone = min(alone, UNLIKELY)
    contradicted = against < distance
    if not named:
        likelihood = alone
    elif hit.likelihood == VERY_UNLIKELY:
        likelihood = LIKELY
    else:
        likelihood = VERY_LIKELY
    if named and contradicted:
        likelihood = max(min(likelihood, POSSIBLE), alone) if hit.strong else alone
    if likelihood < text.floor and not text.everything:
        return
    value = text.data[span[0] : span[1]].translate(None, _SEPARATORS).decode("latin-1")
    if hit.valid is None or hit.valid(value):
        found.append(Match(*span, hit.name, max(likelihood, 1), VALIDATOR | named, distance))
        return
    if named and hit.tolerant and not contradicted and not glued:
        found.append(Match(*span, hit.name, POSSIBLE, SHAPE | named, distance, False))
    elif text.everything:
        found.append(Match(*span, hit.name, VERY_UNLIKELY, SHAPE | named, distance, False))


_EXTENSION = re.compile(rb" ?(?:x|ext\.?|extension|#) ?[0-9]{1,6}(?![0-9A-Za-z])")


def _phones(
    text: _Text,
    found: list[Match],
    offset: int,
    last: int,
    numbers: tuple[tuple[int, int, str, int], ...],
    glued: bool,
    ends_in_word: bool,
) -> None:
    """Judge what could be telephone numbers."""
    if "PHONE_NUMBER" not in text.scanner._names:
        return
    data = text.data
    for first, end, kind, usual in numbers:
        span = offset + first, offset + end
        extension = _EXTENSION.match(data, span[1]) if end == last else None
        if end == last and ends_in_word and extension is None:
            continue
        surroundings = text.around(*span)
        distance, named = text.named("PHONE_NUMBER", surroundings)
        alone = usual
        if surroundings.against < 4 and kind != "international":
            alone -= 2
        if glued and not first:
            alone = UNLIKELY
        if not named and alone < text.floor and not text.everything:
            continue
        digits = data[span[0] : span[1]].translate(None, _SEPARATORS).decode("latin-1")
        assigned = _is_assigned(kind, digits, data[span[0] : span[1]])
        if named and surroundings.against < distance:
            named = 0
        if assigned:
            likelihood = VERY_LIKELY if named else alone
            if named and kind == "bare":
                likelihood = LIKELY
        elif named and (kind != "bare" or len(digits) >= 10):
            likelihood = POSSIBLE
        elif kind in ("american", "international") and alone >= LIKELY:
            likelihood = UNLIKELY if kind == "american" else POSSIBLE
        else:
            likelihood = VERY_UNLIKELY
        if likelihood >= text.floor:
            if extension is not None:
                span = span[0], extension.end()
            evidence = (VALIDATOR if assigned else SHAPE) | named
            found.append(Match(*span, "PHONE_NUMBER", max(likelihood, 1), evidence, distance, assigned))


def _is_assigned(kind: str, digits: str, written: bytes) -> bool:
    """Whether a numbering plan assigns the number."""
    if kind == "international":
        return phones.is_international(digits.removeprefix("00") if b"+" not in written else digits)
    if kind == "american":
        return phones.is_national(digits, "US")
    if kind == "national":
        if digits[0] != "0":
            return False
        if digits.startswith("00"):
            return phones.is_international(digits[2:])
        return bool(phones.regions_of(digits))
    if kind == "local":
        return len(digits) == 7 and digits[0] in "23456789"
    if digits.startswith("00"):
        return phones.is_international(digits[2:])
    return bool(phones.regions_of(digits)) or (len(digits) >= 11 and phones.is_international(digits))


_EMAIL = (
    rb"[A-Za-z0-9\x80-\xff](?:[A-Za-z0-9\x80-\xff._%+'\-!#$&*/=?^{|}~]{0,63})@"
    rb"(?:[A-Za-z0-9\x80-\xff](?:[A-Za-z0-9\x80-\xff\-]{0,62})?\.){1,8}[A-Za-z\x80-\xff]{2,24}"
)
_NOT_MAIL = frozenset(b"png jpg jpeg gif svg webp css js ts py json html".split())


def _look_at_emails(text: _Text, found: list[Match]) -> None:
    data = text.data
    for first, end in spans(_EMAIL, data):
        start = first
        local, _, domain = data[start:end].rpartition(b"@")
        # What stands before an address in a query or an assignment is not of it.
        cut = max(
            local.rfind(mark) for mark in (b"=", b"/", b"'", b"|", b"{", b"&", b"?", b"!", b"#", b"$", b"*")
        )
        if cut >= 0:
            start += cut + 1
            local = local[cut + 1 :]
        if (
            not local
            or local.endswith(b".")
            or b".." in local
            or local.startswith(b"%")
            or domain.rpartition(b".")[2].lower() in _NOT_MAIL
            or local == b"git"
        ):
            continue
        if end < len(data) and data[end] in _WORD_BYTES:
            continue
        text.add(found, (start, end), "EMAIL_ADDRESS", LIKELY, SHAPE | VALIDATOR)


_URL = (
    rb"(?i)\b(?:https?|ftps?|sftp|wss?|ssh|ldaps?|jdbc:[a-z]+|s3|gs|postgres(?:ql)?|mysql|"
    rb"mongodb(?:\+srv)?|amqps?|rediss?|smtps?|imaps?|file)://[^\s<>\"'`\\{}|^]{3,}"
)
_WWW = rb"(?i)\bwww\.[a-z0-9\-]{1,63}(?:\.[a-z0-9\-]{1,63}){1,6}(?:/[^\s<>\"'`\\{}|^]*)?"
_WITH_PASSWORD = re.compile(rb"[A-Za-z][A-Za-z0-9+.:\-]{1,30}://([^\s/:@\"']*):([^\s/@\"']{2,})@")


def _look_at_urls(text: _Text, found: list[Match]) -> None:
    data = text.data
    for pattern in (_URL, _WWW):
        for start, last in spans(pattern, data):
            address = data[start:last]
            stripped = address.rstrip(b".,;:!?*_~]")
            if stripped.endswith(b")") and stripped.count(b"(") < stripped.count(b")"):
                stripped = stripped[:-1].rstrip(b".,;:!?")
            end = start + len(stripped)
            if "URL" in text.scanner._names and stripped[-3:] != b"://":
                text.add(found, (start, end), "URL", LIKELY, SHAPE, surroundings=NOTHING)


def _look_at_url_passwords(text: _Text, found: list[Match]) -> None:
    data = text.data
    for start, _ in spans(rb"[A-Za-z][A-Za-z0-9+.:\-]{1,30}://[^\s/:@\"'<>]*:[^\s/@\"'<>]{2,}@", data):
        match = _WITH_PASSWORD.match(data, start)
        if match is not None and not _is_placeholder(match[2].decode("latin-1")):
            text.add(found, match.span(2), "PASSWORD", LIKELY, SHAPE | HOTWORD, surroundings=NOTHING)


_DOMAIN = rb"\b(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,18}\b"
_COMMON = word_set("""
    com org net edu gov io co uk de fr eu ai app dev info biz
    """)


def _look_at_domains(text: _Text, found: list[Match]) -> None:
    data = text.data
    for start, end in spans(_DOMAIN, data):
        domain = data[start:end]
        ending = domain.rpartition(b".")[2].decode("latin-1").lower()
        if ending not in _contacts.TOP_LEVEL_DOMAINS:
            continue
        if (start and data[start - 1] in b"@/._-\\") or data[end : end + 1] in (b"(", b"@", b"_", b"="):
            continue
        if domain != domain.lower() and domain != domain.upper() and ending not in _COMMON:
            continue
        if ending in _contacts.FILE_SUFFIXES:
            alone = UNLIKELY
        elif ending in _COMMON:
            alone = LIKELY
        else:
            alone = POSSIBLE if domain.count(b".") > 1 else UNLIKELY
        if alone >= text.floor or "DOMAIN_NAME" in text.header.hot:
            text.add(found, (start, end), "DOMAIN_NAME", alone, SHAPE | VALIDATOR)


_IP_4 = rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
_IP_6 = (
    rb"(?:[0-9A-Fa-f]{1,4}:){3,7}[0-9A-Fa-f]{1,4}(?:\.[0-9]{1,3}){0,3}"
    rb"|[0-9A-Fa-f:]{0,40}::[0-9A-Fa-f:]{0,40}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3})?"
)
_VERSION = frozenset(word.strip() for word in _contacts.VERSION_NAMES.split(","))


def _look_at_ip_4(text: _Text, found: list[Match]) -> None:
    data = text.data
    for start, end in spans(_IP_4, data):
        octets = data[start:end].split(b".")
        if any(int(octet) > 255 or (len(octet) > 1 and octet[0] == 48) for octet in octets):
            continue
        before, after = data[max(start - 2, 0) : start], data[end : end + 2]
        if (before[-1:] and before[-1] in _WORD_BYTES and before[-1:] not in b"_") or before[-1:] in (
            b".",
            b"-",
            b"+",
        ):
            continue
        if after[:1] and (
            after[0] in _WORD_BYTES or (after[:1] in (b".", b"-", b"+") and after[1:2].isalnum())
        ):
            continue
        surroundings = text.around(start, end)
        words = words_of(data[max(start - 24, data.rfind(b"\n", 0, start) + 1, 0) : start].decode("latin-1"))
        alone = LIKELY
        if octets[0] == b"0" and octets != [b"0"] * 4:
            alone = UNLIKELY
        if (
            _VERSION & set(words[-3:])
            or before in (b"==", b"~=", b">=", b"<=")
            or (before[1:] == b"/" and before[:1].isalnum())
        ):
            alone = VERY_UNLIKELY if surroundings.hot.get("IP_ADDRESS", FAR) > 1 else POSSIBLE
            surroundings = NOTHING
        elif all(len(octet) == 1 for octet in octets):
            alone = POSSIBLE
        text.add(found, (start, end), "IP_ADDRESS", alone, SHAPE | VALIDATOR, surroundings=surroundings)


def _look_at_ip_6(text: _Text, found: list[Match]) -> None:
    data = text.data
    for start, last in spans(_IP_6, data):
        address = data[start:last]
        if not address.endswith(b"::"):
            address = address.rstrip(b":")
        end = start + len(address)
        if len(address) < 6 or not text.stands_alone(start, end, _WORD_BYTES | frozenset(b":")):
            continue
        try:
            ipaddress.IPv6Address(address.decode("ascii"))
        except ValueError:
            continue
        if not any(48 <= byte <= 57 for byte in address):
            continue
        text.add(found, (start, end), "IP_ADDRESS", LIKELY, SHAPE | VALIDATOR)


_MAC = (
    rb"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|"
    rb"(?:[0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}"
)


def _look_at_macs(text: _Text, found: list[Match]) -> None:
    data = text.data
    for start, end in spans(_MAC, data):
        if not text.stands_alone(start, end, _WORD_BYTES | frozenset(b":-")):
            continue
        dotted = b"." in data[start:end]
        plain = data[start:end].translate(None, b"-.:").isdigit()
        alone = UNLIKELY if dotted or (plain and b"-" in data[start:end]) else LIKELY
        text.add(found, (start, end), "MAC_ADDRESS", alone, SHAPE)


_COIN = rb"\b[13][1-9A-HJ-NP-Za-km-z]{25,34}\b|\b(?:bc1[02-9ac-hj-np-z]{11,71}|BC1[02-9AC-HJ-NP-Z]{11,71})\b"
_ETHER = rb"\b0x[0-9a-fA-F]{40}\b"


def _look_at_coins(text: _Text, found: list[Match]) -> None:
    for pattern, name in ((_COIN, "BITCOIN_ADDRESS"), (_ETHER, "ETHEREUM_ADDRESS")):
        valid = BY_NAME[name].valid
        for span in spans(pattern, text.data):
            value = text.data[slice(*span)].decode("latin-1")
            if valid is not None and valid(value):
                text.add(found, span, name, LIKELY, SHAPE | VALIDATOR)
            elif not value.isdigit() and any(letter.isdigit() for letter in value):
                text.add(found, span, name, VERY_UNLIKELY, SHAPE, hot=POSSIBLE, valid=False)


_SWIFT = rb"\b[A-Z]{6}[A-Z2-9][A-NP-Z0-9](?:[A-Z0-9]{3})?\b"


def _look_at_swift(text: _Text, found: list[Match]) -> None:
    for start, end in spans(_SWIFT, text.data):
        code = text.data[start:end].decode("ascii")
        if not checks.swift(code):
            continue
        likely_written = any(letter.isdigit() for letter in code) or code.endswith("XXX")
        text.add(
            found,
            (start, end),
            "SWIFT_CODE",
            POSSIBLE if likely_written and len(code) == 11 else UNLIKELY,
            SHAPE | VALIDATOR,
        )


# --- what follows are secrets

_KEYS = tuple((key, compiled(key.pattern)) for key in SERVICE_KEYS)
_ALL_KEYS = "|".join(f"(?:{key.pattern})" for key in SERVICE_KEYS)
_PLACEHOLDER = compiled(f"(?i){_credentials.PLACEHOLDER}")
_NO_KEY = compiled(_credentials.NO_KEY)
_DIGEST_NAMES = frozenset(_credentials.DIGEST_NAMES.split(", "))
_FILLERS = (
    "EXAMPLE",
    "xxxx",
    "XXXX",
    "0000000000",
    "1234567890123",
    "abcdefgh",
    "ABCDEFGH",
    "aaaaaaa",
    "AAAAAAAA",
    "placeholder",
    "your_",
    "YOUR_",
    "....",
    "****",
)


def _is_placeholder(value: str) -> bool:
    return _PLACEHOLDER.search(value.encode()) is not None or len(set(value)) < 3


def _look_at_service_keys(text: _Text, found: list[Match]) -> None:
    data = text.data
    for start, end in spans(_ALL_KEYS, data):
        if (start and data[start - 1] in _WORD_BYTES) or (end < len(data) and data[end] in _WORD_BYTES):
            continue
        value = data[start:end]
        for key, pattern in _KEYS:
            match = pattern.match(value)
            if match is None or match.end() != len(value) or key.name not in text.scanner._names:
                continue
            written = value.decode("latin-1")
            if any(filler in written for filler in _FILLERS) and not key.name.endswith("WEBHOOK"):
                break
            if checks.entropy(written) < max(key.entropy, 2.5):
                break
            text.add(
                found, (start, end), key.name, int(key.likelihood), PREFIX | ENTROPY, surroundings=NOTHING
            )
            break


_NAMES = f"(?:{_credentials.NAMES_OF_PASSWORDS}|{_credentials.NAMES_OF_SECRETS})"
_ASSIGNED = (
    rf"(?i){_NAMES}[a-z0-9_\-.]{{0,30}}(?:\\?[\"'\]]){{0,3}}[ \t]{{0,6}}"
    r"(?:(?::[ ]?(?:str|string|optional\[str\]|&str|char ?\*)[ ]?)?(?:=>|:=|={1,3}|:)|[ ](?:is|was|are|"
    r"to)[ :]|>|,[ ]?[\"'])[ \t]{0,6}"
    r"(?:[brfu@$]?\\?[\"'`]|&quot;)?"
    rf"|(?i)--[a-z\-]{{0,20}}{_NAMES}[ =][\"']?"
)
_PASSWORD_NAME = compiled(f"(?i)(?:{_credentials.NAMES_OF_PASSWORDS})")
_NAME_PART = compiled(f"(?i)(?:{_NAMES})")
_QUOTES = b"\"'`"
_VALUE = re.compile(rb"[^\s\"'`;,<>()\[\]{}\\]+")
_IDENTIFIER_BYTES = _WORD_BYTES | frozenset(b"-.")
# The last word of a name that holds something about a secret, not the secret.
_ABOUT = word_set("""
    hash hashed hasher url uri urls path file files filename type types name names id ids length len
    size expiry expires expiration ttl count field fields label hint policy reset endpoint prefix header
    headers regex pattern version status format method required enabled min max limit strength confirm
    confirmation error errors message msg index row column provider store manager class func function
    handler callback validator valid invalid test tests page form input box placeholder title
    description link date time at on age encoder encoding encoded cache rotation arn ref reference
    location dir directory algorithm alg mode issuer audience scope scopes usage used remaining total
    budget window per parser stream list set map dict kind map mapping
    """)


def _look_at_assignments(text: _Text, found: list[Match]) -> None:
    data = text.data
    names = text.scanner._names
    for first, start in spans(_ASSIGNED, data):
        quote = data[start - 1 : start]
        quoted = quote in (b'"', b"'", b"`")
        if quoted:
            end = data.find(quote, start, start + 512)
            if end < 0 or b"\n" in data[start:end]:
                continue
            if data[end - 1 : end] == b"\\":
                end -= 1
        else:
            match = _VALUE.match(data, start, min(start + 512, len(data)))
            if match is None:
                continue
            end = match.end()
            end -= len(data[start:end]) - len(data[start:end].rstrip(b".!?:"))
        if not 4 <= end - start <= 500:
            continue
        # The whole name, back to where it begins.
        begin = first
        while begin > 0 and first - begin < 40 and data[begin - 1] in _IDENTIFIER_BYTES:
            begin -= 1
        named = _NAME_PART.search(data, first)
        name = data[begin : named.end() if named else start].decode("latin-1")
        rest = data[named.end() if named else start : start].decode("latin-1")
        suffix = re.match(r"[A-Za-z0-9_\-.]*", rest)
        judged = _secret(
            name, suffix.group() if suffix else "", data[start:end].decode("utf-8", "replace"), quoted, rest
        )
        if judged is None:
            continue
        kind, likelihood = judged
        if (
            kind == "AUTH_TOKEN"
            and re.search(r"(?i)aws|secret_?access", name)
            and re.fullmatch(rb"[A-Za-z0-9+/]{40}", data[start:end])
        ):
            kind, likelihood = "AWS_CREDENTIALS", VERY_LIKELY
        if kind in names and likelihood >= text.floor:
            found.append(Match(start, end, kind, likelihood, ENTROPY | HOTWORD, 0))


def _secret(name: str, suffix: str, value: str, quoted: bool, sign: str) -> tuple[str, int] | None:
    """What the value of a name that speaks of secrets is, and how sure that is; None where it is none."""
    words = words_of(name + suffix)
    if not words or words[-1] in _ABOUT or _DIGEST_NAMES & set(words[-2:]):
        return None
    if (
        suffix
        and suffix[0].isalpha()
        and suffix[0].islower()
        and name[-1].islower()
        and words[-1] != "s"
        and len(suffix) > 1
    ):
        return None  # tokenizer, secretary
    if _is_placeholder(value):
        return None
    is_password = _PASSWORD_NAME.search(name.encode("latin-1")) is not None
    prose = sign.strip(" \"'") in ("is", "was", "are", "to", "is:", "") and not quoted
    has_digit = any(letter.isdigit() for letter in value)
    has_letter = any(letter.isalpha() for letter in value)
    symbols = sum(not letter.isalnum() for letter in value)
    if is_password:
        if re.search(r"^\$?(?:2[aby]|argon2\w*|pbkdf2\w*|scrypt|[156])\$|^\{[A-Z0-9]+\}", value):
            return "PASSWORD", UNLIKELY  # a salted hash
        if quoted:
            if " " in value:
                return (
                    None
                    if value.count(" ") > 2 and not has_digit
                    else ("PASSWORD", UNLIKELY if not has_digit else POSSIBLE)
                )
            return "PASSWORD", LIKELY if has_digit or symbols else POSSIBLE
        if prose:
            if has_digit and has_letter and len(value) >= 6:
                return "PASSWORD", LIKELY
            return "PASSWORD", POSSIBLE if (has_digit or symbols) and len(value) >= 5 and not re.fullmatch(
                r"[a-z]+[-'][a-z]+", value
            ) else UNLIKELY
        if has_digit and (has_letter or symbols):
            return "PASSWORD", LIKELY
        if re.fullmatch(r"[A-Za-z_][A-Za-z_.]*", value):
            upper = name.isupper()
            return "PASSWORD", POSSIBLE if upper and value.isalpha() else UNLIKELY
        return "PASSWORD", POSSIBLE
    if len(value) < 10 or " " in value or _NO_KEY.search(value.encode()) is not None:
        return None
    if "salt" in words and len(value) < 16:
        return None
    bits = checks.entropy(value)
    mixed = has_digit and has_letter
    if len(value) >= 16 and mixed and bits >= (3.0 if re.fullmatch(r"[0-9a-fA-F]+", value) else 3.3):
        return "AUTH_TOKEN", VERY_LIKELY if bits >= 4.2 and len(value) >= 32 else LIKELY
    if len(value) >= 20 and has_letter and bits >= 4.0 and symbols <= len(value) // 4 and not value.islower():
        return "AUTH_TOKEN", LIKELY
    if mixed and bits >= 3.0 and not prose:
        return "AUTH_TOKEN", POSSIBLE
    return None


def secret_value(name: str, value: str) -> bool:
    """Whether a value of a column whose name speaks of secrets is one."""
    judged = _secret(name, "", value, True, "")
    return judged is not None and judged[1] >= POSSIBLE


_BEARER = rb"(?i)\b(?:bearer|basic|token|digest|apikey)[ :]{1,2}[\"']?[A-Za-z0-9\-._~+/]{16,}={0,2}"


def _look_at_headers(text: _Text, found: list[Match]) -> None:
    data = text.data
    for start, end in spans(_BEARER, data):
        scheme, _, value = data[start:end].replace(b":", b" ").partition(b" ")
        value = value.strip(b" \"'")
        first = end - len(value)
        written = value.decode("ascii")
        if _is_placeholder(written) or any(filler in written for filler in _FILLERS):
            continue
        if scheme.lower() == b"basic":
            try:
                likelihood = VERY_LIKELY if b":" in base64.b64decode(value, validate=True) else 0
            except (binascii.Error, ValueError):
                likelihood = 0
        else:
            random = any(letter.isdigit() for letter in written) and checks.entropy(written) >= 3.3
            likelihood = LIKELY if random and _NO_KEY.search(value) is None else 0
        if likelihood >= max(text.floor, 1):
            found.append(Match(first, end, "AUTH_TOKEN", likelihood, ENTROPY | HOTWORD, 0))


_JWT = rb"eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{4,}\.[A-Za-z0-9_\-]*"


def _look_at_jwts(text: _Text, found: list[Match]) -> None:
    for start, end in spans(_JWT, text.data):
        head = text.data[start:end].partition(b".")[0]
        try:
            header = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
        except (binascii.Error, ValueError):
            header = None
        valid = isinstance(header, dict) and "alg" in header
        likelihood = VERY_LIKELY if valid else POSSIBLE
        if likelihood >= text.floor:
            found.append(
                Match(start, end, "JSON_WEB_TOKEN", likelihood, PREFIX | (VALIDATOR if valid else SHAPE))
            )


_PEM = (
    rb"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    rb"|PuTTY-User-Key-File-[23]: [a-z0-9\-]{3,40}"
)
_LONGEST_PEM = 32_768


def _look_at_private_keys(text: _Text, found: list[Match]) -> None:
    data = text.data
    for start, head in spans(_PEM, data):
        stop = data.find(b"-----END", head, head + _LONGEST_PEM)
        body = data[head : stop if stop > 0 else head + 2_000]
        end = min(stop + 8 + len(data[start:head]) - 10, len(data)) if stop > 0 else head
        material = sum(len(run) for run in re.findall(rb"[A-Za-z0-9+/=]{16,}", body))
        likelihood = VERY_LIKELY if material >= 40 else UNLIKELY
        if likelihood >= text.floor:
            found.append(
                Match(
                    start, end, "ENCRYPTION_KEY", likelihood, PREFIX | (ENTROPY if material >= 40 else SHAPE)
                )
            )


_COOKIE = (
    rb"(?i)\b(?:set-)?cookie[\"']?[ ]{0,2}[:=][ ]{0,2}[\"']?[A-Za-z0-9_.\-]{1,60}=[^\s;,\"'=]{6,}[^\r\n\"']*"
)


def _look_at_cookies(text: _Text, found: list[Match]) -> None:
    for start, end in spans(_COOKIE, text.data):
        value = text.data[start:end]
        mark = re.search(rb"[:=] ?[\"']? ?", value)
        first = start + (mark.end() if mark else 0)
        content = text.data[first:end].partition(b"=")[2].partition(b";")[0].decode("latin-1")
        if not _is_placeholder(content) and text.floor <= LIKELY:
            found.append(Match(first, end, "HTTP_COOKIE", LIKELY, SHAPE | HOTWORD, 0))


_SERVICE_ACCOUNT = rb"\"type\"[ ]{0,4}:[ ]{0,4}\"(?:service_account|authorized_user|external_account)\""


def _look_at_service_accounts(text: _Text, found: list[Match]) -> None:
    for start, end in spans(_SERVICE_ACCOUNT, text.data):
        near = text.data[max(start - 4_096, 0) : end + 4_096]
        likelihood = VERY_LIKELY if b"PRIVATE KEY" in near or b"refresh_token" in near else UNLIKELY
        if likelihood >= text.floor:
            found.append(Match(start, end, "GCP_CREDENTIALS", likelihood, PREFIX | SHAPE))


# --- what follows is known by the word before it

_MONTHS = (
    r"(?:jan(?:uary|uar)?|feb(?:ruary|ruar)?|mar(?:ch)?|m(?:ä|ae)rz|apr(?:il)?|may|mai|june?|juni|july?|"
    r"juli|aug(?:ust)?|sept?(?:ember)?|"
    r"o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?)"
)
_DATE = re.compile(
    r"(?i)(?<![0-9])(?:(?P<y>(?:18|19|20)[0-9]{2})[\-/. ](?P<m>[0-9]{1,2})[\-/. ](?P<d>[0-9]{1,2})"
    r"|(?P<a>[0-9]{1,2})[\-/. ](?P<b>[0-9]{1,2})[\-/. ](?P<c>(?:18|19|20)[0-9]{2}|[0-9]{2})"
    rf"|[0-9]{{1,2}}(?:st|nd|rd|th|\.)?[ \-](?:of )?{_MONTHS}\.?[ ,\-]{{1,2}}(?P<e>(?:18|19|20)[0-9]{{2}}|"
    rf"[0-9]{{2}})"
    rf"|{_MONTHS}\.? [0-9]{{1,2}}(?:st|nd|rd|th)?,? (?P<f>(?:18|19|20)[0-9]{{2}})"
    rf"|{_MONTHS}/[0-9]{{2}}"
    r"|(?P<g>(?:19|20)[0-9]{2})(?P<h>[01][0-9])(?P<i>[0-3][0-9]))(?![0-9])"
)


def is_date(text: str) -> bool:
    """Whether a text is a date of the last 130 years, in one of the usual ways of writing."""
    match = _DATE.fullmatch(text.strip().partition("T")[0].removesuffix(" 00:00:00"))
    return match is not None and _plausible(match)


def _plausible(match: re.Match[str]) -> bool:
    """Whether there is such a day, day or month first."""
    if match["y"]:
        return checks.calendar_day(int(match["y"]), int(match["m"]), int(match["d"]))
    if match["a"]:
        year = int(match["c"]) + (1900 if len(match["c"]) == 2 else 0)
        first, second = int(match["a"]), int(match["b"])
        return checks.calendar_day(year, first, second) or checks.calendar_day(year, second, first)
    if match["g"]:
        return checks.calendar_day(int(match["g"]), int(match["h"]), int(match["i"]))
    return True


_PASSPORT_NUMBER = re.compile(
    r"(?<![A-Za-z0-9\-])(?=[A-Z0-9]*[0-9]{4})[A-Z]{0,3}[0-9][0-9A-Z]{5,8}(?![A-Za-z0-9])"
)
_ETHNIC_TERM = re.compile(
    r"(?i)\b(?:" + "|".join(sorted(map(re.escape, _people.ETHNIC_GROUPS), key=len, reverse=True)) + r")\b"
)


def _leads(name: str) -> str:
    """A pattern of an info type's hotwords, in which any one separator may stand between words."""
    return "|".join(
        phrase.replace(" ", r"[ _\-]?")
        for phrase in sorted(BY_NAME[name].phrases, key=len, reverse=True)
        if phrase.isascii()
    )


_AFTER_LEAD = 48


def _led(
    name: str, value: re.Pattern[str], accept: Callable[[re.Match[str]], bool], likelihood: int
) -> Callable[[_Text, list[Match]], None]:
    """A look for values that follow one of an info type's hotwords on the same line."""
    pattern = rf"(?i)(?:{_leads(name)})"

    def look(text: _Text, found: list[Match]) -> None:
        data = text.data
        seen = -1
        for start, end in spans(pattern, data):
            # Camel case and underscores join words: birthDate, patient_dob.
            if not text.stands_alone(start, end, _LETTER_BYTES) and not _is_part(data, start, end):
                continue
            after = data[end : end + _AFTER_LEAD].partition(b"\n")[0].decode("latin-1")
            match = value.search(after)
            if match is None or not accept(match) or end + match.start() <= seen:
                continue
            seen = end + match.start()
            found.append(Match(end + match.start(), end + match.end(), name, likelihood, SHAPE | HOTWORD, 0))

    return look


_LETTER_BYTES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def _is_part(data: bytes, start: int, end: int) -> bool:
    """Whether a hotword is a whole part of an identifier in camel case."""
    before = start == 0 or data[start - 1] not in _LETTER_BYTES or data[start : start + 1].isupper()
    after = end >= len(data) or data[end] not in _LETTER_BYTES or data[end : end + 1].isupper()
    return before and after


_NAME_WORD = rb"[A-Z\xc3][a-z\x80-\xff]{1,20}(?:[\-'][A-Z][a-z\x80-\xff]{1,20})?"
_TITLES = (
    rb"(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sir|Herr|Frau|Monsieur|Madame|Mme|"
    rb"Se\xc3\xb1ora|Se\xc3\xb1or|Sr|Sra|Signora|Signor)\.?"
)
_PERSON = (
    rb"\b" + _TITLES + rb" (?:[A-Z]\. ?)?" + _NAME_WORD + rb"(?: (?:[A-Z]\.|" + _NAME_WORD + rb")){0,3}"
    rb"|\b"
    + _NAME_WORD
    + rb" (?:[A-Z]\.? |"
    + _NAME_WORD
    + rb" )?(?:van |von |de |di |da |del |O')?(?:Mc|Mac)?"
    + _NAME_WORD
)
_TITLE = re.compile(_TITLES + rb" ")
_NAMED = re.compile(
    rb"(?i)(?:\bname(?:d| is|:)?|\bi'?m|\bi am|\bcalled|\bdear|\bhi|\bhello|regards,?|sincerely,?|signed|"
    rb"patient|employee|customer|contact|attn:?)[ :\t]{1,3}$"
)


def _look_at_names(text: _Text, found: list[Match]) -> None:
    data = text.data
    for start, end in spans(_PERSON, data):
        title = _TITLE.match(data, start, end)
        words = [
            folded(word)
            for word in data[start + (len(title[0]) if title else 0) : end].decode("utf-8", "replace").split()
        ]
        given = words[0] in _people.GIVEN_NAMES or (len(words) > 2 and words[1] in _people.GIVEN_NAMES)
        family = words[-1] in _people.SURNAMES
        named = _NAMED.search(data, max(start - 16, 0), start) is not None
        if title:
            likelihood, evidence = (LIKELY if len(words) > 1 or given or family else POSSIBLE), HOTWORD
        elif given and family:
            likelihood, evidence = LIKELY, DICTIONARY
        elif given or (family and named):
            likelihood, evidence = POSSIBLE, DICTIONARY
        else:
            continue
        if named and likelihood < VERY_LIKELY:
            likelihood, evidence = likelihood + 1, evidence | HOTWORD
        if likelihood >= text.floor:
            found.append(
                Match(start + (len(title[0]) if title else 0), end, "PERSON_NAME", likelihood, evidence)
            )


@lru_cache(maxsize=16_384)
def folded(word: str) -> str:
    """A word in lower case, without accents, punctuation and apostrophes."""
    if not word.isascii():
        import unicodedata

        word = unicodedata.normalize("NFKD", word).encode("ascii", "ignore").decode()
    return "".join(letter for letter in word.lower() if letter.isalpha())


_STREET = (
    rb"\b[0-9]{1,6}[A-Za-z]?(?:-[0-9]{1,4})?,? (?:(?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)\.? )?"
    rb"(?:(?:[A-Z][A-Za-z'\x80-\xff\-]{0,24}|[0-9]{1,3}(?:st|nd|rd|th))\.? ){1,4}(?i:"
    + _people.STREET_WORDS.encode()
    + rb")\b\.?"
    rb"(?:,? (?i:apt|apartment|suite|ste|unit|floor|fl|room|#)\.? ?[0-9A-Za-z\-]{1,6}\b)?"
    rb"|\b[A-Z\xc3][a-z\x80-\xff\-]{1,30}(?:stra(?:\xc3\x9f|ss)e|str\.|weg|platz|allee|gasse|ufer|damm|"
    rb"ring|straat|laan|gatan|v\xc3\xa4gen) [0-9]{1,4} ?[a-z]?\b"
    rb"|\b[0-9]{1,4}(?: ?bis| ?ter)?,? (?i:rue|avenue|boulevard|place|chemin|all\xc3\xa9e|impasse|quai|"
    rb"cours|route) (?:(?:de|du|des|la|le|les|d'|l')[ ']?){0,2}[A-Z][A-Za-z\x80-\xff'\-]{2,30}(?: "
    rb"[A-Z][A-Za-z\x80-\xff'\-]{2,30}){0,2}"
    rb"|\b(?:Calle|Avenida|Avda\.?|Plaza|Paseo|Carrera|Rua|Travessa|Via|Viale|Piazza|Corso|ulica|ul\.) "
    rb"(?:(?:de|del|la|los|las|da|do|dei|della) ){0,2}[A-Z\xc3][A-Za-z\x80-\xff'\-]{2,30}(?: "
    rb"[A-Za-z\x80-\xff'\-]{2,30}){0,3},? (?:n\xc2\xba ?)?[0-9]{1,5}[A-Za-z]?\b"
    rb"|\bP\.? ?O\.? Box [0-9]{1,7}\b"
)
_SURE_STREET = re.compile(rb"(?i)[ ](?:" + _people.SURE_STREET_WORDS.encode() + rb")\b")


def _look_at_streets(text: _Text, found: list[Match]) -> None:
    data = text.data
    for start, end in spans(_STREET, data):
        sure = not data[start : start + 1].isdigit() or _SURE_STREET.search(data, start, end) is not None
        text.add(found, (start, end), "STREET_ADDRESS", LIKELY if sure else UNLIKELY, SHAPE)


def _families() -> Iterable[Family]:
    """All scans, the cheap and frequent first."""
    mixed = frozenset(
        detector.name for detector in IDENTIFIERS if any("A" in form.shape for form in detector.forms)
    )
    digits = frozenset(
        detector.name for detector in IDENTIFIERS if any("A" not in form.shape for form in detector.forms)
    )
    keys = frozenset(key.name for key in SERVICE_KEYS)

    def only(*names: str) -> frozenset[str]:
        return frozenset(names)

    yield Family(digits | {"PHONE_NUMBER"}, (), _look_at_numbers, dense=True)
    yield Family(mixed, (), _look_at_mixed, dense=True)
    yield Family(only("EMAIL_ADDRESS"), (b"@",), _look_at_emails, dense=True)
    yield Family(only("URL"), (b"://", b"www.", b"WWW."), _look_at_urls, dense=True)
    yield Family(only("DOMAIN_NAME"), (b".",), _look_at_domains, dense=True)
    yield Family(only("IP_ADDRESS"), (b".",), _look_at_ip_4, dense=True)
    yield Family(only("IP_ADDRESS"), (b":",), _look_at_ip_6, dense=True)
    yield Family(only("MAC_ADDRESS"), (b":", b"-", b"."), _look_at_macs, dense=True)
    yield Family(only("BITCOIN_ADDRESS", "ETHEREUM_ADDRESS"), (), _look_at_coins, dense=True)
    yield Family(only("SWIFT_CODE"), (), _look_at_swift, dense=True)
    yield Family(keys, (), _look_at_service_keys)
    yield Family(only("PASSWORD", "AUTH_TOKEN", "AWS_CREDENTIALS"), (), _look_at_assignments)
    yield Family(only("PASSWORD"), (b"://",), _look_at_url_passwords)
    yield Family(only("AUTH_TOKEN"), (), _look_at_headers)
    yield Family(only("JSON_WEB_TOKEN"), (b"eyJ",), _look_at_jwts)
    yield Family(only("ENCRYPTION_KEY"), (b"-----BEGIN", b"PuTTY-User"), _look_at_private_keys)
    yield Family(only("HTTP_COOKIE"), (b"ookie", b"OOKIE"), _look_at_cookies)
    yield Family(only("GCP_CREDENTIALS"), (b'"type"',), _look_at_service_accounts)
    yield Family(only("DATE_OF_BIRTH"), (), _led("DATE_OF_BIRTH", _DATE, _plausible, VERY_LIKELY))
    yield Family(only("PASSPORT"), (), _led("PASSPORT", _PASSPORT_NUMBER, lambda match: True, LIKELY))
    yield Family(only("ETHNIC_GROUP"), (), _led("ETHNIC_GROUP", _ETHNIC_TERM, lambda match: True, LIKELY))
    yield Family(only("PERSON_NAME"), (), _look_at_names, dense=True)
    yield Family(only("STREET_ADDRESS"), (), _look_at_streets, dense=True)
