"""Rows as Parquet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from platform_assets.delivery.interfaces import Bytes, DeliveryError, Rows, Stamp
from platform_assets.delivery.renderers.workshop import Workshop, chunks_of, rows_only
from platform_assets.model.dialects import literal, quote

CONTENT_TYPE = "application/vnd.apache.parquet"


@dataclass(frozen=True)
class Parquet:
    """Renders rows as Parquet.

    Args:
        workshop: Means to work with.
        compression: Name of the compression as DuckDB knows it.
        row_group_rows: Rows in a row group.
        rows_per_file: Rows in a file; None for one file.
    """

    workshop: Workshop = field(repr=False)
    compression: str = "zstd"
    row_group_rows: int = 122_880
    rows_per_file: int | None = None

    def render(self, content: Iterator[Rows | Bytes], stamp: Stamp) -> Iterator[Bytes]:
        """See `Renderer.render`."""
        for rows in rows_only(content, "parquet"):
            refuse_equal_names(rows, "parquet")
            if "" in rows.batches.schema.names:
                raise DeliveryError(
                    f"{rows.name} has a column without a name, and parquet identifies columns by their "
                    "names. Name it in the query."
                )
            if self.rows_per_file is None:
                yield self._file(rows, stamp)
                continue
            parts = RowParts(rows.batches, self.rows_per_file)
            for number, part in enumerate(parts.parts(), 1):
                yield self._file(Rows(f"{rows.name}-{number:04d}", part), stamp)

    def _file(self, rows: Rows, stamp: Stamp) -> Bytes:
        path = self.workshop.new_file(".parquet")
        with self.workshop.copyable(rows) as relation:
            columns = ", ".join(f"{column.sql} AS {quote(column.name)}" for column in relation.columns)
            entries = {
                "title": stamp.title,
                "generator": stamp.generator,
                "uuid": stamp.uuid,
                "timestamp": stamp.at.isoformat(timespec="seconds"),
                "version": stamp.version,
            }
            metadata = ", ".join(f"{name}: {literal(value)}" for name, value in entries.items())
            count = relation.copy_to(
                columns,
                path,
                f"FORMAT parquet, COMPRESSION {self.compression}, ROW_GROUP_SIZE {self.row_group_rows:d}, "
                f"KV_METADATA {{{metadata}}}",
            )
        return Bytes(
            f"{rows.name}.parquet",
            chunks_of(path),
            path.stat().st_size,
            path,
            lambda: count,
            CONTENT_TYPE,
        )


def refuse_equal_names(rows: Rows, format_: str) -> None:
    """Refuse rows with two columns of one name.

    Raises:
        DeliveryError: Two names are equal, upper and lower case aside.
    """
    names = sorted(rows.batches.schema.names, key=str.casefold)
    for name, other in itertools.pairwise(names):
        if name.casefold() == other.casefold():
            both = f"{name!r} twice" if name == other else f"{name!r} and {other!r}"
            raise DeliveryError(
                f"{rows.name} has duplicate column names: {both}. {format_} identifies columns by their "
                "names, and many programs ignore their case; rename one in the query."
            )


class RowParts:
    """Cuts a stream of rows into streams of at most so many rows, read one after the other."""

    def __init__(self, rows: pa.RecordBatchReader, size: int) -> None:
        self._rows = rows
        self._size = size
        self._rest: pa.RecordBatch | None = None

    def parts(self) -> Iterator[pa.RecordBatchReader]:
        """Yield the parts; at least one."""
        is_first = True
        while is_first or self._has_more():
            is_first = False
            yield pa.RecordBatchReader.from_batches(self._rows.schema, self._part())

    def _has_more(self) -> bool:
        while self._rest is None or not self._rest.num_rows:
            self._rest = next(self._rows, None)
            if self._rest is None:
                return False
        return True

    def _part(self) -> Iterator[pa.RecordBatch]:
        left = self._size
        while left and self._has_more() and self._rest is not None:
            taken = self._rest.slice(0, left)
            self._rest = self._rest.slice(taken.num_rows)
            left -= taken.num_rows
            yield taken
