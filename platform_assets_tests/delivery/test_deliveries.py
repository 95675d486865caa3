"""Deliveries from their files: mistakes, messages to the audience, alerts to owners, and the commands."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path

import dagster as dg
import pytest
import requests
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.delivery.engine import Watcher
from platform_assets.delivery.handlers import success_alert
from platform_assets.delivery.interfaces import DeliveryError, DestinationUnavailable, Receipt, StagedFile
from platform_assets.errors import SettingsError
from platform_assets.settings import dagster_home
from platform_assets_tests.delivery.house import HELLO, NewHouse, body, mails, new_house, room_of
from platform_assets_tests.delivery.making import contents
from platform_assets_tests.delivery.writers.places import FtpPlace
from platform_assets_tests.fixtures.ftp import FtpServer
from platform_assets_tests.fixtures.house import instance_of
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.smtp import NewSmtpServer

__all__ = ["new_house"]

SECRET = "planted-9f1c-secret"
TOLD = "on_success { channels = [mail] }\non_failure { channels = [on-call] }\n"


def test_a_broken_file_disables_its_own_delivery_with_all_its_mistakes(new_house: NewHouse) -> None:
    broken = """
title = "Broken"
owners = ["nobody"]
sorce { text = "a" }
schedule { cron = "0 6 * *" }
to { archive { address = ${?NOT_SET_ANYWHERE} } }
"""
    room = room_of(new_house(hello=HELLO, broken=broken))
    assert list(room.deliveries) == ["hello"]
    said = "\n".join(room.problems())
    for part in (
        'owners[0]: found "nobody"',
        "source: found nothing",
        "sorce: found an unknown key; expected a known one, perhaps source",
        'schedule.cron: found "0 6 * *"',
        "to.archive.address: found nothing (the environment variable NOT_SET_ANYWHERE is not set either)",
    ):
        assert part in said
    assert all("broken.conf" in line for line in room.problems())
    with pytest.raises(SettingsError, match="The delivery broken is disabled"):
        room.order("broken")
    with pytest.raises(SettingsError, match="There is no delivery helo"):
        room.order("helo")


def test_mistakes_of_a_file_and_of_what_it_refers_to_are_told_at_once(new_house: NewHouse) -> None:
    broken = """
tilte = "Broken"
source { asset = "star/dim_stuff", limt = 5 }
render = [csv]
file = "{nmae}.csv"
schedule { cron = "0 6 * *" }
to { archive { address = "/tmp/x", tiemout = 3 }, partner { sidecar = auto } }
on_success { channels = [mial], link { to = archve } }
"""
    room = room_of(new_house(hello=HELLO, broken=broken))
    assert list(room.deliveries) == ["hello"]
    said = [line.partition("broken.conf:")[2] for line in room.problems()]
    expected = (
        "title: found nothing",
        "tilte: found an unknown key",
        "source.limt: found an unknown key",
        'source.asset: found "star/dim_stuff"; expected the key of an asset (there is no asset '
        "star/dim_stuff; perhaps star/dim_staff)",
        'file: found "{nmae}.csv"; expected another name',
        'schedule.cron: found "0 6 * *"',
        "to.archive.tiemout: found an unknown key",
        "to.partner.address: found nothing",
        'on_success.channels[0]: found "mial"; expected a channel of alerts.channels',
        'on_success.link.to: found "archve"; expected one of archive, partner',
    )
    for part in expected:
        assert any(part in line for line in said), (part, said)
    assert len(said) == len(expected), said


def test_a_delivery_is_no_table_that_another_one_could_read(new_house: NewHouse) -> None:
    reads = 'source { asset = "delivery/hello" }\nrender = [csv]'
    after = HELLO.replace('source { text = "id,name" }', reads)
    log = after.replace("delivery/hello", "delivery/receipts")
    room = room_of(new_house(hello=HELLO, after=after, log=log))
    [said] = room.problems()
    assert 'source.asset: found "delivery/hello"' in said
    assert "read the asset that it reads, or its files" in said


@pytest.mark.parametrize(
    "wrong",
    [
        "source { asset = star/dim_staff, text = a }",
        "source = 5",
        "source { files = [] }",
        "to = []",
        "to { archive = 3 }",
        "to {}",
        "render = [csv, { zip { level = a } }]",
        "file = 5",
        "attempts { number = none }",
    ],
)
def test_a_mistake_leads_to_no_mistakes_about_what_took_its_place(new_house: NewHouse, wrong: str) -> None:
    valid = HELLO + "on_success { channels = [mail], link { to = archive } }\n"
    assert room_of(new_house(hello=valid)).problems() == []
    name = wrong.split()[0]
    text = "".join(line for line in valid.splitlines(keepends=True) if not line.startswith(f"{name} "))
    room = room_of(new_house(hello=text + wrong))
    found = [line.partition("hello.conf:")[2].split(" ")[1].rstrip(":") for line in room.problems()]
    assert found
    assert {one.split(".")[0].split("[")[0] for one in found} == {name}, room.problems()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("on_success { channels = [mial] }", 'on_success.channels[0]: found "mial"; expected a channel of'),
        (
            "on_success { channels = [mail], link { to = archve } }",
            'on_success.link.to: found "archve"; expected one of archive',
        ),
        ('when = changed, schedule { cron = "@daily" }', "when: found"),
        ('source { asset = "star/dim_stuff" }, source.text = null, render = [csv]', "perhaps star/dim_staff"),
        ("render = [csv]", "the source gives files, and csv is made of rows"),
        ('file = "{nmae}.txt"', "there is no field {nmae}"),
    ],
)
def test_what_does_not_fit_together_is_a_mistake(new_house: NewHouse, more: str, expected: str) -> None:
    room = room_of(new_house(hello=HELLO + more))
    assert list(room.deliveries) == []
    assert expected in "\n".join(room.problems())


def test_a_files_name_has_to_be_a_name(new_house: NewHouse) -> None:
    room = room_of(new_house(**{"hello-world": HELLO, "receipts": HELLO}))
    assert list(room.deliveries) == []
    assert len([line for line in room.problems() if "the file's name is the delivery's name" in line]) == 2


def test_the_audience_is_told_once_like_by_a_person(new_house: NewHouse) -> None:
    settings = new_house(hello=HELLO + TOLD)
    room = room_of(settings)
    room.deliver("hello", Watcher())
    room.deliver("hello", Watcher())
    [message] = mails(settings, "mail")
    assert (message["Subject"], message["To"]) == ("Hello in the morning", "sales@example.org")
    assert "Severity" not in body(message)
    assert "message.txt is ready (7 bytes)" in body(message)
    assert str(settings.platform.state_dir / "delivered" / "hello" / "message.txt") in body(message)
    assert mails(settings, "on-call") == []
    room.deliver("hello", Watcher(), force=True)
    assert len(mails(settings, "mail")) == 2


def test_an_audience_that_a_crash_kept_in_the_dark_is_told_by_the_next_run(
    new_house: NewHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = new_house(hello=HELLO)
    room_of(settings).deliver("hello", Watcher())
    told = new_house(hello=HELLO + TOLD)
    assert mails(told, "mail") == []
    room_of(told).deliver("hello", Watcher())
    [message] = mails(told, "mail")
    assert "message.txt is ready (7 bytes)" in body(message)


def test_a_link_is_for_the_audience_only(new_house: NewHouse) -> None:
    settings = new_house(
        hello=HELLO + "on_success { channels = [mail], link { to = archive, expires_hours = 72 } }"
    )
    room = room_of(settings)
    result = room.deliver("hello", Watcher())
    now = dt.datetime(2031, 5, 4, 12, 30, tzinfo=dt.UTC)

    def link(file: StagedFile, expires: dt.timedelta) -> str:
        return f"https://b.example.org/{file.name}?sig={SECRET}"

    alert = success_alert(room.settings_of("hello"), result, link, now, "")
    assert alert is not None
    lines = alert.message.splitlines()
    assert f"https://b.example.org/message.txt?sig={SECRET}" in lines
    assert "Download until 7 May 2031, 12:30 UTC:" in lines
    assert SECRET not in str(alert.facts)
    failed = dataclasses.replace(
        result, destinations=(dataclasses.replace(result.destinations[0], status="failed"),)
    )
    assert success_alert(room.settings_of("hello"), failed, lambda file, expires: None, now, "") is None


FTP = """
title = "To FTP"
owners = ["ann@example.org"]
source { text = "id,name" }
to {
  archive { address = ${state_dir}"/delivered/ftp" }
  ftp { address = "%s", ftp { password = "secret://env/FTP_PASSWORD", security = none } }
}
"""


def test_owners_learn_of_a_failure_once_and_no_secret_is_written_anywhere(
    new_house: NewHouse, plain_ftp_server: FtpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTP_PASSWORD", SECRET)
    address = FtpPlace(plain_ftp_server, tmp_path).block()["address"]
    settings = new_house(to_ftp=FTP % address + TOLD)
    lines: list[str] = []
    for _ in range(2):
        result = room_of(settings).deliver("to_ftp", Watcher(lines.append))
        assert list(result.failures) == ["ftp"]
    [message] = mails(settings, "on-call")
    assert message["Subject"].startswith("[ERROR] A delivery failed: To FTP in delivery/to_ftp")
    assert "ftp" in body(message)
    assert "ann@example.org" in body(message)
    assert mails(settings, "mail") == [], "the audience waits for all destinations"
    state = settings.platform.state_dir
    written = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
    assert SECRET.encode() not in written
    assert SECRET not in "\n".join(lines)
    monkeypatch.setenv("FTP_PASSWORD", plain_ftp_server.password)
    assert room_of(settings).deliver("to_ftp", Watcher()).failures == {}
    assert len(mails(settings, "mail")) == 1


def test_owners_learn_that_the_data_cannot_be_read(new_house: NewHouse) -> None:
    reads = HELLO.replace('{ text = "id,name" }', '{ asset = "star/dim_staff" }') + TOLD + "render = [csv]"
    settings = new_house(staff=reads)
    with pytest.raises(Exception, match="star/dim_staff has no rows yet"):
        room_of(settings).deliver("staff", Watcher())
    [message] = mails(settings, "on-call")
    assert "star/dim_staff has no rows yet" in body(message)
    assert room_of(settings).failing() == {
        "staff": "star/dim_staff has no rows yet. Build it first: platform-assets run."
    }


def test_without_channels_a_failure_goes_where_alerts_go(new_house: NewHouse, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "delivered").write_text("a file where a folder is needed")
    settings = new_house(hello=HELLO)
    assert list(room_of(settings).deliver("hello", Watcher()).failures) == ["archive"]
    assert len(mails(settings, "on-call")) == 1
    assert mails(settings, "mail") == [], "it is for what names it"


def test_a_missed_delivery_alerts_once_for_each_time_that_it_was_due(new_house: NewHouse) -> None:
    settings = new_house(hello=HELLO + TOLD + 'schedule { cron = "0 6 * * *" }')
    room = room_of(settings)
    now = dt.datetime.now(dt.UTC)
    hour_ago, day_ago = now - dt.timedelta(hours=1), now - dt.timedelta(days=1)
    assert room.missed({"hello": day_ago}, now) == {"hello": day_ago}
    assert room.missed({"hello": day_ago}, now) == {"hello": day_ago}
    assert len(mails(settings, "on-call")) == 1
    assert room.missed({"hello": hour_ago}, now) == {"hello": hour_ago}
    [_, message] = mails(settings, "on-call")
    assert message["Subject"].startswith("[ERROR] A delivery was missed: Hello in the morning")
    assert "platform-assets deliver hello" in body(message)
    room.deliver("hello", Watcher())
    assert room.missed({"hello": hour_ago}, now) == {}


def test_the_deliver_command_exits_with_0_only_if_every_destination_has_it(
    new_house: NewHouse, tmp_path: Path
) -> None:
    settings = new_house(hello=HELLO)

    def shown() -> list[int]:
        """The bytes of each materialization in the UI, the newest first."""
        with instance_of(settings) as instance:
            found = instance.fetch_materializations(dg.AssetKey(["delivery", "hello"]), limit=9).records
        return [one.asset_materialization.metadata["bytes"].value for one in found]

    run = CliRunner()
    rehearsed = run.invoke(app, ["deliver", "hello", "--dry-run"])
    assert rehearsed.exit_code == 0, rehearsed.output
    assert "archive: planned:" in rehearsed.stdout
    assert "message.txt  7 bytes" in rehearsed.stdout
    archive = tmp_path / "state" / "delivered" / "hello"
    assert not archive.exists()
    assert shown() == []
    assert run.invoke(app, ["deliver", "hello"]).exit_code == 0
    assert shown() == [7]
    assert contents(archive) == {"message.txt": b"id,name"}
    again = run.invoke(app, ["deliver", "hello"])
    assert (again.exit_code, "archive: unchanged" in again.stdout) == (0, True)
    new_house(hello=HELLO.replace("/delivered/hello", "/delivered/hello/message.txt/below"))
    failed = run.invoke(app, ["deliver", "hello", "--force"])
    assert failed.exit_code == 1
    assert "archive: failed:" in failed.stdout
    assert shown() == [7]
    unknown = run.invoke(app, ["deliver", "helo"])
    assert (unknown.exit_code, "There is no delivery helo" in unknown.stderr) == (1, True)


def test_a_delivery_is_made_although_dagster_cannot_record_it(new_house: NewHouse, tmp_path: Path) -> None:
    settings = new_house(hello=HELLO)
    settings.platform.state_dir.mkdir()
    dagster_home(settings).write_text("a file where a folder is needed")
    made = CliRunner().invoke(app, ["deliver", "hello"])
    assert made.exit_code == 0, made.output
    assert contents(tmp_path / "state" / "delivered" / "hello") == {"message.txt": b"id,name"}
    assert "The files are delivered, but the UI will not show it:" in made.stderr


def test_the_deliveries_command_lists_last_receipts_next_runs_and_mistakes(new_house: NewHouse) -> None:
    new_house(
        hello=HELLO,
        later=HELLO + 'schedule { cron = "0 6 * * *" }',
        broken="title = 1",
    )
    run = CliRunner()
    assert run.invoke(app, ["deliver", "hello"]).exit_code == 0
    listed = run.invoke(app, ["deliveries"])
    assert listed.exit_code == 0
    assert "delivered 0 s ago: message.txt" in listed.stdout or "s ago: message.txt" in listed.stdout
    assert "06:00 UTC" in listed.stdout
    assert "never delivered" in listed.stdout
    assert "broken is disabled" in listed.stderr
    checked = run.invoke(app, ["deliveries", "--validate"])
    assert (checked.exit_code, "2 valid, 1 with mistakes" in checked.stdout) == (1, True)


def test_tasks_upload_files_and_make_deliveries(new_house: NewHouse, tmp_path: Path) -> None:
    settings = new_house(hello=HELLO)
    room = room_of(settings)
    lines: list[str] = []
    assert room.make_delivery("hello", report=lines.append).failures == {}
    assert any("archive has message.txt" in line for line in lines)
    file = tmp_path / "report.txt"
    file.write_text("done")
    [receipt] = room.upload({"today/report.txt": file}, {"address": str(tmp_path / "there")})
    assert isinstance(receipt, Receipt)
    assert contents(tmp_path / "there") == {"today/report.txt": b"done"}
    with pytest.raises(SettingsError, match=r"The destination has mistakes: .*adress: Extra inputs"):
        room.upload({"report.txt": file}, {"adress": SECRET})
    with pytest.raises(DeliveryError):
        room.upload({"report.txt": file}, {"address": f"{file}/below"})
    assert json.loads((tmp_path / "there" / "today" / "report.txt.metadata.json").read_text())["sha256"]


def test_a_delivery_to_a_bucket_is_announced_with_a_link_that_works_and_ends(
    new_house: NewHouse, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_server.client().create_bucket(
        Bucket="results", CreateBucketConfiguration={"LocationConstraint": s3_server.region}
    )
    for name, value in s3_server.storage_options.items():
        monkeypatch.setenv(name, value)
    to_bucket = HELLO.replace('${state_dir}"/delivered/hello"', '"s3://results/hello"')
    settings = new_house(
        hello=to_bucket + "on_success { channels = [mail], link { to = archive, expires_hours = 1 } }"
    )
    assert room_of(settings).deliver("hello", Watcher()).failures == {}
    [message] = mails(settings, "mail")
    [link] = [line for line in body(message).splitlines() if line.startswith("http")]
    assert "Expires=3600" in link
    assert requests.get(link, timeout=PATIENCE).content == b"id,name"
    found = s3_server.client().head_object(Bucket="results", Key="hello/message.txt")
    assert found["Metadata"]["title"] == "Hello in the morning"
    rows = str(room_of(settings).receipts.newest(20))
    assert "s3://results/hello/message.txt" in rows
    assert s3_server.secret_access_key not in rows
    assert "Signature" not in rows


MAIL = """
title = "Hello in the morning"
source { text = "id,name" }
to {
  mail {
    address = "mailto:a@example.org,b@example.org,c@example.org"
    email { host = "127.0.0.1", port = %d, sender = "data@example.org", security = none }
  }
}
"""


def test_an_attempt_after_a_refused_recipient_is_sent_to_that_one_only(
    new_house: NewHouse, new_smtp_server: NewSmtpServer
) -> None:
    server = new_smtp_server(starttls=False)
    server.refuse = {"b@example.org": "451 later"}

    def report(line: str) -> None:
        if "attempt 1 failed" in line:
            server.refuse = {}

    result = room_of(new_house(hello=MAIL % server.port)).deliver("hello", Watcher(report))
    assert result.failures == {}
    assert server.received == [["a@example.org", "c@example.org"], ["b@example.org"]]


def test_a_run_after_a_refused_recipient_is_sent_to_that_one_only(
    new_house: NewHouse, new_smtp_server: NewSmtpServer
) -> None:
    server = new_smtp_server(starttls=False)
    server.refuse = {"b@example.org": "451 later"}
    settings = new_house(hello=MAIL % server.port)
    first = room_of(settings).deliver("hello", Watcher())
    assert "b@example.org (451)" in first.failures["mail"]
    assert room_of(settings).deliver("hello", Watcher()).failures.keys() == {"mail"}
    assert server.received == [["a@example.org", "c@example.org"]]
    partly = [row.address for row in room_of(settings).receipts.newest(100) if row.status == "partly"]
    assert sorted(partly) == ["mailto:a@example.org", "mailto:c@example.org"]

    server.refuse = {}
    assert room_of(settings).deliver("hello", Watcher()).failures == {}
    assert server.received[1:] == [["b@example.org"]]
    assert room_of(settings).failing() == {}
    room_of(settings).deliver("hello", Watcher())
    assert len(server.received) == 2
    room_of(settings).deliver("hello", Watcher(), force=True)
    assert server.received[2:] == [["a@example.org", "b@example.org", "c@example.org"]]


def test_an_upload_after_a_refused_recipient_is_sent_to_that_one_only(
    new_house: NewHouse, new_smtp_server: NewSmtpServer, tmp_path: Path
) -> None:
    server = new_smtp_server(starttls=False)
    server.refuse = {"a@example.org": "451 later"}
    room = room_of(new_house())
    (tmp_path / "report.txt").write_text("all well")
    mail = {"host": "127.0.0.1", "port": server.port, "sender": "data@example.org", "security": "none"}
    with pytest.raises(DestinationUnavailable):
        room.upload(
            {"report.txt": tmp_path / "report.txt"},
            {"address": "mailto:a@example.org,b@example.org", "email": mail},
        )
    # The configuration has two attempts.
    assert server.received == [["b@example.org"]]
