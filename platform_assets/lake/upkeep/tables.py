"""All Delta tables of the platform: those that rooms name, and the others that are in the lake's zones.

Of the others, such as tables of users' assets, copies for warehouses and tables of sources that were removed
from the configuration, little is known. They get the care that is right for any table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from platform_assets.isolation import is_isolated, reason_of
from platform_assets.lake.batches import Batches
from platform_assets.lake.interfaces import HasDeltaTables, KeptTable, RefersToVersions, VersionInUse
from platform_assets.lake.upkeep.upkeep import Positions, Unlisted

if TYPE_CHECKING:
    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.lake import Lake

_PREFIX = "platform_assets."
_COMMITS_TO_LOOK_AT = 3


def kept_tables(lake: Lake, rooms: Callable[[], Iterable[HasDeltaTables]]) -> Iterator[KeptTable | Unlisted]:
    """Yield the tables; for a room that cannot name its tables, the reason."""
    named = set()
    for room in rooms():
        tables = iter(room.delta_tables())
        while True:
            try:
                kept = next(tables, None)
            except BaseException as error:
                if not is_isolated(error):
                    raise
                yield Unlisted(type(room).__name__, reason_of(error))
                break
            if kept is None:
                break
            named.add(kept.table.uri)
            yield kept
    try:
        others = [
            _unnamed(*found_table) for found_table in lake.found_tables() if found_table[2].uri not in named
        ]
    except BaseException as error:
        if not is_isolated(error):
            raise
        yield Unlisted("other tables", reason_of(error))
    else:
        yield from others


def _unnamed(zone: str, path: str, table: LakeTable) -> KeptTable:
    # Which batches of a source's table count is not known, so its files are not merged.
    whole = (lambda: (0, Batches())) if zone == "ingestion" else None
    return KeptTable(path, table, metadata=_metadata_of(table), whole_batches=whole, is_loaded_elsewhere=True)


def _metadata_of(table: LakeTable) -> str:
    """Return the key of the platform's metadata in the newest commits; empty if they have none."""
    version = table.version()
    for number in range(version, max(version - _COMMITS_TO_LOOK_AT, -1), -1):
        for name in table.commit_info(number):
            if name.startswith(_PREFIX):
                return name
    return ""


def positions(rooms: Callable[[], Iterable[RefersToVersions]]) -> Positions:
    """Return the versions in use outside the lake."""
    found: dict[str, list[VersionInUse]] = {}
    unknown = []
    for room in rooms():
        try:
            for use in room.versions_in_use():
                found.setdefault(use.table_id, []).append(use)
        except BaseException as error:
            if not is_isolated(error):
                raise
            unknown.append(reason_of(error))
    return Positions(found, " ".join(unknown))
