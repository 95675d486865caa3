"""One consistent snapshot of a PostgreSQL database, read as Arrow.

pg8000 holds the snapshot and reads the catalogue; ADBC connections import it and stream the rows, which never
become Python objects. What changed, and where it goes, is not known here.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote as url_quote
from urllib.parse import urlencode

import pyarrow as pa

from platform_assets.errors import SourceError, SourceUnavailable
from platform_assets.lake.arrow import arrow_schema
from platform_assets.model.table import Boolean, Column, Date, Decimal, Integer, Table, Text, Time, Timestamp
from platform_assets.source.connection import Connection

if TYPE_CHECKING:
    from adbc_driver_manager import AdbcConnection
    from pg8000.native import Connection as ControlConnection

_BYTES_PER_BATCH = 4 * 1024 * 1024
_CATALOGUE = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), t.typname, t.typtype, a.atttypmod,
       has_table_privilege(c.oid, 'SELECT') OR has_column_privilege(c.oid, a.attnum, 'SELECT')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname = ANY(CAST(:tables AS
text[]))
"""
_FOREIGN_KEYS = """
SELECT child.relname, a.attname, parent.relname
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS child ON child.oid = k.conrelid
JOIN pg_catalog.pg_class AS parent ON parent.oid = k.confrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = child.relnamespace AND n.oid = parent.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
WHERE k.contype = 'f' AND k.convalidated AND cardinality(k.conkey) = 1 AND n.nspname = :schema
"""


@dataclass(frozen=True)
class SourceDatabase:
    """A PostgreSQL that the platform reads.

    Args:
        name: Name of the source, the first part of its tables' asset keys.
        tables: Declarations of its tables.
        connect: Says how to reach it, when that is needed: secrets are resolved, an embedded server is
            started.
        statement_timeout: Longest a statement may run, in seconds.
        lock_timeout: Longest a statement may wait for a lock, in seconds.
    """

    name: str
    tables: tuple[Table, ...]
    connect: Callable[[], Connection] = field(repr=False)
    statement_timeout: float = 3600
    lock_timeout: float = 10

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a read-only REPEATABLE READ transaction and export its snapshot for as long as the block runs.

        Raises:
            SourceUnavailable: The server does not answer.
            SourceError: It refuses the login, or lacks the database.
        """
        connection = self.connect()
        control = _open_control(connection)
        try:
            with _translated(connection):
                for setting, seconds in (
                    ("statement_timeout", self.statement_timeout),
                    ("lock_timeout", self.lock_timeout),
                ):
                    control.run(f"SET {setting} = {int(seconds * 1000)}")
                control.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                row = control.run(
                    "SELECT pg_export_snapshot(), CAST(pg_current_snapshot() AS text), "
                    "transaction_timestamp()"
                )[0]
            with contextlib.ExitStack() as bulk:
                yield Snapshot(self, connection, control, bulk, row[0], row[1], row[2].astimezone(dt.UTC))
        finally:
            # A close can only fail where the connection is gone already.
            with contextlib.suppress(Exception):
                control.close()


@dataclass(frozen=True)
class Snapshot:
    """A point in the source's history that every read of a batch sees.

    Args:
        source: The database.
        connection: How it was reached.
        control: The connection that holds the snapshot.
        bulk: Closes the connection that rows are read through, at the end of the snapshot.
        exported_id: What other connections import it by.
        position: PostgreSQL's text form of the snapshot, `xmin:xmax:xip_list`.
        taken_at: When it was taken, by the source's clock, UTC.
    """

    source: SourceDatabase
    connection: Connection = field(repr=False)
    control: ControlConnection = field(repr=False)
    bulk: contextlib.ExitStack = field(repr=False)
    exported_id: str
    position: str
    taken_at: dt.datetime

    def verify(self, tables: Sequence[Table]) -> None:
        """Check that the source has the declared tables and columns, in types we can read, and lets us.

        Raises:
            SourceError: It does not; every difference is in the message.
        """
        found: dict[str, dict[str, tuple[str, str, str, int, bool]]] = {}
        with _translated(self.connection):
            rows = self.control.run(
                _CATALOGUE, schema=self.connection.schema, tables=[table.name for table in tables]
            )
        for table_name, column_name, *details in rows:
            found.setdefault(table_name, {})[column_name] = tuple(details)
        mistakes = [mistake for table in tables for mistake in _compare(table, found.get(table.name))]
        if mistakes:
            where = f"{self.connection.database} on {self.connection.host}:{self.connection.port}"
            raise SourceError(
                f"Schema {self.connection.schema} of {where}, read as {self.connection.user}, is not as "
                f"declared: "
                + "; ".join(mistakes)
                + ". Grant what is missing (GRANT SELECT ON ... TO ...), or correct the schema or the "
                "declaration."
            )

    def enforced_foreign_keys(self) -> frozenset[tuple[str, str, str]]:
        """The (table, column, referenced table) of the foreign keys that the source itself enforces."""
        with _translated(self.connection):
            rows = self.control.run(_FOREIGN_KEYS, schema=self.connection.schema)
        return frozenset((child, column, parent) for child, column, parent in rows)

    @contextlib.contextmanager
    def read(self, table: Table) -> Iterator[pa.RecordBatchReader]:
        """Stream all rows of a table as of the snapshot, columns and types as declared, in physical order.

        A NaN in a numeric and an infinite timestamp, which the declared types cannot hold, arrive as nulls.

        Raises:
            SourceUnavailable: The connection broke.
            SourceError: The server refused the query.
        """
        import adbc_driver_manager

        columns = ", ".join(_selected(column) for column in table.columns)
        query = f"SELECT {columns} FROM {_identifier(self.connection.schema)}.{_identifier(table.name)}"
        with contextlib.ExitStack() as stack:
            try:
                statement = stack.enter_context(adbc_driver_manager.AdbcStatement(self._reader))
                statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(_BYTES_PER_BATCH)})
                statement.set_sql_query(query)
                handle, _ = statement.execute_query()
                raw = pa.RecordBatchReader._import_from_c(handle.address)
            except adbc_driver_manager.Error as error:
                raise _adbc_error(error, self.connection, f"reading table {table.name}") from error
            schema = arrow_schema(table.columns)
            failures: list[SourceError] = []
            rows = _decoded(raw, schema, self.connection, table, failures)
            try:
                yield pa.RecordBatchReader.from_batches(schema, rows)
            except Exception as error:
                # Whoever read the stream reports what went wrong in it as an error of its own kind.
                if failures:
                    raise failures[0] from error
                raise

    @cached_property
    def _reader(self) -> AdbcConnection:
        """The connection that rows are read through, in a transaction that has imported the snapshot."""
        import adbc_driver_manager
        import adbc_driver_postgresql

        try:
            database = self.bulk.enter_context(adbc_driver_postgresql.connect(_uri(self.connection)))
            reader = self.bulk.enter_context(adbc_driver_manager.AdbcConnection(database))
            for command in (
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                f"SET TRANSACTION SNAPSHOT '{self.exported_id}'",
                f"SET LOCAL statement_timeout = {int(self.source.statement_timeout * 1000)}",
                f"SET LOCAL lock_timeout = {int(self.source.lock_timeout * 1000)}",
                # What a date is as text depends on it, and roles and databases may have their own.
                "SET LOCAL DateStyle = 'ISO'",
            ):
                with adbc_driver_manager.AdbcStatement(reader) as statement:
                    statement.set_sql_query(command)
                    statement.execute_update()
        except adbc_driver_manager.Error as error:
            raise _adbc_error(error, self.connection, "opening a connection to read rows") from error
        return cast("AdbcConnection", reader)


def _decoded(
    raw: pa.RecordBatchReader,
    schema: pa.Schema,
    connection: Connection,
    table: Table,
    failures: list[SourceError],
) -> Iterator[pa.RecordBatch]:
    """The rows in their declared types; an error is raised, and left in `failures` too."""
    batches = iter(raw)
    while True:
        try:
            batch = next(batches, None)
        except (OSError, pa.ArrowException) as error:
            failures.append(_adbc_error(error, connection, f"reading table {table.name}"))
            raise failures[-1] from error
        if batch is None:
            return
        arrays = [
            _as_declared(array, declared.type) for array, declared in zip(batch.columns, schema, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _as_declared(array: pa.Array, type_: pa.DataType) -> pa.Array:
    if pa.types.is_decimal(type_) and array.type == pa.int64():
        # The digits come as one integer; widening it and giving it the scale costs a copy and no arithmetic.
        wide = array.cast(pa.decimal128(19, 0))
        return pa.Array.from_buffers(type_, len(wide), wide.buffers(), wide.null_count, wide.offset)
    return array if array.type == type_ else array.cast(type_)


def _selected(column: Column) -> str:
    """The SQL that reads a column in a form that ADBC turns into the declared Arrow type."""
    name = _identifier(column.name)
    match column.type:
        case Integer(bits=bits):
            expression = f"{name}::int{bits // 8}"
        case Decimal(precision=precision, scale=scale) if precision <= 18:
            expression = f"(NULLIF({name}::numeric, 'NaN') * {10**scale})::int8"
        case Decimal():
            expression = f"NULLIF({name}::numeric, 'NaN')::text"
        case Text():
            expression = f"{name}::text"
        case Boolean():
            expression = f"{name}::boolean"
        case Date():
            expression = f"CASE WHEN isfinite({name}) THEN {name} END"
        case Time():
            expression = f"to_char({name}, 'HH24:MI:SS.US')"
        case Timestamp(utc=utc):
            kind = "timestamptz" if utc else "timestamp"
            # PostgreSQL's years go 30 further than microseconds since 1970 do.
            holds = f"isfinite({name}) AND {name} < '294247-01-01'"
            expression = f"CASE WHEN {holds} THEN {name}::{kind} END"
    return f"{expression} AS {name}"


def _compare(table: Table, found: Mapping[str, tuple[str, str, str, int, bool]] | None) -> Iterable[str]:
    """What is wrong with a table's columns in the catalogue, as clauses of a sentence."""
    if not found:
        yield f"there is no table {table.name}"
        return
    missing = [name for name in table.column_names if name not in found]
    if missing:
        yield f"table {table.name} has no column {', '.join(missing)}"
    denied = [column.name for column in table.columns if column.name in found and not found[column.name][4]]
    if denied:
        what = (
            f"table {table.name}"
            if len(denied) == len(table.columns)
            else f"{table.name}.{', '.join(denied)}"
        )
        yield f"there is no privilege to SELECT from {what}"
    for column in table.columns:
        if column.name in found and not _is_readable(column, *found[column.name][1:4]):
            yield (
                f"{table.name}.{column.name} is {found[column.name][0]}, which does not fit "
                f"{_declared(column)}"
            )


def _is_readable(column: Column, type_name: str, type_kind: str, modifier: int) -> bool:
    match column.type:
        case Integer(bits=bits):
            return type_name in ({"int2", "int4", "int8"} if bits == 64 else {"int2", "int4"})
        case Decimal(precision=precision, scale=scale):
            if type_name in {"int2", "int4"}:
                return precision - scale >= (5 if type_name == "int2" else 10)
            if type_name != "numeric" or modifier < 4:
                return False
            # The scale has 11 bits and a sign: numeric(3,-2) holds hundreds.
            found_precision, found_scale = (modifier - 4) >> 16, (((modifier - 4) & 0x7FF) ^ 1024) - 1024
            return found_scale <= scale and found_precision - found_scale <= precision - scale
        case Text():
            return (
                type_name in {"text", "varchar", "bpchar", "citext", "name", "uuid", "date"}
                or type_kind == "e"
            )
        case Boolean():
            return type_name == "bool"
        case Date():
            return type_name == "date"
        case Time():
            return type_name == "time"
        case Timestamp(utc=utc):
            return type_name == ("timestamptz" if utc else "timestamp")


def _declared(column: Column) -> str:
    match column.type:
        case Decimal(precision=precision, scale=scale):
            return f"numeric({precision},{scale})"
        case Integer(bits=bits):
            return "bigint" if bits == 64 else "integer"
        case Timestamp(utc=True):
            return "timestamp with time zone"
        case _:
            return type(column.type).__name__.lower()


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _uri(connection: Connection) -> str:
    options = {
        "sslmode": connection.sslmode,
        "connect_timeout": str(max(2, round(connection.connect_timeout))),
        "application_name": connection.application_name,
        # Arrow's text is UTF-8; without this the rows come in the database's encoding.
        "client_encoding": "UTF8",
    }
    if connection.sslrootcert:
        options["sslrootcert"] = connection.sslrootcert
    user, password = url_quote(connection.user, safe=""), url_quote(connection.password, safe="")
    host = f"[{connection.host}]" if ":" in connection.host else url_quote(connection.host, safe="")
    database = url_quote(connection.database, safe="")
    query = urlencode(options, quote_via=url_quote)
    return f"postgresql://{user}:{password}@{host}:{connection.port}/{database}?{query}"


def _open_control(connection: Connection) -> ControlConnection:
    import pg8000.native

    def attempt(context: ssl.SSLContext | bool) -> ControlConnection:
        return pg8000.native.Connection(
            connection.user,
            host=connection.host,
            port=connection.port,
            database=connection.database,
            password=connection.password,
            timeout=connection.connect_timeout,
            ssl_context=context,
            application_name=connection.application_name,
        )

    context = _ssl_context(connection)
    with _translated(connection):
        try:
            control = attempt(context)
        except pg8000.native.InterfaceError as error:
            if connection.sslmode not in ("allow", "prefer") or "SSL" not in str(error):
                raise
            control = attempt(False)
        # The time-out was for the connection; how long a statement may take is the server's to enforce.
        control._usock.settimeout(None)
    return control


def _ssl_context(connection: Connection) -> ssl.SSLContext | bool:
    """Give libpq's sslmode as a context: `require` encrypts, `verify-ca` and `verify-full` check.

    False is no encryption: without a context, pg8000 tries it.
    """
    if connection.sslmode == "disable":
        return False
    try:
        context = ssl.create_default_context(cafile=connection.sslrootcert)
    except OSError as error:
        raise SourceError(
            f"The root certificates in {connection.sslrootcert} cannot be read: {error.strerror or error}. "
            "Correct sources.<name>.connection.sslrootcert in the configuration."
        ) from error
    if connection.sslmode != "verify-full":
        context.check_hostname = False
    if connection.sslmode not in ("verify-ca", "verify-full"):
        context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.contextmanager
def _translated(connection: Connection) -> Iterator[None]:
    """Turn pg8000's errors into the platform's."""
    import pg8000.native

    try:
        yield
    except pg8000.native.DatabaseError as error:
        details: Any = error.args[0] if error.args else {}
        if not isinstance(details, dict):
            raise _unavailable(connection, str(error)) from error
        raise _server_error(connection, details.get("C", ""), details.get("M", str(error))) from error
    except (pg8000.native.InterfaceError, OSError) as error:
        cause = error.__cause__ or error.__context__ or error
        raise _unavailable(connection, str(cause)) from error


def _server_error(connection: Connection, code: str, message: str) -> SourceError:
    """The platform's error for a SQLSTATE (PostgreSQL manual, appendix A)."""
    where = f"{connection.host}:{connection.port}"
    if code in ("28P01", "28000"):
        return SourceError(
            f"PostgreSQL at {where} refused the login of {connection.user} to {connection.database}: "
            f"{message}. "
            "Check user and password under sources in the configuration, and the server's pg_hba.conf."
        )
    if code == "3D000":
        return SourceError(
            f"PostgreSQL at {where} has no database {connection.database}. "
            "Check sources.<name>.connection.database in the configuration."
        )
    if code[:2] in ("08", "53", "57", "58", "55", "40"):
        return _unavailable(connection, message)
    return SourceError(f"PostgreSQL at {where} refused to go on: {message} (SQLSTATE {code}).")


def _unavailable(connection: Connection, reason: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"PostgreSQL at {connection.host}:{connection.port} cannot be reached or broke off "
        f"({reason.rstrip('.')}). "
        "Check host and port under sources in the configuration, and that the server runs and lets this "
        "machine in."
    )


def _adbc_error(error: Exception, connection: Connection, attempt: str) -> SourceError:
    code = getattr(error, "sqlstate", None) or ""
    reason = " ".join(str(error).replace(connection.password or "\0", "***").split())
    if code:
        return _server_error(connection, code, f"{attempt}: {reason}")
    return _unavailable(connection, f"{attempt}: {reason}")
