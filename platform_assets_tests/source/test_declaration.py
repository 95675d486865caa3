"""A source's catalogue file: what a database has of it, and what is written of that, byte for byte."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pg8000.native
import pytest

from platform_assets.errors import SettingsError, SourceError, SourceUnavailable
from platform_assets.model.table import (
    Binary,
    Boolean,
    Date,
    Decimal,
    Float,
    Integer,
    LogicalType,
    Table,
    Text,
    Time,
    Timestamp,
)
from platform_assets.settings import load_settings
from platform_assets.source.catalogue import Relation
from platform_assets.source.connection import Connection
from platform_assets.source.declaration import (
    Catalogue,
    CataloguedColumn,
    CataloguedTable,
    Discovery,
    configuration,
    differences,
    discover,
    parse_type,
    type_word,
    undiscovered,
)
from platform_assets.source.policy import CapturePolicy
from platform_assets.source.snapshot import SourceDatabase
from platform_assets_tests.fixtures.house import keys_of
from platform_assets_tests.fixtures.postgres import Database, NewDatabase

SCHEMA = """
CREATE TABLE orders (
  id bigint PRIMARY KEY, customer varchar(40) NOT NULL, amount numeric(10, 2), placed timestamptz NOT NULL);
COMMENT ON TABLE orders IS 'What customers ordered';
COMMENT ON COLUMN orders.amount IS 'In euro';
CREATE TABLE "ORDERS" (id integer PRIMARY KEY, tags text[]);
CREATE TABLE "Größe/cm" ("a ""b" integer, "select" date, PRIMARY KEY ("select", "a ""b"));
CREATE TABLE keyless (a integer);
CREATE VIEW big_orders AS SELECT * FROM orders WHERE amount > 10;
CREATE TABLE events (id integer, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
"""
ORDERS = CataloguedTable(
    "orders",
    "table",
    ("id",),
    (
        CataloguedColumn("id", "integer", "bigint", False),
        CataloguedColumn("customer", "text", "character varying(40)", False),
        CataloguedColumn("amount", "decimal(38,2)", "numeric(10,2)", True, "In euro"),
        CataloguedColumn("placed", "timestamptz", "timestamp with time zone", False),
    ),
    "What customers ordered",
)


@contextlib.contextmanager
def session(connection: Connection) -> Iterator[pg8000.native.Connection]:
    opened = pg8000.native.Connection(
        connection.user,
        host=connection.host,
        port=connection.port,
        database=connection.database,
        password=connection.password,
        ssl_context=False,
    )
    with contextlib.closing(opened):
        yield opened


@pytest.fixture(scope="module")
def database(new_module_database: NewDatabase) -> Database:
    created = new_module_database()
    with session(created.owner) as owner:
        owner.run(SCHEMA)
        owner.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {created.reader.user}")
    return created


@pytest.fixture
def source(database: Database) -> SourceDatabase:
    return SourceDatabase("shop", (), lambda: database.reader, declared=False)


@pytest.mark.parametrize(
    ("word", "type_"),
    [
        ("integer", Integer(64)),
        ("decimal(38,2)", Decimal(38, 2)),
        ("real", Float(32)),
        ("double", Float(64)),
        ("text", Text()),
        ("binary", Binary()),
        ("boolean", Boolean()),
        ("date", Date(infinite=True)),
        ("time", Time()),
        ("timestamp", Timestamp(infinite=True)),
        ("timestamptz", Timestamp(utc=True, infinite=True)),
    ],
)
def test_every_type_of_a_discovered_column_has_a_word(word: str, type_: LogicalType) -> None:
    assert parse_type(word) == type_
    assert type_word(type_) == word


def test_a_word_that_is_no_type_is_refused() -> None:
    with pytest.raises(ValueError, match="no type 'uuid'"):
        parse_type("uuid")


def test_a_catalogue_has_what_the_database_has(source: SourceDatabase) -> None:
    found = discover(source, ["*"])
    assert list(found.catalogue.tables) == ["Größe/cm", "ORDERS", "events", "orders"]
    assert found.catalogue.tables["orders"] == ORDERS
    assert found.catalogue.tables["Größe/cm"].key == ("select", 'a "b')
    assert found.catalogue.tables["events"].kind == "partitioned"
    assert found.catalogue.tables["ORDERS"].columns[1] == CataloguedColumn("tags", "text", "text[]")
    assert set(found.strategies.values()) == {"xmin"}
    assert found.unmatched == ()


def test_what_cannot_be_read_is_refused_with_what_to_do_and_the_rest_goes_on(source: SourceDatabase) -> None:
    found = discover(source, ["*"])
    assert found.kinds == {"big_orders": "view", "keyless": "table"}
    assert "name the columns that do as its key" in found.refused["keyless"]
    assert "The view public.big_orders cannot be read" in found.refused["big_orders"]


def test_a_locked_table_is_refused_alone_and_keeps_its_earlier_entry(
    source: SourceDatabase, database: Database
) -> None:
    before = discover(source, ["*"]).catalogue
    hurried = replace(source, lock_timeout=0.3)
    with session(database.owner) as other:
        other.run("BEGIN")
        other.run('LOCK TABLE "ORDERS" IN ACCESS EXCLUSIVE MODE')
        found = discover(hurried, ["*"])
        other.run("ROLLBACK")
    assert found.unseen == {"ORDERS"}
    assert "Another session holds a lock on the table" in found.refused["ORDERS"]
    assert found.kinds["ORDERS"] == "table"
    assert set(found.catalogue.tables) == set(before.tables) - {"ORDERS"}
    assert found.keeping(before) == before
    assert found.keeping(None) == found.catalogue


def test_an_error_that_nobody_foresaw_keeps_no_other_table_out_of_the_catalogue(
    source: SourceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = discover(source, ["*"]).catalogue
    of = CataloguedTable.of

    def poisoned(relation: Relation, table: Table) -> CataloguedTable:
        if table.name == "ORDERS":
            raise OverflowError("too large")
        return of(relation, table)

    monkeypatch.setattr(CataloguedTable, "of", poisoned)
    found = discover(source, ["*"])
    assert "OverflowError" in found.refused["ORDERS"]
    assert set(found.catalogue.tables) == set(before.tables) - {"ORDERS"}
    assert found.keeping(before) == before


def test_keys_types_and_strategies_of_the_configuration_count(source: SourceDatabase) -> None:
    configured = replace(
        source,
        keys={"big_orders": ("id",)},
        types={"orders": {"amount": Decimal(20, 4)}},
        policies={
            "big_orders": CapturePolicy("last_updated", "placed"),
            "ORDERS": CapturePolicy("last_updated"),
            "events": CapturePolicy("diff"),
        },
    )
    found = discover(configured, ["*orders", "ORDERS", "events"])
    assert found.strategies == {"big_orders": "last_updated", "events": "diff", "orders": "xmin"}
    assert found.catalogue.tables["big_orders"].key == ("id",)
    assert found.catalogue.tables["orders"].columns[2].type == "decimal(20,4)"
    assert "captured by its column last_updated, because the column does not exist" in found.refused["ORDERS"]


def test_patterns_choose_and_those_that_match_nothing_are_told(source: SourceDatabase) -> None:
    steps: list[tuple[str, int, int]] = []
    found = discover(source, ["o*", "nope", "e?ents"], ["x_*"], lambda *step: steps.append(step))
    assert list(found.catalogue.tables) == ["events", "orders"]
    assert found.unmatched == ("nope", "x_*")
    assert steps == [("connecting", 0, 1), ("connecting", 1, 1), ("tables", 1, 2), ("tables", 2, 2)]


def test_a_source_of_which_nothing_is_selected_says_what_there_is(source: SourceDatabase) -> None:
    with pytest.raises(SourceError, match=r"no table that matches nope and not k\*; .* can see 6 tables"):
        discover(source, ["nope"], ["k*"])


def test_a_server_that_is_not_there_is_said_to_be_so(source: SourceDatabase, database: Database) -> None:
    down = replace(source, connect=lambda: replace(database.reader, port=9))
    with pytest.raises(SourceUnavailable):
        discover(down, ["*"])


def test_the_file_is_a_line_per_column_and_has_no_place_and_no_secret(
    source: SourceDatabase, database: Database
) -> None:
    text = Catalogue.of([ORDERS]).to_bytes().decode()
    assert text == (
        "{\n"
        '  "format": 1,\n'
        '  "tables": {\n'
        '    "orders": {\n'
        '      "kind": "table",\n'
        '      "comment": "What customers ordered",\n'
        '      "key": ["id"],\n'
        '      "columns": [\n'
        '        {"name": "id", "type": "integer", "source_type": "bigint", "nullable": false, '
        '"comment": ""},\n'
        '        {"name": "customer", "type": "text", "source_type": "character varying(40)", '
        '"nullable": false, "comment": ""},\n'
        '        {"name": "amount", "type": "decimal(38,2)", "source_type": "numeric(10,2)", '
        '"nullable": true, "comment": "In euro"},\n'
        '        {"name": "placed", "type": "timestamptz", "source_type": "timestamp with time zone", '
        '"nullable": false, "comment": ""}\n'
        "      ]\n"
        "    }\n"
        "  }\n"
        "}\n"
    )
    whole = discover(source, ["*"]).catalogue.to_bytes().decode()
    for private in (database.reader.host, str(database.reader.port), database.reader.password, "public"):
        assert private not in whole
    assert json.loads(whole)["tables"]["Größe/cm"]["key"] == ["select", 'a "b']


def test_what_is_written_is_what_is_read(source: SourceDatabase, tmp_path: Path) -> None:
    file = tmp_path / "catalogue" / "shop.json"
    catalogue = discover(source, ["*"]).catalogue
    assert catalogue.write(file)
    assert Catalogue.read(file, "shop") == catalogue
    assert not catalogue.write(file)
    assert file.read_bytes() == Catalogue.of(reversed(catalogue.tables.values())).to_bytes()
    assert [path.name for path in file.parent.iterdir()] == ["shop.json"]
    assert Catalogue.read(tmp_path / "absent.json", "shop") is None
    assert Catalogue.of([]).write(file)
    assert Catalogue.read(file, "shop") == Catalogue()


@pytest.mark.parametrize("comment", ["a\nb", "\u2028 \x85 \x7f", 'He said "no"\\', "日本語 🎉", "\t"])
def test_a_comment_of_any_characters_stays_on_its_line_and_comes_back(comment: str, tmp_path: Path) -> None:
    table = replace(ORDERS, comment=comment)
    catalogue = Catalogue.of([table])
    assert len(catalogue.to_bytes().decode().splitlines()) == 16
    catalogue.write(tmp_path / "shop.json")
    assert Catalogue.read(tmp_path / "shop.json", "shop") == catalogue


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "its structure is not valid"),
        ('{"format": 1, "tables": {"a": {}}}', "its structure is not valid"),
        ('{"format": 1, "tables": {"a": 5}}', "its structure is not valid"),
        (Catalogue.of([ORDERS]).to_bytes().decode().replace("integer", "uuid"), "there is no type 'uuid'"),
        (Catalogue.of([ORDERS]).to_bytes().decode().replace('["id"]', '["ix"]'), "does not declare: ix"),
    ],
)
def test_a_file_that_is_no_catalogue_says_so_and_what_to_do(
    tmp_path: Path, content: str, reason: str
) -> None:
    file = tmp_path / "shop.json"
    file.write_text(content)
    with pytest.raises(SettingsError) as error:
        Catalogue.read(file, "shop")
    message = str(error.value)
    assert message.startswith(f"The catalogue {file} of source shop cannot be used: ")
    assert reason in message
    assert message.endswith("platform-assets source discover shop.")


def test_a_catalogue_of_a_newer_program_is_refused_and_names_both_versions(tmp_path: Path) -> None:
    (tmp_path / "shop.json").write_text('{"format": 2, "tables": {}}')
    with pytest.raises(SettingsError, match=r"has format version 2, .* up to 1: a newer program has written"):
        Catalogue.read(tmp_path / "shop.json", "shop")


def test_a_catalogue_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "catalogue").write_text("a file")
    with pytest.raises(SettingsError, match="cannot be written"):
        Catalogue().write(tmp_path / "catalogue" / "shop.json")


def test_a_declaration_has_the_comments_as_descriptions() -> None:
    table = ORDERS.declaration
    assert table.description == "What customers ordered."
    assert table.primary_key == ("id",)
    assert table.column("amount").description == "In euro"
    assert table.column("amount").type == Decimal(38, 2)
    assert [column.nullable for column in table.columns] == [False, False, True, False]
    assert replace(ORDERS, comment="", kind="partitioned").declaration.description == (
        "The partitioned table orders."
    )


def test_a_table_that_no_catalogue_describes_has_no_columns() -> None:
    table = undiscovered("Order Lines")
    assert (table.name, table.columns, table.primary_key) == ("Order Lines", (), ())


def test_the_differences_between_two_looks_are_told_in_words() -> None:
    identity, customer, amount, placed = ORDERS.columns
    assert differences(ORDERS, ORDERS) == ()
    now = replace(
        ORDERS,
        kind="view",
        key=("id", "placed"),
        columns=(
            identity,
            replace(customer, nullable=True, source_type="text"),
            replace(amount, type="text", source_type="numeric", comment=""),
            CataloguedColumn("note", "text", "text"),
        ),
    )
    assert differences(ORDERS, now) == (
        "was a table and is a view",
        "key was (id) and is (id, placed)",
        "column note is new",
        "column placed was dropped",
        "column customer was character varying(40) and is text",
        "column customer can be NULL now",
        "column amount was numeric(10,2) and is numeric (decimal(38,2) and text in the lake)",
        "column amount has another comment",
    )
    assert differences(ORDERS, replace(ORDERS, columns=(placed, identity, amount, customer))) == (
        "order of columns",
    )


def test_the_configuration_that_is_written_can_be_loaded_and_overridden_by_the_environment(
    source: SourceDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOP_PORT", raising=False)
    connection = {
        "host": "db.example",
        "port": 6543,
        "database": 'my "shop"',
        "user": "reader",
        "password": "secret://env/SHOP_PASSWORD",
        "schema": "Sales",
        "sslmode": "verify-full",
        "sslrootcert": None,
    }
    found: Discovery = discover(source, ["*"])
    text = configuration("shop", connection, found)
    assert "(5 here): reads the rows" in text
    assert "(1 here): compares all rows" in text
    assert '# "big_orders" { key = [...], strategy = diff }' in text
    assert '# "keyless" { key = [...] }' in text
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "shop.conf").write_text(text)
    file = tmp_path / "platform.conf"
    file.write_text(
        "state_dir = s\nsources.totesys {}\nlake { ingestion = in, processed = out }\n"
        "warehouse.duckdb.path = w\n"
    )
    shop = keys_of(load_settings(file)).sources.discovered["shop"]
    given = shop.connection
    assert (given.host, given.port, given.database, given.db_schema) == (
        *("db.example", 6543, 'my "shop"', "Sales"),
    )
    assert (given.sslmode, given.sslrootcert, str(given.password)) == (
        *("verify-full", None, "secret://env/SHOP_PASSWORD"),
    )
    assert (shop.tables, shop.strategy, shop.overrides) == (("*",), "auto", {})
    monkeypatch.setenv("SHOP_PORT", "7777")
    monkeypatch.setenv("SHOP_SSLROOTCERT", "ca.pem")
    given = keys_of(load_settings(file)).sources.discovered["shop"].connection
    assert (given.port, given.sslrootcert) == (7777, tmp_path / "ca.pem")
