"""The settings of data sources: the block `source` of a delivery, and the source that it makes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from platform_assets.configuration.globs import has_wildcards
from platform_assets.configuration.secrets import REFERENCES, Secret
from platform_assets.configuration.stores import StoreOptions, resolve_options
from platform_assets.configuration.values import Address, Block, LocalPath, Names, Text

if TYPE_CHECKING:
    from platform_assets.delivery.interfaces import DataSource
    from platform_assets.objects.bucket import Bucket
    from platform_assets.rooms import Rooms

SOURCE = "a block with one of asset, assets, warehouse, files, objects, url, text, function or task"
"""Description of the key `source`."""

_KINDS = ("asset", "assets", "warehouse", "files", "objects", "url", "text", "function", "task")
_QUERIED = ("asset", "assets")


def _key(value: str) -> str:
    if value.startswith("/") or value.endswith("/") or "//" in value:
        raise ValueError("a key has parts separated by /, such as star/dim_staff")
    return value


def _query(value: str) -> str:
    if not value.strip(" ;\n\t"):
        raise ValueError("it is empty")
    return value.strip().rstrip(";")


def _object(value: str) -> str:
    scheme, _, rest = value.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme not in ("s3", "gs") or not bucket or has_wildcards(bucket) or not key or key.endswith("/"):
        raise ValueError("it is s3:// or gs:// with a bucket and a key, which may be a pattern")
    return value


def _header(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", value):
        raise ValueError("it is no name of a header")
    return value


def _value(value: str) -> str:
    if value.startswith("secret://"):
        raise ValueError(f"the reference cannot be used; use {REFERENCES}")
    if not value.isprintable():
        raise ValueError("a header has no line breaks or control characters")
    return value


def _function(value: str) -> str:
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", value):
        raise ValueError("a function is written package.module:function")
    return value


def _task(value: str) -> str:
    if value.count("/") != 1 or not all(value.split("/")):
        raise ValueError("a task is written file/task")
    return value


def _short(key: str) -> BeforeValidator:
    """Let a block be written as the value of its most important key."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


_HeaderValue = Annotated[str, AfterValidator(_value)]
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


class ObjectSourceSettings(Block):
    """Objects in S3 or Google Cloud Storage."""

    address: Annotated[Text, AfterValidator(_object)] = Field(
        description='an address such as "s3://bucket/reports/**/*.csv" or "gs://bucket/key"'
    )
    """The object, or a pattern; objects are delivered in the order of their keys."""
    may_be_empty: bool = Field(default=False, description="true or false")
    """True if a pattern may match nothing."""
    storage_options: StoreOptions = Field(
        default_factory=dict, description="text, a number, true or false, as lake.storage_options"
    )
    """Options of the store, as in `lake.storage_options`."""


class UrlSourceSettings(Block):
    """A file at an address."""

    address: Address = Field(description="an address that starts with https://")
    """The address of the file."""
    name: Text | None = Field(default=None, description="the name of a file")
    """The name of the file; by default the last part of the address."""
    headers: dict[Annotated[str, AfterValidator(_header)], Secret | _HeaderValue] = Field(
        default_factory=dict, description=f"text, or a reference to a secret: {REFERENCES}"
    )
    """Further headers of the request, such as `Authorization`; after a redirect, another server does not get
    them."""
    megabytes: Annotated[float, Field(gt=0, le=1_000_000)] = Field(
        default=1024, description="a number of megabytes above 0"
    )
    """The largest size of the file."""
    connect_timeout: Annotated[float, Field(gt=0, le=600)] = Field(
        default=10, description="a number of seconds from 0 to 600"
    )
    """Seconds until a connection is given up."""
    idle_timeout: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=60, description="a number of seconds from 0 to 3600"
    )
    """Seconds without a byte until the transfer is given up."""
    allow_http: bool = Field(default=False, description="true or false")
    """True to allow plain HTTP, which anybody on the way can read and change."""
    allow_private: bool = Field(default=False, description="true or false")
    """True to allow addresses of private networks and of this machine."""
    ca_file: LocalPath | None = Field(default=None, description="the path of a file with certificates")
    """Certificates to trust in place of the system's."""


class FunctionSourceSettings(Block):
    """The result of a Python function."""

    path: Annotated[Text, AfterValidator(_function)] = Field(
        description="a function, such as my_package.reports:monthly"
    )
    """The function: its module can be imported where the platform runs."""
    arguments: dict[str, Any] = Field(default_factory=dict, description="a block of keyword arguments")
    """Its keyword arguments."""
    name: Text | None = Field(default=None, description="the name of a file")
    """The name of the file, if the function returns text or bytes."""


class TaskSourceSettings(Block):
    """The files that a task made."""

    name: Annotated[Text, AfterValidator(_task)] = Field(description="a task, such as scanner/upload")
    """The task: the name of its file, and its own."""


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
    objects: Annotated[ObjectSourceSettings, _short("address")] | None = Field(
        default=None, description="an address, or a block with address, may_be_empty and storage_options"
    )
    url: Annotated[UrlSourceSettings, _short("address")] | None = Field(
        default=None, description="an address, or a block with address and the options of the request"
    )
    text: Annotated[TextSourceSettings, _short("content")] | None = Field(
        default=None, description="text, or a block with content and name"
    )

    function: Annotated[FunctionSourceSettings, _short("path")] | None = Field(
        default=None, description="a function, or a block with path, arguments and name"
    )
    task: Annotated[TaskSourceSettings, _short("name")] | None = Field(
        default=None, description="a task, such as scanner/upload"
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
        if self.url is not None and self.url.address.startswith("http://") and not self.url.allow_http:
            raise ValueError("url is plain HTTP; use https://, or set allow_http = true")
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
    for path in asset_keys(source):
        if path not in known:
            key = "/".join(path)
            names = ["/".join(path) for path in known]
            close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
            yield f"there is no asset {key}" + (f"; perhaps {close[0]}" if close else "")


def gives_rows(source: DataSourceSettings) -> bool | None:
    """Return True if a source gives rows, False if it gives files, None if only reading it can tell."""
    if source.function is not None:
        return None
    return source.kind in ("asset", "assets", "warehouse")


def gives_several(source: DataSourceSettings) -> bool:
    """Return whether a source may give more than one file, so that their names have to differ."""
    if source.objects is not None:
        return has_wildcards(source.objects.address)
    return source.task is not None or (source.files is not None and has_wildcards(str(source.files.path)))


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
    if source.objects is not None:
        return _object_source(source.objects, rooms)
    if source.url is not None:
        return _url_source(source.url)
    if source.function is not None:
        from platform_assets.delivery.sources.function import FunctionSource

        return FunctionSource(source.function.path, source.function.arguments, name, source.function.name)
    if source.task is not None:
        return _task_source(source.task, rooms)
    return _asset_source(source, name, rooms)


def _object_source(given: ObjectSourceSettings, rooms: Rooms) -> DataSource:
    rooms.require("objects", f"The source {given.address}")
    from platform_assets.delivery.sources.objects import ObjectSource
    from platform_assets.objects.places import open_bucket

    def opened(place: str) -> Bucket:
        return open_bucket(place, resolve_options(given.storage_options))

    return ObjectSource(given.address, opened, given.may_be_empty)


def _url_source(given: UrlSourceSettings) -> DataSource:
    from platform_assets.delivery.sources.url import UrlSource

    return UrlSource(
        given.address,
        given.name,
        given.headers,
        int(given.megabytes * 1_000_000),
        given.connect_timeout,
        given.idle_timeout,
        given.allow_http,
        given.allow_private,
        given.ca_file,
    )


def _task_source(given: TaskSourceSettings, rooms: Rooms) -> DataSource:
    from platform_assets.delivery.interfaces import HasTaskOutputs
    from platform_assets.delivery.sources.task_output import TaskSource

    return TaskSource(given.name, list(rooms.offering(HasTaskOutputs)))


def _asset_source(source: DataSourceSettings, name: str, rooms: Rooms) -> DataSource:
    from platform_assets.delivery.sources.assets import AssetSource
    from platform_assets.lake.assembly import LakeRoom
    from platform_assets.lake.interfaces import CurrentTable, HasCurrentTables
    from platform_assets.lake.lake import current_other_table

    room = rooms.of(LakeRoom)

    def table(key: str) -> CurrentTable:
        path = tuple(key.split("/"))
        for room_ in rooms.offering(HasCurrentTables):
            if path in room_.current_paths():
                return room_.current_table(path)
        return current_other_table(room.lake, path)

    keys = tuple("/".join(path) for path in asset_keys(source))
    zones = [zone for zone in (room.lake.ingestion, room.lake.processed) if "://" not in zone]
    return AssetSource(name, keys, source.query, table, room.engine, zones)
