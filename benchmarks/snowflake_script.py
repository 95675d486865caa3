"""Times a script of many Parquet files beside reading the same files' schemas through a local Spark session.

Every run is a process of its own. Seconds are counted inside it once everything is imported, and for Spark
once a first file was read, so that its session and its just-in-time compiler are warm. The limits were set
for 1,000 files of 50 columns and two cores: at other sizes they are shown and not judged.

Spark is left out where pyspark or Java is missing; `--spark-python` names another environment that has it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = 1_000
COLUMNS = 50
"""The size that the limits are meant for."""
SECONDS_AT_MOST = 1.0
TIMES_FASTER_AT_LEAST = 50.0


@dataclass(frozen=True)
class Figure:
    """One contestant's runs.

    Args:
        name: What was run.
        seconds: Of each run, once everything was imported.
        columns: Number of columns that it found, which is to be that of all files.
    """

    name: str
    seconds: tuple[float, ...]
    columns: int

    @property
    def median(self) -> float:
        """The run in the middle."""
        return statistics.median(self.seconds)


def write_script(folder: Path) -> tuple[float, int]:
    """The whole script of a folder, from listing it to the text."""
    from platform_assets.parquet.tables import read_tables
    from platform_assets.snowflake.options import ScriptOptions
    from platform_assets.snowflake.script import column_types, script

    started = time.perf_counter()
    reading = read_tables([str(folder)])
    made = script(reading.tables, ScriptOptions(database="analytics", schema="landing", prefix="raw_"))
    (folder.parent / "all_tables.sql").write_text(made.text, encoding="utf-8")
    seconds = time.perf_counter() - started
    if reading.problems or made.problems:
        raise SystemExit("Files were left out; the measurement does not count.")
    return seconds, sum(len(column_types(table, ScriptOptions())) for table in reading.tables)


def read_by_pyarrow(folder: Path) -> tuple[float, int]:
    """The schemas alone, one file after the other, as a loop over pyarrow has them."""
    import pyarrow.parquet as pq

    started = time.perf_counter()
    schemas = [pq.read_schema(file) for file in sorted(folder.iterdir())]
    return time.perf_counter() - started, sum(len(schema) for schema in schemas)


def read_by_spark(folder: Path) -> tuple[float, int]:
    """The schemas alone, through a local Spark session with both cores."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )
    files = sorted(str(file) for file in folder.iterdir())
    _ = session.read.parquet(files[0]).schema
    started = time.perf_counter()
    schemas = [session.read.parquet(file).schema for file in files]
    seconds = time.perf_counter() - started
    session.stop()
    return seconds, sum(len(schema) for schema in schemas)


CONTESTANTS: dict[str, Callable[[Path], tuple[float, int]]] = {
    "script": write_script,
    "pyarrow": read_by_pyarrow,
    "spark": read_by_spark,
}


def main() -> None:
    """Measure, print a table, write JSON; exit with 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=FILES, help="number of Parquet files")
    parser.add_argument("--columns", type=int, default=COLUMNS, help="number of their columns")
    parser.add_argument(
        "--rounds", type=int, default=5, help="runs of each contestant but Spark, which has one"
    )
    parser.add_argument("--spark-python", default=sys.executable, help="a Python that has pyspark")
    parser.add_argument(
        "--json", type=Path, default=ROOT / ".platform" / "benchmarks" / "snowflake_script.json"
    )
    parser.add_argument("--run", nargs=2, metavar=("CONTESTANT", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        contestant, folder = arguments.run
        seconds, columns = CONTESTANTS[contestant](Path(folder))
        print(json.dumps({"seconds": seconds, "columns": columns}))
        return
    with tempfile.TemporaryDirectory(prefix="platform-assets-benchmark-") as place:
        folder = Path(place) / "files"
        _write_files(folder, arguments.files, arguments.columns)
        figures = [_measure("script", folder, arguments.rounds, sys.executable)]
        figures.append(_measure("pyarrow", folder, arguments.rounds, sys.executable))
        missing = _why_no_spark(arguments.spark_python)
        if missing is None:
            figures.append(_measure("spark", folder, 1, arguments.spark_python))
    is_meant = (arguments.files, arguments.columns) == (FILES, COLUMNS)
    if not _report(figures, missing, arguments.json, arguments.files, arguments.columns, is_meant):
        raise SystemExit(1)


def _write_files(folder: Path, files: int, columns: int) -> None:
    """Files whose columns have all kinds of types that Spark knows, and names of their own in each file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [
        *(pa.int32(), pa.int64(), pa.uint64(), pa.float64(), pa.decimal128(18, 4), pa.bool_(), pa.string()),
        *(pa.binary(), pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC")),
        *(pa.list_(pa.int32()), pa.struct([("a", pa.int32()), ("b", pa.string())])),
    ]
    folder.mkdir()
    for number in range(files):
        fields = [(f"column_{number}_{index}", kinds[index % len(kinds)]) for index in range(columns)]
        schema = pa.schema(fields)
        rows = pa.table({name: pa.nulls(10, type_) for name, type_ in fields}, schema=schema)
        pq.write_table(rows, folder / f"table_{number:04}.parquet")


def _measure(contestant: str, folder: Path, rounds: int, python: str) -> Figure:
    seconds = []
    columns = 0
    for _ in range(rounds):
        said = subprocess.run(
            [python, __file__, "--run", contestant, str(folder)],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT) if python == sys.executable else ""},
            check=False,
        )
        if said.returncode:
            raise SystemExit(f"{contestant} failed: {said.stderr.strip()[-2000:]}")
        found = json.loads(said.stdout.splitlines()[-1])
        seconds.append(float(found["seconds"]))
        columns = int(found["columns"])
        print(f"{contestant}: {seconds[-1]:.3f} s", file=sys.stderr)
    return Figure(contestant, tuple(seconds), columns)


def _why_no_spark(python: str) -> str | None:
    """Why Spark cannot be measured, or None where it can."""
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        return "Spark was not measured: there is no Java on this machine."
    found = subprocess.run([python, "-c", "import pyspark"], capture_output=True, check=False)
    if found.returncode:
        return "Spark was not measured: pyspark is not installed; `pip install -e .[spark]` brings it."
    return None


def _report(
    figures: Sequence[Figure], missing: str | None, file: Path, files: int, columns: int, is_meant: bool
) -> bool:
    by_name = {figure.name: figure for figure in figures}
    own, spark = by_name["script"], by_name.get("spark")
    if any(figure.columns != files * columns for figure in figures):
        raise SystemExit(f"Not every contestant has found {files * columns:,} columns: {figures}")
    ratio = spark.median / own.median if spark else None
    print(f"\n{files:,} files of {columns} columns; median of {len(own.seconds)} runs")
    print(f"{'contestant':<12}{'seconds':>10}{'times the script':>20}")
    for figure in figures:
        print(f"{figure.name:<12}{figure.median:>10.3f}{figure.median / own.median:>20.1f}")
    if missing:
        print(missing)
    kept = own.median <= SECONDS_AT_MOST and (ratio is None or ratio >= TIMES_FASTER_AT_LEAST)
    limits = f"at most {SECONDS_AT_MOST} s, Spark at least {TIMES_FASTER_AT_LEAST:.0f} times as long"
    print(f"Limits: {limits}: {('kept' if kept else 'NOT KEPT') if is_meant else 'not judged at this size'}")
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "files": files,
        "columns": columns,
        "figures": [asdict(figure) | {"median": figure.median} for figure in figures],
        "spark_over_script": ratio,
        "spark_missing": missing,
        "limits_kept": kept if is_meant else None,
        "versions": {name: importlib.metadata.version(name) for name in ("pyarrow", "deltalake")},
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return kept or not is_meant


if __name__ == "__main__":
    main()
