"""The checks of the star schema fail where rows break what is declared, in a run and by themselves."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from platform_assets.lake.checks import check_rows
from platform_assets.lake.rules import RULES_OF_CHECK, row_checks
from platform_assets.model.table import Column, Integer, Table, Text, Timestamp
from platform_assets.model.table import Decimal as DecimalType
from platform_assets.model.totesys import star
from platform_assets.star.verify import StarVerifier
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import STAR_TABLE, Platform, Totesys, failed_checks, failures

pytestmark = pytest.mark.sampled(2)

EXPECTED_CHECKS = {
    "fact_sales_order": {"primary_key", "record_ids_dense", "not_null", "foreign_key"},
    "fact_purchase_order": {"primary_key", "record_ids_dense", "not_null", "foreign_key"},
    "fact_payment": {"primary_key", "record_ids_dense", "not_null", "foreign_key"},
    "dim_date": {"primary_key", "not_null", "accepted_values"},
    "dim_staff": {"primary_key", "not_null"},
    "dim_location": {"primary_key", "not_null"},
    "dim_currency": {"primary_key", "not_null"},
    "dim_design": {"primary_key", "not_null"},
    "dim_counterparty": {"primary_key", "not_null"},
    "dim_transaction": {"primary_key", "not_null", "accepted_values"},
    "dim_payment_type": {"primary_key", "not_null", "accepted_values"},
}


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_database())


@pytest.fixture
def platform(totesys: Totesys, tmp_path: Path) -> Platform:
    return Platform.on_disk(totesys, tmp_path)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def tamper(platform: Platform, table: str, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Rewrite a star table behind the platform's back."""
    target = platform.lake.star(STAR_TABLE[table])
    rows = platform.star(table)
    change(rows)
    write_deltalake(
        DeltaTable(target.uri), pa.Table.from_pylist(rows, schema=target.arrow_schema), mode="overwrite"
    )


@dataclass(frozen=True)
class Tampering:
    table: str
    change: Callable[[list[dict[str, Any]]], object]
    failed: dict[str, int]


def set_value(row: int, **values: object) -> Callable[[list[dict[str, Any]]], object]:
    return lambda rows: rows[row].update(values)


TAMPERINGS = {
    "a record id twice": Tampering("fact_payment", set_value(1, payment_record_id=1), {"primary_key": 1}),
    "a gap in the record ids": Tampering(
        "fact_payment", set_value(2, payment_record_id=9), {"record_ids_dense": 1}
    ),
    "a record id of 0": Tampering("fact_payment", set_value(0, payment_record_id=0), {"record_ids_dense": 1}),
    "nulls in a fact": Tampering(
        "fact_payment", lambda rows: [row.update(payment_amount=None) for row in rows], {"not_null": 3}
    ),
    "a null in a dimension": Tampering("dim_design", set_value(0, file_name=None), {"not_null": 1}),
    "a key of a dimension twice": Tampering("dim_staff", set_value(1, staff_id=1), {"primary_key": 1}),
    "a fact that points to nothing": Tampering(
        "fact_payment", set_value(0, currency_id=77), {"foreign_key": 1}
    ),
    "a date that the calendar lacks": Tampering(
        "fact_payment", set_value(0, payment_date=dt.date(2050, 1, 1)), {"foreign_key": 1}
    ),
    "a value that is not accepted": Tampering(
        "dim_transaction", set_value(0, transaction_type="GIFT"), {"accepted_values": 1}
    ),
    "a thirteenth month": Tampering("dim_date", set_value(0, month=13), {"accepted_values": 1}),
    "an eighth and a zeroth day of the week": Tampering(
        "dim_date",
        lambda rows: (rows[5].update(day_of_week=0), rows[6].update(day_of_week=8)),
        {"accepted_values": 2},
    ),
}


@pytest.fixture(scope="module")
def built(new_module_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    platform = Platform.on_disk(
        Totesys.with_rows(new_module_database()), tmp_path_factory.mktemp("built") / "lake"
    )
    platform.extract()
    platform.build()
    return platform


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_fails_the_check_that_it_concerns_and_no_other(
    built: Platform, tmp_path: Path, name: str
) -> None:
    shutil.copytree(built.lake.processed, tmp_path / "processed")
    platform = replace(built, lake=replace(built.lake, processed=str(tmp_path / "processed")))
    tampering = TAMPERINGS[name]
    tamper(platform, tampering.table, tampering.change)
    with StarVerifier.open(platform.lake, star.STAR, platform.engine) as verifier:
        broken = {
            (table.name, check): verifier.verify(table, check, 0).broken
            for table in star.TABLES
            for check in EXPECTED_CHECKS[table.name]
        }
    found = {key: count for key, count in broken.items() if count}
    expected = {(tampering.table, check): count for check, count in tampering.failed.items()}
    if tampering.change is TAMPERINGS["a key of a dimension twice"].change:
        # The key that went missing is missed by the facts that point to it.
        assert found.pop(("fact_sales_order", "foreign_key")) == 1
    assert found == expected


def test_a_check_by_itself_looks_at_all_rows_and_names_examples(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    platform.tick()
    checks = dg.AssetSelection.checks_for_assets(dg.AssetKey(["star", "fact_payment"]))
    assert failed_checks(platform.run(instance, selection=checks)) == {}
    tamper(platform, "fact_payment", set_value(1, currency_id=77, paid=None))
    run = platform.run(instance, selection=checks)
    assert failed_checks(run) == {
        "star/fact_payment:foreign_key": '1 broken, such as {"payment_record_id":2}',
        "star/fact_payment:not_null": '1 broken, such as {"payment_record_id":2}',
    }
    looked = {evaluation.metadata["looked at"].value for evaluation in run.get_asset_check_evaluations()}
    assert looked == {"all rows"}


def test_in_a_run_a_check_looks_at_what_the_run_wrote(
    totesys: Totesys, platform: Platform, instance: dg.DagsterInstance
) -> None:
    def looked_at() -> dict[str, str]:
        run = platform.run(instance)
        assert run.success
        return {
            evaluation.asset_key.path[-1]: str(evaluation.metadata["looked at"].value)
            for evaluation in run.get_asset_check_evaluations()
            if evaluation.check_name == "primary_key" and evaluation.asset_key.path[0] == "star"
        }

    assert set(looked_at().values()) == {"all rows"}
    totesys.update("payment", 1, paid=True)
    second = looked_at()
    assert second["fact_payment"] == "batches after 1"
    assert second["dim_design"] == "nothing, as none are new"
    assert set(looked_at().values()) == {"nothing, as none are new"}


def test_what_a_blocking_check_held_back_is_not_loaded_by_the_next_run_either(
    totesys: Totesys, platform: Platform, instance: dg.DagsterInstance
) -> None:
    # A broken enforcement in the source hides from the extraction that an order's design was never there.
    platform.run(instance)
    totesys.insert("design", 3)
    totesys.insert("sales_order", 3, design_id=3)
    without_designs = dg.AssetSelection.assets(
        *[["totesys", table] for table in ("sales_order",)],
        *[["star", table.name] for table in star.FACTS],
        *[["warehouse", table.name] for table in star.TABLES],
    )
    for _ in range(2):
        run = platform.run(instance, selection=without_designs)
        assert not run.success
        assert set(failed_checks(run)) == {"star/fact_sales_order:foreign_key"}
        assert "The check foreign_key of star/fact_sales_order failed: 1 broken" in " ".join(failures(run))
        assert platform.query("SELECT max(sales_order_id) FROM star.fact_sales_order") == [(2,)]
    run = platform.run(instance)
    assert (run.success, failed_checks(run)) == (True, {})
    assert platform.query("SELECT max(sales_order_id) FROM star.fact_sales_order") == [(3,)]


def test_a_check_that_a_run_did_not_get_to_is_made_up_for_by_the_next(
    totesys: Totesys, platform: Platform, instance: dg.DagsterInstance
) -> None:
    platform.run(instance)
    totesys.update("payment", 1, paid=True)
    without_checks = dg.AssetSelection.groups("totesys", "star").without_checks()
    assert platform.run(instance, selection=without_checks).success
    tamper(platform, "fact_payment", set_value(3, currency_id=77))
    run = platform.run(instance)
    assert set(failed_checks(run)) == {"star/fact_payment:foreign_key"}


def test_every_table_has_the_checks_that_its_declaration_asks_for(platform: Platform) -> None:
    definitions = platform.definitions()
    found: dict[str, set[str]] = {}
    for key in definitions.resolve_asset_graph().asset_check_keys:
        if key.asset_key.path[0] == "star":
            found.setdefault(key.asset_key.path[1], set()).add(key.name)
    assert found == EXPECTED_CHECKS


RULES = Table(
    "ruled",
    "A row that breaks one rule each.",
    (
        Column("id", Integer()),
        Column("code", Text(3), nullable=True),
        Column("kind", Text(), nullable=True, accepted=("A", "B'C")),
        Column("day", Text(), nullable=True, iso_date=True, minimum=dt.date(2000, 1, 1)),
        Column("price", DecimalType(10, 2), nullable=True, minimum=Decimal("0.01"), maximum=Decimal("9.99")),
        Column("moment", Timestamp(utc=True), nullable=True, maximum=dt.date(2000, 12, 31)),
        Column("parent", Integer(), nullable=True, references="parents"),
    ),
    ("id",),
)


@pytest.mark.parametrize(
    ("row", "broken"),
    [
        ("NULL, NULL, NULL, NULL, NULL, NULL, NULL", {"not_null"}),
        ("1, 'äöü', 'B''C', '2000-01-01', 0.01, '2000-12-31 23:59:59.999999Z', 7", set()),
        ("1, 'four', NULL, NULL, NULL, NULL, NULL", {"accepted_values"}),
        ("1, NULL, 'a', NULL, NULL, NULL, NULL", {"accepted_values"}),
        ("1, NULL, '', NULL, NULL, NULL, NULL", {"accepted_values"}),
        ("1, NULL, NULL, '1999-12-31', NULL, NULL, NULL", {"accepted_values"}),
        ("1, NULL, NULL, '2000-1-1', NULL, NULL, NULL", {"accepted_values"}),
        ("1, NULL, NULL, NULL, 0.00, NULL, NULL", {"accepted_values"}),
        ("1, NULL, NULL, NULL, 10.00, NULL, NULL", {"accepted_values"}),
        ("1, NULL, NULL, NULL, NULL, '2001-01-01 00:00Z', NULL", {"accepted_values"}),
        ("1, NULL, NULL, NULL, NULL, NULL, 8", {"foreign_key"}),
        ("NULL, 'four', NULL, NULL, NULL, NULL, 8", {"not_null", "accepted_values", "foreign_key"}),
    ],
)
def test_each_rule_is_checked_at_its_border(platform: Platform, row: str, broken: set[str]) -> None:
    with platform.engine.connect() as connection:
        connection.execute(
            "CREATE TABLE ruled (id INT, code TEXT, kind TEXT, day TEXT, price DECIMAL(10,2), "
            f"moment TIMESTAMPTZ, parent INT, _batch BIGINT); INSERT INTO ruled VALUES ({row}, 2)"
        )
        assert tuple(row_checks(RULES)) == tuple(RULES_OF_CHECK)
        for after, expected in ((1, broken), (2, set())):
            found = {
                check
                for check in RULES_OF_CHECK
                if not check_rows(
                    connection, "ruled", RULES, check, after=after, parents={"parent": "SELECT 7"}
                ).passed
            }
            assert found == expected
