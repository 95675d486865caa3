"""Which processes run, and what they were started with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from platform_assets.processes import command_line, is_alive, leave
from platform_assets_tests.fixtures.patience import PATIENCE

WAITING = "import sys; print('up', flush=True); sys.stdin.read()"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, "an argument", "caf\udce9"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def test_a_process_is_alive_until_it_ends_and_leaves_no_zombie(child: subprocess.Popen[str]) -> None:
    assert is_alive(os.getpid())
    assert is_alive(child.pid)
    os.kill(child.pid, signal.SIGSTOP)
    assert is_alive(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(child.pid)
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_a_zombie_of_another_process_is_not_alive() -> None:
    code = (
        "import os, sys, subprocess; ended = subprocess.Popen([sys.executable, '-c', ''])\n"
        "os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)\n"
        "print(ended.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        zombie = int(parent.stdout.readline())
        os.kill(zombie, 0)
        assert not is_alive(zombie)
        assert command_line(zombie) == ""
        parent.kill()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_a_process_of_another_user_is_alive() -> None:
    code = (
        "import os, sys, psutil; from platform_assets.processes import is_alive\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: os.kill(int(sys.argv[1]), 0)\n"
        "except PermissionError: print(is_alive(int(sys.argv[1])))"
    )
    asked = subprocess.run(
        [sys.executable, "-c", code, str(os.getpid())], capture_output=True, text=True, check=False
    )
    assert asked.stdout == "True\n", asked.stderr


@pytest.mark.parametrize("pid", [2**31 - 1, 2**31, 2**63, 2**80])
def test_a_number_that_no_process_has_is_not_alive_and_has_no_command(pid: int) -> None:
    assert not is_alive(pid)
    assert command_line(pid) == ""


def test_a_command_line_holds_the_arguments_and_can_be_printed(child: subprocess.Popen[str]) -> None:
    command = command_line(child.pid)
    assert command.startswith(sys.executable)
    assert " an argument " in command
    command.encode()
    child.kill()
    child.wait()
    assert command_line(child.pid) == ""


LEAVING = """
import atexit, sys, threading, time
from platform_assets.processes import leave

class Freed:
    def __del__(self):
        print("freed")

lasting = Freed()
atexit.register(print, "registered")
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
print("said", end=" ")
leave(3)
"""


def test_a_process_that_leaves_ends_its_threads_and_calls_but_frees_nothing() -> None:
    left = subprocess.run(
        [sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (left.returncode, left.stdout, left.stderr) == (3, "said thread\nregistered\n", "")


def test_a_process_that_is_profiled_does_not_leave() -> None:
    sys.setprofile(lambda *_: None)
    try:
        leave(3)
    finally:
        sys.setprofile(None)
