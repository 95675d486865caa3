"""The outbox: alerts are stored here and sent from here, so that a channel that is down fails no run.

An append-only Delta table of the lake; the latest entry for each key and channel counts. A sender claims a
message for a limited time before sending it, so that only one of two senders sends it. If the sender dies,
the claim expires and the next sender takes over; it may then send a message a second time. A duplicate alert
is better than a lost one.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from platform_assets.alert import Alert, Severity
from platform_assets.alerts.notifier import Notifier
from platform_assets.errors import AlertError, LakeError
from platform_assets.isolation import Isolation, is_isolated, reason_of
from platform_assets.lake.arrow import time_of
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.interfaces import KeptTable, Outdated
from platform_assets.lake.log import AppendLog, storable
from platform_assets.model.dialects import literal
from platform_assets.model.table import Column, Integer, Text, Timestamp

if TYPE_CHECKING:
    import duckdb

OUTBOX_COLUMNS = (
    Column("key", Text(), "Subject of the alert; an alert with the same key is sent only once"),
    Column("channel", Text(), "Name of the channel"),
    Column("status", Text(), "queued, claimed, sent or undeliverable"),
    Column("attempt", Integer(32), "Number of attempts so far"),
    Column("due_at", Timestamp(utc=True), "Time from which it is sent, or a claim expires, UTC"),
    Column("queued_at", Timestamp(utc=True), "Time when it was first stored, UTC"),
    Column("alert", Text(), "The alert, as a JSON object"),
    Column("error", Text(), "Reason why the last attempt failed; empty otherwise"),
    Column("commit", Integer(64), "Number of the commit; the row with the largest counts"),
)
LOG = "log"
"""Name of the channel that writes to the log."""
_FAILURES_IN_A_ROW = 2
_LONGEST_ERROR = 500


class _Status(StrEnum):
    QUEUED = "queued"
    CLAIMED = "claimed"
    SENT = "sent"
    UNDELIVERABLE = "undeliverable"


@dataclass(frozen=True)
class Channel:
    """A configured channel.

    Args:
        name: Its name.
        notifier: Sends the messages.
        min_severity: Less severe alerts are not sent to this channel.
        named_only: True if only alerts that name this channel are sent to it.
        is_quiet: Returns True for a time (UTC) at which only CRITICAL alerts are sent to this channel.
    """

    name: str
    notifier: Notifier
    min_severity: Severity = Severity.INFO
    named_only: bool = False
    is_quiet: Callable[[dt.datetime], bool] = lambda now: False

    def takes(self, alert: Alert) -> bool:
        """Return True if an alert is sent to this channel; the log gets every alert."""
        if alert.channels:
            return self.name in (*alert.channels, LOG)
        return alert.severity >= self.min_severity and not self.named_only


@dataclass(frozen=True)
class RetryPolicy:
    """The retry policy for messages.

    Args:
        first_wait: Wait after the first failed attempt; doubled after each further attempt.
        longest_wait: The longest wait, unless the channel asks for a longer one.
        give_up_after: Age after which a message is not retried; it stays in the outbox with its error.
        claim: Longest time that a sender may hold a claim.
    """

    first_wait: dt.timedelta = dt.timedelta(seconds=30)
    longest_wait: dt.timedelta = dt.timedelta(hours=1)
    give_up_after: dt.timedelta = dt.timedelta(days=3)
    claim: dt.timedelta = dt.timedelta(minutes=10)


@dataclass(frozen=True)
class Delivery:
    """The result of a delivery.

    Args:
        sent: Number of messages that channels accepted.
        delayed: Number of failed messages that will be retried.
        undeliverable: Number of failed messages that will not be retried.
        problems: The reasons, by channel.
    """

    sent: int = 0
    delayed: int = 0
    undeliverable: int = 0
    problems: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Message:
    """One alert for one channel, as stored in the outbox.

    Attributes:
        alert: The alert.
        channel: Name of the channel.
        status: queued, claimed, sent or undeliverable.
        attempt: Number of attempts so far.
        due_at: Time from which it is sent, or at which its claim expires, UTC.
        queued_at: Time when it was first stored, UTC.
        error: Reason why the last attempt failed.
    """

    alert: Alert
    channel: str
    status: str
    attempt: int
    due_at: dt.datetime
    queued_at: dt.datetime
    error: str = ""


@dataclass(frozen=True)
class Outbox:
    """The alerts that were raised and their delivery status.

    Args:
        table: The Delta table, with `OUTBOX_COLUMNS`.
        policy: The retry policy of messages.
    """

    table: LakeTable
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def _log(self) -> AppendLog:
        return AppendLog(self.table, "The outbox", stream="outbox", key=("key", "channel"))

    def post(self, alerts: Iterable[Alert], channels: Sequence[Channel], now: dt.datetime) -> int:
        """Put alerts into the outbox, for every channel that takes them; nothing is sent yet.

        Args:
            alerts: The alerts; an alert whose key is already stored for a channel is skipped for that
                channel.
            channels: The channels.
            now: The time, UTC.

        Returns:
            The number of new messages.

        Raises:
            LakeError: The outbox cannot be written.
        """
        wanted = {
            (alert.key, channel.name): Message(alert, channel.name, _Status.QUEUED, 0, now, now)
            for alert in alerts
            for channel in channels
            if channel.takes(alert)
        }
        for log in self._log.attempts():
            stored = {
                (message.alert.key, message.channel)
                for message in _messages(log.latest_of(key for key, _ in wanted))
            }
            new = [message for pair, message in wanted.items() if pair not in stored]
            if not new or log.try_append(map(_row, new)):
                return len(new)
        raise self._log.lost_race()

    def deliver(self, channels: Sequence[Channel], now: dt.datetime, limit: int = 100) -> Delivery:
        """Send the due messages, most severe first; no error of a channel is raised.

        A failed message is retried later and does not affect the others. After two failures in a row, nothing
        more is sent to that channel in this call, to spare a channel that is down.

        Args:
            channels: The channels; messages for other channels are left alone.
            now: The time, UTC.
            limit: The most messages to send.

        Raises:
            LakeError: The outbox cannot be read or written.
        """
        by_name = {channel.name: channel.notifier for channel in channels}
        quiet = {channel.name for channel in channels if channel.is_quiet(now)}
        claimed = self._claim(by_name.keys(), now, limit, quiet)
        in_a_row: Counter[str] = Counter()
        ended: list[Message] = []
        try:
            for message in claimed:
                if in_a_row[message.channel] >= _FAILURES_IN_A_ROW:
                    ended.append(replace(message, status=_Status.QUEUED, due_at=now + self.policy.first_wait))
                    continue
                after = self._sent(message, by_name[message.channel], now)
                is_down = after.status is _Status.QUEUED
                in_a_row[message.channel] = in_a_row[message.channel] + 1 if is_down else 0
                ended.append(after)
        finally:
            # Record sent messages even if the rest is interrupted, so that they are not sent again.
            self._record(ended)
        counts = {status: sum(delivery.status == status for delivery in ended) for status in _Status}
        return Delivery(
            counts[_Status.SENT],
            counts[_Status.QUEUED],
            counts[_Status.UNDELIVERABLE],
            {
                delivery.channel: delivery.error
                for delivery in ended
                if delivery.error and delivery.status is not _Status.SENT
            },
        )

    def messages(self) -> list[Message]:
        """All messages with their current status, in the order in which they were first stored."""
        return sorted(
            _messages(self._log.read().latest()),
            key=lambda message: (message.queued_at, message.alert.key, message.channel),
        )

    def kept(self, days: int) -> KeptTable:
        """Return the outbox as upkeep takes care of it.

        Args:
            days: Age of messages that go if they were sent or given up, and of outdated entries.
        """

        def outdated(connection: duckdb.DuckDBPyConnection, now: dt.datetime) -> Outdated:
            before = f"TIMESTAMPTZ {literal(str(now - dt.timedelta(days=days)))}"
            ended = f"{literal(_Status.SENT)}, {literal(_Status.UNDELIVERABLE)}"
            connection.execute(
                'CREATE OR REPLACE TEMP TABLE ended AS SELECT key, channel, max("commit") AS last, '
                f'arg_max(status, "commit") IN ({ended}) AND max(due_at) < {before} AS is_over '
                "FROM stored GROUP BY key, channel"
            )
            return Outdated(
                "EXISTS (FROM ended WHERE ended.key = stored.key AND ended.channel = stored.channel "
                f'AND (is_over OR (stored.due_at < {before} AND stored."commit" < last)))'
            )

        return self._log.kept("alerts/outbox", outdated=outdated)

    def _claim(
        self, channels: Iterable[str], now: dt.datetime, limit: int, quiet: Container[str] = ()
    ) -> list[Message]:
        names = ", ".join(literal(name) for name in channels)
        if not names:
            return []
        pending = (_Status.QUEUED, _Status.CLAIMED)
        for log in self._log.attempts():
            found = _messages(log.latest(f"channel IN ({names})", pending))
            due = [
                delivery
                for delivery in found
                if delivery.status in pending
                and delivery.due_at <= now
                and (delivery.channel not in quiet or delivery.alert.severity >= Severity.CRITICAL)
            ]
            # Messages that failed before come last, so that an unacceptable message delays no other.
            due.sort(
                key=lambda delivery: (
                    delivery.attempt > 0,
                    -delivery.alert.severity,
                    delivery.queued_at,
                    delivery.alert.key,
                )
            )
            until = now + self.policy.claim
            claimed = [replace(delivery, status=_Status.CLAIMED, due_at=until) for delivery in due[:limit]]
            if not claimed or log.try_append(map(_row, claimed)):
                return claimed
        raise self._log.lost_race()

    def _sent(self, message: Message, notifier: Notifier, now: dt.datetime) -> Message:
        """Send one message, and return it with its new status."""
        try:
            notifier.send(message.alert)
        except BaseException as error:
            if not is_isolated(error):
                raise
            return self._failed(message, error, now)
        return replace(message, status=_Status.SENT, attempt=message.attempt + 1, due_at=now, error="")

    def _failed(self, message: Message, error: BaseException, now: dt.datetime) -> Message:
        attempt = message.attempt + 1
        failed = replace(message, attempt=attempt, error=reason_of(error)[:_LONGEST_ERROR])
        is_final = isinstance(error, AlertError) and not error.retryable
        if is_final or now - message.queued_at >= self.policy.give_up_after:
            return replace(failed, status=_Status.UNDELIVERABLE, due_at=now)
        wait = min(self.policy.first_wait * 2 ** min(attempt - 1, 20), self.policy.longest_wait)
        asked = getattr(error, "wait", None)
        if isinstance(error, AlertError) and asked is not None:
            wait = max(wait, dt.timedelta(seconds=asked))
        return replace(failed, status=_Status.QUEUED, due_at=now + wait)

    def _record(self, messages: Sequence[Message]) -> None:
        """Record the status of messages; a message that cannot be stored does not affect the others."""
        if not messages:
            return
        try:
            self._log.append([_row(message) for message in messages])
        except LakeError:
            raise
        except BaseException as error:
            if not is_isolated(error) or len(messages) == 1:
                raise
            recording = Isolation("Recording the status of messages in the outbox")
            for message in messages:
                with recording.guard(f"{message.channel}, {message.alert.reference}"):
                    self._log.append([_row(message)])
            recording.raise_failures()


def _row(message: Message) -> dict[str, Any]:
    return {
        "key": message.alert.key,
        "channel": message.channel,
        "status": message.status,
        "attempt": message.attempt,
        "due_at": message.due_at,
        "queued_at": message.queued_at,
        "alert": storable(message.alert.to_json()),
        "error": storable(message.error),
    }


def _messages(rows: Iterable[Sequence[Any]]) -> Iterator[Message]:
    for key, channel, status, attempt, due, queued, alert, error, _ in rows:
        try:
            due_at, queued_at = time_of(due), time_of(queued)
            message = Message(
                _alert(key, alert, queued_at), channel, _Status(status), attempt, due_at, queued_at, error
            )
        except (ValueError, TypeError, OverflowError) as broken:
            # The outcome of the attempt is unknown: do not send again, list the message with the reason.
            reason = reason_of(broken, tell_text=False)
            never = time_of(0)
            message = Message(
                _alert(key, alert, never), channel, _Status.UNDELIVERABLE, 0, never, never, reason
            )
        yield message


def _alert(key: str, stored: str, queued_at: dt.datetime) -> Alert:
    """The alert of a row; if the stored alert is invalid, an alert that reports this, so that it is sent."""
    try:
        alert = Alert.from_json(stored)
    except BaseException as error:
        if not is_isolated(error):
            raise
        reason = reason_of(error, tell_text=False)
        return Alert(
            key,
            Severity.ERROR,
            "A stored alert cannot be read",
            queued_at,
            facts=(("Stored in", "alerts/outbox, under its key"), ("Reason", reason)),
        )
    return replace(alert, key=key)
