"""Bulk reads of tables: several ADBC connections share one snapshot, and each table is one stream.

The connections read parts of tables in the order in which the tables are consumed, and put the rows into a
bounded queue per table. They wait if the consumer is slower, and continue with the next table when a table is
read. This module does not know the meaning of the rows.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.errors import SourceError
from platform_assets.isolation import reason_of
from platform_assets.lake.adbc import executed
from platform_assets.model.dialects import literal
from platform_assets.source.connection import Connection
from platform_assets.source.scan import Scan
from platform_assets.source.session import ValueRefused, adbc_error, open_adbc

if TYPE_CHECKING:
    from adbc_driver_manager import AdbcConnection

    from platform_assets.source.snapshot import Snapshot

_BYTES_PER_BATCH = 2 * 1024 * 1024
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_BYTES_QUEUED = 16 * 1024 * 1024
# SQLSTATEs for a snapshot whose exporting connection is closed: undefined_object; before PostgreSQL 17,
# invalid_parameter_value.
_NO_SUCH_SNAPSHOT = ("42704", "22023")
_FIRST_VERSION_WITH_TRANSACTION_TIMEOUT = 170_000


@dataclass(frozen=True)
class SharedSnapshot:
    """A snapshot as other processes import it, while the connection that exported it is open.

    Args:
        connection: Parameters of the connection.
        exported_id: Id by which other connections import the snapshot.
        version: The server's version as a number.
        settings: Settings of the transactions that read it, by name.
    """

    connection: Connection = field(repr=False)
    exported_id: str
    version: int
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, snapshot: Snapshot) -> SharedSnapshot:
        """Return a snapshot as other processes import it."""
        return cls(snapshot.connection, snapshot.exported_id, snapshot.version, snapshot.settings)


def read_part(snapshot: SharedSnapshot, scan: Scan, query: str) -> Iterator[pa.RecordBatch]:
    """Stream the result of one of a scan's queries over a connection of its own.

    Raises:
        SourceUnavailable: The server does not answer, or the snapshot is gone.
        SourceError: The server refused the query, or a value does not fit.
    """
    with _imported(snapshot) as connection:
        yield from _read(connection, snapshot, scan, query)
        _end(connection)


@dataclass
class _Stopped(Exception):
    """The consumer has stopped reading."""


@dataclass
class _Channel:
    """Queue of batches that a table's readers have read and its consumer has not yet taken."""

    open_parts: int
    batches: deque[pa.RecordBatch] = field(default_factory=deque)
    bytes: int = 0
    failure: SourceError | None = None
    is_closed: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, batch: pa.RecordBatch) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.is_closed or not self.batches or self.bytes < _BYTES_QUEUED)
            if self.is_closed:
                raise _Stopped
            self.batches.append(batch)
            self.bytes += batch.nbytes
            self.changed.notify_all()

    def end_part(self, failure: SourceError | None = None) -> None:
        with self.changed:
            self.open_parts -= 1
            self.failure = self.failure or failure
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.is_closed = True
            self.batches.clear()
            self.changed.notify_all()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.failure or self.batches or not self.open_parts)
                if self.failure:
                    raise self.failure
                if not self.batches:
                    return
                batch = self.batches.popleft()
                self.bytes -= batch.nbytes
                self.changed.notify_all()
            yield batch


class BulkReader:
    """Reader of several tables of a snapshot; a context manager that closes its connections at the end.

    Args:
        snapshot: The snapshot that all reads see.
        scans: The scans to read. Consume the streams in this order; otherwise the readers block each other.
    """

    def __init__(self, snapshot: Snapshot, scans: Sequence[Scan]) -> None:
        self._snapshot = snapshot
        self._scans = {scan.table: scan for scan in scans}
        self._channels = {scan.table: _Channel(len(scan.queries)) for scan in scans}
        self._parts = deque((scan, query) for scan in scans for query in scan.queries)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> BulkReader:
        """Start reading."""
        is_large = any(len(scan.queries) > 1 for scan in self._scans.values())
        # Each connection costs the server a process; one connection is enough for small tables.
        count = min(self._snapshot.source.connections if is_large else 1, len(self._parts))
        for number in range(count):
            thread = threading.Thread(target=self._read_parts, name=f"bulk reader {number}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The system allows no more threads: those that run read the other parts too.
                if not self._threads:
                    raise
                break
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading and close the connections."""
        with self._lock:
            self._parts.clear()
        for channel in self._channels.values():
            channel.close()
        for thread in self._threads:
            thread.join()

    @contextlib.contextmanager
    def stream(self, table: str) -> Iterator[pa.RecordBatchReader]:
        """Stream the rows of a table; the stream can be consumed once.

        Raises:
            SourceUnavailable: The connection broke, even if the consumer of the stream wraps the error.
            SourceError: The server refused the query, or a value does not fit its declared type.
        """
        channel = self._channels[table]
        try:
            yield pa.RecordBatchReader.from_batches(self._scans[table].schema, iter(channel))
        except Exception as error:
            # The consumer of the stream wraps the stream's errors in errors of its own type.
            if channel.failure and error is not channel.failure:
                raise channel.failure from error
            raise
        finally:
            channel.close()

    def _next_part(self) -> tuple[Scan, str] | None:
        with self._lock:
            return self._parts.popleft() if self._parts else None

    def _read_parts(self) -> None:
        session = contextlib.ExitStack()
        connection: AdbcConnection | None = None
        try:
            while part := self._next_part():
                scan, query = part
                channel = self._channels[scan.table]
                failure: SourceError | None = None
                is_whole = False
                try:
                    if connection is None:
                        connection = session.enter_context(_imported(self._snapshot))
                    for batch in _read(connection, self._snapshot, scan, query):
                        channel.put(batch)
                    is_whole = True
                except _Stopped:
                    pass
                except ValueRefused as error:
                    _give_up(session)
                    failure = _with_column(error, self._snapshot, scan)
                except SourceError as error:
                    failure = error
                except BaseException as error:  # noqa: BLE001 - whatever the error is, the consumer must not wait forever
                    failure = SourceError(
                        f"Rows of table {scan.table} cannot be read: {reason_of(error)}{_advice(error)}"
                    )
                    failure.__cause__ = error
                channel.end_part(failure)
                if not is_whole:
                    # The transaction has ended or rows are in transit: other tables need a new connection.
                    _give_up(session)
                    connection = None
            if connection is not None:
                _end(connection)
        finally:
            _give_up(session)


def _give_up(session: contextlib.ExitStack) -> None:
    """Close a connection that is no longer needed; a failure does no harm.

    An error that ended the reader's thread would leave the consumers of all further tables waiting forever.
    """
    with contextlib.suppress(Exception):
        session.close()


def _advice(error: BaseException) -> str:
    """Return advice for an error that a value may have caused, as an extra sentence; else an empty string."""
    if isinstance(error, pa.ArrowInvalid | ValueError | OverflowError):
        return " Correct the value in the source, or read a view that leaves it out."
    return ""


@contextlib.contextmanager
def _imported(snapshot: Snapshot | SharedSnapshot) -> Iterator[AdbcConnection]:
    """Open an ADBC connection in a transaction that has imported the snapshot.

    Raises:
        SourceUnavailable: The server does not answer, or the snapshot is gone.
    """
    import adbc_driver_manager

    attempt = "opening a connection to read rows"
    # The driver identifies types by the names of their functions, as the server prints them.
    settings = {"search_path": "pg_catalog", "jit": "off"}
    if snapshot.version >= _FIRST_VERSION_WITH_TRANSACTION_TIMEOUT:
        settings["transaction_timeout"] = "0"
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(open_adbc(snapshot.connection, **settings))
            _run(connection, f"{_BEGIN}; SET TRANSACTION SNAPSHOT {literal(snapshot.exported_id)}")
        except adbc_driver_manager.Error as error:
            raise adbc_error(error, snapshot.connection, attempt, lost=_NO_SUCH_SNAPSHOT) from error
        try:
            calls = (
                f"pg_catalog.set_config({literal(name)}, {literal(value)}, true)"
                for name, value in snapshot.settings.items()
            )
            _run(connection, f"SELECT {', '.join(calls)}")
        except adbc_driver_manager.Error as error:
            raise adbc_error(error, snapshot.connection, attempt) from error
        yield connection


def _with_column(refused: ValueRefused, snapshot: Snapshot, scan: Scan) -> SourceError:
    """Return the same error with the column that holds the value, which the server does not report."""
    import adbc_driver_manager

    for name, query in scan.probes.items():
        try:
            with _imported(snapshot) as connection:
                _run(connection, query)
        except adbc_driver_manager.DataError:
            found = SourceError(f"Table {scan.table}, column {name}: {refused}")
            found.__cause__ = refused
            return found
        except Exception:  # noqa: BLE001 - without the column's name, the refusal itself is told
            break
    return refused


def _end(connection: AdbcConnection) -> None:
    """End the transaction, so that a pooler can reuse the session; a failure does no harm."""
    with contextlib.suppress(Exception):
        _run(connection, "ROLLBACK")


def _run(connection: AdbcConnection, sql: str) -> None:
    import adbc_driver_manager

    with adbc_driver_manager.AdbcStatement(connection) as statement:
        statement.set_sql_query(sql)
        statement.execute_update()


def _read(
    connection: AdbcConnection, snapshot: Snapshot | SharedSnapshot, scan: Scan, query: str
) -> Iterator[pa.RecordBatch]:
    """Stream the result of one of a scan's queries.

    Raises:
        SourceUnavailable: The connection broke.
        SourceError: The server refused the query, or a value does not fit.
    """
    import adbc_driver_manager

    attempt = f"reading table {scan.table}"
    with contextlib.ExitStack() as stack:
        try:
            statement = stack.enter_context(adbc_driver_manager.AdbcStatement(connection))
            statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(_BYTES_PER_BATCH)})
            statement.set_sql_query(query)
            batches = iter(executed(statement))
        except adbc_driver_manager.Error as error:
            raise adbc_error(error, snapshot.connection, attempt) from error
        while True:
            try:
                batch = next(batches, None)
            except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
                raise adbc_error(error, snapshot.connection, attempt) from error
            if batch is None:
                return
            if batch.num_rows:
                yield scan.finish(batch)
