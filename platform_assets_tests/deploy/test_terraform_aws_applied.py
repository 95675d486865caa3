"""deploy/terraform/aws applied to a local AWS: a clean second plan, components under their roles, alarms."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from platform_assets_tests.fixtures.aws import ACCOUNT, Aws, Caller, prepared, running_aws
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.s3 import REGION
from platform_assets_tests.fixtures.terraform import ROOT, Terraform, copied
from platform_assets_tests.fixtures.totesys import Totesys

pytestmark = pytest.mark.soak

ROLES = (
    "extraction",
    "transformation",
    "inspection",
    "loads",
    "delivery",
    "upkeep",
    "run",
    "code-location",
    "webserver",
    "daemon",
)


@dataclasses.dataclass(frozen=True)
class Applied:
    """The applied resources, and those who may use them.

    Attributes:
        aws: The server.
        terraform: The configuration.
        outputs: Its outputs.
        plan: What a second plan said.
        callers: Somebody in each role.
        totesys: The source.
        environment: Environment variables of every process, without credentials.
        logged: Lines that components have logged, by role.
    """

    aws: Aws
    terraform: Terraform
    outputs: dict[str, Any]
    plan: str
    callers: Mapping[str, Caller]
    totesys: Totesys
    environment: dict[str, str]
    logged: dict[str, list[str]] = dataclasses.field(default_factory=lambda: defaultdict(list))

    def run(self, role: str, *arguments: str) -> dict[str, Any]:
        """Run a component as somebody in a role; see `component`."""
        command = [sys.executable, "-m", f"{__package__}.component", *arguments]
        environment = self.environment | self.callers[role].environment
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr[-6000:]
        self.logged[role] += done.stderr.splitlines()
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory, new_module_database: NewDatabase) -> Iterator[Applied]:
    terraform = copied(tmp_path_factory.mktemp("aws"), "aws", "aws")
    variables = terraform.folder / "terraform.tfvars.example"
    with running_aws() as aws:
        terraform = prepared(terraform, aws, variables)
        terraform.run("apply", "-auto-approve", "-input=false", "-no-color")
        plan = terraform.run("plan", "-input=false", "-no-color")
        outputs = terraform.outputs()
        totesys = Totesys.with_rows(new_module_database())
        environment = _environment(outputs, totesys, new_module_database(), aws, tmp_path_factory)
        callers = {role: aws.caller(outputs["roles"][role]) for role in ROLES}
        aws.check_everybody()
        yield Applied(aws, terraform, outputs, plan, callers, totesys, environment)
        aws.check_everybody(switch=False)


def _environment(
    outputs: dict[str, Any],
    totesys: Totesys,
    warehouse: Any,
    aws: Aws,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """The environment of the tasks, with servers and passwords that are there."""
    secrets, reader, owner = aws.client("secretsmanager"), totesys.database.reader, warehouse.owner
    secrets.put_secret_value(
        SecretId=outputs["secrets"]["totesys"], SecretString=json.dumps({"password": reader.password})
    )
    secrets.put_secret_value(
        SecretId=outputs["secrets"]["dlp-key"], SecretString="00112233445566778899aabbccddeeff" * 2
    )
    secrets.put_secret_value(
        SecretId=outputs["database_secrets"]["warehouse"],
        SecretString=json.dumps({"username": owner.user, "password": owner.password}),
    )
    state = tmp_path_factory.mktemp("state")
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        **outputs["environment"],
        "HOME": str(state),
        "PLATFORM_CONFIG": str(ROOT / "config" / "aws.conf"),
        "PLATFORM_STATE_DIR": str(state),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "LOG_FORMAT": "json",
        "TOTESYS_HOST": reader.host,
        "TOTESYS_PORT": str(reader.port),
        "TOTESYS_DATABASE": reader.database,
        "TOTESYS_USER": reader.user,
        "TOTESYS_SSLMODE": "disable",
        "WAREHOUSE_HOST": owner.host,
        "WAREHOUSE_PORT": str(owner.port),
        "WAREHOUSE_DATABASE": owner.database,
        "WAREHOUSE_USER": owner.user,
        "WAREHOUSE_SSLMODE": "disable",
    }


def test_a_second_plan_changes_nothing(applied: Applied) -> None:
    assert "No changes. Your infrastructure matches the configuration." in applied.plan


def test_no_password_of_a_database_is_in_the_state(applied: Applied) -> None:
    state = (applied.terraform.folder / "terraform.tfstate").read_text()
    found = json.loads(state)
    servers = [one for one in found["resources"] if one["type"] == "aws_db_instance"]
    assert len(servers) == 2
    assert {server["instances"][0]["attributes"]["password"] for server in servers} == {None}
    versions = [
        one
        for one in found["resources"]
        if one["mode"] == "managed" and one["type"] == "aws_secretsmanager_secret_version"
    ]
    assert {version["instances"][0]["attributes"]["secret_string"] for version in versions} <= {None, ""}


def test_each_component_does_its_work_under_its_role(applied: Applied) -> None:
    main = "totesys_to_warehouse"
    assert applied.run("extraction", main, "totesys")["failures"] == []
    assert applied.run("transformation", main, "star")["failures"] == []
    assert applied.run("loads", main, "warehouse")["failures"] == []
    uploads = applied.outputs["buckets"]["uploads"]
    applied.aws.check_everybody(switch=False)
    applied.aws.client("s3").put_object(
        Bucket=uploads, Key="list.csv", Body=b"name,note\nx," + os.urandom(4).hex().encode()
    )
    applied.aws.check_everybody()
    assert applied.run("code-location", "sensor", "uploads_objects") == {"success": True, "runs": 1}
    assert applied.run("inspection", "inspect_uploads")["failures"] == []
    assert applied.run("inspection", "inspect_columns")["failures"] == []
    assert applied.run("delivery", "delivery_daily_sales")["failures"] == []
    assert applied.run("upkeep", "lake_upkeep")["failures"] == []
    # The whole main job, as a run of it has it.
    applied.totesys.update("staff", 1, first_name="Renamed")
    assert applied.run("run", main)["failures"] == []


@pytest.mark.parametrize(
    ("role", "arguments"),
    [
        ("transformation", ("totesys_to_warehouse", "totesys")),
        ("loads", ("totesys_to_warehouse", "star")),
        ("extraction", ("totesys_to_warehouse", "star")),
        ("extraction", ("inspect_uploads", "")),
        ("loads", ("lake_upkeep", "")),
    ],
)
def test_a_component_fails_under_the_role_of_another(
    applied: Applied, role: str, arguments: tuple[str, ...]
) -> None:
    if arguments[0] == "totesys_to_warehouse":
        # Something to write; whoever finds nothing to do is refused nothing.
        applied.totesys.update("staff", 1, last_name=f"{role}-{arguments[1]}")
    if arguments[1] == "star":
        assert applied.run("extraction", arguments[0], "totesys")["success"]
    found = applied.run(role, *arguments)
    assert not found["success"]


Calls = dict[str, Callable[[], Any]]


def calls(applied: Applied, caller: Caller) -> Calls:
    """Every kind of call, to everything that there is, by the name of what it does to what."""
    outputs, made = applied.outputs, {}
    s3, secrets, sqs = caller.client("s3"), caller.client("secretsmanager"), caller.client("sqs")
    sns, ecs, iam, kms = (caller.client(name) for name in ("sns", "ecs", "iam", "kms"))
    logs, rds, ec2, sts = (caller.client(name) for name in ("logs", "rds", "ec2", "sts"))
    queue, topic, cluster = outputs["uploads_queue_url"], outputs["alarm_topic"], outputs["cluster"]
    for use, bucket in outputs["buckets"].items():
        at = {"Bucket": bucket, "Key": "tried/object"}
        made |= {
            f"list {use}": lambda bucket=bucket: s3.list_objects_v2(Bucket=bucket),
            f"read {use}": lambda at=at: s3.get_object(**at),
            f"write {use}": lambda at=at: s3.put_object(**at, Body=b"x"),
            f"delete {use}": lambda bucket=bucket: s3.delete_object(Bucket=bucket, Key="nothing"),
            f"tag {use}": lambda at=at: s3.put_object_tagging(**at, Tagging={"TagSet": []}),
            f"policy {use}": lambda bucket=bucket: s3.delete_bucket_policy(Bucket=bucket),
            f"lifecycle {use}": lambda bucket=bucket: s3.delete_bucket_lifecycle(Bucket=bucket),
            f"remove {use}": lambda bucket=bucket: s3.delete_bucket(Bucket=bucket),
        }
    for name in (*outputs["secrets"].values(), *outputs["database_secrets"].values(), "platform-oidc"):
        made |= {
            f"secret {name}": lambda name=name: secrets.get_secret_value(SecretId=name),
            f"change secret {name}": lambda name=name: secrets.put_secret_value(
                SecretId=name, SecretString="{}"
            ),
            f"remove secret {name}": lambda name=name: secrets.delete_secret(SecretId=name),
        }
    for name, role in outputs["roles"].items():
        made[f"start a run as {name}"] = lambda role=role: ecs.run_task(
            cluster=cluster,
            taskDefinition="platform-run",
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": outputs["run_network"]["subnets"]}},
            overrides={"taskRoleArn": role},
        )
        made[f"assume {name}"] = lambda role=role: sts.assume_role(RoleArn=role, RoleSessionName="other")
    task = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{cluster}/0123456789abcdef0123456789abcdef"
    foreign = task.replace(f"task/{cluster}", "task/other")
    return made | {
        "receive uploads": lambda: sqs.receive_message(QueueUrl=queue),
        "send to uploads": lambda: sqs.send_message(QueueUrl=queue, MessageBody="x"),
        "purge uploads": lambda: sqs.purge_queue(QueueUrl=queue),
        "count uploads": lambda: sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"]),
        "publish": lambda: sns.publish(TopicArn=topic, Message="x"),
        "subscribe": lambda: sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.org"),
        "see a task": lambda: ecs.describe_tasks(cluster=cluster, tasks=[task]),
        "end a task": lambda: ecs.stop_task(cluster=cluster, task=task),
        "end a task of others": lambda: ecs.stop_task(cluster="other", task=foreign),
        "see a definition": lambda: ecs.describe_task_definition(taskDefinition="platform-run"),
        "make a definition": lambda: ecs.register_task_definition(family="x", containerDefinitions=[]),
        "end a service": lambda: ecs.update_service(cluster=cluster, service="daemon", desiredCount=0),
        "make a role": lambda: iam.create_role(RoleName="x", AssumeRolePolicyDocument="{}"),
        "make a key": lambda: iam.create_access_key(UserName="x"),
        "make a key of KMS": kms.create_key,
        "read a log": lambda: logs.get_log_events(logGroupName="/platform/runs", logStreamName="x"),
        "remove a log": lambda: logs.delete_log_group(logGroupName="/platform/runs"),
        "see databases": rds.describe_db_instances,
        "remove a database": lambda: rds.delete_db_instance(DBInstanceIdentifier="platform-dagster"),
        "see machines": ec2.describe_instances,
    }


_RUNS = {
    f"start a run as {one}"
    for one in ("extraction", "transformation", "inspection", "loads", "delivery", "upkeep", "run")
}
_WATCH = {"list runs", "read runs", "see a task", "end a task", "see a definition"}
_WAREHOUSE, _KEY, _TOTESYS = (
    "secret platform-warehouse/database",
    "secret platform/dlp-key",
    "secret platform/totesys",
)
_QUEUE = {"receive uploads", "count uploads"}
MAY: dict[str, set[str]] = {
    "extraction": {"list ingestion", "read ingestion", "write ingestion", "write runs", _TOTESYS},
    "transformation": {
        *("list ingestion", "read ingestion", "list processed", "read processed", "write processed"),
        "write runs",
    },
    "inspection": {
        *("list uploads", "read uploads", "tag uploads", "list ingestion", "read ingestion"),
        *("list processed", "read processed", "write processed", "write runs"),
        *(_KEY, "secret platform/smtp", "publish", _WAREHOUSE, *_QUEUE),
    },
    # Of ingestion it lists and reads the ledger alone; moto does not know prefixes of lists.
    "loads": {"list processed", "read processed", "list ingestion", "write runs", _WAREHOUSE, _KEY},
    "delivery": {
        *("list processed", "read processed", "write processed", "write runs"),
        *(_KEY, "secret platform/smtp", "publish"),
    },
    "upkeep": {
        *("list ingestion", "read ingestion", "write ingestion", "delete ingestion"),
        *("list processed", "read processed", "write processed", "delete processed", "write runs"),
        _WAREHOUSE,
    },
    "run": {
        *("list ingestion", "read ingestion", "write ingestion", "list processed", "read processed"),
        *("write processed", "write runs", _TOTESYS, _WAREHOUSE, _KEY),
    },
    "code-location": {
        *("list uploads", "read uploads", "list ingestion", "read ingestion", "list processed"),
        *("read processed", "write processed", "secret platform/smtp", "publish", *_QUEUE),
    },
    "webserver": _WATCH,
    "daemon": {*_WATCH, *_RUNS, "read a log"},
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_it_needs_and_is_refused_everything_else(applied: Applied, role: str) -> None:
    applied.aws.check_everybody(switch=False)
    for bucket in applied.outputs["buckets"].values():
        applied.aws.client("s3").put_object(Bucket=bucket, Key="tried/object", Body=b"x")
    applied.aws.check_everybody()
    allowed = set()
    made = calls(applied, applied.callers[role])
    for name, call in made.items():
        try:
            call()
        except ClientError as error:
            # Whatever else fails was let through.
            if error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException", "403"):
                continue
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 403:
                continue
        allowed.add(name)
    assert allowed == MAY[role]
    assert len(made) > 80


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"allowed_cidrs": ["0.0.0.0/0"]}, "The UI has no login of its own and is never public"),
        ({"run_log_days": 30}, "Keep the output of steps at least as long"),
        ({"upkeep": {"keep_hours": 720}}, "Keep earlier versions at least as long as upkeep.keep_hours"),
        ({"secrets": {"slack": {"description": "x", "readers": ["everybody"]}}}, "Readers are extraction"),
        (
            {"warehouse": None, "quicksight": {"owner_arn": "arn:a", "reader_secret_arn": "arn:b"}},
            "The dashboard reads the warehouse in PostgreSQL",
        ),
    ],
)
def test_a_mistake_in_the_variables_is_told_before_anything_is_made(
    applied: Applied, variables: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "wrong.tfvars.json"
    file.write_text(json.dumps(variables))
    said = applied.terraform.run("plan", "-input=false", "-no-color", f"-var-file={file}", succeeds=False)
    assert message in re.sub(r"\s+", " ", said)


def _counts(pattern: str, line: str) -> bool:
    """True if a metric filter of CloudWatch counts a line: comparisons with texts, joined by && or ||."""
    inner = pattern.strip().removeprefix("{").removesuffix("}")
    comparisons = re.findall(r'\$\.(\w+) = "([^"]*)"', inner)
    assert len(comparisons) == inner.count("$.")
    found = json.loads(line)
    results = [found.get(name) == value for name, value in comparisons]
    return any(results) if "||" in inner else all(results)


def test_the_filters_count_the_lines_that_the_platform_logs(applied: Applied) -> None:
    filters = applied.outputs["metric_filters"]
    if not applied.logged["run"]:
        applied.run("run", "totesys_to_warehouse")
    good = list(applied.logged["run"])
    applied.totesys.update("staff", 1, last_name="Unread")
    before = len(applied.logged["transformation"])
    applied.run("transformation", "totesys_to_warehouse", "totesys")
    refused = applied.logged["transformation"][before:]

    def count(name: str, lines: list[str]) -> int:
        return sum(_counts(filters[name], line) for line in lines if line.startswith("{"))

    assert (count("ticks", good), count("batches", good)) == (1, 1)
    assert (count("failed-runs-run", good), count("errors-run", good)) == (0, 0)
    assert count("failed-runs-run", refused) >= 1
    assert count("errors-run", refused) >= 1


def test_a_failing_run_is_an_alarm_that_is_sent(applied: Applied) -> None:
    """Each link of the chain, as moto neither counts lines nor sends e-mails."""
    applied.aws.check_everybody(switch=False)
    logs, watch, sns = (applied.aws.client(name) for name in ("logs", "cloudwatch", "sns"))
    filters = {one["filterName"]: one for one in logs.describe_metric_filters()["metricFilters"]}
    failing = filters["platform-failed-runs-run"]
    assert failing["logGroupName"] == applied.outputs["log_groups"]["run"]
    transformed = failing["metricTransformations"][0]
    alarms = {one["AlarmName"]: one for one in watch.describe_alarms()["MetricAlarms"]}
    alarm = alarms["platform-failed-runs"]
    assert (alarm["Namespace"], alarm["MetricName"]) == (
        transformed["metricNamespace"],
        transformed["metricName"],
    )
    assert (alarm["Statistic"], alarm["Threshold"], alarm["TreatMissingData"]) == ("Sum", 1.0, "notBreaching")
    assert alarm["AlarmActions"] == [applied.outputs["alarm_topic"]]
    subscribed = sns.list_subscriptions_by_topic(TopicArn=applied.outputs["alarm_topic"])["Subscriptions"]
    assert [(one["Protocol"], one["Endpoint"]) for one in subscribed] == [("email", "ops@example.org")]
    metrics = {
        (
            filter_["metricTransformations"][0]["metricNamespace"],
            filter_["metricTransformations"][0]["metricName"],
        )
        for filter_ in filters.values()
    }
    own = {
        (alarm["Namespace"], alarm["MetricName"])
        for alarm in alarms.values()
        if alarm["Namespace"].startswith("Platform/")
    }
    assert own == metrics
    assert all(alarm["AlarmActions"] == [applied.outputs["alarm_topic"]] for alarm in alarms.values())
    targets = applied.aws.client("events").list_targets_by_rule(Rule="platform-heartbeat")["Targets"]
    assert targets[0]["Arn"].endswith("log-group:/aws/events/platform-heartbeat")


def test_the_state_is_kept_in_a_bucket_that_is_locked(applied: Applied, tmp_path: Path) -> None:
    applied.aws.check_everybody(switch=False)
    state = copied(tmp_path, "aws/state", "aws")
    (state.folder / "override.tf").write_text(
        'provider "aws" {\n  s3_use_path_style       = true\n  skip_metadata_api_check = true\n}\n'
    )
    state = dataclasses.replace(state, environment=applied.aws.environment)
    state.init()
    state.run("apply", "-auto-approve", "-input=false", "-no-color", f"-var=region={REGION}")
    backend = json.loads(state.run("output", "-json"))["backend"]["value"]
    (tmp_path / "user").mkdir()
    user = Terraform(tmp_path / "user", state.plugins, applied.aws.environment)
    (user.folder / "main.tf").write_text(
        'terraform {\n  backend "s3" {\n    use_lockfile = true\n    encrypt = true\n'
        "    use_path_style = true\n"
        "    skip_metadata_api_check = true\n  }\n}\n"
        'resource "terraform_data" "one" {\n  input = "kept"\n}\n'
    )
    (user.folder / "backend.hcl").write_text(backend)
    user.init("-backend-config=backend.hcl")
    user.run("apply", "-auto-approve", "-input=false", "-no-color")
    bucket = f"platform-{ACCOUNT}-terraform"
    s3 = applied.aws.client("s3")
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == ["platform.tfstate"]  # the lock is gone with the command
    s3.put_object(Bucket=bucket, Key="platform.tfstate.tflock", Body=b'{"ID": "somebody else"}')
    assert "Error acquiring the state lock" in user.run("plan", "-input=false", "-no-color", succeeds=False)


def test_everything_can_be_destroyed(applied: Applied) -> None:
    applied.aws.check_everybody(switch=False)
    said = applied.terraform.run("destroy", "-auto-approve", "-input=false", "-no-color")
    assert re.search(r"Destroy complete! Resources: \d+ destroyed", said)
    assert applied.aws.client("rds").describe_db_instances()["DBInstances"] == []
    left = {one["Name"] for one in applied.aws.client("s3").list_buckets()["Buckets"]}
    assert left <= {f"platform-{ACCOUNT}-terraform"}
