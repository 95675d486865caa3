"""Glob patterns of paths and keys: `*`, `?` and `[...]` within a part, `**` over parts."""

from __future__ import annotations

import re


def has_wildcards(pattern: str) -> bool:
    """Return whether a pattern can match more than one path."""
    return any(sign in pattern for sign in "*?[")


def fixed_part(pattern: str) -> str:
    """Return the parts of a pattern before its first wildcard: all that it matches is below."""
    parts = pattern.split("/")[:-1]
    fixed = []
    for part in parts:
        if has_wildcards(part):
            break
        fixed.append(part)
    return "/".join(fixed)


def glob_regex(pattern: str) -> str:
    """A regular expression that matches the same keys as a glob pattern."""
    parts = []
    # Other characters match themselves, including an unclosed bracket.
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]/]*\]|.", pattern, re.DOTALL):
        match token:
            case "**/":
                parts.append("(?:[^/]+/)*")
            case "**":
                parts.append(".*")
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _ if len(token) > 1:
                negated, inner = token[1] == "!", token[1:-1].removeprefix("!")
                escaped = inner.replace("\\", "\\\\").replace("]", "\\]").replace("^", "\\^")
                escaped = escaped.replace("[", "\\[").replace("&", "\\&").replace("~", "\\~")
                parts.append(f"(?!/)[{'^' if negated else ''}{escaped}]")
            case _:
                parts.append(re.escape(token))
    return "".join(parts)
