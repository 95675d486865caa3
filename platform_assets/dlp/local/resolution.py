"""Resolution of overlapping matches: the choice among several explanations of the same characters."""

from __future__ import annotations

from platform_assets.dlp.local.context import FAR
from platform_assets.dlp.local.detectors import BY_NAME
from platform_assets.dlp.local.scanners.text import PRIORITY, Match

_CONTAINERS = frozenset(name for name, detector in BY_NAME.items() if detector.contains)
# Info types that are meaningless inside a URL.
_WITHIN_URL = frozenset({"DOMAIN_NAME"})
UNSURE_IN_URL = frozenset({"PHONE_NUMBER", "PERSON_NAME", "STREET_ADDRESS", "SWIFT_CODE", "VAT_NUMBER"})
"""Info types that are no findings in a URL, unless they are very likely."""


def resolved(matches: list[Match]) -> list[Match]:
    """Choose one match for every position, in order. Container types are kept beside their content."""
    matches.sort()
    kept: list[Match] = []
    cluster: list[Match] = []
    reach = -1
    containers: list[Match] = []
    for match in matches:
        if match.name in _CONTAINERS:
            containers.append(match)
            continue
        if match.start >= reach:
            if len(cluster) == 1:
                kept.append(cluster[0])
            elif cluster:
                kept.extend(_best(cluster))
            cluster = [match]
            reach = match.end
        else:
            cluster.append(match)
            reach = max(reach, match.end)
    if len(cluster) == 1:
        kept.append(cluster[0])
    elif cluster:
        kept.extend(_best(cluster))
    if containers:
        kept = sorted([*_outside(kept, containers), *containers])
    return kept


def _rank(match: Match) -> tuple[int, bool, bool, int, int, int]:
    """The sort key of overlapping matches: likelihood first, then hotwords, then validity."""
    return (
        -match.likelihood,
        match.distance >= FAR,
        not match.valid,
        match.distance,
        match.start - match.end,
        PRIORITY.get(match.name, -1),
    )


def _best(cluster: list[Match]) -> list[Match]:
    """The chosen matches among overlapping ones."""
    taken: list[Match] = []
    for match in sorted(cluster, key=_rank):
        if all(match.end <= other.start or match.start >= other.end for other in taken):
            taken.append(match)
    taken.sort()
    return taken


def _outside(matches: list[Match], containers: list[Match]) -> list[Match]:
    """Drop matches that are only a part of a URL."""
    kept = []
    place = 0
    for match in matches:
        while place < len(containers) and containers[place].end <= match.start:
            place += 1
        inside = place < len(containers) and containers[place].start <= match.start
        if inside and (match.name in _WITHIN_URL or (match.name in UNSURE_IN_URL and match.likelihood < 5)):
            continue
        kept.append(match)
    return kept
