"""Builds the rooms' objects from the settings, for Dagster's resources and for the command line alike.

Imports are inside the functions: the code location loads, and each command runs, with only what it uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.lake import Lake
    from platform_assets.settings import Settings
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


def build_source(settings: Settings, name: str) -> SourceDatabase:
    """A source; an embedded one is started, and its sample created, when it is first connected to."""
    from platform_assets.model import totesys
    from platform_assets.source.connection import Connection
    from platform_assets.source.snapshot import SourceDatabase

    configured = settings.sources[name]
    given = configured.connection

    def connect() -> Connection:
        if configured.embedded or given is None:
            from platform_assets.source.sample import ensure_sample

            return ensure_sample(
                build_embedded_postgres(settings), configured.sample.sales, configured.sample.seed
            )
        return Connection(
            host=given.host,
            port=given.port,
            database=given.database,
            user=given.user,
            password=given.password.resolve(),
            schema=given.db_schema,
            sslmode=given.sslmode,
            sslrootcert=str(given.sslrootcert) if given.sslrootcert else None,
            connect_timeout=given.connect_timeout,
        )

    limits = (given.statement_timeout, given.lock_timeout) if given else (3600, 10)
    return SourceDatabase(name, totesys.TABLES, connect, *limits)


def build_warehouse(settings: Settings) -> Warehouse:
    """The configured warehouse."""
    from platform_assets.warehouse.duckdb import DuckDBWarehouse

    duckdb = settings.warehouse.duckdb
    return DuckDBWarehouse(duckdb.path, build_engine(settings), duckdb.wait)
