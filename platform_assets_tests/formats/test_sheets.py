"""A sheet is read in a child process that has limits, gives a plain reason, and ends with its parent."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest

from platform_assets.formats import sheet_process
from platform_assets.formats.sheets import SheetUnreadable, read_sheet
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.recorder import ROOT, VARIABLE
from platform_assets_tests.formats.test_formats import a_workbook

MEMORY = 1024**3
CHILD = """
import sys
from platform_assets.formats.sheets import read_sheet
with open(sys.argv[1], "rb") as file, read_sheet(file, 1, memory=1024**3, seconds=60) as rows:
    next(rows)
    print("reading", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True, scope="module")
def _coverage_of_the_child() -> Iterator[None]:
    """The child ignores PYTHONPATH, by which others record their lines: coverage itself measures it here."""
    with pytest.MonkeyPatch.context() as patch:
        if VARIABLE in os.environ:
            patch.setenv("COVERAGE_PROCESS_START", str(ROOT / "pyproject.toml"))
            patch.setenv("COVERAGE_FILE", str(ROOT / ".coverage"))
        yield


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people.xlsx"
    file.write_bytes(a_workbook([["id", "name"], ["1", "Ann"], ["", "Bo"]]))
    return file


def rows(
    file: IO[bytes], sheet: int | str | None = 1, memory: int = MEMORY, seconds: int = 60
) -> list[tuple[int, object]]:
    with read_sheet(file, sheet, memory=memory, seconds=seconds) as read:
        return list(read)


@pytest.mark.parametrize("sheet", [1, "People"])
def test_a_sheet_is_named_or_counted_and_read_from_wherever_the_file_stands(
    people: Path, sheet: int | str
) -> None:
    with people.open("rb") as file:
        file.seek(0, io.SEEK_END)
        assert rows(file, sheet) == [(1, ["id", "name"]), (2, ["1", "Ann"]), (3, [None, "Bo"])]
        assert rows(file, None) == []


def problem(
    file: Path, sheet: int | str | None = 1, memory: int = MEMORY, seconds: int = 60
) -> SheetUnreadable:
    with file.open("rb") as opened, pytest.raises(SheetUnreadable) as raised:
        rows(opened, sheet, memory, seconds)
    return raised.value


def test_what_is_wrong_with_a_workbook_has_a_name(people: Path, tmp_path: Path) -> None:
    missing = problem(people, "Animals")
    assert (missing.problem, missing.sheets) == ("sheet", 1)
    assert problem(people, 2).problem == "sheet"
    broken = tmp_path / "broken.xlsx"
    broken.write_bytes(b"no workbook")
    assert problem(broken).problem == problem(broken, None).problem == "unreadable"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not enforce these limits")
def test_a_limit_ends_the_child_alone(people: Path) -> None:
    # The interpreter does not even start in so little memory.
    assert problem(people, memory=16 * 1024**2).problem in ("memory", "killed")


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A sheet of more rows than a pipe takes, so that its reader waits for whoever reads them."""
    file = tmp_path / "long.xlsx"
    file.write_bytes(a_workbook([["1"] * 300] * 2_000))
    return file


def test_the_child_ends_with_the_block(long: Path) -> None:
    before = set(psutil.Process().children())
    with long.open("rb") as file, read_sheet(file, 1, memory=MEMORY, seconds=60) as read:
        next(read)
        [child] = set(psutil.Process().children()) - before
    assert not child.is_running()


def test_the_child_ends_when_its_parent_is_killed(long: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(long)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "reading\n"
        [child] = psutil.Process(parent.pid).children()
        parent.kill()
    _, alive = psutil.wait_procs([child], timeout=PATIENCE)
    assert alive == []


def test_the_child_ends_with_its_parents_pipe_whatever_it_does(long: Path) -> None:
    parent_lives, write_end = os.pipe()
    with long.open("rb") as workbook:
        child = subprocess.Popen(
            [sys.executable, "-I", sheet_process.__file__, "1", str(MEMORY), "60", str(parent_lives)],
            stdin=workbook,
            stdout=subprocess.PIPE,
            pass_fds=[parent_lives],
        )
    os.close(parent_lives)
    with child:
        assert child.stdout is not None
        # It has begun, and waits as nobody reads on: the pipe that ends is not the one that it writes to.
        child.stdout.read(1)
        os.close(write_end)
        ended_by = child.wait(PATIENCE)
    assert ended_by == (-signal.SIGIO if sys.platform == "linux" else 1)
