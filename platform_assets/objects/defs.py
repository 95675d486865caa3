"""The sensors that notice uploaded objects, and the job that processes them."""

from typing import Any

import dagster as dg

from platform_assets.objects.assembly import ObjectsRoom
from platform_assets.objects.interfaces import UsesUploads
from platform_assets.orchestration import lazy_resource
from platform_assets.rooms import Rooms

INSPECT_JOB = "inspect_uploads"
INSPECT_STEP = "inspect_objects"
"""Name of the step that takes a watch and the number of a batch."""


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the sensors and their job; nothing is watched for if no room uses uploaded objects.

    Args:
        rooms: The rooms.
    """
    resources = {"objects": lazy_resource(lambda: rooms.of(ObjectsRoom), "The watched folders and buckets")}
    keys = [dg.AssetKey(path) for room in rooms.offering(UsesUploads) for path in room.upload_assets()]
    if not keys:
        return dg.Definitions(resources=resources)
    job = dg.define_asset_job(
        INSPECT_JOB,
        selection=dg.AssetSelection.assets(*keys),
        description="Inspects uploaded objects, a batch of a watch or everything that is due, and brings "
        "what may pass into the tables of their feeds.",
        executor_def=dg.in_process_executor,
    )
    watches = rooms.of(ObjectsRoom).settings.watches
    sensors = [build_upload_sensor(name, job, watch.every) for name, watch in watches.items()]
    return dg.Definitions(jobs=[job], sensors=sensors, resources=resources)


def build_upload_sensor(watch: str, job: Any, every: int) -> dg.SensorDefinition:
    """The sensor of a watch: it notices objects, and starts runs that inspect them.

    Args:
        watch: Name of the watch.
        job: The job that inspects a batch.
        every: Seconds between two ticks.
    """

    @dg.sensor(
        name=f"{watch}_objects",
        job=job,
        minimum_interval_seconds=every,
        description=f"Looks for new and changed objects of {watch}, and has them inspected.",
    )
    def notice(
        context: dg.SensorEvaluationContext, objects: dg.ResourceParam[ObjectsRoom]
    ) -> dg.SensorResult:
        from platform_assets.objects.watch import ListingCursor, RunState

        states = {
            dg.DagsterRunStatus.SUCCESS: RunState.SUCCEEDED,
            dg.DagsterRunStatus.FAILURE: RunState.FAILED,
            dg.DagsterRunStatus.CANCELED: RunState.FAILED,
        }

        def state_of(key: str) -> RunState:
            tags = {"dagster/run_key": key, "dagster/sensor_name": f"{watch}_objects"}
            runs = context.instance.get_runs(dg.RunsFilter(tags=tags), limit=1)
            return states.get(runs[0].status, RunState.ACTIVE) if runs else RunState.UNKNOWN

        tick = objects.watch(watch).tick(ListingCursor.from_json(context.cursor), state_of)
        if tick.problem:
            context.log.warning(tick.problem)
        summary = f"{tick.listed:,} objects listed, {tick.noticed:,} noticed by events."
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    run_key=request.key,
                    run_config={"ops": {INSPECT_STEP: {"config": {"watch": watch, "batch": request.batch}}}},
                    tags={"platform_assets/objects": str(request.objects)},
                )
                for request in tick.requests
            ],
            skip_reason=None if tick.requests else tick.problem or summary,
            cursor=tick.cursor.to_json(),
        )

    return notice
