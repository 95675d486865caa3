"""Results as DataFrames, charts and downloads; pandas and matplotlib are imported when they are used."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import PlatformError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

CHARTS = ("line", "bar", "barh", "area", "scatter", "hist")
_MOST_BARS = 60
_MOST_LETTERS = 80
_MOST_IN_A_LINK = 20_000_000


class ChartError(PlatformError):
    """A result cannot be drawn as asked."""


def first_rows(rows: pa.RecordBatchReader, limit: int | None) -> tuple[pa.Table, bool]:
    """Return the first rows of a stream, and whether more follow; no more is read than needed."""
    if limit is None:
        return rows.read_all(), False
    taken: list[pa.RecordBatch] = []
    missing = limit
    for batch in rows:
        if batch.num_rows > missing:
            return pa.Table.from_batches([*taken, batch.slice(0, missing)], rows.schema), True
        taken.append(batch)
        missing -= batch.num_rows
    return pa.Table.from_batches(taken, rows.schema), False


def data_frame(table: pa.Table) -> pd.DataFrame:
    """Return a table as a DataFrame for calculating: decimals are floats, dates are timestamps.

    Integers stay integers where some are missing, in a column of pandas' nullable type. The caller gives the
    table away: its memory is freed while it is converted.
    """
    import pandas as pd

    nullable = {
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
    }
    own: dict[int, Any] = {}
    # Columns are converted by their numbers, as two may have one name.
    names = table.schema.names
    columns = list(table.columns)
    del table
    for place, column in enumerate(columns):
        if pa.types.is_decimal(column.type):
            columns[place] = column.cast(pa.float64())
        elif column.type in nullable and column.null_count:
            own[place] = column.to_pandas(types_mapper=nullable.get)
            columns[place] = pa.nulls(len(column), pa.bool_())
    whole = pa.Table.from_arrays(columns, [str(place) for place in range(len(columns))])
    del columns
    frame: pd.DataFrame = whole.to_pandas(split_blocks=True, self_destruct=True, date_as_object=False)
    for place, values in own.items():
        frame.isetitem(place, values)
    frame.columns = pd.Index(names, dtype=object)
    return frame


def chart(frame: pd.DataFrame, kind: str) -> bytes:
    """Draw a result, and return the picture as PNG.

    The first column is the x axis, the numeric ones after it are drawn. A single column is drawn over its row
    numbers.

    Args:
        frame: The result.
        kind: One of `CHARTS`; empty to choose: a line over times and numbers, bars over anything else.

    Raises:
        ChartError: matplotlib is missing, or there is nothing to draw.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ChartError(
            "A chart needs matplotlib, which is not installed: pip install 'platform-assets[notebook]'."
        ) from None
    import pandas as pd

    numeric = [
        place
        for place in range(1 if frame.shape[1] > 1 else 0, frame.shape[1])
        if pd.api.types.is_numeric_dtype(frame.dtypes.iloc[place])
        and not pd.api.types.is_bool_dtype(frame.dtypes.iloc[place])
    ]
    if not numeric or frame.empty:
        found = ", ".join(
            f"{name} ({type_})" for name, type_ in zip(frame.columns, frame.dtypes, strict=True)
        )
        raise ChartError(
            "The result cannot be drawn: it has "
            + ("no rows." if frame.empty else f"no numeric column after the first one. It has {found}.")
            + " Select the x axis first, then one or more numbers."
        )
    drawn = frame.iloc[:, numeric].astype(float)
    x = frame.iloc[:, 0] if frame.shape[1] > 1 else pd.Series(range(len(frame)), name="row")
    is_scale = pd.api.types.is_numeric_dtype(x) or pd.api.types.is_datetime64_any_dtype(x)
    kind = kind or ("line" if is_scale else "bar")
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    columns = [(str(name), drawn.iloc[:, place]) for place, name in enumerate(drawn.columns)]
    match kind:
        case "hist":
            axes.hist([values.dropna() for _, values in columns], label=[name for name, _ in columns])
        case "scatter":
            for name, values in columns:
                axes.scatter(x, values, label=name, s=14)
        case "line":
            for name, values in columns:
                axes.plot(x, values, label=name)
        case "area":
            axes.stackplot(
                x, *(values.fillna(0) for _, values in columns), labels=[name for name, _ in columns]
            )
        case _:
            _draw_bars(axes, x, columns, is_lying=kind == "barh")
    value = columns[0][0] if len(columns) == 1 else ""
    if kind == "hist":
        axes.set_xlabel(value)
        axes.set_ylabel("rows")
    elif kind == "barh":
        axes.set_xlabel(value)
    else:
        axes.set_xlabel(str(x.name))
        axes.set_ylabel(value)
    if drawn.shape[1] > 1:
        axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x" if kind == "barh" else "y", alpha=0.3)
    axes.set_axisbelow(True)
    (axes.xaxis if kind == "barh" else axes.yaxis).set_major_formatter(lambda value, _: f"{value:,.10g}")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=96)
    return picture.getvalue()


def _draw_bars(axes: Axes, x: pd.Series[Any], columns: Sequence[tuple[str, Any]], *, is_lying: bool) -> None:
    """Draw bars beside each other, with the values of the x axis as their names."""
    if len(x) > _MOST_BARS:
        raise ChartError(
            f"The result has {len(x):,} rows, more than the {_MOST_BARS} bars that can be read. Group it, or "
            "use --plot line."
        )
    width = 0.8 / len(columns)
    labels = [_label(value) for value in x]
    for number, (name, values) in enumerate(columns):
        places = [place + (number - (len(columns) - 1) / 2) * width for place in range(len(x))]
        if is_lying:
            axes.barh(places, values, width, label=name)
        else:
            axes.bar(places, values, width, label=name)
    if is_lying:
        axes.set_yticks(range(len(x)), labels)
        axes.invert_yaxis()
    else:
        is_long = sum(map(len, labels)) > _MOST_LETTERS
        axes.set_xticks(range(len(x)), labels, rotation=90 if is_long else 0)


def _label(value: object) -> str:
    import pandas as pd

    if isinstance(value, pd.Timestamp) and value == value.normalize():
        return f"{value:%Y-%m-%d}"
    return str(value)


def download_link(frame: pd.DataFrame, name: str) -> str:
    """Return HTML of a link that saves a result as CSV; the data is in the link itself.

    Args:
        frame: The result.
        name: Name of the file.

    Raises:
        PlatformError: The result is too large for a link.
    """
    content = frame.to_csv(index=False).encode()
    if len(content) > _MOST_IN_A_LINK:
        raise PlatformError(
            f"The result has {len(content):,} bytes as CSV, too many for a link in the notebook. Write it "
            f"to a file instead: DataFrame.to_csv({name!r})."
        )
    encoded = base64.b64encode(content).decode()
    shown = html.escape(name)
    address = f"data:text/csv;base64,{encoded}"
    return f'<a download="{shown}" href="{address}">Download {shown} ({len(frame):,} rows)</a>'
