"""Feeds: uploaded files that become rows of tables."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.mistakes import Mistake, shown
from platform_assets.configuration.names import NAME
from platform_assets.configuration.values import TYPES, Block, Integer, Names, Text, type_word
from platform_assets.objects.settings import ObjectsSettings

if TYPE_CHECKING:
    from platform_assets.configuration.blocks import Settings


class FeedColumnSettings(Block):
    """A column of a feed's files."""

    type: Annotated[Text, AfterValidator(type_word)] = Field(description=TYPES)
    """The column's type in the lake."""
    nullable: bool = Field(default=False, description="true or false")
    """True if values may be missing."""
    format: Text | None = Field(default=None, description='how dates are written, such as "%d.%m.%Y"')
    """The format of dates and times in text; ISO 8601 by default."""
    max_length: Integer | None = Field(default=None, ge=1, description="a number of characters, 1 or more")
    """The longest text that is accepted."""
    accepted: Names = Field(default=(), description="a list of texts")
    """The texts that are accepted; empty for any."""


class DialectSettings(Block):
    """The format of CSV files."""

    delimiter: str = Field(default=",", min_length=1, max_length=1, description="one character")
    """Separates fields."""
    quote: str | None = Field(default='"', min_length=1, max_length=1, description="one character, or null")
    """Encloses fields."""
    escape: str | None = Field(default=None, min_length=1, max_length=1, description="one character")
    """Stands before a quote inside a field; by default the quote is doubled."""
    header: bool = Field(default=True, description="true or false")
    """True if the first line has the columns' names."""
    skip: Integer = Field(default=0, ge=0, le=1000, description="a number of lines from 0 to 1000")
    """Lines to skip at the start of a file."""
    nulls: tuple[str, ...] = Field(default=("",), description='a list of texts, such as ["", "NULL"]')
    """The texts that stand for a missing value."""


class SheetSettings(Block):
    """The sheet of a workbook to read."""

    name: Annotated[Text | Integer, Field(union_mode="left_to_right")] = Field(
        default=1, description="the name of a sheet, or its number from 1"
    )
    """The sheet."""
    header_row: Integer = Field(
        default=1, ge=0, le=1000, description="the number of the row with the columns' names, 0 without one"
    )
    """The row with the columns' names."""
    memory_mb: Integer = Field(default=2048, ge=256, le=65536, description="megabytes from 256 to 65536")
    """Megabytes that reading a workbook may take."""


def _encoding(value: str) -> str:
    try:
        return codecs.lookup(value) and value
    except LookupError:
        raise ValueError("no such encoding exists") from None


def _of_columns(value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    columns = info.data.get("columns") or {}
    if columns and (unknown := [name for name in value if name not in columns]):
        raise ValueError(f"{', '.join(unknown)} is not among the columns {', '.join(columns)}")
    return value


def _has_key(value: str, info: ValidationInfo) -> str:
    if value == "merge" and info.data.get("key") == ():
        raise ValueError("merge needs a key")
    return value


class FeedSettings(Block):
    """A feed: uploaded files that become rows of a table."""

    watch: Text = Field(description="the name of a block in watches")
    """The watch whose objects the feed reads."""
    pattern: Text = Field(description='a pattern of keys, such as "orders/**/*.csv"')
    """The objects that the feed reads."""
    format: Literal["csv", "jsonl", "json", "parquet", "excel"] = Field(
        description="one of csv, jsonl, json, parquet, excel"
    )
    """The format of the files."""
    columns: dict[str, FeedColumnSettings] = Field(
        default_factory=dict, description="a block of columns by name, in order, each with a type"
    )
    key: Annotated[Names, AfterValidator(_of_columns)] = Field(default=(), description="a list of columns")
    """The columns that identify a row."""
    mode: Annotated[Literal["append", "merge"], AfterValidator(_has_key)] = Field(
        default="append", description="append or merge"
    )
    """`append` adds rows; `merge` replaces rows that have the same key."""
    new_columns: Literal["refuse", "ignore", "add"] = Field(
        default="refuse", description="one of refuse, ignore, add"
    )
    """Treatment of a file with a column that is not declared."""
    encoding: Annotated[Text, AfterValidator(_encoding)] = Field(
        default="utf-8", description="the name of an encoding, such as utf-8 or latin-1"
    )
    """The encoding of text files."""
    dialect: DialectSettings = Field(
        default_factory=DialectSettings, description="a block with the dialect of CSV files"
    )
    sheet: SheetSettings = Field(
        default_factory=SheetSettings,
        description="a block with name, header_row and memory_mb of a workbook's sheet",
    )


class FeedsSettings(RoomSettings):
    """The feeds' key."""

    feeds: dict[str, FeedSettings] = Field(
        default_factory=dict, description="a block of feeds by name, each with watch, pattern and format"
    )

    def mistakes(self, settings: Settings) -> Iterator[Mistake]:
        """Check that feeds have valid table names and refer to existing watches."""
        watches = settings.of(ObjectsSettings).watches
        for name, feed in self.feeds.items():
            if not NAME.fullmatch(name):
                expected = "a name of lower case letters, digits and _, from a letter on"
                yield Mistake(("feeds", name), f"a feed called {shown(name)}", expected)
            if feed.watch not in watches:
                known = ", ".join(watches) or "none"
                yield Mistake(
                    ("feeds", name, "watch"), shown(feed.watch), f"the name of a block in watches: {known}"
                )


SETTINGS = FeedsSettings
