"""The state of tables after an earlier batch, as queries in plain DuckDB SQL over the lake's files.

Bronze has every version of every row with its batch, so any state can be read for ever: no old version of a
Delta table is needed, and merged files change nothing. What a query selects is the same whether it is run by
the platform, stored as a view in a DuckDB file or pasted by a user; only files in buckets are read by the
platform through its own connection, and by users through DuckDB's `httpfs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import stored_type
from platform_assets.lake.lake import Lake, as_stored, key_json
from platform_assets.lake.ledger import LedgerState
from platform_assets.model.dialects import columns_sql, literal, quote
from platform_assets.model.table import HASH_COLUMN, Table

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from platform_assets.lake.batches import Batches

TOUCHED = "touched keys"
"""Name of the relation with the keys that a comparison is about."""


def in_text(table: LakeTable, handle: DeltaTable, files: Sequence[str]) -> str:
    """Return SQL for the rows of a table's files that any DuckDB can run, with all columns of the table."""
    listed = ", ".join(literal(file) for file in files)
    columns = ", ".join(
        f"CAST(NULL AS {stored_type(column.type)}) AS {quote(column.name)}" for column in table.columns
    )
    none = f"SELECT {columns} WHERE false"
    if not files:
        return f"({none})"
    if not table.has_files_of_several_columns(handle):
        return f"read_parquet([{listed}])"
    # Files that were written before a column was added do not have it.
    return f"(FROM read_parquet([{listed}], union_by_name = true) UNION ALL BY NAME {none})"


@dataclass(frozen=True)
class Past:
    """The lake after a batch.

    Args:
        lake: The lake.
        state: The ledger.
        batch: The batch.
        at: The time of the state, in microseconds since 1970, UTC, for tables whose rows have no batch of the
            lake's ledger.
        read: Returns SQL for the rows in some files of a table.
    """

    lake: Lake
    state: LedgerState
    batch: int
    at: int
    read: Callable[[LakeTable, DeltaTable, Sequence[str]], str] = field(default=in_text)

    def versions(self, source: str, table: Table, *, after: int = 0, valid_only: bool = True) -> str:
        """Return the SELECT of the committed row versions of a source table up to the batch.

        Args:
            source: Name of the source.
            table: The table, with the stored types.
            after: Only versions of later batches.
            valid_only: Leave out versions that are in the dead-letter table.
        """
        bronze = self.lake.bronze(source, table)
        counting = self.state.batches_of(source, table.name)
        relation, is_mixed = self.relation(bronze, bronze.open(), (after, self.batch), counting)
        conditions = [f"_batch > {after:d} AND _batch <= {self.batch:d}"]
        if is_mixed:
            ledger, _ = self.relation(self.lake.ledger.table, self.state.handle)
            conditions.append(
                f'_batch IN (SELECT batch FROM {ledger} WHERE source = {literal(source)} AND "table" = '
                f"{literal(table.name)} AND inserted + updated + deleted > 0)"
            )
        if valid_only and self.state.dead_letters(source, table.name):
            letters, _ = self.relation(self.lake.dead_letters, self.lake.dead_letters.open())
            conditions.append(
                f"NOT EXISTS (SELECT 1 FROM {letters} AS dead WHERE dead.source = {literal(source)} AND "
                f'dead."table" = {literal(table.name)} AND dead._batch = version._batch AND dead.key = '
                f"{key_json(table, 'version')})"
            )
        names = columns_sql([column.name for column in bronze.columns if column != HASH_COLUMN])
        return f"SELECT {names} FROM {relation} AS version WHERE {' AND '.join(conditions)}"

    def latest(self, source: str, table: Table, *, touched: bool = False) -> str:
        """Return the SELECT of the latest valid version of each row; deleted rows keep their last values.

        Args:
            source: Name of the source.
            table: The table, with the stored types.
            touched: Only rows whose keys are in the relation `TOUCHED`.
        """
        key = columns_sql(table.primary_key)
        some = f" SEMI JOIN {quote(TOUCHED)} USING ({key})" if touched else ""
        return (
            f"SELECT * FROM ({self.versions(source, table)}){some} "
            f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY _batch DESC) = 1"
        )

    def rows(self, table: LakeTable, condition: str = "") -> str:
        """Return the SELECT of the rows of a table whose rows stay as they are, of batches up to this one."""
        relation, _ = self.relation(table, table.open(), (0, self.batch))
        names = columns_sql([column.name for column in table.columns])
        return f"SELECT {names} FROM {relation} WHERE _batch <= {self.batch:d}{condition}"

    def relation(
        self,
        table: LakeTable,
        handle: DeltaTable | None,
        batches: tuple[int, int] | None = None,
        only: Batches | None = None,
    ) -> tuple[str, bool]:
        """Return SQL for the rows of a table, and True if some may be of batches other than `only`."""
        if handle is None:
            return in_text(table, handle, ()), False  # type: ignore[arg-type]
        files, is_mixed = table.files(handle, batches, only)
        if not files:
            return in_text(table, handle, ()), False
        return self.read(table, handle, files), is_mixed


@dataclass(frozen=True)
class PastTable:
    """A table at an earlier time.

    Attributes:
        name: Its name, such as `totesys/staff`.
        key: The columns of its key.
        columns: The columns that make a row another one if they change.
        select: Returns the SELECT of its rows after the batch of a `Past`. With `touched`, only rows whose
            keys are in the relation `TOUCHED`.
        changed: Returns the SELECT of the keys of rows that have changed after a batch, up to that of a
            `Past`.
        present: SQL that is true for rows that are not marked as deleted.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    select: Callable[[Past, bool], str]
    changed: Callable[[Past, int], str]
    present: str = "true"

    @property
    def path(self) -> tuple[str, str]:
        """Schema and name of its view."""
        schema, _, name = self.name.partition("/")
        return schema, name


@runtime_checkable
class HasPastTables(Protocol):
    """A room whose tables can be read as they were after an earlier batch."""

    def past_tables(self) -> Iterable[PastTable]:
        """Return the tables; at most their columns are looked up in the lake."""
        ...


def past_source_table(lake: Lake, source: str, declared: Table) -> PastTable:
    """Return a table of a source: its current rows at a time, without those that broke a rule.

    Args:
        lake: The lake.
        source: Name of the source.
        declared: The table.
    """
    key = columns_sql(declared.primary_key)

    def select(past: Past, touched: bool) -> str:
        table = as_stored(lake, source, declared)
        latest = past.latest(source, table, touched=touched)
        names = columns_sql([*table.column_names, "_batch", "_seen_at"])
        return f"SELECT {names} FROM ({latest}) WHERE _change <> 'delete'"

    def changed(past: Past, after: int) -> str:
        table = as_stored(lake, source, declared)
        return f"SELECT DISTINCT {key} FROM ({past.versions(source, table, after=after)})"

    name = f"{source}/{declared.name}"
    return PastTable(name, declared.primary_key, declared.column_names, select, changed)
