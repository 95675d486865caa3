"""A built platform, a server that speaks StackQL's part of the protocol, and shells with the magics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from platform_assets.build import MAIN_JOB
from platform_assets.sample.database import create_sample
from platform_assets_tests.fixtures.house import run_of
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.stackql import FakeStackql, serving_stackql
from platform_assets_tests.integration.installation import Installation


@pytest.fixture(scope="module")
def installation(new_module_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A platform whose main job has run once, on 60 sales."""
    business = new_module_database()
    create_sample(business.owner, sales=60, seed=5)
    built = Installation.create(tmp_path_factory.mktemp("notebook"), business.reader)
    assert run_of(built.settings, MAIN_JOB).succeeded
    return built


@pytest.fixture
def stackql(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStackql]:
    """A running server, which the environment names."""
    with serving_stackql() as server:
        monkeypatch.setenv("STACKQL_HOST", "127.0.0.1")
        monkeypatch.setenv("STACKQL_PORT", str(server.port))
        yield server


@dataclass
class Ran:
    """A cell that ran.

    Args:
        result: Its value.
        error: The error that it ended with, as the notebook shows it; empty without one.
        out: What it printed.
        err: What it said beside that.
        shown: What it displayed, by type of content.
    """

    result: Any
    error: str
    out: str
    err: str
    shown: list[dict[str, Any]]


@dataclass
class Notebook:
    """A shell with the magics."""

    shell: InteractiveShell
    run: Callable[[str], Ran]

    def value(self, cell: str) -> Any:
        """Run a cell that has to succeed."""
        ran = self.run(cell)
        assert ran.error == "", ran.error
        return ran.result

    def error(self, cell: str) -> str:
        """Run a cell that has to fail, and return the one line that it fails with."""
        ran = self.run(cell)
        assert ran.error, "the cell succeeded"
        assert "\n" not in ran.error
        assert "Traceback" not in ran.error + ran.err + ran.out
        return ran.error


@pytest.fixture
def notebook(
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Notebook]:
    """A shell in which the magics of the built platform are loaded."""
    monkeypatch.setenv("PLATFORM_CONFIG", str(installation.folder / "platform.conf"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shown: list[dict[str, Any]] = []
    errors: list[str] = []
    monkeypatch.setattr(
        shell.display_pub, "publish", lambda data, *arguments, **options: shown.append(dict(data))
    )
    monkeypatch.setattr(shell, "_showtraceback", lambda kind, value, lines: errors.append("\n".join(lines)))

    def run(cell: str) -> Ran:
        shown.clear()
        errors.clear()
        done = shell.run_cell(cell)
        said = capsys.readouterr()
        return Ran(done.result, "".join(errors), said.out, said.err, list(shown))

    try:
        assert run("%load_ext platform_assets.notebook").error == ""
        yield Notebook(shell, run)
    finally:
        shell.history_manager.end_session()
        InteractiveShell.clear_instance()
