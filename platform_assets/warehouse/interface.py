"""What every warehouse engine does, and the values it answers with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Table

STAR_SCHEMA = "star"
"""Schema that holds the star tables and their views."""


@dataclass(frozen=True)
class Load:
    """What a load did to one table.

    Args:
        after: The last batch the table held before.
        batch: The last batch it holds now.
        rows_written: Rows inserted or replaced.
        row_count: Rows it has now.
        stopped: Why the table was left as it was, with the numbers before all 0; empty where it was not.
    """

    after: int
    batch: int
    rows_written: int
    row_count: int
    stopped: str = ""


@dataclass(frozen=True)
class TableStatus:
    """What a warehouse table holds.

    Args:
        table: Name of the table.
        row_count: Number of rows.
        last_batch: The last batch that any of its rows belongs to, 0 where the table is empty.
        seen_at: When that batch's snapshot of the source was taken, UTC; None where the table is empty.
        loaded_at: When it was last loaded, UTC.
        lake_version: Version of the lake's table that it was loaded from; -1 where that is not known.
    """

    table: str
    row_count: int
    last_batch: int
    seen_at: dt.datetime | None
    loaded_at: dt.datetime | None
    lake_version: int = -1


class Warehouse(Protocol):
    """A database that holds the star schema."""

    def load(self, lake: Lake, tables: Sequence[Table]) -> dict[str, Load]:
        """Load what these star tables have taken in since the last load, in one transaction with its record.

        Dimensions that a table's foreign keys point to are loaded with it. A repeat does nothing. A table
        that fails, for whatever reason, is left as it was, and the others are loaded in a transaction each.

        Args:
            lake: The lake to load from.
            tables: Star tables.

        Returns:
            What happened to each table that was asked for.

        Raises:
            WarehouseBusy: Another process held the warehouse for too long.
            WarehouseError: The warehouse refuses the load of every table; nothing of it is visible.
        """

    def query(self, sql: str) -> AbstractContextManager[pa.RecordBatchReader]:
        """Run a query that only reads, and stream its result as Arrow.

        Raises:
            WarehouseBusy: A load held the warehouse for too long.
            WarehouseError: There is nothing to query yet, or the query is wrong.
        """

    def read(
        self, name: Sequence[str], columns: Sequence[str] | None = None
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Stream a table or a view as Arrow, whatever it is called.

        Args:
            name: Schema and relation.
            columns: Names of the columns to read; all where None.

        Raises:
            WarehouseBusy: A load held the warehouse for too long.
            WarehouseError: There is no such relation or column.
        """

    def write(self, name: Sequence[str], rows: pa.RecordBatchReader) -> int:
        """Replace a table that is not part of the star schema, in one transaction.

        Args:
            name: Schema and table.
            rows: Its content.

        Returns:
            The number of rows written.
        """

    def sample(self, tables: Sequence[Table], limit: int) -> dict[str, list[dict[str, Any]]]:
        """A few of the newest rows of each star table, for people to look at; none before the first load."""

    def status(self) -> list[TableStatus]:
        """What the star tables hold; empty before the first load."""
