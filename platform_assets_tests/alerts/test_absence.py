"""What does not happen is noticed: schedules that do not tick, a dead daemon, upkeep, and heartbeats."""

import datetime as dt
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RemoteInstigatorOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo
from typer.testing import CliRunner

from platform_assets.alerts.facts import Kind
from platform_assets.alerts.heartbeat import Heartbeat
from platform_assets.build import build_defs
from platform_assets.cli import app
from platform_assets.configuration.secrets import Secret
from platform_assets.dagster_internals import _origin
from platform_assets.errors import AlertError, PlatformError, SettingsError
from platform_assets.lake.defs import TABLES
from platform_assets.settings import load_settings
from platform_assets_tests.alerts import house as house_module
from platform_assets_tests.alerts.house import LIMITS, House, NewHouse
from platform_assets_tests.fixtures.http import HttpServer

NOON = dt.datetime(2031, 5, 1, 12, 1, tzinfo=dt.UTC)


def minutes(number: float) -> dt.datetime:
    return NOON + dt.timedelta(minutes=number)


def switch_on(house: House, name: str, cron: str = "", ticked: float = 0, failed: str = "") -> None:
    """Switch on a schedule, or without a cron a sensor, at noon, and let it tick once after some minutes."""
    origin = RemoteInstigatorOrigin(_origin("any").repository_origin, name)
    kind = InstigatorType.SCHEDULE if cron else InstigatorType.SENSOR
    start = NOON.timestamp()
    data = (
        ScheduleInstigatorData(cron, start)
        if cron
        else SensorInstigatorData(min_interval=60, last_sensor_start_timestamp=start)
    )
    state = InstigatorState(origin, kind, InstigatorStatus.RUNNING, data)
    storage = house.instance.schedule_storage
    assert storage is not None
    if storage.get_instigator_state(state.instigator_origin_id, state.selector_id) is None:
        house.instance.add_instigator_state(state)
    error = SerializableErrorInfo(f"secret of {failed}", [], failed) if failed else None
    status = TickStatus.FAILURE if failed else TickStatus.SUCCESS
    house.instance.create_tick(
        TickData(
            state.instigator_origin_id,
            name,
            kind,
            status,
            minutes(ticked).timestamp(),
            run_ids=[],
            run_keys=[],
            error=error,
            selector_id=state.selector_id,
        )
    )


def beat(house: House, at: dt.datetime) -> None:
    house.instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), "SCHEDULER", "1", []))


def look(house: House, minute: float) -> list[tuple[str, str]]:
    return [(one.key, one.status) for one in house.look(minutes(minute))]


def test_a_schedule_that_does_not_tick_is_noticed_at_the_second_look(new_house: NewHouse) -> None:
    house = new_house("")
    switch_on(house, "totesys_to_warehouse_schedule", "*/5 * * * *", ticked=4)
    switch_on(house, "often", ticked=20)
    for minute in (13, 23):
        beat(house, minutes(minute))
        assert look(house, minute) == []
    beat(house, minutes(28))
    told = look(house, 28)
    assert told == [("silence:totesys_to_warehouse_schedule", "open")]
    found, _ = house.room.incidents.read()
    assert (
        found[0].fact.sentence
        == "It was due at 2031-05-01 12:15 UTC, and ticked last at 2031-05-01 12:05 UTC."
    )
    switch_on(house, "totesys_to_warehouse_schedule", "*/5 * * * *", ticked=29)
    assert look(house, 30) == [("silence:totesys_to_warehouse_schedule", "closed")]


def test_a_sensor_that_does_not_tick_is_noticed_too(new_house: NewHouse) -> None:
    house = new_house("")
    switch_on(house, "often", ticked=1)
    beat(house, minutes(20))
    assert [look(house, 20), look(house, 21)] == [[], [("silence:often", "open")]]


def test_a_tick_that_fails_is_told_by_the_class_of_its_error_alone(new_house: NewHouse) -> None:
    house = new_house("incidents.after_failures = 2")
    switch_on(house, "often", ticked=1, failed="ValueError")
    assert [look(house, 1), look(house, 2)] == [[], []]
    switch_on(house, "often", ticked=3, failed="ValueError")
    assert look(house, 3) == [("sensor:often", "open")]
    found, _ = house.room.incidents.read()
    assert found[0].fact.sentence == "Its last tick failed with ValueError."
    switch_on(house, "often", ticked=4)
    assert look(house, 4) == [("sensor:often", "closed")]


def test_a_dead_daemon_is_one_incident_whatever_no_longer_ticks(new_house: NewHouse) -> None:
    house = new_house("")
    beat(house, minutes(0))
    assert look(house, 60) == []  # nothing is on that would need it
    switch_on(house, "often", ticked=1)
    switch_on(house, "hourly", "0 * * * *", ticked=1)
    beat(house, minutes(2))
    assert look(house, 6) == []
    assert look(house, 90) == [("daemon:dagster", "open")]
    assert look(house, 91) == []
    beat(house, minutes(92))
    switch_on(house, "often", ticked=92)
    switch_on(house, "hourly", "0 * * * *", ticked=92)
    assert look(house, 93) == [("daemon:dagster", "closed")]


def test_upkeep_that_has_not_run_for_a_day_is_noticed(
    new_house: NewHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = new_house("")
    now = dt.datetime.now(dt.UTC)
    assert house.look(now) == []
    [told] = house.look(now + dt.timedelta(hours=24.1))
    assert (told.key, told.fact.severity.name) == ("upkeep:lake/tables", "WARNING")
    assert told.fact.sentence == "It has not run yet."
    house.instance.report_runless_asset_event(dg.AssetMaterialization(TABLES))
    # Seen from tomorrow, upkeep of today is a day old; it is on time where two days are.
    monkeypatch.setattr(house_module, "LIMITS", replace(LIMITS, upkeep=dt.timedelta(hours=48)))
    assert [one.status for one in house.look(now + dt.timedelta(hours=24.2))] == ["closed"]


def test_what_cannot_be_seen_is_recorded_and_the_rest_goes_on(
    new_house: NewHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = new_house("")
    house.error = PlatformError("The source is down.")
    house.run()
    real = type(house.instance).get_daemon_heartbeats

    def broken(instance: Any) -> Any:
        raise RuntimeError("the table is damaged")

    monkeypatch.setattr(type(house.instance), "get_daemon_heartbeats", broken)
    told = {one.key: one.fact.sentence for one in house.look()}
    assert told.keys() == {"job:nightly", "watch:daemon"}
    assert told["watch:daemon"].startswith("RuntimeError")
    monkeypatch.setattr(type(house.instance), "get_daemon_heartbeats", real)
    assert [(one.key, one.status) for one in house.look()] == [("watch:daemon", "closed")]


@pytest.fixture
def command(new_house: NewHouse) -> Any:
    house = new_house(
        'channels { post { email { spool = "../state/mail", sender = "a@example.org", '
        'recipients = ["b@example.org"] } }\n chat { slack { webhook = "secret://env/NO_SUCH_SECRET" } } }'
    )

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["alerts", *arguments])

    run.house = house  # type: ignore[attr-defined]
    return run


def test_the_command_notices_a_dead_daemon_without_it(command: Any, tmp_path: Path) -> None:
    house: House = command.house
    assert "Nobody has looked yet" in command("list").output
    ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    switch_on(house, "often")
    beat(house, ago)
    checked = command("check")
    assert "daemon:dagster" in checked.output
    assert checked.exit_code == 1  # the other channel's secret is not there
    assert "chat: secret://env/NO_SUCH_SECRET: the environment variable" in checked.output
    [mail] = (tmp_path / "state" / "mail").glob("*.eml")
    assert "Dagster's daemon does not run" in mail.read_text()
    listed = command("list")
    assert (listed.exit_code, "CRITICAL" in listed.output) == (0, True)
    beat(house, dt.datetime.now(dt.UTC))
    command("check")
    assert "Nothing fails." in command("list").output or "silence" in command("list").output
    assert "closed" in command("list", "--all").output


def test_the_incident_of_what_was_removed_is_closed_by_hand(command: Any) -> None:
    house: House = command.house
    house.error = PlatformError("It is gone.")
    house.run()
    command("check")
    wrong = command("close", "job:nightyl")
    assert (wrong.exit_code, "did you mean job:nightly?" in wrong.output) == (1, True)
    closed = command("close", "job:nightly")
    assert (closed.exit_code, closed.output) == (0, "The incident job:nightly is closed.\n")
    again = command("close", "job:nightly")
    assert (again.exit_code, "nothing fails" in again.output) == (1, True)
    assert "Nothing fails." in command("list").output
    assert house.look() == []


def test_a_channel_can_be_tried(command: Any, tmp_path: Path) -> None:
    tried = command("test", "post")
    assert (tried.exit_code, tried.output) == (0, "The channel post accepted the message.\n")
    [mail] = (tmp_path / "state" / "mail").glob("*.eml")
    assert "Test of the channel post" in mail.read_text()
    refused = command("test", "chat")
    assert (refused.exit_code, "NO_SUCH_SECRET is not set" in refused.output) == (1, True)
    unknown = command("test", "pots")
    assert (unknown.exit_code, "did you mean post?" in unknown.output) == (1, True)


def test_owners_name_channels_that_exist(new_house: NewHouse) -> None:
    with pytest.raises(SettingsError, match=r"alerts\.owners.*did you mean on-call"):
        new_house('channels.on-call { }\nowners { "data@example.org" = [oncall] }')


# Heartbeats


@pytest.fixture
def url(http_server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setenv("HEARTBEAT_URL", f"{http_server.url}/ping/the-hidden-part")
    return Secret.parse("secret://env/HEARTBEAT_URL")


def test_a_heartbeat_is_tried_again_and_then_told_without_its_address(
    url: Secret, http_server: HttpServer
) -> None:
    http_server.answers = [(503, "", {}), (200, "ok", {})]
    Heartbeat(url, method="POST").beat()
    assert http_server.paths == ["/ping/the-hidden-part"] * 2
    http_server.answers = [(503, "", {})] * 3
    with pytest.raises(AlertError, match="it answered 503") as error:
        Heartbeat(url, method="POST", attempts=3).beat()
    assert len(http_server.paths) == 5
    assert "hidden" not in str(error.value)
    http_server.answers = [(404, "", {})]
    with pytest.raises(AlertError, match="it answered 404"):
        Heartbeat(url, method="POST", attempts=3).beat()
    assert len(http_server.paths) == 6
    Heartbeat(url).beat()
    assert len(http_server.paths) == 7


def test_a_heartbeat_that_nobody_takes_fails_no_run(
    new_house: NewHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARTBEAT_URL", "http://127.0.0.1:9/hidden")
    house = new_house('heartbeat { url = "secret://env/HEARTBEAT_URL", file = "../state/alive" }')
    reason = house.room.beat()
    assert "did not take the sign of life: ConnectionError" in reason
    assert "hidden" not in reason


def test_the_sensor_beats_after_the_main_job_alone(new_house: NewHouse, tmp_path: Path) -> None:
    house = new_house('heartbeat { file = "../state/alive" }')
    sensor = build_defs(load_settings()).resolve_sensor_def("heartbeat")
    file = tmp_path / "state" / "alive"
    run_id = house.run()
    run = house.instance.get_run_by_id(run_id)
    assert run is not None
    for name, is_there in (("nightly", False), ("totesys_to_warehouse", True)):
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, name)
        context = dg.build_run_status_sensor_context(
            "heartbeat",
            event,
            house.instance,
            run.with_job_name(name) if hasattr(run, "with_job_name") else run._replace(job_name=name),
            resources={"alerts": house.room},
        )
        sensor(context)
        assert file.exists() == is_there
    assert abs(os.stat(file).st_mtime - dt.datetime.now(dt.UTC).timestamp()) < 600


def test_without_a_heartbeat_there_is_no_sensor_for_it(new_house: NewHouse) -> None:
    house = new_house("")
    names = [sensor.name for sensor in build_defs(house.settings).sensors or ()]
    assert "heartbeat" not in names
    assert "failed_runs" in names
    assert Kind.JOB == "job"
