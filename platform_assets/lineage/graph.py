"""The graph of columns: tables, edges between their columns, walks along them, and its JSON.

Nothing here derives edges, and nothing here shows them.
"""

from __future__ import annotations

import difflib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from platform_assets.column_lineage import ROWS, ColumnRef, EdgeKind, Subtype
from platform_assets.errors import LineageError

_FORMAT = 1
_NEAREST = 5


@dataclass(frozen=True)
class GraphColumn:
    """A column of a table in the graph.

    Args:
        name: Its name.
        type: Display name of its type; empty if it is not known.
        description: One line about it.
        constant: Why it has no source; empty if it has sources.
        tags: Its tags, such as `platform_assets/info_type` -> `EMAIL_ADDRESS`.
        expression: Start and end of its expression in the table's SQL, in characters; None without.
        accepted: The only values that it may have, where they are limited to a list.
        is_iso_date: Whether it is text that holds dates.
    """

    name: str
    type: str = ""
    description: str = ""
    constant: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    expression: tuple[int, int] | None = None
    accepted: tuple[str, ...] = ()
    is_iso_date: bool = False


@dataclass(frozen=True)
class GraphTable:
    """A table in the graph.

    Args:
        asset: Path of its asset key; for a table outside the platform, its path in the graph.
        columns: Its columns in order.
        sql: The SQL that makes it; None without.
        dialect: The SQL's dialect, as sqlglot names it.
        file: Path of the file that holds the SQL, from the root of the project; empty if it is in no file.
        owners: Its owners.
        group: Its asset group; empty for a table outside the platform.
        description: A sentence about it.
        is_asset: Whether it is an asset of the code location.
        kind: What it is: table, view, delivery, file.
        unknown: Why the lineage of its columns is not known; empty if it is.
        checks: Names of its checks, each with the columns that it looks at; `ROWS` for all.
        reads: Paths of the tables that its SQL can read, by the names that it uses for them.
        plain: Names in `reads` that show a table without the platform's own columns.
    """

    asset: tuple[str, ...]
    columns: tuple[GraphColumn, ...]
    sql: str | None = None
    dialect: str = ""
    file: str = ""
    owners: tuple[str, ...] = ()
    group: str = ""
    description: str = ""
    is_asset: bool = True
    kind: str = "table"
    unknown: str = ""
    checks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    plain: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The asset key as users write it, such as `star/dim_staff`."""
        return "/".join(self.asset)

    def column(self, name: str) -> GraphColumn | None:
        """Return the column of this name; None if there is none."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True)
class Edge:
    """A source column and a target column that depends on it.

    Args:
        source: The column that is read.
        target: The column that depends on it; its name is `ROWS` where the source decides about whole rows
            of the target, as in a filter.
        subtype: What happens to the value.
        masking: Whether the source's value can no longer be seen in the target's, as in a hash.
        expression: Start and end of the expression in the target table's SQL, in characters; None without.
        proved: Whether an experiment has shown it: True, or False if none did; None if none was made.
        removing: Whether nothing about a single value of the source is left in the target's, as in a count;
            then what is sensitive in the source is not in the target. Such an edge is masking too.
    """

    source: ColumnRef
    target: ColumnRef
    subtype: Subtype
    masking: bool = False
    expression: tuple[int, int] | None = None
    proved: bool | None = None
    removing: bool = False

    @property
    def kind(self) -> EdgeKind:
        """DIRECT or INDIRECT."""
        return self.subtype.kind

    @property
    def is_direct(self) -> bool:
        """True if the target's value is made from the source's value."""
        return self.subtype.kind is EdgeKind.DIRECT


@dataclass(frozen=True, slots=True)
class Step:
    """An edge on a walk.

    Args:
        edge: The edge.
        depth: Number of edges from the start of the walk, 1 for the first.
    """

    edge: Edge
    depth: int


class Graph:
    """Tables, and the edges between their columns.

    Args:
        tables: The tables; those of edges must be among them.
        edges: The edges; repetitions are dropped.
    """

    def __init__(self, tables: Iterable[GraphTable], edges: Iterable[Edge]) -> None:
        self.tables = {table.asset: table for table in tables}
        self.edges = tuple(dict.fromkeys(edges))
        self._into: dict[ColumnRef, list[Edge]] = {}
        self._out_of: dict[ColumnRef, list[Edge]] = {}
        for edge in self.edges:
            self._into.setdefault(edge.target, []).append(edge)
            self._out_of.setdefault(edge.source, []).append(edge)

    def table(self, asset: Sequence[str]) -> GraphTable | None:
        """Return a table by its path; None if there is none."""
        return self.tables.get(tuple(asset))

    def columns(self) -> Iterator[ColumnRef]:
        """Yield the columns of all tables."""
        for table in self.tables.values():
            for column in table.columns:
                yield ColumnRef(table.asset, column.name)

    def into(self, column: ColumnRef) -> Sequence[Edge]:
        """Return the edges whose target is this column, without those into the table's rows."""
        return self._into.get(column, ())

    def into_table(self, asset: tuple[str, ...]) -> Iterator[Edge]:
        """Yield the edges into a table: those of its columns in their order, then those of its rows."""
        for column in self.tables[asset].columns:
            yield from self.into(ColumnRef(asset, column.name))
        yield from self.into(ColumnRef(asset, ROWS))

    def out_of(self, column: ColumnRef) -> Sequence[Edge]:
        """Return the edges whose source is this column."""
        return self._out_of.get(column, ())

    def up(self, column: ColumnRef, *, indirect: bool = True) -> list[Step]:
        """Return all edges that a column depends on, nearest first.

        Args:
            column: The column.
            indirect: Also list indirect edges into the columns on the way and into the rows of their tables.
                The walk goes on from direct edges only.
        """

        def around(ref: ColumnRef) -> Iterable[Edge]:
            yield from self.into(ref)
            if indirect:
                yield from self.into(ColumnRef(ref.asset, ROWS))

        return self._walk(column, around, lambda edge: edge.source, indirect)

    def down(self, column: ColumnRef, *, indirect: bool = True) -> list[Step]:
        """Return all edges that depend on a column, nearest first.

        Args:
            column: The column.
            indirect: Also list indirect edges. The walk goes on from direct edges only.
        """
        return self._walk(column, self.out_of, lambda edge: edge.target, indirect)

    def _walk(
        self,
        start: ColumnRef,
        around: Callable[[ColumnRef], Iterable[Edge]],
        further: Callable[[Edge], ColumnRef],
        indirect: bool,
    ) -> list[Step]:
        steps: list[Step] = []
        seen_edges: set[Edge] = set()
        depths = {start: 0}
        waiting = deque([start])
        while waiting:
            ref = waiting.popleft()
            for edge in around(ref):
                if edge in seen_edges or not (indirect or edge.is_direct):
                    continue
                seen_edges.add(edge)
                steps.append(Step(edge, depths[ref] + 1))
                following = further(edge)
                if edge.is_direct and following not in depths:
                    depths[following] = depths[ref] + 1
                    waiting.append(following)
        return steps

    def find(self, text: str) -> ColumnRef:
        """Return the column that a user means, written as `star/fact_sales_order.units_sold`.

        The first parts of the path may be left out where only one table has such a name. Case does not count
        where only one column fits.

        Raises:
            LineageError: There is none, or there are several; the message has the nearest names.
        """
        path, _, name = text.strip().rpartition(".")
        wanted = tuple(part for part in path.split("/") if part)
        exact = ColumnRef(wanted, name)
        if (table := self.tables.get(wanted)) is not None and table.column(name) is not None:
            return exact
        names = {str(ref): ref for ref in self.columns()}
        folded = text.strip().casefold()
        fits = [
            ref
            for shown, ref in names.items()
            if shown.casefold() == folded or shown.casefold().endswith(f"/{folded}")
        ]
        if len(fits) == 1:
            return fits[0]
        if fits:
            listed = ", ".join(str(fit) for fit in fits[:_NEAREST])
            raise LineageError(f"{text} is the name of {len(fits)} columns: {listed}. Write the whole path.")
        if table is not None:
            columns = [column.name for column in table.columns]
            near = difflib.get_close_matches(name, columns, _NEAREST, 0.4) or columns[:_NEAREST]
            raise LineageError(f"{table.name} has no column {name}. The nearest are: {', '.join(near)}.")
        near = difflib.get_close_matches(text, names, _NEAREST, 0.5)
        near = near or [shown for shown in names if name and shown.endswith(f".{name}")][:_NEAREST]
        hint = f" The nearest are: {', '.join(near)}." if near else ""
        raise LineageError(
            f"There is no column {text}. Write a column as star/fact_sales_order.units_sold.{hint}"
        )

    def with_proof(self, observed: Mapping[tuple[ColumnRef, ColumnRef], bool]) -> Graph:
        """Return the graph in which edges say whether an experiment has shown them.

        Args:
            observed: Whether a change of the source changed the target, by source and target.
        """
        edges = (
            replace(edge, proved=observed[edge.source, edge.target])
            if (edge.source, edge.target) in observed
            else edge
            for edge in self.edges
        )
        return Graph(self.tables.values(), edges)

    def to_json(self) -> str:
        """Return the whole graph as compact JSON; see `from_json`."""
        places = {asset: number for number, asset in enumerate(self.tables)}
        columns = {
            asset: {column.name: number for number, column in enumerate(table.columns)} | {ROWS: -1}
            for asset, table in self.tables.items()
        }
        subtypes = list(Subtype)

        def place(ref: ColumnRef) -> list[int]:
            return [places[ref.asset], columns[ref.asset][ref.column]]

        return json.dumps(
            {
                "format": _FORMAT,
                "subtypes": [str(subtype) for subtype in subtypes],
                "tables": [_table_json(table) for table in self.tables.values()],
                # Source table and column, target table and column (-1: its rows), subtype, masking (2: also
                # removing), start and end of the expression (-1: none), proved (null: not tried).
                "edges": [
                    [
                        *place(edge.source),
                        *place(edge.target),
                        subtypes.index(edge.subtype),
                        2 if edge.removing else int(edge.masking),
                        *(edge.expression or (-1, -1)),
                        edge.proved,
                    ]
                    for edge in self.edges
                ],
            },
            separators=(",", ":"),
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Return the graph that `to_json` has written.

        Raises:
            ValueError: The text is something else.
        """
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']} of a lineage graph is not {_FORMAT}")
            tables = [_table_of(table) for table in content["tables"]]
            subtypes = [Subtype(subtype) for subtype in content["subtypes"]]
            # The rows of a table come last, so that -1 is their place.
            refs = [
                [
                    *(ColumnRef(table.asset, column.name) for column in table.columns),
                    ColumnRef(table.asset, ROWS),
                ]
                for table in tables
            ]
            edges = [
                Edge(
                    refs[source][column],
                    refs[target][into],
                    subtypes[subtype],
                    bool(masking),
                    None if start < 0 else (start, end),
                    proved,
                    masking == 2,
                )
                for source, column, target, into, subtype, masking, start, end, proved in content["edges"]
            ]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"not the JSON of a lineage graph: {error!r}") from error
        return cls(tables, edges)


_TABLE_DEFAULTS: Mapping[str, Any] = {
    "sql": None,
    "dialect": "",
    "file": "",
    "owners": (),
    "group": "",
    "description": "",
    "is_asset": True,
    "kind": "table",
    "unknown": "",
    "checks": {},
    "reads": {},
    "plain": (),
}
_COLUMN_FIELDS = ("type", "description", "constant", "tags", "expression", "accepted", "is_iso_date")


def _table_json(table: GraphTable) -> dict[str, Any]:
    """Return a table as JSON, without fields that have their default."""
    return {
        "asset": table.asset,
        "columns": [
            {
                "name": column.name,
                **{key: getattr(column, key) for key in _COLUMN_FIELDS if getattr(column, key)},
            }
            for column in table.columns
        ],
        **{
            key: getattr(table, key)
            for key, default in _TABLE_DEFAULTS.items()
            if getattr(table, key) != default
        },
    }


def _table_of(content: Mapping[str, Any]) -> GraphTable:
    fields = {**_TABLE_DEFAULTS, **content}
    fields["asset"] = tuple(fields["asset"])
    fields["owners"] = tuple(fields["owners"])
    fields["plain"] = tuple(fields["plain"])
    fields["reads"] = {name: tuple(path) for name, path in fields["reads"].items()}
    fields["checks"] = {name: tuple(columns) for name, columns in fields["checks"].items()}
    fields["columns"] = tuple(map(_column_of, fields["columns"]))
    return GraphTable(**fields)


def _column_of(content: Mapping[str, Any]) -> GraphColumn:
    lists = {key: tuple(value) for key, value in content.items() if type(value) is list}
    return GraphColumn(**{**content, **lists} if lists else content)
