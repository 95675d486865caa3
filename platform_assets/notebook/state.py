"""The platform's state, now and earlier, as DataFrames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from platform_assets.status import HasHoldings

if TYPE_CHECKING:
    import pandas as pd

    from platform_assets.lake.lookback import LookBack
    from platform_assets.lineage.graph import Step
    from platform_assets.notebook.tables import NotebookTables
    from platform_assets.rooms import Rooms


def status_frame(rooms: Rooms) -> pd.DataFrame:
    """Return the content of each layer: layer, table, rows, last batch, and its time in UTC.

    Raises:
        PlatformError: A layer cannot be read.
    """
    import pandas as pd

    found = [holding for room in rooms.offering(HasHoldings) for holding in room.holdings()]
    return pd.DataFrame(
        {
            "layer": [layer_state.layer for layer_state in found],
            "table": [layer_state.table for layer_state in found],
            "rows": pd.array([layer_state.rows for layer_state in found], dtype="int64"),
            "batch": pd.array([layer_state.batch or None for layer_state in found], dtype="Int64"),
            "as_of": pd.to_datetime(
                pd.Series([layer_state.as_of for layer_state in found], dtype=object), utc=True
            ),
            "dead_letters": pd.array([layer_state.dead_letters for layer_state in found], dtype="int64"),
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


class PastTables(Mapping[str, "pd.DataFrame"]):
    """Tables as they were after a batch, by names such as `star/dim_staff`; each is read when asked for.

    Args:
        past: The state to look back at.
        tables: The tables that a notebook can query.
        limit: The most rows of a table; None for all.
    """

    def __init__(self, past: LookBack, tables: NotebookTables, limit: int | None) -> None:
        self._past = past
        self._tables = tables
        self._limit = limit

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Read a table."""
        from platform_assets.model.dialects import quote
        from platform_assets.notebook.frames import data_frame, first_rows
        from platform_assets.warehouse.interface import BoundSql

        if name not in self._past.tables:
            raise KeyError(name)
        query = BoundSql((f"FROM {quote(*self._past.tables[name].path)}",))
        with self._tables.query_lake(query, at=str(self._past.batch)) as rows:
            table, _ = first_rows(rows, self._limit)
        return data_frame(table)

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the tables."""
        return iter(self._past.tables)

    def __len__(self) -> int:
        """Return the number of tables."""
        return len(self._past.tables)

    def __repr__(self) -> str:
        """Return the batch, its time and the tables' names."""
        seen = f", seen at {self._past.seen_at:%Y-%m-%d %H:%M:%S} UTC" if self._past.seen_at else ""
        return f"After batch {self._past.batch}{seen}: {', '.join(self)}"

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)


def past_tables(
    rooms: Rooms, tables: NotebookTables, when: str, names: Sequence[str], limit: int | None
) -> PastTables:
    """Return tables as they were after a batch or at a time.

    Args:
        rooms: The rooms.
        tables: The tables that a notebook can query.
        when: Number of a batch, or a time in ISO 8601; UTC where no zone is given.
        names: Names of tables, such as `star/dim_staff`, or of a layer; all if empty.
        limit: The most rows of a table; None for all.

    Raises:
        PlatformError: There is no such batch or table, or the lake cannot be read.
    """
    from platform_assets.lake.lookback import look_back

    return PastTables(look_back(rooms, when, names), tables, limit)
