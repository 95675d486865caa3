"""Runs at once: whatever is made first, however many they are, all end well and every row is there once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from platform_assets_tests.integration.installation import BIN, ROOT, Installation

_OPEN = """
from platform_assets.runs import open_instance
from platform_assets.settings import dagster_home, load_settings
settings = load_settings()
input()
with open_instance(dagster_home(settings)) as instance:
    assert instance.get_runs(limit=1) == []
"""


def test_processes_that_make_dagsters_home_at_once_all_get_it(tmp_path: Path) -> None:
    platform = Installation.create_embedded(tmp_path / "platform", sales=10)
    (platform.folder / "dagster" / "dagster.yaml").unlink()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _OPEN],
            cwd=ROOT,
            env=platform.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, "\n".join(ended)


@pytest.mark.soak
def test_four_first_runs_on_an_empty_folder_all_end_well(tmp_path: Path) -> None:
    platform = Installation.create_embedded(tmp_path / "platform", sales=50)
    command = [str(BIN / "platform-assets"), "run"]
    processes = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=platform.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        said = [process.communicate()[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * 4, "\n".join(said)
        rows = platform.warehouse_rows()
        sales = [row[1] for row in rows["fact_sales_order"]]
        assert len(sales) == len(set(sales)) == 50
        assert [row[0] for row in rows["fact_sales_order"]] == list(range(1, 51))
        assert {row["_batch"] for row in platform.bronze_versions("sales_order")} == {
            row["_batch"] for row in platform.bronze_versions("address")
        }
    finally:
        subprocess.run(
            [command[0], "sample", "stop"],
            cwd=ROOT,
            env=platform.environment,
            check=False,
            capture_output=True,
        )
