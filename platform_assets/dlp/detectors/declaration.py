"""What the declaration of an info type consists of; the declarations are in the modules beside this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from platform_assets.dlp.model import InfoType, Likelihood, Sensitivity


def word_set(text: str) -> frozenset[str]:
    """The words of a text, as a declaration lists them."""
    return frozenset(text.split())


def phrase_set(text: str) -> frozenset[str]:
    """The phrases of a text, which are separated by commas."""
    return frozenset(" ".join(phrase.split()) for phrase in text.split(","))


@dataclass(frozen=True)
class Form:
    """A way in which numbers of an info type are written.

    Args:
        shape: Regular expression over the shape of a text: 0 for every digit, A and a for letters, the other
            characters as they are.
        likelihood: Likelihood of such a number that is valid, without any word beside it. Bare digits as
            which one in ten random numbers would pass are UNLIKELY, however valid.
        tolerant: Whether one with a wrong check digit may be reported, where its detector is tolerant.
    """

    shape: str
    likelihood: Likelihood = Likelihood.LIKELY
    tolerant: bool = True


@dataclass(frozen=True)
class Detector:
    """An info type, and what it takes to be one.

    Args:
        name: Name of the info type.
        sensitivity: How much harm a disclosure does.
        hotwords: Words and phrases that name it, in lower case and separated by commas; each counts as whole
            words or parts of an identifier.
        version: Version of these rules.
        forms: Its ways of writing, for numbers and mixed identifiers; the detectors of other kinds have none.
        valid: Whether a text without its separators has the check digits, ranges and structure of one.
        chance: Share of random texts of its forms that are valid.
        tolerant: Whether a wrong check digit beside a hotword is still reported, as POSSIBLE.
        by_default: Whether it is looked for where the configuration names no info types.
        contains: Whether others may be found within it: a token in a URL.
    """

    name: str
    sensitivity: Sensitivity = Sensitivity.MODERATE
    hotwords: str = ""
    version: str = "1"
    forms: tuple[Form, ...] = ()
    valid: Callable[[str], bool] | None = None
    chance: float = 0.1
    tolerant: bool = True
    by_default: bool = True
    contains: bool = False

    @property
    def info_type(self) -> InfoType:
        """The info type as findings carry it."""
        return InfoType(self.name, self.version, self.sensitivity)

    @property
    def phrases(self) -> tuple[str, ...]:
        """The hotwords, one by one."""
        return tuple(phrase.strip() for phrase in self.hotwords.split(",") if phrase.strip())


@dataclass(frozen=True)
class Key:
    """Keys of one service that are known by how they start, or by what stands within.

    Args:
        name: Name of the info type.
        service: Who issues them.
        pattern: RE2 pattern of the whole key.
        likelihood: Likelihood of a match with enough entropy; short or common prefixes speak for less.
        entropy: Least entropy of what follows the prefix, in bits per character.
        sign: RE2 pattern of a literal within it, where it does not begin with one.
        before: Most characters of the key that stand before the sign.
    """

    name: str
    service: str
    pattern: str
    likelihood: Likelihood = Likelihood.VERY_LIKELY
    entropy: float = 2.5
    sign: str = ""
    before: int = 0
