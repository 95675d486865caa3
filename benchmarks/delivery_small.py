"""What deliveries cost beyond rendering and sending: small ones, and the code location with many of them.

Prints JSON. Small deliveries go to a local folder; what the writer itself takes is measured beside it and
subtracted. The code location is loaded in fresh processes, in turns with and without deliveries, after one
load of each that derives the lineage, as Dagster loads it: `platform_assets.definitions`, and then all jobs.
The figure is the difference of the medians of what that takes by the process's own clock; the difference in
seconds of the processor says more on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platform_assets.delivery.engine import Engine, Order, Watcher
from platform_assets.delivery.interfaces import Bytes, Rows
from platform_assets.delivery.receipts import RECEIPT_COLUMNS, Receipts
from platform_assets.delivery.staging import Naming, Staging
from platform_assets.delivery.writers.folder import FolderWriter
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.protection import NoProtection

ROOT = Path(__file__).parents[1]
CONTENT = b"id,name\n1,Ann\n"
FILE = """
title = "Customers in the morning, %d"
owners = ["data@example.org"]
schedule { cron = "0 6 * * *", timezone = UTC }
source { asset = "star/dim_counterparty", query = "SELECT * FROM dim_counterparty ORDER BY 1" }
render = [ { csv { delimiter = ";" } }, gzip ]
file = "customers-{date}.csv.gz"
to {
  archive { address = ${state_dir}"/delivered/customers" }
  bucket { address = "s3://results/customers" }
}
on_success { channels = [results], link { to = archive, expires_hours = 72 } }
"""
LOAD = """
import time
import platform_assets.build, platform_assets.settings
started, cpu = time.perf_counter(), time.process_time()
from platform_assets.definitions import defs
defs.resolve_all_job_defs()
print(time.perf_counter() - started, time.process_time() - cpu)
"""


class Small:
    """A source of one small file."""

    def version(self) -> str:
        return "1"

    @contextmanager
    def open(self) -> Iterator[Iterator[Rows | Bytes]]:
        yield iter([Bytes("customers.csv", iter([CONTENT]), len(CONTENT))])


def small_deliveries(folder: Path, count: int) -> dict[str, Any]:
    """Make small deliveries, each with a name of its own."""
    receipts = Receipts(LakeTable(str(folder / "receipts"), RECEIPT_COLUMNS))
    engine = Engine(receipts, lambda name: Staging(folder / "staging" / name, 10**9), NoProtection)
    naming = Naming(lambda stamp, given, number, rows: given)

    def order(name: str) -> Order:
        return Order(
            name,
            "Customers",
            "benchmark",
            "1",
            Small,
            lambda work: (),
            naming,
            {"archive": lambda: FolderWriter(folder / "delivered" / name, True)},
        )

    started, cpu = time.perf_counter(), time.process_time()
    results = [engine.deliver(order(f"d{number}"), Watcher()) for number in range(count)]
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    again, cpu_again = time.perf_counter(), time.process_time()
    files = [result.files[0] for result in results]
    for number, file in enumerate(files):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_bytes(CONTENT)
        with FolderWriter(folder / "alone" / f"d{number}", True).open() as transfer:
            transfer.write(file, lambda sent: None)
    protocol, cpu_again = time.perf_counter() - again, time.process_time() - cpu_again
    return {
        "deliveries": count,
        "ms each": round(seconds / count * 1000, 1),
        "ms of the protocol": round(protocol / count * 1000, 1),
        "ms beyond the protocol": round((seconds - protocol) / count * 1000, 1),
        "ms of processor beyond the protocol": round((cpu - cpu_again) / count * 1000, 1),
        "limit, ms": 30,
    }


def code_location(folder: Path, count: int, turns: int) -> dict[str, Any]:
    """Load the code location with and without deliveries."""
    found: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    for name in found:
        config = folder / name
        shutil.copytree(ROOT / "config", config)
        shutil.rmtree(config / "deliveries")
        (config / "deliveries").mkdir()
        # Once there has been a run, the lineage is derived anew only when a declaration has changed.
        (folder / f"state-{name}").mkdir()
        for number in range(count if name == "with" else 0):
            (config / "deliveries" / f"d{number}.conf").write_text(FILE.replace("%d", str(number)))
    for turn in range(turns + 1):
        for name, timings in found.items():
            environment = {
                **os.environ,
                "PLATFORM_CONFIG": str(folder / name / "platform.conf"),
                "PLATFORM_STATE_DIR": str(folder / f"state-{name}"),
            }
            ended = subprocess.run(
                [sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, check=True
            )
            wall, cpu = map(float, ended.stdout.split())
            if turn:
                timings.append((wall, cpu))
    medians = {
        name: [statistics.median(one) for one in zip(*got, strict=True)] for name, got in found.items()
    }
    return {
        "deliveries": count,
        "seconds without": round(medians["without"][0], 3),
        "seconds with": round(medians["with"][0], 3),
        "seconds more": round(medians["with"][0] - medians["without"][0], 3),
        "seconds of processor more": round(medians["with"][1] - medians["without"][1], 3),
        "limit, seconds": 0.1,
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000, help="small deliveries")
    parser.add_argument("--files", type=int, default=100, help="deliveries of the code location")
    parser.add_argument("--turns", type=int, default=5, help="times that the code location is loaded")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "small deliveries": small_deliveries(Path(folder), given.count),
            "code location": code_location(Path(folder), given.files, given.turns),
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
