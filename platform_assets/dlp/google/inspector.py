"""Inspection by content: texts and tables are sent to Google, in pieces within its limits.

The value of a finding is read from the local text, so Google is never asked to quote it.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.dlp.fingerprints import check_key, fingerprint
from platform_assets.dlp.google.access import VERSION
from platform_assets.dlp.google.messages import likelihood_of, to_google
from platform_assets.dlp.model import (
    ColumnVerdict,
    Dictionary,
    Evidence,
    Finding,
    Found,
    InfoType,
    InspectConfig,
    Likelihood,
    Location,
    Range,
    Tally,
)
from platform_assets.errors import DlpError

if TYPE_CHECKING:
    from google.cloud import dlp_v2

    from platform_assets.dlp.google.access import DlpSession

_log = logging.getLogger(__name__)
_Piece = TypeVar("_Piece")

# Google's limits: https://docs.cloud.google.com/sensitive-data-protection/limits
_BYTES_PER_REQUEST = 500_000
_VALUES_PER_REQUEST = 50_000
# Overhead of the item in a request: the parent's name, and tags and lengths.
_ENVELOPE = 2_000
_LEAST_ROOM = 65_536
# Text that is sent in addition on both sides of a piece: the reach of a hotword in code points of up to 4
# bytes, and more than the longest private key.
_CONTEXT = 4_096
# A smaller text is not split further: it has fewer findings than Google returns at once.
_SMALLEST_PIECE = 4_096
# Tags and lengths of a value, of a row, and of a column's name.
_BYTES_PER_VALUE = 10
_BYTES_PER_ROW = 5
_SURROGATES = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class _Match:
    """A finding of Google, in a text or in a value.

    Args:
        start: First byte.
        end: The byte after its last.
        name: Name of the info type.
        version: Version of the info type, from Google.
        likelihood: Google's likelihood.
    """

    start: int
    end: int
    name: str
    version: str
    likelihood: Likelihood


@dataclass(frozen=True)
class _DistinctColumn:
    """A column by its distinct values.

    Args:
        name: Name of the column.
        header: The name that is sent to Google.
        values: Its distinct values.
        sizes: The size of each, in bytes.
        codes: The index of each row's value; -1 if it has none.
    """

    name: str
    header: str
    values: pa.Array
    sizes: npt.NDArray[np.int64]
    codes: npt.NDArray[np.int64]

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of rows with each value."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))

    @cached_property
    def _order(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        order = np.argsort(self.codes, kind="stable")
        first = int(np.count_nonzero(self.codes < 0))
        return order[first:], np.concatenate(([0], np.cumsum(self.counts)))

    def rows(self, value: int, most: int) -> list[int]:
        """The first rows that have a value."""
        order, starts = self._order
        start = int(starts[value])
        rows: list[int] = order[start : min(int(starts[value + 1]), start + most)].tolist()
        return rows


@dataclass(frozen=True)
class GoogleInspector:
    """Inspects texts and tables by sending them to Google. Thread-safe.

    Args:
        config: The configuration. Google applies its likelihoods, rules and custom info types.
        key: Key of the fingerprints; at least 16 bytes.
        session: The session.
        parallel: Number of concurrent requests.

    Raises:
        SettingsError: The key is too short.
    """

    config: InspectConfig
    key: bytes = field(repr=False)
    session: DlpSession = field(repr=False)
    parallel: int = 4

    def __post_init__(self) -> None:
        check_key(self.key)

    def inspect_text(self, data: bytes, container: tuple[str, ...] = ()) -> Found:
        """Inspect a text in UTF-8; bytes that are not valid UTF-8 are sent as spaces.

        Args:
            data: The text, of any length.
            container: Its place, from the outside in.

        Raises:
            DlpUnavailable: Google did not answer, or the quota is used up.
            DlpError: Google rejects the request, or the configuration.
        """
        text = _valid(data)
        if not text.strip():
            return Found()
        room = self._text_room
        starts = [0]
        while len(text) - starts[-1] > room:
            starts.append(_cut(text, starts[-1] + room))
        pieces = list(zip(starts, [*starts[1:], len(text)], strict=True))
        found = self._each(lambda piece: self._text_matches(text, *piece), pieces)
        matches = sorted((match for some in found for match in some), key=_place)
        tallies: dict[str, Tally] = {}
        for match in matches:
            _count(tallies, match, 1)
        kept = self._limited(matches, lambda match: match.name)
        places = _code_points(text, [place for match in kept for place in (match.start, match.end)])
        return Found(
            tuple(
                self._finding(
                    match,
                    text[match.start : match.end],
                    Location(
                        Range(match.start, match.end),
                        Range(places[match.start], places[match.end]),
                        container=container,
                    ),
                )
                for match in kept
            ),
            tallies,
        )

    def inspect_columns(
        self, columns: Mapping[str, pa.Array], first_row: int = 0, container: tuple[str, ...] = ()
    ) -> Found:
        """Inspect rows of a table; each distinct value of a column is sent once.

        Args:
            columns: The columns by name, all of one length, of any type that casts to text.
            first_row: Number of their first row in the table.
            container: The place of the table, from the outside in.

        Raises:
            DlpUnavailable: Google did not answer, or the quota is used up.
            DlpError: Google rejects the request, or the configuration.
        """
        known = [_column(name, _header(name, columns), array) for name, array in columns.items()]
        blocks = _blocks([column for column in known if len(column.values)], self._table_room)
        found = self._each(lambda block: self._table_matches(*block), blocks)
        matches: dict[str, list[tuple[int, _Match]]] = defaultdict(list)
        for some in found:
            for header, value, match in some:
                matches[header].append((value, match))
        tallies: dict[str, Tally] = {}
        verdicts = []
        candidates: list[tuple[int, int, _Match, int]] = []
        most = self.config.limits.max_findings_per_info_type
        for number, column in enumerate(known):
            held = matches.get(column.header, [])
            for value, match in held:
                _count(tallies, match, int(column.counts[value]))
                candidates += ((row, number, match, value) for row in column.rows(value, most))
            verdicts += self._verdicts(column, held, container)
        candidates.sort(key=lambda candidate: (candidate[0], candidate[1], _place(candidate[2])))
        return Found(
            tuple(
                self._cell_finding(known[number], value, match, first_row + row, container)
                for row, number, match, value in self._limited(
                    candidates, lambda candidate: candidate[2].name
                )
            ),
            tallies,
            tuple(verdicts),
        )

    @cached_property
    def _info_types(self) -> tuple[str, ...]:
        return self.session.looked_for(self.config)

    @cached_property
    def _text_config(self) -> dlp_v2.InspectConfig:
        return to_google(self.config, self._info_types)

    @cached_property
    def _table_config(self) -> dlp_v2.InspectConfig:
        return to_google(self.config, self._info_types, is_table=True)

    @cached_property
    def _text_room(self) -> int:
        return self._room(self._text_config) - 2 * _CONTEXT

    @cached_property
    def _table_room(self) -> int:
        return self._room(self._table_config)

    def _room(self, config: dlp_v2.InspectConfig) -> int:
        """Bytes left for an item in a request beside the configuration."""
        size = type(config).pb(config).ByteSize()
        room = _BYTES_PER_REQUEST - _ENVELOPE - size
        if room < _LEAST_ROOM:
            raise DlpError(
                "The inspection's configuration is too large for Google: every request contains it, and it "
                f"takes {size:,} of the {_BYTES_PER_REQUEST:,} bytes of a request. Shorten its lists of "
                "words."
            )
        return int(room)

    @cached_property
    def _custom(self) -> Mapping[str, tuple[InfoType, Evidence]]:
        return {
            type_.info_type.name: (
                type_.info_type,
                Evidence.DICTIONARY if isinstance(type_.detection, Dictionary) else Evidence.CUSTOM,
            )
            for type_ in self.config.custom_info_types
        }

    def _each(self, ask: Callable[[_Piece], list[Any]], pieces: Sequence[_Piece]) -> Iterable[list[Any]]:
        """The findings in each of the pieces, in order."""
        if len(pieces) <= 1 or self.parallel <= 1:
            return [ask(piece) for piece in pieces]
        # Prepare once what all requests need, before they start.
        _ = self._info_types, self._custom
        with ThreadPoolExecutor(self.parallel, thread_name_prefix="dlp") as pool:
            return list(pool.map(ask, pieces))

    def _text_matches(self, text: bytes, start: int, stop: int) -> list[_Match]:
        """The findings that start in a part of a text; it is sent with some surrounding text."""
        first, last = _cut(text, max(start - _CONTEXT, 0)), _cut(text, min(stop + _CONTEXT, len(text)))
        from google.cloud import dlp_v2

        item = dlp_v2.ContentItem(
            byte_item={"type_": dlp_v2.ByteContentItem.BytesType.TEXT_UTF8, "data": text[first:last]}
        )
        result = self._ask(self._text_config, item)
        if result.findings_truncated:
            if stop - start > _SMALLEST_PIECE:
                middle = _cut(text, (start + stop) // 2)
                return [*self._text_matches(text, start, middle), *self._text_matches(text, middle, stop)]
            _log.warning("Google returned only some of its findings in a text of %d bytes", last - first)
        matches = (_match(finding, first) for finding in result.findings)
        return [match for match in matches if start <= match.start < stop]

    def _table_matches(
        self, columns: Sequence[_DistinctColumn], start: int, stop: int
    ) -> list[tuple[str, int, _Match]]:
        """The findings in distinct values: header of the column, index of the value, and the match."""
        weight = _BYTES_PER_ROW + sum(
            len(column.header.encode())
            + (stop - start) * _BYTES_PER_VALUE
            + int(column.sizes[start:stop].sum())
            for column in columns
        )
        if weight > self._table_room or len(columns) * (stop - start) > _VALUES_PER_REQUEST:
            return self._halves(columns, start, stop)
        from google.cloud import dlp_v2

        item = dlp_v2.ContentItem()
        # Use the underlying protobuf messages: wrapping each of 50,000 values would take seconds.
        table = dlp_v2.ContentItem.pb(item).table
        for column in columns:
            table.headers.add().name = column.header
        texts = [column.values[start:stop].to_pylist() for column in columns]
        for number in range(stop - start):
            values = table.rows.add().values
            for held in texts:
                value = values.add()
                if number < len(held):
                    value.string_value = held[number]
        result = self._ask(self._table_config, item)
        if result.findings_truncated:
            return self._halves(columns, start, stop)
        return [
            (place.field_id.name, start + place.table_location.row_index, _match(finding))
            for finding in result.findings
            for content in finding.location.content_locations
            if (place := content.record_location).field_id.name
        ]

    def _halves(
        self, columns: Sequence[_DistinctColumn], start: int, stop: int
    ) -> list[tuple[str, int, _Match]]:
        """Repeat the request in two halves; a single value that is too large is inspected as a text."""
        if stop - start > 1:
            middle = (start + stop) // 2
            rest = [column for column in columns if len(column.values) > middle]
            return [
                *self._table_matches(columns, start, middle),
                *(self._table_matches(rest, middle, stop) if rest else ()),
            ]
        if len(columns) > 1:
            middle = len(columns) // 2
            return [
                *self._table_matches(columns[:middle], start, stop),
                *self._table_matches(columns[middle:], start, stop),
            ]
        [column] = columns
        text = column.values[start].as_py().encode()
        room = self._text_room
        found = []
        first = 0
        while first < len(text):
            last = _cut(text, first + room)
            found += [(column.header, start, match) for match in self._text_matches(text, first, last)]
            first = last
        return found

    def _ask(self, config: dlp_v2.InspectConfig, item: dlp_v2.ContentItem) -> Any:
        from google.cloud import dlp_v2

        with self.session.translated("inspect content"):
            response = self.session.client.inspect_content(
                request=dlp_v2.InspectContentRequest(
                    parent=self.session.parent, inspect_config=config, item=item
                ),
                retry=self.session.retry,
                timeout=self.session.access.timeout,
            )
        return dlp_v2.InspectContentResponse.pb(response).result

    def _limited(self, found: Iterable[_Piece], name: Callable[[_Piece], str]) -> list[_Piece]:
        """The first findings, up to the limits."""
        limits = self.config.limits
        kept: list[_Piece] = []
        counted: Counter[str] = Counter()
        for finding in found:
            if len(kept) >= limits.max_findings_per_item:
                break
            if counted[name(finding)] < limits.max_findings_per_info_type:
                counted[name(finding)] += 1
                kept.append(finding)
        return kept

    def _finding(self, match: _Match, value: bytes, location: Location) -> Finding:
        info_type, evidence = self._info_type(match)
        return Finding(
            info_type,
            match.likelihood,
            location,
            evidence,
            fingerprint(self.key, match.name, value),
            value.decode() if self.config.include_quote else None,
        )

    def _cell_finding(
        self, column: _DistinctColumn, value: int, match: _Match, row: int, container: tuple[str, ...]
    ) -> Finding:
        text = column.values[value].as_py().encode()
        places = _code_points(text, (match.start, match.end))
        location = Location(
            Range(match.start, match.end),
            Range(places[match.start], places[match.end]),
            row,
            column.name,
            container,
        )
        return self._finding(match, text[match.start : match.end], location)

    def _info_type(self, match: _Match) -> tuple[InfoType, tuple[Evidence, ...]]:
        """The info type and the evidence, which Google reports only for custom info types."""
        if match.name in self._custom and match.name not in self._info_types:
            info_type, evidence = self._custom[match.name]
            return info_type, (evidence,)
        known = self.session.info_types.get(match.name, InfoType(match.name, VERSION))
        return (InfoType(known.name, match.version or known.version, known.sensitivity), ())

    def _verdicts(
        self, column: _DistinctColumn, held: Sequence[tuple[int, _Match]], container: tuple[str, ...]
    ) -> list[ColumnVerdict]:
        """The verdicts on a column as a whole, the most likely first."""
        best: dict[str, dict[int, _Match]] = defaultdict(dict)
        for value, match in held:
            known = best[match.name].get(value)
            if known is None or known.likelihood < match.likelihood:
                best[match.name][value] = match
        judged = []
        for name, matching in best.items():
            levels = Counter(match.likelihood for match in matching.values())
            likelihood = levels.most_common(1)[0][0]
            if len(matching) < len(column.values) / 2:
                # Few values among many: the likelihood for the column is that of the most likely value.
                likelihood = min(max(levels), Likelihood.LIKELY)
            judged.append((likelihood, len(matching), name))
        return [
            ColumnVerdict(
                column.name,
                self._info_type(next(iter(best[name].values())))[0],
                likelihood,
                len(column.values),
                matching,
                container,
            )
            for likelihood, matching, name in sorted(judged, reverse=True)
        ]


def _match(finding: Any, offset: int = 0) -> _Match:
    place = finding.location.byte_range
    return _Match(
        place.start + offset,
        place.end + offset,
        finding.info_type.name,
        finding.info_type.version,
        likelihood_of(finding.likelihood),
    )


def _place(match: _Match) -> tuple[int, int, str]:
    return match.start, match.end, match.name


def _count(tallies: dict[str, Tally], match: _Match, count: int) -> None:
    tally = Tally(count, match.likelihood)
    tallies[match.name] = tallies[match.name].plus(tally) if match.name in tallies else tally


def _valid(data: bytes) -> bytes:
    """The text with a space for every byte that is not UTF-8, so that positions stay the same."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return _SURROGATES.sub(" ", data.decode(errors="surrogateescape")).encode()
    return data


def _cut(text: bytes, place: int) -> int:
    """The position, or the nearest earlier position where a character starts."""
    place = min(place, len(text))
    while 0 < place < len(text) and text[place] & 0xC0 == 0x80:
        place -= 1
    return place


def _code_points(text: bytes, places: Iterable[int]) -> dict[int, int]:
    """Number of code points before each of some positions in bytes."""
    counted, before, known = 0, 0, {}
    content = np.frombuffer(text, dtype=np.uint8)
    for place in sorted(set(places)):
        counted += int(np.count_nonzero(content[before:place] & 0xC0 != 0x80))
        before = place
        known[place] = counted
    return known


def _header(name: str, names: Container[str]) -> str:
    """The column name to send, which identifies the column in the response: Google rejects blank names."""
    header = name
    while not header.strip() or (header != name and header in names):
        header = f"unnamed{header}_"
    return header


def _column(name: str, header: str, array: pa.Array) -> _DistinctColumn:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        values = (None if value is None else _valid(value).decode() for value in array.to_pylist())
        array = pa.array(values, pa.large_string())
    text = array.cast(pa.large_string())
    encoded = pc.if_else(pc.equal(text, ""), None, text).dictionary_encode()
    values = encoded.dictionary
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    sizes = pc.binary_length(values).to_numpy(zero_copy_only=False).astype(np.int64)
    return _DistinctColumn(name, header, values, sizes, codes)


def _blocks(columns: Sequence[_DistinctColumn], room: int) -> list[tuple[list[_DistinctColumn], int, int]]:
    """Split the columns' distinct values into requests: the columns, and the values of each."""
    blocks = []
    start, longest = 0, max((len(column.values) for column in columns), default=0)
    while start < longest:
        here = [column for column in columns if len(column.values) > start]
        stop = min(longest, start + max(_VALUES_PER_REQUEST // len(here), 1))
        weights = np.full(stop - start, _BYTES_PER_ROW + len(here) * _BYTES_PER_VALUE, dtype=np.int64)
        for column in here:
            sizes = column.sizes[start:stop]
            weights[: len(sizes)] += sizes
        names = sum(len(column.header.encode()) + _BYTES_PER_VALUE for column in here)
        fitting = int(np.searchsorted(np.cumsum(weights), room - names, side="right"))
        stop = start + max(min(fitting, stop - start), 1)
        blocks.append((here, start, stop))
        start = stop
    return blocks
