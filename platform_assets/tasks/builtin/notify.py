"""The task `notify`: a message to people."""

from __future__ import annotations

from typing import Literal

from platform_assets.tasks.task import Task, TaskContext, TaskOutcome


class Notify(Task):
    """Send a message over the platform's alert channels.

    Idempotent: a message is sent once for each run of the job, also if the task is retried; with `once =
    day` once a
    day, with `once = ever` once for the same title and message.
    """

    def run(
        self,
        context: TaskContext,
        title: str,
        message: str = "",
        severity: Literal["INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO",
        once: Literal["run", "day", "ever"] = "run",
    ) -> TaskOutcome:
        """Send it.

        Args:
            context: The task's context.
            title: The event, in a few words.
            message: More about it, in one line.
            severity: How grave it is; channels leave out what is below their min_severity.
            once: How often the same message is sent: once a run, a day or ever.
        """
        scope = {"run": context.run_id, "day": context.variables.get("TODAY", ""), "ever": ""}[once]
        key = "\0".join(("task", context.file, context.task, title, message, scope))
        facts = {"Job": context.file, **({"Message": message} if message else {})}
        context.alerts.send(key, severity, title, facts)
        context.log(f"{severity}: {title}")
        return TaskOutcome(facts={"severity": severity})
