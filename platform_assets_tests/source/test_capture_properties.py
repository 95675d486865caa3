"""Whatever a table looks like and whatever happens to it: after every tick the lake has what the source has.

Hypothesis makes up schemas, and changes of rows and of the schema, committed and rolled back, with ticks in
between. Versions are counted by a model that knows only what was visible at each tick.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from platform_assets.lake.lake import stream_current, stream_versions
from platform_assets.model.dialects import literal, quote
from platform_assets.model.table import Table
from platform_assets.source.bulk import BulkReader
from platform_assets.source.catalogue import declare
from platform_assets.source.extract import Extractor
from platform_assets.source.outcome import Extraction
from platform_assets.source.policy import CapturePolicy
from platform_assets.source.scan import table_scan
from platform_assets_tests.fixtures.capture import SOURCE, Capture, Row, session
from platform_assets_tests.fixtures.postgres import Database, NewDatabase
from platform_assets_tests.fixtures.properties import examples

LARGE = CapturePolicy(
    "xmin", small_table_rows=0, deletions_every=dt.timedelta(0), costly_look=dt.timedelta(0)
)
POLICIES = (CapturePolicy(), LARGE, CapturePolicy("diff"))

VALUES: dict[str, tuple[str, ...]] = {
    "integer": ("0", "-1", "2147483647"),
    "smallint": ("7", "-32768"),
    "numeric(8,2)": ("0.00", "-123456.78", "0.01"),
    "numeric": ("1", "1.0", "NaN", "12345678901234567890.5"),
    "varchar(8)": ("", "a", "ä€𝄞", "it's"),
    "text": ("", " ", "NULL", "x" * 1_200),
    "boolean": ("true", "false"),
    "date": ("2023-02-28", "-infinity", "0001-01-01"),
    "timestamptz": ("2023-02-28 12:00:00.123456+03", "infinity"),
    "double precision": ("0.1", "NaN", "-Infinity"),
    "bytea": (r"\x", r"\x00ff"),
    "jsonb": ('{"a": [1, null]}', "null"),
    "integer[]": ("{}", "{1,NULL,3}"),
}
KEYS: dict[str, tuple[str, ...]] = {
    "integer": tuple(map(str, range(-2, 8))),
    "bigint": tuple(str(2**40 * n) for n in range(8)),
    "text": ("", "a", "A", "ä", "b c", "'';", "z" * 40),
    "uuid": tuple(f"00000000-0000-0000-0000-00000000000{n}" for n in range(7)),
}
WIDER = {"integer": "bigint", "smallint": "integer", "numeric(8,2)": "numeric(14,2)", "varchar(8)": "text"}
NAMES = ("a", "select", "with space", "größe", 'quo"te', "f", "g")


@dataclass
class Shape:
    """What a table looks like at the moment.

    Args:
        key: Types of the key columns by name.
        columns: Types of the other columns by name.
        dropped: Types of columns that were dropped, by name.
    """

    key: dict[str, str]
    columns: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def create(self) -> str:
        """The statement that makes it."""
        columns = ", ".join(f"{quote(name)} {type_}" for name, type_ in (self.key | self.columns).items())
        return f"CREATE TABLE item ({columns}, PRIMARY KEY ({', '.join(map(quote, self.key))}))"

    def copied(self) -> Shape:
        """The same, to be changed."""
        return Shape(dict(self.key), dict(self.columns), dict(self.dropped))


def sql_literal(value: str | None) -> str:
    return "NULL" if value is None else literal(value)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Tables with one to three key columns and none to four others."""
    key = draw(st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=3))
    columns = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=4))
    names = NAMES[: len(columns)]
    return Shape(
        {f"k{number}": type_ for number, type_ in enumerate(key)}, dict(zip(names, columns, strict=True))
    )


@dataclass
class Story:
    """A table's life: statements in transactions, with ticks between them.

    Args:
        chance: Where decisions come from. Hypothesis gives the seed alone: where it draws every decision
            itself, it prefers the first options, and little happens in a hundred examples.
        shape: What the table looks like.
    """

    chance: random.Random
    shape: Shape
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def choose(self, *options: Any) -> Any:
        """One of the options."""
        return options[self.chance.randrange(len(options))]

    def some_key(self) -> dict[str, str]:
        """A key, of which there are few, so that many coincide."""
        few = 2 if len(self.shape.key) > 1 else 5
        return {name: sql_literal(self.choose(*KEYS[type_][:few])) for name, type_ in self.shape.key.items()}

    def some_value(self, type_: str) -> str:
        """A value of a type, or NULL."""
        narrow = {wide: type_ for type_, wide in WIDER.items() if wide not in VALUES}
        return sql_literal(self.choose(None, *VALUES[narrow.get(type_, type_)]))

    def where(self, key: dict[str, str]) -> str:
        """The condition that a row has this key, or this part of it."""
        return " AND ".join(f"{quote(name)} = {value}" for name, value in key.items())

    def insert(self) -> str:
        """A statement that inserts some rows, or leaves those that are there as they are."""
        columns = self.shape.columns
        rows = [
            self.some_key() | {name: self.some_value(type_) for name, type_ in columns.items()}
            for _ in range(self.choose(2, 4, 8))
        ]
        names = ", ".join(map(quote, rows[0]))
        values = ", ".join(f"({', '.join(row.values())})" for row in rows)
        return f"INSERT INTO item ({names}) VALUES {values} ON CONFLICT DO NOTHING"

    def change(self) -> str:
        """A statement that changes rows, or none."""
        columns = self.shape.columns
        kinds = ("insert", "update", "update", "all", "same", "delete", "rekey", "empty")
        [kind] = self.chance.choices(kinds, (4, 4, 4, 2, 2, 2, 2, 1))
        some = dict([self.choose(*self.some_key().items())])
        if kind == "insert" or not columns:
            return self.insert()
        if kind in ("update", "all", "same"):
            name = self.choose(*columns)
            value = quote(name) if kind == "same" else self.some_value(columns[name])
            condition = f" WHERE {self.where(some)}" if kind == "update" else ""
            return f"UPDATE item SET {quote(name)} = {value}{condition}"
        if kind == "delete":
            return f"DELETE FROM item WHERE {self.where(some)}"
        if kind == "rekey":
            old, new = self.some_key(), self.some_key()
            sets = ", ".join(f"{quote(name)} = {value}" for name, value in new.items())
            free = f"NOT EXISTS (SELECT FROM item WHERE {self.where(new)})"
            return f"UPDATE item SET {sets} WHERE {self.where(old)} AND {free}"
        return self.choose("TRUNCATE item", "DELETE FROM item")

    def alteration(self) -> str:
        """A statement that changes the table itself."""
        shape = self.shape
        kind = self.choose("add", "default", "drop", "again", "remade", "rename", "widen", "move")
        fresh = f"n{next(self.numbers)}"
        if kind in ("add", "default") or not shape.columns:
            type_ = self.choose(*VALUES)
            shape.columns[fresh] = type_
            default = f" DEFAULT {self.some_value(type_)}" if kind == "default" else ""
            return f"ALTER TABLE item ADD {quote(fresh)} {type_}{default}"
        name = self.choose(*shape.columns)
        if kind == "drop":
            shape.dropped[name] = shape.columns.pop(name)
            return f"ALTER TABLE item DROP {quote(name)}"
        if kind == "again" and shape.dropped:
            name, type_ = shape.dropped.popitem()
            shape.columns[name] = type_
            return f"ALTER TABLE item ADD {quote(name)} {type_} DEFAULT {self.some_value(type_)}"
        if kind == "remade":
            default = self.some_value(shape.columns[name])
            return (
                f"ALTER TABLE item DROP {quote(name)}, "
                f"ADD {quote(name)} {shape.columns[name]} DEFAULT {default}"
            )
        if kind == "rename":
            shape.columns[fresh] = shape.columns.pop(name)
            return f"ALTER TABLE item RENAME {quote(name)} TO {quote(fresh)}"
        widest = [one for one, type_ in shape.columns.items() if type_ in WIDER]
        if kind == "widen" and widest:
            name = self.choose(*widest)
            shape.columns[name] = WIDER[shape.columns[name]]
            return f"ALTER TABLE item ALTER {quote(name)} TYPE {shape.columns[name]}"
        return self.choose("VACUUM FULL item", "VACUUM FREEZE item", "ANALYZE item")

    def transaction(self, run: Callable[[str], object]) -> None:
        """Run some statements in a transaction of their own, which may be rolled back, whole or in part."""
        before = self.shape.copied()
        statements = [
            self.alteration() if self.choose(True, False, False, False) else self.change()
            for _ in range(self.choose(1, 2, 3, 4))
        ]
        note("; ".join(statements))
        if any(statement.startswith(("VACUUM", "ANALYZE")) for statement in statements):
            for statement in statements:
                run(statement)
            return
        run("BEGIN")
        for statement in statements:
            run("SAVEPOINT one")
            run(statement)
            run("RELEASE SAVEPOINT one")
        outcome = self.choose("COMMIT", "COMMIT", "COMMIT", "ROLLBACK")
        note(outcome)
        run(outcome)
        if outcome == "ROLLBACK":
            self.shape = before


Content = dict[str, str]


def content(rows: list[Row], key: Sequence[str]) -> dict[tuple[str, ...], Content]:
    """What rows hold, by key: all values that are not NULL, as text, in which no two values are the same."""
    return {
        tuple(repr(row[name]) for name in key): {
            name: repr(value) for name, value in row.items() if value is not None
        }
        for row in rows
    }


def plain_rows(rows: pa.Table) -> list[Row]:
    """Rows without the platform's columns; moments and days, some beyond Python's years, as numbers."""
    columns = {
        name: rows[name].cast(pa.int64() if rows[name].type.bit_width == 64 else pa.int32())
        if pa.types.is_temporal(rows[name].type)
        else rows[name]
        for name in rows.column_names
        if not name.startswith("_")
    }
    return pa.table(columns).to_pylist()


@dataclass
class Follower:
    """Ticks, and what they are to find.

    Content counts, not that a row was written.

    Args:
        capture: The lake.
        versions: What the lake's latest version of each row that is not deleted holds, by key.
        batch: Number of the last batch.
    """

    capture: Capture
    versions: dict[tuple[str, ...], Content] = field(default_factory=dict)
    batch: int = 0

    def tick(self) -> None:
        """Take in what changed; the lake has what the source has then, by versions of what changed alone."""
        capture = self.capture
        source = capture.source((Table("item", "", (), ()),))
        with source.snapshot() as snapshot:
            relation = snapshot.relations(["item"])["item"]
            table = declare(relation)
            scan = table_scan(table, relation, snapshot.version)
            with BulkReader(snapshot, [scan]) as bulk, bulk.stream("item") as rows:
                wanted = content(plain_rows(rows.read_all()), table.primary_key)
        extraction = Extractor(source, capture.lake, capture.engine).extract(source.tables)
        assert extraction.tables["item"].stopped == ""
        held = stream_current(capture.lake, capture.engine, SOURCE, table).read_all()
        assert content(plain_rows(held), table.primary_key) == wanted
        self._check_versions(table, wanted, extraction)

    def _check_versions(
        self, table: Table, wanted: dict[tuple[str, ...], Content], extraction: Extraction
    ) -> None:
        new: list[Row] = []
        if extraction.tables["item"].rows:
            versions = stream_versions(self.capture.lake, self.capture.engine, SOURCE, table).read_all()
            names = [*table.primary_key, "_change", "_batch"]
            new = [row for row in versions.select(names).to_pylist() if row["_batch"] > self.batch]
        assert {row["_batch"] for row in new} <= {extraction.batch}
        keys: dict[str, list[tuple[str, ...]]] = {"insert": [], "update": [], "delete": []}
        for row in new:
            keys[row["_change"]].append(tuple(repr(row[name]) for name in table.primary_key))
        assert sorted(keys["insert"]) == sorted(wanted.keys() - self.versions.keys())
        assert sorted(keys["delete"]) == sorted(self.versions.keys() - wanted.keys())
        updated, both = set(keys["update"]), wanted.keys() & self.versions.keys()
        assert len(updated) == len(keys["update"])
        # A value that a dropped column had is gone from a row's versions when that is written the next time.
        changed = {key for key in both if wanted[key] != only(self.versions[key], table.column_names)}
        differing = {key for key in both if wanted[key] != self.versions[key]}
        assert changed <= updated <= differing
        if self.capture.policy.strategy == "diff":
            assert updated == differing
        for key in keys["delete"]:
            del self.versions[key]
        for key in (*keys["insert"], *updated):
            self.versions[key] = wanted[key]
        self.batch = extraction.batch


def only(values: Content, names: Sequence[str]) -> Content:
    return {name: value for name, value in values.items() if name in names}


@pytest.fixture(scope="module")
def database(new_module_database: NewDatabase) -> Database:
    return new_module_database()


EXAMPLES = itertools.count()


@settings(
    max_examples=examples(60),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_after_every_tick_the_lake_has_what_the_source_has(
    database: Database, tmp_path: Path, data: st.DataObject
) -> None:
    story = Story(data.draw(st.randoms(use_true_random=True)), data.draw(shapes()))
    schema = f"example_{next(EXAMPLES)}"
    policy = story.choose(*POLICIES)
    capture = Capture(
        lambda: dataclasses.replace(database.owner, schema=schema),
        lambda: dataclasses.replace(database.reader, schema=schema),
        tmp_path / schema,
        policy=policy,
    )
    follower = Follower(capture)
    with session(database.owner) as owner:
        owner.run(f"CREATE SCHEMA {schema}")
        owner.run(f"GRANT USAGE ON SCHEMA {schema} TO {database.reader.user}")
        owner.run(f"SET search_path TO {schema}")
        owner.run(story.shape.create())
        owner.run(f"GRANT SELECT ON item TO {database.reader.user}")
        owner.run(story.insert())
        try:
            for _ in range(story.choose(2, 3)):
                for _ in range(story.choose(0, 1, 2, 3)):
                    story.transaction(owner.run)
                follower.tick()
                note("tick")
        finally:
            owner.run(f"DROP SCHEMA {schema} CASCADE")
