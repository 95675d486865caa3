"""Rows that break a declared rule are set apart; every other row goes on, and what is mended follows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from platform_assets.model.totesys.source import TABLES
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import Platform, Totesys, failed_checks, rows_of

pytestmark = pytest.mark.sampled(2)

# What lets the bad rows into the source at all.
LOOSENINGS = (
    "ALTER TABLE address ALTER city DROP NOT NULL",
    "ALTER TABLE sales_order ALTER staff_id DROP NOT NULL",
    "ALTER TABLE currency ALTER currency_code TYPE text",
    """ALTER TYPE "PaymentTypeName" ADD VALUE 'BARTER'""",
    """ALTER TYPE "TransactionType" ADD VALUE 'GIFT'""",
    "ALTER TABLE sales_order DROP CONSTRAINT sales_order_design_id_fkey",
    "ALTER TABLE payment DROP CONSTRAINT payment_transaction_id_fkey",
)


@dataclass(frozen=True)
class Bad:
    """A row that breaks rules, and the reason that its dead letter gives."""

    table: str
    key: int
    reason: str
    values: dict[str, Any] = field(default_factory=dict)


def bad_date(key: int, text: str, rule: str = "iso_date") -> Bad:
    return Bad("sales_order", key, f"{rule}(agreed_delivery_date)", {"agreed_delivery_date": text})


BAD = (
    bad_date(101, "2023-2-3"),
    bad_date(102, "2023-02-30"),
    bad_date(103, "2023/02/03"),
    bad_date(104, ""),
    bad_date(105, " 2023-02-03"),
    bad_date(106, "20230203"),
    bad_date(107, "2023-02-03 00:00:00"),
    bad_date(108, "tomorrow; DROP TABLE sales_order --'\""),
    bad_date(109, "+2023-02-03"),
    bad_date(110, "２０２３-02-03"),  # noqa: RUF001 - digits that are not ASCII
    bad_date(111, "infinity", "iso_date(agreed_delivery_date); range"),
    bad_date(116, "10000-01-01", "iso_date(agreed_delivery_date); range"),
    bad_date(117, "0000-01-01", "iso_date(agreed_delivery_date); range"),
    bad_date(118, "2023-02-3\t"),
    bad_date(112, "0001-01-01", "range"),
    bad_date(113, "9999-12-31", "range"),
    bad_date(114, "1969-12-31", "range"),
    bad_date(115, "2200-01-01", "range"),
    Bad("sales_order", 121, "not_null(staff_id)", {"staff_id": None}),
    Bad("sales_order", 122, "range(units_sold)", {"units_sold": -1}),
    Bad("sales_order", 123, "range(unit_price)", {"unit_price": Decimal("-0.01")}),
    Bad("sales_order", 124, "not_null(unit_price)", {"unit_price": "NaN"}),
    Bad("sales_order", 125, "foreign_key(design_id)", {"design_id": 999}),
    Bad("sales_order", 126, "not_null(created_at)", {"created_at": "infinity"}),
    Bad("sales_order", 127, "range(last_updated)", {"last_updated": "2200-01-01 00:00:00"}),
    Bad("sales_order", 128, "range(created_at)", {"created_at": "1969-12-31 23:59:59.999"}),
    Bad(
        "sales_order",
        129,
        "foreign_key(design_id); not_null(staff_id); range(units_sold); iso_date(agreed_payment_date)",
        {"design_id": 998, "staff_id": None, "units_sold": -5, "agreed_payment_date": "soon"},
    ),
    Bad("address", 51, "not_null(city)", {"city": None, "address_line_1": "The \"Old\" Mill, 'Æble' ¶"}),
    Bad("currency", 51, "max_length(currency_code)", {"currency_code": "EURO"}),
    Bad("payment_type", 51, "accepted_values(payment_type_name)", {"payment_type_name": "BARTER"}),
    Bad("transaction", 51, "accepted_values(transaction_type)", {"transaction_type": "GIFT"}),
    # What points to a row that is set apart is set apart with it.
    Bad("counterparty", 51, "foreign_key(legal_address_id)", {"legal_address_id": 51}),
    Bad("sales_order", 131, "foreign_key(counterparty_id)", {"counterparty_id": 51}),
    Bad("sales_order", 132, "foreign_key(agreed_delivery_location_id)", {"agreed_delivery_location_id": 51}),
    Bad("sales_order", 133, "foreign_key(currency_id)", {"currency_id": 51}),
    Bad("transaction", 52, "foreign_key(sales_order_id)", {"sales_order_id": 101}),
    Bad("payment", 52, "foreign_key(transaction_id)", {"transaction_id": 52}),
    Bad("payment", 53, "foreign_key(transaction_id)", {"transaction_id": 777}),
)
# Values at the edge of what is allowed: not one of them is a dead letter.
GOOD = (
    Bad("sales_order", 151, "", {"agreed_delivery_date": "1970-01-01", "agreed_payment_date": "2199-12-31"}),
    Bad("sales_order", 152, "", {"agreed_delivery_date": "2024-02-29", "units_sold": 0, "unit_price": 0}),
    Bad("sales_order", 153, "", {"created_at": "2199-12-31 23:59:59.999", "last_updated": "1970-01-01"}),
    Bad("currency", 52, "", {"currency_code": "é€ß"}),
    Bad("address", 52, "", {"city": "", "address_line_1": "'; DROP TABLE address; --"}),
)
FAILED = {
    "totesys/address:not_null",
    "totesys/counterparty:foreign_key",
    "totesys/currency:accepted_values",
    "totesys/payment:foreign_key",
    "totesys/payment_type:accepted_values",
    "totesys/sales_order:accepted_values",
    "totesys/sales_order:foreign_key",
    "totesys/sales_order:not_null",
    "totesys/transaction:accepted_values",
    "totesys/transaction:foreign_key",
}


@dataclass(frozen=True)
class Aftermath:
    """A platform after a run over a source with all the bad rows in it, and after another one."""

    platform: Platform
    first: dg.ExecuteInProcessResult
    second: dg.ExecuteInProcessResult


@pytest.fixture(scope="module")
def aftermath(
    new_module_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Aftermath]:
    totesys = Totesys.with_rows(new_module_database())
    totesys.run(*LOOSENINGS)
    order = [table.name for table in TABLES]
    order.remove("sales_order")
    order.insert(order.index("transaction"), "sales_order")
    with totesys.session() as session:
        for case in sorted((*BAD, *GOOD), key=lambda case: order.index(case.table)):
            session.run(totesys.insert_sql(case.table, case.key, **case.values))
    platform = Platform.on_disk(totesys, tmp_path_factory.mktemp("dead letters"))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Aftermath(platform, platform.run(instance), platform.run(instance))


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad.table}-{bad.key}-{bad.reason}")
def test_a_row_that_breaks_a_rule_is_a_dead_letter_with_its_reason_and_all_its_values(
    aftermath: Aftermath, bad: Bad
) -> None:
    key = json.dumps({f"{bad.table}_id": bad.key}, separators=(",", ":"))
    [letter] = [
        letter
        for letter in aftermath.platform.dead_letters()
        if (letter["table"], letter["key"]) == (bad.table, key)
    ]
    assert (letter["source"], letter["reason"]) == ("totesys", bad.reason)
    assert (letter["_change"], letter["_batch"]) == ("insert", 1)
    row = json.loads(letter["row"])
    [version] = [row for row in aftermath.platform.bronze(bad.table) if row[f"{bad.table}_id"] == bad.key]
    assert list(row) == [name for name in version if not name.startswith("_")]
    lost = {"NaN", "infinity"} if bad.values.get("agreed_delivery_date") != "infinity" else set()
    for name, value in bad.values.items():
        expected = None if value in lost else value
        if name in ("created_at", "last_updated"):
            assert row[name] == expected
        else:
            assert row[name] == (float(expected) if isinstance(expected, Decimal) else expected)


def test_no_other_row_is_a_dead_letter(aftermath: Aftermath) -> None:
    assert len(aftermath.platform.dead_letters()) == len(BAD)


def test_every_other_row_reaches_the_warehouse(aftermath: Aftermath) -> None:
    query = aftermath.platform.query
    assert query("SELECT sales_order_id FROM star.fact_sales_order ORDER BY sales_record_id") == [
        (key,) for key in (1, 2, 151, 152, 153)
    ]
    assert query("SELECT payment_id FROM star.fact_payment_current ORDER BY ALL") == [(1,), (2,), (3,)]
    assert query("SELECT currency_id, currency_name FROM star.dim_currency ORDER BY ALL") == [
        (1, "British Pound"),
        (2, "US Dollar"),
        (52, "é€ß"),
    ]
    assert query("SELECT location_id FROM star.dim_location ORDER BY ALL") == [(1,), (2,), (52,)]
    assert query("SELECT counterparty_id FROM star.dim_counterparty ORDER BY ALL") == [(1,), (2,)]
    assert query("SELECT transaction_id FROM star.dim_transaction ORDER BY ALL") == [(1,), (2,), (3,)]
    assert query("SELECT payment_type_id FROM star.dim_payment_type ORDER BY ALL") == [(1,), (2,)]


def test_the_run_succeeds_and_only_the_checks_of_broken_rules_fail(aftermath: Aftermath) -> None:
    assert aftermath.first.success
    assert set(failed_checks(aftermath.first)) == FAILED
    assert len(aftermath.first.get_asset_check_evaluations()) > 70


def test_a_failed_check_counts_the_rows_and_names_examples(aftermath: Aftermath) -> None:
    failed = failed_checks(aftermath.first)
    assert failed["totesys/currency:accepted_values"] == (
        '1 broken, such as {"currency_id":51}: max_length(currency_code)'
    )
    orders = failed["totesys/sales_order:accepted_values"]
    reasons = ("iso_date", "range", "max_length", "accepted_values")
    count = sum(
        1 for bad in BAD if bad.table == "sales_order" and any(reason in bad.reason for reason in reasons)
    )
    assert orders.startswith(f"{count} broken, such as ")
    assert orders.count('{"sales_order_id":') == 5


def test_a_check_fails_for_as_long_as_the_source_is_not_mended(aftermath: Aftermath) -> None:
    assert aftermath.second.success
    assert set(failed_checks(aftermath.second)) == FAILED


def test_the_runs_say_how_many_rows_were_set_apart(aftermath: Aftermath) -> None:
    def metadata(run: dg.ExecuteInProcessResult) -> dict[str, object]:
        [event] = [
            event.materialization
            for event in run.get_asset_materialization_events()
            if event.asset_key == dg.AssetKey(["totesys", "sales_order"])
        ]
        names = ("dagster/row_count", "inserted", "updated", "deleted", "dead letters", "batch")
        return {name: event.metadata[name].value for name in names}

    count = sum(bad.table == "sales_order" for bad in BAD)
    assert metadata(aftermath.first) == {
        "dagster/row_count": count + 5,
        "inserted": count + 5,
        "updated": 0,
        "deleted": 0,
        "dead letters": count,
        "batch": 1,
    }
    assert metadata(aftermath.second) == {
        "dagster/row_count": count + 5,
        "inserted": 0,
        "updated": 0,
        "deleted": 0,
        "dead letters": 0,
        "batch": 1,
    }


def test_the_second_run_found_nothing_new(aftermath: Aftermath) -> None:
    assert {row["_batch"] for row in aftermath.platform.bronze("sales_order")} == {1}
    assert aftermath.platform.lake.ledger.read().last_batch == 1


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    made = Totesys.with_rows(new_database())
    made.run(*LOOSENINGS)
    return made


@pytest.fixture
def platform(totesys: Totesys, tmp_path: Path) -> Platform:
    return Platform.on_disk(totesys, tmp_path)


def orders(platform: Platform, *columns: str) -> list[tuple[Any, ...]]:
    names = ("sales_order_id", "_change", "_batch", *columns)
    assert platform.query(
        f"SELECT {', '.join(names)} FROM star.fact_sales_order ORDER BY sales_record_id"
    ) == (rows_of(platform.star("fact_sales_order"), *names))
    return rows_of(platform.star("fact_sales_order"), *names)


def test_what_is_mended_at_the_source_is_taken_in_by_the_next_tick_and_its_check_passes(
    totesys: Totesys, platform: Platform
) -> None:
    totesys.insert("sales_order", 3, agreed_delivery_date="2023-02-30")
    with dg.DagsterInstance.ephemeral() as instance:
        assert set(failed_checks(platform.run(instance))) == {"totesys/sales_order:accepted_values"}
        totesys.update("sales_order", 3, agreed_delivery_date="2023-02-28")
        assert failed_checks(platform.run(instance)) == {}
    assert orders(platform)[2:] == [(3, "update", 2)]
    assert len(platform.dead_letters()) == 1


def test_a_row_is_taken_in_when_its_missing_parent_appears_and_the_row_itself_did_not_change(
    totesys: Totesys, platform: Platform
) -> None:
    totesys.insert("sales_order", 3, design_id=77)
    with dg.DagsterInstance.ephemeral() as instance:
        assert set(failed_checks(platform.run(instance))) == {"totesys/sales_order:foreign_key"}
        assert [row[0] for row in orders(platform)] == [1, 2]
        totesys.insert("design", 77)
        assert failed_checks(platform.run(instance)) == {}
    assert orders(platform, "design_id")[2:] == [(3, "update", 2, 77)]
    assert platform.tick().batch == 2


def test_what_points_to_a_dead_letter_waits_with_it_and_follows_when_it_is_mended(
    totesys: Totesys, platform: Platform
) -> None:
    totesys.insert("address", 9, city=None)
    totesys.insert("counterparty", 9, legal_address_id=9)
    totesys.insert("sales_order", 9, counterparty_id=9)
    totesys.insert("transaction", 9, sales_order_id=9)
    totesys.insert("payment", 9, transaction_id=9)
    platform.tick()
    assert platform.broken() == {
        "address:not_null": 1,
        "counterparty:foreign_key": 1,
        "sales_order:foreign_key": 1,
        "transaction:foreign_key": 1,
        "payment:foreign_key": 1,
    }
    totesys.update("address", 9, city="Bath")
    platform.tick()
    assert platform.broken() == {}
    assert orders(platform, "counterparty_id")[2:] == [(9, "update", 2, 9)]
    assert platform.query("SELECT payment_id, _batch FROM star.fact_payment WHERE payment_id = 9") == [(9, 2)]
    assert platform.query(
        "SELECT counterparty_legal_city, _batch FROM star.dim_counterparty WHERE counterparty_id = 9"
    ) == [("Bath", 2)]
    assert len(platform.dead_letters()) == 5


def test_a_dead_letter_whose_row_is_deleted_is_no_longer_reported_and_leaves_no_fact(
    totesys: Totesys, platform: Platform
) -> None:
    totesys.insert("sales_order", 3, units_sold=-3)
    platform.tick()
    assert platform.broken() == {"sales_order:accepted_values": 1}
    totesys.delete("sales_order", 3)
    platform.tick()
    assert platform.broken() == {}
    assert [row[0] for row in orders(platform)] == [1, 2]
    assert platform.versions("sales_order")[2:] == [(1, "insert", 3), (2, "delete", 3)]
    assert platform.extract().batch == 2


def test_a_bad_version_leaves_the_fact_at_its_valid_one_and_a_deletion_repeats_the_valid_values(
    totesys: Totesys, platform: Platform
) -> None:
    totesys.insert("sales_order", 3, units_sold=3)
    platform.tick()
    totesys.update("sales_order", 3, units_sold=-4)
    platform.tick()
    assert platform.broken() == {"sales_order:accepted_values": 1}
    assert orders(platform, "units_sold")[2:] == [(3, "insert", 1, 3)]
    current = "SELECT units_sold FROM star.fact_sales_order_current WHERE sales_order_id = 3"
    assert platform.query(current) == [(3,)]
    totesys.delete("sales_order", 3)
    platform.tick()
    assert platform.broken() == {}
    assert orders(platform, "units_sold")[2:] == [(3, "insert", 1, 3), (3, "delete", 3, 3)]
    assert platform.query(current) == []


def test_a_bad_version_that_is_put_back_as_it_was_leaves_the_values_right(
    totesys: Totesys, platform: Platform
) -> None:
    platform.tick()
    totesys.update("sales_order", 2, agreed_payment_date="2023-13-01")
    platform.tick()
    assert platform.broken() == {"sales_order:accepted_values": 1}
    totesys.update("sales_order", 2, agreed_payment_date="2023-03-09")
    platform.tick()
    assert platform.broken() == {}
    dates = [str(row[3]) for row in orders(platform, "agreed_payment_date") if row[0] == 2]
    assert dates == ["2023-03-09", "2023-03-09"]


def test_a_bad_version_of_a_parent_leaves_its_last_valid_values_and_its_children_alone(
    totesys: Totesys, platform: Platform
) -> None:
    platform.tick()
    totesys.update("address", 2, city=None, phone="0")
    totesys.update("sales_order", 2, units_sold=6)
    totesys.insert("sales_order", 3, agreed_delivery_location_id=2)
    platform.tick()
    assert rows_of(platform.dead_letters(), "table", "reason") == [("address", "not_null(city)")]
    assert orders(platform, "units_sold")[2:] == [(2, "update", 2, 6), (3, "insert", 2, 84754)]
    assert platform.query("SELECT city, phone FROM star.dim_location WHERE location_id = 2") == [
        ("Bath", "0113 496 0000")
    ]


def test_a_dead_letter_that_changes_and_stays_bad_is_one_more_dead_letter(
    totesys: Totesys, platform: Platform
) -> None:
    totesys.insert("sales_order", 3, units_sold=-3)
    platform.tick()
    totesys.update("sales_order", 3, units_sold=-2)
    platform.tick()
    assert rows_of(platform.dead_letters(), "_batch", "_change") == [(1, "insert"), (2, "update")]
    totesys.update("sales_order", 3, units_sold=2)
    platform.tick()
    assert orders(platform, "units_sold")[2:] == [(3, "update", 3, 2)]


def test_a_key_that_was_a_dead_letter_can_be_used_again(totesys: Totesys, platform: Platform) -> None:
    totesys.insert("sales_order", 3, units_sold=-3)
    platform.tick()
    totesys.delete("sales_order", 3)
    platform.tick()
    totesys.insert("sales_order", 3, units_sold=30)
    platform.tick()
    assert orders(platform, "units_sold")[2:] == [(3, "insert", 3, 30)]
