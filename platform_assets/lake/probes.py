"""Probes of the lake: the permissions in both zones, and tables that belong to nothing.

Permissions are tried with a small file of its own, which is removed again. The names of the permissions are
those of the AWS Service Authorization Reference for S3, and of Google's IAM permissions for Cloud Storage.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platform_assets.diagnosis import Observation, error, ok, warning
from platform_assets.isolation import is_isolated
from platform_assets.lake.delta import reason_in_short

if TYPE_CHECKING:
    from platform_assets.lake.lake import Lake

_FOLDER = "_doctor"
_SKEW = dt.timedelta(seconds=60)
_MOST_NAMED = 10
_DENIED = re.compile(
    r"AccessDenied|Forbidden|\b403\b|PermissionDenied|Unauthenticated|\b401\b", re.IGNORECASE
)


@dataclass(frozen=True)
class _Permission:
    """A permission, by its names at each vendor; `on` is what it is granted on."""

    verb: str
    aws: str
    google: str
    on_bucket: bool = False


_LIST = _Permission("list", "s3:ListBucket", "storage.objects.list", on_bucket=True)
_WRITE = _Permission("write", "s3:PutObject", "storage.objects.create")
_READ = _Permission("read", "s3:GetObject", "storage.objects.get")
_REMOVE = _Permission("remove", "s3:DeleteObject", "storage.objects.delete")


def look_at_zone(lake: Lake, zone: str) -> Iterator[Observation]:
    """Yield the findings about the permissions in a zone: list, write, read, remove; and about its clock.

    Args:
        lake: The lake.
        zone: `ingestion` or `processed`.
    """
    place = lake.path(zone)
    if "://" not in place:
        yield _local(zone, Path(place))
        return
    import pyarrow as pa
    from deltalake import DeltaTable, write_deltalake

    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.upkeep.store import TableStore

    name = f"{_FOLDER}/{uuid.uuid4().hex}"
    table = LakeTable(f"{place}/{name}", (), lake.storage_options)
    store = TableStore(table)

    def write() -> None:
        # A table, because a bucket also has to refuse the second of two commits of the same number.
        write_deltalake(table.uri, pa.table({"id": [1]}), storage_options=table.storage_options())

    def read() -> None:
        DeltaTable(table.uri, storage_options=table.storage_options()).to_pyarrow_table()

    steps: list[tuple[_Permission, Callable[[], object]]] = [
        (_LIST, store.listed),
        (_WRITE, write),
        (_READ, read),
        (_REMOVE, lambda: store.remove_folder("")),
    ]
    failed, written_at = False, None
    for permission, step in steps:
        try:
            step()
            if permission is _WRITE:
                written_at = max((file.modified for file in store.listed(deep=True)), default=None)
        except BaseException as failure:
            if not is_isolated(failure):
                raise
            failed = True
            more = f"The folder {table.uri} stays there." if permission is _REMOVE else ""
            yield _refused(zone, place, permission, failure, more)
            if permission in (_LIST, _WRITE):
                # Without these, the errors of the other steps would say nothing new.
                break
    if not failed:
        yield ok(zone, f"{place}: list, write, read and remove are permitted")
    if written_at is not None:
        skew = abs(written_at - dt.datetime.now(dt.UTC))
        if skew > _SKEW:
            sentence = f"the store's clock differs from this machine's by {skew.total_seconds():.0f} s"
            yield warning(f"{zone}: clock", sentence, "Synchronize this machine's clock by NTP.")


def _refused(
    zone: str, place: str, permission: _Permission, failure: BaseException, more: str = ""
) -> Observation:
    reason = reason_in_short(failure)
    sentence = f"{place}: files cannot be {_PAST[permission.verb]}: {reason} {more}".rstrip()
    if not _DENIED.search(str(failure)):
        return error(
            zone, sentence, "Check the address, the region and the endpoint in lake.storage_options."
        )
    scheme, _, rest = place.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme == "gs":
        return error(zone, sentence, f"Grant {permission.google} on the bucket {bucket} to this account.")
    resource = f"arn:aws:s3:::{bucket}"
    if not permission.on_bucket:
        resource += f"/{prefix}/*" if prefix else "/*"
    statement = json.dumps({"Effect": "Allow", "Action": permission.aws, "Resource": resource})
    return error(zone, sentence, f"Add to the role's policy: {statement}")


_PAST = {"list": "listed", "write": "written", "read": "read", "remove": "removed"}


def _local(zone: str, folder: Path) -> Observation:
    if not folder.exists():
        there = folder
        while not there.exists():
            there = there.parent
        if os.access(there, os.W_OK):
            return ok(zone, f"{folder} does not exist yet; the first run creates it")
        return error(
            zone, f"{folder} cannot be created in {there}", f"Give this user write access to {there}."
        )
    if not folder.is_dir():
        return error(zone, f"{folder} is no folder", "Correct lake." + zone + " in the configuration.")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return error(
            zone, f"{folder} cannot be read and written", f"Give this user access: chown or chmod {folder}."
        )
    return ok(zone, f"{folder} can be read and written")


def look_for_orphans(lake: Lake, known: Callable[[], Collection[str]]) -> Iterator[Observation]:
    """Yield a finding about tables in the lake that belong to nothing in the configuration.

    Args:
        lake: The lake.
        known: Returns the addresses of the tables that do.
    """
    addresses = set(known())
    names = sorted(
        f"{zone}/{path}" for zone, path, table in lake.found_tables() if table.uri not in addresses
    )
    if not names:
        yield ok("tables", "every table belongs to a source, a model or a room")
        return
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    yield warning(
        "tables",
        f"these belong to nothing in the configuration: {', '.join(names[:_MOST_NAMED])}{more}",
        "Your own assets' tables may stay. Those of a source that was removed: put it back, or delete the "
        "folder once nobody reads it.",
    )


def look_for_staged_files(leftovers: Callable[[], Iterator[Path]]) -> Iterator[Observation]:
    """Yield a finding about files that killed runs have left on this machine.

    Args:
        leftovers: Yields the files and folders.
    """
    found = list(leftovers())
    if not found:
        yield ok("staged files", "nothing was left behind by killed runs")
        return
    named = ", ".join(str(loss) for loss in found[:_MOST_NAMED])
    yield warning(
        "staged files",
        f"{len(found)} left behind by killed runs: {named}",
        "Remove them: platform-assets lake upkeep --apply.",
    )
