"""Objects in S3 or Google Cloud Storage, by key or glob pattern, each in the version that was found."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from platform_assets.configuration.globs import fixed_part, glob_regex, has_wildcards
from platform_assets.delivery.interfaces import Bytes, DeliveryError, DestinationUnavailable, Rows
from platform_assets.delivery.sources.files import content_type_of
from platform_assets.errors import ObjectGone

if TYPE_CHECKING:
    from platform_assets.objects.bucket import Bucket, ObjectVersion

_CHUNK = 1024 * 1024


@dataclass
class ObjectSource:
    """Objects of a bucket, in the order of their keys.

    Args:
        address: `s3://bucket/key` or `gs://bucket/key`; the key may be a pattern, in which `**` stands for
            any number of parts.
        open_bucket: Opens the bucket, or a prefix in it, at an address.
        may_be_empty: True if a pattern may match nothing.
    """

    address: str
    open_bucket: Callable[[str], Bucket] = field(repr=False)
    may_be_empty: bool = False
    _found: list[ObjectVersion] | None = None

    def version(self) -> str | None:
        """See `DataSource.version`: keys with ETags or generations; the next `open` reads exactly these."""
        _, self._found = self._look()
        versions = [(object_.key, object_.version) for object_ in self._found]
        return hashlib.sha256(json.dumps(versions).encode()).hexdigest()[:16]

    @contextlib.contextmanager
    def open(self) -> Iterator[Iterator[Rows | Bytes]]:
        """See `DataSource.open`."""
        if self._found is None:
            bucket, found = self._look()
        else:
            bucket, found = self._bucket(), self._found
        self._found = None
        yield (
            Bytes(
                object_.key, _chunks(bucket, object_), object_.size, content_type=content_type_of(object_.key)
            )
            for object_ in found
        )

    def _look(self) -> tuple[Bucket, list[ObjectVersion]]:
        bucket, pattern = self._bucket(), self.address.removeprefix(f"{self._place}/")
        if not has_wildcards(pattern):
            one = bucket.find(pattern)
            if one is None:
                raise DeliveryError(f"There is no object {self.address}. Correct the address, or upload it.")
            return bucket, [one]
        matches = re.compile(glob_regex(pattern), re.DOTALL).fullmatch
        found = [object_ for object_ in bucket.objects() if matches(object_.key)]
        if not found and not self.may_be_empty:
            raise DeliveryError(
                f"No object matches {self.address}. Correct the address, or set may_be_empty = true."
            )
        return bucket, found

    def _bucket(self) -> Bucket:
        return self.open_bucket(self._place)

    @property
    def _place(self) -> str:
        """The bucket with the part of the key before the first wildcard, or before the last /."""
        scheme, _, rest = self.address.partition("://")
        bucket, _, key = rest.partition("/")
        fixed = fixed_part(key)
        return f"{scheme}://{bucket}/{fixed}" if fixed else f"{scheme}://{bucket}"


def _chunks(bucket: Bucket, found: ObjectVersion) -> Iterator[bytes]:
    size = 0
    try:
        with bucket.open(found) as stream:
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                yield chunk
    except ObjectGone as error:
        raise DestinationUnavailable(f"{error} The next attempt delivers what is there then.") from error
    if size != found.size:
        raise DestinationUnavailable(
            f"{found.uri} broke off: {size:,} of {found.size:,} bytes came. The next attempt reads it again."
        )
