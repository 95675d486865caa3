"""The profiles for many machines are valid, and refuse what machines cannot share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from platform_assets.build import MAIN_JOB, build_defs
from platform_assets.errors import SettingsError
from platform_assets.settings import load_settings
from platform_assets_tests.integration.installation import ROOT

PLACES = {
    "LAKE_INGESTION": "s3://example-ingestion/lake",
    "LAKE_PROCESSED": "s3://example-processed/lake",
    "UPLOADS_PLACE": "s3://example-uploads",
    "AWS_REGION": "eu-west-2",
    "GOOGLE_CLOUD_PROJECT": "example",
    "TOTESYS_HOST": "totesys.example.org",
    "TOTESYS_DATABASE": "totesys",
    "TOTESYS_USER": "platform",
    "WAREHOUSE_HOST": "warehouse.example.org",
    "WAREHOUSE_DATABASE": "warehouse",
    "WAREHOUSE_USER": "platform",
}
OF_AWS = {
    "TOTESYS_SECRET": "platform/totesys",
    "WAREHOUSE_SECRET": "platform/warehouse",
    "DLP_KEY_SECRET": "platform/dlp",
    "ALERTS_TOPIC": "arn:aws:sns:eu-west-2:111122223333:alerts",
}


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of an installation."""
    for name, value in {**PLACES, **OF_AWS}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("profile", ["aws", "gcp", "celery", "kubernetes"])
def test_a_profile_is_valid_and_its_main_job_can_be_made(profile: str) -> None:
    settings = load_settings(ROOT / "config" / f"{profile}.conf")
    assert settings.platform.machines == "many"
    job = build_defs(settings).resolve_job_def(MAIN_JOB)
    assert job.executor_def.name == ("celery" if profile == "celery" else "in_process")


@pytest.mark.usefixtures("places")
def test_runs_and_steps_of_the_celery_profile_go_to_the_queues_of_their_work() -> None:
    defs = build_defs(load_settings(ROOT / "config" / "celery.conf"))
    queue = "dagster-celery/queue"
    steps = {
        node.name: node.definition.tags.get(queue, "transformation")
        for node in defs.resolve_job_def(MAIN_JOB).nodes
    }
    assert steps == {
        "totesys": "extraction",
        "totesys_checks": "transformation",
        "totesys_schema": "transformation",
        "star": "transformation",
        "star_checks": "transformation",
        "warehouse": "loads",
        "warehouse_checks": "loads",
    }
    runs = {
        name: defs.resolve_job_def(name).run_tags.get(queue)
        for name in ("inspect_uploads", "totesys_verification", "snowflake_load", "lake_upkeep", MAIN_JOB)
    }
    assert runs == {
        "inspect_uploads": "inspection",
        "totesys_verification": "extraction",
        "snowflake_load": "loads",
        "lake_upkeep": None,
        MAIN_JOB: None,
    }
    pools = {node.name: node.definition.pools for node in defs.resolve_job_def(MAIN_JOB).nodes}
    assert pools["totesys"] == {"source/totesys"}
    assert pools["warehouse"] == {"warehouse/warehouse"}
    # The schedule and the sensor start the same jobs.
    assert defs.resolve_schedule_def(f"{MAIN_JOB}_schedule").job.executor_def.name == "celery"
    assert defs.resolve_sensor_def("uploads_objects").job.run_tags[queue] == "inspection"


def test_a_job_with_a_role_runs_under_it_on_ecs_and_no_other_job_does(tmp_path: Path) -> None:
    role = "arn:aws:iam::123456789012:role/platform-upkeep"
    config = tmp_path / "platform.conf"
    config.write_text(
        f'include file("{ROOT / "config" / "platform.conf"}")\nworkers.jobs.lake_upkeep.aws_role = "{role}"\n'
    )
    defs = build_defs(load_settings(config))
    tag = "ecs/task_overrides"
    assert json.loads(defs.resolve_job_def("lake_upkeep").run_tags[tag]) == {"taskRoleArn": role}
    assert tag not in defs.resolve_job_def(MAIN_JOB).run_tags
    config.write_text(config.read_text().replace(role, "platform-upkeep"))
    with pytest.raises(SettingsError, match=r"workers\.jobs\.lake_upkeep\.aws_role"):
        load_settings(config)


def test_many_machines_refuse_what_they_cannot_share(tmp_path: Path) -> None:
    file = tmp_path / "platform.conf"
    file.write_text(
        f'include file("{ROOT / "config" / "platform.conf"}")\nmachines = many\nstate_dir = "state"\n'
        'workers.jobs.totesys_to_warehouse { steps = celery, queue = "loads" }\n'
    )
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    told = str(caught.value)
    for part in (
        "warehouse.engine: found duckdb; expected postgres, snowflake or bigquery: with machines = many, a "
        "DuckDB file cannot be shared",
        "sources.totesys.embedded: found true",
        "dlp.key: found nothing; expected a key that all machines have",
        "workers.jobs.totesys_to_warehouse.steps: found celery; expected run",
        "workers.jobs.totesys_to_warehouse.queue: found loads; expected nothing",
    ):
        assert part in told
