"""Which files are one table, and what that table is: the union of their columns, each as wide as needed.

One table is: a folder with a Delta log; a folder with hive partitions (`year=2024/`) below it; a folder of
parts, files whose names only number them; else every file by itself, named like the file, so that `a.parquet`
and `a.parquet.gzip` are one table. The caller can say otherwise.
"""

from __future__ import annotations

import posixpath
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.errors import LakeError, ParquetError
from platform_assets.lake.delta import LakeTable, file_statistics
from platform_assets.lake.parquet_paths import HIVE_NULL, is_part, kind_of_values, partition_of, stem_of
from platform_assets.snowflake.footers import (
    Footer,
    KnownSchemas,
    ParquetColumn,
    UnreadableFile,
    declared_columns,
    read_footer,
)
from platform_assets.snowflake.options import Grouping
from platform_assets.snowflake.stores import Store, open_store
from platform_assets.snowflake.types import ParquetType, widened

if TYPE_CHECKING:
    from deltalake import DeltaTable

_OF_KIND = {
    "integer": ParquetType("int", bits=64),
    "date": ParquetType("date"),
    "text": ParquetType("string"),
}
# Reading locally is mostly Python, and from an object store mostly waiting.
_THREADS_LOCALLY = 2
_THREADS_REMOTELY = 32
# Delta's own type names, where a partition's values are in the log and in no file.
_DELTA_TYPES = {
    "byte": ParquetType("int", bits=8),
    "short": ParquetType("int", bits=16),
    "integer": ParquetType("int", bits=32),
    "long": ParquetType("int", bits=64),
    "float": ParquetType("float32"),
    "double": ParquetType("float64"),
    "boolean": ParquetType("boolean"),
    "date": ParquetType("date"),
    "timestamp": ParquetType("timestamp", unit="us", utc=True),
    "timestamp_ntz": ParquetType("timestamp", unit="us"),
}
_UNSUPPORTED_DELTA = {
    "deletionVectors": "rows are deleted in deletion vectors, which Snowflake would not see; run REORG TABLE "
    "... APPLY (PURGE) or rewrite the table",
    "columnMapping": "its columns have other names in the files (column mapping); rewrite the table without",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was left out.

    Attributes:
        place: The file, folder or table.
        reason: Why, and what to do.
    """

    place: str
    reason: str

    def __str__(self) -> str:
        """Give both in one line."""
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file of a table.

    Attributes:
        path: Its path below the table's root, with `/`.
        rows: Number of its rows.
        size: Its bytes.
    """

    path: str
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class Partition:
    """How paths hold a column.

    Attributes:
        key: Its name as it is written in paths, before the `=`.
        values: Its values as they are written in paths, and what they mean.
    """

    key: str
    values: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table.

    Attributes:
        name: Its name, in the files' case.
        type: The narrowest type that holds what every file has there.
        nullable: Whether it may be null: a file allows it, or lacks the column.
        partition: How the files' paths hold it, where the files do not.
    """

    name: str
    type: ParquetType
    nullable: bool = True
    partition: Partition | None = None


@dataclass(frozen=True, slots=True)
class DeltaVersion:
    """Which Delta table it is, and at which version it was read.

    Attributes:
        id: What the log calls the table; another one in its place has another.
        version: The version.
    """

    id: str
    version: int


@dataclass(frozen=True)
class ParquetTable:
    """Files that are one table.

    Attributes:
        name: The table's name.
        root: The folder that all of its files are below: a local path or a URI.
        below: Where the root is below what all read paths have in common, empty where it is just that, None
            where it is above that.
        files: Its files.
        columns: Its columns.
        delta: What it is in a Delta log, where one says which files are its own.
    """

    name: str
    root: str
    below: str | None
    files: tuple[TableFile, ...]
    columns: tuple[TableColumn, ...]
    delta: DeltaVersion | None = None

    @property
    def rows(self) -> int:
        """Number of rows in all files, from their footers."""
        return sum(file.rows for file in self.files)

    @property
    def is_local(self) -> bool:
        """Whether its files are on local disk."""
        return "://" not in self.root


@dataclass(frozen=True)
class Reading:
    """What was found.

    Attributes:
        tables: The tables, by name.
        problems: Files and tables that were left out.
    """

    tables: tuple[ParquetTable, ...]
    problems: tuple[Problem, ...]


@dataclass
class _Group:
    """Files of one table, not read yet."""

    name: str
    root: str
    paths: dict[str, None] = field(default_factory=dict)  # as a set that keeps their order
    partitions: dict[str, ParquetType] | None = None
    delta: DeltaVersion | None = None
    declared: tuple[ParquetColumn, ...] = ()


def read_tables(
    places: Sequence[str],
    *,
    storage_options: Callable[[], Mapping[str, str]] = dict,
    grouping: Grouping = "auto",
    name: str | None = None,
    pattern: str = "*",
) -> Reading:
    """Read the footers of Parquet files and put them together to tables.

    Args:
        places: Files, folders and Delta tables, all local or all in one bucket.
        storage_options: Gives the options of an object store when they are needed, secrets resolved.
        grouping: `auto` as the module says; `file`: every file is a table; `folder`: every folder is one.
        name: Everything is one table, of this name.
        pattern: Only files whose name matches, such as `*.parquet`; files named in `places` always do.

    Returns:
        The tables that can be loaded, and what was left out and why.

    Raises:
        ParquetError: A place does not exist or cannot be looked at, or places are in different stores.
    """
    store, paths = _open_all(places, storage_options)
    groups, unusable = _groups(store, paths, storage_options, grouping, name, pattern)
    if not groups and not unusable:
        raise ParquetError(
            f"There is no file in {', '.join(places)}; names that begin with _ or . are no data."
        )
    footers, problems = _read_footers(store, [path for group in groups for path in group.paths])
    base = _common_folder(
        [path if store.kind(path) == "folder" else posixpath.dirname(path) for path in paths]
    )
    tables = []
    for group in groups:
        files = {path: footers[path] for path in group.paths if path in footers}
        if not files and (group.paths or group.delta is None):
            continue
        try:
            tables.append(_table(store, group, files, base))
        except ParquetError as error:
            problems.append(Problem(group.name, str(error)))
    return Reading(
        tuple(sorted(tables, key=lambda table: table.name)),
        (*unusable, *sorted(problems, key=lambda problem: problem.place)),
    )


def _open_all(
    places: Sequence[str], storage_options: Callable[[], Mapping[str, str]]
) -> tuple[Store, list[str]]:
    if not places:
        raise ParquetError("There is nothing to read: name a file, a folder or a Delta table.")
    buckets = {"/".join(place.split("/")[:3]) if "://" in place else "" for place in places}
    if len(buckets) > 1:
        raise ParquetError(
            f"{', '.join(places)} are in different stores; a script loads from one. Read them one by one."
        )
    options = storage_options() if "://" in places[0] else {}
    opened = [open_store(place, options) for place in places[:1]]
    store = opened[0][0]
    paths = [open_path(store, place) for place in places]
    missing = [place for place, path in zip(places, paths, strict=True) if store.kind(path) == "nothing"]
    if missing:
        raise ParquetError(f"There is nothing at {', '.join(missing)}.")
    return store, list(dict.fromkeys(paths))


def open_path(store: Store, place: str) -> str:
    """The path that a place has in its store, `.` and `..` resolved on local disk."""
    if store.scheme:
        return place.partition("://")[2].rstrip("/")
    return posixpath.normpath(open_store(place, {})[1])


def _groups(
    store: Store,
    paths: Sequence[str],
    storage_options: Callable[[], Mapping[str, str]],
    grouping: Grouping,
    name: str | None,
    pattern: str,
) -> tuple[list[_Group], list[Problem]]:
    groups: dict[str, _Group] = {}
    problems: list[Problem] = []

    def add(table: str, root: str, files: Iterable[str]) -> None:
        group = groups.setdefault(table, _Group(table, root))
        if group.delta is not None:
            problems.append(
                Problem(
                    store.uri(root),
                    f"there is a Delta table of the name {table} in {store.uri(group.root)} too; read "
                    "the two one by one.",
                )
            )
            return
        group.root = _common_folder([group.root, root])
        group.paths |= dict.fromkeys(files)

    for path in paths:
        if store.kind(path) == "file":
            table, root = _table_of(path, posixpath.dirname(path), grouping)
            add(name or table, root, [path])
            continue
        logs = store.delta_tables_below(path)
        for log in logs:
            try:
                group = _delta_group(store, log, storage_options)
            except (LakeError, ParquetError) as error:
                problems.append(Problem(store.uri(log), str(error)))
                continue
            group.name = name or group.name
            if group.name in groups:
                add(group.name, log, group.paths)
            else:
                groups[group.name] = group
        for file in store.files_below(path):
            if not any(file.startswith(f"{log}/") for log in logs) and fnmatch(
                posixpath.basename(file), pattern
            ):
                table, root = _table_of(file, path, grouping)
                add(name or table, root, [file])
    return list(groups.values()), problems


def _table_of(file: str, top: str, grouping: Grouping) -> tuple[str, str]:
    """The name of the table that a file belongs to, and the folder that the table's files are in."""
    folder = posixpath.dirname(file)
    parts = folder.split("/")
    partition = next((index for index, part in enumerate(parts) if partition_of(part)), None)
    if partition is not None:
        root = "/".join(parts[:partition])
        return posixpath.basename(root), root
    stem = stem_of(posixpath.basename(file))
    is_of_folder = grouping == "folder" or (grouping == "auto" and is_part(stem))
    named = posixpath.basename(folder) or posixpath.basename(top)
    return (named, folder) if is_of_folder and named else (stem, folder)


def _delta_group(store: Store, folder: str, storage_options: Callable[[], Mapping[str, str]]) -> _Group:
    """The active files of a Delta table and the types of its partition columns."""
    uri = store.uri(folder)
    handle = LakeTable(uri, (), lambda: dict(storage_options())).open()
    if handle is None:
        raise ParquetError("its _delta_log holds no table; remove it or write the table again.")
    protocol = handle.protocol()
    for feature in protocol.reader_features or []:
        # A feature that is switched on and was never used does no harm.
        if feature in _UNSUPPORTED_DELTA and _uses(handle, feature):
            raise ParquetError(f"it cannot be loaded file by file: {_UNSUPPORTED_DELTA[feature]}.")
    columns = handle.metadata().partition_columns
    fields = {one.name: one.type for one in handle.schema().fields}
    group = _Group(posixpath.basename(folder), folder)
    group.partitions = {column: _delta_type(str(getattr(fields[column], "type", ""))) for column in columns}
    group.paths = dict.fromkeys(sorted(f"{folder}/{path}" for path in _active_files(handle)))
    group.delta = DeltaVersion(str(handle.metadata().id), handle.version())
    if not group.paths:
        group.declared = declared_columns(pa.schema(handle.schema().to_arrow()))
    return group


def _uses(handle: DeltaTable, feature: str) -> bool:
    from deltalake.exceptions import DeltaError

    if feature == "columnMapping":
        return handle.metadata().configuration.get("delta.columnMapping.mode", "none") != "none"
    # The property may be off again, and vectors from before still be there.
    try:
        vectors = pa.RecordBatchReader.from_stream(handle.deletion_vectors()).read_all()
        return bool(vectors.num_rows)
    except DeltaError:  # there are some, and they cannot even be read
        return True


def _active_files(handle: DeltaTable) -> Iterator[str]:
    """The paths of a Delta table's files below its root, as they are on disk.

    Raises:
        ParquetError: One is somewhere else.
    """
    for path in file_statistics(handle).column("path").to_pylist():
        if "://" in path:
            raise ParquetError(
                f"its file {path} is in another table (a shallow clone); write the table as one of its own."
            )
        # The log has a path as a URL has it, whatever else is encoded in a partition's folder.
        yield urllib.parse.unquote(path)


def _delta_type(name: str) -> ParquetType:
    if found := re.fullmatch(r"decimal\((\d+), ?(\d+)\)", name):
        return ParquetType("decimal", precision=int(found[1]), scale=int(found[2]))
    return _DELTA_TYPES.get(name, ParquetType("string"))


def _read_footers(store: Store, paths: Sequence[str]) -> tuple[dict[str, Footer], list[Problem]]:
    schemas = KnownSchemas()

    def read(path: str) -> Footer | Problem:
        try:
            return read_footer(store, path, schemas)
        except UnreadableFile as error:
            return Problem(store.uri(path), f"{error}.")

    threads = _THREADS_REMOTELY if store.scheme else _THREADS_LOCALLY
    with ThreadPoolExecutor(threads) as pool:
        read_all = list(pool.map(read, paths))
    footers = {path: one for path, one in zip(paths, read_all, strict=True) if isinstance(one, Footer)}
    return footers, [one for one in read_all if isinstance(one, Problem)]


def _table(store: Store, group: _Group, footers: Mapping[str, Footer], base: str) -> ParquetTable:
    columns = unified({store.uri(path): footer for path, footer in footers.items()})
    if not footers:
        columns = tuple(TableColumn(one.name, one.type, one.nullable) for one in group.declared)
    in_files = {column.name for column in columns}
    relative = {path: path[len(group.root) :].lstrip("/") for path in footers}
    partitions = [
        column
        for column in _partition_columns(list(relative.values()), group.partitions)
        if column.name not in in_files
    ]
    return ParquetTable(
        name=group.name,
        root=store.uri(group.root),
        below=group.root[len(base) :].strip("/") if f"{group.root}/".startswith(f"{base}/") else None,
        files=tuple(TableFile(relative[path], footer.rows, footer.size) for path, footer in footers.items()),
        columns=(*columns, *partitions),
        delta=group.delta,
    )


def unified(footers: Mapping[str, Footer]) -> tuple[TableColumn, ...]:
    """The columns of files that are one table: all that any has, in the order of first sight.

    Raises:
        ParquetError: A column has types in two files that no type holds exactly, or names that differ in case
            only; the message names both files.
    """
    if len(footers) == 1:
        ((file, footer),) = footers.items()
        _refuse_equal_names(file, footer)
        return tuple(TableColumn(one.name, one.type, one.nullable) for one in footer.columns)
    columns: dict[str, TableColumn] = {}
    seen_in: dict[str, str] = {}
    spelled: dict[str, str] = {}
    counts: dict[str, int] = {}
    last: Footer | None = None
    for file, footer in footers.items():
        if last is not None and footer.columns == last.columns:
            # Nearly always: what the file before said.
            for column in footer.columns:
                counts[column.name] += 1
            continue
        last = footer
        names = _refuse_equal_names(file, footer)
        for column in footer.columns:
            other = spelled.setdefault(column.name.casefold(), column.name)
            if other != column.name and other not in names:
                raise ParquetError(
                    f"a column is {other} in {seen_in[other]} and {column.name} in {file}, and COPY looks "
                    "for one of them only. Write them alike, or load the files into two tables."
                )
            counts[column.name] = counts.get(column.name, 0) + 1
            known = columns.get(column.name)
            if known is None:
                columns[column.name] = TableColumn(column.name, column.type, column.nullable)
                seen_in[column.name] = file
                continue
            type_ = widened(known.type, column.type)
            if type_ is None:
                raise ParquetError(
                    f"column {column.name} is {known.type.name} in {seen_in[column.name]} and "
                    f"{column.type.name} in {file}, and no type holds both exactly. Write them alike, or "
                    "load the files into two tables."
                )
            columns[column.name] = TableColumn(column.name, type_, known.nullable or column.nullable)
            if type_ != known.type:
                seen_in[column.name] = file
    return tuple(
        column
        if counts[column.name] == len(footers)
        else TableColumn(column.name, column.type, nullable=True)
        for column in columns.values()
    )


def _refuse_equal_names(file: str, footer: Footer) -> set[str]:
    """The names of a file's columns.

    Raises:
        ParquetError: Two have the same.
    """
    names = {column.name for column in footer.columns}
    if len(names) < len(footer.columns):
        raise ParquetError(f"{file} has two columns of one name; write them with two.")
    return names


def _partition_columns(paths: Sequence[str], declared: Mapping[str, ParquetType] | None) -> list[TableColumn]:
    """The columns that the files' folders hold.

    Raises:
        ParquetError: Files are partitioned by different columns.
    """
    found: dict[str, Partition] = {}
    values: dict[str, dict[str, str | None]] = {}
    names: list[str] | None = None
    first = ""
    for path in paths:
        parts = [found_in for part in path.split("/")[:-1] if (found_in := partition_of(part))]
        own = [urllib.parse.unquote(key) for key, _ in parts]
        if names is None:
            names, first = own, path
        if own != names:
            raise ParquetError(
                f"{first} is partitioned by {', '.join(names) or 'nothing'}, and {path} by "
                f"{', '.join(own) or 'nothing'}. Load them into two tables."
            )
        for name, (key, written) in zip(own, parts, strict=True):
            found[name] = Partition(key, values.setdefault(name, {}))
            is_null = written in ("", HIVE_NULL)
            values[name][written] = None if is_null else urllib.parse.unquote(written)
    if declared is not None and (missing := set(declared) - set(found)) and paths:
        raise ParquetError(
            f"the partition columns {', '.join(sorted(missing))} are in the Delta log and not in the files' "
            "paths, which is where COPY could read them. Rewrite the table with paths such as year=2024/."
        )
    return [
        TableColumn(
            name,
            (declared or {}).get(name) or _type_of_values(partition.values.values()),
            None in partition.values.values(),
            partition,
        )
        for name, partition in found.items()
    ]


def _type_of_values(values: Iterable[str | None]) -> ParquetType:
    """The type of a partition's values in paths."""
    return _OF_KIND[kind_of_values(values)]


def _common_folder(folders: Sequence[str]) -> str:
    split = [folder.split("/") for folder in folders]
    common = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "/".join(common)
