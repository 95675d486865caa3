"""The threads and the memory of delta-rs, the library that reads and writes Delta tables.

delta-rs does all of its work in a few threads of its own, by default one for each processor. A thread that
reads the rows of a write from Python stands still for as long as Python needs for them: until it gets
Python's lock, and until the rows are made, for which Python may read other tables through delta-rs. Some
functions of delta-rs, such as those that list a folder or remove a file, keep Python's lock until the store
has answered. Once every thread waits for Python while Python waits for delta-rs, neither ever goes on. So a
lake in a bucket stood still in upkeep on a machine with one processor, and on one with two processors when
two threads wrote while a third listed a folder.

For this reason delta-rs has more threads than there are writes that read from Python, which
`rows_from_python` counts.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

WRITES_AT_ONCE = max(2, os.cpu_count() or 1)
"""The number of threads that may be in `rows_from_python`; each thread more costs 2.5 MB of memory."""
# More than one, because a thread that waits also holds up what it was to do next.
_FREE_THREADS = 2
# Return the memory of a commit to the system quickly. Otherwise it stays allocated until the process ends,
# in addition to the memory that DuckDB takes next.
_ALLOCATOR = "background_thread:true,dirty_decay_ms:200,muzzy_decay_ms:0"

_permits = threading.BoundedSemaphore(WRITES_AT_ONCE)

# Both are read when the library is first used, which happens after this module is imported.
os.putenv("_RJEM_MALLOC_CONF", _ALLOCATOR)
os.putenv("TOKIO_WORKER_THREADS", str(WRITES_AT_ONCE + _FREE_THREADS))


@contextlib.contextmanager
def rows_from_python() -> Iterator[None]:
    """Let delta-rs read rows from Python in this block.

    It waits while as many other threads are in such a block as delta-rs can serve, so the rows must not
    depend on what another thread writes.
    """
    with _permits:
        yield
