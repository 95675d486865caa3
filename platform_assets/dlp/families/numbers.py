"""Identifiers of digits and capitals, and telephone numbers: found as runs, told apart by their shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from platform_assets.dlp import phones
from platform_assets.dlp.context import Surroundings
from platform_assets.dlp.detectors.identifiers import IDENTIFIERS
from platform_assets.dlp.families.text import (
    JOINERS,
    LIKELY,
    POSSIBLE,
    SEPARATORS,
    SHAPE,
    SHAPES,
    UNLIKELY,
    VALIDATOR,
    VERY_LIKELY,
    VERY_UNLIKELY,
    WORD_BYTES,
    Family,
    Match,
    Text,
    spans,
)

DIGITS = rb"[+(]{0,2}[0-9](?:[ \-./()]{0,3}[0-9]){6,40}"
MIXED = (
    rb"\b(?:[A-Z]{1,16}[0-9]|[0-9]{1,16}[A-Z])[A-Z0-9]{4,32}\b|\b[0-9]{7,9}[A-Z]\b"
    rb"|\b[A-Z]{2}[0-9]{2}[ \-][A-Z0-9]{4}(?:[ \-]?[A-Z0-9]{1,4}){2,8}\b"
    rb"|\b[A-Z]{2}[ \-]?[0-9]{2}[ \-][0-9]{2}[ \-][0-9]{2}[ \-][A-Z]\b|\b[A-Z]{2} [0-9]{6} [A-Z]\b"
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
    before, after = r"(?<![0Aa_])(?<![0Aa][.\-/])", r"(?![0Aa_])(?![.\-/]0)"
    if " " in shape:
        before += "(?<!0 )"
        after += "" if name == "CREDIT_CARD_NUMBER" else "(?! 0)"
    return re.compile(f"{before}(?:{pattern}){after}")


_FORMS = tuple(
    (_bounded(form.shape, detector.name), detector, int(form.likelihood))
    for detector in IDENTIFIERS
    for form in detector.forms
)

# Telephone numbers by their look, each with the likelihood of one that a numbering plan assigns.
_PHONE_FORMS = tuple(
    (re.compile(rf"(?<![0Aa_+(])(?<![0Aa][.\-/])(?:{shape})(?![0A_])(?![.\-/]0)"), kind, likelihood)
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
_DATE_SHAPE = re.compile(r"(?<!0)(?:0000([\-/.])00\100|00([\-/.])00\2(?:00)?00|0{1,2}/0{1,2}/00)(?!0)")


@lru_cache(maxsize=65_536)
def _hits(written: bytes) -> tuple[tuple[_Hit, ...], tuple[tuple[int, int, str, int], ...]]:
    """What the parts of a shape could be: identifiers, and telephone numbers with their way of writing."""
    shape = written.decode("latin-1")
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
                if not 7 <= digits <= 16 or (kind == "national" and digits < 10):
                    continue
                if kind in ("national", "local", "other") and any(
                    first < end and start < last for first, last in dates
                ):
                    continue
                if not any(first <= start and end <= last for first, last, _, _ in numbers):
                    numbers.append((start, end, kind, likelihood))
    # One detector reports a place once, by its likeliest form.
    identifiers.sort(key=lambda hit: -hit.likelihood)
    unique: dict[tuple[int, int, str], _Hit] = {}
    for hit in identifiers:
        unique.setdefault((hit.start, hit.end, hit.name), hit)
    return tuple(unique.values()), tuple(numbers)


def _look_at_numbers(text: Text, found: list[Match]) -> None:
    _look_at_shapes(text, found, DIGITS)


def _look_at_mixed(text: Text, found: list[Match]) -> None:
    _look_at_shapes(text, found, MIXED)


def _look_at_shapes(text: Text, found: list[Match], pattern: bytes) -> None:
    """Look up what runs of digits and letters could be by their shapes, and check what could be reported."""
    data, floor = text.data, text.floor
    size = len(data)
    for start, end in spans(pattern, data):
        identifiers, numbers = _hits(data[start:end].translate(SHAPES))
        if not identifiers and not numbers:
            continue
        # Part of a longer token: a decimal, a UUID, an order number with letters in front.
        glued = start > 0 and (
            data[start - 1] in WORD_BYTES
            or (data[start - 1] in JOINERS and start > 1 and data[start - 2] in WORD_BYTES)
        )
        if glued and data[start - 1] in WORD_BYTES:
            identifiers = tuple(hit for hit in identifiers if hit.start)
            numbers = tuple(number for number in numbers if number[0])
        ends_in_word = end < size and (
            data[end] in WORD_BYTES
            or (data[end] in b"-./" and end + 1 < size and data[end + 1] in WORD_BYTES)
        )
        last = end - start
        around: dict[int, Surroundings] = {}
        for hit in identifiers:
            if (
                ends_in_word
                and hit.end == last
                and (data[end] in WORD_BYTES or data[end + 1 : end + 2].isdigit())
            ):
                continue
            first, after = start + hit.start, start + hit.end
            surroundings = around.get(first)
            if surroundings is None:
                surroundings = around[first] = text.around(first, after)
            if hit.likelihood < floor and hit.name not in surroundings.hot:
                continue
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
            _phones(text, found, start, last, numbers, glued, ends_in_word, around)


def _identifier(
    text: Text,
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
        # Named as something else: bare digits right after "order id" are one.
        bare = hit.end - hit.start < 20 and text.data[span[0] : span[1]].isdigit()
        alone -= 1 if hit.strong and not (bare and against <= 1) else 2
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
    value = text.data[span[0] : span[1]].translate(None, SEPARATORS).decode("latin-1")
    if hit.valid is None or hit.valid(value):
        found.append(Match(*span, hit.name, max(likelihood, 1), VALIDATOR | named, distance))
        return
    if named and hit.tolerant and not contradicted and not glued:
        found.append(Match(*span, hit.name, POSSIBLE, SHAPE | named, distance, False))
    elif text.everything:
        found.append(Match(*span, hit.name, VERY_UNLIKELY, SHAPE | named, distance, False))


_AMERICAN = re.compile(r"1?[2-9][0-9]{2}[2-9][0-9]{6}")
_EXTENSION = re.compile(rb" ?(?:x|ext\.?|extension|#) ?[0-9]{1,6}(?![0-9A-Za-z])")


def _phones(
    text: Text,
    found: list[Match],
    offset: int,
    last: int,
    numbers: tuple[tuple[int, int, str, int], ...],
    glued: bool,
    ends_in_word: bool,
    around: dict[int, Surroundings],
) -> None:
    """Judge what could be telephone numbers."""
    if "PHONE_NUMBER" not in text.names:
        return
    data = text.data
    for first, end, kind, usual in numbers:
        span = offset + first, offset + end
        if glued and not first and kind not in ("international", "american"):
            continue
        extension = _EXTENSION.match(data, span[1]) if end == last else None
        if end == last and ends_in_word and extension is None:
            continue
        surroundings = around.get(span[0]) or text.around(*span)
        if usual < text.floor and "PHONE_NUMBER" not in surroundings.hot:
            continue
        distance, named = text.named("PHONE_NUMBER", surroundings)
        alone = usual
        if surroundings.against < 4 and kind != "international":
            alone -= 2
        if glued and not first:
            alone = UNLIKELY
        if not named and alone < text.floor and not text.everything:
            continue
        digits = data[span[0] : span[1]].translate(None, SEPARATORS).decode("latin-1")
        assigned = _is_assigned(kind, digits, data[span[0] : span[1]])
        if named and surroundings.against < distance:
            named = 0
        if assigned:
            likelihood = VERY_LIKELY if named else alone
            if named and kind == "bare":
                likelihood = LIKELY
        elif named and (kind != "bare" or len(digits) >= 10 or distance <= 1):
            likelihood = POSSIBLE
        elif kind in ("american", "international") and alone >= LIKELY:
            # Written as only telephone numbers are; plans change, and much data is made up.
            likelihood = POSSIBLE if kind == "international" or _AMERICAN.fullmatch(digits) else UNLIKELY
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


def families() -> Iterator[Family]:
    """The scans of this module."""
    letters = frozenset(
        detector.name for detector in IDENTIFIERS if any("A" in form.shape for form in detector.forms)
    )
    figures = frozenset(
        detector.name for detector in IDENTIFIERS if any("A" not in form.shape for form in detector.forms)
    )
    yield Family(figures | {"PHONE_NUMBER"}, (), _look_at_numbers, form="digits")
    yield Family(letters, (), _look_at_mixed, form="digits")
