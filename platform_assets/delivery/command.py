"""The commands `deliver` and `deliveries`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.terminal import age_text, plain_errors, print_rows

if TYPE_CHECKING:
    import datetime as dt

    from platform_assets.delivery.assembly import DeliveryRoom
    from platform_assets.delivery.interfaces import DeliveryResult
    from platform_assets.delivery.receipts import ReceiptRow

app = typer.Typer(help="Deliveries of results.", no_args_is_help=True)


def _room() -> DeliveryRoom:
    from platform_assets.delivery.assembly import DeliveryRoom
    from platform_assets.rooms import Rooms
    from platform_assets.settings import load_settings

    return Rooms(load_settings()).of(DeliveryRoom)


@app.command()
def deliver(
    name: Annotated[str, typer.Argument(help="The delivery: the name of its file without .conf.")],
    dry_run: Annotated[
        bool, typer.Option(help="Render the files and say what would be sent; send and record nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option(help="Send the files again, even to destinations that have them.")
    ] = False,
) -> None:
    """Make a delivery: send what every destination does not have yet. Exits with 0 if all of them have it."""
    with plain_errors():
        from platform_assets.delivery.engine import Watcher, described

        room = _room()
        with _bars() as (report, progress):
            result = room.deliver(name, Watcher(report, progress), force=force, dry_run=dry_run)
    for destination in result.destinations:
        what = destination.reason or destination.address
        color = typer.colors.RED if destination.status == "failed" else None
        typer.secho(f"{destination.destination}: {destination.status}: {what}", fg=color)
    if dry_run and result.files:
        typer.echo(f"It would send {described(result.files)}:")
        for file in result.files:
            typer.echo(f"  {file.name}  {file.size:,} bytes  sha256 {file.sha256}")
    if result.failures:
        raise typer.Exit(1)
    # An unchanged delivery adds nothing to what the UI shows, and loading Dagster takes a second.
    if any(destination.status == "delivered" for destination in result.destinations):
        _record(name, result)


def _record(name: str, result: DeliveryResult) -> None:
    """Show the delivery on its asset's page in the UI; without that page it is delivered all the same."""
    from platform_assets.delivery.defs import record_delivery
    from platform_assets.isolation import result_or_reason
    from platform_assets.settings import dagster_home, load_settings

    reason = result_or_reason(lambda home: record_delivery(home, name, result), dagster_home(load_settings()))
    if reason is not None:
        typer.echo(f"The files are delivered, but the UI will not show it: {reason}", err=True)


@app.command()
def deliveries(
    validate: Annotated[
        bool, typer.Option("--validate", help="Only check the files; exit with 1 if one has mistakes.")
    ] = False,
) -> None:
    """List the deliveries with their last receipts and next runs, and the mistakes of broken files."""
    with plain_errors():
        room = _room()
        if not validate and room.files:
            _list(room)
    broken = [file for file in room.files if file.mistakes]
    for file in broken:
        typer.secho(f"{file.name} is disabled:", fg=typer.colors.RED, err=True)
        for line in file.mistakes:
            typer.secho(f"  {line}", fg=typer.colors.RED, err=True)
    if not room.files:
        typer.echo("There are no deliveries. Write one into config/deliveries/NAME.conf: docs/deliveries.md.")
    elif validate:
        typer.echo(f"{len(room.deliveries)} valid, {len(broken)} with mistakes.")
    if validate and broken:
        raise typer.Exit(1)


def _list(room: DeliveryRoom) -> None:
    import datetime as dt

    from platform_assets.dagster_internals import next_tick
    from platform_assets.delivery.receipts import by_delivery

    now = dt.datetime.now(dt.UTC)
    latest = by_delivery(room.receipts.latest())
    rows = []
    for file in room.files:
        settings = file.block
        if settings is None:
            rows.append([file.name, "disabled", "", "", ""])
            continue
        schedule = settings.schedule
        if schedule is not None:
            runs = f"{next_tick(schedule.cron, schedule.timezone, now):%Y-%m-%d %H:%M} UTC"
        else:
            runs = "when changed" if settings.when else "by command"
        for place, destination in enumerate(settings.to):
            found = [row for row in latest.get(file.name, []) if row.destination in (destination, "")]
            own = [row for row in found if row.destination] or found
            first = [file.name, settings.title, runs] if place == 0 else ["", "", ""]
            rows.append([*first, destination, _told(own[0], now) if own else "never delivered"])
    print_rows(["delivery", "title", "next run, if its schedule is on", "destination", "last receipt"], rows)


def _told(row: ReceiptRow, now: dt.datetime) -> str:
    what = row.file if row.status == "delivered" else row.reason
    return f"{row.status} {age_text(now - row.at)} ago{f': {what}' if what else ''}"


@contextlib.contextmanager
def _bars() -> Iterator[tuple[Callable[[str], None], Callable[[str, int, int], None]]]:
    """Show a progress bar for each destination on stderr; only lines where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda line: typer.echo(line, err=True), lambda destination, sent, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def progress(destination: str, sent: int, total: int) -> None:
            if destination not in tasks:
                tasks[destination] = bars.add_task(destination, total=total)
            bars.update(tasks[destination], completed=sent, total=total)

        yield lambda line: bars.console.print(line, markup=False, emoji=False, highlight=False), progress
