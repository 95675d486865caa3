"""Comparison of rows read from the source with their latest versions in the lake; yields bronze rows.

A bounded number of rows is looked up at a time, so that memory does not grow with the table. This module
writes nothing.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.lake.arrow import arrow_schema, one_array
from platform_assets.lake.content_hash import content_hash
from platform_assets.lake.duck import ROWS_PER_BATCH
from platform_assets.model.dialects import columns_sql, literal
from platform_assets.model.table import HASH_COLUMN, PLATFORM_COLUMNS, Table

if TYPE_CHECKING:
    import duckdb

_ROWS_PER_LOOKUP = 262_144
_BYTES_PER_LOOKUP = 48 * 1024 * 1024


@dataclass(frozen=True)
class LakeState:
    """A table's state in the lake, as SQL for the DuckDB connection that compares rows.

    Args:
        create: Creates the views that the SQL reads, and returns the quoted name of the view of all committed
            versions, with all bronze columns. Views that open files cost more than a look at the source which
            finds nothing new.
        last_values: Takes a quoted relation of primary keys; returns SQL for the row versions that record the
            deletion of these rows: the latest valid version of each, or the latest if none is valid.
        mended: SQL for the latest versions, with all bronze columns, of dead letters that no longer break a
            rule; empty if the table has no dead letters.
    """

    create: Callable[[], str]
    last_values: Callable[[str], str]
    mended: str = ""

    @cached_property
    def versions(self) -> str:
        """The quoted view of all committed versions."""
        return self.create()


@dataclass
class Changes:
    """The changes of one table in one batch, counted as they are streamed.

    Args:
        counts: Number of rows per kind of change.
        rows_read: Number of rows read from the source.
        watermark: The largest value seen in the watermark column, see `Cursor.watermark`.
        look_seconds: Duration of the search for deletions.
    """

    counts: Counter[str] = field(default_factory=Counter)
    rows_read: int = 0
    watermark: int | None = None
    look_seconds: float = 0


def hashed_schema(table: Table) -> pa.Schema:
    """Return the Arrow schema of a table's rows with their content hash."""
    return arrow_schema((*table.columns, HASH_COLUMN))


def bronze_schema(table: Table) -> pa.Schema:
    """Return the Arrow schema of a bronze table."""
    return arrow_schema((*table.columns, *PLATFORM_COLUMNS, HASH_COLUMN))


def with_hash(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Add the content hash of the rows as the last column."""
    hashes = content_hash(batch, batch.schema.names)
    schema = batch.schema.append(pa.field(HASH_COLUMN.name, pa.int64()))
    return pa.RecordBatch.from_arrays([*batch.columns, hashes], schema=schema)


@dataclass(frozen=True)
class Comparison:
    """Comparison of one table's rows with the lake, for one batch.

    Args:
        connection: The DuckDB connection in which `known` creates its views.
        table: The table's declaration.
        known: The table's state in the lake; None if the lake has no version of any row.
        batch: Number of the batch that records the changes.
        seen_at: Time of the snapshot, UTC.
        watermark_column: The column whose largest value is stored in `Changes`.
        trust_hashes: Whether to compare with the hashes stored in the lake; otherwise the lake's values are
            read and hashed again.
    """

    connection: duckdb.DuckDBPyConnection
    table: Table
    known: LakeState | None
    batch: int
    seen_at: dt.datetime
    watermark_column: str | None = None
    trust_hashes: bool = True

    def changed(self, rows: pa.RecordBatchReader, changes: Changes) -> Iterator[pa.RecordBatch]:
        """Stream the inserts and updates among the rows read, as bronze rows.

        Args:
            rows: Rows with their content hash, as `hashed_schema`; at most one row per key.
            changes: Counter of the changes.
        """
        stamp = BatchStamp(bronze_schema(self.table), self.batch, self.seen_at)
        source = self._watched(rows, changes)
        if self.known is None:
            for batch in source:
                changes.counts["insert"] += batch.num_rows
                yield from stamp.bronze(batch, "insert")
            return
        for chunk in _chunks(source):
            found = self._look_up(chunk, self.known)
            for change, positions in zip(("insert", "update"), found, strict=True):
                if not len(positions):
                    continue
                changes.counts[change] += len(positions)
                for batch in chunk.take(positions).combine_chunks().to_batches():
                    yield from stamp.bronze(batch, change)

    def deleted(self, keys: str, changes: Changes) -> Iterator[pa.RecordBatch]:
        """Stream the deletions of the rows with these keys, as bronze rows with their last values.

        Args:
            keys: Quoted relation of primary keys.
            changes: Counter of the changes.
        """
        if self.known is not None:
            yield from self._from_lake(self.known.last_values(keys), "delete", changes)

    def mended(self, touched: str, changes: Changes) -> Iterator[pa.RecordBatch]:
        """Stream, as updates, unchanged rows that were dead letters and now keep all rules.

        Args:
            touched: Quoted relation of the keys of rows for which this batch has another version.
            changes: Counter of the changes.
        """
        if self.known is not None and self.known.mended:
            keys = columns_sql(self.table.primary_key)
            query = f"SELECT * FROM ({self.known.mended}) ANTI JOIN {touched} USING ({keys})"
            yield from self._from_lake(query, "update", changes)

    def _from_lake(self, versions: str, change: str, changes: Changes) -> Iterator[pa.RecordBatch]:
        schema = bronze_schema(self.table)
        moment = self.seen_at.astimezone(dt.UTC).isoformat(sep=" ", timespec="microseconds")
        query = (
            f"SELECT {columns_sql(self.table.column_names)}, {literal(change)} AS _change, "
            f"CAST({self.batch:d} AS BIGINT) AS _batch, CAST({literal(moment)} AS TIMESTAMPTZ) AS _seen_at, "
            f"_hash FROM ({versions})"
        )
        for batch in self.connection.sql(query).to_arrow_reader(ROWS_PER_BATCH):
            if batch.num_rows:
                changes.counts[change] += batch.num_rows
                yield batch.cast(schema)

    def _watched(self, rows: pa.RecordBatchReader, changes: Changes) -> Iterator[pa.RecordBatch]:
        for batch in rows:
            changes.rows_read += batch.num_rows
            if self.watermark_column is not None and batch.num_rows:
                largest = pc.max(batch[self.watermark_column])
                if largest.is_valid:
                    value = largest.cast(pa.int64() if largest.type.bit_width == 64 else pa.int32()).as_py()
                    changes.watermark = max(value, changes.watermark or value)
            yield batch

    def _look_up(self, chunk: pa.Table, known: LakeState) -> tuple[pa.Array, pa.Array]:
        """Return the positions in a chunk of the new rows and of the rows that differ."""
        key = columns_sql(self.table.primary_key)
        positions = pa.Array.from_buffers(
            pa.int64(), chunk.num_rows, [None, pa.py_buffer(np.arange(chunk.num_rows, dtype=np.int64))]
        )
        looked_up = chunk.select([*self.table.primary_key, HASH_COLUMN.name]).append_column(
            "_position", positions
        )
        self.connection.register("looked up", looked_up)
        if self.trust_hashes:
            latest = f"""
                SELECT {key}, arg_max(_hash, _batch) AS _hash, arg_max(_change, _batch) AS _change
                FROM {known.versions} SEMI JOIN "looked up" USING ({key}) GROUP BY {key}
            """
        else:
            self.connection.register("rehashed", self._rehashed(known))
            latest = 'FROM "rehashed"'
        found = (
            self.connection.sql(
                f"""
                SELECT _position, known._change IS NULL OR known._change = 'delete' AS is_insert
                FROM "looked up" AS candidate
                LEFT JOIN ({latest}) AS known USING ({key})
                WHERE known._change IS NULL OR known._change = 'delete' OR known._hash <> candidate._hash
                """
            )
            .to_arrow_reader(_ROWS_PER_LOOKUP)
            .read_all()
            .combine_chunks()
        )
        self.connection.unregister("looked up")
        is_insert = found["is_insert"]
        return (
            one_array(found["_position"].filter(is_insert)),
            one_array(found["_position"].filter(pc.invert(is_insert))),
        )

    def _rehashed(self, known: LakeState) -> pa.Table:
        """Return key, change and newly computed hash of the latest versions of the rows to look up."""
        key = columns_sql(self.table.primary_key)
        schema = arrow_schema(self.table.columns).append(pa.field("_change", pa.string()))
        names = [*self.table.primary_key, "_change", HASH_COLUMN.name]
        latest = self.connection.sql(
            f"""
            SELECT {columns_sql(self.table.column_names)}, _change
            FROM {known.versions} SEMI JOIN "looked up" USING ({key})
            QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY _batch DESC) = 1
            """
        )
        found = []
        for batch in latest.to_arrow_reader(ROWS_PER_BATCH):
            rows = batch.cast(schema)
            hashes = content_hash(rows, self.table.column_names)
            found.append(pa.RecordBatch.from_arrays([*(rows[name] for name in names[:-1]), hashes], names))
        if found:
            return pa.Table.from_batches(found)
        empty = schema.empty_table().select(names[:-1])
        return empty.append_column(HASH_COLUMN.name, pa.nulls(0, pa.int64()))


def _chunks(rows: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Gather batches into chunks that are looked up at once."""
    gathered: list[pa.RecordBatch] = []
    count = size = 0
    for batch in rows:
        gathered.append(batch)
        count, size = count + batch.num_rows, size + batch.nbytes
        if count >= _ROWS_PER_LOOKUP or size >= _BYTES_PER_LOOKUP:
            yield pa.Table.from_batches(gathered)
            gathered, count, size = [], 0, 0
    if count:
        yield pa.Table.from_batches(gathered)


class BatchStamp:
    """The platform's columns to add to rows: arrays of one value, built once and sliced."""

    def __init__(self, schema: pa.Schema, batch: int, seen_at: dt.datetime) -> None:
        self._schema = schema
        self._batch = batch
        self._moment = (seen_at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
        self._length = 0
        self._constants: dict[str, tuple[pa.Array, ...]] = {}

    def bronze(self, rows: pa.RecordBatch, change: str) -> Iterator[pa.RecordBatch]:
        """Yield hashed rows as bronze rows, in pieces of the Delta writer's batch size."""
        if rows.num_rows > self._length:
            self._grow(rows.num_rows)
        stamps = (constant.slice(0, rows.num_rows) for constant in self._constants[change])
        whole = pa.RecordBatch.from_arrays(
            [*rows.columns[:-1], *stamps, rows.columns[-1]], schema=self._schema
        )
        for start in range(0, rows.num_rows, ROWS_PER_BATCH):
            yield whole.slice(start, ROWS_PER_BATCH)

    def _grow(self, length: int) -> None:
        # Built from buffers, because converting a Python value to Arrow imports pandas.
        batch = _constant(pa.int64(), self._batch, length)
        seen_at = _constant(self._schema.field("_seen_at").type, self._moment, length)
        self._constants = {
            change: (_constant_text(change, length), batch, seen_at) for change in ("insert", "update")
        }
        self._length = length


def _constant(type_: pa.DataType, value: int, length: int) -> pa.Array:
    return pa.Array.from_buffers(type_, length, [None, pa.py_buffer(np.full(length, value, np.int64))])


def _constant_text(text: str, length: int) -> pa.Array:
    data = text.encode()
    offsets = np.arange(length + 1, dtype=np.int32) * np.int32(len(data))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data * length)]
    return pa.Array.from_buffers(pa.string(), length, buffers)
