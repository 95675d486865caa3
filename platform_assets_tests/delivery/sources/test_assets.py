"""Assets as a delivery reads them: the rows that count now, and nothing that the query was not given."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from platform_assets.delivery.interfaces import DataSource, DeliveryError
from platform_assets.delivery.values import without_values
from platform_assets.errors import LakeError, WarehouseError
from platform_assets.lake.assembly import LakeRoom
from platform_assets.lake.lake import Lake, current_star_table, write_table
from platform_assets.model.star_model import STREAM
from platform_assets.rooms import Rooms
from platform_assets_tests.delivery.sources.house import rows_of, source_of
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import STAR_TABLE, Platform, Totesys


class Business:
    """A tiny business, its lake and its warehouse."""

    def __init__(self, totesys: Totesys, platform: Platform) -> None:
        self.totesys = totesys
        self.platform = platform


@pytest.fixture(scope="module")
def business(new_module_database: NewDatabase, state: Path) -> Business:
    totesys = Totesys.with_rows(new_module_database())
    platform = Platform.on_disk(totesys, state)
    platform.tick()
    return Business(totesys, platform)


def names(source: DataSource) -> list[str]:
    with source.open() as content:
        [rows] = content
        return list(rows.batches.schema.names)  # type: ignore[union-attr]


def test_a_star_table_has_its_own_columns(business: Business, rooms: Rooms) -> None:
    found = rows_of(source_of(rooms, asset="star/dim_currency"))
    assert sorted((row["currency_code"], row["currency_name"]) for row in found) == [
        ("GBP", "British Pound"),
        ("USD", "US Dollar"),
    ]
    assert list(found[0]) == ["currency_id", "currency_code", "currency_name"]


def test_a_source_table_has_latest_values_and_no_deleted_rows(business: Business, rooms: Rooms) -> None:
    source = source_of(rooms, asset="totesys/department")
    before = source.version()
    assert source.version() == before
    business.totesys.update("department", 1, department_name="Sales & Marketing")
    business.totesys.insert("department", 3)
    business.platform.extract()
    business.totesys.delete("department", 3)
    business.platform.extract()
    after = source.version()
    found = rows_of(source)
    assert sorted((row["department_id"], row["department_name"]) for row in found) == [
        (1, "Sales & Marketing"),
        (2, "Dispatch"),
    ]
    assert not [name for name in found[0] if name.startswith("_")]
    assert after != before


def test_the_version_stays_while_only_other_tables_change(business: Business, rooms: Rooms) -> None:
    source = source_of(rooms, asset="totesys/currency")
    star = source_of(rooms, asset="star/dim_currency")
    before = (source.version(), star.version())
    business.totesys.insert("address", 7)
    business.platform.tick()
    assert (source.version(), star.version()) == before


def test_the_version_stays_when_files_are_merged(business: Business, rooms: Rooms) -> None:
    source = source_of(rooms, asset="star/dim_location")
    before = source.version()
    handle = business.platform.lake.star(business.platform.builder().model.table("dim_location")).open()
    assert handle is not None
    handle.optimize.compact()
    assert source.version() == before


def test_a_query_joins_several_assets_and_its_text_is_part_of_the_version(
    business: Business, rooms: Rooms
) -> None:
    keys = ["star/dim_staff", "totesys/department"]
    query = """
        SELECT first_name, department.department_name AS department FROM star.dim_staff
        JOIN totesys.department USING (department_name) WHERE department_id = 2
    """
    source = source_of(rooms, assets=keys, query=query)
    assert rows_of(source) == [{"first_name": "Deron", "department": "Dispatch"}]
    other = source_of(rooms, assets=keys, query=f"{query} OFFSET 0")
    assert source.version() != other.version()


def test_the_whole_key_in_quotes_has_the_platforms_columns(business: Business, rooms: Rooms) -> None:
    query = 'SELECT count(*) AS n FROM "star/dim_staff" WHERE _batch >= 1'
    assert rows_of(source_of(rooms, asset="star/dim_staff", query=query)) == [{"n": 2}]


def test_what_was_read_is_what_the_version_said(business: Business, rooms: Rooms) -> None:
    source = source_of(rooms, asset="totesys/design")
    source.version()
    business.totesys.insert("design", 9)
    business.platform.extract()
    assert len(rows_of(source)) == 2
    assert len(rows_of(source)) == 3


@pytest.mark.parametrize(
    "query",
    [
        "COPY dim_staff TO '/tmp/stolen.csv'",
        "ATTACH '/tmp/other.db'",
        "INSTALL httpfs",
        "CREATE TABLE t AS FROM dim_staff",
        "DELETE FROM dim_staff",
        "SET memory_limit = '1TB'",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "SELECT 1; SELECT 2",
        "EXPLAIN SELECT 1",
    ],
)
def test_a_query_that_does_more_than_read_is_refused(business: Business, rooms: Rooms, query: str) -> None:
    with pytest.raises(DeliveryError, match="A query of a delivery is one SELECT"):
        rows_of(source_of(rooms, asset="star/dim_staff", query=query))


@pytest.mark.parametrize(
    "query",
    [
        "FROM read_text('/etc/passwd')",
        "FROM read_parquet('{zone}/star/dim_staff/*.parquet')",
        "FROM '{zone}/star/dim_staff/*.parquet'",
        "FROM '/etc/passwd.csv'",
        "FROM glob('/etc/*')",
        "FROM READ_TEXT('/etc/passwd')",
        "FROM main.read_text('/etc/passwd')",
        "SELECT (FROM read_blob('/etc/passwd'))",
        "FROM query('SELECT 1')",
        "SELECT (SELECT count(*) FROM read_csv('/etc/passwd'))",
        "WITH x AS (FROM sniff_csv('/etc/passwd')) FROM x",
        "FROM duckdb_settings()",
        "FROM delta_scan('{zone}/star/dim_staff')",
    ],
)
def test_a_query_reads_nothing_but_its_assets(business: Business, rooms: Rooms, query: str) -> None:
    sql = query.replace("{zone}", business.platform.lake.processed)
    with pytest.raises(DeliveryError, match="A query of a delivery reads assets only"):
        rows_of(source_of(rooms, asset="star/dim_staff", query=sql))


def test_a_query_reads_no_variable_of_the_program(business: Business, rooms: Rooms) -> None:
    stolen = pa.table({"secret": [1]})
    with pytest.raises(DeliveryError, match="Table with name stolen does not exist"):
        rows_of(source_of(rooms, asset="star/dim_staff", query="FROM stolen"))
    assert stolen.num_rows == 1


def test_what_a_query_is_denied_is_not_denied_to_others(business: Business, rooms: Rooms) -> None:
    engine = rooms.of(LakeRoom).engine
    for _ in range(3):
        assert rows_of(source_of(rooms, asset="star/dim_staff", query="SELECT 1 AS n")) == [{"n": 1}]
        with engine.connect() as connection:
            connection.execute("SET threads = 1")
            assert connection.sql("SELECT count(*) FROM read_text('/etc/passwd')").fetchall() == [(1,)]


def test_a_query_may_use_ranges_lists_and_json(business: Business, rooms: Rooms) -> None:
    query = "SELECT r.range AS n, u.unnest AS l FROM range(2) AS r, unnest([7]) AS u ORDER BY 1"
    assert rows_of(source_of(rooms, asset="star/dim_staff", query=query)) == [
        {"n": 0, "l": 7},
        {"n": 1, "l": 7},
    ]


def test_a_mistake_in_the_query_is_told(business: Business, rooms: Rooms) -> None:
    with pytest.raises(DeliveryError, match=r'The query of customers cannot be read: .*"frist_name"'):
        rows_of(source_of(rooms, asset="star/dim_staff", query="SELECT frist_name FROM dim_staff"))
    with pytest.raises(DeliveryError, match="syntax error"):
        rows_of(source_of(rooms, asset="star/dim_staff", query="SELECT FROM WHERE"))


def test_a_mistake_in_a_value_is_told_while_rows_are_read(business: Business, rooms: Rooms) -> None:
    query = "SELECT CAST(first_name AS INTEGER) AS n FROM dim_staff"
    with pytest.raises(
        DeliveryError, match=r"The query of customers cannot be read: .*Could not convert"
    ) as told:
        rows_of(source_of(rooms, asset="star/dim_staff", query=query))
    names = rows_of(source_of(rooms, asset="star/dim_staff", query="SELECT first_name FROM dim_staff"))
    assert not any(row["first_name"] in str(told.value) for row in names)
    assert "column first_name" in str(told.value)


@pytest.mark.parametrize(
    "expression",
    [
        "n::INT", "n::DATE", "n::TIMESTAMPTZ", "n::INT[]", "n::ENUM('a')", "n::JSON", "n::UUID",
        "from_base64(n)",
        "strptime(n, '%Y')", "error(n)", "regexp_replace(n, n || '(', '')", "(n || chr(39) || chr(34))::INT",
        "from_json(n, '[\"INT\"]')", "(length(n) * 1000 + 42)::TINYINT",
        "9223372036854770042 + length(n) * 1000",
        "make_date(length(n)::INT + 32, 13, 1)",
    ],
)  # fmt: skip
def test_messages_of_queries_repeat_no_value(expression: str) -> None:
    with pytest.raises(duckdb.Error) as told:
        duckdb.sql(f"SELECT {expression} FROM (SELECT unnest(['Nancy Wood']) AS n)").fetchall()
    shown, _, _ = without_values(str(told.value)).partition("LINE 1")
    assert shown.startswith(str(told.value).partition(":")[0])
    assert not any(value in shown for value in ("Nancy", "Wood", "42"))


def test_a_users_own_table_is_read_too(business: Business, rooms: Rooms) -> None:
    rows = pa.table({"n": [1, 2]})
    write_table(business.platform.lake, ("mine", "numbers"), rows.to_reader)
    source = source_of(rooms, asset="mine/numbers")
    assert rows_of(source) == [{"n": 1}, {"n": 2}]
    before = source.version()
    write_table(business.platform.lake, ("mine", "numbers"), rows.to_reader)
    assert source.version() != before
    with pytest.raises(LakeError, match="There is no table mine/letters"):
        source_of(rooms, asset="mine/letters").version()


def test_findings_of_the_inspection_are_an_asset(business: Business, rooms: Rooms) -> None:
    source = source_of(rooms, asset="dlp/findings")
    assert rows_of(source) == []
    assert "info_type" in names(source)
    assert source.version() is not None


def test_a_warehouse_query_is_streamed_and_knows_its_version(business: Business, rooms: Rooms) -> None:
    query = "SELECT staff_id FROM star.dim_staff ORDER BY 1"
    source = source_of(rooms, warehouse={"query": query, "reads": ["dim_staff"]})
    assert rows_of(source) == [{"staff_id": 1}, {"staff_id": 2}]
    before = source.version()
    business.totesys.insert("department", 12)
    business.platform.tick()
    assert source.version() == before
    business.totesys.update("staff", 2, first_name="Duncan")
    business.platform.tick()
    assert source.version() != before
    assert source_of(rooms, warehouse=query).version() is None
    with pytest.raises(DeliveryError, match="no table dim_satff"):
        source_of(rooms, warehouse={"query": query, "reads": ["dim_satff"]}).version()
    with pytest.raises(WarehouseError):
        rows_of(source_of(rooms, warehouse="DROP TABLE star.dim_staff"))


def test_a_table_without_rows_yet_says_how_to_get_them(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "i"), str(tmp_path / "p"))
    with pytest.raises(LakeError, match=re.escape("star/dim_staff has no rows yet. Build it first")):
        current_star_table(lake, STAR_TABLE["dim_staff"], STREAM)
