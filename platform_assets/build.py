"""The code location: merges the definitions of all rooms, with their resources and jobs."""

import contextlib
import datetime as dt
import logging
import re
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import CODE_LOCATION_TAG, REPOSITORY_LABEL_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from platform_assets import assembly
from platform_assets.dlp.defs import WatchTimes, build_dlp_defs
from platform_assets.errors import AlreadyServed, SettingsError, path_error
from platform_assets.lake.defs import LAKE_IO_MANAGER, STOPPED
from platform_assets.model import star, totesys
from platform_assets.model.table import Table
from platform_assets.processes import command_line, is_alive, one_at_a_time, serving, write_whole
from platform_assets.settings import (
    FreshnessSettings,
    Settings,
    WarehouseSettings,
    dagster_home,
    hand_on_dagster_home,
)
from platform_assets.snowflake.defs import LAKE_COPIES, build_snowflake_defs
from platform_assets.source.defs import (
    DELETIONS,
    build_source_defs,
    build_source_job,
    build_verification_defs,
    lake_job,
)
from platform_assets.star.defs import GROUP as STAR
from platform_assets.star.defs import blocking_checks, build_star_defs
from platform_assets.warehouse.defs import (
    MAIN_WAREHOUSE,
    build_freshness_defs,
    build_load_defs,
    build_warehouse_defs,
    io_manager_key,
)

MAIN_JOB = "totesys_to_warehouse"
LOCATION = "platform_assets"
"""Name of the code location, as in workspace.yaml and pyproject.toml."""
EXCLUSIVE_TAG = {"platform_assets/exclusive": MAIN_JOB}
"""Runs with this tag wait for each other: `dagster.yaml` allows one at a time."""


def build_defs(settings: Settings, *, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Build the code location without connecting to or reading anything.

    Args:
        settings: The configuration.
        resources: Resources that replace the configured ones, by key; for tests and special deployments.
    """
    assembly.check_info_types(settings)
    tables = {name: assembly.source_tables(settings, name) for name in settings.sources.names}
    rooms = [
        build_source_defs("totesys", totesys.TABLES, read_by=STAR),
        build_star_defs("totesys", totesys.TABLES),
        _warehouse_defs(MAIN_WAREHOUSE, settings.warehouse),
    ]
    further = {name: _warehouse_defs(name, one) for name, one in settings.warehouses.items()}
    discovered = {
        name: build_source_defs(name, tables[name], is_declared=False)
        for name in settings.sources.discovered
        if tables[name]
    }
    feeds = {
        name: f"Rows of the {one.format} files {one.pattern} of {one.watch}."
        for name, one in settings.feeds.items()
    }
    shared = dg.Definitions(
        resources={**_resources(settings, tables), **(resources or {})},
        loggers={"console": dg.colored_console_logger, PLAIN_LOGGER: PLAIN},
    )
    return dg.Definitions.merge(
        *rooms,
        *discovered.values(),
        *further.values(),
        build_snowflake_defs(
            feeds, has_account=settings.snowflake is not None or LAKE_COPIES in (resources or {})
        ),
        build_dlp_defs(
            _watches(settings),
            _inspected(settings, tables),
            feeds,
            {
                MAIN_WAREHOUSE: settings.warehouse.engine,
                **{name: one.engine for name, one in settings.warehouses.items()},
            },
            settings.dlp.inspect.cron,
            settings.schedule.timezone,
        ),
        build_freshness_defs(_fresh_within(settings, tables)),
        shared,
        _main_job(rooms, settings),
        *(_source_job(name, defs, settings) for name, defs in discovered.items()),
        *(
            build_load_defs(name, _check_keys([defs]), settings.schedule.cron, settings.schedule.timezone)
            for name, defs in further.items()
        ),
        *(
            build_verification_defs(name, tables[name], settings.schedule.timezone, EXCLUSIVE_TAG)
            for name in ("totesys", *discovered)
        ),
    )


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


def job_of(settings: Settings, source: str) -> str:
    """Return the name of the job that reads a source: the main job for Totesys, else `<source>_to_lake`.

    Raises:
        SettingsError: The source does not exist, or has no tables.
    """
    if source not in settings.sources:
        known = ", ".join(settings.sources.names)
        raise SettingsError(f"There is no source {source} in the configuration; it has {known}.")
    if source in settings.sources.discovered and not assembly.source_tables(settings, source):
        raise SettingsError(f"The catalogue {settings.catalogue_file(source)} has no tables to read.")
    return lake_job(source) if source in settings.sources.discovered else MAIN_JOB


def run_job(settings: Settings, name: str, report: Callable[[str], None]) -> JobRun:
    """Run a job in this process, recorded in Dagster's instance like any other run.

    Args:
        settings: The configuration.
        name: Name of the job.
        report: Receives the steps' log, line by line.
    """
    job = build_defs(settings).resolve_job_def(name)
    with open_instance(settings) as instance, _lines_to(report):
        # execute_in_process would not record the job's code location.
        run = instance.create_run_for_job(
            job,
            run_config={"loggers": {PLAIN_LOGGER: {}}},
            tags=job.run_tags,
            remote_job_origin=_origin(name),
        )
        events = list(execute_run_iterator(InMemoryJob(job), run, instance))
        failed = [event.event_specific_data for event in events if event.is_step_failure]
        sentences = [_sentence(data) for data in failed if isinstance(data, StepFailureData) and data.error]
        if any(map(_is_interrupted, events)):
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
        ended = instance.get_run_by_id(run.run_id)
        succeeded = ended is not None and ended.is_success
        return JobRun(succeeded, run.run_id, tuple(dict.fromkeys(sentences)), tuple(checks))


def _origin(job: str) -> RemoteJobOrigin:
    """Return a job's origin, by which the UI lists a run on its job's page and on the timeline."""
    module = "platform_assets.definitions"
    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name=module), LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME), job)


def _keep_origin(context: dg.InitResourceContext) -> None:
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


def prepare(settings: Settings) -> None:
    """Create the folders that users expect before the first run: watched folders and Dagster's folder.

    Raises:
        PlatformError: A folder cannot be created.
    """
    for watch in settings.watches:
        assembly.make_folder(settings, watch)
    home, configuration = dagster_home(settings), _configuration()
    with _paths_explained():
        home.mkdir(parents=True, exist_ok=True)
        if configuration is not None and _bytes_of(home / "dagster.yaml") != configuration:
            write_whole(home / "dagster.yaml", configuration)


def _configuration() -> bytes | None:
    """Return the project's dagster.yaml; None if the package is installed without the project."""
    return _bytes_of(Path(__file__).parent.parent / "dagster.yaml")


def _bytes_of(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


@contextlib.contextmanager
def _paths_explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise path_error(error) or error from error


def serve_ui(settings: Settings, host: str, port: int) -> None:
    """Serve the UI with its daemon until it is interrupted.

    Raises:
        AlreadyServed: A daemon already uses this instance.
    """
    # Imported here because the code location needs neither.
    from dagster._cli.dev import dev_command

    prepare(settings)
    home = dagster_home(settings)
    with serving(home, port):
        hand_on_dagster_home(home)
        with open_instance(settings) as instance:
            _start_cursors(instance)
        # Dagster recommends `dg dev`, which does the same without a workspace. It also mistakes the copied
        # dagster.yaml for a forgotten file.
        warnings.filterwarnings("ignore", message="Function `dev_command` is superseded")
        logging.getLogger("dagster").addFilter(
            lambda record: "in the current folder, but your DAGSTER_HOME" not in record.getMessage()
        )
        workspace = Path(__file__).parent.parent / "workspace.yaml"
        target = ["-w", str(workspace)] if workspace.exists() else ["-m", "platform_assets.definitions"]
        dev_command.main(
            [*target, "-h", host, "-p", str(port)], prog_name="dagster dev", standalone_mode=False
        )


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


def refuse_while_used(settings: Settings) -> None:
    """Raise an error while the UI, its daemon or a run uses the local state.

    Raises:
        AlreadyServed: A process uses the local state; the message names it.
    """
    home = dagster_home(settings)
    if not home.is_dir():
        return
    with serving(home, None):
        for run_id, pid in _runs_with_process(settings):
            if _is_python(pid):
                raise AlreadyServed(
                    f"Run {run_id} goes on in process {pid} ({command_line(pid).strip()}). Wait until it has "
                    f"ended, or end it: kill {pid}."
                )


def fail_abandoned_runs(settings: Settings) -> list[str]:
    """Mark runs as failed whose process no longer exists, as after a power cut; Dagster would wait for hours.

    Returns:
        The ids of the runs that were marked.
    """
    abandoned = []
    for run_id, pid in _runs_with_process(settings):
        if not _is_python(pid):
            with open_instance(settings) as instance:
                run = instance.get_run_by_id(run_id)
                if run is not None:
                    instance.report_run_failed(run, f"Process {pid}, which executed this run, is gone.")
                    abandoned.append(run_id)
    return abandoned


def _runs_with_process(settings: Settings) -> list[tuple[str, int]]:
    """Return the unfinished runs, each with the id of the process that executes it."""
    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    found = []
    with open_instance(settings) as instance:
        for run in instance.get_runs(filters=dg.RunsFilter(statuses=unfinished)):
            events = (entry.dagster_event for entry in instance.all_logs(run.run_id))
            pids = [event.pid for event in events if event is not None and event.pid is not None]
            if pids:
                found.append((run.run_id, pids[-1]))
    return found


def _is_python(pid: int) -> bool:
    """Return whether a process runs and may be a Dagster run; its id may have been reused."""
    return is_alive(pid) and "python" in command_line(pid).lower()


@dataclass(frozen=True)
class Look:
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


def last_looks(settings: Settings) -> list[Look]:
    """Return the last time that a run read each source."""
    looks = []
    with open_instance(settings) as instance:
        for source in settings.sources.names:
            keys = [dg.AssetKey([source, table.name]) for table in assembly.source_tables(settings, source)]
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
                key.path[-1]: dt.datetime.fromtimestamp(float(str(looked.value)), dt.UTC)
                for key, event in sorted(events.items())
                if event.asset_materialization
                and (looked := event.asset_materialization.metadata.get(DELETIONS))
            }
            looks.append(Look(source, at, dict(sorted(stopped.items())), deletions))
    return looks


@contextlib.contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open Dagster's instance for these settings, and create its folder if it is missing."""
    home = dagster_home(settings)
    configuration = _configuration()
    with _paths_explained():
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "dagster.yaml").exists() and configuration is not None:
            write_whole(home / "dagster.yaml", configuration)
        # Two processes that create Dagster's databases at once would interrupt each other's migrations.
        with one_at_a_time(home / "instance.lock"):
            opened = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home)))
    with opened as instance:
        yield instance


_INTERRUPTED = "The run was interrupted. Nothing of what it had begun counts; run it again to go on."
_INTERRUPTIONS = ("KeyboardInterrupt", "DagsterExecutionInterruptedError")
# Dagster's wrappers around an error: their messages name the location of the error, not its reason.
_WRAPPERS = re.compile(r"Dagster\w+|RetryRequested\w*|Failure")


def _sentence(data: StepFailureData) -> str:
    """Return the message of a failed step: the platform's own message if any, else the innermost error's."""
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None and _WRAPPERS.fullmatch(error.cls_name or ""):
        error = error.cause
    if error is None:
        return ""
    if error.cls_name in _INTERRUPTIONS:
        return _INTERRUPTED
    said = error.message.strip()
    # Platform errors are complete sentences, prefixed with their class.
    return re.sub(r"^platform_assets\.\w[\w.]*: ", "", said)


def _is_interrupted(event: dg.DagsterEvent) -> bool:
    """Return whether an event means that the run ended because its process was asked to stop."""
    data = event.event_specific_data
    return event.event_type == dg.DagsterEventType.RUN_CANCELED or (
        isinstance(data, JobFailureData) and data.failure_reason == RunFailureReason.UNEXPECTED_TERMINATION
    )


PLAIN_LOGGER = "plain"
_plain = logging.getLogger("platform_assets.plain")
_plain.propagate = False


def _plain_logger(_: dg.InitLoggerContext) -> logging.Logger:
    _plain.setLevel(logging.INFO)
    return _plain


PLAIN = dg.LoggerDefinition(
    _plain_logger, description="Only what the steps themselves say, without Dagster's events"
)


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


def _fresh_within(
    settings: Settings, tables: Mapping[str, Sequence[Table]]
) -> dict[dg.AssetKey, dt.timedelta]:
    """Return the maximum age of each asset that is read from or written to external systems."""

    def of(
        group: str, names: Sequence[Table], freshness: FreshnessSettings
    ) -> dict[dg.AssetKey, dt.timedelta]:
        within = dt.timedelta(minutes=freshness.within)
        return {dg.AssetKey([group, table.name]): within for table in names}

    assets = of("totesys", tables["totesys"], settings.freshness)
    for warehouse in (MAIN_WAREHOUSE, *settings.warehouses):
        assets |= of(warehouse, star.TABLES, settings.freshness)
    for name, source in settings.sources.discovered.items():
        assets |= of(name, tables[name], source.freshness or settings.freshness)
    return assets


def _watches(settings: Settings) -> dict[str, WatchTimes]:
    return {
        name: WatchTimes(given.every, dt.timedelta(minutes=given.uninspected_after))
        for name, given in settings.watches.items()
    }


def _inspected(settings: Settings, tables: Mapping[str, Sequence[Table]]) -> list[dg.AssetKey]:
    """Return the asset keys of the tables whose columns are inspected."""
    groups = {**tables, "star": star.TABLES}
    groups |= dict.fromkeys((MAIN_WAREHOUSE, *settings.warehouses), star.TABLES)
    keys = [dg.AssetKey([group, table.name]) for group, listed in groups.items() for table in listed]
    return [*keys, *(dg.AssetKey(["uploads", name]) for name in settings.feeds)]


def _warehouse_defs(name: str, configured: WarehouseSettings) -> dg.Definitions:
    return build_warehouse_defs(name, configured.engine, configured.star_schema, blocking_checks())


def _check_keys(rooms: Iterable[dg.Definitions]) -> list[dg.AssetCheckKey]:
    """Return the checks of these rooms, except freshness checks, which matter when no job runs."""
    return [key for room in rooms for check in room.asset_checks or () for key in check.check_keys]


def _main_job(rooms: Sequence[dg.Definitions], settings: Settings) -> dg.Definitions:
    keys = [key for room in rooms for asset in room.assets or () for key in _keys(asset)]
    job = dg.define_asset_job(
        MAIN_JOB,
        selection=dg.AssetSelection.assets(*keys).without_checks()
        | dg.AssetSelection.checks(*_check_keys(rooms)),
        description="Brings what changed in Totesys into the lake, the star schema and the warehouse, and "
        "checks it.",
        executor_def=dg.in_process_executor,
        tags=EXCLUSIVE_TAG,
        run_tags=EXCLUSIVE_TAG,
    )
    schedule = dg.ScheduleDefinition(
        name=f"{MAIN_JOB}_schedule",
        job=job,
        cron_schedule=settings.schedule.cron,
        execution_timezone=settings.schedule.timezone,
        description="Looks at the source for changes and brings them to the warehouse.",
    )
    return dg.Definitions(jobs=[job], schedules=[schedule])


def _source_job(name: str, defs: dg.Definitions, settings: Settings) -> dg.Definitions:
    schedule = settings.sources.discovered[name].schedule or settings.schedule
    return build_source_job(name, _check_keys([defs]), schedule.cron, schedule.timezone, EXCLUSIVE_TAG)


def _keys(asset: object) -> Iterable[dg.AssetKey]:
    return asset.keys if isinstance(asset, dg.AssetsDefinition) else ()


@contextlib.contextmanager
def _sqlite_held_open(context: dg.InitResourceContext) -> Iterator[None]:
    """Keep Dagster's SQLite event files open during a run.

    Dagster opens and closes them for every event, and SQLite writes back and deletes its log when the last
    connection closes. With a connection that stays open, an unchanged tick takes a tenth less time.
    """
    # Imported here because it imports SQLAlchemy and Alembic, which the code location does not need.
    from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage

    with contextlib.ExitStack() as stack:
        storage = context.instance.event_log_storage if context.instance else None
        if isinstance(storage, SqliteEventLogStorage) and context.run is not None:
            for shard in ("index", context.run.run_id):
                connection = stack.enter_context(
                    contextlib.closing(sqlite3.connect(storage.path_for_shard(shard)))
                )
                connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        yield


def _resources(settings: Settings, tables: Mapping[str, Sequence[Table]]) -> dict[str, dg.ResourceDefinition]:
    """Define resources that are built, and whose libraries are imported, when a step first needs them."""

    def lazily(build: Any, description: str, requires: set[str] | None = None) -> dg.ResourceDefinition:
        def init(context: dg.InitResourceContext) -> Any:
            _keep_origin(context)
            return build()

        return dg.ResourceDefinition(init, description=description, required_resource_keys=requires)

    def lake_io_manager() -> dg.IOManager:
        from platform_assets.lake.io_manager import LakeIOManager

        sources = {name: {table.name: table for table in listed} for name, listed in tables.items()}
        return LakeIOManager(sources, {table.name: table for table in star.TABLES})

    def warehouse_resources(name: str, configured: WarehouseSettings) -> dict[str, dg.ResourceDefinition]:
        def io_manager(_: dg.InitResourceContext) -> dg.IOManager:
            from platform_assets.warehouse.io_manager import WarehouseIOManager

            return WarehouseIOManager(name, configured.star_schema)

        return {
            name: lazily(
                lambda: assembly.build_warehouse(settings, name), f"The warehouse, {configured.engine}"
            ),
            io_manager_key(name): dg.IOManagerDefinition(
                io_manager,
                description=f"Assets as tables in {name}",
                required_resource_keys={name, "protection"},
            ),
        }

    @contextlib.contextmanager
    def engine(context: dg.InitResourceContext) -> Iterator[object]:
        with _sqlite_held_open(context):
            _keep_origin(context)
            yield assembly.build_engine(settings)

    return {
        **{
            name: lazily(
                partial(assembly.build_source, settings, name, listed), f"The source database {name}"
            )
            for name, listed in tables.items()
        },
        "lake": lazily(lambda: assembly.build_lake(settings), "The lake's two zones"),
        "dlp": lazily(lambda: assembly.build_inspection_room(settings), "The inspection for sensitive data"),
        "feeding": lazily(
            lambda: partial(assembly.build_feeding, settings),
            "What brings uploaded files into the tables of feeds",
        ),
        "protection": lazily(
            lambda: assembly.build_protection(settings), "What the policy does on the way to warehouses"
        ),
        LAKE_COPIES: lazily(
            lambda: partial(assembly.build_snowflake_copies, settings),
            "The lake's tables in Snowflake, where an account is configured",
        ),
        "engine": dg.ResourceDefinition(engine, description="The SQL engine, with bounded memory"),
        LAKE_IO_MANAGER: dg.IOManagerDefinition(
            lambda _: lake_io_manager(),
            description="Assets as Delta tables in the lake",
            required_resource_keys={"lake", "engine"},
        ),
        **warehouse_resources(MAIN_WAREHOUSE, settings.warehouse),
        **{
            key: resource
            for name, one in settings.warehouses.items()
            for key, resource in warehouse_resources(name, one).items()
        },
    }
