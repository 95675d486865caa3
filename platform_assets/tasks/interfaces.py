"""The parts of the platform that a task may use, as interfaces that tests and users' own programs can fill.

Everything is connected to when it is used, and nothing of Dagster is in it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


class Queries(Protocol):
    """The databases of the platform: its sources and its warehouses, by name."""

    def open(self, database: str, sql: str) -> AbstractContextManager[pa.RecordBatchReader]:
        """Run one read-only query, and stream its rows.

        Args:
            database: Name of a source or of a warehouse.
            sql: The query, in that database's dialect.

        Raises:
            PlatformError: There is no such database, it cannot be reached, or it rejects the query.
        """
        ...

    def replace(self, warehouse: str, table: Sequence[str], rows: pa.RecordBatchReader) -> int:
        """Replace a table of a warehouse that is not part of the star schema, in one transaction.

        Args:
            warehouse: Name of the warehouse.
            table: Schema and table.
            rows: Its content.

        Returns:
            The number of rows written.

        Raises:
            PlatformError: There is no such warehouse, or it rejects the rows.
        """
        ...


@dataclass(frozen=True)
class Inspected:
    """Result of the inspection of one file.

    Attributes:
        path: The file.
        counts: Number of findings for each info type.
        problem: Why it could not be inspected in full; empty if it was.
    """

    path: Path
    counts: Mapping[str, int]
    problem: str = ""


class FileInspection(Protocol):
    """The inspection for sensitive data."""

    def inspect(self, files: Sequence[Path]) -> Sequence[Inspected]:
        """Inspect files with the configured inspector, each on its own.

        Raises:
            PlatformError: The inspector cannot be used as configured.
        """
        ...


@dataclass(frozen=True)
class FoundObject:
    """An object of a bucket, or a file of a watched folder.

    Attributes:
        uri: Its address.
        size: Its size in bytes.
        modified: When it was written, UTC.
    """

    uri: str
    size: int
    modified: dt.datetime


class Buckets(Protocol):
    """Folders and buckets."""

    def find(self, place: str, pattern: str) -> Sequence[FoundObject]:
        """Return the objects of a place whose keys match a pattern.

        Args:
            place: A folder's path, `s3://bucket/prefix` or `gs://bucket/prefix`.
            pattern: A pattern of keys below the place, such as `incoming/*.csv`.

        Raises:
            PlatformError: The place cannot be listed.
        """
        ...


class Alerts(Protocol):
    """Alerts to people, over the configured channels."""

    def send(self, key: str, severity: str, title: str, facts: Mapping[str, str]) -> None:
        """Keep an alert until the channels have taken it.

        Args:
            key: Identifies the subject; only one alert is sent for each key.
            severity: INFO, WARNING, ERROR or CRITICAL.
            title: The event, in a few words.
            facts: Further names and values to show.

        Raises:
            PlatformError: It cannot be stored.
        """
        ...


class Deliveries(Protocol):
    """Deliveries, and the data sources and destinations that they use."""

    def make(self, name: str, *, force: bool, report: Callable[[str], None]) -> Mapping[str, str]:
        """Make a delivery of the configuration.

        Args:
            name: Its name.
            force: Send it again although nothing has changed.
            report: Takes its progress, line by line.

        Returns:
            The status of each destination: `delivered` or `unchanged`.

        Raises:
            PlatformError: It cannot be made, or a destination failed.
        """
        ...

    def upload(self, files: Mapping[str, Path], destination: object) -> Mapping[str, int]:
        """Write files to a destination.

        Args:
            files: The files by their name at the destination.
            destination: The validated block of a destination.

        Returns:
            Bytes that were sent for each address; 0 where the destination had the file already.

        Raises:
            PlatformError: A file could not be written.
        """
        ...

    def download(self, source: object) -> AbstractContextManager[Iterator[tuple[str, Iterator[bytes]]]]:
        """Open the files of a data source: their names and their content, each read before the next.

        Args:
            source: The validated block of a data source.

        Raises:
            PlatformError: It cannot be read, or has rows instead of files.
        """
        ...
