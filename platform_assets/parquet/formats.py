"""Table formats: folders whose Parquet files are a table only together with a log that says which count.

Delta Lake's logs are read. Of the others the files alone would give rows of old versions, rows that are
deleted, and the files of deletions as rows: they are recognised and refused.
"""

from __future__ import annotations

import json
import posixpath
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import ParquetError
from platform_assets.lake.delta import LakeTable, file_statistics
from platform_assets.parquet.footers import ParquetColumn, declared_columns
from platform_assets.parquet.stores import Store
from platform_assets.parquet.types import ParquetType

if TYPE_CHECKING:
    from deltalake import DeltaTable

DELTA = "delta"
STREAM = "stream"

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# What is below a folder of each format, and nowhere else.
_MARKS = re.compile(
    "|".join(
        (
            r"/(?P<delta>_delta_log)/",
            r"/(?P<hudi>\.hoodie(?:_partition_metadata)?)(?:/|$)",
            r"/metadata/(?P<iceberg>[^/]+\.metadata\.json(?:\.gz)?)$",
            r"/(?P<hive>(?:base|delta|delete_delta)_\d{7}[\d_v]*)/",
            r"/(?P<paimon>snapshot/snapshot-\d+)$",
            rf"/(?P<ducklake>ducklake-{_UUID}-delete\.parquet)$",
            r"/(?P<stream>_spark_metadata)/",
        )
    )
)
_WRITE_OUT = (
    "Write its rows out as plain Parquet first (from Spark: spark.table(...).write.parquet(...)), and load "
    "these"
)
_REFUSED = {
    "iceberg": "it is an Iceberg table: some of its files belong to older versions, and some list rows that "
    f"are deleted, as its metadata alone says. {_WRITE_OUT}; or have the warehouse read it as what it is "
    "(CREATE ICEBERG TABLE in Snowflake, a BigLake table in BigQuery).",
    "hudi": "it is a Hudi table: some of its files hold older versions of the same rows, as its timeline "
    f"alone says. {_WRITE_OUT}.",
    "hive": "it is a transactional table of Hive, whose base and delta folders replace and delete rows of "
    "one another. Write its rows out as plain Parquet first (INSERT OVERWRITE DIRECTORY ... STORED AS "
    "PARQUET), and load these.",
    "paimon": "it is a Paimon table: some of its files hold older versions of the same rows, as its "
    f"snapshots alone say. {_WRITE_OUT}.",
    "ducklake": "it is a table of DuckLake with files of deleted rows, which its catalogue alone knows to "
    "apply. Write its rows out as plain Parquet first (COPY ... TO 'FOLDER' (FORMAT parquet)), and load "
    "these.",
}
# What a place inside of a table is not to be taken for; names that are looked for in the folders above it.
_LOGS_ABOVE = {DELTA: "_delta_log", "hudi": ".hoodie"}
_LEVELS_ABOVE = 8
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
_PHYSICAL_NAME = "delta.columnMapping.physicalName"


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
class DeltaFiles:
    """What a Delta log says.

    Attributes:
        version: Which table at which version.
        paths: Its active files, below its folder, each with the values of the partition columns.
        columns: The columns that are in the files, in order.
        partitions: The types of the partition columns.
        schema: All columns, those of partitions too.
    """

    version: DeltaVersion
    paths: Mapping[str, Mapping[str, Any]]
    columns: tuple[ParquetColumn, ...]
    partitions: Mapping[str, ParquetType]
    schema: pa.Schema


def formats_below(paths: Iterable[str]) -> dict[str, str]:
    """The folders among these paths of files that are tables of a format, and which it is.

    A folder inside of another such folder is a part of it, and not given.
    """
    found: dict[str, str] = {}
    for path in paths:
        for mark in _MARKS.finditer(path):
            root, kind = path[: mark.start()], str(mark.lastgroup)
            # Delta tables may carry Iceberg's metadata beside their log, for others to read.
            if found.get(root) != DELTA:
                found[root] = kind
            break
    return {
        root: kind for root, kind in found.items() if not any(root.startswith(f"{other}/") for other in found)
    }


def refusal(kind: str) -> str:
    """Why a table of a format that is not read is left out, and what to do."""
    return _REFUSED[kind]


def format_above(store: Store, path: str, known: dict[str, str | None]) -> tuple[str, str] | None:
    """The table of a format that a place is inside of, and which format, as far as one may look upwards.

    Args:
        store: Where the place is.
        path: The place.
        known: What was found out of folders already; is added to.
    """
    folder = posixpath.dirname(path)
    for _ in range(_LEVELS_ABOVE):
        if not folder.strip("/"):
            return None
        if folder not in known:
            known[folder] = _format_of(store, folder)
        if (kind := known[folder]) is not None:
            return folder, kind
        folder = posixpath.dirname(folder)
    return None


def _format_of(store: Store, folder: str) -> str | None:
    for kind, log in _LOGS_ABOVE.items():
        if store.has_folder(f"{folder}/{log}"):
            return kind
    if any(
        name.endswith((".metadata.json", ".metadata.json.gz"))
        for name in store.names_in(f"{folder}/metadata")
    ):
        return "iceberg"
    return None


def committed_by_stream(store: Store, root: str) -> set[str]:
    """The names of the files that a Spark stream has committed; others are of attempts that broke off.

    Raises:
        ParquetError: Its log cannot be read.
    """
    folder = f"{root}/_spark_metadata"
    batches = [name for name in store.names_in(folder) if re.fullmatch(r"\d+(\.compact)?", name)]
    compacted = max((int(name.split(".")[0]) for name in batches if "." in name), default=-1)
    names: set[str] = set()
    try:
        for batch in batches:
            number = int(batch.split(".")[0])
            if number < compacted or (number == compacted and "." not in batch):
                continue
            with store.files.open_input_stream(f"{folder}/{batch}") as log:
                for line in log.read().splitlines()[1:]:
                    action = json.loads(line)
                    if action.get("action", "add") == "add":
                        names.add(posixpath.basename(urllib.parse.unquote(action["path"])))
    except (OSError, ValueError, KeyError) as error:
        raise ParquetError(
            f"the log of the stream that writes it, {store.uri(folder)}, cannot be read: "
            f"{' '.join(str(error).split())[:300].rstrip('.')}. Copy that folder too, or remove it where "
            "every file counts."
        ) from error
    return names


def read_delta(uri: str, storage_options: Callable[[], Mapping[str, str]]) -> DeltaFiles:
    """What the log of a Delta table says of its files.

    Raises:
        ParquetError: Its files alone do not tell what it holds, or it holds no table.
        LakeError: It cannot be read.
    """
    handle = LakeTable(uri, (), lambda: dict(storage_options())).open()
    if handle is None:
        raise ParquetError("its _delta_log holds no table; remove it or write the table again.")
    _refuse_what_files_do_not_tell(handle)
    metadata = handle.metadata()
    names = list(metadata.partition_columns)
    types = {one.name: _delta_type(str(getattr(one.type, "type", ""))) for one in handle.schema().fields}
    schema = pa.schema(handle.schema().to_arrow())
    in_files = pa.schema([field for field in schema if field.name not in names])
    return DeltaFiles(
        DeltaVersion(str(metadata.id), handle.version()),
        dict(sorted(_active_files(handle, uri, names), key=lambda file: file[0])),
        declared_columns(in_files) if len(in_files) else (),
        {name: types[name] for name in names},
        schema,
    )


def _refuse_what_files_do_not_tell(handle: DeltaTable) -> None:
    """Refuse what is in use and is not seen by who reads the files; what was only switched on does no harm.

    Raises:
        ParquetError: There is something.
    """
    # Readers of version 2 know column mapping without its being in a list of features.
    configuration = handle.metadata().configuration
    if configuration.get("delta.columnMapping.mode", "none") != "none":
        renamed = [
            name for name, stored in _physical_names(json.loads(handle.schema().to_json())) if name != stored
        ]
        if renamed:
            raise ParquetError(
                "it cannot be loaded file by file: its columns have other names in the files (column "
                f"mapping: {', '.join(renamed[:5])}); write it as a table without."
            )
    if _has_deletion_vectors(handle):
        raise ParquetError(
            "it cannot be loaded file by file: rows are deleted in deletion vectors, which are in no file of "
            "rows; run REORG TABLE ... APPLY (PURGE) or rewrite the table."
        )


def _physical_names(type_: Any) -> Iterator[tuple[str, str]]:
    """All fields of a schema in Delta's JSON, by the names of the table and of its files."""
    if not isinstance(type_, Mapping):
        return
    for one in type_.get("fields", ()):
        yield one["name"], one.get("metadata", {}).get(_PHYSICAL_NAME, one["name"])
        yield from _physical_names(one["type"])
    for inner in ("elementType", "keyType", "valueType"):
        yield from _physical_names(type_.get(inner))


def _has_deletion_vectors(handle: DeltaTable) -> bool:
    from deltalake.exceptions import DeltaError

    if "deletionVectors" not in (handle.protocol().reader_features or ()):
        return False
    # The property may be off again, and vectors from before still be there.
    try:
        return bool(pa.RecordBatchReader.from_stream(handle.deletion_vectors()).read_all().num_rows)
    except DeltaError:  # there are some, and they cannot even be read
        return True


def _active_files(
    handle: DeltaTable, root: str, partitions: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A Delta table's files below its root, as they are on disk, with the values of its partitions.

    Raises:
        ParquetError: One is somewhere else.
    """
    actions = file_statistics(handle)
    wanted = {f"partition.{name}": name for name in partitions}
    rows = actions.select(["path", *(name for name in actions.column_names if name in wanted)])
    for row in rows.to_pylist():
        path = row.pop("path").removeprefix(f"{root}/")
        if "://" in path or path.startswith("/"):
            raise ParquetError(
                f"its file {path} is in another table (a shallow clone); write the table as one of its own."
            )
        # The log has a path as a URL has it, whatever else is encoded in a partition's folder.
        yield urllib.parse.unquote(path), {wanted[name]: value for name, value in row.items()}


def _delta_type(name: str) -> ParquetType:
    if found := re.fullmatch(r"decimal\((\d+), ?(\d+)\)", name):
        return ParquetType("decimal", precision=int(found[1]), scale=int(found[2]))
    return _DELTA_TYPES.get(name, ParquetType("string"))
