"""Times ticks as a lake grows for thousands of them, with and without upkeep, and upkeep of a large table.

Two lakes follow the same database, each in a process of its own, taking turns after every change: extraction,
star and load into DuckDB, without Dagster. One of them has upkeep every few ticks. A tick stands for as long
as `--tick` says, so old versions go after as many ticks as there are in `upkeep.keep_hours`.

The last part fills a table of its own and takes care of it in a process whose peak memory is read in the end.
Without LONG=1 in the environment everything is shorter; the limits are the same, and are judged at any size.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from platform_assets.lake.lake import Lake
    from platform_assets.lake.upkeep.upkeep import Upkeep, UpkeepPolicy

ROOT = Path(__file__).resolve().parent.parent
LONG = os.environ.get("LONG") == "1"
CHANGES = """
INSERT INTO sales_order
SELECT (SELECT max(sales_order_id) FROM sales_order) + row_number() OVER (), created_at, localtimestamp,
       design_id, staff_id, counterparty_id, units_sold, unit_price, currency_id, agreed_delivery_date,
       agreed_payment_date, agreed_delivery_location_id
FROM sales_order ORDER BY md5(sales_order_id::text || '{tick}') LIMIT 20;
UPDATE sales_order SET units_sold = units_sold + 1, last_updated = localtimestamp WHERE sales_order_id IN
  (SELECT sales_order_id FROM sales_order ORDER BY md5('{tick}' || sales_order_id::text) LIMIT 20);
UPDATE payment SET paid = NOT paid, last_updated = localtimestamp WHERE payment_id IN
  (SELECT payment_id FROM payment ORDER BY md5('{tick}' || payment_id::text) LIMIT 8);
UPDATE design SET design_name = 'n{tick}', last_updated = localtimestamp WHERE design_id = 1 + {tick} % 50;
UPDATE counterparty SET commercial_contact = 'n{tick}', last_updated = localtimestamp
  WHERE counterparty_id = 1 + {tick} % 20;
"""
"""Fifty changes, over all rows of the tables."""


@dataclass(frozen=True)
class Figure:
    """One line of the result; `kept` is None where nothing is compared with a limit."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def kept(self) -> bool | None:
        """Whether the limit is kept."""
        return None if self.limit is None else self.value <= self.limit


def main() -> None:
    """Measure, print a table, write JSON; exit with 1 where a limit is not kept."""
    arguments = _arguments()
    if arguments.worker:
        _work(json.loads(sys.stdin.readline()))
        return
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="platform-assets-years-") as folder:
        Path(folder).chmod(0o755)
        if arguments.ticks:
            figures += _ticks(Path(folder), arguments)
        if arguments.rows:
            figures += _large_table(Path(folder), arguments.rows)
    _print(figures)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "ticks": arguments.ticks,
        "sales": arguments.sales,
        "figures": [{**asdict(figure), "kept": figure.kept} for figure in figures],
    }
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.exit(any(figure.kept is False for figure in figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ticks", type=int, default=2_000 if LONG else 120, help="ticks; 0 for none")
    parser.add_argument("--sales", type=int, default=100_000 if LONG else 13_000, help="size of the business")
    parser.add_argument("--every", type=int, default=31, help="ticks between two runs of upkeep")
    parser.add_argument("--tick", type=float, default=5, help="minutes that a tick stands for")
    parser.add_argument("--rows", type=int, default=20_000_000 if LONG else 0, help="rows of a large table")
    parser.add_argument("--json", type=Path, default=ROOT / ".platform" / "benchmarks" / "years.json")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


class _Worker:
    """A process that does what it is told, and says how long it took and how much memory it has."""

    def __init__(self, folder: Path, **order: Any) -> None:
        self.folder = folder
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker"],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tell({"folder": str(folder), **order})

    def do(self, **order: Any) -> dict[str, Any]:
        """Tell it what to do; give what it says."""
        self._tell(order)
        out: IO[str] | None = self._process.stdout
        line = out.readline() if out is not None else ""
        if not line:
            raise RuntimeError(f"a worker ended: exit code {self._process.wait()}")
        return dict(json.loads(line))

    def end(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, order: Mapping[str, Any]) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()


def _ticks(folder: Path, arguments: argparse.Namespace) -> list[Figure]:
    from platform_assets.sample.database import create_sample
    from platform_assets.sample.embedded import DATABASE, EmbeddedPostgres

    embedded = EmbeddedPostgres(folder / "source")
    workers: dict[str, _Worker] = {}
    try:
        owner = embedded.start()
        create_sample(owner, sales=arguments.sales)
        embedded.query("VACUUM (ANALYZE);\nCHECKPOINT;", DATABASE)
        reader = asdict(embedded.reader(DATABASE))
        for name in ("with", "without"):
            workers[name] = _Worker(folder / name, connection=reader)
        return list(_measured(embedded, workers, arguments))
    finally:
        for worker in workers.values():
            worker.end()
        embedded.stop()


def _measured(
    embedded: Any, workers: Mapping[str, _Worker], arguments: argparse.Namespace
) -> Iterator[Figure]:
    from platform_assets.sample.embedded import DATABASE

    seconds: dict[str, list[float]] = {name: [] for name in workers}
    cpu: dict[str, list[float]] = {name: [] for name in workers}
    memory: dict[str, list[float]] = {name: [] for name in workers}
    upkeep: list[float] = []
    most_files = 0
    kept_ticks = max(round(24 * 60 / arguments.tick), 1)
    ends: list[float] = []
    for tick in range(arguments.ticks + 1):
        if tick:
            embedded.query(CHANGES.format(tick=tick), DATABASE)
        names = list(workers) if tick % 2 else list(workers)[::-1]
        for name in names:
            said = workers[name].do(what="tick")
            seconds[name].append(said["seconds"])
            cpu[name].append(said["cpu"])
            memory[name].append(said["mb"])
            most_files = max(most_files, said["files"]) if name == "with" else most_files
        ends.append(time.time())
        if tick and tick % arguments.every == 0:
            keep = ends[-1] - ends[max(len(ends) - 1 - kept_ticks, 0)]
            said = workers["with"].do(what="upkeep", keep=keep)
            upkeep.append(said["seconds"])
            _say(
                f"tick {tick}: {statistics.median(seconds['with'][-10:]):.2f} s with upkeep, "
                f"{statistics.median(seconds['without'][-10:]):.2f} s without; upkeep {said}"
            )
    for name, worker in workers.items():
        done, first = seconds[name], statistics.median(seconds[name][6:15])
        limit = 1.3 if name == "with" else None
        last = statistics.median(done[-9:])
        yield Figure(f"{name} upkeep: around the tenth tick", first, "s")
        yield Figure(f"{name} upkeep: the last ticks", last, "s")
        yield Figure(f"{name} upkeep: the last ticks to the tenth", last / first, "x", limit)
        first, last = statistics.median(cpu[name][6:15]), statistics.median(cpu[name][-9:])
        yield Figure(f"{name} upkeep: CPU around the tenth tick", first, "s")
        yield Figure(f"{name} upkeep: CPU of the last ticks to the tenth", last / first, "x")
        yield Figure(f"{name} upkeep: memory after the tenth tick", memory[name][10], "MB")
        yield Figure(
            f"{name} upkeep: memory in the end",
            memory[name][-1],
            "MB",
            memory[name][10] * 1.25 if name == "with" else None,
        )
        said = worker.do(what="size")
        yield Figure(f"{name} upkeep: most files of a table in the end", said["files"], "files")
        yield Figure(f"{name} upkeep: bytes on disk", said["disk"] / 1e6, "MB")
        if name == "with":
            yield Figure("with upkeep: most files of a table at any tick", most_files, "files", 60)
            yield Figure(
                "with upkeep: files in use to the lake compacted once", said["live"] / said["once"], "x", 1.5
            )
            yield Figure(
                "with upkeep: bytes on disk to the lake compacted once", said["disk"] / said["once"], "x"
            )
    yield Figure("one run of upkeep", statistics.median(upkeep) if upkeep else 0, "s")


def _large_table(folder: Path, rows: int) -> Iterator[Figure]:
    worker = _Worker(folder / "large")
    try:
        worker.do(what="fill", rows=rows)
    finally:
        worker.end()
    worker = _Worker(folder / "large")
    try:
        said = worker.do(what="care")
    finally:
        worker.end()
    yield Figure(f"upkeep of {rows:,} rows: peak memory", said["peak_mb"], "MB", 600)
    yield Figure(f"upkeep of {rows:,} rows", said["seconds"], "s")
    yield Figure("reading and writing the same bytes", said["copying"], "s")
    yield Figure("upkeep to reading and writing the same bytes", said["seconds"] / said["copying"], "x", 3)
    yield Figure("files of the large table before", said["before"], "files")
    yield Figure("files of the large table after", said["after"], "files", 60)


def _work(order: dict[str, Any]) -> None:
    """Do what the parent says until it ends."""
    folder = Path(order["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    work = _Lake(folder, order.get("connection"))
    actions = {
        "tick": work.tick,
        "upkeep": work.upkeep,
        "size": work.size,
        "fill": work.fill,
        "care": work.care,
    }
    for line in sys.stdin:
        given = json.loads(line)
        said = actions[given.pop("what")](**given)
        print(json.dumps(said), flush=True)


class _Lake:
    """What a worker has: a lake, and what follows a database into it."""

    def __init__(self, folder: Path, connection: dict[str, Any] | None) -> None:
        from platform_assets.lake.duck import SqlEngine
        from platform_assets.lake.lake import Lake
        from platform_assets.lake.settings import EngineSettings
        from platform_assets.source.connection import Connection

        given = EngineSettings()
        self.folder = folder
        self.lake = Lake(str(folder / "ingestion"), str(folder / "processed"))
        self.engine = SqlEngine(given.memory_limit_mb, given.threads, folder / "tmp")
        self.connection = Connection(**connection) if connection else None

    def tick(self) -> dict[str, Any]:
        """Extract, build and load."""
        from platform_assets.model.totesys.source import TABLES
        from platform_assets.model.totesys.star import STAR
        from platform_assets.source.extract import Extractor
        from platform_assets.source.snapshot import SourceDatabase
        from platform_assets.star.transform import StarBuilder
        from platform_assets.warehouse.duckdb import DuckDBWarehouse

        connection = self.connection
        if connection is None:
            raise RuntimeError("there is no database to follow")
        source = SourceDatabase("totesys", TABLES, lambda: connection)
        started, cpu = time.perf_counter(), time.process_time()
        Extractor(source, self.lake, self.engine).extract(TABLES)
        StarBuilder(self.lake, STAR, self.engine).build(STAR.tables)
        DuckDBWarehouse(self.folder / "warehouse.duckdb", self.engine, 60).load(self.lake, STAR.tables)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        return {"seconds": seconds, "cpu": cpu, "mb": _memory("VmRSS"), "files": self._most_files()}

    def upkeep(self, keep: float) -> dict[str, Any]:
        """Take care of the lake as the job does, with versions kept for so many seconds."""
        from platform_assets.lake.upkeep.upkeep import UpkeepPolicy

        policy = UpkeepPolicy(dt.timedelta(seconds=keep), longest_run=dt.timedelta(seconds=keep / 4))
        started = time.perf_counter()
        done = _upkeep_of(self, policy).run()
        failed = [f"{one.table}: {one.error}" for one in done if one.error]
        if failed:
            raise RuntimeError(" ".join(failed))
        return {
            "seconds": time.perf_counter() - started,
            "rewritten": sum(one.rewritten for one in done),
            "removed": sum(one.removed.files + one.removed.entries for one in done),
            "files": self._most_files(),
        }

    def size(self) -> dict[str, Any]:
        """Measure the lake: its most files, bytes on disk and in use, and bytes if it were compacted once."""
        from platform_assets.lake.upkeep.choice import data_files

        live = disk = 0
        for zone in ("ingestion", "processed"):
            disk += sum(one.stat().st_size for one in (self.folder / zone).rglob("*") if one.is_file())
        for _, _, table in self.lake.found_tables():
            handle = table.open()
            live += sum(data_file.size for data_file in data_files(handle)) if handle is not None else 0
        return {"files": self._most_files(), "disk": disk, "live": live, "once": self._compacted_once()}

    def _compacted_once(self) -> int:
        """Copy the lake, and rewrite each table as one file."""
        from platform_assets.lake.interfaces import KeptTable
        from platform_assets.lake.lake import Lake
        from platform_assets.lake.upkeep.choice import data_files
        from platform_assets.lake.upkeep.rewrite import Rewriter
        from platform_assets.lake.upkeep.store import TableStore

        copy = self.folder / "copy"
        for zone in ("ingestion", "processed"):
            shutil.copytree(self.folder / zone, copy / zone)
        size = 0
        for _, path, table in Lake(str(copy / "ingestion"), str(copy / "processed")).found_tables():
            handle = table.open()
            if handle is None or not data_files(handle):
                continue
            written = Rewriter(KeptTable(path, table), TableStore(table), self.engine).merge(
                handle, data_files(handle)
            )
            size += written.size if written is not None else 0
        shutil.rmtree(copy)
        return size

    def _most_files(self) -> int:
        handles = (table.open() for _, _, table in self.lake.found_tables())
        return max((len(handle.file_uris()) for handle in handles if handle is not None), default=0)

    def fill(self, rows: int) -> dict[str, Any]:
        """Write a table as ticks do: one first load, then many small batches, a twentieth of the rows."""
        import pyarrow as pa

        table, per_tick = _large(self.lake), 2_000
        first = rows - rows // 20
        with self.engine.connect() as connection:

            def some(low: int, high: int, batch: int) -> pa.RecordBatchReader:
                return connection.sql(
                    f"SELECT i AS id, hash(i) % 1000 AS design, (hash(i) // 7) % 100000 AS units, "
                    f"'note ' || hash(i) AS note, TIMESTAMPTZ '2024-01-01' + INTERVAL (i) SECOND AS at, "
                    f"{batch}::BIGINT AS _batch FROM range({low}, {high}) AS t(i)"
                ).to_arrow_reader(4_096)

            for batch, low in enumerate([0, *range(first, rows, per_tick)], 1):
                high = first if batch == 1 else min(low + per_tick, rows)
                schema = table.arrow_schema
                reader = pa.RecordBatchReader.from_batches(
                    schema, (one.cast(schema) for one in some(low, high, batch))
                )
                table.append(table.open(), reader, stream="filled", version=batch)
        return {}

    def care(self) -> dict[str, Any]:
        """Take care of that table; then read and write the same bytes once more for comparison."""
        import pyarrow.parquet as pq

        from platform_assets.lake.delta import writer_properties  # noqa: F401
        from platform_assets.lake.interfaces import KeptTable
        from platform_assets.lake.upkeep.choice import data_files

        table = _large(self.lake)
        handle = table.open()
        if handle is None:
            raise RuntimeError("there is no table")
        before = data_files(handle)
        later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)  # so that the first load is compressed too
        work = dataclasses.replace(
            _upkeep_of(self, None), tables=lambda: [KeptTable("large", table)], clock=lambda: later
        )
        started = time.perf_counter()
        [one] = work.run()
        seconds = time.perf_counter() - started
        if one.error:
            raise RuntimeError(one.error)
        peak = _memory("VmHWM")
        started = time.perf_counter()
        for file in before:
            parquet = pq.ParquetFile(self.folder / "processed" / "large" / file.path)
            with pq.ParquetWriter(self.folder / "copied", parquet.schema_arrow, compression="zstd") as writer:
                for batch in parquet.iter_batches(65_536):
                    writer.write_batch(batch)
        return {
            "seconds": seconds,
            "peak_mb": peak,
            "copying": time.perf_counter() - started,
            "before": len(before),
            "after": one.files[1],
        }


def _upkeep_of(work: _Lake, policy: UpkeepPolicy | None) -> Upkeep:
    """Upkeep of a worker's lake as the lake's room puts it together."""
    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.interfaces import KeptTable, VersionInUse
    from platform_assets.lake.ledger import CURSORS
    from platform_assets.lake.upkeep.journal import JOURNAL_COLUMNS, Journal
    from platform_assets.lake.upkeep.upkeep import Positions, Upkeep, UpkeepPolicy
    from platform_assets.model.totesys.source import TABLES
    from platform_assets.model.totesys.star import STAR
    from platform_assets.warehouse.duckdb import DuckDBWarehouse

    lake = work.lake

    def tables() -> Iterator[KeptTable]:
        state = lake.ledger.read()
        yield KeptTable("ledger", lake.ledger.table, metadata=CURSORS)
        for table in TABLES:
            batches = (state.last_batch, state.batches_of("totesys", table.name))
            yield KeptTable(
                table.name, lake.bronze("totesys", table), whole_batches=lambda given=batches: given
            )
        yield KeptTable("dead letters", lake.dead_letters)
        for table in STAR.tables:
            yield KeptTable(table.name, lake.star(table), is_loaded_elsewhere=True)
        yield journal.kept()

    def positions() -> Positions:
        found: dict[str, list[VersionInUse]] = {}
        for one in DuckDBWarehouse(work.folder / "warehouse.duckdb", work.engine, 60).status():
            use = VersionInUse(one.table_id, one.lake_version, "warehouse")
            found.setdefault(one.table_id, []).append(use)
        return Positions(found)

    journal = Journal(LakeTable(str(work.folder / "processed" / "_upkeep"), JOURNAL_COLUMNS))
    return Upkeep(tables, journal, work.engine, positions, policy or UpkeepPolicy())


def _large(lake: Lake) -> Any:
    from platform_assets.lake.delta import LakeTable
    from platform_assets.model.table import Column, Integer, Text, Timestamp

    columns = (
        Column("id", Integer(64)),
        Column("design", Integer(64)),
        Column("units", Integer(64)),
        Column("note", Text()),
        Column("at", Timestamp(utc=True)),
        Column("_batch", Integer(64)),
    )
    return LakeTable(lake.path("processed", "large"), columns)


def _memory(name: str) -> float:
    """A figure of this process's memory, in MB: `VmRSS` now, `VmHWM` at the most."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    [kilobytes] = re.findall(rf"^{name}:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    return int(kilobytes) * 1024 / 1e6


def _print(figures: list[Figure]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in ("what", "value", "unit", "limit", "kept"):
        table.add_column(name, justify="left" if name in ("what", "unit") else "right")
    for figure in figures:
        kept = "" if figure.kept is None else "yes" if figure.kept else "NO"
        limit = "" if figure.limit is None else f"{figure.limit:.3g}"
        table.add_row(figure.name, f"{figure.value:.2f}", figure.unit, limit, kept)
    Console(width=140).print(table)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
