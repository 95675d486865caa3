"""The settings of data sources: the block `source` of a delivery, and the source that it makes."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from platform_assets.configuration.globs import has_wildcards
from platform_assets.configuration.values import Block, LocalPath, Names, Text

if TYPE_CHECKING:
    from platform_assets.delivery.interfaces import DataSource
    from platform_assets.rooms import Rooms

SOURCE = "a block with one of asset, assets, warehouse, files or text"
"""Description of the key `source`."""

_KINDS = ("asset", "assets", "warehouse", "files", "text")
_QUERIED = ("asset", "assets")


def _key(value: str) -> str:
    if value.startswith("/") or value.endswith("/") or "//" in value:
        raise ValueError("a key has parts separated by /, such as star/dim_staff")
    return value


def _query(value: str) -> str:
    if not value.strip(" ;\n\t"):
        raise ValueError("it is empty")
    return value.strip().rstrip(";")


def _short(key: str) -> BeforeValidator:
    """Let a block be written as the value of its most important key."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


AssetKey = Annotated[Text, AfterValidator(_key)]
Query = Annotated[str, AfterValidator(_query)]
_QUERY = "one SELECT"


class WarehouseQuerySettings(Block):
    """Rows of a warehouse."""

    query: Query = Field(description=_QUERY)
    """The query, in the warehouse's own SQL."""
    name: Text = Field(default="warehouse", description="the name of a warehouse")
    """The warehouse: `warehouse` is the main one."""
    reads: Names = Field(default=(), description="a list of star tables, such as [dim_staff]")
    """The star tables that the query reads. The delivery then follows them in the lineage graph, and knows
    without running the query that nothing has changed."""


class FileSourceSettings(Block):
    """Files on disk."""

    path: LocalPath = Field(description='a path, or a pattern of paths such as "reports/**/*.csv"')
    """The files; they are delivered in the order of their paths."""
    may_be_empty: bool = Field(default=False, description="true or false")
    """True if a pattern may match nothing."""
    links_out: bool = Field(default=False, description="true or false")
    """True to deliver what links outside the pattern's folder lead to."""


class TextSourceSettings(Block):
    """Literal text."""

    content: str = Field(description="text")
    """The text."""
    name: Text = Field(default="message.txt", description="the name of a file, such as message.txt")
    """The name of the file."""


class DataSourceSettings(Block):
    """The data of a delivery: exactly one of these kinds."""

    asset: AssetKey | None = Field(default=None, description="the key of an asset, such as star/dim_staff")
    """The asset that is delivered."""
    assets: Annotated[tuple[AssetKey, ...], Field(min_length=1)] | None = Field(
        default=None, description="a list of keys of assets"
    )
    """The assets that `query` reads."""
    query: Query | None = Field(default=None, description=_QUERY)
    """A query over the assets, in DuckDB's SQL, where `star/dim_staff` is the table `star.dim_staff`, or
    `dim_staff` if no other asset has that name."""
    warehouse: Annotated[WarehouseQuerySettings, _short("query")] | None = Field(
        default=None, description="a query, or a block with query, name and reads"
    )
    files: Annotated[FileSourceSettings, _short("path")] | None = Field(
        default=None, description="a path, or a block with path, may_be_empty and links_out"
    )
    text: Annotated[TextSourceSettings, _short("content")] | None = Field(
        default=None, description="text, or a block with content and name"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> DataSourceSettings:
        given = [name for name in _KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them"
            raise ValueError(f"it has {found}; a source is one of {', '.join(_KINDS)}")
        if self.query is not None and given[0] not in _QUERIED:
            raise ValueError("query belongs to asset or assets")
        if self.assets is not None and self.query is None:
            raise ValueError(
                "several assets are delivered through a query: add query, or write a delivery for each"
            )
        return self

    @property
    def kind(self) -> str:
        """The kind of the source."""
        return next(name for name in _KINDS if getattr(self, name) is not None)


def asset_keys(source: DataSourceSettings) -> tuple[tuple[str, ...], ...]:
    """Return the paths of the keys of the assets that a source reads."""
    keys = (source.asset,) if source.asset is not None else source.assets or ()
    found = [tuple(key.split("/")) for key in keys]
    if source.warehouse is not None:
        found += [(source.warehouse.name, *name.split("/")) for name in source.warehouse.reads]
    return tuple(dict.fromkeys(found))


def unknown_assets(source: DataSourceSettings, known: Collection[tuple[str, ...]]) -> Iterable[str]:
    """Yield a sentence for each asset that a source reads and that does not exist, with the nearest name.

    Args:
        source: The source.
        known: Paths of the keys of all assets.
    """
    names = ["/".join(path) for path in known]
    for path in asset_keys(source):
        if path not in known:
            key = "/".join(path)
            close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
            yield f"there is no asset {key}" + (f"; perhaps {close[0]}" if close else "")


def gives_rows(source: DataSourceSettings) -> bool | None:
    """Return True if a source gives rows, False if it gives files, None if only reading it can tell."""
    return source.kind in ("asset", "assets", "warehouse")


def gives_several(source: DataSourceSettings) -> bool:
    """Return whether a source may give more than one file, so that their names have to differ."""
    return source.files is not None and has_wildcards(str(source.files.path))


def build_source(source: DataSourceSettings, name: str, rooms: Rooms) -> DataSource:
    """Return the source of a delivery; nothing is opened.

    Args:
        source: Its settings.
        name: Name of the delivery, which rows get as the name of their file.
        rooms: The rooms that it reads from.

    Raises:
        SettingsError: It reads from a warehouse that does not exist.
    """
    if source.warehouse is not None:
        from platform_assets.delivery.sources.warehouse_query import WarehouseSource
        from platform_assets.warehouse.assembly import WarehouseRoom

        given = source.warehouse
        warehouse = rooms.of(WarehouseRoom).warehouse(given.name)
        return WarehouseSource(name, warehouse, given.query, given.reads)
    if source.files is not None:
        from platform_assets.delivery.sources.files import FileSource

        return FileSource(str(source.files.path), source.files.may_be_empty, source.files.links_out)
    if source.text is not None:
        from platform_assets.delivery.sources.text import TextSource

        return TextSource(source.text.name, source.text.content)
    return _asset_source(source, name, rooms)


def _asset_source(source: DataSourceSettings, name: str, rooms: Rooms) -> DataSource:
    from platform_assets.delivery.sources.assets import AssetSource
    from platform_assets.lake.assembly import LakeRoom
    from platform_assets.lake.interfaces import CurrentTable, HasCurrentTables
    from platform_assets.lake.lake import current_other_table

    room = rooms.of(LakeRoom)

    def table(key: str) -> CurrentTable:
        path = tuple(key.split("/"))
        for one in rooms.offering(HasCurrentTables):
            if path in one.current_paths():
                return one.current_table(path)
        return current_other_table(room.lake, path)

    keys = tuple("/".join(path) for path in asset_keys(source))
    zones = [one for one in (room.lake.ingestion, room.lake.processed) if "://" not in one]
    return AssetSource(name, keys, source.query, table, room.engine, zones)
