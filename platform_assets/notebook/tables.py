"""Names of tables and columns for completion, and the lake's tables as one database to query."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from platform_assets.errors import LakeError, lake_file_error
from platform_assets.isolation import result_or_reason
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.duck import ROWS_PER_BATCH, interrupted_after
from platform_assets.lake.interfaces import CurrentTable, HasCurrentTables
from platform_assets.model.dialects import columns_sql, quote
from platform_assets.model.star_model import columns_of
from platform_assets.star.assembly import StarRoom
from platform_assets.warehouse.assembly import WarehouseRoom
from platform_assets.warehouse.settings import MAIN_WAREHOUSE

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from platform_assets.rooms import Rooms
    from platform_assets.warehouse.interface import BoundSql

Tables = Mapping[str, Sequence[str]]
"""Columns of each table, by its qualified name."""

_KNOWN_FOR_SECONDS = 60
_LISTED = (
    "SELECT table_schema, table_name, column_name FROM information_schema.columns "
    "WHERE table_schema NOT IN ('information_schema', 'pg_catalog', 'INFORMATION_SCHEMA') "
    "ORDER BY table_schema, table_name, ordinal_position"
)


class NotebookTables:
    """The tables that a notebook can query.

    Args:
        rooms: The rooms of the configuration.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._known: dict[str, tuple[float, Tables]] = {}

    def warehouse_tables(self, name: str = MAIN_WAREHOUSE) -> Tables:
        """Return the tables of a warehouse; those of the star schema, if it cannot be asked at the moment."""
        at, tables = self._known.get(name, (0.0, {}))
        if at and time.monotonic() - at < _KNOWN_FOR_SECONDS:
            return tables
        found = result_or_reason(self._listed, name)
        tables = self._declared(name) if isinstance(found, str) or not found else found
        self._known[name] = (time.monotonic(), tables)
        return tables

    def _listed(self, name: str) -> Tables:
        room = self._rooms.of(WarehouseRoom)
        warehouse = room.warehouse(name)
        if room.engines[name] == "duckdb":
            # A load may hold the file for minutes, and a key press must not wait for it.
            warehouse = dataclasses.replace(warehouse, wait=0)  # type: ignore[type-var]
        if room.engines[name] == "bigquery":
            return {}
        tables: dict[str, list[str]] = {}
        with warehouse.query(_LISTED) as rows:
            for schema, table, column in zip(*rows.read_all().to_pydict().values(), strict=True):
                tables.setdefault(f"{schema}.{table}", []).append(column)
        return tables

    def _declared(self, name: str) -> Tables:
        schema = self._rooms.of(WarehouseRoom).star_schema(name)
        return {
            f"{schema}.{table.name}{suffix}": [column.name for column in columns_of(table)]
            for table in self._rooms.of(StarRoom).model.tables
            for suffix in (("", "_current", "_history") if table.kind == "fact" else ("",))
        }

    def lake_tables(self, mentioned: Sequence[str] = ()) -> Tables:
        """Return the tables of the lake, with the columns of those that are mentioned."""
        found: dict[str, Sequence[str]] = {}
        for name, table in self._lake_names().items():
            known = result_or_reason(lambda opened: opened(), table) if name in mentioned else ""
            found[name] = () if isinstance(known, str) else known.columns
        return found

    def _lake_names(self) -> dict[str, Callable[[], CurrentTable]]:
        """Return the lake's tables by the names that queries use, such as totesys.staff."""
        names: dict[str, Callable[[], CurrentTable]] = {
            f"{path[0]}.{'/'.join(path[1:])}": partial(room.current_table, path)
            for room in self._rooms.offering(HasCurrentTables)
            for path in room.current_paths()
            if len(path) > 1
        }
        if "inventory" in self._rooms:
            from platform_assets.inventory.assembly import INVENTORY, InventoryRoom

            room = self._rooms.of(InventoryRoom)
            for name in room.names:
                names[f"{INVENTORY}.{name}_history"] = room.history(name).history
        return names

    @contextlib.contextmanager
    def query_lake(
        self, sql: BoundSql, *, timeout: float | None = None, at: str | None = None
    ) -> Iterator[pa.RecordBatchReader]:
        """Run a query on the lake's tables, each as it counts now or as it was.

        A table has the name of its asset key: `star/dim_staff` is `star.dim_staff`. Only the tables that the
        query names are opened.

        Args:
            sql: One SELECT in DuckDB's SQL.
            timeout: Seconds after which the query is given up.
            at: A batch, or a time: the tables are those after it; None for now.

        Raises:
            LakeError: The query is invalid, or a table cannot be read.
        """
        import duckdb

        text = sql.text(lambda number: f"$value_{number}")
        values = {f"value_{number}": value for number, value in enumerate(sql.values.values(), 1)}
        engine = self._rooms.of(LakeRoom).engine
        with (
            engine.connect(trusted=engine.is_query(text)) as connection,
            interrupted_after(timeout, connection),
        ):
            try:
                named = sorted(_named_tables(connection, text))
                if at is None:
                    self._create_views(connection, named)
                elif named:
                    self._create_past_views(connection, named, at)
                relation = connection.sql(text, params=values or None)
                if relation is None:
                    raise LakeError("The lake can only be queried: write one SELECT.")
                yield relation.to_arrow_reader(ROWS_PER_BATCH)
            except duckdb.Error as error:
                message = " ".join(str(error).split())
                raise lake_file_error(message) or LakeError(
                    f"The lake could not run the query: {message}"
                ) from error

    def _create_past_views(
        self, connection: duckdb.DuckDBPyConnection, named: Sequence[str], at: str
    ) -> None:
        from platform_assets.lake.lookback import look_back

        past = look_back(self._rooms, at, [name.replace(".", "/", 1) for name in named])
        for name, reason in past.create_views(connection).items():
            raise LakeError(f"{name} cannot be shown as it was after batch {past.batch}: {reason}")

    def _create_views(self, connection: duckdb.DuckDBPyConnection, named: Sequence[str]) -> None:
        names = self._lake_names()
        for name in named:
            if name not in names:
                alike = difflib.get_close_matches(name, names, n=1)
                hint = f" Did you mean {alike[0]}?" if alike else ""
                raise LakeError(f"The lake has no table {name}.{hint} It has {', '.join(names)}.")
            table = names[name]()
            schema, _, rest = name.partition(".")
            table.create_view(connection, f"{name} as stored")
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")
            connection.execute(
                f"CREATE VIEW {quote(schema, rest)} AS SELECT {columns_sql(table.columns)} "
                f"FROM {quote(f'{name} as stored')}"
            )


def _named_tables(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """Return the tables that a statement names with a schema; other names are its own, such as a CTE's."""
    [[parsed]] = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    tree = json.loads(parsed)
    if tree.get("error"):  # what is no SELECT, such as SUMMARIZE
        found = connection.get_table_names(sql, qualified=True)
        return {name.replace('"', "") for name in found if "." in name}
    tables: set[str] = set()
    left: list[Any] = [tree]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if one.get("type") == "BASE_TABLE" and one.get("schema_name"):
                tables.add(f"{one['schema_name']}.{one['table_name']}")
            left += one.values()
        elif isinstance(one, list):
            left += one
    return tables
