"""Files to load, and a connection to the local Snowflake server to load them into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform_assets_tests.fixtures.snowflake import SnowflakeServer

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a Parquet file with these columns below the test's folder, and give its path."""

    def written(name: str, /, **columns: Any) -> str:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns or {"id": [1, 2]}), file)
        return str(file)

    return written


@pytest.fixture
def connection(snowflake_server: SnowflakeServer, snowflake_database: str) -> Iterator[Any]:
    """A connection to an empty schema."""
    with snowflake_server.connect(snowflake_database, "STAR") as connection:
        yield connection
