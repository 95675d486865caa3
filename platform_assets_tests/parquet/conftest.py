"""Parquet files for the tests of this folder and of the loaders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
