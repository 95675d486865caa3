"""The job that watches and its sensor, in the platform's own code location and its shipped configuration."""

import json
from email import message_from_bytes, policy
from pathlib import Path

import dagster as dg
import pytest

from platform_assets.build import build_defs
from platform_assets.errors import PlatformError
from platform_assets.runs import open_instance, run_job
from platform_assets.settings import dagster_home, load_settings
from platform_assets_tests.alerts.house import House
from platform_assets_tests.alerts.test_alert import alert

PROJECT = Path(__file__).parents[2]


def subjects(folder: Path) -> list[str]:
    files = sorted(folder.glob("*.eml"))
    return sorted(
        str(message_from_bytes(file.read_bytes(), policy=policy.default)["Subject"]) for file in files
    )


def test_a_newcomer_finds_a_message_about_a_failed_run_and_its_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PLATFORM_CONFIG", str(PROJECT / "config" / "platform.conf"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    settings = load_settings()
    spool = tmp_path / "state" / "mail" / "operators"
    defs = build_defs(settings)
    with open_instance(dagster_home(settings)) as instance:
        house = House(settings, instance)
        house.error = PlatformError("The source does not answer.")
        run = instance.get_run_by_id(house.run())
        assert run is not None
        event = next(
            log.dagster_event
            for log in instance.all_logs(run.run_id)
            if log.dagster_event and log.dagster_event.event_type == dg.DagsterEventType.RUN_FAILURE
        )
        sensor = defs.resolve_sensor_def("failed_runs")
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        context = dg.build_run_status_sensor_context(
            "failed_runs", event, instance, run, resources={"alerts": house.room}
        )
        sensor(context.for_run_failure())
        assert subjects(spool) == ["[ERROR] The job nightly fails"]
        house.error = None
        house.run()
        job = defs.resolve_job_def("deliver_alerts")
        assert run_job(job, instance, lambda line: None).succeeded
        assert subjects(spool) == ["[ERROR] The job nightly fails", "[INFO] Recovered: The job nightly fails"]


def test_what_is_due_is_sent_although_the_watch_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PLATFORM_CONFIG", str(PROJECT / "config" / "platform.conf"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    settings = load_settings()
    # A table that no version of Delta can read.
    broken = tmp_path / "state" / "lake" / "processed" / "alerts" / "incidents" / "_delta_log"
    broken.mkdir(parents=True)
    (broken / f"{0:020}.json").write_text(json.dumps({"protocol": "?"}))
    with open_instance(dagster_home(settings)) as instance:
        room = House(settings, instance).room
        room.raise_alerts([alert()])
        done = run_job(build_defs(settings).resolve_job_def("deliver_alerts"), instance, lambda line: None)
    assert not done.succeeded
    assert done.failures[0].startswith("The watch failed: ")
    assert len(subjects(tmp_path / "state" / "mail" / "operators")) == 1
