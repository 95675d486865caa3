"""The object log: the status history of every version of every object, in a Delta table of the lake.

A sensor's cursor could not hold it: a million keys with their versions take a hundred megabytes, and a cursor
is rewritten at every tick. The table is append-only, with one commit per tick or run; the latest entry of a
key counts. The open batches, and the batches with failed objects to retry, are in the metadata of the same
commits, so that they cannot disagree with the rows. A sensor's cursor then only holds the position of the
listing, and may be lost.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import LakeConflict, ObjectsError
from platform_assets.isolation import reason_of
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import literal, quote
from platform_assets.lake.races import attempts
from platform_assets.model.table import Column, Integer, Text, Timestamp
from platform_assets.objects.bucket import ObjectVersion
from platform_assets.objects.plan import (
    Entry,
    Outcome,
    Policy,
    Status,
    Task,
    Verdict,
    after,
    judge,
    slices,
    task,
)

if TYPE_CHECKING:
    from deltalake import DeltaTable

LOG_COLUMNS = (
    Column("key", Text(), "The object's name below what is watched"),
    Column("uri", Text(), "Where it is"),
    Column("version", Text(), "ETag, generation, or time, size and inode of a file"),
    Column("size", Integer(64), "Bytes"),
    Column("modified", Timestamp(utc=True), "When it was written, by the store's clock, UTC"),
    Column("status", Text(), "planned, done, failed, parked, gone or released"),
    Column("attempt", Integer(32), "Number of the attempt at this version, from 1"),
    Column("batch", Integer(64), "The batch that the attempt is part of; one run takes one batch"),
    Column("retry_at", Timestamp(utc=True), "When a failed one may be tried again, UTC", nullable=True),
    Column("error", Text(), "Why it failed or was parked; empty otherwise"),
    Column("at", Timestamp(utc=True), "When this was said, by the platform's clock, UTC"),
    Column("commit", Integer(64), "Number of the commit; of a key, the row with the largest counts"),
)
_log = logging.getLogger(__name__)
_STREAM = "objects"
_PROGRESS = "platform_assets.objects"
# Commits by other programs (such as OPTIMIZE) have no such metadata; skip up to this many of them.
_LONGEST_LOOK_BACK = 100
_KEYS_PER_QUERY = 2_000
_STATUSES = {str(status): status for status in Status}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


@dataclass(frozen=True)
class Progress:
    """The progress of a watch's runs.

    Args:
        last_batch: Number of the newest batch, 0 before the first.
        open: The planning time of each batch that has objects without an outcome.
        retries: For each batch, when its first failed object may be retried.
    """

    last_batch: int = 0
    open: Mapping[int, dt.datetime] = field(default_factory=dict)
    retries: Mapping[int, dt.datetime] = field(default_factory=dict)

    def to_json(self) -> str:
        """Compact JSON; times are whole microseconds since 1970, UTC."""
        times = ({str(batch): _micros(at) for batch, at in one.items()} for one in (self.open, self.retries))
        return json.dumps([self.last_batch, *times], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """Parse the JSON of `to_json`."""
        last, *times = json.loads(text)
        opened, retries = ({int(batch): _time(at) for batch, at in one.items()} for one in times)
        return cls(last, opened, retries)


@dataclass(frozen=True)
class Planned:
    """The result of planning.

    Args:
        batches: The tasks of each batch that was opened.
        waiting: Keys with another version in progress.
        left: Keys of due objects beyond the limits.
    """

    batches: Mapping[int, Sequence[Task]] = field(default_factory=dict)
    waiting: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LogState:
    """The log at one version.

    Args:
        handle: The Delta table at that version, None before the first commit.
        progress: The progress of the watch at that version.
    """

    handle: DeltaTable | None
    progress: Progress

    @cached_property
    def commit(self) -> int:
        """Number of the newest commit, 0 before the first."""
        return (self.handle.transaction_version(_STREAM) or 0) if self.handle is not None else 0

    def between(self, low: str, high: str) -> dict[str, Entry]:
        """The latest entries of the keys after `low` up to `high`, in code point order."""
        return self._last(f"key > {literal(low)} AND key <= {literal(high)}")

    def of(self, keys: Iterable[str]) -> dict[str, Entry]:
        """The latest entries of these keys."""
        found: dict[str, Entry] = {}
        wanted = sorted(set(keys))
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            some = wanted[start : start + _KEYS_PER_QUERY]
            # The range lets Delta skip files; a long list of keys alone does not.
            span = f"key >= {literal(some[0])} AND key <= {literal(some[-1])}"
            found |= self._last(f"{span} AND key IN ({', '.join(map(literal, some))})")
        return found

    def batch(self, number: int) -> dict[str, Entry]:
        """The latest entries of the objects of a batch, within that batch."""
        return self._last(f"batch = {number:d}")

    def planned(self, number: int) -> list[Task]:
        """The objects of a batch without an outcome, in key order: the work of its run."""
        entries = self.batch(number).values()
        return [Task(one.object, one.attempt) for one in entries if one.status is Status.PLANNED]

    def with_status(self, *statuses: Status) -> list[Entry]:
        """The latest entries with one of these statuses, such as PARKED; reads the whole log."""
        return [entry for entry in self._last("true").values() if entry.status in statuses]

    def due_again(self, now: dt.datetime) -> tuple[list[Entry], dict[int, dt.datetime]]:
        """The failed objects that are due again, and for the others the next retry time of each batch.

        Objects with a later entry, because they were overwritten, are in neither.
        """
        due: list[Entry] = []
        later = {batch: at for batch, at in self.progress.retries.items() if at > now}
        for batch in sorted(self.progress.retries.keys() - later.keys()):
            failed = {key: one for key, one in self.batch(batch).items() if one.status is Status.FAILED}
            last = self.of(failed)
            for key, entry in failed.items():
                if last[key] != entry:
                    continue
                at = entry.retry_at or now
                if at <= now:
                    due.append(entry)
                else:
                    later[batch] = min(at, later.get(batch, at))
        return due, later

    def _last(self, condition: str) -> dict[str, Entry]:
        """The latest entry of each key among the rows of a condition, in key order."""
        from deltalake import QueryBuilder

        if self.handle is None:
            return {}
        rows = (
            QueryBuilder()
            .register("log", self.handle)
            .execute(
                'SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY key ORDER BY "commit" DESC) '
                f"AS place FROM log WHERE {condition}) WHERE place = 1 ORDER BY key"
            )
        )
        table = pa.RecordBatchReader.from_stream(rows).read_all()
        return {entry.object.key: entry for entry in _entries(table)}


@dataclass(frozen=True)
class Known:
    """The latest entries of some objects at one version of the log.

    Args:
        state: The log at that version.
        last: The latest entries by key; keys without entries are missing.
    """

    state: LogState
    last: Mapping[str, Entry]


@dataclass(frozen=True)
class ObjectLog:
    """The object log of one watch.

    Args:
        table: The Delta table, with `LOG_COLUMNS`.
    """

    table: LakeTable

    def read(self) -> LogState:
        """Read the current version of the log."""
        handle = self.table.open()
        said = self.table.commit_metadata(handle, _PROGRESS, look_back=_LONGEST_LOOK_BACK)
        if said is not None:
            return LogState(handle, Progress.from_json(said))
        if handle is not None and self.table.row_count(handle):
            raise ObjectsError(
                f"The object log {self.table.uri} cannot be read: none of its last {_LONGEST_LOOK_BACK} "
                "commits is the platform's. Restore the table to its last commit that has "
                f"{_PROGRESS} in its metadata."
            )
        return LogState(handle, Progress())

    def commit(self, state: LogState, entries: Sequence[Entry], progress: Progress) -> None:
        """Write entries and the progress of the watch in one commit.

        Args:
            state: The version of the log that this is based on.
            entries: At most one for each key.
            progress: The watch's new progress.

        Raises:
            LakeConflict: The log has changed since `state` was read.
        """
        number = state.commit + 1
        self.table.append(
            state.handle,
            _rows(entries, number, self.table.arrow_schema),
            stream=_STREAM,
            version=number,
            metadata={_PROGRESS: progress.to_json()},
        )

    def settle(
        self, batch: int, outcomes: Iterable[Outcome], policy: Policy, now: dt.datetime
    ) -> list[Entry]:
        """Record the outcomes of attempts of an open batch, in one or several steps of its run.

        The batch closes with its last object. Objects that are no longer planned in the batch are skipped, so
        that a repeat changes nothing.

        Returns:
            The new entries.

        Raises:
            ObjectsError: The batch is not open: its run was given up, and its objects are in another batch.
        """
        by_key = {outcome.key: outcome for outcome in outcomes}
        for state in self._attempts():
            if batch not in state.progress.open:
                said = state.batch(batch)
                if said and all(said[key].status is by_key[key].status for key in by_key if key in said):
                    return []
                raise ObjectsError(
                    f"The outcome of batch {batch} of the object log {self.table.uri} does not count: the "
                    "batch is not open any more, as its run was taken for lost. Its objects are in another."
                )
            planned = {key: one for key, one in state.batch(batch).items() if one.status is Status.PLANNED}
            said_now = [after(planned[key], by_key[key], policy, now) for key in planned if key in by_key]
            if self._tried(state, batch, said_now, is_last=len(said_now) == len(planned)):
                return said_now
        raise _lost_race(self.table.uri)

    def give_up(self, batch: int, reason: str, policy: Policy, now: dt.datetime, *, ran: bool = True) -> None:
        """Close a batch whose run ended without an outcome for every object.

        Args:
            batch: The batch; a batch that is not open is ignored.
            reason: The error to record for those objects.
            policy: The retry policy.
            now: The time, UTC.
            ran: True if the attempt counts; if the run never started, the objects are planned again as
                before.
        """
        for state in self._attempts():
            if batch not in state.progress.open:
                return
            planned = [one for one in state.batch(batch).values() if one.status is Status.PLANNED]
            failed = [
                after(one, Outcome(one.object.key, Status.FAILED, reason), policy, now) for one in planned
            ]
            if not ran:
                failed = [
                    replace(
                        one, status=Status.FAILED, attempt=one.attempt - 1, at=now, retry_at=now, error=reason
                    )
                    for one in planned
                ]
            if self._tried(state, batch, failed, is_last=True):
                return
        raise _lost_race(self.table.uri)

    def release(self, keys: Iterable[str], now: dt.datetime) -> int:
        """Reset parked objects so that they are tried again; return how many of the keys were parked.

        The next listing finds them.
        """
        wanted = list(keys)
        for state in self._attempts():
            parked = [one for one in state.of(wanted).values() if one.status is Status.PARKED]
            said = [replace(one, status=Status.RELEASED, at=now, attempt=0) for one in parked]
            if not said or self._committed(state, said, state.progress):
                return len(said)
        raise _lost_race(self.table.uri)

    def plan(
        self,
        known: Known,
        found: Sequence[ObjectVersion],
        policy: Policy,
        now: dt.datetime,
        *,
        gone: Sequence[str] = (),
    ) -> Planned:
        """Open batches for the due objects, in one commit.

        If the log has changed since it was read, the commit fails and the plan is made again on the new
        version: objects that another tick planned in the meantime are not planned twice.

        Args:
            known: The log as it was read, with the latest entries of these objects, including gone ones.
            found: Objects as they are now, at most one for each key.
            policy: The limits of runs.
            now: The time, UTC.
            gone: Keys of failed objects that no longer exist and need no further attempt.

        Raises:
            LakeConflict: Commits fail although nobody else commits.
        """
        for attempt, _ in enumerate(attempts(self.table.version)):
            if attempt:
                state = self.read()
                known = Known(state, state.of([*(one.key for one in found), *gone]))
            state, last = known.state, known.last
            verdicts = {one.key: judge(one, last.get(one.key), now) for one in found}
            due = [task(one, last.get(one.key)) for one in found if verdicts[one.key] is Verdict.DUE]
            room = max(policy.open_runs - len(state.progress.open), 0)
            first = state.progress.last_batch + 1
            batches = dict(enumerate(islice(slices(due, policy), room), first))
            said = {
                one.object.key: Entry(one.object, Status.PLANNED, one.attempt, batch, now)
                for batch, cut in batches.items()
                for one in cut
            }
            left = frozenset(one.object.key for one in due if one.object.key not in said)
            for key in gone:
                if key in last and last[key].status is Status.FAILED:
                    said[key] = replace(last[key], status=Status.GONE, at=now, retry_at=None)
            progress = Progress(
                first + len(batches) - 1,
                {**state.progress.open, **dict.fromkeys(batches, now)},
                self._later(state, said.keys(), now),
            )
            if progress == state.progress or self._committed(state, list(said.values()), progress):
                waiting = (key for key, verdict in verdicts.items() if verdict is Verdict.WAIT)
                return Planned(batches, frozenset(waiting), left)
        raise _lost_race(self.table.uri)

    def _later(self, state: LogState, said: Set[str], now: dt.datetime) -> dict[int, dt.datetime]:
        """The next retry time of each batch with failed objects that are not retried now."""
        due, later = state.due_again(now)
        for one in due:
            if one.object.key not in said:
                at = one.retry_at or now
                later[one.batch] = min(at, later.get(one.batch, at))
        return later

    def refuse_unstorable(self, found: ObjectVersion) -> None:
        """Raise the error that a commit would raise for this object, such as an unstorable name."""
        _rows([Entry(found, Status.PLANNED, 1, 0, _EPOCH)], 0, self.table.arrow_schema)

    def compact(self, files: int = 64) -> bool:
        """Merge the small files that commits leave, sorted by key, if there are many of them.

        A listing looks up ranges of keys: sorted files let it open only few of them.

        Args:
            files: The least number of files that makes compaction worthwhile.

        Returns:
            True if the log was compacted.
        """
        from deltalake.exceptions import DeltaError

        handle = self.table.open()
        if handle is None or len(handle.file_uris()) < files:
            return False
        try:
            handle.optimize.z_order(["key"])
        except DeltaError as error:
            raise LakeConflict(
                f"The object log {self.table.uri} was not compacted: {error}. The next time does it."
            ) from error
        return True

    def _attempts(self) -> Iterator[LogState]:
        """The current log, and again after each lost race, as long as other writers make progress."""
        for _ in attempts(self.table.version):
            yield self.read()

    def _tried(self, state: LogState, batch: int, said: Sequence[Entry], *, is_last: bool) -> bool:
        if not said and not is_last:
            return True
        opened, retries = dict(state.progress.open), dict(state.progress.retries)
        if is_last:
            opened.pop(batch)
        times = [one.retry_at for one in said if one.retry_at is not None]
        if times:
            retries[batch] = min(*times, retries.get(batch, times[0]))
        return self._committed(state, said, replace(state.progress, open=opened, retries=retries))

    def _committed(self, state: LogState, entries: Sequence[Entry], progress: Progress) -> bool:
        try:
            self.commit(state, entries, progress)
        except LakeConflict:
            return False
        return True


def _rows(entries: Sequence[Entry], commit: int, schema: pa.Schema) -> pa.Table:
    # Through DuckDB, because pyarrow imports pandas to create arrays from Python values.
    import duckdb

    columns: dict[str, tuple[str, list[str] | list[int] | list[int | None]]] = {
        "key": ("VARCHAR", [one.object.key for one in entries]),
        "uri": ("VARCHAR", [_storable(one.object.uri) for one in entries]),
        "version": ("VARCHAR", [one.object.version for one in entries]),
        "size": ("BIGINT", [one.object.size for one in entries]),
        "modified": ("BIGINT", [_micros(one.object.modified) for one in entries]),
        "status": ("VARCHAR", [str(one.status) for one in entries]),
        "attempt": ("INTEGER", [one.attempt for one in entries]),
        "batch": ("BIGINT", [one.batch for one in entries]),
        "retry_at": ("BIGINT", [None if one.retry_at is None else _micros(one.retry_at) for one in entries]),
        "error": ("VARCHAR", [_storable(one.error) for one in entries]),
        "at": ("BIGINT", [_micros(one.at) for one in entries]),
        "commit": ("BIGINT", [commit] * len(entries)),
    }
    selected = ", ".join(
        f"unnest(CAST(? AS {type_}[])) AS {quote(name)}" for name, (type_, _) in columns.items()
    )
    with duckdb.connect() as connection:
        parameters = [values for _, values in columns.values()]
        return connection.sql(f"SELECT {selected}", params=parameters).to_arrow_table().cast(schema)


def _entries(rows: pa.Table) -> Iterator[Entry]:
    columns = {}
    for column in LOG_COLUMNS:
        values: Any = rows[column.name]
        if isinstance(column.type, Timestamp):
            # As integers, because pyarrow imports pandas to create Python values with a time zone.
            values = values.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
        columns[column.name] = values.to_pylist()
    for row in zip(*columns.values(), strict=True):
        try:
            entry = _entry(row)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            # Treat the object as new: it is inspected and recorded again.
            _log.warning("A row of an object log cannot be read: %s", reason_of(error, tell_text=False))
        else:
            yield entry


def _entry(row: Sequence[Any]) -> Entry:
    key, uri, version, size, modified, status, attempt, batch, retry_at, error, at, _ = row
    found = ObjectVersion(uri, key, version, size, _time(modified))
    again = None if retry_at is None else _time(retry_at)
    return Entry(found, _STATUSES[status], attempt, batch, _time(at), again, error)


def _storable(text: str) -> str:
    """Text without characters that cannot be encoded: a path on disk may have bytes that are not UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _micros(at: dt.datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _time(micros: int) -> dt.datetime:
    return _EPOCH + micros * _MICROSECOND


def _lost_race(uri: str) -> LakeConflict:
    return LakeConflict(
        f"The object log {uri} could not be written: every commit is refused as if "
        "another had been made, and none is. Check that the store keeps what is written to it."
    )
