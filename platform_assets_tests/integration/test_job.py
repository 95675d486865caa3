"""The main job as people start it: from the command line, with dagster's own commands, and from the UI."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.events import StepFailureData
from deltalake import DeltaTable, write_deltalake

from platform_assets.build import MAIN_JOB, build_defs
from platform_assets.runs import open_instance
from platform_assets.sample.database import advance_sample, create_sample
from platform_assets.source.connection import Connection
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import Database, NewDatabase
from platform_assets_tests.integration import totesys_files as files
from platform_assets_tests.integration.installation import (
    BIN,
    FACTS,
    NO_TELEMETRY,
    ROOT,
    Installation,
    session,
    wait_until,
)

SALES = 200
SOURCE_TABLES = set(files.TABLES)
DIMENSIONS = {
    "staff",
    "location",
    "currency",
    "design",
    "counterparty",
    "transaction",
    "payment_type",
    "date",
}
STAR_TABLES = set(FACTS) | {f"dim_{name}" for name in DIMENSIONS}
EXTERNAL_KEYS = {f"snowflake/{name}" for name in STAR_TABLES}
"""Asset keys that nothing here makes until a Snowflake account is configured. A misspelt dependency would be
one more.
"""


@pytest.fixture
def database(new_database: NewDatabase) -> Database:
    """A small sample business."""
    created = new_database()
    create_sample(created.owner, sales=SALES, seed=11)
    return created


@pytest.fixture
def platform(database: Database, tmp_path: Path) -> Installation:
    """A platform that has never looked at that business."""
    return Installation.create(tmp_path / "platform", database.reader)


@pytest.fixture
def instance(platform: Installation) -> Iterator[dg.DagsterInstance]:
    """Dagster's records on disk, where their every byte can be searched."""
    folder = platform.folder / "instance"
    folder.mkdir()
    with open_instance(folder) as opened:
        yield opened


def run(platform: Installation, *command: str, seconds: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """Runs one of the project's programs to its end, from the project's root and with an empty home."""
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=ROOT,
        env=platform.environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def left_in_home(platform: Installation) -> list[str]:
    """Files that a program wrote into the home of who ran it."""
    home = Path(platform.environment["HOME"])
    return [str(file.relative_to(home)) for file in home.rglob("*") if file.is_file()]


def telemetry(platform: Installation) -> list[str]:
    """What dagster's telemetry keeps on disk where it is on."""
    found = [path for path in platform.folder.rglob("*") if path.name in (".telemetry", ".logs_queue")]
    return [str(path) for path in found if "telemetry" in path.name or any(path.iterdir())]


def assert_warehouse_equals(platform: Installation, source: files.Snapshot) -> None:
    """The facts' current rows and the dimensions are what the source holds."""
    for fact, (table, mapped) in files.FACTS.items():
        rows = platform.query(f"FROM star.{fact}_current ORDER BY 2")
        assert [row[1:-3] for row in rows] == [mapped(row) for _, row in sorted(source[table].items())]
    for name, expected in files.dimensions(source).items():
        rows = platform.query(f"FROM star.{name} WHERE _change <> 'delete'")
        assert {row[0]: row[:-3] for row in rows} == expected


def in_source(connection: Connection) -> files.Snapshot:
    with session(connection) as opened:
        return files.in_database(opened)


@pytest.fixture
def embedded() -> Iterator[Installation]:
    """A platform with an embedded database of its own, which is stopped in the end."""
    folder = Path(tempfile.mkdtemp(prefix="platform-assets-job-"))
    # Under root the server runs as another account, which must get to its data.
    folder.chmod(0o711)
    platform = Installation.create_embedded(folder, SALES)
    try:
        yield platform
    finally:
        run(platform, "platform-assets", "sample", "stop")
        shutil.rmtree(folder)


def test_the_command_runs_the_job_from_nothing_and_ends_with_a_summary(embedded: Installation) -> None:
    first = run(embedded, "platform-assets", "run")
    assert first.returncode == 0, first.stderr
    assert "The run took" in first.stdout
    told = list(
        itertools.takewhile(lambda line: line.startswith("  ") and line.strip(), first.stdout.splitlines())
    )
    assert [line for line in told if line.split("/")[0].strip() not in ("totesys", "star", "warehouse")] == []
    assert len(told) == len(SOURCE_TABLES) + 2 * len(STAR_TABLES)
    for table in SOURCE_TABLES | STAR_TABLES:
        assert table in first.stdout
    assert f"totesys/sales_order: {SALES} inserted, 0 updated, 0 deleted" in first.stdout
    assert embedded.query("SELECT count(*) FROM star.fact_sales_order_current") == [(SALES,)]
    advanced = run(embedded, "platform-assets", "sample", "advance", "--silent-edits", "7", "--deletes", "2")
    assert advanced.returncode == 0, advanced.stderr
    second = run(embedded, "platform-assets", "run")
    assert second.returncode == 0, second.stderr
    changes = dict(
        embedded.query("SELECT _change, count(*) FROM star.fact_payment WHERE _batch = 2 GROUP BY 1")
    )
    assert changes["delete"] == 2
    stopped = run(embedded, "platform-assets", "sample", "stop")
    assert stopped.stdout.strip() == "PostgreSQL has stopped."
    assert left_in_home(embedded) == []
    assert telemetry(embedded) == []


def test_dagster_job_execute_runs_it_and_a_second_tick_with_nothing_new_touches_no_file(
    platform: Installation, database: Database
) -> None:
    command = ("dagster", "job", "execute", "-m", "platform_assets.definitions", "-j", MAIN_JOB)
    first = run(platform, *command)
    assert first.returncode == 0, first.stderr
    assert_warehouse_equals(platform, in_source(database.owner))
    before = platform.files()
    second = run(platform, *command)
    assert second.returncode == 0, second.stderr
    assert platform.files() == before
    assert left_in_home(platform) == []
    assert telemetry(platform) == []


@pytest.fixture
def webserver(platform: Installation) -> Iterator[Callable[..., dict[str, Any]]]:
    """The UI with its daemon, as `make ui` starts it; asks its GraphQL API."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = platform.folder / "webserver.log"
    # Sockets are in it, whose paths must be short.
    temporary = tempfile.mkdtemp(prefix="ui-")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(BIN / "dagster"), "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)],
            cwd=ROOT,
            env={**platform.environment, "TMPDIR": temporary},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def ask(query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            answered = json.load(answer)
        assert "errors" not in answered, answered
        return dict(answered["data"])

    def is_up() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return bool(ask("{ version }")["version"])
        except (urllib.error.URLError, ConnectionError):
            return False

    try:
        wait_until(is_up, "the start of the webserver", every=0.3)
        yield ask
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        for pid in processes_of(platform):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(temporary)


def processes_of(platform: Installation) -> list[int]:
    """Processes that run with this platform's Dagster home, where the system lets one see it."""
    mark = f"DAGSTER_HOME={platform.environment['DAGSTER_HOME']}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def test_it_runs_when_it_is_launched_from_the_ui(
    webserver: Callable[..., dict[str, Any]], platform: Installation, database: Database
) -> None:
    where = {"repositoryLocationName": "platform_assets", "repositoryName": "__repository__"}
    launched = webserver(
        """
        mutation Launch($params: ExecutionParams!) {
          launchPipelineExecution(executionParams: $params) {
            __typename
            ... on LaunchRunSuccess { run { runId } }
            ... on PythonError { message }
          }
        }
        """,
        params={"selector": {**where, "pipelineName": MAIN_JOB}, "runConfigData": "{}", "mode": "default"},
    )["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]

    def ended() -> str | None:
        status = webserver(
            "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id
        )["runOrError"]["status"]
        return str(status) if status in ("SUCCESS", "FAILURE", "CANCELED") else None

    assert wait_until(ended, "the end of the run", every=0.5) == "SUCCESS"
    assert_warehouse_equals(platform, in_source(database.owner))
    schedules = webserver(
        """
        query Schedules($where: RepositorySelector!) {
          schedulesOrError(repositorySelector: $where) {
            ... on Schedules { results { name cronSchedule scheduleState { status } } }
          }
        }
        """,
        where=where,
    )["schedulesOrError"]["results"]
    by_name = {
        schedule["name"]: (schedule["cronSchedule"], schedule["scheduleState"]["status"])
        for schedule in schedules
    }
    assert by_name[f"{MAIN_JOB}_schedule"] == ("*/5 * * * *", "STOPPED")
    assert webserver("{ shouldShowNux }") == {"shouldShowNux": False}
    assert webserver("{ instance { hasInfo daemonHealth { allDaemonStatuses { daemonType } } } }")
    assert left_in_home(platform) == []
    assert telemetry(platform) == []


def test_the_dg_commands_work_on_the_project(platform: Installation) -> None:
    checked = run(platform, "dg", "check", "defs")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    listed = run(platform, "dg", "list", "defs", "--json")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    definitions = json.loads(listed.stdout)
    keys = {asset["asset_key"] for asset in definitions["assets"]}
    assert keys == {f"totesys/{table}" for table in SOURCE_TABLES} | {
        f"{group}/{table}" for group in ("star", "warehouse", "snowflake") for table in STAR_TABLES
    } | {f"dlp/{table}" for table in ("objects", "findings", "columns")} | {"lake/tables", "lineage/columns"}
    assert MAIN_JOB in {job["name"] for job in definitions["jobs"]}
    assert left_in_home(platform) == []


def test_every_asset_says_what_it_is_whose_it_is_and_what_its_columns_are(platform: Installation) -> None:
    specs = {
        spec.key.to_user_string(): spec for spec in build_defs(platform.settings).resolve_all_asset_specs()
    }
    assert len(specs) == 49
    for key, spec in specs.items():
        assert spec.owners, key
        assert spec.kinds, key
        assert spec.description, key
        assert spec.group_name == key.partition("/")[0]
        assert "column lineage" in spec.metadata or key == "lineage/columns"
        if key == "lineage/columns":
            continue  # a page, not a table
        schema = spec.metadata["dagster/column_schema"]
        columns = schema.columns if isinstance(schema, dg.TableSchema) else schema.schema.columns
        assert all(column.description for column in columns), key
        names = [column.name for column in columns]
        assert spec.group_name in ("dlp", "lake") or [name for name in names if name.startswith("_")][:3] == [
            "_change",
            "_batch",
            "_seen_at",
        ]


def test_no_asset_depends_on_one_that_nothing_makes(platform: Installation) -> None:
    graph = build_defs(platform.settings).resolve_asset_graph()
    made = {key.to_user_string() for key in graph.materializable_asset_keys}
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} - made == EXTERNAL_KEYS


def test_the_checks_that_protect_data_block_what_is_downstream(platform: Installation) -> None:
    graph = build_defs(platform.settings).resolve_asset_graph()
    checks: dict[str, dict[str, bool]] = {}
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        checks.setdefault(key.asset_key.to_user_string(), {})[key.name] = spec.blocking
    assert len(checks) == 37
    for table in SOURCE_TABLES:
        declared = checks[f"totesys/{table}"]
        assert declared.pop("primary_key") is True
        # A row that breaks one of these goes to the dead letters; every other row goes on.
        about_rows = {"not_null", "accepted_values", "foreign_key"}
        about_all = {"freshness", "source_schema", "source_matches_lake"}
        assert about_all | {"not_null"} <= set(declared) <= about_all | about_rows
        assert not any(declared.values())
    for table in STAR_TABLES:
        declared = checks[f"star/{table}"]
        assert {"primary_key", "not_null"} <= set(declared)
        assert all(declared.values())
        assert ("record_ids_dense" in declared) == ("foreign_key" in declared) == table.startswith("fact_")
        assert {"matches_lake", "freshness"} <= set(checks[f"warehouse/{table}"])


def test_the_code_location_loads_with_every_server_down_and_without_heavy_libraries(tmp_path: Path) -> None:
    nowhere = Connection("127.0.0.1", closed_port(), "nothing", "nobody", "no password")
    platform = Installation.create(tmp_path / "platform", nowhere)
    script = """
        import json, sys
        from platform_assets.definitions import defs
        heavy = {"pyarrow", "pandas", "numpy", "duckdb", "deltalake", "pg8000", "adbc_driver_postgresql"}
        jobs = [job.name for job in defs.resolve_all_job_defs()]
        print(json.dumps({"jobs": jobs, "heavy": sorted(heavy & set(sys.modules))}))
    """
    loaded = run(platform, "python", "-c", "\n".join(line.strip() for line in script.splitlines()))
    assert loaded.returncode == 0, loaded.stderr
    found = json.loads(loaded.stdout)
    assert MAIN_JOB in found["jobs"]
    assert found["heavy"] == []
    assert sorted(file.name for file in platform.folder.iterdir()) == [
        "dagster",
        "home",
        "password",
        "platform.conf",
    ]


def test_a_blocking_check_that_fails_leaves_its_table_in_the_warehouse_as_it_was(
    platform: Installation, database: Database
) -> None:
    platform.tick()
    loaded = platform.warehouse_rows()
    star = platform.processed / "star" / "fact_payment"
    stored = DeltaTable(str(star)).to_pyarrow_table()
    # A stranger writes a record id for a second time, into the batch that is to come.
    forged = stored.slice(0, 1).to_pylist()[0] | {"_batch": 2}
    write_deltalake(str(star), pa.Table.from_pylist([forged], schema=stored.schema), mode="append")
    advance_sample(database.owner, days=1, seed=3)
    with dg.DagsterInstance.ephemeral(settings=NO_TELEMETRY) as instance:
        result = platform.run_job(instance, raise_on_error=False)
    assert not result.success
    failed = {
        (check.asset_key.to_user_string(), check.check_name)
        for check in result.get_asset_check_evaluations()
        if not check.passed
    }
    assert failed == {("star/fact_payment", "primary_key")}
    found = platform.warehouse_rows()
    assert found["fact_payment"] == loaded["fact_payment"]
    assert {name for name in found if found[name] != loaded[name]} >= {"fact_sales_order", "dim_transaction"}
    assert [event.step_key for event in result.all_events if event.is_step_success] == [
        *("totesys", "totesys_checks", "totesys_schema", "star", "star_checks", "warehouse"),
    ]


def closed_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def _nothing(_: Database, connection: Connection) -> Iterator[Connection]:
    yield connection


@contextlib.contextmanager
def _closed_port(_: Database, connection: Connection) -> Iterator[Connection]:
    yield replace(connection, port=closed_port())


@contextlib.contextmanager
def _silent_server(_: Database, connection: Connection) -> Iterator[Connection]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield replace(connection, port=listening.getsockname()[1])


@contextlib.contextmanager
def _wrong_password(_: Database, connection: Connection) -> Iterator[Connection]:
    yield replace(connection, password="not-the-pass word/%7E'at\"all")


def _changed(change: str, undo: str = "") -> Any:
    @contextlib.contextmanager
    def breaking(database: Database, connection: Connection) -> Iterator[Connection]:
        with session(database.owner) as owner:
            owner.run(change.format(reader=connection.user))
            yield connection
            if undo:
                owner.run(undo.format(reader=connection.user))

    return breaking


BROKEN = {
    "nobody listens": (_closed_port, ("127.0.0.1:{port}", "cannot be reached")),
    "nobody answers": (_silent_server, ("127.0.0.1:{port}", "cannot be reached")),
    "wrong password": (_wrong_password, ("refused the login of {user} to {database}",)),
    "missing table": (
        _changed("ALTER TABLE payment RENAME TO paid", "ALTER TABLE paid RENAME TO payment"),
        ("Table payment does not exist.",),
    ),
    "missing column": (
        _changed(
            "ALTER TABLE staff RENAME COLUMN email_address TO mail",
            "ALTER TABLE staff RENAME COLUMN mail TO email_address",
        ),
        ("Table staff has no column email_address, which is declared; it is now called mail.",),
    ),
    "missing privilege": (
        _changed("REVOKE SELECT ON sales_order FROM {reader}", "GRANT SELECT ON sales_order TO {reader}"),
        ('The role may not SELECT from sales_order. GRANT SELECT ON it, and USAGE ON SCHEMA "public".',),
    ),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mistake", BROKEN)
def test_a_source_that_cannot_be_read_fails_the_run_in_time_with_one_clear_sentence(
    platform: Installation,
    database: Database,
    instance: dg.DagsterInstance,
    mistake: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    platform.tick()
    before = platform.files()
    advance_sample(database.owner, days=1, seed=5)
    breaking, said = BROKEN[mistake]
    with breaking(database, database.reader) as connection:
        broken = Installation.create(platform.folder, connection)
        result = broken.run_job(instance, raise_on_error=False)
    output = "".join(capfd.readouterr())
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    # By the events' own clock; a second is left for the run's start, which takes longer on a busy machine.
    moments = [entry.timestamp for entry in instance.all_logs(result.run_id) if entry.step_key == "totesys"]
    assert max(moments) - min(moments) < 9
    data = failure.event_specific_data
    assert isinstance(data, StepFailureData)
    assert data.user_failure_data is not None
    sentence = data.user_failure_data.description or ""
    for part in said:
        assert (
            part.format(port=connection.port, user=connection.user, database=connection.database) in sentence
        )
    assert "\n" not in sentence
    assert len(sentence) < 500
    if failure.step_key == "totesys":
        assert platform.files() == before
    else:
        # What is wrong with one table stops that one: the others, and what is made of them, went on.
        assert failure.step_key == "totesys_schema"
        assert result.get_asset_materialization_events()
        assert platform.query("SELECT max(_batch) FROM star.fact_purchase_order")[0][0] > 1
    records = json.dumps([entry.to_json() for entry in instance.all_logs(result.run_id)])
    for password in {connection.password, database.reader.password}:
        assert password not in output
        assert password not in records
        assert files_that_contain(password, [platform.folder / "instance", platform.folder / "state"]) == []
    # Once it is mended, the next run brings what had happened meanwhile.
    Installation.create(platform.folder, database.reader)
    platform.tick()
    assert_warehouse_equals(platform, in_source(database.owner))


def test_the_command_says_what_is_wrong_with_the_source_and_repeats_no_password(
    platform: Installation, database: Database
) -> None:
    password = "hunter2-is-not-it"
    broken = Installation.create(platform.folder, replace(database.reader, password=password))
    failed = run(broken, "platform-assets", "run")
    assert failed.returncode == 1
    assert f"refused the login of {database.reader.user}" in failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
    assert password not in failed.stdout + failed.stderr
    folders = [platform.folder / "dagster", platform.folder / "state", platform.folder / "home"]
    assert files_that_contain(password, folders) == []
    assert not platform.warehouse.exists()
    assert not platform.ingestion.exists()


def files_that_contain(text: str, folders: list[Path]) -> list[str]:
    """Files under these folders, databases and logs alike, in which a text occurs."""
    needles = {text.encode(), json.dumps(text)[1:-1].encode()}
    return [
        str(file)
        for folder in folders
        for file in folder.rglob("*")
        if file.is_file()
        for content in [file.read_bytes()]
        if any(needle in content for needle in needles)
    ]
