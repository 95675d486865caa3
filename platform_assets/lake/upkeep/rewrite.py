"""Rewriting files of a table as one file, in a commit that changes no row.

The file is written through a Delta table of its own in the folder `_upkeep/<id>`, so that it gets the
statistics that every other file has, then moved beside the others, then committed. Until the commit nobody
reads it; after a crash, the next upkeep removes what is left.
"""

from __future__ import annotations

import json
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import LakeConflict, LakeError
from platform_assets.lake.delta import (
    LakeTable,
    named_file_error,
    reason_in_short,
    whole_batches_name,
    writer_properties,
)
from platform_assets.lake.delta_rs import rows_from_python
from platform_assets.lake.duck import ROWS_PER_BATCH
from platform_assets.lake.upkeep.store import LOG, TableStore
from platform_assets.model.dialects import columns_sql

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction

    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.interfaces import KeptTable
    from platform_assets.lake.upkeep.choice import DataFile

SCRATCH = "_upkeep"
"""Folder in a table's folder for files that are being written."""

_MOST_ATTEMPTS = 50
_LOOK_BACK = 100
_ONE_FILE = 16 * 1024**3
_BATCHES_AHEAD = 8
_STATISTICS = ("delta.dataSkippingStatsColumns", "delta.dataSkippingNumIndexedCols")
_UNSUPPORTED = ("deletionVectors", "columnMapping", "rowTracking", "generatedColumns", "identityColumns")


@dataclass(frozen=True)
class MergedFile:
    """A file that was written and not committed yet.

    Attributes:
        path: Its path from the table's folder.
        size: Its bytes.
        stats: Its statistics, as Delta stores them.
        rows: Its rows.
    """

    path: str
    size: int
    stats: str
    rows: int


_NOTHING = MergedFile("", 0, "", 0)


@dataclass(frozen=True)
class Rewriter:
    """Rewrites files of one table.

    Args:
        kept: The table.
        store: Its files.
        engine: Memory, threads and disk for sorting.
        alive: Called between steps; keeps the lock of upkeep, and raises an error if it was lost.
    """

    kept: KeptTable
    store: TableStore
    engine: SqlEngine
    alive: Callable[[], None] = field(default=lambda: None)

    @property
    def _table(self) -> LakeTable:
        return self.kept.table

    def refuse_unknown_features(self, handle: DeltaTable) -> None:
        """Raise an error if the table has features that a rewritten file would lose.

        Raises:
            LakeError: Another program has partitioned the table or switched such a feature on.
        """
        protocol, metadata = handle.protocol(), handle.metadata()
        features = {*(protocol.reader_features or ()), *(protocol.writer_features or ())}
        found = sorted(features.intersection(_UNSUPPORTED))
        found += (
            [f"partitions by {', '.join(metadata.partition_columns)}"] if metadata.partition_columns else []
        )
        if found:
            raise LakeError(
                f"The files of {self._table.uri} cannot be merged: another program has given the table "
                f"{', '.join(found)}. Let that program compact it (OPTIMIZE), or exclude it from the lake's "
                "zones."
            )

    def merge(self, handle: DeltaTable, files: Sequence[DataFile]) -> MergedFile | None:
        """Rewrite files as one file, with the same rows.

        Returns:
            The new file; None if another writer has replaced some of these files in the meantime.

        Raises:
            LakeConflict: Other writers committed first, again and again.
            LakeError: The files cannot be read or written.
        """
        batches: set[int] = set()
        rows = self._read(files, _schema_of(handle))
        if self.kept.whole_batches is not None:
            rows = _watched(rows, batches)
        written = self._sorted(handle, rows) if self.kept.order else self._write(handle, rows)
        if written is None:
            return None
        expected = sum(file.rows for file in files)
        if written.rows != expected:
            raise LakeError(
                f"The merged file of {self._table.uri} has {written.rows:,} rows, and the files it replaces "
                f"have {expected:,}. Nothing was changed; look whether one of them is damaged."
            )
        return self._commit(files, self._placed(written, batches), data_change=False)

    def replace(self, handle: DeltaTable, files: Sequence[DataFile], rows: pa.RecordBatchReader) -> bool:
        """Replace files by a file with other rows, as retention does.

        Returns:
            False if another writer has replaced some of these files in the meantime.

        Raises:
            LakeConflict: Other writers committed first, again and again.
            LakeError: The files cannot be written.
        """
        written = self._write(handle, rows)
        placed = self._placed(written, set()) if written is not None else None
        return self._commit(files, placed, data_change=True) is not None

    def remove_leftovers(self, older_than_seconds: float) -> None:
        """Remove what killed runs of upkeep have left in the scratch folder."""
        now = time.time()
        for folder in self.store.folders(SCRATCH):
            place = f"{SCRATCH}/{folder}"
            newest = max(
                (file.modified.timestamp() for file in self.store.listed(place, deep=True)), default=0.0
            )
            if now - newest > older_than_seconds:
                self.store.remove_folder(place)

    def _read(self, files: Sequence[DataFile], schema: pa.Schema) -> pa.RecordBatchReader:
        """Stream files one after the other, with all columns of the table.

        A thread reads them: the writer cannot call into the library that it is part of.
        """

        def batches() -> Iterator[pa.RecordBatch]:
            import pyarrow.parquet as pq

            for file in files:
                with self.store.files.open_input_file(file.path) as opened:
                    for batch in pq.ParquetFile(opened).iter_batches(ROWS_PER_BATCH):
                        yield _with_columns(batch, schema)

        return pa.RecordBatchReader.from_batches(schema, read_ahead(batches()))

    def _sorted(self, handle: DeltaTable, rows: pa.RecordBatchReader) -> MergedFile | None:
        with self.engine.connect() as connection:
            connection.register("rows", rows)
            ordered = connection.sql(f"FROM rows ORDER BY {columns_sql(self.kept.order)}")
            return self._write(handle, ordered.to_arrow_reader(ROWS_PER_BATCH))

    def _write(self, handle: DeltaTable, rows: pa.RecordBatchReader) -> MergedFile | None:
        """Write rows as one file into a scratch folder; None if there are no rows."""
        from deltalake import write_deltalake
        from deltalake.exceptions import DeltaError

        schema = _schema_of(handle)
        folder = f"{SCRATCH}/{uuid.uuid4().hex}"
        configured = handle.metadata().configuration
        try:
            with rows_from_python():
                write_deltalake(
                    f"{self._table.uri}/{folder}",
                    pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in rows)),
                    mode="error",
                    configuration={name: configured[name] for name in _STATISTICS if name in configured},
                    storage_options=self._table.storage_options(),
                    target_file_size=_ONE_FILE,
                    writer_properties=writer_properties("ZSTD"),
                )
        except (DeltaError, OSError) as error:
            self.store.remove_folder(folder)
            raise named_file_error(error) or LakeError(
                f"Files of {self._table.uri} could not be merged: {reason_in_short(error)}."
            ) from error
        self.alive()
        with self.store.files.open_input_file(f"{folder}/{LOG}/{0:020d}.json") as log:
            actions = [json.loads(line) for line in log.read().splitlines()]
        adds = [action["add"] for action in actions if "add" in action]
        if len(adds) > 1:
            raise LakeError(f"Files of {self._table.uri} could not be merged: one file became {len(adds)}.")
        if not adds:
            self.store.remove_folder(folder)
            return None
        return MergedFile(
            f"{folder}/{adds[0]['path']}",
            adds[0]["size"],
            adds[0]["stats"],
            json.loads(adds[0]["stats"])["numRecords"],
        )

    def _placed(self, written: MergedFile, batches: Set[int]) -> MergedFile:
        """Move a written file beside the table's others."""
        folder, _, name = written.path.rpartition("/")
        name = self._name_of(name, batches)
        self.store.move(written.path, name)
        self.store.remove_folder(folder)
        return MergedFile(name, written.size, written.stats, written.rows)

    def _name_of(self, name: str, batches: Set[int]) -> str:
        if self.kept.whole_batches is None or not batches <= self.kept.whole_batches()[1]:
            return name
        return whole_batches_name(len(batches), name)

    def _commit(
        self, files: Sequence[DataFile], written: MergedFile | None, *, data_change: bool
    ) -> MergedFile | None:
        """Replace files in one commit; None if other writers have replaced them.

        Each attempt is made on top of the version that it has read, and fails if there is a newer one. A file
        that was not committed in the end stays until it is old: whoever removes it at once could be mistaken.
        """
        from deltalake.exceptions import CommitFailedError, DeltaError

        error: Exception | None = None
        for _ in range(_MOST_ATTEMPTS):
            handle = self._table.open()
            paths = _paths(handle) if handle is not None else set()
            if written is not None and written.path in paths:
                return written  # the store had taken the commit, and only its answer was lost
            if handle is None or not {file.path for file in files} <= paths:
                return None
            self.alive()
            try:
                self._try_commit(handle, files, written, data_change=data_change)
            except CommitFailedError as conflict:
                error = conflict
                continue
            except (DeltaError, OSError) as failed:
                raise LakeError(
                    f"The merged files of {self._table.uri} could not be committed: "
                    f"{reason_in_short(failed)}."
                ) from failed
            return written or _NOTHING
        raise LakeConflict(
            f"The files of {self._table.uri} were not merged: other commits came first {_MOST_ATTEMPTS} "
            "times in a row. Nothing was changed; the next run of upkeep tries again."
        ) from error

    def _try_commit(
        self, handle: DeltaTable, files: Sequence[DataFile], written: MergedFile | None, *, data_change: bool
    ) -> None:
        from deltalake import CommitProperties
        from deltalake.transaction import AddAction, RemoveAction

        now = time.time_ns() // 1_000_000
        actions: list[AddAction | RemoveAction] = [
            RemoveAction(file.path, data_change, now, size=file.size, partition_values={}) for file in files
        ]
        if written is not None:
            # As old as its newest rows: files without batch numbers are ordered by this time.
            newest = int(max(file.modified for file in files).timestamp() * 1000)
            actions.insert(0, AddAction(written.path, written.size, {}, newest, data_change, written.stats))
        handle.create_write_transaction(
            actions,
            "append",
            handle.schema(),
            commit_properties=CommitProperties(
                custom_metadata=self._repeated(handle), app_transactions=None, max_commit_retries=0
            ),
        )

    def _repeated(self, handle: DeltaTable) -> dict[str, Any] | None:
        """Return the metadata that readers look for in the newest commit, as of `handle`."""
        name = self.kept.metadata
        metadata = self._table.commit_metadata(handle, name, look_back=_LOOK_BACK) if name else None
        return {name: metadata} if metadata is not None else None


def _schema_of(handle: DeltaTable) -> pa.Schema:
    return pa.schema(handle.schema().to_arrow())


def _paths(handle: DeltaTable) -> set[str]:
    from platform_assets.lake.delta import file_statistics

    return set(file_statistics(handle)["path"].to_pylist())


def _with_columns(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return rows of a file with the columns of the table; an older file lacks columns that were added."""
    present: Mapping[str, pa.Array] = dict(zip(batch.schema.names, batch.columns, strict=True))
    return pa.RecordBatch.from_arrays(
        [
            present[column.name].cast(column.type)
            if column.name in present
            else pa.nulls(batch.num_rows, column.type)
            for column in schema
        ],
        schema=schema,
    )


def _watched(rows: pa.RecordBatchReader, batches: set[int]) -> pa.RecordBatchReader:
    """Pass rows on, and collect the numbers of their batches."""
    import pyarrow.compute as pc

    def watched() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            batches.update(pc.unique(batch["_batch"]).to_pylist())
            yield batch

    return pa.RecordBatchReader.from_batches(rows.schema, watched())


def read_ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield what a thread produces, which stays a few batches ahead."""
    ready: queue.Queue[pa.RecordBatch | BaseException | None] = queue.Queue(_BATCHES_AHEAD)
    is_over = threading.Event()

    def put(item: pa.RecordBatch | BaseException | None) -> None:
        while not is_over.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def produce() -> None:
        try:
            for batch in batches:
                if is_over.is_set():
                    return
                put(batch)
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised by the consumer
            put(error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while (one := ready.get()) is not None:
            if isinstance(one, BaseException):
                raise one
            yield one
    finally:
        is_over.set()
        thread.join()
