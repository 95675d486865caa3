"""State that version 0.1.0 has written is continued: ticks, feeds, deliveries, alerts, upkeep, status.

`state_0_1_0.tar.xz` is the state folder of a small Totesys, made by the code of 0.1.0: two ticks, a dead
letter, an upload, a delivery that reached one of two destinations, alerts and upkeep.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

import platform_assets
from platform_assets.cli import app
from platform_assets.settings import Settings, load_settings
from platform_assets_tests.fixtures.house import lake_of, run_of
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import Totesys

ROOT = Path(platform_assets.__file__).parents[1]
# Where it was made: tables name uploaded objects by their whole path.
FOLDER = Path("/tmp/platform-assets-0.1.0")
CONFIGURATION = """
include file("{project}")
state_dir = "state"
sources.totesys {{
  embedded = false
  connection {{
    host = "{host}", port = {port}, database = "{database}", user = "{user}", sslmode = disable
    password = "secret://file/./password"
  }}
}}
feeds.prices {{ watch = uploads, pattern = "prices*.csv", format = csv, mode = append }}
"""
DELIVERY = """
title = "Staff"
source { assets = ["star/dim_staff"], query = "SELECT staff_id, first_name FROM dim_staff ORDER BY ALL" }
render = [csv]
file = "staff.csv"
attempts { number = 1 }
to { first { address = ${state_dir}"/delivered/first" }, second { address = ${state_dir}"/blocked/second" } }
"""


def configured(folder: Path, totesys: Totesys) -> Settings:
    reader = totesys.database.reader
    folder.mkdir(exist_ok=True)
    (folder / "platform.conf").write_text(
        CONFIGURATION.format(
            project=ROOT / "config" / "platform.conf",
            host=reader.host,
            port=reader.port,
            database=reader.database,
            user=reader.user,
        )
    )
    (folder / "password").write_text(reader.password)
    (folder / "deliveries").mkdir(exist_ok=True)
    (folder / "deliveries" / "staff.conf").write_text(DELIVERY)
    return load_settings(folder / "platform.conf")


@pytest.fixture
def old(new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Totesys, Settings]]:
    """The state of 0.1.0, and the database that it was read from."""
    for name in ("DAGSTER_HOME", "PLATFORM_STATE_DIR", "LAKE_INGESTION", "LAKE_PROCESSED", "WAREHOUSE_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PLATFORM_CONFIG", str(FOLDER / "platform.conf"))
    totesys = Totesys.with_rows(new_database())
    totesys.update("staff", 1, first_name="Ada")
    totesys.update("payment", 1, payment_date="no date")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    try:
        with tarfile.open(Path(__file__).parent / "state_0_1_0.tar.xz") as archive:
            archive.extractall(FOLDER, filter="data")
        yield totesys, configured(FOLDER, totesys)
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


def current(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of the warehouse as they are now, without numbers that count versions."""
    with duckdb.connect(str(folder / "state" / "warehouse.duckdb"), read_only=True) as connection:
        names = connection.sql(
            "SELECT view_name FROM duckdb_views() WHERE view_name LIKE 'fact_%_current' UNION ALL "
            "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'dim_%' ORDER BY 1"
        ).fetchall()
        found = {}
        for (name,) in names:
            rows = connection.sql(f"FROM star.{name}")
            kept = [
                column
                for column in rows.columns
                if not column.startswith("_") and not column.endswith("record_id")
            ]
            found[name] = rows.select(*kept).order("ALL").fetchall()
        return found


def command(*arguments: str) -> str:
    ran = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_everything_continues_the_state_of_0_1_0(old: tuple[Totesys, Settings], tmp_path: Path) -> None:
    totesys, settings = old
    state = FOLDER / "state"
    tables = {f"{zone}/{path}": table.uri for zone, path, table in lake_of(settings).found_tables()}
    assert {"ingestion/_ledger", "ingestion/uploads/prices", "processed/alerts/outbox"} <= tables.keys()
    # Nothing has a version, and nothing has to be migrated.
    assert {DeltaTable(uri).metadata().name for uri in tables.values()} == {None}
    assert "there is nothing to do" in command("upgrade")

    totesys.update("payment", 1, payment_date="2023-03-10")  # it was a dead letter
    totesys.update("design", 1, design_name="Iron")
    totesys.insert("sales_order", 3)
    totesys.delete("payment", 3)
    assert run_of(settings, "totesys_to_warehouse").succeeded
    fresh = configured(tmp_path / "fresh", totesys)
    assert run_of(fresh, "totesys_to_warehouse").succeeded
    assert current(FOLDER) == current(tmp_path / "fresh")
    assert len(current(FOLDER)["fact_sales_order_current"]) == 3

    # An unpacked file has another inode, and would be another version of its object.
    (state / "uploads" / "prices1.csv").unlink()
    (state / "uploads" / "prices2.csv").write_text("name,price\nlamp,7.25\n")
    os.utime(state / "uploads" / "prices2.csv", (1_700_000_000, 1_700_000_000))  # it is written completely
    assert run_of(settings, "inspect_uploads").succeeded
    prices = DeltaTable(tables["ingestion/uploads/prices"]).to_pyarrow_table()["name"].to_pylist()
    assert sorted(prices) == ["chair", "lamp", "table"]

    (state / "blocked").unlink()
    assert "second: delivered" in command("deliver", "staff")
    assert (state / "blocked" / "second" / "staff.csv").read_text().splitlines()[1:] == ["1,Ada", "2,Deron"]

    assert run_of(settings, "deliver_alerts").succeeded
    assert run_of(settings, "lake_upkeep").succeeded
    assert "fact_sales_order" in command("status")
    # What was there has got no version; the folder as a whole is known to be of the first.
    assert {DeltaTable(uri).metadata().name for uri in tables.values()} == {None}
    assert json.loads((state / "format.json").read_text())["format"] == 1
    assert "there is nothing to do" in command("upgrade")
