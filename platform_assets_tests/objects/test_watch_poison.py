"""One object, folder, message or batch of a watch goes wrong in any way: all others are noticed, once."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from platform_assets.lake.delta import LakeTable
from platform_assets.objects import watch as watching
from platform_assets.objects.bucket import ObjectVersion
from platform_assets.objects.events import Notice, SqsEvents
from platform_assets.objects.folder import FolderBucket
from platform_assets.objects.log import LOG_COLUMNS, ObjectLog
from platform_assets.objects.plan import BatchLimits, ObjectStatus, Outcome
from platform_assets.objects.watch import ListingCursor, RunState, Tick, Watch
from platform_assets_tests.fixtures.poison import ERRORS, UNEXPECTED, OwnError, name_of, told

NOW = dt.datetime(2041, 5, 4, 12, tzinfo=dt.UTC)
POISON = "b/two"
KEYS = ("a/one", POISON, "c/three", "d")


@dataclass(frozen=True)
class Breaking(FolderBucket):
    """A folder in which one object, or one folder, raises an error."""

    error: BaseException = field(default_factory=Exception)
    step: str = "look"

    def _version(self, key: str, path: str) -> ObjectVersion | None:
        if self.step == "look" and key == POISON:
            raise self.error
        return super()._version(key, path)

    def find(self, key: str) -> ObjectVersion | None:
        if self.step == "find" and key == POISON:
            raise self.error
        return super().find(key)

    def objects(self, after: str = "") -> Iterator[ObjectVersion]:
        for found in super().objects(after):
            if self.step == "break off" and found.key == POISON:
                raise self.error
            yield found


class Queue:
    """A queue that tells of some objects until they are acknowledged."""

    def __init__(self, *keys: str) -> None:
        self.left = {key: Notice(key, (key,)) for key in keys}

    def receive(self, limit: int) -> Sequence[Notice]:
        return list(self.left.values())[:limit]

    def acknowledge(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            self.left.pop(notice.receipt, None)


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    for key in KEYS:
        file = tmp_path / "in" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(key)
    log = ObjectLog(LakeTable(str(tmp_path / "log"), LOG_COLUMNS))
    return Watch("inbox", FolderBucket(tmp_path / "in"), log, BatchLimits(), clock=lambda: NOW)


def in_(watch: Watch) -> FolderBucket:
    assert isinstance(watch.bucket, FolderBucket)
    return watch.bucket


def tick(watch: Watch, cursor: ListingCursor | None = None) -> Tick:
    return watch.tick(cursor or ListingCursor(), lambda _: RunState.ACTIVE)


def planned(watch: Watch) -> dict[str, int]:
    """Number of attempts planned of each object."""
    entries = watch.log.read().with_status(*ObjectStatus)
    return {entry.object.key: entry.attempt for entry in entries}


@pytest.mark.parametrize("error", ERRORS, ids=name_of)
def test_an_object_that_cannot_be_looked_at_keeps_no_other_from_being_noticed(
    watch: Watch, error: BaseException
) -> None:
    broken = replace(watch, bucket=Breaking(in_(watch).folder, error))
    done = tick(broken)
    assert planned(watch) == {"a/one": 1, "c/three": 1, "d": 1}
    assert told(error) in done.problem
    # The sweep is over all the same: what comes before is looked at again.
    assert done.cursor.sweeps == 1
    assert tick(watch, done.cursor).problem == ""
    assert planned(watch) == dict.fromkeys(KEYS, 1)


@pytest.mark.parametrize("error", [*ERRORS[:1], *UNEXPECTED[:2]], ids=name_of)
def test_a_listing_that_breaks_off_goes_on_where_it_ended(watch: Watch, error: BaseException) -> None:
    done = tick(replace(watch, bucket=Breaking(in_(watch).folder, error, "break off")))
    assert planned(watch) == {"a/one": 1}
    assert told(error) in done.problem
    assert (done.cursor.after, done.cursor.sweeps) == ("a/one", 0)
    assert tick(watch, done.cursor).problem == ""
    assert planned(watch) == dict.fromkeys(KEYS, 1)


def test_a_folder_that_nobody_may_read_keeps_no_other_from_being_noticed(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = os.scandir

    def refused(path: str) -> object:
        if path.endswith("/b"):
            raise PermissionError(13, "Permission denied", path)
        return usual(path)

    monkeypatch.setattr("os.scandir", refused)
    done = tick(watch)
    assert "Grant the platform's user the right to read it" in done.problem
    assert planned(watch) == {"a/one": 1, "c/three": 1, "d": 1}
    monkeypatch.undo()
    assert tick(watch, done.cursor).problem == ""
    assert planned(watch) == dict.fromkeys(KEYS, 1)


def test_a_file_from_beyond_the_calendar_is_noticed_like_any_other(watch: Watch) -> None:
    far = in_(watch).folder / POISON
    try:
        os.utime(far, (2**38, 2**38))
    except OSError:
        pytest.skip("this file system knows no such time")
    assert tick(watch).problem == ""
    assert planned(watch) == dict.fromkeys(KEYS, 1)


@pytest.mark.parametrize("error", ERRORS, ids=name_of)
def test_an_event_about_an_object_that_cannot_be_looked_at_comes_again_and_holds_up_no_other(
    watch: Watch, error: BaseException
) -> None:
    queue = Queue(*KEYS)
    resting = ListingCursor(rest_until=NOW + dt.timedelta(hours=1))
    broken = replace(watch, bucket=Breaking(in_(watch).folder, error, "find"), events=queue)
    done = tick(broken, resting)
    assert planned(watch) == {"a/one": 1, "c/three": 1, "d": 1}
    assert told(error) in done.problem
    assert list(queue.left) == [POISON]
    assert tick(replace(watch, events=queue), resting).problem == ""
    assert planned(watch) == dict.fromkeys(KEYS, 1)
    assert queue.left == {}


@pytest.mark.parametrize("error", ERRORS[:5], ids=name_of)
def test_a_failed_object_that_cannot_be_looked_at_keeps_no_other_from_its_next_attempt(
    watch: Watch, error: BaseException
) -> None:
    [request] = tick(watch).requests
    failed = [Outcome(key, ObjectStatus.FAILED, "not yet") for key in KEYS]
    watch.log.settle(request.batch, failed, watch.policy, NOW)
    later = replace(watch, clock=lambda: NOW + dt.timedelta(minutes=5))
    resting = ListingCursor(rest_until=NOW + dt.timedelta(hours=1))
    broken = replace(later, bucket=Breaking(in_(watch).folder, error, "find"))
    done = tick(broken, resting)
    assert planned(watch) == {key: 1 if key == POISON else 2 for key in KEYS}
    assert told(error) in done.problem
    assert tick(later, resting).problem == ""
    assert planned(watch) == dict.fromkeys(KEYS, 2)


@pytest.mark.parametrize("error", [*ERRORS[1:2], *UNEXPECTED], ids=name_of)
def test_a_batch_that_cannot_be_closed_keeps_nothing_else_from_happening(
    watch: Watch, error: BaseException
) -> None:
    small = replace(watch, policy=replace(watch.policy, objects_per_run=2))
    assert len(tick(small).requests) == 2

    def state_of(key: str) -> RunState:
        if key == "inbox/1":
            raise error
        return RunState.FAILED

    (in_(watch).folder / "e").write_text("later")
    done = small.tick(ListingCursor(), state_of)
    assert told(error) in done.problem
    assert "batch 1" in done.problem
    state = watch.log.read()
    assert {one.object.key for one in state.with_status(ObjectStatus.FAILED)} == {"c/three", "d"}
    assert {one.object.key for one in state.with_status(ObjectStatus.PLANNED)} == {"a/one", POISON, "e"}


def test_an_object_whose_name_cannot_be_stored_is_told_of_and_left_out(watch: Watch) -> None:
    @dataclass(frozen=True)
    class Odd(FolderBucket):
        def objects(self, after: str = "") -> Iterator[ObjectVersion]:
            for found in super().objects(after):
                yield replace(found, key="b/\udce9") if found.key == POISON else found

    done = tick(replace(watch, bucket=Odd(in_(watch).folder)))
    assert "cannot be planned" in done.problem
    assert planned(watch) == {"a/one": 1, "c/three": 1, "d": 1}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)], ids=name_of)
def test_an_interruption_ends_the_tick(watch: Watch, error: BaseException) -> None:
    with pytest.raises(type(error)):
        tick(replace(watch, bucket=Breaking(in_(watch).folder, error)))


@pytest.mark.parametrize(
    "body",
    ["[" * 100_000, "", "null", "7", '{"Records": {"s3": 1}}', '{"Records": [null, {"s3": {"bucket": 1}}]}'],
)
def test_a_message_that_nobody_can_read_is_passed_over_and_does_not_come_again(body: str) -> None:
    class Client:
        def __init__(self) -> None:
            good = '{"Records": [{"s3": {"bucket": {"name": "bucket"}, "object": {"key": "d"}}}]}'
            self.messages = [
                {"MessageId": "1", "ReceiptHandle": "1", "Body": body},
                {"MessageId": "2", "ReceiptHandle": "2"},
                {"MessageId": "3", "ReceiptHandle": "3", "Body": good},
            ]

        def receive_message(self, **_: object) -> dict[str, object]:
            return {"Messages": self.messages}

    notices = SqsEvents("https://queue.example.org", "bucket", "", Client()).receive(10)
    assert [notice.keys for notice in notices] == [(), (), ("d",)]
    assert "KeyError" in notices[1].problem


@pytest.mark.parametrize(("column", "value"), [("status", "snoozed"), ("modified", 2**62)])
def test_a_row_of_the_log_that_nobody_can_read_is_said_anew(watch: Watch, column: str, value: object) -> None:
    [request] = tick(watch).requests
    watch.log.settle(request.batch, [Outcome(key) for key in KEYS], watch.policy, NOW)
    stored = watch.log.table.open()
    assert stored is not None
    rows = stored.to_pyarrow_table()
    is_it = [
        key == POISON and status == "done"
        for key, status in zip(rows["key"].to_pylist(), rows["status"].to_pylist(), strict=True)
    ]
    kind = rows.schema.field(column).type
    values = rows[column].cast(pa.int64()).to_pylist() if column == "modified" else rows[column].to_pylist()
    values[is_it.index(True)] = value
    rows = rows.set_column(rows.column_names.index(column), column, pa.array(values).cast(kind, safe=False))
    progress = watch.log.read().progress
    write_deltalake(stored, rows, mode="overwrite")
    state = replace(watch.log.read(), progress=progress)
    watch.log.commit(state, [], progress)

    [again] = tick(watch).requests
    assert [one.object.key for one in watch.log.read().planned(again.batch)] == [POISON]
    watch.log.settle(again.batch, [Outcome(POISON)], watch.policy, NOW)
    assert tick(watch).requests == ()


def test_an_error_over_one_listed_object_leaves_the_others_alone(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual: Callable[..., object] = watching.judge

    def broken(found: ObjectVersion, *rest: object) -> object:
        if found.key == POISON:
            raise OwnError("odd")
        return usual(found, *rest)

    monkeypatch.setattr(watching, "judge", broken)
    done = tick(watch)
    assert "OwnError" in done.problem
    assert planned(watch) == {"a/one": 1, "c/three": 1, "d": 1}
    monkeypatch.undo()
    tick(watch, done.cursor)
    assert planned(watch) == dict.fromkeys(KEYS, 1)
