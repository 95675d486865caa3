"""The embedded SQL engine: DuckDB connections with bounded memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_assets.model.dialects import DUCKDB
from platform_assets.model.table import LogicalType, Text, Time
from platform_assets.processes import is_alive

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

ROWS_PER_BATCH = 4_096
"""Rows in one Arrow batch that leaves DuckDB.

The Delta writer queues about fifty batches, so their size determines most of a write's memory: 60 MB with
this value, 200 MB with eight times as many rows.
"""

_SESSION = """
SET TimeZone = 'UTC';
-- What a large query used goes back to the system, for whatever comes next in the same process.
SET allocator_flush_threshold = '1MB';
SET allocator_bulk_deallocation_flush_threshold = '8MB';
"""


@dataclass(frozen=True)
class SqlEngine:
    """Limits of this machine's resources for DuckDB.

    Args:
        memory_limit_mb: Megabytes of memory before DuckDB spills to disk.
        threads: Number of threads.
        spill_directory: Folder for spilled data; each open connection has its own subfolder.
    """

    memory_limit_mb: int
    threads: int
    spill_directory: Path

    @contextlib.contextmanager
    def connect(
        self, database: Path | None = None, *, read_only: bool = False
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a DuckDB database, in memory if no file is given; close it at the end.

        Raises:
            duckdb.IOException: Another process has locked the file.
        """
        import duckdb

        self.spill_directory.mkdir(parents=True, exist_ok=True)
        self._remove_spill_of_dead_processes()
        with self._spill(database if read_only else None) as spill:
            connection = duckdb.connect(
                ":memory:" if database is None else str(database),
                read_only=read_only,
                config={
                    "memory_limit": f"{self.memory_limit_mb}MB",
                    "threads": self.threads,
                    "temp_directory": spill,
                    # Nothing is downloaded at run time: the required extensions are part of DuckDB's wheel.
                    "autoinstall_known_extensions": False,
                },
            )
            try:
                connection.execute(_SESSION)
                yield connection
            finally:
                connection.close()

    def stream(
        self, sql: str, schema: pa.Schema, prepare: Callable[[duckdb.DuckDBPyConnection], object]
    ) -> pa.RecordBatchReader:
        """Stream the result of a query over its own connection, open until the last row or until dropped.

        Args:
            sql: The query.
            schema: Schema that the batches are cast to.
            prepare: Creates the views that the query reads. It runs at once, not at the first row: a consumer
                such as delta-rs cannot open a table in a bucket while it writes another.
        """
        import pyarrow as pa

        def batches() -> Iterator[pa.RecordBatch]:
            with self.connect() as connection:
                prepare(connection)
                yield pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
                for batch in connection.sql(sql).to_arrow_reader(ROWS_PER_BATCH):
                    yield batch.cast(schema)

        started = batches()
        next(started)
        return pa.RecordBatchReader.from_batches(schema, started)

    @contextlib.contextmanager
    def _spill(self, shared: Path | None) -> Iterator[str]:
        """Yield a folder that DuckDB spills to, shared by all connections of this process that read one file.

        DuckDB treats connections to one file as one database and rejects a connection with other settings.
        """
        if shared is not None:
            name = f"{os.getpid()}-readers-{zlib.crc32(os.fsencode(shared.absolute())):08x}"
            yield str(self.spill_directory / name)  # DuckDB creates it when needed and removes it at the end
            return
        with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=self.spill_directory) as folder:
            yield folder

    def _remove_spill_of_dead_processes(self) -> None:
        for folder in self.spill_directory.iterdir():
            pid = folder.name.partition("-")[0]
            if pid.isdecimal() and not is_alive(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


def fetch_rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    """Return a small result as dictionaries, without pyarrow, which would import pandas for it."""
    import numpy as np

    relation = connection.sql(sql)
    singles = {name for name, type_ in zip(relation.columns, relation.types, strict=True) if type_ == "FLOAT"}
    rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    for row in rows if singles else ():
        # Python has no 32-bit float: use the shortest decimal that identifies the value, as other tools do.
        row |= {name: float(str(np.float32(row[name]))) for name in singles if row[name] is not None}
    return rows


def stored_type(type_: LogicalType) -> str:
    """Return the DuckDB type of a logical type in the lake's files; Delta has no TIME, so times are text."""
    return DUCKDB.type_name(Text() if isinstance(type_, Time) else type_)
