"""PostgreSQL as a warehouse: one session, one transaction and one advisory lock for each load.

DuckDB reads the rows from the lake's files, and ADBC writes them as binary COPY: rows of a fact directly into
its table, rows of a dimension into a temporary table that one statement then merges. All keys are declared as
constraints. A fact that is filled for the first time gets its keys after its rows, which is many times faster
than row by row; afterwards the server checks foreign keys as rows arrive, before the transaction ends.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.errors import PlatformError, WarehouseBusy, WarehouseError
from platform_assets.lake.adbc import executed
from platform_assets.lake.duck import SqlEngine
from platform_assets.model.dialects import POSTGRES, columns_sql, literal, quote
from platform_assets.model.star_model import columns_of
from platform_assets.model.table import Column, Table, Text, Time, Timestamp
from platform_assets.model.totesys.star import TABLES
from platform_assets.source.session import SET_PATH, WRITING_SETTINGS, open_adbc
from platform_assets.warehouse.interface import STAR_SCHEMA, Load, TableStatus
from platform_assets.warehouse.loading import (
    Incoming,
    LoadSession,
    Position,
    Target,
    lacking_columns,
    load_star,
    retry_load,
)
from platform_assets.warehouse.sql import (
    VIEWS,
    StarSql,
    positions_of,
    refuse_schemas_of_the_platform,
    statuses,
)

if TYPE_CHECKING:
    import duckdb
    from adbc_driver_manager import AdbcConnection, Error

    from platform_assets.lake.lake import Lake
    from platform_assets.source.connection import Connection

PLATFORM_SCHEMA = "platform"
"""Schema that holds the records of loads, unless it is configured otherwise."""

_LOADS = "loads"
_ROWS_PER_BATCH = 16_384
_BYTES_PER_BATCH = 2 * 1024 * 1024
_LONGEST_NAME = 63
_MOST_DIGITS = 38
# The first half of the advisory locks' keys, to avoid collisions with other applications.
_LOCK = zlib.crc32(b"platform_assets warehouse") - 2**31

_EARLIEST_MICROSECONDS = -210_866_803_200_000_000  # 4714-11-24 BC, see "Date/Time Types" in the manual

_FOREIGN_KEY_VIOLATION = "23503"
_SYNTAX_ERROR = "42601"
_NOT_ALLOWED = "42501"
_WHAT_IS_MISSING = ("3F000", "42P01")
# SQLSTATEs of serialization failures and deadlocks.
_LOST_RACES = ("40001", "40P01")
_PASSING = ("08", "40", "53", "55", "57")


@dataclass(frozen=True)
class PostgresWarehouse:
    """A warehouse in a PostgreSQL database.

    Args:
        connect: Returns the connection with a role that may write, secrets resolved.
        engine: Memory and threads that DuckDB may use to read the lake.
        star_schema: Schema of the star tables and their views.
        platform_schema: Schema of the records of loads.
        statement_timeout: Longest duration of a statement, in seconds; 0 for no limit.
        lock_timeout: Longest wait for another session's lock, such as another load's, in seconds; 0 for no
            limit.
        tables: The star schema, as the model declares it.
    """

    connect: Callable[[], Connection]
    engine: SqlEngine
    star_schema: str = STAR_SCHEMA
    platform_schema: str = PLATFORM_SCHEMA
    statement_timeout: float = 3600
    lock_timeout: float = 60
    tables: Sequence[Table] = TABLES

    def load(self, lake: Lake, tables: Sequence[Table]) -> dict[str, Load]:
        """See `Warehouse.load`."""
        connection = self.connect()

        def positions() -> dict[str, Position]:
            # Missing read privileges are reported when the transaction begins, with all other missing ones.
            return self._positions(connection, refuse=False)

        target = Target(
            name=_name(connection),
            positions=positions,
            counts=lambda: {status.table: status.row_count for status in self.status()},
            session=lambda _: self._session(connection),
            start_afresh=f"Configure another database or other schemas, or drop the schemas "
            f"{self.star_schema} and {self.platform_schema} to have it loaded afresh.",
            tables=self.tables,
            lacking=lambda: self._lacking(connection),
        )
        return retry_load(lambda: load_star(lake, tables, target), positions, (_Overtaken,), 0)

    @contextlib.contextmanager
    def query(self, sql: str) -> Iterator[pa.RecordBatchReader]:
        """See `Warehouse.query`.

        A numeric without declared precision, such as a sum, is returned as text with every digit.
        """
        with self._transaction(self.connect(), "run the query", read_only=True) as session:
            try:
                # The newline ends a trailing comment: the driver wraps the query in brackets.
                with session.stream(sql.rstrip("; \t\r\n") + "\n") as rows:
                    yield rows
            except _ServerError as error:
                if error.sqlstate in _WHAT_IS_MISSING and not self._positions(error.connection):
                    raise WarehouseError(
                        f"{_capital(_name(error.connection))} has nothing loaded yet; the job "
                        f"totesys_to_warehouse does it. {error}"
                    ) from error
                raise

    def read(
        self, name: Sequence[str], columns: Sequence[str] | None = None
    ) -> contextlib.AbstractContextManager[pa.RecordBatchReader]:
        """See `Warehouse.read`."""
        return self.query(f"SELECT {columns_sql(columns) if columns else '*'} FROM {quote(*name)}")

    def write(self, name: Sequence[str], rows: pa.RecordBatchReader) -> int:
        """See `Warehouse.write`."""
        schema, table = name
        refuse_schemas_of_the_platform(schema, (self.star_schema, self.platform_schema), folds=False)
        connection = self.connect()
        told = f"{schema}.{table}"
        _refuse_long_names(told, [schema, table, *rows.schema.names])
        columns = {field.name: _declared_type(told, field) for field in rows.schema}
        if len(columns) < len(rows.schema):
            raise WarehouseError(
                f"Table {told} cannot be written: two of its columns have one name. Rename one of them."
            )
        declared = ", ".join(f"{quote(column)} {type_}" for column, type_ in columns.items())
        with self._transaction(connection, f"write {told}") as session:
            session.lock(told)
            found = _Relations.read(session, schema)
            if not found.exists:
                # Other sessions may be about to create the schema for other tables.
                session.lock(schema)
                found = _Relations.read(session, schema)
            _refuse_missing_grants(session, _grants_to_write(session, found, table), f"write {told}")
            if not found.exists:
                session.run(f"CREATE SCHEMA {quote(schema)}")
            present = found.relations.get(table)
            if present is None:
                session.run(f"CREATE TABLE {quote(schema, table)} ({declared})")
                return session.copy((schema, table), _outgoing(rows))
            if not present.is_table:
                raise WarehouseError(
                    f"Table {told} cannot be written: there is something else of this name, such as a view. "
                    "Choose another name, or drop what is there."
                )
            # Into a separate table, so that the table can be read until its new rows are complete.
            session.run(f"CREATE TEMPORARY TABLE {quote(_staging(table))} ({declared}) ON COMMIT DROP")
            session.copy(("pg_temp", _staging(table)), _outgoing(rows))
            if present.columns == columns:
                session.run(f"TRUNCATE {quote(schema, table)}")  # keeps its grants and dependent objects
            else:
                session.run(f"DROP TABLE {quote(schema, table)}")
                session.run(f"CREATE TABLE {quote(schema, table)} ({declared})")
            return session.run(
                f"INSERT INTO {quote(schema, table)} SELECT * FROM {quote('pg_temp', _staging(table))}"
            )

    def sample(self, tables: Sequence[Table], limit: int) -> dict[str, list[dict[str, Any]]]:
        """See `Warehouse.sample`."""
        rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in tables}
        with self._transaction(self.connect(), "show some rows", read_only=True) as session:
            loaded = set(self._read_positions(session)) & set(
                _Relations.read(session, self.star_schema).relations
            )
            for table in tables:
                if table.name in loaded:
                    rows[table.name] = session.rows(self.sql.newest(table, limit))
        return rows

    def status(self) -> list[TableStatus]:
        """See `Warehouse.status`."""
        with self._transaction(self.connect(), "say what it holds", read_only=True) as session:
            positions = self._read_positions(session)
            existing = _Relations.read(session, self.star_schema).relations
            loaded = [one for one in self.tables if one.name in positions and one.name in existing]
            if not loaded:
                return []
            rows = session.rows(self.sql.status(loaded))
            return list(statuses(loaded, positions, (tuple(row.values()) for row in rows)))

    @property
    def sql(self) -> StarSql:
        """The statements that all engines share."""
        return StarSql(POSTGRES, (self.star_schema,), (self.platform_schema,))

    def _positions(self, connection: Connection, *, refuse: bool = True) -> dict[str, Position]:
        with self._transaction(connection, "say what was loaded", read_only=True) as session:
            return self._read_positions(session, refuse=refuse)

    def _read_positions(self, session: _Session, *, refuse: bool = True) -> dict[str, Position]:
        found = session.rows(
            "SELECT has_schema_privilege(n.oid, 'USAGE') AS usage, has_table_privilege(c.oid, 'SELECT') "
            "AS selection FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n "
            f"ON n.oid = c.relnamespace WHERE n.nspname = {literal(self.platform_schema)} "
            f"AND c.relname = {literal(_LOADS)}"
        )
        if not found:
            return {}
        [may], role = found, quote(session.connection.user)
        grants = [] if may["usage"] else [f"GRANT USAGE ON SCHEMA {quote(self.platform_schema)} TO {role};"]
        grants += [] if may["selection"] else [f"GRANT SELECT ON TABLE {self.sql.loads} TO {role};"]
        if grants and not refuse:
            return {}
        _refuse_missing_grants(session, grants, "see what was loaded")
        return positions_of(tuple(row.values()) for row in session.rows(self.sql.positions()))

    @contextlib.contextmanager
    def _session(self, connection: Connection) -> Iterator[LoadSession]:
        attempt = "load the star schema"
        with self._transaction(connection, attempt) as session, self.engine.connect() as duck:
            session.lock(f"{self.platform_schema} {self.star_schema}")
            if not _Relations.read(session, self.platform_schema).exists:
                # Warehouses with other star schemas may be about to create the schema.
                session.lock(self.platform_schema)
            records = _Relations.read(session, self.platform_schema)
            found = _Relations.read(session, self.star_schema)
            grants = _grants_to_load(session, records, found, self.tables)
            _refuse_missing_grants(session, grants, attempt)
            loading = _Loading(self, session, duck, records, found)
            yield loading
            loading.add_missing_keys()

    def _lacking(self, connection: Connection) -> dict[str, set[str]]:
        with self._transaction(connection, "see what it has", read_only=True) as session:
            return lacking_columns(self.tables, _Relations.read(session, self.star_schema).columns)

    def _supersede(self, session: _Session, records: _Relations, names: Set[str]) -> None:
        """Mark the load records of tables whose loaded rows are gone as superseded."""
        if not names:
            return
        if _LOADS in records.relations and not records.relations[_LOADS].may["UPDATE"]:
            grant = f"GRANT UPDATE ON TABLE {self.sql.loads} TO {quote(session.connection.user)};"
            _refuse_missing_grants(session, [grant], f"load {', '.join(sorted(names))} again")
        session.run(self.sql.supersede(names))

    def _create_records(self, session: _Session, found: _Relations) -> None:
        if not found.exists:
            session.run(f"CREATE SCHEMA {quote(self.platform_schema)}")
        if _LOADS not in found.relations:
            session.run(self.sql.create_loads())

    @contextlib.contextmanager
    def _transaction(
        self, connection: Connection, attempt: str, *, read_only: bool = False
    ) -> Iterator[_Session]:
        """Open a session and a transaction, which is committed at the end or rolled back on an error."""
        with _opened(connection, attempt) as session:
            settings = {
                **WRITING_SETTINGS,
                "statement_timeout": str(round(self.statement_timeout * 1000)),
                "lock_timeout": str(round(self.lock_timeout * 1000)),
            }
            # Set explicitly, whatever the role's default: several reads need one snapshot, and a load must
            # see what another load has committed while this one waited for the lock.
            level = "REPEATABLE READ READ ONLY" if read_only else "READ COMMITTED READ WRITE"
            session.run(f"BEGIN ISOLATION LEVEL {level}")
            session.run(
                "; ".join(
                    (
                        SET_PATH,
                        "SELECT set_config(name, '0', true) FROM pg_settings "
                        "WHERE name IN ('transaction_timeout', 'gin_fuzzy_search_limit')",
                        *(f"SET LOCAL {name} = {literal(value)}" for name, value in settings.items()),
                    )
                )
            )
            try:
                yield session
            except BaseException:
                session.abandon()
                raise
            session.run("COMMIT")


class _ColumnRefused(WarehouseError):
    """A value cannot be sent; the message is a clause that names its column."""


class _ServerError(WarehouseError):
    """The server rejected a statement; holds the SQLSTATE."""

    def __init__(self, message: str, connection: Connection, sqlstate: str) -> None:
        super().__init__(message)
        self.connection = connection
        self.sqlstate = sqlstate


class _Overtaken(WarehouseBusy):
    """Another session conflicted with the transaction, which wrote nothing."""


def _name(connection: Connection) -> str:
    return f"the warehouse {connection.database} on {connection.host}:{connection.port}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _staging(table: str) -> str:
    return f"incoming_{zlib.crc32(table.encode()):08x}"


@contextlib.contextmanager
def _opened(connection: Connection, attempt: str) -> Iterator[_Session]:
    import adbc_driver_manager

    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(open_adbc(connection))
        except adbc_driver_manager.Error as error:
            raise _login_error(connection, error) from error
        yield _Session(connection, opened, attempt)


def _said(connection: Connection, error: Exception) -> str:
    """Return an error's message in one line, without the password that a driver may repeat."""
    details = dict(getattr(error, "details", None) or ())
    parts = [details.get(f"PG_DIAG_MESSAGE_{part}".encode(), b"") for part in ("PRIMARY", "DETAIL", "HINT")]
    parts = [part.decode(errors="replace") if isinstance(part, bytes) else part for part in parts if part]
    said = " ".join((part if part.endswith((".", "?")) else f"{part}.") for part in parts) or str(error)
    return " ".join(said.replace(connection.password or "\0", "***").split())


def _place(error: Exception) -> str:
    """Return the column and row of a COPY error, followed by a colon; empty if the error names neither."""
    details = dict(getattr(error, "details", None) or ())
    context = details.get(b"PG_DIAG_CONTEXT") or details.get("PG_DIAG_CONTEXT") or b""
    text = context.decode(errors="replace") if isinstance(context, bytes) else context
    found = re.search(r", line (\d+), column (.+)$", text, re.MULTILINE)
    return f"column {found[2]}, row {found[1]}: " if found else ""


def _login_error(connection: Connection, error: Error) -> WarehouseError:
    said = _said(connection, error)
    # libpq returns no SQLSTATE for a session that never began, only the server's message.
    for_ever = ("authentication failed", "no pg_hba.conf entry", "does not exist", "no password supplied")
    if any(sign in said for sign in for_ever):
        return WarehouseError(
            f"{_capital(_name(connection))} refused the login of {connection.user}: {said}. Check user, "
            "password and database under warehouse.postgres in the configuration, and the server's "
            "pg_hba.conf."
        )
    return _unreachable(connection, said)


def _unreachable(connection: Connection, said: str) -> WarehouseBusy:
    return WarehouseBusy(
        f"{_capital(_name(connection))} cannot be reached or broke off ({said.rstrip('.')}). Check host and "
        "port under warehouse.postgres in the configuration, and that the server runs and lets this machine "
        "in."
    )


class _Session:
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
            return rows.read_all().to_pylist()  # type: ignore[no-any-return]

    def lock(self, name: str) -> None:
        """Wait until no other session holds this lock, and hold it until the transaction ends."""
        self.run(f"SELECT pg_advisory_xact_lock({_LOCK}, {zlib.crc32(name.encode()) - 2**31})")

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Run a block in a savepoint, and return to the savepoint if the server rejects a statement."""
        self.run("SAVEPOINT attempt")
        try:
            yield
        except _ServerError:
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

        outgoing = _Outgoing(iter(rows))
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
    def stream(self, sql: str) -> Iterator[pa.RecordBatchReader]:
        """Stream the result of a query, with decimals as decimals."""
        import adbc_driver_manager

        with contextlib.ExitStack() as stack:
            with self._translated():
                statement = stack.enter_context(adbc_driver_manager.AdbcStatement(self._opened))
                statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(_BYTES_PER_BATCH)})
                statement.set_sql_query(sql)
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
            schema = pa.schema([_result_field(one) for one in source.schema])
            failures: list[WarehouseError] = []

            def batches() -> Iterator[pa.RecordBatch]:
                try:
                    with self._translated():
                        for batch in source:
                            yield _result_batch(batch, schema)
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
    def _translated(self, outgoing: _Outgoing | None = None) -> Iterator[None]:
        import adbc_driver_manager

        try:
            yield
        except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
            failure = outgoing.failure if outgoing else None
            if isinstance(failure, _ColumnRefused):
                raise WarehouseError(
                    f"{_capital(_name(self.connection))} could not {self._attempt}: {failure}"
                ) from failure
            if isinstance(failure, PlatformError):
                raise failure from error
            if failure is not None:
                said = " ".join(str(failure).split()) or type(failure).__name__
                raise WarehouseError(
                    f"{_capital(_name(self.connection))} could not {self._attempt}: the rows broke off: "
                    f"{said}"
                ) from failure
            raise self._error(error) from error

    def _error(self, error: Exception) -> WarehouseError:
        """Convert an error to the platform's error by its SQLSTATE (PostgreSQL manual, appendix A)."""
        import adbc_driver_manager

        connection, said = self.connection, _said(self.connection, error)
        name, code = _capital(_name(connection)), getattr(error, "sqlstate", None) or ""
        if code == "55P03":
            return _Overtaken(
                f"{name} could not {self._attempt}: another session held what it needs for longer than "
                f"lock_timeout. End that session's load or query, or try again later."
            )
        if code in _LOST_RACES:
            return _Overtaken(
                f"{name} could not {self._attempt}: another session changed the same things "
                f"({said.rstrip('.')}). Nothing of this attempt was written; the next one does it again."
            )
        if code == "57014":
            return _ServerError(
                f"{name} could not {self._attempt}: {said} Raise warehouse.postgres.statement_timeout where "
                "it needs longer.",
                connection,
                code,
            )
        if code == _NOT_ALLOWED:
            return _ServerError(
                f"{name} could not {self._attempt}: {said} Have an administrator of the database grant it "
                f"to {connection.user}.",
                connection,
                code,
            )
        if code[:2] in _PASSING or (not code and isinstance(error, adbc_driver_manager.OperationalError)):
            return _unreachable(connection, said)
        if code[:2] == "22" and (place := _place(error)):
            return _ServerError(
                f"{name} could not {self._attempt}: {place}{said.rstrip('.')} (SQLSTATE {code}). PostgreSQL "
                "has no such value: correct it, or change the column's type, and write again.",
                connection,
                code,
            )
        state = f" (SQLSTATE {code})" if code else ""
        return _ServerError(f"{name} could not {self._attempt}: {said}{state}", connection, code)


class _Outgoing:
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
                    _refuse_early_timestamps(batch)
                    yield batch
        except Exception as error:
            self.failure = error
            raise pa.ArrowInvalid("the rows broke off") from error


def _result_field(field: pa.Field) -> pa.Field:
    """Return a result column's field: numerics become decimals, or text if they have no precision."""
    metadata = field.metadata or {}
    if metadata.get(b"ADBC:postgresql:typname") != b"numeric":
        return pa.field(field.name, field.type)
    modifier = int(metadata.get(b"POSTGRESQL:typmod", b"-1")) - 4
    # The scale has 11 bits and a sign (see the catalogue's pg_attribute.atttypmod).
    precision, scale = modifier >> 16, ((modifier & 0x7FF) ^ 1024) - 1024
    is_decimal = modifier >= 0 and precision <= _MOST_DIGITS
    return pa.field(field.name, pa.decimal128(precision, scale) if is_decimal else pa.string())


def _result_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [_result_column(*one) for one in zip(batch.columns, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _result_column(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if column.type == wanted:
        return column
    digits = column.storage
    if not pa.types.is_decimal(wanted):
        return digits
    # Decimals have no NaN or infinities.
    is_number = pc.invert(pc.is_in(digits, pa.array(["nan", "inf", "-inf"])))
    return pc.if_else(is_number, digits, None).cast(wanted)


def _declared_type(table: str, field: pa.Field) -> str:
    """Return the PostgreSQL type for a column of a user's table, as the catalogue spells it.

    Raises:
        WarehouseError: PostgreSQL has no type for the column.
    """
    type_ = field.type
    if pa.types.is_dictionary(type_):
        return _declared_type(table, field.with_type(type_.value_type))
    if pa.types.is_decimal(type_):
        if type_.precision <= _MOST_DIGITS:
            return f"numeric({type_.precision},{type_.scale})"
    elif pa.types.is_timestamp(type_):
        return POSTGRES.type_name(Timestamp(utc=type_.tz is not None))
    for holds, name in _TYPES:
        if holds(type_):
            return name
    raise WarehouseError(
        f"Table {table} cannot be written: PostgreSQL has no column for {field.name}, of type {type_}. Turn "
        "it into text, such as JSON, or into columns of its parts first."
    )


_TYPES: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (lambda one: one in (pa.int8(), pa.uint8(), pa.int16()), "smallint"),
    (lambda one: one in (pa.uint16(), pa.int32()), "integer"),
    (lambda one: one in (pa.uint32(), pa.int64()), "bigint"),
    (pa.types.is_uint64, "numeric(20,0)"),
    (lambda one: one in (pa.float16(), pa.float32()), "real"),
    (pa.types.is_float64, "double precision"),
    (pa.types.is_boolean, "boolean"),
    (lambda one: pa.types.is_string(one) or pa.types.is_large_string(one), "text"),
    (lambda one: one == pa.string_view() or pa.types.is_null(one), "text"),
    (lambda one: pa.types.is_binary(one) or pa.types.is_large_binary(one), "bytea"),
    (lambda one: one == pa.binary_view() or pa.types.is_fixed_size_binary(one), "bytea"),
    (pa.types.is_date, "date"),
    (pa.types.is_time, "time without time zone"),
)
_SENT_AS: Mapping[str, pa.DataType] = {
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "numeric(20,0)": pa.decimal128(20, 0),
    "real": pa.float32(),
    "text": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time without time zone": pa.time64("us"),
    "timestamp without time zone": pa.timestamp("us"),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
}


def _outgoing(rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Convert a user's rows to the types for COPY; a value that would lose information is an error."""
    names = rows.schema.names
    declared = [_declared_type("", field) for field in rows.schema]
    for batch in rows:
        columns = [
            _outgoing_column(name, *one)
            for name, one in zip(names, zip(batch.columns, declared, strict=True), strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, names=names)


def _outgoing_column(name: str, column: pa.Array, declared: str) -> pa.Array:
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    try:
        if pa.types.is_decimal(plain.type):
            return plain.cast(pa.decimal128(plain.type.precision, plain.type.scale))
        sent = plain.cast(_SENT_AS.get(declared, plain.type))
    except pa.ArrowInvalid as error:
        raise _ColumnRefused(
            f"column {name} of type {column.type} cannot be written as {declared} without loss: {error}. "
            "Round or cut its values first, or write it as text."
        ) from error
    return sent.cast(pa.int64()) if pa.types.is_time(sent.type) else sent


def _refuse_early_timestamps(batch: pa.RecordBatch) -> None:
    """Reject timestamps that the driver cannot send: it would end the COPY like a broken connection."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_timestamp(column.type) and column.type.unit == "us":
            earliest = pc.min(column.cast(pa.int64())).as_py()
            if earliest is not None and earliest < _EARLIEST_MICROSECONDS:
                raise _ColumnRefused(
                    f"column {name} has a timestamp before the year 4714 BC, the first that PostgreSQL has. "
                    "Correct it, or make it NULL, and write again."
                )


def _refuse_long_names(table: str, names: Sequence[str]) -> None:
    for name in names:
        if not name or len(name.encode()) > _LONGEST_NAME or "\0" in name:
            raise WarehouseError(
                f"Table {table} cannot be written: PostgreSQL takes names of 1 to {_LONGEST_NAME} bytes, "
                f"and {name!r} has {len(name.encode())}. Choose another one."
            )


@dataclass(frozen=True)
class _Relation:
    """An existing table or view, as the catalogue describes it.

    Args:
        is_table: Whether the relation accepts rows.
        owner: The role that owns the relation.
        is_owned: Whether the session's role has the owner's rights.
        is_superusers: Whether the owner is a superuser, whose rights should not be granted.
        may: Whether the role may SELECT, INSERT and UPDATE.
        columns: Type of each column, in order.
        mandatory: The columns that are NOT NULL.
        primary_key: Name of the primary key's constraint; empty without a primary key.
        foreign_keys: Name of each foreign key's constraint by its column.
    """

    is_table: bool
    owner: str
    is_owned: bool
    may: Mapping[str, bool]
    columns: dict[str, str] = field(default_factory=dict)
    mandatory: set[str] = field(default_factory=set)
    primary_key: str = ""
    foreign_keys: dict[str, str] = field(default_factory=dict)
    is_superusers: bool = False


@dataclass(frozen=True)
class _Relations:
    """The relations of a schema.

    Args:
        schema: Name of the schema.
        exists: Whether the schema exists.
        may: Whether the role has USAGE and CREATE on it.
        relations: Tables and views in it, by name.
    """

    schema: str
    exists: bool
    may: Mapping[str, bool]
    relations: Mapping[str, _Relation]

    @property
    def columns(self) -> dict[str, dict[str, str]]:
        """Return the columns of each relation with their types."""
        return {name: relation.columns for name, relation in self.relations.items()}

    @classmethod
    def read(cls, session: _Session, schema: str) -> _Relations:
        """Read the relations from pg_catalog, which unlike information_schema also shows unreadable ones."""
        named = literal(schema)
        found = session.rows(
            "SELECT has_schema_privilege(oid, 'USAGE') AS usage, has_schema_privilege(oid, 'CREATE') "
            f"AS creation FROM pg_catalog.pg_namespace WHERE nspname = {named}"
        )
        if not found:
            return cls(schema, False, {"USAGE": True, "CREATE": True}, {})
        rights = [f"has_table_privilege(c.oid, '{one}') AS {one.lower()}_" for one in _RIGHTS]
        columns = session.rows(
            "SELECT c.relname::text AS relation, c.relkind::text AS kind, "
            "pg_get_userbyid(c.relowner)::text AS owner, pg_has_role(c.relowner, 'USAGE') AS is_owned, "
            "EXISTS (SELECT FROM pg_catalog.pg_roles AS o WHERE o.oid = c.relowner AND o.rolsuper) "
            "AS is_supers, "
            f"{', '.join(rights)}, a.attname::text AS name, a.attnotnull AS is_mandatory, "
            "format_type(a.atttypid, a.atttypmod) AS type FROM pg_catalog.pg_class AS c "
            "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
            "LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 "
            f"AND NOT a.attisdropped WHERE n.nspname = {named} AND c.relkind IN ('r', 'p', 'v', 'm', 'f') "
            "ORDER BY c.relname, a.attnum"
        )
        keys = session.rows(
            "SELECT c.relname::text AS relation, k.conname::text AS name, k.contype::text AS kind, "
            "a.attname::text AS column FROM pg_catalog.pg_constraint AS k "
            "JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid "
            "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
            "JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.conkey[1] "
            f"WHERE n.nspname = {named} AND k.contype IN ('p', 'f')"
        )
        relations: dict[str, _Relation] = {}
        primary = {key["relation"]: key["name"] for key in keys if key["kind"] == "p"}
        for row in columns:
            name = row["relation"]
            relation = relations.setdefault(
                name,
                _Relation(
                    row["kind"] in ("r", "p"),
                    row["owner"],
                    row["is_owned"],
                    {one: row[f"{one.lower()}_"] for one in _RIGHTS},
                    primary_key=primary.get(name, ""),
                    is_superusers=row["is_supers"],
                    foreign_keys={
                        key["column"]: key["name"]
                        for key in keys
                        if key["kind"] == "f" and key["relation"] == name
                    },
                ),
            )
            if row["name"] is not None:
                relation.columns[row["name"]] = row["type"]
                if row["is_mandatory"]:
                    relation.mandatory.add(row["name"])
        may = {"USAGE": found[0]["usage"], "CREATE": found[0]["creation"]}
        return cls(schema, True, may, relations)


_RIGHTS = ("SELECT", "INSERT", "UPDATE")


def _refuse_missing_grants(session: _Session, grants: Sequence[str], attempt: str) -> None:
    if grants:
        connection = session.connection
        raise WarehouseError(
            f"{_capital(_name(connection))} does not allow {connection.user} to {attempt}, and nothing was "
            f"changed. Have an administrator of the database run: {' '.join(dict.fromkeys(grants))}"
        )


def _grants_of_database(session: _Session, *needed: str) -> list[str]:
    """Return the GRANT for the role's missing CREATE and TEMPORARY privileges on the database."""
    if not needed:
        return []
    [row] = session.rows(
        "SELECT current_database()::text AS database, "
        + ", ".join(
            f"has_database_privilege(current_database(), '{one}') AS {one.lower()}_" for one in needed
        )
    )
    lacking = [one for one in needed if not row[f"{one.lower()}_"]]
    if not lacking:
        return []
    role = quote(session.connection.user)
    return [f"GRANT {', '.join(lacking)} ON DATABASE {quote(row['database'])} TO {role};"]


def _grants_of_schema(session: _Session, found: _Relations, *, create: bool) -> list[str]:
    needed = ("USAGE", "CREATE") if create else ("USAGE",)
    lacking = [one for one in needed if not found.may[one]]
    if not lacking:
        return []
    role = quote(session.connection.user)
    return [f"GRANT {', '.join(lacking)} ON SCHEMA {quote(found.schema)} TO {role};"]


def _grants_to_write(session: _Session, found: _Relations, table: str) -> list[str]:
    relation = found.relations.get(table)
    if not found.exists:
        return _grants_of_database(session, "CREATE")
    grants = _grants_of_schema(session, found, create=True)
    if relation is not None:
        grants += _grants_of_database(session, "TEMPORARY")
        if not relation.is_owned:
            grants.append(_grant_of_owner(session, relation, quote(found.schema, table)))
    return grants


def _grant_of_owner(session: _Session, relation: _Relation, name: str) -> str:
    if relation.is_superusers:
        return f"ALTER TABLE {name} OWNER TO {quote(session.connection.user)};"
    return f"GRANT {quote(relation.owner)} TO {quote(session.connection.user)};"


def _grants_to_load(
    session: _Session, records: _Relations, found: _Relations, tables: Sequence[Table]
) -> list[str]:
    """Return all GRANTs that a load needs and the role lacks, before anything is written."""
    of_database = ["TEMPORARY"]
    if not records.exists or not found.exists:
        of_database.insert(0, "CREATE")
    grants = _grants_of_database(session, *of_database)
    role = quote(session.connection.user)
    if records.exists:
        grants += _grants_of_schema(session, records, create=_LOADS not in records.relations)
    if found.exists:
        lacks_tables = any(name not in found.relations for table in tables for name in _names(table))
        grants += _grants_of_schema(session, found, create=lacks_tables)
    for schema, name, needed in (
        (records, _LOADS, ("SELECT", "INSERT")),
        *((found, table.name, _RIGHTS) for table in tables),
    ):
        relation = schema.relations.get(name)
        lacking = [one for one in needed if relation is not None and not relation.may[one]]
        if lacking:
            grants.append(f"GRANT {', '.join(lacking)} ON TABLE {quote(schema.schema, name)} TO {role};")
    for table in tables:
        for name in _names(table):
            relation = found.relations.get(name)
            if relation is not None and not relation.is_owned and _has_to_be_altered(found, table):
                grants.append(_grant_of_owner(session, relation, quote(found.schema, name)))
    return grants


def _names(table: Table) -> tuple[str, ...]:
    """Return the names of a star table and its views."""
    views = ("_current", "_history") if table.kind == "fact" else ()
    return (table.name, *(f"{table.name}{suffix}" for suffix in views))


def _has_to_be_altered(found: _Relations, table: Table) -> bool:
    present = found.relations.get(table.name)
    if present is None:
        return False
    names = {column.name for column in columns_of(table)}
    return bool(
        names - set(present.columns)
        or present.mandatory - names
        or not present.primary_key
        or {column for column, _ in table.foreign_keys} - set(present.foreign_keys)
    )


class _Loading:
    """Implementation of `LoadSession` for PostgreSQL, with the steps before and after it."""

    def __init__(
        self,
        warehouse: PostgresWarehouse,
        session: _Session,
        duck: duckdb.DuckDBPyConnection,
        records: _Relations,
        found: _Relations,
    ) -> None:
        self._warehouse = warehouse
        self._sql = warehouse.sql
        self._tables: dict[str, Table] = {}
        self._session = session
        self._duck = duck
        self._records = records
        self._found = found
        self._widened: Set[str] = frozenset()
        self._primary_keys = {name: one.primary_key for name, one in found.relations.items()}
        self._foreign_keys = {
            (name, column): constraint
            for name, one in found.relations.items()
            for column, constraint in one.foreign_keys.items()
        }
        # Row order is not preserved: ordered rows would be buffered in memory.
        duck.execute("SET preserve_insertion_order = false")

    def lacking(self) -> dict[str, set[str]]:
        return lacking_columns(self._warehouse.tables, self._found.columns)

    def prepare(self, filled: Sequence[Incoming], dropped: Set[str], superseded: Set[str]) -> None:
        """See `LoadSession`. Facts that are filled for the first time get their keys after their rows.

        Only tables that are filled get their missing columns: somebody may have dropped a column, and then
        all rows of its table have to be loaded again.
        """
        self._warehouse._create_records(self._session, self._records)
        self._warehouse._supersede(self._session, self._records, superseded)
        if not self._found.exists:
            self._session.run(f"CREATE SCHEMA {quote(self._warehouse.star_schema)}")
        self._tables = {one.name: one for one in self._warehouse.tables if one.name not in dropped}
        filled_first = {one.table.name for one in filled if one.is_first}
        widened = {one.table.name for one in filled}
        self._widened = widened
        for table in self._tables.values():
            self._create_table(table, is_widened=table.name in widened)
            if table.kind == "dimension" or table.name not in filled_first:
                self._add_primary_key(table)
        for table in self._tables.values():
            if table.kind == "fact":
                is_widened = table.name in widened
                for suffix in VIEWS:
                    self._create_view(table, suffix, is_widened=is_widened)

    def _create_table(self, table: Table, *, is_widened: bool) -> None:
        present = self._found.relations.get(table.name)
        if present is None:
            declared = ", ".join(self._sql.declarations(table))
            self._session.run(f"CREATE TABLE {self._sql.relation(table.name)} ({declared})")
            return
        nullable = {name: name not in present.mandatory for name in present.columns}
        added = self._sql.added(table, present.columns) if is_widened else []
        if clauses := [*added, *self._sql.relaxed(table, nullable)]:
            self._session.run(f"ALTER TABLE {self._sql.relation(table.name)} {', '.join(clauses)}")

    def _create_view(self, table: Table, suffix: str, *, is_widened: bool) -> None:
        """Create a fact's view; new columns come last, so that existing users are not affected."""
        name = f"{table.name}_{suffix}"
        present = self._found.relations.get(name)
        # Both views have the declared columns; their other columns never change.
        if present is not None and (not is_widened or set(table.column_names) <= set(present.columns)):
            return
        relation = self._found.relations.get(table.name)
        if not is_widened and relation is not None and not set(table.column_names) <= set(relation.columns):
            return
        body = ""
        if present is not None:
            # The table still has columns that the model has lost, and PostgreSQL cannot drop them from the
            # view.
            lost = [one for one in present.columns if one not in _columns_of_view(table, suffix)]
            wider = replace(table, columns=(*table.columns, *(Column(one, Text()) for one in lost)))
            added = [one for one in table.column_names if one not in present.columns]
            body = (
                f"SELECT {columns_sql([*present.columns, *added])} FROM "
                f"({self._sql.view(wider, suffix)}) AS versions"
            )
        self._session.run(self._sql.create_view(table, suffix, body))

    def positions(self) -> dict[str, Position]:
        return self._warehouse._read_positions(self._session)

    def clear(self, table: Table) -> None:
        for name, column in list(self._foreign_keys):
            references = {
                (one.name, key)
                for one in self._warehouse.tables
                for key, parent in one.foreign_keys
                if parent == table.name
            }
            if name == table.name or (name, column) in references:
                self._drop_foreign_key(name, column)
        self._session.run(f"TRUNCATE {self._sql.relation(table.name)}")

    def take_in(self, incoming: Incoming) -> int:
        incoming.source.create_view(
            self._duck, ["incoming"], incoming.handle, batches=incoming.batches, temporary=True
        )
        table, source = incoming.table, incoming.source
        # COPY sends times as microseconds, the only form available.
        values = ", ".join(
            f"epoch_us(CAST({quote(one.name)} AS TIME)) AS {quote(one.name)}"
            if isinstance(one.type, Time)
            else quote(one.name)
            for one in source.columns
        )
        rows = _read(self._duck, f"SELECT {values} FROM incoming")
        if table.kind == "fact":
            if incoming.is_first:
                self._drop_keys(table)
            return self._session.copy((self._warehouse.star_schema, table.name), rows)
        staging, names = quote("pg_temp", _staging(table.name)), [one.name for one in source.columns]
        self._session.run(
            f"CREATE TEMPORARY TABLE {quote(_staging(table.name))} (LIKE {self._sql.relation(table.name)}) "
            "ON COMMIT DROP"
        )
        self._session.copy(("pg_temp", _staging(table.name)), rows)
        return self._session.run(
            self._sql.insert(table, f"SELECT {columns_sql(names)} FROM {staging}", upsert=True)
        )

    def record(self, incoming: Incoming, rows_written: int) -> None:
        # Uses the current time, not the transaction's start, which may precede the end of the load that it
        # waited for.
        self._session.run(self._sql.record(incoming, rows_written, "clock_timestamp()"))

    def count(self, table: Table) -> int:
        [row] = self._session.rows(self._sql.count(table))
        return int(row["row_count"])

    def missing_parents(self, table: Table, after: int) -> dict[str, list[str]]:
        """See `LoadSession`. The foreign keys themselves are the check; missing ones are declared first."""
        parents = {one.name: one for one in self._warehouse.tables}
        for column, name in table.foreign_keys:
            if missing := self._missing_parents(table, column, parents[name], after):
                return {column: missing}
        return {}

    def _missing_parents(self, table: Table, column: str, parent: Table, after: int) -> list[str]:
        try:
            with self._session.attempt():
                if (table.name, column) in self._foreign_keys:
                    constraint = quote(self._warehouse.star_schema, self._foreign_keys[table.name, column])
                    self._session.run(f"SET CONSTRAINTS {constraint} IMMEDIATE")
                else:
                    self._add_foreign_key(table, column, parent)
        except _ServerError as error:
            if error.sqlstate != _FOREIGN_KEY_VIOLATION:
                raise
            for condition in (f"AND new._batch > {after:d}", ""):
                missing = self._session.rows(
                    f"SELECT DISTINCT new.{quote(column)} AS missing FROM {self._sql.relation(table.name)} "
                    f"AS new WHERE new.{quote(column)} IS NOT NULL {condition} AND NOT EXISTS ("
                    f"SELECT FROM {self._sql.relation(parent.name)} AS parent WHERE "
                    f"parent.{columns_sql(parent.primary_key)} = new.{quote(column)}) "
                    "ORDER BY missing LIMIT 3"
                )
                if missing:
                    return [str(row["missing"]) for row in missing]
            raise
        return []

    def add_missing_keys(self) -> None:
        """Declare the keys that are still missing after all rows are written."""
        for table in self._tables.values():
            self._add_primary_key(table)
            for column, parent in table.foreign_keys:
                is_due = (table.name, column) not in self._foreign_keys and parent in self._tables
                if is_due and self._has(table, column):
                    self._add_foreign_key(table, column, self._tables[parent])

    def _has(self, table: Table, column: str) -> bool:
        found = self._found.relations.get(table.name)
        return found is None or column in found.columns or table.name in self._widened

    def _drop_keys(self, table: Table) -> None:
        for column, _ in table.foreign_keys:
            if (table.name, column) in self._foreign_keys:
                self._drop_foreign_key(table.name, column)
        if name := self._primary_keys.pop(table.name, ""):
            self._session.run(f"ALTER TABLE {self._sql.relation(table.name)} DROP CONSTRAINT {quote(name)}")

    def _drop_foreign_key(self, table: str, column: str) -> None:
        name = self._foreign_keys.pop((table, column))
        self._session.run(f"ALTER TABLE {self._sql.relation(table)} DROP CONSTRAINT {quote(name)}")

    def _add_primary_key(self, table: Table) -> None:
        if not self._primary_keys.get(table.name):
            name = f"{table.name}_key"
            self._session.run(
                f"ALTER TABLE {self._sql.relation(table.name)} ADD CONSTRAINT {quote(name)} "
                f"PRIMARY KEY ({columns_sql(table.primary_key)})"
            )
            self._primary_keys[table.name] = name

    def _add_foreign_key(self, table: Table, column: str, parent: Table) -> None:
        name = f"{table.name}_{column}"
        name = name if len(name) <= _LONGEST_NAME else f"{name[:50]}_{zlib.crc32(name.encode()):08x}"
        # Deferred, so that all missing parents can be reported.
        self._session.run(
            f"ALTER TABLE {self._sql.relation(table.name)} ADD CONSTRAINT {quote(name)} "
            f"FOREIGN KEY ({quote(column)}) REFERENCES {self._sql.relation(parent.name)} "
            f"({columns_sql(parent.primary_key)}) DEFERRABLE INITIALLY DEFERRED"
        )
        self._foreign_keys[table.name, column] = name


def _columns_of_view(table: Table, suffix: str) -> set[str]:
    names = {column.name for column in columns_of(table)}
    return names | ({"valid_from", "valid_to", "change"} if suffix == "history" else set())


def _read(duck: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pa.RecordBatch]:
    relation: Any = duck.sql(sql)
    yield from relation.to_arrow_reader(_ROWS_PER_BATCH)
