"""Everything that the local inspector knows: the info types, a declaration each, and nothing that acts."""

from __future__ import annotations

from platform_assets.dlp.detectors.contacts import CONTACTS
from platform_assets.dlp.detectors.credentials import CREDENTIALS
from platform_assets.dlp.detectors.declaration import Detector
from platform_assets.dlp.detectors.identifiers import IDENTIFIERS
from platform_assets.dlp.detectors.people import PEOPLE

DETECTORS: tuple[Detector, ...] = (*IDENTIFIERS, *CONTACTS, *CREDENTIALS, *PEOPLE)
"""All built-in info types; where two explain the same text equally well, the one further up is taken."""

BY_NAME = {detector.name: detector for detector in DETECTORS}
"""The same by name."""
