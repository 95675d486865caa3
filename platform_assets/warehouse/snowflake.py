"""The warehouse in Snowflake: a schema for the star tables, and a schema for the platform's own tables.

The lake's own Parquet files are read, through a stage, into temporary tables; one transaction then writes
from these tables. Statements that Snowflake commits by itself (all DDL) run before it. Names keep the model's
case: in SQL they are quoted.
"""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import ParquetError, QueryTimeout, WarehouseBusy, WarehouseError
from platform_assets.lake.arrow import python_rows
from platform_assets.lake.duck import SqlEngine
from platform_assets.model.dialects import SNOWFLAKE
from platform_assets.model.star_model import columns_of
from platform_assets.model.table import LogicalType, Table, Text, Time
from platform_assets.model.totesys.star import TABLES
from platform_assets.parquet.footers import declared_columns
from platform_assets.parquet.types import ParquetType
from platform_assets.snowflake.access import NO_SUCH_OBJECT, Grant, SnowflakeAccess, WarehouseHeld
from platform_assets.snowflake.identifiers import LONGEST_NAME, literal, path, quoted
from platform_assets.snowflake.types import expression, snowflake_type
from platform_assets.warehouse.interface import STAR_SCHEMA, BoundSql, Load, TableStatus, bound
from platform_assets.warehouse.loading import (
    Incoming,
    LoadSession,
    Position,
    Target,
    load_star,
    retry_load,
)
from platform_assets.warehouse.sql import (
    StarSql,
    first_missing,
    format_of,
    positions_of,
    refuse_schemas_of_the_platform,
    select_relation,
    statuses,
)

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import ResultMetadata, SnowflakeCursor

    from platform_assets.lake.lake import Lake

_FILE_FORMAT = (
    "FILE_FORMAT = (TYPE = PARQUET BINARY_AS_TEXT = FALSE USE_LOGICAL_TYPE = TRUE "
    "USE_VECTORIZED_SCANNER = TRUE NULL_IF = ())"
)
_FILES_PER_COPY = 1000  # most files that Snowflake accepts by name
# A chunk of a result may be large; readers get it in slices.
_ROWS_PER_BATCH = 65_536
_NULL_WHERE_NOT_ALLOWED = 100072
_SYNTAX_ERROR = 1003
# Digits of a 64-bit integer, as the platform declares it.
_DIGITS_OF_INT64 = 19
# Snowflake's type codes of result columns.
_FIXED, _REAL, _DATE, _BINARY, _TIME, _BOOLEAN = 0, 1, 3, 11, 12, 13
_INSTANTS, _WALL_CLOCK = frozenset({6, 7}), frozenset({4, 8})


@dataclass(frozen=True)
class SnowflakeStage:
    """External location from which Snowflake reads the lake's files.

    Args:
        url: Snowflake's URL of the lake's processed zone: `s3://...` or `gcs://...`.
        storage_integration: Name of the storage integration with access to it.
    """

    url: str
    storage_integration: str


@dataclass(frozen=True)
class SnowflakeWarehouse:
    """A warehouse in a Snowflake database.

    Args:
        access: The account and the credentials.
        engine: Memory and threads for reading the lake, if its files cannot be used directly.
        star_schema: Schema of the star tables and their views.
        platform_schema: Schema of the record of loads, and of temporary tables.
        stage: External location from which Snowflake reads the lake; without it, files are uploaded to a
            temporary stage.
        wait: Longest wait for another load, in seconds. Snowflake keeps the lock of a killed loader for five
            minutes.
        tables: The star schema, as the model declares it.
    """

    access: SnowflakeAccess
    engine: SqlEngine
    star_schema: str = STAR_SCHEMA
    platform_schema: str = "platform"
    stage: SnowflakeStage | None = None
    wait: float = 600
    tables: Sequence[Table] = TABLES

    def load(self, lake: Lake, tables: Sequence[Table], again: Collection[str] = ()) -> dict[str, Load]:
        """See `Warehouse.load`."""

        def load() -> dict[str, Load]:
            with self._connect(LOCK_TIMEOUT=max(1, int(self.wait))) as warehouse:
                return load_star(lake, tables, warehouse.target(lake), again)

        return retry_load(load, self._positions, (WarehouseHeld,), self.wait)

    def _positions(self) -> dict[str, Position]:
        with self._connect() as warehouse:
            return warehouse.positions()

    @contextlib.contextmanager
    def query(self, sql: str | BoundSql, *, timeout: float | None = None) -> Iterator[pa.RecordBatchReader]:
        """See `Warehouse.query`. Only a SELECT can be run; its result is fetched in chunks while it is read.

        Numbers without decimal places of up to 19 digits are 64-bit integers, others decimals; instants are
        UTC; semi-structured values are JSON text.
        """
        with self._connect() as warehouse:
            yield warehouse.stream(bound(sql), timeout)

    def read(
        self, name: Sequence[str], columns: Sequence[str] | None = None
    ) -> contextlib.AbstractContextManager[pa.RecordBatchReader]:
        """See `Warehouse.read`."""
        return self.query(select_relation(SNOWFLAKE, name, columns))

    def write(self, name: Sequence[str], rows: pa.RecordBatchReader) -> int:
        """See `Warehouse.write`. A single statement replaces the table, which keeps its grants."""
        schema, table = name
        refuse_schemas_of_the_platform(schema, (self.star_schema, self.platform_schema))
        attempt = f"write {schema}.{table}"
        types = _written_types(rows.schema, (schema, table), attempt)
        # Columns have numbers in the file and the staging table, because COPY does not accept every name as a
        # path.
        numbered = [f"C{number}" for number in range(len(types))]
        with self._scratch() as folder, self._connect() as warehouse:
            _write_parquet(folder / "rows.parquet", rows, numbered, attempt)
            if not warehouse.schemas([schema]):
                warehouse.create_schema(schema)
            warehouse.use(schema)
            stage = warehouse.create_stage(schema)
            staged = f"written_{uuid.uuid4().hex}"
            typed = [(number, target) for number, (_, target) in zip(numbered, types, strict=True)]
            grants = [warehouse.grant("CREATE TABLE", "SCHEMA", schema)]
            warehouse.run(_temporary_table(staged, typed), attempt, grants)
            warehouse.put(folder, stage, "rows")
            selected = ", ".join(
                expression(number, type_, target)
                for number, (type_, target) in zip(numbered, types, strict=True)
            )
            warehouse.run(_copy(staged, numbered, selected, f"@{stage}/rows/"), attempt)
            declared = ", ".join(
                f"{quoted(name)} {target}" for name, (_, target) in zip(rows.schema.names, types, strict=True)
            )
            warehouse.run(
                f"CREATE OR REPLACE TABLE {quoted(schema, table)} ({declared}) COPY GRANTS AS "
                f"SELECT {SNOWFLAKE.columns(numbered)} FROM {quoted(staged)}",
                attempt,
                [*grants, warehouse.grant("OWNERSHIP", "TABLE", schema, table)],
            )
            [(count,)] = warehouse.rows(f"SELECT COUNT(*) FROM {quoted(staged)}", attempt)
            return int(count)

    def sample(self, tables: Sequence[Table], limit: int) -> dict[str, list[dict[str, Any]]]:
        """See `Warehouse.sample`."""
        samples: dict[str, list[dict[str, Any]]] = {table.name: [] for table in tables}
        with self._connect() as warehouse:
            loaded = warehouse.positions()
            for table in tables:
                if table.name in loaded:
                    rows = warehouse.stream(bound(warehouse.sql.newest(table, limit)))
                    samples[table.name] = python_rows(rows.read_all())
        return samples

    def stored_format(self) -> int | None:
        """See `Warehouse.stored_format`."""
        with self._connect() as warehouse:
            try:
                return format_of(warehouse.rows(warehouse.sql.stored_format(), "read its format version"))
            except WarehouseError as error:
                if getattr(error.__cause__, "errno", None) in NO_SUCH_OBJECT:
                    return None
                raise

    def store_format(self, version: int) -> None:
        """See `Warehouse.store_format`."""
        with self._connect() as warehouse:
            for statement in warehouse.sql.store_format(version):
                warehouse.run(statement, "store its format version")

    def status(self) -> list[TableStatus]:
        """See `Warehouse.status`."""
        with self._connect() as warehouse:
            return warehouse.status()

    def batch_counts(self, table: Table) -> dict[int, int]:
        """See `Warehouse.batch_counts`."""
        with self._connect() as warehouse:
            rows = warehouse.rows(warehouse.sql.batch_counts(table), f"count the rows of {table.name}")
        return {int(batch): int(count) for batch, count in rows}

    @contextlib.contextmanager
    def _connect(self, **session_parameters: Any) -> Iterator[_Connected]:
        with self.access.connect(**session_parameters) as connection:
            yield _Connected(self, connection)

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        # Not in the engine's configured folder: PUT treats some characters of a path as a pattern.
        with tempfile.TemporaryDirectory(prefix="platform-assets-snowflake-") as folder:
            yield Path(folder)


@dataclass(frozen=True)
class _Connected:
    """A warehouse with an open session."""

    warehouse: SnowflakeWarehouse
    connection: SnowflakeConnection

    def target(self, lake: Lake) -> Target:
        own = self.warehouse
        place = f"{self.connection.database}.{own.star_schema}"
        return Target(
            name=f"The Snowflake warehouse {place}",
            positions=self.positions,
            status=self.status,
            session=lambda pending: self._session(lake, pending),
            start_afresh=f"Configure other schemas, or drop {own.star_schema} and {own.platform_schema} to "
            "have them loaded again in full.",
            tables=own.tables,
        )

    @property
    def sql(self) -> StarSql:
        """The statements that all engines share."""
        return StarSql(SNOWFLAKE, (self.warehouse.star_schema,), (self.warehouse.platform_schema,))

    def grant(self, privileges: str, kind: str, *name: str) -> Grant:
        """Create a required grant on an object in the database, or on the database itself."""
        return Grant(privileges, f"{kind} {quoted(self.connection.database or '', *name)}")

    @contextlib.contextmanager
    def executed(self, sql: str, attempt: str, grants: Sequence[Grant] = ()) -> Iterator[SnowflakeCursor]:
        """Run a statement, and close its result at the end."""
        with self.access.translated(attempt, self.connection, grants), self.connection.cursor() as cursor:
            cursor.execute(sql)
            yield cursor

    def run(self, sql: str, attempt: str, grants: Sequence[Grant] = ()) -> int:
        """Run a statement; return the number of rows that it changed."""
        with self.executed(sql, attempt, grants) as cursor:
            return int(cursor.rowcount or 0)

    def rows(self, sql: str, attempt: str, grants: Sequence[Grant] = ()) -> list[tuple[Any, ...]]:
        """Return a small result."""
        with self.executed(sql, attempt, grants) as cursor:
            return [tuple(row) for row in cursor.fetchall()]

    def compile(
        self, sql: str, attempt: str, grants: Sequence[Grant] = (), values: Sequence[object] = ()
    ) -> None:
        """Have Snowflake compile a statement and check its privileges without running it."""
        with self.access.translated(attempt, self.connection, grants), self.connection.cursor() as cursor:
            cursor.describe(sql, values or None)

    @property
    def access(self) -> SnowflakeAccess:
        return self.warehouse.access

    def stream(self, query: BoundSql, timeout: float | None = None) -> pa.RecordBatchReader:
        """Run a SELECT; its result lives as long as the session."""
        attempt = "run the query"
        statement = query.text(lambda number: "?").strip().rstrip(";")
        values = [query.values[name] for name in query.names]
        try:
            # In brackets only a SELECT is valid: Snowflake rejects everything else before running it.
            self.compile(f"SELECT 1 FROM (\n{statement}\n)", attempt, values=values)
        except WarehouseError as error:
            number = getattr(error.__cause__, "errno", None)
            if number == _SYNTAX_ERROR:
                raise WarehouseError(
                    f"{error} Only SELECT statements are allowed here; the warehouse's assets write its "
                    "tables."
                ) from error
            if number in NO_SUCH_OBJECT and not self.positions():
                raise WarehouseError(
                    f"{error} Nothing has been loaded into this warehouse yet: run totesys_to_warehouse to "
                    "load it."
                ) from error
            raise
        from snowflake.connector.errors import ProgrammingError

        cursor = self.connection.cursor()
        with self.access.translated(attempt, self.connection):
            try:
                cursor.execute(statement, values or None, timeout=max(1, round(timeout)) if timeout else None)
            except ProgrammingError as error:
                # The connector cancels a query that takes too long, with a message of its own.
                if timeout is None or "due to a timeout" not in str(error):
                    raise
                raise QueryTimeout(timeout) from error
            schema = pa.schema([pa.field(column.name, _arrow_type(column)) for column in cursor.description])
            tables = cursor.fetch_arrow_batches(force_microsecond_precision=True)

        def batches() -> Iterator[pa.RecordBatch]:
            while True:
                with self.access.translated("read the result of the query", self.connection):
                    table = next(tables, None)
                if table is None:
                    return
                yield from _as_declared(table, schema).to_batches(_ROWS_PER_BATCH)

        return pa.RecordBatchReader.from_batches(schema, batches())

    def positions(self) -> dict[str, Position]:
        """Return each table's load position."""
        try:
            return positions_of(
                self.rows(self.sql.positions(), "read how far the star schema has been loaded")
            )
        except WarehouseError as error:
            # If the table exists but cannot be read, creating it fails with the reason.
            if getattr(error.__cause__, "errno", None) in NO_SUCH_OBJECT:
                return {}
            raise

    def status(self) -> list[TableStatus]:
        positions = self.positions()
        loaded = [table for table in self.warehouse.tables if table.name in positions]
        if not loaded:
            return []
        grants = [self.grant("SELECT", "ALL TABLES IN SCHEMA", self.warehouse.star_schema)]
        attempt = "count the rows of the star schema"
        try:
            rows = self.rows(self.sql.status(loaded), attempt, grants)
        except WarehouseError as error:
            if getattr(error.__cause__, "errno", None) not in NO_SUCH_OBJECT:
                raise
            existing = self.star_tables()
            loaded = [table for table in loaded if table.name in existing]
            rows = self.rows(self.sql.status(loaded), attempt, grants) if loaded else []
        return list(statuses(loaded, positions, rows))

    def star_tables(self) -> set[str]:
        """Return the names of the tables in the star schema; somebody may have dropped some."""
        found = self.rows(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = "
            f"{literal(self.warehouse.star_schema)}",
            "list the tables of the star schema",
        )
        return {name for (name,) in found}

    def use(self, schema: str) -> None:
        """Resolve unqualified names in a schema, as used for temporary tables."""
        self.run(
            f"USE SCHEMA {quoted(schema)}",
            f"use the schema {schema}",
            [self.grant("USAGE", "SCHEMA", schema)],
        )

    def schemas(self, names: Sequence[str]) -> set[str]:
        """Return those of these schemas that exist."""
        listed = ", ".join(literal(name) for name in names)
        found = self.rows(
            f"SELECT schema_name FROM information_schema.schemata WHERE schema_name IN ({listed})",
            "list the schemas",
        )
        return {name for (name,) in found}

    def create_schema(self, name: str) -> None:
        # Another session that creates it at the same moment has done the work.
        with contextlib.suppress(WarehouseHeld):
            self.run(
                f"CREATE SCHEMA IF NOT EXISTS {quoted(name)}",
                f"create the schema {name}",
                [self.grant("CREATE SCHEMA", "DATABASE")],
            )

    def create_stage(self, schema: str, external: SnowflakeStage | None = None) -> str:
        """Create a stage for this session, and return its name as SQL."""
        name = f"{quoted(schema)}.INCOMING_{uuid.uuid4().hex.upper()}"
        where, grants = "", [self.grant("CREATE STAGE", "SCHEMA", schema)]
        if external is not None:
            integration = external.storage_integration
            where = f" URL = {literal(_folder(external.url))} STORAGE_INTEGRATION = {integration}"
            grants.append(Grant("USAGE", f"INTEGRATION {integration}"))
        self.run(f"CREATE TEMPORARY STAGE {name}{where}", "create a stage for the load", grants)
        return name

    def put(self, folder: Path, stage: str, name: str) -> None:
        """Upload the files of a folder into a folder of a stage."""
        self.run(
            f"PUT {literal(f'file://{folder.as_posix()}/*')} @{stage}/{name}/ "
            "AUTO_COMPRESS = FALSE SOURCE_COMPRESSION = NONE OVERWRITE = TRUE",
            f"upload files for {name}",
        )

    @contextlib.contextmanager
    def _session(self, lake: Lake, pending: Sequence[Incoming]) -> Iterator[LoadSession]:
        existing = self._prepare()
        with self.warehouse._scratch() as folder:
            session = _Session(self, lake, folder, existing)
            session.stage(pending)
            is_committed = False
            self.run("BEGIN TRANSACTION", "begin a transaction")
            try:
                self._take_lock()
                yield session
                self.run("COMMIT", "commit the load")
                is_committed = True
            finally:
                if not is_committed:
                    # If the session is broken, Snowflake rolls back when it notices.
                    with contextlib.suppress(WarehouseError):
                        self.run("ROLLBACK", "undo the load")

    def _prepare(self) -> dict[str, dict[str, bool]]:
        """Create missing schemas, tables, columns, foreign keys and views.

        Returns:
            The columns of every star table, each with whether it may be NULL.
        """
        own, stars = self.warehouse.platform_schema, self.warehouse.star_schema
        for schema in sorted({own, stars} - self.schemas([own, stars])):
            self.create_schema(schema)
        existing: dict[tuple[str, str], dict[str, bool]] = {}
        for schema, table, name, nullable in self.rows(
            "SELECT table_schema, table_name, column_name, is_nullable FROM information_schema.columns "
            f"WHERE table_schema IN ({literal(own)}, {literal(stars)})",
            "list the tables",
        ):
            existing.setdefault((schema, table), {})[name] = nullable == "YES"
        statements = [] if {(own, "loads"), (own, "load_lock")} <= set(existing) else self._bookkeeping()
        present = {table: columns for (schema, table), columns in existing.items() if schema == stars}
        columns: dict[str, dict[str, bool]] = {}
        # A foreign key requires the referenced table.
        for table in sorted(self.warehouse.tables, key=lambda table: table.kind == "fact"):
            declared = {column.name: column.nullable for column in columns_of(table)}
            statements += self._table(table, present.get(table.name))
            statements += self.sql.missing_views(table, present)
            columns[table.name] = declared | present.get(table.name, {})
        statements += self._foreign_keys()
        grants = [
            self.grant("CREATE TABLE, CREATE VIEW, CREATE STAGE", "SCHEMA", schema) for schema in (own, stars)
        ]
        for statement in statements:
            self.run(statement, "create the star schema", grants)
        if (own, "loads") not in existing:
            self.run(self.sql.first_format(), "record the load", [self._may_record()])
        return columns

    def _may_record(self) -> Grant:
        return self.grant("SELECT, INSERT", "TABLE", self.warehouse.platform_schema, "loads")

    def _bookkeeping(self) -> list[str]:
        return [
            self.sql.create_loads(),
            f"CREATE TABLE IF NOT EXISTS {self.sql.lock} ({quoted('loads')} NUMBER(19, 0) NOT NULL)",
            self._lock_row(),
        ]

    def _lock_row(self) -> str:
        # Two rows, inserted by concurrent loaders, do no harm: both are locked.
        return f"INSERT INTO {self.sql.lock} SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM {self.sql.lock})"

    def _take_lock(self) -> None:
        """Wait for a concurrent load to commit; this transaction then sees its rows.

        Raises:
            WarehouseHeld: The lock row was missing, because the load that created the tables did not finish.
        """
        attempt = "lock the warehouse for a load"
        if not self.run(f"UPDATE {self.sql.lock} SET {quoted('loads')} = {quoted('loads')} + 1", attempt):
            self.run(self._lock_row(), attempt)
            self.run("COMMIT", attempt)
            raise WarehouseHeld(
                "The Snowflake warehouse was not loaded: its lock row was missing and has been recreated. "
                "The next attempt loads it."
            )

    def _table(self, table: Table, existing: Mapping[str, bool] | None) -> list[str]:
        """Return the DDL to create a table or add its missing columns, which are nullable for older rows."""
        relation = self.sql.relation(table.name)
        if existing is None:
            lines = [*self.sql.declarations(table), f"PRIMARY KEY ({SNOWFLAKE.columns(table.primary_key)})"]
            return [
                f"CREATE TABLE IF NOT EXISTS {relation} ({', '.join(lines)}) "
                f"COMMENT = {literal(table.description)}"
            ]
        clauses = (*self.sql.added(table, existing), *self.sql.relaxed(table, existing))
        return [f"ALTER TABLE {relation} {clause}" for clause in clauses]

    def _foreign_keys(self) -> list[str]:
        """Return the DDL of the missing foreign keys; Snowflake documents them but does not enforce them."""
        declared = {
            name
            for (name,) in self.rows(
                "SELECT constraint_name FROM information_schema.table_constraints WHERE constraint_type = "
                f"'FOREIGN KEY' AND table_schema = {literal(self.warehouse.star_schema)}",
                "list the foreign keys",
            )
        }
        statements = []
        keys = {table.name: table.primary_key for table in self.warehouse.tables}
        for table in self.warehouse.tables:
            for column, parent in table.foreign_keys:
                name = f"{table.name}_{column}_fkey"
                if name not in declared:
                    statements.append(
                        f"ALTER TABLE {self.sql.relation(table.name)} ADD CONSTRAINT {quoted(name)} "
                        f"FOREIGN KEY ({quoted(column)}) REFERENCES {self.sql.relation(parent)} "
                        f"({SNOWFLAKE.columns(keys[parent])})"
                    )
        return statements


@dataclass
class _Session(LoadSession):
    """Implementation of `LoadSession` for Snowflake."""

    connected: _Connected
    lake: Lake
    folder: Path
    columns: Mapping[str, Mapping[str, bool]]
    _staged: set[str] = field(default_factory=set)

    def stage(self, pending: Sequence[Incoming]) -> None:
        """Upload rows to Snowflake before the transaction, because the DDL for this would commit it."""
        connected = self.connected
        own = connected.warehouse.platform_schema
        connected.use(own)
        external = connected.warehouse.stage
        stage = connected.create_stage(own, external)
        grants = [connected.grant("CREATE TABLE", "SCHEMA", own)]
        for incoming in pending:
            typed = [(column.name, _staged_type(column.type)) for column in incoming.source.columns]
            sql = _temporary_table(_staged(incoming.table), typed)
            connected.run(sql, f"stage {incoming.table.name}", grants)
        self._verify_permissions(pending)
        for incoming in pending:
            files = self._copy_external if external is not None else self._copy_uploaded
            files(incoming, stage)
            self._staged.add(incoming.table.name)

    def _verify_permissions(self, pending: Sequence[Incoming]) -> None:
        """Reject a load before anything is uploaded if permissions to write it are missing."""
        connected = self.connected
        own, stars = connected.warehouse.platform_schema, connected.warehouse.star_schema
        connected.compile(
            f"UPDATE {connected.sql.lock} SET {quoted('loads')} = {quoted('loads')} + 1",
            "lock the warehouse for a load",
            [connected.grant("SELECT, UPDATE", "TABLE", own, "load_lock")],
        )
        for incoming in pending:
            name = incoming.table.name
            connected.compile(
                connected.sql.write_staged(incoming, quoted(_staged(incoming.table))),
                f"write {name}",
                [connected.grant("SELECT, INSERT, UPDATE, DELETE", "TABLE", stars, name)],
            )
        connected.compile(
            connected.sql.record(pending[0], 0),
            "record the load",
            [connected._may_record()],
        )

    def _copy_external(self, incoming: Incoming, stage: str) -> None:
        """Have Snowflake read the lake's files that may hold new rows from their external location."""
        zone = _folder(self.lake.processed)
        below = _folder(incoming.source.uri)
        if not below.startswith(zone):
            raise WarehouseError(
                f"Snowflake cannot read the table {incoming.source.uri}: the warehouse's stage covers {zone} "
                "only. Correct warehouse.snowflake.stage or lake.processed in the configuration."
            )
        files = list(incoming.files.items())
        for first in range(0, len(files), _FILES_PER_COPY):
            some = files[first : first + _FILES_PER_COPY]
            named = ", ".join(literal(name) for name, _ in some)
            place = f"@{stage}/{below.removeprefix(zone)}"
            self._copy(incoming, place, sum(rows for _, rows in some), f" FILES = ({named})")

    def _copy_uploaded(self, incoming: Incoming, stage: str) -> None:
        """Upload the lake's files that may hold new rows, unchanged if possible."""
        name = incoming.table.name
        folder = self.folder / name
        folder.mkdir()
        files = incoming.files
        if not files:
            return
        stored = {column.name for column in incoming.handle.schema().fields}
        if incoming.source.is_local and stored == {column.name for column in incoming.source.columns}:
            for number, file in enumerate(files):
                (folder / f"{number}.parquet").symlink_to(Path(incoming.source.uri, file).absolute())
            expected = sum(files.values())
        else:
            # Files on an object store, and files that differ in their columns.
            expected = incoming.write_parquet(self.connected.warehouse.engine, folder / "rows.parquet")
        if not expected:
            return
        self.connected.put(folder, stage, name)
        self._copy(incoming, f"@{stage}/{name}/", expected)

    def _copy(self, incoming: Incoming, location: str, expected: int, files: str = "") -> None:
        """Copy files into the staging table.

        Raises:
            WarehouseError: Snowflake rejects the copy, or did not load all rows of the files.
        """
        from platform_assets.snowflake.execute import copied

        columns = incoming.source.columns
        selected = ", ".join(f"{path(column.name)}::{_staged_type(column.type)}" for column in columns)
        name = incoming.table.name
        sql = _copy(_staged(incoming.table), [column.name for column in columns], selected, location, files)
        with self.connected.executed(sql, f"stage {name}") as cursor:
            loaded, _ = copied(cursor)
        if loaded != expected:
            raise WarehouseError(
                f"Snowflake staged {loaded:,} of {expected:,} rows of {name}: a file is missing or was "
                "skipped. The results of PUT and COPY are in Snowflake's query history; the next run tries "
                "again."
            )

    def positions(self) -> dict[str, Position]:
        return self.connected.positions()

    def prepare(self, filled: Sequence[Incoming], dropped: Set[str], superseded: Set[str]) -> None:
        """See `LoadSession`. Tables and columns are complete before the transaction."""
        if superseded:
            connected = self.connected
            grants = [connected.grant("UPDATE", "TABLE", connected.warehouse.platform_schema, "loads")]
            connected.run(connected.sql.supersede(superseded), "load tables again", grants)

    def clear(self, table: Table) -> None:
        self.connected.run(f"DELETE FROM {self.connected.sql.relation(table.name)}", f"clear {table.name}")

    def write(self, incoming: Incoming) -> int:
        table = incoming.table
        if table.name not in self._staged:
            raise WarehouseBusy(
                f"{table.name} was not loaded into Snowflake: another load changed its table at the same "
                "time. The next attempt loads the remaining rows."
            )
        try:
            write = self.connected.sql.write_staged(incoming, quoted(_staged(table)))
            return self.connected.run(write, f"write {table.name}")
        except WarehouseError as error:
            if getattr(error.__cause__, "errno", None) != _NULL_WHERE_NOT_ALLOWED:
                raise
            raise self._with_null_columns(incoming, error) from error

    def _with_null_columns(self, incoming: Incoming, error: WarehouseError) -> WarehouseError:
        """Extend an error about nulls by the columns concerned, which Snowflake does not name."""
        table = incoming.table
        self.connected.run("ROLLBACK", "undo the load")
        required = [
            column.name for column in columns_of(table) if not self.columns[table.name].get(column.name, True)
        ]
        counts = ", ".join(f"COUNT(*) - COUNT({quoted(name)})" for name in required)
        [found] = self.connected.rows(
            f"SELECT {counts} FROM {quoted(_staged(table))} WHERE {self.connected.sql.is_new(incoming)}",
            f"look for nulls in {table.name}",
        )
        missing = [f"{name} ({count:,})" for name, count in zip(required, found, strict=True) if count]
        if not missing:
            return error
        return WarehouseError(
            f"New rows of {table.name} cannot be loaded: columns that must not be NULL have NULLs, "
            f"{', '.join(missing)}. Correct the source tables, then materialize star/{table.name} again."
        )

    def record(self, incoming: Incoming, rows_written: int) -> None:
        self.connected.run(self.connected.sql.record(incoming, rows_written), "record the load")

    def count(self, table: Table) -> int:
        [(count,)] = self.connected.rows(self.connected.sql.count(table), f"count the rows of {table.name}")
        return int(count)

    def missing_parents(self, table: Table, after: int) -> dict[str, list[str]]:
        sql = self.connected.sql
        keys = {table.name: table.primary_key[0] for table in self.connected.warehouse.tables}
        query = sql.missing_parents(
            table, sql.relation(table.name), lambda name: (keys[name], sql.relation(name)), after
        )
        return first_missing(self.connected.rows(query, f"verify the foreign keys of {table.name}"))


def _staged_type(type_: LogicalType) -> str:
    """Return the Snowflake type of a logical type in the lake's files, where times are text."""
    return SNOWFLAKE.type_name(Text() if isinstance(type_, Time) else type_)


def _folder(uri: str) -> str:
    return f"{uri.rstrip('/')}/"


def _staged(table: Table) -> str:
    return f"staged_{table.name}"


def _temporary_table(name: str, columns: Sequence[tuple[str, str]]) -> str:
    declared = ", ".join(f"{quoted(column)} {type_}" for column, type_ in columns)
    return f"CREATE OR REPLACE TEMPORARY TABLE {quoted(name)} ({declared})"


def _copy(table: str, columns: Sequence[str], selected: str, location: str, files: str = "") -> str:
    return (
        f"COPY INTO {quoted(table)} ({SNOWFLAKE.columns(columns)}) "
        f"FROM (SELECT {selected} FROM {location}){files} {_FILE_FORMAT} ON_ERROR = ABORT_STATEMENT"
    )


def _written_types(schema: pa.Schema, name: tuple[str, str], attempt: str) -> list[tuple[ParquetType, str]]:
    """Return the Parquet and Snowflake types of every column of a user's table.

    Raises:
        WarehouseError: Snowflake cannot store such a table.
    """
    for text in (*name, *schema.names):
        if not 0 < len(text) <= LONGEST_NAME or "\0" in text:
            raise WarehouseError(
                f"Snowflake could not {attempt}: {text[:60]!r} is not a valid name. Choose a name with 1 to "
                f"{LONGEST_NAME} characters and no NUL."
            )
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise WarehouseError(
            f"Snowflake could not {attempt}: the rows have the column {twice[0]} twice. Rename one of them."
        )
    try:
        columns = list(declared_columns(schema))
    except (ParquetError, pa.ArrowException) as error:
        raise WarehouseError(f"Snowflake could not {attempt}: {error}") from error
    types = []
    for column, name_ in zip(columns, schema.names, strict=True):
        try:
            types.append((column.type, snowflake_type(column.type)))
        except ParquetError as error:
            # The error's advice names an option of the script, which is not available here.
            raise WarehouseError(
                f"Snowflake could not {attempt}: no type of Snowflake holds column {name_}, of type "
                f"{schema.field(name_).type}, without loss. Convert it to text, or to a type with fewer "
                "digits (a float, or a decimal of up to 38 digits and 37 decimal places)."
            ) from error
    return types


def _write_parquet(file: Path, rows: pa.RecordBatchReader, names: Sequence[str], attempt: str) -> None:
    import pyarrow.parquet as pq

    schema = pa.schema([column.with_name(name) for column, name in zip(rows.schema, names, strict=True)])
    try:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in rows:
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
    except (ValueError, pa.ArrowException) as error:
        raise WarehouseError(
            f"Snowflake could not {attempt}: the input stream failed: {error}. The table is unchanged; "
            "correct the rows and write again."
        ) from error


def _arrow_type(column: ResultMetadata) -> pa.DataType:
    """Return the Arrow type of a result column, the same for all chunks."""
    number = column.type_code
    if number == _FIXED:
        precision, scale = column.precision or 38, column.scale or 0
        return pa.int64() if not scale and precision <= _DIGITS_OF_INT64 else pa.decimal128(precision, scale)
    if number in _INSTANTS:
        return pa.timestamp("us", tz="UTC")
    if number in _WALL_CLOCK:
        return pa.timestamp("us")
    types: dict[int, Callable[[], pa.DataType]] = {
        _REAL: pa.float64,
        _DATE: pa.date32,
        _BINARY: pa.binary,
        _BOOLEAN: pa.bool_,
    }
    return pa.time64("us") if number == _TIME else types.get(number, pa.string)()


def _as_declared(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast a chunk to the result's types; the connector uses the narrowest types for each chunk.

    Raises:
        WarehouseError: A number does not fit 64 bits.
    """
    columns = []
    for column, values in zip(schema, table.columns, strict=True):
        try:
            # Fractions of a microsecond are truncated, as everywhere in the platform.
            is_time = pa.types.is_temporal(column.type)
            columns.append(values.cast(column.type, safe=not is_time))
        except pa.ArrowInvalid as error:
            raise WarehouseError(
                f"Snowflake's result cannot be read: a value of {column.name} does not fit {column.type}. "
                "Cast the column in the query, for example to NUMBER(38, 0)."
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)
