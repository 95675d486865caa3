"""The one interface of all channels, and the channel that needs nobody: the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from platform_assets.alerts.alert import Alert, Severity

_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
    Severity.CRITICAL: logging.CRITICAL,
}


class Notifier(Protocol):
    """A channel by which people are told."""

    def send(self, alert: Alert) -> None:
        """Send one message.

        Raises:
            AlertError: The channel did not take it, now or ever.
            SettingsError: The channel's secret cannot be had.
        """
        ...


@dataclass(frozen=True)
class LogNotifier:
    """Writes alerts to a log, each as one line of JSON.

    Args:
        logger: The log; the room's own where None.
    """

    logger: logging.Logger | None = None

    def send(self, alert: Alert) -> None:
        """See `Notifier.send`; this channel takes everything."""
        line = {"alert": alert.title, **{name.lower(): value for name, value in alert.details}}
        if alert.counts:
            line["findings"] = "; ".join(alert.findings)
        if alert.run_url:
            line["run"] = alert.run_url
        logger = self.logger or logging.getLogger(__name__)
        logger.log(_LEVELS[alert.severity], "%s", json.dumps(line, ensure_ascii=False))


@dataclass(frozen=True)
class DeferredNotifier:
    """A channel that is made when it is used: one that cannot be made delays its own messages alone.

    Args:
        make: Makes the channel; its secrets are fetched, and its library imported, by that.
    """

    make: Callable[[], Notifier]

    def send(self, alert: Alert) -> None:
        """See `Notifier.send`; raises what `make` raises, too."""
        self.make().send(alert)
