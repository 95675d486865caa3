"""The classes for declaring info types; the declarations are in the modules beside this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from platform_assets.dlp.model import InfoType, Likelihood, Sensitivity


def phrase_set(text: str) -> frozenset[str]:
    """The phrases of a text, which are separated by commas."""
    return frozenset(" ".join(phrase.split()) for phrase in text.split(","))


@dataclass(frozen=True)
class Form:
    """A notation of an info type's numbers.

    Args:
        shape: Regular expression over the shape of a text: 0 for every digit, A and a for letters, other
            characters unchanged.
        likelihood: Likelihood of a valid number without a hotword. Bare digits that one in ten random numbers
            would match are UNLIKELY, even if valid.
        tolerant: True if a wrong check digit may be reported, provided that the detector is tolerant.
    """

    shape: str
    likelihood: Likelihood = Likelihood.LIKELY
    tolerant: bool = True


@dataclass(frozen=True)
class Detector:
    """An info type and how to detect it.

    Args:
        name: Name of the info type.
        sensitivity: The harm of a disclosure.
        hotwords: Words and phrases that name it, in lower case and separated by commas; each matches whole
            words or parts of an identifier.
        version: Version of these rules.
        forms: Its notations, for numbers and mixed identifiers; other kinds of detectors have none.
        valid: Returns True if a text without separators has valid check digits, ranges and structure.
        chance: Share of random texts of its forms that are valid.
        tolerant: True if a wrong check digit near a hotword is still reported, as POSSIBLE.
        by_default: True if it is used when the configuration names no info types.
        contains: True if other findings may be inside it, such as a token in a URL.
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
        """The info type as used in findings."""
        return InfoType(self.name, self.version, self.sensitivity)

    @property
    def phrases(self) -> tuple[str, ...]:
        """The hotwords, one by one."""
        return tuple(phrase.strip() for phrase in self.hotwords.split(",") if phrase.strip())


@dataclass(frozen=True)
class Key:
    """Keys of one service, recognised by their prefix or by a literal inside.

    Args:
        name: Name of the info type.
        service: The issuer.
        pattern: RE2 pattern of the whole key.
        likelihood: Likelihood of a match with enough entropy; lower for short or common prefixes.
        entropy: Minimum entropy of the part after the prefix, in bits per character.
        sign: RE2 pattern of a literal inside, if the key does not begin with one.
        before: Maximum number of characters of the key before the sign.
    """

    name: str
    service: str
    pattern: str
    likelihood: Likelihood = Likelihood.VERY_LIKELY
    entropy: float = 2.5
    sign: str = ""
    before: int = 0


@dataclass(frozen=True)
class NamedKey:
    """Keys of one service that have no form of their own, recognised by the service's name before them.

    Args:
        name: Name of the info type.
        service: The issuer.
        written: RE2 pattern of the issuer's name as variables, settings and addresses have it, in lower case.
        shape: RE2 pattern of the whole key.
    """

    name: str
    service: str
    written: str
    shape: str
