"""Protection of sensitive data on its way out of the lake: its interface, and the one that does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.lake.lake import Lake


class Protection(Protocol):
    """Changes or holds back what is loaded into warehouses or delivered."""

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

    def rules_for(self, place: str, columns: Sequence[str]) -> Sequence[str]:
        """Return what is done with the columns of a place: places with equal results need equal rows.

        Args:
            place: As in `applied`.
            columns: Names of the columns; an empty name stands for the place itself.
        """
        ...

    def concerns_file(self, name: str, place: str) -> bool:
        """Return True if a file has to be inspected before it may be delivered.

        Args:
            name: Name of the file.
            place: As in `applied`.
        """
        ...

    def check_file(self, file: BinaryIO, name: str, size: int | None, place: str) -> None:
        """Inspect a file on its way out; files are not changed.

        Args:
            file: The file, from its start.
            name: Its name.
            size: Its size in bytes, if known.
            place: As in `applied`.

        Raises:
            PlatformError: The file may not be delivered.
        """
        ...


@runtime_checkable
class HasProtection(Protocol):
    """A room that protects what leaves the lake."""

    def protection(self) -> Protection:
        """Return the protection; nothing is read yet."""
        ...


class NoProtection:
    """Lets everything pass; used where no room inspects data."""

    def lake_for(self, lake: Lake, warehouse: str, run_id: str = "") -> Lake:
        """See `Protection.lake_for`."""
        return lake

    def applied(self, rows: pa.RecordBatchReader, place: str) -> pa.RecordBatchReader:
        """See `Protection.applied`."""
        return rows

    def rules_for(self, place: str, columns: Sequence[str]) -> Sequence[str]:
        """See `Protection.rules_for`."""
        return ()

    def concerns_file(self, name: str, place: str) -> bool:
        """See `Protection.concerns_file`."""
        return False

    def check_file(self, file: BinaryIO, name: str, size: int | None, place: str) -> None:
        """See `Protection.check_file`."""
