"""Warehouse tables as assets: one multi-asset, loaded in one transaction, and its checks."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from platform_assets.lake.defs import (
    BATCH,
    OWNERS,
    REPORTS_STOPPED,
    STOPPED,
    UP_TO_DATE_AT,
    clear_failures,
    fail_for_stopped,
    failed_checks,
    multi_asset_check,
    preview,
    report_stopped,
    row_count_metadata,
    run_checks,
    stopped_metadata,
    table_schema,
)
from platform_assets.model import star

MAIN_WAREHOUSE = "warehouse"


def io_manager_key(warehouse: str) -> str:
    """Return the resource key of a warehouse's IO manager."""
    return f"{warehouse}_io_manager"


def load_job(warehouse: str) -> str:
    """Return the name of the job that loads an additional warehouse."""
    return f"{warehouse}_load"


def build_warehouse_defs(
    name: str, engine: str, star_schema: str, protecting: Sequence[dg.AssetCheckKey] = ()
) -> dg.Definitions:
    """Build the assets and checks of a warehouse, `<name>/<table>`; the resource `<name>` is the warehouse.

    Args:
        name: Name of the warehouse and of the assets' group.
        engine: Name of the engine, shown as the assets' kind.
        star_schema: Schema of the star tables.
        protecting: The checks that a star table has to pass before it is loaded.
    """
    by_key = {dg.AssetKey([name, table.name]): table for table in star.TABLES}
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
                "dagster/column_schema": table_schema(star.columns_of(table), primary_key=table.primary_key),
                "dagster/table_name": f"{star_schema}.{table.name}",
            },
        ).with_io_manager_key(io_manager_key(name))
        for key, table in by_key.items()
    ]

    @dg.multi_asset(
        name=name,
        specs=specs,
        can_subset=True,
        required_resource_keys={"lake", name, "protection"},
        description="Loads the star schema's new batches into the warehouse, in one transaction that also "
        "records them.",
    )
    def load(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        warehouse = getattr(context.resources, name)
        selected = {key: table for key, table in by_key.items() if key in context.selected_asset_keys}
        unfit = failed_checks(context.instance, protecting)
        with clear_failures():
            # A column that the policy blocks stops its table; a column that it transforms is loaded so.
            lake = context.resources.protection.lake_for(context.resources.lake, name, context.run.run_id)
            lake = lake.holding_back({key.path[-1]: reason for key, reason in unfit.items()})
            loads = warehouse.load(lake, list(selected.values()))
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
        required_resource_keys={"lake", name},
        op_tags={REPORTS_STOPPED: f"star,{name}"},
    )
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        from platform_assets.warehouse.verify import WarehouseVerifier

        with clear_failures():
            verifier = WarehouseVerifier(context.resources.lake, getattr(context.resources, name))

            def run(key: dg.AssetCheckKey, after: int) -> tuple[int, Sequence[str]]:
                in_lake, in_warehouse = verifier.row_counts(by_key[key.asset_key])
                difference = abs(in_lake - in_warehouse)
                return difference, [
                    f"{in_lake} rows in the lake, {in_warehouse} in the warehouse"
                ] if difference else []

            yield from run_checks(context, run)
        report_stopped(
            context,
            [dg.AssetKey([group, key.path[-1]]) for key in by_key for group in ("star", name)],
            failed_checks(context.instance, protecting, context.run.run_id),
        )

    return dg.Definitions(assets=[load], asset_checks=[check])


def build_load_defs(
    name: str, checks: Sequence[dg.AssetCheckKey], cron: str, timezone: str
) -> dg.Definitions:
    """Build the job and schedule of an additional warehouse, which catches up by itself.

    Args:
        name: Name of the warehouse.
        checks: The checks of its assets.
        cron: Cron expression of the schedule.
        timezone: Time zone of `cron`.
    """
    keys = [dg.AssetKey([name, table.name]) for table in star.TABLES]
    job = dg.define_asset_job(
        load_job(name),
        selection=dg.AssetSelection.assets(*keys).without_checks() | dg.AssetSelection.checks(*checks),
        description=f"Loads what the star schema took in since the last load into {name}, and checks it.",
        executor_def=dg.in_process_executor,
    )
    schedule = dg.ScheduleDefinition(
        name=f"{load_job(name)}_schedule",
        job=job,
        cron_schedule=cron,
        execution_timezone=timezone,
        description=f"Brings what the lake's star schema has taken in to {name}.",
    )
    return dg.Definitions(jobs=[job], schedules=[schedule])


FRESHNESS = "freshness"


def build_freshness_defs(within: Mapping[dg.AssetKey, dt.timedelta]) -> dg.Definitions:
    """Build freshness checks, and the job and schedule that run them.

    Every tick materializes its assets, changed or not, so an old materialization means that the platform has
    stopped. A skipped table records the time of its last update in its metadata (`UP_TO_DATE_AT`). The checks
    are separate from the main job, which would always find its own work fresh, and run on their own schedule.

    Args:
        within: Maximum age of each asset.
    """

    @multi_asset_check(
        name=f"{FRESHNESS}_checks",
        specs=[
            dg.AssetCheckSpec(
                FRESHNESS,
                asset=key,
                description=f"Brought up to date within {_minutes(limit)} minutes.",
            )
            for key, limit in within.items()
        ],
    )
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        now = dt.datetime.now(dt.UTC)
        for key in sorted(context.selected_asset_check_keys, key=lambda key: key.asset_key.path):
            event = context.instance.get_latest_materialization_event(key.asset_key)
            last = _up_to_date_at(event) if event else None
            age = now - last if last else None
            yield dg.AssetCheckResult(
                passed=age is not None and age <= within[key.asset_key],
                asset_key=key.asset_key,
                check_name=key.name,
                description="never brought up to date"
                if age is None
                else f"brought up to date {_minutes(age)} minutes ago",
                metadata={"last up to date": dg.MetadataValue.timestamp(last)} if last else {},
            )

    job = dg.define_asset_job(
        f"{FRESHNESS}_checks_job",
        selection=dg.AssetSelection.checks(*[dg.AssetCheckKey(key, FRESHNESS) for key in within]),
        description="Looks whether the platform keeps its assets fresh.",
        executor_def=dg.in_process_executor,
    )
    schedule = dg.ScheduleDefinition(
        name=f"{FRESHNESS}_checks_schedule",
        job=job,
        cron_schedule="*/10 * * * *",
        description="Every 10 minutes: fails the check of each asset that is older than it may be.",
    )
    return dg.Definitions(asset_checks=[check], jobs=[job], schedules=[schedule])


def _up_to_date_at(event: dg.EventLogEntry) -> dt.datetime | None:
    """Return the time (UTC) of an asset's last update; None if it was never updated."""
    said = event.asset_materialization.metadata if event.asset_materialization else {}
    if UP_TO_DATE_AT in said:
        return dt.datetime.fromtimestamp(float(str(said[UP_TO_DATE_AT].value)), dt.UTC)
    return None if STOPPED in said else dt.datetime.fromtimestamp(event.timestamp, dt.UTC)


def _minutes(time: dt.timedelta) -> int:
    return round(time.total_seconds() / 60)
