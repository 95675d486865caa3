"""Old versions of a table: which are still needed, and removal of the files and log entries of the others."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from platform_assets.lake.delta import file_statistics
from platform_assets.lake.log import batched
from platform_assets.lake.upkeep.store import LOG, StoredFile, TableStore

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from platform_assets.lake.interfaces import KeptTable

LONGEST_RUN = dt.timedelta(hours=6)
"""Longest time between writing a file and committing it; `dagster.yaml` ends runs after four hours."""

_ENTRY = re.compile(r"_delta_log/(\d{20})\.(json|crc|checkpoint\.parquet|checkpoint\.\d+\.\d+\.parquet)")
_LOOK_BACK = 100
_COMMITS_PER_CHECKPOINT = 20
_REMOVED_AT_ONCE = 400


@dataclass(frozen=True)
class Removed:
    """The versions and files that were removed, or would be.

    Attributes:
        files: Number of data files.
        size: Their bytes.
        entries: Number of files of the log.
    """

    files: int = 0
    size: int = 0
    entries: int = 0


@dataclass(frozen=True)
class Versions:
    """The versions of a table that its log can still show.

    Args:
        kept: The table.
        store: Its files.
        handle: The table in its current state.
    """

    kept: KeptTable
    store: TableStore
    handle: DeltaTable

    @cached_property
    def _entries(self) -> dict[int, list[StoredFile]]:
        """The files of the log by version."""
        found: dict[int, list[StoredFile]] = {}
        for log_entry in self.store.listed(LOG):
            if (entry := _ENTRY.fullmatch(log_entry.path)) is not None:
                found.setdefault(int(entry[1]), []).append(log_entry)
        return dict(sorted(found.items()))

    @property
    def current(self) -> int:
        """The number of the current version."""
        return int(self.handle.version())

    @property
    def count(self) -> int:
        """The number of versions in the log."""
        return sum(any(file.path.endswith(".json") for file in files) for files in self._entries.values())

    @cached_property
    def _checkpoints(self) -> list[int]:
        return [
            version
            for version, files in self._entries.items()
            if any(".checkpoint." in file.path for file in files)
        ]

    @property
    def readable_from(self) -> int:
        """The oldest version that the log can show."""
        return 0 if 0 in self._entries else min(self._checkpoints, default=self.current)

    def needed_since(self, cutoff: dt.datetime, in_use: Iterable[int] = ()) -> int:
        """Return the oldest version that is needed: the one at a time, or an older one that is in use.

        A version in use that the log cannot show any more is lost already, and holds nothing back.
        """
        committed = [
            version
            for version, files in self._entries.items()
            if version <= self.current
            and any(file.path.endswith(".json") and file.modified <= cutoff for file in files)
        ]
        oldest = max(committed, default=self.readable_from)
        oldest = min(
            [oldest, self.current, *(version for version in in_use if version >= self.readable_from)]
        )
        if self.kept.metadata:
            oldest = min(oldest, self._version_with_metadata())
        return oldest

    def _version_with_metadata(self) -> int:
        """Return the newest version whose commit has the metadata that readers look for."""
        for version in range(self.current, max(self.current - _LOOK_BACK, -1), -1):
            if self.kept.metadata in self.kept.table.commit_info(version):
                return version
        return 0

    def add_checkpoint(self) -> bool:
        """Write a checkpoint if many commits have come since the last one, so that opening stays fast."""
        newest = max(
            (checkpoint for checkpoint in self._checkpoints if checkpoint <= self.current), default=-1
        )
        if self.current - newest < _COMMITS_PER_CHECKPOINT:
            return False
        self.handle.create_checkpoint()
        return True

    def unneeded(
        self, oldest: int, cutoff: dt.datetime, longest_run: dt.timedelta
    ) -> tuple[Sequence[StoredFile], Sequence[StoredFile]]:
        """Return the data files and the log's files that no version from `oldest` on needs, oldest first.

        A file goes if it is neither in the current version nor in the oldest needed one, and is so old that
        it cannot have been committed since then, or by a writer that is still at work.
        """
        first = self.handle if oldest == self.current else self.kept.table.open_at(oldest)
        if first is None:
            return (), ()  # the log does not reach back to a version that is in use: nothing is known of it
        live = {path for handle in (self.handle, first) for path in _paths(handle)}
        began = [entry.modified for entry in self._entries.get(oldest, ()) if entry.path.endswith(".json")]
        limit = min([cutoff, *began]) - longest_run
        data = [
            file
            for file in self.store.listed(deep=True)
            if _is_data(file.path) and file.path not in live and file.modified < limit
        ]
        start = max((checkpoint for checkpoint in self._checkpoints if checkpoint <= oldest), default=0)
        entries = [
            file
            for version, files in self._entries.items()
            if version < start
            for file in files
            if file.modified < limit
        ]
        return sorted(data, key=lambda file: file.modified), entries

    def remove(
        self, data: Sequence[StoredFile], entries: Sequence[StoredFile], alive: Callable[[], None]
    ) -> Removed:
        """Remove files that `unneeded` has named, the oldest first.

        Args:
            data: Data files.
            entries: Files of the log.
            alive: Called between some hundred files; keeps the lock of upkeep.
        """
        paths = [entry.path for entry in (*entries, *data)]
        for some in batched(paths, _REMOVED_AT_ONCE):
            alive()
            self.store.remove(some)
        return Removed(len(data), sum(file.size for file in data), len(entries))


def _paths(handle: DeltaTable) -> set[str]:
    return set(file_statistics(handle)["path"].to_pylist())


def _is_data(path: str) -> bool:
    """Return True for data files; names that begin with an underscore or a dot belong to others."""
    return path.endswith(".parquet") and not any(part.startswith(("_", ".")) for part in path.split("/"))
