"""Databases that do not say what their text is encoded in: refused with the column, and read as declared."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_assets.errors import SourceError
from platform_assets.sample.embedded import EmbeddedPostgres
from platform_assets.source.extract import Extractor
from platform_assets.source.outcome import TableChange
from platform_assets_tests.fixtures.capture import SOURCE, Capture

LATIN1 = "convert_from(decode('{}', 'hex'), 'SQL_ASCII')"
CAFE, NAIVE = LATIN1.format("436166e9"), LATIN1.format("6e61ef7665")


@pytest.fixture
def nameless(postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Capture]:
    """A database of encoding SQL_ASCII with text in Latin-1, and one table in UTF-8."""
    name = f"ascii_{secrets.token_hex(4)}"
    postgres_server.query(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0", "postgres")
    owner, reader = postgres_server.owner(name), postgres_server.reader(name)
    capture = Capture(lambda: owner, lambda: reader, tmp_path, ("item", "plain"))
    try:
        capture.run(
            "CREATE TABLE item (id integer PRIMARY KEY, code text, name text, tags text[])",
            f"INSERT INTO item VALUES (1, 'a', {CAFE}, ARRAY[{NAIVE}]), (2, 'b', NULL, NULL)",
            "CREATE TABLE plain (id text PRIMARY KEY, name text)",
            f"INSERT INTO plain VALUES ({LATIN1.format('c3bc')}, {LATIN1.format('e282ac')})",
            f"GRANT SELECT ON item, plain TO {reader.user}",
        )
        yield capture
    finally:
        postgres_server.drop_database(name)


def declared(capture: Capture, **settings: object) -> Capture:
    return dataclasses.replace(capture, settings=settings)


def verified(capture: Capture) -> dict[str, str]:
    tables = capture.tables()
    found = Extractor(capture.source(tables), capture.lake, capture.engine).verify(tables)
    return {name: one.sentence for name, one in found.items() if not one.passed}


def test_bytes_that_are_no_utf8_stop_their_table_alone_and_name_the_column(nameless: Capture) -> None:
    found = nameless.extract().tables
    assert found["plain"] == TableChange(inserted=1)
    stopped = found["item"].stopped
    assert stopped.startswith("Table item, column name: ")
    assert "SQLSTATE 22021" in stopped
    assert "`encoding = LATIN1`" in stopped
    assert "cannot be reached" not in stopped


def test_text_is_read_and_verified_in_the_encoding_that_is_declared(nameless: Capture) -> None:
    capture = declared(nameless, encoding="LATIN1", encodings={"plain": "UTF8"})
    nameless.run("COMMENT ON TABLE item IS E'Caf\\351'")
    assert capture.extract().tables["item"] == TableChange(inserted=2)
    item, plain = capture.tables()
    assert item.description == "Café"
    assert capture.held(item) == [
        {"id": 1, "code": "a", "name": "Café", "tags": "{naïve}"},
        {"id": 2, "code": "b", "name": None, "tags": None},
    ]
    assert capture.held(plain) == [{"id": "ü", "name": "€"}]
    assert verified(capture) == {}
    nameless.run(f"UPDATE item SET name = {NAIVE} WHERE id = 2", "DELETE FROM item WHERE id = 1")
    assert capture.extract().tables["item"] == TableChange(updated=1, deleted=1)
    assert capture.held(item) == [{"id": 2, "code": "b", "name": "naïve", "tags": None}]
    assert verified(capture) == {}


def test_an_encoding_for_a_database_that_has_one_is_a_mistake(
    postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    owner = postgres_server.owner("postgres")
    capture = Capture(lambda: owner, lambda: owner, tmp_path, settings={"encoding": "LATIN1"})
    with pytest.raises(
        SourceError, match=f"Source {SOURCE} has the encoding LATIN1 .* has the encoding UTF8"
    ):
        capture.tables()
    with declared(capture, encoding="UTF8").source().snapshot() as snapshot:
        assert snapshot.relations() == {}
