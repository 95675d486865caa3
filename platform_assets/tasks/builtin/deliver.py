"""The task `deliver`: a delivery of the configuration."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core.core_schema import ValidationInfo

from platform_assets.tasks.signature import DELIVERIES, suggestion
from platform_assets.tasks.task import Task, TaskContext, TaskOutcome


def _known(value: str, info: ValidationInfo) -> str:
    names = (info.context or {}).get(DELIVERIES)
    if names is not None and value not in names:
        raise ValueError(f"no delivery of this name has a valid file; {suggestion(value, sorted(names))}")
    return value


class Deliver(Task):
    """Make a delivery of `config/deliveries/`, now.

    Idempotent: a destination that has the current version of the data is left alone, unless `force` is set.
    """

    def run(
        self, context: TaskContext, delivery: Annotated[str, AfterValidator(_known)], force: bool = False
    ) -> TaskOutcome:
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
        changed = counts["delivered"] > 0
        assets = {f"delivery/{delivery}": found} if changed else {}
        return TaskOutcome(facts=dict(counts), changed=changed, assets=assets)
