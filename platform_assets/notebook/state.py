"""The platform's state as DataFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_assets.status import HasHoldings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from platform_assets.lineage.graph import Step
    from platform_assets.rooms import Rooms


def status_frame(rooms: Rooms) -> pd.DataFrame:
    """Return the content of each layer: layer, table, rows, last batch, and its time in UTC.

    Raises:
        PlatformError: A layer cannot be read.
    """
    import pandas as pd

    found = [one for room in rooms.offering(HasHoldings) for one in room.holdings()]
    return pd.DataFrame(
        {
            "layer": [one.layer for one in found],
            "table": [one.table for one in found],
            "rows": pd.array([one.rows for one in found], dtype="int64"),
            "batch": pd.array([one.batch or None for one in found], dtype="Int64"),
            "as_of": pd.to_datetime(pd.Series([one.as_of for one in found], dtype=object), utc=True),
            "dead_letters": pd.array([one.dead_letters for one in found], dtype="int64"),
        }
    )


def lineage_frame(rooms: Rooms, column: str, *, up: bool, down: bool, indirect: bool) -> pd.DataFrame:
    """Return what a column depends on and what depends on it, nearest first.

    Args:
        rooms: The rooms.
        column: The column, such as `star/dim_staff.first_name`; the start of its path may be left out.
        up: Include what it depends on.
        down: Include what depends on it.
        indirect: Include what only decides about values and rows, such as filters.

    Returns:
        A row for each edge: direction, steps from the column, source, target, kind, subtype and masking.

    Raises:
        PlatformError: There is no such column, or the room `lineage` was removed.
    """
    import pandas as pd

    rooms.require("lineage", "%platform lineage")
    from platform_assets.lineage.assembly import LineageRoom

    graph = rooms.of(LineageRoom).graph
    ref = graph.find(column)

    def rows(direction: str, steps: list[Step]) -> Iterator[tuple[object, ...]]:
        for step in steps:
            edge = step.edge
            names = (f"{edge.source}", f"{edge.target}", edge.kind.value, edge.subtype.value)
            yield (direction, step.depth, *names, edge.masking)

    found = [*rows("up", graph.up(ref, indirect=indirect) if up else [])]
    found += rows("down", graph.down(ref, indirect=indirect) if down else [])
    columns = ["direction", "steps", "source", "target", "kind", "subtype", "masking"]
    return pd.DataFrame(found, columns=columns)
