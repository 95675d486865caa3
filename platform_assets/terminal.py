"""Output of commands: errors as plain sentences, progress bars and tables."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import rich.console
    import rich.table

_WIDEST = 10_000


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Print the platform's errors as one red sentence, or log them as JSON, and exit with code 1."""
    from platform_assets.errors import PlatformError, path_error
    from platform_assets.logs import event, is_json

    def tell(error: PlatformError) -> None:
        if is_json():
            event("command_failed", str(error), level="error", error={"type": type(error).__name__})
        else:
            typer.secho(f"{error}", fg=typer.colors.RED, err=True)

    try:
        yield
    except PlatformError as error:
        tell(error)
        raise typer.Exit(1) from None
    except OSError as error:
        message = path_error(error)
        if message is None:
            raise
        tell(message)
        raise typer.Exit(1) from None


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar for each step on stderr, only on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    name = TextColumn("{task.description:<12}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bars:
        tasks: dict[str, Any] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield report


def plain_console(width: int | None = None) -> rich.console.Console:
    """Return a console that shows texts as they are: `[x]` is no markup in them, and `:x:` no emoji.

    Args:
        width: Its width in characters; by default that of the terminal.
    """
    from rich.console import Console

    return Console(width=width, markup=False, emoji=False, highlight=False)


def print_pairs(rows: Mapping[str, str]) -> None:
    """Print names and values in two columns."""
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows.items():
        table.add_row(name, value)
    plain_console().print(table)


def this_command() -> str:
    """Return this command as the user can type it: its name if it is on the path, else its full path."""
    import shutil

    command = Path(sys.argv[0])
    if shutil.which(command.name):
        return command.name
    return str(command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command)


def print_rows(names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows as a table under the names of their columns; numbers are aligned to the right."""
    from decimal import Decimal

    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(names):
        numeric = any(
            isinstance(row[index], int | float | Decimal) and row[index] is not True for row in rows
        )
        table.add_column(name, no_wrap=True, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    print_table(table)


def print_table(table: rich.table.Table) -> None:
    """Print a table at its full width: lines wrapped by the terminal lose less than truncated columns."""
    # To measure takes a console of the same kind, which would read markup otherwise.
    plain_console(plain_console(_WIDEST).measure(table).maximum).print(table)


def warn(message: str) -> None:
    """Print a warning."""
    typer.secho(message, fg=typer.colors.YELLOW)


def age_text(age: dt.timedelta) -> str:
    """Return an age in its largest fitting unit."""
    seconds = max(int(age.total_seconds()), 0)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
