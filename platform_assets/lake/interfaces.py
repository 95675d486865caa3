"""Interfaces by which rooms offer their tables to rooms that do not know them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import datetime as dt

    import duckdb

    from platform_assets.lake.batches import Batches
    from platform_assets.lake.delta import LakeTable
    from platform_assets.model.table import Table


@runtime_checkable
class HasSourceTables(Protocol):
    """A room that reads sources into the lake."""

    def source_tables(self) -> Mapping[str, Sequence[Table]]:
        """Return the tables of each source; no server is queried."""
        ...


@runtime_checkable
class HasStarTables(Protocol):
    """A room that builds a star schema in the lake."""

    def star_tables(self) -> Sequence[Table]:
        """Return the declarations of its facts and dimensions."""
        ...


@runtime_checkable
class HasLakeTables(Protocol):
    """A room whose Delta tables hold business data, so that their columns are inspected."""

    def lake_paths(self) -> Sequence[tuple[str, ...]]:
        """Return the paths of the tables' asset keys; imports nothing that reads tables."""
        ...

    def lake_tables(self) -> Mapping[tuple[str, ...], LakeTable]:
        """Return the tables by the path of their asset key."""
        ...


@dataclass(frozen=True)
class CurrentTable:
    """A table as it counts at one moment: latest values, without deleted rows and unfinished loads.

    Attributes:
        version: Changes when the rows change, and only then; the same rows in other files have the same.
        columns: Names of its columns in order, without the platform's own.
        create_view: Creates a view of it, of this name, in a DuckDB connection. The view has the platform's
            own columns too.
    """

    version: str
    columns: tuple[str, ...]
    create_view: Callable[[duckdb.DuckDBPyConnection, str], object]


@runtime_checkable
class HasCurrentTables(Protocol):
    """A room with tables in the lake that can be queried."""

    def current_paths(self) -> Sequence[tuple[str, ...]]:
        """Return the paths of the tables' asset keys; imports nothing that reads tables."""
        ...

    def current_table(self, path: tuple[str, ...]) -> CurrentTable:
        """Return one of these tables as it counts now.

        Raises:
            PlatformError: It cannot be read, or was not made yet.
        """
        ...


@dataclass(frozen=True)
class Outdated:
    """Rows that retention removes from a table, or empties of their content.

    Attributes:
        condition: SQL that is true for these rows of the view `stored`, which has all rows of the table.
        changed: Columns that are set to a value, as SQL, in these rows; without columns the rows are removed.
    """

    condition: str
    changed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class KeptTable:
    """A Delta table of the platform, with what upkeep has to know about it.

    Attributes:
        name: Its name in reports, such as `totesys/staff`.
        table: The table.
        order: Columns by which the rows of a rewritten file are sorted, because readers look for their
            values; without columns, rows keep the order in which they were written.
        metadata: Key of the commit metadata that readers take from the newest commit; a commit of upkeep
            repeats it.
        whole_batches: Returns the last batch of the ledger and the batches of the table that count, for a
            table whose files readers choose by batch.
        is_loaded_elsewhere: Whether a warehouse or a copy refers to versions of the table.
        outdated: Returns the rows that retention removes, given the time and a connection in which the view
            `stored` exists; the function may create further views. None where rows are kept for ever.
    """

    name: str
    table: LakeTable
    order: tuple[str, ...] = ()
    metadata: str = ""
    whole_batches: Callable[[], tuple[int, Batches]] | None = None
    is_loaded_elsewhere: bool = False
    outdated: Callable[[duckdb.DuckDBPyConnection, dt.datetime], Outdated | None] | None = None


@runtime_checkable
class HasDeltaTables(Protocol):
    """A room that writes Delta tables, all of which `lake_upkeep` takes care of."""

    def delta_tables(self) -> Iterable[KeptTable]:
        """Return the room's tables; those that do not exist yet are passed over."""
        ...


@runtime_checkable
class SettlesDeadLetters(Protocol):
    """A room that writes dead letters of its own, and knows which of them are settled."""

    def settled_letters(self, connection: duckdb.DuckDBPyConnection, before: dt.datetime) -> str:
        """Return SQL that is true for dead letters of the view `stored` whose content is no longer needed.

        Args:
            connection: A connection with that view; further tables may be created in it.
            before: Only rows that were seen before this time (UTC).

        Returns:
            The condition; empty if there are none.
        """
        ...


@dataclass(frozen=True)
class VersionInUse:
    """A version of a Delta table that something outside the lake still refers to.

    Attributes:
        table_id: Identity of the Delta table, from its metadata.
        version: The version. It and all later ones stay readable.
        reader: What refers to it, for messages.
    """

    table_id: str
    version: int
    reader: str


@runtime_checkable
class RefersToVersions(Protocol):
    """A room that remembers versions of Delta tables outside the lake."""

    def versions_in_use(self) -> Iterable[VersionInUse]:
        """Return the versions in use.

        Raises:
            PlatformError: They are not known at the moment; then no table that is loaded elsewhere loses a
                version.
        """
        ...


@dataclass(frozen=True)
class Rebuilding:
    """The rebuild of a table, done or only planned.

    Attributes:
        table: Name of the table, such as `star/dim_staff`.
        rows: Rows that the table has afterwards.
        inserted: Rows that are new in it.
        updated: Rows that get other values.
        deleted: Rows that leave it.
        why: Why the table is rebuilt; empty if nothing has to be done.
        is_done: True if it was done.
        problem: Why it failed; empty if it did not.
    """

    table: str
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    why: str = ""
    is_done: bool = False
    problem: str = ""

    @property
    def sentence(self) -> str:
        """The rebuild in words."""
        return (
            f"{self.table}: {self.why}. {self.rows:,} rows: {self.inserted:,} inserted, {self.updated:,} "
            f"updated, {self.deleted:,} deleted."
        )

    def as_done(self) -> Self:
        """Return it as done."""
        return replace(self, is_done=True)


@dataclass(frozen=True)
class RebuildOptions:
    """The extent of a rebuild.

    Attributes:
        first: First batch whose rows are recomputed; 0 for all.
        apply: Write what differs; otherwise nothing is changed.
        is_named: The user named the tables, so that those of a warehouse are loaded again whatever they have.
        report: Receives progress messages.
    """

    first: int = 0
    apply: bool = False
    is_named: bool = False
    report: Callable[[str], None] = field(default=lambda message: None)


@runtime_checkable
class RebuildsTables(Protocol):
    """A room whose tables can be made again from those of the rooms below."""

    def rebuildable(self) -> Sequence[str]:
        """Return the names of the tables, such as `star/dim_staff`."""
        ...

    def rebuild(self, tables: Sequence[str], options: RebuildOptions) -> Iterator[Rebuilding]:
        """Rebuild some of these tables; a table that fails does not stop the others."""
        ...


@dataclass(frozen=True)
class Loss:
    """Something that is lost, or that does not fit together.

    Attributes:
        table: Name of the table, such as `totesys/staff`.
        what: What is wrong, as a sentence.
        advice: What to do, as sentences.
        batches: The batches concerned, the oldest first; empty if none are known.
        rows: Number of rows concerned; 0 if it is not known.
    """

    table: str
    what: str
    advice: str
    batches: tuple[int, ...] = ()
    rows: int = 0


@runtime_checkable
class HasOutdatedTables(Protocol):
    """A room that builds tables by SQL, and notices that the SQL has changed since."""

    def outdated_tables(self) -> Sequence[str]:
        """Return for each table whose rows were built by other SQL what to do, as sentences.

        Raises:
            PlatformError: A table cannot be opened.
        """
        ...


@runtime_checkable
class VerifiesTables(Protocol):
    """A room that can compare its tables with those that they were made from."""

    def losses(self, *, deep: bool) -> Iterator[Loss]:
        """Yield what is lost or does not fit together.

        Args:
            deep: Compare values too, which reads everything.
        """
        ...
