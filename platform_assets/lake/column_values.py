"""The distinct values of a table's columns in pieces, which every engine cuts alike.

What is judged by many values together depends on which values are together. So a value's piece follows from
the value and the size of its column, and not from the order in which an engine finds it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from platform_assets.model.dialects import quote

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from deltalake import DeltaTable

    from platform_assets.lake.delta import LakeTable

VALUES_PER_PIECE = 50_000
BYTES_PER_PIECE = 8_000_000
PLACE_BITS = 32
"""Bits of a value's place: a hash of its text by DuckDB, which workers have in the version of the run."""
_PIECES_TO_SCAN = 64
"""Pieces up to which it is quicker to scan all values for each than to sort them."""
_BYTES_HELD = 64_000_000
"""Arrow bytes of a column's values up to which they are cut in memory, in half the time."""


def texts_sql(column: str, source: str) -> str:
    """Return SQL for the distinct values of a column as texts, `value`, each with its `place`.

    NULLs and empty texts are left out.
    """
    name = quote(column)
    return (
        f"SELECT value, (hash(value) >> {64 - PLACE_BITS})::BIGINT AS place FROM "
        f"(SELECT DISTINCT CAST({name} AS VARCHAR) AS value FROM {source}) WHERE value <> ''"
    )


def number_of_pieces(values: int, size: int) -> int:
    """Return the number of pieces of a column.

    Args:
        values: Number of its distinct values.
        size: Bytes of their texts.
    """
    return max(1, -(-values // VALUES_PER_PIECE), -(-size // BYTES_PER_PIECE))


def pieces(connection: duckdb.DuckDBPyConnection, source: str, column: str) -> Iterator[pa.Array]:
    """Yield the distinct values of a column, piece by piece, each in the order of place and value.

    Args:
        connection: DuckDB, which spills to disk beyond its memory limit.
        source: The table.
        column: The column.
    """
    few = _few_texts(connection, source, column)
    if few is not None:
        yield from _pieces_of_few(few)
        return
    connection.execute(f"CREATE OR REPLACE TEMP TABLE texts AS {texts_sql(column, source)}")
    try:
        [[values, size]] = connection.sql(
            "SELECT count(*), coalesce(sum(strlen(value)), 0)::BIGINT FROM texts"
        ).fetchall()
        count = number_of_pieces(values, size)
        if count > _PIECES_TO_SCAN:
            connection.execute("CREATE OR REPLACE TEMP TABLE texts AS FROM texts ORDER BY place")
        for piece in range(count):
            first, after = _first_place(piece, count), _first_place(piece + 1, count)
            found = connection.sql(
                f"SELECT place, value FROM texts WHERE place >= {first:d} AND place < {after:d}"
            ).to_arrow_table()
            if found.num_rows:
                yield in_order(found)
    finally:
        connection.execute("DROP TABLE IF EXISTS texts")


def _few_texts(connection: duckdb.DuckDBPyConnection, source: str, column: str) -> pa.Table | None:
    """Return the values of a column with their places; None if they are too much text to be held at once."""
    import pyarrow as pa

    batches, size = [], 0
    with connection.sql(texts_sql(column, source)).to_arrow_reader(VALUES_PER_PIECE) as reader:
        for batch in reader:
            batches.append(batch)
            size += batch.nbytes
            if size > _BYTES_HELD:
                return None
        return pa.Table.from_batches(batches, reader.schema)


def _pieces_of_few(texts: pa.Table) -> Iterator[pa.Array]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    values = texts.column("value").combine_chunks()
    place = texts.column("place").to_numpy()
    # A place is a number, so this takes half the time of a sort by place and text. Few texts share a place.
    order = np.argsort(place, kind="stable")
    place = place[order]
    for start in np.flatnonzero(place[1:] == place[:-1]):
        same = slice(start, np.searchsorted(place, place[start], side="right"))
        order[same] = sorted(order[same], key=lambda index: values[index].as_py())
    ordered = values.take(pa.array(order))
    count = number_of_pieces(len(ordered), pc.sum(pc.binary_length(ordered)).as_py() or 0)
    bounds = np.searchsorted(place, [_first_place(piece, count) for piece in range(count + 1)])
    for first, after in itertools.pairwise(bounds.tolist()):
        if after > first:
            yield ordered.slice(first, after - first)


def _first_place(piece: int, count: int) -> int:
    """Return the first place of a piece of a number of pieces."""
    return -(-(piece << PLACE_BITS) // count)


def in_order(piece: pa.Table) -> pa.Array:
    """Return the values of a piece in their order: by `place`, then by `value`."""
    ordered = piece.sort_by([("place", "ascending"), ("value", "ascending")])
    return ordered.column("value").combine_chunks()


class ValueWorkers(Protocol):
    """Workers that look at the values of a table's columns."""

    @property
    def least_rows(self) -> int:
        """Rows from which on a table is for the workers."""
        ...

    def look(
        self,
        table: LakeTable,
        handle: DeltaTable,
        columns: Sequence[str],
        look: Callable[[str, pa.Array], str],
    ) -> Iterator[tuple[str, str]]:
        """Have every piece of the columns' distinct values looked at by one of the workers.

        Args:
            table: The table, with the columns that are looked at declared.
            handle: The table in its current state.
            columns: Their names.
            look: Called on a worker with a column's name and a piece of its values, as `pieces` yields them.
                It travels there, and may be called again for a piece if a worker is lost.

        Returns:
            Each piece's column, and what `look` returned, in the order of columns and pieces.

        Raises:
            PlatformError: The workers cannot do it, or `look` has failed.
        """
        ...


@runtime_checkable
class HasValueWorkers(Protocol):
    """A room that has workers for the values of columns."""

    def value_workers(self) -> ValueWorkers | None:
        """Return the workers; None if they are not configured. Nothing is started."""
        ...
