"""The definition of a feed, as data: the objects it takes, their format, and how their rows are loaded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from platform_assets.configuration.globs import glob_regex
from platform_assets.errors import FeedError
from platform_assets.model.table import Binary, Column, Integer, Text, Timestamp

Format = Literal["csv", "jsonl", "json", "parquet", "excel"]
Mode = Literal["append", "merge"]
NewColumns = Literal["refuse", "ignore", "add"]

PLACE_COLUMNS = (
    Column("_batch", Integer(64), "The load of the row; the feed's ledger records which loads count"),
    Column("_seen_at", Timestamp(utc=True), "Time of that load, by the platform's clock, UTC"),
    Column("_object", Text(), "The object that contains the row; its name, with sensitive parts masked"),
    Column(
        "_line",
        Integer(64),
        "Line where the row starts, or in Parquet files and sheets the row's number, from 1",
    ),
)
"""The platform's own columns, which follow the feed's in its table."""


@dataclass(frozen=True)
class CsvDialect:
    """The format of a CSV file.

    Args:
        delimiter: The character between two fields.
        quote: The character around fields that contain a delimiter or a line break; None means no quoting.
        escape: The character before a quote within a field; None means that the quote is doubled.
        header: True if the first line has the column names; otherwise columns are read in order.
        skip: Number of lines above the header to skip.
        nulls: Fields that mean NULL.
    """

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    header: bool = True
    skip: int = 0
    nulls: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Sheet:
    """The sheet of a workbook to read.

    Args:
        name: Its name, or its number from 1, counting hidden sheets.
        header_row: Number of the row with the column names, from 1; 0 if there is none, then columns are
            read in order from column A on.
        memory_mb: Megabytes that reading a workbook may take; the workbook is held in memory as a whole.
    """

    name: str | int = 1
    header_row: int = 1
    memory_mb: int = 2048


@dataclass(frozen=True)
class Feed:
    """A feed.

    Args:
        name: Its name, and that of its table `uploads/<name>`: `[a-z][a-z0-9_]*`.
        watch: The watch whose objects it takes.
        pattern: A pattern for their keys: `*` matches anything but a slash, `**/` any folders, `?` one
            character, `[...]` one of a set.
        format: Their format; an object whose key ends in `.gz` is decompressed first.
        columns: Their columns. If there are none, the columns of the first object are kept.
        formats: The `strptime` formats of dates and timestamps that are not ISO 8601, by column.
        key: Columns that identify rows; required for `merge`.
        mode: `append`: the rows of an object's newest version count. `merge`: of rows with the same key, only
            the row uploaded last counts.
        new_columns: The reaction to undeclared columns: stop the feed, ignore them, or add them to the table.
        dialect: The format of CSV files; its `nulls` also apply to workbooks.
        encoding: Name of the text's encoding; a byte order mark is skipped.
        sheet: The sheet of a workbook to read.

    Raises:
        FeedError: These settings contradict each other.
    """

    name: str
    watch: str
    pattern: str
    format: Format
    columns: tuple[Column, ...] = ()
    formats: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    mode: Mode = "append"
    new_columns: NewColumns = "refuse"
    dialect: CsvDialect = field(default_factory=CsvDialect)
    encoding: str = "utf-8"
    sheet: Sheet = field(default_factory=Sheet)

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        mistakes = []
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            mistakes.append("its name must consist of a-z, 0-9 and _, starting with a letter")
        if len({name.casefold() for name in names}) < len(names):
            mistakes.append("a column is declared more than once; upper and lower case are the same")
        taken = {column.name for column in PLACE_COLUMNS} & {name.casefold() for name in names}
        if taken:
            mistakes.append(f"the columns {', '.join(sorted(taken))} are the platform's own")
        if self.mode == "merge" and not self.key:
            mistakes.append("rows are merged by a key, but it has no key")
        if names and (unknown := {*self.key, *self.formats} - set(names)):
            mistakes.append(f"the columns {', '.join(sorted(unknown))} are not declared")
        if not self.has_header and not names:
            mistakes.append("without a header the columns have to be declared")
        if isinstance(self.sheet.name, int) and self.sheet.name < 1:
            mistakes.append("sheets are counted from 1")
        if self.format != "parquet" and any(isinstance(column.type, Binary) for column in self.columns):
            mistakes.append("only Parquet files have columns of bytes")
        try:
            "a".encode(self.encoding)  # also rejects encodings that are not for text
        except LookupError:
            mistakes.append(f"the encoding {self.encoding} does not exist")
        try:
            self.takes(self.watch, "")
        except re.error as error:
            mistakes.append(f"its pattern is not valid: {error}")
        marks = [
            sign
            for sign in (self.dialect.delimiter, self.dialect.quote, self.dialect.escape)
            if sign is not None
        ]
        if len(set(marks)) < len(marks) or any(len(mark) != 1 or mark in "\r\n" for mark in marks):
            mistakes.append(
                "delimiter, quote and escape must be one character each, all different, and no line end"
            )
        if mistakes:
            raise FeedError(f"The feed {self.name} cannot be used: {'; '.join(mistakes)}.")

    def takes(self, watch: str, key: str) -> bool:
        """Return True if the feed takes an object of a watch."""
        return watch == self.watch and self._pattern.fullmatch(key) is not None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(glob_regex(self.pattern), re.DOTALL)

    @property
    def has_header(self) -> bool:
        """True if files contain the names of their columns."""
        match self.format:
            case "csv":
                return self.dialect.header
            case "excel":
                return self.sheet.header_row > 0
            case _:
                return True

    @cached_property
    def definition(self) -> str:
        """Identifies how objects are read; an object that failed is retried when the definition changes."""
        fingerprinted: tuple[object, ...] = (
            self.format,
            self.columns,
            sorted(self.formats.items()),
            self.key,
        )
        fingerprinted = (*fingerprinted, self.new_columns)
        more = (self.sheet,) if self.format == "excel" else ()
        fingerprinted = (*fingerprinted, self.dialect, self.encoding, *more)
        return hashlib.blake2b(repr(fingerprinted).encode(), digest_size=8).hexdigest()
