"""Diagnoses: what each room can say about the state of its configuration and connections.

`platform-assets doctor` runs the probes of all rooms. A probe changes nothing that a user would see: what it
has to write, in order to know that it may, it removes again.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from platform_assets.errors import PlatformError
from platform_assets.isolation import failure_of, reason_of

_AT_ONCE = 6


class Health(StrEnum):
    """The state of one subject."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Observation:
    """A line of the diagnosis.

    Args:
        subject: What was looked at, within the probe's area.
        status: Its state.
        sentence: The state in words.
        advice: What to do; empty where nothing is to be done.
    """

    subject: str
    status: Health
    sentence: str
    advice: str = ""


@dataclass(frozen=True)
class Probe:
    """Something to look at, which may take a moment and may fail.

    Args:
        area: The part of the platform that it belongs to, such as `source totesys`.
        subject: What it looks at; the subject of the finding if it fails.
        look: Yields findings. An error that it raises is a finding too.
        seconds: Time after which nobody waits for it any longer.
    """

    area: str
    subject: str
    look: Callable[[], Iterable[Observation]]
    seconds: float = 30.0


@runtime_checkable
class HasProbes(Protocol):
    """A room whose state can be diagnosed."""

    def probes(self) -> Iterable[Probe]:
        """Yield the room's probes; nothing is connected to yet."""
        ...


def ok(subject: str, sentence: str) -> Observation:
    """A subject that is as it should be."""
    return Observation(subject, Health.OK, sentence)


def warning(subject: str, sentence: str, advice: str) -> Observation:
    """A subject that works, and may not for long."""
    return Observation(subject, Health.WARNING, sentence, advice)


def error(subject: str, sentence: str, advice: str = "") -> Observation:
    """A subject that does not work."""
    return Observation(subject, Health.ERROR, sentence, advice)


def diagnose(probes: Sequence[Probe]) -> Iterator[tuple[Probe, list[Observation]]]:
    """Run probes, a few at the same time, each isolated from the others.

    Args:
        probes: The probes.

    Yields:
        Each probe with its findings, in the order of the probes, as soon as it has ended.
    """
    attempts = [_Attempt(probe) for probe in probes]
    free = threading.Semaphore(_AT_ONCE)

    def start() -> None:
        for attempt in attempts:
            free.acquire()
            try:
                attempt.start(free)
            except RuntimeError as refusal:
                # The system allows no more threads.
                attempt.fail(refusal)
                free.release()

    threading.Thread(target=start, name="doctor", daemon=True).start()
    for probe, attempt in zip(probes, attempts, strict=True):
        yield probe, attempt.findings()


class _Attempt:
    """A probe in a thread of its own, which holds a place until it ends or nobody waits for it any more."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._begun: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._result: queue.SimpleQueue[list[Observation]] = queue.SimpleQueue()

    def fail(self, reason: BaseException) -> None:
        """End without having begun."""
        self._begun.put(time.monotonic())
        self._result.put([error(self._probe.subject, reason_of(reason))])

    def start(self, free: threading.Semaphore) -> None:
        """Begin, in a place that is already taken."""
        held = threading.Lock()

        def leave() -> None:
            # Whoever comes first, the end or the limit, gives the place back.
            if held.acquire(blocking=False):
                free.release()

        limit = threading.Timer(self._probe.seconds, leave)
        limit.daemon = True

        def run() -> None:
            try:
                self._result.put(_findings(self._probe))
            finally:
                limit.cancel()
                leave()

        threading.Thread(target=run, name=self._probe.subject, daemon=True).start()
        self._begun.put(time.monotonic())
        with contextlib.suppress(RuntimeError):
            limit.start()

    def findings(self) -> list[Observation]:
        """The findings of the probe once it has ended, or that it gives no answer."""
        limit = self._begun.get() + self._probe.seconds
        try:
            return self._result.get(timeout=max(limit - time.monotonic(), 0))
        except queue.Empty:
            sentence = f"No answer within {self._probe.seconds:g} seconds."
            advice = "Check the address, the network and the firewall between this machine and it."
            return [error(self._probe.subject, sentence, advice)]


def _findings(probe: Probe) -> list[Observation]:
    found: list[Observation] = []

    def look() -> None:
        for finding in probe.look():
            found.append(finding)

    if (failure := failure_of(look)) is not None:
        # Errors of libraries may repeat what they were given; the platform's own never repeat a secret.
        reason = reason_of(failure, tell_text=isinstance(failure, PlatformError))
        found.append(error(probe.subject, reason))
    return found
