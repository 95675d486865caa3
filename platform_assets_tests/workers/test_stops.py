"""Runs on real workers that are stopped by a user, by a drain, or by the death of their leading process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pg8000.native
import pytest
import redis
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget

from platform_assets.runs import open_instance
from platform_assets.sample.database import create_sample
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.redis import RedisServer, Worker, workers
from platform_assets_tests.integration.installation import ROOT, Installation, session, wait_until

SALES = 60
LEASE = 3
WAITING = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
LAUNCH = """
import sys
from pathlib import Path
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from platform_assets.definitions import defs
from platform_assets.runs import open_instance
job = defs.resolve_job_def("totesys_to_warehouse")
place = ReconstructableRepository(ModuleCodePointer("platform_assets.definitions", "defs"))
with open_instance(Path(sys.argv[1])) as instance:
    origin = ReconstructableJob(place, job.name).get_python_origin()
    run = instance.create_run_for_job(job, tags=job.run_tags, job_code_origin=origin)
    instance.launch_run(run.run_id, None)
    print(run.run_id)
"""
TERMINATE = """
mutation($run: String!, $policy: TerminateRunPolicy) { terminateRun(runId: $run, terminatePolicy: $policy) {
  __typename ... on TerminateRunSuccess { run { runId } } ... on TerminateRunFailure { message } } }
"""


@dataclass
class Site:
    """A platform whose runs are put into queues, and its source, whose largest table can be locked."""

    platform: Installation
    instance: dg.DagsterInstance
    holder: pg8000.native.Connection
    observer: pg8000.native.Connection
    broker: redis.Redis

    def launch(self) -> str:
        """Put a run of the main job into the queue, as the daemon does."""
        home = self.platform.folder / "dagster"
        command = [sys.executable, "-c", LAUNCH, str(home)]
        told = subprocess.check_output(
            command, cwd=ROOT, env=self.platform.environment, text=True, timeout=PATIENCE
        )
        return told.split()[-1]

    def hold(self) -> None:
        """Let the extraction wait."""
        self.holder.run("BEGIN")
        self.holder.run("LOCK TABLE sales_order IN ACCESS EXCLUSIVE MODE")

    def wait_for_step(self) -> None:
        """Wait until the extraction waits."""
        wait_until(lambda: self.observer.run(f"SELECT count(*) {WAITING}")[0][0], "a step waits for a table")

    def let_go(self) -> None:
        """Let the extraction continue."""
        self.holder.run("ROLLBACK")

    def wait_for(self, run: str, status: dg.DagsterRunStatus) -> None:
        """Wait for the end of a run."""

        def ended() -> bool:
            found = self.instance.get_run_by_id(run)
            return found is not None and found.is_finished

        wait_until(ended, "the run ends")
        found = self.instance.get_run_by_id(run)
        assert found is not None
        assert found.status == status, list(self.messages(run))

    def messages(self, run: str) -> Iterator[str]:
        """Give what a run has logged."""
        for log in self.instance.all_logs(run):
            yield log.message or log.user_message

    def wait_for_message(self, run: str, start: str) -> None:
        """Wait until a run has logged a message."""
        wait_until(lambda: any(message.startswith(start) for message in self.messages(run)), start)

    def is_clean(self) -> bool:
        """True if no worker holds a message."""
        return self.broker.zcard("unacked_index") == 0 and self.broker.hlen("unacked") == 0


@contextlib.contextmanager
def site(folder: Path, new_database: NewDatabase, server: RedisServer, steps: str) -> Iterator[Site]:
    """A platform whose launcher gives runs to workers."""
    database = new_database()
    create_sample(database.owner, sales=SALES, seed=8)
    folder.mkdir()
    (folder / "broker").write_text(server.url)
    platform = Installation.create(
        folder,
        database.reader,
        workers=f'{{ celery {{ broker = "secret://file/./broker", lease = {LEASE} }}, '
        f"jobs {{ totesys_to_warehouse {{ steps = {steps} }} }} }}",
        sources__totesys__connection__lock_timeout="120",
    )
    with (folder / "dagster" / "dagster.yaml").open("a") as file:
        file.write(
            "run_launcher:\n  module: platform_assets.workers.launcher\n  class: WorkersRunLauncher\n"
            f"  config:\n    broker: {server.url}\n    backend: {server.url}\n    default_queue: runs\n"
            "    config_source:\n      broker_transport_options: "
            f"{{visibility_timeout: {LEASE}, priority_steps: [0]}}\n"
        )
    with server.client() as client:
        client.flushdb()
        with (
            session(database.owner) as holder,
            session(database.owner) as observer,
            open_instance(folder / "dagster") as instance,
        ):
            yield Site(platform, instance, holder, observer, client)


def terminate(instance: dg.DagsterInstance, run: str, policy: str = "SAFE_TERMINATE") -> dict[str, Any]:
    """Do what the button of the UI does."""
    from dagster_graphql.cli import execute_query

    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
        answer = execute_query(context, TERMINATE, {"run": run, "policy": policy})
    found: dict[str, Any] = answer["data"]["terminateRun"]
    return found


def exit_of(worker: Worker) -> int:
    worker.process.wait(PATIENCE)
    return worker.process.returncode


@pytest.mark.parametrize(
    ("steps", "stopped"),
    [
        ("celery", "Step execution terminated by interrupt"),
        pytest.param("run", "Process for run exited", marks=pytest.mark.soak),
    ],
)
def test_a_run_that_a_user_terminates_stops_on_the_workers_and_the_next_run_does_its_work(
    new_database: NewDatabase, redis_server: RedisServer, tmp_path: Path, steps: str, stopped: str
) -> None:
    with (
        site(tmp_path / "site", new_database, redis_server, steps) as here,
        workers(here.platform, "first", options=("--processes", "2")),
    ):
        here.hold()
        run = here.launch()
        here.wait_for_step()
        assert terminate(here.instance, run) == {
            "__typename": "TerminateRunSuccess",
            "run": {"runId": run},
        }
        # The table is still locked: the step does not wait for it any more.
        here.wait_for_message(run, stopped)
        here.wait_for(run, dg.DagsterRunStatus.CANCELED)
        wait_until(here.is_clean, "the worker has given its messages back")
        here.let_go()
        again = here.launch()
        here.wait_for(again, dg.DagsterRunStatus.SUCCESS)
    assert [row["_batch"] for row in here.platform.bronze_versions("sales_order")] == [1] * SALES


@pytest.mark.soak
def test_a_run_that_is_terminated_while_it_waits_is_over_at_once_and_no_worker_begins_it(
    new_database: NewDatabase, redis_server: RedisServer, tmp_path: Path
) -> None:
    with site(tmp_path / "site", new_database, redis_server, "run") as here:
        run = here.launch()
        assert here.broker.llen("runs") == 1
        assert (
            terminate(here.instance, run, "MARK_AS_CANCELED_IMMEDIATELY")["__typename"]
            == "TerminateRunSuccess"
        )
        assert terminate(here.instance, run)["__typename"] == "TerminateRunFailure"
        with workers(here.platform, "late"):
            wait_until(lambda: here.broker.llen("runs") == 0 and here.is_clean(), "the message is gone")
        assert not [message for message in here.messages(run) if "Started process" in message]


@pytest.mark.soak
def test_sigterm_drains_a_worker_whose_step_ends_and_the_rest_is_done_by_the_next_worker(
    new_database: NewDatabase, redis_server: RedisServer, tmp_path: Path
) -> None:
    steps = ("--queues", "extraction,transformation,loads")
    with (
        site(tmp_path / "site", new_database, redis_server, "celery") as here,
        workers(here.platform, "runner", options=("--queues", "runs")),
        workers(here.platform, "drained", options=steps) as (drained,),
    ):
        here.hold()
        run = here.launch()
        here.wait_for_step()
        os.kill(drained.process.pid, signal.SIGTERM)
        wait_until(lambda: "Warm shutdown" in drained.log.read_text(), "the worker drains")
        here.let_go()
        assert exit_of(drained) == 0
        # What it had begun it has ended; what came after it waits.
        ends = here.instance.all_logs(run, of_type=dg.DagsterEventType.STEP_SUCCESS)
        assert [end.step_key for end in ends] == ["totesys"]
        with workers(here.platform, "next", options=steps):
            here.wait_for(run, dg.DagsterRunStatus.SUCCESS)
        starts = here.instance.all_logs(run, of_type=dg.DagsterEventType.STEP_START)
        assert len(starts) == len({start.step_key for start in starts})
    assert [row["_batch"] for row in here.platform.bronze_versions("sales_order")] == [1] * SALES


@pytest.mark.soak
def test_a_run_whose_leading_process_died_is_resumed_and_the_step_that_worked_on_is_not_repeated(
    new_database: NewDatabase, redis_server: RedisServer, tmp_path: Path
) -> None:
    with (
        site(tmp_path / "site", new_database, redis_server, "celery") as here,
        workers(here.platform, "leading", "next_leading", options=("--queues", "runs")) as leaders,
        workers(here.platform, "steps", options=("--queues", "extraction,transformation,loads")),
    ):
        here.hold()
        run = here.launch()
        here.wait_for_step()
        leader = next(leader for leader in leaders if "Task execute_job[" in leader.log.read_text())
        leader.kill()
        wait_until(
            lambda: any("resuming job" in message for message in here.messages(run)),
            "the other worker resumes the run",
        )
        here.let_go()
        here.wait_for(run, dg.DagsterRunStatus.SUCCESS)
        starts = here.instance.all_logs(run, of_type=dg.DagsterEventType.STEP_START)
        assert len(starts) == len({start.step_key for start in starts})
    assert [row["_batch"] for row in here.platform.bronze_versions("sales_order")] == [1] * SALES


@pytest.mark.soak
def test_a_run_whose_leader_died_can_be_terminated(
    new_database: NewDatabase, redis_server: RedisServer, tmp_path: Path
) -> None:
    with (
        site(tmp_path / "site", new_database, redis_server, "celery") as here,
        workers(here.platform, "leading", options=("--queues", "runs")) as (leader,),
        workers(here.platform, "steps", options=("--queues", "extraction,transformation,loads")),
    ):
        here.hold()
        run = here.launch()
        here.wait_for_step()
        leader.kill()
        assert terminate(here.instance, run)["__typename"] == "TerminateRunSuccess"
        here.wait_for_message(run, "Step execution terminated by interrupt")
        with workers(here.platform, "next_leading", options=("--queues", "runs")):
            here.wait_for(run, dg.DagsterRunStatus.CANCELED)
            wait_until(here.is_clean, "no worker holds a message")
        here.let_go()


@pytest.mark.soak
def test_a_worker_grows_up_to_its_limit_while_work_waits(
    new_database: NewDatabase, redis_server: RedisServer, tmp_path: Path
) -> None:
    with (
        site(tmp_path / "site", new_database, redis_server, "run") as here,
        workers(here.platform, "elastic", options=("--processes", "1", "--up-to", "3")) as (worker,),
    ):

        def processes() -> int:
            listed = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children").read_text()
            return len(listed.split())

        assert processes() == 1
        here.hold()
        runs = [here.launch() for _ in range(3)]
        wait_until(lambda: processes() == 3, "the worker has grown")
        here.wait_for_step()
        here.let_go()
        for run in runs:
            found = wait_until(
                lambda run=run: (one := here.instance.get_run_by_id(run)) and one.is_finished, ""
            )
            assert found
        wait_until(lambda: processes() == 1, "the worker has shrunk")
