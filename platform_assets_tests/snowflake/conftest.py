"""Files to load, and a connection to the local Snowflake server to load them into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from platform_assets_tests.fixtures.snowflake import SnowflakeServer
from platform_assets_tests.parquet.conftest import Write, write

__all__ = ["Write", "write"]


@pytest.fixture
def connection(snowflake_server: SnowflakeServer, snowflake_database: str) -> Iterator[Any]:
    """A connection to an empty schema."""
    with snowflake_server.connect(snowflake_database, "STAR") as connection:
        yield connection
