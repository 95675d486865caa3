"""An alert is sent once to each channel that wants it, when the channel takes it, and fails nobody else."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from platform_assets.alert import Severity
from platform_assets.alerts.email import EmailNotifier
from platform_assets.alerts.outbox import OUTBOX_COLUMNS, Channel, Outbox
from platform_assets.alerts.slack import SlackNotifier
from platform_assets.configuration.secrets import Secret
from platform_assets.lake.delta import LakeTable
from platform_assets_tests.alerts.test_alert import AT, alert
from platform_assets_tests.fixtures.http import HttpServer


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(LakeTable(str(tmp_path / "outbox"), OUTBOX_COLUMNS))


@pytest.fixture
def slack(http_server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> Channel:
    monkeypatch.setenv("SLACK_WEBHOOK", f"{http_server.url}/services/hidden")
    return Channel("slack", SlackNotifier(Secret.parse("secret://env/SLACK_WEBHOOK")))


@pytest.fixture
def down() -> Channel:
    return Channel("mail", EmailNotifier("127.0.0.1", 9, "a@example.org", ("b@example.org",)))


def later(seconds: float) -> dt.datetime:
    return AT + dt.timedelta(seconds=seconds)


def test_the_same_version_of_an_object_alerts_once(
    outbox: Outbox, slack: Channel, http_server: HttpServer
) -> None:
    assert outbox.post([alert(), alert(), alert(version="v2")], [slack], AT) == 2
    assert outbox.post([alert()], [slack], AT) == 0
    assert outbox.deliver([slack], AT).sent == 2
    assert outbox.post([alert(), alert(version="v2")], [slack], AT) == 0
    assert outbox.deliver([slack], later(3600)).sent == 0
    assert len(http_server.posted) == 2


def test_a_channel_gets_what_matters_to_it_the_most_severe_first(
    outbox: Outbox, slack: Channel, http_server: HttpServer
) -> None:
    only_errors = Channel("slack", slack.notifier, Severity.ERROR)
    severities = [Severity.INFO, Severity.ERROR, Severity.CRITICAL]
    alerts = [alert(version=severity.name, severity=severity) for severity in severities]
    assert outbox.post(alerts, [only_errors], AT) == 2
    outbox.deliver([only_errors], AT)
    assert [message["text"].split(":")[0] for message in http_server.posted] == ["CRITICAL", "ERROR"]


def test_a_channel_that_is_down_delays_its_own_messages_alone_and_longer_each_time(
    outbox: Outbox, slack: Channel, down: Channel, http_server: HttpServer
) -> None:
    outbox.post([alert(), alert(version="v2"), alert(version="v3")], [slack, down], AT)
    first = outbox.deliver([slack, down], AT)
    assert (first.sent, first.delayed, first.undeliverable) == (3, 3, 0)
    assert first.problems is not None
    assert "127.0.0.1:9 did not accept the message" in first.problems["mail"]
    assert outbox.deliver([slack, down], later(29)).delayed == 0
    assert outbox.deliver([slack, down], later(30)).delayed == 3
    waits = sorted(
        (message.due_at - later(30)).total_seconds()
        for message in outbox.messages()
        if message.channel == "mail"
    )
    # After two failures in a row it is not asked for the third message; that one is the first to be next.
    assert waits == [30, 30, 60]
    assert len(http_server.posted) == 3


def test_a_message_is_sent_when_its_channel_is_back(
    outbox: Outbox, slack: Channel, http_server: HttpServer
) -> None:
    http_server.answers = [(503, "", {}), (429, "", {"Retry-After": "300"})]
    outbox.post([alert()], [slack], AT)
    assert outbox.deliver([slack], AT).delayed == 1
    assert outbox.deliver([slack], later(30)).delayed == 1
    assert outbox.deliver([slack], later(300)).sent == 0
    assert outbox.deliver([slack], later(330)).sent == 1
    [message] = outbox.messages()
    assert (message.status, message.attempt, message.error) == ("sent", 3, "")


def test_a_message_that_a_channel_refuses_for_good_stops_no_other(
    outbox: Outbox, slack: Channel, http_server: HttpServer
) -> None:
    http_server.answers = [(400, "invalid_blocks", {})]
    outbox.post([alert(), alert(version="v2")], [slack], AT)
    done = outbox.deliver([slack], AT)
    assert (done.sent, done.undeliverable) == (1, 1)
    assert outbox.deliver([slack], later(9999)).sent == 0


def test_a_message_that_is_too_old_is_given_up_and_kept_with_its_error(outbox: Outbox, down: Channel) -> None:
    outbox.post([alert()], [down], AT)
    assert outbox.deliver([down], later(3 * 86_400)).undeliverable == 1
    [message] = outbox.messages()
    assert message.status == "undeliverable"
    assert "did not accept the message" in message.error


def test_a_secret_that_cannot_be_had_delays_and_fails_nothing(
    outbox: Outbox, slack: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLACK_WEBHOOK")
    outbox.post([alert()], [slack], AT)
    assert outbox.deliver([slack], AT).delayed == 1


def test_of_two_senders_at_the_same_moment_one_sends(
    outbox: Outbox, slack: Channel, http_server: HttpServer
) -> None:
    outbox.post([alert(version=str(number)) for number in range(6)], [slack], AT)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: outbox.deliver([slack], AT), range(3)))
    assert sum(one.sent for one in done) == 6
    assert len(http_server.posted) == 6


def test_what_a_sender_died_with_is_sent_by_the_next_one(
    outbox: Outbox, slack: Channel, http_server: HttpServer
) -> None:
    outbox.post([alert()], [slack], AT)
    outbox._claim(["slack"], AT, 10)
    assert outbox.deliver([slack], later(599)).sent == 0
    assert outbox.deliver([slack], later(600)).sent == 1


def test_a_limit_leaves_the_rest_for_the_next_time(
    outbox: Outbox, slack: Channel, http_server: HttpServer
) -> None:
    outbox.post([alert(version=str(number)) for number in range(5)], [slack], AT)
    assert [outbox.deliver([slack], AT, limit=2).sent for _ in range(4)] == [2, 2, 1, 0]


def test_messages_for_a_channel_that_is_not_configured_any_more_stay_where_they_are(
    outbox: Outbox, slack: Channel, down: Channel
) -> None:
    outbox.post([alert()], [down], AT)
    assert outbox.deliver([slack], AT).sent == 0
    assert outbox.deliver([], AT).sent == 0
    assert [message.status for message in outbox.messages()] == ["queued"]
