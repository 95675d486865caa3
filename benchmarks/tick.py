"""Times a whole tick of this checkout against one of an earlier commit, in turns.

Each tick is a whole process on an embedded sample of its own. The two take turns, so that a machine whose
speed drifts treats them alike. CPU seconds say more than wall seconds where other programs run beside them.
Peak memory is measured, too, and how many bytes a tick adds to Dagster's home. Without Git or the earlier
commit, nothing is measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "35311b9"
"""The last commit with Dagster's own storage."""
UNCHANGED, CHANGED, MEGABYTES = 0.5, 0.55, 260
"""Limits of the CPU time of a tick, as parts of that of the earlier commit, and of its memory."""


@dataclass(frozen=True)
class Tick:
    """A tick: its wall and CPU seconds, its peak memory in MB, and the MB it added to Dagster's home."""

    seconds: float
    cpu: float
    peak_mb: float
    home_mb: float


class Checkout:
    """A checkout of the project with a state folder of its own."""

    def __init__(self, root: Path, state: Path) -> None:
        self.root, self.home = root, state / "dagster"
        self.home.mkdir(parents=True)
        state.chmod(0o755)
        shutil.copy(root / "dagster.yaml", self.home)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(root),
            "PYTHONDONTWRITEBYTECODE": "",  # an installed program is not compiled at each start
            "PLATFORM_CONFIG": str(root / "config" / "platform.conf"),
            "PLATFORM_STATE_DIR": str(state),
            "LAKE_INGESTION": str(state / "lake" / "ingestion"),
            "LAKE_PROCESSED": str(state / "lake" / "processed"),
            "WAREHOUSE_PATH": str(state / "warehouse.duckdb"),
            "DAGSTER_HOME": str(self.home),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
        }

    def run(self, *arguments: str) -> Tick:
        """Run a command of the platform to its end; exit with its output if it fails."""
        before = self._size()
        with tempfile.TemporaryFile() as output:
            started = time.perf_counter()
            command = [sys.executable, "-m", "platform_assets.cli", *arguments]
            process = subprocess.Popen(
                command, cwd=self.root, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                output.seek(0)
                sys.exit(f"{' '.join(command)} failed:\n{output.read().decode(errors='replace')[-4000:]}")
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
        return Tick(seconds, usage.ru_utime + usage.ru_stime, peak, (self._size() - before) / 1e6)

    def _size(self) -> int:
        return sum(path.stat().st_size for path in self.home.rglob("*") if path.is_file())


def main() -> None:
    """Measure and print; exit with 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="ticks of each kind and checkout")
    parser.add_argument("--before", default=BEFORE, help="the earlier commit")
    arguments = parser.parse_args()
    git = shutil.which("git")
    named = f"{arguments.before}^{{commit}}"
    found = git and not subprocess.run([git, "-C", ROOT, "cat-file", "-e", named], check=False).returncode
    if not git or not found:
        print(f"There is no commit {arguments.before} to compare with: nothing was measured.")
        return
    folder = Path(tempfile.mkdtemp(prefix="platform-assets-tick-"))
    folder.chmod(0o755)
    worktree = [git, "-C", str(ROOT), "worktree"]
    subprocess.run([*worktree, "add", "--quiet", "--detach", folder / "before", arguments.before], check=True)
    checkouts = [Checkout(folder / "before", folder / "state-before"), Checkout(ROOT, folder / "state-now")]
    try:
        for checkout in checkouts:
            checkout.run("run")
        kept = [_compared("unchanged tick", _in_turns(checkouts, arguments.rounds, change=False), UNCHANGED)]
        kept += [_compared("changed tick", _in_turns(checkouts, arguments.rounds, change=True), CHANGED)]
    finally:
        for checkout in checkouts:
            checkout.run("sample", "stop")
        subprocess.run([*worktree, "remove", "--force", folder / "before"], check=True)
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(not all(kept))


def _in_turns(checkouts: Sequence[Checkout], rounds: int, *, change: bool) -> list[list[Tick]]:
    ticks: list[list[Tick]] = [[] for _ in checkouts]
    for _ in range(rounds):
        for checkout, measured in zip(checkouts, ticks, strict=True):
            if change:
                checkout.run("sample", "advance", "--days", "1", "--silent-edits", "10")
            measured.append(checkout.run("run"))
    return ticks


def _compared(name: str, ticks: Sequence[Sequence[Tick]], limit: float) -> bool:
    """Print one comparison; return False where a limit is not kept."""
    (cpu_before, cpu), (wall_before, wall), (home_before, home) = (
        [statistics.median(getattr(tick, part) for tick in one) for one in ticks]
        for part in ("cpu", "seconds", "home_mb")
    )
    peak = max(tick.peak_mb for tick in ticks[1])
    is_kept = cpu <= limit * cpu_before and peak <= MEGABYTES
    print(
        f"{name}: {cpu / cpu_before:.2f} x the CPU time ({cpu:.2f} s, limit {limit} x), "
        f"{wall / wall_before:.2f} x the time ({wall:.2f} s), {peak:.0f} MB (limit {MEGABYTES} MB), "
        f"{home:.2f} MB more in Dagster's home ({home_before:.2f} MB before): "
        f"{'kept' if is_kept else 'NOT kept'}"
    )
    return is_kept


if __name__ == "__main__":
    main()
