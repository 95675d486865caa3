"""A session with a PostgreSQL warehouse: statements, COPY, streamed results, and the platform's errors."""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import PlatformError, WarehouseBusy, WarehouseError
from platform_assets.lake.adbc import executed
from platform_assets.lake.arrow import python_rows
from platform_assets.source.session import SharedAdbc, open_adbc, server_message
from platform_assets.warehouse.postgres_columns import (
    ColumnRefused,
    refuse_early_timestamps,
    result_batch,
    result_schema,
)

if TYPE_CHECKING:
    from adbc_driver_manager import AdbcConnection, Error

    from platform_assets.source.connection import Connection

_BYTES_PER_BATCH = 2 * 1024 * 1024
# The first half of the advisory locks' keys, to avoid collisions with other applications.
_LOCK = zlib.crc32(b"platform_assets warehouse") - 2**31

# SQLSTATEs (PostgreSQL manual, appendix A).
FOREIGN_KEY_VIOLATION = "23503"
MISSING_OBJECTS = ("3F000", "42P01")
TIMEOUT = "57014"
_SYNTAX_ERROR = "42601"
_LOCK_TIMEOUT = "55P03"
_LOST_RACES = ("40001", "40P01")
_TEMPORARY = ("08", "40", "53", "55", "57")
_ADVICE = {
    TIMEOUT: "Raise warehouse.postgres.statement_timeout if the statement needs more time.",
    "42501": "Ask an administrator of the database to grant {user} the privilege.",
}
_ADVICE_ON_VALUES = "Correct the value, or change the column's type, and write again."
# libpq returns no SQLSTATE for a session that never began, only the server's message.
_REFUSED_LOGINS = ("authentication failed", "no pg_hba.conf entry", "does not exist", "no password supplied")


class ServerError(WarehouseError):
    """The server rejected a statement; holds the SQLSTATE."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class LoadConflict(WarehouseBusy):
    """Another session conflicted with the transaction, which wrote nothing."""


def warehouse_name(connection: Connection) -> str:
    """Return the name of a warehouse at the start of a message."""
    return f"The warehouse {connection.database} on {connection.host}:{connection.port}"


@contextlib.contextmanager
def open_session(
    connection: Connection, attempt: str, shared: SharedAdbc | None = None
) -> Iterator[PostgresSession]:
    """Open a session, without a transaction.

    Args:
        connection: The database and the role.
        attempt: The operation, worded to follow "could not" in messages.
        shared: What the driver knows of the server's types; None to have it ask the server.

    Raises:
        WarehouseBusy: The server cannot be reached.
        WarehouseError: The server rejects the login.
    """
    import adbc_driver_manager

    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(shared.open(connection) if shared else open_adbc(connection))
        except adbc_driver_manager.Error as error:
            raise _login_error(connection, error) from error
        yield PostgresSession(connection, opened, attempt)


def _login_error(connection: Connection, error: Error) -> WarehouseError:
    reason = _reason(connection, error)
    if any(sign in reason for sign in _REFUSED_LOGINS):
        return WarehouseError(
            f"{warehouse_name(connection)} refused the login of {connection.user}: {reason}. Check user, "
            "password and database under warehouse.postgres in the configuration, and the server's "
            "pg_hba.conf."
        )
    return _unreachable(connection, reason)


def _unreachable(connection: Connection, reason: str) -> WarehouseBusy:
    return WarehouseBusy(
        f"{warehouse_name(connection)} cannot be reached, or the connection was lost ({reason}). Check host "
        "and port under warehouse.postgres in the configuration, that the server runs, and that it accepts "
        "connections from this machine."
    )


def _reason(connection: Connection, error: Exception) -> str:
    return server_message(error, connection, ("PRIMARY", "DETAIL", "HINT")).rstrip(".")


def _place(error: Exception) -> str:
    """Return the column and row of a COPY error, followed by a colon; empty if the error names neither."""
    details = dict(getattr(error, "details", None) or ())
    context = details.get(b"PG_DIAG_CONTEXT") or details.get("PG_DIAG_CONTEXT") or b""
    text = context.decode(errors="replace") if isinstance(context, bytes) else context
    found = re.search(r", line (\d+), column (.+)$", text, re.MULTILINE)
    return f"column {found[2]}, row {found[1]}: " if found else ""


class PostgresSession:
    """A connection that converts errors to the platform's errors."""

    def __init__(self, connection: Connection, opened: AdbcConnection, attempt: str) -> None:
        self.connection = connection
        self._opened = opened
        self._attempt = attempt

    def run(self, sql: str) -> int:
        """Run statements; return the number of rows that the last one changed, if it reports that."""
        import adbc_driver_manager

        with self._translated(), adbc_driver_manager.AdbcStatement(self._opened) as statement:
            statement.set_sql_query(sql)
            return int(statement.execute_update())

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Return a small result as dictionaries."""
        with self.stream(sql) as rows:
            return python_rows(rows.read_all())

    def lock(self, name: str) -> None:
        """Wait until no other session holds this lock, and hold it until the transaction ends."""
        self.run(f"SELECT pg_advisory_xact_lock({_LOCK}, {zlib.crc32(name.encode()) - 2**31})")

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Return to the state before this block if the server rejects a statement in it."""
        self.run("SAVEPOINT attempt")
        try:
            yield
        except ServerError:
            self.run("ROLLBACK TO SAVEPOINT attempt")
            raise
        finally:
            self.run("RELEASE SAVEPOINT attempt")

    def abandon(self) -> None:
        """Roll back now instead of when the server notices the closed connection."""
        with contextlib.suppress(WarehouseError):
            self.run("ROLLBACK")

    def copy(self, relation: tuple[str, str], rows: Iterable[pa.RecordBatch]) -> int:
        """Append rows to a table by COPY, matching columns by name; times are sent as microseconds."""
        import adbc_driver_manager
        from adbc_driver_manager import StatementOptions

        outgoing = _OutgoingRows(iter(rows))
        schema, name = relation
        where = (
            {StatementOptions.INGEST_TEMPORARY.value: "true"}
            if schema == "pg_temp"
            else {StatementOptions.INGEST_TARGET_DB_SCHEMA.value: schema}
        )
        with self._translated(outgoing), adbc_driver_manager.AdbcStatement(self._opened) as statement:
            reader = outgoing.reader()
            if reader is None:
                return 0
            statement.set_options(
                **{
                    StatementOptions.INGEST_TARGET_TABLE.value: name,
                    StatementOptions.INGEST_MODE.value: adbc_driver_manager.INGEST_OPTION_MODE_APPEND,
                    **where,
                }
            )
            statement.bind_stream(reader)
            return int(statement.execute_update())

    @contextlib.contextmanager
    def stream(self, sql: str, values: Sequence[object] = ()) -> Iterator[pa.RecordBatchReader]:
        """Stream the result of a query, with decimals as decimals.

        Args:
            sql: The query.
            values: The values of its placeholders $1, $2 and so on.
        """
        import adbc_driver_manager

        with contextlib.ExitStack() as stack:
            with self._translated():
                statement = stack.enter_context(adbc_driver_manager.AdbcStatement(self._opened))
                statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(_BYTES_PER_BATCH)})
                statement.set_sql_query(sql)
                if values:
                    # COPY takes no values: rows come in the protocol's own form, all at once.
                    statement.set_options(**{"adbc.postgresql.use_copy": "false"})
                    statement.prepare()
                    statement.bind_stream(_as_row(values).to_reader())
                try:
                    source = executed(statement)
                except adbc_driver_manager.ProgrammingError as error:
                    if error.sqlstate != _SYNTAX_ERROR or "begin COPY" not in str(error):
                        raise
                    # COPY does not support SHOW, EXPLAIN and similar statements; their small results are
                    # fetched at once.
                    self.run("ROLLBACK")
                    self.run("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY")
                    statement.set_options(**{"adbc.postgresql.use_copy": "false"})
                    source = executed(statement)
            schema = result_schema(source.schema)
            failures: list[WarehouseError] = []

            def batches() -> Iterator[pa.RecordBatch]:
                try:
                    with self._translated():
                        for batch in source:
                            yield result_batch(batch, schema)
                except WarehouseError as error:
                    failures.append(error)
                    raise

            try:
                yield pa.RecordBatchReader.from_batches(schema, batches())
            except Exception as error:
                # The consumer of the stream wraps the stream's errors in errors of its own type.
                if failures and error is not failures[0]:
                    raise failures[0] from error
                raise

    @contextlib.contextmanager
    def _translated(self, outgoing: _OutgoingRows | None = None) -> Iterator[None]:
        import adbc_driver_manager

        try:
            yield
        except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
            failure = outgoing.failure if outgoing else None
            if failure is None:
                raise self._error(error) from error
            if isinstance(failure, PlatformError) and not isinstance(failure, ColumnRefused):
                raise failure from error
            reason = " ".join(str(failure).split()) or type(failure).__name__
            if not isinstance(failure, ColumnRefused):
                reason = f"the input stream failed: {reason}"
            raise WarehouseError(self._could_not(reason)) from failure

    def _could_not(self, reason: str) -> str:
        return f"{warehouse_name(self.connection)} could not {self._attempt}: {reason}"

    def _error(self, error: Exception) -> WarehouseError:
        """Convert an error to the platform's error by its SQLSTATE."""
        import adbc_driver_manager

        code, reason = getattr(error, "sqlstate", None) or "", _reason(self.connection, error)
        if code == _LOCK_TIMEOUT:
            return LoadConflict(
                self._could_not(
                    "another session held a lock for longer than warehouse.postgres.lock_timeout. End that "
                    "session's load or query, or try again later."
                )
            )
        if code in _LOST_RACES:
            return LoadConflict(
                self._could_not(
                    f"another session changed the same rows ({reason}). Nothing was written; the next "
                    "attempt does the work again."
                )
            )
        advice = _ADVICE.get(code, "").format(user=self.connection.user)
        is_lost = code[:2] in _TEMPORARY or (
            not code and isinstance(error, adbc_driver_manager.OperationalError)
        )
        if is_lost and not advice:
            return _unreachable(self.connection, reason)
        if code[:2] == "22" and (place := _place(error)):
            reason, advice = f"{place}{reason}", _ADVICE_ON_VALUES
        state = f" (SQLSTATE {code})" if code else ""
        return ServerError(self._could_not(f"{reason}{state}. {advice}".rstrip()), code)


def _as_row(values: Sequence[object]) -> pa.Table:
    """Return the values of a query's placeholders as a table of one row."""
    return pa.table({str(number): pa.array([value]) for number, value in enumerate(values, 1)})


class _OutgoingRows:
    """Rows to send to the server, and the error that interrupted them."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self.failure: Exception | None = None
        self._batches = self._watched(batches)

    def reader(self) -> pa.RecordBatchReader | None:
        """Return the rows as a stream; None without rows."""
        first = next(self._batches, None)
        if first is None:
            return None

        def batches() -> Iterator[pa.RecordBatch]:
            yield first
            yield from self._batches

        return pa.RecordBatchReader.from_batches(first.schema, batches())

    def _watched(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                if batch.num_rows:
                    refuse_early_timestamps(batch)
                    yield batch
        except Exception as error:
            self.failure = error
            raise pa.ArrowInvalid("the input stream failed") from error
