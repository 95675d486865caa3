"""Whether a text is a telephone number, by the numbering plans that phonenumbers carries.

A plan is compiled once into a pattern of all numbers that it assigns, which gives the verdict of
`phonenumbers.is_valid_number` at a hundredth of its cost. Nothing here looks for numbers in a text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

NATIONAL_REGIONS = ("US", "GB", "DE", "FR", "IN", "BR", "ES", "IT", "AU", "NL", "SE", "PL", "MX", "IL", "CH")
"""Regions whose national way of writing is recognised, besides international numbers of all regions."""

_KINDS = (
    "fixed_line",
    "mobile",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "personal_number",
    "voip",
    "pager",
    "uan",
    "voicemail",
)


@lru_cache(maxsize=65_536)
def is_international(digits: str) -> bool:
    """Whether digits that follow a + are a number that is assigned: country code and national number."""
    for length in (1, 2, 3):
        plan = _country(int(digits[:length])) if digits[0] != "0" else None
        if plan is not None:
            national = digits[length:]
            if plan.fullmatch(national):
                return True
            # +44 (0)20 ...: the national prefix is written, and not dialled
            return national[:1] == "0" and plan.fullmatch(national[1:]) is not None
    return False


@lru_cache(maxsize=65_536)
def regions_of(digits: str) -> tuple[str, ...]:
    """The regions in which digits, dialled as they are, are a number that is assigned."""
    return tuple(region for region in NATIONAL_REGIONS if is_national(digits, region))


@lru_cache(maxsize=65_536)
def is_national(digits: str, region: str) -> bool:
    """Whether digits, with the national prefix where there is one, are a number of that region."""
    plan, prefix = _region(region)
    if plan is None:
        return False
    if prefix and region != "US":
        return digits.startswith(prefix) and plan.fullmatch(digits[len(prefix) :]) is not None
    if region == "US" and len(digits) == 11 and digits[0] == "1":
        digits = digits[1:]
    return plan.fullmatch(digits) is not None


@lru_cache(maxsize=512)
def _country(code: int) -> re.Pattern[str] | None:
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

    regions = COUNTRY_CODE_TO_REGION_CODE.get(code)
    if not regions:
        return None
    if regions == ("001",):
        return _pattern([PhoneMetadata.metadata_for_nongeo_region(code, None)])
    return _pattern([PhoneMetadata.metadata_for_region(region, None) for region in regions])


@lru_cache(maxsize=512)
def _region(region: str) -> tuple[re.Pattern[str] | None, str]:
    from phonenumbers import PhoneMetadata

    metadata = PhoneMetadata.metadata_for_region(region, None)
    return _pattern([metadata]), (metadata.national_prefix or "") if metadata else ""


def _pattern(plans: list[Any]) -> re.Pattern[str] | None:
    patterns = []
    for plan in plans:
        for kind in _KINDS:
            described = getattr(plan, kind, None)
            if described is not None and described.national_number_pattern:
                patterns.append(f"(?:{described.national_number_pattern})")
    return re.compile("|".join(dict.fromkeys(patterns))) if patterns else None
