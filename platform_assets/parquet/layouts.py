"""What paths tell of tables: the names that writers give to files and folders, and the values of partitions.

A file that somebody named (`orders.parquet`) is of the table of its name. A file that a writer named is of
the table that its folder is named for, or that the writer put before a number
(`orders-000000000012.parquet`).
The loaders go by this, so that a folder is the same tables to each of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Grouping = Literal["auto", "file", "folder"]
"""What one table is: as this module says, every file, or every folder."""

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""How hive partitions write NULL."""

ValueKind = Literal["integer", "date", "text"]

_SUFFIX = re.compile(
    r"\.(parquet|parq|pqt|pq|gzip|gz|snappy|zstd|zst|brotli|br|lz4|lzo|c000)$", re.IGNORECASE
)
_HIVE = re.compile(r"([^=/]+)=([^/]*)")
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# Names that number a file and say nothing of what is in it, and who writes them.
_PARTS = (
    # Spark, Flink, delta-rs, Dask, DuckDB, Redshift, BigQuery, Glue, Data Factory and whoever counts
    r"(part|data|file|chunk|batch|shard|run)[-_.]?\d.*",
    # MapReduce, Sqoop and Spark 1: map or reduce; Pig: vertex; Glue: block
    r"part-[a-z]{1,5}-?\d.*",
    # Flink, Hive on Iceberg, Paimon, and Flink's compaction
    rf"(compacted-)?(part|data)-{_UUID}.*",
    # Hive, with what a second INSERT of the same task is called, and its buckets
    r"\d+_\d+_copy_\d+",
    r"bucket_\d+(_.*)?",
    # Impala, by query and fragment
    r"[0-9a-f]{1,16}-[0-9a-f]{16}_\d+_data(\.\d+)?",
    # Database Migration Service: a full load is counted in hexadecimal, changes have the time
    r"LOAD[0-9A-F]{8}",
    # Trino, Presto and Athena: time, query and a hash
    r"\d{8}_\d+_\d+_.*",
    # Redshift
    r"\d+_part_\d+",
    # dlt, by load and file
    r"\d{9,11}\.\d+\.[0-9a-f]+",
    # CockroachDB
    r"export[0-9a-f]{16,32}-n\d+.*",
    # pyarrow and pandas below partitions; Snowflake, Kite, Hudi and delta-rs; Iceberg; DuckLake
    r"[0-9a-f]{32}(-\d+)?",
    rf"{_UUID}.*",
    rf"(\d+-){{1,2}}{_UUID}.*",
    rf"ducklake-{_UUID}(-delete)?",
    # BigQuery, Polars, Fivetran, Airbyte and whoever writes times
    r"[\d._-]+",
)
_PART = re.compile("|".join(_PARTS), re.IGNORECASE)
# What is in a file of such a name, its folder says, if anything does.
_SAYS_NOTHING = frozenset({"data", "dump", "export", "output", "unload"})
# Names of tables to which a writer adds a number.
_NUMBERED = re.compile(
    "|".join(
        (
            # Snowflake: COPY INTO @stage/orders, with the query's id where that is asked for
            rf"(?P<snowflake>.+?)(_{_UUID})?_\d{{1,4}}_\d{{1,4}}_\d{{1,4}}",
            # BigQuery: gs://bucket/orders-*.parquet; Dumpling has nine digits
            r"(?P<bigquery>.+?)[-_.]000\d{6,9}",
            # Redshift: UNLOAD ... TO 's3://bucket/orders_'
            r"(?P<redshift>.+?)[-_]?\d{4,}_part_\d{2,}",
            # data sets of Hugging Face and TensorFlow
            r"(?P<shards>.+?)-\d{5}-of-\d{5}",
            # Firehose: stream, version, time and a random id
            rf"(?P<firehose>.+?)-\d+(-\d{{2,4}}){{6}}-{_UUID}",
            # Kafka Connect: topic, partition and offset
            r"(?P<kafka>.+?)\+\d+\+\d+",
        )
    ),
    re.IGNORECASE,
)
# Folders between a table's own and its files that only count: batches of database exports, dates, unions of
# Hive.
_COUNTING_FOLDER = re.compile(r"[\d_.:T-]*\d[\d_.:TZ-]*|HIVE_UNION_SUBDIR_\d+", re.IGNORECASE)
_WHOLE_NUMBER = re.compile(r"0|-?[1-9]\d{0,17}")
_DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")


def stem_of(name: str) -> str:
    """A file's name without the suffixes of Parquet and of compression, however many; never empty."""
    while shorter := _SUFFIX.sub("", name):
        if shorter == name:
            break
        name = shorter
    return name


def is_part(stem: str) -> bool:
    """Whether a file's name only numbers it, so that its table is called like the folder."""
    return _PART.fullmatch(stem) is not None


def table_in(stem: str) -> str | None:
    """The table that a file's name tells of, or None where its folder is to be asked."""
    if stem.casefold() in _SAYS_NOTHING or is_part(stem):
        return None
    if found := _NUMBERED.fullmatch(stem):
        name = next(one for one in found.groupdict().values() if one)
        return None if name.casefold() in _SAYS_NOTHING else name
    return stem


def is_counting(folder: str) -> bool:
    """Whether a folder's name only counts or dates what is in it, and no table is called like it."""
    return _COUNTING_FOLDER.fullmatch(folder) is not None


def partition_of(folder: str) -> tuple[str, str] | None:
    """Column and value of a folder such as `year=2024`, as they are written; None of any other folder."""
    found = _HIVE.fullmatch(folder)
    return (found[1], found[2]) if found else None


def kind_of_values(values: Iterable[str | None]) -> ValueKind:
    """What all values of a partition are; a leading zero makes text of a number, which would lose it."""
    texts = [value for value in values if value is not None]
    if texts and all(_WHOLE_NUMBER.fullmatch(text) for text in texts):
        return "integer"
    if texts and all(_DATE.fullmatch(text) for text in texts):
        return "date"
    return "text"
