"""Declarations of the info types that the local inspector knows; data only, no logic."""

from __future__ import annotations

from functools import cache

from platform_assets.dlp.local.detectors.contacts import CONTACTS
from platform_assets.dlp.local.detectors.credentials import CREDENTIALS
from platform_assets.dlp.local.detectors.declaration import Detector
from platform_assets.dlp.local.detectors.identifiers import IDENTIFIERS
from platform_assets.dlp.local.detectors.people import PEOPLE
from platform_assets.formats.words import words_of

DETECTORS: tuple[Detector, ...] = (*IDENTIFIERS, *CONTACTS, *CREDENTIALS, *PEOPLE)
"""All built-in info types; if two explain a text equally well, the earlier one wins."""

BY_NAME = {detector.name: detector for detector in DETECTORS}
"""The built-in info types by name."""


@cache
def hotwords() -> frozenset[str]:
    """Return the hotwords of all info types that consist of a single word; columns are often named so."""
    phrases = (words_of(phrase) for detector in DETECTORS for phrase in detector.phrases)
    return frozenset(words[0] for words in phrases if len(words) == 1)
