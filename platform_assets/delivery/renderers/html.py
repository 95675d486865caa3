"""Rows as an HTML report, from the template that comes with the platform or one of the user's own."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.delivery.interfaces import Bytes, DeliveryError, Rows, Stamp
from platform_assets.delivery.renderers.text_sql import plain_text
from platform_assets.delivery.renderers.workshop import CHUNK, SqlColumn, Workshop, rows_only
from platform_assets.isolation import is_isolated

if TYPE_CHECKING:
    from jinja2 import Template

_OWN = Path(__file__).parent / "report.html.jinja"
_ALL_DIGITS = decimal.Context(prec=100)
"""Keeps all digits of a sum; Python's own context rounds to 28."""


@dataclass(frozen=True)
class HtmlForm:
    """The form of a report.

    Attributes:
        template: The user's own template; None for that of the platform.
        most_rows: The largest number of rows.
        totals: Names of the columns whose sums are shown.
        timezone: The time zone of times.
    """

    template: Path | None = None
    most_rows: int = 10_000
    totals: tuple[str, ...] = ()
    timezone: str = "UTC"


@dataclass(frozen=True)
class ReportColumn:
    """A column as a template sees it.

    Attributes:
        name: Its name.
        is_number: True if its values are numbers.
    """

    name: str
    is_number: bool


@dataclass
class ReportRows:
    """The rows as a template sees them: to be iterated once, with what is known behind the last.

    Attributes:
        count: Number of rows read so far.
    """

    columns: Sequence[SqlColumn]
    batches: Iterator[pa.RecordBatch]
    form: HtmlForm
    name: str
    count: int = 0
    sums: dict[int, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[str | None, ...]]:
        for batch in self.batches:
            values = [column.to_pylist() for column in batch.columns]
            texts, numbers = values[: len(self.columns)], values[len(self.columns) :]
            self.count += batch.num_rows
            if self.count > self.form.most_rows:
                raise DeliveryError(
                    f"{self.name} has more than {self.form.most_rows:,} rows, the most of this report. "
                    "Select fewer, raise rows, or deliver another format."
                )
            for place, column in zip(self.sums, numbers, strict=True):
                with decimal.localcontext(_ALL_DIGITS):
                    self.sums[place] += sum(value for value in column if value is not None)
            yield from zip(*texts, strict=True)

    @property
    def totals(self) -> list[str | None]:
        """The sum of each column as text; None for a column without a sum."""
        return [_total(self.sums[n]) if n in self.sums else None for n in range(len(self.columns))]


@dataclass(frozen=True)
class Html:
    """Renders rows as an HTML report.

    A template gets `title`, `delivery`, `generator`, `uuid`, `version`, `time` (the delivery's, as text),
    `columns` (each with `name` and `is_number`) and `rows`: to iterate once, and then `rows.count` and
    `rows.totals`. Values are texts, None where they are missing, and are escaped.

    Args:
        form: The form of the report.
        workshop: Means to work with.
    """

    form: HtmlForm
    workshop: Workshop = field(repr=False)

    def render(self, content: Iterator[Rows | Bytes], stamp: Stamp) -> Iterator[Bytes]:
        """See `Renderer.render`."""
        template = self._template()
        for rows in rows_only(content, "html"):
            with self.workshop.relation(rows, self.form.timezone) as relation:
                found = ReportRows(relation.columns, iter(()), self.form, rows.name)
                summed = self._summed(relation.columns, rows.name)
                found.sums = {place: Decimal(0) if is_exact else 0.0 for place, is_exact in summed.items()}
                texts = [
                    plain_text(column.type, column.sql, self.form.timezone) for column in relation.columns
                ]
                numbers = [
                    relation.columns[place].sql
                    if is_exact
                    else f"CAST({relation.columns[place].sql} AS DOUBLE)"
                    for place, is_exact in summed.items()
                ]
                named = (f"{sql} AS v{place}" for place, sql in enumerate([*texts, *numbers]))
                found.batches = relation.stream(", ".join(named))
                yield Bytes(
                    f"{rows.name}.html",
                    self._chunks(template, found, stamp),
                    row_count=partial(getattr, found, "count"),
                    content_type="text/html; charset=utf-8",
                )

    def _summed(self, columns: Sequence[SqlColumn], name: str) -> dict[int, bool]:
        """Return the places of the columns with sums; True where sums are exact."""
        places = {column.name: place for place, column in enumerate(columns) if _is_number(column.type)}
        if missing := [total for total in self.form.totals if total not in places]:
            known = ", ".join(places) or "none"
            raise DeliveryError(
                f"{name} has no column of numbers {', '.join(missing)}, which totals names; it has {known}."
            )
        return {
            places[total]: not pa.types.is_floating(columns[places[total]].type) for total in self.form.totals
        }

    def _template(self) -> Template:
        """Load the template; templates that it includes are beside it."""
        from jinja2 import FileSystemLoader, StrictUndefined, TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        path = self.form.template or _OWN
        environment = ImmutableSandboxedEnvironment(
            autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(path.parent), trim_blocks=True
        )
        try:
            return environment.get_template(path.name)
        except (TemplateError, UnicodeDecodeError) as error:
            line = getattr(error, "lineno", None)
            where = f"{path}, line {line}" if line else str(path)
            reason = (
                "it is not there" if getattr(error, "name", None) == path.name and not line else str(error)
            )
            raise DeliveryError(f"The template {where} cannot be used: {reason}.") from error

    def _chunks(self, template: Template, rows: ReportRows, stamp: Stamp) -> Iterator[bytes]:
        import zoneinfo

        zone = dt.UTC if self.form.timezone == "UTC" else zoneinfo.ZoneInfo(self.form.timezone)
        values = {
            "title": stamp.title,
            "delivery": stamp.delivery,
            "generator": stamp.generator,
            "uuid": stamp.uuid,
            "version": stamp.version,
            "time": f"{stamp.at.astimezone(zone):%Y-%m-%d %H:%M} {self.form.timezone}",
            "columns": [ReportColumn(column.name, _is_number(column.type)) for column in rows.columns],
            "rows": rows,
        }
        waiting: list[str] = []
        size = 0
        try:
            for text in template.generate(values):
                waiting.append(text)
                size += len(text)
                if size >= CHUNK // 4:
                    yield "".join(waiting).encode()
                    waiting, size = [], 0
        except DeliveryError:
            raise
        except Exception as error:
            # A template can raise anything: it calls methods of what it is given.
            if not is_isolated(error):
                raise
            raise DeliveryError(
                f"The template {self.form.template or _OWN} failed: {type(error).__name__}: {error}"
            ) from error
        yield "".join(waiting).encode()


def _total(value: Decimal | float) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_decimal(type_) or pa.types.is_floating(type_))
