"""The watch: turns facts into incidents, and incidents into messages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from platform_assets.alert import Alert, Severity
from platform_assets.alerts.facts import WHAT_TO_DO, Kind, Observed
from platform_assets.alerts.incidents import Incident, IncidentPolicy, Incidents, Telling

_MOST_NAMED = 12

_TITLES: Mapping[str, str] = {
    Kind.JOB: "The job {subject} fails",
    Kind.TABLE: "The table {subject} is skipped",
    Kind.ASSET: "The asset {subject} was not made",
    Kind.CHECK: "The check {check} of {asset} fails",
    Kind.FRESHNESS: "{asset} is not up to date",
    Kind.SCHEDULE: "The schedule {subject} fails",
    Kind.SENSOR: "The sensor {subject} fails",
    Kind.SILENCE: "{subject} is on and does not tick",
    Kind.DAEMON: "Dagster's daemon does not run",
    Kind.UPKEEP: "The upkeep of the lake is overdue",
    Kind.WATCH: "The watch cannot see its {subject}",
}
_TITLES_OF_MANY: Mapping[str, str] = {
    Kind.TABLE: "{count} tables are skipped",
    Kind.ASSET: "{count} assets were not made",
    Kind.CHECK: "The check {check} fails for {count} assets",
    Kind.FRESHNESS: "{count} assets are not up to date",
}


@dataclass(frozen=True)
class IncidentWatch:
    """One look at the platform, and its messages.

    Args:
        incidents: The incidents so far.
        policy: When people are notified.
        post: Puts alerts into the outbox; an alert whose key is already stored is not stored again.
        run_url: Returns the address of a run in Dagster's UI.
    """

    incidents: Incidents
    policy: IncidentPolicy
    post: Callable[[Sequence[Alert]], None]
    run_url: Callable[[str], str]

    def apply(self, observed: Observed, now: dt.datetime) -> list[Incident]:
        """Change the incidents by what was observed, and put the messages into the outbox.

        Args:
            observed: The facts.
            now: The time, UTC.

        Returns:
            The incidents about which people are notified.

        Raises:
            LakeError: The incidents or the outbox cannot be read or written.
        """
        # What a watch that was killed had decided to tell.
        left, _ = self.incidents.read()
        self._tell([incident for incident in left if incident.telling], observed.owners, now)
        changed = self.incidents.update(observed.facts, observed.cursor, self.policy, now)
        due = [incident for incident in changed if incident.telling]
        self._tell(due, observed.owners, now)
        return due

    def _tell(
        self, incidents: Sequence[Incident], owners: Mapping[str, tuple[str, ...]], now: dt.datetime
    ) -> None:
        if not incidents:
            return
        groups: dict[str, list[Incident]] = {}
        for incident in incidents:
            groups.setdefault(incident.message, []).append(incident)
        self.post([message(group, owners, self.run_url, now) for group in groups.values()])
        self.incidents.mark_notified(incidents)


def message(
    group: Sequence[Incident],
    owners: Mapping[str, tuple[str, ...]],
    run_url: Callable[[str], str],
    now: dt.datetime,
) -> Alert:
    """Build the message about incidents of one kind that happened at once.

    Args:
        group: The incidents; they have the same key of a message.
        owners: The owners of each asset.
        run_url: Returns the address of a run in Dagster's UI.
        now: The time, UTC.
    """
    group = sorted(group, key=lambda incident: incident.key)
    first = group[0]
    assets = sorted({asset for incident in group for asset in incident.fact.assets})
    opened = min(incident.opened_at for incident in group)
    facts: list[tuple[str, str]] = [("What happened", _reasons(group)), ("Since", _when(opened))]
    if first.telling is Telling.RECOVERED:
        closed = max(incident.closed_at or now for incident in group)
        facts += [("Until", f"{_when(closed)}, {_length(closed - opened)} later")]
    else:
        failures = max(incident.failures for incident in group)
        facts += [("Failures in a row", str(failures))] if first.fact.counted and failures > 1 else []
        facts += [("What was tried", first.fact.tried)] if first.fact.tried else []
        facts += [("What to do", WHAT_TO_DO[first.fact.kind])]
    known = sorted({owner for asset in assets for owner in owners.get(asset, ())})
    facts += [("Owners", ", ".join(known))] if known else []
    is_over = first.telling is Telling.RECOVERED
    return Alert(
        first.message,
        Severity.INFO if is_over else first.fact.severity,
        f"{_START[first.telling]}{_title(group)}",
        first.told_at or now,
        _listed(assets),
        facts=tuple(facts),
        run_url=run_url(first.fact.run_id) if first.fact.run_id else "",
        channels=first.channels,
    )


_START: Mapping[Telling, str] = {Telling.REMINDER: "Still: ", Telling.RECOVERED: "Recovered: "}
_START = {telling: _START.get(telling, "") for telling in Telling}


def _title(group: Sequence[Incident]) -> str:
    fact = group[0].fact
    asset, _, check = fact.subject.partition(": ")
    titles = _TITLES_OF_MANY if len(group) > 1 and fact.kind in _TITLES_OF_MANY else _TITLES
    return titles[fact.kind].format(subject=fact.subject, asset=asset, check=check, count=len(group))


def _reasons(group: Sequence[Incident]) -> str:
    """Return the reasons of a group: each one once, because a common cause is common."""
    return " ".join(dict.fromkeys(incident.fact.sentence for incident in group if incident.fact.sentence))


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    left = len(listed) - _MOST_NAMED
    return ", ".join(listed[:_MOST_NAMED]) + (f" and {left} more" if left > 0 else "")


def _when(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _length(length: dt.timedelta) -> str:
    minutes = round(length.total_seconds() / 60)
    if minutes < 1:
        return "less than a minute"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)
