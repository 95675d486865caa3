"""Ticks at once, below Dagster: none fails, every version of every row is there once, and they all agree."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from pathlib import Path

import pytest
from deltalake import DeltaTable

from platform_assets.lake.lake import Lake
from platform_assets.model.totesys import star
from platform_assets.model.totesys.source import TABLES
from platform_assets.source.extract import Extractor
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.racing import together
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.totesys import STAR_TABLE, Platform, Totesys


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
