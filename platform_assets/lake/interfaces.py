"""Interfaces by which rooms offer their tables to rooms that do not know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import duckdb

    from platform_assets.lake.delta import LakeTable
    from platform_assets.model.table import Table


@runtime_checkable
class HasSourceTables(Protocol):
    """A room that reads sources into the lake."""

    def source_tables(self) -> Mapping[str, Sequence[Table]]:
        """Return the tables of each source; no server is queried."""
        ...


@runtime_checkable
class HasStarTables(Protocol):
    """A room that builds a star schema in the lake."""

    def star_tables(self) -> Sequence[Table]:
        """Return the declarations of its facts and dimensions."""
        ...


@runtime_checkable
class HasLakeTables(Protocol):
    """A room whose Delta tables hold business data, so that their columns are inspected."""

    def lake_paths(self) -> Sequence[tuple[str, ...]]:
        """Return the paths of the tables' asset keys; imports nothing that reads tables."""
        ...

    def lake_tables(self) -> Mapping[tuple[str, ...], LakeTable]:
        """Return the tables by the path of their asset key."""
        ...


@dataclass(frozen=True)
class CurrentTable:
    """A table as it counts at one moment: latest values, without deleted rows and unfinished loads.

    Attributes:
        version: Changes when the rows change, and only then; the same rows in other files have the same.
        columns: Names of its columns in order, without the platform's own.
        create_view: Creates a view of it, of this name, in a DuckDB connection. The view has the platform's
            own columns too.
    """

    version: str
    columns: tuple[str, ...]
    create_view: Callable[[duckdb.DuckDBPyConnection, str], object]


@runtime_checkable
class HasCurrentTables(Protocol):
    """A room with tables in the lake that can be queried."""

    def current_paths(self) -> Sequence[tuple[str, ...]]:
        """Return the paths of the tables' asset keys; imports nothing that reads tables."""
        ...

    def current_table(self, path: tuple[str, ...]) -> CurrentTable:
        """Return one of these tables as it counts now.

        Raises:
            PlatformError: It cannot be read, or was not made yet.
        """
        ...
