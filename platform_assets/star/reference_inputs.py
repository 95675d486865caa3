"""Reference inputs: what a star table's SELECT reads beside the tables of the source.

A declaration names them in `Table.inputs`; the SELECT reads them as `reference.<name>`. An input comes with
the platform, or is made from the star tables that were written so far.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from platform_assets.lake.arrow import table_of
from platform_assets.lake.delta import file_statistics
from platform_assets.model.dialects import quote

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Table
    from platform_assets.star.engine import StarEngine

CALENDAR_SCHEMA = pa.schema(
    [("date_id", pa.date32()), ("_batch", pa.int64()), ("_seen_at", pa.timestamp("us", tz="UTC"))]
)
CURRENCY_NAME_SCHEMA = pa.schema([("currency_code", pa.string()), ("currency_name", pa.string())])


@dataclass(frozen=True)
class Written:
    """Rows written so far, seen from a star table that is about to be built.

    Args:
        table: The table to build.
        handle: The table in the lake; None if nothing was written to it yet.
        derived_from: The star tables that it is derived from.
        lake: Lake that holds the star tables.
        engine: Engine that reads them.
    """

    table: Table
    handle: DeltaTable | None
    derived_from: Sequence[Table]
    lake: Lake
    engine: StarEngine


class ReferenceInput(Protocol):
    """Rows that the SELECTs of star tables read by the input's name."""

    def has_news(self, written: Written) -> bool:
        """Return whether the table may get new rows by this input alone, without reading any row."""
        ...

    def rows(self, written: Written) -> pa.Table:
        """Return the rows; for a table that is derived from others, only those that are new to it."""
        ...


class CurrencyNames:
    """The English names of all currencies in the Unicode CLDR, by ISO 4217 code."""

    def has_news(self, written: Written) -> bool:
        """See `ReferenceInput.has_news`; names only change with the platform's version."""
        return False

    def rows(self, written: Written) -> pa.Table:
        """See `ReferenceInput.rows`; the schema is `CURRENCY_NAME_SCHEMA`."""
        from babel import Locale

        code, name = CURRENCY_NAME_SCHEMA.names
        names = [{code: key, name: value} for key, value in Locale("en").currencies.items()]
        return table_of(names, CURRENCY_NAME_SCHEMA)


class Calendar:
    """The days that a calendar table lacks.

    The table has one row per day of whole years, without gaps, from the first to the last date in the columns
    that reference it, in all tables that it is derived from.
    """

    def has_news(self, written: Written) -> bool:
        """See `ReferenceInput.has_news`; the dates are those in the statistics of the files."""
        years = _years(written.handle, written.table.primary_key)
        spans = [_years(written.lake.star(name).look(), dates) for name, dates in _dated(written)]
        known = [span for span in spans if span is not None]
        if not known:
            return False
        return (
            years is None
            or min(first for first, _ in known) < years[0]
            or max(last for _, last in known) > years[1]
        )

    def rows(self, written: Written) -> pa.Table:
        """See `ReferenceInput.rows`; the schema is `CALENDAR_SCHEMA`."""
        years = _years(written.handle, written.table.primary_key)
        return new_days(years, _date_spans(written, years))


REFERENCE_INPUTS: Mapping[str, ReferenceInput] = {
    "calendar": Calendar(),
    "currency_name": CurrencyNames(),
}
"""The reference inputs by the names that declarations use."""


@dataclass(frozen=True)
class DateSpan:
    """The first and last date in the facts of a batch, and the time when the batch was seen (UTC)."""

    batch: int
    seen_at: dt.datetime
    first: dt.date
    last: dt.date


def new_days(years: tuple[int, int] | None, spans: Iterable[DateSpan]) -> pa.Table:
    """Return the days that the calendar lacks, each under the batch that first needed its year.

    The calendar has no gaps: it covers whole years from the first to the last date of any fact.

    Args:
        years: First and last year in the calendar; None if the calendar is empty.
        spans: Date spans of the new batches, in any order.

    Returns:
        Table with `CALENDAR_SCHEMA`, ordered by batch and day.
    """
    days: list[dict[str, object]] = []
    for span in sorted(spans, key=lambda span: span.batch):
        first = min(span.first.year, years[0]) if years else span.first.year
        last = max(span.last.year, years[1]) if years else span.last.year
        for year in range(first, last + 1):
            if years and years[0] <= year <= years[1]:
                continue
            start, length = dt.date(year, 1, 1), 365 + calendar.isleap(year)
            days += (
                {"date_id": start + dt.timedelta(days=day), "_batch": span.batch, "_seen_at": span.seen_at}
                for day in range(length)
            )
        years = (first, last)
    return table_of(days, CALENDAR_SCHEMA)


def _dated(written: Written) -> list[tuple[Table, list[str]]]:
    """Return the tables that a calendar is derived from, each with its columns that reference it."""
    return [
        (name, dates)
        for name in written.derived_from
        if (dates := [column for column, parent in name.foreign_keys if parent == written.table.name])
    ]


def _date_spans(written: Written, years: tuple[int, int] | None) -> list[DateSpan]:
    """Return the date span of each batch of facts, limited to dates outside `years`."""
    spans: list[DateSpan] = []
    for table_name, dates in _dated(written):
        columns = ", ".join(quote(name) for name in dates)
        first, last = f"least({columns})", f"greatest({columns})"
        outside = f"WHERE year({first}) < {years[0]:d} OR year({last}) > {years[1]:d}" if years else ""
        rows = written.engine.fetch(
            f"SELECT _batch, max(_seen_at), min({first}), max({last}) FROM {quote(table_name.name)} "
            f"{outside} GROUP BY _batch",
            {table_name.name: written.lake.star(table_name)},
        )
        spans += [DateSpan(batch, seen.astimezone(dt.UTC), low, high) for batch, seen, low, high in rows]
    return spans


def _years(handle: DeltaTable | None, dates: Sequence[str]) -> tuple[int, int] | None:
    """Return the first and last year in these columns, from file statistics; None without rows."""
    if handle is None:
        return None
    files = file_statistics(handle)
    lows = [min(files[f"min.{name}"].drop_null().to_pylist(), default=None) for name in dates]
    highs = [max(files[f"max.{name}"].drop_null().to_pylist(), default=None) for name in dates]
    known = [(low, high) for low, high in zip(lows, highs, strict=True) if low and high]
    return (min(low for low, _ in known).year, max(high for _, high in known).year) if known else None
