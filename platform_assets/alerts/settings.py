"""Alert settings: the channels and who is notified."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.secrets import REFERENCES, Secret
from platform_assets.configuration.stores import StoreOptions
from platform_assets.configuration.values import Address, Block, HostName, Integer, LocalPath, Mailbox, Text


def _arn(value: str) -> str:
    if not re.fullmatch(r"arn:[\w-]+:sns:[\w-]*:\d*:[\w.-]+", value):
        raise ValueError("it is no ARN of a topic")
    return value


def _a_way_out(value: Path | None, info: ValidationInfo) -> Path | None:
    if "host" not in info.data:  # set but invalid: already reported
        return value
    if value is None and info.data["host"] is None:
        raise ValueError("set host to the mail server's name, or spool to a folder for the messages")
    if value is not None and info.data["host"] is not None:
        raise ValueError("host is set too; only one of them can be used")
    return value


class SlackSettings(Block):
    """A Slack channel."""

    webhook: Secret = Field(description=f"a reference to the webhook's address: {REFERENCES}")
    """The incoming webhook of the channel."""


class EmailSettings(Block):
    """E-mail recipients, reached through one SMTP server."""

    host: HostName | None = Field(default=None, description="the name or address of the SMTP server")
    """The SMTP server; either this or `spool`."""
    spool: Annotated[LocalPath | None, AfterValidator(_a_way_out)] = Field(
        default=None,
        validate_default=True,
        description="the path of a folder for messages, where there is no host",
    )
    """A folder in which messages are kept as .eml files in place of being sent."""
    port: Integer = Field(default=587, ge=1, le=65535, description="a port from 1 to 65535")
    """The server's port."""
    sender: Mailbox = Field(description="the address that messages are from")
    """The sender."""
    recipients: Annotated[tuple[Mailbox, ...], Field(min_length=1)] = Field(description="a list of addresses")
    """The recipients."""
    user: str = Field(default="", description="the name to sign in with")
    """The user of the SMTP server; empty to send without signing in."""
    password: Secret | None = Field(default=None, description=f"a reference to the password: {REFERENCES}")
    """The user's password."""
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="one of starttls, tls, none"
    )
    """Encryption of the connection."""
    ca_file: LocalPath | None = Field(default=None, description="the path of a file with root certificates")
    """The certificates that the server's certificate is checked against."""


class SnsSettings(Block):
    """An Amazon SNS topic."""

    topic: Annotated[Text, AfterValidator(_arn)] = Field(description="the topic's ARN, arn:aws:sns:...")
    """The topic."""
    options: StoreOptions = Field(
        default_factory=dict, description="text, a number, true or false, as lake.storage_options"
    )
    """Options of the client, as in `lake.storage_options`."""


def _one_kind(value: SnsSettings | None, info: ValidationInfo) -> SnsSettings | None:
    given = [name for name, block in info.data.items() if isinstance(block, Block)]
    if value is not None:
        given.append("sns")
    if len(given) > 1:
        raise ValueError(f"a channel is of one kind, and this one is {' and '.join(given)}")
    return value


class ChannelSettings(Block):
    """A channel; without a block for a service it writes to the log."""

    min_severity: Literal["INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="WARNING", description="one of INFO, WARNING, ERROR, CRITICAL"
    )
    """Alerts below this severity are not sent here."""
    named_only: bool = Field(default=False, description="true or false")
    """True to send only what names this channel, such as the success of a delivery to its audience."""
    slack: SlackSettings | None = Field(default=None, description="a block with webhook")
    email: EmailSettings | None = Field(
        default=None, description="a block with host or spool, sender and recipients"
    )
    sns: Annotated[SnsSettings | None, AfterValidator(_one_kind)] = Field(
        default=None, validate_default=True, description="a block with topic"
    )


class AlertsSettings(Block):
    """The channels, and the address of Dagster's UI for links to runs."""

    dagster_url: Address | None = Field(
        default=None, description="the address of the Dagster UI, such as https://dagster.example.org"
    )
    """The Dagster UI, for links to runs."""
    channels: dict[str, ChannelSettings] = Field(
        default_factory=dict, description="a block of channels by name, each with slack, email or sns"
    )


class AlertsRoomSettings(RoomSettings):
    """The alerts' key."""

    alerts: AlertsSettings = Field(
        default_factory=AlertsSettings, description="a block with dagster_url and channels"
    )


SETTINGS = AlertsRoomSettings
