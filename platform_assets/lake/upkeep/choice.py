"""The choice of files to merge: few rewritten bytes, few files, neighbours only.

Files are ordered by batch. A file is merged with the newer ones as long as it is not larger than all of them
together, so sizes double from file to file: a row is rewritten about as often as sizes double up to the
target, and the number of files grows with the logarithm of the table.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platform_assets.lake.delta import file_statistics

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from platform_assets.lake.interfaces import KeptTable

_TARGET = 64 * 1024 * 1024
_SMALL = 256 * 1024
"""Files up to this size are always merged with the newer ones."""
_WORTH_COMPRESSING = 1024 * 1024
_COMPRESSED = ".zstd."
_FAIRLY_MANY = 40
"""With more files than this, two files are enough for a merge."""


@dataclass(frozen=True)
class DataFile:
    """A file of a table.

    Attributes:
        path: Its path from the table's folder.
        size: Its bytes.
        rows: Its rows.
        first: Its first batch; None without statistics.
        last: Its last batch.
        modified: When it was added, UTC.
    """

    path: str
    size: int
    rows: int
    first: int | None
    last: int | None
    modified: dt.datetime

    @property
    def is_full(self) -> bool:
        """True if the file is too large to be merged."""
        return self.size >= _TARGET // 2

    @property
    def is_small(self) -> bool:
        """True if the file is one of those that upkeep merges first."""
        return self.size <= _SMALL


def data_files(handle: DeltaTable) -> list[DataFile]:
    """Return the files of a table, the oldest batch first."""
    actions = file_statistics(handle)
    rows: dict[str, list[Any]] = {
        name: actions[name].to_pylist() if name in actions.column_names else [None] * actions.num_rows
        for name in ("path", "size_bytes", "num_records", "min._batch", "max._batch", "modification_time")
    }
    files = [
        DataFile(path, size, count or 0, first, last, dt.datetime.fromtimestamp(modified / 1000, dt.UTC))
        for path, size, count, first, last, modified in zip(*rows.values(), strict=True)
    ]
    return sorted(files, key=lambda file: (file.first or 0, file.last or 0, file.modified, file.path))


def mergeable(files: Sequence[DataFile], kept: KeptTable) -> list[DataFile]:
    """Return the files that may be rewritten: not those of batches that are under way, or never counted."""
    if kept.whole_batches is None:
        return list(files)
    last, batches = kept.whole_batches()
    return [
        file
        for file in files
        if file.first is not None
        and file.last is not None
        and file.last <= last
        and (file.first != file.last or file.first in batches)
    ]


def chosen(files: Sequence[DataFile], least: int, cold_before: dt.datetime) -> list[list[DataFile]]:
    """Return groups of neighbouring files, each of which is worth being rewritten as one file.

    Args:
        files: The files, the oldest batch first.
        least: The least number of files in a group.
        cold_before: A large file of a tick that is older than this is rewritten alone, to compress it better.
    """
    least = 2 if len(files) > _FAIRLY_MANY else least
    groups: list[list[DataFile]] = []
    group: list[DataFile] = []
    total = 0

    def close() -> None:
        nonlocal group, total
        if len(group) >= least or (len(group) == 1 and _is_worth_compressing(group[0], cold_before)):
            groups.append(group[::-1])
        group, total = [], 0

    for file in reversed(files):
        fits = not file.is_full and total + file.size <= _TARGET
        if group and not (fits and (file.is_small or file.size <= total)):
            close()
        group.append(file)
        total += file.size
        if file.is_full:
            close()
    close()
    return groups[::-1]


def _is_worth_compressing(file: DataFile, cold_before: dt.datetime) -> bool:
    """Return True for a large old file of a tick: ticks compress less, because they have to be fast."""
    return file.size >= _WORTH_COMPRESSING and _COMPRESSED not in file.path and file.modified < cold_before
