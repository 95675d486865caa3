"""A folder to render in, for each test."""

from pathlib import Path

import pytest

from platform_assets_tests.delivery.renderers.rendering import Kitchen


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)
