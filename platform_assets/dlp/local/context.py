"""Context of a match: the hotwords among the surrounding words, and their distance.

Words are whole words and the parts of identifiers: `creditCardNumber` and `credit_card_number` are three
words, and `ACADEMIC_YEAR_CODE` does not contain CVV.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from platform_assets.formats.words import words_of

_LONGEST_PHRASE = 6


class Surroundings(NamedTuple):
    """The hotwords around a match.

    Args:
        hot: Number of words between the match and the nearest hotword, by the info type of the hotword.
        against: Number of words between the match and the nearest word for something else; large if there is
            none.
        title: The info types of the hotwords in the name of the match's column.
    """

    hot: Mapping[str, int]
    against: int
    title: Set[str] = frozenset()

    @property
    def as_title(self) -> Surroundings:
        """The same as those of a column's name."""
        return Surroundings(self.hot, self.against, self.hot.keys()) if self is not NOTHING else self


FAR = 1_000
"""A distance beyond every window."""

NOTHING = Surroundings({}, FAR)


@dataclass(slots=True)
class _Ending:
    """Words at the end of hotwords.

    Args:
        names: The info types that these words name.
        is_against: True if they name something else.
        longer: The same words with one more in front, by that word.
    """

    names: set[str] = field(default_factory=set)
    is_against: bool = False
    longer: dict[str, _Ending] = field(default_factory=dict)


class Hotwords:
    """An index of hotwords that finds all hotwords of a text in one pass over its words.

    Args:
        phrases: Hotwords in lower case, by the info type that they name.
        against: Phrases for something else.
    """

    def __init__(self, phrases: Mapping[str, Iterable[str]], against: Iterable[str]) -> None:
        self._named: dict[tuple[str, ...], set[str]] = {}
        self._endings: dict[str, _Ending] = {}
        for name, texts in phrases.items():
            for text in texts:
                for phrase in _spellings(text):
                    self._named.setdefault(phrase, set()).add(name)
                    self._ending(phrase).names.add(name)
        for text in against:
            for phrase in _spellings(text):
                self._ending(phrase).is_against = True

    def _ending(self, phrase: tuple[str, ...]) -> _Ending:
        *above, last = phrase
        ending = self._endings.setdefault(last, _Ending())
        for word in reversed(above):
            ending = ending.longer.setdefault(word, _Ending())
        return ending

    def phrases_of(self, name: str) -> list[tuple[str, ...]]:
        """The hotwords of an info type, as words."""
        return [phrase for phrase, names in self._named.items() if name in names]

    def last_words(self, name: str) -> frozenset[str]:
        """The last words of an info type's hotwords: a text without any of them has none."""
        return frozenset(phrase[-1] for phrase in self.phrases_of(name))

    def among(self, before: tuple[str, ...], after: tuple[str, ...] = ()) -> Surroundings:
        """Evaluate the words before and after a match; words before it count as nearer."""
        hot: dict[str, int] = {}
        against = FAR
        ending_with, last = self._endings.get, len(before) - 1
        for place, ending in enumerate(map(ending_with, before)):
            if ending is not None:
                against = _take(before, place, ending, last - place, 0, hot, against)
        for place, ending in enumerate(map(ending_with, after)):
            if ending is not None:
                against = _take(after, place, ending, place + 2, 1, hot, against)
        return Surroundings(hot, against) if hot or against < FAR else NOTHING

    def among_more(
        self, words: tuple[str, ...], of_words: Surroundings, more: tuple[str, ...]
    ) -> Surroundings:
        """Evaluate words before a match and some more after them, given what is known of the former."""
        if of_words is NOTHING and not any(map(self._endings.get, more)):
            return NOTHING
        count = len(more)
        hot = {name: distance + count for name, distance in of_words.hot.items()}
        against = of_words.against + count if of_words.against < FAR else FAR
        both = words + more
        for place in range(len(words), len(both)):
            ending = self._endings.get(both[place])
            if ending is not None:
                against = _take(both, place, ending, len(both) - 1 - place, 0, hot, against)
        return Surroundings(hot, against) if hot or against < FAR else NOTHING


def _take(
    words: tuple[str, ...],
    place: int,
    ending: _Ending | None,
    distance: int,
    per_word: int,
    hot: dict[str, int],
    against: int,
) -> int:
    """Take the phrases that end with one of the words; return the distance of what speaks against.

    Args:
        words: The words.
        place: The place of the last word of the phrases.
        ending: The phrases that end with it.
        distance: The distance of a phrase of one word.
        per_word: How much nearer a phrase is with each further word.
        hot: The distance of the nearest hotword by info type, which is changed.
        against: The distance of what speaks against, so far.
    """
    while ending is not None:
        # A phrase is stronger evidence than its words: "card number" counts as nearer than "number".
        for name in ending.names:
            if distance < hot.get(name, FAR):
                hot[name] = distance
        if ending.is_against and distance < against:
            against = distance
        if not place or not ending.longer:
            break
        place -= 1
        distance -= per_word
        ending = ending.longer.get(words[place])
    return against


_LONGEST_ACRONYM = 5


def _spellings(text: str) -> set[tuple[str, ...]]:
    """A phrase as separate words and as one word, each in singular and plural.

    A short word may be an acronym with dots (`S.S.N.`) or in plural (`SSNs`): both read as several words.
    """
    words = words_of(text)
    if not words or len(words) > _LONGEST_PHRASE:
        return set()
    first, last = words[0], words[-1]
    spellings = {words, (*words[:-1], last + "s")}
    if last.endswith(("nummer", "karte")):
        spellings.add((*words[:-1], last + "n"))
    stem = last.removesuffix("nummer")
    if stem != last:
        spellings.add((*words[:-1], f"{stem}nr"))
        if stem:
            spellings |= {(*words[:-1], stem, "nr"), (*words[:-1], stem, "nummer")}
    if last == "number" and len(words) > 1:
        spellings |= {(*words[:-1], short) for short in ("no", "nos", "nr", "num", "nbr")}
    if last == "id" and len(words) > 1:
        spellings.add((*words[:-1], "i", "d"))
    if len(words) > 1:
        spellings |= {("".join(words),), (first + "s", *words[1:]), (first + "s", *words[1:-1], last + "s")}
    elif 3 <= len(first) <= _LONGEST_ACRONYM and first.isascii():
        spellings |= {tuple(first), (*first[:-1], first[-1] + "s"), (first[:-1], first[-1] + "s")}
    return spellings
