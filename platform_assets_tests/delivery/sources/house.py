"""Sources in tests: built from their settings over the rooms of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from platform_assets.delivery.interfaces import Bytes, DataSource, Rows
from platform_assets.delivery.sources.settings import DataSourceSettings, build_source
from platform_assets.rooms import Rooms


def source_of(rooms: Rooms, base: Path | None = None, **block: Any) -> DataSource:
    """Build the source of a block `source`."""
    settings = DataSourceSettings.model_validate(block, context={"base": base})
    return build_source(settings, "customers", rooms)


def rows_of(source: DataSource) -> list[dict[str, Any]]:
    """Read all rows of a source that gives one stream of rows."""
    with source.open() as content:
        [rows] = content
        assert isinstance(rows, Rows)
        return rows.batches.read_all().to_pylist()


def files_of(source: DataSource) -> dict[str, bytes]:
    """Read all files of a source, by name, in order."""
    found = {}
    with source.open() as content:
        for one in content:
            assert isinstance(one, Bytes)
            found[one.name] = b"".join(one.chunks)
    return found
