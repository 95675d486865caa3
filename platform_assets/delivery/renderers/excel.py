"""Rows as Excel workbooks, written row by row: memory does not grow with their number."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from platform_assets.delivery.interfaces import Bytes, DeliveryError, Rows, Stamp
from platform_assets.delivery.renderers.parquet_rows import RowParts
from platform_assets.delivery.renderers.text_sql import plain_text
from platform_assets.delivery.renderers.workshop import SqlColumn, Workshop, chunks_of, rows_only

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

ROWS_IN_A_SHEET = 1_048_576
"""Rows that a sheet holds, the header included."""

CONTENT_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

_COLUMNS_IN_A_SHEET = 16_384
_LONGEST_TEXT = 32_767
_BEYOND = 1e308
"""From here on Excel has no numbers; its largest is just below."""
_EXACT = 10**15
"""Whole numbers from here on have digits that a spreadsheet would change."""

_DIGITS = 15
_ZERO_DAY = "DATE '1899-12-30'"
"""The day that a spreadsheet counts days from."""

_ROWS_FOR_WIDTH = 1_000
_WIDEST = 60
_LONGEST_SHEET_NAME = 31
# XML cannot hold them, and xlsxwriter escapes only control characters below them.
_NOT_IN_XML = re.compile("[\ufffe\uffff]")


@dataclass(frozen=True)
class ExcelForm:
    """The form of a workbook.

    Attributes:
        sheet: Name of the sheet; None for the name of the rows.
        header: True for a first row with the names of the columns, which stays in view.
        timezone: The time zone of times with a zone, which a spreadsheet cannot hold.
        too_many_rows: Whether more rows than `rows_per_sheet` are refused, or go to further sheets.
        rows_per_sheet: The largest number of rows in a sheet, without the header.
        long_texts: Whether texts of more than 32,767 characters are refused or cut.
        rows_per_file: The largest number of rows in a file; None for one file.
    """

    sheet: str | None = None
    header: bool = True
    timezone: str = "UTC"
    too_many_rows: Literal["refuse", "sheets"] = "refuse"
    rows_per_sheet: int = ROWS_IN_A_SHEET
    long_texts: Literal["refuse", "cut"] = "refuse"
    rows_per_file: int | None = None

    @property
    def most_rows(self) -> int:
        """The largest number of rows in a sheet, without the header."""
        return min(self.rows_per_sheet, ROWS_IN_A_SHEET - int(self.header))


@dataclass(frozen=True)
class Excel:
    """Renders rows as an Excel workbook.

    Args:
        form: The form of the workbook.
        workshop: Means to work with.
    """

    form: ExcelForm
    workshop: Workshop = field(repr=False)

    def render(self, content: Iterator[Rows | Bytes], stamp: Stamp) -> Iterator[Bytes]:
        """See `Renderer.render`."""
        for rows in rows_only(content, "excel"):
            if self.form.rows_per_file is None:
                yield self._file(rows, stamp, rows.name)
                continue
            parts = RowParts(rows.batches, self.form.rows_per_file)
            for number, part in enumerate(parts.parts(), 1):
                yield self._file(Rows(f"{rows.name}-{number:04d}", part), stamp, rows.name)

    def _file(self, rows: Rows, stamp: Stamp, title: str) -> Bytes:
        from xlsxwriter.exceptions import XlsxWriterException
        from xlsxwriter.workbook import Workbook

        path = self.workshop.new_file(".xlsx")
        options = {"constant_memory": True, "tmpdir": str(self.workshop.folder)}
        try:
            # To a file that is open already: a full disk is then an error of the file.
            with path.open("wb") as target, self.workshop.relation(rows, self.form.timezone) as relation:
                book = Workbook(target, options)
                book.set_properties(
                    {
                        "title": stamp.title,
                        "author": stamp.generator,
                        "comments": f"{stamp.uuid}, version {stamp.version}",
                        "created": stamp.at.astimezone(dt.UTC).replace(tzinfo=None),
                    }
                )
                writing = _Writing(self.form, book, rows.name, self.form.sheet or title, relation.columns)
                for batch in relation.stream(writing.selected):
                    writing.write(batch)
                writing.end()
                book.close()
        except XlsxWriterException as error:
            raise DeliveryError(f"{rows.name} could not be written as a workbook: {error}") from error
        size = path.stat().st_size
        return Bytes(f"{rows.name}.xlsx", chunks_of(path), size, path, lambda: writing.count, CONTENT_TYPE)


_Write = Callable[[int, int, Any], object]
"""Writes a value to a sheet: row, column, value."""


@dataclass(frozen=True)
class _Cells:
    """The conversion of a column's values to cells.

    Attributes:
        sql: The value as it is read.
        writer: Returns what writes values to a sheet.
        width: Returns the width of a value in characters.
        rest: Text for values that `sql` gives as NULL because a cell has no value of the type for them.
    """

    sql: str
    writer: Callable[[Worksheet], _Write]
    width: Callable[[Any], int]
    rest: str | None = None


class _Writing:
    """One workbook while it is written."""

    def __init__(
        self, form: ExcelForm, book: Workbook, rows_name: str, sheet: str, columns: Sequence[SqlColumn]
    ) -> None:
        if len(columns) > _COLUMNS_IN_A_SHEET:
            raise DeliveryError(
                f"{rows_name} has {len(columns):,} columns, and a sheet holds {_COLUMNS_IN_A_SHEET:,}. "
                "Select fewer, or deliver another format."
            )
        self.count = 0
        self._form = form
        self._book = book
        self._rows_name = rows_name
        self._title = sheet
        self._names = [column.name for column in columns]
        self._formats: dict[str, Format] = {}
        self._cells = [self._cells_of(column) for column in columns]
        self._widths = [min(len(name) + 2, _WIDEST) for name in self._names]
        self._sheets: list[Worksheet] = []
        self._writers: list[_Write] = []
        self._next_row = 0
        self._add_sheet()

    @property
    def selected(self) -> str:
        """SQL for the columns as they are read: their values, and then what is text instead."""
        values = [cell.sql for cell in self._cells]
        rests = [cell.rest for cell in self._cells if cell.rest is not None]
        return ", ".join(f"{sql} AS v{place}" for place, sql in enumerate([*values, *rests]))

    def write(self, batch: pa.RecordBatch) -> None:
        """Write rows."""
        values = self._values(batch)
        if self.count < _ROWS_FOR_WIDTH:
            self._measure(values)
        last = self._form.most_rows - 1 + int(self._form.header)
        for row in zip(*values, strict=True):
            if self._next_row > last:
                self._add_sheet()
            number = self._next_row
            for place, (write, value) in enumerate(zip(self._writers, row, strict=True)):
                if value is not None:
                    write(number, place, value)
            self._next_row += 1
            self.count += 1

    def _values(self, batch: pa.RecordBatch) -> list[list[Any]]:
        """Return the values of each column; what is text instead has its place among them."""
        values = [column.to_pylist() for column in batch.columns[: len(self._cells)]]
        following = len(self._cells)
        for place, cells in enumerate(self._cells):
            if cells.rest is not None:
                rests = batch.column(following)
                following += 1
                if rests.null_count < len(rests):
                    both = zip(values[place], rests.to_pylist(), strict=True)
                    values[place] = [rest if value is None else value for value, rest in both]
        return values

    def end(self) -> None:
        """Set what is known only after the last row."""
        for sheet in self._sheets:
            for place, width in enumerate(self._widths):
                sheet.set_column(place, place, width)

    def _measure(self, values: Sequence[Sequence[Any]]) -> None:
        for place, column in enumerate(values):
            measured = (
                self._cells[place].width(value) for value in column[:_ROWS_FOR_WIDTH] if value is not None
            )
            self._widths[place] = min(max(self._widths[place], max(measured, default=0) + 2), _WIDEST)

    def _add_sheet(self) -> None:
        number = len(self._sheets) + 1
        if number > 1 and self._form.too_many_rows == "refuse":
            raise DeliveryError(
                f"{self._rows_name} has more than {self._form.most_rows:,} rows, the most of a sheet. Set "
                "too_many_rows = sheets, split { rows = ... } for several files, or deliver another format."
            )
        sheet = self._book.add_worksheet(_sheet_name(self._title, number))
        self._next_row = int(self._form.header)
        if self._form.header:
            bold = self._format("", bold=True)
            for place, name in enumerate(self._names):
                sheet.write_string(0, place, self._storable(name, "its name", place), bold)
            sheet.freeze_panes(1, 0)
        self._sheets.append(sheet)
        self._writers = [cell.writer(sheet) for cell in self._cells]

    def _format(self, number: str, *, bold: bool = False) -> Format:
        key = f"{number}/{bold}"
        if key not in self._formats:
            options = {"num_format": number} if number else {}
            self._formats[key] = self._book.add_format({**options, **({"bold": True} if bold else {})})
        return self._formats[key]

    def _cells_of(self, column: SqlColumn) -> _Cells:
        type_, sql = column.type, column.sql
        if pa.types.is_boolean(type_):
            return _Cells(sql, lambda sheet: sheet.write_boolean, lambda value: 5)
        if pa.types.is_integer(type_):
            return _Cells(sql, _integer_writer, lambda value: len(str(value)))
        if pa.types.is_floating(type_):
            return _Cells(f"CAST({sql} AS DOUBLE)", _float_writer, lambda value: min(len(repr(value)), 12))
        if pa.types.is_decimal(type_):
            shown = self._format("0." + "0" * type_.scale if type_.scale > 0 else "0")
            limit = f"CAST('{Decimal(10) ** (_DIGITS - type_.scale):f}' AS DECIMAL(38, {type_.scale}))"
            fits = "true" if type_.precision <= _DIGITS else f"abs({sql}) < {limit}"
            return _number_or_text(sql, fits, f"CAST({sql} AS DOUBLE)", shown, type_.precision // 2 + 2)
        if pa.types.is_date(type_):
            days = f"CAST({sql} - {_ZERO_DAY} AS DOUBLE)"
            return _number_or_text(sql, _within_dates(sql), days, self._format("yyyy-mm-dd"), 10)
        if pa.types.is_timestamp(type_):
            # In a zone, the last cast gives the local time of the connection's zone.
            local = (
                f"CAST(CAST({sql} AS TIMESTAMPTZ) AS TIMESTAMP)" if type_.tz else f"CAST({sql} AS TIMESTAMP)"
            )
            days = f"(epoch_us({local}) - epoch_us(CAST({_ZERO_DAY} AS TIMESTAMP))) / 86400000000.0"
            shown = self._format("yyyy-mm-dd hh:mm:ss")
            return _number_or_text(local, _within_dates(local), days, shown, 19)
        if pa.types.is_time(type_) and type_ != pa.time64("ns"):
            days = f"epoch_us(DATE '1970-01-01' + {sql}) / 86400000000.0"
            return _number_or_text(sql, "true", days, self._format("hh:mm:ss"), 8)

        def writer(sheet: Worksheet) -> _Write:
            write_string = sheet.write_string

            def write(row: int, place: int, value: str) -> None:
                if len(value) > _LONGEST_TEXT or not value.isascii():
                    value = self._storable(value, f"row {self.count + 1:,}", place)
                write_string(row, place, value)

            return write

        def width(value: str) -> int:
            return max(map(len, value.split("\n")))

        return _Cells(plain_text(type_, sql, self._form.timezone), writer, width)

    def _storable(self, text: str, where: str, place: int) -> str:
        """Return a text as a cell can hold it.

        Raises:
            DeliveryError: It is too long.
        """
        length = _length(text)
        if length > _LONGEST_TEXT:
            if self._form.long_texts == "refuse":
                raise DeliveryError(
                    f"{self._rows_name} cannot be written as a workbook: column {self._names[place]}, {where}"
                    f", has a text of {length:,} characters, and a cell holds {_LONGEST_TEXT:,}. Set "
                    "long_texts = cut, or deliver another format."
                )
            text = _beginning(text, _LONGEST_TEXT)
        if _NOT_IN_XML.search(text):
            text = _NOT_IN_XML.sub("\ufffd", text)
        return text


def _length(text: str) -> int:
    """Characters of a text as Excel counts them: one beyond the first 65,536, such as 😀, counts twice."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _beginning(text: str, length: int) -> str:
    """The beginning of a text, up to so many characters as Excel counts them."""
    return text.encode("utf-16-le", "surrogatepass")[: 2 * length].decode("utf-16-le", "ignore")


def _within_dates(sql: str) -> str:
    """Return SQL for whether a spreadsheet counts a date right; it errs before March 1900."""
    return f"isfinite({sql}) AND {sql} >= DATE '1900-03-01' AND {sql} < DATE '9999-12-31' + 1"


def _number_or_text(sql: str, fits: str, number: str, shown: Format, width: int) -> _Cells:
    """Return the cells of values that are numbers with a format where they fit, and text otherwise."""

    def writer(sheet: Worksheet) -> _Write:
        write_number, write_string = sheet.write_number, sheet.write_string

        def write(row: int, place: int, value: float | str) -> None:
            if type(value) is str:
                write_string(row, place, value)
            else:
                write_number(row, place, value, shown)

        return write

    rest = None if fits == "true" else f"CASE WHEN NOT ({fits}) THEN CAST({sql} AS VARCHAR) END"
    value = number if rest is None else f"CASE WHEN {fits} THEN {number} END"
    return _Cells(value, writer, lambda value: len(value) if isinstance(value, str) else width, rest)


def _integer_writer(sheet: Worksheet) -> _Write:
    write_number, write_string = sheet.write_number, sheet.write_string

    def write(row: int, place: int, value: int) -> None:
        if -_EXACT < value < _EXACT:
            write_number(row, place, value)
        else:
            write_string(row, place, str(value))

    return write


def _float_writer(sheet: Worksheet) -> _Write:
    write_number, write_string = sheet.write_number, sheet.write_string

    def write(row: int, place: int, value: float) -> None:
        if abs(value) < _BEYOND:
            write_number(row, place, value)
        else:
            infinity = "Infinity" if value > 0 else "-Infinity"
            text = repr(value) if math.isfinite(value) else infinity
            write_string(row, place, "NaN" if math.isnan(value) else text)

    return write


def _sheet_name(title: str, number: int) -> str:
    """Return a name that Excel takes for a sheet."""
    plain = re.sub(r"[\[\]:*?/\\\x00-\x1f]", " ", title).strip(" '") or "Sheet"
    ending = f" {number}" if number > 1 else ""
    plain = _beginning(plain, _LONGEST_SHEET_NAME - len(ending)).rstrip(" '") + ending
    # Excel keeps this name for itself.
    return f"{plain}_" if plain.casefold() == "history" else plain
