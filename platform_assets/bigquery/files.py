"""Parquet files on local disk or Google Cloud Storage, grouped into tables for BigQuery.

The grouping rules are those of all loaders. This module adds what BigQuery cannot load, and how partition
values become columns.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.fs

from platform_assets.errors import ParquetError
from platform_assets.parquet.layouts import Grouping, decoded, partition_of
from platform_assets.parquet.stores import Store, open_store
from platform_assets.parquet.tables import ParquetTable, Problem, TableFile, read_tables
from platform_assets.parquet.types import ParquetType

OpenBucket = Callable[[], pyarrow.fs.FileSystem]

# Types that BigQuery would silently load as another type.
_UNTOLD = {
    "duration": "a length of time, which Parquet holds as a bare number; write it as a number whose name "
    "says its unit",
    "period": "a period of pandas, which Parquet holds as a bare number counted from 1970; write it as a "
    "date",
    "variant": "Parquet's variant type, whose encoded bytes BigQuery does not decode; write it as JSON text",
    "interval": "an interval, for which BigQuery's loads have no type; write it as a number or as text",
}


def find_tables(
    places: Sequence[str],
    open_bucket: OpenBucket,
    *,
    name: str | None = None,
    grouping: Grouping = "auto",
    pattern: str = "*",
) -> tuple[list[ParquetTable], list[Problem]]:
    """Find tables, and read the footer of each of their files.

    Args:
        places: Files, folders and Delta tables: local paths or `gs://bucket/name`.
        open_bucket: Returns the file system of the buckets when it is needed.
        name: All files are one table, of this name.
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
    problems: list[Problem] = []

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
                    Problem(first, f"the table {table.name} is in another store too; load the two apart")
                )
            elif untold := [column for column in table.columns if column.type.kind in _UNTOLD]:
                said = "; ".join(f"column {one.name} is {_UNTOLD[one.type.kind]}" for one in untold)
                problems.append(Problem(table.root, f"{said}."))
            else:
                found[table.name] = table
    return [found[name] for name in sorted(found)], problems


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
            if column.name in written:  # it is not in the folder of NULL that Snowflake writes
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
