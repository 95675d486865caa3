"""The inspection of one object: pass its content to an inspector piece by piece, and combine the results."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from pathlib import PurePosixPath
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.dlp.local.detectors import hotwords
from platform_assets.dlp.model import (
    ColumnVerdict,
    Coverage,
    Finding,
    FindingLimits,
    Found,
    Inspector,
    InspectResult,
    Location,
    Range,
    Sensitivity,
    SmallTable,
    Status,
    TablesInspector,
    Tally,
    merged_tallies,
)
from platform_assets.formats.content import (
    ColumnsPiece,
    Item,
    Limits,
    NamePiece,
    Part,
    Sampling,
    Skipped,
    TextPiece,
    read_content,
)
from platform_assets.formats.isolation import is_about_content, kind_of_error
from platform_assets.formats.problems import Problem, ProblemKind
from platform_assets.formats.reading import Cells, cells_of_texts
from platform_assets.formats.trees import MOST_ROWS_OF_CELLS
from platform_assets.processes import without_garbage_collection

_MOST_PROBLEMS = 100
_MOST_COLUMNS = 10_000
# Every second file name looks like a domain: `main.rs`, `install.sh`.
_NOT_OF_NAMES = frozenset({"DOMAIN_NAME", "URL"})
_MOST_NAMES_KNOWN = 10_000
_MOST_MISSING = 8
_MOST_TABLES = 64
_MANY_COLUMNS = 16
_BYTES_AT_ONCE, _ITEMS_AT_ONCE = 1_000_000, 1_000
_TEXT = pa.large_string()


def scan_object(
    file: BinaryIO,
    name: str,
    inspector: Inspector,
    *,
    key: str | None = None,
    size: int | None = None,
    metadata: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    sampling: Sampling | None = None,
    finding_limits: FindingLimits | None = None,
    progress: Callable[[int], None] | None = None,
) -> InspectResult:
    """Inspect an object. Always returns a result for its content; the status says how complete it is.

    The result does not repeat a name (of a nested file, a sheet, a column) that contains a finding; findings
    show it as withheld.

    Args:
        file: The object, from its start; if it supports seeking, less is copied to disk.
        name: Its name in the result: its path or URI.
        inspector: Inspects the pieces.
        key: The part of the name that is inspected too; None means the last part of `name`.
        size: Its size in bytes, if known.
        metadata: Its tags and headers, which are inspected too.
        limits: Limits on memory, time, and content that comes out of archives.
        sampling: How much of a large object is inspected while nothing severe is found.
        finding_limits: The number of findings to report individually.
        progress: Called with the bytes inspected so far.

    Raises:
        PlatformError: The store of the object failed while it was read; there is no result.
    """
    limits = limits or Limits()
    scan = _Scan(inspector, finding_limits or FindingLimits(), 2 * limits.block)
    deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
    own_name = PurePosixPath(name).name if key is None else key
    items = read_content(
        file,
        own_name,
        size=size,
        metadata=metadata,
        limits=limits,
        sampling=sampling,
        in_full=scan.knows_of_severe,
        column_words=hotwords(),
    )
    is_left = True
    while is_left:
        is_left = scan.take_some(items, deadline)
        if progress is not None:
            progress(scan.bytes_inspected)
        if is_left and deadline is not None and time.monotonic() > deadline:
            scan.take(
                Problem(
                    ProblemKind.TIMEOUT, (), f"the inspection took longer than {limits.seconds:g} seconds"
                )
            )
            break
    with without_garbage_collection():
        return scan.result(name, size)


def unreachable(name: str, reason: str) -> InspectResult:
    """The result for an object that could not be opened.

    Args:
        name: Its path or URI.
        reason: The reason.
    """
    problem = Problem(ProblemKind.UNREACHABLE, (), reason)
    return InspectResult(name, Status.UNREADABLE, reason=_reason([problem], 1), problems=(problem,))


class _Gathered:
    """Rows of one table that arrive in several pieces, collected to be inspected together.

    A column is judged from a sample of its values, which costs the same for a hundred rows as for a hundred
    thousand.
    """

    def __init__(self, piece: ColumnsPiece, count: int) -> None:
        self.container = piece.container
        self._chunks: dict[str, list[pa.Array | Cells]] = {name: [] for name in piece.columns}
        self._starts: list[int] = []
        self._sizes: list[int] = []
        self._numbers: list[tuple[int, Sequence[int] | None]] = []
        self._count = 0
        self.add(piece, count)

    def takes(self, piece: ColumnsPiece) -> bool:
        """Return True if a piece is of the same table: the same columns, except a few missing in either."""
        mine, given = self._chunks.keys(), piece.columns.keys()
        return (
            piece.container == self.container
            and (given <= mine or given >= mine)
            and abs(len(given) - len(mine)) <= _MOST_MISSING
        )

    def add(self, piece: ColumnsPiece, count: int) -> None:
        """Add the rows of a piece."""
        if self._count and len(piece.columns) != len(self._chunks):
            for name in piece.columns.keys() - self._chunks.keys():
                self._chunks[name] = [Cells((), (), start) for start in self._sizes]
        for name, chunks in self._chunks.items():
            column = piece.columns.get(name)
            chunks.append(Cells((), (), count) if column is None else column)
        self._sizes.append(count)
        self._starts.append(self._count)
        self._numbers.append((piece.first_row, piece.rows))
        self._count += count

    def cells(self) -> dict[str, Cells] | None:
        """The rows of all pieces, if they are few."""
        if self._count > MOST_ROWS_OF_CELLS:
            return None
        cells: dict[str, Cells] = {}
        for name, chunks in self._chunks.items():
            if len(chunks) == 1 and isinstance(chunks[0], Cells):
                cells[name] = chunks[0]
                continue
            texts: list[str] = []
            places: list[int] = []
            for start, chunk in zip(self._starts, chunks, strict=True):
                if not isinstance(chunk, Cells):
                    return None
                texts.extend(chunk.texts)
                places.extend(at + start for at in chunk.places)
            cells[name] = Cells(texts, places, self._count)
        return cells

    def columns(self) -> dict[str, pa.Array]:
        """The rows of all pieces, as arrays."""
        columns = {}
        for name, chunks in self._chunks.items():
            arrays = [chunk.array() if isinstance(chunk, Cells) else chunk for chunk in chunks]
            columns[name] = arrays[0] if len(arrays) == 1 else pa.chunked_array(arrays).combine_chunks()
        return columns

    def row(self, at: int) -> int:
        """The number in its table of one of these rows."""
        place = bisect_right(self._starts, at) - 1
        (first, rows), within = self._numbers[place], at - self._starts[place]
        return first + within if rows is None else rows[within]


class _Gathering:
    """Tables whose rows arrive in several pieces."""

    def __init__(self) -> None:
        self.tables: list[_Gathered] = []
        self.size = 0
        self._with_column: dict[str, list[int]] = {}

    def add(self, piece: ColumnsPiece, count: int, size: int) -> None:
        """Add the rows of a piece, to the first table that takes them, or as a new one."""
        self.size += size
        # A table of the same columns has at least one of them.
        known = set(chain.from_iterable(map(self._with_column.get, piece.columns, repeat(()))))
        place = next((at for at in sorted(known) if self.tables[at].takes(piece)), None)
        if place is None:
            place = len(self.tables)
            self.tables.append(_Gathered(piece, count))
        else:
            self.tables[place].add(piece, count)
        for name in piece.columns:
            among = self._with_column.setdefault(name, [])
            if not among or place not in among:
                among.append(place)


@dataclass
class _Scan:
    """The state of an inspection.

    Args:
        inspector: Inspects the pieces.
        finding_limits: The number of findings to store.
        gathers: Bytes of rows that are held to be inspected together.
    """

    inspector: Inspector
    finding_limits: FindingLimits
    gathers: int
    is_severe: bool = False
    bytes_inspected: int = 0
    _rows: int = 0
    _rows_skipped: int = 0
    _findings: list[Finding] = field(default_factory=list)
    _findings_by_type: Counter[str] = field(default_factory=Counter)
    _tallies: dict[str, Tally] = field(default_factory=dict)
    _columns: dict[tuple[tuple[str, ...], str, str], ColumnVerdict] = field(default_factory=dict)
    _problems: list[Problem] = field(default_factory=list)
    _problems_total: int = 0
    _parts: int = 0
    _parts_unread: int = 0
    _content_since_part: bool = True
    _content: bool = False
    _names: dict[str, str] = field(default_factory=dict)
    _gathered: _Gathering = field(default_factory=_Gathering)
    _waiting: list[_Gathered] = field(default_factory=list)
    _waiting_size: int = 0

    def knows_of_severe(self) -> bool:
        """Return True if the inspected content has a severe finding."""
        if not self.is_severe:
            self._inspect_waiting()
        return self.is_severe

    def take_some(self, items: Iterator[Item], deadline: float | None) -> bool:
        """Read and inspect the next items, up to a deadline; return False if there are no more."""
        # The garbage of earlier items may be collected afterwards, so that memory stays bounded.
        enough = self.bytes_inspected + _BYTES_AT_ONCE
        with without_garbage_collection():
            for _ in range(_ITEMS_AT_ONCE):
                item = self._next_of(items)
                if item is None:
                    return False
                self.take(item)
                if self.bytes_inspected >= enough or (deadline is not None and time.monotonic() > deadline):
                    break
        return True

    def _next_of(self, items: Iterator[Item]) -> Item | None:
        """The next item; if reading it fails, a problem, after which the iteration ends."""
        try:
            return next(items, None)
        except BaseException as error:
            if not is_about_content(error):
                raise
            message = f"reading stopped here ({kind_of_error(error)})"
            return Problem(ProblemKind.FAILED, (), message)

    def take(self, item: Item) -> None:
        """Inspect an item. If that fails, the item counts as not inspected; other items are unaffected."""
        try:
            self._take(item)
        except BaseException as error:
            if not is_about_content(error):
                raise
            container = () if isinstance(item, Part) else item.container
            self._take_failure(container, "a part of it", error)

    def _take_failure(self, container: tuple[str, ...], what: str, error: BaseException) -> None:
        message = f"{what} could not be inspected ({kind_of_error(error)})"
        self._take_problem(Problem(ProblemKind.FAILED, container, message))

    def _take(self, item: Item) -> None:
        match item:
            case Part():
                self._inspect_waiting()
                self._parts += 1
                self._content_since_part = False
            case Problem():
                self._take_problem(item)
            case Skipped():
                self._rows_skipped += item.rows
            case NamePiece():
                self._take_name(item)
            case TextPiece():
                self._take_text(item)
            case ColumnsPiece():
                self._take_columns(item)

    def _take_problem(self, problem: Problem) -> None:
        self._problems_total += 1
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(replace(problem, container=self._safe(problem.container)))
        if not self._content_since_part and problem.container:
            self._parts_unread += 1
            self._content_since_part = True

    def _take_name(self, piece: NamePiece) -> None:
        # A name is not content: if only the name of an object could be read, it has not been inspected.
        found = self.inspector.inspect_text(piece.text, piece.container)
        kept = [finding for finding in found.findings if finding.info_type.name not in _NOT_OF_NAMES]
        self._add(
            [
                replace(finding, location=replace(finding.location, container=(*piece.container, "(name)")))
                for finding in kept
            ],
            {name: tally for name, tally in found.tallies.items() if name not in _NOT_OF_NAMES},
        )

    def _take_text(self, piece: TextPiece) -> None:
        found = self.inspector.inspect_text(piece.text, piece.container)
        start, end = piece.own or (0, len(piece.text))
        findings = [
            replace(finding, location=_moved(finding.location, piece))
            for finding in found.findings
            if start <= finding.location.byte_range.start < end
        ]
        self._add(findings, _own_tallies(found, findings))
        if piece.is_content:
            self._count(end - start)
        else:
            self.bytes_inspected += end - start

    def _take_columns(self, piece: ColumnsPiece) -> None:
        count = piece.row_count
        if not count:
            return
        if piece.is_new:
            self._rows += count
        piece = _with_cells(piece, count)
        size, held = _sizes_of(piece, count)
        self.bytes_inspected += size
        self._content_since_part = True
        # Columns that a table lacks are filled with nulls, which take memory too.
        held += 8 * _MOST_MISSING * count
        if self._gathered.size + held > self.gathers or len(self._gathered.tables) >= _MOST_TABLES:
            self._close_gathered()
            if self._waiting_size > self.gathers:
                self._inspect_waiting()
        self._gathered.add(piece, count, held)

    def _close_gathered(self) -> None:
        """Add no more rows to the tables gathered so far."""
        self._waiting += self._gathered.tables
        self._waiting_size += self._gathered.size
        self._gathered = _Gathering()

    def _inspect_waiting(self) -> None:
        """Inspect the gathered tables: those of few rows together, else one by one."""
        self._close_gathered()
        waiting, self._waiting, self._waiting_size = self._waiting, [], 0
        small = [(gathered, cells) for gathered in waiting if (cells := gathered.cells()) is not None]
        found = self._found_together(small)
        for gathered in waiting:
            try:
                if (together := found.get(id(gathered))) is not None:
                    self._add_found(together)
                else:
                    self._inspect_table(gathered)
            except BaseException as error:
                if not is_about_content(error):
                    raise
                self._take_failure(gathered.container, "the rows of a table", error)

    def _found_together(self, small: Sequence[tuple[_Gathered, dict[str, Cells]]]) -> dict[int, Found]:
        """Return the results of inspecting several tables at once; empty if they must be inspected singly."""
        if not small or not isinstance(self.inspector, TablesInspector):
            return {}
        try:
            tables = [SmallTable(cells, gathered.container, gathered.row) for gathered, cells in small]
            found = self.inspector.inspect_tables(tables)
            self._learn_names(found)
        except BaseException as error:
            if not is_about_content(error):
                raise
            return {}  # each is inspected by itself, so that the others do not suffer from one
        return {id(gathered): of for (gathered, _), of in zip(small, found, strict=True)}

    def _inspect_table(self, gathered: _Gathered) -> None:
        columns = gathered.columns()
        wanted = self._found_wanted(gathered, columns)
        if wanted is not None:
            self._add_found(wanted)
            return
        for found in self._found_in(columns, gathered.container):
            rows = [
                finding
                if finding.location.row is None
                else replace(
                    finding, location=replace(finding.location, row=gathered.row(finding.location.row))
                )
                for finding in found.findings
            ]
            self._add_found(replace(found, findings=tuple(rows)))

    def _found_wanted(self, gathered: _Gathered, columns: Mapping[str, pa.Array]) -> Found | None:
        """Return the findings in a table that can still be stored; None if it must be inspected otherwise."""
        if not isinstance(self.inspector, TablesInspector):
            return None
        try:
            return self.inspector.inspect_rows(columns, gathered.row, gathered.container, self._wanted)
        except BaseException as error:
            if not is_about_content(error):
                raise
            return None  # each column is inspected by itself, so that the others do not suffer from one

    def _wanted(self, info_type: str) -> int:
        """Number of findings of an info type that can still be stored; at least one says how severe it is."""
        limits = self.finding_limits
        return max(
            min(
                limits.max_findings_per_info_type - self._findings_by_type[info_type],
                limits.max_findings_per_item - len(self._findings),
            ),
            1,
        )

    def _add_found(self, found: Found) -> None:
        self._content = True
        if found.tallies:
            self._add(found.findings, found.tallies)
        for verdict in found.columns:
            self._add_verdict(verdict)

    def _found_in(self, columns: Mapping[str, pa.Array], container: tuple[str, ...]) -> Iterator[Found]:
        """Inspect columns; if the inspector fails for a column, that column becomes a problem."""
        try:
            yield self.inspector.inspect_columns(columns, 0, container)
        except BaseException as error:
            if not is_about_content(error):
                raise
            if len(columns) > 1:
                for name, column in columns.items():
                    yield from self._found_in({name: column}, container)
                return
            for name, column in columns.items():
                self.bytes_inspected -= _bytes_of(column)
                self._take_failure(container, f"the column {self._safe_name(name)}", error)

    def _count(self, size: int) -> None:
        self.bytes_inspected += size
        self._content = self._content_since_part = True

    def _add(self, findings: Iterable[Finding], tallies: Mapping[str, Tally]) -> None:
        self._tallies = merged_tallies([self._tallies, tallies])
        limits = self.finding_limits
        for finding in findings:
            one = finding
            self.is_severe |= one.info_type.sensitivity is Sensitivity.HIGH
            name = one.info_type.name
            if (
                len(self._findings) >= limits.max_findings_per_item
                or self._findings_by_type[name] >= limits.max_findings_per_info_type
            ):
                continue
            self._findings_by_type[name] += 1
            container, column = one.location.container, one.location.column
            safe = self._safe(container), None if column is None else self._safe_name(column)
            if safe != (container, column):
                one = replace(one, location=replace(one.location, container=safe[0], column=safe[1]))
            self._findings.append(one)

    def _add_verdict(self, verdict: ColumnVerdict) -> None:
        key = (verdict.container, verdict.column, verdict.info_type.name)
        known = self._columns.get(key)
        if known is None and len(self._columns) >= _MOST_COLUMNS:
            return
        names = self._safe(verdict.container), self._safe_name(verdict.column)
        safe = (
            verdict
            if names == (verdict.container, verdict.column)
            else replace(verdict, container=names[0], column=names[1])
        )
        self._columns[key] = (
            safe
            if known is None
            else replace(
                safe,
                likelihood=max(known.likelihood, verdict.likelihood),
                # Values that occur in two blocks of rows count twice; this hardly changes the share.
                distinct=known.distinct + verdict.distinct,
                matching=known.matching + verdict.matching,
            )
        )

    def _learn_names(self, found: Sequence[Found]) -> None:
        """Inspect the names that results repeat, all at once: most are harmless."""
        if not isinstance(self.inspector, TablesInspector):
            return
        named = {finding.location.column: None for of in found for finding in of.findings}
        named.update((verdict.column, None) for of in found for verdict in of.columns)
        new = [name for name in named if name is not None and name not in self._names]
        texts = [name.encode(errors="replace") for name in new]
        for name, of in zip(new, self.inspector.inspect_texts(texts), strict=True):
            if not of and len(self._names) < _MOST_NAMES_KNOWN:
                self._names[name] = name

    def _safe(self, container: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self._safe_name(name) for name in container)

    def _safe_name(self, name: str) -> str:
        """A name that may be repeated in results: withheld if it contains a finding."""
        known = self._names.get(name)
        if known is None:
            try:
                found = self.inspector.inspect_text(name.encode(errors="replace"))
                is_finding = any(finding.info_type.name not in _NOT_OF_NAMES for finding in found.findings)
            except BaseException as error:
                if not is_about_content(error):
                    raise
                is_finding = True
            known = f"(name {len(self._names) + 1} withheld)" if is_finding else name
            if len(self._names) < _MOST_NAMES_KNOWN:
                self._names[name] = known
        return known

    def result(self, name: str, size: int | None) -> InspectResult:
        self._inspect_waiting()
        status = Status.INSPECTED
        if self._problems:
            status = Status.PARTIAL if self._content else Status.UNREADABLE
        has_rows = self._rows or self._rows_skipped
        return InspectResult(
            name,
            status,
            reason=_reason(self._problems, self._problems_total),
            findings=tuple(self._findings),
            tallies=self._tallies,
            columns=tuple(self._columns.values()),
            coverage=Coverage(
                bytes_inspected=self.bytes_inspected,
                bytes_total=size,
                rows_inspected=self._rows,
                rows_total=self._rows + self._rows_skipped if has_rows else None,
                parts_inspected=self._parts - self._parts_unread
                if self._content or not self._problems
                else 0,
                parts_total=self._parts,
            ),
            problems=tuple(self._problems),
        )


def _with_cells(piece: ColumnsPiece, count: int) -> ColumnsPiece:
    """A piece of few rows and many columns with cells in place of arrays."""
    if len(piece.columns) < _MANY_COLUMNS or count > MOST_ROWS_OF_CELLS:
        return piece
    columns = list(piece.columns.values())
    if any(isinstance(column, Cells) or len(column) != count or column.type != _TEXT for column in columns):
        return piece
    texts = pa.concat_arrays(columns).to_pylist()
    cells = (cells_of_texts(texts[first : first + count]) for first in range(0, len(texts), count))
    return replace(piece, columns=dict(zip(piece.columns, cells, strict=True)))


def _sizes_of(piece: ColumnsPiece, count: int) -> tuple[int, int]:
    """Bytes of a piece's texts, and about the bytes of memory that it takes."""
    columns = piece.columns.values()
    if isinstance(next(iter(columns)), Cells):
        texts = chain.from_iterable(column.texts for column in columns if isinstance(column, Cells))
        size = len("".join(texts).encode("utf-8", "replace"))
        return size, size + 8 * (count + 1) * len(piece.columns)
    arrays = [column for column in columns if not isinstance(column, Cells)]
    return sum(map(_bytes_of, arrays)), sum(array.nbytes for array in arrays)


def _bytes_of(column: pa.Array) -> int:
    return pc.sum(pc.binary_length(column)).as_py() or 0


def _moved(location: Location, piece: TextPiece) -> Location:
    """Convert a position in a window to a position in the whole text."""
    if not piece.byte_offset and not piece.codepoint_offset:
        return location
    offset = piece.byte_offset or 0
    return replace(
        location,
        byte_range=Range(location.byte_range.start + offset, location.byte_range.end + offset),
        codepoint_range=Range(
            location.codepoint_range.start + piece.codepoint_offset,
            location.codepoint_range.end + piece.codepoint_offset,
        ),
    )


def _own_tallies(found: Found, findings: Iterable[Finding]) -> Mapping[str, Tally]:
    """Tallies without findings that another window reports."""
    if sum(tally.count for tally in found.tallies.values()) > len(found.findings):
        # There are more findings than the inspector lists: those shared by windows are unknown, and few.
        return found.tallies
    return merged_tallies({finding.info_type.name: Tally(1, finding.likelihood)} for finding in findings)


def _reason(problems: Iterable[Problem], total: int) -> str:
    first = next(iter(problems), None)
    if first is None:
        return ""
    where = f"{' > '.join(first.container)}: " if first.container else ""
    more = f" (and {total - 1:,} more)" if total > 1 else ""
    return f"{first.kind}: {where}{first.message}{more}"
