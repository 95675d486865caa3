"""An upgrade to a made-up version 2: shown first, then done in steps, and continued wherever it is killed."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from platform_assets import stored
from platform_assets.alert import Alert, Severity
from platform_assets.alerts.assembly import AlertsRoom
from platform_assets.alerts.notifier import LogNotifier
from platform_assets.alerts.outbox import Channel
from platform_assets.cli import app
from platform_assets.processes import serving
from platform_assets.rooms import Rooms
from platform_assets.settings import load_settings
from platform_assets.stored import stamp_new_state
from platform_assets_tests.fixtures.house import instance_of
from platform_assets_tests.upgrades.killed import CHANGED

ROOT = Path(stored.__file__).parents[1]
NOON = dt.datetime(2036, 7, 8, 12, tzinfo=dt.UTC)
POINTS_OF_A_STEP = 4
"""Before and after its work, before and after its version is stored."""


class Upgrading:
    """The program that is killed."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "platform_assets_tests.upgrades.killed"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"},
            text=True,
        )
        assert self._hear() == "ready"

    def run(self, folder: Path, *arguments: str, die_at: int = 0) -> int:
        """Upgrade a folder; the exit code, 100 where there was nothing to do."""
        assert self._process.stdin is not None
        order = {"folder": str(folder), "arguments": arguments, "die_at": die_at}
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        return int(self._hear())

    def said(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="module")
def upgrading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgrading]:
    made = Upgrading(tmp_path_factory.mktemp("upgrading") / "log")
    yield made
    made.end()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder of version 1: an outbox, a warehouse, a record of a task, and a folder that moves."""
    folder = tmp_path_factory.mktemp("first") / "state"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLATFORM_STATE_DIR", str(folder))
        settings = load_settings()
        stamp_new_state(folder)
        alerts = [Alert(f"key {n}", Severity.WARNING, f"title {n}", NOON) for n in range(3)]
        outbox = Rooms(settings).of(AlertsRoom).outbox
        outbox.post(alerts, [Channel("log", LogNotifier())], NOON)
    (folder / "old place").mkdir()
    (folder / "old place" / "file").write_text("content")
    record = folder / "tasks" / ".outputs" / "plan" / "task.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"files": ["a", "b"]}')
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        connection.execute(
            "CREATE SCHEMA platform; CREATE TABLE platform.loads (table_name VARCHAR, table_id VARCHAR, "
            "lake_version BIGINT, batch BIGINT, rows_written BIGINT, lake_id VARCHAR, loaded_at TIMESTAMPTZ)"
        )
    return folder


@pytest.fixture
def state(first: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first, tmp_path / "state"))


def content(folder: Path) -> dict[str, Any]:
    """What the upgrade changes, as whoever reads version 2 sees it."""
    import deltalake

    outbox = deltalake.DeltaTable(str(folder / "lake" / "processed" / "alerts" / "outbox"))
    rows = outbox.to_pyarrow_table().to_pylist()
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        tables = connection.sql("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
        loads = connection.sql("SELECT table_name, lake_version FROM platform.loads").fetchall()
    record = json.loads((folder / "tasks" / ".outputs" / "plan" / "task.json").read_text())
    return {
        "outbox": (
            outbox.metadata().name,
            sorted((row["key"], json.loads(row["alert"])["title"]) for row in rows),
        ),
        "warehouse": (tables, loads),
        "task": record,
        "state": json.loads((folder / "format.json").read_text())["format"],
        "moved": sorted(str(one.relative_to(folder)) for one in folder.glob("*place/*")),
    }


UPGRADED = {
    "outbox": ("platform_assets.outbox/2", [(f"key {n}", f"TITLE {n}") for n in range(3)]),
    "warehouse": ([("loads",), ("more",)], [("platform_assets/format", 2)]),
    "task": {"paths": ["a", "b"], "format": 2},
    "state": 2,
    "moved": ["new place/file"],
}


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(one.relative_to(folder)): hashlib.sha256(one.read_bytes()).hexdigest()
        for one in sorted(folder.rglob("*"))
        if one.is_file() and one.name != "instance.lock" and "dagster" not in one.parts
    }


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(upgrading: Upgrading, state: Path) -> None:
    before = hashes(state)
    assert upgrading.run(state) == 100
    assert hashes(state) == before
    said = upgrading.said()
    assert all(f"{name}-2" in said for name in CHANGED)
    assert "upgrade --apply" in said


def test_an_upgrade_is_done_once(upgrading: Upgrading, state: Path) -> None:
    assert upgrading.run(state, "--apply") == 0
    assert content(state) == UPGRADED
    before = hashes(state)
    assert upgrading.run(state, "--apply") == 100
    assert hashes(state) == before


@pytest.mark.sampled(3)
@pytest.mark.parametrize("die_at", range(1, len(CHANGED) * POINTS_OF_A_STEP + 1))
def test_an_upgrade_that_is_killed_is_continued(upgrading: Upgrading, state: Path, die_at: int) -> None:
    assert upgrading.run(state, "--apply", die_at=die_at) == -signal.SIGKILL
    assert upgrading.run(state, "--apply") == (0 if die_at < len(CHANGED) * POINTS_OF_A_STEP else 100)
    assert content(state) == UPGRADED


def test_an_upgrade_that_is_killed_again_and_again_gets_done(upgrading: Upgrading, state: Path) -> None:
    deaths = 0
    while upgrading.run(state, "--apply", die_at=POINTS_OF_A_STEP) < 0:
        deaths += 1
        assert deaths <= len(CHANGED)
    assert content(state) == UPGRADED


def command(*arguments: str) -> tuple[int, str]:
    ran = CliRunner().invoke(app, arguments, catch_exceptions=False)
    return ran.exit_code, ran.output


@pytest.fixture
def here(state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(state))
    for name in ("DAGSTER_HOME", "LAKE_INGESTION", "LAKE_PROCESSED", "WAREHOUSE_PATH", "UPLOADS_PLACE"):
        monkeypatch.delenv(name, raising=False)
    return state


def test_there_is_nothing_to_do_for_this_version(here: Path) -> None:
    code, said = command("upgrade")
    assert (code, said) == (0, "Everything has the format of this version; there is nothing to do.\n")


def test_what_is_newer_is_named_and_the_command_fails(here: Path) -> None:
    (here / "tasks" / ".outputs" / "plan" / "task.json").write_text('{"format": 3, "files": []}')
    code, said = command("upgrade")
    assert code == 1
    assert "task.json has format version 3" in said
    assert "knows versions up to 1" in said


def test_nothing_is_migrated_while_the_platform_runs(here: Path) -> None:
    home = here / "dagster"
    home.mkdir(exist_ok=True)
    with serving(home, 3210):
        code, said = command("upgrade", "--apply")
    assert code == 1
    assert "http://127.0.0.1:3210" in said


@pytest.mark.parametrize("storage", ["runs.db", "runs/index.db", "schedules/schedules.db"])
def test_an_older_storage_of_dagster_is_told_with_dagsters_command(here: Path, storage: str) -> None:
    settings = load_settings()
    with instance_of(settings) as instance:
        _ = instance.event_log_storage, instance.run_storage, instance.schedule_storage
    found = [one for one in (here / "dagster").rglob("*.db") if str(one).endswith(storage)]
    assert len(found) == 1
    with sqlite3.connect(found[0]) as connection:
        connection.execute("UPDATE alembic_version SET version_num = (SELECT 'ba4050312958')")
    connection.close()
    code, said = command("upgrade")
    assert code == 0
    assert f"DAGSTER_HOME={here / 'dagster'} dagster instance migrate" in said


def test_the_version_of_the_program_is_told() -> None:
    code, said = command("--version")
    assert code == 0
    assert said == f"platform-assets {stored.program_version()}\n"
