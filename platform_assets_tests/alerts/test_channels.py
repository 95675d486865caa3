"""Each channel takes a message, and says in words, without its secret, why it did not."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from platform_assets.alerts.email import EmailNotifier
from platform_assets.alerts.slack import SlackNotifier
from platform_assets.alerts.sns import SnsNotifier, sns_client
from platform_assets.configuration.secrets import Secret
from platform_assets.errors import AlertError, SettingsError
from platform_assets_tests.alerts.test_alert import alert
from platform_assets_tests.fixtures.http import HttpServer
from platform_assets_tests.fixtures.queues import create_queue
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.smtp import PASSWORD, USER, NewSmtpServer, SmtpServer

PATH = "/services/the-part-that-nobody-may-see"


@pytest.fixture
def slack(http_server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> SlackNotifier:
    monkeypatch.setenv("SLACK_WEBHOOK", http_server.url + PATH)
    return SlackNotifier(Secret.parse("secret://env/SLACK_WEBHOOK"))


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    return Secret.parse("secret://env/SMTP_PASSWORD")


def mail(server: SmtpServer, password: Secret | None, **changes: object) -> EmailNotifier:
    members: dict[str, object] = {
        "host": "127.0.0.1",
        "port": server.port,
        "sender": "platform@example.org",
        "recipients": ("ann@example.org", "bob@example.org"),
        "user": USER if password else "",
        "password": password,
        "ca_file": server.ca_file,
    }
    return EmailNotifier(**(members | changes))  # type: ignore[arg-type]


def test_slack_gets_blocks_and_a_text(slack: SlackNotifier, http_server: HttpServer) -> None:
    slack.send(alert())
    assert http_server.paths == [PATH]
    [message] = http_server.posted
    assert [block["type"] for block in message["blocks"]] == ["header", "section", "section", "section"]
    assert message["text"].startswith(
        "ERROR: Sensitive data in an upload in s3://uploads/in…/ac….txt. CREDIT_"
    )


@pytest.mark.parametrize(
    ("answer", "retryable", "wait", "words"),
    [
        ((429, "", {"Retry-After": "77"}), True, 77.0, "429"),
        ((429, "", {"Retry-After": "soon"}), True, None, "429"),
        ((500, "oops", {}), True, None, "500 oops"),
        ((404, "no_service", {}), True, 900.0, "Create a new webhook"),
        ((400, "invalid_blocks", {}), False, None, "400 invalid_blocks"),
        ((302, "", {"Location": "http://127.0.0.1:9/elsewhere"}), False, None, "302"),
    ],
)
def test_what_slack_answers_decides_whether_and_when_it_is_tried_again(
    slack: SlackNotifier,
    http_server: HttpServer,
    answer: tuple[int, str, dict[str, str]],
    retryable: bool,
    wait: float | None,
    words: str,
) -> None:
    http_server.answers = [answer]
    with pytest.raises(AlertError) as error:
        slack.send(alert())
    assert (error.value.retryable, error.value.wait) == (retryable, wait)
    assert words in str(error.value)
    assert "nobody-may-see" not in str(error.value) + repr(slack)
    assert len(http_server.posted) == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:9" + PATH, "no address" + PATH])
def test_a_slack_that_is_not_there_is_told_without_its_address(
    slack: SlackNotifier, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK", address)
    with pytest.raises(AlertError) as error:
        slack.send(alert())
    assert error.value.retryable
    assert "nobody-may-see" not in str(error.value)
    assert error.value.__cause__ is None
    monkeypatch.delenv("SLACK_WEBHOOK")
    with pytest.raises(SettingsError, match="SLACK_WEBHOOK is not set"):
        slack.send(alert())


def test_a_mail_goes_encrypted_from_a_user_to_everybody(
    new_smtp_server: NewSmtpServer, password: Secret
) -> None:
    server = new_smtp_server()
    mail(server, password).send(alert(title="Sensitive\r\nBcc: eve@example.org"))
    [message] = server.messages
    assert server.encrypted == [(True, True)]
    assert message["To"] == "ann@example.org, bob@example.org"
    assert message["Bcc"] is None
    assert message["Subject"].startswith("[ERROR] Sensitive Bcc: eve@example.org in s3://uploads/in…/ac….txt")
    assert message["Message-ID"].endswith("@example.org>")
    assert message["Auto-Submitted"] == "auto-generated"
    body = message.get_content()
    assert "CREDIT_CARD_NUMBER: 2, up to VERY_LIKELY" in body


def test_a_wrong_password_is_told_without_it_and_tried_again_later(
    new_smtp_server: NewSmtpServer, monkeypatch: pytest.MonkeyPatch, password: Secret
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "another-word")
    with pytest.raises(AlertError, match=f"refused the user {USER} \\(535\\)") as error:
        mail(new_smtp_server(), password).send(alert())
    assert (error.value.retryable, error.value.wait) == (True, 900.0)
    assert "another-word" not in str(error.value)


def test_nothing_is_sent_over_a_connection_that_is_not_encrypted(
    new_smtp_server: NewSmtpServer, password: Secret
) -> None:
    server = new_smtp_server(starttls=False)
    with pytest.raises(AlertError, match="does not support STARTTLS"):
        mail(server, password).send(alert())
    assert server.messages == []


def test_a_server_whose_certificate_nobody_vouches_for_gets_nothing(
    new_smtp_server: NewSmtpServer, password: Secret
) -> None:
    server = new_smtp_server()
    with pytest.raises(AlertError, match="cannot be trusted") as error:
        mail(server, password, ca_file=None).send(alert())
    assert error.value.retryable
    assert server.messages == []


@pytest.mark.parametrize(
    ("refuse", "retryable", "words"),
    [
        ({"ann@example.org": "550 nobody here"}, False, "refused it for 1 of 2"),
        ({"ann@example.org": "550 no", "bob@example.org": "550 no"}, False, "refused all recipients: 550"),
        ({"ann@example.org": "550 no", "bob@example.org": "450 later"}, True, "all recipients: 450, 550"),
    ],
)
def test_refused_recipients_are_counted_and_told(
    new_smtp_server: NewSmtpServer,
    password: Secret,
    refuse: dict[str, str],
    retryable: bool,
    words: str,
) -> None:
    server = new_smtp_server()
    server.refuse = refuse
    with pytest.raises(AlertError, match=words) as error:
        mail(server, password).send(alert())
    assert error.value.retryable is retryable


def test_a_mail_server_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    server = SmtpServer(9, tmp_path / "none")
    with pytest.raises(AlertError, match=r"127\.0\.0\.1:9 did not accept the message") as error:
        mail(server, None).send(alert())
    assert error.value.retryable


@pytest.mark.parametrize("kind", ["standard", "fifo"])
def test_a_topic_passes_an_alert_on(aws_server: S3Server, kind: str) -> None:
    ending, attributes = (".fifo", {"FifoTopic": "true"}) if kind == "fifo" else ("", {})
    name = f"alerts-{uuid.uuid4().hex[:8]}{ending}"
    is_fifo = {"FifoQueue": "true"} if kind == "fifo" else {}
    queue = create_queue(aws_server, name, **is_fifo)
    topic = aws_server.client("sns").create_topic(Name=name, Attributes=attributes)["TopicArn"]
    aws_server.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.arn)
    notifier = SnsNotifier(topic, sns_client(aws_server.storage_options))
    for _ in range(2):
        notifier.send(alert())
    messages = [json.loads(message["Body"]) for message in queue.receive()]
    assert len(messages) == (1 if kind == "fifo" else 2)
    assert messages[0]["Subject"] == "[ERROR] Sensitive data in an upload in s3://uploads/in?/ac?.txt"
    assert "CREDIT_CARD_NUMBER: 2, up to VERY_LIKELY" in messages[0]["Message"]
    assert messages[0]["MessageAttributes"]["severity"]["Value"] == "ERROR"


def test_a_topic_that_is_not_there_is_named(aws_server: S3Server) -> None:
    topic = "arn:aws:sns:eu-west-2:123456789012:no-such-topic"
    with pytest.raises(AlertError, match=topic) as error:
        SnsNotifier(topic, sns_client(aws_server.storage_options)).send(alert())
    assert (error.value.retryable, error.value.wait) == (True, 900.0)
