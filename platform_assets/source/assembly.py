"""The source databases, from the settings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

from platform_assets.column_lineage import DeclaredTable
from platform_assets.diagnosis import Probe, ok
from platform_assets.errors import SettingsError
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.interfaces import CurrentTable, KeptTable, Outdated, SettlesDeadLetters
from platform_assets.rooms import Assembly
from platform_assets.source.interfaces import HasSampleDatabase
from platform_assets.source.settings import (
    CaptureOverrides,
    CaptureSettings,
    DeclaredSourceSettings,
    SourceRoomSettings,
    SourceSettings,
    is_pattern,
    matches,
)
from platform_assets.status import TableHoldings
from platform_assets.stored import CATALOGUE, Stored, json_file

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from platform_assets.configuration.connections import ServerSettings
    from platform_assets.diagnosis import Observation
    from platform_assets.lake.batches import Batches
    from platform_assets.lake.delta import LakeTable
    from platform_assets.model.table import Table
    from platform_assets.source.connection import Connection
    from platform_assets.source.first_load import FirstLoader
    from platform_assets.source.snapshot import SourceDatabase


UNDISCOVERED = "its columns are not in a catalogue; run platform-assets source discover"
"""Why the lineage of a table without columns is unknown."""


def database_path(source: str, table: str) -> tuple[str, ...]:
    """Return the path in the lineage graph of a table in a source's database."""
    return ("database", source, table)


class SourceRoom(Assembly[SourceRoomSettings]):
    """The source databases and their tables."""

    settings_class = SourceRoomSettings

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sources, the one that the model declares first."""
        return self.settings.sources.names

    def tables(self, name: str) -> tuple[Table, ...]:
        """Return the tables of a source from the model or from its catalogue file.

        No server is queried. A table that is configured by name but not in a catalogue has no columns.

        Raises:
            SettingsError: The source is configured by patterns and has no catalogue, its catalogue cannot be
                used, or the configuration has options for a table that the source does not have.
        """
        source = self.settings.sources[name]
        if isinstance(source, DeclaredSourceSettings):
            from platform_assets.model.totesys import source as totesys

            _refuse_unknown_tables(name, source.overrides, totesys.TABLES, "the model declares")
            return totesys.TABLES
        from platform_assets.source.declaration import Catalogue, discover_command, undiscovered

        file = self.catalogue_file(name)
        catalogue = Catalogue.read(file, name)
        patterns = [
            table
            for table in source.tables
            if is_pattern(table) and not (catalogue and table in catalogue.tables)
        ]
        if catalogue is None and patterns:
            raise SettingsError(
                f"Source {name} reads the tables that match {', '.join(patterns)}, but its catalogue "
                f"{file}, which lists them, does not exist. Create it once, and keep it with the "
                f"configuration: {discover_command(name)}."
            )
        known = catalogue.tables if catalogue else {}
        tables = {
            table: known[table].declaration
            for table in known
            if matches(table, source.tables) and not matches(table, source.exclude)
        }
        named = [
            table for table in source.tables if table not in patterns and not matches(table, source.exclude)
        ]
        tables |= {table: undiscovered(table) for table in named if table not in tables}
        found = tuple(tables[table] for table in sorted(tables))
        _refuse_unknown_tables(name, source.overrides, found, "its catalogue has", discover_command(name))
        return found

    def workers_of_first_loads(self) -> FirstLoader | None:
        """Return the workers that read large tables which the lake does not have yet; None without them."""
        from platform_assets.source.first_load import HasFirstLoader

        found = (room.first_loader() for room in self.rooms.offering(HasFirstLoader))
        return next((candidate for candidate in found if candidate is not None), None)

    def readable_tables(self, name: str) -> tuple[Table, ...]:
        """Return the tables of a source by a name that a user gave.

        Raises:
            SettingsError: The source does not exist, or has no tables; also as `tables`.
        """
        if name not in self.names:
            known = ", ".join(self.names)
            raise SettingsError(f"The configuration has no source {name}; it has {known}.")
        tables = self.tables(name)
        if not tables:
            raise SettingsError(f"The catalogue {self.catalogue_file(name)} has no tables to read.")
        return tables

    def source_tables(self) -> dict[str, tuple[Table, ...]]:
        """Return the tables of each source.

        Raises:
            SettingsError: As `tables`.
        """
        return {name: self.tables(name) for name in self.names}

    def declared_tables(self) -> Iterator[DeclaredTable]:
        """See `DeclaresLineage.declared_tables`: the source's tables, and their copies in the lake."""
        from platform_assets.column_lineage import PLATFORM_CONSTANTS, ROWS, ColumnRef, StatedEdge, Subtype
        from platform_assets.lake.rules import row_checks
        from platform_assets.model.table import HASH_COLUMN, PLATFORM_COLUMNS

        for name, tables in self.source_tables().items():
            for table in tables:
                outside, inside = database_path(name, table.name), (name, table.name)
                says = f"Made by the platform's database {name}."
                yield DeclaredTable(
                    outside,
                    table.columns,
                    constants={column.name: says for column in table.columns},
                    description=table.description,
                    is_asset=False,
                    kind="source table",
                    unknown="" if table.columns else UNDISCOVERED,
                )
                key = {"primary_key": table.primary_key} if table.primary_key else {}
                yield DeclaredTable(
                    inside,
                    (*table.columns, *PLATFORM_COLUMNS, HASH_COLUMN) if table.columns else (),
                    copy_of=outside,
                    edges=tuple(
                        StatedEdge(
                            ColumnRef(outside, column.name), HASH_COLUMN.name, Subtype.TRANSFORMATION, True
                        )
                        for column in table.columns
                    ),
                    constants=PLATFORM_CONSTANTS,
                    group=name,
                    description=table.description,
                    checks={
                        "source_schema": (ROWS,),
                        "source_matches_lake": (ROWS,),
                        **key,
                        **row_checks(table),
                    },
                    unknown="" if table.columns else UNDISCOVERED,
                )

    def lake_paths(self) -> list[tuple[str, ...]]:
        """See `HasLakeTables.lake_paths`.

        Raises:
            SettingsError: As `tables`.
        """
        return [(name, table.name) for name, tables in self.source_tables().items() for table in tables]

    def lake_tables(self) -> dict[tuple[str, ...], LakeTable]:
        """Return the bronze tables of all sources, by the path of their asset key.

        Raises:
            SettingsError: As `tables`.
        """
        lake = self.rooms.of(LakeRoom).lake
        return {
            (name, table.name): lake.bronze(name, table)
            for name, tables in self.source_tables().items()
            for table in tables
        }

    def current_paths(self) -> list[tuple[str, ...]]:
        """See `HasCurrentTables.current_paths`; raises as `lake_paths`."""
        return self.lake_paths()

    def current_table(self, path: tuple[str, ...]) -> CurrentTable:
        """See `HasCurrentTables.current_table`."""
        from platform_assets.lake.lake import current_source_table

        [table] = (table for table in self.tables(path[0]) if table.name == path[1])
        return current_source_table(self.rooms.of(LakeRoom).lake, path[0], table)

    def delta_tables(self) -> Iterator[KeptTable]:
        """See `HasDeltaTables.delta_tables`: the bronze tables, and the dead letters of all sources.

        Raises:
            SettingsError: As `tables`.
            LakeError: The ledger cannot be read.
        """
        from platform_assets.source.dead_letters import EMPTIED, mended_before

        lake = self.rooms.of(LakeRoom).lake
        days, tables = self.rooms.of(LakeRoom).retention.dead_letters_days, self.source_tables()
        read = cache(lake.ledger.read)

        def counting(source: str, table: str) -> tuple[int, Batches]:
            return read().last_batch, read().batches_of(source, table)

        def outdated(connection: duckdb.DuckDBPyConnection, now: dt.datetime) -> Outdated | None:
            before = now - dt.timedelta(days=days)
            mended = mended_before(connection, lake, read(), tables, before)
            settled = [
                room.settled_letters(connection, before) for room in self.rooms.offering(SettlesDeadLetters)
            ]
            conditions = [
                condition for condition in (mended.condition if mended else "", *settled) if condition
            ]
            return (
                Outdated(" OR ".join(f"({condition})" for condition in conditions), EMPTIED)
                if conditions
                else None
            )

        for source, listed in tables.items():
            for table in listed:
                batches = partial(counting, source, table.name)
                yield KeptTable(f"{source}/{table.name}", lake.bronze(source, table), whole_batches=batches)
        yield KeptTable(
            "dead_letters",
            lake.dead_letters,
            ("source", "table", "_batch", "key"),
            outdated=outdated,
        )

    def database(self, name: str, tables: Sequence[Table] | None = None) -> SourceDatabase:
        """Return a source; an embedded source is started, and its sample created, at the first connection.

        Args:
            name: Name of the source.
            tables: Tables of the source; None for those of `tables`.

        Raises:
            SettingsError: As `tables`.
        """
        from platform_assets.source.declaration import parse_type
        from platform_assets.source.policy import CapturePolicy
        from platform_assets.source.snapshot import SourceDatabase

        configured = self.settings.sources[name]
        given = configured.connection

        def connect() -> Connection:
            if isinstance(configured, DeclaredSourceSettings) and (configured.embedded or given is None):
                for room in self.rooms.offering(HasSampleDatabase):
                    return room.sample_database(configured.sample.sales, configured.sample.seed)
                raise SettingsError(
                    f"sources.{name} is embedded, and the package platform_assets.sample was removed. Set "
                    f"sources.{name}.embedded to false and give the connection of your database."
                )
            if given is None:
                raise SettingsError(f"sources.{name} has no connection.")
            return build_connection(given, given.db_schema)

        def policy(*options: CaptureSettings | CaptureOverrides) -> CapturePolicy:
            """Merge capture options; the last (innermost) setting wins."""
            merged = {
                key: value
                for option in options
                for key in CaptureOverrides.model_fields
                if (value := getattr(option, key)) is not None
            }
            minutes = merged.get("deletions_every", self.fresh_within(name) / 2)
            return CapturePolicy(
                merged["strategy"],
                merged["column"],
                dt.timedelta(seconds=merged["lag"]),
                merged["small_table_rows"],
                dt.timedelta(minutes=minutes),
            )

        limits = (given.statement_timeout, given.lock_timeout) if given else (3600, 10)
        discovered = configured.overrides if isinstance(configured, SourceSettings) else {}
        return SourceDatabase(
            name,
            tuple(self.tables(name) if tables is None else tables),
            connect,
            *limits,
            connections=configured.connections,
            policy=policy(configured),
            policies={
                table: policy(configured, override) for table, override in configured.overrides.items()
            },
            declared=isinstance(configured, DeclaredSourceSettings),
            keys={table: override.key for table, override in discovered.items() if override.key},
            types={
                table: {column: parse_type(word) for column, word in override.types.items()}
                for table, override in discovered.items()
                if override.types
            },
            encoding=configured.encoding or "",
            encodings={
                table: override.encoding
                for table, override in configured.overrides.items()
                if override.encoding is not None
            },
        )

    def probes(self) -> Iterator[Probe]:
        """See `HasProbes.probes`: a probe for each source."""
        for name in self.names:
            yield Probe(f"source {name}", "connection", partial(self._look_at, name), 60.0)

    def _look_at(self, name: str) -> Iterator[Observation]:
        from platform_assets.source.probes import look_at_source

        configured = self.settings.sources[name]
        if isinstance(configured, DeclaredSourceSettings) and (
            configured.embedded or configured.connection is None
        ):
            states = {room.sample_state() for room in self.rooms.offering(HasSampleDatabase)}
            if "missing" in states:
                yield ok("server", "the embedded database was not made yet; the first run creates it")
                return
            if "stopped" in states:
                yield ok("server", "the embedded database is stopped; the next run starts it")
                return
        tables = [table.name for table in self.tables(name)]
        yield from look_at_source(self.database(name).connect, tables)

    def fresh_within(self, name: str) -> int:
        """Return the freshness limit of a source's tables, in minutes."""
        return self.settings.fresh_within(name, self.platform.freshness)

    def freshness_limits(self) -> dict[tuple[str, ...], dt.timedelta]:
        """Return the maximum age of each table, by the path of its asset key."""
        return {
            (name, table.name): dt.timedelta(minutes=self.fresh_within(name))
            for name, tables in self.source_tables().items()
            for table in tables
        }

    def holdings(self) -> list[TableHoldings]:
        """Return the content of the sources' tables in the lake.

        Raises:
            LakeError: The lake cannot be read.
        """
        state = self.rooms.of(LakeRoom).lake.ledger.read()
        found = []
        for source, tables in self.source_tables().items():
            for table in tables:
                batch = state.last_batch_of([(source, table.name)])
                found.append(
                    TableHoldings(
                        source,
                        table.name,
                        state.row_count(source, table.name),
                        batch,
                        state.seen_at(batch),
                        state.dead_letters(source, table.name),
                    )
                )
        return found

    def stored(self) -> Iterator[Stored]:
        """See `StoresFormats.stored`: the catalogue files."""
        for name in self.settings.sources.discovered:
            yield json_file(CATALOGUE, self.catalogue_file(name))

    def catalogue_file(self, name: str) -> Path:
        """Return the catalogue file of a source that the model does not declare; it may not exist yet."""
        return self.rooms.config_dir / "catalogue" / f"{name}.json"

    def source_file(self, name: str) -> Path:
        """Return the source's own configuration file; it may not exist."""
        return self.rooms.config_dir / "sources" / f"{name}.conf"


ROOM = SourceRoom


def _refuse_unknown_tables(
    source: str, overrides: Mapping[str, object], tables: Sequence[Table], whose: str, command: str = ""
) -> None:
    names = [table.name for table in tables]
    unknown = [name for name in overrides if name not in names]
    if unknown:
        again = f", or discover the source again: {command}" if command else ""
        raise SettingsError(
            f"sources.{source}.overrides configures {', '.join(unknown)}, and {whose} "
            f"{', '.join(names) or 'nothing'}. Correct the name{again}."
        )


def build_connection(given: ServerSettings, schema: str) -> Connection:
    """Build the connection to a PostgreSQL server, with its secret fetched."""
    from platform_assets.source.connection import Connection

    return Connection(
        host=given.host,
        port=given.port,
        database=given.database,
        user=given.user,
        password=given.password.resolve(),
        schema=schema,
        sslmode=given.sslmode,
        sslrootcert=str(given.sslrootcert) if given.sslrootcert else None,
        connect_timeout=given.connect_timeout,
    )


def lake_job(source: str) -> str:
    """Return the name of the job that loads a single source into the lake."""
    return f"{source}_to_lake"
