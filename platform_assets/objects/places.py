"""Places that are watched: which kind of bucket an address names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from platform_assets.errors import ObjectsError

if TYPE_CHECKING:
    from platform_assets.objects.bucket import Bucket


def open_bucket(place: str, options: Mapping[str, str] | None = None) -> Bucket:
    """Open the bucket or folder at a place.

    Args:
        place: A folder's path, `s3://bucket/prefix` or `gs://bucket/prefix`; the prefix may be missing.
        options: As `lake.storage_options`, with secrets resolved. Missing options come from where the
            vendors' tools look: environment, profile, metadata server.

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
        f"{place} cannot be watched. Watch a local folder, s3://bucket/prefix or gs://bucket/prefix."
    )
