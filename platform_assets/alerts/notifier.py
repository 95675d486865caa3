"""The interface of all alert channels, and the log channel, which needs no service."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from platform_assets.alert import Alert, Severity
from platform_assets.logs import event_fields

_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
    Severity.CRITICAL: logging.CRITICAL,
}


class Notifier(Protocol):
    """A channel that delivers alerts to people."""

    def send(self, alert: Alert) -> None:
        """Send one message.

        Raises:
            AlertError: The channel did not accept the message; the error says if a retry can help.
            SettingsError: The channel's secret cannot be resolved.
        """
        ...


@dataclass(frozen=True)
class LogNotifier:
    """Writes alerts to a log, each as one line of JSON.

    Args:
        logger: The log; None means this module's logger.
    """

    logger: logging.Logger | None = None

    def send(self, alert: Alert) -> None:
        """See `Notifier.send`; this channel accepts every message."""
        line = {"alert": alert.title, **{name.lower(): value for name, value in alert.details}}
        if alert.counts:
            line["findings"] = "; ".join(alert.findings)
        if alert.run_url:
            line["run"] = alert.run_url
        logger = self.logger or logging.getLogger(__name__)
        fields = event_fields("alert", title=alert.title, severity=alert.severity.name)
        logger.log(_LEVELS[alert.severity], "%s", json.dumps(line, ensure_ascii=False), extra=fields)


@dataclass(frozen=True)
class DeferredNotifier:
    """A channel that is created at first use; if creation fails, only its own messages are delayed.

    Args:
        make: Creates the channel; fetches its secrets and imports its library.
    """

    make: Callable[[], Notifier]

    def send(self, alert: Alert) -> None:
        """See `Notifier.send`; also raises what `make` raises."""
        self.make().send(alert)
