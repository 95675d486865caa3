"""Dagster definitions of the inspection: assets for objects, findings and columns, their checks and jobs."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from platform_assets.dlp.tables import COLUMN_COLUMNS, FINDING_COLUMNS, OBJECT_COLUMNS
from platform_assets.errors import DlpError
from platform_assets.isolation import IsolatedFailure, Isolation, ended
from platform_assets.lake.defs import (
    OWNERS,
    clear_failures,
    multi_asset_check,
    name_of,
    preview,
    row_count_metadata,
    table_schema,
)

GROUP = "dlp"
OBJECTS, FINDINGS, COLUMNS = (dg.AssetKey([GROUP, name]) for name in ("objects", "findings", "columns"))
INSPECT_JOB = "inspect_uploads"
COLUMNS_JOB = "inspect_columns"
ALERTS_JOB = "deliver_alerts"
FAILED = "failures"
"""Materialization metadata: objects that failed in a run, and why; present only if there are any."""
NOTHING_FAILED = "nothing_failed"
_STEP = "inspect_objects"
_LONGEST_LIST = 20


@dataclass(frozen=True)
class WatchTimes:
    """Timing of a watch.

    Args:
        every: Seconds between two ticks.
        within: How long an object may stay uninspected.
    """

    every: int
    within: dt.timedelta


class InspectUploads(dg.Config):
    """The objects to inspect; the default is everything that is due.

    Attributes:
        watch: Name of the watch; empty means all watches.
        batch: Number of the batch that a sensor planned; 0 means everything that is due.
    """

    watch: str = ""
    batch: int = 0


def build_dlp_defs(
    watches: Mapping[str, WatchTimes],
    tables: Sequence[dg.AssetKey],
    feeds: Mapping[str, str],
    warehouses: Mapping[str, str],
    cron: str,
    timezone: str,
) -> dg.Definitions:
    """The assets `dlp/*`, their checks, jobs and schedules.

    Args:
        watches: The watches by name.
        tables: The asset keys of the tables of lake and warehouses whose columns are inspected.
        feeds: The feeds by name, each with a sentence that says which objects it takes.
        warehouses: The warehouses by name, with their engines.
        cron: The schedule of the inspection of columns.
        timezone: The time zone that `cron` is in.
    """

    @dg.multi_asset(
        name=_STEP,
        specs=[
            dg.AssetSpec(
                OBJECTS,
                description="Every version of an uploaded object that was inspected: how far, what was "
                "found, and what the policy decided.",
                group_name=GROUP,
                owners=OWNERS,
                kinds={"deltalake"},
                metadata={"dagster/column_schema": table_schema(OBJECT_COLUMNS)},
            ),
            dg.AssetSpec(
                FINDINGS,
                description="Every finding in an uploaded object: what it is, how sure that is, where it is, "
                "and a keyed fingerprint; never the value.",
                group_name=GROUP,
                owners=OWNERS,
                kinds={"deltalake"},
                metadata={"dagster/column_schema": table_schema(FINDING_COLUMNS)},
            ),
        ],
        required_resource_keys={"dlp"},
        description="Inspects what the watches noticed, and does what the policy says with it.",
    )
    def inspect(
        context: dg.AssetExecutionContext, config: InspectUploads
    ) -> Iterator[dg.MaterializeResult[None]]:
        room = context.resources.dlp
        failing = Isolation("The inspection of uploads")
        inspected = 0
        of_objects: dict[str, Any] = {}
        of_findings: dict[str, Any] = {}
        for name in [config.watch] if config.watch else watches:
            with failing.guard(f"watch {name}"), room.uploads(name) as uploads:
                done = (
                    uploads.inspect_batch(config.batch, context.run.run_id)
                    if config.batch
                    else uploads.inspect_all(context.run.run_id)
                )
                for where, reason in done.failures:
                    failing.record(where, DlpError(reason))
                inspected += len(done.inspections)
                for one in done.inspections:
                    context.log.info(
                        "%s: %s, %d findings, %s",
                        one.object_id[:12],
                        one.result.status.value,
                        sum(tally.count for tally in one.result.tallies.values()),
                        one.decision,
                    )
        with failing.guard("alerts"):
            room.deliver_alerts()
        with failing.guard("summary of the findings"):
            summary = room.findings.summary()
            of_objects = {
                **row_count_metadata(sum(summary.objects.values())),
                **{f"objects {status.lower()}": count for status, count in summary.objects.items()},
                "worst objects": preview([_worst_row(row) for row in summary.worst]),
            }
            newest = room.findings.latest_findings(5)
            of_findings = {
                **row_count_metadata(room.findings.count_findings()),
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
        required_resource_keys={"dlp"},
        description="What each column of lake and warehouses holds: info type, how sure that is, and the "
        "share of distinct values. A table that did not change is not read again.",
    )
    def columns(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        with clear_failures():
            seen = context.resources.dlp.inspect_columns(context.run.run_id, context.log.info)
            found = context.resources.dlp.findings.sensitive_columns()
            rows = context.resources.dlp.findings.count_columns()
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
        required_resource_keys={"dlp"},
        description="Every column in which something sensitive was found is allowed or changed by a rule, "
        "and every column could be inspected.",
    )
    def expected(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        with clear_failures():
            unexpected = context.resources.dlp.unexpected_columns()
            uninspected = context.resources.dlp.uninspected_columns()
        said = [
            f"{row['table']}.{row['column']}: {row['info_type']} ({row['likelihood']}), by "
            f"{row['rule'] or 'no rule'}"
            for row in unexpected
        ] + [f"{row['table']}.{row['column']}: {row['problem']}" for row in uninspected]
        return dg.AssetCheckResult(
            passed=not said,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(said[:_LONGEST_LIST]) or "none",
            metadata={"unexpected columns": len(unexpected), "columns not inspected": len(uninspected)},
        )

    @dg.asset_check(
        asset=OBJECTS,
        name="no_uninspected_object",
        required_resource_keys={"dlp"},
        description="No object that a watch noticed has waited for its inspection longer than it may.",
    )
    def inspected_in_time(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        late: dict[str, int] = {}
        counting = Isolation("Counting the objects that wait")
        for name, times in watches.items():
            with counting.guard(name):
                if number := context.resources.dlp.uninspected(name, times.within):
                    late[name] = number
        said = [f"{number} of {name}" for name, number in late.items()]
        said += [f"{one.name}: {one.reason}" for one in counting.failures]
        return dg.AssetCheckResult(
            passed=not said,
            description="; ".join(said) or "none",
            metadata={"uninspected objects": sum(late.values())},
        )

    @dg.op(
        name="send_due_alerts",
        required_resource_keys={"dlp"},
        description="Sends alerts that a channel has not taken yet.",
    )
    def deliver(context: dg.OpExecutionContext) -> None:
        with clear_failures():
            done = context.resources.dlp.deliver_alerts()
        context.log.info(
            "%d alerts sent, %d delayed, %d given up", done.sent, done.delayed, done.undeliverable
        )
        if done.problems:
            told = " ".join(f"{channel}: {ended(reason)}" for channel, reason in done.problems.items())
            raise dg.Failure(
                description=f"Alerts delayed: {done.delayed:,}, given up: {done.undeliverable:,}. {told}",
                # Failed objects are retried by the next runs, after growing waits.
                allow_retries=False,
            )

    @dg.job(
        name=ALERTS_JOB,
        executor_def=dg.in_process_executor,
        description="Sends alerts that a channel has not taken yet.",
    )
    def alerts() -> None:
        deliver()

    fed = [asset for name, said in feeds.items() for asset in build_feed_defs(name, said, warehouses)]
    failed = [_failure_check(OBJECTS, "Everything that the last inspection took up was inspected.")]
    failed += [
        _failure_check(dg.AssetKey(["uploads", name]), "Every object that may be loaded into it was loaded.")
        for name in feeds
    ]
    uploads_job = dg.define_asset_job(
        INSPECT_JOB,
        selection=dg.AssetSelection.assets(OBJECTS, FINDINGS, *(key for one in fed for key in one.keys)),
        description="Inspects uploaded objects, a batch of a watch or everything that is due, and brings "
        "what may pass into the tables of their feeds.",
        executor_def=dg.in_process_executor,
    )
    columns_job = dg.define_asset_job(
        COLUMNS_JOB,
        selection=dg.AssetSelection.assets(COLUMNS),
        description="Inspects the columns of tables that have changed.",
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(
        assets=[inspect, columns, *fed],
        asset_checks=[expected, inspected_in_time, *failed],
        jobs=[uploads_job, columns_job, alerts],
        schedules=[
            dg.ScheduleDefinition(
                name=f"{COLUMNS_JOB}_schedule",
                job=columns_job,
                cron_schedule=cron,
                execution_timezone=timezone,
                description="Inspects the columns of tables that have changed.",
            ),
            dg.ScheduleDefinition(
                name=f"{ALERTS_JOB}_schedule",
                job=alerts,
                cron_schedule="*/5 * * * *",
                description="Sends alerts that a channel did not take at once.",
            ),
        ],
        sensors=[build_upload_sensor(name, uploads_job, times.every) for name, times in watches.items()],
    )


def build_feed_defs(feed: str, description: str, warehouses: Mapping[str, str]) -> list[dg.AssetsDefinition]:
    """The assets of a feed: its table `uploads/<feed>`, and that table in each warehouse.

    Args:
        feed: Name of the feed.
        description: A sentence that says which objects it takes.
        warehouses: The warehouses by name, with their engines.
    """
    table = dg.AssetKey(["uploads", feed])

    @dg.asset(
        key=table,
        deps=[OBJECTS],
        group_name="uploads",
        owners=OWNERS,
        kinds={"deltalake"},
        required_resource_keys={"feeding"},
        description=f"{description} Each version of an object once, and only what its inspection allows.",
    )
    def load(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        with clear_failures():
            done = context.resources.feeding(feed).load()
        return dg.MaterializeResult(
            metadata={
                "objects loaded": done.objects,
                "rows loaded": done.rows,
                "rows set apart": done.dead_letters,
                **({FAILED: done.problem} if done.problem else {}),
            }
        )

    def in_warehouse(warehouse: str, engine: str) -> dg.AssetsDefinition:
        @dg.asset(
            key=dg.AssetKey([warehouse, "uploads", feed]),
            # Without uploads there is nothing to load.
            output_required=False,
            deps=[table],
            group_name="uploads",
            owners=OWNERS,
            kinds={engine, "table"},
            required_resource_keys={warehouse, "feeding", "protection"},
            description=f"The rows of the feed {feed} that count now, as the policy lets them pass.",
        )
        def write(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
            with clear_failures():
                feeding = context.resources.feeding(feed)
                if not feeding.has_table():
                    context.log.info("%s: nothing was uploaded yet, and its columns are not declared", feed)
                    return
                rows = feeding.rows_for(context.resources.protection, warehouse, context.run.run_id)
                count = getattr(context.resources, warehouse).write(("uploads", feed), rows)
            yield dg.MaterializeResult(
                metadata={**row_count_metadata(count), "dagster/table_name": f"uploads.{feed}"}
            )

        return write

    return [load, *(in_warehouse(name, engine) for name, engine in warehouses.items())]


def _failure_check(key: dg.AssetKey, description: str) -> dg.AssetChecksDefinition:
    """The check that fails a run if some of its objects failed; assets that do not depend on them continue.

    A failing step would also stop everything downstream of the objects that were loaded.
    """

    @multi_asset_check(
        name=f"{name_of(key)}_failures",
        specs=[dg.AssetCheckSpec(NOTHING_FAILED, asset=key, description=description)],
    )
    def look(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        event = context.instance.event_log_storage.get_latest_materialization_events([key]).get(key)
        metadata = event.asset_materialization.metadata if event and event.asset_materialization else {}
        problem = str(metadata[FAILED].value) if FAILED in metadata else None
        yield dg.AssetCheckResult(
            passed=problem is None, asset_key=key, check_name=NOTHING_FAILED, description=problem
        )
        if problem is not None:
            raise dg.Failure(description=problem, allow_retries=False)

    return look


def _failed_metadata(failing: Isolation) -> dict[str, str]:
    try:
        failing.raise_failures()
    except IsolatedFailure as failure:
        return {FAILED: str(failure)}
    return {}


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
    def notice(context: dg.SensorEvaluationContext, dlp: dg.ResourceParam[Any]) -> dg.SensorResult:
        from platform_assets.objects.watch import Cursor, RunState

        states = {
            dg.DagsterRunStatus.SUCCESS: RunState.SUCCEEDED,
            dg.DagsterRunStatus.FAILURE: RunState.FAILED,
            dg.DagsterRunStatus.CANCELED: RunState.FAILED,
        }

        def state_of(key: str) -> RunState:
            tags = {"dagster/run_key": key, "dagster/sensor_name": f"{watch}_objects"}
            runs = context.instance.get_runs(dg.RunsFilter(tags=tags), limit=1)
            return states.get(runs[0].status, RunState.ACTIVE) if runs else RunState.UNKNOWN

        tick = dlp.watch(watch).tick(Cursor.from_json(context.cursor), state_of)
        if tick.problem:
            context.log.warning(tick.problem)
        said = f"{tick.listed:,} objects listed, {tick.noticed:,} noticed by events."
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    run_key=request.key,
                    run_config={"ops": {_STEP: {"config": {"watch": watch, "batch": request.batch}}}},
                    tags={"platform_assets/objects": str(request.objects)},
                )
                for request in tick.requests
            ],
            skip_reason=None if tick.requests else tick.problem or said,
            cursor=tick.cursor.to_json(),
        )

    return notice


def _name(uri: str) -> str:
    from platform_assets.alerts.alert import readable_uri

    return readable_uri(uri)


def _worst_row(row: Mapping[str, Any]) -> dict[str, Any]:
    counts = json.loads(row["info_types"])
    return {
        # The name used in the run's log, by which `dlp/objects` and `dlp/findings` can be queried.
        "object": row["object_id"][:12],
        "uri": _name(row["uri"]),
        "info types": ", ".join(f"{name} {one['count']}" for name, one in counts.items()),
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
