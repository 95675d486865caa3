"""A watch has every version that stays worked on once, whatever fails, in whatever order things happen."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from platform_assets.errors import ObjectsError
from platform_assets.objects.log import ObjectLog, Progress
from platform_assets.objects.places import open_bucket
from platform_assets.objects.plan import BatchLimits, ObjectStatus, Outcome
from platform_assets.objects.watch import ListingCursor, RunState, Tick, Watch
from platform_assets_tests.fixtures.upkeep import merged

POLICY = BatchLimits(objects_per_run=3, open_runs=2, attempts=3, quiet=dt.timedelta(seconds=5))
START = dt.datetime(2031, 5, 4, 12, tzinfo=dt.UTC)


@dataclass
class Uploads:
    """A watched folder, a clock that stands still, and what became of the runs."""

    folder: Path
    log: ObjectLog
    policy: BatchLimits = POLICY
    now: dt.datetime = START
    cursor: ListingCursor = field(default_factory=ListingCursor)
    states: dict[str, RunState] = field(default_factory=dict)
    worked_on: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)

    @property
    def watch(self) -> Watch:
        return Watch("uploads", open_bucket(str(self.folder)), self.log, self.policy, clock=lambda: self.now)

    def put(self, key: str, content: str = "x") -> None:
        file = self.folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        new = self.folder.parent / "new"
        new.write_text(content)
        new.rename(file)

    def tick(self, *, later: float = 0) -> Tick:
        self.now += dt.timedelta(seconds=later)
        done = self.watch.tick(self.cursor, lambda key: self.states.get(key, RunState.UNKNOWN))
        self.cursor = ListingCursor.from_json(done.cursor.to_json())
        return done

    def run(
        self, batch: int, outcome: Callable[[str], Outcome] = Outcome, state: RunState = RunState.SUCCEEDED
    ) -> list[str]:
        """Do what a run does; the keys that it worked on."""
        tasks = self.log.read().planned(batch)
        outcomes = [outcome(task.object.key) for task in tasks]
        self.log.settle(batch, outcomes, self.policy, self.now)
        self.worked_on += [
            (task.object.key, task.object.version)
            for task, said in zip(tasks, outcomes, strict=True)
            if said.status is ObjectStatus.DONE
        ]
        self.states[self.watch.run_key(batch)] = state
        return [task.object.key for task in tasks]

    def work(self, ticks: int = 20, outcome: Callable[[str], Outcome] = Outcome) -> list[str]:
        """Tick, and run what is asked for, until nothing is."""
        keys: list[str] = []
        for _ in range(ticks):
            requests = self.tick().requests
            for request in requests:
                keys += self.run(request.batch, outcome)
            if not requests and not self.cursor.after:
                break
        return keys

    def said(self, key: str) -> ObjectStatus:
        return self.log.read().of([key])[key].status


@pytest.fixture
def uploads(tmp_path: Path, log: ObjectLog) -> Uploads:
    return Uploads(tmp_path / "uploads", log)


def test_every_object_is_worked_on_once_in_runs_of_a_limited_size(uploads: Uploads) -> None:
    for number in range(10):
        uploads.put(f"{number}")
    first = uploads.tick()
    assert [request.objects for request in first.requests] == [3, 3]
    assert [request.key for request in first.requests] == ["uploads/1", "uploads/2"]
    assert uploads.tick().requests == first.requests  # none of them runs yet
    for request in first.requests:
        uploads.run(request.batch)
    assert sorted(uploads.work()) == ["6", "7", "8", "9"]
    assert uploads.work() == []
    assert sorted(key for key, _ in uploads.worked_on) == [f"{number}" for number in range(10)]


def test_a_key_that_sorts_before_the_last_one_is_not_missed(uploads: Uploads) -> None:
    uploads.put("m")
    assert uploads.work() == ["m"]
    uploads.put("a")
    uploads.put("folder/../a0")
    assert uploads.work() == ["a", "a0"]


def test_an_overwritten_object_is_worked_on_again_and_not_beside_its_older_version(uploads: Uploads) -> None:
    uploads.put("a", "one")
    [request] = uploads.tick().requests
    uploads.states[request.key] = RunState.ACTIVE
    uploads.put("a", "two")
    assert uploads.tick().requests == ()
    uploads.run(request.batch, lambda key: Outcome(key, ObjectStatus.GONE))
    assert uploads.work() == ["a"]
    uploads.put("a", "three")
    assert uploads.work() == ["a"]
    assert uploads.work() == []


def test_a_file_that_was_written_a_moment_ago_is_left_until_it_is_whole(uploads: Uploads) -> None:
    uploads.put("a")
    uploads.now = dt.datetime.fromtimestamp((uploads.folder / "a").stat().st_mtime, dt.UTC)
    assert uploads.tick(later=1).requests == ()
    assert len(uploads.tick(later=60).requests) == 1


def test_a_file_from_the_future_does_not_wait_for_it(uploads: Uploads) -> None:
    uploads.put("a")
    uploads.now = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    assert uploads.work() == ["a"]


def test_an_object_without_an_outcome_is_not_done_because_its_run_succeeded(uploads: Uploads) -> None:
    uploads.put("a")
    [request] = uploads.tick().requests
    uploads.states[request.key] = RunState.SUCCEEDED
    uploads.tick()
    assert uploads.said("a") is ObjectStatus.FAILED
    [again] = uploads.tick(later=3600).requests
    assert again.key != request.key
    assert uploads.run(again.batch) == ["a"]


def test_the_objects_that_a_failed_run_settled_stay_so_and_the_others_are_tried_again(
    uploads: Uploads,
) -> None:
    for key in "abc":
        uploads.put(key)
    [request] = uploads.tick().requests
    uploads.log.settle(request.batch, [Outcome("a")], uploads.policy, uploads.now)
    uploads.states[request.key] = RunState.FAILED
    assert uploads.tick().requests == ()
    assert [uploads.said(key) for key in "abc"] == [
        ObjectStatus.DONE,
        ObjectStatus.FAILED,
        ObjectStatus.FAILED,
    ]
    uploads.now += dt.timedelta(hours=1)
    assert uploads.work() == ["b", "c"]


def test_a_run_that_was_asked_for_and_never_started_is_asked_for_again_under_the_same_key(
    uploads: Uploads,
) -> None:
    uploads.put("a")
    first = uploads.tick()
    uploads.cursor = ListingCursor()  # the sensor's process ended before its cursor was kept
    assert uploads.tick().requests == first.requests
    late = uploads.tick(later=16 * 60)
    assert [request.key for request in late.requests] == ["uploads/2"]
    assert uploads.log.read().planned(2)[0].attempt == 1
    with pytest.raises(ObjectsError, match=r"batch 1 .* is not recorded: the batch is closed"):
        uploads.log.settle(1, [Outcome("a")], uploads.policy, uploads.now)
    assert uploads.run(2) == ["a"]


def test_a_failed_object_is_retried_later_each_time_and_then_parked_with_its_error(uploads: Uploads) -> None:
    uploads.put("bad")
    uploads.put("good")

    def outcome(key: str) -> Outcome:
        return (
            Outcome(key) if key == "good" else Outcome(key, ObjectStatus.FAILED, "cannot be read:\n bad zip")
        )

    waits = []
    assert uploads.work(outcome=outcome) == ["bad", "good"]
    for _ in range(2):
        assert uploads.work(outcome=outcome) == []
        entry = uploads.log.read().of(["bad"])["bad"]
        assert entry.retry_at is not None
        waits.append((entry.retry_at - uploads.now).total_seconds())
        uploads.now = entry.retry_at
        assert uploads.work(outcome=outcome) == ["bad"]
    assert 60 <= waits[0] <= 72
    assert 120 <= waits[1] <= 144
    uploads.now += dt.timedelta(days=30)
    assert uploads.work(outcome=outcome) == []
    [parked] = uploads.log.read().with_status(ObjectStatus.PARKED)
    assert (parked.object.key, parked.attempt, parked.error) == ("bad", 3, "cannot be read: bad zip")
    assert uploads.log.read().progress == Progress(3)


def test_an_object_that_cannot_ever_be_read_is_parked_at_once_until_it_is_overwritten_or_released(
    uploads: Uploads,
) -> None:
    uploads.put("bad")
    uploads.work(outcome=lambda key: Outcome(key, ObjectStatus.FAILED, "encrypted", retryable=False))
    assert uploads.said("bad") is ObjectStatus.PARKED
    assert uploads.log.release(["bad", "never-seen"], uploads.now) == 1
    assert uploads.log.release(["bad"], uploads.now) == 0
    uploads.work(outcome=lambda key: Outcome(key, ObjectStatus.FAILED, "encrypted", retryable=False))
    assert uploads.said("bad") is ObjectStatus.PARKED
    uploads.put("bad", "mended")
    assert uploads.work() == ["bad"]


def test_a_failed_object_that_is_deleted_is_not_tried_again(uploads: Uploads) -> None:
    uploads.put("bad")
    uploads.work(outcome=lambda key: Outcome(key, ObjectStatus.FAILED, "timeout"))
    (uploads.folder / "bad").unlink()
    uploads.now += dt.timedelta(hours=1)
    assert uploads.work() == []
    assert uploads.said("bad") is ObjectStatus.GONE
    assert uploads.log.read().progress.retries == {}


def test_a_failed_object_that_is_overwritten_before_its_retry_starts_afresh(uploads: Uploads) -> None:
    uploads.put("bad")
    uploads.work(outcome=lambda key: Outcome(key, ObjectStatus.FAILED, "timeout"))
    uploads.put("bad", "another")
    assert uploads.work() == ["bad"]
    uploads.now += dt.timedelta(hours=1)
    assert uploads.work() == []
    assert uploads.log.read().progress.retries == {}


def test_saying_an_outcome_twice_changes_nothing(uploads: Uploads) -> None:
    uploads.put("a")
    [request] = uploads.tick().requests
    uploads.run(request.batch)
    before = uploads.log.read().version.number
    assert uploads.log.settle(request.batch, [Outcome("a")], uploads.policy, uploads.now) == []
    assert uploads.log.read().version.number == before


def test_a_tick_that_finds_nothing_new_writes_nothing(uploads: Uploads) -> None:
    uploads.put("a")
    uploads.work()
    before = uploads.log.read().version.number
    for _ in range(3):
        uploads.tick(later=60)
    assert uploads.log.read().version.number == before


def test_two_sensors_at_the_same_moment_plan_no_object_twice(uploads: Uploads) -> None:
    for number in range(6):
        uploads.put(f"{number}")
    uploads.policy = replace(POLICY, open_runs=10)
    with ThreadPoolExecutor(3) as pool:
        watch = uploads.watch
        list(pool.map(lambda _: watch.tick(ListingCursor(), lambda key: RunState.UNKNOWN), range(3)))
    state = uploads.log.read()
    keys = [one.object.key for batch in state.progress.open for one in state.planned(batch)]
    assert sorted(keys) == [f"{number}" for number in range(6)]


def test_a_slice_ends_where_its_limit_is_and_the_next_one_goes_on_there(uploads: Uploads) -> None:
    uploads.policy = BatchLimits(objects_per_run=100)
    for number in range(10):
        uploads.put(f"{number}")
    watch = replace(uploads.watch, objects_per_tick=4)
    cursors = [ListingCursor()]
    for _ in range(3):
        cursors.append(watch.tick(cursors[-1], lambda key: RunState.ACTIVE).cursor)
    assert [(cursor.after, cursor.sweeps) for cursor in cursors] == [("", 0), ("3", 0), ("7", 0), ("", 1)]


def test_a_run_takes_no_more_bytes_than_allowed_but_at_least_one_object(uploads: Uploads) -> None:
    uploads.policy = BatchLimits(bytes_per_run=10)
    for key, size in {"a": 4, "b": 4, "c": 4, "d": 50}.items():
        uploads.put(key, "x" * size)
    assert [(request.objects, request.size) for request in uploads.tick().requests] == [
        (2, 8),
        (1, 4),
        (1, 50),
    ]


def test_a_whole_listing_rests_before_the_next_one(uploads: Uploads) -> None:
    uploads.policy = replace(POLICY, sweep_every=dt.timedelta(minutes=10))
    uploads.put("a")
    assert uploads.work() == ["a"]
    uploads.put("b")
    assert uploads.tick(later=540).listed == 0
    assert uploads.tick(later=60).listed == 2


def test_a_folder_that_is_gone_is_a_problem_of_the_tick_and_no_crash(uploads: Uploads) -> None:
    uploads.folder.rmdir()
    tick = uploads.tick()
    assert "the folder does not exist" in tick.problem
    assert tick.cursor == ListingCursor()


@pytest.mark.parametrize("text", [None, "", "x", "{}", "[]", "[0,1]", '["a","b","c","d"]', "[1,2,3,4]"])
def test_a_cursor_that_cannot_be_read_starts_from_scratch(text: str | None) -> None:
    assert ListingCursor.from_json(text) == ListingCursor()


def test_a_cursor_is_as_long_as_its_key(uploads: Uploads) -> None:
    cursor = ListingCursor("é\"'\\", 12, START)
    assert ListingCursor.from_json(cursor.to_json()) == cursor
    assert len(cursor.to_json()) < 60
    assert json.loads(cursor.to_json())


def test_progress_survives_a_merge_which_changes_nothing_that_was_said(
    uploads: Uploads, tmp_path: Path
) -> None:
    uploads.policy = BatchLimits(objects_per_run=1, open_runs=100)
    keys = [f"{'long/' * 30}{number:03}é" for number in range(30)]
    for key in keys:
        uploads.put(key)
    for request in uploads.tick().requests:
        uploads.run(request.batch)
    before = uploads.log.read()
    assert merged(uploads.log.kept("inbox", lambda: uploads.watch.bucket, 90), tmp_path)
    state = uploads.log.read()
    assert (state.progress, state.version.number) == (before.progress, before.version.number)
    assert state.between("", "\U0010ffff") == before.between("", "\U0010ffff")
    assert list(state.between(keys[9], keys[19])) == keys[10:20]
    uploads.put("new")
    assert uploads.work() == ["new"]
