"""Deletions: finds rows of the lake that are gone from the source, by comparing keys only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_assets.model.dialects import columns_sql, quote
from platform_assets.model.table import Table

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

DELETED = "deleted keys"
"""The temporary table for the result of `find_deleted`."""

_IN_SOURCE = "keys in the source"


def find_deleted(
    connection: duckdb.DuckDBPyConnection, table: Table, versions: str, keys: pa.RecordBatchReader
) -> str:
    """Find the rows whose latest version is not a deletion and whose key is not in the source.

    Args:
        connection: Connection in which `versions` exists.
        table: The table's declaration.
        versions: Quoted view of all committed versions.
        keys: All primary keys in the source, as of the snapshot.

    Returns:
        Quoted name of a temporary table with the primary keys of these rows.
    """
    key = columns_sql(table.primary_key)
    deleted, in_source = quote(DELETED), quote(_IN_SOURCE)
    connection.register("keys", keys)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {in_source} AS SELECT * FROM keys")
    connection.unregister("keys")
    # First find all missing keys, which are few; then drop those already recorded as deleted.
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {deleted} AS
        WITH gone AS MATERIALIZED (SELECT DISTINCT {key} FROM {versions} ANTI JOIN {in_source} USING ({key}))
        SELECT {key} FROM {versions} SEMI JOIN gone USING ({key})
        GROUP BY {key} HAVING arg_max(_change, _batch) <> 'delete'
        """
    )
    connection.execute(f"DROP TABLE {in_source}")
    return deleted
