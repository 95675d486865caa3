"""One tick of a watch: close what ended, notice what is new, and say which runs to start.

State moves in this order: objects are planned in the log, in one commit; a run is asked for by the number of
its batch; the run says how each object ended; only then does the batch close. A crash between any two steps
is made good by the next tick: a run that was planned and never started is asked for again under the same key.
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
from platform_assets.objects.plan import Entry, Policy, Verdict, is_quiet, judge

_OBJECTS_PER_PAGE = 20_000
_CURSOR_VERSION = 1


class RunState(Enum):
    """What became of a run; UNKNOWN where none was ever started under its key."""

    UNKNOWN = "unknown"
    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class Cursor:
    """How far the listing has got; losing it costs a listing, never an object.

    Args:
        after: The key that the next slice of the listing starts after; empty at the start of a sweep.
        sweeps: Whole listings so far.
        rest_until: No listing begins before this time, UTC.
    """

    after: str = ""
    sweeps: int = 0
    rest_until: dt.datetime | None = None

    def to_json(self) -> str:
        """Compact JSON, for a sensor's cursor."""
        rest = None if self.rest_until is None else self.rest_until.timestamp()
        return json.dumps([_CURSOR_VERSION, self.after, self.sweeps, rest], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | None) -> Cursor:
        """Read what `to_json` wrote; what it did not write, an empty cursor say, is a start from scratch."""
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
        key: Names the work: the watch and the batch, never the time.
        batch: The batch that it takes, whose objects `LogState.planned` gives.
        objects: How many there are.
        size: Their size in bytes.
    """

    key: str
    batch: int
    objects: int
    size: int


@dataclass(frozen=True)
class Tick:
    """What a tick came to.

    Args:
        cursor: The listing's new state.
        requests: Runs to start; one whose key was used before is running or has ended already.
        listed: Objects that were listed.
        noticed: Objects that events told of.
        left: Due objects for which there was no room; a later tick comes back to them.
        problem: Why nothing new was looked for, or not everything: the store or the queue does not answer.
    """

    cursor: Cursor
    requests: tuple[RunRequest, ...] = ()
    listed: int = 0
    noticed: int = 0
    left: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Watch:
    """A watch over one bucket.

    Args:
        name: Its name: part of the keys of its runs.
        bucket: What is watched.
        log: What was said of its objects.
        policy: How much is done at once, and how often it is tried again.
        events: Tells of new objects without a listing, where there is such a thing.
        seconds: How long a tick may look for new objects before it leaves the rest to the next one.
        objects_per_tick: How many objects it lists at most.
        clock: Gives the time, UTC.
    """

    name: str
    bucket: Bucket
    log: ObjectLog
    policy: Policy = field(default_factory=Policy)
    events: Events | None = None
    seconds: float = 20.0
    objects_per_tick: int = 100_000
    clock: Callable[[], dt.datetime] = field(default=lambda: dt.datetime.now(dt.UTC))

    def run_key(self, batch: int) -> str:
        """The key of the run that takes a batch."""
        return f"{self.name}/{batch}"

    def tick(self, cursor: Cursor, state_of: Callable[[str], RunState]) -> Tick:
        """Do one slice of the watch's work.

        Args:
            cursor: Where the last tick left off.
            state_of: Tells what became of the run of a key.

        Raises:
            LakeError: The log cannot be read or written.
        """
        now = self.clock()
        failing = Isolation("Closing batches")
        repeated = self._close(state_of, now, failing)
        problems = [f"{one.name}: {ended(one.reason)}" for one in failing.failures]
        state = self.log.read()
        if len(state.progress.open) >= self.policy.open_runs:
            # Notices would only go back and forth.
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
        """Plan what is due; an object that the log cannot hold is left out, and told of."""
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
            refused = {one.key: failure_of(partial(self.log.refuse_unstorable, one)) for one in due}
            if not any(refused.values()):
                raise
        problems += [
            f"An object of {self.bucket.uri} cannot be planned: {reason_of(one, tell_text=False)}"
            for one in refused.values()
            if one is not None
        ]
        return plan([one for one in due if refused[one.key] is None])

    def _close(
        self, state_of: Callable[[str], RunState], now: dt.datetime, failing: Isolation
    ) -> list[RunRequest]:
        """Close the batches whose runs ended, and ask again for runs that never came to be."""
        asked: list[RunRequest] = []
        state = self.log.read()
        for batch, planned_at in state.progress.open.items():
            with failing.guard(f"batch {batch}"):
                match state_of(self.run_key(batch)):
                    case RunState.FAILED:
                        self.log.give_up(batch, "its run failed; see that run's log", self.policy, now)
                    case RunState.SUCCEEDED:
                        reason = "its run ended and said nothing of it"
                        self.log.give_up(batch, reason, self.policy, now)
                    case RunState.UNKNOWN if now - planned_at >= self.policy.lost_after:
                        self.log.give_up(batch, "its run never started", self.policy, now, ran=False)
                    case RunState.UNKNOWN:
                        tasks = state.planned(batch)
                        asked.append(
                            self._request(batch, (len(tasks), sum(one.object.size for one in tasks)))
                        )
                    case RunState.ACTIVE:
                        pass
        return asked

    def _request(self, batch: int, counted: tuple[int, int]) -> RunRequest:
        return RunRequest(self.run_key(batch), batch, *counted)


class _Slice:
    """What one tick notices, within its limits."""

    def __init__(self, watch: Watch, state: LogState, now: dt.datetime, cursor: Cursor) -> None:
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
        """Look for due objects: failed ones first, then of events, then listed; the problems met."""
        for step in (self._retries, self._events, self._listing):
            try:
                step()
            except BaseException as error:
                if not is_isolated(error):
                    raise
                # What was noticed so far is planned all the same, and a queue that is down stops no listing.
                self._problems.append(_told(error))
                self._is_whole = self._is_whole and isinstance(error, PartlyListed)
        return self._problems

    def acknowledge(self, events: Events, planned: Planned) -> list[str]:
        """Tell the queue which notices need not come again, now that the log has what they are about."""
        pending = planned.waiting | planned.left | self._unknown
        settled = [one for one in self.notices if pending.isdisjoint(one.keys)]
        error = failure_of(partial(events.acknowledge, settled))
        return [] if error is None else [_told(error)]

    def cursor_after(self, planned: Planned) -> Cursor:
        """Where the next tick goes on: before the first listed object for which there was no room."""
        missed = next((place for place, key in enumerate(self._in_order) if key in planned.left), None)
        if missed is not None:
            before = self._in_order[missed - 1] if missed else self.cursor.after
            return replace(self.cursor, after=before)
        if self._is_whole:
            rest = self.now + self.watch.policy.sweep_every if self.watch.policy.sweep_every else None
            return Cursor("", self.cursor.sweeps + 1, rest)
        return replace(self.cursor, after=self._reached)

    def _retries(self) -> None:
        entries, _ = self.state.due_again(self.now)
        for entry in entries[: self._room]:
            key = entry.object.key
            self.last[key] = entry
            error = failure_of(partial(self._look_for, key, entry))
            if error is not None:
                self._problems.append(_told(error))

    def _look_for(self, key: str, failed: Entry | None = None) -> None:
        """Ask the bucket for one object: a notice or a failure may be old, and what is there now counts."""
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
                self._problems.append(_told(error))

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
        """Take what is due of some listed objects; False where there is no room for all of them."""
        last = self.state.between(self._reached, page[-1].key)
        for found in page:
            if len(self.due) >= self._room:
                self._is_whole = False
                return False
            self._reached = found.key
            error = failure_of(partial(self._take_if_due, found, last.get(found.key)))
            if error is not None:
                self._problems.append(_told(error))
        return True

    def _take_if_due(self, found: ObjectVersion, said: Entry | None) -> None:
        if not (self.watch.bucket.is_atomic or is_quiet(found, self.watch.policy, self.now)):
            return
        if found.key not in self.due and judge(found, said, self.now) is Verdict.DUE:
            self.due[found.key] = found
            self._in_order.append(found.key)
            if said is not None:
                self.last[found.key] = said


def _page(objects: Iterator[ObjectVersion], wanted: int) -> tuple[list[ObjectVersion], BaseException | None]:
    """Some objects of a listing, and what ended it before there were that many, if anything did."""
    page: list[ObjectVersion] = []
    error = failure_of(lambda: page.extend(islice(objects, wanted)))
    return page, error


def _told(error: BaseException) -> str:
    return ended(reason_of(error, tell_text=False))


def _sizes(planned: Planned) -> Iterator[tuple[int, tuple[int, int]]]:
    for batch, tasks in planned.batches.items():
        yield batch, (len(tasks), sum(one.object.size for one in tasks))
