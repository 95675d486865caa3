"""E-mail: what messages have in them, limits, refusals, and the folder in place of a server."""

from __future__ import annotations

import datetime as dt
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from platform_assets.delivery.interfaces import DeliveryError, DestinationUnavailable
from platform_assets.delivery.recipients import PartlyDelivered, Recipients
from platform_assets_tests.delivery.writers.places import WRONG, Stage, deliver, writer_of
from platform_assets_tests.fixtures.smtp import PASSWORD, USER, NewSmtpServer, SmtpServer
from platform_assets_tests.fixtures.wire import free_port

CONTENT = b"a;b\n" * 100_000


def block(server: SmtpServer, folder: Path, password: str = PASSWORD, **options: Any) -> dict[str, Any]:
    (folder / "mail_password").write_text(password)
    mail = {
        "host": "127.0.0.1",
        "port": server.port,
        "sender": "Data Team <data@example.org>",
        "user": USER,
        "password": f"secret://file{folder / 'mail_password'}",
        "ca_file": str(server.ca_file),
        **options,
    }
    return {"address": "mailto:a@example.org,b@example.org", "email": mail}


def spooled(folder: Path, **options: Any) -> dict[str, Any]:
    mail = {"sender": "data@example.org", "spool": str(folder), **options}
    return {"address": "mailto:a@example.org", "email": mail}


def attached(message: EmailMessage) -> list[tuple[str | None, str, Any]]:
    return [
        (part.get_filename(), part.get_content_type(), part.get_content())
        for part in message.iter_attachments()
    ]


def test_the_file_is_attached_under_its_name_to_a_message_that_says_what_it_is(
    new_smtp_server: NewSmtpServer, stage: Stage, tmp_path: Path
) -> None:
    server = new_smtp_server()
    file = stage(CONTENT, "2026/Kunden März.bin", title="Kunden am Morgen", content_type="application/zip")
    seen: list[int] = []
    with writer_of(block(server, tmp_path)).open() as transfer:
        receipt = transfer.write(file, seen.append)
    (message,) = server.messages
    assert attached(message) == [("Kunden März.bin", "application/zip", CONTENT)]
    assert (message["Subject"], message["From"]) == ("Kunden am Morgen", "Data Team <data@example.org>")
    assert message["To"] == "a@example.org, b@example.org"
    body = message.get_body()
    assert body is not None
    for text in ("Kunden März.bin (400,000 bytes)", file.sha256, file.stamp.uuid):
        assert text in body.get_content()
    assert message["X-Delivery-Uuid"] == file.stamp.uuid
    assert server.encrypted == [(True, True)]
    assert (receipt.verified_by, receipt.sent, sum(seen)) == ("accepted", file.size, file.size)
    assert receipt.facts["message_id"] == message["Message-ID"]


def test_text_arrives_byte_for_byte(new_smtp_server: NewSmtpServer, stage: Stage, tmp_path: Path) -> None:
    server = new_smtp_server()
    content = "a;b\r\nü;\n.\nFrom here\n".encode()
    deliver(block(server, tmp_path), stage(content), sidecar="always")
    parts = list(server.messages[0].iter_attachments())
    assert parts[0].get_payload(decode=True) == content
    assert [part.get_filename() for part in parts] == ["customers.csv", "customers.csv.metadata.json"]


def test_a_repeat_has_the_same_message_id_and_another_file_has_another(
    new_smtp_server: NewSmtpServer, stage: Stage, tmp_path: Path
) -> None:
    server = new_smtp_server()
    for name in ("a.csv", "a.csv", "b.csv"):
        deliver(block(server, tmp_path), stage(CONTENT, name))
    first, second, other = (message["Message-ID"] for message in server.messages)
    assert first == second != other


def test_subject_and_text_can_be_set(new_smtp_server: NewSmtpServer, stage: Stage, tmp_path: Path) -> None:
    server = new_smtp_server()
    deliver(block(server, tmp_path, subject="Your file", text="As agreed.\n"), stage(CONTENT))
    body = server.messages[0].get_body()
    assert body is not None
    assert (server.messages[0]["Subject"], body.get_content().split()) == ("Your file", ["As", "agreed."])


def test_a_message_above_the_servers_limit_is_not_sent(
    new_smtp_server: NewSmtpServer, stage: Stage, tmp_path: Path
) -> None:
    server = new_smtp_server(most=300_000)
    with pytest.raises(DeliveryError, match=r"the mail server .* takes 0.3 MB") as error:
        deliver(block(server, tmp_path), stage(CONTENT))
    assert not error.value.retryable
    assert server.messages == []


def test_a_file_above_the_own_limit_is_not_read(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match=r"it has 1.9 MB, and a message takes 1 MB"):
        deliver(spooled(tmp_path / "spool", max_mb=1), stage(bytes(2_000_000)))


def test_wrong_credentials_are_final_and_never_shown(
    new_smtp_server: NewSmtpServer, stage: Stage, tmp_path: Path
) -> None:
    server = new_smtp_server()
    with pytest.raises(DeliveryError, match=r"Correct email\.user or email\.password") as error:
        deliver(block(server, tmp_path, WRONG), stage(CONTENT))
    assert not error.value.retryable
    assert WRONG not in str(error.value)


def test_a_server_without_starttls_gets_nothing(
    new_smtp_server: NewSmtpServer, stage: Stage, tmp_path: Path
) -> None:
    server = new_smtp_server(starttls=False)
    with pytest.raises(DeliveryError, match="STARTTLS"):
        deliver(block(server, tmp_path), stage(CONTENT))
    assert server.messages == []


def test_a_certificate_of_a_stranger_is_final(
    new_smtp_server: NewSmtpServer, stage: Stage, tmp_path: Path
) -> None:
    server = new_smtp_server()
    with pytest.raises(DeliveryError, match="cannot be trusted") as error:
        deliver(block(server, tmp_path, ca_file=None), stage(CONTENT))
    assert not error.value.retryable
    assert server.messages == []


def test_a_server_that_does_not_listen_is_tried_again_later(stage: Stage, tmp_path: Path) -> None:
    server = SmtpServer(free_port(), tmp_path / "none.pem")
    with pytest.raises(DestinationUnavailable, match="Connection refused"):
        deliver(block(server, tmp_path), stage(CONTENT))


@pytest.mark.parametrize(
    ("answer", "kind"), [("450 later", DestinationUnavailable), ("550 no such user", DeliveryError)]
)
def test_refused_recipients_are_final_or_not_as_the_server_means_it(
    new_smtp_server: NewSmtpServer, stage: Stage, tmp_path: Path, answer: str, kind: type[DeliveryError]
) -> None:
    server = new_smtp_server()
    server.refuse = dict.fromkeys(("a@example.org", "b@example.org"), answer)
    with pytest.raises(DeliveryError, match=answer[:3]) as error:
        deliver(block(server, tmp_path), stage(CONTENT))
    assert type(error.value) is kind


@pytest.mark.parametrize(("answer", "is_passing"), [("451 later", True), ("550 no such user", False)])
def test_one_refused_recipient_is_named_and_alone_gets_the_repeat(
    new_smtp_server: NewSmtpServer, stage: Stage, tmp_path: Path, answer: str, is_passing: bool
) -> None:
    server = new_smtp_server()
    server.refuse = {"b@example.org": answer}
    file, recipients, seen = stage(CONTENT), Recipients(), list[int]()
    with writer_of(block(server, tmp_path)).open() as transfer:
        with pytest.raises(PartlyDelivered, match=rf"refused b@example\.org \({answer[:3]}\)") as error:
            recipients.write(transfer, file, seen.append)
        assert (error.value.recipients, error.value.retryable) == (("mailto:a@example.org",), is_passing)
        server.refuse = {}
        receipt = recipients.write(transfer, file, seen.append)
        again = recipients.write(transfer, stage(CONTENT, "other.csv"), seen.append)
    assert server.received == [["a@example.org"], ["b@example.org"], ["a@example.org", "b@example.org"]]
    first, second, _ = server.messages
    assert (first["To"], first["Message-ID"]) == (second["To"], second["Message-ID"])
    assert (receipt.sent, again.sent, sum(seen)) == (file.size, file.size, 2 * file.size)


def test_a_message_that_everybody_has_is_not_sent(
    new_smtp_server: NewSmtpServer, stage: Stage, tmp_path: Path
) -> None:
    server, recipients, file = new_smtp_server(), Recipients(), stage(CONTENT)
    recipients.have(file.name, ["mailto:a@example.org", "mailto:b@example.org", "mailto:gone@example.org"])
    with writer_of(block(server, tmp_path)).open() as transfer:
        receipt = recipients.write(transfer, file, lambda sent: None)
    assert (receipt.sent, server.messages) == (0, [])


@pytest.mark.parametrize("options", [{}, {"sender": "Jörg <jörg@exämple.org>"}], ids=["to", "from"])
def test_addresses_beyond_ascii_are_sent_where_the_server_takes_them(
    new_smtp_server: NewSmtpServer, stage: Stage, tmp_path: Path, options: dict[str, str]
) -> None:
    server = new_smtp_server()
    given = {**block(server, tmp_path, **options), "address": "mailto:anna.müller@exämple.org"}
    deliver(given, stage(CONTENT))
    (message,) = server.messages
    assert message["To"] == "anna.müller@exämple.org"
    assert attached(message)[0][2] == CONTENT.decode()


def test_the_spool_keeps_a_message_once(stage: Stage, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    file = stage(CONTENT, "Kunden März.csv")
    (first,) = deliver(spooled(spool), file)
    (second,) = deliver(spooled(spool), file)
    deliver(spooled(spool), stage(CONTENT, "Kunden März.csv", uuid="newer"))
    kept = sorted(spool.iterdir())
    assert len(kept) == 2
    assert (first.sent, second.sent) == (file.size, 0)
    assert first.facts["spool"] in map(str, kept)
    message = message_from_bytes(Path(first.facts["spool"]).read_bytes(), policy=policy.default)
    assert isinstance(message, EmailMessage)
    (part,) = message.iter_attachments()
    assert (part.get_filename(), part.get_payload(decode=True)) == ("Kunden März.csv", CONTENT)


def test_a_spool_that_cannot_be_written_is_final(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DeliveryError, match="A file is where a folder is needed"):
        deliver(spooled(tmp_path / "taken"), stage(CONTENT))


def test_there_is_no_link_to_a_message(stage: Stage, tmp_path: Path) -> None:
    assert writer_of(spooled(tmp_path)).link(stage(CONTENT), dt.timedelta(hours=1)) is None
