"""The job that sends alerts, its schedule, and the alerts as a resource."""

import dagster as dg

from platform_assets.alerts.assembly import AlertsRoom
from platform_assets.isolation import ended
from platform_assets.orchestration import clear_failures, lazy_resource
from platform_assets.rooms import Rooms

ALERTS_JOB = "deliver_alerts"


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the job that sends alerts which a channel has not accepted yet.

    Args:
        rooms: The rooms.
    """

    @dg.op(
        name="send_due_alerts",
        description="Sends alerts that a channel has not accepted yet.",
    )
    def deliver(context: dg.OpExecutionContext, alerts: dg.ResourceParam[AlertsRoom]) -> None:
        with clear_failures():
            done = alerts.send_due()
        context.log.info(
            "%d alerts sent, %d delayed, %d undeliverable", done.sent, done.delayed, done.undeliverable
        )
        if done.problems:
            reasons = " ".join(f"{channel}: {ended(reason)}" for channel, reason in done.problems.items())
            counts = f"Alerts delayed: {done.delayed:,}, undeliverable: {done.undeliverable:,}."
            raise dg.Failure(
                description=f"{counts} {reasons}",
                # Failed objects are retried by the next runs, after growing waits.
                allow_retries=False,
            )

    @dg.job(
        name=ALERTS_JOB,
        executor_def=dg.in_process_executor,
        description="Sends alerts that a channel has not accepted yet.",
    )
    def job() -> None:
        deliver()

    schedule = dg.ScheduleDefinition(
        name=f"{ALERTS_JOB}_schedule",
        job=job,
        cron_schedule="*/5 * * * *",
        description="Sends alerts that a channel did not accept at once.",
    )
    room = lazy_resource(lambda: rooms.of(AlertsRoom), "The alerts and their channels")
    return dg.Definitions(jobs=[job], schedules=[schedule], resources={"alerts": room})
