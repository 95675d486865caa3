"""The warehouses, from the settings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from platform_assets.column_lineage import DeclaredTable, LineageQuery
from platform_assets.diagnosis import Probe
from platform_assets.errors import SettingsError
from platform_assets.isolation import is_isolated, reason_of
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.interfaces import HasLakeTables, Rebuilding, VersionInUse
from platform_assets.rooms import Assembly
from platform_assets.star.assembly import StarRoom
from platform_assets.status import TableHoldings
from platform_assets.stored import LOADS, Stored
from platform_assets.warehouse.settings import (
    MAIN_WAREHOUSE,
    BigQueryWarehouseSettings,
    DuckDBSettings,
    PostgresWarehouseSettings,
    SnowflakeWarehouseSettings,
    WarehouseSettings,
    WarehousesSettings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platform_assets.bigquery.access import BigQueryAccess
    from platform_assets.diagnosis import Observation
    from platform_assets.lake.interfaces import Loss, RebuildOptions
    from platform_assets.lake.lake import Lake
    from platform_assets.snowflake.access import SnowflakeAccess
    from platform_assets.snowflake.setup import SnowflakeUse
    from platform_assets.warehouse.interface import Load, Warehouse
    from platform_assets.warehouse.verify import LostRows


class WarehouseRoom(Assembly[WarehousesSettings]):
    """The main warehouse and the additional ones."""

    settings_class = WarehousesSettings

    def warehouse(self, name: str = MAIN_WAREHOUSE) -> Warehouse:
        """Return the main warehouse, or an additional one by name, without connecting to it.

        Raises:
            SettingsError: The warehouse does not exist, its engine has no configuration block, or a package
                that the engine needs was removed.
        """
        by_name = self.settings.by_name
        if name not in by_name:
            raise SettingsError(
                f"There is no warehouse {name} in the configuration; it has {', '.join(by_name)}."
            )
        configured = by_name[name]
        engine, tables = self.rooms.of(LakeRoom).engine, self.rooms.of(StarRoom).model.tables
        match configured:
            case WarehouseSettings(engine="duckdb", duckdb=DuckDBSettings() as file):
                from platform_assets.warehouse.duckdb import DuckDBWarehouse

                return DuckDBWarehouse(file.path, engine, file.wait, tables)
            case WarehouseSettings(engine="postgres", postgres=PostgresWarehouseSettings() as server):
                from platform_assets.source.assembly import build_connection
                from platform_assets.warehouse.postgres import PostgresWarehouse

                return PostgresWarehouse(
                    lambda: build_connection(server, server.star_schema),
                    engine,
                    star_schema=server.star_schema,
                    platform_schema=server.platform_schema,
                    tables=tables,
                    statement_timeout=server.statement_timeout,
                    lock_timeout=server.lock_timeout,
                )
            case WarehouseSettings(engine="snowflake", snowflake=SnowflakeWarehouseSettings() as given):
                self.rooms.require("snowflake", f"The engine snowflake of {name}")
                from platform_assets.snowflake.assembly import build_access
                from platform_assets.warehouse.snowflake import SnowflakeStage, SnowflakeWarehouse

                return SnowflakeWarehouse(
                    build_access(given),
                    engine,
                    star_schema=given.star_schema,
                    platform_schema=given.platform_schema,
                    tables=tables,
                    stage=SnowflakeStage(given.stage.url, given.stage.storage_integration)
                    if given.stage
                    else None,
                )
            case WarehouseSettings(engine="bigquery", bigquery=BigQueryWarehouseSettings() as given):
                self.rooms.require("bigquery", f"The engine bigquery of {name}")
                from platform_assets.bigquery.assembly import build_access as build_project_access
                from platform_assets.warehouse.bigquery import BigQueryWarehouse

                return BigQueryWarehouse(
                    build_project_access(given.project, given.location, given.credentials),
                    engine,
                    star_schema=given.star_schema,
                    platform_schema=given.platform_schema,
                    tables=tables,
                )
            case _:
                raise SettingsError(f"The engine of {name}, {configured.engine}, has no block of its name.")

    def stored(self) -> Iterator[Stored]:
        """See `StoresFormats.stored`: the record of loads of each warehouse."""
        for name in self.settings.by_name:
            warehouse = self.warehouse(name)
            yield Stored(
                LOADS, f"of {name}", warehouse.stored_format, warehouse.store_format, subject=warehouse
            )

    def bigquery_access(self) -> BigQueryAccess | None:
        """Return the access of the first BigQuery warehouse; None without such a warehouse."""
        for settings in self.settings.by_name.values():
            if (given := settings.bigquery) is not None:
                from platform_assets.bigquery.assembly import build_access

                return build_access(given.project, given.location, given.credentials)
        return None

    def snowflake_uses(self) -> Iterator[SnowflakeUse]:
        """See `UsesSnowflake.snowflake_uses`: each Snowflake warehouse."""
        for name, settings in self.settings.by_name.items():
            if settings.engine == "snowflake" and (given := settings.snowflake) is not None:
                from platform_assets.snowflake.assembly import describe_use
                from platform_assets.snowflake.setup import SchemaUse, WritesToWarehouses

                others = [
                    schema
                    for room in self.rooms.offering(WritesToWarehouses)
                    for schema in room.warehouse_schemas()
                ]
                yield describe_use(
                    given,
                    f"the warehouse {name}",
                    (
                        SchemaUse(given.star_schema, ("CREATE TABLE", "CREATE VIEW")),
                        SchemaUse(given.platform_schema, ("CREATE TABLE", "CREATE STAGE"), is_read=False),
                        *(SchemaUse(schema, ("CREATE TABLE", "CREATE STAGE")) for schema in others),
                    ),
                    given.stage,
                    star_schema=given.star_schema,
                    is_upper=False,
                )

    def snowflake_access(self) -> SnowflakeAccess | None:
        """See `HasSnowflakeAccess.snowflake_access`: the account of the first Snowflake warehouse."""
        for settings in self.settings.by_name.values():
            if settings.engine == "snowflake" and (given := settings.snowflake) is not None:
                from platform_assets.snowflake.assembly import build_access

                return build_access(given)
        return None

    def declared_tables(self) -> Iterator[DeclaredTable]:
        """See `DeclaresLineage.declared_tables`: the star tables of each warehouse, and the facts' views."""
        from platform_assets.column_lineage import ROWS
        from platform_assets.model.dialects import DIALECTS
        from platform_assets.model.star_model import columns_of
        from platform_assets.warehouse.sql import VIEWS, StarSql

        dialects = {dialect.engine: dialect for dialect in DIALECTS}
        for name, engine in self.engines.items():
            schema = self.star_schema(name)
            sql = StarSql(dialects[engine], (schema,), ())
            for table in self.rooms.of(StarRoom).model.tables:
                yield DeclaredTable(
                    (name, table.name),
                    columns_of(table),
                    copy_of=("star", table.name),
                    group=name,
                    description=table.description,
                    checks={"matches_lake": (ROWS,)},
                )
                for suffix in VIEWS if table.kind == "fact" else ():
                    yield DeclaredTable(
                        (name, f"{table.name}_{suffix}"),
                        query=LineageQuery(
                            sql.view(table, suffix), {f"{schema}.{table.name}": (name, table.name)}, engine
                        ),
                        group=name,
                        description=f"The latest versions of {table.name}, without deleted rows."
                        if suffix == "current"
                        else f"All versions of {table.name}, each with its period of validity.",
                        is_asset=False,
                        kind="view",
                    )

    def query_tables(self, name: str) -> dict[str, tuple[str, ...]]:
        """Return the paths of the tables that queries of a warehouse can read, by the names in their SQL."""
        from platform_assets.warehouse.sql import VIEWS

        schema, found = self.star_schema(name), dict[str, tuple[str, ...]]()
        for table in self.rooms.of(StarRoom).model.tables:
            views = VIEWS if table.kind == "fact" else ()
            for relation in (table.name, *(f"{table.name}_{suffix}" for suffix in views)):
                found[f"{schema}.{relation}"] = found[relation] = (name, relation)
        # Tables of uploaded files have the same schema and name in the lake and in each warehouse.
        for room in self.rooms.offering(HasLakeTables):
            for path in room.lake_paths():
                found.setdefault(".".join(path), (name, *path))
        return found

    @property
    def engines(self) -> dict[str, str]:
        """The engine of each warehouse, by the warehouse's name."""
        return {name: configured.engine for name, configured in self.settings.by_name.items()}

    def star_schema(self, name: str) -> str:
        """Return the schema (BigQuery: dataset) that holds a warehouse's star tables."""
        return self.settings.by_name[name].star_schema

    def freshness_limits(self) -> dict[tuple[str, ...], dt.timedelta]:
        """Return the maximum age of each star table, by the path of its asset key."""
        within = dt.timedelta(minutes=self.platform.freshness.within)
        tables = self.rooms.of(StarRoom).model.tables
        return {(name, table.name): within for name in self.settings.by_name for table in tables}

    def holdings(self) -> list[TableHoldings]:
        """Return the content of the main warehouse.

        Raises:
            WarehouseBusy: A load held the warehouse for too long.
            WarehouseError: The warehouse cannot be read.
        """
        loaded = {status.table: status for status in self.warehouse().status()}
        return [
            TableHoldings(MAIN_WAREHOUSE, table.name, status.row_count, status.last_batch, status.seen_at)
            if (status := loaded.get(table.name))
            else TableHoldings(MAIN_WAREHOUSE, table.name, 0, 0, None)
            for table in self.rooms.of(StarRoom).model.tables
        ]

    def rebuildable(self) -> list[str]:
        """See `RebuildsTables.rebuildable`."""
        tables = self.rooms.of(StarRoom).model.tables
        return [f"{name}/{table.name}" for name in self.engines for table in tables]

    def rebuild(self, tables: Sequence[str], options: RebuildOptions) -> Iterator[Rebuilding]:
        """See `RebuildsTables.rebuild`: tables are loaded again from the star, each warehouse by itself.

        A table that has what was loaded into it is not loaded again, unless the user has named it.
        """
        for name in self.engines:
            wanted = [table.partition("/")[2] for table in tables if table.partition("/")[0] == name]
            if wanted:
                try:
                    yield from self._rebuilt(name, wanted, options)
                except BaseException as error:
                    if not is_isolated(error):
                        raise
                    for table_name in wanted:
                        yield Rebuilding(f"{name}/{table_name}", problem=reason_of(error))

    def _rebuilt(self, name: str, wanted: Sequence[str], options: RebuildOptions) -> Iterator[Rebuilding]:
        from platform_assets.warehouse.verify import LostRows

        model = self.rooms.of(StarRoom).model
        warehouse, lake = self.warehouse(name), self.seen_by(name)
        lost = self.lost_rows(name, wanted)
        if options.is_named:
            lost |= {name: LostRows(0, (), "it is to be loaded again") for name in wanted if name not in lost}
        done: Mapping[str, Load] = {}
        if options.apply and lost:
            options.report(f"{name}: loading {', '.join(lost)}")
            done = warehouse.load(lake, [model.table(name) for name in wanted], again=set(lost))
        for table_name in wanted:
            why = lost[table_name].reason if table_name in lost else ""
            load = done.get(table_name)
            if load is None:
                yield Rebuilding(f"{name}/{table_name}", why=why)
            elif load.stopped:
                yield Rebuilding(f"{name}/{table_name}", why=why, problem=load.stopped)
            else:
                yield Rebuilding(
                    f"{name}/{table_name}", load.row_count, load.rows_written, why=why, is_done=bool(why)
                )

    def losses(self, *, deep: bool) -> Iterator[Loss]:
        """See `VerifiesTables.losses`: rows of each batch are counted, in the star and in each warehouse."""
        from platform_assets.lake.interfaces import Loss

        for name in self.engines:
            try:
                found = self.lost_rows(name, [table.name for table in self.rooms.of(StarRoom).model.tables])
            except BaseException as error:
                if not is_isolated(error):
                    raise
                yield Loss(
                    name, f"It could not be verified: {reason_of(error)}", "Correct this, then verify again."
                )
                continue
            for table, lost in found.items():
                advice = f"Load it again: platform-assets lake rebuild {name}/{table} --apply."
                yield Loss(f"{name}/{table}", f"It {lost.reason}.", advice, tuple(lost.batches), lost.rows)

    def seen_by(self, name: str) -> Lake:
        """Return the lake as a warehouse may see it: with the policy applied."""
        from platform_assets.lake.protection import HasProtection

        lake = self.rooms.of(LakeRoom).lake
        room = next(self.rooms.offering(HasProtection), None)
        return room.protection().lake_for(lake, name) if room is not None else lake

    def lost_rows(self, name: str, tables: Sequence[str]) -> dict[str, LostRows]:
        """Return what tables of a warehouse lack of what was loaded into them, by name.

        Raises:
            WarehouseError: The warehouse cannot be read.
        """
        from platform_assets.warehouse.verify import lost_rows

        model, engine = self.rooms.of(StarRoom).model, self.rooms.of(LakeRoom).engine
        warehouse, lake = self.warehouse(name), self.seen_by(name)
        loaded = {status.table: status for status in warehouse.status()}
        found = {
            table: lost_rows(lake, warehouse, engine, model.table(table), loaded.get(table))
            for table in tables
        }
        return {name: lost for name, lost in found.items() if lost is not None}

    def versions_in_use(self) -> list[VersionInUse]:
        """See `RefersToVersions.versions_in_use`.

        Raises:
            WarehouseError: A warehouse cannot be read.
        """
        from platform_assets.lake.delta import table_of_identity

        return [
            VersionInUse(table_of_identity(status.table_id), status.lake_version, name)
            for name in self.engines
            for status in self.warehouse(name).status()
            if status.lake_version >= 0
        ]

    def probes(self) -> Iterator[Probe]:
        """See `HasProbes.probes`: the access to each warehouse, and what it holds."""
        for name in self.settings.by_name:
            yield Probe(name, "access", partial(self._look_at, name), 90.0)
            yield Probe(name, "content", partial(self._look_at_content, name), 90.0)

    def _look_at_content(self, name: str) -> Iterator[Observation]:
        from platform_assets.warehouse.probes import look_at_content

        yield from look_at_content(self.warehouse(name).status)

    def _look_at(self, name: str) -> Iterator[Observation]:
        from platform_assets.warehouse import probes

        match self.settings.by_name[name]:
            case WarehouseSettings(engine="duckdb", duckdb=DuckDBSettings() as file):
                yield from probes.look_at_duckdb(file.path)
            case WarehouseSettings(engine="postgres", postgres=PostgresWarehouseSettings() as server):
                from platform_assets.source.assembly import build_connection

                schemas = (server.star_schema, server.platform_schema)
                yield from probes.look_at_postgres(
                    lambda: build_connection(server, server.star_schema), schemas
                )
            case WarehouseSettings(engine="snowflake", snowflake=SnowflakeWarehouseSettings() as given):
                self.rooms.require("snowflake", f"The engine snowflake of {name}")
                from platform_assets.snowflake.assembly import build_access

                yield from probes.look_at_snowflake(
                    build_access(given), (given.star_schema, given.platform_schema)
                )
            case WarehouseSettings(engine="bigquery", bigquery=BigQueryWarehouseSettings() as given):
                self.rooms.require("bigquery", f"The engine bigquery of {name}")
                from platform_assets.bigquery.assembly import build_access as build_project_access

                access = build_project_access(given.project, given.location, given.credentials)
                yield from probes.look_at_bigquery(access, (given.star_schema, given.platform_schema))


ROOM = WarehouseRoom
