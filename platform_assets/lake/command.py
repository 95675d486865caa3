"""The `lake` commands: upkeep and rebuild of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from platform_assets.terminal import plain_errors, print_rows, this_command, warn

if TYPE_CHECKING:
    from platform_assets.lake.upkeep.upkeep import TableUpkeep

app = typer.Typer(help="The lake.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Take care of the lake."""


@app.command()
def upkeep(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Names of tables, such as star/dim_date; all without names.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it; without it, only show what would be done.")
    ] = False,
) -> None:
    """Merge small files, apply retention, and remove old versions; without --apply, nothing is changed."""
    with plain_errors():
        from platform_assets.errors import SettingsError
        from platform_assets.lake.assembly import LakeRoom
        from platform_assets.rooms import Rooms
        from platform_assets.settings import load_settings

        room = Rooms(load_settings()).of(LakeRoom)
        work = room.upkeep(typer.echo)
        wanted = set(tables or ())
        seen: set[str] = set()

        def is_wanted(name: str) -> bool:
            seen.add(name)
            return not wanted or name in wanted

        done = work.run(is_wanted, whole=True) if apply else work.plan(is_wanted)
        if missing := sorted(wanted - seen):
            raise SettingsError(
                f"The lake has no table {', '.join(missing)}. It has {', '.join(sorted(seen))}."
            )
        _print(done, is_done=apply)
        if apply and not wanted:
            size, failing = room.remove_staged_files()
            typer.echo(f"{size:,} bytes of staged files were removed.")
            failing.raise_failures()
    if any(one.error for one in done):
        raise typer.Exit(1)


@app.command()
def rebuild(
    tables: Annotated[
        list[str] | None,
        typer.Argument(help="Tables, such as star/dim_staff, or layers: star, warehouse; all without names."),
    ] = None,
    first: Annotated[
        int,
        typer.Option("--from", help="First batch whose star rows are computed; older rows stay.", min=0),
    ] = 0,
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it; without it, only show what would change.")
    ] = False,
) -> None:
    """Compute the star from bronze, and load warehouses from the star, wherever their rows differ.

    Without --apply, nothing is changed.
    """
    with plain_errors():
        from platform_assets.lake.interfaces import RebuildOptions
        from platform_assets.lake.rebuild import rebuild_tables
        from platform_assets.rooms import Rooms
        from platform_assets.settings import load_settings

        options = RebuildOptions(first, apply, report=lambda line: typer.echo(line, err=True))
        done = list(rebuild_tables(Rooms(load_settings()), tables or (), options))
    due = [one for one in done if one.why or one.problem]
    if due:
        names = ["table", "rows", "inserted", "updated", "deleted", "why"]
        print_rows(
            names, [[one.table, one.rows, one.inserted, one.updated, one.deleted, one.why] for one in due]
        )
    for one in due:
        if one.problem:
            warn(f"{one.table}: {one.problem}")
    left = len(done) - len(due)
    if left:
        typer.echo(f"{left} table{' has' if left == 1 else 's have'} the rows that {_its(left)} should have.")
    if due and not apply:
        typer.echo("Nothing was changed. To do it, add --apply. Warehouses follow rebuilt star tables.")
    if any(one.problem for one in done):
        raise typer.Exit(1)


def _its(count: int) -> str:
    return "it" if count == 1 else "they"


def _print(done: Sequence[TableUpkeep], *, is_done: bool) -> None:
    due = [one for one in done if one.is_due or one.pinned_by]
    if due:
        tense = "" if is_done else "to be "
        names = [
            "table",
            "files",
            "files after",
            "bytes",
            f"bytes {tense}rewritten",
            "bytes after" if is_done else "bytes to be removed",
            f"old files {tense}removed",
            "outdated rows",
        ]
        print_rows(names, [_row(one, is_done=is_done) for one in due])
    for one in due:
        if one.pinned_by:
            typer.echo(f"{one.table}: old versions stay, because {', '.join(one.pinned_by)} refers to them.")
        if one.error:
            warn(f"{one.table}: {one.error}")
    left = len(done) - len(due)
    nothing = f"{left} table{'' if left == 1 else 's'} needed nothing." if left else ""
    if is_done:
        typer.echo(nothing or "All tables were taken care of.")
    elif due:
        typer.echo(f"Nothing was changed. To do it: {this_command()} lake upkeep --apply")
    else:
        typer.echo("There is nothing to do.")


def _row(one: TableUpkeep, *, is_done: bool) -> list[object]:
    return [
        one.table,
        one.files[0],
        one.files[1],
        one.size[0],
        one.rewritten,
        one.size[1] if is_done else one.removed.size,
        one.removed.files + one.removed.entries,
        one.outdated,
    ]
