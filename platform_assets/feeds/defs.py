"""The assets of feeds: their tables in the lake, in each warehouse, and in Snowflake."""

import time
from collections.abc import Iterator

import dagster as dg

from platform_assets.dlp.defs import OBJECTS
from platform_assets.dlp.resources import StarProtectionResource
from platform_assets.feeds.assembly import UPLOADS, FeedsRoom
from platform_assets.logs import event
from platform_assets.orchestration import (
    FAILED,
    LOADS,
    OWNERS,
    build_failure_check,
    clear_failures,
    lazy_resource,
    row_count_metadata,
    table_schema,
    warehouse_pool,
    with_resource_keys,
)
from platform_assets.rooms import Rooms
from platform_assets.warehouse.assembly import WarehouseRoom
from platform_assets.warehouse.resources import WarehouseResource

_NO_TABLE = "%s: skipped; nothing was uploaded yet, and its columns are not declared"


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the assets of all feeds and their checks.

    Args:
        rooms: The rooms.
    """
    room = rooms.of(FeedsRoom)
    feeds = lazy_resource(lambda: room, "Loads uploaded files into the tables of feeds")
    parts = [build_feed(rooms, name) for name in room.descriptions]
    return dg.Definitions.merge(*parts, dg.Definitions(resources={"feeding": feeds}))


def build_feed(rooms: Rooms, name: str) -> dg.Definitions:
    """Define the assets of a feed and their check, without the resources that they use.

    Args:
        rooms: The rooms.
        name: Name of the feed.
    """
    description = rooms.of(FeedsRoom).descriptions[name]
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
        _table(name, description),
        *(
            _warehouse_table(name, warehouse, engine)
            for warehouse, engine in rooms.of(WarehouseRoom).engines.items()
        ),
    ]
    if "snowflake" in rooms:
        assets.append(_snowflake_table(rooms, name, description))
    check = build_failure_check(dg.AssetKey([UPLOADS, name]), "Every object that may be loaded was loaded.")
    return dg.Definitions(assets=assets, asset_checks=[check])


def build_feed_sensor(name: str, feed: dg.Definitions) -> dg.Definitions:
    """Define a job that loads a feed, and a sensor that starts it when uploaded objects have been inspected.

    For a feed in another code location than the objects, whose own job loads the other feeds.

    Args:
        name: Name of the feed.
        feed: Its definitions.
    """
    assets = [asset for asset in feed.assets or () if isinstance(asset, dg.AssetsDefinition)]
    job = dg.define_asset_job(
        f"{UPLOADS}_{name}",
        selection=dg.AssetSelection.assets(*assets),
        description=f"Loads inspected objects into the tables of the feed {name}.",
        executor_def=dg.in_process_executor,
    )

    @dg.asset_sensor(
        asset_key=OBJECTS,
        job=job,
        name=f"{UPLOADS}_{name}_sensor",
        description=f"Loads the feed {name} when uploaded objects have been inspected.",
    )
    def inspected() -> dg.RunRequest:
        return dg.RunRequest()

    return dg.Definitions(jobs=[job], sensors=[inspected])


def _table(feed: str, description: str) -> dg.AssetsDefinition:
    """Define a feed's table in the lake.

    Args:
        feed: Name of the feed.
        description: A sentence about the objects that it loads.
    """

    @dg.asset(
        key=dg.AssetKey([UPLOADS, feed]),
        deps=[OBJECTS],
        group_name=UPLOADS,
        owners=OWNERS,
        kinds={"deltalake"},
        description=f"{description} Each version of an object is loaded once, if its inspection allows it.",
    )
    def load(feeding: dg.ResourceParam[FeedsRoom]) -> dg.MaterializeResult[None]:
        began = time.monotonic()
        with clear_failures():
            done = feeding.feeding(feed).load()
        event(
            "feed_read",
            f"{feed}: {done.objects} objects with {done.rows} rows loaded",
            level="warning" if done.problem else "info" if done.objects else "debug",
            feed=feed,
            asset=f"{UPLOADS}/{feed}",
            objects=done.objects,
            rows=done.rows,
            dead_letters=done.dead_letters,
            seconds=round(time.monotonic() - began, 3),
            **({"reason": done.problem} if done.problem else {}),
        )
        return dg.MaterializeResult(
            metadata={
                "objects loaded": done.objects,
                "rows loaded": done.rows,
                "rows set apart": done.dead_letters,
                **({FAILED: done.problem} if done.problem else {}),
            }
        )

    return load


def _warehouse_table(feed: str, name: str, engine: str) -> dg.AssetsDefinition:
    """Define a feed's table in a warehouse."""

    @dg.asset(
        key=dg.AssetKey([name, UPLOADS, feed]),
        # Without uploads there is nothing to load.
        output_required=False,
        deps=[dg.AssetKey([UPLOADS, feed])],
        group_name=UPLOADS,
        owners=OWNERS,
        kinds={engine, "table"},
        description=f"The valid rows of the feed {feed}, changed as the policy requires.",
        op_tags=LOADS,
        pool=warehouse_pool(name),
    )
    @with_resource_keys(warehouse=name)
    def write(
        context: dg.AssetExecutionContext,
        warehouse: WarehouseResource,
        feeding: dg.ResourceParam[FeedsRoom],
        protection: StarProtectionResource,
    ) -> Iterator[dg.MaterializeResult[None]]:
        with clear_failures():
            loading = feeding.feeding(feed)
            if not loading.has_table():
                context.log.info(_NO_TABLE, feed)
                return
            rows = loading.rows_for(protection, name, context.run.run_id)
            count = warehouse.write((UPLOADS, feed), rows)
        yield dg.MaterializeResult(
            metadata={**row_count_metadata(count), "dagster/table_name": f"{UPLOADS}.{feed}"}
        )

    return write


def _snowflake_table(rooms: Rooms, feed: str, description: str) -> dg.AssetsDefinition | dg.AssetSpec:
    """Define a feed's table in Snowflake."""
    from platform_assets.snowflake.defs import GROUP, NOT_LOADED, has_account, loaded, without_account
    from platform_assets.snowflake.resources import CopiesResource

    name = f"{UPLOADS}_{feed}"
    spec = dg.AssetSpec(
        dg.AssetKey([GROUP, name]),
        deps=[dg.AssetKey([UPLOADS, feed])],
        group_name=GROUP,
        owners=OWNERS,
        kinds={"snowflake", "table"},
        description=f"{description} The valid rows, changed as the policy requires, loaded into Snowflake "
        "from Parquet files in one transaction.",
    )
    if not has_account(rooms):
        return without_account(spec)

    @dg.asset(
        key=spec.key,
        # Without uploads there is nothing to load.
        output_required=False,
        deps=spec.deps,
        group_name=GROUP,
        owners=OWNERS,
        kinds=spec.kinds,
        description=spec.description,
        op_tags=LOADS,
        pool=warehouse_pool(GROUP),
    )
    def load(
        context: dg.AssetExecutionContext,
        snowflake_copies: CopiesResource,
        feeding: dg.ResourceParam[FeedsRoom],
        protection: StarProtectionResource,
    ) -> Iterator[dg.MaterializeResult[None]]:
        with clear_failures():
            copies, loading = snowflake_copies(), feeding.feeding(feed)
            if not loading.has_table():
                context.log.info(_NO_TABLE, feed)
                return
            table = loading.copy_for(protection, GROUP, name, context.run.run_id)
            done = copies.refresh(table, name)
        if done.result.error is not None:
            raise dg.Failure(f"{NOT_LOADED}{name}: {done.result.error}")
        yield loaded(context, spec.key, done, {"dagster/column_schema": table_schema(table.columns)})

    return load
