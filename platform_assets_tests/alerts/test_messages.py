"""Messages to the audience of a result: only to the channels that they name, in words for people."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import logging
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from platform_assets.alert import Alert, Severity
from platform_assets.alerts.email import EmailNotifier, subject, text
from platform_assets.alerts.notifier import LogNotifier
from platform_assets.alerts.outbox import LOG, OUTBOX_COLUMNS, Channel, Outbox
from platform_assets.alerts.slack import payload
from platform_assets.errors import AlertError, SettingsError
from platform_assets.lake.delta import LakeTable
from platform_assets.settings import load_settings

AT = dt.datetime(2031, 5, 4, 12, 30, tzinfo=dt.UTC)
LINK = "https://bucket.example.org/customers.csv?X-Amz-Signature=" + "5" * 600
WORDS = f"Customers in the morning are ready: 1,204 rows.\n\nDownload them until 7 May, 12:30 UTC:\n{LINK}"
READY = Alert(
    "0123456789abcdef",
    Severity.INFO,
    "Customers in the morning",
    AT,
    facts=(("Rows", "1,204"),),
    message=WORDS,
    channels=("mail",),
)


class Kept:
    """A channel that keeps its messages."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def send(self, alert: Alert) -> None:
        self.alerts.append(alert)


def test_a_message_goes_to_the_channels_that_it_names_and_to_the_log(tmp_path: Path) -> None:
    kept = {name: Kept() for name in (LOG, "mail", "on-call")}
    channels = [Channel(name, one, Severity.ERROR) for name, one in kept.items()]
    outbox = Outbox(LakeTable(str(tmp_path / "outbox"), OUTBOX_COLUMNS))
    assert outbox.post([READY], channels, AT) == 2
    assert outbox.deliver(channels, AT).sent == 2
    assert {name: len(one.alerts) for name, one in kept.items()} == {LOG: 1, "mail": 1, "on-call": 0}
    assert text(kept["mail"].alerts[0]).strip() == WORDS


def test_a_channel_for_an_audience_gets_nothing_that_does_not_name_it(tmp_path: Path) -> None:
    mail = Channel("mail", Kept(), Severity.INFO, named_only=True)
    outbox = Outbox(LakeTable(str(tmp_path / "outbox"), OUTBOX_COLUMNS))
    finding = Alert("f", Severity.CRITICAL, "Sensitive data in an object", AT)
    assert outbox.post([finding, READY], [mail], AT) == 1


def test_a_message_reads_like_one_from_a_person() -> None:
    assert subject(READY) == "Customers in the morning"
    assert text(READY) == WORDS + "\n"
    sent = payload(READY)
    assert sent["text"] == "Customers in the morning"
    assert f"<{LINK}>" in sent["blocks"][1]["text"]["text"]
    assert "Severity" not in json.dumps(sent)


def test_no_log_gets_a_link_that_lets_anybody_in(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        LogNotifier().send(READY)
    assert "1,204" in caplog.text
    assert "Signature" not in caplog.text


def test_stored_alerts_can_be_read_by_versions_with_and_without_messages() -> None:
    stored = json.loads(READY.to_json())
    assert stored.keys() == json.loads(dataclasses.replace(READY, message="").to_json()).keys()
    assert stored["facts"] == [["Rows", "1,204"], ["Message", WORDS]]
    again = Alert.from_json(READY.to_json())
    assert (again.message, again.facts) == (WORDS, READY.facts)
    plain_one = dataclasses.replace(READY, message="", channels=())
    assert Alert.from_json(plain_one.to_json()) == plain_one


def test_without_a_mail_server_messages_are_kept_in_a_folder(tmp_path: Path) -> None:
    spool = tmp_path / "mail" / "spool"
    channel = EmailNotifier("", 25, "platform@example.org", ("ann@example.org",), spool=spool)
    channel.send(READY)
    channel.send(READY)
    [file] = spool.iterdir()
    assert file.name == "2031-05-04T123000-0123456789ab.eml"
    message = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert (message["Subject"], message["To"]) == ("Customers in the morning", "ann@example.org")
    body = message.get_body()
    assert body is not None
    assert LINK in body.get_content()


def test_a_folder_for_messages_that_cannot_be_used_delays_the_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    channel = EmailNotifier("", 25, "a@example.org", ("b@example.org",), spool=tmp_path / "file" / "spool")
    with pytest.raises(AlertError, match="cannot be kept") as error:
        channel.send(READY)
    assert error.value.retryable


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", "set host to the mail server's name, or spool to a folder"),
        ('host = h, spool = "mail"', "host is set too; only one of them can be used"),
    ],
)
def test_an_e_mail_channel_has_either_a_server_or_a_folder(keys: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "platform.conf"
    own = f'alerts.channels.a.email {{ sender = "a@b.org", recipients = ["c@d.org"], {keys} }}'
    file.write_text(f'include "{Path("config/platform.conf").absolute()}"\n{own}\n')
    with pytest.raises(SettingsError, match=expected):
        load_settings(file)
