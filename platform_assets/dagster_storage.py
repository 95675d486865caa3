"""Storage of Dagster's runs, events and schedules in SQLite files, at a fraction of the usual cost.

The files, their names and their tables are those of Dagster's own SQLite storage, on which every class here
is built: each continues a home that the other has written. Only the cost differs:

- A file keeps its engine and one open connection. Dagster makes an engine for each statement, compiles the
  statement again, and closes the file.
- Events of a running step are written together, within a quarter of a second. Dagster commits each of them
  up to three times.
- With a write-ahead log, a commit need not wait for the disk. Commits that start or end a run do.

Events that were reported before a step ended are in the files when the step has ended, also if the process is
killed right then. Only a power failure can take the last events of a run that has not ended.

All uses of Dagster's private modules that concern storage are here, because no public storage class can be
extended; `dagster_internals.py` has the others.
"""

import json
import os
import sqlite3
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
)
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageMetadata,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorageWatchdog,
)
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import (
    DagsterSqliteStorage,
    _event_logs_directory,
    _runs_directory,
    _schedule_directory,
)
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

_MOST_OPEN_RUNS = 16
"""Files of runs that a process keeps open; a web server may show thousands of runs."""
_LONGEST_WAIT = 0.25
"""Seconds that an event of a running step waits for others, for readers in other processes."""
_MOST_WAITING = 200
_MAY_WAIT = frozenset(
    {
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        dg.DagsterEventType.ASSET_OBSERVATION,
        dg.DagsterEventType.HANDLED_OUTPUT,
        dg.DagsterEventType.LOADED_INPUT,
        dg.DagsterEventType.RESOURCE_INIT_STARTED,
        dg.DagsterEventType.RESOURCE_INIT_SUCCESS,
        dg.DagsterEventType.STEP_INPUT,
        dg.DagsterEventType.STEP_OUTPUT,
        dg.DagsterEventType.STEP_START,
    }
)
"""Events of a run after which another event is sure to follow soon; every other event is written at once."""


class _File:
    """A SQLite file, opened once and kept open.

    A file that was deleted or replaced is opened again. A forked process opens its own connections.

    Args:
        path: The file.
        waits: Every transaction waits until it is on the disk.
    """

    def __init__(self, path: Path, *, waits: bool = False) -> None:
        self._path, self._waits = path, waits
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._identity: tuple[int, int] | None = None
        _forgotten_after_fork.add(self)

    def engine(self) -> Engine:
        """Return the engine of the file, which may not exist yet."""
        with self._lock:
            identity = self.identity()
            if self._engine is None or identity != self._identity:
                self._close()
                self._engine = _engine(self._path, waits=self._waits)
                with self._engine.connect():
                    self._identity = self.identity()
            return self._engine

    @contextmanager
    def connected(self, *, durable: bool = False) -> Iterator[Connection]:
        """Connect for one transaction.

        Args:
            durable: Wait until the transaction, and all before it, are on the disk.
        """
        with self.engine().connect() as connection:
            if not durable:
                with connection.begin():
                    yield connection
            else:
                usual = connection.exec_driver_sql("PRAGMA synchronous").scalar()
                connection.exec_driver_sql("PRAGMA synchronous=FULL")
                connection.commit()
                try:
                    with connection.begin():
                        yield connection
                finally:
                    connection.exec_driver_sql(f"PRAGMA synchronous={usual}")

    def identity(self) -> tuple[int, int] | None:
        """Return what tells the file from another of its name; None if it does not exist."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def close(self) -> None:
        """Close the file; it is opened again when it is next used."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        self._engine, self._identity = None, None

    def forget(self) -> None:
        """Give up the connections of the parent process, which must not even be closed here."""
        self._lock = threading.Lock()
        if self._engine is not None:
            _engines_of_parents.append(self._engine)
        self._engine, self._identity = None, None


_forgotten_after_fork: "weakref.WeakSet[_File | EventLogStorage]" = weakref.WeakSet()
_engines_of_parents: list[Engine] = []
"""Engines that a process has inherited: collecting them would close the connections of its parent."""


def _after_fork() -> None:
    for storage in list(_forgotten_after_fork):
        storage.forget()


os.register_at_fork(after_in_child=_after_fork)


def _engine(path: Path, *, waits: bool) -> Engine:
    engine = db.create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=-1,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )

    @db.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: object) -> None:
        # Without a write-ahead log, a commit that does not wait for the disk could damage the file.
        if not waits and connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def _has_all(path: Path, metadata: db.MetaData) -> bool:
    """Return True if a file has all tables and columns of this version of Dagster, and a schema version."""
    if not path.is_file():
        return False
    with sqlite3.connect(path, timeout=SQLITE_BUSY_TIMEOUT_SECONDS) as connection:
        rows = connection.execute(
            "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
        )
        found = set(rows.fetchall())
        wanted = {(table.name, column.name) for table in metadata.tables.values() for column in table.columns}
        complete = wanted <= found and ("alembic_version", "version_num") in found
        version = connection.execute("SELECT count(*) FROM alembic_version").fetchone() if complete else (0,)
    connection.close()
    return bool(version[0])


class RunStorage(SqliteRunStorage):
    """Dagster's runs, in `history/runs.db`."""

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> "RunStorage":
        """Open the runs of a folder; Dagster's own code creates or completes the file."""
        path = Path(base_dir).absolute() / "runs.db"
        if not _has_all(path, RunStorageSqlMetadata):
            SqliteRunStorage.from_local(base_dir)
        storage = cls(f"sqlite:///{path}", inst_data)
        storage.file = _File(path, waits=True)
        return storage

    file: _File

    def connect(self) -> Any:
        """Connect for one transaction."""
        return self.file.connected()

    def dispose(self) -> None:
        """Close the file."""
        self.file.close()


class ScheduleStorage(SqliteScheduleStorage):
    """Dagster's schedules, sensors and their ticks, in `schedules/schedules.db`."""

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> "ScheduleStorage":
        """Open the schedules of a folder; Dagster's own code creates or completes the file."""
        path = Path(base_dir).absolute() / "schedules.db"
        if not _has_all(path, ScheduleStorageSqlMetadata):
            SqliteScheduleStorage.from_local(base_dir)
        storage = cls(f"sqlite:///{path}", inst_data)
        storage.file = _File(path, waits=True)
        return storage

    file: _File

    def connect(self) -> Any:
        """Connect for one transaction."""
        return self.file.connected()

    def dispose(self) -> None:
        """Close the file."""
        self.file.close()


class _Waiting:
    """An event that is not yet in the files.

    Args:
        event: The event.
        row: Its row.
    """

    def __init__(self, event: dg.EventLogEntry, row: Mapping[str, Any]) -> None:
        self.event, self.row = event, row

    @property
    def is_mirrored(self) -> bool:
        """Return True if the event also belongs in the index, which has what is asked for across runs."""
        kind = self.event.dagster_event_type if self.event.is_dagster_event else None
        return kind in ASSET_EVENTS or kind in ASSET_CHECK_EVENTS or kind in EVENT_TYPE_TO_PIPELINE_RUN_STATUS


class EventLogStorage(SqliteEventLogStorage):
    """Dagster's events, in a file for each run and an index over all of them, in `history/runs`.

    Events of a running step are collected and written together. Every reading of this object, and every event
    that ends something, writes them first.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._guard = threading.RLock()
        self._waiting: list[_Waiting] = []
        self._to_mirror: list[_Waiting] = []
        self._timer: threading.Timer | None = None
        self._folder = Path(base_dir).absolute()
        self._index = _File(self._folder / f"{INDEX_SHARD_NAME}.db")
        self._runs: OrderedDict[str, _File] = OrderedDict()
        self._writing = threading.local()
        self._tables: set[str] = set()
        self._has_asset_columns = False
        super().__init__(base_dir, inst_data)
        _forgotten_after_fork.add(self)

    def forget(self) -> None:
        """Leave to the parent process what it has yet to write."""
        self._guard = threading.RLock()
        self._waiting, self._to_mirror, self._timer = [], [], None
        self._writing = threading.local()

    # What is written

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store an event, at once or together with those that follow it within the same step.

        Args:
            event: The event.
        """
        one = _Waiting(event, self._event_to_row(event))
        with self._guard:
            self._waiting.append(one)
            if _may_wait(event) and len(self._waiting) < _MOST_WAITING:
                self._write_later()
                return
            try:
                self._write()
            finally:
                # If it was not stored, its reporter knows; it must not be stored later.
                self._waiting = [other for other in self._waiting if other is not one]

    def _write_later(self) -> None:
        if self._timer is None:
            # Not a daemon thread: a process that ends in good order waits for it.
            self._timer = threading.Timer(_LONGEST_WAIT, self._write_in_background)
            self._timer.start()

    def _write_in_background(self) -> None:
        with self._guard:
            self._timer = None
            try:
                self._write()
            except (db.exc.SQLAlchemyError, sqlite3.Error, OSError):
                # The events still wait: whoever stores or reads the next one is told.
                return

    def _write(self) -> None:
        """Write what waits: first to the files of the runs, then to the index."""
        with self._guard:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not self._waiting and not self._to_mirror:
                return
            durable = False
            by_run: dict[str, list[_Waiting]] = {}
            for waiting in self._waiting:
                by_run.setdefault(waiting.event.run_id, []).append(waiting)
            for run_id, events in by_run.items():
                ends = any(_is_of_run(event.event) for event in events)
                durable = durable or ends
                with self._run_file(run_id).connected(durable=ends) as connection:
                    connection.execute(SqlEventLogStorageTable.insert(), [event.row for event in events])
                self._waiting = [waiting for waiting in self._waiting if waiting.event.run_id != run_id]
                self._to_mirror += [event for event in events if event.is_mirrored]
            if self._to_mirror:
                with self._index_file().connected(durable=durable) as connection:
                    self._writing.connection = connection
                    try:
                        for waiting in self._to_mirror:
                            self._mirror(connection, waiting)
                    finally:
                        self._writing.connection = None
                self._to_mirror = []

    def _mirror(self, connection: Connection, waiting: _Waiting) -> None:
        event = waiting.event
        stored = connection.execute(SqlEventLogStorageTable.insert(), waiting.row)
        key: Any = stored.inserted_primary_key
        event_id = int(key[0])
        if event.dagster_event_type in ASSET_EVENTS:
            self._store_asset_event_tags(connection, [event], [event_id])
            self._store_asset_event(connection, event, event_id)
        elif event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
            self._store_planned_check(connection, waiting, event_id)
        elif event.dagster_event_type in ASSET_CHECK_EVENTS:
            self.store_asset_check_event(event, event_id)

    def _store_planned_check(self, connection: Connection, waiting: _Waiting, event_id: int) -> None:
        # Dagster's statement for many rows cannot be cached, and is compiled again for each check.
        event = waiting.event
        planned: Any = event.get_dagster_event().event_specific_data
        keys = planned.partitions_subset.get_partition_keys() if planned.partitions_subset else [None]
        rows = [
            {
                "asset_key": planned.asset_key.to_string(),
                "check_name": planned.check_name,
                "partition": key,
                "run_id": event.run_id,
                "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
                "evaluation_event": waiting.row["event"],
                "evaluation_event_timestamp": waiting.row["timestamp"],
                "evaluation_event_storage_id": event_id,
            }
            for key in keys
        ]
        connection.execute(AssetCheckExecutionsTable.insert(), rows)

    # Connections

    def run_connection(self, run_id: str | None = None) -> Any:
        """Connect to the events of a run, all of which are in its file."""
        return self._connect(run_id or "")

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        current = getattr(self._writing, "connection", None)
        if current is not None and shard == INDEX_SHARD_NAME:
            yield current
            return
        self._write()
        file = self._index_file() if shard == INDEX_SHARD_NAME else self._run_file(shard)
        with file.connected() as connection:
            yield connection

    def _index_file(self) -> _File:
        if INDEX_SHARD_NAME not in self._initialized_dbs or self._index.identity() is None:
            if not _has_all(self._folder / f"{INDEX_SHARD_NAME}.db", SqlEventLogStorageMetadata):
                self._initdb(self._index.engine(), for_index_shard=True)
                self._index.close()
            self._initialized_dbs.add(INDEX_SHARD_NAME)
        return self._index

    def _run_file(self, run_id: str) -> _File:
        with self._guard:
            file = self._runs.get(run_id)
            if file is None:
                file = self._runs[run_id] = _File(Path(self.path_for_shard(run_id)))
                while len(self._runs) > _MOST_OPEN_RUNS:
                    self._runs.popitem(last=False)[1].close()
            self._runs.move_to_end(run_id)
            if run_id not in self._initialized_dbs or file.identity() is None:
                self._prepare_run(run_id, file)
                self._initialized_dbs.add(run_id)
            return file

    def _prepare_run(self, run_id: str, file: _File) -> None:
        path = Path(self.path_for_shard(run_id))
        if _has_all(path, SqlEventLogStorageMetadata):
            return
        if path.exists() or not _copy_schema(self._folder / f"{INDEX_SHARD_NAME}.db", path):
            self._initdb(file.engine())
            file.close()

    def has_table(self, table_name: str) -> bool:
        """Return True if the index has a table."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_index_cols_on_connection(self, conn: Connection) -> bool:
        self._has_asset_columns = self._has_asset_columns or bool(
            super()._has_asset_key_index_cols_on_connection(conn)
        )
        return self._has_asset_columns

    # Long lives

    def watch(self, run_id: str, cursor: str | None, callback: Any) -> None:
        """Call a function for each new event of a run: events are in the write-ahead log for a while."""
        super().watch(run_id, cursor, callback)
        handler, watched = self._watchers[run_id][callback]
        observer: Any = self._obs
        observer.remove_handler_for_watch(handler, watched)
        ours = _Watchdog(self, run_id, callback, cursor)
        observer.add_handler_for_watch(ours, watched)
        self._watchers[run_id][callback] = (ours, watched)

    def delete_events(self, run_id: str) -> None:
        """Delete a run's events with its file."""
        super().delete_events(run_id)
        with self._guard:
            file = self._runs.pop(run_id, None)
            if file is not None:
                file.close()
            self._initialized_dbs.discard(run_id)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path_for_shard(run_id)}{suffix}").unlink(missing_ok=True)

    def upgrade(self) -> None:
        """Migrate the schema of the files, as `dagster instance migrate` asks for."""
        self._write()
        super().upgrade()
        self._close_files()

    def wipe(self) -> None:
        """Delete all events."""
        self._write()
        self._close_files()
        super().wipe()

    def dispose(self) -> None:
        """Write what waits, and close the files."""
        self._write()
        super().dispose()
        self._close_files()

    def _close_files(self) -> None:
        with self._guard:
            for file in (self._index, *self._runs.values()):
                file.close()
            self._runs.clear()
            self._tables.clear()
            self._has_asset_columns = False
            self._initialized_dbs = set()


def _may_wait(event: dg.EventLogEntry) -> bool:
    if not event.run_id:
        return False
    return not event.is_dagster_event or event.dagster_event_type in _MAY_WAIT


def _is_of_run(event: dg.EventLogEntry) -> bool:
    return event.is_dagster_event and event.dagster_event_type in EVENT_TYPE_TO_PIPELINE_RUN_STATUS


def _copy_schema(index: Path, path: Path) -> bool:
    """Create the file of a run with the tables of the index, which are the same.

    Dagster compares versions and creates each table and index on its own, for every run.

    Returns:
        False if the file was not created.
    """
    if not _has_all(index, SqlEventLogStorageMetadata):
        return False
    source = sqlite3.connect(index, timeout=SQLITE_BUSY_TIMEOUT_SECONDS)
    try:
        statements = source.execute(
            "SELECT sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL"
            " AND name NOT LIKE 'sqlite_%' ORDER BY type = 'index', rowid"
        ).fetchall()
        versions = source.execute("SELECT version_num FROM alembic_version").fetchall()
    finally:
        source.close()
    target = sqlite3.connect(path, timeout=SQLITE_BUSY_TIMEOUT_SECONDS, isolation_level=None)
    try:
        target.execute("PRAGMA journal_mode=WAL")
        target.execute("PRAGMA synchronous=NORMAL")
        target.execute("BEGIN IMMEDIATE")
        if not target.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for (statement,) in statements:
                target.execute(statement)
            target.executemany("INSERT INTO alembic_version VALUES (?)", versions)
        target.execute("COMMIT")
    except sqlite3.OperationalError:
        # Another process creates the file right now.
        return False
    finally:
        target.close()
    return True


class _Watchdog(SqliteEventLogStorageWatchdog):
    """Watches a run's file and its write-ahead log."""

    def __init__(self, storage: EventLogStorage, run_id: str, callback: Any, cursor: str | None) -> None:
        super().__init__(storage, run_id, callback, cursor)
        self._files = {self._log_path, f"{self._log_path}-wal"}

    def dispatch(self, event: Any) -> None:
        """Report the new events."""
        if event.src_path in self._files and event.event_type in ("created", "modified"):
            self._process_log()


class Storage(DagsterSqliteStorage):
    """Runs, events and schedules in the files of a folder."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.base_dir = base_dir
        self._inst_data = inst_data
        self._run_storage = RunStorage.from_local(_runs_directory(base_dir))
        self._event_log_storage = EventLogStorage(_event_logs_directory(base_dir))
        self._schedule_storage = ScheduleStorage.from_local(_schedule_directory(base_dir))

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> "Storage":
        """Open the storage of a configured folder, which is created if it is missing."""
        Path(config_value["base_dir"]).mkdir(parents=True, exist_ok=True)
        return cls(inst_data=inst_data, **config_value)


class Instance(dg.DagsterInstance):
    """Dagster's instance with the storage of this module in its folder, unless dagster.yaml names another.

    The storage named in dagster.yaml itself would need a fixed path or an environment variable.
    """

    @classmethod
    def config_schema(cls) -> Sequence[str] | Mapping[str, Any]:
        """Return no settings of its own."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> Mapping[str, ConfigurableClassData | None]:
        """Return Dagster's defaults with this storage."""
        # JSON is YAML, too.
        storage = ConfigurableClassData(__name__, Storage.__name__, json.dumps({"base_dir": base_dir}))
        return {**InstanceRef.config_defaults(base_dir), "storage": storage}
