"""Deliveries, task files, feeds and sources as Dagster components in a project of the user's own."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import jsonschema
import pytest
import yaml
from deltalake import DeltaTable

import platform_assets
from platform_assets.build import build_defs
from platform_assets.settings import load_settings
from platform_assets_tests.fixtures.ftp import FtpServer, ftp_certificate, plain_ftp_server
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.integration.installation import session

ROOT = Path(__file__).parent.parent
CONFIGURATION = """
state_dir = "{state}"
sources {{ totesys {{ embedded = true }} }}
lake {{ ingestion = "{state}/lake/ingestion", processed = "{state}/lake/processed" }}
warehouse {{ engine = duckdb, duckdb {{ path = "{state}/warehouse.duckdb" }} }}
watches {{ uploads {{ place = "{state}/uploads" }} }}
"""
HELLO = {
    "title": "Hello",
    "schedule": {"cron": "0 6 * * *"},
    "source": {"text": "hello\n"},
    "file": "hello.txt",
    "to": {"here": {"address": "./out"}},
}
CHANGED = {
    "title": "Whenever it has changed",
    "when": "changed",
    "source": {"text": "changed\n"},
    "file": "changed.txt",
    "to": {"here": {"address": "./out"}},
}
ECHO = {"name": "shell_script", "args": {"script": "/bin/echo", "script_args": ["hi"]}}
NIGHTLY = {
    "schedule": {"cron": "0 1 * * *", "timezone": "Europe/London"},
    "tasks": [ECHO, {"name": "deliver", "args": {"delivery": "hello"}, "produces": ["tasks/sent"]}],
}
TWIN = {"tasks": [ECHO]}
ORDERS = {
    "watch": "uploads",
    "pattern": "orders/*.csv",
    "format": "csv",
    "columns": {"id": {"type": "integer"}},
}
CONNECTION = {"host": "localhost", "database": "crm", "user": "reader", "password": "secret://env/CRM"}
CRM = {
    "connection": CONNECTION,
    "tables": ["customers"],
}
EVERYTHING = {
    "reports/hello": ("Delivery", HELLO),
    "reports/changed": ("Delivery", CHANGED),
    "nightly": ("TaskFile", NIGHTLY),
    "twin": ("TaskFile", TWIN),
    "orders": ("Feed", ORDERS),
    "crm": ("Source", CRM),
}
WRONG = "mellon, said a stranger"
__all__ = ["ftp_certificate", "plain_ftp_server"]
Project = Callable[[Mapping[str, tuple[str, Mapping[str, Any]] | str]], Path]


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The platform's configuration file, as the project finds it."""
    file = tmp_path / "config" / "platform.conf"
    file.parent.mkdir()
    file.write_text(CONFIGURATION.format(state=tmp_path / "state"))
    monkeypatch.setenv("PLATFORM_CONFIG", str(file))
    return file


@pytest.fixture
def project(tmp_path: Path, configuration: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Write a project with components: by folder a type with attributes, or the text of a defs.yaml."""

    def make(components: Mapping[str, tuple[str, Mapping[str, Any]] | str]) -> Path:
        # Dagster imports the project's modules, which the next test must not find.
        name = f"shop_{tmp_path.name.replace('-', '_')}"
        package = tmp_path / "project" / "src" / name
        (package / "defs").mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "defs" / "__init__.py").touch()
        (tmp_path / "project" / "pyproject.toml").write_text(
            f'[project]\nname = "{name}"\nversion = "0"\nrequires-python = ">=3.11"\n'
            f'[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "{name}"\n'
        )
        for folder, component in components.items():
            place = package / "defs" / folder
            place.mkdir(parents=True)
            text = component if isinstance(component, str) else _defs_yaml(*component)
            (place / "defs.yaml").write_text(text)
        monkeypatch.syspath_prepend(str(package.parent))
        return package

    return make


def _defs_yaml(kind: str, attributes: Mapping[str, Any]) -> str:
    return yaml.safe_dump({"type": f"platform_assets.{kind}", "attributes": attributes}, sort_keys=False)


def loaded(package: Path) -> dg.Definitions:
    return dg.ComponentTree.for_project(package).build_defs()


def refusal(package: Path) -> list[str]:
    """Load a project whose components have mistakes; return these, one a line."""
    with pytest.raises(Exception) as caught:
        loaded(package)
    error: BaseException | None = caught.value
    while error is not None and type(error).__name__ != "SettingsError":
        error = error.__cause__
    return [line.strip() for line in str(error).splitlines()[1:]]


def names(defs: dg.Definitions) -> dict[str, set[str]]:
    """Return what definitions define, by names."""
    repository = defs.get_repository_def()
    return {
        "assets": {
            key.to_user_string()
            for asset in defs.assets or ()
            for key in (asset.keys if isinstance(asset, dg.AssetsDefinition) else [asset.key])
        },
        "checks": {
            f"{key.asset_key.to_user_string()} {key.name}"
            for key in repository.asset_graph.asset_check_keys
            if key.name != "freshness"
        },
        "jobs": {job.name for job in defs.resolve_all_job_defs()} - {"__ASSET_JOB"},
        "schedules": {schedule_def.name for schedule_def in repository.schedule_defs},
        "timezones": {
            f"{schedule_def.name} {schedule_def.execution_timezone}"
            for schedule_def in repository.schedule_defs
        },
        "crons": {
            f"{schedule_def.name} {schedule_def.cron_schedule}" for schedule_def in repository.schedule_defs
        },
    }


def write_hocon(configuration: Path, name: str, kind: str, attributes: Mapping[str, Any]) -> Path:
    """Write the same attributes as the file that the platform reads: JSON is HOCON."""
    folder = configuration.parent / {"Delivery": "deliveries", "TaskFile": "tasks", "Source": "sources"}.get(
        kind, ""
    )
    folder.mkdir(exist_ok=True)
    if kind == "Feed":
        with configuration.open("a") as file:
            file.write(json.dumps({"feeds": {name: attributes}}, indent=2)[1:-1])
        return configuration
    file = folder / f"{name}.conf"
    content = {name: attributes} if kind == "Source" else attributes
    file.write_text(json.dumps(content, indent=2))
    return file


def test_a_project_of_all_kinds_defines_what_the_files_would(project: Project, configuration: Path) -> None:
    given = names(loaded(project(EVERYTHING)))
    without = names(build_defs(load_settings()))
    for folder, (kind, attributes) in EVERYTHING.items():
        write_hocon(configuration, folder.rpartition("/")[2], kind, attributes)
    expected = names(build_defs(load_settings()))

    own = {"jobs": {"uploads_orders", "freshness_checks_job"}, "schedules": {"freshness_checks_schedule"}}
    for what in ("assets", "checks", "jobs", "schedules"):
        assert given[what] - own.get(what, set()) == expected[what] - without[what], what
    assert {"delivery/hello", "tasks/sent", "uploads/orders", "crm/customers"} <= given["assets"]
    assert {"delivery_changed", "nightly", "twin", "crm_to_lake"} <= given["jobs"]
    for what in ("timezones", "crons"):
        assert given[what] <= expected[what]


def test_a_run_delivers_to_a_path_that_starts_from_the_folder_of_the_file(project: Project) -> None:
    package = project({"reports/hello": ("Delivery", HELLO)})
    job = loaded(package).resolve_job_def("delivery_hello")
    with dg.DagsterInstance.ephemeral() as instance:
        first = job.execute_in_process(instance=instance)
        assert first.success
        delivered = package / "defs" / "reports" / "hello" / "out" / "hello.txt"
        assert delivered.read_text() == "hello\n"
        delivered.unlink()
        assert job.execute_in_process(instance=instance).success
    # Once per version.
    assert not delivered.exists()


def test_a_task_file_delivers_what_another_component_describes(project: Project) -> None:
    package = project({"hello": ("Delivery", HELLO), "nightly": ("TaskFile", NIGHTLY)})
    job = loaded(package).resolve_job_def("nightly")
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance).success
    assert (package / "defs" / "hello" / "out" / "hello.txt").read_text() == "hello\n"


def test_a_feed_is_loaded_when_the_platform_has_inspected_an_object(project: Project, tmp_path: Path) -> None:
    uploaded = tmp_path / "state" / "uploads" / "orders" / "first.csv"
    uploaded.parent.mkdir(parents=True)
    uploaded.write_text("id\n1\n2\n")
    # A file that was written a moment ago may still be growing, and waits for the next look.
    os.utime(uploaded, (time.time() - 60,) * 2)
    defs = loaded(project({"orders": ("Feed", ORDERS)}))
    inspection = {dg.AssetKey(["dlp", "objects"]), dg.AssetKey(["dlp", "findings"])}
    everything = build_defs(load_settings()).resolve_implicit_global_asset_job_def()
    repository = defs.get_repository_def()
    sensor = next(
        sensor_def for sensor_def in repository.sensor_defs if sensor_def.name == "uploads_orders_sensor"
    )
    with dg.DagsterInstance.ephemeral() as instance:
        assert everything.get_subset(asset_selection=inspection).execute_in_process(instance=instance).success
        context = dg.build_sensor_context(
            instance=instance, repository_def=repository, sensor_name=sensor.name
        )
        assert len(sensor.evaluate_tick(context).run_requests or ()) == 1
        done = defs.resolve_job_def("uploads_orders").execute_in_process(instance=instance)
        table = instance.get_latest_materialization_event(dg.AssetKey(["warehouse", "uploads", "orders"]))
    assert done.success
    assert table is not None
    assert table.asset_materialization is not None
    assert table.asset_materialization.metadata["dagster/row_count"].value == 2


@pytest.mark.parametrize(
    ("kind", "attributes", "key"),
    [
        ("Delivery", {**HELLO, "titel": "Hello"}, "titel"),
        ("Delivery", {**HELLO, "schedule": {"cron": "every day"}}, "schedule.cron"),
        ("Delivery", {**HELLO, "on_success": {"channels": ["pigeon"]}}, "on_success.channels[0]"),
        ("TaskFile", {"tasks": [ECHO, {"name": "shel_script"}]}, "tasks[1].name"),
        ("TaskFile", {"tasks": [ECHO, {**ECHO, "retries": -1}]}, "tasks[1].retries"),
        ("Feed", {**ORDERS, "watch": "attic"}, "feeds.one.watch"),
        ("Feed", {**ORDERS, "format": "paper"}, "feeds.one.format"),
        (
            "Source",
            {**CRM, "connection": {**CONNECTION, "password": "1234"}},
            "sources.one.connection.password",
        ),
        ("Source", {**CRM, "lag": "long"}, "sources.one.lag"),
    ],
)
def test_a_mistake_is_told_as_that_of_the_file_would_be(
    project: Project, configuration: Path, kind: str, attributes: Mapping[str, Any], key: str
) -> None:
    package = project({"one": (kind, attributes)})
    [told] = refusal(package)
    file = package / "defs" / "one" / "defs.yaml"
    place = re.fullmatch(rf"{re.escape(str(file))}:(\d+): (.*)", told)
    assert place is not None, told
    member = re.sub(r"\[\d+\]", "", key).split(".")[-1]
    assert member in file.read_text().splitlines()[int(place[1]) - 1] or "[" in key
    assert place[2].startswith(f"{key}: found ")
    assert "1234" not in told

    write_hocon(configuration, "one", kind, attributes)
    assert place[2] in _hocon_mistakes()


def _hocon_mistakes() -> str:
    """Return the mistakes of the configuration and of the files of its folders, without their places."""
    from platform_assets.delivery.assembly import DeliveryRoom
    from platform_assets.errors import SettingsError
    from platform_assets.rooms import Rooms
    from platform_assets.tasks.assembly import TasksRoom

    try:
        rooms = Rooms(load_settings())
    except SettingsError as error:
        return str(error)
    return "\n".join([*rooms.of(DeliveryRoom).problems(), *rooms.of(TasksRoom).problems()])


def test_the_mistakes_of_all_components_are_told_at_once(project: Project) -> None:
    package = project(
        {
            "a_task": ("TaskFile", {"tasks": [{"name": "nothing_like_it"}]}),
            "hello": ("Delivery", {**HELLO, "schedule": {"cron": "x"}}),
            "twin": ("TaskFile", TWIN),
        }
    )
    told = refusal(package)
    assert len(told) == 2
    assert 'a_task/defs.yaml:4: tasks[0].name: found "nothing_like_it"' in told[0]
    assert 'hello/defs.yaml:5: schedule.cron: found "x"' in told[1]


def test_a_name_is_taken_once(project: Project, configuration: Path) -> None:
    write_hocon(configuration, "nightly", "TaskFile", TWIN)
    named = _defs_yaml("Delivery", {"name": "hello", **CHANGED})
    package = project({"hello": ("Delivery", HELLO), "other": named, "nightly": ("TaskFile", TWIN)})
    [told] = refusal(package)
    first = package / "defs" / "hello" / "defs.yaml"
    assert told.endswith(
        f'other/defs.yaml:3: name: found "hello"; expected a name of its own; {first} has one of this name.'
    )
    (package / "defs" / "other" / "defs.yaml").unlink()
    [told] = refusal(package)
    file = configuration.parent / "tasks" / "nightly.conf"
    assert told.endswith(f"expected a name of its own; {file} has one of this name.")


def test_a_source_of_the_configuration_is_not_replaced(project: Project, configuration: Path) -> None:
    file = write_hocon(configuration, "crm", "Source", CRM)
    [told] = refusal(project({"crm": ("Source", CRM)}))
    assert f"sources.crm: found a second definition; expected a name of its own; {file} has" in told


def test_templates_are_resolved_and_secrets_stay_references(
    project: Project, plain_ftp_server: FtpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TITLE", "From the environment")
    monkeypatch.setenv("PARTNER_PASSWORD", plain_ftp_server.password)
    secret = "secret://env/PARTNER_PASSWORD"
    address = f"ftp://{plain_ftp_server.user}@127.0.0.1:{plain_ftp_server.port}/in"
    partner = {"address": address, "ftp": {"password": secret, "security": "none"}}
    delivery = {**HELLO, "title": "{{ env.SHOP_TITLE }}", "to": {"partner": partner}}
    package = project({"hello": ("Delivery", delivery)})
    defs = loaded(package)
    job = defs.resolve_job_def("delivery_hello")
    assert job.description == "Makes the delivery hello: From the environment."
    state, home = tmp_path / "state", tmp_path / "home"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        assert job.execute_in_process(instance=instance).success
        # The server takes nothing without the right password.
        assert (plain_ftp_server.root / "in" / "hello.txt").read_text() == "hello\n"
        monkeypatch.setenv("PARTNER_PASSWORD", WRONG)
        options = {"ops": {"deliver": {"config": {"force": True}}}}
        failed = job.execute_in_process(instance=instance, run_config=options, raise_on_error=False)
        assert not failed.success
        said = [str(entry) for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]
    stored = [file.read_bytes() for place in (state, package) for file in place.rglob("*") if file.is_file()]
    stored += [file.read_bytes() for file in home.rglob("*") if file.is_file()]
    shown = [*map(repr, defs.assets or ()), *(str(spec.metadata) for spec in defs.resolve_all_asset_specs())]
    for password in (plain_ftp_server.password, WRONG):
        assert not any(password in line for line in (*said, *shown))
        assert not any(password.encode() in content for content in stored)


def test_a_source_is_read_from_its_database(
    project: Project, new_database: NewDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = new_database()
    reader = database.reader
    with session(database.owner) as owner:
        owner.run("CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, since date)")
        owner.run("INSERT INTO customers VALUES (1, 'Ann', '2024-02-29'), (2, 'Zoë', NULL)")
        owner.run(f'GRANT SELECT ON customers TO "{reader.user}"')
    monkeypatch.setenv("CRM_PASSWORD", reader.password)
    connection = {
        "host": reader.host,
        "port": reader.port,
        "database": reader.database,
        "user": reader.user,
        "password": "secret://env/CRM_PASSWORD",
        "sslmode": "disable",
    }
    source = {"connection": connection, "tables": ["customers"]}
    job = loaded(project({"crm": ("Source", source)})).resolve_job_def("crm_to_lake")

    def versions() -> list[tuple[Any, ...]]:
        rows = DeltaTable(str(tmp_path / "state/lake/ingestion/crm/customers")).to_pyarrow_table().to_pylist()
        return [(row["_batch"], row["_change"], row["id"], row["name"], row["since"]) for row in rows]

    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(instance=instance, raise_on_error=False)
        assert done.success
        assert sorted(versions()) == [
            (1, "insert", 1, "Ann", dt.date(2024, 2, 29)),
            (1, "insert", 2, "Zoë", None),
        ]
        with session(database.owner) as owner:
            owner.run("UPDATE customers SET name = 'Anne' WHERE id = 1")
            owner.run("DELETE FROM customers WHERE id = 2")
        assert job.execute_in_process(instance=instance, raise_on_error=False).success
        assert sorted((change, key, name) for batch, change, key, name, _ in versions() if batch == 2) == [
            ("delete", 2, "Zoë"),
            ("update", 1, "Anne"),
        ]
        passed = {
            evaluation.check_name: evaluation.passed for evaluation in done.get_asset_check_evaluations()
        }
        assert passed
        assert all(passed.values()), passed


def test_dg_lists_and_scaffolds_the_components(project: Project, tmp_path: Path) -> None:
    package = project({})
    # What is installed may be older than pyproject.toml.
    metadata = tmp_path / "installed" / "platform_assets-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: platform-assets\nVersion: 0\n")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    lines = [
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in one.items()) for group, one in declared.items()
    ]
    (metadata / "entry_points.txt").write_text("".join(lines))
    paths = [metadata.parent, package.parent, ROOT]
    environment = {
        **{
            name: os.environ[name]
            for name in ("PATH", "LANG", "TMPDIR", "PLATFORM_CONFIG")
            if name in os.environ
        },
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "COLUMNS": "200",
    }
    dg_command = Path(sys.executable).with_name("dg")

    def run(*arguments: str) -> str:
        ended = subprocess.run(
            [dg_command, *arguments],
            cwd=tmp_path / "project",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    listed = {one["key"]: one for one in json.loads(run("list", "components", "--json"))["items"]}
    for name in ("Delivery", "TaskFile", "Feed", "Source"):
        assert f"platform_assets.{name}" in listed
    run("scaffold", "defs", "platform_assets.Delivery", "reports/customers")
    file = package / "defs" / "reports" / "customers" / "defs.yaml"
    written = yaml.safe_load(file.read_text())
    assert written["type"] == "platform_assets.Delivery"
    # It loads as it is, and after it was filled.
    assert "delivery/customers" in names(loaded(package))["assets"]
    written["attributes"]["to"]["copy"] = {"address": "./copy"}
    file.write_text(yaml.safe_dump(written))
    specs = loaded(package).resolve_all_asset_specs()
    [spec] = [spec for spec in specs if spec.key == dg.AssetKey(["delivery", "customers"])]
    assert f"copy: {file.parent}/copy" in (spec.description or "")


@pytest.mark.parametrize("name", ["Delivery", "TaskFile", "Feed", "Source"])
def test_a_component_has_a_schema_and_an_example_that_loads(name: str, project: Project) -> None:
    kind = getattr(platform_assets, name)
    schema = kind.model().model_json_schema()
    assert set(schema["properties"]) == {"name", *kind.block().model_fields}
    # What `dg check yaml` does.
    jsonschema.validate(kind.example, schema)
    for other, attributes in EVERYTHING.values():
        if other == name:
            jsonschema.validate(attributes, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**kind.example, "unknown": 1}, schema)
    defined = names(loaded(project({"one": (name, kind.example)})))
    assert defined["jobs"]


def test_a_component_is_made_in_python_too(configuration: Path, tmp_path: Path) -> None:
    made = platform_assets.Delivery("hello", tmp_path / "project.py", HELLO)  # type: ignore[operator]
    assert names(dg.build_defs_for_component(made))["jobs"] == {"delivery_hello", "delivery_receipts"}


def test_the_package_is_light_until_a_component_is_asked_for() -> None:
    program = (
        "import sys, platform_assets\n"
        "assert 'Delivery' in dir(platform_assets)\n"
        "assert not hasattr(platform_assets, 'Cellar')\n"
        "assert 'dagster' not in sys.modules and 'pydantic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
