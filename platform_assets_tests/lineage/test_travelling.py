"""What is sensitive, carried through the platform: policy, Snowflake, Dagster, the report and the page."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from platform_assets.build import build_defs
from platform_assets.classification import INFO_TYPE_TAG, ORIGIN_TAG, Mark, Origin
from platform_assets.cli import app
from platform_assets.column_lineage import ColumnRef
from platform_assets.dlp.assembly import InspectionRoom
from platform_assets.dlp.findings import InspectedTable
from platform_assets.dlp.model import ColumnVerdict, InfoType, Likelihood
from platform_assets.dlp.settings import RuleSettings
from platform_assets.errors import LineageError, SettingsError
from platform_assets.lineage.assembly import LineageRoom
from platform_assets.lineage.serving import address_for, serving_page
from platform_assets.rooms import Rooms
from platform_assets.settings import Settings, load_settings
from platform_assets_tests.fixtures.house import keys_of, with_keys
from platform_assets_tests.fixtures.patience import PATIENCE

STAFF = ("totesys", "staff")
MAIL = ColumnRef(STAFF, "email_address")


def with_dlp(settings: Settings, **keys: Any) -> Settings:
    """The configuration with other keys in its block `dlp`."""
    return with_keys(settings, dlp=keys_of(settings).dlp.model_copy(update=keys))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The shipped configuration with a state folder of its own."""
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path / "state"))
    for name in ("DAGSTER_HOME", "LAKE_INGESTION", "LAKE_PROCESSED", "WAREHOUSE_PATH", "UPLOADS_PLACE"):
        monkeypatch.delenv(name, raising=False)
    return load_settings()


def record(settings: Settings, table: str, found: Mapping[str, str], *nothing_in: str) -> None:
    """Record that an inspection of a table of the lake has found these info types in its columns."""

    room = Rooms(settings).of(InspectionRoom)
    verdicts = tuple(
        ColumnVerdict(column, InfoType(info_type), Likelihood.LIKELY, 3, 3)
        for column, info_type in found.items()
    )
    name, version = room.detector
    room.findings.record_columns(
        [InspectedTable("lake", table, "1", (*found, *nothing_in), verdicts, 3, 3)],
        room.policy(),
        detector=name,
        detector_version=version,
        inspected_at=dt.datetime.now(dt.UTC),
        run_id="",
    )


def columns_with(settings: Settings, info_type: str) -> dict[str, str]:
    room = Rooms(settings).of(LineageRoom)
    return {
        str(mark.column): mark.origin.value
        for mark in room.classify(room.found_marks()).marks
        if mark.info_type == info_type
    }


def test_what_the_model_declares_is_known_before_anything_is_read(own: Settings) -> None:
    assert columns_with(own, "EMAIL_ADDRESS") == {
        "database/totesys/staff.email_address": "declared",
        "totesys/staff.email_address": "declared",
        "star/dim_staff.email_address": "derived",
        "warehouse/dim_staff.email_address": "derived",
        "snowflake/dim_staff.email_address": "derived",
    }


def test_a_finding_travels_from_where_it_was_made_to_the_delivery(own: Settings) -> None:
    record(own, "totesys/sales_order", {"unit_price": "CREDIT_CARD_NUMBER"})
    found = columns_with(own, "CREDIT_CARD_NUMBER")
    assert found["totesys/sales_order.unit_price"] == "found"
    assert found["delivery/daily_sales.amount"] == "derived"
    assert not [column for column in found if column.startswith("dlp/")]


def test_the_configuration_declares_columns_and_a_misspelt_one_is_told(own: Settings) -> None:
    declared = {"totesys/design.design_name": ("PERSON_NAME",), "totesys/design.gone": ("PERSON_NAME",)}
    changed = with_dlp(own, columns=declared)
    assert columns_with(changed, "PERSON_NAME")["star/dim_design.design_name"] == "derived"
    assert Rooms(changed).of(LineageRoom).problems() == [
        "dlp.columns names totesys/design.gone, which is no column of the lineage graph: it has no effect."
    ]


@pytest.mark.parametrize(
    ("block", "found"),
    [
        ('"staff" = [EMAIL_ADDRESS]', "its table's asset key, a dot and its name"),
        ('"totesys/staff.email_address" = [EMAIL_ADRESS]', "perhaps EMAIL_ADDRESS"),
        ('"totesys/staff.email_address" = []', "a list of info types"),
    ],
)
def test_mistakes_in_declared_columns_are_told(block: str, found: str, own: Settings, tmp_path: Path) -> None:
    file = tmp_path / "platform.conf"
    file.write_text(f'include "{own.file}"\ndlp.columns {{ {block} }}\n')
    with pytest.raises(SettingsError, match=re.escape(found)):
        Rooms(load_settings(file)).of(InspectionRoom).check_info_types()


@pytest.mark.parametrize(
    ("action", "options", "ends"),
    [
        ("tokenize", {}, True),
        ("redact", {}, True),
        ("drop", {}, True),
        ("mask", {}, True),
        ("mask", {"keep_last": 4}, False),
        ("block", {}, False),
        ("alert", {}, False),
    ],
)
def test_a_rule_that_leaves_nothing_of_a_value_ends_the_trail(
    own: Settings, action: str, options: dict[str, int], ends: bool
) -> None:
    rule = RuleSettings(action=action, info_types=("EMAIL_ADDRESS",), places=("warehouse/*",), **options)
    changed = with_dlp(own, rules={"contacts": rule})
    found = columns_with(changed, "EMAIL_ADDRESS")
    assert ("warehouse/dim_staff.email_address" in found) is not ends
    assert "snowflake/dim_staff.email_address" in found


def test_the_policy_knows_a_column_by_its_lineage_before_it_was_inspected(own: Settings) -> None:
    rule = RuleSettings(action="tokenize", info_types=("EMAIL_ADDRESS",), places=("star/*", "delivery/*"))
    room = Rooms(with_dlp(own, rules={"contacts": rule})).of(InspectionRoom)
    protection = room.protection()
    held = [("EMAIL_ADDRESS", Likelihood.VERY_LIKELY)]
    assert protection.known("star/dim_staff")["email_address"] == held
    # On the way into a warehouse too, where the rule takes it away.
    assert protection.known("warehouse/dim_staff")["email_address"] == held
    assert "email_address" not in protection.known("star/dim_design")


def test_snowflakes_tags_and_masks_follow_the_lineage(own: Settings) -> None:
    rule = RuleSettings(action="mask", info_types=("EMAIL_ADDRESS",), places=("star/*",))
    changed = with_dlp(own, rules={"contacts": rule})
    from platform_assets.dlp.snowflake_ddl import Place, statements

    room = Rooms(changed).of(InspectionRoom)
    from platform_assets.star.assembly import StarRoom

    tables = Rooms(changed).of(StarRoom).model.tables
    made = list(statements(room.known_marks(), tables, room.policy(), Place("star", "policies", "R")))
    column = 'ALTER TABLE "star"."dim_staff" MODIFY COLUMN "email_address"'
    assert f'{column} SET TAG "policies"."PLATFORM_INFO_TYPE" = \'EMAIL_ADDRESS\'' in made
    assert f'{column} SET MASKING POLICY "policies"."PLATFORM_MASK_VARCHAR"' in made


def test_columns_have_tags_and_lineage_in_dagster_and_assets_a_link(own: Settings) -> None:
    specs = {spec.key.to_user_string(): spec for spec in build_defs(own).resolve_all_asset_specs()}
    metadata = specs["star/dim_staff"].metadata
    columns = {column.name: column for column in metadata["dagster/column_schema"].columns}
    assert columns["email_address"].tags == {INFO_TYPE_TAG: "EMAIL_ADDRESS", ORIGIN_TAG: "derived"}
    assert columns["staff_id"].tags == {}
    lineage = metadata["dagster/column_lineage"]
    assert getattr(lineage, "value", lineage).deps_by_column["email_address"] == [
        dg.TableColumnDep(dg.AssetKey(STAFF), "email_address")
    ]
    assert metadata["column lineage"].url == "http://127.0.0.1:3001/#star/dim_staff"
    with_schema = [name for name, spec in specs.items() if "dagster/column_schema" in spec.metadata]
    assert len(with_schema) > 40
    assert [name for name in with_schema if "column lineage" not in specs[name].metadata] == []


def test_findings_reach_the_tags_once_the_page_was_made(own: Settings) -> None:
    record(own, "totesys/design", {"design_name": "PERSON_NAME"})
    with dg.DagsterInstance.ephemeral() as instance:
        defs = build_defs(own)
        ended = defs.resolve_job_def("lineage_columns").execute_in_process(instance=instance)
        assert ended.success
        [done] = ended.asset_materializations_for_node("lineage__columns")
        [checked] = ended.get_asset_check_evaluations()
    assert done.metadata["tables"].value == len(Rooms(own).of(LineageRoom).graph.tables)
    assert Path(str(done.metadata["file"].value)).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert 0 < int(str(done.metadata["size in bytes"].value)) < 1_500_000
    assert checked.passed
    specs = {spec.key.to_user_string(): spec for spec in build_defs(own).resolve_all_asset_specs()}
    columns = {
        column.name: column.tags
        for column in specs["star/dim_design"].metadata["dagster/column_schema"].columns
    }
    assert columns["design_name"] == {INFO_TYPE_TAG: "PERSON_NAME", ORIGIN_TAG: "derived"}


def test_a_finding_where_nothing_sensitive_flows_fails_the_check(own: Settings) -> None:
    record(own, "star/dim_design", {"design_name": "PERSON_NAME"})
    record(own, "totesys/design", {}, "design_name")
    with dg.DagsterInstance.ephemeral() as instance:
        ended = build_defs(own).resolve_job_def("lineage_columns").execute_in_process(instance=instance)
        [checked] = ended.get_asset_check_evaluations()
    assert (checked.passed, checked.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(checked.description).startswith("star/dim_design.design_name holds PERSON_NAME (LIKELY), but ")


def test_where_tells_every_place_with_the_way_to_it(own: Settings) -> None:
    told = CliRunner().invoke(app, ["lineage", "where", "email_address"])
    assert told.exit_code == 0, told.output
    assert told.stdout.startswith("EMAIL_ADDRESS can be in 5 columns:\n")
    assert "totesys/staff.email_address -identity-> star/dim_staff.email_address" in told.stdout
    as_json = json.loads(
        CliRunner().invoke(app, ["lineage", "where", "EMAIL_ADDRESS", "--format", "json"]).stdout
    )
    places = {one["column"]: one for one in as_json["places"]}
    assert places["warehouse/dim_staff.email_address"]["known_by"] == "derived"
    assert [step["to"] for step in places["star/dim_staff.email_address"]["way"]] == [
        "totesys/staff.email_address",
        "star/dim_staff.email_address",
    ]
    markdown = CliRunner().invoke(app, ["lineage", "where", "EMAIL_ADDRESS", "--format", "markdown"]).stdout
    assert "| `totesys/staff.email_address` | declared (VERY_LIKELY) |" in markdown


def test_where_tells_what_is_known_if_nothing_holds_an_info_type(own: Settings) -> None:
    told = CliRunner().invoke(app, ["lineage", "where", "EMAIL"])
    assert told.exit_code == 0
    assert "No column is known to hold EMAIL. Known are: EMAIL_ADDRESS, PERSON_NAME" in told.stderr


def test_open_writes_the_page_and_prints_its_path_without_a_browser(own: Settings) -> None:
    told = CliRunner().invoke(app, ["lineage", "open", "--no-browser", "--at", "star/dim_staff.location"])
    assert told.exit_code == 0, told.output
    assert Path(told.stdout.strip()).stat().st_size < 1_500_000
    wrong = CliRunner().invoke(app, ["lineage", "open", "--no-browser", "--at", "star/dim_staff.place"])
    assert wrong.exit_code == 1
    assert "has no column place" in wrong.stderr


def test_open_starts_a_browser_at_the_column(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    CliRunner().invoke(app, ["lineage", "open", "--at", "star/dim_staff.location"], catch_exceptions=False)
    assert [url.partition("#")[2] for url in opened] == ["star/dim_staff.location"]
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    assert "No browser could be started." in CliRunner().invoke(app, ["lineage", "open"]).stderr


def get(port: int, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()


def test_the_page_is_served_beside_the_ui_and_nothing_else_is(own: Settings) -> None:
    with Rooms(own).of(LineageRoom).serve_page("127.0.0.1", 0) as address:
        port = int(address.rpartition(":")[2])
        status, headers, body = get(port, "/")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert headers["x-content-type-options"] == "nosniff"
        assert "star/dim_staff" in body
        assert get(port, "/", "HEAD")[2] == ""
        assert get(port, "/graph.json")[0] == 404
        assert get(port, "/../../etc/passwd")[0] == 404
        with pytest.raises(LineageError, match="Choose another port"), serving_page(str, "127.0.0.1", port):
            raise AssertionError("two servers on one port")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:3001"),
        ("0.0.0.0", "http://127.0.0.1:3001"),
        ("::", "http://127.0.0.1:3001"),
        ("::1", "http://[::1]:3001"),
        ("localhost", "http://localhost:3001"),
    ],
)
def test_links_lead_to_an_address_that_a_browser_reaches(host: str, address: str) -> None:
    assert address_for(host, 3001) == address


def test_a_page_that_cannot_be_made_tells_why_over_http() -> None:
    def broken() -> str:
        raise LineageError("one.sql: <b> is wrong.")

    with serving_page(broken, "127.0.0.1", 0) as port:
        assert get(port, "/")[0::2] == (500, "<!doctype html><pre>one.sql: &lt;b&gt; is wrong.</pre>")


def test_remembered_findings_survive_and_a_damaged_file_is_no_finding(own: Settings) -> None:
    record(own, "totesys/design", {"design_name": "PERSON_NAME"})
    room = Rooms(own).of(LineageRoom)
    room.found_marks()
    column = ColumnRef(("totesys", "design"), "design_name")
    assert room.remembered_marks() == [Mark(column, "PERSON_NAME", "LIKELY", Origin.FOUND)]
    (own.platform.state_dir / "lineage" / "found.json").write_text('[["a"')
    assert room.remembered_marks() == []
