"""The history of an inventory: an append-only log of the rows that came, changed and went between two looks.

Rows are stored as JSON, because the columns of a provider's resource change with its version. The columns of
the latest look are in the commit's metadata, and give the views their columns and types.
"""

from __future__ import annotations

import collections
import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from platform_assets.errors import LakeError, StackqlError
from platform_assets.lake.arrow import logical_type_of, time_of
from platform_assets.lake.interfaces import CurrentTable, KeptTable
from platform_assets.lake.log import AppendLog, LogVersion
from platform_assets.model.dialects import literal, quote
from platform_assets.model.table import Column, Integer, Text, Timestamp

if TYPE_CHECKING:
    import duckdb

    from platform_assets.lake.delta import LakeTable

HISTORY_COLUMNS = (
    Column(
        "key", Text(), "The values of the key columns as a JSON array; without a key, a digest of the row"
    ),
    Column("change", Text(), "insert, update or delete"),
    Column("seen_at", Timestamp(utc=True), "When the look that saw the change began, UTC"),
    Column("row", Text(), "The row as a JSON object; of a deleted row, its last values"),
    Column("commit", Integer(64), "Number of the look's commit; the largest of a key is its newest change"),
)
INSERT, UPDATE, DELETE = "insert", "update", "delete"
_COLUMNS = "inventory columns"
_LOOK_BACK = 200
_STREAM = "platform_assets/inventory"


@dataclass(frozen=True)
class Look:
    """Result of one query of an inventory.

    Attributes:
        rows: Number of rows that there are now.
        changes: Number of rows by change; empty if nothing has changed.
        columns: The columns.
        sample: A few of the rows, as text.
    """

    rows: int
    changes: Mapping[str, int]
    columns: Sequence[Column]
    sample: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class InventoryHistory:
    """The history of one inventory.

    Args:
        name: Name of the inventory.
        table: The Delta table of its log.
    """

    name: str
    table: LakeTable

    @property
    def log(self) -> AppendLog:
        """The log."""
        return AppendLog(self.table, f"The inventory {self.name}", _STREAM, ("key",))

    def kept(self) -> KeptTable:
        """Return the log as upkeep takes care of it."""
        return self.log.kept(f"inventory/{self.name}", metadata=_COLUMNS)

    def record(self, found: pa.Table, key: Sequence[str], seen_at: dt.datetime) -> Look:
        """Append what has changed since the last look.

        Args:
            found: The rows that there are now.
            key: The columns that identify a row; empty if only the whole row does.
            seen_at: When the look began.

        Raises:
            StackqlError: The rows have no such key, or it is not unique.
            LakeError: The history cannot be read or written.
        """
        names = found.schema.names
        if doubled := [name for name, count in collections.Counter(names).items() if count > 1]:
            raise StackqlError(
                f"The inventory {self.name} has the column {doubled[0]} twice. Name the columns apart with "
                "AS."
            )
        if missing := [name for name in key if name not in names]:
            raise StackqlError(
                f"The inventory {self.name} has no column {missing[0]}, which "
                f"inventory.queries.{self.name}.key names. Its columns are {', '.join(names)}."
            )
        rows = self._keyed(found, key)
        declared = json.dumps([[field.name, _duckdb_type(field.type)] for field in found.schema])
        for version in self.log.attempts():
            changes = list(_changes(dict(_current(version)), rows, seen_at))
            if not changes and self._declared(version) == declared:
                break
            if version.try_append(changes, {_COLUMNS: declared}):
                break
        else:
            raise self.log.lost_race()
        columns = [Column(field.name, logical_type_of(field.type), nullable=True) for field in found.schema]
        counts = collections.Counter(str(change["change"]) for change in changes)
        sample = [
            {name: _shown(value) for name, value in row.items()} for row in found.slice(0, 5).to_pylist()
        ]
        return Look(len(rows), counts, columns, sample)

    def _keyed(self, found: pa.Table, key: Sequence[str]) -> dict[str, str]:
        """Return the rows as JSON, by their keys."""
        rows: dict[str, str] = {}
        alike: collections.Counter[str] = collections.Counter()
        for asset_row in found.to_pylist():
            row = json.dumps(asset_row, default=_shown, ensure_ascii=False)
            if key:
                identity = json.dumps([asset_row[name] for name in key], default=_shown, ensure_ascii=False)
                if identity in rows:
                    raise StackqlError(
                        f"The inventory {self.name} has two rows with {', '.join(key)} = {identity[1:-1]}. "
                        f"Add columns to inventory.queries.{self.name}.key until it is unique."
                    )
            else:
                alike[row] += 1
                digest = hashlib.blake2b(row.encode(), digest_size=16).hexdigest()
                identity = f"{digest}.{alike[row]}"
            rows[identity] = row
        return rows

    def _declared(self, version: LogVersion) -> str | None:
        return self.table.commit_metadata(version.handle, _COLUMNS, look_back=_LOOK_BACK)

    def _columns(self, version: LogVersion) -> list[tuple[str, str]]:
        if version.handle is None:
            raise LakeError(
                f"inventory/{self.name} was not looked at yet. Materialize it: run the job cloud_inventory."
            )
        return [(name, type_) for name, type_ in json.loads(self._declared(version) or "[]")]

    def current(self) -> CurrentTable:
        """Return the rows of the latest look.

        Raises:
            LakeError: There was no look yet, or the history cannot be read.
        """
        version = self.log.read()
        columns = self._columns(version)
        return CurrentTable(
            f"{str(version.handle.metadata().id)[:8] if version.handle else ''}.{version.number}",
            tuple(name for name, _ in columns),
            lambda connection, name: _create_view(connection, name, version, columns, is_current=True),
        )

    def history(self) -> CurrentTable:
        """Return all versions of all rows, with `_change` and `_seen_at` before the columns."""
        version = self.log.read()
        columns = self._columns(version)
        return CurrentTable(
            str(version.number),
            ("_change", "_seen_at", *(name for name, _ in columns)),
            lambda connection, name: _create_view(connection, name, version, columns, is_current=False),
        )

    def size(self) -> tuple[int, int, dt.datetime | None]:
        """Return how many rows there are, the number of the last change, and when it was seen, UTC."""
        version = self.log.read()
        latest = list(version.latest())
        rows = sum(1 for _, change, *_ in latest if change != DELETE)
        return rows, version.number, max((time_of(entry[2]) for entry in latest), default=None)


def _current(version: LogVersion) -> Iterator[tuple[str, str]]:
    for key, change, _, row, _ in version.latest():
        if change != DELETE:
            yield key, row


def _changes(
    before: Mapping[str, str], now: Mapping[str, str], seen_at: dt.datetime
) -> Iterator[Mapping[str, Any]]:
    for key, row in now.items():
        if before.get(key) != row:
            change = UPDATE if key in before else INSERT
            yield {"key": key, "change": change, "seen_at": seen_at, "row": row}
    for key, row in before.items():
        if key not in now:
            yield {"key": key, "change": DELETE, "seen_at": seen_at, "row": row}


def _shown(value: object) -> str:
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def _duckdb_type(type_: pa.DataType) -> str:
    kinds: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
        (pa.types.is_boolean, "BOOLEAN"),
        (pa.types.is_integer, "BIGINT"),
        (pa.types.is_floating, "DOUBLE"),
        (pa.types.is_decimal, "DOUBLE"),
        (pa.types.is_date, "DATE"),
    )
    if pa.types.is_timestamp(type_):
        return "TIMESTAMPTZ" if type_.tz else "TIMESTAMP"
    return next((name for is_kind, name in kinds if is_kind(type_)), "VARCHAR")


def _create_view(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    version: LogVersion,
    columns: Sequence[tuple[str, str]],
    *,
    is_current: bool,
) -> None:
    """Create a view of the rows with their columns; older rows may have had others."""
    stored = f"{name} log"
    version.create_view(connection, stored)
    selected = [f"TRY_CAST({_member(name)} AS {type_}) AS {quote(name)}" for name, type_ in columns]
    rows = quote(stored)
    if is_current:
        rows = (
            f'(FROM {rows} QUALIFY row_number() OVER (PARTITION BY key ORDER BY "commit" DESC) = 1) '
            f"WHERE change <> {literal(DELETE)}"
        )
    own = ["change AS _change", "seen_at AS _seen_at"]
    connection.execute(f"CREATE VIEW {quote(name)} AS SELECT {', '.join([*own, *selected])} FROM {rows}")


def _member(name: str) -> str:
    """Return SQL for a member of the row, by a JSON pointer, in which any name can be written."""
    pointer = "/" + name.replace("~", "~0").replace("/", "~1")
    return f'json_extract_string("row", {literal(pointer)})'
