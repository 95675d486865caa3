"""Upkeep of all tables, one after another: retention, merging, a checkpoint, removal of old versions.

Each table is isolated: what fails is recorded with its reason, the others go on, and the next run tries
again.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from platform_assets.errors import UpkeepBusy
from platform_assets.isolation import Isolation, is_isolated, reason_of
from platform_assets.lake.delta import stored_columns
from platform_assets.lake.duck import ROWS_PER_BATCH
from platform_assets.lake.upkeep.choice import chosen, data_files, mergeable
from platform_assets.lake.upkeep.journal import Journal, LastUpkeep
from platform_assets.lake.upkeep.rewrite import Rewriter
from platform_assets.lake.upkeep.store import TableStore
from platform_assets.lake.upkeep.versions import LONGEST_RUN, Removed, Versions
from platform_assets.logs import event
from platform_assets.model.dialects import columns_sql, quote

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.interfaces import KeptTable, VersionInUse

_COLD = dt.timedelta(hours=1)
# Listing a table's files and asking the warehouses costs requests: removal is not part of every run.
_REMOVALS_PER_TERM = 4
_SCRATCH_IS_LEFT_AFTER = dt.timedelta(minutes=30)
REMOVED_AT, RETAINED_AT = "removed_at", "retained_at"
_RETENTION_EVERY = dt.timedelta(days=1)


@dataclass(frozen=True)
class UpkeepPolicy:
    """The limits of upkeep.

    Args:
        keep: All versions of this time stay readable.
        least_files: The least number of small files that are merged.
        longest_run: Longest time between writing a file and committing it.
    """

    keep: dt.timedelta = dt.timedelta(hours=24)
    least_files: int = 16
    longest_run: dt.timedelta = LONGEST_RUN


@dataclass(frozen=True)
class TableUpkeep:
    """The work of upkeep on a table, done or planned.

    Attributes:
        table: Name of the table.
        rows: Number of rows.
        files: Number of files before and after.
        mergeable: Number of files that may be merged and are small enough, after.
        versions: Number of versions that the log can show.
        oldest: The oldest version that is needed, when old versions were last removed.
        size: Bytes of these files before and after.
        rewritten: Bytes of the files that were rewritten.
        removed: What of old versions was removed.
        outdated: Rows that retention removed or emptied.
        pinned_by: Readers of old versions that hold more than the kept time.
        error: Why it failed; empty otherwise.
        removed_at: When old versions were last removed, UTC.
        retained_at: When retention was last applied, UTC.
    """

    table: str
    rows: int = 0
    files: tuple[int, int] = (0, 0)
    mergeable: int = 0
    size: tuple[int, int] = (0, 0)
    versions: int = 0
    oldest: int | None = None
    rewritten: int = 0
    removed: Removed = field(default_factory=Removed)
    outdated: int = 0
    pinned_by: tuple[str, ...] = ()
    error: str = ""
    removed_at: dt.datetime | None = None
    retained_at: dt.datetime | None = None

    @property
    def done(self) -> dict[str, Any]:
        """The work, as the journal stores it."""
        times = {REMOVED_AT: self.removed_at, RETAINED_AT: self.retained_at}
        return {
            "files": self.files,
            "bytes": self.size,
            "rewritten": self.rewritten,
            "removed": [self.removed.files, self.removed.size, self.removed.entries],
            "outdated": self.outdated,
            "oldest": self.oldest,
            **{name: at.isoformat() for name, at in times.items() if at is not None},
        }

    @property
    def is_due(self) -> bool:
        """True if anything was done, would be done, or failed."""
        return any((self.rewritten, self.removed != Removed(), self.outdated, self.error))


@dataclass(frozen=True)
class Unlisted:
    """A room that could not name its tables.

    Attributes:
        name: The room.
        reason: The reason.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Positions:
    """The versions in use outside the lake.

    Args:
        versions: The versions in use by table id.
        unknown: Why they are not known; empty if they are.
    """

    versions: Mapping[str, Sequence[VersionInUse]] = field(default_factory=dict)
    unknown: str = ""


@dataclass(frozen=True)
class Upkeep:
    """Upkeep of the lake.

    Args:
        tables: Returns the tables.
        journal: What was done before, and the lock.
        engine: Memory, threads and disk for sorting.
        positions: Returns the versions in use outside the lake; asked at most once in a run, if needed.
        policy: The limits.
        report: Receives progress messages.
        clock: Returns the time, UTC.
    """

    tables: Callable[[], Iterable[KeptTable | Unlisted]]
    journal: Journal
    engine: SqlEngine
    positions: Callable[[], Positions]
    policy: UpkeepPolicy = field(default_factory=UpkeepPolicy)
    report: Callable[[str], None] = field(default=lambda message: None)
    clock: Callable[[], dt.datetime] = field(default=lambda: dt.datetime.now(dt.UTC))

    def plan(self, wanted: Callable[[str], bool] = lambda name: True) -> list[TableUpkeep]:
        """Return what a run would do now; nothing is changed."""
        return list(self._each(wanted, {}, is_dry=True, alive=lambda: None))

    def run(
        self, wanted: Callable[[str], bool] = lambda name: True, *, whole: bool = False
    ) -> list[TableUpkeep]:
        """Take care of the tables.

        Args:
            wanted: Takes the name of a table, and returns True if it is to be taken care of.
            whole: Apply retention and remove old versions now, even if that was done a short time ago.

        Raises:
            UpkeepBusy: Another run works on the lake, or has taken the lock over.
            LakeError: The journal cannot be read or written.
        """
        began = time.monotonic()
        with self.journal.locked() as lock:
            last = self.journal.last()
            known = (
                {name: replace(last_upkeep, done={}) for name, last_upkeep in last.items()} if whole else last
            )
            done: list[TableUpkeep] = []
            try:
                done.extend(self._each(wanted, known, is_dry=False, alive=lock.extend))
            finally:
                now = self.clock()
                self.journal.record(
                    {upkeep.table: LastUpkeep(now, upkeep.done, upkeep.error) for upkeep in done}
                )
        event(
            "upkeep_finished",
            f"Upkeep looked at {len(done)} tables",
            tables=len(done),
            tables_failed=sum(1 for upkeep in done if upkeep.error),
            bytes_rewritten=sum(upkeep.rewritten for upkeep in done),
            bytes_removed=sum(upkeep.removed.size for upkeep in done),
            seconds=round(time.monotonic() - began, 3),
        )
        return done

    def _each(
        self,
        wanted: Callable[[str], bool],
        last: Mapping[str, LastUpkeep],
        *,
        is_dry: bool,
        alive: Callable[[], None],
    ) -> Iterator[TableUpkeep]:
        found: list[Positions] = []

        def positions() -> Positions:
            if not found:
                found.append(self.positions())
            return found[0]

        for kept in self.tables():
            if not wanted(kept.name):
                continue
            if isinstance(kept, Unlisted):
                yield TableUpkeep(kept.name, error=f"Its tables are not known: {kept.reason}")
                continue
            alive()
            try:
                one = _OfTable(self, kept, last.get(kept.name), positions, alive).run(is_dry=is_dry)
            except UpkeepBusy:
                raise
            except BaseException as error:
                if not is_isolated(error):
                    raise
                one = TableUpkeep(kept.name, error=reason_of(error))
                self.report(f"{kept.name}: {one.error}")
            if one is not None:
                if not is_dry:
                    _log(one)
                yield one


def _log(upkeep: TableUpkeep) -> None:
    """Log the upkeep of a table; if there was nothing to do, as a detail."""
    changed = bool(upkeep.rewritten or upkeep.removed.size or upkeep.outdated)
    event(
        "upkeep",
        f"{upkeep.table}: {upkeep.error or f'{upkeep.files[0]} files became {upkeep.files[1]}'}",
        level="error" if upkeep.error else "info" if changed else "debug",
        table=upkeep.table,
        files_before=upkeep.files[0],
        files=upkeep.files[1],
        bytes=upkeep.size[1],
        bytes_rewritten=upkeep.rewritten,
        bytes_removed=upkeep.removed.size,
        outdated_rows=upkeep.outdated,
        **({"reason": upkeep.error} if upkeep.error else {}),
    )


@dataclass(frozen=True)
class _OfTable:
    """Upkeep of one table.

    Args:
        upkeep: The run.
        kept: The table.
        last: Its last upkeep.
        positions: Returns the versions in use outside the lake.
        alive: Keeps the lock.
    """

    upkeep: Upkeep
    kept: KeptTable
    last: LastUpkeep | None
    positions: Callable[[], Positions]
    alive: Callable[[], None]

    def run(self, *, is_dry: bool) -> TableUpkeep | None:
        """Take care of the table, or only say what there is to do; None if the table does not exist."""
        handle = self.kept.table.open()
        if handle is None:
            return None
        store = TableStore(self.kept.table)
        rewriter = Rewriter(self.kept, store, self.upkeep.engine, self.alive)
        before = data_files(handle)
        now = self.upkeep.clock()
        one = TableUpkeep(
            self.kept.name,
            oldest=self.last.done.get("oldest") if self.last is not None else None,
            removed_at=self._time(REMOVED_AT),
            retained_at=self._time(RETAINED_AT),
        )
        if not is_dry:
            rewriter.remove_leftovers(_SCRATCH_IS_LEFT_AFTER.total_seconds())
        if self.kept.outdated is not None and _is_over(one.retained_at, _RETENTION_EVERY, now):
            retaining = Isolation(f"Retention of {self.kept.name}")
            with retaining.guard(self.kept.name):
                one = replace(
                    one, outdated=self._retain(handle, rewriter, now, is_dry=is_dry), retained_at=now
                )
            for failed in retaining.failures:
                # The rest of the table's upkeep does not depend on it.
                if isinstance(failed.error, UpkeepBusy):
                    raise failed.error
                one = replace(one, error=f"No outdated row was removed: {failed.reason}")
            handle = self._again(handle) if one.outdated and not is_dry else handle
        one = self._merge(one, handle, rewriter, now, is_dry=is_dry)
        handle = handle if is_dry else self._again(handle)
        versions = Versions(self.kept, store, handle)
        if not is_dry and versions.add_checkpoint():
            versions = Versions(self.kept, store, handle)
        if _is_over(one.removed_at, self.upkeep.policy.keep / _REMOVALS_PER_TERM, now):
            one = self._remove(one, versions, now, is_dry=is_dry)
        after = before if is_dry else data_files(handle)
        return replace(
            one,
            rows=sum(file.rows for file in after),
            mergeable=sum(not file.is_full for file in mergeable(after, self.kept)),
            versions=versions.count,
            files=(len(before), one.files[1] if is_dry else len(after)),
            size=(sum(file.size for file in before), sum(file.size for file in after)),
        )

    def _time(self, name: str) -> dt.datetime | None:
        done = self.last.done.get(name) if self.last is not None else None
        return dt.datetime.fromisoformat(done) if done else None

    def _again(self, handle: DeltaTable) -> DeltaTable:
        return self.kept.table.open() or handle

    def _merge(
        self, upkeep: TableUpkeep, handle: DeltaTable, rewriter: Rewriter, now: dt.datetime, *, is_dry: bool
    ) -> TableUpkeep:
        files = data_files(handle)
        groups = chosen(mergeable(files, self.kept), self.upkeep.policy.least_files, now - _COLD)
        left = len(files) - sum(len(group) - 1 for group in groups)
        if groups:
            rewriter.refuse_unknown_features(handle)
        rewritten = 0
        for group in groups:
            if is_dry or rewriter.merge(handle, group) is not None:
                rewritten += sum(file.size for file in group)
        if rewritten and not is_dry:
            self.upkeep.report(f"{self.kept.name}: {len(files)} files became {left}")
        return replace(upkeep, files=(len(files), left), rewritten=rewritten)

    def _retain(self, handle: DeltaTable, rewriter: Rewriter, now: dt.datetime, *, is_dry: bool) -> int:
        """Apply retention; return how many rows it concerns."""
        if self.kept.outdated is None:
            return 0
        stored = replace(self.kept.table, columns=stored_columns(handle))
        with self.upkeep.engine.connect() as connection:
            stored.create_view(connection, ["stored"], handle)
            outdated = self.kept.outdated(connection, now)
            if outdated is None:
                return 0
            condition = f"coalesce({outdated.condition}, false)"
            if outdated.changed:
                different = " OR ".join(
                    f"{quote(name)} IS DISTINCT FROM {value}" for name, value in outdated.changed.items()
                )
                condition = f"({condition} AND ({different}))"
            [[count]] = connection.sql(f"SELECT count(*) FROM stored WHERE {condition}").fetchall()
            if not count or is_dry:
                return int(count)
            rewriter.refuse_unknown_features(handle)
            if outdated.changed:
                values = ", ".join(
                    f"CASE WHEN {condition} THEN {value} ELSE {quote(name)} END AS {quote(name)}"
                    for name, value in outdated.changed.items()
                )
                sql = f"SELECT * REPLACE ({values}) FROM stored"
            else:
                sql = f"FROM stored WHERE NOT {condition}"
            if self.kept.order:
                sql += f" ORDER BY {columns_sql(self.kept.order)}"
            rows = connection.sql(sql).to_arrow_reader(ROWS_PER_BATCH)
            if not rewriter.replace(handle, data_files(handle), rows):
                return 0
        self.upkeep.report(f"{self.kept.name}: retention concerned {count:,} rows")
        return int(count)

    def _remove(
        self, upkeep: TableUpkeep, versions: Versions, now: dt.datetime, *, is_dry: bool
    ) -> TableUpkeep:
        policy = self.upkeep.policy
        cutoff = now - policy.keep
        oldest = versions.needed_since(cutoff)
        upkeep = replace(upkeep, oldest=oldest)
        data, entries = versions.unneeded(oldest, cutoff, policy.longest_run)
        if (data or entries) and self.kept.is_loaded_elsewhere:
            positions = self.positions()
            if positions.unknown:
                return replace(
                    upkeep, error=f"{upkeep.error} No old version was removed: {positions.unknown}".lstrip()
                )
            in_use = positions.versions.get(str(versions.handle.metadata().id), ())
            needed = versions.needed_since(cutoff, (use.version for use in in_use))
            if needed < oldest:
                pinned = tuple(sorted({use.reader for use in in_use if use.version < oldest}))
                upkeep = replace(upkeep, pinned_by=pinned, oldest=needed)
                data, entries = versions.unneeded(needed, cutoff, policy.longest_run)
        if is_dry:
            size = sum(file.size for file in data)
            return replace(upkeep, removed=Removed(len(data), size, len(entries)))
        return replace(upkeep, removed=versions.remove(data, entries, self.alive), removed_at=now)


def _is_over(since: dt.datetime | None, term: dt.timedelta, now: dt.datetime) -> bool:
    return since is None or now - since >= term
