"""Minutes of life: changes, uploads, ticks, inspection, upkeep and readers at once, and kills among them.

`make soak` names this file, a plain run leaves it out. LIFE_SECONDS in the environment says how long each
test lasts. In the end, everything that is stored equals the source and the uploaded files, as if nothing had
ever been killed.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform_assets.build import MAIN_JOB
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.lake import Lake
from platform_assets.lake.lookback import look_back
from platform_assets.lake.verification import LakeVerifier
from platform_assets.rooms import Rooms
from platform_assets_tests.fixtures.house import lake_of, warehouse_of
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.totesys import STAR_TABLE, Totesys
from platform_assets_tests.fixtures.upkeep import opened
from platform_assets_tests.integration.installation import Installation
from platform_assets_tests.integration.soak_runs import assert_agreed, said_by
from platform_assets_tests.integration.test_crash import TickServer, current_values, tick_server
from platform_assets_tests.integration.test_uploads import INSPECT_JOB, PRICES

SECONDS = float(os.environ.get("LIFE_SECONDS", "150"))
KILLED = 0.3
"""Part of the runs that is killed."""
LONGEST = 8.0
"""Seconds within which a run is killed."""
UPKEEP_JOB = "lake_upkeep"


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_database())


@pytest.fixture(params=["local", "s3"])
def zones(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The settings of a lake that has no table yet."""
    if request.param == "local":
        return {}
    server: S3Server = request.getfixturevalue("s3_server")
    bucket, options = server.create_bucket(), dict(server.storage_options)
    (tmp_path / "key").write_text(options["AWS_SECRET_ACCESS_KEY"])
    options["AWS_SECRET_ACCESS_KEY"] = f"secret://file/{tmp_path / 'key'}"
    return {
        "lake.ingestion": json.dumps(f"s3://{bucket}/ingestion"),
        "lake.processed": json.dumps(f"s3://{bucket}/processed"),
        **{f"lake.storage_options.{key}": json.dumps(value) for key, value in options.items()},
    }


class Uploads:
    """A folder with files of prices: new ones, and others that are replaced."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self._chance = folder, chance
        (folder / "prices").mkdir(parents=True)
        self.prices: dict[str, str] = {}
        self.files = 0

    def put(self) -> None:
        """Write a file, as a whole, a second newer than the last one."""
        self.files += 1
        labels = self._chance.sample([f"article {one}" for one in range(30)], 5)
        rows = [(label, f"{self._chance.randrange(1, 90_000) / 100:.2f}") for label in labels]
        new = self.folder.parent / "new"
        with new.open("w", newline="") as file:
            csv.writer(file).writerows([("label", "price"), *rows, ("bad", "cheap")])
        written = time.time() - 3600 + self.files
        os.utime(new, (written, written))
        new.rename(self.folder / "prices" / f"{self.files}.csv")
        self.prices |= dict(rows)


class Life:
    """Threads that go on until the time is over; the first error of any ends all."""

    def __init__(self, seconds: float) -> None:
        self.ends = time.monotonic() + seconds
        self.counts: Counter[str] = Counter()
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def is_over(self) -> bool:
        return time.monotonic() > self.ends or bool(self._errors)

    def start(self, name: str, step: Callable[[], str], pause: float) -> None:
        """Repeat a step, which says what has happened."""

        def work() -> None:
            try:
                while not self.is_over():
                    self.counts[f"{name}: {step()}"] += 1
                    time.sleep(pause)
            except BaseException as error:  # noqa: BLE001 - it is raised where all are waited for
                self._errors.append(error)

        self._threads.append(threading.Thread(target=work, name=name, daemon=True))
        self._threads[-1].start()

    def wait(self) -> None:
        """Wait until the time is over, and every step has ended."""
        for thread in self._threads:
            thread.join(max(0.0, self.ends - time.monotonic()) + PATIENCE)
            assert not thread.is_alive(), thread.name
        if self._errors:
            raise self._errors[0]


def runs(server: TickServer, job: str, chance: random.Random) -> Callable[[], str]:
    """Run a job, and kill some of the runs at a random moment."""

    def step() -> str:
        group = server.start(job)
        if chance.random() < KILLED:
            time.sleep(chance.random() * LONGEST)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        code = server.end()
        if code == -signal.SIGKILL:
            return "killed"
        return "ended well" if code == 0 else "failed"

    return step


def reads(rooms: Rooms, lake: Lake) -> Callable[[], str]:
    """Read bronze and a fact: at any moment they are whole, and they never lose rows."""
    held = (0, 0)

    def step() -> str:
        nonlocal held
        past = look_back(rooms, lake.ledger.read().last_batch, ["totesys/sales_order"])
        fact = lake.star(STAR_TABLE["fact_sales_order"])
        ids = sorted(fact.scan(opened(fact)).read_all()["sales_record_id"].to_pylist())
        assert ids == list(range(1, len(ids) + 1))
        found = (past.count("totesys/sales_order"), len(ids))
        assert all(new >= old for new, old in zip(found, held, strict=True)), (found, held)
        held = found
        return "right"

    return step


@pytest.fixture
def servers() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def test_a_life_with_kills_ends_as_one_without(
    totesys: Totesys,
    zones: dict[str, str],
    tmp_path: Path,
    servers: contextlib.ExitStack,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chance = random.Random(20261130)
    uploads = Uploads(tmp_path / "uploads", chance)
    given = {
        **zones,
        "watches.uploads.place": json.dumps(str(uploads.folder)),
        "feeds": PRICES,
        "upkeep.small_files": "2",
        "warehouse.duckdb.wait": "600",
    }
    platform = Installation.create(tmp_path / "platform", totesys.database.reader, **given)
    lake, rooms = lake_of(platform.settings), Rooms(platform.settings)
    changed = 0

    def change() -> str:
        nonlocal changed
        changed += 1
        totesys.update("design", 1, design_name=f"Steel {changed}")
        totesys.update("payment", 1, paid=bool(changed % 2))
        totesys.insert("sales_order", 100 + changed)
        return "made"

    def upload() -> str:
        uploads.put()
        return "put"

    jobs = (MAIN_JOB, MAIN_JOB, INSPECT_JOB, UPKEEP_JOB)
    started = [servers.enter_context(tick_server(platform)) for _ in jobs]
    started[0].tick()
    life = Life(SECONDS)
    life.start("changes", change, 0.5)
    life.start("uploads", upload, 1.5)
    life.start("readers", reads(rooms, lake), 0.2)
    for number, (server, job) in enumerate(zip(started, jobs, strict=True)):
        life.start(job, runs(server, job, random.Random(number)), 0.1)
    life.wait()
    with capsys.disabled():
        sys.stdout.write(f"\n{dict(sorted(life.counts.items()))}\n")
    # Whatever the kills have left behind, a run of each job after the last change brings all up to date.
    for server, job in zip(started, jobs, strict=True):
        server.start(job)
        assert server.end() == 0, said_by(platform)
    warehouse = warehouse_of(platform.settings)
    assert_agreed(lake, warehouse, totesys)
    with warehouse.query("SELECT label, CAST(price AS VARCHAR) AS price FROM uploads.prices") as rows:
        prices = {row["label"]: row["price"] for row in rows.read_all().to_pylist()}
    assert prices == uploads.prices
    room = rooms.of(LakeRoom)
    assert list(LakeVerifier(rooms, room.lake, room.engine, True).losses()) == []
    twin = Installation.create(tmp_path / "twin", totesys.database.reader)
    twin.tick()
    assert current_values(platform) == current_values(twin)
    assert life.counts[f"{MAIN_JOB}: killed"] > 0
    assert life.counts["readers: right"] > 0
