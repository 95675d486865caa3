"""Extraction: one batch from a source into the lake, all of it in one snapshot.

The order of commits is what makes a crash harmless: bronze rows first, then their dead letters, then one
commit to the ledger. Whatever stands before the ledger's commit is not read by anybody, and the next run does
the work again.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.lake.delta import peek
from platform_assets.lake.duck import ROWS_PER_BATCH, SqlEngine, columns_sql, fetch_rows, literal, quote
from platform_assets.lake.lake import DEAD_LETTER_COLUMNS, BronzeReader, Lake, key_json
from platform_assets.lake.ledger import LedgerEntry
from platform_assets.lake.rules import broken_rules_sql
from platform_assets.model.table import Table
from platform_assets.source.capture import Capture, FullComparison, Known, parents_first

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

    from platform_assets.lake.ledger import LedgerState
    from platform_assets.source.snapshot import Snapshot, SourceDatabase


@dataclass(frozen=True)
class TableChange:
    """How many rows of a table a batch added to the lake, by what happened to them."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    dead_lettered: int = 0

    @property
    def rows(self) -> int:
        """Row versions that were appended."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True)
class Extraction:
    """What one look at the source found.

    Args:
        batch: Number of the batch, or of the last one where nothing had changed.
        seen_at: When the snapshot was taken, by the source's clock, UTC.
        tables: What happened to each table that was looked at.
        row_counts: Rows that each of them has in the source.
    """

    batch: int
    seen_at: dt.datetime
    tables: Mapping[str, TableChange]
    row_counts: Mapping[str, int]


@dataclass(frozen=True)
class Extractor:
    """Brings the changes of a source into the lake.

    Args:
        source: The database.
        lake: Where the changes go.
        engine: The SQL engine that compares.
        capture: How changes are found.
        report: Told in words what is going on.
    """

    source: SourceDatabase
    lake: Lake
    engine: SqlEngine
    capture: Capture = field(default_factory=FullComparison)
    report: Callable[[str], None] = field(default=lambda message: None)

    def extract(self, tables: Sequence[Table]) -> Extraction:
        """Look at the source once and commit what changed as one batch; write nothing where nothing did.

        Args:
            tables: The tables to look at; foreign keys are only checked to tables that are in the lake.

        Raises:
            SourceUnavailable: The source does not answer.
            SourceError: The source refuses, or its tables are not as declared.
            LakeConflict: Another batch was committed meanwhile; nothing of this one counts.
            LakeError: The lake cannot be read or written.
        """
        with self.source.snapshot() as snapshot, self.engine.connect() as connection:
            snapshot.verify(tables)
            attempt = _Attempt.begin(self, snapshot, connection, tables)
            changes = {table.name: attempt.extract_table(table) for table in parents_first(tables)}
        entries = [
            LedgerEntry(
                attempt.batch,
                self.source.name,
                name,
                change.inserted,
                change.updated,
                change.deleted,
                change.dead_lettered,
                snapshot.position,
                snapshot.taken_at,
                dt.datetime.now(dt.UTC),
            )
            for name, change in changes.items()
            if change.rows
        ]
        if entries:
            self.lake.ledger.commit(attempt.state, entries)
        row_counts = {
            name: attempt.state.row_count(self.source.name, name) + change.inserted - change.deleted
            for name, change in changes.items()
        }
        batch = attempt.batch if entries else attempt.state.last_batch
        return Extraction(batch, snapshot.taken_at, changes, row_counts)


@dataclass(frozen=True)
class _Attempt:
    """One attempt at a batch: the state it is built on, and the number that no other attempt has."""

    extractor: Extractor
    snapshot: Snapshot
    connection: duckdb.DuckDBPyConnection
    state: LedgerState
    batch: int
    handles: Mapping[str, DeltaTable | None]
    enforced: frozenset[tuple[str, str, str]]
    dead_lettered: set[str] = field(default_factory=set)

    @classmethod
    def begin(
        cls,
        extractor: Extractor,
        snapshot: Snapshot,
        connection: duckdb.DuckDBPyConnection,
        tables: Sequence[Table],
    ) -> _Attempt:
        lake, source = extractor.lake, extractor.source.name
        state = lake.ledger.read()
        bronze = {table.name: lake.bronze(source, table) for table in tables}
        handles = {name: table.open() for name, table in bronze.items()}
        # An attempt that crashed left its number in the tables it reached: past it, its rows stay unread.
        used = max(
            (bronze[name].cursor(handle, _stream(source)) for name, handle in handles.items()), default=0
        )
        return cls(
            extractor,
            snapshot,
            connection,
            state,
            max(state.last_batch, used) + 1,
            handles,
            snapshot.enforced_foreign_keys(),
        )

    @property
    def _reader(self) -> BronzeReader:
        return BronzeReader(self.extractor.lake, self.extractor.source.name, self.state)

    def extract_table(self, table: Table) -> TableChange:
        lake, source = self.extractor.lake, self.extractor.source.name
        bronze = lake.bronze(source, table)
        handle = self.handles[table.name]
        with self.snapshot.read(table) as rows:
            known = self._known(table)
            changes = self.extractor.capture.changes(
                self.connection, table, self.snapshot, rows, known, self.batch
            )
            changed = peek(changes.rows)
            if changed is None:
                return TableChange()
            cursor = {
                "platform_assets.cursor": json.dumps(
                    {
                        "batch": self.batch,
                        "snapshot": self.snapshot.position,
                        "seen_at": self.snapshot.taken_at.isoformat(),
                    }
                )
            }
            bronze.append(handle, changed, stream=_stream(source), version=self.batch, metadata=cursor)
        dead_lettered = self._set_dead_letters_apart(table)
        counts = changes.counts
        change = TableChange(counts["insert"], counts["update"], counts["delete"], dead_lettered)
        self.extractor.report(
            f"{source}/{table.name}: {change.inserted} inserted, {change.updated} updated, "
            f"{change.deleted} deleted"
            + (f", {dead_lettered} of them set apart as dead letters" if dead_lettered else "")
        )
        return change

    def _known(self, table: Table) -> Known:
        key = columns_sql(table.primary_key)
        reader, handle = self._reader, self.handles[table.name]
        is_empty = not self.state.last_batch_of([(self.extractor.source.name, table.name)])
        if is_empty:
            return Known("", lambda keys: "", "NULL", is_empty=True)
        reader.create_versions_view(self.connection, ["all versions"], table, handle=handle, valid_only=False)
        reader.create_versions_view(self.connection, ["valid versions"], table, handle=handle)
        parked = "false"
        if self._has_dead_letters(table.name):
            reader.create_dead_letters_view(self.connection, ["dead letters"], table)
            parked = (
                'EXISTS (SELECT 1 FROM "dead letters" AS dead WHERE dead._batch = latest._batch'
                f" AND dead.key = {key_json(table, 'latest')})"
            )
        self.connection.execute(
            f"""
            CREATE OR REPLACE VIEW "known latest" AS
            SELECT *, {parked} AS _parked
            FROM (SELECT {key}, max(_batch) AS _batch, arg_max(_hash, _batch) AS _hash
                  FROM "all versions" GROUP BY {key} HAVING arg_max(_change, _batch) <> 'delete') AS latest
            """
        )

        def last_values(keys: str) -> str:
            return f"""
                SELECT * EXCLUDE (_valid) FROM (
                  SELECT *, true AS _valid FROM "valid versions" SEMI JOIN {keys} USING ({key})
                  UNION ALL BY NAME
                  SELECT *, false AS _valid FROM "all versions" SEMI JOIN {keys} USING ({key}))
                QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY _valid DESC, _batch DESC) = 1
            """

        broken = "NULL" if parked == "false" else broken_rules_sql(table, "source", self._parents(table))
        return Known('"known latest"', last_values, broken, is_empty=False)

    def _set_dead_letters_apart(self, table: Table) -> int:
        """Add the batch's rows that break a rule to the dead-letter table, and count them."""
        lake, source = self.extractor.lake, self.extractor.source.name
        self._reader.create_versions_view(
            self.connection, ["batch"], table, after=self.batch - 1, uncommitted=self.batch, valid_only=False
        )
        reason = broken_rules_sql(table, "version", self._parents(table))
        members = ", ".join(f"{literal(name)}, {quote('version', name)}" for name in table.column_names)
        names = columns_sql([column.name for column in DEAD_LETTER_COLUMNS])
        dead = self.connection.sql(
            f"""
            SELECT {names} FROM (
              SELECT {literal(source)} AS source, {literal(table.name)} AS "table",
                     {key_json(table, "version")} AS key, {reason} AS reason,
                     CAST(json_object({members}) AS VARCHAR) AS row, _change, _batch, _seen_at
              FROM "batch" AS version)
            WHERE reason IS NOT NULL
            """
        ).to_arrow_reader(ROWS_PER_BATCH)
        counted = _Counted(dead)
        rows = peek(counted.reader)
        if rows is None:
            return 0
        letters = lake.dead_letters
        letters.append(letters.open(), rows, stream=f"{_stream(source)}/{table.name}", version=self.batch)
        self.dead_lettered.add(table.name)
        return counted.rows

    def _has_dead_letters(self, table: str) -> bool:
        return table in self.dead_lettered or self.state.dead_letters(self.extractor.source.name, table) > 0

    def _parents(self, table: Table) -> dict[str, str]:
        """The SELECTs of valid parent keys, for the foreign keys that a row could break.

        Those that the source enforces cannot be broken, unless the parent row itself is a dead letter.
        """
        selects = {}
        by_name = {parent.name: parent for parent in self._declared_parents(table)}
        for column, name in table.foreign_keys:
            if (table.name, column, name) in self.enforced and not self._has_dead_letters(name):
                continue
            parent = by_name.get(name)
            if parent is None:
                continue
            view = f"parent {name}"
            self._reader.create_versions_view(self.connection, [view], parent, uncommitted=self.batch)
            selects[column] = f"SELECT {columns_sql(parent.primary_key)} FROM {quote(view)}"
        return selects

    def _declared_parents(self, table: Table) -> list[Table]:
        """The tables that `table` references and that the lake holds, this batch included."""
        lake, source = self.extractor.lake, self.extractor.source
        names = {name for _, name in table.foreign_keys}
        return [
            parent
            for parent in source.tables
            if parent.name in names and lake.bronze(source.name, parent).open() is not None
        ]


def sample_rows(
    lake: Lake, engine: SqlEngine, source: str, tables: Sequence[Table], limit: int = 5
) -> dict[str, list[dict[str, Any]]]:
    """A few rows of each table's newest batch, for people to look at: declared columns, change, batch."""
    state = lake.ledger.read()
    reader = BronzeReader(lake, source, state)
    rows = {}
    with engine.connect() as connection:
        for table in tables:
            last = state.last_batch_of([(source, table.name)])
            reader.create_versions_view(connection, ["sampled"], table, after=last - 1)
            names = columns_sql([*table.column_names, "_change", "_batch"])
            rows[table.name] = fetch_rows(connection, f"SELECT {names} FROM sampled LIMIT {limit:d}")
    return rows


class _Counted:
    """A stream that knows how many rows went through it."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self.rows = 0
        self.reader = pa.RecordBatchReader.from_batches(reader.schema, self._count(reader))

    def _count(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            self.rows += batch.num_rows
            yield batch


def _stream(source: str) -> str:
    return f"platform_assets/{source}"
