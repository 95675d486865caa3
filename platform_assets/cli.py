"""The `platform-assets` command. Everything it does is done by the rooms; here are words, tables and bars."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from platform_assets.settings import Settings
    from platform_assets.source.embedded import EmbeddedPostgres

app = typer.Typer(
    name="platform-assets",
    help="An operational PostgreSQL as a lake, three star schemas and a warehouse.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
sample_app = typer.Typer(help="The embedded sample database.", no_args_is_help=True)
app.add_typer(sample_app, name="sample")


@app.callback()
def _main() -> None:
    """An operational PostgreSQL as a lake, three star schemas and a warehouse."""


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Turns the errors that the platform raises on purpose into one red sentence and exit code 1."""
    from platform_assets.errors import PlatformError

    try:
        yield
    except PlatformError as error:
        typer.secho(f"{error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None


@contextlib.contextmanager
def _progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each step, on stderr and only where somebody is watching."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bars:
        tasks: dict[str, Any] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield report


def _print_table(rows: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)


def _settings() -> Settings:
    from platform_assets.settings import load_settings

    return load_settings()


def _embedded(settings: Settings) -> EmbeddedPostgres:
    from platform_assets.source.embedded import EmbeddedPostgres

    return EmbeddedPostgres(settings.state_dir / "source")


@sample_app.command()
def start() -> None:
    """Start the sample's PostgreSQL server, creating it if need be; its data is left as it is."""
    with _plain_errors():
        embedded = _embedded(_settings())
        embedded.start()
        reader = embedded.reader()
    typer.echo(
        f"PostgreSQL is running at {reader.host}:{reader.port}, database {reader.database}. "
        f"The passwords are in {embedded.passfile}."
    )


@sample_app.command()
def stop() -> None:
    """Stop the sample's PostgreSQL server; its data stays."""
    with _plain_errors():
        stopped = _embedded(_settings()).stop()
    typer.echo("PostgreSQL has stopped." if stopped else "PostgreSQL was not running.")


@sample_app.command()
def status() -> None:
    """Show whether the sample's PostgreSQL server is running."""
    with _plain_errors():
        now = _embedded(_settings()).status()
    if now.running:
        typer.echo(f"PostgreSQL is running at {now.host}:{now.port} (process {now.pid}) in {now.directory}.")
    elif now.created:
        typer.echo(f"PostgreSQL is not running. Its data is in {now.directory}.")
    else:
        typer.echo(f"There is no PostgreSQL in {now.directory} yet.")


@sample_app.command()
def create(
    sales: Annotated[
        int | None, typer.Option(help="Sales orders to write; as configured where not given.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of all chance; as configured where not given.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Drop an existing sample first.")] = False,
) -> None:
    """Write a whole sample database; the same seed and size give the same rows."""
    with _plain_errors():
        from platform_assets.source.sample import create_sample

        settings = _settings()
        configured = settings.sources["totesys"].sample
        owner = _embedded(settings).start()
        with _progress_bar() as progress:
            made = create_sample(
                owner,
                sales=configured.sales if sales is None else sales,
                seed=configured.seed if seed is None else seed,
                replace=replace,
                progress=progress,
            )
    _print_table(
        {
            "first day": made.first_day.isoformat(),
            "last day": made.last_day.isoformat(),
            "sales orders": f"{made.sales_orders:,}",
            "purchase orders": f"{made.purchase_orders:,}",
            "payments made": f"{made.payments_made:,}",
            "designs": f"{made.designs:,}",
        }
    )


@sample_app.command()
def advance(
    days: Annotated[int, typer.Option(help="Working days to add.")] = 1,
    silent_edits: Annotated[int, typer.Option(help="Rows to edit without touching last_updated.")] = 0,
    deletes: Annotated[int, typer.Option(help="Orders to delete with their payments.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Seed of all chance.")] = None,
) -> None:
    """Let the sample's business go on: orders, payments, designs, and edits or deletions if asked for."""
    with _plain_errors():
        from platform_assets.source.sample import advance_sample

        owner = _embedded(_settings()).start()
        with _progress_bar() as progress:
            done = advance_sample(
                owner, days=days, silent_edits=silent_edits, deletes=deletes, seed=seed, progress=progress
            )
    _print_table(
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


if __name__ == "__main__":
    app()
