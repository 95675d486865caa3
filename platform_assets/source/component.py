"""A source as a Dagster component."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import dagster as dg

from platform_assets.components import PlatformComponent
from platform_assets.configuration.values import Block
from platform_assets.orchestration import build_freshness_defs
from platform_assets.rooms import Rooms
from platform_assets.source.assembly import SourceRoom
from platform_assets.source.defs import build_discovered_defs
from platform_assets.source.settings import SourceSettings


class SourceComponent(PlatformComponent):
    """A source: a PostgreSQL database whose changes are read into the lake.

    Its attributes are the keys of a block in `sources`.
    """

    key: ClassVar[str] = "sources"
    is_block: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {
        "connection": {
            "host": "localhost",
            "database": "shop",
            "user": "reader",
            "password": "secret://env/SHOP_PASSWORD",
        },
        "tables": ["customers"],
    }

    @classmethod
    def block(cls) -> type[Block]:
        """See `PlatformComponent.block`."""
        return SourceSettings

    def mistakes(self, rooms: Rooms) -> Sequence[str]:
        """See `PlatformComponent.mistakes`: the configuration would not have been loaded."""
        return ()

    def own_defs(self, rooms: Rooms) -> dg.Definitions:
        """See `PlatformComponent.own_defs`."""
        room = rooms.of(SourceRoom)
        return build_discovered_defs(room, self.name, room.readable_tables(self.name))

    def shared_defs(self, rooms: Rooms, names: Sequence[str]) -> dg.Definitions:
        """See `PlatformComponent.shared_defs`: the freshness checks of all tables."""
        limits: dict[dg.AssetKey, dt.timedelta] = {
            dg.AssetKey(path): limit
            for path, limit in rooms.of(SourceRoom).freshness_limits().items()
            if path[0] in names
        }
        return build_freshness_defs(limits)


COMPONENT = SourceComponent
