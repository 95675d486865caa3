"""An extraction that is killed leaves nothing that counts, and the next one does all of the work.

The child kills itself (SIGKILL) at a point that is named: before or after the nth call of a function.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pg8000.native
import pytest

from platform_assets.errors import SourceUnavailable
from platform_assets.lake.lake import stream_current
from platform_assets.sample.embedded import EmbeddedPostgres
from platform_assets.source.outcome import TableChange
from platform_assets_tests.fixtures.capture import Capture, running_server, session
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase, create_database
from platform_assets_tests.fixtures.totesys import SOURCE_TABLE, Platform, Totesys
from platform_assets_tests.integration.installation import wait_until

pytestmark = pytest.mark.sampled(2)

ROOT = Path(__file__).parents[2]
ORDERS = SOURCE_TABLE["sales_order"]
CHILD = """
import datetime, importlib, itertools, json, os, signal, sys
from pathlib import Path
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets.model.totesys.source import TABLES
from platform_assets.source.connection import Connection
from platform_assets.source.extract import Extractor
from platform_assets.source.snapshot import SourceDatabase

order = json.loads(sys.stdin.read())
place, _, name = order["function"].rpartition(".")
try:
    owner = importlib.import_module(place)
except ModuleNotFoundError:
    module, _, class_ = place.rpartition(".")
    owner = getattr(importlib.import_module(module), class_)
function, numbers = getattr(owner, name), itertools.count(1)

def called(*arguments, **options):
    # Several threads may call at the same time, so each keeps the number of its call.
    number = next(numbers)
    if order["before"] and number == order["call"]:
        os.kill(os.getpid(), signal.SIGKILL)
    result = function(*arguments, **options)
    if number == order["call"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, called)
folder = Path(order["folder"])
source = SourceDatabase("totesys", TABLES, lambda: Connection(**order["connection"]))
lake = Lake(str(folder / "ingestion"), str(folder / "processed"))
tables = [table for table in TABLES if table.name == "sales_order"]
Extractor(source, lake, SqlEngine(256, 1, folder / "tmp")).extract(tables)
"""


@dataclass(frozen=True)
class Point:
    """Where an extraction dies.

    Args:
        phase: What it is in the middle of.
        function: The function, by its full name.
        call: Which call of it.
        before: Whether it dies before the call, or after it.
        counts: Whether the batch counts by then.
    """

    phase: str
    function: str
    call: int = 1
    before: bool = True
    counts: bool = False


WRITE = "deltalake.write_deltalake"
POINTS = (
    Point("reading", "platform_assets.source.scan.with_hash"),
    Point("comparing", "platform_assets.source.compare.Comparison._look_up"),
    Point("looking for deletions", "platform_assets.source.extract.find_deleted", before=False),
    Point("before bronze", WRITE, 1),
    Point("after bronze", WRITE, 1, before=False),
    Point("before the dead letters", WRITE, 2),
    Point("after the dead letters", WRITE, 2, before=False),
    Point("before the ledger", WRITE, 3),
    Point("after the ledger", WRITE, 3, before=False, counts=True),
)
CURSOR_ONLY = (
    Point("reading", "platform_assets.source.scan.with_hash"),
    Point("before the ledger", WRITE, 1),
    Point("after the ledger", WRITE, 1, before=False, counts=True),
)


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    made = Totesys.with_rows(new_database())
    made.run(*(made.insert_sql("sales_order", key) for key in range(3, 9)))
    return made


@pytest.fixture
def platform(totesys: Totesys, tmp_path: Path) -> Platform:
    platform = Platform.on_disk(totesys, tmp_path / "lake")
    assert extracted(platform) == TableChange(inserted=8)
    return platform


def extracted(platform: Platform) -> TableChange:
    return platform.extract("sales_order").tables["sales_order"]


def die(platform: Platform, totesys: Totesys, point: Point) -> None:
    """Extract in a process that kills itself."""
    order = dataclasses.asdict(point) | {
        "folder": str(Path(platform.lake.ingestion).parent),
        "connection": dataclasses.asdict(totesys.database.reader),
    }
    died = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(order),
        cwd=ROOT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL


def counted_versions(platform: Platform) -> list[tuple[Any, ...]]:
    """The versions that count, without their batches, in the order in which they came."""
    ledger = {(row["batch"], row["table"]) for row in platform.lake.ledger.read().rows.to_pylist()}
    return [
        (change, key, units)
        for batch, change, key, units in platform.versions("sales_order", "units_sold")
        if (batch, "sales_order") in ledger
    ]


def change(totesys: Totesys) -> None:
    """Changes of every kind, with a dead letter among them."""
    totesys.insert("sales_order", 9, units_sold=9)
    totesys.insert("sales_order", 10, units_sold=-1)
    totesys.update("sales_order", 2, units_sold=22)
    totesys.update("sales_order", 3, units_sold=84754)
    totesys.run("DELETE FROM transaction WHERE sales_order_id = 4")
    totesys.delete("sales_order", 4)


CHANGED = [("update", 2, 22), ("delete", 4, 84754), ("insert", 9, 9), ("insert", 10, -1)]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.phase)
def test_a_partial_reading_that_is_killed_loses_no_version_and_doubles_none(
    totesys: Totesys, platform: Platform, point: Point
) -> None:
    before = counted_versions(platform)
    change(totesys)
    die(platform, totesys, point)
    assert counted_versions(platform) == before + (CHANGED if point.counts else [])
    # What is left of the killed is not mistaken for what this one finds, were it killed as well.
    if not point.counts:
        die(platform, totesys, POINTS[0])
    found = extracted(platform)
    done = TableChange() if point.counts else TableChange(2, 1, 1, 1)
    assert (found, "xmin" in found.capture) == (done, True)
    assert counted_versions(platform) == before + CHANGED
    assert len({row["_batch"] for row in platform.dead_letters()} & counted_batches(platform)) == 1
    assert extracted(platform) == TableChange()


def counted_batches(platform: Platform) -> set[int]:
    return set(platform.lake.ledger.read().rows["batch"].to_pylist())


# More than are read again and again rather than that a cursor is moved for them.
MANY = """
INSERT INTO sales_order
SELECT n, created_at, last_updated, design_id, staff_id, counterparty_id, units_sold, unit_price, currency_id,
       agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id
FROM sales_order, generate_series(100, 1300) AS n WHERE sales_order_id = 1
"""


@pytest.mark.parametrize("point", CURSOR_ONLY, ids=lambda point: point.phase)
def test_a_cursor_that_is_to_move_alone_is_moved_by_the_next_run(
    totesys: Totesys, platform: Platform, point: Point
) -> None:
    totesys.run(MANY)
    assert extracted(platform) == TableChange(inserted=1_201)
    before, batches = counted_versions(platform), counted_batches(platform)
    totesys.run("UPDATE sales_order SET units_sold = units_sold")
    die(platform, totesys, point)
    assert counted_versions(platform) == before
    assert len(counted_batches(platform) - batches) == point.counts
    found = extracted(platform)
    assert (found, found.rows_read) == (TableChange(), 0 if point.counts else 1_209)
    found = extracted(platform)
    assert (found, found.rows_read) == (TableChange(), 0)
    assert counted_versions(platform) == before


MOMENTS = {
    "the snapshot is taken": "platform_assets.source.extract.plan",
    "rows are read": "platform_assets.source.scan.with_hash",
    "keys are read": "platform_assets.source.extract.find_deleted",
}


@contextlib.contextmanager
def at_the_moment(monkeypatch: pytest.MonkeyPatch, moment: str, act: Callable[[], object]) -> Iterator[None]:
    """Do something once, before a function is called."""
    place, _, name = MOMENTS[moment].rpartition(".")
    function, waiting = getattr(importlib.import_module(place), name), [act]

    def called(*arguments: Any) -> Any:
        if waiting:
            waiting.pop()()
        return function(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(MOMENTS[moment], called)
        yield
    assert not waiting


@pytest.mark.parametrize("moment", MOMENTS)
def test_connections_that_the_server_ends_end_the_run_and_the_next_one_does_the_work(
    totesys: Totesys, platform: Platform, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = counted_versions(platform)
    change(totesys)
    end = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        f"WHERE datname = current_database() AND usename = '{totesys.database.reader.user}'"
    )
    with (
        at_the_moment(monkeypatch, moment, lambda: totesys.run(end)),
        pytest.raises(SourceUnavailable) as error,
    ):
        extracted(platform)
    assert error.value.retryable
    assert counted_versions(platform) == before
    assert extracted(platform) == TableChange(2, 1, 1, 1)
    assert counted_versions(platform) == before + CHANGED


@pytest.fixture(scope="module")
def crashing() -> Iterator[EmbeddedPostgres]:
    """A server whose processes may be killed."""
    with running_server() as server:
        yield server


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("which", ["first", "last"])
def test_a_server_process_that_is_killed_ends_the_run_and_the_next_one_does_the_work(
    crashing: EmbeddedPostgres, tmp_path: Path, moment: str, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{which} {moment}"
    create_database(crashing, name)
    capture = Capture(lambda: crashing.owner(name), lambda: crashing.reader(name), tmp_path)
    capture.run(
        "SET synchronous_commit = on",
        "CREATE TABLE item (id integer PRIMARY KEY, name text)",
        "INSERT INTO item SELECT n, repeat('x', 500) FROM generate_series(1, 3000) AS n",
    )
    assert capture.tick() == TableChange(inserted=3_000)
    capture.run(
        "SET synchronous_commit = on",
        "UPDATE item SET name = repeat('y', 500) WHERE id % 2 = 0",
        "DELETE FROM item WHERE id <= 3",
    )

    def kill() -> None:
        found = capture.run(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            f"AND usename = '{capture.reader().user}' ORDER BY backend_start"
        )
        with session(capture.owner()) as other:
            for (process,) in found if which == "first" else reversed(found):
                # A session that the platform has just closed may end before it is killed.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                    break
            # All sessions end with it, and the server recovers.
            with pytest.raises((pg8000.native.InterfaceError, pg8000.native.DatabaseError, OSError)):
                other.run(f"SELECT pg_sleep({PATIENCE})")
        wait_until(lambda: answers(capture), "the server to answer again")

    with at_the_moment(monkeypatch, moment, kill), pytest.raises(SourceUnavailable):
        capture.extract()
    assert capture.tick() == TableChange(updated=1_499, deleted=3)
    assert capture.tick() == TableChange()
    assert len(capture.versions(capture.tables()[0])) == 3_000 + 1_499 + 3


def answers(capture: Capture) -> bool:
    try:
        return capture.run("SELECT pg_is_in_recovery()") == [[False]]
    except (pg8000.native.InterfaceError, pg8000.native.DatabaseError, OSError):
        return False


def test_what_the_loser_of_a_race_wrote_under_the_number_of_a_cursor_alone_does_not_count(
    totesys: Totesys, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    totesys.run(MANY)
    assert extracted(platform) == TableChange(inserted=1_201)
    before = counted_versions(platform)
    # All are written, none changes: of this batch only the cursor counts.
    totesys.run("UPDATE sales_order SET units_sold = units_sold")

    def overtake() -> None:
        """Another run that began with the same state, saw a later change, and is yet to get to the ledger."""
        totesys.insert("sales_order", 9, units_sold=9)
        with monkeypatch.context() as patch:
            patch.setattr("platform_assets.lake.ledger.Ledger.commit", interrupted)
            with pytest.raises(KeyboardInterrupt):
                extracted(platform)

    with at_the_moment(monkeypatch, "the snapshot is taken", overtake):
        assert extracted(platform) == TableChange()
    assert counted_versions(platform)[: len(before)] == before
    current = stream_current(platform.lake, platform.engine, "totesys", ORDERS).read_all()
    assert 9 not in current["sales_order_id"].to_pylist()
    assert extracted(platform) == TableChange(inserted=1)
    assert platform.extract("sales_order").row_counts == {"sales_order": 1_210}
    current = stream_current(platform.lake, platform.engine, "totesys", ORDERS).read_all()
    assert current["sales_order_id"].to_pylist().count(9) == 1


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt
