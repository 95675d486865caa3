"""A rebuild gives what ticks gave, changes what its SQL says, and loses nothing beside ticks."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from typer.testing import CliRunner

from platform_assets.build import build_defs
from platform_assets.cli import app
from platform_assets.lake.delta import REBUILT, table_identity
from platform_assets.lake.interfaces import Rebuilding
from platform_assets.lake.lake import Lake
from platform_assets.model.star_model import BUILT_BY, StarModel
from platform_assets.model.totesys import star
from platform_assets.settings import load_settings
from platform_assets.star import rebuild as rebuilding
from platform_assets.star.assembly import StarRoom
from platform_assets.star.rebuild import StarRebuilder
from platform_assets.star.transform import StarBuilder
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import STAR_TABLE, Platform, Totesys
from platform_assets_tests.fixtures.upkeep import content, opened, rows_hash
from platform_assets_tests.star.test_transform import fourth_tick, second_tick, third_tick


@dataclass
class Business:
    """A lake of four batches, and a copy of the SQL that can be changed."""

    totesys: Totesys
    platform: Platform
    model: StarModel

    def sql(self, table: str, old: str, new: str) -> None:
        file = self.model.sql_file(STAR_TABLE[table])
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def builder(self) -> StarBuilder:
        return StarBuilder(self.platform.lake, self.model, self.platform.engine)

    def rebuild(self, *tables: str, first: int = 0, apply: bool = True) -> dict[str, Rebuilding]:
        """Rebuild these tables, all where none is named; what was due."""
        wanted: Sequence[str] = tables or list(STAR_TABLE)
        done = StarRebuilder(self.builder(), first, apply).rebuild([STAR_TABLE[name] for name in wanted])
        found = {one.table: one for one in done}
        assert [one.problem for one in found.values() if one.problem] == []
        return {name: one for name, one in found.items() if one.why}


def platform_in(totesys: Totesys, folder: Path) -> Platform:
    """A platform where the configuration has it, if this is its state folder."""
    lake = Lake(str(folder / "lake" / "ingestion"), str(folder / "lake" / "processed"))
    return Platform.over(totesys, lake, folder)


@pytest.fixture(scope="module")
def four_batches(
    new_module_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Totesys, Path]:
    totesys = Totesys.with_rows(new_module_database())
    folder = tmp_path_factory.mktemp("four batches")
    platform = platform_in(totesys, folder)
    platform.tick()
    for change in (second_tick, third_tick, fourth_tick):
        change(totesys)
        platform.tick()
    return totesys, folder


@pytest.fixture
def business(four_batches: tuple[Totesys, Path], tmp_path: Path) -> Iterator[Business]:
    """A copy of the lake, the warehouse and the SQL; what a test inserts as sales order 9 is removed."""
    totesys, folder = four_batches
    shutil.copytree(folder, tmp_path / "platform")
    sql = tmp_path / "sql"
    sql.mkdir()
    for table in star.TABLES:
        shutil.copy(star.STAR.sql_file(table), sql)
    platform = platform_in(totesys, tmp_path / "platform")
    yield Business(totesys, platform, replace(star.STAR, folder=sql))
    totesys.delete("sales_order", 9)


def test_nothing_is_rebuilt_where_the_rows_are_those_of_bronze(business: Business) -> None:
    before = content(business.platform.lake)
    versions = {name: business.platform.lake.star(one).version() for name, one in STAR_TABLE.items()}
    assert business.rebuild() == {}
    assert content(business.platform.lake) == before
    assert {name: business.platform.lake.star(one).version() for name, one in STAR_TABLE.items()} == versions


def test_a_changed_sql_is_noticed_and_its_rows_are_computed_anew_under_the_same_ids(
    business: Business,
) -> None:
    platform = business.platform
    before = platform.star("fact_sales_order")
    business.sql("fact_sales_order", "o.units_sold,", "o.units_sold + 1 AS units_sold,")
    business.sql("dim_design", "d.design_name,", "upper(d.design_name) AS design_name, -- loud")
    business.sql("dim_currency", "FROM totesys", "  FROM  totesys")
    changes = business.builder().build(star.TABLES)
    assert {name for name, change in changes.items() if change.outdated} == {
        "fact_sales_order",
        "dim_design",
    }
    planned = business.rebuild(apply=False)
    assert {name: (one.inserted, one.updated, one.deleted) for name, one in planned.items()} == {
        "star/fact_sales_order": (0, 8, 0),
        "star/dim_design": (0, 3, 0),
    }
    assert platform.star("fact_sales_order") == before
    done = business.rebuild()
    assert {name: one.why for name, one in done.items()} == dict.fromkeys(
        planned, "its SQL has changed; its rows differ from those that bronze gives"
    )
    assert platform.star("fact_sales_order") == [
        {**row, "units_sold": row["units_sold"] + 1} for row in before
    ]
    assert business.rebuild() == {}
    loads = platform.load()
    assert loads["fact_sales_order"].rows_written == 8
    assert loads["dim_staff"].rows_written == 0
    held = platform.query("SELECT sales_record_id, units_sold FROM star.fact_sales_order ORDER BY 1")
    assert held == [(row["sales_record_id"], row["units_sold"] + 1) for row in before]
    assert platform.load()["fact_sales_order"].rows_written == 0
    business.totesys.insert("sales_order", 9)
    platform.extract()
    business.builder().build(star.TABLES)
    platform.load()
    assert platform.star("fact_sales_order")[-1]["sales_record_id"] == 9
    assert len(platform.query("FROM star.fact_sales_order")) == 9


def test_another_sql_with_the_same_rows_is_only_noted(business: Business) -> None:
    target = business.platform.lake.star(STAR_TABLE["dim_design"])
    identity = table_identity(opened(target))
    business.sql("dim_design", "d.design_name,", "concat(d.design_name) AS design_name,")
    assert list(business.rebuild()) == ["star/dim_design"]
    assert business.rebuild() == {}
    assert table_identity(opened(target)) == identity


def test_older_rows_stay_as_they_are_where_a_first_batch_is_given(business: Business) -> None:
    before = business.platform.star("fact_sales_order")
    business.sql("fact_sales_order", "o.units_sold,", "o.units_sold + 1 AS units_sold,")
    business.sql("dim_design", "d.design_name,", "upper(d.design_name) AS design_name,")
    business.rebuild("fact_sales_order", "dim_design", first=3)
    assert business.platform.star("fact_sales_order") == [
        {**row, "units_sold": row["units_sold"] + (row["_batch"] >= 3)} for row in before
    ]
    names = {row["design_id"]: row["design_name"] for row in business.platform.star("dim_design")}
    assert names == {1: "Wooden", 2: "Bronze", 3: "GRANITE"}


def test_tables_that_are_gone_or_have_lost_a_file_are_made_again_with_the_same_rows(
    business: Business,
) -> None:
    platform = business.platform
    before = content(platform.lake)
    shutil.rmtree(Path(platform.lake.star(STAR_TABLE["dim_staff"]).uri))
    for name in ("fact_payment", "dim_date"):
        next(Path(platform.lake.star(STAR_TABLE[name]).uri).glob("*.parquet")).unlink()
    assert set(business.rebuild("dim_staff", "fact_payment", apply=False)) == {
        "star/dim_staff",
        "star/fact_payment",
    }
    assert set(business.rebuild()) == {"star/dim_staff", "star/fact_payment", "star/dim_date"}
    assert content(platform.lake) == before
    assert platform.load()["fact_payment"].rows_written == 5
    shutil.rmtree(platform.lake.processed)
    business.rebuild()
    assert content(platform.lake) == before


def test_a_star_ahead_of_a_restored_ledger_is_taken_back_to_it(business: Business) -> None:
    lake = business.platform.lake
    third = {name: business.platform.star(name) for name in STAR_TABLE}
    ledger = Path(lake.ledger.table.uri)
    newest = max((ledger / "_delta_log").glob("*.json"))
    newest.unlink()
    assert "take the table back" in business.builder().build(star.TABLES)["fact_sales_order"].stopped
    business.rebuild()
    assert [row for row in business.platform.star("fact_sales_order") if row["_batch"] > 3] == []
    business.platform.tick()
    assert business.rebuild() == {}
    for name in ("dim_staff", "dim_location"):
        rows = [{**row, "_batch": 0, "_seen_at": 0} for row in third[name]]
        assert [{**row, "_batch": 0, "_seen_at": 0} for row in business.platform.star(name)] == rows
    assert len(business.platform.query("FROM star.fact_sales_order")) == 8


def test_a_tick_that_commits_first_loses_nothing(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    business.sql("fact_sales_order", "o.units_sold,", "o.units_sold + 1 AS units_sold,")
    business.totesys.insert("sales_order", 9, units_sold=1)
    business.platform.extract()
    compare: Callable[..., tuple[int, int, int]] = rebuilding.count_differences
    ticks = []

    def with_tick(*arguments: object) -> tuple[int, int, int]:
        if not ticks:
            ticks.append(business.builder().build([STAR_TABLE["fact_sales_order"]]))
        return compare(*arguments)

    monkeypatch.setattr(rebuilding, "count_differences", with_tick)
    business.rebuild("fact_sales_order")
    rows = business.platform.star("fact_sales_order")
    assert [row["sales_record_id"] for row in rows] == list(range(1, 10))
    assert rows[-1]["units_sold"] == 2
    handle = opened(business.platform.lake.star(STAR_TABLE["fact_sales_order"]))
    assert handle.transaction_version(REBUILT) == 1
    assert business.rebuild() == {}


def test_a_rebuild_that_was_interrupted_is_continued(
    business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    for table in ("dim_design", "dim_location"):
        business.sql(table, "_change,", "_change, ")
        business.sql(table, "\nFROM", " -- \nFROM")
    business.sql("dim_design", "d.design_name,", "upper(d.design_name) AS design_name,")
    business.sql("dim_location", "a.city,", "upper(a.city) AS city,")
    before = rows_hash(business.platform.lake.star(STAR_TABLE["dim_location"]))
    with monkeypatch.context() as killed:

        def kill(*_: object) -> None:
            raise KeyboardInterrupt

        killed.setattr(rebuilding.StarRebuilder, "_write", kill)
        with pytest.raises(KeyboardInterrupt):
            business.rebuild("dim_design", "dim_location")
    assert rows_hash(business.platform.lake.star(STAR_TABLE["dim_location"])) == before
    assert set(business.rebuild()) == {"star/dim_design", "star/dim_location"}
    assert {row["city"] for row in business.platform.star("dim_location")} == {"LEEDS", "WELLS"}


KILLED = """
import os, signal, sys
from platform_assets.cli import app
from platform_assets.lake.delta import LakeTable

commit, left = LakeTable.overwrite, [int(sys.argv[1])]

def killed(self, *arguments, **options):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    commit(self, *arguments, **options)

LakeTable.overwrite = killed
app(["lake", "rebuild", "--apply"])
"""


@pytest.mark.parametrize("commits", [0, 2])
def test_a_rebuild_that_is_killed_leaves_each_table_as_it_was_or_is_to_be_and_is_continued(
    business: Business, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path / "platform"))
    lake = business.platform.lake
    right = content(lake)
    for table in ("dim_design", "dim_location", "dim_staff"):
        opened(lake.star(STAR_TABLE[table])).delete(f"{STAR_TABLE[table].primary_key[0]} = 1")
    wrong = content(lake)
    died = subprocess.run(
        [sys.executable, "-c", KILLED, str(commits)], capture_output=True, timeout=PATIENCE, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    found = content(lake)
    assert all(found[table] in (right[table], wrong[table]) for table in right)
    assert sum(found[table] != wrong[table] for table in right) == commits
    # The tick that follows has nothing to do with it; the next rebuild does the rest.
    business.platform.tick()
    ended = CliRunner().invoke(app, ["lake", "rebuild", "--apply"], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    assert content(lake) == right


def test_a_rebuilt_table_that_breaks_a_check_is_told_and_the_command_fails(
    business: Business, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path / "platform"))
    monkeypatch.setattr(StarRoom, "model", property(lambda _: business.model))
    business.sql("dim_design", "d.design_name,", "NULL AS design_name,")
    warehouse = business.platform.query("SELECT * FROM star.dim_design ORDER BY design_id")
    ended = CliRunner().invoke(app, ["lake", "rebuild", "dim_design", "dim_staff", "--apply"])
    said = " ".join(ended.output.split())
    assert ended.exit_code == 1
    assert "star/dim_design: The check not_null fails: " in said
    assert "warehouse/dim_design: It was not loaded, because star/dim_design failed." in said
    assert "warehouse/dim_staff" not in said
    assert business.platform.query("SELECT * FROM star.dim_design ORDER BY design_id") == warehouse


def test_the_command_and_the_job_mend_star_and_warehouse(
    business: Business, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path / "platform"))
    platform = business.platform
    before = content(platform.lake)

    def said(*arguments: str, code: int = 0) -> str:
        ended = CliRunner().invoke(app, ["lake", "rebuild", *arguments], catch_exceptions=False)
        assert ended.exit_code == code, ended.output
        return " ".join(ended.output.split())

    def held() -> list[tuple[int, ...]]:
        return platform.query("SELECT count(*) FROM star.fact_payment")

    assert "22 tables have the rows that they should have." in said()
    assert "There is no table star/none to rebuild" in said("star/none", code=1)
    with duckdb.connect(str(platform.warehouse.path)) as connection:
        connection.execute("DELETE FROM star.fact_payment WHERE payment_record_id IN (1, 4)")
    shutil.rmtree(Path(platform.lake.star(STAR_TABLE["dim_staff"]).uri))
    told = said()
    assert "warehouse/fact_payment" in told
    assert "lacks 2 rows (batches 1, 4)" in told
    assert "star/dim_staff" in told
    assert "Nothing was changed." in told
    assert held() == [(3,)]
    job = build_defs(load_settings()).resolve_job_def("lake_rebuild")
    with dg.DagsterInstance.ephemeral() as instance:

        def run(**config: object) -> None:
            ops = {"ops": {"rebuild": {"config": config}}}
            assert job.execute_in_process(instance=instance, run_config=ops).success

        run()
        assert held() == [(3,)]
        platform.lake.star(STAR_TABLE["dim_design"]).note(
            opened(platform.lake.star(STAR_TABLE["dim_design"])), {BUILT_BY: 7}
        )
        checked = (
            build_defs(load_settings()).resolve_job_def("lake_upkeep").execute_in_process(instance=instance)
        )
        [warning] = [
            evaluation for evaluation in checked.get_asset_check_evaluations() if not evaluation.passed
        ]
        assert (warning.check_name, warning.severity) == ("built_by_current_sql", dg.AssetCheckSeverity.WARN)
        assert "platform-assets lake rebuild star/dim_design" in (warning.description or "")
        assert "star/dim_design" in CliRunner().invoke(app, ["status"]).output
        run(tables=["fact_payment"], apply=True)
    assert held() == [(5,)]
    said("--apply")
    assert content(platform.lake) == before
    assert "22 tables have the rows" in said()
