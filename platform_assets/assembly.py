"""Builds the rooms' objects from the settings, for Dagster's resources and for the command line alike.

Imports are inside the functions: the code location loads, and each command runs, with only what it uses.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from platform_assets.errors import SettingsError
from platform_assets.settings import (
    BigQueryWarehouseSettings,
    CaptureOverrides,
    CaptureSettings,
    DeclaredSourceSettings,
    DuckDBSettings,
    PostgresWarehouseSettings,
    ServerSettings,
    SnowflakeConnectionSettings,
    SnowflakeWarehouseSettings,
    SourceSettings,
    WarehouseSettings,
    is_pattern,
    matches,
)

if TYPE_CHECKING:
    from platform_assets.bigquery.access import BigQueryAccess
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Table
    from platform_assets.settings import Settings
    from platform_assets.snowflake.access import SnowflakeAccess
    from platform_assets.snowflake.copies import StarCopies
    from platform_assets.source.connection import Connection
    from platform_assets.source.embedded import EmbeddedPostgres
    from platform_assets.source.snapshot import SourceDatabase
    from platform_assets.warehouse.interface import Warehouse


def build_engine(settings: Settings) -> SqlEngine:
    """The embedded SQL engine."""
    from platform_assets.lake.duck import SqlEngine

    return SqlEngine(settings.engine.memory_limit_mb, settings.engine.threads, settings.state_dir / "tmp")


def build_lake(settings: Settings) -> Lake:
    """The lake; its secrets are resolved when a table is opened."""
    from platform_assets.lake.lake import Lake

    return Lake(settings.lake.ingestion, settings.lake.processed, settings.lake.resolve_storage_options)


def build_embedded_postgres(settings: Settings) -> EmbeddedPostgres:
    """The embedded PostgreSQL server, not started."""
    from platform_assets.source.embedded import EmbeddedPostgres

    return EmbeddedPostgres(settings.state_dir / "source")


def source_tables(settings: Settings, name: str) -> tuple[Table, ...]:
    """The tables of a source: as the model declares them, or as its catalogue file has them.

    No server is asked. A table that is configured by its name, and that no catalogue describes, is there
    without columns.

    Raises:
        SettingsError: The source is configured by patterns and has no catalogue, its catalogue cannot be
            used, or something is configured for a table that it does not have.
    """
    source = settings.sources[name]
    if isinstance(source, DeclaredSourceSettings):
        from platform_assets.model import totesys

        _refuse_unknown_tables(name, source.overrides, totesys.TABLES, "the model declares")
        return totesys.TABLES
    from platform_assets.source.declaration import Catalogue, discover_command, undiscovered

    file = settings.catalogue_file(name)
    catalogue = Catalogue.read(file, name)
    patterns = [
        one for one in source.tables if is_pattern(one) and not (catalogue and one in catalogue.tables)
    ]
    if catalogue is None and patterns:
        raise SettingsError(
            f"Source {name} is to read the tables that match {', '.join(patterns)}, and there is no "
            f"{file} that says which these are. Look at the database once, and keep what is written with the "
            f"configuration: {discover_command(name)}."
        )
    known = catalogue.tables if catalogue else {}
    tables = {
        table: known[table].declaration
        for table in known
        if matches(table, source.tables) and not matches(table, source.exclude)
    }
    named = [one for one in source.tables if one not in patterns and not matches(one, source.exclude)]
    tables |= {table: undiscovered(table) for table in named if table not in tables}
    found = tuple(tables[table] for table in sorted(tables))
    _refuse_unknown_tables(name, source.overrides, found, "its catalogue has", discover_command(name))
    return found


def _refuse_unknown_tables(
    source: str, overrides: Mapping[str, object], tables: Sequence[Table], whose: str, command: str = ""
) -> None:
    names = [table.name for table in tables]
    unknown = [name for name in overrides if name not in names]
    if unknown:
        again = f", or look at the database again: {command}" if command else ""
        raise SettingsError(
            f"sources.{source}.overrides configures {', '.join(unknown)}, and {whose} "
            f"{', '.join(names) or 'nothing'}. Correct the name{again}."
        )


def build_source(settings: Settings, name: str, tables: Sequence[Table] | None = None) -> SourceDatabase:
    """A source; an embedded one is started, and its sample created, when it is first connected to.

    Args:
        settings: The configuration.
        name: The source's name.
        tables: Its tables; those of `source_tables` where None.

    Raises:
        SettingsError: As `source_tables`.
    """
    from platform_assets.source.declaration import parse_type
    from platform_assets.source.policy import CapturePolicy
    from platform_assets.source.snapshot import SourceDatabase

    configured = settings.sources[name]
    given = configured.connection

    def connect() -> Connection:
        if isinstance(configured, DeclaredSourceSettings) and (configured.embedded or given is None):
            from platform_assets.source.sample import ensure_sample

            return ensure_sample(
                build_embedded_postgres(settings), configured.sample.sales, configured.sample.seed
            )
        if given is None:
            raise SettingsError(f"sources.{name} has no connection.")
        return _connection(given, given.db_schema)

    def policy(*options: CaptureSettings | CaptureOverrides) -> CapturePolicy:
        """What the last one that says something says."""
        said = {
            key: value
            for one in options
            for key in CaptureOverrides.model_fields
            if (value := getattr(one, key)) is not None
        }
        return CapturePolicy(
            said["strategy"],
            said["column"],
            dt.timedelta(seconds=said["lag"]),
            said["small_table_rows"],
            dt.timedelta(minutes=said["deletions_every"]),
        )

    limits = (given.statement_timeout, given.lock_timeout) if given else (3600, 10)
    discovered = configured.overrides if isinstance(configured, SourceSettings) else {}
    return SourceDatabase(
        name,
        tuple(source_tables(settings, name) if tables is None else tables),
        connect,
        *limits,
        connections=configured.connections,
        policy=policy(configured),
        policies={table: policy(configured, override) for table, override in configured.overrides.items()},
        declared=isinstance(configured, DeclaredSourceSettings),
        keys={table: override.key for table, override in discovered.items() if override.key},
        types={
            table: {column: parse_type(word) for column, word in override.types.items()}
            for table, override in discovered.items()
            if override.types
        },
    )


def build_warehouse(settings: Settings, name: str = "warehouse") -> Warehouse:
    """A warehouse: the main one, or a further one by its name; nothing is connected to.

    Raises:
        SettingsError: There is none of this name, or its engine has no block.
    """
    if name != "warehouse" and name not in settings.warehouses:
        known = ", ".join(("warehouse", *settings.warehouses))
        raise SettingsError(f"There is no warehouse {name} in the configuration; it has {known}.")
    configured = settings.warehouse if name == "warehouse" else settings.warehouses[name]
    match configured:
        case WarehouseSettings(engine="duckdb", duckdb=DuckDBSettings() as file):
            from platform_assets.warehouse.duckdb import DuckDBWarehouse

            return DuckDBWarehouse(file.path, build_engine(settings), file.wait)
        case WarehouseSettings(engine="postgres", postgres=PostgresWarehouseSettings() as server):
            from platform_assets.warehouse.postgres import PostgresWarehouse

            return PostgresWarehouse(
                lambda: _connection(server, server.star_schema),
                build_engine(settings),
                star_schema=server.star_schema,
                platform_schema=server.platform_schema,
            )
        case WarehouseSettings(engine="snowflake", snowflake=SnowflakeWarehouseSettings() as given):
            from platform_assets.warehouse.snowflake import SnowflakeStage, SnowflakeWarehouse

            return SnowflakeWarehouse(
                _snowflake_access(given),
                build_engine(settings),
                star_schema=given.star_schema,
                platform_schema=given.platform_schema,
                stage=SnowflakeStage(given.stage.url, given.stage.storage_integration)
                if given.stage
                else None,
            )
        case WarehouseSettings(engine="bigquery", bigquery=BigQueryWarehouseSettings() as given):
            from platform_assets.warehouse.bigquery import BigQueryWarehouse

            return BigQueryWarehouse(
                _bigquery_access(given),
                build_engine(settings),
                star_schema=given.star_schema,
                platform_schema=given.platform_schema,
            )
        case _:
            raise SettingsError(f"The engine of {name}, {configured.engine}, has no block of its name.")


def build_bigquery_access(settings: Settings) -> BigQueryAccess | None:
    """How BigQuery is reached, as the first warehouse there says; None where none is there."""
    for one in (settings.warehouse, *settings.warehouses.values()):
        if one.bigquery is not None:
            return _bigquery_access(one.bigquery)
    return None


def _bigquery_access(given: BigQueryWarehouseSettings) -> BigQueryAccess:
    """A Google Cloud project and how to sign in; the secret is fetched when a client is made."""
    from platform_assets.bigquery.access import BigQueryAccess

    return BigQueryAccess(
        project=given.project,
        location=given.location,
        credentials=given.credentials.resolve if given.credentials else None,
    )


def build_snowflake_copies(settings: Settings) -> StarCopies:
    """The star tables' copies in Snowflake; nothing is connected to.

    Raises:
        SettingsError: The configuration says nothing of Snowflake.
    """
    given = settings.snowflake
    if given is None:
        raise SettingsError(
            "No Snowflake account is configured for these tables. Add a block snowflake with account, "
            "user, private_key, warehouse, database and schema to config/platform.conf."
        )
    from platform_assets.model import star
    from platform_assets.model.table import Time
    from platform_assets.snowflake.copies import StarCopies
    from platform_assets.snowflake.options import ScriptOptions

    # The lake has no type for times of day, and holds them as text.
    times = {
        f"{table.name}.{column.name}": "TIME(6)"
        for table in star.TABLES
        for column in table.columns
        if isinstance(column.type, Time)
    }
    options = ScriptOptions(
        stage_url=given.stage.url if given.stage else None,
        storage_integration=given.stage.storage_integration if given.stage else None,
        case="upper",
        columns=times,
    )
    return StarCopies(build_lake(settings), _snowflake_access(given, given.db_schema).connect, options)


def _snowflake_access(given: SnowflakeConnectionSettings, schema: str | None = None) -> SnowflakeAccess:
    """A Snowflake account and how to sign in; secrets are fetched when a session is opened."""
    from platform_assets.snowflake.access import SnowflakeAccess

    return SnowflakeAccess(
        account=given.account,
        user=given.user,
        database=given.database,
        warehouse=given.warehouse,
        role=given.role,
        schema=schema,
        private_key=given.private_key.resolve if given.private_key else None,
        private_key_passphrase=given.private_key_passphrase.resolve if given.private_key_passphrase else None,
        password=given.password.resolve if given.password else None,
        query_tag=given.query_tag,
        login_timeout=given.login_timeout,
    )


def _connection(given: ServerSettings, schema: str) -> Connection:
    """A PostgreSQL and how to sign in, its secret fetched."""
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
