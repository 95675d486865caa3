"""Settings of all deliveries: where their files are staged, and how often they are attempted.

A delivery itself is a file `deliveries/NAME.conf` beside the configuration; see `delivery/file.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, Field

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.values import Block, Integer, LocalPath
from platform_assets.delivery.attempt_settings import AttemptSettings


class DeliveriesSettings(Block):
    """Settings that all deliveries share."""

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
