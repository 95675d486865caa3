"""The room of the workers: the place of each job in the code location, and the probes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

from platform_assets.diagnosis import Observation, Probe
from platform_assets.rooms import Assembly
from platform_assets.workers.settings import CelerySettings, WorkersSettings


class WorkersRoom(Assembly[WorkersSettings]):
    """The place of each job of the code location, as the settings say."""

    settings_class = WorkersSettings

    def places_jobs(self) -> bool:
        """See `PlacesJobs.places_jobs`."""
        return bool(self.settings.workers.jobs)

    def placed(self, job: Any) -> Any:
        """See `PlacesJobs.placed`: the settings' executor, and the tags that launchers read."""
        one = self.settings.workers.job(job.name)
        if one is None:
            return job
        from platform_assets.workers.executor import placed

        return placed(job, one, self._executor if one.steps == "celery" else None)

    @cached_property
    def _executor(self) -> Any:
        from platform_assets.workers.executor import steps_on_workers

        return steps_on_workers(self.celery())

    def celery(self) -> CelerySettings:
        """Return the settings of Celery.

        Raises:
            SettingsError: There are none.
        """
        from platform_assets.errors import SettingsError

        if self.settings.workers.celery is None:
            raise SettingsError(
                "There is no block workers.celery in the configuration, which names the Redis server of the "
                "workers; config/celery.conf is an example."
            )
        return self.settings.workers.celery

    def queues(self) -> list[str]:
        """Return the names of the queues that workers have to take: of runs, and of steps if any go there."""
        from platform_assets.orchestration import EXTRACTION, INSPECTION, LOADS, QUEUE, TRANSFORMATION
        from platform_assets.workers.settings import RUNS_QUEUE

        found = {RUNS_QUEUE, *(job.queue for job in self.settings.workers.jobs.values() if job.queue)}
        if any(job.steps == "celery" for job in self.settings.workers.jobs.values()):
            found |= {tags[QUEUE] for tags in (EXTRACTION, TRANSFORMATION, INSPECTION, LOADS)}
        return sorted(found)

    def probes(self) -> Iterator[Probe]:
        """See `HasProbes.probes`: the broker, and a worker for each queue."""
        if self.settings.workers.celery is not None:
            yield Probe("workers", "broker", partial(self._look, "broker"))
            yield Probe("workers", "queues", partial(self._look, "queues"))

    def _look(self, subject: str) -> Iterator[Observation]:
        from platform_assets.workers import probes

        if subject == "broker":
            yield from probes.look_at_broker(self.celery())
        else:
            yield from probes.look_at_queues(self.celery(), self.queues())


ROOM = WorkersRoom
