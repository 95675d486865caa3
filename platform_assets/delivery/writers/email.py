"""Files as attachments of e-mail, sent by an SMTP server or kept in a folder."""

from __future__ import annotations

import datetime as dt
import hashlib
import smtplib
import ssl
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from pathlib import Path

from platform_assets.delivery.interfaces import (
    DeliveryError,
    DestinationUnavailable,
    Progress,
    Receipt,
    StagedFile,
)
from platform_assets.delivery.recipients import PartlyDelivered
from platform_assets.delivery.writers.content import SIDECAR, ascii_text, changed, safe_name, sidecar
from platform_assets.delivery.writers.folder import explained, write_new
from platform_assets.delivery.writers.trust import untrusted
from platform_assets.smtp import MailServer

_MIB = 1 << 20
_LONGEST_SUBJECT = 150


@dataclass(frozen=True)
class Letter:
    """The message around an attached file.

    Args:
        sender: The sender's address.
        recipients: The recipients' addresses.
        subject: The subject; the delivery's title where None.
        text: The text; what the file is where None.
        has_sidecar: True to attach metadata also.
        most: Bytes that an attached file may have.
    """

    sender: str
    recipients: tuple[str, ...]
    subject: str | None = None
    text: str | None = None
    has_sidecar: bool = False
    most: int = 20 * _MIB

    @property
    def address(self) -> str:
        """The recipients as an address."""
        return f"mailto:{','.join(self.recipients)}"

    def message(self, file: StagedFile) -> EmailMessage:
        """Compose the message of a file: the same bytes in every attempt.

        Raises:
            DeliveryError: The file is larger than a message takes.
        """
        name = safe_name(file).rpartition("/")[2]
        if file.size > self.most:
            raise DeliveryError(
                f"{name} was not sent to {self.address}: it has {file.size / _MIB:.1f} MB, and a message "
                f"takes {self.most // _MIB} MB. Deliver it to a bucket and send a link, or raise "
                "email.max_mb."
            )
        content = file.path.read_bytes()
        if len(content) != file.size:
            raise changed(file)
        message = EmailMessage(policy=policy.SMTP)
        message["Subject"] = _one_line(self.subject or file.stamp.title)[:_LONGEST_SUBJECT]
        message["From"] = self.sender
        message["To"] = ", ".join(self.recipients)
        message["Date"] = format_datetime(file.stamp.at)
        message["Message-ID"] = f"<{mark(file)}@{_ascii_domain(self.sender)}>"
        message["Auto-Submitted"] = "auto-generated"
        for key, value in file.metadata.items():
            message[f"X-Delivery-{key.title()}"] = ascii_text(value)
        message.set_content(self.text or _text(file, name))
        _attach(message, content, file.content_type, name)
        if self.has_sidecar:
            _attach(message, sidecar(file), "application/json", name + SIDECAR)
        message.set_boundary(f"=_{hashlib.sha256(mark(file).encode()).hexdigest()[:32]}")
        return message


@dataclass(frozen=True)
class MailWriter:
    """Sends every file as an attachment of a message of its own.

    Args:
        letter: The message around the file.
        server: The mail server.
    """

    letter: Letter
    server: MailServer

    @property
    def address(self) -> str:
        """See `Writer.address`."""
        return self.letter.address

    @contextmanager
    def open(self) -> Iterator[MailTransfer]:
        """See `Writer.open`."""
        with ExitStack() as stack:
            with _explained(f"Nothing was sent to {self.address} by the mail server {self.server}"):
                connection = stack.enter_context(self.server.session())
            yield MailTransfer(self.letter, str(self.server), connection)

    def link(self, file: StagedFile, expires: dt.timedelta) -> None:
        """Return None: who has the message has the file."""


@dataclass(frozen=True)
class MailTransfer:
    """Sends messages over one connection.

    Args:
        letter: The message around a file.
        server: The server's name.
        connection: The connection, signed in.
    """

    letter: Letter
    server: str
    connection: smtplib.SMTP

    def write(self, file: StagedFile, progress: Progress) -> Receipt:
        """See `Transfer.write`. A mail server cannot be asked for what it has: a repeat is sent again.

        Both messages then have the same Message-ID, by which mail programs know a second copy.
        """
        return self.write_to_others(file, progress, ())

    def write_to_others(self, file: StagedFile, progress: Progress, had: Collection[str]) -> Receipt:
        """See `HasRecipients.write_to_others`. The message names all recipients, whoever gets it now."""
        message = self.letter.message(file)
        attempt = f"{file.name} was not sent to {self.letter.address}"
        size = len(message.as_bytes())
        attempted = f"{attempt} by the mail server {self.server}"
        with _explained(attempted):
            self.connection.ehlo_or_helo_if_needed()
        limit = self.connection.esmtp_features.get("size", "")
        if limit.isdecimal() and 0 < int(limit) < size:
            raise DeliveryError(
                f"{attempt}: with it the message has {size / _MIB:.1f} MB, and the mail server {self.server} "
                f"takes {int(limit) / _MIB:.1f} MB. Deliver it to a bucket and send a link."
            )
        left = [recipient for recipient in self.letter.recipients if f"mailto:{recipient}" not in had]
        refused: dict[str, tuple[int, bytes]] = {}
        if left:
            with _explained(attempted):
                refused = self.connection.send_message(message, parseaddr(self.letter.sender)[1], left)
        if refused:
            # As with other answers, 4yz passes and 5yz does not (RFC 5321, 4.2.1).
            is_passing = any(code < 500 for code, _ in refused.values())
            advice = "" if is_passing else "Correct these addresses. "
            raise PartlyDelivered(
                f"{attempt}: the mail server {self.server} sent it to some, and refused "
                f"{_refused(refused)}. {advice}The next attempt is sent to them only.",
                [f"mailto:{recipient}" for recipient in left if recipient not in refused],
                retryable=is_passing,
            )
        progress(file.size)
        return Receipt(
            self.letter.address,
            file.size,
            "accepted",
            file.size if left else 0,
            {"message_id": str(message["Message-ID"]), "server": self.server},
        )


@dataclass(frozen=True)
class SpoolWriter:
    """Keeps messages in a folder in place of sending them.

    Args:
        letter: The message around the file.
        folder: The folder; created if it is missing.
    """

    letter: Letter
    folder: Path

    @property
    def address(self) -> str:
        """See `Writer.address`."""
        return self.letter.address

    @contextmanager
    def open(self) -> Iterator[SpoolWriter]:
        """See `Writer.open`."""
        yield self

    def write(self, file: StagedFile, progress: Progress) -> Receipt:
        """See `Transfer.write`."""
        content = self.letter.message(file).as_bytes()
        final = self.folder / f"{mark(file)}.eml"
        with explained(final):
            is_there = final.is_file() and final.read_bytes() == content
            if not is_there:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_new(final, self.folder / f".{mark(file)}.part", content)
        progress(file.size)
        facts = {"spool": str(final)}
        return Receipt(self.letter.address, file.size, "content", 0 if is_there else file.size, facts)

    def link(self, file: StagedFile, expires: dt.timedelta) -> None:
        """Return None: who has the message has the file."""


def mark(file: StagedFile) -> str:
    """Return what identifies the message of a file: the same in every attempt of one delivery."""
    return f"{file.stamp.uuid}.{hashlib.sha256(file.name.encode()).hexdigest()[:12]}"


def _text(file: StagedFile, name: str) -> str:
    lines = [file.stamp.title, "", f"Attached: {name} ({file.size:,} bytes)"]
    lines += [f"{key.title() + ':':<11}{value}" for key, value in file.metadata.items() if key != "title"]
    return "\n".join(lines) + "\n"


def _attach(message: EmailMessage, content: bytes, content_type: str, name: str) -> None:
    main, _, sub = content_type.partition(";")[0].strip().partition("/")
    if main in ("message", "multipart") or not sub:
        main, sub = "application", "octet-stream"
    message.add_attachment(content, maintype=main, subtype=sub, filename=name)


def _ascii_domain(sender: str) -> str:
    """The domain of a sender, as it may stand where other characters may not."""
    domain = parseaddr(sender)[1].rpartition("@")[2]
    return domain if domain.isascii() else domain.encode("idna").decode()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _refused(recipients: Mapping[str, tuple[int, bytes]]) -> str:
    return ", ".join(f"{recipient} ({code})" for recipient, (code, _) in recipients.items())


@contextmanager
def _explained(attempt: str) -> Iterator[None]:
    """Translate the errors of SMTP and of the network, with what was attempted."""
    try:
        yield
    except smtplib.SMTPAuthenticationError as error:
        raise DeliveryError(
            f"{attempt}: it does not let the user in ({error.smtp_code}). Correct email.user or "
            "email.password."
        ) from None
    except smtplib.SMTPNotSupportedError:
        raise DeliveryError(
            f"{attempt}: it does not support STARTTLS, signing in or these addresses. Correct email.security."
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise untrusted(attempt.rpartition(" ")[2], error) from None
    except smtplib.SMTPRecipientsRefused as error:
        message = f"{attempt}: it refused {_refused(error.recipients)}."
        if all(code >= 500 for code, _ in error.recipients.values()):
            raise DeliveryError(f"{message} Correct the addresses.") from None
        raise DestinationUnavailable(f"{message} The next attempt sends it again.") from None
    except smtplib.SMTPResponseException as error:
        # 4yz is a transient answer, 5yz a permanent one (RFC 5321, 4.2.1).
        answer = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else ""
        message = f"{attempt}: it answered {error.smtp_code} {_one_line(answer)[:200]}".rstrip(". ")
        if error.smtp_code >= 500:
            raise DeliveryError(f"{message}. Correct the message, or ask the server's owner.") from None
        raise DestinationUnavailable(f"{message}. The next attempt sends it again.") from None
    except TimeoutError:
        raise DestinationUnavailable(
            f"{attempt}: no answer in time. The next attempt sends it again."
        ) from None
    except (smtplib.SMTPException, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:  # ca_file
            raise
        reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
        raise DestinationUnavailable(f"{attempt}: {reason}. The next attempt sends it again.") from None
