"""The `source` commands: verify that the lake holds what a source does; describe the tables of a source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platform_assets.terminal import plain_errors, print_table, progress_bar, this_command, warn

if TYPE_CHECKING:
    from platform_assets.configuration.blocks import Settings
    from platform_assets.source.declaration import Catalogue, Discovery

app = typer.Typer(help="The sources: databases that are read.", no_args_is_help=True)


@app.command()
def verify(
    name: Annotated[str, typer.Argument(help="The source.")] = "totesys",
    table: Annotated[
        list[str] | None, typer.Option(help="A table to verify; repeatable. All tables by default.")
    ] = None,
) -> None:
    """Verify that the lake holds the same rows as a source, and reload key ranges that differ."""
    with plain_errors():
        from rich import box
        from rich.table import Table

        from platform_assets.errors import PlatformError, SettingsError, SourceError
        from platform_assets.isolation import is_isolated, reason_of
        from platform_assets.lake.assembly import LakeRoom
        from platform_assets.rooms import Rooms
        from platform_assets.settings import load_settings
        from platform_assets.source.assembly import SourceRoom
        from platform_assets.source.extract import Extractor

        rooms = Rooms(load_settings())
        room, lake = rooms.of(SourceRoom), rooms.of(LakeRoom)
        tables = {readable_table.name: readable_table for readable_table in room.readable_tables(name)}
        if unknown := [name for name in table or () if name not in tables]:
            raise SettingsError(f"{name} has no table {', '.join(unknown)}; it has {', '.join(tables)}.")
        source = room.database(name, tuple(tables.values()))
        extractor = Extractor(source, lake.lake, lake.engine)
        try:
            found = extractor.verify([tables[name] for name in table or tables])
        except PlatformError:
            raise
        except Exception as error:
            if not is_isolated(error):
                raise
            raise SourceError(f"{name} could not be verified: {reason_of(error)}") from error
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("table", "rows in source", "rows in lake", "ranges", "differing"):
        shown.add_column(title, justify="left" if title == "table" else "right")
    for table_name, verification in sorted(found.items()):
        if (compared := verification.comparison) is not None:
            counts = (
                compared.rows_in_source,
                compared.rows_in_lake,
                compared.ranges,
                len(compared.differing),
            )
            shown.add_row(table_name, *(f"{count:,}" for count in counts))
    print_table(shown)
    differing = [verification for verification in found.values() if not verification.passed]
    for verification in differing:
        warn(verification.sentence)
    if differing:
        raise typer.Exit(1)
    typer.echo(f"The lake and {name} hold the same rows, in {len(found)} tables.")


@app.command()
def discover(
    name: Annotated[str, typer.Argument(help="Name of the source in the configuration.")],
    host: Annotated[str | None, typer.Option(help="Host of a source that is not configured yet.")] = None,
    port: Annotated[int, typer.Option(help="Its port.")] = 5432,
    database: Annotated[str | None, typer.Option(help="Its database.")] = None,
    user: Annotated[str | None, typer.Option(help="The role that reads.")] = None,
    password: Annotated[
        str | None,
        typer.Option(help="A reference to the password; secret://env/<NAME>_PASSWORD by default."),
    ] = None,
    schema: Annotated[str, typer.Option(help="The schema that holds the tables.")] = "public",
    sslmode: Annotated[str, typer.Option(help="As in libpq; verify-full checks the server.")] = "prefer",
    sslrootcert: Annotated[Path | None, typer.Option(help="A file with root certificates.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite the source's configuration.")] = False,
) -> None:
    """Inspect a source's tables and write its catalogue; with --host, write its configuration too."""
    with plain_errors():
        from platform_assets.errors import SettingsError
        from platform_assets.rooms import Rooms
        from platform_assets.source import declaration
        from platform_assets.source.assembly import SourceRoom

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
        room = Rooms(_settings_for(name, connection, replace=replace)).of(SourceRoom)
        configured = room.settings.sources.discovered[name]
        with progress_bar() as progress:
            source = room.database(name, ())
            found = declaration.discover(source, configured.tables, configured.exclude, progress)
        file = room.catalogue_file(name)
        before = declaration.Catalogue.read(file, name) if file.exists() else None
        catalogue = found.keeping(before)
        _print_discovery(found, before)
        if not catalogue.tables:
            raise SettingsError(
                f"None of the tables of {name} can be read, so no catalogue was written. Correct the causes "
                "above."
            )
        if host is not None:
            text = declaration.configuration(name, connection, found)
            declaration.write_configuration(room.source_file(name), text)
            typer.echo(f"The configuration is in {room.source_file(name)}.")
        written = catalogue.write(file)
        typer.echo(f"The catalogue is in {file}{'' if written else ', unchanged'}.")
        room.tables(name)
        keep = "it" if host is None else "both"
        typer.echo(f"Keep {keep} with the rest of the configuration. Next: {this_command()} run {name}")


def _settings_for(name: str, connection: dict[str, Any], *, replace: bool) -> Settings:
    """Return the settings with the source to discover: as configured, or as given on the command line."""
    from platform_assets.errors import SettingsError
    from platform_assets.rooms import Rooms
    from platform_assets.settings import load_settings
    from platform_assets.source.assembly import SourceRoom

    settings = load_settings()
    room = Rooms(settings).of(SourceRoom)
    file = room.source_file(name)
    command = f"{this_command()} source discover {name}"
    if name == "totesys":
        raise SettingsError("The source totesys cannot be discovered: the model declares its tables.")
    if connection["host"] is None:
        if name not in room.names:
            raise SettingsError(
                f"The configuration has no source {name}. To create {file}, give the address of the "
                f"database: {command} --host HOST --database DATABASE --user USER --password "
                "secret://env/NAME"
            )
        if connection["database"] or connection["user"] or connection["sslrootcert"] or replace:
            raise SettingsError(
                f"{name} is configured already, so these options would be ignored. Omit them; or to "
                f"overwrite its configuration, give all of them with --host: {command} --host HOST ... "
                "--replace"
            )
        return settings
    if (name in room.names or file.exists()) and not replace:
        where = file if file.exists() else "the configuration"
        raise SettingsError(
            f"{name} is already configured in {where}. To discover its tables again, run {command}. To "
            "overwrite its configuration, add --replace."
        )
    given = {key: value for key, value in connection.items() if value is not None}
    return load_settings(given={name: {"connection": given}})


def _print_discovery(found: Discovery, before: Catalogue | None) -> None:
    from rich import box
    from rich.table import Table

    from platform_assets.source.declaration import differences

    known = before.tables if before else {}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in (
        "table",
        "kind",
        "columns",
        "rows, about",
        "key",
        "changes by",
        "since the last discovery",
    ):
        table.add_column(heading, justify="right" if heading in ("columns", "rows, about") else "left")
    changes = {
        name: differences(known[name], table)
        for name, table in found.catalogue.tables.items()
        if name in known
    }
    for name, relation in found.catalogue.tables.items():
        news = "new" if name not in known else "changed" if changes[name] else ""
        count = found.rows[name]
        rows = "never analysed" if count is None else f"{count:,}"
        if relation.kind in ("view", "foreign table"):
            rows = ""
        table.add_row(
            name,
            relation.kind,
            str(len(relation.columns)),
            rows,
            ", ".join(relation.key),
            found.strategies[name],
            news,
        )
    for name, kind in found.kinds.items():
        news = "kept as it was" if name in found.unseen and name in known else "refused"
        table.add_row(name, kind, "", "", "", "", news)
    for name in known:
        if name not in found.catalogue.tables and name not in found.refused:
            table.add_row(name, known[name].kind, "", "", "", "", "gone")
    print_table(table)
    for name, changed in changes.items():
        if changed:
            typer.echo(f"{name}: {'; '.join(changed)}.")
    for reason in found.refused.values():
        warn(reason)
    for pattern in found.unmatched:
        warn(f"Nothing matches {pattern}: correct tables and exclude of the source.")
