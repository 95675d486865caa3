"""Construction of the graph from what the rooms declare."""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from platform_assets.column_lineage import (
    ROWS,
    ColumnRef,
    DeclaredTable,
    EdgeKind,
    LineageQuery,
    Subtype,
)
from platform_assets.errors import LineageError
from platform_assets.isolation import is_isolated, reason_of
from platform_assets.lineage.derivation import Derived, UnknownLineage, derive
from platform_assets.lineage.flows import Flow, Passage
from platform_assets.lineage.graph import Edge, Graph, GraphColumn, GraphTable
from platform_assets.lineage.masking import Hiding
from platform_assets.model.dialects import type_name

_LONGEST_EXPRESSION = 80


def build_graph(declared: Iterable[DeclaredTable], masking: Iterable[str] = ()) -> Graph:
    """Build the graph of all declared tables.

    Args:
        declared: The tables; of two with one path, the first counts.
        masking: Names of further SQL functions whose result hides their arguments.

    Raises:
        LineageError: The lineage of model SQL cannot be derived, a table states an edge from a column that
            does not exist, or tables are copies of each other. The message lists all mistakes.
    """
    tables: dict[tuple[str, ...], DeclaredTable] = {}
    for table in declared:
        tables.setdefault(table.asset, table)
    return _Construction(tables, frozenset(name.upper() for name in masking)).graph()


class _Construction:
    def __init__(self, declared: Mapping[tuple[str, ...], DeclaredTable], masking: frozenset[str]) -> None:
        self._declared = declared
        self._masking = masking
        self._made: dict[tuple[str, ...], GraphTable] = {}
        self._mistakes: list[str] = []
        self._edges: list[Edge] = []

    def graph(self) -> Graph:
        """Return the graph."""
        for asset in self._in_order():
            self._add(self._declared[asset])
        self._check_sources()
        if self._mistakes:
            listed = "\n  ".join(self._mistakes)
            raise LineageError(f"The lineage of columns cannot be derived:\n  {listed}")
        # As declared: users see tables in the order of the rooms.
        return Graph((self._made[asset] for asset in self._declared), self._edges)

    def _in_order(self) -> Sequence[tuple[str, ...]]:
        """Return the tables, each after those whose columns have to be known first."""
        needs = {
            asset: [read for read in _read_by(table) if read in self._declared and read != asset]
            for asset, table in self._declared.items()
        }
        try:
            return tuple(graphlib.TopologicalSorter(needs).static_order())
        except graphlib.CycleError as error:
            names = ", ".join("/".join(path) for path in error.args[1])
            raise LineageError(
                f"The tables {names} are declared as copies or queries of each other. Correct one of them."
            ) from None

    def _add(self, table: DeclaredTable) -> None:
        unknown = table.unknown
        derived: Derived | None = None
        if table.query is not None and not unknown:
            found = self._derived(table, table.query)
            if isinstance(found, str):
                unknown = found
            else:
                derived = found
        columns = self._columns(table, derived)
        if not columns and not unknown:
            unknown = self._unknown_columns(table)
        query = table.query
        self._made[table.asset] = GraphTable(
            table.asset,
            tuple(columns),
            query.sql if query else None,
            query.dialect if query else "",
            query.file if query else "",
            table.owners if table.is_asset else (),
            table.group,
            table.description,
            table.is_asset,
            table.kind,
            unknown,
            dict(table.checks),
            {name: path for name, path in query.tables.items() if path in self._declared} if query else {},
            tuple(sorted(query.plain)) if query else (),
        )
        if not unknown:
            names = {column.name: column.name for column in columns}
            self._edges += self._edges_of(table, derived, names)

    def _derived(self, table: DeclaredTable, query: LineageQuery) -> Derived | str:
        """Return the lineage of a table's query, or the reason why there is none."""

        def columns_of(name: str) -> Sequence[str]:
            path = query.tables[name]
            made = self._made.get(path)
            if made is None or not made.columns:
                raise UnknownLineage(f"it reads {'/'.join(path)}, whose columns are not declared")
            names = [column.name for column in made.columns]
            return [name for name in names if not name.startswith("_")] if name in query.plain else names

        try:
            return derive(query, columns_of, self._masking)
        except UnknownLineage as error:
            reason = f"its SQL cannot be followed: {error}"
        except Exception as error:
            # An error of the parser that nobody foresaw concerns this query only.
            if not is_isolated(error):
                raise
            reason = f"its SQL cannot be followed: {reason_of(error)}"
        if query.is_model:
            place = query.file or "/".join(table.asset)
            self._mistakes.append(f"{place}: {reason.removeprefix('its SQL cannot be followed: ')}.")
        return reason

    def _columns(self, table: DeclaredTable, derived: Derived | None) -> list[GraphColumn]:
        source = self._made.get(table.copy_of) if table.copy_of is not None else None
        places = {name.casefold(): place for name, place in (derived.places if derived else {}).items()}
        if table.columns:
            return [
                GraphColumn(
                    column.name,
                    type_name(column.type),
                    column.description,
                    table.constants.get(column.name, ""),
                    expression=places.get(column.name.casefold()),
                    accepted=column.accepted,
                    is_iso_date=column.iso_date,
                )
                for column in table.columns
            ]
        if source is not None:
            return [
                replace(column, constant=table.constants.get(column.name, ""), tags={}, expression=None)
                for column in source.columns
                if not (table.is_plain and column.name.startswith("_"))
            ]
        if derived is None:
            return []
        return [self._derived_column(table, derived, name) for name in derived.columns]

    def _derived_column(self, table: DeclaredTable, derived: Derived, name: str) -> GraphColumn:
        """Return a column that only the query declares; taken over as it is, it has the source's type."""
        flows, place = derived.columns[name], derived.places.get(name)
        values = [flow for flow in flows if flow.subtype.kind is EdgeKind.DIRECT]
        taken = values[0] if len(values) == 1 and values[0].subtype is Subtype.IDENTITY else None
        of = self._made[taken.source.asset].column(taken.source.column) if taken is not None else None
        constant = table.constants.get(name, "")
        if not flows and not constant and table.query is not None:
            expression = table.query.sql[slice(*place)] if place else table.query.sql
            constant = f"No column is read by {' '.join(expression.split())[:_LONGEST_EXPRESSION]}"
        taken_over = GraphColumn(name) if of is None else replace(of, name=name, tags={})
        return replace(taken_over, constant=constant, expression=place)

    def _unknown_columns(self, table: DeclaredTable) -> str:
        if table.copy_of is None:
            return "its columns are not declared"
        return f"it has the columns of {'/'.join(table.copy_of)}, which are not declared"

    def _edges_of(
        self, table: DeclaredTable, derived: Derived | None, names: Mapping[str, str]
    ) -> Iterator[Edge]:
        if table.copy_of is not None and (source := self._made.get(table.copy_of)) is not None:
            for column in source.columns:
                if column.name in names:
                    yield Edge(
                        ColumnRef(source.asset, column.name),
                        ColumnRef(table.asset, column.name),
                        Subtype.IDENTITY,
                    )
        for stated in table.edges:
            target = ColumnRef(table.asset, stated.column)
            # What a declaration calls masking ends the trail of what is sensitive: its author knows.
            yield Edge(stated.source, target, stated.subtype, stated.masking, removing=stated.masking)
        if derived is not None:
            yield from self._derived_edges(table, derived, names)

    def _derived_edges(
        self, table: DeclaredTable, derived: Derived, names: Mapping[str, str]
    ) -> Iterator[Edge]:
        folded = {name.casefold(): name for name in names}
        for name, flows in derived.columns.items():
            target = names.get(name) or folded.get(name.casefold())
            if target is None:
                continue
            for flow, passage in flows.items():
                yield _edge(flow, ColumnRef(table.asset, target), passage)
        given = {name.casefold() for name in derived.columns}
        missing = [name for name in names if name.casefold() not in given]
        if missing and table.query is not None and table.query.is_model:
            place = table.query.file or "/".join(table.asset)
            self._mistakes.append(
                f"{place}: its SELECT has no column {', '.join(missing)}, which the table declares."
            )
        for flow, passage in derived.rows.items():
            yield _edge(flow, ColumnRef(table.asset, ROWS), passage)

    def _check_sources(self) -> None:
        """Note edges from or to columns that do not exist; they are stated, because no SQL can have them."""
        kept = []
        known = {
            asset: {ROWS, *(column.name for column in table.columns)} for asset, table in self._made.items()
        }
        for edge in self._edges:
            missing = [
                ref for ref in (edge.source, edge.target) if ref.column not in known.get(ref.asset, ())
            ]
            if not missing:
                kept.append(edge)
            elif (of := self._made.get(missing[0].asset)) is None or not of.unknown:
                self._mistakes.append(
                    f"{'/'.join(edge.target.asset)}: its declared lineage names {missing[0]}, which does not "
                    "exist. Correct the name in the declaration."
                )
        self._edges = kept


def _read_by(table: DeclaredTable) -> Iterator[tuple[str, ...]]:
    if table.copy_of is not None:
        yield table.copy_of
    if table.query is not None:
        yield from table.query.tables.values()


def _edge(flow: Flow, target: ColumnRef, passage: Passage) -> Edge:
    return Edge(
        flow.source,
        target,
        flow.subtype,
        passage.hiding > Hiding.NOTHING,
        passage.span,
        removing=passage.hiding is Hiding.ALL,
    )


def without_lineage(graph: Graph) -> list[ColumnRef]:
    """Return the columns without a source that are not declared constants, of tables with known lineage."""
    return [
        ColumnRef(table.asset, column.name)
        for table in graph.tables.values()
        if not table.unknown
        for column in table.columns
        if not column.constant and not graph.into(ColumnRef(table.asset, column.name))
    ]
