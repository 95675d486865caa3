"""Interface of all warehouse engines, and the values that it returns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Table

STAR_SCHEMA = "star"
"""Schema that holds the star tables and their views."""


@dataclass(frozen=True)
class Load:
    """Result of a load for one table.

    Args:
        after: The last batch in the table before the load.
        batch: The last batch in the table now.
        rows_written: Number of rows inserted or replaced.
        row_count: Number of rows in the table now.
        stopped: Reason why the table was skipped, with all other fields 0; empty if it was not skipped.
    """

    after: int
    batch: int
    rows_written: int
    row_count: int
    stopped: str = ""


@dataclass(frozen=True)
class TableStatus:
    """State of a warehouse table.

    Args:
        table: Name of the table.
        row_count: Number of rows.
        last_batch: The last batch of any row, 0 if the table is empty.
        seen_at: Time of that batch's snapshot of the source, UTC; None if the table is empty.
        loaded_at: Time of the last load, UTC.
        lake_version: Version of the lake's table that was loaded; -1 if it is unknown.
        table_id: Identity of the lake's table that was loaded; empty if it is unknown.
    """

    table: str
    row_count: int
    last_batch: int
    seen_at: dt.datetime | None
    loaded_at: dt.datetime | None
    lake_version: int = -1
    table_id: str = ""


@dataclass(frozen=True)
class BoundSql:
    """A query whose values travel beside its text, so that no value is ever read as SQL.

    Args:
        parts: The text between the values: one part more than there are names.
        names: The name of the value after each part but the last; a name may occur repeatedly.
        values: The values by name.
    """

    parts: tuple[str, ...]
    names: tuple[str, ...] = ()
    values: Mapping[str, object] = field(default_factory=dict)

    def text(self, placeholder: Callable[[int], str]) -> str:
        """Return the query with placeholders instead of values.

        Args:
            placeholder: Returns the placeholder of a value by its number, from 1; each name has one number.
        """
        numbers = {name: number for number, name in enumerate(self.values, 1)}
        marks = [placeholder(numbers[name]) for name in self.names]
        return "".join(piece for pair in zip(self.parts, [*marks, ""], strict=True) for piece in pair)


def bound(sql: str | BoundSql) -> BoundSql:
    """Return a query as one with values; plain SQL has none."""
    return sql if isinstance(sql, BoundSql) else BoundSql((sql,))


class Warehouse(Protocol):
    """A database that holds the star schema."""

    def load(self, lake: Lake, tables: Sequence[Table], again: Collection[str] = ()) -> dict[str, Load]:
        """Load the new rows of these star tables, in one transaction with the record of the load.

        Dimensions that a table's foreign keys reference are loaded with it. A repeated load does nothing. If
        any table fails, it keeps its last loaded data, and the other tables are loaded in a transaction each.

        Args:
            lake: The lake to load from.
            tables: Star tables.
            again: Names of tables of which all rows are loaded again, because the warehouse has lost some.

        Returns:
            The result for each requested table.

        Raises:
            WarehouseBusy: Another process held the warehouse for too long.
            WarehouseError: The warehouse rejects the load of every table; no part of it is visible.
        """

    def query(
        self, sql: str | BoundSql, *, timeout: float | None = None
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Run a read-only query, and stream its result as Arrow.

        Args:
            sql: The query in the engine's own dialect, with or without values.
            timeout: Seconds after which the query is given up; None for the engine's own limit.

        Raises:
            WarehouseBusy: A load held the warehouse for too long.
            WarehouseError: The warehouse does not exist yet, or the query is invalid.
        """

    def read(
        self, name: Sequence[str], columns: Sequence[str] | None = None
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Stream a table or a view with any name as Arrow.

        Args:
            name: Schema and relation.
            columns: Names of the columns to read; None for all columns.

        Raises:
            WarehouseBusy: A load held the warehouse for too long.
            WarehouseError: The relation or a column does not exist.
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
        """Return a few of the newest rows of each star table as a preview; none before the first load."""

    def stored_format(self) -> int | None:
        """Return the format version of the record of loads, whatever it is; None before the first load."""

    def store_format(self, version: int) -> None:
        """Store the format version of the record of loads, at the end of a step of an upgrade."""

    def status(self) -> list[TableStatus]:
        """Return the state of the star tables that exist; empty before the first load."""

    def batch_counts(self, table: Table) -> dict[int, int]:
        """Return the number of rows of each batch in a star table.

        Raises:
            WarehouseError: The table does not exist, or cannot be read.
        """
