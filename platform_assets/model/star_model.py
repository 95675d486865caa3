"""A star schema as data: its tables, the source and the folder of SQL that they are built from.

The builder, the checks and the warehouses know a star by its `StarModel` only. Nothing here acts on tables.
"""

from __future__ import annotations

import graphlib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from platform_assets.model.table import PLATFORM_COLUMNS, Column, Table

STREAM = "platform_assets/star"
"""Name of the app transaction whose version is the last batch that a star table in the lake has processed."""
BUILT_BY = "platform_assets/star/sql"
"""Name of the app transaction whose version is the fingerprint of the SELECT of a star table's rows."""
_INSIGNIFICANT = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")|--[^\n]*|/\*.*?\*/""", re.DOTALL)


@dataclass(frozen=True)
class StarModel:
    """A star schema and what it is built from.

    Args:
        source: Name of the source; in the SQL, the schema of the source's tables.
        source_tables: The tables of the source.
        tables: The facts and dimensions, in the order in which users see them.
        folder: Folder with one SELECT per star table, in a file `<table>.sql`. In a fact's SELECT, a source
            table holds its new row versions; in a dimension's, the latest version of each row.
    """

    source: str
    source_tables: tuple[Table, ...]
    tables: tuple[Table, ...]
    folder: Path

    def __post_init__(self) -> None:
        known = {table.name for table in self.tables}
        in_source = {table.name for table in self.source_tables}
        for table in self.tables:
            parents = {parent for _, parent in table.foreign_keys}
            unknown = sorted(set(table.reads) - in_source) + sorted((parents | {*table.derived_from}) - known)
            if unknown:
                raise ValueError(
                    f"star table {table.name} needs tables that do not exist: {', '.join(unknown)}"
                )
            if table.derived_from and not table.inputs:
                raise ValueError(
                    f"star table {table.name} is derived from {', '.join(table.derived_from)} without a "
                    "reference input that reads them"
                )
        try:
            _ = self._levels
        except graphlib.CycleError as error:
            raise ValueError(f"star tables depend on each other: {', '.join(error.args[1])}") from error

    def table(self, name: str) -> Table:
        """Return the star table called `name`.

        Raises:
            KeyError: The star has no such table.
        """
        return self._by_name[name]

    def in_building_order(self, tables: Iterable[Table]) -> list[Table]:
        """Return star tables in an order in which each follows those that it depends on.

        A table depends on the tables that it is derived from, and on those that its columns reference. A
        table that is derived from a table which references it comes second.
        """
        return sorted(tables, key=lambda table: self._levels[table.name])

    def select_of(self, table: Table) -> str:
        """Return the SELECT that builds a star table, as written in its file."""
        return self.sql_file(table).read_text(encoding="utf-8").rstrip().removesuffix(";")

    def fingerprint(self, table: Table) -> int:
        """Return a number, 1 or more, that identifies a star table's SELECT without spaces and comments."""
        sql = " ".join(_INSIGNIFICANT.sub(lambda found: found[1] or " ", self.select_of(table)).split())
        return int.from_bytes(hashlib.blake2b(sql.encode(), digest_size=8).digest(), "big") % 2**62 + 1

    def sql_file(self, table: Table) -> Path:
        """Return the file with a star table's SELECT."""
        return self.folder / f"{table.name}.sql"

    def displayed_file(self, table: Table) -> str:
        """Return the path of a star table's SELECT as readers of the repository know it."""
        file, root = self.sql_file(table), Path(__file__).parents[2]
        return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)

    @cached_property
    def _by_name(self) -> dict[str, Table]:
        return {table.name: table for table in self.tables}

    @cached_property
    def _levels(self) -> dict[str, int]:
        """Number of tables in the longest chain of dependencies below each table."""
        needs = {
            table.name: {
                *table.derived_from,
                *(
                    parent
                    for _, parent in table.foreign_keys
                    if parent != table.name and table.name not in self.table(parent).derived_from
                ),
            }
            for table in self.tables
        }
        levels: dict[str, int] = {}
        for name in graphlib.TopologicalSorter(needs).static_order():
            levels[name] = 1 + max((levels[needed] for needed in needs[name]), default=-1)
        return levels


def columns_of(table: Table) -> tuple[Column, ...]:
    """Return a star table's stored columns: the declared columns, then the platform's own."""
    return (*table.columns, *PLATFORM_COLUMNS)
