"""PostgreSQL as a warehouse: one session, one transaction and one advisory lock for each load.

DuckDB reads the rows from the lake's files, and ADBC writes them as binary COPY: rows of a fact directly into
its table, rows of a dimension into a temporary table that one statement then merges. All keys are declared as
constraints. A fact that is filled for the first time gets its keys after its rows, which is many times faster
than row by row; afterwards the server checks foreign keys as rows arrive, before the transaction ends.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import QueryTimeout, WarehouseError
from platform_assets.lake.duck import SqlEngine
from platform_assets.model.dialects import POSTGRES, columns_sql, literal, quote
from platform_assets.model.star_model import columns_of
from platform_assets.model.table import Column, Table, Text, Time
from platform_assets.model.totesys.star import TABLES
from platform_assets.source.session import SET_PATH, WRITING_SETTINGS, SharedAdbc
from platform_assets.warehouse.interface import STAR_SCHEMA, BoundSql, Load, TableStatus, bound
from platform_assets.warehouse.loading import (
    Incoming,
    LoadSession,
    Position,
    Target,
    lacking_columns,
    load_star,
    retry_load,
)
from platform_assets.warehouse.postgres_catalogue import (
    LOADS,
    ExistingSchema,
    Grants,
    read_schema,
    refuse_load,
    refuse_write,
)
from platform_assets.warehouse.postgres_columns import declared_type, outgoing
from platform_assets.warehouse.postgres_session import (
    FOREIGN_KEY_VIOLATION,
    MISSING_OBJECTS,
    TIMEOUT,
    LoadConflict,
    PostgresSession,
    ServerError,
    open_session,
    warehouse_name,
)
from platform_assets.warehouse.sql import (
    VIEWS,
    StarSql,
    format_of,
    positions_of,
    refuse_schemas_of_the_platform,
    select_relation,
    statuses,
)

if TYPE_CHECKING:
    import duckdb

    from platform_assets.lake.lake import Lake
    from platform_assets.source.connection import Connection

PLATFORM_SCHEMA = "platform"
"""Schema that holds the records of loads, unless it is configured otherwise."""

_ROWS_PER_BATCH = 16_384
_NOW = "clock_timestamp()"
_LONGEST_NAME = 63


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
    _adbc: SharedAdbc = field(default_factory=SharedAdbc, init=False, repr=False, compare=False)

    def load(self, lake: Lake, tables: Sequence[Table], again: Collection[str] = ()) -> dict[str, Load]:
        """See `Warehouse.load`."""
        connection = self.connect()

        def positions() -> dict[str, Position]:
            # Missing read privileges are reported when the transaction begins, with all other missing ones.
            return self._positions(connection, refuse=False)

        target = Target(
            name=warehouse_name(connection),
            positions=positions,
            status=self.status,
            session=lambda _: self._session(connection),
            start_afresh=f"Configure another database or other schemas, or drop the schemas "
            f"{self.star_schema} and {self.platform_schema} to have them loaded again in full.",
            tables=self.tables,
            lacking=lambda: self._lacking(connection),
        )
        return retry_load(lambda: load_star(lake, tables, target, again), positions, (LoadConflict,), 0)

    @contextlib.contextmanager
    def query(self, sql: str | BoundSql, *, timeout: float | None = None) -> Iterator[pa.RecordBatchReader]:
        """See `Warehouse.query`.

        A numeric without declared precision, such as a sum, is returned as text with every digit.
        """
        query = bound(sql)
        # The newline ends a trailing comment: the driver wraps the query in brackets.
        text = query.text(lambda number: f"${number}").rstrip("; \t\r\n") + "\n"
        with self._transaction(
            self.connect(), "run the query", read_only=True, any_types=True, timeout=timeout
        ) as session:
            try:
                with session.stream(text, list(query.values.values())) as rows:
                    yield rows
            except ServerError as error:
                if error.sqlstate == TIMEOUT and timeout is not None:
                    raise QueryTimeout(timeout) from error
                if error.sqlstate in MISSING_OBJECTS and not self._positions(session.connection):
                    raise WarehouseError(
                        f"{warehouse_name(session.connection)} has no tables yet: run totesys_to_warehouse "
                        f"to load it. {error}"
                    ) from error
                raise

    def read(
        self, name: Sequence[str], columns: Sequence[str] | None = None
    ) -> contextlib.AbstractContextManager[pa.RecordBatchReader]:
        """See `Warehouse.read`."""
        return self.query(select_relation(POSTGRES, name, columns))

    def write(self, name: Sequence[str], rows: pa.RecordBatchReader) -> int:
        """See `Warehouse.write`."""
        schema, table = name
        refuse_schemas_of_the_platform(schema, (self.star_schema, self.platform_schema), folds=False)
        connection, full_name = self.connect(), f"{schema}.{table}"
        _refuse_names(full_name, name, rows.schema.names)
        columns = {field.name: declared_type(full_name, field) for field in rows.schema}
        declared = ", ".join(f"{quote(column)} {type_}" for column, type_ in columns.items())
        staging, attempt = _staging(table), f"write {full_name}"
        with self._transaction(connection, attempt) as session:
            session.lock(full_name)
            found = read_schema(session, schema)
            if not found.exists:
                # Other sessions may be about to create the schema for other tables.
                session.lock(schema)
                found = read_schema(session, schema)
            refuse_write(session, attempt, found, table)
            if not found.exists:
                session.run(f"CREATE SCHEMA {quote(schema)}")
            present = found.relations.get(table)
            if present is None:
                session.run(f"CREATE TABLE {quote(schema, table)} ({declared})")
                return session.copy((schema, table), outgoing(rows))
            if not present.is_table:
                raise WarehouseError(
                    f"Table {full_name} cannot be written: a view or another object has this name. Choose "
                    "another name, or drop that object."
                )
            # Into a separate table, so that the table can be read until its new rows are complete.
            session.run(f"CREATE TEMPORARY TABLE {quote(staging)} ({declared}) ON COMMIT DROP")
            session.copy(("pg_temp", staging), outgoing(rows))
            if present.columns == columns:
                session.run(f"TRUNCATE {quote(schema, table)}")  # keeps its grants and dependent objects
            else:
                session.run(f"DROP TABLE {quote(schema, table)}")
                session.run(f"CREATE TABLE {quote(schema, table)} ({declared})")
            return session.run(
                f"INSERT INTO {quote(schema, table)} SELECT * FROM {quote('pg_temp', staging)}"
            )

    def sample(self, tables: Sequence[Table], limit: int) -> dict[str, list[dict[str, Any]]]:
        """See `Warehouse.sample`."""
        rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in tables}
        with self._transaction(self.connect(), "show a sample of its rows", read_only=True) as session:
            loaded = set(self._read_positions(session)) & set(
                read_schema(session, self.star_schema).relations
            )
            for table in tables:
                if table.name in loaded:
                    rows[table.name] = session.rows(self.sql.newest(table, limit))
        return rows

    def status(self) -> list[TableStatus]:
        """See `Warehouse.status`."""
        with self._transaction(self.connect(), "report its state", read_only=True) as session:
            positions = self._read_positions(session)
            existing = read_schema(session, self.star_schema).relations
            loaded = [table for table in self.tables if table.name in positions and table.name in existing]
            if not loaded:
                return []
            rows = session.rows(self.sql.status(loaded))
            return list(statuses(loaded, positions, (tuple(row.values()) for row in rows)))

    def batch_counts(self, table: Table) -> dict[int, int]:
        """See `Warehouse.batch_counts`."""
        attempt = f"count the rows of {table.name}"
        with self._transaction(self.connect(), attempt, read_only=True) as session:
            rows = session.rows(self.sql.batch_counts(table))
        return {int(row["_batch"]): int(row["row_count"]) for row in rows}

    def stored_format(self) -> int | None:
        """See `Warehouse.stored_format`."""
        with self._transaction(self.connect(), "report its format", read_only=True) as session:
            if LOADS not in read_schema(session, self.platform_schema).relations:
                return None
            return format_of([tuple(row.values()) for row in session.rows(self.sql.stored_format())])

    def store_format(self, version: int) -> None:
        """See `Warehouse.store_format`."""
        with self._transaction(self.connect(), "store its format version") as session:
            for statement in self.sql.store_format(version, _NOW):
                session.run(statement)

    @property
    def sql(self) -> StarSql:
        """The statements that all engines share."""
        return StarSql(POSTGRES, (self.star_schema,), (self.platform_schema,))

    def _positions(self, connection: Connection, *, refuse: bool = True) -> dict[str, Position]:
        with self._transaction(connection, "report its loads", read_only=True) as session:
            return self._read_positions(session, refuse=refuse)

    def _read_positions(self, session: PostgresSession, *, refuse: bool = True) -> dict[str, Position]:
        found = session.rows(
            "SELECT has_schema_privilege(n.oid, 'USAGE') AS usage, has_table_privilege(c.oid, 'SELECT') "
            "AS selection FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n "
            f"ON n.oid = c.relnamespace WHERE n.nspname = {literal(self.platform_schema)} "
            f"AND c.relname = {literal(LOADS)}"
        )
        if not found:
            return {}
        grants = Grants(session, "read the record of loads")
        [may] = found
        grants.need({"USAGE": may["usage"]}, f"SCHEMA {quote(self.platform_schema)}", "USAGE")
        grants.need({"SELECT": may["selection"]}, f"TABLE {self.sql.loads}", "SELECT")
        if not refuse and not grants.is_complete:
            return {}
        grants.refuse()
        return positions_of(tuple(row.values()) for row in session.rows(self.sql.positions()))

    @contextlib.contextmanager
    def _session(self, connection: Connection) -> Iterator[LoadSession]:
        attempt = "load the star schema"
        with self._transaction(connection, attempt) as session, self.engine.connect() as duck:
            session.lock(f"{self.platform_schema} {self.star_schema}")
            if not read_schema(session, self.platform_schema).exists:
                # Warehouses with other star schemas may be about to create the schema.
                session.lock(self.platform_schema)
            records = read_schema(session, self.platform_schema)
            found = read_schema(session, self.star_schema)
            refuse_load(session, attempt, records, found, self.tables)
            loading = _Loading(self, session, duck, records, found)
            yield loading
            loading.add_missing_keys()

    def _lacking(self, connection: Connection) -> dict[str, set[str]]:
        with self._transaction(connection, "list its tables", read_only=True) as session:
            return lacking_columns(self.tables, read_schema(session, self.star_schema).columns)

    def _supersede(self, session: PostgresSession, records: ExistingSchema, names: Set[str]) -> None:
        """Mark the load records of tables whose loaded rows are gone as superseded."""
        if not names:
            return
        grants = Grants(session, f"load {', '.join(sorted(names))} again")
        if LOADS in records.relations:
            grants.need(records.relations[LOADS].may, f"TABLE {self.sql.loads}", "UPDATE")
        grants.refuse()
        session.run(self.sql.supersede(names))

    def _create_records(self, session: PostgresSession, found: ExistingSchema) -> None:
        if not found.exists:
            session.run(f"CREATE SCHEMA {quote(self.platform_schema)}")
        if LOADS not in found.relations:
            session.run(self.sql.create_loads())
            session.run(self.sql.first_format(_NOW))

    @contextlib.contextmanager
    def _transaction(
        self,
        connection: Connection,
        attempt: str,
        *,
        read_only: bool = False,
        any_types: bool = False,
        timeout: float | None = None,
    ) -> Iterator[PostgresSession]:
        """Open a session and a transaction, which is committed at the end or rolled back on an error.

        Args:
            connection: The database and the role.
            attempt: The operation, worded to follow "could not" in messages.
            read_only: The statements only read, all from one snapshot.
            any_types: Results may have types that users create at any time.
            timeout: Seconds that a statement may take; None for `statement_timeout`.
        """
        with open_session(connection, attempt, None if any_types else self._adbc) as session:
            settings = {
                **WRITING_SETTINGS,
                "statement_timeout": str(
                    round((self.statement_timeout if timeout is None else timeout) * 1000)
                ),
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


def _refuse_names(table: str, parts: Sequence[str], columns: Sequence[str]) -> None:
    """Reject a user's table with a name that PostgreSQL cannot have, or with duplicate column names."""
    for name in (*parts, *columns):
        size = len(name.encode())
        if not 0 < size <= _LONGEST_NAME or "\0" in name:
            raise WarehouseError(
                f"Table {table} cannot be written: PostgreSQL's names have 1 to {_LONGEST_NAME} bytes and no "
                f"NUL, and {name!r} has {size} bytes. Choose another name."
            )
    if len(set(columns)) < len(columns):
        raise WarehouseError(
            f"Table {table} cannot be written: it has duplicate column names. Rename the columns."
        )


def _staging(table: str) -> str:
    return f"incoming_{zlib.crc32(table.encode()):08x}"


class _Loading:
    """Implementation of `LoadSession` for PostgreSQL, with the steps before and after it."""

    def __init__(
        self,
        warehouse: PostgresWarehouse,
        session: PostgresSession,
        duck: duckdb.DuckDBPyConnection,
        records: ExistingSchema,
        found: ExistingSchema,
    ) -> None:
        self._warehouse = warehouse
        self._sql = warehouse.sql
        self._tables: dict[str, Table] = {}
        self._session = session
        self._duck = duck
        self._records = records
        self._found = found
        self._widened: Set[str] = frozenset()
        self._primary_keys = {name: relation.primary_key for name, relation in found.relations.items()}
        self._foreign_keys = {
            (name, column): constraint
            for name, relation in found.relations.items()
            for column, constraint in relation.foreign_keys.items()
        }

    def lacking(self) -> dict[str, set[str]]:
        return lacking_columns(self._warehouse.tables, self._found.columns)

    def prepare(self, filled: Sequence[Incoming], dropped: Set[str], superseded: Set[str]) -> None:
        """See `LoadSession`. Facts that are filled for the first time get their keys after their rows.

        Only tables that are filled get their missing columns: if a user dropped a column, all rows of its
        table have to be loaded again.
        """
        self._warehouse._create_records(self._session, self._records)
        self._warehouse._supersede(self._session, self._records, superseded)
        if not self._found.exists:
            self._session.run(f"CREATE SCHEMA {quote(self._warehouse.star_schema)}")
        self._tables = {table.name: table for table in self._warehouse.tables if table.name not in dropped}
        filled_first = {fill.table.name for fill in filled if fill.is_first}
        widened = {fill.table.name for fill in filled}
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
            lost = [column for column in present.columns if column not in _columns_of_view(table, suffix)]
            wider = replace(table, columns=(*table.columns, *(Column(name, Text()) for name in lost)))
            added = [column_name for column_name in table.column_names if column_name not in present.columns]
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
                (known_table.name, key)
                for known_table in self._warehouse.tables
                for key, parent in known_table.foreign_keys
                if parent == table.name
            }
            if name == table.name or (name, column) in references:
                self._drop_foreign_key(name, column)
        self._session.run(f"TRUNCATE {self._sql.relation(table.name)}")

    def write(self, incoming: Incoming) -> int:
        incoming.create_view(self._duck)
        table, source = incoming.table, incoming.source
        # COPY sends times as microseconds, the only form available.
        values = ", ".join(
            f"epoch_us(CAST({quote(column.name)} AS TIME)) AS {quote(column.name)}"
            if isinstance(column.type, Time)
            else quote(column.name)
            for column in source.columns
        )
        rows = _read(self._duck, f"SELECT {values} FROM incoming")
        if table.kind == "fact":
            if incoming.is_first:
                self._drop_keys(table)
            return self._session.copy((self._warehouse.star_schema, table.name), rows)
        staging, names = quote("pg_temp", _staging(table.name)), [column.name for column in source.columns]
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
        self._session.run(self._sql.record(incoming, rows_written, _NOW))

    def count(self, table: Table) -> int:
        [row] = self._session.rows(self._sql.count(table))
        return int(row["row_count"])

    def missing_parents(self, table: Table, after: int) -> dict[str, list[str]]:
        """See `LoadSession`. The foreign keys themselves are the check; missing ones are declared first."""
        parents = {table.name: table for table in self._warehouse.tables}
        for column, name in table.foreign_keys:
            if missing := self._missing_parents(table, column, parents[name], after):
                return {column: missing}
        return {}

    def _missing_parents(self, table: Table, column: str, parent: Table, after: int) -> list[str]:
        try:
            with self._session.savepoint():
                if (table.name, column) in self._foreign_keys:
                    constraint = quote(self._warehouse.star_schema, self._foreign_keys[table.name, column])
                    self._session.run(f"SET CONSTRAINTS {constraint} IMMEDIATE")
                else:
                    self._add_foreign_key(table, column, parent)
        except ServerError as error:
            if error.sqlstate != FOREIGN_KEY_VIOLATION:
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
