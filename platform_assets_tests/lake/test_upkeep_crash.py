"""Upkeep that is killed, at each step and at any moment: nothing is lost, and the next run does the rest."""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import Platform, Totesys
from platform_assets_tests.fixtures.upkeep import DAYS_LATER, Kept, age, content, file_counts

ROOT = Path(__file__).parents[2]
CHILD = """
import dataclasses, datetime as dt, importlib, itertools, json, os, signal, sys
from pathlib import Path
from platform_assets.lake.lake import Lake
from platform_assets_tests.fixtures.upkeep import DAYS_LATER, EAGER, settings_of
from platform_assets.lake.assembly import LakeRoom
from platform_assets.rooms import Rooms

order = json.loads(sys.stdin.read())
if order["function"]:
    module, _, path = order["function"].partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for one in owners:
        owner = getattr(owner, one)
    original = getattr(owner, name)
    numbers = itertools.count(1)

    def called(*arguments, **named):
        # Several threads call at the same time, so each keeps the number of its call.
        number = next(numbers)
        if number == order["call"] and order["before"]:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **named)
        if number == order["call"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, called)
folder = Path(order["folder"])
settings = settings_of(folder, Lake(str(folder / "ingestion"), str(folder / "processed")))
work = Rooms(settings).of(LakeRoom).upkeep()
work = dataclasses.replace(work, policy=EAGER, clock=lambda: dt.datetime.now(dt.UTC) + DAYS_LATER)
print("ready", flush=True)
for one in work.run():
    assert not one.error, one
"""


@dataclass(frozen=True)
class Point:
    """Where upkeep dies.

    Args:
        phase: What it is in the middle of.
        function: The function, as `module:name`.
        call: Which call of it.
        before: Whether it dies before the call, or after it.
    """

    phase: str
    function: str
    call: int = 1
    before: bool = True


REWRITE = "platform_assets.lake.upkeep.rewrite:Rewriter"
STORE = "platform_assets.lake.upkeep.store:TableStore"
POINTS = (
    Point("before a checkpoint", "deltalake:DeltaTable.create_checkpoint"),
    Point("after a checkpoint", "deltalake:DeltaTable.create_checkpoint", before=False),
    Point("while log entries go", f"{STORE}._remove_one", 3),
    Point("while files go", f"{STORE}._remove_one", 30, before=False),
    Point("before writing", f"{REWRITE}._write", 2),
    Point("after writing", f"{REWRITE}._write", 2, before=False),
    Point("before moving", f"{STORE}.move", 2),
    Point("after moving", f"{STORE}.move", 2, before=False),
    Point("before the commit", f"{REWRITE}._try_commit", 2),
    Point("after the commit", f"{REWRITE}._try_commit", 2, before=False),
    Point("before the journal", "platform_assets.lake.upkeep.journal:Journal.record"),
)


def grown(totesys: Totesys, folder: Path) -> Kept:
    """A lake with 25 ticks, old enough for versions to be removed."""
    kept = Kept.under(totesys, folder)
    platform = kept.platform
    platform.tick()
    for number in range(24):
        totesys.update("design", 1, design_name=f"n{number}")
        platform.extract("design")
    totesys.insert("sales_order", 500)
    platform.tick()
    age(folder / "ingestion", 10)
    age(folder / "processed", 10)
    return kept


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_database())


def child(folder: Path, point: Point | None = None) -> subprocess.Popen[str]:
    order: dict[str, Any] = dataclasses.asdict(point or Point("", ""))
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({**order, "folder": str(folder)}))
    process.stdin.close()
    return process


def assert_nothing_is_lost(kept: Kept, rows: dict[str, str]) -> None:
    platform: Platform = kept.platform
    assert content(platform.lake) == rows
    # The next run does the rest, and leaves nothing of the killed one.
    kept.run(later=DAYS_LATER)
    assert content(platform.lake) == rows
    counts = file_counts(platform.lake)
    assert {path for path, count in counts.items() if count > 1} <= {"processed/_upkeep"}


@pytest.mark.parametrize(
    "points",
    [
        pytest.param((POINTS[3], POINTS[9]), id="some steps"),
        pytest.param(POINTS, id="all steps", marks=pytest.mark.soak),
    ],
)
def test_upkeep_that_is_killed_at_a_step_loses_nothing(
    points: tuple[Point, ...], totesys: Totesys, tmp_path: Path
) -> None:
    kept = grown(totesys, tmp_path)
    rows = content(kept.platform.lake)
    for number, point in enumerate(points):
        with child(tmp_path, point) as process:
            process.wait(PATIENCE)
        assert process.returncode == -signal.SIGKILL, point
        assert content(kept.platform.lake) == rows, point
        totesys.insert("sales_order", 1_000 + number)
        totesys.update("design", 1, design_name=point.phase)
        kept.platform.tick()
        rows = content(kept.platform.lake)
        age(tmp_path / "ingestion", 10)
        age(tmp_path / "processed", 10)
    assert_nothing_is_lost(kept, rows)
    kept.platform.tick()
    in_lake = kept.platform.query("SELECT count(*) FROM star.fact_sales_order")
    assert in_lake == [(len(kept.platform.star("fact_sales_order")),)]


@pytest.mark.soak
def test_upkeep_that_is_killed_at_any_moment_loses_nothing(totesys: Totesys, tmp_path: Path) -> None:
    kept = grown(totesys, tmp_path)
    rows = content(kept.platform.lake)
    chance = random.Random(3)
    for number in range(4):
        with child(tmp_path) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0, 1))
            process.kill()
            process.wait(PATIENCE)
        assert content(kept.platform.lake) == rows
        totesys.insert("sales_order", 1_000 + number)
        kept.platform.tick()
        rows = content(kept.platform.lake)
        age(tmp_path / "ingestion", 10)
        age(tmp_path / "processed", 10)
    assert_nothing_is_lost(kept, rows)
