"""One Delta table: reads as SQL or Arrow, and exactly-once commits.

Every commit carries an app transaction: the name of a stream with an increasing version. Data and cursor are
therefore committed atomically, and two writers of the same version cannot both succeed. This module does not
know the meaning of the rows.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from platform_assets.errors import FullDisk, LakeConflict, LakeError, lake_file_error, path_error
from platform_assets.lake.arrow import arrow_schema, logical_type_of
from platform_assets.lake.batches import Batches
from platform_assets.lake.dataset import dataset_of
from platform_assets.lake.delta_rs import rows_from_python
from platform_assets.lake.duck import ROWS_PER_BATCH, stored_type
from platform_assets.model.dialects import columns_sql, literal, quote
from platform_assets.model.table import HASH_COLUMN, Column, Float
from platform_assets.stored import ASSET, FORMATS, Stored, StoredFormat, table_format

if TYPE_CHECKING:
    import duckdb
    from deltalake import CommitProperties, DeltaTable, WriterProperties
    from deltalake.transaction import RemoveAction


_ROWS_PER_ROW_GROUP = 65_536
_BYTES_PER_FILE = 64 * 1024 * 1024
# A column with a larger dictionary is written without one. With the default of 1 MB, every column of a row
# group gets a dictionary, and files are a third larger and take half as long again to write.
_BYTES_OF_DICTIONARY = 32 * 1024
_LONGEST_REASON = 600
_COLUMNS_WITH_STATISTICS = 32  # as many as Delta keeps by default
# So delta-rs says, before it commits anything, that the log has lost the version that a writer began with.
_OUTDATED = "Invalid table version"
_LOG_ENTRY = re.compile(r"(\d{20})\.(json|crc|checkpoint\.parquet|checkpoint\.\d+\.\d+\.parquet)$")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BYTES_OF_STATISTICS = 64
_WHOLE_BATCHES = re.compile(r"batches-(\d+)-")
_MOST_SEEN, _SECONDS_SEEN = 256, 60
LOG_FOLDER = "_delta_log"
"""Folder of a table's log."""
REBUILT = "platform_assets/rebuilt"
"""Name of the app transaction whose version is the number of times that a table's rows were rebuilt."""
_REBUILT_MARK = "+"
_EVOLVED = "platform_assets.evolved"
_WIDENED = "platform_assets/widened"
# A commit is retried only because another commit took its version in the log, which is progress. The limit
# guards against a store that reports this for every commit.
_MOST_COMMIT_RETRIES = 10_000
# delta-rs treats a path as a URL: it panics on some characters, and resolves others to another folder.
_UNUSABLE_IN_A_PATH = re.compile(r"[][^|\\\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")


@dataclass(frozen=True)
class _Seen:
    """A table on local disk as a reader has opened it.

    Args:
        handle: The table; nobody changes it.
        identity: What identifies the newest entry of its log; None if the entry was gone at once.
        until: The time on `time.monotonic` after which the table is opened again. Entries of the log that are
            younger are removed by nobody, so none is missing between this version and a newer one.
    """

    handle: DeltaTable
    identity: tuple[int, ...] | None
    until: float

    @classmethod
    def of(cls, uri: str, handle: DeltaTable) -> _Seen:
        return cls(handle, _identity(uri, handle.version()), time.monotonic() + _SECONDS_SEEN)

    def is_current(self, uri: str) -> bool:
        """Return whether the table still has no newer version, and is still the same one."""
        version = self.handle.version()
        return (
            self.identity is not None
            and time.monotonic() < self.until
            and _identity(uri, version) == self.identity
            and _identity(uri, version + 1) is None
        )


_SEEN: dict[str, _Seen] = {}


def _identity(uri: str, version: int) -> tuple[int, ...] | None:
    """Return what tells a file of a table's log on local disk from others; None if there is none."""
    try:
        entry = os.stat(f"{uri}/{LOG_FOLDER}/{version:020d}.json")
    except OSError:
        return None
    return entry.st_dev, entry.st_ino, entry.st_size, entry.st_mtime_ns


@dataclass(frozen=True)
class WrittenFile:
    """A Parquet file that another program has written into a table's folder.

    Attributes:
        path: Its path from that folder.
        size: Its bytes.
        stats: Its statistics, as Delta stores them.
    """

    path: str
    size: int
    stats: str


@dataclass(frozen=True)
class LakeTable:
    """A Delta table that may not exist yet.

    Args:
        uri: Local folder or object-store URI.
        columns: Declared columns in order, the platform's own columns included.
        storage_options: Returns the object-store options with secrets resolved; called when they are needed.
        format: The format of its content; None for a table of unknown origin.
    """

    uri: str
    columns: tuple[Column, ...]
    storage_options: Callable[[], dict[str, str]] = field(repr=False, default=dict)
    format: StoredFormat | None = field(repr=False, default=None)
    # The Delta version of the newest append of this process, which need not be looked up in the table's log.
    _appended: dict[None, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def is_local(self) -> bool:
        """True if the table is on local disk, where DuckDB reads its Parquet files directly."""
        return "://" not in self.uri

    @property
    def arrow_schema(self) -> pa.Schema:
        """Arrow schema of the declared columns."""
        return arrow_schema(self.columns)

    def open(self) -> DeltaTable | None:
        """Open the table in its current state; None if nothing was ever written to it.

        Raises:
            LakeError: The table's location cannot be read, or the table has the format of another version of
                the platform.
        """
        handle = self._opened()
        return None if handle is None else self._of_known_format(handle)

    def _of_known_format(self, handle: DeltaTable) -> DeltaTable:
        known, version = self._format_of(handle)
        if known is not None and (reason := known.refusal(version, self.uri)):
            raise LakeError(reason)
        return handle

    def _refuse_shared(self, handle: DeltaTable | None) -> None:
        seen = _SEEN.get(self.uri)
        if seen is not None and seen.handle is handle:
            raise RuntimeError(f"{self.uri} is to be written with a handle that its readers share")

    def look(self) -> DeltaTable | None:
        """Open the table in its current state, only to read it; otherwise as `open`.

        A step reads a table several times, and opening one reads all commits since its last checkpoint. So a
        table on local disk that has no newer version than this process has seen is not opened again. The
        handle is shared: the methods of this class refuse to write with it, and nobody may load another
        version into it.
        """
        seen = _SEEN.get(self.uri) if self.is_local else None
        if seen is not None and seen.is_current(self.uri):
            return self._of_known_format(seen.handle)
        handle = self.open()
        if self.is_local and handle is not None:
            if len(_SEEN) >= _MOST_SEEN:
                _SEEN.clear()
            _SEEN[self.uri] = _Seen.of(self.uri, handle)
        return handle

    def _opened(self) -> DeltaTable | None:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        if self.is_local and (unusable := _UNUSABLE_IN_A_PATH.search(self.uri)):
            raise LakeError(
                f"The lake cannot be stored in {self.uri}: Delta Lake does not support {unusable.group()!r} "
                "in a path. Point lake.ingestion and lake.processed at folders without this character."
            )
        try:
            return DeltaTable(self.uri, storage_options=self.storage_options())
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise self._unreadable(error) from error

    def _format_of(self, handle: DeltaTable) -> tuple[StoredFormat | None, int]:
        """Return the table's format and version, from its name in the Delta log.

        Tables without such a name have version 1: 0.1.0 gave none. For a table of unknown origin, the name
        also says which format it has. A property of the table would do, too, but Delta refuses those of
        others when it creates a table.
        """
        found = table_format(handle.metadata().name)
        if found is None or (self.format is not None and found[0] != self.format.name):
            return self.format, 1
        return self.format or FORMATS.get(found[0]) or StoredFormat(
            found[0], "The table", "", version=0
        ), found[1]

    def stored(self) -> Stored | None:
        """Return the table as upgrades and reports see it; None if it does not exist.

        Raises:
            LakeError: The table's location cannot be read.
        """
        handle = self._opened()
        if handle is None:
            return None
        known = self._format_of(handle)[0] or ASSET

        def version() -> int | None:
            handle = self._opened()
            return None if handle is None else self._format_of(handle)[1]

        def stamp(version: int) -> None:
            handle = self._opened()
            if handle is not None:
                handle.alter.set_table_name(known.table_name_of(version))

        # A step of an upgrade opens what is too old for everybody else.
        return Stored(known, self.uri, version, stamp, replace(self, format=replace(known, oldest=1)))

    def _unreadable(self, error: BaseException) -> LakeError:
        if self.is_local and os.path.lexists(self.uri) and not Path(self.uri).is_dir():
            error = NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self.uri)
        return named_file_error(error) or LakeError(
            f"The lake table {self.uri} cannot be read: {reason_in_short(error)}. Check that the location "
            "exists, the credentials in lake.storage_options, and that only the platform writes there."
        )

    def open_at(self, version: int) -> DeltaTable | None:
        """Open the table as it was at a version; None if the log does not reach back so far.

        Raises:
            LakeError: The table's location cannot be read.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            return DeltaTable(self.uri, version=version, storage_options=self.storage_options())
        except DeltaError:
            return None
        except OSError as error:
            raise self._unreadable(error) from error

    def version(self) -> int:
        """Return the number of the newest commit by any writer; -1 if the table does not exist."""
        handle = self.open()
        return int(handle.version()) if handle is not None else -1

    def commit_metadata(self, handle: DeltaTable | None, name: str, *, look_back: int) -> str | None:
        """Return the newest value of a commit metadata key, as of `handle`.

        `DeltaTable.history` does not fit: it also returns commits made after `handle` was opened.

        Args:
            handle: The table as it was read.
            name: The metadata key.
            look_back: Number of commits to search; commits of other tools (such as OPTIMIZE) lack the key.
        """
        if handle is None:
            return None
        for version in range(handle.version(), max(handle.version() - look_back, -1), -1):
            info = self.commit_info(version)
            if name in info:
                return str(info[name])
        return None

    def commit_info(self, version: int) -> Mapping[str, Any]:
        """Return the commit info of a version; empty if Delta Lake has already cleaned it up."""
        name = f"{LOG_FOLDER}/{version:020d}.json"
        try:
            if self.is_local:
                text = (Path(self.uri) / name).read_bytes()
            else:
                from deltalake.fs import DeltaStorageHandler

                text = DeltaStorageHandler(self.uri, self.storage_options()).open_input_file(name).read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise LakeError(
                f"The log of the lake table {self.uri} cannot be read: {reason_in_short(error)}."
            ) from error
        for line in text.splitlines():
            action = json.loads(line)
            if "commitInfo" in action:
                return dict(action["commitInfo"])
        return {}

    def cursor(self, handle: DeltaTable | None, stream: str) -> int:
        """Return the version of `stream` in its newest commit; 0 if the stream has no commit."""
        return (handle.transaction_version(stream) or 0) if handle is not None else 0

    def row_count(self, handle: DeltaTable | None) -> int:
        """Return the number of rows in the table's files, from their statistics."""
        return handle.count() if handle is not None else 0

    def last_batch(self, handle: DeltaTable | None) -> int:
        """Return the largest `_batch` of all rows, from file statistics; 0 if the table has no rows."""
        if handle is None:
            return 0
        files = file_statistics(handle)
        if "max._batch" not in files.column_names:
            return 0
        return max(files["max._batch"].drop_null().to_pylist(), default=0)

    def forget_versions(self, handle: DeltaTable, keep: int) -> None:
        """Remove what the log of a table on local disk says of old versions; no row is lost.

        A commit looks at every entry of a log on local disk; a bucket lists only those that it asks for. The
        newest versions stay, so that readers and writers at work find what they began with.

        Args:
            handle: The table in its current state.
            keep: Number of versions that stay, at least.
        """
        if not self.is_local:
            return
        folder = Path(self.uri) / LOG_FOLDER
        entries = [(int(found[1]), name) for name in os.listdir(folder) if (found := _LOG_ENTRY.match(name))]
        start = handle.version() - keep
        checkpoints = [number for number, name in entries if ".checkpoint." in name and number <= start]
        for number, name in sorted(entries):
            if number < max(checkpoints, default=0):
                (folder / name).unlink(missing_ok=True)

    def append(
        self,
        handle: DeltaTable | None,
        rows: pa.RecordBatchReader | pa.Table,
        *,
        stream: str,
        version: int,
        metadata: Mapping[str, str] | None = None,
        description: str | None = None,
        also: Mapping[str, int] | None = None,
    ) -> int:
        """Append a stream of rows in one commit.

        Declared columns that the table lacks are added in the same commit; they are NULL in older rows.
        Columns of the table that are no longer declared are NULL in the new rows.

        Args:
            handle: The table as it was when `version` was chosen; a later commit of the same stream is a
                conflict.
            rows: Rows with the declared columns; in the declared order if this commit creates the table.
            stream: Name of the app transaction.
            version: Version of the app transaction, larger than the version in `handle`.
            metadata: Commit metadata, readable in the table's history.
            description: Description of the table, stored if this commit creates it.
            also: Versions of further app transactions by name, for `cursor`.

        Returns:
            The Delta version of the commit.

        Raises:
            LakeConflict: Another writer committed to the stream first.
            LakeError: The commit failed.
        """
        return self._write(handle, rows, "append", stream, version, metadata, description, also)

    def append_files(
        self,
        handle: DeltaTable | None,
        files: Sequence[WrittenFile],
        *,
        stream: str,
        version: int,
        metadata: Mapping[str, str] | None = None,
        description: str | None = None,
        also: Mapping[str, int] | None = None,
    ) -> None:
        """Append Parquet files that lie in the table's folder, in one commit.

        Args:
            handle: As in `append`, like all arguments but `files`.
            files: The files, with the columns of the table.
            stream: As in `append`.
            version: As in `append`.
            metadata: As in `append`.
            description: As in `append`.
            also: As in `append`.

        Raises:
            LakeConflict: Another writer committed to the stream first.
            LakeError: The commit failed.
        """
        from deltalake import Schema
        from deltalake.exceptions import CommitFailedError, DeltaError
        from deltalake.transaction import AddAction, create_table_with_add_actions

        self._refuse_shared(handle)
        now = time.time_ns() // 1_000_000
        actions = [AddAction(file.path, file.size, {}, now, True, file.stats) for file in files]
        commit = _commit_properties(stream, version, metadata, is_next=handle is None, also=also)
        try:
            if handle is None:
                create_table_with_add_actions(
                    self.uri,
                    Schema.from_arrow(self.arrow_schema),
                    actions,
                    name=self.format.table_name if self.format is not None else None,
                    description=description,
                    configuration=table_properties(self.arrow_schema),
                    storage_options=self.storage_options(),
                    commit_properties=commit,
                )
            else:
                handle.create_write_transaction(
                    list(actions), "append", handle.schema(), commit_properties=commit
                )
        except CommitFailedError as error:
            raise _conflict(self.uri, version, error) from error
        except (DeltaError, OSError) as error:
            if handle is None and "already exists" in str(error):
                raise _conflict(self.uri, version, error) from error
            raise named_file_error(error) or LakeError(
                f"Writing to the lake table {self.uri} failed: {reason_in_short(error)}."
            ) from error

    def overwrite(
        self,
        handle: DeltaTable | None,
        rows: pa.RecordBatchReader | pa.Table,
        *,
        stream: str,
        version: int,
        also: Mapping[str, int] | None = None,
    ) -> int:
        """Replace the table's rows and columns in one commit; older versions stay readable.

        Any other commit since `handle` is a conflict: delta-rs removes only the files that it knows, and
        would leave files that a compaction has written since. The other arguments are those of `append`.
        """
        return self._write(handle, rows, "overwrite", stream, version, None, also=also)

    def note(self, handle: DeltaTable, versions: Mapping[str, int]) -> None:
        """Set versions of app transactions in a commit that changes no row.

        Raises:
            LakeConflict: Another writer changed the table since `handle`.
            LakeError: The commit failed.
        """
        self._commit_actions(handle, [], versions)

    def forget(self, handle: DeltaTable, files: Mapping[str, int], *, stream: str, version: int) -> None:
        """Remove files that do not exist any more from the table, in one commit; raises as `note`.

        Args:
            handle: The table.
            files: Their paths, with the sizes that the log has.
            stream: Name of the app transaction.
            version: Version of the app transaction.
        """
        from deltalake.transaction import RemoveAction

        now = time.time_ns() // 1_000_000
        actions = [
            RemoveAction(path, True, now, size=size, partition_values={}) for path, size in files.items()
        ]
        self._commit_actions(handle, actions, {stream: version})

    def _commit_actions(
        self, handle: DeltaTable, actions: Sequence[RemoveAction], versions: Mapping[str, int]
    ) -> None:
        from deltalake import CommitProperties, Transaction
        from deltalake.exceptions import CommitFailedError, DeltaError

        self._refuse_shared(handle)
        try:
            handle.create_write_transaction(
                list(actions),
                "append",
                handle.schema(),
                commit_properties=CommitProperties(
                    app_transactions=[Transaction(*item) for item in versions.items()], max_commit_retries=0
                ),
            )
        except CommitFailedError as error:
            raise _conflict(self.uri, max(versions.values()), error) from error
        except (DeltaError, OSError) as error:
            raise named_file_error(error) or LakeError(
                f"Writing to the lake table {self.uri} failed: {reason_in_short(error)}."
            ) from error

    def widen(self, connection: duckdb.DuckDBPyConnection, handle: DeltaTable) -> None:
        """Rewrite the table in one commit if it stores a column in fewer bits than declared.

        Delta writers cut appended values to the stored width. Rows and values stay the same, so a crash right
        after this commit does no harm.

        Args:
            connection: Connection that reads the rows.
            handle: The table in its current state; updated in place to its new state.

        Raises:
            LakeConflict: Another writer changed the table since `handle`.
            LakeError: The commit failed.
        """
        declared = {column.name: column.type for column in self.columns}
        stored = stored_columns(handle)
        columns = tuple(
            replace(column, type=Float(64))
            if column.type == Float(32) and declared.get(column.name) == Float(64)
            else column
            for column in stored
        )
        if columns == stored:
            return
        whole = replace(self, columns=columns)
        whole.create_view(connection, ["to be widened"], handle)
        read = connection.sql('FROM "to be widened"').to_arrow_reader(ROWS_PER_BATCH)
        schema = whole.arrow_schema
        rows = pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in read))
        whole.overwrite(handle, rows, stream=_WIDENED, version=handle.version() + 1)

    def upsert(
        self,
        handle: DeltaTable,
        rows: pa.Table,
        *,
        key: Sequence[str],
        stream: str,
        version: int,
        also: Mapping[str, int] | None = None,
    ) -> None:
        """Insert rows, and replace rows with the same key, in one commit.

        Raises:
            LakeConflict: Another writer changed the table since `handle`.
            LakeError: The commit failed.
        """
        from deltalake.exceptions import CommitFailedError, DeltaError

        self._refuse_shared(handle)
        predicate = " AND ".join(f"target.{quote(name)} = source.{quote(name)}" for name in key)
        try:
            merge = handle.merge(
                rows,
                predicate,
                source_alias="source",
                target_alias="target",
                writer_properties=writer_properties(),
                commit_properties=_commit_properties(stream, version, None, also=also),
            )
            with rows_from_python():
                merge.when_matched_update_all().when_not_matched_insert_all().execute()
        except CommitFailedError as error:
            raise _conflict(self.uri, version, error) from error
        except (DeltaError, OSError) as error:
            raise named_file_error(error) or LakeError(
                f"Writing to the lake table {self.uri} failed: {reason_in_short(error)}."
            ) from error

    def _write(
        self,
        handle: DeltaTable | None,
        rows: pa.RecordBatchReader | pa.Table,
        mode: str,
        stream: str,
        version: int,
        metadata: Mapping[str, str] | None,
        description: str | None = None,
        also: Mapping[str, int] | None = None,
    ) -> int:
        from deltalake import write_deltalake
        from deltalake.exceptions import CommitFailedError, DeltaError

        self._refuse_shared(handle)
        try:
            if self.is_local:
                Path(self.uri).mkdir(parents=True, exist_ok=True)
            where: dict[str, Any]
            if handle is None:
                # Creating a table fails if another writer has created it first.
                where = {
                    "table_or_uri": self.uri,
                    "mode": "error",
                    "name": self.format.table_name if self.format is not None else None,
                    "description": description,
                    "storage_options": self.storage_options(),
                    "configuration": table_properties(rows.schema),
                }
            elif mode == "overwrite":
                where = {"table_or_uri": handle, "mode": mode, "schema_mode": mode}
            else:
                self._refuse_other_columns(rows.schema.names)
                stored = {field.name for field in handle.schema().fields}
                is_own = self._appended.get(None) == handle.version()
                if not stored.issuperset(rows.schema.names) or (
                    not is_own and _ends_with_added_columns(handle)
                ):
                    self._announce_columns(handle, stream, version)
                is_whole = stored == set(rows.schema.names)
                where = {
                    "table_or_uri": handle,
                    "mode": mode,
                    "schema_mode": None if is_whole else "merge",
                }
            is_table = isinstance(rows, pa.Table)
            with contextlib.nullcontext() if is_table else rows_from_python():
                write_deltalake(
                    data=rows,
                    target_file_size=_BYTES_PER_FILE,
                    writer_properties=writer_properties(),
                    commit_properties=_commit_properties(
                        stream, version, metadata, is_next=handle is None or mode == "overwrite", also=also
                    ),
                    **where,
                )
        except CommitFailedError as error:
            raise _conflict(self.uri, version, error) from error
        except (DeltaError, OSError) as error:
            is_created_by_another = handle is None and "already exists" in str(error)
            if is_created_by_another or _OUTDATED in str(error):
                raise _conflict(self.uri, version, error) from error
            raise named_file_error(error) or LakeError(
                f"Writing to the lake table {self.uri} failed: {reason_in_short(error)}."
            ) from error
        written = handle if handle is not None else self.open()
        number = written.version() if written is not None else 0
        if mode == "append" and handle is not None:
            self._appended[None] = number
        return number

    def _announce_columns(self, handle: DeltaTable, stream: str, version: int) -> None:
        """Mark the table as having files with different columns, before the first file with a new column.

        The new columns are committed together with their rows. This commit only makes readers compare the
        columns of the files, so a write may safely fail between the two commits.

        Raises:
            LakeConflict: Another writer has committed to the stream since; this commit would hide that commit
                from the next one.
        """
        if _EVOLVED not in handle.metadata().configuration:
            handle.alter.set_table_properties({_EVOLVED: "true"}, raise_if_not_exists=False)
            if self.cursor(handle, stream) >= version:
                raise _conflict(self.uri, version, LakeError("the batch exists already"))

    def _refuse_other_columns(self, names: Sequence[str]) -> None:
        declared = [column.name for column in self.columns]
        if set(names) != set(declared):
            raise LakeError(
                f"Writing to the lake table {self.uri} failed: the rows have the columns {', '.join(names)}, "
                f"but {', '.join(declared)} are declared."
            )

    def create_view(
        self,
        connection: duckdb.DuckDBPyConnection,
        view: Sequence[str],
        handle: DeltaTable | None,
        *,
        batches: tuple[int, int] | None = None,
        only: Batches | None = None,
        temporary: bool = False,
    ) -> bool:
        """Create a DuckDB view of the table with the declared columns.

        Args:
            connection: Connection in which the view is created; the view lives as long as the connection.
            view: Qualified name of the view.
            handle: The table to read; None creates an empty view.
            batches: Only rows with first < `_batch` <= last; files outside this range are not opened.
            only: The batches to include. Files known to hold only other batches are skipped.
            temporary: Create a temporary view, outside the database that the connection has open.

        Returns:
            True if the view may contain rows of batches other than `only`.
        """
        condition = "" if batches is None else f" WHERE _batch > {batches[0]:d} AND _batch <= {batches[1]:d}"
        paths, is_mixed = self._paths(handle, batches, only) if handle is not None else ([], False)
        selected = columns_sql([column.name for column in self.columns])
        if not paths or handle is None:
            name = f"empty {self.uri}"
            connection.register(name, pa.Table.from_batches([], self.arrow_schema))
            source = quote(name)
        else:
            stored = {column.name for column in handle.schema().fields}
            selected = ", ".join(
                quote(column.name)
                if column.name in stored
                else f"CAST(NULL AS {stored_type(column.type)}) AS {quote(column.name)}"
                for column in self.columns
            )
            source = self._files_sql(connection, handle, paths)
        kind = "TEMP VIEW" if temporary else "VIEW"
        connection.execute(
            f"CREATE OR REPLACE {kind} {quote(*view)} AS SELECT {selected} FROM {source}{condition}"
        )
        return is_mixed

    def _files_sql(
        self, connection: duckdb.DuckDBPyConnection, handle: DeltaTable, paths: Sequence[str]
    ) -> str:
        """Return SQL for the rows in some of the table's files, with all columns of the table."""
        import duckdb

        if not self.is_local:
            name = f"lake {self.uri}"
            connection.register(name, dataset_of(handle))
            return quote(name)
        files = f"[{', '.join(literal(path) for path in paths)}]"
        columns = pa.schema(handle.schema().to_arrow())
        if _EVOLVED not in handle.metadata().configuration:
            plain = f"read_parquet({files})"
            try:
                connection.sql(f"SELECT {columns_sql(columns.names)} FROM {plain} LIMIT 0")
            except duckdb.BinderException:
                pass  # a column was added without rows, and no file has it yet
            else:
                return plain
        # Files written before a column was added lack the column. If all files are older, or the column's
        # first rows were never written, only the table's own schema has it.
        name = f"columns of {self.uri}"
        connection.register(name, columns.empty_table())
        return f"(FROM read_parquet({files}, union_by_name = true) UNION ALL BY NAME FROM {quote(name)})"

    def has_files_of_several_columns(self, handle: DeltaTable) -> bool:
        """Return True if files may lack columns that the table has."""
        return _EVOLVED in handle.metadata().configuration or _ends_with_added_columns(handle)

    def files(
        self, handle: DeltaTable, batches: tuple[int, int] | None = None, only: Batches | None = None
    ) -> tuple[list[str], bool]:
        """Return the paths or URIs of the files that may hold rows of some batches.

        Args:
            handle: The table.
            batches: As in `create_view`.
            only: As in `create_view`.

        Returns:
            The files, and True if they may also hold rows of batches other than `only`.
        """
        paths, is_mixed = self._paths(handle, batches, only)
        if not self.is_local:
            paths = [f"{self.uri}/{path.rpartition('/')[2]}" for path in paths]
        return paths, is_mixed

    def read_files(
        self, connection: duckdb.DuckDBPyConnection, handle: DeltaTable, paths: Sequence[str]
    ) -> str:
        """Return SQL for the rows of files, as `files` returns them, for this connection.

        A table in a bucket is read as a whole; its files are chosen by the conditions of the query.
        """
        return self._files_sql(connection, handle, paths)

    def _paths(
        self, handle: DeltaTable, batches: tuple[int, int] | None, only: Batches | None
    ) -> tuple[list[str], bool]:
        """Return the files to read, and True if they may contain rows of batches other than `only`."""
        actions = file_statistics(handle)
        names = actions.column("path").to_pylist()
        if "max._batch" not in actions.column_names:
            return [str(Path(self.uri) / name) for name in names], only is not None
        lows, highs = (actions.column(f"{side}._batch").to_pylist() for side in ("min", "max"))
        wanted, is_mixed = [], not self.is_local
        for name, low, high in zip(names, lows, highs, strict=True):
            is_known = low is not None and high is not None
            if is_known and batches is not None and (high <= batches[0] or low > batches[1]):
                continue
            if only is not None:
                if is_known and low == high and low not in only:
                    continue
                is_mixed = is_mixed or not is_known or not _holds_only(name, low, high, only)
            wanted.append(str(Path(self.uri) / name))
        return wanted, is_mixed and only is not None

    def scan(self, handle: DeltaTable | None, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """Stream the table, or some of its columns, as Arrow batches; all columns if none are declared."""
        from deltalake import QueryBuilder

        if handle is None:
            declared = self.arrow_schema
            names = columns or declared.names
            return pa.RecordBatchReader.from_batches(pa.schema([declared.field(name) for name in names]), [])
        stored, declared = pa.schema(handle.schema().to_arrow()), self.arrow_schema
        names = columns or declared.names or stored.names
        present = [name for name in names if name in stored.names]
        schema = pa.schema([(stored if name in present else declared).field(name) for name in names])
        # Avoids pyarrow.dataset, which imports pandas: half a second per tick.
        scanned = (
            QueryBuilder().register("scanned", handle).execute(f"SELECT {columns_sql(present)} FROM scanned")
        )

        def scanned_batches() -> Iterable[pa.RecordBatch]:
            try:
                yield from pa.RecordBatchReader.from_stream(scanned)
            except (pa.ArrowException, OSError) as error:
                raise self._unreadable(error) from error

        def batches() -> Iterable[pa.RecordBatch]:
            for batch in scanned_batches():
                arrays = [
                    # DataFusion returns text as string views, which some consumers of Arrow do not support.
                    batch[field.name].cast(field.type)
                    if field.name in present
                    else pa.nulls(batch.num_rows, field.type)
                    for field in schema
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        return pa.RecordBatchReader.from_batches(schema, batches())


def table_identity(handle: DeltaTable) -> str:
    """Return the identity of a table's rows: another one means that its earlier rows may have changed.

    It is the identity in the table's metadata, followed by the number of times that the rows were rebuilt.
    """
    times = handle.transaction_version(REBUILT) or 0
    return f"{handle.metadata().id}{_REBUILT_MARK}{times}" if times else str(handle.metadata().id)


def table_of_identity(identity: str) -> str:
    """Return the identity in a table's metadata that belongs to a `table_identity`."""
    return identity.partition(_REBUILT_MARK)[0]


def stored_columns(handle: DeltaTable) -> tuple[Column, ...]:
    """Return the stored columns of a table, with the logical types that correspond to the stored types."""
    fields = pa.schema(handle.schema().to_arrow())
    return tuple(Column(column.name, logical_type_of(column.type), "", nullable=True) for column in fields)


def file_statistics(handle: DeltaTable) -> pa.Table:
    """Return one row per file of a table: `path`, `min.<column>` and `max.<column>` from the Delta log."""
    return pa.RecordBatchReader.from_stream(handle.get_add_actions(flatten=True)).read_all()


def whole_batches_name(batches: int, name: str) -> str:
    """Return the name of a file that holds rows of so many batches, all of which count.

    Statistics say only the first and the last batch of a file. With the number of its batches, a reader knows
    that the file holds no others, and need not filter it row by row.
    """
    return f"batches-{batches}-{name}"


def _holds_only(name: str, first: int, last: int, batches: Batches) -> bool:
    """Return True if a file is known to hold only rows of some batches."""
    if last not in batches or first not in batches:
        return False
    if first == last:
        return True
    counted = _WHOLE_BATCHES.match(name)
    return counted is not None and int(counted[1]) == batches.count_between(first, last)


def _naive(type_: pa.DataType) -> pa.DataType:
    """Remove the time zone of a timestamp type; pyarrow imports pandas to convert values with a zone."""
    return pa.timestamp(type_.unit) if pa.types.is_timestamp(type_) else type_


@dataclass(frozen=True)
class ColumnStatistics:
    """Statistics of a column's values, known without reading them.

    Args:
        nulls: Number of NULLs.
        least: Smallest value that is not NULL, None if all are; a timestamp is UTC, without a time zone.
        greatest: Largest value that is not NULL, likewise.
    """

    nulls: int
    least: Any
    greatest: Any


def statistics_of_batch(handle: DeltaTable, batch: int) -> dict[str, ColumnStatistics]:
    """Return the statistics of one batch's rows by column, without the columns that have no statistics."""
    files = file_statistics(handle)
    if "min._batch" not in files.column_names:
        return {}
    spans = list(zip(files["min._batch"].to_pylist(), files["max._batch"].to_pylist(), strict=True))
    rows = [number for number, (first, last) in enumerate(spans) if first is None or first <= batch <= last]
    if any(spans[number] != (batch, batch) for number in rows):
        return {}
    found = {}
    for name in (name.removeprefix("null_count.") for name in files.column_names if "null_count." in name):
        counts, *sides = (
            _python_values(files, f"{side}.{name}", rows) for side in ("null_count", "min", "max")
        )
        if rows and None not in counts and not any(None in values for values in sides):
            found[name] = ColumnStatistics(sum(counts), min(sides[0]), max(sides[1]))
    return found


def _python_values(files: pa.Table, name: str, rows: Sequence[int]) -> list[Any]:
    """Return a column of some rows as Python values; None for dates beyond Python's years 1 to 9999."""
    if name not in files.column_names:
        return [None] * len(rows)
    column = files[name]
    column = column.cast(_naive(column.type))
    values = []
    for row in rows:
        try:
            values.append(column[row].as_py())
        except (OverflowError, ValueError):
            values.append(None)  # PostgreSQL has dates before the year 1 and after 9999
    return values


def non_empty(reader: pa.RecordBatchReader) -> pa.RecordBatchReader | None:
    """Return the same stream, or None if it has no rows, so that the caller can skip an empty commit."""
    for first in reader:
        if first.num_rows:

            def batches(first: pa.RecordBatch = first) -> Iterable[pa.RecordBatch]:
                yield first
                yield from reader

            return pa.RecordBatchReader.from_batches(reader.schema, batches())
    return None


def _ends_with_added_columns(handle: DeltaTable) -> bool:
    """Return whether the last commit added columns without rows, as failed writes did before version 0.2."""
    if _EVOLVED in handle.metadata().configuration:
        return False
    return any(commit.get("operation") == "ADD COLUMN" for commit in handle.history(1))


def table_properties(schema: pa.Schema) -> dict[str, str | None] | None:
    """Choose the columns of a new table that have statistics; None keeps the default, the first columns.

    In a bronze table `_batch` may follow any number of columns. Dates are left out, because they may be
    infinite and delta-rs panics on infinite dates. Only plain column names can be listed.
    """
    if HASH_COLUMN.name not in schema.names:
        return None
    listed = [
        field.name
        for field in schema
        if field.name != "_batch" and not pa.types.is_date(field.type) and _PLAIN_NAME.fullmatch(field.name)
    ]
    return {"delta.dataSkippingStatsColumns": ",".join(["_batch", *listed[: _COLUMNS_WITH_STATISTICS - 1]])}


def writer_properties(compression: Literal["SNAPPY", "ZSTD"] = "SNAPPY") -> WriterProperties:
    """Return how Parquet files are written.

    Every Parquet reader supports Snappy. Zstandard files are a quarter smaller, but a first load takes 5 %
    longer; Zstandard is for jobs that rewrite files which are kept.
    """
    from deltalake import WriterProperties

    return WriterProperties(
        compression=compression,
        max_row_group_size=_ROWS_PER_ROW_GROUP,
        dictionary_page_size_limit=_BYTES_OF_DICTIONARY,
        # Minimum and maximum values may be truncated: in full, a text of 200 MB would be stored three times.
        statistics_truncate_length=_BYTES_OF_STATISTICS,
    )


def _commit_properties(
    stream: str,
    version: int,
    metadata: Mapping[str, str] | None,
    *,
    is_next: bool = False,
    also: Mapping[str, int] | None = None,
) -> CommitProperties:
    from deltalake import CommitProperties, Transaction

    return CommitProperties(
        custom_metadata=dict(metadata) if metadata else None,
        app_transactions=[
            Transaction(stream, version),
            *(Transaction(*item) for item in (also or {}).items()),
        ],
        # delta-rs retries a lost first commit without checking the winner, so both commits would count.
        max_commit_retries=0 if is_next else _MOST_COMMIT_RETRIES,
    )


def _conflict(uri: str, version: int, error: Exception) -> LakeConflict:
    return LakeConflict(
        f"Batch {version} could not be committed to the lake table {uri}: another run wrote to it at the "
        f"same time ({reason_in_short(error)}). Nothing was committed; the next run does the work again."
    )


def named_file_error(error: BaseException) -> LakeError | None:
    """Return the error that names the file or folder at fault; None if it is unknown."""
    if damaged := lake_file_error(reason_in_short(error)):
        return damaged
    known = path_error(error) if isinstance(error, OSError) else None
    return LakeError(str(known)) if known and not isinstance(known, FullDisk) else None


def reason_in_short(error: BaseException) -> str:
    """Return the storage layer's error in one line: its chain of causes and the object store's message."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    text = re.sub(
        r"<\?xml.*?<Code>(.*?)</Code>.*?<Message>(.*?)</Message>.*", r"\1: \2", text, flags=re.DOTALL
    )
    lines = (line.strip() for line in re.split(r"↳|\n", text.partition("Traceback")[0]))
    # Drop the source positions of delta-rs (`3: <unknown>`, `at file.c:1:2`), which do not help the user.
    causes = [line for line in lines if line and not re.match(r"\d+: |at \S+:\d+", line)]
    return ": ".join(causes)[:_LONGEST_REASON].rstrip(".: ") or type(error).__name__
