"""Receipts: what became of every delivery at every destination, attempt by attempt.

An append-only Delta table of the lake. Rows without a destination are about a delivery as a whole: its plan,
which fixes its uuid, name and time before anything is rendered, and its outcome. A plan is also a claim:
until it ends, no other run makes the same delivery. The claim of a process that has died on this machine no
longer counts.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from platform_assets.delivery.interfaces import DeliveryError, StagedFile, Stamp
from platform_assets.delivery.tables import RECEIPT_COLUMNS
from platform_assets.isolation import is_isolated
from platform_assets.lake.arrow import time_of
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.interfaces import KeptTable
from platform_assets.lake.log import AppendLog, LogVersion, storable
from platform_assets.model.dialects import literal
from platform_assets.model.table import Timestamp
from platform_assets.processes import is_alive

PLANNED, STARTED, DELIVERED, FAILED, SKIPPED = "planned", "started", "delivered", "failed", "skipped"
PARTLY = "partly"
"""Status of a file that one of a destination's recipients has, and not all of them."""
NO_FILE = "the source has no file, and may be empty"
"""Reason of a delivery that was skipped because there is nothing to deliver."""
_OUTCOMES = (DELIVERED, FAILED, SKIPPED)
_FILES_BEFORE_COMPACTION = 200
_COMMITS_BETWEEN_LOOKS = 50
_READ_ONE_BY_ONE = 2
# A commit takes longer the more commits there are since the last checkpoint.
_COMMITS_BETWEEN_CHECKPOINTS = 20
# On local disk, a commit takes longer the more versions the log can show. Nobody reads old ones: rows are
# never amended, and have the number of their commit.
_VERSIONS_KEPT = 100
# The rows of each delivery's newest plan, and of the newest whose files were sent.
_NEWEST = """
    SELECT log.* FROM log JOIN (
        SELECT delivery, uuid FROM (
            SELECT delivery, uuid, row_number() OVER (
                PARTITION BY delivery, status ORDER BY "commit" DESC
            ) AS place FROM log WHERE status IN ('planned', 'started') AND {0}
        ) WHERE place = 1 GROUP BY delivery, uuid
    ) AS newest ON log.delivery = newest.delivery AND log.uuid = newest.uuid
    WHERE {0} ORDER BY log."commit", log.at
"""
_LATEST = """
    SELECT * FROM (
        SELECT *, row_number() OVER (
            PARTITION BY delivery, destination ORDER BY "commit" DESC, at DESC
        ) AS place FROM log WHERE {0}
    ) WHERE place = 1 ORDER BY delivery, destination
"""
_CLAIM = dt.timedelta(minutes=10)


class DeliveryBusy(DeliveryError):
    """Another run is making the same delivery at this moment."""

    retryable = True


@dataclass(frozen=True)
class ReceiptRow:
    """One row of the log; the columns explain its members."""

    delivery: str
    status: str
    destination: str = ""
    version: str = ""
    definition: str = ""
    uuid: str = ""
    file: str = ""
    files: int = 0
    attempt: int = 0
    at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    planned_at: dt.datetime | None = None
    seconds: float = 0.0
    size: int | None = None
    sent: int = 0
    rows: int | None = None
    sha256: str = ""
    verified_by: str = ""
    address: str = ""
    reason: str = ""
    claimed_until: dt.datetime | None = None
    claimed_by: str = ""
    run: str = ""
    commit: int = 0

    def stored(self) -> dict[str, Any]:
        """The row as the log takes it."""
        members = {column.name: getattr(self, column.name) for column in RECEIPT_COLUMNS[:-1]}
        return {
            name: storable(member) if isinstance(member, str) else member for name, member in members.items()
        }


def _row(values: Sequence[Any]) -> ReceiptRow:
    members = {column.name: value for column, value in zip(RECEIPT_COLUMNS, values, strict=True)}
    for column in RECEIPT_COLUMNS:
        if isinstance(column.type, Timestamp) and members[column.name] is not None:
            members[column.name] = time_of(members[column.name])
    return ReceiptRow(**members)


@dataclass(frozen=True)
class ShipmentState:
    """The receipts of one delivery of one version.

    Attributes:
        rows: Its rows, from the oldest.
    """

    rows: tuple[ReceiptRow, ...]

    @property
    def uuid(self) -> str:
        """The identity of the delivery."""
        return self.rows[0].uuid

    @property
    def planned_at(self) -> dt.datetime:
        """The time of its first attempt, UTC."""
        return self.rows[0].planned_at or self.rows[0].at

    @property
    def version(self) -> str:
        """The version of its data; empty if it was not known yet."""
        return next((row.version for row in reversed(self.rows) if row.version), "")

    @property
    def definition(self) -> str:
        """A fingerprint of the delivery's definition."""
        return self.rows[-1].definition

    @property
    def is_interrupted(self) -> bool:
        """True if its last run left no outcome."""
        whole = [row for row in self.rows if not row.destination]
        return bool(whole) and whole[-1].status not in _OUTCOMES

    @property
    def is_failed(self) -> bool:
        """True if its last run has failed."""
        whole = [row for row in self.rows if not row.destination]
        return bool(whole) and whole[-1].status == FAILED

    @property
    def is_empty(self) -> bool:
        """True if its data had no file, and was allowed to have none."""
        return any((row.status, row.reason) == (SKIPPED, NO_FILE) for row in self.rows)

    def files(self, stamp: Stamp) -> tuple[StagedFile, ...]:
        """Its files as the receipts describe them; their content may be gone."""
        by_name = {row.file: row for row in self.rows if row.status == DELIVERED and row.file}
        return tuple(
            StagedFile(Path(name), name, receipt.size or 0, receipt.sha256, "", receipt.rows, "", stamp)
            for name, receipt in by_name.items()
        )

    @property
    def delivered_at(self) -> dt.datetime:
        """When the newest of its files was delivered, UTC; its first attempt if none was."""
        return max((row.at for row in self.rows if row.status == DELIVERED), default=self.planned_at)

    def delivered(self, destination: str) -> dict[str, ReceiptRow]:
        """The receipts of the files that a destination has, by the files' names."""
        return {
            row.file: row
            for row in self.rows
            if row.destination == destination and row.status == DELIVERED and row.file
        }

    def recipients(self, destination: str, file: StagedFile) -> frozenset[str]:
        """The addresses of those recipients of a destination that have a file."""
        wanted = (destination, PARTLY, file.name, file.sha256)
        return frozenset(
            row.address for row in self.rows if (row.destination, row.status, row.file, row.sha256) == wanted
        )

    def has_all(self, destination: str) -> bool:
        """Return True if a destination has all files."""
        if self.is_empty:
            return True
        files = self.delivered(destination)
        return bool(files) and len(files) >= next(iter(files.values())).files

    def claim(self, now: dt.datetime) -> ReceiptRow | None:
        """The claim of a run that makes it at this moment; None if there is none.

        Args:
            now: The time, UTC.
        """
        claims: dict[str, ReceiptRow] = {}
        for row in self.rows:
            if not row.destination:
                claims.pop(row.claimed_by, None)
                if row.claimed_until is not None:
                    claims[row.claimed_by] = row
        return next((claim for claim in claims.values() if _is_held(claim, now)), None)


@dataclass(frozen=True)
class LastShipments:
    """The newest plan of a delivery, and the newest delivery whose files were sent; often the same.

    Attributes:
        planned: The newest plan.
        started: The newest whose data was rendered and sent.
    """

    planned: ShipmentState | None = None
    started: ShipmentState | None = None


class Receipts:
    """The receipts of all deliveries.

    What was read of a delivery is remembered, and read again only when another process has recorded anything.

    Args:
        table: The Delta table, with `RECEIPT_COLUMNS`.
    """

    def __init__(self, table: LakeTable) -> None:
        self.table = table
        self._log = AppendLog(table, "The log of receipts", "receipts", key=("delivery", "destination"))
        self._version: LogVersion | None = None
        self._number = 0
        self._lock = threading.RLock()
        self._known: dict[str, LastShipments] = {}
        self._known_as_of = -1
        self._knows_all = False

    def kept(self) -> KeptTable:
        """Return the log as upkeep takes care of it."""
        return self._log.kept("delivery/receipts")

    def current(self) -> LogVersion:
        """The log at its newest version."""
        with self._lock:
            version = self._version
            if version is not None and version.handle is not None:
                try:
                    # Much cheaper than opening the table again.
                    version.handle.update_incremental()
                except BaseException as error:
                    if not is_isolated(error):
                        raise
                else:
                    return self._at(version)
            return self._at(self._log.read())

    def _at(self, version: LogVersion) -> LogVersion:
        self._version, self._number = version, version.number
        return version

    def last(self, delivery: str) -> LastShipments:
        """Return what the receipts say of a delivery's newest versions."""
        with self._lock:
            return self._last_as_of(self.current(), delivery)

    def _last_as_of(self, version: LogVersion, delivery: str) -> LastShipments:
        if self._number != self._known_as_of:
            self._known, self._known_as_of, self._knows_all = {}, self._number, False
        if delivery not in self._known and not self._knows_all:
            # A process that makes many deliveries reads the log once.
            self._knows_all = len(self._known) >= _READ_ONE_BY_ONE
            condition = "true" if self._knows_all else f"log.delivery = {literal(delivery)}"
            found = by_delivery(map(_row, version.select(_NEWEST.format(condition))))
            self._known |= {name: _last(rows) for name, rows in found.items()}
        return self._known.setdefault(delivery, LastShipments())

    def append(self, rows: Iterable[ReceiptRow]) -> None:
        """Record rows in one commit, whatever others record.

        Raises:
            LakeError: The log cannot be written.
        """
        stored = tuple(rows)
        if stored:
            self.append_after(stored[0].delivery, lambda last: stored)

    def append_after(
        self, delivery: str, decide: Callable[[Callable[[], LastShipments]], Sequence[ReceiptRow]]
    ) -> None:
        """Record rows that depend on what is recorded already; nobody else records anything in between.

        Args:
            delivery: Name of the delivery.
            decide: Takes a function that tells the delivery's newest versions, and returns the rows; called
                again after a lost race.

        Raises:
            LakeError: The log cannot be written.
        """
        with self._lock:
            # A version that is not the newest any more loses the race, and is read again.
            first = self._version or self.current()
            for version in self._log.attempts(first):
                if version is not self._version:
                    self._at(version)
                rows, number = decide(partial(self._last_as_of, version, delivery)), self._number
                # Unless the commit succeeds, nobody knows what it left behind: the log is read again.
                self._version = None
                if version.try_append([row.stored() for row in rows], after=number):
                    # The first commit creates the table, which this version does not have.
                    self._version = version if version.handle is not None else None
                    self._remember(rows, number)
                    return
            raise self._log.lost_race()

    def _remember(self, rows: Sequence[ReceiptRow], before: int) -> None:
        """Take rows that were just recorded into what is known."""
        self._number = before + 1
        is_due = self._number % _COMMITS_BETWEEN_CHECKPOINTS == 0
        if is_due and self._version is not None and self._version.checkpoint(_VERSIONS_KEPT):
            self._version = None
        if self._known_as_of != before:
            return
        self._known_as_of = self._number
        for name, new in by_delivery(replace(row, commit=before + 1) for row in rows).items():
            if name in self._known or self._knows_all:
                last = self._known.get(name, LastShipments())
                old = {row for state in (last.planned, last.started) if state for row in state.rows}
                self._known[name] = _last([*sorted(old, key=lambda row: (row.commit, row.at)), *new])

    def latest(self, condition: str = "true") -> list[ReceiptRow]:
        """The newest row of each delivery and destination.

        Args:
            condition: SQL that earlier and later rows must meet.
        """
        return [_row(values) for values in self.current().select(_LATEST.format(condition))]

    def newest(self, limit: int) -> list[ReceiptRow]:
        """The newest rows of all deliveries, the newest first."""
        query = f"SELECT * FROM log ORDER BY commit DESC, at DESC LIMIT {limit:d}"
        return [_row(values) for values in self.current().select(query)]

    def count(self) -> int:
        """The number of rows."""
        return self.table.row_count(self.current().handle)

    def tidy(self) -> None:
        """Merge the small files that commits leave, from time to time.

        Raises:
            LakeConflict: Another run does it at the same time.
        """
        with self._lock:
            if self._number % _COMMITS_BETWEEN_LOOKS == 0 and self._log.compact(_FILES_BEFORE_COMPACTION):
                self._version = None


def _last(rows: Sequence[ReceiptRow]) -> LastShipments:
    """The newest deliveries among the rows of a delivery, in the order of their commits and times."""
    by_uuid: dict[str, list[ReceiptRow]] = {}
    newest: dict[str, str] = {}
    for row in rows:
        by_uuid.setdefault(row.uuid, []).append(row)
        newest[row.status] = row.uuid
    planned, started = (
        ShipmentState(tuple(by_uuid[newest[status]])) if status in newest else None
        for status in (PLANNED, STARTED)
    )
    return LastShipments(planned, started)


def new_claimant() -> str:
    """The identity of a run in claims: machine, process, start of the process, and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{_own_start(os.getpid())}:{secrets.token_hex(4)}"


@functools.cache
def _own_start(pid: int) -> str:
    """The start of this process, under its id, because a fork has another."""
    return _started_at(pid)


def _is_held(claim: ReceiptRow, now: dt.datetime) -> bool:
    """Return True if a claim has not ended, and its process is not known to have died."""
    if claim.claimed_until is None or claim.claimed_until <= now:
        return False
    host, _, process = claim.claimed_by.partition(":")
    pid, _, rest = process.partition(":")
    started, _, _ = rest.partition(":")
    if host != socket.gethostname() or not pid.isdecimal():
        return True
    return is_alive(int(pid)) and _started_at(int(pid)) == started


def _started_at(pid: int) -> str:
    import psutil

    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.Error:
        return ""


def claim_end(now: dt.datetime) -> dt.datetime:
    """The end of a claim that is made or renewed now."""
    return now + _CLAIM


def by_delivery(rows: Iterable[ReceiptRow]) -> Mapping[str, list[ReceiptRow]]:
    """Rows by the name of their delivery."""
    found: dict[str, list[ReceiptRow]] = {}
    for row in rows:
        found.setdefault(row.delivery, []).append(row)
    return found
