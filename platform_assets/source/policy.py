"""How changes are to be found in a table, as its owner configures it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

Strategy = Literal["auto", "xmin", "last_updated", "diff"]


@dataclass(frozen=True)
class CapturePolicy:
    """How changes of a table are found.

    Args:
        strategy: `xmin` reads rows that were written by transactions which the last batch did not see;
            `last_updated` those whose column says so; `diff` all rows. `auto` is `xmin` where the table has
            transaction ids, and `diff` for views and foreign tables.
        column: The column that `last_updated` goes by: a timestamp, a date or a growing integer.
        lag: How far behind the largest value seen `last_updated` reads again, for transactions that commit
            late; of no meaning for integers.
        small_table_rows: Deletions are looked for at every tick in tables of up to so many rows, whatever
            that takes.
        deletions_every: How often, at least, they are looked for in larger ones.
        costly_look: In larger ones they are looked for at every tick, too, unless the last look took so long.
    """

    strategy: Strategy = "auto"
    column: str = "last_updated"
    lag: dt.timedelta = dt.timedelta(minutes=15)
    small_table_rows: int = 200_000
    deletions_every: dt.timedelta = dt.timedelta(minutes=15)
    costly_look: dt.timedelta = dt.timedelta(seconds=5)


DEFAULT_POLICY = CapturePolicy()
