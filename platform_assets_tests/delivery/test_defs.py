"""Deliveries in Dagster: assets, jobs, schedules, the sensor for changed data, and the receipts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from platform_assets.build import build_defs
from platform_assets.configuration.blocks import Settings
from platform_assets.dagster_internals import last_tick, next_tick, running_schedules
from platform_assets.delivery import defs as delivery_defs
from platform_assets.orchestration import BLOCKING_CHECKS
from platform_assets.runs import run_job
from platform_assets_tests.delivery.house import HELLO, NewHouse, mails, new_house, room_of
from platform_assets_tests.delivery.making import contents
from platform_assets_tests.fixtures.house import instance_of, lake_of, run_of
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import STAR_TABLE, Platform, Totesys, failed_checks, failures

__all__ = ["new_house"]

CHANGED = """
title = "What was dropped"
owners = ["team:sales"]
when = changed
source { files = "%s/*.csv" }
to { archive { address = ${state_dir}"/delivered/dropped" } }
"""
KEY = dg.AssetKey(["delivery", "hello"])


def test_a_delivery_is_an_asset_with_a_job_and_a_schedule_that_is_off(new_house: NewHouse) -> None:
    staff = """
title = "Staff"
owners = ["ann@example.org"]
schedule { cron = "0 6 * * *", timezone = "Europe/London" }
source { asset = "star/dim_staff" }
render = [csv, gzip]
to { s3 { address = "s3://bucket/prefix" } }
"""
    definitions = build_defs(new_house(staff=staff))
    graph = definitions.resolve_asset_graph()
    node = graph.get(dg.AssetKey(["delivery", "staff"]))
    assert node.parent_keys == {dg.AssetKey(["star", "dim_staff"])}
    assert (node.group_name, list(node.owners), node.kinds) == (
        "delivery",
        ["ann@example.org"],
        {"csv", "s3"},
    )
    assert "s3://bucket/prefix" in (node.description or "")
    assert "`0 6 * * *` Europe/London, once `delivery_staff_schedule` is" in (node.description or "")
    schedule = definitions.resolve_schedule_def("delivery_staff_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 6 * * *", "Europe/London")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert definitions.resolve_job_def("delivery_staff").name == "delivery_staff"


def test_a_broken_delivery_is_shown_and_the_others_work(new_house: NewHouse) -> None:
    settings = new_house(hello=HELLO, broken="title = 1")
    definitions = build_defs(settings)
    node = definitions.resolve_asset_graph().get(dg.AssetKey(["delivery", "broken"]))
    assert not node.is_executable
    assert node.kinds == {"disabled"}
    assert (node.description or "").startswith("DISABLED: its file has mistakes")
    assert "broken.conf" in (node.description or "")
    jobs = {job.name for job in definitions.resolve_all_job_defs()}
    assert "delivery_hello" in jobs
    assert "delivery_broken" not in jobs
    assert run_of(settings, "delivery_hello").succeeded


def test_without_deliveries_the_graph_has_nothing_of_them(new_house: NewHouse) -> None:
    graph = build_defs(new_house()).resolve_asset_graph()
    assert [key for key in graph.get_all_asset_keys() if key.path[0] == "delivery"] == []


def test_a_job_delivers_and_tells_what_it_delivered(new_house: NewHouse) -> None:
    settings = new_house(hello=HELLO)
    done = run_of(settings, "delivery_hello")
    assert (done.succeeded, done.failures) == (True, ())
    assert contents(settings.platform.state_dir / "delivered" / "hello") == {"message.txt": b"id,name"}
    with instance_of(settings) as instance:
        event = instance.get_latest_materialization_event(KEY)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = {name: one.value for name, one in event.asset_materialization.metadata.items()}
    assert (metadata["files"], metadata["bytes"]) == (1, 7)
    assert "| archive | delivered |" in str(metadata["destinations"])
    rows = room_of(settings).receipts.newest(10)
    assert {row.run for row in rows} == {done.run_id}
    assert run_of(settings, "delivery_receipts").failed_checks == ()


def test_a_job_whose_destination_fails_fails_with_the_reason_and_the_check_says_so(
    new_house: NewHouse,
) -> None:
    settings = new_house(hello=HELLO)
    state = settings.platform.state_dir
    state.mkdir()
    (state / "delivered").write_text("a file where a folder is needed")
    done = run_of(settings, "delivery_hello")
    assert not done.succeeded
    assert "hello did not get to 1 of 1 destinations" in done.failures[0]
    [check] = run_of(settings, "delivery_receipts").failed_checks
    assert "latest_deliveries_succeeded: hello/archive:" in check
    (state / "delivered").unlink()
    assert run_of(settings, "delivery_hello").succeeded
    assert run_of(settings, "delivery_receipts").failed_checks == ()


def _with_failed_check(instance: dg.DagsterInstance, *, passed: bool) -> dict[dg.AssetKey, Any]:
    """Record the result of a blocking check on a star table, as its own job does."""
    key = dg.AssetKey(["star", "dim_staff"])

    @dg.asset_check(asset=key, name="not_null", blocking=True)
    def check() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passed, description="3 broken")

    table = dg.AssetSpec(key)
    job = dg.define_asset_job("checks", selection=dg.AssetSelection.checks(check))
    made = dg.Definitions(assets=[table], asset_checks=[check], jobs=[job]).resolve_job_def("checks")
    made.execute_in_process(instance=instance, raise_on_error=False)
    return {key: [dg.AssetCheckKey(key, "not_null")]}


STAFF = HELLO.replace('{ text = "id,name" }', '{ asset = "star/dim_staff" }') + "render = [csv]\n"


def test_data_that_failed_a_blocking_check_is_not_delivered(new_house: NewHouse) -> None:
    settings = new_house(hello=STAFF)
    job = build_defs(settings).resolve_job_def("delivery_hello")
    with instance_of(settings) as instance:
        _with_failed_check(instance, passed=False)
        done = run_job(job, instance, lambda line: None)
    assert not done.succeeded
    assert "hello is held back: The check not_null of star/dim_staff failed: 3 broken" in done.failures[0]
    assert not (settings.platform.state_dir / "delivered").exists()
    [row] = room_of(settings).receipts.newest(10)
    assert (row.status, row.reason.startswith("hello is held back")) == ("failed", True)


def test_the_code_location_knows_the_blocking_checks_of_all_rooms(new_house: NewHouse) -> None:
    resource = (build_defs(new_house(hello=STAFF)).resources or {})[BLOCKING_CHECKS]
    checks = resource.resource_fn(dg.build_init_resource_context())
    assert {key.name for key in checks[dg.AssetKey(["star", "dim_staff"])]} >= {"not_null"}


def test_jobs_have_the_resources_of_the_code_location_or_those_that_replace_them(new_house: NewHouse) -> None:
    settings = new_house(hello=STAFF)
    own = build_defs(settings).resolve_job_def("delivery_hello").resource_defs
    checks = own[BLOCKING_CHECKS].resource_fn(dg.build_init_resource_context())
    assert {key.name for key in checks[dg.AssetKey(["star", "dim_staff"])]} >= {"not_null"}
    other = dg.ResourceDefinition.hardcoded_resource(room_of(settings))
    replaced = build_defs(settings, resources={"deliveries": other}).resolve_job_def("delivery_hello")
    assert replaced.resource_defs["deliveries"] is other


Evaluate = Callable[[], tuple[list[dg.RunRequest], str]]


@contextmanager
def _sensor(
    settings: Settings, blocking: dict[dg.AssetKey, Any] | None = None
) -> Iterator[tuple[dg.DagsterInstance, Evaluate]]:
    """Dagster's instance, and what evaluates the sensor."""
    definitions = build_defs(settings)
    sensor = definitions.resolve_sensor_def("deliveries_changed")
    with instance_of(settings) as instance:

        def evaluate() -> tuple[list[dg.RunRequest], str]:
            resources = {"deliveries": room_of(settings), BLOCKING_CHECKS: blocking or {}}
            with dg.build_sensor_context(instance, resources=resources) as context:
                found = sensor(context)
            assert isinstance(found, dg.SensorResult)
            reason = found.skip_reason
            return list(found.run_requests or ()), str(getattr(reason, "skip_message", reason) or "")

        yield instance, evaluate


def _launch(settings: Settings, instance: dg.DagsterInstance, request: dg.RunRequest) -> bool:
    job = build_defs(settings).resolve_job_def(request.job_name or "")
    tags = {**request.tags, "dagster/run_key": request.run_key or ""}
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False).success


def test_changed_data_is_delivered_once_by_a_run_whose_key_names_the_work(
    new_house: NewHouse, tmp_path: Path
) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "a.csv").write_text("1")
    settings = new_house(dropped=CHANGED % drop)
    with _sensor(settings) as (instance, evaluate):
        [request], _ = evaluate()
        [same], _ = evaluate()
        assert request.run_key == same.run_key
        assert request.job_name == "delivery_dropped"
        assert _launch(settings, instance, request)
        assert evaluate() == ([], "Nothing has changed.")
        (drop / "a.csv").write_text("22")
        [changed], _ = evaluate()
        assert changed.run_key != request.run_key
        assert _launch(settings, instance, changed)
    assert contents(settings.platform.state_dir / "delivered" / "dropped") == {"a.csv": b"22"}


def test_a_failed_delivery_is_tried_again_later_with_a_fresh_run_key(
    new_house: NewHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "a.csv").write_text("1")
    settings = new_house(dropped=CHANGED % drop)
    state = settings.platform.state_dir
    state.mkdir()
    (state / "delivered").write_text("a file where a folder is needed")
    with _sensor(settings) as (instance, evaluate):
        [request], _ = evaluate()
        assert not _launch(settings, instance, request)
        requests, reason = evaluate()
        assert requests == []
        assert "dropped: it failed, and is tried again at" in reason
        monkeypatch.setattr(delivery_defs, "_FIRST_WAIT", dt.timedelta(0))
        [again], _ = evaluate()
        assert again.run_key != request.run_key
        (state / "delivered").unlink()
        assert _launch(settings, instance, again)
        assert evaluate() == ([], "Nothing has changed.")


def test_a_source_that_cannot_tell_stops_no_other(new_house: NewHouse, tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "a.csv").write_text("1")
    settings = new_house(dropped=CHANGED % drop, gone=CHANGED % (tmp_path / "gone"))
    with _sensor(settings) as (_, evaluate):
        requests, _ = evaluate()
        assert [request.job_name for request in requests] == ["delivery_dropped"]
        assert room_of(settings).receipts.newest(1) == []


def test_a_blocking_check_holds_data_back_until_it_passes(new_house: NewHouse) -> None:
    reads = [dg.AssetKey(["star", "dim_staff"])]
    with instance_of(new_house(hello=STAFF)) as instance:
        blocking = _with_failed_check(instance, passed=False)
        assert "not_null" in delivery_defs._held_back(instance, reads, blocking)
        _with_failed_check(instance, passed=True)
        assert delivery_defs._held_back(instance, reads, blocking) == ""


@dataclass(frozen=True)
class Stars:
    """A platform with two members of staff and two designs, and deliveries of these tables."""

    settings: Settings
    platform: Platform

    def set_key(self, key: int) -> None:
        """Give the second row of the table a key, behind the platform's back."""
        table = STAR_TABLE["dim_staff"]
        target, rows = self.platform.lake.star(table), self.platform.star("dim_staff")
        rows[1]["staff_id"] = key
        changed = pa.Table.from_pylist(rows, schema=target.arrow_schema)
        write_deltalake(DeltaTable(target.uri), changed, mode="overwrite")

    def run(self, instance: dg.DagsterInstance, *keys: str) -> dg.ExecuteInProcessResult:
        """Make assets in one run."""
        defs = build_defs(self.settings, resources=self.platform.resources)
        return defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(key.split("/")) for key in keys],
            raise_on_error=False,
        )

    def check(self, instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> None:
        """Run a check by itself, over all rows."""
        job = build_defs(
            self.settings, resources=self.platform.resources
        ).resolve_implicit_global_asset_job_def()
        subset = job.get_subset(asset_selection=set(), asset_check_selection={check})
        subset.execute_in_process(instance=instance, raise_on_error=False)

    def delivered(self, name: str) -> dict[str, bytes]:
        """The content of a delivery's files without their sidecars, by name."""
        folder = self.settings.platform.state_dir / "delivered" / name
        return contents(folder) if folder.exists() else {}


@pytest.fixture
def stars(new_house: NewHouse, new_database: NewDatabase, tmp_path: Path) -> Stars:
    staff = STAFF.replace("render = [csv]", "render = [csv], file = staff.csv, source.query = %s") % (
        '"SELECT staff_id FROM dim_staff ORDER BY 1"'
    )
    changed = staff.replace("/hello", "/changed") + "when = changed"
    design = staff.replace("staff", "design").replace("/hello", "/design")
    settings = new_house(hello=staff, changed=changed, design=design)
    platform = Platform.over(Totesys.with_rows(new_database()), lake_of(settings), tmp_path)
    platform.extract()
    platform.build()
    return Stars(settings, platform)


def test_a_table_whose_check_fails_in_the_same_run_is_not_delivered_and_others_are(stars: Stars) -> None:
    keys = ("star/dim_staff", "star/dim_design", "delivery/hello", "delivery/design")
    with instance_of(stars.settings) as instance:
        stars.set_key(1)
        failed = stars.run(instance, *keys)
        assert not failed.success
        assert failed_checks(failed).keys() == {"star/dim_staff:primary_key"}
        [said] = failures(failed)
        assert "hello is held back: The check primary_key of star/dim_staff failed: 1 broken" in said
        assert stars.delivered("hello") == {}
        assert stars.delivered("design") == {"design.csv": b"design_id\n1\n2\n"}
        [row] = [row for row in room_of(stars.settings).receipts.newest(10) if row.delivery == "hello"]
        assert (row.status, row.reason.startswith("hello is held back")) == ("failed", True)
        # The run fails for the table also where nothing is delivered from it.
        stars.set_key(1)
        alone = stars.run(instance, "star/dim_staff", "star/dim_design", "delivery/design")
        assert "star/dim_staff: The check primary_key of star/dim_staff failed" in failures(alone)[0]
        stars.set_key(2)
        assert stars.run(instance, *keys).success
    assert stars.delivered("hello") == {"staff.csv": b"staff_id\n1\n2\n"}


def test_a_tick_over_a_table_whose_check_failed_delivers_only_what_passed_later(stars: Stars) -> None:
    settings = stars.settings
    checks = [dg.AssetCheckKey(dg.AssetKey(["star", "dim_staff"]), "primary_key")]
    with _sensor(settings, {checks[0].asset_key: checks}) as (instance, evaluate):
        stars.set_key(1)
        stars.run(instance, "star/dim_staff")
        requests, reason = evaluate()
        assert requests == []
        assert "changed is held back: The check primary_key of star/dim_staff failed" in reason
        assert room_of(settings).receipts.newest(10) == []
        stars.set_key(2)
        assert stars.run(instance, "star/dim_staff").success
        [request], _ = evaluate()
        assert request.job_name == "delivery_changed"
        # The check fails between the tick and its run.
        stars.set_key(1)
        stars.check(instance, checks[0])
        assert not _launch(settings, instance, request)
        assert stars.delivered("changed") == {}
        stars.set_key(2)
        stars.check(instance, checks[0])
        assert _launch(settings, instance, request)
        assert evaluate() == ([], "Nothing has changed.")
    assert stars.delivered("changed") == {"staff.csv": b"staff_id\n1\n2\n"}


def test_a_delivery_is_missed_only_while_its_schedule_is_on(
    new_house: NewHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = new_house(hello=HELLO + 'schedule { cron = "* * * * *", deadline_minutes = 1 }')
    room, now = room_of(settings), dt.datetime.now(dt.UTC)
    assert delivery_defs._due_times(room, {}, now) == {}
    since = now - dt.timedelta(hours=1)
    [(name, due)] = delivery_defs._due_times(room, {"delivery_hello_schedule": since}, now).items()
    assert name == "hello"
    assert dt.timedelta(minutes=1) <= now - due <= dt.timedelta(minutes=3)
    assert delivery_defs._due_times(room, {"delivery_hello_schedule": now}, now) == {}
    monkeypatch.setattr(
        delivery_defs, "running_schedules", lambda instance: {"delivery_hello_schedule": since}
    )
    assert run_of(settings, "delivery_receipts").succeeded
    assert run_of(settings, "delivery_receipts").succeeded
    [message] = mails(settings, "on-call")
    assert "A delivery was missed" in message["Subject"]


def test_schedules_that_are_on_are_known_with_their_start(new_house: NewHouse) -> None:
    settings = new_house(hello=HELLO)
    with instance_of(settings) as instance:
        assert running_schedules(instance) == {}


def test_ticks_are_computed_in_the_time_zone_of_the_schedule() -> None:
    noon = dt.datetime(2031, 7, 1, 12, tzinfo=dt.UTC)
    assert next_tick("0 6 * * *", "Europe/London", noon) == dt.datetime(2031, 7, 2, 5, tzinfo=dt.UTC)
    assert last_tick("0 6 * * *", "Europe/London", noon) == dt.datetime(2031, 7, 1, 5, tzinfo=dt.UTC)
