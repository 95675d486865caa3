"""Change capture: which rows of a source table differ from the lake's latest version of them.

A capture gets what the lake knows and gives what changed, as a stream of bronze rows; it writes nothing.
There is one so far, the full comparison; captures that read less fit the same interface.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from platform_assets.lake.arrow import arrow_schema
from platform_assets.lake.duck import ROWS_PER_BATCH, columns_sql, literal, quote
from platform_assets.model.table import HASH_COLUMN, PLATFORM_COLUMNS, Column, Table, Text

if TYPE_CHECKING:
    import duckdb

    from platform_assets.source.snapshot import Snapshot


@dataclass(frozen=True)
class Known:
    """What the lake knows of a table, as views in the DuckDB connection that the capture works in.

    Args:
        latest: Quoted view of the latest version of each row that is not deleted: the primary key, `_hash`,
            and `_parked`, true where that version is a dead letter.
        last_values: Given a quoted relation of primary keys, SQL for the row versions that deletions of these
            rows are recorded with: the latest valid one of each, or the latest where none is valid; all
            bronze columns.
        broken_rules: SQL that names the rules a row called `source` breaks, NULL where it keeps all.
        is_empty: Whether the lake knows no row at all.
    """

    latest: str
    last_values: Callable[[str], str]
    broken_rules: str
    is_empty: bool


@dataclass(frozen=True)
class Changes:
    """The changed rows of one table, to be consumed once.

    Args:
        rows: Bronze rows: declared columns, `_change`, `_batch`, `_seen_at`, `_hash`.
        counts: Rows per kind of change; complete when `rows` has been consumed.
    """

    rows: pa.RecordBatchReader
    counts: Counter[str]


class Capture(Protocol):
    """A way to find what changed in a table."""

    def changes(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
        snapshot: Snapshot,
        rows: pa.RecordBatchReader,
        known: Known,
        batch: int,
    ) -> Changes:
        """Find the changes between the lake's latest versions and a snapshot.

        Args:
            connection: A DuckDB connection in which the views of `known` exist.
            table: The table's declaration.
            snapshot: The snapshot to compare with.
            rows: The table's rows in it, columns and types as declared.
            known: What the lake holds.
            batch: Number that the changes are recorded under.
        """


def bronze_schema(table: Table) -> pa.Schema:
    """Arrow schema of a bronze table."""
    return arrow_schema((*table.columns, *PLATFORM_COLUMNS, HASH_COLUMN))


def content_hash_sql(table: Table, alias: str) -> str:
    """SQL (DuckDB) for a row's content hash: 60 bits of the MD5 of a text of its declared columns.

    The text is part of the lake's format: every version ever written is compared by it. Nulls differ from
    empty texts, and a text's length goes before it, so that no two different rows share one.
    """
    values = ", ".join(
        part for column in table.columns for part in _canonical(column, quote(alias, column.name))
    )
    return f"CAST('0x' || substr(md5(concat_ws(chr(31), {values})), 1, 15) AS BIGINT)"


def _canonical(column: Column, value: str) -> tuple[str, ...]:
    # The source may hold NULL even where none is allowed, and concat_ws would leave it out without a trace.
    if isinstance(column.type, Text):
        return f"coalesce(strlen({value}), -1)", f"coalesce({value}, '')"
    if pa.types.is_timestamp(arrow_schema([column]).field(0).type):
        return (f"coalesce(CAST(epoch_us({value}) AS VARCHAR), '-')",)
    return (f"coalesce(CAST({value} AS VARCHAR), '-')",)


@dataclass(frozen=True)
class FullComparison:
    """Reads the whole table and compares content hashes: sees every edit, whatever `last_updated` says."""

    def changes(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
        snapshot: Snapshot,
        rows: pa.RecordBatchReader,
        known: Known,
        batch: int,
    ) -> Changes:
        """See `Capture.changes`."""
        stamp = (
            f"CAST({batch:d} AS BIGINT) AS _batch, "
            f"CAST({literal(_sql_timestamp(snapshot.taken_at))} AS TIMESTAMPTZ) AS _seen_at"
        )
        connection.register("source rows", rows)
        hashed = f'(SELECT *, {content_hash_sql(table, "raw")} AS _hash FROM "source rows" AS raw)'
        columns = columns_sql(table.column_names, "source")
        if known.is_empty:
            query = (
                f"SELECT {columns}, 'insert' AS _change, {stamp}, source._hash, "
                f"true AS is_insert, false AS is_delete FROM {hashed} AS source"
            )
        else:
            keys = ", ".join(
                f"coalesce({quote('source', name)}, {quote('known', name)}) AS {quote(name)}"
                if name in table.primary_key
                else quote("source", name)
                for name in table.column_names
            )
            match = " AND ".join(f"{quote('source', k)} = {quote('known', k)}" for k in table.primary_key)
            query = f"""
                SELECT {keys},
                  CASE WHEN source._hash IS NULL THEN 'delete'
                       WHEN known._hash IS NULL THEN 'insert' ELSE 'update' END AS _change,
                  {stamp}, source._hash, known._hash IS NULL AS is_insert, source._hash IS NULL AS is_delete
                FROM {hashed} AS source FULL JOIN {known.latest} AS known ON {match}
                WHERE source._hash IS NULL OR known._hash IS NULL OR source._hash <> known._hash
                  OR (known._parked AND ({known.broken_rules}) IS NULL)
            """
        counts: Counter[str] = Counter()
        stream = self._split(connection, table, query, known, stamp, counts)
        return Changes(pa.RecordBatchReader.from_batches(bronze_schema(table), stream), counts)

    def _split(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: Table,
        query: str,
        known: Known,
        stamp: str,
        counts: Counter[str],
    ) -> Iterator[pa.RecordBatch]:
        """Pass inserts and updates on as they come, and end with the deletions, filled from the lake."""
        schema = bronze_schema(table)
        gone: list[pa.RecordBatch] = []
        # What kind of change it is comes as booleans: comparing with a Python value would import pandas.
        flagged = schema.append(pa.field("is_insert", pa.bool_())).append(pa.field("is_delete", pa.bool_()))
        for batch in _stream(connection, query, flagged):
            is_delete = batch["is_delete"]
            if is_delete.true_count:
                gone.append(batch.filter(is_delete).select(list(table.primary_key)))
                kept = batch.filter(pc.invert(is_delete))
            else:
                kept = batch
            counts["insert"] += kept["is_insert"].true_count
            counts["update"] += kept.num_rows - kept["is_insert"].true_count
            if kept.num_rows:
                yield kept.select(schema.names)
        if gone:
            connection.register("deleted keys", pa.Table.from_batches(gone))
            query = f"""
                SELECT {columns_sql(table.column_names, "last")}, 'delete' AS _change, {stamp}, last._hash
                FROM ({known.last_values('"deleted keys"')}) AS last
            """
            for batch in _stream(connection, query, schema):
                counts["delete"] += batch.num_rows
                yield batch


def _stream(connection: duckdb.DuckDBPyConnection, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in connection.sql(query).to_arrow_reader(ROWS_PER_BATCH):
        if batch.num_rows:
            yield batch.cast(schema)


def _sql_timestamp(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(sep=" ", timespec="microseconds")


def parents_first(tables: Sequence[Table]) -> list[Table]:
    """The tables in an order in which every table comes after those that it references."""
    by_name = {table.name: table for table in tables}
    ordered: dict[str, Table] = {}

    def visit(table: Table, path: tuple[str, ...]) -> None:
        for _, parent in table.foreign_keys:
            if parent in by_name and parent not in ordered and parent not in path:
                visit(by_name[parent], (*path, parent))
        ordered.setdefault(table.name, table)

    for table in tables:
        visit(table, (table.name,))
    return list(ordered.values())
