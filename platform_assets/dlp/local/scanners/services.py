"""Keys of services: by their prefix, by a sign inside, or by the service's name before them.

One pass looks for the beginnings of keys, another for signs and names; only what they find is judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import re2  # type: ignore[import-untyped]

from platform_assets.dlp.local import checks
from platform_assets.dlp.local.detectors import credentials as _credentials
from platform_assets.dlp.local.detectors.declaration import Key, NamedKey
from platform_assets.dlp.local.detectors.service_keys import SERVICE_KEYS
from platform_assets.dlp.local.detectors.service_names import NAMED_KEYS
from platform_assets.dlp.local.regex import AT_START, UNANCHORED, compiled, latin_1, matcher
from platform_assets.dlp.local.scanners.harmless import is_harmless, is_slug
from platform_assets.dlp.local.scanners.secrets import ABOUT, is_dummy, is_filler, is_placeholder
from platform_assets.dlp.local.scanners.text import (
    ENTROPY,
    HOTWORD,
    LIKELY,
    POSSIBLE,
    PREFIX,
    SHAPE,
    VERY_LIKELY,
    InfoTypeScanner,
    Match,
    ScannedText,
    spans,
)
from platform_assets.formats.words import words_of

_KEYS = tuple((key, compiled(key.pattern)) for key in SERVICE_KEYS)
_SIGNED = tuple((key, compiled(key.pattern)) for key in SERVICE_KEYS if key.sign)
_LONGEST_KEY = 2_048
_LONGEST_NAMED = 800
# A run of one character, as in the webhooks of a documentation; and names such as `xoxb-my-bot-token`.
_SAME = re.compile(r"([Xx0*])\1{5}")
_WORDS_ALONE = re.compile(r"(?i)[a-z]{2,9}(?:[_\-]+[a-z]{1,12}){2,}")


def _look_at_prefixed_keys(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    for start, _ in spans(_beginnings(), data):
        for place in sorted(_key_patterns().Match(data[start : start + _LONGEST_KEY]) or ()):
            key, pattern = _KEYS[place]
            if not key.sign and _is_key(text, found, key, start, pattern.match(data, start).end()):
                break


def _look_at_signs_and_names(text: ScannedText, found: list[Match]) -> None:
    data = text.data
    match = matcher(_signs_and_names())
    place, size = 0, len(data)
    while place < size:
        (start, end), (sign, _) = match(UNANCHORED, data, place, size)
        if start < 0:
            return
        place = start + 1
        if sign < 0:
            place = end
            _look_after_name(text, found, start, end)
            continue
        for number in _sign_patterns().Match(data[start:end]) or ():
            key, pattern = _SIGNED[number]
            whole = pattern.search(data, max(start - key.before, 0), end + _LONGEST_KEY)
            if whole is not None and whole.start() < start < whole.end():
                _is_key(text, found, key, *whole.span())


def _is_key(text: ScannedText, found: list[Match], key: Key, start: int, end: int) -> bool:
    """Add a key, unless it is part of something longer, an example, or not requested."""
    if key.name not in text.names or not text.stands_alone(start, end):
        return False
    written = text.data[start:end].decode("latin-1")
    filled = (
        _SAME.search(written) is not None
        if key.name.endswith("WEBHOOK")
        else is_filler(written, text.dummies, key.pattern) or _WORDS_ALONE.fullmatch(written) is not None
    )
    if filled or checks.entropy(written) < key.entropy or key.likelihood < text.floor:
        return False
    if key.likelihood <= LIKELY and not any(map(str.isdigit, written)):
        return False
    found.append(Match(start, end, key.name, int(key.likelihood), PREFIX | ENTROPY, 0))
    return True


@lru_cache(maxsize=1)
def _key_patterns() -> re2.Set:
    """All keys' patterns as one set, which finds in one pass those that match at the beginning of a text."""
    return _set(re2.Set.MatchSet, (key.pattern for key in SERVICE_KEYS))


@lru_cache(maxsize=1)
def _sign_patterns() -> re2.Set:
    return _set(re2.Set.MatchSet, (key.sign for key, _ in _SIGNED))


def _set(kind: type[re2.Set], patterns: Iterator[str]) -> re2.Set:
    made = kind(latin_1())
    for pattern in patterns:
        made.Add(pattern.encode())
    made.Compile()
    return made


@lru_cache(maxsize=1)
def _beginnings() -> str:
    """A pattern of the beginnings of keys; short, because long repetitions make a slow automaton."""
    beginnings = dict.fromkeys(beginning(key.pattern) for key in SERVICE_KEYS if not key.sign)
    return rf"\b(?:{'|'.join(beginnings)})"


@lru_cache(maxsize=1)
def _signs_and_names() -> str:
    """A pattern of the signs inside keys, as its group, and of services' names."""
    signs = "|".join(dict.fromkeys(key.sign for key, _ in _SIGNED))
    names = "|".join(dict.fromkeys(key.written for key in NAMED_KEYS))
    return f"({signs})|(?i:{names})"


_PATTERN_PART = re.compile(r"\(\?:|[()|]|\\.|\[(?:\\.|[^\]\\])+\]|[{*+?]|.")
_ENOUGH_OF_A_CLASS = 4


def beginning(pattern: str) -> str:
    """The part of a pattern before its first repeated or optional element, with a few characters of that."""
    groups: list[int] = []
    last = 0
    for part in _PATTERN_PART.finditer(pattern):
        written = part.group()
        if written in ("{", "*", "+", "?"):
            if groups:
                return pattern[: groups[0]]
            least = re.match(r"\{([0-9]+)", pattern[part.start() :])
            if least is not None and pattern[last] == "[":
                return f"{pattern[: part.start()]}{{{min(int(least[1]), _ENOUGH_OF_A_CLASS)}}}"
            return pattern[:last]
        if written == "(?:":
            groups.append(part.start())
        elif written == ")":
            last = groups.pop()
        if written not in ("(?:", ")", "|"):
            last = part.start()
    return pattern


_OF_A_KEY = (
    "access|account|admin|api|app|application|auth|bearer|bot|client|consumer|dev|developer|for|id|integration|is|"
    "key|license|live|my|oauth|password|pat|personal|private|prod|production|project|read|rest|secret|server|"
    "service|test|the|token|user|value|was|write"
)
_VALUE_FIELD = r"[\"'\\]{0,2}[a-z_\-]{0,16}value[\"'\\]{0,2}[ \t]{0,4}[:=][ \t]{0,4}"
# What may be between the name of a service and its key: the rest of a variable's name and a sign; a sibling
# field; a query's parameter; other fields of a block that the service's name opens.
_AFTER_NAME = (
    rf"(?i)(?:([a-z0-9_.\-]{{0,48}}(?:[ ](?:{_OF_A_KEY})\b){{0,4}}(?:\\?[\"'`\])]){{0,3}}"
    r"(?:([ \t]{0,6}(?:=>|={1,3}|:{1,3}=?|\?=|,|>)[ \t]{0,6}|"
    rf"[ \t]{{0,4}}[,;]?[ \t\r\n]{{0,80}}{_VALUE_FIELD}|"
    r"</[a-z:]{1,24}>[ \t\r\n]{0,40}<[a-z:]{1,24}>)|[ \t]{1,4}))"
    r"|([^\s\"'<>]{0,160}[?&][a-z_\-]{0,16}(?:key|appid|token|secret)=|"
    r"[\"']{0,2}[ \t]{0,4}(?:[:=]>?[ \t]{0,4})?(?:[{(]|\r?\n)[^{}]{0,240}?[^a-z0-9][a-z_\-]{0,24}"
    r"(?:key|token|secret)[\"']?[ \t]{0,4}[:=]>?[ \t]{0,4}))"
    r"(?:[brfu@$]?\\?[\"'`]|&quot;)?(?:(?:bearer|token|basic|apikey) )?"
    r"([A-Za-z0-9_\-+/=.:~%]{12,400})"
)
_KEY_WORD = re.compile(
    rb"(?i)key|token|secret|auth|pass|pwd|cred|licen[cs]e|(?:\b|_)pat\b|bearer|dsn|(?:\b|_)sid\b"
)
_DIGEST_NAMES = frozenset(_credentials.DIGEST_NAMES.split(", "))
_LEAST_ENTROPY = 2.5


@lru_cache(maxsize=1_024)
def _named_keys(name: bytes) -> tuple[tuple[NamedKey, re.Pattern[bytes]], ...]:
    """The keys of the services of a name, with the patterns of their whole values."""
    return tuple(
        (key, re.compile(f"(?:{key.shape})".encode()))
        for key in NAMED_KEYS
        if compiled(f"(?i)(?:{key.written})").fullmatch(name) is not None
    )


def _look_after_name(text: ScannedText, found: list[Match], start: int, end: int) -> None:
    """Find the key after the name of a service."""
    data = text.data
    before = data[start - 1 : start]
    if before.isalpha() and not (before.islower() and data[start : start + 1].isupper()):
        return
    spans_of = matcher(_AFTER_NAME)(AT_START, data, end, min(end + _LONGEST_NAMED, len(data)))
    if spans_of[0][0] < 0:
        return
    _, rest, sign, far, (first, last) = spans_of
    last -= len(data[first:last]) - len(data[first:last].rstrip(b".:"))
    is_named = far[0] >= 0 or _KEY_WORD.search(data, start, rest[1]) is not None
    if not is_named and (sign[0] < 0 or text.floor > POSSIBLE):
        return
    if rest[0] >= 0:
        words = words_of(data[start : sign[0] if sign[0] >= 0 else rest[1]].decode("latin-1"))
        if words and (words[-1] in ABOUT or _DIGEST_NAMES & set(words[-2:])):
            return
    written = data[first:last].decode("latin-1")
    for key, shape in _named_keys(data[start:end]):
        if (
            key.name in text.names
            and shape.fullmatch(data, first, last) is not None
            and text.stands_alone(first, last)
            and _is_random(text, key, written)
        ):
            likelihood = VERY_LIKELY if is_named else POSSIBLE
            found.append(Match(first, last, key.name, likelihood, SHAPE | HOTWORD, 0))
            return


def _is_random(text: ScannedText, key: NamedKey, written: str) -> bool:
    has_digit = any(map(str.isdigit, written))
    return (
        checks.entropy(written) >= _LEAST_ENTROPY
        and (has_digit or "0-9" not in key.shape)
        and any(map(str.isalpha, written))
        and not is_filler(written, text.dummies, key.shape)
        and (not is_placeholder(written) or (text.dummies and is_dummy(written)))
        and not is_harmless(written, True)
        and not is_slug(written)
    )


def scanners() -> Iterator[InfoTypeScanner]:
    """Yield the scanners of this module."""
    prefixed = frozenset(key.name for key in SERVICE_KEYS if not key.sign)
    signed = frozenset(key.name for key, _ in _SIGNED)
    yield InfoTypeScanner(prefixed, (), _look_at_prefixed_keys)
    yield InfoTypeScanner(signed | frozenset(key.name for key in NAMED_KEYS), (), _look_at_signs_and_names)
