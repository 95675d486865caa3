"""Policy for finding changes in a table, as configured by its owner."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

Strategy = Literal["auto", "xmin", "last_updated", "diff"]


@dataclass(frozen=True)
class CapturePolicy:
    """Policy for finding changes of a table.

    Args:
        strategy: `xmin` reads rows written by transactions that the last batch did not see; `last_updated`
            reads rows by the value of a column; `diff` reads all rows. `auto` means `xmin` for tables with
            transaction ids, and `diff` for views and foreign tables.
        column: The column that `last_updated` uses: a timestamp, a date or a growing integer.
        lag: Interval before the largest value seen that `last_updated` reads again, for transactions that
            commit late; ignored for integers.
        small_table_rows: In tables with at most this many rows, deletions are looked for at every tick,
            whatever the cost.
        deletions_every: Longest interval between searches for deletions in larger tables.
        costly_look: Larger tables are also searched at every tick, unless the last search took this long.
    """

    strategy: Strategy = "auto"
    column: str = "last_updated"
    lag: dt.timedelta = dt.timedelta(minutes=15)
    small_table_rows: int = 200_000
    deletions_every: dt.timedelta = dt.timedelta(minutes=15)
    costly_look: dt.timedelta = dt.timedelta(seconds=5)


DEFAULT_POLICY = CapturePolicy()
