"""Which Parquet files are one table, on local disk or on Google Cloud Storage.

One table is: a folder with a Delta log, of which only the active files count; a folder with hive partitions
(`year=2024/`) below it; a folder of parts, files whose names only number them; else every file by itself.
"""

from __future__ import annotations

import datetime as dt
import itertools
import posixpath
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from platform_assets.errors import LakeError, ParquetError
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.parquet_paths import HIVE_NULL, is_part, kind_of_values, partition_of, stem_of

# What a reader of the files alone would not see.
_UNSEEN = {
    "deletionVectors": "rows of it are deleted by deletion vectors; rewrite them with REORG TABLE ... APPLY "
    "(PURGE)",
    "columnMapping": "its columns have other names in the files (column mapping); rewrite the table without",
}

_ARROW = {"integer": pa.int64(), "date": pa.date32(), "text": pa.string()}

OpenBucket = Callable[[], pyarrow.fs.FileSystem]


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
        path: A local path, or a URI.
        rows: Number of its rows.
        partitions: Columns whose one value is in its path or in the Delta log instead of in the file.
    """

    path: str
    rows: int
    partitions: Mapping[str, pa.Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """Files that are one table.

    Attributes:
        name: What the table is called where it lies.
        root: The folder that all of its files are in.
        files: Its files.
    """

    name: str
    root: str
    files: tuple[TableFile, ...]

    @property
    def is_remote(self) -> bool:
        """Whether its files are on Google Cloud Storage, where BigQuery reads them itself."""
        return self.root.startswith("gs://")


@dataclass
class _Group:
    root: str
    paths: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    schema: pa.Schema | None = None


def find_tables(
    places: Sequence[str], open_bucket: OpenBucket, *, name: str | None = None
) -> tuple[list[ParquetTable], list[Problem]]:
    """Find tables, and look at the footer of each of their files.

    Args:
        places: Files, folders and Delta tables: local paths or `gs://bucket/name`.
        open_bucket: Gives the file system of the buckets, when it is needed.
        name: Everything is one table, of this name.

    Returns:
        The tables by name, with the files that can be read; what was left out and why.

    Raises:
        ParquetError: There is nothing at a place, or it cannot be looked at.
    """
    groups: dict[str, _Group] = {}
    problems: list[Problem] = []
    remote: list[pyarrow.fs.FileSystem] = []

    def files_of(place: str) -> pyarrow.fs.FileSystem:
        if not place.startswith("gs://"):
            return pyarrow.fs.LocalFileSystem()
        if not remote:
            remote.append(open_bucket())
        return remote[0]

    for place in dict.fromkeys(places):
        for table, group in _groups(place, files_of(place), problems):
            known = groups.setdefault(name or table, _Group(group.root))
            if known.root.startswith("gs://") != group.root.startswith("gs://"):
                problems.append(
                    Problem(place, f"the table {name or table} is in another store too; load the two apart")
                )
                continue
            known.paths |= group.paths
            known.root = _common(known.root, group.root)
            known.schema = known.schema or group.schema
    tables = []
    for table, group in sorted(groups.items()):
        partitions = _typed(group)
        read = [_read(path, files_of(path), partitions[path], problems) for path in sorted(group.paths)]
        files = tuple(file for file in read if file is not None)
        if files:
            tables.append(ParquetTable(table, group.root, files))
    return tables, problems


def _groups(
    place: str, files: pyarrow.fs.FileSystem, problems: list[Problem]
) -> Iterator[tuple[str, _Group]]:
    """The tables at a place, in pieces."""
    scheme, path = _split(place)
    kind = _kind(files, place, path)
    if kind == pyarrow.fs.FileType.File:
        root = posixpath.dirname(path)
        yield _stem(path), _Group(scheme + root, {scheme + path: {}})
        return
    found = _below(files, place, path)
    logs = sorted({one.rpartition("/_delta_log/")[0] for one in found if "/_delta_log/" in one})
    for log in logs:
        try:
            yield posixpath.basename(log), _delta(scheme + log)
        except (LakeError, ParquetError) as error:
            problems.append(Problem(scheme + log, str(error)))
    for one in found:
        parts = one[len(path) :].strip("/").split("/")
        is_of_delta = any(one.startswith(f"{log}/") for log in logs)
        # Writers mark with these what is not data: logs, markers, checksums, files in the making.
        if is_of_delta or any(part.startswith(("_", ".")) for part in parts):
            continue
        folders = posixpath.dirname(one).split("/")
        hive = [number for number, folder in enumerate(folders) if partition_of(folder)]
        root = "/".join(folders[: hive[0]] if hive else folders)
        values = dict(_partition(folders[number]) for number in hive)
        table = posixpath.basename(root) if hive or is_part(_stem(one)) else _stem(one)
        yield table, _Group(scheme + root, {scheme + one: values})


def _delta(uri: str) -> _Group:
    """The active files of a Delta table.

    Raises:
        ParquetError: Its files alone do not tell what it holds.
        LakeError: It cannot be read.
    """
    handle = LakeTable(uri, ()).open()
    if handle is None:
        raise ParquetError("its Delta log holds no table; remove the folder _delta_log, or name the files.")
    for feature in handle.protocol().reader_features or ():
        if feature in _UNSEEN:
            raise ParquetError(f"it cannot be loaded: {_UNSEEN[feature]}.")
    actions = pa.table(handle.get_add_actions(flatten=True))
    names = [one for one in actions.column_names if one.startswith("partition.")]
    group = _Group(uri, schema=pa.schema(handle.schema().to_arrow()))
    for row in actions.select(["path", *names]).to_pylist():
        path = urllib.parse.unquote(row["path"])
        group.paths[path if path.startswith(("/", "gs://")) else f"{uri}/{path}"] = {
            one.removeprefix("partition."): row[one] for one in names
        }
    return group


def _typed(group: _Group) -> dict[str, dict[str, pa.Scalar]]:
    """The values in paths as the type that all values of the column have: integers, dates, else text."""
    columns = list(dict.fromkeys(column for values in group.paths.values() for column in values))
    types = {}
    for column in columns:
        values = [one[column] for one in group.paths.values() if one.get(column) is not None]
        if group.schema is not None:
            types[column] = group.schema.field(column).type
        else:
            types[column] = _ARROW[kind_of_values(values)]
    return {
        path: {column: _scalar(values.get(column), types[column]) for column in columns}
        for path, values in group.paths.items()
    }


def _scalar(value: Any, type_: pa.DataType) -> pa.Scalar:
    if isinstance(value, str) and pa.types.is_integer(type_):
        value = int(value)
    elif isinstance(value, str) and pa.types.is_date(type_):
        value = dt.date.fromisoformat(value)
    return pa.scalar(value, type_)


def _read(
    place: str, files: pyarrow.fs.FileSystem, partitions: dict[str, pa.Scalar], problems: list[Problem]
) -> TableFile | None:
    """A file with what its footer says; None where it cannot be loaded, which is then a problem."""
    try:
        with files.open_input_file(_split(place)[1]) as file:
            if not file.size():
                problems.append(Problem(place, "it is empty, 0 bytes; remove it or write it again"))
                return None
            metadata = pq.read_metadata(file)
            metadata.schema.to_arrow_schema()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        problems.append(Problem(place, f"it is not read as Parquet: {' '.join(str(error).split())[:300]}"))
        return None
    if not metadata.num_columns:
        problems.append(Problem(place, "it has no columns, so that there is nothing to load"))
        return None
    return TableFile(place, metadata.num_rows, partitions)


def _kind(files: pyarrow.fs.FileSystem, place: str, path: str) -> pyarrow.fs.FileType:
    try:
        kind = files.get_file_info(path).type
    except OSError as error:
        raise ParquetError(f"{place} cannot be looked at: {' '.join(str(error).split())[:300]}.") from error
    if kind == pyarrow.fs.FileType.NotFound:
        raise ParquetError(f"There is nothing at {place}.")
    return kind


def _below(files: pyarrow.fs.FileSystem, place: str, path: str) -> list[str]:
    try:
        found = files.get_file_info(pyarrow.fs.FileSelector(path, recursive=True))
    except OSError as error:
        raise ParquetError(f"{place} cannot be listed: {' '.join(str(error).split())[:300]}.") from error
    return sorted(info.path for info in found if info.type == pyarrow.fs.FileType.File)


def _split(place: str) -> tuple[str, str]:
    """The scheme with its separator, empty on local disk, and the path in the store."""
    scheme, separator, path = place.partition("://")
    if not separator:
        return "", posixpath.normpath(Path(place).expanduser().absolute().as_posix())
    if scheme != "gs" or not path.strip("/"):
        raise ParquetError(
            f"{place} cannot be read: BigQuery loads Parquet from local paths and gs://bucket/name."
        )
    return "gs://", path.rstrip("/")


def _stem(path: str) -> str:
    return stem_of(posixpath.basename(path))


def _partition(folder: str) -> tuple[str, str | None]:
    column, value = partition_of(folder) or (folder, HIVE_NULL)
    return column, None if value == HIVE_NULL else urllib.parse.unquote(value)


def _common(first: str, second: str) -> str:
    pairs = zip(first.split("/"), second.split("/"), strict=False)
    return "/".join(one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
