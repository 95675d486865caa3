"""Rows as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from platform_assets.delivery.interfaces import Bytes, DeliveryError, Rows, Stamp
from platform_assets.delivery.renderers.lines import WHOLE, Cut, LineFormat
from platform_assets.delivery.renderers.text_sql import is_binary, is_textual, plain_text
from platform_assets.delivery.renderers.workshop import SqlColumn, Workshop, rows_only
from platform_assets.model.dialects import literal

_FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""Characters with which spreadsheets take a text for a formula; the last four are the full-width forms."""

_NEVER_IN_NUMBERS = frozenset(",;\t|~^")
"""Delimiters that no number, date or time contains, unless its format has them."""


@dataclass(frozen=True)
class CsvForm:
    """The form of a CSV file.

    Attributes:
        delimiter: Separates fields, one character.
        quote: Encloses fields, one character; a quote within a field is doubled.
        quoting: Which fields are enclosed: those that need it, all, all texts, or none. With `none`, a field
            that needs it is an error.
        line_end: Ends a line.
        header: True for a first line with the names of the columns.
        null: Text for a missing value. A value with the same text is enclosed.
        date_format: Format of dates, as `strftime`; None for ISO 8601.
        timestamp_format: Format of timestamps, likewise.
        timezone: The time zone of times with a zone.
        decimal_sign: Sign before the decimals.
        encoding: The encoding.
        guard_formulas: True to put `'` before texts that a spreadsheet would take for a formula.
    """

    delimiter: str = ","
    quote: str = '"'
    quoting: Literal["minimal", "all", "text", "none"] = "minimal"
    line_end: str = "\n"
    header: bool = True
    null: str = ""
    date_format: str | None = None
    timestamp_format: str | None = None
    timezone: str = "UTC"
    decimal_sign: str = "."
    encoding: str = "utf-8"
    guard_formulas: bool = False

    def line_sql(self, columns: Sequence[SqlColumn]) -> str:
        """Return SQL for the line of a row."""
        null = self.null
        if len(columns) == 1 and not null and self.quoting != "none":
            null = self.quote * 2  # readers skip an empty line
        fields = f", {literal(self.delimiter)}, ".join(
            self._field_sql(column, literal(null)) for column in columns
        )
        return f"concat({fields}, {literal(self.line_end)})"

    def header_line(self, columns: Sequence[SqlColumn]) -> str:
        """Return the line with the names of the columns; empty if there is none.

        Raises:
            DeliveryError: A name needs quotes, and there are none.
        """
        if not self.header:
            return ""
        names = []
        for column in columns:
            name = column.name
            if self.guard_formulas and name.startswith(tuple(_FORMULA)):
                name = f"'{name}"
            if not self._is_enclosed(name):
                names.append(name)
            elif self.quoting == "none":
                raise DeliveryError(
                    f"The name of the column {column.name!r} cannot be written without quotes. Rename it, or "
                    "set quoting to minimal."
                )
            else:
                names.append(self.quote + name.replace(self.quote, self.quote * 2) + self.quote)
        return self.delimiter.join(names) + self.line_end

    def _is_enclosed(self, name: str) -> bool:
        needed = name in ("", self.null) or any(sign in name for sign in self._special)
        return needed or self.quoting in ("all", "text")

    @property
    def _special(self) -> tuple[str, ...]:
        return self.delimiter, self.quote, "\n", "\r"

    def _field_sql(self, column: SqlColumn, null: str) -> str:
        type_, value = column.type, column.sql
        text = self._text_sql(column)
        if self.guard_formulas and is_textual(type_):
            starts = " OR ".join(f"starts_with({text}, {literal(sign)})" for sign in _FORMULA)
            text = f"CASE WHEN {starts} THEN '''' || {text} ELSE {text} END"
        if pa.types.is_null(type_):
            return null
        enclosed = f"{literal(self.quote)} || replace({text}, {literal(self.quote)}, "
        enclosed += f"{literal(self.quote * 2)}) || {literal(self.quote)}"
        if self.quoting == "all" or (self.quoting == "text" and is_textual(type_)):
            return f"CASE WHEN {value} IS NULL THEN {null} ELSE {enclosed} END"
        if not self._may_need_quotes(type_):
            return f"coalesce({text}, {null})"
        conditions = [f"contains({text}, {literal(sign)})" for sign in self._special]
        if self.quoting != "none" or self.null:
            conditions.append(f"{text} = {literal(self.null)}")
        if self.quoting == "none":
            message = (
                f"column {column.name}: a value needs quotes, and there are none; set quoting to minimal"
            )
            enclosed = f"error({literal(message)})"
        needed = " OR ".join(conditions)
        return f"CASE WHEN {value} IS NULL THEN {null} WHEN {needed} THEN {enclosed} ELSE {text} END"

    def _text_sql(self, column: SqlColumn) -> str:
        type_, value = column.type, column.sql
        if pa.types.is_date(type_) and self.date_format is not None:
            return f"strftime({value}, {literal(self.date_format)})"
        if pa.types.is_timestamp(type_) and self.timestamp_format is not None:
            return f"strftime({value}, {literal(self.timestamp_format)})"
        text = plain_text(type_, value, self.timezone)
        if self.decimal_sign != "." and (pa.types.is_floating(type_) or pa.types.is_decimal(type_)):
            return f"replace({text}, '.', {literal(self.decimal_sign)})"
        return text

    def _may_need_quotes(self, type_: pa.DataType) -> bool:
        """Return False if no value of a type needs quotes, which saves looking for special characters."""
        is_formatted = (pa.types.is_date(type_) and self.date_format is not None) or (
            pa.types.is_timestamp(type_) and self.timestamp_format is not None
        )
        is_usual = (
            self.delimiter in _NEVER_IN_NUMBERS
            and self.quote in "\"'"
            and not any(sign.isalnum() for sign in self.null)
        )
        return is_textual(type_) or is_binary(type_) or is_formatted or not is_usual


@dataclass(frozen=True)
class Csv:
    """Renders rows as CSV.

    Args:
        form: The form of the file.
        workshop: Means to work with.
        cut: Largest size of a part.
    """

    form: CsvForm
    workshop: Workshop
    cut: Cut = WHOLE

    def render(self, content: Iterator[Rows | Bytes], stamp: Stamp) -> Iterator[Bytes]:
        """See `Renderer.render`."""
        charset = self.form.encoding.removesuffix("-sig")
        lines = LineFormat(
            self.form.line_sql,
            ".csv",
            f"text/csv; charset={charset}",
            head=self.form.header_line,
            encoding=self.form.encoding,
            timezone=self.form.timezone,
            refusal=self._refusal,
            cut=self.cut,
        )
        for rows in rows_only(content, "csv"):
            yield from lines.files(rows, self.workshop)

    def _refusal(
        self, name: str, columns: Sequence[SqlColumn], row: int, text: str, error: UnicodeEncodeError
    ) -> DeliveryError:
        """Name the column and the row of a text that cannot be encoded."""
        form = self.form
        quote = None if form.quoting == "none" else form.quote
        before = text[: error.start].splitlines(keepends=True) or [""]
        fields = list(csv.reader(before, delimiter=form.delimiter, quotechar=quote or "\0"))
        place = len(fields[-1] if fields else [""]) - 1
        column = columns[place].name if place < len(columns) else columns[-1].name
        where = f"row {row:,}" if row else "its name"
        sign = text[error.start]
        return DeliveryError(
            f"{name} cannot be written as {form.encoding}: column {column}, {where}, has {sign!r} "
            f"(U+{ord(sign):04X}), which this encoding does not know. Set encoding to utf-8, or replace the "
            "character in the query."
        )
