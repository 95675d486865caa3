"""The content of each layer and how old it may be, as every room offers it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class TableHoldings:
    """The content of one table of a layer.

    Args:
        layer: A source's name, `star` or `warehouse`: the first part of the asset key.
        table: Name of the table.
        rows: Rows it has; for source tables those of the source, not their versions.
        batch: The last batch in it, 0 where there is none.
        as_of: When that batch's snapshot of the source was taken, UTC.
        dead_letters: Row versions that were set apart, for source tables.
    """

    layer: str
    table: str
    rows: int
    batch: int
    as_of: dt.datetime | None
    dead_letters: int = 0


@runtime_checkable
class HasHoldings(Protocol):
    """A room with a layer of tables."""

    def holdings(self) -> Sequence[TableHoldings]:
        """Return the content of the layer's tables; tables that do not exist yet have no rows.

        Raises:
            PlatformError: The layer cannot be read.
        """
        ...


@runtime_checkable
class HasFreshnessLimits(Protocol):
    """A room with assets that have to be kept fresh."""

    def freshness_limits(self) -> Mapping[tuple[str, ...], dt.timedelta]:
        """Return the maximum age of each asset, by the path of its key."""
        ...


@runtime_checkable
class HasProblems(Protocol):
    """A room some parts of whose configuration can be broken while the rest works."""

    def problems(self) -> Sequence[str]:
        """Return one line for each mistake that disables a part of the room; empty if all works."""
        ...


@runtime_checkable
class HasFolders(Protocol):
    """A room with folders that users expect before the first run."""

    def create_folders(self) -> None:
        """Create the folders.

        Raises:
            PlatformError: A folder cannot be created.
        """
        ...
