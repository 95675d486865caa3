"""Schema drift: a real table is altered, and what flows and what stops it is told from its catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pg8000.native
import pytest

from platform_assets.model.table import (
    HASH_COLUMN,
    PLATFORM_COLUMNS,
    Column,
    Date,
    Decimal,
    Integer,
    LogicalType,
    Table,
    Text,
    Timestamp,
)
from platform_assets.source.catalogue import Relation, declare, read_relations
from platform_assets.source.drift import Drift, Remembered, compare, remember
from platform_assets_tests.fixtures.postgres import Database, NewDatabase

BEFORE = """
DROP TABLE IF EXISTS item, other CASCADE;
DROP TYPE IF EXISTS mood;
CREATE TYPE mood AS ENUM ('sad');
CREATE TABLE item (
  id integer PRIMARY KEY, name varchar(10) NOT NULL, price numeric(10,2), day date, mood mood, at timestamp,
  note text, UNIQUE (name));
GRANT SELECT ON item TO PUBLIC
"""
DECLARED = Table(
    "item",
    "An item",
    (
        Column("id", Integer()),
        Column("name", Text(10)),
        Column("price", Decimal(10, 2), nullable=True),
        Column("day", Date(), nullable=True),
    ),
    ("id",),
)


@dataclass(frozen=True)
class Source:
    """A table as it was when it was last read, and as it is."""

    control: pg8000.native.Connection

    def execute(self, script: str) -> None:
        for command in script.split(";"):
            if command.strip():
                self.control.run(command)

    def relation(self) -> Relation | None:
        return read_relations(self.control.run, "public", ["item"]).get("item")

    def after(self, script: str, declared: Table | None = None, **arguments: Any) -> Drift:
        """The drift that a script makes of the table that was there before."""
        self.execute(BEFORE)
        relation = self.relation()
        assert relation is not None
        table = declared or declare(relation)
        remembered = Remembered.from_json(json.loads(json.dumps(remember(relation, table).to_json())))
        assert remembered == remember(relation, table)
        self.execute(script)
        before = (*table.columns, *PLATFORM_COLUMNS, HASH_COLUMN)
        return compare(before, self.relation(), declared, name="item", remembered=remembered, **arguments)


@pytest.fixture(scope="module")
def database(new_module_database: NewDatabase) -> Database:
    return new_module_database()


@pytest.fixture(scope="module")
def source(database: Database) -> Iterator[Source]:
    owner = database.owner
    control = pg8000.native.Connection(
        owner.user, host=owner.host, port=owner.port, database=owner.database, password=owner.password
    )
    yield Source(control)
    control.close()


def names(columns: tuple[Column, ...]) -> list[str]:
    return [column.name for column in columns]


ITEM = ["id", "name", "price", "day", "mood", "at", "note"]


@pytest.mark.parametrize("declared", [None, DECLARED])
def test_a_table_that_nobody_altered_has_not_drifted(source: Source, declared: Table | None) -> None:
    drift = source.after("", declared)
    assert drift == Drift(drift.table, drift.columns)
    assert drift.table is not None
    assert drift.notes == ()
    assert not drift.is_read_in_full
    assert names(drift.columns) == (ITEM if declared is None else ["id", "name", "price", "day"])


def test_a_table_that_the_lake_does_not_have_yet_is_all_new_and_no_drift(source: Source) -> None:
    source.execute(BEFORE)
    relation = source.relation()
    assert relation is not None
    drift = compare((), relation, name="item")
    assert drift.table == declare(relation)
    assert drift.columns == drift.table.columns
    assert (drift.notes, drift.incompatible, drift.is_read_in_full) == ((), (), False)


def test_an_added_column_flows_and_old_rows_are_compared_for_its_default(source: Source) -> None:
    drift = source.after("ALTER TABLE item ADD stock integer NOT NULL DEFAULT 5")
    assert drift.incompatible == ()
    assert drift.added == ("stock",)
    assert drift.columns[-1] == Column("stock", Integer(64))
    assert drift.is_read_in_full
    assert drift.notes == ("Column stock is new.",)


def test_a_dropped_column_stays_in_the_lake(source: Source) -> None:
    drift = source.after("ALTER TABLE item DROP note, DROP price")
    assert drift.incompatible == ()
    assert drift.dropped == ("price", "note")
    assert names(drift.columns) == ITEM
    assert drift.table is not None
    assert drift.table.column_names == ("id", "name", "day", "mood", "at")
    assert drift.notes[0] == "Column price was dropped; the lake keeps it, NULL from now on."
    assert not drift.is_read_in_full


def test_a_column_that_was_dropped_earlier_is_not_reported_again_and_is_new_when_it_comes_back(
    source: Source,
) -> None:
    drift = source.after("ALTER TABLE item DROP note")
    relation = source.relation()
    assert relation is not None
    assert drift.table is not None
    remembered = remember(relation, drift.table)
    again = compare(drift.columns, relation, name="item", remembered=remembered)
    assert (again.notes, again.incompatible, names(again.columns)) == ((), (), ITEM)
    source.execute("ALTER TABLE item ADD note varchar")
    back = compare(drift.columns, source.relation(), name="item", remembered=remembered)
    assert (back.added, back.is_read_in_full, names(back.columns)) == (("note",), True, ITEM)
    source.execute("ALTER TABLE item DROP note; ALTER TABLE item ADD note bytea")
    other = compare(drift.columns, source.relation(), name="item", remembered=remembered)
    assert len(other.incompatible) == 1
    assert other.incompatible[0].startswith(
        "item.note is bytea: the lake would store it as bytea, but has it as text. Undo the change, or"
    )


def test_a_new_column_under_a_renamed_ones_former_name_is_another_column(source: Source) -> None:
    drift = source.after("ALTER TABLE item RENAME price TO cost; ALTER TABLE item ADD price integer")
    assert drift.incompatible == ()
    assert (drift.renamed, drift.replaced, drift.added) == ((("price", "cost"),), ("price",), ())
    assert names(drift.columns) == [*ITEM, "cost"]
    assert drift.is_read_in_full


def test_renamed_columns_are_new_columns_to_the_lake(source: Source) -> None:
    drift = source.after(
        'ALTER TABLE item RENAME price TO "unit price"; ALTER TABLE item RENAME note TO remark'
    )
    assert drift.incompatible == ()
    assert drift.renamed == (("price", "unit price"), ("note", "remark"))
    assert (drift.added, drift.dropped, drift.replaced) == ((), (), ())
    assert names(drift.columns) == [*ITEM, "unit price", "remark"]
    assert drift.is_read_in_full
    assert drift.notes[0] == (
        "Column price is now called unit price; the lake keeps price, NULL from now on."
    )


def test_columns_that_swap_names_are_read_anew(source: Source) -> None:
    drift = source.after(
        "ALTER TABLE item RENAME note TO spare; ALTER TABLE item RENAME name TO note;"
        "ALTER TABLE item RENAME spare TO name; ALTER TABLE item ALTER name SET NOT NULL"
    )
    assert drift.incompatible == ()
    assert set(drift.renamed) == {("note", "name"), ("name", "note")}
    assert drift.is_read_in_full
    assert names(drift.columns) == ITEM


def test_a_column_made_anew_with_the_same_name_is_read_in_full(source: Source) -> None:
    drift = source.after("ALTER TABLE item DROP note; ALTER TABLE item ADD note text DEFAULT 'x'")
    assert (drift.replaced, drift.added, drift.dropped, drift.renamed) == (("note",), (), (), ())
    assert drift.is_read_in_full
    assert drift.notes == ("Column note was dropped and recreated.",)


def test_a_table_made_anew_with_its_columns_in_another_order_has_not_drifted(source: Source) -> None:
    drift = source.after(
        "DROP TABLE item; CREATE TABLE item (note text, at timestamp, mood mood, day date, "
        "price numeric(10,2), name varchar(10) NOT NULL UNIQUE, id integer PRIMARY KEY)"
    )
    assert (drift.notes, drift.incompatible) == ((), ())
    assert names(drift.columns) == ITEM


@pytest.mark.parametrize(
    ("column", "kind", "was", "now"),
    [
        ("id", "bigint", "integer", "bigint"),
        ("id", "smallint", "integer", "smallint"),
        ("name", "varchar(200)", "character varying(10)", "character varying(200)"),
        ("name", "text", "character varying(10)", "text"),
        ("price", "numeric(38,2)", "numeric(10,2)", "numeric(38,2)"),
        ("price", "numeric(12,1)", "numeric(10,2)", "numeric(12,1)"),
        ("price", "integer", "numeric(10,2)", "integer"),
        ("mood", "text", "mood", "text"),
        ("note", "json USING NULL", "text", "json"),
        ("at", "timestamp(0)", "timestamp without time zone", "timestamp(0) without time zone"),
    ],
)
def test_a_type_whose_values_the_lake_can_hold_flows(
    source: Source, column: str, kind: str, was: str, now: str
) -> None:
    drift = source.after(f"ALTER TABLE item ALTER {column} TYPE {kind}")
    assert drift.incompatible == ()
    assert drift.widened == ((column, was, now),)
    assert drift.notes == (f"Column {column} was {was} and is {now}.",)
    # The lake's type stays.
    before = source.after("").columns
    assert [(column.name, column.type) for column in drift.columns] == [
        (one.name, one.type) for one in before
    ]


def test_more_labels_of_an_enum_are_no_drift(source: Source) -> None:
    assert source.after("ALTER TYPE mood ADD VALUE 'ok'").notes == ()


def test_nullability_flows_both_ways(source: Source) -> None:
    drift = source.after("ALTER TABLE item ALTER name DROP NOT NULL, ALTER note SET NOT NULL")
    assert drift.incompatible == ()
    assert (drift.made_nullable, drift.made_required) == (("name",), ("note",))
    assert drift.notes == ("Column name can be NULL now.", "Column note cannot be NULL any more.")
    assert [column.nullable for column in drift.columns if column.name in ("name", "note")] == [True, False]


@pytest.mark.parametrize(
    ("column", "kind", "sentence"),
    [
        (
            "price",
            "numeric(10,4)",
            "item.price is numeric(10,4) (before: numeric(10,2)): the lake would store it as numeric(38,4), "
            "but has it as numeric(38,2). Undo the change, or read the table through a view with a new name, "
            "which starts a new table in the lake.",
        ),
        (
            "price",
            "numeric",
            "item.price is numeric (before: numeric(10,2)): the lake would store it as text",
        ),
        ("note", "integer USING 1", "item.note is integer (before: text): the lake would store it as bigint"),
        (
            "id",
            "text",
            "item.id is text (before: integer): the lake would store it as text, but has it as",
        ),
        ("at", "timestamptz", "item.at is timestamp with time zone (before: timestamp without time zone)"),
        ("day", "timestamp", "item.day is timestamp without time zone (before: date)"),
    ],
)
def test_a_type_whose_values_the_lake_cannot_hold_stops_the_table(
    source: Source, column: str, kind: str, sentence: str
) -> None:
    drift = source.after(f"ALTER TABLE item ALTER {column} TYPE {kind}")
    assert drift.table is None
    assert len(drift.incompatible) == 1
    assert drift.incompatible[0].startswith(sentence)
    assert names(drift.columns) == ITEM


@pytest.mark.parametrize(
    ("script", "declared", "sentence"),
    [
        (
            "DROP TABLE item",
            None,
            "Table item does not exist. Create it, or remove it from the configuration.",
        ),
        (
            "DROP TABLE item",
            DECLARED,
            "Table item does not exist. Create it, or remove it from the configuration.",
        ),
        (
            "ALTER TABLE item DROP CONSTRAINT item_pkey; ALTER TABLE item ADD PRIMARY KEY (name)",
            None,
            "The key of item has changed from (id) to (name): rows of the lake cannot be matched with those "
            "of",
        ),
        (
            "ALTER TABLE item DROP CONSTRAINT item_pkey, DROP CONSTRAINT item_name_key",
            None,
            "The table public.item cannot be read: nothing identifies its rows",
        ),
        (
            "ALTER TABLE item RENAME id TO item_id",
            None,
            "The key of item has changed from (id) to (item_id); id is now called item_id: rows of the lake",
        ),
        (
            "ALTER TABLE item DROP price",
            DECLARED,
            "Table item has no column price, which is declared. Undo the change",
        ),
        (
            "ALTER TABLE item RENAME price TO cost",
            DECLARED,
            "Table item has no column price, which is declared; it is now called cost. Undo the change, or",
        ),
        (
            "ALTER TABLE item ALTER price TYPE numeric(11,2)",
            DECLARED,
            "item.price is numeric(11,2), which does not fit the declared type, numeric(10,2).",
        ),
        (
            'ALTER TABLE item RENAME price TO "Price"',
            None,
            "item has the columns price in the lake and Price in the source, which the lake's readers cannot",
        ),
        (
            "ALTER TABLE item ADD _batch integer",
            None,
            "The table public.item cannot be read: its column _batch has the name of one",
        ),
    ],
)
def test_what_the_lake_cannot_follow_stops_the_table_and_says_what_to_do(
    source: Source, script: str, declared: Table | None, sentence: str
) -> None:
    drift = source.after(script, declared)
    assert drift.table is None
    assert len(drift.incompatible) == 1
    assert drift.incompatible[0].startswith(sentence)


def test_a_key_that_still_tells_rows_apart_stays_the_key(source: Source) -> None:
    drift = source.after(
        "ALTER TABLE item DROP CONSTRAINT item_pkey; ALTER TABLE item ADD PRIMARY KEY (name), ADD UNIQUE (id)"
    )
    assert drift.incompatible == ()
    assert drift.table is not None
    assert drift.table.primary_key == ("id",)


def test_a_key_that_the_configuration_names_anew_stops_the_table(source: Source) -> None:
    drift = source.after("", key=["name"])
    assert drift.incompatible[0].startswith("The key of item has changed from (id) to (name): rows of")
    assert source.after("", key=["id"]).incompatible == ()


@pytest.mark.parametrize(
    ("types", "stopped"),
    [
        ({"price": Decimal(38, 2), "day": Date()}, False),
        ({"price": Decimal(10, 2)}, True),
        ({"at": Timestamp()}, False),
        ({"id": Integer()}, True),
    ],
)
def test_a_type_that_the_configuration_names_anew_stops_the_table_where_the_lake_has_another(
    source: Source, types: dict[str, LogicalType], stopped: bool
) -> None:
    drift = source.after("", types=types)
    assert bool(drift.incompatible) is stopped
    if drift.table is not None:
        assert {name: drift.table.column(name).type for name in types} == types


def test_further_columns_of_a_declared_table_are_left_alone(source: Source) -> None:
    drift = source.after("ALTER TABLE item ADD stock integer, DROP note, ALTER id TYPE bigint", DECLARED)
    assert drift.incompatible == ()
    assert drift.table == DECLARED
    assert drift.columns == DECLARED.columns
    assert drift.notes == ("Column id was integer and is bigint.",)


def test_a_declaration_may_grow_and_may_not_change_what_the_lake_holds(source: Source) -> None:
    source.execute(BEFORE)
    relation = source.relation()
    assert relation is not None
    remembered = remember(relation, DECLARED)
    grown = Table("item", "", (*DECLARED.columns, Column("note", Text(), nullable=True)), ("id",))
    drift = compare(DECLARED.columns, relation, grown, name="item", remembered=remembered)
    assert (drift.incompatible, drift.added, drift.columns) == ((), ("note",), grown.columns)
    assert drift.is_read_in_full
    wider = Table("item", "", (Column("id", Integer(64)), *DECLARED.columns[1:]), ("id",))
    drift = compare(DECLARED.columns, relation, wider, name="item", remembered=remembered)
    assert drift.incompatible == (
        "item.id is declared as bigint, but the lake has it as integer. Undo the change of the declaration, "
        "or declare the table under another name.",
    )


def test_what_is_denied_stops_the_table_and_what_never_was_granted_does_not(
    new_database: NewDatabase,
) -> None:
    database = new_database()
    owner, reader = (
        pg8000.native.Connection(
            one.user, host=one.host, port=one.port, database=one.database, password=one.password
        )
        for one in (database.owner, database.reader)
    )
    role = database.reader.user
    Source(owner).execute(
        "CREATE TABLE item (id integer PRIMARY KEY, name text, secret text); REVOKE ALL ON item FROM PUBLIC;"
        f"REVOKE ALL ON item FROM {role}; GRANT SELECT (id, name) ON item TO {role}"
    )
    relation = read_relations(reader.run, "public", ["item"])["item"]
    table = declare(relation)
    assert table.column_names == ("id", "name")
    remembered = remember(relation, table)
    assert compare(table.columns, relation, name="item", remembered=remembered).notes == ()

    owner.run(f"REVOKE SELECT (name) ON item FROM {role}")
    denied = "The role may not SELECT name of item, which is declared or was read before. GRANT SELECT ON"
    for declared in (None, table):
        relation = read_relations(reader.run, "public", ["item"])["item"]
        drift = compare(table.columns, relation, declared, name="item", remembered=remembered)
        assert len(drift.incompatible) == 1
        assert drift.incompatible[0].startswith(denied)

    owner.run(f"REVOKE SELECT (id) ON item FROM {role}")
    relation = read_relations(reader.run, "public", ["item"])["item"]
    drift = compare(table.columns, relation, name="item", remembered=remembered)
    assert drift.incompatible == (
        'The role may not SELECT from item. GRANT SELECT ON it, and USAGE ON SCHEMA "public".',
    )
    owner.close()
    reader.close()
