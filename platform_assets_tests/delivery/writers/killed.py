"""A process that writes a file, and is killed in the middle; run as a module."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from platform_assets.delivery.interfaces import StagedFile, Stamp
from platform_assets_tests.fixtures.environment import server_environment

MODULE = "platform_assets_tests.delivery.writers.killed"


def killed_at(block: dict[str, Any], file: StagedFile, size: int) -> None:
    """Write a file in a process of its own, which is killed once it has sent so many bytes.

    Raises:
        AssertionError: It ended in another way.
    """
    work = json.dumps({"block": block, "file": asdict(file), "size": size}, default=str)
    ended = subprocess.run(
        [sys.executable, "-m", MODULE],
        input=work,
        text=True,
        capture_output=True,
        env=server_environment(),
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def main() -> None:
    from platform_assets_tests.delivery.writers.places import writer_of

    work = json.loads(sys.stdin.read())
    given = work["file"]
    stamp = Stamp(**(given["stamp"] | {"at": datetime.fromisoformat(given["stamp"]["at"])}))
    file = StagedFile(**(given | {"path": Path(given["path"]), "stamp": stamp}))
    left = work["size"]

    def progress(size: int) -> None:
        nonlocal left
        left -= size
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with writer_of(work["block"]).open() as transfer:
        transfer.write(file, progress)


if __name__ == "__main__":
    main()
