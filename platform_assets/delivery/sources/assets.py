"""Assets of the platform, as they are or through a query.

The query can only read, and only the assets that it is given: DuckDB has no access to other files or to
networks while it runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.delivery.interfaces import Bytes, DeliveryError, Query, Rows
from platform_assets.delivery.values import without_values
from platform_assets.errors import lake_file_error
from platform_assets.isolation import is_isolated
from platform_assets.lake.interfaces import CurrentTable
from platform_assets.model.dialects import columns_sql, literal, quote

if TYPE_CHECKING:
    import duckdb

    from platform_assets.lake.duck import SqlEngine

ROWS_PER_BATCH = 16_384
"""Rows in a batch of a query's result."""

_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree", "repeat_row"})
"""Functions that give rows without reading anything."""


@dataclass
class AssetSource:
    """Tables of the lake.

    In the query, an asset is a table of its name, such as `dim_staff`, with the first part of its key as the
    schema, such as `star.dim_staff`; they have the columns of the data. `"star/dim_staff"`, the whole key in
    quotes, has the platform's columns too, such as `_batch`.

    Args:
        name: Name for the rows.
        assets: Keys of the assets.
        query: The query; None for all rows of the only asset.
        table: Returns the table of a key as it counts now.
        engine: Memory and threads.
        folders: Folders that the tables' files are in; none if they are in a bucket.
    """

    name: str
    assets: tuple[str, ...]
    query: str | None
    table: Callable[[str], CurrentTable]
    engine: SqlEngine
    folders: Sequence[str]
    _tables: dict[str, CurrentTable] = field(default_factory=dict)

    def version(self) -> str | None:
        """See `DataSource.version`; the next `open` reads the same state of the tables."""
        self._tables = {key: self.table(key) for key in self.assets}
        versions = {key: table.version for key, table in self._tables.items()}
        if self.query is None and len(versions) == 1:
            return next(iter(versions.values()))
        return hashlib.sha256(json.dumps([versions, self.query]).encode()).hexdigest()[:16]

    @contextlib.contextmanager
    def open(self) -> Iterator[Iterator[Rows | Bytes]]:
        """See `DataSource.open`."""
        import duckdb

        tables = self._tables or {key: self.table(key) for key in self.assets}
        self._tables = {}
        # A query is closed off for good, so that no other step may get its instance.
        with self.engine.connect(trusted=self.query is None) as connection:
            for key, table in tables.items():
                table.create_view(connection, key)
            names = _create_names(connection, tables)
            sql = self.query if self.query is not None else f"FROM {quote(*names[self.assets[0]])}"
            try:
                if self.query is not None:
                    _refuse_what_does_not_read(connection, sql, tables)
                    _close_off(connection, self.folders)
                relation = connection.sql(sql)
                schema = relation.limit(0).to_arrow_table().schema
            except duckdb.Error as error:
                raise self._failed(error) from error
            # A connection that is closed off writes no file, and a bucket's tables are streams to DuckDB.
            is_open = self.query is None and bool(self.folders)
            query = Query(connection, sql, tuple(map(str, relation.types))) if is_open else None
            yield iter([Rows(self.name, self._streamed(relation, schema), query)])

    def _streamed(self, relation: duckdb.DuckDBPyRelation, schema: pa.Schema) -> pa.RecordBatchReader:
        """The rows of a relation, whose query runs from the first batch on."""

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                yield from relation.to_arrow_reader(ROWS_PER_BATCH)
            except Exception as error:
                if not is_isolated(error):
                    raise
                raise self._failed(error) from error

        return pa.RecordBatchReader.from_batches(schema, batches())

    def _failed(self, error: Exception) -> Exception:
        text = str(error).strip()
        if damaged := lake_file_error(text):
            return damaged
        what = "query" if self.query is not None else "asset"
        return DeliveryError(f"The {what} of {self.name} cannot be read: {without_values(text)}")


def _create_names(
    connection: duckdb.DuckDBPyConnection, tables: dict[str, CurrentTable]
) -> dict[str, tuple[str, str]]:
    """Create the names under which a query reads assets; return schema and table of each."""
    names = {}
    short: dict[str, list[str]] = {}
    for key, table in tables.items():
        first, _, rest = key.partition("/")
        schema, name = (first, rest) if rest else ("main", f"{first}")
        names[key] = (schema, name)
        short.setdefault(name.rpartition("/")[2], []).append(key)
        if not rest:
            continue
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")
        connection.execute(
            f"CREATE VIEW {quote(schema, name)} AS "
            f"SELECT {columns_sql(table.columns)} FROM {quote('main', key)}"
        )
    for name, keys in short.items():
        # A name that two assets have needs its schema.
        if len(keys) == 1 and "/" in keys[0]:
            connection.execute(f"CREATE VIEW {quote('main', name)} AS FROM {quote(*names[keys[0]])}")
    return names


def _close_off(connection: duckdb.DuckDBPyConnection, folders: Sequence[str]) -> None:
    """Take from a connection all access but that to some folders, and keep the query from giving it back."""
    allowed = ", ".join(literal(folder) for folder in folders)
    connection.execute(
        f"SET allowed_directories = [{allowed}]; SET enable_external_access = false; "
        "SET python_enable_replacements = false; SET lock_configuration = true"
    )


def _refuse_what_does_not_read(
    connection: duckdb.DuckDBPyConnection, sql: str, tables: dict[str, CurrentTable]
) -> None:
    """Refuse anything but one SELECT over these tables.

    Raises:
        DeliveryError: It is something else.
    """
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise DeliveryError(
            "A query of a delivery is one SELECT that only reads; it is something else, or more than that."
        )
    [[parsed]] = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    tree = json.loads(parsed)
    if tree.get("error"):
        raise DeliveryError(
            f"A query of a delivery is one SELECT that can be checked: {tree['error_message']}"
        )
    for node in _nodes(tree):
        kind = node.get("type")
        if kind == "TABLE_FUNCTION":
            name = str(node.get("function", {}).get("function_name", ""))
            if name.lower() not in _TABLE_FUNCTIONS:
                raise DeliveryError(
                    f"A query of a delivery reads assets only, not {name}(...). Name the assets that it "
                    "needs in assets, or deliver files with files, objects or url."
                )
        elif kind == "BASE_TABLE":
            name = str(node.get("table_name", ""))
            if name not in tables and ("/" in name or "." in name):
                raise DeliveryError(
                    f"A query of a delivery reads assets only; {name} is not one of {', '.join(tables)}. "
                    "Name it in assets."
                )


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects in a JSON value."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left += one.values()
        elif isinstance(one, list):
            left += one
