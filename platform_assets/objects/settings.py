"""Settings of the watches: folders and buckets that are looked at for new objects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.mistakes import Mistake, shown
from platform_assets.configuration.names import NAME
from platform_assets.configuration.stores import StoreOptions, Zone
from platform_assets.configuration.values import Block, Integer, Text

if TYPE_CHECKING:
    from platform_assets.configuration.blocks import Settings


def _of_its_bucket(value: str | None, info: ValidationInfo) -> str | None:
    place = str(info.data.get("place", ""))
    scheme = {"queue": "s3://", "subscription": "gs://"}[info.field_name or ""]
    if value is not None and not place.startswith(scheme):
        raise ValueError(f"only a place that starts with {scheme} can have it")
    pattern = {"queue": r"https?://\S+/\S+", "subscription": r"projects/[^/\s]+/subscriptions/[^/\s]+"}
    if value is not None and not re.fullmatch(pattern[info.field_name or ""], value):
        raise ValueError("its form is different")
    return value


def _scheme(place: str) -> str:
    return place.partition("://")[0] if "://" in place else ""


def _apart(value: str | None, info: ValidationInfo) -> str | None:
    place = str(info.data.get("place", ""))
    if value is not None and f"{value}/".startswith(f"{place}/"):
        raise ValueError(
            "quarantined objects would be noticed as new objects there; name a place outside the watched "
            "place"
        )
    if value is not None and _scheme(value) != _scheme(place):
        raise ValueError("objects are moved within one store; name a place of the same kind")
    return value


class WatchSettings(Block):
    """A folder or bucket that is watched for new objects."""

    place: Zone = Field(description="a local path, s3://bucket/prefix or gs://bucket/prefix")
    """The folder or bucket to watch."""
    storage_options: StoreOptions = Field(
        default_factory=dict, description="text, a number, true or false, as lake.storage_options"
    )
    """Options of the object store, as in `lake.storage_options`."""
    queue: Annotated[Text | None, AfterValidator(_of_its_bucket)] = Field(
        default=None, description="the URL of the SQS queue that an S3 bucket's notifications go to"
    )
    """Notifications about new objects in an S3 bucket, beside its listings."""
    subscription: Annotated[Text | None, AfterValidator(_of_its_bucket)] = Field(
        default=None,
        description="the Pub/Sub subscription of a GCS bucket, projects/PROJECT/subscriptions/NAME",
    )
    """Notifications about new objects in a GCS bucket, beside its listings."""
    quarantine: Annotated[Zone | None, AfterValidator(_apart)] = Field(
        default=None, description="where quarantined objects are moved to, of the same kind as place"
    )
    """Place to which quarantined objects are moved."""
    every: Integer = Field(default=30, ge=5, le=86_400, description="whole seconds from 5 to 86400")
    """Seconds between two looks at the place or its notifications."""
    sweep_every: Integer = Field(default=0, ge=0, le=10_080, description="whole minutes, 0 or more")
    """Minutes between the end of a complete listing and the start of the next."""
    objects_per_run: Integer = Field(default=500, ge=1, le=100_000, description="a whole number, 1 or more")
    """Objects that one run inspects at most."""
    attempts: Integer = Field(default=5, ge=1, le=100, description="a whole number from 1 to 100")
    """Attempts at an object before it is parked."""
    uninspected_after: Integer = Field(default=60, ge=1, le=525_600, description="whole minutes, 1 or more")
    """Minutes until an object that was not inspected fails the check `no_uninspected_object`."""


class ObjectsSettings(RoomSettings):
    """The watches' key."""

    watches: dict[str, WatchSettings] = Field(
        default_factory=dict, description="a block of folders and buckets by name, each with a place"
    )

    def mistakes(self, settings: Settings) -> Iterator[Mistake]:
        """Check that watches have names that are valid for sensors and folders."""
        for name in self.watches:
            if not NAME.fullmatch(name):
                expected = "a name of lower case letters, digits and _, from a letter on"
                yield Mistake(("watches", name), f"a watch called {shown(name)}", expected)


SETTINGS = ObjectsSettings
