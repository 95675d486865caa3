"""The `warehouse` commands: query a warehouse."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from platform_assets.terminal import plain_errors, print_rows

if TYPE_CHECKING:
    import pyarrow

# Of dates and of times: the numbers of days and microseconds that DuckDB has for them.
_INFINITIES = frozenset((2**31 - 1, 1 - 2**31, 2**63 - 1, 1 - 2**63))

app = typer.Typer(help="The warehouse.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Query the warehouse."""


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="A SELECT statement; star tables and views are in schema star.")],
    limit: Annotated[int, typer.Option(help="Maximum number of rows to show.", min=1)] = 100,
    csv: Annotated[bool, typer.Option("--csv", help="Print all rows as CSV.")] = False,
    of: Annotated[str, typer.Option("--of", help="Name of an additional warehouse.")] = "warehouse",
) -> None:
    """Run a query on a warehouse in its own SQL dialect; the query waits while a load is running."""
    with plain_errors():
        from platform_assets.rooms import Rooms
        from platform_assets.settings import load_settings
        from platform_assets.warehouse.assembly import WarehouseRoom

        with Rooms(load_settings()).of(WarehouseRoom).warehouse(of).query(sql) as rows:
            if csv:
                import pyarrow.csv

                with pyarrow.csv.CSVWriter(sys.stdout.buffer, rows.schema) as writer:
                    for batch in rows:
                        writer.write_batch(batch)
                return
            shown, more = _take(rows, limit)
        print_rows(rows.schema.names, shown)
        count = len(shown)
        typer.echo(
            f"The first {count} rows; --limit shows more."
            if more
            else f"{count} row{'' if count == 1 else 's'}."
        )


def _take(rows: pyarrow.RecordBatchReader, limit: int) -> tuple[list[tuple[object, ...]], bool]:
    """Return the first rows of a result as Python values, and whether more rows follow."""
    taken: list[tuple[object, ...]] = []
    for batch in rows:
        taken += zip(*map(_values, batch.columns), strict=True)
        if len(taken) > limit:
            return taken[:limit], True
    return taken, False


def _values(column: pyarrow.Array) -> list[object]:
    """Return a column's values in Python's types, and text for dates and times that Python cannot hold."""
    from platform_assets.lake.arrow import python_values

    try:
        return python_values(column)
    except OverflowError:
        return [_value(scalar) for scalar in column]


def _value(scalar: pyarrow.Scalar) -> object:
    try:
        return scalar.as_py()
    except OverflowError:
        number = getattr(scalar, "value", None)
        if number in _INFINITIES:
            return "infinity" if number > 0 else "-infinity"
        return "(outside the years 1 to 9999)"
