"""Nested values, of JSON and its kin, as columns: a column for each path, a table for each level of lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from platform_assets.dlp.formats.reading import ColumnsPiece

_MOST_COLUMNS = 2_000
_LONGEST_KEY = 64
_DATA = re.compile(r"@|\d{4}|://|\s")


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
        self._start()

    def _start(self) -> None:
        self._cells: dict[str, dict[str, list[tuple[int, str]]]] = {}
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
                for key, member in reversed(list(node.items())):
                    name = str(key)
                    if len(name) > _LONGEST_KEY or _DATA.search(name):
                        self._put(table, f"{path}.(key)" if path else "(key)", at, name)
                        name = "*"
                    stack.append((member, table, f"{path}.{name}" if path else name, at))
            elif isinstance(node, list | tuple):
                inner = f"{path}[]"
                for number, member in reversed(list(enumerate(node))):
                    own = number if self._numbers_members else row
                    stack.append((member, inner, inner, -own - 1))
            elif node is not None and not isinstance(node, bool) and (text := _text(node)):
                self._put(table, path or "value", at, text)

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
        columns = self._cells.setdefault(table, {})
        cells = columns.get(column)
        if cells is None:
            cells = columns[column] = []
            self._columns += 1
        cells.append((at, text))
        self.size += len(text) + 64

    def take(self) -> Iterator[ColumnsPiece]:
        """Everything as columns; afterwards there is nothing."""
        cells, numbers = self._cells, self._numbers
        self._start()
        for table, columns in cells.items():
            rows = numbers.get(table, [])
            dense, several = {}, {}
            for name, filled in columns.items():
                if len({at for at, _ in filled}) == len(filled):
                    values: list[str | None] = [None] * len(rows)
                    for at, text in filled:
                        values[at] = text
                    dense[name] = pa.array(values, pa.large_string())
                else:
                    several[name] = filled
            if dense:
                yield self._piece(dense, rows, is_new=not table)
            for name, filled in several.items():
                array = pa.array([text for _, text in filled], pa.large_string())
                yield self._piece({name: array}, [rows[at] for at, _ in filled], is_new=False)

    def _piece(self, columns: dict[str, pa.Array], rows: Sequence[int], *, is_new: bool) -> ColumnsPiece:
        first = rows[0] if rows else 0
        follow = all(row == first + at for at, row in enumerate(rows))
        return ColumnsPiece(columns, first, self._container, None if follow else rows, is_new)


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
