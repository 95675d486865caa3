"""Secrets in the syntax of tools: Dockerfiles, options of commands, directives of servers, calls of drivers.

The names of options, directives and functions come from the tools' manuals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from platform_assets.dlp.local.detectors.credentials import (
    CALLS,
    CUT_AT,
    DIRECTIVES,
    LOGINS,
    PASSWORD_OPTIONS,
    PIPED,
)
from platform_assets.dlp.local.regex import compiled
from platform_assets.dlp.local.scanners.pairs import paired_secret
from platform_assets.dlp.local.scanners.text import (
    ENTROPY,
    HOTWORD,
    LIKELY,
    SHAPE,
    UNLIKELY,
    InfoTypeScanner,
    Match,
    ScannedText,
    spans,
)

_VALUE = rb"(?:\"([^\"\n]{4,200})\"|'([^'\n]{4,200})'|([^\s\"'`<>$|;&\\][^\s\"'`<>|;&]{3,199}))"

_NAME = re.compile(
    rb"(?:ENV|ARG|define|setx(?:[ ]/[mM])?|setenv|SetEnv|fastcgi_param|uwsgi_param|"
    rb"set(?:[ ]-[a-zA-Z-]{1,10})+|set(?=[ \t]+[\w:.]{1,80}[ \t]+[\"'])|user-secrets set)"
    rb"[ \t]+([\w:.]{1,80})[ \t]+"
)
_SETS = re.compile(rb"set(?:x|env|[ ])|SetEnv|(?:fastcgi|uwsgi)_param|define|user-secrets")
_BEFORE_SETTING = frozenset((b"", b"#", b"dotnet", b"RUN", b"$"))
_QUOTED_VALUE = re.compile(_VALUE)


def _look_at_instruction(text: ScannedText, found: list[Match], start: int) -> None:
    """Find the secret of a Dockerfile's or a shell's instruction with a blank between name and value."""
    data = text.data
    line = data.rfind(b"\n", max(start - 40, 0), start) + 1
    name = _NAME.match(data, start)
    if name is None or data[line:start].strip() not in _BEFORE_SETTING:
        return
    value = _QUOTED_VALUE.match(data, name.end())
    # Without quotes, a macro's value is code.
    if value is not None and (value[3] is None or not data.startswith(b"define", start)):
        _add(text, found, name[1].decode("latin-1"), value)


def _add(text: ScannedText, found: list[Match], name: str, value: re.Match[bytes]) -> None:
    """Add the value of a name, if it is a secret."""
    group = value.lastindex or 0
    written = value[group].decode("utf-8", "replace")
    is_literal = value.start(group) > value.start() or "(" not in written
    judged = paired_secret(name, written, is_literal, text.dummies)
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
_LOGIN_SETTING = compiled(LOGINS)
_CALLS = tuple((compiled(rf"(?:{names})\("), place) for names, place in CALLS)
_COMMAND = (
    r"\b(?:(?:(?:"
    + "|".join(dict.fromkeys(tools for tools, _ in PASSWORD_OPTIONS))
    + rf")(?:\.exe)?|{DIRECTIVES}|ENV|ARG|define|setx|setenv|SetEnv|fastcgi_param|uwsgi_param|set|"
    r"user-secrets set|echo|printf)"
    rf"[ \t]+[^\s=:#]|{LOGINS}|(?:" + "|".join(names for names, _ in CALLS) + r")\()"
)
_END_OF_COMMAND = re.compile(rb"(?<!\\)\r?\n|[;|&]{1,2}[ \t]|`")
_LONGEST_COMMAND = 600
_NO_PASSWORD = re.compile(
    r"-.*|[0-9]{1,5}(?::[0-9]{1,5})?|[a-z]+|.*[$`].*|.*:.*/.*|[\w.\-]+/[\w.\-/:]+|\.{0,2}/.*"
)
_PIPED = re.compile(
    rb"(?:-[a-zA-Z]+[ \t]+)?(?:\"(?P<double>[^\"\n]{4,100})\"|'(?P<single>[^'\n]{4,100})'|"
    rb"(?P<bare>[^\s\"'|&;<>]{4,100}))"
    rb"[ \t]*\|[ \t]*" + PIPED.encode()
)
_ARGUMENT = re.compile(
    rb"[ \t\r\n]*(?:(?:[a-z]+[ ]?=[ ]?)?[brfu@]?"
    rb"(?:\"(?P<double>[^\"\n]{0,200})\"|'(?P<single>[^'\n]{0,200})')(?P<more>[^,()\"']{0,40})|"
    rb"[^,()\"'\n]{0,120}(?:\([^()\n]{0,80}\))?[^,()\"'\n]{0,40})[ \t\r\n]*(?P<end>[,)(]|$)"
)


def _look_at_commands(text: ScannedText, found: list[Match]) -> None:
    """Find the passwords among the options of commands, in directives, and among the arguments of calls."""
    data = text.data
    for start, end in spans(_COMMAND, data):
        if data[end - 1 : end] == b"(":
            _look_at_call(text, found, start, end)
        elif start and (data[start - 1] in b"-_.=@" or data[start - 1 : start] == b"$"):
            continue
        elif _DIRECTIVE.match(data, start, end) is not None:
            _look_at_directive(text, found, start, end)
        elif data[start : start + 3] in (b"ENV", b"ARG") or _SETS.match(data, start, end) is not None:
            _look_at_instruction(text, found, start)
        elif data[start : start + 4] == b"echo" or data[start : start + 6] == b"printf":
            _look_at_piped(text, found, end - 1)
        elif _LOGIN_SETTING.match(data, start, end) is not None:
            value = _QUOTED_VALUE.match(data, end)
            if value is not None:
                _add_password(text, found, value.start(value.lastindex or 0), value[value.lastindex or 0])
        else:
            _look_at_options(text, found, start, end)


def _look_at_options(text: ScannedText, found: list[Match], start: int, end: int) -> None:
    data = text.data
    stop = _END_OF_COMMAND.search(data, end, min(end + _LONGEST_COMMAND, len(data)))
    last = stop.start() if stop else min(end + _LONGEST_COMMAND, len(data))
    for tool, option in _TOOLS:
        named = tool.match(data, start, last)
        if named is None:
            continue
        cut = CUT_AT.get(named[0].strip().decode("latin-1").lower(), "")
        for match in option.finditer(data, named.end() - 1, last):
            value = match[match.lastindex or 0]
            value = value.partition(cut.encode())[0] if cut else value
            _add_password(text, found, match.start(match.lastindex or 0), value)


def _add_password(text: ScannedText, found: list[Match], start: int, value: bytes) -> None:
    """Add a password, unless it is a number, a word, a path or a reference."""
    written = value.decode("utf-8", "replace")
    if _NO_PASSWORD.fullmatch(written) is not None or "PASSWORD" not in text.names or text.floor > LIKELY:
        return
    judged = paired_secret("password", written, dummies=text.dummies)
    if judged is not None and judged[1] > UNLIKELY:
        found.append(Match(start, start + len(value), "PASSWORD", LIKELY, SHAPE | HOTWORD, 0))


def _look_at_piped(text: ScannedText, found: list[Match], start: int) -> None:
    """Find a password that is piped to a command: `echo ... | sudo -S`, `echo user:... | chpasswd`."""
    match = _PIPED.match(text.data, start)
    if match is None:
        return
    kind = next(kind for kind in ("double", "single", "bare") if match[kind] is not None)
    value, first = match[kind], match.start(kind)
    if b"chpasswd" in match[0]:
        first += value.find(b":") + 1
        value = value.partition(b":")[2]
    _add_password(text, found, first, value)


def _look_at_call(text: ScannedText, found: list[Match], start: int, end: int) -> None:
    """Find the password among the arguments of a call: literals only, at the place of the password."""
    data = text.data
    place = next((number for names, number in _CALLS if names.match(data, start, end)), None)
    if place is None:
        return
    at, argument = end, None
    for number in range(place + 1):
        argument = _ARGUMENT.match(data, at, min(at + 400, len(data)))
        if argument is None or (number < place and argument["end"] != b","):
            return
        at = argument.end()
    if argument is None:
        return
    kind = "double" if argument["double"] is not None else "single"
    value = argument[kind]
    if value is None or (argument["more"].strip() and not argument["more"].startswith(b".")):
        return
    judged = paired_secret("password", value.decode("utf-8", "replace"), dummies=text.dummies)
    if judged is not None and judged[1] >= LIKELY >= text.floor and "PASSWORD" in text.names:
        found.append(Match(*argument.span(kind), "PASSWORD", LIKELY, SHAPE | HOTWORD, 0))


_LOGIN = (
    rb"\b(?:login|user(?:name)?)[ \t\n]{1,4}[^\s:=]{1,64}[ \t\n]{1,4}pass(?:word)?[ \t]+[^\s\"'`<>$:=]{4,64}"
)
_MACHINE = re.compile(rb"\bmachine\b")
# User, server and password, and the addresses that the user may have.
_OF_PPP = (
    rb"(?m)^[ \t]*\"?[\w.@\\\-]{1,60}\"?[ \t]+(?:\*|[\w.\-]{1,40})[ \t]+"
    rb"\"?[^\s\"]{4,64}\"?[ \t]+(?:\*|[0-9.]{7,15})[ \t]*$"
)


def _look_at_directive(text: ScannedText, found: list[Match], start: int, end: int) -> None:
    """Find a password after a server's own directive at the start of a line."""
    data = text.data
    line = data.rfind(b"\n", max(start - 40, 0), start) + 1
    if data[line:start].strip(b" \t+-"):
        return
    value = _QUOTED_VALUE.match(data, end - 1)
    rest = data[value.end() : value.end() + 40].partition(b"\n")[0].strip() if value is not None else b""
    if value is not None and rest in (b"", b"RO", b"RW", b"}", b";"):
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


def _look_at_secrets_of_ppp(text: ScannedText, found: list[Match]) -> None:
    """Find passwords in files of the form of chap-secrets."""
    data = text.data
    for start, end in spans(_OF_PPP, data):
        written = data[start:end].split()[2]
        value = written.strip(b'"')
        first = data.rindex(written, start, end) + written.startswith(b'"')
        _add_password(text, found, first, value)


def scanners() -> Iterator[InfoTypeScanner]:
    """Yield the scanners of this module."""
    needs = (b" ", b"\t", b"(", b"543", b"6432:", b"6543:", b"26257:")
    yield InfoTypeScanner(frozenset({"PASSWORD", "AUTH_TOKEN"}), needs, _look_at_commands)
    yield InfoTypeScanner(frozenset({"PASSWORD"}), (b"machine ",), _look_at_logins)
    yield InfoTypeScanner(frozenset({"PASSWORD"}), (b'" * "',), _look_at_secrets_of_ppp)
