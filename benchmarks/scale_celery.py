"""Times Celery with two workers on this machine: the price of a step, inspection by one worker and by two.

First the main job, in turns: in one process, with a process for each step (Dagster's multiprocess executor),
and with its steps on two workers. The tables have to be equal, and the price of a step is what a tick takes
more than in one process, by the number of steps. Then 200 files are inspected in runs of 25, each run whole
on a worker: by one worker, then by two.

Needs redis-server.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from platform_assets.build import MAIN_JOB  # noqa: E402
from platform_assets.runs import open_instance  # noqa: E402
from platform_assets_tests.fixtures.redis import RedisServer, Worker, redis_in, workers  # noqa: E402
from platform_assets_tests.integration.installation import BIN, Installation  # noqa: E402

_LIMIT = 900.0
LEAST_RATIO = 1.6
_STEPS_ON_WORKERS = (
    '{ celery { broker = "secret://file/./broker" }, jobs { totesys_to_warehouse { steps = celery } } }'
)
_RUNS_ON_WORKERS = (
    '{ celery { broker = "secret://file/./broker" }, jobs { inspect_uploads { queue = inspection } } }'
)
_THE_PLATFORM = ("-m", "platform_assets.definitions")
_WITH_PROCESSES = """
import dagster as dg
from platform_assets import definitions
from platform_assets.dagster_internals import with_jobs, with_tags

defs = with_jobs(definitions.defs, lambda job: with_tags(job, {}, dg.multiprocess_executor))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sales", type=int, default=13_000, help="sales orders of the main job's source")
    parser.add_argument("--objects", type=int, default=200, help="files to inspect")
    parser.add_argument("--rows", type=int, default=4_000, help="rows of each file")
    parser.add_argument("--rounds", type=int, default=3, help="ticks of the main job in each way")
    parser.add_argument("--only", choices=["steps", "inspection"], help="measure one of the two")
    parser.add_argument("--launch", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.launch:
        launch_inspections()
        return
    with tempfile.TemporaryDirectory(prefix="scale-celery-") as name:
        folder = Path(name)
        with redis_in(folder / "redis") as server:
            if given.only != "inspection":
                measure_steps(folder, server, given.sales, given.rounds)
            if given.only != "steps":
                ratio = measure_inspection(folder, server, given.objects, given.rows)
                if ratio < LEAST_RATIO:
                    sys.exit(f"Two workers are {ratio:.2f} times as fast as one; {LEAST_RATIO} are asked")


def platform(folder: Path, server: RedisServer | None, placed: str, sales: int) -> Installation:
    """Write the configuration of a platform with a sample database of its own."""
    folder.mkdir()
    made = Installation.create_embedded(folder, sales)
    if server is not None:
        (folder / "broker").write_text(server.url)
        with (folder / "platform.conf").open("a") as file:
            file.write(f"workers = {placed}\n")
            file.write("watches.uploads { place = uploads, objects_per_run = 25 }\n")
    return made


def measure_steps(folder: Path, server: RedisServer, sales: int, rounds: int) -> None:
    """Compare the main job in one process with the same on two workers, and with a process for each step."""
    alone = platform(folder / "alone", None, "", sales)
    spread = platform(folder / "spread", server, _STEPS_ON_WORKERS, sales)
    try:
        compare_ways(folder, alone, spread, sales, rounds)
    finally:
        for each in (alone, spread):
            command = [str(BIN / "platform-assets"), "sample", "stop"]
            subprocess.run(command, env=each.environment, check=True, capture_output=True, timeout=60)


def compare_ways(folder: Path, alone: Installation, spread: Installation, sales: int, rounds: int) -> None:
    """Compare two platforms, the second of which gives its steps to workers."""
    module = folder / "with_processes.py"
    module.write_text(_WITH_PROCESSES)
    with workers(spread, "first", "second") as started:
        alone_on_one = partial(execute, alone, *_THE_PLATFORM)
        with_processes = partial(execute, alone, "-f", str(module))
        on_workers = partial(execute, spread, *_THE_PLATFORM, started=started)
        print(f"Main job, {sales:,} sales, first load in one process: {alone_on_one()}")
        print(f"First load on two workers: {on_workers()}")
        used: list[list[Run]] = [[], [], []]
        # In turns, so that other programs on the machine disturb all of them. The first tick is not counted:
        # each process of a worker has its first step then.
        for _ in range(rounds + 1):
            for way, run in enumerate((alone_on_one, with_processes, on_workers)):
                used[way].append(run())
    one, other = (
        {name: [row[:-1] for row in rows] for name, rows in each.warehouse_rows().items()}
        for each in (alone, spread)
    )
    if one != other:
        sys.exit("The tables differ")
    base, processes, spread_ticks = map(middle, used)
    print(f"The tables are equal. An unchanged tick of {base.steps} steps, medians of {rounds} in turns:")
    print(f"in one process: {base}")
    for way, tick in (("a process for each step", processes), ("on two workers", spread_ticks)):
        print(f"{way}: {tick}; more than in one process, a step: {tick.more_a_step(base)}")


@dataclass(frozen=True)
class Run:
    """The price of a run.

    Args:
        seconds: How long it took.
        processor: Processor seconds of all its processes, with the start of the command.
        steps: Its steps.
    """

    seconds: float
    processor: float
    steps: int

    def more_a_step(self, base: Run) -> Run:
        """What each step takes more than in another run."""
        return Run(
            (self.seconds - base.seconds) / self.steps, (self.processor - base.processor) / self.steps, 1
        )

    def __str__(self) -> str:
        """The figures."""
        return f"{self.seconds:.2f} s, processor {self.processor:.2f} s"


def middle(runs: list[Run]) -> Run:
    """Return the medians of runs, without the first."""
    counted = runs[1:]
    return Run(
        statistics.median(one.seconds for one in counted),
        statistics.median(one.processor for one in counted),
        counted[0].steps,
    )


def execute(platform: Installation, *where: str, started: Sequence[Worker] = ()) -> Run:
    """Run the main job, and return its price.

    Args:
        platform: The platform.
        where: Options of Dagster that name the code location.
        started: The workers that execute the steps.
    """
    command = [str(BIN / "dagster"), "job", "execute", *where, "-j", MAIN_JOB]
    before = of_children() + processor_seconds(started)
    subprocess.run(
        command, cwd=ROOT, env=platform.environment, check=True, capture_output=True, timeout=_LIMIT
    )
    used = of_children() + processor_seconds(started) - before
    with open_instance(platform.folder / "dagster") as instance:
        (record,) = instance.get_run_records(limit=1)
        ends = instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)
    return Run((record.end_time or 0) - (record.start_time or 0), used, len(ends))


def of_children() -> float:
    """Return the processor seconds of all processes that this one has started and that have ended."""
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def measure_inspection(folder: Path, server: RedisServer, objects: int, rows: int) -> float:
    """Inspect files by one worker and by two; return how much faster two are by the clock.

    The processor time tells what the clock does not where other programs use the machine: two workers that
    take no more of it than one are twice as fast on two idle cores.
    """
    seconds, work = {}, {}
    for count in (1, 2):
        made = platform(folder / f"inspection_{count}", server, _RUNS_ON_WORKERS, 10)
        uploads = made.folder / "uploads"
        uploads.mkdir(parents=True)
        for number in range(objects):
            file = uploads / f"people_{number:04}.csv"
            file.write_text(people(number, rows))
            os.utime(file, (time.time() - 3600,) * 2)  # a file that was written just now may still grow
        names = [f"inspector_{number}" for number in range(count)]
        with workers(made, *names, options=("--queues", "inspection")) as started:
            before, machine = processor_seconds(started), psutil.cpu_times()
            launched = subprocess.run(
                [sys.executable, __file__, "--launch", str(made.folder)],
                env={**made.environment, "CELERY_BROKER_URL": server.url},
                check=True,
                capture_output=True,
                text=True,
                timeout=_LIMIT,
            )
            work[count] = processor_seconds(started) - before
            idle = psutil.cpu_times().idle - machine.idle
        told = json.loads(launched.stdout.splitlines()[-1])
        seconds[count] = told["seconds"]
        print(
            f"{objects} files in {told['runs']} runs, {count} workers: {seconds[count]:.1f} s; "
            f"processor: workers {work[count]:.1f}, launcher {told['processor']:.1f}, idle {idle:.1f} "
            f"of {seconds[count] * (os.cpu_count() or 1):.1f}"
        )
    if told["runs"] != -(-objects // 25):
        sys.exit(f"The files came in {told['runs']} runs")
    ratio = seconds[1] / seconds[2]
    print(
        f"Two workers are {ratio:.2f} times as fast as one by the clock, and take "
        f"{work[2] / work[1]:.2f} times its processor seconds: {2 * work[1] / work[2]:.2f} times as fast "
        "where each has a core of its own"
    )
    return ratio


def processor_seconds(started: Sequence[Worker]) -> float:
    """Return the processor time of workers with their processes."""
    family = [
        one
        for worker in started
        for parent in [psutil.Process(worker.process.pid)]
        for one in (parent, *parent.children(recursive=True))
    ]
    return sum(sum(one.cpu_times()[:2]) for one in family)


def people(seed: int, rows: int) -> str:
    """Return a CSV file with names and addresses of nobody."""
    drawn = random.Random(seed)
    lines = ["number,name,email,telephone,note"]
    lines += [
        f"{number},Person {drawn.randrange(10**6)},p{drawn.randrange(10**9)}@example.org,"
        f"+44 20 7946 0{drawn.randrange(1000):03},{'lorem ipsum ' * drawn.randrange(1, 8)}"
        for number in range(rows)
    ]
    return "\n".join(lines) + "\n"


def launch_inspections() -> None:
    """Plan the batches of a watch, launch a run for each, and wait for them; prints the time as JSON."""
    from dagster._core.launcher import LaunchRunContext
    from dagster_celery.launcher import CeleryRunLauncher

    from platform_assets.build import build_defs
    from platform_assets.objects.assembly import ObjectsRoom
    from platform_assets.objects.watch import ListingCursor, RunState
    from platform_assets.rooms import Rooms
    from platform_assets.settings import dagster_home, load_settings

    settings = load_settings()
    watch = Rooms(settings).of(ObjectsRoom).watch("uploads")
    job = build_defs(settings).resolve_job_def("inspect_uploads")
    url = os.environ["CELERY_BROKER_URL"]
    options: dict[str, Any] = {"broker_transport_options": {"visibility_timeout": 60, "priority_steps": [0]}}
    launcher = CeleryRunLauncher("runs", broker=url, backend=url, config_source=options)
    runs: dict[str, str] = {}
    with open_instance(dagster_home(settings)) as instance:
        launcher.register_instance(instance)
        origin = reconstructable("inspect_uploads").get_python_origin()

        def state_of(key: str) -> RunState:
            run = instance.get_run_by_id(runs[key])
            if run is not None and run.is_failure:
                sys.exit("A run failed")
            return RunState.SUCCEEDED if run is not None and run.is_success else RunState.ACTIVE

        began, used, cursor = time.monotonic(), time.process_time(), ListingCursor()
        # What the sensor and the daemon do, without the half minute between two of their ticks.
        while True:
            tick = watch.tick(cursor, state_of)
            cursor = tick.cursor
            for request in tick.requests:
                given = {"config": {"watch": "uploads", "batch": request.batch}}
                run = instance.create_run_for_job(
                    job,
                    run_config={"ops": {"inspect_objects": given}},
                    tags=job.run_tags,
                    job_code_origin=origin,
                )
                runs[request.key] = run.run_id
                launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
            is_done = all(state_of(key) is RunState.SUCCEEDED for key in runs)
            if runs and is_done and not tick.requests:
                break
            if time.monotonic() - began > _LIMIT:
                sys.exit("The runs did not end")
            time.sleep(1.0)  # a look takes a part of a core, which the workers need
        print(
            json.dumps(
                {
                    "seconds": time.monotonic() - began,
                    "runs": len(runs),
                    "processor": time.process_time() - used,
                }
            )
        )


def reconstructable(name: str) -> Any:
    """Return a job as other processes load it."""
    from dagster._core.code_pointer import ModuleCodePointer
    from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository

    return ReconstructableJob(
        ReconstructableRepository(ModuleCodePointer("platform_assets.definitions", "defs")), name
    )


if __name__ == "__main__":
    main()
