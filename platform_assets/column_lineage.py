"""Declarations by which a room tells how the columns of its tables come about.

The room `lineage` derives the graph from them. It knows no other room, and the others do not know it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

from platform_assets.model.table import Column

OWNERS = ("team:data-platform",)
"""The owners of what names no others."""
ROWS = "*"
"""Stands for the rows of a table as a whole: which rows there are, and in what order."""

PLATFORM_CONSTANTS = {
    "_change": "Found by the extraction: whether the row is new, changed or gone",
    "_batch": "Number of the extraction",
    "_seen_at": "Time of the extraction's snapshot",
}
"""Reasons why the platform's own columns of a source table have no source."""


class EdgeKind(StrEnum):
    """The kinds of edges between columns, in OpenLineage's terms."""

    DIRECT = "DIRECT"
    """The target's value is made from the source's value."""
    INDIRECT = "INDIRECT"
    """The source decides whether, where or which of several values appears."""


class Subtype(StrEnum):
    """The use of the source column by the target, in OpenLineage's terms."""

    IDENTITY = "IDENTITY"
    TRANSFORMATION = "TRANSFORMATION"
    AGGREGATION = "AGGREGATION"
    FILTER = "FILTER"
    JOIN = "JOIN"
    GROUP_BY = "GROUP_BY"
    SORT = "SORT"
    WINDOW = "WINDOW"
    CONDITIONAL = "CONDITIONAL"

    @property
    def kind(self) -> EdgeKind:
        """DIRECT for identity, transformation and aggregation; INDIRECT for the others."""
        return EdgeKind.DIRECT if self in _DIRECT else EdgeKind.INDIRECT


_DIRECT = frozenset({Subtype.IDENTITY, Subtype.TRANSFORMATION, Subtype.AGGREGATION})


class ColumnRef(NamedTuple):
    """A column of a table.

    Attributes:
        asset: Path of the table's asset key; of a table outside the platform, its path in the graph.
        column: Name of the column, or `ROWS`.
    """

    asset: tuple[str, ...]
    column: str

    def __str__(self) -> str:
        return f"{'/'.join(self.asset)}.{self.column}"


@dataclass(frozen=True)
class StatedEdge:
    """An edge that a room or a user states, because no SQL shows it.

    Args:
        source: The column that is read.
        column: The column of the declared table that is made from it; `ROWS` for all of its rows.
        subtype: What happens to the value.
        masking: Whether the value can no longer be told from the result.
    """

    source: ColumnRef
    column: str
    subtype: Subtype = Subtype.IDENTITY
    masking: bool = False


@dataclass(frozen=True)
class LineageQuery:
    """The query that makes a table's rows.

    Args:
        sql: One SELECT.
        tables: Paths of the tables that it reads, by the names that it uses for them, such as
            `totesys.staff` or `dim_staff`.
        dialect: The SQL's dialect, as sqlglot names it.
        file: Path of the file that holds the SQL, from the root of the project; empty if it is in no file.
        is_model: Whether SQL whose lineage cannot be derived is refused; if not, the table's lineage is
            unknown, and the graph says why.
        plain: Names in `tables` that show a table without the platform's own columns, which start with `_`.
    """

    sql: str
    tables: Mapping[str, tuple[str, ...]]
    dialect: str = "duckdb"
    file: str = ""
    is_model: bool = False
    plain: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeclaredTable:
    """A table, and how its columns come about.

    A column takes its edges from `query`, `copy_of` and `edges` together. A column without any has to be in
    `constants`.

    Args:
        asset: Path of its asset key, or a path of its own for a table outside the platform.
        columns: Its columns in order; without columns, it has those of its query or of the table it copies.
        copy_of: The table whose columns of the same names it has.
        is_plain: Whether a copy leaves out the platform's own columns, which start with `_`.
        query: The query that makes it.
        edges: Edges that are stated.
        constants: Reasons why columns have no source, by column.
        group: Asset group; empty for a table outside the platform.
        owners: Its owners.
        description: A sentence about it.
        is_asset: Whether it is an asset; if not, it is a table outside the platform, such as a source's.
        kind: What it is, for messages: table, view, delivery, file.
        checks: Names of its checks, each with the columns that it looks at; `ROWS` for all.
        unknown: Why the lineage of its columns is not known; empty if it is.
    """

    asset: tuple[str, ...]
    columns: tuple[Column, ...] = ()
    copy_of: tuple[str, ...] | None = None
    is_plain: bool = False
    query: LineageQuery | None = None
    edges: tuple[StatedEdge, ...] = ()
    constants: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    owners: tuple[str, ...] = OWNERS
    description: str = ""
    is_asset: bool = True
    kind: str = "table"
    checks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: str = ""


@runtime_checkable
class DeclaresLineage(Protocol):
    """A room that makes tables."""

    def declared_tables(self) -> Iterable[DeclaredTable]:
        """Return the room's tables; no server is queried and no table is read."""
        ...
