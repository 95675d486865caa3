"""Incidents: what fails, since when, and who was notified of it; kept in the lake.

An append-only Delta table; the latest entry for each incident counts. The commit that changes an
incident also decides whether a notification is due. Of two watches, one makes the commit, and the other looks
again; if a watch dies before it has sent the notification, the next one sends the same message under the same
key.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from platform_assets.alert import Severity
from platform_assets.alerts.facts import Cursor, Fact, Kind
from platform_assets.lake.arrow import time_of
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.interfaces import KeptTable, Outdated
from platform_assets.lake.log import AppendLog, storable
from platform_assets.model.dialects import literal
from platform_assets.model.table import Column, Integer, Text, Timestamp

if TYPE_CHECKING:
    import duckdb

INCIDENT_COLUMNS = (
    Column("key", Text(), "What the incident is about, such as job:totesys_to_warehouse"),
    Column(
        "status", Text(), "watched (too few failures to be told), open or closed; cursor for the watch's own"
    ),
    Column("severity", Text(), "INFO, WARNING, ERROR or CRITICAL"),
    Column("opened_at", Timestamp(utc=True), "The first failure, UTC"),
    Column("seen_at", Timestamp(utc=True), "The newest failure, UTC"),
    Column("failures", Integer(64), "Number of failures in a row"),
    Column("told_at", Timestamp(utc=True), "When people were told last, UTC", nullable=True),
    Column("closed_at", Timestamp(utc=True), "When it worked again, UTC", nullable=True),
    Column("telling", Text(), "What is to be told: opened, reminder, recovered; empty if all was told"),
    Column("message", Text(), "The key of the alert that tells it"),
    Column("details", Text(), "Reason, assets, run and channels, as a JSON object"),
    Column("commit", Integer(64), "Number of the commit; the row with the largest counts"),
)
_CURSOR = "cursor"
_GROUPED = (Kind.TABLE, Kind.ASSET, Kind.CHECK, Kind.FRESHNESS)


class IncidentStatus(StrEnum):
    """The status of an incident."""

    WATCHED = "watched"
    OPEN = "open"
    CLOSED = "closed"


class Telling(StrEnum):
    """The messages about an incident."""

    NOTHING = ""
    OPENED = "opened"
    REMINDER = "reminder"
    RECOVERED = "recovered"


@dataclass(frozen=True)
class Incident:
    """Something that fails or failed.

    Attributes:
        fact: The newest failure.
        status: watched, open or closed.
        opened_at: Time of the first failure, UTC.
        failures: Number of failures in a row.
        told_at: When people were last notified, UTC.
        closed_at: When it worked again, UTC.
        telling: The notification that is due.
        message: The key of the notification's alert.
        channels: The channels that were chosen when it was opened.
    """

    fact: Fact
    status: IncidentStatus
    opened_at: dt.datetime
    failures: int = 1
    told_at: dt.datetime | None = None
    closed_at: dt.datetime | None = None
    telling: Telling = Telling.NOTHING
    message: str = ""
    channels: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Identifies what it is about."""
        return self.fact.key


@dataclass(frozen=True)
class IncidentPolicy:
    """When people are notified.

    Args:
        after_failures: Number of failures in a row before people are notified of an event.
        after_failures_of: The same for single jobs, schedules, sensors and assets, by their names.
        remind_every: Time between reminders of an open incident.
        channels: Chooses the channels for some assets and a severity.
    """

    after_failures: int
    remind_every: dt.timedelta
    channels: Callable[[Sequence[str], Severity], tuple[str, ...]]
    after_failures_of: Mapping[str, int] = field(default_factory=dict)

    def threshold(self, fact: Fact) -> int:
        """Return the number of failures in a row that make an incident."""
        if not fact.counted:
            # A daemon that has just been started needs a moment until everything has ticked.
            return 2 if fact.kind is Kind.SILENCE else 1
        names = (fact.subject, *fact.assets)
        given = [self.after_failures_of[name] for name in names if name in self.after_failures_of]
        return given[0] if given else self.after_failures


def changed(
    stored: Mapping[str, Incident], facts: Iterable[Fact], policy: IncidentPolicy, now: dt.datetime
) -> list[Incident]:
    """Return the incidents that facts and time have changed, each with the notification that is due.

    Args:
        stored: The incidents so far, by their keys.
        facts: What was observed.
        policy: When people are notified.
        now: The time, UTC.
    """
    current = dict(stored)
    for fact in sorted(facts, key=lambda fact: fact.at):
        before = current.get(fact.key)
        after = _failing(before, fact, policy) if fact.failing else _working(before, fact)
        if after is not None:
            current[fact.key] = after
    for key, incident in current.items():
        is_due = incident.told_at is not None and now - incident.told_at >= policy.remind_every
        if incident.status is IncidentStatus.OPEN and incident.telling is Telling.NOTHING and is_due:
            current[key] = replace(incident, telling=Telling.REMINDER)
    new = [incident for key, incident in current.items() if incident != stored.get(key)]
    # What another watch is about to tell keeps the key of its message.
    due = [
        incident
        for incident in new
        if incident.telling and incident.telling is not _telling(stored.get(incident.key))
    ]
    keys = _message_keys(due, now)
    return [
        replace(incident, message=keys[incident.key], told_at=now) if incident.key in keys else incident
        for incident in new
    ]


def _telling(incident: Incident | None) -> Telling:
    return incident.telling if incident else Telling.NOTHING


def _failing(before: Incident | None, fact: Fact, policy: IncidentPolicy) -> Incident | None:
    if before is None or before.status is IncidentStatus.CLOSED:
        newest = max(before.fact.at, before.closed_at or before.fact.at) if before else None
        if newest is not None and fact.at <= newest:
            return None
        after = Incident(fact, IncidentStatus.WATCHED, fact.at)
    elif fact.at <= before.fact.at or _is_same_state(before, fact):
        return None
    else:
        after = replace(before, fact=fact, failures=before.failures + 1)
    is_known = after.status is IncidentStatus.OPEN and fact.severity <= (
        before.fact.severity if before else 0
    )
    if is_known or after.failures < policy.threshold(fact):
        return after
    channels = policy.channels(fact.assets, fact.severity)
    return replace(after, status=IncidentStatus.OPEN, telling=Telling.OPENED, channels=channels)


def _is_same_state(before: Incident, fact: Fact) -> bool:
    """Return True for a state that people know of; writing it at each look would only cost."""
    return not fact.counted and before.status is IncidentStatus.OPEN and fact.severity <= before.fact.severity


def _working(before: Incident | None, fact: Fact) -> Incident | None:
    if before is None or before.status is IncidentStatus.CLOSED or fact.at <= before.fact.at:
        return None
    # Nobody needs to hear the end of an incident that nobody was notified of.
    telling = Telling.RECOVERED if before.told_at is not None else Telling.NOTHING
    return replace(before, status=IncidentStatus.CLOSED, closed_at=fact.at, telling=telling)


def _message_keys(incidents: Iterable[Incident], now: dt.datetime) -> dict[str, str]:
    """Return the key of the message about each incident; incidents of one kind at once have one message."""
    groups: dict[tuple[object, ...], list[Incident]] = {}
    for incident in incidents:
        of = incident.key
        if incident.fact.kind in _GROUPED:
            of = f"{incident.fact.kind}:{incident.fact.subject.partition(': ')[2]}"
        groups.setdefault((of, incident.telling, incident.fact.severity, incident.channels), []).append(
            incident
        )
    keys: dict[str, str] = {}
    for group in groups.values():
        parts = sorted(
            f"{incident.key} {incident.opened_at.isoformat()} {incident.telling}" for incident in group
        )
        named = "\0".join(("incident", now.isoformat(), *parts))
        key = hashlib.blake2b(named.encode("utf-8", "replace"), digest_size=16).hexdigest()
        keys |= {incident.key: key for incident in group}
    return keys


@dataclass(frozen=True)
class Incidents:
    """The table of incidents.

    Args:
        table: The Delta table, with `INCIDENT_COLUMNS`.
    """

    table: LakeTable

    @property
    def _log(self) -> AppendLog:
        return AppendLog(self.table, "The table of incidents", stream="incidents", key=("key",))

    def update(
        self, facts: Iterable[Fact], cursor: Cursor, policy: IncidentPolicy, now: dt.datetime
    ) -> list[Incident]:
        """Apply facts, and return the incidents that have changed.

        Raises:
            LakeError: The table cannot be read or written.
        """
        found = list(facts)
        for log in self._log.attempts():
            stored, last = _read(log.latest())
            new = changed(stored, found, policy, now)
            rows = [_row(incident) for incident in new]
            # Another watch may be ahead.
            if last is None or cursor.runs > last.runs:
                rows.append(_cursor_row(cursor))
            if not rows or log.try_append(rows):
                return new
        raise self._log.lost_race()

    def mark_notified(self, incidents: Sequence[Incident]) -> None:
        """Record that people were notified of incidents.

        Raises:
            LakeError: The table cannot be read or written.
        """
        messages = {incident.message for incident in incidents}
        for log in self._log.attempts():
            stored, _ = _read(log.latest())
            rows = [
                _row(replace(incident, telling=Telling.NOTHING))
                for incident in stored.values()
                if incident.telling and incident.message in messages
            ]
            if not rows or log.try_append(rows):
                return
        raise self._log.lost_race()

    def close(self, key: str, now: dt.datetime) -> Incident | None:
        """Close an incident by hand, such as that of a job that no longer exists; nobody is notified.

        Args:
            key: What it is about.
            now: The time, UTC.

        Returns:
            The incident; None if none is open under this key.

        Raises:
            LakeError: The table cannot be read or written.
        """
        for log in self._log.attempts():
            before = _read(log.latest_of([key]))[0].get(key)
            if before is None or before.status is IncidentStatus.CLOSED:
                return None
            after = replace(before, status=IncidentStatus.CLOSED, closed_at=now, telling=Telling.NOTHING)
            if log.try_append([_row(after)]):
                return after
        raise self._log.lost_race()

    def read(self) -> tuple[list[Incident], Cursor | None]:
        """Return all incidents, the newest first, and the cursor of the watch; None before its first look."""
        stored, cursor = _read(self._log.read().latest())
        return sorted(stored.values(), key=lambda incident: incident.opened_at, reverse=True), cursor

    def kept(self, days: int) -> KeptTable:
        """Return the table as upkeep takes care of it.

        Args:
            days: Age of closed incidents that go, and of outdated entries.
        """

        def outdated(connection: duckdb.DuckDBPyConnection, now: dt.datetime) -> Outdated:
            before = f"TIMESTAMPTZ {literal(str(now - dt.timedelta(days=days)))}"
            connection.execute(
                'CREATE OR REPLACE TEMP TABLE ended AS SELECT key, max("commit") AS last, '
                f'arg_max(status, "commit") = {literal(IncidentStatus.CLOSED)} AND max(closed_at) < {before} '
                "AS is_over "
                "FROM stored GROUP BY key"
            )
            return Outdated(
                "EXISTS (FROM ended WHERE ended.key = stored.key "
                f'AND (is_over OR (stored.seen_at < {before} AND stored."commit" < last)))'
            )

        return self._log.kept("alerts/incidents", outdated=outdated)


def _row(incident: Incident) -> dict[str, Any]:
    fact = incident.fact
    details = {
        "kind": fact.kind,
        "subject": fact.subject,
        "sentence": fact.sentence,
        "tried": fact.tried,
        "assets": fact.assets,
        "run": fact.run_id,
        "counted": fact.counted,
        "channels": incident.channels,
    }
    return {
        "key": storable(fact.key),
        "status": incident.status,
        "severity": fact.severity.name,
        "opened_at": incident.opened_at,
        "seen_at": fact.at,
        "failures": incident.failures,
        "told_at": incident.told_at,
        "closed_at": incident.closed_at,
        "telling": incident.telling,
        "message": incident.message,
        "details": storable(json.dumps(details, ensure_ascii=False, separators=(",", ":"))),
    }


def _cursor_row(cursor: Cursor) -> dict[str, Any]:
    return {
        "key": _CURSOR,
        "status": _CURSOR,
        "severity": Severity.INFO.name,
        "opened_at": cursor.since,
        "seen_at": cursor.runs,
        "failures": 0,
        "told_at": None,
        "closed_at": None,
        "telling": Telling.NOTHING,
        "message": "",
        "details": "{}",
    }


def _read(rows: Iterator[Sequence[Any]]) -> tuple[dict[str, Incident], Cursor | None]:
    incidents: dict[str, Incident] = {}
    cursor = None
    for key, status, severity, opened, seen, failures, told, closed, telling, message, details, _ in rows:
        if status == _CURSOR:
            cursor = Cursor(time_of(opened), time_of(seen))
            continue
        given = json.loads(details)
        fact = Fact(
            Kind(given["kind"]),
            given["subject"],
            time_of(seen),
            True,
            Severity[severity],
            given["sentence"],
            given["tried"],
            tuple(given["assets"]),
            given["run"],
            given["counted"],
        )
        incidents[key] = Incident(
            fact,
            IncidentStatus(status),
            time_of(opened),
            failures,
            time_of(told) if told is not None else None,
            time_of(closed) if closed is not None else None,
            Telling(telling),
            message,
            tuple(given["channels"]),
        )
    return incidents, cursor
