"""A feed as a Dagster component."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import dagster as dg

from platform_assets.components import PlatformComponent
from platform_assets.configuration.values import Block
from platform_assets.feeds.defs import build_feed, build_feed_sensor
from platform_assets.feeds.settings import FeedSettings
from platform_assets.rooms import Rooms


class FeedComponent(PlatformComponent):
    """A feed: uploaded files of a watch that become rows of a table.

    Its attributes are the keys of a block in `feeds`.
    """

    key: ClassVar[str] = "feeds"
    is_block: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {
        "watch": "uploads",
        "pattern": "orders/**/*.csv",
        "format": "csv",
        "columns": {"order_id": {"type": "integer"}, "placed_on": {"type": "date"}},
        "key": ["order_id"],
        "mode": "merge",
    }

    @classmethod
    def block(cls) -> type[Block]:
        """See `PlatformComponent.block`."""
        return FeedSettings

    def mistakes(self, rooms: Rooms) -> Sequence[str]:
        """See `PlatformComponent.mistakes`: the configuration would not have been loaded."""
        return ()

    def own_defs(self, rooms: Rooms) -> dg.Definitions:
        """See `PlatformComponent.own_defs`; with the sensor that has new objects loaded."""
        feed = build_feed(rooms, self.name)
        return dg.Definitions.merge(feed, build_feed_sensor(self.name, feed))


COMPONENT = FeedComponent
