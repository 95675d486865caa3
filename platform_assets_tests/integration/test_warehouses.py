"""Several warehouses that are loaded from one lake, each by a job of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from platform_assets import cli
from platform_assets.build import build_defs
from platform_assets.errors import SettingsError
from platform_assets.model.totesys import star
from platform_assets.sample.database import create_sample
from platform_assets.warehouse.defs import load_job
from platform_assets_tests.fixtures.house import warehouse_of
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import Database, NewDatabase
from platform_assets_tests.fixtures.totesys import failed_checks, failures
from platform_assets_tests.integration.installation import NO_TELEMETRY, Installation, session


@pytest.fixture(scope="module")
def database(new_module_database: NewDatabase) -> Database:
    """A small sample business."""
    created = new_module_database()
    create_sample(created.owner, sales=200, seed=11)
    return created


@pytest.fixture(scope="module")
def mart(new_module_database: NewDatabase) -> Database:
    """An empty database to be a warehouse."""
    return new_module_database()


@pytest.fixture(scope="module")
def before(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A platform that has run before the further warehouses were configured."""
    platform = Installation.create(tmp_path_factory.mktemp("warehouses"), database.reader)
    platform.extract()
    platform.load()
    return platform


@pytest.fixture(scope="module")
def platform(before: Installation, database: Database, mart: Database) -> Installation:
    """The same platform, with two more warehouses."""
    (before.folder / "mart.password").write_text(mart.owner.password)
    engines = f"""{{
      copy {{ duckdb {{ path = "copy.duckdb" }} }}
      mart {in_postgres(mart, "sales")}
    }}"""
    return Installation.create(before.folder, database.reader, warehouses=engines)


def in_postgres(database: Database, schema: str) -> str:
    """Configuration of a warehouse in a database whose password is in a file beside the configuration."""
    owner = database.owner
    return f"""{{
      engine = postgres
      postgres {{
        host = {json.dumps(owner.host)}, port = {owner.port}, database = {json.dumps(owner.database)}
        user = {json.dumps(owner.user)}, password = "secret://file/./mart.password", sslmode = disable
        star_schema = {schema}
      }}
    }}"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path), settings=NO_TELEMETRY) as instance:
        yield instance


def load(platform: Installation, instance: dg.DagsterInstance, warehouse: str) -> dg.ExecuteInProcessResult:
    job = build_defs(platform.settings).resolve_job_def(load_job(warehouse))
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert failures(result) == []
    return result


@pytest.mark.parametrize("name", ["copy", "mart"])
def test_a_warehouse_that_is_added_later_catches_up_and_then_loads_what_is_new(
    platform: Installation, instance: dg.DagsterInstance, name: str
) -> None:
    result = load(platform, instance, name)
    assert failed_checks(result) == {}
    main = warehouse_of(platform.settings).status()
    added = warehouse_of(platform.settings, name).status()
    assert [(one.table, one.row_count, one.last_batch, one.seen_at) for one in added] == [
        (one.table, one.row_count, one.last_batch, one.seen_at) for one in main
    ]
    again = load(platform, instance, name)
    written = {
        event.asset_key.to_user_string(): event.materialization.metadata["rows written"].value
        for event in again.get_asset_materialization_events()
        if event.asset_key
    }
    assert written == {f"{name}/{table.name}": 0 for table in star.TABLES}


def test_the_main_job_and_the_main_warehouse_know_nothing_of_further_ones(platform: Installation) -> None:
    definitions = build_defs(platform.settings)
    main = definitions.resolve_job_def("totesys_to_warehouse")
    keys = {key.path[0] for key in main.asset_layer.selected_asset_keys}
    assert keys == {"totesys", "star", "warehouse"}


def test_a_further_warehouse_is_queried_by_its_name(
    platform: Installation, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(platform, instance, "mart")
    monkeypatch.setenv("PLATFORM_CONFIG", str(platform.folder / "platform.conf"))
    query = "SELECT count(*) AS number FROM sales.fact_sales_order"
    result = CliRunner().invoke(cli.app, ["warehouse", "query", query, "--of", "mart", "--csv"])
    assert result.exit_code == 0, result.output
    [expected] = [
        one.row_count for one in warehouse_of(platform.settings).status() if one.table == "fact_sales_order"
    ]
    assert result.output.split() == ['"number"', str(expected)]


def test_a_query_shows_dates_and_times_that_python_cannot_hold(
    platform: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_CONFIG", str(platform.folder / "platform.conf"))
    query = (
        "SELECT 'infinity'::TIMESTAMPTZ AS a, '-infinity'::TIMESTAMP AS b, 'infinity'::DATE AS c, "
        "['12000-01-01'::DATE] AS d, '2020-01-01 10:00:00+02'::TIMESTAMPTZ AS e UNION ALL "
        "SELECT '12000-01-01'::TIMESTAMPTZ, '2020-02-02'::TIMESTAMP, '2020-03-03'::DATE, [], NULL"
    )
    result = CliRunner().invoke(cli.app, ["warehouse", "query", query])
    assert result.exit_code == 0, result.output
    outside = "(outside the years 1 to 9999)"
    [first, second] = [
        re.split(r" {2,}", line.strip()) for line in result.output.splitlines() if outside in line
    ]
    assert first == ["infinity", "-infinity", "infinity", outside, "2020-01-01 08:00:00+00:00"]
    assert second == [outside, "2020-02-02 00:00:00", "2020-03-03", "[]"]


def test_a_warehouse_that_is_not_configured_is_refused_by_name(platform: Installation) -> None:
    with pytest.raises(SettingsError, match=r"no warehouse lakeside .* it has warehouse, copy, mart"):
        warehouse_of(platform.settings, "lakeside")


def test_an_asset_reads_and_writes_a_further_warehouse_by_its_io_manager(
    platform: Installation, instance: dg.DagsterInstance
) -> None:
    load(platform, instance, "mart")

    @dg.asset(
        key_prefix="reports",
        ins={"facts": dg.AssetIn(key=["mart", "fact_payment"], input_manager_key="mart_io_manager")},
        io_manager_key="mart_io_manager",
    )
    def payments(facts: pa.Table) -> pa.Table:
        return facts.group_by("payment_type_id").aggregate([("payment_amount", "sum")])

    definitions = dg.Definitions.merge(build_defs(platform.settings), dg.Definitions(assets=[payments]))
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(["reports", "payments"])]
    )
    assert result.success
    with warehouse_of(platform.settings, "mart").query(
        "SELECT CAST(sum(payment_amount_sum) AS numeric(38, 2)) FROM reports.payments"
    ) as rows:
        [written] = rows.read_all()[0].to_pylist()
    with warehouse_of(platform.settings).query("SELECT sum(payment_amount) FROM star.fact_payment") as rows:
        [loaded] = rows.read_all()[0].to_pylist()
    assert written == loaded


WAREHOUSE_PACKAGES = ("snowflake.connector", "dagster_snowflake", "google.cloud.bigquery", "dagster_gcp")


def test_loading_the_code_location_and_a_tick_import_no_package_of_a_warehouse_that_is_not_used(
    before: Installation,
) -> None:
    program = (
        "import sys\n"
        "from platform_assets.settings import load_settings\n"
        "from platform_assets.build import build_defs\n"
        "from platform_assets_tests.fixtures.house import run_of\n"
        "from platform_assets import cli\n"
        "settings = load_settings()\n"
        "build_defs(settings).resolve_all_job_defs()\n"
        "assert run_of(settings, 'totesys_to_warehouse').succeeded\n"
        f"print([name for name in sys.modules if name.startswith({WAREHOUSE_PACKAGES})])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=before.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().splitlines()[-1] == "[]"


CHANGES = {
    "first load": "SELECT 1",
    "nothing": "SELECT 1",
    "only updates, and a year that the calendar lacks": "UPDATE sales_order SET "
    "agreed_payment_date = '2031-01-01', last_updated = localtimestamp WHERE sales_order_id = 1",
    "only inserts": "INSERT INTO department (department_name, created_at, last_updated) "
    "VALUES ('Aviation', localtimestamp, localtimestamp)",
    "only deletions": "DELETE FROM department WHERE department_name = 'Aviation'",
    "a dead letter": "UPDATE sales_order SET agreed_payment_date = 'soon', last_updated = localtimestamp "
    "WHERE sales_order_id = 2",
    "a dead letter that is mended": "UPDATE sales_order SET agreed_payment_date = '2031-01-02', "
    "last_updated = localtimestamp WHERE sales_order_id = 2",
}
TICKS = """
import sys
from platform_assets.settings import load_settings
from platform_assets_tests.fixtures.house import run_of

settings = load_settings()
for change in sys.stdin:
    runs = [run_of(settings, job) for job in ("totesys_to_warehouse", "mart_load")]
    failed = [failure for run in runs for failure in run.failures]
    print(change.strip(), "pandas" in sys.modules, *failed, flush=True)
"""


def test_no_tick_imports_pandas(new_database: NewDatabase, tmp_path: Path) -> None:
    database, mart = new_database(), new_database()
    create_sample(database.owner, sales=50, seed=11)
    (tmp_path / "mart.password").write_text(mart.owner.password)
    platform = Installation.create(
        tmp_path, database.reader, warehouses=f"{{ mart {in_postgres(mart, 'ticks')} }}"
    )
    with subprocess.Popen(
        [sys.executable, "-c", TICKS],
        env=platform.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as ticks:
        assert ticks.stdin is not None
        assert ticks.stdout is not None
        for change, statement in CHANGES.items():
            with session(database.owner) as owner:
                owner.run(statement)
            print(change, file=ticks.stdin)
            assert ticks.stdout.readline() == f"{change} False\n"
        ticks.stdin.close()
        assert ticks.wait(PATIENCE) == 0
