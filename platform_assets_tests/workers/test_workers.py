"""A real Redis and two real workers run the main job; one of them is killed in the middle of a step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from platform_assets.build import MAIN_JOB
from platform_assets.runs import open_instance
from platform_assets.sample.database import create_sample
from platform_assets_tests.fixtures.house import run_of
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.redis import RedisServer, workers
from platform_assets_tests.integration.installation import BIN, ROOT, Installation, session, wait_until

LEASE = 3


def with_workers(folder: Path, connection: object, server: RedisServer) -> Installation:
    """A platform whose main job gives its steps to workers."""
    folder.mkdir()
    (folder / "broker").write_text(server.url)
    return Installation.create(
        folder,
        connection,  # type: ignore[arg-type]
        workers='{ celery { broker = "secret://file/./broker", lease = 3 }, '
        "jobs { totesys_to_warehouse { steps = celery } } }",
        sources__totesys__connection__lock_timeout="120",
    )


def without_times(tables: dict[str, list[tuple[object, ...]]]) -> dict[str, list[tuple[object, ...]]]:
    """Rows without their last column, which is the time of the batch."""
    return {name: [row[:-1] for row in rows] for name, rows in tables.items()}


def start_run(platform: Installation) -> subprocess.Popen[bytes]:
    command = [str(BIN / "dagster"), "job", "execute", "-m", "platform_assets.definitions", "-j", MAIN_JOB]
    with (platform.folder / "run.log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, env=platform.environment, stdout=log, stderr=log)


def test_the_step_of_a_killed_worker_runs_on_another_one_and_the_result_is_that_of_one_process(
    new_database: NewDatabase, redis_server: RedisServer, tmp_path: Path
) -> None:
    database = new_database()
    create_sample(database.owner, sales=300, seed=8)
    platform = with_workers(tmp_path / "workers", database.reader, redis_server)
    alone = Installation.create(
        tmp_path / "alone", database.reader, sources__totesys__connection__lock_timeout="120"
    )
    with (
        workers(platform, "first", "second") as both,
        session(database.owner) as holder,
        session(database.owner) as observer,
    ):
        # The extraction waits for this table, whose lock is free again when a worker is dead.
        holder.run("BEGIN")
        holder.run("LOCK TABLE sales_order IN ACCESS EXCLUSIVE MODE")
        run = start_run(platform)
        try:
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                "AND datname = current_database()"
            )
            wait_until(lambda: observer.run(waiting)[0][0], "a step waits for the table")
            killed = next(one for one in both if "Task execute_step[" in one.log.read_text())
            other = next(one for one in both if one is not killed)
            assert "Task execute_step[" not in other.log.read_text()
            killed.kill()
            # The server notices that the worker is gone only when it next writes to it.
            observer.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                "AND datname = current_database()"
            )
            wait_until(lambda: "Task execute_step[" in other.log.read_text(), "another worker gets the step")
            holder.run("ROLLBACK")
            assert run.wait(PATIENCE) == 0, (platform.folder / "run.log").read_text()
        finally:
            run.kill()
            run.wait()
    assert run_of(alone.settings, MAIN_JOB).succeeded
    assert without_times(platform.warehouse_rows()) == without_times(alone.warehouse_rows())
    assert [row["_batch"] for row in platform.bronze_versions("sales_order")] == [1] * 300
    with open_instance(platform.folder / "dagster") as instance:
        (record,) = instance.get_run_records()
        starts = [
            log.step_key
            for log in instance.all_logs(
                record.dagster_run.run_id, of_type=dg.DagsterEventType.STEP_WORKER_STARTED
            )
        ]
    assert starts.count("totesys") == 2
    assert len(starts) == len(set(starts)) + 1


LAUNCH = """
import os
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.launcher import LaunchRunContext
from dagster_celery.launcher import CeleryRunLauncher
from platform_assets.definitions import defs
from platform_assets.runs import open_instance
from pathlib import Path
url = os.environ["BROKER"]
options = {"broker_transport_options": {"visibility_timeout": 3, "priority_steps": [0]}}
launcher = CeleryRunLauncher("runs", broker=url, backend=url, config_source=options)
job = defs.resolve_job_def("totesys_to_warehouse")
place = ReconstructableRepository(ModuleCodePointer("platform_assets.definitions", "defs"))
with open_instance(Path(os.environ["DAGSTER_HOME"])) as instance:
    launcher.register_instance(instance)
    origin = ReconstructableJob(place, job.name).get_python_origin()
    run = instance.create_run_for_job(job, tags=job.run_tags, job_code_origin=origin)
    launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
"""


@pytest.mark.soak
def test_a_whole_run_whose_worker_died_is_marked_as_failed_and_the_next_run_does_its_work(
    new_database: NewDatabase, redis_server: RedisServer, tmp_path: Path
) -> None:
    database = new_database()
    create_sample(database.owner, sales=100, seed=8)
    platform = with_workers(tmp_path / "workers", database.reader, redis_server)
    with (platform.folder / "platform.conf").open("a") as file:
        file.write("workers.jobs { totesys_to_warehouse { steps = run, queue = runs } }\n")
    launch = [sys.executable, "-c", LAUNCH]
    environment = {**platform.environment, "BROKER": redis_server.url}
    with (
        workers(platform, "third", "fourth") as both,
        session(database.owner) as holder,
        session(database.owner) as observer,
        open_instance(platform.folder / "dagster") as instance,
    ):
        holder.run("BEGIN")
        holder.run("LOCK TABLE sales_order IN ACCESS EXCLUSIVE MODE")
        subprocess.run(launch, cwd=ROOT, env=environment, check=True, timeout=PATIENCE)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND datname = current_database()"
        )
        wait_until(lambda: observer.run(waiting)[0][0], "the run waits for the table")
        next(one for one in both if "Task execute_job[" in one.log.read_text()).kill()
        observer.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND datname = current_database()"
        )
        (record,) = instance.get_run_records()
        first = record.dagster_run.run_id

        def has_failed() -> bool:
            run = instance.get_run_by_id(first)
            return run is not None and run.status == dg.DagsterRunStatus.FAILURE

        wait_until(has_failed, "the run is marked as failed")
        told = [
            entry.dagster_event.message or ""
            for entry in instance.all_logs(first, of_type=dg.DagsterEventType.RUN_FAILURE)
            if entry.dagster_event
        ]
        assert told == ["The worker that executed this run has died."]
        holder.run("ROLLBACK")
        subprocess.run(launch, cwd=ROOT, env=environment, check=True, timeout=PATIENCE)

        def has_succeeded() -> bool:
            return any(run.is_success for run in instance.get_runs())

        wait_until(has_succeeded, "the next run succeeds")
    assert [row["_batch"] for row in platform.bronze_versions("sales_order")] == [1] * 100
    assert len(platform.warehouse_rows()["fact_sales_order"]) == 100
