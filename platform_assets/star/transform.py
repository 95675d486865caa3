"""Runs the star schema's SQL over the new rows in bronze, and commits each table exactly once.

A table's cursor is the last batch that the table has processed, stored in the same commit as its rows. A run
that finds the cursor at the ledger's last batch writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

from platform_assets.errors import LakeError
from platform_assets.isolation import Isolation, result_or_reason
from platform_assets.lake.duck import SqlEngine, fetch_rows
from platform_assets.lake.lake import Lake
from platform_assets.lake.ledger import LedgerState
from platform_assets.lake.races import retry_while_others_progress
from platform_assets.model.star_model import BUILT_BY, STREAM, StarModel
from platform_assets.model.table import Table
from platform_assets.star.engine import EmbeddedEngine, StarEngine, StarTask
from platform_assets.star.reference_inputs import REFERENCE_INPUTS, ReferenceInput, Written

if TYPE_CHECKING:
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
        engine: SQL engine of this machine.
        report: Receives progress messages.
        star_engine: Runs the SELECTs; DuckDB on this machine if none is given.
    """

    lake: Lake
    model: StarModel
    engine: SqlEngine
    report: Callable[[str], None] = field(default=lambda message: None)
    star_engine: StarEngine | None = None

    @property
    def runs_on(self) -> StarEngine:
        """The engine that runs the SELECTs."""
        return self.star_engine or EmbeddedEngine(self.engine)

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
        written = self._write(table, state, target, handle, cursor)
        handle = target.look()
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

    def task(
        self, table: Table, state: LedgerState, handle: DeltaTable | None, after: int, also: Mapping[str, int]
    ) -> StarTask:
        """Return the work of bringing a table up to date.

        Args:
            table: The star table.
            state: The ledger.
            handle: The star table in the lake, whose rows a calendar does not have to give again.
            after: Batches that the table has processed.
            also: Versions of further app transactions that are committed with the rows.
        """
        written = self._written(table, handle)
        inputs = {name: reference.rows(written) for name, reference in self._inputs_of(table).items()}
        description = _description(state)
        return StarTask(self.lake, self.model, table, state, handle, after, inputs, description, also)

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
        return Written(table, handle, derived_from, self.lake, self.runs_on)

    def _write(
        self, table: Table, state: LedgerState, target: LakeTable, handle: DeltaTable | None, cursor: int
    ) -> int:
        """Have the engine commit the new rows, and return their number."""
        # Tables of earlier versions of the platform do not say which SQL has built them.
        built_by = {} if target.cursor(handle, BUILT_BY) else {BUILT_BY: self.model.fingerprint(table)}
        return self.runs_on.write(self.task(table, state, handle, cursor, built_by))

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
            handle = target.look()
            last = target.cursor(handle, STREAM)
            target.create_view(connection, ["sampled"], handle, batches=(last - 1, last))
            found = fetch_rows(connection, f"SELECT * FROM sampled LIMIT {limit:d}")
            if not found:
                target.create_view(connection, ["sampled"], handle)
                found = fetch_rows(connection, f"SELECT * FROM sampled LIMIT {limit:d}")
            return found

        return {table.name: result_or_reason(newest, table) for table in tables}
