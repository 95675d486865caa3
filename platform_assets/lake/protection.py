"""Protection of sensitive data on its way to warehouses: its interface, and the one that does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.lake.lake import Lake


class Protection(Protocol):
    """Changes or holds back what is loaded into warehouses."""

    def lake_for(self, lake: Lake, warehouse: str, run_id: str = "") -> Lake:
        """Return the lake as a warehouse may see it.

        Args:
            lake: The lake.
            warehouse: Name of the warehouse.
            run_id: The run that loads, for the records.
        """
        ...

    def applied(self, rows: pa.RecordBatchReader, place: str) -> pa.RecordBatchReader:
        """Return rows of a table outside the star schema as a warehouse may see them.

        Args:
            rows: The rows.
            place: The table's asset key, joined by `/`.

        Raises:
            PlatformError: The rows may not be loaded.
        """
        ...


class NoProtection:
    """Lets everything pass; used where no room inspects data."""

    def lake_for(self, lake: Lake, warehouse: str, run_id: str = "") -> Lake:
        """See `Protection.lake_for`."""
        return lake

    def applied(self, rows: pa.RecordBatchReader, place: str) -> pa.RecordBatchReader:
        """See `Protection.applied`."""
        return rows
