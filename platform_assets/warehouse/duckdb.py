"""The default warehouse: one DuckDB file.

DuckDB allows one writing process or many reading processes. A process that finds the file locked waits, up to
a limit. Foreign keys are verified in the loading transaction instead of being declared: constraints would
need an in-memory index per column over every fact, which at 5 million orders exceeds the platform's memory.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import WarehouseBusy, WarehouseError
from platform_assets.lake.duck import ROWS_PER_BATCH, SqlEngine, fetch_rows, interrupted_after
from platform_assets.model.dialects import DUCKDB, columns_sql, literal, quote
from platform_assets.model.table import Table
from platform_assets.model.totesys.star import TABLES
from platform_assets.warehouse.interface import STAR_SCHEMA, BoundSql, Load, TableStatus, bound
from platform_assets.warehouse.loading import (
    Incoming,
    LoadSession,
    Position,
    Target,
    lacking_columns,
    load_star,
)
from platform_assets.warehouse.sql import (
    VIEWS,
    StarSql,
    first_missing,
    format_of,
    positions_of,
    refuse_schemas_of_the_platform,
    select_relation,
    statuses,
)

if TYPE_CHECKING:
    import duckdb

    from platform_assets.lake.lake import Lake

_SQL = StarSql(DUCKDB, (STAR_SCHEMA,), ("platform",))
# Signs that the file is in use: by another process; by another connection of this process.
_SIGNS_OF_USE = ("lock", "already attached")
# For this many seconds, an empty file is assumed to be one that another process is creating.
_LONGEST_CREATION = 2


@dataclass(frozen=True)
class DuckDBWarehouse:
    """A warehouse in a DuckDB file.

    Args:
        path: The file; the first load creates it.
        engine: Memory and threads that DuckDB may use.
        wait: Longest wait for a process that has locked the file, in seconds.
        tables: The star schema, as the model declares it.
    """

    path: Path
    engine: SqlEngine
    wait: float = 120
    tables: Sequence[Table] = TABLES

    def load(self, lake: Lake, tables: Sequence[Table], again: Collection[str] = ()) -> dict[str, Load]:
        """See `Warehouse.load`."""
        return load_star(
            lake,
            tables,
            Target(
                name=f"The warehouse {self.path}",
                positions=self._positions,
                status=self.status,
                session=lambda _: self._session(),
                start_afresh="Point warehouse.duckdb.path at another file, or delete the file to have it "
                "loaded again in full.",
                tables=self.tables,
                lacking=self._lacking,
            ),
            again,
        )

    @contextlib.contextmanager
    def _session(self) -> Iterator[LoadSession]:
        with self._open(read_only=False) as connection, self._translated("load the star schema"):
            _add_missing_keys(connection, self.tables)
            connection.execute("BEGIN")
            session = _Session(self, connection)
            yield session
            connection.execute("COMMIT")
        # Separate connections, because closing a connection frees the memory of its load or key.
        for table in session.filled_first:
            with self._open(read_only=False) as connection, self._translated("declare primary keys"):
                # Each thread sorts keys in its own memory, outside the limit; one is hardly slower.
                connection.execute("SET threads = 1")
                _add_missing_keys(connection, [table])

    @contextlib.contextmanager
    def query(self, sql: str | BoundSql, *, timeout: float | None = None) -> Iterator[pa.RecordBatchReader]:
        """See `Warehouse.query`."""
        if not self.path.exists():
            raise WarehouseError(
                f"The warehouse {self.path} does not exist yet: run totesys_to_warehouse to create it."
            )
        given = bound(sql)
        text = given.text(lambda number: f"$value_{number}")
        trusted = self.engine.is_query(text)
        with (
            self._open(read_only=True, trusted=trusted) as connection,
            self._translated("run the query"),
            interrupted_after(timeout, connection),
        ):
            if given.values:
                values = {f"value_{number}": value for number, value in enumerate(given.values.values(), 1)}
                yield connection.sql(text, params=values).to_arrow_reader(ROWS_PER_BATCH)
                return
            relation: Any = connection.sql(text)
            if relation is None:  # statements such as SET have no result
                yield pa.schema([]).empty_table().to_reader()
            else:
                yield relation.to_arrow_reader(ROWS_PER_BATCH)

    def read(
        self, name: Sequence[str], columns: Sequence[str] | None = None
    ) -> contextlib.AbstractContextManager[pa.RecordBatchReader]:
        """See `Warehouse.read`."""
        return self.query(select_relation(DUCKDB, name, columns))

    def write(self, name: Sequence[str], rows: pa.RecordBatchReader) -> int:
        """See `Warehouse.write`."""
        # DuckDB's names are case-insensitive.
        refuse_schemas_of_the_platform(name[0], (STAR_SCHEMA, "platform"))
        by_folded: dict[str, list[str]] = {}
        for column in rows.schema.names:
            by_folded.setdefault(column.casefold(), []).append(column)
        alike = [names for names in by_folded.values() if len(names) > 1]
        if alike:
            raise WarehouseError(
                f"Table {'.'.join(name)} cannot be written to the warehouse {self.path}: DuckDB ignores "
                f"case, so its columns {' and '.join(alike[0])} have the same name. Rename one of them."
            )
        with self._open(read_only=False) as connection, self._translated(f"write {'.'.join(name)}"):
            connection.register("incoming", rows)
            connection.execute(
                f"BEGIN; CREATE SCHEMA IF NOT EXISTS {quote(name[0])}; "
                f"CREATE OR REPLACE TABLE {quote(*name)} AS FROM incoming; COMMIT"
            )
            return _scalar(connection, f"SELECT count(*) FROM {quote(*name)}")

    def sample(self, tables: Sequence[Table], limit: int) -> dict[str, list[dict[str, Any]]]:
        """See `Warehouse.sample`."""
        rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in tables}
        if not self.path.exists():
            return rows
        with self._open(read_only=True) as connection:
            loaded = set(_read_positions(connection)) & set(_existing_columns(connection))
            for table in tables:
                if table.name in loaded:
                    rows[table.name] = fetch_rows(connection, _SQL.newest(table, limit))
        return rows

    def status(self) -> list[TableStatus]:
        """See `Warehouse.status`."""
        if not self.path.exists():
            return []
        with self._open(read_only=True) as connection:
            positions, existing = _read_positions(connection), _existing_columns(connection)
            loaded = [table for table in self.tables if table.name in positions and table.name in existing]
            if not loaded:
                return []
            return list(statuses(loaded, positions, connection.sql(_SQL.status(loaded)).fetchall()))

    def batch_counts(self, table: Table) -> dict[int, int]:
        """See `Warehouse.batch_counts`."""
        with self._open(read_only=True) as connection, self._translated(f"count the rows of {table.name}"):
            return dict(connection.sql(_SQL.batch_counts(table)).fetchall())

    def stored_format(self) -> int | None:
        """See `Warehouse.stored_format`."""
        if not self.path.exists():
            return None
        with self._open(read_only=True) as connection:
            if not _has_loads(connection):
                return None
            return format_of(connection.sql(_SQL.stored_format()).fetchall())

    def store_format(self, version: int) -> None:
        """See `Warehouse.store_format`."""
        with self._open(read_only=False) as connection, self._translated("store its format version"):
            connection.execute("; ".join(("BEGIN", *_SQL.store_format(version, _now()), "COMMIT")))

    def _positions(self) -> dict[str, Position]:
        if not self.path.exists():
            return {}
        with self._open(read_only=True) as connection:
            return _read_positions(connection)

    def _lacking(self) -> dict[str, set[str]]:
        if not self.path.exists():
            return {}
        with self._open(read_only=True) as connection:
            return lacking_columns(self.tables, _existing_columns(connection))

    @contextlib.contextmanager
    def _open(self, *, read_only: bool, trusted: bool = True) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file, and wait for processes that have locked it."""
        import duckdb

        if self.path.is_dir():
            raise WarehouseError(f"The warehouse {self.path} is a folder; configure the path of a file.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        held_since, seen = time.monotonic(), self._written()
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    connection = stack.enter_context(
                        self.engine.connect(self.path, read_only=read_only, trusted=trusted)
                    )
                    break
                except (duckdb.IOException, duckdb.ResourceInUseException) as error:
                    message = str(error)
                    # Many processes in turn may take long, but each of them writes; only idle time counts.
                    if seen != (seen := self._written()):
                        held_since = time.monotonic()
                    held_for = time.monotonic() - held_since
                    is_being_created = seen and seen[0][1] == 0 and held_for < _LONGEST_CREATION
                    if not is_being_created and not any(sign in message for sign in _SIGNS_OF_USE):
                        raise WarehouseError(
                            f"The warehouse {self.path} cannot be opened: {message.splitlines()[0]}. If "
                            "the file is damaged, delete it: the next run of totesys_to_warehouse loads it "
                            "again from the lake."
                        ) from error
                    if held_for > self.wait:
                        raise WarehouseBusy(
                            f"The warehouse {self.path} has been locked by another process for "
                            f"{self.wait:g} seconds. End that process's query or load, or raise "
                            "warehouse.duckdb.wait."
                        ) from error
                    time.sleep(random.uniform(0.02, 0.1))  # noqa: S311 - spreads retries, keeps no secret
            yield connection

    def _written(self) -> list[tuple[int, int]]:
        """Return modification time (ns) and size (bytes) of the file and of its write-ahead log."""
        found = []
        for file in (self.path, self.path.with_name(f"{self.path.name}.wal")):
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                found.append((status.st_mtime_ns, status.st_size))
        return found

    @contextlib.contextmanager
    def _translated(self, attempt: str) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            raise WarehouseError(
                f"The warehouse {self.path} could not {attempt}: {str(error).strip()}"
            ) from error


class _Session:
    """Implementation of `LoadSession` for DuckDB."""

    def __init__(self, warehouse: DuckDBWarehouse, connection: duckdb.DuckDBPyConnection) -> None:
        self.filled_first: list[Table] = []
        self._warehouse = warehouse
        self._connection = connection

    def positions(self) -> dict[str, Position]:
        return _read_positions(self._connection)

    def lacking(self) -> dict[str, set[str]]:
        return lacking_columns(self._warehouse.tables, _existing_columns(self._connection))

    def prepare(self, filled: Sequence[Incoming], dropped: Set[str], superseded: Set[str]) -> None:
        self.filled_first = [fill.table for fill in filled if fill.is_first]
        if not _has_loads(self._connection):
            script = f"{_SQL.create_loads()}; {_SQL.first_format(_now())}"
            self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS platform; {script}")
        if superseded:
            self._connection.execute(_SQL.supersede(superseded))
        created = [table for table in self._warehouse.tables if table.name not in dropped]
        _create_tables(self._connection, created, {fill.table.name for fill in filled})

    def clear(self, table: Table) -> None:
        # The old table may have been built by different SQL, so it is dropped.
        self._connection.execute(f"DROP TABLE {quote(STAR_SCHEMA, table.name)}")
        _create_tables(self._connection, [table], {table.name})

    def write(self, incoming: Incoming) -> int:
        incoming.create_view(self._connection)
        is_upsert = incoming.table.kind == "dimension" and not incoming.is_first
        rows = f"SELECT {_SQL.values(incoming.table)} FROM incoming"
        return self._run(_SQL.insert(incoming.table, rows, upsert=is_upsert))

    def record(self, incoming: Incoming, rows_written: int) -> None:
        self._run(_SQL.record(incoming, rows_written, _now()))

    def _run(self, sql: str) -> int:
        return int(self._connection.execute(sql).fetchall()[0][0])

    def count(self, table: Table) -> int:
        return _scalar(self._connection, _SQL.count(table))

    def missing_parents(self, table: Table, after: int) -> dict[str, list[str]]:
        keys = {table.name: table.primary_key[0] for table in self._warehouse.tables}
        query = _SQL.missing_parents(
            table, _SQL.relation(table.name), lambda name: (keys[name], _SQL.relation(name)), after
        )
        return first_missing(self._connection.sql(query).fetchall())


def _is_due(view: str, table: Table, existing: Mapping[str, Mapping[str, bool]], widened: Set[str]) -> bool:
    """Return True if a fact's view has to be created: it is missing, or lacks columns that its table gets."""
    wanted = set(table.column_names)
    if view not in existing:
        return table.name in widened or wanted <= set(existing.get(table.name, wanted))
    return table.name in widened and not wanted <= set(existing[view])


def _create_tables(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], widened: Set[str]) -> None:
    """Create the star schema's missing tables, columns, and the facts' views.

    Only the `widened` tables get their missing columns: if a user dropped a column, all rows of its table
    have to be loaded again.
    """
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(STAR_SCHEMA)}")
    existing = _existing_columns(connection)
    for table in tables:
        relation, present = _SQL.relation(table.name), existing.get(table.name)
        if present is None:
            connection.execute(f"CREATE TABLE {relation} ({', '.join(_SQL.declarations(table))})")
        else:
            added = _SQL.added(table, present) if table.name in widened else []
            for clause in (*added, *_SQL.relaxed(table, present)):
                connection.execute(f"ALTER TABLE {relation} {clause}")
        for suffix in VIEWS if table.kind == "fact" else ():
            if _is_due(f"{table.name}_{suffix}", table, existing, widened):
                connection.execute(_SQL.create_view(table, suffix))


def _add_missing_keys(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table]) -> None:
    """Declare the missing primary keys of tables that the last transaction filled for the first time.

    A key that is maintained inside the transaction keeps its whole index in memory until the end: for the 21
    million rows of 5 million orders, more than the platform may use. Created afterwards, table by table, it
    does not.
    """
    keyed = {
        name
        for (name,) in connection.sql(
            f"SELECT table_name FROM duckdb_constraints() "
            f"WHERE schema_name = '{STAR_SCHEMA}' AND constraint_type = 'PRIMARY KEY'"
        ).fetchall()
    }
    missing = set(_existing_columns(connection)) - keyed
    for table in tables:
        if table.name in missing:
            relation = quote(STAR_SCHEMA, table.name)
            connection.execute(f"ALTER TABLE {relation} ADD PRIMARY KEY ({columns_sql(table.primary_key)})")


def _existing_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, bool]]:
    """Return the columns of the star schema's tables and views, each with whether it may be NULL."""
    columns: dict[str, dict[str, bool]] = {}
    for table, name, nullable in connection.sql(
        "SELECT table_name, column_name, is_nullable FROM information_schema.columns "
        f"WHERE table_schema = '{STAR_SCHEMA}'"
    ).fetchall():
        columns.setdefault(table, {})[name] = nullable == "YES"
    return columns


def _now() -> str:
    """Return SQL for the time, UTC."""
    return f"TIMESTAMPTZ {literal(dt.datetime.now(dt.UTC).isoformat())}"


def _has_loads(connection: duckdb.DuckDBPyConnection) -> bool:
    found = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'platform' AND table_name = "
    return _scalar(connection, f"{found}'loads'") > 0


def _read_positions(connection: duckdb.DuckDBPyConnection) -> dict[str, Position]:
    if not _has_loads(connection):
        return {}
    return positions_of(connection.sql(_SQL.positions()).fetchall())


def _scalar(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.sql(sql).fetchall()[0][0])
