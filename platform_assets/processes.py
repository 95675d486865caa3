"""Other processes of this machine: is one alive, what is it, and who serves a folder? Linux and macOS."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from platform_assets.errors import AlreadyServed


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    with contextlib.suppress(ChildProcessError):
        # A dead child of ours would count as alive until somebody asks for its exit code.
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except OverflowError:
        return False
    with contextlib.suppress(OSError):
        # Dead, but nobody has asked for its exit code yet: in some containers nobody ever does.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in ("Z", "X")
    return True


def command_line(pid: int) -> str:
    """The process's command with its arguments, empty for a dead process that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        pass
    with contextlib.suppress(OSError):
        listed = subprocess.run(  # noqa: S603
            ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
        return listed.stdout.strip()
    return ""


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until no other process is in a block with this lock; the kernel lets go when one dies.

    Args:
        lock: A file in a folder that exists; it is made, and stays.
    """
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_whole(file: Path, content: bytes) -> None:
    """Write a file so that others read all of the old content or all of the new."""
    written = file.with_name(f".{file.name}-{os.getpid()}")
    written.write_bytes(content)
    written.replace(file)


@contextlib.contextmanager
def serving(home: Path, port: int | None) -> Iterator[None]:
    """Hold a Dagster instance for the one process that serves it; the kernel lets go when that dies.

    Args:
        home: DAGSTER_HOME.
        port: Where this process will serve it; None where it only has to be the only one.

    Raises:
        AlreadyServed: Another process holds the instance, or a daemon that was started otherwise works on it.
    """
    lock = os.open(home / "ui.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyServed(_served(home, os.pread(lock, 4096, 0))) from None
        if (daemon := _daemon_of(home)) is not None:
            raise AlreadyServed(
                f"A Dagster daemon works on {home} already: process {daemon} "
                f"({command_line(daemon).strip()[:200]}). Two would start every run twice. Stop that one "
                f"first: kill {daemon}."
            )
        os.ftruncate(lock, 0)
        if port is not None:
            os.pwrite(lock, json.dumps({"pid": os.getpid(), "port": port}).encode(), 0)
        yield
    finally:
        os.close(lock)


def _served(home: Path, written: bytes) -> str:
    try:
        holder = json.loads(written)
        pid, port = int(holder["pid"]), int(holder["port"])
    except (ValueError, KeyError, TypeError):
        return f"Another process starts or removes {home} at this moment. Try again when it has ended."
    return (
        f"The Dagster UI of {home} is running: process {pid}, on http://127.0.0.1:{port}. A second one would "
        f"start every scheduled run twice. Use that one, or stop it first: Ctrl-C where it runs, or "
        f"kill {pid}."
    )


def _daemon_of(home: Path) -> int | None:
    """The process of a daemon on an instance, as `dagster dev` and dagster-daemon start it; Linux only."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            names = {Path(argument).name for argument in arguments[:3]}
            if not names & {"dagster._daemon", "dagster-daemon"} or "run" not in arguments:
                continue
            environment = (folder / "environ").read_bytes().split(b"\0")
            if b"DAGSTER_HOME=" + os.fsencode(home) in environment and is_alive(int(folder.name)):
                return int(folder.name)
    return None
