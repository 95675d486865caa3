"""Loading of uploaded objects into feed tables, as far as their inspection allows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from platform_assets.alert import mask_uri
from platform_assets.dlp.deidentify import TransformedTable
from platform_assets.dlp.findings import FindingsStore
from platform_assets.dlp.model import Likelihood
from platform_assets.dlp.policy import Action, strictest
from platform_assets.dlp.protect import blocked, changed, uninspected
from platform_assets.dlp.uploads import object_id
from platform_assets.errors import DlpError, FeedError
from platform_assets.feeds.counting import Change
from platform_assets.feeds.load import UPLOADS, Loaded, Result, UploadedObject
from platform_assets.isolation import Isolation, ended
from platform_assets.model.table import Column, Table, Text
from platform_assets.objects.plan import ObjectStatus

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.dlp.protect import StarProtection
    from platform_assets.feeds.counting import CountingRows
    from platform_assets.feeds.feed import Feed
    from platform_assets.feeds.load import Feeds
    from platform_assets.lake.delta import LakeTable
    from platform_assets.objects.watch import Watch

_MOST_REASONS = 20
_WORKED = (Result.LOADED, Result.SETTLED, Result.GONE, Result.REFUSED)


@dataclass(frozen=True)
class Fed:
    """The result of a run for one feed.

    Args:
        objects: Number of objects that were loaded.
        rows: Number of their rows.
        dead_letters: Number of rejected rows.
        problem: Why allowed objects were not loaded; empty if all were.
    """

    objects: int
    rows: int
    dead_letters: int
    problem: str = ""


@dataclass(frozen=True)
class Feeding:
    """Loads one feed from its watch.

    Args:
        feeds: The feeds' tables.
        findings: The decisions of inspections.
        watch: Returns a watch by its name.
        feed: The feed.
    """

    feeds: Feeds
    findings: FindingsStore
    watch: Callable[[str], Watch]
    feed: Feed

    def load(self) -> Fed:
        """Load the feed's objects that were inspected, are allowed, and are not loaded yet.

        An object that cannot be read, or has other columns, does not affect the others.

        Raises:
            LakeConflict: Another run loaded into the feed at the same time.
            LakeError: The lake cannot be read or written.
        """
        feed, watch = self.feed, self.watch(self.feed.watch)
        failing = Isolation(f"The feed {feed.name}")
        pending = self.feeds.pending(feed, list(self._uploads(watch, failing)))
        loaded = self.feeds.load(feed, watch.bucket, pending) if pending else []
        done = [result for result in loaded if result.result is Result.LOADED]
        left = [result for result in loaded if result.result not in _WORKED]
        problems = [_problem_of(feed, left)] if left else []
        problems += [
            f"The feed {feed.name} did not load {failure.name}: {failure.reason}"
            for failure in failing.failures
        ]
        rows, dead_letters = sum(result.rows for result in done), sum(result.dead_letters for result in done)
        return Fed(len(done), rows, dead_letters, " ".join(problems))

    def resume(self) -> str:
        """Resume the feed if it is stopped; return the name of the object that stopped it, empty if none did.

        The next load tries the object again.

        Raises:
            LakeConflict: Commits fail although nobody else commits.
            LakeError: The lake cannot be read or written.
        """
        stop = self.feeds.stopped(self.feed)
        if stop is None:
            return ""
        self.feeds.resume(self.feed)
        return stop.object

    def withdraw(self, file: str, reason: str) -> int:
        """Withdraw a file: its rows no longer count, and none of its versions is loaded again.

        A file that is uploaded again with other content is another version and is loaded.

        Args:
            file: The file's name below the watched place, its URI, or its name in the feed's ledger.
            reason: The reason, for the ledger.

        Returns:
            The number of rows that no longer count because of it.

        Raises:
            FeedError: The feed knows no such file.
            LakeConflict: Commits fail although nobody else commits.
            LakeError: The lake cannot be read or written.
        """
        watch = self.watch(self.feed.watch)
        entries = watch.log.read().of([file, file.removeprefix(f"{watch.bucket.uri}/")]).values()
        current = [
            UploadedObject(entry.object, None, mask_uri(entry.object.key))
            for entry in entries
            if self.feed.takes(self.feed.watch, entry.object.key)
        ]
        rows = self.feeds.withdraw(self.feed, file, current, reason)
        if rows is None:
            raise FeedError(
                f"The feed {self.feed.name} has no file {file}; nothing was withdrawn. Give its name below "
                f"{watch.bucket.uri}, such as {self.feed.pattern}, or the value of the column _object."
            )
        return rows

    def row_count(self) -> int:
        """Return the number of rows that count; 0 before the first load."""
        return self.feeds.counting(self.feed).row_count() if self.has_table() else 0

    def has_table(self) -> bool:
        """Return True if the columns are known: declared, or inferred from the first object."""
        return bool(self.feeds.layout(self.feed).columns)

    def rows_for(self, protection: StarProtection, warehouse: str, run_id: str = "") -> pa.RecordBatchReader:
        """Stream the valid rows of the feed, changed as the policy requires.

        Args:
            protection: Applies the policy.
            warehouse: Name of the warehouse, as in places.
            run_id: The run that loads, for the records.

        Raises:
            DlpError: A rule blocks a column, or cannot be applied.
            FeedError: Nothing was loaded yet, and no columns are declared.
        """
        counting = self.feeds.counting(self.feed)
        columns = _Columns(protection, counting, warehouse, f"{UPLOADS}/{self.feed.name}")
        return columns.change(run_id).apply(counting.read())

    def copy_for(self, protection: StarProtection, warehouse: str, table: str, run_id: str = "") -> LakeTable:
        """A Delta table of the valid rows, changed as the policy requires, for engines that load files.

        Args:
            protection: Applies the policy.
            warehouse: Name of the warehouse, as in places and in the lake.
            table: Name of the table in the warehouse.
            run_id: The run that loads, for the records.

        Raises:
            DlpError: A rule blocks a column, or cannot be applied.
            FeedError: Nothing was loaded yet, and no columns are declared.
            LakeConflict: Another run updated the copy at the same time.
        """
        counting = self.feeds.counting(self.feed)
        columns = _Columns(protection, counting, warehouse, table)
        folder = self.feeds.lake.path("processed", warehouse, table)
        return counting.bring_up(folder, columns.change(run_id))

    def _uploads(self, watch: Watch, failing: Isolation) -> Iterator[UploadedObject]:
        feed = self.feed
        decisions = self.findings.decisions(feed.watch)
        for entry in watch.log.read().with_status(ObjectStatus.DONE):
            found = entry.object
            with failing.guard(mask_uri(found.key)):
                if feed.takes(feed.watch, found.key):
                    decision, is_clean = decisions.get((object_id(found.uri), found.version), (None, False))
                    yield UploadedObject(
                        found, decision, found.key if is_clean else mask_uri(found.key), is_clean
                    )


def _problem_of(feed: Feed, left: Sequence[Loaded]) -> str:
    """The objects that a feed did not load, with reasons; objects that wait for another are only counted."""
    shown = [result for result in left if result.result is not Result.WAITING] or left[:1]
    reasons = " ".join(
        f"The feed {feed.name} did not load {result.upload.label}: {ended(result.reason)}"
        for result in shown[:_MOST_REASONS]
    )
    more = len(left) - len(shown[:_MOST_REASONS])
    return f"{reasons} {more:,} more wait." if more else reasons


@dataclass(frozen=True)
class _Columns:
    """The columns of a feed on their way into a warehouse.

    Args:
        protection: Applies the policy.
        counting: The feed's valid rows.
        warehouse: Name of the warehouse.
        table: Name of the table in the warehouse.
    """

    protection: StarProtection
    counting: CountingRows
    warehouse: str
    table: str

    def change(self, run_id: str) -> Change:
        """The change of the rows.

        Raises:
            DlpError: A rule blocks a column, or cannot be applied.
        """
        policy, key = self.protection.policy, self._key
        rules = policy.rules_for_columns()
        columns = self.counting.layout.columns
        concerning = [
            rule
            for rule in rules
            if any(rule.concerns(place) for column in columns for place in self._places(column.name))
        ]
        held = self._held(run_id) if any(rule.depends_on_content for rule in concerning) else {}
        changes, refused = [], []
        for column in columns if concerning else ():
            found = held.get(column.name, ())
            decision = strictest(policy.decide_column(found, place) for place in self._places(column.name))
            if decision.action >= Action.BLOCK:
                refused.append(blocked(f"{key}.{column.name}", decision))
            elif one := changed(_as_stored(column), decision, key):
                changes.append(one)
        if refused:
            raise DlpError(
                f"Nothing was loaded into {self.warehouse}/{self.table}: {'; '.join(refused)}. Correct the "
                "uploads, or change the rule."
            )
        if not changes:
            return Change()
        table = Table(key, "", tuple(change.column for change in changes), ())
        change = TransformedTable(table, tuple(changes), self.protection.key)
        return Change(change.fingerprint, change.applied)

    @property
    def _key(self) -> str:
        return f"{UPLOADS}/{self.counting.feed.name}"

    def _places(self, column: str) -> tuple[str, str]:
        return f"{self._key}.{column}", f"{self.warehouse}/{self.table}.{column}"

    def _held(self, run_id: str) -> Mapping[str, Sequence[tuple[str, Likelihood]]]:
        """The verdicts on the columns of the valid rows; changed rows are inspected again."""
        store, version = self.protection.findings, self.counting.version
        detector, detector_version = self.protection.detector()
        known = store.inspected_versions(detector, detector_version)
        if known.get((self.warehouse, self._key)) != version:
            with self.protection.inspector() as inspector:
                seen = inspector.inspect_rows(self.counting.read(), self.warehouse, self._key, version)
            store.record_columns(
                [seen],
                self.protection.policy,
                detector=detector,
                detector_version=detector_version,
                inspected_at=dt.datetime.now(dt.UTC),
                run_id=run_id,
            )
            for name, reason in seen.failures.items():
                places = self._places(name)
                if problem := uninspected(self.protection.policy, places, reason):
                    raise DlpError(f"Nothing was loaded into {self.warehouse}/{self.table}: {problem}.")
        held: dict[str, list[tuple[str, Likelihood]]] = {}
        for row in store.sensitive_columns():
            if (row["place"], row["table"]) == (self.warehouse, self._key):
                held.setdefault(row["column"], []).append((row["info_type"], Likelihood[row["likelihood"]]))
        for place in (self._key, f"{self.warehouse}/{self.table}"):
            for name, known_here in self.protection.known(place).items():
                held.setdefault(name, []).extend(known_here)
        return held


def _as_stored(column: Column) -> Column:
    """A column as stored in the lake: lengths and nulls were checked when the rows were loaded."""
    type_ = replace(column.type, max_length=None) if isinstance(column.type, Text) else column.type
    return Column(column.name, type_, nullable=True)
