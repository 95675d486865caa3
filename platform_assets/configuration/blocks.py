"""The whole configuration as blocks: what concerns every room, and the base class of each room's own keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from pydantic import AfterValidator, BaseModel, Field

from platform_assets.configuration.secrets import Secret
from platform_assets.configuration.values import Block, Cron, Integer, LocalPath, Text, timezone_name

if TYPE_CHECKING:
    from platform_assets.configuration.document import Document
    from platform_assets.configuration.mistakes import Mistake


class ScheduleSettings(Block):
    """The schedule of the main job."""

    cron: Cron = Field(default="*/5 * * * *", description='five cron fields, such as "*/5 * * * *"')
    """When the job runs."""
    timezone: Annotated[Text, AfterValidator(timezone_name)] = Field(
        default="UTC", description="a time zone's name, such as UTC or Europe/London"
    )
    """The time zone of `cron`."""


class FreshnessSettings(Block):
    """The maximum age of the newest batch before the freshness check fails."""

    within: Integer = Field(default=30, ge=1, le=525_600, description="whole minutes, 1 or more")
    """Minutes since the newest batch before the freshness check fails."""


class LoggingSettings(Block):
    """Format and level of the logs; see docs/logs.md."""

    format: Literal["json", "text"] = Field(default="text", description="json or text")
    """`text` for people in a terminal; `json` for programs: one JSON object a line, on stderr."""
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    """With `json`, the least severe level that is logged."""


class PlatformSettings(Block):
    """The top-level keys that concern every room."""

    state_dir: LocalPath = Field(description="the path of the folder for local state")
    """Everything that the platform keeps on this machine, unless a place of its own is named elsewhere."""
    machines: Literal["one", "many"] = Field(default="one", description="one or many")
    """`one` if all runs and steps work on one machine, `many` if they are spread, as over pods or Celery's
    workers. With `many`, settings that several machines cannot share are mistakes."""
    schedule: ScheduleSettings = Field(
        default_factory=ScheduleSettings, description="a block with cron and timezone"
    )
    freshness: FreshnessSettings = Field(default_factory=FreshnessSettings, description="a block with within")
    logging: LoggingSettings = Field(
        default_factory=LoggingSettings, description="a block with format and level"
    )


class RoomSettings(Block):
    """The top-level keys of the configuration that one room owns; each field is one key."""

    @classmethod
    def prepare(cls, document: Document, content: dict[str, Any]) -> Iterable[Mistake]:
        """Change the room's keys before they are validated, and report what cannot be validated.

        Args:
            document: The parsed configuration.
            content: Its top-level keys; changed in place.
        """
        return ()

    def mistakes(self, settings: Settings) -> Iterable[Mistake]:
        """Report what is valid by itself but not together with the rest of the configuration."""
        return ()

    def unshared(self) -> Iterable[Mistake]:
        """Report what several machines cannot share; called if there are `machines = many`."""
        return ()


RoomBlock = TypeVar("RoomBlock", bound=RoomSettings)


class Settings:
    """The validated configuration.

    Args:
        platform: The keys that concern every room.
        rooms: The keys of each room, by the class that declares them.
        file: The configuration file.

    Attributes:
        platform: The keys that concern every room.
        file: The configuration file; `sources/` and `catalogue/` are beside it.
    """

    def __init__(
        self, platform: PlatformSettings, rooms: Mapping[type[RoomSettings], RoomSettings], file: Path
    ) -> None:
        self.platform = platform
        self.file = file
        self._rooms = dict(rooms)

    def of(self, kind: type[RoomBlock]) -> RoomBlock:
        """Return a room's settings by their class.

        Raises:
            KeyError: The room is not in the house.
        """
        return cast("RoomBlock", self._rooms[kind])

    def secrets(self) -> Iterator[Secret]:
        """Yield the references to all secrets of the configuration; none is fetched."""
        for block in (self.platform, *self._rooms.values()):
            yield from _secrets_in(block)


def _secrets_in(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets_in(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secrets_in(item)
