"""The project's own files: make, the locks, and what Dagster reads agree with each other."""

import ast
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(lock: str) -> dict[str, list[tuple[str, str]]]:
    """Give what a lock file holds: name -> versions with the marker that each is for."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in (ROOT / lock).read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(line.removesuffix("\\"))
            version = str(requirement.specifier).removeprefix("==")
            found.setdefault(canonicalize_name(requirement.name), []).append(
                (version, str(requirement.marker))
            )
    return found


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A make that runs the tests would have this one share its job server and its variables.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "PYTHON"))}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_help_lists_every_target_with_a_line() -> None:
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)
    internal = {"home"}
    listed = dict(re.findall(r"^ +make (\S+) +(\S.*)$", make("help").stdout, flags=re.MULTILINE))
    assert set(listed) == set(phony.split()) - internal
    assert {"run", "test", "check", "ui", "bench", "clean", "help"} <= set(listed)
    assert make().stdout == make("help").stdout


def test_make_refuses_a_python_that_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho Python 3.10.2\n")
    old.chmod(0o755)
    refused = make("run", f"PYTHON={old}")
    assert refused.returncode != 0
    assert f"{old} is Python 3.10.2. Python 3.11 or 3.12 is needed: " in refused.stderr


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_covers_what_the_project_declares(lock: str) -> None:
    declared = [*project()["project"]["dependencies"], *project()["dependency-groups"]["build"]]
    if lock == "requirements-dev.lock":
        declared += [
            r for extra in ("aws", "dev") for r in project()["project"]["optional-dependencies"][extra]
        ]
    versions = locked(lock)
    for requirement in map(Requirement, declared):
        held = versions[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version, _ in held), requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_version_has_its_hashes(lock: str) -> None:
    entries = re.split(r"\n(?=\S)", (ROOT / lock).read_text().strip())
    assert len(entries) > 50
    for entry in entries:
        assert re.fullmatch(
            r"[\w.\[\],-]+==\S+( ; [^\\]+)? \\(\n    --hash=sha256:[0-9a-f]{64}( \\)?)+", entry
        ), entry


def test_the_lock_for_development_holds_the_runtimes_versions() -> None:
    """The markers may differ: what only development needs may need a package on more machines."""
    for python, system, machine in itertools.product(
        ("3.11", "3.12"), ("linux", "darwin"), ("x86_64", "arm64", "aarch64")
    ):
        environment = {
            "python_version": python,
            "python_full_version": f"{python}.0",
            "sys_platform": system,
            "platform_machine": machine,
            "platform_system": system.capitalize(),
        }
        runtime, development = (
            {
                name: version
                for name, held in locked(lock).items()
                for version, marker in held
                if marker == "None" or Marker(marker).evaluate(environment)
            }
            for lock in LOCKS
        )
        assert {name: development.get(name) for name in runtime} == runtime, environment


def test_versions_are_pinned_where_the_design_pins_them() -> None:
    extras = project()["project"]["optional-dependencies"]
    declared = {
        Requirement(text).name: str(Requirement(text).specifier)
        for text in (
            *project()["project"]["dependencies"],
            *(text for extra in extras.values() for text in extra),
        )
    }
    for name, pin in {
        "dagster": "==1.13.27",
        "dagster-webserver": "==1.13.27",
        "dagster-dg-cli": "==1.13.27",
        "dagster-aws": "==0.29.27",
        "dagster-gcp": "==0.29.27",
        "dagster-snowflake": "==0.29.27",
        "dagster-celery": "==0.29.27",
        "duckdb": "==2.0.0",
        "pandas": "<3,>=2.3",
        "sqlalchemy": "<2.1",
        "snowflake-connector-python": "<5",
        "pyspark": "<4.1,>=4.0",
    }.items():
        assert declared[name] == pin
    assert set(extras) == {
        *("aws", "delivery", "gcp", "snowflake", "spark", "sail", "celery", "kubernetes", "postgres"),
        *("notebook", "bench", "dev", "openlineage"),
    }


def test_every_runtime_dependency_is_used() -> None:
    reasons = {
        "dagster-dg-cli": "the dg command",
        "dagster-webserver": "the UI",
        "pandas": "what pyarrow gives tables to an asset that asks for a DataFrame as",
        "python-stdnum": "check digits, whose modules are imported by their names",
        "sqlalchemy": "a bound on what dagster brings",
    }
    modules = {"google-re2": "re2"}
    source = "\n".join(file.read_text() for file in (ROOT / "platform_assets").rglob("*.py"))
    for text in project()["project"]["dependencies"]:
        name = Requirement(text).name
        module = modules.get(name, name.replace("-", "_"))
        assert name in reasons or re.search(
            rf"^\s*(import|from) {module}\b|\"{module}\"", source, re.MULTILINE
        ), name


@pytest.mark.parametrize(
    "benchmark", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda benchmark: benchmark.stem
)
def test_what_a_benchmark_imports_exists(benchmark: Path) -> None:
    for node in ast.walk(ast.parse(benchmark.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("platform_assets"):
            module = importlib.import_module(node.module or "")
            for name in (name.name for name in node.names if not hasattr(module, name.name)):
                assert importlib.util.find_spec(f"{node.module}.{name}"), f"{benchmark.name}: {name}"


def test_the_wheel_holds_the_package_and_nothing_else() -> None:
    assert project()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["platform_assets"]


def test_the_instance_sends_nothing_and_keeps_exclusive_runs_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with DagsterInstance.get() as instance:
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.tag_concurrency_limits == [
            {"key": "platform_assets/exclusive", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
        ]
        assert instance.run_monitoring_max_runtime_seconds > 0


def test_the_workspace_and_dg_name_the_same_code_location() -> None:
    (location,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    dg = project()["tool"]["dg"]["project"]
    assert location["python_module"] == {
        "module_name": dg["code_location_target_module"],
        "location_name": dg["code_location_name"],
    }
    assert (ROOT / "platform_assets" / "definitions.py").is_file()


def test_make_gives_commands_typed_without_it_the_same_instance(tmp_path: Path) -> None:
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    for name in ("Makefile", "dagster.yaml", "pyproject.toml", *LOCKS):
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "DAGSTER"))}

    def home() -> None:
        subprocess.run(["make", "home"], cwd=checkout, env=environment, check=True, capture_output=True)

    def seen_by_dagster(**variables: str) -> str:
        code = (
            "from dagster._core.secrets.env_file import get_env_var_dict as d; print(d('.')['DAGSTER_HOME'])"
        )
        command = [sys.executable, "-c", code]
        run = subprocess.run(
            command, cwd=checkout, env=environment | variables, check=True, capture_output=True, text=True
        )
        return run.stdout.strip()

    home()
    assert seen_by_dagster() == str(checkout / ".platform" / "dagster")
    assert seen_by_dagster(DAGSTER_HOME="/elsewhere") == "/elsewhere"
    assert (checkout / ".platform" / "dagster" / "dagster.yaml").is_file()
    (checkout / ".env").write_text("MINE=1\n")
    home()
    assert (checkout / ".env").read_text() == "MINE=1\n"


CLEAN = [{"name": "a", "version": "1", "vulns": []}]
VULNERABLE = [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]
UNKNOWN = [{"name": "a", "skip_reason": "not found"}]


@pytest.mark.parametrize(
    ("of_lock", "of_a_known_package", "offline", "code", "message"),
    [
        (CLEAN, CLEAN, "", 0, "No known vulnerabilities in 1 locked packages."),
        (VULNERABLE, CLEAN, "allowed", 1, "a 1: CVE-1, fixed in 2"),
        (UNKNOWN, CLEAN, "allowed", 1, "answers, but for no package of requirements.lock"),
        (UNKNOWN, UNKNOWN, "", 1, "set AUDIT_OFFLINE=allowed"),
        (UNKNOWN, UNKNOWN, "allowed", 0, "NOT AUDITED: the vulnerability service cannot be reached"),
        (None, None, "", 1, "no route to host"),
        (None, None, "allowed", 0, "NOT AUDITED: the vulnerability service cannot be reached"),
    ],
    ids=[
        "clean",
        "vulnerable",
        "wrong lock",
        "mirror",
        "mirror, allowed",
        "no network",
        "no network, allowed",
    ],
)
def test_the_audit_fails_on_findings_and_where_nothing_was_audited(
    tmp_path: Path, of_lock: object, of_a_known_package: object, offline: str, code: int, message: str
) -> None:
    answers = {"lock": of_lock, "known": of_a_known_package}
    (tmp_path / "pip_audit.py").write_text(
        f"import json, sys\nanswers = json.loads({json.dumps(answers)!r})\n"
        "found = answers['known' if '--no-deps' in sys.argv else 'lock']\n"
        "if '--version' in sys.argv: sys.exit(0)\n"
        "if found is None: sys.exit('no route to host')\n"
        "print(json.dumps({'dependencies': found}))\n"
    )
    ran = audit(tmp_path, offline)
    assert (ran.returncode, message in ran.stdout) == (code, True), ran.stdout + ran.stderr


def test_an_audit_that_does_not_run_fails_even_where_it_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "pip_audit.py").write_text("raise ImportError('half installed')")
    assert audit(tmp_path, "allowed").returncode == 1


def audit(folder: Path, offline: str) -> subprocess.CompletedProcess[str]:
    """Run the audit with the pip_audit of a folder."""
    command = [sys.executable, ".ci/audit.py", "requirements.lock"]
    environment = os.environ | {"PYTHONPATH": str(folder), "AUDIT_OFFLINE": offline}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
