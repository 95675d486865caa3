"""Times the star schema of many sales orders on DuckDB, Spark standalone with two workers, and Sail.

A lake is made of the sample business, whose sales orders are repeated until there are as many as `--orders`
says. Each engine builds all star tables of it in a process of its own, one engine after the other. What is
measured: seconds, seconds of processor time of all its processes, and the most memory that they held together
(proportional set size, looked at twice a second). Then all columns of all tables are compared by sums of
hashes, each value tied to its row's key.

`--folder` keeps the lake and the figures, so that engines can be run one at a time, at different hours. The
last table says on paper, from these figures, what a billion orders take.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ("duckdb", "spark", "sail")
SAMPLE = 20_000
# A server with 8 cores and 32 GiB: about the list price of such a machine on demand in 2025. Put in your own.
CORES, DOLLARS_AN_HOUR = 8, 0.45
# An assumption: shuffles, stragglers and the driver take the rest of the cores' time.
EFFICIENCY = 0.75


def main() -> None:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--orders", type=int, default=10_000_000, help="sales orders in the lake")
    parser.add_argument("--folder", type=Path, help="where the lake and the figures are kept")
    parser.add_argument("--only", choices=[*ENGINES, "lake", "report"], help="do one part of it")
    parser.add_argument("--memory", type=int, default=1024, help="megabytes of DuckDB, and of each executor")
    parser.add_argument("--build", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--master", default="local[2]", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.build:
        build(given.build, given.folder, given.memory, given.master)
        return
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scale-")))
        folder.mkdir(parents=True, exist_ok=True)
        if given.only in (None, "lake"):
            seconds = make_lake(folder, given.orders)
            print(f"A lake of {given.orders:,} sales orders was made in {seconds:.0f} s")
        for engine in ENGINES:
            if given.only in (None, engine):
                measure(engine, folder, given.memory)
        if given.only in (None, "report"):
            report(folder, given.orders)


def make_lake(folder: Path, orders: int) -> float:
    """Make a lake of the sample business, with so many sales orders in its second batch."""
    import pyarrow as pa

    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.lake import BronzeReader, Lake, bronze_stream
    from platform_assets.lake.ledger import LedgerEntry
    from platform_assets.model.totesys.source import TABLES
    from platform_assets.sample.database import create_sample
    from platform_assets.sample.embedded import DATABASE, EmbeddedPostgres
    from platform_assets.source.extract import Extractor
    from platform_assets.source.snapshot import SourceDatabase

    started = time.perf_counter()
    lake, sql = lake_in(folder, "duckdb"), SqlEngine(1024, 2, folder / "tmp")
    with tempfile.TemporaryDirectory(prefix="scale-source-") as place:
        # Under root the server runs as another account, which must get to its data.
        Path(place).chmod(0o755)
        embedded = EmbeddedPostgres(Path(place) / "source")
        try:
            create_sample(embedded.start(), sales=SAMPLE)
            source = SourceDatabase("totesys", TABLES, lambda: embedded.reader(DATABASE))
            Extractor(source, lake, sql).extract(TABLES)
        finally:
            embedded.stop()
    table = next(one for one in TABLES if one.name == "sales_order")
    state = lake.ledger.read()
    now = dt.datetime.now(dt.UTC)
    bronze: Any = lake.bronze("totesys", table)
    assert isinstance(lake, Lake)
    with sql.connect() as connection:
        BronzeReader(lake, "totesys", state).create_versions_view(connection, ["base"], table)
        columns = ", ".join(
            {
                "sales_order_id": f"CAST(sales_order_id + {SAMPLE} * r AS INT) AS sales_order_id",
                "_batch": "CAST(2 AS BIGINT) AS _batch",
                "_seen_at": f"TIMESTAMPTZ '{now.isoformat()}' AS _seen_at",
            }.get(column.name, f'"{column.name}"')
            for column in bronze.columns
        )
        rows = connection.sql(
            f"SELECT {columns} FROM base, range(1, {orders // SAMPLE}) AS repeated(r)"
        ).to_arrow_reader(4_096)
        schema = bronze.arrow_schema
        stream = pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in rows))
        bronze.append(bronze.open(), stream, stream=bronze_stream("totesys"), version=2)
    added = orders - SAMPLE
    entry = LedgerEntry(2, "totesys", table.name, added, 0, 0, 0, "", now, now)
    lake.ledger.commit(state, [entry])
    return time.perf_counter() - started


def lake_in(folder: Path, engine: str) -> Any:
    """Return the lake, with a processed zone for each engine."""
    from platform_assets.lake.lake import Lake

    return Lake(str(folder / "ingestion"), str(folder / engine))


def build(name: str, folder: Path, memory: int, master: str) -> None:
    """Build the star tables, and print how long it took."""
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.model.totesys.star import STAR
    from platform_assets.spark.engine import SparkEngine
    from platform_assets.spark.session import SailTarget, SparkTarget
    from platform_assets.star.transform import StarBuilder

    sql = SqlEngine(memory, 2, folder / "tmp")
    options = {
        "spark.executor.memory": f"{memory}m",
        "spark.executor.cores": "1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }
    targets = {
        "spark": SparkTarget(lambda: master, 1024, 8, lambda: options),
        "sail": SailTarget(lambda: "local[2]", partitions=8),
    }
    engine = SparkEngine(targets[name], sql) if name in targets else None
    started = time.perf_counter()
    changes = StarBuilder(lake_in(folder, name), STAR, sql, star_engine=engine).build(STAR.tables)
    seconds = time.perf_counter() - started
    failed = [f"{table}: {change.stopped}" for table, change in changes.items() if change.stopped]
    if failed:
        raise RuntimeError(" ".join(failed))
    print(json.dumps({"seconds": seconds, "rows": changes["fact_sales_order"].row_count}))


def measure(name: str, folder: Path, memory: int) -> None:
    """Build with one engine in a process of its own, and keep the figures."""
    import shutil

    from platform_assets_tests.fixtures.spark import standalone_cluster

    shutil.rmtree(folder / name, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        arguments = [sys.executable, __file__, "--build", name, "--folder", str(folder)]
        arguments += ["--memory", str(memory)]
        watched: list[int] = []
        if name == "spark":
            (folder / "cluster").mkdir(exist_ok=True)
            cluster = stack.enter_context(standalone_cluster(folder / "cluster", memory_mb=memory + 512))
            arguments += ["--master", cluster.master]
            watched = [process.pid for process in cluster.processes]
        log = stack.enter_context((folder / f"{name}.log").open("w"))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=ROOT
        )
        with watch([process.pid, *watched]) as used:
            said, _ = process.communicate(timeout=3_600)
        if process.returncode:
            raise RuntimeError((folder / f"{name}.log").read_text()[-2_000:])
    figures = {**json.loads(said.splitlines()[-1]), **used}
    (folder / f"{name}.json").write_text(json.dumps(figures))
    print(f"{name}: {figures['seconds']:.1f} s, {figures['cpu']:.1f} s of processor, {figures['mb']:.0f} MB")


@contextlib.contextmanager
def watch(pids: list[int]) -> Iterator[dict[str, float]]:
    """Measure processes with all their children: processor time, and the most memory at any moment."""
    used = {"cpu": 0.0, "mb": 0.0}
    times: dict[int, float] = {}
    is_over = threading.Event()

    def look() -> None:
        held = 0
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        spent = one.cpu_times()
                        times[one.pid] = spent.user + spent.system
                        held += one.memory_full_info().pss
        used["mb"] = max(used["mb"], held / 1e6)

    def watching() -> None:
        while not is_over.wait(0.5):
            look()

    thread = threading.Thread(target=watching)
    thread.start()
    try:
        yield used
    finally:
        is_over.set()
        thread.join()
        used["cpu"] = sum(times.values())


def report(folder: Path, orders: int) -> None:
    """Compare what the engines have built, and print the figures."""
    from platform_assets.lake.duck import SqlEngine
    from platform_assets_tests.spark.test_engines import content, differences

    sql = SqlEngine(2048, 2, folder / "tmp")
    expected = content(lake_in(folder, "duckdb"), sql)
    columns = sum(1 for values in expected.values() for name in values if name.startswith("column "))
    print(
        f"\n| engine | seconds | processor seconds | MB | orders a second | {columns} columns of 11 tables |"
    )
    print("| --- | --: | --: | --: | --: | --- |")
    figures = {}
    for name in ENGINES:
        file = folder / f"{name}.json"
        if not file.is_file():
            continue
        found = figures[name] = json.loads(file.read_text())
        unequal = differences(expected, content(lake_in(folder, name), sql))
        equal = "; ".join(unequal) or "equal hash sums, types and cursors"
        print(
            f"| {name} | {found['seconds']:.1f} | {found['cpu']:.1f} | {found['mb']:,.0f} | "
            f"{orders / found['seconds']:,.0f} | {equal} |"
        )
    on_paper(figures, orders)


def on_paper(figures: dict[str, dict[str, float]], orders: int) -> None:
    """Print what a first build of a billion orders takes, from what so many orders took.

    DuckDB computes with all cores, and one stream of rows leaves it for the Delta writer: more cores do not
    help, so its seconds count as measured. On Spark and Sail all cores read, compute and write: what counts
    is the processor time.
    """
    times = 1_000_000_000 / orders
    print("\nA first build of a billion orders, on paper:")
    print(f"| engine | machines of {CORES} cores | hours | dollars |")
    print("| --- | --: | --: | --: |")
    for name, machines in (("duckdb", 1), ("sail", 1), *(("spark", count) for count in (1, 4, 16))):
        if name not in figures:
            continue
        cores = CORES * machines * EFFICIENCY
        seconds = figures[name]["seconds"] if name == "duckdb" else figures[name]["cpu"] / cores
        hours = seconds * times / 3_600
        print(f"| {name} | {machines} | {hours:.2f} | {hours * machines * DOLLARS_AN_HOUR:.2f} |")


if __name__ == "__main__":
    main()
