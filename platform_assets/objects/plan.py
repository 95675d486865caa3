"""What is to be done about an object, by what was last said of it: pure decisions over values.

Two versions of one key are never worked on at the same time, so that what is said last of a key is always
about its newest version that anybody has worked on.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from platform_assets.objects.bucket import ObjectVersion

LONGEST_ERROR = 500
"""Characters of an error that are kept with an object."""


class Status(StrEnum):
    """What was last said of an object."""

    PLANNED = "planned"
    DONE = "done"
    FAILED = "failed"
    PARKED = "parked"
    GONE = "gone"
    RELEASED = "released"


class Verdict(Enum):
    """What is to be done about an object that was noticed."""

    DUE = "due"
    WAIT = "wait"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Entry:
    """What was said of one version of an object.

    Attributes:
        object: The version.
        status: What was said of it.
        attempt: Number of the attempt at this version, from 1.
        batch: The batch that the attempt is part of.
        retry_at: When a failed one may be tried again, UTC.
        error: Why it failed or was parked; never anything that the object holds.
        at: When this was said, UTC.
    """

    object: ObjectVersion
    status: Status
    attempt: int
    batch: int
    at: dt.datetime
    retry_at: dt.datetime | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt at an object ended.

    Attributes:
        key: The object.
        status: DONE, FAILED, or GONE where that version was not there any more.
        error: Why it failed, without anything that the object holds.
        retryable: Whether another attempt can do better; an object that failed for good is parked at once.
    """

    key: str
    status: Status = Status.DONE
    error: str = ""
    retryable: bool = True


@dataclass(frozen=True)
class Policy:
    """How much is done at once, and how often it is tried again.

    Args:
        objects_per_run: Objects that a run takes at most.
        bytes_per_run: Their size at most; a larger object has a run of its own.
        open_runs: Runs at most that are under way; what is more is left for later ticks.
        attempts: Attempts at a version before it is parked.
        first_wait: How long is waited after the first failed attempt; twice as long after each further one.
        longest_wait: How long is waited at most.
        quiet: A file that was written to less than so long ago is left alone, as it may not be whole; objects
            in buckets appear whole.
        lost_after: A batch whose run never came to be is given up after so long, and its objects planned
            anew.
        sweep_every: How long after the end of a whole listing the next one begins.
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
class Task:
    """An object that is due.

    Attributes:
        object: The version to work on.
        attempt: Number of the attempt, from 1.
    """

    object: ObjectVersion
    attempt: int = 1


def judge(found: ObjectVersion, last: Entry | None, now: dt.datetime) -> Verdict:
    """What is to be done about an object that is there now, by what was last said of its key."""
    if last is None or last.status in (Status.GONE, Status.RELEASED):
        return Verdict.DUE
    if last.status is Status.PLANNED:
        return Verdict.WAIT
    if last.object.version != found.version:
        return Verdict.DUE
    if last.status is Status.FAILED:
        return Verdict.DUE if last.retry_at is None or last.retry_at <= now else Verdict.SETTLED
    return Verdict.SETTLED


def task(found: ObjectVersion, last: Entry | None) -> Task:
    """The attempt at an object that is due."""
    is_again = last is not None and last.status is Status.FAILED and last.object.version == found.version
    return Task(found, last.attempt + 1 if last is not None and is_again else 1)


def is_quiet(found: ObjectVersion, policy: Policy, now: dt.datetime) -> bool:
    """Whether a file was left alone for long enough; one from the future, by a wrong clock, is."""
    return not dt.timedelta() <= now - found.modified < policy.quiet


def slices(tasks: Iterable[Task], policy: Policy) -> Iterator[list[Task]]:
    """Cut tasks into batches, each the work of one run, in their order."""
    batch: list[Task] = []
    size = 0
    for one in tasks:
        if batch and (len(batch) >= policy.objects_per_run or size + one.object.size > policy.bytes_per_run):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.object.size
    if batch:
        yield batch


def after(planned: Entry, outcome: Outcome, policy: Policy, now: dt.datetime) -> Entry:
    """What is to be said of an object after an attempt."""
    said = replace(planned, at=now, status=outcome.status, error=_one_line(outcome.error))
    if outcome.status is not Status.FAILED:
        return said
    if not outcome.retryable or planned.attempt >= policy.attempts:
        return replace(said, status=Status.PARKED)
    return replace(said, retry_at=now + wait(planned.attempt, planned.object.key, policy))


def wait(attempt: int, key: str, policy: Policy) -> dt.timedelta:
    """How long to wait after an attempt; up to a fifth longer, so that what failed together comes apart."""
    doubled = policy.first_wait * 2 ** min(attempt - 1, 30)
    share = hashlib.blake2b(f"{key} {attempt}".encode(), digest_size=1).digest()[0] / 255
    longest: dt.timedelta = min(doubled, policy.longest_wait)
    return longest + longest * share / 5


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_ERROR else line[: LONGEST_ERROR - 1] + "…"
