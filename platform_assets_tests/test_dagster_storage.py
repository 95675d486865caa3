"""The storage of Dagster's home: the files of Dagster's own, for many processes at once, through kills."""

from __future__ import annotations

import inspect
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from alembic.script import ScriptDirectory
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import StepMaterializationData
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from sqlalchemy.exc import IntegrityError

from platform_assets.dagster_internals import delete_run, instance_at, last_check_results
from platform_assets.dagster_storage import EventLogStorage, RunStorage, ScheduleStorage
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.wire import free_port

ROOT = Path(__file__).parent.parent
OURS = (ROOT / "dagster.yaml").read_text()
DAGSTERS_OWN = "telemetry: {enabled: false}\n"
JOB = """
import os, signal, sys, time
import dagster as dg

@dg.asset(check_specs=[dg.AssetCheckSpec(f"check_{n}", asset="first") for n in range(5)])
def first(context):
    context.log.info("a line")
    yield dg.MaterializeResult(metadata={"rows": 3}, check_results=[
        dg.AssetCheckResult(passed=n != 4, check_name=f"check_{n}", metadata={"n": n}) for n in range(5)])

@dg.asset(deps=[first])
def second(context):
    context.log.info("in the second step")
    if os.environ.get("SIGNAL_FILE"):
        time.sleep(0.5)
        open(os.environ["SIGNAL_FILE"], "w").close()
        while not os.path.exists(os.environ["SIGNAL_FILE"] + ".go"):
            time.sleep(0.02)
    if os.environ.get("KILLED"):
        os.kill(os.getpid(), signal.SIGKILL)
    return dg.MaterializeResult(metadata={"rows": 4})

defs = dg.Definitions(
    assets=[first, second], jobs=[dg.define_asset_job("both")], executor=dg.in_process_executor
)
"""


@contextmanager
def opened(home: Path, configuration: str = OURS) -> Iterator[dg.DagsterInstance]:
    """Open a home as its dagster.yaml says."""
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(configuration)
    with instance_at(home) as instance:
        yield instance


def run_here(instance: dg.DagsterInstance, folder: Path) -> str:
    """Run the job in this process and return the id of the run."""
    namespace: dict[str, Any] = {"__name__": "job_under_test"}
    exec(compile(JOB, str(folder / "job.py"), "exec"), namespace)
    return namespace["defs"].resolve_job_def("both").execute_in_process(instance=instance).run_id


def start_elsewhere(home: Path, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Run the job in another process, by Dagster's own command."""
    (folder / "job.py").write_text(JOB)
    return subprocess.Popen(
        [sys.executable, "-m", "dagster", "job", "execute", "-f", str(folder / "job.py"), "-j", "both"],
        cwd=folder,
        env={**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def until(condition: Any, what: str) -> Any:
    """Wait until a condition holds and return what it gave."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)
    return found


def kinds(instance: dg.DagsterInstance, run_id: str) -> list[tuple[str | None, str | None]]:
    """Return the kinds and steps of a run's events, in order."""
    return [
        (record.event_log_entry.dagster_event_type and record.event_log_entry.dagster_event_type.value,
         record.event_log_entry.step_key)
        for record in instance.event_log_storage.get_records_for_run(run_id).records
    ]  # fmt: skip


def rows(file: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return connection.execute(statement).fetchall()


def content(home: Path, run_id: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return what the files of a home have of a run, without what differs from run to run."""
    index, run = home / "history" / "runs" / "index.db", home / "history" / "runs" / f"{run_id}.db"
    of_run = f"WHERE run_id = '{run_id}'"
    event = "dagster_event_type, step_key, asset_key, partition, length(event) > 200"
    return {
        "run": rows(run, f"SELECT {event} FROM event_logs ORDER BY id"),
        "index": rows(index, f"SELECT {event} FROM event_logs {of_run} ORDER BY id"),
        "assets": rows(
            index,
            "SELECT asset_key, last_run_id, last_materialization IS NOT NULL, "
            "last_materialization_timestamp IS NOT NULL FROM asset_keys "
            f"WHERE last_run_id = '{run_id}' ORDER BY 1",
        ),
        "checks": rows(
            index,
            "SELECT asset_key, check_name, execution_status, evaluation_event_storage_id IN "
            f"(SELECT id FROM event_logs {of_run}), materialization_event_storage_id IS NOT NULL "
            f"FROM asset_check_executions {of_run} ORDER BY id",
        ),
        "tags": rows(
            index,
            "SELECT t.asset_key, t.key FROM asset_event_tags t JOIN event_logs e ON e.id = t.event_id "
            f"WHERE e.run_id = '{run_id}' ORDER BY t.id",
        ),
        "tables": rows(run, "SELECT name, sql FROM sqlite_master ORDER BY name"),
        "version": rows(run, "SELECT version_num FROM alembic_version"),
    }


def test_the_projects_dagster_yaml_names_the_storage_in_whatever_home_it_stands(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as instance:
        assert type(instance.event_log_storage) is EventLogStorage
        assert type(instance.run_storage) is RunStorage
        assert type(instance.schedule_storage) is ScheduleStorage
    assert (tmp_path / "home" / "history" / "runs" / "index.db").is_file()


def test_another_storage_that_dagster_yaml_names_is_used(tmp_path: Path) -> None:
    own = f"storage: {{sqlite: {{base_dir: {json.dumps(str(tmp_path / 'elsewhere'))}}}}}\n"
    with opened(tmp_path / "home", OURS + own) as instance:
        assert type(instance.event_log_storage) is SqliteEventLogStorage
    assert (tmp_path / "elsewhere" / "history" / "runs.db").is_file()


def test_an_old_home_is_continued_and_dagsters_own_storage_continues_it_again(tmp_path: Path) -> None:
    home, runs = tmp_path / "home", []
    for configuration in (DAGSTERS_OWN, OURS, DAGSTERS_OWN, OURS):
        with opened(home, configuration) as instance:
            runs.append(run_here(instance, tmp_path))
            assert {run.run_id for run in instance.get_runs()} == set(runs)
            assert [kinds(instance, run_id) for run_id in runs] == [kinds(instance, runs[0])] * len(runs)
            latest = instance.get_latest_materialization_event(dg.AssetKey("second"))
            assert latest is not None
            assert latest.run_id == runs[-1]
    own, ours = content(home, runs[2]), content(home, runs[3])
    for name in ("run", "index", "checks", "tags", "tables", "version"):
        assert ours[name] == own[name], name
    assert [row[0] for row in ours["assets"]] == ['["first"]', '["second"]']
    assert len(ours["run"]) > 20
    assert [row[2:] for row in ours["checks"]] == [("SUCCEEDED", 1, 1)] * 4 + [("FAILED", 1, 1)]


def test_a_kill_in_mid_run_loses_nothing_of_the_steps_that_have_ended(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with opened(home) as instance:
        whole = run_here(instance, tmp_path)
        process = start_elsewhere(home, tmp_path, KILLED="yes")
        assert process.wait(PATIENCE) == -signal.SIGKILL
        (killed,) = {run.run_id for run in instance.get_runs()} - {whole}
        found, expected = kinds(instance, killed), kinds(instance, whole)
        ended = [kind for kind in expected if kind[1] == "first"]
        assert [kind for kind in found if kind[1] == "first"] == ended
        assert ended[-1] == ("STEP_SUCCESS", "first")
        of_killed, of_whole = content(home, killed), content(home, whole)
        assert [row for row in of_killed["index"] if row[1] == "first"] == [
            row for row in of_whole["index"] if row[1] == "first"
        ]
        assert of_killed["checks"] == of_whole["checks"]
        assert kinds(instance, run_here(instance, tmp_path)) == expected


def test_events_of_a_step_reach_other_processes_while_it_goes_on(tmp_path: Path) -> None:
    home, flag, seen = tmp_path / "home", tmp_path / "reached", []
    with opened(home) as instance:
        process = start_elsewhere(home, tmp_path, SIGNAL_FILE=str(flag))
        try:
            until(flag.exists, "the second step")
            (run,) = instance.get_runs()
            instance.watch_event_logs(run.run_id, None, lambda event, _: seen.append(event.message))
            until(lambda: ("STEP_START", "second") in kinds(instance, run.run_id), "the start of the step")
            until(
                lambda: any(
                    record.event_log_entry.user_message == "in the second step"
                    for record in instance.event_log_storage.get_records_for_run(run.run_id).records
                ),
                "the line of the step",
            )
            Path(f"{flag}.go").touch()
            assert process.wait(PATIENCE) == 0
            until(
                lambda: any("Finished execution of run" in message for message in seen),
                "the end in a watcher",
            )
        finally:
            process.kill()
            process.wait()


def test_a_process_that_reads_many_runs_keeps_few_files_open(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with opened(home) as instance:
        storage = instance.event_log_storage
        for number in range(40):
            instance.report_engine_event("told", job_name="job", run_id=f"run-{number}")
        found = {number: [log.message for log in instance.all_logs(f"run-{number}")] for number in range(40)}
        assert found == {number: ["told"] for number in range(40)}
        assert isinstance(storage, EventLogStorage)
        assert open_files(home) <= 3 * 18
    assert open_files(home) == 0


def materialized(message: str) -> dg.DagsterEvent:
    """Return an event that may wait for others."""
    data = StepMaterializationData(dg.AssetMaterialization("made"))
    return dg.DagsterEvent("ASSET_MATERIALIZATION", "job", event_specific_data=data, message=message)


def open_files(home: Path) -> int:
    """Return how many files of a home this process has open."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("there is no /proc to count open files by")
    places = (place for place in folder.iterdir())
    return sum(str(home) in os.readlink(place) for place in places if place.is_symlink())


def test_threads_and_forked_processes_store_each_event_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with opened(home) as instance:
        told = [f"thread {number}, event {event}" for number in range(6) for event in range(10)]

        def report(number: int) -> None:
            for line in told[number * 10 : number * 10 + 10]:
                instance.report_engine_event(line, job_name="job", run_id="run")
                assert instance.all_logs("run")

        threads = [threading.Thread(target=report, args=(number,)) for number in range(6)]
        # This event may still wait when the process forks: its parent is to write it, and nobody else.
        instance.report_dagster_event(materialized("waits"), "run")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                instance.report_engine_event("from the child", job_name="job", run_id="run")
                status = 0
            finally:
                os._exit(status)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert os.waitpid(child, 0)[1] == 0
        found = [entry.message for entry in instance.all_logs("run")]
    assert sorted(found) == sorted([*told, "waits", "from the child"])


def test_a_deleted_run_is_gone_for_processes_that_had_it_open(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with opened(home) as instance, instance_at(home) as other:
        gone, kept = run_here(instance, tmp_path), run_here(instance, tmp_path)
        assert kinds(other, gone) == kinds(other, kept)
        delete_run(instance, gone)
        assert not list((home / "history" / "runs").glob(f"{gone}*"))
        assert kinds(other, gone) == []
        assert kinds(other, kept) == kinds(instance, kept)
        assert rows(home / "history" / "runs" / "index.db", "SELECT DISTINCT run_id FROM event_logs") == [
            (kept,)
        ]


def test_what_could_not_be_written_for_a_while_is_written_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    index = home / "history" / "runs" / "index.db"
    with opened(home) as instance, closing(sqlite3.connect(index, isolation_level=None)) as holder:
        holder.execute(
            "CREATE TRIGGER full BEFORE INSERT ON event_logs BEGIN SELECT raise(ABORT, 'full'); END"
        )
        instance.report_dagster_event(materialized("made"), "run")
        with pytest.raises(IntegrityError, match="full"):
            instance.report_engine_event("after it", job_name="job", run_id="run")
        holder.execute("DROP TRIGGER full")
        instance.report_engine_event("at last", job_name="job", run_id="run")
        assert [entry.message for entry in instance.all_logs("run")] == ["made", "after it", "at last"]
    assert rows(index, "SELECT asset_key FROM event_logs") == [('["made"]',)]


def test_the_last_result_of_a_check_is_found_behind_runs_that_never_came_to_it(tmp_path: Path) -> None:
    first = dg.AssetKey("first")
    keys = [dg.AssetCheckKey(first, f"check_{number}") for number in (0, 4)]
    with opened(tmp_path / "home") as instance:
        run_id = run_here(instance, tmp_path)
        for number in range(5):
            data = AssetCheckEvaluationPlanned(asset_key=first, check_name="check_0")
            event = dg.DagsterEvent("ASSET_CHECK_EVALUATION_PLANNED", "job", event_specific_data=data)
            instance.report_dagster_event(event, f"run-{number}")
        found = last_check_results(instance, [*keys, dg.AssetCheckKey(first, "unknown")])
        assert {key: (one.run_id, one.evaluation.passed) for key, one in found.items()} == {
            keys[0]: (run_id, True),
            keys[1]: (run_id, False),
        }


def test_opening_a_home_imports_nothing_that_only_creates_or_migrates_one(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as instance:
        run_id = run_here(instance, tmp_path)
    look = (
        "import sys; from pathlib import Path; from platform_assets.dagster_internals import instance_at\n"
        f"with instance_at(Path({str(tmp_path / 'home')!r})) as instance:\n"
        f"    assert instance.all_logs({run_id!r})\n"
        "print(sorted({'alembic', 'structlog', 'pandas'} & {name.split('.')[0] for name in sys.modules}))\n"
        "from dagster._core.definitions.freshness_evaluator import logger\n"
        "assert logger.bind() and 'structlog' in sys.modules\n"
        "storage = instance_at(Path(sys.argv[1])).event_log_storage\n"
        "print(bool(storage.alembic_version()[1]))"
    )
    (tmp_path / "new").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", look, str(tmp_path / "new")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["[]", "True"], done.stderr


def test_dagster_migrates_a_home_and_its_runs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with opened(home) as instance:
        run_id = run_here(instance, tmp_path)
        expected = kinds(instance, run_id)
    scripts = ScriptDirectory(str(Path(dg.__file__).parent / "_core" / "storage" / "alembic"))
    newest = scripts.get_revision("head")
    assert newest is not None
    files = list((home / "history" / "runs").glob("*.db"))
    for file in files:
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", [newest.down_revision])
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "instance", "migrate"],
        env={**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with opened(home) as instance:
        assert kinds(instance, run_id) == expected
    for file in files:
        assert rows(file, "SELECT version_num FROM alembic_version") == [(newest.revision,)]


@pytest.mark.parametrize(
    ("ours", "own"),
    [
        (EventLogStorage, SqliteEventLogStorage),
        (RunStorage, SqliteRunStorage),
        (ScheduleStorage, SqliteScheduleStorage),
    ],
)
def test_what_the_storage_overrides_is_there_in_this_version_of_dagster(ours: type, own: type) -> None:
    added = {"file", "forget"}
    for name, value in vars(ours).items():
        is_method = callable(value) or isinstance(value, classmethod)
        if not is_method or name in added or (name.startswith("_") and not hasattr(own, name)):
            continue
        before = getattr(own, name, None)
        assert before is not None, f"Dagster's {own.__name__} has no {name} any more, which {ours} overrides"
        wanted = list(inspect.signature(before).parameters)
        given = list(inspect.signature(getattr(ours, name)).parameters)
        assert given == wanted, f"Dagster's {own.__name__}.{name} takes other arguments than {ours} expects"
    for name in USED_OF_DAGSTER if own is SqliteEventLogStorage else ():
        assert hasattr(own, name), f"Dagster's {own.__name__} has no {name} any more, which {ours} uses"


USED_OF_DAGSTER = ("_event_to_row", "_initdb", "_store_asset_event", "_store_asset_event_tags")


def graphql(port: int, query: str, **variables: Any) -> dict[str, Any]:
    """Ask the web server."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        found: dict[str, Any] = json.load(answer)
    assert "errors" not in found, found
    return found["data"]


LOGS = """query($run: ID!, $cursor: String) { logsForRun(runId: $run, afterCursor: $cursor) {
  ... on EventConnection { cursor events { __typename ... on MessageEvent { message stepKey } } } } }"""


def test_the_ui_and_the_daemon_read_a_run_while_it_goes_on(tmp_path: Path) -> None:
    home, port, flag = tmp_path / "home", free_port(), tmp_path / "reached"
    environment = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    with opened(home) as instance:
        earlier = run_here(instance, tmp_path)
    (tmp_path / "job.py").write_text(JOB)
    programs = [
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments, "-f", str(tmp_path / "job.py")],
            cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for module, *arguments in (
            ("dagster_webserver", "-h", "127.0.0.1", "-p", str(port)),
            ("dagster._daemon", "run"),
        )
    ]  # fmt: skip
    run: subprocess.Popen[bytes] | None = None
    try:

        def answers() -> bool:
            assert all(program.poll() is None for program in programs)
            try:
                return bool(graphql(port, "{ version }"))
            except OSError:
                return False

        until(answers, "an answer of the web server")
        run = start_elsewhere(home, tmp_path, SIGNAL_FILE=str(flag))
        until(flag.exists, "the second step")
        listed = graphql(port, "{ runsOrError { ... on Runs { results { runId status } } } }")["runsOrError"]
        states = {one["runId"]: one["status"] for one in listed["results"]}
        assert states.pop(earlier) == "SUCCESS"
        ((run_id, status),) = states.items()
        assert status == "STARTED"
        events: list[dict[str, Any]] = []
        cursor: str | None = None
        while not any(event.get("message") == "in the second step" for event in events):
            page = graphql(port, LOGS, run=run_id, cursor=cursor)["logsForRun"]
            events, cursor = [*events, *page["events"]], page["cursor"]
        Path(f"{flag}.go").touch()
        assert run.wait(PATIENCE) == 0
        page = graphql(port, LOGS, run=run_id, cursor=cursor)["logsForRun"]
        events += page["events"]
        assert "RunSuccessEvent" in {event["__typename"] for event in page["events"]}
        asked = "{ assetNodes { assetKey { path } assetMaterializations(limit: 1) { runId } } }"
        nodes = graphql(port, asked)["assetNodes"]
        assert {node["assetMaterializations"][0]["runId"] for node in nodes} == {run_id}
        statuses = "allDaemonStatuses { daemonType healthy lastHeartbeatErrors { message } }"
        asked = f"{{ instance {{ daemonHealth {{ {statuses} }} }} }}"

        def healthy() -> bool:
            found = graphql(port, asked)["instance"]["daemonHealth"]["allDaemonStatuses"]
            assert not any(one["lastHeartbeatErrors"] for one in found), found
            return any(one["healthy"] for one in found)

        until(healthy, "the daemon's sign of life")
        with opened(home) as instance:
            stored = [entry.message for entry in instance.all_logs(run_id)]
        assert [event.get("message") for event in events] == stored
    finally:
        for program in [*programs, *([run] if run else [])]:
            program.send_signal(signal.SIGINT)
        for program in [*programs, *([run] if run else [])]:
            try:
                program.wait(20)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
