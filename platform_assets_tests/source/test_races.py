"""Ticks at once, below Dagster: none fails, every version of every row is there once, and they all agree."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from platform_assets.lake.lake import Lake, bronze_stream
from platform_assets.model.table import Table
from platform_assets.model.totesys import star
from platform_assets.model.totesys.source import TABLES
from platform_assets.source import extract
from platform_assets.source.dead_letters import DeadLetters
from platform_assets.source.extract import Extractor
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.racing import together
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.totesys import SOURCE_TABLE, STAR_TABLE, Platform, Totesys


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_database())


@pytest.mark.parametrize(
    ("runs", "storage"),
    [
        (3, "local"),
        pytest.param(8, "local", marks=pytest.mark.soak),
        pytest.param(4, "s3", marks=pytest.mark.soak),
    ],
)
def test_ticks_at_once_all_end_well_and_every_row_is_there_once(
    totesys: Totesys, tmp_path: Path, s3_server: S3Server, runs: int, storage: str
) -> None:
    platform = patient(Platform.on_disk(totesys, tmp_path))
    if storage == "s3":
        bucket = s3_server.create_bucket()
        lake = Lake(f"s3://{bucket}/i", f"s3://{bucket}/p", lambda: s3_server.storage_options)
        platform = patient(Platform.over(totesys, lake, tmp_path))
    all_there = threading.Barrier(runs)

    def tick(_: int) -> None:
        all_there.wait(PATIENCE)
        platform.tick()

    for phase in ("first load", "later"):
        if phase == "later":
            totesys.update("design", 1, design_name="Steel")
            totesys.update("payment", 1, paid=True)
            totesys.insert("sales_order", 9)
        together(tick, runs)
        assert_consistent(platform)
    assert [row["paid"] for row in platform.star("fact_payment") if row["payment_id"] == 1] == [False, True]


@pytest.mark.soak
def test_ticks_and_verification_go_on_beside_compaction(totesys: Totesys, tmp_path: Path) -> None:
    platform = patient(Platform.on_disk(totesys, tmp_path))
    platform.tick()
    is_over = threading.Event()

    def compact() -> None:
        while not is_over.wait(0.01):
            for log in sorted(tmp_path.glob("*cessed/**/_delta_log")) + sorted(
                tmp_path.glob("ingestion/**/_delta_log")
            ):
                table = DeltaTable(str(log.parent))
                table.optimize.compact()
                table.vacuum(dry_run=False)

    def work(number: int) -> None:
        if number == 0:
            compact()
        elif number == 1:
            for verification in (
                Extractor(platform.source, platform.lake, platform.engine).verify(TABLES).values()
            ):
                assert verification.passed
        else:
            try:
                for name in ("Steel", "Silver", "Gold"):
                    totesys.update("design", 1, design_name=name)
                    platform.tick()
            finally:
                is_over.set()

    together(work, 3)
    platform.tick()
    assert_consistent(platform)
    assert [row["design_name"] for row in platform.star("dim_design") if row["design_id"] == 1] == ["Gold"]


def patient(platform: Platform) -> Platform:
    """The platform with a warehouse that waits for its file as long as a slow machine may need."""
    return dataclasses.replace(platform, warehouse=dataclasses.replace(platform.warehouse, wait=300))


def assert_consistent(platform: Platform) -> None:
    """Ledger, bronze, star and warehouse say the same, and nothing twice."""
    counted = platform.lake.ledger.read().rows.to_pylist()
    assert max(Counter((one["batch"], one["source"], one["table"]) for one in counted).values()) == 1
    for table in TABLES:
        rows = platform.versions(table.name, *table.primary_key)
        assert len(rows) == len(set(rows))
        inserted = sum(one["inserted"] for one in counted if one["table"] == table.name)
        assert inserted == len({row[2:] for row in rows})
    for table in star.TABLES:
        rows = platform.star(table.name)
        keys = [tuple(row[name] for name in table.primary_key) for row in rows]
        assert len(keys) == len(set(keys))
        if table.kind == "fact":
            assert sorted(keys) == [(number,) for number in range(1, len(keys) + 1)]
        [(loaded,)] = platform.query(f"SELECT count(*) FROM star.{table.name}")
        assert loaded == len(rows)
    assert set(STAR_TABLE) == {status.table for status in platform.warehouse.status()}


def broken_off_in_between(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, table: str, before: Callable[[], None]
) -> list[int]:
    """Let another run begin together with the next one, write a table under its batch number, and break off.

    Args:
        platform: The platform.
        monkeypatch: The test's.
        table: The table that the other run writes.
        before: Changes of the source that the other run's snapshot has, and the next run's has not.

    Returns:
        The number of the batch, once the next run has begun.
    """
    begin, numbers = extract._Attempt.begin, []

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    def overtaken(*arguments: Any, **more: Any) -> Any:
        monkeypatch.undo()
        attempt = begin(*arguments, **more)
        before()
        with monkeypatch.context() as patch:
            patch.setattr(Extractor, "_commit", killed)
            with pytest.raises(Killed):
                platform.extract(table)
        cursor = platform.lake.bronze("totesys", SOURCE_TABLE[table]).open()
        numbers.append(attempt.batch)
        assert cursor is not None
        assert cursor.transaction_version(bronze_stream("totesys")) == attempt.batch
        return attempt

    monkeypatch.setattr(extract._Attempt, "begin", overtaken)
    return numbers


def test_verification_does_not_take_another_runs_rows_for_its_own(
    totesys: Totesys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = Platform.on_disk(totesys, tmp_path)
    platform.extract()
    totesys.insert("sales_order", 9)
    numbers = broken_off_in_between(
        platform, monkeypatch, "design", lambda: totesys.update("design", 1, design_name="Steel")
    )
    verified = Extractor(platform.source, platform.lake, platform.engine).verify(TABLES)
    assert [one.sentence for one in verified.values() if not one.passed] == []
    assert platform.lake.ledger.read().last_batch == numbers[0]
    # What the other run had found is still found.
    assert platform.extract().tables["design"].updated == 1


def test_a_row_is_not_valid_by_a_parent_that_only_another_run_has_written(
    totesys: Totesys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = Platform.on_disk(totesys, tmp_path)
    platform.extract()
    totesys.run("ALTER TABLE sales_order DROP CONSTRAINT sales_order_design_id_fkey")
    totesys.insert("sales_order", 9, design_id=77)
    broken_off_in_between(platform, monkeypatch, "design", lambda: totesys.insert("design", 77))
    assert platform.extract().tables["sales_order"].dead_lettered == 1
    changes = platform.extract().tables
    assert (changes["design"].inserted, changes["sales_order"].updated) == (1, 1)
    assert platform.broken() == {}


def test_a_row_is_not_valid_by_a_parent_whose_table_was_stopped(
    totesys: Totesys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = Platform.on_disk(totesys, tmp_path)
    platform.extract()
    totesys.insert("design", 77)
    totesys.insert("sales_order", 9, design_id=77)
    set_apart = DeadLetters.set_apart

    def poisoned(letters: DeadLetters, table: Table, written: int) -> int:
        if table.name == "design":
            raise MemoryError
        return set_apart(letters, table, written)

    with monkeypatch.context() as patch:
        patch.setattr(DeadLetters, "set_apart", poisoned)
        changes = platform.extract().tables
    assert changes["design"].stopped
    assert changes["sales_order"].dead_lettered == 1
    assert platform.extract().tables["sales_order"].updated == 1
    assert platform.broken() == {}
