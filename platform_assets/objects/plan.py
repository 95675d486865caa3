"""Decisions about an object, based on its latest log entry: pure functions over values.

Two versions of one key are never in progress at the same time, so that the latest entry of a key is always
about the newest version that was worked on.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from platform_assets.objects.bucket import ObjectVersion

LONGEST_ERROR = 500
"""Characters of an error that are stored with an object."""


class ObjectStatus(StrEnum):
    """The status in an object's log entry."""

    PLANNED = "planned"
    DONE = "done"
    FAILED = "failed"
    PARKED = "parked"
    GONE = "gone"
    RELEASED = "released"


class Verdict(Enum):
    """The decision about a noticed object."""

    DUE = "due"
    WAIT = "wait"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Entry:
    """A log entry about one version of an object.

    Attributes:
        object: The version.
        status: Its status.
        attempt: Number of the attempt at this version, from 1.
        batch: The batch that the attempt belongs to.
        retry_at: When a failed object may be retried, UTC.
        error: Why it failed or was parked; never content of the object.
        at: When this entry was written, UTC.
    """

    object: ObjectVersion
    status: ObjectStatus
    attempt: int
    batch: int
    at: dt.datetime
    retry_at: dt.datetime | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt at an object.

    Attributes:
        key: The object.
        status: DONE, FAILED, or GONE if that version no longer exists.
        error: Why it failed, without content of the object.
        retryable: True if another attempt may succeed; otherwise the object is parked at once.
    """

    key: str
    status: ObjectStatus = ObjectStatus.DONE
    error: str = ""
    retryable: bool = True


@dataclass(frozen=True)
class BatchLimits:
    """Limits of runs, and the retry policy.

    Args:
        objects_per_run: The most objects in a run.
        bytes_per_run: The most bytes in a run; a larger object has a run of its own.
        open_runs: The most runs in progress; further work is left for later ticks.
        attempts: Attempts at a version before it is parked.
        first_wait: Wait after the first failed attempt; doubled after each further attempt.
        longest_wait: The longest wait.
        quiet: A local file is skipped if it was modified more recently than this, as it may be incomplete;
            objects in buckets appear complete.
        lost_after: A batch whose run never started is considered lost after this time, and its objects are
            planned again.
        sweep_every: The wait between the end of a complete listing and the start of the next.
    """

    objects_per_run: int = 500
    bytes_per_run: int = 4 * 1024**3
    open_runs: int = 4
    attempts: int = 5
    first_wait: dt.timedelta = dt.timedelta(minutes=1)
    longest_wait: dt.timedelta = dt.timedelta(hours=6)
    quiet: dt.timedelta = dt.timedelta(seconds=5)
    lost_after: dt.timedelta = dt.timedelta(minutes=15)
    sweep_every: dt.timedelta = dt.timedelta()


@dataclass(frozen=True, slots=True)
class DueObject:
    """A due object.

    Attributes:
        object: The version to work on.
        attempt: Number of the attempt, from 1.
    """

    object: ObjectVersion
    attempt: int = 1


def judge(found: ObjectVersion, last: Entry | None, now: dt.datetime) -> Verdict:
    """Decide what to do with an object that exists now, from the latest entry of its key."""
    if last is None or last.status in (ObjectStatus.GONE, ObjectStatus.RELEASED):
        return Verdict.DUE
    if last.status is ObjectStatus.PLANNED:
        return Verdict.WAIT
    if last.object.version != found.version:
        return Verdict.DUE
    if last.status is ObjectStatus.FAILED:
        return Verdict.DUE if last.retry_at is None or last.retry_at <= now else Verdict.SETTLED
    return Verdict.SETTLED


def due_object(found: ObjectVersion, last: Entry | None) -> DueObject:
    """The due object with the number of its next attempt."""
    is_again = (
        last is not None and last.status is ObjectStatus.FAILED and last.object.version == found.version
    )
    return DueObject(found, last.attempt + 1 if last is not None and is_again else 1)


def is_quiet(found: ObjectVersion, policy: BatchLimits, now: dt.datetime) -> bool:
    """Return True if a file is old enough; a modification time in the future (a wrong clock) also counts."""
    return not dt.timedelta() <= now - found.modified < policy.quiet


def slices(due: Iterable[DueObject], policy: BatchLimits) -> Iterator[list[DueObject]]:
    """Split due objects into batches, each the work of one run, in order."""
    batch: list[DueObject] = []
    size = 0
    for candidate in due:
        if batch and (
            len(batch) >= policy.objects_per_run or size + candidate.object.size > policy.bytes_per_run
        ):
            yield batch
            batch, size = [], 0
        batch.append(candidate)
        size += candidate.object.size
    if batch:
        yield batch


def after(planned: Entry, outcome: Outcome, policy: BatchLimits, now: dt.datetime) -> Entry:
    """The log entry after an attempt."""
    ended = replace(planned, at=now, status=outcome.status, error=_one_line(outcome.error))
    if outcome.status is not ObjectStatus.FAILED:
        return ended
    if not outcome.retryable or planned.attempt >= policy.attempts:
        return replace(ended, status=ObjectStatus.PARKED)
    return replace(ended, retry_at=now + wait(planned.attempt, planned.object.key, policy))


def wait(attempt: int, key: str, policy: BatchLimits) -> dt.timedelta:
    """The wait after an attempt, with up to a fifth added by a hash of the key to spread retries."""
    doubled = policy.first_wait * 2 ** min(attempt - 1, 30)
    share = hashlib.blake2b(f"{key} {attempt}".encode(), digest_size=1).digest()[0] / 255
    longest: dt.timedelta = min(doubled, policy.longest_wait)
    return longest + longest * share / 5


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_ERROR else line[: LONGEST_ERROR - 1] + "…"
