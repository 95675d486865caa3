"""The commands `objects parked` and `objects retry`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from platform_assets.terminal import plain_errors, print_rows, this_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platform_assets.objects.plan import Entry
    from platform_assets.objects.watch import Watch

app = typer.Typer(help="Folders and buckets that are watched for new objects.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """List and retry the objects of watches."""


def _watches(name: str | None) -> Iterator[Watch]:
    from platform_assets.objects.assembly import ObjectsRoom
    from platform_assets.rooms import Rooms
    from platform_assets.settings import load_settings

    room = Rooms(load_settings()).of(ObjectsRoom)
    for watch_name in [name] if name is not None else list(room.settings.watches):
        yield room.watch(watch_name)


@app.command()
def parked(
    watch: Annotated[str | None, typer.Argument(help="Name of a watch; all without a name.")] = None,
) -> None:
    """List the objects that failed too often, or can never be read, each with its reason."""
    with plain_errors():
        found = [(watched.name, entry) for watched in _watches(watch) for entry in _parked(watched)]
    if not found:
        typer.echo("No object is parked.")
        return
    names = ["watch", "object", "attempts", "parked at", "reason"]
    print_rows(
        names,
        [
            [
                name,
                entry.object.key,
                entry.attempt,
                f"{entry.at:%Y-%m-%d %H:%M}",
                entry.error,
            ]
            for name, entry in found
        ],
    )
    typer.echo(f"To try them again: {this_command()} objects retry WATCH [OBJECT...]")


@app.command()
def retry(
    watch: Annotated[str, typer.Argument(help="Name of the watch.")],
    objects: Annotated[
        list[str] | None,
        typer.Argument(help="Parked objects, by their names below the watched place; all without names."),
    ] = None,
) -> None:
    """Have parked objects tried again: the watch's next run takes them, with all their attempts."""
    with plain_errors():
        from platform_assets.errors import ObjectsError

        [watched] = _watches(watch)
        known = {entry.object.key for entry in _parked(watched)}
        if unknown := sorted(set(objects or ()) - known):
            raise ObjectsError(
                f"{', '.join(unknown)} is not parked in the watch {watch}; nothing was changed. List the "
                f"parked objects: {this_command()} objects parked {watch}"
            )
        keys = sorted(objects or known)
        released = watched.log.release(keys, dt.datetime.now(dt.UTC)) if keys else 0
    if not released:
        typer.echo("No object is parked.")
        return
    typer.echo(
        f"{released:,} object{'' if released == 1 else 's'} will be tried again by the next run of the "
        "watch's job, which its sensor starts."
    )


def _parked(watch: Watch) -> list[Entry]:
    from platform_assets.objects.plan import ObjectStatus

    return watch.log.read().with_status(ObjectStatus.PARKED)
