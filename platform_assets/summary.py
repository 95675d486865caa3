"""The summary that `status` and `run` print: the content and freshness of each layer."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import typer
from rich import box
from rich.table import Table

from platform_assets.runs import last_runs, open_instance
from platform_assets.source.assembly import SourceRoom
from platform_assets.status import HasHoldings, HasProblems
from platform_assets.terminal import age_text, print_table, warn

if TYPE_CHECKING:
    from pathlib import Path

    from platform_assets.rooms import Rooms
    from platform_assets.runs import LastRun
    from platform_assets.status import TableHoldings


def print_summary(rooms: Rooms, home: Path) -> None:
    """Print the tables of each layer, the last run of each source, and what is wrong.

    Args:
        rooms: The rooms, which name their tables and problems.
        home: Dagster's folder, in which the runs are recorded.
    """
    now = dt.datetime.now(dt.UTC)
    sources = rooms.of(SourceRoom)
    found = [holding for room in rooms.offering(HasHoldings) for holding in room.holdings()]
    tables = {name: [table.name for table in listed] for name, listed in sources.source_tables().items()}
    with open_instance(home) as instance:
        runs = last_runs(instance, tables)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("layer", "table", "rows", "batch", "as of (UTC)"):
        table.add_column(name, justify="right" if name in ("rows", "batch") else "left")
    layer = ""
    for state in found:
        as_of = f"{state.as_of:%Y-%m-%d %H:%M:%S}" if state.as_of else "never"
        table.add_row(
            "" if state.layer == layer else state.layer,
            state.table,
            f"{state.rows:,}",
            str(state.batch or ""),
            as_of,
        )
        layer = state.layer
    print_table(table)
    for last in runs:
        _print_last_run(last, found, now, sources.fresh_within(last.source), is_only=len(runs) == 1)
    in_lake, in_warehouse = (
        max((state.batch for state in found if state.layer == layer), default=0)
        for layer in ("totesys", "warehouse")
    )
    if in_warehouse < in_lake:
        warn(
            f"The warehouse ends at batch {in_warehouse}, the lake at {in_lake}: the next run loads the rest."
        )
    dead_letters = sum(state.dead_letters for state in found)
    for room in rooms.offering(HasProblems):
        for problem in room.problems():
            warn(problem)
    if dead_letters:
        warn(
            f"{dead_letters:,} row versions broke a declared rule so far; the assets' checks name those "
            f"that still do."
        )


def _print_last_run(
    last: LastRun, found: list[TableHoldings], now: dt.datetime, within: int, *, is_only: bool
) -> None:
    of = "the source" if is_only else f"source {last.source}"
    if last.at is None:
        typer.echo(f"No run has read {of} yet.")
        return
    layers = (last.source, "star", "warehouse") if last.source == "totesys" else (last.source,)
    changes = [state.as_of for state in found if state.as_of and state.layer in layers]
    newest = f"; the newest change is from {age_text(now - max(changes))} ago" if changes else ""
    typer.echo(f"{of.capitalize()} was last read {age_text(now - last.at)} ago{newest}.")
    if now - last.at > dt.timedelta(minutes=within):
        warn(f"That is more than {within} minutes: is the schedule switched on in the UI?")
    if last.deletions:
        latest = max(last.deletions.values())
        late = [f"in {name} {age_text(now - at)} ago" for name, at in last.deletions.items() if at < latest]
        others = f"; {', '.join(late)}" if late else ""
        typer.echo(f"Deletions were last checked {age_text(now - latest)} ago{others}.")
    for name, reason in last.stopped.items():
        warn(f"{last.source}/{name} was skipped and keeps its last loaded data: {reason}")
