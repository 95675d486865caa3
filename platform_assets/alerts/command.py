"""The commands `alerts test`, `alerts list`, `alerts check` and `alerts close`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from platform_assets.terminal import age_text, plain_errors, print_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from platform_assets.alerts.assembly import AlertsRoom
    from platform_assets.alerts.incidents import Incident

app = typer.Typer(help="Alerts and the channels that they are sent to.", no_args_is_help=True)
_MOST_CLOSED = 50


def _room() -> AlertsRoom:
    from platform_assets.alerts.assembly import AlertsRoom
    from platform_assets.rooms import Rooms
    from platform_assets.settings import load_settings

    return Rooms(load_settings()).of(AlertsRoom)


@app.command(name="test")
def try_channel(
    channel: Annotated[str, typer.Argument(help="The channel: its name in alerts.channels.")],
) -> None:
    """Send a test message to a channel, and say whether it was accepted. Exits with 1 if it was not."""
    with plain_errors():
        _room().try_channel(channel)
    typer.echo(f"The channel {channel} accepted the message.")


@app.command(name="list")
def list_incidents(
    show_all: Annotated[bool, typer.Option("--all", help="Also the incidents that are over.")] = False,
) -> None:
    """List what fails at the moment."""
    with plain_errors():
        from platform_assets.alerts.incidents import IncidentStatus

        found, cursor = _room().incidents.read()
    shown = [incident for incident in found if incident.status is IncidentStatus.OPEN]
    if show_all:
        shown += [incident for incident in found if incident.status is IncidentStatus.WATCHED]
        shown += [incident for incident in found if incident.status is IncidentStatus.CLOSED][:_MOST_CLOSED]
    if shown:
        _print(shown)
    elif cursor is not None:
        typer.echo("Nothing fails.")
    if cursor is None:
        typer.echo(
            "Nobody has looked yet: switch on deliver_alerts_schedule, or run: platform-assets alerts check"
        )


@app.command()
def check() -> None:
    """Look for failures now, without Dagster's daemon, and send what is due; for cron.

    Prints what has changed. Exits with 1 if it could not look, or if a channel does not accept its messages.
    """
    with plain_errors():
        from platform_assets.alerts.defs import look
        from platform_assets.runs import open_instance
        from platform_assets.settings import dagster_home, load_settings

        room = _room()
        with open_instance(dagster_home(load_settings())) as instance:
            notified = look(room, instance)
        done = room.send_due()
    if notified:
        _print(notified)
    for channel, reason in (done.problems or {}).items():
        typer.secho(f"{channel}: {reason}", fg=typer.colors.RED, err=True)
    if done.problems:
        raise typer.Exit(1)


@app.command()
def close(
    incident: Annotated[str, typer.Argument(help="The incident, as `alerts list` shows it.")],
) -> None:
    """Close an incident by hand, such as that of a job that was removed; the next failure opens it again."""
    with plain_errors():
        from platform_assets.alerts.settings import nearest
        from platform_assets.errors import SettingsError

        incidents = _room().incidents
        if incidents.close(incident, dt.datetime.now(dt.UTC)) is None:
            found, _ = incidents.read()
            known = tuple(incident.key for incident in found if incident.closed_at is None)
            hint = nearest(incident, known) if known else "; nothing fails"
            raise SettingsError(f"There is no open incident {incident}{hint}")
    typer.echo(f"The incident {incident} is closed.")


def _print(incidents: Sequence[Incident]) -> None:
    now = dt.datetime.now(dt.UTC)
    print_rows(
        ("incident", "status", "severity", "since (UTC)", "lasted", "failures", "reason"),
        [
            (
                incident.key,
                incident.status,
                incident.fact.severity.name,
                f"{incident.opened_at:%Y-%m-%d %H:%M:%S}",
                age_text((incident.closed_at or now) - incident.opened_at),
                incident.failures,
                incident.fact.sentence,
            )
            for incident in incidents
        ],
    )
