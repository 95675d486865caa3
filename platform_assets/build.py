"""The code location: `build_defs` merges what each room defines, and gives the rooms their resources and jobs."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import dagster as dg

from platform_assets import assembly
from platform_assets.lake.defs import LAKE_IO_MANAGER
from platform_assets.model import star, totesys
from platform_assets.settings import Settings
from platform_assets.source.defs import build_source_defs
from platform_assets.star.defs import build_star_defs
from platform_assets.warehouse.defs import FRESHNESS, WAREHOUSE_IO_MANAGER, build_freshness_defs, build_warehouse_defs

MAIN_JOB = "totesys_to_warehouse"
EXCLUSIVE_TAG = {"platform_assets/exclusive": MAIN_JOB}
"""Runs with this tag wait for one another: `dagster.yaml` allows one at a time."""


def build_defs(settings: Settings, *, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Build the code location; nothing is connected to or read.

    Args:
        settings: What to build it from.
        resources: Resources that replace the configured ones, by key; for tests and special deployments.
    """
    rooms = [
        build_source_defs("totesys", totesys.TABLES),
        build_star_defs("totesys", totesys.TABLES),
        build_warehouse_defs(settings.warehouse.engine),
    ]
    assets = [asset for room in rooms for asset in room.assets or ()]
    freshness = build_freshness_defs(
        [dg.AssetKey([group, table.name]) for group, tables in _watched() for table in tables],
        dt.timedelta(minutes=settings.freshness.within),
    )
    return dg.Definitions.merge(
        *rooms, freshness, dg.Definitions(resources={**_resources(settings), **(resources or {})}), _main_job(assets, settings)
    )


def _watched() -> list[tuple[str, tuple[Any, ...]]]:
    return [("totesys", totesys.TABLES), ("warehouse", star.TABLES)]


def _main_job(assets: list[Any], settings: Settings) -> dg.Definitions:
    selection = dg.AssetSelection.assets(*[key for asset in assets for key in asset.keys])
    freshness = dg.AssetSelection.checks(
        *[
            dg.AssetCheckKey(dg.AssetKey([group, table.name]), FRESHNESS)
            for group, tables in _watched()
            for table in tables
        ]
    )
    job = dg.define_asset_job(
        MAIN_JOB,
        # How old the data is, is a question for when nothing runs.
        selection=selection.without_checks() | (dg.AssetSelection.all_asset_checks() - freshness),
        description="Brings what changed in Totesys into the lake, the star schema and the warehouse, and checks it.",
        executor_def=dg.in_process_executor,
        tags=EXCLUSIVE_TAG,
        run_tags=EXCLUSIVE_TAG,
    )
    schedule = dg.ScheduleDefinition(
        name=f"{MAIN_JOB}_schedule",
        job=job,
        cron_schedule=settings.schedule.cron,
        execution_timezone=settings.schedule.timezone,
        description="Looks at the source for changes and brings them to the warehouse.",
    )
    return dg.Definitions(jobs=[job], schedules=[schedule])


def _resources(settings: Settings) -> dict[str, dg.ResourceDefinition]:
    """Resources that are built, and whose libraries are imported, when a step first asks for them."""

    def lazily(build: Any, description: str, requires: set[str] | None = None) -> dg.ResourceDefinition:
        return dg.ResourceDefinition(
            lambda _: build(), description=description, required_resource_keys=requires
        )

    def lake_io_manager() -> dg.IOManager:
        from platform_assets.lake.io_manager import LakeIOManager

        sources = {"totesys": {table.name: table for table in totesys.TABLES}}
        return LakeIOManager(sources, {table.name: table for table in star.TABLES})

    def warehouse_io_manager() -> dg.IOManager:
        from platform_assets.warehouse.io_manager import WarehouseIOManager

        return WarehouseIOManager()

    return {
        "totesys": lazily(lambda: assembly.build_source(settings, "totesys"), "The source database Totesys"),
        "lake": lazily(lambda: assembly.build_lake(settings), "The lake's two zones"),
        "engine": lazily(lambda: assembly.build_engine(settings), "The SQL engine, with bounded memory"),
        "warehouse": lazily(lambda: assembly.build_warehouse(settings), "The warehouse"),
        LAKE_IO_MANAGER: dg.IOManagerDefinition(
            lambda _: lake_io_manager(),
            description="Assets as Delta tables in the lake",
            required_resource_keys={"lake", "engine"},
        ),
        WAREHOUSE_IO_MANAGER: dg.IOManagerDefinition(
            lambda _: warehouse_io_manager(),
            description="Assets as tables in the warehouse",
            required_resource_keys={"warehouse"},
        ),
    }
