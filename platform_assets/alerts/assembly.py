"""The outbox and the alert channels, from the settings."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

from platform_assets.alerts.settings import AlertsRoomSettings, ChannelSettings
from platform_assets.configuration.stores import resolve_options
from platform_assets.diagnosis import Probe, ok
from platform_assets.errors import SettingsError
from platform_assets.isolation import failure_of, reason_of
from platform_assets.lake.assembly import LakeRoom
from platform_assets.rooms import Assembly
from platform_assets.stored import INCIDENTS, OUTBOX

if TYPE_CHECKING:
    from platform_assets.alert import Alert, Severity
    from platform_assets.alerts.facts import Observed
    from platform_assets.alerts.heartbeat import Heartbeat
    from platform_assets.alerts.incidents import Incident, Incidents
    from platform_assets.alerts.masking import Masking
    from platform_assets.alerts.notifier import Notifier
    from platform_assets.alerts.outbox import Channel, Delivery, Outbox
    from platform_assets.lake.interfaces import KeptTable

_MOST_AT_ONCE = 1_000
_NO_HEARTBEAT = ok("heartbeat", "none is configured, so nobody outside misses a machine that is down")


class AlertsRoom(Assembly[AlertsRoomSettings]):
    """The outbox and the channels."""

    settings_class = AlertsRoomSettings

    @property
    def outbox(self) -> Outbox:
        """The raised alerts and their delivery status."""
        from platform_assets.alerts.outbox import OUTBOX_COLUMNS, Outbox

        return Outbox(self.rooms.of(LakeRoom).processed_table(OUTBOX_COLUMNS, OUTBOX, "alerts", "outbox"))

    def delta_tables(self) -> list[KeptTable]:
        """See `HasDeltaTables.delta_tables`."""
        days = self.rooms.of(LakeRoom).retention.alerts_days
        return [self.outbox.kept(days), self.incidents.kept(days)]

    @property
    def incidents(self) -> Incidents:
        """The open incidents, with their start and the messages that were sent."""
        from platform_assets.alerts.incidents import INCIDENT_COLUMNS, Incidents

        return Incidents(
            self.rooms.of(LakeRoom).processed_table(INCIDENT_COLUMNS, INCIDENTS, "alerts", "incidents")
        )

    @property
    def masking(self) -> Masking:
        """Removes secrets and values from the texts of failures."""
        from platform_assets.alerts.masking import Masking

        return Masking(self.rooms.secrets())

    @property
    def heartbeat(self) -> Heartbeat | None:
        """The sign of life after each successful run of the main job; None if none is configured."""
        given = self.settings.alerts.heartbeat
        if given is None:
            return None
        from platform_assets.alerts.heartbeat import Heartbeat

        return Heartbeat(given.url, given.file, given.method, given.timeout, given.attempts)

    def beat(self) -> str:
        """See `GivesHeartbeat.beat`."""
        heartbeat = self.heartbeat
        error = failure_of(heartbeat.beat) if heartbeat is not None else None
        return reason_of(error) if error is not None else ""

    def apply(self, observed: Observed, now: dt.datetime) -> list[Incident]:
        """Change the incidents by what was observed, and put the messages into the outbox.

        Args:
            observed: The facts.
            now: The time, UTC.

        Returns:
            The incidents about which people are notified.

        Raises:
            LakeError: The incidents or the outbox cannot be read or written.
        """
        from platform_assets.alerts.incidents import IncidentPolicy
        from platform_assets.alerts.watch import IncidentWatch

        given = self.settings.alerts.incidents
        policy = IncidentPolicy(
            given.after_failures,
            dt.timedelta(hours=given.remind_hours),
            partial(self._channels_of, observed.owners),
            given.after_failures_of,
        )
        return IncidentWatch(self.incidents, policy, self.raise_alerts, self.run_url).apply(observed, now)

    def _channels_of(
        self, owners: Mapping[str, tuple[str, ...]], assets: Sequence[str], severity: Severity
    ) -> tuple[str, ...]:
        """Choose the channels of an incident: its owners', or else those that take what names nobody."""
        from platform_assets.alert import Severity
        from platform_assets.alerts.outbox import LOG

        given = self.settings.alerts
        known = {owner for asset in assets for owner in owners.get(asset, ())}
        named = {name for owner in known for name in given.owners.get(owner, ())}
        unnamed = {name for name, channel in given.channels.items() if not channel.named_only}
        chosen = [
            name
            for name, channel in given.channels.items()
            if name in (named or unnamed) and severity >= Severity[channel.min_severity]
        ]
        return (LOG, *chosen)

    def try_channel(self, name: str) -> None:
        """Send a test message to a channel, at once and past the outbox.

        Raises:
            SettingsError: There is no channel of this name, or its secret cannot be fetched.
            AlertError: The channel did not accept the message.
        """
        from platform_assets.alert import Alert, Severity
        from platform_assets.alerts.settings import nearest

        by_name = {channel.name: channel for channel in self.channels}
        if name not in by_name:
            raise SettingsError(
                f"There is no channel {name} in alerts.channels{nearest(name, tuple(by_name))}"
            )
        now = dt.datetime.now(dt.UTC)
        by_name[name].notifier.send(
            Alert(
                uuid.uuid4().hex,
                Severity.INFO,
                f"Test of the channel {name}",
                now,
                facts=(("What happened", "Somebody ran platform-assets alerts test. All is well."),),
            )
        )

    @property
    def channels(self) -> list[Channel]:
        """The log and the configured channels, each created at its first use."""
        from platform_assets.alert import Severity
        from platform_assets.alerts.notifier import DeferredNotifier, LogNotifier
        from platform_assets.alerts.outbox import LOG, Channel
        from platform_assets.alerts.settings import is_quiet

        return [
            Channel(LOG, LogNotifier()),
            *(
                Channel(
                    name,
                    DeferredNotifier(cache(partial(_notifier, given))),
                    Severity[given.min_severity],
                    given.named_only,
                    partial(is_quiet, given.quiet),
                )
                for name, given in self.settings.alerts.channels.items()
            ),
        ]

    def probes(self) -> Iterator[Probe]:
        """See `HasProbes.probes`: each channel, and the heartbeat."""
        from platform_assets.alerts import probes

        for name, given in self.settings.alerts.channels.items():
            yield Probe("alerts", name, partial(probes.look_at_channel, name, given))
        beats = self.settings.alerts.heartbeat
        if beats is None:
            yield Probe("alerts", "heartbeat", lambda: [_NO_HEARTBEAT])
        elif beats.url is not None:
            yield Probe("alerts", "heartbeat", partial(probes.look_at_address, "heartbeat", beats.url))
        elif beats.file is not None:
            folder = beats.file.parent
            yield Probe(
                "alerts", "heartbeat", lambda: [probes.look_at_folder("heartbeat", folder, "is written in")]
            )

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
