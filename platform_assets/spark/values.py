"""The distinct values of a large table's columns, found and looked at by Spark's workers.

The workers read the table once. Each turns its rows into texts by DuckDB, as one process does, so that a
value has the same text everywhere. Spark makes them distinct and brings the values of a piece together.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.lake.column_values import PLACE_BITS, in_order, number_of_pieces, texts_sql
from platform_assets.lake.duck import SqlEngine
from platform_assets.model.dialects import SPARK
from platform_assets.spark.tables import Views

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from platform_assets.lake.delta import LakeTable
    from platform_assets.spark.session import SparkTarget

Look = Callable[[str, pa.Array], str]
_TEXTS = "number INT, place BIGINT, value STRING"
_ANSWERS = "number INT, piece BIGINT, answer STRING"
_ANSWERS_SCHEMA = pa.schema([("number", pa.int32()), ("piece", pa.int64()), ("answer", pa.string())])
_BYTES_AT_ONCE = 32_000_000
_DUCKDB_MB = 256


@dataclass(frozen=True)
class SparkValueWorkers:
    """The workers of Spark or Sail, which have this package.

    Args:
        target: The Spark.
        least_rows: Rows from which on a table is for the workers.
    """

    target: SparkTarget
    least_rows: int

    def look(
        self, table: LakeTable, handle: DeltaTable, columns: Sequence[str], look: Look
    ) -> Iterator[tuple[str, str]]:
        """See `ValueWorkers.look`."""
        if not columns:
            return
        with (
            self.target.working(f"inspecting {table.uri}") as session,
            Views.open(session, self.target) as views,
        ):
            source, _ = views.add_table(table, handle)
            rows = session.sql(f"SELECT {SPARK.columns(columns)} FROM {source}")
            texts = views.add(rows.mapInArrow(partial(_texts, columns), _TEXTS))
            # Two queries read the values: one counts them, which says how many pieces there are.
            distinct = session.sql(f"SELECT DISTINCT number, place, value FROM {texts}").persist()
            try:
                values = views.add(distinct)
                counted = session.sql(
                    "SELECT number, count(*) AS how_many, sum(octet_length(value)) AS size "
                    f"FROM {values} GROUP BY number"
                ).toArrow()
                counts = {
                    row["number"]: number_of_pieces(row["how_many"], row["size"])
                    for row in counted.to_pylist()
                }
                if not counts:
                    return
                cases = " ".join(f"WHEN {number:d} THEN {count:d}" for number, count in counts.items())
                placed = session.sql(
                    f"SELECT number, shiftright(place * (CASE number {cases} END), {PLACE_BITS}) AS piece, "
                    f"place, value FROM {values}"
                )
                answers = placed.groupBy("number", "piece").applyInArrow(
                    partial(_answer, look, columns), _ANSWERS
                )
                found = answers.toArrow().sort_by([("number", "ascending"), ("piece", "ascending")])
            finally:
                distinct.unpersist()
        for row in found.to_pylist():
            yield columns[row["number"]], row["answer"]


# Functions of this module travel by their names; one inside a method would travel with all that it refers to.
def _texts(columns: Sequence[str], rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The texts of some rows' values, each once, with the numbers of their columns."""
    with tempfile.TemporaryDirectory() as spill:
        engine = SqlEngine(_DUCKDB_MB, 1, Path(spill))
        for some in _gathered(rows):
            with engine.connect() as connection:
                connection.register("given", some)
                for number, column in enumerate(columns):
                    texts = texts_sql(column, "given")
                    yield from connection.sql(
                        f"SELECT {number:d}::INTEGER AS number, place, value FROM ({texts})"
                    ).to_arrow_reader()
                connection.unregister("given")


def _gathered(rows: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Rows in larger pieces than Spark gives them in: a value is then found once more rarely."""
    gathered: list[pa.RecordBatch] = []
    size = 0
    for batch in rows:
        gathered.append(batch)
        size += batch.nbytes
        if size >= _BYTES_AT_ONCE:
            yield pa.Table.from_batches(gathered)
            gathered, size = [], 0
    if gathered:
        yield pa.Table.from_batches(gathered)


def _answer(look: Look, columns: Sequence[str], piece: pa.Table) -> pa.Table:
    number, place = piece.column("number")[0].as_py(), piece.column("piece")[0].as_py()
    answer = look(columns[number], in_order(piece))
    return pa.Table.from_pylist(
        [{"number": number, "piece": place, "answer": answer}], schema=_ANSWERS_SCHEMA
    )
