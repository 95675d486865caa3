"""Parquet files on local disk or Google Cloud Storage, grouped into tables for BigQuery.

The grouping rules are those of all loaders. This module adds what BigQuery cannot load, and how partition
values become columns.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from platform_assets.errors import ParquetError, WarehouseError
from platform_assets.parquet.layouts import SNOWFLAKE_NULL, Grouping, decoded, partition_of
from platform_assets.parquet.schemas import some_names
from platform_assets.parquet.stores import Store, open_store
from platform_assets.parquet.tables import (
    OpenStore,
    ParquetProblem,
    ParquetTable,
    TableFile,
    open_path,
    read_tables,
)
from platform_assets.parquet.types import MOST_DIGITS, ParquetType

if TYPE_CHECKING:
    from google.cloud import bigquery

OpenBucket = Callable[[], pyarrow.fs.FileSystem]

# Types that BigQuery would silently load as another type.
_NEVER_LOADED = {
    "duration": "a length of time, which Parquet holds as a bare number; write it as a number whose name "
    "says its unit",
    "period": "a period of pandas, which Parquet holds as a bare number counted from 1970; write it as a "
    "date",
    "variant": "Parquet's variant type, whose encoded bytes BigQuery does not decode; write it as JSON text",
    "interval": "an interval, for which BigQuery's loads have no type; write it as a number or as text",
}
_PLAIN = ("int", "float32", "float64", "decimal", "string", "boolean", "date", "timestamp")
# Units and kinds that it would load as the bare number or bytes that Parquet stores them as.
_MISREAD = {
    "ns": "a time in nanoseconds, which BigQuery would load as a whole number; write it in microseconds "
    "(pandas: to_parquet(..., coerce_timestamps='us')), or load a local copy of the files",
    "float16": "a float of 16 bits, which BigQuery would load as bytes; write it as a float of 32 bits, or "
    "load a local copy of the files",
}


def find_tables(
    places: Sequence[str],
    open_bucket: OpenBucket,
    *,
    name: str | None = None,
    grouping: Grouping = "auto",
    pattern: str = "*",
) -> tuple[list[ParquetTable], list[ParquetProblem]]:
    """Find tables, and read the footer of each of their files.

    Args:
        places: Files, folders and Delta tables: local paths or `gs://bucket/name`.
        open_bucket: Returns the file system of the buckets when it is needed.
        name: Load all files into one table with this name.
        grouping: The grouping rule; see the loaders' common rules.
        pattern: Read only files in folders whose name matches.

    Returns:
        The tables by name, with their readable files; the skipped files and tables, with reasons.

    Raises:
        ParquetError: A place is empty or does not exist, or BigQuery cannot load from its store.
    """
    stores: dict[str, list[str]] = {}
    for place in places:
        stores.setdefault(_store_of(place), []).append(place)
    found: dict[str, ParquetTable] = {}
    problems: list[ParquetProblem] = []

    def open_place(place: str) -> tuple[Store, str]:
        scheme, _, path = place.partition("://")
        return (Store("gs", open_bucket()), path) if scheme == "gs" else open_store(place, {})

    for of_store in stores.values():
        reading = read_tables(of_store, grouping=grouping, name=name, pattern=pattern, open_place=open_place)
        problems += reading.problems
        for table in reading.tables:
            if table.name in found:
                first = f"{table.root}/{table.files[0].path}" if table.files else table.root
                problems.append(
                    ParquetProblem(
                        first, f"the table {table.name} is in another store too; load the two apart"
                    )
                )
                continue
            misread = {
                column.name: what for column in table.columns if (what := _misread(column.type, table))
            }
            if misread:
                reasons = "; ".join(f"column {column} is {what}" for column, what in misread.items())
                problems.append(ParquetProblem(table.root, f"{reasons}."))
                continue
            try:
                found[table.name] = _with_schema(table, open_place)
            except ParquetError as error:
                problems.append(ParquetProblem(table.root, str(error)))
    return [found[name] for name in sorted(found)], problems


def _misread(type_: ParquetType, table: ParquetTable) -> str | None:
    """The name of a type that BigQuery would silently load as another type; None if it would not."""
    if type_.kind in _NEVER_LOADED:
        return _NEVER_LOADED[type_.kind]
    # Local files are converted before the upload; see `readable`.
    return None if table.is_local else _MISREAD.get(type_.unit) or _MISREAD.get(type_.kind)


def _with_schema(table: ParquetTable, open_place: OpenStore) -> ParquetTable:
    """Declare all columns of a table in a bucket whose files differ.

    BigQuery uses the columns of the last file only, and drops columns that only other files have.

    Raises:
        ParquetError: A file cannot be read again, or no schema fits all files.
    """
    if table.is_local or table.schema is not None or len(table.examples) < 2:
        return table
    store = open_place(table.root)[0]
    root = open_path(store, table.root)
    schemas = []
    try:
        for example in table.examples:
            with store.files.open_input_file(f"{root}/{example}") as file:
                schemas.append(pq.read_schema(file).remove_metadata())
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except (OSError, pa.ArrowException) as error:
        raise ParquetError(
            f"its files have different columns, and no common schema was found: "
            f"{' '.join(str(error).split())[:300].rstrip('.')}. Write them with the same columns and types."
        ) from error
    return dataclasses.replace(table, schema=schema)


def readable(type_: pa.DataType) -> pa.DataType:
    """The Arrow type to write so that BigQuery reads the values correctly; nearly always the type itself."""
    is_ = pa.types
    if is_.is_timestamp(type_) and type_.unit == "ns":
        return pa.timestamp("us", type_.tz)
    if is_.is_time64(type_):
        return pa.time64("us")
    if is_.is_float16(type_):
        return pa.float32()
    if is_.is_struct(type_):
        return pa.struct([field.with_type(readable(field.type)) for field in type_])
    if is_.is_large_list(type_):
        return pa.large_list(type_.value_field.with_type(readable(type_.value_type)))
    if is_.is_list(type_):
        return pa.list_(type_.value_field.with_type(readable(type_.value_type)))
    if is_.is_map(type_):
        return pa.map_(readable(type_.key_type), type_.item_field.with_type(readable(type_.item_type)))
    return type_


def readable_schema(table: ParquetTable, schema: pa.Schema) -> pa.Schema:
    """The schema to write a local file in, so that BigQuery can load all files into one table.

    BigQuery does not widen numbers, and treats a column that is required in one file as required in all.

    Args:
        table: The table, with types that hold the values of every file.
        schema: The schema of one of its files.
    """
    columns = {column.name: column for column in table.columns}
    fields = []
    for field in schema:
        column = columns.get(field.name)
        type_ = readable(field.type)
        if column is not None:
            type_ = _as_wide(type_, column.type)
        is_nullable = field.nullable or (column is not None and column.nullable)
        fields.append(field.with_type(type_).with_nullable(is_nullable))
    return pa.schema(fields)


def _as_wide(type_: pa.DataType, wanted: ParquetType) -> pa.DataType:
    is_ = pa.types
    if is_.is_integer(type_) and wanted.kind == "float64":
        return pa.float64()
    if (is_.is_integer(type_) or is_.is_decimal(type_)) and wanted.kind == "decimal":
        return pa.decimal128(wanted.precision, wanted.scale) if wanted.precision <= MOST_DIGITS else type_
    if is_.is_null(type_) and wanted.kind in _PLAIN:
        return _arrow_type(wanted)
    return type_


def may_need_writing(table: ParquetTable) -> bool:
    """Return True if local files of a table may need another schema; see `readable_schema`."""
    is_misread = any(column.type.unit in _MISREAD or column.type.kind in _MISREAD for column in table.columns)
    return table.is_local and (is_misread or len(table.examples) > 1)


def partition_options(table: ParquetTable) -> bigquery.HivePartitioningOptions | None:
    """BigQuery's options for partition columns in the paths of files in a bucket; None if there are none.

    Raises:
        WarehouseError: BigQuery would read other values from the paths.
    """
    from google.cloud import bigquery

    partitions = [(column, column.partition) for column in table.columns if column.partition is not None]
    if not partitions:
        return None
    lost = [column.name for column, partition in partitions if not partition.is_in_paths]
    if lost:
        raise WarehouseError(
            f"{table.root} was not loaded, as the partition columns "
            f"{', '.join(lost)} are in the Delta log and not in the files' paths, where BigQuery could "
            "read them. Rewrite the table with paths such as year=2024/."
        )
    written: dict[str, None] = {
        f"{partition.key}={raw}": None
        for _, partition in partitions
        for raw, value in partition.values.items()
        if raw != value
    }
    written |= {key: None for column, partition in partitions if (key := partition.key) != column.name}
    if any(SNOWFLAKE_NULL in file.path.split("/")[:-1] for file in table.files):
        written[SNOWFLAKE_NULL] = None
    if written:
        raise WarehouseError(
            f"{table.root} was not loaded, as BigQuery takes the folders {some_names(written.keys())} as "
            "they are written, and they stand for NULL or for other text. Load a local copy of the files, "
            "or write them with the column in them."
        )
    options = bigquery.HivePartitioningOptions()
    if all(_is_found(column.type) for column, _ in partitions):
        options.mode, options.source_uri_prefix = "AUTO", table.root
    else:
        # Without declared types, BigQuery would read 01 as the number 1.
        keys = [f"{{{partition.key}:{_in_paths(column.type)}}}" for column, partition in partitions]
        options.mode, options.source_uri_prefix = "CUSTOM", "/".join([table.root, *keys])
    return options


def _is_found(type_: ParquetType) -> bool:
    return type_ in (ParquetType("int", bits=64), ParquetType("date"))


def _in_paths(type_: ParquetType) -> str:
    match type_.kind:
        case "int":
            return "INTEGER"
        case "date":
            return "DATE"
        case "timestamp":
            return "TIMESTAMP"
    return "STRING"


def _store_of(place: str) -> str:
    scheme, separator, path = place.partition("://")
    if not separator:
        return ""
    if scheme != "gs" or not path.strip("/"):
        raise ParquetError(
            f"{place} cannot be read: BigQuery loads Parquet from local paths and gs://bucket/name."
        )
    return place.rpartition("://")[2].split("/")[0]


def partitions_of(table: ParquetTable, file: TableFile) -> dict[str, pa.Scalar]:
    """The columns whose value comes from a file's path or from the Delta log, one value for each file."""
    written = {}
    for folder in file.path.split("/")[:-1]:
        if part := partition_of(folder):
            written[decoded(part[0])] = part[1]
    values = {}
    for column in table.columns:
        if column.partition is None:
            continue
        if file.logged is not None:
            value = file.logged.get(column.name)
        else:
            value = None
            if column.name in written:  # the folder for NULL that Snowflake writes has no value
                value = column.partition.values[written[column.name]]
        values[column.name] = _scalar(value, _arrow_type(column.type))
    return values


def _scalar(value: Any, type_: pa.DataType) -> pa.Scalar:
    if isinstance(value, str) and pa.types.is_integer(type_):
        value = int(value)
    elif isinstance(value, str) and pa.types.is_date(type_):
        value = dt.date.fromisoformat(value)
    return pa.scalar(value, type_)


def _arrow_type(type_: ParquetType) -> pa.DataType:
    """The Arrow type in which a partition's values are written to a file for BigQuery."""
    match type_.kind:
        case "int":
            return pa.int64()
        case "decimal":
            return pa.decimal128(type_.precision, type_.scale)
        case "timestamp":
            return pa.timestamp("us", "UTC" if type_.utc else None)
        case "boolean" | "date" | "float32" | "float64" as kind:
            return {
                "boolean": pa.bool_(),
                "date": pa.date32(),
                "float32": pa.float32(),
                "float64": pa.float64(),
            }[kind]
    return pa.string()
