"""The task `deliver`: a delivery of the configuration."""

from __future__ import annotations

from collections import Counter

from platform_assets.tasks.task import Task, TaskContext, TaskOutcome


class Deliver(Task):
    """Make a delivery of `config/deliveries/`, now.

    Idempotent: a destination that has the current version of the data is left alone, unless `force` is set.
    """

    def run(self, context: TaskContext, delivery: str, force: bool = False) -> TaskOutcome:
        """Make it.

        Args:
            context: The task's context.
            delivery: The name of the delivery: its file's name.
            force: Send it again although nothing has changed.
        """
        found = context.deliveries.make(delivery, force=force, report=context.log)
        for destination, status in found.items():
            context.log(f"{destination}: {status}")
        counts = Counter(found.values())
        return TaskOutcome(facts=dict(counts), changed=counts["delivered"] > 0)
