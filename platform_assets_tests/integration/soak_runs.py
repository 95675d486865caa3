"""Two, four and eight runs at once over every lake and warehouse.

`make soak` names this file, a plain run leaves it out.
DuckDB and PostgreSQL are loaded by the main job in processes of their own, with runs of `lake_upkeep` beside
them; Snowflake and BigQuery, whose local servers no configuration can name, by the same steps in threads.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets.lake.upkeep.upkeep import UpkeepPolicy
from platform_assets.model.totesys import star
from platform_assets.model.totesys.source import TABLES
from platform_assets.warehouse.bigquery import BigQueryWarehouse
from platform_assets.warehouse.interface import Warehouse
from platform_assets.warehouse.snowflake import SnowflakeWarehouse
from platform_assets_tests.fixtures.bigquery import FakeBigQuery, bigquery_server
from platform_assets_tests.fixtures.house import lake_of, warehouse_of
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.racing import together
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.snowflake import SnowflakeServer
from platform_assets_tests.fixtures.totesys import Platform, Totesys
from platform_assets_tests.fixtures.upkeep import Kept
from platform_assets_tests.fixtures.warehouse_snowflake import local_access
from platform_assets_tests.integration.installation import Installation
from platform_assets_tests.integration.test_crash import tick_server

__all__ = ["bigquery_server"]

TICKS = 3
RUNS = (2, 4, 8)
EAGER = UpkeepPolicy(least_files=2)


@pytest.fixture
def totesys(new_database: NewDatabase) -> Totesys:
    return Totesys.with_rows(new_database())


@pytest.fixture(params=["local", "s3"])
def zones(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A lake that has no table yet."""
    if request.param == "local":
        return Lake(str(tmp_path / "ingestion"), str(tmp_path / "processed"))
    server: S3Server = request.getfixturevalue("s3_server")
    bucket = server.create_bucket()
    return Lake(f"s3://{bucket}/ingestion", f"s3://{bucket}/processed", lambda: server.storage_options)


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
def test_runs_of_the_main_job_and_upkeep_at_once_all_end_well(
    totesys: Totesys, zones: Lake, tmp_path: Path, new_database: NewDatabase, engine: str, runs: int
) -> None:
    options = dict(zones.storage_options())
    if options:
        (tmp_path / "key").write_text(options["AWS_SECRET_ACCESS_KEY"])
        options["AWS_SECRET_ACCESS_KEY"] = f"secret://file/{tmp_path / 'key'}"
    given = {
        "lake.ingestion": json.dumps(zones.ingestion),
        "lake.processed": json.dumps(zones.processed),
        **{f"lake.storage_options.{key}": json.dumps(value) for key, value in options.items()},
        "upkeep.small_files": "2",
        "warehouse.duckdb.wait": "600",
        "warehouse.engine": engine,
    }
    if engine == "postgres":
        owner = new_database().owner
        (tmp_path / "owner").write_text(owner.password)
        block = "warehouse.postgres"
        given |= {
            f"{block}.host": json.dumps(owner.host),
            f"{block}.port": str(owner.port),
            f"{block}.database": json.dumps(owner.database),
            f"{block}.user": json.dumps(owner.user),
            f"{block}.password": json.dumps(f"secret://file/{tmp_path / 'owner'}"),
            f"{block}.sslmode": "disable",
        }
    platform = Installation.create(tmp_path / "platform", totesys.database.reader, **given)
    lake, warehouse = lake_of(platform.settings), warehouse_of(platform.settings)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(tick_server(platform)) for _ in range(runs)]
        keeper = stack.enter_context(tick_server(platform))
        for number in range(TICKS):
            change(totesys, number)
            for server in servers:
                server.start()
            keeper.start("lake_upkeep")
            assert [server.end() for server in (*servers, keeper)] == [0] * (runs + 1), said_by(platform)
            assert_agreed(lake, warehouse, totesys)


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize("engine", ["snowflake", "bigquery"])
def test_loads_and_upkeep_at_once_all_end_well(
    totesys: Totesys,
    zones: Lake,
    tmp_path: Path,
    snowflake_server: SnowflakeServer,
    bigquery_server: FakeBigQuery,
    engine: str,
    runs: int,
) -> None:
    own = Platform.over(totesys, zones, tmp_path)
    with remote_warehouse(engine, own.engine, snowflake_server, bigquery_server) as warehouse:
        for number in range(TICKS):
            change(totesys, number)
            all_there = threading.Barrier(runs + 1)

            def work(
                runner: int, all_there: threading.Barrier = all_there, warehouse: Warehouse = warehouse
            ) -> None:
                all_there.wait(PATIENCE)
                if runner == runs:
                    Kept.under(totesys, tmp_path, zones).run(EAGER)
                    return
                own.extract()
                own.build()
                warehouse.load(zones, star.TABLES)

            together(work, runs + 1)
            assert_agreed(zones, warehouse, totesys)


@contextlib.contextmanager
def remote_warehouse(
    engine: str, resources: SqlEngine, snowflake: SnowflakeServer, bigquery: FakeBigQuery
) -> Iterator[Warehouse]:
    if engine == "bigquery":
        yield BigQueryWarehouse(bigquery.access(bigquery.create_project()), resources, wait=600)
        return
    database = snowflake.create_database(schema="PUBLIC")
    yield SnowflakeWarehouse(local_access(snowflake, database), resources, wait=600)
    snowflake.drop_database(database)


def change(totesys: Totesys, number: int) -> None:
    """Let the business go on; nothing before the first tick."""
    if number:
        totesys.update("design", 1, design_name=f"Steel {number}")
        totesys.update("payment", 1, paid=bool(number % 2))
        totesys.insert("sales_order", 9 + number)


def said_by(platform: Installation) -> str:
    return (platform.folder / "ticks.log").read_text()[-6_000:]


def assert_agreed(lake: Lake, warehouse: Warehouse, totesys: Totesys) -> None:
    """Source, ledger, bronze, star and warehouse say the same, and nothing twice."""
    counted = lake.ledger.read().rows.to_pylist()
    assert max(Counter((one["batch"], one["table"]) for one in counted).values()) == 1
    for table in TABLES:
        target = lake.bronze("totesys", table)
        taken = {one["batch"] for one in counted if one["table"] == table.name}
        rows = [one for one in target.scan(target.open()).read_all().to_pylist() if one["_batch"] in taken]
        versions = Counter((row["_batch"], *(row[name] for name in table.primary_key)) for row in rows)
        assert max(versions.values()) == 1
        [[there]] = totesys.run(f"SELECT count(*) FROM {table.name}")
        assert len({version[1:] for version in versions}) == there
    loaded = {one.table: one.row_count for one in warehouse.status()}
    for table in star.TABLES:
        target = lake.star(table)
        rows = target.scan(target.open()).read_all().to_pylist()
        keys = [tuple(row[name] for name in table.primary_key) for row in rows]
        assert len(keys) == len(set(keys))
        if table.kind == "fact":
            assert sorted(keys) == [(number,) for number in range(1, len(keys) + 1)]
        assert loaded[table.name] == len(rows)
