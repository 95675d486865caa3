"""Dagster definitions of the inspection: assets for objects, findings and columns, their checks and jobs."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from platform_assets.alert import readable_uri
from platform_assets.dlp.assembly import OBJECT_ASSETS, InspectionRoom
from platform_assets.dlp.resources import InspectionResource
from platform_assets.dlp.tables import COLUMN_COLUMNS, FINDING_COLUMNS, OBJECT_COLUMNS
from platform_assets.errors import DlpError
from platform_assets.isolation import IsolatedFailure, Isolation
from platform_assets.lake.interfaces import HasLakeTables
from platform_assets.logs import event
from platform_assets.orchestration import (
    FAILED,
    INSPECTION,
    OWNERS,
    build_failure_check,
    clear_failures,
    lazy_resource,
    preview,
    row_count_metadata,
    scheduled_job,
    table_schema,
)
from platform_assets.rooms import Rooms
from platform_assets.star.assembly import StarRoom
from platform_assets.warehouse.assembly import WarehouseRoom

GROUP = "dlp"
OBJECTS, FINDINGS = (dg.AssetKey(path) for path in OBJECT_ASSETS)
COLUMNS = dg.AssetKey([GROUP, "columns"])
COLUMNS_JOB = "inspect_columns"
_LONGEST_LIST = 20


class InspectUploads(dg.Config):
    """The objects to inspect; the default is everything that is due.

    Attributes:
        watch: Name of the watch; empty means all watches.
        batch: Number of the batch that a sensor planned; 0 means everything that is due.
    """

    watch: str = ""
    batch: int = 0


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the assets `dlp/*`, their checks, jobs and schedules, and the protection of warehouses.

    Args:
        rooms: The rooms.
    """
    room = rooms.of(InspectionRoom)
    room.check_info_types()
    defs = [
        _column_defs(
            _inspected_tables(rooms), room.settings.dlp.inspect.cron, room.platform.schedule.timezone
        )
    ]
    if "objects" in rooms:
        from platform_assets.objects.assembly import ObjectsRoom

        watches = rooms.of(ObjectsRoom).settings.watches
        defs.append(
            _object_defs(
                {name: dt.timedelta(minutes=watch.uninspected_after) for name, watch in watches.items()}
            )
        )
    resources = {
        "dlp": lazy_resource(room.service, "The inspection for sensitive data"),
        "protection": lazy_resource(room.protection, "The policy, applied to rows on the way to warehouses"),
    }
    return dg.Definitions.merge(*defs, dg.Definitions(resources=resources))


def _inspected_tables(rooms: Rooms) -> list[dg.AssetKey]:
    """Return the asset keys of the tables of lake and warehouses whose columns are inspected."""
    in_lake = [path for room in rooms.offering(HasLakeTables) for path in room.lake_paths()]
    warehouses, star = rooms.of(WarehouseRoom).engines, rooms.of(StarRoom).model
    return [
        *(dg.AssetKey(path) for path in in_lake),
        *(dg.AssetKey([name, table.name]) for name in warehouses for table in star.tables),
    ]


def _object_defs(watches: Mapping[str, dt.timedelta]) -> dg.Definitions:
    """Define the assets of uploaded objects and of the findings in them.

    Args:
        watches: How long an object may wait for its inspection, by watch.
    """
    from platform_assets.objects.defs import INSPECT_STEP

    @dg.multi_asset(
        name=INSPECT_STEP,
        specs=[
            dg.AssetSpec(
                OBJECTS,
                description="Every inspected version of an uploaded object: how much was inspected, the "
                "number of findings, and the policy's decision.",
                group_name=GROUP,
                owners=OWNERS,
                kinds={"deltalake"},
                metadata={"dagster/column_schema": table_schema(OBJECT_COLUMNS)},
            ),
            dg.AssetSpec(
                FINDINGS,
                description="Every finding in an uploaded object: info type, likelihood, location and a "
                "keyed fingerprint; never the value.",
                group_name=GROUP,
                owners=OWNERS,
                kinds={"deltalake"},
                metadata={"dagster/column_schema": table_schema(FINDING_COLUMNS)},
            ),
        ],
        description="Inspects the objects that the watches noticed, and applies the policy to each.",
        op_tags=INSPECTION,
    )
    def inspect(
        context: dg.AssetExecutionContext, config: InspectUploads, dlp: InspectionResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        failing = Isolation("The inspection of uploads")
        inspected = 0
        of_objects: dict[str, Any] = {}
        of_findings: dict[str, Any] = {}
        for name in [config.watch] if config.watch else watches:
            with failing.guard(f"watch {name}"), dlp.uploads(name) as uploads:
                done = (
                    uploads.inspect_batch(config.batch, context.run.run_id)
                    if config.batch
                    else uploads.inspect_all(context.run.run_id)
                )
                for where, reason in done.failures:
                    failing.record(where, DlpError(reason))
                inspected += len(done.inspections)
                for inspection in done.inspections:
                    context.log.info(
                        "%s: %s, %d findings, %s",
                        inspection.object_id[:12],
                        inspection.result.status.value,
                        sum(tally.count for tally in inspection.result.tallies.values()),
                        inspection.decision,
                    )
                    event(
                        "object_inspected",
                        f"{inspection.object_id[:12]}: {inspection.result.status.value}, "
                        f"{inspection.decision}",
                        watch=name,
                        object=inspection.object_id[:12],
                        status=inspection.result.status.value,
                        decision=inspection.decision,
                        findings=sum(tally.count for tally in inspection.result.tallies.values()),
                        bytes=inspection.size,
                    )
        with failing.guard("alerts"):
            dlp.send_alerts()
        with failing.guard("summary of the findings"):
            summary = dlp.findings.summary()
            of_objects = {
                **row_count_metadata(sum(summary.objects.values())),
                **{f"objects {status.lower()}": count for status, count in summary.objects.items()},
                "worst objects": preview([_worst_row(row) for row in summary.worst]),
            }
            newest = dlp.findings.latest_findings(5)
            of_findings = {
                **row_count_metadata(dlp.findings.count_findings()),
                "findings by info type": dg.MetadataValue.md(summary.chart),
                "newest": preview([{**row, "uri": _name(row["uri"])} for row in newest]),
            }
        for failed in failing.failures[:_LONGEST_LIST]:
            context.log.warning("%s failed and is tried again: %s", failed.name, failed.reason)
        yield dg.MaterializeResult(
            asset_key=OBJECTS,
            metadata={
                "inspected by this run": inspected,
                "failed in this run": len(failing.failures),
                **_failed_metadata(failing),
                **of_objects,
            },
        )
        yield dg.MaterializeResult(asset_key=FINDINGS, metadata=of_findings)

    @dg.asset_check(
        asset=OBJECTS,
        name="no_uninspected_object",
        description="No noticed object has waited for its inspection longer than the limit.",
    )
    def inspected_in_time(dlp: InspectionResource) -> dg.AssetCheckResult:
        late: dict[str, int] = {}
        counting = Isolation("Counting the waiting objects")
        for name, within in watches.items():
            with counting.guard(name):
                if number := dlp.uninspected(name, within):
                    late[name] = number
        problems = [f"{number} of {name}" for name, number in late.items()]
        problems += [f"{failure.name}: {failure.reason}" for failure in counting.failures]
        return dg.AssetCheckResult(
            passed=not problems,
            description="; ".join(problems) or "none",
            metadata={"uninspected objects": sum(late.values())},
        )

    failed = build_failure_check(OBJECTS, "The last inspection completed all of its objects.")
    return dg.Definitions(assets=[inspect], asset_checks=[inspected_in_time, failed])


def _column_defs(tables: Sequence[dg.AssetKey], cron: str, timezone: str) -> dg.Definitions:
    """Define the asset of the columns, its check, job and schedule.

    Args:
        tables: The asset keys of the tables whose columns are inspected.
        cron: The schedule of the inspection.
        timezone: The time zone that `cron` is in.
    """

    @dg.asset(
        key=COLUMNS,
        # Not `deps`, because Dagster would derive input names from the tables' names, which can be anything
        # in a source.
        ins={
            f"table_{number}": dg.AssetIn(key, dagster_type=dg.Nothing) for number, key in enumerate(tables)
        },
        group_name=GROUP,
        owners=OWNERS,
        kinds={"deltalake"},
        metadata={"dagster/column_schema": table_schema(COLUMN_COLUMNS)},
        op_tags=INSPECTION,
        description="The info types of each column of lake and warehouses, with their likelihood and share "
        "of distinct values. A table is inspected again only after a change.",
    )
    def columns(
        context: dg.AssetExecutionContext, dlp: InspectionResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        with clear_failures():
            seen = dlp.inspect_columns(context.run.run_id, context.log.info)
            found = dlp.findings.sensitive_columns()
            rows = dlp.findings.count_columns()
        yield dg.MaterializeResult(
            metadata={
                **row_count_metadata(rows),
                "tables inspected": seen.tables,
                "tables that failed": len(seen.failing.failures),
                "sensitive columns": preview([_column_row(row) for row in found]),
            }
        )
        with clear_failures():
            seen.failing.raise_failures()

    @dg.asset_check(
        asset=COLUMNS,
        name="no_unexpected_sensitive_column",
        description="A rule allows or changes every column with sensitive values, and every column was "
        "inspected.",
    )
    def expected(dlp: InspectionResource) -> dg.AssetCheckResult:
        with clear_failures():
            unexpected = dlp.unexpected_columns()
            uninspected = dlp.uninspected_columns()
        problems = [
            f"{row['table']}.{row['column']}: {row['info_type']} ({row['likelihood']}), by "
            f"{row['rule'] or 'no rule'}"
            for row in unexpected
        ] + [f"{row['table']}.{row['column']}: {row['problem']}" for row in uninspected]
        return dg.AssetCheckResult(
            passed=not problems,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(problems[:_LONGEST_LIST]) or "none",
            metadata={"unexpected columns": len(unexpected), "columns not inspected": len(uninspected)},
        )

    job = scheduled_job(
        COLUMNS_JOB,
        dg.AssetSelection.assets(COLUMNS),
        "Inspects the columns of tables that have changed.",
        cron,
        timezone,
    )
    return dg.Definitions.merge(dg.Definitions(assets=[columns], asset_checks=[expected]), job)


def _failed_metadata(failing: Isolation) -> dict[str, str]:
    try:
        failing.raise_failures()
    except IsolatedFailure as failure:
        return {FAILED: str(failure)}
    return {}


def _name(uri: str) -> str:
    return readable_uri(uri)


def _worst_row(row: Mapping[str, Any]) -> dict[str, Any]:
    counts = json.loads(row["info_types"])
    return {
        # The name in the run's log; `dlp/objects` and `dlp/findings` can be queried by it.
        "object": row["object_id"][:12],
        "uri": _name(row["uri"]),
        "info types": ", ".join(f"{name} {count['count']}" for name, count in counts.items()),
        "highest": row["likelihood"],
        "findings": row["findings"],
        "status": row["status"],
        "decision": row["decision"],
    }


def _column_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "column": f"{row['table']}.{row['column']}",
        "info type": row["info_type"],
        "likelihood": row["likelihood"],
        "share": f"{row['share']:.0%}",
        "decision": row["decision"],
        "rule": row["rule"] or "",
    }
