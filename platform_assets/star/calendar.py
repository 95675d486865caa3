"""Reference data that the dimensions join: the calendar and the currency names."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

CALENDAR_SCHEMA = pa.schema(
    [("date_id", pa.date32()), ("_batch", pa.int64()), ("_seen_at", pa.timestamp("us", tz="UTC"))]
)
CURRENCY_NAME_SCHEMA = pa.schema([("currency_code", pa.string()), ("currency_name", pa.string())])


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
    days: list[dt.date] = []
    batches: list[int] = []
    seen: list[dt.datetime] = []
    for span in sorted(spans, key=lambda span: span.batch):
        first = min(span.first.year, years[0]) if years else span.first.year
        last = max(span.last.year, years[1]) if years else span.last.year
        for year in range(first, last + 1):
            if years and years[0] <= year <= years[1]:
                continue
            start = dt.date(year, 1, 1)
            length = (dt.date(year + 1, 1, 1) - start).days
            days += [start + dt.timedelta(days=day) for day in range(length)]
            batches += [span.batch] * length
            seen += [span.seen_at] * length
        years = (first, last)
    return pa.table([days, batches, seen], schema=CALENDAR_SCHEMA)


def currency_names() -> pa.Table:
    """Return the English names of all currencies in the Unicode CLDR, by ISO 4217 code.

    The table has the schema `CURRENCY_NAME_SCHEMA`.
    """
    from babel import Locale

    names = Locale("en").currencies
    return pa.table([list(names.keys()), list(names.values())], schema=CURRENCY_NAME_SCHEMA)
