"""The outbox and the alert channels, from the settings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

from platform_assets.alerts.settings import AlertsRoomSettings, ChannelSettings
from platform_assets.configuration.stores import resolve_options
from platform_assets.lake.assembly import LakeRoom
from platform_assets.rooms import Assembly

if TYPE_CHECKING:
    from platform_assets.alert import Alert
    from platform_assets.alerts.notifier import Notifier
    from platform_assets.alerts.outbox import Channel, Delivery, Outbox
    from platform_assets.lake.interfaces import KeptTable

_MOST_AT_ONCE = 1_000


class AlertsRoom(Assembly[AlertsRoomSettings]):
    """The outbox and the channels."""

    settings_class = AlertsRoomSettings

    @property
    def outbox(self) -> Outbox:
        """The raised alerts and their delivery status."""
        from platform_assets.alerts.outbox import OUTBOX_COLUMNS, Outbox

        return Outbox(self.rooms.of(LakeRoom).processed_table(OUTBOX_COLUMNS, "alerts", "outbox"))

    def delta_tables(self) -> list[KeptTable]:
        """See `HasDeltaTables.delta_tables`."""
        return [self.outbox.kept(self.rooms.of(LakeRoom).retention.alerts_days)]

    @property
    def channels(self) -> list[Channel]:
        """The log and the configured channels, each created at its first use."""
        from platform_assets.alert import Severity
        from platform_assets.alerts.notifier import DeferredNotifier, LogNotifier
        from platform_assets.alerts.outbox import LOG, Channel

        return [
            Channel(LOG, LogNotifier()),
            *(
                Channel(
                    name,
                    DeferredNotifier(cache(partial(_notifier, given))),
                    Severity[given.min_severity],
                    given.named_only,
                )
                for name, given in self.settings.alerts.channels.items()
            ),
        ]

    def raise_alerts(self, alerts: Sequence[Alert]) -> None:
        """See `RaisesAlerts.raise_alerts`."""
        self.outbox.post(alerts, self.channels, dt.datetime.now(dt.UTC))

    def send_due(self) -> Delivery:
        """See `RaisesAlerts.send_due`."""
        return self.outbox.deliver(self.channels, dt.datetime.now(dt.UTC), _MOST_AT_ONCE)

    def run_url(self, run_id: str) -> str:
        """See `RaisesAlerts.run_url`."""
        url = (self.settings.alerts.dagster_url or "").rstrip("/")
        return f"{url}/runs/{run_id}" if url and run_id else ""

    def channel_names(self) -> Sequence[str]:
        """See `RaisesAlerts.channel_names`."""
        return ("log", *self.settings.alerts.channels)


ROOM = AlertsRoom


def _notifier(given: ChannelSettings) -> Notifier:
    """Build a channel as configured; the log by default."""
    if given.slack is not None:
        from platform_assets.alerts.slack import SlackNotifier

        return SlackNotifier(given.slack.webhook)
    if given.email is not None:
        from platform_assets.alerts.email import EmailNotifier

        mail = given.email
        return EmailNotifier(
            mail.host or "",
            mail.port,
            mail.sender,
            mail.recipients,
            mail.user,
            mail.password,
            mail.security,
            mail.ca_file,
            mail.spool,
        )
    if given.sns is not None:
        from platform_assets.alerts.sns import SnsNotifier, sns_client

        return SnsNotifier(given.sns.topic, sns_client(resolve_options(given.sns.options)))
    from platform_assets.alerts.notifier import LogNotifier

    return LogNotifier()
