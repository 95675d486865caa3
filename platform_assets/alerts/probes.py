"""Probes of alerts: each channel is reached, as far as that is possible without a message."""

from __future__ import annotations

import os
import smtplib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from platform_assets.alerts.settings import ChannelSettings
from platform_assets.configuration.secrets import Secret
from platform_assets.configuration.stores import resolve_options
from platform_assets.diagnosis import Observation, error, ok
from platform_assets.errors import SettingsError
from platform_assets.smtp import MailServer

_SECONDS = 10.0


def look_at_channel(name: str, given: ChannelSettings) -> Iterator[Observation]:
    """Yield the findings about a channel.

    Args:
        name: Its name.
        given: Its settings.

    Raises:
        SettingsError: A secret cannot be fetched.
    """
    test = f"Then send a test message: platform-assets alerts test {name}."
    if given.slack is not None:
        yield _reachable(name, given.slack.webhook, test)
    elif given.sns is not None:
        from platform_assets.alerts.sns import sns_client

        yield _topic(name, given.sns.topic, sns_client(resolve_options(given.sns.options)))
    elif given.email is None:
        yield ok(name, "writes to the log")
    elif given.email.spool is not None:
        yield look_at_folder(name, given.email.spool, "messages are kept in")
    else:
        mail = given.email
        server = MailServer(
            mail.host or "", mail.port, mail.user, mail.password, mail.security, mail.ca_file, _SECONDS
        )
        yield _mail_server(name, server, test)


def look_at_folder(subject: str, folder: Path, purpose: str) -> Observation:
    """Return whether files can be made in a folder, which need not exist yet."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return ok(subject, f"{purpose} {folder}")
    return error(subject, f"{folder} cannot be written to", f"Give this user write access to {there}.")


def look_at_address(subject: str, address: Secret) -> Iterator[Observation]:
    """Yield whether the server of a secret address can be reached by TLS; nothing is sent to it.

    Raises:
        SettingsError: The secret cannot be fetched.
    """
    yield _reachable(subject, address, "Compare the address with the one that the service shows.")


def _reachable(subject: str, address: Secret, advice: str) -> Observation:
    try:
        parts = urlsplit(address.resolve())
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise SettingsError(f"{address}: the secret is not an address.") from None
    try:
        with socket.create_connection((host, port), timeout=_SECONDS) as connection:
            if parts.scheme == "https":
                with ssl.create_default_context().wrap_socket(connection, server_hostname=host):
                    pass
    except OSError as failure:
        # The address is a secret; its host is not.
        reason = failure.strerror or type(failure).__name__
        return error(subject, f"{host}:{port} cannot be reached: {reason}", advice)
    return ok(subject, f"{host}:{port} can be reached; whether the address is valid, only a message shows")


def _mail_server(subject: str, server: MailServer, advice: str) -> Observation:
    try:
        with server.session() as connection:
            connection.noop()
    except smtplib.SMTPAuthenticationError as failure:
        return error(subject, f"{server} refuses the user {server.user} ({failure.smtp_code})", advice)
    except (smtplib.SMTPException, OSError) as failure:
        reason = getattr(failure, "strerror", None) or type(failure).__name__
        return error(
            subject, f"{server} cannot be used: {reason}", f"Correct the channel's settings. {advice}"
        )
    signed_in = f" as {server.user}" if server.user else ""
    return ok(subject, f"{server} can be used{signed_in}")


def _topic(subject: str, topic: str, client: Any) -> Observation:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.get_topic_attributes(TopicArn=topic)
    except ClientError as failure:
        code = str(failure.response.get("Error", {}).get("Code", ""))
        if code in ("AuthorizationError", "AccessDenied"):
            # Looking at a topic is a permission of its own, which sending does not need.
            return ok(subject, f"{topic} answers; whether it takes messages, only a message shows")
        return error(subject, f"{topic}: {code}", "Check the topic's ARN, its region, and the credentials.")
    except BotoCoreError as failure:
        return error(
            subject, f"{topic} cannot be reached: {type(failure).__name__}", "Check region and network."
        )
    return ok(subject, f"{topic} exists")
