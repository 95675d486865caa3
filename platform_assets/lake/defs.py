"""Resources of the lake: its zones, the SQL engine, the IO manager, the protection that does nothing."""

import contextlib
from collections.abc import Iterator

import dagster as dg

from platform_assets.dagster_internals import record_origin, sqlite_held_open
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.interfaces import HasSourceTables, HasStarTables
from platform_assets.orchestration import LAKE_IO_MANAGER, lazy_resource
from platform_assets.rooms import Rooms


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define the lake's resources.

    Args:
        rooms: The rooms.
    """

    @contextlib.contextmanager
    def engine(context: dg.InitResourceContext) -> Iterator[object]:
        with sqlite_held_open(context):
            record_origin(context)
            yield rooms.of(LakeRoom).engine

    def protection() -> object:
        from platform_assets.lake.protection import NoProtection

        return NoProtection()

    def io_manager(_: dg.InitResourceContext) -> dg.IOManager:
        from platform_assets.lake.io_manager import LakeIOManager

        sources = {
            name: {table.name: table for table in tables}
            for room in rooms.offering(HasSourceTables)
            for name, tables in room.source_tables().items()
        }
        star = {table.name: table for room in rooms.offering(HasStarTables) for table in room.star_tables()}
        return LakeIOManager(sources, star)

    return dg.Definitions(
        resources={
            "lake": lazy_resource(lambda: rooms.of(LakeRoom).lake, "The lake's two zones"),
            "engine": dg.ResourceDefinition(engine, description="The SQL engine, with bounded memory"),
            "protection": lazy_resource(protection, "No protection: no room inspects data"),
            LAKE_IO_MANAGER: dg.IOManagerDefinition(
                io_manager,
                description="Assets as Delta tables in the lake",
                required_resource_keys={"lake", "engine"},
            ),
        }
    )
