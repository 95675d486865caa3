"""All uses of Dagster's private modules, each with the reason why the public interface does not do.

`platform_assets_tests/test_private_parts.py` fails with a plain message when a new version moves them.
"""

import datetime as dt
import importlib
import logging
import operator
import signal
import sqlite3
import sys
import types
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.execution.retries import RetryMode
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickStatus,
)
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)
from dagster._core.storage.tags import CODE_LOCATION_TAG, REPOSITORY_LABEL_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._serdes import ConfigurableClassData
from dagster._utils.schedules import cron_string_iterator, reverse_cron_string_iterator
from dagster_shared.error import SerializableErrorInfo
from dagster_shared.record import copy as copy_of_record

from platform_assets.logs import console_of_runs, is_json, json_output

LOCATION = "platform_assets"
"""Name of the code location, as in workspace.yaml and pyproject.toml."""
_MODULE = "platform_assets.definitions"


def execute_job(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    run_config: dict[str, object],
    tags: Mapping[str, str] | None = None,
) -> tuple[str, list[dg.DagsterEvent]]:
    """Run a job in this process, recorded like any other run.

    `execute_in_process` would not record the code location that the job belongs to, and the UI would not list
    the run on its job's page.

    Returns:
        The run's id and its events.
    """
    if job.executor_def is not dg.in_process_executor:
        job = job.with_executor_def(dg.in_process_executor)
    run = instance.create_run_for_job(
        job, run_config=run_config, tags={**job.run_tags, **(tags or {})}, remote_job_origin=_origin(job.name)
    )
    return run.run_id, list(execute_run_iterator(InMemoryJob(job), run, instance))


def with_tags(job: Any, tags: Mapping[str, str], executor: dg.ExecutorDefinition | None) -> Any:
    """Return a job with further tags and, if one is given, another executor.

    Jobs have a public method for neither, and a job over assets is no `JobDefinition` yet.
    """
    further: dict[str, Any] = {
        "tags": {**(job.tags or {}), **tags},
        "run_tags": {**(job.run_tags or {}), **tags},
        **({"executor_def": executor} if executor is not None else {}),
    }
    if isinstance(job, dg.JobDefinition):
        return job._copy(**further)
    return copy_of_record(job, **further)


def with_jobs(defs: dg.Definitions, change: Callable[[Any], Any]) -> dg.Definitions:
    """Return definitions in which each job is changed, also where schedules and sensors hold it.

    That a schedule or sensor holds a job, and not just its name, is not public.
    """
    changed: dict[int, Any] = {}

    def once(job: Any) -> Any:
        if id(job) not in changed:
            changed[id(job)] = change(job)
        return changed[id(job)]

    def schedule(schedule_def: Any) -> Any:
        if not isinstance(schedule_def, dg.ScheduleDefinition) or not schedule_def.has_job:
            return schedule_def
        return (
            schedule_def
            if once(schedule_def.job) is schedule_def.job
            else schedule_def.with_updated_job(once(schedule_def.job))
        )

    def sensor(sensor_def: dg.SensorDefinition) -> dg.SensorDefinition:
        jobs = list(sensor_def.jobs) if sensor_def.has_jobs else []
        new = [once(job) for job in jobs]
        if all(map(operator.is_, jobs, new)):
            return sensor_def
        with warnings.catch_warnings():
            # Dagster hands on the owners of the sensor, which it calls a feature in beta.
            warnings.simplefilter("ignore")
            return sensor_def.with_updated_jobs(new)

    return dg.Definitions(
        assets=defs.assets,
        asset_checks=defs.asset_checks,
        jobs=[once(job) for job in defs.jobs or ()],
        schedules=[schedule(schedule_def) for schedule_def in defs.schedules or ()],
        sensors=[sensor(sensor_def) for sensor_def in defs.sensors or ()],
        resources=defs.resources,
    )


class StepOrder(NamedTuple):
    """A step of a run that a worker has to execute.

    Args:
        run: Id of the run.
        key: The step.
        attempt: 1, and one more for each retry.
        tags: Tags of the step.
        packed: Arguments for `execute_step`, as JSON.
    """

    run: str
    key: str
    attempt: int
    tags: Mapping[str, str]
    packed: Any


def steps_elsewhere(
    name: str,
    *,
    send: Callable[[StepOrder], None],
    lost: Callable[[StepOrder], str | None],
    stop: Callable[[StepOrder], None],
    interval: float,
) -> dg.Executor:
    """Build an executor that has each step executed elsewhere, and follows it by the run's events.

    It can resume a run whose process has died: steps that have ended stay, steps that still work are followed
    again. Dagster's Kubernetes and ECS executors are made of the same parts, which are not public.

    Args:
        name: Name for the run's log.
        send: Hands a step on.
        lost: Gives the reason why a step that was handed on will never end; None if it still can.
        stop: Stops a step.
        interval: Seconds between two looks at the events.
    """
    # Imported here because the code location does not need it.
    from dagster._core.executor.step_delegating import (
        CheckStepHealthResult,
        StepDelegatingExecutor,
        StepHandler,
        StepHandlerContext,
    )
    from dagster._serdes import pack_value

    def order(context: StepHandlerContext) -> StepOrder:
        given: Any = context.execute_step_args
        (key,) = given.step_keys_to_execute
        attempt = given.known_state.get_retry_state().get_attempt_count(key) + 1
        return StepOrder(given.run_id, key, attempt, context.step_tags[key], pack_value(given))

    class StepsElsewhere(StepHandler):
        @property
        def name(self) -> str:
            return name

        def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
            one = order(step_handler_context)
            yield dg.DagsterEvent.step_worker_starting(
                step_handler_context.get_step_context(one.key),
                message=f"Handing step {one.key} to {name}.",
                metadata={},
            )
            send(one)

        def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
            reason = lost(order(step_handler_context))
            return CheckStepHealthResult.unhealthy(reason) if reason else CheckStepHealthResult.healthy()

        def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[dg.DagsterEvent]:
            stop(order(step_handler_context))
            return iter(())

    return StepDelegatingExecutor(StepsElsewhere(), RetryMode.ENABLED, sleep_seconds=interval)


def run_of(packed: Any) -> str:
    """Return the id of the run that a message to a worker is about; its format is not public."""
    # Imported here because the code location does not need it.
    from dagster._serdes import unpack_value

    arguments: Any = unpack_value(packed)
    return str(arguments.run_id)


def execute_step(packed: Any, instance: dg.DagsterInstance, *, is_repeated: bool) -> None:
    """Execute the step of a message in this process, as Dagster's command for it does.

    Args:
        packed: The message of a `StepOrder`.
        instance: The instance.
        is_repeated: True if a worker had the message before; a step that it has ended is not executed again.
    """
    # Imported here because the code location does not need them.
    from dagster._cli.api import _execute_step_command_body
    from dagster._core.errors import DagsterExecutionInterruptedError
    from dagster._serdes import unpack_value

    arguments: Any = unpack_value(packed)
    (key,) = arguments.step_keys_to_execute
    run = instance.get_run_by_id(arguments.run_id)
    if run is None:
        return
    if is_repeated:
        earlier = arguments.known_state.get_retry_state().get_attempt_count(key)
        events = instance.all_logs(run.run_id, of_type=ENDS_OF_STEP)
        if sum(event.step_key == key for event in events) > earlier:
            return
    try:
        for _ in _execute_step_command_body(arguments, instance, run):
            pass
    except DagsterExecutionInterruptedError:
        # The run was cancelled. Its place in a pool is free for the next run at once.
        instance.event_log_storage.free_concurrency_slot_for_step(run.run_id, key)


ENDS_OF_STEP = {
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_SKIPPED,
    dg.DagsterEventType.STEP_UP_FOR_RETRY,
}


def execute_run(run_id: str, instance: dg.DagsterInstance, *, resume: bool = False) -> None:
    """Execute a run that a launcher has created in this process, or resume it, as Dagster's commands do."""
    # Imported here because the code location does not need it.
    from dagster._cli.api import _execute_run_command_body, _resume_run_command_body

    body: Any = _resume_run_command_body if resume else _execute_run_command_body
    body(run_id=run_id, instance=instance, write_stream_fn=lambda _: None, set_exit_code_on_failure=False)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Note SIGTERM and SIGINT; a run or step that is executed inside is interrupted when it may be.

    Dagster leaves SIGTERM with the handler of SIGINT. Workers ignore that one, and would never end.
    """
    # Imported here because the code location does not need it.
    from dagster._utils.interrupts import capture_interrupts

    before = signal.getsignal(signal.SIGTERM)
    try:
        with capture_interrupts():
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


RUN_WORKS = CheckRunHealthResult(WorkerStatus.RUNNING)
"""A launcher's answer that a run has a worker."""


def run_is_lost(reason: str) -> CheckRunHealthResult:
    """Return a launcher's answer that a run has no worker any more, so that the daemon resumes it."""
    return CheckRunHealthResult(WorkerStatus.UNKNOWN, reason)


def load_code_location(home: Path) -> None:
    """Load the code location of Dagster's runs, so that processes that are forked from this one have it.

    Dagster's own modules that execute steps, and the parts that `dagster.yaml` names, are imported too. The
    instance itself is opened by each process.

    Args:
        home: Dagster's folder.
    """
    definitions = importlib.import_module(_MODULE).defs
    definitions.get_repository_def()
    for name in _EXECUTES_STEPS:
        importlib.import_module(name)
    if home.is_dir():
        parts: Any = InstanceRef.from_dir(str(home))
        for part in parts:
            if isinstance(part, ConfigurableClassData):
                importlib.import_module(part.module_name)


_EXECUTES_STEPS = (
    *("dagster._cli.api", "dagster._core.executor.in_process", "dagster._core.executor.step_delegating"),
    *("dagster._core.instance.factory", "dagster._core.instance.runs.run_domain"),
    *("dagster._core.secrets.env_file", "dagster._core.storage.migration.utils"),
)
"""Modules that Dagster imports when a process opens the instance and executes its first step."""


def keeps_runs_on_this_machine(instance: dg.DagsterInstance) -> bool:
    """Return True if the instance's storage is files that no other machine can use.

    Which storage an instance has is not public.
    """
    from dagster._core.storage.event_log.sqlite import (
        ConsolidatedSqliteEventLogStorage,
        SqliteEventLogStorage,
    )

    kinds = (SqliteEventLogStorage, ConsolidatedSqliteEventLogStorage)
    return isinstance(instance.event_log_storage, kinds) or not instance.is_persistent


def _origin(job: str) -> RemoteJobOrigin:
    """Return a job's origin, by which the UI lists a run on its job's page and on the timeline."""
    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name=_MODULE), LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME), job)


def record_origin(context: dg.InitResourceContext) -> None:
    """Record the origin of a run's job if the command that started the run did not, such as `dg launch`."""
    if context.run is None or context.run.remote_job_origin is not None:
        return
    run = context.instance.get_run_by_id(context.run.run_id) if context.instance else None
    if context.instance is None or run is None or run.remote_job_origin is not None:
        return
    origin = _origin(run.job_name)
    label = {REPOSITORY_LABEL_TAG: origin.repository_origin.get_label()}
    context.instance.add_run_tags(run.run_id, {**label, CODE_LOCATION_TAG: LOCATION})
    tagged = run.with_tags({**run.tags, CODE_LOCATION_TAG: LOCATION})
    context.instance.run_storage.replace_job_origin(tagged, origin)


def instance_at(home: Path) -> dg.DagsterInstance:
    """Open the instance of a folder.

    `DagsterInstance.get` takes the folder from the environment only, and `from_config` ignores DAGSTER_HOME
    in the paths of its storages.
    """
    with _called_later("structlog", *_ALEMBIC):
        import dagster._core.storage.base_storage
        import dagster._core.storage.sql  # noqa: F401 - imports them
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home)))


_ALEMBIC = (
    *("alembic.command", "alembic.config", "alembic.script"),
    *("alembic.runtime.environment", "alembic.runtime.migration"),
)
"""Modules that only create or migrate a database."""


@contextmanager
def _called_later(*modules: str) -> Iterator[None]:
    """Import modules of other libraries only when something of them is called.

    Dagster's storage imports Alembic and, with its daemons, structlog with rich and Pygments: a twentieth of
    a tick, which calls nothing of them. What is imported within gets names that are looked up when called.
    """
    stand_ins = {name: _Later(name) for name in modules if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            sys.modules.pop(name, None)


class _Later(types.ModuleType):
    """A module that is not imported yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        module = self.__name__

        def found() -> Any:
            return getattr(importlib.import_module(module), name)

        return _LookedUpLater(found, lambda: sys.modules.get(module) is self)


class _LookedUpLater:
    """A name of a module that is not imported yet, or the result of calling it."""

    def __init__(self, find: Callable[[], Any], is_early: Callable[[], bool]) -> None:
        self._find, self._is_early = find, is_early

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self._is_early():
            return _LookedUpLater(lambda: self._find()(*arguments, **options), self._is_early)
        return self._find()(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)


class StepError(NamedTuple):
    """An error of a failed step.

    Args:
        class_name: Name of its class.
        message: Its text.
    """

    class_name: str
    message: str


def step_errors(event: dg.DagsterEvent) -> tuple[str | None, list[StepError]]:
    """Return why a step failed: the platform's own description, and the chain of errors, outermost first.

    The event's public properties have the whole error as one text only.
    """
    data = event.event_specific_data
    if not isinstance(data, StepFailureData) or data.error is None:
        return None, []
    errors = []
    error: SerializableErrorInfo | None = data.error
    while error is not None:
        errors.append(StepError(error.cls_name or "", error.message))
        error = error.cause
    return (data.user_failure_data.description if data.user_failure_data else None), errors


def is_interruption(event: dg.DagsterEvent) -> bool:
    """Return True if an event means that the run ended because its process was asked to stop.

    The reason of a failed run is not part of the public interface.
    """
    data = event.event_specific_data
    return event.event_type == dg.DagsterEventType.RUN_CANCELED or (
        isinstance(data, JobFailureData) and data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION
    )


class CheckResult(NamedTuple):
    """The result of a check.

    Args:
        run_id: Id of the run that it is from.
        evaluation: The result.
    """

    run_id: str
    evaluation: dg.AssetCheckEvaluation


def last_check_results(
    instance: dg.DagsterInstance, keys: Collection[dg.AssetCheckKey]
) -> dict[dg.AssetCheckKey, CheckResult]:
    """Return the last result of each check that has any.

    A run that has planned a check, or that ended before it, leaves a record without a result, and the public
    interface returns that record. Dagster's storage looks up one check at a time.
    """
    # Imported here because they import SQLAlchemy, which the code location does not need.
    from dagster._core.storage.event_log import SqlEventLogStorage

    completed = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
    storage = instance.event_log_storage
    found: dict[dg.AssetCheckKey, AssetCheckExecutionRecord | None] = dict.fromkeys(keys)
    if isinstance(storage, SqlEventLogStorage):
        found = _last_completed(storage, keys)
    results = {}
    for key, newest in found.items():
        record = newest
        if record is None:
            history = storage.get_asset_check_execution_history(key, 1, status=completed)
            record = history[0] if history else None
        if record is not None and isinstance(record.evaluation, dg.AssetCheckEvaluation):
            results[key] = CheckResult(record.run_id, record.evaluation)
    return results


_MOST_WITHOUT_RESULT = 3
"""Newest records of a check among which its last result almost always is."""


def _last_completed(
    storage: Any, keys: Collection[dg.AssetCheckKey]
) -> dict[dg.AssetCheckKey, AssetCheckExecutionRecord | None]:
    """Return the last completed record of each check that has any record; None if only older ones can be."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable

    table, by_name = AssetCheckExecutionsTable, {(key.asset_key.to_string(), key.name): key for key in keys}
    # An index has all that this part of the query reads; the records themselves are large.
    place = db.func.row_number().over(
        partition_by=[table.c.asset_key, table.c.check_name], order_by=table.c.id.desc()
    )
    ranked = (
        db.select(table.c.id, place.label("place"))
        .where(
            table.c.asset_key.in_(sorted({asset for asset, _ in by_name})),
            table.c.check_name.in_(sorted({name for _, name in by_name})),
        )
        .subquery()
    )
    newest = db.select(ranked.c.id).where(ranked.c.place <= _MOST_WITHOUT_RESULT)
    query = db.select(table).where(table.c.id.in_(newest)).order_by(table.c.id.desc())
    with storage.index_connection() as connection:
        rows = connection.execute(query).mappings().all()
    found: dict[dg.AssetCheckKey, AssetCheckExecutionRecord | None] = {}
    for row in rows:
        key = by_name.get((row["asset_key"], row["check_name"]))
        if key is None or found.get(key) is not None:
            continue
        is_completed = row["execution_status"] != AssetCheckExecutionRecordStatus.PLANNED.value
        found[key] = AssetCheckExecutionRecord.from_db_row(row, key) if is_completed else None
    return found


def look_up_assets(context: dg.AssetCheckExecutionContext) -> None:
    """Look up the last materializations of all assets whose checks are selected, with one query.

    Dagster needs them for each result that the step yields, and would look them up one by one.
    """
    keys = {key.asset_key for key in context.selected_asset_check_keys}
    step = context.get_step_execution_context()
    step._data_version_cache._fetch_input_asset_version_info(sorted(keys, key=lambda key: key.path))


@contextmanager
def storage_held_open(context: dg.InitResourceContext) -> Iterator[None]:
    """Keep Dagster's own storage open during a run.

    Dagster's SQLite storage opens and closes its files for every event, and SQLite writes back and deletes
    its log when the last connection closes. With a connection that stays open, an unchanged tick takes a
    tenth less time. Its PostgreSQL storage opens a connection for every event and query, except in the web
    server: 1,200 times in a tick, and 400 times with a connection that stays open.
    """
    # Imported here because it imports SQLAlchemy and Alembic, which the code location does not need.
    from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage

    with ExitStack() as stack:
        storage = context.instance.event_log_storage if context.instance else None
        if type(storage) is SqliteEventLogStorage and context.run is not None:
            for shard in ("index", context.run.run_id):
                connection = stack.enter_context(closing(sqlite3.connect(storage.path_for_shard(shard))))
                connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        elif context.instance is not None and context.run is not None and context.instance.is_persistent:
            # The platform's own storage holds its files open anyway, and ignores this.
            context.instance.optimize_for_webserver(
                statement_timeout=_NO_LIMIT, pool_recycle=_RECYCLED_AFTER, max_overflow=_MOST_MORE
            )
        yield


_NO_LIMIT = 0
_RECYCLED_AFTER = 3600
"""Seconds after which a connection to Dagster's database is opened again; firewalls forget idle ones."""
_MOST_MORE = 10
"""Connections beyond the one that is kept, for threads."""


def delete_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete a run with its events and captured logs.

    The public method leaves the run's SQLite file, megabytes each, the captured logs of its steps, and the
    results of its checks. The latest result of each check stays.
    """
    # Imported here because they import SQLAlchemy and Alembic, which the code location does not need.
    import sqlalchemy as db
    from dagster._core.storage.event_log import SqlEventLogStorage
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
    from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage

    instance.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    storage = instance.event_log_storage
    if isinstance(storage, SqlEventLogStorage):
        column = AssetCheckExecutionsTable.c
        latest = db.select(db.func.max(column.id)).group_by(
            column.asset_key, column.check_name, column.execution_status
        )
        with storage.index_connection() as connection:
            connection.execute(
                AssetCheckExecutionsTable.delete().where(
                    db.and_(column.run_id == run_id, column.id.not_in(latest))
                )
            )
    if isinstance(storage, SqliteEventLogStorage):
        for suffix in ("", "-wal", "-shm"):
            Path(f"{storage.path_for_shard(run_id)}{suffix}").unlink(missing_ok=True)


def serve_dev(instance: dg.DagsterInstance, workspace: Path, host: str, port: int) -> None:
    """Serve the UI with its daemon until it is interrupted; DAGSTER_HOME names the instance.

    Dagster recommends `dg dev`, which does the same without a workspace file.

    Args:
        instance: The instance.
        workspace: The workspace file; if it does not exist, the installed package is served.
        host: Address to serve on.
        port: Port to serve on.
    """
    # Imported here because the code location does not need it.
    from dagster._cli.dev import dev_command

    _start_cursors(instance)
    warnings.filterwarnings("ignore", message="Function `dev_command` is superseded")
    # Dagster mistakes the copied dagster.yaml for a forgotten file.
    logging.getLogger("dagster").addFilter(
        lambda record: "in the current folder, but your DAGSTER_HOME" not in record.getMessage()
    )
    target = ["-w", str(workspace)] if workspace.exists() else ["-m", _MODULE]
    arguments = [*target, "-h", host, "-p", str(port)]
    with ExitStack() as stack:
        if is_json():
            arguments += ["--log-format", "json"]
            # This process gets a handler for it, too.
            logging.getLogger("dagster").propagate = False
            stack.enter_context(json_output())
        dev_command.main(arguments, prog_name="dagster dev", standalone_mode=False)


def _start_cursors(instance: dg.DagsterInstance) -> None:
    """Start cursors after the existing events, as the daemon would do with a warning."""
    from dagster._daemon.auto_run_reexecution.event_log_consumer import (
        DAGSTER_EVENT_TYPES,
        _create_cursor_key,
    )

    storage = instance.daemon_cursor_storage
    keys = {_create_cursor_key(event_type) for event_type in DAGSTER_EVENT_TYPES}
    missing = keys - storage.get_cursor_values(keys).keys()
    if missing:
        newest = instance.event_log_storage.get_maximum_record_id() or 0
        storage.set_cursor_values(dict.fromkeys(missing, str(newest)))


def log_runs_as_json() -> None:
    """Let Dagster's runs in this process log by the platform's handler of JSON.

    Without a logger in its run config, every run logs through this one, in coloured text on stderr; the
    configuration of the instance can only add handlers to it.
    """
    from dagster._loggers import colored_console_logger

    colored_console_logger._logger_fn = lambda _: console_of_runs()


def outdated_storages(instance: dg.DagsterInstance) -> list[str]:
    """Return the names of Dagster's storages that `dagster instance migrate` has to migrate.

    These are the checks that Dagster makes itself when a query fails; none of them is public.
    """
    from dagster._core.storage.runs.migration import REQUIRED_DATA_MIGRATIONS
    from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
    from dagster._core.storage.schedules.migration import REQUIRED_SCHEDULE_DATA_MIGRATIONS
    from dagster._core.storage.schedules.sql_schedule_storage import SqlScheduleStorage

    runs, schedules = instance.run_storage, instance.schedule_storage
    revisions = {
        "runs": runs.alembic_version(),
        "events": instance.event_log_storage.alembic_version(),
        "schedules": schedules.alembic_version() if schedules is not None else None,
    }
    outdated = {name for name, found in revisions.items() if found is not None and found[0] != found[1]}
    if isinstance(runs, SqlRunStorage) and not all(map(runs.has_built_index, REQUIRED_DATA_MIGRATIONS)):
        outdated.add("runs")
    if isinstance(schedules, SqlScheduleStorage) and not all(
        map(schedules.has_built_index, REQUIRED_SCHEDULE_DATA_MIGRATIONS)
    ):
        outdated.add("schedules")
    return sorted(outdated)


def next_tick(cron: str, timezone: str, after: dt.datetime) -> dt.datetime:
    """Return when a schedule runs next after a time, UTC; Dagster computes it nowhere in public."""
    found = cron_string_iterator(after.timestamp() + 1, cron, timezone)
    return next(found).astimezone(dt.UTC)


def last_tick(cron: str, timezone: str, before: dt.datetime) -> dt.datetime:
    """Return when a schedule last had to run up to a time, UTC."""
    found = reverse_cron_string_iterator(before.timestamp(), cron, timezone)
    return next(tick for tick in found if tick <= before).astimezone(dt.UTC)


def running_schedules(instance: dg.DagsterInstance) -> dict[str, dt.datetime]:
    """Return the schedules that are switched on, each with the time since when, UTC.

    The state of a schedule is not part of the public interface.
    """
    found = instance.all_instigator_state(
        instigator_type=InstigatorType.SCHEDULE, instigator_statuses={InstigatorStatus.RUNNING}
    )
    return {
        state.instigator_name: dt.datetime.fromtimestamp(state.instigator_data.start_timestamp or 0, dt.UTC)
        for state in found
        if isinstance(state.instigator_data, ScheduleInstigatorData)
    }


class LastTick(NamedTuple):
    """A finished evaluation of a schedule or sensor.

    Args:
        at: When it began, UTC.
        failed: True if it failed.
        error: Name of the class of its error; empty if there is none.
    """

    at: dt.datetime
    failed: bool
    error: str


class Instigator(NamedTuple):
    """A schedule or sensor that is switched on.

    Args:
        name: Its name.
        crons: When a schedule ticks; empty for a sensor.
        interval: Seconds between the ticks of a sensor; 0 for a schedule.
        since: Since when it is on, UTC; None if unknown.
        seen: When it was evaluated last, UTC; None if never.
        last: Its last finished tick; None if there is none.
    """

    name: str
    crons: Sequence[str]
    interval: int
    since: dt.datetime | None
    seen: dt.datetime | None
    last: LastTick | None


_FINISHED = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


def instigator_states(instance: dg.DagsterInstance) -> list[InstigatorState]:
    """Return the states of schedules and sensors that are on; they are not part of the public interface."""
    kinds = (InstigatorType.SCHEDULE, InstigatorType.SENSOR)
    states = instance.all_instigator_state()
    return [state for state in states if state.is_running and state.instigator_type in kinds]


def instigator_of(instance: dg.DagsterInstance, state: InstigatorState) -> Instigator:
    """Return a schedule or sensor with its last tick."""
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=_FINISHED)
    last = None
    if ticks:
        data = ticks[0].tick_data
        error = (data.error.cls_name or "") if data.error else ""
        at = dt.datetime.fromtimestamp(data.timestamp, dt.UTC)
        last = LastTick(at, data.status == TickStatus.FAILURE, error)
    given = state.instigator_data
    crons: Sequence[str] = ()
    interval, since, seen = 0, None, last.at.timestamp() if last else None
    if isinstance(given, ScheduleInstigatorData):
        cron = given.cron_schedule
        crons = [cron] if isinstance(cron, str) else cron
        since = given.start_timestamp
        seen = max(filter(None, (seen, given.last_iteration_timestamp)), default=None)
    elif isinstance(given, SensorInstigatorData):
        interval, since = given.min_interval or 30, given.last_sensor_start_timestamp
        times = (seen, given.last_tick_timestamp, given.last_tick_start_timestamp)
        seen = max(filter(None, times), default=None)
    return Instigator(state.instigator_name, crons, interval, _time(since), _time(seen), last)


def _time(timestamp: float | None) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(timestamp, dt.UTC) if timestamp else None


def last_heartbeat(instance: dg.DagsterInstance) -> dt.datetime | None:
    """Return the newest sign of life of Dagster's daemon, UTC; None if it has never run.

    The heartbeats are not part of the public interface.
    """
    found = instance.get_daemon_heartbeats().values()
    return _time(max((event.timestamp for event in found), default=None))


def is_made_ad_hoc(run: dg.DagsterRun) -> bool:
    """Return True if a run makes assets that somebody has chosen, and is no job of the code location.

    Dagster's name for that job is not part of the public interface.
    """
    return run.job_name.startswith(IMPLICIT_ASSET_JOB_NAME)
