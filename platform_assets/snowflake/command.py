"""The commands `snowflake script`, for Parquet files, and `snowflake setup-script`, for an account."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from platform_assets.errors import ParquetError, PlatformError, SettingsError
from platform_assets.parquet.layouts import Grouping
from platform_assets.snowflake.options import Case, Create, Encryption, Mode, ScriptOptions
from platform_assets.terminal import plain_errors, print_table

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

    from platform_assets.parquet.tables import ParquetProblem
    from platform_assets.rooms import Rooms
    from platform_assets.snowflake.execute import Progress, TableResult
    from platform_assets.snowflake.script import Script
    from platform_assets.snowflake.setup import SnowflakeUse

Connect = Callable[[], contextlib.AbstractContextManager["SnowflakeConnection"]]
StorageOptions = Callable[[], Mapping[str, str]]

_LONGEST_LIST_OF_REJECTIONS = 20
# Options that take a list of texts each.
_LISTS = ("paths", "cluster_by", "type", "column")
_FLAGS = ("purge", "force", "transient", "execute")


def _one_of(kind: Any) -> str:
    return ", ".join(get_args(kind))


def snowflake_app(connect: Connect, storage_options: StorageOptions = dict) -> typer.Typer:
    """The Snowflake commands.

    Args:
        connect: Opens the configured connection as a context manager, or raises a PlatformError that says
            what to configure.
        storage_options: Returns the options of the lake's object store, with secrets resolved; called if a
            path is `s3://` or `gs://`.
    """
    app = typer.Typer(help="Parquet files into Snowflake.", no_args_is_help=True)

    @app.callback()
    def _group() -> None:
        """Load Parquet files into Snowflake."""

    @app.command(name="script")
    def _script(
        paths: Annotated[
            list[str] | None,
            typer.Argument(
                help="Files, folders and Delta tables: local, s3:// or gs://.", show_default=False
            ),
        ] = None,
        output: Annotated[
            str | None,
            typer.Option("--output", "-o", help="The file to write; standard output by default."),
        ] = None,
        config: Annotated[
            Path | None,
            typer.Option(
                help="A HOCON file with any of these options by their names; options on the command line win."
            ),
        ] = None,
        database: Annotated[str | None, typer.Option(help="Database of the tables.")] = None,
        schema: Annotated[str | None, typer.Option(help="Schema of the tables.")] = None,
        prefix: Annotated[
            str | None, typer.Option(help="Prefix of each table's name, such as dim_ or fact_.")
        ] = None,
        case: Annotated[
            str | None, typer.Option(help=f"Names as in the files, or in upper case: {_one_of(Case)}.")
        ] = None,
        name: Annotated[
            str | None, typer.Option(help="Load all files into one table with this name.")
        ] = None,
        grouping: Annotated[
            str | None,
            typer.Option(
                help=(
                    f"Grouping of files into tables: {_one_of(Grouping)}; auto treats a folder of numbered "
                    "parts as one table."
                )
            ),
        ] = None,
        pattern: Annotated[
            str | None, typer.Option(help="Only files in folders whose name matches, such as *.parquet.")
        ] = None,
        stage_url: Annotated[
            str | None, typer.Option(help="Snowflake's URL of the files, if it differs from the read one.")
        ] = None,
        storage_integration: Annotated[
            str | None, typer.Option(help="The storage integration with access to it.")
        ] = None,
        encryption: Annotated[
            str | None, typer.Option(help=f"Of the stage's files: {_one_of(Encryption)}.")
        ] = None,
        kms_key: Annotated[str | None, typer.Option(help="The key for sse-kms.")] = None,
        file_format: Annotated[
            str | None, typer.Option(help="Name of a file format, created if it does not exist.")
        ] = None,
        create: Annotated[
            str | None, typer.Option(help=f"How tables are created: {_one_of(Create)}.")
        ] = None,
        mode: Annotated[str | None, typer.Option(help=f"How columns are found: {_one_of(Mode)}.")] = None,
        on_error: Annotated[str | None, typer.Option(help="COPY's ON_ERROR.")] = None,
        purge: Annotated[
            bool | None, typer.Option("--purge/--no-purge", help="Remove files from the stage once loaded.")
        ] = None,
        force: Annotated[
            bool | None, typer.Option("--force/--no-force", help="Load files that were loaded before.")
        ] = None,
        transient: Annotated[
            bool | None, typer.Option("--transient/--permanent", help="Tables without Fail-safe.")
        ] = None,
        cluster_by: Annotated[
            list[str] | None, typer.Option(help="Columns to cluster by: day,id or orders=day,id; repeatable.")
        ] = None,
        type_: Annotated[
            list[str] | None,
            typer.Option("--type", help="Another type for a Parquet type: uint64=NUMBER(38,0); repeatable."),
        ] = None,
        column: Annotated[
            list[str] | None,
            typer.Option(help="Another type for a column: id=VARCHAR, orders.id=VARCHAR; repeatable."),
        ] = None,
        execute: Annotated[
            bool | None, typer.Option("--execute/--no-execute", help="Run the script in Snowflake.")
        ] = None,
        connection: Annotated[
            str | None,
            typer.Option(
                help="A connection of Snowflake's connections.toml; by default the configured account."
            ),
        ] = None,
    ) -> None:
        """Write the script that creates tables from Parquet files; with --execute, run it too."""
        given = dict(locals())
        with _plain_errors():
            chosen = _chosen(given)
            is_whole = _run(chosen, connect, storage_options)
        if not is_whole:
            raise typer.Exit(1)

    return app


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Report expected errors as one red sentence with exit code 1."""
    try:
        yield
    except PlatformError as error:
        _complain(str(error))
        raise typer.Exit(1) from None


def _complain(text: str) -> None:
    typer.secho(text, fg=typer.colors.RED, err=True)


def _chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options by name: from the file, overridden by those on the command line."""
    by_name = {name.rstrip("_"): value for name, value in given.items()}
    # A repeatable option that is not given is an empty list.
    options = {name: by_name[name] for name in _option_names() if by_name[name] not in (None, [])}
    for name in ("type", "column"):
        if name in options:
            options[name] = dict(_pair(name, text) for text in options[name])
    if "cluster_by" in options:
        options["cluster_by"] = dict(_cluster(text) for text in options["cluster_by"])
    config = given.get("config")
    in_file = _read_config(config) if config is not None else {}
    # Maps are merged, so that a file can hold what all loads have in common.
    for name in ("type", "column", "cluster_by"):
        if name in options and name in in_file:
            options[name] = in_file[name] | options[name]
    return in_file | options


def _option_names() -> tuple[str, ...]:
    own = {field.name for field in dataclasses.fields(ScriptOptions)} - {"types", "columns"}
    return (*sorted(own), *("paths", "output", "name", "grouping", "pattern", "type", "column"), *_RUN)


_RUN = ("execute", "connection")


def _pair(option: str, text: str) -> tuple[str, str]:
    name, separator, type_ = text.partition("=")
    if not separator or not name.strip() or not type_.strip():
        raise ParquetError(f"--{option} {text} names no type; write it as NAME=TYPE.")
    return name.strip(), type_.strip()


def _cluster(text: str) -> tuple[str, list[str]]:
    table, separator, columns = text.rpartition("=")
    return (table if separator else "*"), [column.strip() for column in columns.split(",") if column.strip()]


def _read_config(file: Path) -> dict[str, Any]:
    """The options in a HOCON file, by name.

    Raises:
        ParquetError: The file cannot be read, or contains unknown options; the message lists every mistake.
    """
    from platform_assets.configuration.document import parse_document

    try:
        document = parse_document(file)
    except SettingsError as error:
        raise ParquetError(f"The options in {file} cannot be read: {error}") from error
    options: dict[str, Any] = {}
    mistakes = [str(mistake).rstrip(".") for mistake in document.unread]
    for key, value in document.content.items():
        name = key.replace("-", "_")
        if name not in _option_names():
            mistakes.append(f"{key} is not an option")
            continue
        try:
            options[name] = _from_config(name, value)
        except ValueError as error:
            mistakes.append(f"{key} is {error}")
    if mistakes:
        known = ", ".join(sorted(name.replace("_", "-") for name in _option_names()))
        raise ParquetError(
            f"The options in {file} cannot be used: {'; '.join(mistakes)}. The options are {known}."
        )
    return options


def _from_config(name: str, value: Any) -> Any:
    """Convert a value of the file to the type of its option.

    Raises:
        ValueError: The value has another type; the message says what is expected.
    """
    if name == "cluster_by":
        value = value if isinstance(value, Mapping) else {"*": value}
        return {key: _texts(columns) for key, columns in value.items()}
    if name in ("type", "column"):
        if not isinstance(value, Mapping):
            raise ValueError("not a block of NAME = TYPE")
        return dict(_flat(value))
    if name in _LISTS:
        return _texts(value)
    if name in _FLAGS:
        if not isinstance(value, bool):
            raise ValueError(f"{value!r}, but must be true or false")
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r}, not text")
    return value


def _texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("not a list of texts")
    return list(texts)


def _flat(block: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """The texts in a block by dotted key; HOCON parses `orders.id = X` as nested blocks."""
    for key, value in block.items():
        name = above + key
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, str):
            yield name, value
        else:
            raise ValueError(f"{value!r} at {name}, but must be the name of a type")


def _run(chosen: dict[str, Any], connect: Connect, storage_options: StorageOptions) -> bool:
    """Read, write and optionally execute; return True if nothing was skipped."""
    from platform_assets.parquet.tables import read_tables
    from platform_assets.snowflake.script import script

    grouping = chosen.get("grouping", "auto")
    if grouping not in get_args(Grouping):
        raise ParquetError(f"grouping is {grouping!r}, but must be {_one_of(Grouping)}.")
    fields = {field.name for field in dataclasses.fields(ScriptOptions)}
    options = ScriptOptions(
        **{name: value for name, value in chosen.items() if name in fields},
        types=chosen.get("type", {}),
        columns=chosen.get("column", {}),
    )
    reading = read_tables(
        chosen.get("paths", ()),
        storage_options=storage_options,
        grouping=grouping,
        name=chosen.get("name"),
        pattern=chosen.get("pattern", "*"),
    )
    made = script(reading.tables, options)
    problems = (*reading.problems, *made.problems)
    for problem in problems:
        _complain(f"Left out: {problem}")
    if not made.tables:
        raise ParquetError("No table can be loaded. The reasons are above.")
    _write(made, chosen, problems)
    is_loaded = not chosen.get("execute") or _execute(made, _connector(chosen, connect))
    return is_loaded and not problems


def _write(made: Script, chosen: Mapping[str, Any], problems: Sequence[ParquetProblem]) -> None:
    output = chosen.get("output")
    if output is None:
        if not chosen.get("execute"):
            typer.echo(made.text, nl=False)
        return
    try:
        Path(output).write_text(made.text, encoding="utf-8")
    except OSError as error:
        raise ParquetError(f"The script cannot be written to {output}: {error.strerror}.") from error
    tables, rows = len(made.tables), sum(table.rows for table in made.tables)
    left_out = f", {len(problems)} left out" if problems else ""
    typer.echo(f"{output}: {tables:,} table{'' if tables == 1 else 's'} with {rows:,} rows{left_out}.")


def _connector(chosen: Mapping[str, Any], connect: Connect) -> Connect:
    if name := chosen.get("connection"):
        from platform_assets.snowflake.connect import connect_by_name

        return lambda: connect_by_name(name)
    return connect


def _execute(made: Script, connect: Connect) -> bool:
    """Run a script and print the result of each table; return True if all were loaded completely."""
    from platform_assets.snowflake.execute import execute

    with connect() as connection, _bars() as progress:
        results = execute(made, connection, progress)
    _print_results(results)
    return _is_whole(results)


def _is_whole(results: Sequence[TableResult]) -> bool:
    """Return True if every row of every table was loaded; print what was not."""
    for result in results:
        if result.error is not None:
            _complain(f"{result.name}: {result.error}")
    rejections = [(result.name, rejection) for result in results for rejection in result.rejections]
    for name, rejected in rejections[:_LONGEST_LIST_OF_REJECTIONS]:
        _complain(f"{name}: {rejected.rows:,} rows of {rejected.file} were rejected: {rejected.reason}")
    if len(rejections) > _LONGEST_LIST_OF_REJECTIONS:
        _complain(f"{len(rejections) - _LONGEST_LIST_OF_REJECTIONS:,} further files had rows rejected.")
    return not rejections and all(result.error is None for result in results)


@contextlib.contextmanager
def _bars() -> Iterator[Progress]:
    """A progress bar for each table, on stderr, only if it is a terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bars:
        tasks: dict[str, Any] = {}

        def report(table: str, done: int, total: int) -> None:
            if table not in tasks:
                tasks[table] = bars.add_task(escape(table), total=total)
            bars.update(tasks[table], completed=done, total=total)

        yield report


def _print_results(results: Sequence[TableResult]) -> None:
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("table", "rows loaded", "rows rejected", "seconds"):
        shown.add_column(title, justify="left" if title == "table" else "right", no_wrap=True)
    for result in results:
        shown.add_row(
            result.name,
            "failed" if result.error else f"{result.rows_loaded:,}",
            f"{result.rows_rejected:,}",
            f"{result.seconds:.1f}",
        )
    print_table(shown)
    loaded = sum(result.rows_loaded for result in results)
    rejected = sum(result.rows_rejected for result in results)
    seconds = sum(result.seconds for result in results)
    typer.echo(f"{loaded:,} rows were loaded and {rejected:,} rejected in {seconds:.1f} s.")


def _configured_connection() -> contextlib.AbstractContextManager[SnowflakeConnection]:
    from platform_assets.rooms import Rooms
    from platform_assets.settings import load_settings
    from platform_assets.snowflake.assembly import SnowflakeRoom

    return Rooms(load_settings()).of(SnowflakeRoom).copies().connect()


def _lake_options() -> dict[str, str]:
    from platform_assets.lake.assembly import LakeRoom
    from platform_assets.rooms import Rooms
    from platform_assets.settings import load_settings

    return Rooms(load_settings()).of(LakeRoom).storage_options()


app = snowflake_app(_configured_connection, _lake_options)


@app.command(name="setup-script")
def _setup_script(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; standard output by default.")
    ] = None,
    account: Annotated[
        str | None, typer.Option(help="The account, if the configuration has several.")
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(help="File with the user's public key; by default that of the configured private key."),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="IPv4 address or range that loads come from, for a network policy; repeatable."),
    ] = None,
    storage_role: Annotated[
        str | None, typer.Option(help="ARN of the AWS role by which Snowflake reads the lake on S3.")
    ] = None,
    role: Annotated[
        str, typer.Option(help="Role of loads, where the configuration names none.")
    ] = "PLATFORM_LOADER",
    reader: Annotated[str, typer.Option(help="Role for people who read the tables.")] = "PLATFORM_READER",
    unmasked: Annotated[str, typer.Option(help="Role that sees masked values as they are.")] = "PII_READER",
    governance: Annotated[
        str, typer.Option(help="Role that sets tags and masking policies.")
    ] = "PLATFORM_GOVERNANCE",
    policies: Annotated[str, typer.Option(help="Schema of the tags and masking policies.")] = "policies",
    warehouse_size: Annotated[
        str, typer.Option(help="Size of a virtual warehouse that does not exist yet.")
    ] = "XSMALL",
    columns: Annotated[
        bool, typer.Option("--columns", help="Also tag and mask columns; the tables have to exist.")
    ] = False,
) -> None:
    """Print the script that prepares a Snowflake account for the configuration. Nothing is executed.

    It creates the warehouse, the database, the schemas, the roles with the grants that loads need and no
    others, the user with its public key, the storage integration and the stage, a network policy, tags and
    masking policies.
    """
    with plain_errors():
        from platform_assets.rooms import Rooms
        from platform_assets.settings import load_settings
        from platform_assets.snowflake.identifiers import typed_identifier
        from platform_assets.snowflake.setup import MasksInSnowflake, SetupOptions, setup_script

        rooms = Rooms(load_settings())
        uses = _uses(rooms, account, public_key)
        options = SetupOptions(
            role=typed_identifier(role),
            reader=typed_identifier(reader),
            unmasked=typed_identifier(unmasked),
            governance=typed_identifier(governance),
            policies=policies,
            warehouse_size=_known_size(warehouse_size),
            allowed=tuple(_address(address) for address in allow or ()),
            storage_role=storage_role,
            columns=columns,
        )
        masking = next(rooms.offering(MasksInSnowflake), None)
        text = setup_script(uses, options, masking.snowflake_masks if masking else lambda place: ([], []))
        if output is None:
            typer.echo(text, nl=False)
            return
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"The script cannot be written to {output}: {error.strerror}.") from error


def _uses(rooms: Rooms, account: str | None, public_key: Path | None) -> list[SnowflakeUse]:
    """The uses of one account, with the given public key in place of the configured one."""
    from platform_assets.snowflake.setup import UsesSnowflake

    uses = [use for room in rooms.offering(UsesSnowflake) for use in room.snowflake_uses()]
    if not uses:
        raise SettingsError(
            "The configuration uses no Snowflake account: it has neither a block snowflake nor a warehouse "
            "with the engine snowflake. Add one of them, see docs/warehouse_snowflake.md."
        )
    accounts = sorted({use.account.upper() for use in uses})
    wanted = account.upper() if account is not None else accounts[0]
    if (account is None and len(accounts) > 1) or wanted not in accounts:
        found = f"found {account}" if account is not None else "found no --account"
        raise SettingsError(f"Name the account of the script: {found}; expected {' or '.join(accounts)}.")
    uses = [use for use in uses if use.account.upper() == wanted]
    if public_key is None:
        return uses
    if len({use.user for use in uses if use.public_key is not None}) != 1:
        raise SettingsError(
            "--public-key is for a configuration with one user that has a key pair. Leave it out: the public "
            "keys are then those of the configured private keys."
        )
    written = _read_public_key(public_key)
    return [dataclasses.replace(use, public_key=lambda: written) if use.public_key else use for use in uses]


def _read_public_key(file: Path) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    from platform_assets.snowflake.access import encoded_public_key

    try:
        return encoded_public_key(load_pem_public_key(file.read_bytes()))
    except OSError as error:
        raise SettingsError(f"The public key {file} cannot be read: {error.strerror}.") from error
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(
            f"The file {file} holds no public key as PEM text; `openssl rsa -in loader.p8 -pubout` writes it."
        ) from None


def _address(text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.IPv4Network(text.strip()))
    except ValueError as error:
        raise SettingsError(
            f"--allow {text} is not an IPv4 address or range: {error}. Write it as 203.0.113.7 or "
            "203.0.113.0/24."
        ) from None


_SIZES = (
    "XSMALL",
    "SMALL",
    "MEDIUM",
    "LARGE",
    "XLARGE",
    "XXLARGE",
    "XXXLARGE",
    "X4LARGE",
    "X5LARGE",
    "X6LARGE",
)


def _known_size(text: str) -> str:
    size = text.upper().replace("-", "")
    if size not in _SIZES:
        raise SettingsError(f"--warehouse-size {text} does not exist; expected {', '.join(_SIZES)}.")
    return size
