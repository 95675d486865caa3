"""The command `tasks`: what it prints, its exit codes, and that no secret is in any of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.runs import open_instance
from platform_assets.settings import dagster_home
from platform_assets_tests.tasks.conftest import ROOT, TaskHouse, tree

PLANTED = "pl4nted-s3cret/+value"
FILE = """
description = "Two copies"
vars { folder = ${STATE}"/x" }
tasks = [
  { name = copy, id = first, args { source = x.conf, target = ${vars.folder}"/first" } }
  { name = copy, id = second, retries = 2, timeout = 60
    args { source = x.conf, target = ${vars.folder}"/second" } }
]
"""


def tasks(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["tasks", *arguments], env={"COLUMNS": "300"})


def test_list_shows_tasks_and_files_also_broken_ones(house: TaskHouse) -> None:
    house.add_settings("tasks.folders = [my_tasks]")
    house.write("my_tasks/broken.py", "import nowhere_at_all")
    house.write("tasks/x.conf", FILE)
    house.write("tasks/y.conf", "tasks = []")
    ended = tasks("list")
    assert ended.exit_code == 0
    lines = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    assert "copy Copy a file, or the files of a folder, on this machine built in" in lines
    assert "x.conf 2 valid" in lines
    assert "y.conf 0 1 mistakes" in lines
    assert "my_tasks/broken.py: " in ended.stderr
    assert "nowhere_at_all" in ended.stderr


def test_describe_shows_help_and_arguments(house: TaskHouse) -> None:
    ended = tasks("describe", "delete_older_than")
    assert ended.exit_code == 0
    text = " ".join(ended.stdout.split())
    assert text.startswith(
        "delete_older_than Delete files of a folder that were last modified more than some days"
    )
    assert "days a number (required) Age in days, by the modification time." in text
    assert "remove_empty_folders true or false true" in text


def test_describe_of_an_unknown_task_names_the_nearest(house: TaskHouse) -> None:
    ended = tasks("describe", "shel_script")
    assert (ended.exit_code, "perhaps shell_script" in ended.stderr) == (1, True)


def test_describe_of_a_file_shows_its_tasks_and_its_schedule_or_its_mistakes(house: TaskHouse) -> None:
    house.write("tasks/x.conf", FILE + 'schedule { cron = "0 6 * * *", timezone = Europe/London }')
    for name in ("x", "x.conf"):
        ended = tasks("describe", name)
        assert ended.exit_code == 0, ended.output
        text = " ".join(ended.stdout.split())
        assert text.startswith(
            "x.conf Two copies Schedule: 0 6 * * * Europe/London, once it is switched on id "
        )
        assert "first copy Copy a file, or the files of a folder, on this machine second copy" in text
    house.write("tasks/y.conf", "tasks = []")
    ended = tasks("describe", "y")
    assert (ended.exit_code, "y.conf:1: tasks: " in ended.stderr) == (1, True)


def test_validate_exits_with_1_for_mistakes_of_files_or_modules(house: TaskHouse) -> None:
    house.write("tasks/x.conf", FILE)
    ended = tasks("validate")
    assert (ended.exit_code, ended.stdout) == (0, "1 of 1 task files are valid, with 2 tasks; 0 mistakes.\n")
    house.write("tasks/y.conf", "tasks = [{ name = cop, reads = [star/dim_stff] }]")
    ended = tasks("validate")
    assert (ended.exit_code, ended.stdout) == (1, "1 of 2 task files are valid, with 2 tasks; 2 mistakes.\n")
    assert "y.conf:1: tasks[0].name: found " in ended.stderr
    assert "perhaps star/dim_staff" in ended.stderr
    (house.config / "tasks" / "y.conf").unlink()
    house.add_settings("tasks.folders = [missing]")
    ended = tasks("validate")
    assert (ended.exit_code, "is no folder" in ended.stderr) == (1, True)


def test_run_executes_the_job_and_exits_with_0_only_if_everything_succeeded(house: TaskHouse) -> None:
    house.write("tasks/x.conf", FILE)
    ended = tasks("run", "x")
    assert ended.exit_code == 0, ended.output
    assert [line for line in ended.stdout.splitlines() if "done in" not in line] == [
        "  first: copy",
        f"  {house.state}/x/first: written",
        "  second: copy",
        f"  {house.state}/x/second: written",
        *(line for line in ended.stdout.splitlines() if line.startswith("2 tasks succeeded")),
    ]
    with open_instance(dagster_home(house.settings)) as instance:
        assert [(run.job_name, run.is_success) for run in instance.get_runs()] == [("x", True)]
    ended = tasks("run", "x", "--set", "folder=/dev/null/x")
    assert ended.exit_code == 1
    assert "first: /dev/null/x" in ended.stderr
    assert "The run failed after" in ended.stderr
    assert "tasks run x --from first" in ended.stderr


def test_run_starts_where_it_is_told_and_replaces_values(house: TaskHouse) -> None:
    house.write("tasks/x.conf", FILE)
    ended = tasks("run", "x.conf", "--from", "second", "--set", f"vars.folder={house.folder}/new")
    assert ended.exit_code == 0, ended.output
    assert [one.name for one in (house.folder / "new").iterdir()] == ["second"]
    ended = tasks("run", "x", "--from", "third")
    assert (ended.exit_code, "it has first, second" in ended.stderr) == (1, True)
    ended = tasks("run", "x", "--set", "nonsense")
    assert (ended.exit_code, "write KEY=VALUE" in ended.stderr) == (1, True)


def test_run_refuses_to_replace_a_value_that_the_file_does_not_have(house: TaskHouse) -> None:
    house.write("tasks/x.conf", FILE)
    for key in ("foldr", "vars.foldr"):
        ended = tasks("run", "x", "--set", f"{key}={house.folder}/new")
        assert ended.exit_code == 1
        assert "--set foldr: x.conf has no such value. Its values in vars are: folder." in ended.stderr
    assert not (house.folder / "new").exists()


def test_run_refuses_to_replace_a_value_within_a_block_that_the_file_does_not_have(house: TaskHouse) -> None:
    nested = FILE.replace("vars { folder", "vars { keep { days = 1, files = 2 }, folder")
    house.write("tasks/x.conf", nested)
    ended = tasks("run", "x", "--dry-run", "--set", "keep.day=7")
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert (
        "--set keep.day: x.conf has no such value. Its values in vars.keep are: days, files." in ended.stderr
    )
    assert tasks("run", "x", "--dry-run", "--set", "vars.keep.days=7").exit_code == 0
    # A block that is used as a whole takes further values.
    house.write("tasks/x.conf", nested.replace("id = second,", "id = second, vars = ${vars.keep},"))
    ended = tasks("run", "x", "--dry-run", "--set", "keep.day=7")
    assert "has no such value" not in ended.stderr


def test_run_replaces_a_value_that_the_file_only_asks_for(house: TaskHouse) -> None:
    house.write("tasks/x.conf", FILE.replace('"/second"', '"/second"${?vars.ending}'))
    ended = tasks("run", "x", "--set", "ending=.txt", "--set", f"folder={house.folder}/new")
    assert ended.exit_code == 0, ended.output
    assert sorted(one.name for one in (house.folder / "new").iterdir()) == ["first", "second.txt"]


def test_run_takes_a_file_anywhere_and_refuses_a_broken_one(house: TaskHouse) -> None:
    elsewhere = house.folder / "other.conf"
    elsewhere.write_text(FILE.replace("x.conf", str(house.config / "platform.conf")))
    assert tasks("run", str(elsewhere)).exit_code == 0
    elsewhere.write_text("tasks = [{ name = cop }]")
    ended = tasks("run", str(elsewhere))
    assert (ended.exit_code, "perhaps copy" in ended.stderr) == (1, True)
    ended = tasks("run", "missing")
    assert (ended.exit_code, "There is no task file missing" in ended.stderr) == (1, True)


def test_a_dry_run_shows_the_plan_and_changes_nothing(house: TaskHouse) -> None:
    house.write(
        "tasks/x.conf",
        FILE.replace("]\n", "  { name = delete_older_than, args { folder = ${STATE}/old, days = 0 } }\n]\n"),
    )
    old = house.state / "old" / "x"
    old.parent.mkdir(parents=True)
    old.touch()
    before = tree(house.folder)
    ended = tasks("run", "x", "--dry-run", "--from", "second")
    assert ended.exit_code == 0, ended.output
    text = " ".join(ended.stdout.split())
    assert f"second copy source = {house.config}/tasks/x.conf after first; 2 retries; at most 60 s" in text
    assert "first copy" not in text
    assert "x: would be deleted" in text
    assert text.endswith("Nothing was changed.")
    assert tree(house.folder) == before


def test_a_dry_run_shows_lists_that_begin_with_a_path(house: TaskHouse) -> None:
    house.write(
        "tasks/x.conf",
        'tasks = [{ name = shell_script, args { script = sh, script_args = [/bin/true, ":smile:"] } }]',
    )
    ended = tasks("run", "x", "--dry-run")
    assert ended.exit_code == 0, ended.output
    assert "script_args = [/bin/true, :smile:]" in ended.stdout


SECRETS = """
vars { token = ${PLANTED} }
tasks = [
  { name = shell_script, id = script, retries = 1, retry_delay = 0
    args { script = sh, script_args = ["-c", "echo got $T; echo $T >&2; exit 3"]
           environment { T = "secret://env/PLANTED" } } }
  { name = http_request, id = request, needs = []
    args { url = "http://127.0.0.1:9/x"
           headers { Authorization = "secret://env/PLANTED", Cookie = ${PLANTED} } } }
  { name = python_function, id = function, needs = [], produces = [tasks/secret]
    args { function = "f.py:f", secrets { token = "secret://env/PLANTED" } } }
  { name = python_function, id = good, needs = []
    args { function = "f.py:g", secrets { token = "secret://env/PLANTED" } } }
]
"""
FUNCTIONS = """
from platform_assets.tasks.task import TaskOutcome

def f(token, context):
    context.log(f"token {token}")
    try:
        raise ValueError(f"inner {token}")
    except ValueError as error:
        raise RuntimeError(f"outer {token}") from error

def g(token):
    return TaskOutcome(facts={"token": token})
"""


def test_no_secret_is_in_logs_metadata_errors_or_the_dry_run(
    house: TaskHouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PLANTED", PLANTED)
    house.write("tasks/x.conf", SECRETS)
    house.write("tasks/f.py", FUNCTIONS)
    texts = []
    for arguments in (("run", "x", "--dry-run"), ("run", "x"), ("list",), ("validate",)):
        ended = tasks(*arguments)
        texts += [ended.stdout, ended.stderr]
    assert "T = secret://env/PLANTED" in texts[0]
    assert "got ***" in texts[2]
    assert "token ***" in texts[2]
    assert "outer ***" in texts[3]
    with open_instance(dagster_home(house.settings)) as instance:
        for run in instance.get_runs():
            texts += [repr(entry) for entry in instance.all_logs(run.run_id)]
    texts.append(caplog.text)
    assert [text for text in texts if PLANTED in text] == []
    found = [
        file for file in house.state.rglob("*") if file.is_file() and PLANTED.encode() in file.read_bytes()
    ]
    assert found == []


def test_a_mistake_does_not_repeat_a_literal_where_a_reference_belongs(
    house: TaskHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", PLANTED)
    house.write(
        "tasks/x.conf",
        "tasks = [{ name = python_function, args { function = f, secrets { token = ${PLANTED} } } }]",
    )
    ended = tasks("validate")
    assert ended.exit_code == 1
    assert "args.secrets.token: found a value (not shown)" in ended.stderr
    assert PLANTED not in ended.output + ended.stderr


@pytest.fixture
def lake(house: TaskHouse) -> Path:
    """Two small tables, as the main job leaves them."""
    import pyarrow as pa
    from deltalake import write_deltalake

    folder = house.state / "lake" / "processed" / "star"
    for name in ("dim_staff", "fact_sales_order"):
        write_deltalake(folder / name, pa.table({"id": [1, 2, 3], "name": ["a", "b", None]}))
    return folder


def test_the_scanner_rollout_runs_as_shipped_and_its_second_run_changes_nothing(
    house: TaskHouse, lake: Path
) -> None:
    import shutil

    shutil.copytree(ROOT / "config" / "tasks", house.config / "tasks")
    assert tasks("validate").exit_code == 0
    ended = tasks("run", "scanner_rollout")
    assert ended.exit_code == 0, ended.output
    first = tree(house.state / "scanner")
    report = next(content for name, content, _ in first if name == "published/report.csv").decode()
    assert report.splitlines() == [
        "table,rows,column,type",
        "dim_staff,3,id,long",
        "dim_staff,3,name,string",
        "fact_sales_order,3,id,long",
        "fact_sales_order,3,name,string",
    ]
    assert [name for name, _, _ in first] == [
        f"backups/scanner-{house.room.variables['TODAY']}.tar.zst", "published/report.csv",
        "published/report.csv.metadata.json",
    ]  # fmt: skip
    ended = tasks("run", "scanner_rollout")
    assert ended.exit_code == 0, ended.output
    assert tree(house.state / "scanner") == first


def test_the_scanner_rollout_says_what_to_do_before_the_first_run(house: TaskHouse) -> None:
    import shutil

    shutil.copytree(ROOT / "config" / "tasks", house.config / "tasks")
    ended = tasks("run", "scanner_rollout")
    assert ended.exit_code == 1
    assert "Run the main job first: make run" in ended.stdout
    assert "scan: " in ended.stderr
