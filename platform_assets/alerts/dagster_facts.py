"""Facts from Dagster's instance: runs, steps, checks, ticks and heartbeats, as the plain values of `facts`.

The cost follows what is new: runs that finished since the last look, and one tick per schedule and sensor.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import dagster as dg

from platform_assets.alert import Severity
from platform_assets.alerts.facts import Cursor, Fact, Kind, Observed
from platform_assets.dagster_internals import (
    Instigator,
    instigator_of,
    instigator_states,
    is_interruption,
    is_made_ad_hoc,
    last_heartbeat,
    last_tick,
    step_errors,
)
from platform_assets.isolation import is_isolated, reason_of
from platform_assets.lake.defs import TABLES
from platform_assets.orchestration import FRESHNESS, MAIN_JOB, STOPPED, TELLS_ITS_OWN_FAILURES
from platform_assets.rooms import Rooms

_FIRST_LOOK = dt.timedelta(hours=24)
_OVERLAP = dt.timedelta(minutes=2)
_MOST_RUNS = 500
_MOST_STEPS = 3
_EVENTS = "events of runs"
_WILL_RETRY = "dagster/will_retry"
_RETRY_NUMBER = "dagster/retry_number"
_ALWAYS = {dg.DagsterEventType.ASSET_CHECK_EVALUATION, dg.DagsterEventType.ASSET_MATERIALIZATION}
_OF_FAILURES = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_UP_FOR_RETRY,
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
}
_SEVERITIES = {
    dg.AssetCheckSeverity.ERROR: Severity.ERROR,
    dg.AssetCheckSeverity.WARN: Severity.WARNING,
}
_PLATFORM_ERROR = "platform_assets."


@dataclass(frozen=True)
class Deadlines:
    """When something that does not happen is missed.

    Args:
        late: By how much a schedule or sensor may be late.
        daemon: Time without a heartbeat until the daemon counts as dead.
        upkeep: Time without upkeep; None to not look.
    """

    late: dt.timedelta
    daemon: dt.timedelta
    upkeep: dt.timedelta | None


@dataclass(frozen=True)
class FactReader:
    """Reads the facts of one instance.

    Args:
        instance: Dagster's instance.
        rooms: The rooms, for the owners of assets and the time zones of schedules.
        limits: When something that does not happen is missed.
        masked: Returns a text without secrets and values.
        last_upkeep: Returns when a table was taken care of last, UTC, by whatever command.
    """

    instance: dg.DagsterInstance
    rooms: Rooms
    limits: Deadlines
    masked: Callable[[str], str]
    last_upkeep: Callable[[], dt.datetime | None]

    def observe(self, cursor: Cursor | None, now: dt.datetime) -> Observed:
        """Collect the facts since the last look; a part that cannot be seen is a fact itself.

        Args:
            cursor: Where the last look ended; None before the first.
            now: The time, UTC.
        """
        at = cursor or Cursor(now, now - _FIRST_LOOK)
        facts: list[Fact] = []
        ends: list[dt.datetime] = []
        self._part("runs", now, facts, lambda: self._runs(at, ends))
        self._part("daemon", now, facts, lambda: self._daemon(now))
        is_alive = not any(fact.kind is Kind.DAEMON and fact.failing for fact in facts)
        self._part("schedules and sensors", now, facts, lambda: self._instigators(now, is_alive=is_alive))
        self._part("upkeep", now, facts, lambda: self._upkeep(at, now))
        owners: dict[str, tuple[str, ...]] = {}
        self._part("owners", now, facts, lambda: self._owners(owners))
        return Observed(tuple(facts), Cursor(at.since, max(ends, default=at.runs)), owners)

    def _part(
        self, name: str, now: dt.datetime, facts: list[Fact], part: Callable[[], Iterator[Fact]]
    ) -> None:
        """Add the facts of one part; its failure does not concern the others."""
        try:
            facts += part()
        except BaseException as error:
            if not is_isolated(error):
                raise
            facts.append(self._unseen(name, now, error))
        else:
            facts.append(Fact(Kind.WATCH, name, now, False, counted=False))

    def _unseen(self, name: str, now: dt.datetime, error: BaseException) -> Fact:
        return Fact(Kind.WATCH, name, now, True, sentence=self.masked(reason_of(error)), counted=False)

    def _owners(self, owners: dict[str, tuple[str, ...]]) -> Iterator[Fact]:
        for defs in self.rooms.definitions().values():
            for asset in defs.assets or ():
                for spec in asset.specs if isinstance(asset, dg.AssetsDefinition) else (asset,):
                    owners["/".join(spec.key.path)] = tuple(spec.owners or ())
        return iter(())

    # Runs

    def _runs(self, cursor: Cursor, ends: list[dt.datetime]) -> Iterator[Fact]:
        finished = [
            dg.DagsterRunStatus.SUCCESS,
            dg.DagsterRunStatus.FAILURE,
            dg.DagsterRunStatus.CANCELED,
        ]
        since = cursor.runs - _OVERLAP
        records = self.instance.get_run_records(
            dg.RunsFilter(statuses=finished, updated_after=since),
            limit=_MOST_RUNS,
            order_by="update_timestamp",
            ascending=True,
        )
        for record in records:
            end = dt.datetime.fromtimestamp(record.end_time or record.update_timestamp.timestamp(), dt.UTC)
            ends.append(record.update_timestamp.astimezone(dt.UTC))
            # Tags that are added later update a run too.
            if end >= since - _OVERLAP:
                yield from self._of_run(record.dagster_run, end)

    def _of_run(self, run: dg.DagsterRun, end: dt.datetime) -> Iterator[Fact]:
        is_failed = run.status == dg.DagsterRunStatus.FAILURE
        try:
            events = self._events(run.run_id, _ALWAYS | (_OF_FAILURES if is_failed else set()))
            facts = [*self._of_events(run, events)]
        except BaseException as error:
            if not is_isolated(error):
                raise
            events = []
            facts = [self._unseen(_EVENTS, end, error)]
        else:
            facts.append(Fact(Kind.WATCH, _EVENTS, end, False, counted=False))
        yield from facts
        if run.status == dg.DagsterRunStatus.SUCCESS and not is_made_ad_hoc(run):
            yield Fact(Kind.JOB, run.job_name, end, False)
        is_reported = TELLS_ITS_OWN_FAILURES in run.tags or run.tags.get(_WILL_RETRY) == "true"
        if is_failed and not is_reported and not any(is_interruption(event) for _, event in events):
            yield from self._failure(run, end, [event for _, event in events])

    def _events(
        self, run_id: str, kinds: set[dg.DagsterEventType]
    ) -> list[tuple[dt.datetime, dg.DagsterEvent]]:
        records = self.instance.get_records_for_run(run_id, of_type=kinds).records
        return [
            (dt.datetime.fromtimestamp(record.event_log_entry.timestamp, dt.UTC), event)
            for record in records
            if (event := record.event_log_entry.dagster_event) is not None
        ]

    def _of_events(
        self, run: dg.DagsterRun, events: Sequence[tuple[dt.datetime, dg.DagsterEvent]]
    ) -> Iterator[Fact]:
        """Yield the facts about the tables and checks of a run."""
        for at, event in events:
            if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                yield self._check(run, at, event.asset_check_evaluation_data)
            elif event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key:
                name = "/".join(event.asset_key.path)
                reason = event.materialization.metadata.get(STOPPED)
                sentence = self.masked(str(reason.value)) if reason is not None else ""
                yield Fact(
                    Kind.TABLE, name, at, bool(sentence), Severity.ERROR, sentence, "", (name,), run.run_id
                )
                if not sentence:
                    yield Fact(Kind.ASSET, name, at, False)

    def _check(self, run: dg.DagsterRun, at: dt.datetime, found: dg.AssetCheckEvaluation) -> Fact:
        asset = "/".join(found.asset_key.path)
        broken = found.metadata.get("broken")
        if broken is not None and broken.value:
            sentence = f"{broken.value:,} rows break it."
        else:
            sentence = self.masked(found.description or "")
        return Fact(
            Kind.FRESHNESS if found.check_name == FRESHNESS else Kind.CHECK,
            f"{asset}: {found.check_name}",
            at,
            not found.passed,
            _SEVERITIES[found.severity],
            sentence,
            "",
            (asset,),
            run.run_id,
        )

    def _failure(
        self, run: dg.DagsterRun, end: dt.datetime, events: Sequence[dg.DagsterEvent]
    ) -> Iterator[Fact]:
        failed = [event for event in events if event.is_step_failure]
        planned: dict[str, list[str]] = {}
        for event in events:
            if event.is_asset_materialization_planned and event.asset_key and event.step_key:
                planned.setdefault(event.step_key, []).append("/".join(event.asset_key.path))
        reasons = [self._reason(event) for event in failed[:_MOST_STEPS]]
        if not failed:
            reasons = [
                self.masked(event.message or "")
                for event in events
                if event.event_type == dg.DagsterEventType.RUN_FAILURE
            ]
        if len(failed) > _MOST_STEPS:
            reasons.append(f"And {len(failed) - _MOST_STEPS} more steps failed.")
        sentence = " ".join(dict.fromkeys(filter(None, reasons)))
        assets = tuple(sorted({name for event in failed for name in planned.get(event.step_key or "", ())}))
        tried = self._tried(run, failed, events)
        if not is_made_ad_hoc(run):
            yield Fact(Kind.JOB, run.job_name, end, True, Severity.ERROR, sentence, tried, assets, run.run_id)
            return
        made = {"/".join(event.asset_key.path) for event in events if _is_made(event) and event.asset_key}
        for name in sorted({name for names in planned.values() for name in names} - made):
            yield Fact(Kind.ASSET, name, end, True, Severity.ERROR, sentence, tried, (name,), run.run_id)

    def _reason(self, event: dg.DagsterEvent) -> str:
        description, errors = step_errors(event)
        if description:
            return self.masked(description)
        for error in errors:
            if error.message.startswith(_PLATFORM_ERROR):
                return self.masked(error.message.partition(": ")[2])
        # The texts of other errors have values in them.
        name = errors[-1].class_name if errors else "an error"
        return f"The step {event.step_key} failed with {name}. Its run has the details."

    def _tried(
        self, run: dg.DagsterRun, failed: Sequence[dg.DagsterEvent], events: Sequence[dg.DagsterEvent]
    ) -> str:
        tried = []
        for event in islice(failed, _MOST_STEPS):
            again = sum(other.is_step_up_for_retry and other.step_key == event.step_key for other in events)
            tried += [f"the step {event.step_key} {again + 1} times"] if again else []
        if run.tags.get(_RETRY_NUMBER):
            tried.append(f"the run {int(run.tags[_RETRY_NUMBER]) + 1} times")
        return ", ".join(tried)

    # What does not happen

    def _daemon(self, now: dt.datetime) -> Iterator[Fact]:
        heartbeat = last_heartbeat(self.instance)
        if heartbeat is None:
            return
        is_dead = now - heartbeat > self.limits.daemon
        is_needed = is_dead and bool(instigator_states(self.instance))
        yield Fact(
            Kind.DAEMON,
            "dagster",
            now,
            is_needed,
            Severity.CRITICAL,
            f"Its last sign of life was at {heartbeat:%Y-%m-%d %H:%M:%S} UTC; no schedule or sensor works.",
            counted=False,
        )

    def _instigators(self, now: dt.datetime, *, is_alive: bool) -> Iterator[Fact]:
        zones = self._zones()
        for state in instigator_states(self.instance):
            name = f"schedule or sensor {state.instigator_name}"
            try:
                found = [*self._ticks(instigator_of(self.instance, state), zones, now, is_alive=is_alive)]
            except BaseException as error:
                if not is_isolated(error):
                    raise
                yield self._unseen(name, now, error)
            else:
                yield from found
                yield Fact(Kind.WATCH, name, now, False, counted=False)

    def _ticks(
        self, found: Instigator, zones: Mapping[str, str], now: dt.datetime, *, is_alive: bool
    ) -> Iterator[Fact]:
        kind = Kind.SCHEDULE if found.crons else Kind.SENSOR
        if found.last is not None:
            sentence = f"Its last tick failed with {found.last.error or 'an error'}."
            yield Fact(kind, found.name, found.last.at, found.last.failed, Severity.ERROR, sentence)
        if not is_alive:
            return  # the dead daemon is the incident
        due = _due(found, zones.get(found.name), now - self.limits.late)
        last = max(filter(None, (found.seen, found.since)), default=None)
        if due is None or last is None:
            return
        sentence = f"It was due at {due:%Y-%m-%d %H:%M} UTC, and ticked last at {last:%Y-%m-%d %H:%M} UTC."
        yield Fact(Kind.SILENCE, found.name, now, last < due, Severity.ERROR, sentence, counted=False)

    def _zones(self) -> dict[str, str]:
        """Return the time zones of the schedules of the rooms, and of the main job's."""
        zones = {
            schedule.name: schedule.execution_timezone or "UTC"
            for defs in self.rooms.definitions().values()
            for schedule in defs.schedules or ()
            if isinstance(schedule, dg.ScheduleDefinition)
        }
        return zones | {f"{MAIN_JOB}_schedule": self.rooms.platform.schedule.timezone}

    def _upkeep(self, cursor: Cursor, now: dt.datetime) -> Iterator[Fact]:
        limit = self.limits.upkeep
        if limit is None:
            return
        event = self.instance.get_latest_materialization_event(TABLES)
        last = dt.datetime.fromtimestamp(event.timestamp, dt.UTC) if event else None
        if now - (last or cursor.since) > limit:
            last = max(filter(None, (last, self.last_upkeep())), default=None)
        is_late = now - (last or cursor.since) > limit
        sentence = f"It ran last at {last:%Y-%m-%d %H:%M} UTC." if last else "It has not run yet."
        name = "/".join(TABLES.path)
        yield Fact(Kind.UPKEEP, name, now, is_late, Severity.WARNING, sentence, "", (name,), counted=False)


def _is_made(event: dg.DagsterEvent) -> bool:
    return event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION


def _due(found: Instigator, zone: str | None, by: dt.datetime) -> dt.datetime | None:
    """Return when a schedule or sensor had to tick last, of the times up to `by`."""
    if not found.crons:
        return by - dt.timedelta(seconds=found.interval)
    due = max(last_tick(cron, zone or "UTC", by) for cron in found.crons)
    if zone is None:
        # A schedule of somebody's own code: the time before holds in every time zone.
        due = max(last_tick(cron, "UTC", due - dt.timedelta(seconds=1)) for cron in found.crons)
    return due
