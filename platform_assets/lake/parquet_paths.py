"""What the paths of Parquet files say: which files are parts of one table, and the values of partitions.

Both loaders of Parquet files go by this, so that a folder is the same tables to either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""How hive partitions write NULL."""

ValueKind = Literal["integer", "date", "text"]

_SUFFIX = re.compile(
    r"\.(parquet|parq|pqt|pq|gzip|gz|snappy|zstd|zst|brotli|br|lz4|lzo|c000)$", re.IGNORECASE
)
_HIVE = re.compile(r"([^=/]+)=([^/]*)")
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# As Spark, delta-rs, DuckDB, Dask, Snowflake, Redshift, BigQuery, Athena and pyarrow number what they write.
_PART = re.compile(
    rf"(part|data|file|chunk|batch|shard|run)[-_.]?\d.*|\d+_part_\d+|[\d._-]+|{_UUID}.*|\d{{8}}_\d+_\d+_.*",
    re.IGNORECASE,
)
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
