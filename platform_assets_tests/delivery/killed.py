"""A process that makes a delivery, and is killed at a given moment; run as a module."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from platform_assets.delivery import engine
from platform_assets.delivery.engine import Watcher
from platform_assets.delivery.receipts import LastShipments, ReceiptRow, Receipts
from platform_assets.delivery.staging import Staging
from platform_assets_tests.delivery.making import Block, Deliveries, Document
from platform_assets_tests.fixtures.environment import server_environment

MOMENTS = ("planned", "rendering", "staged", "started", "sending", "sent", "recorded")
CONTENT = b"0123456789abcdef" * 200_000
TEMPLATE = "{uuid}.csv"


def killed_at(moment: str, folder: Path, to: dict[str, Block], version: str | None) -> None:
    """Make a delivery in a process of its own, which is killed at a moment.

    Raises:
        AssertionError: It ended in another way.
    """
    work = json.dumps({"moment": moment, "folder": str(folder), "to": to, "version": version})
    ended = subprocess.run(
        [sys.executable, "-m", __name__],
        input=work,
        text=True,
        capture_output=True,
        env=server_environment(),
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_the_other(destination: str, *_: object) -> None:
    """Hold up a destination, so that the other is recorded alone."""
    if destination == "ftp":
        threading.Event().wait()


def die_at_the_end(staging: Staging, uuid: str) -> None:
    """Kill the process when the files of all versions are to be removed: after the last receipt."""
    if not uuid:
        die()


class DeadlyReceipts(Receipts):
    """Receipts that kill the process before or after a commit.

    Attributes:
        before: Numbers of the commits before which the process dies.
        after: Numbers of the commits after which it dies.
    """

    before: int = 0
    after: int = 0
    commits: int = 0

    def append_after(
        self, delivery: str, decide: Callable[[Callable[[], LastShipments]], Sequence[ReceiptRow]]
    ) -> None:
        self.commits += 1
        if self.commits == self.before:
            die()
        super().append_after(delivery, decide)
        if self.commits == self.after:
            die()


def main() -> None:
    work: dict[str, Any] = json.loads(sys.stdin.read())
    moment = work["moment"]
    # So that every step has a commit of its own.
    engine.SECONDS_BEFORE_STARTED = 0
    deliveries = Deliveries(Path(work["folder"]))
    receipts = DeadlyReceipts(deliveries.receipts.table)
    receipts.before = {"staged": 2, "sent": 3}.get(moment, 0)
    receipts.after = {"planned": 1, "started": 2, "recorded": 3}.get(moment, 0)
    source = Document({"big.csv": CONTENT}, work["version"])
    if moment == "rendering":
        source.before = die
    if moment == "delivered":
        Staging.remove_others = die_at_the_end  # type: ignore[method-assign]
    order = deliveries.order(source, work["to"], template=TEMPLATE)
    progress = {"sending": die, "recorded": wait_for_the_other}
    watcher = Watcher(progress=progress[moment]) if moment in progress else Watcher()
    type(deliveries.engine)(receipts, deliveries.engine.staging, deliveries.engine.protection).deliver(
        order, watcher
    )


if __name__ == "__main__":
    main()
