"""A second database by configuration: discovered from the command line, read by a job of its own."""

from __future__ import annotations

import datetime as dt
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from platform_assets import cli
from platform_assets.build import MAIN_JOB, build_defs
from platform_assets.errors import SettingsError
from platform_assets.lake.lake import Lake, folder_name, stream_table
from platform_assets.model.dialects import quote
from platform_assets.model.table import Column, Integer, Table
from platform_assets.rooms import Rooms
from platform_assets.runs import last_runs
from platform_assets.settings import Settings, load_settings
from platform_assets.source.assembly import SourceRoom
from platform_assets.source.connection import Connection
from platform_assets.source.declaration import Catalogue
from platform_assets.status import HasHoldings
from platform_assets_tests.fixtures.house import instance_of, keys_of, lake_of, run_of
from platform_assets_tests.fixtures.postgres import Database, NewDatabase
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.totesys import failed_checks, failures
from platform_assets_tests.integration.installation import NO_TELEMETRY, ROOT, Installation, session

NAMES = ("orders", "ORDERS", "Order Lines", "a/b", "a_b", "a__b", "select", "Größe", '%41"#', "x" * 63)
"""Names that the asset keys keep, and that no two folders, inputs or outputs may share."""
SCHEMA = (
    "CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL, amount numeric(10, 2), "
    "placed timestamptz)",
    "COMMENT ON TABLE orders IS 'What customers ordered'",
    "COMMENT ON COLUMN orders.amount IS 'In euro'",
    "INSERT INTO orders VALUES (1, 'ann', 1.50, '2026-01-02 03:04:05+00'), (2, 'bob', NULL, NULL)",
    "CREATE TABLE keyless (a integer)",
    "CREATE VIEW big AS SELECT id, customer FROM orders",
    *(f"CREATE TABLE {quote(name)} (id integer PRIMARY KEY, name text)" for name in NAMES[1:]),
    *(
        f"INSERT INTO {quote(name)} VALUES ({number}, 'it is {number}')"
        for number, name in enumerate(NAMES[1:], 1)
    ),
)


@dataclass(frozen=True)
class Shop:
    """A database that is not Totesys, and a platform that does not know of it yet."""

    database: Database
    folder: Path

    def change(self, *statements: str) -> None:
        """Runs statements as the owner; the reader may read what they make."""
        with session(self.database.owner) as owner:
            for statement in statements:
                owner.run(statement)
            owner.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {self.database.reader.user}")

    @property
    def options(self) -> list[str]:
        """Where it is, for the command line."""
        reader = self.database.reader
        return [
            *("--host", reader.host, "--port", str(reader.port), "--database", reader.database),
            *("--user", reader.user, "--password", "secret://file/./shop.password", "--sslmode", "disable"),
        ]

    @property
    def settings(self) -> Settings:
        """The configuration as it is now."""
        return load_settings(self.folder / "platform.conf")

    @property
    def file(self) -> Path:
        """Its configuration."""
        return self.folder / "sources" / "shop.conf"

    @property
    def catalogue(self) -> Path:
        """Its catalogue."""
        return self.folder / "catalogue" / "shop.json"

    def configure(self, lines: str = "") -> None:
        """Writes its configuration by hand."""
        reader = self.database.reader
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(
            f"""shop {{
              connection {{
                host = "{reader.host}", port = {reader.port}, database = "{reader.database}"
                user = "{reader.user}", password = "secret://file/./shop.password", sslmode = disable
              }}
              {lines}
            }}"""
        )

    def rows(self, table: str) -> list[dict[str, Any]]:
        """What the lake has of a table, by batch."""
        lake = lake_of(self.settings)
        rows = stream_table(replace(lake, processed=lake.ingestion), ["shop", folder_name(table)])
        return sorted(rows.read_all().to_pylist(), key=lambda row: row["_batch"])

    def run(self, instance: dg.DagsterInstance, job: str = "shop_to_lake") -> dg.ExecuteInProcessResult:
        """Runs one of the code location's jobs."""
        found = build_defs(self.settings).resolve_job_def(job)
        return found.execute_in_process(instance=instance, raise_on_error=False)


@pytest.fixture
def shop(new_database: NewDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    created = new_database()
    # Totesys is a server that is down: nothing here needs it.
    nowhere = Connection("127.0.0.1", 9, "totesys", "nobody", "none")
    platform = Installation.create(tmp_path / "platform", nowhere)
    (platform.folder / "shop.password").write_text(created.reader.password)
    monkeypatch.setenv("PLATFORM_CONFIG", str(platform.folder / "platform.conf"))
    monkeypatch.setenv("DAGSTER_HOME", str(platform.folder / "dagster"))
    made = Shop(created, platform.folder)
    made.change(*SCHEMA)
    return made


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(settings=NO_TELEMETRY) as ephemeral:
        yield ephemeral


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "400"})


def metadata(result: dg.ExecuteInProcessResult, table: str) -> dict[str, Any]:
    (found,) = [
        event.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["shop", table])
    ]
    return {name: value.value for name, value in found.metadata.items()}


def test_a_source_is_discovered_and_read_from_the_command_line_alone(shop: Shop) -> None:
    discovered = command("source", "discover", "shop", *shop.options)
    assert discovered.exit_code == 0, discovered.output
    assert f"The configuration is in {shop.file}." in discovered.output
    assert f"The catalogue is in {shop.catalogue}." in discovered.output
    assert "The table public.keyless cannot be read: nothing identifies its rows" in discovered.output
    assert "The view public.big cannot be read: nothing identifies its rows" in discovered.output
    catalogue = Catalogue.read(shop.catalogue, "shop")
    assert catalogue is not None
    assert set(catalogue.tables) == set(NAMES)
    assert shop.database.reader.password not in shop.file.read_text() + shop.catalogue.read_text()

    ran = command("run", "shop")
    assert ran.exit_code == 0, ran.output
    assert "shop/orders: 2 inserted, 0 updated, 0 deleted" in ran.output
    assert "Source shop was last read " in ran.output
    assert re.search(r"Deletions were last checked \d+ \w+ ago\.", ran.output)
    assert "No run has read source totesys yet." in ran.output
    assert [(row["id"], row["customer"], row["amount"]) for row in shop.rows("orders")] == [
        (1, "ann", Decimal("1.50")),
        (2, "bob", None),
    ]
    for number, name in enumerate(NAMES[1:], 1):
        assert [(row["id"], row["name"]) for row in shop.rows(name)] == [(number, f"it is {number}")]
    folders = [path.name for path in (shop.folder / "lake" / "ingestion" / "shop").iterdir()]
    assert sorted(folders) == sorted(folder_name(name) for name in NAMES)
    assert len({name.lower() for name in folders}) == len(NAMES)


def test_what_changes_in_the_source_arrives_with_the_next_run_and_is_told(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    command("source", "discover", "shop", *shop.options)
    first = shop.run(instance)
    assert first.success, failures(first)
    assert failed_checks(first) == {}
    said = metadata(first, "orders")
    assert (said["dagster/row_count"], said["inserted"], said["rows read"]) == (2, 2, 2)
    assert "the lake has no cursor for it yet" in said["capture"]
    assert "| 1 | ann | 1.50 |" in said["preview"]
    assert "schema drift" not in said
    shop.change(
        "UPDATE orders SET amount = 2 WHERE id = 1", "DELETE FROM orders WHERE id = 2",
        "INSERT INTO orders VALUES (3, 'eve', 0, NULL)",
    )  # fmt: skip
    said = metadata(shop.run(instance), "orders")
    assert (said["inserted"], said["updated"], said["deleted"]) == (1, 1, 1)
    assert (said["dagster/row_count"], said["rows read"], said["batch"]) == (2, 2, 2)
    assert said["capture"] == "rows written since the last batch, by transaction visibility (xmin)"
    assert {(row["_batch"], row["_change"], row["id"]) for row in shop.rows("orders")[2:]} == {
        (2, "insert", 3), (2, "update", 1), (2, "delete", 2)
    }  # fmt: skip
    assert metadata(shop.run(instance), "orders")["batch"] == 2


def test_a_new_column_flows_without_a_new_look_and_is_shown(shop: Shop, instance: dg.DagsterInstance) -> None:
    command("source", "discover", "shop", *shop.options)
    shop.run(instance)
    shop.change("ALTER TABLE orders ADD COLUMN note text DEFAULT 'none'")
    result = shop.run(instance)
    assert failed_checks(result) == {}
    said = metadata(result, "orders")
    assert said["schema drift"] == "- Column note is new."
    assert "note" in [column.name for column in said["dagster/column_schema"].columns]
    (check,) = [
        evaluation
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.check_name == "source_schema" and evaluation.asset_key.path[-1] == "orders"
    ]
    assert check.passed
    assert check.description == "Applied:\n\n- Column note is new."
    assert [row["note"] for row in shop.rows("orders")][-2:] == ["none", "none"]
    said = metadata(shop.run(instance), "orders")
    assert "schema drift" not in said
    assert "note" in [column.name for column in said["dagster/column_schema"].columns]
    again = command("source", "discover", "shop")
    assert "orders: column note is new." in again.output
    assert "note" in shop.catalogue.read_text()


def test_a_table_that_cannot_be_taken_in_is_left_alone_and_said_to_be_stale(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    command("source", "discover", "shop", *shop.options)
    good = shop.run(instance)
    taken_at = metadata(good, "orders")["snapshot taken at"]
    shop.change(
        "DROP VIEW big", "ALTER TABLE orders ALTER COLUMN amount TYPE text",
        "INSERT INTO orders VALUES (3, 'eve', 'x', NULL)", "INSERT INTO \"ORDERS\" VALUES (7, 'new')",
    )  # fmt: skip
    for _ in range(2):
        result = shop.run(instance)
        failed = failed_checks(result)
        assert not result.success
        assert list(failed) == ["shop/orders:source_schema"]
        [told] = failures(result)
        assert told.endswith(f"shop/orders: {failed['shop/orders:source_schema']}")
        assert "orders.amount is text (before: numeric(10,2))" in failed["shop/orders:source_schema"]
        assert "Undo the change, or read the table through a view" in failed["shop/orders:source_schema"]
        said = metadata(result, "orders")
        assert said["stopped"] == failed["shop/orders:source_schema"]
        assert (said["dagster/row_count"], said["inserted"], said["rows read"]) == (2, 0, 0)
        assert said["snapshot taken at"] == taken_at
        assert said["platform_assets/up_to_date_at"] >= taken_at
    assert [row["id"] for row in shop.rows("ORDERS")] == [1, 7]
    event = instance.get_latest_materialization_event(dg.AssetKey(["shop", "orders"]))
    assert event is not None
    assert metadata(result, "orders")["platform_assets/up_to_date_at"] < event.timestamp
    shop.change(
        "ALTER TABLE orders ALTER COLUMN amount TYPE numeric(10, 2) USING nullif(amount, 'x')::numeric"
    )
    mended = shop.run(instance)
    assert failed_checks(mended) == {}
    assert metadata(mended, "orders")["dagster/row_count"] == 3
    assert "stopped" not in metadata(mended, "orders")


def freshness(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {
        "/".join(evaluation.asset_key.path): evaluation.passed
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.asset_key.path[0] == "shop"
    }


def test_freshness_is_that_of_the_data_and_within_what_the_source_says(
    shop: Shop, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.configure('tables = [orders, ORDERS], freshness.within = 90, schedule.cron = "0 * * * *"')
    assert freshness(shop.run(instance, "freshness_checks_job")) == {
        "shop/orders": False,
        "shop/ORDERS": False,
    }
    shop.run(instance)
    assert freshness(shop.run(instance, "freshness_checks_job")) == {"shop/orders": True, "shop/ORDERS": True}

    key = dg.AssetKey(["shop", "orders"])
    hours_ago = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=91)
    for up_to_date_at, expected in ((hours_ago, False), (hours_ago + dt.timedelta(minutes=60), True)):
        said = {
            "stopped": "its columns changed",
            "platform_assets/up_to_date_at": dg.MetadataValue.timestamp(up_to_date_at),
        }
        instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=said))
        fresh = freshness(shop.run(instance, "freshness_checks_job"))
        assert fresh == {"shop/orders": expected, "shop/ORDERS": True}
    instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata={"stopped": "from the start"}))
    assert not freshness(shop.run(instance, "freshness_checks_job"))["shop/orders"]


def test_status_shows_every_source_and_what_was_left_as_it_was(shop: Shop) -> None:
    command("source", "discover", "shop", *shop.options)
    command("run", "shop")
    shop.change("DROP VIEW big", "ALTER TABLE orders ALTER COLUMN amount TYPE text")
    ran = command("run", "shop")
    assert ran.exit_code == 1
    assert "orders.amount is text" in ran.output
    shown = command("status")
    assert "shop/orders was skipped and keeps its last loaded data: orders.amount is text" in shown.output
    tables = Rooms(shop.settings).of(SourceRoom).source_tables()
    named = {name: [table.name for table in listed] for name, listed in tables.items()}
    with instance_of(shop.settings) as instance:
        (totesys, look) = last_runs(instance, named)
    assert (totesys.source, totesys.at, look.source) == ("totesys", None, "shop")
    assert list(look.stopped) == ["orders"]
    settings = shop.settings
    held = [holding for room in Rooms(settings).offering(HasHoldings) for holding in room.holdings()]
    rows = {one.table: (one.rows, one.batch) for one in held if one.layer == "shop"}
    assert rows["orders"] == (2, 1)
    assert rows["select"] == (1, 1)


def test_each_source_has_a_job_and_a_schedule_and_only_one_run_writes_to_the_lake(shop: Shop) -> None:
    shop.configure(
        'tables = [orders], freshness.within = 90, schedule { cron = "7 * * * *", timezone = Asia/Tokyo }'
    )
    defs = build_defs(shop.settings)
    main, own = defs.resolve_job_def(MAIN_JOB), defs.resolve_job_def("shop_to_lake")
    assert main.run_tags == own.run_tags == {"platform_assets/exclusive": MAIN_JOB}
    groups = {job.name: {key.path[0] for key in job.asset_layer.executable_asset_keys} for job in (main, own)}
    assert groups == {MAIN_JOB: {"totesys", "star", "warehouse"}, "shop_to_lake": {"shop"}}
    schedules = {
        schedule.name: (schedule.cron_schedule, schedule.execution_timezone)
        for schedule in defs.schedules or ()
        if isinstance(schedule, dg.ScheduleDefinition)
    }
    assert schedules["shop_to_lake_schedule"] == ("7 * * * *", "Asia/Tokyo")
    assert schedules[f"{MAIN_JOB}_schedule"] == ("*/5 * * * *", "UTC")


def test_tables_that_are_named_need_no_catalogue_and_patterns_do(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    shop.configure("tables = [orders, ORDERS]")
    result = shop.run(instance)
    assert result.success, failures(result)
    assert failed_checks(result) == {}
    said = metadata(result, "orders")
    assert [column.name for column in said["dagster/column_schema"].columns][:4] == [
        *("id", "customer", "amount", "placed"),
    ]
    assert "| 1 | ann | 1.50 |" in said["preview"]
    shop.configure('tables = [orders, "inv_*"]')
    with pytest.raises(SettingsError) as error:
        build_defs(shop.settings)
    assert "Source shop reads the tables that match inv_*" in str(error.value)
    assert str(error.value).endswith("platform-assets source discover shop.")


def test_a_user_reads_a_table_of_the_source_and_is_told_where_it_is_not_known(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    received: dict[str, pa.Table] = {}

    @dg.asset(ins={"rows": dg.AssetIn(dg.AssetKey(["shop", "Order Lines"]))})
    def mine(rows: pa.Table) -> None:
        received["rows"] = rows

    @dg.asset(ins={"rows": dg.AssetIn(dg.AssetKey(["shop", "orders"]))})
    def amounts(rows: pa.Table) -> None:
        received["amounts"] = rows

    def run_mine(*assets: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
        jobs = [dg.define_asset_job("mine_job", dg.AssetSelection.assets(*assets))]
        defs = dg.Definitions.merge(
            build_defs(shop.settings),
            dg.Definitions(assets=assets, jobs=jobs, executor=dg.in_process_executor),
        )
        return defs.resolve_job_def("mine_job").execute_in_process(instance=instance, raise_on_error=False)

    command("source", "discover", "shop", *shop.options)
    shop.run(instance)
    assert run_mine(mine).success
    assert received["rows"].column_names[:3] == ["id", "name", "_change"]
    assert received["rows"]["name"].to_pylist() == ["it is 2"]
    # A newer catalogue says text; what the lake has stays what it is.
    shop.change("DROP VIEW big", "ALTER TABLE orders ALTER COLUMN amount TYPE text")
    command("source", "discover", "shop")
    assert run_mine(amounts).success
    assert received["amounts"]["amount"].to_pylist() == [Decimal("1.50"), None]
    shop.catalogue.unlink()
    shop.configure('tables = ["Order Lines", orders]')
    result = run_mine(mine)
    assert not result.success
    assert "platform-assets source discover shop" in failures(result)[0]


def test_the_code_location_loads_with_the_server_down_and_shows_the_catalogue(shop: Shop) -> None:
    command("source", "discover", "shop", *shop.options)
    text = shop.file.read_text()
    shop.file.write_text(text.replace(f"port = {shop.database.reader.port}", "port = 9"))
    specs = {spec.key: spec for spec in build_defs(shop.settings).resolve_all_asset_specs()}
    spec = specs[dg.AssetKey(["shop", "orders"])]
    assert spec.group_name == "shop"
    assert list(spec.owners) == ["team:data-platform"]
    assert spec.kinds == {"postgres", "deltalake"}
    assert spec.description is not None
    assert spec.description.startswith("What customers ordered. ")
    columns = {column.name: column for column in spec.metadata["dagster/column_schema"].columns}
    assert columns["amount"].description == "In euro"
    assert columns["amount"].type == "numeric(38,2)"
    assert not columns["customer"].constraints.nullable
    assert {key.path[-1] for key in specs if key.path[0] == "shop"} == set(NAMES)
    graph = build_defs(shop.settings).resolve_asset_graph()
    checks = {key.name for key in graph.asset_check_keys if key.asset_key == spec.key}
    assert checks == {"source_schema", "source_matches_lake", "primary_key", "not_null", "freshness"}


def test_the_code_location_imports_nothing_of_the_reading_for_its_catalogues(shop: Shop) -> None:
    command("source", "discover", "shop", *shop.options)
    code = (
        "import sys, platform_assets.definitions; "
        "print({'pyarrow', 'duckdb', 'deltalake', 'pandas', 'pg8000', 'numpy'} & set(sys.modules))"
    )
    platform = Installation(shop.folder, shop.settings)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=platform.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"


def test_views_are_read_where_their_key_and_strategy_are_configured(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    shop.configure(
        'tables = [big, "ord*"], exclude = ["Ord*"]\n'
        "overrides { big { key = [id] }, orders { strategy = last_updated, column = placed\n"
        'types { amount = "decimal(20,4)" } } }'
    )
    assert command("source", "discover", "shop").exit_code == 0
    first = shop.run(instance)
    assert first.success, failures(first)
    assert [row["id"] for row in shop.rows("big")] == [1, 2]
    assert shop.rows("orders")[0]["amount"] == Decimal("1.5000")
    shop.change("INSERT INTO orders VALUES (3, 'eve', 0, '2027-01-01')")
    second = shop.run(instance)
    assert metadata(second, "big")["capture"] == "a comparison of all rows (diff)"
    assert "last_updated" in metadata(second, "orders")["capture"]
    assert metadata(second, "orders")["inserted"] == metadata(second, "big")["inserted"] == 1


def test_an_override_of_a_table_that_the_catalogue_lacks_is_a_mistake(shop: Shop) -> None:
    command("source", "discover", "shop", *shop.options)
    shop.configure("overrides { ordrs { strategy = diff } }")
    with pytest.raises(
        SettingsError, match=r"sources\.shop\.overrides configures ordrs, and its catalogue has"
    ):
        build_defs(shop.settings)
    shop.configure("")
    (shop.folder / "platform.conf").open("a").write("\nsources.totesys.overrides.stuff.lag = 1\n")
    with pytest.raises(SettingsError, match=r"sources\.totesys\.overrides configures stuff, and the model"):
        build_defs(shop.settings)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["crm"], "The configuration has no source crm. To create "),
        (["totesys"], "The source totesys cannot be discovered: the model declares"),
        (["shop", "--user", "x"], "shop is configured already, so these options would be ignored."),
        (["shop", "--host", "h", "--database", "d", "--user", "u"], "is already configured in "),
        (["star", "--host", "h", "--database", "d", "--user", "u"], 'found a source called "star"'),
        (["crm", "--host", "h"], "sources.crm.connection.database: found nothing"),
        (["crm", "--host", "h", "--database", "d", "--user", "u", "--password", "pw"], "a literal value"),
        (["crm", "--host", "h", "--database", "d", "--user", "u", "--port", "0"], "expected a port from"),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line_is_one_sentence_and_nothing_is_written(
    shop: Shop, arguments: list[str], expected: str
) -> None:
    shop.configure()
    before = sorted(path for path in shop.folder.rglob("*") if path.is_file())
    done = command("source", "discover", *arguments)
    assert done.exit_code == 1
    assert expected in done.output
    assert "Traceback" not in done.output
    assert sorted(path for path in shop.folder.rglob("*") if path.is_file()) == before


def test_a_configuration_is_written_anew_only_when_asked_for(shop: Shop) -> None:
    shop.configure("tables = [orders]")
    mine = shop.file.read_text()
    assert command("source", "discover", "shop", *shop.options).exit_code == 1
    assert shop.file.read_text() == mine
    assert command("source", "discover", "shop", *shop.options, "--replace").exit_code == 0
    assert keys_of(shop.settings).sources.discovered["shop"].tables == ("*",)


def test_a_new_look_tells_what_is_new_gone_and_changed_and_keeps_the_configuration(shop: Shop) -> None:
    command("source", "discover", "shop", *shop.options)
    mine = shop.file.read_text() + "# mine\n"
    shop.file.write_text(mine)
    same = shop.catalogue.read_bytes()
    again = command("source", "discover", "shop")
    assert f"The catalogue is in {shop.catalogue}, unchanged." in again.output
    assert shop.catalogue.read_bytes() == same
    shop.change(
        'DROP TABLE "select"', "CREATE TABLE fresh (id integer PRIMARY KEY)",
        'ALTER TABLE "ORDERS" ALTER COLUMN name SET NOT NULL', "DROP TABLE keyless",
    )  # fmt: skip
    shop.file.write_text(mine.replace('tables = ["*"]', 'tables = ["*", nothing]'))
    changed = command("source", "discover", "shop")
    lines = {line.split()[0]: line.split()[-1] for line in changed.output.splitlines() if line.split()}
    assert (lines["fresh"], lines["select"], lines["big"]) == ("new", "gone", "refused")
    assert "ORDERS: column name cannot be NULL any more." in changed.output
    assert "Nothing matches nothing" in changed.output
    tables = json.loads(shop.catalogue.read_bytes())["tables"]
    assert "fresh" in tables
    assert "select" not in tables
    assert shop.file.read_text().endswith("# mine\n")


def test_a_source_of_which_nothing_can_be_read_leaves_everything_as_it_was(shop: Shop) -> None:
    shop.configure("tables = [keyless]")
    done = command("source", "discover", "shop")
    assert done.exit_code == 1
    assert "None of the tables of shop can be read, so no catalogue was written." in done.output
    assert not shop.catalogue.exists()


def test_a_job_of_a_source_that_is_not_there_is_refused(shop: Shop) -> None:
    done = command("run", "crm")
    assert done.exit_code == 1
    assert "The configuration has no source crm; it has totesys." in done.output
    shop.configure()
    shop.catalogue.parent.mkdir()
    Catalogue().write(shop.catalogue)
    done = command("run", "shop")
    assert done.exit_code == 1
    assert "has no tables to read" in done.output


def test_a_source_that_is_down_fails_its_own_run_only_with_the_platforms_sentence(shop: Shop) -> None:
    command("source", "discover", "shop", *shop.options)
    ran = run_of(shop.settings, MAIN_JOB)
    assert not ran.succeeded
    assert ran.failures[0].startswith("PostgreSQL at 127.0.0.1:9 cannot be reached")
    ran = run_of(shop.settings, "shop_to_lake")
    assert (ran.succeeded, ran.failures, ran.failed_checks) == (True, (), ())
    with instance_of(shop.settings) as instance:
        assert len(instance.get_runs()) == 2


@pytest.mark.parametrize("place", ["local disk", "s3"])
def test_a_table_of_any_name_has_a_folder_of_its_own(
    place: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    names = [*NAMES, "..", "a*b", "[x]", "\\", "a\nb", "~", "日本", "?", "A" * 63, "a" * 63]
    folders = [folder_name(name) for name in names]
    assert len({folder.lower() for folder in folders}) == len(names)
    assert [folder_name(name) for name in ("orders", "a_b", "select")] == ["orders", "a_b", "select"]
    assert folder_name("Order Lines") == "order-lines-0dc88fa4"
    if place == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        ingestion = f"s3://{server.create_bucket('ingestion')}/lake"
        lake = Lake(ingestion, "s3://nowhere", lambda: server.storage_options)
    else:
        lake = Lake(str(tmp_path / "in"), str(tmp_path / "out"))
    for number, name in enumerate(names):
        table = Table(name, "", (Column("id", Integer(64)),), ("id",))
        bronze = lake.bronze("shop", table)
        row = [number], ["insert"], [1], [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)], [0]
        rows = pa.Table.from_arrays([pa.array(value) for value in row], schema=bronze.arrow_schema)
        bronze.append(bronze.open(), rows, stream="test", version=1)
    for number, name in enumerate(names):
        bronze = lake.bronze("shop", Table(name, "", (Column("id", Integer(64)),), ("id",)))
        assert bronze.scan(bronze.open()).read_all()["id"].to_pylist() == [number]
