"""One alert, one channel or one row of the outbox goes wrong in any way: all others arrive, once."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from platform_assets.alert import Alert, Severity
from platform_assets.alerts.assembly import AlertsRoom
from platform_assets.alerts.notifier import DeferredNotifier, Notifier
from platform_assets.alerts.outbox import OUTBOX_COLUMNS, Channel, Outbox
from platform_assets.errors import AlertError
from platform_assets.lake.delta import LakeTable
from platform_assets.rooms import Rooms
from platform_assets.source.connection import Connection
from platform_assets_tests.alerts.test_alert import AT, alert
from platform_assets_tests.fixtures.poison import ERRORS, UNEXPECTED, OwnError, name_of, told
from platform_assets_tests.integration.installation import Installation

LATER = AT + dt.timedelta(minutes=5)
NAMES = ("v1", "v2", "v3", "v4")


@dataclass
class Receiver:
    """A channel that takes some messages, and of others raises an error."""

    poison: dict[str, BaseException] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        if error := self.poison.get(alert.status):
            raise error
        self.taken.append(alert.status)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(LakeTable(str(tmp_path / "outbox"), OUTBOX_COLUMNS))


def named(name: str) -> Alert:
    return replace(alert(version=name), status=name)


@pytest.mark.parametrize("error", ERRORS, ids=name_of)
def test_a_message_that_cannot_be_sent_leaves_all_others_alone_and_is_sent_once_it_can_be(
    outbox: Outbox, error: BaseException
) -> None:
    channel = Receiver({"v2": error})
    other = Receiver()
    channels = [Channel("team", channel), Channel("other", other)]
    outbox.post([named(name) for name in NAMES], channels, AT)
    done = outbox.deliver(channels, AT)

    assert sorted(channel.taken) == ["v1", "v3", "v4"]
    assert sorted(other.taken) == list(NAMES)
    assert (done.sent, done.delayed, done.undeliverable) == (7, 1, 0)
    assert done.problems is not None
    assert list(done.problems) == ["team"]
    assert told(error) in done.problems["team"]
    [left] = [message for message in outbox.messages() if message.status == "queued"]
    assert (left.channel, left.alert.status, left.attempt) == ("team", "v2", 1)
    assert told(error) in left.error

    channel.poison.clear()
    assert outbox.deliver(channels, LATER).sent == 1
    assert outbox.deliver(channels, LATER + dt.timedelta(days=1)).sent == 0
    assert sorted(channel.taken) == list(NAMES)
    assert sorted(other.taken) == list(NAMES)


@pytest.mark.parametrize("error", UNEXPECTED, ids=name_of)
def test_a_channel_that_cannot_be_made_delays_its_own_messages_alone(
    outbox: Outbox, error: BaseException
) -> None:
    broken, well = Receiver(), Receiver()
    is_broken = True

    def make() -> Notifier:
        if is_broken:
            raise error
        return broken

    channels = [Channel("broken", DeferredNotifier(make)), Channel("well", well)]
    outbox.post([named(name) for name in NAMES], channels, AT)
    done = outbox.deliver(channels, AT)
    assert sorted(well.taken) == list(NAMES)
    assert (done.sent, done.delayed) == (4, 4)
    is_broken = False
    assert outbox.deliver(channels, LATER).sent == 4
    assert sorted(broken.taken) == list(NAMES)


def test_settings_of_one_channel_that_cannot_be_used_delay_nothing_but_its_own(
    outbox: Outbox, tmp_path: Path
) -> None:
    given = """
      {
        nowhere { slack { webhook = "secret://file/missing" } }
        topic {
          sns {
            topic = "arn:aws:sns:eu-west-2:123456789012:alerts"
            options { AWS_SECRET_ACCESS_KEY = "secret://env/NOBODY_SET_THIS" }
          }
        }
        plain { }
      }
    """
    nobody = Connection("127.0.0.1", 1, "nothing", "nobody", "no password")
    settings = Installation.create(tmp_path / "platform", nobody, alerts__channels=given).settings
    mine = ("log", "nowhere", "topic", "plain")
    channels = [channel for channel in Rooms(settings).of(AlertsRoom).channels if channel.name in mine]
    outbox.post([named("v1")], channels, AT)
    done = outbox.deliver(channels, AT)
    assert (done.sent, done.delayed, done.undeliverable) == (2, 2, 0)
    assert done.problems is not None
    assert "missing" in done.problems["nowhere"]
    assert "NOBODY_SET_THIS" in done.problems["topic"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)], ids=name_of)
def test_what_was_sent_before_an_interruption_is_not_sent_again(outbox: Outbox, error: BaseException) -> None:
    channel = Receiver({"v2": error})
    channels = [Channel("team", channel)]
    alerts = [
        replace(named(name), severity=severity)
        for name, severity in zip(NAMES, reversed(Severity), strict=True)
    ]
    outbox.post(alerts, channels, AT)
    with pytest.raises(type(error)):
        outbox.deliver(channels, AT)
    assert channel.taken == ["v1"]
    channel.poison.clear()
    outbox.deliver(channels, AT + dt.timedelta(hours=1))
    assert channel.taken == list(NAMES)


def test_a_message_whose_channel_never_takes_it_holds_up_no_other(outbox: Outbox) -> None:
    channel = Receiver({"v1": OwnError("never"), "v2": AlertError("not now", retryable=True)})
    channels = [Channel("team", channel)]
    outbox.post([replace(named(name), severity=Severity.CRITICAL) for name in ("v1", "v2")], channels, AT)
    outbox.deliver(channels, AT)
    outbox.post([replace(named(name), severity=Severity.INFO) for name in ("v3", "v4")], channels, LATER)
    assert outbox.deliver(channels, LATER).sent == 2
    assert channel.taken == ["v3", "v4"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("alert", "no JSON"),
        ("alert", "{}"),
        ("alert", '{"key": 1, "severity": 99}'),
        ("alert", "[" * 200_000),
        ("status", "something new"),
        ("due_at", 2**62),
    ],
)
def test_a_row_of_the_outbox_that_nobody_can_read_holds_up_no_other_and_is_told_of(
    outbox: Outbox, column: str, value: object
) -> None:
    import pyarrow as pa
    from deltalake import write_deltalake

    channel = Receiver()
    channels = [Channel("team", channel)]
    outbox.post([named(name) for name in NAMES], channels, AT)
    stored = outbox.table.open()
    assert stored is not None
    rows = stored.to_pyarrow_table()
    poisoned = rows["alert"].to_pylist().index(named("v2").to_json())
    values = rows[column].cast(pa.int64()).to_pylist() if column == "due_at" else rows[column].to_pylist()
    values[poisoned] = value
    array = pa.array(values).cast(rows.schema.field(column).type, safe=False)
    write_deltalake(stored, rows.set_column(rows.column_names.index(column), column, array), mode="overwrite")

    outbox.deliver(channels, AT)
    rest = ["v1", "v3", "v4"]
    assert sorted(one for one in channel.taken if one) == rest
    if column == "alert":
        # Somebody is told that there was something to tell.
        assert len(channel.taken) == 4
    else:
        [unknown] = [message for message in outbox.messages() if message.status == "undeliverable"]
        assert unknown.error
    # Nothing is raised again, and nothing sent again.
    assert outbox.post([named(name) for name in NAMES], channels, LATER) == 0
    outbox.deliver(channels, AT + dt.timedelta(days=1))
    assert sorted(one for one in channel.taken if one) == rest


def test_text_that_no_encoding_can_hold_loses_nothing_of_the_others(outbox: Outbox) -> None:
    channel = Receiver({"v2": OwnError("a name with \udce9")})
    channels = [Channel("team", channel)]
    outbox.post([replace(named("v1"), facts=(("Rule", "caf\udce9"),)), named("v2")], channels, AT)
    assert outbox.deliver(channels, AT).sent == 1
    assert outbox.deliver(channels, AT + dt.timedelta(seconds=20)).sent == 0
    assert channel.taken == ["v1"]
