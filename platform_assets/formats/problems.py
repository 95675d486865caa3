"""The problems that keep content from being read completely."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ProblemKind(StrEnum):
    """The kinds of problems that prevent a complete inspection."""

    TRUNCATED = "TRUNCATED"
    ENCRYPTED = "ENCRYPTED"
    CORRUPT = "CORRUPT"
    INVALID_ENCODING = "INVALID_ENCODING"
    WRONG_SUFFIX = "WRONG_SUFFIX"
    TOO_LARGE = "TOO_LARGE"
    TOO_DEEP = "TOO_DEEP"
    TOO_MANY_PARTS = "TOO_MANY_PARTS"
    BOMB = "BOMB"
    UNSUPPORTED = "UNSUPPORTED"
    SAMPLED = "SAMPLED"
    TOO_MANY_FINDINGS = "TOO_MANY_FINDINGS"
    TIMEOUT = "TIMEOUT"
    UNREACHABLE = "UNREACHABLE"
    FAILED = "FAILED"
    """The inspection itself failed with an unexpected error."""


@dataclass(frozen=True)
class Problem:
    """A problem that prevented the complete inspection of an object.

    Args:
        kind: The kind of problem.
        container: Its place: names of nested files and of sheets, from the outside in; empty for the object
            itself.
        message: What was attempted, what was found; never a value of the object.
    """

    kind: ProblemKind
    container: tuple[str, ...]
    message: str
