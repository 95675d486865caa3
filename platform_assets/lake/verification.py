"""Verifies that the lake is whole: every file of every version in use, and tables, ledger and star agree.

What is lost is named: the table, its batches and rows, and what to do. Nothing is changed, except by
`accept_loss`, which lets ticks go on without rows of a source's table that no backup has.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from platform_assets.errors import LakeError, SettingsError
from platform_assets.isolation import is_isolated, reason_of
from platform_assets.lake.delta import file_statistics
from platform_assets.lake.interfaces import (
    HasDeltaTables,
    HasSourceTables,
    Loss,
    RefersToVersions,
    VerifiesTables,
)
from platform_assets.lake.lake import Lake, as_stored, bronze_stream
from platform_assets.lake.ledger import LedgerEntry
from platform_assets.lake.upkeep.store import LOG, TableStore
from platform_assets.lake.upkeep.tables import kept_tables, positions
from platform_assets.lake.upkeep.upkeep import Unlisted
from platform_assets.model.dialects import columns_sql, literal

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.interfaces import KeptTable
    from platform_assets.lake.ledger import LedgerState
    from platform_assets.model.table import Table
    from platform_assets.rooms import Rooms

_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\..*parquet")
_READS_AT_ONCE = 8
_RESTORE = "Restore it from a backup (docs/backup.md)."


@dataclass(frozen=True)
class _File:
    """A data file, as the log says."""

    path: str
    size: int
    rows: int
    first: int | None
    last: int | None

    @property
    def batches(self) -> tuple[int, ...]:
        """The first and the last batch in it."""
        return tuple(sorted({batch for batch in (self.first, self.last) if batch is not None}))


@dataclass(frozen=True)
class LakeVerifier:
    """Verifies the tables of all rooms.

    Args:
        rooms: The rooms.
        lake: The lake.
        engine: Memory and threads for counting.
        deep: Read every row of every file, and compare the star with what bronze gives.
        report: Receives progress messages.
    """

    rooms: Rooms
    lake: Lake
    engine: SqlEngine
    deep: bool = False
    report: Callable[[str], None] = field(default=lambda message: None)

    def losses(self) -> Iterator[Loss]:
        """Yield what is lost or does not fit together; nothing if the lake is whole."""
        in_use = positions(lambda: self.rooms.offering(RefersToVersions))
        if in_use.unknown:
            yield Loss(
                "lake", f"It is not known which old versions are in use: {in_use.unknown}", "Verify again."
            )
        damaged: set[str] = set()
        for kept in kept_tables(self.lake, lambda: self.rooms.offering(HasDeltaTables)):
            if isinstance(kept, Unlisted):
                yield Loss(
                    kept.name, f"Its tables are not known: {kept.reason}", "Correct this, then verify again."
                )
                continue
            self.report(kept.name)
            for loss in self._isolated(kept.name, lambda kept=kept: self._of_table(kept, in_use.versions)):  # type: ignore[misc]
                damaged.add(kept.name)
                yield loss
        yield from self._isolated("ledger", lambda: self._of_sources(damaged))
        for room in self.rooms.offering(VerifiesTables):
            yield from self._isolated(type(room).__name__, lambda room=room: room.losses(deep=self.deep))  # type: ignore[misc]

    def _isolated(self, name: str, losses: Callable[[], Iterator[Loss]]) -> Iterator[Loss]:
        """Yield losses; an error in between is one of them, and ends them."""
        try:
            yield from losses()
        except BaseException as error:
            if not is_isolated(error):
                raise
            yield Loss(
                name, f"It could not be verified: {reason_of(error)}", "Correct this, then verify again."
            )

    def _of_table(self, kept: KeptTable, in_use: Mapping[str, Sequence[object]]) -> Iterator[Loss]:
        """Verify the log and the files of one table."""
        advice = self._advice(kept.name)
        if kept.table.is_local and not Path(kept.table.uri).is_dir():
            return  # nothing was written to it yet; what it should have, `_of_source` and rooms know
        store = TableStore(kept.table)
        entries = {file.path.rpartition("/")[2] for file in store.listed(LOG)}
        if not entries:
            return
        versions = sorted(int(found[1]) for entry in entries if (found := _ENTRY.fullmatch(entry)))
        checkpoints = sorted(int(found[1]) for entry in entries if (found := _CHECKPOINT.fullmatch(entry)))
        newest = max([*versions, *checkpoints], default=-1)
        start = max(checkpoints, default=-1)
        missing = sorted(set(range(start + 1, newest + 1)) - set(versions))
        if missing:
            listed = ", ".join(f"{version:020d}.json" for version in missing)
            yield Loss(
                kept.name,
                f"Its log lacks {listed}.",
                f"{advice} The file belongs into {kept.table.uri}/{LOG}.",
            )
        try:
            handle = kept.table.open()
        except LakeError as error:
            yield Loss(kept.name, f"It cannot be opened: {error}", advice)
            return
        if handle is None:
            yield Loss(
                kept.name, f"It cannot be opened: its log in {kept.table.uri}/{LOG} is incomplete.", advice
            )
            return
        files = {file.path: file for file in _files(handle)}
        for use in in_use.get(str(handle.metadata().id), ()):
            older = kept.table.open_at(getattr(use, "version", handle.version()))
            for older_file in _files(older) if older is not None else ():
                files.setdefault(older_file.path, older_file)
        stored = {file.path: file.size for file in store.listed(deep=True)}
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            for path, problem in pool.map(
                lambda checked: (checked, self._problem(store, stored, checked)), files.values()
            ):
                if problem:
                    yield Loss(kept.name, f"Its file {path.path} {problem}.", advice, path.batches, path.rows)

    def _problem(self, store: TableStore, stored: Mapping[str, int], file: _File) -> str:
        """Return what is wrong with a data file; empty if nothing is."""
        if file.path not in stored:
            return "is missing"
        if stored[file.path] != file.size:
            return f"has {stored[file.path]:,} bytes instead of {file.size:,}"
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with store.files.open_input_file(file.path) as opened:
                parquet = pq.ParquetFile(opened)
                rows = parquet.metadata.num_rows
                if self.deep:
                    rows = sum(batch.num_rows for batch in parquet.iter_batches())
        except (pa.ArrowException, OSError, ValueError) as error:
            return f"cannot be read: {str(error).splitlines()[0]}"
        return "" if rows == file.rows else f"has {rows:,} rows instead of {file.rows:,}"

    def _of_sources(self, damaged: set[str]) -> Iterator[Loss]:
        """Compare the tables of sources with the ledger."""
        state = self.lake.ledger.read()
        for room in self.rooms.offering(HasSourceTables):
            for source, tables in room.source_tables().items():
                for table in tables:
                    name = f"{source}/{table.name}"
                    # What a missing file held is named already, and the rest cannot be counted.
                    if name not in damaged:
                        yield from self._isolated(
                            name,
                            lambda source=source, table=table: self._of_source(state, source, table),  # type: ignore[misc]
                        )

    def _of_source(self, state: LedgerState, source: str, table: Table) -> Iterator[Loss]:
        name, bronze = f"{source}/{table.name}", self.lake.bronze(source, table)
        expected = _counts_in_ledger(state, source, table.name)
        if not expected:
            return
        handle = bronze.open()
        found: dict[int, int] = {}
        if handle is not None:
            with self.engine.connect() as connection:
                bronze.create_view(connection, ["counted"], handle)
                found = dict(
                    connection.sql("SELECT _batch, count(*) FROM counted GROUP BY _batch").fetchall()
                )
        for what, counts in (
            ("lacks", {batch: count - found.get(batch, 0) for batch, count in expected.items()}),
            ("has too many", {batch: found.get(batch, 0) - count for batch, count in expected.items()}),
        ):
            differing = {batch: count for batch, count in counts.items() if count > 0}
            if differing:
                rows = sum(differing.values())
                yield Loss(
                    name,
                    f"It {what} {rows:,} rows that the ledger counts."
                    if what == "lacks"
                    else f"It has {rows:,} rows more than the ledger counts.",
                    self._advice(name),
                    tuple(sorted(differing)),
                    rows,
                )
        if f"{source}/{table.name}" not in state.cursors:
            yield Loss(
                name,
                "The ledger has no position for its capture: the newest entries of its log may be lost.",
                f"{_RESTORE} Without one, the next tick reads the whole table; nothing is lost by that.",
            )

    def _advice(self, name: str) -> str:
        layer = name.partition("/")[0]
        if layer == "star":
            return (
                f"Compute it again: platform-assets lake rebuild {name} --apply. If its log is damaged, "
                "remove its folder first."
            )
        if any(layer in room.source_tables() for room in self.rooms.offering(HasSourceTables)):
            return (
                f"{_RESTORE} Without one: platform-assets lake verify --accept-loss {name} lets ticks go on; "
                "the next one reads the table again from its source, and the lost versions stay lost."
            )
        return _RESTORE


def _files(handle: DeltaTable) -> Iterator[_File]:
    statistics = file_statistics(handle)
    columns = [
        statistics[name].to_pylist() if name in statistics.column_names else [None] * statistics.num_rows
        for name in ("path", "size_bytes", "num_records", "min._batch", "max._batch")
    ]
    for path, size, rows, first, last in zip(*columns, strict=True):
        yield _File(path, size, rows or 0, first, last)


def _counts_in_ledger(state: LedgerState, source: str, table: str) -> dict[int, int]:
    """Return how many row versions each batch has of a table, as the ledger says.

    An accepted loss is an entry without a snapshot: batches before it are known to lack rows.
    """
    names = ("batch", "source", "table", "inserted", "updated", "deleted", "snapshot")
    rows = [
        (batch, sum(counts), snapshot)
        for batch, one, other, *counts, snapshot in zip(
            *(state.rows[name].to_pylist() for name in names), strict=True
        )
        if (one, other) == (source, table)
    ]
    accepted = max((batch for batch, _, snapshot in rows if not snapshot), default=0)
    return {batch: count for batch, count, _ in rows if count and batch > accepted}


def accept_loss(rooms: Rooms, lake: Lake, engine: SqlEngine, name: str) -> str:
    """Let ticks go on with a table of a source that has lost rows; return what was done, as a sentence.

    The log forgets files that do not exist, and the ledger gets an entry that corrects the number of rows and
    has no position, so that the next tick reads the whole table and appends what differs.

    Args:
        rooms: The rooms.
        lake: The lake.
        engine: Memory and threads.
        name: Name of the table, such as `totesys/staff`.

    Raises:
        SettingsError: No source has this table.
        LakeConflict: Another run wrote to the table or the ledger at the same time.
        LakeError: The table cannot be opened.
    """
    source, _, wanted = name.partition("/")
    declared = {
        table.name: table
        for room in rooms.offering(HasSourceTables)
        for source_name, tables in room.source_tables().items()
        if source_name == source
        for table in tables
    }
    if wanted not in declared:
        raise SettingsError(f"{name} is not the table of a source; of other tables, no loss can be accepted.")
    state, bronze = lake.ledger.read(), lake.bronze(source, declared[wanted])
    handle = bronze.open()
    if handle is None:
        raise LakeError(
            f"{name} is gone as a whole. Restore {bronze.uri} from a backup, or start with an empty lake."
        )
    batch = max(state.last_batch, bronze.cursor(handle, bronze_stream(source))) + 1
    stored = {file.path for file in TableStore(bronze).listed(deep=True)}
    gone = [file for file in _files(handle) if file.path not in stored]
    bronze.forget(
        handle, {file.path: file.size for file in gone}, stream=bronze_stream(source), version=batch
    )
    table, handle = as_stored(lake, source, declared[wanted]), bronze.open()
    with engine.connect() as connection:
        bronze.create_view(connection, ["left"], handle)
        connection.register("ledger", state.rows)
        key = columns_sql(table.primary_key)
        counting = (
            f'SELECT batch FROM ledger WHERE source = {literal(source)} AND "table" = {literal(wanted)} '
            "AND inserted + updated + deleted > 0"
        )
        [(present,)] = connection.sql(
            f'SELECT count(*) FROM (SELECT {key} FROM "left" WHERE _batch IN ({counting}) '
            f"GROUP BY {key} HAVING arg_max(_change, _batch) <> 'delete')"
        ).fetchall()
    now = dt.datetime.now(dt.UTC)
    correction = present - state.row_count(source, wanted)
    entry = LedgerEntry(batch, source, wanted, correction, 0, 0, 0, "", now, now)
    lake.ledger.commit(state, [entry], {name: ""})
    rows = sum(loss.rows for loss in gone)
    return (
        f"{name}: the log has forgotten {len(gone)} files with {rows:,} rows, and the ledger counts "
        f"{present:,} rows now. The next tick reads the whole table from its source."
    )
