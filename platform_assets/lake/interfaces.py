"""Interfaces by which rooms offer their tables to rooms that do not know them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
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
