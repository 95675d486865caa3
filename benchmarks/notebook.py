"""Times `%warehouse` beside DuckDB's own DataFrames, and how soon the first rows are there.

A warehouse of one table with eight columns of usual types, in a DuckDB file. The contestants take turns in
one process, each with two threads: `%warehouse` with its defaults, and a connection of DuckDB whose result is
taken by `.df()`. The ratio is that of the fastest turns. First rows: a new process in which the magics are
loaded; counted from the start of the cell `%warehouse --limit 20 FROM star.measurement` to its end, in
seconds of a core: the first cell, which imports what is left to import, and the fastest later one. Loading
the magics must not import Dagster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

ROWS = 5_000_000
LEAST_RATIO = 0.9
MOST_SECONDS = 0.5
_QUERY = "FROM star.measurement"
_SHELL = """
import json, sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(history_length=0)
shell.run_line_magic("load_ext", "platform_assets.notebook")
loaded = "dagster" in sys.modules
took = []
for _ in range(5):
    started, used = time.perf_counter(), time.process_time()
    shell.run_cell("%warehouse --no-display --limit 20 FROM star.measurement", silent=True)
    took.append((time.perf_counter() - started, time.process_time() - used))
    assert len(shell.user_ns["warehouse_df"]) == 20
print(json.dumps({"dagster": loaded, "dagster after": "dagster" in sys.modules, "took": took}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="platform-assets-notebook-") as folder:
        os.environ |= {"PLATFORM_STATE_DIR": folder, "IPYTHONDIR": folder}
        file = Path(folder) / "warehouse.duckdb"
        _fill(file, given.rows)
        ratio = _frames(file, given.rows, given.turns)
        first, again, is_loaded = _first_rows()
    print(f"DataFrame of {given.rows:,} rows: {ratio:.2f} x the speed of DuckDB's .df(); {LEAST_RATIO} asked")
    print(f"First rows: {first:.2f} s of a core in a new process, {again:.3f} s later; {MOST_SECONDS} asked")
    print(f"Dagster is {'' if is_loaded else 'not '}imported by loading the magics")
    if given.rows < ROWS:
        print("Not judged: fewer rows than the limits are meant for.")
        return 0
    return int(ratio < LEAST_RATIO or max(first, again) > MOST_SECONDS or is_loaded)


def _fill(file: Path, rows: int) -> None:
    import duckdb

    with duckdb.connect(str(file)) as connection:
        connection.execute(
            "CREATE SCHEMA star; CREATE TABLE star.measurement AS SELECT i::INT AS id, (i % 1000)::INT AS "
            "customer_id, 'design ' || (i % 5000) AS design, (i * 1.25 % 90000)::DECIMAL(10, 2) AS price, "
            "DATE '2023-01-01' + (i % 700)::INT AS day, TIMESTAMP '2023-01-01' + to_seconds(i) AS at, "
            f"i * 0.5 AS weight, i % 2 = 0 AS is_new FROM range({rows:d}) AS numbers(i)"
        )


def _frames(file: Path, rows: int, turns: int) -> float:
    """Return the speed of the magic, DuckDB's being 1."""
    import duckdb
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance(history_length=0)
    shell.run_line_magic("load_ext", "platform_assets.notebook")

    def magic() -> int:
        shell.run_cell(f"%warehouse --no-display {_QUERY}", silent=True)
        return len(shell.user_ns.pop("warehouse_df"))

    def plain() -> int:
        with duckdb.connect(str(file), read_only=True) as connection:
            connection.execute("SET threads = 2")
            return len(connection.sql(_QUERY).df())

    took: dict[str, list[float]] = {"magic": [], "plain": []}
    contestants: dict[str, Callable[[], int]] = {"magic": magic, "plain": plain}
    shell.run_cell("%warehouse --no-display SELECT 1", silent=True)
    for _ in range(turns):
        for name, run in contestants.items():
            started = time.perf_counter()
            assert run() == rows
            took[name].append(time.perf_counter() - started)
    if shell.history_manager is not None:
        shell.history_manager.end_session()
    for name, seconds in took.items():
        print(f"  {name}: fastest {min(seconds):.2f} s, median {statistics.median(seconds):.2f} s")
    return min(took["plain"]) / min(took["magic"])


def _first_rows() -> tuple[float, float, bool]:
    """Return the seconds of the first cell and of the fastest later one, and whether Dagster is loaded."""
    ended = subprocess.run(
        [sys.executable, "-c", _SHELL], capture_output=True, text=True, check=True, cwd=ROOT
    )
    found = json.loads(ended.stdout.splitlines()[-1])
    print(f"  Dagster after the first query: {'imported' if found['dagster after'] else 'not imported'}")
    return found["took"][0][1], min(seconds for seconds, _ in found["took"][1:]), found["dagster"]


if __name__ == "__main__":
    raise SystemExit(main())
