"""Tables of the lake in Snowflake, copied from the lake's own Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from platform_assets.errors import ParquetError
from platform_assets.model.table import Time
from platform_assets.snowflake.options import ScriptOptions
from platform_assets.snowflake.refresh import Refresh, refresh

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Table


@dataclass(frozen=True)
class LakeCopies:
    """Copies of the lake's tables in one schema of a Snowflake account.

    Args:
        lake: The lake.
        connect: Opens a connection with a current warehouse, database and schema for the length of a block.
        options: Where and how the tables are made; see `refresh`. Its `stage_url`, where there is one, is the
            lake's processed zone.
    """

    lake: Lake
    connect: Callable[[], AbstractContextManager[SnowflakeConnection]]
    options: ScriptOptions

    def refresh_star(self, tables: Sequence[Table]) -> Iterator[tuple[Table, Refresh]]:
        """Bring the copies of star tables up to date, one after the other.

        Raises:
            ParquetError: The lake lacks one of the tables, or it cannot be loaded as asked.
            WarehouseError: Snowflake cannot be reached.
        """
        missing = [table.name for table in tables if self.lake.star(table).open() is None]
        if missing:
            raise ParquetError(
                f"The lake has no star table {', '.join(missing)} yet; materialize star/{missing[0]} first."
            )
        with self.connect() as connection:
            for table in tables:
                # Where the policy changes columns, it is not the star table's own folder.
                yield table, self._refresh(self.lake.star(table), table.name, connection)

    def refresh(self, table: LakeTable, name: str) -> Refresh:
        """Bring the copy of one table up to date.

        Args:
            table: A Delta table in the lake's processed zone, all of whose rows count.
            name: The copy's name.

        Raises:
            ParquetError: It cannot be loaded as asked.
            WarehouseError: Snowflake cannot be reached.
        """
        with self.connect() as connection:
            return self._refresh(table, name, connection)

    def _refresh(self, table: LakeTable, name: str, connection: SnowflakeConnection) -> Refresh:
        return refresh(
            table.uri,
            self._options_of(table, name),
            connection,
            name=name,
            storage_options=self.lake.storage_options,
        )

    def _options_of(self, table: LakeTable, name: str) -> ScriptOptions:
        """The options of one table, whose files Snowflake finds below the zone."""
        # The lake has no type for times of day, and holds them as text.
        times = {f"{name}.{one.name}": "TIME(6)" for one in table.columns if isinstance(one.type, Time)}
        options = replace(self.options, columns={**self.options.columns, **times})
        if options.stage_url is None:
            return options
        folder = table.uri.removeprefix(self.lake.processed).strip("/")
        return replace(options, stage_url=f"{options.stage_url.rstrip('/')}/{folder}")
