"""The assets `snowflake/<table>`, on a local Snowflake server and without one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from platform_assets.build import build_defs
from platform_assets.errors import SettingsError
from platform_assets.isolation import Isolation
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.model.dialects import columns_sql
from platform_assets.model.star_model import columns_of
from platform_assets.model.table import Column, Text, Time
from platform_assets.model.totesys import star
from platform_assets.rooms import Rooms
from platform_assets.sample.database import advance_sample, create_sample
from platform_assets.settings import Settings, load_settings
from platform_assets.snowflake import copies as copies_module
from platform_assets.snowflake.assembly import SnowflakeRoom
from platform_assets.snowflake.defs import LAKE_COPIES, SNOWFLAKE_JOB
from platform_assets.snowflake.execute import TableResult
from platform_assets.snowflake.refresh import Refresh, _Refreshing
from platform_assets_tests.fixtures.poison import ERRORS, name_of, told
from platform_assets_tests.fixtures.postgres import Database, NewDatabase
from platform_assets_tests.fixtures.snowflake import SnowflakeServer
from platform_assets_tests.fixtures.totesys import failures
from platform_assets_tests.integration.installation import NO_TELEMETRY, Installation

ACCOUNT = """{
  account = "organisation-account", user = loader, private_key = "secret://env/NO_SUCH_KEY"
  warehouse = small, database = sales, schema = PUBLIC
}"""


@pytest.fixture(scope="module")
def database(new_module_database: NewDatabase) -> Database:
    """A small sample business."""
    created = new_module_database()
    create_sample(created.owner, sales=120, seed=5)
    return created


@pytest.fixture(scope="module")
def platform(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A platform whose star schema is built."""
    platform = Installation.create(tmp_path_factory.mktemp("snowflake"), database.reader)
    platform.extract()
    platform.load()
    return platform


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path), settings=NO_TELEMETRY) as instance:
        yield instance


def with_account(platform: Installation) -> Settings:
    config = platform.folder / "with account.conf"
    config.write_text(f'include file("{platform.folder / "platform.conf"}")\nsnowflake {ACCOUNT}\n')
    return load_settings(config)


def run(
    platform: Installation, instance: dg.DagsterInstance, copies: Any = None, **selection: Any
) -> dg.ExecuteInProcessResult:
    resources = {} if copies is None else {LAKE_COPIES: dg.ResourceDefinition(lambda _: lambda: copies)}
    job = build_defs(platform.settings, resources=resources).resolve_job_def(SNOWFLAKE_JOB)
    return job.execute_in_process(instance=instance, raise_on_error=False, **selection)


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    return {
        event.asset_key.path[-1]: {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


@pytest.fixture
def copies(platform: Installation, snowflake_server: SnowflakeServer, snowflake_database: str) -> Any:
    """What the configuration gives, connected to the local server."""
    given = Rooms(with_account(platform)).of(SnowflakeRoom).copies()

    return replace(given, connect=lambda: snowflake_server.connect(snowflake_database, "STAR"))


def test_without_an_account_the_tables_are_in_the_graph_and_say_what_to_configure(
    platform: Installation, instance: dg.DagsterInstance
) -> None:
    graph = build_defs(platform.settings).resolve_asset_graph()
    for table in star.TABLES:
        node = graph.get(dg.AssetKey(["snowflake", table.name]))
        assert node.parent_keys == {dg.AssetKey(["star", table.name])}
        assert node.kinds == {"snowflake", "table"}
        # The UI shows them as external, with what to do, and not as never materialized.
        assert node.is_external
        assert not node.is_executable
        assert "no Snowflake account is configured. Add a block snowflake with account" in node.description
        assert node.metadata["configure"].startswith("no Snowflake account is configured")
    with_one = build_defs(with_account(platform)).resolve_asset_graph()
    for table in star.TABLES:
        node = with_one.get(dg.AssetKey(["snowflake", table.name]))
        assert node.is_executable
        assert "configured" not in (node.description or "")
    result = run(platform, instance)
    [sentence] = failures(result)
    assert "No Snowflake account is configured" in sentence
    for word in ("block snowflake", "account", "user", "private_key", "warehouse", "database", "schema"):
        assert word in sentence
    assert not any(event.is_step_restarted for event in result.all_events)


def test_the_star_schema_arrives_row_for_row_with_its_types(
    platform: Installation,
    instance: dg.DagsterInstance,
    copies: Any,
    database: Database,
    snowflake_server: SnowflakeServer,
    snowflake_database: str,
) -> None:
    said = materialized(run(platform, instance, copies))
    assert set(said) == {table.name for table in star.TABLES}

    def rows_are_equal() -> None:
        with (
            snowflake_server.connect(snowflake_database, "STAR") as connection,
            connection.cursor() as cursor,
        ):
            for table in star.TABLES:
                columns = columns_of(table)
                names = ", ".join(column.name for column in columns)
                order = ", ".join(table.primary_key)
                copied = cursor.execute(f"SELECT {names} FROM {table.name} ORDER BY {order}").fetchall()
                quoted = columns_sql([column.name for column in columns])
                with SqlEngine(256, 2, platform.folder / "spill").connect() as duck:
                    duck.execute(f"ATTACH '{platform.warehouse}' AS warehouse (READ_ONLY)")
                    expected = duck.sql(
                        f"SELECT {quoted} FROM warehouse.star.{table.name} ORDER BY {order}"
                    ).fetchall()
                assert [tuple(map(plain, row)) for row in copied] == [
                    tuple(map(plain, row)) for row in expected
                ], table.name

    rows_are_equal()
    with snowflake_server.connect(snowflake_database, "STAR") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT created_time, created_date, unit_price FROM fact_sales_order LIMIT 1")
        [time, date, price] = cursor.fetchone()
        assert isinstance(time, dt.time)
        assert isinstance(date, dt.date)
        assert isinstance(price, Decimal)
    facts = said["fact_sales_order"]
    assert facts["dagster/row_count"] == facts["rows loaded"] == 120
    assert facts["dagster/table_name"].upper() == "FACT_SALES_ORDER"
    for statement in ("CREATE TABLE", "STAGE", "COPY INTO"):
        assert statement in facts["statements"]

    again = materialized(run(platform, instance, copies))
    assert {(one["how"], one["rows loaded"]) for one in again.values()} == {("unchanged", 0)}

    advance_sample(database.owner, days=2, seed=9)
    platform.extract()
    platform.load()
    later = materialized(run(platform, instance, copies))
    assert later["fact_sales_order"]["how"] == "appended"
    assert later["fact_sales_order"]["rows loaded"] > 0
    rows_are_equal()


def test_what_snowflake_refuses_fails_the_run_with_the_table_and_loads_the_others(
    platform: Installation,
    instance: dg.DagsterInstance,
    copies: Any,
    snowflake_server: SnowflakeServer,
    snowflake_database: str,
) -> None:
    with snowflake_server.connect(snowflake_database, "STAR") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE VIEW dim_staff AS SELECT 1 AS one")
    result = run(platform, instance, copies)
    [sentence] = failures(result)
    assert "dim_staff: " in sentence
    assert set(materialized(result)) == {table.name for table in star.TABLES} - {"dim_staff"}


def with_rule(platform: Installation, rule: str) -> Installation:
    """The same platform, with one rule of a policy."""
    config = platform.folder / "with rule.conf"
    config.write_text(
        f'include file("{platform.folder / "platform.conf"}")\ndlp.rules = null\ndlp.rules {{\n{rule}\n}}\n'
    )
    return replace(platform, settings=load_settings(config))


def addresses(server: SnowflakeServer, database: str) -> set[str]:
    with server.connect(database, "STAR") as connection, connection.cursor() as cursor:
        return {row[0] for row in cursor.execute("SELECT email_address FROM dim_staff").fetchall()}


def test_the_policy_holds_for_the_copies_too(
    platform: Installation,
    instance: dg.DagsterInstance,
    copies: Any,
    snowflake_server: SnowflakeServer,
    snowflake_database: str,
) -> None:
    masked = with_rule(
        platform,
        '"addresses" { action = redact, info_types = [EMAIL_ADDRESS], places = ["star/dim_staff.*"] }',
    )
    said = materialized(run(masked, instance, copies))
    assert set(said) == {table.name for table in star.TABLES}
    assert said["dim_staff"]["dagster/table_name"].upper() == "DIM_STAFF"
    assert addresses(snowflake_server, snowflake_database) == {"[EMAIL_ADDRESS]"}
    assert said["fact_sales_order"]["rows loaded"] > 0

    blocking = with_rule(
        platform, '"no addresses" { action = block, info_types = [EMAIL_ADDRESS], places = ["snowflake/*"] }'
    )
    [sentence] = failures(run(blocking, instance, copies))
    assert "star/dim_staff.email_address contains EMAIL_ADDRESS" in sentence
    assert "rule no addresses" in sentence

    materialized(run(platform, instance, copies))
    assert all("@" in address for address in addresses(snowflake_server, snowflake_database))


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "error",
    [one for one in ERRORS if name_of(one) in ("LakeError", "OSError", "MemoryError", "OwnError")],
    ids=name_of,
)
@pytest.mark.parametrize("step", ["open", "refresh", "_bring_up"])
def test_one_table_that_fails_leaves_the_others_alone_and_is_loaded_by_the_next_run(
    copies: Any, error: BaseException, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner: Any = {"open": LakeTable, "refresh": copies_module, "_bring_up": _Refreshing}[step]
    usual = getattr(owner, step)

    def broken(one: Any, *args: Any, **options: Any) -> Any:
        place = {"open": lambda: one.uri, "refresh": lambda: one, "_bring_up": lambda: one._table.root}[
            step
        ]()
        if place.endswith("/dim_staff"):
            raise error
        return usual(one, *args, **options)

    monkeypatch.setattr(owner, step, broken)
    tables = [table for table in star.TABLES if table.name in ("dim_currency", "dim_staff", "dim_location")]
    failing = Isolation("Loading")
    loaded = [table.name for table, _ in copies.refresh_star(tables, failing)]
    assert sorted([*loaded, "dim_staff"]) == sorted(table.name for table in tables)
    [failed] = failing.failures
    assert failed.name == "dim_staff"
    assert told(error) in failed.reason

    monkeypatch.undo()
    again = {table.name: done.how for table, done in copies.refresh_star(tables, failing)}
    assert again == {"dim_currency": "unchanged", "dim_staff": "replaced", "dim_location": "unchanged"}
    assert len(failing.failures) == 1


def test_an_account_is_connected_to_with_what_the_configuration_says(platform: Installation) -> None:
    copies = Rooms(with_account(platform)).of(SnowflakeRoom).copies()
    with pytest.raises(SettingsError, match="NO_SUCH_KEY"), copies.connect():
        pass


def test_where_snowflake_reads_the_lake_itself_each_table_is_in_its_folder_of_the_zone(
    platform: Installation, copies: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = replace(copies, options=replace(copies.options, stage_url="s3://lake/processed/"))
    asked: list[Any] = []
    loaded = Refresh(TableResult("t", "T", 0, (), 0.0, (), None), "unchanged", 0, 0)
    monkeypatch.setattr(
        "platform_assets.snowflake.copies.refresh",
        lambda place, options, *_, **__: (asked.append(options), loaded)[1],
    )
    failing = Isolation("Loading")
    list(staged.refresh_star(star.TABLES, failing))
    assert failing.failures == []
    assert [one.stage_url for one in asked] == [f"s3://lake/processed/star/{one.name}" for one in star.TABLES]
    columns = (Column("opens", Time()), Column("name", Text()))
    staged.refresh(
        LakeTable(copies.lake.path("processed", "snowflake", "uploads_x", "1"), columns), "uploads_x"
    )
    assert asked[-1].stage_url == "s3://lake/processed/snowflake/uploads_x/1"
    assert asked[-1].columns == {"uploads_x.opens": "TIME(6)"}


def plain(value: object) -> object:
    """A value as both servers give it."""
    if isinstance(value, dt.datetime) and value.tzinfo:
        return value.astimezone(dt.UTC).replace(tzinfo=None)
    return value
