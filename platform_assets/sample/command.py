"""The `sample` commands: start, stop, create and continue the embedded sample database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from platform_assets.terminal import plain_errors, print_pairs, progress_bar

if TYPE_CHECKING:
    from platform_assets.sample.assembly import SampleRoom

app = typer.Typer(help="The embedded sample database.", no_args_is_help=True)


def _room() -> SampleRoom:
    from platform_assets.rooms import Rooms
    from platform_assets.sample.assembly import SampleRoom
    from platform_assets.settings import load_settings

    return Rooms(load_settings()).of(SampleRoom)


@app.command()
def start() -> None:
    """Start the sample's PostgreSQL server, and create it if necessary; existing data stays."""
    with plain_errors():
        embedded = _room().server
        embedded.start()
        reader = embedded.reader()
    typer.echo(
        f"PostgreSQL is running at {reader.host}:{reader.port}, database {reader.database}. "
        f"The passwords are in {embedded.passfile}."
    )


@app.command()
def stop() -> None:
    """Stop the sample's PostgreSQL server; its data stays."""
    with plain_errors():
        stopped = _room().server.stop()
    typer.echo("PostgreSQL has stopped." if stopped else "PostgreSQL was not running.")


@app.command()
def status() -> None:
    """Show whether the sample's PostgreSQL server is running."""
    with plain_errors():
        now = _room().server.status()
    if now.running:
        typer.echo(f"PostgreSQL is running at {now.host}:{now.port} (process {now.pid}) in {now.directory}.")
    elif now.created:
        typer.echo(f"PostgreSQL is not running. Its data is in {now.directory}.")
    else:
        typer.echo(f"{now.directory} contains no PostgreSQL yet.")


@app.command()
def create(
    sales: Annotated[
        int | None, typer.Option(help="Sales orders to write; by default as configured.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the random numbers; by default as configured.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Drop an existing sample first.")] = False,
) -> None:
    """Write a complete sample database; the same seed and size give the same rows."""
    with plain_errors():
        from platform_assets.sample.database import create_sample

        room = _room()
        usual_sales, usual_seed = room.size
        owner = room.server.start()
        with progress_bar() as progress:
            made = create_sample(
                owner,
                sales=usual_sales if sales is None else sales,
                seed=usual_seed if seed is None else seed,
                replace=replace,
                progress=progress,
            )
    print_pairs(
        {
            "first day": made.first_day.isoformat(),
            "last day": made.last_day.isoformat(),
            "sales orders": f"{made.sales_orders:,}",
            "purchase orders": f"{made.purchase_orders:,}",
            "payments made": f"{made.payments_made:,}",
            "designs": f"{made.designs:,}",
        }
    )


@app.command()
def advance(
    days: Annotated[int, typer.Option(help="Working days to add.")] = 1,
    silent_edits: Annotated[int, typer.Option(help="Rows to edit without touching last_updated.")] = 0,
    deletes: Annotated[int, typer.Option(help="Orders to delete with their payments.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Seed of the random numbers.")] = None,
) -> None:
    """Continue the sample's business: orders, payments and designs, optionally edits and deletions."""
    with plain_errors():
        from platform_assets.sample.database import advance_sample

        owner = _room().server.start()
        with progress_bar() as progress:
            done = advance_sample(
                owner, days=days, silent_edits=silent_edits, deletes=deletes, seed=seed, progress=progress
            )
    print_pairs(
        {
            "first day": done.first_day.isoformat(),
            "last day": done.last_day.isoformat(),
            "new sales orders": f"{done.sales_orders:,}",
            "new purchase orders": f"{done.purchase_orders:,}",
            "new designs": f"{done.designs:,}",
            "payments made": f"{done.payments_made:,}",
            "silent edits": f"{done.silent_edits:,}",
            "deleted orders": f"{done.deleted_orders:,}",
            "transactions left without order": f"{done.orphaned_transactions:,}",
        }
    )
