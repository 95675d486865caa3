"""Queries of tasks on a real source and a real warehouse."""

from __future__ import annotations

import contextlib

import pyarrow as pa
import pytest

from platform_assets.errors import PlatformError
from platform_assets.source.session import open_control
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.tasks.conftest import Bench, TaskHouse, tree


@pytest.fixture
def connected(
    bench: Bench, house: TaskHouse, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> Bench:
    """A bench whose tasks query a source with three rows, and an empty warehouse."""
    created = new_database()
    owner = created.owner
    with contextlib.closing(open_control(owner)) as session:
        session.run("CREATE TABLE numbers (id int PRIMARY KEY, name text)")
        session.run("INSERT INTO numbers VALUES (1, 'one'), (2, NULL), (3, 'three')")
    for name, value in {
        "TOTESYS_EMBEDDED": "false",
        "TOTESYS_HOST": owner.host,
        "TOTESYS_PORT": str(owner.port),
        "TOTESYS_DATABASE": owner.database,
        "TOTESYS_USER": owner.user,
        "TOTESYS_PASSWORD": owner.password,
        "TOTESYS_SSLMODE": "disable",
    }.items():
        monkeypatch.setenv(name, value)
    bench.services["queries"] = house.room.runner.services.queries
    return bench


def test_the_rows_of_a_source_become_a_file(connected: Bench) -> None:
    query = "SELECT id, name FROM numbers ORDER BY id"
    made = connected.run("sql", database="totesys", query=query, output="out/x.csv")
    assert made.facts == {"rows": 3}
    [(name, content, _)] = tree(connected.folder / "out")
    assert (name, content) == ("x.csv", b'"id","name"\n1,"one"\n2,\n3,"three"\n')
    assert not connected.run("sql", database="totesys", query=query, output="out/x.csv").changed


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("DELETE FROM numbers", "read-only transaction"),
        ("SELECT 1; DELETE FROM numbers", "cannot insert multiple commands"),
        ("SELECT nothing FROM numbers", 'column "nothing" does not exist'),
    ],
)
def test_a_query_only_reads_and_its_error_is_told(connected: Bench, query: str, reason: str) -> None:
    with pytest.raises(PlatformError, match=reason):
        connected.run("sql", database="totesys", query=query)
    assert connected.run("sql", database="totesys", query="SELECT * FROM numbers").facts == {"rows": 3}


def test_a_table_of_the_warehouse_is_replaced_as_a_whole(connected: Bench) -> None:
    for limit in (3, 2):
        connected.run(
            "sql",
            database="totesys",
            query=f"SELECT id, name FROM numbers ORDER BY id LIMIT {limit}",
            table="mart.numbers",
        )
    with connected.services["queries"].open("warehouse", "SELECT * FROM mart.numbers ORDER BY id") as rows:
        assert rows.read_all().to_pydict() == pa.table({"id": [1, 2], "name": ["one", None]}).to_pydict()


def test_a_database_that_is_not_configured_is_told(connected: Bench) -> None:
    with pytest.raises(PlatformError, match=r"no database other .* it has warehouse, totesys"):
        connected.run("sql", database="other", query="SELECT 1")
