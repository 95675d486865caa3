"""One object of a feed goes wrong in any way, at any step: the others are loaded, and it is later, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from platform_assets.errors import PlatformError
from platform_assets.feeds.feed import Feed
from platform_assets.feeds.ledger import FeedLedger, FeedState, LedgerRow
from platform_assets.feeds.load import Result
from platform_assets.feeds.staging import Staged
from platform_assets.objects.bucket import ObjectVersion, Readable
from platform_assets.objects.folder import FolderBucket
from platform_assets_tests.feeds.test_feeds import ORDERS, Inbox, make_inbox
from platform_assets_tests.fixtures.poison import ERRORS, UNEXPECTED, OwnError, name_of, told

pytestmark = pytest.mark.sampled(2)

KEYS = tuple(f"orders/{name}.csv" for name in ("a", "b", "c", "d"))
POISON = "orders/b.csv"
ROWS = {"orders/a.csv": 1, "orders/b.csv": 2, "orders/c.csv": 3, "orders/d.csv": 4}


@dataclass
class Stream:
    source: Readable
    error: BaseException

    def read(self, size: int = -1, /) -> bytes:
        if not (read := self.source.read(8)):
            raise self.error
        return read


@dataclass(frozen=True)
class Breaking(FolderBucket):
    """A folder one of whose objects cannot be opened, or breaks off."""

    errors: dict[str, BaseException] = field(default_factory=dict)
    breaks_off: bool = False

    @contextmanager
    def open(self, found: ObjectVersion) -> Iterator[Readable]:
        error = self.errors.get(found.key)
        if error and not self.breaks_off:
            raise error
        with super().open(found) as source:
            yield Stream(source, error) if error else source


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    made = make_inbox(tmp_path)
    for key, number in ROWS.items():
        made.put(key, f"id,amount,note\n{number},1.50,{number}\nx,1,no number\n")
    return made


def check(inbox: Inbox, error: BaseException, mend: Callable[[], None]) -> None:
    """Load with one poisoned object, mend it, and load twice again."""
    loaded = {one.upload.object.key: one for one in inbox.load(ORDERS, *KEYS)}
    assert {key: one.result for key, one in loaded.items()} == {
        key: Result.FAILED if key == POISON else Result.LOADED for key in KEYS
    }
    assert told(error) in loaded[POISON].reason
    # The text of an error that nobody expected may hold values.
    if not isinstance(error, PlatformError | OSError) and error.args:
        assert str(error.args[0]) not in loaded[POISON].reason
    assert inbox.rows(ORDERS, "id") == [(1,), (3,), (4,)]
    mend()
    pending = inbox.feeds.pending(ORDERS, [inbox.upload(key) for key in KEYS])
    assert [one.object.key for one in pending] == [POISON]
    again = inbox.feeds.load(ORDERS, inbox.bucket, pending)
    assert [one.result for one in again] == [Result.LOADED]
    assert {one.result for one in inbox.load(ORDERS, *KEYS)} == {Result.SETTLED}
    assert inbox.rows(ORDERS, "id") == [(1,), (2,), (3,), (4,)]
    assert [line for line, _, _ in inbox.letters(ORDERS)] == [3, 3, 3, 3]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("error", ERRORS, ids=name_of)
def test_an_object_that_cannot_be_opened_leaves_the_others_alone(inbox: Inbox, error: BaseException) -> None:
    well = inbox.bucket
    inbox.bucket = Breaking(inbox.root / "inbox", {POISON: error})
    check(inbox, error, lambda: setattr(inbox, "bucket", well))


@pytest.mark.sampled(4)
# An object that is no text is known to be unreadable, and is not tried again in that version.
@pytest.mark.parametrize(
    "error", [one for one in UNEXPECTED if not isinstance(one, UnicodeError)], ids=name_of
)
def test_an_object_that_breaks_off_leaves_the_others_alone(inbox: Inbox, error: BaseException) -> None:
    well = inbox.bucket
    inbox.bucket = Breaking(inbox.root / "inbox", {POISON: error}, breaks_off=True)
    check(inbox, error, lambda: setattr(inbox, "bucket", well))


@pytest.mark.parametrize("step", ["batches", "letter_batches"])
@pytest.mark.parametrize("error", [OwnError("while it is appended"), MemoryError("malloc")], ids=name_of)
def test_an_object_whose_rows_cannot_be_appended_leaves_the_others_alone(
    inbox: Inbox, error: BaseException, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = getattr(Staged, step)

    def broken(staged: Staged) -> Iterator[pa.RecordBatch]:
        batches = list(usual(staged))
        if step == "batches" and any("2" in batch["note"].to_pylist() for batch in batches):
            raise error
        # The second object that is staged.
        if step == "letter_batches" and staged.path.parent.name == "1":
            raise error
        return iter(batches)

    monkeypatch.setattr(Staged, step, broken)
    loaded = {one.upload.object.key: one for one in inbox.load(ORDERS, *KEYS)}
    assert {key: one.result for key, one in loaded.items()} == {
        key: Result.FAILED if key == POISON else Result.LOADED for key in KEYS
    }
    # Delta's own error is what is left of it; what it says may hold values.
    assert loaded[POISON].reason
    assert inbox.rows(ORDERS, "id") == [(1,), (3,), (4,)]
    monkeypatch.setattr(Staged, step, usual)
    assert [one.result for one in inbox.load(ORDERS, POISON)] == [Result.LOADED]
    assert {one.result for one in inbox.load(ORDERS, *KEYS)} == {Result.SETTLED}
    assert inbox.rows(ORDERS, "id") == [(1,), (2,), (3,), (4,)]
    assert [line for line, _, _ in inbox.letters(ORDERS)] == [3, 3, 3, 3]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("error", [*ERRORS[:2], *UNEXPECTED], ids=name_of)
def test_an_object_of_which_nothing_can_be_said_leaves_the_others_alone(
    inbox: Inbox, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = FeedLedger.commit

    def broken(ledger: FeedLedger, state: FeedState, rows: Sequence[LedgerRow]) -> None:
        if any(row.object == POISON for row in rows):
            raise error
        usual(ledger, state, rows)

    monkeypatch.setattr(FeedLedger, "commit", broken)
    check(inbox, error, lambda: monkeypatch.setattr(FeedLedger, "commit", usual))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)], ids=name_of)
def test_an_interruption_ends_the_load_and_nothing_counts(inbox: Inbox, error: BaseException) -> None:
    well = inbox.bucket
    inbox.bucket = Breaking(inbox.root / "inbox", {POISON: error})
    with pytest.raises(type(error)):
        inbox.load(ORDERS, *KEYS)
    inbox.bucket = well
    assert {one.result for one in inbox.load(ORDERS, *KEYS)} == {Result.LOADED}
    assert inbox.rows(ORDERS, "id") == [(1,), (2,), (3,), (4,)]


def test_an_object_that_vanishes_in_the_middle_leaves_the_others_alone(inbox: Inbox) -> None:
    uploads = [inbox.upload(key) for key in KEYS]
    (inbox.root / "inbox" / POISON).unlink()
    loaded = inbox.feeds.load(ORDERS, inbox.bucket, uploads)
    assert [one.result for one in loaded] == [Result.LOADED, Result.GONE, Result.LOADED, Result.LOADED]
    assert inbox.rows(ORDERS, "id") == [(1,), (3,), (4,)]


def test_a_column_that_only_the_failed_object_brings_is_there_once_it_is_loaded(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed("orders", "inbox", "orders/**/*.csv", "csv", ORDERS.columns, new_columns="add")
    inbox.load(feed, KEYS[0])
    inbox.put(POISON, "id,amount,note,more\n2,1.50,2,new\n")
    usual = Staged.batches
    monkeypatch.setattr(Staged, "batches", _raising(usual, OwnError("while it is appended")))
    results = [one.result for one in inbox.load(feed, POISON, *KEYS[2:])]
    assert results == [Result.FAILED, Result.LOADED, Result.LOADED]
    assert inbox.rows(feed, "id") == [(1,), (3,), (4,)]
    monkeypatch.setattr(Staged, "batches", usual)
    assert [one.result for one in inbox.load(feed, POISON)] == [Result.LOADED]
    assert inbox.rows(feed, "id", "more") == [(1, None), (2, "new"), (3, None), (4, None)]


def _raising(
    usual: Callable[[Staged], Iterator[pa.RecordBatch]], error: Exception
) -> Callable[[Staged], Iterator[pa.RecordBatch]]:
    def broken(staged: Staged) -> Iterator[pa.RecordBatch]:
        for batch in usual(staged):
            if "2" in batch["note"].to_pylist():
                raise error
            yield batch

    return broken
