"""The job that watches the platform and sends alerts, its schedule, sensors, and the alerts as a resource."""

import datetime as dt
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from platform_assets.alerts.assembly import AlertsRoom
from platform_assets.isolation import ended, result_or_reason
from platform_assets.logs import event
from platform_assets.orchestration import MAIN_JOB, clear_failures, lazy_resource
from platform_assets.rooms import Rooms

if TYPE_CHECKING:
    from platform_assets.alerts.incidents import Incident

ALERTS_JOB = "deliver_alerts"
FAILED_RUNS = "failed_runs"
HEARTBEAT = "heartbeat"


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the job that watches and sends what a channel has not accepted yet, and the sensors.

    Args:
        rooms: The rooms.
    """

    @dg.op(
        name="send_due_alerts",
        description="Looks for failures and for what works again, and sends alerts that are due.",
    )
    def deliver(context: dg.OpExecutionContext, alerts: dg.ResourceParam[AlertsRoom]) -> None:
        # What cannot be watched must not keep what is due from being sent.
        looked_at = result_or_reason(partial(look, alerts), context.instance)
        with clear_failures():
            done = alerts.send_due()
        context.log.info(
            "%d alerts sent, %d delayed, %d undeliverable", done.sent, done.delayed, done.undeliverable
        )
        event(
            "alerts_sent",
            f"{done.sent} alerts sent, {done.delayed} delayed, {done.undeliverable} undeliverable",
            level="warning" if done.problems else "info" if done.sent else "debug",
            sent=done.sent,
            delayed=done.delayed,
            undeliverable=done.undeliverable,
            channels_failing=sorted(done.problems or ()),
        )
        reasons = [f"The watch failed: {ended(looked_at)}"] if isinstance(looked_at, str) else []
        if done.problems:
            each = " ".join(f"{channel}: {ended(reason)}" for channel, reason in done.problems.items())
            reasons.append(f"Alerts delayed: {done.delayed:,}, undeliverable: {done.undeliverable:,}. {each}")
        if reasons:
            raise dg.Failure(
                description=" ".join(reasons),
                # Failed objects are retried by the next runs, after growing waits.
                allow_retries=False,
            )

    @dg.job(
        name=ALERTS_JOB,
        executor_def=dg.in_process_executor,
        description="Looks for failures, for what does not happen and for what works again, and sends alerts "
        "that a channel has not accepted yet.",
    )
    def job() -> None:
        deliver()

    schedule = dg.ScheduleDefinition(
        name=f"{ALERTS_JOB}_schedule",
        job=job,
        cron_schedule="*/5 * * * *",
        description="Every 5 minutes: looks for failures, and sends alerts that are due.",
    )

    @dg.run_failure_sensor(
        name=FAILED_RUNS,
        monitor_all_code_locations=False,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alerts people of a failed run at once.",
    )
    def failed_runs(context: dg.RunFailureSensorContext, alerts: dg.ResourceParam[AlertsRoom]) -> None:
        look(alerts, context.instance)
        alerts.send_due()

    room = lazy_resource(lambda: rooms.of(AlertsRoom), "The alerts and their channels")
    has_heartbeat = rooms.of(AlertsRoom).settings.alerts.heartbeat is not None
    return dg.Definitions(
        jobs=[job],
        schedules=[schedule],
        sensors=[failed_runs, *([_heartbeat_sensor()] if has_heartbeat else [])],
        resources={"alerts": room},
    )


def _heartbeat_sensor() -> dg.SensorDefinition:
    @dg.run_status_sensor(
        name=HEARTBEAT,
        run_status=dg.DagsterRunStatus.SUCCESS,
        monitor_all_code_locations=False,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Gives a sign of life after each successful run of the main job.",
    )
    def heartbeat(
        context: dg.RunStatusSensorContext, alerts: dg.ResourceParam[AlertsRoom]
    ) -> dg.SkipReason | None:
        if context.dagster_run.job_name != MAIN_JOB:
            return None
        reason = alerts.beat()
        if reason:
            context.log.warning(reason)
        return dg.SkipReason(reason) if reason else None

    return heartbeat


def look(alerts: AlertsRoom, instance: dg.DagsterInstance) -> "Sequence[Incident]":
    """Look at Dagster's instance, and put messages about what has changed into the outbox.

    Args:
        alerts: The alerts.
        instance: Dagster's instance.

    Returns:
        The incidents about which people are notified.

    Raises:
        LakeError: The incidents or the outbox cannot be read or written.
    """
    from platform_assets.alerts.dagster_facts import Deadlines, FactReader
    from platform_assets.lake.assembly import LakeRoom

    given = alerts.settings.alerts.incidents
    limits = Deadlines(
        dt.timedelta(minutes=given.late_minutes),
        dt.timedelta(minutes=given.daemon_minutes),
        dt.timedelta(hours=given.upkeep_hours) if given.upkeep_hours else None,
    )

    def last_upkeep() -> dt.datetime | None:
        journal = alerts.rooms.of(LakeRoom).upkeep().journal
        return max((last.at for last in journal.last().values()), default=None)

    now = dt.datetime.now(dt.UTC)
    _, cursor = alerts.incidents.read()
    reader = FactReader(instance, alerts.rooms, limits, alerts.masking, last_upkeep)
    return alerts.apply(reader.observe(cursor, now), now)
