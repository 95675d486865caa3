"""The files of a table, on local disk or in a bucket: what there is, reading, moving and removing."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow.fs as pafs

    from platform_assets.lake.delta import LakeTable

LOG = "_delta_log"
_REMOVALS_AT_ONCE = 8


@dataclass(frozen=True)
class StoredFile:
    """A file below a table's folder.

    Attributes:
        path: Its path from that folder.
        size: Its bytes.
        modified: When it was written, by the store's clock, UTC.
    """

    path: str
    size: int
    modified: dt.datetime


class TableStore:
    """The files below one table's folder.

    Args:
        table: The table.
    """

    def __init__(self, table: LakeTable) -> None:
        import pyarrow.fs as pafs
        from deltalake.fs import DeltaStorageHandler

        self._root = Path(table.uri) if table.is_local else None
        self._has_answered = table.is_local
        handler = DeltaStorageHandler(table.uri, table.storage_options())
        self.files: pafs.FileSystem = pafs.PyFileSystem(handler)

    def listed(self, folder: str = "", *, deep: bool = False) -> list[StoredFile]:
        """List the files of a folder; none if it does not exist."""
        import pyarrow.fs as pafs

        return [
            StoredFile(entry.path, entry.size, entry.mtime)
            for entry in self._entries(folder, deep=deep)
            if entry.type == pafs.FileType.File
        ]

    def folders(self, folder: str = "") -> list[str]:
        """List the names of the folders in a folder."""
        import pyarrow.fs as pafs

        found = self._entries(folder, deep=False)
        return [entry.base_name for entry in found if entry.type == pafs.FileType.Directory]

    def _entries(self, folder: str, *, deep: bool) -> list[pafs.FileInfo]:
        import pyarrow.fs as pafs

        if not self._has_answered:
            # A listing stops every other thread until the store has answered, because it keeps Python's lock:
            # for minutes if the store is out of reach. This question does not.
            self.files.get_file_info([LOG])
            self._has_answered = True
        found: list[pafs.FileInfo] = self.files.get_file_info(
            pafs.FileSelector(folder, recursive=deep, allow_not_found=True)
        )
        return found

    def move(self, path: str, to: str) -> None:
        """Give a file another path."""
        self.files.move(path, to)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; those that are gone already are passed over."""
        with ThreadPoolExecutor(_REMOVALS_AT_ONCE) as pool:
            list(pool.map(self._remove_one, paths))

    def _remove_one(self, path: str) -> None:
        try:
            self.files.delete_file(path)
        except FileNotFoundError:
            return

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it."""
        if self._root is not None:
            shutil.rmtree(self._root / folder, ignore_errors=True)
        else:
            self.remove(entry.path for entry in self.listed(folder, deep=True))
