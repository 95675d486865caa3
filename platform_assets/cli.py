"""The `platform-assets` command: output of text, tables and progress bars; the rooms do the work."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.bigquery.command import bigquery_app
from platform_assets.dlp.command import dlp_app
from platform_assets.snowflake.command import snowflake_app

if TYPE_CHECKING:
    import datetime as dt

    import pyarrow
    import rich.table
    from snowflake.connector import SnowflakeConnection

    from platform_assets.bigquery.access import BigQueryAccess
    from platform_assets.settings import Settings
    from platform_assets.source.declaration import Catalogue, Discovery
    from platform_assets.source.embedded import EmbeddedPostgres

app = typer.Typer(
    name="platform-assets",
    help="An operational PostgreSQL as a lake, three star schemas and a warehouse.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
sample_app = typer.Typer(help="The embedded sample database.", no_args_is_help=True)
source_app = typer.Typer(help="The sources: databases that are read.", no_args_is_help=True)
warehouse_app = typer.Typer(help="The warehouse.", no_args_is_help=True)
app.add_typer(sample_app, name="sample")
app.add_typer(source_app, name="source")
app.add_typer(warehouse_app, name="warehouse")


def _snowflake_connection() -> AbstractContextManager[SnowflakeConnection]:
    from platform_assets.assembly import build_snowflake_copies

    return build_snowflake_copies(_settings()).connect()


def _lake_options() -> dict[str, str]:
    return _settings().lake.resolve_storage_options()


def _bigquery_access() -> BigQueryAccess | None:
    from platform_assets.assembly import build_bigquery_access

    return build_bigquery_access(_settings())


app.add_typer(snowflake_app(_snowflake_connection, _lake_options), name="snowflake")
app.add_typer(bigquery_app(_bigquery_access), name="bigquery")
app.add_typer(dlp_app, name="dlp")


@app.callback()
def _main() -> None:
    """Load an operational PostgreSQL database into a lake, three star schemas and a warehouse."""


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Print the platform's errors as one red sentence, and exit with code 1."""
    from platform_assets.errors import PlatformError, path_error

    try:
        yield
    except PlatformError as error:
        typer.secho(f"{error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        told = path_error(error)
        if told is None:
            raise
        typer.secho(f"{told}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None


@contextlib.contextmanager
def _progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar for each step on stderr, only on a terminal."""
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
    from platform_assets.assembly import build_embedded_postgres

    return build_embedded_postgres(settings)


@app.command()
def run(
    source: Annotated[
        str, typer.Argument(help="The source to read; only Totesys goes further than the lake.")
    ] = "totesys",
) -> None:
    """Run a source's job once (for Totesys, up to the warehouse), then show the content of each layer."""
    with _plain_errors():
        import time

        from platform_assets.build import job_of, run_job

        settings = _settings()
        started = time.monotonic()
        done = run_job(settings, job_of(settings, source), lambda line: typer.echo(f"  {line}"))
        seconds = time.monotonic() - started
        for check in done.failed_checks:
            # A check that failed the run is reported only once, as the failure.
            description = check.split(": ", 2)[-1]
            if not any(description in failure for failure in done.failures):
                typer.secho(f"Check failed: {check}", fg=typer.colors.YELLOW, err=True)
        if not done.succeeded:
            for failure in done.failures:
                typer.secho(failure, fg=typer.colors.RED, err=True)
            typer.secho(f"The run failed after {seconds:.1f} s; its id is {done.run_id}.", err=True)
            raise typer.Exit(1)
        _print_status(settings)
        example = f'{_this_command()} warehouse query "FROM star.dim_staff"'
        hint = f" To query the warehouse: {example}" if source == "totesys" else ""
        typer.echo(f"The run took {seconds:.1f} s.{hint}")


@app.command(hidden=True)
def prepare(
    env_file: Annotated[Path | None, typer.Option(help="A .env that is to name this instance.")] = None,
) -> None:
    """Create the folders that users expect before the first run, and write Dagster's folder to .env."""
    with _plain_errors():
        from platform_assets.build import prepare
        from platform_assets.settings import dagster_home

        settings = _settings()
        prepare(settings)
        if env_file is not None:
            _name_instance(env_file, dagster_home(settings))


_WRITTEN = "# Written by make"


def _name_instance(env_file: Path, home: Path) -> None:
    """Write .env, so that commands without make find the same instance; a user's own file stays unchanged."""
    before = env_file.read_text() if env_file.exists() else _WRITTEN
    text = "\n".join(
        (
            f"{_WRITTEN}; remove this line to keep your changes.",
            f'DAGSTER_HOME="${{DAGSTER_HOME:-{home}}}"',
            "DAGSTER_DISABLE_TELEMETRY=yes\n",
        )
    )
    if before.startswith(_WRITTEN) and before != text:
        env_file.write_text(text)


@app.command(hidden=True)
def ui(
    port: Annotated[int, typer.Option(help="Port to serve on.", min=1, max=65535)] = 3000,
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
) -> None:
    """Serve the Dagster UI and its daemon, as `make ui` does; fails if this instance is already served."""
    with _plain_errors():
        from platform_assets.build import fail_abandoned_runs, serve_ui

        settings = _settings()
        for run_id in fail_abandoned_runs(settings):
            typer.echo(f"Run {run_id} is marked as failed: its process is gone.")
        serve_ui(settings, host, port)


_IN_USE = 3


@app.command(name="check-idle", hidden=True)
def check_idle() -> None:
    """Exit with code 3 while the UI, its daemon or a run uses the local state; used by `make clean`."""
    from platform_assets.errors import AlreadyServed

    with _plain_errors():
        from platform_assets.build import refuse_while_used

        try:
            refuse_while_used(_settings())
        except AlreadyServed as error:
            typer.secho(f"Nothing was removed. {error}", fg=typer.colors.RED, err=True)
            raise typer.Exit(_IN_USE) from None


@app.command(name="status")
def show_status() -> None:
    """Show the content and freshness of each layer."""
    with _plain_errors():
        _print_status(_settings())


@warehouse_app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT; star tables and views are in schema star.")],
    limit: Annotated[int, typer.Option(help="Rows to show at the most.", min=1)] = 100,
    csv: Annotated[bool, typer.Option("--csv", help="Print all rows as CSV.")] = False,
    of: Annotated[str, typer.Option("--of", help="Name of a further warehouse.")] = "warehouse",
) -> None:
    """Run a query on a warehouse in its own SQL dialect; the query waits while a load is running."""
    with _plain_errors():
        from platform_assets.assembly import build_warehouse

        with build_warehouse(_settings(), of).query(sql) as rows:
            if csv:
                import pyarrow.csv

                with pyarrow.csv.CSVWriter(sys.stdout.buffer, rows.schema) as writer:
                    for batch in rows:
                        writer.write_batch(batch)
                return
            shown, more = _take(rows, limit)
        _print_columns(rows.schema.names, shown)
        count = len(shown)
        typer.echo(
            f"The first {count} rows; --limit shows more."
            if more
            else f"{count} row{'' if count == 1 else 's'}."
        )


def _this_command() -> str:
    """Return this command as the user can type it: its name if it is on the path, else its full path."""
    import shutil

    command = Path(sys.argv[0])
    if shutil.which(command.name):
        return command.name
    return str(command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command)


def _take(rows: pyarrow.RecordBatchReader, limit: int) -> tuple[list[tuple[object, ...]], bool]:
    """Return the first rows of a result as Python values, and whether more rows follow."""
    taken: list[tuple[object, ...]] = []
    for batch in rows:
        taken += zip(*(column.to_pylist() for column in batch.columns), strict=True)
        if len(taken) > limit:
            return taken[:limit], True
    return taken, False


def _print_columns(names: list[str], rows: list[tuple[object, ...]]) -> None:
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
    _print_whole(table)


def _print_whole(table: rich.table.Table) -> None:
    """Print a table at its full width: lines wrapped by the terminal lose less than truncated columns."""
    from rich.console import Console

    wide = Console(width=10_000)
    Console(markup=False, highlight=False, width=wide.measure(table).maximum).print(table)


def _print_status(settings: Settings) -> None:
    import datetime as dt

    from rich import box
    from rich.table import Table

    from platform_assets.assembly import build_lake, build_warehouse, source_tables
    from platform_assets.build import last_looks
    from platform_assets.status import holdings

    now = dt.datetime.now(dt.UTC)
    tables = {name: source_tables(settings, name) for name in settings.sources.names}
    found = holdings(build_lake(settings), build_warehouse(settings), tables)
    looks = last_looks(settings)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("layer", "table", "rows", "batch", "as of (UTC)"):
        table.add_column(name, justify="right" if name in ("rows", "batch") else "left")
    layer = ""
    for one in found:
        as_of = f"{one.as_of:%Y-%m-%d %H:%M:%S}" if one.as_of else "never"
        table.add_row(
            "" if one.layer == layer else one.layer, one.table, f"{one.rows:,}", str(one.batch or ""), as_of
        )
        layer = one.layer
    _print_whole(table)
    for look in looks:
        of = "the source" if len(looks) == 1 else f"source {look.source}"
        if look.at is None:
            typer.echo(f"No run has looked at {of} yet.")
            continue
        layers = (look.source, "star", "warehouse") if look.source == "totesys" else (look.source,)
        changes = [one.as_of for one in found if one.as_of and one.layer in layers]
        newest = f"; the newest change is from {_age(now - max(changes))} ago" if changes else ""
        typer.echo(f"{of.capitalize()} was last looked at {_age(now - look.at)} ago{newest}.")
        within = settings.fresh_within(look.source)
        if now - look.at > dt.timedelta(minutes=within):
            _warn(f"That is more than {within} minutes: is the schedule switched on in the UI?")
        if look.deletions:
            last = max(look.deletions.values())
            late = [f"in {name} {_age(now - one)} ago" for name, one in look.deletions.items() if one < last]
            others = f"; {', '.join(late)}" if late else ""
            typer.echo(f"Deleted rows were last looked for {_age(now - last)} ago{others}.")
        for name, reason in look.stopped.items():
            _warn(f"{look.source}/{name} is left as it was: {reason}")
    in_lake, in_warehouse = (
        max((one.batch for one in found if one.layer == layer), default=0)
        for layer in ("totesys", "warehouse")
    )
    if in_warehouse < in_lake:
        _warn(
            f"The warehouse ends at batch {in_warehouse}, the lake at {in_lake}: the next run loads the rest."
        )
    dead_letters = sum(one.dead_letters for one in found)
    if dead_letters:
        _warn(
            f"{dead_letters:,} row versions broke a declared rule so far; the assets' checks name those "
            f"that still do."
        )


def _warn(message: str) -> None:
    typer.secho(message, fg=typer.colors.YELLOW)


def _age(age: dt.timedelta) -> str:
    seconds = max(int(age.total_seconds()), 0)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


@source_app.command()
def verify(
    name: Annotated[str, typer.Argument(help="The source.")] = "totesys",
    table: Annotated[
        list[str] | None, typer.Option(help="A table to verify; can be given often. All where not given.")
    ] = None,
) -> None:
    """Verify that the lake holds the same rows as a source, and reload key ranges that differ."""
    with _plain_errors():
        from rich import box
        from rich.table import Table

        from platform_assets.assembly import build_engine, build_lake, build_source, source_tables
        from platform_assets.build import job_of
        from platform_assets.errors import PlatformError, SettingsError, SourceError
        from platform_assets.isolation import is_isolated, reason_of
        from platform_assets.source.extract import Extractor

        settings = _settings()
        job_of(settings, name)
        tables = {one.name: one for one in source_tables(settings, name)}
        if unknown := [one for one in table or () if one not in tables]:
            raise SettingsError(f"{name} has no table {', '.join(unknown)}; it has {', '.join(tables)}.")
        source = build_source(settings, name, tuple(tables.values()))
        extractor = Extractor(source, build_lake(settings), build_engine(settings))
        try:
            found = extractor.verify([tables[one] for one in table or tables])
        except PlatformError:
            raise
        except Exception as error:
            if not is_isolated(error):
                raise
            raise SourceError(f"{name} could not be verified: {reason_of(error)}") from error
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("table", "rows in source", "rows in lake", "ranges", "differing"):
        shown.add_column(title, justify="left" if title == "table" else "right")
    for one, verification in sorted(found.items()):
        if (compared := verification.comparison) is not None:
            counts = (
                compared.rows_in_source,
                compared.rows_in_lake,
                compared.ranges,
                len(compared.differing),
            )
            shown.add_row(one, *(f"{count:,}" for count in counts))
    _print_whole(shown)
    differing = [verification for verification in found.values() if not verification.passed]
    for verification in differing:
        _warn(verification.sentence)
    if differing:
        raise typer.Exit(1)
    typer.echo(f"The lake holds what {name} does, in {len(found)} tables.")


@source_app.command()
def discover(
    name: Annotated[str, typer.Argument(help="The source, as it is called in the configuration.")],
    host: Annotated[str | None, typer.Option(help="Host of a source that is not configured yet.")] = None,
    port: Annotated[int, typer.Option(help="Its port.")] = 5432,
    database: Annotated[str | None, typer.Option(help="Its database.")] = None,
    user: Annotated[str | None, typer.Option(help="The role that reads.")] = None,
    password: Annotated[
        str | None,
        typer.Option(help="A reference to the password; secret://env/<NAME>_PASSWORD where not given."),
    ] = None,
    schema: Annotated[str, typer.Option(help="The schema that holds the tables.")] = "public",
    sslmode: Annotated[str, typer.Option(help="As in libpq; verify-full checks the server.")] = "prefer",
    sslrootcert: Annotated[Path | None, typer.Option(help="A file with root certificates.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write the source's configuration anew.")
    ] = False,
) -> None:
    """Inspect a source's tables and write its catalogue; with --host, write its configuration too."""
    with _plain_errors():
        from platform_assets.assembly import build_source, source_tables
        from platform_assets.errors import SettingsError
        from platform_assets.source import declaration

        connection = {
            "host": host,
            "port": port,
            "database": database,
            "user": user,
            "password": password or f"secret://env/{name.upper()}_PASSWORD",
            "schema": schema,
            "sslmode": sslmode,
            "sslrootcert": str(sslrootcert.absolute()) if sslrootcert else None,
        }
        settings = _settings_for(name, connection, replace=replace)
        configured = settings.sources.discovered[name]
        with _progress_bar() as progress:
            source = build_source(settings, name, ())
            found = declaration.discover(source, configured.tables, configured.exclude, progress)
        file = settings.catalogue_file(name)
        before = declaration.Catalogue.read(file, name) if file.exists() else None
        _print_discovery(found, before)
        if not found.catalogue.tables:
            raise SettingsError(f"None of the tables of {name} can be read; nothing was written.")
        if host is not None:
            text = declaration.configuration(name, connection, found)
            declaration.write_configuration(settings.source_file(name), text)
            typer.echo(f"The configuration is in {settings.source_file(name)}.")
        written = found.catalogue.write(file)
        typer.echo(f"The catalogue is in {file}{'' if written else ', as it was'}.")
        source_tables(settings, name)
        keep = "it" if host is None else "both"
        typer.echo(f"Keep {keep} with the rest of the configuration. Next: {_this_command()} run {name}")


def _settings_for(name: str, connection: dict[str, Any], *, replace: bool) -> Settings:
    """Return the settings with the source to discover: as configured, or as given on the command line."""
    from platform_assets.errors import SettingsError
    from platform_assets.settings import load_settings

    settings = _settings()
    file = settings.source_file(name)
    command = f"{_this_command()} source discover {name}"
    if name == "totesys":
        raise SettingsError("The model declares the tables of totesys; there is nothing to discover.")
    if connection["host"] is None:
        if name not in settings.sources:
            raise SettingsError(
                f"There is no source {name} in the configuration. Say where it is, and {file} is written: "
                f"{command} --host HOST --database DATABASE --user USER --password secret://env/NAME"
            )
        if connection["database"] or connection["user"] or connection["sslrootcert"] or replace:
            raise SettingsError(
                f"{name} is configured, and read as it is configured. Leave the options out; to write its "
                f"configuration anew, give all of them, --host too: {command} --host HOST ... --replace"
            )
        return settings
    if (name in settings.sources or file.exists()) and not replace:
        where = file if file.exists() else "the configuration"
        raise SettingsError(
            f"{name} is in {where} already. To look at its tables again: {command}. To write it anew, "
            f"and lose what it says now: add --replace."
        )
    given = {key: value for key, value in connection.items() if value is not None}
    return load_settings(given={name: {"connection": given}})


def _print_discovery(found: Discovery, before: Catalogue | None) -> None:
    from rich import box
    from rich.table import Table

    from platform_assets.source.declaration import differences

    known = before.tables if before else {}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("table", "kind", "columns", "rows, about", "key", "changes by", "since the last look"):
        table.add_column(heading, justify="right" if heading in ("columns", "rows, about") else "left")
    changes = {
        name: differences(known[name], one) for name, one in found.catalogue.tables.items() if name in known
    }
    for name, one in found.catalogue.tables.items():
        news = "new" if name not in known else "changed" if changes[name] else ""
        count = found.rows[name]
        rows = "never analysed" if count is None else f"{count:,}"
        if one.kind in ("view", "foreign table"):
            rows = ""
        table.add_row(
            name, one.kind, str(len(one.columns)), rows, ", ".join(one.key), found.strategies[name], news
        )
    for name, kind in found.kinds.items():
        table.add_row(name, kind, "", "", "", "", "refused")
    for name in known:
        if name not in found.catalogue.tables and name not in found.refused:
            table.add_row(name, known[name].kind, "", "", "", "", "gone")
    _print_whole(table)
    for name, changed in changes.items():
        if changed:
            typer.echo(f"{name}: {'; '.join(changed)}.")
    for reason in found.refused.values():
        _warn(reason)
    for pattern in found.unmatched:
        _warn(f"Nothing matches {pattern}: correct tables and exclude of the source.")


@sample_app.command()
def start() -> None:
    """Start the sample's PostgreSQL server, and create it if necessary; existing data stays."""
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
    """Write a complete sample database; the same seed and size give the same rows."""
    with _plain_errors():
        from platform_assets.source.sample import create_sample

        settings = _settings()
        configured = settings.sources.totesys.sample
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
    """Continue the sample's business: orders, payments and designs, optionally edits and deletions."""
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


@dlp_app.command(name="snowflake-ddl")
def snowflake_ddl(
    role: Annotated[str, typer.Option(help="The role that sees values as they are.")],
    schema: Annotated[str, typer.Option(help="Schema of the star tables in Snowflake.")] = "star",
    policies: Annotated[str, typer.Option(help="Schema of the tags and masking policies.")] = "policies",
    upper: Annotated[
        bool, typer.Option("--upper", help="Names are in upper case, as the assets snowflake/* have them.")
    ] = False,
) -> None:
    """Print the Snowflake tags and masking policies that match the findings and the policy."""
    with _plain_errors():
        from platform_assets.assembly import build_findings, build_policy
        from platform_assets.dlp.snowflake_ddl import Place, statements

        settings = _settings()
        verdicts = build_findings(settings).sensitive_columns()
        for one in statements(verdicts, build_policy(settings), Place(schema, policies, role, upper)):
            typer.echo(f"{one};")


if __name__ == "__main__":
    app()
