"""Probes of the doctor: the broker answers and keeps its queues, and each queue has a worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from platform_assets.diagnosis import Observation, error, ok, warning

if TYPE_CHECKING:
    from platform_assets.workers.settings import CelerySettings

_ANSWER_WITHIN = 3.0


def look_at_broker(settings: CelerySettings) -> Iterator[Observation]:
    """Look whether Redis answers, and whether it may lose messages."""
    from platform_assets.workers.queues import Broker, BrokerUnavailable

    try:
        with Broker.open(settings.broker.resolve()) as broker:
            facts = broker.facts()
    except BrokerUnavailable as failure:
        yield error(
            "broker", str(failure), "Start Redis, or correct the URL that workers.celery.broker names."
        )
        return
    yield ok("broker", f"Redis {facts.version} answers at {facts.address}")
    if facts.eviction not in ("noeviction", ""):
        advice = "Set maxmemory-policy to noeviction."
        yield error("broker", f"Redis drops queues when its memory is full ({facts.eviction})", advice)
    if facts.is_persistent is False:
        yield warning(
            "broker",
            "Redis keeps the queues in memory only; if it restarts, runs that wait there are lost",
            "Set appendonly to yes.",
        )


def look_at_queues(settings: CelerySettings, queues: Sequence[str]) -> Iterator[Observation]:
    """Look whether each queue has a worker."""
    from platform_assets.workers.queues import workers_by_queue

    found = workers_by_queue(settings, _ANSWER_WITHIN)
    for queue in queues:
        if workers := found.get(queue):
            yield ok(f"queue {queue}", f"{len(workers)} workers take from it")
        else:
            advice = f"Start one: platform-assets workers start --queues {queue}"
            yield error(f"queue {queue}", "no worker takes from it, so that its work waits for ever", advice)
