"""Classification carried along the graph: from sensitive columns to all that is made from them.

A mark travels along direct edges. It ends where an expression, or the policy on the way into a warehouse,
removes the information. Nothing here reads data.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from platform_assets.classification import Mark, Origin
from platform_assets.column_lineage import ROWS, ColumnRef, Subtype
from platform_assets.lineage.graph import Edge, Graph

_LIKELIHOODS = ("VERY_UNLIKELY", "UNLIKELY", "POSSIBLE", "LIKELY", "VERY_LIKELY")
_MOST_NAMES = 3
Removal = Callable[[ColumnRef, str, str], bool]
"""Tells of a column, an info type and a likelihood whether the policy removes it on the way there."""


@dataclass(frozen=True)
class Trail:
    """A mark of a column, and the way on which it came.

    Args:
        mark: The mark.
        edges: The edges from the marked column where the trail begins; none where it begins here.
    """

    mark: Mark
    edges: tuple[Edge, ...] = ()

    @property
    def start(self) -> ColumnRef:
        """The column where the trail begins."""
        return self.edges[0].source if self.edges else self.mark.column


@dataclass(frozen=True)
class Classified:
    """All marks of a graph.

    Args:
        trails: The marks that columns have, each with its way.
        stopped: Marks that the policy removes on the way into their column.
    """

    trails: tuple[Trail, ...]
    stopped: tuple[Trail, ...] = ()

    @property
    def marks(self) -> list[Mark]:
        """The marks that columns have."""
        return [trail.mark for trail in self.trails]


@dataclass(frozen=True)
class Contradiction:
    """A finding that the lineage cannot explain: a leak, a wrong edge, or a wrong verdict.

    Args:
        mark: What was found.
        reason: What the lineage says about the column.
    """

    mark: Mark
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.mark.column} holds {self.mark.info_type} ({self.mark.likelihood}), but {self.reason}. "
            "Data leaks into it, its lineage is wrong, or the finding is."
        )


def classify(graph: Graph, given: Iterable[Mark], removes: Removal | None = None) -> Classified:
    """Carry marks along the direct edges of a graph.

    Args:
        graph: The graph.
        given: Marks that were found or declared; of one column and info type the first counts.
        removes: Tells where the policy removes an info type; without it, it does so nowhere.
    """
    of_types: dict[str, dict[ColumnRef, Mark]] = {}
    for mark in given:
        of_types.setdefault(mark.info_type, {}).setdefault(mark.column, mark)
    trails: list[Trail] = []
    stopped: list[Trail] = []
    for _, marks in sorted(of_types.items()):
        carried = _Carrying(graph, marks, removes or (lambda *_: False))
        trails += carried.trails.values()
        stopped += (trail for ref, trail in carried.stopped.items() if ref not in carried.trails)
    return Classified(tuple(trails), tuple(stopped))


def at_the_source(graph: Graph, given: Iterable[Mark]) -> list[Mark]:
    """Return marks, and those of the columns outside the platform that marked columns are copies of.

    The copy of a database's column holds what the database's column holds.

    Args:
        graph: The graph.
        given: Marks that were found or declared.
    """
    marks: list[Mark] = []
    for mark in given:
        for edge in graph.into(mark.column):
            table = graph.table(edge.source.asset)
            if edge.subtype is Subtype.IDENTITY and table is not None and not table.is_asset:
                marks.append(replace(mark, column=edge.source))
        marks.append(mark)
    return marks


class _Carrying:
    """Carries the marks of one info type.

    Attributes:
        trails: The marks by column.
        stopped: The marks that ended on the way into a column.
    """

    def __init__(self, graph: Graph, given: dict[ColumnRef, Mark], removes: Removal) -> None:
        self._graph, self._given, self._removes = graph, given, functools.cache(removes)
        self._kinds = {(mark.info_type, mark.likelihood) for mark in given.values()}
        self.trails: dict[ColumnRef, Trail] = {}
        self.stopped: dict[ColumnRef, Trail] = {}
        below = self._below()
        # First from where the information begins, so that what was found further down has its way from there.
        # What remains begins where nothing sensitive comes from, or in a circle.
        first = [ref for ref in given if ref not in below]
        self._carry(first)
        for ref in given:
            if ref not in self.trails:
                self._carry([ref])

    def _below(self) -> set[ColumnRef]:
        """Return the marked columns that the marks of others reach."""
        found: set[ColumnRef] = set()
        waiting = deque(self._given)
        while waiting:
            for edge in self._passing(waiting.popleft()):
                if edge.target not in found and not self._is_removed(edge.target):
                    found.add(edge.target)
                    waiting.append(edge.target)
        return found

    def _is_removed(self, ref: ColumnRef) -> bool:
        return any(self._removes(ref, *kind) for kind in self._kinds)

    def _carry(self, starts: Sequence[ColumnRef]) -> None:
        # The most likely first: of two ways into a column, the mark that counts more is carried.
        ordered = sorted(starts, key=lambda ref: -_LIKELIHOODS.index(self._given[ref].likelihood))
        for start in ordered:
            self.trails.setdefault(start, Trail(self._given[start]))
        for start in ordered:
            begin = self._given[start]
            waiting = deque([start])
            while waiting:
                at = waiting.popleft()
                for edge in self._passing(at):
                    ref = edge.target
                    if ref in self.trails:
                        continue
                    edges = (*self.trails[at].edges, edge)
                    derived = Mark(ref, begin.info_type, begin.likelihood, Origin.DERIVED, edges[0].source)
                    if self._removes(ref, begin.info_type, begin.likelihood):
                        self.stopped.setdefault(ref, Trail(derived, edges))
                        continue
                    self.trails[ref] = Trail(self._given.get(ref, derived), edges)
                    waiting.append(ref)

    def _passing(self, ref: ColumnRef) -> Iterable[Edge]:
        for edge in self._graph.out_of(ref):
            if edge.is_direct and not edge.removing and edge.target.column != ROWS:
                yield edge


def contradictions(
    graph: Graph, classified: Classified, inspected: frozenset[tuple[str, ...]]
) -> list[Contradiction]:
    """Return what was found in columns into which nothing sensitive flows.

    A column that is made from columns which were not inspected yet is left out: what flows into it is not
    known.

    Args:
        graph: The graph.
        classified: Its marks.
        inspected: The tables whose columns have been inspected.
    """
    sensitive = {trail.mark.column for trail in classified.trails}
    found = []
    for trail in classified.trails:
        column = trail.mark.column
        table = graph.table(column.asset)
        if trail.mark.origin is not Origin.FOUND or trail.edges or table is None or table.unknown:
            continue
        known = table.column(column.column)
        # Outside the platform, and where no SQL makes it, a column without a source is where data begins.
        constant = known.constant if known is not None and table.sql is not None else ""
        reason = _unexplained(graph, column, constant, sensitive, inspected)
        if reason:
            found.append(Contradiction(trail.mark, reason))
    return found


def _unexplained(
    graph: Graph,
    column: ColumnRef,
    constant: str,
    sensitive: set[ColumnRef],
    inspected: frozenset[tuple[str, ...]],
) -> str:
    """Return why a finding cannot come from the sources of its column; empty if it can, or is not known."""
    if not _direct(graph, column):
        if constant:
            return f"it is declared to have no source ({constant})"
        return "no value flows into it, only decisions" if graph.into(column) else ""
    above, removed = _above(graph, column, lambda ref: True)
    if above & sensitive:
        return ""
    # What is above an inspected table needs no inspection of its own.
    unknown, _ = _above(graph, column, lambda ref: ref.asset not in inspected)
    if any(ref.asset not in inspected and not _direct(graph, ref) for ref in unknown):
        return ""
    if above:
        nearest = {edge.source for edge in _direct(graph, column)} & above
        return f"nothing sensitive is known in what it is made from ({_listed(nearest)})"
    return f"the expression that makes it from {_listed(removed)} removes such information"


def _above(
    graph: Graph, column: ColumnRef, goes_on: Callable[[ColumnRef], bool]
) -> tuple[set[ColumnRef], set[ColumnRef]]:
    """Return the columns that a column is made from, and those of which the information is removed."""
    seen: set[ColumnRef] = set()
    removed: set[ColumnRef] = set()
    waiting = [column]
    while waiting:
        ref = waiting.pop()
        for edge in _direct(graph, ref) if ref == column or goes_on(ref) else ():
            if edge.removing:
                removed.add(edge.source)
            elif edge.source not in seen:
                seen.add(edge.source)
                waiting.append(edge.source)
    return seen, removed


def _direct(graph: Graph, column: ColumnRef) -> list[Edge]:
    return [edge for edge in graph.into(column) if edge.is_direct]


def _listed(columns: Iterable[ColumnRef]) -> str:
    names = sorted(map(str, columns))
    return ", ".join(names[:_MOST_NAMES]) + (" and others" if len(names) > _MOST_NAMES else "")
