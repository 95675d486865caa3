"""RE2 patterns over bytes, and RE2's own matching.

The wrapper's match objects cost more than matching itself: for short texts, most of a scan. RE2's own
`Match`, which the wrapper calls, returns the spans of all groups as plain tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import re2  # type: ignore[import-untyped]

Pattern: TypeAlias = re2._Regexp
"""A compiled pattern; RE2 gives its class no public name."""
Matcher: TypeAlias = Callable[[Any, bytes, int, int], list[tuple[int, int]]]
"""Takes where to match, the bytes, and the span to search; returns the spans of all groups."""
UNANCHORED = re2._Anchor.UNANCHORED
"""Match anywhere in the span."""
AT_START = re2._Anchor.ANCHOR_START
"""Match at the start of the span."""


def latin_1() -> re2.Options:
    """Options for matching a pattern byte by byte, whatever the bytes are."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.max_mem = 64 << 20
    return options


@lru_cache(maxsize=512)
def compiled(pattern: str | bytes) -> Pattern:
    """Compile a pattern over bytes, once."""
    return re2.compile(pattern.encode() if isinstance(pattern, str) else pattern, latin_1())


@lru_cache(maxsize=512)
def matcher(pattern: str | bytes) -> Matcher:
    """Return RE2's own method that matches a pattern."""
    method: Matcher = compiled(pattern)._regexp.Match
    return method


@lru_cache(maxsize=512)
def text_matcher(pattern: str, ignore_case: bool = False) -> Matcher:
    """Return RE2's own method that matches a pattern over the characters of UTF-8."""
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    by_character: Pattern = re2.compile(pattern.encode(), options)
    method: Matcher = by_character._regexp.Match
    return method


_FEW_VALUES = 64


def matching(values: pa.Array, pattern: str, *, ignore_case: bool = False) -> npt.NDArray[np.bool_]:
    """Return True for the values that a pattern matches; False for nulls."""
    if len(values) > _FEW_VALUES:
        matched = pc.match_substring_regex(values, pattern, ignore_case=ignore_case).fill_null(False)
        return matched.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    # Arrow compiles the pattern each time, which costs more than matching a few values.
    match = text_matcher(pattern, ignore_case)
    texts = (None if value is None else value.encode() for value in values.to_pylist())
    found = [text is not None and match(UNANCHORED, text, 0, len(text))[0][0] >= 0 for text in texts]
    return np.array(found, np.bool_)


def literal_finder(literals: Sequence[bytes]) -> Callable[[bytes], list[bytes]]:
    """Return a function that says which of some literals a text contains.

    RE2 looks for all of them in one pass, which takes as long as Python's search for two or three.

    Args:
        literals: Distinct texts, at least one.
    """
    one_pass = re2.Set.SearchSet(latin_1())
    for literal in literals:
        one_pass.Add(re2.escape(literal))
    one_pass.Compile()

    def contained(data: bytes) -> list[bytes]:
        found: list[int] | None = one_pass.Match(data)
        if found is None:
            # It finds nothing in a text without any, and when its memory is used up.
            return [literal for literal in literals if literal in data]
        return [literals[number] for number in found]

    return contained
