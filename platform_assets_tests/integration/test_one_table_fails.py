"""A table that fails in a run of the main job, wherever on its way, fails the run and no other table."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from deltalake import write_deltalake

from platform_assets.lake.delta import LakeTable
from platform_assets.model.star_model import StarModel
from platform_assets.source.dead_letters import DeadLetters
from platform_assets.warehouse.duckdb import _Session
from platform_assets_tests.fixtures.poison import OwnError, PanicException, poison_call
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import (
    SOURCE_TABLE,
    Platform,
    Totesys,
    failed_checks,
    failures,
)


def test_each_that_fails_is_told_with_its_reason_all_others_land_and_the_next_run_catches_up(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    totesys = Totesys.with_rows(new_database())
    platform = Platform.on_disk(totesys, tmp_path)
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        assert platform.run(instance).success
        totesys.insert("currency", 50, currency_code="CHF")
        totesys.insert("design", 50, design_name="Granite")
        totesys.insert("department", 50, department_name="Research")
        totesys.insert("payment_type", 50, payment_type_name="PURCHASE_REFUND")
        totesys.update("staff", 1, first_name="Ada")
        with pytest.MonkeyPatch.context() as patch:
            poison_call(
                patch,
                DeadLetters,
                "set_apart",
                lambda _, table, __: table.name == "currency",
                OverflowError("date value out of range"),
            )
            poison_call(
                patch,
                StarModel,
                "select_of",
                lambda _, table: table.name == "dim_design",
                OwnError("unforeseen"),
            )
            poison_call(
                patch,
                _Session,
                "record",
                lambda _, incoming, __: incoming.table.name == "dim_staff",
                PanicException("called `Option::unwrap()` on a `None` value"),
            )
            result = platform.run(instance)
        assert not result.success
        told = " ".join(failures(result))
        for table, reason in (
            ("totesys/currency", "unexpected error OverflowError: date value out of range"),
            ("star/dim_design", "OwnError: unforeseen"),
            ("warehouse/dim_staff", "PanicException: called `Option::unwrap()`"),
        ):
            assert table in told
            assert reason in told
        assert [name for name in failed_checks(result) if "source_schema" in name] == [
            "totesys/currency:source_schema"
        ]
        # All else landed, in one run: what failed is what it was.
        assert platform.query("FROM star.dim_payment_type WHERE payment_type_id = 50") != []
        assert platform.query("FROM star.dim_currency WHERE currency_id = 50") == []
        assert platform.query("FROM star.dim_design WHERE design_id = 50") == []
        assert platform.query("FROM star.dim_staff WHERE first_name = 'Ada'") == []
        again = platform.run(instance)
        assert again.success
        assert failures(again) == []
        assert platform.query("SELECT currency_code FROM star.dim_currency WHERE currency_id = 50") == [
            ("CHF",)
        ]
        assert platform.query("SELECT design_name FROM star.dim_design WHERE design_id = 50") == [
            ("Granite",)
        ]
        assert len(platform.query("FROM star.dim_staff WHERE first_name = 'Ada'")) == 1


def test_a_star_table_that_fails_in_a_run_of_the_star_alone_fails_its_step(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    totesys = Totesys.with_rows(new_database())
    platform = Platform.on_disk(totesys, tmp_path)
    platform.extract()
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        selection = dg.AssetSelection.groups("star").without_checks()
        with pytest.MonkeyPatch.context() as patch:
            poison_call(
                patch,
                LakeTable,
                "append",
                lambda table, *_, **__: table.uri.endswith("star/dim_design"),
                OwnError("unforeseen"),
            )
            result = platform.run(instance, selection=selection)
        assert not result.success
        [told] = failures(result)
        assert "star/dim_design: unexpected error" in told
        assert len(platform.star("dim_currency")) == 2
        assert platform.run(instance, selection=selection).success
        assert len(platform.star("dim_design")) == 2


def doubled(platform: Platform, table: str) -> None:
    """Write the rows of a bronze table a second time, as something else than the platform may."""
    bronze = platform.lake.bronze("totesys", SOURCE_TABLE[table])
    handle = bronze.open()
    assert handle is not None
    write_deltalake(handle, bronze.scan(handle).read_all(), mode="append")


def test_a_source_table_whose_check_fails_holds_back_what_reads_it_and_fails_the_run(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    totesys = Totesys.with_rows(new_database())
    platform = Platform.on_disk(totesys, tmp_path)
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        platform.extract()
        doubled(platform, "design")
        result = platform.run(instance)
        assert not result.success
        [told] = failures(result)
        assert "star/dim_design: The check primary_key of totesys/design failed: 2 broken" in told
        assert set(failed_checks(result)) == {
            "totesys/design:primary_key",
            "star/fact_sales_order:foreign_key",
            "warehouse/fact_sales_order:matches_lake",
        }
        assert "warehouse/fact_sales_order: The check foreign_key of star/fact_sales_order failed" in told
        loaded = {status.table: status.row_count for status in platform.warehouse.status()}
        assert loaded["fact_payment"] > 0
        assert loaded["dim_currency"] > 0
        assert loaded.get("dim_design", 0) == loaded.get("fact_sales_order", 0) == 0
        # Where nothing of the run reads the source's tables, the step itself fails.
        selection = dg.AssetSelection.groups("totesys")
        alone = platform.run(instance, selection=selection)
        assert not alone.success
        assert "totesys/design: The check primary_key of totesys/design failed" in " ".join(failures(alone))
