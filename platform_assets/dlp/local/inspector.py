"""The local inspector, which needs no account: candidates, rules over them, findings without values.

The detectors are declared in `detectors` and described in docs/dlp_detection.md.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter

import pyarrow as pa

from platform_assets.dlp.fingerprints import check_key
from platform_assets.dlp.local import checks
from platform_assets.dlp.local.context import NOTHING
from platform_assets.dlp.local.detectors import BY_NAME
from platform_assets.dlp.local.paired_columns import PAIRED_TYPES, paired_secrets
from platform_assets.dlp.local.resolution import UNSURE_IN_URL, resolved
from platform_assets.dlp.local.rules import Rules
from platform_assets.dlp.local.scanner import Scanner, hotwords
from platform_assets.dlp.local.scanners.text import BETWEEN, PRIORITY, SEPARATORS, Match, Segments
from platform_assets.dlp.local.small_columns import SmallColumns
from platform_assets.dlp.local.table_scan import ColumnMatches, TableScan, cells_of
from platform_assets.dlp.model import (
    ColumnVerdict,
    Evidence,
    ExclusionRule,
    Finding,
    Found,
    InfoType,
    InspectConfig,
    Likelihood,
    Location,
    Range,
    SmallTable,
    Tally,
)
from platform_assets.errors import SettingsError
from platform_assets.formats.trees import MOST_ROWS_OF_CELLS
from platform_assets.formats.words import words_of
from platform_assets.processes import without_garbage_collection

_EVIDENCE = tuple(Evidence)
_LIKELIHOODS = {int(likelihood): likelihood for likelihood in Likelihood}
_SEPARATORS = b" -./()\t,"
_BLOCK = 64
_CONTINUATION = bytes(range(0x80, 0xC0))
_WHY_INVALID: Mapping[str, Callable[[str], str]] = {
    "CREDIT_CARD_NUMBER": checks.why_no_payment_card,
    "US_SOCIAL_SECURITY_NUMBER": checks.why_no_us_ssn,
}

_NOTHING_FOUND = Found()


@dataclass(frozen=True)
class Explanation:
    """The reason why a value was or was not found as an info type.

    Args:
        info_type: Name of the info type.
        likelihood: The likelihood.
        evidence: The evidence for it.
        valid: True if the value has valid check digits, ranges and structure.
        reported: True if the configuration reports it.
        reason: The same as a sentence, which does not repeat the value.
    """

    info_type: str
    likelihood: Likelihood
    evidence: tuple[Evidence, ...]
    valid: bool
    reported: bool
    reason: str


class LocalInspector:
    """Inspects texts and columns in this process. Not thread-safe: use one inspector per thread.

    Args:
        config: The configuration of the inspection.
        key: Key of the fingerprints; at least 16 bytes.

    Raises:
        SettingsError: An info type is unknown, a pattern is not valid, or the key is too short.
    """

    def __init__(self, config: InspectConfig, key: bytes) -> None:
        check_key(key)
        custom = {custom.info_type.name: custom.info_type for custom in config.custom_info_types}
        asked = (*config.info_types, *config.exclude_info_types, *config.min_likelihood_per_info_type)
        unknown = sorted({name for name in asked if name not in BY_NAME and name not in custom})
        if unknown:
            raise SettingsError(
                f"the inspection has unknown info types: {', '.join(unknown)}; docs/dlp_detection.md lists "
                "all info types"
            )
        names = frozenset(config.info_types) or frozenset(
            name
            for name, detector in BY_NAME.items()
            if detector.by_default or name in config.min_likelihood_per_info_type
        )
        self.config = config
        padded = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))
        self._names = names - frozenset(config.exclude_info_types)
        self._types: dict[str, InfoType] = {
            **{name: detector.info_type for name, detector in BY_NAME.items()},
            **custom,
        }
        self._reported = (self._names & frozenset(BY_NAME)) | (
            frozenset(custom) - frozenset(config.exclude_info_types)
        )
        self._thresholds = {name: int(config.threshold(name)) for name in self._reported}
        self._rules = Rules(config)
        lowest = min(self._thresholds.values(), default=int(config.min_likelihood))
        self._scanner = Scanner(
            (self._names | self._needed(config)) & frozenset(BY_NAME),
            int(Likelihood.VERY_UNLIKELY) if self._rules.present else lowest,
            config.dummy_secrets,
        )
        self._evidence: dict[int, tuple[Evidence, ...]] = {}

    def inspect_text(self, data: bytes, container: tuple[str, ...] = ()) -> Found:
        """Inspect a text.

        Args:
            data: The text in UTF-8; invalid bytes are skipped.
            container: The place of the text, for the findings' locations.

        Returns:
            The findings in order of position, and the tallies of all findings.
        """
        with without_garbage_collection():
            matches = self._judged(self._scanner.scan(data), data, "")
            return self._found(data, matches, container)

    def inspect_columns(
        self, columns: Mapping[str, pa.Array], first_row: int = 0, container: tuple[str, ...] = ()
    ) -> Found:
        """Inspect rows of a table.

        A column's distinct values are joined and scanned once. The column name counts as a word beside every
        value. The values are evidence for each other: a check digit that one in ten random numbers has by
        chance is no evidence if one in ten values has it, but is if all have it.

        Args:
            columns: The columns by name, all of one length, of any type that casts to text.
            first_row: Number of their first row in the table.
            container: The place of the table, for the findings' locations.

        Returns:
            The findings by row, the tallies of all findings, and verdicts for columns with sensitive values.
        """
        return self.inspect_rows(columns, first_row.__add__, container, self._at_most)

    def inspect_rows(
        self,
        columns: Mapping[str, pa.Array],
        row: Callable[[int], int],
        container: tuple[str, ...],
        wanted: Callable[[str], int],
    ) -> Found:
        """See `TablesInspector.inspect_rows`."""
        if len(columns) > 1 and all(len(array) <= MOST_ROWS_OF_CELLS for array in columns.values()):
            cells = {name: cells_of(array) for name, array in columns.items()}
            return self._inspect_tables([SmallTable(cells, container, row)], wanted)[0]
        scan = TableScan(self._scanner, self._thresholds, self._judged, exact=self._rules.present)
        with without_garbage_collection():
            paired = paired_secrets(columns, self.config.dummy_secrets) if self._names & PAIRED_TYPES else {}
            inspected = []
            for name, array in columns.items():
                column = scan.inspect(name, array)
                if name in paired:
                    scan.add(column, paired[name])
                inspected.append(column)
            return self._found_in_table(inspected, row, container, wanted)

    def inspect_tables(self, tables: Sequence[SmallTable]) -> list[Found]:
        """Inspect several tables of few values, with the same result as inspecting each of them.

        Args:
            tables: The tables.

        Returns:
            What was found in each.
        """
        return self._inspect_tables(tables, self._at_most)

    def _inspect_tables(self, tables: Sequence[SmallTable], wanted: Callable[[str], int]) -> list[Found]:
        scan = TableScan(self._scanner, self._thresholds, self._judged, exact=self._rules.present)
        pairs, dummies = bool(self._names & PAIRED_TYPES), self.config.dummy_secrets
        with without_garbage_collection():
            small = SmallColumns(scan, [table.columns for table in tables], pairs=pairs, dummies=dummies)
            return [
                self._found_in_table(columns, table.row, table.container, wanted)
                if columns
                else _NOTHING_FOUND
                for table, columns in zip(tables, small.matches(), strict=True)
            ]

    def inspect_texts(self, texts: Sequence[bytes]) -> list[frozenset[str]]:
        """Inspect several short texts, such as names.

        Args:
            texts: The texts.

        Returns:
            The info types that each of them has findings of.
        """
        if self._rules.present:
            return [frozenset(self.inspect_text(text).tallies) for text in texts]
        starts = [0, *accumulate(len(text) + len(BETWEEN) for text in texts)]
        data = BETWEEN.join(texts)
        segments = Segments(starts, lambda at: NOTHING)
        found: list[set[str]] = [set() for _ in texts]
        for match in self._judged(self._scanner.scan(data, segments=segments), data, ""):
            found[bisect_right(starts, match.start) - 1].add(match.name)
        return list(map(frozenset, found))

    def _at_most(self, info_type: str) -> int:
        return self.config.limits.max_findings_per_info_type

    def _found_in_table(
        self,
        columns: Iterable[ColumnMatches],
        row: Callable[[int], int],
        container: tuple[str, ...],
        wanted: Callable[[str], int],
    ) -> Found:
        """The wanted findings, all tallies and the verdicts of a table's columns."""
        located: list[tuple[int, str, Match, bytes]] = []
        tallies: dict[str, Tally] = {}
        verdicts: list[ColumnVerdict] = []
        most = self.config.limits.max_findings_per_info_type
        room: dict[str, int] = defaultdict(lambda: most)
        for column in columns:
            counts = column.counts
            for info_type, (count, highest) in counts.items():
                tally = Tally(count, _LIKELIHOODS[highest])
                tallies[info_type] = tallies[info_type].plus(tally) if info_type in tallies else tally
            verdicts.extend(column.verdicts(self._types, container))
            located.extend(_located(column, counts, room, wanted))
        located.sort(key=itemgetter(0))
        findings = []
        left = {name: wanted(name) for name in tallies}
        for at, name, match, value in located[: self.config.limits.max_findings_per_item]:
            left[match.name] -= 1
            if left[match.name] < 0:
                continue
            start, end = match.start, match.end
            first = len(value[:start].translate(None, _CONTINUATION))
            found = value[start:end]
            points = Range(first, first + len(found.translate(None, _CONTINUATION)))
            location = Location(Range(start, end), points, row(at), name, container)
            findings.append(self._finding(match, found, location))
        return Found(tuple(findings), tallies, tuple(verdicts))

    def explain(self, value: str, words: str = "") -> list[Explanation]:
        """Explain what a value could be, and why it is or is not reported.

        Args:
            value: The value.
            words: The text before it, or its column's name.

        Returns:
            All info types that it resembles, the most likely first; empty if it resembles none.
        """
        text = value.encode()
        header = hotwords().among(words_of(words)) if words else NOTHING
        scanner = Scanner(frozenset(BY_NAME), int(Likelihood.VERY_UNLIKELY), self.config.dummy_secrets)
        candidates = scanner.scan(text, header, lines=True, everything=True) + self._rules.custom(text)
        candidates = self._rules.apply(candidates, text, words)
        best: dict[str, Match] = {}
        for match in candidates:
            if match.name not in best or match.likelihood > best[match.name].likelihood:
                best[match.name] = match
        winners = {match.name for match in resolved(candidates)}
        explanations = [
            self._explained(match, text[match.start : match.end], match.name in winners)
            for match in best.values()
        ]
        return sorted(
            explanations,
            key=lambda explanation: (-explanation.likelihood, PRIORITY.get(explanation.info_type, 0)),
        )

    def _explained(self, match: Match, value: bytes, wins: bool) -> Explanation:
        threshold = self._thresholds.get(match.name)
        likelihood = _LIKELIHOODS[match.likelihood]
        evidence = self._evidence_of(match.evidence)
        if threshold is None:
            reason = "its info type is not requested"
        elif not wins:
            reason = "another info type explains the same characters better"
        elif likelihood < threshold:
            reason = f"{likelihood.name} is below the minimum likelihood, {_LIKELIHOODS[threshold].name}"
        else:
            reason = f"{likelihood.name} reaches the minimum likelihood, {_LIKELIHOODS[threshold].name}"
        if not match.valid:
            why = _WHY_INVALID.get(match.name)
            digits = value.translate(None, SEPARATORS).decode("latin-1")
            wrong = why(digits) if why else "its check digits, range or structure are wrong"
            reason = f"{wrong}; {reason}"
        listed = ", ".join(kind.value for kind in evidence)
        return Explanation(
            match.name,
            likelihood,
            evidence,
            match.valid,
            threshold is not None and wins and likelihood >= threshold,
            f"evidence: {listed or 'none'}; {reason}",
        )

    def _needed(self, config: InspectConfig) -> frozenset[str]:
        """Info types that are looked for although nobody asked: those that rule out findings of others."""
        excluding = (
            name
            for rules in config.rule_set
            for rule in rules.rules
            if isinstance(rule, ExclusionRule)
            for name in rule.exclude_info_types
        )
        return frozenset(excluding) | ({"URL"} if self._names & UNSURE_IN_URL else frozenset())

    def _judged(self, matches: list[Match], data: bytes, header: str) -> list[Match]:
        """Apply the rules to candidates: at most one for each position, and only those to report."""
        if self._rules.present:
            matches = self._rules.apply(matches + self._rules.custom(data), data, header)
        thresholds = self._thresholds
        return [match for match in resolved(matches) if match.likelihood >= thresholds.get(match.name, 99)]

    def _found(self, data: bytes, matches: list[Match], container: tuple[str, ...]) -> Found:
        """Findings and tallies of a text."""
        counts: dict[str, list[int]] = {}
        findings: list[Finding] = []
        limits = self.config.limits
        ascii_only = data.isascii() if matches else True
        byte, point = 0, 0
        for match in matches:
            count = counts.get(match.name)
            if count is None:
                counts[match.name] = [1, match.likelihood]
            else:
                count[0] += 1
                if match.likelihood > count[1]:
                    count[1] = match.likelihood
                if count[0] > limits.max_findings_per_info_type:
                    continue
            if len(findings) >= limits.max_findings_per_item:
                continue
            start, end = match.start, match.end
            value = data[start:end]
            if ascii_only:
                points = Range(start, end)
            else:
                if start < byte:
                    byte, point = 0, 0
                point += len(data[byte:start].translate(None, _CONTINUATION))
                byte = start
                points = Range(point, point + len(value.translate(None, _CONTINUATION)))
            location = Location(Range(start, end), points, None, None, container)
            findings.append(self._finding(match, value, location))
        tallies = {name: Tally(count, _LIKELIHOODS[highest]) for name, (count, highest) in counts.items()}
        return Found(tuple(findings), tallies)

    def _finding(self, match: Match, value: bytes, location: Location) -> Finding:
        # HMAC as defined in RFC 2104, with the key hashed only once.
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(match.name.encode() + b"\0" + value.translate(None, _SEPARATORS))
        outer.update(inner.digest())
        return Finding(
            self._types[match.name],
            _LIKELIHOODS[match.likelihood],
            location,
            self._evidence_of(match.evidence),
            outer.hexdigest()[:32],
            value.decode("utf-8", "replace") if self.config.include_quote else None,
        )

    def _evidence_of(self, bits: int) -> tuple[Evidence, ...]:
        evidence = self._evidence.get(bits)
        if evidence is None:
            evidence = self._evidence[bits] = tuple(
                kind for place, kind in enumerate(_EVIDENCE) if bits >> place & 1
            )
        return evidence


def _located(
    column: ColumnMatches,
    counts: Mapping[str, tuple[int, int]],
    room: dict[str, int],
    wanted: Callable[[str], int],
) -> Iterator[tuple[int, str, Match, bytes]]:
    """The places of a column's matches, up to the limits: row, column, match, and its value."""
    for info_type, (count, _) in counts.items():
        left = room[info_type]
        if left <= 0:
            continue
        for row, match, value in column.rows(info_type, min(left, wanted(info_type))):
            yield row, column.name, match, value
        # Columns share the room as they would if all of their findings were wanted.
        room[info_type] = left - min(left, count)
