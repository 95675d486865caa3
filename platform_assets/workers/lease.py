"""Leases on messages of Redis: a worker that lives keeps its work, and that of a dead one goes to another.

Redis knows no acknowledgements. Celery's transport (kombu) keeps a set of the messages that are being worked
on, each with the time of its delivery, and any worker delivers those again that are older than the visibility
timeout. A step that takes longer would run twice, and with a timeout of hours a step of a dead worker would
wait for hours. Here each worker renews the times of its own messages, so that the timeout can be short.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from celery import Celery, Task, bootsteps
from celery.exceptions import Ignore

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


def work_of_platform(is_refused: Callable[[Mapping[str, Any], bool], bool]) -> type[Task]:
    """Return a class of tasks that are not executed where a function refuses them.

    Args:
        is_refused: Takes the arguments of a task, and whether the task had been delivered before.
    """

    class Work(Task):  # type: ignore[misc]
        """A step or a run."""

        abstract = True
        resultrepr_maxsize = 64  # Celery logs results, which are a step's events

        def before_start(self, task_id: str, args: Any, kwargs: Mapping[str, Any]) -> None:
            if is_refused(kwargs, bool((self.request.delivery_info or {}).get("redelivered"))):
                raise Ignore

    return Work
