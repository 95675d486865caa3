"""The common schema of files that are one table: every column, with a type wide enough for all files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from platform_assets.errors import ParquetError
from platform_assets.parquet.footers import Footer, ParquetColumn
from platform_assets.parquet.types import ParquetType, widened


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition column, as contained in paths.

    Attributes:
        key: Its name as written in paths, before the `=`.
        values: Its values as written in paths, with their meanings.
        is_in_paths: True if every path has it; otherwise only a Delta log has the values.
    """

    key: str
    values: Mapping[str, str | None]
    is_in_paths: bool = True


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table.

    Attributes:
        name: Its name, in the files' case.
        type: The narrowest type that holds the values of every file.
        nullable: True if a file allows nulls or lacks the column.
        partition: How paths contain it, if the files do not.
    """

    name: str
    type: ParquetType
    nullable: bool = True
    partition: Partition | None = None


@dataclass(frozen=True)
class Unified:
    """The combined schema of several files.

    Attributes:
        columns: The columns, in order of first appearance.
        examples: One file for each distinct schema, by the names given for the files.
        names: The names of all columns in any file.
    """

    columns: tuple[TableColumn, ...]
    examples: tuple[str, ...]
    names: Set[str] = field(default_factory=frozenset)


def unified(footers: Mapping[str, Footer]) -> Unified:
    """Combine the columns of files that are one table.

    Args:
        footers: The footers of the files, by the names to use in messages.

    Raises:
        ParquetError: The files have no column in common, no type holds the values of a column in two files
            exactly, or names differ only in case; the message names both files.
    """
    if len(footers) == 1:
        ((file, footer),) = footers.items()
        names = _refuse_equal_names(file, footer)
        alone = tuple(TableColumn(column.name, column.type, column.nullable) for column in footer.columns)
        return Unified(alone, (file,), names)
    columns: dict[str, TableColumn] = {}
    seen_in: dict[str, str] = {}
    spelled: dict[str, str] = {}
    counts: dict[str, int] = {}
    examples: dict[tuple[ParquetColumn, ...], str] = {}
    last: Footer | None = None
    for file, footer in footers.items():
        if last is not None and footer.columns == last.columns:
            # The usual case: the same schema as the previous file.
            for column in footer.columns:
                counts[column.name] += 1
            continue
        last = footer
        examples.setdefault(footer.columns, file)
        own = _refuse_equal_names(file, footer)
        if columns and not any(name.casefold() in spelled for name in own):
            raise ParquetError(
                f"{next(iter(footers))} and {file} have no column in common ({some_names(columns.keys())}; "
                f"{some_names(own)}), so they are probably different tables. Put the files of each table "
                "into a folder of its own, or load them one by one."
            )
        for column in footer.columns:
            other = spelled.setdefault(column.name.casefold(), column.name)
            if other != column.name and other not in own:
                raise ParquetError(
                    f"a column is {other} in {seen_in[other]} and {column.name} in {file}, and a load "
                    "reads only one of them. Write them alike, or load the files into two tables."
                )
            counts[column.name] = counts.get(column.name, 0) + 1
            known = columns.get(column.name)
            if known is None:
                columns[column.name] = TableColumn(column.name, column.type, column.nullable)
                seen_in[column.name] = file
                continue
            type_ = widened(known.type, column.type)
            if type_ is None:
                raise ParquetError(
                    f"column {column.name} is {known.type.name} in {seen_in[column.name]} and "
                    f"{column.type.name} in {file}, and no type holds both exactly. Write them alike, or "
                    "load the files into two tables."
                )
            columns[column.name] = TableColumn(column.name, type_, known.nullable or column.nullable)
            if type_ != known.type:
                seen_in[column.name] = file
    all_of_them = tuple(
        column
        if counts[column.name] == len(footers)
        else TableColumn(column.name, column.type, nullable=True)
        for column in columns.values()
    )
    return Unified(all_of_them, tuple(examples.values()), columns.keys())


def declared(columns: Sequence[ParquetColumn], footers: Mapping[str, Footer]) -> Unified:
    """The columns declared by a table's log; files may lack them but must not contradict them.

    Args:
        columns: The columns of the log, in order.
        footers: The footers of the files, by the names to use in messages.

    Raises:
        ParquetError: A file spells a column in another case, or its type does not fit the log's type.
    """
    known = {column.name: column for column in columns}
    spelled = {column.name.casefold(): column.name for column in columns}
    examples: dict[tuple[ParquetColumn, ...], str] = {}
    names: set[str] = set()
    last: Footer | None = None
    for file, footer in footers.items():
        if last is not None and footer.columns == last.columns:
            continue
        last = footer
        examples.setdefault(footer.columns, file)
        own = _refuse_equal_names(file, footer)
        names |= own
        for column in footer.columns:
            name = spelled.get(column.name.casefold())
            if name is not None and name != column.name and name not in own:
                raise ParquetError(
                    f"a column is {name} in the log and {column.name} in {file}, and a load reads only one "
                    "of them. Rewrite the table."
                )
            if column.name in known and not _is_held(column.type, known[column.name].type):
                raise ParquetError(
                    f"column {column.name} is {known[column.name].type.name} in the log and "
                    f"{column.type.name} in {file}, whose values it cannot hold. Rewrite the table."
                )
    all_of_them = tuple(TableColumn(column.name, column.type, column.nullable) for column in columns)
    return Unified(all_of_them, tuple(examples.values()), names)


def _is_held(found: ParquetType, by: ParquetType) -> bool:
    # Spark writes instants as int96, and as wall clock times when set to be compatible with old Hive.
    if by.kind == "timestamp" and found.kind in ("timestamp", "int96"):
        return True
    return widened(found, by) is not None


def some_names(names: Set[str]) -> str:
    """The first few of some names, for a message."""
    shown = sorted(names)[:3]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")


def _refuse_equal_names(file: str, footer: Footer) -> set[str]:
    """The names of a file's columns.

    Raises:
        ParquetError: Two columns have the same name.
    """
    names = {column.name for column in footer.columns}
    if len(names) < len(footer.columns):
        raise ParquetError(f"{file} has duplicate column names; give each column its own name.")
    return names
