"""The image: what goes into it, how it is built and what it is like; and what compose.yaml starts."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from platform_assets.errors import SampleError
from platform_assets.sample import embedded
from platform_assets.settings import load_settings
from platform_assets_tests.fixtures.image import ROOT, Builder, Container, why_not
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.smtp import NewSmtpServer, new_smtp_server, smtp_certificate
from platform_assets_tests.fixtures.totesys import Totesys
from platform_assets_tests.fixtures.wire import free_port

__all__ = ["new_smtp_server", "smtp_certificate"]

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
STAGES = [
    *("base-pre-pkg", "python-pkg-refresh", "python-pkg-pinned", "base-post-pkg", "smoke-test"),
    "target-image",
]
IMAGE = "platform_assets:tested"
LIMIT_MB = 300
PATIENCE = 300
"""Seconds that a process in the image may take to answer."""


def last_stage() -> str:
    return DOCKERFILE.split(" AS target-image\n")[1]


# What the Dockerfile says


def test_the_stages_stand_in_their_order_and_production_is_the_default() -> None:
    assert re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE) == STAGES


def test_one_argument_chooses_between_locked_and_refreshed_packages() -> None:
    assert "\nARG PYTHON_PKG_VERSIONS=pinned\n" in DOCKERFILE.split("\nFROM ")[0]
    assert "FROM python-pkg-${PYTHON_PKG_VERSIONS} AS base-post-pkg\n" in DOCKERFILE
    (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"docker\.io/library/python:3\.1[12]\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)


def test_the_last_stage_installs_nothing_and_runs_without_root() -> None:
    stage = last_stage()
    assert not re.search(r"\b(apt|apt-get|pip install|curl|wget)\b", stage)
    assert "\nUSER 10001:10001\n" in stage
    for instruction in ("HEALTHCHECK", "LABEL", "VOLUME", "EXPOSE", "CMD"):
        assert f"\n{instruction} " in stage
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", stage))
    assert labels >= {"title", "description", "version", "revision", "created"}


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed; `make test` installs it")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def is_ignored(path: str) -> bool:
    """Return True if .dockerignore leaves a path out: its last line that matches counts."""
    ignored = False
    names = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if not line or line.startswith("#"):
            continue
        if any(
            fnmatch.fnmatchcase(name, pattern)
            or ("**/" in line and fnmatch.fnmatchcase(Path(name).name, pattern))
            for name in names
        ):
            ignored = not line.startswith("!")
    return ignored


def test_the_builder_gets_what_is_copied_and_no_more() -> None:
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
        if not source.startswith("--")
    ]
    assert len(copied) > 12
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source), source
    for other in (
        *(".env", ".git/config", ".platform/dlp.key", ".venv/bin/python", "compose.yaml", "docs/star.md"),
        *("platform_assets_tests/conftest.py", "config/.env", "deploy/compose/example.env"),
        *("platform_assets/__pycache__/cli.cpython-311.pyc", "requirements.txt", "benchmarks/tick.py"),
    ):
        assert is_ignored(other), other


# What is installed


def wheel(folder: Path, name: str, version: str, *requires: str) -> str:
    """Make a wheel; return its line of a lock."""
    file = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(
            f"{info}/METADATA", "\n".join([*lines, *(f"Requires-Dist: {r}" for r in requires), ""])
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


class Locked:
    """A project with a lock, and the script that fetches from it."""

    def __init__(self, folder: Path) -> None:
        self.index, self.project = folder / "index", folder / "project"
        self.index.mkdir()
        self.project.mkdir()
        self.lines = [
            wheel(self.index, "base", "1", "deep[more]", "setuptools"),
            wheel(self.index, "deep", "2", "rare ; extra == 'more'", "other ; python_version < '3'"),
            wheel(self.index, "rare", "3"),
            wheel(self.index, "cloud", "4", "deep"),
            wheel(self.index, "setuptools", "5"),
        ]
        (self.project / "pyproject.toml").write_text(
            '[project]\ndependencies = ["base>=1"]\n[project.optional-dependencies]\ncloud = ["cloud"]\n'
        )

    def fetch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        (self.project / "requirements-dev.lock").write_text("\n".join(self.lines) + "\n")
        command = [sys.executable, str(ROOT / "deploy" / "image" / "locked.py"), *arguments]
        command += [
            "--lock",
            str(self.project / "requirements-dev.lock"),
            "--wheels",
            str(self.project / "wheels"),
        ]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
        environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.index)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def locked(tmp_path: Path) -> Locked:
    return Locked(tmp_path)


def test_an_image_holds_what_its_extras_require_as_the_lock_says(locked: Locked) -> None:
    plain = locked.fetch("--without", "setuptools")
    assert plain.stdout.split() == ["base==1", "deep==2", "rare==3"], plain.stderr
    with_cloud = locked.fetch("--without", "setuptools", "--extras", "cloud")
    assert with_cloud.stdout.split() == ["base==1", "cloud==4", "deep==2", "rare==3"]
    assert locked.fetch("--package", "deep").stdout.split() == ["deep==2"]


def test_nothing_comes_in_that_the_lock_does_not_hold(locked: Locked) -> None:
    whole = list(locked.lines)
    locked.lines = [line for line in whole if not line.startswith("rare")]
    missing = locked.fetch("--without", "setuptools")
    assert missing.returncode == 1
    assert missing.stderr.startswith(
        'rare; extra == "more" is required by deep, and the lock does not hold it.'
    )
    locked.lines = [line.replace("sha256:", "sha256:0")[: len(line)] for line in whole]
    shutil.rmtree(locked.project / "wheels")
    altered = locked.fetch("--without", "setuptools")
    assert altered.returncode == 1
    assert "DO NOT MATCH THE HASHES" in altered.stderr
    assert "There is no extra clout; the extras are cloud." in locked.fetch("--extras", "clout").stderr


def test_the_bill_of_materials_is_valid_and_the_same_twice() -> None:
    pytest.importorskip("jsonschema")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    command = [sys.executable, str(ROOT / "deploy" / "image" / "sbom.py")]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    first, second = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert first == second
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first) is None
    bill = json.loads(first)
    assert bill["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    assert "pkg:pypi/duckdb@2.0.0" in {one["purl"] for one in bill["components"]}


def test_a_missing_embedded_server_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SampleError, match="not part of this installation"):
        embedded._binary("initdb")


# The targets of make


def dry_run(container: str, *targets: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    command = [
        "make",
        "--dry-run",
        *targets,
        f"CONTAINER={container}",
        "TAG=1.0",
        "SOURCE_DATE_EPOCH=1700000000",
        "CREATED=2023-11-14T22:13:20Z",
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return re.sub(r"\s*\\\n\s*", " ", done.stdout)


@pytest.mark.parametrize("container", ["docker", "podman", "buildah"])
def test_the_targets_of_make_call_the_engine_that_is_there(container: str) -> None:
    build = dry_run(container, "build", "EXTRAS=gcp")
    assert f"\n{container} build" in build
    for part in (
        *("--target target-image", "--tag platform_assets:1.0", "--build-arg PYTHON_PKG_VERSIONS=pinned"),
        *("--build-arg EXTRAS=gcp", "1700000000", "--build-arg VERSION=1.0", "CREATED=2023-11-14T22:13:20Z"),
    ):
        assert part in build
    smoke = dry_run(container, "smoke-test")
    assert "--target smoke-test" in smoke
    assert "python /build/smoke_test.py" in smoke
    assert "python - --shipped < deploy/image/smoke_test.py" in smoke
    assert f"{container} push" in dry_run(container, "push")
    if container != "buildah":
        for option in ("--read-only", "--network none", "--cap-drop ALL", "no-new-privileges"):
            assert option in smoke
    refresh = dry_run(container, "python-pkg-refresh")
    order = ["PYTHON_PKG_VERSIONS=refresh", "smoke_test.py", "locks/requirements-dev.lock"]
    order += [f"{container} rm ", f"{container} rmi platform_assets-refresh:1.0"]
    places = [refresh.rindex(part) for part in order]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("container", "answer"),
    [
        ("", "No docker, podman or buildah works on this machine."),
        ("podmann", "podmann is not installed on this machine."),
        ("docker", "docker has no buildx, which builds the image."),
    ],
)
def test_without_a_working_engine_make_says_what_to_install(
    tmp_path: Path, container: str, answer: str
) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\n[ "$1" != buildx ]\n')
    docker.chmod(0o755)
    done = subprocess.run(
        ["make", "build", f"CONTAINER={container}"],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert answer in done.stderr


# compose.yaml


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
    return found


def example_variables() -> dict[str, str]:
    lines = (ROOT / "deploy" / "compose" / "example.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_every_variable_of_compose_is_in_the_example_and_has_a_value_or_a_message() -> None:
    # A variable without a default and without a message would be empty, silently.
    assert not re.findall(r"\$\{\w+\}|\$\w+", COMPOSE)
    used = dict(re.findall(r"\$\{(\w+)(:[-?][^}]*)\}", COMPOSE))
    example = example_variables()
    assert set(used) == set(example)
    for name, otherwise in used.items():
        is_required = otherwise.startswith(":?")
        assert example[name] == ("" if is_required else otherwise.removeprefix(":-")), name


def test_each_service_has_a_health_check_and_limits_and_refers_to_what_exists() -> None:
    document = yaml.safe_load(COMPOSE)
    found = services()
    assert set(found) == {"webserver", "daemon", "code", "buckets", "postgres", "storage", "mail"}
    ends = {name for name in found if "healthcheck" not in found[name]}
    assert ends == {"buckets"}
    for name, service in found.items():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ends else "service_healthy"
            assert how == {"condition": wanted}, (name, other)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in document["volumes"], (
                volume
            )
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["restart"] in ("unless-stopped", "on-failure:5")
        image = service["image"]
        assert re.search(r":[\w.-]*\d[\w.-]*$", image) or image == "${PLATFORM_IMAGE:-platform_assets:latest}"
        for port in service.get("ports", []):
            assert port.startswith("${BIND:-127.0.0.1}:"), "the UI has no login"
    for name in ("webserver", "daemon", "code", "buckets"):
        assert found[name]["read_only"] is True


def test_the_parts_of_compose_speak_of_the_same_ports_and_places() -> None:
    found = services()
    (location,) = yaml.safe_load((ROOT / "deploy" / "compose" / "workspace.yaml").read_text())["load_from"]
    served = location["grpc_server"]
    assert served["host"] in found
    assert found["code"]["command"][-1] == str(served["port"])
    environment = found["code"]["environment"]
    assert {environment["DAGSTER_PG_HOST"], environment["SMTP_HOST"]} <= set(found)
    assert environment["AWS_ENDPOINT_URL"].split("/")[2].split(":")[0] in found
    instance = (ROOT / "deploy" / "compose" / "dagster.yaml").read_text()
    named = set(re.findall(r"env: (\w+)", instance))
    assert named <= set(environment)
    assert {"hostname", "port", "username", "password", "db_name"} == set(
        yaml.safe_load(instance)["storage"]["postgres"]["postgres_db"]
    )


def test_the_instance_of_compose_differs_from_the_local_one_in_its_storage_only() -> None:
    local, composed = (
        yaml.safe_load(file.read_text())
        for file in (ROOT / "dagster.yaml", ROOT / "deploy/compose/dagster.yaml")
    )
    of_storage = {"instance_class", "storage", "local_artifact_storage", "compute_logs"}
    kept = [{k: v for k, v in one.items() if k not in of_storage} for one in (local, composed)]
    assert kept[0] == kept[1]


def composed_variables() -> dict[str, str]:
    """Return the environment of the platform's containers, with the required variables filled in."""
    values = {name: value or "filledinfilledin" for name, value in example_variables().items()}

    def fill(text: str) -> str:
        return re.sub(r"\$\{(\w+)[^}]*\}", lambda found: values[found[1]], text)

    return {name: fill(str(value)) for name, value in services()["code"]["environment"].items()}


def test_the_profile_of_compose_is_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in composed_variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PLATFORM_STATE_DIR", str(tmp_path))
    settings = load_settings(ROOT / "config" / "compose.conf")
    from platform_assets.alerts.settings import SETTINGS as ALERTS
    from platform_assets.lake.settings import SETTINGS as LAKE
    from platform_assets.source.settings import SETTINGS as SOURCE

    assert settings.of(SOURCE).sources.totesys.embedded is False
    assert settings.of(LAKE).lake.ingestion == "s3://ingestion/lake"
    for channel in settings.of(ALERTS).alerts.channels.values():
        assert channel.email is not None
        assert (channel.email.host, channel.email.port, channel.email.spool) == ("mail", 1025, None)


# The image itself, built with buildah


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    if reason := why_not():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="platform-assets-image-"))
    folder.chmod(0o755)
    made = Builder(folder)
    try:
        made.make_base()
        made.make("smoke-test", "TAG=tested")
        yield made
    finally:
        made.buildah("rm", "--all")
        made.buildah("rmi", "--all", "--force")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def container(builder: Builder) -> Iterator[Container]:
    with builder.container(IMAGE) as made:
        yield made


@pytest.mark.soak
def test_the_smoke_test_passes_in_the_image_with_and_without_the_embedded_server(builder: Builder) -> None:
    said = builder.make("smoke-test", "TAG=tested")
    assert said.count("The smoke test has passed.") == 2
    for line in (
        "the main job took 60 sales",
        "no compiler",
        "the missing embedded server is told in a sentence",
    ):
        assert line in said


@pytest.mark.soak
def test_the_image_says_how_it_is_run(builder: Builder) -> None:
    config = builder.config(IMAGE)
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "/opt/platform/lib/healthy.py"]
    assert set(config["Volumes"]) == {"/var/lib/platform"}
    assert config["Labels"]["org.opencontainers.image.version"] == "tested"
    assert config["Labels"]["platform-assets.extras"] == "aws,postgres"


@pytest.mark.soak
def test_the_image_stays_below_its_limit(builder: Builder) -> None:
    sizes = builder.sizes(IMAGE)
    total = sum(size for _, size in sizes) / 1e6
    assert total <= LIMIT_MB, [(made[:80], size) for made, size in sizes]


@pytest.mark.soak
def test_the_same_sources_give_the_same_layers(builder: Builder) -> None:
    builder.make("build", "TAG=again", options="--no-cache")
    assert builder.layers("platform_assets:again") == builder.layers(IMAGE)


def answer(url: str, body: Any = None, limit: float = PATIENCE) -> str:
    """Ask until a server answers."""
    until = time.monotonic() + limit
    request = urllib.request.Request(
        url, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"}
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                text: str = response.read().decode()
                return text
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


@pytest.mark.soak
def test_the_webserver_runs_without_root_and_writes_to_its_volume_only(
    container: Container, tmp_path: Path
) -> None:
    state, port = container.new_state(tmp_path / "state"), free_port()
    command = [str(port) if word == "3000" else word for word in container.config["Cmd"]]
    with container.running(command, state):
        page = answer(f"http://127.0.0.1:{port}/")
        assert 'src="/_next/' in page
        assert (
            json.loads(answer(f"http://127.0.0.1:{port}/server_info"))["dagster_webserver_version"]
            == "1.13.27"
        )
        variables = {"DAGSTER_PORT": str(port)}
        check = container.config["Healthcheck"]["Test"][1:]
        assert container.run(check, state, variables).returncode == 0
    assert container.run(check, state, variables).returncode != 0
    refused = container.run(["touch", "/opt/platform/new", "/etc/new"], state)
    assert refused.stderr.count("Read-only file system") == 2
    assert container.run(["id", "-u"], state).stdout == "10001\n"


def graphql(port: int, query: str, **variables: Any) -> Any:
    said = json.loads(answer(f"http://127.0.0.1:{port}/graphql", {"query": query, "variables": variables}))
    assert "errors" not in said, said
    return said["data"]


LAUNCH = """mutation($job: JobOrPipelineSelector!) {
  launchRun(executionParams: {selector: $job, mode: "default"}) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
  __typename ... on PythonError { message causes { message } }
  ... on RepositoryLocation { repositories { name jobs { name } } } } } } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@pytest.mark.soak
def test_what_compose_starts_takes_a_business_to_the_warehouse(
    container: Container,
    tmp_path: Path,
    new_database: NewDatabase,
    s3_server: S3Server,
    new_smtp_server: NewSmtpServer,
) -> None:
    source, storage = Totesys.with_rows(new_database()).database.reader, new_database().owner
    mail = new_smtp_server(starttls=False)
    buckets = [f"composed-{place}" for place in ("ingestion", "processed", "uploads")]
    port, code = free_port(), free_port()
    variables = composed_variables() | {
        "DAGSTER_PG_HOST": storage.host,
        "DAGSTER_PG_PORT": str(storage.port),
        "DAGSTER_PG_USER": storage.user,
        "DAGSTER_PG_PASSWORD": str(storage.password),
        "DAGSTER_PG_DATABASE": storage.database,
        "TOTESYS_HOST": source.host,
        "TOTESYS_PORT": str(source.port),
        "TOTESYS_DATABASE": source.database,
        "TOTESYS_USER": source.user,
        "TOTESYS_PASSWORD": str(source.password),
        "AWS_ENDPOINT_URL": s3_server.endpoint_url,
        "AWS_REGION": s3_server.region,
        "AWS_DEFAULT_REGION": s3_server.region,
        "AWS_ACCESS_KEY_ID": s3_server.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_access_key,
        "LAKE_INGESTION": f"s3://{buckets[0]}/lake",
        "LAKE_PROCESSED": f"s3://{buckets[1]}/lake",
        "UPLOADS_PLACE": f"s3://{buckets[2]}",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(mail.port),
    }
    workspace = tmp_path / "workspace.yaml"
    text = (ROOT / "deploy" / "compose" / "workspace.yaml").read_text()
    workspace.write_text(text.replace("host: code", "host: 127.0.0.1").replace("4000", str(code)))
    files = {
        ROOT / "deploy" / "compose" / "dagster.yaml": "/var/lib/platform/dagster/dagster.yaml",
        workspace: "/opt/platform/workspace.yaml",
        ROOT / "config": "/opt/platform/config",
    }
    state = container.new_state(tmp_path / "state")
    found = services()

    def command(name: str) -> list[str]:
        return [
            {"4000": str(code), "0.0.0.0": "127.0.0.1"}.get(word, word) for word in found[name]["command"]
        ]

    made = container.run(
        ["python", "-c", (ROOT / "deploy" / "compose" / "buckets.py").read_text()], state, variables, files
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines() == [f"The bucket {bucket} has been created." for bucket in buckets]

    with ExitStack() as stack:

        def start(arguments: list[str]) -> None:
            stack.enter_context(container.running(arguments, state, variables, files))

        def wait_for(check: list[str]) -> None:
            until = time.monotonic() + PATIENCE
            while (done := container.run(check, state, variables, files)).returncode:
                assert time.monotonic() < until, done.stdout + done.stderr
                time.sleep(1)

        start(command("code"))
        wait_for([{"4000": str(code)}.get(word, word) for word in found["code"]["healthcheck"]["test"][1:]])
        webserver = container.config["Cmd"]
        start([{"3000": str(port), "0.0.0.0": "127.0.0.1"}.get(word, word) for word in webserver])
        start(command("daemon"))
        answer(f"http://127.0.0.1:{port}/server_info")
        wait_for(found["daemon"]["healthcheck"]["test"][1:])

        (location,) = graphql(port, LOCATIONS)["workspaceOrError"]["locationEntries"]
        loaded = location["locationOrLoadError"]
        assert loaded["__typename"] == "RepositoryLocation", loaded
        (repository,) = loaded["repositories"]
        assert "totesys_to_warehouse" in [one["name"] for one in repository["jobs"]]
        job = {
            "repositoryLocationName": location["name"],
            "repositoryName": repository["name"],
            "pipelineName": "totesys_to_warehouse",
        }
        launched = graphql(port, LAUNCH, job=job)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id, until = launched["run"]["runId"], time.monotonic() + PATIENCE
        while (status := graphql(port, STATUS, id=run_id)["runOrError"]["status"]) not in (
            "SUCCESS",
            "FAILURE",
        ):
            assert time.monotonic() < until, status
            time.sleep(1)
        assert status == "SUCCESS"

        def told(*arguments: str) -> str:
            done = container.run(["platform-assets", *arguments], state, variables, files)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        assert re.search(
            r"\b2\b", told("warehouse", "query", "SELECT count(*) AS n FROM star.fact_sales_order")
        )
        told("alerts", "test", "operators")
        assert [message["To"] for message in mail.messages] == ["ops@example.org"]
        assert "No run has read" not in told("status")
    assert any("/_delta_log/" in key for key in s3_server.keys(buckets[0]))
    assert not (state / "dagster" / "history").exists(), "runs are in PostgreSQL, not in files"
