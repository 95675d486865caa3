"""The star schema's tables in Snowflake, copied from the lake's own Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from platform_assets.errors import ParquetError
from platform_assets.snowflake.options import ScriptOptions
from platform_assets.snowflake.refresh import Refresh, refresh

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Table


@dataclass(frozen=True)
class StarCopies:
    """Copies of star tables in one schema of a Snowflake account.

    Args:
        lake: The lake that has the star tables.
        connect: Opens a connection with a current warehouse, database and schema for the length of a block.
        options: Where and how the tables are made; see `refresh`. Its `stage_url`, where there is one, is the
            lake's processed zone.
    """

    lake: Lake
    connect: Callable[[], AbstractContextManager[SnowflakeConnection]]
    options: ScriptOptions

    def refresh(self, tables: Sequence[Table]) -> Iterator[tuple[Table, Refresh]]:
        """Bring the copies of these tables up to date, one after the other.

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
                yield (
                    table,
                    refresh(
                        self.lake.star(table).uri,
                        self.options_of(table),
                        connection,
                        name=table.name,
                        storage_options=self.lake.storage_options,
                    ),
                )

    def options_of(self, table: Table) -> ScriptOptions:
        """The options of one table, whose files Snowflake finds below the zone."""
        if self.options.stage_url is None:
            return self.options
        # Where the policy changes columns, it is not the star table's own folder.
        folder = self.lake.star(table).uri.removeprefix(self.lake.processed).strip("/")
        return replace(self.options, stage_url=f"{self.options.stage_url.rstrip('/')}/{folder}")
