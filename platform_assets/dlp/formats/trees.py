"""Nested values, of JSON and its kin, as columns: a column for each path, a table for each level of lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from platform_assets.dlp.formats.reading import ColumnsPiece

_MOST_COLUMNS = 2_000
_MOST_PATHS = 10_000
_LONGEST_KEY = 64
_DATA = re.compile(r"@|\d{4}|://|\s")


class _Column:
    """What is in a column: texts and the rows they are in, ascending; a row may have several."""

    __slots__ = ("has_several", "places", "texts")

    def __init__(self) -> None:
        self.places: list[int] = []
        self.texts: list[str] = []
        self.has_several = False

    def in_rows(self, count: int) -> list[str | None]:
        """A text or None for each of so many rows."""
        if len(self.texts) == count:
            return list(self.texts)
        values: list[str | None] = [None] * count
        for at, text in zip(self.places, self.texts, strict=True):
            values[at] = text
        return values


class Tables:
    """Gathers leaves of nested values, row by row, until they are taken out as columns.

    A list within a row makes a table of its own: its members are rows there. A key that is data (an address,
    a number) is not made a column's name but a value itself, so that no name repeats what was found.

    Args:
        container: Where they are.
        numbers_members: Whether a row in a list's table has the number of the list's member; else that of the
            row that the list is in.
    """

    def __init__(self, container: tuple[str, ...], *, numbers_members: bool = False) -> None:
        self._container = container
        self._numbers_members = numbers_members
        self._paths: dict[tuple[str, Any], str] = {}
        self._start()

    def _start(self) -> None:
        self._cells: dict[str, dict[str, _Column]] = {}
        self._numbers: dict[str, list[int]] = {}
        self._columns = 0
        self.size = 0

    @property
    def is_full(self) -> bool:
        """Whether there are so many columns that they should be taken out."""
        return self._columns >= _MOST_COLUMNS

    def add(self, value: Any, row: int) -> None:
        """Add a row.

        Args:
            value: Mappings, sequences and leaves in any order.
            row: Its number.
        """
        # A stack instead of calls: a value may be nested deeper than Python calls. A member of a list becomes
        # a row when its turn comes; until then its number is kept as a negative place.
        stack: list[tuple[Any, str, str, int]] = [(value, "", "", self._new_row("", row))]
        while stack:
            node, table, path, at = stack.pop()
            if at < 0 and not isinstance(node, list | tuple):
                at = self._new_row(table, -at - 1)
            if isinstance(node, Mapping):
                for key, member in node.items():
                    column = self._paths.get((path, key)) or self._path(table, path, key, at)
                    if isinstance(member, str):
                        if member:
                            self._put(table, column, at, member)
                    elif isinstance(member, Mapping | list | tuple):
                        stack.append((member, table, column, at))
                    elif member is not None and not isinstance(member, bool):
                        self._put(table, column, at, _text(member))
            elif isinstance(node, list | tuple):
                inner = f"{path}[]"
                for number, member in reversed(list(enumerate(node))):
                    own = number if self._numbers_members else row
                    stack.append((member, inner, inner, -own - 1))
            elif node is not None and not isinstance(node, bool) and (text := _text(node)):
                self._put(table, path or "value", at, text)

    def _path(self, table: str, path: str, key: Any, at: int) -> str:
        """The column of a key; the key becomes a value where it is data."""
        # JSON may escape half of a pair of surrogates, which no text has.
        name = str(key).encode(errors="replace").decode()
        if len(name) > _LONGEST_KEY or _DATA.search(name):
            self._put(table, f"{path}.(key)" if path else "(key)", at, name)
            return f"{path}.*" if path else "*"
        column = f"{path}.{name}" if path else name
        if len(self._paths) < _MOST_PATHS:
            self._paths[path, key] = column
        return column

    def _new_row(self, table: str, number: int) -> int:
        numbers = self._numbers.setdefault(table, [])
        numbers.append(number)
        return len(numbers) - 1

    def put(self, table: str, column: str, row: int, text: str) -> None:
        """Add one value to the row of that number, which was the last to be added to its table or is new."""
        numbers = self._numbers.setdefault(table, [])
        if not numbers or numbers[-1] != row:
            numbers.append(row)
        self._put(table, column, len(numbers) - 1, text)

    def _put(self, table: str, column: str, at: int, text: str) -> None:
        columns = self._cells.get(table)
        if columns is None:
            columns = self._cells[table] = {}
        cells = columns.get(column)
        if cells is None:
            cells = columns[column] = _Column()
            self._columns += 1
        elif cells.places[-1] == at:
            cells.has_several = True
        cells.places.append(at)
        cells.texts.append(text)
        self.size += len(text) + 64

    def take(self) -> Iterator[ColumnsPiece]:
        """Everything as columns; afterwards there is nothing."""
        cells, numbers = self._cells, self._numbers
        self._start()
        for table, columns in cells.items():
            rows = numbers.get(table, [])
            dense = {
                name: _array(cells.in_rows(len(rows)))
                for name, cells in columns.items()
                if not cells.has_several
            }
            if dense:
                yield self._piece(dense, rows, is_new=not table)
            for name, several in columns.items():
                if several.has_several:
                    places = [rows[at] for at in several.places]
                    yield self._piece({name: _array(several.texts)}, places, is_new=False)

    def _piece(self, columns: dict[str, pa.Array], rows: Sequence[int], *, is_new: bool) -> ColumnsPiece:
        first = rows[0] if rows else 0
        follow = all(row == first + at for at, row in enumerate(rows))
        return ColumnsPiece(columns, first, self._container, None if follow else rows, is_new)


def _array(texts: Sequence[str | None]) -> pa.Array:
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        # Half of a pair of surrogates, as above.
        whole = [None if one is None else one.encode(errors="replace").decode() for one in texts]
        return pa.array(whole, pa.large_string())


def _text(leaf: Any) -> str:
    if isinstance(leaf, str):
        return leaf
    if isinstance(leaf, bytes | bytearray):
        try:
            return bytes(leaf).decode()
        except UnicodeDecodeError:
            return bytes(leaf).decode("latin-1")
    if isinstance(leaf, float) and leaf.is_integer() and abs(leaf) < 1e20:
        return str(int(leaf))
    return str(leaf)
