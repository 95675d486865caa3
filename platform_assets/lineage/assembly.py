"""The graph of columns, derived from what the rooms declare, or taken from the cache."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from platform_assets.column_lineage import DeclaresLineage
from platform_assets.lineage.settings import LineageSettings
from platform_assets.rooms import Assembly

if TYPE_CHECKING:
    from collections.abc import Sequence

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

        declared = self.declared()
        own = self._own(declared)
        # While the code location is being loaded, its own assets are not known: two graphs, two caches.
        folder = self.platform.state_dir / "lineage" / ("own" if own else "")
        return cached_graph(folder, [*declared, *own], self.settings.lineage.masking)

    def declared(self) -> list[DeclaredTable]:
        """Return the tables that the rooms declare."""
        return [table for room in self.rooms.offering(DeclaresLineage) for table in room.declared_tables()]

    def _own(self, declared: Sequence[DeclaredTable]) -> list[DeclaredTable]:
        """Return users' own assets in the code location.

        Args:
            declared: The tables that the rooms declare.

        Raises:
            LineageError: A declaration has mistakes.
        """
        from platform_assets.lineage.modules import has_own_assets

        if not has_own_assets(self.settings.lineage.definitions):
            return []
        from platform_assets.lineage.dagster_facts import own_tables

        return own_tables(self.settings.lineage.definitions, {table.asset for table in declared})


ROOM = LineageRoom
