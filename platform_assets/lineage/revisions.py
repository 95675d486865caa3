"""The graph of an earlier revision: its models and configuration from git, read by the code of today."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from platform_assets.errors import LineageError
from platform_assets.lineage.graph import Graph

_PACKAGE = Path(__file__).parents[1]
_MODELS = Path("model") / "totesys"
_SECONDS = 120
_PROGRAM = """
import sys
from pathlib import Path
from platform_assets.lineage.assembly import LineageRoom
from platform_assets.rooms import Rooms
from platform_assets.settings import load_settings
graph = Rooms(load_settings(Path(sys.argv[1]))).of(LineageRoom).graph
Path(sys.argv[2]).write_text(graph.to_json(), encoding="utf-8")
"""


def graph_at(revision: str, config_file: Path) -> Graph:
    """Return the graph of a revision of the repository.

    The models (`platform_assets/model/totesys`) and the folder of the configuration are those of the
    revision. The code that reads them is that of today, so that only what they declare makes a difference.

    Args:
        revision: A revision as git names it, such as `main` or `HEAD~1`.
        config_file: The configuration file of today.

    Raises:
        LineageError: There is no such revision, or its models or configuration cannot be read by the code
            of today.
    """
    root = Path(_git(_PACKAGE, "rev-parse", "--show-toplevel").decode().strip())
    wanted = f"{revision}^{{commit}}"
    commit = _git(root, "rev-parse", "--verify", "--end-of-options", wanted).decode().split()[-1]
    models = (_PACKAGE / _MODELS).relative_to(root)
    folder = config_file.resolve().parent
    config = folder.relative_to(root) if folder.is_relative_to(root) else None
    with tempfile.TemporaryDirectory(prefix="lineage-") as name:
        there = Path(name)
        package = there / "tree" / _PACKAGE.name
        shutil.copytree(_PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        _replace(root, commit, models, package / _MODELS)
        file = config_file
        if config is not None:
            _replace(root, commit, config, there / "tree" / config.name)
            file = there / "tree" / config.name / config_file.name
        found = there / "graph.json"
        ended = subprocess.run(  # noqa: S603 - this Python, with a program of its own
            [sys.executable, "-c", _PROGRAM, str(file), str(found)],
            cwd=there / "tree",
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if ended.returncode:
            last = ended.stderr.strip().splitlines()[-1:] or ["no message"]
            raise LineageError(
                f"The models and the configuration of {revision} cannot be read by the code of today: "
                f"{last[0]}"
            )
        return Graph.from_json(found.read_text(encoding="utf-8"))


def _replace(root: Path, commit: str, path: Path, target: Path) -> None:
    """Put a folder of a commit in the place of another one."""
    packed = _git(root, "archive", "--format=tar", f"{commit}:{path.as_posix()}")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(target, filter="data")


def _git(folder: Path, *arguments: str) -> bytes:
    """Run git in a folder, and return what it prints.

    Raises:
        LineageError: git is missing, or the command fails.
    """
    try:
        ended = subprocess.run(  # noqa: S603 - a list of arguments, no shell
            ["git", "-C", str(folder), *arguments],  # noqa: S607 - the user's git
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except OSError as error:
        raise LineageError(
            f"git cannot be run: {error.strerror}. Install git to compare revisions."
        ) from None
    if ended.returncode:
        reason = ended.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["not found"]
        raise LineageError(
            f"git {arguments[0]} {arguments[-1].removesuffix('^{commit}')} failed: {reason[0]}. Name a "
            "commit, a branch or a tag of the repository that the platform is in."
        )
    return ended.stdout
