"""The default warehouse: one DuckDB file.

DuckDB lets one process write, or many read. A process that finds the file held waits for it, up to a limit.
Foreign keys are verified in the loading transaction instead of being declared: as constraints they would cost
an index per column, in memory, over every fact (more than the whole platform may use at 5 million orders).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import WarehouseBusy, WarehouseError
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import ROWS_PER_BATCH, SqlEngine, columns_sql, duckdb_type, fetch_rows, quote
from platform_assets.model import star
from platform_assets.model.table import Column, Table, Time
from platform_assets.warehouse.interface import STAR_SCHEMA, STAR_STREAM, Load, TableStatus

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

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


# By another process; by this one with other settings; by this one, which is just opening or closing it.
_SIGNS_OF_USE = ("lock", "different configuration", "already attached")


@dataclass(frozen=True)
class _Position:
    """How far a table has been loaded.

    Args:
        table_id: Identity of the lake table; another one means that the star schema was made anew.
        lake_version: Its version.
        batch: The last batch it had taken in.
        lake_id: Identity of the lake.
    """

    table_id: str = ""
    lake_version: int = -1
    batch: int = 0
    lake_id: str = ""

    def lacks(self, handle: DeltaTable) -> bool:
        """Whether a lake table has anything that was not loaded."""
        return self.is_of_another(handle) or handle.version() > self.lake_version

    def is_of_another(self, handle: DeltaTable) -> bool:
        """Whether what was loaded came from another table than the one that is there now."""
        return bool(self.table_id) and self.table_id != str(handle.metadata().id)


@dataclass(frozen=True)
class DuckDBWarehouse:
    """A warehouse in a DuckDB file.

    Args:
        path: The file; it is made by the first load.
        engine: Memory and threads that DuckDB may use.
        wait: Longest wait for a process that holds the file, in seconds.
    """

    path: Path
    engine: SqlEngine
    wait: float = 120

    def load(self, lake: Lake, tables: Sequence[Table]) -> dict[str, Load]:
        """See `Warehouse.load`."""
        wanted = _with_dimensions(tables)
        handles = {table.name: lake.star(table).open() for table in wanted}
        positions = self._positions()
        lake_id = lake.ledger.read().lake_id
        self._refuse_another_lake(positions, lake_id)
        pending = [
            table
            for table in wanted
            if (handle := handles[table.name]) is not None
            and positions.get(table.name, _Position()).lacks(handle)
        ]
        if not pending:
            counts = {status.table: status.row_count for status in self.status()}
            return {
                table.name: Load(batch, batch, 0, counts.get(table.name, 0))
                for table in tables
                for batch in [positions.get(table.name, _Position()).batch]
            }
        with self._open(read_only=False) as connection, self._translated("load the star schema"):
            # Rows are taken as they come: kept in order, they are gathered in memory that cannot be spilled.
            connection.execute("SET preserve_insertion_order = false")
            _add_missing_keys(connection, star.TABLES)
            connection.execute("BEGIN")
            # Another loader may have been here between the look and the lock.
            positions = _read_positions(connection)
            _create_tables(connection)
            loads = {}
            for table in wanted:
                position = positions.get(table.name, _Position())
                handle = handles[table.name]
                if handle is None or not position.lacks(handle):
                    count = _count(connection, table)
                    loads[table.name] = Load(position.batch, position.batch, 0, count)
                    continue
                if position.is_of_another(handle):
                    # The star schema was made anew, perhaps by other SQL: nothing of the old table can stay.
                    connection.execute(f"DROP TABLE {quote(STAR_SCHEMA, table.name)}")
                    _create_tables(connection)
                    position = _Position()
                batch = lake.star(table).cursor(handle, STAR_STREAM)
                lake.star(table).create_view(
                    connection,
                    ["incoming"],
                    handle,
                    # The calendar grows by years, which may belong to batches that were loaded before.
                    batches=None if table.name == star.DIM_DATE.name else (position.batch, 2**62),
                    temporary=True,
                )
                written = _write(connection, table, lake.star(table), is_first=position.lake_version < 0)
                connection.execute(
                    "INSERT INTO platform.loads VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        table.name,
                        str(handle.metadata().id),
                        handle.version(),
                        batch,
                        written,
                        lake_id,
                        dt.datetime.now(dt.UTC),
                    ],
                )
                loads[table.name] = Load(position.batch, batch, written, _count(connection, table))
            for table in wanted:
                if loads[table.name].rows_written:
                    _verify_foreign_keys(connection, table, loads[table.name].after)
            connection.execute("COMMIT")
        # In connections of their own, as what a load or a key takes is free when its connection is closed.
        for table in (table for table in wanted if table.name not in positions):
            with self._open(read_only=False) as connection, self._translated("declare primary keys"):
                # Each thread sorts keys in memory of its own, outside the limit; one is hardly slower.
                connection.execute("SET threads = 1")
                _add_missing_keys(connection, [table])
        return {table.name: loads[table.name] for table in tables}

    @contextlib.contextmanager
    def query(self, sql: str) -> Iterator[pa.RecordBatchReader]:
        """See `Warehouse.query`."""
        if not self.path.exists():
            raise WarehouseError(
                f"There is no warehouse at {self.path} yet; the job totesys_to_warehouse makes it."
            )
        with self._open(read_only=True) as connection, self._translated("run the query"):
            relation: Any = connection.sql(sql)
            if relation is None:  # a statement without a result, such as SET
                yield pa.schema([]).empty_table().to_reader()
            else:
                yield relation.to_arrow_reader(ROWS_PER_BATCH)

    def write(self, name: Sequence[str], rows: pa.RecordBatchReader) -> int:
        """See `Warehouse.write`."""
        # DuckDB does not tell upper from lower case.
        if name[0].casefold() in (STAR_SCHEMA, "platform"):
            raise WarehouseError(
                f"Schema {name[0]} of the warehouse belongs to the platform; write to another one."
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
            loaded = _read_positions(connection)
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
            statuses = []
            for table in star.TABLES:
                if table.name in positions:
                    count, batch, seen_at = connection.sql(
                        f"SELECT count(*), coalesce(max(_batch), 0), max(_seen_at) FROM "
                        f"{quote(STAR_SCHEMA, table.name)}"
                    ).fetchall()[0]
                    statuses.append(TableStatus(table.name, count, batch, seen_at, loaded[table.name]))
            return statuses

    def _positions(self) -> dict[str, _Position]:
        if not self.path.exists():
            return {}
        with self._open(read_only=True) as connection:
            return _read_positions(connection)

    def _refuse_another_lake(self, positions: dict[str, _Position], lake_id: str) -> None:
        others = {position.lake_id for position in positions.values()} - {lake_id}
        if others and lake_id:
            raise WarehouseError(
                f"The warehouse {self.path} was loaded from another lake than the one that is configured, "
                f"and the two do "
                "not continue each other. Point warehouse.duckdb.path at another file, or delete this one "
                "to have it "
                "loaded afresh."
            )

    @contextlib.contextmanager
    def _open(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file, waiting for processes that hold it."""
        import duckdb

        self.path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self.wait
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
                    if not any(sign in message for sign in _SIGNS_OF_USE):
                        raise WarehouseError(
                            f"The warehouse {self.path} cannot be opened: {message.splitlines()[0]}. If "
                            f"the file is "
                            "damaged, delete it: the next run of totesys_to_warehouse loads it afresh "
                            "from the lake."
                        ) from error
                    if time.monotonic() > deadline:
                        raise WarehouseBusy(
                            f"The warehouse {self.path} has been held by another process for "
                            f"{self.wait:g} seconds; "
                            "end that process's query or load, or raise warehouse.duckdb.wait."
                        ) from error
                    time.sleep(random.uniform(0.02, 0.1))  # noqa: S311 - spreads retries, keeps no secret
            yield connection

    @contextlib.contextmanager
    def _translated(self, attempt: str) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            raise WarehouseError(
                f"The warehouse {self.path} could not {attempt}: {str(error).strip()}"
            ) from error


def _with_dimensions(tables: Sequence[Table]) -> list[Table]:
    """The tables with the dimensions they point to, dimensions first."""
    names = {table.name for table in tables} | {
        parent for table in tables for _, parent in table.foreign_keys
    }
    return [table for table in (*star.DIMENSIONS, *star.FACTS) if table.name in names]


def _create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(_BOOKKEEPING)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(STAR_SCHEMA)}")
    existing = _existing(connection)
    for table in star.TABLES:
        if table.name in existing:
            continue
        columns = [
            f"{quote(column.name)} {duckdb_type(column.type)}{'' if column.nullable else ' NOT NULL'}"
            for column in star.columns_of(table)
        ]
        connection.execute(f"CREATE TABLE {quote(STAR_SCHEMA, table.name)} ({', '.join(columns)})")
    for fact in star.FACTS:
        if f"{fact.name}_current" not in existing:
            connection.execute(current_view_sql(fact))
            connection.execute(history_view_sql(fact))


def _add_missing_keys(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table]) -> None:
    """Declare the primary keys that these tables lack: tables that the last transaction filled first.

    A key that grows inside the transaction keeps its whole index in memory until the end: for the 21 million
    rows of 5 million orders, more than the platform may use. Made afterwards, table by table, it does not.
    """
    keyed = {
        name
        for (name,) in connection.sql(
            f"SELECT table_name FROM duckdb_constraints() "
            f"WHERE schema_name = '{STAR_SCHEMA}' AND constraint_type = 'PRIMARY KEY'"
        ).fetchall()
    }
    missing = _existing(connection) - keyed
    for table in tables:
        if table.name in missing:
            relation = quote(STAR_SCHEMA, table.name)
            connection.execute(f"ALTER TABLE {relation} ADD PRIMARY KEY ({columns_sql(table.primary_key)})")


def _existing(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Names of the tables and views in the star schema."""
    rows = connection.sql(
        f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{STAR_SCHEMA}'"
    ).fetchall()
    return {name for (name,) in rows}


def current_view_sql(fact: Table) -> str:
    """The view of a fact's latest versions, without those that say the row was deleted."""
    name, key, record = _names(fact)
    return (
        f"CREATE VIEW {quote(STAR_SCHEMA, fact.name + '_current')} AS SELECT * FROM (SELECT * FROM {name} "
        f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {record} DESC) = 1) AS latest WHERE "
        f"_change <> 'delete'"
    )


def history_view_sql(fact: Table) -> str:
    """The view of all versions of a fact's rows, each with the time it was valid.

    `valid_from` is when the platform saw the version, `valid_to` when it saw the next one, NULL for the
    latest; `change` is insert, update or delete.
    """
    name, key, record = _names(fact)
    return (
        f"CREATE VIEW {quote(STAR_SCHEMA, fact.name + '_history')} AS "
        f"SELECT {columns_sql(fact.column_names)}, _seen_at AS valid_from, "
        f"lead(_seen_at) OVER (PARTITION BY {key} ORDER BY {record}) AS valid_to, _change AS change FROM "
        f"{name}"
    )


def _names(fact: Table) -> tuple[str, str, str]:
    return quote(STAR_SCHEMA, fact.name), quote(fact.business_key or ""), columns_sql(fact.primary_key)


def _write(connection: duckdb.DuckDBPyConnection, table: Table, source: LakeTable, *, is_first: bool) -> int:
    """Move the rows of the view `incoming` into a star table; their number."""
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


def _verify_foreign_keys(connection: duckdb.DuckDBPyConnection, table: Table, after: int) -> None:
    """Check that the rows of the new batches point to dimension rows that are there.

    Raises:
        WarehouseError: One does not; the transaction is then rolled back as the connection closes.
    """
    for column, parent in table.foreign_keys:
        key = columns_sql(next(dim for dim in star.TABLES if dim.name == parent).primary_key)
        missing = connection.sql(
            f"SELECT DISTINCT new.{quote(column)} AS missing FROM {quote(STAR_SCHEMA, table.name)} AS new "
            f"ANTI JOIN {quote(STAR_SCHEMA, parent)} AS parent ON new.{quote(column)} = parent.{key} "
            f"WHERE new._batch > {after:d} ORDER BY missing LIMIT 3"
        ).fetchall()
        if missing:
            examples = ", ".join(str(value) for (value,) in missing)
            raise WarehouseError(
                f"Nothing was loaded: new rows of {table.name} have values of {column} that {parent} "
                f"lacks, {examples} "
                f"among them. Materialize star/{parent} and the source tables it reads, then load again."
            )


def _read_positions(connection: duckdb.DuckDBPyConnection) -> dict[str, _Position]:
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
    return {name: _Position(*position) for name, *position in rows}


def _count(connection: duckdb.DuckDBPyConnection, table: Table) -> int:
    return _scalar(connection, f"SELECT count(*) FROM {quote(STAR_SCHEMA, table.name)}")


def _scalar(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    return int(connection.sql(sql).fetchall()[0][0])
