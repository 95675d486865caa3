"""The inspection's configuration and results, in the terms of Google's Sensitive Data Protection API.

Names and meanings follow google.privacy.dlp.v2 (InspectConfig, Finding, Location, InfoTypeSummary), so that
the local inspector and Google's are interchangeable. This module inspects nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from platform_assets.formats.problems import Problem

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.formats.reading import Cells


class Likelihood(IntEnum):
    """The likelihood that a match is of its info type; numbered as in Google's API."""

    VERY_UNLIKELY = 1
    UNLIKELY = 2
    POSSIBLE = 3
    LIKELY = 4
    VERY_LIKELY = 5

    def moved(self, steps: int) -> Likelihood:
        """This level moved by a number of steps, limited to the scale."""
        return Likelihood(min(max(self + steps, Likelihood.VERY_UNLIKELY), Likelihood.VERY_LIKELY))


class Sensitivity(IntEnum):
    """The harm of a disclosure; numbered as Google's SensitivityScore."""

    LOW = 10
    MODERATE = 20
    HIGH = 30


class Evidence(StrEnum):
    """The kinds of evidence for a finding."""

    SHAPE = "shape"
    """Pattern, length and alphabet match."""
    VALIDATOR = "validator"
    """Check digits, issuer's range or inner structure are valid."""
    PREFIX = "prefix"
    """It starts with a prefix used only by one service's keys."""
    ENTROPY = "entropy"
    """It is as random as a secret."""
    HOTWORD = "hotword"
    """A hotword is near it."""
    HEADER = "header"
    """The name of its column, or the key of its value, names it."""
    COLUMN = "column"
    """The other values of its column are of this type too."""
    DICTIONARY = "dictionary"
    """It is in a list of known values."""
    CUSTOM = "custom"
    """A custom info type of the configuration matched it."""


class Status(StrEnum):
    """The completeness of an inspection; what could not be read is never reported as clean."""

    INSPECTED = "INSPECTED"
    """All of it was inspected."""
    PARTIAL = "PARTIAL"
    """Partly inspected: sampled, cut off by a limit, or broken further on."""
    UNREADABLE = "UNREADABLE"
    """Not inspected at all: encrypted, corrupt, of an unknown format, or deleted."""


@dataclass(frozen=True)
class InfoType:
    """A kind of sensitive data.

    Args:
        name: Google's name if Google has one (CREDIT_CARD_NUMBER), else a name of the same form.
        version: Version of the detector, and so of the rules that produced a finding.
        sensitivity: The harm of a disclosure.
    """

    name: str
    version: str = "1"
    sensitivity: Sensitivity = Sensitivity.MODERATE


@dataclass(frozen=True)
class Proximity:
    """The window around a match for hotwords, in characters before its start and after its end."""

    window_before: int = 50
    window_after: int = 0


@dataclass(frozen=True)
class LikelihoodAdjustment:
    """The effect of a hotword on a likelihood: set it, or move it by steps. Exactly one is given.

    Args:
        fixed_likelihood: The new likelihood.
        relative_likelihood: The number of steps up or down.
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
    """Adjusts the likelihood of matches near a hotword.

    Args:
        hotword_regex: RE2 pattern of the hotword; it matches whole words or parts of an identifier.
        adjustment: Its effect.
        proximity: The window. In a table, the column's name always counts as near.
    """

    hotword_regex: str
    adjustment: LikelihoodAdjustment
    proximity: Proximity = Proximity()


class MatchingType(StrEnum):
    """The relation between a finding and an exclusion that excludes the finding."""

    FULL_MATCH = "FULL_MATCH"
    PARTIAL_MATCH = "PARTIAL_MATCH"
    INVERSE_MATCH = "INVERSE_MATCH"
    """Findings that do not match are excluded."""


@dataclass(frozen=True)
class Regex:
    """An RE2 pattern; matching always takes linear time.

    Args:
        pattern: The pattern.
        group_indexes: The group that is the finding; empty means the whole match.
    """

    pattern: str
    group_indexes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Dictionary:
    """Words or phrases, matched as whole words; case and separators between the words are ignored."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class ExclusionRule:
    """Excludes findings.

    Exactly one of `dictionary`, `regex`, `exclude_info_types` and `hotword_regex` is given.

    Args:
        matching_type: The relation that excludes a finding.
        dictionary: Excludes findings that are, or contain, one of the words.
        regex: Excludes findings that the pattern matches.
        exclude_info_types: Excludes findings that equal, or overlap with, a finding of these info types.
        hotword_regex: Excludes findings near such a word.
        proximity: The window for the word.
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
    """Rules for the findings of some info types, applied in order.

    Args:
        info_types: Names of the info types.
        rules: Hotword and exclusion rules.
    """

    info_types: tuple[str, ...]
    rules: tuple[HotwordRule | ExclusionRule, ...]


@dataclass(frozen=True)
class CustomInfoType:
    """An info type defined in the configuration.

    Args:
        info_type: Its name, version and sensitivity.
        detection: A pattern or a list of words.
        likelihood: Likelihood of a match that no rule adjusts.
        rules: Hotword rules for this info type only.
    """

    info_type: InfoType
    detection: Regex | Dictionary
    likelihood: Likelihood = Likelihood.VERY_LIKELY
    rules: tuple[HotwordRule, ...] = ()


@dataclass(frozen=True)
class FindingLimits:
    """The number of findings that are reported individually; all are counted.

    Args:
        max_findings_per_item: For one object, all info types together.
        max_findings_per_info_type: For one object and one info type.
    """

    max_findings_per_item: int = 10_000
    max_findings_per_info_type: int = 1_000


@dataclass(frozen=True)
class InspectConfig:
    """The configuration of an inspection.

    Args:
        info_types: Names of built-in info types; empty means the default info types, and those with a
            likelihood of their own.
        min_likelihood: The lowest likelihood to report.
        min_likelihood_per_info_type: The same for single info types, by name.
        limits: The number of findings to report individually.
        include_quote: True if findings contain the found value. Never used where findings are stored.
        custom_info_types: Additional info types.
        exclude_info_types: Names of info types to ignore.
        rule_set: Rules for built-in and custom info types.
        dummy_secrets: True if sequences and UUIDs in a secret's place count as secrets; only the local
            inspector has this.
    """

    info_types: tuple[str, ...] = ()
    min_likelihood: Likelihood = Likelihood.POSSIBLE
    min_likelihood_per_info_type: Mapping[str, Likelihood] = field(default_factory=dict)
    limits: FindingLimits = FindingLimits()
    include_quote: bool = False
    custom_info_types: tuple[CustomInfoType, ...] = ()
    exclude_info_types: tuple[str, ...] = ()
    rule_set: tuple[RuleSet, ...] = ()
    dummy_secrets: bool = False

    def threshold(self, info_type: str) -> Likelihood:
        """The lowest likelihood to report for an info type."""
        return self.min_likelihood_per_info_type.get(info_type, self.min_likelihood)


@dataclass(frozen=True)
class Range:
    """A half-open interval of positions, counted from 0."""

    start: int
    end: int


@dataclass(frozen=True)
class Location:
    """The location of a finding.

    Args:
        byte_range: Position in the inspected text's UTF-8 bytes, or in the value for a column.
        codepoint_range: The same in code points.
        row: Row of a table, counted from 0.
        column: Name of the column.
        container: Names of nested files and of sheets, from the outside in.
    """

    byte_range: Range
    codepoint_range: Range
    row: int | None = None
    column: str | None = None
    container: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A finding.

    Args:
        info_type: The info type.
        likelihood: The likelihood.
        location: The location.
        evidence: The evidence, in the order of `Evidence`.
        fingerprint: Keyed HMAC-SHA256 of the info type and the value without its separators, 32 hexadecimal
            digits: equal for equal values under one key, and useless without the key.
        quote: The found value, if the configuration asks for it; not shown in a repr.
    """

    info_type: InfoType
    likelihood: Likelihood
    location: Location
    evidence: tuple[Evidence, ...]
    fingerprint: str
    quote: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Tally:
    """The number of findings of an info type, with their highest likelihood."""

    count: int
    highest: Likelihood

    def plus(self, other: Tally) -> Tally:
        """The sum of both tallies."""
        return Tally(self.count + other.count, max(self.highest, other.highest))


@dataclass(frozen=True)
class ColumnVerdict:
    """The info type of a column as a whole.

    Args:
        column: Name of the column.
        info_type: The info type of its values.
        likelihood: The likelihood, from its values and its name together.
        distinct: Distinct values inspected, without nulls and empty texts.
        matching: Number of those that are of the info type.
        container: The place of the table, from the outside in.
    """

    column: str
    info_type: InfoType
    likelihood: Likelihood
    distinct: int
    matching: int
    container: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the distinct values that are of the info type, from 0 to 1."""
        return self.matching / self.distinct if self.distinct else 0.0


@dataclass(frozen=True)
class Found:
    """The findings in one piece; iterating over it yields the findings.

    Args:
        findings: The findings in order of position, up to the limits.
        tallies: The tallies of all findings, by info type, regardless of the limits.
        columns: A verdict for every column with an info type as a whole.
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
    """The amount of an object that was inspected. A total is None if unknown.

    Args:
        bytes_inspected: Bytes of text passed to the inspector.
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
    """The result of inspecting an object.

    Args:
        name: Name of the object: its path or URI.
        status: The completeness of the inspection.
        reason: Why it is incomplete; empty if the status is INSPECTED.
        findings: The findings, up to the limits.
        tallies: The tallies of all findings, by info type.
        columns: Verdicts for its columns.
        coverage: The amount that was inspected.
        problems: The problems that prevented a complete inspection.
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
        """The highest likelihood of a finding, None if nothing was found."""
        return max((tally.highest for tally in self.tallies.values()), default=None)


@dataclass(frozen=True)
class SmallTable:
    """A table of few values.

    Args:
        columns: Its columns by name, all of one length.
        container: The place of the table, for the findings' locations.
        row: Returns the number in its table of one of the rows.
    """

    columns: Mapping[str, Cells]
    container: tuple[str, ...]
    row: Callable[[int], int]


class Inspector(Protocol):
    """An inspector of pieces of objects, local or remote."""

    def inspect_text(self, data: bytes, container: tuple[str, ...] = ()) -> Found:
        """Inspect a text in UTF-8; in invalid UTF-8, the ASCII parts are inspected."""
        ...

    def inspect_columns(
        self, columns: Mapping[str, pa.Array], first_row: int = 0, container: tuple[str, ...] = ()
    ) -> Found:
        """Inspect rows of a table: its columns by name, all of one length, of any type that casts to text."""
        ...


@runtime_checkable
class TablesInspector(Inspector, Protocol):
    """An inspector to which many small tables cost hardly more than one table of the same values."""

    def inspect_tables(self, tables: Sequence[SmallTable]) -> list[Found]:
        """Inspect several tables, with the same result as inspecting each of them."""
        ...

    def inspect_rows(
        self,
        columns: Mapping[str, pa.Array],
        row: Callable[[int], int],
        container: tuple[str, ...],
        wanted: Callable[[str], int],
    ) -> Found:
        """Inspect rows of a table as `inspect_columns` does, and report only the findings that are wanted.

        Args:
            columns: The columns by name.
            row: Returns the number in its table of one of the rows.
            container: The place of the table.
            wanted: Returns how many findings of an info type are still wanted; all are counted.
        """
        ...

    def inspect_texts(self, texts: Sequence[bytes]) -> list[frozenset[str]]:
        """The info types that each of several short texts has findings of."""
        ...


def merged_tallies(tallies: Iterable[Mapping[str, Tally]]) -> dict[str, Tally]:
    """The sum of several pieces' tallies, by info type."""
    merged: dict[str, Tally] = {}
    for pieces in tallies:
        for name, tally in pieces.items():
            merged[name] = merged[name].plus(tally) if name in merged else tally
    return merged
