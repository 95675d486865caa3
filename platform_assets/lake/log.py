"""Append-only logs: Delta tables of the lake in which the latest row of each key counts.

Commits are numbered, in the column `commit` and in the app transaction of the commit. A commit that is based
on an old version of the log is refused; the loser reads the log again and does the remaining work.
This module does not know the meaning of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import LakeConflict
from platform_assets.lake import races
from platform_assets.lake.arrow import table_of
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.interfaces import KeptTable, Outdated
from platform_assets.model.dialects import columns_sql, literal, quote
from platform_assets.model.table import Column, Timestamp

if TYPE_CHECKING:
    import datetime as dt

    import duckdb
    from deltalake import DeltaTable

_COMMIT = "commit"
_KEYS_PER_QUERY = 2_000


@dataclass(frozen=True)
class AppendLog:
    """An append-only log.

    Args:
        table: Its Delta table. Each row gets the number of its commit, if the table declares the column
            `commit`.
        title: Its name in messages, such as "The outbox".
        stream: Name of the app transaction that numbers the commits.
        key: The columns that identify the subject of a row.
    """

    table: LakeTable
    title: str
    stream: str
    key: tuple[str, ...]

    def kept(
        self,
        name: str,
        *,
        metadata: str = "",
        outdated: Callable[[duckdb.DuckDBPyConnection, dt.datetime], Outdated | None] | None = None,
    ) -> KeptTable:
        """Return the log as upkeep takes care of it: sorted by key, for readers of some keys.

        The arguments are those of `KeptTable`.
        """
        numbered = any(column.name == _COMMIT for column in self.table.columns)
        order = (*self.key, _COMMIT) if numbered else self.key
        return KeptTable(name, self.table, order, metadata=metadata, outdated=outdated)

    def read(self) -> LogVersion:
        """Read the current version of the log."""
        return LogVersion(self, self.table.open())

    def attempts(self, first: LogVersion | None = None) -> Iterator[LogVersion]:
        """The current version for each attempt at a commit, as long as other writers make progress.

        The caller leaves the loop when an attempt succeeds, and raises `lost_race` after the loop.

        Args:
            first: The version for the first attempt, if the caller has read it.
        """
        for _ in races.attempts(self.table.version):
            yield first or self.read()
            first = None

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows in one commit, whatever others write; see `LogVersion.append`.

        Raises:
            LakeConflict: Commits fail although nobody else commits.
        """
        for version in self.attempts():
            if version.try_append(rows):
                return
        raise self.lost_race()

    def lost_race(self) -> LakeConflict:
        """The error of a writer whose commits fail although nobody else commits."""
        return LakeConflict(
            f"{self.title} {self.table.uri} could not be written: every commit is rejected as a conflict, "
            "but no other commit is visible. Check that the object store keeps new objects."
        )

    def compact(self, files: int) -> bool:
        """Merge the small files that commits leave, sorted by key, if there are many of them.

        Sorted files let a reader of some keys open only few of them.

        Args:
            files: The least number of files that makes compaction worthwhile.

        Returns:
            True if the log was compacted.

        Raises:
            LakeConflict: Another run compacted at the same time.
        """
        from deltalake.exceptions import DeltaError

        handle = self.table.open()
        if handle is None or len(handle.file_uris()) < files:
            return False
        try:
            handle.optimize.z_order(list(self.key))
        except DeltaError as error:
            raise LakeConflict(
                f"{self.title} {self.table.uri} was not compacted: {error}. The next compaction tries again."
            ) from error
        return True


@dataclass(frozen=True)
class LogVersion:
    """A log at one version, which its own commits move on.

    Args:
        log: The log.
        handle: The Delta table at that version, None before the first commit.
    """

    log: AppendLog
    handle: DeltaTable | None

    @property
    def number(self) -> int:
        """Number of the newest commit, 0 before the first."""
        return self.log.table.cursor(self.handle, self.log.stream)

    def append(
        self,
        rows: Iterable[Mapping[str, Any]],
        metadata: Mapping[str, str] | None = None,
        after: int | None = None,
    ) -> None:
        """Write rows in one commit.

        Args:
            rows: The value of each column by name, without `commit`.
            metadata: Commit metadata, readable in the table's history.
            after: `number`, if the caller knows it: to look it up takes as long as half a commit.

        Raises:
            LakeConflict: The log has changed since this version.
            LakeError: The commit failed.
        """
        number = (self.number if after is None else after) + 1
        schema = self.log.table.arrow_schema
        numbered = [{**row, _COMMIT: number} for row in rows]
        self.log.table.append(
            self.handle, table_of(numbered, schema), stream=self.log.stream, version=number, metadata=metadata
        )

    def try_append(
        self,
        rows: Iterable[Mapping[str, Any]],
        metadata: Mapping[str, str] | None = None,
        after: int | None = None,
    ) -> bool:
        """Write rows in one commit, as `append`; return False if the log has changed since this version."""
        try:
            self.append(rows, metadata, after)
        except LakeConflict:
            return False
        return True

    def latest(self, condition: str = "true", statuses: Iterable[str] = ()) -> Iterator[tuple[Any, ...]]:
        """The latest row of each key, in key order.

        Args:
            condition: SQL that all rows must meet; files are skipped by their statistics.
            statuses: Of the latest rows, only those with one of these values in the column `status`; all if
                empty.

        Returns:
            The values of the declared columns; times as microseconds since 1970, UTC (see `arrow.time_of`).
        """
        key, wanted = columns_sql(self.log.key), ", ".join(map(literal, statuses))
        return self.select(
            f"SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY {key} "
            f"ORDER BY {quote(_COMMIT)} DESC) AS place FROM log WHERE {condition}) "
            f"WHERE place = 1{f' AND status IN ({wanted})' if wanted else ''} ORDER BY {key}"
        )

    def select(self, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query over the relation `log`.

        Args:
            query: SQL in DataFusion's dialect; its result has all declared columns.

        Returns:
            As `latest`.
        """
        from deltalake import QueryBuilder

        if self.handle is None:
            return iter(())
        rows = QueryBuilder().register("log", self.handle).execute(query)
        found = pa.RecordBatchReader.from_stream(rows).read_all()
        return zip(
            *(_python_values(column, found[column.name]) for column in self.log.table.columns), strict=True
        )

    def checkpoint(self, keep: int) -> bool:
        """Write a checkpoint, from which the next reader and commit start; return False without a table.

        Args:
            keep: Number of versions before it that can still be read, at least.
        """
        if self.handle is None:
            return False
        self.handle.create_checkpoint()
        self.log.table.forget_versions(self.handle, keep)
        return True

    def create_view(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        """Create a DuckDB view of all rows, for questions that `latest` does not answer."""
        self.log.table.create_view(connection, [name], self.handle)

    def latest_of(self, keys: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        """The latest rows of these values of the first key column, as `latest`."""
        name = quote(self.log.key[0])
        for some in batched(sorted(set(keys)), _KEYS_PER_QUERY):
            # The range lets Delta skip files; a long list of keys alone does not.
            span = f"{name} >= {literal(some[0])} AND {name} <= {literal(some[-1])}"
            yield from self.latest(f"{span} AND {name} IN ({', '.join(map(literal, some))})")


def _python_values(column: Column, values: pa.ChunkedArray) -> list[Any]:
    if isinstance(column.type, Timestamp):
        # As integers, because pyarrow imports pandas to create Python values with a time zone.
        values = values.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return list(values.to_pylist())


def batched(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield the values in slices of this size."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def storable(text: str) -> str:
    """Text without characters that cannot be encoded: a path on disk may have bytes that are not UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")
