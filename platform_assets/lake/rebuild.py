"""Rebuild of tables from those of the rooms below: the choice of tables, lower layers first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from platform_assets.errors import SettingsError
from platform_assets.lake.interfaces import Rebuilding, RebuildOptions, RebuildsTables

if TYPE_CHECKING:
    from platform_assets.rooms import Rooms


def rebuild_tables(rooms: Rooms, names: Sequence[str], options: RebuildOptions) -> Iterator[Rebuilding]:
    """Rebuild tables, those of lower rooms first.

    Args:
        rooms: The rooms.
        names: Names of tables such as `star/dim_staff`, of layers such as `star`, or of tables in all layers;
            all tables without names.
        options: What to do.

    Raises:
        SettingsError: No room has a table of such a name.
    """
    offered = [(room, room.rebuildable()) for room in rooms.offering(RebuildsTables)]
    known = [table for _, tables in offered for table in tables]
    if unknown := [name for name in names if not any(_is_meant(table, [name]) for table in known)]:
        raise SettingsError(
            f"There is no table {', '.join(unknown)} to rebuild. There are {', '.join(sorted(known))}."
        )
    failed: dict[str, str] = {}
    for room, tables in offered:
        wanted = [table for table in tables if not names or _is_meant(table, names)]
        # A table that is meant by its layer or its whole name, and not only as part of everything.
        layers = {table.partition("/")[0] for table in wanted}
        is_named = any(name.partition("/")[0] in layers for name in names)
        # What a failed table would bring into those of higher rooms stays out of them.
        held = {
            table: failed[table.partition("/")[2]] for table in wanted if table.partition("/")[2] in failed
        }
        for held_table, because in held.items():
            problem = f"It was not loaded, because {because} failed." if options.apply else ""
            yield Rebuilding(held_table, problem=problem)
        wanted = [table for table in wanted if table not in held]
        if wanted:
            for rebuilt in room.rebuild(wanted, replace(options, is_named=is_named)):
                if rebuilt.problem:
                    failed.setdefault(rebuilt.table.partition("/")[2], rebuilt.table)
                yield rebuilt


def _is_meant(table: str, names: Sequence[str]) -> bool:
    layer, _, name = table.partition("/")
    return any(wanted in (table, layer, name) for wanted in names)
