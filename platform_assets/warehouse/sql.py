"""SQL shared by all warehouse engines: records of loads, views, writes, added columns, missing parents."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platform_assets.errors import WarehouseError
from platform_assets.model.star_model import columns_of
from platform_assets.model.table import Column, Integer, Table, Text, Time, Timestamp
from platform_assets.stored import LOADS
from platform_assets.warehouse.interface import TableStatus

if TYPE_CHECKING:
    from platform_assets.model.dialects import Dialect
    from platform_assets.warehouse.loading import Incoming, Position

_LOADS = (
    Column("table_name", Text()),
    Column("table_id", Text()),
    Column("lake_version", Integer(64)),
    Column("batch", Integer(64)),
    Column("rows_written", Integer(64)),
    Column("lake_id", Text()),
    Column("loaded_at", Timestamp(utc=True)),
)
_FORMAT = "platform_assets/format"
"""Key of the row with the format version of the record, which 0.1.0 did not write."""
_KEY_OF_LOADS = ("table_name", "table_id", "lake_version")
VIEWS = ("current", "history")
"""Suffixes of a fact's views."""


@dataclass(frozen=True)
class StarSql:
    """Statements about a star schema and its record of loads, in the dialect of an engine.

    Args:
        dialect: The engine's dialect.
        star: Qualified name of the schema of the star tables and their views, by part.
        platform: Qualified name of the schema of the record of loads, by part.
    """

    dialect: Dialect
    star: tuple[str, ...]
    platform: tuple[str, ...]

    def relation(self, name: str) -> str:
        """Return the name of a star table or view."""
        return self.dialect.quote(*self.star, name)

    @property
    def loads(self) -> str:
        """Name of the record of loads."""
        return self.dialect.quote(*self.platform, "loads")

    @property
    def lock(self) -> str:
        """Name of the table that a load changes to exclude other loads, in engines without locks."""
        return self.dialect.quote(*self.platform, "load_lock")

    def create_loads(self) -> str:
        """Return the DDL of the record of loads."""
        columns = ", ".join(self.dialect.declaration(column) for column in _LOADS)
        key = f"PRIMARY KEY ({self.dialect.columns(_KEY_OF_LOADS)}){self.dialect.unenforced}"
        return f"CREATE TABLE IF NOT EXISTS {self.loads} ({columns}, {key})"

    def positions(self, also: str = "") -> str:
        """Return the query of each table's newest record, for `positions_of`.

        Args:
            also: One more expression to select, which sees all records.
        """
        quote = self.dialect.quote
        names = [column.name for column in _LOADS if column.name != "rows_written"]
        order = (
            f"PARTITION BY {quote('table_name')} ORDER BY {quote('batch')} DESC, {quote('loaded_at')} DESC"
        )
        inner, outer = (f", {also} AS {quote('also')}", f", {quote('also')}") if also else ("", "")
        return (
            f"SELECT {self.dialect.columns(names)}{outer} FROM ("
            f"SELECT *, ROW_NUMBER() OVER ({order}) AS {quote('_place')}{inner} FROM {self.loads}"
            f") AS {quote('placed')} WHERE {quote('_place')} = 1"
        )

    def record(self, incoming: Incoming, rows_written: int, now: str = "CURRENT_TIMESTAMP()") -> str:
        """Return the statement that records the load of a table.

        Args:
            incoming: The loaded rows.
            rows_written: Their number.
            now: SQL for the current time, which must not be earlier than the lock.
        """
        literal, names = self.dialect.literal, [column.name for column in _LOADS]
        return (
            f"INSERT INTO {self.loads} ({self.dialect.columns(names)}) SELECT "
            f"{literal(incoming.table.name)}, {literal(incoming.table_id)}, "
            f"{incoming.lake_version:d}, {incoming.batch:d}, {rows_written:d}, "
            f"{literal(incoming.lake_id)}, {now}"
        )

    def first_format(self, now: str = "CURRENT_TIMESTAMP()") -> str:
        """Return the statement that stores the current format version in a record of loads without rows."""
        return (
            f"{self._insert_format(LOADS.version, now)} FROM (SELECT 1 AS {self.dialect.quote('one')}) AS "
            f"{self.dialect.quote('new')} WHERE NOT EXISTS (SELECT 1 FROM {self.loads})"
        )

    def store_format(self, version: int, now: str = "CURRENT_TIMESTAMP()") -> list[str]:
        """Return the statements that store a format version of the record of loads, as a row of it."""
        of_format = f"{self.dialect.quote('table_name')} = {self.dialect.literal(_FORMAT)}"
        return [f"DELETE FROM {self.loads} WHERE {of_format}", self._insert_format(version, now)]

    def _insert_format(self, version: int, now: str) -> str:
        literal, names = self.dialect.literal, [column.name for column in _LOADS]
        return (
            f"INSERT INTO {self.loads} ({self.dialect.columns(names)}) SELECT {literal(_FORMAT)}, "
            f"{literal(_FORMAT)}, {version:d}, 0, 0, {literal('')}, {now}"
        )

    def stored_format(self) -> str:
        """Return the query of the stored format version, for `format_of`."""
        quote, literal = self.dialect.quote, self.dialect.literal
        return (
            f"SELECT MAX({quote('lake_version')}) AS {quote('version')} FROM {self.loads} "
            f"WHERE {quote('table_name')} = {literal(_FORMAT)}"
        )

    def supersede(self, names: Set[str]) -> str:
        """Return the statement that marks the records of tables whose loaded rows are gone as superseded."""
        from platform_assets.warehouse.loading import SUPERSEDED

        quote, literal = self.dialect.quote, self.dialect.literal
        return (
            f"UPDATE {self.loads} SET {quote('table_id')} = {quote('table_id')} || {literal(SUPERSEDED)} "
            f"WHERE {quote('table_name')} IN ({', '.join(map(literal, sorted(names)))})"
        )

    def status(self, tables: Iterable[Table]) -> str:
        """Return the query of the state of these star tables, for `statuses`; empty without tables."""
        quote, literal = self.dialect.quote, self.dialect.literal
        return " UNION ALL ".join(
            f"SELECT {literal(table.name)} AS {quote('name')}, COUNT(*) AS {quote('row_count')}, "
            f"COALESCE(MAX({quote('_batch')}), 0) AS {quote('batch')}, MAX({quote('_seen_at')}) AS "
            f"{quote('seen_at')} FROM {self.relation(table.name)}"
            for table in tables
        )

    def newest(self, table: Table, limit: int) -> str:
        """Return the query of some rows of a star table, the newest of a fact."""
        order = f" ORDER BY {self.dialect.columns(table.primary_key)} DESC" if table.kind == "fact" else ""
        return f"SELECT * FROM {self.relation(table.name)}{order} LIMIT {limit:d}"

    def count(self, table: Table) -> str:
        """Return the query of the number of rows of a star table."""
        return f"SELECT COUNT(*) AS {self.dialect.quote('row_count')} FROM {self.relation(table.name)}"

    def batch_counts(self, table: Table) -> str:
        """Return the query of the number of rows of each batch in a star table."""
        batch = self.dialect.quote("_batch")
        return (
            f"SELECT {batch}, COUNT(*) AS {self.dialect.quote('row_count')} "
            f"FROM {self.relation(table.name)} GROUP BY {batch}"
        )

    def view(self, fact: Table, suffix: str) -> str:
        """Return the SELECT of one of a fact's `VIEWS`.

        `current` has the latest versions, without deleted rows. `history` has all versions, each with its
        period of validity: `valid_from` is the time at which the platform saw the version; `valid_to` is the
        time at which it saw the next version, NULL for the latest. `change` is insert, update or delete.
        """
        quote, relation = self.dialect.quote, self.relation(fact.name)
        key, record = quote(fact.business_key or ""), quote(fact.primary_key[0])
        if suffix == "current":
            return (
                f"SELECT {self.dialect.columns(_names(fact))} FROM (SELECT *, row_number() OVER ("
                f"PARTITION BY {key} ORDER BY {record} DESC) AS {quote('_recency')} FROM {relation}"
                f") AS latest WHERE {quote('_recency')} = 1 AND {quote('_change')} <> 'delete'"
            )
        return (
            f"SELECT {self.dialect.columns(fact.column_names)}, {quote('_seen_at')} AS "
            f"{quote('valid_from')}, lead({quote('_seen_at')}) OVER (PARTITION BY {key} ORDER BY {record}) "
            f"AS {quote('valid_to')}, {quote('_change')} AS {quote('change')} FROM {relation}"
        )

    def create_view(self, fact: Table, suffix: str, select: str = "") -> str:
        """Return the DDL of one of a fact's `VIEWS`, or of the given SELECT under its name."""
        name = self.relation(f"{fact.name}_{suffix}")
        return f"CREATE OR REPLACE VIEW {name} AS {select or self.view(fact, suffix)}"

    def missing_views(self, table: Table, existing: Mapping[str, Collection[str]]) -> list[str]:
        """Return the DDL of a fact's views that are missing, or that lack a column.

        Args:
            table: A star table; a dimension has no views.
            existing: Columns of each existing table and view.
        """
        return [
            self.create_view(table, suffix)
            for suffix in (VIEWS if table.kind == "fact" else ())
            if not set(table.column_names) <= set(existing.get(f"{table.name}_{suffix}", ()))
        ]

    def declarations(self, table: Table) -> list[str]:
        """Return the declarations of a star table's columns."""
        return [self.dialect.declaration(column) for column in columns_of(table)]

    def added(self, table: Table, existing: Collection[str]) -> list[str]:
        """Return the clauses of ALTER TABLE that add missing columns; old rows have NULL in them."""
        return [
            f"ADD COLUMN IF NOT EXISTS {self.dialect.declaration(column, required=False)}"
            for column in columns_of(table)
            if column.name not in existing
        ]

    def relaxed(self, table: Table, existing: Mapping[str, bool]) -> list[str]:
        """Return the clauses of ALTER TABLE for columns that the model no longer has.

        They stay for their users and are NULL in new rows.

        Args:
            table: A star table.
            existing: The existing columns, each with whether it may be NULL.
        """
        return [
            f"ALTER COLUMN {self.dialect.quote(name)} DROP NOT NULL"
            for name in sorted(set(existing) - set(_names(table)))
            if not existing[name]
        ]

    def values(self, table: Table) -> str:
        """Return the columns of a star table in a SELECT from the lake's files, where times are text."""
        quote, time = self.dialect.quote, self.dialect.type_name(Time())
        return ", ".join(
            f"CAST({quote(column.name)} AS {time}) AS {quote(column.name)}"
            if isinstance(column.type, Time)
            else quote(column.name)
            for column in columns_of(table)
        )

    def insert(self, table: Table, rows: str, *, upsert: bool = False) -> str:
        """Return the statement that appends rows, or with `upsert` replaces those with the same key."""
        columns, names = self.dialect.columns, _names(table)
        conflict = ""
        if upsert:
            updates = ", ".join(
                f"{columns([name])} = excluded.{columns([name])}"
                for name in names
                if name not in table.primary_key
            )
            conflict = f" ON CONFLICT ({columns(table.primary_key)}) DO UPDATE SET {updates}"
        return f"INSERT INTO {self.relation(table.name)} ({columns(names)}) {rows}{conflict}"

    def write_staged(self, incoming: Incoming, staged: str) -> str:
        """Return the statement that writes a staging table's new rows; those of a dimension are merged."""
        table, quote, names = incoming.table, self.dialect.quote, _names(incoming.table)
        rows = self.staged(incoming, staged)
        if table.kind == "fact":
            return self.insert(table, rows)
        matched = " AND ".join(f"{quote('kept', name)} = {quote('new', name)}" for name in table.primary_key)
        updates = ", ".join(
            f"{quote(name)} = {quote('new', name)}" for name in names if name not in table.primary_key
        )
        return (
            f"MERGE INTO {self.relation(table.name)} AS {quote('kept')} USING ({rows}) AS {quote('new')} "
            f"ON {matched} WHEN MATCHED THEN UPDATE SET {updates} WHEN NOT MATCHED THEN INSERT "
            f"({self.dialect.columns(names)}) VALUES ({self.dialect.columns(names, 'new')})"
        )

    def staged(self, incoming: Incoming, staged: str) -> str:
        """Return the SELECT of the new rows of a staging table; for a dimension, the latest row per key."""
        table = incoming.table
        latest = f" QUALIFY {recency(table, self.dialect)} = 1" if table.kind == "dimension" else ""
        return f"SELECT {self.values(table)} FROM {staged} WHERE {self.is_new(incoming)}{latest}"

    def is_new(self, incoming: Incoming) -> str:
        """Return the condition that a staged row belongs to a batch to load."""
        if incoming.batches is None:
            return "TRUE"
        return f"{self.dialect.quote('_batch')} > {incoming.batches[0]:d}"

    def missing_parents(
        self, table: Table, child: str, parents: Callable[[str], tuple[str, str]], after: int
    ) -> str:
        """Return the query of foreign key values that a parent lacks, for `first_missing`.

        One query checks all foreign keys of a table, because a query may take a second or more.

        Args:
            table: A table with foreign keys.
            child: SQL for its rows.
            parents: Returns a dimension's key and SQL for its rows, by its name.
            after: Only rows of later batches are checked.
        """
        quote, text, selects = self.dialect.quote, self.dialect.type_name(Text()), []
        for column, name in table.foreign_keys:
            key, parent = parents(name)
            value, found = quote("new", column), quote("parent", key)
            orphans = (
                f"SELECT DISTINCT {value} AS {quote('missing')} FROM {child} AS {quote('new')} LEFT JOIN "
                f"{parent} AS {quote('parent')} ON {value} = {found} WHERE {found} IS NULL "
                f"AND {value} IS NOT NULL AND {quote('new', '_batch')} > {after:d}"
            )
            selects.append(
                f"SELECT {self.dialect.literal(column)} AS {quote('column_name')}, "
                f"CAST({quote('missing')} AS {text}) AS {quote('missing')}, {quote('place')} FROM ("
                f"SELECT {quote('missing')}, ROW_NUMBER() OVER (ORDER BY {quote('missing')}) AS "
                f"{quote('place')} FROM ({orphans}) AS {quote('orphans')}) AS {quote('placed')} "
                f"WHERE {quote('place')} <= 3"
            )
        return " UNION ALL ".join(selects)


def select_relation(dialect: Dialect, name: Sequence[str], columns: Sequence[str] | None) -> str:
    """Return the query of a table or a view, with all columns where none are named."""
    return f"SELECT {dialect.columns(columns) if columns else '*'} FROM {dialect.quote(*name)}"


def recency(table: Table, dialect: Dialect) -> str:
    """Return SQL that ranks the rows of each key from the latest, which has rank 1."""
    return (
        f"ROW_NUMBER() OVER (PARTITION BY {dialect.columns(table.primary_key)} ORDER BY "
        f"{dialect.quote('_batch')} DESC, {dialect.quote('_seen_at')} DESC)"
    )


def first_missing(rows: Iterable[Sequence[Any]]) -> dict[str, list[str]]:
    """Return the values that parents lack, by foreign key, from the rows of `StarSql.missing_parents`."""
    found: dict[str, list[str]] = {}
    for column, value, _ in sorted(rows, key=lambda row: (row[0], row[2])):
        found.setdefault(column, []).append(value)
    return found


def positions_of(rows: Iterable[Sequence[Any]]) -> dict[str, Position]:
    """Return the load position of each table from the rows of `StarSql.positions`.

    Raises:
        WarehouseError: The record of loads has the format of another version of the platform.
    """
    # Not above: the code location reads the SQL of views, and needs nothing that loads.
    from platform_assets.warehouse.loading import Position

    positions = {
        name: Position(table_id, int(version), int(batch), lake_id, loaded_at.astimezone(dt.UTC))
        for name, table_id, version, batch, lake_id, loaded_at, *_ in rows
    }
    stored = positions.pop(_FORMAT, None)
    if reason := LOADS.refusal(stored.lake_version if stored else None, "of the warehouse"):
        raise WarehouseError(reason)
    return positions


def format_of(rows: Sequence[Sequence[Any]]) -> int:
    """Return the format version of the record of loads, from the rows of `StarSql.stored_format`."""
    [(version,)] = rows
    return 1 if version is None else int(version)


def statuses(
    tables: Iterable[Table], positions: Mapping[str, Position], rows: Iterable[Sequence[Any]]
) -> Iterator[TableStatus]:
    """Yield the state of star tables from the rows of `StarSql.status`, in the order of `tables`."""
    found = {name: values for name, *values in rows}
    for table in tables:
        if table.name in found:
            (count, batch, seen_at), position = found[table.name], positions[table.name]
            seen_at = seen_at.astimezone(dt.UTC) if seen_at else None
            yield TableStatus(
                table.name,
                int(count),
                int(batch),
                seen_at,
                position.loaded_at,
                position.lake_version,
                position.table_id,
            )


def refuse_schemas_of_the_platform(
    schema: str, own: Collection[str], kind: str = "Schema", *, folds: bool = True
) -> None:
    """Reject a user's table in a schema that the platform writes to.

    Args:
        schema: The table's schema.
        own: The platform's schemas.
        kind: What the engine calls a schema.
        folds: Whether names that differ in case only may mean one schema.

    Raises:
        WarehouseError: The schema is one of the platform's.
    """
    if schema in own or (folds and schema.casefold() in {name.casefold() for name in own}):
        raise WarehouseError(
            f"{kind} {schema} of the warehouse belongs to the platform; write to another {kind.lower()}."
        )


def _names(table: Table) -> list[str]:
    return [column.name for column in columns_of(table)]
