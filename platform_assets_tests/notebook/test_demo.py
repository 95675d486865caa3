"""The notebook that ships, executed from top to bottom on a built platform."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import platform_assets
from platform_assets_tests.fixtures.stackql import serving_stackql
from platform_assets_tests.integration.installation import Installation

DEMO = Path(platform_assets.__file__).parents[1] / "docs" / "demo.ipynb"


def execute(installation: Installation, folder: Path, port: int) -> list[dict[str, object]]:
    """Execute a copy of the notebook by nbmake, and return its outputs."""
    copy = folder / "demo.ipynb"
    copy.write_bytes(DEMO.read_bytes())
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--nbmake", "--overwrite", "--quiet", "-p", "no:cacheprovider"),
            *("--rootdir", str(folder), "--confcutdir", str(folder), str(copy)),
        ],
        cwd=folder,
        env={
            **os.environ,
            "PLATFORM_CONFIG": str(installation.folder / "platform.conf"),
            "STACKQL_HOST": "127.0.0.1",
            "STACKQL_PORT": str(port),
            "IPYTHONDIR": str(folder),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    cells = json.loads(copy.read_text())["cells"]
    return [output for cell in cells for output in cell.get("outputs", ())]


def test_the_notebook_runs_without_a_stackql_server_and_says_how_to_start_one(
    installation: Installation, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        outputs = execute(installation, tmp_path, taken.getsockname()[1])
    [failed] = [output for output in outputs if output["output_type"] == "error"]
    [line] = failed["traceback"]  # type: ignore[misc]
    assert "Start it with `stackql srv" in line
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]  # type: ignore[operator]
    assert len(pictures) == 2


def test_the_notebook_shows_what_a_stackql_server_answers(installation: Installation, tmp_path: Path) -> None:
    with serving_stackql() as server:
        outputs = execute(installation, tmp_path, server.port)
        assert "project = 'my-project'" in server.cloud.asked[0]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert "vm-1" in json.dumps(outputs)


def test_the_notebook_is_shipped_without_outputs() -> None:
    cells = json.loads(DEMO.read_text())["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
