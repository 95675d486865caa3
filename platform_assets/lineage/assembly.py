"""The graph of columns, derived from what the rooms declare, or taken from the cache."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from platform_assets.column_lineage import DeclaresLineage
from platform_assets.lineage.settings import LineageSettings
from platform_assets.rooms import Assembly

if TYPE_CHECKING:
    from platform_assets.column_lineage import DeclaredTable
    from platform_assets.lineage.graph import Graph


class LineageRoom(Assembly[LineageSettings]):
    """The lineage of columns."""

    settings_class = LineageSettings

    @cached_property
    def graph(self) -> Graph:
        """The graph of the columns of all tables.

        Raises:
            LineageError: The lineage of model SQL cannot be derived.
        """
        from platform_assets.lineage.cache import cached_graph

        folder = self.platform.state_dir / "lineage"
        return cached_graph(folder, self.declared(), self.settings.lineage.masking)

    def declared(self) -> list[DeclaredTable]:
        """Return the tables that the rooms declare."""
        return [table for room in self.rooms.offering(DeclaresLineage) for table in room.declared_tables()]


ROOM = LineageRoom
