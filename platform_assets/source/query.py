"""One read-only query on a source, with its rows as a stream of Arrow batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from platform_assets.lake.adbc import BatchStream, executed
from platform_assets.source.session import adbc_error, open_adbc

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.source.connection import Connection
    from platform_assets.source.snapshot import SourceDatabase

_ATTEMPT = "running a query"


@contextlib.contextmanager
def open_query(source: SourceDatabase, sql: str) -> Iterator[pa.RecordBatchReader]:
    """Run a query in a read-only transaction of its own.

    Args:
        source: The database.
        sql: One statement, in PostgreSQL's dialect.

    Raises:
        SourceUnavailable: The server does not answer, or the connection broke.
        SourceError: The server rejects the login or the query.
    """
    import adbc_driver_manager
    import pyarrow as pa

    connection = source.connect()
    limits = {
        "default_transaction_read_only": "on",
        "statement_timeout": str(int(source.statement_timeout * 1000)),
        "lock_timeout": str(int(source.lock_timeout * 1000)),
    }
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(open_adbc(connection, **limits))
            # A pooler may have rejected the settings of the login.
            with adbc_driver_manager.AdbcStatement(opened) as begin:
                begin.set_sql_query("BEGIN READ ONLY")
                begin.execute_update()
            statement = stack.enter_context(adbc_driver_manager.AdbcStatement(opened))
            statement.set_sql_query(sql)
            rows = executed(statement)
        except adbc_driver_manager.Error as error:
            raise adbc_error(error, connection, _ATTEMPT) from error
        yield pa.RecordBatchReader.from_batches(rows.schema, _batches(rows, connection))


def _batches(rows: BatchStream, connection: Connection) -> Iterator[pa.RecordBatch]:
    import adbc_driver_manager
    import pyarrow as pa

    try:
        yield from rows
    except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
        raise adbc_error(error, connection, _ATTEMPT) from error
