"""Leases on messages of Redis: a worker that lives keeps its work, and that of a dead one goes to another.

Redis knows no acknowledgements. Celery's transport (kombu) keeps a set of the messages that are being worked
on, each with the time of its delivery, and any worker delivers those again that are older than the visibility
timeout. A step that takes longer would run twice, and with a timeout of hours a step of a dead worker would
wait for hours. Here each worker renews the times of its own messages, so that the timeout can be short.
"""

from __future__ import annotations

import time
from signal import SIGKILL
from typing import Any

from celery import Celery, Task, bootsteps
from celery.worker.request import Request
from kombu.asynchronous import get_event_loop

_RENEWALS = 3
"""Renewals within a lease: two may fail."""


def renew_leases(app: Celery, lease: int) -> None:
    """Let the workers of an app renew the leases of their messages.

    Args:
        app: The app.
        lease: Seconds that a lease lasts.
    """

    class Renewal(bootsteps.StartStopStep):  # type: ignore[misc]
        """The timer in the event loop of the worker, whose work is done by child processes."""

        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:
            self.timer = consumer.timer.call_repeatedly(lease / _RENEWALS, renew, (consumer,))

        def stop(self, consumer: Any) -> None:
            self.timer.cancel()

    app.steps["consumer"].add(Renewal)


def renew(consumer: Any) -> None:
    """Renew the leases of all messages that a worker has and has not acknowledged."""
    channel = consumer.task_consumer.channel
    held = list(channel.qos._delivered)  # kombu tells the tags of these messages nowhere else
    if held:
        # Not the channel's own connection, on which it waits for messages.
        with channel.conn_or_acquire() as client:
            # Only those that are still there: a message that went to another worker is not taken back.
            client.zadd(channel.unacked_index_key, dict.fromkeys(held, time.time()), xx=True)


class WorkRequest(Request):  # type: ignore[misc]
    """A message that a worker has taken."""

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Stop the work of a cancelled run: by SIGTERM, and by SIGKILL if it still works after a lease.

        Python looks at signals between two of its instructions; a call into a database driver may wait for
        the lock of another session for long.
        """
        super().terminate(pool, signal)
        lease = self._app.conf.broker_transport_options["visibility_timeout"]
        loop: Any = get_event_loop()
        if loop is not None:
            loop.call_later(lease, self._kill, pool)

    def _kill(self, pool: Any) -> None:
        result = self._apply_result() if self._apply_result is not None else None
        if result is not None and not result.ready():
            pool.terminate_job(self.worker_pid, SIGKILL)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Give up the work, because the worker has lost the broker or has to stop; another worker gets it.

        SIGTERM would let Dagster record that the step has failed.
        """
        super().cancel(pool, SIGKILL, emit_retry=emit_retry)


class Work(Task):  # type: ignore[misc]
    """A step or a run."""

    abstract = True
    ignore_result = False
    Request = WorkRequest

    @property
    def is_repeated(self) -> bool:
        """True if a worker had the message before, and did not end its work."""
        return bool((self.request.delivery_info or {}).get("redelivered"))
