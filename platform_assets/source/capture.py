"""Change capture: decides which rows of a table to read so that no change is missed.

The decision uses the cursor of the last batch, the table's relation and its owner's policy; this module reads
no data. A strategy may read unchanged rows, which `compare` drops, but must never omit a changed row.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_assets.errors import SourceError
from platform_assets.model.dialects import literal, quote
from platform_assets.model.table import Date, Integer, Table, Timestamp
from platform_assets.source.drift import Remembered
from platform_assets.source.snapshot import SnapshotPosition

if TYPE_CHECKING:
    from platform_assets.source.catalogue import Relation
    from platform_assets.source.drift import Drift
    from platform_assets.source.policy import CapturePolicy
    from platform_assets.source.snapshot import Snapshot

# A row's xmin has 32 bits, and `age` covers half of the number circle: with an older cursor, new rows could
# look old. A margin of a million transactions is left for those that run in the meantime.
_OLDEST_COMPARABLE = 2**31 - 1_000_000
_HAS_XMIN = ("table", "partitioned", "materialized view")


@dataclass(frozen=True)
class CaptureCursor:
    """Position at which the last batch of a table ended.

    Args:
        snapshot: The snapshot in which the table was read, as PostgreSQL writes it.
        server: Identity of the database, see `Snapshot.server`.
        taken_at: Time of the snapshot by the source's clock, UTC.
        keys_compared_at: Time of the last search for deletions, UTC.
        remembered: The table's structure at that time.
        watermark: The largest value seen in the column that `last_updated` uses: microseconds since 1970,
            days since 1970, or the integer itself.
        look_seconds: Duration of the search for deletions if it is too slow for every tick; else 0.
    """

    snapshot: str
    server: str
    taken_at: dt.datetime
    keys_compared_at: dt.datetime
    remembered: Remembered
    watermark: int | None = None
    look_seconds: float = 0

    def to_json(self) -> str:
        """Return the JSON form that the lake stores."""
        members = {name: value for name, value in vars(self).items() if name != "look_seconds" or value}
        for name in ("taken_at", "keys_compared_at"):
            members[name] = members[name].isoformat()
        return json.dumps(members | {"remembered": self.remembered.to_json()}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> CaptureCursor:
        """Parse the result of `to_json`."""
        members = json.loads(text)
        for name in ("taken_at", "keys_compared_at"):
            members[name] = dt.datetime.fromisoformat(members[name])
        return cls(**members | {"remembered": Remembered.from_json(members["remembered"])})


@dataclass(frozen=True)
class ReadPlan:
    """Rows to read from a table, and the reason.

    Args:
        strategy: Strategy for finding changes: `xmin`, `last_updated` or `diff`; `verify` for key ranges that
            differed in a comparison.
        predicate: SQL for the rows that may have changed; None for all rows.
        reason: Reason why all rows are read although the strategy would read fewer; empty otherwise.
        compare_keys: Whether to look for deletions.
    """

    strategy: str
    predicate: str | None
    reason: str = ""
    compare_keys: bool = True

    @property
    def is_complete(self) -> bool:
        """True if all rows of the table are read."""
        return self.predicate is None

    @property
    def sentence(self) -> str:
        """Description of the reading in words."""
        usual = {
            "xmin": "rows written since the last batch, by transaction visibility (xmin)",
            "last_updated": "rows with a newer time of change, and those within the lag (last_updated)",
            "diff": "a comparison of all rows (diff)",
            "verify": "the ranges of keys that differed from the source",
        }[self.strategy]
        if not self.reason:
            return usual
        return f"a comparison of all rows, because {self.reason}; usually {usual}"


def plan(
    table: Table,
    drift: Drift,
    relation: Relation,
    policy: CapturePolicy,
    cursor: CaptureCursor | None,
    snapshot: Snapshot,
    known_rows: int,
) -> ReadPlan:
    """Decide what to read of a table.

    Args:
        table: The table with the columns to read.
        drift: Differences between the source's table and the lake's.
        relation: The table's current entry in the catalogue.
        policy: The owner's policy for finding changes.
        cursor: Position at which the last batch ended; None before the first batch.
        snapshot: The snapshot to read.
        known_rows: Number of rows of the table in the lake.

    Raises:
        SourceError: The policy requires something that the table does not have.
    """
    strategy = _strategy(table, relation, policy)
    if strategy == "diff":
        return ReadPlan(strategy, None)
    if cursor is None:
        return ReadPlan(strategy, None, "the lake has no cursor for it yet")
    if reason := _unusable(cursor, relation, drift, snapshot):
        return ReadPlan(strategy, None, reason)
    due = (
        known_rows <= policy.small_table_rows
        or dt.timedelta(seconds=cursor.look_seconds) < policy.costly_look
        or snapshot.taken_at - cursor.keys_compared_at >= policy.deletions_every
    )
    if strategy == "xmin":
        predicate = _written_since(
            SnapshotPosition.parse(cursor.snapshot), _further_parts(relation, cursor.remembered)
        )
        return ReadPlan(strategy, predicate, compare_keys=due)
    if cursor.watermark is None:
        return ReadPlan(strategy, None, f"no value of {policy.column} has been seen yet")
    return ReadPlan(strategy, _changed_since(table, policy, cursor.watermark), compare_keys=due)


def watermark_of(
    table: Table, policy: CapturePolicy, largest: int | None, taken_at: dt.datetime
) -> int | None:
    """Return the watermark to store after the largest value seen.

    A time in the future, whether infinity or a typing error, must not hide all earlier times. The watermark
    is therefore never later than a day after the snapshot, which exceeds any difference of wall clocks.

    Args:
        table: The table's declaration.
        policy: The policy for finding changes.
        largest: The largest value seen, in the unit of `CaptureCursor.watermark`.
        taken_at: Time of the snapshot, UTC.
    """
    if largest is None or policy.column not in table.column_names:
        return largest
    latest = taken_at + dt.timedelta(days=1) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    match table.column(policy.column).type:
        case Timestamp():
            return min(largest, latest // dt.timedelta(microseconds=1))
        case Date():
            return min(largest, latest.days)
        case _:
            return largest


def is_worth_a_commit(cursor: CaptureCursor, snapshot: Snapshot) -> bool:
    """Return whether a cursor is so old that a new one should be stored even without other changes."""
    return (
        SnapshotPosition.parse(snapshot.position).xmin - SnapshotPosition.parse(cursor.snapshot).xmin > 2**28
    )


def _strategy(table: Table, relation: Relation, policy: CapturePolicy) -> str:
    if policy.strategy == "auto":
        return "diff" if _without_xmin(relation) else "xmin"
    if policy.strategy == "xmin" and (obstacle := _without_xmin(relation)):
        raise SourceError(
            f"Table {table.name} cannot be captured by xmin, because {obstacle}. Set its strategy to diff, "
            "or to last_updated if a column records when a row changed."
        )
    if policy.strategy == "last_updated":
        found = [column.type for column in table.columns if column.name == policy.column]
        if not found or not isinstance(found[0], Timestamp | Date | Integer):
            raise SourceError(
                f"Table {table.name} cannot be captured by its column {policy.column}, because "
                + (f"its type is {type(found[0]).__name__.lower()}" if found else "the column does not exist")
                + ". Configure a timestamp, date or integer column, or set its strategy to diff."
            )
    return policy.strategy


def _without_xmin(relation: Relation) -> str:
    """Return why the writing transactions of a relation's rows cannot be used; empty if they can."""
    if relation.kind not in _HAS_XMIN:
        return f"it is a {relation.kind}, whose rows have no transaction id"
    if not relation.has_xmin:
        return "some of its parts store no transaction ids"
    if not relation.can_read_all:
        return "the role may not SELECT the whole table, which xmin needs"
    if relation.row_security:
        return "its row-level security may show other rows without a write"
    return ""


def _unusable(cursor: CaptureCursor, relation: Relation, drift: Drift, snapshot: Snapshot) -> str:
    """Return why a cursor cannot be compared with the snapshot; empty if it can."""
    if cursor.server != snapshot.server:
        return f"the server has changed ({cursor.server} before, {snapshot.server} now)"
    if cursor.remembered.oid != relation.oid:
        return "the table was dropped and recreated"
    was, now = SnapshotPosition.parse(cursor.snapshot), SnapshotPosition.parse(snapshot.position)
    if now.xmax < was.xmax:
        return "the server's transaction numbers went back, as after a restored copy"
    if now.xmax - was.xmin > _OLDEST_COMPARABLE:
        return "the last batch is too many transactions ago"
    if cursor.remembered.row_security and not relation.row_security:
        return "row-level security may have hidden rows from the last batch"
    if drift.is_read_in_full:
        # A column added with a default fills old rows without rewriting them.
        return "its columns changed"
    return ""


def _written_since(position: SnapshotPosition, further_parts: Sequence[int]) -> str:
    """Return SQL for the rows written by transactions that a snapshot did not see, and possibly more rows.

    The SQL selects everything from the snapshot's xmin on, not only the transactions in progress: a
    subtransaction has its own number, which no snapshot lists (PostgreSQL manual, "Snapshot Information
    Functions"). Rows that were frozen long ago keep their old number and may look new once numbers wrap
    around; they never look older than they are. An age below 0 is more than half the number range.

    A partition that was attached or altered since then may have been filled before, so it is read in full.
    """
    written = f"age(xmin) BETWEEN 0 AND (SELECT age(CAST('{position.xmin % 2**32}' AS xid)))"
    if not further_parts:
        return written
    return f"{written} OR tableoid IN ({', '.join(str(int(part)) for part in further_parts)})"


def _further_parts(relation: Relation, remembered: Remembered) -> list[int]:
    """Return the parts of a table that the last batch did not read, or whose columns have changed since.

    If a part was altered while it was detached, its columns may have values that no transaction wrote.
    """
    was, now = remembered.part_forms, relation.part_forms
    return [
        part
        for part in relation.parts
        if part not in remembered.parts or (part in was and was[part] != now.get(part))
    ]


def _changed_since(table: Table, policy: CapturePolicy, watermark: int) -> str:
    column = quote(policy.column)
    match table.column(policy.column).type:
        case Integer():
            return f"{column} IS NULL OR {column} >= {watermark:d}"
        case Date():
            since = (dt.date(1970, 1, 1) + dt.timedelta(days=watermark) - policy.lag).isoformat()
            return f"{column} IS NULL OR {column} >= CAST({literal(since)} AS date)"
        case _:
            since = (dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=watermark) - policy.lag).isoformat()  # noqa: DTZ001
            kind = "timestamptz" if getattr(table.column(policy.column).type, "utc", False) else "timestamp"
            zone = "+00" if kind == "timestamptz" else ""
            return f"{column} IS NULL OR {column} >= CAST({literal(since + zone)} AS {kind})"


def parents_first(tables: Sequence[Table]) -> list[Table]:
    """Return the tables in an order in which every table follows the tables that it references."""
    by_name = {table.name: table for table in tables}
    ordered: dict[str, Table] = {}

    def visit(table: Table, path: tuple[str, ...]) -> None:
        for _, parent in table.foreign_keys:
            if parent in by_name and parent not in ordered and parent not in path:
                visit(by_name[parent], (*path, parent))
        ordered.setdefault(table.name, table)

    for table in tables:
        visit(table, (table.name,))
    return list(ordered.values())
