"""The file of a delivery as one model, whatever fills it; knows neither HOCON nor Dagster."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.mistakes import Mistake, shown
from platform_assets.configuration.repair import Repaired
from platform_assets.configuration.values import Block, Cron, Integer, Names, Text, timezone_name
from platform_assets.delivery.attempt_settings import AttemptSettings
from platform_assets.delivery.renderers.settings import RENDER, RenderSettings, rendering_mistakes
from platform_assets.delivery.sources.settings import (
    SOURCE,
    DataSourceSettings,
    gives_rows,
    gives_several,
)
from platform_assets.delivery.writers.settings import DestinationSettings

_MOST_HOURS = 7 * 24  # as long as a presigned link of S3 may live


def _owner(value: str) -> str:
    if not re.fullmatch(r"team:[\w.-]+|[^\s@:]+@[^\s@:]+\.[^\s@:]+", value):
        raise ValueError("an owner is a mail address, or team: with the name of a team")
    return value


def _names(value: dict[str, DestinationSettings]) -> dict[str, DestinationSettings]:
    for name in value:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name):
            raise ValueError(f"the name {name} has more than letters, digits, - and _")
    return value


def _only_way(value: str | None, info: ValidationInfo) -> str | None:
    if value is not None and info.data.get("schedule") is not None:
        raise ValueError("schedule is set too; a delivery is made by one of them")
    return value


class DeliveryScheduleSettings(Block):
    """When a delivery is made."""

    cron: Cron = Field(description='five cron fields, such as "0 6 * * *"')
    """When the delivery is made."""
    timezone: Annotated[Text, AfterValidator(timezone_name)] = Field(
        default="UTC", description="a time zone's name, such as UTC or Europe/London"
    )
    """The time zone of `cron`, and of dates in file names."""
    deadline_minutes: Integer = Field(default=120, ge=1, le=10_080, description="minutes from 1 to 10080")
    """Minutes after which a delivery that has not happened is missed, which alerts its owners once."""


class LinkSettings(Block):
    """A link to the delivered files, for the message about them."""

    to: Text = Field(description="the name of a destination")
    """The destination whose files the link leads to."""
    expires_hours: Integer = Field(default=72, ge=1, le=_MOST_HOURS, description="hours from 1 to 168")
    """Hours until the link ends, where the destination can make one that does."""


class SuccessSettings(Block):
    """The message to the audience after the files were delivered."""

    channels: Annotated[Names, Field(min_length=1)] = Field(
        description="a list of names of channels, from alerts.channels"
    )
    """The channels that get the message."""
    link: LinkSettings | None = Field(default=None, description="a block with to and expires_hours")


class FailureSettings(Block):
    """The message to the owners when a destination did not get the files."""

    channels: Annotated[Names, Field(min_length=1)] = Field(
        description="a list of names of channels, from alerts.channels"
    )
    """The channels that get the reason, in place of those for all alerts."""


class DeliverySettings(Block):
    """A delivery; the file's name is the delivery's name."""

    stand_ins: ClassVar[Mapping[str, Any]] = {
        "title": "-",
        "source": {"text": ""},
        "to": {"nowhere": {"address": "."}},
    }

    title: Text = Field(description="text, such as Customers in the morning")
    """The title, for people: it is in every message, and in the metadata of every file."""
    description: Text | None = Field(default=None, description="text")
    """The purpose of the delivery."""
    owners: tuple[Annotated[Text, AfterValidator(_owner)], ...] = Field(
        default=("team:data-platform",), description="a list of mail addresses and of team:NAME"
    )
    """The owners of the delivery."""
    schedule: DeliveryScheduleSettings | None = Field(
        default=None, description="a block with cron and timezone"
    )
    when: Annotated[Literal["changed"] | None, AfterValidator(_only_way)] = Field(
        default=None, description="changed"
    )
    """`changed` in place of a schedule: whenever the data has changed."""
    source: DataSourceSettings = Field(description=SOURCE)
    render: RenderSettings = Field(default=(), description=RENDER)
    """The steps from the data to the files, in order."""
    file: Text | None = Field(
        default=None, description='a name such as "sales-{date}.csv"; by default as rendered'
    )
    """The name of the files at the destinations; it may have folders."""
    to: Annotated[dict[str, DestinationSettings], AfterValidator(_names), Field(min_length=1)] = Field(
        description="a block of destinations by name, each with an address"
    )
    attempts: AttemptSettings = Field(
        default_factory=AttemptSettings, description="a block with the keys of delivery.attempts"
    )
    on_success: SuccessSettings | None = Field(default=None, description="a block with channels and link")
    on_failure: FailureSettings | None = Field(default=None, description="a block with channels")

    @property
    def definition(self) -> str:
        """A fingerprint of source, rendering and file name: data that is rendered otherwise is sent again."""
        members = self.model_dump(mode="json", include={"source", "render", "file"}, by_alias=True)
        return hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()[:16]


def own_mistakes(given: Repaired[DeliverySettings]) -> Iterator[Mistake]:
    """Yield what is valid by itself and does not fit together within a delivery."""
    settings = given.block
    is_whole = not given.has_lost("source", "render", "file")
    for key, reason in (
        rendering_mistakes(
            settings.render,
            settings.file,
            gives_rows=gives_rows(settings.source),
            gives_several=gives_several(settings.source),
        )
        if is_whole
        else ()
    ):
        if key == "file":
            yield Mistake((key,), shown(settings.file), f"another name ({reason})")
        else:
            names = ", ".join(renderer.name for renderer in settings.render)
            yield Mistake((key,), f"[{names}]", f"steps that fit the source ({reason})")
    link = settings.on_success.link if settings.on_success else None
    if link is not None and link.to not in settings.to and ("to",) not in given.lost:
        expected = f"one of {', '.join(settings.to)}"
        yield Mistake(("on_success", "link", "to"), shown(link.to), expected)
