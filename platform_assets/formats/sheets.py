"""Sheets of workbooks, read in a child process with limits of memory and processor time (`sheet_process`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from platform_assets.formats import sheet_process

_SECONDS_TO_END = 30
_LONGEST_ANSWER = 256 * 1024 * 1024


class SheetUnreadable(Exception):
    """A sheet that the child process could not read.

    Args:
        problem: "sheet" if there is no such sheet, "password", "memory", "killed" if a limit or a fault of
            the reader ended the process, "garbled" if its output is cut off, or "unreadable".
        sheets: Number of sheets of the workbook, if it has no such sheet.
        code: The exit code of a process that was killed.
    """

    def __init__(self, problem: str, *, sheets: int = 0, code: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.sheets = sheets
        self.code = code


@contextmanager
def read_sheet(
    workbook: IO[bytes], sheet: int | str | None, *, memory: int, seconds: int
) -> Iterator[Iterator[tuple[int, Any]]]:
    """Read a sheet in a child process, which ends with the block, and with this process.

    Args:
        workbook: The workbook: a file of the system, whose position does not matter.
        sheet: Name of the sheet, or its number from 1; None to load all sheets and yield no row.
        memory: Limit of the child's memory, in bytes.
        seconds: Limit of its processor time, in seconds.

    Yields:
        The rows that are not empty, with their numbers from 1: cells as text, None or `[text]` for a date, or
        the reason why the row cannot be converted. `SheetUnreadable` may be raised between rows.
    """
    workbook.seek(0)
    # The child ends when the write end closes, which the system does if this process dies.
    parent_lives, write_end = os.pipe()
    limits = [str(memory), str(seconds), str(parent_lives)]
    try:
        try:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", sheet_process.__file__, json.dumps(sheet), *limits],
                stdin=workbook,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[parent_lives],
                text=True,
            )
        finally:
            os.close(parent_lives)
        with process:
            try:
                yield _rows(process)
            finally:
                # The child process blocks while nobody reads its output.
                process.kill()
    finally:
        os.close(write_end)


def _rows(process: subprocess.Popen[str]) -> Iterator[tuple[int, Any]]:
    for answer in _answers(process):
        if isinstance(answer, dict):
            if answer.get("end"):
                return
            raise SheetUnreadable(answer["problem"], sheets=answer.get("sheets", 0))
        number, cells = answer
        yield number, cells
    try:
        code = process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        raise SheetUnreadable("garbled") from None
    raise SheetUnreadable("killed", code=code)


def _answers(process: subprocess.Popen[str]) -> Iterator[Any]:
    source: IO[str] = process.stdout  # type: ignore[assignment]
    while line := source.readline(_LONGEST_ANSWER):
        try:
            yield json.loads(line)
        except ValueError:
            return  # the child process ended in the middle of a line
