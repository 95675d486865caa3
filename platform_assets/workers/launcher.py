"""The launcher of whole runs, which `dagster.yaml` names."""

from typing import Any

import dagster as dg
from dagster_celery.launcher import CeleryRunLauncher

from platform_assets.dagster_internals import RUN_WORKS, run_is_lost
from platform_assets.orchestration import QUEUE
from platform_assets.workers.executor import reason_of_loss, tasks_of_steps

_TASK = "dagster-celery/task_id"


class WorkersRunLauncher(CeleryRunLauncher):
    """Puts whole runs into queues, and stops them with their steps.

    Dagster's own launcher stops the process of the run only, which then counts as a failure and is repeated,
    and takes a run for lost whose message still waits.
    """

    def terminate(self, run_id: str) -> bool:
        """Stop a run and those of its steps that are on workers.

        Returns:
            False if there is nothing to stop.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        task = run.tags.get(_TASK)
        # Asked first: if Redis does not answer, nothing has been done yet.
        is_waiting = task is not None and self.celery.AsyncResult(task).state == "PENDING"
        self._instance.report_run_canceling(run)
        tasks = [*([task] if task else []), *tasks_of_steps(self._instance, run_id)]
        if tasks:
            self.celery.control.revoke(tasks, terminate=True)
        if is_waiting:
            # Nobody works on it; a worker that gets its message later finds that the run has ended.
            self._instance.report_run_canceled(run)
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> Any:
        """Return whether a run that has started still has a worker, or will get one again."""
        task = run.tags.get(_TASK)
        if task is None:  # it began before the launcher had noted its task
            return RUN_WORKS
        if self.celery.AsyncResult(task).state in ("SUCCESS", "FAILURE"):
            return super().check_run_worker_health(run)
        reason = reason_of_loss(self.celery, task, run.tags.get(QUEUE, self.default_queue))
        return run_is_lost(reason) if reason else RUN_WORKS
