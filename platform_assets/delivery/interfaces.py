"""The interfaces of deliveries: data sources, renderers and writers, and what passes between them.

A source yields rows or files. Renderers turn them into files, which are staged on local disk, so that every
destination receives the same bytes and a broken transfer can be resumed. Writers take one staged file to one
destination. This module imports no library of a store or a protocol.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from platform_assets.errors import PlatformError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


class DeliveryError(PlatformError):
    """A delivery cannot be made as configured: an unknown host key, a refused password, a missing file."""


class DestinationUnavailable(DeliveryError):
    """A destination or a source did not answer, or the transfer broke off.

    Attributes:
        wait: Seconds that the other side asks to wait before the next attempt; None if it names none.
    """

    retryable = True

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class NothingToDeliver(DeliveryError):
    """The source of a delivery has no file."""


@dataclass(frozen=True)
class Query:
    """A query that DuckDB has not run yet.

    Attributes:
        connection: The connection that can run it.
        sql: The query.
        types: DuckDB's names of its columns' types.
    """

    connection: duckdb.DuckDBPyConnection
    sql: str
    types: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """A stream of rows.

    Attributes:
        name: Name for the file that is made of them, without suffix.
        batches: The rows; read once, in order.
        query: A query with the same rows, for a renderer that has DuckDB write its file; read in place of
            the batches. None where rows are changed on the way, or were read already.
    """

    name: str
    batches: pa.RecordBatchReader
    query: Query | None = None


@dataclass(frozen=True)
class Bytes:
    """A stream of bytes: the content of a file.

    Attributes:
        name: Name of the file, with its suffix and without folders.
        chunks: Its content; read once, in order.
        size: Size in bytes, if known.
        path: The file on local disk that has this content. It belongs to the source or to the renderer: copy
            it instead of reading the chunks if that is cheaper, never move or change it.
        row_count: Returns the number of rows in it, None if unknown. A renderer knows it once the last chunk
            was read.
        content_type: Its media type.
    """

    name: str
    chunks: Iterator[bytes]
    size: int | None = None
    path: Path | None = None
    row_count: Callable[[], int | None] = lambda: None
    content_type: str = "application/octet-stream"


@runtime_checkable
class DataSource(Protocol):
    """The data of a delivery.

    A source with an attribute `may_be_empty` that is true may have no file: nothing is delivered then.
    """

    def version(self) -> str | None:
        """Return a text that changes when the data changes, without reading all of it.

        A version of a Delta table, an ETag, size and modification time of files, a hash of a text.

        Returns:
            None if only reading the data can tell.

        Raises:
            PlatformError: The data cannot be reached.
        """
        ...

    def open(self) -> AbstractContextManager[Iterator[Rows | Bytes]]:
        """Open the data: one stream of rows, or one or more files, each read before the next is asked for.

        Raises:
            PlatformError: The data cannot be read.
        """
        ...


@dataclass(frozen=True)
class Stamp:
    """The identity of one delivery of one version of its data; fixed before anything is rendered.

    A repeat of an interrupted delivery has the same stamp, so that rendering gives the same names, and with
    most renderers the same bytes.

    Attributes:
        delivery: Name of the delivery.
        title: Its title.
        generator: Name and version of the program.
        uuid: Identifies this delivery, as text.
        at: The time of its first attempt, UTC.
        version: The version of its data.
    """

    delivery: str
    title: str
    generator: str
    uuid: str
    at: dt.datetime
    version: str


@dataclass(frozen=True)
class StagedFile:
    """A rendered file, ready to be sent.

    Attributes:
        path: Where it is on local disk.
        name: Its name at the destination; may have folders, separated by `/`.
        size: Size in bytes.
        sha256: Its checksum, hexadecimal.
        md5: Another checksum, hexadecimal; some stores know no other.
        rows: Number of rows in it, if known.
        content_type: Its media type.
        stamp: The delivery that it is part of.
    """

    path: Path
    name: str
    size: int
    sha256: str
    md5: str
    rows: int | None
    content_type: str
    stamp: Stamp

    @property
    def metadata(self) -> dict[str, str]:
        """Title, generator, uuid, timestamp, row count and checksum, as stored beside or with the file."""
        return {
            "title": self.stamp.title,
            "generator": self.stamp.generator,
            "uuid": self.stamp.uuid,
            "timestamp": self.stamp.at.astimezone(dt.UTC).isoformat(timespec="seconds"),
            **({"rows": str(self.rows)} if self.rows is not None else {}),
            "sha256": self.sha256,
        }


@dataclass(frozen=True)
class Receipt:
    """Proof that a destination has a file.

    Attributes:
        address: The address of the file, without credentials.
        size: Size in bytes, as the destination reports it.
        verified_by: How the content was verified: `sha256`, `md5`, `size`, ... and `accepted` where the
            protocol only says that it was accepted.
        sent: Bytes that were sent now: less than the size where a broken transfer was resumed, 0 where the
            destination had the file already.
        facts: Further names and values, such as a version id or a message id.
    """

    address: str
    size: int
    verified_by: str
    sent: int
    facts: Mapping[str, str] = field(default_factory=dict)


Progress = Callable[[int], None]
"""Takes the number of further bytes that the destination has: those sent now, and those that it had already;
negative where bytes must be sent again. When a write has succeeded, the sum is the file's size."""


class Writer(Protocol):
    """A destination.

    Args to implementations come from their block of the configuration; connections are opened by `open`.
    """

    @property
    def address(self) -> str:
        """The destination's address for people, without credentials."""
        ...

    def open(self) -> AbstractContextManager[Transfer]:
        """Connect; the files of one delivery share the connection.

        Raises:
            DeliveryError: The destination refuses the connection: credentials, host key, certificate.
            DestinationUnavailable: It does not answer.
        """
        ...

    def link(self, file: StagedFile, expires: dt.timedelta) -> str | None:
        """Return a link with which people fetch a delivered file until it expires; None if there is none."""
        ...


class Transfer(Protocol):
    """A connection to a destination."""

    def write(self, file: StagedFile, progress: Progress) -> Receipt:
        """Write a file under its final name, or resume an interrupted write of the same file, and verify it.

        Nobody sees half a file under its final name. A destination that has the same file already is left
        alone: the same bytes (by checksum, or by size where it knows no checksum), and where metadata are
        kept with the file, the same uuid in them.

        Raises:
            DeliveryError: The destination refuses the file.
            DestinationUnavailable: The transfer broke off, or the destination has other bytes than were sent.
        """
        ...


class Renderer(Protocol):
    """Turns rows or files into files."""

    def render(self, content: Iterator[Rows | Bytes], stamp: Stamp) -> Iterator[Bytes]:
        """Yield the rendered files, each read before the next is asked for.

        Raises:
            DeliveryError: The content cannot be rendered as configured, such as too many rows for a sheet.
        """
        ...


@dataclass(frozen=True)
class TaskOutput:
    """The output of a task.

    Attributes:
        version: Changes when the task makes other output.
        files: The files, on local disk.
    """

    version: str
    files: Sequence[Path]


@runtime_checkable
class HasTaskOutputs(Protocol):
    """A room whose tasks make files that can be delivered."""

    def task_names(self) -> Sequence[str]:
        """Return the names of the tasks, as `file/task`."""
        ...

    def task_output(self, name: str) -> TaskOutput | None:
        """Return the latest output of a task; None before its first success."""
        ...


@dataclass(frozen=True)
class DestinationResult:
    """The result of a delivery at one destination.

    Attributes:
        destination: Name of the destination in the delivery's file.
        status: `delivered` now; `unchanged`, as it had the same version already; `failed`; `planned` in a dry
            run.
        address: The destination's address for people, without credentials.
        receipts: The receipts of the files that it has got now.
        reason: Why it failed; empty otherwise.
    """

    destination: str
    status: Literal["delivered", "unchanged", "failed", "planned"]
    address: str
    receipts: tuple[Receipt, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class DeliveryResult:
    """The result of a delivery.

    Attributes:
        stamp: What identifies it.
        files: The rendered files; empty if nothing had to be rendered.
        destinations: The result of each destination, in the order of the delivery's file.
    """

    stamp: Stamp
    files: tuple[StagedFile, ...]
    destinations: tuple[DestinationResult, ...]

    @property
    def failures(self) -> dict[str, str]:
        """The reason of each destination that failed; empty if every destination has the files."""
        return {
            destination.destination: destination.reason
            for destination in self.destinations
            if destination.status == "failed"
        }


@runtime_checkable
class MakesDeliveries(Protocol):
    """A room that makes deliveries for others, such as for tasks."""

    def delivery_names(self) -> Sequence[str]:
        """Return the names of the deliveries whose files are valid."""
        ...

    def make_delivery(
        self, name: str, *, force: bool = False, report: Callable[[str], None] = print
    ) -> DeliveryResult:
        """Make a delivery; destinations that have the current version are left alone.

        Args:
            name: Its name.
            force: Send it again although nothing has changed.
            report: Receives progress, line by line.

        Raises:
            PlatformError: There is no such delivery, its data cannot be read or rendered, or another run is
                making it. A destination that fails is part of the result.
        """
        ...

    def upload(self, files: Mapping[str, Path], destination: Mapping[str, object]) -> Sequence[Receipt]:
        """Write files of this machine to a destination, with the attempts of the configuration.

        Args:
            files: The files by their name at the destination.
            destination: The destination's block as in a delivery's file: `address`, and its options.

        Raises:
            PlatformError: The block has mistakes, or a file could not be written.
        """
        ...
