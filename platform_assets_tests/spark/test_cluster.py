"""A cluster that loses a worker in the middle of a job gives what one process gives."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from platform_assets.dlp.columns import ColumnInspector
from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig
from platform_assets.lake import column_values
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.model.totesys import star
from platform_assets.sample.database import create_sample
from platform_assets.star.transform import StarBuilder
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.spark import standalone_cluster
from platform_assets_tests.fixtures.totesys import Platform, Totesys
from platform_assets_tests.spark.test_engines import content, differences

# A session belongs to a process, and that of the tests has another Spark.
BUILD = """
import json, sys
from pathlib import Path
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets.model.totesys import star
from platform_assets.spark.engine import SparkEngine
from platform_assets.spark.session import SparkTarget
from platform_assets.star.transform import StarBuilder

master, ingestion, processed, folder = sys.argv[1:]
sql = SqlEngine(256, 2, Path(folder))
options = {
    "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
    "spark.executor.memory": "600m", "spark.executor.cores": "1",
    "spark.shuffle.io.maxRetries": "1", "spark.shuffle.io.retryWait": "1s",
}
target = SparkTarget(lambda: master, memory_mb=600, partitions=8, options=lambda: options)
done = StarBuilder(
    Lake(ingestion, processed), star.STAR, sql, lambda said: print(said, flush=True),
    SparkEngine(target, sql, rows_per_range=2_000),
).build(star.TABLES)
print(json.dumps({name: [one.stopped, one.rows_written] for name, one in done.items()}))
"""

VALUES_PER_PIECE = 500
INSPECT = f"""
import json, sys, time
from functools import partial
from pathlib import Path
from platform_assets.dlp.column_parts import LargeTables
from platform_assets.dlp.columns import ColumnInspector
from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig
from platform_assets.lake import column_values
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.spark.session import SparkTarget
from platform_assets.spark.values import SparkValueWorkers

master, uri, pieces, folder = sys.argv[1:]
options = {{
    "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
    "spark.executor.memory": "600m", "spark.executor.cores": "1",
    "spark.shuffle.io.maxRetries": "1", "spark.shuffle.io.retryWait": "1s",
}}


class Slow(LocalInspector):
    def inspect_columns(self, columns, first_row=0, container=()):
        Path(pieces, str(time.monotonic_ns())).touch()
        time.sleep(0.2)
        return super().inspect_columns(columns, first_row, container)


column_values.VALUES_PER_PIECE = {VALUES_PER_PIECE}
target = SparkTarget(lambda: master, memory_mb=600, partitions=8, options=lambda: options)
new = partial(Slow, InspectConfig(), b"k" * 32)
large = LargeTables(SparkValueWorkers(target, 1), new)
seen = ColumnInspector(new(), SqlEngine(256, 2, Path(folder)), large_tables=large).inspect_lake_table(
    LakeTable(uri, ()), "star/t"
)
print(repr(seen))
"""


@pytest.mark.soak
def test_a_worker_that_is_killed_in_the_middle_of_an_inspection_changes_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = LakeTable(str(tmp_path / "table"), ())
    numbers = range(20_000)
    mails = [f"member{number}@company-one.com" for number in numbers]
    write_deltalake(place.uri, pa.table({"mail": mails, "note": [f"{mail}, of old" for mail in mails]}))
    monkeypatch.setattr(column_values, "VALUES_PER_PIECE", VALUES_PER_PIECE)
    sql = SqlEngine(256, 2, tmp_path / "alone")
    alone = ColumnInspector(LocalInspector(InspectConfig(), b"k" * 32), sql).inspect_lake_table(
        place, "star/t"
    )
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    (tmp_path / "cluster").mkdir()
    with standalone_cluster(tmp_path / "cluster", memory_mb=1024) as cluster:
        process = subprocess.Popen(
            [sys.executable, "-c", INSPECT, cluster.master, place.uri, str(pieces), str(tmp_path / "driver")],
            stdout=subprocess.PIPE,
            stderr=(tmp_path / "driver.log").open("wb"),
            text=True,
        )
        watchdog = threading.Timer(600, process.kill)
        watchdog.start()
        try:
            while process.poll() is None and len(list(pieces.iterdir())) < 10:
                time.sleep(0.05)
            before = len(list(pieces.iterdir()))
            killed = cluster.kill_worker(0)
            said, _ = process.communicate()
            assert process.returncode == 0, (tmp_path / "driver.log").read_text()[-3000:]
        finally:
            watchdog.cancel()
            process.kill()
            process.wait(60)
        lost = (tmp_path / "cluster" / "master.log").read_text()
    # The worker, its executor, and the Python that was inspecting.
    assert killed > 2
    assert "Removing worker" in lost or "got disassociated" in lost
    assert before < 2 * len(numbers) / VALUES_PER_PIECE <= len(list(pieces.iterdir()))
    assert said.strip() == repr(alone)


@pytest.mark.soak
def test_a_worker_that_is_killed_in_the_middle_of_a_job_changes_no_row(
    new_module_database: NewDatabase, tmp_path: Path
) -> None:
    created = new_module_database()
    create_sample(created.owner, sales=20_000, seed=7)
    platform = Platform.on_disk(Totesys(created), tmp_path)
    platform.extract()
    platform.build()
    lake = replace(platform.lake, processed=str(tmp_path / "spark"))
    (tmp_path / "cluster").mkdir()
    with standalone_cluster(tmp_path / "cluster", memory_mb=1024) as cluster:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", BUILD, cluster.master),
                *(lake.ingestion, lake.processed, str(tmp_path / "driver")),
            ],
            stdout=subprocess.PIPE,
            stderr=(tmp_path / "driver.log").open("wb"),
            text=True,
        )
        watchdog = threading.Timer(600, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            lines: list[str] = []
            killed = 0
            for line in process.stdout:
                lines.append(line)
                if line.startswith("star/dim_currency"):
                    # The next tables are under way when this is read.
                    time.sleep(0.5)
                    killed = cluster.kill_worker(0)
            assert process.wait(PATIENCE) == 0, (tmp_path / "driver.log").read_text()[-3000:]
        finally:
            watchdog.cancel()
            process.kill()
            process.wait(60)
        lost = (tmp_path / "cluster" / "master.log").read_text()
    assert killed == 2, "the worker and its executor"
    assert "Removing worker" in lost or "got disassociated" in lost
    changes = json.loads(lines[-1])
    assert {name: stopped for name, (stopped, _) in changes.items() if stopped} == {}
    assert changes["fact_sales_order"][1] == 20_000
    assert differences(content(platform.lake, platform.engine), content(lake, platform.engine)) == []
    assert StarBuilder(lake, star.STAR, platform.engine).build(star.TABLES)["fact_payment"].rows_written == 0
