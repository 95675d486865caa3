"""Identifiers of digits and capitals, and telephone numbers: found as runs, classified by their shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from platform_assets.dlp.local import checks, phones
from platform_assets.dlp.local.context import FAR, Surroundings
from platform_assets.dlp.local.detectors import BY_NAME
from platform_assets.dlp.local.detectors.identifiers import IDENTIFIERS
from platform_assets.dlp.local.scanners.published import is_in_notice
from platform_assets.dlp.local.scanners.text import (
    HOTWORD,
    JOINERS,
    LIKELY,
    POSSIBLE,
    SEPARATORS,
    SHAPE,
    UNLIKELY,
    VALIDATOR,
    VERY_LIKELY,
    VERY_UNLIKELY,
    WORD_BYTES,
    InfoTypeScanner,
    Match,
    ScannedText,
    spans,
)
from platform_assets.formats.words import SHAPES

DIGITS = rb"[+(]{0,2}[0-9](?:[ \-./()]{0,3}[0-9]){6,40}"
MIXED = (
    rb"\b[XYZ][0-9]{7}-[A-Z]\b"
    rb"|\b(?:[A-Z]{1,16}[0-9]|[0-9]{1,16}[A-Z])[A-Z0-9]{4,32}\b|\b[0-9]{7,9}[A-Z]\b"
    rb"|\b[A-Z]{2}[0-9]{2}[ \-][A-Z0-9]{4}(?:[ \-]?[A-Z0-9]{1,4}){2,8}\b"
    rb"|\b[A-Z]{2}[ \-]?[0-9]{2}[ \-][0-9]{2}[ \-][0-9]{2}[ \-][A-Z]\b|\b[A-Z]{2} [0-9]{6} ?[A-Z]\b"
    rb"|\b[0-9]{8}[\- ][A-Z]\b|\b[A-Z][\- ][0-9]{7}[\- ]?[A-Z]\b|\b[0-9]{2}\.[0-9]{3}\.[0-9]{3}-?[A-Z]\b"
    rb"|\b[A-Z]{3} [A-Z]{3} [0-9]{2}[A-Z][0-9]{2} [A-Z][0-9]{3}[A-Z]\b|\b[A-Z]{3} [0-9]{6}\b"
    rb"|\b[A-Z]{2}[ \-](?:[A-Z0-9]{2}[ \-])?[0-9]{7,12}(?:[ \-]?[A-Z][0-9]{2})?\b"
    rb"|\b[A-Z]{2} ?[0-9]{3} [0-9]{4} [0-9]{2}\b|\bCHE-?[0-9]{3}\.?[0-9]{3}\.?[0-9]{3}(?: ?[A-Z]{3,4})?\b"
    rb"|\b[12378][ .][0-9]{2}[ .][0-9]{2}[ .]2[AB][ .][0-9]{3}[ .][0-9]{3}[ .][0-9]{2}\b"
    rb"|\b[A-Z]{6}[0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]\b"
)


@dataclass(frozen=True)
class _Hit:
    """An info type that a part of a shape could be."""

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
    (_bounded(form.shape, detector.name), detector, form)
    for detector in IDENTIFIERS
    for form in detector.forms
)


_POSSIBLE_AMERICAN = re.compile(r"[2-9][0-9]{2}[2-9][0-9]{6}")
_GROUPS = re.compile(rb"[0-9]+")


def _american(digits: str, usual: int) -> tuple[int, bool]:
    """The likelihood of numbers in groups of three, three and four, with or without a leading 1."""
    if len(digits) == 11 and digits[0] != "1":
        assigned = _is_russian(digits)
        return (POSSIBLE if assigned else UNLIKELY), assigned
    if digits[0] == "0":
        assigned = digits[1] != "0" and phones.is_dialled(digits)
        return (POSSIBLE if assigned else UNLIKELY), assigned
    if phones.is_national(digits, "US"):
        return usual, True
    possible = usual > POSSIBLE or _POSSIBLE_AMERICAN.fullmatch(digits[-10:]) is not None
    return (POSSIBLE if possible else UNLIKELY), False


def _is_russian(digits: str) -> bool:
    return digits[0] in "78" and phones.is_subscriber(digits[1:], "RU")


def _is_telling(digits: str) -> bool:
    """Return True for bare digits that are hardly ever another number: a trunk prefix, or Chinese mobiles."""
    return phones.is_mobile(digits, "CN") or (
        digits[0] == "0" and len(digits) <= 11 and phones.is_dialled(digits) and not _is_book(digits)
    )


def _is_long_international(digits: str) -> bool:
    return len(digits) >= 11 and phones.is_international(digits)


def _is_book(digits: str) -> bool:
    """Return True if ten digits are an ISBN; English ones begin with 0, as many telephone numbers do."""
    return (
        len(digits) == 10 and sum((10 - place) * int(digit) for place, digit in enumerate(digits)) % 11 == 0
    )


@dataclass(frozen=True, eq=False)
class _Kind:
    """A rule for telephone numbers in some notations.

    If only telephone numbers have the notation, an unassigned number is still POSSIBLE: plans change, and
    much data is made up.

    Args:
        assigned: Returns True if a numbering plan has the number: from its digits, its text, and regions.
        otherwise: The highest likelihood of an unassigned number, from its digits and its text.
        has_prefix: True if leading zeros may be the prefix of international calls.
        abroad: The highest likelihood of an unassigned number with that prefix.
        is_telling: Returns True for digits that hardly any other number has; the others are UNLIKELY at most.
        is_doubtful: True if other data has the notation too: dates, decimals, amounts.
        is_weak: True if a hotword counts only where it is near.
        is_written_out: True if the notation is enough to know where the number starts.
        has_country: True if the number names its country, whatever is beside it.
    """

    assigned: Callable[[str, bytes, tuple[str, ...]], bool]
    otherwise: Callable[[str, bytes], int] = lambda digits, written: UNLIKELY
    has_prefix: bool = True
    abroad: int = VERY_UNLIKELY
    is_telling: Callable[[str], bool] | None = None
    is_doubtful: bool = False
    is_weak: bool = False
    is_written_out: bool = False
    has_country: bool = False


_KINDS = {
    "international": _Kind(
        lambda digits, _, __: phones.is_international(digits),
        lambda digits, _: POSSIBLE if digits[0] != "0" else VERY_UNLIKELY,
        has_prefix=False,
        is_written_out=True,
        has_country=True,
    ),
    "abroad": _Kind(
        lambda *_: False,
        lambda *_: VERY_UNLIKELY,
        abroad=POSSIBLE,
        is_written_out=True,
        has_country=True,
    ),
    # `_american` judges it: likelihoods depend on the plan that has the number.
    "american": _Kind(lambda *_: False, is_written_out=True),
    "national": _Kind(
        lambda digits, written, _: (
            digits[0] == "0"
            and (len(digits) >= 9 or len(_GROUPS.findall(written)) > 2)
            and phones.is_dialled(digits)
        ),
        is_doubtful=True,
    ),
    "coded": _Kind(lambda digits, _, __: phones.is_international(digits)),
    "russian": _Kind(
        lambda digits, _, __: _is_russian(digits),
        lambda digits, written: POSSIBLE if digits[0] in "78" and b"(" in written else UNLIKELY,
    ),
    # Before 2016 mobile numbers did not start with 9, and much data still has the old form.
    "brazilian": _Kind(
        lambda digits, _, __: "0" not in digits[:2] and (len(digits) == 10 or digits[2] == "9")
    ),
    "subscriber": _Kind(
        lambda digits, _, regions: any(phones.is_subscriber(digits, region) for region in regions),
        is_doubtful=True,
    ),
    "mobile": _Kind(lambda digits, _, regions: any(phones.is_mobile(digits, region) for region in regions)),
    "local": _Kind(
        lambda digits, _, __: len(digits) == 7 and digits[0] in "23456789", is_doubtful=True, is_weak=True
    ),
    "bare": _Kind(
        lambda digits, _, __: phones.is_dialled(digits) or _is_long_international(digits),
        is_telling=_is_telling,
        is_weak=True,
    ),
    "other": _Kind(
        lambda digits, _, __: (
            phones.is_mobile(digits, "CN") or phones.is_dialled(digits) or _is_long_international(digits)
        ),
        is_doubtful=True,
        is_weak=True,
    ),
}
"""The kinds of notations of telephone numbers."""


@dataclass(frozen=True, eq=False)
class _Look:
    """A notation of telephone numbers.

    Args:
        kind: Name of the rule that validates numbers of this notation.
        likelihood: The highest likelihood without a hotword.
        regions: The regions whose plans are used, if the kind says that the number has no country code.
    """

    kind: str
    likelihood: int
    regions: tuple[str, ...] = ()


_LOOKS: tuple[tuple[str, _Look], ...] = (
    (r"\(?\+\(?0{1,3}\)?(?:[ \-./()]{0,3}0){6,13}", _Look("international", LIKELY)),
    (r"(?:0[ .\-]?)?\(000\)[ .\-]?000[ .\-]?0000", _Look("american", LIKELY)),
    (r"(?:0[ .\-])?000-000-0000", _Look("american", LIKELY)),
    (r"(?:0[ .])?000\.000\.0000", _Look("american", LIKELY)),
    (r"000/000[\-/]0000", _Look("american", LIKELY)),
    (r"000[\- .]\(?000\)?[\- .]000[\- .]0000", _Look("abroad", LIKELY)),
    (r"0[ \-]?\(000\)[ \-]?000[ \-]?00[ \-]?00", _Look("russian", POSSIBLE)),
    (r"\(00{1,4}\)[ \-/]{0,3}0{2,8}(?:[ \-./]0{2,4}){0,4}", _Look("national", POSSIBLE)),
    (r"00{1,4}(?: ?[\-/] ?| )0{2,8}(?:[ \-./]0{2,4}){0,4}", _Look("national", POSSIBLE)),
    (r"00{1,3}(?:\.0{2,3}){1,4}(?:\.0{4})?", _Look("national", POSSIBLE)),
    (r"\(?00\)?[ \-/]?0{1,2}[ \-/]000[ \-]0{3,4}", _Look("national", POSSIBLE)),
    (r"\(0{2,3}\) ?0{2,5}(?:[ \-]?0{2,4}){1,3}", _Look("coded", POSSIBLE)),
    (r"\(00\) ?0{4,5}[ \-]?0000", _Look("brazilian", POSSIBLE)),
    (r"\(00\) ?0000[ \-]?0000", _Look("subscriber", POSSIBLE, ("MX",))),
    (r"000-0{7}", _Look("subscriber", POSSIBLE, ("US", "GR"))),
    (r"000-00-00-00", _Look("subscriber", POSSIBLE, ("ES",))),
    (r"000\.00\.00\.00", _Look("subscriber", POSSIBLE, ("ES",))),
    (r"00-000-00-00", _Look("subscriber", POSSIBLE, ("PL",))),
    (r"000[\-/]0{6,7}", _Look("mobile", POSSIBLE, ("IT",))),
    (r"0{3,4}[ \-.]0{3,4}", _Look("local", UNLIKELY)),
    (r"0{10,11}", _Look("bare", POSSIBLE)),
    (r"0{12,15}", _Look("bare", POSSIBLE)),
    (r"0{7,9}", _Look("bare", VERY_UNLIKELY)),
    (r"\(?0{1,5}\)?(?:[ \-./()]{1,3}0{1,8}){1,6}", _Look("other", UNLIKELY)),
)
"""Telephone numbers as shapes."""

_LOOKS_IN_ROWS: tuple[tuple[str, _Look], ...] = (
    (r"(?:0 )?000 000[ \-]0000", _Look("american", POSSIBLE)),
    (r"0 000 000[ \-]00[ \-]?00", _Look("russian", POSSIBLE)),
    (r"00 0{4,5}-0000", _Look("brazilian", POSSIBLE)),
    (r"000 00 00 00", _Look("subscriber", POSSIBLE, ("ES",))),
    (r"00 000 00 00", _Look("subscriber", POSSIBLE, ("PL",))),
    (r"0000 000 ?000", _Look("subscriber", POSSIBLE, ("GR", "AU"))),
    (r"000 0{7}", _Look("subscriber", POSSIBLE, ("GR",))),
    (r"000 0{6,7}", _Look("mobile", POSSIBLE, ("IT",))),
    (r"00000 00000", _Look("mobile", POSSIBLE, ("IN",))),
    (r"000 000 00 00", _Look("mobile", POSSIBLE, ("TR", "UA", "RU", "CO"))),
)
"""Telephone numbers as groups between spaces, as in rows of numbers: no other group may be adjacent."""

_DOT = ord(".")
_LOOK_PATTERNS = (
    *(
        (re.compile(rf"(?<![0Aa_+(])(?<![0Aa][.\-/])(?:{shape})(?![0A_])(?![.\-/]0)"), look)
        for shape, look in _LOOKS
    ),
    *(
        (re.compile(rf"(?<![0Aa_+(])(?<![0Aa][.\-/ ])(?:{shape})(?![0A_])(?![.\-/ ]0)"), look)
        for shape, look in _LOOKS_IN_ROWS
    ),
)
_DATE_SHAPE = re.compile(
    r"(?<!0)(?<!0[\-/.])(?:0000(?P<by>[\-/.])00(?P=by)00(?!(?P=by)?0)|00(?P<sep>[\-/.])00(?P=sep)(?:00)?00(?!(?P=sep)?0)|0{1,2}/0{1,2}/00(?!/?0))"
)
# A decimal, a social security number, a postal code of the United States.
_NO_PHONE_SHAPE = re.compile(r"0+\.0+|000[ \-]00[ \-]0000|00000-0000")
_OCTETS_SHAPE = re.compile(r"0{1,3}(?:\.0{1,3}){3}")
# Years, a day without separators, and bytes.
_NO_PHONE = re.compile(
    rb"(?:19|20)[0-9]{2} ?[ \-.] ?(?:19|20)[0-9]{2}|(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])[0-3][0-9]"
    rb"|.*00[ .\-]00[ .\-]00.*"
    # A network with the length of its prefix, and versions.
    rb"|[0-9]{1,4}\.[0-9]{1,3} [0-9]{1,4}\.[0-9]{1,3}"  # places in a drawing
    rb"|[0-9]{1,3}(?:\.[0-9]{1,3}){3}/[0-9]{1,2}|[0-9]{1,2}(?:\.[0-9]{1,2}){2}/[0-9]{1,2}(?:\.[0-9]{1,2}){2}"
)


# Powers of two, and the number before each: limits of integers and of fields.
_LIMITS = frozenset(b"%d" % (2**bits - less) for bits in range(20, 64) for less in (0, 1))


# Start and end in the run, notations, kind of the first notation, highest likelihood of all.
_Number = tuple[int, int, tuple[_Look, ...], str, int]


@lru_cache(maxsize=65_536)
def _hits(written: bytes) -> tuple[tuple[_Hit, ...], tuple[_Number, ...]]:
    """Possible meanings of the parts of a shape: identifiers, and telephone numbers with their notations."""
    shape = written.decode("latin-1")
    identifiers = []
    for pattern, detector, form in _FORMS:
        for match in pattern.finditer(shape):
            identifiers.append(
                _Hit(
                    match.start(),
                    match.end(),
                    detector.name,
                    int(form.likelihood),
                    detector.valid,
                    detector.tolerant and form.tolerant,
                    detector.chance <= 0.03,
                )
            )
    numbers: dict[tuple[int, int], list[_Look]] = {}
    if "A" not in shape and "a" not in shape:
        dates = [match.span() for match in _DATE_SHAPE.finditer(shape)]
        for pattern, look in _LOOK_PATTERNS:
            for match in pattern.finditer(shape):
                start, end = match.span()
                if not 7 <= shape.count("0", start, end) <= 16:
                    continue
                if _KINDS[look.kind].is_doubtful and (
                    any(first < end and start < last for first, last in dates)
                    or _NO_PHONE_SHAPE.fullmatch(shape, start, end)
                ):
                    continue
                if look.kind == "other" and _OCTETS_SHAPE.fullmatch(shape, start, end):
                    continue
                if not any(
                    first <= start and end <= last and (first, last) != (start, end)
                    for first, last in numbers
                ):
                    numbers.setdefault((start, end), []).append(look)
    # A detector reports a position once, in its most likely form.
    identifiers.sort(key=lambda hit: -hit.likelihood)
    unique: dict[tuple[int, int, str], _Hit] = {}
    for hit in identifiers:
        unique.setdefault((hit.start, hit.end, hit.name), hit)
    return tuple(unique.values()), tuple(
        (*span, tuple(looks), looks[0].kind, max(look.likelihood for look in looks))
        for span, looks in numbers.items()
    )


def _look_at_numbers(text: ScannedText, found: list[Match]) -> None:
    _look_at_shapes(text, found, DIGITS)


def _look_at_mixed(text: ScannedText, found: list[Match]) -> None:
    _look_at_shapes(text, found, MIXED)


# Codes that are also written in lower case, and that are too long to be valid by chance.
_SMALL = (
    rb"\b[a-z]{2}[0-9]{2}(?:[a-z0-9]{11,30}|(?: [a-z0-9]{4}){2,7}(?: [a-z0-9]{1,3})?)\b"
    rb"|\b[a-z]{6}[0-9lmnp-v]{2}[abcdehlmprst][0-9lmnp-v]{2}[a-z][0-9lmnp-v]{3}[a-z]\b"
)


def _look_at_small_letters(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    for start, end in spans(_SMALL, data):
        value = data[start:end].translate(None, SEPARATORS).decode("ascii").upper()
        name = "IBAN_CODE" if value[2:4].isdigit() else "ITALY_FISCAL_CODE"
        valid = BY_NAME[name].valid
        if name in text.names and valid is not None and valid(value):
            text.add(found, (start, end), name, LIKELY, VALIDATOR)


_COMPOUND = re.compile(rb"-[a-z]{3}")
"""The hyphen and letters behind a part's name in a compound: MC146818A-compatible."""


def _look_at_shapes(text: ScannedText, found: list[Match], pattern: bytes) -> None:
    """Look up runs of digits and letters by their shapes, and validate what could be reported."""
    data, floor = text.data, text.floor
    size = len(data)
    for start, end in spans(pattern, data):
        identifiers, numbers = _hits(data[start:end].translate(SHAPES))
        if not identifiers and not numbers:
            continue
        # Part of a longer token: a decimal, a UUID, an order number with leading letters.
        glued = start > 0 and (
            data[start - 1] in WORD_BYTES
            or (data[start - 1] in JOINERS and start > 1 and data[start - 2] in WORD_BYTES)
            or data[start - 1] == _DOT  # a decimal without a digit before its point
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
                and (
                    data[end] in WORD_BYTES
                    or data[end + 1 : end + 2].isdigit()
                    or (pattern is MIXED and _COMPOUND.match(data, end) is not None)
                )
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
    text: ScannedText,
    found: list[Match],
    hit: _Hit,
    span: tuple[int, int],
    distance: int,
    named: int,
    against: int,
    glued: bool,
) -> None:
    """Evaluate a possible identifier."""
    alone = hit.likelihood
    if against < 4:
        # Named as something else: bare digits right after "order id" are an order id.
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
    if hit.name == "CREDIT_CARD_NUMBER" and not named and _is_among_long_integers(text.data, *span):
        likelihood = VERY_UNLIKELY
    if likelihood < text.floor and not text.everything:
        return
    value = text.data[span[0] : span[1]].translate(None, SEPARATORS).decode("latin-1")
    if hit.valid is None or hit.valid(value):
        if (b" " in text.data[span[0] : span[1]] and _is_among_codes(text.data, *span)) or (
            value[:1].isupper() and len(set(value[2:])) == 1  # a placeholder behind a country: SK9999999999
        ):
            likelihood = VERY_UNLIKELY
        if likelihood > POSSIBLE and text.is_in_session(span[0]):
            likelihood = POSSIBLE
        if likelihood >= text.floor or text.everything:
            found.append(Match(*span, hit.name, max(likelihood, 1), VALIDATOR | named, distance))
        return
    is_tolerated = named and hit.tolerant and not contradicted and not glued
    if is_tolerated and not _is_filler(value, text.data, span[0]):
        found.append(Match(*span, hit.name, POSSIBLE, SHAPE | named, distance, False))
    elif text.everything:
        found.append(Match(*span, hit.name, VERY_UNLIKELY, SHAPE | named, distance, False))


_FILLERS = frozenset(
    {"1234567890123456", "123456789012345", "0123456789012345", "1234123412341234", "1234567812345678"}
)
_SAYS_SO = re.compile(
    rb"(?i)placeholder|\be\.g\.|\b(?:example|sample|dummy|fake|format|such as|looks like|for instance)\b"
)


def _is_filler(value: str, data: bytes, start: int) -> bool:
    """Return True for placeholder numbers: all digits equal, or a known one whose line says so."""
    if len(set(value)) == 1:
        return True
    line = data[max(start - 64, data.rfind(b"\n", 0, start) + 1) : start]
    return value in _FILLERS and _SAYS_SO.search(line) is not None


_CODE = rb"(?=[0-9]{0,3}[A-F])(?=[A-F]{0,3}[0-9])[0-9A-F]{4}"
_CODE_IN_FRONT = re.compile(rb"(?:^|[^0-9A-Za-z])" + _CODE + rb" \Z")
_CODE_BEHIND = re.compile(rb" " + _CODE + rb"(?![0-9A-Za-z])")


def _is_among_codes(data: bytes, start: int, end: int) -> bool:
    """Return True if groups of digits are part of a row of hexadecimal groups."""
    return (
        _CODE_IN_FRONT.search(data, max(start - 6, 0), start) is not None
        or _CODE_BEHIND.match(data, end) is not None
    )


_INTEGER_BEFORE = re.compile(rb"(?<![0-9A-Za-z.])[0-9]{16,20}[^\S\n]*[,;|]?\s*-?$")
_INTEGER_AFTER = re.compile(rb"[^\S\n]*[,;|]?\s*-?([0-9]{16,20})(?![0-9A-Za-z.])")
_LONG = 17


def _is_among_long_integers(data: bytes, start: int, end: int) -> bool:
    """Return True if a number is one of several integers of 17 to 19 digits, not all of them cards.

    One in a hundred integers of 64 bits looks like a card's number.
    """
    if end - start < _LONG or not data[start:end].isdigit():
        return False
    before = _INTEGER_BEFORE.search(data, max(start - 48, 0), start)
    after = _INTEGER_AFTER.match(data, end)
    beside = [re.sub(rb"[^0-9]", b"", match[0]) for match in (before, after) if match is not None]
    return any(not checks.payment_card(number.decode("ascii")) for number in beside)


_EXTENSION = re.compile(rb" ?(?:x|ext\.?|extension|#) ?[0-9]{1,6}(?![0-9A-Za-z])")
_CURRENCIES = (
    rb"(?:[$]|\xc2[\xa2\xa3\xa5]|\xe2\x82[\xa0-\xbf]|z\xc5\x82|K\xc4\x8d|\xd1\x80\xd1\x83\xd0\xb1|"
    rb"\b(?:EUR|USD|GBP|CHF|JPY|CNY|INR|AUD|CAD|NZD|PLN|CZK|HUF|SEK|NOK|DKK|RUB|TRY|BRL|MXN|ZAR|KRW|ILS|AED|"
    rb"kr|Ft|Rs)\b\.?)"
)
# An amount: a currency, a comma with digits, or an addend.
_SUM_BEFORE = re.compile(rb"[0-9],\Z|(?:" + _CURRENCIES + rb") ?\Z|[0-9)] [+*=] \Z")
_SUM_AFTER = re.compile(rb",[0-9]| ?(?:%|" + _CURRENCIES + rb")| [+*=] [0-9(]")
_NEGATIVE = re.compile(rb"(?:^|[^A-Za-z.:])-\Z")
_MAIL_AFTER = re.compile(rb"[A-Za-z0-9._%+\-]{0,63}@[A-Za-z0-9]")
_LABEL_AFTER = re.compile(
    rb"(?i) ?[(\-]? ?(?:office|fax|home|cell|mobile|mob|direct|desk|tel|phone|landline)\b"
)
_CODE_BEFORE = re.compile(rb"(?i)(?<![a-z])(?:id|code|key|zip|pin|merge)[\"']?[:=# ]{1,3}[\"']?\Z|`\Z")
_NEAR = 3
# Words beside a number that name something other than a telephone number.
_IDENTIFIER_NAMES = frozenset(detector.name for detector in IDENTIFIERS)


def _phones(
    text: ScannedText,
    found: list[Match],
    offset: int,
    last: int,
    numbers: tuple[_Number, ...],
    glued: bool,
    ends_in_word: bool,
    around: dict[int, Surroundings],
) -> None:
    """Evaluate possible telephone numbers."""
    if "PHONE_NUMBER" not in text.names:
        return
    data, floor = text.data, text.floor
    # A value at the start of its line has no words before it except its column's name.
    unnamed = text.lines and not text.everything and "PHONE_NUMBER" not in text.header_at(offset).hot
    for first, end, looks, kind, highest in numbers:
        rule, start, stop, is_glued = _KINDS[kind], offset + first, offset + end, glued and not first
        if (
            (is_glued and not rule.is_written_out)
            or (highest < floor and unnamed and data[start - 1 : start] in b"\n")
            or (kind == "national" and len(looks) == 1 and data[start] not in b"0(")
        ):
            continue
        extension = _EXTENSION.match(data, stop) if end == last else None
        if end == last and ends_in_word and extension is None and not _LABEL_AFTER.match(data, stop):
            continue
        usual = highest
        if kind == "bare" and extension is None and (data[start] not in _BARE_BEGINNINGS or text.lines):
            usual = min(usual, UNLIKELY)
        surroundings = around.get(start) or text.around(start, stop)
        distance, named = text.named("PHONE_NUMBER", surroundings)
        if surroundings.against < distance:
            named = 0
        if (
            named
            and (rule.is_weak or (kind == "national" and data[start] not in b"0("))
            and not text.lines
            and distance > 1
            and not _LABEL_AFTER.match(data, stop)
            and "PHONE_NUMBER" not in text.before(start).hot
        ):
            distance, named = FAR, 0  # a word behind digits is mostly of what follows
        if not named and kind != "bare" and end == last and _LABEL_AFTER.match(data, stop):
            distance, named = 0, HOTWORD
        if usual < floor and not named and not text.everything:
            continue
        written = data[start:stop]
        alone, assigned = _best_phone(looks, written, highest)
        if not (named and assigned):
            alone = min(alone, usual)
            if extension is not None and (not rule.is_weak or (kind == "bare" and len(written) >= 10)):
                alone = max(alone, POSSIBLE)
            if not rule.has_country and _is_named_otherwise(data, start, kind, surroundings, distance):
                alone -= 2
            if is_glued:
                alone = min(alone, UNLIKELY)
        likelihood = _named_phone(kind, alone, assigned, distance, len(written)) if named else alone
        if likelihood >= floor and (
            (kind != "international" and _is_another(data, start, stop, written))
            or (data[start] not in b"0(+" and _NEGATIVE.search(data, max(start - 2, 0), start))
            or _MAIL_AFTER.match(data, stop)
            or data[start - 1 : start] == b"@"
        ):
            likelihood, named, assigned = VERY_UNLIKELY, 0, False
        start, stop = _without_open_parentheses(data, start, stop)
        if likelihood > POSSIBLE and (text.is_example(start) or is_in_notice(text)):
            likelihood = POSSIBLE
        if likelihood >= floor or text.everything:
            evidence = (VALIDATOR if assigned else SHAPE) | named
            stop = stop if extension is None else extension.end()
            found.append(Match(start, stop, "PHONE_NUMBER", max(likelihood, 1), evidence, distance, assigned))


def _without_open_parentheses(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """The span without parentheses around it that are not closed, or not opened, within it."""
    opened, closed = data.count(b"(", start, stop), data.count(b")", start, stop)
    if opened > closed and data[start : start + 1] == b"(":
        return start + 1, stop
    if closed > opened and data[stop - 1 : stop] == b")":
        return start, stop - 1
    return start, stop


def _best_phone(looks: Sequence[_Look], written: bytes, highest: int) -> tuple[int, bool]:
    """The likelihood of the best of a number's notations, and whether a numbering plan has it."""
    best = _phone(looks[0], written)
    for look in looks[1:]:
        if best[0] >= highest:
            break
        best = max(best, _phone(look, written))
    return best


def _named_phone(kind: str, alone: int, assigned: bool, distance: int, size: int) -> int:
    """The likelihood of a telephone number beside a hotword."""
    if assigned:
        return LIKELY if kind == "bare" else VERY_LIKELY
    reach = _NEAR if kind != "bare" else FAR if size >= 10 else 1
    return max(alone, POSSIBLE) if not _KINDS[kind].is_weak or distance <= reach else VERY_UNLIKELY


def _is_named_otherwise(
    data: bytes, start: int, kind: str, surroundings: Surroundings, distance: int
) -> bool:
    """Return True if a word beside a number names something other than a telephone."""
    return (
        surroundings.against < 4
        or bool(surroundings.hot and _names_an_identifier(surroundings, distance))
        or (kind == "bare" and _CODE_BEFORE.search(data, max(start - 12, 0), start) is not None)
    )


def _names_an_identifier(surroundings: Surroundings, distance: int) -> bool:
    """Return True if a hotword right beside a number names something other than a telephone."""
    nearer = min(distance, _NEAR)
    return any(other < nearer and name in _IDENTIFIER_NAMES for name, other in surroundings.hot.items())


def _is_another(data: bytes, start: int, end: int, written: bytes) -> bool:
    """Return True if a number is an amount, years, a day, bytes, a colour or a limit of integers."""
    return (
        _SUM_BEFORE.search(data, max(start - 4, 0), start) is not None
        or _SUM_AFTER.match(data, end) is not None
        or _NO_PHONE.fullmatch(written) is not None
        or (written.isdigit() and (written in _LIMITS or len(set(written)) == 1))
        or (data[start - 1 : start] == b"#" and end - start in (6, 8))
    )


_BARE_BEGINNINGS = b"01"


def _phone(look: _Look, written: bytes) -> tuple[int, bool]:
    """The likelihood of a telephone number by notation and digits, and whether a numbering plan has it."""
    digits = written.translate(None, SEPARATORS).decode("latin-1")
    if look.kind == "american":
        return _american(digits, look.likelihood)
    rule = _KINDS[look.kind]
    if rule.has_prefix and digits.startswith("00"):
        assigned = len(digits) >= 12 and phones.is_international(digits[2:])
        return (look.likelihood if assigned else min(look.likelihood, rule.abroad)), assigned
    telling = rule.is_telling is not None and rule.is_telling(digits)
    assigned = telling or rule.assigned(digits, written, look.regions)
    usual = look.likelihood if telling or rule.is_telling is None else min(look.likelihood, UNLIKELY)
    return (usual if assigned else min(usual, rule.otherwise(digits, written))), assigned


def scanners() -> Iterator[InfoTypeScanner]:
    """Yield the scanners of this module."""
    letters = frozenset(
        detector.name for detector in IDENTIFIERS if any("A" in form.shape for form in detector.forms)
    )
    figures = frozenset(
        detector.name for detector in IDENTIFIERS if any("A" not in form.shape for form in detector.forms)
    )
    yield InfoTypeScanner(figures | {"PHONE_NUMBER"}, (), _look_at_numbers, form="digits")
    yield InfoTypeScanner(letters, (), _look_at_mixed, form="digits")
    yield InfoTypeScanner(
        frozenset({"IBAN_CODE", "ITALY_FISCAL_CODE"}), (), _look_at_small_letters, form="digits"
    )
