"""Engine-independent load of the star schema: the rows to load, the order of tables, and the verification.

This module defines the steps of a load and their transaction with its record; the engines implement each
step, with the statements of `warehouse/sql.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from platform_assets.errors import WarehouseBusy, WarehouseError
from platform_assets.isolation import Isolation, is_isolated
from platform_assets.lake.delta import file_statistics, table_identity, table_of_identity
from platform_assets.lake.races import Patience, retry_while_others_progress
from platform_assets.model.dialects import literal
from platform_assets.model.star_model import STREAM, columns_of
from platform_assets.warehouse.interface import Load, TableStatus

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    from deltalake import DeltaTable

    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Table

_ALL_LATER_BATCHES = 2**62
SUPERSEDED = "*"
"""Suffix of the lake table's identity in load records whose rows are gone from the warehouse."""
# Time to wait for another run that has written rows but not yet rows that they point to.
_PATIENCE = Patience(idle_tries=0)


@dataclass(frozen=True)
class Position:
    """Load position of a star table in a warehouse, from the newest record of a load.

    Args:
        table_id: Identity of the lake table; a different identity means that the star schema was rebuilt.
        lake_version: Version of the lake table; -1 before the first load.
        batch: The last batch in that version.
        lake_id: Identity of the lake.
        loaded_at: Time of that load, UTC; None before the first load.
    """

    table_id: str = ""
    lake_version: int = -1
    batch: int = 0
    lake_id: str = ""
    loaded_at: dt.datetime | None = None

    def is_of_another(self, handle: DeltaTable) -> bool:
        """Return True if the loaded rows came from a different lake table than the current one."""
        if not self.table_id:
            return False
        known = not self.is_superseded and table_of_identity(self.table_id) == str(handle.metadata().id)
        if known and handle.version() <= self.lake_version:
            return False  # nothing was rebuilt since
        return self.table_id != table_identity(handle)

    @property
    def is_superseded(self) -> bool:
        """True if the record is marked: the loaded rows are gone."""
        return self.table_id.endswith(SUPERSEDED)

    @property
    def superseded(self) -> Position:
        """The same position, marked because the loaded rows are gone."""
        return replace(self, table_id=f"{self.table_id}{SUPERSEDED}")

    def lacks(self, handle: DeltaTable) -> bool:
        """Return True if a lake table has rows that were not loaded."""
        return self.is_of_another(handle) or handle.version() > self.lake_version


@dataclass(frozen=True)
class Incoming:
    """Rows of a star table in the lake that the warehouse lacks.

    Args:
        table: The star table.
        source: The table in the lake.
        handle: The version of the lake table to load.
        after: The last batch in the warehouse; only rows of later batches are missing.
        is_first: Whether the warehouse has none of the table's rows.
        lake_id: Identity of the lake.
    """

    table: Table
    source: LakeTable
    handle: DeltaTable
    after: int
    is_first: bool
    lake_id: str

    @property
    def table_id(self) -> str:
        """Identity of the lake table, for the record of the load."""
        return table_identity(self.handle)

    @property
    def lake_version(self) -> int:
        """Version of the lake table, for the record of the load."""
        return int(self.handle.version())

    @property
    def batch(self) -> int:
        """The last batch in the lake table."""
        return self.source.cursor(self.handle, STREAM)

    @property
    def batches(self) -> tuple[int, int] | None:
        """Batches to load, after the first number and up to the second; None for all rows.

        A backdated table's new rows may belong to batches that were loaded before.
        """
        return None if self.table.is_backdated else (self.after, _ALL_LATER_BATCHES)

    @property
    def files(self) -> dict[str, int]:
        """The lake table's files that may hold rows to load: relative paths and row counts.

        Only the required statistics columns are read: others hold dates outside Python's range.
        """
        names = ("path", "num_records", "max._batch")
        statistics = file_statistics(self.handle)
        found = {name: statistics[name].to_pylist() for name in names if name in statistics.column_names}
        after = self.batches[0] if self.batches is not None else None
        last = found.get("max._batch") or [None] * statistics.num_rows
        return {
            str(path): int(rows)
            for path, rows, batch in zip(found["path"], found["num_records"], last, strict=True)
            if after is None or batch is None or batch > after
        }

    def create_view(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Create the view `incoming` of the rows to load."""
        self.source.create_view(connection, ["incoming"], self.handle, batches=self.batches, temporary=True)
        # Row order is not preserved: ordered rows are buffered in memory.
        connection.execute("SET preserve_insertion_order = false")

    def write_parquet(self, engine: SqlEngine, file: Path, condition: str = "") -> int:
        """Write the rows to load to a Parquet file in bounded memory; return their number.

        Args:
            engine: Memory and threads.
            file: The file.
            condition: A clause that selects some of the rows, such as QUALIFY.
        """
        with engine.connect() as connection:
            self.create_view(connection)
            [(count,)] = connection.execute(
                f"COPY (FROM incoming {condition}) TO {literal(str(file))} "
                "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 65536)"
            ).fetchall()
        return int(count)


class LoadSession(Protocol):
    """A transaction that loads star tables and excludes other loaders.

    In engines whose DDL commits by itself, tables and columns are complete before the transaction: for them
    are the defaults of `lacking` and `prepare`.
    """

    def positions(self) -> dict[str, Position]:
        """Return the load position of each table, as this transaction sees it."""

    def lacking(self) -> Mapping[str, Set[str]]:
        """Return the missing columns of star tables, as this transaction sees them; see `Target.lacking`."""
        return {}

    def prepare(self, filled: Sequence[Incoming], dropped: Set[str], superseded: Set[str]) -> None:
        """Create all missing tables, columns and views, where the engine does so in the transaction.

        Args:
            filled: The rows that this load writes.
            dropped: Tables that a user dropped and that are not filled; they are not created. The load that
                fills them creates them, so that a failure stops that table only.
            superseded: Tables whose load records become `Position.superseded`.
        """
        return

    def clear(self, table: Table) -> None:
        """Remove all rows from a star table, because the lake's table was rebuilt."""

    def write(self, incoming: Incoming) -> int:
        """Append rows to a fact, or merge them into a dimension by key; return the number of rows written."""

    def record(self, incoming: Incoming, rows_written: int) -> None:
        """Record the load of a table: its identity, version, batch, time and number of rows."""

    def count(self, table: Table) -> int:
        """Return the number of rows of a star table."""

    def missing_parents(self, table: Table, after: int) -> Mapping[str, Sequence[str]]:
        """Return up to three values, in order, of later batches that a parent lacks, by foreign key."""


@dataclass(frozen=True)
class Target:
    """The operations of an engine that a load needs.

    Args:
        name: Name of the warehouse at the start of messages, such as "The warehouse x.duckdb".
        positions: Returns the load position of each table; empty before the first load. Takes no lock.
        status: Returns the state of each existing star table.
        session: Opens a transaction that can load the given rows, and takes the lock. It commits at the end;
            an error leaves nothing behind.
        start_afresh: Advice on how to load the warehouse from another lake, as a sentence.
        lacking: Returns the missing columns of star tables; all columns if a table is missing.
        tables: The whole star schema, as the model declares it.
    """

    name: str
    positions: Callable[[], Mapping[str, Position]]
    status: Callable[[], Sequence[TableStatus]]
    session: Callable[[Sequence[Incoming]], AbstractContextManager[LoadSession]]
    start_afresh: str
    tables: Sequence[Table]
    lacking: Callable[[], Mapping[str, Set[str]]] = dict


class _ParentsMissing(WarehouseError):
    """Rows reference missing dimension rows, possibly because another run is about to write them."""


def load_star(
    lake: Lake, tables: Sequence[Table], target: Target, again: Collection[str] = ()
) -> dict[str, Load]:
    """Load the new rows of star tables; see `Warehouse.load`.

    The load is one transaction. If it fails for any table, each table is loaded in its own transaction, so
    that a failing table keeps its last loaded data and does not block the others.

    Raises:
        WarehouseBusy: The engine was busy, or another load won a race.
        PlatformError: No table could be loaded. Errors of other types are raised in the same case.
    """
    wanted = with_dimensions(tables, target.tables)
    seen: list[int] = []

    def versions() -> list[int]:
        return [lake.star(table).version() for table in wanted]

    def load() -> dict[str, Load]:
        try:
            return _load(lake, wanted, target, again)
        except _ParentsMissing:
            seen[:] = versions()
            raise

    try:
        loads = retry_while_others_progress(
            load, versions, settled=lambda: versions() != seen, lost=(_ParentsMissing,), patience=_PATIENCE
        )
    except WarehouseBusy:
        raise
    except BaseException as error:
        if not is_isolated(error):
            raise
        loads = _load_one_by_one(lake, wanted, target, again, error)
    return {table.name: loads[table.name] for table in tables}


def _load_one_by_one(
    lake: Lake, tables: Sequence[Table], target: Target, again: Collection[str], error: BaseException
) -> dict[str, Load]:
    """Load each table in its own transaction, dimensions first; raise `error` if no table can be loaded.

    Raises:
        WarehouseBusy: As `load_star`.
    """
    loading = Isolation(f"Loading {target.name[:1].lower()}{target.name[1:]}")
    loads: dict[str, Load] = {}
    for table in tables:
        with loading.guard(table.name):
            loads |= _load(lake, [table], target, again)
        if loading.failures and isinstance(busy := loading.failures[-1].error, WarehouseBusy):
            raise busy
    if not loads:
        raise error
    return loads | {failure.name: Load(0, 0, 0, 0, failure.reason) for failure in loading.failures}


def retry_load(
    load: Callable[[], dict[str, Load]],
    positions: Callable[[], Mapping[str, Position]],
    lost: tuple[type[Exception], ...],
    wait: float,
) -> dict[str, Load]:
    """Load, and retry after each race lost to another load.

    Args:
        load: The whole load; it skips rows that another load has already written.
        positions: Returns the load position of each table.
        lost: The errors that mean a lost race; nothing was written.
        wait: Time to continue retrying while no load makes progress, in seconds.
    """
    patience = Patience(idle_tries=0, idle_for=wait, longest_wait=1)
    return retry_while_others_progress(load, positions, lost=lost, patience=patience)


def _load(lake: Lake, wanted: Sequence[Table], target: Target, again: Collection[str]) -> dict[str, Load]:
    """Load these tables, dimensions first, in one transaction."""
    lake_id = lake.ledger.read().lake_id
    positions = target.positions()
    _refuse_another_lake(target, positions, lake_id)
    # Facts are opened first: dimension rows that are written in the meantime do no harm.
    handles = {table.name: lake.star(table).look() for table in reversed(wanted)}
    positions = _checked(positions, handles, target.lacking() if positions else {}, again)
    pending = list(_incoming(lake, wanted, handles, positions, lake_id))
    if not pending:
        counts = {status.table: status.row_count for status in target.status()}
        return {
            table.name: Load(batch, batch, 0, counts.get(table.name, 0))
            for table in wanted
            for batch in [positions.get(table.name, Position()).batch]
        }
    loads: dict[str, Load] = {}
    with target.session(pending) as session:
        # Another loader may have committed before this one had the lock: everything is decided again.
        recorded, lacking = session.positions(), session.lacking()
        _refuse_another_lake(target, recorded, lake_id)
        positions = _checked(recorded, handles, lacking, again)
        filled = {fill.table.name: fill for fill in _incoming(lake, wanted, handles, positions, lake_id)}
        dropped = _dropped(target.tables, recorded, lacking) - set(filled)
        gone = dropped | _filled_again(filled.values(), recorded)
        superseded = {name for name in gone if not recorded[name].is_superseded}
        session.prepare(list(filled.values()), dropped, superseded)
        for table in wanted:
            position, handle = positions.get(table.name, Position()), handles[table.name]
            if handle is not None and position.is_of_another(handle):
                session.clear(table)
        for table in wanted:
            incoming = filled.get(table.name)
            if incoming is None:
                batch = positions.get(table.name, Position()).batch
                loads[table.name] = Load(batch, batch, 0, session.count(table))
                continue
            written = session.write(incoming)
            session.record(incoming, written)
            loads[table.name] = Load(incoming.after, incoming.batch, written, session.count(table))
        for table in wanted:
            if loads[table.name].rows_written:
                _verify_foreign_keys(session, table, loads[table.name].after)
    return loads


def with_dimensions(tables: Sequence[Table], model: Sequence[Table]) -> list[Table]:
    """Return the tables with the dimensions that they reference, dimensions first.

    Args:
        tables: Some star tables.
        model: All star tables.
    """
    names = {table.name for table in tables} | {
        parent for table in tables for _, parent in table.foreign_keys
    }
    return [table for table in sorted(model, key=lambda entry: entry.kind == "fact") if table.name in names]


def _incoming(
    lake: Lake,
    wanted: Sequence[Table],
    handles: Mapping[str, DeltaTable | None],
    positions: Mapping[str, Position],
    lake_id: str,
) -> Iterator[Incoming]:
    for table in wanted:
        handle, position = handles[table.name], positions.get(table.name, Position())
        if handle is None or not position.lacks(handle):
            continue
        if position.is_of_another(handle):
            position = Position()
        is_first = position.lake_version < 0
        yield Incoming(table, lake.star(table), handle, position.batch, is_first, lake_id)


def _checked(
    positions: Mapping[str, Position],
    handles: Mapping[str, DeltaTable | None],
    lacking: Mapping[str, Set[str]],
    again: Collection[str],
) -> dict[str, Position]:
    """Mark the positions of tables that are loaded again as superseded.

    These are the ones that the caller names, and those that lost loaded values: a dropped table or column.
    """
    return {
        name: position.superseded
        if (handle := handles.get(name)) is not None
        and not position.is_superseded
        and (name in again or (name in lacking and _has_values(handle, lacking[name], position.batch)))
        else position
        for name, position in positions.items()
    }


def lacking_columns(model: Sequence[Table], existing: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Return the missing columns of star tables; see `Target.lacking`.

    Args:
        model: The star tables.
        existing: Columns of each existing table.
    """
    lacking = {
        table.name: {column.name for column in columns_of(table)} - set(existing.get(table.name, ()))
        for table in model
    }
    return {name: columns for name, columns in lacking.items() if columns}


def _dropped(
    model: Sequence[Table], positions: Mapping[str, Position], lacking: Mapping[str, Set[str]]
) -> set[str]:
    """Return the names of tables that were loaded and no longer exist."""
    return {
        table.name
        for table in model
        if table.name in positions
        and lacking.get(table.name) == {column.name for column in columns_of(table)}
    }


def _filled_again(filled: Iterable[Incoming], positions: Mapping[str, Position]) -> set[str]:
    """Return the names of tables that are filled from their first row although they were loaded before."""
    return {
        fill.table.name
        for fill in filled
        if fill.is_first and positions.get(fill.table.name, Position()).table_id == fill.table_id
    }


def _has_values(handle: DeltaTable, columns: Set[str], last: int) -> bool:
    """Return True if these columns have a value in batches up to `last`, or if that is unknown.

    A column that the model gained later has no value.
    """
    stored = {field.name for field in handle.schema().fields} & columns
    if not stored:
        return False
    files = file_statistics(handle)
    names = ("num_records", "min._batch", *(f"null_count.{name}" for name in stored))
    if not set(names) <= set(files.column_names):
        return True
    for rows, first, *nulls in zip(*(files[name].to_pylist() for name in names), strict=True):
        # An older file without the column has no statistics of it.
        if (first is None or first <= last) and any(null is not None and null < rows for null in nulls):
            return True
    return False


def _refuse_another_lake(target: Target, positions: Mapping[str, Position], lake_id: str) -> None:
    others = {position.lake_id for position in positions.values()} - {lake_id}
    if others and lake_id:
        raise WarehouseError(
            f"{target.name} was loaded from another lake, whose batches are not those of the configured "
            f"lake. {target.start_afresh}"
        )


def _verify_foreign_keys(session: LoadSession, table: Table, after: int) -> None:
    found = session.missing_parents(table, after) if table.foreign_keys else {}
    for column, name in table.foreign_keys:
        if missing := found.get(column):
            raise _ParentsMissing(
                f"New rows of {table.name} cannot be loaded: their {column} refers to rows that {name} does "
                f"not have, such as {', '.join(missing)}. Materialize star/{name} and the source tables that "
                "it reads, then load again."
            )
