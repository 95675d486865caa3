"""Times the main job as a user meets it, from a first run to a large source.

Every figure is a whole process, from its start to its end, in a state folder of its own; peak memory is what
the operating system says of the finished process. The large source takes some minutes: `--sales 0` leaves it
out.
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
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JOB = ("-m", "dagster", "job", "execute", "-m", "platform_assets.definitions", "-j", "totesys_to_warehouse")


@dataclass(frozen=True)
class Measurement:
    """One figure: median wall seconds, largest peak memory in MB, and the limit where there is one."""

    name: str
    seconds: float
    lowest: float
    highest: float
    peak_mb: float
    limit: str
    kept: bool | None


def main() -> None:
    """Measure, print a table, write JSON; exit with 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sales", type=int, default=5_000_000, help="sales of the large source; 0 for none")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each short measurement")
    parser.add_argument("--json", type=Path, default=ROOT / ".platform" / "benchmarks" / "main_job.json")
    arguments = parser.parse_args()
    measured = [*_default_size(arguments.rounds), *_loading(arguments.rounds * 2)]
    if arguments.sales:
        measured += _large(arguments.sales)
    _print(measured)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(
        json.dumps([asdict(one) for one in measured], indent=2) + "\n", encoding="utf-8"
    )
    sys.exit(any(one.kept is False for one in measured))


def _default_size(rounds: int) -> list[Measurement]:
    with _State() as state:
        first = [state.run("-m", "platform_assets.cli", "run")]
        for _ in range(rounds - 1):
            state.clear()
            first.append(state.run("-m", "platform_assets.cli", "run"))
        before = state.files()
        unchanged = [state.run(*JOB) for _ in range(rounds)]
        files = len(state.files() ^ before)
        state.run("-m", "platform_assets.cli", "sample", "advance", "--days", "1", "--silent-edits", "10")
        changed = [state.run(*JOB)]
    return [
        _measurement("first run at default size, database included", first, seconds=15),
        _measurement(
            f"unchanged tick ({files} files of lake or warehouse touched)",
            unchanged,
            seconds=6,
            also=not files,
        ),
        _measurement("tick after one day's business", changed),
    ]


def _loading(rounds: int) -> list[Measurement]:
    """The two in turn, so that a machine whose speed drifts treats them alike."""
    dagster, code_location = [], []
    with _State() as state:
        for _ in range(rounds):
            dagster.append(state.run("-c", "import dagster"))
            code_location.append(state.run("-c", "import platform_assets.definitions"))
    extra = statistics.median(b[0] - a[0] for a, b in zip(dagster, code_location, strict=True))
    name = f"loading the code location ({extra:+.2f} s, pair by pair)"
    return [
        _measurement("import dagster", dagster),
        _measurement(name, code_location, limit="0.5 s more", also=extra <= 0.5),
    ]


def _large(sales: int) -> list[Measurement]:
    with _State() as state:
        title = f"{sales:,} sales: "
        command = ("-m", "platform_assets.cli", "sample")
        create = state.run(*command, "create", "--sales", str(sales))
        first = state.run(*JOB)
        unchanged = state.run(*JOB)
        state.run(*command, "advance", "--days", "1", "--silent-edits", "1000", "--deletes", "100")
        changed = state.run(*JOB)
    return [
        _measurement(title + "creating the sample", [create]),
        _measurement(title + "first run", [first], megabytes=600),
        _measurement(title + "unchanged tick", [unchanged], megabytes=600),
        _measurement(
            title + "tick after a day, 1,000 silent edits and 100 deletions", [changed], megabytes=600
        ),
    ]


class _State:
    """A state folder and the processes that work in it."""

    def __enter__(self) -> _State:
        self.folder = Path(tempfile.mkdtemp(prefix="platform-assets-bench-"))
        self.folder.chmod(0o755)
        self.environment = {
            **os.environ,
            "PLATFORM_STATE_DIR": str(self.folder),
            "LAKE_INGESTION": str(self.folder / "lake" / "ingestion"),
            "LAKE_PROCESSED": str(self.folder / "lake" / "processed"),
            "WAREHOUSE_PATH": str(self.folder / "warehouse.duckdb"),
            "DAGSTER_HOME": str(self.folder / "dagster"),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
        }
        self._prepare()
        return self

    def __exit__(self, *_: object) -> None:
        self.run("-m", "platform_assets.cli", "sample", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _prepare(self) -> None:
        (self.folder / "dagster").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "dagster.yaml", self.folder / "dagster")

    def clear(self) -> None:
        """Start from nothing again."""
        self.run("-m", "platform_assets.cli", "sample", "stop")
        for entry in self.folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self._prepare()

    def files(self) -> set[tuple[str, int]]:
        """Files of lake and warehouse with the time they were last written."""
        paths = [*(self.folder / "lake").rglob("*"), self.folder / "warehouse.duckdb"]
        return {(str(path), path.stat().st_mtime_ns) for path in paths if path.is_file()}

    def run(self, *arguments: str) -> tuple[float, float]:
        """Run Python to its end; wall seconds and peak memory in MB."""
        with tempfile.TemporaryFile() as output:
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                output.seek(0)
                sys.exit(f"{' '.join(arguments)} failed:\n{output.read().decode(errors='replace')[-4000:]}")
        # Linux counts in kilobytes, macOS in bytes; a megabyte here has a million.
        return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _measurement(
    name: str,
    runs: list[tuple[float, float]],
    *,
    seconds: float | None = None,
    megabytes: float | None = None,
    limit: str = "",
    also: bool = True,
) -> Measurement:
    times = [run[0] for run in runs]
    median, peak = statistics.median(times), max(run[1] for run in runs)
    limits = [f"{seconds:g} s"] if seconds else []
    limits += [f"{megabytes:g} MB"] if megabytes else []
    limits += [limit] if limit else []
    kept = (seconds is None or median <= seconds) and (megabytes is None or peak <= megabytes) and also
    return Measurement(
        name, median, min(times), max(times), peak, ", ".join(limits), kept if limits else None
    )


def _print(measured: list[Measurement]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"The main job on {os.cpu_count()} cores, whole processes")
    for name in ("what", "median s", "min", "max", "peak MB", "limit", "kept"):
        table.add_column(
            name, justify="left" if name in ("what", "limit") else "right", no_wrap=name != "what"
        )
    for one in measured:
        kept = "" if one.kept is None else "yes" if one.kept else "NO"
        seconds = [f"{value:.2f}" for value in (one.seconds, one.lowest, one.highest)]
        table.add_row(one.name, *seconds, f"{one.peak_mb:.0f}", one.limit, kept)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
