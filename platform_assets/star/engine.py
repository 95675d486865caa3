"""Engines that run the SELECTs of star tables: their interface, and DuckDB, the one that is built in.

An engine reads the batches of bronze that a table lacks, runs the table's SELECT, and commits the rows with
the table's cursor. Which batches those are, and whether a table is built at all, the builder decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pyarrow as pa

from platform_assets.lake.delta import LakeTable, non_empty
from platform_assets.lake.duck import ROWS_PER_BATCH, SqlEngine
from platform_assets.lake.lake import BronzeReader, Lake
from platform_assets.lake.ledger import LedgerState
from platform_assets.model.dialects import columns_sql, quote
from platform_assets.model.star_model import STREAM, StarModel
from platform_assets.model.table import Table

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable


@dataclass(frozen=True)
class StarTask:
    """Work for an engine: the rows that a star table lacks.

    Args:
        lake: Lake in which bronze is read and the table is written.
        model: The star schema.
        table: The star table.
        state: The ledger.
        handle: The table in the lake; None if nothing was written to it yet.
        after: Batches that the table has processed.
        inputs: The rows of its reference inputs by name.
        description: Description of the table, stored if it is created.
        also: Versions of further app transactions that are committed with the rows.
    """

    lake: Lake
    model: StarModel
    table: Table
    state: LedgerState
    handle: DeltaTable | None
    after: int
    inputs: Mapping[str, pa.Table] = field(default_factory=dict)
    description: str = ""
    also: Mapping[str, int] = field(default_factory=dict)

    @property
    def target(self) -> LakeTable:
        """The star table in the lake."""
        return self.lake.star(self.table)

    @property
    def last_record_id(self) -> int:
        """The last record id of a fact: ids are dense from 1 and rows are only appended."""
        return self.target.row_count(self.handle)

    @property
    def new_after(self) -> int | None:
        """The batch after which the SELECT's rows are new; None if all of them are.

        A dimension that joins tables is computed in full; a reference input yields only new rows.
        """
        if self.table.kind == "fact":
            return None
        return 0 if self.table.is_backdated else self.after

    @property
    def reads(self) -> Iterator[tuple[Table, int | None]]:
        """The source tables of the SELECT, each with the batch after which the latest versions are read.

        The batch is None for a fact, which reads every new version.
        """
        by_name = {source.name: source for source in self.model.source_tables}
        for name in self.table.reads:
            # A row of a joined dimension changes when either side changes, so both are read in full.
            joined = len(self.table.reads) > 1
            yield by_name[name], None if self.table.kind == "fact" else 0 if joined else self.after


class StarEngine(Protocol):
    """An engine for star tables. All engines give the same rows."""

    @property
    def name(self) -> str:
        """Name of the engine in the settings."""
        ...

    def write(self, task: StarTask) -> int:
        """Run the SELECT of a table, commit its new rows with the cursor, and return their number.

        Without new rows nothing is committed.

        Raises:
            LakeConflict: Another run has committed to the table first.
            PlatformError: The rows cannot be computed or written.
        """
        ...

    def fetch(self, sql: str, tables: Mapping[str, LakeTable]) -> Sequence[tuple[Any, ...]]:
        """Return the rows of a query with a small result.

        Args:
            sql: The query, in DuckDB's dialect.
            tables: The tables of the lake that it reads, by the names that it uses.
        """
        ...


@runtime_checkable
class HasStarEngines(Protocol):
    """A room that has engines for star tables."""

    def star_engines(self) -> Mapping[str, Callable[[], StarEngine]]:
        """Return by name what makes each engine; nothing is started yet."""
        ...


@dataclass(frozen=True)
class EmbeddedEngine:
    """DuckDB in this process.

    Args:
        sql: Its memory and threads.
    """

    sql: SqlEngine
    name: str = "duckdb"

    def write(self, task: StarTask) -> int:
        """See `StarEngine.write`."""
        target, goal = task.target, task.state.last_batch
        with self._rows(task) as rows:
            if rows is None:
                return 0
            if task.handle is None or task.table.kind == "fact":
                before = task.last_record_id
                target.append(
                    task.handle,
                    rows,
                    stream=STREAM,
                    version=goal,
                    description=task.description,
                    also=task.also,
                )
                return target.row_count(task.handle or target.open()) - before
            changed = rows.read_all()
        if self._has_any(task, changed.select(list(task.table.primary_key))):
            target.upsert(
                task.handle,
                changed,
                key=task.table.primary_key,
                stream=STREAM,
                version=goal,
                also=task.also,
            )
        else:
            target.append(task.handle, changed, stream=STREAM, version=goal, also=task.also)
        return int(changed.num_rows)

    def fetch(self, sql: str, tables: Mapping[str, LakeTable]) -> Sequence[tuple[Any, ...]]:
        """See `StarEngine.fetch`."""
        with self.sql.connect() as connection:
            for name, table in tables.items():
                table.create_view(connection, [name], table.open())
            return connection.sql(sql).fetchall()

    @contextmanager
    def _rows(self, task: StarTask) -> Iterator[pa.RecordBatchReader | None]:
        """Stream the new rows; None if there are none."""
        target = task.target
        names = columns_sql([column.name for column in target.columns])
        query = f"SELECT {names} FROM ({task.model.select_of(task.table)}) AS new"
        with self.sql.connect() as connection:
            create_inputs(connection, task)
            if task.new_after is None:
                relation = connection.sql(query, params={"last_record_id": task.last_record_id})
            else:
                relation = connection.sql(f"{query} WHERE _batch > {task.new_after:d}")
            schema = target.arrow_schema
            stream = relation.to_arrow_reader(ROWS_PER_BATCH)
            yield non_empty(
                pa.RecordBatchReader.from_batches(
                    schema, (batch.cast(schema) for batch in stream if batch.num_rows)
                )
            )

    def _has_any(self, task: StarTask, keys: pa.Table) -> bool:
        """Return whether the table has a row with any of these keys; if not, an append equals a merge."""
        with self.sql.connect() as connection:
            task.target.create_view(connection, ["existing"], task.handle)
            connection.register("changed", keys)
            using = columns_sql(task.table.primary_key)
            found = connection.sql(
                f"SELECT 1 FROM existing SEMI JOIN changed USING ({using}) LIMIT 1"
            ).fetchall()
        return bool(found)


def create_inputs(connection: duckdb.DuckDBPyConnection, task: StarTask, *, up_to: int | None = None) -> None:
    """Create the views that a table's SELECT reads, under the names that the SELECT uses.

    Args:
        connection: Connection in which the views are created.
        task: The table and the batches to read.
        up_to: The last batch to read; None for the ledger's last batch.
    """
    source = task.model.source
    connection.execute(f"CREATE SCHEMA {quote(source)}; CREATE SCHEMA reference")
    reader = BronzeReader(task.lake, source, task.state)
    for table, latest_after in task.reads:
        view = [source, table.name]
        if latest_after is None:
            reader.create_versions_view(connection, view, table, after=task.after, up_to=up_to)
        else:
            reader.create_latest_view(connection, view, table, after=latest_after, up_to=up_to)
    for name, rows in task.inputs.items():
        connection.register(f"reference {name}", rows)
        connection.execute(f"CREATE VIEW {quote('reference', name)} AS FROM {quote(f'reference {name}')}")
