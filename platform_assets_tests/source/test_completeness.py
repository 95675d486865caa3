"""Verification proves that the lake holds what the source does, finds what it does not, and mends it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from platform_assets.lake.lake import BronzeReader, stream_current
from platform_assets.model.totesys.source import TABLES
from platform_assets.source.extract import Extractor
from platform_assets.source.outcome import Verification
from platform_assets.source.policy import CapturePolicy
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import SOURCE_TABLE, Platform, Totesys, rows_of


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_database())


@pytest.fixture
def platform(totesys: Totesys, tmp_path: Path) -> Platform:
    return Platform.on_disk(totesys, tmp_path)


def verify(platform: Platform) -> dict[str, Verification]:
    return Extractor(platform.source, platform.lake, platform.engine).verify(TABLES)


def current(platform: Platform, table: str, *columns: str) -> list[tuple[Any, ...]]:
    rows = stream_current(platform.lake, platform.engine, "totesys", SOURCE_TABLE[table]).read_all()
    return sorted(rows_of(rows.to_pylist(), *columns))


def test_a_batch_that_another_run_commits_during_the_comparison_is_no_difference(
    platform: Platform, totesys: Totesys, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.extract()
    others: list[str] = []
    create = BronzeReader.create_versions_view

    def create_beside(self: BronzeReader, connection: Any, view: Any, table: Any, **options: Any) -> None:
        if list(view) == ["compared versions"] and not others:
            others.append("design")
            totesys.update("design", 1, design_name="of the other run")
            platform.extract("design")
            options["handle"] = platform.lake.bronze("totesys", table).open()
        create(self, connection, view, table, **options)

    monkeypatch.setattr(BronzeReader, "create_versions_view", create_beside)
    verified = Extractor(platform.source, platform.lake, platform.engine).verify([SOURCE_TABLE["design"]])
    assert str(verified["design"].comparison) == "design: source and lake hold the same 2 rows."
    assert others == ["design"]


def test_verifying_takes_in_what_changed_and_finds_everything_equal(
    totesys: Totesys, platform: Platform
) -> None:
    platform.extract()
    totesys.update("design", 1, design_name="Steel")
    found = verify(platform)
    assert set(found) == {table.name for table in TABLES}
    assert all(one.passed and one.mended is None for one in found.values())
    assert found["design"].sentence == "design: source and lake hold the same 2 rows."
    assert ("Steel",) in current(platform, "design", "design_name")
    before = platform.files()
    assert all(one.passed for one in verify(platform).values())
    assert platform.files() == before


def test_dead_letters_count_as_rows_that_the_lake_holds(totesys: Totesys, platform: Platform) -> None:
    totesys.insert("sales_order", 3, units_sold=-3)
    assert all(one.passed for one in verify(platform).values())
    assert len(platform.dead_letters()) == 1


def tampered(platform: Platform, table: str, row: dict[str, Any]) -> None:
    """Commit a version to the lake that the source knows nothing of, with the hash of the one before."""
    bronze = platform.lake.bronze("totesys", SOURCE_TABLE[table])
    handle = bronze.open()
    assert handle is not None
    rows = bronze.scan(handle).read_all().to_pylist()
    changed = [one | row if one[f"{table}_id"] == row[f"{table}_id"] else one for one in rows]
    version = bronze.cursor(handle, "platform_assets/totesys")
    bronze.overwrite(
        handle,
        pa.Table.from_pylist(changed, schema=bronze.arrow_schema),
        stream="platform_assets/totesys",
        version=version,
    )


def test_content_that_differs_is_found_though_its_hash_says_otherwise_and_read_again(
    platform: Platform,
) -> None:
    platform.extract()
    tampered(platform, "design", {"design_id": 2, "design_name": "Gold"})
    assert ("Gold",) in current(platform, "design", "design_name")
    found = verify(platform)["design"]
    assert not found.passed
    assert found.mended is not None
    assert (found.mended.inserted, found.mended.updated, found.mended.deleted) == (0, 1, 0)
    assert found.after is not None
    assert found.after.equal
    assert "design: 1 of 1 ranges of keys differ between source (2 rows) and lake (2 rows)" in found.sentence
    assert "they are equal now" in found.sentence
    assert "Gold" not in found.sentence
    assert current(platform, "design", "design_name", "_batch") == [("Bronze", 2), ("Wooden", 1)]
    assert all(one.passed for one in verify(platform).values())


@pytest.mark.parametrize("limit", [0, 200_000], ids=["deletions by rhythm", "deletions at every tick"])
def test_rows_that_the_lake_has_too_many_or_too_few_are_found(
    totesys: Totesys, platform: Platform, limit: int
) -> None:
    source = dataclasses.replace(platform.source, policy=CapturePolicy(small_table_rows=limit))
    platform = dataclasses.replace(platform, source=source)
    platform.extract()
    # As an xmin that lies would have it: a row that nobody reports, and one that is gone unseen.
    bronze = platform.lake.bronze("totesys", SOURCE_TABLE["currency"])
    handle = bronze.open()
    assert handle is not None
    rows = [
        row | {"currency_id": row["currency_id"] + 7} for row in bronze.scan(handle).read_all().to_pylist()
    ]
    bronze.overwrite(
        handle,
        pa.Table.from_pylist(rows, schema=bronze.arrow_schema),
        stream="platform_assets/totesys",
        version=1,
    )
    found = verify(platform)["currency"]
    assert not found.passed
    assert found.mended is not None
    assert (found.mended.inserted, found.mended.deleted) == (2, 2)
    assert found.after is not None
    assert found.after.equal
    assert current(platform, "currency", "currency_id") == [(1,), (2,)]


def test_a_table_that_cannot_be_read_says_why_and_the_others_are_verified(
    totesys: Totesys, platform: Platform
) -> None:
    platform.extract()
    totesys.run("ALTER TABLE design RENAME COLUMN file_name TO file")
    found = verify(platform)
    assert not found["design"].passed
    assert "has no column file_name" in found["design"].sentence
    assert all(one.passed for name, one in found.items() if name != "design")
