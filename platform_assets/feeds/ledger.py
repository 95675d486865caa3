"""A feed's ledger: the valid loads, the status of each object version, and the state of the feed.

Grain: one row per status change of an object version. Rows of the feed's table count once the ledger row with
their `_batch` is committed; rows of a crashed load have another number and are never read.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine, fetch_rows
from platform_assets.lake.interfaces import Outdated
from platform_assets.lake.log import AppendLog, LogVersion, batched
from platform_assets.model.dialects import columns_sql, literal, quote
from platform_assets.model.table import Column, Integer, Text, Timestamp

if TYPE_CHECKING:
    import duckdb

_KEYS_PER_QUERY = 2_000


class FeedStatus(StrEnum):
    """The statuses of an object version in a feed's ledger."""

    LOADED = "loaded"
    STOPPED = "stopped"
    FAILED = "failed"
    GONE = "gone"
    WITHDRAWN = "withdrawn"
    RESUMED = "resumed"


LEDGER_COLUMNS = (
    Column("commit", Integer(64), "Number of the commit; the last status of an object counts"),
    Column("batch", Integer(64), "`_batch` of the loaded rows; 0 without any"),
    Column("object_id", Text(), "SHA-256 of the object's URI, hexadecimal; empty if the feed was resumed"),
    Column("object", Text(), "Name of the object, with sensitive parts masked"),
    Column("version", Text(), "Version of the object"),
    Column("modified", Timestamp(utc=True), "Time when the object was written, by the store's clock, UTC"),
    Column("status", Text(), "Status of the object", accepted=tuple(FeedStatus)),
    Column("rows", Integer(64), "Number of loaded rows"),
    Column("dead_letters", Integer(64), "Number of rejected rows"),
    Column("reason", Text(), "Reason why the object was not loaded; empty otherwise"),
    Column("definition", Text(), "Identifies the feed's definition at the time"),
    Column("layout", Text(), "The table's columns from then on, as JSON"),
    Column("at", Timestamp(utc=True), "Time of the entry, by the platform's clock, UTC"),
)


@dataclass(frozen=True)
class LedgerRow:
    """A status change of an object version; the fields are those of `LEDGER_COLUMNS` without `commit`."""

    batch: int
    object_id: str
    object: str
    version: str
    modified: dt.datetime
    status: FeedStatus
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
class LatestStatus:
    """The latest status of an object.

    Attributes:
        version: The version of the object.
        status: One of `FeedStatus`.
        definition: Identifies the feed's definition at the time.
    """

    version: str
    status: str
    definition: str


@dataclass(frozen=True)
class FeedState:
    """A feed's ledger at one version.

    Attributes:
        version: Its rows at that version.
        layout: The feed's columns so far, as JSON; empty before the first load.
        stop: The reason why the feed is stopped, or None.
    """

    version: LogVersion
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

    @property
    def log(self) -> AppendLog:
        """The rows of the ledger."""
        return AppendLog(self.table, "The feed's ledger", stream="feed", key=("object_id",))

    def read(self) -> FeedState:
        """Read the current version of the ledger."""
        return self.state(self.log.read())

    def state(self, version: LogVersion) -> FeedState:
        """The state of the feed at a version of the ledger."""
        if version.handle is None:
            return FeedState(version)
        with self.engine.connect() as connection:
            version.create_view(connection, "ledger")
            layouts = fetch_rows(
                connection,
                "SELECT layout FROM ledger WHERE status = 'loaded' AND layout <> '' "
                'ORDER BY "commit" DESC, batch DESC LIMIT 1',
            )
            # A stop ends with the next status of its object, or when the feed is resumed.
            stops = fetch_rows(
                connection,
                "WITH resumed AS (SELECT max(\"commit\") AS last FROM ledger WHERE status = 'resumed') "
                "SELECT object_id, object, version, reason, definition FROM ledger AS stop, resumed "
                "WHERE status = 'stopped' AND \"commit\" > coalesce(last, 0) AND NOT EXISTS (FROM ledger "
                'AS later WHERE later.object_id = stop.object_id AND later."commit" > stop."commit" '
                "AND later.status <> 'stopped') ORDER BY \"commit\" DESC LIMIT 1",
            )
        return FeedState(
            version, layouts[0]["layout"] if layouts else "", Stop(**stops[0]) if stops else None
        )

    def latest_statuses(self, state: FeedState, object_ids: Iterable[str]) -> dict[str, list[LatestStatus]]:
        """The latest statuses of some objects, by id: the latest GONE, and the latest other status."""
        wanted = sorted(set(object_ids))
        found: dict[str, list[LatestStatus]] = {}
        if state.version.handle is None or not wanted:
            return found
        with self.engine.connect() as connection:
            state.version.create_view(connection, "ledger")
            for some in batched(wanted, _KEYS_PER_QUERY):
                rows = connection.sql(
                    "SELECT object_id, version, status, definition FROM ledger WHERE object_id IN "
                    f"({', '.join(map(literal, some))}) QUALIFY row_number() OVER (PARTITION BY object_id, "
                    "status = 'gone' ORDER BY \"commit\" DESC, batch DESC) = 1"
                )
                for object_id, version, status, definition in rows.fetchall():
                    found.setdefault(object_id, []).append(LatestStatus(version, status, definition))
        return found

    def loads(self, state: FeedState, object_ids: Iterable[str], names: Iterable[str]) -> list[LedgerRow]:
        """Return the loads of objects that were not withdrawn.

        Args:
            state: The ledger.
            object_ids: The objects.
            names: Further objects, by their names in the ledger.
        """
        if state.version.handle is None:
            return []
        columns = [column.name for column in LEDGER_COLUMNS if column.name != "commit"]
        ids, labels = (", ".join(["NULL", *map(literal, some)]) for some in (object_ids, names))
        with self.engine.connect() as connection:
            state.version.create_view(connection, "ledger")
            rows = fetch_rows(
                connection,
                f"SELECT {columns_sql(columns)} FROM ledger WHERE status = 'loaded' AND "
                f"(object_id IN ({ids}) OR object IN ({labels})) AND NOT EXISTS (FROM ledger AS later WHERE "
                "later.status = 'withdrawn' AND later.object_id = ledger.object_id "
                'AND later.version = ledger.version) ORDER BY "commit", batch',
            )
        return [LedgerRow(**{**row, "status": FeedStatus(row["status"])}) for row in rows]

    def withdrawn_rows(self, connection: duckdb.DuckDBPyConnection, now: dt.datetime) -> Outdated | None:
        """Return the rows of withdrawn loads, for `KeptTable.outdated`; any age is old enough."""
        state = self.log.read()
        if state.handle is None:
            return None
        state.create_view(connection, "ledger")
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE withdrawn AS SELECT batch FROM ledger WHERE status = 'loaded' AND "
            "EXISTS (FROM ledger AS later WHERE later.status = 'withdrawn' "
            "AND later.object_id = ledger.object_id AND later.version = ledger.version)"
        )
        return Outdated("_batch IN (SELECT batch FROM withdrawn)")

    def counting_batches(self, connection: duckdb.DuckDBPyConnection, name: str) -> bool:
        """Create a table with the batches of the latest load of each object, without withdrawn ones.

        Args:
            connection: The connection.
            name: Name of the table, whose column is `batch`.

        Returns:
            False if the feed has no ledger; then there is no table.
        """
        state = self.log.read()
        if state.handle is None:
            return False
        state.create_view(connection, "ledger")
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {quote(name)} AS SELECT batch FROM (SELECT * FROM ledger WHERE "
            "status = 'loaded' QUALIFY row_number() OVER "
            '(PARTITION BY object_id ORDER BY "commit" DESC, batch DESC) = 1) AS load '
            "WHERE NOT EXISTS (FROM ledger AS later WHERE later.status = 'withdrawn' "
            "AND later.object_id = load.object_id AND later.version = load.version)"
        )
        return True

    def commit(self, state: FeedState, rows: Sequence[LedgerRow]) -> None:
        """Write status changes in one commit.

        Raises:
            LakeConflict: The ledger has changed since `state` was read.
        """
        state.version.append(map(vars, rows))
