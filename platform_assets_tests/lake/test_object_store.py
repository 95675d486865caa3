"""The lake on an object store is the lake on local disk, and says in words when the store refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from platform_assets.errors import LakeError
from platform_assets.lake.lake import Lake
from platform_assets.model.totesys import star
from platform_assets.model.totesys.source import TABLES
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.totesys import Platform, Totesys, failed_checks, failures

pytestmark = pytest.mark.sampled(2)

WRONG_SECRET = "not/the+secret=that/opens=it"


def on_s3(totesys: Totesys, server: S3Server, folder: Path) -> Platform:
    zones = [f"s3://{server.create_bucket(zone)}/platform" for zone in ("ingestion", "processed")]
    return Platform.over(totesys, Lake(*zones, lambda: server.storage_options), folder)


def keys(platform: Platform, server: S3Server) -> list[str]:
    buckets = [zone.split("/")[2] for zone in (platform.lake.ingestion, platform.lake.processed)]
    return [key for bucket in buckets for key in server.keys(bucket)]


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "_seen_at"} for row in rows]


@pytest.fixture(scope="module")
def both(
    new_module_database: NewDatabase, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Platform, Platform]:
    """The same two ticks of one source on S3 and on local disk, with edits, deletions and dead letters."""
    totesys = Totesys.with_rows(new_module_database())
    totesys.run("ALTER TABLE address ALTER city DROP NOT NULL")
    platforms = (
        on_s3(totesys, s3_server, tmp_path_factory.mktemp("s3")),
        Platform.on_disk(totesys, tmp_path_factory.mktemp("disk")),
    )

    def tick() -> None:
        for platform in platforms:
            platform.tick()

    totesys.insert("address", 3, city=None)
    totesys.insert("sales_order", 3, agreed_delivery_location_id=3)
    tick()
    totesys.update("address", 3, city="Bath")
    totesys.update("sales_order", 2, units_sold=6, unit_price="0.01")
    totesys.update("department", 1, location=None)
    totesys.update("sales_order", 1, agreed_payment_date="2031-01-01")
    totesys.delete("payment", 3)
    tick()
    return platforms


@pytest.mark.parametrize("table", [table.name for table in TABLES])
def test_bronze_is_the_same_on_s3_and_on_disk(both: tuple[Platform, Platform], table: str) -> None:
    s3, disk = both
    assert without_times(s3.bronze(table)) == without_times(disk.bronze(table))
    assert len(s3.bronze(table)) > 0


@pytest.mark.parametrize("table", [table.name for table in star.TABLES])
def test_the_star_schema_and_the_warehouse_are_the_same_on_s3_and_on_disk(
    both: tuple[Platform, Platform], table: str
) -> None:
    s3, disk = both
    assert without_times(s3.star(table)) == without_times(disk.star(table))
    rows = f"SELECT * EXCLUDE (_seen_at) FROM star.{table} ORDER BY ALL"
    assert s3.query(rows) == disk.query(rows)
    assert len(s3.query(rows)) > 0


def test_dead_letters_are_the_same_on_s3_and_on_disk(both: tuple[Platform, Platform]) -> None:
    s3, disk = both
    assert without_times(s3.dead_letters()) == without_times(disk.dead_letters())
    assert [letter["table"] for letter in s3.dead_letters()] == ["address", "sales_order"]
    assert s3.broken() == disk.broken() == {}


def test_a_tick_that_finds_nothing_changed_writes_no_object(
    both: tuple[Platform, Platform], s3_server: S3Server
) -> None:
    s3, _ = both
    before = keys(s3, s3_server)
    assert s3.tick().batch == 2
    assert keys(s3, s3_server) == before


def test_the_two_zones_hold_what_they_are_for(both: tuple[Platform, Platform], s3_server: S3Server) -> None:
    s3, _ = both
    tables = {"/".join(key.split("/")[1:3]) for key in keys(s3, s3_server) if not key.endswith("_$folder$")}
    bronze = {f"totesys/{table.name}" for table in TABLES}
    stars = {f"star/{table.name}" for table in star.TABLES}
    assert {table for table in tables if not table.startswith(("_ledger", "_dead_letters"))} == bronze | stars


def test_checks_pass_on_s3(both: tuple[Platform, Platform]) -> None:
    s3, _ = both
    tables = (["totesys", "sales_order"], ["star", "fact_sales_order"], ["star", "dim_date"])
    assets = [dg.AssetKey(table) for table in tables] + [dg.AssetKey(["warehouse", "fact_sales_order"])]
    checks = dg.AssetSelection.checks_for_assets(*assets) - dg.AssetSelection.checks(
        *(dg.AssetCheckKey(key, "freshness") for key in assets if key.path[0] in ("totesys", "warehouse"))
    )
    with dg.DagsterInstance.ephemeral() as instance:
        run = s3.run(instance, selection=checks)
    assert (run.success, failed_checks(run)) == (True, {})
    assert len(run.get_asset_check_evaluations()) == 14


@pytest.mark.parametrize(
    "attempt",
    [
        lambda platform: platform.extract(),
        lambda platform: platform.build(),
        lambda platform: platform.load(),
        lambda platform: platform.lake.ledger.read(),
        lambda platform: platform.lake.star(star.DIM_DATE).open(),
    ],
    ids=["extract", "build", "load", "ledger", "open"],
)
def test_a_wrong_secret_is_a_clear_error_without_the_secret(
    both: tuple[Platform, Platform],
    s3_server: S3Server,
    tmp_path: Path,
    attempt: Callable[[Platform], object],
) -> None:
    s3, _ = both
    options = s3_server.storage_options | {"AWS_SECRET_ACCESS_KEY": WRONG_SECRET}
    lake = Lake(s3.lake.ingestion, s3.lake.processed, lambda: options)
    platform = Platform(s3.source, lake, s3.engine, s3.warehouse)
    with pytest.raises(LakeError) as error:
        attempt(platform)
    message = str(error.value)
    assert "s3://" in message
    assert "403 Forbidden: SignatureDoesNotMatch" in message
    assert "lake.storage_options" in message
    assert not error.value.retryable
    for text in (message, repr(error.value), repr(platform)):
        assert WRONG_SECRET not in text
        assert s3_server.secret_access_key not in text
    assert "\x1b" not in message
    assert "\n" not in message


def test_a_run_with_a_wrong_secret_fails_at_once_in_one_sentence(
    both: tuple[Platform, Platform], s3_server: S3Server
) -> None:
    s3, _ = both
    options = s3_server.storage_options | {"AWS_SECRET_ACCESS_KEY": WRONG_SECRET}
    lake = Lake(s3.lake.ingestion, s3.lake.processed, lambda: options)
    with dg.DagsterInstance.ephemeral() as instance:
        run = Platform(s3.source, lake, s3.engine, s3.warehouse).run(instance)
        [failure] = failures(run)
        events = "\n".join(str(entry) for entry in instance.all_logs(run.run_id))
    assert failure.startswith(f"The lake table {s3.lake.ingestion}/_ledger cannot be read: ")
    assert WRONG_SECRET not in events
    assert "STEP_UP_FOR_RETRY" not in events


def test_a_bucket_that_does_not_exist_is_named(
    both: tuple[Platform, Platform], s3_server: S3Server, tmp_path: Path
) -> None:
    s3, _ = both
    lake = Lake("s3://no-such-bucket/a", "s3://no-such-bucket/b", lambda: s3_server.storage_options)
    with pytest.raises(LakeError, match="no-such-bucket"):
        Platform(s3.source, lake, s3.engine, s3.warehouse).extract("currency")
