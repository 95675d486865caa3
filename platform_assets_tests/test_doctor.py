"""The doctor: a status and an advice for everything that can be wrong, and nothing that it breaks itself."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from click.testing import Result
from deltalake import write_deltalake
from typer.testing import CliRunner

from platform_assets import doctor
from platform_assets.alerts.probes import look_at_channel
from platform_assets.alerts.settings import ChannelSettings
from platform_assets.cli import app
from platform_assets.delivery.interfaces import DeliveryError
from platform_assets.delivery.probes import look_at_destination
from platform_assets.delivery.writers.s3 import S3Options, S3Writer
from platform_assets.diagnosis import Health, Observation, Probe, diagnose, ok
from platform_assets.errors import SourceError
from platform_assets.lake.lake import Lake
from platform_assets.lake.probes import look_at_zone
from platform_assets.objects.probes import look_at_bucket
from platform_assets.objects.s3 import S3Bucket
from platform_assets.source.connection import Connection
from platform_assets.source.probes import look_at_source
from platform_assets.source.session import open_control
from platform_assets.warehouse.probes import look_at_postgres
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.smtp import PASSWORD as MAIL_PASSWORD
from platform_assets_tests.fixtures.smtp import USER, NewSmtpServer, new_smtp_server, smtp_certificate

__all__ = ["new_smtp_server", "smtp_certificate"]

PASSWORD = "only in this test"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder for all state."""
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path / "state"))
    for name in ("DAGSTER_HOME", "LAKE_INGESTION", "LAKE_PROCESSED", "WAREHOUSE_PATH", "UPLOADS_PLACE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "state"


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def health_of(findings: Sequence[Observation]) -> dict[str, Health]:
    return {finding.subject: finding.status for finding in findings}


def advice(findings: Sequence[Observation], subject: str) -> str:
    [found] = (finding for finding in findings if finding.subject == subject)
    return found.advice


# The runner


def test_a_probe_that_fails_unexpectedly_or_hangs_is_a_finding_and_the_others_go_on() -> None:
    released = threading.Event()

    def fails() -> Iterator[Observation]:
        yield ok("first", "is well")
        raise ZeroDivisionError("with a secret in its text")

    def hangs() -> Iterator[Observation]:
        released.wait()
        yield ok("never", "seen")

    probes = [
        Probe("a", "failing", fails),
        *(Probe("a", "hanging", hangs, seconds=0.05) for _ in range(8)),
        Probe("a", "last", lambda: [ok("last", "is well")]),
    ]
    found = [(probe.subject, findings) for probe, findings in diagnose(probes)]
    released.set()
    assert [subject for subject, _ in found] == ["failing", *["hanging"] * 8, "last"]
    assert health_of(found[0][1]) == {"first": Health.OK, "failing": Health.ERROR}
    assert "ZeroDivisionError" in found[0][1][1].sentence
    assert "secret" not in found[0][1][1].sentence
    assert [one.sentence for one in found[1][1]] == ["No answer within 0.05 seconds."]
    assert health_of(found[-1][1]) == {"last": Health.OK}


def test_a_probe_for_which_the_system_has_no_thread_is_a_finding_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def refuse_one(thread: threading.Thread) -> None:
        if thread.name == "second":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_one)
    names = ["first", "second", *(f"{number}" for number in range(20))]
    probes = [Probe("a", name, lambda name=name: [ok(name, "is well")]) for name in names]
    found = {probe.subject: findings for probe, findings in diagnose(probes)}
    assert "new thread" in found["second"][0].sentence
    assert {name for name in names if found[name][0].status is Health.OK} == set(names) - {"second"}


# The command


def test_nothing_is_wrong_before_the_first_run_and_nothing_is_made(state: Path) -> None:
    ended = command("doctor", "--json")
    found = json.loads(ended.stdout)
    assert ended.exit_code == 0
    assert [one for one in found if one["status"] == "error"] == []
    assert {"settings", "disk", "dagster", "lake", "source totesys", "warehouse", "alerts"} <= {
        one["area"] for one in found
    }
    assert not state.exists()


def test_a_secret_that_cannot_be_fetched_is_an_error_that_names_its_reference(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOTESYS_EMBEDDED", "false")
    monkeypatch.setenv("TOTESYS_HOST", "127.0.0.1")
    monkeypatch.setenv("TOTESYS_PORT", "1")
    monkeypatch.setenv("TOTESYS_DATABASE", "totesys")
    monkeypatch.setenv("TOTESYS_USER", "reader")
    monkeypatch.delenv("TOTESYS_PASSWORD", raising=False)
    ended = command("doctor")
    assert ended.exit_code == 1
    assert "secret://env/TOTESYS_PASSWORD" in ended.stdout
    assert "the environment variable TOTESYS_PASSWORD is not set" in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith(f"{len(_verdict_lines(ended.stdout))} findings: 2 errors")
    monkeypatch.setenv("TOTESYS_PASSWORD", PASSWORD)
    unreachable = command("doctor").stdout
    assert "127.0.0.1:1 cannot be reached" in unreachable
    assert PASSWORD not in unreachable


def _verdict_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.split(" ")[0] in ("ok", "warning", "error")]


def test_a_broken_configuration_is_the_only_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "platform.conf"
    file.write_text("state_dir = 5\n")
    monkeypatch.setenv("PLATFORM_CONFIG", str(file))
    ended = command("doctor", "--json")
    [found] = json.loads(ended.stdout)
    assert (ended.exit_code, found["area"], found["status"]) == (1, "settings", "error")
    assert "state_dir" in found["sentence"]


def test_packages_that_differ_from_the_lock_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "duckdb==0.0.1 \\\n    --hash=sha256:00\nnothing-of-this-name==1 ; python_version < '3'\n"
    )
    monkeypatch.setattr(doctor, "_LOCK", lock)
    found = {load["subject"]: load for load in json.loads(command("doctor", "--json").stdout)}
    assert found["versions"]["status"] == "warning"
    assert "1 of 1 packages differ" in found["versions"]["sentence"]
    assert "duckdb is" in found["versions"]["sentence"]


@pytest.mark.parametrize(
    ("free_bytes", "free_files", "status"),
    [
        (100 * 1024**3, 10**6, Health.OK),
        (2 * 1024**3, 10**6, Health.WARNING),
        (10 * 1024**2, 10**6, Health.ERROR),
        (100 * 1024**3, 50_000, Health.WARNING),
        (100 * 1024**3, 10, Health.ERROR),
    ],
)
def test_a_disk_that_is_nearly_full_is_told_before_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, free_files: int, status: Health
) -> None:
    numbers = SimpleNamespace(f_bavail=free_bytes, f_frsize=1, f_files=10**7, f_favail=free_files)
    monkeypatch.setattr(doctor.os, "statvfs", lambda place: numbers)
    assert health_of(list(doctor.disk(tmp_path / "not made yet", "state"))) == {"state": status}


# Sources and warehouses


@pytest.fixture
def role(new_database: NewDatabase) -> Iterator[tuple[Connection, Connection]]:
    """A database's owner, and a role in it that may do nothing yet."""
    owner = new_database().owner
    name = f"reader_{uuid.uuid4().hex[:8]}"
    control = open_control(owner)
    try:
        control.run(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        control.run("CREATE SCHEMA shop")
        for table in ("staff", "orders", "notes"):
            control.run(f"CREATE TABLE shop.{table} (id integer PRIMARY KEY, text text)")
        yield replace(owner, schema="shop"), replace(owner, schema="shop", user=name, password=PASSWORD)
        control.run(f"DROP OWNED BY {name}")
        control.run(f"DROP ROLE {name}")
    finally:
        control.close()


def as_owner(owner: Connection, *statements: str) -> None:
    control = open_control(owner)
    try:
        for statement in statements:
            control.run(statement)
    finally:
        control.close()


def test_each_missing_privilege_of_a_source_comes_with_its_grant(
    role: tuple[Connection, Connection],
) -> None:
    owner, reader = role
    tables = ["staff", "orders", "notes", "gone"]

    def look() -> list[Observation]:
        return list(look_at_source(lambda: reader, tables))

    grant = advice(look(), "privileges")
    assert grant == f'GRANT USAGE ON SCHEMA "shop" TO "{reader.user}";'
    as_owner(owner, grant)
    assert health_of(look()) | dict.fromkeys(tables, Health.ERROR) == health_of(look())
    as_owner(owner, advice(look(), "staff"), f"GRANT SELECT (id) ON shop.orders TO {reader.user}")
    found = look()
    assert health_of(found)["orders"] is Health.WARNING
    assert "staff" not in health_of(found)
    as_owner(
        owner,
        f"GRANT SELECT ON ALL TABLES IN SCHEMA shop TO {reader.user}",
        f"GRANT DELETE ON shop.staff TO {reader.user}",
        "ALTER TABLE shop.notes ENABLE ROW LEVEL SECURITY",
    )
    found = look()
    assert {name for name, one in health_of(found).items() if one is not Health.OK} == {
        *("gone", "notes", "least privilege")
    }
    assert "staff" in next(one.sentence for one in found if one.subject == "least privilege")


def test_the_owner_is_warned_of_being_a_superuser_and_a_wrong_password_is_refused(
    role: tuple[Connection, Connection],
) -> None:
    owner, reader = role
    found = list(look_at_source(lambda: owner, ["staff"]))
    assert health_of(found)["least privilege"] is Health.WARNING
    assert (
        health_of(found)["server"] is health_of(found)["clock"] is health_of(found)["privileges"] is Health.OK
    )
    with pytest.raises(SourceError, match="refused the login"):
        list(look_at_source(lambda: replace(reader, password="another"), ["staff"]))
    assert (
        health_of(list(look_at_source(lambda: replace(owner, schema="nowhere"), ["staff"])))["privileges"]
        is Health.ERROR
    )


def test_a_warehouse_role_gets_the_grants_with_which_it_can_load(role: tuple[Connection, Connection]) -> None:
    owner, writer = role

    def look() -> list[Observation]:
        return list(look_at_postgres(lambda: writer, ("star", "platform")))

    before = look()
    assert health_of(before) == {"server": Health.OK, "star": Health.ERROR, "platform": Health.ERROR}
    as_owner(owner, "CREATE SCHEMA star")
    grants = {one.advice for one in look() if one.advice}
    assert f'GRANT USAGE, CREATE ON SCHEMA "star" TO "{writer.user}";' in grants
    as_owner(owner, *grants)
    assert set(health_of(look()).values()) == {Health.OK}


# Buckets


@pytest.fixture
def bucket_lake(s3_server: S3Server, s3_bucket: str) -> Lake:
    place = f"s3://{s3_bucket}/lake"
    return Lake(f"{place}/ingestion", f"{place}/processed", lambda: s3_server.storage_options)


def test_the_permissions_in_a_bucket_are_tried_and_nothing_is_left(
    bucket_lake: Lake, s3_server: S3Server, s3_bucket: str
) -> None:
    [found] = look_at_zone(bucket_lake, "ingestion")
    assert (found.status, found.subject) == (Health.OK, "ingestion"), found.sentence
    assert s3_server.keys(s3_bucket) == []


def test_a_missing_permission_comes_with_the_statement_for_the_policy(
    bucket_lake: Lake, s3_server: S3Server, s3_bucket: str
) -> None:
    limited = s3_server.limited("s3:ListBucket", "s3:GetObject")
    lake = replace(bucket_lake, storage_options=lambda: limited.storage_options)
    [found] = look_at_zone(lake, "ingestion")
    statement = json.loads(found.advice.partition(": ")[2])
    assert statement == {
        "Effect": "Allow",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{s3_bucket}/lake/ingestion/*",
    }
    limited = s3_server.limited("s3:GetObject", "s3:PutObject", "s3:DeleteObject")
    lake = replace(bucket_lake, storage_options=lambda: limited.storage_options)
    [found] = look_at_zone(lake, "processed")
    assert json.loads(found.advice.partition(": ")[2])["Action"] == "s3:ListBucket"
    assert json.loads(found.advice.partition(": ")[2])["Resource"] == f"arn:aws:s3:::{s3_bucket}"
    assert s3_server.keys(s3_bucket) == []


def test_a_watch_whose_objects_cannot_be_read_is_told(s3_server: S3Server, s3_bucket: str) -> None:
    s3_server.client().put_object(Bucket=s3_bucket, Key="in/a.csv", Body=b"a\n1\n")
    watched = S3Bucket(s3_bucket, "in", s3_server.client())
    assert health_of(list(look_at_bucket(watched))) == {"list": Health.OK, "read": Health.OK}
    lister = s3_server.limited("s3:ListBucket")
    found = list(look_at_bucket(S3Bucket(s3_bucket, "in", lister.client())))
    assert health_of(found) == {"list": Health.OK, "read": Health.ERROR}
    assert "s3:GetObject" in advice(found, "read")


def test_a_destination_is_tried_without_an_object(s3_server: S3Server, s3_bucket: str) -> None:
    def writer(server: S3Server) -> S3Writer:
        return S3Writer(s3_bucket, "out", server.storage_options, S3Options())

    assert health_of(list(look_at_destination("bucket", lambda: writer(s3_server)))) == {"bucket": Health.OK}
    assert s3_server.keys(s3_bucket) == []
    assert "Uploads" not in s3_server.client().list_multipart_uploads(Bucket=s3_bucket)
    lister = writer(s3_server.limited("s3:List*"))
    with pytest.raises(DeliveryError, match=r"cannot be written to \(s3:PutObject\)"):
        list(look_at_destination("bucket", lambda: lister))


def test_a_table_that_belongs_to_nothing_is_named(state: Path) -> None:
    write_deltalake(str(state / "lake" / "ingestion" / "old_shop" / "staff"), pa.table({"id": [1]}))
    found = {load["subject"]: load for load in json.loads(command("doctor", "--json").stdout)}
    assert found["tables"]["status"] == "warning"
    assert "ingestion/old_shop/staff" in found["tables"]["sentence"]


# Channels


def test_a_mail_server_is_tried_without_a_message(
    new_smtp_server: NewSmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", MAIL_PASSWORD)
    server = new_smtp_server()
    given = {
        "host": "127.0.0.1",
        "port": server.port,
        "sender": "platform@example.org",
        "recipients": ["team@example.org"],
        "user": USER,
        "password": "secret://env/MAIL_PASSWORD",
        "ca_file": str(server.ca_file),
    }
    channel = ChannelSettings.model_validate({"email": given})
    assert health_of(list(look_at_channel("mail", channel))) == {"mail": Health.OK}
    monkeypatch.setenv("MAIL_PASSWORD", "another")
    [found] = look_at_channel("mail", channel)
    assert found.status is Health.ERROR
    assert f"refuses the user {USER}" in found.sentence
    assert server.messages == []


def test_a_webhook_that_cannot_be_reached_is_told_without_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WEBHOOK", "https://127.0.0.1:1/services/T000/B000/secretpart")
    channel = ChannelSettings.model_validate({"slack": {"webhook": "secret://env/WEBHOOK"}})
    [found] = look_at_channel("chat", channel)
    assert found.status is Health.ERROR
    assert "127.0.0.1:1 cannot be reached" in found.sentence
    assert "secretpart" not in found.sentence + found.advice
