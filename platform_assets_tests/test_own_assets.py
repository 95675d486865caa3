"""The resources for the user's own assets, made from the configuration and used by an asset."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource
from dagster_gcp import BigQueryResource, GCSResource
from dagster_snowflake import SnowflakeResource

from platform_assets.bigquery.resources import bigquery_resource
from platform_assets.build import build_defs
from platform_assets.rooms import Rooms
from platform_assets.settings import Settings, load_settings
from platform_assets.snowflake.assembly import SnowflakeRoom
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


def value_of(settings: Settings, asset: dg.AssetsDefinition, resources: dict[str, Any] | None = None) -> Any:
    """Materialize a user's asset in the code location, and give what it returned."""
    defs = dg.Definitions.merge(
        build_defs(settings, resources=resources), dg.Definitions(assets=[asset], jobs=[OWN])
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("own").execute_in_process(instance=instance)
    return result.output_for_node(asset.op.name)


OWN = dg.define_asset_job("own", dg.AssetSelection.groups("own"), executor_def=dg.in_process_executor)
in_memory = dg.mem_io_manager


def own(function: Callable[..., Any]) -> dg.AssetsDefinition:
    made: dg.AssetsDefinition = dg.asset(group_name="own", io_manager_def=in_memory)(function)
    return made


def test_s3_is_reached_with_the_keys_of_the_configuration(
    configure: Configure, s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE_KEY", s3_server.secret_access_key)
    options = s3_server.storage_options | {"AWS_SECRET_ACCESS_KEY": "secret://env/LAKE_KEY"}

    @own
    def inbox(s3: S3Resource) -> list[str]:
        client = s3.get_client()
        client.put_object(Bucket=s3_bucket, Key="in/a.csv", Body=b"1")
        return [one["Key"] for one in client.list_objects_v2(Bucket=s3_bucket)["Contents"]]

    assert value_of(configure(storage(options)), inbox) == ["in/a.csv"]
    # The server does check who asks.
    monkeypatch.setenv("LAKE_KEY", "another")
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        value_of(configure(storage(options)), inbox)


def test_google_cloud_storage_is_reached_as_the_lake_is(
    configure: Configure, gcs_server: GcsServer, gcs_bucket: str
) -> None:
    @own
    def inbox(gcs: GCSResource) -> list[str]:
        bucket = gcs.get_client().bucket(gcs_bucket)
        bucket.blob("in/a.csv").upload_from_string(b"1")
        return [one.name for one in bucket.list_blobs()]

    assert value_of(configure(storage(gcs_server.options)), inbox) == ["in/a.csv"]


def test_bigquery_has_the_project_of_the_warehouse(
    configure: Configure, bigquery_server: FakeBigQuery
) -> None:
    project = bigquery_server.create_project()

    @own
    def total(bigquery: BigQueryResource) -> int:
        with bigquery.get_client() as client:
            client.create_dataset("marts")
            client.query("CREATE TABLE marts.sums AS SELECT 20 AS x UNION ALL SELECT 22").result()
            [row] = client.query("SELECT SUM(x) AS total FROM marts.sums").result()
            return int(row["total"])

    settings = configure(
        f"warehouse {{ engine = bigquery, bigquery {{ project = {project}, location = EU }} }}"
    )
    made = build_defs(settings).resources["bigquery"].resource_fn  # type: ignore[index]
    configured = made(dg.build_init_resource_context())
    assert isinstance(configured, BigQueryResource)
    assert (configured.project, configured.location) == (project, "EU")
    # The configuration has no address for another server than Google's.
    local = bigquery_resource(bigquery_server.access(project))
    assert value_of(settings, total, {"bigquery": dg.ResourceDefinition.hardcoded_resource(local)}) == 42


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
    from platform_assets.snowflake.resources import snowflake_resource

    @own
    def total(snowflake: SnowflakeResource) -> int:
        with snowflake.get_connection() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE STAR.SUMS AS SELECT 20 AS X UNION ALL SELECT 22")
            [(found,)] = cursor.execute("SELECT SUM(X) FROM STAR.SUMS").fetchall()
            return int(found)

    local = snowflake_resource(local_access(snowflake_server, snowflake_database))
    given = {"snowflake": dg.ResourceDefinition.hardcoded_resource(local)}
    assert value_of(configure(""), total, given) == 42


def test_without_an_account_the_step_says_what_to_configure(configure: Configure) -> None:
    @own
    def total(snowflake: dg.ResourceParam[Any]) -> int:
        return 0

    with pytest.raises(dg.DagsterResourceFunctionError) as error:
        value_of(configure(""), total)
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
