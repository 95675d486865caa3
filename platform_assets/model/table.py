"""Declarations of tables and columns as data: types, keys and the rules that rows must keep.

One declaration drives the extraction's column list, the Delta and warehouse types, the dead-letter rules, the
asset checks, the column schema metadata and the sample database's DDL.
"""

from __future__ import annotations

import datetime as dt
import decimal
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

RowRule = Literal["not_null", "accepted_values", "range", "iso_date", "max_length", "foreign_key"]
"""Rules that a row can break; their names appear as reasons in the dead-letter table and as asset check
names."""


@dataclass(frozen=True)
class Integer:
    """A signed integer of 32 or 64 bits."""

    bits: Literal[32, 64] = 32


@dataclass(frozen=True)
class Decimal:
    """An exact decimal number with `scale` digits after the point."""

    precision: int
    scale: int


@dataclass(frozen=True)
class Float:
    """A binary floating-point number of 32 or 64 bits (IEEE 754), NaN and the infinities included."""

    bits: Literal[32, 64] = 64


@dataclass(frozen=True)
class Text:
    """Unicode text; `max_length` in characters if the source or the warehouse limits it."""

    max_length: int | None = None


@dataclass(frozen=True)
class Binary:
    """A string of bytes."""


@dataclass(frozen=True)
class Boolean:
    """True or false."""


@dataclass(frozen=True)
class Date:
    """A calendar date.

    With `infinite` it also holds the infinities, in DuckDB's encoding: days of plus and minus 2,147,483,647.
    """

    infinite: bool = False


@dataclass(frozen=True)
class Time:
    """A time of day without zone, to the microsecond.

    The lake holds it as ISO 8601 text, `HH:MM:SS.ffffff`.
    """


@dataclass(frozen=True)
class Timestamp:
    """A point in time to the microsecond.

    With `utc` it is zone-aware UTC. Without, it is the source's wall-clock time as written: no zone is
    assumed. With `infinite` it also holds the infinities, in DuckDB's encoding: microseconds of plus and
    minus 9,223,372,036,854,775,807.
    """

    utc: bool = False
    infinite: bool = False


LogicalType = Integer | Decimal | Float | Text | Binary | Boolean | Date | Time | Timestamp


@dataclass(frozen=True)
class Column:
    """A column and the rules that its values keep.

    Args:
        name: Column name, as in the database.
        type: Logical type.
        description: One line for the catalogue.
        nullable: Whether NULL is allowed.
        references: Name of the table whose single-column primary key this column points to.
        accepted: The only values allowed, where the values are limited to a list.
        minimum: Smallest value allowed, in the column's own type; for ISO text dates and timestamps a date.
        maximum: Largest value allowed, likewise.
        iso_date: The text holds a calendar date as `YYYY-MM-DD`.
        enum: Name of the source's enumerated type, where it has one; `accepted` lists its labels.
        info_types: Info types that the column holds as everybody knows, such as `EMAIL_ADDRESS`; lineage
            carries them to what is made from the column.
    """

    name: str
    type: LogicalType
    description: str = ""
    nullable: bool = False
    references: str | None = None
    accepted: tuple[str, ...] = ()
    minimum: int | decimal.Decimal | dt.date | None = None
    maximum: int | decimal.Decimal | dt.date | None = None
    iso_date: bool = False
    enum: str | None = None
    info_types: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table: ordered columns, a primary key and its purpose.

    Args:
        name: Table name without schema.
        description: The grain (what one row stands for), for the catalogue.
        columns: Columns in declared order.
        primary_key: Names of the key columns.
        kind: `source`, `dimension` or `fact`.
        business_key: For facts, the column that identifies the order or payment across its versions.
        reads: For star tables, the source tables that its SELECT reads.
        inputs: For star tables, the reference inputs that its SELECT reads, by name.
        derived_from: For star tables, the star tables that its reference inputs read.
        uniques: Further sets of columns whose non-null values must be unique.
        constants: For star tables, columns to which the SELECT gives one value, each with the reason.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    kind: Literal["source", "dimension", "fact"] = "source"
    business_key: str | None = None
    reads: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    derived_from: tuple[str, ...] = ()
    uniques: tuple[tuple[str, ...], ...] = field(default=())
    constants: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"table {self.name} declares {', '.join(twice)} more than once")
        keys = [*self.primary_key, *(key for unique in self.uniques for key in unique)]
        if self.business_key:
            keys.append(self.business_key)
        unknown = sorted(set(keys) - set(names))
        if unknown:
            raise ValueError(
                f"table {self.name} has keys on columns it does not declare: {', '.join(unknown)}"
            )

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Column names in declared order."""
        return tuple(column.name for column in self.columns)

    @property
    def is_backdated(self) -> bool:
        """True if new rows may carry batches that the table has already processed.

        Rows that are derived from facts carry the batch of the facts: a calendar grows by whole years, each
        under the batch that needed it first. Readers must therefore not skip rows by batch.
        """
        return bool(self.derived_from)

    def column(self, name: str) -> Column:
        """The column called `name`.

        Raises:
            KeyError: The table has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"table {self.name} has no column {name}")

    @cached_property
    def foreign_keys(self) -> tuple[tuple[str, str], ...]:
        """Pairs of (column, referenced table) in declared order."""
        return tuple((column.name, column.references) for column in self.columns if column.references)


CHANGES = ("insert", "update", "delete")
"""Possible changes of a row between two batches."""

PLATFORM_COLUMNS = (
    Column("_change", Text(), "What happened to the row: insert, update or delete", accepted=CHANGES),
    Column("_batch", Integer(64), "The batch (extraction tick) that saw this version of the row", minimum=1),
    Column("_seen_at", Timestamp(utc=True), "When that batch's snapshot of the source was taken, UTC"),
)
"""The platform's own columns, which follow the declared ones in every bronze and star table."""

HASH_COLUMN = Column("_hash", Integer(64), "Content hash of the declared columns, for finding changes")
"""The bronze tables' last column."""
