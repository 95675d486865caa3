"""The shipped configuration, with all state in a temporary folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_assets.settings import Settings, load_settings


@pytest.fixture(scope="package")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The shipped configuration."""
    state: Path = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLATFORM_STATE_DIR", str(state))
        for name in ("DAGSTER_HOME", "LAKE_INGESTION", "LAKE_PROCESSED", "WAREHOUSE_PATH", "UPLOADS_PLACE"):
            patch.delenv(name, raising=False)
        yield load_settings()
