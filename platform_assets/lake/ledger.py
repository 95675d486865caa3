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
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from platform_assets.lake.arrow import table_of, time_of
from platform_assets.lake.batches import Batches
from platform_assets.lake.delta import LakeTable
from platform_assets.model.table import Column, Integer, Text, Timestamp

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from numpy.typing import NDArray

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
        pairs, places = self._places
        pair = source, table
        if pair not in pairs:
            return Batches()
        if pair not in self._batches:
            changed = self._is_changed & (places == pairs[pair])
            self._batches[pair] = Batches(self._numbers("batch")[changed])
        return self._batches[pair]

    def entries_of(self, source: str) -> frozenset[tuple[int, str]]:
        """Return the batch and table of every entry of a source."""
        names = ("source", "batch", "table")
        entries = zip(*(self.rows[name].to_pylist() for name in names), strict=True)
        return frozenset((batch, table) for name, batch, table in entries if name == source)

    def row_count(self, source: str, table: str) -> int:
        """Return the source table's row count at its last batch: all inserted rows minus all deleted rows."""
        totals = self._totals.get((source, table))
        return totals.inserted - totals.deleted if totals else 0

    def dead_letters(self, source: str, table: str) -> int:
        """Return the number of a table's row versions that have ever been dead letters."""
        totals = self._totals.get((source, table))
        return totals.dead_lettered if totals else 0

    def seen_at(self, batch: int) -> dt.datetime | None:
        """Return the time (UTC) of a batch's snapshot; None if the ledger does not list the batch."""
        [found] = np.nonzero(self._numbers("batch") == batch)
        if not len(found):
            return None
        micros = self.rows["seen_at"].slice(int(found[-1]), 1).cast(pa.timestamp("us", tz="UTC"))
        return time_of(micros.cast(pa.int64()).to_pylist()[0])

    # After some years the ledger has millions of rows: nothing here handles them one by one.
    def _numbers(self, name: str) -> NDArray[np.int64]:
        # Of no chunks, pyarrow makes an array with the help of pandas.
        return (
            _integers(self.rows[name].combine_chunks(), np.int64) if len(self.rows) else np.zeros(0, np.int64)
        )

    @cached_property
    def _batches(self) -> dict[tuple[str, str], Batches]:
        """The batches of the tables that were asked for so far."""
        return {}

    @cached_property
    def _is_changed(self) -> NDArray[np.bool_]:
        """For each row, whether its batch changed its table."""
        inserted, updated, deleted = (self._numbers(name) for name in ("inserted", "updated", "deleted"))
        changed: NDArray[np.bool_] = (inserted != 0) | (updated != 0) | (deleted != 0)
        return changed

    @cached_property
    def _places(self) -> tuple[Mapping[tuple[str, str], int], NDArray[np.int64]]:
        """The number of each (source, table) pair, and for each row the number of its pair."""
        if not len(self.rows):
            return {}, np.zeros(0, np.int64)
        names: list[list[str]] = []
        columns: list[NDArray[np.int64]] = []
        for name in ("source", "table"):
            encoded = self.rows[name].combine_chunks().dictionary_encode()
            names.append(encoded.dictionary.to_pylist())
            columns.append(_integers(encoded.indices, np.int32).astype(np.int64))
        sources, tables = names
        pairs = {
            (source, table): first * len(tables) + second
            for first, source in enumerate(sources)
            for second, table in enumerate(tables)
        }
        return pairs, columns[0] * len(tables) + columns[1]

    @cached_property
    def _totals(self) -> Mapping[tuple[str, str], _Totals]:
        pairs, places = self._places
        sums = {}
        for name in ("inserted", "deleted", "dead_lettered"):
            sums[name] = np.zeros(len(pairs), np.int64)
            np.add.at(sums[name], places, self._numbers(name))
        last = np.zeros(len(pairs), np.int64)
        np.maximum.at(last, places[self._is_changed], self._numbers("batch")[self._is_changed])
        return {
            pair: _Totals(int(last[place]), *(int(sum_[place]) for sum_ in sums.values()))
            for pair, place in pairs.items()
        }


@dataclass(frozen=True)
class _Totals:
    """Totals of all batches for one table."""

    last_batch: int
    inserted: int
    deleted: int
    dead_lettered: int


def _integers(array: pa.Array, width: type[np.int32 | np.int64]) -> NDArray[Any]:
    """Return an array without NULLs as NumPy's; pyarrow imports pandas for it, half a second per tick."""
    if not len(array):
        return np.zeros(0, width)
    return np.frombuffer(array.buffers()[1], width, len(array), array.offset * np.dtype(width).itemsize)


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
