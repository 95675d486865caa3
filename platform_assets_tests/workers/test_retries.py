"""The daemon repeats a run whose worker has died: the production instance, a real queue, a real Redis."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest
import yaml

from platform_assets.build import MAIN_JOB
from platform_assets.runs import open_instance
from platform_assets.sample.database import create_sample
from platform_assets.source.connection import Connection
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.redis import RedisServer, workers
from platform_assets_tests.integration.installation import BIN, ROOT, Installation, wait_until

SALES = 60


def write_production_instance(home: Path, storage: Connection, server: RedisServer) -> None:
    """Write the dagster.yaml of Celery's machines, with the addresses of the tests and shorter waits."""
    content = yaml.safe_load((ROOT / "deploy" / "celery" / "dagster.yaml").read_text())
    content["storage"]["postgres"]["postgres_db"] = {
        "hostname": storage.host,
        "port": storage.port,
        "username": storage.user,
        "password": storage.password,
        "db_name": storage.database,
    }
    launcher = content["run_launcher"]["config"]
    launcher |= {"broker": server.url, "backend": server.url}
    launcher["config_source"]["broker_transport_options"]["visibility_timeout"] = 3
    content["run_monitoring"]["poll_interval_seconds"] = 2
    (home / "dagster.yaml").write_text(yaml.safe_dump(content))


@contextlib.contextmanager
def daemon(platform: Installation) -> Iterator[None]:
    """Run Dagster's daemon, which starts a code location of its own."""
    with (platform.folder / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            [str(BIN / "dagster-daemon"), "run", "-w", str(ROOT / "workspace.yaml")],
            cwd=ROOT,
            env=platform.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def steps(instance: dg.DagsterInstance, run: dg.DagsterRun, kind: dg.DagsterEventType) -> set[str]:
    return {log.step_key for log in instance.all_logs(run.run_id, of_type=kind) if log.step_key}


@pytest.mark.soak
def test_the_daemon_starts_a_run_again_whose_worker_died_and_what_it_had_done_is_not_done_twice(
    new_database: NewDatabase, redis_server: RedisServer, tmp_path: Path
) -> None:
    database, storage = new_database(), new_database()
    create_sample(database.owner, sales=SALES, seed=8)
    (tmp_path / "broker").write_text(redis_server.url)
    platform = Installation.create(
        tmp_path,
        database.reader,
        workers='{ celery { broker = "secret://file/./broker", lease = 3 }, '
        "jobs { totesys_to_warehouse { steps = run } } }",
        warehouse__duckdb__wait="600",
    )
    home = platform.folder / "dagster"
    write_production_instance(home, storage.owner, redis_server)
    launch = [str(BIN / "dagster"), "job", "launch", "-w", str(ROOT / "workspace.yaml"), "-j", MAIN_JOB]
    with open_instance(home) as instance, daemon(platform), workers(platform, "first", "second") as both:

        def runs() -> list[dg.DagsterRun]:
            """All runs, the oldest first."""
            return [record.dagster_run for record in instance.get_run_records(ascending=True)]

        # The load waits for this session; everything before it is done.
        with duckdb.connect(platform.warehouse):
            subprocess.run(launch, cwd=ROOT, env=platform.environment, check=True, timeout=PATIENCE)

            def loading() -> bool:
                started = steps(instance, runs()[0], dg.DagsterEventType.STEP_START)
                return any(key.startswith("warehouse") for key in started)

            wait_until(loading, "the run has come to the warehouse", every=0.5)
            next(one for one in both if "Task execute_job[" in one.log.read_text()).kill()
        wait_until(lambda: len(runs()) == 2 and runs()[1].is_finished, "the run is repeated", every=0.5)
        first, second = runs()
        done = steps(instance, first, dg.DagsterEventType.STEP_SUCCESS)
        again = steps(instance, second, dg.DagsterEventType.STEP_START)
        told = [
            log.dagster_event.message
            for log in instance.all_logs(first.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
            if log.dagster_event
        ]
        queued = list(instance.all_logs(second.run_id, of_type=dg.DagsterEventType.RUN_ENQUEUED))
    assert (first.status, told) == (
        dg.DagsterRunStatus.FAILURE,
        ["The worker that executed this run has died."],
    )
    assert (second.status, second.parent_run_id) == (dg.DagsterRunStatus.SUCCESS, first.run_id)
    assert second.tags["dagster/retry_number"] == "1"
    assert len(queued) == 1
    assert "totesys" in done
    assert done & again == set()
    assert any(key.startswith("warehouse") for key in again)
    assert [row["_batch"] for row in platform.bronze_versions("sales_order")] == [1] * SALES
    assert len(platform.warehouse_rows()["fact_sales_order"]) == SALES
