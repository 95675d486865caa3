"""The code location: merges the definitions of all rooms, and defines the main job."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from platform_assets.configuration.blocks import Settings
from platform_assets.dagster_internals import log_runs_as_json, with_jobs
from platform_assets.description import DescribesTables, TableNotes
from platform_assets.logs import is_json
from platform_assets.orchestration import (
    BLOCKING_CHECKS,
    CHECKS_WITH_OWN_JOB,
    Notes,
    PlacesJobs,
    blocking_checks,
    build_freshness_defs,
    lazy_resource,
    scheduled_job,
    with_notes,
)
from platform_assets.orchestration import (
    MAIN_JOB as MAIN_JOB,
)
from platform_assets.own_assets import HasAssetResources
from platform_assets.processes import without_garbage_collection
from platform_assets.rooms import Rooms
from platform_assets.runs import LOGGERS
from platform_assets.status import HasFreshnessLimits

_MAIN_GROUPS = ("totesys", "star", "warehouse")


def build_defs(settings: Settings, *, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Build the code location without connecting to or reading anything.

    Args:
        settings: The configuration.
        resources: Resources that replace the configured ones, by key; for tests and special deployments.
    """
    if is_json():
        log_runs_as_json()
    with without_garbage_collection():
        return _build_defs(Rooms(settings, replaced=frozenset(resources or {})), settings, resources)


def _build_defs(rooms: Rooms, settings: Settings, resources: Mapping[str, Any] | None) -> dg.Definitions:
    of_rooms = list(rooms.definitions().values())
    configured = {key: resource for defs in of_rooms for key, resource in (defs.resources or {}).items()}
    limits = {
        dg.AssetKey(path): limit
        for room in rooms.offering(HasFreshnessLimits)
        for path, limit in room.freshness_limits().items()
    }
    describing = list(rooms.offering(DescribesTables))

    def notes(key: tuple[str, ...]) -> TableNotes | None:
        return next(filter(None, (room.notes_on(key) for room in describing)), None)

    shared = dg.Definitions(
        resources={
            # A source or warehouse may have the name of such a resource, and keeps it.
            **_for_own_assets(rooms),
            **configured,
            # Steps and sensors that run apart from the checks of what they read ask for their results.
            BLOCKING_CHECKS: dg.ResourceDefinition.hardcoded_resource(blocking_checks(of_rooms)),
            **(resources or {}),
        },
        loggers=LOGGERS,
    )
    with_all_jobs = [
        *(_without_resources(defs, notes) for defs in of_rooms),
        build_freshness_defs(limits),
        _main_job(of_rooms, settings),
    ]
    for room in rooms.offering(PlacesJobs):
        if room.places_jobs():
            with_all_jobs = [with_jobs(defs, room.placed) for defs in with_all_jobs]
    return dg.Definitions.merge(*with_all_jobs, shared)


def _for_own_assets(rooms: Rooms) -> dict[str, dg.ResourceDefinition]:
    """Define the resources that the user's own assets may ask for."""
    found = {
        key: asset_resource
        for room in rooms.offering(HasAssetResources)
        for key, asset_resource in room.asset_resources().items()
    }
    return {key: lazy_resource(build, description) for key, (description, build) in found.items()}


def _without_resources(defs: dg.Definitions, notes: Notes) -> dg.Definitions:
    """Return definitions with notes on tables, without resources, which a room above may replace."""
    return dg.Definitions(
        assets=with_notes(defs.assets or (), notes),
        asset_checks=defs.asset_checks,
        jobs=defs.jobs,
        schedules=defs.schedules,
        sensors=defs.sensors,
    )


def _main_job(of_rooms: Sequence[dg.Definitions], settings: Settings) -> dg.Definitions:
    assets = (asset for defs in of_rooms for asset in defs.assets or ())
    keys = [key for asset in assets for key in _keys(asset) if _is_main(key)]
    checks = [
        key
        for defs in of_rooms
        for asset_check in defs.asset_checks or ()
        for key in asset_check.check_keys
        if _is_main(key.asset_key) and key.name not in CHECKS_WITH_OWN_JOB
    ]
    schedule = settings.platform.schedule
    return scheduled_job(
        MAIN_JOB,
        dg.AssetSelection.assets(*keys).without_checks() | dg.AssetSelection.checks(*checks),
        "Loads the changes of Totesys into the lake, the star schema and the warehouse, and checks them.",
        schedule.cron,
        schedule.timezone,
        is_exclusive=True,
    )


def _is_main(key: dg.AssetKey) -> bool:
    """Return True for tables of Totesys, the star schema and the main warehouse; False for feeds' tables."""
    return len(key.path) == 2 and key.path[0] in _MAIN_GROUPS


def _keys(asset: object) -> Iterable[dg.AssetKey]:
    return asset.keys if isinstance(asset, dg.AssetsDefinition) else ()
