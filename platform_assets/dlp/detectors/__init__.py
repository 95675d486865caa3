"""Declarations of the info types that the local inspector knows; data only, no logic."""

from __future__ import annotations

from platform_assets.dlp.detectors.contacts import CONTACTS
from platform_assets.dlp.detectors.credentials import CREDENTIALS
from platform_assets.dlp.detectors.declaration import Detector
from platform_assets.dlp.detectors.identifiers import IDENTIFIERS
from platform_assets.dlp.detectors.people import PEOPLE

DETECTORS: tuple[Detector, ...] = (*IDENTIFIERS, *CONTACTS, *CREDENTIALS, *PEOPLE)
"""All built-in info types; if two explain a text equally well, the earlier one wins."""

BY_NAME = {detector.name: detector for detector in DETECTORS}
"""The built-in info types by name."""
