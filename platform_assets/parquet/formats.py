"""Table formats: folders whose Parquet files form a table only together with a log.

Delta Lake logs are read. For the other formats, the files alone would give rows of old versions, deleted
rows, and delete files as rows: these formats are recognised and rejected.
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
# Entries found below a folder of each format, and nowhere else.
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
    f"are deleted, which only its metadata shows. {_WRITE_OUT}; or have the warehouse read it as what it is "
    "(CREATE ICEBERG TABLE in Snowflake, a BigLake table in BigQuery).",
    "hudi": "it is a Hudi table: some of its files hold older versions of the same rows, which only its "
    f"timeline shows. {_WRITE_OUT}.",
    "hive": "it is a transactional table of Hive, whose base and delta folders replace and delete rows of "
    "one another. Write its rows out as plain Parquet first (INSERT OVERWRITE DIRECTORY ... STORED AS "
    "PARQUET), and load these.",
    "paimon": "it is a Paimon table: some of its files hold older versions of the same rows, which only its "
    f"snapshots show. {_WRITE_OUT}.",
    "ducklake": "it is a table of DuckLake with files of deleted rows, which its catalogue alone knows to "
    "apply. Write its rows out as plain Parquet first (COPY ... TO 'FOLDER' (FORMAT parquet)), and load "
    "these.",
}
# Folders inside a table that must not be mistaken for tables; searched for among the parent folders.
_LOGS_ABOVE = {DELTA: "_delta_log", "hudi": ".hoodie"}
_LEVELS_ABOVE = 8
# Delta's type names, for partition values that are in the log and not in the files.
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
    """A Delta table and the version that was read.

    Attributes:
        id: The table id from the log; a table recreated at the same path has another id.
        version: The version.
    """

    id: str
    version: int


@dataclass(frozen=True)
class DeltaFiles:
    """The content of a Delta log.

    Attributes:
        version: The table id and version.
        paths: Its active files, below its folder, each with the values of the partition columns.
        columns: The columns that are in the files, in order.
        partitions: The types of the partition columns.
        schema: All columns, including the partition columns.
    """

    version: DeltaVersion
    paths: Mapping[str, Mapping[str, Any]]
    columns: tuple[ParquetColumn, ...]
    partitions: Mapping[str, ParquetType]
    schema: pa.Schema


def formats_below(paths: Iterable[str]) -> dict[str, str]:
    """The folders among these paths that are tables of a table format, with the format.

    A folder inside another such folder is part of that table and is not listed.
    """
    found: dict[str, str] = {}
    for path in paths:
        for mark in _MARKS.finditer(path):
            root, kind = path[: mark.start()], str(mark.lastgroup)
            # Delta tables may have Iceberg metadata beside their log for other readers.
            if found.get(root) != DELTA:
                found[root] = kind
            break
    return {
        root: kind for root, kind in found.items() if not any(root.startswith(f"{other}/") for other in found)
    }


def refusal(kind: str) -> str:
    """The reason why a table of an unsupported format is skipped, and what to do."""
    return _REFUSED[kind]


def format_above(store: Store, path: str, known: dict[str, str | None]) -> tuple[str, str] | None:
    """The table that contains a place, and its format, as far as parent folders can be listed.

    Args:
        store: The store of the place.
        path: The place.
        known: Results for folders seen before; new results are added.
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
    """The names of the files committed by a Spark stream; other files are from failed attempts.

    Raises:
        ParquetError: The stream's log cannot be read.
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
    """Read the list of files from the log of a Delta table.

    Raises:
        ParquetError: The table cannot be read from its files alone, or the log holds no table.
        LakeError: The log cannot be read.
    """
    handle = LakeTable(uri, (), lambda: dict(storage_options())).open()
    if handle is None:
        raise ParquetError("its _delta_log holds no table; remove it or write the table again.")
    _refuse_hidden_features(handle)
    metadata = handle.metadata()
    names = list(metadata.partition_columns)
    types = {
        field.name: _delta_type(str(getattr(field.type, "type", ""))) for field in handle.schema().fields
    }
    schema = pa.schema(handle.schema().to_arrow())
    in_files = pa.schema([field for field in schema if field.name not in names])
    return DeltaFiles(
        DeltaVersion(str(metadata.id), handle.version()),
        dict(sorted(_active_files(handle, uri, names), key=lambda file: file[0])),
        declared_columns(in_files) if len(in_files) else (),
        {name: types[name] for name in names},
        schema,
    )


def _refuse_hidden_features(handle: DeltaTable) -> None:
    """Reject features that readers of the plain files would miss, if in use; unused features are accepted.

    Raises:
        ParquetError: Such a feature is in use.
    """
    # Reader version 2 implies column mapping without listing it as a feature.
    configuration = handle.metadata().configuration
    if configuration.get("delta.columnMapping.mode", "none") != "none":
        renamed = [
            name for name, stored in _physical_names(json.loads(handle.schema().to_json())) if name != stored
        ]
        if renamed:
            raise ParquetError(
                "it cannot be loaded file by file: its columns have other names in the files (column "
                f"mapping: {', '.join(renamed[:5])}); write it as a table without column mapping."
            )
    if _has_deletion_vectors(handle):
        raise ParquetError(
            "it cannot be loaded file by file: deletion vectors mark deleted rows, which the files still "
            "contain; run REORG TABLE ... APPLY (PURGE) or rewrite the table."
        )


def _physical_names(type_: Any) -> Iterator[tuple[str, str]]:
    """Table names and physical names of all fields in a schema in Delta's JSON."""
    if not isinstance(type_, Mapping):
        return
    for field in type_.get("fields", ()):
        yield field["name"], field.get("metadata", {}).get(_PHYSICAL_NAME, field["name"])
        yield from _physical_names(field["type"])
    for inner in ("elementType", "keyType", "valueType"):
        yield from _physical_names(type_.get(inner))


def _has_deletion_vectors(handle: DeltaTable) -> bool:
    from deltalake.exceptions import DeltaError

    if "deletionVectors" not in (handle.protocol().reader_features or ()):
        return False
    # Deletion vectors may remain after the property is disabled.
    try:
        return bool(pa.RecordBatchReader.from_stream(handle.deletion_vectors()).read_all().num_rows)
    except DeltaError:  # deletion vectors exist and cannot even be read
        return True


def _active_files(
    handle: DeltaTable, root: str, partitions: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A Delta table's active files below its root, as paths on disk, with their partition values.

    Raises:
        ParquetError: A file is outside the root.
    """
    actions = file_statistics(handle)
    wanted = {f"partition.{name}": name for name in partitions}
    rows = actions.select(["path", *(name for name in actions.column_names if name in wanted)])
    for row in rows.to_pylist():
        path = row.pop("path").removeprefix(f"{root}/")
        if "://" in path or path.startswith("/"):
            raise ParquetError(
                f"its file {path} belongs to another table (this is a shallow clone); write the table as a "
                "full copy."
            )
        # The log stores paths URL-encoded, on top of any encoding in partition folders.
        yield urllib.parse.unquote(path), {wanted[name]: value for name, value in row.items()}


def _delta_type(name: str) -> ParquetType:
    if found := re.fullmatch(r"decimal\((\d+), ?(\d+)\)", name):
        return ParquetType("decimal", precision=int(found[1]), scale=int(found[2]))
    return _DELTA_TYPES.get(name, ParquetType("string"))
