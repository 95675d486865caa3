"""The command `platform-assets lineage`: a column's lineage, its proof, and the impact of a change."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from platform_assets.terminal import plain_errors

if TYPE_CHECKING:
    from platform_assets.lineage.assembly import LineageRoom

_RED = typer.colors.RED
_SHOW = "show"
_WIDEST = 10_000
"""Columns of a line: one that the terminal wraps loses less than one that is cut."""


class _ColumnOrCommand(TyperGroup):
    """Sub-commands; anything else is a column to show, so that `lineage star/dim_staff.location` works."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [_SHOW, *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


app = typer.Typer(
    name="lineage",
    help="Lineage of columns: lineage star/fact_sales_order.units_sold shows where a column comes from and "
    "what is made from it.",
    no_args_is_help=True,
    cls=_ColumnOrCommand,
)


class LineageFormat(StrEnum):
    """Formats of a column's lineage."""

    TREE = "tree"
    JSON = "json"
    MERMAID = "mermaid"
    OPENLINEAGE = "openlineage"


def _room() -> LineageRoom:
    from platform_assets.lineage.assembly import LineageRoom
    from platform_assets.rooms import Rooms
    from platform_assets.settings import load_settings

    return Rooms(load_settings()).of(LineageRoom)


@app.command(_SHOW)
def show(
    column: Annotated[str, typer.Argument(help="The column, such as star/fact_sales_order.units_sold.")],
    up: Annotated[bool, typer.Option("--up", help="Show only what it depends on.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Show only what depends on it.")] = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="Leave out what only decides about values and rows.")
    ] = False,
    format_: Annotated[LineageFormat, typer.Option("--format", help="How to show it.")] = LineageFormat.TREE,
) -> None:
    """Show where a column comes from, and what is made from it; the word show may be left out."""
    with plain_errors():
        from platform_assets.lineage import display

        room = _room()
        graph = room.graph
        ref = graph.find(column)
        both = up == down
        if format_ is LineageFormat.TREE:
            from rich.console import Console

            console = Console(highlight=False, width=_WIDEST)
            table = graph.tables[ref.asset]
            if (found := table.column(ref.column)) is not None and (found.type or found.description):
                typer.echo(f"{ref}: {', '.join(part for part in (found.type, found.description) if part)}")
            for tree in display.trees(graph, ref, up=up or both, down=down or both, indirect=not direct):
                console.print(tree)
            return
        steps = {}
        if up or both:
            steps["up"] = graph.up(ref, indirect=not direct)
        if down or both:
            steps["down"] = graph.down(ref, indirect=not direct)
        match format_:
            case LineageFormat.JSON:
                typer.echo(display.as_json(graph, ref, steps))
            case LineageFormat.MERMAID:
                typer.echo(display.as_mermaid(ref, steps))
            case LineageFormat.OPENLINEAGE:
                typer.echo(display.as_openlineage(graph, room.settings.lineage.namespace, steps))


@app.command()
def prove(
    layer: Annotated[
        str, typer.Argument(help="Only tables of this group, such as star; all by default.")
    ] = "",
) -> None:
    """Check the edges by experiment: change one source column at a time, and look at what changes."""
    with plain_errors():
        from platform_assets.lineage.construction import without_lineage
        from platform_assets.lineage.proof import shares, try_edges

        graph = _room().graph
        proof = try_edges(graph, layer)
        proved = graph.with_proof(proof.observed)
        for name in proof.tables:
            found = shares(list(proved.into_table(tuple(name.split("/")))))
            typer.echo(
                f"{name}: {found.direct[0]} of {found.direct[1]} direct and {found.indirect[0]} of "
                f"{found.indirect[1]} indirect edges are proved"
            )
        tried = [edge for edge in proved.edges if edge.proved is not None]
        unproved = [edge for edge in tried if not edge.proved]
        if unproved:
            typer.echo("Not proved, as no change of the small data showed them:")
        for edge in unproved:
            typer.echo(f"  {edge.source} -> {edge.target} ({edge.subtype.lower().replace('_', ' ')})")
        for source, target in proof.wrong:
            typer.secho(
                f"WRONG: a change of {source} changes {target}, and no edge says so.", fg=_RED, err=True
            )
        for name, reason in proof.failed.items():
            typer.secho(f"NOT TRIED: {name}: {reason}", fg=_RED, err=True)
        lost = without_lineage(graph)
        for ref in lost:
            typer.secho(f"NO LINEAGE: {ref} has no source and is no declared constant.", fg=_RED, err=True)
        for table in graph.tables.values():
            if table.unknown:
                typer.secho(f"UNKNOWN: {table.name}: {table.unknown}", fg=typer.colors.YELLOW)
        whole = shares(tried)
        typer.echo(
            f"{whole.direct[0]} of {whole.direct[1]} direct and {whole.indirect[0]} of {whole.indirect[1]} "
            f"indirect edges of {len(proof.tables)} queries are proved."
        )
        if proof.wrong or proof.failed or lost:
            raise typer.Exit(1)


@app.command()
def impact(
    revision: Annotated[str, typer.Argument(help="A revision of git, such as main or HEAD~1.")],
) -> None:
    """Tell what depends on changes of SQL and declarations since a revision, as Markdown."""
    with plain_errors():
        from platform_assets.lineage.impact import impact_markdown, impact_of
        from platform_assets.lineage.revisions import graph_at
        from platform_assets.rooms import Rooms
        from platform_assets.settings import load_settings

        settings = load_settings()
        before = graph_at(revision, settings.file)
        from platform_assets.lineage.assembly import LineageRoom

        typer.echo(impact_markdown(impact_of(before, Rooms(settings).of(LineageRoom).graph), revision))


@app.command(name="open")
def open_page(
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the path of the page and open nothing.")
    ] = False,
    column: Annotated[
        str | None, typer.Option("--at", help="The column to show first, such as star/dim_staff.location.")
    ] = None,
) -> None:
    """Write the page of the lineage, one HTML file, and open it in a browser."""
    with plain_errors():
        import webbrowser

        from platform_assets.lineage.explorer.page import anchor

        room = _room()
        place = f"#{anchor(*room.graph.find(column))}" if column else ""
        file = room.write_page(room.classify(room.found_marks()))
        if no_browser:
            typer.echo(file)
        elif not webbrowser.open(f"{file.as_uri()}{place}"):
            typer.echo(f"No browser could be started. Open {file} in one.", err=True)


def _warn(message: str) -> None:
    """Print a warning to stderr: the output may be read by a program."""
    typer.secho(message, fg=typer.colors.YELLOW, err=True)


class Report(StrEnum):
    """Formats of the report about places."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


@app.command()
def where(
    info_type: Annotated[str, typer.Argument(help="The info type, such as EMAIL_ADDRESS.")],
    format_: Annotated[Report, typer.Option("--format", help="How to print it.")] = Report.TEXT,
) -> None:
    """Print every place where an info type can be: found, declared, or derived along the lineage."""
    with plain_errors():
        from platform_assets.lineage import where as report

        room = _room()
        classified = room.classify(room.found_marks())
        wanted = info_type.upper()
        trails = [trail for trail in classified.trails if trail.mark.info_type == wanted]
        for problem in room.problems():
            _warn(problem)
        if not trails:
            known = sorted({trail.mark.info_type for trail in classified.trails})
            _warn(
                f"No column is known to hold {wanted}. Known are: {', '.join(known) or 'none'}. Run "
                "inspect_columns to look into the tables, or declare columns in dlp.columns."
            )
        renderings = {
            Report.TEXT: report.as_text,
            Report.JSON: report.as_json,
            Report.MARKDOWN: report.as_markdown,
        }
        if trails or format_ is Report.JSON:
            typer.echo(renderings[format_](wanted, trails))
        for contradiction in room.contradictions(classified):
            if contradiction.mark.info_type == wanted:
                _warn(str(contradiction))
