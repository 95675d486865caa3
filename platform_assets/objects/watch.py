"""One tick of a watch: close finished batches, notice new objects, and request runs.

State changes in this order: objects are planned in the log, in one commit; a run is requested by the number
of its batch; the run records the outcome of each object; only then does the batch close. After a crash
between two steps, the next tick repairs the state: a planned run that never started is requested again with
the same key.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from itertools import islice

from platform_assets.errors import LakeError
from platform_assets.isolation import Isolation, ended, failure_of, is_isolated, reason_of
from platform_assets.objects.bucket import Bucket, ObjectVersion, PartlyListed
from platform_assets.objects.events import Events, Notice
from platform_assets.objects.log import Known, LogState, ObjectLog, Planned
from platform_assets.objects.plan import BatchLimits, Entry, Verdict, is_quiet, judge

_OBJECTS_PER_PAGE = 20_000
_CURSOR_VERSION = 1


class RunState(Enum):
    """The state of a run; UNKNOWN if no run was started with its key."""

    UNKNOWN = "unknown"
    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class ListingCursor:
    """The position of the listing; losing it costs a repeated listing, never an object.

    Args:
        after: The key after which the next slice of the listing starts; empty at the start of a sweep.
        sweeps: Number of complete listings.
        rest_until: No listing starts before this time, UTC.
    """

    after: str = ""
    sweeps: int = 0
    rest_until: dt.datetime | None = None

    def to_json(self) -> str:
        """Compact JSON, for a sensor's cursor."""
        rest = None if self.rest_until is None else self.rest_until.timestamp()
        return json.dumps([_CURSOR_VERSION, self.after, self.sweeps, rest], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | None) -> ListingCursor:
        """Parse the JSON of `to_json`; anything else, such as an empty cursor, starts from scratch."""
        try:
            version, after, sweeps, rest = json.loads(text or "")
        except (ValueError, TypeError):
            return cls()
        if version != _CURSOR_VERSION or not isinstance(after, str) or not isinstance(sweeps, int):
            return cls()
        until = dt.datetime.fromtimestamp(rest, dt.UTC) if isinstance(rest, int | float) else None
        return cls(after, sweeps, until)


@dataclass(frozen=True)
class RunRequest:
    """A run to start.

    Args:
        key: Identifies the work: the watch and the batch, never the time.
        batch: The batch of the run; `LogState.planned` gives its objects.
        objects: Number of objects.
        size: Their size in bytes.
    """

    key: str
    batch: int
    objects: int
    size: int


@dataclass(frozen=True)
class Tick:
    """The result of a tick.

    Args:
        cursor: The new position of the listing.
        requests: Runs to start; a run whose key was used before is already running or has ended.
        listed: Number of listed objects.
        noticed: Number of objects named by events.
        left: Due objects beyond the limits; a later tick plans them.
        problem: Why the search for new objects failed or is incomplete: the store or the queue does not
            answer.
    """

    cursor: ListingCursor
    requests: tuple[RunRequest, ...] = ()
    listed: int = 0
    noticed: int = 0
    left: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Watch:
    """A watch over one bucket.

    Args:
        name: Its name, part of the keys of its runs.
        bucket: The watched bucket.
        log: The object log.
        policy: The limits of runs, and the retry policy.
        events: Announces new objects without a listing, if configured.
        seconds: How long a tick may search for new objects before it leaves the rest to the next tick.
        objects_per_tick: The most objects that a tick lists.
        clock: Returns the time, UTC.
    """

    name: str
    bucket: Bucket
    log: ObjectLog
    policy: BatchLimits = field(default_factory=BatchLimits)
    events: Events | None = None
    seconds: float = 20.0
    objects_per_tick: int = 100_000
    clock: Callable[[], dt.datetime] = field(default=lambda: dt.datetime.now(dt.UTC))

    def run_key(self, batch: int) -> str:
        """The key of the run of a batch."""
        return f"{self.name}/{batch}"

    def tick(self, cursor: ListingCursor, state_of: Callable[[str], RunState]) -> Tick:
        """Do one slice of the watch's work.

        Args:
            cursor: The position where the last tick stopped.
            state_of: Returns the state of the run with a key.

        Raises:
            LakeError: The log cannot be read or written.
        """
        now = self.clock()
        failing = Isolation("Closing batches")
        repeated = self._close(state_of, now, failing)
        problems = [f"{failure.name}: {ended(failure.reason)}" for failure in failing.failures]
        state = self.log.read()
        if len(state.progress.open) >= self.policy.open_runs:
            # Without room for new batches, notices would only be received and returned.
            return Tick(cursor, tuple(repeated), problem=" ".join(problems))
        slice_ = _Slice(self, state, now, cursor)
        problems += slice_.collect()
        planned = self._plan(slice_, state, now, problems)
        if self.events is not None:
            problems += slice_.acknowledge(self.events, planned)
        requests = [*repeated, *(self._request(batch, cut) for batch, cut in _sizes(planned))]
        return Tick(
            slice_.cursor_after(planned),
            tuple(requests),
            slice_.listed,
            len(slice_.notices),
            len(planned.left),
            " ".join(problems),
        )

    def _plan(self, slice_: _Slice, state: LogState, now: dt.datetime, problems: list[str]) -> Planned:
        """Plan the due objects; an object that the log cannot store is skipped and reported."""
        known = Known(state, slice_.last)

        def plan(due: list[ObjectVersion]) -> Planned:
            return self.log.plan(known, due, self.policy, now, gone=slice_.gone)

        due = list(slice_.due.values())
        try:
            return plan(due)
        except LakeError:
            raise
        except BaseException as error:
            if not is_isolated(error):
                raise
            refused = {
                candidate.key: failure_of(partial(self.log.refuse_unstorable, candidate)) for candidate in due
            }
            if not any(refused.values()):
                raise
        problems += [
            f"An object of {self.bucket.uri} cannot be planned: {reason_of(error, tell_text=False)}"
            for error in refused.values()
            if error is not None
        ]
        return plan([candidate for candidate in due if refused[candidate.key] is None])

    def _close(
        self, state_of: Callable[[str], RunState], now: dt.datetime, failing: Isolation
    ) -> list[RunRequest]:
        """Close the batches whose runs ended, and request runs again that never started."""
        asked: list[RunRequest] = []
        state = self.log.read()
        for batch, planned_at in state.progress.open.items():
            with failing.guard(f"batch {batch}"):
                match state_of(self.run_key(batch)):
                    case RunState.FAILED:
                        self.log.give_up(batch, "its run failed; see that run's log", self.policy, now)
                    case RunState.SUCCEEDED:
                        reason = "its run ended without recording a result for it"
                        self.log.give_up(batch, reason, self.policy, now)
                    case RunState.UNKNOWN if now - planned_at >= self.policy.lost_after:
                        self.log.give_up(batch, "its run never started", self.policy, now, ran=False)
                    case RunState.UNKNOWN:
                        tasks = state.planned(batch)
                        asked.append(
                            self._request(batch, (len(tasks), sum(task.object.size for task in tasks)))
                        )
                    case RunState.ACTIVE:
                        pass
        return asked

    def _request(self, batch: int, counted: tuple[int, int]) -> RunRequest:
        return RunRequest(self.run_key(batch), batch, *counted)


class _Slice:
    """The objects that one tick notices, within its limits."""

    def __init__(self, watch: Watch, state: LogState, now: dt.datetime, cursor: ListingCursor) -> None:
        self.watch = watch
        self.state = state
        self.now = now
        self.cursor = cursor
        self.due: dict[str, ObjectVersion] = {}
        self.gone: list[str] = []
        self.last: dict[str, Entry] = {}
        self.listed = 0
        self.notices: Sequence[Notice] = ()
        self._problems: list[str] = []
        self._unknown: set[str] = set()
        self._in_order: list[str] = []
        self._reached = cursor.after
        self._is_whole = False
        self._is_blind = False
        policy = watch.policy
        self._room = (policy.open_runs - len(state.progress.open)) * policy.objects_per_run

    def collect(self) -> list[str]:
        """Collect due objects: failed ones, then those from events, then listed ones; return the problems."""
        for step in (self._retries, self._events, self._listing):
            try:
                step()
            except BaseException as error:
                if not is_isolated(error):
                    raise
                # Objects noticed so far are planned anyway, and an unavailable queue does not stop the
                # listing.
                self._problems.append(_sentence(error))
                self._is_whole = self._is_whole and isinstance(error, PartlyListed)
        return self._problems

    def acknowledge(self, events: Events, planned: Planned) -> list[str]:
        """Acknowledge the notices whose objects are now in the log."""
        pending = planned.waiting | planned.left | self._unknown
        settled = [notice for notice in self.notices if pending.isdisjoint(notice.keys)]
        error = failure_of(partial(events.acknowledge, settled))
        return [] if error is None else [_sentence(error)]

    def cursor_after(self, planned: Planned) -> ListingCursor:
        """The position of the next tick: before the first listed object that did not fit."""
        missed = next((place for place, key in enumerate(self._in_order) if key in planned.left), None)
        if missed is not None:
            before = self._in_order[missed - 1] if missed else self.cursor.after
            return replace(self.cursor, after=before)
        if self._is_whole:
            rest = self.now + self.watch.policy.sweep_every if self.watch.policy.sweep_every else None
            return ListingCursor("", self.cursor.sweeps + 1, rest)
        return replace(self.cursor, after=self._reached)

    def _retries(self) -> None:
        entries, _ = self.state.due_again(self.now)
        for entry in entries[: self._room]:
            key = entry.object.key
            self.last[key] = entry
            error = failure_of(partial(self._look_for, key, entry))
            if error is not None:
                self._problems.append(_sentence(error))

    def _look_for(self, key: str, failed: Entry | None = None) -> None:
        """Look up one object in the bucket: an event or failure may be old; the current version counts."""
        found = self.watch.bucket.find(key)
        if found is not None:
            self.due[key] = found
        elif failed is not None:
            self.gone.append(key)

    def _events(self) -> None:
        if self.watch.events is None or len(self.due) >= self._room:
            return
        self._is_blind = True
        self.notices = self.watch.events.receive(self._room - len(self.due))
        self._is_blind = False
        keys = {key for notice in self.notices for key in notice.keys}
        self.last |= self.state.of(keys - self.last.keys())
        self._problems += [notice.problem for notice in self.notices if notice.problem]
        for key in sorted(keys):
            error = failure_of(partial(self._look_for, key))
            if error is not None:
                self._unknown.add(key)
                self._problems.append(_sentence(error))

    def _listing(self) -> None:
        is_resting = self.cursor.rest_until is not None and self.now < self.cursor.rest_until
        if is_resting and not self._is_blind:
            return
        until = time.monotonic() + self.watch.seconds
        objects = self.watch.bucket.objects(self.cursor.after)
        while len(self.due) < self._room and self.listed < self.watch.objects_per_tick:
            wanted = min(_OBJECTS_PER_PAGE, self.watch.objects_per_tick - self.listed)
            page, error = _page(objects, wanted)
            self._is_whole = len(page) < wanted and (error is None or isinstance(error, PartlyListed))
            if page:
                self.listed += len(page)
                if not self._judge(page):
                    return
            if error is not None:
                raise error
            if not page or self._is_whole or time.monotonic() >= until:
                return

    def _judge(self, page: Sequence[ObjectVersion]) -> bool:
        """Add the due objects of a part of the listing; return False if not all of them fit."""
        last = self.state.between(self._reached, page[-1].key)
        for found in page:
            if len(self.due) >= self._room:
                self._is_whole = False
                return False
            self._reached = found.key
            error = failure_of(partial(self._take_if_due, found, last.get(found.key)))
            if error is not None:
                self._problems.append(_sentence(error))
        return True

    def _take_if_due(self, found: ObjectVersion, last: Entry | None) -> None:
        if not (self.watch.bucket.is_atomic or is_quiet(found, self.watch.policy, self.now)):
            return
        if found.key not in self.due and judge(found, last, self.now) is Verdict.DUE:
            self.due[found.key] = found
            self._in_order.append(found.key)
            if last is not None:
                self.last[found.key] = last


def _page(objects: Iterator[ObjectVersion], wanted: int) -> tuple[list[ObjectVersion], BaseException | None]:
    """Some objects of a listing, and the error that ended it early, if any."""
    page: list[ObjectVersion] = []
    error = failure_of(lambda: page.extend(islice(objects, wanted)))
    return page, error


def _sentence(error: BaseException) -> str:
    return ended(reason_of(error, tell_text=False))


def _sizes(planned: Planned) -> Iterator[tuple[int, tuple[int, int]]]:
    for batch, tasks in planned.batches.items():
        yield batch, (len(tasks), sum(task.object.size for task in tasks))
