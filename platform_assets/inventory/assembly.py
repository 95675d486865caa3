"""The StackQL server and the inventories, from the settings."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING

from platform_assets import stored
from platform_assets.column_lineage import DeclaredTable
from platform_assets.errors import StackqlError
from platform_assets.inventory.settings import InventoriesSettings
from platform_assets.lake.assembly import LakeRoom
from platform_assets.rooms import Assembly
from platform_assets.status import TableHoldings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platform_assets.inventory.history import InventoryHistory, Look
    from platform_assets.inventory.stackql import StackqlServer
    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.interfaces import CurrentTable, KeptTable

INVENTORY = "inventory"
"""Group of the inventories, and the first part of their asset keys."""


class InventoryRoom(Assembly[InventoriesSettings]):
    """The StackQL server, and what runs in the cloud by its answers."""

    settings_class = InventoriesSettings

    @property
    def names(self) -> list[str]:
        """The names of the inventories."""
        return list(self.settings.inventory.queries)

    def description(self, name: str) -> str:
        """Return a sentence about an inventory."""
        return self.settings.inventory.queries[name].description or f"What the StackQL query {name} lists."

    def server(self, address: str | None = None, protocol: str | None = None) -> StackqlServer:
        """Return the StackQL server, without connecting to it.

        Args:
            address: Another address than the configured one, as `parse_address` takes it.
            protocol: Another form of the protocol than the configured one.

        Raises:
            StackqlError: The address cannot be read.
        """
        from platform_assets.inventory.stackql import StackqlServer, parse_address

        given = self.settings.stackql
        server = StackqlServer(
            given.host,
            given.port,
            given.database,
            given.user,
            given.password.resolve if given.password is not None else None,
            given.sslmode,
            _path(given.sslrootcert),
            _path(given.sslcert),
            _path(given.sslkey),
            given.connect_timeout,
            given.statement_timeout,
            given.protocol,
        )
        if address is not None:
            server = parse_address(address, server)
        return dataclasses.replace(server, protocol=protocol) if protocol is not None else server  # type: ignore[arg-type]

    def history(self, name: str) -> InventoryHistory:
        """Return the history of an inventory."""
        from platform_assets.inventory.history import HISTORY_COLUMNS, InventoryHistory

        return InventoryHistory(
            name, self.rooms.of(LakeRoom).processed_table(HISTORY_COLUMNS, stored.INVENTORY, INVENTORY, name)
        )

    def look(self, name: str) -> Look:
        """Run an inventory's query, and record what has changed since the last look.

        Raises:
            StackqlError: The server cannot be asked, or did not answer completely; nothing is recorded then.
            LakeError: The history cannot be read or written.
        """
        given = self.settings.inventory.queries[name]
        seen_at = dt.datetime.now(dt.UTC)
        result = self.server().run(given.query, timeout=given.timeout)
        if result.failures:
            # A provider that did not answer has no rows, and all that it has would count as deleted.
            raise StackqlError(
                f"The inventory {name} is incomplete, and was not recorded: {' '.join(result.failures)[:500]}"
            )
        if not result.answer.columns:
            raise StackqlError(
                f"The query of the inventory {name} returned no columns: {' '.join(result.messages)[:500]}. "
                "Write a query that lists rows."
            )
        return self.history(name).record(result.table(), given.key, seen_at)

    def lake_paths(self) -> list[tuple[str, ...]]:
        """See `HasLakeTables.lake_paths`."""
        return [(INVENTORY, name) for name in self.names]

    def lake_tables(self) -> dict[tuple[str, ...], LakeTable]:
        """See `HasLakeTables.lake_tables`."""
        return {path: self.history(path[1]).table for path in self.lake_paths()}

    def current_paths(self) -> list[tuple[str, ...]]:
        """See `HasCurrentTables.current_paths`."""
        return self.lake_paths()

    def current_table(self, path: tuple[str, ...]) -> CurrentTable:
        """See `HasCurrentTables.current_table`."""
        return self.history(path[1]).current()

    def delta_tables(self) -> Iterator[KeptTable]:
        """See `HasDeltaTables.delta_tables`: the history of each inventory."""
        for name in self.names:
            yield self.history(name).kept()

    def freshness_limits(self) -> dict[tuple[str, ...], dt.timedelta]:
        """See `HasFreshnessLimits.freshness_limits`."""
        within = dt.timedelta(minutes=self.settings.inventory.within)
        return dict.fromkeys(self.lake_paths(), within)

    def holdings(self) -> list[TableHoldings]:
        """See `HasHoldings.holdings`; the batch is the number of the last look that saw a change."""
        found = {name: self.history(name).size() for name in self.names}
        return [TableHoldings(INVENTORY, name, *size) for name, size in found.items()]

    def declared_tables(self) -> Iterator[DeclaredTable]:
        """See `DeclaresLineage.declared_tables`."""
        for path in self.lake_paths():
            yield DeclaredTable(
                path,
                group=INVENTORY,
                description=self.description(path[1]),
                unknown="Its columns come from a cloud provider, through StackQL.",
            )


ROOM = InventoryRoom


def _path(given: object) -> str | None:
    return str(given) if given is not None else None
