"""The lake as a whole: where each table is, and views of what counts in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import pyarrow as pa

from platform_assets.errors import LakeError
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine, columns_sql, literal, quote
from platform_assets.lake.ledger import LEDGER_COLUMNS, Ledger, LedgerState
from platform_assets.lake.races import retry_while_others_progress
from platform_assets.model.table import HASH_COLUMN, PLATFORM_COLUMNS, Column, Table, Text

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

DEAD_LETTER_COLUMNS = (
    Column("source", Text(), "Name of the source"),
    Column("table", Text(), "Table the row belongs to"),
    Column("key", Text(), "The row's primary key, as a JSON object"),
    Column("reason", Text(), "The rules that the row breaks, as rule(column), separated by '; '"),
    Column("row", Text(), "The whole row, as a JSON object"),
    *PLATFORM_COLUMNS,
)
_WRITER = "platform_assets/io_manager"
_LONGEST_READABLE_NAME = 40


def folder_name(table: str) -> str:
    """The folder of a source's table: its name where that is plain, else one that nothing else has.

    PostgreSQL's names hold anything, and disks that do not tell upper from lower case would take two tables
    for one: what is not `[a-z0-9_]+` is made readable, and told apart by a hash of the whole name.
    """
    if re.fullmatch(r"[a-z0-9_]+", table):
        return table
    readable = re.sub(r"[^a-z0-9_]+", "-", table.lower()).strip("-")[:_LONGEST_READABLE_NAME]
    return f"{readable or 'table'}-{hashlib.blake2b(table.encode(), digest_size=4).hexdigest()}"


def key_json(table: Table, alias: str) -> str:
    """SQL for a row's primary key as a JSON object, the form it has in the dead-letter table."""
    members = ", ".join(f"{literal(name)}, {quote(alias, name)}" for name in table.primary_key)
    return f"CAST(json_object({members}) AS VARCHAR)"


@dataclass(frozen=True)
class Lake:
    """The two zones of the lake.

    Args:
        ingestion: Folder or URI of the zone that holds bronze tables, dead letters and the ledger.
        processed: Folder or URI of the zone that holds the star schema and everything else that is derived.
        storage_options: Gives object-store options when they are needed, secrets resolved.
        held_back: Why a star table may not be used, by its name.
    """

    ingestion: str
    processed: str
    storage_options: Callable[[], dict[str, str]] = field(repr=False, default=dict)
    held_back: Mapping[str, str] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        """The ledger of batches."""
        return Ledger(self._table(self.ingestion, "_ledger", LEDGER_COLUMNS))

    @property
    def dead_letters(self) -> LakeTable:
        """Rows that broke a declared rule, one per row version."""
        return self._table(self.ingestion, "_dead_letters", DEAD_LETTER_COLUMNS)

    def bronze(self, source: str, table: Table) -> LakeTable:
        """The append-only change log of a source table, in the folder that `folder_name` gives it."""
        return self._table(
            self.ingestion,
            f"{source}/{folder_name(table.name)}",
            (*table.columns, *PLATFORM_COLUMNS, HASH_COLUMN),
        )

    def holding_back(self, reasons: Mapping[str, str]) -> Self:
        """The same lake, in which these star tables cannot be opened."""
        return replace(self, held_back={**self.held_back, **reasons}) if reasons else self

    def star(self, table: Table) -> LakeTable:
        """A table of the star schema.

        Raises:
            LakeError: It is held back.
        """
        if table.name in self.held_back:
            raise LakeError(self.held_back[table.name])
        return self._table(self.processed, f"star/{table.name}", (*table.columns, *PLATFORM_COLUMNS))

    def path(self, zone: str, *parts: str) -> str:
        """Folder or URI of something in the zone `ingestion` or `processed`."""
        return "/".join((getattr(self, zone), *parts))

    def _table(self, zone: str, name: str, columns: Sequence[Column]) -> LakeTable:
        return LakeTable(f"{zone}/{name}", tuple(columns), self.storage_options)


@dataclass(frozen=True)
class BronzeReader:
    """Reads the versions of a source's rows that count, at one state of the ledger.

    Args:
        lake: The lake.
        source: Name of the source.
        state: The ledger to go by.
    """

    lake: Lake
    source: str
    state: LedgerState

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
        """Make the committed versions of a table's rows a view in DuckDB, columns as in bronze.

        Args:
            connection: Where the view is made.
            view: Qualified name of the view.
            table: The source table.
            after: Only batches after this one.
            up_to: Only batches up to this one; the ledger's last where None.
            uncommitted: A batch that counts too though the ledger does not have it yet: the one being
                written.
            handle: The bronze table, where the caller has it open already.
            valid_only: Leave out versions that are in the dead-letter table.
        """
        last = self.state.last_batch if up_to is None else up_to
        if uncommitted is not None:
            last = max(last, uncommitted)
        bronze = self.lake.bronze(self.source, table)
        name = ".".join(view)
        raw = f"{name} files"
        counting = self.state.batches_of(self.source, table.name)
        if uncommitted is not None:
            counting |= {uncommitted}
        is_mixed = bronze.create_view(
            connection, [raw], handle or bronze.open(), batches=(after, last), only=counting
        )
        condition = "true"
        if is_mixed:
            # Row by row, where whole files cannot be chosen: looking up rows takes ten times as long.
            connection.register("ledger", self.state.rows)
            condition = (
                f"(_batch IN (SELECT batch FROM ledger WHERE source = {literal(self.source)}"
                f' AND "table" = {literal(table.name)} AND inserted + updated + deleted > 0)'
                + (f" OR _batch = {uncommitted:d})" if uncommitted is not None else ")")
            )
        if valid_only and (uncommitted is not None or self.state.dead_letters(self.source, table.name)):
            dead = f"{name} dead letters"
            self.create_dead_letters_view(connection, [dead], table)
            condition += (
                f" AND NOT EXISTS (SELECT 1 FROM {quote(dead)} AS dead"
                f" WHERE dead._batch = version._batch AND dead.key = {key_json(table, 'version')})"
            )
        connection.execute(
            f"CREATE OR REPLACE VIEW {quote(*view)} AS SELECT * FROM {quote(raw)} AS version WHERE "
            f"{condition}"
        )

    def create_latest_view(
        self, connection: duckdb.DuckDBPyConnection, view: Sequence[str], table: Table, *, after: int = 0
    ) -> None:
        """Make the latest valid version of each row a view, deleted rows included with their last values.

        With `after`, only rows that changed after that batch; the arguments are those of
        `create_versions_view`.
        """
        versions = [*view[:-1], f"{view[-1]} versions"]
        self.create_versions_view(connection, versions, table, after=after)
        key = columns_sql(table.primary_key)
        connection.execute(
            f"CREATE OR REPLACE VIEW {quote(*view)} AS SELECT * FROM {quote(*versions)} "
            f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY _batch DESC) = 1"
        )

    def create_current_view(
        self, connection: duckdb.DuckDBPyConnection, view: Sequence[str], table: Table
    ) -> None:
        """Make the rows that the source has now a view: the latest valid versions, deletions left out."""
        latest = [*view[:-1], f"{view[-1]} latest"]
        self.create_latest_view(connection, latest, table)
        connection.execute(
            f"CREATE OR REPLACE VIEW {quote(*view)} AS SELECT * FROM {quote(*latest)} WHERE _change <> "
            f"'delete'"
        )

    def create_dead_letters_view(
        self, connection: duckdb.DuckDBPyConnection, view: Sequence[str], table: Table
    ) -> None:
        """Make a table's dead letters a view in DuckDB, with the columns of `DEAD_LETTER_COLUMNS`.

        Those of the batch that is being written are among them: the caller picks batches.
        """
        raw = f"{'.'.join(view)} files"
        self.lake.dead_letters.create_view(connection, [raw], self.lake.dead_letters.open())
        connection.execute(
            f"CREATE OR REPLACE VIEW {quote(*view)} AS SELECT * FROM {quote(raw)} "
            f'WHERE source = {literal(self.source)} AND "table" = {literal(table.name)}'
        )


def stream_versions(lake: Lake, engine: SqlEngine, source: str, table: Table) -> pa.RecordBatchReader:
    """Stream every committed version of a source table's rows, columns as in bronze, in order of batch."""
    order = columns_sql(["_batch", *table.primary_key])
    return _stream_view(
        lake, engine, source, table, "create_versions_view", f" ORDER BY {order}", valid_only=False
    )


def stream_current(lake: Lake, engine: SqlEngine, source: str, table: Table) -> pa.RecordBatchReader:
    """Stream the rows that a source table has now, as far as they keep the declared rules.

    Columns as in bronze.
    """
    return _stream_view(lake, engine, source, table, "create_current_view", "")


def _stream_view(
    lake: Lake, engine: SqlEngine, source: str, table: Table, create: str, order: str, **options: bool
) -> pa.RecordBatchReader:
    bronze = lake.bronze(source, table)
    handle, schema = bronze.open(), bronze.arrow_schema
    if handle is not None:
        # A source's column may have become wider than its catalogue file knows, or be as an old lake has it.
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
    """Stream a star table, columns as stored."""
    target = lake.star(table)
    return target.scan(target.open())


def stream_table(lake: Lake, path: Sequence[str]) -> pa.RecordBatchReader:
    """Stream a table of the processed zone that is not one of the platform's own.

    Raises:
        LakeError: There is none at this path.
    """
    target = LakeTable(lake.path("processed", *path), (), lake.storage_options)
    handle = target.open()
    if handle is None:
        raise LakeError(
            f"There is no table {'/'.join(path)} in {lake.processed}; materialize the asset of that key "
            f"first."
        )
    return target.scan(handle)


def write_table(
    lake: Lake, path: Sequence[str], rows: pa.RecordBatchReader | Callable[[], pa.RecordBatchReader]
) -> int:
    """Replace a table of the processed zone that is not one of the platform's own; its number of rows.

    Args:
        lake: The lake.
        path: The table's folder in the zone, part by part.
        rows: Its content: a stream that can be read once, or what gives such streams.

    Raises:
        LakeError: The path is that of one of the platform's own tables, or writing failed.
        LakeConflict: Another run wrote to it at the same time, and the rows can be read but once.
    """
    if path[0].casefold() == "star":  # STAR/ is the same folder where a file system does not tell the case
        raise LakeError("Tables under star/ are the platform's own; give the asset another key prefix.")
    target = LakeTable(lake.path("processed", *path), (), lake.storage_options)

    def replace(content: pa.RecordBatchReader) -> int:
        handle = target.open()
        target.overwrite(handle, content, stream=_WRITER, version=target.cursor(handle, _WRITER) + 1)
        return target.row_count(handle or target.open())

    if isinstance(rows, pa.RecordBatchReader):
        return replace(rows)
    return retry_while_others_progress(lambda: replace(rows()), target.version)
