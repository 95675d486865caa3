"""Settings of all deliveries: where their files are staged, and how often they are attempted.

A delivery itself is a file `deliveries/NAME.conf` beside the configuration; see `delivery/file.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, Field

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.values import Block, Integer, LocalPath


class AttemptSettings(Block):
    """Attempts at each destination, and at reading the data."""

    number: Integer = Field(default=4, ge=1, le=100, description="a whole number from 1 to 100")
    """The most attempts in one run."""
    first_wait: float = Field(default=2, ge=0, le=3600, description="seconds from 0 to 3600")
    """Seconds before the second attempt; doubled before each further one."""
    longest_wait: float = Field(default=60, ge=0, le=3600, description="seconds from 0 to 3600")
    """The longest wait in seconds, unless a destination asks for a longer one."""
    jitter: float = Field(default=2, ge=0, le=600, description="seconds from 0 to 600")
    """The most seconds that are added to a wait at random, so that runs do not retry at the same moment."""
    deadline_minutes: float = Field(default=60, gt=0, le=10_080, description="minutes up to 10080, a week")
    """Minutes after which a run gives up; the next run continues."""
    retry: Literal["unavailable", "all", "none"] = Field(
        default="unavailable", description="one of unavailable, all, none"
    )
    """The errors after which another attempt is made: `unavailable` for those that may pass by themselves,
    such as a dropped connection and not a wrong password."""


class DeliveriesSettings(Block):
    """What all deliveries share."""

    staging: LocalPath | None = Field(
        default=None, description="the path of a folder; by default deliveries in the folder for local state"
    )
    """The folder for rendered files, until every destination has them."""
    staging_limit_mb: Integer = Field(
        default=20_000, ge=1, le=100_000_000, description="megabytes, 1 or more"
    )
    """Megabytes that the files of one delivery may take there."""
    parallel: Integer = Field(default=4, ge=1, le=64, description="a whole number from 1 to 64")
    """Destinations of a delivery that are written to at the same time."""
    attempts: AttemptSettings = Field(
        default_factory=AttemptSettings, description="a block with number, first_wait and deadline_minutes"
    )


class DeliveryRoomSettings(RoomSettings):
    """The deliveries' key."""

    delivery: DeliveriesSettings = Field(
        default_factory=DeliveriesSettings, description="a block with staging, parallel and attempts"
    )


def files() -> Iterator[tuple[str, type[BaseModel]]]:
    """The kinds of configuration files of this room: a title and the model of each."""
    from platform_assets.delivery.file import DeliverySettings

    yield "Deliveries: `config/deliveries/NAME.conf`", DeliverySettings


SETTINGS = DeliveryRoomSettings
