"""The task `shell_script`: arguments, environment, streams, exit codes, and the end of all processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from platform_assets.tasks.builtin.shell_script import ShellScript
from platform_assets.tasks.logs import LONGEST_LINE, MOST_LINES, Redactor, TaskLog
from platform_assets.tasks.task import Deadline, TaskError, TaskTimeout
from platform_assets_tests.tasks.conftest import Bench


def script(folder: Path, text: str, name: str = "script.sh") -> str:
    file = folder / name
    file.write_text(text)
    file.chmod(0o755)
    return str(file)


def gone(pid: int) -> bool:
    """Whether a process has ended, or ends within a while; one that nobody waits for counts as ended."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (None, []),
        ("", []),
        ("a 'b c' \"d;$HOME\" *", ["a", "b c", "d;$HOME", "*"]),
        (
            ["a b", "$(touch x)", "`y`", "; rm -rf z", 3, 1.5],
            ["a b", "$(touch x)", "`y`", "; rm -rf z", "3", "1.5"],
        ),
        ([], []),
    ],
)
def test_arguments_are_a_list_a_text_or_absent_and_no_shell_sees_them(
    bench: Bench, tmp_path: Path, given: object, seen: list[str]
) -> None:
    program = script(tmp_path, '#!/bin/sh\nfor a in "$@"; do echo "<$a>"; done\n')
    arguments = {} if given is None else {"script_args": given}
    bench.run("shell_script", script=program, **arguments)
    assert bench.lines == [f"<{one}>" for one in seen]


def test_a_text_that_cannot_be_split_is_told(bench: Bench) -> None:
    with pytest.raises(TaskError, match="No closing quotation"):
        bench.run("shell_script", script="sh", script_args="'a")


def test_only_allowed_variables_of_the_environment_are_passed_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")
    monkeypatch.setenv("MINE", "mine")
    bench.run("shell_script", script="env")
    names = {line.partition("=")[0] for line in bench.lines}
    assert names <= {"PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"}
    bench.lines.clear()
    bench.run("shell_script", script="/usr/bin/env", pass_environment=["MINE"], environment={"X": "y z"})
    assert sorted(bench.lines) == ["MINE=mine", "X=y z"]


def test_a_program_runs_in_its_working_directory_and_in_the_jobs_folder_by_default(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    bench.run("shell_script", script="pwd")
    bench.run("shell_script", script="pwd", working_directory="other")
    assert bench.lines == [str(tmp_path), str(tmp_path / "other")]
    with pytest.raises(TaskError, match="does not exist"):
        bench.run("shell_script", script="pwd", working_directory="missing")


def test_a_script_that_is_not_executable_runs_with_an_interpreter(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("print('hello')")
    with pytest.raises(TaskError, match=r"chmod \+x"):
        bench.run("shell_script", script="./plain.py")
    bench.run("shell_script", script="./plain.py", interpreter=sys.executable)
    assert bench.lines == ["hello"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"script": "./missing.sh"}, "does not exist"),
        ({"script": "no-such-program-anywhere"}, "no program no-such-program-anywhere in PATH"),
        ({"script": "sh", "script_args": ["-c", "exit 3"]}, "ended with exit code 3"),
        ({"script": "sh", "script_args": ["-c", "kill -9 $$"]}, "was ended by signal 9"),
        ({"script": "true", "produces_files": ["x.csv"]}, "did not make .*/x.csv"),
    ],
)
def test_what_goes_wrong_says_so(bench: Bench, arguments: dict[str, object], reason: str) -> None:
    with pytest.raises(TaskError, match=reason):
        bench.run("shell_script", **arguments)


def test_a_file_without_a_first_line_says_what_it_needs(bench: Bench, tmp_path: Path) -> None:
    program = script(tmp_path, "\x7fnothing", "odd")
    with pytest.raises(TaskError, match=r"cannot be started: .*A script needs a first line"):
        bench.run("shell_script", script=program)


def test_other_exit_codes_can_mean_success(bench: Bench) -> None:
    made = bench.run("shell_script", script="sh", script_args=["-c", "exit 3"], success_codes=[0, 3])
    assert made.facts == {"exit_code": 3}


def test_both_streams_are_logged_line_by_line_as_they_come(bench: Bench, tmp_path: Path) -> None:
    # The script goes on only when its first line was seen: nothing is held back until the end.
    seen = tmp_path / "seen"

    class Watching(list[str]):
        def extend(self, lines: Iterable[str]) -> None:
            super().extend(lines)
            seen.touch()

    bench.lines = Watching()
    code = f"echo first; while [ ! -e {seen} ]; do sleep 0.05; done; echo error >&2; printf 'no end'"
    bench.run("shell_script", script="sh", script_args=["-c", code])
    assert list(bench.lines) == ["first", "no end"]
    assert bench.warnings == ["error"]


def test_bytes_that_are_no_text_and_windows_line_ends_are_shown(bench: Bench) -> None:
    bench.run("shell_script", script="printf", script_args=[r"a\377b\r\n\n\303\244"])
    assert bench.lines == ["a�b", "", "ä"]


def test_a_line_without_end_takes_bounded_memory_and_is_cut(bench: Bench) -> None:
    code = "import sys; sys.stdout.write('x' * 50_000_000); print(); print('after')"
    bench.run("shell_script", script=sys.executable, script_args=["-c", code])
    assert len(bench.lines) == 2
    assert len(bench.lines[0]) < 70_000
    assert bench.lines[0].endswith("... (this line is 50,000,000 bytes long)")
    assert bench.lines[1] == "after"


def test_a_log_without_end_is_bounded_and_keeps_its_end() -> None:
    lines: list[str] = []
    warnings: list[str] = []
    log = TaskLog(Redactor(), lines.append, warnings.append)
    for number in range(MOST_LINES + 1_000):
        log(f"line {number}")
    log("y" * (2 * LONGEST_LINE))
    log.close()
    assert len(lines) == MOST_LINES + 1
    assert lines[0] == "line 0"
    last = lines[-1].split("\n")
    assert len(last) == 200
    assert last[-3:] == [f"line {MOST_LINES + 999}", "y" * LONGEST_LINE, "y" * LONGEST_LINE]
    assert warnings == ["... 802 lines are left out; the last 200 are:"]


def test_lines_that_come_at_once_share_an_entry_and_the_limit_counts_lines(bench: Bench) -> None:
    entries: list[str] = []
    warnings: list[str] = []
    log = TaskLog(bench.redactor, entries.append, warnings.append)
    context = bench.context()
    object.__setattr__(context, "log", log)
    ShellScript().run(context, script="seq", script_args=[str(MOST_LINES + 500)])
    log.close()
    numbers = [line for entry in entries for line in entry.split("\n")]
    assert numbers[:MOST_LINES] == [str(number + 1) for number in range(MOST_LINES)]
    assert numbers[MOST_LINES:] == [str(number + 1) for number in range(MOST_LINES + 300, MOST_LINES + 500)]
    assert len(entries) < MOST_LINES / 10
    assert warnings == ["... 300 lines are left out; the last 200 are:"]


def test_a_timeout_ends_children_and_grandchildren_also_those_that_left_the_group(
    bench: Bench, tmp_path: Path
) -> None:
    code = (
        "import os, subprocess, sys, time\n"
        "same = subprocess.Popen(['sh', '-c', 'trap \"\" TERM; sleep 600 & echo $! > same; wait; sleep "
        "600'])\n"
        "other = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "open('pids', 'w').write(f'{os.getpid()} {same.pid} {other.pid}')\n"
        "while not os.path.exists('same') or not open('same').read().strip(): time.sleep(0.05)\n"
        "print('started', flush=True)\n"
        "time.sleep(600)\n"
    )

    class UntilStarted(Deadline):
        def left(self) -> float | None:
            if bench.lines:
                raise self.reached()
            return None

    context = bench.context()
    object.__setattr__(context, "deadline", UntilStarted(8))
    with pytest.raises(TaskTimeout, match="longer than its timeout of 8 s"):
        ShellScript().run(context, script=sys.executable, script_args=["-c", code])
    assert bench.lines == ["started"]
    pids = [*(tmp_path / "pids").read_text().split(), (tmp_path / "same").read_text().strip()]
    assert len(pids) == 4
    assert all(gone(int(pid)) for pid in pids)


def test_what_is_left_in_the_background_is_ended_and_does_not_hold_the_task_up(
    bench: Bench, tmp_path: Path
) -> None:
    bench.run("shell_script", script="sh", script_args=["-c", "sleep 600 & echo $! > pid; echo done"])
    assert bench.lines == ["done"]
    assert "1 processes running in the background" in bench.warnings[0]
    assert gone(int((tmp_path / "pid").read_text()))


def test_an_interruption_ends_the_program(bench: Bench, tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    context = bench.context()
    object.__setattr__(context, "log", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ShellScript().run(context, script="sh", script_args=["-c", "echo $$ > pid; echo x; sleep 600"])
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_secret_reaches_the_script_and_no_log(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", "s3cr3t value/+")
    context = bench.context()
    log = TaskLog(bench.redactor, context.log, context.warn)
    object.__setattr__(context, "log", log)
    object.__setattr__(context, "warn", log.warn)
    from platform_assets.configuration.secrets import Secret

    code = (
        'echo "it is $TOKEN"; echo "$TOKEN" >&2; test "$TOKEN" = "s3cr3t value/+"; '
        'printf %s "$TOKEN" | base64'
    )
    ShellScript().run(
        context,
        script="sh",
        script_args=["-c", code],
        environment={"TOKEN": Secret("secret://env/PLANTED")},
    )
    assert bench.lines == ["it is ***", "***"]
    assert bench.warnings == ["***"]


def test_no_process_is_left_behind() -> None:
    mine = psutil.Process(os.getpid())
    assert [one for one in mine.children(recursive=True) if one.name() in ("sleep", "sh")] == []
