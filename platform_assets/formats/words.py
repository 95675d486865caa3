"""Words of texts and shapes of characters."""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = re.compile(r"\bi(?:Phone|Pad|Pod|Mac|OS|Cloud)\b|[A-Z]+(?![a-z\u00e0-\u00ff])|[A-Z]?[^\W\d_A-Z]+|\d+")
SHAPES = bytes(
    ord("0")
    if 48 <= byte <= 57
    else ord("A")
    if 65 <= byte <= 90
    else ord("a")
    if 97 <= byte <= 122 or byte >= 128
    else byte
    for byte in range(256)
)
"""Translation of bytes to the kind of each: 0 for digits, A and a for letters, others unchanged."""


def word_set(text: str) -> frozenset[str]:
    """The words of a text, as listed in a declaration."""
    return frozenset(text.split())


@lru_cache(maxsize=16_384)
def words_of(text: str) -> tuple[str, ...]:
    """The words of a text or the parts of a name, in lower case and in order."""
    return split_words(text)


def split_words(text: str) -> tuple[str, ...]:
    """The same for texts that hardly ever occur again."""
    return tuple(map(str.lower, _WORD.findall(text)))
