"""Comparison of a file's columns with those of the feed's table: matching, inference, and changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pyarrow as pa

from platform_assets.errors import FeedError
from platform_assets.feeds.feed import PLACE_COLUMNS, Feed
from platform_assets.feeds.rows import Chunk, RowFile
from platform_assets.feeds.values import find_type, is_taken_as, kept_type, type_name
from platform_assets.model.table import (
    Binary,
    Boolean,
    Column,
    Date,
    Decimal,
    Float,
    Integer,
    LogicalType,
    Text,
    Time,
    Timestamp,
)

_TYPES: Mapping[str, type[LogicalType]] = {
    type_.__name__: type_ for type_ in (Integer, Decimal, Float, Text, Binary, Boolean, Date, Time, Timestamp)
}
_PLATFORM = frozenset(column.name for column in PLACE_COLUMNS)
_MOST_NAMES = 10
_PLAIN_NAME = re.compile(r"[^\W\d][\w .()/#%-]{0,63}")
_DIGITS_OF_A_NAME = 3


class LayoutChanged(FeedError):
    """A file's columns differ from those of its feed: the feed stops until a user has checked it."""


@dataclass(frozen=True)
class Layout:
    """The columns of a feed's table, without the platform's own.

    Args:
        columns: The columns in order.
    """

    columns: tuple[Column, ...] = ()

    def to_json(self) -> str:
        """Compact JSON, for the feed's ledger."""
        shown = [
            {
                "name": column.name,
                "nullable": column.nullable,
                "type": type(column.type).__name__,
                **asdict(column.type),
            }
            for column in self.columns
        ]
        return json.dumps(shown, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Layout:
        """Parse the JSON of `to_json`."""
        columns = []
        for shown in json.loads(text or "[]"):
            name, nullable, type_ = shown.pop("name"), shown.pop("nullable"), shown.pop("type")
            columns.append(Column(name, _TYPES[type_](**shown), nullable=nullable))
        return cls(tuple(columns))


def known_layout(feed: Feed, kept: Layout) -> Layout:
    """The columns known before a file is read: declared columns, and columns added later.

    Raises:
        FeedError: The key is not among them.
    """
    names = {column.name.casefold() for column in feed.columns}
    if not feed.columns or feed.new_columns == "add":
        more = [column for column in kept.columns if column.name.casefold() not in names]
        layout = Layout((*feed.columns, *more))
    else:
        layout = Layout(feed.columns)
    unknown = sorted(set(feed.key) - {column.name for column in layout.columns})
    if layout.columns and unknown:
        raise FeedError(
            f"The feed {feed.name} has the key {', '.join(unknown)}, and its table has no such column."
        )
    return layout


def layout_of(
    feed: Feed, known: Layout, file: RowFile, sample: Sequence[Chunk], *, names_are_shown: bool
) -> Layout:
    """The columns of the table after loading this file.

    Args:
        feed: The feed.
        known: The columns so far.
        file: The file.
        sample: Its first rows.
        names_are_shown: True if messages may contain its column names.

    Raises:
        LayoutChanged: The file's columns do not fit.
    """
    names = list(file.names) if file.names is not None else _names(sample)
    _refuse_unusable(names, names_are_shown=names_are_shown)
    is_first = not known.columns
    if is_first and feed.has_header and file.types is None:
        _refuse_values_as_names(names, is_clean=names_are_shown)
    by_name = {column.name: column for column in known.columns}
    missing = [
        name
        for name, column in by_name.items()
        # JSON writers often omit members that are NULL.
        if name not in names and not (file.names is None and column.nullable)
    ]
    if file.names is None and not any(len(chunk.lines) for chunk in sample):
        missing = []
    new = [name for name in names if name not in by_name]
    if is_first:
        missing = [name for name in feed.key if name not in names] if names else []
    mistakes = []
    if missing:
        mistakes.append(f"it has no {_listed(missing)}")
    if new and not is_first and (feed.new_columns == "refuse" or missing):
        shown = _listed(new) if names_are_shown else f"{len(new)} other columns"
        mistakes.append(f"it has {shown}, which {'is' if len(new) == 1 else 'are'} not declared")
    if missing and new and not is_first:
        mistakes.append("a column may have been renamed")
    mistakes += _other_types(known, file)
    if mistakes:
        raise LayoutChanged("; ".join(mistakes))
    if not is_first and feed.new_columns != "add":
        return known
    if is_first and file.types is None and not any(len(chunk.lines) for chunk in sample):
        return known  # without rows, the type of every column would be inferred as text
    found = [_found(name, file, sample, is_key=name in feed.key) for name in new]
    _refuse_same_names(known.columns, found)
    return Layout((*known.columns, *found))


def refuse_other_columns(layout: Layout, stored: pa.Schema) -> None:
    """Reject types that differ from the table's: changing them would require rewriting the table.

    Raises:
        LayoutChanged: A column has another type in the table.
    """
    from platform_assets.lake.arrow import arrow_type

    types = {field.name: field.type for field in stored}
    other = [
        f"column {column.name} is declared as {type_name(column.type)}, but its table has "
        f"{types[column.name]}"
        for column in layout.columns
        if column.name in types and types[column.name] != arrow_type(column.type)
    ]
    if other:
        raise LayoutChanged(f"{'; '.join(other)}; declare the table's type, or a feed with another name")


def _names(sample: Iterable[Chunk]) -> list[str]:
    return list(dict.fromkeys(name for chunk in sample for name in chunk.columns))


def _refuse_unusable(names: Sequence[str], *, names_are_shown: bool) -> None:
    seen: dict[str, int] = {}
    for place, name in enumerate(names, 1):
        shown = f"column {name}" if names_are_shown and name else f"column {place}"
        folded = name.casefold()
        if not name:
            raise LayoutChanged(
                f"{shown} has no name in the header; give it one, or leave the column out (in pandas: "
                "to_csv(index=False))"
            )
        if folded in seen:
            raise LayoutChanged(
                f"{shown} occurs twice, as columns {seen[folded]} and {place}; column names ignore case"
            )
        if folded in _PLATFORM:
            raise LayoutChanged(f"column {folded} has the name of one of the platform's own columns")
        seen[folded] = place


def _refuse_values_as_names(names: Sequence[str], *, is_clean: bool) -> None:
    """Reject column names that look like values: the table would show them permanently."""
    for place, name in enumerate(names, 1):
        if not any(character.isalpha() for character in name):
            found = "has no letter"
        elif not is_clean and not _is_plain(name):
            found = "looks like a value, and something sensitive was found in the file"
        else:
            continue
        raise LayoutChanged(
            f"the header may be missing: the name of column {place} {found}. If the file has no header, "
            "declare the columns and set dialect.header = false, or sheet.header_row = 0 for a workbook"
        )


def _is_plain(name: str) -> bool:
    digits = sum(character.isdigit() for character in name)
    return digits <= _DIGITS_OF_A_NAME and _PLAIN_NAME.fullmatch(name) is not None


def _refuse_same_names(known: Sequence[Column], found: Sequence[Column]) -> None:
    names = {column.name.casefold(): column.name for column in known}
    twice = [names[column.name.casefold()] for column in found if column.name.casefold() in names]
    if twice:
        raise LayoutChanged(f"it has {_listed(twice)} in different upper and lower case")


def _other_types(known: Layout, file: RowFile) -> list[str]:
    types = file.types or {}
    return [
        f"column {column.name} is {types[column.name]}, but declared as {type_name(column.type)}"
        for column in known.columns
        if column.name in types and not is_taken_as(types[column.name], column.type)
    ]


def _found(name: str, file: RowFile, sample: Sequence[Chunk], *, is_key: bool) -> Column:
    if file.types is not None:
        type_ = kept_type(file.types[name])
        if type_ is None:
            raise LayoutChanged(f"the lake cannot store the type of one of its columns, {file.types[name]}")
        return Column(name, type_, nullable=not is_key)
    parts = [chunk.columns[name] for chunk in sample if name in chunk.columns]
    values = pa.concat_arrays(parts) if parts else pa.nulls(0, pa.string())
    return replace(Column(name, find_type(values)), nullable=not is_key)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{'column' if len(names) == 1 else 'columns'} {shown}{more}"
