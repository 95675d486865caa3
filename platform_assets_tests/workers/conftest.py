"""The Redis server of the tests of workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_assets_tests.fixtures.redis import RedisServer, redis_in


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running Redis server."""
    folder: Path = tmp_path_factory.mktemp("redis")
    with redis_in(folder) as server:
        yield server
