"""Runs the star schema's SQL over the new rows in bronze, and commits each table exactly once.

A table's cursor is the last batch that the table has processed, stored in the same commit as its rows. A run
that finds the cursor at the ledger's last batch writes nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import LakeError
from platform_assets.isolation import Isolation, result_or_reason
from platform_assets.lake.delta import file_statistics, peek
from platform_assets.lake.duck import ROWS_PER_BATCH, SqlEngine, columns_sql, fetch_rows, quote
from platform_assets.lake.lake import BronzeReader, Lake
from platform_assets.lake.ledger import LedgerState
from platform_assets.lake.races import retry_while_others_progress
from platform_assets.model import star
from platform_assets.model.table import Table
from platform_assets.star.calendar import DateSpan, currency_names, new_days

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
        source: Name of the source whose tables the SQL reads.
        source_tables: Declarations of those tables.
        engine: SQL engine that runs the SELECTs.
        report: Receives progress messages.
    """

    lake: Lake
    source: str
    source_tables: Sequence[Table]
    engine: SqlEngine
    report: Callable[[str], None] = field(default=lambda message: None)

    def build(self, tables: Sequence[Table]) -> dict[str, StarChange]:
        """Bring these tables up to date: dimensions, then facts, then the calendar, which reads the facts.

        In this order, a fact is written after every row that it points to, except the calendar's days.

        A table that fails for any reason keeps its last built data, and the other tables continue. If another
        run updates a table at the same time, the table is read again and only its missing batches are built.
        If the other run has passed the ledger state that this run started from, all tables are built up to
        the newer state, so that they agree with each other even if the other run fails.

        Raises:
            LakeError: The ledger cannot be read.
            PlatformError: Every table failed. Errors of other types are raised in the same case.
        """
        ordered = sorted(tables, key=lambda table: (table.name == star.DIM_DATE.name, table.kind == "fact"))
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
            self.report(f"star/{failed.name}: skipped, its last rows stay. {failed.reason}")
            changes[failed.name] = StarChange(0, 0, 0, 0, failed.reason)
        return changes

    def _until_won(self, table: Table, state: LedgerState) -> StarChange:
        """Build a table, and retry after each lost race for it."""
        return retry_while_others_progress(lambda: self._build(table, state), self.lake.star(table).version)

    def _build(self, table: Table, state: LedgerState) -> StarChange:
        target = self.lake.star(table)
        handle = target.open()
        cursor = target.cursor(handle, star.STREAM)
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
                f"star/{table.name} in {self.lake.processed} was not made from the lake in "
                f"{self.lake.ingestion}, or that has lost batches since: the table has taken in batch "
                f"{cursor}, the ledger ends at {state.last_batch}. Point lake.ingestion and lake.processed "
                "at zones that belong together, or empty the processed zone to have it rebuilt."
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
        connection.execute(f"CREATE SCHEMA {quote(self.source)}; CREATE SCHEMA reference")
        reader = BronzeReader(self.lake, self.source, state)
        by_name = {source.name: source for source in self.source_tables}
        for name in table.reads:
            if name not in by_name:
                continue
            view = [self.source, name]
            if table.kind == "fact":
                reader.create_versions_view(connection, view, by_name[name], after=cursor)
            else:
                # A row of a joined dimension changes when either side changes, so both are read in full.
                reader.create_latest_view(
                    connection, view, by_name[name], after=cursor if len(table.reads) == 1 else 0
                )
        if table.name == star.DIM_CURRENCY.name:
            connection.register("currency names", currency_names())
            connection.execute('CREATE VIEW reference.currency_name AS FROM "currency names"')
        if table.name == star.DIM_DATE.name:
            years = _years(handle, star.DIM_DATE.primary_key)
            connection.register("calendar", new_days(years, self._date_spans(years)))
            connection.execute("CREATE VIEW reference.calendar AS FROM calendar")

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
        query = f"SELECT {names} FROM ({select_of(table)}) AS new"
        if table.kind == "fact":
            # Record ids are dense from 1 and rows are only appended, so the row count is the last id.
            relation = connection.sql(query, params={"last_record_id": before})
        else:
            # A dimension that joins tables is computed in full; the calendar yields only new days.
            after = 0 if table.name == star.DIM_DATE.name else cursor
            relation = connection.sql(f"{query} WHERE _batch > {after:d}")
        schema = target.arrow_schema
        stream = relation.to_arrow_reader(ROWS_PER_BATCH)
        rows = peek(
            pa.RecordBatchReader.from_batches(
                schema, (batch.cast(schema) for batch in stream if batch.num_rows)
            )
        )
        if rows is None:
            return 0
        if handle is None or table.kind == "fact":
            target.append(handle, rows, stream=star.STREAM, version=goal, description=_description(state))
            return target.row_count(handle or target.open()) - before
        changed = rows.read_all()
        if self._has_any(target_handle=handle, table=table, keys=changed.select(list(table.primary_key))):
            target.upsert(handle, changed, key=table.primary_key, stream=star.STREAM, version=goal)
        else:
            target.append(handle, changed, stream=star.STREAM, version=goal)
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
        if table.name != star.DIM_DATE.name:
            return state.last_batch_of((self.source, name) for name in table.reads) > cursor
        years, needed = _years(handle, star.DIM_DATE.primary_key), self._years_of_facts()
        if needed is None:
            return False
        return years is None or needed[0] < years[0] or needed[1] > years[1]

    def _years_of_facts(self) -> tuple[int, int] | None:
        """Return the first and last year of all dates in all facts, from the statistics of their files."""
        spans = [_years(self.lake.star(fact).open(), _dates_of(fact)) for fact in star.FACTS]
        known = [span for span in spans if span is not None]
        return (min(first for first, _ in known), max(last for _, last in known)) if known else None

    def _date_spans(self, years: tuple[int, int] | None) -> list[DateSpan]:
        """Return the date span of each batch of facts, limited to dates outside `years`."""
        spans: list[DateSpan] = []
        with self.engine.connect() as connection:
            for fact in star.FACTS:
                target = self.lake.star(fact)
                target.create_view(connection, [fact.name], target.open())
                dates = [quote(name) for name in _dates_of(fact)]
                first, last = f"least({', '.join(dates)})", f"greatest({', '.join(dates)})"
                outside = (
                    f"WHERE year({first}) < {years[0]:d} OR year({last}) > {years[1]:d}" if years else ""
                )
                rows = connection.sql(
                    f"SELECT _batch, max(_seen_at), min({first}), max({last}) FROM {quote(fact.name)} "
                    f"{outside} GROUP BY ALL"
                ).fetchall()
                spans += [
                    DateSpan(batch, seen.astimezone(dt.UTC), low, high) for batch, seen, low, high in rows
                ]
        return spans


def _description(state: LedgerState) -> str:
    """Return the description that a star table's first commit sets: the identity of the lake."""
    return f"Made by platform_assets from lake {state.lake_id}"


def select_of(table: Table) -> str:
    """Return the SELECT that builds a star table, as written in its file."""
    return (
        (Path(__file__).parent / f"{table.name}.sql").read_text(encoding="utf-8").rstrip().removesuffix(";")
    )


def _dates_of(fact: Table) -> list[str]:
    return [column for column, parent in fact.foreign_keys if parent == star.DIM_DATE.name]


def _years(handle: DeltaTable | None, dates: Sequence[str]) -> tuple[int, int] | None:
    """Return the first and last year in these columns, from file statistics; None without rows."""
    if handle is None:
        return None
    files = file_statistics(handle)
    lows = [min(files[f"min.{name}"].drop_null().to_pylist(), default=None) for name in dates]
    highs = [max(files[f"max.{name}"].drop_null().to_pylist(), default=None) for name in dates]
    known = [(low, high) for low, high in zip(lows, highs, strict=True) if low and high]
    return (min(low for low, _ in known).year, max(high for _, high in known).year) if known else None


def sample_rows(
    lake: Lake, engine: SqlEngine, tables: Sequence[Table], limit: int = 5
) -> dict[str, list[dict[str, Any]] | str]:
    """Return a few of the newest rows of each table as a preview; for a table that fails, the reason."""
    with engine.connect() as connection:

        def newest(table: Table) -> list[dict[str, Any]]:
            target = lake.star(table)
            handle = target.open()
            last = target.cursor(handle, star.STREAM)
            target.create_view(connection, ["sampled"], handle, batches=(last - 1, last))
            found = fetch_rows(connection, f"SELECT * FROM sampled LIMIT {limit:d}")
            if not found:
                target.create_view(connection, ["sampled"], handle)
                found = fetch_rows(connection, f"SELECT * FROM sampled LIMIT {limit:d}")
            return found

        return {table.name: result_or_reason(newest, table) for table in tables}
