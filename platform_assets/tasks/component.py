"""A task file as a Dagster component."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import dagster as dg

from platform_assets.components import PlatformComponent
from platform_assets.configuration.values import Block
from platform_assets.rooms import Rooms
from platform_assets.tasks.assembly import TasksRoom
from platform_assets.tasks.defs import job_defs
from platform_assets.tasks.names import TASKS


class TaskFileComponent(PlatformComponent):
    """A task file: tasks that run in order as one job, by schedule or on demand.

    Its attributes are the keys of a file `config/tasks/NAME.conf`.
    """

    key: ClassVar[str] = TASKS
    is_block: ClassVar[bool] = False
    example: ClassVar[Mapping[str, Any]] = {
        "description": "Says hello.",
        "tasks": [{"name": "shell_script", "args": {"script": "/bin/echo", "script_args": ["hello"]}}],
    }

    @classmethod
    def block(cls) -> type[Block]:
        """See `PlatformComponent.block`."""
        from platform_assets.tasks.files import TaskFile

        return TaskFile

    def mistakes(self, rooms: Rooms) -> Sequence[str]:
        """See `PlatformComponent.mistakes`."""
        return next(
            checked_plan
            for checked_plan in rooms.of(TasksRoom).checked_plans
            if checked_plan.name == self.name
        ).mistakes

    def own_defs(self, rooms: Rooms) -> dg.Definitions:
        """See `PlatformComponent.own_defs`."""
        plan = next(
            checked_plan
            for checked_plan in rooms.of(TasksRoom).checked_plans
            if checked_plan.name == self.name
        )
        # Files share the definitions of their steps, whose names are unique in a code location.
        return job_defs(rooms.definitions()[TASKS], plan)


COMPONENT = TaskFileComponent
