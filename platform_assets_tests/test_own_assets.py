"""The resources for the user's own assets, made from the configuration and used by an asset."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from platform_assets.bigquery.resources import bigquery_resource
from platform_assets.build import build_defs
from platform_assets.rooms import Rooms
from platform_assets.settings import Settings, load_settings
from platform_assets.snowflake.assembly import SnowflakeRoom
from platform_assets.snowflake.resources import snowflake_resource
from platform_assets_tests.fixtures.bigquery import FakeBigQuery
from platform_assets_tests.fixtures.gcs import GcsServer
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.snowflake import SnowflakeServer
from platform_assets_tests.fixtures.warehouse_snowflake import local_access

pytest_plugins = ["platform_assets_tests.fixtures.gcs", "platform_assets_tests.fixtures.bigquery"]

ROOT = Path(__file__).parents[1]
Configure = Callable[..., Settings]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Load the project's configuration with further lines; no credentials are found anywhere else."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path / "state"))

    def load(lines: str) -> Settings:
        file = tmp_path / "own.conf"
        file.write_text(f'include file("{ROOT / "config" / "platform.conf"}")\n{lines}\n', encoding="utf-8")
        return load_settings(file)

    return load


def storage(options: dict[str, str]) -> str:
    return "\n".join(f"lake.storage_options.{name} = {json.dumps(value)}" for name, value in options.items())


OWN = dg.define_asset_job("own", dg.AssetSelection.groups("own"), executor_def=dg.in_process_executor)


def materialized(
    settings: Settings, asset: dg.AssetsDefinition, resources: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Materialize a user's asset in the code location, and give its metadata."""
    asset = asset.map_asset_specs(lambda spec: spec.replace_attributes(group_name="own"))
    own = dg.Definitions(assets=[asset], jobs=[OWN])
    defs = dg.Definitions.merge(build_defs(settings, resources=resources), own)
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("own").execute_in_process(instance=instance)
    [event] = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def documented(name: str) -> dg.AssetsDefinition:
    """Give an asset of docs/your_own_assets.md, as it stands there."""
    page = (ROOT / "docs" / "your_own_assets.md").read_text(encoding="utf-8")
    [code] = [one for one in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if f"def {name}(" in one]
    names: dict[str, Any] = {"dg": dg, "Any": Any}
    exec(code, names)
    made: dg.AssetsDefinition = names[name]
    return made


def test_s3_is_reached_with_the_keys_of_the_configuration(
    configure: Configure, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = s3_server.client()
    for bucket in ("supplier", "shop"):
        place = {"LocationConstraint": s3_server.region}
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
    client.put_object(Bucket="supplier", Key="prices/a.csv", Body=b"the newest")
    monkeypatch.setenv("LAKE_KEY", s3_server.secret_access_key)
    options = s3_server.storage_options | {"AWS_SECRET_ACCESS_KEY": "secret://env/LAKE_KEY"}
    settings = configure(storage(options))
    assert materialized(settings, documented("price_lists")) == {"copied": "prices/a.csv"}
    assert client.get_object(Bucket="shop", Key="prices.csv")["Body"].read() == b"the newest"
    # The server does check who asks.
    monkeypatch.setenv("LAKE_KEY", "another")
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        materialized(settings, documented("price_lists"))


def test_google_cloud_storage_is_reached_as_the_lake_is(configure: Configure, gcs_server: GcsServer) -> None:
    gcs_server.client().create_bucket("partners")
    for name, content in {"in/a.csv": b"1", "in/b.csv": b"22", "out/c.csv": b"3"}.items():
        gcs_server.put("partners", name, content)
    found = materialized(configure(storage(gcs_server.options)), documented("partner_files"))
    assert found == {"files": 2, "bytes": 3}


def test_bigquery_has_the_project_of_the_warehouse(
    configure: Configure, bigquery_server: FakeBigQuery
) -> None:
    from dagster_gcp import BigQueryResource

    project = bigquery_server.create_project()
    settings = configure(
        f"warehouse {{ engine = bigquery, bigquery {{ project = {project}, location = EU }} }}"
    )
    made = build_defs(settings).resources["bigquery"].resource_fn  # type: ignore[index]
    configured = made(dg.build_init_resource_context())
    assert isinstance(configured, BigQueryResource)
    assert (configured.project, configured.location) == (project, "EU")
    # The configuration has no address for another server than Google's.
    local = bigquery_resource(bigquery_server.access(project))
    with local.get_client() as client:
        for dataset in ("star", "marts"):
            client.create_dataset(dataset)
        client.query(
            "CREATE TABLE star.fact_sales_order_current AS SELECT DATE '2024-02-29' AS agreed_delivery_date, "
            "3 AS units_sold, 14 AS unit_price"
        ).result()
    materialized(
        settings,
        documented("daily_revenue"),
        {"bigquery": dg.ResourceDefinition.hardcoded_resource(local)},
    )
    assert bigquery_server.rows(f'SELECT revenue FROM "{project}".marts.daily_revenue') == [(42,)]


ACCOUNT = """account = "organisation-account", user = loader, password = "secret://env/SNOWFLAKE_PASSWORD"
  warehouse = small, database = sales"""


@pytest.mark.parametrize(
    ("lines", "schema"),
    [
        (f"snowflake {{ {ACCOUNT}, schema = MARTS, role = LOADER }}", "MARTS"),
        (f"warehouse {{ engine = snowflake, snowflake {{ {ACCOUNT}, role = LOADER }} }}", None),
    ],
    ids=["the block snowflake", "a warehouse"],
)
def test_snowflake_has_the_account_of_the_configuration(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, lines: str, schema: str | None
) -> None:
    # Takes two seconds to import, which each process that collects the tests would spend.
    from dagster_snowflake import SnowflakeResource

    monkeypatch.setenv("SNOWFLAKE_PASSWORD", "of the test")
    made = build_defs(configure(lines)).resources["snowflake"].resource_fn  # type: ignore[index]
    resource = made(dg.build_init_resource_context())
    assert isinstance(resource, SnowflakeResource)
    assert (resource.account, resource.user, resource.warehouse) == (
        "organisation-account",
        "loader",
        "small",
    )
    assert (resource.database, resource.schema_, resource.role) == ("sales", schema, "LOADER")
    assert resource.password == "of the test"


def test_snowflake_runs_the_statements_of_an_asset(
    configure: Configure, snowflake_server: SnowflakeServer, snowflake_database: str
) -> None:
    access = replace(local_access(snowflake_server, snowflake_database), schema="STAR")
    with access.connect() as connection:
        connection.cursor().execute(
            "CREATE TABLE FACT_SALES_ORDER AS SELECT '2024-02-29'::DATE AS AGREED_DELIVERY_DATE "
            "UNION ALL SELECT '2999-12-31'::DATE"
        )
    given = {"snowflake": dg.ResourceDefinition.hardcoded_resource(snowflake_resource(access))}
    assert materialized(configure(""), documented("late_orders"), given) == {"late": 1}


def test_without_an_account_the_step_says_what_to_configure(configure: Configure) -> None:
    with pytest.raises(dg.DagsterResourceFunctionError) as error:
        materialized(configure(""), documented("late_orders"))
    assert "neither a block snowflake nor a warehouse with the engine snowflake" in str(error.value.__cause__)


def test_a_warehouse_keeps_its_name_when_a_resource_has_the_same(configure: Configure) -> None:
    settings = configure("warehouses.bigquery { engine = bigquery, bigquery { project = p, location = EU } }")
    found = build_defs(settings).resources
    assert found is not None
    assert found["bigquery"].description != build_defs(configure("")).resources["bigquery"].description  # type: ignore[index]


def test_loading_the_code_location_imports_none_of_the_packages() -> None:
    code = (
        "import sys, platform_assets.definitions as d\n"
        "assert {'s3', 'gcs', 'bigquery', 'snowflake'} <= set(d.defs.resources)\n"
        "heavy = ('dagster_aws', 'dagster_gcp', 'dagster_snowflake', 'boto3', 'google.cloud')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_copies_of_the_lake_are_offered_under_a_key_of_their_own(configure: Configure) -> None:
    settings = configure(f"snowflake {{ {ACCOUNT}, schema = MARTS }}")
    rooms = Rooms(settings)
    assert rooms.of(SnowflakeRoom).snowflake_access() is not None
    assert {"snowflake", "snowflake_copies"} <= set(build_defs(settings).resources or {})
