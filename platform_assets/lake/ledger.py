"""The ledger: the list of committed batches.

No reader sees a batch until a single commit to the ledger declares it complete.

Grain: one row per batch and table that the batch changed. Rows that a crash left in a table, under a batch
number that the ledger does not list for that table, are never read, and the number is never reused for the
table.

Each commit stores the capture cursor of every table in its metadata, so data and cursors are committed
together. A row with no changes means that only the table's cursor has moved.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.lake.arrow import table_of
from platform_assets.lake.batches import Batches
from platform_assets.lake.delta import LakeTable
from platform_assets.model.table import Column, Integer, Text, Timestamp

if TYPE_CHECKING:
    from deltalake import DeltaTable

LEDGER_COLUMNS = (
    Column("batch", Integer(64), "Number of the batch; increasing, with gaps after failed attempts"),
    Column("source", Text(), "Name of the source"),
    Column("table", Text(), "Changed table"),
    Column("inserted", Integer(64), "Number of new rows"),
    Column("updated", Integer(64), "Number of rows that differ from the lake's latest version"),
    Column("deleted", Integer(64), "Number of deleted rows"),
    Column("dead_lettered", Integer(64), "Number of these rows in the dead-letter table"),
    Column("snapshot", Text(), "PostgreSQL's snapshot (xmin:xmax:xip_list) of the batch"),
    Column("seen_at", Timestamp(utc=True), "Time of that snapshot, by the source's clock, UTC"),
    Column(
        "committed_at",
        Timestamp(utc=True),
        "Time of the commit, by the platform's clock, UTC",
    ),
)
_STREAM = "ledger"
CURSORS = "platform_assets.cursors"
"""Commit metadata: the capture cursor of each table."""
# Commits of other tools (such as OPTIMIZE) carry no cursors; up to this many are skipped.
_LONGEST_LOOK_BACK = 100


@dataclass(frozen=True)
class LedgerEntry:
    """Changes of one batch to one table; the fields are those of `LEDGER_COLUMNS`."""

    batch: int
    source: str
    table: str
    inserted: int
    updated: int
    deleted: int
    dead_lettered: int
    snapshot: str
    seen_at: dt.datetime
    committed_at: dt.datetime


@dataclass(frozen=True)
class LedgerState:
    """State of the ledger as it was read: the base of the next batch.

    Args:
        table: The ledger's table.
        handle: The table at that version; None before the first batch.
        rows: The table's rows, with `LEDGER_COLUMNS`.
        lake_id: Identity of this lake, created with its first batch; empty before.
    """

    table: LakeTable
    handle: DeltaTable | None
    rows: pa.Table
    lake_id: str

    @property
    def version(self) -> int:
        """Version of the ledger's table, -1 before the first batch."""
        return int(self.handle.version()) if self.handle is not None else -1

    @cached_property
    def last_batch(self) -> int:
        """Number of the newest batch, 0 before the first."""
        return self.handle.transaction_version(_STREAM) or 0 if self.handle is not None else 0

    @cached_property
    def cursors(self) -> Mapping[str, str]:
        """Capture cursor of each table, as JSON in the source's own format, by `source/table`."""
        stored = self.table.commit_metadata(self.handle, CURSORS, look_back=_LONGEST_LOOK_BACK)
        return dict(json.loads(stored)) if stored else {}

    def last_batch_of(self, tables: Iterable[tuple[str, str]]) -> int:
        """Return the newest batch that changed any of these (source, table) pairs; 0 if no batch did."""
        return max((self._totals[pair].last_batch for pair in tables if pair in self._totals), default=0)

    def batches_of(self, source: str, table: str) -> Batches:
        """Return the numbers of the batches that changed a table.

        Batches that only moved the table's cursor are left out: rows that a lost race wrote under such a
        number must not be read.
        """
        return self._batches.get((source, table), Batches())

    def entries_of(self, source: str) -> frozenset[tuple[int, str]]:
        """Return the batch and table of every entry of a source."""
        names = ("source", "batch", "table")
        entries = zip(*(self.rows[name].to_pylist() for name in names), strict=True)
        return frozenset((batch, table) for one, batch, table in entries if one == source)

    def row_count(self, source: str, table: str) -> int:
        """Return the source table's row count at its last batch: all inserted rows minus all deleted rows."""
        totals = self._totals.get((source, table))
        return totals.inserted - totals.deleted if totals else 0

    def dead_letters(self, source: str, table: str) -> int:
        """Return the number of a table's row versions that have ever been dead letters."""
        totals = self._totals.get((source, table))
        return totals.dead_lettered if totals else 0

    @cached_property
    def seen_at_by_batch(self) -> Mapping[int, dt.datetime]:
        """Time (UTC) of each batch's snapshot, by batch number."""
        return dict(zip(self.rows["batch"].to_pylist(), self.rows["seen_at"].to_pylist(), strict=True))

    @cached_property
    def _batches(self) -> Mapping[tuple[str, str], Batches]:
        batches: dict[tuple[str, str], list[int]] = {}
        names = ("source", "table", "batch", "inserted", "updated", "deleted")
        for source, table, batch, *counts in zip(
            *(self.rows[name].to_pylist() for name in names), strict=True
        ):
            if any(counts):
                batches.setdefault((source, table), []).append(batch)
        return {pair: Batches(numbers) for pair, numbers in batches.items()}

    @cached_property
    def _totals(self) -> Mapping[tuple[str, str], _Totals]:
        # Computed in Python: converting a Python value to Arrow imports pandas, half a second per tick.
        totals: dict[tuple[str, str], _Totals] = {}
        names = ("source", "table", "batch", "inserted", "updated", "deleted", "dead_lettered")
        for source, table, *counts in zip(*(self.rows[name].to_pylist() for name in names), strict=True):
            totals[source, table] = totals.get((source, table), _Totals()).plus(*counts)
        return totals


@dataclass(frozen=True)
class _Totals:
    """Totals of all batches for one table."""

    last_batch: int = 0
    inserted: int = 0
    deleted: int = 0
    dead_lettered: int = 0

    def plus(self, batch: int, inserted: int, updated: int, deleted: int, dead_lettered: int) -> _Totals:
        return _Totals(
            max(self.last_batch, batch) if inserted or updated or deleted else self.last_batch,
            self.inserted + inserted,
            self.deleted + deleted,
            self.dead_lettered + dead_lettered,
        )


@dataclass(frozen=True)
class Ledger:
    """The ledger of one lake."""

    table: LakeTable

    def read(self) -> LedgerState:
        """Read the current state of the ledger."""
        handle = self.table.open()
        rows = self.table.scan(handle).read_all()
        return LedgerState(self.table, handle, rows, str(handle.metadata().id) if handle is not None else "")

    def commit(
        self, state: LedgerState, entries: Sequence[LedgerEntry], cursors: Mapping[str, str] | None = None
    ) -> None:
        """Declare a batch complete.

        Args:
            state: The ledger that the batch was built on.
            entries: One entry per table that changed or whose cursor moved; all of the same batch.
            cursors: New capture cursors of these tables, as in `LedgerState.cursors`; the cursors of all
                other tables stay the same.

        Raises:
            LakeConflict: Another batch was declared since `state` was read, so this batch is based on an old
                state.
        """
        rows = table_of([vars(entry) for entry in entries], self.table.arrow_schema)
        metadata = {CURSORS: json.dumps({**state.cursors, **(cursors or {})}, ensure_ascii=False)}
        self.table.append(state.handle, rows, stream=_STREAM, version=entries[0].batch, metadata=metadata)
