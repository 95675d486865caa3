"""Verifies that a warehouse has the rows of the lake's star tables as they were at the time of loading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from platform_assets.lake.delta import table_identity
from platform_assets.lake.races import Patience, attempts

if TYPE_CHECKING:
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Table
    from platform_assets.warehouse.interface import TableStatus, Warehouse

_PATIENCE = Patience(idle_tries=0)
_MOST_SHOWN = 10


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
        handle = source.look()
        if loaded is not None and handle is not None and 0 <= loaded.lake_version < handle.version():
            # Another run has added rows to the lake since then, and is loading them.
            handle = source.open()
            if handle is not None:
                handle.load_as_version(loaded.lake_version)
        return source.row_count(handle), loaded.row_count if loaded else 0


@dataclass(frozen=True)
class LostRows:
    """Rows that a warehouse table lacks, or has too many of, compared with what was loaded.

    Attributes:
        rows: Number of rows that are missing, or too many.
        batches: Their batches, the oldest first.
        reason: What is wrong, as a sentence without its subject, the table.
    """

    rows: int
    batches: Sequence[int]
    reason: str


def lost_rows(
    lake: Lake, warehouse: Warehouse, engine: SqlEngine, table: Table, status: TableStatus | None
) -> LostRows | None:
    """Compare the rows of each batch in a warehouse table with those of the version that was loaded.

    Args:
        lake: The lake, as the warehouse sees it.
        warehouse: The warehouse.
        engine: Memory and threads for counting.
        table: The star table.
        status: The state of the warehouse's table; None if it does not exist.

    Returns:
        The difference; None if there is none.
    """
    source = lake.star(table)
    handle = source.open()
    if handle is None:
        return None
    if status is None:
        rows = source.row_count(handle)
        return LostRows(rows, (), "does not exist, and all its rows are missing") if rows else None
    if status.table_id == table_identity(handle) and status.lake_version > handle.version():
        return LostRows(0, (), "is ahead of the star, which has lost its newest commits")
    if status.table_id != table_identity(handle):
        return LostRows(0, (), "holds rows of an earlier build of the star table")
    if 0 <= status.lake_version < handle.version():
        handle = source.open_at(status.lake_version)
        if handle is None:
            return None
    with engine.connect() as connection:
        source.create_view(connection, ["loaded"], handle)
        expected = dict(connection.sql("SELECT _batch, count(*) FROM loaded GROUP BY _batch").fetchall())
    found = warehouse.batch_counts(table)
    missing = {
        batch: count - found.get(batch, 0) for batch, count in expected.items() if count > found.get(batch, 0)
    }
    surplus = {
        batch: count - expected.get(batch, 0)
        for batch, count in found.items()
        if count > expected.get(batch, 0)
    }
    if not missing and not surplus:
        return None
    differences = [
        f"{what} {sum(counts.values()):,} rows ({numbers_in_words(sorted(counts))})"
        for what, counts in (("lacks", missing), ("has too many:", surplus))
        if counts
    ]
    return LostRows(
        sum(missing.values()) + sum(surplus.values()), sorted({*missing, *surplus}), " and ".join(differences)
    )


def numbers_in_words(batches: Sequence[int]) -> str:
    """Return some of the batches for a message."""
    shown = ", ".join(map(str, batches[:_MOST_SHOWN]))
    more = len(batches) - _MOST_SHOWN
    return f"batch{'' if len(batches) == 1 else 'es'} {shown}{f' and {more:,} more' if more > 0 else ''}"
