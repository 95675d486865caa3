"""The lake as a whole: the location of each table, and views of the committed rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from platform_assets.errors import LakeError
from platform_assets.lake.delta import LakeTable, stored_columns, table_identity, table_of_identity
from platform_assets.lake.duck import SqlEngine, stored_type
from platform_assets.lake.interfaces import CurrentTable
from platform_assets.lake.ledger import LEDGER_COLUMNS, Ledger, LedgerState
from platform_assets.lake.races import retry_while_others_progress
from platform_assets.model.dialects import columns_sql, literal, quote
from platform_assets.model.table import HASH_COLUMN, PLATFORM_COLUMNS, Column, Table, Text
from platform_assets.stored import ASSET, BRONZE, DEAD_LETTERS, LEDGER, STAR, StoredFormat

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

DEAD_LETTER_COLUMNS = (
    Column("source", Text(), "Name of the source"),
    Column("table", Text(), "Table of the row"),
    Column("key", Text(), "Primary key of the row, as a JSON object"),
    Column("reason", Text(), "The rules that the row breaks, as rule(column), separated by '; '"),
    Column("row", Text(), "The whole row, as a JSON object"),
    *PLATFORM_COLUMNS,
)
_WRITER = "platform_assets/io_manager"
_LONGEST_READABLE_NAME = 40
_DEEPEST_TABLE = 6


def bronze_stream(source: str) -> str:
    """Return the name of the app transaction whose version is the last batch in a table of a source."""
    return f"platform_assets/{source}"


def lost_commits(lake: Lake, source: str, table: Table, handle: DeltaTable | None, last: int) -> str:
    """Return what is wrong with a table of a source that has lost its newest commits; empty if it has not.

    Delta does not notice that the newest entries of a log are gone: the table is then an older one.

    Args:
        lake: The lake.
        source: Name of the source.
        table: The table.
        handle: The table in the lake, opened after the ledger was read.
        last: The last batch that changed the table, as the ledger says.
    """
    bronze = lake.bronze(source, table)
    held = bronze.cursor(handle, bronze_stream(source))
    if held >= last or (held := max(held, bronze.last_batch(handle))) >= last:
        return ""
    return (
        f"The lake's table {source}/{table.name} has lost its newest commits: it ends with batch {held}, and "
        f"the ledger says that batch {last} changed it. Restore {bronze.uri} from a backup. To see what is "
        "missing, and what to do without a backup: platform-assets lake verify."
    )


def folder_name(table: str) -> str:
    """Return the folder of a source table: its name if that is plain, else a unique readable name.

    PostgreSQL names may contain any character, and case-insensitive disks would merge two tables. A name that
    does not match `[a-z0-9_]+` is therefore made readable and gets a hash of the full name.
    """
    if re.fullmatch(r"[a-z0-9_]+", table):
        return table
    readable = re.sub(r"[^a-z0-9_]+", "-", table.lower()).strip("-")[:_LONGEST_READABLE_NAME]
    return f"{readable or 'table'}-{hashlib.blake2b(table.encode(), digest_size=4).hexdigest()}"


def key_json(table: Table, alias: str) -> str:
    """Return SQL for a row's primary key as a JSON object, its form in the dead-letter table."""
    members = ", ".join(f"{literal(name)}, {quote(alias, name)}" for name in table.primary_key)
    return f"CAST(json_object({members}) AS VARCHAR)"


def key_columns_sql(table: Table) -> str:
    """Return SQL for the columns of a primary key, from the column `key` of the dead-letter table."""
    return ", ".join(
        f"CAST(json_extract_string(key, {literal(_pointer(name))}) AS {stored_type(table.column(name).type)})"
        f" AS {quote(name)}"
        for name in table.primary_key
    )


def _pointer(name: str) -> str:
    """Return the JSON pointer (RFC 6901) of a member."""
    return f"/{name.replace('~', '~0').replace('/', '~1')}"


@dataclass(frozen=True)
class Lake:
    """The two zones of the lake.

    Args:
        ingestion: Folder or URI of the zone with the bronze tables, the dead letters and the ledger.
        processed: Folder or URI of the zone with the star schema and all other derived tables.
        storage_options: Returns the object-store options with secrets resolved; called when they are needed.
        held_back: Reasons why star tables may not be used, by table name.
    """

    ingestion: str
    processed: str
    storage_options: Callable[[], dict[str, str]] = field(repr=False, default=dict)
    held_back: Mapping[str, str] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        """Ledger of batches."""
        return Ledger(self._table(self.ingestion, "_ledger", LEDGER_COLUMNS, LEDGER))

    @property
    def dead_letters(self) -> LakeTable:
        """Rows that broke a declared rule, one per row version."""
        return self._table(self.ingestion, "_dead_letters", DEAD_LETTER_COLUMNS, DEAD_LETTERS)

    def bronze(self, source: str, table: Table) -> LakeTable:
        """Return the append-only change log of a source table, in the folder given by `folder_name`."""
        return self._table(
            self.ingestion,
            f"{source}/{folder_name(table.name)}",
            (*table.columns, *PLATFORM_COLUMNS, HASH_COLUMN),
            BRONZE,
        )

    def holding_back(self, reasons: Mapping[str, str]) -> Self:
        """Return a copy of the lake in which these star tables cannot be opened."""
        return replace(self, held_back={**self.held_back, **reasons}) if reasons else self

    def star(self, table: Table) -> LakeTable:
        """Return a table of the star schema.

        Raises:
            LakeError: The table is held back.
        """
        if table.name in self.held_back:
            raise LakeError(self.held_back[table.name])
        return self._table(self.processed, f"star/{table.name}", (*table.columns, *PLATFORM_COLUMNS), STAR)

    def found_tables(self) -> Iterator[tuple[str, str, LakeTable]]:
        """Yield the Delta tables that the zones have, whoever wrote them: zone, path in it, and the table.

        They are declared without columns.
        """
        from platform_assets.lake.upkeep.store import LOG, TableStore

        def below(
            zone: str, store: TableStore, folder: str, depth: int
        ) -> Iterator[tuple[str, str, LakeTable]]:
            inner = store.folders(folder)
            if LOG in inner:
                yield zone, folder, self._table(self.path(zone), folder, ())
                return
            for name in sorted(inner) if depth else ():
                yield from below(zone, store, f"{folder}/{name}".lstrip("/"), depth - 1)

        for zone in ("ingestion", "processed"):
            root = LakeTable(self.path(zone), (), self.storage_options)
            if not root.is_local or Path(root.uri).is_dir():
                yield from below(zone, TableStore(root), "", _DEEPEST_TABLE)

    def path(self, zone: str, *parts: str) -> str:
        """Return the folder or URI of a path in the zone `ingestion` or `processed`."""
        return "/".join((getattr(self, zone), *parts))

    def _table(
        self, zone: str, name: str, columns: Sequence[Column], format_: StoredFormat | None = None
    ) -> LakeTable:
        return LakeTable(f"{zone}/{name}", tuple(columns), self.storage_options, format_)


@dataclass(frozen=True)
class BronzeReader:
    """Reader of the committed row versions of a source, at one state of the ledger.

    Args:
        lake: The lake.
        source: Name of the source.
        state: State of the ledger that decides which batches are committed.
    """

    lake: Lake
    source: str
    state: LedgerState

    def opened(self, table: Table, after: int = 0) -> DeltaTable | None:
        """Open the bronze table of a source table to read it; None if nothing was ever written to it.

        Args:
            table: The source table.
            after: The batch after which its rows are needed.

        Raises:
            LakeError: The table has lost batches that are needed.
        """
        handle = self.lake.bronze(self.source, table).look()
        newest = self.state.last_batch_of([(self.source, table.name)])
        if newest > after and (lost := lost_commits(self.lake, self.source, table, handle, newest)):
            raise LakeError(lost)
        return handle

    def create_versions_view(
        self,
        connection: duckdb.DuckDBPyConnection,
        view: Sequence[str],
        table: Table,
        *,
        after: int = 0,
        up_to: int | None = None,
        uncommitted: int | None = None,
        handle: DeltaTable | None = None,
        valid_only: bool = True,
    ) -> None:
        """Create a DuckDB view of the committed row versions of a table, with the columns of bronze.

        Args:
            connection: Connection in which the view is created.
            view: Qualified name of the view.
            table: The source table.
            after: Only batches after this one.
            up_to: Only batches up to this one; None for the ledger's last batch.
            uncommitted: A batch to include although the ledger does not have it yet: the batch being
                written.
            handle: The bronze table, if the caller has already opened it.
            valid_only: Leave out versions that are in the dead-letter table.
        """
        last = self.state.last_batch if up_to is None else up_to
        bronze = self.lake.bronze(self.source, table)
        if handle is None:
            handle = self.opened(table, after)
        if uncommitted is not None:
            last = max(last, uncommitted)
        name = ".".join(view)
        raw = f"{name} files"
        counting = self.state.batches_of(self.source, table.name)
        if uncommitted is not None:
            counting = counting.with_one(uncommitted)
        is_mixed = bronze.create_view(connection, [raw], handle, batches=(after, last), only=counting)
        condition = "true"
        if is_mixed:
            # Filter by row only if filtering by file does not suffice: it takes ten times as long.
            connection.register("ledger", self.state.rows)
            condition = (
                f"(_batch IN (SELECT batch FROM ledger WHERE source = {literal(self.source)}"
                f' AND "table" = {literal(table.name)} AND inserted + updated + deleted > 0)'
                + (f" OR _batch = {uncommitted:d})" if uncommitted is not None else ")")
            )
        if valid_only and (uncommitted is not None or self.state.dead_letters(self.source, table.name)):
            condition += f" AND {self._is_valid_sql(connection, name, table)}"
        connection.execute(
            f"CREATE OR REPLACE VIEW {quote(*view)} AS SELECT * FROM {quote(raw)} AS version WHERE "
            f"{condition}"
        )

    def create_valid_versions_view(
        self, connection: duckdb.DuckDBPyConnection, view: Sequence[str], table: Table, versions: str
    ) -> None:
        """Create a DuckDB view of those versions of a table that are not in the dead-letter table.

        Args:
            connection: Connection in which the view is created.
            view: Qualified name of the view.
            table: The source table.
            versions: Name of the view of the versions, see `create_versions_view`.
        """
        condition = "true"
        if self.state.dead_letters(self.source, table.name):
            condition = self._is_valid_sql(connection, ".".join(view), table)
        connection.execute(
            f"CREATE OR REPLACE VIEW {quote(*view)} AS SELECT * FROM {quote(versions)} AS version "
            f"WHERE {condition}"
        )

    def _is_valid_sql(self, connection: duckdb.DuckDBPyConnection, view: str, table: Table) -> str:
        """Return SQL for whether a row `version` is not in the dead-letter table, for a view of this name."""
        dead = f"{view} dead letters"
        self.create_dead_letters_view(connection, [dead], table)
        return (
            f"NOT EXISTS (SELECT 1 FROM {quote(dead)} AS dead"
            f" WHERE dead._batch = version._batch AND dead.key = {key_json(table, 'version')})"
        )

    def create_latest_view(
        self,
        connection: duckdb.DuckDBPyConnection,
        view: Sequence[str],
        table: Table,
        *,
        after: int = 0,
        up_to: int | None = None,
    ) -> None:
        """Create a view of the latest valid version of each row; deleted rows keep their last values.

        With `after`, only rows that changed after that batch; the arguments are those of
        `create_versions_view`.
        """
        versions = [*view[:-1], f"{view[-1]} versions"]
        self.create_versions_view(connection, versions, table, after=after, up_to=up_to)
        key = columns_sql(table.primary_key)
        connection.execute(
            f"CREATE OR REPLACE VIEW {quote(*view)} AS SELECT * FROM {quote(*versions)} "
            f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY _batch DESC) = 1"
        )

    def create_current_view(
        self, connection: duckdb.DuckDBPyConnection, view: Sequence[str], table: Table
    ) -> None:
        """Create a view of the source's current rows: the latest valid versions, without deleted rows."""
        latest = [*view[:-1], f"{view[-1]} latest"]
        self.create_latest_view(connection, latest, table)
        connection.execute(
            f"CREATE OR REPLACE VIEW {quote(*view)} AS SELECT * FROM {quote(*latest)} WHERE _change <> "
            f"'delete'"
        )

    def create_dead_letters_view(
        self, connection: duckdb.DuckDBPyConnection, view: Sequence[str], table: Table
    ) -> None:
        """Create a DuckDB view of a table's dead letters, with the columns of `DEAD_LETTER_COLUMNS`.

        The view includes the dead letters of the batch being written; the caller filters by batch.
        """
        raw = f"{'.'.join(view)} files"
        self.lake.dead_letters.create_view(connection, [raw], self.lake.dead_letters.open())
        connection.execute(
            f"CREATE OR REPLACE VIEW {quote(*view)} AS SELECT * FROM {quote(raw)} "
            f'WHERE source = {literal(self.source)} AND "table" = {literal(table.name)}'
        )


def as_stored(lake: Lake, source: str, table: Table) -> Table:
    """Return a source table with the types stored in the lake, which may differ from a newer catalogue.

    Raises:
        LakeError: The table has no columns: it is not in its source's catalogue yet.
    """
    if not table.columns:
        raise LakeError(
            f"{source}/{table.name} cannot be read: its columns and its key are not known yet. "
            f"Write the catalogue of its source: platform-assets source discover {source}."
        )
    handle = lake.bronze(source, table).open()
    types = {column.name: column.type for column in stored_columns(handle)} if handle is not None else {}
    columns = (replace(column, type=types.get(column.name, column.type)) for column in table.columns)
    return replace(table, columns=tuple(columns))


def current_source_table(lake: Lake, source: str, table: Table) -> CurrentTable:
    """Return the current rows of a source table that keep the declared rules.

    Raises:
        LakeError: The table's columns are not known yet, or the lake cannot be read.
    """
    stored, state = as_stored(lake, source, table), lake.ledger.read()
    reader = BronzeReader(lake, source, state)
    return CurrentTable(
        f"{state.lake_id[:8]}.{state.last_batch_of([(source, table.name)])}",
        stored.column_names,
        lambda connection, name: reader.create_current_view(connection, [name], stored),
    )


def current_star_table(lake: Lake, table: Table, stream: str) -> CurrentTable:
    """Return the rows of a star table.

    Args:
        lake: The lake.
        table: The table.
        stream: Name of the app transaction that counts the batches in it.

    Raises:
        LakeError: The table was not built yet, or cannot be read.
    """
    target = lake.star(table)
    handle = target.open()
    if handle is None:
        raise LakeError(f"star/{table.name} has no rows yet. Build it first: platform-assets run.")
    return CurrentTable(
        f"{_short(table_identity(handle))}.{target.cursor(handle, stream)}",
        table.column_names,
        lambda connection, name: target.create_view(connection, [name], handle),
    )


def _short(identity: str) -> str:
    """Return the beginning of an identity, with the number of times that the rows were rebuilt."""
    return identity[:8] + identity[len(table_of_identity(identity)) :]


def current_other_table(lake: Lake, path: Sequence[str]) -> CurrentTable:
    """Return the rows of a table of the processed zone that is not one of the platform's own.

    Raises:
        LakeError: The path has no table.
    """
    target = LakeTable(lake.path("processed", *path), (), lake.storage_options, ASSET)
    handle = target.open()
    if handle is None:
        raise LakeError(
            f"There is no table {'/'.join(path)} in {lake.processed}; materialize the asset of that key "
            f"first."
        )
    declared = replace(target, columns=stored_columns(handle))
    return CurrentTable(
        f"{str(handle.metadata().id)[:8]}.{target.cursor(handle, _WRITER)}",
        tuple(column.name for column in declared.columns),
        lambda connection, name: declared.create_view(connection, [name], handle),
    )


def stream_versions(lake: Lake, engine: SqlEngine, source: str, table: Table) -> pa.RecordBatchReader:
    """Stream every committed row version of a source table in batch order, with the columns of bronze."""
    order = columns_sql(["_batch", *table.primary_key])
    return _stream_view(
        lake, engine, source, table, "create_versions_view", f" ORDER BY {order}", valid_only=False
    )


def stream_current(lake: Lake, engine: SqlEngine, source: str, table: Table) -> pa.RecordBatchReader:
    """Stream the current rows of a source table that keep the declared rules.

    The columns are those of bronze.
    """
    return _stream_view(lake, engine, source, table, "create_current_view", "")


def _stream_view(
    lake: Lake, engine: SqlEngine, source: str, table: Table, create: str, order: str, **options: bool
) -> pa.RecordBatchReader:
    bronze = lake.bronze(source, table)
    handle, schema = bronze.open(), bronze.arrow_schema
    if handle is not None:
        # The stored column may be wider than in the catalogue file, or have the type of an older lake.
        stored = {field.name: field for field in pa.schema(handle.schema().to_arrow())}
        schema = pa.schema(
            [
                field.with_type(stored[field.name].type)
                if pa.types.is_floating(field.type) and field.name in stored
                else field
                for field in schema
            ]
        )
    state = lake.ledger.read()

    def prepare(connection: duckdb.DuckDBPyConnection) -> None:
        getattr(BronzeReader(lake, source, state), create)(connection, ["streamed"], table, **options)

    return engine.stream(f"FROM streamed{order}", schema, prepare)


def stream_star(lake: Lake, table: Table) -> pa.RecordBatchReader:
    """Stream a star table with its stored columns."""
    target = lake.star(table)
    return target.scan(target.open())


def stream_table(lake: Lake, path: Sequence[str]) -> pa.RecordBatchReader:
    """Stream a table of the processed zone that is not one of the platform's own.

    Raises:
        LakeError: The path has no table.
    """
    target = LakeTable(lake.path("processed", *path), (), lake.storage_options, ASSET)
    handle = target.open()
    if handle is None:
        raise LakeError(
            f"The table {'/'.join(path)} does not exist in {lake.processed}: materialize the asset of that "
            "key first."
        )
    return target.scan(handle)


def write_table(
    lake: Lake, path: Sequence[str], rows: pa.RecordBatchReader | Callable[[], pa.RecordBatchReader]
) -> int:
    """Replace a table of the processed zone that is not one of the platform's own; return its row count.

    Args:
        lake: The lake.
        path: Parts of the table's folder in the zone.
        rows: The content: a stream that can be read once, or a function that returns such streams.

    Raises:
        LakeError: The path belongs to one of the platform's own tables, or writing failed.
        LakeConflict: Another run wrote to the table at the same time, and the rows can be read only once.
    """
    if path[0].casefold() == "star":  # STAR/ is the same folder on a case-insensitive file system
        raise LakeError(
            "The asset cannot be stored: tables under star/ are the platform's own. Give it another key "
            "prefix."
        )
    target = LakeTable(lake.path("processed", *path), (), lake.storage_options, ASSET)

    def replace(content: pa.RecordBatchReader) -> int:
        handle = target.open()
        target.overwrite(handle, content, stream=_WRITER, version=target.cursor(handle, _WRITER) + 1)
        return target.row_count(handle or target.open())

    if isinstance(rows, pa.RecordBatchReader):
        return replace(rows)
    return retry_while_others_progress(lambda: replace(rows()), target.version)
