"""A cluster that loses a worker in the middle of a job gives the rows that DuckDB gives."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from platform_assets.model.totesys import star
from platform_assets.sample.database import create_sample
from platform_assets.star.transform import StarBuilder
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
            assert process.wait(60) == 0, (tmp_path / "driver.log").read_text()[-3000:]
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
