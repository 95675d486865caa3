"""A task's log: bounded, line by line, without secrets."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections import deque
from collections.abc import Callable
from urllib.parse import quote, quote_plus

from platform_assets.configuration.secrets import Secret

MOST_LINES = 10_000
"""Lines of one execution that are logged as they come."""
_TAIL = 200
LONGEST_LINE = 4_000
"""Characters of a line; a longer one is logged in parts."""
_SHORTEST_SECRET = 4
_HIDDEN = "***"


class Redactor:
    """Secrets that were resolved, and their replacement in texts."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def resolve(self, secret: Secret) -> str:
        """Resolve a reference, and replace its value in texts from now on.

        Raises:
            SettingsError: It cannot be fetched.
        """
        value = secret.resolve()
        for line in (value, *value.splitlines()):
            text = line.strip()
            # Anything shorter would turn up in ordinary words.
            if len(text) >= _SHORTEST_SECRET:
                encoded = base64.b64encode(text.encode()).decode()
                self._values |= {
                    text,
                    quote(text, safe=""),
                    quote_plus(text),
                    json.dumps(text)[1:-1],
                    encoded,
                }
        longest_first = sorted(self._values, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        return value

    def clean(self, text: str) -> str:
        """Return a text without the secrets' values."""
        return self._pattern.sub(_HIDDEN, text) if self._pattern else text


class TaskLog:
    """The log of one execution: the first lines as they come, and the last ones at the end.

    Every line of a run is an event in Dagster's database, so a script that prints without end must not fill
    it.

    Args:
        redactor: Replaces secrets.
        line: Takes a line.
        warning: Takes a line that needs attention.
    """

    def __init__(
        self, redactor: Redactor, line: Callable[[str], None], warning: Callable[[str], None]
    ) -> None:
        self._redactor = redactor
        self._line = line
        self._warning = warning
        self._count = 0
        self._tail: deque[tuple[Callable[[str], None], str]] = deque(maxlen=_TAIL)

    def __call__(self, line: str) -> None:
        """Add a line, or several at once."""
        self._add(self._line, line)

    def warn(self, line: str) -> None:
        """Add a line that needs attention."""
        self._add(self._warning, line)

    def close(self) -> None:
        """Log the last lines that were held back, and say how many are missing."""
        left_out = self._count - MOST_LINES - len(self._tail)
        if left_out > 0:
            self._warning(f"... {left_out:,} lines are left out; the last {len(self._tail)} are:")
        held, self._tail = list(self._tail), deque(maxlen=_TAIL)
        for write, lines in itertools.groupby(held, key=lambda item: item[0]):
            write("\n".join(line for _, line in lines))

    def _add(self, write: Callable[[str], None], text: str) -> None:
        lines = [part for line in self._redactor.clean(text).split("\n") for part in _parts(line)]
        room = max(MOST_LINES - self._count, 0)
        self._count += len(lines)
        if lines[:room]:
            write("\n".join(lines[:room]))
        self._tail.extend((write, line) for line in lines[room:])


def _parts(line: str) -> list[str]:
    return [line[start : start + LONGEST_LINE] for start in range(0, max(len(line), 1), LONGEST_LINE)]
