"""Copies of lake tables in Snowflake, loaded from the lake's own Parquet files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from platform_assets.errors import ParquetError
from platform_assets.isolation import IsolatedFailure, Isolation, failure_of
from platform_assets.lake.interfaces import VersionInUse
from platform_assets.model.table import Time
from platform_assets.snowflake.options import ScriptOptions
from platform_assets.snowflake.refresh import (
    RECORD,
    Refresh,
    held_versions,
    refresh,
    store_format,
    stored_format,
)
from platform_assets.stored import SNOWFLAKE_LOADS, Stored

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
        connect: Opens a connection with a current warehouse, database and schema, as a context manager.
        options: Names, types and stage of the tables; see `refresh`. `stage_url`, if set, is the lake's
            processed zone.
    """

    lake: Lake
    connect: Callable[[], AbstractContextManager[SnowflakeConnection]]
    options: ScriptOptions

    def refresh_star(self, tables: Sequence[Table], failing: Isolation) -> Iterator[tuple[Table, Refresh]]:
        """Update the copies of star tables, one after another.

        Args:
            tables: The tables.
            failing: Records tables that fail; a failed table stays unchanged, and the others go on.

        Raises:
            WarehouseError: Snowflake cannot be reached.
        """
        with contextlib.ExitStack() as stack:
            connection: SnowflakeConnection | None = None
            for table in tables:
                if connection is None:
                    connection = stack.enter_context(self.connect())
                done: Refresh | None = None
                with failing.guard(table.name):
                    # Not the star table's own folder if the policy changes columns.
                    source = self.lake.star(table)
                    if source.open() is None:
                        raise ParquetError(
                            f"The lake does not have it yet; materialize star/{table.name} first."
                        )
                    done = self._refresh(source, table.name, connection)
                if done is None:
                    # The state of the session after a failure is unknown.
                    connection = None
                    failure_of(stack.close)
                elif done.result.error is not None:
                    failing.record(table.name, IsolatedFailure(done.result.error, retryable=True))
                else:
                    yield table, done

    def versions_in_use(self) -> list[VersionInUse]:
        """Return the versions of the lake's tables that the copies hold.

        Raises:
            WarehouseError: Snowflake cannot be reached.
        """
        with self.connect() as connection:
            held = held_versions(connection, self.options)
        return [VersionInUse(delta, version, "a copy in Snowflake") for delta, version in held]

    def stored(self) -> Stored:
        """Return the record of the copies, for upgrades and reports."""

        def version() -> int | None:
            with self.connect() as connection:
                return stored_format(connection, self.options)

        def stamp(version: int) -> None:
            with self.connect() as connection:
                store_format(connection, self.options, version)

        return Stored(SNOWFLAKE_LOADS, self.options.qualified(RECORD), version, stamp, self)

    def refresh(self, table: LakeTable, name: str) -> Refresh:
        """Bring the copy of one table up to date.

        Args:
            table: A Delta table in the lake's processed zone; every row in its files is valid.
            name: The copy's name.

        Raises:
            ParquetError: The table cannot be loaded as asked.
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
        """The options of one table; Snowflake reads its files below the zone."""
        # The lake has no type for times of day and stores them as text.
        times = {
            f"{name}.{column.name}": "TIME(6)" for column in table.columns if isinstance(column.type, Time)
        }
        options = replace(self.options, columns={**self.options.columns, **times})
        if options.stage_url is None:
            return options
        folder = table.uri.removeprefix(self.lake.processed).strip("/")
        return replace(options, stage_url=f"{options.stage_url.rstrip('/')}/{folder}")
