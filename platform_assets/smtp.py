"""A mail server: connecting and signing in, for alerts and for deliveries by e-mail."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platform_assets.configuration.secrets import Secret


@dataclass(frozen=True)
class MailServer:
    """An SMTP server, and how to sign in.

    Args:
        host: The server.
        port: Its port: 587 with STARTTLS, 465 with TLS from the start.
        user: User name; empty if the server needs no authentication.
        password: A reference to the password.
        security: `starttls`, which the server must offer; `tls` from the start; `none`, which never
            authenticates.
        ca_file: Certificates to trust in place of the system's.
        timeout: Seconds without an answer until the connection is given up.
    """

    host: str
    port: int
    user: str = ""
    password: Secret | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None
    timeout: float = 20.0

    def __str__(self) -> str:
        """Return host and port."""
        return f"{self.host}:{self.port}"

    @contextmanager
    def session(self) -> Iterator[smtplib.SMTP]:
        """Connect, encrypt and sign in.

        Raises:
            smtplib.SMTPException: The server refuses it.
            OSError: The server cannot be reached, or cannot be trusted.
            SettingsError: The password cannot be fetched.
        """
        password = self.password.resolve() if self.password is not None else ""
        connection = self._connect()
        try:
            if self.security == "starttls":
                connection.starttls(context=self._context())
            if self.user and self.security != "none":
                connection.login(self.user, password)
            yield connection
            # What was sent stays sent, however the server takes its leave.
            with contextlib.suppress(smtplib.SMTPException, OSError):
                connection.quit()
        finally:
            connection.close()

    def _connect(self) -> smtplib.SMTP:
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout, context=self._context())
        return smtplib.SMTP(self.host, self.port, timeout=self.timeout)

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
