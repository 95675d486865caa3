"""The star schema in the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.interfaces import KeptTable
from platform_assets.model.totesys.star import STAR
from platform_assets.rooms import Assembly
from platform_assets.status import TableHoldings

if TYPE_CHECKING:
    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.interfaces import CurrentTable
    from platform_assets.model.star_model import StarModel
    from platform_assets.model.table import Table


class StarRoom(Assembly[None]):
    """The tables of the star schema."""

    @property
    def model(self) -> StarModel:
        """The star schema that this platform builds: that of Totesys."""
        return STAR

    def star_tables(self) -> tuple[Table, ...]:
        """See `HasStarTables.star_tables`."""
        return self.model.tables

    def lake_paths(self) -> list[tuple[str, ...]]:
        """See `HasLakeTables.lake_paths`."""
        return [("star", table.name) for table in self.model.tables]

    def lake_tables(self) -> dict[tuple[str, ...], LakeTable]:
        """See `HasLakeTables.lake_tables`."""
        lake = self.rooms.of(LakeRoom).lake
        return {("star", table.name): lake.star(table) for table in self.model.tables}

    def current_paths(self) -> list[tuple[str, ...]]:
        """See `HasCurrentTables.current_paths`."""
        return self.lake_paths()

    def current_table(self, path: tuple[str, ...]) -> CurrentTable:
        """See `HasCurrentTables.current_table`."""
        from platform_assets.lake.lake import current_star_table
        from platform_assets.model.star_model import STREAM

        return current_star_table(self.rooms.of(LakeRoom).lake, self.model.table(path[1]), STREAM)

    def delta_tables(self) -> list[KeptTable]:
        """See `HasDeltaTables.delta_tables`."""
        return [
            KeptTable("/".join(path), table, is_loaded_elsewhere=True)
            for path, table in self.lake_tables().items()
        ]

    def holdings(self) -> list[TableHoldings]:
        """Return the content of the tables.

        Raises:
            LakeError: The lake cannot be read.
        """
        state = self.rooms.of(LakeRoom).lake.ledger.read()
        found = []
        for (layer, name), table in self.lake_tables().items():
            handle = table.open()
            batch = table.last_batch(handle)
            found.append(TableHoldings(layer, name, table.row_count(handle), batch, state.seen_at(batch)))
        return found


ROOM = StarRoom
