"""The `lake` commands: upkeep, rebuild, verification, and looks back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platform_assets.terminal import plain_errors, print_rows, this_command, warn

if TYPE_CHECKING:
    from platform_assets.lake.interfaces import Loss
    from platform_assets.lake.lookback import RowChange
    from platform_assets.lake.upkeep.upkeep import TableUpkeep

app = typer.Typer(help="The lake.", no_args_is_help=True)
_MOST_BATCHES = 20


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
    if any(table_upkeep.error for table_upkeep in done):
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
    due = [table_upkeep for table_upkeep in done if table_upkeep.why or table_upkeep.problem]
    if due:
        names = ["table", "rows", "inserted", "updated", "deleted", "why"]
        print_rows(
            names,
            [
                [rebuilt.table, rebuilt.rows, rebuilt.inserted, rebuilt.updated, rebuilt.deleted, rebuilt.why]
                for rebuilt in due
            ],
        )
    for table_upkeep in due:
        if table_upkeep.problem:
            warn(f"{table_upkeep.table}: {table_upkeep.problem}")
    left = len(done) - len(due)
    if left:
        typer.echo(f"{left} table{' has' if left == 1 else 's have'} the rows that {_its(left)} should have.")
    if due and not apply:
        typer.echo("Nothing was changed. To do it, add --apply. Warehouses follow rebuilt star tables.")
    if any(table_upkeep.problem for table_upkeep in done):
        raise typer.Exit(1)


@app.command()
def verify(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read all rows of all files, and compare the star with bronze.")
    ] = False,
    accept: Annotated[
        str, typer.Option("--accept-loss", help="Let ticks go on with this table, such as totesys/staff.")
    ] = "",
) -> None:
    """Verify that every file is there and readable, and that ledger, tables, star and warehouses agree.

    What is lost is named. Exits with 1 if anything is. Nothing is changed without --accept-loss.
    """
    with plain_errors():
        from platform_assets.lake.assembly import LakeRoom
        from platform_assets.lake.verification import LakeVerifier, accept_loss
        from platform_assets.rooms import Rooms
        from platform_assets.settings import load_settings

        rooms = Rooms(load_settings())
        room = rooms.of(LakeRoom)
        if accept:
            typer.echo(accept_loss(rooms, room.lake, room.engine, accept))
            return
        found = 0
        for loss in LakeVerifier(rooms, room.lake, room.engine, deep).losses():
            found += 1
            typer.echo(f"{loss.table}: {loss.what}{_concerned(loss)}")
            typer.echo(f"    {loss.advice}")
    if found:
        warn(f"{found} problem{'' if found == 1 else 's'} found.")
        raise typer.Exit(1)
    typer.echo("Everything is there, and fits together.")


def _concerned(loss: Loss) -> str:
    """Return the batches and rows that a loss concerns, as a sentence."""
    if not loss.batches:
        return f" Rows: {loss.rows:,}." if loss.rows else ""
    shown = ", ".join(map(str, loss.batches[:_MOST_BATCHES]))
    more = len(loss.batches) - _MOST_BATCHES
    return f" Batches: {shown}{f' and {more:,} more' if more > 0 else ''}; rows: {loss.rows:,}."


_When = Annotated[str, typer.Argument(help="A batch, or a time such as 2026-03-01T12:00 (UTC).")]


@app.command()
def at(
    when: _When,
    tables: Annotated[
        list[str] | None,
        typer.Argument(help="Tables, such as star/dim_staff, or totesys, star; all without names."),
    ] = None,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print DuckDB SQL: a query of one table, views of several.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--duckdb", help="Write a DuckDB file with a view of each table.")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="With --duckdb: copy the rows into the file.")] = False,
    limit: Annotated[int, typer.Option(help="Maximum number of rows to show of one table.", min=1)] = 20,
) -> None:
    """Show tables as they were after a batch or at a time: counts, or the rows of one table."""
    with plain_errors():
        from platform_assets.lake.lookback import look_back
        from platform_assets.rooms import Rooms
        from platform_assets.settings import load_settings

        past = look_back(Rooms(load_settings()), when, tables or ())
        seen = f", seen at {past.seen_at:%Y-%m-%d %H:%M:%S} UTC" if past.seen_at is not None else ""
        names = list(past.tables)
        if sql:
            typer.echo(f"-- After batch {past.batch}{seen}.")
            if len(names) == 1:
                typer.echo(past.query(names[0]))
                return
            script, problems = past.script()
            typer.echo(script)
            _fail_for(problems)
            return
        if file is not None:
            problems = past.write(file, copy=copy)
            typer.echo(f"{file} has {len(names) - len(problems)} tables after batch {past.batch}{seen}.")
            _fail_for(problems)
            return
        typer.echo(f"After batch {past.batch}{seen}:")
        if len(names) == 1:
            found = past.rows(names[0], limit)
            if found:
                print_rows(list(found[0]), [list(row.values()) for row in found])
            count = past.count(names[0])
            typer.echo(f"{count:,} row{'' if count == 1 else 's'}; {len(found):,} shown.")
        else:
            counts, problems = past.counts()
            print_rows(["table", "rows"], [[name, count] for name, count in counts.items()])
            _fail_for(problems)


def _fail_for(problems: Mapping[str, str]) -> None:
    """Tell on stderr, beside the SQL, which tables could not be read; exit with 1 if there are any."""
    for name, reason in problems.items():
        typer.secho(f"{name}: {reason}", fg=typer.colors.YELLOW, err=True)
    if problems:
        raise typer.Exit(1)


@app.command()
def diff(
    before: _When,
    after: _When,
    tables: Annotated[
        list[str] | None,
        typer.Argument(help="Tables, such as star/dim_staff, or totesys, star; all without names."),
    ] = None,
    rows: Annotated[str, typer.Option("--rows", help="Show the rows of this table that differ.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    limit: Annotated[int, typer.Option(help="Maximum number of rows to show.", min=1)] = 50,
) -> None:
    """Count the rows that were inserted, updated and deleted between two batches or times, table by table."""
    with plain_errors():
        import dataclasses
        import json

        from platform_assets.errors import SettingsError
        from platform_assets.lake.lookback import compare
        from platform_assets.rooms import Rooms
        from platform_assets.settings import load_settings

        compared = compare(Rooms(load_settings()), before, after, [rows] if rows else tables or ())
        span = {"from batch": compared.before.batch, "to batch": compared.after.batch}
        if rows:
            if len(compared.after.tables) > 1:
                raise SettingsError(
                    f"{rows} means {len(compared.after.tables)} tables: name one of "
                    f"{', '.join(compared.after.tables)}."
                )
            [name] = compared.after.tables
            changes = compared.rows(name, limit)
            if as_json:
                found = [dataclasses.asdict(change) for change in changes]
                typer.echo(json.dumps({**span, "table": name, "rows": found}, default=str))
            else:
                print_rows(["change", "row"], [[change.change, _values_of(change)] for change in changes])
            return
        differences = list(compared.tables())
    if as_json:
        typer.echo(
            json.dumps({**span, "tables": [dataclasses.asdict(difference) for difference in differences]})
        )
    else:
        typer.echo(f"From batch {span['from batch']} to batch {span['to batch']}:")
        some = [
            difference
            for difference in differences
            if difference.inserted or difference.updated or difference.deleted
        ]
        names = ["table", "inserted", "updated", "deleted"]
        if some:
            print_rows(
                names,
                [
                    [difference.table, difference.inserted, difference.updated, difference.deleted]
                    for difference in some
                ],
            )
        else:
            typer.echo("No table differs.")
    for difference in differences:
        if difference.problem:
            warn(f"{difference.table}: {difference.problem}")
    if any(difference.problem for difference in differences):
        raise typer.Exit(1)


def _values_of(change: RowChange) -> str:
    """Return a changed row in one line; of an updated row, its key would not tell enough, so all values."""
    if change.before is None or change.after is None:
        return ", ".join(f"{name}={value}" for name, value in (change.after or change.before or {}).items())
    return ", ".join(
        f"{name}={change.before[name]} → {value}" if value != change.before[name] else f"{name}={value}"
        for name, value in change.after.items()
    )


def _its(count: int) -> str:
    return "it" if count == 1 else "they"


def _print(done: Sequence[TableUpkeep], *, is_done: bool) -> None:
    due = [table_upkeep for table_upkeep in done if table_upkeep.is_due or table_upkeep.pinned_by]
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
        print_rows(names, [_row(table_upkeep, is_done=is_done) for table_upkeep in due])
    for table_upkeep in due:
        if table_upkeep.pinned_by:
            typer.echo(
                f"{table_upkeep.table}: old versions stay, because {', '.join(table_upkeep.pinned_by)} "
                "refers to them."
            )
        if table_upkeep.error:
            warn(f"{table_upkeep.table}: {table_upkeep.error}")
    left = len(done) - len(due)
    nothing = f"{left} table{'' if left == 1 else 's'} needed nothing." if left else ""
    if is_done:
        typer.echo(nothing or "All tables were taken care of.")
    elif due:
        typer.echo(f"Nothing was changed. To do it: {this_command()} lake upkeep --apply")
    else:
        typer.echo("There is nothing to do.")


def _row(table_upkeep: TableUpkeep, *, is_done: bool) -> list[object]:
    return [
        table_upkeep.table,
        table_upkeep.files[0],
        table_upkeep.files[1],
        table_upkeep.size[0],
        table_upkeep.rewritten,
        table_upkeep.size[1] if is_done else table_upkeep.removed.size,
        table_upkeep.removed.files + table_upkeep.removed.entries,
        table_upkeep.outdated,
    ]
