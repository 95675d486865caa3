"""Settings of workers: Celery's broker, where jobs run, and what their runs take on Kubernetes."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.mistakes import Mistake
from platform_assets.configuration.secrets import REFERENCES, Secret
from platform_assets.configuration.values import Block, Integer, Text

if TYPE_CHECKING:
    from platform_assets.configuration.blocks import Settings

DEFAULT_QUEUE = "transformation"
"""Queue of the steps that are not tagged with another one."""
RUNS_QUEUE = "runs"
"""Queue of the runs whose jobs do not name another one. No step goes to it: a run that waits for its steps
holds a worker, and steps in the same queue would wait for that worker.
"""


def _queue_name(value: str) -> str:
    if not value.replace("_", "").replace("-", "").isalnum() or not value.isascii():
        raise ValueError("a queue's name has letters, digits, - and _")
    return value


class CelerySettings(Block):
    """Celery with Redis, which hands runs and steps to workers."""

    broker: Secret = Field(
        description=f"a reference to the URL of a Redis server, redis://... or rediss://...: {REFERENCES}"
    )
    """The Redis server that holds the queues; the URL usually has a password."""
    results: Secret | None = Field(
        default=None, description=f"a reference to the URL of a Redis server: {REFERENCES}"
    )
    """The Redis server that holds the results of steps for an hour; without it, the broker."""
    lease: Integer = Field(default=60, ge=3, le=86_400, description="whole seconds from 3 to 86400")
    """Seconds after which the work of a worker that has died goes to another worker."""


class JobSettings(Block):
    """The place of a job's runs and steps, and the resources of its runs."""

    steps: Literal["run", "celery"] = Field(default="run", description="run or celery")
    """The place of the steps: `run`, all of them in the process of the run, or `celery`, each on a worker
    that takes the step's queue."""
    queue: Annotated[Text | None, AfterValidator(lambda value: value and _queue_name(value))] = Field(
        default=None, description="the name of a queue: letters, digits, - and _"
    )
    """The queue that the launcher puts the runs into; without it, `runs`."""
    cpu: float | None = Field(default=None, gt=0, le=256, description="a number of processors, such as 0.5")
    """Processors that a run asks for on Kubernetes."""
    memory_mb: Integer | None = Field(default=None, ge=64, description="whole megabytes, 64 or more")
    """Memory that a run on Kubernetes asks for, and may not exceed."""
    aws_role: Text | None = Field(
        default=None,
        pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/\S+$",
        description="the ARN of a role, arn:aws:iam::123456789012:role/NAME",
    )
    """The role that a run has on ECS, one of those that the daemon may give it."""


class WorkersBlock(Block):
    """Workers of several machines."""

    celery: CelerySettings | None = Field(default=None, description="a block with broker")
    jobs: dict[str, JobSettings] = Field(
        default_factory=dict, description="a block of jobs by name; * stands for any characters"
    )
    """Jobs by name, or by a pattern such as `delivery_*`. A job's own name goes before patterns, and the
    first pattern that fits before others."""

    def job(self, name: str) -> JobSettings | None:
        """Return the settings of a job; None if nothing fits its name."""
        if name in self.jobs:
            return self.jobs[name]
        return next((job for pattern, job in self.jobs.items() if fnmatchcase(name, pattern)), None)


class WorkersSettings(RoomSettings):
    """The workers' key."""

    workers: WorkersBlock = Field(default_factory=WorkersBlock, description="a block with celery and jobs")

    def mistakes(self, settings: Settings) -> Iterator[Mistake]:
        """Check that steps have a broker to go to, and that runs do not wait in the queue of their steps."""
        for name, job in self.workers.jobs.items():
            key = ("workers", "jobs", name)
            if job.steps == "celery" and self.workers.celery is None:
                yield Mistake((*key, "steps"), "celery", "run, as there is no block workers.celery")
            if job.steps == "celery" and job.queue not in (None, RUNS_QUEUE):
                expected = f"nothing: runs that wait for their steps go to the queue {RUNS_QUEUE}"
                yield Mistake((*key, "queue"), str(job.queue), expected)


SETTINGS = WorkersSettings
