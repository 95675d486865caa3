"""Custom info types, and rule sets with hotwords and exclusions, from the configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import re2  # type: ignore[import-untyped]

from platform_assets.dlp.local.context import FAR
from platform_assets.dlp.local.regex import Pattern
from platform_assets.dlp.local.scanners.text import CUSTOM, DICTIONARY, HEADER, HOTWORD, Match
from platform_assets.dlp.model import (
    CustomInfoType,
    Dictionary,
    ExclusionRule,
    HotwordRule,
    InspectConfig,
    Likelihood,
    MatchingType,
    Proximity,
    Regex,
)
from platform_assets.errors import SettingsError
from platform_assets.formats.words import words_of

_WORD = re.compile(rb"[0-9A-Za-z\x80-\xff]")


class Rules:
    """The custom part of a configuration, compiled.

    Args:
        config: The configuration.

    Raises:
        SettingsError: A pattern is not valid in RE2, or does not have the named group.
    """

    def __init__(self, config: InspectConfig) -> None:
        self._custom = tuple((custom, *_finder(custom)) for custom in config.custom_info_types)
        self._by_name: dict[
            str, list[Callable[[Match, bytes, bytes, Mapping[str, list[Match]]], Match | None]]
        ] = {}
        for custom in config.custom_info_types:
            for rule in custom.rules:
                self._by_name.setdefault(custom.info_type.name, []).append(_hotword(rule))
        for rule_set in config.rule_set:
            for either in rule_set.rules:
                compiled = _hotword(either) if isinstance(either, HotwordRule) else _exclusion(either)
                for name in rule_set.info_types:
                    self._by_name.setdefault(name, []).append(compiled)
        self.present = bool(self._custom or self._by_name)

    def custom(self, data: bytes) -> list[Match]:
        """Find the custom info types in a text."""
        found = []
        for custom, pattern, group, whole_words in self._custom:
            for match in pattern.finditer(data):
                start, end = match.span(group)
                if start < 0 or start == end or (whole_words and not _stands_alone(data, start, end)):
                    continue
                evidence = CUSTOM | (DICTIONARY if whole_words else 0)
                found.append(Match(start, end, custom.info_type.name, int(custom.likelihood), evidence))
        return found

    def apply(self, matches: Iterable[Match], data: bytes, header: str) -> list[Match]:
        """Apply the rule sets to candidates.

        Args:
            matches: The candidates.
            data: The text.
            header: Name of the text's column; empty if it has none.

        Returns:
            The remaining candidates, with adjusted likelihoods.
        """
        listed = list(matches)
        if not self._by_name:
            return listed
        by_name: dict[str, list[Match]] = {}
        for match in listed:
            by_name.setdefault(match.name, []).append(match)
        title = " ".join(words_of(header)).encode()
        kept = []
        for match in listed:
            left: Match | None = match
            for rule in self._by_name.get(match.name, ()):
                left = rule(left, data, title, by_name) if left is not None else None
            if left is not None:
                kept.append(left)
        return kept


def compiled_pattern(pattern: str) -> Pattern:
    """Compile a pattern of the configuration, over UTF-8.

    Raises:
        SettingsError: The pattern is not valid in RE2.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error as error:
        raise SettingsError(
            f"the inspection pattern {pattern!r} is not valid: {error}; RE2 has no look-around and no "
            "back-references"
        ) from None


def dictionary_pattern(dictionary: Dictionary) -> str:
    """A pattern of a dictionary's words; case and the separators between words are ignored."""
    words = []
    for text in sorted(dictionary.words, key=len, reverse=True):
        parts = [re2.escape(part) for part in re.findall(r"\w+", text)]
        if parts:
            words.append(r"[\pP\pS\pZ\s]{1,3}".join(parts))
    if not words:
        raise SettingsError("a dictionary of the inspection has no words; give at least one")
    return f"(?i)(?:{'|'.join(words)})"


def _finder(custom: CustomInfoType) -> tuple[Pattern, int, bool]:
    detection = custom.detection
    if isinstance(detection, Dictionary):
        return compiled_pattern(dictionary_pattern(detection)), 0, True
    pattern, group = compiled_pattern(detection.pattern), (*detection.group_indexes, 0)[0]
    if group > pattern.groups:
        raise SettingsError(
            f"the info type {custom.info_type.name} uses group {group} of {detection.pattern!r}, which has "
            f"only {pattern.groups} groups"
        )
    return pattern, group, False


def _stands_alone(data: bytes, start: int, end: int) -> bool:
    return not (_WORD.match(data, start - 1, start) if start else None) and not _WORD.match(
        data, end, end + 1
    )


def _near(pattern: Pattern, proximity: Proximity, match: Match, data: bytes, title: bytes) -> int:
    """The evidence of a nearby hotword; 0 if there is none."""
    if title and pattern.search(title):
        return HEADER
    # A character has at most four bytes.
    first = max(match.start - 4 * proximity.window_before, 0)
    before = (
        data[first : match.start].decode("utf-8", "replace")[-proximity.window_before :]
        if proximity.window_before
        else ""
    )
    after = data[match.end : match.end + 4 * proximity.window_after].decode("utf-8", "replace")
    for window in (before, after[: proximity.window_after]):
        # Search the text as written, and the parts of its identifiers.
        for text in (window.encode(), " ".join(words_of(window)).encode()):
            for hotword in pattern.finditer(text):
                if _stands_alone(text, *hotword.span()):
                    return HOTWORD
    return 0


def _hotword(rule: HotwordRule) -> Callable[[Match, bytes, bytes, Mapping[str, list[Match]]], Match | None]:
    pattern = compiled_pattern(rule.hotword_regex)

    def adjusted(match: Match, data: bytes, title: bytes, by_name: Mapping[str, list[Match]]) -> Match | None:
        evidence = _near(pattern, rule.proximity, match, data, title)
        if not evidence:
            return match
        likelihood = int(rule.adjustment.of(Likelihood(match.likelihood)))
        return match._replace(
            likelihood=likelihood, evidence=match.evidence | evidence, distance=min(match.distance, FAR - 1)
        )

    return adjusted


def _exclusion(
    rule: ExclusionRule,
) -> Callable[[Match, bytes, bytes, Mapping[str, list[Match]]], Match | None]:
    if rule.exclude_info_types:
        names = rule.exclude_info_types

        def overlaps(
            match: Match, data: bytes, title: bytes, by_name: Mapping[str, list[Match]]
        ) -> Match | None:
            for name in names:
                for other in by_name.get(name, ()):
                    same = other.start <= match.start and match.end <= other.end
                    part = other.start < match.end and match.start < other.end
                    if same if rule.matching_type is MatchingType.FULL_MATCH else part:
                        return None
            return match

        return overlaps
    if rule.hotword_regex is not None:
        hotword = compiled_pattern(rule.hotword_regex)

        def beside(
            match: Match, data: bytes, title: bytes, by_name: Mapping[str, list[Match]]
        ) -> Match | None:
            return None if _near(hotword, rule.proximity, match, data, title) else match

        return beside
    source = (
        rule.regex.pattern
        if isinstance(rule.regex, Regex)
        else dictionary_pattern(rule.dictionary or Dictionary(()))
    )
    pattern = compiled_pattern(source)

    def excluded(match: Match, data: bytes, title: bytes, by_name: Mapping[str, list[Match]]) -> Match | None:
        value = data[match.start : match.end]
        if rule.matching_type is MatchingType.FULL_MATCH:
            out = pattern.fullmatch(value) is not None
        elif rule.matching_type is MatchingType.PARTIAL_MATCH:
            out = pattern.search(value) is not None
        else:
            out = pattern.search(value) is None
        return None if out else match

    return excluded
