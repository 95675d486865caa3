"""Other processes of this machine: is one alive, and what is it? Linux and macOS."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path


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
