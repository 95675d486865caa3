"""A query of a warehouse, in the warehouse's own SQL."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from platform_assets.delivery.interfaces import Bytes, DeliveryError, Rows
from platform_assets.warehouse.interface import Warehouse


@dataclass(frozen=True)
class WarehouseSource:
    """Rows of a warehouse, streamed.

    Args:
        name: Name for the rows.
        warehouse: The warehouse.
        query: The query.
        reads: Names of the star tables that the query reads; none if they are not known.
    """

    name: str
    warehouse: Warehouse
    query: str
    reads: tuple[str, ...] = ()

    def version(self) -> str | None:
        """See `DataSource.version`; None if it is not known which tables the query reads."""
        if not self.reads:
            return None
        statuses = {status.table: status for status in self.warehouse.status()}
        if missing := [name for name in self.reads if name not in statuses]:
            raise DeliveryError(
                f"The warehouse has no table {', '.join(missing)} that {self.name} reads. Load it first: "
                "platform-assets run."
            )
        versions = [
            (name, statuses[name].last_batch, statuses[name].row_count) for name in sorted(self.reads)
        ]
        return hashlib.sha256(json.dumps([versions, self.query]).encode()).hexdigest()[:16]

    @contextlib.contextmanager
    def open(self) -> Iterator[Iterator[Rows | Bytes]]:
        """See `DataSource.open`; a DuckDB warehouse is locked for loads until the rows were read."""
        with self.warehouse.query(self.query) as rows:
            yield iter([Rows(self.name, rows)])
