"""Probes of a watch: listing its bucket, reading an object of it, and its queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from platform_assets.diagnosis import Observation, error, ok
from platform_assets.isolation import is_isolated, reason_of

if TYPE_CHECKING:
    from platform_assets.objects.bucket import Bucket
    from platform_assets.objects.events import Events


def look_at_bucket(bucket: Bucket) -> Iterator[Observation]:
    """Yield the findings about a watched folder or bucket: one object is listed, and its first byte read.

    Raises:
        ObjectsError: The bucket cannot be listed.
    """
    first = next(iter(bucket.objects("")), None)
    if first is None:
        yield ok("list", f"{bucket.uri} can be listed; it is empty")
        return
    yield ok("list", f"{bucket.uri} can be listed")
    try:
        with bucket.open(first) as content:
            content.read(1)
    except BaseException as failure:
        if not is_isolated(failure):
            raise
        advice = _READING.get(
            bucket.uri.partition("://")[0], "Give this user read access to the folder's files."
        )
        yield error("read", reason_of(failure, tell_text=False), advice.format(uri=bucket.uri))
    else:
        yield ok("read", "its objects can be read")


_READING = {
    "s3": "Grant s3:GetObject on the objects of {uri}, and kms:Decrypt on their key.",
    "gs": "Grant storage.objects.get on {uri}, as the role roles/storage.objectViewer has it.",
}


def look_at_queue(events: Events) -> Iterator[Observation]:
    """Yield a finding about the queue that tells of new objects; no message is taken from it.

    Raises:
        ObjectsError: The queue cannot be reached.
    """
    yield ok("queue", events.described())
