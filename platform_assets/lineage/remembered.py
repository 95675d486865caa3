"""Marks of findings in a local file: definitions are built without reading the lake."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from platform_assets.classification import Mark, Origin
from platform_assets.column_lineage import ColumnRef
from platform_assets.processes import write_whole

_FILE = "found.json"


def remember_marks(folder: Path, marks: Iterable[Mark]) -> None:
    """Write the marks of findings; without a place for the file, they are not remembered."""
    rows = [[*mark.column.asset, mark.column.column, mark.info_type, mark.likelihood] for mark in marks]
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / _FILE, json.dumps(rows).encode())


def remembered_marks(folder: Path) -> list[Mark]:
    """Return the marks that were written last; none without the file, or if it is damaged."""
    try:
        rows = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return [
            Mark(ColumnRef(tuple(asset), column), info_type, likelihood, Origin.FOUND)
            for *asset, column, info_type, likelihood in rows
        ]
    except (OSError, ValueError, TypeError):
        return []
