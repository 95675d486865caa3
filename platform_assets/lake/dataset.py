"""A Delta table in a bucket as a dataset, which DuckDB reads.

Arrow reads the files of a dataset ahead, in threads of its own that call into Python. A query that ends
before its last row, by a LIMIT or an error, leaves such reads under way. An interpreter that ends meanwhile
stops their threads halfway, and then the process crashes, or waits for them for ever. So it waits for the
reads first.
"""

from __future__ import annotations

import atexit
import functools
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable
    from pyarrow.dataset import FileSystemDataset

# As long as delta-rs waits for an answer of the store.
_LONGEST = 30.0
# A thread that has closed a file still needs the interpreter for a moment, or goes on with the next file.
_AFTER_THE_LAST_FILE = 0.05
# Files that nobody reads for so long belong to a reader that somebody keeps.
_KEPT = 1.0


class _OpenFile:
    """An open file, which lives as long as somebody reads from it or is going to."""

    closed = False

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        self.close, self.seek, self.tell = file.close, file.seek, file.tell

    def read_buffer(self, size: int) -> pa.Buffer:
        _reads.begin()
        try:
            return self._file.read_buffer(size)
        finally:
            _reads.end()


class _Reads:
    """The open files of datasets, and the reads from them that are under way."""

    def __init__(self) -> None:
        self.files: weakref.WeakSet[_OpenFile] = weakref.WeakSet()
        self._threads: set[int] = set()
        self._last = 0.0

    def begin(self) -> None:
        self._threads.add(threading.get_ident())

    def end(self) -> None:
        self._last = time.monotonic()
        self._threads.discard(threading.get_ident())

    def wait(self) -> None:
        """Wait until no file is open, or none of them is read any more."""
        began = time.monotonic()
        had_files_at = read_at = began
        while (now := time.monotonic()) - began < _LONGEST:
            had_files_at = now if self.files else had_files_at
            read_at = now if self._threads else max(read_at, self._last)
            if now - had_files_at > _AFTER_THE_LAST_FILE or now - read_at > _KEPT:
                return
            time.sleep(_AFTER_THE_LAST_FILE / 10)


_reads = _Reads()


@functools.cache
def _wait_at_exit() -> None:
    atexit.register(_reads.wait)


def dataset_of(handle: DeltaTable) -> FileSystemDataset:
    """Return the files of a table as a dataset; the interpreter ends once nobody reads from them."""
    import pyarrow as pa

    _wait_at_exit()
    dataset = handle.to_pyarrow_dataset()
    handler: Any = dataset.filesystem.handler
    open_file = handler.open_input_file

    def open_watched(path: str) -> pa.PythonFile:
        file = _OpenFile(open_file(path))
        _reads.files.add(file)
        return pa.PythonFile(file, mode="r")

    handler.open_input_file = open_watched
    return dataset
