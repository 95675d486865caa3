"""Results of ADBC statements as streams of batches.

ADBC's public interface returns PyArrow's reader, which reports an error in mid-stream as text only. The
driver manager's own reader reports the SQLSTATE, which tells an unreadable value from a lost connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import adbc_driver_manager
    import pyarrow as pa


class BatchStream(Protocol):
    """A stream of batches."""

    schema: pa.Schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Return the batches; raises `adbc_driver_manager.Error`, `OSError` and `pyarrow.ArrowException`."""
        ...


def executed(statement: adbc_driver_manager.AdbcStatement) -> BatchStream:
    """Execute the query of a statement, and return its result.

    Raises:
        adbc_driver_manager.Error: The server refused the query.
    """
    from adbc_driver_manager._reader import AdbcRecordBatchReader

    handle, _ = statement.execute_query()
    stream: BatchStream = AdbcRecordBatchReader._import_from_c(handle.address)
    return stream
