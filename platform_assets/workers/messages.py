"""Celery's program with the options that whoever sends a message and whoever receives it have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from platform_assets.errors import SettingsError
from platform_assets.workers.settings import DEFAULT_QUEUE, CelerySettings

if TYPE_CHECKING:
    from celery import Celery

_RESULTS_FOR = 86_400
"""Seconds that the state of a step or run is known, longer than either takes: the daemon resumes a run whose
state is unknown.
"""
_MOST_STEPS = 200
"""Steps and runs after which a worker's process is replaced, which returns what libraries have leaked."""


def missing_extra() -> SettingsError:
    """Build the error that Celery is not installed."""
    return SettingsError(
        "Runs and steps cannot be given to workers without Celery: pip install 'platform-assets[celery]'."
    )


def addresses(settings: CelerySettings) -> tuple[str, str]:
    """Return the URLs of the broker and of the results."""
    broker = settings.broker.resolve()
    return broker, settings.results.resolve() if settings.results is not None else broker


def options(settings: CelerySettings) -> dict[str, Any]:
    """Return Celery's options: what is sent and what is received need the same.

    A message is acknowledged when its work has ended, so that the broker still has the work of a worker that
    died. It hands it to another worker when the lease, its visibility timeout, was not renewed.
    """
    return {
        "task_default_queue": DEFAULT_QUEUE,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_track_started": True,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": _MOST_STEPS,
        # A worker that has lost the broker stops: another one gets its work.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_hijack_root_logger": False,
        # Dagster captures what steps print.
        "worker_redirect_stdouts": False,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            "visibility_timeout": settings.lease,
            "unacked_restore_interval": max(1, settings.lease // 3),
            "unacked_restore_throttle": 1,
            # One list for each queue, so that its length is a number that an autoscaler reads.
            "priority_steps": [0],
            "socket_keepalive": True,
        },
        "result_expires": _RESULTS_FOR,
    }


def build_app(settings: CelerySettings) -> Celery:
    """Build Celery's program without its tasks.

    Raises:
        SettingsError: Celery is not installed.
    """
    try:
        from celery import Celery
    except ImportError:
        raise missing_extra() from None
    broker, results = addresses(settings)
    app = Celery("platform", broker=broker, backend=results, set_as_current=False)
    app.conf.update(options(settings))
    return app
