"""The watches of folders and buckets, from the settings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from platform_assets.configuration.stores import resolve_options
from platform_assets.diagnosis import Probe, ok
from platform_assets.errors import ObjectsError, SettingsError, path_error
from platform_assets.lake.assembly import LakeRoom
from platform_assets.objects.settings import ObjectsSettings, WatchSettings
from platform_assets.rooms import Assembly
from platform_assets.stored import OBJECT_LOG

if TYPE_CHECKING:
    from platform_assets.diagnosis import Observation
    from platform_assets.lake.interfaces import KeptTable
    from platform_assets.objects.bucket import Bucket, ObjectVersion
    from platform_assets.objects.events import Events
    from platform_assets.objects.watch import Watch
    from platform_assets.own_assets import AssetResources


class ObjectsRoom(Assembly[ObjectsSettings]):
    """The watched folders and buckets."""

    settings_class = ObjectsSettings

    def watch(self, name: str) -> Watch:
        """Return the watch of a folder or bucket, without looking for objects yet.

        Raises:
            ObjectsError: The store's client cannot be created.
            SettingsError: The watch does not exist, or a secret cannot be read.
        """
        from platform_assets.objects.log import LOG_COLUMNS, ObjectLog
        from platform_assets.objects.plan import BatchLimits
        from platform_assets.objects.watch import Watch

        given = self._watch_settings(name)
        self._create_folder(name)
        return Watch(
            name,
            self._bucket(name),
            ObjectLog(self.rooms.of(LakeRoom).processed_table(LOG_COLUMNS, OBJECT_LOG, "objects", name)),
            BatchLimits(
                objects_per_run=given.objects_per_run,
                attempts=given.attempts,
                sweep_every=dt.timedelta(minutes=given.sweep_every),
            ),
            _events(given),
        )

    def delta_tables(self) -> Iterator[KeptTable]:
        """See `HasDeltaTables.delta_tables`: the object log of each watch."""
        from platform_assets.objects.log import LOG_COLUMNS, ObjectLog

        lake = self.rooms.of(LakeRoom)
        for name in self.settings.watches:
            log = ObjectLog(lake.processed_table(LOG_COLUMNS, OBJECT_LOG, "objects", name))
            yield log.kept(name, partial(self._bucket, name), lake.retention.objects_days)

    def _bucket(self, watch: str) -> Bucket:
        from platform_assets.objects.places import open_bucket

        given = self._watch_settings(watch)
        return open_bucket(given.place, resolve_options(given.storage_options))

    def objects_of(self, watch: str) -> Iterator[ObjectVersion]:
        """Yield the objects that a watch's bucket has now.

        Raises:
            ObjectsError: The bucket cannot be listed completely.
        """
        return self._bucket(watch).objects("")

    def _watch_settings(self, name: str) -> WatchSettings:
        if name not in self.settings.watches:
            known = ", ".join(self.settings.watches) or "none"
            raise SettingsError(f"The configuration has no watch {name}; it has {known}.")
        return self.settings.watches[name]

    def probes(self) -> Iterator[Probe]:
        """See `HasProbes.probes`: the bucket and the queue of each watch."""
        for name, given in self.settings.watches.items():
            yield Probe(f"watch {name}", "bucket", partial(self._look_at_bucket, name))
            if given.queue is not None or given.subscription is not None:
                yield Probe(f"watch {name}", "queue", partial(_look_at_queue, given))

    def _look_at_bucket(self, watch: str) -> Iterator[Observation]:
        from platform_assets.objects.probes import look_at_bucket

        place = self._watch_settings(watch).place
        if "://" not in place and not Path(place).exists():
            yield ok("list", f"{place} does not exist yet; the first run creates it")
            return
        yield from look_at_bucket(self._bucket(watch))

    def asset_resources(self) -> AssetResources:
        """See `HasAssetResources.asset_resources`: `s3` and `gcs`, with the lake's storage options."""
        return {
            "s3": ("S3, as dagster-aws's S3Resource, with lake.storage_options", self._s3_resource),
            "gcs": (
                "Google Cloud Storage, as dagster-gcp's GCSResource, with lake.storage_options",
                self._gcs_resource,
            ),
        }

    def _s3_resource(self) -> object:
        from platform_assets.objects.resources import s3_resource

        return s3_resource(self.rooms.of(LakeRoom).storage_options())

    def _gcs_resource(self) -> object:
        from platform_assets.objects.resources import gcs_resource

        return gcs_resource(self.rooms.of(LakeRoom).storage_options())

    def create_folders(self) -> None:
        """Create the watched folders that are on this machine.

        Raises:
            ObjectsError: A folder cannot be created: the path is in use, or permission is missing.
        """
        for name in self.settings.watches:
            self._create_folder(name)

    def _create_folder(self, watch: str) -> None:
        place = self.settings.watches[watch].place
        if "://" in place:
            return
        try:
            Path(place).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ObjectsError(
                f"The folder {place}, watches.{watch}.place, cannot be made: {path_error(error) or error}"
            ) from error


ROOM = ObjectsRoom


def _look_at_queue(given: WatchSettings) -> Iterator[Observation]:
    from platform_assets.objects.probes import look_at_queue

    if (events := _events(given)) is not None:
        yield from look_at_queue(events)


def _events(given: WatchSettings) -> Events | None:
    bucket, _, prefix = given.place.partition("://")[2].partition("/")
    options = resolve_options(given.storage_options)
    if given.queue is not None:
        from platform_assets.objects.events import SqsEvents, sqs_client

        return SqsEvents(given.queue, bucket, prefix, sqs_client(options))
    if given.subscription is not None:
        from platform_assets.objects.events import PubSubEvents, pubsub_client

        return PubSubEvents(given.subscription, bucket, prefix, pubsub_client(options))
    return None
