"""deploy/terraform/aws as far as nothing has to be applied: form, validity, the modules' own tests."""

import re
from pathlib import Path

import pytest
import yaml

from platform_assets.lake.settings import UpkeepSettings
from platform_assets_tests.fixtures.terraform import ROOT, Terraform, copied

FOLDER = ROOT / "deploy" / "terraform" / "aws"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    return copied(tmp_path_factory.mktemp("terraform"), "aws", "aws")


def test_the_files_have_the_form_of_terraform_and_are_valid(aws: Terraform) -> None:
    assert aws.run("fmt", "-check", "-recursive") == ""
    aws.init("-backend=false")
    assert "The configuration is valid" in aws.run("validate", "-no-color")


def test_the_modules_do_what_they_say_with_a_mocked_provider(aws: Terraform) -> None:
    aws.init("-backend=false")
    assert "0 failed" in aws.run("test", "-no-color")


def test_rules_of_buckets_are_not_shorter_than_what_upkeep_keeps() -> None:
    variables = (FOLDER / "variables.tf").read_text()
    upkeep = UpkeepSettings()
    defaults = {
        name: int(variables.split(f'variable "{name}"')[1].split("default     = ")[1].split("\n")[0])
        for name in ("noncurrent_days", "run_log_days")
    }
    assert defaults["noncurrent_days"] * 24 >= upkeep.keep_hours
    assert defaults["run_log_days"] >= max(upkeep.retention.failed_runs_days, upkeep.retention.runs_days)
    # The variable that the rules are compared with has the defaults of the settings.
    assert f"keep_hours       = optional(number, {upkeep.keep_hours})" in variables
    assert f"failed_runs_days = optional(number, {upkeep.retention.failed_runs_days})" in variables


def test_every_variable_and_output_is_described() -> None:
    for file in sorted(FOLDER.rglob("*.tf")):
        blocks = file.read_text().split("\n}\n")
        for block in blocks:
            if block.lstrip().startswith(("variable ", "output ")):
                assert "description" in block, f"{file.relative_to(ROOT)}: {block.split('{')[0]}"


def test_every_variable_and_module_is_in_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text()
    names = [
        line.split('"')[1]
        for line in (FOLDER / "variables.tf").read_text().splitlines()
        if line.startswith("variable ")
    ]
    assert [name for name in names if f"`{name}`" not in readme] == []
    modules = sorted(one.name for one in (FOLDER / "modules").iterdir())
    assert [name for name in modules if f"`{name}`" not in readme] == []


def test_dagsters_instance_is_put_together_from_files_that_have_those_parts() -> None:
    one_machine = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    on_ecs = yaml.safe_load((ROOT / "deploy" / "dagster" / "ecs.yaml").read_text())
    assert one_machine["concurrency"]["runs"]["tag_concurrency_limits"]
    assert on_ecs["run_launcher"]["config"]["secrets_tag"] is None
    assert on_ecs["compute_logs"]["class"] == "S3ComputeLogManager"


def test_no_check_is_left_out_without_a_reason() -> None:
    skips = [
        (file.relative_to(ROOT), line.strip())
        for file in sorted(Path(FOLDER).rglob("*.tf"))
        for line in file.read_text().splitlines()
        if "checkov:skip" in line
    ]
    assert len(skips) > 10
    assert [skip for skip in skips if len(skip[1].partition("=")[2].partition(":")[2].split()) < 2] == []


def test_the_costs_add_up() -> None:
    costs = (FOLDER / "README.md").read_text().partition("## Costs")[2]
    items = [float(found) for found in re.findall(r"\| (\d+\.\d\d) \|$", costs, re.MULTILINE)]
    total = re.findall(r"\*\*(\d+\.\d\d)\*\*", costs)
    assert [f"{sum(items):.2f}"] == total
