"""The dagster.yaml of production with a real PostgreSQL, and its copies with launchers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef

from platform_assets.runs import instance_state, open_instance
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.integration.installation import ROOT

DEPLOY = ROOT / "deploy"
COPIES = {
    "WorkersRunLauncher": DEPLOY / "celery" / "dagster.yaml",
    "K8sRunLauncher": DEPLOY / "kubernetes" / "base" / "dagster.yaml",
}


def content(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text())
    return found


@pytest.mark.parametrize("launcher", list(COPIES))
def test_instances_differ_in_their_launcher_only(launcher: str) -> None:
    copy, default = content(COPIES[launcher]), content(DEPLOY / "dagster.yaml")
    assert copy.pop("run_launcher")["class"] == launcher
    # The default launcher cannot resume runs.
    assert copy["run_monitoring"].pop("max_resume_run_attempts") == 2
    assert default["run_monitoring"].pop("max_resume_run_attempts") == 0
    assert copy == default


@pytest.mark.parametrize("file", [DEPLOY / "dagster.yaml", COPIES["WorkersRunLauncher"]])
def test_runs_events_and_places_in_pools_are_kept_in_postgresql(
    file: Path, new_database: NewDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = new_database().owner
    shutil.copy(file, tmp_path / "dagster.yaml")
    text = (tmp_path / "dagster.yaml").read_text().replace("port: 5432", f"port: {owner.port}")
    (tmp_path / "dagster.yaml").write_text(text)
    for name, value in {
        "DAGSTER_PG_HOST": owner.host,
        "DAGSTER_PG_USER": owner.user,
        "DAGSTER_PG_PASSWORD": owner.password,
        "DAGSTER_PG_DATABASE": owner.database,
        "CELERY_BROKER_URL": "redis://:secret@127.0.0.1:6379/0",
    }.items():
        monkeypatch.setenv(name, value)

    @dg.asset(pool="warehouse/warehouse")
    def table() -> int:
        return 1

    with open_instance(tmp_path) as instance:
        assert dg.materialize([table], instance=instance).success
        state = instance_state(instance, [])
        assert (state.is_local, state.needs_migration) == (False, False)
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        storage = instance.event_log_storage
        limits = {pool.name: pool.limit for pool in storage.get_pool_limits()}
        assert limits == {"warehouse/warehouse": 1}
        assert storage.claim_concurrency_slot("warehouse/warehouse", "one", "load").is_claimed
        assert not storage.claim_concurrency_slot("warehouse/warehouse", "two", "load").is_claimed
        storage.free_concurrency_slots_for_run("one")
        assert storage.claim_concurrency_slot("warehouse/warehouse", "two", "load").is_claimed
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert [limit["key"] for limit in queue.tag_concurrency_limits] == [
            "platform_assets/exclusive",
            "platform_assets/objects",
        ]
        if file.parent.name == "celery":
            assert type(instance.run_launcher).__name__ == "WorkersRunLauncher"
            assert instance.run_monitoring_max_resume_run_attempts == 2
    # Another process finds the same.
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as again:
        assert again.get_runs_count() == 1
        assert again.get_latest_materialization_event(table.key) is not None
