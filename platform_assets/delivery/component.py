"""A delivery as a Dagster component."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import dagster as dg

from platform_assets.components import PlatformComponent
from platform_assets.configuration.values import Block
from platform_assets.delivery.assembly import FOLDER, DeliveryRoom
from platform_assets.delivery.defs import build_deliveries, build_receipts
from platform_assets.rooms import Rooms


class DeliveryComponent(PlatformComponent):
    """A delivery: results to a folder, a bucket, a server or a mailbox, by schedule or when they change.

    Its attributes are the keys of a file `config/deliveries/NAME.conf`.
    """

    key: ClassVar[str] = FOLDER
    is_block: ClassVar[bool] = False
    example: ClassVar[Mapping[str, Any]] = {
        "title": "Customers in the morning",
        "schedule": {"cron": "0 6 * * *", "timezone": "UTC"},
        "source": {"asset": "star/dim_counterparty"},
        "render": ["csv"],
        "file": "customers-{date}.csv",
        "to": {"archive": {"address": "./delivered"}},
    }

    @classmethod
    def block(cls) -> type[Block]:
        """See `PlatformComponent.block`."""
        from platform_assets.delivery.file import DeliverySettings

        return DeliverySettings

    def mistakes(self, rooms: Rooms) -> Sequence[str]:
        """See `PlatformComponent.mistakes`."""
        files = rooms.of(DeliveryRoom).files
        return [line for file in files if file.name == self.name for line in file.mistakes]

    def own_defs(self, rooms: Rooms) -> dg.Definitions:
        """See `PlatformComponent.own_defs`."""
        mine = {self.name: rooms.of(DeliveryRoom).deliveries[self.name]}
        return build_deliveries(mine, f"make_delivery_{self.name}", f"delivery_{self.name}_changed")

    def shared_defs(self, rooms: Rooms, names: Sequence[str]) -> dg.Definitions:
        """See `PlatformComponent.shared_defs`: the receipts of all deliveries."""
        return build_receipts()


COMPONENT = DeliveryComponent
