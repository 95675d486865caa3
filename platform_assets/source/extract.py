"""Extraction: loads one batch from a source into the lake, within one snapshot.

The order of commits makes a crash harmless: first the bronze rows, then their dead letters, then one commit
to the ledger with the cursors. Nobody reads rows without the ledger's commit, and the next run repeats the
work.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import LakeConflict, LakeError, SourceError, SourceUnavailable
from platform_assets.isolation import is_isolated, reason_of, result_or_reason
from platform_assets.lake.delta import non_empty, stored_columns
from platform_assets.lake.duck import SqlEngine, fetch_rows, stored_type
from platform_assets.lake.lake import BronzeReader, Lake, bronze_stream, lost_commits
from platform_assets.lake.ledger import LedgerEntry
from platform_assets.lake.races import Result, attempts, retry_while_others_progress
from platform_assets.model.dialects import columns_sql, quote
from platform_assets.model.table import Column, Table
from platform_assets.source.bulk import BulkReader, SharedSnapshot
from platform_assets.source.capture import (
    CaptureCursor,
    ReadPlan,
    is_worth_a_commit,
    parents_first,
    plan,
    watermark_of,
)
from platform_assets.source.catalogue import RESERVED_COLUMNS
from platform_assets.source.compare import BatchStamp, Changes, Comparison, LakeState, bronze_schema
from platform_assets.source.dead_letters import DeadLetters
from platform_assets.source.deletions import find_deleted
from platform_assets.source.drift import compare, remember
from platform_assets.source.first_load import FirstLoad, FirstLoader, LoadTarget
from platform_assets.source.outcome import Extraction, TableChange, Verification
from platform_assets.source.scan import Scan, key_scan, table_scan
from platform_assets.source.types import holds, logical_type, value_expression
from platform_assets.source.verify import TableComparison, compare_table

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

    from platform_assets.lake.ledger import LedgerState
    from platform_assets.source.catalogue import Relation
    from platform_assets.source.policy import CapturePolicy
    from platform_assets.source.snapshot import Counted, Snapshot, SourceDatabase

# Up to this many unchanged rows are read again at the next tick; more are worth a commit of the cursor.
_MOST_ROWS_READ_AGAIN = 1_000
# Number of batches that other sources may commit while a batch that lost a race to them is retried.
_FIRST_LEAD = 100


@dataclass(frozen=True)
class Extractor:
    """Extractor that brings the changes of a source into the lake.

    Args:
        source: The database.
        lake: The target lake.
        engine: The SQL engine for comparisons.
        report: Receives progress messages.
        first_loader: Workers that read large tables which the lake does not have yet; this process if None.
    """

    source: SourceDatabase
    lake: Lake
    engine: SqlEngine
    report: Callable[[str], None] = field(default=lambda message: None)
    first_loader: FirstLoader | None = None

    def extract(self, tables: Sequence[Table]) -> Extraction:
        """Read the source once and commit the changes as one batch; write nothing without changes.

        If another run commits a batch in the meantime, this batch is discarded: extraction starts again with
        a new snapshot, from the state that the other run left. Retries end when no other run makes progress.

        Args:
            tables: The tables to read; foreign keys are checked only to tables that are in the lake.

        Raises:
            SourceUnavailable: The source does not answer.
            SourceError: The source refuses, or its tables differ from their declaration.
            LakeConflict: The lake reports a conflict for every commit although no other run commits.
            LakeError: The lake cannot be read or written.
        """

        def attempt(state: LedgerState, lead: int) -> Extraction:
            with self._begun(state, lead, tables) as begun:
                return self._extract(begun, tables)

        return self._until_won(attempt, tables)

    def verify(self, tables: Sequence[Table]) -> dict[str, Verification]:
        """Verify that the lake holds the same rows as the source, and repair differences.

        Changes are extracted first, as one batch. Then, in the same snapshot, PostgreSQL and the lake compute
        counts and hash sums of key ranges. Ranges that differ are read again as another batch and compared
        once more. If all ranges are equal, the comparison transfers no rows.

        Args:
            tables: The tables to verify.

        Returns:
            The result by table; for a table that cannot be read, the reason.

        Raises:
            SourceUnavailable: The source does not answer.
            SourceError: The source refuses.
            LakeConflict: As `extract`.
            LakeError: The lake cannot be read or written.
        """
        return self._until_won(partial(self._verify, tables), tables)

    def _verify(self, tables: Sequence[Table], state: LedgerState, lead: int) -> dict[str, Verification]:
        found: dict[str, Verification] = {}
        with self._begun(state, lead, tables) as attempt:
            extraction = self._extract(attempt, tables)
            found |= {
                name: Verification(comparison) for name, comparison in attempt.compare_with_source().items()
            }
            differing = [table for table in tables if table.name in found and not found[table.name].passed]
            ranges = attempt.ranges_of(found)
            with contextlib.suppress(LakeConflict):
                found |= self._mend(attempt, differing, ranges, found)
                differing = []
        if differing:
            # Other runs have committed newer data since the comparison; this snapshot must not overwrite it.
            found |= self._until_won(partial(self._mend_afresh, differing, ranges, found), differing)
        stopped = {
            name: Verification(None, stopped=change.stopped)
            for name, change in extraction.tables.items()
            if change.stopped
        }
        return found | stopped

    def _mend_afresh(
        self,
        differing: Sequence[Table],
        ranges: Mapping[str, str],
        found: Mapping[str, Verification],
        state: LedgerState,
        lead: int,
    ) -> dict[str, Verification]:
        """Repair in a new snapshot, after extracting all changes."""
        with self._begun(state, lead, differing) as attempt:
            self._extract(attempt, differing)
            return self._mend(attempt, differing, ranges, found)

    def _mend(
        self,
        attempt: _Attempt,
        differing: Sequence[Table],
        ranges: Mapping[str, str],
        found: Mapping[str, Verification],
    ) -> dict[str, Verification]:
        """Read key ranges again, in the snapshot of a committed attempt.

        Raises:
            LakeConflict: Another batch has been committed since.
        """
        if not differing:
            return {}
        state = self.lake.ledger.read()
        left = attempt.batch if attempt.cursors else attempt.state.last_batch
        others = state.entries_of(self.source.name) - attempt.state.entries_of(self.source.name)
        if any(batch != left for batch, _ in others):
            raise LakeConflict(
                f"Batch {state.last_batch} was committed while {self.source.name} was compared with the "
                "lake. The next run does the work again."
            )
        again = _Attempt.begin(self, state, attempt.snapshot, attempt.connection, differing, ranges)
        mended = self._extract(again, differing)
        compared = again.compare_with_source()
        return {
            name: dataclasses.replace(found[name], stopped=change.stopped)
            if change.stopped
            else dataclasses.replace(found[name], mended=change, after=compared[name])
            for name, change in mended.tables.items()
        }

    @contextlib.contextmanager
    def _begun(self, state: LedgerState, lead: int, tables: Sequence[Table]) -> Iterator[_Attempt]:
        """Begin an attempt on a state of the ledger that was read just before the snapshot.

        The order matters: no batch in the ledger can then have a later snapshot than this attempt, and any
        later commit makes this attempt lose.
        """
        with self.source.snapshot() as snapshot, self.engine.connect() as connection:
            yield _Attempt.begin(self, state, snapshot, connection, tables, lead=lead)

    def _until_won(self, attempt: Callable[[LedgerState, int], Result], tables: Sequence[Table]) -> Result:
        """Make an attempt, and retry it after each lost race, once the winner has finished.

        After a race lost to another source, the batch number gets a lead, which doubles each time: a long
        first load must not lose to every short tick of other sources.
        """
        ledger = self.lake.ledger
        bronze = [self.lake.bronze(self.source.name, table) for table in tables]
        before: LedgerState | None = None
        lead = moves = 0
        left: list[int] = []

        def versions() -> list[int]:
            return [table.version() for table in bronze]

        def once() -> Result:
            nonlocal before, lead, left
            state = ledger.read()
            if before is not None and before.last_batch < state.last_batch and self._is_same(state, before):
                lead = lead * 2 or _FIRST_LEAD
            before = state
            try:
                return attempt(state, lead)
            except LakeConflict:
                left = versions()
                raise

        def progress() -> object:
            nonlocal moves, left
            # What this run has appended itself is nobody's progress.
            if (now := versions()) != left:
                moves, left = moves + 1, now
            return ledger.table.version(), moves

        return retry_while_others_progress(
            once,
            progress,
            settled=lambda: before is not None and ledger.table.version() != before.version,
        )

    def _is_same(self, state: LedgerState, other: LedgerState) -> bool:
        """Return whether two states of the ledger are the same for this source."""
        return state.entries_of(self.source.name) == other.entries_of(self.source.name)

    def _extract(self, attempt: _Attempt, tables: Sequence[Table]) -> Extraction:
        """Extract the changes, and declare the batch complete."""
        snapshot = attempt.snapshot
        attempt.run(tables)
        changes = attempt.changes
        written = {name: change for name, change in changes.items() if change.rows}
        entries = [
            LedgerEntry(
                attempt.batch,
                self.source.name,
                name,
                changes[name].inserted,
                changes[name].updated,
                changes[name].deleted,
                changes[name].dead_lettered,
                snapshot.position,
                snapshot.taken_at,
                dt.datetime.now(dt.UTC),
            )
            for name in attempt.cursors
        ]
        if entries:
            cursors = {
                f"{self.source.name}/{name}": cursor.to_json() for name, cursor in attempt.cursors.items()
            }
            self._commit(attempt, entries, cursors)
        row_counts = {
            name: attempt.state.row_count(self.source.name, name) + change.inserted - change.deleted
            for name, change in changes.items()
        }
        batch = attempt.batch if written else attempt.state.last_batch
        return Extraction(batch, snapshot.taken_at, changes, row_counts)

    def _commit(self, attempt: _Attempt, entries: Sequence[LedgerEntry], cursors: Mapping[str, str]) -> None:
        """Declare a batch complete; an earlier commit of another source with a smaller number does no harm.

        Raises:
            LakeConflict: Another run committed tables of this source, or a batch with this or a later number.
        """
        ledger, state = self.lake.ledger, attempt.state
        for _ in attempts(ledger.table.version):
            try:
                ledger.commit(state, entries, cursors)
            except LakeConflict:
                state = ledger.read()
                if state.last_batch >= attempt.batch or not self._is_same(state, attempt.state):
                    raise
            else:
                return
        ledger.commit(state, entries, cursors)


@dataclass(frozen=True)
class _Planned:
    """A table of an attempt: the rows to read, and how."""

    table: Table
    relation: Relation
    reading: ReadPlan
    handle: DeltaTable | None
    cursor: CaptureCursor | None
    is_known: bool
    known_rows: int
    drift: tuple[str, ...]
    policy: CapturePolicy
    version: int

    def scan(self) -> Scan:
        return table_scan(self.table, self.relation, self.version, self.reading.predicate)


class _RowsMissing(Exception):
    """Raised if the source has more rows than the lake would have: the reading has omitted rows."""


@dataclass(frozen=True)
class _Attempt:
    """One attempt at a batch: the ledger state it builds on, and a batch number that no other attempt has.

    A table that fails for any reason is stopped: it keeps its last loaded data, rows that the attempt wrote
    for it are discarded, and all other tables continue.
    """

    extractor: Extractor
    snapshot: Snapshot
    connection: duckdb.DuckDBPyConnection
    state: LedgerState
    batch: int
    handles: Mapping[str, DeltaTable | None]
    unreadable: Mapping[str, BaseException]
    relations: Mapping[str, Relation]
    ranges: Mapping[str, str]
    dead_letters: DeadLetters
    loaded: dict[str, _Planned] = field(default_factory=dict)
    changes: dict[str, TableChange] = field(default_factory=dict)
    cursors: dict[str, CaptureCursor] = field(default_factory=dict)
    failures: dict[str, BaseException] = field(default_factory=dict)

    @classmethod
    def begin(
        cls,
        extractor: Extractor,
        state: LedgerState,
        snapshot: Snapshot,
        connection: duckdb.DuckDBPyConnection,
        tables: Sequence[Table],
        ranges: Mapping[str, str] | None = None,
        lead: int = 0,
    ) -> _Attempt:
        """Begin an attempt on a state of the ledger that was read before the snapshot was taken.

        `ranges` has SQL conditions for the rows to read again, by table; `lead` is the number of batch
        numbers left free for other sources.
        """
        lake, source = extractor.lake, extractor.source.name
        bronze = {table.name: lake.bronze(source, table) for table in tables}
        handles: dict[str, DeltaTable | None] = {}
        unreadable: dict[str, BaseException] = {}
        for name, table in bronze.items():
            try:
                handles[name] = table.open()
            except BaseException as error:
                if not is_isolated(error):
                    raise
                handles[name], unreadable[name] = None, error
        # A crashed attempt leaves its batch number in the tables it reached. A larger number keeps its rows
        # unread.
        held = {name: bronze[name].cursor(handle, bronze_stream(source)) for name, handle in handles.items()}
        used = max(held.values(), default=0)
        for configured in tables:
            last = state.last_batch_of([(source, configured.name)])
            if held[configured.name] >= last or configured.name in unreadable:
                continue
            if lost := lost_commits(lake, source, configured, handles[configured.name], last):
                unreadable[configured.name] = LakeError(lost)
        relations, reasons = snapshot.relations_or_reasons(list(bronze))
        unreadable |= reasons
        batch = max(state.last_batch, used) + 1 + lead
        reader = BronzeReader(lake, source, state)
        dead_letters = DeadLetters(
            extractor.source, reader, connection, relations, batch, bronze_stream(source)
        )
        return cls(
            extractor,
            snapshot,
            connection,
            state,
            batch,
            handles,
            unreadable,
            relations,
            ranges or {},
            dead_letters,
        )

    @property
    def _source(self) -> str:
        return self.extractor.source.name

    @property
    def _reader(self) -> BronzeReader:
        return self.dead_letters.reader

    def run(self, tables: Sequence[Table]) -> None:
        """Extract the tables, parents first; the results are in `changes` and `cursors`.

        Raises:
            SourceError: The session that holds the snapshot has ended, or no declared table can be read.
            LakeConflict: Another run has written to the lake.
            LakeError: The lake cannot be read or written for any of the tables.
        """
        planned = list(self._plan(parents_first(tables)))
        counts = self._counts(planned)
        here = [table_plan.scan() for table_plan in planned if self._parts_for_workers(table_plan) is None]
        with BulkReader(self.snapshot, here) as bulk:
            for table_plan in planned:
                with self._isolated(table_plan.table):
                    self._load(table_plan, bulk, counts.get(table_plan.table.name))
        errors = [self.failures.get(table.name) for table in tables]
        if errors and all(isinstance(error, LakeError) for error in errors):
            # The problem is the lake, not a single table.
            raise next(error for error in errors if error is not None)

    def _counts(self, planned: Sequence[_Planned]) -> dict[str, Counted]:
        """Count the rows of the tables that are read in part and checked for deletions, in one statement.

        If one of them cannot be counted, the tables are counted one by one. For a table without a count, keys
        are compared.
        """
        due = [
            table_plan.relation
            for table_plan in planned
            if table_plan.known_rows
            and table_plan.reading.compare_keys
            and not table_plan.reading.is_complete
        ]
        try:
            return self.snapshot.count(due)
        except SourceError:
            if not self.snapshot.is_open():
                raise
        counts: dict[str, Counted] = {}
        for relation in due:
            # The next read of the table reports the reason.
            with contextlib.suppress(SourceError):
                counts |= self.snapshot.count([relation])
        return counts

    @contextlib.contextmanager
    def _isolated(self, table: Table) -> Iterator[None]:
        """Isolate a block that works on one table: an error stops this table only.

        Raises:
            LakeConflict: Another run has written to the lake, so the whole attempt must be discarded.
            SourceError: The session that holds the snapshot has ended, so no table can be read any more.
        """
        try:
            yield
        except LakeConflict:
            raise
        except BaseException as error:
            if not is_isolated(error) or (isinstance(error, SourceError) and not self.snapshot.is_open()):
                raise
            self._stop(table, error)

    def _plan(self, tables: Sequence[Table]) -> Iterator[_Planned]:
        """Plan the reading of each table.

        Raises:
            SourceError: None of the tables can be read, and the lake has none of them: the connection
                probably leads to the wrong database.
        """
        readable = 0
        for declared in tables:
            planned = None
            with self._isolated(declared):
                planned = self._planned(declared)
            if planned is not None:
                readable += 1
                yield planned
        if not readable and self.extractor.source.declared and not any(map(self._is_known, tables)):
            where = self.snapshot.connection
            reasons = " ".join(dict.fromkeys(self.changes[table.name].stopped for table in tables))
            raise SourceError(
                f"Schema {where.schema} of {where.database} on {where.host}:{where.port}, read as "
                f"{where.user}, does not match the declared tables. {reasons}"
            )

    def _is_known(self, table: Table) -> bool:
        return bool(self.state.last_batch_of([(self._source, table.name)]))

    def _planned(self, declared: Table) -> _Planned:
        """Plan the reading of a table.

        Raises:
            SourceError: The table cannot be read, or the lake cannot store its current columns.
            LakeError: The table in the lake cannot be read.
        """
        source, name, is_known = self.extractor.source, declared.name, self._is_known(declared)
        if name in self.unreadable:
            raise self.unreadable[name]
        stored = self.state.cursors.get(f"{source.name}/{name}") if is_known else None
        cursor = CaptureCursor.from_json(stored) if stored else None
        policy, relation = source.policy_of(name), self.relations.get(name)
        handle = self.handles[name]
        in_lake = stored_columns(handle) if handle is not None and is_known else ()
        drift = compare(
            in_lake,
            relation,
            _with_further_columns(declared, relation, in_lake) if source.declared else None,
            name=name,
            remembered=cursor.remembered if cursor else None,
            key=source.keys.get(name),
            types=source.types.get(name),
        )
        if drift.table is None or relation is None:
            raise SourceError(" ".join(drift.incompatible))
        known_rows = self.state.row_count(source.name, name)
        reading = (
            ReadPlan("verify", self.ranges[name])
            if name in self.ranges
            else plan(drift.table, drift, relation, policy, cursor, self.snapshot, known_rows)
        )
        return _Planned(
            drift.table,
            relation,
            reading,
            handle,
            cursor,
            is_known,
            known_rows,
            drift.notes,
            policy,
            self.snapshot.version,
        )

    def _stop(self, table: Table, error: BaseException) -> None:
        """Stop a table: it keeps its data in the lake, and this attempt's rows for it are discarded."""
        reason = reason_of(error)
        self.extractor.report(f"{self._source}/{table.name}: skipped; keeps its last loaded data. {reason}")
        self.failures[table.name] = error
        self.changes[table.name] = TableChange(stopped=reason)
        self.loaded.pop(table.name, None)
        self.cursors.pop(table.name, None)
        self.dead_letters.stopped.add(table.name)

    def _load(self, planned: _Planned, bulk: BulkReader, count: Counted | None) -> None:
        """Append a table's changes and dead letters."""
        name = planned.table.name
        self._refuse_a_loose_key(planned)
        if planned.is_known and planned.handle is not None:
            self.extractor.lake.bronze(self._source, planned.table).widen(self.connection, planned.handle)
        try:
            changes = self._read(planned, bulk, count)
        except _RowsMissing:
            if planned.reading.is_complete:
                raise self._unaccountable(planned) from None
            reason = "the lake lacked rows of the source"
            planned = dataclasses.replace(planned, reading=ReadPlan(planned.reading.strategy, None, reason))
            self._refuse_a_loose_key(planned)
            try:
                with self._stream(planned.scan()) as rows:
                    changes = self._append(planned, rows, None)
            except _RowsMissing:
                raise self._unaccountable(planned) from None
        if planned.is_known and not self.snapshot.is_still_there(planned.relation):
            raise SourceError(
                f"Table {name} was truncated, rewritten or replaced while it was read. Nothing of it was "
                "loaded; the next run reads it again."
            )
        written = changes.counts.total()
        dead_lettered = self.dead_letters.set_apart(planned.table, written) if written else 0
        counts = changes.counts
        change = TableChange(
            counts["insert"],
            counts["update"],
            counts["delete"],
            dead_lettered,
            changes.rows_read,
            planned.reading.sentence,
            planned.drift,
            deletions_looked_for=self._cursor(planned, changes).keys_compared_at,
        )
        self.changes[name], self.loaded[name] = change, planned
        if change.rows:
            self.extractor.report(
                f"{self._source}/{name}: {change.inserted} inserted, {change.updated} updated, "
                f"{change.deleted} deleted"
                + (f", {dead_lettered} of them rejected as dead letters" if dead_lettered else "")
            )
        if change.rows or (planned.is_known and self._is_worth_a_commit(planned, changes)):
            self.cursors[name] = self._cursor(planned, changes)

    def _read(self, planned: _Planned, bulk: BulkReader, count: Counted | None) -> Changes:
        """Read a table as planned, and append its changes."""
        loader, parts = self.extractor.first_loader, self._parts_for_workers(planned)
        if loader is not None and parts is not None:
            return self._load_on_workers(planned, parts, loader)
        try:
            with bulk.stream(planned.table.name) as rows:
                return self._append(planned, rows, count)
        except SourceUnavailable:
            # Nothing is committed before all rows are read. A single connection of several may have broken.
            if not self.snapshot.is_open():
                raise
        with self._stream(planned.scan()) as rows:
            return self._append(planned, rows, count)

    def _parts_for_workers(self, planned: _Planned) -> Scan | None:
        """Return the parts of a table that workers read; None if this process reads the table."""
        loader = self.extractor.first_loader
        if loader is None or planned.is_known or planned.reading.strategy == "last_updated":
            return None
        scan = table_scan(
            planned.table, planned.relation, planned.version, planned.reading.predicate, loader.parts
        )
        return scan if len(scan.queries) > 1 else None

    def _load_on_workers(self, planned: _Planned, parts: Scan, loader: FirstLoader) -> Changes:
        """Have workers read a table that the lake does not have yet."""
        changes = Changes()
        load = FirstLoad(
            parts,
            SharedSnapshot.of(self.snapshot),
            BatchStamp(bronze_schema(planned.table), self.batch, self.snapshot.taken_at),
            self.snapshot.source.connections,
        )
        target = LoadTarget(
            self.extractor.lake.bronze(self._source, planned.table),
            planned.handle,
            bronze_stream(self._source),
            self.batch,
            {"platform_assets.cursor": self._cursor(planned, changes).to_json()},
        )
        changes.rows_read = loader.load(load, target)
        changes.counts["insert"] = changes.rows_read
        return changes

    def _refuse_a_loose_key(self, planned: _Planned) -> None:
        """Reject a key that the source does not enforce and that does not identify the rows."""
        key = planned.table.primary_key
        if planned.relation.enforces(key):
            return
        relation, columns = quote(planned.relation.schema, planned.relation.name), columns_sql(key)
        without = " OR ".join(f"{quote(name)} IS NULL" for name in key)
        same = "true"
        if planned.reading.predicate is not None and planned.reading.strategy == "xmin":
            # Rows with distinct keys at the last tick still have them, unless one of them has changed.
            same = f"({columns}) IN (SELECT {columns} FROM {relation} WHERE {planned.reading.predicate})"
        twice, empty = self.snapshot.run(
            f"SELECT EXISTS (SELECT FROM {relation} WHERE {same} GROUP BY {columns} HAVING count(*) > 1), "
            f"EXISTS (SELECT FROM {relation} WHERE {without})",
            f"checking the key of {planned.table.name}",
        )[0]
        if twice or empty:
            how = "with the same key ({})" if twice else "without a value in the key ({})"
            reason, way_out = "", "Configure columns that identify a row as its key."
            if planned.relation.has_heirs:
                reason = ": other tables inherit from it, and no key is enforced over all of their rows"
                way_out += (
                    f" Or read a view: of its own rows only (SELECT * FROM ONLY {planned.table.name}), or "
                    "with a column that names the table of each row (tableoid::regclass)."
                )
            raise SourceError(
                f"Table {planned.table.name} has rows {how.format(', '.join(key))}{reason}. {way_out}"
            )

    def _unaccountable(self, planned: _Planned) -> SourceError | LakeError:
        """Create the error for a table whose row count in the lake is wrong although all rows were read."""
        name, key = planned.table.name, columns_sql(planned.table.primary_key)
        versions = self._known(planned.table).versions
        [[in_lake]] = self.connection.execute(
            f"SELECT count(*) FROM (SELECT {key} FROM {versions} GROUP BY {key} "
            "HAVING arg_max(_change, _batch) <> 'delete')"
        ).fetchall()
        if in_lake != planned.known_rows:
            return LakeError(
                f"The lake's table {self._source}/{name} and the ledger have different row counts: another "
                "program has written to the table or to the ledger. Restore both to the version before that "
                "write (RESTORE in Delta Lake)."
            )
        return SourceError(
            f"Table {name} has rows whose keys ({', '.join(planned.table.primary_key)}) differ in the source "
            "but are equal in the lake. Configure other columns that identify a row as its key."
        )

    def compare_with_source(self) -> dict[str, TableComparison]:
        """Compare the extracted tables with the source, key range by key range.

        A table that fails is stopped and is missing from the result.
        """
        comparisons = {}
        for name, loaded in list(self.loaded.items()):
            with self._isolated(loaded.table):
                comparisons[name] = self._comparison(loaded)
        return comparisons

    def _comparison(self, planned: _Planned) -> TableComparison:
        view = "compared versions"
        bronze = self.extractor.lake.bronze(self._source, planned.table)
        self._reader.create_versions_view(
            self.connection,
            [view],
            planned.table,
            uncommitted=self.dead_letters.batch_of(planned.table.name),
            handle=bronze.open(),
            valid_only=False,
        )
        return compare_table(
            self.snapshot.run,
            self.connection,
            planned.table,
            relation=quote(planned.relation.schema, planned.relation.name),
            expression=partial(_expression, planned.relation),
            versions=quote(view),
        )

    def ranges_of(self, found: Mapping[str, Verification]) -> dict[str, str]:
        """Return SQL for the rows of the ranges that differ, by table."""
        return {
            name: " OR ".join(f"({row.source_predicate})" for row in verification.comparison.differing)
            for name, verification in found.items()
            if verification.comparison is not None and not verification.passed
        }

    def _append(self, planned: _Planned, rows: pa.RecordBatchReader, count: Counted | None) -> Changes:
        watch = planned.policy.column if planned.reading.strategy == "last_updated" else None
        known = self._known(planned.table) if planned.is_known else None
        comparison = Comparison(
            self.connection,
            planned.table,
            known,
            self.batch,
            self.snapshot.taken_at,
            watch,
            # If source and lake differ, the hash stored with a row proves nothing about the row.
            trust_hashes=planned.reading.strategy != "verify",
        )
        changes = Changes(look_seconds=count.seconds if count else 0)
        schema = bronze_schema(planned.table)
        stream = self._changed(planned, comparison, rows, changes, count)
        failures: list[SourceError | LakeError | _RowsMissing] = []

        def watched() -> Iterator[pa.RecordBatch]:
            try:
                yield from stream
            except (SourceError, LakeError, _RowsMissing) as error:
                failures.append(error)
                raise

        try:
            changed = non_empty(pa.RecordBatchReader.from_batches(schema, watched()))
            if changed is not None:
                self.extractor.lake.bronze(self._source, planned.table).append(
                    planned.handle,
                    changed,
                    stream=bronze_stream(self._source),
                    version=self.batch,
                    metadata={"platform_assets.cursor": self._cursor(planned, changes).to_json()},
                )
        except Exception as error:
            # The consumer of the stream wraps the stream's errors in errors of its own type.
            if failures and error is not failures[0]:
                raise failures[0] from error
            raise
        return changes

    def _changed(
        self,
        planned: _Planned,
        comparison: Comparison,
        rows: pa.RecordBatchReader,
        changes: Changes,
        count: Counted | None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield all bronze rows of a batch for a table: inserts, updates, deletions, mended dead letters."""
        table, known = planned.table, comparison.known
        if known is None:
            yield from comparison.changed(rows, changes)
            return
        touched = _Touched(self.connection, table) if known.mended else None
        for batch in comparison.changed(rows, changes):
            if touched is not None:
                touched.add_rows(batch)
            yield batch
        in_source = changes.rows_read if planned.reading.is_complete else count.rows if count else None
        expected = planned.known_rows + changes.counts["insert"]
        if in_source is not None and in_source != expected:
            began = time.monotonic()
            with self._stream(key_scan(planned.table, planned.relation)) as keys:
                deleted = find_deleted(self.connection, table, known.versions, keys)
            changes.look_seconds += time.monotonic() - began
            if touched is not None:
                touched.add(deleted)
            yield from comparison.deleted(deleted, changes)
            if in_source != expected - changes.counts["delete"]:
                raise _RowsMissing
        if touched is not None:
            yield from comparison.mended(touched.name, changes)

    @contextlib.contextmanager
    def _stream(self, scan: Scan) -> Iterator[pa.RecordBatchReader]:
        """Stream a scan over separate connections, as the others may be waiting for their consumers."""
        with BulkReader(self.snapshot, [scan]) as bulk, bulk.stream(scan.table) as rows:
            yield rows

    def _cursor(self, planned: _Planned, changes: Changes) -> CaptureCursor:
        before = planned.cursor
        compared = before is None or planned.reading.compare_keys
        look_seconds = changes.look_seconds if self._is_costly(planned, changes) else 0
        seen = [
            mark for mark in (changes.watermark, before.watermark if before else None) if mark is not None
        ]
        return CaptureCursor(
            self.snapshot.position,
            self.snapshot.server,
            self.snapshot.taken_at,
            self.snapshot.taken_at if compared or before is None else before.keys_compared_at,
            remember(planned.relation, planned.table),
            watermark_of(planned.table, planned.policy, max(seen, default=None), self.snapshot.taken_at),
            look_seconds if compared or before is None else before.look_seconds,
        )

    def _is_costly(self, planned: _Planned, changes: Changes) -> bool:
        """Return whether looking for deletions took too long to be done at every tick."""
        is_large = planned.known_rows > planned.policy.small_table_rows
        return is_large and dt.timedelta(seconds=changes.look_seconds) >= planned.policy.costly_look

    def _is_worth_a_commit(self, planned: _Planned, changes: Changes) -> bool:
        """Return whether to commit the cursor without other changes: the commit saves more than it costs."""
        if planned.drift:
            return True
        if planned.reading.strategy == "diff":
            return False
        if planned.cursor is None or planned.reading.reason:
            return True
        return (
            changes.rows_read > _MOST_ROWS_READ_AGAIN
            or (planned.reading.compare_keys and self._is_costly(planned, changes))
            or is_worth_a_commit(planned.cursor, self.snapshot)
        )

    def _known(self, table: Table) -> LakeState:
        key = columns_sql(table.primary_key)
        reader, handle, versions = self._reader, self.handles[table.name], "all versions"

        @cache
        def create() -> str:
            reader.create_versions_view(self.connection, [versions], table, handle=handle, valid_only=False)
            reader.create_valid_versions_view(self.connection, ["valid versions"], table, versions)
            return quote(versions)

        def last_values(keys: str) -> str:
            return f"""
                SELECT * EXCLUDE (_valid) FROM (
                  SELECT *, true AS _valid FROM "valid versions" SEMI JOIN {keys} USING ({key})
                  UNION ALL BY NAME
                  SELECT *, false AS _valid FROM "all versions" SEMI JOIN {keys} USING ({key}))
                QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY _valid DESC, _batch DESC) = 1
            """

        mended = self.dead_letters.mended_sql(table)
        if mended:
            create()  # which it reads
        return LakeState(create, last_values, mended)


def sample_rows(
    lake: Lake, engine: SqlEngine, source: str, tables: Sequence[Table], limit: int = 5
) -> dict[str, list[dict[str, Any]] | str]:
    """Return a preview of each table's newest batch: declared columns, change and batch.

    For a table that cannot be shown, the value is the reason.
    """
    state = lake.ledger.read()
    reader = BronzeReader(lake, source, state)
    with engine.connect() as connection:

        def newest(table: Table) -> list[dict[str, Any]]:
            last = state.last_batch_of([(source, table.name)])
            reader.create_versions_view(connection, ["sampled"], table, after=last - 1)
            names = columns_sql([*table.column_names, "_change", "_batch"])
            return fetch_rows(connection, f"SELECT {names} FROM sampled LIMIT {limit:d}")

        return {table.name: result_or_reason(newest, table) for table in tables}


class _Touched:
    """The keys of the rows in a batch, stored in DuckDB."""

    name = '"touched keys"'

    def __init__(self, connection: duckdb.DuckDBPyConnection, table: Table) -> None:
        self._connection, self._key = connection, list(table.primary_key)
        columns = ", ".join(
            f"{quote(column)} {stored_type(table.column(column).type)}" for column in self._key
        )
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {self.name} ({columns})")

    def add(self, keys: str) -> None:
        self._connection.execute(f"INSERT INTO {self.name} SELECT {columns_sql(self._key)} FROM {keys}")

    def add_rows(self, batch: pa.RecordBatch) -> None:
        self._connection.register("more touched keys", batch.select(self._key))
        self.add('"more touched keys"')
        self._connection.unregister("more touched keys")


def _with_further_columns(declared: Table, relation: Relation | None, stored: Sequence[Column]) -> Table:
    """Return the declaration extended by the source's other columns, with the lake's types."""
    names = {name.lower() for name in declared.column_names} | RESERVED_COLUMNS
    in_lake = {column.name: column.type for column in stored}
    further = [
        Column(
            column.name,
            type_
            if (type_ := in_lake.get(column.name)) and holds(type_, column.type)
            else logical_type(column.type),
            column.comment,
            nullable=True,
        )
        for column in (relation.columns if relation else ())
        if column.can_read and column.name.lower() not in names
    ]
    return dataclasses.replace(declared, columns=(*declared.columns, *further))


def _expression(relation: Relation, column: Column) -> str:
    """Return SQL for a relation's column as the lake stores its values."""
    return next(
        value_expression(column, attribute.type)
        for attribute in relation.columns
        if attribute.name == column.name
    )
