"""Texts of failures without secrets and values of rows, fit for messages that leave the platform."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from platform_assets.alert import plain
from platform_assets.configuration.secrets import Secret
from platform_assets.errors import SettingsError

_HIDDEN = "[hidden]"
_SHORTEST_SECRET = 4
# Their texts come from libraries and databases, which repeat values: only the class and the place are shown.
_UNEXPECTED = re.compile(
    r"unexpected error (?P<name>[\w.]+)(?:: .*?)?(?P<place> \([\w/]+\.py:\d+\))?\.?$", re.DOTALL
)
_EXAMPLES = re.compile(r",? such as .*$", re.DOTALL)
_MASKS = (
    (re.compile(r"(?<=://)[^\s/@]+@"), f"{_HIDDEN}@"),
    (re.compile(r"(https?://[^\s?#]+)[?#]\S+"), r"\1"),
    (re.compile(r"https://hooks\.slack\.com/\S+"), _HIDDEN),
    (
        re.compile(
            r"(?i)\b(password|passwd|pwd|secret|token|api[_-]?key|authorization)(\s*[=:]\s*)(?!//)\S+"
        ),
        rf"\1\2{_HIDDEN}",
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), _HIDDEN),
    (re.compile(r"[^\s<>@,;:'\"]+@[\w-]+(?:\.[\w-]+)+"), _HIDDEN),
    # PostgreSQL and others repeat rows like this: Key (id)=(5), Failing row contains (5, Ann).
    (re.compile(r"\)\s*=\s*\([^)]*\)"), f") = {_HIDDEN}"),
    (re.compile(r"(?i)(row contains) \(.*\)"), rf"\1 {_HIDDEN}"),
    (re.compile(r"\d(?:[ .-]?\d){8,}"), _HIDDEN),
)


class Masking:
    """Removes secrets and values from texts.

    Args:
        secrets: The configured secrets; those of the environment and of files are replaced by their values,
            those of remote stores are not fetched.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        values: set[str] = set()
        for secret in secrets:
            if secret.reference.startswith(("secret://env/", "secret://file/")):
                values |= _written(secret)
        longest_first = sorted(values, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """Return a text in one line that can be shown to anybody."""
        shown = self._pattern.sub(_HIDDEN, text) if self._pattern else text
        unexpected = _UNEXPECTED.search(shown)
        if unexpected:
            start = shown[: unexpected.start()]
            shown = f"{start}{unexpected['name']}{unexpected['place'] or ''}. Its run has the details."
        shown = _EXAMPLES.sub(".", shown)
        for pattern, by in _MASKS:
            shown = pattern.sub(by, shown)
        return plain(shown)


def _written(secret: Secret) -> set[str]:
    """Return the ways in which a secret may be written; empty if it cannot be fetched."""
    try:
        value = secret.resolve().strip()
    except SettingsError:
        return set()
    lines = {value, *(line.strip() for line in value.splitlines())}
    long = {line for line in lines if len(line) >= _SHORTEST_SECRET}
    return {way for line in long for way in (line, quote(line, safe=""), quote_plus(line))}
