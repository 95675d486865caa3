"""Brings what was uploaded, and what its inspection allows, into the tables of feeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_assets.alerts.alert import mask_uri
from platform_assets.dlp.findings import FindingsStore
from platform_assets.dlp.uploads import object_id
from platform_assets.errors import FeedError
from platform_assets.objects.feeds.load import Loaded, Result, Upload
from platform_assets.objects.plan import Status

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.objects.feeds.feed import Feed
    from platform_assets.objects.feeds.load import Feeds
    from platform_assets.objects.watch import Watch

_WORKED = (Result.LOADED, Result.SETTLED, Result.GONE, Result.REFUSED)


@dataclass(frozen=True)
class Fed:
    """What a run did to a feed.

    Args:
        objects: Objects that were loaded.
        rows: Their rows.
        dead_letters: Rows of theirs that were set apart.
    """

    objects: int
    rows: int
    dead_letters: int


@dataclass(frozen=True)
class Feeding:
    """Loads one feed from its watch.

    Args:
        feeds: The tables of feeds.
        findings: What inspections decided.
        watch: Gives a watch by its name.
        feed: The feed.
    """

    feeds: Feeds
    findings: FindingsStore
    watch: Callable[[str], Watch]
    feed: Feed

    def load(self) -> Fed:
        """Load the objects of the feed that were inspected and are allowed, and not loaded yet.

        Raises:
            FeedError: An object has another layout, or cannot be read; what could be loaded is loaded.
            LakeConflict: Another run loaded into the feed at the same time.
        """
        feed, watch = self.feed, self.watch(self.feed.watch)
        pending = self.feeds.pending(feed, list(self._uploads(watch)))
        loaded = self.feeds.load(feed, watch.bucket, pending) if pending else []
        done = [one for one in loaded if one.result is Result.LOADED]
        left = [one for one in loaded if one.result not in _WORKED]
        if left:
            raise FeedError(_said(feed, left))
        return Fed(len(done), sum(one.rows for one in done), sum(one.dead_letters for one in done))

    def relation(self) -> pa.RecordBatchReader:
        """The rows of the feed that count now, streamed.

        Raises:
            FeedError: Nothing was loaded yet, and no columns are declared.
        """
        return self.feeds.relation(self.feed)

    def _uploads(self, watch: Watch) -> Iterator[Upload]:
        feed = self.feed
        decisions = self.findings.decisions(feed.watch)
        for entry in watch.log.read().with_status(Status.DONE):
            found = entry.object
            if not feed.takes(feed.watch, found.key):
                continue
            said = decisions.get((object_id(found.uri), found.version))
            decision, is_clean = said or (None, False)
            yield Upload(found, decision, found.key if is_clean else mask_uri(found.key), is_clean)


def _said(feed: Feed, left: Sequence[Loaded]) -> str:
    stopping = [one for one in left if one.result is Result.STOPPED] or left
    first = stopping[0]
    more = f" {len(left) - 1} more wait." if len(left) > 1 else ""
    return f"The feed {feed.name} did not take {first.upload.label}: {first.reason}{more}"
