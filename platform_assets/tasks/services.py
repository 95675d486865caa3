"""The parts of the rooms below that tasks use; each part is imported when it is used."""

from __future__ import annotations

import contextlib
import datetime as dt
import fnmatch
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from platform_assets.alert import Alert, RaisesAlerts, Severity
from platform_assets.errors import SettingsError
from platform_assets.isolation import ended, result_or_reason
from platform_assets.lake.assembly import LakeRoom
from platform_assets.rooms import Rooms
from platform_assets.source.assembly import SourceRoom
from platform_assets.tasks.interfaces import FoundObject, Inspected
from platform_assets.tasks.task import TaskError
from platform_assets.warehouse.assembly import WarehouseRoom

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.delivery.interfaces import MakesDeliveries


class RoomQueries:
    """The sources and warehouses of the platform.

    Args:
        rooms: The rooms.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    @contextlib.contextmanager
    def open(self, database: str, sql: str) -> Iterator[pa.RecordBatchReader]:
        """See `Queries.open`."""
        warehouses, sources = self._rooms.of(WarehouseRoom), self._rooms.of(SourceRoom)
        if database in warehouses.engines:
            with warehouses.warehouse(database).query(sql) as rows:
                yield rows
        elif database in sources.names:
            from platform_assets.source.query import open_query

            with open_query(sources.database(database, ()), sql) as rows:
                yield rows
        else:
            known = ", ".join((*warehouses.engines, *sources.names))
            raise SettingsError(f"There is no database {database} in the configuration; it has {known}.")

    def replace(self, warehouse: str, table: Sequence[str], rows: pa.RecordBatchReader) -> int:
        """See `Queries.replace`."""
        return self._rooms.of(WarehouseRoom).warehouse(warehouse).write(table, rows)


class RoomInspection:
    """The configured inspection for sensitive data.

    Args:
        rooms: The rooms.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def inspect(self, files: Sequence[Path]) -> Sequence[Inspected]:
        """See `FileInspection.inspect`."""
        self._rooms.require("dlp", "The inspection of files")
        from platform_assets.dlp.assembly import InspectionRoom
        from platform_assets.dlp.scan import scan_object
        from platform_assets.formats.content import Limits

        room = self._rooms.of(InspectionRoom)
        limits = Limits(memory=room.settings.dlp.inspect.memory_mb * 1024 * 1024)
        with room.open_inspector() as inspector:

            def inspect_file(file: Path) -> Inspected:
                with file.open("rb") as content:
                    found = scan_object(
                        content, str(file), inspector, size=file.stat().st_size, limits=limits
                    )
                counts = {name: tally.count for name, tally in found.tallies.items()}
                return Inspected(file, counts, found.reason)

            results = []
            for file in files:
                # An unexpected error's text may quote what is in the file.
                one = result_or_reason(inspect_file, file, tell_text=False)
                results.append(Inspected(file, {}, one) if isinstance(one, str) else one)
            return results


class RoomBuckets:
    """Local folders, and the buckets that the lake's credentials open.

    Args:
        rooms: The rooms.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def find(self, place: str, pattern: str) -> Sequence[FoundObject]:
        """See `Buckets.find`."""
        self._rooms.require("objects", "Looking for objects")
        from platform_assets.objects.places import open_bucket

        options = self._rooms.of(LakeRoom).storage_options() if "://" in place else {}
        bucket = open_bucket(place, options)
        if not any(sign in pattern for sign in "*?["):
            found = bucket.find(pattern)
            return [FoundObject(found.uri, found.size, found.modified)] if found is not None else []
        return [
            FoundObject(object_.uri, object_.size, object_.modified)
            for object_ in bucket.objects()
            if fnmatch.fnmatchcase(object_.key, pattern)
        ]


class RoomAlerts:
    """The alerts' outbox; without the alerts' room, an alert fails the task that sends it.

    Args:
        rooms: The rooms.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def send(self, key: str, severity: str, title: str, facts: Mapping[str, str]) -> None:
        """See `Alerts.send`."""
        room = next(self._rooms.offering(RaisesAlerts), None)
        if room is None:
            raise SettingsError(
                "Sending an alert needs the package platform_assets.alerts, which was removed."
            )
        digest = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        now = dt.datetime.now(dt.UTC)
        room.raise_alerts([Alert(digest, Severity[severity], title, now, facts=tuple(facts.items()))])


class RoomDeliveries:
    """The deliveries' room, and its data sources and destinations.

    Args:
        rooms: The rooms.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def make(self, name: str, *, force: bool, report: Callable[[str], None]) -> Mapping[str, str]:
        """See `Deliveries.make`."""
        result = self._room.make_delivery(name, force=force, report=report)
        if result.failures:
            reasons = " ".join(f"{name}: {ended(reason)}" for name, reason in result.failures.items())
            raise TaskError(f"The delivery {name} did not reach every destination. {reasons}")
        return {destination.destination: destination.status for destination in result.destinations}

    def upload(self, files: Mapping[str, Path], destination: object) -> Mapping[str, int]:
        """See `Deliveries.upload`."""
        return {upload.address: upload.sent for upload in self._room.upload(files, cast("Any", destination))}

    @contextlib.contextmanager
    def download(self, source: object) -> Iterator[Iterator[tuple[str, Iterator[bytes]]]]:
        """See `Deliveries.download`."""
        self._rooms.require("delivery", "Downloading files")
        from platform_assets.delivery.sources.settings import DataSourceSettings, build_source

        settings = DataSourceSettings.model_validate(source)
        with build_source(settings, "download", self._rooms).open() as found:
            yield map(_file, found)

    @property
    def _room(self) -> MakesDeliveries:
        self._rooms.require("delivery", "A delivery or an upload")
        from platform_assets.delivery.interfaces import MakesDeliveries

        return next(self._rooms.offering(MakesDeliveries))


def _file(found: object) -> tuple[str, Iterator[bytes]]:
    from platform_assets.delivery.interfaces import Bytes

    if not isinstance(found, Bytes):
        raise TaskError("This source has rows instead of files. Use the task sql, or a delivery.")
    return found.name, found.chunks
