"""The engine of deliveries: from the version of the data to a receipt of every destination.

The order is fixed by what a crash may leave behind. A plan is recorded before anything is rendered, so that
a repeat has the same uuid, names and time. The files are staged before the first byte is sent, so that every
destination gets the same. A destination's receipt is recorded when it has verified its files. Each
destination succeeds or fails alone.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import queue
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from platform_assets.delivery.attempts import AttemptPolicy, with_attempts
from platform_assets.delivery.interfaces import (
    Bytes,
    DataSource,
    DeliveryError,
    DeliveryResult,
    DestinationResult,
    DestinationUnavailable,
    NothingToDeliver,
    Receipt,
    Renderer,
    Rows,
    StagedFile,
    Stamp,
    Transfer,
    Writer,
)
from platform_assets.delivery.reading import DataReading
from platform_assets.delivery.receipts import (
    DELIVERED,
    FAILED,
    NO_FILE,
    PARTLY,
    PLANNED,
    SKIPPED,
    STARTED,
    DeliveryBusy,
    LastShipments,
    ReceiptRow,
    Receipts,
    ShipmentState,
    claim_end,
    new_claimant,
)
from platform_assets.delivery.recipients import PartlyDelivered, Recipients
from platform_assets.delivery.staging import Naming, StagedData, Staging
from platform_assets.errors import LakeConflict, PlatformError
from platform_assets.isolation import ended, is_isolated, reason_of
from platform_assets.lake.protection import Protection
from platform_assets.logs import event as log_event

_UNCHANGED = "every destination has this version already"
_CONTINUED = "the data is that of an earlier delivery, which was continued"
_RENEWED_EVERY = 180.0
SECONDS_BEFORE_STARTED = 1.0
"""A delivery that is sent sooner is recorded as started and delivered in one commit."""
_SECONDS_BETWEEN_RECEIPTS = 1.0
_LONGEST_REASON = 2_000
_LONGEST_VERSION = 200
Value = TypeVar("Value")


@dataclass(frozen=True)
class Order:
    """A delivery, as its file declares it; nothing is opened yet.

    Args:
        name: Its name.
        title: Its title.
        generator: Name and version of the program.
        definition: Fingerprint of source, rendering and file name: another one is another version.
        source: Creates the source.
        renderers: Creates what turns its content into files, from a folder for files in between; each takes
            what the one before yields.
        naming: Names the files.
        destinations: Creates the writer of each destination.
        policy: The attempts at each destination.
        parallel: Number of destinations that are written to at the same time.
    """

    name: str
    title: str
    generator: str
    definition: str
    source: Callable[[], DataSource]
    renderers: Callable[[Path], Sequence[Renderer]]
    naming: Naming
    destinations: Mapping[str, Callable[[], Writer]]
    policy: AttemptPolicy = field(default_factory=AttemptPolicy)
    parallel: int = 4

    @property
    def place(self) -> str:
        """The place of the delivery in the policy for sensitive data."""
        return f"delivery/{self.name}"


@dataclass(frozen=True)
class Watcher:
    """Follows a delivery.

    A watcher that fails, such as a terminal that was closed, does the delivery no harm.

    Args:
        report: Receives lines.
        progress: Receives a destination, the bytes sent so far, and all bytes.
    """

    report: Callable[[str], None] = field(default=lambda line: None)
    progress: Callable[[str, int, int], None] = field(default=lambda destination, sent, total: None)

    def __post_init__(self) -> None:
        """Let errors of the two functions go no further."""
        object.__setattr__(self, "report", _harmless(self.report))
        object.__setattr__(self, "progress", _harmless(self.progress))


@dataclass(frozen=True)
class Engine:
    """Makes deliveries.

    Args:
        receipts: The log of receipts.
        staging: Returns the staging folder of a delivery.
        protection: Changes or holds back sensitive data.
        run: Id of the run in Dagster, for the receipts.
    """

    receipts: Receipts
    staging: Callable[[str], Staging]
    protection: Callable[[], Protection]
    run: str = ""

    def deliver(
        self,
        order: Order,
        watcher: Watcher,
        *,
        force: bool = False,
        dry_run: bool = False,
        held_back: str = "",
    ) -> DeliveryResult:
        """Bring the current version of the data to every destination that does not have it yet.

        Args:
            order: The delivery.
            watcher: Follows it.
            force: Send the current version again, even where it is.
            dry_run: Render the files, and neither send nor record anything.
            held_back: Why the data must not be delivered; empty if it may.

        Returns:
            The result of each destination; one that failed does not raise an error.

        Raises:
            DeliveryBusy: Another run is making the same delivery.
            PlatformError: The data cannot be read, rendered or delivered as the policy demands.
        """
        return _Run(self, order, watcher, force).deliver(dry_run, held_back)


@dataclass(frozen=True)
class _Claimed:
    """A claimed delivery.

    Attributes:
        stamp: What identifies it.
        version: The version of its data; None until it has been read.
        state: What the receipts say of it; None if it is new.
        pending: The destinations that do not have it.
    """

    stamp: Stamp
    version: str | None
    state: ShipmentState | None
    pending: tuple[str, ...]


@dataclass(frozen=True)
class _Event:
    """The report of a destination's thread."""

    rows: tuple[ReceiptRow, ...]
    result: DestinationResult | None = None
    error: BaseException | None = None


class _Stopped(Exception):
    """The run was interrupted; ends the transfers of the other threads."""


class _Run:
    """One run of a delivery."""

    def __init__(self, engine: Engine, order: Order, watcher: Watcher, force: bool) -> None:
        self.engine, self.order, self.watcher, self.force = engine, order, watcher, force
        self.receipts = engine.receipts
        self.staging = engine.staging(order.name)
        self.protection = engine.protection()
        self.claimant = new_claimant()
        self.until = time.monotonic() + order.policy.deadline
        self.stopped = threading.Event()

    def deliver(self, dry_run: bool, held_back: str) -> DeliveryResult:
        started = time.monotonic()
        try:
            if held_back:
                raise DeliveryError(f"{self.order.name} is held back: {held_back}")
            source = self.order.source()
            version = self._tried("the source", lambda: short_version(source.version()))
        except BaseException as error:
            if not is_isolated(error) or dry_run:
                raise
            self._record_failure(error, started)
            raise
        if dry_run:
            return self._rehearsed(source, version)
        claimed = self._claim(version)
        if not claimed.pending:
            # A run that was killed after its last receipt has left its files.
            self.staging.remove(claimed.stamp.uuid)
            return self._unchanged(claimed)
        with self._claiming(claimed.stamp):
            return self._made(source, claimed, started)

    # Planning

    def _claim(self, version: str | None) -> _Claimed:
        """Claim the delivery, and plan it; nothing is claimed if every destination has it."""
        found: list[_Claimed] = []

        def decide(newest: Callable[[], LastShipments]) -> list[ReceiptRow]:
            now, last = dt.datetime.now(dt.UTC), newest()
            held = last.planned.claim(now) if last.planned else None
            if held is not None:
                raise DeliveryBusy(
                    f"{self.order.name} is being delivered by another run "
                    f"({held.run or held.claimed_by.rpartition(':')[0]}, since {_clock(held.at)}); this run "
                    "sent nothing."
                )
            claimed = self._decided(version, last, now)
            found[:] = [claimed]
            row = self._whole(claimed.stamp, PLANNED, claimed_until=claim_end(now), at=now)
            if not claimed.pending:
                row = replace(row, status=SKIPPED, claimed_until=None, reason=_UNCHANGED)
            return [row]

        self.receipts.append_after(self.order.name, decide)
        return found[0]

    def _decided(self, version: str | None, last: LastShipments, now: dt.datetime) -> _Claimed:
        planned = last.planned
        if planned is not None and not self.force and planned.definition == self.order.definition:
            is_same = planned.version == version if version is not None else planned.is_interrupted
            if is_same:
                stamp = self._stamp(planned.uuid, planned.planned_at, version or "")
                return _Claimed(stamp, version, planned, self._pending(planned))
        return _Claimed(
            self._stamp(str(uuid.uuid4()), now, version or ""), version, None, tuple(self.order.destinations)
        )

    def _pending(self, state: ShipmentState) -> tuple[str, ...]:
        return tuple(name for name in self.order.destinations if not state.has_all(name))

    def _stamp(self, uuid_: str, at: dt.datetime, version: str) -> Stamp:
        return Stamp(self.order.name, self.order.title, self.order.generator, uuid_, at, version)

    def _unchanged(self, claimed: _Claimed) -> DeliveryResult:
        self.watcher.report(f"{self.order.name}: {_UNCHANGED}; nothing was sent.")
        return DeliveryResult(
            claimed.stamp, (), tuple(self._had(name, claimed.state) for name in self.order.destinations)
        )

    def _had(self, name: str, state: ShipmentState | None) -> DestinationResult:
        """The result of a destination that had everything already."""
        rows = state.delivered(name).values() if state is not None else ()
        receipts = tuple(Receipt(row.address, row.size or 0, row.verified_by, 0) for row in rows)
        return DestinationResult(name, "unchanged", receipts[0].address if receipts else "", receipts)

    @contextmanager
    def _claiming(self, stamp: Stamp) -> Iterator[None]:
        """Renew the claim while the block runs; release it if the block ends without an outcome."""
        ended_ = threading.Event()

        def renew() -> None:
            while not ended_.wait(_RENEWED_EVERY):
                # A renewal that fails, whatever the error is, is made up for by the next one.
                with suppress(Exception):
                    now = dt.datetime.now(dt.UTC)
                    self.receipts.append([self._whole(stamp, PLANNED, claimed_until=claim_end(now))])

        threading.Thread(target=renew, name=f"claim of {stamp.delivery}", daemon=True).start()
        try:
            yield
        except BaseException as error:
            self.stopped.set()
            if not is_isolated(error):
                # Not an outcome: the next run continues it, and need not wait for the claim to end.
                self.receipts.append([self._whole(stamp, PLANNED, reason="interrupted")])
            raise
        finally:
            ended_.set()

    # Rendering

    def _made(self, source: DataSource, claimed: _Claimed, started: float) -> DeliveryResult:
        plan = claimed.stamp
        try:
            staged, failures, claimed = self._staged(source, claimed)
        except NothingToDeliver as error:
            if not _may_be_empty(source):
                self._record_failure(error, started, plan)
                raise
            self.receipts.append([self._whole(plan, SKIPPED, version=claimed.version or "", reason=NO_FILE)])
            return self._empty(plan)
        except BaseException as error:
            if is_isolated(error):
                self._record_failure(error, started, plan)
            raise
        if not claimed.pending:
            self.receipts.append(
                [self._whole(plan, SKIPPED, version=claimed.version or "", reason=_UNCHANGED)]
            )
            self.staging.remove_others("")
            return self._unchanged(claimed)
        results = self._sent(claimed, staged, failures, plan, started)
        is_complete = all(result.status != "failed" for result in results.values())
        self.staging.remove_others("" if is_complete else claimed.stamp.uuid)
        with suppress(LakeConflict):
            self.receipts.tidy()
        files = next(iter(staged.values())).files if staged else ()
        ordered = tuple(results[name] for name in self.order.destinations)
        return DeliveryResult(replace(claimed.stamp, version=claimed.version or ""), files, ordered)

    def _empty(self, stamp: Stamp) -> DeliveryResult:
        """The result of a delivery without a file."""
        self.staging.remove_others("")
        self.watcher.report(f"{self.order.name}: {NO_FILE}; nothing was sent.")
        return DeliveryResult(
            stamp, (), tuple(DestinationResult(name, "unchanged", "") for name in self.order.destinations)
        )

    def _staged(
        self, source: DataSource, claimed: _Claimed
    ) -> tuple[dict[str, StagedData], dict[str, BaseException], _Claimed]:
        """Stage what the pending destinations get.

        Returns:
            The files of each destination, the error of each destination that gets none, and the delivery
            with its version.
        """
        self.staging.remove_others(claimed.stamp.uuid)
        staged, failures = self._rendered(source, claimed.stamp, claimed.pending, claimed.version is None)
        if claimed.version is not None or not staged:
            return staged, failures, claimed
        # Only reading the data has told its version.
        version = next(iter(staged.values())).version
        last = self.receipts.last(self.order.name).started
        is_known = (
            last is not None
            and not self.force
            and last.uuid != claimed.stamp.uuid
            and (last.version, last.definition) == (version, self.order.definition)
        )
        if last is None or not is_known:
            return staged, failures, replace(claimed, version=version)
        pending = self._pending(last)
        stamp = self._stamp(last.uuid, last.planned_at, version)
        if pending:
            staged, failures = self._rendered(source, stamp, pending, True)
        return staged, failures, _Claimed(stamp, version, last, pending)

    def _rendered(
        self, source: DataSource, stamp: Stamp, destinations: Sequence[str], with_version: bool
    ) -> tuple[dict[str, StagedData], dict[str, BaseException]]:
        """Render what each destination gets; destinations with equal rules share their files.

        Raises:
            PlatformError: Nothing can be rendered for any destination.
        """
        shared = self._variant(source, stamp, None, with_version)
        by_rules: dict[tuple[tuple[str, ...], ...], StagedData | BaseException] = {
            self._rules(self.order.place, shared): shared
        }
        staged: dict[str, StagedData] = {}
        failures: dict[str, BaseException] = {}
        for name in destinations:
            rules = self._rules(f"{self.order.place}/{name}", shared)
            if rules not in by_rules:
                by_rules[rules] = _value_or_error(partial(self._variant, source, stamp, name, with_version))
            found = by_rules[rules]
            if isinstance(found, StagedData):
                staged[name] = found
            else:
                failures[name] = found
        return staged, failures

    def _rules(self, place: str, staged: StagedData) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(self.protection.rules_for(place, names)) for names in staged.columns)

    def _variant(
        self, source: DataSource, stamp: Stamp, destination: str | None, with_version: bool
    ) -> StagedData:
        """Read, protect, render and stage the data, unless an earlier run has staged it.

        Args:
            source: The data.
            stamp: The delivery.
            destination: A destination with rules of its own; None for all others.
            with_version: Compute a checksum of the data.
        """
        # Names of destinations have no dot, so no destination is mistaken for the others.
        variant = destination or "all.others"
        if (found := self.staging.found(stamp, variant)) is not None:
            return found
        places = [self.order.place, *([f"{self.order.place}/{destination}"] if destination else [])]

        def read() -> StagedData:
            with self.staging.workshop(stamp, variant) as folder, source.open() as content:
                reading = DataReading(self.protection, places, folder, with_version)
                files: Iterator[Rows | Bytes] = reading.through(content)
                for renderer in self.order.renderers(folder):
                    files = iter(renderer.render(files, stamp))
                return self.staging.stage(_files(files), stamp, variant, reading, self.order.naming)

        staged = self._tried("the data", read)
        self.watcher.report(f"{self.order.name}: {described(staged.files)}")
        return staged

    def _rehearsed(self, source: DataSource, version: str | None) -> DeliveryResult:
        """Render into a folder that is removed again, and tell what would be sent."""
        claimed = self._decided(version, self.receipts.last(self.order.name), dt.datetime.now(dt.UTC))
        staged: dict[str, StagedData] = {}
        failures: dict[str, BaseException] = {}
        folder = self.staging.folder / f".rehearsal-{claimed.stamp.uuid}"
        self.staging = replace(self.staging, folder=folder)
        results = []
        try:
            if claimed.pending:
                staged, failures = self._rendered(source, claimed.stamp, claimed.pending, version is None)
            for name, build in self.order.destinations.items():
                if name not in claimed.pending:
                    results.append(self._had(name, claimed.state))
                    continue
                writer = _value_or_error(build)
                error = failures.get(name) or (writer if isinstance(writer, BaseException) else None)
                address = "" if isinstance(writer, BaseException) else writer.address
                reason = "" if error is None else failure_reason(error)
                results.append(DestinationResult(name, "failed" if error else "planned", address, (), reason))
        except NothingToDeliver:
            if not _may_be_empty(source):
                raise
            return self._empty(claimed.stamp)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        files = next((staged_files.files for staged_files in staged.values()), ())
        return DeliveryResult(claimed.stamp, files, tuple(results))

    # Sending

    def _sent(
        self,
        claimed: _Claimed,
        staged: Mapping[str, StagedData],
        failures: Mapping[str, BaseException],
        plan: Stamp,
        started: float,
    ) -> dict[str, DestinationResult]:
        """Send the files, each destination in a thread of its own, and record what becomes of them."""
        results = {
            name: self._had(name, claimed.state)
            for name in self.order.destinations
            if name not in claimed.pending
        }
        until = claim_end(dt.datetime.now(dt.UTC))
        rows = [self._whole(claimed.stamp, STARTED, version=claimed.version, claimed_until=until)]
        if plan.uuid != claimed.stamp.uuid:
            # The data is that of an earlier delivery, which this run continues under its own claim.
            rows = [replace(rows[0], claimed_until=None, claimed_by="")]
        for name, error in failures.items():
            results[name] = DestinationResult(name, "failed", "", reason=failure_reason(error))
            rows.append(self.row(claimed, name, FAILED, reason=failure_reason(error)[:_LONGEST_REASON]))
        left: queue.SimpleQueue[str] = queue.SimpleQueue()
        for name, own_files in staged.items():
            rows.append(self.row(claimed, name, STARTED, files=len(own_files.files), attempt=1))
            left.put(name)
        if not staged:
            rows += self._outcome(claimed, results, plan, started)
            self.receipts.append(rows)
        events: queue.SimpleQueue[_Event] = queue.SimpleQueue()

        def work() -> None:
            while True:
                try:
                    name = left.get_nowait()
                except queue.Empty:
                    return
                events.put(self._sent_to(name, claimed, staged[name], events.put))

        for number in range(min(self.order.parallel, len(staged))):
            # Daemons: an interrupted process does not wait for a slow server.
            threading.Thread(target=work, name=f"delivery {plan.delivery} {number}", daemon=True).start()
        while len(results) < len(self.order.destinations):
            for event in _arrived(events, SECONDS_BEFORE_STARTED if rows else None):
                if event.error is not None:
                    raise event.error
                if event.result is not None:
                    results[event.result.destination] = event.result
                rows += event.rows
            if len(results) == len(self.order.destinations):
                rows += self._outcome(claimed, results, plan, started)
            self.receipts.append(rows)
            rows = []
        return results

    def _sent_to(
        self, name: str, claimed: _Claimed, staged: StagedData, report: Callable[[_Event], None]
    ) -> _Event:
        """Send the files to one destination; the main thread waits for this event, whatever the error is."""
        try:
            return _Sending(self, claimed, name, staged, report).to_the_end()
        except BaseException as error:  # noqa: BLE001 - the main thread raises an interruption
            if not _is_of_destination(error):
                return _Event((), error=error)
            reason = failure_reason(error)
            row = self.row(claimed, name, FAILED, reason=reason[:_LONGEST_REASON])
            return _Event((row,), DestinationResult(name, "failed", "", reason=reason))

    def _outcome(
        self, claimed: _Claimed, results: Mapping[str, DestinationResult], plan: Stamp, started: float
    ) -> list[ReceiptRow]:
        failed = {name: result.reason for name, result in results.items() if result.status == "failed"}
        reason = " ".join(f"{name}: {ended(reason)}" for name, reason in failed.items())
        row = self._whole(
            claimed.stamp,
            FAILED if failed else DELIVERED,
            version=claimed.version,
            reason=reason[:_LONGEST_REASON],
            seconds=time.monotonic() - started,
        )
        if plan.uuid == claimed.stamp.uuid:
            return [row]
        return [row, self._whole(plan, SKIPPED, version=claimed.version, reason=_CONTINUED)]

    # Parts of all steps

    def _whole(self, stamp: Stamp, status: str, **members: Any) -> ReceiptRow:
        """A row about the delivery as a whole."""
        return ReceiptRow(
            **{
                "delivery": self.order.name,
                "status": status,
                "definition": self.order.definition,
                "uuid": stamp.uuid,
                "planned_at": stamp.at,
                "version": stamp.version,
                "claimed_by": self.claimant,
                "run": self.engine.run,
                **members,
            }
        )

    def row(self, claimed: _Claimed, destination: str, status: str, **members: Any) -> ReceiptRow:
        """A row about a destination."""
        return self._whole(
            claimed.stamp,
            status,
            **{"destination": destination, "claimed_by": "", "version": claimed.version or "", **members},
        )

    def _record_failure(self, error: BaseException, started: float, stamp: Stamp | None = None) -> None:
        """Record that the data could not be read or rendered; the caller raises the error."""
        unknown = Stamp(self.order.name, self.order.title, "", "", dt.datetime.now(dt.UTC), "")
        row = self._whole(
            stamp or unknown,
            FAILED,
            reason=failure_reason(error)[:_LONGEST_REASON],
            seconds=time.monotonic() - started,
        )
        with suppress(PlatformError):
            self.receipts.append([row])

    def _tried(self, what: str, attempt: Callable[[], Value]) -> Value:
        def failing(number: int, error: BaseException, again: bool) -> None:
            if again:
                self.watcher.report(f"{self.order.name}: {what}, attempt {number}: {failure_reason(error)}")

        return with_attempts(
            self.order.policy, lambda _: attempt(), failing, until=self.until, stopped=self.stopped
        )


class _Sending:
    """The way of the files to one destination."""

    def __init__(
        self, run: _Run, claimed: _Claimed, name: str, staged: StagedData, report: Callable[[_Event], None]
    ) -> None:
        self.run, self.claimed, self.name, self.staged, self.report = run, claimed, name, staged, report
        had = claimed.state.delivered(name) if claimed.state is not None else {}
        done = [file for file in staged.files if file.name in had and had[file.name].sha256 == file.sha256]
        self.left = [file for file in staged.files if file not in done]
        self.recipients = Recipients()
        if claimed.state is not None:
            for staged_files in self.left:
                self.recipients.have(staged_files.name, claimed.state.recipients(name, staged_files))
        self.total = sum(file.size for file in staged.files)
        self.done = sum(file.size for file in done)
        self.of_file = self.of_attempt = self.attempt = 0
        self.began = time.monotonic()
        self.address = ""
        self.receipts: list[Receipt] = []
        self.rows: list[ReceiptRow] = []

    def to_the_end(self) -> _Event:
        """Make attempts until the destination has every file; any error is its result."""
        run = self.run
        try:
            with_attempts(
                run.order.policy, self._attempt, self._failing, until=run.until, stopped=run.stopped
            )
        except BaseException as error:  # noqa: BLE001 - the main thread raises an interruption
            if not _is_of_destination(error):
                return _Event((), error=error)
            receipts = tuple(self.receipts)
            return self._event(
                DestinationResult(self.name, "failed", self.address, receipts, failure_reason(error))
            )
        self._log(self.attempt, "delivered")
        run.watcher.report(
            f"{run.order.name}: {self.name} has {described(self.staged.files)}: {self.address}"
        )
        return self._event(DestinationResult(self.name, "delivered", self.address, tuple(self.receipts)))

    def _event(self, result: DestinationResult | None = None) -> _Event:
        rows, self.rows = tuple(self.rows), []
        return _Event(rows, result)

    def _attempt(self, number: int) -> None:
        self.began, self.of_attempt, self.of_file, self.attempt = time.monotonic(), 0, 0, number
        self._go_on()
        writer = self.run.order.destinations[self.name]()
        self.address = writer.address
        reported = time.monotonic()
        with writer.open() as transfer:
            while self.left:
                file, began = self.left[0], time.monotonic()
                self.staged.check_unchanged(file)
                receipt = self._written(transfer, file, number)
                self.staged.check_unchanged(file)
                self.left.pop(0)
                self.done, self.of_file = self.done + file.size, 0
                self.receipts.append(receipt)
                self.rows.append(self._delivered(file, receipt, number, time.monotonic() - began))
                self.run.watcher.progress(self.name, self.done, self.total)
                if self.left and time.monotonic() - reported > _SECONDS_BETWEEN_RECEIPTS:
                    reported = time.monotonic()
                    self.report(self._event())

    def _written(self, transfer: Transfer, file: StagedFile, number: int) -> Receipt:
        """Write a file; record who has it already if some recipients refuse it."""
        try:
            return self.recipients.write(transfer, file, self._progress)
        except PartlyDelivered as error:
            members = {"files": len(self.staged.files), "attempt": number, "sha256": file.sha256}
            for recipient in error.recipients:
                row = self.run.row(
                    self.claimed, self.name, PARTLY, file=file.name, address=recipient, **members
                )
                self.rows.append(row)
            raise

    def _delivered(self, file: StagedFile, receipt: Receipt, number: int, seconds: float) -> ReceiptRow:
        return self.run.row(
            self.claimed,
            self.name,
            DELIVERED,
            file=file.name,
            files=len(self.staged.files),
            attempt=number,
            seconds=seconds,
            size=receipt.size,
            sent=receipt.sent,
            rows=file.rows,
            sha256=file.sha256,
            verified_by=receipt.verified_by,
            address=receipt.address,
        )

    def _failing(self, number: int, error: BaseException, again: bool) -> None:
        if not _is_of_destination(error):
            return
        reason = failure_reason(error)
        self._log(number, "again" if again else "failed", reason=reason[:_LONGEST_REASON])
        failed = self.run.row(
            self.claimed,
            self.name,
            FAILED,
            file=self.left[0].name if self.left else "",
            files=len(self.staged.files),
            attempt=number,
            seconds=time.monotonic() - self.began,
            sent=max(self.of_attempt, 0),
            address=self.address,
            reason=reason[:_LONGEST_REASON],
        )
        self.rows.append(failed)
        if again:
            self.report(self._event())
        more = " and is made again" if again else ""
        self.run.watcher.report(
            f"{self.run.order.name}: {self.name}, attempt {number} failed{more}: {reason}"
        )

    def _log(self, attempt: int, status: str, **fields: object) -> None:
        log_event(
            "delivery_attempt",
            f"{self.run.order.name} to {self.name}, attempt {attempt}: {status}",
            level="info" if status == "delivered" else "warning" if status == "again" else "error",
            delivery=self.run.order.name,
            destination=self.name,
            attempt=attempt,
            status=status,
            files=len(self.receipts),
            bytes=sum(receipt.sent for receipt in self.receipts),
            seconds=round(time.monotonic() - self.began, 3),
            **fields,
        )

    def _progress(self, sent: int) -> None:
        self._go_on()
        self.of_file += sent
        self.of_attempt += sent
        self.run.watcher.progress(self.name, self.done + self.of_file, self.total)

    def _go_on(self) -> None:
        """Raise an error if the run was interrupted, or its time is over."""
        if self.run.stopped.is_set():
            raise _Stopped
        if time.monotonic() >= self.run.until:
            minutes = self.run.order.policy.deadline / 60
            raise DestinationUnavailable(
                f"{self.name} did not get the files within {minutes:g} minutes, the deadline of the "
                "attempts. The next run continues; raise attempts.deadline_minutes if it needs longer."
            )


def _harmless(function: Callable[..., None]) -> Callable[..., None]:
    """Return the function with its errors suppressed."""

    def called(*arguments: object) -> None:
        with suppress(Exception):
            function(*arguments)

    return called


def _arrived(events: queue.SimpleQueue[_Event], timeout: float | None) -> list[_Event]:
    """Wait for what destinations report, and return all of it; nothing if the time is over."""
    found: list[_Event] = []
    with suppress(queue.Empty):
        found.append(events.get(timeout=timeout))
        while True:
            found.append(events.get_nowait())
    return found


def described(files: Sequence[StagedFile]) -> str:
    """The files in words: how many, bytes and rows."""
    counted = [file.rows for file in files if file.rows is not None]
    rows = f", {sum(counted):,} rows" if counted else ""
    name = files[0].name if len(files) == 1 else f"{len(files):,} files"
    return f"{name} ({sum(file.size for file in files):,} bytes{rows})"


def failure_reason(error: BaseException) -> str:
    """The reason of an error; the text of an unexpected error is left out, as it may have secrets in it."""
    return reason_of(error, tell_text=isinstance(error, PlatformError))


def short_version(version: str | None) -> str | None:
    """A version that is short enough to be shown."""
    if version is None or len(version) <= _LONGEST_VERSION:
        return version
    return f"sha256:{hashlib.sha256(version.encode()).hexdigest()}"


def _is_of_destination(error: BaseException) -> bool:
    """Return True if an error is the failure of a destination; False for an interruption."""
    try:
        return is_isolated(error) and not isinstance(error, _Stopped)
    except KeyboardInterrupt:
        return False


def _may_be_empty(source: DataSource) -> bool:
    return bool(getattr(source, "may_be_empty", False))


def _files(content: Iterator[Rows | Bytes]) -> Iterator[Bytes]:
    for item in content:
        if isinstance(item, Rows):
            raise DeliveryError(
                f"The rows of {item.name} have no format. Add one to the delivery's key render, such as csv."
            )
        yield item


def _value_or_error(make: Callable[[], Value]) -> Value | BaseException:
    try:
        return make()
    except BaseException as error:
        if not is_isolated(error):
            raise
        return error


def _clock(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%H:%M:%S} UTC"
