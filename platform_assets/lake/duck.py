"""The embedded SQL engine: DuckDB connections with bounded memory."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_assets.errors import QueryTimeout
from platform_assets.model.dialects import DUCKDB, literal, quote
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

_ROWS_PER_INSERT = 50_000
_SESSION = """
SET TimeZone = 'UTC';
-- Memory of a large query is returned to the system, for the rest of the process.
SET allocator_flush_threshold = '1MB';
SET allocator_bulk_deallocation_flush_threshold = '8MB';
-- What a connection may change for the whole instance, which other connections use after it.
SET threads = {threads};
SET preserve_insertion_order = true;
"""
# Attached databases are named after their files, and no file has this name.
_OWN_CATALOG = "/"
# Instances that wait for their next connection: connections are nested two deep at most.
_IDLE_INSTANCES = 2
# An instance that holds more than this at the end of a connection is closed, which frees everything.
_IDLE_BYTES = 8_000_000


@dataclass(frozen=True)
class SqlEngine:
    """Limits of this machine's resources for DuckDB.

    A DuckDB instance, with its memory limit, threads and catalog of functions, takes 17 ms to start and 17 ms
    more for its first look at the information schema; to attach a database to it takes less than 1 ms. So an
    instance serves many connections, one after the other.

    Args:
        memory_limit_mb: Megabytes of memory before DuckDB spills to disk.
        threads: Number of threads.
        spill_directory: Folder for spilled data; each instance has its own subfolder.
    """

    memory_limit_mb: int
    threads: int
    spill_directory: Path
    # By process, because a forked process has none of the instance's threads.
    _idle: dict[int, list[_Instance]] = field(
        default_factory=lambda: defaultdict(list), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        # Also when the interpreter ends: DuckDB complains of connections that are open by then.
        weakref.finalize(self, _close_idle, self._idle)

    @contextlib.contextmanager
    def connect(
        self, database: Path | None = None, *, read_only: bool = False, trusted: bool = True
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a DuckDB database, in memory if no file is given; close it at the end.

        Args:
            database: The file; DuckDB creates it unless `read_only` is set.
            read_only: Open the file for reading, as other processes may do at the same time.
            trusted: The statements are the platform's or queries only, so they change no settings but those
                that every connection sets. Otherwise the instance serves no other connection.

        Raises:
            duckdb.IOException: Another process has locked the file.
            duckdb.ResourceInUseException: Another connection of this process has it open.
        """
        self.spill_directory.mkdir(parents=True, exist_ok=True)
        idle = self._idle[os.getpid()]
        try:
            instance = idle.pop()
        except IndexError:
            self._remove_spill_of_dead_processes()
            instance = _Instance.start(self)
        has_ended_well = False
        try:
            with instance.connect(database, read_only=read_only) as connection:
                connection.execute(_SESSION.format(threads=self.threads))
                yield connection
            has_ended_well = True
        finally:
            if has_ended_well and trusted and len(idle) < _IDLE_INSTANCES and instance.is_cleared():
                idle.append(instance)
            else:
                instance.close()

    def is_query(self, sql: str) -> bool:
        """Return whether SQL consists of queries only, which change neither data nor settings."""
        import duckdb

        with self.connect() as connection:
            try:
                statements = connection.extract_statements(sql)
            except duckdb.Error:  # whoever runs it reports the mistake
                return False
        return all(statement.type == duckdb.StatementType.SELECT for statement in statements)

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

    def _remove_spill_of_dead_processes(self) -> None:
        for folder in self.spill_directory.iterdir():
            pid = folder.name.partition("-")[0]
            if pid.isdecimal() and not is_alive(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Instance:
    """A running DuckDB, to which each connection attaches the database that it uses.

    Args:
        base: The connection that keeps it running.
        spill: The folder that it spills to: DuckDB creates it when needed, and removes it at the end.
    """

    base: duckdb.DuckDBPyConnection
    spill: Path

    @classmethod
    def start(cls, engine: SqlEngine) -> _Instance:
        import duckdb

        spill = engine.spill_directory / f"{os.getpid()}-{secrets.token_hex(8)}"
        base = duckdb.connect(
            config={
                "memory_limit": f"{engine.memory_limit_mb}MB",
                "threads": engine.threads,
                "temp_directory": str(spill),
                # Nothing is downloaded at run time: the required extensions are part of DuckDB's wheel.
                "autoinstall_known_extensions": False,
            },
        )
        base.execute(f"ATTACH ':memory:' AS {quote(_OWN_CATALOG)}; USE {quote(_OWN_CATALOG)}; DETACH memory")
        return cls(base, spill)

    @contextlib.contextmanager
    def connect(self, database: Path | None, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        connection = self.base.cursor()
        try:
            if database is None:
                connection.execute("ATTACH ':memory:' AS memory")
            else:
                connection.execute(f"ATTACH {literal(str(database))}{' (READ_ONLY)' if read_only else ''}")
            for name in self._attached():
                connection.execute(f"USE {quote(name)}")
            yield connection
        finally:
            connection.close()

    def _attached(self) -> list[str]:
        found = self.base.execute(
            "SELECT database_name FROM duckdb_databases() WHERE NOT internal AND database_name <> ?",
            [_OWN_CATALOG],
        )
        return [name for (name,) in found.fetchall()]

    def is_cleared(self) -> bool:
        """Detach the last connection's database; return whether nothing else remains of that connection."""
        import duckdb

        try:
            held = self.base.execute("SELECT sum(memory_usage_bytes) FROM duckdb_memory()").fetchall()[0][0]
            if held > _IDLE_BYTES or self.spill.exists():
                return False
            for name in self._attached():
                self.base.execute(f"DETACH {quote(name)}")
        except duckdb.Error:
            return False
        return True

    def close(self) -> None:
        self.base.close()


def _close_idle(idle: dict[int, list[_Instance]]) -> None:
    for instance in idle.pop(os.getpid(), []):
        instance.close()


@contextlib.contextmanager
def interrupted_after(seconds: float | None, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Interrupt the query of a connection that takes too long.

    Args:
        seconds: The longest time; None for no limit.
        connection: The connection, used in the block only.

    Raises:
        QueryTimeout: The block took longer.
    """
    if seconds is None:
        yield
        return
    has_expired = threading.Event()

    def interrupt() -> None:
        has_expired.set()
        connection.interrupt()

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except BaseException as error:
        # DuckDB and Arrow report the interruption in ways of their own.
        if not has_expired.is_set():
            raise
        raise QueryTimeout(seconds) from error
    finally:
        timer.cancel()
        timer.join()


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


def create_text_table(
    connection: duckdb.DuckDBPyConnection, name: str, columns: Sequence[str], rows: Iterable[Sequence[str]]
) -> int:
    """Create a temporary table of text columns, and return how many rows were put into it.

    Args:
        connection: The connection.
        name: Name of the table; an earlier table of this name is replaced.
        columns: Names of its columns.
        rows: Its rows, which may be more than fit into memory.
    """
    import pyarrow as pa

    listed = ", ".join(f"{quote(column)} VARCHAR" for column in columns)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {quote(name)} ({listed})")
    schema = pa.schema([(column, pa.string()) for column in columns])
    left, count = iter(rows), 0
    while some := list(islice(left, _ROWS_PER_INSERT)):
        columnwise = [pa.array(values, pa.string()) for values in zip(*some, strict=True)]
        connection.register("inserted", pa.table(columnwise, schema=schema))
        connection.execute(f"INSERT INTO {quote(name)} FROM inserted")
        connection.unregister("inserted")
        count += len(some)
    return count


def stored_type(type_: LogicalType) -> str:
    """Return the DuckDB type of a logical type in the lake's files; Delta has no TIME, so times are text."""
    return DUCKDB.type_name(Text() if isinstance(type_, Time) else type_)
