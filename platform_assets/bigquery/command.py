"""The command `bigquery load`: load Parquet files into BigQuery."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from platform_assets.errors import PlatformError
from platform_assets.parquet.layouts import Grouping
from platform_assets.terminal import print_table

if TYPE_CHECKING:
    from platform_assets.bigquery.access import BigQueryAccess
    from platform_assets.bigquery.load import LoadResult, Report

Access = Callable[[], "BigQueryAccess | None"]


def bigquery_app(access: Access = lambda: None) -> typer.Typer:
    """The BigQuery commands.

    Args:
        access: Returns the configured access, with secrets not fetched yet, or None without a configuration:
            then the application default credentials and their project are used.
    """
    app = typer.Typer(help="Parquet files into BigQuery.", no_args_is_help=True)

    @app.callback()
    def _group() -> None:
        """Load Parquet files into BigQuery."""

    @app.command(name="load")
    def _load(
        paths: Annotated[
            list[str],
            typer.Argument(help="Files, folders and Delta tables: local or gs://.", show_default=False),
        ],
        dataset: Annotated[str, typer.Option(help="Dataset of the tables, created if it does not exist.")],
        project: Annotated[
            str | None, typer.Option(help="Project of the dataset; by default the configured project.")
        ] = None,
        location: Annotated[
            str | None,
            typer.Option(help="Location of the dataset; by default the configured location, or EU."),
        ] = None,
        prefix: Annotated[str, typer.Option(help="Prefix of each table's name, such as dim_ or fact_.")] = "",
        name: Annotated[
            str | None, typer.Option(help="Load all files into one table with this name.")
        ] = None,
        grouping: Annotated[
            str,
            typer.Option(
                help=(
                    f"Grouping of files into tables: {', '.join(get_args(Grouping))}; auto treats a folder "
                    "of numbered parts as one table."
                )
            ),
        ] = "auto",
        pattern: Annotated[
            str, typer.Option(help="Only files in folders whose name matches, such as *.parquet.")
        ] = "*",
        write: Annotated[
            str,
            typer.Option(
                help="What happens to existing rows: append to them, truncate them, or require empty tables."
            ),
        ] = "append",
    ) -> None:
        """Load Parquet files, a table for each file or folder; exits with 1 if something was skipped."""
        from platform_assets.bigquery.access import BigQueryAccess
        from platform_assets.bigquery.load import LoadOptions, Write, load_parquet

        for option, given, kind in (("write", write, Write), ("grouping", grouping, Grouping)):
            if given not in get_args(kind):
                _complain(f"--{option} is {given!r}, but must be one of {', '.join(get_args(kind))}.")
                raise typer.Exit(2)
        started = time.monotonic()
        try:
            configured = access() or BigQueryAccess()
            chosen = dataclasses.replace(
                configured,
                project=project or configured.project,
                location=location or configured.location,
            )
            options = LoadOptions(
                dataset, prefix, name, cast("Write", write), cast("Grouping", grouping), pattern
            )
            with _bars() as report:
                result = load_parquet(chosen, paths, options, report=report)
        except PlatformError as error:
            _complain(str(error))
            raise typer.Exit(1) from None
        _print(result, time.monotonic() - started)
        if result.problems:
            raise typer.Exit(1)

    return app


def _complain(text: str) -> None:
    typer.secho(text, fg=typer.colors.RED, err=True)


@contextlib.contextmanager
def _bars() -> Iterator[Report]:
    """A progress bar for each table, on stderr, only if it is a terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bars:
        tasks: dict[str, Any] = {}

        def report(table: str, done: int, total: int) -> None:
            if table not in tasks:
                tasks[table] = bars.add_task(escape(table), total=total)
            bars.update(tasks[table], completed=done)

        yield report


def _print(result: LoadResult, seconds: float) -> None:
    from rich import box
    from rich.table import Table

    if result.tables:
        shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("table", "files", "rows loaded", "seconds"):
            shown.add_column(title, justify="left" if title == "table" else "right", no_wrap=True)
        for table in result.tables:
            shown.add_row(table.name, f"{table.files:,}", f"{table.rows:,}", f"{table.seconds:.1f}")
        print_table(shown)
    rows, files = sum(table.rows for table in result.tables), sum(table.files for table in result.tables)
    typer.echo(
        f"{rows:,} rows of {files:,} files were loaded into {len(result.tables):,} tables in {seconds:.1f} s."
    )
    for problem in result.problems:
        _complain(f"Left out: {problem}")


def _configured_access() -> BigQueryAccess | None:
    from platform_assets.bigquery.assembly import HasBigQueryAccess
    from platform_assets.rooms import Rooms
    from platform_assets.settings import load_settings

    accesses = (room.bigquery_access() for room in Rooms(load_settings()).offering(HasBigQueryAccess))
    return next((access for access in accesses if access is not None), None)


app = bigquery_app(_configured_access)
