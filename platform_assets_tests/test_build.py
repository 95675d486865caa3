"""The code location as a whole: runs that lost their process, and what a run of the main job reports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from platform_assets.build import MAIN_JOB, build_defs
from platform_assets.configuration.secrets import Secret
from platform_assets.dagster_internals import LOCATION
from platform_assets.runs import fail_abandoned_runs
from platform_assets.settings import Settings, dagster_home, load_settings
from platform_assets.source.settings import ConnectionSettings
from platform_assets_tests.fixtures.house import instance_of, keys_of, run_of, with_keys


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
    with instance_of(settings) as instance:
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
    with instance_of(settings) as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        return run.status


def test_a_run_whose_process_is_gone_is_marked_as_failed(settings: Settings) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    run_id = _started_run(settings, process.pid)
    assert fail_abandoned_runs(dagster_home(settings)) == [run_id]
    assert _status(settings, run_id) == dg.DagsterRunStatus.FAILURE
    assert fail_abandoned_runs(dagster_home(settings)) == []


def test_a_run_whose_process_is_alive_is_left_alone(settings: Settings) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        run_id = _started_run(settings, process.pid)
        assert fail_abandoned_runs(dagster_home(settings)) == []
        assert _status(settings, run_id) == dg.DagsterRunStatus.STARTED


def test_a_run_whose_process_number_is_another_programs_by_now_is_failed(settings: Settings) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            run_id = _started_run(settings, process.pid)
            assert fail_abandoned_runs(dagster_home(settings)) == [run_id]
        finally:
            process.kill()


def test_the_folder_of_dagsters_state_is_made_with_the_projects_configuration(settings: Settings) -> None:
    with instance_of(settings) as instance:
        assert not instance.telemetry_enabled
    assert (settings.platform.state_dir / "dagster" / "dagster.yaml").is_file()


def _unreachable(settings: Settings) -> Settings:
    """The same, with a source that no run can reach: a run of it ends soon."""
    sources = keys_of(settings).sources
    totesys = sources.totesys.model_copy(
        update={
            "embedded": False,
            "connection": ConnectionSettings(
                host="127.0.0.1", port=1, database="d", user="u", password=Secret("secret://env/HOME")
            ),
        }
    )
    return with_keys(settings, sources=sources.model_copy(update={"totesys": totesys}))


def test_a_run_of_the_command_is_on_its_jobs_page_and_on_the_timeline(settings: Settings) -> None:
    done = run_of(_unreachable(settings), MAIN_JOB)
    assert not done.succeeded
    assert "127.0.0.1" in done.failures[0]
    with instance_of(settings) as instance:
        # The filter of a job's page; the timeline groups by the origin.
        listed = instance.get_runs(
            filters=dg.RunsFilter(
                job_name=MAIN_JOB, tags={".dagster/repository": "__repository__@platform_assets"}
            )
        )
    assert [run.run_id for run in listed] == [done.run_id]
    assert listed[0].remote_job_origin is not None
    assert listed[0].remote_job_origin.repository_origin.get_label() == "__repository__@platform_assets"


def test_a_run_that_dagsters_own_command_started_is_there_too(settings: Settings) -> None:
    unreachable = _unreachable(settings)
    job = build_defs(unreachable).resolve_job_def(MAIN_JOB)
    with instance_of(settings) as instance:
        run_id = job.execute_in_process(instance=instance, raise_on_error=False).run_id
        listed = instance.get_runs(
            filters=dg.RunsFilter(tags={".dagster/repository": "__repository__@platform_assets"})
        )
    assert [run.run_id for run in listed] == [run_id]
    assert listed[0].status == dg.DagsterRunStatus.FAILURE
    assert listed[0].remote_job_origin is not None
    assert listed[0].tags["dagster/code_location"] == "platform_assets"


def test_the_code_location_has_the_name_that_runs_are_listed_under() -> None:
    root = Path(__file__).parents[1]
    workspace = (root / "workspace.yaml").read_text()
    assert f"location_name: {LOCATION}\n" in workspace
    assert f'code_location_name = "{LOCATION}"\n' in (root / "pyproject.toml").read_text()
