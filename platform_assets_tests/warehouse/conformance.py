"""What the conformance suite needs: an engine to be tested, a lake to load from, and ways to compare the two.

The tests are in `test_conformance.py`; the engines are registered in `fixtures/warehouse.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from platform_assets.errors import WarehouseError
from platform_assets.lake.arrow import arrow_type
from platform_assets.lake.lake import Lake
from platform_assets.lake.ledger import LedgerEntry
from platform_assets.model import table
from platform_assets.model.dialects import quote
from platform_assets.model.star_model import STREAM, columns_of
from platform_assets.model.table import Column, LogicalType, Table, Time
from platform_assets.model.totesys import star
from platform_assets.warehouse.interface import BoundSql, Warehouse

Capability = Literal[
    "tables",
    "evolving",
    "crash",
    "permissions",
    "large_text",
    "many_rows",
    "concurrency",
    "arrow_types",
    "dropping",
]
"""What an engine, or what stands for it in the tests, may lack:

- tables: it can be given a model of its own (`replace(warehouse, tables=...)`).
- evolving: a table takes further columns after rows.
- crash: it can be stopped before its n-th statement.
- permissions: it has users who may not do everything.
- large_text: a text of 16 MB.
- many_rows: 200,000 rows in a minute.
- concurrency: two sessions at once.
- dropping: somebody drops tables and columns, which the next load brings back.
- arrow_types: results come in the Arrow types that `EngineUnderTest.arrow_type` says.
"""

SEEN_AT = dt.datetime(2023, 3, 1, 10, 0, 0, 123456, tzinfo=dt.UTC)
DAY = dt.date(2023, 3, 1)


def _of_model(one: Table) -> Table:
    """The same fact, of which no reference leaves the model."""
    kept = (None, star.DIM_DATE.name, "dim_design")
    return replace(one, columns=tuple(column for column in one.columns if column.references in kept))


MODEL = (
    star.DIM_DATE,
    next(one for one in star.TABLES if one.name == "dim_design"),
    _of_model(star.FACT_SALES_ORDER),
    _of_model(star.FACT_PAYMENT),
)
"""Two facts and two dimensions of the eleven: what a load does with these it does with the others, which
would only take longer."""


class Crash(BaseException):
    """Ends a load as a killed process would: no handler of errors sees it."""


@dataclass(frozen=True)
class Refusal:
    """Rows that an engine does not take.

    Args:
        what: What is wrong with them, as the name of the test.
        name: Schema and table that they would be written to.
        rows: The rows.
        says: What the error says, in part.
    """

    what: str
    name: tuple[str, str]
    rows: Callable[[], pa.Table]
    says: str


@dataclass(frozen=True)
class MissingPermission:
    """A user who lacks one thing.

    Args:
        what: What is missing, as the name of the test.
        warehouse: Makes a warehouse of a user who lacks it.
        attempt: `load` or `write`.
        grants: The statements that give it, as the error has to name them.
        give: Runs them.
    """

    what: str
    warehouse: Callable[[], Warehouse]
    attempt: Literal["load", "write"]
    grants: tuple[str, ...]
    give: Callable[[Sequence[str]], None]


def result_type(type_: LogicalType) -> pa.DataType:
    """The Arrow type that a query gives a logical type as, where an engine has them all."""
    return pa.time64("us") if isinstance(type_, Time) else arrow_type(type_)


@dataclass(frozen=True)
class EngineUnderTest:
    """One engine, as far as the suite needs it.

    Args:
        name: What it is called in messages.
        make: Gives a warehouse that nothing was ever loaded into, another one at each call.
        lacks: The capabilities that it does not have, each with the reason.
        crashing: Gives the same warehouse, for a while, with an end before its n-th statement (from 1). The
            end is an error of the platform's, or `Crash`.
        quote: Quotes an identifier, or a qualified one.
        star_schema: Where the star tables are.
        arrow_type: The Arrow type that a query gives a logical type as.
        declared: Query for (column, type, "YES" where nullable), in order, of a star table.
        types: What `declared` says of each logical type, by its text.
        refuses: What it does not take.
        permissions: Users who lack something.
        execute: Runs statements as somebody else than the platform.
    """

    name: str
    make: Callable[[], Warehouse]
    lacks: Mapping[Capability, str] = field(default_factory=dict)
    crashing: Callable[[Warehouse, int], AbstractContextManager[Warehouse]] | None = None
    quote: Callable[..., str] = quote
    star_schema: str = "star"
    arrow_type: Callable[[LogicalType], pa.DataType] = result_type
    declared: Callable[[str], str] = lambda table: (
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns "
        f"WHERE table_schema = 'star' AND table_name = '{table}' ORDER BY ordinal_position"
    )
    types: Callable[[LogicalType], str] = str
    refuses: Sequence[Refusal] = ()
    permissions: Callable[[], Sequence[MissingPermission]] = lambda: ()
    execute: Callable[[Any, Sequence[str]], None] = lambda _, __: None

    def rows(
        self, warehouse: Warehouse, relation: str, columns: Sequence[str], *, order: Sequence[str] = ()
    ) -> list[tuple[Any, ...]]:
        """Rows of a star table or of one of its views, by the first column unless another order is named."""
        named = ", ".join(self.quote(name) for name in columns)
        by = ", ".join(self.quote(name) for name in order or columns[:1])
        return fetch(warehouse, f"SELECT {named} FROM {self.quote(self.star_schema, relation)} ORDER BY {by}")

    def star(self, warehouse: Warehouse, tables: Sequence[Table]) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of the star tables that were loaded, by key; empty where nothing ever was."""
        loaded = {status.table for status in warehouse.status()}
        return {
            table_.name: self.rows(warehouse, table_.name, names_of(table_))
            for table_ in tables
            if table_.name in loaded
        }


def fetch(warehouse: Warehouse, sql: str | BoundSql) -> list[tuple[Any, ...]]:
    """The rows of a query, as Python values."""
    with warehouse.query(sql) as reader:
        return tuples(reader.read_all())


def tuples(rows: pa.Table) -> list[tuple[Any, ...]]:
    """The rows of an Arrow table, as Python values."""
    return list(zip(*(column.to_pylist() for column in rows.columns), strict=True))


def names_of(one: Table) -> list[str]:
    """Names of a star table's columns as stored."""
    return [column.name for column in columns_of(one)]


def value_of(column: Column, key: int) -> Any:
    """Some value that a column may hold; a reference points to the first row of its dimension."""
    match column.type:
        case table.Integer():
            return 1 if column.references else min(key, column.maximum or key)  # type: ignore[type-var]
        case table.Decimal(scale=scale):
            return Decimal(key * 10**scale + 10**scale // 10).scaleb(-scale)
        case table.Float():
            return key + 0.5
        case table.Text():
            return column.accepted[0] if column.accepted else f"{column.name} {key}"
        case table.Binary():
            return bytes([0, key % 256, 255])
        case table.Boolean():
            return key % 2 == 0
        case table.Date():
            return DAY
        case table.Time():
            return "09:30:15.123456"
        case table.Timestamp(utc=utc):
            return SEEN_AT if utc else SEEN_AT.replace(tzinfo=None)
    raise AssertionError(column)


def row_of(one: Table, key: int, batch: int, change: str = "insert", **values: Any) -> dict[str, Any]:
    """A row of a star table: usual values, those that are named, and the platform's."""
    row = {column.name: value_of(column, key) for column in one.columns}
    if one.name != star.DIM_DATE.name:
        row[one.primary_key[0]] = key
    if one.business_key:
        row[one.business_key] = key
    platform = {"_change": change, "_batch": batch, "_seen_at": SEEN_AT + dt.timedelta(minutes=batch)}
    return row | platform | values


@dataclass(frozen=True)
class StarLake:
    """A lake whose star tables are written by hand.

    Args:
        lake: The lake.
        tables: The star schema.
    """

    lake: Lake
    tables: Sequence[Table] = star.TABLES

    @classmethod
    def create(cls, folder: Path) -> StarLake:
        """A lake that has an identity, and no star table yet."""
        lake = Lake(str(folder / "ingestion"), str(folder / "processed"))
        entry = LedgerEntry(1, "totesys", "payment", 1, 0, 0, 0, "1:1:", SEEN_AT, SEEN_AT)
        lake.ledger.commit(lake.ledger.read(), [entry])
        return cls(lake)

    @classmethod
    def with_rows(cls, folder: Path, tables: Sequence[Table] = star.TABLES) -> StarLake:
        """A lake with one row in each dimension and two in each fact, of batch 1."""
        made = cls.create(folder).of(tables)
        for table_ in made.tables:
            keys = (1, 2) if table_.kind == "fact" else (1,)
            made.put(table_.name, 1, *(row_of(table_, key, 1) for key in keys))
        return made

    def of(self, tables: Sequence[Table]) -> StarLake:
        """The same lake with another model."""
        return replace(self, tables=tuple(tables))

    def table(self, name: str) -> Table:
        """A table of the model."""
        return next(table_ for table_ in self.tables if table_.name == name)

    def put(self, name: str, batch: int, *rows: Mapping[str, Any]) -> None:
        """Have a star table take in a batch: rows are appended, those of a dimension merged by key."""
        target = self.lake.star(self.table(name))
        new = pa.Table.from_pylist([dict(row) for row in rows], schema=target.arrow_schema)
        self.put_arrow(name, batch, new)

    def put_arrow(self, name: str, batch: int, rows: pa.Table) -> None:
        """The same with rows as Arrow."""
        one = self.table(name)
        target = self.lake.star(one)
        handle = target.open()
        if handle is not None and one.kind == "dimension" and len(handle.schema().fields) == len(rows.schema):
            target.upsert(handle, rows, key=one.primary_key, stream=STREAM, version=batch)
        else:
            target.append(handle, rows, stream=STREAM, version=batch)

    def star(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of the star tables, by key, times as such: what a warehouse has to hold."""
        return {table_.name: self.rows(table_.name) for table_ in self.tables}

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        """All rows of one of them."""
        one = self.table(name)
        target = self.lake.star(one)
        rows = target.scan(target.open()).read_all().select(names_of(one)).sort_by(one.primary_key[0])
        times = [number for number, column in enumerate(one.columns) if isinstance(column.type, Time)]
        return [
            tuple(
                dt.time.fromisoformat(value) if number in times and value is not None else value
                for number, value in enumerate(row)
            )
            for row in tuples(rows)
        ]


def loaded_or_error(warehouse: Warehouse, lake: StarLake) -> WarehouseError | Crash | None:
    """Load everything; what ended it, None where it got through."""
    try:
        warehouse.load(lake.lake, lake.tables)
    except (WarehouseError, Crash) as error:
        return error
    return None
