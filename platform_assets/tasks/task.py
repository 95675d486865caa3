"""The base class of tasks, the context that a task gets, and what it returns."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from platform_assets.errors import PlatformError
from platform_assets.tasks.interfaces import Alerts, Buckets, Deliveries, FileInspection, Queries

if TYPE_CHECKING:
    from platform_assets.configuration.secrets import Secret


class TaskError(PlatformError):
    """A task cannot do what its arguments ask for, or failed while doing it."""


class TaskTimeout(TaskError):
    """A task took longer than it may."""


NAME = re.compile(r"[a-z][a-z0-9_]*")
"""The form of a task's name."""


class Task:
    """A step that task files can use by its name.

    A subclass has a method `run` whose parameters, beside `context`, are the task's arguments: they are
    typed, a parameter with a default may be left out, and the docstring says what each means. `run` is
    called once for each execution, and may return an `TaskOutcome`.

    Attributes:
        name: The task's name; by default the class's name in lower case with underscores.
        supports_dry_run: True if `run` changes nothing where `context.dry_run` is True, and tells what it
            would do.
    """

    name: ClassVar[str] = ""
    supports_dry_run: ClassVar[bool] = False

    if TYPE_CHECKING:
        run: Callable[..., Any]

    def __init_subclass__(cls, **options: Any) -> None:
        """Name the task after its class, unless it has a name of its own."""
        super().__init_subclass__(**options)
        if "name" not in cls.__dict__:
            words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
            cls.name = words.removesuffix("_task") or words


@dataclass(frozen=True)
class TaskOutcome:
    """The output of a task.

    Attributes:
        files: Files and folders that it made; deliveries can send them.
        facts: Names and values to show, such as a number of rows. They must not be sensitive.
        changed: False if everything was as it should be already.
        assets: Keys of assets that it made as part of its work, such as a delivery, each with facts to show;
            those that its file names under `produces` are not repeated.
    """

    files: Sequence[Path] = ()
    facts: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    changed: bool = True
    assets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Deadline:
    """The time until which a task may work.

    Attributes:
        seconds: Seconds that it may take in all; None without a limit.
        started: When it started, by the monotonic clock.
    """

    seconds: float | None = None
    started: float = field(default_factory=time.monotonic)

    def left(self) -> float | None:
        """Return the seconds that are left, 0 or more; None without a limit.

        Raises:
            TaskTimeout: None is left.
        """
        if self.seconds is None:
            return None
        left = self.started + self.seconds - time.monotonic()
        if left <= 0:
            raise self.reached()
        return left

    def at_most(self, seconds: float) -> float:
        """Return the seconds that are left, or fewer.

        Raises:
            TaskTimeout: None is left.
        """
        left = self.left()
        return seconds if left is None else min(left, seconds)

    def reached(self) -> TaskTimeout:
        """Return the error of a task that took too long."""
        return TaskTimeout(
            f"It took longer than its timeout of {self.seconds:g} s, and was ended. Look why it takes so "
            "long, "
            "or raise `timeout`."
        )


@dataclass(frozen=True)
class TaskContext:
    """The execution of a task: its surroundings, and the parts of the platform that it may use.

    Attributes:
        file: Name of the task file, which is the job's name too.
        task: The task's id in the file.
        run_id: Identifies the run of the job.
        folder: The job's own folder for working files; it exists.
        variables: The platform's variables: TODAY, PLATFORM, CWD, ...
        log: Takes a line of the task's log.
        warn: Takes a line that says that something needs attention.
        secret: Resolves a reference to a secret. The value is replaced by *** in logs and errors from then
            on.
        deadline: The time until which the task may work.
        dry_run: True if the task must change nothing, and only tell what it would do.
        queries: The platform's databases.
        inspection: The inspection for sensitive data.
        buckets: Folders and buckets.
        alerts: Alerts to people.
        deliveries: Deliveries, data sources and destinations.
    """

    file: str
    task: str
    run_id: str
    folder: Path
    variables: Mapping[str, str]
    log: Callable[[str], None]
    warn: Callable[[str], None]
    secret: Callable[[Secret], str]
    deadline: Deadline
    dry_run: bool
    queries: Queries
    inspection: FileInspection
    buckets: Buckets
    alerts: Alerts
    deliveries: Deliveries
