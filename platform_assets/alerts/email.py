"""E-mail over SMTP, encrypted with STARTTLS or with TLS from the start."""

from __future__ import annotations

import datetime as dt
import smtplib
import ssl
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Literal

from platform_assets.alert import Alert, Severity, plain, plain_lines
from platform_assets.configuration.secrets import Secret
from platform_assets.errors import AlertError
from platform_assets.processes import write_whole
from platform_assets.smtp import MailServer

_TIMEOUT = 20.0
_LONGEST_SUBJECT = 150
_MENDED_AFTER = 900.0


@dataclass(frozen=True)
class EmailNotifier:
    """Sends e-mail through one SMTP server to fixed recipients.

    Args:
        host: The server.
        port: Its port: 587 with STARTTLS, 465 with TLS from the start.
        sender: The sender's address.
        recipients: The recipients' addresses.
        user: User name; empty if the server needs no authentication.
        password: A reference to the password.
        security: `starttls`, which the server must offer; `tls` from the start; `none`, which never
            authenticates.
        ca_file: Certificates to trust in place of the system's.
        spool: A folder in which messages are kept as .eml files in place of being sent.
    """

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    user: str = ""
    password: Secret | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None
    spool: Path | None = None

    def send(self, alert: Alert) -> None:
        """See `Notifier.send`; raises if the server rejects any of the recipients."""
        if self.spool is not None:
            self._keep(alert, self.spool)
            return
        server = MailServer(
            self.host, self.port, self.user, self.password, self.security, self.ca_file, _TIMEOUT
        )
        try:
            with server.session() as connection:
                refused = connection.send_message(self._message(alert), self.sender, self.recipients)
        except smtplib.SMTPAuthenticationError as error:
            raise self._mendable(f"refused the user {self.user} ({error.smtp_code})") from None
        except smtplib.SMTPNotSupportedError:
            raise self._mendable("does not support STARTTLS or signing in, which the channel needs") from None
        except ssl.SSLError as error:
            raise self._mendable(f"cannot be trusted: {error.reason or type(error).__name__}") from None
        except smtplib.SMTPRecipientsRefused as error:
            raise _refusal(str(server), error.recipients) from None
        except smtplib.SMTPResponseException as error:
            # 4yz is a transient answer, 5yz a permanent one (RFC 5321, 4.2.1).
            raise AlertError(
                f"The mail server {server} refused the message: {error.smtp_code}.",
                retryable=error.smtp_code < 500,
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            raise AlertError(
                f"The mail server {server} did not accept the message: {type(error).__name__}. The message "
                "is sent again later.",
                retryable=True,
            ) from None
        if refused:
            raise AlertError(
                f"The mail server {server} took the message for some, and refused it for "
                f"{len(refused)} of {len(self.recipients)} recipients.",
                retryable=False,
            )

    def _keep(self, alert: Alert, spool: Path) -> None:
        # The same alert has the same name, so that it is kept once.
        file = spool / f"{alert.at.astimezone(dt.UTC):%Y-%m-%dT%H%M%S}-{alert.reference}.eml"
        try:
            spool.mkdir(parents=True, exist_ok=True)
            write_whole(file, self._message(alert).as_bytes(policy=SMTP))
        except OSError as error:
            raise AlertError(
                f"The message cannot be kept in {spool}: {error.strerror}. It is kept later.", retryable=True
            ) from None

    def _message(self, alert: Alert) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = subject(alert)[:_LONGEST_SUBJECT]
        message["From"] = self.sender
        message["To"] = ", ".join(self.recipients)
        message["Date"] = format_datetime(alert.at)
        # The same alert always has the same Message-ID, so that mail programs show a duplicate only once.
        message["Message-ID"] = f"<{alert.key}@{Address(addr_spec=self.sender).domain}>"
        message["Auto-Submitted"] = "auto-generated"
        if alert.severity >= Severity.ERROR:
            message["Importance"] = "high"
        message.set_content(text(alert))
        return message

    def _mendable(self, what: str) -> AlertError:
        return AlertError(
            f"The mail server {self.host}:{self.port} {what}. Correct the channel's settings; the message "
            "is sent again later.",
            retryable=True,
            wait=_MENDED_AFTER,
        )


def subject(alert: Alert) -> str:
    """The subject line: the severity, the event and the place; of a message to an audience, its title."""
    if alert.message:
        return plain(alert.title)
    where = f" in {plain(alert.where)}" if alert.where else ""
    return f"[{alert.severity.name}] {plain(alert.title)}{where}"


def text(alert: Alert) -> str:
    """The message as plain text."""
    if alert.message:
        return "\n".join(plain_lines(alert.message)) + "\n"
    width = max(len(name) for name, _ in alert.details)
    lines = [plain(alert.title), ""]
    lines += [f"{name + ':':{width + 2}}{value}" for name, value in alert.details]
    if alert.findings:
        lines += ["", "Found:", *(f"  {line}" for line in alert.findings)]
    if alert.run_url:
        lines += ["", f"The run: {plain(alert.run_url)}"]
    return "\n".join(lines) + "\n"


def _refusal(server: str, recipients: dict[str, tuple[int, bytes]]) -> AlertError:
    codes = sorted({code for code, _ in recipients.values()})
    return AlertError(
        f"The mail server {server} refused all recipients: {', '.join(map(str, codes))}.",
        retryable=any(code < 500 for code in codes),
    )
