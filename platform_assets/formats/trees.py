"""Nested values, such as JSON, as columns: a column for each path, a table for each level of lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain, compress, islice, repeat
from operator import itemgetter, lt
from typing import Any, TypeAlias

import pyarrow as pa

from platform_assets.formats.headers import is_column_name
from platform_assets.formats.reading import Cells, ColumnsPiece, cells_of_texts, cleaned, is_text, texts_array

_MOST_COLUMNS = 2_000
# Cells of all columns created at once, including empty ones: rows may have hardly any column in common.
_MOST_CELLS = 1 << 20
_MOST_PATHS = 10_000
MOST_ROWS_OF_CELLS = 1_024
"""Columns of more rows are arrays."""
# A column is sparse with fewer values than one in this many rows.
_SPARSE = 16
_LONGEST_KEY = 64
_PLAIN = re.compile(r"[A-Za-z_.\-]{1,64}")
_DATA = re.compile(r"@|\d{4}|://")


_MAPPING, _LIST, _LEAF = range(3)


def _is_data(key: str, words: Set[str]) -> bool:
    """Return True if a key is data: an address, a number, or words that are not typical of column names."""
    if _PLAIN.fullmatch(key):
        return False
    if _DATA.search(key):
        return True
    return (len(key) > _LONGEST_KEY or any(map(str.isspace, key))) and not is_column_name(key, words)


_Group: TypeAlias = tuple[Sequence[Any], Sequence[int], Sequence[int], str, str]


class _TooWide(Exception):
    """Values have more columns than may be created at once."""


class _ColumnTexts:
    """The content of a column: texts and their rows, ascending; a row may have several."""

    __slots__ = ("has_several", "is_ascending", "places", "texts")

    def __init__(self) -> None:
        self.places: list[int] = []
        self.texts: list[str] = []
        self.has_several = False
        self.is_ascending = True

    def extend(self, places: Sequence[int], texts: Iterable[str], *, follow: bool) -> None:
        """Add texts; their rows are ascending if they `follow` each other."""
        if not follow or (self.places and self.places[-1] >= places[0]):
            self.is_ascending = False
        self.places.extend(places)
        self.texts.extend(texts)

    def arrange(self) -> None:
        """Sort the rows if they were added in another order."""
        if not self.is_ascending:
            pairs = sorted(zip(self.places, self.texts, strict=True), key=itemgetter(0))
            self.places, self.texts = [at for at, _ in pairs], [text for _, text in pairs]
            self.has_several = len(set(self.places)) < len(self.places)
            self.is_ascending = True

    def in_rows(self, count: int) -> list[str | None]:
        """A text or None for each of a number of rows."""
        if len(self.texts) == count:
            return list(self.texts)
        values: list[str | None] = [None] * count
        for at, text in zip(self.places, self.texts, strict=True):
            values[at] = text
        return values


class Tables:
    """Collects leaves of nested values, row by row, until they are returned as columns.

    A list within a row becomes a table of its own, with its elements as rows. A key that is data (an address,
    a number) becomes a value and not a column name, so that no name repeats a finding.

    Args:
        container: The place of the values.
        words: Words that are typical of column names, beside common ones.
        numbers_members: True if rows of a list's table are numbered by list element; otherwise they have the
            number of the row that contains the list.
    """

    def __init__(
        self, container: tuple[str, ...], words: Set[str] = frozenset(), *, numbers_members: bool = False
    ) -> None:
        self._container = container
        self._words = words
        self._numbers_members = numbers_members
        self._paths: dict[tuple[str, Any], str] = {}
        self._start()

    def _start(self) -> None:
        self._cells: dict[str, dict[str, _ColumnTexts]] = {}
        self._numbers: dict[str, list[int]] = {}
        self._open: dict[tuple[str, str], tuple[list[int], _ColumnTexts]] = {}
        self._columns = 0
        self._rows = 0
        self.size = 0

    @property
    def is_full(self) -> bool:
        """True if there are so many columns that they should be returned."""
        return self._columns >= _MOST_COLUMNS or self._columns * self._rows > _MOST_CELLS

    def pieces(self, values: Sequence[Any], first_row: int) -> Iterator[ColumnsPiece]:
        """Values as columns, converted together: if they are alike, a column costs hardly more than a value.

        Requires that nothing was added since the last columns were returned.

        Args:
            values: Mappings, sequences and leaves in any nesting, one for each row.
            first_row: Number of the first row; the others follow.
        """
        try:
            self._spread(values, range(first_row, first_row + len(values)))
        except _TooWide:
            self._start()
            for row, value in enumerate(values, first_row):
                self.add(value, row)
                if self.is_full:
                    yield from self.take()
        yield from self.take()

    def add(self, value: Any, row: int) -> None:
        """Add a row.

        Args:
            value: Mappings, sequences and leaves in any nesting.
            row: Its number.
        """
        # A stack instead of recursion: values may be nested deeper than Python's limit. A list element
        # becomes a row when its turn comes; until then its number is stored as a negative position.
        stack: list[tuple[Any, str, str, int]] = [(value, "", "", self._new_row("", row))]
        while stack:
            node, table, path, at = stack.pop()
            if at < 0 and not isinstance(node, list | tuple):
                at = self._new_row(table, -at - 1)
            if isinstance(node, Mapping):
                for key, member in node.items():
                    column = self._paths.get((path, key)) or self._path(table, path, key, (at,))
                    if isinstance(member, str):
                        if member:
                            self._put(table, column or "value", at, member)
                    elif isinstance(member, Mapping | list | tuple):
                        stack.append((member, table, column, at))
                    elif member is not None and not isinstance(member, bool) and (text := _text(member)):
                        self._put(table, column or "value", at, text)
            elif isinstance(node, list | tuple):
                inner = f"{path}[]"
                for number, member in reversed(list(enumerate(node))):
                    own = number if self._numbers_members else row
                    stack.append((member, inner, inner, -own - 1))
            elif node is not None and not isinstance(node, bool) and (text := _text(node)):
                self._put(table, path or "value", at, text)

    def _spread(self, values: Sequence[Any], rows: Sequence[int]) -> None:
        """Add rows column by column, with the same result as adding them one by one.

        Raises:
            _TooWide: There are too many columns.
        """
        # For nodes of one path: the row number and the position in its table of each node, the table and the
        # path.
        groups: list[_Group] = [(values, rows, self._new_rows("", rows), "", "")]
        while groups:
            nodes, numbers, places, table, path = groups.pop()
            if len(nodes) == 1 and isinstance(nodes[0], dict):
                groups += reversed(self._members_of_one(nodes[0], numbers[0], places[0], table, path))
                if self.is_full:
                    raise _TooWide
                continue
            kinds = {kind: _sort_of(kind) for kind in set(map(type, nodes))}
            sorts = set(kinds.values())
            for sort in sorts:
                if len(sorts) == 1:
                    of, own, at = nodes, numbers, places
                else:
                    chosen = [kinds[type(node)] == sort for node in nodes]
                    of, own, at = (list(compress(part, chosen)) for part in (nodes, numbers, places))
                if sort == _MAPPING:
                    groups += reversed(list(self._members(of, own, at, table, path)))
                elif sort == _LIST:
                    groups += self._items(of, own, path)
                else:
                    self._put_all(table, path or "value", at, of)
            if self.is_full:
                raise _TooWide

    def _members_of_one(
        self, node: Mapping[Any, Any], number: int, at: int, table: str, path: str
    ) -> list[_Group]:
        """Add the leaves of a mapping that has no like, and return its other members by column."""
        within: dict[str, list[Any]] = {}
        for key, member in node.items():
            column = self._paths.get((path, key)) or self._path(table, path, key, (at,))
            if isinstance(member, str):
                if member:
                    self._put(table, column or "value", at, member)
            elif isinstance(member, Mapping | list | tuple):
                within.setdefault(column, []).append(member)
            elif member is not None and not isinstance(member, bool) and (text := _text(member)):
                self._put(table, column or "value", at, text)
        return [
            (members, [number] * len(members), [at] * len(members), table, column)
            for column, members in within.items()
        ]

    def _members(
        self, nodes: Sequence[Any], numbers: Sequence[int], places: Sequence[int], table: str, path: str
    ) -> Iterator[_Group]:
        """Members of mappings, by column."""
        keys = tuple(nodes[0])
        if len(set(map(tuple, nodes))) == 1 and len(keys) <= _MOST_COLUMNS:
            given = {key: (list(map(itemgetter(key), nodes)), numbers, places) for key in keys}
        else:
            gathered: dict[Any, tuple[list[Any], list[int], list[int]]] = {}
            for node, number, at in zip(nodes, numbers, places, strict=True):
                for key, member in node.items():
                    of = gathered.get(key)
                    if of is None:
                        of = gathered[key] = ([], [], [])
                    of[0].append(member)
                    of[1].append(number)
                    of[2].append(at)
            given = dict(gathered)
        columns: dict[str, list[Any]] = {}
        for key, group in given.items():
            column = self._paths.get((path, key)) or self._path(table, path, key, group[2])
            columns.setdefault(column, []).append(group)
        for column, of_column in columns.items():
            if len(of_column) == 1:
                yield (*of_column[0], table, column)
            else:
                one, two, three = (list(chain.from_iterable(part)) for part in zip(*of_column, strict=True))
                yield one, two, three, table, column

    def _items(self, nodes: Sequence[Any], numbers: Sequence[int], path: str) -> Iterator[_Group]:
        """Elements of lists as rows of a separate table; nested lists are flattened."""
        inner = f"{path}[]"
        items = list(chain.from_iterable(nodes))
        if not items:
            return
        own: list[int]
        if self._numbers_members:
            own = list(chain.from_iterable(map(range, map(len, nodes))))
        else:
            own = list(chain.from_iterable(map(repeat, numbers, map(len, nodes))))
        lists = [isinstance(item, list | tuple) for item in items]
        if any(lists):
            rows = [not is_list for is_list in lists]
            yield list(compress(items, lists)), list(compress(own, lists)), (), inner, inner
            items, own = list(compress(items, rows)), list(compress(own, rows))
        if items:
            yield items, own, self._new_rows(inner, own), inner, inner

    def _put_all(self, table: str, column: str, places: Sequence[int], leaves: Sequence[Any]) -> None:
        texts = leaves
        kinds = set(map(type, leaves))
        if kinds == {int}:
            texts = list(map(str, leaves))
        elif kinds == {float}:
            texts = list(map(_number, leaves))
        elif kinds != {str} or "" in leaves:
            texts = [
                ""
                if leaf is None or leaf is True or leaf is False
                else leaf
                if type(leaf) is str
                else _text(leaf)
                for leaf in leaves
            ]
            places, texts = list(compress(places, texts)), list(compress(texts, texts))
        if not texts:
            return
        cells = self._column(table, column)
        follow = isinstance(places, range) or all(map(lt, places, islice(places, 1, None)))
        cells.extend(places, texts, follow=follow)
        self.size += sum(map(len, texts)) + 64 * len(texts)

    def _path(self, table: str, path: str, key: Any, places: Sequence[int]) -> str:
        """The column of a key; a key that is data becomes a value."""
        # JSON may escape half of a surrogate pair, which is not valid text.
        name = key if isinstance(key, str) and key.isascii() else str(key).encode(errors="replace").decode()
        if _is_data(name, self._words):
            keys = f"{path}.(key)" if path else "(key)"
            if len(places) == 1:
                self._put(table, keys, places[0], name)
            else:
                self._put_all(table, keys, places, [name] * len(places))
            return f"{path}.*" if path else "*"
        column = f"{path}.{name}" if path else name
        if len(self._paths) < _MOST_PATHS:
            self._paths[path, key] = column
        return column

    def _new_row(self, table: str, number: int) -> int:
        numbers = self._numbers.setdefault(table, [])
        numbers.append(number)
        self._rows += 1
        return len(numbers) - 1

    def _new_rows(self, table: str, rows: Sequence[int]) -> range:
        numbers = self._numbers.setdefault(table, [])
        start = len(numbers)
        numbers.extend(rows)
        self._rows += len(rows)
        return range(start, len(numbers))

    def put(self, table: str, column: str, row: int, text: str) -> None:
        """Add one value to a row; the row must be new, or the last row added to its table."""
        known = self._open.get((table, column))
        if known is None:
            known = self._numbers.setdefault(table, []), self._column(table, column)
            self._open[table, column] = known
        numbers, cells = known
        if not numbers or numbers[-1] != row:
            numbers.append(row)
        at, places = len(numbers) - 1, cells.places
        if places and places[-1] == at:
            cells.has_several = True
        places.append(at)
        cells.texts.append(text)
        self.size += len(text) + 64

    def _put(self, table: str, column: str, at: int, text: str) -> None:
        cells = self._column(table, column)
        if cells.places and cells.places[-1] >= at:
            cells.has_several |= cells.places[-1] == at
            cells.is_ascending &= cells.places[-1] == at
        cells.places.append(at)
        cells.texts.append(text)
        self.size += len(text) + 64

    def _column(self, table: str, column: str) -> _ColumnTexts:
        columns = self._cells.get(table)
        if columns is None:
            columns = self._cells[table] = {}
        cells = columns.get(column)
        if cells is None:
            cells = columns[column] = _ColumnTexts()
            self._columns += 1
        return cells

    def take(self) -> Iterator[ColumnsPiece]:
        """Return everything as columns, and start again empty."""
        cells, numbers = self._cells, self._numbers
        self._start()
        written = (column.texts for columns in cells.values() for column in columns.values())
        is_valid = is_text("".join(chain.from_iterable(written)))
        for table, columns in cells.items():
            rows = numbers.get(table, [])
            for column in columns.values():
                column.arrange()
            is_wide = len(columns) * len(rows) > _MOST_CELLS
            apart = {
                name
                for name, cells in columns.items()
                if cells.has_several or (is_wide and len(cells.texts) * _SPARSE < len(rows))
            }
            count = len(rows)
            if count <= MOST_ROWS_OF_CELLS:
                dense: dict[str, pa.Array | Cells] = {
                    name: Cells(cells.texts if is_valid else cleaned(cells.texts), cells.places, count)
                    for name, cells in columns.items()
                    if name not in apart
                }
            else:
                dense = {
                    name: texts_array(cells.in_rows(count))
                    for name, cells in columns.items()
                    if name not in apart
                }
            if dense:
                yield self._piece(dense, rows, is_new=not table)
            for name in filter(apart.__contains__, columns):
                texts = columns[name].texts
                places = [rows[at] for at in columns[name].places]
                few = len(texts) <= MOST_ROWS_OF_CELLS
                alone = cells_of_texts(cleaned(texts)) if few else texts_array(texts)
                yield self._piece({name: alone}, places, is_new=False)

    def _piece(self, columns: dict[str, pa.Array | Cells], rows: list[int], *, is_new: bool) -> ColumnsPiece:
        first = rows[0] if rows else 0
        follow = len(rows) == 1 or rows == list(range(first, first + len(rows)))
        return ColumnsPiece(columns, first, self._container, None if follow else rows, is_new)


def _sort_of(kind: type) -> int:
    if issubclass(kind, Mapping):
        return _MAPPING
    return _LIST if issubclass(kind, list | tuple) else _LEAF


def _text(leaf: Any) -> str:
    if isinstance(leaf, str):
        return leaf
    if isinstance(leaf, bytes | bytearray):
        try:
            return bytes(leaf).decode()
        except UnicodeDecodeError:
            return bytes(leaf).decode("latin-1")
    return _number(leaf) if isinstance(leaf, float) else str(leaf)


def _number(number: float) -> str:
    return str(int(number)) if number.is_integer() and abs(number) < 1e20 else str(number)
