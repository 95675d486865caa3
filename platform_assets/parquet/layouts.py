"""Rules for paths: names that writers give to files and folders, and values of partitions.

A file with a name of its own (`orders.parquet`) belongs to the table of that name. A file named by a writer
belongs to the table that its folder is named after, or whose name the writer put before a number
(`orders-000000000012.parquet`). All loaders use these rules, so that a folder gives the same tables in each.
"""

from __future__ import annotations

import datetime as dt
import re
import urllib.parse
from collections.abc import Iterable
from typing import Literal

Grouping = Literal["auto", "file", "folder"]
"""The grouping rules: the rules of this module, every file a table, or every folder a table."""

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""The folder value for NULL in hive partitions."""

SNOWFLAKE_NULL = "__NULL__"
"""The folder that Snowflake unloads rows to if their PARTITION BY is NULL."""

ValueKind = Literal["integer", "date", "text"]

_SUFFIX = re.compile(
    r"\.(parquet|parq|pqt|pq|gzip|gz|snappy|zstd|zst|brotli|br|lz4|lzo|c000)$", re.IGNORECASE
)
_HIVE = re.compile(r"([^=/]+)=([^/]*)")
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# Names that only number a file and say nothing about its content, with the writers that use them.
_PARTS = (
    # Spark, Flink, delta-rs, Dask, DuckDB, Redshift, BigQuery, Glue, Data Factory and other counters
    r"(part|data|file|chunk|batch|shard|run)[-_.]?\d.*",
    # MapReduce, Sqoop and Spark 1: map or reduce; Pig: vertex; Glue: block
    r"part-[a-z]{1,5}-?\d.*",
    # Flink, Hive on Iceberg, Paimon, and Flink's compaction
    rf"(compacted-)?(part|data)-{_UUID}.*",
    # Hive: also the name of a second INSERT of the same task, and buckets
    r"\d+_\d+_copy_\d+",
    r"bucket_\d+(_.*)?",
    # Impala, by query and fragment
    r"[0-9a-f]{1,16}-[0-9a-f]{16}_\d+_data(\.\d+)?",
    # Database Migration Service: full loads are numbered in hexadecimal, changes are named by time
    r"LOAD[0-9A-F]{8}",
    # Trino, Presto and Athena: time, query and a hash
    r"\d{8}_\d+_\d+_.*",
    # Redshift
    r"\d+_part_\d+",
    # dlt, by load and file
    r"\d{9,11}\.\d+\.[0-9a-f]+",
    # CockroachDB
    r"export[0-9a-f]{16,32}-n\d+.*",
    # pyarrow and pandas below partitions, Ray; Snowflake, Kite, Hudi and delta-rs; Iceberg; DuckLake
    r"[0-9a-f]{32}([-_]\d+)*",
    rf"{_UUID}.*",
    rf"(\d+-){{1,2}}{_UUID}.*",
    rf"ducklake-{_UUID}(-delete)?",
    # BigQuery, Polars, Fivetran, Airbyte and other writers that use times
    r"[\d._-]+",
)
_PART = re.compile("|".join(_PARTS), re.IGNORECASE)
# Names that say nothing about the content; the folder's name decides, if it says more.
_SAYS_NOTHING = frozenset({"data", "dump", "export", "output", "unload"})
# Table names to which a writer adds a number.
_NUMBERED = re.compile(
    "|".join(
        (
            # Snowflake: COPY INTO @stage/orders, optionally with the query's id
            rf"(?P<snowflake>.+?)(_{_UUID})?_\d{{1,4}}_\d{{1,4}}_\d{{1,4}}",
            # BigQuery: gs://bucket/orders-*.parquet; Dumpling uses nine digits
            r"(?P<bigquery>.+?)[-_.]000\d{6,9}",
            # the same of gs://bucket/orders*.parquet
            r"(?P<glued>.*[^\W\d_])000\d{9}",
            # dlt, where tables have no folders: by load and file
            r"(?P<dlt>.+?)\.\d{9,11}\.\d+\.[0-9a-f]{6,}",
            # Redshift: UNLOAD ... TO 's3://bucket/orders_'
            r"(?P<redshift>.+?)[-_]?\d{4,}_part_\d{2,}",
            # Hugging Face and TensorFlow data sets
            r"(?P<shards>.+?)-\d{5}-of-\d{5}",
            # Firehose: stream, version, time and a random id
            rf"(?P<firehose>.+?)-\d+(-\d{{2,4}}){{6}}-{_UUID}",
            # Oracle's DBMS_CLOUD: number and time
            r"(?P<oracle>.+?)_\d+_\d{8}T\d{6,12}Z",
            # DuckDB's {uuid}, Data Factory and whoever makes names unique
            rf"(?P<unique>.+?)([-_.]{_UUID})+",
            # Kafka Connect: topic, partition and offset
            r"(?P<kafka>.+?)\+\d+\+\d+",
        )
    ),
    re.IGNORECASE,
)
# Folders between a table's folder and its files that only number or date: batches of database exports, dates,
# Hive unions.
_COUNTING_FOLDER = re.compile(r"[\d_.:T-]*\d[\d_.:TZ-]*|HIVE_UNION_SUBDIR_\d+", re.IGNORECASE)
# Files that writers put beside data: database snapshot exports, Redshift, EMR and Hadoop.
_NO_DATA = re.compile(r"export_(tables_)?info_.+\.json|manifest")
_NO_DATA_ENDS = ("_$folder$", ".crc")
_WHOLE_NUMBER = re.compile(r"0|-?[1-9]\d{0,17}")
_DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")


def stem_of(name: str) -> str:
    """A file's name without any Parquet and compression suffixes; never empty."""
    while shorter := _SUFFIX.sub("", name):
        if shorter == name:
            break
        name = shorter
    return name


def is_part(stem: str) -> bool:
    """Return True if a file's name only numbers it, so that its table is named after the folder."""
    return _PART.fullmatch(stem) is not None


def table_in(stem: str) -> str | None:
    """The table named by a file's name, or None if the folder decides."""
    if stem.casefold() in _SAYS_NOTHING or is_part(stem):
        return None
    if found := _NUMBERED.fullmatch(stem):
        name = next(group for group in found.groupdict().values() if group)
        return None if name.casefold() in _SAYS_NOTHING else name
    return stem


def is_counting(folder: str) -> bool:
    """Return True if a folder's name only numbers or dates its content; no table is named after it."""
    return _COUNTING_FOLDER.fullmatch(folder) is not None


def partition_of(folder: str) -> tuple[str, str] | None:
    """Column and value of a folder such as `year=2024`, as written; None for any other folder."""
    found = _HIVE.fullmatch(folder)
    return (found[1], found[2]) if found else None


def is_partition(folder: str) -> bool:
    """Return True if a folder holds the rows of one value of a partition, or of NULL."""
    return folder == SNOWFLAKE_NULL or partition_of(folder) is not None


def is_hidden(name: str, *, is_folder: bool) -> bool:
    """Return True if a name marks a file or folder as not data: a log, a checksum, an unfinished file.

    Folders of partitions are always data, whatever their columns are called, as in Spark.
    """
    if is_folder and name.startswith("_") and is_partition(name):
        return False
    if name.startswith(("_", ".")):
        return True
    return not is_folder and (name.endswith(_NO_DATA_ENDS) or _NO_DATA.fullmatch(name) is not None)


def decoded(written: str) -> str | None:
    """Decode a key or value in a path; None if it is not UTF-8."""
    try:
        return urllib.parse.unquote(written, errors="strict")
    except UnicodeDecodeError:
        return None


def kind_of_values(values: Iterable[str | None]) -> ValueKind:
    """The common type of a partition's values; numbers with leading zeros are text, to keep the zeros."""
    texts = [value for value in values if value is not None]
    if texts and all(_WHOLE_NUMBER.fullmatch(text) for text in texts):
        return "integer"
    if texts and all(_is_date(text) for text in texts):
        return "date"
    return "text"


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False  # not a valid date, such as the 30th of February
    return True
