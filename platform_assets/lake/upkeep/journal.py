"""The journal of upkeep: what was done to each table, and the lock that lets one run work at a time.

An append-only log of the lake, so that both work on local disk and in buckets. The lock is a row with a term;
its holder extends it while it works. A holder that died loses it at the end of the term, and at once if the
next run is on the same machine. A run that lost its lock stops; what it did is valid, because every change of
a table is a transaction of its own.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from platform_assets.errors import LakeError, UpkeepBusy
from platform_assets.lake.arrow import time_of
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.interfaces import KeptTable, Outdated
from platform_assets.lake.log import AppendLog, storable
from platform_assets.model.dialects import literal
from platform_assets.model.table import Column, Integer, Text, Timestamp
from platform_assets.processes import is_alive

if TYPE_CHECKING:
    import duckdb

JOURNAL_COLUMNS = (
    Column("key", Text(), "Name of the table; `lock` for the lock"),
    Column("status", Text(), "done or failed; of the lock: held or released"),
    Column("at", Timestamp(utc=True), "When this was written, by the platform's clock, UTC"),
    Column("until", Timestamp(utc=True), "When the lock ends, UTC", nullable=True),
    Column("done", Text(), "What was done, as a JSON object; of the lock: its holder"),
    Column("error", Text(), "Why upkeep failed; empty otherwise"),
    Column("commit", Integer(64), "Number of the commit; of a key, the row with the largest counts"),
)
_LOCK = "lock"
_TERM = dt.timedelta(minutes=15)
_KEPT_FOR = dt.timedelta(days=7)


@dataclass(frozen=True)
class LastUpkeep:
    """The last upkeep of a table.

    Attributes:
        at: When it ended, UTC.
        done: What was done.
        error: Why it failed; empty otherwise.
    """

    at: dt.datetime
    done: Mapping[str, Any]
    error: str = ""


@dataclass
class Lock:
    """The lock of this run.

    Args:
        journal: The journal.
        holder: Identifies the run.
        until: When the lock ends, UTC.
    """

    journal: Journal
    holder: str
    until: dt.datetime

    def extend(self) -> None:
        """Extend the lock if half of its term is over.

        Raises:
            UpkeepBusy: Another run has taken the lock over.
        """
        now = dt.datetime.now(dt.UTC)
        if self.until - now < _TERM / 2:
            self.until = self.journal.take_lock(self.holder, now)


@dataclass(frozen=True)
class Journal:
    """The journal.

    Args:
        table: The Delta table, with `JOURNAL_COLUMNS`.
    """

    table: LakeTable
    _host: str = field(default_factory=socket.gethostname)

    @property
    def log(self) -> AppendLog:
        """The rows of the journal."""
        return AppendLog(self.table, "The journal of upkeep", stream="upkeep", key=("key",))

    def kept(self) -> KeptTable:
        """Return the journal as upkeep takes care of it: entries go after a week if a later one follows."""

        def outdated(connection: duckdb.DuckDBPyConnection, now: dt.datetime) -> Outdated:
            connection.execute(
                'CREATE OR REPLACE TEMP TABLE newest AS SELECT key, max("commit") AS last FROM stored '
                "GROUP BY key"
            )
            return Outdated(
                f'stored."at" < TIMESTAMPTZ {literal(str(now - _KEPT_FOR))} AND EXISTS (FROM newest WHERE '
                'newest.key = stored.key AND newest.last > stored."commit")'
            )

        return self.log.kept("upkeep", outdated=outdated)

    def last(self) -> dict[str, LastUpkeep]:
        """Return the last upkeep of each table, by the table's name."""
        return {
            key: LastUpkeep(time_of(at), json.loads(done), error)
            for key, _, at, _, done, error, _ in self.log.read().latest(f"key <> '{_LOCK}'")
        }

    def record(self, entries: Mapping[str, LastUpkeep]) -> None:
        """Record the upkeep of tables in one commit."""
        rows = [
            {
                "key": name,
                "status": "failed" if entry.error else "done",
                "at": entry.at,
                "until": None,
                "done": json.dumps(dict(entry.done)),
                "error": storable(entry.error),
            }
            for name, entry in entries.items()
        ]
        if rows:
            self.log.append(rows)

    @contextlib.contextmanager
    def locked(self) -> Iterator[Lock]:
        """Hold the lock during a block.

        Raises:
            UpkeepBusy: Another run holds it.
        """
        holder = json.dumps({"host": self._host, "pid": os.getpid(), "run": uuid.uuid4().hex})
        lock = Lock(self, holder, self.take_lock(holder, dt.datetime.now(dt.UTC)))
        try:
            yield lock
        finally:
            # Without a release, the lock ends with its term, or with this process.
            with contextlib.suppress(LakeError):
                self._release(holder)

    def take_lock(self, holder: str, now: dt.datetime) -> dt.datetime:
        """Take the lock, or extend it, and return when it ends.

        Raises:
            UpkeepBusy: Another run holds it.
        """
        for version in self.log.attempts():
            held = self._held(version.latest(f"key = '{_LOCK}'"), now)
            if held is not None and held[0] != holder:
                raise UpkeepBusy(
                    f"Upkeep of {self.table.uri.rpartition('/')[0]} is running: process {_process(held[0])} "
                    f"holds its lock until {held[1]:%H:%M:%S} UTC at the latest. Wait until it ends."
                )
            until = now + _TERM
            if version.try_append([_lock_row("held", holder, now, until)]):
                return until
        raise self.log.lost_race()

    def _release(self, holder: str) -> None:
        now = dt.datetime.now(dt.UTC)
        for version in self.log.attempts():
            held = self._held(version.latest(f"key = '{_LOCK}'"), now)
            if held is None or held[0] != holder:
                return
            if version.try_append([_lock_row("released", holder, now, None)]):
                return

    def _held(self, rows: Iterator[tuple[Any, ...]], now: dt.datetime) -> tuple[str, dt.datetime] | None:
        """Return the holder of the lock and when it ends; None if nobody holds it."""
        for _, status, _, until, holder, _, _ in rows:
            if status == "held" and until is not None and time_of(until) > now and not self._is_dead(holder):
                return holder, time_of(until)
        return None

    def _is_dead(self, holder: str) -> bool:
        """Return True if a holder was a process of this machine that has ended."""
        process = json.loads(holder)
        return process["host"] == self._host and not is_alive(int(process["pid"]))


def _lock_row(status: str, holder: str, now: dt.datetime, until: dt.datetime | None) -> dict[str, Any]:
    return {"key": _LOCK, "status": status, "at": now, "until": until, "done": holder, "error": ""}


def _process(holder: str) -> str:
    process = json.loads(holder)
    return f"{process['pid']} on {process['host']}"
