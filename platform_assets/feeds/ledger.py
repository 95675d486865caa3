"""A feed's ledger: the valid loads, the status of each object version, and the state of the feed.

Grain: one row per status change of an object version. Rows of the feed's table count once the ledger row with
their `_batch` is committed; rows of a crashed load have another number and are never read.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.errors import LakeConflict
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine, fetch_rows, literal
from platform_assets.model.table import Column, Integer, Text, Timestamp

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

_STREAM = "feed"
_KEYS_PER_QUERY = 2_000


class Said(StrEnum):
    """The statuses of an object version in a feed's ledger."""

    LOADED = "loaded"
    STOPPED = "stopped"
    FAILED = "failed"
    GONE = "gone"
    WITHDRAWN = "withdrawn"
    RESUMED = "resumed"


LEDGER_COLUMNS = (
    Column("commit", Integer(64), "Number of the commit; what was said last counts"),
    Column("batch", Integer(64), "`_batch` of the rows that were loaded; 0 where none were"),
    Column("object_id", Text(), "SHA-256 of the object's URI, hexadecimal; empty where the feed was resumed"),
    Column("object", Text(), "The object; what is sensitive in its name is masked"),
    Column("version", Text(), "Its version"),
    Column("modified", Timestamp(utc=True), "When it was written, by the store's clock, UTC"),
    Column("status", Text(), "What is said of it", accepted=tuple(Said)),
    Column("rows", Integer(64), "Rows that were loaded"),
    Column("dead_letters", Integer(64), "Rows that were set apart"),
    Column("reason", Text(), "Why it was not loaded; empty otherwise"),
    Column("definition", Text(), "Identifies the feed's definition at the time"),
    Column("layout", Text(), "The table's columns from then on, as JSON"),
    Column("at", Timestamp(utc=True), "When this was said, by the platform's clock, UTC"),
)


@dataclass(frozen=True)
class LedgerRow:
    """A status change of an object version; the fields are those of `LEDGER_COLUMNS` without `commit`."""

    batch: int
    object_id: str
    object: str
    version: str
    modified: dt.datetime
    status: Said
    rows: int
    dead_letters: int
    reason: str
    definition: str
    layout: str
    at: dt.datetime


@dataclass(frozen=True)
class Stop:
    """The reason why a feed is stopped.

    Attributes:
        object_id: The object that stopped it.
        object: Its name.
        version: Its version.
        reason: The difference from the expected columns.
        definition: Identifies the feed's definition at the time.
    """

    object_id: str
    object: str
    version: str
    reason: str
    definition: str


@dataclass(frozen=True)
class LastSaid:
    """The latest status of an object.

    Attributes:
        version: The version that it is about.
        status: One of `Said`.
        definition: Identifies the feed's definition at the time.
    """

    version: str
    status: str
    definition: str


@dataclass(frozen=True)
class FeedState:
    """A feed's ledger at one version.

    Attributes:
        handle: The Delta table at that version, None before the first commit.
        layout: The feed's columns so far, as JSON; empty before the first load.
        stop: The reason why the feed is stopped, or None.
    """

    handle: DeltaTable | None
    layout: str = ""
    stop: Stop | None = None


@dataclass(frozen=True)
class FeedLedger:
    """The ledger of one feed.

    Args:
        table: The Delta table, with `LEDGER_COLUMNS`.
        engine: Memory and threads for reading it.
    """

    table: LakeTable
    engine: SqlEngine

    def read(self) -> FeedState:
        """Read the current version of the ledger."""
        handle = self.table.open()
        if handle is None:
            return FeedState(None)
        with self.engine.connect() as connection:
            self.create_view(connection, handle)
            layouts = fetch_rows(
                connection,
                "SELECT layout FROM ledger WHERE status = 'loaded' AND layout <> '' "
                'ORDER BY "commit" DESC, batch DESC LIMIT 1',
            )
            # A stop ends with the next status of its object, or when the feed is resumed.
            stops = fetch_rows(
                connection,
                "WITH resumed AS (SELECT max(\"commit\") AS last FROM ledger WHERE status = 'resumed') "
                "SELECT object_id, object, version, reason, definition FROM ledger AS said, resumed "
                "WHERE status = 'stopped' AND \"commit\" > coalesce(last, 0) AND NOT EXISTS (FROM ledger "
                'AS later WHERE later.object_id = said.object_id AND later."commit" > said."commit" '
                "AND later.status <> 'stopped') ORDER BY \"commit\" DESC LIMIT 1",
            )
        return FeedState(handle, layouts[0]["layout"] if layouts else "", Stop(**stops[0]) if stops else None)

    def number(self, state: FeedState) -> int:
        """Number of the last commit, 0 before the first."""
        return self.table.cursor(state.handle, _STREAM)

    def last_said(self, state: FeedState, object_ids: Iterable[str]) -> dict[str, list[LastSaid]]:
        """The latest statuses of some objects, by id: the latest GONE, and the latest other status."""
        wanted = sorted(set(object_ids))
        said: dict[str, list[LastSaid]] = {}
        if state.handle is None or not wanted:
            return said
        with self.engine.connect() as connection:
            self.create_view(connection, state.handle)
            for start in range(0, len(wanted), _KEYS_PER_QUERY):
                some = ", ".join(map(literal, wanted[start : start + _KEYS_PER_QUERY]))
                rows = connection.sql(
                    "SELECT object_id, version, status, definition FROM ledger "
                    f"WHERE object_id IN ({some}) QUALIFY row_number() OVER (PARTITION BY object_id, "
                    "status = 'gone' ORDER BY \"commit\" DESC, batch DESC) = 1"
                )
                for object_id, version, status, definition in rows.fetchall():
                    said.setdefault(object_id, []).append(LastSaid(version, status, definition))
        return said

    def create_view(self, connection: duckdb.DuckDBPyConnection, handle: DeltaTable | None) -> None:
        """Create a view of the ledger named `ledger`."""
        self.table.create_view(connection, ["ledger"], handle)

    def commit(self, state: FeedState, rows: Sequence[LedgerRow]) -> None:
        """Write status changes in one commit.

        Raises:
            LakeConflict: The ledger has changed since `state` was read.
        """
        number = self.number(state) + 1
        said = [{**asdict(row), "status": str(row.status), "commit": number} for row in rows]
        made = pa.Table.from_pylist(said, schema=self.table.arrow_schema)
        self.table.append(state.handle, made, stream=_STREAM, version=number)


def lost_race(feed: str) -> LakeConflict:
    """The error of a run whose commits fail although nobody else commits."""
    return LakeConflict(
        f"The ledger of the feed {feed} could not be written: every commit is refused as if another had been "
        "made, and none is. Check that the store keeps what is written to it."
    )
