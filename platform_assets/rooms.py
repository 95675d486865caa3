"""The rooms of the platform, from the ground up, and how they find each other.

A room is a package of this name. It may have up to five modules that are found by their names:

- `settings.py` with `SETTINGS`, the class of its keys in the configuration;
- `assembly.py` with `ROOM`, the class of what it offers to other rooms;
- `defs.py` with `build_defs(rooms)`, its Dagster definitions;
- `command.py` with `app`, its sub-command, or with the commands that the room declares here;
- `component.py` with `COMPONENT`, what its files describe as a Dagster component.

A room imports only rooms that come before it here.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from platform_assets.errors import SettingsError

if TYPE_CHECKING:
    from platform_assets.configuration.blocks import PlatformSettings, RoomSettings, Settings
    from platform_assets.configuration.document import Document
    from platform_assets.configuration.secrets import Secret


@dataclass(frozen=True)
class Room:
    """A room.

    Args:
        name: Name of its package.
        summary: A sentence about it, for the list of commands.
        needs: Rooms without which it is left out.
        commands: Commands of its `app` that stand beside those of the platform, each with its help; if empty,
            `app` is a sub-command under the room's name.
        component: Name of its Dagster component in `platform_assets`; empty without one.
    """

    name: str
    summary: str
    needs: tuple[str, ...] = ()
    commands: Mapping[str, str] = field(default_factory=dict)
    component: str = ""


_DELIVERY_COMMANDS = {
    "deliver": "Make a delivery: send what every destination does not have yet.",
    "deliveries": "List the deliveries with their last receipts and next runs.",
}
_UPGRADE_COMMANDS = {"upgrade": "Migrate what older versions have stored; a dry run without --apply."}
ROOMS = (
    Room("lake", "The lake: Delta tables on local disk or in a bucket."),
    Room("source", "The sources: databases that are read.", component="Source"),
    Room("sample", "The embedded sample database."),
    Room("star", "The star schema, built from the lake."),
    Room("spark", "Spark and Sail as engines of the star schema."),
    Room("formats", "Files of any format as text and rows."),
    Room("parquet", "Parquet files as tables."),
    Room("objects", "Folders and buckets that are watched for new objects."),
    Room("alerts", "Alerts and the channels that they are sent to."),
    Room("snowflake", "Parquet files into Snowflake."),
    Room("bigquery", "Parquet files into BigQuery."),
    Room("warehouse", "The warehouse."),
    Room("dlp", "The inspection for sensitive data."),
    Room("feeds", "Uploaded files as tables.", needs=("objects", "dlp"), component="Feed"),
    Room("delivery", "Deliveries of results.", commands=_DELIVERY_COMMANDS, component="Delivery"),
    Room("tasks", "Tasks by configuration.", component="TaskFile"),
    Room("inventory", "What runs in the cloud, read through StackQL."),
    Room("lineage", "The lineage of columns."),
    Room("notebook", "IPython with the magics %stackql, %warehouse and %platform."),
    Room("upgrades", "Upgrades.", commands=_UPGRADE_COMMANDS),
    Room("workers", "Runs and steps on workers of several machines."),
)

BLOCKS_LEFT_BEHIND = frozenset(
    {"alerts", "delivery", "dlp", "feeds", "inventory", "lineage", "snowflake", "spark", "stackql"}
    | {"tasks", "watches", "workers"}
)
"""Keys of removable rooms. Their blocks may stay in a configuration after the room has been removed."""


def present(rooms: Sequence[Room] = ROOMS) -> Iterator[Room]:
    """Yield the rooms that have what they need, from the ground up."""
    names: set[str] = set()
    for room in rooms:
        if names.issuperset(room.needs):
            names.add(room.name)
            yield room


def door(room: Room, name: str) -> ModuleType | None:
    """Import one of a room's modules; None if the room does not have it."""
    return importlib.import_module(f"{__package__}.{room.name}.{name}") if has_door(room, name) else None


def has_door(room: Room, name: str) -> bool:
    """Return True if a room has a module of this name; nothing is imported."""
    return (Path(__file__).parent / room.name / f"{name}.py").is_file()


def component_names() -> list[str]:
    """Return the public names of the rooms' Dagster components."""
    return [room.component for room in present() if room.component]


def component(name: str) -> object | None:
    """Import a room's Dagster component by its public name; None if there is none."""
    room = next((room for room in present() if room.component == name), None)
    module = door(room, "component") if room is not None else None
    return module.COMPONENT if module is not None else None


S = TypeVar("S", bound="RoomSettings | None")
Offered = TypeVar("Offered")


class Assembly(Generic[S]):
    """Objects that a room offers, built from its own settings and the rooms below it when first asked for.

    Args:
        settings: The room's own settings.
        platform: The settings that concern every room.
        rooms: The other rooms.
    """

    settings_class: ClassVar[type[RoomSettings] | None] = None

    def __init__(self, settings: S, platform: PlatformSettings, rooms: Rooms) -> None:
        self.settings = settings
        self.platform = platform
        self.rooms = rooms


AnyAssembly = TypeVar("AnyAssembly", bound=Assembly[Any])


class Rooms:
    """The rooms of one configuration.

    Args:
        settings: The configuration.
        replaced: Keys of the Dagster resources that the caller replaces.
        given: Documents beside the files of a folder of the configuration, such as `deliveries`: by folder,
            and by the name that the file would have.

    Attributes:
        config_dir: The folder of the configuration file.
        replaced: Keys of the Dagster resources that the caller replaces.
        given: As the argument.
    """

    def __init__(
        self,
        settings: Settings,
        replaced: Collection[str] = (),
        given: Mapping[str, Mapping[str, Document]] | None = None,
    ) -> None:
        self.config_dir = settings.file.parent
        self.replaced = replaced
        self.given = given or {}
        self._settings = settings
        self._present = {room.name: room for room in present()}
        self._assemblies: dict[type[Assembly[Any]], Assembly[Any]] = {}
        self._offers: dict[tuple[str, type], type[Assembly[Any]] | None] = {}
        self._definitions: dict[str, Any] = {}
        self._is_defining = False

    @property
    def platform(self) -> PlatformSettings:
        """The settings that concern every room."""
        return self._settings.platform

    def secrets(self) -> Iterator[Secret]:
        """Yield the references to all secrets of the configuration; none is fetched."""
        return self._settings.secrets()

    def __contains__(self, name: str) -> bool:
        """Return True if there is a room of this name, with all that it needs."""
        return name in self._present

    def of(self, kind: type[AnyAssembly]) -> AnyAssembly:
        """Return what a room offers; every call returns the same object."""
        if kind not in self._assemblies:
            own = self._settings.of(kind.settings_class) if kind.settings_class is not None else None
            self._assemblies[kind] = kind(own, self._settings.platform, self)
        return cast("AnyAssembly", self._assemblies[kind])

    def offering(self, interface: type[Offered]) -> Iterator[Offered]:
        """Yield what offers an interface, from the ground up.

        This is how a room uses rooms above it, and rooms that may not be there: the interface is declared
        below both.

        Args:
            interface: A protocol that can be checked at run time.
        """
        for room in self._present.values():
            if (room.name, interface) not in self._offers:
                kind = getattr(door(room, "assembly"), "ROOM", None)
                # Comparing a class with a protocol, member by member, takes long.
                is_offered = kind is not None and issubclass(kind, interface)
                self._offers[room.name, interface] = kind if is_offered else None
            if (offered := self._offers[room.name, interface]) is not None:
                yield cast("Offered", self.of(offered))

    def require(self, name: str, purpose: str) -> None:
        """Raise an error if a room is missing.

        Args:
            name: Name of the room.
            purpose: What needs it, as the subject of a sentence.

        Raises:
            SettingsError: The room is missing.
        """
        if name not in self:
            raise SettingsError(f"{purpose} needs the package platform_assets.{name}, which was removed.")

    @property
    def has_definitions(self) -> bool:
        """True if `definitions` has been called; it takes a while."""
        return bool(self._definitions)

    def definitions(self) -> Mapping[str, Any]:
        """Return the Dagster definitions of each room by its name, built once, from the ground up.

        A room that needs to know what the rooms below define calls it while its own are built; what is built
        by then is returned.
        """
        if self._is_defining:
            return dict(self._definitions)
        self._is_defining = True
        try:
            for name, room in self._present.items():
                if name not in self._definitions and (module := door(room, "defs")) is not None:
                    self._definitions[name] = module.build_defs(self)
        finally:
            self._is_defining = False
        return dict(self._definitions)
