"""Load objects into a feed's table, each version exactly once, and read the valid rows.

A load is staged outside the lake, appended to the table under unique batch numbers, and becomes valid with
one commit in the feed's ledger. After a crash before that commit, its rows are never read, and the next
attempt uses new numbers.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import FeedError, LakeConflict, LakeError, ObjectGone
from platform_assets.feeds.counting import CountingRows, stream
from platform_assets.feeds.feed import PLACE_COLUMNS, Feed
from platform_assets.feeds.layout import Layout, LayoutChanged, known_layout, refuse_other_columns
from platform_assets.feeds.ledger import (
    LEDGER_COLUMNS,
    FeedLedger,
    FeedState,
    FeedStatus,
    LatestStatus,
    LedgerRow,
    Stop,
)
from platform_assets.feeds.reading import read_rows
from platform_assets.feeds.rows import NoHeader, Unreadable
from platform_assets.feeds.staging import Staged, stage
from platform_assets.isolation import failure_of, is_isolated, is_retryable, reason_of, renamed
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets.lake.log import storable
from platform_assets.lake.races import retry_while_others_progress
from platform_assets.model.dialects import literal
from platform_assets.objects.bucket import Bucket, ObjectVersion
from platform_assets.stored import FEED, FEED_LEDGER

if TYPE_CHECKING:
    from deltalake import DeltaTable

UPLOADS = "uploads"
"""The folder of the feeds' tables, and their source name in the dead-letter table."""

ADMITTED = frozenset({"allow", "alert", "deidentify"})
"""The policy decisions that allow loading an object; columns are de-identified later."""

_FOR_GOOD = (FeedStatus.LOADED, FeedStatus.WITHDRAWN, FeedStatus.GONE)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Result(StrEnum):
    """The result of loading an object."""

    LOADED = "loaded"
    SETTLED = "settled"
    """Loaded before, or unreadable as declared."""
    REFUSED = "refused"
    """Not allowed by its inspection, or not inspected; nothing of the object was read."""
    STOPPED = "stopped"
    """The object's columns have changed, and the feed is stopped."""
    WAITING = "waiting"
    """Another object has stopped the feed."""
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True)
class UploadedObject:
    """An object of a feed with the result of its inspection.

    Attributes:
        object: The version.
        decision: The policy's decision for exactly this version; None if it was not inspected.
        label: Its name in rows and messages: its key, with sensitive parts masked.
        is_clean: True if all of it was inspected and nothing sensitive was found.
    """

    object: ObjectVersion
    decision: str | None
    label: str
    is_clean: bool = False

    @property
    def object_id(self) -> str:
        """SHA-256 of the URI, hexadecimal."""
        return _object_id(self.object.uri)


@dataclass(frozen=True)
class Loaded:
    """The result of loading an object, with the reason.

    Attributes:
        upload: The object.
        result: The result.
        rows: Number of loaded rows.
        dead_letters: Number of rejected rows.
        reason: What was found and what to do; empty if the object was loaded.
        retryable: True if the same attempt may succeed later.
    """

    upload: UploadedObject
    result: Result
    rows: int = 0
    dead_letters: int = 0
    reason: str = ""
    retryable: bool = False


@dataclass(frozen=True)
class Feeds:
    """The feeds' tables in a lake.

    Args:
        lake: The lake; the tables are in its ingestion zone.
        engine: Memory and threads for reading them.
        scratch: Folder for staged files, which are removed after each load.
        clock: Returns the time, UTC.
    """

    lake: Lake
    engine: SqlEngine
    scratch: Path
    clock: Callable[[], dt.datetime] = field(default=lambda: dt.datetime.now(dt.UTC))

    def ledger(self, feed: Feed) -> FeedLedger:
        """The ledger of a feed."""
        uri = self.lake.path("ingestion", f"_{UPLOADS}", feed.name)
        return FeedLedger(LakeTable(uri, LEDGER_COLUMNS, self.lake.storage_options, FEED_LEDGER), self.engine)

    def table(self, feed: Feed, layout: Layout) -> LakeTable:
        """The table of a feed: all rows of all loads, including rows that no longer count."""
        uri = self.lake.path("ingestion", UPLOADS, feed.name)
        return LakeTable(uri, (*layout.columns, *PLACE_COLUMNS), self.lake.storage_options, FEED)

    def layout(self, feed: Feed) -> Layout:
        """The columns of a feed's table; empty if its first object determines them."""
        return known_layout(feed, Layout.from_json(self.ledger(feed).read().layout))

    def stopped(self, feed: Feed) -> Stop | None:
        """The reason why a feed is stopped, or None. A changed definition ends a stop."""
        stop = self.ledger(feed).read().stop
        return stop if stop is not None and stop.definition == feed.definition else None

    def pending(self, feed: Feed, uploads: Sequence[UploadedObject]) -> list[UploadedObject]:
        """The uploads that the feed takes, that may be loaded, and that are not loaded yet."""
        ledger = self.ledger(feed)
        wanted = [
            upload
            for upload in uploads
            if feed.takes(feed.watch, upload.object.key) and upload.decision in ADMITTED
        ]
        latest = ledger.latest_statuses(ledger.read(), (upload.object_id for upload in wanted))
        return [
            upload for upload in wanted if not _is_settled(latest.get(upload.object_id, ()), upload, feed)
        ]

    def load(self, feed: Feed, bucket: Bucket, uploads: Sequence[UploadedObject]) -> list[Loaded]:
        """Load those objects that their inspection allows.

        All loaded objects become valid with one commit. An unreadable object does not affect the others; an
        object with other columns stops the feed, and later objects wait.

        Args:
            feed: The feed.
            bucket: The bucket of the objects.
            uploads: The objects, at most one version of each, in any order; they are loaded in the order in
                which they were written.

        Returns:
            The result of each object, in the order of `uploads`.

        If another run creates or changes the feed's table at the same time, this load is discarded, and
        everything that the other run has not loaded is done again.

        Raises:
            LakeConflict: Commits fail although nobody else commits.
            LakeError: The lake cannot be read or written.
        """
        table, ledger = self.table(feed, Layout()), self.ledger(feed).table
        return retry_while_others_progress(
            lambda: self._load(feed, bucket, uploads), lambda: [table.version(), ledger.version()]
        )

    def _load(self, feed: Feed, bucket: Bucket, uploads: Sequence[UploadedObject]) -> list[Loaded]:
        self.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"feed-{feed.name}-", dir=self.scratch) as folder:
            return _FeedLoad(self, feed, bucket, Path(folder)).run(uploads)

    def withdraw(self, feed: Feed, file: str, current: Sequence[UploadedObject], reason: str) -> int | None:
        """Invalidate the rows of all versions of a file; none of its known versions is loaded again.

        Args:
            feed: The feed.
            file: Its URI, or its name in the ledger.
            current: The version that its watch knows, if any.
            reason: The reason, for the ledger.

        Returns:
            The number of rows that were loaded from it; None if nothing is known of the file.
        """
        ledger, now = self.ledger(feed), self.clock()
        ids = [entry.object_id for entry in current] or [_object_id(file)]
        loads = ledger.loads(ledger.read(), ids, [] if current else [file])
        rows = [_row(feed, entry, FeedStatus.WITHDRAWN, now, reason=reason) for entry in current]
        known = {(row.object_id, row.version) for row in rows}
        rows += [
            replace(load, batch=0, status=FeedStatus.WITHDRAWN, reason=storable(reason), at=now, layout="")
            for load in {(load.object_id, load.version): load for load in loads}.values()
            if (load.object_id, load.version) not in known
        ]
        if not rows:
            return None
        ledger.log.append([vars(row) for row in rows])
        return sum(load.rows for load in loads)

    def resume(self, feed: Feed) -> None:
        """Resume a stopped feed; the object that stopped it is tried again."""
        self.ledger(feed).log.append([vars(_resumed(feed, self.clock()))])

    def counting(self, feed: Feed) -> CountingRows:
        """The valid rows of a feed.

        Raises:
            FeedError: Nothing was loaded yet, and no columns are declared.
        """
        ledger = self.ledger(feed)
        state = ledger.read()
        layout = known_layout(feed, Layout.from_json(state.layout))
        if not layout.columns:
            raise FeedError(
                f"The feed {feed.name} has no table yet: its columns come from its first object, and no "
                f"object was loaded. Upload an object whose key matches {feed.pattern}, or declare "
                "the columns."
            )
        return CountingRows(feed, layout, self.table(feed, layout), ledger, state)

    def relation(self, feed: Feed) -> pa.RecordBatchReader:
        """Stream the valid rows of a feed, as `CountingRows.read`; raises as `counting` does."""
        return self.counting(feed).read()

    def dead_letters(self, feed: Feed) -> pa.RecordBatchReader:
        """Stream the rejected rows of a feed's loads, as `lake.DEAD_LETTER_COLUMNS`."""
        state = self.ledger(feed).read()
        condition = f'source = {literal(UPLOADS)} AND "table" = {literal(feed.name)}'
        sql = (
            f"SELECT stored.* FROM stored WHERE {condition} AND _batch IN "
            "(SELECT batch FROM ledger WHERE status = 'loaded') ORDER BY _batch"
        )
        return stream(self.lake.dead_letters, self.ledger(feed), state, sql)


class _FeedLoad:
    """One call of `Feeds.load`."""

    def __init__(self, feeds: Feeds, feed: Feed, bucket: Bucket, folder: Path) -> None:
        self.feeds = feeds
        self.feed = feed
        self.bucket = bucket
        self.folder = folder
        self.ledger = feeds.ledger(feed)
        self.now = feeds.clock()
        self.results: dict[str, Loaded] = {}
        self.staged: list[tuple[UploadedObject, Staged]] = []
        self.changes: list[LedgerRow] = []
        self.leftover: DeltaTable | None = None

    def run(self, uploads: Sequence[UploadedObject]) -> list[Loaded]:
        state = self.ledger.read()
        admitted = []
        for upload in uploads:
            if upload.decision not in ADMITTED:
                self._end(upload, Result.REFUSED, _refusal(upload))
            else:
                admitted.append(upload)
        if len({upload.object_id for upload in uploads}) < len(uploads):
            raise FeedError(
                f"The feed {self.feed.name} cannot load two versions of one object at the same time; load "
                "the current version."
            )
        last = self.ledger.latest_statuses(state, (upload.object_id for upload in admitted))
        stop = (
            state.stop if state.stop is not None and state.stop.definition == self.feed.definition else None
        )
        layout = known_layout(self.feed, Layout.from_json(state.layout))
        # Load the object that may end the stop first.
        ordered = sorted(
            admitted,
            key=lambda upload: (
                stop is None or upload.object_id != stop.object_id,
                upload.object.modified,
                upload.object.key,
            ),
        )
        for upload in ordered:
            if _is_settled(last.get(upload.object_id, ()), upload, self.feed):
                self._end(upload, Result.SETTLED, "it was loaded, or rejected, before")
                continue
            try:
                stop, layout = self._take(upload, layout, stop)
            except BaseException as error:
                if not is_isolated(error):
                    raise
                self._fail(upload, error)
        self._declare(state)
        return [self.results[upload.object_id] for upload in uploads]

    def _take(self, upload: UploadedObject, layout: Layout, stop: Stop | None) -> tuple[Stop | None, Layout]:
        """Stage one object, or record why not; returns the new stop and columns."""
        if stop is not None and (upload.object_id, upload.object.version) == (stop.object_id, stop.version):
            found = self.bucket.find(upload.object.key)
            if found is not None and found.version == stop.version:
                self._end(upload, Result.STOPPED, _stop_message(self.feed, upload.label, stop.reason))
                return stop, layout
            self.changes.append(_row(self.feed, upload, FeedStatus.GONE, self.now))
            self._end(upload, Result.GONE, f"{upload.label} no longer exists in this version")
            return None, layout
        if stop is not None and upload.object_id != stop.object_id:
            waits = f"the feed {self.feed.name} is stopped by {stop.object}: {stop.reason}"
            self._end(upload, Result.WAITING, waits, retryable=True)
            return stop, layout
        return self._stage(upload, layout, stop)

    def _fail(self, upload: UploadedObject, error: BaseException) -> None:
        """Record that an object failed; the ledger has no entry for it, so that it is tried again."""
        reason = reason_of(error, tell_text=False)
        for name in (upload.object.uri, upload.object.key):
            reason = renamed(reason, name, upload.label)
        self._end(upload, Result.FAILED, reason, retryable=is_retryable(error))

    def _stage(self, upload: UploadedObject, layout: Layout, stop: Stop | None) -> tuple[Stop | None, Layout]:
        folder = self.folder / str(len(self.results) + len(self.staged))
        try:
            folder.mkdir()
            opened = self.bucket.open(upload.object)
            with read_rows(self.feed, upload.object.key, opened, folder) as file:
                staged = stage(self.feed, layout, file, folder, is_clean=upload.is_clean)
        except (LayoutChanged, NoHeader) as error:
            reason = str(error)
            self.changes.append(_row(self.feed, upload, FeedStatus.STOPPED, self.now, reason=reason))
            self._end(upload, Result.STOPPED, _stop_message(self.feed, upload.label, reason))
            version = upload.object.version
            return Stop(upload.object_id, upload.label, version, reason, self.feed.definition), layout
        except Unreadable as error:
            reason = (
                f"{upload.label} cannot be loaded into the feed {self.feed.name}: {error}. Correct the "
                "file and upload it again."
            )
            self.changes.append(_row(self.feed, upload, FeedStatus.FAILED, self.now, reason=str(error)))
            self._end(upload, Result.FAILED, reason)
            return stop, layout
        except ObjectGone as error:
            self.changes.append(_row(self.feed, upload, FeedStatus.GONE, self.now))
            self._end(upload, Result.GONE, str(error))
            return None if stop and stop.object_id == upload.object_id else stop, layout
        self.staged.append((upload, staged))
        # A new version without the mistake ends the stop.
        return None, staged.layout

    def _declare(self, state: FeedState) -> None:
        """Append the staged rows to the lake, and make them valid in one commit."""
        rows = [*self.changes]
        is_first = not state.layout
        if self.staged:
            state = self._taken_over(state)
            rows += self._appended(state)
        for race, version in enumerate(self.ledger.log.attempts(state.version)):
            if race:
                state = self.ledger.state(version)
                rows = self._still_new(state, rows, is_first=is_first)
            if not rows:
                return
            try:
                self.ledger.commit(state, rows)
            except LakeConflict:
                continue
            except BaseException as error:
                if not is_isolated(error) or len(rows) == 1:
                    raise
                self._commit_one_by_one(rows, error)
            return
        raise self.ledger.log.lost_race()

    def _commit_one_by_one(self, rows: Sequence[LedgerRow], why: BaseException) -> None:
        """Commit the rows of each object separately; raise `why` if no commit succeeds."""
        failed = 0
        for row in rows:
            error = failure_of(partial(self._commit_one, row))
            if isinstance(error, LakeConflict):
                raise error
            if error is not None:
                failed += 1
                self._fail(self.results[row.object_id].upload, error)
        if failed == len(rows):
            raise why

    def _commit_one(self, row: LedgerRow) -> None:
        self.ledger.commit(self.ledger.read(), [row])

    def _appended(self, state: FeedState) -> list[LedgerRow]:
        """Append the staged rows; if that fails, append object by object.

        Raises:
            LakeError: The lake cannot be written, whichever the object.
        """
        try:
            return self._append(state, self.staged)
        except LakeConflict:
            raise
        except BaseException as error:
            if not is_isolated(error):
                raise
            why = error
        rows: list[LedgerRow] = []
        if len(self.staged) == 1:
            self._fail(self.staged[0][0], why)
        else:
            for upload in self.staged:
                failure = failure_of(partial(self._append_one, state, upload, rows))
                if isinstance(failure, LakeConflict):
                    raise failure
                if failure is not None:
                    self._fail(upload[0], failure)
        if not rows and isinstance(why, LakeError):
            raise why
        return rows

    def _append_one(
        self, state: FeedState, pair: tuple[UploadedObject, Staged], rows: list[LedgerRow]
    ) -> None:
        rows += self._append(state, [pair])

    def _taken_over(self, state: FeedState) -> FeedState:
        """The ledger state for replacing a table that has other columns and no valid rows.

        Such a table is left by a crash, or by a file without rows. The ledger is committed first, so that
        another run whose rows would be removed finds a changed ledger.
        """
        table = self.feeds.table(self.feed, self.staged[-1][1].layout)
        handle = table.open()
        if state.layout or handle is None or _holds(handle, table.arrow_schema):
            return state
        self.ledger.commit(state, [_resumed(self.feed, self.now)])
        self.leftover = handle
        return self.ledger.read()

    def _append(self, state: FeedState, staged: Sequence[tuple[UploadedObject, Staged]]) -> list[LedgerRow]:
        """Append staged objects; return their ledger rows, also for objects that the table cannot hold."""
        layout = staged[-1][1].layout
        table = self.feeds.table(self.feed, layout)
        handle = table.open()
        if handle is not None and state.layout:
            try:
                refuse_other_columns(layout, pa.schema(handle.schema().to_arrow()))
            except LayoutChanged as error:
                return self._stopped(staged, str(error))
        stream = f"{UPLOADS}/{self.feed.name}"
        first = table.cursor(self.leftover or handle, stream) + 1
        numbered = [(first + place, *upload) for place, upload in enumerate(staged)]
        last = first + len(numbered) - 1
        rows = pa.RecordBatchReader.from_batches(table.arrow_schema, self._rows(numbered, table.arrow_schema))
        if self.leftover is not None:
            table.overwrite(self.leftover, rows, stream=stream, version=last)
            self.leftover = None
        else:
            table.append(handle, rows, stream=stream, version=last)
        self._append_letters(numbered, stream, last)
        stored_layout = layout.to_json() if layout.columns else ""
        changes = []
        for batch, upload, file in numbered:
            row = _row(self.feed, upload, FeedStatus.LOADED, self.now)
            changes.append(
                replace(
                    row, layout=stored_layout, batch=batch, rows=file.rows, dead_letters=file.dead_letters
                )
            )
            self.results[upload.object_id] = Loaded(upload, Result.LOADED, file.rows, file.dead_letters)
        return changes

    def _stopped(self, staged: Sequence[tuple[UploadedObject, Staged]], reason: str) -> list[LedgerRow]:
        """Stop the feed at the last of some objects, whose columns the table cannot hold."""
        one = staged[-1][0]
        for upload, _ in staged:
            self._end(upload, Result.WAITING, f"the feed is stopped: {reason}", retryable=True)
        self._end(one, Result.STOPPED, _stop_message(self.feed, one.label, reason))
        return [_row(self.feed, one, FeedStatus.STOPPED, self.now, reason=reason)]

    def _rows(
        self, numbered: Sequence[tuple[int, UploadedObject, Staged]], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        for batch_number, upload, staged in numbered:
            for batch in staged.batches():
                given: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
                given |= self._place(batch_number, upload, batch.num_rows)
                arrays = [
                    given[field.name] if field.name in given else pa.nulls(batch.num_rows, field.type)
                    for field in schema
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _append_letters(
        self, numbered: Sequence[tuple[int, UploadedObject, Staged]], stream: str, last: int
    ) -> None:
        if not any(staged.dead_letters for _, _, staged in numbered):
            return
        table = self.feeds.lake.dead_letters
        schema = table.arrow_schema

        def batches() -> Iterator[pa.RecordBatch]:
            for batch_number, upload, staged in numbered:
                for batch in staged.letter_batches():
                    sheet = {"sheet": self.feed.sheet.name} if self.feed.format == "excel" else {}
                    keys = [
                        json.dumps({"object": upload.label, **sheet, "line": line}, ensure_ascii=False)
                        for line in batch["line"].to_pylist()
                    ]
                    given = {
                        "source": _same(UPLOADS, pa.string(), batch.num_rows),
                        "table": _same(self.feed.name, pa.string(), batch.num_rows),
                        "key": pa.array(keys, pa.string()),
                        "reason": batch["reason"],
                        "row": batch["row"],
                        "_change": _same("insert", pa.string(), batch.num_rows),
                        **self._place(batch_number, upload, batch.num_rows),
                    }
                    yield pa.RecordBatch.from_arrays([given[name] for name in schema.names], schema=schema)

        rows = pa.RecordBatchReader.from_batches(schema, batches())
        table.append(table.open(), rows, stream=stream, version=last)

    def _place(self, batch: int, upload: UploadedObject, rows: int) -> dict[str, pa.Array]:
        seen_at = (self.now - _EPOCH) // dt.timedelta(microseconds=1)
        return {
            "_batch": _same(batch, pa.int64(), rows),
            "_seen_at": _same(seen_at, pa.int64(), rows).cast(pa.timestamp("us", tz="UTC")),
            "_object": _same(storable(upload.label), pa.string(), rows),
        }

    def _still_new(self, state: FeedState, rows: Sequence[LedgerRow], *, is_first: bool) -> list[LedgerRow]:
        """The ledger rows that are still valid after a lost race: those that no other run has recorded.

        Raises:
            LakeConflict: The loaded rows are based on other columns than the table has now.
        """
        layout = known_layout(self.feed, Layout.from_json(state.layout))
        loads = [row for row in rows if row.status is FeedStatus.LOADED]
        if loads and (is_first or any(Layout.from_json(row.layout) != layout for row in loads)):
            raise LakeConflict(
                f"Another run changed the table of the feed {self.feed.name} during this load. Nothing was "
                "loaded; the next run does the work again."
            )
        last = self.ledger.latest_statuses(state, (row.object_id for row in rows))
        kept = []
        for row in rows:
            upload = self.results[row.object_id].upload
            if _is_settled(last.get(row.object_id, ()), upload, self.feed):
                self._end(upload, Result.SETTLED, "another run loaded it at the same time")
            else:
                kept.append(row)
        return kept

    def _end(self, upload: UploadedObject, result: Result, reason: str, *, retryable: bool = False) -> None:
        self.results[upload.object_id] = Loaded(upload, result, reason=reason, retryable=retryable)


def _is_settled(statuses: Sequence[LatestStatus], upload: UploadedObject, feed: Feed) -> bool:
    """Return True if nothing is left to do for a version, by the latest statuses of its object."""
    return any(
        row.version == upload.object.version
        and (
            row.status in _FOR_GOOD or (row.status == FeedStatus.FAILED and row.definition == feed.definition)
        )
        for row in statuses
    )


def _object_id(uri: str) -> str:
    return hashlib.sha256(uri.encode("utf-8", "surrogateescape")).hexdigest()


def _holds(handle: DeltaTable, schema: pa.Schema) -> bool:
    """Return True if a table has exactly these columns."""
    stored = pa.schema(handle.schema().to_arrow())
    return {stored_field.name: stored_field.type for stored_field in stored} == {
        stored_field.name: stored_field.type for stored_field in schema
    }


def _resumed(feed: Feed, now: dt.datetime) -> LedgerRow:
    return LedgerRow(0, "", "", "", now, FeedStatus.RESUMED, 0, 0, "", feed.definition, "", now)


def _row(
    feed: Feed, upload: UploadedObject, status: FeedStatus, now: dt.datetime, *, reason: str = ""
) -> LedgerRow:
    return LedgerRow(
        batch=0,
        object_id=upload.object_id,
        object=storable(upload.label),
        version=upload.object.version,
        modified=upload.object.modified,
        status=status,
        rows=0,
        dead_letters=0,
        reason=storable(reason),
        definition=feed.definition,
        layout="",
        at=now,
    )


def _refusal(upload: UploadedObject) -> str:
    if upload.decision is None:
        return (
            f"this version of {upload.label} was not inspected; objects are loaded only after their "
            "inspection"
        )
    return f"the policy's action for {upload.label} is {upload.decision}; it is not loaded"


def _stop_message(feed: Feed, label: str, reason: str) -> str:
    return (
        f"The feed {feed.name} is stopped: the columns of {label} differ from its table's: {reason}. "
        "Upload the file again with the expected columns, or change the feed's declaration; then the "
        "feed continues by itself. Other feeds are not affected."
    )


def _same(value: Any, type_: pa.DataType, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, type_), rows)
