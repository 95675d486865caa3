"""What an inspection is asked and what it answers, in the terms of Google's Sensitive Data Protection API.

Names and meanings follow google.privacy.dlp.v2 (InspectConfig, Finding, Location, InfoTypeSummary), so that
the local inspector and Google's can stand in for each other. Nothing here inspects anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class Likelihood(IntEnum):
    """How sure an inspector is that a match is what it looks like; numbered as Google numbers it."""

    VERY_UNLIKELY = 1
    UNLIKELY = 2
    POSSIBLE = 3
    LIKELY = 4
    VERY_LIKELY = 5

    def moved(self, steps: int) -> Likelihood:
        """This level moved by so many steps, and kept within the scale."""
        return Likelihood(min(max(self + steps, Likelihood.VERY_UNLIKELY), Likelihood.VERY_LIKELY))


class Sensitivity(IntEnum):
    """How much harm a disclosure does; numbered as Google's SensitivityScore."""

    LOW = 10
    MODERATE = 20
    HIGH = 30


class Evidence(StrEnum):
    """What speaks for a finding."""

    SHAPE = "shape"
    """It looks like one: pattern, length, alphabet."""
    VALIDATOR = "validator"
    """Its check digits, its issuer's range or its inner structure are right."""
    PREFIX = "prefix"
    """It starts with what one service's keys alone start with."""
    ENTROPY = "entropy"
    """It is as random as a secret is."""
    HOTWORD = "hotword"
    """A word beside it names it."""
    HEADER = "header"
    """Its column's name, or the key it is the value of, names it."""
    COLUMN = "column"
    """The other values of its column are of this type too."""
    DICTIONARY = "dictionary"
    """It is in a list of known values."""
    CUSTOM = "custom"
    """A custom info type of the configuration matched it."""


class Status(StrEnum):
    """How far an inspection came; what could not be read is never reported as clean."""

    INSPECTED = "INSPECTED"
    """All of it was inspected."""
    PARTIAL = "PARTIAL"
    """Some of it was inspected: sampled, cut off by a limit, or broken further on."""
    UNREADABLE = "UNREADABLE"
    """None of it could be inspected: encrypted, corrupt, of an unknown kind, or gone."""


class ProblemKind(StrEnum):
    """Why a part of an object was not inspected, or not as what it claims to be."""

    TRUNCATED = "TRUNCATED"
    ENCRYPTED = "ENCRYPTED"
    CORRUPT = "CORRUPT"
    INVALID_ENCODING = "INVALID_ENCODING"
    WRONG_SUFFIX = "WRONG_SUFFIX"
    TOO_LARGE = "TOO_LARGE"
    TOO_DEEP = "TOO_DEEP"
    TOO_MANY_PARTS = "TOO_MANY_PARTS"
    BOMB = "BOMB"
    UNSUPPORTED = "UNSUPPORTED"
    SAMPLED = "SAMPLED"
    TOO_MANY_FINDINGS = "TOO_MANY_FINDINGS"
    TIMEOUT = "TIMEOUT"
    UNREACHABLE = "UNREACHABLE"
    FAILED = "FAILED"
    """The inspection itself failed over it, in a way that nobody foresaw."""


@dataclass(frozen=True)
class Problem:
    """Something about an object that kept a part of it from being inspected as it should be.

    Args:
        kind: What kind of problem it is.
        container: Where: names of files within files and of sheets, from the outside in; empty for the
            object itself.
        message: What was attempted, what was found; never a value out of the object.
    """

    kind: ProblemKind
    container: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class InfoType:
    """A kind of sensitive data.

    Args:
        name: Google's name where Google has one (CREDIT_CARD_NUMBER), else of the same form.
        version: Version of the detector; a finding tells by it which rules it was made with.
        sensitivity: How much harm a disclosure does.
    """

    name: str
    version: str = "1"
    sensitivity: Sensitivity = Sensitivity.MODERATE


@dataclass(frozen=True)
class Proximity:
    """How far from a match a hotword counts, in characters before its start and after its end."""

    window_before: int = 50
    window_after: int = 0


@dataclass(frozen=True)
class LikelihoodAdjustment:
    """What a hotword does to a likelihood: sets it, or moves it by steps. Exactly one is given.

    Args:
        fixed_likelihood: The likelihood it becomes.
        relative_likelihood: The steps up or down.
    """

    fixed_likelihood: Likelihood | None = None
    relative_likelihood: int | None = None

    def __post_init__(self) -> None:
        if (self.fixed_likelihood is None) == (self.relative_likelihood is None):
            raise ValueError(
                "a likelihood adjustment is either fixed or relative: give exactly one of the two"
            )

    def of(self, likelihood: Likelihood) -> Likelihood:
        """The adjusted likelihood."""
        if self.fixed_likelihood is not None:
            return self.fixed_likelihood
        return likelihood.moved(self.relative_likelihood or 0)


@dataclass(frozen=True)
class HotwordRule:
    """Adjusts the likelihood of matches beside a hotword.

    Args:
        hotword_regex: RE2 pattern of the hotword; it counts as whole words or parts of an identifier.
        adjustment: What it does.
        proximity: How near it has to stand. In a table the column's name always counts as near.
    """

    hotword_regex: str
    adjustment: LikelihoodAdjustment
    proximity: Proximity = Proximity()


class MatchingType(StrEnum):
    """How an exclusion has to match a finding to exclude it."""

    FULL_MATCH = "FULL_MATCH"
    PARTIAL_MATCH = "PARTIAL_MATCH"
    INVERSE_MATCH = "INVERSE_MATCH"
    """Excluded is what does not match."""


@dataclass(frozen=True)
class Regex:
    """An RE2 pattern; linear in time, whatever it is.

    Args:
        pattern: The pattern.
        group_indexes: The group that is the finding; the whole match where it is empty.
    """

    pattern: str
    group_indexes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Dictionary:
    """Words or phrases, matched as whole words; case, and what stands between the words, does not matter."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class ExclusionRule:
    """Excludes findings.

    Exactly one of `dictionary`, `regex`, `exclude_info_types` and `hotword_regex` is given.

    Args:
        matching_type: How the exclusion has to match.
        dictionary: Excludes what is, or contains, one of the words.
        regex: Excludes what the pattern matches.
        exclude_info_types: Excludes what is, or overlaps with, a finding of these info types.
        hotword_regex: Excludes what has such a word beside it.
        proximity: How near that has to be.
    """

    matching_type: MatchingType = MatchingType.FULL_MATCH
    dictionary: Dictionary | None = None
    regex: Regex | None = None
    exclude_info_types: tuple[str, ...] = ()
    hotword_regex: str | None = None
    proximity: Proximity = Proximity()

    def __post_init__(self) -> None:
        ways = (self.dictionary, self.regex, self.exclude_info_types or None, self.hotword_regex)
        if sum(way is not None for way in ways) != 1:
            raise ValueError(
                "an exclusion rule excludes by exactly one of dictionary, regex, exclude_info_types and "
                "hotword_regex"
            )


@dataclass(frozen=True)
class RuleSet:
    """Rules for the findings of some info types, applied in their order.

    Args:
        info_types: Names of the info types.
        rules: Hotword and exclusion rules.
    """

    info_types: tuple[str, ...]
    rules: tuple[HotwordRule | ExclusionRule, ...]


@dataclass(frozen=True)
class CustomInfoType:
    """An info type of the configuration.

    Args:
        info_type: Its name, version and sensitivity.
        detection: What it looks like: a pattern or a list of words.
        likelihood: Likelihood of a match that no rule adjusts.
        rules: Hotword rules for this info type alone.
    """

    info_type: InfoType
    detection: Regex | Dictionary
    likelihood: Likelihood = Likelihood.VERY_LIKELY
    rules: tuple[HotwordRule, ...] = ()


@dataclass(frozen=True)
class FindingLimits:
    """How many findings are given in full; all are counted.

    Args:
        max_findings_per_item: Of one object, all info types together.
        max_findings_per_info_type: Of one object and one info type.
    """

    max_findings_per_item: int = 10_000
    max_findings_per_info_type: int = 1_000


@dataclass(frozen=True)
class InspectConfig:
    """What to look for.

    Args:
        info_types: Names of built-in info types; empty for all that are looked for by default.
        min_likelihood: The least likelihood that is reported.
        min_likelihood_per_info_type: The same for single info types, by name.
        limits: How many findings are given in full.
        include_quote: Whether a finding carries what was found. Never where findings are kept.
        custom_info_types: Further info types.
        exclude_info_types: Names of info types that are not looked for.
        rule_set: Rules over built-in and custom info types.
    """

    info_types: tuple[str, ...] = ()
    min_likelihood: Likelihood = Likelihood.POSSIBLE
    min_likelihood_per_info_type: Mapping[str, Likelihood] = field(default_factory=dict)
    limits: FindingLimits = FindingLimits()
    include_quote: bool = False
    custom_info_types: tuple[CustomInfoType, ...] = ()
    exclude_info_types: tuple[str, ...] = ()
    rule_set: tuple[RuleSet, ...] = ()

    def threshold(self, info_type: str) -> Likelihood:
        """The least likelihood that is reported of an info type."""
        return self.min_likelihood_per_info_type.get(info_type, self.min_likelihood)


@dataclass(frozen=True)
class Range:
    """A half-open interval of places, counted from 0."""

    start: int
    end: int


@dataclass(frozen=True)
class Location:
    """Where a finding is.

    Args:
        byte_range: Place in the inspected text's UTF-8 bytes, or in the value where it is in a column.
        codepoint_range: The same in code points.
        row: Row of a table, counted from 0.
        column: Name of the column.
        container: Names of files within files and of sheets, from the outside in.
    """

    byte_range: Range
    codepoint_range: Range
    row: int | None = None
    column: str | None = None
    container: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something found.

    Args:
        info_type: What it is.
        likelihood: How sure that is.
        location: Where it is.
        evidence: What speaks for it, in the order of `Evidence`.
        fingerprint: Keyed HMAC-SHA256 of the info type and the value without its separators, 32 hexadecimal
            digits: equal for equal values under one key, and of no use to who has not got the key.
        quote: What was found, where the configuration asks for it; not shown in a repr.
    """

    info_type: InfoType
    likelihood: Likelihood
    location: Location
    evidence: tuple[Evidence, ...]
    fingerprint: str
    quote: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Tally:
    """How often an info type was found, and how sure the surest of it is."""

    count: int
    highest: Likelihood

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(self.count + other.count, max(self.highest, other.highest))


@dataclass(frozen=True)
class ColumnVerdict:
    """What a column as a whole holds.

    Args:
        column: Name of the column.
        info_type: What its values are.
        likelihood: How sure that is, from its values and its name together.
        distinct: Distinct values inspected, without nulls and empty texts.
        matching: Those of them that are of the info type.
        container: Where the table is, from the outside in.
    """

    column: str
    info_type: InfoType
    likelihood: Likelihood
    distinct: int
    matching: int
    container: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the distinct values that are of the info type, 0 to 1."""
        return self.matching / self.distinct if self.distinct else 0.0


@dataclass(frozen=True)
class Found:
    """What an inspector found in one piece; iterating over it gives the findings.

    Args:
        findings: The findings, in the order of their places, as many as the limits allow.
        tallies: Everything that was found, by name of the info type, whatever the limits.
        columns: A verdict for every column that as a whole holds something.
    """

    findings: tuple[Finding, ...] = ()
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    columns: tuple[ColumnVerdict, ...] = ()

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)


@dataclass(frozen=True)
class Coverage:
    """How much of an object was inspected. A total is None where it is not known.

    Args:
        bytes_inspected: Bytes of text handed to the inspector.
        bytes_total: Bytes of the object.
        rows_inspected: Rows of its tables that were inspected.
        rows_total: Rows of its tables.
        parts_inspected: Files, sheets and streams within it that were inspected, itself included.
        parts_total: Files, sheets and streams within it.
    """

    bytes_inspected: int = 0
    bytes_total: int | None = None
    rows_inspected: int = 0
    rows_total: int | None = None
    parts_inspected: int = 0
    parts_total: int | None = None


@dataclass(frozen=True)
class InspectResult:
    """What is known of an object after its inspection.

    Args:
        name: Name of the object: its path or URI.
        status: How far the inspection came.
        reason: Why it came no further; empty where the status is INSPECTED.
        findings: The findings, as many as the limits allow.
        tallies: Everything that was found, by name of the info type.
        columns: Verdicts for its columns.
        coverage: How much was inspected.
        problems: What kept parts of it from being inspected.
    """

    name: str
    status: Status
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    columns: tuple[ColumnVerdict, ...] = ()
    coverage: Coverage = Coverage()
    problems: tuple[Problem, ...] = ()

    @property
    def highest(self) -> Likelihood | None:
        """Likelihood of the surest finding, None where nothing was found."""
        return max((tally.highest for tally in self.tallies.values()), default=None)


class Inspector(Protocol):
    """What inspects pieces of objects, be it here or elsewhere."""

    def inspect_text(self, data: bytes, container: tuple[str, ...] = ()) -> Found:
        """Inspect a text in UTF-8; what is not valid UTF-8 in it is inspected as far as it is ASCII."""
        ...

    def inspect_columns(
        self, columns: Mapping[str, pa.Array], first_row: int = 0, container: tuple[str, ...] = ()
    ) -> Found:
        """Inspect rows of a table: its columns by name, all of one length, of any type that casts to text."""
        ...


def merged_tallies(tallies: Iterable[Mapping[str, Tally]]) -> dict[str, Tally]:
    """The tallies of several pieces together, by name of the info type."""
    merged: dict[str, Tally] = {}
    for pieces in tallies:
        for name, tally in pieces.items():
            merged[name] = merged[name].plus(tally) if name in merged else tally
    return merged
