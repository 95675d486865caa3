"""One interface to places that hold objects: a local folder, an S3 bucket, a GCS bucket."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from platform_assets.errors import ObjectsError
from platform_assets.isolation import Isolation

_BYTES_PER_READ = 1024 * 1024
_MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of one object.

    Attributes:
        uri: Its path, or `s3://bucket/name` or `gs://bucket/name`.
        key: Its name within what is watched: below the folder or the bucket's prefix, with `/`.
        version: What changes when it is overwritten: the ETag on S3, the generation on GCS, time, size and
            inode on local disk. It is the same however the object was noticed.
        size: Bytes.
        modified: When it was written, by the store's clock, UTC.
    """

    uri: str
    key: str
    version: str
    size: int
    modified: dt.datetime


class PartlyListed(ObjectsError):
    """Some of a place could not be listed; raised once all the rest was."""


def raise_if_partly_listed(uri: str, failing: Isolation) -> None:
    """Raise at the end of a listing what went wrong with some of it.

    Args:
        uri: What was listed.
        failing: The folders and objects that could not be.

    Raises:
        PartlyListed: There are such.
    """
    if failing.failures:
        told = " ".join(one.reason for one in failing.failures[:_MOST_TOLD])
        raise PartlyListed(
            f"{len(failing.failures):,} of what is in {uri} could not be listed; all else was. {told}"
        )


class Readable(Protocol):
    """A stream of bytes that is read from its start; not every store can seek."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, all that is left where it is negative; nothing at the end."""
        ...


@dataclass(frozen=True)
class ExplainedReader:
    """A stream whose errors are told in the platform's words.

    Args:
        source: The stream.
        explained: Gives a context that turns what a client raises into a `PlatformError`.
    """

    source: Readable
    explained: Callable[[], AbstractContextManager[None]]

    def read(self, size: int = -1, /) -> bytes:
        """See `Readable.read`."""
        with self.explained():
            return self.source.read(size)


class Bucket(Protocol):
    """A place that holds objects."""

    @property
    def uri(self) -> str:
        """What is watched: a folder's path, or a bucket and prefix as a URI; no slash at the end."""
        ...

    @property
    def is_atomic(self) -> bool:
        """Whether objects appear whole; a file is there while somebody still writes to it."""
        ...

    def objects(self, after: str = "") -> Iterator[ObjectVersion]:
        """The objects whose keys come after one, in the order of their keys' code points, page by page.

        Raises:
            ObjectsError: The place cannot be listed.
            ObjectsUnavailable: It does not answer now.
            PartlyListed: A part of it could not be; raised after the last of all the others.
        """
        ...

    def find(self, key: str) -> ObjectVersion | None:
        """The object of this key as it is now, None where there is none; raises as `objects` does."""
        ...

    def open(self, found: ObjectVersion) -> AbstractContextManager[Readable]:
        """Read this very version, as a stream.

        Raises:
            ObjectGone: It is not there any more: deleted, or overwritten.
            ObjectsError: It cannot be read.
            ObjectsUnavailable: The store does not answer now.
        """
        ...


def copy_to(bucket: Bucket, found: ObjectVersion, target: Path) -> None:
    """Copy one version of an object to a file; memory does not grow with its size.

    Raises:
        ObjectGone: It is not there any more, or was overwritten while it was read.
        ObjectsError: It cannot be read.
        ObjectsUnavailable: The store does not answer now, or stopped in the middle.
    """
    with bucket.open(found) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, _BYTES_PER_READ)


def open_bucket(place: str, options: Mapping[str, str] | None = None) -> Bucket:
    """The bucket or folder at a place.

    Args:
        place: A folder's path, `s3://bucket/prefix` or `gs://bucket/prefix`; the prefix may be missing.
        options: As `lake.storage_options`, secrets resolved. Vendors' own places are looked in for what is
            missing: environment, profile, metadata server.

    Raises:
        ObjectsError: The address is none of these.
    """
    scheme, separator, rest = place.partition("://")
    if not separator:
        from platform_assets.objects.folder import FolderBucket

        return FolderBucket(Path(place))
    name, _, prefix = rest.rstrip("/").partition("/")
    if name and scheme == "s3":
        from platform_assets.objects.s3 import S3Bucket, s3_client

        return S3Bucket(name, prefix, s3_client(options or {}))
    if name and scheme == "gs":
        from platform_assets.objects.gcs import GcsBucket, gcs_client

        return GcsBucket(name, prefix, gcs_client(options or {}))
    raise ObjectsError(
        f"{place} cannot be watched: objects are looked for in local folders, s3://bucket/prefix and "
        "gs://bucket/prefix."
    )
