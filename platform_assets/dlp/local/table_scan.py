"""Inspection of a column: distinct values are joined, scanned once, judged together, and mapped back to rows.

Beyond `SAMPLE` distinct values, a sample decides about the values of frequent forms: if all in the sample are
of an info type, so are the others of that form; if none is, none is. Values of other forms are scanned, and
all values are scanned for secrets, whatever their form.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.dlp.local.column_names import describes_another, words_of_column, words_of_keys
from platform_assets.dlp.local.context import NOTHING, Surroundings
from platform_assets.dlp.local.detectors import BY_NAME
from platform_assets.dlp.local.detectors.contacts import VERSION_WORDS
from platform_assets.dlp.local.detectors.credentials import PLACEHOLDER
from platform_assets.dlp.local.detectors.identifiers import IDENTIFIERS
from platform_assets.dlp.local.detectors.people import ETHNIC_GROUPS, GIVEN_NAMES, PLACES, SURNAMES
from platform_assets.dlp.local.paired_columns import PAIRED_TYPES, PairedSecret
from platform_assets.dlp.local.regex import matching
from platform_assets.dlp.local.resolution import UNSURE_IN_URL, resolved
from platform_assets.dlp.local.scanner import Scanner, hotwords
from platform_assets.dlp.local.scanners.network import OF_AUTHORS, OF_PUBLISHED
from platform_assets.dlp.local.scanners.people import folded, is_date, is_day_since_1970
from platform_assets.dlp.local.scanners.secrets import secret_value
from platform_assets.dlp.local.scanners.text import (
    COLUMN,
    DICTIONARY,
    ENTROPY,
    HEADER,
    LIKELY,
    OF_EXAMPLES,
    POSSIBLE,
    SHAPE,
    UNLIKELY,
    VERY_LIKELY,
    InfoTypeScanner,
    Match,
    Segments,
)
from platform_assets.dlp.model import ColumnVerdict, InfoType, Likelihood
from platform_assets.formats.reading import Cells, cells_of_texts
from platform_assets.formats.words import SHAPES, word_set, words_of

SAMPLE = 1_024
"""Number of distinct values of a column that its forms are judged from."""

_SETTLED = 24
"""Number of values of a form that a sample must contain to decide about the others."""

_FEW_ROWS = 96
"""Number of rows up to which looking at each costs less than NumPy's calls."""

_Ints = npt.NDArray[np.int64]
_Judge = Callable[[list[Match], bytes, str], list[Match]]


@dataclass
class ColumnMatches:
    """The matches in a column.

    Args:
        name: Its name.
        values: Its distinct values.
        indices: The index of every row's value among them; -1 for nulls.
        occurrences: How many rows have each value.
        matches: The matches of a distinct value, by its index.
        assumed: By info type: the indices of values that count as matches because others of their form, or
            the column as a whole, match; their likelihood, and the evidence as bits.
        distinct: Number of values, without empty ones.
    """

    name: str
    values: pa.Array
    indices: _Ints
    occurrences: _Ints
    matches: dict[int, list[Match]] = field(default_factory=dict)
    assumed: dict[str, tuple[_Ints, int, int]] = field(default_factory=dict)
    distinct: int = 0

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Number of rows with an info type and its highest likelihood, by info type."""
        counts: dict[str, list[int]] = {}
        for place, matches in self.matches.items():
            times = int(self.occurrences[place])
            for match in matches:
                count = counts.setdefault(match.name, [0, 0])
                count[0] += times
                count[1] = max(count[1], match.likelihood)
        for name, (places, likelihood, _) in self.assumed.items():
            count = counts.setdefault(name, [0, 0])
            count[0] += int(self.occurrences[places].sum())
            count[1] = max(count[1], likelihood)
        return {name: (count, highest) for name, (count, highest) in counts.items()}

    def verdicts(self, types: Mapping[str, InfoType], container: tuple[str, ...]) -> Iterator[ColumnVerdict]:
        """The verdicts on the column as a whole, the most likely first."""
        judged = []
        levels: dict[str, Counter[int]] = defaultdict(Counter)
        for matches in self.matches.values():
            best: dict[str, int] = {}
            for match in matches:
                best[match.name] = max(best.get(match.name, 0), match.likelihood)
            for name, likelihood in best.items():
                levels[name][likelihood] += 1
        for name, (places, likelihood, _) in self.assumed.items():
            levels[name][likelihood] += len(places)
        for name, counter in levels.items():
            matching = counter.total()
            likelihood = counter.most_common(1)[0][0]
            if matching < self.distinct / 2:
                # Few values among many: the likelihood for the column is that of the most likely value.
                likelihood = min(max(counter), LIKELY)
            judged.append((likelihood, matching, name))
        for likelihood, matching, name in sorted(judged, reverse=True):
            yield ColumnVerdict(
                self.name, types[name], Likelihood(likelihood), self.distinct, matching, container
            )

    def rows(self, info_type: str, limit: int) -> Iterator[tuple[int, Match, bytes]]:
        """Rows with an info type, in order: the row, the match, and its value."""
        wanted = {
            place: [match for match in matches if match.name == info_type]
            for place, matches in self.matches.items()
        }
        wanted = {place: matches for place, matches in wanted.items() if matches}
        places, likelihood, evidence = self.assumed.get(info_type, (np.empty(0, dtype=np.int64), 0, 0))
        given = 0
        for row, place in self._rows_of({*wanted, *places[:limit].tolist()}, limit):
            value = self.values[place].as_py().encode("utf-8", "replace")
            matches = wanted.get(place) or [Match(0, len(value), info_type, likelihood, evidence)]
            for match in matches:
                if given >= limit:
                    return
                given += 1
                yield row, match, value

    def _rows_of(self, places: set[int], limit: int) -> Iterable[tuple[int, int]]:
        """The first rows with some of the values, and each one's value."""
        if len(self.indices) <= _FEW_ROWS:
            return ((row, place) for row, place in enumerate(self.indices.tolist()) if place in places)
        flags = np.zeros(len(self.values) + 1, dtype=np.bool_)
        flags[list(places)] = True
        rows = np.flatnonzero(flags[self.indices])[:limit]
        return zip(rows.tolist(), self.indices[rows].tolist(), strict=True)


class TableScan:
    """Inspects the columns of a table.

    Args:
        scanner: Finds candidates.
        thresholds: The lowest likelihood to report, by info type.
        judge: Turns candidates into findings: rules, overlaps, thresholds.
        exact: True if all values must be scanned whatever their forms, because of rules.
    """

    def __init__(
        self, scanner: Scanner, thresholds: Mapping[str, int], judge: _Judge, *, exact: bool
    ) -> None:
        self._scanner = scanner
        self.is_exact = exact
        self._thresholds = thresholds
        self.judge = judge

    def inspect(self, name: str, array: pa.Array | pa.ChunkedArray) -> ColumnMatches:
        """Inspect one column.

        Args:
            name: Its name.
            array: Its values, of any type that casts to text.

        Returns:
            The matches in it.
        """
        values, indices = _distinct(array)
        occurrences = np.bincount(indices[indices >= 0], minlength=len(values)).astype(np.int64)
        column = ColumnMatches(name, values, indices, occurrences)
        lengths = pc.binary_length(values).to_numpy(zero_copy_only=False)
        column.distinct = int(np.count_nonzero(lengths))
        if not column.distinct:
            return column
        header, words = title_of(name)
        step = max(len(values) // SAMPLE, 1)
        sample = values[::step].slice(0, SAMPLE).to_pylist()
        whole = self.as_a_whole(sample, name, header, words)
        if len(values) <= SAMPLE or self.is_exact:
            places = np.arange(len(values))
            column.matches = self._scanned(name, joined_lines(values), places, header, noise=None)[0]
        else:
            self._scan_by_forms(column, header, frozenset(whole))
        if whole:
            self.add_whole(column, header, whole)
        return column

    def add(self, column: ColumnMatches, paired: Iterable[PairedSecret]) -> None:
        """Add secrets that other columns of the table or the path of keys reveal."""
        matches = dict(paired)
        places = pc.index_in(pa.array(list(matches), pa.large_string()), value_set=column.values).to_pylist()
        for place, (value, match) in zip(places, matches.items(), strict=True):
            judged = self.judge([match], value.encode("utf-8", "replace"), column.name)
            if place is not None and judged:
                column.matches[place] = resolved([*column.matches.get(place, ()), *judged])

    def _scanned(
        self,
        name: str,
        joined: tuple[bytes, _Ints],
        places: _Ints,
        header: Surroundings,
        noise: dict[str, int] | None,
        scanners: Iterable[InfoTypeScanner] | None = None,
    ) -> tuple[dict[int, list[Match]], dict[str, int]]:
        """Scan some values.

        Args:
            name: Name of the column.
            joined: The values as lines of one text, and the start of each.
            places: Their indices among all values.
            header: The hotwords in the column's name.
            noise: Likelihoods inferred from a sample, by info type; None if these values are the sample.
            scanners: The scanners to run; None means all.

        Returns:
            The matches by the value's index, and the likelihoods inferred from the values as a whole.
        """
        data, starts = joined
        everything = noise is None or any(level >= POSSIBLE for level in noise.values())
        candidates = self._scanner.scan(data, header, True, everything, scanners)
        if noise is None:
            noise = judged_together(candidates, owners(starts, candidates), header, data, len(starts))
        judged = self.judge([adjusted(match, noise) for match in candidates], data, name)
        found: dict[int, list[Match]] = {}
        for match, owner in zip(judged, owners(starts, judged), strict=True):
            start = int(starts[owner])
            found.setdefault(int(places[owner]), []).append(
                match._replace(start=match.start - start, end=match.end - start)
            )
        return found, noise

    def _scan_by_forms(self, column: ColumnMatches, header: Surroundings, whole: frozenset[str]) -> None:
        """Scan a sample, decide about the frequent forms, and scan the values that remain undecided."""
        values, name = column.values, column.name
        size = len(values)
        joined = joined_lines(values)
        by_form = [scanner for scanner in self._scanner.scanners if scanner.form]
        sample = np.unique(np.linspace(0, size - 1, SAMPLE).astype(np.int64))
        sampled = joined_lines(values.take(pa.array(sample)))
        column.matches, noise = self._scanned(name, sampled, sample, header, None, by_form)
        # Among so many numbers, some of rare forms are valid by chance.
        numbers = size if len(_NUMBER_LINE.findall(sampled[0])) >= 0.9 * len(sample) else 0
        found: dict[str, list[int]] = {}
        likelihoods: dict[str, Counter[int]] = {}
        for place, matches in column.matches.items():
            for info_type, likelihood in {match.name: match.likelihood for match in matches}.items():
                found.setdefault(info_type, []).append(place)
                likelihoods.setdefault(info_type, Counter())[likelihood] += 1
        left = np.ones(size, dtype=np.bool_)
        left[sample] = False
        forms = _forms(*joined)
        scanned: set[int] = set()
        # They rule out findings within addresses, also where addresses are not reported.
        addresses = [scanner for scanner in by_form if "URL" in scanner.names]
        for scanner in by_form:
            if scanner.names <= whole or not scanner.form:
                continue
            of = forms[scanner.form]
            held = np.bincount(of[sample], minlength=int(of.max()) + 1)
            is_open = held < _SETTLED
            for info_type in sorted(scanner.names & found.keys()):
                alike = np.bincount(of[found[info_type]], minlength=len(held))
                is_open |= (alike > 0) & (alike < held)
                places = np.flatnonzero(left & ((held >= _SETTLED) & (alike == held))[of])
                if len(places):
                    likelihood = likelihoods[info_type].most_common(1)[0][0]
                    column.assumed[info_type] = (places, likelihood, SHAPE | COLUMN)
            undecided = np.flatnonzero(left & is_open[of])
            if len(undecided):
                part = joined_lines(values.take(pa.array(undecided)))
                together = (scanner, *addresses) if scanner.names & UNSURE_IN_URL else (scanner,)
                matched = self._scanned(name, part, undecided, header, noise, together)[0]
                if numbers:
                    matched = _beyond_chance(matched, numbers, header)
                for place, matches in matched.items():
                    if place in column.matches:
                        scanned.add(place)
                    column.matches.setdefault(place, []).extend(matches)
        secrets = [scanner for scanner in self._scanner.scanners if not scanner.form]
        for place, matches in self._scanned(name, joined, np.arange(size), header, noise, secrets)[0].items():
            if place in column.matches:
                scanned.add(place)
            column.matches.setdefault(place, []).extend(matches)
        for place in scanned:
            column.matches[place] = resolved(column.matches[place])

    def candidates(self, data: bytes, segments: Segments) -> list[Match]:
        """The candidates in several columns, whose values are lines of one text."""
        return self._scanner.scan(data, NOTHING, True, True, None, segments)

    def as_a_whole(
        self,
        values: Iterable[str],
        name: str,
        header: Surroundings,
        words: tuple[str, ...],
        among: Iterable[Whole] | None = None,
    ) -> dict[str, tuple[int, int, str | None]]:
        """Info types that only the values of a column and its name together reveal.

        Args:
            values: A sample of its distinct values.
            name: Its name.
            header: The hotwords in its name.
            words: The words of its name.
            among: The info types to look for; None means all.

        Returns:
            By info type: its likelihood, evidence as bits, and a pattern of the values that count.
        """
        looked = telling_values(values)
        whole = {}
        if looked:
            for kind in WHOLES if among is None else among:
                threshold = self._thresholds.get(kind.name)
                if threshold is not None:
                    title = header, words
                    if kind.keys and not describes_another(name):
                        own = words_of_keys(name, kind.keys)
                        title = hotwords().among(own), own
                    judged = kind.judge(looked, *title)
                    if judged[0] >= threshold:
                        whole[kind.name] = judged
        return whole

    def add_whole(
        self, column: ColumnMatches, header: Surroundings, whole: Mapping[str, tuple[int, int, str | None]]
    ) -> None:
        """Mark values without a better match as the info type of the column as a whole."""
        taken = sum(
            any(match.likelihood >= LIKELY and match.name not in whole for match in matches)
            for matches in column.matches.values()
        ) + sum(len(places) for places, _, _ in column.assumed.values())
        for name, (likelihood, evidence, pattern) in whole.items():
            if taken > column.distinct / 2 and name not in header.hot:
                continue
            counts = say_something(column.values)
            if pattern is not None:
                counts &= matching(column.values, pattern)
            if name in PAIRED_TYPES:
                counts &= ~matching(column.values, PLACEHOLDER, ignore_case=True)
            known = np.fromiter(column.matches, np.int64, len(column.matches))
            counts[known] = False
            places = np.flatnonzero(counts)
            if len(places):
                column.assumed[name] = (places, likelihood, evidence)
            for place, matches in column.matches.items():
                column.matches[place] = [
                    match._replace(
                        likelihood=max(match.likelihood, likelihood), evidence=match.evidence | evidence
                    )
                    if match.name == name
                    else match
                    for match in matches
                ]


# What people and programs write where a value is missing.
_NO_VALUES = frozenset({
    "", "-", "--", "---", ".", "..", "...", "?", "??", "???", "*", "/", "_", "\u2013", "\u2014",
    "n/a", "n.a.", "n.a", "na", "#n/a", "nan", "none", "null", "(null)", "<null>", "nil", "unk", "unknown",
    "(unknown)", "not known", "not available", "not applicable", "not given", "not provided", "not set",
    "not specified", "not disclosed", "unspecified", "undisclosed", "undefined", "missing", "empty",
    "(empty)", "blank", "(blank)", "tbd", "tba", "withheld", "redacted", "[redacted]", "<redacted>",
    "deleted", "removed", "unbekannt", "k.a.", "keine angabe", "inconnu", "inconnue", "non renseigné",
    "desconocido", "desconocida", "no disponible", "sconosciuto", "sconosciuta", "desconhecido", "onbekend",
    "okänd", "ukjent", "ukendt", "nieznany", "brak", "neznámý", "неизвестно", "不明", "未知", "없음",
})  # fmt: skip
_NO_VALUE_SET = pa.array(sorted(_NO_VALUES), pa.large_string())


def _says_something(text: str) -> bool:
    return text.strip().lower() not in _NO_VALUES


def telling_values(values: Iterable[str]) -> list[str]:
    """The values that are neither blank nor a word for a missing value."""
    return [value for value in values if _says_something(value)]


def say_something(values: pa.Array) -> npt.NDArray[np.bool_]:
    """Return True for values that are neither blank nor a word for a missing value."""
    words = pc.utf8_lower(pc.utf8_trim_whitespace(values))
    return ~pc.is_in(words, value_set=_NO_VALUE_SET).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _distinct(array: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, _Ints]:
    """A column's distinct values as texts, and the index of every row's value; -1 for nulls."""
    encoded = _as_text(array).dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return encoded.dictionary, indices


def cells_of(array: pa.Array | pa.ChunkedArray) -> Cells:
    """A column, of any type that casts to text, as cells."""
    return cells_of_texts(_as_text(array).to_pylist())


def _as_text(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if array.type == pa.large_string():
        return array
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        array = array.cast(pa.string())
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        array = pa.array(
            [None if value is None else value.decode("utf-8", "replace") for value in array.to_pylist()],
            pa.large_string(),
        )
    return array.cast(pa.large_string())


def joined_lines(values: pa.Array) -> tuple[bytes, _Ints]:
    """Values as lines of one text, and the start of each. A line break within a value becomes a space."""
    values = pc.replace_substring(values, "\n", " ")
    lengths = pc.binary_length(values).to_numpy(zero_copy_only=False).astype(np.int64)
    starts = np.zeros(len(lengths), dtype=np.int64)
    np.cumsum(lengths[:-1] + 1, out=starts[1:])
    lists = pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)
    joined: bytes = pc.binary_join(lists, pa.scalar("\n", pa.large_string()))[0].as_buffer().to_pybytes()
    return joined, starts


def owners(starts: _Ints, matches: list[Match]) -> list[int]:
    """The value that contains each match."""
    if not matches:
        return []
    places = np.fromiter((match.start for match in matches), np.int64, len(matches))
    found: list[int] = (np.searchsorted(starts, places, side="right") - 1).tolist()
    return found


FEW = 10
"""Fewer values than this say nothing about each other."""
_NO_ADDRESS = "version"
_AUTHORS = word_set("author authors maintainer maintainers contributor contributors committer uploader")
# A column of this name holds numbers that may have four groups, such as telephone numbers of France.
_OF_NUMBERS = frozenset({"PHONE_NUMBER", "DATE_OF_BIRTH", *(detector.name for detector in IDENTIFIERS)})


def title_of(name: str) -> tuple[Surroundings, tuple[str, ...]]:
    """The hotwords in the name of a column, and its words."""
    if describes_another(name):
        words = words_of_column(name)
        header = hotwords().among(words)
    else:
        words, header = _title_words(name)
    named = header.hot.keys()
    if not VERSION_WORDS.isdisjoint(words) or (
        "IP_ADDRESS" not in named and not _OF_NUMBERS.isdisjoint(named)
    ):
        header = Surroundings({**header.hot, _NO_ADDRESS: 0}, header.against)
    if words[-1:] and words[-1] in _AUTHORS:
        header = Surroundings({**header.hot, OF_AUTHORS: 0}, header.against)
    marks = _marks_of(name)
    if marks:
        header = Surroundings({**header.hot, **dict.fromkeys(marks, 0)}, header.against)
    return header, ((ATTRIBUTE, *words) if "@" in name else words)


_MARKED = re.compile(
    # Examples, and what a schema or the manual of an interface says of its parts.
    r"(?i)(?:^|[./])(?:(?P<example>@?(?:examples?|samples?))(?:\[\])?(?:$|[./@])"
    r"|(?:properties|members|shapes|parameters|methods|definitions|\$defs|schemas|modules|classes|operations)"
    r"(?:\[\])?[./].*\b(?:description|documentation|desc|enumDescriptions)(?P<described>)(?:\[\])?$"
    r"|(?:authors?|maintainers?|contributors?|committers?)(?:\[\])?(?=[./@])(?P<published>))"
    # The text of a link in a page: mostly that of mailto:.
    r"|^html/.*/a(?:/@href)?(?P<link>)$"
)


# One of these is in every path that `_MARKED` matches.
_MARKS = (
    "example",
    "sample",
    "desc",
    "documentation",
    "author",
    "maintainer",
    "contributor",
    "committer",
    "html/",
)


def _marks_of(path: str) -> tuple[str, ...]:
    """Marks of a path of keys of which one says that the values below are examples, or published."""
    if "." not in path and "/" not in path:
        return ()
    small = path.lower()
    if path.isascii() and not any(mark in small for mark in _MARKS):
        return ()
    found = {match.lastgroup for match in _MARKED.finditer(path)}
    return (
        *((OF_EXAMPLES,) if found & {"example", "described"} else ()),
        *((OF_PUBLISHED,) if found & {"published", "link"} else ()),
    )


_PATH_SIGNS = "./"
_LONGEST_DERIVED = 300


@lru_cache(maxsize=16_384)
def _title_words(path: str) -> tuple[tuple[str, ...], Surroundings]:
    """The words of a path of keys and the hotwords among them, derived from those of the path above it."""
    at = max(map(path.rfind, _PATH_SIGNS))
    if at < 0 or len(path) > _LONGEST_DERIVED:
        words = words_of(path)
        return words, hotwords().among(words)
    own = words_of(path[at + 1 :])
    words, header = _title_words(path[:at])
    return words + own, hotwords().among_more(words, header, own)


def adjusted(match: Match, noise: Mapping[str, int]) -> Match:
    """A candidate with the likelihood that the values of its column as a whole give its info type."""
    level = noise.get(match.name)
    if level is None or not match.valid:
        return match
    return match._replace(
        likelihood=min(match.likelihood, level) if level < POSSIBLE else max(match.likelihood, level),
        evidence=match.evidence | (COLUMN if level >= POSSIBLE else 0),
    )


def judged_together(
    candidates: list[Match], of: Sequence[int], header: Surroundings, data: bytes, count: int
) -> dict[str, int]:
    """Likelihoods by info type, from the share of valid values among all values of a form.

    If no more are valid than expected by chance, none is a match: UNLIKELY. If all are valid, and chance
    cannot explain it, even bare digits are LIKELY.

    Args:
        candidates: The candidates in a column.
        of: The value of each, as a number.
        header: The hotwords in the column's name.
        data: The values as lines.
        count: Number of values.
    """
    levels = _judged_by_share(candidates, of, header)
    levels |= _by_chance(data, candidates, count, header)
    if _NO_ADDRESS in header.hot:
        levels["IP_ADDRESS"] = UNLIKELY
    return levels


def _judged_by_share(candidates: list[Match], of: Sequence[int], header: Surroundings) -> dict[str, int]:
    seen: dict[str, set[int]] = {}
    valid: dict[str, set[int]] = {}
    for match, owner in zip(candidates, of, strict=True):
        seen.setdefault(match.name, set()).add(owner)
        if match.valid:
            valid.setdefault(match.name, set()).add(owner)
    levels: dict[str, int] = {}
    for name, values in seen.items():
        detector = BY_NAME.get(name)
        if detector is None or (not detector.forms and name != "PHONE_NUMBER"):
            continue
        right, all_ = len(valid.get(name, ())), len(values)
        share = right / all_
        if name in header.hot:
            continue
        if all_ >= FEW and share < min(0.5, max(4 * detector.chance, 0.2)):
            levels[name] = UNLIKELY
        elif detector.chance <= 0.2 and all_ >= FEW and share >= 0.9:
            levels[name] = LIKELY
    # Several info types may fit the same digits: the one least likely to fit by chance is the explanation.
    promoted = [name for name, level in levels.items() if level == LIKELY]
    if len(promoted) > 1:
        best = max(promoted, key=lambda name: (len(valid[name]), -BY_NAME[name].chance))
        for name in promoted:
            if name != best and valid[name] <= valid[best]:
                levels[name] = UNLIKELY if len(valid[name]) < len(valid[best]) else POSSIBLE
    return levels


_NUMBER_LINE = re.compile(rb"(?m)^-?[0-9][0-9.,]*(?:[eE][+\-]?[0-9]+)?$")


def _by_chance(data: bytes, candidates: list[Match], count: int, header: Surroundings) -> dict[str, int]:
    """Info types that so few values of a column of numbers have that chance explains them."""
    valid = Counter(match.name for match in candidates if match.valid and match.name not in header.hot)
    few = {
        name: UNLIKELY
        for name, right in valid.items()
        if (detector := BY_NAME.get(name)) is not None
        and detector.forms
        and count >= FEW
        and right <= min(4 * detector.chance, 0.2) * count
    }
    if few and len(_NUMBER_LINE.findall(data)) >= 0.9 * count:
        return few
    return {}


def _beyond_chance(
    matched: dict[int, list[Match]], count: int, header: Surroundings
) -> dict[int, list[Match]]:
    """The matches of info types that more of a column's numbers have than chance explains."""
    found = Counter(match.name for matches in matched.values() for match in matches)
    few = {
        name
        for name, right in found.items()
        if name not in header.hot
        and (detector := BY_NAME.get(name)) is not None
        and detector.forms
        and right <= min(4 * detector.chance, 0.2) * count
    }
    if not few:
        return matched
    return {
        place: left
        for place, matches in matched.items()
        if (left := [match for match in matches if match.name not in few])
    }


_CLASSES = np.frombuffer(SHAPES, np.uint8)
_LINE_BREAK = np.uint8(ord("\n"))
_RUNS = np.where((ord("0") == _CLASSES) | (ord("A") == _CLASSES), np.uint8(ord("a")), _CLASSES)


def _forms(data: bytes, starts: _Ints) -> dict[str, _Ints]:
    """The form of each value as a number, equal for values of the same `InfoTypeScanner.form`.

    Args:
        data: The values as lines of one text.
        starts: The start of each.
    """
    # Add a line break after the last value too: an empty last value would start at the end of the text.
    digits, forms = _collapsed(np.append(_CLASSES[np.frombuffer(data, np.uint8)], _LINE_BREAK), starts)
    # The forms are lines of a text again, but far fewer than the values.
    written, offsets = forms.buffers()[2], np.frombuffer(forms.buffers()[1], np.int64)[: len(forms)]
    runs, _ = _collapsed(_RUNS[np.frombuffer(written, np.uint8)], offsets)
    return {"digits": digits, "runs": runs[digits]}


def _collapsed(classes: npt.NDArray[np.uint8], starts: _Ints) -> tuple[_Ints, pa.Array]:
    """Reduce runs of letters to one letter: a number for each line, and the distinct lines."""
    kept = np.ones(len(classes), dtype=np.bool_)
    kept[1:] = (classes[1:] != classes[:-1]) | (classes[1:] < ord("A"))
    # The line break after a value belongs to the value.
    offsets = np.zeros(len(starts) + 1, dtype=np.int64)
    np.cumsum(np.add.reduceat(kept, starts, dtype=np.int64), out=offsets[1:])
    lines = pa.Array.from_buffers(
        pa.large_binary(), len(starts), [None, pa.py_buffer(offsets), pa.py_buffer(classes[kept])]
    ).dictionary_encode()
    return lines.indices.to_numpy(zero_copy_only=False).astype(np.int64), lines.dictionary


# Info types that only a whole column reveals: each judge returns a likelihood, evidence, and a pattern of the
# values that count

_Judged = tuple[int, int, str | None]
_NO: _Judged = (0, 0, None)
ATTRIBUTE = "@"
"""The first word of a column's name that is an attribute of XML."""
_NAME_LIKE = re.compile(
    r"[^\W\d_](?:[^\W\d_]|[.'\u2019\-])*(?:[ ,]{1,2}[^\W\d_](?:[^\W\d_]|[.'\u2019\-])*){0,4}"
)
_NAME_PATTERN = r"^\s*\pL[\pL.'\x{2019}\-]*(?:[ ,]{1,2}\pL[\pL.'\x{2019}\-]*){0,4}\s*$"
_OF_THINGS_TOO = (("owner",), ("display",), ("author",), ("sender",), ("recipient",), ("account",))
_NOT_PEOPLE = word_set("""
    service services signing endpoint application app api resource server cluster stream queue bucket topic
    agency organization organisation business entity entities park airport station neighborhood county
    ship vessel storm hurricane
    product company file table column city country region store brand model event host domain bank game
    team category department item project user login group role class type process field package
    currency color street place state county currency species plant drug university school hotel device
    job task
    """)


def _share(values: Iterable[str], test: Callable[[str], object]) -> float:
    looked = passed = 0
    for value in values:
        looked += 1
        passed += bool(test(value))
    return passed / looked if looked else 0.0


def _reaches(values: Sequence[str], test: Callable[[str], object], share: float) -> bool:
    """Return True if at least a share of some values passes a test."""
    left = size = len(values)
    for value in values:
        if not test(value):
            left -= 1
            if left / size < share:
                return False
    return size > 0


# Identifiers of programs: camel case, except names such as McDonald and DeVito, and hyphens without capitals.
_IDENTIFIER = re.compile(
    r"(?<!\bMc)(?<!\bMac)(?<!\b[DLdl][aeiu])(?<!\bFitz)(?<=[a-z])[A-Z]|^[a-z]+(?:-[a-z]+)+$"
)


def _is_name_like(value: str) -> bool:
    return (
        len(value) <= 60
        and _NAME_LIKE.fullmatch(value.strip()) is not None
        and _IDENTIFIER.search(value) is None
    )


def _has_known_name(value: str) -> bool:
    words = [folded(word) for word in re.split(r"[ ,.\-]+", value)]
    return any(word in GIVEN_NAMES or word in SURNAMES for word in words)


def _has_given_name(value: str) -> bool:
    """Return True for a given name beside another word; a surname alone may be any word, as in FIRST WARD."""
    words = [word for word in re.split(r"[ ,.]+", value) if word]
    return len(words) > 1 and any(
        all(folded(part) in GIVEN_NAMES for part in word.split("-")) for word in words
    )


def _is_place(value: str) -> bool:
    return " ".join(words_of(value)) in PLACES


def _is_repetitive(values: list[str]) -> bool:
    """Return True if one word is in most values, as in FIRST WARD and SECOND WARD."""
    counts = Counter(word for value in values for word in {folded(part) for part in value.split()})
    return len(values) >= _FEW_NAMES and counts.most_common(1)[0][1] > len(values) / 2


_FEW_NAMES = 3


_ROLES = word_set("""
    host driver tenant customer contact author owner client guest member employee manager supervisor
    assignee reporter creator editor reviewer landlord renter buyer seller sender recipient teacher student
    doctor nurse agent clerk candidate attendee participant subscriber resident citizen witness winner
    salesperson instructor coach player speaker director actor singer fahrer mieter kunde auteur autor
    autore cliente conductor
    """)
_OF_PEOPLE = frozenset({"name", "names", "person", "full", "by"})


def _begins_with_given_name(value: str) -> bool:
    return folded((value.split() or [""])[0]) in GIVEN_NAMES


def _are_codes(values: list[str]) -> bool:
    """Return True for single words in small letters or capitals, as enumerations and keywords are."""
    return all(
        value.isalpha() and (value.islower() or value.isupper()) and value.isascii() for value in values
    )


def _person_names(values: list[str], header: Surroundings, words: tuple[str, ...]) -> _Judged:
    if not _are_name_like(values):
        return _NO
    known = _share(values, _has_known_name)
    if "PERSON_NAME" in header.hot:
        if OF_EXAMPLES in header.hot or OF_PUBLISHED in header.hot or (not known and _are_codes(values)):
            return POSSIBLE, HEADER, _NAME_PATTERN
        # Services, products and firms have display names and owners too.
        of_things = _NOT_PEOPLE & set(words) or words[-2:-1] in _OF_THINGS_TOO
        if of_things and _share(values, _begins_with_given_name) < 0.3:
            return POSSIBLE, HEADER, _NAME_PATTERN
        return (VERY_LIKELY if known >= 0.15 else LIKELY), HEADER | DICTIONARY, _NAME_PATTERN
    if _ROLES & set(words[-2:]) and set(words[-1:]) <= (_ROLES | _OF_PEOPLE):
        given = _share(values, _begins_with_given_name)
        if (
            given >= 0.5
            and known >= 0.6
            and _share(values, str.istitle) >= 0.5
            and not _is_repetitive(values)
        ):
            return LIKELY, HEADER | DICTIONARY, _NAME_PATTERN
    if _NOT_PEOPLE & set(words) or _is_repetitive(values) or _share(values, _is_place) >= 0.4:
        return _NO
    if ATTRIBUTE in words and _share(values, _has_given_name) < 0.7:
        return _NO  # an attribute of XML names things
    if words[-1:] in (("name",), ("names",)) and known >= 0.3:
        given = _share(values, _has_given_name)
        if given >= 0.3:
            return LIKELY, HEADER | DICTIONARY, _NAME_PATTERN
        # Storms, boats and variables have given names alone, or words that are surnames too.
        if _share(values, _begins_with_given_name) >= 0.3 or len(values) >= _FEW_NAMES:
            return POSSIBLE, HEADER | DICTIONARY, _NAME_PATTERN
        return _NO
    if known >= 0.7 and len(values) >= 5:
        return LIKELY, DICTIONARY | COLUMN, _NAME_PATTERN
    if known >= 0.5 and len(values) >= 20:
        return POSSIBLE, DICTIONARY | COLUMN, _NAME_PATTERN
    return _NO


def _may_be_people(values: list[str]) -> bool:
    """Return True if values may be names of people although nothing in their column's name says so."""
    return _are_name_like(values) and _reaches(values, _has_known_name, 0.5)


def _are_name_like(values: list[str]) -> bool:
    return _reaches(values, _is_name_like, 0.7)


def _is_ethnic_group(value: str) -> bool:
    return " ".join(words_of(value)) in ETHNIC_GROUPS


def _ethnic_groups(values: list[str], header: Surroundings, words: tuple[str, ...]) -> _Judged:
    if "ETHNIC_GROUP" in header.hot and _are_mostly_ethnic_groups(values):
        return VERY_LIKELY, HEADER | DICTIONARY, None
    return (POSSIBLE, DICTIONARY | COLUMN, None) if _may_be_ethnic_groups(values) else _NO


def _are_mostly_ethnic_groups(values: list[str]) -> bool:
    return _reaches(values, _is_ethnic_group, 0.3)


def _may_be_ethnic_groups(values: list[str]) -> bool:
    """Return True if values are ethnic groups whatever their column's name is."""
    misses, several = 0, 0
    for value in values:
        if not _is_ethnic_group(value):
            misses += 1
            if len(values) - misses < 0.8 * len(values):
                return False
        elif " " in value:
            several += 1
    return several >= 2


# An identifier has no blanks, and a street in the scripts that write without blanks is not in ASCII.
_ADDRESS_LIKE = re.compile(r"(?=.*[0-9])(?=.*[^\W\d_]{2})(?=.*(?:[ ,]|\.[0-9]+[a-z]?$|[^\x00-\x7f])).{5,120}")


def _street_addresses(values: list[str], header: Surroundings, words: tuple[str, ...]) -> _Judged:
    if "STREET_ADDRESS" not in header.hot or {"email", "mail", "ip", "mac", "web", "wallet", "url"} & set(
        words
    ):
        return _NO
    if _are_address_like(values):
        return VERY_LIKELY, HEADER | SHAPE, r"[0-9].*\pL|\pL.*[0-9]"
    return _NO


def _are_address_like(values: list[str]) -> bool:
    return _reaches(values, lambda value: "@" not in value and _ADDRESS_LIKE.fullmatch(value), 0.6)


def _births(values: list[str], header: Surroundings, words: tuple[str, ...]) -> _Judged:
    if "DATE_OF_BIRTH" in header.hot and _are_days(values):
        return VERY_LIKELY, HEADER | SHAPE, "[0-9]"
    return _NO


def _are_days(values: list[str]) -> bool:
    return _reaches(values, is_date, 0.6) or _reaches(values, is_day_since_1970, 0.6)


_PASSPORT_LIKE = re.compile(r"(?=(?:[A-Z]*[0-9]){4})[A-Z0-9]{6,10}")


def _passports(values: list[str], header: Surroundings, words: tuple[str, ...]) -> _Judged:
    if "PASSPORT" in header.hot and _are_passport_like(values):
        return VERY_LIKELY, HEADER | SHAPE, None
    return _NO


def _are_passport_like(values: list[str]) -> bool:
    return _reaches(values, _PASSPORT_LIKE.fullmatch, 0.6)


def _passwords(values: list[str], header: Surroundings, words: tuple[str, ...]) -> _Judged:
    if "PASSWORD" not in header.hot or {
        "hash",
        "hashed",
        "date",
        "at",
        "changed",
        "expiry",
        "reset",
        "policy",
        "boarding",
        "file",
        "path",
        "url",
    } & set(words):
        return _NO
    if {"pass"} & set(words) and not {"user", "db", "pass"} >= set(words):
        return _NO
    if _are_passwords(values):
        return LIKELY, HEADER | SHAPE, None
    return _NO


def _are_passwords(values: list[str]) -> bool:
    return _reaches(values, lambda value: secret_value("password", value), 0.5)


def _tokens(values: list[str], header: Surroundings, words: tuple[str, ...]) -> _Judged:
    name = " ".join(words)
    if {"file", "path", "url", "uri"} & set(words):
        return _NO
    if not {"token", "secret", "apikey", "key"} & set(words) or set(words) <= {"key", "id"}:
        return _NO
    if words[-1] == "key" and not {
        "api",
        "secret",
        "access",
        "private",
        "auth",
        "client",
        "encryption",
    } & set(words):
        return _NO
    if _share(values, lambda value: secret_value(name, value)) >= 0.5:
        return LIKELY, HEADER | ENTROPY, None
    return _NO


@dataclass(frozen=True)
class Whole:
    """An info type that only a whole column reveals.

    Args:
        name: Its name.
        judge: Judges the values of a column, the hotwords in its name, and the words of its name.
        words: Words of names that the judge looks for, beside the info type's hotwords.
        alone: The least number of values that it judges without such a word; 0 if it judges none.
        may_be: Returns False only if the judge rejects values without such a word.
        must_be: Returns False only if the judge rejects values whatever their column's name is.
        digits: True if the values that count have digits, False if they have none, None if either is so.
        share: The least share of values that must count.
        keys: Number of keys at the end of a path whose words name the values, as a key far above says little
            of them (`waiters.PasswordDataAvailable.state`); 0 means all.
    """

    name: str
    judge: Callable[[list[str], Surroundings, tuple[str, ...]], _Judged]
    words: frozenset[str] = frozenset()
    alone: int = 0
    may_be: Callable[[list[str]], bool] = bool
    must_be: Callable[[list[str]], bool] = bool
    digits: bool | None = None
    share: float = 0.5
    keys: int = 0


WHOLES = (
    Whole(
        "PERSON_NAME",
        _person_names,
        _ROLES | {"name", "names"},
        alone=5,
        may_be=_may_be_people,
        must_be=_are_name_like,
        digits=False,
        share=0.7,
    ),
    Whole(
        "ETHNIC_GROUP",
        _ethnic_groups,
        alone=2,
        may_be=_may_be_ethnic_groups,
        must_be=_are_mostly_ethnic_groups,
        digits=False,
        share=0.3,
    ),
    Whole("STREET_ADDRESS", _street_addresses, must_be=_are_address_like, digits=True, share=0.6, keys=2),
    Whole("DATE_OF_BIRTH", _births, must_be=_are_days, digits=True, share=0.6),
    Whole("PASSPORT", _passports, must_be=_are_passport_like, digits=True, share=0.6),
    Whole("PASSWORD", _passwords, must_be=_are_passwords, keys=1),
    Whole("AUTH_TOKEN", _tokens, word_set("token secret apikey key"), keys=1),
)
