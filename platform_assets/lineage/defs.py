"""Dagster definitions of the lineage: its page as an asset, the check of findings, and OpenLineage events."""

import datetime as dt
import json
from collections import Counter
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.lineage.assembly import LineageRoom
from platform_assets.lineage.resources import LineageResource
from platform_assets.orchestration import OWNERS, clear_failures, lazy_resource, preview, scheduled_job
from platform_assets.rooms import Rooms

if TYPE_CHECKING:
    from platform_assets.lineage.settings import OpenLineageSettings

GROUP = "lineage"
COLUMNS = dg.AssetKey([GROUP, "columns"])
_INSPECTED = dg.AssetKey(["dlp", "columns"])
_CHECK = "findings_agree_with_lineage"
_CRON = "0 4 * * *"
"""After the nightly inspection of columns."""
_LONGEST_LIST = 20
EVENTS = "openlineage_events"
_MOST_RUNS = 50


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the page, and the sensor of events if a server is configured.

    Args:
        rooms: The rooms.
    """
    room = rooms.of(LineageRoom)
    resources = {"lineage": lazy_resource(lambda: room, "The lineage of columns")}
    server = room.settings.lineage.openlineage
    sensors = [build_event_sensor(server)] if server is not None else []
    return dg.Definitions.merge(_page_defs(rooms), dg.Definitions(sensors=sensors, resources=resources))


def _page_defs(rooms: Rooms) -> dg.Definitions:
    """Define the asset `lineage/columns`, its check, job and schedule."""
    room = rooms.of(LineageRoom)

    @dg.asset(
        key=COLUMNS,
        deps=[_INSPECTED] if "dlp" in rooms else [],
        group_name=GROUP,
        owners=OWNERS,
        kinds={"html"},
        description="The page that shows where each column comes from, where it goes, and what sensitive "
        "data it can hold. `platform-assets lineage open` opens it.",
        metadata={"page": dg.MetadataValue.url(link)} if (link := room.link()) else {},
    )
    def columns(context: dg.AssetExecutionContext, lineage: LineageResource) -> dg.MaterializeResult[None]:
        with clear_failures():
            graph, classified = lineage.proved_graph, lineage.classify(lineage.found_marks())
            file = lineage.write_page(classified)
        direct = [edge for edge in graph.edges if edge.is_direct]
        types = Counter(mark.info_type for mark in classified.marks)
        return dg.MaterializeResult(
            metadata={
                "file": dg.MetadataValue.path(str(file)),
                "size in bytes": file.stat().st_size,
                "tables": len(graph.tables),
                "columns": sum(len(table.columns) for table in graph.tables.values()),
                "direct edges": len(direct),
                "indirect edges": len(graph.edges) - len(direct),
                "edges proved by experiment": sum(edge.proved is True for edge in graph.edges),
                "edges not proved": sum(edge.proved is False for edge in graph.edges),
                "tables with unknown lineage": sum(bool(table.unknown) for table in graph.tables.values()),
                "columns that can hold sensitive data": preview(
                    [{"info type": name, "columns": number} for name, number in sorted(types.items())]
                ),
            }
        )

    @dg.asset_check(
        asset=COLUMNS,
        name=_CHECK,
        description="Whatever the inspection has found in a column can have come from the columns that it is "
        "made from. If not, data leaks into it, its lineage is wrong, or the finding is.",
    )
    def agree(lineage: LineageResource) -> dg.AssetCheckResult:
        with clear_failures():
            found = lineage.contradictions(lineage.classify(lineage.found_marks()))
        return dg.AssetCheckResult(
            passed=not found,
            severity=dg.AssetCheckSeverity.WARN,
            description=" ".join(str(problem) for problem in found[:_LONGEST_LIST]) or "none contradicts it",
            metadata={"findings that contradict the lineage": len(found)},
        )

    job = scheduled_job(
        "lineage_columns",
        dg.AssetSelection.assets(COLUMNS),
        "Makes the page of the lineage, and compares findings with the lineage.",
        _CRON,
        room.platform.schedule.timezone,
    )
    return dg.Definitions.merge(dg.Definitions(assets=[columns], asset_checks=[agree]), job)


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
            # Runs before the server was configured are not reported.
            context.update_cursor(_cursor(dt.datetime.now(dt.UTC), []))
            return dg.SkipReason("Runs are reported from now on.")
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
        return dg.SkipReason(f"{sent} runs were reported." if sent else "No run has ended.")

    return send_events


def _cursor(after: dt.datetime, sent: list[str]) -> str:
    return json.dumps({"after": after.isoformat(), "sent": sent})
