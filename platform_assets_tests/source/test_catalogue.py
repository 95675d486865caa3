"""The catalogue of a real PostgreSQL as values: what there is, what identifies a row, what may be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pg8000.native
import pytest

from platform_assets.errors import SourceError
from platform_assets.model.table import Column, Date, Decimal, Integer, Text, Timestamp
from platform_assets.source.catalogue import Relation, declare, read_relations, select_relations
from platform_assets.source.connection import Connection
from platform_assets_tests.fixtures.postgres import Database, NewDatabase

SCHEMA = """
CREATE SCHEMA shop;
SET search_path = shop;
CREATE DOMAIN price AS numeric(12,2);
CREATE DOMAIN net_price AS price;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE currency (code char(3) PRIMARY KEY, name text NOT NULL UNIQUE);
COMMENT ON TABLE currency IS 'A currency that we trade in';
COMMENT ON COLUMN currency.code IS 'ISO 4217';
CREATE TABLE customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent bigint REFERENCES customer);
CREATE TABLE "Order line" (
  line integer NOT NULL, "order" integer NOT NULL, currency char(3) NOT NULL REFERENCES currency,
  customer bigint REFERENCES customer (id), named text REFERENCES currency (name),
  "ünit ""price" net_price, mood mood, total numeric GENERATED ALWAYS AS (line * 2) STORED,
  doubled integer GENERATED ALWAYS AS (line * 2) VIRTUAL,
  PRIMARY KEY ("order", line) INCLUDE (currency));
ALTER TABLE "Order line" ADD CONSTRAINT unchecked FOREIGN KEY (line) REFERENCES customer NOT VALID;
ALTER TABLE "Order line" ADD CONSTRAINT unenforced FOREIGN KEY (line) REFERENCES customer NOT ENFORCED;
CREATE TABLE keyless (a integer NOT NULL, b integer NOT NULL, c integer, d integer NOT NULL, e integer,
  UNIQUE (d, b), UNIQUE (a, b), UNIQUE (b, c), UNIQUE (a, b, d));
CREATE UNIQUE INDEX ON keyless (a) WHERE b > 0;
CREATE UNIQUE INDEX ON keyless ((a + b));
ALTER TABLE keyless ADD CONSTRAINT later NOT NULL e NOT VALID;
CREATE UNIQUE INDEX ON keyless (e);
CREATE TABLE measure (id integer PRIMARY KEY, value text) PARTITION BY RANGE (id);
CREATE TABLE measure_1 PARTITION OF measure FOR VALUES FROM (0) TO (1000);
CREATE TABLE measure_2 PARTITION OF measure FOR VALUES FROM (1000) TO (9000) PARTITION BY RANGE (id);
CREATE TABLE measure_2_1 PARTITION OF measure_2 FOR VALUES FROM (1000) TO (9000);
INSERT INTO measure SELECT number, repeat('x', 100) FROM generate_series(0, 4999) AS number;
ANALYZE measure;
CREATE TABLE reading (measure integer REFERENCES measure (id));
CREATE TABLE base (id integer PRIMARY KEY);
CREATE TABLE heir (more text) INHERITS (base);
INSERT INTO heir SELECT number, repeat('x', 100) FROM generate_series(1, 1000) AS number;
CREATE TABLE bare ();
CREATE VIEW cheap AS SELECT * FROM "Order line";
CREATE MATERIALIZED VIEW summed AS SELECT count(*) AS number FROM measure;
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE distant (id integer) SERVER elsewhere;
CREATE SEQUENCE counter;
CREATE EXTENSION vector;
CREATE TABLE lookup (id integer PRIMARY KEY);
ALTER EXTENSION vector ADD TABLE lookup;
"""


def connect(connection: Connection) -> pg8000.native.Connection:
    return pg8000.native.Connection(
        connection.user,
        host=connection.host,
        port=connection.port,
        database=connection.database,
        password=connection.password,
    )


def execute(connection: pg8000.native.Connection, script: str) -> None:
    for command in script.split(";"):
        if command.strip():
            connection.run(command)


@pytest.fixture(scope="module")
def database(new_module_database: NewDatabase) -> Database:
    return new_module_database()


@pytest.fixture(scope="module")
def owner(database: Database) -> Iterator[pg8000.native.Connection]:
    connection = connect(database.owner)
    execute(connection, SCHEMA)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def shop(owner: pg8000.native.Connection) -> dict[str, Relation]:
    return read_relations(owner.run, "shop")


def test_everything_that_holds_rows_is_found_but_partitions_and_what_extensions_made(
    shop: dict[str, Relation],
) -> None:
    assert {name: relation.kind for name, relation in shop.items()} == {
        "Order line": "table",
        "bare": "table",
        "base": "table",
        "cheap": "view",
        "currency": "table",
        "customer": "table",
        "distant": "foreign table",
        "heir": "table",
        "keyless": "table",
        "measure": "partitioned",
        "reading": "table",
        "summed": "materialized view",
    }


def test_the_catalogue_takes_two_statements_and_none_more_for_more_tables(
    owner: pg8000.native.Connection,
) -> None:
    statements = []

    def run(sql: str, **parameters: Any) -> list[Any]:
        statements.append(sql)
        return list(owner.run(sql, **parameters))

    assert len(read_relations(run, "shop")) == 12
    assert len(statements) == 2
    assert read_relations(run, "nowhere") == {}
    assert len(statements) == 3


def test_named_relations_are_found_whatever_they_are(owner: pg8000.native.Connection) -> None:
    names = ["measure_1", "lookup", "Order line", "missing", "it's", 'a"b', "back\\slash", "{a,b}"]
    assert list(read_relations(owner.run, "shop", names)) == ["Order line", "lookup", "measure_1"]
    assert read_relations(owner.run, "shop", []) == {}


def test_columns_come_in_order_with_domains_resolved(shop: dict[str, Relation]) -> None:
    columns = shop["Order line"].columns
    found = [
        (column.number, column.name, column.type.name, column.type.text, column.nullable, column.generated)
        for column in columns
    ]
    assert found == [
        (1, "line", "int4", "integer", False, False),
        (2, "order", "int4", "integer", False, False),
        (3, "currency", "bpchar", "character(3)", False, False),
        (4, "customer", "int8", "bigint", True, False),
        (5, "named", "text", "text", True, False),
        (6, 'ünit "price', "numeric", "net_price", True, False),
        (7, "mood", "mood", "mood", True, False),
        (8, "total", "numeric", "numeric", True, True),
        (9, "doubled", "int4", "integer", True, True),
    ]
    price, mood = columns[5].type, columns[6].type
    assert (price.kind, price.builtin, price.digits) == ("b", True, (12, 2))
    assert (mood.kind, mood.builtin, mood.digits) == ("e", False, None)
    assert shop["Order line"].column("line") == columns[0]
    assert shop["Order line"].column("Line") is None


def test_keys_are_those_that_tell_rows_apart(shop: dict[str, Relation]) -> None:
    line = shop["Order line"]
    assert (line.primary_key, line.unique_keys, line.keys) == (("order", "line"), (), (("order", "line"),))
    # Neither partial ones, nor those on expressions, on columns that can be NULL, or that old rows may break.
    assert shop["keyless"].primary_key == ()
    assert shop["keyless"].unique_keys == (("a", "b"), ("d", "b"), ("a", "b", "d"))
    assert shop["currency"].keys == (("code",), ("name",))
    assert shop["measure"].primary_key == ("id",)
    assert shop["cheap"].keys == ()


def test_foreign_keys_are_the_enforced_ones_to_primary_keys(shop: dict[str, Relation]) -> None:
    assert shop["Order line"].foreign_keys == (("currency", "currency"), ("customer", "customer"))
    assert shop["customer"].foreign_keys == (("parent", "customer"),)
    assert shop["reading"].foreign_keys == (("measure", "measure"),)


def test_sizes_cover_partitions_and_heirs(shop: dict[str, Relation], owner: pg8000.native.Connection) -> None:
    [[largest, block]] = owner.run(
        "SELECT pg_relation_size('shop.measure_2_1'), CAST(current_setting('block_size') AS int)"
    )
    assert shop["measure"].pages == largest // block > 10
    assert shop["measure"].estimated_rows == 5000
    assert shop["base"].pages == shop["heir"].pages > 10
    # Never analysed: the planner would guess, which says nothing of the table.
    assert shop["heir"].pages > 0
    assert shop["heir"].estimated_rows is None
    for name in ("cheap", "distant", "bare"):
        assert (shop[name].pages, shop[name].estimated_rows) == (0, 0)


def test_comments_are_read(shop: dict[str, Relation]) -> None:
    table = declare(shop["currency"])
    assert table.description == "A currency that we trade in"
    assert [column.description for column in table.columns] == ["ISO 4217", ""]


def test_privileges_are_those_of_the_role_that_asks(new_database: NewDatabase) -> None:
    database = new_database()
    owner, reader = connect(database.owner), connect(database.reader)
    role = database.reader.user
    execute(
        owner,
        "CREATE SCHEMA closed; CREATE TABLE closed.hidden (id integer PRIMARY KEY);"
        f"GRANT SELECT ON closed.hidden TO {role};"
        "CREATE SCHEMA open; CREATE TABLE open.whole (id integer PRIMARY KEY, secret text);"
        "CREATE TABLE open.partly (id integer PRIMARY KEY, secret text);"
        "CREATE TABLE open.denied (id integer);"
        "CREATE TABLE open.filtered (id integer PRIMARY KEY);"
        "ALTER TABLE open.filtered ENABLE ROW LEVEL SECURITY;"
        "ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC;"
        f"REVOKE ALL ON ALL TABLES IN SCHEMA open FROM {role}; GRANT USAGE ON SCHEMA open TO {role};"
        f"GRANT SELECT ON open.whole, open.filtered TO {role}; GRANT SELECT (id) ON open.partly TO {role}",
    )
    found = read_relations(reader.run, "open")
    may = {name: (one.can_read, one.can_read_all, one.row_security) for name, one in found.items()}
    assert may == {
        "denied": (False, False, False),
        "filtered": (True, True, True),
        "partly": (True, False, False),
        "whole": (True, True, False),
    }
    assert [column.can_read for column in found["partly"].columns] == [True, False]
    # What the owner keeps to himself is not declared.
    assert declare(found["partly"]).column_names == ("id",)
    with pytest.raises(
        SourceError, match=r"open\.denied cannot be read: the role may not SELECT any of its columns"
    ):
        declare(found["denied"])
    assert not read_relations(reader.run, "closed")["hidden"].can_read
    assert read_relations(owner.run, "closed")["hidden"].can_read_all
    owner.close()
    reader.close()


@pytest.mark.parametrize(
    ("patterns", "exclude", "selected", "unmatched"),
    [
        (["*"], [], ["Order line", "Orders", "a[1]", "order_1", "order_2"], ()),
        (["order*"], [], ["order_1", "order_2"], ()),
        (["O*", "order_?"], ["*_2"], ["Order line", "Orders", "order_1"], ()),
        (["order_[12]"], ["order_1"], ["order_2"], ()),
        (["a[1]"], [], ["a[1]"], ()),
        (["a[[]?]"], [], ["a[1]"], ()),
        (["ORDER*", "Orders", "missing"], ["*_old"], ["Orders"], ("ORDER*", "missing", "*_old")),
        ([], [], [], ()),
    ],
)
def test_shell_patterns_select_by_name_and_those_that_match_nothing_are_told(
    patterns: list[str], exclude: list[str], selected: list[str], unmatched: tuple[str, ...]
) -> None:
    names = ("Order line", "Orders", "a[1]", "order_1", "order_2")
    selection = select_relations(names, patterns, exclude)
    assert (list(selection.names), selection.unmatched) == (selected, unmatched)


def test_a_discovered_table_is_declared_with_wide_types_and_its_primary_key(
    shop: dict[str, Relation],
) -> None:
    table = declare(shop["Order line"])
    assert table.primary_key == ("order", "line")
    assert table.columns == (
        Column("line", Integer(64)),
        Column("order", Integer(64)),
        Column("currency", Text()),
        Column("customer", Integer(64), nullable=True),
        Column("named", Text(), nullable=True),
        Column('ünit "price', Decimal(38, 2), nullable=True),
        Column("mood", Text(), nullable=True),
        Column("total", Text(), nullable=True),
        Column("doubled", Integer(64), nullable=True),
    )
    assert table.description == "A row of the source's table shop.Order line"


def test_the_key_is_the_smallest_unique_one_where_there_is_no_primary_key(shop: dict[str, Relation]) -> None:
    assert declare(shop["keyless"]).primary_key == ("a", "b")
    assert declare(shop["keyless"], key=["e", "a"]).primary_key == ("e", "a")
    assert [column.name for column in declare(shop["keyless"], key=["e"]).columns if column.nullable] == ["c"]


def test_a_column_may_be_null_where_values_are_held_as_null(owner: pg8000.native.Connection) -> None:
    execute(
        owner,
        "DROP TABLE IF EXISTS required; CREATE TABLE required (id numeric(5) PRIMARY KEY, "
        "amount numeric(5,2) NOT NULL, day date NOT NULL, at timestamp NOT NULL)",
    )
    relation = read_relations(owner.run, "shop", ["required"])["required"]
    assert [column.nullable for column in declare(relation).columns] == [False, True, False, False]
    declared = declare(relation, types={"day": Date(), "at": Timestamp(), "amount": Decimal(5, 2)})
    assert [column.type for column in declared.columns] == [
        Decimal(38, 0),
        Decimal(5, 2),
        Date(),
        Timestamp(),
    ]
    assert [column.nullable for column in declared.columns] == [False, True, True, True]


@pytest.mark.parametrize(
    ("definition", "arguments", "message"),
    [
        (
            "TABLE x (a integer, b integer UNIQUE)",
            {},
            "The table shop.x cannot be read: nothing identifies its rows, as it has no primary key and no "
            "unique index on columns that are NOT NULL and readable; name the columns that do as its key in "
            "the source's configuration, or exclude the table.",
        ),
        ("VIEW x AS SELECT 1 AS a", {}, "The view shop.x cannot be read: nothing identifies its rows"),
        ("TABLE x ()", {}, "The table shop.x cannot be read: it has no columns; exclude it."),
        (
            "TABLE x (id integer PRIMARY KEY) PARTITION BY RANGE (id)",
            {"key": ["nr", "id"]},
            "The partitioned table shop.x cannot be read: its key in the configuration name nr, which",
        ),
        (
            'TABLE x (id integer PRIMARY KEY, _batch integer, "_HASH" text)',
            {},
            "its column _batch, _HASH has the name of one of the platform's own columns",
        ),
        ("TABLE x (_change integer PRIMARY KEY)", {}, "its column _change has the name of one"),
        ("TABLE x (id integer PRIMARY KEY, _seen_at integer)", {}, "its column _seen_at has the name of one"),
        (
            'TABLE x (id integer PRIMARY KEY, "Name" text, name text, "NAME" text)',
            {},
            "its columns Name and name and NAME differ in upper and lower case only",
        ),
        (
            "TABLE x (id integer PRIMARY KEY, n numeric)",
            {"types": {"n": Decimal(10, 2), "m": Text()}},
            "its types in the configuration name m, which it lacks or the role may not read; it has "
            "id, n; n is numeric, which cannot be read as numeric(10,2).",
        ),
    ],
)
def test_what_cannot_be_declared_is_refused_with_what_to_do(
    owner: pg8000.native.Connection, definition: str, arguments: dict[str, Any], message: str
) -> None:
    owner.run(f"CREATE {definition}")
    try:
        relation = read_relations(owner.run, "shop", ["x"])["x"]
        with pytest.raises(SourceError) as caught:
            declare(relation, **arguments)
        assert message in str(caught.value)
    finally:
        owner.run(f"DROP {definition.split()[0]} x")
