"""Rebuilds star tables from bronze alone, while ticks and readers go on.

The rows of a table are recomputed up to the batch that the table has processed, compared with its rows,
and written in one commit if they differ. Record ids follow from batches and keys, so rows that are computed
by the same SQL are the same. Each table is a commit of its own: a rebuild that was interrupted is continued
by the next one, which finds the tables that are done equal.

A tick that commits first wins: the table is then computed again up to the tick's batch. A tick that comes
later than the commit finds the new rows, and continues from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.errors import LakeError
from platform_assets.isolation import is_isolated, reason_of, result_or_reason
from platform_assets.lake.delta import REBUILT
from platform_assets.lake.duck import ROWS_PER_BATCH, stored_type
from platform_assets.lake.interfaces import Rebuilding
from platform_assets.lake.races import retry_while_others_progress
from platform_assets.lake.rules import row_checks
from platform_assets.model.dialects import columns_sql, quote
from platform_assets.model.star_model import BUILT_BY, STREAM
from platform_assets.star.engine import create_inputs
from platform_assets.star.verify import StarVerifier

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.ledger import LedgerState
    from platform_assets.model.table import Table
    from platform_assets.star.transform import StarBuilder


@dataclass(frozen=True)
class StarRebuilder:
    """Rebuilds the tables of a star schema.

    Args:
        builder: Builds the tables in ticks.
        first: First batch whose rows are recomputed; rows of earlier batches stay unchanged.
        apply: Write what differs; otherwise it is only counted.
        report: Receives progress messages.
    """

    builder: StarBuilder
    first: int = 0
    apply: bool = False
    report: Callable[[str], None] = field(default=lambda message: None)

    def rebuild(self, tables: Sequence[Table]) -> Iterator[Rebuilding]:
        """Rebuild these tables, each after those that it depends on; a table that fails does not stop others.

        Raises:
            LakeError: The ledger cannot be read.
        """
        for table in self.builder.model.in_building_order(tables):
            try:
                yield retry_while_others_progress(
                    lambda table=table: self._rebuild(table),  # type: ignore[misc]
                    self.builder.lake.star(table).version,
                )
            except BaseException as error:
                if not is_isolated(error):
                    raise
                yield Rebuilding(f"star/{table.name}", problem=reason_of(error))

    def checked(self, rebuilt: Iterable[Rebuilding]) -> Iterator[Rebuilding]:
        """Yield the results of rebuilds; a table that has its rows by now, and breaks a check, has a problem.

        Checks look at all tables after the last one is rebuilt, because rows refer to rows of other tables.
        While a table is yet to be rebuilt, nothing is checked.
        """
        done, model = list(rebuilt), self.builder.model
        if any(rebuilt.why and not rebuilt.is_done for rebuilt in done):
            yield from done
            return
        with StarVerifier.open(self.builder.lake, model, self.builder.engine) as verifier:
            for rebuilt_table in done:
                table = model.table(rebuilt_table.table.partition("/")[2])
                is_there = self.builder.lake.star(table).open() is not None
                if rebuilt_table.problem or not is_there:
                    yield rebuilt_table
                    continue
                broken = result_or_reason(partial(self._broken, verifier), table)
                yield replace(rebuilt_table, problem=broken) if broken else rebuilt_table

    def _broken(self, verifier: StarVerifier, table: Table) -> str:
        """Return which checks of a table fail, as sentences; empty if all pass."""
        names = ["primary_key", *(["record_ids_dense"] if table.kind == "fact" else []), *row_checks(table)]
        found = []
        for name in names:
            outcome = verifier.verify(table, name, 0)
            if not outcome.passed:
                examples = "; ".join(outcome.examples)
                found.append(f"The check {name} fails: {outcome.broken} broken, such as {examples}.")
        return " ".join(found)

    def _rebuild(self, table: Table) -> Rebuilding:
        target, state = self.builder.lake.star(table), self.builder.lake.ledger.read()
        name, handle = f"star/{table.name}", target.open()
        if handle is None:
            return self._build(table, state)
        self.builder.refuse_foreign(table, handle, state)
        cursor = target.cursor(handle, STREAM)
        goal = min(cursor, state.last_batch)
        fingerprint = self.builder.model.fingerprint(table)
        reasons = []
        if target.cursor(handle, BUILT_BY) not in (0, fingerprint):
            reasons.append("its SQL has changed")
        if goal < cursor:
            reasons.append(f"it is at batch {cursor}, and the ledger at {goal}")
        self.report(f"{name}: computing its rows up to batch {goal}")
        with self.builder.engine.connect() as connection:
            self._compute(connection, table, target, handle, state, goal)
            inserted, updated, deleted = self._differences(connection, table, target)
            [(rows,)] = connection.sql("SELECT count(*) FROM rebuilt").fetchall()
            is_equal = not (inserted or updated or deleted)
            if not is_equal:
                reasons.append("its rows differ from those that bronze gives")
            found = Rebuilding(name, int(rows), inserted, updated, deleted, "; ".join(reasons))
            if not reasons or not self.apply:
                return found
            if is_equal and goal == cursor:
                target.note(handle, {BUILT_BY: fingerprint})
            else:
                self._write(connection, table, target, handle, goal)
        return found.as_done()

    def _build(self, table: Table, state: LedgerState) -> Rebuilding:
        """Build a table that does not exist."""
        name, why = f"star/{table.name}", "it does not exist"
        if not self.apply:
            batches = state.last_batch_of((self.builder.model.source, read) for read in table.reads)
            return Rebuilding(name, why=why if batches or table.derived_from else "")
        change = self.builder.build([table])[table.name]
        if change.stopped:
            raise LakeError(change.stopped)
        return Rebuilding(name, change.row_count, change.rows_written, why=why).as_done()

    def _compute(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
        target: LakeTable,
        handle: DeltaTable,
        state: LedgerState,
        goal: int,
    ) -> None:
        """Create the view `stored` of the rows as they are, and the table `rebuilt` as they should be."""
        # A calendar is whole years without gaps: it is computed as a whole.
        first = 0 if table.is_backdated else self.first
        after = max(first - 1, 0)
        try:
            target.create_view(connection, ["stored"], handle)
        except BaseException as error:
            if after or not is_isolated(error):
                raise
            # A file is missing or damaged. `_differences` tells of it, and takes all rows for new.
        create_inputs(connection, self.builder.task(table, state, None, after, {}), up_to=goal)
        values = ", ".join(
            f"CAST({quote(column.name)} AS {stored_type(column.type)}) AS {quote(column.name)}"
            for column in target.columns
        )
        select = (
            f"SELECT {values} FROM ({self.builder.model.select_of(table)}) AS new WHERE _batch > {after:d}"
        )
        parameters = {}
        if table.kind == "fact":
            kept = f"SELECT count(*) FROM stored WHERE _batch <= {after:d}"
            parameters = {"last_record_id": connection.sql(kept).fetchall()[0][0] if after else 0}
        connection.execute(f"CREATE TEMP TABLE rebuilt AS {select}", parameters)
        if after:
            key = columns_sql(table.primary_key)
            connection.execute(
                f"INSERT INTO rebuilt SELECT {columns_sql([column.name for column in target.columns])} "
                f"FROM stored ANTI JOIN rebuilt USING ({key}) WHERE stored._batch <= {after:d}"
            )

    def _differences(
        self, connection: duckdb.DuckDBPyConnection, table: Table, target: LakeTable
    ) -> tuple[int, int, int]:
        """Return how many rows a rebuild inserts, updates and deletes."""
        try:
            return count_differences(
                connection, "stored", "rebuilt", table.primary_key, [column.name for column in target.columns]
            )
        except BaseException as error:
            if not is_isolated(error):
                raise
            # Whatever keeps the rows from being read: bronze has all that is needed to write them again.
            self.report(f"star/{table.name}: its rows cannot be read. {reason_of(error)}")
            [(rows,)] = connection.sql("SELECT count(*) FROM rebuilt").fetchall()
            return int(rows), 0, 0

    def _write(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
        target: LakeTable,
        handle: DeltaTable,
        goal: int,
    ) -> None:
        order = table.primary_key if table.kind == "fact" else ("_batch", *table.primary_key)
        stream = connection.sql(f"FROM rebuilt ORDER BY {columns_sql(order)}").to_arrow_reader(ROWS_PER_BATCH)
        schema = target.arrow_schema
        rows = pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in stream))
        times = target.cursor(handle, REBUILT) + 1
        target.overwrite(
            handle,
            rows,
            stream=STREAM,
            version=goal,
            also={REBUILT: times, BUILT_BY: self.builder.model.fingerprint(table)},
        )
        self.report(f"star/{table.name}: rebuilt up to batch {goal}")


def count_differences(
    connection: duckdb.DuckDBPyConnection, before: str, after: str, key: Sequence[str], columns: Sequence[str]
) -> tuple[int, int, int]:
    """Return how many rows of a relation are new, have other values, or are missing, by their keys.

    Args:
        connection: The connection with both relations.
        before: Name of the relation as it was.
        after: Name of the relation as it is.
        key: The columns of the key; none is NULL.
        columns: The columns to compare.
    """
    same_key = " AND ".join(f"{quote('old', name)} = {quote('new', name)}" for name in key)
    differ = " OR ".join(
        f"{quote('old', name)} IS DISTINCT FROM {quote('new', name)}" for name in columns if name not in key
    )
    old, new = quote("old", key[0]), quote("new", key[0])
    [(inserted, updated, deleted)] = connection.sql(
        f"SELECT count(*) FILTER ({old} IS NULL), "
        f"count(*) FILTER ({old} IS NOT NULL AND {new} IS NOT NULL AND ({differ or 'false'})), "
        f"count(*) FILTER ({new} IS NULL) "
        f"FROM {quote(before)} AS old FULL JOIN {quote(after)} AS new ON {same_key}"
    ).fetchall()
    return int(inserted), int(updated), int(deleted)
