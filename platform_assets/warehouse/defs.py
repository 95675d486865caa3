"""Warehouse tables as assets: one multi-asset, loaded in one transaction, and its checks."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.lake.resources import LakeResource, ProtectionResource
from platform_assets.logs import event
from platform_assets.model.star_model import columns_of
from platform_assets.model.table import Table
from platform_assets.orchestration import (
    BATCH,
    LOADS,
    OWNERS,
    REPORTS_STOPPED,
    clear_failures,
    fail_for_stopped,
    failed_checks,
    lazy_resource,
    preview,
    report_stopped,
    row_count_metadata,
    run_checks,
    scheduled_job,
    stopped_metadata,
    table_schema,
    warehouse_pool,
    with_resource_keys,
)
from platform_assets.rooms import Rooms
from platform_assets.star.assembly import StarRoom
from platform_assets.star.defs import blocking_checks
from platform_assets.warehouse.assembly import WarehouseRoom
from platform_assets.warehouse.resources import WarehouseResource
from platform_assets.warehouse.settings import MAIN_WAREHOUSE

if TYPE_CHECKING:
    from platform_assets.warehouse.interface import Load


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the assets and checks of all warehouses, the jobs of additional ones, and their resources.

    Args:
        rooms: The rooms.
    """
    room, schedule = rooms.of(WarehouseRoom), rooms.of(WarehouseRoom).platform.schedule
    model = rooms.of(StarRoom).model
    defs = []
    for name, engine in room.engines.items():
        schema = room.star_schema(name)
        of_warehouse = build_warehouse_defs(name, engine, schema, model.tables, blocking_checks(model))
        resources = dg.Definitions(resources=_resources(room, name, engine, schema))
        defs += [of_warehouse, resources]
        if name != MAIN_WAREHOUSE:
            checks = [
                key for asset_check in of_warehouse.asset_checks or () for key in asset_check.check_keys
            ]
            defs.append(build_load_defs(name, model.tables, checks, schedule.cron, schedule.timezone))
    return dg.Definitions.merge(*defs)


def _resources(
    room: WarehouseRoom, name: str, engine: str, star_schema: str
) -> dict[str, dg.ResourceDefinition]:
    def io_manager(_: dg.InitResourceContext) -> dg.IOManager:
        from platform_assets.warehouse.io_manager import WarehouseIOManager

        return WarehouseIOManager(name, star_schema)

    return {
        name: lazy_resource(lambda: room.warehouse(name), f"The warehouse, {engine}"),
        io_manager_key(name): dg.IOManagerDefinition(
            io_manager,
            description=f"Assets as tables in {name}",
            required_resource_keys={name, "protection"},
        ),
    }


def io_manager_key(warehouse: str) -> str:
    """Return the resource key of a warehouse's IO manager."""
    return f"{warehouse}_io_manager"


def load_job(warehouse: str) -> str:
    """Return the name of the job that loads an additional warehouse."""
    return f"{warehouse}_load"


def build_warehouse_defs(
    name: str,
    engine: str,
    star_schema: str,
    tables: Sequence[Table],
    protecting: Sequence[dg.AssetCheckKey] = (),
) -> dg.Definitions:
    """Build the assets and checks of a warehouse, `<name>/<table>`; the resource `<name>` is the warehouse.

    Args:
        name: Name of the warehouse and of the assets' group.
        engine: Name of the engine, shown as the assets' kind.
        star_schema: Schema of the star tables.
        tables: The star tables.
        protecting: The checks that a star table has to pass before it is loaded.
    """
    by_key = {dg.AssetKey([name, table.name]): table for table in tables}
    specs = [
        dg.AssetSpec(
            key,
            deps=[dg.AssetKey(["star", table.name])],
            description=table.description
            + (
                f" The views {table.name}_current and {table.name}_history show the latest versions and "
                f"all of them in time."
                if table.kind == "fact"
                else ""
            ),
            group_name=name,
            owners=OWNERS,
            kinds={engine, "table"},
            metadata={
                "dagster/column_schema": table_schema(columns_of(table), primary_key=table.primary_key),
                "dagster/table_name": f"{star_schema}.{table.name}",
            },
        ).with_io_manager_key(io_manager_key(name))
        for key, table in by_key.items()
    ]

    @dg.multi_asset(
        name=name,
        specs=specs,
        can_subset=True,
        description="Loads the star schema's new batches into the warehouse, in one transaction that also "
        "records them.",
        op_tags=LOADS,
        pool=warehouse_pool(name),
    )
    @with_resource_keys(warehouse=name)
    def load(
        context: dg.AssetExecutionContext,
        lake: LakeResource,
        warehouse: WarehouseResource,
        protection: ProtectionResource,
    ) -> Iterator[dg.MaterializeResult[None]]:
        selected = {key: table for key, table in by_key.items() if key in context.selected_asset_keys}
        began = time.monotonic()
        unfit = failed_checks(context.instance, protecting)
        with clear_failures():
            # A column that the policy blocks stops its table; a column that it transforms is loaded so.
            seen = protection.lake_for(lake, name, context.run.run_id)
            seen = seen.holding_back({key.path[-1]: reason for key, reason in unfit.items()})
            loads = warehouse.load(seen, list(selected.values()))
            _log_loads(name, loads, time.monotonic() - began)
            rows = warehouse.sample(list(selected.values()), limit=5)
        for key, table in selected.items():
            done = loads[table.name]
            if done.stopped:
                metadata = stopped_metadata(context.instance, key, done.stopped)
            else:
                metadata = {
                    **row_count_metadata(done.row_count),
                    "rows written": done.rows_written,
                    BATCH: done.batch,
                    "preview": preview(rows[table.name]),
                }
            if done.rows_written:
                context.log.info("%s/%s: %d rows loaded", name, table.name, done.rows_written)
            yield dg.MaterializeResult(asset_key=key, metadata=metadata)
        stopped = {key: loads[table.name].stopped for key, table in selected.items()}
        fail_for_stopped(context, {key: reason for key, reason in stopped.items() if reason}, name)

    @dg.multi_asset_check(
        name=f"{name}_checks",
        specs=[
            dg.AssetCheckSpec(
                "matches_lake",
                asset=key,
                description="The warehouse has as many rows as the lake's star table had when it was "
                "last loaded.",
            )
            for key in by_key
        ],
        can_subset=True,
        op_tags={REPORTS_STOPPED: f"star,{name}", **LOADS},
    )
    @with_resource_keys(warehouse=name)
    def check(
        context: dg.AssetCheckExecutionContext, lake: LakeResource, warehouse: WarehouseResource
    ) -> Iterator[dg.AssetCheckResult]:
        from platform_assets.warehouse.verify import WarehouseVerifier

        with clear_failures():
            verifier = WarehouseVerifier(lake, warehouse)

            def run(key: dg.AssetCheckKey, after: int) -> tuple[int, Sequence[str]]:
                in_lake, in_warehouse = verifier.row_counts(by_key[key.asset_key])
                difference = abs(in_lake - in_warehouse)
                return difference, [
                    f"{in_lake} rows in the lake, {in_warehouse} in the warehouse; to load the table again: "
                    f"platform-assets lake rebuild {'/'.join(key.asset_key.path)} --apply"
                ] if difference else []

            yield from run_checks(context, run)
        report_stopped(
            context,
            [dg.AssetKey([group, key.path[-1]]) for key in by_key for group in ("star", name)],
            failed_checks(context.instance, protecting, context.run.run_id),
        )

    return dg.Definitions(assets=[load], asset_checks=[check])


def build_load_defs(
    name: str, tables: Sequence[Table], checks: Sequence[dg.AssetCheckKey], cron: str, timezone: str
) -> dg.Definitions:
    """Build the job and schedule of an additional warehouse, which catches up by itself.

    Args:
        name: Name of the warehouse.
        tables: The star tables.
        checks: The checks of its assets.
        cron: Cron expression of the schedule.
        timezone: Time zone of `cron`.
    """
    keys = [dg.AssetKey([name, table.name]) for table in tables]
    return scheduled_job(
        load_job(name),
        dg.AssetSelection.assets(*keys).without_checks() | dg.AssetSelection.checks(*checks),
        f"Loads the new rows of the star schema into {name}, and checks them.",
        cron,
        timezone,
    )


def _log_loads(warehouse: str, loads: "Mapping[str, Load]", seconds: float) -> None:
    """Log what was loaded into each table; `seconds` is the time that all of them took."""
    for name, done in loads.items():
        place = {"asset": f"{warehouse}/{name}", "warehouse": warehouse, "table": name, "batch": done.batch}
        if done.stopped:
            sentence = f"{warehouse}/{name} was skipped: {done.stopped}"
            event("table_skipped", sentence, level="warning", **place, reason=done.stopped)
            continue
        event(
            "warehouse_loaded",
            f"{warehouse}/{name}: {done.rows_written} rows loaded",
            level="info" if done.rows_written else "debug",
            **place,
            rows=done.rows_written,
            row_count=done.row_count,
            all_tables_seconds=round(seconds, 3),
        )
