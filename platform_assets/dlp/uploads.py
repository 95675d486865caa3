"""Inspects the objects that a watch has noticed, batch by batch, and applies the policy to each.

The order for each object: record the inspection, send alerts, move the object if the policy says so, and mark
it done in the object log. After a crash, the next attempt does the missing steps; none is done twice.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, cast

from platform_assets.alert import Alert, Severity, TypeCount, mask_uri, object_alert, readable_uri
from platform_assets.dlp.findings import FindingsStore, Inspection
from platform_assets.dlp.model import Coverage, Inspector, InspectResult, Likelihood, Status
from platform_assets.dlp.policy import Action, Decision, Policy
from platform_assets.dlp.scan import scan_object
from platform_assets.errors import ObjectGone
from platform_assets.formats.content import Limits, Sampling
from platform_assets.formats.isolation import is_about_content
from platform_assets.isolation import failure_of, is_isolated, reason_of, renamed
from platform_assets.objects.plan import DueObject, ObjectStatus, Outcome
from platform_assets.objects.quarantine import quarantine

if TYPE_CHECKING:
    from platform_assets.objects.bucket import ObjectVersion
    from platform_assets.objects.watch import Watch

ByJob = Callable[["ObjectVersion", Callable[[], InspectResult]], InspectResult]
"""Inspects an object, or delegates to the function that it is given."""

_OBJECTS_PER_COMMIT = 50
_SECONDS_PER_COMMIT = 60
# Every second file name looks like a domain.
_NOT_OF_NAMES = frozenset({"DOMAIN_NAME", "URL"})


@dataclass(frozen=True)
class Done:
    """The result of a batch.

    Args:
        inspections: The inspections.
        failures: Masked address and error of each failed object.
    """

    inspections: tuple[Inspection, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()

    def plus(self, other: Done) -> Done:
        """The sum of both results."""
        return Done(self.inspections + other.inspections, self.failures + other.failures)


@dataclass(frozen=True)
class UploadInspector:
    """Inspects the objects of one watch.

    Args:
        watch: The watch.
        inspector: Inspects the content.
        policy: The policy.
        findings: Stores the results.
        tell: Takes alerts, and keeps them until they are sent.
        detector: Name and version of the inspector.
        secret: The key of fingerprints, also used for references to objects.
        quarantine: The place that objects are moved to; None means that objects to quarantine are only
            blocked.
        limits: Limits for reading an object.
        sampling: How much of a large object is inspected.
        by_job: Inspects large objects in place, and delegates the rest to local reading; None means that all
            objects are read locally.
        run_url: Returns the address of a run in Dagster's UI.
        clock: Returns the time, UTC.
    """

    watch: Watch
    inspector: Inspector
    policy: Policy
    findings: FindingsStore
    tell: Callable[[Sequence[Alert]], object]
    detector: tuple[str, str]
    secret: bytes = field(repr=False)
    quarantine: str | None = None
    limits: Limits = field(default_factory=Limits)
    sampling: Sampling = field(default_factory=Sampling)
    by_job: ByJob | None = None
    run_url: Callable[[str], str] = field(default=lambda run_id: "")
    clock: Callable[[], dt.datetime] = field(default=lambda: dt.datetime.now(dt.UTC))

    def inspect_batch(self, batch: int, run_id: str) -> Done:
        """Process the objects of a batch that have no outcome yet.

        Any failure of an object is recorded as its outcome, and the object is retried; the others are
        processed.

        Args:
            batch: Number of the batch.
            run_id: The run.

        Raises:
            ObjectsError: The batch is no longer open: its objects are in another batch.
            LakeError: Nothing can be recorded; the objects are retried.
        """
        done = Done()
        for group in self._groups(self.watch.log.read().planned(batch), run_id):
            done = done.plus(self._finish(batch, group))
        return done

    def inspect_all(self, run_id: str) -> Done:
        """Notice and process everything that is due, without a sensor."""
        from platform_assets.objects.watch import ListingCursor, RunState

        done, cursor = Done(), ListingCursor()
        problems: list[str] = []
        has_failed = False
        while cursor.sweeps < 1 and not has_failed:
            tick = self.watch.tick(cursor, lambda _: RunState.UNKNOWN)
            for request in tick.requests:
                try:
                    done = done.plus(self.inspect_batch(request.batch, run_id))
                except BaseException as error:
                    if not is_isolated(error):
                        raise
                    # The batch is still open, and another tick would request it at once.
                    has_failed = True
                    problems.append(f"Batch {request.batch} failed: {reason_of(error, tell_text=False)}")
            if tick.problem:
                problems.append(tick.problem)
                has_failed = has_failed or tick.cursor == cursor
            cursor = tick.cursor
        where = readable_uri(self.watch.bucket.uri)
        return done.plus(Done(failures=tuple((where, problem) for problem in dict.fromkeys(problems))))

    def _groups(self, tasks: Sequence[DueObject], run_id: str) -> Iterator[list[_Worked]]:
        """Inspect objects one by one, in groups that are large enough for a commit or took a minute."""
        group: list[_Worked] = []
        since = self.clock()
        for task in tasks:
            group.append(self._work(task.object, run_id))
            is_late = (self.clock() - since).total_seconds() > _SECONDS_PER_COMMIT
            if len(group) >= _OBJECTS_PER_COMMIT or is_late:
                yield group
                group, since = [], self.clock()
        if group:
            yield group

    def _work(self, found: ObjectVersion, run_id: str) -> _Worked:
        """Inspect one object; any error becomes its outcome."""
        try:
            inspection, decision = self._inspected(found, run_id)
        except ObjectGone as error:
            return _Worked(found, Outcome(found.key, ObjectStatus.GONE, str(error)))
        except BaseException as error:
            if not is_isolated(error):
                raise
            return _Worked(found, _failed(found, error))
        return _Worked(found, Outcome(found.key), inspection, decision)

    def _inspected(self, found: ObjectVersion, run_id: str) -> tuple[Inspection, Decision]:
        def read_here() -> InspectResult:
            with self.watch.bucket.open(found) as source:
                return scan_object(
                    cast("BinaryIO", source),
                    found.uri,
                    self.inspector,
                    key=found.key,
                    size=found.size,
                    limits=self.limits,
                    sampling=self.sampling,
                )

        result = read_here() if self.by_job is None else self.by_job(found, read_here)
        decision = self._decide(result, found)
        inspection = Inspection(
            watch=self.watch.name,
            uri=self._shown(found),
            object_id=object_id(found.uri),
            version=found.version,
            size=found.size,
            modified_at=found.modified,
            result=result,
            decision=decision.word,
            rule=str(decision.rule) if decision.rule else None,
            detector=self.detector[0],
            detector_version=self.detector[1],
            inspected_at=self.clock(),
            run_id=run_id,
        )
        return inspection, decision

    def _decide(self, result: InspectResult, found: ObjectVersion) -> Decision:
        place = f"objects/{self.watch.name}/{found.key}"
        decision = self.policy.decide_object(result.tallies, place)
        # The content of an uninspected object is unknown: it is not clean, and an alert is needed.
        kinds = [problem.kind for problem in result.problems]
        unknown = self.policy.decide_uninspected(result.status, kinds, place)
        return unknown if unknown.action > decision.action else decision

    def _shown(self, found: ObjectVersion) -> str:
        """The object's address, with findings in its name masked."""
        try:
            in_name = self.inspector.inspect_text(found.key.encode(errors="replace"))
        except BaseException as error:
            if not is_about_content(error):
                raise
            return mask_uri(found.uri)
        sensitive = in_name.tallies.keys() - _NOT_OF_NAMES
        if not sensitive:
            return found.uri
        places = [
            (finding.location.codepoint_range.start, finding.location.codepoint_range.end)
            for finding in in_name.findings
            if finding.info_type.name in sensitive
        ]
        if not places or not found.uri.endswith(found.key):
            return mask_uri(found.uri)
        key = found.key
        for start, end in sorted(places, reverse=True):
            key = f"{key[:start]}…{key[end:]}"
        return found.uri.removesuffix(found.key) + key

    def _name_in_logs(self, found: ObjectVersion) -> str:
        """The object's name in a run's log; works even if the inspection of the name fails."""
        try:
            return readable_uri(self._shown(found))
        except BaseException as error:
            if not is_isolated(error):
                raise
            return mask_uri(found.uri)

    def _finish(self, batch: int, group: Sequence[_Worked]) -> Done:
        """Record, alert, move and settle objects; an object that fails at one step skips the next steps."""

        def settle(some: Sequence[_Worked]) -> None:
            self.watch.log.settle(batch, [worked.outcome for worked in some], self.watch.policy, self.clock())

        recorded = self._step(group, self._record)
        alerted = self._step(recorded, self._send_alerts)
        moved = [self._quarantined(worked) for worked in alerted]
        unsettled = _failures(moved, settle)
        if unsettled and len(unsettled) == len(moved):
            raise unsettled[0][1]
        failed = [
            (worked, worked.outcome.error) for worked in moved if worked.outcome.status is ObjectStatus.FAILED
        ]
        failed += [(worked, reason_of(error, tell_text=False)) for worked, error in unsettled]
        return Done(
            tuple(worked.inspection for worked in recorded if worked.inspection and not worked.has_failed),
            tuple(
                (self._name_in_logs(worked.found), _masked(reason, worked.found)) for worked, reason in failed
            ),
        )

    def _record(self, some: Sequence[_Worked]) -> None:
        self.findings.record([worked.inspection for worked in some if worked.inspection])

    def _send_alerts(self, some: Sequence[_Worked]) -> None:
        if alerts := [alert for worked in some if (alert := self._alert(worked)) is not None]:
            self.tell(alerts)

    def _step(self, group: Sequence[_Worked], step: Callable[[Sequence[_Worked]], None]) -> list[_Worked]:
        """Do one step for the inspected objects of a group, and mark the objects for which it failed."""
        going = [worked for worked in group if worked.inspection is not None and not worked.has_failed]
        failed = {worked.found.key: _failed(worked.found, error) for worked, error in _failures(going, step)}
        return [replace(worked, outcome=failed.get(worked.found.key, worked.outcome)) for worked in group]

    def _quarantined(self, worked: _Worked) -> _Worked:
        is_wanted = worked.decision.action is Action.QUARANTINE and self.quarantine is not None
        # An object that could not be recorded or alerted is inspected again, so it must not be moved.
        if not is_wanted or worked.has_failed or self.quarantine is None:
            return worked
        try:
            quarantine(self.watch.bucket, worked.found, self.quarantine)
        except ObjectGone:
            return worked  # nothing is left to move
        except BaseException as error:
            if not is_isolated(error):
                raise
            return replace(worked, outcome=_failed(worked.found, error))
        return worked

    def _alert(self, worked: _Worked) -> Alert | None:
        if worked.inspection is None or worked.decision.action is Action.ALLOW:
            return None
        result, decision = worked.inspection.result, worked.decision
        if result.tallies:
            title = "Sensitive data in an object"
        elif result.status is Status.UNREADABLE:
            title = "An object could not be inspected"
        else:
            title = "A part of an object could not be inspected"
        facts = [("Decision", decision.word)]
        if result.problems:
            kinds = Counter(problem.kind.value for problem in result.problems)
            facts.append(("Not inspected", ", ".join(f"{kind} ({n:,})" for kind, n in kinds.items())))
        if decision.rule is not None:
            facts.append(("Rule", str(decision.rule)))
        return object_alert(
            worked.found.uri,
            worked.found.version,
            [TypeCount(name, tally.count, tally.highest.name) for name, tally in result.tallies.items()],
            title=title,
            severity=_severity(result, decision),
            status=result.status.value,
            coverage=coverage_in_words(result.coverage),
            at=worked.inspection.inspected_at,
            run_url=self.run_url(worked.inspection.run_id),
            facts=facts,
            secret=self.secret,
            shown=worked.inspection.uri,
        )


@dataclass(frozen=True)
class _Worked:
    """An object and its state so far."""

    found: ObjectVersion
    outcome: Outcome
    inspection: Inspection | None = None
    decision: Decision = field(default_factory=Decision)

    @property
    def has_failed(self) -> bool:
        """True if a step failed; the object is then retried from the start."""
        return self.outcome.status is ObjectStatus.FAILED


def _failed(found: ObjectVersion, error: BaseException) -> Outcome:
    """The outcome of a failed object.

    It is always retryable: no content makes further attempts useless, because unreadable content is a result
    of the inspection and not a failure.
    """
    return Outcome(found.key, ObjectStatus.FAILED, reason_of(error, tell_text=False))


def _masked(reason: str, found: ObjectVersion) -> str:
    """A reason without the object's name, which may contain sensitive values."""
    for name in (found.uri, found.key):
        reason = renamed(reason, name, mask_uri(name))
    return reason


def _failures(
    some: Sequence[_Worked], step: Callable[[Sequence[_Worked]], None]
) -> list[tuple[_Worked, BaseException]]:
    """Do a step for objects together, and one by one if that fails; return the failed objects."""
    if len(some) > 1 and failure_of(lambda: step(some)) is None:
        return []
    errors = ((worked, failure_of(partial(step, [worked]))) for worked in some)
    return [(worked, error) for worked, error in errors if error is not None]


def object_id(uri: str) -> str:
    """Identifies an object in the tables of findings, without its name."""
    return hashlib.sha256(uri.encode(errors="surrogateescape")).hexdigest()


def coverage_in_words(coverage: Coverage) -> str:
    """The inspected amount, for people."""
    amount = f"{coverage.bytes_inspected:,} bytes of text"
    if coverage.bytes_total is not None:
        amount += f" from {coverage.bytes_total:,} bytes"
    if coverage.rows_total:
        amount += f", {coverage.rows_inspected:,} of {coverage.rows_total:,} rows"
    return amount


def _severity(result: InspectResult, decision: Decision) -> Severity:
    if decision.action >= Action.BLOCK and decision.info_type is not None:
        return Severity.CRITICAL
    if result.highest is not None and result.highest >= Likelihood.LIKELY:
        return Severity.ERROR
    return Severity.WARNING
