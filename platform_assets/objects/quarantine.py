"""Quarantine: move one version of an object to a restricted place, and never a newer version."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from platform_assets.errors import ObjectGone, ObjectsError
from platform_assets.objects.folder import FolderBucket
from platform_assets.objects.gcs import GcsBucket
from platform_assets.objects.gcs import explained as explained_by_gcs
from platform_assets.objects.s3 import S3Bucket, explained

if TYPE_CHECKING:
    from platform_assets.objects.bucket import Bucket, ObjectVersion

_TIMEOUT = 60


def quarantine(bucket: Bucket, found: ObjectVersion, place: str) -> str:
    """Move one version of an object to a place of the same kind, named by its key and a hash of its version.

    A version that was already moved is skipped, so that a repeat after a crash is safe.

    Args:
        bucket: The bucket of the object.
        found: The version.
        place: A folder, or `s3://bucket/prefix`, or `gs://bucket/prefix`.

    Returns:
        The new address.

    Raises:
        ObjectGone: The version was deleted or overwritten, and was not moved before.
        ObjectsError: The object cannot be moved.
        ObjectsUnavailable: The store does not answer now.
    """
    name = f"{found.key}.{hashlib.sha256(found.version.encode()).hexdigest()[:8]}"
    target = f"{place.rstrip('/')}/{name}"
    match bucket:
        case FolderBucket():
            _move_file(bucket, found, Path(target))
        case S3Bucket():
            _move_in_s3(bucket, found, target)
        case GcsBucket():
            _move_in_gcs(bucket, found, target)
        case _:
            raise ObjectsError(f"{found.uri} cannot be moved to {place}: its store is not known.")
    return target


def _move_file(bucket: FolderBucket, found: ObjectVersion, target: Path) -> None:
    there = bucket.find(found.key)
    if there is None or there.version != found.version:
        if target.is_file():
            return
        raise ObjectGone(f"{found.uri} cannot be moved: it was deleted or overwritten.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            os.replace(found.uri, target)
        except OSError:
            # The quarantine is on another file system: copy first, so that the file appears complete.
            part = target.with_name(f".{target.name}.part")
            shutil.copy2(found.uri, part)
            os.replace(part, target)
            os.unlink(found.uri)
    except OSError as error:
        raise ObjectsError(
            f"{found.uri} cannot be moved to {target.parent}: {error.strerror or error}. The platform has to "
            "be able to write to both folders."
        ) from error


def _parts(target: str) -> tuple[str, str]:
    bucket, _, key = target.partition("://")[2].partition("/")
    return bucket, key


def _move_in_s3(bucket: S3Bucket, found: ObjectVersion, target: str) -> None:
    from botocore.exceptions import ClientError

    name, key = _parts(target)
    source = found.uri.removeprefix(f"s3://{bucket.name}/")
    with explained(f"{found.uri} cannot be moved to {target}"):
        there = bucket.find(found.key)
        if there is None or there.version != found.version:
            try:
                bucket.client.head_object(Bucket=name, Key=key)
            except ClientError:
                raise ObjectGone(f"{found.uri} cannot be moved: it was deleted or overwritten.") from None
            return
        bucket.client.copy(
            {"Bucket": bucket.name, "Key": source},
            name,
            key,
            ExtraArgs={"CopySourceIfMatch": f'"{found.version}"'},
        )
        # Delete only this version: a newer one may have been written in the meantime.
        bucket.client.delete_object(Bucket=bucket.name, Key=source, IfMatch=f'"{found.version}"')


def _move_in_gcs(bucket: GcsBucket, found: ObjectVersion, target: str) -> None:
    name, key = _parts(target)
    generation = int(found.version)
    with explained_by_gcs(f"{found.uri} cannot be moved to {target}"):
        source = bucket.client.bucket(bucket.name)
        there = bucket.find(found.key)
        if there is None or there.version != found.version:
            if bucket.client.bucket(name).get_blob(key, timeout=_TIMEOUT) is None:
                raise ObjectGone(f"{found.uri} cannot be moved: it was deleted or overwritten.")
            return
        blob = source.blob(found.uri.removeprefix(f"gs://{bucket.name}/"), generation=generation)
        source.copy_blob(
            blob,
            bucket.client.bucket(name),
            key,
            source_generation=generation,
            if_source_generation_match=generation,
            timeout=_TIMEOUT,
        )
        blob.delete(if_generation_match=generation, timeout=_TIMEOUT)
