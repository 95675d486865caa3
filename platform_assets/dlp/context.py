"""The words around a match: which hotwords are among them, and how far away.

Words are whole words and the parts of identifiers: `creditCardNumber` and `credit_card_number` are three
words, and `ACADEMIC_YEAR_CODE` holds no CVV.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

_WORD = re.compile(r"\bi(?:Phone|Pad|Pod|Mac|OS|Cloud)\b|[A-Z]+(?![a-z\u00e0-\u00ff])|[A-Z]?[^\W\d_A-Z]+|\d+")
_LONGEST_PHRASE = 6


@lru_cache(maxsize=16_384)
def words_of(text: str) -> tuple[str, ...]:
    """The words of a text or the parts of a name, in lower case and in their order."""
    return tuple(word.lower() for word in _WORD.findall(text))


@dataclass(frozen=True)
class Surroundings:
    """What the words around a match say.

    Args:
        hot: Words between the match and the nearest hotword, by the name of the info type that it names.
        against: Words between the match and the nearest word that names something else; large where there
            is none.
    """

    hot: Mapping[str, int]
    against: int


FAR = 1_000
"""A distance beyond every window."""

NOTHING = Surroundings({}, FAR)


class Hotwords:
    """An index of hotwords, which finds all of a text's in one pass over its words.

    Args:
        phrases: Hotwords in lower case by the name of what they name.
        against: Phrases that name something else.
    """

    def __init__(self, phrases: Mapping[str, Iterable[str]], against: Iterable[str]) -> None:
        self._named: dict[tuple[str, ...], set[str]] = {}
        for name, texts in phrases.items():
            for text in texts:
                for phrase in _spellings(text):
                    self._named.setdefault(phrase, set()).add(name)
        self._against = {phrase for text in against for phrase in _spellings(text)}
        self._lengths: dict[str, tuple[int, ...]] = {}
        for phrase in (*self._named, *self._against):
            lengths = {*self._lengths.get(phrase[-1], ()), len(phrase)}
            self._lengths[phrase[-1]] = tuple(sorted(lengths))

    def among(self, before: tuple[str, ...], after: tuple[str, ...] = ()) -> Surroundings:
        """What the words before a match, and those after it, say; what stands before counts as nearer."""
        hot: dict[str, int] = {}
        against = FAR
        last = len(before) - 1
        for words, base, backwards in ((before, 0, True), (after, 2, False)):
            for place, word in enumerate(words):
                for length in self._lengths.get(word, ()):
                    if length > place + 1:
                        continue
                    phrase = words[place + 1 - length : place + 1]
                    distance = base + (last - place if backwards else place + 1 - length)
                    # A phrase says more than its words: "card number" is nearer than "number" alone.
                    for name in self._named.get(phrase, ()):
                        if distance < hot.get(name, FAR):
                            hot[name] = distance
                    if phrase in self._against and distance < against:
                        against = distance
        return Surroundings(hot, against) if hot or against < FAR else NOTHING


def _spellings(text: str) -> set[tuple[str, ...]]:
    """A phrase as its words and as one word, each in singular and plural."""
    words = words_of(text)
    if not words or len(words) > _LONGEST_PHRASE:
        return set()
    spellings = {words, (*words[:-1], words[-1] + "s")}
    if len(words) > 1:
        spellings.add(("".join(words),))
    return spellings
