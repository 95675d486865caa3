"""The task `shell_script`: a program with a list of arguments, never a shell."""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.secrets import Secret, absolute_path, base_folder
from platform_assets.tasks.task import Task, TaskContext, TaskError, TaskOutcome

DEFAULT_ENVIRONMENT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
"""Environment variables that a script gets unless it is told otherwise."""
_CHUNK = 65_536
_LONGEST_LINE = 65_536
# A secret at the cut of a line must not be shown in part.
_MARGIN = 1_024
_GRACE = 5.0
_TOGETHER = 100
"""The most lines of an entry of the log."""


def _program(value: object, info: ValidationInfo) -> object:
    """Make the path of a program absolute; a plain name is looked up when it is run."""
    if not isinstance(value, str):
        return value
    if not value.strip() or value != value.strip():
        raise ValueError("it is empty, or starts or ends with white space")
    return str(absolute_path(value, base_folder(info))) if "/" in value else value


Program = Annotated[str, BeforeValidator(_program)]


class ShellScript(Task):
    """Run a program, such as a script, with a list of arguments.

    No shell is involved: a `*`, `$` or `;` in an argument is just that character. What the program writes to
    its output and its error output is logged line by line. Any exit code but 0 fails the task. At the task's
    `timeout`, the program and all processes that it has started are ended.

    Idempotent: as the program is. Let it write results only where they differ, or to a file named after
    `${TODAY}`.
    """

    def run(
        self,
        context: TaskContext,
        script: Program,
        script_args: str | list[str | int | float] | None = None,
        interpreter: Program | None = None,
        working_directory: Path | None = None,
        environment: dict[str, str | Secret] | None = None,
        pass_environment: list[str] | None = None,
        produces_files: list[Path] | None = None,
        success_codes: list[int] | None = None,
    ) -> TaskOutcome:
        """Run it.

        Args:
            context: The task's context.
            script: The program: a path, or the name of a program in PATH.
            script_args: Its arguments: a list, or a text that is split as a shell splits words.
            interpreter: The program that runs the script, such as ${PYTHON}, for scripts that are not
                executable.
            working_directory: The folder that it runs in; by default the job's working folder.
            environment: Environment variables to set; a value may be a reference to a secret.
            pass_environment: Names of the platform's environment variables that it gets; by default PATH,
                HOME, USER, LANG, LC_ALL, LC_CTYPE, TZ and TMPDIR.
            produces_files: Files and folders that it makes; the task fails if one is missing afterwards.
            success_codes: Exit codes that mean success; by default only 0.
        """
        folder = working_directory or context.folder
        if not folder.is_dir():
            raise TaskError(f"The working directory {folder} does not exist. Create it, or name another one.")
        command = [*_command(script, interpreter), *_arguments(script_args)]
        given = _environment(pass_environment, environment or {}, context)
        code = run_program(command, folder, given, context)
        if code not in (success_codes or [0]):
            ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise TaskError(f"{script} {ended}. The log above says why; run it by hand to look into it.")
        missing = [str(produces_file) for produces_file in produces_files or () if not produces_file.exists()]
        if missing:
            raise TaskError(f"{script} ended well, but did not make {', '.join(missing)}.")
        return TaskOutcome(files=produces_files or (), facts={"exit_code": code})


def _command(script: str, interpreter: str | None) -> list[str]:
    program = interpreter or script
    if "/" in program:
        if not Path(program).is_file():
            raise TaskError(f"The program {program} does not exist. Correct its path.")
        if not os.access(program, os.X_OK):
            raise TaskError(
                f"{program} is not executable. Make it so (chmod +x), or name the `interpreter` that runs it."
            )
    elif shutil.which(program) is None:
        raise TaskError(f"There is no program {program} in PATH. Install it, or write its whole path.")
    if interpreter is not None and not Path(script).is_file():
        raise TaskError(f"The script {script} does not exist. Correct its path.")
    return [program] if interpreter is None else [interpreter, script]


def _arguments(given: str | Sequence[str | int | float] | None) -> list[str]:
    if given is None:
        return []
    if isinstance(given, str):
        try:
            return shlex.split(given)
        except ValueError as error:
            raise TaskError(
                f"script_args cannot be split into words: {error}. Write a list instead."
            ) from None
    return [str(argument) for argument in given]


def _environment(
    passed: Sequence[str] | None, given: Mapping[str, str | Secret], context: TaskContext
) -> dict[str, str]:
    allowed = DEFAULT_ENVIRONMENT if passed is None else passed
    found = {name: value for name, value in os.environ.items() if name in allowed}
    for name, value in given.items():
        found[name] = context.secret(value) if isinstance(value, Secret) else value
    return found


def run_program(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], context: TaskContext
) -> int:
    """Run a program, log its output, and end every process of its group at the end.

    Args:
        command: The program and its arguments.
        folder: Its working directory.
        environment: Its whole environment.
        context: The task's context, for its log and its deadline.

    Returns:
        The exit code; negative for the signal that ended it.

    Raises:
        TaskError: It cannot be started.
        TaskTimeout: It took too long.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TaskError(
            f"{command[0]} cannot be started: {reason}. A script needs a first line such as #!/bin/sh."
        ) from None
    try:
        _log_output(process, context)
        code = process.wait(context.deadline.left())
    except subprocess.TimeoutExpired:
        raise context.deadline.reached() from None
    finally:
        was_running = process.poll() is None
        left = _end_processes(process, with_descendants=was_running)
    if left:
        context.warn(f"It left {left} processes running in the background; they were ended.")
    return code


class _Lines:
    """The lines of a stream of bytes; an endless line is cut.

    Lines that arrive together are logged together: each entry of the log is an event in Dagster's database,
    which takes some milliseconds, and would hold up a script that prints a lot.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._rest = b""
        self._cut = 0
        self._ready: list[str] = []

    def add(self, chunk: bytes) -> None:
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._extend(line)
            self._end_line()
        self._extend(rest)
        self._log()

    def end(self) -> None:
        if self._rest:
            self._end_line()
        self._log()

    def _extend(self, part: bytes) -> None:
        room = _LONGEST_LINE - len(self._rest)
        self._rest += part[:room]
        self._cut += max(len(part) - room, 0)

    def _end_line(self) -> None:
        text = self._rest.removesuffix(b"\r").decode(errors="replace")
        if self._cut:
            text = f"{text[:-_MARGIN]} ... (this line is {len(self._rest) + self._cut:,} bytes long)"
        self._ready.append(text)
        self._rest, self._cut = b"", 0

    def _log(self) -> None:
        for start in range(0, len(self._ready), _TOGETHER):
            self._write("\n".join(self._ready[start : start + _TOGETHER]))
        self._ready.clear()


def _log_output(process: subprocess.Popen[bytes], context: TaskContext) -> None:
    """Log both streams as they come, until both end, or the program has ended and its streams stay silent."""
    if process.stdout is None or process.stderr is None:
        return
    with selectors.DefaultSelector() as selector, process.stdout as out, process.stderr as errors:
        lines = {out: _Lines(context.log), errors: _Lines(context.warn)}
        for stream, collected in lines.items():
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ, collected)
        ended_at: float | None = None
        try:
            while selector.get_map():
                for key, _ in selector.select(context.deadline.at_most(0.25)):
                    chunk = os.read(key.fd, _CHUNK)
                    key.data.add(chunk)
                    if not chunk:
                        selector.unregister(key.fileobj)
                # A process in the background may hold the streams open for ever.
                if process.poll() is not None:
                    ended_at = ended_at or time.monotonic()
                    if time.monotonic() - ended_at > _GRACE:
                        break
        finally:
            for collected in lines.values():
                collected.end()


def _end_processes(process: subprocess.Popen[bytes], *, with_descendants: bool) -> int:
    """End what is left of a program's process group; after a timeout, also descendants that left the group.

    Returns:
        The number of processes that had to be ended after the program itself had ended.
    """
    import psutil

    descendants: list[psutil.Process] = []
    if with_descendants:
        with contextlib.suppress(psutil.Error):
            descendants = psutil.Process(process.pid).children(recursive=True)
    members = _members(process.pid) if not with_descendants else 0
    for ending in (signal.SIGTERM, signal.SIGKILL):
        _signal_group(process.pid, ending)
        for descendant in descendants:
            with contextlib.suppress(psutil.Error):
                descendant.send_signal(ending)
        if ending is signal.SIGTERM and (with_descendants or members):
            until = time.monotonic() + 2
            while time.monotonic() < until and (
                process.poll() is None
                or _members(process.pid)
                or any(_runs(descendant) for descendant in descendants)
            ):
                time.sleep(0.02)
    process.wait()
    return members


def _signal_group(group: int, ending: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, ending)


def _members(group: int) -> int:
    """Return the number of living processes of a group."""
    import psutil

    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return 0
    count = 0
    # Processes that have ended and that nobody waits for keep their group.
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                count += 1
    return count


def _runs(process: object) -> bool:
    import psutil

    if not isinstance(process, psutil.Process):
        return False
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
