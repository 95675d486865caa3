"""Processes of this machine: liveness, command lines, locks, the server of a folder, garbage collection."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from platform_assets.errors import AlreadyServed


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Keep the collector from visiting everything again and again while many lasting objects are made.

    Loading takes less time so; objects are still freed when nothing refers to them. Blocks may be nested, and
    run in several threads: the first that ends switches the collector on again, for all of them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def leave(code: int) -> None:
    """End this process as Python ends it, but leave the memory to the system.

    Threads are waited for, what is registered for the end of the process is called, and output is flushed, as
    `multiprocessing` does it in its processes. Python would also visit and free every object that was ever
    loaded, which takes a fifth of the processor time of a short command. Returns if a profiler still needs
    the process, or if the output cannot be written, which Python then reports.

    Args:
        code: The exit code.
    """
    if sys.getprofile() is not None:
        return
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit(code)


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie (ended, but not waited for) does not count."""
    import psutil

    with contextlib.suppress(ChildProcessError, OverflowError):
        # A child of this process that has ended stays a zombie until its exit code is collected.
        os.waitpid(pid, os.WNOHANG)
    try:
        # In some containers nobody collects the exit codes of processes whose parent has ended.
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def command_line(pid: int) -> str:
    """Return the process's command with its arguments; empty for a zombie, or if the system hides it."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return os.fsencode(" ".join(psutil.Process(pid).cmdline())).decode(errors="replace")
    return ""


@contextlib.contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until no other process is in a block with this lock; the kernel releases it if a process dies.

    Args:
        lock: A file in an existing folder; it is created and stays.
    """
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_whole(file: Path, content: bytes) -> None:
    """Write a file atomically: readers see either the old or the new content."""
    written = file.with_name(f".{file.name}-{os.getpid()}")
    written.write_bytes(content)
    written.replace(file)


@contextlib.contextmanager
def serving(home: Path, port: int | None) -> Iterator[None]:
    """Lock a Dagster instance for the process that serves it; the kernel releases it if the process dies.

    Args:
        home: DAGSTER_HOME.
        port: Port on which this process will serve the instance; None for exclusive use without serving.

    Raises:
        AlreadyServed: Another process holds the lock, or a daemon started in another way uses the instance.
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
                f"({command_line(daemon).strip()[:200]}). Two daemons would start every run twice. Stop "
                f"that daemon first: kill {daemon}."
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
        f"The Dagster UI of {home} is running: process {pid}, on http://127.0.0.1:{port}. A second UI "
        "would start every scheduled run twice. Use the running UI, or stop it first: Ctrl-C where it "
        "runs, or "
        f"kill {pid}."
    )


def _daemon_of(home: Path) -> int | None:
    """Return the process id of an instance's visible daemon (`dagster dev` or dagster-daemon)."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            arguments = process.cmdline()
            names = {Path(argument).name for argument in arguments[:3]}
            if not names & {"dagster._daemon", "dagster-daemon"} or "run" not in arguments:
                continue
            if process.environ().get("DAGSTER_HOME") == str(home):
                return int(process.pid)
    return None
