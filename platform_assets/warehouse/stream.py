"""Warehouse tables as streams, which lock the warehouse while they are read, or as detached copies."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence

import pyarrow as pa

from platform_assets.warehouse.interface import Warehouse


def stream_relation(warehouse: Warehouse, name: Sequence[str]) -> pa.RecordBatchReader:
    """Stream a table or view; the warehouse stays locked until the stream is read to its end or dropped.

    Args:
        warehouse: The warehouse.
        name: Schema and relation.

    Raises:
        WarehouseError: The relation does not exist.
    """
    stack = contextlib.ExitStack()
    try:
        reader = stack.enter_context(warehouse.read(name))
    except BaseException:
        stack.close()
        raise

    def batches() -> Iterator[pa.RecordBatch]:
        with stack:
            yield from reader

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def detached(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Copy a stream to a temporary file and stream the file, so that the origin is released at once."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed and deleted with the stream
    with pa.ipc.new_stream(file, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as copy:
        for batch in rows:
            copy.write_batch(batch)
    file.seek(0)

    def batches() -> Iterator[pa.RecordBatch]:
        with file, pa.ipc.open_stream(file) as copied:
            yield from copied

    return pa.RecordBatchReader.from_batches(rows.schema, batches())
