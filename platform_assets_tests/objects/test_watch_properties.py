"""Any order of puts, overwrites, deletions, crashes and failed runs: each version that stays is done once."""

from __future__ import annotations

import collections
import datetime as dt
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from platform_assets.errors import ObjectsError
from platform_assets.lake.delta import LakeTable
from platform_assets.objects.log import LOG_COLUMNS, ObjectLog
from platform_assets.objects.places import open_bucket
from platform_assets.objects.plan import BatchLimits, DueObject, ObjectStatus, Outcome
from platform_assets.objects.watch import ListingCursor, RunState, Watch
from platform_assets_tests.fixtures.properties import examples

KEYS = st.sampled_from(["a", "a/b", "a0", "b/c/d", "é", "z"])
POLICY = BatchLimits(objects_per_run=2, open_runs=2, attempts=1_000, first_wait=dt.timedelta(minutes=1))


class Life(RuleBasedStateMachine):
    """A folder, the sensor, and runs that live and die."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="platform-assets-watch-"))
        self.uploads = self.folder / "uploads"
        self.uploads.mkdir()
        self.now = dt.datetime(2040, 1, 1, tzinfo=dt.UTC)
        self.log = ObjectLog(LakeTable(str(self.folder / "log"), LOG_COLUMNS))
        self.cursor = ListingCursor()
        self.states: dict[str, RunState] = {}
        self.running: dict[int, list[DueObject]] = {}
        self.done: collections.Counter[tuple[str, str]] = collections.Counter()

    def teardown(self) -> None:
        try:
            self.settle_down()
        finally:
            shutil.rmtree(self.folder)

    @property
    def watch(self) -> Watch:
        bucket = open_bucket(str(self.uploads))
        return Watch("w", bucket, self.log, POLICY, objects_per_tick=3, clock=lambda: self.now)

    @initialize(key=KEYS)
    def begin(self, key: str) -> None:
        self.put(key)

    @rule(key=KEYS)
    def put(self, key: str) -> None:
        """Write or overwrite an object; a folder of that name is none of our business."""
        target = self.uploads / key
        if target.is_dir() or any(parent.is_file() for parent in target.parents):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        new = self.folder / "new"
        new.write_text(key)
        new.rename(target)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        if (self.uploads / key).is_file():
            (self.uploads / key).unlink()

    @rule(minutes=st.sampled_from([1, 20, 600]))
    def wait(self, minutes: int) -> None:
        self.now += dt.timedelta(minutes=minutes)

    @rule(launched=st.booleans(), kept=st.booleans())
    def tick(self, launched: bool = True, kept: bool = True) -> None:
        """Tick; the daemon may die before it launches the runs, or before it keeps the cursor."""
        done = self.watch.tick(self.cursor, lambda key: self.states.get(key, RunState.UNKNOWN))
        assert done.problem == ""
        for request in done.requests if launched else ():
            # Dagster starts no second run under the same key.
            if self.states.setdefault(request.key, RunState.ACTIVE) is RunState.ACTIVE:
                self.running.setdefault(request.batch, self.log.read().planned(request.batch))
        if kept:
            self.cursor = ListingCursor.from_json(done.cursor.to_json())

    @rule(
        data=st.data(),
        statuses=st.lists(st.sampled_from([ObjectStatus.DONE, ObjectStatus.FAILED]), min_size=2, max_size=2),
        end=st.sampled_from(["succeeds", "dies before", "dies in the middle", "dies after", "zombie"]),
    )
    def run(self, data: st.DataObject, statuses: list[ObjectStatus], end: str) -> None:
        if not self.running:
            return
        batch = data.draw(st.sampled_from(sorted(self.running)))
        tasks = self.running.pop(batch)
        key = self.watch.run_key(batch)
        if end == "zombie":
            # It is taken for dead, and says its outcome all the same, later.
            self.states[key] = RunState.FAILED
            self.tick()
        outcomes = [
            Outcome(task.object.key, self._status(task, status))
            for task, status in zip(tasks, statuses, strict=False)
        ]
        if end == "dies in the middle":
            outcomes = outcomes[:1]
        if end != "dies before":
            try:
                self.log.settle(batch, outcomes, POLICY, self.now)
            except ObjectsError:
                outcomes = []
            if end == "zombie":
                # Nobody knows here what counted: the log does.
                outcomes = [outcome for outcome in outcomes if self._counts(batch, outcome)]
            self._count(tasks, outcomes)
        self.states[key] = RunState.SUCCEEDED if end == "succeeds" else RunState.FAILED

    def _status(self, task: DueObject, wanted: ObjectStatus) -> ObjectStatus:
        found = open_bucket(str(self.uploads)).find(task.object.key)
        return wanted if found == task.object else ObjectStatus.GONE

    def _counts(self, batch: int, outcome: Outcome) -> bool:
        said = self.log.read().batch(batch).get(outcome.key)
        return said is not None and said.status is outcome.status

    def _count(self, tasks: list[DueObject], outcomes: list[Outcome]) -> None:
        done = {outcome.key for outcome in outcomes if outcome.status is ObjectStatus.DONE}
        for task in tasks:
            if task.object.key in done:
                self.done[task.object.key, task.object.version] += 1

    def settle_down(self) -> None:
        """From here on nothing fails: after a while, all that is there is done, and once."""
        for _ in range(60):
            self.now += dt.timedelta(hours=7)
            self.tick()
            for batch in sorted(self.running):
                tasks = self.running.pop(batch)
                outcomes = [Outcome(task.object.key, self._status(task, ObjectStatus.DONE)) for task in tasks]
                self.log.settle(batch, outcomes, POLICY, self.now)
                self._count(tasks, outcomes)
                self.states[self.watch.run_key(batch)] = RunState.SUCCEEDED
            there = {(object_.key, object_.version) for object_ in open_bucket(str(self.uploads)).objects()}
            if there <= self.done.keys() and not self.log.read().progress.open:
                break
        assert there <= self.done.keys()
        assert self.log.read().progress.open == {}

    @invariant()
    def nothing_is_done_twice(self) -> None:
        assert all(times == 1 for times in self.done.values())


@pytest.mark.hypothesis
@pytest.mark.no_cover
def test_each_version_that_stays_is_done_once_whatever_happens() -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=examples(25),
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            database=None,
        ),
    )
