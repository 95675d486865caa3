"""Results of extraction and verification, as values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from platform_assets.source.verify import TableComparison


@dataclass(frozen=True)
class TableChange:
    """Row versions that a batch added to the lake for one table, by kind of change.

    Args:
        inserted: Number of new rows.
        updated: Number of changed rows and mended dead letters.
        deleted: Number of deleted rows.
        dead_lettered: Number of these row versions that went to the dead-letter table.
        rows_read: Number of rows read from the source.
        capture: Description of the rows that were read, and the reason.
        drift: Schema changes that were applied, one sentence each.
        stopped: Reason why the table was stopped; empty if it was not.
        deletions_looked_for: Time of the last search for deletions, UTC; None if the table was stopped.
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
        """Number of appended row versions."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True)
class Extraction:
    """Result of one extraction.

    Args:
        batch: Number of the batch, or of the last batch if nothing had changed.
        seen_at: Time of the snapshot by the source's clock, UTC.
        tables: Result for each table.
        row_counts: Known number of rows of each table in the source. If deletions are not looked for at every
            tick, deleted rows count until the next search.
    """

    batch: int
    seen_at: dt.datetime
    tables: Mapping[str, TableChange]
    row_counts: Mapping[str, int]


@dataclass(frozen=True)
class Verification:
    """Result of comparing a table with the source.

    Args:
        comparison: The comparison; None if the table could not be read.
        mended: Changes that reading the differing ranges again added to the lake; None if no range differed.
        after: The second comparison, after the repair.
        stopped: Reason why the table, or its differing ranges, could not be read.
    """

    comparison: TableComparison | None
    mended: TableChange | None = None
    after: TableComparison | None = None
    stopped: str = ""

    @property
    def passed(self) -> bool:
        """True if the lake held the same rows as the source."""
        return self.comparison is not None and self.comparison.equal

    @property
    def sentence(self) -> str:
        """Description of the result and the repair in words."""
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
