"""The code location as a whole: runs that lost their process, and what a run of the main job reports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from platform_assets.build import MAIN_JOB, build_defs, fail_abandoned_runs, open_instance
from platform_assets.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The default settings with all state in a temporary folder."""
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("LAKE_INGESTION", str(tmp_path / "ingestion"))
    monkeypatch.setenv("LAKE_PROCESSED", str(tmp_path / "processed"))
    monkeypatch.setenv("WAREHOUSE_PATH", str(tmp_path / "warehouse.duckdb"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return load_settings()


def _started_run(settings: Settings, pid: int) -> str:
    job = build_defs(settings).resolve_job_def(MAIN_JOB)
    with open_instance(settings) as instance:
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        event = dg.DagsterEvent(
            event_type_value="ENGINE_EVENT",
            job_name=MAIN_JOB,
            message="Executing steps in process",
            event_specific_data=EngineEventData.in_process(pid),
            pid=pid,
        )
        instance.report_dagster_event(event, run.run_id)
        return run.run_id


def _status(settings: Settings, run_id: str) -> dg.DagsterRunStatus:
    with open_instance(settings) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        return run.status


def test_a_run_whose_process_is_gone_is_marked_as_failed(settings: Settings) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    run_id = _started_run(settings, process.pid)
    assert fail_abandoned_runs(settings) == [run_id]
    assert _status(settings, run_id) == dg.DagsterRunStatus.FAILURE
    assert fail_abandoned_runs(settings) == []


def test_a_run_whose_process_is_alive_is_left_alone(settings: Settings) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        run_id = _started_run(settings, process.pid)
        assert fail_abandoned_runs(settings) == []
        assert _status(settings, run_id) == dg.DagsterRunStatus.STARTED


def test_a_run_whose_process_number_is_another_programs_by_now_is_failed(settings: Settings) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            run_id = _started_run(settings, process.pid)
            assert fail_abandoned_runs(settings) == [run_id]
        finally:
            process.kill()


def test_the_folder_of_dagsters_state_is_made_with_the_projects_configuration(settings: Settings) -> None:
    with open_instance(settings) as instance:
        assert not instance.telemetry_enabled
    assert (settings.state_dir / "dagster" / "dagster.yaml").is_file()
