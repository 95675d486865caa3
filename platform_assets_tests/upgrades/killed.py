"""A program that upgrades to a made-up version 2, in a process of its own that dies at a given point.

It reads orders, a JSON object a line: `folder`, and `die_at`, the number of the point; 0 for no death. It
answers each with the exit code of the process. What all of them need is loaded before they start.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from platform_assets import stored
from platform_assets.cli import app
from platform_assets.rooms import door, present
from platform_assets.settings import load_settings
from platform_assets.upgrades import steps, upgrade
from platform_assets.upgrades.steps import UpgradeStep

CHANGED = ("state", "outbox", "loads", "task_output")
"""The formats that have a version 2 here."""


class Points:
    """Counts the points of an upgrade, and dies at one of them."""

    def __init__(self, die_at: int) -> None:
        self.passed = 0
        self._die_at = die_at

    def __call__(self) -> None:
        self.passed += 1
        if self.passed == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def made_up_steps(point: Callable[[], None]) -> tuple[UpgradeStep, ...]:
    """Steps to version 2: a folder that is renamed, a column with other values, a table, and a key."""

    def rename_folder(folder: Path) -> None:
        point()
        if (folder / "old place").is_dir():
            (folder / "old place").rename(folder / "new place")
        point()

    def shout(table: Any) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        point()
        handle = table.open()
        rows = table.scan(handle).read_all()
        number = rows.schema.get_field_index("alert")
        told = pc.replace_substring(rows["alert"], '"title":"title', '"title":"TITLE')
        loud = rows.set_column(number, rows.schema.field(number), told)
        table.overwrite(
            handle,
            pa.RecordBatchReader.from_batches(loud.schema, loud.to_batches()),
            stream="outbox",
            version=table.cursor(handle, "outbox") + 1,
        )
        point()

    def add_table(warehouse: Any) -> None:
        point()
        with warehouse.engine.connect(warehouse.path) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS platform.more AS SELECT 2 AS number")
        point()

    def rename_key(file: Path) -> None:
        point()
        content = json.loads(file.read_text())
        content["paths"] = content.pop("files", content.get("paths"))
        stored.write_whole(file, json.dumps(content).encode())
        point()

    runs = dict(zip(CHANGED, (rename_folder, shout, add_table, rename_key), strict=True))
    return tuple(UpgradeStep(f"{name}-2", name, 2, "A made-up step.", run) for name, run in runs.items())


def run(order: dict[str, Any]) -> int:
    """Upgrade a folder."""
    for name in CHANGED:
        for key in ("version", "oldest"):
            object.__setattr__(stored.FORMATS[name], key, 2)
    point = Points(order["die_at"])
    steps.STEPS = made_up_steps(point)
    due = upgrade.due

    def watched(*arguments: Any) -> Iterator[Any]:
        for one in due(*arguments):
            if isinstance(one, upgrade.Due):
                stamp = one.stored.stamp

                def stamped(version: int, stamp: Callable[[int], None] = stamp) -> None:
                    point()
                    stamp(version)
                    point()

                yield dataclasses.replace(one, stored=dataclasses.replace(one.stored, stamp=stamped))
            else:
                yield one

    upgrade.due = watched
    os.environ["PLATFORM_STATE_DIR"] = order["folder"]
    ended = CliRunner().invoke(app, ["upgrade", *order["arguments"]], catch_exceptions=False)
    sys.stderr.write(ended.output)
    return ended.exit_code if point.passed or ended.exit_code else 100


def load() -> None:
    """Import what an upgrade uses; no thread starts yet."""
    for name in ("deltalake", "duckdb", "pyarrow.compute", "platform_assets.runs"):
        importlib.import_module(name)
    for room in present():
        for name in ("settings", "assembly", "command"):
            door(room, name)
    load_settings()


if __name__ == "__main__":
    load()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if not (pid := os.fork()):
            code = 99
            try:
                code = run(json.loads(line))
            finally:
                sys.stderr.flush()
                os._exit(code)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")
        sys.stdout.flush()
