"""Source settings: connections, the tables to read, and how changes are captured."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticKnownError
from pydantic_core.core_schema import ValidationInfo

from platform_assets.settings.values import (
    Block,
    FreshnessSettings,
    Integer,
    Names,
    ScheduleSettings,
    ServerSettings,
    Text,
)

SOURCE_NAMES = ("totesys",)
"""The sources whose tables `platform_assets.model` declares."""


TYPES = "integer, decimal(P,S), real, double, text, binary, boolean, date, time, timestamp or timestamptz"


_TYPE = re.compile(r"integer|real|double|text|binary|boolean|date|time|timestamp|timestamptz")


_DECIMAL = re.compile(r"decimal\((\d{1,2}), ?(\d{1,2})\)")


class SampleSettings(Block):
    """The size of the embedded sample database when it is created."""

    sales: Integer = Field(
        default=13_000, ge=1, le=50_000_000, description="a number of orders from 1 to 50000000"
    )
    seed: Integer = Field(default=2022, ge=0, le=2**63 - 1, description="a whole number, 0 or more")


class ConnectionSettings(ServerSettings):
    """Address of a PostgreSQL source and the credentials of a role that can read it."""

    db_schema: Text = Field(default="public", alias="schema", description="the schema that holds the tables")


def _needed_unless_embedded(
    connection: ConnectionSettings | None, info: ValidationInfo
) -> ConnectionSettings | None:
    if connection is None and info.data.get("embedded") is False:
        raise PydanticKnownError("missing")
    return connection


def type_word(value: str) -> str:
    """Validate a column's lake type; decimals are normalized to one spelling."""
    if _TYPE.fullmatch(value):
        return value
    digits = _DECIMAL.fullmatch(value)
    if digits is None:
        raise ValueError("there is no such type")
    precision, scale = int(digits[1]), int(digits[2])
    if not 1 <= precision <= 38 or scale > precision:
        raise ValueError("a decimal has 1 to 38 digits, of which the scale says how many follow the point")
    return f"decimal({precision},{scale})"


Strategy = Literal["auto", "xmin", "last_updated", "diff"]


_STRATEGY = "one of auto, xmin, last_updated, diff"


_COLUMN = "the name of the column that last_updated goes by"


_LAG = "whole seconds, 0 or more"


_SMALL = "a number of rows, 0 or more"


_ENCODING = "an encoding of PostgreSQL's, such as LATIN1, WIN1252 or UTF8"


_EVERY = "whole minutes, 0 or more"


_Lag = Annotated[Integer, Field(ge=0, le=31_536_000)]


_Rows = Annotated[Integer, Field(ge=0, le=2**63 - 1)]


_Minutes = Annotated[Integer, Field(ge=0, le=525_600)]


def encoding_name(value: str) -> str:
    """Validate the name of an encoding, as PostgreSQL spells it."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", value):
        raise ValueError("there is no such encoding")
    return value.upper()


_Encoding = Annotated[Text, AfterValidator(encoding_name)]


class CaptureOverrides(Block):
    """Change capture settings of one table where they differ from those of its source."""

    strategy: Strategy | None = Field(default=None, description=_STRATEGY)
    column: Text | None = Field(default=None, description=_COLUMN)
    lag: _Lag | None = Field(default=None, description=_LAG)
    small_table_rows: _Rows | None = Field(default=None, description=_SMALL)
    deletions_every: _Minutes | None = Field(default=None, description=_EVERY)
    encoding: _Encoding | None = Field(default=None, description=_ENCODING)


class TableOverrides(CaptureOverrides):
    """Settings of one table in a source that is described by its catalogue file."""

    key: Annotated[Names, Field(min_length=1)] | None = Field(
        default=None, description="a list of the columns that identify a row"
    )
    types: dict[str, Annotated[Text, AfterValidator(type_word)]] = Field(
        default_factory=dict, description=f"a block of columns, each with {TYPES}"
    )


class CaptureSettings(Block):
    """Change capture settings of a source; `lag` in seconds, `deletions_every` in minutes.

    `deletions_every` defaults to half of the source's `freshness.within`.
    """

    strategy: Strategy = Field(default="auto", description=_STRATEGY)
    column: Text = Field(default="last_updated", description=_COLUMN)
    lag: _Lag = Field(default=900, description=_LAG)
    small_table_rows: _Rows = Field(default=200_000, description=_SMALL)
    deletions_every: _Minutes | None = Field(default=None, description=_EVERY)
    connections: Integer = Field(default=2, ge=1, le=16, description="a whole number from 1 to 16")
    encoding: _Encoding | None = Field(default=None, description=_ENCODING)


class DeclaredSourceSettings(CaptureSettings):
    """The source that the model declares: the embedded sample or the user's own PostgreSQL."""

    embedded: bool = Field(
        default=True, description="true (the sample) or false (the database under connection)"
    )
    sample: SampleSettings = Field(default_factory=SampleSettings, description="a block with sales and seed")
    connection: Annotated[ConnectionSettings | None, AfterValidator(_needed_unless_embedded)] = Field(
        default=None,
        validate_default=True,
        description="a block with host, database, user and password, as embedded is false",
    )
    overrides: dict[str, CaptureOverrides] = Field(
        default_factory=dict, description="a block of tables, each with a block of what differs"
    )


class SourceSettings(CaptureSettings):
    """A PostgreSQL database whose tables are listed in its catalogue file."""

    connection: ConnectionSettings = Field(description="a block with host, database, user and password")
    tables: Annotated[Names, Field(min_length=1)] = Field(
        default=("*",), description="a list of tables' names and shell patterns"
    )
    exclude: Names = Field(default=(), description="a list of tables' names and shell patterns")
    overrides: dict[str, TableOverrides] = Field(
        default_factory=dict, description="a block of tables, each with a block of what differs"
    )
    schedule: ScheduleSettings | None = Field(default=None, description="a block with cron and timezone")
    freshness: FreshnessSettings | None = Field(default=None, description="a block with within")


class SourcesSettings(BaseModel):
    """The sources by name: the source that the model declares, and any others."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, SourceSettings] = Field(init=False)

    totesys: DeclaredSourceSettings = Field(description="a block: it is the source that the model declares")

    @property
    def discovered(self) -> Mapping[str, SourceSettings]:
        """The sources that the model does not declare, sorted by name."""
        return dict(sorted((self.__pydantic_extra__ or {}).items()))

    def __getitem__(self, name: str) -> DeclaredSourceSettings | SourceSettings:
        """A source.

        Raises:
            KeyError: No source has this name.
        """
        return self.totesys if name == "totesys" else self.discovered[name]

    @property
    def names(self) -> tuple[str, ...]:
        """All source names, the declared source first."""
        return ("totesys", *self.discovered)

    def __contains__(self, name: object) -> bool:
        """Return True if a source has this name."""
        return name == "totesys" or name in self.discovered


def is_pattern(name: str) -> bool:
    """Return True if an entry of a source's `tables` is a shell pattern, not a table name."""
    return bool(re.search(r"[*?[]", name))


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Return True if a table's name equals one of these names or matches one of these shell patterns."""
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
