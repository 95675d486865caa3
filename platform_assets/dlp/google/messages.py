"""Conversion of the inspection's configuration to Google's messages.

Google applies hotword patterns itself: there a pattern also matches inside a word, unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from platform_assets.dlp.model import (
    CustomInfoType,
    Dictionary,
    ExclusionRule,
    HotwordRule,
    InspectConfig,
    Likelihood,
    Proximity,
    Regex,
)
from platform_assets.errors import DlpError

if TYPE_CHECKING:
    from google.cloud import dlp_v2

# Google's limits: https://docs.cloud.google.com/sensitive-data-protection/limits
_LONGEST_WINDOW = 1_000
_MOST_GROUPS = 3
_MOST_DICTIONARIES = 10
_MOST_RULES = 10
_MOST_RULE_SETS = 10
_FEWEST_CHARACTERS = 2


def likelihood_of(number: int) -> Likelihood:
    """Convert Google's number to a likelihood; unspecified means POSSIBLE, as at Google."""
    return Likelihood(number) if number else Likelihood.POSSIBLE


def to_google(
    config: InspectConfig, info_types: Sequence[str], *, is_table: bool = False, has_limits: bool = False
) -> dlp_v2.InspectConfig:
    """Convert a configuration to Google's message. Quotes are never requested.

    Args:
        config: The configuration.
        info_types: Names of the built-in info types to look for.
        is_table: True if it is for rows of a table: Google treats a column's name as a hotword only if the
            window reaches before the finding.
        has_limits: True to include the limits of findings. Google stops inspecting when they are reached, so
            that further findings are not counted.

    Raises:
        DlpError: The configuration exceeds Google's limits; the message lists all of them.
    """
    from google.cloud import dlp_v2

    found = list(_beyond_limits(config))
    if found:
        raise DlpError(
            f"The inspection's configuration exceeds Google's limits: {'; '.join(found)}. Make it smaller, "
            "or use the local inspector."
        )
    custom = [
        type_ for type_ in config.custom_info_types if type_.info_type.name not in config.exclude_info_types
    ]
    # Google rejects a threshold or a rule for an info type that is not looked for.
    looked_for = {*info_types, *(custom_type.info_type.name for custom_type in custom)}
    limits = dlp_v2.InspectConfig.FindingLimits(
        max_findings_per_item=config.limits.max_findings_per_item,
        max_findings_per_info_type=[{"max_findings": config.limits.max_findings_per_info_type}],
    )
    return dlp_v2.InspectConfig(
        info_types=[{"name": name} for name in info_types],
        min_likelihood=dlp_v2.Likelihood(config.min_likelihood),
        min_likelihood_per_info_type=[
            {"info_type": {"name": name}, "min_likelihood": dlp_v2.Likelihood(least)}
            for name, least in config.min_likelihood_per_info_type.items()
            if name in looked_for
        ],
        limits=limits if has_limits else None,
        custom_info_types=[_custom_to_google(custom_type, is_table) for custom_type in custom],
        rule_set=[
            {
                "info_types": [{"name": name} for name in rule_set.info_types if name in looked_for],
                "rules": [_rule_to_google(rule, is_table) for rule in rule_set.rules],
            }
            for rule_set in config.rule_set
            if looked_for.intersection(rule_set.info_types)
        ],
    )


def _custom_to_google(custom: CustomInfoType, is_table: bool) -> dict[str, Any]:
    return {
        "info_type": {"name": custom.info_type.name},
        "likelihood": int(custom.likelihood),
        **(
            {"regex": _regex_to_google(custom.detection)}
            if isinstance(custom.detection, Regex)
            else {"dictionary": _dictionary_to_google(custom.detection)}
        ),
        "detection_rules": [_rule_to_google(rule, is_table) for rule in custom.rules],
        "sensitivity_score": {"score": int(custom.info_type.sensitivity)},
    }


def _rule_to_google(rule: HotwordRule | ExclusionRule, is_table: bool) -> dict[str, Any]:
    if isinstance(rule, HotwordRule):
        adjustment = rule.adjustment
        return {
            "hotword_rule": {
                "hotword_regex": {"pattern": rule.hotword_regex},
                "proximity": _proximity_to_google(rule.proximity, is_table),
                "likelihood_adjustment": (
                    {"relative_likelihood": adjustment.relative_likelihood}
                    if adjustment.fixed_likelihood is None
                    else {"fixed_likelihood": int(adjustment.fixed_likelihood)}
                ),
            }
        }
    excluded: dict[str, Any] = {"matching_type": f"MATCHING_TYPE_{rule.matching_type.value}"}
    if rule.dictionary is not None:
        excluded["dictionary"] = _dictionary_to_google(rule.dictionary)
    elif rule.regex is not None:
        excluded["regex"] = _regex_to_google(rule.regex)
    elif rule.hotword_regex is not None:
        excluded["exclude_by_hotword"] = {
            "hotword_regex": {"pattern": rule.hotword_regex},
            "proximity": _proximity_to_google(rule.proximity, is_table),
        }
    else:
        excluded["exclude_info_types"] = {"info_types": [{"name": name} for name in rule.exclude_info_types]}
    return {"exclusion_rule": excluded}


def _proximity_to_google(proximity: Proximity, is_table: bool) -> dict[str, int]:
    before = max(proximity.window_before, 1) if is_table else proximity.window_before
    return {"window_before": before, "window_after": proximity.window_after}


def _regex_to_google(regex: Regex) -> dict[str, Any]:
    return {"pattern": regex.pattern, "group_indexes": list(regex.group_indexes)}


def _dictionary_to_google(dictionary: Dictionary) -> dict[str, Any]:
    return {"word_list": {"words": list(dictionary.words)}}


def _beyond_limits(config: InspectConfig) -> Iterator[str]:
    """The parts of a configuration that exceed Google's limits, in words."""
    patterns: list[tuple[str, Regex]] = []
    dictionaries: list[tuple[str, Dictionary]] = []
    windows: list[tuple[str, Proximity]] = []
    for custom in config.custom_info_types:
        name = f"the custom info type {custom.info_type.name}"
        if isinstance(custom.detection, Regex):
            patterns.append((name, custom.detection))
        else:
            dictionaries.append((name, custom.detection))
        windows += [(name, rule.proximity) for rule in custom.rules]
    for number, rule_set in enumerate(config.rule_set, 1):
        name = f"rule set {number}"
        if len(rule_set.rules) > _MOST_RULES:
            yield f"{name} has {len(rule_set.rules)} rules, at most {_MOST_RULES} are allowed"
        for rule in rule_set.rules:
            windows.append((name, rule.proximity))
            if isinstance(rule, ExclusionRule) and rule.regex is not None:
                patterns.append((name, rule.regex))
            if isinstance(rule, ExclusionRule) and rule.dictionary is not None:
                dictionaries.append((name, rule.dictionary))
    if len(config.rule_set) > _MOST_RULE_SETS:
        yield f"it has {len(config.rule_set)} rule sets, at most {_MOST_RULE_SETS} are allowed"
    if len(dictionaries) > _MOST_DICTIONARIES:
        yield f"it has {len(dictionaries)} lists of words, at most {_MOST_DICTIONARIES} are allowed"
    for name, regex in patterns:
        if len(regex.group_indexes) > _MOST_GROUPS:
            groups = len(regex.group_indexes)
            yield f"the pattern of {name} has {groups} groups, at most {_MOST_GROUPS} are allowed"
    for name, dictionary in dictionaries:
        short = sum(
            sum(letter.isalnum() for letter in word) < _FEWEST_CHARACTERS for word in dictionary.words
        )
        if short or not dictionary.words:
            yield f"{name} needs words with at least {_FEWEST_CHARACTERS} letters or digits each"
    for name, window in windows:
        if window.window_before + window.window_after > _LONGEST_WINDOW:
            yield f"the window of a hotword of {name} has more than {_LONGEST_WINDOW} characters"
