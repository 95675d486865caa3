"""Deliveries as assets, each with its own job and schedule; a sensor for data that changes; the receipts."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from platform_assets.dagster_internals import last_tick, running_schedules
from platform_assets.delivery.assembly import DeliveryRoom
from platform_assets.isolation import ended, result_or_reason
from platform_assets.orchestration import (
    BLOCKING_CHECKS,
    LOADS,
    OWNERS,
    REPORTS_STOPPED,
    TELLS_ITS_OWN_FAILURES,
    blocking_checks,
    clear_failures,
    failed_checks,
    lazy_resource,
    name_of,
    preview,
    report_stopped,
    row_count_metadata,
)
from platform_assets.rooms import Rooms
from platform_assets.runs import LOGGERS, open_instance

if TYPE_CHECKING:
    from platform_assets.configuration.folder import ConfigFile
    from platform_assets.delivery.file import DeliverySettings
    from platform_assets.delivery.interfaces import DeliveryResult
    from platform_assets.delivery.receipts import ReceiptRow

GROUP = "delivery"
RECEIPTS = dg.AssetKey([GROUP, "receipts"])
RECEIPTS_JOB = "delivery_receipts"
_WORK = "platform_assets/delivery"
_CHANGED = "deliveries_changed"
_SECONDS_PER_TICK = 40.0
_VERSIONS_AT_ONCE = 8
_FIRST_WAIT = dt.timedelta(minutes=1)
_LONGEST_WAIT = dt.timedelta(hours=1)
_ROWS_SHOWN = 20
_DISABLED = "disabled"
_Blocking = Mapping[dg.AssetKey, Sequence[dg.AssetCheckKey]]


class MakeDelivery(dg.Config):
    """Options of a run that makes a delivery.

    Attributes:
        force: Send the current version again, even to destinations that have it.
    """

    force: bool = False


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the deliveries.

    Args:
        rooms: The rooms.
    """
    room = rooms.of(DeliveryRoom)
    disabled = [_disabled(file) for file in room.files if file.block is None]
    resources = {
        "deliveries": lazy_resource(lambda: room, "The deliveries"),
        # The rooms above may have checks too: they are looked up when a run needs them.
        BLOCKING_CHECKS: lazy_resource(
            lambda: blocking_checks(rooms.definitions().values()), "The checks that hold back deliveries"
        ),
    }
    # A job that lacks resources is copied by Dagster with all of the code location.
    of_jobs = resources if resources.keys().isdisjoint(rooms.replaced) else {}
    return dg.Definitions.merge(
        dg.Definitions(assets=disabled, resources=resources),
        build_deliveries(room.deliveries, "make_deliveries", _CHANGED, LOGGERS, of_jobs),
        build_receipts() if room.files else dg.Definitions(),
    )


def build_deliveries(
    deliveries: Mapping[str, "DeliverySettings"],
    step: str,
    changed_sensor: str,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
    resources: Mapping[str, dg.ResourceDefinition] | None = None,
) -> dg.Definitions:
    """Define deliveries.

    Args:
        deliveries: The deliveries by name.
        step: Name of the step that makes their assets.
        changed_sensor: Name of the sensor of those that are made when their data has changed.
        loggers: The loggers of the code location, if they are known: Dagster copies each job that has none.
        resources: The resources that their jobs use; by default those of the code location.
    """
    if not deliveries:
        return dg.Definitions()
    jobs = {name: _job(name, delivery, loggers, resources) for name, delivery in deliveries.items()}
    schedules = [
        dg.ScheduleDefinition(
            name=f"{jobs[name].name}_schedule",
            # By its name, because Dagster copies the schedule of a job that it gives resources.
            job_name=jobs[name].name,
            cron_schedule=delivery.schedule.cron,
            execution_timezone=delivery.schedule.timezone,
            description=f"Makes the delivery {name}: {delivery.title}.",
        )
        for name, delivery in deliveries.items()
        if delivery.schedule is not None
    ]
    changed = [name for name, delivery in deliveries.items() if delivery.when is not None]
    return dg.Definitions(
        assets=[_assets(deliveries, step, changed_sensor)],
        jobs=list(jobs.values()),
        schedules=schedules,
        sensors=[_changed_sensor(changed, jobs, changed_sensor)] if changed else [],
    )


def _disabled(file: "ConfigFile[DeliverySettings]") -> dg.AssetSpec:
    """A delivery whose file has mistakes: an asset that nothing makes, and that says why."""
    lines = "\n".join(f"- {line}" for line in file.mistakes)
    return dg.AssetSpec(
        dg.AssetKey([GROUP, file.name]),
        group_name=GROUP,
        owners=OWNERS,
        kinds={_DISABLED},
        tags={_DISABLED: "true"},
        description="DISABLED: its file has mistakes; nothing is delivered until they are corrected.\n\n"
        + lines,
        metadata={"mistakes": dg.MetadataValue.md(lines)},
    )


def _assets(
    deliveries: Mapping[str, "DeliverySettings"], step: str, changed_sensor: str
) -> dg.AssetsDefinition:
    """Define the assets of deliveries, of which a run makes those that are selected, each on its own.

    One definition for all of them loads twenty times as fast as one for each.
    """
    keys = {name: dg.AssetKey([GROUP, name]) for name in deliveries}
    reads = {name: _reads(delivery) for name, delivery in deliveries.items()}
    inputs = sorted({key for found in reads.values() for key in found})

    @dg.multi_asset(
        name=step,
        # Not `deps`, because Dagster would derive input names from the tables' names, which can be anything.
        ins={f"read_{number}": dg.AssetIn(key, dagster_type=dg.Nothing) for number, key in enumerate(inputs)},
        outs={
            name_of(keys[name]): dg.AssetOut(
                key=keys[name],
                # Another run may be making the same delivery.
                is_required=False,
                dagster_type=dg.Nothing,
                group_name=GROUP,
                owners=delivery.owners,
                kinds=_kinds(delivery),
                description=_description(name, delivery, changed_sensor),
            )
            for name, delivery in deliveries.items()
        },
        internal_asset_deps={name_of(keys[name]): set(found) for name, found in reads.items()},
        can_subset=True,
        # A table that fails in the same run holds back its own deliveries, and no others.
        op_tags={REPORTS_STOPPED: ",".join(sorted({key.path[0] for key in inputs})), **LOADS},
    )
    def make(
        context: dg.AssetExecutionContext,
        config: MakeDelivery,
        deliveries: dg.ResourceParam[DeliveryRoom],
        blocking_checks: dg.ResourceParam[Any],
    ) -> Iterator[dg.MaterializeResult[None]]:
        failed = []
        for key in sorted(context.selected_asset_keys):
            made = _made(context, key.path[-1], config.force, deliveries, blocking_checks)
            if isinstance(made, dg.Failure):
                failed.append(made)
            elif made is not None:
                yield dg.MaterializeResult(asset_key=key, metadata=made)
        if failed:
            reasons = " ".join(failure.description or "" for failure in failed)
            raise dg.Failure(reasons, metadata=failed[0].metadata, allow_retries=False)
        checks = [check for key in inputs for check in blocking_checks.get(key, ())]
        report_stopped(context, inputs, failed_checks(context.instance, checks, context.run.run_id))

    return make


@dg.op(
    name="deliver",
    # An output would need an I/O manager, which each job would look for.
    out={},
    description="Sends what each destination does not have yet.",
    tags=LOADS,
)
def _deliver(
    context: dg.OpExecutionContext,
    config: MakeDelivery,
    deliveries: dg.ResourceParam[DeliveryRoom],
    blocking_checks: dg.ResourceParam[Any],
) -> Iterator[Any]:
    name = context.job_name.removeprefix(f"{GROUP}_")
    made = _made(context, name, config.force, deliveries, blocking_checks)
    if isinstance(made, dg.Failure):
        raise made
    if made is not None:
        yield dg.AssetMaterialization(dg.AssetKey([GROUP, name]), metadata=made)


# The graph of all jobs: those of components too, because a code location has one graph of a name.
_DELIVER_ONE = dg.GraphDefinition(name="deliver_one", node_defs=[_deliver])


def _job(
    name: str,
    settings: "DeliverySettings",
    loggers: Mapping[str, dg.LoggerDefinition] | None,
    resources: Mapping[str, dg.ResourceDefinition] | None,
) -> dg.JobDefinition:
    """Define the job of a delivery: one step, which reports the asset; all jobs share the graph of this step.

    A job over the asset would take Dagster the longer to resolve the more assets there are in the code
    location, for each delivery again.
    """
    return _DELIVER_ONE.to_job(
        name=f"{GROUP}_{name}",
        description=f"Makes the delivery {name}: {settings.title}.",
        executor_def=dg.in_process_executor,
        resource_defs=resources,
        logger_defs=loggers,
        tags={TELLS_ITS_OWN_FAILURES: "true"},
    )


def _reads(settings: "DeliverySettings") -> list[dg.AssetKey]:
    """Return the assets that a delivery reads."""
    from platform_assets.delivery.sources.settings import asset_keys

    return [dg.AssetKey(list(path)) for path in asset_keys(settings.source)]


def _made(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    name: str,
    force: bool,
    room: DeliveryRoom,
    blocking: _Blocking,
) -> dict[str, Any] | dg.Failure | None:
    """Make a delivery; return its metadata, its failure, or None if another run is making it."""
    from platform_assets.delivery.engine import Watcher
    from platform_assets.delivery.receipts import DeliveryBusy

    run = context.run.run_id
    try:
        with clear_failures(retried=False):
            held_back = _held_back(context.instance, _reads(room.settings_of(name)), blocking)
            watcher = Watcher(context.log.info)
            try:
                result = room.deliver(name, watcher, force=force, run=run, held_back=held_back)
            except DeliveryBusy as busy:
                context.log.warning(str(busy))
                return None
    except dg.Failure as failure:
        # It has made its own attempts.
        return dg.Failure(failure.description, allow_retries=False)
    if not result.failures:
        return _metadata(result)
    reasons = " ".join(f"{name}: {ended(reason)}" for name, reason in result.failures.items())
    return dg.Failure(
        f"{name} did not get to {len(result.failures)} of {len(result.destinations)} destinations; the next "
        f"run sends it there, and only there. {reasons}",
        metadata=_metadata(result),
        allow_retries=False,
    )


def _kinds(settings: "DeliverySettings") -> set[str]:
    formats = [renderer.name for renderer in settings.render[:1]]
    schemes = [
        destination.address.partition(":")[0] if ":" in destination.address else "folder"
        for destination in settings.to.values()
    ]
    return {*formats, *sorted(set(schemes))[:2]}


def _description(name: str, settings: "DeliverySettings", changed_sensor: str) -> str:
    lines = [f"**{settings.title}**", ""]
    lines += [settings.description, ""] if settings.description else []
    # An asset's page shows the schedules of jobs over assets only.
    if (at := settings.schedule) is not None:
        lines += [f"When: `{at.cron}` {at.timezone}, once `{GROUP}_{name}_schedule` is switched on", ""]
    elif settings.when is not None:
        lines += [f"When: as its data changes, once the sensor `{changed_sensor}` is switched on", ""]
    lines += [
        "To:",
        *(f"- {name}: {_shown(destination.address)}" for name, destination in settings.to.items()),
    ]
    return "\n".join(lines)


def _shown(address: str) -> str:
    from platform_assets.alert import plain

    scheme, separator, rest = address.rpartition("://")
    return plain(f"{scheme}{separator}{rest.split('?')[0].rpartition('@')[2] if separator else rest}")


def _metadata(result: "DeliveryResult") -> dict[str, Any]:
    rows = [file.rows for file in result.files if file.rows is not None]
    table = [
        {
            "destination": destination.destination,
            "status": destination.status,
            "address": destination.address,
            "verified by": ", ".join(sorted({receipt.verified_by for receipt in destination.receipts})),
            "reason": destination.reason,
        }
        for destination in result.destinations
    ]
    return {
        "files": len(result.files),
        "bytes": sum(file.size for file in result.files),
        **(row_count_metadata(sum(rows)) if rows else {}),
        "destinations": preview(table),
        "names": preview(
            [{"file": file.name, "bytes": file.size, "sha256": file.sha256} for file in result.files]
        ),
        "delivery": result.stamp.uuid,
        "version": result.stamp.version,
    }


def record_delivery(home: Path, name: str, result: "DeliveryResult") -> None:
    """Record a delivery that was made without a run, so that its asset is materialized in the UI.

    Args:
        home: Dagster's folder.
        name: The delivery.
        result: What was delivered to every destination.
    """
    made = dg.AssetMaterialization(dg.AssetKey([GROUP, name]), metadata=_metadata(result))
    with open_instance(home) as instance:
        instance.report_runless_asset_event(made)


def _held_back(instance: dg.DagsterInstance, reads: Sequence[dg.AssetKey], blocking: _Blocking) -> str:
    """Return which blocking checks of the data failed; empty if none did."""
    checks = [check for key in reads for check in blocking.get(key, ())]
    return " ".join(failed_checks(instance, checks).values()) if checks else ""


def _changed_sensor(
    names: Sequence[str], jobs: Mapping[str, dg.JobDefinition], sensor: str
) -> dg.SensorDefinition:
    """Define the sensor of the deliveries that are made when their data has changed."""

    @dg.sensor(
        name=sensor,
        jobs=[jobs[name] for name in names],
        minimum_interval_seconds=60,
        description="Makes deliveries whose data has changed; failed ones again, after growing waits.",
    )
    def look(
        context: dg.SensorEvaluationContext,
        deliveries: dg.ResourceParam[DeliveryRoom],
        blocking_checks: dg.ResourceParam[Any],
    ) -> dg.SensorResult:
        now = dt.datetime.now(dt.UTC)
        requests, reasons_given = [], []
        for name, found in _due(deliveries, names).items():
            if isinstance(found, str):
                reasons_given.append(f"{name}: {ended(found)}")
                continue
            is_due, version = found
            if not is_due:
                continue
            reads = _reads(deliveries.settings_of(name))
            if reason := _held_back(context.instance, reads, blocking_checks):
                reasons_given.append(f"{name} is held back: {reason}")
                continue
            work = f"{name} {version}"
            runs = context.instance.get_runs(dg.RunsFilter(tags={_WORK: work}))
            if waiting := _waiting(context.instance, runs, now):
                reasons_given.append(f"{name}: {waiting}")
                continue
            requests.append(
                # The key names the work and the number of the attempt, never the time.
                dg.RunRequest(f"{work} {len(runs)}", job_name=f"{GROUP}_{name}", tags={_WORK: work})
            )
        for line in reasons_given:
            context.log.warning(line)
        return dg.SensorResult(
            requests, skip_reason=None if requests else " ".join(reasons_given) or "Nothing has changed."
        )

    return look


def _due(room: DeliveryRoom, names: Sequence[str]) -> dict[str, tuple[bool, str] | str]:
    """Ask whether data has changed, some at a time; a source that fails or hangs concerns no other."""
    pool = ThreadPoolExecutor(_VERSIONS_AT_ONCE)
    asked: dict[str, Future[tuple[bool, str] | str]] = {
        name: pool.submit(result_or_reason, room.is_due, name) for name in names
    }
    wait(asked.values(), timeout=_SECONDS_PER_TICK)
    pool.shutdown(wait=False, cancel_futures=True)
    late = "its source did not tell in time whether it has changed"
    return {
        name: answer.result() if answer.done() and not answer.cancelled() else late
        for name, answer in asked.items()
    }


def _waiting(instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun], now: dt.datetime) -> str:
    """Return why no run is started now: one is active, or the last failed a moment ago; empty if none is."""
    if not runs:
        return ""
    if any(not run.is_finished for run in runs):
        return "a run is delivering it."
    records = instance.get_run_records(dg.RunsFilter(run_ids=[runs[0].run_id]), limit=1)
    ended_at = dt.datetime.fromtimestamp(records[0].end_time or 0, dt.UTC) if records else now
    again = ended_at + min(_FIRST_WAIT * 2 ** min(len(runs) - 1, 10), _LONGEST_WAIT)
    return f"it failed, and is tried again at {again:%H:%M:%S} UTC." if now < again else ""


def build_receipts() -> dg.Definitions:
    """Define the asset of the receipts, its check, job and schedule."""

    @dg.asset(
        key=RECEIPTS,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"deltalake"},
        description="What became of every delivery at every destination, attempt by attempt. Its run also "
        "looks for deliveries that have not happened by their deadlines, and alerts their owners once.",
    )
    def receipts(
        context: dg.AssetExecutionContext, deliveries: dg.ResourceParam[DeliveryRoom]
    ) -> dg.MaterializeResult[None]:
        with clear_failures():
            now = dt.datetime.now(dt.UTC)
            missed = deliveries.missed(_due_times(deliveries, running_schedules(context.instance), now), now)
            for name, due in missed.items():
                context.log.warning(
                    "%s was due at %s and has not happened.", name, f"{due:%Y-%m-%d %H:%M} UTC"
                )
            return dg.MaterializeResult(
                metadata={
                    **row_count_metadata(deliveries.receipts.count()),
                    "missed": ", ".join(missed) or "none",
                    "newest": preview([_shown_row(row) for row in deliveries.receipts.newest(_ROWS_SHOWN)]),
                }
            )

    @dg.asset_check(
        asset=RECEIPTS,
        name="latest_deliveries_succeeded",
        description="The latest attempt at every destination of every delivery has succeeded.",
    )
    def succeeded(deliveries: dg.ResourceParam[DeliveryRoom]) -> dg.AssetCheckResult:
        with clear_failures():
            failed = deliveries.failing()
        return dg.AssetCheckResult(
            passed=not failed,
            description=" ".join(f"{name}: {ended(reason)}" for name, reason in failed.items())
            or "none failed",
            metadata={"failed": len(failed)},
        )

    job = dg.define_asset_job(
        RECEIPTS_JOB,
        selection=dg.AssetSelection.assets(RECEIPTS),
        description="Looks at the receipts of all deliveries: what failed, what has not happened in time.",
        executor_def=dg.in_process_executor,
    )
    schedule = dg.ScheduleDefinition(
        name=f"{RECEIPTS_JOB}_schedule",
        job=job,
        cron_schedule="*/10 * * * *",
        description="Every 10 minutes: alerts owners of deliveries that did not happen by their deadlines.",
    )
    return dg.Definitions(assets=[receipts], asset_checks=[succeeded], jobs=[job], schedules=[schedule])


def _due_times(
    room: DeliveryRoom, running: Mapping[str, dt.datetime], now: dt.datetime
) -> dict[str, dt.datetime]:
    """Return when each delivery whose schedule is on was last due, of the times whose deadline is over."""
    due = {}
    for name, settings in room.deliveries.items():
        since = running.get(f"{GROUP}_{name}_schedule")
        if settings.schedule is None or since is None:
            continue
        limit = now - dt.timedelta(minutes=settings.schedule.deadline_minutes)
        at = last_tick(settings.schedule.cron, settings.schedule.timezone, limit)
        if at >= since:
            due[name] = at
    return due


def _shown_row(row: "ReceiptRow") -> dict[str, Any]:
    return {
        "delivery": row.delivery,
        "destination": row.destination,
        "status": row.status,
        "at": f"{row.at:%Y-%m-%d %H:%M:%S}",
        "file": row.file,
        "size": row.size,
        "attempt": row.attempt or "",
        "reason": row.reason,
    }
