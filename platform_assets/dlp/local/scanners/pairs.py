"""Secrets in pairs: a name in one field and its value in another, lists and sections named after secrets.

Assignments in one place, as in `password = ...`, are judged in `secrets`; columns of a table in `table_scan`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from platform_assets.dlp.local.detectors import credentials as _credentials
from platform_assets.dlp.local.regex import AT_START, UNANCHORED, compiled, matcher, text_matcher
from platform_assets.dlp.local.scanners.secrets import (
    ABOUT,
    ASSIGNED,
    NAMES,
    look_at_assignment,
    named_secret,
)
from platform_assets.dlp.local.scanners.text import (
    ENTROPY,
    HOTWORD,
    InfoTypeScanner,
    Match,
    ScannedText,
)
from platform_assets.formats.words import word_set, words_of

_FAR = 1_500
_MOST_FIELDS = 12
_MOST_MEMBERS = 64
_SECRET_NAME = compiled(f"(?i)(?:{NAMES})")
_CODE = compiled(f"(?i){_credentials.CODE}")
# A name that no value follows on its line: the value is in another field, in a list, or in a section.
_PAIRED = (
    rf"(?i)(?:{NAMES})[a-z0-9_\-.]{{0,30}}(?:\\?[\"'`]){{0,2}}"
    r"(?:[ \t]{0,4}(?:(?::|={1,2})>?[ \t]{0,4}(?:[|>][0-9+\-]{0,2}[ \t]{0,4}\r?\n|[\[{(]|\r?\n)|"
    r"[,;}\[{\r\n#]|\]\r?\n|/?>|</)"
    r"|[ \t]{1,8}[a-z@])"
)
_NAME_FIELDS = word_set("""
    name key id variable var param parameter field property option setting label env attribute identifier
    header title k n
    """)
_VALUE_FIELDS = word_set("value val values v content contents data default text string plaintext literal")
# Keys below a secret's name that only say which value of it this is.
_OF_A_NAME = _VALUE_FIELDS | word_set(
    "current previous old new primary secondary active main raw plain first"
)
_NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:" + bytes(
    range(0x80, 0x100)
)
_ELEMENT_BEFORE = re.compile(rb"<([A-Za-z_][\w.:\-]{0,40})(?:\s[^<>]{0,200})?>\s{0,80}$")
_FIELD = re.compile(
    rb"(?:[\s,;]|#[^\n]{0,200}\n|//[^\n]{0,200}\n)*"
    rb"(?P<key>\\?[\"'][\w.@:\- ]{1,48}\\?[\"']|[A-Za-z_@][\w.@:\-]{0,47}?)[ \t]*"
    rb"(?:=>|:=|:(?=[\s\"'\\\[{])|=)[ \t]*"
    rb"(?:\\?\"(?P<double>(?:[^\"\\\n]|\\[^\"\n])*)\\?\"|'(?P<single>[^'\n]*)'|`(?P<tick>[^`\n]*)`"
    rb"|[|>][0-9+\-]{0,2}[ \t]*\r?\n[ \t]+(?P<block>[^\r\n]+)"
    rb"|(?P<nested>\[[^\[\]{}]{0,400}\]|\{[^\[\]{}]{0,400}\})"
    rb"|(?P<bare>[^\s\"'`,;<>\[\]{}#|][^\n\"'`,;<>\[\]{}]*))"
)
_TAG_END = re.compile(rb"\s*>\s*(?:<!\[CDATA\[)?")
_ELEMENT = re.compile(
    rb"\s*<([A-Za-z_][\w.:\-]{0,47})(?:\s[^<>]{0,200})?>\s*(?:<!\[CDATA\[)?([^<>]{1,500}?)\s*(?:\]\]>)?\s*</"
)
_CLOSED = re.compile(rb"\s*</[\w.:\-]{1,48}>")
_ITEM = re.compile(
    rb"[\s,]*(?:\[[\w\"'\-]{1,40}\]=)?(?:\\?\"(?P<double>[^\"\\\n]*)\\?\"|'(?P<single>[^'\n]*)'|(?P<bare>[^\s\"'`,<>\[\](){}]+))(?=[\s,\]})\\])"
)
_SECOND = re.compile(rb"[ \t]*,[ \t]*(?P<bare>[^\s\"'`,<>\[\](){}=.]{4,200})[ \t]*\]")
_LINE = re.compile(rb"(?P<indent>[ \t]*)(?P<dash>(?:-[ \t]+)*)(?P<rest>[^\r\n]*)\r?\n?")
_SECTION = re.compile(rb"[ \t]*\[{1,2}[^\[\]\n]*")
_ASSIGNMENT = re.compile(
    rb"[ \t]*(?P<key>[\w.\-\"']{1,60})[ \t]*[=:][ \t]*(?P<quote>[\"']?)(?P<value>[^\"'\r\n]{4,200})"
)
_BLOCK_KEYWORD = re.compile(rb"\n?[ \t]*[a-z_]{3,20}[ \t]+(?:\"[^\"\n]{1,60}\"[ \t]+)?\"[^\"\n]*")


class _Value(NamedTuple):
    """A value beside or below a name.

    Args:
        key: The key of its own field; empty for an element of a list.
        start: Its first byte.
        end: The byte after its last.
        quoted: True if it is in quotes.
    """

    key: str
    start: int
    end: int
    quoted: bool


@lru_cache(maxsize=16_384)
def is_name_field(key: str) -> bool:
    """Return True if a field of this key names its neighbour, as `name` and `ParameterKey` do."""
    return not _NAME_FIELDS.isdisjoint(words_of(key)[-1:])


@lru_cache(maxsize=16_384)
def is_value_field(key: str) -> bool:
    """Return True if a field of this key has the value of a named neighbour, as `value` does."""
    return not _VALUE_FIELDS.isdisjoint(words_of(key)[-1:])


def mentions_secrets(text: str) -> bool:
    """Return True if the name of a secret is anywhere in a text."""
    return _SECRET_NAME.search(text.encode(errors="replace")) is not None


def any_mentions_secrets(texts: Iterable[str]) -> bool:
    """Return True if the name of a secret is in one of several texts, also with letters beyond ASCII."""
    text = "\n".join(texts).encode(errors="replace")
    return text_matcher(f"(?i)(?:{NAMES})")(UNANCHORED, text, 0, len(text))[0][0] >= 0


@lru_cache(maxsize=16_384)
def names_secrets(key: str) -> bool:
    """Return True if a key is named after secrets, so that keys below it may hold them."""
    return mentions_secrets(key)


@lru_cache(maxsize=16_384)
def secrets_below(path: str) -> str | None:
    """The key of a path that makes the values at its end secrets: `passwords.admin`, `token.value`."""
    *above, last = path.replace("/@", ".").replace("/", ".").split(".")
    if not (names_secrets(last) or any(map(names_secrets, above))):
        return None
    if last.endswith("[]") and _names_many(last.strip("[]")):
        return last.strip("[]")
    if _SECRET_NAME.search(last.encode()) is not None:
        return None
    last = last.strip("[]")
    for key in (part.strip("[]") for part in reversed(above)):
        if _names_one(key, last) or (_names_many(key) and not _is_about(last)):
            return key
    return None


def _names_one(parent: str, child: str) -> bool:
    words = words_of(child)
    return _SECRET_NAME.search(parent.encode()) is not None and bool(words) and words[-1] in _OF_A_NAME


def _is_about(key: str) -> bool:
    """Return True if a key below the name of secrets holds none: a policy, a length, a path."""
    words = words_of(key)
    return bool(words) and words[-1] in ABOUT


def _names_many(parent: str) -> bool:
    words = words_of(parent)
    return bool(words) and words[-1].endswith("s") and _SECRET_NAME.search(parent.encode()) is not None


def paired_secret(
    name: str, value: str, quoted: bool = True, dummies: bool = False
) -> tuple[str, int] | None:
    """Classify a value by the name beside or above it: its info type and likelihood, or None."""
    if not 4 <= len(value) <= 500:
        return None
    if not quoted and _CODE.search(value.encode()) is not None:
        return None
    return named_secret(name, value, dummies)


_NAMED = f"{ASSIGNED}|{_PAIRED}"


def _names(data: bytes) -> Iterator[tuple[int, int]]:
    """The spans of names of secrets with what follows; the first letter of a next word is read again."""
    match = matcher(_NAMED)
    place, size = 0, len(data)
    while place < size:
        start, end = match(UNANCHORED, data, place, size)[0]
        if start < 0:
            return
        yield start, end
        place = end - 1 if data[end - 2] in b" \t" else end


def _look_at_names(text: ScannedText, found: list[Match]) -> None:
    """Find names of secrets in one pass, and judge their values beside, after or below them."""
    data = text.data
    assigned, paired = matcher(ASSIGNED), matcher(_PAIRED)
    for start, end in _names(data):
        last = min(end + 8, len(data))
        value = assigned(AT_START, data, start, last)[0][1]
        if value >= 0:
            look_at_assignment(text, found, start, value)
        after = paired(AT_START, data, start, last)[0][1]
        if after >= 0:
            _look_at_pair(text, found, start, after)


def _look_at_pair(text: ScannedText, found: list[Match], start: int, end: int) -> None:
    data = text.data
    head = data[max(start - 48, 0) : start]
    begin = start - len(head) + len(head.rstrip(_NAME_BYTES))
    tail = data[start:end]
    name_end = end - len(tail.lstrip(_NAME_BYTES))
    if data[name_end - 1 : name_end] in (b":", b"/"):
        name_end -= 1
    name = data[begin:name_end].decode("utf-8", "replace").strip("-:/.")
    before = data[max(begin - 280, 0) : begin]
    for value in _values(data, before, begin, name_end, end):
        written = data[value.start : value.end].decode("utf-8", "replace")
        if text.lines and b"\n" in data[name_end : value.start]:
            return  # another value of the column
        judged = paired_secret(name, written, value.quoted, text.dummies)
        if judged is not None and judged[0] in text.names and judged[1] >= text.floor:
            found.append(Match(value.start, value.end, *judged, ENTROPY | HOTWORD, 0))


def _values(data: bytes, before: bytes, begin: int, name_end: int, end: int) -> Iterator[_Value]:
    """The values that a name without a value of its own stands for."""
    marked = before.rstrip(b"\"'`\\ \t")
    if marked.endswith((b":", b"=", b"=>")):
        keyed = marked.rstrip(b":=> \t").rstrip(b"\"'\\")
        key = keyed[len(keyed.rstrip(_NAME_BYTES + b"@")) :]
        if key:
            if is_name_field(key.decode("latin-1")):
                yield from _beside(data, begin - (len(before) - len(keyed)) - len(key), name_end)
            return
    elif before.rstrip()[-1:] == b">":
        element = _ELEMENT_BEFORE.match(before, max(before.rfind(b"<"), 0))
        if element is not None:
            if is_name_field(element[1].decode("latin-1")):
                yield from _elements(data, name_end)
            return
    elif before.rstrip(b"\"' \t").endswith(b"[") and data[end - 1 : end] == b",":
        second = _SECOND.match(data, end - 1)
        if second is not None and any(map(str.isdigit, second["bare"].decode("latin-1"))):
            yield _Value("", *second.span("bare"), False)
        return
    line = data.rfind(b"\n", max(begin - 120, 0), begin) + 1
    of_line = data[line - 1 if line else max(begin - 120, 0) : begin]
    last = data[end - 1]
    if last in b"{(" or (last == ord("[") and data[name_end:end].strip(b"\"'`\\ \t") != b"["):
        signed = any(sign in data[name_end:end] for sign in (b":", b"="))
        if last == ord("{") and (signed or _BLOCK_KEYWORD.fullmatch(of_line) is not None):
            name = data[begin:name_end].decode("utf-8", "replace")
            yield from _below(name, _fields(data, end, end + _FAR))
        elif last == ord("{") and of_line.rstrip()[-1:] in (b"", b"{", b","):
            # HOCON needs no sign before a block; other languages have code and sentences in theirs.
            name = data[begin:name_end].decode("utf-8", "replace")
            for field in _below(name, _fields(data, end, end + _FAR)):
                if field.quoted and b" " not in data[field.start : field.end]:
                    yield field
        elif signed:
            # An array of a shell has bare values, too: PASSWORDS=(one two).
            is_array = data[name_end:end] == b"=(" and data[name_end - 1 : name_end] in (b"s", b"S")
            yield from _members(data, end, b":" in data[name_end:end] or is_array)
    elif data[name_end : name_end + 1] == b"]" and _SECTION.fullmatch(data[line:begin]):
        yield from _of_section(data, end)
    elif last == ord("\n") and b":" in data[name_end:end]:
        yield from _of_block(data, begin, name_end, end)


def _beside(data: bytes, key_start: int, name_end: int) -> Iterator[_Value]:
    """Values in the fields after a name, else in those before it."""
    place = name_end
    while place < len(data) and data[place] in b"\"'`\\":
        place += 1
    given = False
    column = _column(data, key_start)
    last = place
    for field, at in _fields_at(data, place, place + _FAR):
        if column is not None and (indent := _column(data, at)) is not None and indent != column:
            if indent < column:
                break
            continue
        last = field.end + field.quoted
        if is_value_field(field.key):
            given = True
            yield field
    if given:
        return
    tag = _TAG_END.match(data, last)
    if tag is not None:
        text_end = data.find(b"<", tag.end(), tag.end() + 512)
        if text_end > tag.end():
            written = data[tag.end() : text_end].rstrip().removesuffix(b"]]>")
            yield _Value("value", tag.end(), tag.end() + len(written), True)
        else:
            element = _ELEMENT.match(data, tag.end())
            if element is not None and is_value_field(element[1].decode("latin-1")):
                yield _Value("value", *element.span(2), True)
        return
    first = max(key_start - 600, 0)
    opened = max(data.rfind(sign, first, key_start) for sign in (b"{", b"}", b"<", b"\n\n", b"]", b"("))
    item = data.rfind(b"- ", max(first, opened + 1), key_start)
    for field, at in _fields_at(data, _first_field(data, max(opened + 1, item + 2, first)), key_start):
        if column is not None and (indent := _column(data, at)) is not None and indent != column:
            continue
        if is_value_field(field.key):
            yield field


def _first_field(data: bytes, place: int) -> int:
    """Start of the fields of an element, after its own name."""
    if data[place - 1 : place] == b"<":
        while place < len(data) and data[place] not in b" \t\r\n>":
            place += 1
    return place


def _column(data: bytes, at: int) -> int | None:
    """The column of a key that begins its line, after the dash of a list; None if other text precedes it."""
    line = data.rfind(b"\n", max(at - 200, 0), at) + 1
    lead = data[line:at].rstrip(b"\"'")
    return len(lead) if not lead.strip(b" \t-") else None


def _fields_at(data: bytes, start: int, stop: int) -> Iterator[tuple[_Value, int]]:
    place, stop = start, min(stop, len(data))
    for _ in range(_MOST_FIELDS):
        match = _FIELD.match(data, place, stop)
        if match is None:
            return
        place = match.end()
        kind = match.lastgroup or ""
        if kind == "nested":
            continue
        key = match["key"].strip(b"\"'\\").decode("latin-1")
        first, last = match.span(kind)
        if kind in ("bare", "block"):
            written = re.sub(rb"\s+[#/].*$", b"", data[first:last]).rstrip(b" \t\r\\")
            last = first + len(written)
            if b"/" in data[last : last + 2] and data[last : last + 2] == b"/>":
                last -= 1
        elif kind == "double" and data[last - 1 : last] == b"\\":
            last -= 1
        yield _Value(key, first, last, kind not in ("bare", "block")), match.start("key")


def _fields(data: bytes, start: int, stop: int) -> Iterator[_Value]:
    for field, _ in _fields_at(data, start, stop):
        yield field


def _elements(data: bytes, name_end: int) -> Iterator[_Value]:
    """The value in the elements after an element with a name."""
    closed = _CLOSED.match(data, name_end)
    place = closed.end() if closed else len(data)
    for _ in range(_MOST_FIELDS):
        element = _ELEMENT.match(data, place)
        if element is None:
            return
        if is_value_field(element[1].decode("latin-1")):
            yield _Value("value", *element.span(2), True)
            return
        closed = re.compile(rb"[^<>]*>").match(data, element.end())
        place = closed.end() if closed else len(data)


def _below(name: str, fields: Iterator[_Value]) -> Iterator[_Value]:
    """The values of the fields below a name that are the name's own."""
    many = _names_many(name)
    for field in fields:
        words = words_of(field.key)
        if (words and words[-1] in _OF_A_NAME) or (
            many and not _is_about(field.key) and _SECRET_NAME.search(field.key.encode()) is None
        ):
            yield field


def _members(data: bytes, start: int, may_be_bare: bool) -> Iterator[_Value]:
    """The elements of a list in brackets."""
    place = start
    for _ in range(_MOST_MEMBERS):
        match = _ITEM.match(data, place, min(start + 4 * _FAR, len(data)))
        if match is None or match.lastgroup is None:
            return
        place = match.end()
        if match.lastgroup != "bare":
            yield _Value("", *match.span(match.lastgroup), True)
        elif may_be_bare:
            yield _Value("", *match.span("bare"), False)


def _of_section(data: bytes, start: int) -> Iterator[_Value]:
    """The values of a section, as INI and TOML have it."""
    place = start
    for _ in range(_MOST_MEMBERS):
        line_end = data.find(b"\n", place)
        line_end = len(data) if line_end < 0 else line_end
        if data[place : place + 1] in (b"[", b"\0") or place >= len(data):
            return
        match = _ASSIGNMENT.match(data, place, line_end)
        if (
            match is not None
            and _SECRET_NAME.search(match["key"]) is None
            and not _is_about(match["key"].decode("latin-1"))
        ):
            first, last = match.span("value")
            yield _Value(
                match["key"].decode("latin-1"),
                first,
                first + len(data[first:last].rstrip()),
                bool(match["quote"]),
            )
        place = line_end + 1


def _of_block(data: bytes, begin: int, name_end: int, end: int) -> Iterator[_Value]:
    """The values in the lines below a name that are indented deeper, as YAML has it."""
    lead_start = data.rfind(b"\n", max(begin - 200, 0), begin) + 1
    lead = data[lead_start:begin].rstrip(b"\"'")
    if lead.strip(b" \t-"):
        return
    name = data[begin:name_end].decode("utf-8", "replace")
    is_text = any(sign in data[name_end:end] for sign in (b"|", b">"))
    place = end
    for _ in range(_MOST_MEMBERS):
        line = _LINE.match(data, place)
        if line is None or line.end() == place:
            return
        place = line.end()
        written = line["rest"].rstrip()
        if not written or written.startswith(b"#"):
            continue
        indent = len(line["indent"])
        if indent < len(lead) or (indent == len(lead) and not line["dash"]):
            return
        at = line.start("rest")
        if is_text:
            yield _Value("", at, at + len(written), False)
            return
        field = next(_fields_at(data, at, line.end()), None)
        if field is not None and field[1] <= at + 1:
            yield from _below(name, iter((field[0],)))
        elif line["dash"] or (field is None and b" " not in written and written[-1:] != b":"):
            quoted = len(written) > 1 and written[:1] in (b'"', b"'") and written[-1:] == written[:1]
            yield _Value("", at + quoted, at + len(written) - quoted, quoted)
            if not line["dash"]:
                return


def scanners() -> Iterator[InfoTypeScanner]:
    """Yield the scanners of this module."""
    yield InfoTypeScanner(frozenset({"PASSWORD", "AUTH_TOKEN", "AWS_CREDENTIALS"}), (), _look_at_names)
