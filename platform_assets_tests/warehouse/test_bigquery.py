"""What is BigQuery's own about its warehouse; what every warehouse does is in `test_conformance.py`."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import requests
import requests.adapters
import sqlglot
from sqlglot import exp

from platform_assets.bigquery.access import BigQueryAccess, LoadOvertaken
from platform_assets.bigquery.types import loadable, schema_fields
from platform_assets.errors import WarehouseBusy, WarehouseError
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.lake import Lake
from platform_assets.model import table
from platform_assets.model.dialects import BIGQUERY
from platform_assets.model.table import Table
from platform_assets.model.totesys import star
from platform_assets.warehouse.bigquery import BigQueryWarehouse
from platform_assets.warehouse.interface import Load
from platform_assets_tests.fixtures.bigquery import FakeBigQuery, FakeProject
from platform_assets_tests.warehouse.conformance import StarLake, row_of

if TYPE_CHECKING:
    from deltalake import DeltaTable

LIBRARIES = "import sys; print(sorted(name for name in sys.modules if name.split('.')[0] == 'google'))"


@pytest.fixture
def project(bigquery_server: FakeBigQuery) -> str:
    return bigquery_server.create_project()


@pytest.fixture
def asked(bigquery_server: FakeBigQuery, project: str) -> FakeProject:
    return bigquery_server.projects[project]


@pytest.fixture
def warehouse(bigquery_server: FakeBigQuery, project: str, tmp_path: Path) -> BigQueryWarehouse:
    return BigQueryWarehouse(bigquery_server.access(project), SqlEngine(256, 2, tmp_path / "spill"))


@pytest.fixture
def lake(tmp_path: Path) -> StarLake:
    return StarLake.with_rows(tmp_path / "lake")


def test_nothing_of_googles_is_imported_before_a_client_is_made() -> None:
    modules = (
        "platform_assets.warehouse.bigquery, platform_assets.bigquery.command, platform_assets.bigquery.load"
    )
    made = "platform_assets.bigquery.access.BigQueryAccess('p', credentials=str)"
    script = f"import {modules}; {made}; {LIBRARIES}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_keys_partitions_and_descriptions_are_declared(
    warehouse: BigQueryWarehouse, lake: StarLake, asked: FakeProject, project: str
) -> None:
    warehouse.load(lake.lake, star.TABLES)
    payment = asked.table("star", "fact_payment")
    assert payment.layout == ("PARTITION BY TIMESTAMP_TRUNC(`_seen_at`, MONTH) CLUSTER BY `payment_id`")
    assert payment.constraints == [
        "PRIMARY KEY (`payment_record_id`) NOT ENFORCED",
        *(
            f"FOREIGN KEY (`{column}`) REFERENCES `{project}`.`star`.`{parent}` "
            f"(`{lake.table(parent).primary_key[0]}`) NOT ENFORCED"
            for column, parent in star.FACT_PAYMENT.foreign_keys
        ),
    ]
    created = next(statement for statement in asked.statements if "`star`.`fact_payment` (" in statement)
    assert f"OPTIONS (description = {BIGQUERY.literal(star.FACT_PAYMENT.description)})" in created


def test_all_tables_and_their_records_are_written_by_one_transaction(
    warehouse: BigQueryWarehouse, lake: StarLake, asked: FakeProject
) -> None:
    warehouse.load(lake.lake, star.TABLES)
    [script] = [statement for statement in asked.statements if statement.startswith("BEGIN TRANSACTION")]
    parsed = sqlglot.parse(script, read="bigquery")
    kinds = [type(one).__name__ for one in parsed if one is not None]
    dimensions = sum(one.kind == "dimension" for one in star.TABLES)
    facts = len(star.TABLES) - dimensions
    assert kinds == [
        *("Transaction", "Update", "Select"),
        *(["Merge", "Insert"] * dimensions),
        *(["Insert", "Insert"] * facts),
        "Commit",
    ]
    for one in asked.statements:
        assert not any(
            statement and statement.find(exp.Command) for statement in sqlglot.parse(one, read="bigquery")
        )
    assert all(
        job["configuration"]["labels"] == {"application": "platform_assets"} for job in asked.jobs.values()
    )
    assert {job["jobReference"]["location"] for job in asked.jobs.values()} == {"EU"}


def test_staging_tables_expire_and_are_cleared_away(
    warehouse: BigQueryWarehouse, lake: StarLake, asked: FakeProject
) -> None:
    warehouse.load(lake.lake, star.TABLES)
    assert sorted(asked.datasets["platform"].tables) == ["load_lock", "loads"]
    # One that a crash leaves behind: it is used again, and it is gone a day later.
    second = row_of(star.FACT_PAYMENT, 3, 2)
    lake.put("fact_payment", 2, second)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platform_assets.warehouse.bigquery._Connected._clear_away", lambda *_: None)
        patch.setattr("platform_assets.warehouse.bigquery._Connected._guarded", lambda *_: ["SELEC 1"])
        assert "Syntax error" in warehouse.load(lake.lake, star.TABLES)["fact_payment"].stopped
    [left] = [name for name in asked.datasets["platform"].tables if name.startswith("staging_fact_payment_")]
    expires = dt.datetime.fromtimestamp(int(asked.table("platform", left).expires or 0) / 1000, dt.UTC)
    assert dt.timedelta(hours=23) < expires - dt.datetime.now(dt.UTC) <= dt.timedelta(hours=24)
    uploads = len([path for _, path in asked.requests if path == "upload"])
    assert warehouse.load(lake.lake, [star.FACT_PAYMENT]) == {"fact_payment": Load(1, 2, 1, 3)}
    assert len([path for _, path in asked.requests if path == "upload"]) == uploads
    assert sorted(asked.datasets["platform"].tables) == ["load_lock", "loads"]


@dataclass(frozen=True)
class InBucket(LakeTable):
    """A lake table that says it is in a bucket, and is on local disk."""

    folder: str = ""

    def open(self) -> DeltaTable | None:
        return LakeTable(self.folder, self.columns).open()


@dataclass(frozen=True)
class LakeInBucket(Lake):
    """A lake whose star tables are in a bucket."""

    def star(self, table: Table) -> LakeTable:
        local = super().star(table)
        relative = Path(local.uri).relative_to(self.processed)
        return InBucket(f"gs://processed/{relative}", local.columns, folder=local.uri)


def test_a_lake_in_a_bucket_is_read_by_bigquery_itself(
    warehouse: BigQueryWarehouse, lake: StarLake, asked: FakeProject
) -> None:
    asked.objects["gs://processed"] = Path(lake.lake.processed)
    remote = LakeInBucket(lake.lake.ingestion, lake.lake.processed)
    warehouse.load(remote, star.TABLES)
    lake.put("fact_payment", 2, row_of(star.FACT_PAYMENT, 3, 2))
    design = lake.table("dim_design")
    lake.put("dim_design", 2, row_of(design, 1, 2, "update", design_name="newer"), row_of(design, 2, 2))
    before = len(asked.loads)
    loads = warehouse.load(remote, star.TABLES)
    assert (loads["fact_payment"], loads["dim_design"]) == (Load(1, 2, 1, 3), Load(1, 2, 2, 2))
    assert not [path for _, path in asked.requests if path == "upload"]
    by_table = {load["destinationTable"]["tableId"].split("_")[2]: load for load in asked.loads[before:]}
    assert set(by_table) == {"payment", "design"}
    assert len(by_table["payment"]["sourceUris"]) == 1, "files of earlier batches are not read again"
    assert by_table["payment"]["sourceUris"][0].startswith("gs://processed/")
    with warehouse.read(["star", "dim_design"], ["design_id", "design_name"]) as rows:
        found = rows.read_all().sort_by("design_id").to_pylist()
    assert [row["design_name"] for row in found] == ["newer", "design_name 2"]


def test_other_datasets_are_used_where_they_are_named(
    warehouse: BigQueryWarehouse, lake: StarLake, asked: FakeProject
) -> None:
    other = replace(warehouse, star_schema="analytics", platform_schema="analytics_own")
    assert other.load(lake.lake, [star.FACT_PAYMENT])["fact_payment"] == Load(0, 1, 2, 2)
    assert sorted(asked.datasets) == ["analytics", "analytics_own"]
    with pytest.raises(WarehouseError, match="Dataset analytics of the warehouse belongs to the platform"):
        other.write(["analytics", "x"], pa.table({"a": [1]}).to_reader())


def test_datasets_of_another_location_are_not_taken_for_missing(
    warehouse: BigQueryWarehouse, lake: StarLake
) -> None:
    warehouse.load(lake.lake, star.TABLES)
    elsewhere = replace(warehouse, access=replace(warehouse.access, location="europe-west2"))
    with pytest.raises(WarehouseError, match="Jobs run in europe-west2"):
        elsewhere.load(lake.lake, star.TABLES)
    with pytest.raises(WarehouseError, match="it is in EU, and jobs are run in europe-west2"):
        replace(elsewhere, platform_schema="another").load(lake.lake, star.TABLES)


def test_a_request_that_fails_for_a_reason_that_passes_is_repeated(
    warehouse: BigQueryWarehouse, lake: StarLake, asked: FakeProject
) -> None:
    asked.failures += [(503, "backendError", "Error encountered. Try again later.")] * 2
    assert warehouse.load(lake.lake, [star.FACT_PAYMENT])["fact_payment"] == Load(0, 1, 2, 2)


@pytest.mark.parametrize("step", ["datasets/star", "star/tables", "CREATE TABLE", "load_lock` SET"])
def test_what_another_load_creates_between_the_look_and_the_creation_is_no_failure(
    warehouse: BigQueryWarehouse, lake: StarLake, asked: FakeProject, step: str
) -> None:
    race = Race(step, lambda: warehouse.load(lake.lake, star.TABLES), is_refused=step == "CREATE TABLE")
    access = RacingAccess(
        **{field.name: getattr(warehouse.access, field.name) for field in fields(BigQueryAccess)}, race=race
    )
    done = replace(warehouse, access=access).load(lake.lake, star.TABLES)
    assert race.is_over
    assert {name: (one.rows_written, one.stopped) for name, one in done.items()} == {
        table.name: (0, "") for table in star.TABLES
    }
    assert {name: one.row_count for name, one in done.items()} == {
        one.table: one.row_count for one in warehouse.status()
    }


@dataclass
class Race:
    """Another load that acts once before a request that names something, which may then be refused."""

    step: str
    other: Callable[[], object]
    is_refused: bool
    is_over: bool = False


@dataclass(frozen=True)
class RacingAccess(BigQueryAccess):
    """Access that another load overtakes."""

    race: Race | None = None

    @contextlib.contextmanager
    def connect(self) -> Iterator[Any]:
        with super().connect() as client:
            assert self.race is not None
            client._http.mount("http://", _Overtaken(self.race))
            yield client


class _Overtaken(requests.adapters.HTTPAdapter):
    def __init__(self, race: Race) -> None:
        super().__init__()
        self._race = race

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        race, body = self._race, request.body or b""
        asked = f"{request.url} {body.decode(errors='replace') if isinstance(body, bytes) else body}"
        if race.step not in asked or race.is_over:
            return super().send(request, *arguments, **options)
        race.is_over = True
        race.other()
        if not race.is_refused:
            return super().send(request, *arguments, **options)
        said = {"reason": "duplicate", "message": "Already Exists: Table star.dim_date"}
        # The job is accepted, and has failed.
        job = {
            **json.loads(body),
            "id": "refused",
            "status": {"state": "DONE", "errorResult": said, "errors": [said]},
        }
        refused = requests.Response()
        refused.status_code = 200
        refused.headers["Content-Type"] = "application/json"
        refused._content = json.dumps(job).encode()
        refused.request, refused.url = request, str(request.url)
        return refused


@pytest.mark.parametrize(
    ("status", "reason", "said", "kind", "advice"),
    [
        (403, "rateLimitExceeded", "Exceeded rate limits", WarehouseBusy, "This is temporary"),
        (403, "quotaExceeded", "Quota exceeded", WarehouseBusy, "This is temporary"),
        (400, "invalidQuery", "Could not serialize access to table x", LoadOvertaken, "nothing was written"),
        (403, "accessDenied", "Access Denied: BigQuery", WarehouseError, "Ask the project's owner"),
    ],
)  # fmt: skip
def test_errors_say_what_to_do(
    warehouse: BigQueryWarehouse,
    asked: FakeProject,
    status: int,
    reason: str,
    said: str,
    kind: type[WarehouseError],
    advice: str,
) -> None:
    impatient = replace(warehouse, access=replace(warehouse.access, retry_for=0.1))
    asked.failures += [(status, reason, said)] * 20
    with pytest.raises(WarehouseError) as error:
        impatient.status()
    asked.failures.clear()
    assert type(error.value) is kind
    assert error.value.retryable == issubclass(kind, WarehouseBusy)
    assert said in str(error.value)
    assert advice in str(error.value)
    assert "http://" not in str(error.value)


def test_a_server_that_does_not_answer_is_busy_after_the_configured_time(tmp_path: Path) -> None:
    nobody = BigQueryAccess("p", endpoint="http://127.0.0.1:9", retry_for=0.5)
    with pytest.raises(WarehouseBusy, match="does not answer"):
        BigQueryWarehouse(nobody, SqlEngine(64, 1, tmp_path)).status()


def test_credentials_that_are_refused_say_so(warehouse: BigQueryWarehouse, asked: FakeProject) -> None:
    asked.failures += [(401, "authError", "Invalid Credentials")] * 5
    with pytest.raises(WarehouseError, match="as the credentials are refused") as error:
        warehouse.status()
    assert not error.value.retryable


def test_without_credentials_it_is_said_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "no such file.json"))
    with pytest.raises(WarehouseError, match="gcloud auth application-default login"):
        BigQueryWarehouse(BigQueryAccess("p"), SqlEngine(64, 1, tmp_path)).status()


@pytest.mark.parametrize("secret", ["not JSON", "{}", '{"type": "service_account", "private_key": "hush"}'])
def test_credentials_that_are_none_are_refused_and_not_repeated(tmp_path: Path, secret: str) -> None:
    access = BigQueryAccess("p", credentials=lambda: secret)
    with pytest.raises(WarehouseError, match="not the JSON of a service account's key") as error:
        BigQueryWarehouse(access, SqlEngine(64, 1, tmp_path)).status()
    assert secret not in str(error.value)
    assert "hush" not in f"{error.value!r} {access!r}"


@pytest.mark.parametrize(
    ("type_", "declared"),
    [
        (table.Decimal(38, 9), "NUMERIC(38, 9)"),
        (table.Decimal(30, 0), "BIGNUMERIC(30, 0)"),
        (table.Decimal(29, 0), "NUMERIC(29, 0)"),
        (table.Decimal(12, 10), "BIGNUMERIC(12, 10)"),
        (table.Timestamp(utc=True), "TIMESTAMP"),
        (table.Timestamp(), "DATETIME"),
        (table.Integer(16), "INT64"),
    ],
)
def test_types_are_the_narrowest_that_hold_every_value(type_: table.LogicalType, declared: str) -> None:
    assert BIGQUERY.type_name(type_) == declared


def test_nested_rows_become_records_and_repeated_fields() -> None:
    type_ = pa.struct([("a", pa.int8()), ("b", pa.large_string())])
    given = pa.schema(
        [("one", type_), ("many", pa.list_(type_)), ("d", pa.dictionary(pa.int8(), pa.string()))]
    )
    fields: Sequence[object] = [
        (schema_field.name, schema_field.field_type, schema_field.mode)
        for schema_field in schema_fields(loadable(given))
    ]
    assert fields == [
        ("one", "RECORD", "NULLABLE"),
        ("many", "RECORD", "REPEATED"),
        ("d", "STRING", "NULLABLE"),
    ]


def test_names_and_values_are_quoted() -> None:
    assert BIGQUERY.quote("my project", "a`b\\c") == "`my project`.`a\\`b\\\\c`"
    text = 'it\'s \\ \n \r \x00 "quoted"'
    statement = sqlglot.parse_one(f"SELECT {BIGQUERY.literal(text)}", read="bigquery")
    [value] = statement.find_all(exp.Literal)
    assert value.this.replace("\\x00", "\x00") == text
