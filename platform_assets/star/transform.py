"""Runs the star schema's SQL over the new rows in bronze, and commits each table exactly once.

A table's cursor is the last batch that the table has processed, stored in the same commit as its rows. A run
that finds the cursor at the ledger's last batch writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa

from platform_assets.errors import LakeError
from platform_assets.isolation import Isolation, result_or_reason
from platform_assets.lake.delta import non_empty
from platform_assets.lake.duck import ROWS_PER_BATCH, SqlEngine, fetch_rows
from platform_assets.lake.lake import BronzeReader, Lake
from platform_assets.lake.ledger import LedgerState
from platform_assets.lake.races import retry_while_others_progress
from platform_assets.model.dialects import columns_sql, quote
from platform_assets.model.star_model import BUILT_BY, STREAM, StarModel
from platform_assets.model.table import Table
from platform_assets.star.reference_inputs import REFERENCE_INPUTS, ReferenceInput, Written

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

    from platform_assets.lake.delta import LakeTable


@dataclass(frozen=True)
class StarChange:
    """Result of a run for one star table.

    Args:
        after: The last batch that the table had processed before the run.
        batch: The last batch that the table has processed now.
        rows_written: Number of rows appended, or inserted and replaced.
        row_count: Number of rows in the table now.
        stopped: Reason why the table was skipped, with all other fields 0; empty if it was not skipped.
        outdated: Advice to rebuild the table, because its SQL has changed since older rows were built.
    """

    after: int
    batch: int
    rows_written: int
    row_count: int
    stopped: str = ""
    outdated: str = ""

    def since(self, earlier: StarChange | None) -> StarChange:
        """Combine this change with an earlier change of the same run."""
        if earlier is None:
            return self
        written = earlier.rows_written + self.rows_written
        return replace(self, after=earlier.after, rows_written=written)


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
        outdated = outdated_advice(self.model, table, target, handle)
        if not self._has_news(table, state, cursor, handle):
            return StarChange(cursor, cursor, 0, target.row_count(handle), outdated=outdated)
        goal = state.last_batch
        with self.engine.connect() as connection:
            self.create_inputs(connection, table, state, handle, after=cursor)
            written = self._write(connection, table, handle, cursor, state)
        handle = target.open()
        if written:
            self.report(f"star/{table.name}: {written} rows, up to batch {goal}")
        done = goal if written else cursor
        return StarChange(cursor, done, written, target.row_count(handle), outdated=outdated)

    def refuse_foreign(self, table: Table, handle: DeltaTable, state: LedgerState) -> None:
        """Refuse a star table of another lake.

        Raises:
            LakeError: The table was not made from the lake of this ledger.
        """
        if handle.metadata().description != _description(state):
            self._refuse(table, self.lake.star(table).cursor(handle, STREAM), state)

    def _refuse_another_lake(
        self, table: Table, handle: DeltaTable | None, cursor: int, state: LedgerState
    ) -> None:
        if handle is None:
            return
        self.refuse_foreign(table, handle, state)
        if cursor > state.last_batch:
            self._refuse(table, cursor, state)

    def _refuse(self, table: Table, cursor: int, state: LedgerState) -> NoReturn:
        raise LakeError(
            f"star/{table.name} in {self.lake.processed} does not belong to the lake in "
            f"{self.lake.ingestion}, or that lake has lost batches: the table is at batch {cursor}, the "
            f"ledger at batch {state.last_batch}. Point lake.ingestion and lake.processed at zones that "
            "belong together. If they do, and the ledger was restored from a backup, take the table back to "
            f"the ledger's batch: platform-assets lake rebuild star/{table.name} --apply."
        )

    def create_inputs(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
        state: LedgerState,
        handle: DeltaTable | None,
        *,
        after: int,
        up_to: int | None = None,
    ) -> None:
        """Create the views that the table's SELECT reads, under the names that the SELECT uses.

        Args:
            connection: Connection in which the views are created.
            table: The star table.
            state: The ledger.
            handle: The star table in the lake, whose rows a calendar does not have to give again.
            after: Batches that the table has processed.
            up_to: The last batch to read; None for the ledger's last batch.
        """
        connection.execute(f"CREATE SCHEMA {quote(self.model.source)}; CREATE SCHEMA reference")
        reader = BronzeReader(self.lake, self.model.source, state)
        by_name = {source.name: source for source in self.model.source_tables}
        for name in table.reads:
            view = [self.model.source, name]
            if table.kind == "fact":
                reader.create_versions_view(connection, view, by_name[name], after=after, up_to=up_to)
            else:
                # A row of a joined dimension changes when either side changes, so both are read in full.
                joined = len(table.reads) > 1
                reader.create_latest_view(
                    connection, view, by_name[name], after=0 if joined else after, up_to=up_to
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
        # Tables of earlier versions of the platform do not say which SQL has built them.
        built_by = {} if target.cursor(handle, BUILT_BY) else {BUILT_BY: self.model.fingerprint(table)}
        if handle is None or table.kind == "fact":
            target.append(
                handle, rows, stream=STREAM, version=goal, description=_description(state), also=built_by
            )
            return target.row_count(handle or target.open()) - before
        changed = rows.read_all()
        if self._has_any(target_handle=handle, table=table, keys=changed.select(list(table.primary_key))):
            target.upsert(handle, changed, key=table.primary_key, stream=STREAM, version=goal, also=built_by)
        else:
            target.append(handle, changed, stream=STREAM, version=goal, also=built_by)
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


def outdated_advice(model: StarModel, table: Table, target: LakeTable, handle: DeltaTable | None) -> str:
    """Return the advice to rebuild a star table if its SQL has changed since its rows were built, else ""."""
    built_by = target.cursor(handle, BUILT_BY)
    if not built_by or built_by == model.fingerprint(table):
        return ""
    return (
        f"The SQL of star/{table.name} has changed since its older rows were built; its new rows are built "
        f"by the new SQL. See what a rebuild changes: platform-assets lake rebuild star/{table.name}. "
        "Have it done: add --apply."
    )


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
