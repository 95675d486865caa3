"""The first load of a large table in parts, which workers on other machines read and write into the lake.

The parts are ranges of the table's pages, and all of them see the snapshot of the batch: the run holds it
open until the last part is read. This module reads parts; who spreads them is behind `FirstLoader`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pyarrow as pa

from platform_assets.source.bulk import SharedSnapshot, read_part
from platform_assets.source.compare import BatchStamp
from platform_assets.source.scan import Scan

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from platform_assets.lake.delta import LakeTable


@dataclass(frozen=True)
class FirstLoad:
    """A table that the lake does not have yet; it can be pickled, and has the password of the source.

    Args:
        scan: The parts of the table.
        snapshot: The snapshot that they are read in.
        stamp: Adds the platform's columns.
        connections: Number of parts that may be read at the same time.
    """

    scan: Scan
    snapshot: SharedSnapshot = field(repr=False)
    stamp: BatchStamp = field(repr=False)
    connections: int = 2

    def rows(self, part: int) -> Iterator[pa.RecordBatch]:
        """Read a part, and yield its rows as bronze rows.

        Raises:
            SourceUnavailable: The server does not answer, or the snapshot is gone.
            SourceError: The server refused, or a value does not fit its declared type.
        """
        for batch in read_part(self.snapshot, self.scan, self.scan.queries[part]):
            yield from self.stamp.bronze(batch, "insert")


@dataclass(frozen=True)
class LoadTarget:
    """The table that takes the rows of a first load, and the commit that adds them.

    Args:
        table: The bronze table.
        handle: The table as it was read; None if it does not exist.
        stream: Name of the app transaction.
        version: Its version.
        metadata: Commit metadata.
    """

    table: LakeTable
    handle: DeltaTable | None
    stream: str
    version: int
    metadata: Mapping[str, str]


class FirstLoader(Protocol):
    """Workers that read the parts of a table and write them."""

    @property
    def parts(self) -> int:
        """Number of parts into which a table is split."""
        ...

    def load(self, load: FirstLoad, target: LoadTarget) -> int:
        """Read all parts, commit their rows at once, and return their number.

        Raises:
            PlatformError: A part cannot be read, or the rows cannot be written; nothing is committed.
        """
        ...


@runtime_checkable
class HasFirstLoader(Protocol):
    """A room that has workers for first loads."""

    def first_loader(self) -> FirstLoader | None:
        """Return the workers; None if they are not configured. Nothing is started."""
        ...
