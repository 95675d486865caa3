"""The rooms of a configuration whose state is in a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_assets.rooms import Rooms
from platform_assets.settings import load_settings
from platform_assets_tests.fixtures.gcs import gcs_bucket, gcs_server

__all__ = ["gcs_bucket", "gcs_server"]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all state of a module's tests."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def rooms(state: Path) -> Iterator[Rooms]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLATFORM_STATE_DIR", str(state))
        patch.setenv("LAKE_INGESTION", str(state / "ingestion"))
        patch.setenv("LAKE_PROCESSED", str(state / "processed"))
        patch.setenv("WAREHOUSE_PATH", str(state / "warehouse.duckdb"))
        yield Rooms(load_settings())
