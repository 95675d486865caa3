"""Rooms: each optional one can be removed with its line, and the rest works on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import platform_assets
from platform_assets.rooms import ROOMS
from platform_assets.sample.database import create_sample
from platform_assets_tests.fixtures.postgres import Database, NewDatabase

ROOT = Path(platform_assets.__file__).parents[1]
OPTIONAL = (
    "spark",
    "bigquery",
    "snowflake",
    "dlp",
    "feeds",
    "objects",
    "alerts",
    "sample",
    "delivery",
    "tasks",
    "inventory",
    "lineage",
    "notebook",
    "upgrades",
    "workers",
)
CHECK = """
import sys
from platform_assets.definitions import defs
jobs = {job.name for job in defs.resolve_all_job_defs()}
from typer.testing import CliRunner
from platform_assets.cli import app
removed, commands = sys.argv[1].split(), sys.argv[2].split()
for arguments in [[one] for one in commands]:
    ended = CliRunner().invoke(app, arguments, catch_exceptions=False)
    print(ended.stdout, ended.stderr)
    assert ended.exit_code == 0
folders = {name.split(".")[1] for name in sys.modules if name.startswith("platform_assets.")}
assert not folders & set(removed)
print("jobs:", *sorted(jobs))
"""


@pytest.fixture(scope="module")
def business(new_module_database: NewDatabase) -> Database:
    """A small Totesys."""
    created = new_module_database()
    create_sample(created.owner, sales=20, seed=5)
    return created


def house_without(removed: Sequence[str], folder: Path) -> None:
    """Copy the project, and remove rooms: their folders, and their lines in rooms.py."""
    shutil.copytree(ROOT / "platform_assets", folder / "platform_assets")
    shutil.copytree(ROOT / "config", folder / "config")
    shutil.copy(ROOT / "dagster.yaml", folder)
    rooms = folder / "platform_assets" / "rooms.py"
    for room in removed:
        text, count = re.subn(rf'^    Room\("{room}",.*\n', "", rooms.read_text(), flags=re.MULTILINE)
        assert count == 1
        rooms.write_text(text)
        shutil.rmtree(folder / "platform_assets" / room)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("room", OPTIONAL)
def test_a_room_can_be_removed_with_its_line_and_the_rest_loads(
    room: str, business: Database, tmp_path: Path
) -> None:
    assert_works_without([room], ["--help"], business, tmp_path)


@pytest.mark.parametrize(
    "removed",
    [
        pytest.param(OPTIONAL, id="all"),
        *(pytest.param([room], id=room, marks=pytest.mark.soak) for room in OPTIONAL),
    ],
)
def test_the_main_job_runs_without_rooms(removed: Sequence[str], business: Database, tmp_path: Path) -> None:
    assert_works_without(removed, ["--help", "run"], business, tmp_path)


def assert_works_without(
    removed: Sequence[str], commands: Sequence[str], business: Database, folder: Path
) -> None:
    house_without(removed, folder)
    reader = business.reader
    environment = {
        **{name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ},
        "PYTHONPATH": str(folder),
        "HOME": str(folder / "home"),
        "TOTESYS_EMBEDDED": "false",
        "TOTESYS_HOST": reader.host,
        "TOTESYS_PORT": str(reader.port),
        "TOTESYS_DATABASE": reader.database,
        "TOTESYS_USER": reader.user,
        "TOTESYS_PASSWORD": reader.password,
        "TOTESYS_SSLMODE": "disable",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
    }
    ended = subprocess.run(
        [sys.executable, "-c", CHECK, " ".join(removed), " ".join(commands)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    printed, _, jobs = ended.stdout.rpartition("jobs: ")
    assert "totesys_to_warehouse" in jobs.split()
    help_text = printed.split("The source")[0]
    assert [room for room in removed if re.search(rf"^\W*{room} ", help_text, flags=re.MULTILINE)] == []
    assert ("dim_counterparty" in printed) == ("run" in commands)


def test_the_help_imports_no_room() -> None:
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from platform_assets.cli import app\n"
        "print(CliRunner().invoke(app, ['--help']).stdout)\n"
        "print('imported:', *(name for name in sys.modules if name.startswith('platform_assets.')))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    listed, _, imported = ended.stdout.rpartition("imported:")
    rooms = {name.split(".")[1] for name in imported.split()}
    assert rooms.isdisjoint(room.name for room in ROOMS)
    assert all(
        f" {name} " in listed for name in ("run", "status", "source", "sample", "warehouse", "dlp", "deliver")
    )
