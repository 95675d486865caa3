"""The queues in Redis, and the workers that take from them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platform_assets.errors import PlatformError

if TYPE_CHECKING:
    from platform_assets.workers.settings import CelerySettings

_TIMEOUT = 5.0
_TAKEN = "unacked"
"""Celery's hash of the messages that are with workers."""


class BrokerUnavailable(PlatformError):
    """The Redis server of the workers did not answer, or refused the connection."""

    retryable = True


@dataclass(frozen=True)
class BrokerFacts:
    """A Redis server.

    Args:
        address: Its URL without credentials.
        version: Its version.
        eviction: What it does when its memory is full; empty where it does not tell.
        is_persistent: Whether it writes all changes to disk; None where it does not tell.
    """

    address: str
    version: str
    eviction: str
    is_persistent: bool | None


class Broker:
    """A connection with the broker.

    Args:
        client: The client of Redis.
        address: The server's URL without credentials.
    """

    def __init__(self, client: Any, address: str) -> None:
        self._client, self._address = client, address

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: str) -> Iterator[Broker]:
        """Connect with the broker.

        Args:
            url: Its URL.

        Raises:
            BrokerUnavailable: It does not answer, or refuses the connection.
            SettingsError: The client is not installed.
        """
        from platform_assets.workers.messages import missing_extra

        try:
            import redis
        except ImportError:
            raise missing_extra() from None
        # A password may have an @ too.
        address = re.sub(r"(?<=://).*@", "", url)
        client = redis.Redis.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT)
        try:
            with contextlib.closing(client):
                yield cls(client, address)
        except redis.RedisError as failure:
            reason = str(failure).rstrip(".")
            raise BrokerUnavailable(f"Redis at {address} cannot be used: {reason}.") from failure

    def facts(self) -> BrokerFacts:
        """Return the server's version and how it keeps its data."""
        import redis

        information = self._client.info("server") | self._client.info("memory")
        try:
            given = self._client.config_get("appendonly")
        except redis.ResponseError:  # managed servers do not show their configuration
            given = {}
        persistent = given.get("appendonly")
        return BrokerFacts(
            self._address,
            str(information.get("redis_version", "")),
            str(information.get("maxmemory_policy", "")),
            None if persistent is None else persistent == "yes",
        )

    def waiting(self, queues: Sequence[str]) -> dict[str, int]:
        """Return the number of runs or steps that wait in each queue."""
        return {name: int(self._client.llen(name)) for name in queues}

    def holds(self, task: str, queue: str) -> bool:
        """Return True if the message of a task waits in a queue, or is with a worker.

        The cost is that of reading all messages, so that this is for a task of which nothing else is known.
        """
        sought = task.encode()
        return any(
            sought in message for message in (*self._client.lrange(queue, 0, -1), *self._client.hvals(_TAKEN))
        )


def workers_by_queue(settings: CelerySettings, seconds: float) -> dict[str, list[str]]:
    """Return the names of the workers of each queue.

    Args:
        settings: The broker.
        seconds: How long to wait for answers.
    """
    from platform_assets.workers.messages import build_app

    app = build_app(settings)
    try:
        answers = app.control.inspect(timeout=seconds).active_queues() or {}
    except app.connection().connection_errors as failure:
        raise BrokerUnavailable(f"The workers cannot be asked: {failure}.") from failure
    finally:
        app.close()
    found: dict[str, list[str]] = {}
    for worker, queues in sorted(answers.items()):
        for queue in queues:
            found.setdefault(queue["name"], []).append(worker)
    return found
