"""The parts of dagster-aws and dagster-gcp in deploy/dagster, as Dagster itself loads them."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from platform_assets_tests.fixtures.gcs import GcsServer
from platform_assets_tests.fixtures.s3 import S3Server

PARTS = Path(__file__).parents[2] / "deploy" / "dagster"
pytest_plugins = ["platform_assets_tests.fixtures.gcs"]


@pytest.fixture
def on_aws(s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The environment of a task on AWS; the server takes the place of all services."""
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


@pytest.fixture
def daemon_task(on_aws: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The daemon as a task of ECS: it knows of itself by the address that ECS gives each task."""
    administrator = on_aws.limited("ecs:*", "ec2:*")
    ecs, ec2 = administrator.client("ecs"), administrator.client("ec2")
    cluster = ecs.create_cluster(clusterName=f"platform-{uuid.uuid4().hex[:8]}")["cluster"]["clusterArn"]
    container = {
        "name": "daemon",
        "image": "registry.example.org/platform:1",
        "memory": 512,
        "essential": True,
    }
    ecs.register_task_definition(
        family="platform-daemon",
        containerDefinitions=[container],
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        executionRoleArn="arn:aws:iam::123456789012:role/execution",
        taskRoleArn="arn:aws:iam::123456789012:role/runs",
    )
    subnet = ec2.describe_subnets()["Subnets"][0]
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    network = {"awsvpcConfiguration": {"subnets": [subnet["SubnetId"]], "securityGroups": [group]}}
    [task] = ecs.run_task(
        cluster=cluster,
        taskDefinition="platform-daemon",
        launchType="FARGATE",
        networkConfiguration=network,
    )["tasks"]

    class Metadata(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            about = {"Cluster": cluster, "TaskARN": task["taskArn"]}
            content = json.dumps(about if self.path.endswith("/task") else {"Name": "daemon"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    monkeypatch.setenv("ECS_CONTAINER_METADATA_URI_V4", f"http://127.0.0.1:{server.server_port}/v4/x")
    daemon = on_aws.limited(*DAEMON_MAY, "s3:*")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", daemon.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", daemon.secret_access_key)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    yield {"cluster": cluster, "subnet": subnet["SubnetId"], "group": group}
    server.shutdown()
    server.server_close()
    thread.join()
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


def test_a_run_is_launched_as_a_task_with_the_rights_that_the_page_names(
    on_aws: S3Server, daemon_task: dict[str, str], home: Path
) -> None:
    page = (PARTS.parents[1] / "docs" / "deploy_dagster_parts.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`((?:ecs|ec2|iam|logs):\w+)`", page)) == set(DAEMON_MAY)
    with opened("ecs.yaml", home) as instance:
        run = instance.create_run_for_job(
            talking,
            job_code_origin=JobPythonOrigin(
                "talking",
                RepositoryPythonOrigin(
                    sys.executable,
                    ModuleCodePointer("platform_assets.definitions", "defs"),
                    "registry.example.org/platform:1",
                ),
            ),
            remote_job_origin=RemoteJobOrigin(
                RemoteRepositoryOrigin(
                    GrpcServerCodeLocationOrigin("code-location", 4000, location_name="platform_assets"),
                    "__repository__",
                ),
                "talking",
            ),
            tags={"platform_assets/exclusive": "lake", "ecs/cpu": "2048", "ecs/memory": "8192"},
        )
        launcher = instance.run_launcher
        launcher.launch_run(LaunchRunContext(run, workspace=None))
        tags = instance.get_run_by_id(run.run_id).tags  # type: ignore[union-attr]
        health = launcher.check_run_worker_health(instance.get_run_by_id(run.run_id))  # type: ignore[arg-type]
        assert health.status in (WorkerStatus.RUNNING, WorkerStatus.UNKNOWN)
        ecs = on_aws.limited("ecs:*").client("ecs")
        [task] = ecs.describe_tasks(
            cluster=tags["ecs/cluster"], tasks=[tags["ecs/task_arn"]], include=["TAGS"]
        )["tasks"]
        assert task["clusterArn"] == daemon_task["cluster"]
        [override] = task["overrides"]["containerOverrides"]
        assert "execute_run" in override["command"]
        # The run's own tags ask for more than run_resources does.
        assert (override["cpu"], override["memory"]) == (2048, 8192)
        given = {one["key"]: one["value"] for one in task["tags"]}
        assert given["application"] == "platform_assets"
        assert given["platform_assets/exclusive"] == "lake"
        assert given["dagster/run_id"] == run.run_id
        assert launcher.terminate(run.run_id)


DAEMON_MAY = (
    *("ecs:RunTask", "ecs:DescribeTasks", "ecs:StopTask", "ecs:DescribeTaskDefinition"),
    *("ecs:RegisterTaskDefinition", "ecs:TagResource", "ec2:DescribeNetworkInterfaces", "logs:GetLogEvents"),
    "iam:PassRole",
)
"""The rights of the daemon's role, as docs/deploy_dagster_parts.md lists them."""
