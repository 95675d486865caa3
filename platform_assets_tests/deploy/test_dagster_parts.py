"""The parts of dagster-aws and dagster-gcp in deploy/dagster, as Dagster itself loads them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from platform_assets_tests.fixtures.gcs import GcsServer
from platform_assets_tests.fixtures.s3 import S3Server

PARTS = Path(__file__).parents[2] / "deploy" / "dagster"
pytest_plugins = ["platform_assets_tests.fixtures.gcs"]


@pytest.fixture
def on_aws(s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """What the environment of a task on AWS has; the server takes the place of all services."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server.endpoint_url,
        "AWS_REGION": s3_server.region,
        "AWS_DEFAULT_REGION": s3_server.region,
        "AWS_ACCESS_KEY_ID": s3_server.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_access_key,
        "DAGSTER_LOGS_BUCKET": s3_bucket,
    }.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def on_google(gcs_server: GcsServer, gcs_bucket: str, monkeypatch: pytest.MonkeyPatch) -> GcsServer:
    """A machine on Google Cloud; the emulator asks for no credentials."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.endpoint_url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "platform")
    monkeypatch.setenv("DAGSTER_LOGS_BUCKET", gcs_bucket)
    return gcs_server


def opened(name: str, home: Path) -> dg.DagsterInstance:
    """The instance that Dagster makes of a part, whose logs are kept below a test's own folder."""
    home.mkdir()
    text = (PARTS / name).read_text(encoding="utf-8")
    text = text.replace("/tmp/dagster-compute-logs", str(home / "staged"))
    (home / "dagster.yaml").write_text(text + "\ntelemetry: {enabled: false}\n", encoding="utf-8")
    return dg.DagsterInstance.from_config(str(home))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    shutil.rmtree(tmp_path / "home", ignore_errors=True)


@dg.op
def talkative() -> None:
    print("one line of a step")  # noqa: T201
    print("one line of its errors", file=sys.stderr)  # noqa: T201


@dg.job(executor_def=dg.in_process_executor)
def talking() -> None:
    talkative()


def logs_of_a_run(instance: dg.DagsterInstance, home: Path) -> tuple[str, str]:
    """Run a job, remove what is on this machine, and read its logs as the UI does."""
    result = talking.execute_in_process(instance=instance)
    [captured] = [
        record.dagster_event.logs_captured_data
        for record in instance.all_logs(result.run_id)
        if record.dagster_event and record.dagster_event.event_type_value == "LOGS_CAPTURED"
    ]
    shutil.rmtree(home / "staged")
    data = instance.compute_log_manager.get_log_data([result.run_id, "compute_logs", captured.file_key])
    return (data.stdout or b"").decode(), (data.stderr or b"").decode()


def test_what_steps_print_is_written_to_s3_and_read_from_there(
    on_aws: S3Server, s3_bucket: str, home: Path
) -> None:
    with opened("ecs.yaml", home) as instance:
        assert type(instance.compute_log_manager).__name__ == "S3ComputeLogManager"
        stdout, stderr = logs_of_a_run(instance, home)
    assert stdout == "one line of a step\n"
    assert "one line of its errors" in stderr
    kept = [key for key in on_aws.keys(s3_bucket) if key.endswith(".out")]
    assert len(kept) == 1
    assert kept[0].startswith("dagster/storage/")
    encryption = on_aws.client().head_object(Bucket=s3_bucket, Key=kept[0])["ServerSideEncryption"]
    assert encryption == "aws:kms"


def test_what_steps_print_is_written_to_google_and_read_from_there(
    on_google: GcsServer, gcs_bucket: str, home: Path
) -> None:
    with opened("gcs.yaml", home) as instance:
        assert type(instance.compute_log_manager).__name__ == "GCSComputeLogManager"
        stdout, stderr = logs_of_a_run(instance, home)
    assert stdout == "one line of a step\n"
    assert "one line of its errors" in stderr
    kept = [blob.name for blob in on_google.client().list_blobs(gcs_bucket)]
    assert sorted(Path(name).suffix for name in kept) == [".err", ".out"]
    assert all(name.startswith("dagster/storage/") for name in kept)


def test_each_run_is_a_task_of_ecs_that_is_made_like_the_daemons(on_aws: S3Server, home: Path) -> None:
    with opened("ecs.yaml", home) as instance:
        launcher = instance.run_launcher
        assert type(launcher).__name__ == "EcsRunLauncher"
        assert launcher.use_current_ecs_task_config
        assert launcher.run_resources == {"cpu": "1024", "memory": "4096", "ephemeral_storage": 50}
        # None of the account's secrets become variables of a run.
        assert (launcher.secrets, launcher.secrets_tags) == ([], [])
        assert launcher.supports_resume_run
        assert launcher.supports_check_run_worker_health
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_resume_run_attempts == 1


@pytest.mark.parametrize("name", ["ecs.yaml", "gcs.yaml"])
def test_a_key_that_a_part_does_not_know_is_refused(
    name: str, on_aws: S3Server, on_google: GcsServer, home: Path
) -> None:
    opened(name, home).dispose()
    written = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8"))
    written["compute_logs"]["config"]["upload_intervall"] = 30
    (home / "dagster.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    with pytest.raises(dg.DagsterInvalidConfigError, match="upload_intervall"):
        dg.DagsterInstance.from_config(str(home)).compute_log_manager  # noqa: B018 - it is made when it is asked for
