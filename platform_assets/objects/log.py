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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from platform_assets.errors import ObjectsError
from platform_assets.isolation import reason_of
from platform_assets.lake.arrow import micros_of, table_of, time_of
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import create_text_table
from platform_assets.lake.interfaces import KeptTable, Outdated
from platform_assets.lake.log import AppendLog, LogVersion, storable
from platform_assets.model.dialects import literal
from platform_assets.model.table import Column, Integer, Text, Timestamp
from platform_assets.objects.bucket import Bucket, ObjectVersion
from platform_assets.objects.plan import (
    BatchLimits,
    DueObject,
    Entry,
    ObjectStatus,
    Outcome,
    Verdict,
    after,
    due_object,
    judge,
    slices,
)

if TYPE_CHECKING:
    import duckdb

LOG_COLUMNS = (
    Column("key", Text(), "Name of the object below the watched place"),
    Column("uri", Text(), "URI of the object"),
    Column("version", Text(), "ETag, generation, or modification time, size and inode of a file"),
    Column("size", Integer(64), "Size in bytes"),
    Column("modified", Timestamp(utc=True), "Time when the object was written, by the store's clock, UTC"),
    Column("status", Text(), "planned, done, failed, parked, gone or released"),
    Column("attempt", Integer(32), "Number of the attempt at this version, from 1"),
    Column("batch", Integer(64), "Batch of the attempt; a run takes one batch"),
    Column(
        "retry_at", Timestamp(utc=True), "Time from which a failed object may be retried, UTC", nullable=True
    ),
    Column("error", Text(), "Reason why it failed or was parked; empty otherwise"),
    Column("at", Timestamp(utc=True), "Time of the entry, by the platform's clock, UTC"),
    Column("commit", Integer(64), "Number of the commit; the row with the largest counts for each key"),
)
_log = logging.getLogger(__name__)
PROGRESS = "platform_assets.objects"
"""Commit metadata: the progress of the watch."""
# Commits by other programs (such as OPTIMIZE) have no such metadata; skip up to this many of them.
_LONGEST_LOOK_BACK = 100
_SETTLED = (ObjectStatus.DONE, ObjectStatus.GONE, ObjectStatus.PARKED)
_STATUSES = {str(status): status for status in ObjectStatus}


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
        times = (
            {str(batch): micros_of(at) for batch, at in batches.items()}
            for batches in (self.open, self.retries)
        )
        return json.dumps([self.last_batch, *times], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """Parse the JSON of `to_json`."""
        last, *times = json.loads(text)
        opened, retries = ({int(batch): time_of(at) for batch, at in time.items()} for time in times)
        return cls(last, opened, retries)


@dataclass(frozen=True)
class Planned:
    """The result of planning.

    Args:
        batches: The tasks of each batch that was opened.
        waiting: Keys with another version in progress.
        left: Keys of due objects beyond the limits.
    """

    batches: Mapping[int, Sequence[DueObject]] = field(default_factory=dict)
    waiting: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LogState:
    """The log at one version.

    Args:
        version: The rows of the log at that version.
        progress: The progress of the watch at that version.
    """

    version: LogVersion
    progress: Progress

    def between(self, low: str, high: str) -> dict[str, Entry]:
        """The latest entries of the keys after `low` up to `high`, in code point order."""
        return self._last(f"key > {literal(low)} AND key <= {literal(high)}")

    def of(self, keys: Iterable[str]) -> dict[str, Entry]:
        """The latest entries of these keys."""
        return _by_key(self.version.latest_of(keys))

    def batch(self, number: int) -> dict[str, Entry]:
        """The latest entries of the objects of a batch, within that batch."""
        return self._last(f"batch = {number:d}")

    def planned(self, number: int) -> list[DueObject]:
        """The objects of a batch without an outcome, in key order: the work of its run."""
        entries = self.batch(number).values()
        return [
            DueObject(entry.object, entry.attempt)
            for entry in entries
            if entry.status is ObjectStatus.PLANNED
        ]

    def with_status(self, *statuses: ObjectStatus) -> list[Entry]:
        """The latest entries with one of these statuses, such as PARKED; reads the whole log."""
        return list(_by_key(self.version.latest(statuses=statuses)).values())

    def due_again(self, now: dt.datetime) -> tuple[list[Entry], dict[int, dt.datetime]]:
        """The failed objects that are due again, and for the others the next retry time of each batch.

        Objects with a later entry, because they were overwritten, are in neither.
        """
        due: list[Entry] = []
        later = {batch: at for batch, at in self.progress.retries.items() if at > now}
        for batch in sorted(self.progress.retries.keys() - later.keys()):
            failed = {
                key: entry for key, entry in self.batch(batch).items() if entry.status is ObjectStatus.FAILED
            }
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
        return _by_key(self.version.latest(condition))


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

    @property
    def _log(self) -> AppendLog:
        return AppendLog(self.table, "The object log", stream="objects", key=("key",))

    def read(self) -> LogState:
        """Read the current version of the log."""
        return self._state(self._log.read())

    def _state(self, version: LogVersion) -> LogState:
        stored = self.table.commit_metadata(version.handle, PROGRESS, look_back=_LONGEST_LOOK_BACK)
        if stored is not None:
            return LogState(version, Progress.from_json(stored))
        if self.table.row_count(version.handle):
            raise ObjectsError(
                f"The object log {self.table.uri} cannot be read: other programs wrote its last "
                f"{_LONGEST_LOOK_BACK} commits. Restore the table to its last commit with {PROGRESS} in its "
                "metadata."
            )
        return LogState(version, Progress())

    def commit(self, state: LogState, entries: Sequence[Entry], progress: Progress) -> bool:
        """Write entries and the progress of the watch in one commit.

        Args:
            state: The version of the log that this is based on.
            entries: At most one for each key.
            progress: The watch's new progress.

        Returns:
            False if the log has changed since `state` was read; nothing is written then.
        """
        return state.version.try_append(map(_row, entries), {PROGRESS: progress.to_json()})

    def settle(
        self, batch: int, outcomes: Iterable[Outcome], policy: BatchLimits, now: dt.datetime
    ) -> list[Entry]:
        """Record the outcomes of attempts of an open batch, in one or several steps of its run.

        The batch closes with its last object. Objects that are no longer planned in the batch are skipped, so
        that a repeat changes nothing.

        Returns:
            The new entries.

        Raises:
            ObjectsError: The batch is closed: its run was considered lost, and its objects are in another
                batch.
        """
        by_key = {outcome.key: outcome for outcome in outcomes}
        for state in self._attempts():
            if batch not in state.progress.open:
                last = state.batch(batch)
                if last and all(last[key].status is by_key[key].status for key in by_key if key in last):
                    return []
                raise ObjectsError(
                    f"The outcome of batch {batch} of the object log {self.table.uri} is not recorded: the "
                    "batch is closed, because its run was considered lost. Another batch has its objects."
                )
            planned = {
                key: entry
                for key, entry in state.batch(batch).items()
                if entry.status is ObjectStatus.PLANNED
            }
            ended = [after(planned[key], by_key[key], policy, now) for key in planned if key in by_key]
            if self._tried(state, batch, ended, is_last=len(ended) == len(planned)):
                return ended
        raise self._log.lost_race()

    def give_up(
        self, batch: int, reason: str, policy: BatchLimits, now: dt.datetime, *, ran: bool = True
    ) -> None:
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
            planned = [entry for entry in state.batch(batch).values() if entry.status is ObjectStatus.PLANNED]
            failed = [
                after(entry, Outcome(entry.object.key, ObjectStatus.FAILED, reason), policy, now)
                for entry in planned
            ]
            if not ran:
                failed = [
                    replace(
                        entry,
                        status=ObjectStatus.FAILED,
                        attempt=entry.attempt - 1,
                        at=now,
                        retry_at=now,
                        error=reason,
                    )
                    for entry in planned
                ]
            if self._tried(state, batch, failed, is_last=True):
                return
        raise self._log.lost_race()

    def release(self, keys: Iterable[str], now: dt.datetime) -> int:
        """Reset parked objects so that they are tried again; return how many of the keys were parked.

        The next listing finds them.
        """
        wanted = list(keys)
        for state in self._attempts():
            parked = [entry for entry in state.of(wanted).values() if entry.status is ObjectStatus.PARKED]
            released = [replace(entry, status=ObjectStatus.RELEASED, at=now, attempt=0) for entry in parked]
            if not released or self.commit(state, released, state.progress):
                return len(released)
        raise self._log.lost_race()

    def plan(
        self,
        known: Known,
        found: Sequence[ObjectVersion],
        policy: BatchLimits,
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
        for attempt, version in enumerate(self._log.attempts(known.state.version)):
            if attempt:
                state = self._state(version)
                known = Known(state, state.of([*(candidate.key for candidate in found), *gone]))
            state, last = known.state, known.last
            verdicts = {candidate.key: judge(candidate, last.get(candidate.key), now) for candidate in found}
            due = [
                due_object(entry, last.get(entry.key))
                for entry in found
                if verdicts[entry.key] is Verdict.DUE
            ]
            room = max(policy.open_runs - len(state.progress.open), 0)
            first = state.progress.last_batch + 1
            batches = dict(enumerate(islice(slices(due, policy), room), first))
            entries = {
                entry.object.key: Entry(entry.object, ObjectStatus.PLANNED, entry.attempt, batch, now)
                for batch, cut in batches.items()
                for entry in cut
            }
            left = frozenset(entry.object.key for entry in due if entry.object.key not in entries)
            for key in gone:
                if key in last and last[key].status is ObjectStatus.FAILED:
                    entries[key] = replace(last[key], status=ObjectStatus.GONE, at=now, retry_at=None)
            progress = Progress(
                first + len(batches) - 1,
                {**state.progress.open, **dict.fromkeys(batches, now)},
                self._later(state, entries.keys(), now),
            )
            if progress == state.progress or self.commit(state, list(entries.values()), progress):
                waiting = (key for key, verdict in verdicts.items() if verdict is Verdict.WAIT)
                return Planned(batches, frozenset(waiting), left)
        raise self._log.lost_race()

    def _later(self, state: LogState, entries: Set[str], now: dt.datetime) -> dict[int, dt.datetime]:
        """The next retry time of each batch with failed objects that are not retried now."""
        due, later = state.due_again(now)
        for candidate in due:
            if candidate.object.key not in entries:
                at = candidate.retry_at or now
                later[candidate.batch] = min(at, later.get(candidate.batch, at))
        return later

    def kept(self, watch: str, bucket: Callable[[], Bucket], days: int) -> KeptTable:
        """Return the log as upkeep takes care of it.

        Args:
            watch: Name of the watch.
            bucket: Opens the watched bucket.
            days: Age of entries that go if a later entry follows, or if the object no longer exists.
        """

        def outdated(connection: duckdb.DuckDBPyConnection, now: dt.datetime) -> Outdated | None:
            return self._outdated(connection, now - dt.timedelta(days=days), bucket)

        return self._log.kept(f"objects/{watch}", metadata=PROGRESS, outdated=outdated)

    def _outdated(
        self, connection: duckdb.DuckDBPyConnection, before: dt.datetime, bucket: Callable[[], Bucket]
    ) -> Outdated | None:
        progress, at = self.read().progress, f"TIMESTAMPTZ {literal(str(before))}"
        in_use = ", ".join(str(batch) for batch in {*progress.open, *progress.retries}) or "-1"
        connection.execute(
            'CREATE OR REPLACE TEMP TABLE settled AS SELECT key, "commit", "commit" = max("commit") OVER '
            f'(PARTITION BY key) AS is_last, status FROM stored QUALIFY "at" < {at} '
            f"AND batch NOT IN ({in_use})"
        )
        settled = ", ".join(literal(status) for status in _SETTLED)
        is_gone = "false"
        last = f"is_last AND status IN ({settled})"
        if connection.sql(f"SELECT 1 FROM settled WHERE {last} LIMIT 1").fetchall():
            keys = ((storable(found.key),) for found in bucket().objects(""))
            # A bucket without any object is more likely not the right one, or not mounted.
            if create_text_table(connection, "there", ["key"], keys):
                is_gone = f"{last} AND key NOT IN (SELECT key FROM there)"
        return Outdated(
            "EXISTS (FROM (SELECT *, NOT is_last OR ("
            f"{is_gone}) AS is_over FROM settled) AS old WHERE old.key = stored.key "
            'AND old."commit" = stored."commit" AND is_over)'
        )

    def refuse_unstorable(self, found: ObjectVersion) -> None:
        """Raise the error that a commit would raise for this object, such as an unstorable name."""
        entry = Entry(found, ObjectStatus.PLANNED, 1, 0, found.modified)
        table_of([{**_row(entry), "commit": 0}], self.table.arrow_schema)

    def _attempts(self) -> Iterator[LogState]:
        """The current log, and again after each lost race, as long as other writers make progress."""
        for version in self._log.attempts():
            yield self._state(version)

    def _tried(self, state: LogState, batch: int, entries: Sequence[Entry], *, is_last: bool) -> bool:
        if not entries and not is_last:
            return True
        opened, retries = dict(state.progress.open), dict(state.progress.retries)
        if is_last:
            opened.pop(batch)
        times = [entry.retry_at for entry in entries if entry.retry_at is not None]
        if times:
            retries[batch] = min(*times, retries.get(batch, times[0]))
        return self.commit(state, entries, replace(state.progress, open=opened, retries=retries))


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.object.key,
        "uri": storable(entry.object.uri),
        "version": entry.object.version,
        "size": entry.object.size,
        "modified": entry.object.modified,
        "status": entry.status,
        "attempt": entry.attempt,
        "batch": entry.batch,
        "retry_at": entry.retry_at,
        "error": storable(entry.error),
        "at": entry.at,
    }


def _by_key(rows: Iterable[Sequence[Any]]) -> dict[str, Entry]:
    entries = {}
    for row in rows:
        try:
            entry = _entry(row)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            # Treat the object as new: it is inspected and recorded again.
            _log.warning("A row of an object log cannot be read: %s", reason_of(error, tell_text=False))
        else:
            entries[entry.object.key] = entry
    return entries


def _entry(row: Sequence[Any]) -> Entry:
    key, uri, version, size, modified, status, attempt, batch, retry_at, error, at, _ = row
    found = ObjectVersion(uri, key, version, size, time_of(modified))
    again = None if retry_at is None else time_of(retry_at)
    return Entry(found, _STATUSES[status], attempt, batch, time_of(at), again, error)
