"""Retention: what nobody needs goes when it is old, and whatever something still depends on stays."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from platform_assets.alerts.notifier import LogNotifier
from platform_assets.alerts.outbox import OUTBOX_COLUMNS, Channel, Outbox
from platform_assets.dlp.findings import FindingsStore
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.interfaces import KeptTable
from platform_assets.lake.lake import Lake
from platform_assets.lake.upkeep.staged import remove_staged_files
from platform_assets.objects.log import LOG_COLUMNS, ObjectLog
from platform_assets.objects.plan import BatchLimits, ObjectStatus
from platform_assets.runs import forget_old_runs, open_instance
from platform_assets_tests.alerts.test_alert import AT, alert
from platform_assets_tests.dlp.test_findings import NOON, finding, inspection
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import Totesys
from platform_assets_tests.fixtures.upkeep import Kept, content, opened, upkeep_of
from platform_assets_tests.lake.test_upkeep import rebuilt
from platform_assets_tests.objects.test_watch import Uploads

DAY = dt.timedelta(days=1)


def retain(kept: KeptTable, folder: Path, now: dt.datetime) -> int:
    """Take care of a table as if it were another time; the number of rows that retention concerned."""
    [one] = upkeep_of(kept, folder, later=now - dt.datetime.now(dt.UTC)).run()
    assert not one.error, one.error
    return one.outdated


def stored(table: LakeTable, *columns: str) -> list[tuple[Any, ...]]:
    rows = table.scan(opened(table)).read_all().to_pylist()
    return sorted(tuple(row[name] for name in columns) for row in rows)


def test_an_object_log_keeps_the_latest_entry_of_every_object_that_exists(tmp_path: Path) -> None:
    log = ObjectLog(LakeTable(str(tmp_path / "log"), LOG_COLUMNS))
    uploads = Uploads(tmp_path / "uploads", log, BatchLimits(quiet=dt.timedelta()))
    for key in ("kept", "changed", "gone"):
        uploads.put(key)
    assert sorted(uploads.work()) == ["changed", "gone", "kept"]
    uploads.put("changed", "again")
    assert uploads.work() == ["changed"]
    uploads.put("under way")
    uploads.tick()
    (uploads.folder / "gone").unlink()
    kept = log.kept("uploads", lambda: uploads.watch.bucket, 90)
    before = log.read().progress
    assert retain(kept, tmp_path, uploads.now + 89 * DAY) == 0
    assert retain(kept, tmp_path, uploads.now + 91 * DAY) == 6
    assert stored(log.table, "key", "status") == [
        ("changed", "done"), ("kept", "done"), ("under way", "planned")
    ]  # fmt: skip
    assert log.read().progress == before
    assert uploads.said("under way") is ObjectStatus.PLANNED
    # Nothing is worked on a second time.
    assert [request.objects for request in uploads.tick().requests] == [1]


def test_alerts_that_were_sent_go_and_those_that_wait_stay(tmp_path: Path) -> None:
    outbox = Outbox(LakeTable(str(tmp_path / "outbox"), OUTBOX_COLUMNS))
    here = [Channel("log", LogNotifier())]
    nowhere = Channel("other", LogNotifier())
    outbox.post([alert(), alert(version="v2")], [*here, nowhere], AT)
    assert outbox.deliver(here, AT).sent == 2
    assert retain(outbox.kept(90), tmp_path, AT + 89 * DAY) == 0
    assert retain(outbox.kept(90), tmp_path, AT + 91 * DAY) == 6
    assert [(message.channel, message.status) for message in outbox.messages()] == [("other", "queued")] * 2
    assert outbox.deliver([nowhere], AT + 91 * DAY).sent == 2


def test_findings_go_with_their_object_and_columns_keep_the_latest_inspection(tmp_path: Path) -> None:
    store = FindingsStore(
        Lake(str(tmp_path / "i"), str(tmp_path / "p")), SqlEngine(128, 1, tmp_path / "spill")
    )
    store.record(
        [inspection("a", findings=(finding(),)), inspection("gone", findings=(finding(), finding(at=9)))]
    )
    store.record([inspection("a", "v2", (finding(),)), inspection("new", inspected_at=NOON + 40 * DAY)])
    there = [("id of a", "v2")]
    objects, findings, _ = store.kept({"landing": lambda: there}, 30)
    assert retain(objects, tmp_path, NOON + 29 * DAY) == 0
    # The one that was inspected lately stays, although its object is gone already.
    assert retain(objects, tmp_path / "1", NOON + 41 * DAY) == 2
    assert stored(store.objects.table, "object_id", "version") == [("id of a", "v2"), ("id of new", "v1")]
    assert retain(findings, tmp_path / "2", NOON + 41 * DAY) == 3
    assert store.count_findings() == 1
    # Where a watch was removed from the configuration, nobody can tell which objects exist.
    objects, *_ = store.kept({}, 30)
    assert retain(objects, tmp_path / "3", NOON + 999 * DAY) == 0


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_database())


def test_a_mended_dead_letter_loses_its_content_and_a_rebuilt_star_stays_the_same(
    totesys: Totesys, tmp_path: Path
) -> None:
    kept = Kept.under(totesys, tmp_path)
    platform = kept.platform
    totesys.insert("sales_order", 7, units_sold=-1)
    totesys.insert("sales_order", 8, units_sold=-1)
    platform.tick()
    totesys.update("sales_order", 7, units_sold=5)
    platform.tick()
    star, rows = rebuilt(platform, tmp_path / "before"), content(platform.lake)
    assert kept.run(later=364 * DAY)["dead_letters"].outdated == 0
    assert content(platform.lake) == rows
    done = kept.run(later=366 * DAY)
    assert done["dead_letters"].outdated == 1
    letters = {dead_letter["key"]: dead_letter for dead_letter in platform.dead_letters()}
    assert [letter["row"] == "{}" for letter in letters.values()] == [True, False]
    assert "units_sold" in letters['{"sales_order_id":7}']["reason"]
    assert rebuilt(platform, tmp_path / "after") == star
    assert kept.run(later=368 * DAY)["dead_letters"].outdated == 0
    assert platform.broken() == {"sales_order:accepted_values": 1}


def test_old_runs_of_dagster_go_with_their_files_and_the_latest_results_stay(tmp_path: Path) -> None:
    @dg.asset(check_specs=[dg.AssetCheckSpec("fine", asset="made")])
    def made() -> dg.MaterializeResult:  # type: ignore[type-arg]
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name="fine")])

    @dg.op
    def fail() -> None:
        raise ValueError("on purpose")

    @dg.job
    def failing() -> None:
        fail()

    with open_instance(tmp_path / "dagster") as instance:
        runs = [dg.materialize([made], instance=instance).run_id for _ in range(3)]
        failed = failing.execute_in_process(instance=instance, raise_on_error=False).run_id
        now = dt.datetime.now(dt.UTC)

        def left() -> set[str]:
            return {run.run_id for run in instance.get_runs()}

        assert forget_old_runs(instance, DAY, 2 * DAY, now).failures == []
        assert left() == {*runs, failed}
        forget_old_runs(instance, DAY, 2 * DAY, now + 1.5 * DAY)
        assert left() == {runs[2], failed}
        forget_old_runs(instance, DAY, 2 * DAY, now + 3 * DAY)
        assert left() == {runs[2]}
        event = instance.get_latest_materialization_event(dg.AssetKey("made"))
        assert event is not None
        assert event.run_id == runs[2]
        check = dg.AssetCheckKey(dg.AssetKey("made"), "fine")
        record = instance.get_latest_asset_check_evaluation_record(check)
        assert record is not None
        assert instance.event_log_storage.get_asset_check_execution_history(check, limit=9) == [record]
        shards = [path.name for path in tmp_path.rglob("*.db") if len(path.stem) == len(failed)]
        assert shards == [f"{runs[2]}.db"]


def test_files_of_killed_runs_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    for name in ("feed-orders-x", f"{os.getpid()}-spill", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows").write_bytes(b"12345")
    for name in ("feed-orders-x", f"{os.getpid()}-spill"):
        for path in (tmp_path / name / "rows", tmp_path / name):
            os.utime(path, (0, 0))
    size, failing = remove_staged_files(tmp_path, 2 * DAY, dt.datetime.now(dt.UTC))
    assert (failing.failures, size >= 5) == ([], True)
    assert {path.name for path in tmp_path.iterdir()} == {f"{os.getpid()}-spill", "new"}
