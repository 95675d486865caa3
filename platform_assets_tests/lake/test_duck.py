"""The embedded engine keeps to its limits, and names are quoted whatever is in them."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from platform_assets.lake.duck import SqlEngine, fetch_rows
from platform_assets.model.dialects import columns_sql, literal, quote


@pytest.mark.parametrize("name", ["plain", "select", 'a "quoted" one', "it's; DROP TABLE x --", "ünï ✓", " "])
def test_a_quoted_name_is_that_name(tmp_path: Path, name: str) -> None:
    with SqlEngine(64, 1, tmp_path).connect() as connection:
        connection.execute(
            f"CREATE SCHEMA {quote(name)}; CREATE TABLE {quote(name, name)} ({quote(name)} INT)"
        )
        connection.execute(f"INSERT INTO {quote(name, name)} VALUES (1)")
        assert fetch_rows(connection, f"FROM {quote(name, name)}") == [{name: 1}]
        query = f"SELECT {columns_sql([name], 't')}, {literal(name)} AS text FROM {quote(name, name)} AS t"
        assert fetch_rows(connection, query) == [{name: 1, "text": name}]


def test_the_engine_keeps_to_its_memory_threads_and_folder_and_fetches_nothing(tmp_path: Path) -> None:
    with SqlEngine(123, 1, tmp_path / "spill").connect() as connection:
        names = ("memory_limit", "threads", "temp_directory", "TimeZone", "autoinstall_known_extensions")
        found = {
            name: connection.execute("SELECT current_setting(?)", [name]).fetchall()[0][0] for name in names
        }
    assert found["memory_limit"] == "117.3 MiB"
    assert (found["threads"], found["TimeZone"], found["autoinstall_known_extensions"]) == (1, "UTC", False)
    assert Path(found["temp_directory"]).parent == tmp_path / "spill"
    assert list((tmp_path / "spill").iterdir()) == []


def test_what_a_process_spilled_that_died_is_removed_and_what_others_spill_is_not(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    for name in (f"{dead.pid}-x", f"{os.getpid()}-x", "1-x", "keep"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    with SqlEngine(64, 1, tmp_path).connect():
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{os.getpid()}-x", "1-x", "keep"])


FOLDER = "SELECT current_setting('temp_directory')"


def test_nothing_of_one_connection_reaches_the_next_though_one_duckdb_serves_both(tmp_path: Path) -> None:
    engine, file = SqlEngine(64, 2, tmp_path / "spill"), tmp_path / "warehouse.duckdb"
    with engine.connect() as connection:
        folder = fetch_rows(connection, FOLDER)
        connection.register("registered", pa.table({"x": [1]}))
        connection.execute("CREATE TABLE kept (x INT); CREATE TEMP VIEW seen AS SELECT 1; CREATE SCHEMA star")
        connection.execute(
            "SET threads = 1; SET preserve_insertion_order = false; SET TimeZone = 'Asia/Tokyo'"
        )
    with engine.connect(file) as connection:
        assert fetch_rows(connection, FOLDER) == folder
        connection.execute("CREATE TABLE kept AS SELECT 2 AS x")
    for options in ({}, {"read_only": True}):
        with engine.connect(file, **options) as connection:
            assert fetch_rows(connection, FOLDER) == folder
            assert fetch_rows(connection, "FROM warehouse.kept") == [{"x": 2}]
    with engine.connect() as connection:
        assert fetch_rows(connection, FOLDER) == folder
        assert fetch_rows(connection, "SELECT table_name FROM information_schema.tables") == []
        found = "SELECT catalog_name FROM information_schema.schemata WHERE schema_name = 'star'"
        assert fetch_rows(connection, found) == []
        for name, value in (("threads", 2), ("preserve_insertion_order", True), ("TimeZone", "UTC")):
            assert fetch_rows(connection, f"SELECT current_setting('{name}') AS x") == [{"x": value}]


def test_connections_that_are_open_together_have_a_duckdb_each(tmp_path: Path) -> None:
    engine = SqlEngine(64, 1, tmp_path / "spill")
    with engine.connect() as outer, engine.connect() as inner:
        assert fetch_rows(outer, FOLDER) != fetch_rows(inner, FOLDER)


def test_a_duckdb_is_closed_after_an_error_a_large_result_and_statements_of_others(tmp_path: Path) -> None:
    engine, found = SqlEngine(64, 1, tmp_path / "spill"), []

    def note(connection: duckdb.DuckDBPyConnection) -> None:
        found.append(str(fetch_rows(connection, FOLDER)))

    with engine.connect() as connection:
        note(connection)
        connection.execute("CREATE TABLE large AS SELECT uuid()::TEXT AS x FROM range(500_000)")
    with contextlib.suppress(duckdb.CatalogException), engine.connect() as connection:
        note(connection)
        connection.execute("FROM missing")
    with engine.connect(trusted=False) as connection:
        note(connection)
    with engine.connect() as connection:
        note(connection)
    assert len(set(found)) == 4


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", True),
        ("FROM star.dim_date; WITH x AS (SELECT 1) FROM x", True),
        ("SELECT 1; SET threads = 1", False),
        ("CREATE TABLE x (y INT)", False),
        ("ATTACH 'other.duckdb'", False),
        ("this is not SQL", False),
    ],
)
def test_queries_are_told_from_statements_that_change_something(
    tmp_path: Path, sql: str, expected: bool
) -> None:
    assert SqlEngine(64, 1, tmp_path / "spill").is_query(sql) is expected


@pytest.mark.parametrize("name", ["memory", "main", "temp", "system", "~", "a b", "it's", 'say "so"', "x.y"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    engine, file = SqlEngine(64, 1, tmp_path / "spill"), tmp_path / f"{name}.duckdb"
    with engine.connect(file) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
    with engine.connect(file, read_only=True) as connection:
        assert fetch_rows(connection, "FROM kept") == [{"x": 1}]
    with duckdb.connect(str(file)) as connection:
        assert fetch_rows(connection, "FROM kept") == [{"x": 1}]


def test_a_file_that_was_closed_is_open_to_other_processes(tmp_path: Path) -> None:
    engine, file = SqlEngine(64, 1, tmp_path / "spill"), tmp_path / "warehouse.duckdb"
    with engine.connect(file) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["warehouse.duckdb"]
    write = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('INSERT INTO kept VALUES (2)')"
    subprocess.run([sys.executable, "-c", write, str(file)], check=True)
    with engine.connect(file, read_only=True) as connection:
        assert fetch_rows(connection, "SELECT sum(x)::INT AS x FROM kept") == [{"x": 3}]


def test_a_forked_process_does_not_use_the_duckdb_of_its_parent(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from platform_assets.lake.duck import SqlEngine

engine = SqlEngine(64, 2, Path(sys.argv[1]))
query = "SELECT sum(x)::BIGINT FROM range(1_000_000) AS s(x)"
with engine.connect() as connection:
    expected = connection.sql(query).fetchall()
child = os.fork()
if child == 0:
    with engine.connect() as connection:
        os._exit(0 if connection.sql(query).fetchall() == expected else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(tmp_path)], check=True)


def test_a_process_ends_silently_whatever_still_refers_to_the_engine(tmp_path: Path) -> None:
    script = """
import ctypes, sys
from pathlib import Path
from platform_assets.lake.duck import SqlEngine

engine = SqlEngine(64, 2, Path(sys.argv[1]))
ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
with engine.connect() as outer, engine.connect() as inner:
    outer.execute("SELECT 1")
"""
    run = [sys.executable, "-c", script, str(tmp_path)]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stderr == ""
