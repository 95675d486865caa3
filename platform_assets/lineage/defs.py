"""Dagster definitions of the lineage: the sensor that sends events of OpenLineage."""

import datetime as dt
import json
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.lineage.assembly import LineageRoom
from platform_assets.orchestration import clear_failures, lazy_resource
from platform_assets.rooms import Rooms

if TYPE_CHECKING:
    from platform_assets.lineage.settings import OpenLineageSettings

EVENTS = "openlineage_events"
_MOST_RUNS = 50


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the sensor of events, if a server is configured.

    Args:
        rooms: The rooms.
    """
    room = rooms.of(LineageRoom)
    resources = {"lineage": lazy_resource(lambda: room, "The lineage of columns")}
    server = room.settings.lineage.openlineage
    sensors = [build_event_sensor(server)] if server is not None else []
    return dg.Definitions(sensors=sensors, resources=resources)


def build_event_sensor(server: "OpenLineageSettings") -> dg.SensorDefinition:
    """Define the sensor that sends an event for each run that has ended, in order and at least once.

    The cursor moves behind a run when the server has taken its events.

    Args:
        server: The server that gets the events.
    """

    @dg.sensor(
        name=EVENTS,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Sends an event of OpenLineage to {server.url} for each run that has ended, with the "
        "lineage of the columns that it wrote.",
    )
    def send_events(
        context: dg.SensorEvaluationContext, lineage: dg.ResourceParam[LineageRoom]
    ) -> dg.SkipReason:
        from platform_assets.lineage.dagster_facts import ended_runs
        from platform_assets.lineage.events import run_events, send

        if context.cursor is None:
            # Runs before the server was configured are not told.
            context.update_cursor(_cursor(dt.datetime.now(dt.UTC), []))
            return dg.SkipReason("From now on, runs are told.")
        read = json.loads(context.cursor)
        after, known = dt.datetime.fromisoformat(read["after"]), list(read["sent"])
        sent = 0
        with clear_failures(retried=False):
            for run, noted in ended_runs(context.instance, after, known, _MOST_RUNS):
                send(run_events(run, lineage.graph, lineage.settings.lineage.namespace), server)
                known = [*known, run.run_id] if noted == after else [run.run_id]
                after = noted
                sent += 1
                context.update_cursor(_cursor(after, known))
        return dg.SkipReason(f"{sent} runs were told." if sent else "No run has ended.")

    return send_events


def _cursor(after: dt.datetime, sent: list[str]) -> str:
    return json.dumps({"after": after.isoformat(), "sent": sent})
