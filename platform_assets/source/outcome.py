"""What extraction and verification came to, as values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from platform_assets.source.verify import TableComparison


@dataclass(frozen=True)
class TableChange:
    """How many rows of a table a batch added to the lake, by what happened to them.

    Args:
        inserted: Rows that were new.
        updated: Rows whose content differed, and dead letters that were mended.
        deleted: Rows that were gone.
        dead_lettered: How many of these went to the dead-letter table.
        rows_read: Rows that were read from the source.
        capture: In words, what was read and why.
        drift: What changed in the table's columns and was taken in, a sentence each.
        stopped: Why the table was left as it was; empty where it was not.
        deletions_looked_for: As of when deletions were last looked for, UTC; None where the table was left as
            it was.
    """

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    dead_lettered: int = 0
    rows_read: int = field(default=0, compare=False)
    capture: str = field(default="", compare=False)
    drift: tuple[str, ...] = field(default=(), compare=False)
    stopped: str = ""
    deletions_looked_for: dt.datetime | None = field(default=None, compare=False)

    @property
    def rows(self) -> int:
        """Row versions that were appended."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True)
class Extraction:
    """What one look at the source found.

    Args:
        batch: Number of the batch, or of the last one where nothing had changed.
        seen_at: When the snapshot was taken, by the source's clock, UTC.
        tables: What happened to each table that was looked at.
        row_counts: Rows that each of them has in the source, as far as is known: where deletions are not
            looked for at every tick, rows that are gone count until the next look.
    """

    batch: int
    seen_at: dt.datetime
    tables: Mapping[str, TableChange]
    row_counts: Mapping[str, int]


@dataclass(frozen=True)
class Verification:
    """What comparing a table with the source came to.

    Args:
        comparison: What was found; None where the table could not be read.
        mended: What reading the differing ranges again added to the lake; None where none differed.
        after: What comparing it once more came to.
        stopped: Why the table could not be read, or the ranges that differ not be read again.
    """

    comparison: TableComparison | None
    mended: TableChange | None = None
    after: TableComparison | None = None
    stopped: str = ""

    @property
    def passed(self) -> bool:
        """Whether the lake held what the source did."""
        return self.comparison is not None and self.comparison.equal

    @property
    def sentence(self) -> str:
        """What was found, and what was done about it, for people."""
        if self.comparison is None:
            return self.stopped
        if self.stopped:
            return f"{self.comparison} Reading these ranges again failed: {self.stopped}"
        if self.mended is None or self.after is None:
            return str(self.comparison)
        outcome = (
            "they are equal now" if self.after.equal else f"they still differ: {str(self.after).rstrip('.')}"
        )
        return (
            f"{self.comparison} These ranges were read again: {self.mended.inserted:,} rows inserted, "
            f"{self.mended.updated:,} updated, {self.mended.deleted:,} deleted; {outcome}."
        )
