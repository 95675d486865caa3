"""Upkeep as users meet it: the command, which only tells unless it is told to act, and the job."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from platform_assets.build import build_defs
from platform_assets.cli import app
from platform_assets.dagster_internals import last_check_results
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.lake import Lake
from platform_assets.model.table import Column, Integer, Text
from platform_assets_tests.fixtures.house import instance_of, run_of
from platform_assets_tests.fixtures.upkeep import content, opened, settings_of

COLUMNS = (Column("id", Integer(64)), Column("name", Text()))
TABLES = dg.AssetKey(["lake", "tables"])
CHECK = dg.AssetCheckKey(TABLES, "within_bounds")


def fill(lake: Lake, name: str, commits: int) -> LakeTable:
    table = LakeTable(lake.path("processed", "marts", name), COLUMNS)
    for number in range(commits):
        rows = pa.table([[number], ["x"]], schema=table.arrow_schema)
        table.append(table.open(), rows, stream="s", version=table.cursor(table.open(), "s") + 1)
    return table


def files_of(table: LakeTable) -> int:
    return len(opened(table).file_uris())


def test_the_command_shows_what_it_would_do_and_does_it_when_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path))
    lake = Lake(str(tmp_path / "lake/ingestion"), str(tmp_path / "lake/processed"))
    many, few = fill(lake, "many", 17), fill(lake, "few", 3)
    rows = content(lake)

    def said(*arguments: str, code: int = 0) -> str:
        ended = CliRunner().invoke(app, ["lake", "upkeep", *arguments], catch_exceptions=False)
        assert ended.exit_code == code, ended.output
        return ended.output

    told = said()
    assert "marts/many" in told
    assert "marts/few" not in told
    assert "Nothing was changed. To do it:" in told
    assert (files_of(many), files_of(few)) == (17, 3)
    assert "The lake has no table marts/none" in said("marts/none", code=1)
    assert "There is nothing to do." in said("marts/few")
    assert files_of(many) == 17
    assert "marts/many: 17 files became 1" in said("--apply")
    assert (files_of(many), files_of(few)) == (1, 3)
    assert content(lake) == rows
    assert "There is nothing to do." in said()


def test_the_job_records_every_table_and_one_that_fails_fails_alone(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "ingestion"), str(tmp_path / "processed"))
    settings = settings_of(tmp_path, lake)
    fine, damaged = fill(lake, "fine", 17), fill(lake, "damaged", 17)
    defs = build_defs(settings)
    [schedule] = [schedule for schedule in defs.schedules or () if schedule.name == "lake_upkeep_schedule"]
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.cron_schedule, schedule.job_name) == ("*/15 * * * *", "lake_upkeep")
    file = Path(opened(damaged).file_uris()[0])
    whole = file.read_bytes()
    file.write_bytes(whole[:100])

    failed = run_of(settings, "lake_upkeep")
    assert not failed.succeeded
    assert "marts/damaged: " in failed.failures[0]
    assert "everything else was taken care of" in failed.failures[0]
    assert [line.split(": ")[:2] for line in failed.failed_checks] == [["lake/tables", "within_bounds"]]
    assert (files_of(fine), files_of(damaged)) == (1, 17)

    file.write_bytes(whole)
    lines: list[str] = []
    assert run_of(settings, "lake_upkeep", lines.append).succeeded
    assert any("marts/damaged: 17 files became 1" in line for line in lines)
    assert files_of(damaged) == 1
    with instance_of(settings) as instance:
        event = instance.get_latest_materialization_event(TABLES)
        result = last_check_results(instance, [CHECK]).get(CHECK)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = {name: one.value for name, one in event.asset_materialization.metadata.items()}
    assert metadata["most files of a table"] < 10
    assert "| marts/fine | 17 | 1 | 1 |" in str(metadata["tables"])
    assert result is not None
    assert result.evaluation.passed
