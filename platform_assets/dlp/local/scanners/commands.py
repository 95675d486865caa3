"""Secrets in the syntax of tools: Dockerfiles, options of commands, directives of servers, logins.

The names of options and directives come from the tools' manuals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from platform_assets.dlp.local.detectors.credentials import DIRECTIVES, PASSWORD_OPTIONS
from platform_assets.dlp.local.regex import compiled
from platform_assets.dlp.local.scanners.pairs import paired_secret
from platform_assets.dlp.local.scanners.text import (
    ENTROPY,
    HOTWORD,
    LIKELY,
    SHAPE,
    InfoTypeScanner,
    Match,
    ScannedText,
    spans,
)

_VALUE = rb"(?:\"([^\"\n]{4,200})\"|'([^'\n]{4,200})'|([^\s\"'`<>$|;&\\][^\s\"'`<>|;&]{3,199}))"

_NAME = re.compile(rb"(?:ENV|ARG)[ \t]+(\w{1,80})[ \t]+")
_QUOTED_VALUE = re.compile(_VALUE)


def _look_at_instruction(text: ScannedText, found: list[Match], start: int) -> None:
    """Find the secret of a Dockerfile's instruction that separates name and value by a blank."""
    data = text.data
    line = data.rfind(b"\n", max(start - 40, 0), start) + 1
    name = _NAME.match(data, start)
    if name is None or data[line:start].strip():
        return
    value = _QUOTED_VALUE.match(data, name.end())
    if value is not None:
        _add(text, found, name[1].decode("latin-1"), value)


def _add(text: ScannedText, found: list[Match], name: str, value: re.Match[bytes]) -> None:
    """Add the value of a name, if it is a secret."""
    group = value.lastindex or 0
    written = value[group].decode("utf-8", "replace")
    judged = paired_secret(name, written, value.start(group) > value.start() or "(" not in written)
    if judged is not None and judged[0] in text.names and judged[1] >= text.floor:
        found.append(Match(*value.span(group), *judged, ENTROPY | HOTWORD, 0))


_TOOLS = tuple(
    (
        compiled(rf"(?i)(?:{tools})(?:\.exe)?[ \t]"),
        re.compile(rb"(?:^|[\s\"'=])(?:" + option.encode() + rb")" + _VALUE),
    )
    for tools, option in PASSWORD_OPTIONS
)
_DIRECTIVE = compiled(rf"(?:{DIRECTIVES})[ \t]")
_COMMAND = (
    r"\b(?:(?:"
    + "|".join(dict.fromkeys(tools for tools, _ in PASSWORD_OPTIONS))
    + rf")(?:\.exe)?|{DIRECTIVES}|ENV|ARG)[ \t]+[^\s=:#]"
)
_END_OF_COMMAND = re.compile(rb"(?<!\\)\r?\n|[;|&]{1,2}[ \t]|`")
_LONGEST_COMMAND = 600
_NO_PASSWORD = re.compile(
    r"-.*|[0-9]{1,5}(?::[0-9]{1,5})?|[a-z]+|.*[$`].*|.*:.*/.*|[\w.\-]+/[\w.\-/:]+|\.{0,2}/.*"
)


def _look_at_commands(text: ScannedText, found: list[Match]) -> None:
    """Find the passwords among the options of commands."""
    data = text.data
    for start, end in spans(_COMMAND, data):
        if start and (data[start - 1] in b"-_.=@" or data[start - 1 : start] == b"$"):
            continue
        if data[start : start + 3] in (b"ENV", b"ARG"):
            _look_at_instruction(text, found, start)
            continue
        if _DIRECTIVE.match(data, start, end) is not None:
            _look_at_directive(text, found, start, end)
            continue
        stop = _END_OF_COMMAND.search(data, end, min(end + _LONGEST_COMMAND, len(data)))
        last = stop.start() if stop else min(end + _LONGEST_COMMAND, len(data))
        for tool, option in _TOOLS:
            if tool.match(data, start, end) is None:
                continue
            for match in option.finditer(data, end - 2, last):
                group = match.lastindex or 0
                written = match[group].decode("utf-8", "replace")
                if (
                    _NO_PASSWORD.fullmatch(written) is None
                    and paired_secret("password", written) is not None
                    and "PASSWORD" in text.names
                    and text.floor <= LIKELY
                ):
                    found.append(Match(*match.span(group), "PASSWORD", LIKELY, SHAPE | HOTWORD, 0))


_LOGIN = (
    rb"\b(?:login|user(?:name)?)[ \t\n]{1,4}[^\s:=]{1,64}[ \t\n]{1,4}pass(?:word)?[ \t]+[^\s\"'`<>$:=]{4,64}"
)
_MACHINE = re.compile(rb"\bmachine\b")


def _look_at_directive(text: ScannedText, found: list[Match], start: int, end: int) -> None:
    """Find a password after a server's own directive at the start of a line."""
    data = text.data
    line = data.rfind(b"\n", max(start - 40, 0), start) + 1
    if data[line:start].strip(b" \t+-"):
        return
    value = _QUOTED_VALUE.match(data, end - 1)
    if value is not None and not data[value.end() : value.end() + 40].partition(b"\n")[0].strip():
        _add(text, found, "password", value)


def _look_at_logins(text: ScannedText, found: list[Match]) -> None:
    """Find passwords in files of the form of .netrc."""
    data = text.data
    for start, end in spans(_LOGIN, data):
        if _MACHINE.search(data, max(start - 160, 0), start) is None:
            continue
        first = max(data.rfind(blank, start, end) for blank in (b" ", b"\t")) + 1
        written = data[first:end].decode("utf-8", "replace")
        if paired_secret("password", written) is not None and text.floor <= LIKELY:
            found.append(Match(first, end, "PASSWORD", LIKELY, SHAPE | HOTWORD, 0))


def scanners() -> Iterator[InfoTypeScanner]:
    """Yield the scanners of this module."""
    yield InfoTypeScanner(frozenset({"PASSWORD", "AUTH_TOKEN"}), (b" ", b"\t"), _look_at_commands)
    yield InfoTypeScanner(frozenset({"PASSWORD"}), (b"machine ",), _look_at_logins)
