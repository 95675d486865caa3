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
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import WarehouseBusy, WarehouseError
from platform_assets.lake.duck import (
    ROWS_PER_BATCH,
    SqlEngine,
    columns_sql,
    fetch_rows,
    literal,
    quote,
)
from platform_assets.model import star
from platform_assets.model.dialects import DUCKDB
from platform_assets.model.table import Column, Table, Time
from platform_assets.warehouse.interface import STAR_SCHEMA, Load, TableStatus
from platform_assets.warehouse.loading import (
    SUPERSEDED,
    Incoming,
    LoadSession,
    Position,
    Target,
    current_view_select,
    history_view_select,
    lacking_columns,
    load_star,
)

if TYPE_CHECKING:
    import duckdb

    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.lake import Lake

_BOOKKEEPING = """
CREATE SCHEMA IF NOT EXISTS platform;
CREATE TABLE IF NOT EXISTS platform.loads (
  table_name VARCHAR NOT NULL,
  table_id VARCHAR NOT NULL,
  lake_version BIGINT NOT NULL,
  batch BIGINT NOT NULL,
  rows_written BIGINT NOT NULL,
  lake_id VARCHAR NOT NULL,
  loaded_at TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (table_name, table_id, lake_version)
);
"""


# Signs that the file is in use: by another process; by this process with other settings; by this process
# while it opens or closes the file.
_SIGNS_OF_USE = ("lock", "different configuration", "already attached")
# For this many seconds, an empty file is assumed to be one that another process is creating.
_LONGEST_TO_MAKE = 2


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
    tables: Sequence[Table] = star.TABLES

    def load(self, lake: Lake, tables: Sequence[Table]) -> dict[str, Load]:
        """See `Warehouse.load`."""
        return load_star(
            lake,
            tables,
            Target(
                name=f"the warehouse {self.path}",
                positions=self._positions,
                counts=lambda: {status.table: status.row_count for status in self.status()},
                session=lambda _: self._session(),
                start_afresh="Point warehouse.duckdb.path at another file, or delete this one to have it "
                "loaded afresh.",
                tables=self.tables,
                lacking=self._lacking,
            ),
        )

    @contextlib.contextmanager
    def _session(self) -> Iterator[LoadSession]:
        with self._open(read_only=False) as connection, self._translated("load the star schema"):
            # Row order is not preserved: ordered rows are buffered in memory that cannot be spilled.
            connection.execute("SET preserve_insertion_order = false")
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
    def query(self, sql: str) -> Iterator[pa.RecordBatchReader]:
        """See `Warehouse.query`."""
        if not self.path.exists():
            raise WarehouseError(
                f"There is no warehouse at {self.path} yet; the job totesys_to_warehouse makes it."
            )
        with self._open(read_only=True) as connection, self._translated("run the query"):
            relation: Any = connection.sql(sql)
            if relation is None:  # statements such as SET have no result
                yield pa.schema([]).empty_table().to_reader()
            else:
                yield relation.to_arrow_reader(ROWS_PER_BATCH)

    def read(
        self, name: Sequence[str], columns: Sequence[str] | None = None
    ) -> contextlib.AbstractContextManager[pa.RecordBatchReader]:
        """See `Warehouse.read`."""
        return self.query(f"SELECT {columns_sql(columns) if columns else '*'} FROM {quote(*name)}")

    def write(self, name: Sequence[str], rows: pa.RecordBatchReader) -> int:
        """See `Warehouse.write`."""
        # DuckDB's names are case-insensitive.
        if name[0].casefold() in (STAR_SCHEMA, "platform"):
            raise WarehouseError(
                f"Schema {name[0]} of the warehouse belongs to the platform; write to another one."
            )
        by_folded: dict[str, list[str]] = {}
        for column in rows.schema.names:
            by_folded.setdefault(column.casefold(), []).append(column)
        alike = [names for names in by_folded.values() if len(names) > 1]
        if alike:
            raise WarehouseError(
                f"Table {'.'.join(name)} cannot be written to the warehouse {self.path}: DuckDB takes its "
                f"columns {' and '.join(alike[0])} for one. Rename one of them."
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
                    order = f" ORDER BY {columns_sql(table.primary_key)} DESC" if table.kind == "fact" else ""
                    query = f"SELECT * FROM {quote(STAR_SCHEMA, table.name)}{order} LIMIT {limit:d}"
                    rows[table.name] = fetch_rows(connection, query)
        return rows

    def status(self) -> list[TableStatus]:
        """See `Warehouse.status`."""
        if not self.path.exists():
            return []
        with self._open(read_only=True) as connection:
            positions = _read_positions(connection)
            if not positions:
                return []
            loaded = dict(
                connection.sql(
                    "SELECT table_name, max(loaded_at) FROM platform.loads GROUP BY table_name"
                ).fetchall()
            )
            statuses, existing = [], _existing_columns(connection)
            for table in self.tables:
                if table.name in positions and table.name in existing:
                    count, batch, seen_at = connection.sql(
                        f"SELECT count(*), coalesce(max(_batch), 0), max(_seen_at) FROM "
                        f"{quote(STAR_SCHEMA, table.name)}"
                    ).fetchall()[0]
                    statuses.append(
                        TableStatus(
                            table.name,
                            count,
                            batch,
                            seen_at,
                            loaded[table.name],
                            positions[table.name].lake_version,
                        )
                    )
            return statuses

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
    def _open(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file, and wait for processes that have locked it."""
        import duckdb

        self.path.parent.mkdir(parents=True, exist_ok=True)
        held_since, seen = time.monotonic(), self._written()
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    connection = stack.enter_context(self.engine.connect(self.path, read_only=read_only))
                    break
                except (
                    duckdb.IOException,
                    duckdb.ConnectionException,
                    duckdb.ResourceInUseException,
                ) as error:
                    message = str(error)
                    # Many processes in turn may take long, but each of them writes; only idle time counts.
                    if seen != (seen := self._written()):
                        held_since = time.monotonic()
                    held_for = time.monotonic() - held_since
                    is_made_now = seen and seen[0][1] == 0 and held_for < _LONGEST_TO_MAKE
                    if not is_made_now and not any(sign in message for sign in _SIGNS_OF_USE):
                        raise WarehouseError(
                            f"The warehouse {self.path} cannot be opened: {message.splitlines()[0]}. If "
                            f"the file is "
                            "damaged, delete it: the next run of totesys_to_warehouse loads it afresh "
                            "from the lake."
                        ) from error
                    if held_for > self.wait:
                        raise WarehouseBusy(
                            f"The warehouse {self.path} has been held by another process for "
                            f"{self.wait:g} seconds; "
                            "end that process's query or load, or raise warehouse.duckdb.wait."
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
        self.filled_first = [one.table for one in filled if one.is_first]
        _supersede(self._connection, superseded)
        created = [one for one in self._warehouse.tables if one.name not in dropped]
        _create_tables(self._connection, created, {one.table.name for one in filled})

    def clear(self, table: Table) -> None:
        # The old table may have been built by different SQL, so it is dropped.
        self._connection.execute(f"DROP TABLE {quote(STAR_SCHEMA, table.name)}")
        _create_tables(self._connection, [table], {table.name})

    def take_in(self, incoming: Incoming) -> int:
        incoming.source.create_view(
            self._connection, ["incoming"], incoming.handle, batches=incoming.batches, temporary=True
        )
        return _write(self._connection, incoming.table, incoming.source, is_first=incoming.is_first)

    def record(self, incoming: Incoming, rows_written: int) -> None:
        self._connection.execute(
            "INSERT INTO platform.loads VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                incoming.table.name,
                incoming.table_id,
                incoming.lake_version,
                incoming.batch,
                rows_written,
                incoming.lake_id,
                dt.datetime.now(dt.UTC),
            ],
        )

    def count(self, table: Table) -> int:
        return _scalar(self._connection, f"SELECT count(*) FROM {quote(STAR_SCHEMA, table.name)}")

    def missing_parents(self, table: Table, column: str, parent: Table, after: int) -> list[str]:
        missing = self._connection.sql(
            f"SELECT DISTINCT new.{quote(column)} AS missing FROM {quote(STAR_SCHEMA, table.name)} AS new "
            f"ANTI JOIN {quote(STAR_SCHEMA, parent.name)} AS parent "
            f"ON new.{quote(column)} = parent.{columns_sql(parent.primary_key)} "
            f"WHERE new._batch > {after:d} ORDER BY missing LIMIT 3"
        ).fetchall()
        return [str(value) for (value,) in missing]


def _supersede(connection: duckdb.DuckDBPyConnection, names: Set[str]) -> None:
    """Mark the load records of tables whose loaded rows are gone as superseded."""
    for name in names:
        connection.execute(
            f"UPDATE platform.loads SET table_id = table_id || {literal(SUPERSEDED)} "
            f"WHERE table_name = {literal(name)}"
        )


def _is_due(view: str, table: Table, existing: Mapping[str, Mapping[str, bool]], widened: Set[str]) -> bool:
    """Return whether to create a fact's view: it is missing, or lacks columns that its table gets now."""
    wanted = set(table.column_names)
    if view not in existing:
        return table.name in widened or wanted <= set(existing.get(table.name, wanted))
    return table.name in widened and not wanted <= set(existing[view])


def _create_tables(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], widened: Set[str]) -> None:
    """Create the star schema's missing tables, columns, and the facts' views.

    Only the `widened` tables get their missing columns: somebody may have dropped a column, and then all rows
    of its table have to be loaded again.
    """
    connection.execute(_BOOKKEEPING)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(STAR_SCHEMA)}")
    existing = _existing_columns(connection)
    for table in tables:
        relation, columns = quote(STAR_SCHEMA, table.name), star.columns_of(table)
        present = existing.get(table.name)
        if present is None:
            declared = [DUCKDB.declaration(column) for column in columns]
            connection.execute(f"CREATE TABLE {relation} ({', '.join(declared)})")
        for column in columns:
            # Nullable whatever the declaration, because existing rows have no value for it.
            if present is not None and column.name not in present and table.name in widened:
                connection.execute(
                    f"ALTER TABLE {relation} ADD COLUMN {DUCKDB.declaration(column, required=False)}"
                )
        declared_names = {column.name for column in columns}
        for name, is_nullable in (present or {}).items():
            # Columns that the model no longer has stay for their users; they are NULL in new rows.
            if name not in declared_names and not is_nullable:
                connection.execute(f"ALTER TABLE {relation} ALTER COLUMN {quote(name)} DROP NOT NULL")
        if table.kind == "fact":
            for suffix, select in (("current", current_view_select), ("history", history_view_select)):
                view = f"{table.name}_{suffix}"
                if _is_due(view, table, existing, widened):
                    connection.execute(
                        f"CREATE OR REPLACE VIEW {quote(STAR_SCHEMA, view)} AS "
                        f"{select(table, quote, relation)}"
                    )


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


def _write(connection: duckdb.DuckDBPyConnection, table: Table, source: LakeTable, *, is_first: bool) -> int:
    """Move the rows of the view `incoming` into a star table, and return their number."""
    names = [column.name for column in source.columns]
    values = ", ".join(_value(column) for column in source.columns)
    conflict = ""
    if table.kind == "dimension" and not is_first:
        updates = ", ".join(f"{quote(n)} = excluded.{quote(n)}" for n in names if n not in table.primary_key)
        conflict = f" ON CONFLICT ({columns_sql(table.primary_key)}) DO UPDATE SET {updates}"
    result = connection.execute(
        f"INSERT INTO {quote(STAR_SCHEMA, table.name)} ({columns_sql(names)}) SELECT {values} FROM "
        f"incoming{conflict}"
    ).fetchall()
    return int(result[0][0])


def _value(column: Column) -> str:
    name = quote(column.name)
    return f"CAST({name} AS TIME) AS {name}" if isinstance(column.type, Time) else name


def _read_positions(connection: duckdb.DuckDBPyConnection) -> dict[str, Position]:
    has_loads = _scalar(
        connection,
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'platform' AND table_name = "
        "'loads'",
    )
    if not has_loads:
        return {}
    rows = connection.sql(
        "SELECT table_name, table_id, lake_version, batch, lake_id FROM platform.loads "
        "QUALIFY row_number() OVER (PARTITION BY table_name ORDER BY batch DESC, loaded_at DESC) = 1"
    ).fetchall()
    return {name: Position(*position) for name, *position in rows}


def _scalar(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.sql(sql).fetchall()[0][0])
