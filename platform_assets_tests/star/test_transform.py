"""The star schema follows from bronze alone: whoever builds it, and how often, gets the same rows."""

from __future__ import annotations

import calendar
import contextlib
import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from platform_assets.errors import LakeError
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets.model.totesys import star
from platform_assets.star.transform import StarBuilder
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import STAR_TABLE, Platform, Totesys, rows_of

pytestmark = pytest.mark.sampled(2)

DAY = dt.date


def second_tick(totesys: Totesys) -> None:
    totesys.run("ALTER TABLE sales_order ALTER created_at TYPE timestamp(6)")
    totesys.update("department", 1, location=None, department_name="Sales & Marketing")
    totesys.update("address", 2, phone="0033", district=None)
    totesys.update("currency", 2, currency_code="ZZQ")
    totesys.insert("sales_order", 5, created_at="2023-03-01 00:00:00", last_updated="2023-03-01 23:59:59.999")
    totesys.insert("sales_order", 4, created_at="2023-03-01 12:00:00.000001")
    totesys.update("sales_order", 4, agreed_delivery_date="2025-01-31")
    totesys.update("sales_order", 2, units_sold=6)


def third_tick(totesys: Totesys) -> None:
    totesys.insert("sales_order", 3, agreed_payment_date="2020-12-31")
    totesys.update("sales_order", 2, units_sold=5)
    totesys.update("staff", 2, department_id=1)
    totesys.update("counterparty", 1, legal_address_id=2)
    totesys.insert("design", 3, design_name="Granite")
    totesys.insert("currency", 3, currency_code="gbp")


def fourth_tick(totesys: Totesys) -> None:
    totesys.delete("payment", 2)
    totesys.delete("transaction", 2)
    totesys.delete("sales_order", 2)
    totesys.delete("design", 3)
    totesys.update("address", 2, city="Wells")
    totesys.update("payment", 1, paid=True, last_updated="2023-03-09 07:55:00")


@dataclass(frozen=True)
class Builds:
    """The star schema of one lake, built three times."""

    by_batch: Platform
    at_once: Platform
    again: Platform


@pytest.fixture(scope="module")
def builds(new_module_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Builds:
    totesys = Totesys.with_rows(new_module_database())
    folder = tmp_path_factory.mktemp("star")
    by_batch = Platform.on_disk(totesys, folder)
    at_once = replace(by_batch, lake=replace(by_batch.lake, processed=str(folder / "at once")))
    by_batch.tick()
    for change in (second_tick, third_tick, fourth_tick):
        change(totesys)
        by_batch.tick()
    at_once.build()
    again = replace(by_batch, lake=replace(by_batch.lake, processed=str(folder / "again")))
    again.build("fact_payment", "dim_staff")
    shutil.rmtree(again.lake.processed)
    # One table after the other, the calendar between the facts that it depends on.
    for name in (
        "fact_sales_order",
        "dim_date",
        "dim_design",
        "fact_payment",
        "fact_purchase_order",
        "dim_date",
    ):
        again.build(name)
    again.build()
    return Builds(by_batch, at_once, again)


@pytest.mark.parametrize("table", [table.name for table in star.TABLES])
def test_several_batches_at_once_give_the_same_rows_as_one_by_one(builds: Builds, table: str) -> None:
    assert builds.at_once.star(table) == builds.by_batch.star(table)
    assert len(builds.at_once.star(table)) > 0


@pytest.mark.parametrize("table", [table.name for table in star.TABLES if table.name != "dim_date"])
def test_a_rebuild_from_bronze_gives_the_same_rows(builds: Builds, table: str) -> None:
    assert builds.again.star(table) == builds.by_batch.star(table)


def test_a_rebuilt_calendar_has_the_same_days(builds: Builds) -> None:
    names = [column.name for column in STAR_TABLE["dim_date"].columns]
    assert rows_of(builds.again.star("dim_date"), *names) == rows_of(builds.by_batch.star("dim_date"), *names)


def test_every_version_is_a_fact_and_record_ids_follow_batch_and_key(builds: Builds) -> None:
    facts = builds.by_batch.star("fact_sales_order")
    assert rows_of(facts, "sales_record_id", "_batch", "sales_order_id", "_change", "units_sold") == [
        (1, 1, 1, "insert", 84754),
        (2, 1, 2, "insert", 5),
        (3, 2, 2, "update", 6),
        (4, 2, 4, "insert", 84754),
        (5, 2, 5, "insert", 84754),
        (6, 3, 2, "update", 5),
        (7, 3, 3, "insert", 84754),
        (8, 4, 2, "delete", 5),
    ]
    payments = builds.by_batch.star("fact_payment")
    assert rows_of(payments, "payment_record_id", "payment_id", "_change", "paid", "last_updated_time") == [
        (1, 1, "insert", False, "09:30:15.123000"),
        (2, 2, "insert", False, "09:30:15.123000"),
        (3, 3, "insert", False, "09:30:15.123000"),
        (4, 1, "update", True, "07:55:00.000000"),
        (5, 2, "delete", False, "09:30:15.123000"),
    ]


def test_times_have_microseconds_even_where_they_are_zero(builds: Builds) -> None:
    facts = {row["sales_order_id"]: row for row in builds.by_batch.star("fact_sales_order")}
    times = {key: (row["created_time"], row["last_updated_time"]) for key, row in facts.items()}
    assert times[5] == ("00:00:00.000000", "23:59:59.999000")
    assert times[4] == ("12:00:00.000001", "09:30:15.123000")
    loaded = builds.by_batch.query(
        "SELECT created_time FROM star.fact_sales_order WHERE sales_order_id IN (4, 5)"
    )
    assert sorted(loaded) == [(dt.time(0),), (dt.time(12, 0, 0, 1),)]


def test_a_change_of_a_department_reaches_all_its_staff(builds: Builds) -> None:
    names = ("staff_id", "department_name", "location", "_change", "_batch")
    assert rows_of(builds.by_batch.star("dim_staff"), *names) == [
        (1, "Sales & Marketing", "Unknown", "update", 2),
        (2, "Sales & Marketing", "Unknown", "update", 3),
    ]


def test_a_change_of_an_address_reaches_the_companies_and_the_location(builds: Builds) -> None:
    names = ("counterparty_id", "counterparty_legal_city", "counterparty_legal_phone_number", "_batch")
    assert rows_of(builds.by_batch.star("dim_counterparty"), *names) == [
        (1, "Wells", "0033", 4),
        (2, "Wells", "0033", 4),
    ]
    [_, location] = builds.by_batch.star("dim_location")
    assert {
        name: location[name] for name in ("location_id", "address_line_2", "district", "city", "phone")
    } == {
        "location_id": 2,
        "address_line_2": "Mill Floor",
        "district": None,
        "city": "Wells",
        "phone": "0033",
    }
    assert (location["_change"], location["_batch"]) == ("update", 4)


def test_a_deleted_row_of_a_dimension_stays_and_says_so(builds: Builds) -> None:
    assert rows_of(builds.by_batch.star("dim_design"), "design_id", "design_name", "_change", "_batch") == [
        (1, "Wooden", "insert", 1),
        (2, "Bronze", "insert", 1),
        (3, "Granite", "delete", 4),
    ]
    transactions = builds.by_batch.star("dim_transaction")
    assert rows_of(transactions, "transaction_id", "sales_order_id", "_change") == [
        (1, 1, "insert"),
        (2, 2, "delete"),
        (3, None, "insert"),
    ]


def test_a_currency_that_nobody_knows_has_its_code_for_a_name(builds: Builds) -> None:
    assert rows_of(builds.by_batch.star("dim_currency"), "currency_code", "currency_name") == [
        ("GBP", "British Pound"),
        ("ZZQ", "ZZQ"),
        ("gbp", "gbp"),
    ]


def test_the_calendar_has_all_days_of_whole_years_in_both_directions(builds: Builds) -> None:
    days = builds.by_batch.star("dim_date")
    expected = []
    first = DAY(2020, 1, 1)
    for offset in range((DAY(2026, 1, 1) - first).days):
        day = first + dt.timedelta(days=offset)
        expected.append(
            (
                day,
                day.year,
                day.month,
                day.day,
                day.isoweekday(),
                calendar.day_name[day.weekday()],
                calendar.month_name[day.month],
                (day.month + 2) // 3,
                "insert",
            )
        )
    names = [column.name for column in STAR_TABLE["dim_date"].columns]
    assert rows_of(days, *names, "_change") == expected


def test_each_year_of_the_calendar_is_of_the_batch_that_first_needed_it(builds: Builds) -> None:
    batches = {(row["year"], row["_batch"]) for row in builds.by_batch.star("dim_date")}
    assert batches == {(2020, 3), (2021, 3), (2022, 3), (2023, 1), (2024, 2), (2025, 2)}


def test_the_views_of_the_warehouse_say_what_is_and_what_was(builds: Builds) -> None:
    current = builds.by_batch.query(
        "SELECT sales_order_id, sales_record_id, units_sold FROM star.fact_sales_order_current ORDER BY ALL"
    )
    assert current == [(1, 1, 84754), (3, 7, 84754), (4, 4, 84754), (5, 5, 84754)]
    history = builds.by_batch.query(
        "SELECT units_sold, change, valid_from, valid_to FROM star.fact_sales_order_history "
        "WHERE sales_order_id = 2 ORDER BY sales_record_id"
    )
    assert [row[:2] for row in history] == [(5, "insert"), (6, "update"), (5, "update"), (5, "delete")]
    assert [row[3] for row in history] == [*(row[2] for row in history[1:]), None]
    assert [row[2] for row in history] == sorted(row[2] for row in history)


def test_a_build_that_finds_nothing_new_writes_nothing(builds: Builds) -> None:
    before = builds.by_batch.files()
    changes = builds.by_batch.build()
    assert builds.by_batch.files() == before
    assert {change.rows_written for change in changes.values()} == {0}
    assert changes["fact_sales_order"].row_count == 8


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_database())


@pytest.fixture
def platform(totesys: Totesys, tmp_path: Path) -> Platform:
    return Platform.on_disk(totesys, tmp_path)


@dataclass(frozen=True)
class Overtaken(SqlEngine):
    """An engine that, when it is first used, lets somebody else go first."""

    meanwhile: Callable[[], object] = list
    used: list[bool] = None  # type: ignore[assignment]

    @contextlib.contextmanager
    def connect(
        self, database: Path | None = None, *, read_only: bool = False, trusted: bool = True
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        if not self.used:
            self.used.append(True)
            self.meanwhile()
        with super().connect(database, read_only=read_only, trusted=trusted) as connection:
            yield connection


@pytest.mark.parametrize("table", ["fact_payment", "dim_design", "dim_staff"])
@pytest.mark.parametrize("exists", [False, True], ids=["a new table", "a table with rows"])
def test_of_two_builders_at_once_one_finds_nothing_left_to_do_and_the_rows_are_right(
    totesys: Totesys, platform: Platform, table: str, exists: bool
) -> None:
    platform.extract()
    if exists:
        platform.build()
        totesys.update("design", 1, design_name="Steel")
        totesys.insert("design", 9)
        totesys.update("staff", 1, last_name="D'Arcy")
        totesys.update("payment", 1, paid=True)
        platform.extract()
    expected = replace(platform, lake=replace(platform.lake, processed=platform.lake.processed + " expected"))
    engine = Overtaken(256, 2, platform.engine.spill_directory, lambda: platform.build(table), [])
    slow = StarBuilder(platform.lake, star.STAR, engine)
    assert slow.build([STAR_TABLE[table]])[table].rows_written == 0
    expected.build(table)
    assert platform.star(table) == expected.star(table)
    assert slow.build([STAR_TABLE[table]])[table].rows_written == 0


def test_a_builder_that_died_between_two_tables_is_continued(totesys: Totesys, platform: Platform) -> None:
    platform.extract()
    platform.build("fact_payment", "dim_currency")
    totesys.update("payment", 1, paid=True)
    platform.extract()
    platform.build("fact_payment")
    changes = platform.build()
    assert changes["fact_payment"].rows_written == 0
    assert changes["fact_sales_order"].rows_written == 2
    assert rows_of(platform.star("fact_payment"), "payment_record_id", "_batch") == [
        (1, 1),
        (2, 1),
        (3, 1),
        (4, 2),
    ]


@pytest.mark.parametrize("ahead", [False, True], ids=["with fewer batches", "with more batches"])
def test_a_processed_zone_of_another_lake_is_refused(
    totesys: Totesys, platform: Platform, tmp_path: Path, ahead: bool
) -> None:
    platform.extract()
    if ahead:
        totesys.update("design", 1, design_name="Steel")
        platform.extract()
    platform.build()
    other = Platform.on_disk(totesys, tmp_path / "other")
    other.extract()
    totesys.update("design", 1, design_name="Granite")
    totesys.update("payment", 1, paid=True)
    if not ahead:
        other.extract()
    mixed = replace(other, lake=Lake(other.lake.ingestion, platform.lake.processed))
    before = mixed.files()
    with pytest.raises(LakeError, match="does not belong to the lake in"):
        mixed.build()
    assert mixed.files() == before


def test_a_source_table_that_was_never_extracted_leaves_its_star_tables_empty(platform: Platform) -> None:
    platform.extract("staff", "currency")
    changes = platform.build()
    assert {name: change.row_count for name, change in changes.items() if change.row_count} == {
        "dim_currency": 2
    }
    platform.extract("department")
    assert platform.build("dim_staff")["dim_staff"].row_count == 2


def without_department(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return rows_of(rows, "staff_id", "last_name")


def test_a_new_row_whose_other_side_comes_with_a_later_batch_is_not_lost(
    totesys: Totesys, platform: Platform
) -> None:
    platform.tick()
    totesys.insert("department", 3)
    totesys.insert("staff", 3, department_id=3)
    totesys.update("staff", 1, last_name="D'Arcy")
    platform.extract("staff")
    platform.build("dim_staff")
    assert without_department(platform.star("dim_staff")) == [(1, "D'Arcy"), (2, "Beier")]
    platform.extract("department")
    platform.build("dim_staff")
    assert without_department(platform.star("dim_staff")) == [(1, "D'Arcy"), (2, "Beier"), (3, "O'Hara")]
