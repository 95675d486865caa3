"""Runs: in this process, and what Dagster's instance knows of runs; the instance itself, and its UI."""

import contextlib
import datetime as dt
import logging
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from platform_assets.dagster_internals import (
    delete_run,
    execute_job,
    instance_at,
    instigator_of,
    instigator_states,
    is_interruption,
    keeps_runs_on_this_machine,
    last_heartbeat,
    outdated_storages,
    serve_dev,
    step_errors,
)
from platform_assets.errors import AlreadyServed, path_error
from platform_assets.isolation import Isolation
from platform_assets.logs import is_json
from platform_assets.orchestration import DELETIONS, STOPPED
from platform_assets.processes import command_line, is_alive, one_at_a_time, serving, write_whole

_PROJECT = Path(__file__).parent.parent


@dataclass(frozen=True)
class JobRun:
    """Result of a job run.

    Args:
        succeeded: Whether every step succeeded and no blocking check failed.
        run_id: Dagster's id of the run.
        failures: Messages of the failed steps, in the platform's own words where available.
        failed_checks: Checks that did not pass, as `asset: check: description`.
    """

    succeeded: bool
    run_id: str
    failures: tuple[str, ...]
    failed_checks: tuple[str, ...]


def run_job(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    report: Callable[[str], None],
    tags: Mapping[str, str] | None = None,
) -> JobRun:
    """Run a job in this process, recorded in Dagster's instance like any other run.

    Args:
        job: The job; its loggers include `PLAIN_LOGGER`.
        instance: Dagster's instance.
        report: Receives the steps' log, line by line, unless this process logs JSON.
        tags: Further tags of the run.
    """
    with _lines_to(report):
        config: dict[str, object] = {} if is_json() else {"loggers": {PLAIN_LOGGER: {}}}
        run_id, events = execute_job(job, instance, config, tags)
    sentences = [_sentence(event) for event in events if event.is_step_failure]
    if any(map(is_interruption, events)):
        sentences.append(_INTERRUPTED)
    checks = [
        f"{'/'.join(check.asset_key.path)}: {check.check_name}: {check.description}"
        for check in (
            event.asset_check_evaluation_data
            for event in events
            if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        )
        if not check.passed
    ]
    ended = instance.get_run_by_id(run_id)
    succeeded = ended is not None and ended.is_success
    return JobRun(succeeded, run_id, tuple(filter(None, dict.fromkeys(sentences))), tuple(checks))


def prepare_home(home: Path) -> None:
    """Create Dagster's folder with the project's dagster.yaml.

    Raises:
        PlatformError: The folder cannot be created.
    """
    configuration = _configuration()
    with _paths_explained():
        home.mkdir(parents=True, exist_ok=True)
        if configuration is not None and _bytes_of(home / "dagster.yaml") != configuration:
            write_whole(home / "dagster.yaml", configuration)


def _configuration() -> bytes | None:
    """Return the project's dagster.yaml; None if the package is installed without the project."""
    return _bytes_of(_PROJECT / "dagster.yaml")


def _bytes_of(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


@contextlib.contextmanager
def _paths_explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise path_error(error) or error from error


def serve_ui(home: Path, host: str, port: int) -> None:
    """Serve the UI with its daemon until it is interrupted; DAGSTER_HOME has to name the same folder.

    Args:
        home: Dagster's folder.
        host: Address to serve on.
        port: Port to serve on.

    Raises:
        AlreadyServed: A daemon already uses this instance.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A script's background jobs ignore this signal, by which Dagster stops the processes that it started.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with serving(home, port), open_instance(home) as instance:
        serve_dev(instance, _PROJECT / "workspace.yaml", host, port)


def refuse_while_used(home: Path) -> None:
    """Raise an error while the UI, its daemon or a run uses Dagster's folder.

    Raises:
        AlreadyServed: A process uses it; the message names the process.
    """
    if not home.is_dir():
        return
    with serving(home, None):
        for run_id, pid in _runs_with_process(home):
            if _is_python(pid):
                raise AlreadyServed(
                    f"Run {run_id} is running in process {pid} ({command_line(pid).strip()}). Wait until "
                    f"it ends, or stop it: kill {pid}."
                )


def fail_abandoned_runs(home: Path) -> list[str]:
    """Mark runs as failed whose process no longer exists, as after a power cut; Dagster would wait for hours.

    Returns:
        The ids of the runs that were marked.
    """
    abandoned = []
    for run_id, pid in _runs_with_process(home):
        if not _is_python(pid):
            with open_instance(home) as instance:
                run = instance.get_run_by_id(run_id)
                if run is not None:
                    instance.report_run_failed(run, f"Process {pid}, which executed this run, has ended.")
                    abandoned.append(run_id)
    return abandoned


def _runs_with_process(home: Path) -> list[tuple[str, int]]:
    """Return the unfinished runs, each with the id of the process that executes it."""
    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    found = []
    with open_instance(home) as instance:
        for run in instance.get_runs(filters=dg.RunsFilter(statuses=unfinished)):
            events = (entry.dagster_event for entry in instance.all_logs(run.run_id))
            pids = [event.pid for event in events if event is not None and event.pid is not None]
            if pids:
                found.append((run.run_id, pids[-1]))
    return found


def _is_python(pid: int) -> bool:
    """Return whether a process runs and may be a Dagster run; its id may have been reused."""
    return is_alive(pid) and "python" in command_line(pid).lower()


_MOST_FORGOTTEN = 500


def forget_old_runs(
    instance: dg.DagsterInstance, succeeded: dt.timedelta, others: dt.timedelta, now: dt.datetime
) -> Isolation:
    """Delete finished runs with their events and logs, which Dagster would keep for ever.

    Runs that hold the latest materialization of an asset stay, and the latest results of checks. At most a
    few hundred runs go at a time.

    Args:
        instance: Dagster's instance.
        succeeded: Age at which successful runs go.
        others: Age at which failed and canceled runs go.
        now: The time, UTC.

    Returns:
        The runs that could not be deleted; the others are gone.
    """
    forgetting = Isolation("Deleting old runs")
    old: list[str] = []
    for statuses, age in (
        ([dg.DagsterRunStatus.SUCCESS], succeeded),
        ([dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED], others),
    ):
        filters = dg.RunsFilter(statuses=statuses, created_before=now - age, updated_before=now - age)
        records = instance.get_run_records(filters, limit=_MOST_FORGOTTEN, ascending=True)
        old += [record.dagster_run.run_id for record in records]
    if not old:
        return forgetting
    needed = _runs_with_latest_events(instance)
    for run_id in old:
        if run_id not in needed:
            with forgetting.guard(run_id):
                delete_run(instance, run_id)
    return forgetting


def _runs_with_latest_events(instance: dg.DagsterInstance) -> set[str]:
    """Return the runs with the latest materialization of an asset."""
    events = instance.event_log_storage.get_latest_materialization_events(list(instance.all_asset_keys()))
    return {event.run_id for event in events.values() if event is not None}


@dataclass(frozen=True)
class LastRun:
    """The last time that a run read a source.

    Args:
        source: Name of the source.
        at: Time of the last read, with or without changes, UTC; None if the source was never read.
        stopped: Skipped tables and their reasons.
        deletions: Time of the last search for deletions, UTC, by table.
    """

    source: str
    at: dt.datetime | None
    stopped: Mapping[str, str] = field(default_factory=dict)
    deletions: Mapping[str, dt.datetime] = field(default_factory=dict)


def last_runs(instance: dg.DagsterInstance, sources: Mapping[str, Sequence[str]]) -> list[LastRun]:
    """Return the last time that a run read each source.

    Args:
        instance: Dagster's instance.
        sources: The names of the tables of each source.
    """
    runs = []
    for source, tables in sources.items():
        keys = [dg.AssetKey([source, table]) for table in tables]
        found = instance.event_log_storage.get_latest_materialization_events(keys)
        events = {key: event for key, event in found.items() if event is not None}
        stopped = {
            key.path[-1]: str(event.asset_materialization.metadata[STOPPED].value)
            for key, event in events.items()
            if event.asset_materialization and STOPPED in event.asset_materialization.metadata
        }
        last = max((event.timestamp for event in events.values()), default=None)
        at = dt.datetime.fromtimestamp(last, dt.UTC) if last else None
        deletions = {
            key.path[-1]: dt.datetime.fromtimestamp(float(str(searched.value)), dt.UTC)
            for key, event in sorted(events.items())
            if event.asset_materialization
            and (searched := event.asset_materialization.metadata.get(DELETIONS))
        }
        runs.append(LastRun(source, at, dict(sorted(stopped.items())), deletions))
    return runs


@dataclass(frozen=True)
class InstanceState:
    """State of Dagster's instance.

    Args:
        needs_migration: True if its storage was made by an older Dagster.
        is_local: True if no other machine can use its storage.
        heartbeat: The daemon's last sign of life, UTC; None if it has never run.
        switched_on: Names of the schedules and sensors that are switched on.
        failed_ticks: Of those, the ones whose last tick failed: when, UTC, and with which class of error.
        ended: When each job ended successfully the last time, UTC; None if it never has.
    """

    needs_migration: bool
    is_local: bool
    heartbeat: dt.datetime | None
    switched_on: frozenset[str]
    failed_ticks: Mapping[str, tuple[dt.datetime, str]]
    ended: Mapping[str, dt.datetime | None]


def instance_state(instance: dg.DagsterInstance, jobs: Sequence[str]) -> InstanceState:
    """Return the state of an instance.

    Args:
        instance: Dagster's instance.
        jobs: Names of the jobs whose last success is looked up.
    """
    found = [instigator_of(instance, state) for state in instigator_states(instance)]
    return InstanceState(
        bool(outdated_storages(instance)),
        keeps_runs_on_this_machine(instance),
        last_heartbeat(instance),
        frozenset(automation.name for automation in found),
        {
            automation.name: (automation.last.at, automation.last.error)
            for automation in found
            if automation.last and automation.last.failed
        },
        {job: _last_success(instance, job) for job in jobs},
    )


def _last_success(instance: dg.DagsterInstance, job: str) -> dt.datetime | None:
    filters = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS])
    records = instance.get_run_records(filters, limit=1)
    end = records[0].end_time if records else None
    return dt.datetime.fromtimestamp(end, dt.UTC) if end else None


@contextlib.contextmanager
def open_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """Open Dagster's instance of a folder, and create the folder if it is missing."""
    configuration = _configuration()
    with _paths_explained():
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "dagster.yaml").exists() and configuration is not None:
            write_whole(home / "dagster.yaml", configuration)
        # Two processes that create Dagster's databases at once would interrupt each other's migrations.
        with one_at_a_time(home / "instance.lock"):
            opened = instance_at(home)
    with opened as instance:
        yield instance


_INTERRUPTED = "The run was interrupted. Nothing of what it had begun counts; run it again to go on."
_INTERRUPTIONS = ("KeyboardInterrupt", "DagsterExecutionInterruptedError")
# Dagster's wrappers around an error: their messages name the location of the error, not its reason.
_WRAPPERS = re.compile(r"Dagster\w+|RetryRequested\w*|Failure")


def _sentence(failure: dg.DagsterEvent) -> str:
    """Return the message of a failed step: the platform's own message if any, else the innermost error's."""
    description, errors = step_errors(failure)
    if description or not errors:
        return description or ""
    error = errors[0]
    for inner in errors[1:]:
        if not _WRAPPERS.fullmatch(error.class_name):
            break
        error = inner
    if error.class_name in _INTERRUPTIONS:
        return _INTERRUPTED
    # Platform errors are complete sentences, prefixed with their class.
    return re.sub(r"^platform_assets\.\w[\w.]*: ", "", error.message.strip())


PLAIN_LOGGER = "plain"
_plain = logging.getLogger("platform_assets.plain")
_plain.propagate = False


def _plain_logger(_: dg.InitLoggerContext) -> logging.Logger:
    _plain.setLevel(logging.INFO)
    return _plain


PLAIN = dg.LoggerDefinition(
    _plain_logger, description="Only the log lines of the steps, without Dagster's events"
)
LOGGERS: Mapping[str, dg.LoggerDefinition] = {
    "console": dg.colored_console_logger,
    PLAIN_LOGGER: PLAIN,
}
"""The loggers of all jobs of the code location."""


# Dagster logs a long message for each step that is skipped after a failed step.
_NOT_EXECUTED = re.compile(r"Dependencies for step .*\. Not executing\.", re.DOTALL)


@contextlib.contextmanager
def _lines_to(report: Callable[[str], None]) -> Iterator[None]:
    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            details = getattr(record, "dagster_meta", {})
            line = details.get("orig_message", record.getMessage())
            if not details.get("dagster_event") and not _NOT_EXECUTED.fullmatch(line):
                report(line)

    handler = Lines(logging.INFO)
    _plain.addHandler(handler)
    try:
        yield
    finally:
        _plain.removeHandler(handler)
