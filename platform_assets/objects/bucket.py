"""The interface of places that hold objects: a local folder, an S3 bucket, a GCS bucket."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from platform_assets.errors import ObjectsError
from platform_assets.isolation import Isolation

_MOST_REASONS = 5


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of one object.

    Attributes:
        uri: Its path, or `s3://bucket/name` or `gs://bucket/name`.
        key: Its path relative to the watched folder or bucket prefix, with `/`.
        version: Changes when the object is overwritten: the ETag on S3, the generation on GCS, time, size and
            inode on local disk. Events and listings give the same version.
        size: Size in bytes.
        modified: When it was written, by the store's clock, UTC.
    """

    uri: str
    key: str
    version: str
    size: int
    modified: dt.datetime


class PartlyListed(ObjectsError):
    """Parts of a place could not be listed; raised after the rest was listed."""


def raise_if_partly_listed(uri: str, failing: Isolation) -> None:
    """Raise an error at the end of a listing if parts of it failed.

    Args:
        uri: The listed place.
        failing: The folders and objects that could not be listed.

    Raises:
        PartlyListed: Some parts failed.
    """
    if failing.failures:
        reasons = " ".join(failure.reason for failure in failing.failures[:_MOST_REASONS])
        raise PartlyListed(
            f"{len(failing.failures):,} objects or folders in {uri} could not be listed; all others were. "
            f"{reasons}"
        )


class Readable(Protocol):
    """A stream of bytes that is read from its start; not every store supports seeking."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, or everything left if it is negative; empty at the end."""
        ...


@dataclass(frozen=True)
class ExplainedReader:
    """A stream that translates the client's errors to the platform's errors.

    Args:
        source: The stream.
        explained: Returns a context manager that translates a client's errors to `PlatformError`.
    """

    source: Readable
    explained: Callable[[], AbstractContextManager[None]]

    def read(self, size: int = -1, /) -> bytes:
        """See `Readable.read`."""
        with self.explained():
            return self.source.read(size)


@dataclass(frozen=True)
class RemoteBucket:
    """A bucket, or a prefix in it, that is read through a client.

    Args:
        name: The bucket's name.
        prefix: The watched prefix, without a slash at either end; empty means the whole bucket.
        client: The store's client.
        page: Number of objects requested at once.
    """

    name: str
    prefix: str
    client: Any = field(repr=False)
    page: int = 1_000
    scheme: ClassVar[str]

    @property
    def uri(self) -> str:
        """See `Bucket.uri`."""
        return f"{self.scheme}://{self.name}/{self.prefix}".rstrip("/")

    @property
    def is_atomic(self) -> bool:
        """See `Bucket.is_atomic`."""
        return True

    @property
    def start(self) -> str:
        """The beginning of the names of all watched objects."""
        return f"{self.prefix}/" if self.prefix else ""


class Bucket(Protocol):
    """A place that holds objects."""

    @property
    def uri(self) -> str:
        """The watched place: a folder's path, or the URI of a bucket and prefix; no slash at the end."""
        ...

    @property
    def is_atomic(self) -> bool:
        """True if objects appear complete; a local file is visible while it is still being written."""
        ...

    def objects(self, after: str = "") -> Iterator[ObjectVersion]:
        """The objects whose keys come after a given key, in code point order of their keys, page by page.

        Raises:
            ObjectsError: The place cannot be listed.
            ObjectsUnavailable: The store does not answer now.
            PartlyListed: Parts of the place could not be listed; raised after all other objects.
        """
        ...

    def find(self, key: str) -> ObjectVersion | None:
        """The object of a key as it is now, or None; raises as `objects` does."""
        ...

    def open(self, found: ObjectVersion) -> AbstractContextManager[Readable]:
        """Open exactly this version as a stream.

        Raises:
            ObjectGone: The version was deleted or overwritten.
            ObjectsError: The object cannot be read.
            ObjectsUnavailable: The store does not answer now.
        """
        ...
