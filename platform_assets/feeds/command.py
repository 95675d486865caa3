"""The commands `feeds list`, `feeds resume` and `feeds withdraw`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from platform_assets.terminal import plain_errors, print_rows

if TYPE_CHECKING:
    from platform_assets.feeds.assembly import FeedsRoom

app = typer.Typer(help="Uploaded files as tables.", no_args_is_help=True)


def _room() -> FeedsRoom:
    from platform_assets.feeds.assembly import FeedsRoom
    from platform_assets.rooms import Rooms
    from platform_assets.settings import load_settings

    return Rooms(load_settings()).of(FeedsRoom)


@app.command(name="list")
def list_feeds() -> None:
    """List the feeds: how many rows count, and which file has stopped a feed."""
    with plain_errors():
        room = _room()
        rows = []
        for name, sentence in room.descriptions.items():
            one = room.feeding(name)
            stop = one.feeds.stopped(one.feed)
            state = f"stopped by {stop.object}: {stop.reason}" if stop is not None else ""
            rows.append([name, sentence, one.row_count(), state])
    if not rows:
        typer.echo("There are no feeds in the configuration.")
        return
    print_rows(["feed", "loads", "rows", "stopped"], rows)


@app.command()
def resume(name: Annotated[str, typer.Argument(help="Name of the feed.")]) -> None:
    """Resume a feed that changed columns have stopped: the next load tries the file again that stopped it."""
    with plain_errors():
        stopped_by = _room().feeding(name).resume()
    if stopped_by:
        typer.echo(f"The feed {name} goes on. Its next load tries {stopped_by} again.")
    else:
        typer.echo(f"The feed {name} is not stopped; nothing was changed.")


@app.command()
def withdraw(
    name: Annotated[str, typer.Argument(help="Name of the feed.")],
    file: Annotated[str, typer.Argument(help="The file: its name below the watched place, or its URI.")],
    reason: Annotated[str, typer.Option(help="The reason, kept in the feed's ledger.")] = "withdrawn by hand",
) -> None:
    """Withdraw a file: its rows no longer count, and leave each warehouse at its next load."""
    with plain_errors():
        rows = _room().feeding(name).withdraw(file, reason)
    counts = "row no longer counts" if rows == 1 else "rows no longer count"
    typer.echo(
        f"{rows:,} {counts} in the feed {name}: those of {file}. They leave the warehouses at the feed's "
        "next load. To load it now, run the job inspect_uploads, or materialize its assets in the UI."
    )
