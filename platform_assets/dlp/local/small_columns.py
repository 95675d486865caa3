"""Inspection of columns with few values, as documents have thousands of them: all are scanned as one text.

The result is the same as that of inspecting each of them alone. Whatever costs time for each column is done
for all of them at once, or only for those with a match or with a telling name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, compress

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.dlp.local.context import Surroundings
from platform_assets.dlp.local.paired_columns import PairedSecret, paired_secrets
from platform_assets.dlp.local.scanner import hotwords
from platform_assets.dlp.local.scanners.pairs import (
    any_mentions_secrets,
    is_name_field,
    names_secrets,
)
from platform_assets.dlp.local.scanners.text import BETWEEN, Match, Segments
from platform_assets.dlp.local.table_scan import (
    FEW,
    WHOLES,
    ColumnMatches,
    TableScan,
    Whole,
    adjusted,
    joined_lines,
    judged_together,
    owners,
    say_something,
    telling_values,
    title_of,
)
from platform_assets.formats.reading import Cells
from platform_assets.formats.words import words_of

_Ints = npt.NDArray[np.int64]
_DIGIT = np.isin(np.arange(256), np.frombuffer(b"0123456789", np.uint8))
_NAMES_ANOTHER, _NAMES_SECRETS, _TELLS = 1, 2, 4
_MOST_KEYS = 16_384


class SmallColumns:
    """The columns of some tables, inspected together.

    Args:
        scan: The inspection of a table.
        tables: The columns of each table, by name.
        pairs: True to look for secrets that other columns, or the path of keys, reveal.
        dummies: True if sequences and UUIDs count as such secrets.
    """

    def __init__(
        self, scan: TableScan, tables: Sequence[Mapping[str, Cells]], *, pairs: bool, dummies: bool
    ) -> None:
        self._scan = scan
        self._pairs = pairs
        self._dummies = dummies
        self._tables = tables
        self._names = [name for table in tables for name in table]
        self._cells = list(chain.from_iterable(table.values() for table in tables))
        self._facts = list(map(_facts_of, self._names))
        self._titles: dict[int, tuple[Surroundings, tuple[str, ...]]] = {}
        self._headers: dict[int, Surroundings] = {}
        self._columns: dict[int, ColumnMatches] = {}
        self._find_distinct()

    def matches(self) -> list[list[ColumnMatches]]:
        """The columns of each table that have matches."""
        found = self._found() if len(self._values) else {}
        whole = self._judged_as_a_whole() if len(self._values) else {}
        for number in sorted({*found, *whole}):
            column = self._column(number)
            column.matches = found.get(number, {})
            if number in whole:
                self._scan.add_whole(column, self._title(number)[0], whole[number])
        given, first = [], 0
        for table in self._tables:
            last = first + len(table)
            for number, secrets in self._paired(table, first):
                self._scan.add(self._column(number), secrets)
            given.append([self._columns[number] for number in range(first, last) if number in self._columns])
            first = last
        return given

    def _find_distinct(self) -> None:
        """Find the distinct values of all columns, in the order of the columns and of their rows."""
        counts = np.fromiter((len(cells.texts) for cells in self._cells), np.int64, len(self._cells))
        texts = pa.array(list(chain.from_iterable(cells.texts for cells in self._cells)), pa.large_string())
        encoded = texts.dictionary_encode()
        size = max(len(encoded.dictionary), 1)
        column = np.repeat(np.arange(len(self._cells)), counts)
        pairs = pa.array(column * size + encoded.indices.to_numpy()).dictionary_encode()
        unique = pairs.dictionary.to_numpy()
        self._values = encoded.dictionary.take(pa.array(unique % size))
        self._column_of: _Ints = unique // size
        # The first value of each column, and the one after its last; the same for its cells.
        self._bounds: _Ints = np.searchsorted(self._column_of, np.arange(len(self._cells) + 1))
        self._cell_bounds: _Ints = np.concatenate(([0], np.cumsum(counts)))
        self._value_of_cell: _Ints = pairs.indices.to_numpy().astype(np.int64)
        self._has_text = pc.binary_length(self._values).to_numpy(zero_copy_only=False) > 0

    def _title(self, number: int) -> tuple[Surroundings, tuple[str, ...]]:
        title = self._titles.get(number)
        if title is None:
            title = self._titles[number] = title_of(self._names[number])
        return title

    def _header(self, number: int) -> Surroundings:
        header = self._headers.get(number)
        if header is None:
            header = self._headers[number] = self._title(number)[0].as_title
        return header

    def _column(self, number: int) -> ColumnMatches:
        column = self._columns.get(number)
        if column is None:
            first, last = self._bounds[number], self._bounds[number + 1]
            cells = self._cells[number]
            values = self._value_of_cell[self._cell_bounds[number] : self._cell_bounds[number + 1]] - first
            indices = np.full(cells.length, -1, dtype=np.int64)
            indices[np.asarray(cells.places)] = values
            column = self._columns[number] = ColumnMatches(
                self._names[number],
                self._values.slice(first, last - first),
                indices,
                np.bincount(values, minlength=last - first).astype(np.int64),
                distinct=int(np.count_nonzero(self._has_text[first:last])),
            )
        return column

    def _found(self) -> dict[int, dict[int, list[Match]]]:
        """The matches by column and by value."""
        # Between two columns is a line that belongs to none.
        lines = np.arange(len(self._values)) + self._column_of
        taken = np.full(len(self._values) + len(self._cells), len(self._values), dtype=np.int64)
        taken[lines] = np.arange(len(self._values))
        separator = pa.array([BETWEEN.decode().strip()], self._values.type)
        data, starts = joined_lines(pa.concat_arrays([self._values, separator]).take(pa.array(taken)))
        self._find_digits(data, starts, lines)
        held = np.flatnonzero(np.diff(self._bounds))
        begins: list[int] = starts[lines[self._bounds[held]]].tolist()
        of_segment = held.tolist()
        segments = Segments(begins, lambda at: self._header(of_segment[at]))
        candidates = self._scan.candidates(data, segments)
        ends = (starts[lines[self._bounds[held + 1] - 1] + 1] - 1).tolist()
        spans = dict(zip(of_segment, zip(begins, ends, strict=True), strict=True))
        candidates = self._adjusted(candidates, taken[owners(starts, candidates)], data, spans)
        if self._scan.is_exact:
            names = [self._names[number] for number in held.tolist()]
            judged = list(self._judged_by_rules(candidates, data, names, begins, ends))
        else:
            judged = self._scan.judge(candidates, data, "")
        found: dict[int, dict[int, list[Match]]] = {}
        numbers = taken[owners(starts, judged)]
        columns = self._column_of[np.minimum(numbers, len(self._values) - 1)]
        firsts = starts[lines[np.minimum(numbers, len(self._values) - 1)]]
        offsets = numbers - self._bounds[columns]
        for match, number, column, first, offset in zip(
            judged, numbers.tolist(), columns.tolist(), firsts.tolist(), offsets.tolist(), strict=True
        ):
            if number < len(self._values):
                moved = Match(match.start - first, match.end - first, *match[2:])
                found.setdefault(column, {}).setdefault(offset, []).append(moved)
        return found

    def _adjusted(
        self, candidates: list[Match], values: _Ints, data: bytes, spans: Mapping[int, tuple[int, int]]
    ) -> list[Match]:
        """The candidates, with the likelihoods that the values of a column give each other.

        Args:
            candidates: The candidates.
            values: The number of each one's value.
            data: All values as lines.
            spans: Where the values of each column are in it.
        """
        if not candidates:
            return []
        columns = self._column_of[np.minimum(values, len(self._values) - 1)]
        counts = np.diff(self._bounds)
        judging = (counts[columns] >= FEW) | np.isin(columns, self._without_addresses(candidates, columns))
        apart: dict[int, tuple[list[Match], list[int]]] = {}
        for at in np.flatnonzero(judging).tolist():
            matches, of = apart.setdefault(int(columns[at]), ([], []))
            matches.append(candidates[at])
            of.append(int(values[at]))
        if apart:
            others = list(compress(candidates, (~judging).tolist()))
            for column, (matches, of) in apart.items():
                begin, end = spans[column]
                title, count = self._title(column)[0], int(counts[column])
                noise = judged_together(matches, of, title, data[begin:end], count)
                others += [adjusted(match, noise) for match in matches] if noise else matches
            candidates = others
        return candidates

    def _judged_by_rules(
        self,
        candidates: list[Match],
        data: bytes,
        names: Sequence[str],
        begins: Sequence[int],
        ends: Sequence[int],
    ) -> Iterator[Match]:
        """The findings, where rules look at what is around a candidate: column by column."""
        by_column: dict[int, list[Match]] = {}
        places = np.fromiter((match.start for match in candidates), np.int64, len(candidates))
        for match, at in zip(candidates, np.searchsorted(begins, places, side="right") - 1, strict=True):
            by_column.setdefault(int(at), []).append(match)
        for at, (name, begin, end) in enumerate(zip(names, begins, ends, strict=True)):
            own = [
                match._replace(start=match.start - begin, end=match.end - begin)
                for match in by_column.get(at, ())
            ]
            for match in self._scan.judge(own, data[begin:end], name):
                yield match._replace(start=match.start + begin, end=match.end + begin)

    def _without_addresses(self, candidates: list[Match], columns: _Ints) -> list[int]:
        """The columns with addresses whose name may say that they are versions, or numbers of people."""
        of = {
            int(column)
            for match, column in zip(candidates, columns.tolist(), strict=True)
            if match.name == "IP_ADDRESS"
        }
        return sorted(of)

    def _find_digits(self, data: bytes, starts: _Ints, lines: _Ints) -> None:
        """Find which values have digits."""
        digits = np.add.reduceat(_DIGIT[np.frombuffer(data, np.uint8)], starts, dtype=np.int64)
        self._has_digit = digits[lines] > 0

    def _judged_as_a_whole(self) -> dict[int, dict[str, tuple[int, int, str | None]]]:
        """Return the verdicts about whole columns, by the column's number and the info type."""
        count = len(self._cells)
        facts = np.fromiter(self._facts, np.int64, count)
        counts = say_something(self._values)
        sizes = np.bincount(self._column_of, counts, minlength=count)
        digits = np.bincount(self._column_of, self._has_digit & counts, minlength=count)
        candidates: dict[int, list[Whole]] = {}
        for bit, kind in enumerate(WHOLES):
            may_be = is_told = facts & (_TELLS << bit) > 0
            if kind.alone:
                may_be = is_told | (sizes >= kind.alone)
            if kind.digits is not None:
                may_be &= (digits if kind.digits else sizes - digits) >= kind.share * sizes
            numbers = np.flatnonzero(may_be & (sizes > 0))
            for number, told in zip(numbers.tolist(), is_told[numbers].tolist(), strict=True):
                # Most columns are ruled out by their values alone, which cost less to look at than names.
                values = telling_values(dict.fromkeys(self._cells[number].texts))
                if kind.must_be(values) if told else kind.may_be(values):
                    candidates.setdefault(number, []).append(kind)
        judged = {}
        for number, among in candidates.items():
            texts = dict.fromkeys(self._cells[number].texts)
            whole = self._scan.as_a_whole(texts, self._names[number], *self._title(number), among)
            if whole:
                judged[number] = whole
        return judged

    def _paired(self, table: Mapping[str, Cells], first: int) -> Iterator[tuple[int, Iterable[PairedSecret]]]:
        """The secrets that other columns of a table or the path of keys reveal, by the column's number."""
        if not self._pairs:
            return
        numbers = {name: number for number, name in enumerate(table, first)}
        named = {name for name, number in numbers.items() if self._facts[number] & _NAMES_SECRETS}
        naming = {
            name
            for name, number in numbers.items()
            # An element of a list that is named after secrets names the next.
            if (self._facts[number] & _NAMES_ANOTHER or name.endswith("[]"))
            and any_mentions_secrets(table[name].texts)
        }
        if named or naming:
            paired = paired_secrets(
                _Arrays(table),
                self._dummies,
                may_name=naming.__contains__,
                may_be_named=named.__contains__,
            )
            for name, secrets in paired.items():
                if self._has_text[self._bounds[numbers[name]] : self._bounds[numbers[name] + 1]].any():
                    yield numbers[name], secrets


class _Arrays(Mapping[str, pa.Array]):
    """Cells as arrays, made when they are asked for."""

    def __init__(self, cells: Mapping[str, Cells]) -> None:
        self._cells = cells

    def __getitem__(self, name: str) -> pa.Array:
        return self._cells[name].array()

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)


def _facts_of(name: str) -> int:
    """Return the facts that the keys of a path tell, as bits."""
    *above, last = map(_facts_of_key, name.replace("/", ".").split("."))
    for facts in above:
        last |= facts & ~_NAMES_ANOTHER
    return last


@lru_cache(maxsize=_MOST_KEYS)
def _facts_of_key(key: str) -> int:
    facts = 0
    if is_name_field(key):
        facts |= _NAMES_ANOTHER
    if names_secrets(key):
        facts |= _NAMES_SECRETS
    words = words_of(key)
    for bit, telling in enumerate(_telling_words()):
        if not telling.isdisjoint(words):
            facts |= _TELLS << bit
    return facts


@lru_cache(maxsize=1)
def _telling_words() -> tuple[frozenset[str], ...]:
    """The words that a name must have for each kind of column, unless its values alone tell it."""
    return tuple(kind.words | hotwords().last_words(kind.name) for kind in WHOLES)
