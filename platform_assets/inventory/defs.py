"""The inventories as assets, the job that looks at them, and its schedule."""

from collections.abc import Iterator

import dagster as dg

from platform_assets.inventory.assembly import INVENTORY, InventoryRoom
from platform_assets.isolation import result_or_reason
from platform_assets.orchestration import (
    OWNERS,
    lazy_resource,
    preview,
    row_count_metadata,
    scheduled_job,
    stopped_failure,
    stopped_metadata,
    table_schema,
)
from platform_assets.rooms import Rooms

INVENTORY_JOB = "cloud_inventory"


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define an asset for each query of the configuration; nothing without queries.

    Args:
        rooms: The rooms.
    """
    room = rooms.of(InventoryRoom)
    by_key = {dg.AssetKey([INVENTORY, name]): name for name in room.names}
    if not by_key:
        return dg.Definitions()

    @dg.multi_asset(
        name="look_at_the_cloud",
        specs=[
            dg.AssetSpec(
                key,
                description=f"{room.description(name)} Each change is kept with the time at which it "
                "was seen.",
                group_name=INVENTORY,
                owners=OWNERS,
                kinds={"stackql", "table"},
            )
            for key, name in by_key.items()
        ],
        can_subset=True,
        description="Asks StackQL what there is now, and records what has changed since the last look.",
    )
    def look(
        context: dg.AssetExecutionContext, inventory: dg.ResourceParam[InventoryRoom]
    ) -> Iterator[dg.MaterializeResult[None]]:
        stopped: dict[dg.AssetKey, str] = {}
        for key, name in by_key.items():
            if key not in context.selected_asset_keys:
                continue
            found = result_or_reason(inventory.look, name)
            if isinstance(found, str):
                stopped[key] = found
                metadata = stopped_metadata(context.instance, key, found, "dagster/column_schema")
            else:
                metadata = {
                    **row_count_metadata(found.rows),
                    **{f"rows {change}d": count for change, count in found.changes.items()},
                    "dagster/column_schema": table_schema(found.columns),
                    "preview": preview(found.sample),
                }
            yield dg.MaterializeResult(asset_key=key, metadata=metadata)
        if stopped:
            raise stopped_failure(stopped)

    job = scheduled_job(
        INVENTORY_JOB,
        dg.AssetSelection.assets(*by_key),
        "Looks at what runs in the cloud, and records what has changed.",
        room.settings.inventory.cron,
        room.platform.schedule.timezone,
    )
    resource = lazy_resource(lambda: rooms.of(InventoryRoom), "The StackQL server and the inventories")
    return dg.Definitions.merge(dg.Definitions(assets=[look], resources={INVENTORY: resource}), job)
