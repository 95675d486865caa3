"""The parser of HOCON, the configuration language: text to blocks whose values know where they stand.

The language is that of the HOCON specification, with these differences. An unquoted text may contain a colon
inside a word, as in `s3://bucket/key`. An include names local files, also by a pattern, and one that cannot
be read is a mistake. What looks like a period, such as `10 seconds`, is a `Period`, which no key takes. Words
such as TRUE mean the same in capitals. A block with numbers as keys is no list, and `${NAME[]}` is no list of
environment variables.

Substitutions are left as they are; see `resolution`.
"""

from __future__ import annotations

import glob
import json
import os
import re
import stat
from pathlib import Path
from typing import Any, NoReturn

from platform_assets.errors import SettingsError

Key = tuple[str, ...]
LARGEST_FILE = 16 * 1024 * 1024
_MOST_FILES = 1000
_DEEPEST_INCLUDE = 20
DEEPEST = 100
"""Blocks and lists inside each other."""


class Source:
    """The text of a file.

    Args:
        file: The file.
        text: Its text.
        scopes: Where its substitutions are looked up, from the nearest: a block, and the path from there. The
            text of an included file has a scope for each file that includes it.
    """

    __slots__ = ("file", "scopes", "text")

    def __init__(self, file: Path, text: str, scopes: tuple[Scope, ...]) -> None:
        self.file, self.text, self.scopes = file, text, scopes

    def line(self, at: int) -> int:
        """The line of a place in the text, from 1."""
        return self.text.count("\n", 0, at) + 1

    def error(self, at: int, message: str) -> SettingsError:
        """An error at a place; it never repeats what is written there, which may be secret."""
        column = at - self.text.rfind("\n", 0, at)
        return SettingsError(f"{self.file}:{self.line(at)}:{column}: {message}")


Place = tuple[Source, int]
Scope = tuple["Members", Key]


class Members:
    """Members by name, and the place of each."""

    __slots__ = ("members", "places")

    def __init__(self) -> None:
        self.members: dict[str, Any] = {}
        self.places: dict[str, Place] = {}


class Items:
    """The members of a list, and the place of each."""

    __slots__ = ("items", "places")

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.places: list[Place] = []

    def followed_by(self, other: Items) -> Items:
        """A list of the members of both."""
        both = Items()
        both.items, both.places = self.items + other.items, self.places + other.places
        return both


class Reference:
    """A substitution: `${a.b}`, or `${?a.b}`, which may be missing."""

    __slots__ = ("at", "optional", "path", "source")

    def __init__(self, path: Key, optional: bool, source: Source, at: int) -> None:
        self.path, self.optional, self.source, self.at = path, optional, source, at


class Joined:
    """Values side by side, at least one of them a substitution, and the white space between them."""

    __slots__ = ("at", "gaps", "parts", "source")

    def __init__(self, parts: list[Any], gaps: list[str], source: Source, at: int) -> None:
        self.parts, self.gaps, self.source, self.at = parts, gaps, source, at


class Appended:
    """A value that is added to the list that a key already has: `a += 1`."""

    __slots__ = ("at", "items", "source")

    def __init__(self, items: Items, source: Source, at: int) -> None:
        self.items, self.source, self.at = items, source, at


class Layers:
    """The values that a key is given one after another, where substitutions decide which of them count.

    Attributes:
        nodes: The values, the last one on top.
        places: The place of each.
        value: The value, once it is known; kept by the resolution, as are the next two.
        layer: The layer that is being resolved.
        depth: How deep in the resolution that is.
    """

    __slots__ = ("depth", "layer", "nodes", "places", "value")

    def __init__(self, nodes: list[Any], places: list[Place]) -> None:
        self.nodes, self.places = nodes, places
        self.value: Any = UNKNOWN
        self.layer: int | None = None
        self.depth = 0


class Spelled:
    """A value that Python would write otherwise, such as 1.50; joined with text, it is as written."""

    __slots__ = ("text", "value")

    def __init__(self, value: Any, text: str) -> None:
        self.value, self.text = value, text


class Period:
    """A number with a unit of time."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        """Show it as text."""
        return repr(self.text)


UNKNOWN = object()
"""The value of `Layers` that are not resolved yet."""
_ABSENT = object()
_SUBSTITUTED = (Reference, Joined, Appended)


def put(block: Members, name: str, node: Any, place: Place, *, in_place: bool) -> None:
    """Set a member: it replaces what is there, is merged with it if both are blocks, or becomes a layer.

    Args:
        block: The block; changed in place.
        name: The member's name.
        node: Its value.
        place: Where it is written.
        in_place: Whether a block that is there already may be changed too.
    """
    members, places = block.members, block.places
    there = members.get(name, _ABSENT)
    kind = type(node)
    if kind is Members and type(there) is Members:
        if not in_place:
            members[name] = merged(there, node)
            return
        for inner, value in node.members.items():
            put(there, inner, value, node.places[inner], in_place=True)
        return
    if there is not _ABSENT and (kind is Layers or kind in _SUBSTITUTED or type(there) is Layers):
        if kind is Layers or kind in _SUBSTITUTED or kind is Members:
            below = there if type(there) is Layers else Layers([there], [places[name]])
            if not in_place:
                below = Layers([*below.nodes], [*below.places])
            below.nodes += node.nodes if kind is Layers else [node]
            below.places += node.places if kind is Layers else [place]
            node = below
    elif kind in _SUBSTITUTED:
        node = Layers([node], [place])
    members[name], places[name] = node, place


def merged(lower: Members, upper: Members) -> Members:
    """A block of the members of two; the upper one's win. Neither is changed."""
    both = Members()
    both.members, both.places = dict(lower.members), dict(lower.places)
    for name, node in upper.members.items():
        put(both, name, node, upper.places[name], in_place=False)
    return both


class Reader:
    """The files of one document: the first one and what it includes.

    Attributes:
        unread: Each include that could not be read: its place, its key, what was found and is expected.
    """

    def __init__(self) -> None:
        self.unread: list[tuple[Place, Key, str]] = []
        self._open: list[Path] = []
        self._count = 0

    def read(self, file: Path) -> Members:
        """Parse a file with its includes.

        Raises:
            SettingsError: It is not HOCON.
            OSError: It cannot be read.
            UnicodeDecodeError: It is not UTF-8 text.
        """
        root = Members()
        self.read_into(root, file, (root, ()), (), 0)
        return root

    def add(self, block: Members, name: Path, text: str) -> None:
        """Add the members of a text that is in no file to a block; they win over those of the block.

        Raises:
            SettingsError: It is not HOCON.
        """
        _Parser(Source(name, text, ((block, ()),)), self, 0).file(block, (block, ()))

    def read_into(
        self, block: Members, file: Path, scope: Scope, outer: tuple[Scope, ...], depth: int
    ) -> None:
        """Parse a file and add its members to a block.

        Args:
            block: The block.
            file: The file.
            scope: The scope of the file's paths.
            outer: The scopes of the file that includes this one.
            depth: How deep inside other blocks and lists the block is.
        """
        with open(file, encoding="utf-8-sig") as stream:
            text = stream.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise SettingsError(f"{file}: the file is larger than 16 MiB; expected a configuration file.")
        source = Source(file, text, outer if scope in outer else (scope, *outer))
        self._open.append(file)
        _Parser(source, self, depth).file(block, scope)
        self._open.pop()

    def include(
        self, place: Place, kind: str | None, name: str, block: Members, scope: Scope, depth: int
    ) -> None:
        """Add the members of an included file, or of all that match a pattern, to a block."""
        source, at = place

        def unread(target: object, reason: str, expected: str) -> None:
            sentence = f"found an include of {target} ({reason}); expected {expected}."
            self.unread.append((place, scope[1], sentence))

        if kind not in (None, "file") or re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", name):
            hidden = re.sub(r"//[^/\s]*@", "//***@", name)
            unread(hidden, "only files can be included", "the name of a file that can be read")
            return
        target = os.path.normpath(source.file.parent / name)
        files = [target]
        if re.search(r"[*?]", name):
            files = sorted(glob.glob(target, recursive=True))
            if not files:
                unread(target, "no file matches", "a pattern of files")
        for file in map(Path, files):
            if file in self._open or len(self._open) > _DEEPEST_INCLUDE:
                raise source.error(at, "it includes itself, directly or through another file.")
            self._count += 1
            if self._count > _MOST_FILES:
                raise source.error(at, f"more than {_MOST_FILES} files are included.")
            if is_special(file):
                unread(file, "it is a pipe or a device", "the name of a file that can be read")
                continue
            try:
                self.read_into(block, file, scope, source.scopes, depth)
            except OSError as error:
                unread(file, error.strerror or str(error), "the name of a file that can be read")
            except UnicodeDecodeError:
                unread(file, "it is not UTF-8 text", "the name of a file that can be read")


def is_special(file: Path) -> bool:
    """Return True for a pipe, a socket or a device: to read it may take for ever."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


_SPACE = r"[^\S\n]"
_GAP = rf"(?:{_SPACE}++|\n++|\#[^\n]*+|//[^\n]*+)*+"
# Forbidden in unquoted text, as the specification has it; white space and single slashes are looked at apart.
_RESERVED = r'$"{}\[\]:=,+#`^?!@*&\\\n/'

_skip_space = re.compile(f"{_SPACE}*+").match
_skip_gap = re.compile(_GAP).match
# Between two members: a new line or a comma, but one comma only.
_separator = re.compile(f"{_GAP}(?:,{_GAP})?+").match
_common_key = re.compile(rf"([\w\-]++){_SPACE}*+(?:[=:]{_GAP}|(?=\{{))").match
_key_run = re.compile(rf"(?:[^{_RESERVED}]++|/(?!/))++").match
_assignment = re.compile(rf"{_GAP}(?:(\+=|[=:]){_GAP}|(?=\{{))").match
# What most values are, and a comma before another one if there is one. This is for speed: what such a pattern
# leaves is parsed piece by piece.
_COMMON_VALUE = (
    r'(?:"([^"\\\n]*+)"(?!")|(0|-?[1-9][0-9]{0,17}+)|([A-Za-z_][A-Za-z0-9_.\-]*+))'
    rf'{_SPACE}*+(?=[,\n}}\]])(,[ \n]*+(?=["\w{{\[$]))?+'
)
_common_value = re.compile(_COMMON_VALUE).match
_common_member = re.compile(rf"([\w\-]++){_SPACE}*+[=:]{_GAP}{_COMMON_VALUE}").match
_quoted = re.compile(r'"((?:[^"\\\n]++|\\.)*+)"').match
_run = re.compile(
    r"(?!:)(?:\+(?=[\d.]))?+"
    rf"(?:[^{_RESERVED}]++|/(?!/)|(?<=\S):/*+(?=[^\s,}}\]])|(?<=\d[eE])\+(?=\d))++"
).match
_number = re.compile(r"[+-]?(?:\d++(?:\.\d++)?+|\.\d++)(?:[eE][+-]?\d++)?+", re.ASCII).fullmatch
_period = re.compile(
    r"\d++ *+(?:[num]s|(?:nano|micro|milli)(?:s|seconds?)?|s|seconds?|m|minutes?|h|hours?|d|days?|w|weeks?"
    r"|mo|months?|y|years?)",
    re.ASCII,
).fullmatch
_common_reference = re.compile(r"\$\{(\??+)(\w++(?:[.\-]\w++)*+)\}").match
_include = re.compile(
    rf'include(?=[\s"]){_GAP}(required\({_SPACE}*+)?+(?:(file|url|classpath|package)\({_SPACE}*+)?+(?=")'
).match
_brackets = re.compile(rf"(?:{_SPACE}*+\))*+").match
_WORDS = {"true": True, "false": False, "null": None}
_NOT_HOCON = "this is not HOCON: "


def scalar(text: str) -> Any:
    """The value of an unquoted text: a number, a truth value, null, a period, or the text itself."""
    if text[0] in "0123456789.+-":
        if _number(text):
            try:
                value: int | float = float(text) if re.search("[.eE]", text) else int(text)
            except ValueError:  # Python takes no number of more than 4300 digits
                return text
            if value in (float("inf"), float("-inf")):
                return text
            return value if str(value) == text else Spelled(value, text)
        if _period(text):
            return Period(text)
    elif len(text) <= 5 and text.lower() in _WORDS:
        word = _WORDS[text.lower()]
        return word if text.islower() else Spelled(word, text)
    return text


class _Parser:
    """The parser of one file, from the first character to the last."""

    def __init__(self, source: Source, reader: Reader, depth: int) -> None:
        self._source, self._text, self._reader = source, source.text, reader
        self._at = 0
        self._depth = depth

    def file(self, block: Members, scope: Scope) -> None:
        """Add the members of the file to a block."""
        self._skip()
        start = self._peek()
        if start == "[":
            raise self._source.error(self._at, "found a list at the top level; expected keys with values.")
        if start == "{":
            self._block(block, scope)
            self._skip()
        else:
            self._members(block, scope)
        if self._at < len(self._text):
            self._fail(self._at, "expected the end of the file, as no bracket is open here")

    def _fail(self, at: int, message: str) -> NoReturn:
        raise self._source.error(at, f"{_NOT_HOCON}{message}.")

    def _skip(self) -> None:
        self._at = _skip_gap(self._text, self._at).end()  # type: ignore[union-attr]

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _opened(self) -> int:
        """Step over an opening bracket; return its place."""
        start = self._at
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._source.error(start, f"blocks and lists are nested more than {DEEPEST} deep.")
        self._at += 1
        self._skip()
        return start

    def _close(self, bracket: str, start: int) -> None:
        if self._peek() != bracket:
            line = self._source.line(start)
            what = "block" if bracket == "}" else "list"
            self._fail(self._at, f"expected {bracket} at the end of the {what} that starts in line {line}")
        self._at += 1
        self._depth -= 1

    def _block(self, block: Members, scope: Scope) -> Members:
        start = self._opened()
        self._members(block, scope)
        self._close("}", start)
        return block

    def _members(self, block: Members, scope: Scope) -> None:
        """Parse members up to a closing bracket or the end of the file."""
        text, source, members, places = self._text, self._source, block.members, block.places
        while True:
            start = self._at
            found = _common_member(text, start)
            if found is not None:
                name, quoted, number, word, separator = found.groups()
                node = quoted if quoted is not None else _common(number, word)
                self._at = found.end()
            elif (found := _common_key(text, start)) is not None:
                name, separator = found[1], None
                self._at = found.end()
                node = self._value((scope[0], (*scope[1], name)))
            elif start == len(text) or text[start] in "}]":
                return
            else:
                self._other_member(block, scope)
                self._step()
                continue
            if name in members or type(node) in _SUBSTITUTED:
                put(block, name, node, (source, start), in_place=True)
            else:
                members[name], places[name] = node, (source, start)
            if separator is None:
                self._step()

    def _step(self) -> None:
        """Step over what separates two members: a comma or new lines."""
        start = self._at
        found = _separator(self._text, start)
        end = self._at = found.end()  # type: ignore[union-attr]
        following = self._text[end : end + 1]
        if following not in ("", "}", "]"):
            between = self._text[start:end]
            if "\n" not in between and "," not in between:
                self._fail(end, "expected a comma or a new line; text with a special character needs quotes")
        if following == ",":
            self._fail(end, "nothing stands between two commas")

    def _other_member(self, block: Members, scope: Scope) -> None:
        """Parse an include, or a member whose key is a path or has quotes."""
        start = self._at
        found = _include(self._text, start)
        if found is not None:
            self._at = found.end()
            name = self._string()
            brackets = _brackets(self._text, self._at)[0]  # type: ignore[index]
            if brackets.count(")") != sum(group is not None for group in found.groups()):
                self._fail(
                    self._at, "expected only a name in quotes, in file(...), in required(...) or in both"
                )
            self._at += len(brackets)
            self._reader.include((self._source, start), found[2], name, block, scope, self._depth)
            return
        path = self._path("a key")
        if len(path) + self._depth > DEEPEST:
            raise self._source.error(start, f"blocks and lists are nested more than {DEEPEST} deep.")
        end = self._at
        separator = _assignment(self._text, end)
        if separator is None:
            self._fail(end, "expected = or { after a key")
        self._at = separator.end()
        place = (self._source, start)
        self._depth += len(path) - 1
        node = self._value((scope[0], scope[1] + path))
        self._depth -= len(path) - 1
        if separator[1] == "+=":
            items = Items()
            items.items, items.places = [node], [place]
            node = Appended(items, self._source, start)
        for part in path[:-1]:
            inner = block.members.get(part)
            if type(inner) is not Members:
                inner = Members()
                put(block, part, inner, place, in_place=True)
            block = inner
        put(block, path[-1], node, place, in_place=True)

    def _path(self, what: str) -> Key:
        """Parse a path of names with dots between them; a name may have quotes."""
        start = self._at
        parts: list[list[tuple[str, bool]]] = [[]]
        while True:
            if self._peek() == '"':
                parts[-1].append((self._string(), True))
                continue
            found = _key_run(self._text, self._at)
            if found is None:
                break
            self._at = found.end()
            first, *others = found[0].split(".")
            parts[-1].append((first, False))
            parts += [[(other, False)] for other in others]
        names = tuple(_name(part) for part in parts)
        if None in names:
            at = self._at if len(names) == 1 else start
            self._fail(at, f"expected {what} here: names with single dots between them, in quotes if need be")
        return names  # type: ignore[return-value]

    def _string(self) -> str:
        """Parse a text in quotes."""
        text, start = self._text, self._at
        if text.startswith('"""', start):
            end = text.find('"""', start + 3)
            if end < 0:
                self._fail(start, 'a text in """ starts here that does not end')
            # Of more than three quotes at the end, the first ones belong to the text.
            while text.startswith('"', end + 3):
                end += 1
            self._at = end + 3
            return text[start + 3 : end]
        found = _quoted(text, start)
        if found is None:
            self._fail(start, "a text in quotes starts here that does not end on its line")
        self._at = found.end()
        if "\\" not in found[1]:
            return found[1]
        try:
            value: str = json.loads(found[0], strict=False)
            value.encode()
        except json.JSONDecodeError as error:
            self._fail(
                start + error.pos,
                'after \\ expected one of " \\ / b f n r t uXXXX; write \\\\ for \\, or the text in """',
            )
        except UnicodeEncodeError:
            self._fail(start, "half of a pair of \\u escapes is missing in this text")
        return value

    def _list(self) -> Items:
        start = self._opened()
        found = Items()
        text, source = self._text, self._source
        while (following := self._peek()) not in ("", "]", "}"):
            if following == ",":
                self._fail(self._at, "nothing stands before this comma")
            at = self._at
            value = _common_value(text, at)
            if value is not None:
                quoted, number, word, separator = value.groups()
                node = quoted if quoted is not None else _common(number, word)
                self._at = value.end()
            else:
                node, separator = self._value(None), None
            found.items.append(node)
            found.places.append((source, at))
            if separator is None:
                self._step()
        self._close("]", start)
        return found

    def _value(self, scope: Scope | None) -> Any:
        """Parse a value: what stands side by side up to a comma, a new line or a closing bracket.

        Args:
            scope: The scope of an include in it; None in a list, as no path leads to members of lists.
        """
        text, start = self._text, self._at
        parts: list[Any] = []
        gaps: list[str] = []
        unquoted: list[bool] = []
        while True:
            at = self._at
            character = text[at : at + 1]
            is_run = False
            part: Any
            if character == '"':
                part = self._string()
            elif character == "{":
                part = Members()
                self._block(part, scope or (part, ()))
            elif character == "[":
                part = self._list()
            elif character == "$":
                part = self._reference()
            else:
                found = _run(text, at)
                if found is None:
                    expected = "expected a comma or a new line" if parts else "expected a value"
                    self._fail(at, f"{expected}; text with a special character in it needs quotes")
                part = found[0].rstrip()
                is_run = True
                self._at = at + len(part)
            parts.append(part)
            unquoted.append(is_run)
            gap = _skip_space(text, self._at)
            end = gap.end()  # type: ignore[union-attr]
            if text[end : end + 1] in ("", ",", "\n", "}", "]", "#") or text.startswith("//", end):
                break
            gaps.append(gap[0])  # type: ignore[index]
            self._at = end
        if len(parts) == 1:
            return scalar(parts[0]) if unquoted[0] else parts[0]
        return joined(parts, gaps, self._source, start)

    def _reference(self) -> Reference:
        start = self._at
        found = _common_reference(self._text, start)
        if found is not None:
            self._at = found.end()
            return Reference(tuple(found[2].split(".")), found[1] == "?", self._source, start)
        if not self._text.startswith("${", start):
            self._fail(start, "expected a value; text with a $ in it needs quotes")
        optional = self._text.startswith("?", start + 2)
        self._at = start + 3 if optional else start + 2
        path = self._path("the name of a key or of an environment variable")
        if self._peek() != "}":
            self._fail(self._at, "expected } at the end of a substitution")
        self._at += 1
        return Reference(path, optional, self._source, start)


def _common(number: str | None, word: str) -> Any:
    """The value of a number or a word as `_COMMON_VALUE` finds them."""
    return scalar(word) if number is None else int(number)


def _name(pieces: list[tuple[str, bool]]) -> str | None:
    """A name of a path from its pieces, each with or without quotes; None if nothing is there."""
    texts = [text for text, _ in pieces]
    if pieces and not pieces[0][1]:
        texts[0] = texts[0].lstrip()
    if pieces and not pieces[-1][1]:
        texts[-1] = texts[-1].rstrip()
    name = "".join(texts)
    return name if name or any(quoted for _, quoted in pieces) else None


def joined(parts: list[Any], gaps: list[str], source: Source, at: int) -> Any:
    """Join values that stand side by side: all are blocks, all are lists, or all become one text.

    Args:
        parts: The values.
        gaps: The white space between them.
        source: Where they are written.
        at: The place there.

    Raises:
        SettingsError: They are of different kinds.
    """
    known = [part for part in parts if type(part) not in _SUBSTITUTED]
    kinds = {type(part) if type(part) in (Members, Items) else str for part in known}
    if len(kinds) > 1:
        message = "texts, blocks and lists stand side by side; a comma or a new line is missing between them"
        raise source.error(at, f"{message}, or quotes around a text.")
    if len(known) < len(parts):
        return Joined(parts, gaps, source, at)
    if kinds == {str}:
        return "".join(written(part) + gap for part, gap in zip(parts, [*gaps, ""], strict=True))
    whole = parts[0]
    for part in parts[1:]:
        whole = merged(whole, part) if type(whole) is Members else whole.followed_by(part)
    return whole


def written(value: Any) -> str:
    """A value as it is written."""
    if type(value) is str:
        return value
    if isinstance(value, Spelled | Period):
        return value.text
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
