"""Celery's part in Dagster: the executor of steps, the tags of jobs, and the program of the workers."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from platform_assets.dagster_internals import RETRIES_ENABLED, run_of_task, with_tags
from platform_assets.errors import SettingsError
from platform_assets.orchestration import QUEUE
from platform_assets.workers.settings import DEFAULT_QUEUE, CelerySettings, JobSettings

if TYPE_CHECKING:
    from celery import Celery

_RESOURCES = "dagster-k8s/config"
"""Tag of a run: what its pod takes."""
_RESULTS_FOR = 3600
"""Seconds that the result of a step is kept; the run reads it within a second."""
_MOST_STEPS = 200
"""Steps and runs after which a worker's process is replaced, which returns what libraries have leaked."""


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
    return with_tags(job, tags, executor)


def steps_on_workers(settings: CelerySettings) -> dg.ExecutorDefinition:
    """Define the executor that hands each step of a run to a worker.

    Args:
        settings: The broker, resolved when a run starts.
    """

    def build(_: dg.InitExecutorContext) -> dg.Executor:
        try:
            from dagster_celery import executor
        except ImportError:
            raise missing_extra() from None
        broker, results = addresses(settings)
        kind: Any = executor.CeleryExecutor
        made: dg.Executor = kind(
            retries=RETRIES_ENABLED, broker=broker, backend=results, config_source=options(settings)
        )
        return made

    return dg.ExecutorDefinition(
        name="celery",
        requirements=dg.multiple_process_executor_requirements(),
        executor_creation_fn=build,
        description="Hands each step to a Celery worker that takes the step's queue.",
    )


def missing_extra() -> SettingsError:
    """Build the error that Celery is not installed."""
    return SettingsError(
        "Runs and steps cannot be given to workers without Celery: pip install 'platform-assets[celery]'."
    )


def addresses(settings: CelerySettings) -> tuple[str, str]:
    """Return the URLs of the broker and of the results."""
    broker = settings.broker.resolve()
    return broker, settings.results.resolve() if settings.results is not None else broker


def options(settings: CelerySettings) -> dict[str, Any]:
    """Return Celery's options: what is sent and what is received need the same.

    A message is acknowledged when its work has ended, so that the broker still has the work of a worker that
    died. It hands it to another worker when the lease, its visibility timeout, was not renewed.
    """
    return {
        "task_default_queue": DEFAULT_QUEUE,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_track_started": True,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": _MOST_STEPS,
        # A worker that has lost the broker stops: another one gets its work.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_hijack_root_logger": False,
        # Dagster captures what steps print.
        "worker_redirect_stdouts": False,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            "visibility_timeout": settings.lease,
            "unacked_restore_interval": max(1, settings.lease // 3),
            "unacked_restore_throttle": 1,
            # One list for each queue, so that its length is a number that an autoscaler reads.
            "priority_steps": [0],
            "socket_keepalive": True,
        },
        "result_expires": _RESULTS_FOR,
    }


def build_worker(settings: CelerySettings) -> "Celery":
    """Build the program of a worker, which executes steps and whole runs.

    Raises:
        SettingsError: Celery is not installed.
    """
    try:
        from dagster_celery import make_app, tasks
    except ImportError:
        raise missing_extra() from None
    from platform_assets.workers.lease import renew_leases, work_of_platform

    build: Any = make_app.make_app
    create: Any = tasks
    broker, results = addresses(settings)
    app: Celery = build({"broker": broker, "backend": results, "config_source": options(settings)})
    renew_leases(app, settings.lease)
    create.create_task(app, base=work_of_platform(refuse_step))
    create.create_execute_job_task(app, base=work_of_platform(fail_interrupted_run))
    create.create_resume_job_task(app)
    return app


def refuse_step(arguments: Mapping[str, Any], is_repeated: bool) -> bool:
    """Return True if a step need not run any more, as its run has ended.

    Args:
        arguments: Arguments of the task.
        is_repeated: Whether another worker had the task before.
    """
    if not is_repeated:
        return False
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_of_task(arguments["execute_step_args_packed"]))
    return run is None or run.is_finished


def fail_interrupted_run(arguments: Mapping[str, Any], is_repeated: bool) -> bool:
    """Mark a run as failed if the worker that executed it has died; `run_retries` then repeats the run.

    Args:
        arguments: Arguments of the task.
        is_repeated: Whether another worker had the task before.

    Returns:
        True if the run must not be executed by this task.
    """
    if not is_repeated:
        return False
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_of_task(arguments["execute_job_args_packed"]))
        if run is None or run.is_finished:
            return True
        if run.status not in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING):
            return False
        instance.report_run_failed(run, "The worker that executed this run has died.")
    return True
