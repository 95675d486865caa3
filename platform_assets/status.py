"""The content of each layer of the platform, and its age."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_assets.model import star

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Table
    from platform_assets.warehouse.interface import Warehouse


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


def holdings(lake: Lake, warehouse: Warehouse, sources: Mapping[str, Sequence[Table]]) -> list[TableHoldings]:
    """Return the content of all tables of all layers; tables that do not exist yet have no rows.

    Args:
        lake: The lake.
        warehouse: The warehouse.
        sources: The tables of each source.

    Raises:
        LakeError: The lake cannot be read.
        WarehouseBusy: A load held the warehouse for too long.
        WarehouseError: The warehouse cannot be read.
    """
    state = lake.ledger.read()
    seen = state.seen_at_by_batch
    found = []
    for source, tables in sources.items():
        for table in tables:
            batch = state.last_batch_of([(source, table.name)])
            found.append(
                TableHoldings(
                    source,
                    table.name,
                    state.row_count(source, table.name),
                    batch,
                    seen.get(batch),
                    state.dead_letters(source, table.name),
                )
            )
    for table in star.TABLES:
        target = lake.star(table)
        handle = target.open()
        batch = target.last_batch(handle)
        found.append(TableHoldings("star", table.name, target.row_count(handle), batch, seen.get(batch)))
    loaded = {status.table: status for status in warehouse.status()}
    for table in star.TABLES:
        status = loaded.get(table.name)
        found.append(
            TableHoldings("warehouse", table.name, status.row_count, status.last_batch, status.seen_at)
            if status
            else TableHoldings("warehouse", table.name, 0, 0, None)
        )
    return found
