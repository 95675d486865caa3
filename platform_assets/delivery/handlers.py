"""Messages about deliveries: success to the audience, failures and missed deliveries to the owners."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from platform_assets.alert import Alert, Severity

if TYPE_CHECKING:
    from platform_assets.delivery.file import DeliverySettings
    from platform_assets.delivery.interfaces import DeliveryResult, DestinationResult, StagedFile

_MOST_FILES = 20
_SAFE_LINKS = ("https://", "http://")


def key_of(*parts: str) -> str:
    """The key of an alert about a delivery: the same parts give the same key, and one alert is sent."""
    return hashlib.blake2b("\0".join(("delivery", *parts)).encode(), digest_size=16).hexdigest()


def success_alert(
    settings: DeliverySettings,
    result: DeliveryResult,
    link: Callable[[StagedFile, dt.timedelta], str | None],
    now: dt.datetime,
    run_url: str,
) -> Alert | None:
    """The message to the audience; None if there is no audience, or not yet anything to tell.

    Args:
        settings: The delivery.
        result: Its result.
        link: Returns a link to a file at the destination of the link.
        now: The time, UTC.
        run_url: The address of the run in Dagster's UI.
    """
    on_success = settings.on_success
    if on_success is None:
        return None
    awaited = [on_success.link.to] if on_success.link is not None else list(settings.to)
    by_name = {destination.destination: destination for destination in result.destinations}
    if any(by_name[name].status == "failed" for name in awaited):
        return None
    stamp, files = result.stamp, result.files
    rows = [file.rows for file in files if file.rows is not None]
    lines = [f"{settings.title}: {_counted(files, rows)}.", ""]
    if on_success.link is not None:
        expires = dt.timedelta(hours=on_success.link.expires_hours)
        lines += _links(by_name[on_success.link.to], files, expires, link, now)
    else:
        lines += ["Where to find it:", *(_found_at(by_name[name]) for name in awaited)]
    lines += ["", f"Data of {_when(stamp.at)}. Delivery {stamp.uuid}."]
    return Alert(
        key_of(stamp.uuid, "delivered"),
        Severity.INFO,
        settings.title,
        now,
        f"delivery/{stamp.delivery}",
        facts=(
            ("Files", str(len(files))),
            *((("Rows", f"{sum(rows):,}"),) if rows else ()),
            ("Destinations", ", ".join(awaited)),
            ("Delivery", stamp.uuid),
        ),
        run_url=run_url,
        message="\n".join(lines),
        channels=on_success.channels,
    )


def failure_alerts(
    name: str,
    settings: DeliverySettings,
    failures: Sequence[tuple[str, str]],
    uuid: str,
    now: dt.datetime,
    run_url: str,
) -> list[Alert]:
    """The alerts about destinations that did not get the files; one for each delivery of a version.

    Args:
        name: Name of the delivery.
        settings: The delivery.
        failures: Each destination with the reason; an empty name stands for the delivery as a whole.
        uuid: What identifies the delivery of this version; empty if nothing could be planned.
        now: The time, UTC.
        run_url: The address of the run in Dagster's UI.
    """
    subject = uuid or f"{name} {now:%Y-%m-%d}"
    return [
        Alert(
            key_of(subject, destination, "failed"),
            Severity.ERROR,
            f"A delivery failed: {settings.title}",
            now,
            f"delivery/{name}",
            facts=(
                *((("Destination", destination),) if destination else ()),
                ("Reason", reason),
                ("Owners", ", ".join(settings.owners)),
            ),
            run_url=run_url,
            channels=settings.on_failure.channels if settings.on_failure else (),
        )
        for destination, reason in failures
    ]


def missed_alert(name: str, settings: DeliverySettings, due: dt.datetime, now: dt.datetime) -> Alert:
    """The alert about a delivery that had not happened by its deadline; one for each time that it was due."""
    minutes = settings.schedule.deadline_minutes if settings.schedule else 0
    return Alert(
        key_of(name, due.isoformat(), "missed"),
        Severity.ERROR,
        f"A delivery was missed: {settings.title}",
        now,
        f"delivery/{name}",
        facts=(
            ("Due", _when(due)),
            ("Deadline", f"{minutes} minutes after that"),
            ("Owners", ", ".join(settings.owners)),
            (
                "What to do",
                f"Look at the runs of the job delivery_{name}, or run: platform-assets deliver {name}",
            ),
        ),
        channels=settings.on_failure.channels if settings.on_failure else (),
    )


def _counted(files: Sequence[StagedFile], rows: Sequence[int]) -> str:
    counted = f", {sum(rows):,} rows" if rows else ""
    if len(files) == 1:
        return f"{files[0].name} is ready ({_size(files[0].size)}{counted})"
    return f"{len(files):,} files are ready ({_size(sum(file.size for file in files))}{counted})"


def _links(
    destination: DestinationResult,
    files: Sequence[StagedFile],
    expires: dt.timedelta,
    link: Callable[[StagedFile, dt.timedelta], str | None],
    now: dt.datetime,
) -> list[str]:
    links = [(file.name, link(file, expires)) for file in files[:_MOST_FILES]]
    if not all(found is not None and found.startswith(_SAFE_LINKS) for _, found in links):
        return ["Where to find it:", _found_at(destination)]
    lines = [f"Download until {_when(now + expires)}:"]
    for name, found in links:
        lines += [f"{name}:"] if len(links) > 1 else []
        lines.append(str(found))
    if len(files) > _MOST_FILES:
        lines.append(f"and {len(files) - _MOST_FILES:,} more files at {destination.address}")
    return lines


def _found_at(destination: DestinationResult) -> str:
    return destination.receipts[0].address if len(destination.receipts) == 1 else destination.address


def _size(size: int) -> str:
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size} bytes"


def _when(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%d %B %Y, %H:%M} UTC".lstrip("0")
