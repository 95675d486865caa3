"""Times task files: loading and validating 500 files of 10 tasks, parsing them alone, the code location.

    python benchmarks/tasks.py [--files 500] [--rounds 3]

Each measurement runs in a process of its own, in turns. Seconds are those of a core: all of it runs on one,
and other work on the machine must not decide. `load` loads and validates all files, with the assets
and jobs of the rest of the platform as given; `parse` only parses the same files with the platform's HOCON
reader; `location` is the whole code location with these files and with none. `log` is the cost of a line that
a script prints.
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
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = 2.0
_LINES = 2_000
TASK = """  {{
    name = shell_script, id = task_{number}, retries = 2, timeout = 600
    args {{
      script = ${{vars.folder}}"/scan_{number}.sh"
      script_args = ["--output", ${{STATE}}"/x/{number}", "--day", ${{TODAY}}, "--level", {number}]
      working_directory = ${{vars.folder}}
      environment {{ LEVEL = "{number}", TOKEN = "secret://env/TOKEN" }}
    }}
  }}
"""
OTHERS = """  {{ name = copy, id = task_{number}
    args {{ source = a/{number}, target = ${{vars.folder}}"/{number}" }} }}
  {{ name = archive, id = task_{number}_b
    args {{ source = ${{vars.folder}}, target = "x-{number}.tar.gz" }} }}
"""


def main() -> None:
    """Measure, or run one measurement in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=sorted(MEASUREMENTS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(MEASUREMENTS[given.one]()))
        return
    with tempfile.TemporaryDirectory() as folder:
        places = {count: _house(Path(folder) / str(count), count) for count in (given.files, 0)}
        plan = [
            ("parse", given.files),
            ("load", given.files),
            ("location", given.files),
            ("location", 0),
            ("log", 0),
        ]
        seconds: dict[tuple[str, int], list[float]] = {one: [] for one in plan}
        for _ in range(given.rounds):
            for name, count in plan:
                seconds[name, count].append(_measured(name, places[count]))
    found = {one: statistics.median(times) for one, times in seconds.items()}
    tasks = given.files * 10
    print(f"{given.files} files, {tasks} tasks; median of {given.rounds} rounds, seconds of a core")
    print(f"  parse alone                    {found['parse', given.files]:7.3f}")
    loaded = found["load", given.files]
    verdict = "met" if loaded < TARGET else "MISSED"
    print(f"  load and validate              {loaded:7.3f}   target {TARGET}: {verdict}")
    print(f"  of which the tasks' own part   {loaded - found['parse', given.files]:7.3f}")
    print(f"  code location, with them       {found['location', given.files]:7.3f}")
    print(f"  code location, without         {found['location', 0]:7.3f}")
    print(f"  a line of a script's output    {found['log', 0] / _LINES * 1000:7.3f} ms")
    if loaded >= TARGET:
        sys.exit(1)


def _house(folder: Path, files: int) -> Path:
    """Write a configuration with task files; returns its platform.conf."""
    config = folder / "config"
    config.mkdir(parents=True)
    for name in ("platform.conf", "dlp.conf"):
        shutil.copy(ROOT / "config" / name, config)
    if files:
        (config / "tasks").mkdir()
    for file in range(files):
        body = "".join(TASK.format(number=n) for n in range(6)) + "".join(
            OTHERS.format(number=n) for n in (7, 8)
        )
        lineage = f"reads = [star/dim_staff], produces = [tasks/job_{file}]" if file % 5 == 0 else ""
        (config / "tasks" / f"job_{file:04}.conf").write_text(
            f'description = "Job {file}"\nvars {{ folder = ${{STATE}}"/scripts/{file}" }}\n'
            f'schedule {{ cron = "0 6 * * *", timezone = Europe/London }}\n{lineage}\ntasks = [\n{body}]\n'
        )
    return config / "platform.conf"


def _measured(name: str, config: Path) -> float:
    environment = {
        **os.environ,
        "PLATFORM_CONFIG": str(config),
        "PLATFORM_STATE_DIR": str(config.parents[1] / "state"),
    }
    environment.pop("DAGSTER_HOME", None)
    command = [sys.executable, __file__, "--one", name]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stderr)
    return float(json.loads(ended.stdout.splitlines()[-1]))


def _parse() -> float:
    from platform_assets.configuration.document import parse_document

    folder = Path(os.environ["PLATFORM_CONFIG"]).parent / "tasks"
    started = time.process_time()
    for file in sorted(folder.glob("*.conf")):
        parse_document(file, {"STATE": "/x", "TODAY": "2026-01-01"})
    return time.process_time() - started


def _load() -> float:
    from platform_assets.rooms import Rooms
    from platform_assets.settings import load_settings
    from platform_assets.tasks.assembly import TasksRoom
    from platform_assets.tasks.plan import Elsewhere

    room = Rooms(load_settings()).of(TasksRoom)
    started = time.process_time()
    plans = room.plans(Elsewhere({"star/dim_staff": ()}, frozenset({"totesys_to_warehouse"})))
    seconds = time.process_time() - started
    broken = [plan.mistakes for plan in plans if plan.mistakes]
    assert not broken, broken[0]
    assert all(len(plan.tasks) == 10 for plan in plans)
    return seconds


def _location() -> float:
    started = time.process_time()
    from platform_assets.build import build_defs
    from platform_assets.settings import load_settings

    build_defs(load_settings()).get_repository_def()
    return time.process_time() - started


def _log() -> float:
    """Run a job whose script prints many lines; the same job without the lines, once warm, is subtracted."""
    from platform_assets.rooms import Rooms
    from platform_assets.runs import PLAIN, PLAIN_LOGGER, open_instance, run_job
    from platform_assets.settings import load_settings
    from platform_assets.tasks.assembly import TasksRoom
    from platform_assets.tasks.defs import build_jobs

    folder = Path(os.environ["PLATFORM_CONFIG"]).parent
    file = folder / "printing.conf"
    seconds = []
    for lines in (1, 1, _LINES):
        file.write_text(
            f'tasks = [{{ name = shell_script, args {{ script = seq, script_args = "{lines}" }} }}]'
        )
        room = Rooms(load_settings()).of(TasksRoom)
        defs = build_jobs(room, [room.plan(str(file), (), None)], loggers={PLAIN_LOGGER: PLAIN})
        with open_instance(folder.parent / "dagster") as instance:
            job = defs.resolve_job_def("printing")
            started = time.process_time()
            assert run_job(job, instance, lambda line: None).succeeded
            seconds.append(time.process_time() - started)
    return seconds[-1] - seconds[-2]


MEASUREMENTS = {"parse": _parse, "load": _load, "location": _location, "log": _log}

if __name__ == "__main__":
    main()
