"""Alert settings: the channels and who is notified."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.blocks import RoomSettings, Settings
from platform_assets.configuration.connections import SmtpSettings
from platform_assets.configuration.mistakes import Mistake, shown
from platform_assets.configuration.secrets import REFERENCES, Secret
from platform_assets.configuration.stores import StoreOptions
from platform_assets.configuration.values import (
    Address,
    Block,
    Integer,
    LocalPath,
    Mailbox,
    Names,
    Text,
    timezone_name,
)


def _arn(value: str) -> str:
    if not re.fullmatch(r"arn:[\w-]+:sns:[\w-]*:\d*:[\w.-]+", value):
        raise ValueError("it is no ARN of a topic")
    return value


def _clock(value: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError("write hours and minutes, such as 22:00")
    return value


def _a_sign(value: Path | None, info: ValidationInfo) -> Path | None:
    if "url" not in info.data:  # set but invalid: already reported
        return value
    if value is None and info.data["url"] is None:
        raise ValueError("set url to a reference to an address, or file to the path of a file")
    return value


class SlackSettings(Block):
    """A Slack channel."""

    webhook: Secret = Field(description=f"a reference to the webhook's address: {REFERENCES}")
    """The incoming webhook of the channel."""


class EmailSettings(SmtpSettings):
    """E-mail recipients, reached through one SMTP server."""

    recipients: Annotated[tuple[Mailbox, ...], Field(min_length=1)] = Field(description="a list of addresses")
    """The recipients."""


class SnsSettings(Block):
    """An Amazon SNS topic."""

    topic: Annotated[Text, AfterValidator(_arn)] = Field(description="the topic's ARN, arn:aws:sns:...")
    """The topic."""
    options: StoreOptions = Field(
        default_factory=dict, description="text, a number, true or false, as lake.storage_options"
    )
    """Options of the client, as in `lake.storage_options`."""


def _one_kind(value: SnsSettings | None, info: ValidationInfo) -> SnsSettings | None:
    services = (SlackSettings, EmailSettings)
    given = [name for name, block in info.data.items() if isinstance(block, services)]
    if value is not None:
        given.append("sns")
    if len(given) > 1:
        raise ValueError(f"a channel is of one kind, and this one is {' and '.join(given)}")
    return value


Clock = Annotated[Text, AfterValidator(_clock)]


class QuietSettings(Block):
    """Hours in which a channel gets CRITICAL alerts only; the others follow at their end."""

    start: Clock = Field(description="hours and minutes, such as 22:00")
    """When the quiet begins."""
    end: Clock = Field(description="hours and minutes, such as 07:00")
    """When it ends; on the next day if this is not after `start`."""
    timezone: Annotated[Text, AfterValidator(timezone_name)] = Field(
        default="UTC", description="a time zone's name, such as UTC or Europe/London"
    )
    """The time zone of both."""


class ChannelSettings(Block):
    """A channel; without a block for a service it writes to the log."""

    min_severity: Literal["INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="WARNING", description="one of INFO, WARNING, ERROR, CRITICAL"
    )
    """Alerts below this severity are not sent here."""
    named_only: bool = Field(default=False, description="true or false")
    """True to send only what names this channel, such as the success of a delivery to its audience."""
    quiet: QuietSettings | None = Field(default=None, description="a block with start and end")
    """Hours in which only CRITICAL alerts are sent here."""
    slack: SlackSettings | None = Field(default=None, description="a block with webhook")
    email: EmailSettings | None = Field(
        default=None, description="a block with host or spool, sender and recipients"
    )
    sns: Annotated[SnsSettings | None, AfterValidator(_one_kind)] = Field(
        default=None, validate_default=True, description="a block with topic"
    )


Failures = Annotated[Integer, Field(ge=1, le=1_000)]


class IncidentSettings(Block):
    """When a failure becomes an incident, and how often people are reminded of it."""

    after_failures: Failures = Field(default=1, description="a whole number from 1 to 1000")
    """Failures in a row of a job, check, table, schedule or sensor before people are notified."""
    after_failures_of: dict[str, Failures] = Field(
        default_factory=dict, description="whole numbers from 1 to 1000 by the names of jobs or assets"
    )
    """The same for single jobs, schedules, sensors or assets, by name."""
    remind_hours: Integer = Field(default=24, ge=1, le=8_760, description="whole hours, 1 or more")
    """Hours between reminders while an incident lasts."""
    late_minutes: Integer = Field(default=10, ge=1, le=1_440, description="whole minutes, 1 or more")
    """Minutes by which a schedule or sensor may be late."""
    daemon_minutes: Integer = Field(default=5, ge=1, le=1_440, description="whole minutes, 1 or more")
    """Minutes without a sign of life until Dagster's daemon counts as dead."""
    upkeep_hours: Integer = Field(default=24, ge=0, le=8_760, description="whole hours; 0 to not look")
    """Hours without upkeep of the lake before people are notified; 0 to not look."""


class HeartbeatSettings(Block):
    """A sign of life after each successful run of the main job, for somebody outside to miss."""

    url: Secret | None = Field(default=None, description=f"a reference to an address: {REFERENCES}")
    """The address to ask, such as that of a dead man's switch; a secret, as anybody who has it can ask it."""
    file: Annotated[LocalPath | None, AfterValidator(_a_sign)] = Field(
        default=None, validate_default=True, description="the path of a file"
    )
    """A file whose time of change is the sign of life."""
    method: Literal["GET", "POST"] = Field(default="GET", description="one of GET, POST")
    """The HTTP method of the request."""
    timeout: Integer = Field(default=5, ge=1, le=60, description="whole seconds from 1 to 60")
    """Seconds to wait for a connection and for an answer."""
    attempts: Integer = Field(default=3, ge=1, le=10, description="a whole number from 1 to 10")
    """Attempts after each run."""


class AlertsSettings(Block):
    """The channels, who is notified of what and when, and the address of Dagster's UI for links to runs."""

    dagster_url: Address | None = Field(
        default=None, description="the address of the Dagster UI, such as https://dagster.example.org"
    )
    """The Dagster UI, for links to runs."""
    channels: dict[str, ChannelSettings] = Field(
        default_factory=dict, description="a block of channels by name, each with slack, email or sns"
    )
    owners: dict[str, Names] = Field(
        default_factory=dict, description="lists of names of channels by the owners of assets"
    )
    """The channels for incidents with assets of an owner, such as "data@example.org" = [on-call]."""
    incidents: IncidentSettings = Field(
        default_factory=IncidentSettings, description="a block with after_failures and remind_hours"
    )
    heartbeat: HeartbeatSettings | None = Field(default=None, description="a block with url or file")


class AlertsRoomSettings(RoomSettings):
    """The alerts' key."""

    alerts: AlertsSettings = Field(
        default_factory=AlertsSettings, description="a block with dagster_url and channels"
    )

    def mistakes(self, settings: Settings) -> Iterator[Mistake]:
        """Check that the owners' channels exist."""
        known = ("log", *self.alerts.channels)
        for owner, names in self.alerts.owners.items():
            for place, name in enumerate(names):
                if name not in known:
                    key = ("alerts", "owners", owner, place)
                    yield Mistake(key, shown(name), f"a channel of alerts.channels{nearest(name, known)}")


def nearest(name: str, known: tuple[str, ...]) -> str:
    """Return a hint at the nearest of some names, or at all of them: `: did you mean on-call?`."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f": {', '.join(known)}"


def is_quiet(quiet: QuietSettings | None, now: dt.datetime) -> bool:
    """Return True in a channel's quiet hours.

    Args:
        quiet: The quiet hours.
        now: The time, UTC.
    """
    if quiet is None:
        return False
    from zoneinfo import ZoneInfo

    start, end = dt.time.fromisoformat(quiet.start), dt.time.fromisoformat(quiet.end)
    at = now.astimezone(ZoneInfo(quiet.timezone)).time()
    return start <= at < end if start < end else at >= start or at < end


SETTINGS = AlertsRoomSettings
