"""Verifies that a warehouse has the same row counts as the lake's star tables at the time of loading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from platform_assets.lake.races import Patience, attempts

if TYPE_CHECKING:
    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Table
    from platform_assets.warehouse.interface import TableStatus, Warehouse

_PATIENCE = Patience(idle_tries=0)


@dataclass
class WarehouseVerifier:
    """Comparison of row counts; the warehouse is queried once for all tables, and again after other loads.

    Args:
        lake: The lake.
        warehouse: The warehouse.
    """

    lake: Lake
    warehouse: Warehouse
    _loaded: Mapping[str, TableStatus] = field(default_factory=dict)

    def row_counts(self, table: Table) -> tuple[int, int]:
        """Return a star table's row counts in the lake, at the loaded version, and in the warehouse."""
        self._loaded = self._loaded or self._look()
        counts = self._counts(table)
        for _ in attempts(self._look, patience=_PATIENCE) if counts[0] != counts[1] else ():
            # Another run may have loaded the table between reading its records and counting its rows.
            self._loaded = self._look()
            counts = self._counts(table)
            if counts[0] == counts[1]:
                break
        return counts

    def _look(self) -> dict[str, TableStatus]:
        return {status.table: status for status in self.warehouse.status()}

    def _counts(self, table: Table) -> tuple[int, int]:
        source, loaded = self.lake.star(table), self._loaded.get(table.name)
        handle = source.open()
        if loaded is not None and handle is not None and 0 <= loaded.lake_version < handle.version():
            # Another run has added rows to the lake since then, and is loading them.
            handle.load_as_version(loaded.lake_version)
        return source.row_count(handle), loaded.row_count if loaded else 0
