"""The Terraform of Google Cloud: its form everywhere, its meaning where the provider lies on the disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODULE = Path(__file__).parents[2] / "deploy" / "terraform" / "gcp"
PROVIDER = "registry.terraform.io/hashicorp/google"
LIMIT = 240  # seconds that one command may take


def terraform(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Terraform without the configuration of whoever runs the tests."""
    program = shutil.which("terraform")
    if program is None:
        pytest.skip("terraform is not installed")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return subprocess.run(
        [program, f"-chdir={folder}", *arguments],
        env=environment | {"CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A copy of the module that may be initialized; its state is in no bucket."""
    copy = tmp_path / "gcp"
    shutil.copytree(MODULE, copy, ignore=shutil.ignore_patterns(".terraform*"))
    return copy


@pytest.fixture
def with_provider(module: Path) -> Path:
    """The same, initialized with a provider from the disk."""
    named = os.environ.get("TERRAFORM_PLUGINS")
    folders = [
        *([Path(named)] if named else []),
        Path.home() / ".terraform.d" / "plugins",
        Path("/usr/local/share/terraform/plugins"),
        Path("/usr/share/terraform/plugins"),
    ]
    found = next((folder for folder in folders if (folder / PROVIDER).is_dir()), None)
    if found is None:
        pytest.skip(
            "the provider hashicorp/google lies in no plugin directory of this machine; TERRAFORM_PLUGINS "
            "names one"
        )
    done = terraform(module, "init", "-backend=false", "-input=false", "-no-color", f"-plugin-dir={found}")
    assert done.returncode == 0, done.stderr
    return module


def test_the_files_are_formatted_and_the_modules_are_there(module: Path) -> None:
    # Both parse every file; the second also follows the modules.
    formatted = terraform(module, "fmt", "-check", "-recursive", "-no-color")
    assert (formatted.returncode, formatted.stdout) == (0, ""), formatted.stderr
    got = terraform(module, "get", "-no-color")
    assert got.returncode == 0, got.stderr
    for name in (
        "accounts",
        "lake",
        "lake.bucket",
        "uploads",
        "uploads.quarantine",
        "inspection",
        "bigquery",
    ):
        assert re.search(rf"^- {re.escape(name)} in ", got.stdout, re.MULTILINE)


def test_the_configuration_is_valid_for_the_provider(with_provider: Path) -> None:
    done = terraform(with_provider, "validate", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr


def test_plans_are_as_the_modules_tests_want_them(with_provider: Path) -> None:
    done = terraform(with_provider, "test", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed, 0 failed" in done.stdout


def blocks(kind: str) -> list[tuple[Path, str, str]]:
    """Give the blocks of a kind: the file, the labels and what is in them."""
    found = []
    for file in sorted(MODULE.rglob("*.tf")):
        text = file.read_text(encoding="utf-8")
        for match in re.finditer(rf"^{kind} (.*?) \{{\n(.*?)^\}}", text, re.MULTILINE | re.DOTALL):
            found.append((file, match[1], match[2]))
    return found


def test_every_variable_and_output_says_what_it_is_for() -> None:
    named = [*blocks("variable"), *blocks("output")]
    assert len(named) > 40
    described = re.compile(r'^\s+description\s+= "\S', re.MULTILINE)
    assert [label for _, label, content in named if not described.search(content)] == []


def test_no_role_is_wider_than_a_bucket_a_dataset_or_a_kind_of_job() -> None:
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted(MODULE.rglob("*.tf")))
    assert set(re.findall(r"roles/[\w.]+", text)) == {
        *("roles/storage.objectViewer", "roles/storage.objectUser", "roles/storage.objectCreator"),
        *("roles/pubsub.publisher", "roles/pubsub.subscriber", "roles/pubsub.viewer"),
        *(
            "roles/bigquery.jobUser",
            "roles/bigquery.dataEditor",
            "roles/bigquery.dataViewer",
            "roles/dlp.user",
        ),
    }
    # In the whole project, accounts may only run jobs; keys of accounts are not made at all.
    resources = blocks("resource")
    in_project = [content for _, label, content in resources if "google_project_iam_member" in label]
    roles = {match[1] for content in in_project if (match := re.search(r"role\s+= (\S+)", content))}
    assert roles == {
        '"roles/dlp.user"',
        '"roles/bigquery.jobUser"',
        "google_project_iam_custom_role.jobs.name",
    }
    assert "google_service_account_key" not in text
    assert "allUsers" not in text
