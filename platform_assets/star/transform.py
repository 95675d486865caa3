"""Runs the star schema's SQL over the new rows in bronze, and commits each table exactly once.

A table's cursor is the last batch that the table has processed, stored in the same commit as its rows. A run
that finds the cursor at the ledger's last batch writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import LakeError
from platform_assets.isolation import Isolation, result_or_reason
from platform_assets.lake.delta import non_empty
from platform_assets.lake.duck import ROWS_PER_BATCH, SqlEngine, fetch_rows
from platform_assets.lake.lake import BronzeReader, Lake
from platform_assets.lake.ledger import LedgerState
from platform_assets.lake.races import retry_while_others_progress
from platform_assets.model.dialects import columns_sql, quote
from platform_assets.model.star_model import STREAM, StarModel
from platform_assets.model.table import Table
from platform_assets.star.reference_inputs import REFERENCE_INPUTS, ReferenceInput, Written

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable


@dataclass(frozen=True)
class StarChange:
    """Result of a run for one star table.

    Args:
        after: The last batch that the table had processed before the run.
        batch: The last batch that the table has processed now.
        rows_written: Number of rows appended, or inserted and replaced.
        row_count: Number of rows in the table now.
        stopped: Reason why the table was skipped, with all other fields 0; empty if it was not skipped.
    """

    after: int
    batch: int
    rows_written: int
    row_count: int
    stopped: str = ""

    def since(self, earlier: StarChange | None) -> StarChange:
        """Combine this change with an earlier change of the same run."""
        if earlier is None:
            return self
        return StarChange(earlier.after, self.batch, earlier.rows_written + self.rows_written, self.row_count)


@dataclass(frozen=True)
class StarBuilder:
    """Builder that brings star tables up to the ledger's last batch.

    Args:
        lake: Lake in which bronze is read and the star is written.
        model: The star schema.
        engine: SQL engine that runs the SELECTs.
        report: Receives progress messages.
    """

    lake: Lake
    model: StarModel
    engine: SqlEngine
    report: Callable[[str], None] = field(default=lambda message: None)

    def build(self, tables: Sequence[Table]) -> dict[str, StarChange]:
        """Bring these tables up to date, each after those that it depends on.

        In this order, a row is written after every row that it points to, except rows that are derived from
        it, such as the days of a calendar.

        A table that fails for any reason keeps its last built data, and the other tables continue. If another
        run updates a table at the same time, the table is read again and only its missing batches are built.
        If the other run has passed the ledger state that this run started from, all tables are built up to
        the newer state, so that they agree with each other even if the other run fails.

        Raises:
            LakeError: The ledger cannot be read.
            PlatformError: Every table failed. Errors of other types are raised in the same case.
        """
        ordered = self.model.in_building_order(tables)
        building = Isolation("Building the star schema")
        changes: dict[str, StarChange] = {}
        state = self.lake.ledger.read()
        while True:
            for table in ordered:
                if building.has_failed(table.name):
                    continue
                with building.guard(table.name):
                    change = self._until_won(table, state)
                    changes[table.name] = change.since(changes.get(table.name))
            further = max((change.batch for change in changes.values()), default=0)
            if further <= state.last_batch:
                break
            state = self.lake.ledger.read()
        if building.failures and not changes:
            raise building.failures[0].error
        for failed in building.failures:
            self.report(f"star/{failed.name}: skipped; keeps its last built data. {failed.reason}")
            changes[failed.name] = StarChange(0, 0, 0, 0, failed.reason)
        return changes

    def _until_won(self, table: Table, state: LedgerState) -> StarChange:
        """Build a table, and retry after each lost race for it."""
        return retry_while_others_progress(lambda: self._build(table, state), self.lake.star(table).version)

    def _build(self, table: Table, state: LedgerState) -> StarChange:
        target = self.lake.star(table)
        handle = target.open()
        cursor = target.cursor(handle, STREAM)
        if cursor > state.last_batch:
            # Another run has updated the table since the ledger was read.
            self._refuse_another_lake(table, handle, cursor, self.lake.ledger.read())
            return StarChange(cursor, cursor, 0, target.row_count(handle))
        self._refuse_another_lake(table, handle, cursor, state)
        if not self._has_news(table, state, cursor, handle):
            return StarChange(cursor, cursor, 0, target.row_count(handle))
        goal = state.last_batch
        with self.engine.connect() as connection:
            self._create_inputs(connection, table, state, cursor, handle)
            written = self._write(connection, table, handle, cursor, state)
        handle = target.open()
        if written:
            self.report(f"star/{table.name}: {written} rows, up to batch {goal}")
        return StarChange(cursor, goal if written else cursor, written, target.row_count(handle))

    def _refuse_another_lake(
        self, table: Table, handle: DeltaTable | None, cursor: int, state: LedgerState
    ) -> None:
        if handle is not None and (
            handle.metadata().description != _description(state) or cursor > state.last_batch
        ):
            raise LakeError(
                f"star/{table.name} in {self.lake.processed} does not belong to the lake in "
                f"{self.lake.ingestion}, or that lake has lost batches: the table is at batch {cursor}, the "
                f"ledger at batch {state.last_batch}. Point lake.ingestion and lake.processed at zones that "
                "belong together, or empty the processed zone to have it rebuilt."
            )

    def _create_inputs(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
        state: LedgerState,
        cursor: int,
        handle: DeltaTable | None,
    ) -> None:
        """Create the views that the table's SELECT reads, under the names that the SELECT uses."""
        connection.execute(f"CREATE SCHEMA {quote(self.model.source)}; CREATE SCHEMA reference")
        reader = BronzeReader(self.lake, self.model.source, state)
        by_name = {source.name: source for source in self.model.source_tables}
        for name in table.reads:
            view = [self.model.source, name]
            if table.kind == "fact":
                reader.create_versions_view(connection, view, by_name[name], after=cursor)
            else:
                # A row of a joined dimension changes when either side changes, so both are read in full.
                reader.create_latest_view(
                    connection, view, by_name[name], after=cursor if len(table.reads) == 1 else 0
                )
        for name, reference in self._inputs_of(table).items():
            connection.register(f"reference {name}", reference.rows(self._written(table, handle)))
            connection.execute(f"CREATE VIEW {quote('reference', name)} AS FROM {quote(f'reference {name}')}")

    def _inputs_of(self, table: Table) -> dict[str, ReferenceInput]:
        unknown = [name for name in table.inputs if name not in REFERENCE_INPUTS]
        if unknown:
            raise LakeError(
                f"star/{table.name} declares reference inputs that do not exist: {', '.join(unknown)}. The "
                f"platform has {', '.join(REFERENCE_INPUTS)}; add others to star/reference_inputs.py."
            )
        return {name: REFERENCE_INPUTS[name] for name in table.inputs}

    def _written(self, table: Table, handle: DeltaTable | None) -> Written:
        derived_from = [self.model.table(name) for name in table.derived_from]
        return Written(table, handle, derived_from, self.lake, self.engine)

    def _write(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
        handle: DeltaTable | None,
        cursor: int,
        state: LedgerState,
    ) -> int:
        """Run the SELECT, commit its rows and return their number."""
        target, goal = self.lake.star(table), state.last_batch
        before = target.row_count(handle)
        names = columns_sql([column.name for column in target.columns])
        query = f"SELECT {names} FROM ({self.model.select_of(table)}) AS new"
        if table.kind == "fact":
            # Record ids are dense from 1 and rows are only appended, so the row count is the last id.
            relation = connection.sql(query, params={"last_record_id": before})
        else:
            # A dimension that joins tables is computed in full; a reference input yields only new rows.
            after = 0 if table.is_backdated else cursor
            relation = connection.sql(f"{query} WHERE _batch > {after:d}")
        schema = target.arrow_schema
        stream = relation.to_arrow_reader(ROWS_PER_BATCH)
        rows = non_empty(
            pa.RecordBatchReader.from_batches(
                schema, (batch.cast(schema) for batch in stream if batch.num_rows)
            )
        )
        if rows is None:
            return 0
        if handle is None or table.kind == "fact":
            target.append(handle, rows, stream=STREAM, version=goal, description=_description(state))
            return target.row_count(handle or target.open()) - before
        changed = rows.read_all()
        if self._has_any(target_handle=handle, table=table, keys=changed.select(list(table.primary_key))):
            target.upsert(handle, changed, key=table.primary_key, stream=STREAM, version=goal)
        else:
            target.append(handle, changed, stream=STREAM, version=goal)
        return int(changed.num_rows)

    def _has_any(self, target_handle: DeltaTable, table: Table, keys: pa.Table) -> bool:
        """Return whether the table has a row with any of these keys; if not, an append equals a merge."""
        with self.engine.connect() as connection:
            self.lake.star(table).create_view(connection, ["existing"], target_handle)
            connection.register("changed", keys)
            using = columns_sql(table.primary_key)
            found = connection.sql(
                f"SELECT 1 FROM existing SEMI JOIN changed USING ({using}) LIMIT 1"
            ).fetchall()
        return bool(found)

    def _has_news(self, table: Table, state: LedgerState, cursor: int, handle: DeltaTable | None) -> bool:
        """Return whether the table may have new rows to process, without reading any row."""
        if state.last_batch_of((self.model.source, name) for name in table.reads) > cursor:
            return True
        written = self._written(table, handle)
        return any(reference.has_news(written) for reference in self._inputs_of(table).values())


def _description(state: LedgerState) -> str:
    """Return the description that a star table's first commit sets: the identity of the lake."""
    return f"Made by platform_assets from lake {state.lake_id}"


def sample_rows(
    lake: Lake, engine: SqlEngine, tables: Sequence[Table], limit: int = 5
) -> dict[str, list[dict[str, Any]] | str]:
    """Return a few of the newest rows of each table as a preview; for a table that fails, the reason."""
    with engine.connect() as connection:

        def newest(table: Table) -> list[dict[str, Any]]:
            target = lake.star(table)
            handle = target.open()
            last = target.cursor(handle, STREAM)
            target.create_view(connection, ["sampled"], handle, batches=(last - 1, last))
            found = fetch_rows(connection, f"SELECT * FROM sampled LIMIT {limit:d}")
            if not found:
                target.create_view(connection, ["sampled"], handle)
                found = fetch_rows(connection, f"SELECT * FROM sampled LIMIT {limit:d}")
            return found

        return {table.name: result_or_reason(newest, table) for table in tables}
