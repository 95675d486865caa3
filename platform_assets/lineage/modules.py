"""Looks at the module that Dagster loads, without importing it or Dagster."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

_PACKAGE = __name__.partition(".")[0]


def has_own_assets(module: str) -> bool:
    """Return whether a module may define assets of its own: it imports more than the platform and Python.

    While the module itself is being imported, its own assets are not known yet, and the answer is no.

    Args:
        module: Its name.
    """
    loaded = sys.modules.get(module)
    if loaded is not None and not hasattr(loaded, "defs"):
        return False
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return True
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        return True
    tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    known = {_PACKAGE, *sys.stdlib_module_names} - {"importlib", "runpy"}
    return any(name.partition(".")[0] not in known for name in names)
