"""Times Celery with two workers on this machine: the price of a step, inspection by one worker and by two.

First the main job: once in one process, then with its steps on two workers. The tables have to be equal, and
the price of a step is the difference of the runs' durations by the number of steps. Then 200 files are
inspected in runs of 25, each run whole on a worker: by one worker, then by two.

Needs redis-server.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sales", type=int, default=13_000, help="sales orders of the main job's source")
    parser.add_argument("--objects", type=int, default=200, help="files to inspect")
    parser.add_argument("--rows", type=int, default=4_000, help="rows of each file")
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
                measure_steps(folder, server, given.sales)
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


def measure_steps(folder: Path, server: RedisServer, sales: int) -> None:
    """Compare the main job in one process with the same on two workers."""
    alone = platform(folder / "alone", None, "", sales)
    spread = platform(folder / "spread", server, _STEPS_ON_WORKERS, sales)
    seconds = {"in one process": [execute(alone), execute(alone)]}
    with workers(spread, "first", "second"):
        seconds["on two workers"] = [execute(spread), execute(spread)]
    one, other = (
        {name: [row[:-1] for row in rows] for name, rows in each.warehouse_rows().items()}
        for each in (alone, spread)
    )
    if one != other:
        sys.exit("The tables differ")
    for how, (first, tick) in seconds.items():
        print(f"Main job, {sales:,} sales, {how}: first load {first:.1f} s, unchanged tick {tick:.1f} s")
    price = (seconds["on two workers"][1] - seconds["in one process"][1]) / 7
    print(f"The tables are equal; a step on a worker costs {price:.2f} s more")
    for each in (alone, spread):
        command = [str(BIN / "platform-assets"), "sample", "stop"]
        subprocess.run(command, env=each.environment, check=True, capture_output=True, timeout=60)


def execute(platform: Installation) -> float:
    """Run the main job, and return how long its run took."""
    command = [str(BIN / "dagster"), "job", "execute", "-m", "platform_assets.definitions", "-j", MAIN_JOB]
    subprocess.run(
        command, cwd=ROOT, env=platform.environment, check=True, capture_output=True, timeout=_LIMIT
    )
    with open_instance(platform.folder / "dagster") as instance:
        (record,) = instance.get_run_records(limit=1)
    return (record.end_time or 0) - (record.start_time or 0)


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


def processor_seconds(started: list[Worker]) -> float:
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
