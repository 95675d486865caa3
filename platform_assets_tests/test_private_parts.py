"""Private parts of libraries: each is still where it was, and a version that moved one is told plainly."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

import platform_assets

PACKAGE = Path(platform_assets.__file__).parent
MODULES = {
    "dagster_internals.py": ("dagster", "dagster_shared"),
    "dagster_storage.py": ("dagster",),
    "lake/adbc.py": ("adbc_driver_manager",),
    "dlp/local/regex.py": ("re2",),
}
DISTRIBUTIONS = {"adbc_driver_manager": "adbc-driver-manager", "re2": "google-re2"}


def private_parts(module: str) -> Iterator[str]:
    """Give the dotted names of private parts that a module of the package uses."""
    tree = ast.parse((PACKAGE / module).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        else:
            continue
        for name in names:
            library = name.split(".")[0]
            if library in MODULES[module] and ("._" in name or library == "dagster_shared"):
                yield name


def missing(name: str) -> str:
    """Return what is not there of a dotted name, and its library's version; empty if all of it is."""
    library, *parts = name.split(".")
    found: object = importlib.import_module(library)
    path = library
    for part in parts:
        path = f"{path}.{part}"
        if not hasattr(found, part):
            try:
                found = importlib.import_module(path)
            except ImportError:
                version = importlib.metadata.version(DISTRIBUTIONS.get(library, library))
                return f"{library} {version} has no {path}"
        else:
            found = getattr(found, part)
    return ""


USED = sorted({(module, name) for module in MODULES for name in private_parts(module)})


def test_parts_are_found_in_each_module() -> None:
    assert {module for module, _ in USED} == set(MODULES)


@pytest.mark.parametrize(("module", "name"), USED)
def test_a_private_part_is_where_it_was(module: str, name: str) -> None:
    problem = missing(name)
    assert not problem, (
        f"{problem}, which platform_assets/{module} uses; its docstrings say what for. Adapt that module."
    )


def test_a_part_that_moved_is_named_with_the_version() -> None:
    version = importlib.metadata.version("dagster")
    assert missing("dagster._core.nowhere.Thing") == f"dagster {version} has no dagster._core.nowhere"
    version = importlib.metadata.version("google-re2")
    assert missing("re2._Nothing") == f"re2 {version} has no re2._Nothing"
