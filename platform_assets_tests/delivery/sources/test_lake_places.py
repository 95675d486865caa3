"""Assets wherever their tables are: feeds, whose rows may stop counting, and a lake in S3."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform_assets.delivery.sources.assets import AssetSource
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake, current_source_table, current_star_table
from platform_assets.model.star_model import STREAM
from platform_assets_tests.delivery.sources.house import rows_of
from platform_assets_tests.feeds.test_feeds import ORDERS, Inbox, make_inbox
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.totesys import SOURCE_TABLE, STAR_TABLE, Platform, Totesys


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return make_inbox(tmp_path)


def feed_source(inbox: Inbox, query: str | None = None) -> AssetSource:
    feeds = inbox.feeds
    zones = [feeds.lake.ingestion, feeds.lake.processed]

    def table(key: str) -> object:
        return feeds.counting(ORDERS).current_table()

    return AssetSource("orders", ("uploads/orders",), query, table, feeds.engine, zones)  # type: ignore[arg-type]


def test_a_feed_has_the_rows_that_count_and_another_version_with_them(inbox: Inbox) -> None:
    source = feed_source(inbox)
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\n2,2,b\n")
    inbox.put("orders/2.csv", "id,amount,note\n3,3,c\n")
    inbox.load(ORDERS, "orders/1.csv", "orders/2.csv")
    assert sorted(row["id"] for row in rows_of(source)) == [1, 2, 3]
    assert list(rows_of(source)[0]) == ["id", "amount", "note"]
    before = source.version()
    inbox.put("orders/1.csv", "id,amount,note\n9,9,z\n")
    inbox.load(ORDERS, "orders/1.csv")
    overwritten = source.version()
    assert sorted(row["id"] for row in rows_of(source)) == [3, 9]
    inbox.withdraw(ORDERS, "orders/2.csv")
    assert len({before, overwritten, source.version()}) == 3
    assert [row["id"] for row in rows_of(source)] == [9]


def test_a_refused_object_does_not_make_another_version_of_a_feed(inbox: Inbox) -> None:
    source = feed_source(inbox)
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\n")
    inbox.load(ORDERS, "orders/1.csv")
    before = source.version()
    inbox.put("orders/2.csv", b"\xff\xfe\x00")
    inbox.load(ORDERS, "orders/2.csv")
    assert source.version() == before


def test_a_query_reads_a_feed_by_its_name(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n1,1.5,a\n2,2,b\n")
    inbox.load(ORDERS, "orders/1.csv")
    query = """SELECT sum(amount) AS total, (SELECT count(*) FROM "uploads/orders" WHERE _line > 0) AS n
        FROM uploads.orders"""
    [found] = rows_of(feed_source(inbox, query))
    assert (float(found["total"]), found["n"]) == (3.5, 2)


def test_a_lake_in_s3_is_queried_as_one_on_disk(
    new_database: NewDatabase, s3_server: S3Server, tmp_path: Path
) -> None:
    totesys = Totesys.with_rows(new_database())
    zones = [f"s3://{s3_server.create_bucket(zone)}/platform" for zone in ("ingestion", "processed")]
    lake = Lake(*zones, lambda: s3_server.storage_options)
    platform = Platform.over(totesys, lake, tmp_path)
    platform.extract()
    platform.build("dim_staff")
    tables = {
        "star/dim_staff": lambda: current_star_table(lake, STAR_TABLE["dim_staff"], STREAM),
        "totesys/staff": lambda: current_source_table(lake, "totesys", SOURCE_TABLE["staff"]),
    }
    source = AssetSource(
        "staff",
        tuple(tables),
        "SELECT staff.last_name, department_id FROM dim_staff JOIN staff USING (staff_id) ORDER BY 1 DESC",
        lambda key: tables[key](),
        SqlEngine(256, 2, tmp_path / "spill"),
        (),
    )
    assert source.version() == source.version()
    assert rows_of(source) == [
        {"last_name": "O'Hara", "department_id": 1},
        {"last_name": "Beier", "department_id": 2},
    ]
