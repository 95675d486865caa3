"""Celery's part in Dagster: the executor of steps, the tags of jobs, and the program of the workers."""

import json
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import dagster as dg

from platform_assets.dagster_internals import (
    ENDS_OF_STEP,
    StepOrder,
    execute_run,
    execute_step,
    run_of,
    signals_held_back,
    steps_elsewhere,
    with_tags,
)
from platform_assets.orchestration import QUEUE
from platform_assets.workers.messages import build_app
from platform_assets.workers.queues import Broker
from platform_assets.workers.settings import DEFAULT_QUEUE, CelerySettings, JobSettings, WorkersBlock

if TYPE_CHECKING:
    from celery import Celery

_RESOURCES = "dagster-k8s/config"
"""Tag of a run: what its pod takes."""
_TASK = "ecs/task_overrides"
"""Tag of a run: what differs from the task definition of ECS."""
STEP_TASK = "execute_step"
"""Name of the task that executes a step."""
_LOOKS_EVERY = 0.2
"""Seconds between two looks of a run at the events of its steps: one indexed query each."""
_ON_ITS_WAY = 1.0


def placed(job: Any, settings: JobSettings, executor: dg.ExecutorDefinition | None) -> Any:
    """Return a job with the tags that launchers read, and with an executor.

    Args:
        job: The job.
        settings: Where its runs work, and what they take.
        executor: Executor of its steps; None keeps its own.
    """
    tags: dict[str, str] = {}
    if settings.queue is not None:
        tags[QUEUE] = settings.queue
    wanted: dict[str, str] = {}
    if settings.cpu is not None:
        wanted["cpu"] = f"{round(settings.cpu * 1000)}m"
    limits: dict[str, str] = {}
    if settings.memory_mb is not None:
        limits["memory"] = wanted["memory"] = f"{settings.memory_mb}Mi"
    if wanted:
        resources = {"requests": wanted, **({"limits": limits} if limits else {})}
        tags[_RESOURCES] = json.dumps({"container_config": {"resources": resources}})
    if settings.aws_role is not None:
        tags[_TASK] = json.dumps({"taskRoleArn": settings.aws_role})
    return with_tags(job, tags, executor)


def steps_on_workers(settings: CelerySettings) -> dg.ExecutorDefinition:
    """Define the executor that hands each step of a run to a worker.

    Args:
        settings: The broker, resolved when a run starts.
    """

    def build(_: dg.InitExecutorContext) -> dg.Executor:
        app = build_app(settings)

        def send(step: StepOrder) -> None:
            queue = step.tags.get(QUEUE, DEFAULT_QUEUE)
            identity = task_of_step(step.run, step.key, step.attempt)
            app.send_task(STEP_TASK, kwargs={"packed": step.packed}, queue=queue, task_id=identity)

        def lost(step: StepOrder) -> str | None:
            queue = step.tags.get(QUEUE, DEFAULT_QUEUE)
            return reason_of_loss(app, task_of_step(step.run, step.key, step.attempt), queue)

        def stop(step: StepOrder) -> None:
            app.control.revoke(task_of_step(step.run, step.key, step.attempt), terminate=True)

        return steps_elsewhere("Celery's workers", send=send, lost=lost, stop=stop, interval=_LOOKS_EVERY)

    return dg.ExecutorDefinition(
        name="celery",
        requirements=dg.multiple_process_executor_requirements(),
        executor_creation_fn=build,
        description="Hands each step to a Celery worker that takes the step's queue.",
    )


def task_of_step(run: str, key: str, attempt: int) -> str:
    """Return the id of the task that executes a step, which any process can compute."""
    return str(uuid.uuid5(uuid.UUID(run), f"{key} {attempt}"))


def reason_of_loss(app: "Celery", task: str, queue: str) -> str | None:
    """Return the reason why a task will not end by itself; None if it waits, works or has ended well."""
    for is_last in (False, True):
        state = app.AsyncResult(task).state
        if state in ("FAILURE", "REVOKED"):
            return f"its task ended as {state.lower()}"
        if state != "PENDING":
            return None
        with Broker.open(app.conf.broker_url) as broker:
            if broker.holds(task, queue):
                return None
        if not is_last:
            time.sleep(_ON_ITS_WAY)  # between the queue and the worker
    return f"Redis has lost its message in the queue {queue}"


def build_worker(block: WorkersBlock, settings: CelerySettings) -> "Celery":
    """Build the program of a worker, which executes steps and whole runs.

    Args:
        block: The jobs: a run that gives its steps to workers is resumed by the worker that gets its message.
        settings: The broker.

    Raises:
        SettingsError: Celery is not installed.
    """
    app = build_app(settings)
    from platform_assets.workers.lease import Work, renew_leases

    renew_leases(app, settings.lease)

    def gives_steps_away(run: dg.DagsterRun) -> bool:
        one = block.job(run.job_name)
        return one is not None and one.steps == "celery"

    def do_step(self: Work, packed: Any) -> None:
        with signals_held_back(), dg.DagsterInstance.get() as instance:
            execute_step(packed, instance, is_repeated=self.is_repeated)

    def do_run(self: Work, execute_job_args_packed: Any) -> None:
        with signals_held_back(), dg.DagsterInstance.get() as instance:
            run = instance.get_run_by_id(run_of(execute_job_args_packed))
            if run is None or run.is_finished:
                return
            if run.status == dg.DagsterRunStatus.CANCELING:
                cancel(app, run, instance)
            elif run.status == dg.DagsterRunStatus.STARTED and self.is_repeated:
                take_over(run, instance, is_resumed=gives_steps_away(run))
            else:
                execute_run(run.run_id, instance)

    def do_resumed_run(_: Work, execute_job_args_packed: Any) -> None:
        with signals_held_back(), dg.DagsterInstance.get() as instance:
            run = instance.get_run_by_id(run_of(execute_job_args_packed))
            if run is not None and run.status == dg.DagsterRunStatus.STARTED:
                take_over(run, instance, is_resumed=gives_steps_away(run))

    # The names of runs, and of their arguments, are those of Dagster's launcher.
    for name, work in ((STEP_TASK, do_step), ("execute_job", do_run), ("resume_job", do_resumed_run)):
        app.task(name=name, base=Work, bind=True)(work)
    return app


def take_over(run: dg.DagsterRun, instance: dg.DagsterInstance, *, is_resumed: bool) -> None:
    """Continue a run whose worker has died, or mark it as failed; `run_retries` then repeats it.

    Args:
        run: The run.
        instance: The instance.
        is_resumed: True if the steps of the run are on other workers, where they may still work.
    """
    if is_resumed:
        execute_run(run.run_id, instance, resume=True)
    else:
        instance.report_run_failed(run, "The worker that executed this run has died.")


def cancel(app: "Celery", run: dg.DagsterRun, instance: dg.DagsterInstance) -> None:
    """Stop the steps of a run that nobody executes any more, and mark it as cancelled."""
    if tasks := tasks_of_steps(instance, run.run_id):
        app.control.revoke(tasks, terminate=True)
    instance.report_run_canceled(run)


def tasks_of_steps(instance: dg.DagsterInstance, run: str) -> list[str]:
    """Return the ids of the tasks of a run's steps that were handed to workers and have not ended."""
    handed = Counter(
        log.step_key for log in instance.all_logs(run, of_type=dg.DagsterEventType.STEP_WORKER_STARTING)
    )
    ended = Counter(log.step_key for log in instance.all_logs(run, of_type=ENDS_OF_STEP))
    # A step that was handed on twice for the same attempt counts one too many, which harms nobody.
    return [
        task_of_step(run, key, attempt)
        for key, count in handed.items()
        for attempt in range(ended[key] + 1, count + 1)
        if key is not None
    ]
