"""The platform's state as DataFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_assets.status import HasHoldings

if TYPE_CHECKING:
    import pandas as pd

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
