"""Refresh of Snowflake tables to the newest version of the Delta tables that they copy.

Each version of a Delta table is loaded exactly once: the load is recorded in its own transaction. Rows that
were only appended are appended; if files were rewritten, for example by a merge, all rows of the table are
replaced in one transaction. COPY's own history of loaded files is not used: it forgets after 64 days, and a
compacted file would look like new rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from platform_assets.errors import ParquetError
from platform_assets.lake.races import Patience, retry_while_others_progress
from platform_assets.parquet.footers import UnreadableFile, read_footer
from platform_assets.parquet.stores import open_store
from platform_assets.parquet.tables import ParquetTable, TableFile, read_tables
from platform_assets.snowflake.access import has_lost_race, is_held
from platform_assets.snowflake.execute import Progress, TableResult, copied, failure_of
from platform_assets.snowflake.identifiers import identifier, literal
from platform_assets.snowflake.options import ScriptOptions
from platform_assets.snowflake.script import Statement, column_types, script, table_script
from platform_assets.stored import SNOWFLAKE_LOADS

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor

How = Literal["unchanged", "appended", "replaced"]

RECORD = "PLATFORM_DELTA_LOADS"
"""Name of the table, beside the loaded tables, that records the Delta table and version that each holds."""

# Tries, and seconds, without a load of a newer version by another process, after which a load gives up.
_IDLE = Patience(idle_tries=3, idle_for=30, longest_wait=1)
_FORMAT = literal("platform_assets/format")
"""Key of the row with the format version of the record, which 0.1.0 did not write; SQL."""
_NO_SUCH_TABLE = 2003
# BEGIN, the record, DELETE, COMMIT, and the session's time zone.
_STATEMENTS_AROUND = 5


@dataclass(frozen=True)
class Refresh:
    """The result of one table.

    Attributes:
        result: Rows loaded, statements and time; if `error` is set, the table is unchanged.
        how: Whether rows were appended, all rows were replaced, or nothing had to be done.
        version: The version of the Delta table that was read.
        rows: Number of rows in this version.
    """

    result: TableResult
    how: How
    version: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Held:
    """The recorded content of a table in Snowflake; version -1 means that nothing is loaded yet."""

    delta: str | None
    version: int


class _RefreshOvertaken(Exception):
    """Another session has loaded the table since its record was read, or is loading it."""


def refresh(
    place: str,
    options: ScriptOptions,
    connection: SnowflakeConnection,
    *,
    name: str | None = None,
    storage_options: Callable[[], Mapping[str, str]] = dict,
    on_progress: Progress = lambda *_: None,
) -> Refresh:
    """Bring the copy of a Delta table in Snowflake up to the Delta table's current version.

    The table is created if it does not exist, and missing columns are added. Repeated and concurrent calls
    are safe.

    Args:
        place: Local path or URI of the Delta table.
        options: Names, types and stage. `create`, `mode`, `file_format`, `on_error`, `purge` and `force` are
            ignored: a copy is loaded completely or not at all.
        connection: An open connection with a current warehouse, a current database and schema unless the
            options name them, and no open transaction.
        name: The table's name; None means the folder's name.
        storage_options: Returns the object store's options when they are needed, with secrets resolved.
        on_progress: Called after every statement.

    Returns:
        The result; if Snowflake rejects something, `result.error` has the reason.

    Raises:
        ParquetError: The place has no Delta table, or the table cannot be loaded as asked.
    """
    reading = read_tables([place], storage_options=storage_options, name=name)
    if reading.problems:
        raise ParquetError(" ".join(str(problem) for problem in reading.problems))
    if len(reading.tables) != 1 or reading.tables[0].delta is None:
        raise ParquetError(
            f"{place} is not a Delta table: it has no _delta_log. Load other files with `platform-assets "
            "snowflake script`."
        )
    whole = dataclasses.replace(
        options,
        create="if-not-exists",
        mode="projection",
        file_format=None,
        on_error="ABORT_STATEMENT",
        purge=False,
        force=True,
    )
    with connection.cursor() as cursor:
        return _Refreshing(reading.tables[0], whole, cursor, storage_options, on_progress).run()


def held_versions(connection: SnowflakeConnection, options: ScriptOptions) -> list[tuple[str, int]]:
    """Return the identity and version of each Delta table that tables of the schema hold.

    Raises:
        snowflake.connector.errors.Error: The record cannot be read.
    """
    from snowflake.connector.errors import ProgrammingError

    with connection.cursor() as cursor:
        try:
            cursor.execute(
                f"SELECT DELTA_ID, VERSION FROM {options.qualified(RECORD)} WHERE VERSION >= 0 "
                f"AND TABLE_NAME <> {_FORMAT}"
            )
        except ProgrammingError as error:
            if error.errno != _NO_SUCH_TABLE:
                raise
            return []  # nothing was loaded yet
        return [(str(delta), int(version)) for delta, version in cursor.fetchall()]


def stored_format(connection: SnowflakeConnection, options: ScriptOptions) -> int | None:
    """Return the format version of the schema's record of copies; None if there is no record.

    Raises:
        snowflake.connector.errors.Error: The record cannot be read.
    """
    from snowflake.connector.errors import ProgrammingError

    record = options.qualified(RECORD)
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"SELECT MAX(VERSION) FROM {record} WHERE TABLE_NAME = {_FORMAT}")
        except ProgrammingError as error:
            if error.errno != _NO_SUCH_TABLE:
                raise
            return None
        [(version,)] = cursor.fetchall()
        return 1 if version is None else int(version)


def store_format(connection: SnowflakeConnection, options: ScriptOptions, version: int) -> None:
    """Store the format version of the schema's record of copies, at the end of a step of an upgrade."""
    record = options.qualified(RECORD)
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {record} WHERE TABLE_NAME = {_FORMAT}")
        cursor.execute(f"INSERT INTO {record} (TABLE_NAME, VERSION) SELECT {_FORMAT}, {version:d}")


class _Refreshing:
    """The refresh of one table."""

    def __init__(
        self,
        table: ParquetTable,
        options: ScriptOptions,
        cursor: SnowflakeCursor,
        storage_options: Callable[[], Mapping[str, str]],
        on_progress: Progress,
    ) -> None:
        self._table = table
        self._options = options
        self._cursor = cursor
        self._storage_options = storage_options
        self._on_progress = on_progress
        self._name = options.cased(options.prefix + table.name)
        self._target = options.qualified(identifier(self._name))
        self._record = options.qualified(RECORD)
        self._ran: list[str] = []
        self._latest = ""
        self._planned = 0
        self._delta, self._version = _identity(table)
        self._greatest = -1

    def run(self) -> Refresh:
        from snowflake.connector.errors import Error

        started = time.monotonic()
        how: How = "unchanged"
        loaded = 0
        failure: str | None = None
        before = script([self._table], self._options)
        if before.problems:
            raise ParquetError(str(before.problems[0]))
        try:
            for statement in before.before:
                self._run(statement.sql)
            try:
                how, loaded = self._bring_up()
            finally:
                for statement in before.after:
                    with contextlib.suppress(Error):
                        self._cursor.execute(statement.sql)
        except Error as error:
            failure = failure_of(Statement("load", self._latest), error)
        except (ParquetError, _RefreshOvertaken) as error:
            failure = str(error)
        if failure is not None:
            how, loaded = "unchanged", 0
        seconds = time.monotonic() - started
        self._on_progress(self._table.name, len(self._ran), len(self._ran))
        result = TableResult(self._table.name, self._target, loaded, (), seconds, tuple(self._ran), failure)
        return Refresh(result, how, self._version, self._table.rows)

    def _bring_up(self) -> tuple[How, int]:
        self._make()
        # A load of a newer version of the same table is progress; one of another table of its name is not.
        return retry_while_others_progress(
            self._try, self._version_held, lost=(_RefreshOvertaken,), patience=_IDLE
        )

    def _try(self) -> tuple[How, int]:
        held = self._held()
        if held.delta == self._delta and held.version >= self._version:
            return "unchanged", 0
        return self._load(held, self._added_since(held) if held.delta == self._delta else None)

    def _version_held(self) -> int:
        """Return the greatest version of this Delta table that a copy has held during this refresh."""
        held = self._held()
        if held.delta == self._delta:
            self._greatest = max(self._greatest, held.version)
        return self._greatest

    def _make(self) -> None:
        """Create the table or its missing columns, and the record."""
        from snowflake.connector.errors import ProgrammingError

        self._create(
            f"CREATE TABLE IF NOT EXISTS {self._record} (TABLE_NAME VARCHAR NOT NULL, DELTA_ID VARCHAR, "
            "VERSION NUMBER(19, 0) NOT NULL, LOADED_AT TIMESTAMP_LTZ)"
        )
        try:
            self._run(f"SELECT * FROM {self._target} LIMIT 0")
        except ProgrammingError as error:
            if error.errno != _NO_SUCH_TABLE:
                raise
            # Reset the record first: if the process ends between the two statements, the table is empty and
            # its record must not claim otherwise.
            self._forget()
            statements = table_script(self._table, self._options).statements
            created = [
                self._create(statement.sql) for statement in statements if statement.purpose == "table"
            ]
            if all(created):
                return
            # Another process has created it, perhaps from another version.
            self._run(f"SELECT * FROM {self._target} LIMIT 0")
        present = {column.name for column in self._cursor.description}
        types = column_types(self._table, self._options)
        for column in self._table.columns:
            name = self._options.cased(column.name)
            if name not in present:
                # Existing rows have NULL in a new column.
                self._create(
                    f"ALTER TABLE {self._target} ADD COLUMN IF NOT EXISTS {identifier(name)} "
                    f"{types[column.name]}"
                )

    def _create(self, sql: str) -> bool:
        """Run a conditional statement; return False if another process did the same at the same moment."""
        from snowflake.connector.errors import Error

        try:
            self._run(sql)
        except Error as error:
            if not has_lost_race(error):
                raise
            return False
        return True

    def _held(self) -> _Held:
        name = literal(self._name)
        found = self._run(
            f"SELECT TABLE_NAME, DELTA_ID, VERSION FROM {self._record} "
            f"WHERE TABLE_NAME IN ({name}, {_FORMAT})"
        ).fetchall()
        stored = [int(version) for table, _, version in found if table != self._name]
        if reason := SNOWFLAKE_LOADS.refusal(max(stored, default=None), self._record):
            raise ParquetError(reason)
        rows = [(delta, int(version)) for table, delta, version in found if table == self._name]
        if rows:
            return _Held(*max(rows, key=lambda row: row[1]))
        if not stored:
            # A record with rows and without this one is of 0.1.0.
            self._run(
                f"INSERT INTO {self._record} (TABLE_NAME, VERSION) SELECT {_FORMAT}, "
                f"{SNOWFLAKE_LOADS.version} WHERE NOT EXISTS (SELECT 1 FROM {self._record})"
            )
        self._run(
            f"INSERT INTO {self._record} (TABLE_NAME, VERSION) SELECT {name}, -1 "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self._record} WHERE TABLE_NAME = {name})"
        )
        return _Held(None, -1)

    def _forget(self) -> None:
        """Record that the table about to be created is empty, whatever an earlier table of its name held."""
        self._run(f"DELETE FROM {self._record} WHERE TABLE_NAME = {literal(self._name)}")

    def _load(self, held: _Held, added: tuple[TableFile, ...] | None) -> tuple[How, int]:
        """Load files and record them in one transaction: append the added files, or replace all rows.

        Raises:
            _RefreshOvertaken: Another session did so at the same time.
            ParquetError: COPY loaded another number of rows than the files have.
        """
        from snowflake.connector.errors import Error

        files = self._table.files if added is None else added
        parts = table_script(dataclasses.replace(self._table, files=files), self._options).statements
        self._planned = len(self._ran) + len(parts) + _STATEMENTS_AROUND
        # DDL and PUT run outside the transaction: DDL would end it, and PUT need not be part of it.
        for statement in parts:
            if files and statement.purpose in ("stage", "upload"):
                self._run(statement.sql)
        self._run("BEGIN")
        is_done = False
        try:
            self._claim(held)
            if added is None:
                self._run(f"DELETE FROM {self._target}")
            loaded = 0
            for statement in parts:
                if files and statement.purpose == "load":
                    self._run(statement.sql)
                    rows, _ = copied(self._cursor)
                    loaded += rows
            expected = sum(file.rows for file in files)
            if loaded != expected:
                raise ParquetError(
                    f"COPY loaded {loaded:,} rows into {self._target} of files with {expected:,}, and was "
                    "rolled back. See the statement in Snowflake's query history."
                )
            self._run("COMMIT")
            is_done = True
        finally:
            if not is_done:
                # Report the original error, not this one; a lost session is rolled back anyway.
                with contextlib.suppress(Error):
                    self._cursor.execute("ROLLBACK")
        for statement in parts:
            if files and statement.purpose == "clean-up":
                self._run(statement.sql)
        return "replaced" if added is None else "appended", loaded

    def _claim(self, held: _Held) -> None:
        """Record the version; a concurrent loader waits here and then finds an unexpected version."""
        is_same = "DELTA_ID IS NULL" if held.delta is None else f"DELTA_ID = {literal(held.delta)}"
        self._run(
            f"UPDATE {self._record} SET DELTA_ID = {literal(self._delta)}, VERSION = {self._version}, "
            f"LOADED_AT = CURRENT_TIMESTAMP() WHERE TABLE_NAME = {literal(self._name)} "
            f"AND VERSION = {held.version} AND {is_same}"
        )
        if not self._cursor.rowcount:
            raise _RefreshOvertaken(
                f"{self._target} was loaded by another process each time that this one was about to; have "
                "only one process load it."
            )

    def _added_since(self, held: _Held) -> tuple[TableFile, ...] | None:
        """The files that later commits added, or None if the commits did more than add rows."""
        store, folder = open_store(self._table.root, self._storage_options())
        known = {file.path: file for file in self._table.files}
        added: dict[str, None] = {}
        for version in range(held.version + 1, self._version + 1):
            try:
                with store.files.open_input_stream(f"{folder}/_delta_log/{version:020d}.json") as log:
                    actions = list(_actions(log.read()))
            except OSError:
                return None  # old commits are cleaned up
            for action in actions:
                # A compaction removes and adds files without changing data.
                if "remove" in action and action["remove"].get("dataChange", True):
                    return None
                if "add" in action and action["add"].get("dataChange", True):
                    added[urllib.parse.unquote(action["add"]["path"])] = None
        files = []
        for path in added:
            try:
                # Files removed by a compaction remain as long as older versions can be read.
                footer = None if path in known else read_footer(store, f"{folder}/{path}")
            except UnreadableFile:
                return None
            files.append(known[path] if footer is None else TableFile(path, footer.rows, footer.size))
        return tuple(files)

    def _run(self, sql: str) -> SnowflakeCursor:
        from snowflake.connector.errors import Error

        self._latest = sql
        try:
            # Literals, because the parameter style of a connection may be ? or %s.
            self._cursor.execute(sql)
        except Error as error:
            if not is_held(error):
                raise
            raise _RefreshOvertaken(failure_of(Statement("load", sql), error)) from error
        self._ran.append(sql)
        self._on_progress(self._table.name, len(self._ran), max(len(self._ran), self._planned))
        return self._cursor


def _identity(table: ParquetTable) -> tuple[str, int]:
    if table.delta is None:
        raise ParquetError(f"{table.root} is no Delta table.")
    return table.delta.id, table.delta.version


def _actions(log: bytes) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        if line.strip():
            yield json.loads(line)
