"""Warehouse tables as streams that keep their connection for as long as they are read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pyarrow as pa

from platform_assets.lake.duck import quote
from platform_assets.warehouse.interface import Warehouse


def stream_relation(warehouse: Warehouse, name: Sequence[str]) -> pa.RecordBatchReader:
    """Stream a table or view; the warehouse is held until the stream is read to its end or dropped.

    Args:
        warehouse: The warehouse.
        name: Schema and relation.

    Raises:
        WarehouseError: There is no such relation.
    """
    stack = contextlib.ExitStack()
    try:
        reader = stack.enter_context(warehouse.query(f"SELECT * FROM {quote(*name)}"))
    except BaseException:
        stack.close()
        raise

    def batches() -> Iterator[pa.RecordBatch]:
        with stack:
            yield from reader

    return pa.RecordBatchReader.from_batches(reader.schema, batches())
