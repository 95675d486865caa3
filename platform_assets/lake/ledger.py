"""The ledger: which batches count.

A batch is read by nobody until one commit here says that all of it is there.

Grain: one row per batch and table that the batch changed. What a crash left in a table under a batch number
that the ledger does not have for that table is never read, and that number is never used for the table again.

Each commit carries, in its metadata, where every table's capture has got to: data and cursors are one fact. A
row that counts no change says that only its table's cursor has moved.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import duckdb_type
from platform_assets.model.table import Column, Integer, Text, Timestamp

if TYPE_CHECKING:
    from deltalake import DeltaTable

LEDGER_COLUMNS = (
    Column("batch", Integer(64), "Number of the batch; grows, with gaps where an attempt failed"),
    Column("source", Text(), "Name of the source"),
    Column("table", Text(), "Table that the batch changed"),
    Column("inserted", Integer(64), "Rows that were new"),
    Column("updated", Integer(64), "Rows whose content differed from the lake's latest version"),
    Column("deleted", Integer(64), "Rows that were gone"),
    Column("dead_lettered", Integer(64), "How many of these went to the dead-letter table"),
    Column("snapshot", Text(), "PostgreSQL's snapshot (xmin:xmax:xip_list) that the batch was read in"),
    Column("seen_at", Timestamp(utc=True), "When that snapshot was taken, by the source's clock, UTC"),
    Column(
        "committed_at",
        Timestamp(utc=True),
        "When the batch was declared complete, by the platform's clock, UTC",
    ),
)
_STREAM = "ledger"
_CURSORS = "platform_assets.cursors"
# Commits that are not the platform's (an OPTIMIZE, say) carry none; so many of them are looked past.
_LONGEST_LOOK_BACK = 100


@dataclass(frozen=True)
class LedgerEntry:
    """What one batch did to one table; the fields are those of `LEDGER_COLUMNS`."""

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
    """The ledger as it was read: the base on which the next batch is built.

    Args:
        table: The ledger's table.
        handle: It at that version, None before the first batch.
        rows: Its rows, as `LEDGER_COLUMNS`.
        lake_id: Identity of this lake, made with its first batch; empty before.
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
        """Where the capture of each table has got to, in the words of the source: JSON by `source/table`."""
        said = self.table.commit_metadata(self.handle, _CURSORS, look_back=_LONGEST_LOOK_BACK)
        return dict(json.loads(said)) if said else {}

    def last_batch_of(self, tables: Iterable[tuple[str, str]]) -> int:
        """Number of the newest batch that changed any of these (source, table) pairs; 0 where none did."""
        return max((self._totals[pair].last_batch for pair in tables if pair in self._totals), default=0)

    def batches_of(self, source: str, table: str) -> frozenset[int]:
        """Numbers of the batches that changed a table.

        One that moved its cursor alone is not among them: what a loser of a race wrote under that number does
        not count.
        """
        return frozenset(self._batches.get((source, table), ()))

    def entries_of(self, source: str) -> frozenset[tuple[int, str]]:
        """Batch and table of every entry of a source."""
        names = ("source", "batch", "table")
        entries = zip(*(self.rows[name].to_pylist() for name in names), strict=True)
        return frozenset((batch, table) for one, batch, table in entries if one == source)

    def row_count(self, source: str, table: str) -> int:
        """Rows that the source table had at its last batch: all ever inserted less all deleted."""
        totals = self._totals.get((source, table))
        return totals.inserted - totals.deleted if totals else 0

    def dead_letters(self, source: str, table: str) -> int:
        """Number of row versions of a table that ever were dead letters."""
        totals = self._totals.get((source, table))
        return totals.dead_lettered if totals else 0

    @cached_property
    def seen_at_by_batch(self) -> Mapping[int, dt.datetime]:
        """When each batch's snapshot was taken, UTC."""
        return dict(zip(self.rows["batch"].to_pylist(), self.rows["seen_at"].to_pylist(), strict=True))

    @cached_property
    def _batches(self) -> Mapping[tuple[str, str], list[int]]:
        batches: dict[tuple[str, str], list[int]] = {}
        names = ("source", "table", "batch", "inserted", "updated", "deleted")
        for source, table, batch, *counts in zip(
            *(self.rows[name].to_pylist() for name in names), strict=True
        ):
            if any(counts):
                batches.setdefault((source, table), []).append(batch)
        return batches

    @cached_property
    def _totals(self) -> Mapping[tuple[str, str], _Totals]:
        # In Python: whatever turns a Python value into an Arrow one imports pandas, half a second for every
        # tick.
        totals: dict[tuple[str, str], _Totals] = {}
        names = ("source", "table", "batch", "inserted", "updated", "deleted", "dead_lettered")
        for source, table, *counts in zip(*(self.rows[name].to_pylist() for name in names), strict=True):
            totals[source, table] = totals.get((source, table), _Totals()).plus(*counts)
        return totals


@dataclass(frozen=True)
class _Totals:
    """What all batches did to one table."""

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
        """The ledger as it is now."""
        handle = self.table.open()
        rows = self.table.scan(handle).read_all()
        return LedgerState(self.table, handle, rows, str(handle.metadata().id) if handle is not None else "")

    def commit(
        self, state: LedgerState, entries: Sequence[LedgerEntry], cursors: Mapping[str, str] | None = None
    ) -> None:
        """Declare a batch complete.

        Args:
            state: The ledger that the batch was built on.
            entries: One per table that changed, or whose cursor alone has moved; all of the same batch.
            cursors: Where the capture of these tables has got to, as in `LedgerState.cursors`; all others
                stay where they were.

        Raises:
            LakeConflict: Another batch was declared since `state` was read, so this one rests on an old
                state.
        """
        # By way of DuckDB, as pyarrow imports pandas to make arrays of Python values.
        import duckdb

        schema = self.table.arrow_schema
        row = f"({', '.join(f'CAST(? AS {duckdb_type(column.type)})' for column in LEDGER_COLUMNS)})"
        values = ", ".join([row] * len(entries))
        with duckdb.connect() as connection:
            parameters = [value for entry in entries for value in astuple(entry)]
            found = connection.sql(f"FROM (VALUES {values})", params=parameters).to_arrow_table()
        rows = found.rename_columns(schema.names).cast(schema)
        metadata = {_CURSORS: json.dumps({**state.cursors, **(cursors or {})}, ensure_ascii=False)}
        self.table.append(state.handle, rows, stream=_STREAM, version=entries[0].batch, metadata=metadata)
