"""The embedded engine keeps to its limits, and names are quoted whatever is in them."""

import os
import subprocess
import sys
from pathlib import Path

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
