"""Logs as JSON: every line is one object, with the same names, whoever logs it."""

import datetime as dt
import errno
import json
import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from platform_assets.alert import Alert, Severity
from platform_assets.alerts.notifier import LogNotifier
from platform_assets.errors import LakeError
from platform_assets.logs import EVENTS, configure, event, is_json, json_output, translated
from platform_assets.terminal import plain_errors
from platform_assets_tests.fixtures.logs import json_logs, objects
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.totesys import Totesys

ROOT = Path(__file__).parent.parent
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ALWAYS = {"time", "level", "event", "message", "logger"}
Captured = pytest.CaptureFixture[str]


def named(lines: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == name]


@pytest.fixture(scope="module")
def environment(new_module_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a small platform that logs JSON; a payment breaks a rule."""
    totesys = Totesys.with_rows(new_module_database())
    totesys.update("payment", 1, payment_date="no date")
    reader, state = totesys.database.reader, tmp_path_factory.mktemp("logs") / "state"
    (state / "dagster").mkdir(parents=True)
    (state / "dagster" / "dagster.yaml").write_bytes((ROOT / "dagster.yaml").read_bytes())
    return {
        **{name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ},
        "HOME": str(state.parent),
        "PLATFORM_STATE_DIR": str(state),
        "DAGSTER_HOME": str(state / "dagster"),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "LOG_FORMAT": "json",
        "TOTESYS_EMBEDDED": "false",
        "TOTESYS_HOST": reader.host,
        "TOTESYS_PORT": str(reader.port),
        "TOTESYS_DATABASE": reader.database,
        "TOTESYS_USER": reader.user,
        "TOTESYS_PASSWORD": reader.password,
        "TOTESYS_SSLMODE": "disable",
    }


def program(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def run(environment: dict[str, str]) -> list[dict[str, Any]]:
    """The lines of a run by the command."""
    ended = program(environment, "platform_assets.cli", "run")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    return objects(ended.stderr)


def test_every_line_of_a_run_has_time_level_event_and_message(run: list[dict[str, Any]]) -> None:
    for line in run:
        assert line.keys() >= ALWAYS
        assert TIME.fullmatch(line["time"])
        assert line["level"] in ("debug", "info", "warning", "error")
        assert line["event"] in EVENTS
    assert [one["time"] for one in run] == sorted(one["time"] for one in run)


def test_the_events_of_a_run_have_its_id_its_job_and_their_counts(run: list[dict[str, Any]]) -> None:
    [started], [finished] = named(run, "run_started"), named(run, "run_finished")
    assert started["job"] == finished["job"] == "totesys_to_warehouse"
    assert started["run_id"] == finished["run_id"]
    assert finished["seconds"] > 0
    read = {one["table"]: one for one in named(run, "table_read")}
    assert read["sales_order"] | {"message": "", "time": ""} == {
        "time": "",
        "level": "info",
        "event": "table_read",
        "message": "",
        "logger": "platform_assets.events",
        "run_id": started["run_id"],
        "job": "totesys_to_warehouse",
        "step": "totesys",
        "source": "totesys",
        "table": "sales_order",
        "asset": "totesys/sales_order",
        "batch": 1,
        "rows_read": 2,
        "inserted": 2,
        "updated": 0,
        "deleted": 0,
    }
    [dead] = named(run, "dead_letters")
    assert (dead["level"], dead["asset"], dead["rows"]) == ("warning", "totesys/payment", 1)
    [batch] = named(run, "batch_committed")
    assert (batch["batch"], batch["tables"], batch["rows"]) == (1, 11, 23)
    assert batch["seconds"] > 0
    built = {one["table"]: one for one in named(run, "star_built")}
    assert (built["fact_sales_order"]["rows"], built["fact_sales_order"]["step"]) == (2, "star")
    loaded = {one["table"]: one for one in named(run, "warehouse_loaded")}
    assert (loaded["fact_sales_order"]["rows"], loaded["fact_sales_order"]["batch"]) == (2, 1)
    failed = {(one["asset"], one["check"]) for one in named(run, "check_failed")}
    assert ("totesys/payment", "accepted_values") in failed


def test_dagsters_own_command_logs_the_same_way(environment: dict[str, str], run: object) -> None:
    ended = program(
        environment, "dagster", "job", "execute", "-m", "platform_assets.definitions", "-j", "lake_upkeep"
    )
    assert ended.returncode == 0, ended.stderr
    # Before it loads the platform, Dagster warns of its own command, as text.
    before, _, logged = (ended.stderr + ended.stdout).partition("{")
    assert before.count("\n") <= before.count("is superseded") * 2
    lines = objects("{" + logged)
    [finished] = named(lines, "upkeep_finished")
    assert finished["job"] == "lake_upkeep"
    assert finished["step"] == "lake__tables"
    assert finished["tables"] >= 20
    assert finished["tables_failed"] == 0
    assert len(named(lines, "run_finished")) == 1


def test_a_command_that_fails_says_so_in_one_object(environment: dict[str, str]) -> None:
    ended = program(environment, "platform_assets.cli", "run", "nowhere")
    assert ended.returncode == 1
    [line] = objects(ended.stderr)
    assert (line["event"], line["level"]) == ("command_failed", "error")
    assert line["error"]["type"] == "SettingsError"
    assert "nowhere" in line["message"]


def test_an_error_has_its_type_its_message_and_a_traceback_without_code(capfd: Captured) -> None:
    def fail() -> None:
        password = "hunter2"
        raise LakeError(f"It has {len(password)} letters.")

    with json_logs():
        try:
            fail()
        except LakeError:
            logging.getLogger("platform_assets.somewhere").exception("It failed.")
    [line] = objects(capfd.readouterr().err)
    error = line["error"]
    assert (error["type"], error["message"]) == ("LakeError", "It has 7 letters.")
    assert error["traceback"][-1].endswith(" fail")
    assert f"{Path(__file__).name}:" in error["traceback"][-1]
    assert "hunter2" not in json.dumps(line)


def test_warnings_and_other_libraries_are_objects_too(capfd: Captured) -> None:
    with json_logs("info"):
        warnings.warn("is old", FutureWarning, stacklevel=1)
        logging.getLogger("library").warning("of a library, line one\nline two")
        logging.getLogger("library").info("its progress")
    lines = objects(capfd.readouterr().err)
    assert [line["logger"] for line in lines] == ["py.warnings", "library"]
    assert lines[1]["message"] == "of a library, line one\nline two"
    assert all(line["event"] == "line" for line in lines)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_only_what_is_severe_enough_is_logged(capfd: Captured, level: Any, expected: list[str]) -> None:
    with json_logs(level):
        for one in ("debug", "info", "warning", "error"):
            event("line", "a line", level=one)  # type: ignore[arg-type]
    assert [object_["level"] for object_ in objects(capfd.readouterr().err)] == expected


def test_failures_and_retries_of_steps_are_events(capfd: Captured) -> None:
    @dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
    def broken(context: dg.OpExecutionContext) -> None:
        context.log.info("%d of %d", 1, 2)
        logging.getLogger("platform_assets.somewhere").warning("inside")
        raise LakeError("The lake cannot be read.")

    @dg.job
    def short() -> None:
        broken()

    with json_logs("info"), dg.DagsterInstance.ephemeral() as instance:
        result = short.execute_in_process(instance=instance, raise_on_error=False)
    lines = objects(capfd.readouterr().err)
    assert [line["event"] for line in lines] == [
        "run_started",
        *("line", "line", "step_retried"),
        *("line", "line", "step_failed"),
        "run_failed",
    ]
    assert {line["run_id"] for line in lines} == {result.run_id}
    assert {line.get("step") for line in lines[1:-1]} == {"broken"}
    assert "step" not in lines[-1]
    assert lines[1]["message"] == "1 of 2"
    assert lines[2]["logger"] == "platform_assets.somewhere"
    assert (lines[6]["error"]["type"], lines[3]["error"]["type"]) == ("LakeError", "LakeError")
    assert [line["level"] for line in lines] == [
        "info",
        "info",
        "warning",
        "warning",
        "info",
        "warning",
        "error",
        "error",
    ]


def test_an_alert_to_the_log_is_an_event(capfd: Captured) -> None:
    now = dt.datetime(2036, 7, 8, tzinfo=dt.UTC)
    with json_logs():
        LogNotifier().send(Alert("key", Severity.ERROR, "A run failed", now))
    [line] = objects(capfd.readouterr().err)
    assert (line["event"], line["title"], line["severity"], line["level"]) == (
        "alert",
        "A run failed",
        "ERROR",
        "error",
    )


def test_in_a_terminal_errors_stay_sentences_and_events_are_not_shown(
    capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process of the tests may have logged JSON before; one of the platform never does both.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure("text", "info")
    assert not is_json()
    event("dead_letters", "not shown", level="warning")
    with pytest.raises(Exception, match="1"), plain_errors():
        raise LakeError("The lake cannot be read.")
    captured = capfd.readouterr()
    assert captured.err == "The lake cannot be read.\n"
    assert captured.out == ""


def test_what_other_processes_print_becomes_objects(capfd: Captured) -> None:
    ours = {"time": "2036-07-08T00:00:00.000Z", "level": "info", "event": "run_started", "message": "m"}
    printed = [
        "plain text",
        json.dumps(ours),
        '{"event": "of Dagster", "logger": "dagster.daemon", "level": "critical", '
        '"timestamp": "2036-07-08T00:00:00Z"}',
        '["no object"]',
    ]
    with json_output():
        for line in printed:
            subprocess.run([sys.executable, "-c", f"print({line!r})"], check=True)
    lines = objects(capfd.readouterr().err)
    assert lines[1] == ours
    assert [line["message"] for line in lines] == ["plain text", "m", "of Dagster", '["no object"]']
    assert (lines[2]["level"], lines[2]["logger"], lines[2]["time"]) == (
        "error",
        "dagster.daemon",
        "2036-07-08T00:00:00Z",
    )
    assert translated("")["message"] == ""


def test_a_line_that_cannot_be_written_stops_neither_the_next_ones_nor_who_prints_them(
    capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def full(file: int, data: bytes) -> int:
        if b"lost" in data:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:7])

    monkeypatch.setattr(os, "write", full)
    lines = ["lost", "[" * 100_000, json.dumps({"event": "half \ud800 a sign"}), *["kept " * 100] * 300]
    with json_output():
        program = "import sys; sys.stdout.writelines(f'{line}\\n' for line in sys.argv[1:])"
        subprocess.run([sys.executable, "-c", program, *lines], check=True, timeout=PATIENCE)
    found = [object_["message"] for object_ in objects(capfd.readouterr().err)]
    assert len(found) == len(lines) - 1
    assert found[1] == "half ? a sign"
    assert {one.split()[0] for one in found[2:]} == {"kept"}


def test_every_event_that_is_logged_is_documented() -> None:
    used = set()
    for file in (ROOT / "platform_assets").rglob("*.py"):
        used |= set(re.findall(r'\b(?:log_)?event(?:_fields)?\(\s*"(\w+)"', file.read_text(encoding="utf-8")))
    assert used <= EVENTS.keys()
    page = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8").partition("## Events")[2]
    listed = re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)
    assert sorted(listed) == sorted(EVENTS)
