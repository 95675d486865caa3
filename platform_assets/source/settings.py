"""Source settings: connections, the tables to read, and how changes are captured."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticKnownError
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.blocks import FreshnessSettings, RoomSettings, ScheduleSettings
from platform_assets.configuration.connections import ServerSettings
from platform_assets.configuration.mistakes import Mistake, explained, shown
from platform_assets.configuration.names import unusable_name
from platform_assets.configuration.values import TYPES, Block, Integer, Names, Text, type_word

if TYPE_CHECKING:
    from platform_assets.configuration.blocks import Settings
    from platform_assets.configuration.document import Document

SOURCE_NAMES = ("totesys",)
"""The sources whose tables `platform_assets.model` declares."""


class SampleSettings(Block):
    """The size of the embedded sample database when it is created."""

    sales: Integer = Field(
        default=13_000, ge=1, le=50_000_000, description="a number of orders from 1 to 50000000"
    )
    """Sales orders in the sample."""
    seed: Integer = Field(default=2022, ge=0, le=2**63 - 1, description="a whole number, 0 or more")
    """Seed of the generated data: the same seed gives the same business."""


class ConnectionSettings(ServerSettings):
    """Address of a PostgreSQL source and the credentials of a role that can read it."""

    db_schema: Text = Field(default="public", alias="schema", description="the schema that holds the tables")
    """The schema with the tables."""


def _needed_unless_embedded(
    connection: ConnectionSettings | None, info: ValidationInfo
) -> ConnectionSettings | None:
    if connection is None and info.data.get("embedded") is False:
        raise PydanticKnownError("missing")
    return connection


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
        raise ValueError("no such encoding exists")
    return value.upper()


_Encoding = Annotated[Text, AfterValidator(encoding_name)]


class CaptureOverrides(Block):
    """Change capture settings of one table where they differ from those of its source."""

    strategy: Strategy | None = Field(default=None, description=_STRATEGY)
    """As the key `strategy` of the source."""
    column: Text | None = Field(default=None, description=_COLUMN)
    """As the key `column` of the source."""
    lag: _Lag | None = Field(default=None, description=_LAG)
    """As the key `lag` of the source."""
    small_table_rows: _Rows | None = Field(default=None, description=_SMALL)
    """As the key `small_table_rows` of the source."""
    deletions_every: _Minutes | None = Field(default=None, description=_EVERY)
    """As the key `deletions_every` of the source."""
    encoding: _Encoding | None = Field(default=None, description=_ENCODING)
    """As the key `encoding` of the source."""


class TableOverrides(CaptureOverrides):
    """Settings of one table in a source that is described by its catalogue file."""

    key: Annotated[Names, Field(min_length=1)] | None = Field(
        default=None, description="a list of the columns that identify a row"
    )
    """The columns that identify a row, for a view or a table without a primary key."""
    types: dict[str, Annotated[Text, AfterValidator(type_word)]] = Field(
        default_factory=dict, description=f"a block of columns, each with {TYPES}"
    )
    """The types of columns in the lake where the derived type does not fit."""


class CaptureSettings(Block):
    """Change capture settings of a source; `lag` in seconds, `deletions_every` in minutes.

    `deletions_every` defaults to half of the source's `freshness.within`.
    """

    strategy: Strategy = Field(default="auto", description=_STRATEGY)
    """Way to find changes. `xmin`: rows written since the last batch. `last_updated`: rows whose
    timestamp says so. `diff`: all rows are compared. `auto`: `xmin` for tables, `diff` for views and
    foreign tables."""
    column: Text = Field(default="last_updated", description=_COLUMN)
    """The column that the strategy `last_updated` uses: a timestamp, a date or a growing integer."""
    lag: _Lag = Field(default=900, description=_LAG)
    """Seconds before the column's largest value that `last_updated` reads again, for late commits."""
    small_table_rows: _Rows = Field(default=200_000, description=_SMALL)
    """In tables with more rows than this, deletions are looked for less often if the last search took
    over 5 seconds."""
    deletions_every: _Minutes | None = Field(default=None, description=_EVERY)
    """Minutes between two searches for deletions in such a table; by default half of `freshness.within`."""
    connections: Integer = Field(default=2, ge=1, le=16, description="a whole number from 1 to 16")
    """Connections that read at the same time."""
    encoding: _Encoding | None = Field(default=None, description=_ENCODING)
    """The encoding of text in a database whose own encoding is SQL_ASCII."""


class DeclaredSourceSettings(CaptureSettings):
    """The source that the model declares: the embedded sample or the user's own PostgreSQL."""

    embedded: bool = Field(
        default=True, description="true (the sample) or false (the database under connection)"
    )
    """True to read the embedded sample database, false for the database under `connection`."""
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
    """The tables to read."""
    exclude: Names = Field(default=(), description="a list of tables' names and shell patterns")
    """Tables to leave out of these."""
    overrides: dict[str, TableOverrides] = Field(
        default_factory=dict, description="a block of tables, each with a block of what differs"
    )
    schedule: ScheduleSettings | None = Field(default=None, description="a block with cron and timezone")
    freshness: FreshnessSettings | None = Field(default=None, description="a block with within")


class SourcesSettings(BaseModel):
    """The sources by name: the source that the model declares, and any others."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, SourceSettings] = Field(init=False)
    named_block: ClassVar[type[BaseModel]] = SourceSettings

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


class SourceRoomSettings(RoomSettings):
    """The sources' key."""

    sources: SourcesSettings = Field(description="a block with totesys")

    @classmethod
    def prepare(cls, document: Document, content: dict[str, Any]) -> Iterator[Mistake]:
        """Drop the unused connection of an embedded source, and sources that cannot have their name."""
        yield from _take_out_ignored_connections(document, content)
        yield from _take_out_unusable_names(content)

    def mistakes(self, settings: Settings) -> Iterator[Mistake]:
        """Check the blocks of a source against each other, and against the freshness limits."""
        yield from _unfit_blocks(self.sources)
        yield from _late_deletions(settings)

    def unshared(self) -> Iterator[Mistake]:
        """Report the embedded sample, a server that only its own machine reaches."""
        if self.sources.totesys.embedded:
            expected = "false and a connection: with machines = many, no other machine reaches the sample"
            yield Mistake(("sources", "totesys", "embedded"), "true", expected)

    def fresh_within(self, source: str, default: FreshnessSettings) -> int:
        """The freshness limit of a source's tables, in minutes."""
        discovered = self.sources.discovered
        own = discovered[source].freshness if source in discovered else None
        return (own or default).within


SETTINGS = SourceRoomSettings


def _take_out_ignored_connections(document: Document, content: dict[str, Any]) -> Iterator[Mistake]:
    """Drop the unused connection of an embedded source; report a connection block that would be ignored.

    The default file always has a connection block, filled from the environment. A user who sets TOTESYS_HOST
    expects that database to be read, so silently using the sample would be wrong.
    """
    sources = content.get("sources")
    if not isinstance(sources, dict):
        return
    content["sources"] = {**sources}
    for name, source in sources.items():
        connection = source.get("connection") if name in SOURCE_NAMES and isinstance(source, dict) else None
        if not isinstance(connection, dict) or not _is_true(source.get("embedded", True)):
            continue
        key = ("sources", name, "connection")
        places = ("host", "database", "user")
        from_environment = [
            variable
            for place in places
            if place in connection
            for variable in document.variables_set((*key, place))
        ]
        if from_environment or not any(place in connection for place in places):
            content["sources"][name] = {k: v for k, v in source.items() if k != "connection"}
            yield from _mistakes_in(document, key, connection)
        if from_environment:
            switch = document.variables(("sources", name, "embedded"))
            how = f"set {switch[0]}=false" if switch else f"set sources.{name}.embedded to false"
            verb = "is" if len(from_environment) == 1 else "are"
            missing = [
                (document.variables((*key, place)) or (place,))[-1]
                for place in places
                if place not in connection
            ]
            rest = f" and give {', '.join(missing)}" if missing else ""
            names = ", ".join(from_environment)
            yield Mistake(
                key,
                f"that {names} {verb} set in the environment while sources.{name}.embedded is true",
                f"either the embedded sample (unset {names}) or that database ({how}{rest})",
            )


def _mistakes_in(document: Document, key: tuple[str, ...], connection: dict[str, Any]) -> Iterator[Mistake]:
    """Mistakes in a connection that is not used now; reporting them avoids a surprise when it is used."""
    needed = {
        "host": "localhost",
        "database": "database",
        "user": "user",
        "password": "secret://env/PASSWORD",
    }
    try:
        ConnectionSettings.model_validate(needed | connection, context={"base": document.file.parent})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield explained(document, {**detail, "loc": (*key, *detail["loc"])}, SourceRoomSettings)


def _is_true(value: object) -> bool:
    return str(value).lower() in ("true", "yes", "on", "y", "t", "1")


def _take_out_unusable_names(content: dict[str, Any]) -> Iterator[Mistake]:
    """Remove the sources whose name is already taken or that have no block, and report them."""
    sources = content.get("sources")
    if not isinstance(sources, dict):
        return
    for name in SOURCE_NAMES:
        if name not in sources:
            yield Mistake(("sources", name), "nothing", "a block: it is the source that the model declares")
    refused = {name: reason for name in sources if (reason := unusable_name(name))}
    for name, reason in refused.items():
        expected = f"a unique name of lower case letters, digits and _ ({reason})"
        yield Mistake(("sources", name), f"a source called {shown(name)}", expected)
    content["sources"] = {name: source for name, source in sources.items() if name not in refused}


def _unfit_blocks(sources: SourcesSettings) -> Iterator[Mistake]:
    """Check that the blocks of a source are consistent with each other."""
    for name, source in sources.discovered.items():
        key = ("sources", name)
        if source.schedule is not None and source.freshness is None:
            block = SourceSettings.model_fields["freshness"].description
            expected = f"{block}, as the source has a schedule of its own"
            yield Mistake((*key, "freshness"), "nothing", expected)
        for table in source.overrides:
            if not matches(table, source.tables) or matches(table, source.exclude):
                yield Mistake(
                    (*key, "overrides", table),
                    "a block",
                    f"one of a table that sources.{name}.tables selects",
                )


def _late_deletions(settings: Settings) -> Iterator[Mistake]:
    """Check that deleted rows can be detected before their tables count as stale."""
    own = settings.of(SourceRoomSettings)
    sources = own.sources
    for name in sources.names:
        source, within = sources[name], own.fresh_within(name, settings.platform.freshness)
        blocks: dict[tuple[str, ...], int | None] = {(): source.deletions_every}
        blocks |= {
            ("overrides", table): override.deletions_every for table, override in source.overrides.items()
        }
        for place, minutes in blocks.items():
            if minutes is not None and 2 * minutes > within:
                has_own = name in sources.discovered and sources.discovered[name].freshness
                where = f"sources.{name}.freshness.within" if has_own else "freshness.within"
                yield Mistake(
                    ("sources", name, *place, "deletions_every"),
                    shown(minutes),
                    f"whole minutes, up to {within // 2}: half of {where}, which is {within}, so that "
                    "deleted rows are detected before the table counts as stale; leave it out to use that "
                    "half",
                )
