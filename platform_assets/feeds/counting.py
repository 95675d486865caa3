"""The valid rows of a feed's table, and a copy of them for engines that read whole files.

The files of the feed's own table also contain rows that do not count: from overwritten versions, and from
loads that crashed. DuckDB filters them; Snowflake, which loads whole files, gets a copy without them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.feeds.feed import Feed
from platform_assets.feeds.layout import Layout
from platform_assets.feeds.ledger import FeedLedger, FeedState
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.interfaces import CurrentTable
from platform_assets.lake.races import retry_while_others_progress
from platform_assets.model.dialects import columns_sql, quote
from platform_assets.stored import COPY

if TYPE_CHECKING:
    import duckdb

_STREAM = "counting"


def _unchanged(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    return rows


@dataclass(frozen=True)
class Change:
    """A transformation of rows on their way into a copy.

    Args:
        name: Identifies the transformation, in hexadecimal digits; empty for none.
        apply: Transforms streamed rows; the schema stays the same.
    """

    name: str = ""
    apply: Callable[[pa.RecordBatchReader], pa.RecordBatchReader] = _unchanged


@dataclass(frozen=True)
class CountingRows:
    """The valid rows of a feed at one version of its ledger.

    Args:
        feed: The feed.
        layout: Its columns, without the platform's own.
        table: Its table.
        ledger: Its ledger.
        state: The ledger at that version.
    """

    feed: Feed
    layout: Layout
    table: LakeTable
    ledger: FeedLedger
    state: FeedState

    @property
    def version(self) -> str:
        """Identifies this set of valid rows among earlier and later sets."""
        return f"{self._identity}.{self.state.version.number}"

    def read(self) -> pa.RecordBatchReader:
        """Stream the rows: the feed's columns, then the platform's."""
        return stream(self.table, self.ledger, self.state, counting_rows_sql(self.feed))

    def row_count(self) -> int:
        """Return the number of rows that count."""
        return sum(self._batches(self.table, counting_rows_sql(self.feed), self.state).values())

    def current_table(self) -> CurrentTable:
        """Return the rows as a table that can be queried.

        Its version changes only with the rows: not when an object is refused, or when the feed stops.
        """
        handle = self.table.open() if self.state.layout else None

        def create_view(connection: duckdb.DuckDBPyConnection, name: str) -> None:
            stored, ledger = f"{name} stored", f"{name} ledger"
            self.state.version.create_view(connection, ledger)
            self.table.create_view(connection, [stored], handle)
            sql = counting_rows_sql(self.feed)
            connection.execute(
                f"CREATE VIEW {quote(name)} AS WITH ledger AS (FROM {quote(ledger)}), "
                f"stored AS (FROM {quote(stored)}) SELECT * FROM ({sql})"
            )

        with self.ledger.engine.connect() as connection:
            self.state.version.create_view(connection, "ledger")
            [[last]] = connection.sql(
                "SELECT coalesce(max(\"commit\"), 0) FROM ledger WHERE status IN ('loaded', 'withdrawn')"
            ).fetchall()
        names = tuple(column.name for column in self.layout.columns)
        return CurrentTable(f"{self._identity}.{last}", names, create_view)

    def bring_up(self, folder: str, change: Change) -> LakeTable:
        """Bring a copy of the rows up to date, as a Delta table in which every row counts.

        New loads are appended if nothing else changed; otherwise the copy is replaced. Either is one commit.

        Args:
            folder: Folder or URI of the copies; another key, other columns or another transformation give
                another copy below it.
            change: The transformation of the rows.

        Returns:
            The copy.

        Raises:
            LakeConflict: Commits fail although nobody else commits.
            LakeError: The lake cannot be read or written.
        """
        copy = self._copy(folder, change)
        return retry_while_others_progress(lambda: self._bring_up(copy, change), copy.version)

    def _copy(self, folder: str, change: Change) -> LakeTable:
        columns = self.table.columns
        identity = repr(
            (self.feed.mode, self.feed.key, change.name, [(column.name, column.type) for column in columns])
        )
        name = hashlib.blake2b(identity.encode(), digest_size=6).hexdigest()
        return LakeTable(f"{folder}/{name}-{self._identity}", columns, self.table.storage_options, COPY)

    def _bring_up(self, copy: LakeTable, change: Change) -> LakeTable:
        handle = copy.open()
        goal = self.state.version.number
        if handle is not None and copy.cursor(handle, _STREAM) >= goal:
            return copy
        counting = counting_rows_sql(self.feed)
        held = self._batches(copy, "FROM stored", None) if handle is not None else {}
        counts = self._batches(self.table, counting, self.state)
        # A row that becomes invalid lowers the count of its load. A row that becomes valid again takes the
        # place of such a row.
        if handle is not None and all(counts.get(batch) == rows for batch, rows in held.items()):
            more = [batch for batch in counts if batch not in held]
            some = f"SELECT * FROM ({counting}) WHERE _batch IN ({', '.join(map(str, more)) or 'NULL'})"
            rows = stream(self.table, self.ledger, self.state, some)
            copy.append(handle, change.apply(rows), stream=_STREAM, version=goal)
        elif handle is None:
            copy.append(None, change.apply(self.read()), stream=_STREAM, version=goal)
        else:
            copy.overwrite(handle, change.apply(self.read()), stream=_STREAM, version=goal)
        return copy

    @property
    def _identity(self) -> str:
        """The identity of the ledger; a recreated ledger starts counting from the beginning."""
        handle = self.state.version.handle
        known = "" if handle is None else str(handle.metadata().id)
        return hashlib.blake2b(known.encode(), digest_size=4).hexdigest()

    def _batches(self, table: LakeTable, sql: str, state: FeedState | None) -> dict[int, int]:
        """The number of valid rows of each load."""
        with self.ledger.engine.connect() as connection:
            if state is not None:
                state.version.create_view(connection, "ledger")
            is_known = state is None or bool(state.layout)
            table.create_view(connection, ["stored"], table.open() if is_known else None)
            found = connection.sql(f"SELECT _batch, count(*) FROM ({sql}) GROUP BY _batch ORDER BY _batch")
            return dict(found.fetchall())


def stream(table: LakeTable, ledger: FeedLedger, state: FeedState, sql: str) -> pa.RecordBatchReader:
    """Stream the result of a query over a feed's table (view `stored`) and its ledger (view `ledger`)."""
    handle = table.open()

    def prepare(connection: duckdb.DuckDBPyConnection) -> None:
        state.version.create_view(connection, "ledger")
        # Rows of a crashed load may have other columns until a load is committed.
        table.create_view(connection, ["stored"], handle if state.layout else None)

    return ledger.engine.stream(sql, table.arrow_schema, prepare)


def counting_rows_sql(feed: Feed) -> str:
    """SQL for the valid rows of a feed, over the views `stored` and `ledger`."""
    # Append mode: only the newest version of an object counts. Merge mode: every version counts.
    versions = "object_id" if feed.mode == "append" else "object_id, version"
    valid = (
        "WITH loads AS (SELECT * FROM ledger WHERE status = 'loaded' QUALIFY row_number() OVER "
        f'(PARTITION BY {versions} ORDER BY "commit" DESC, batch DESC) = 1), '
        "valid AS (SELECT * FROM loads WHERE NOT EXISTS (FROM ledger AS later WHERE "
        "later.status = 'withdrawn' AND later.object_id = loads.object_id "
        "AND later.version = loads.version)) "
    )
    if feed.mode == "append":
        return f"{valid}SELECT stored.* FROM stored WHERE _batch IN (SELECT batch FROM valid)"
    # Ordered by when objects were written, not loaded: a delayed load does not make an object newer.
    return (
        f"{valid}SELECT stored.* FROM stored JOIN valid ON _batch = batch QUALIFY row_number() OVER "
        f"(PARTITION BY {columns_sql(feed.key, 'stored')} ORDER BY valid.modified DESC, _batch DESC, "
        f"{quote('_line')} DESC) = 1"
    )
