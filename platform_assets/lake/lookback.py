"""Looks back: tables as they were after a batch or at a time, and what changed between two of them.

`look_back` and `compare` are for callers in Python, such as notebooks; the commands `lake at` and `lake diff`
print what they return.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from platform_assets.errors import LakeError, SettingsError
from platform_assets.isolation import is_isolated, reason_of
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.duck import fetch_rows
from platform_assets.lake.interfaces import HasSourceTables
from platform_assets.lake.past import TOUCHED, HasPastTables, Past, PastTable, in_text, past_source_table
from platform_assets.model.dialects import columns_sql, quote

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.lake import Lake
    from platform_assets.lake.ledger import LedgerState
    from platform_assets.rooms import Rooms

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class LookBack:
    """Tables as they were after a batch.

    Attributes:
        batch: The batch.
        seen_at: When its snapshot of the source was taken, UTC; None before the first batch.
        tables: The tables by name, such as `star/dim_staff`.
    """

    batch: int
    seen_at: dt.datetime | None
    tables: Mapping[str, PastTable]
    _lake: Lake = field(repr=False)
    _engine: SqlEngine = field(repr=False)
    _state: LedgerState = field(repr=False)
    _at: int = field(repr=False)

    def query(self, table: str) -> str:
        """Return the rows of a table as a query in plain DuckDB SQL, for any DuckDB that can read the lake.

        The query reads the files that the lake has now: it is good as long as upkeep keeps these,
        `upkeep.keep_hours` at least.

        Raises:
            LakeError: The lake cannot be read.
        """
        return self.tables[table].select(self._unread(), False)

    def script(self) -> tuple[str, dict[str, str]]:
        """Return statements that create the tables as views, in schemas named after sources and `star`.

        Returns:
            The statements, and why tables have no view, by name; empty if all have one.
        """
        made, problems = self._each(lambda name: self._statements(name, "VIEW"))
        return "\n".join(f"{statement};" for found in made.values() for statement in found), problems

    def create_views(self, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
        """Create a view of each table in a DuckDB connection.

        Args:
            connection: The connection. Tables in a bucket can be read through it as long as it is open.

        Returns:
            Why tables have no view, by name; empty if all have one.
        """
        return self._create(connection, self._past(connection), "VIEW")

    def write(self, file: Path, *, copy: bool = False) -> dict[str, str]:
        """Write a DuckDB file with a view of each table, for notebooks and other tools.

        Args:
            file: The file; an existing one is replaced.
            copy: Copy the rows instead, so that the file needs no lake. Tables in a bucket are always copied.

        Returns:
            As `create_views`.
        """
        is_view = not copy and "://" not in self._lake.ingestion + self._lake.processed
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.new")
        new.unlink(missing_ok=True)
        with self._engine.connect(new) as connection:
            past = self._unread() if is_view else self._past(connection)
            problems = self._create(connection, past, "VIEW" if is_view else "TABLE")
        new.replace(file)
        return problems

    def count(self, table: str) -> int:
        """Return the number of rows of a table.

        Raises:
            LakeError: The lake cannot be read.
        """
        with self._shown(table) as (connection, sql):
            return int(connection.sql(f"SELECT count(*) FROM ({sql})").fetchall()[0][0])

    def counts(self) -> tuple[dict[str, int], dict[str, str]]:
        """Return the number of rows of each table, and why tables could not be read, by name."""
        return self._each(self.count)

    def rows(self, table: str, limit: int) -> list[dict[str, Any]]:
        """Return some rows of a table, by key.

        Raises:
            LakeError: The lake cannot be read.
        """
        with self._shown(table) as (connection, sql):
            key = columns_sql(self.tables[table].key)
            return fetch_rows(connection, f"SELECT * FROM ({sql}) ORDER BY {key} LIMIT {limit:d}")

    @contextlib.contextmanager
    def _shown(self, table: str) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
        with _telling_what_is_lost(), self._engine.connect() as connection:
            yield connection, self.tables[table].select(self._past(connection), False)

    def _past(self, connection: duckdb.DuckDBPyConnection) -> Past:
        return Past(self._lake, self._state, self.batch, self._at, _reader(connection))

    def _unread(self) -> Past:
        """Return the state with plain SQL for the files."""
        return Past(self._lake, self._state, self.batch, self._at)

    def _create(self, connection: duckdb.DuckDBPyConnection, past: Past, kind: str) -> dict[str, str]:
        def create(name: str) -> None:
            for statement in self._statements(name, kind, past):
                connection.execute(statement)

        return self._each(create)[1]

    def _each(self, work: Callable[[str], _Result]) -> tuple[dict[str, _Result], dict[str, str]]:
        """Do something with each table; return the results, and why tables have none, by name."""
        results, problems = dict[str, _Result](), dict[str, str]()
        for name in self.tables:
            try:
                results[name] = work(name)
            except BaseException as error:
                if not is_isolated(error):
                    raise
                problems[name] = reason_of(error)
        return results, problems

    def _statements(self, name: str, kind: str, past: Past | None = None) -> list[str]:
        table = self.tables[name]
        select = table.select(past or self._unread(), False)
        return [
            f"CREATE SCHEMA IF NOT EXISTS {quote(table.path[0])}",
            f"CREATE OR REPLACE {kind} {quote(*table.path)} AS {select}",
        ]


@dataclass(frozen=True)
class RowChange:
    """A row that differs between two states of a table.

    Attributes:
        change: insert, update or delete.
        before: Its values before; None for an inserted row.
        after: Its values afterwards; None for a deleted row.
    """

    change: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True)
class TableDifference:
    """The difference between two states of a table.

    Attributes:
        table: Name of the table.
        inserted: Rows that are only in the later state.
        updated: Rows with other values.
        deleted: Rows that are only in the earlier state.
        problem: Why the table could not be compared; empty if it was.
    """

    table: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    problem: str = ""


@dataclass(frozen=True)
class PastComparison:
    """Two states of the lake. Of a table, only rows that were touched between the two are read.

    Attributes:
        before: The earlier state.
        after: The later state.
    """

    before: LookBack
    after: LookBack

    def tables(self) -> Iterator[TableDifference]:
        """Yield the difference of each table."""
        for name in self.after.tables:
            try:
                with self._joined(name) as (connection, joined):
                    counts = dict(
                        connection.sql(f"SELECT change, count(*) FROM ({joined}) GROUP BY change").fetchall()
                    )
                yield TableDifference(name, *(counts.get(kind, 0) for kind in ("insert", "update", "delete")))
            except BaseException as error:
                if not is_isolated(error):
                    raise
                yield TableDifference(name, problem=reason_of(error))

    def rows(self, table: str, limit: int) -> list[RowChange]:
        """Return some rows of a table that differ, by key.

        Raises:
            LakeError: The lake cannot be read.
        """
        names, key = self.after.tables[table].columns, self.after.tables[table].key
        with self._joined(table) as (connection, joined):
            selected = ", ".join(
                f"{side}.{quote(name)} AS {quote(f'{side} {name}')}"
                for side in ("old", "new")
                for name in names
            )
            order = ", ".join(
                f"coalesce({quote(f'new {column}')}, {quote(f'old {column}')})" for column in key
            )
            found = fetch_rows(
                connection,
                f"SELECT change, {selected} FROM ({joined}) ORDER BY {order} LIMIT {limit:d}",
            )
        return [
            RowChange(
                row["change"],
                None if row["change"] == "insert" else {name: row[f"old {name}"] for name in names},
                None if row["change"] == "delete" else {name: row[f"new {name}"] for name in names},
            )
            for row in found
        ]

    @contextlib.contextmanager
    def _joined(self, name: str) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
        """Yield a connection, and the SELECT of the differing rows: `change`, and structs `old` and `new`."""
        table = self.after.tables[name]
        with _telling_what_is_lost(), self.after._engine.connect() as connection:
            after = self.after._past(connection)
            before = Past(after.lake, after.state, self.before.batch, self.before._at, after.read)
            changed = table.changed(after, self.before.batch)
            connection.execute(f"CREATE TEMP TABLE {quote(TOUCHED)} AS {changed}")
            names = columns_sql(table.columns)
            for side, past in (("before", before), ("after", after)):
                connection.execute(
                    f"CREATE TEMP VIEW {side} AS SELECT {names} FROM ({table.select(past, True)}) "
                    f"WHERE {table.present}"
                )
            same = " AND ".join(f"old.{quote(column)} = new.{quote(column)}" for column in table.key)
            missing = quote(table.key[0])
            yield (
                connection,
                f"SELECT old, new, CASE WHEN old.{missing} IS NULL THEN 'insert' WHEN new.{missing} IS NULL "
                f"THEN 'delete' ELSE 'update' END AS change FROM before AS old FULL JOIN after AS new "
                f"ON {same} WHERE old IS DISTINCT FROM new",
            )


@contextlib.contextmanager
def _telling_what_is_lost() -> Iterator[None]:
    """Raise a LakeError with the reason in place of DuckDB's errors, such as for a lost file."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise LakeError(reason_of(error)) from error


def look_back(rooms: Rooms, when: str | int | dt.datetime, tables: Sequence[str] = ()) -> LookBack:
    """Return tables as they were after a batch or at a time.

    Args:
        rooms: The rooms.
        when: Number of a batch, or a time: an ISO 8601 text or a value; UTC where no zone is given. At a
            time, the state is that of the last snapshot of a source taken until then. Tables of feeds are as
            they were at that time, and after a batch, at the time of its snapshot.
        tables: Names of tables, such as `star/dim_staff`, of a source or layer, such as `star`, or of tables
            alone; all without names.

    Raises:
        SettingsError: There is no such table, or `when` is neither.
        LakeError: The lake has no such batch yet, or cannot be read.
    """
    room = rooms.of(LakeRoom)
    state = room.lake.ledger.read()
    batch, at = _batch_of(state, when)
    known = {table.name: table for table in _tables(rooms)}
    names = [name for name in known if not tables or _is_meant(name, tables)]
    if unknown := [table for table in tables if not any(_is_meant(name, [table]) for name in known)]:
        raise SettingsError(
            f"There is no table {', '.join(unknown)} to look back at. There are {', '.join(known)}."
        )
    seen = max((place for place in _seen(state) if place[0] <= batch), default=None)
    seen_at = dt.datetime.fromtimestamp(seen[1] / 1e6, dt.UTC) if seen is not None else None
    return LookBack(
        batch,
        seen_at,
        {name: known[name] for name in names},
        room.lake,
        room.engine,
        state,
        at if at is not None else seen[1] if seen is not None else 0,
    )


def compare(
    rooms: Rooms, before: str | int | dt.datetime, after: str | int | dt.datetime, tables: Sequence[str] = ()
) -> PastComparison:
    """Compare two states of tables; the arguments are those of `look_back`.

    Raises:
        SettingsError: As `look_back`, or the second state is the earlier one.
        LakeError: As `look_back`.
    """
    old, new = look_back(rooms, before, tables), look_back(rooms, after, tables)
    if old.batch > new.batch:
        raise SettingsError(f"Batch {old.batch} is later than batch {new.batch}: give the earlier one first.")
    if old._at > new._at:
        raise SettingsError(f"{before} is later than {after}: give the earlier one first.")
    return PastComparison(old, new)


def _tables(rooms: Rooms) -> Iterator[PastTable]:
    lake = rooms.of(LakeRoom).lake
    for room in rooms.offering(HasSourceTables):
        for source, tables in room.source_tables().items():
            yield from (past_source_table(lake, source, table) for table in tables if table.columns)
    for past in rooms.offering(HasPastTables):
        yield from past.past_tables()


def _is_meant(table: str, names: Sequence[str]) -> bool:
    layer, _, name = table.partition("/")
    return any(wanted in (table, layer, name) for wanted in names)


def _batch_of(state: LedgerState, when: str | int | dt.datetime) -> tuple[int, int | None]:
    """Return the batch that is meant, and the time, in microseconds, if a time is meant."""
    text = str(when).strip()
    if isinstance(when, int) or text.isdecimal():
        batch = int(when) if isinstance(when, int) else int(text)
        if batch > state.last_batch:
            raise LakeError(f"The lake has no batch {batch} yet; its last batch is {state.last_batch}.")
        return batch, None
    try:
        at = when if isinstance(when, dt.datetime) else dt.datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{text!r} is neither the number of a batch nor a time such as 2026-03-01T12:00 (UTC)."
        ) from None
    at = at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at
    micros = (at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    return max((batch for batch, seen in _seen(state) if seen <= micros), default=0), micros


def _seen(state: LedgerState) -> list[tuple[int, int]]:
    """Return each batch with the time of its snapshot, in microseconds since 1970, UTC."""
    import pyarrow as pa

    if not len(state.rows):
        return []
    batches = state.rows["batch"].to_pylist()
    times = state.rows["seen_at"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    return sorted(set(zip(batches, times, strict=True)))


def _reader(connection: duckdb.DuckDBPyConnection) -> Callable[[LakeTable, DeltaTable, Sequence[str]], str]:
    """Return how a connection reads files of tables: those of a bucket through a dataset."""

    def read(table: LakeTable, handle: DeltaTable, files: Sequence[str]) -> str:
        if table.is_local:
            return in_text(table, handle, files)
        return table.read_files(connection, handle, files)

    return read
