"""The warehouse has what is declared, takes each batch once and whole, and lets processes wait in turn."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from platform_assets.errors import WarehouseBusy, WarehouseError
from platform_assets.lake.duck import SqlEngine
from platform_assets.model.star_model import columns_of
from platform_assets.model.totesys import star
from platform_assets.warehouse.duckdb import DuckDBWarehouse
from platform_assets.warehouse.interface import Load
from platform_assets.warehouse.stream import detached, stream_relation
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import STAR_TABLE, Platform, Totesys, rows_of
from platform_assets_tests.model.test_star import DESCRIBED, PLATFORM

SQL_TYPES = {
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "text": "VARCHAR",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "time": "TIME",
    "numeric(10,2)": "DECIMAL(10,2)",
    "timestamp with time zone": "TIMESTAMP WITH TIME ZONE",
}
COUNTS = {
    "fact_sales_order": 2,
    "fact_purchase_order": 1,
    "fact_payment": 3,
    "dim_date": 365,
    "dim_staff": 2,
    "dim_location": 2,
    "dim_currency": 2,
    "dim_design": 2,
    "dim_counterparty": 2,
    "dim_transaction": 3,
    "dim_payment_type": 2,
}


@pytest.fixture(scope="module")
def source(new_module_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """A platform that has been loaded once; tests work on copies of it."""
    platform = Platform.on_disk(
        Totesys.with_rows(new_module_database()), tmp_path_factory.mktemp("warehouse") / "made"
    )
    platform.tick()
    return platform


@pytest.fixture
def loaded(source: Platform, tmp_path: Path) -> Platform:
    """A copy of it that the test may change; its source is shared, and not to be changed."""
    shutil.copytree(Path(source.lake.ingestion).parent, tmp_path / "copy")
    copy = tmp_path / "copy"
    lake = replace(source.lake, ingestion=str(copy / "ingestion"), processed=str(copy / "processed"))
    warehouse = replace(source.warehouse, path=copy / "warehouse.duckdb")
    return replace(source, lake=lake, warehouse=warehouse)


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_database())


@pytest.fixture
def platform(totesys: Totesys, tmp_path: Path) -> Platform:
    return Platform.on_disk(totesys, tmp_path)


def counts(platform: Platform) -> dict[str, int]:
    return {name: platform.query(f"SELECT count(*) FROM star.{name}")[0][0] for name in DESCRIBED}


def loads(platform: Platform) -> list[tuple[Any, ...]]:
    return platform.query(
        "SELECT table_name, lake_version, batch, rows_written FROM platform.loads WHERE batch > 0 "
        "ORDER BY batch, table_name"
    )


def tamper(platform: Platform, table: str, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Rewrite a star table of the lake behind the platform's back."""
    target = platform.lake.star(STAR_TABLE[table])
    rows = platform.star(table)
    change(rows)
    write_deltalake(
        DeltaTable(target.uri), pa.Table.from_pylist(rows, schema=target.arrow_schema), mode="overwrite"
    )


@pytest.mark.parametrize("table", list(DESCRIBED))
def test_a_table_has_the_columns_types_and_keys_that_are_described(source: Platform, table: str) -> None:
    columns = source.query(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns "
        f"WHERE table_schema = 'star' AND table_name = '{table}' ORDER BY ordinal_position"
    )
    described = [part.partition(" ") for part in f"{DESCRIBED[table]}, {PLATFORM}".split(", ")]
    assert columns == [
        (name, SQL_TYPES[kind.removesuffix("?")], "YES" if kind.endswith("?") else "NO")
        for name, _, kind in described
    ]
    keys = source.query(
        "SELECT constraint_column_names FROM duckdb_constraints() "
        f"WHERE schema_name = 'star' AND table_name = '{table}' AND constraint_type = 'PRIMARY KEY'"
    )
    assert keys == [([described[0][0]],)]


def test_the_first_load_holds_what_the_lake_holds(source: Platform) -> None:
    assert counts(source) == COUNTS
    for table in star.TABLES:
        names = [column.name for column in columns_of(table) if not column.name.endswith("_time")]
        order = f"ORDER BY {table.primary_key[0]}"
        assert source.query(f"SELECT {', '.join(names)} FROM star.{table.name} {order}") == rows_of(
            source.star(table.name), *names
        )
    assert source.query("SELECT DISTINCT created_time FROM star.fact_payment") == [
        (dt.time(9, 30, 15, 123000),)
    ]
    assert loads(source) == sorted((name, 0, 1, count) for name, count in COUNTS.items())


def test_a_repeated_load_does_not_touch_the_file(loaded: Platform) -> None:
    before = (loaded.warehouse.path.stat().st_mtime_ns, loaded.warehouse.path.read_bytes())
    assert loaded.load() == {name: Load(1, 1, 0, count) for name, count in COUNTS.items()}
    assert loaded.load("fact_payment") == {"fact_payment": Load(1, 1, 0, 3)}
    assert (loaded.warehouse.path.stat().st_mtime_ns, loaded.warehouse.path.read_bytes()) == before


def test_a_load_takes_in_what_is_new_and_says_so(totesys: Totesys, platform: Platform) -> None:
    platform.tick()
    totesys.update("payment", 1, paid=True)
    totesys.update("address", 2, city="Wells")
    platform.extract()
    platform.build()
    assert platform.load("fact_payment", "dim_location", "dim_staff") == {
        "fact_payment": Load(1, 2, 1, 4),
        "dim_location": Load(1, 2, 1, 2),
        "dim_staff": Load(1, 1, 0, 2),
    }
    assert platform.query("SELECT city FROM star.dim_location ORDER BY location_id") == [
        ("Leeds",),
        ("Wells",),
    ]
    # The company at that address is a dimension of the payments.
    assert [load for load in loads(platform) if load[2] == 2] == [
        ("dim_counterparty", 1, 2, 1),
        ("dim_location", 1, 2, 1),
        ("fact_payment", 1, 2, 1),
    ]


def test_several_batches_are_loaded_at_once(totesys: Totesys, platform: Platform) -> None:
    platform.tick()
    for units in (10, 11, 12):
        totesys.update("sales_order", 1, units_sold=units)
        platform.extract()
        platform.build()
    assert platform.load("fact_sales_order")["fact_sales_order"] == Load(1, 4, 3, 5)
    assert platform.query(
        "SELECT sales_record_id, units_sold, _batch FROM star.fact_sales_order "
        "WHERE sales_order_id = 1 ORDER BY ALL"
    ) == [(1, 84754, 1), (3, 10, 2), (4, 11, 3), (5, 12, 4)]


def test_loading_a_single_fact_brings_its_dimensions_along(totesys: Totesys, platform: Platform) -> None:
    platform.extract()
    platform.build()
    assert platform.load("fact_payment") == {"fact_payment": Load(0, 1, 3, 3)}
    found = {name for name, count in counts(platform).items() if count}
    assert found == {
        "fact_payment",
        "dim_date",
        "dim_transaction",
        "dim_counterparty",
        "dim_currency",
        "dim_payment_type",
    }
    assert platform.query(
        "SELECT currency_code, count(*) FROM star.fact_payment JOIN star.dim_currency USING (currency_id) "
        "GROUP BY ALL"
    ) == [("GBP", 3)]
    platform.load()
    assert counts(platform) == COUNTS


def test_a_lake_without_a_star_schema_makes_no_warehouse(totesys: Totesys, platform: Platform) -> None:
    assert platform.load()["fact_payment"] == Load(0, 0, 0, 0)
    platform.extract()
    assert platform.load()["fact_payment"] == Load(0, 0, 0, 0)
    assert not platform.warehouse.path.exists()
    assert (platform.warehouse.status(), platform.warehouse.sample(star.TABLES, 5)["dim_date"]) == ([], [])


@pytest.mark.sampled(5)
@pytest.mark.parametrize("first", [False, True], ids=["a later load", "the first load"])
@pytest.mark.parametrize(
    ("table", "change", "says"),
    [
        (
            "dim_design",
            lambda rows: rows.pop(),
            "New rows of fact_sales_order cannot be loaded: their design_id refers to rows that "
            "dim_design does not have, such as 3. Materialize star/dim_design and the source tables that "
            "it reads, then load again.",
        ),
        ("fact_payment", lambda rows: rows[-1].update(paid=None), "NOT NULL constraint failed"),
        ("fact_payment", lambda rows: rows[-1].update(created_time="25:00:00"), "25:00:00"),
    ],
    ids=["missing dimension row", "null", "bad time"],
)
def test_a_table_that_fails_in_the_middle_of_a_load_stays_as_it_was_and_all_others_are_loaded(
    totesys: Totesys, platform: Platform, first: bool, table: str, change: Any, says: str
) -> None:
    stopped = "fact_sales_order" if table == "dim_design" else table
    if not first:
        platform.tick()
    before = 0 if first else counts(platform)[stopped]
    totesys.insert("design", 3)
    totesys.insert("sales_order", 3, design_id=3)
    totesys.update("payment", 1, paid=True)
    totesys.update("staff", 1, last_name="D'Arcy")
    platform.extract()
    platform.build()
    tamper(platform, table, change)
    done = platform.load()
    assert {name for name, one in done.items() if one.stopped} == {stopped}
    assert says in done[stopped].stopped
    assert counts(platform)[stopped] == before
    assert [load for load in loads(platform) if load[0] == stopped] == (
        [] if first else [(stopped, 0, 1, before)]
    )
    assert platform.query("SELECT last_name FROM star.dim_staff ORDER BY staff_id") == [
        ("D'Arcy",),
        ("Beier",),
    ]
    # What was wrong is put right: the processed zone is made again from bronze.
    shutil.rmtree(platform.lake.processed)
    platform.build()
    platform.load()
    assert counts(platform) == COUNTS | {
        "dim_design": 3,
        "fact_sales_order": 3,
        "fact_payment": 3 if first else 4,
    }


@pytest.mark.soak
def test_a_star_schema_that_was_made_anew_replaces_what_was_loaded_and_goes_on(
    totesys: Totesys, platform: Platform
) -> None:
    platform.tick()
    for units in (10, 11):
        totesys.update("sales_order", 1, units_sold=units)
        platform.tick()
    before = platform.query("FROM star.fact_sales_order ORDER BY ALL")
    shutil.rmtree(platform.lake.processed)
    platform.build()
    platform.load()
    assert platform.query("FROM star.fact_sales_order ORDER BY ALL") == before
    totesys.update("sales_order", 1, units_sold=12)
    platform.tick()
    assert platform.query("SELECT units_sold FROM star.fact_sales_order_current ORDER BY sales_order_id") == [
        (12,),
        (5,),
    ]
    assert counts(platform) == COUNTS | {"fact_sales_order": 5}


def test_a_warehouse_of_another_lake_is_refused(loaded: Platform, platform: Platform) -> None:
    platform.extract()
    platform.build()
    mixed = replace(platform, warehouse=loaded.warehouse)
    before = loaded.warehouse.path.read_bytes()
    with pytest.raises(WarehouseError, match="was loaded from another lake") as error:
        mixed.load()
    assert not error.value.retryable
    assert loaded.warehouse.path.read_bytes() == before


def test_two_loaders_at_once_load_everything_once(totesys: Totesys, platform: Platform) -> None:
    platform.extract()
    platform.build()
    for batch in (1, 2):
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: platform.load(), range(3)))
        assert counts(platform) == COUNTS | ({"fact_payment": 4} if batch == 2 else {})
        totesys.update("payment", 1, paid=True)
        platform.extract()
        platform.build()
    written = [(name, batch, rows) for name, _, batch, rows in loads(platform) if name == "fact_payment"]
    assert written == [("fact_payment", 1, 3), ("fact_payment", 2, 1)]


def test_threads_that_read_and_write_take_turns(loaded: Platform) -> None:
    patient = replace(loaded, warehouse=replace(loaded.warehouse, wait=PATIENCE))
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda n: write(patient) if n % 3 else query(patient), range(36)))
    assert results == [1 if n % 3 else [3] for n in range(36)]


HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reading")
print("held", flush=True)
sys.stdin.readline()
connection.close()
"""


@contextlib.contextmanager
def held(path: Path, how: str) -> Iterator[Callable[[], None]]:
    """Another process holds the file until the function that this gives is called."""
    command = [sys.executable, "-c", HOLD, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"

        def let_go() -> None:
            assert process.stdin is not None
            process.stdin.close()

        try:
            yield let_go
        finally:
            let_go()


def query(platform: Platform) -> list[Any]:
    with platform.warehouse.query("SELECT count(*) AS n FROM star.fact_payment") as rows:
        return rows.read_all()["n"].to_pylist()


def write(platform: Platform) -> int:
    return platform.warehouse.write(["mine", "table"], pa.table({"x": [1]}).to_reader())


@pytest.mark.parametrize(
    ("how", "attempt", "result"),
    [
        ("writing", query, [3]),
        ("writing", write, 1),
        ("reading", write, 1),
        ("writing", lambda platform: len(platform.warehouse.status()), 11),
        ("writing", lambda platform: platform.load("dim_design")["dim_design"].row_count, 2),
    ],
    ids=["a query for a load", "a write for a load", "a write for a query", "a status", "a load for a load"],
)
def test_a_process_waits_for_the_one_that_holds_the_file(
    loaded: Platform, how: str, attempt: Callable[[Platform], Any], result: Any
) -> None:
    with held(loaded.warehouse.path, how) as let_go:
        timer = threading.Timer(0.6, let_go)
        started = time.monotonic()
        timer.start()
        assert attempt(loaded) == result
        assert time.monotonic() - started > 0.5
        timer.join()


@pytest.mark.parametrize(("how", "attempt"), [("writing", query), ("reading", write)])
def test_a_process_that_waited_long_enough_says_for_what_and_may_try_again(
    loaded: Platform, how: str, attempt: Callable[[Platform], Any]
) -> None:
    impatient = replace(loaded, warehouse=replace(loaded.warehouse, wait=0.3))
    with held(loaded.warehouse.path, how), pytest.raises(WarehouseBusy) as error:
        attempt(impatient)
    assert str(error.value) == (
        f"The warehouse {loaded.warehouse.path} has been locked by another process for 0.3 seconds. End "
        "that process's query or load, or raise warehouse.duckdb.wait."
    )
    assert error.value.retryable
    attempt(impatient)


def test_readers_do_not_wait_for_readers(loaded: Platform) -> None:
    with held(loaded.warehouse.path, "reading"), loaded.warehouse.query("SELECT 1 AS one") as rows:
        assert query(replace(loaded, warehouse=replace(loaded.warehouse, wait=0.2))) == [3]
        assert rows.read_all().to_pylist() == [{"one": 1}]


def test_a_file_that_is_no_warehouse_is_named(tmp_path: Path, source: Platform) -> None:
    path = tmp_path / "broken.duckdb"
    path.write_bytes(b"no database" * 1000)
    warehouse = DuckDBWarehouse(path, source.engine, 1)
    for attempt in (lambda: warehouse.load(source.lake, star.TABLES), warehouse.status):
        with pytest.raises(WarehouseError, match=r"cannot be opened: .* delete it: the next run") as error:
            attempt()
        assert not isinstance(error.value, WarehouseBusy)


def test_a_folder_in_the_place_of_the_warehouse_is_told_and_nobody_is_advised_to_delete_it(
    tmp_path: Path, source: Platform
) -> None:
    warehouse = DuckDBWarehouse(tmp_path, source.engine, 1)
    for attempt in (lambda: warehouse.load(source.lake, star.TABLES), warehouse.status):
        with pytest.raises(WarehouseError, match=r"is a folder; configure the path of a file\.$"):
            attempt()


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("FROM star.no_such_table", "no_such_table"),
        ("SELECT no_such_column FROM star.dim_date", "no_such_column"),
        ("SELECT CAST(day_name AS INTEGER) FROM star.dim_date", "Could not convert string"),
        ("DELETE FROM star.dim_date", "read-only"),
        ("CREATE TABLE star.x AS SELECT 1", "read-only"),
        ("DROP SCHEMA star CASCADE", "read-only"),
    ],
)
def test_a_query_that_is_wrong_or_writes_says_why(source: Platform, sql: str, says: str) -> None:
    before = source.warehouse.path.read_bytes()
    with (
        pytest.raises(WarehouseError, match="could not run the query") as error,
        source.warehouse.query(sql) as rows,
    ):
        rows.read_all()
    assert says in str(error.value)
    assert source.warehouse.path.read_bytes() == before


def test_a_query_before_the_first_load_says_what_makes_the_warehouse(
    tmp_path: Path, source: Platform
) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "none.duckdb", source.engine, 1)
    with (
        pytest.raises(WarehouseError, match=r"does not exist yet: run totesys_to_warehouse to create it"),
        warehouse.query("SELECT 1"),
    ):
        pass
    assert not (tmp_path / "none.duckdb").exists()


@pytest.mark.parametrize("sql", ["SET threads = 1", "", "-- nothing"])
def test_a_statement_without_a_result_gives_no_rows(source: Platform, sql: str) -> None:
    with source.warehouse.query(sql) as rows:
        assert rows.read_all().num_rows == 0


def test_a_result_streams_in_batches(source: Platform) -> None:
    with source.warehouse.query("SELECT * FROM range(300000) AS numbers(n)") as rows:
        sizes = [batch.num_rows for batch in rows]
    assert (sum(sizes), max(sizes) < 50_000) == (300_000, True)


def test_a_table_of_a_users_is_replaced_in_one_transaction(loaded: Platform) -> None:
    name = ["my schema", 'a "table"']

    def breaking() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"x": [1]})
        raise ValueError("the rows end here")

    quoted = '"my schema"."a ""table"""'
    assert loaded.warehouse.write(name, pa.table({"x": [1, 2], "y": ["a", None]}).to_reader()) == 2
    assert loaded.query(f"FROM {quoted} ORDER BY x") == [(1, "a"), (2, None)]
    assert loaded.warehouse.write(name, pa.table({"z": [dt.date(2023, 3, 1)]}).to_reader()) == 1
    assert loaded.query(f"FROM {quoted}") == [(dt.date(2023, 3, 1),)]
    schema = pa.schema([("x", pa.int64())])
    with pytest.raises(WarehouseError, match="the rows end here"):
        loaded.warehouse.write(name, pa.RecordBatchReader.from_batches(schema, breaking()))
    assert loaded.query(f"FROM {quoted}") == [(dt.date(2023, 3, 1),)]
    assert counts(loaded) == COUNTS


def test_a_stream_holds_the_warehouse_until_it_is_read_or_dropped_and_a_copy_does_not(
    loaded: Platform,
) -> None:
    impatient = replace(loaded, warehouse=replace(loaded.warehouse, wait=0.2))
    stream = stream_relation(loaded.warehouse, ("star", "dim_date"))
    with pytest.raises(WarehouseBusy):
        write(impatient)
    assert stream.read_all().num_rows == 365
    write(impatient)
    copy = detached(stream_relation(loaded.warehouse, ("star", "dim_date")))
    write(impatient)
    assert sorted(copy.read_all()["date_id"].to_pylist()) == [
        row["date_id"] for row in loaded.star("dim_date")
    ]
    dropped = stream_relation(loaded.warehouse, ("star", "dim_date"))
    del dropped
    write(impatient)


def test_the_status_says_what_each_table_holds_and_how_fresh_it_is(source: Platform) -> None:
    seen = max(source.lake.ledger.read().rows["seen_at"].to_pylist())
    statuses = source.warehouse.status()
    assert {status.table: status.row_count for status in statuses} == COUNTS
    assert {status.last_batch for status in statuses} == {1}
    assert {status.seen_at for status in statuses} == {seen}
    for status in statuses:
        assert status.loaded_at is not None
        assert seen < status.loaded_at < dt.datetime.now(dt.UTC)


def test_a_sample_shows_the_newest_facts(loaded: Platform) -> None:
    sample = loaded.warehouse.sample([STAR_TABLE["fact_payment"], STAR_TABLE["dim_design"]], 2)
    assert [row["payment_record_id"] for row in sample["fact_payment"]] == [3, 2]
    assert len(sample["dim_design"]) == 2


def test_primary_keys_are_kept_by_the_warehouse_itself(loaded: Platform) -> None:
    with contextlib.closing(duckdb.connect(str(loaded.warehouse.path))) as connection:
        for table in ("fact_payment", "dim_design"):
            with pytest.raises(duckdb.ConstraintException, match="Duplicate key"):
                connection.execute(f"INSERT INTO star.{table} SELECT * FROM star.{table} LIMIT 1")


def test_what_readers_spill_to_disk_is_gone_when_they_are(loaded: Platform, tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    engine = SqlEngine(64, 1, spill)
    warehouse = replace(loaded.warehouse, engine=engine)
    large = "SELECT n, repeat('x', 100) AS text FROM range(1000000) AS numbers(n) ORDER BY hash(n)"
    with warehouse.query("SELECT 1 AS one") as small, warehouse.query(large) as sorted_rows:
        assert next(sorted_rows).num_rows > 0
        assert small.read_all().num_rows == 1
        assert sum(file.stat().st_size for file in spill.rglob("*") if file.is_file()) > 2**20
    del small, sorted_rows
    assert [file for file in spill.rglob("*") if file.is_file()] == []
