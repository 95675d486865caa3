"""Functions that deliveries call in tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from platform_assets.errors import SourceUnavailable


def text(name: str = "world") -> str:
    return f"Hello, {name}"


def data() -> bytes:
    return b"\x00\x01"


def path(folder: str) -> Path:
    return Path(folder) / "a.txt"


def paths(folder: str) -> list[Path]:
    return [Path(folder) / "b.txt", Path(folder) / "a.txt"]


def frame() -> pd.DataFrame:
    return pd.DataFrame({"n": [1, 2]})


def table() -> pa.Table:
    return pa.table({"n": [1, 2]})


def batch() -> pa.RecordBatch:
    return pa.record_batch({"n": [1, 2]})


def reader() -> pa.RecordBatchReader:
    return table().to_reader()


def rows() -> Iterator[dict[str, Any]]:
    yield {"n": 1}
    yield {"n": 2, "t": "x"}


def many() -> Iterator[dict[str, Any]]:
    for n in range(25_000):
        yield {"n": n}


def late_name() -> Iterator[dict[str, Any]]:
    for n in range(10_000):
        yield {"n": n}
    yield {"n": 1, "": 2}


def names_and_numbers() -> list[dict[str, Any]]:
    return [{"who": 1}, {"who": "Nancy Wood"}]


def no_row() -> list[Any]:
    return [{"n": 1}, None]


def numbered() -> list[dict[int, int]]:
    return [{1: 2}]


def half_a_character() -> str:
    return "a\ud800"


def half_a_character_in_a_row() -> list[dict[str, str]]:
    return [{"t": "a\ud800"}]


def ending() -> str:
    raise SystemExit(3)


def ending_late() -> Iterator[dict[str, Any]]:
    yield {"n": 1}
    raise SystemExit(0)


def later() -> Iterator[dict[str, Any]]:
    yield from many()
    yield {"n": 1, "new": 2}


def mixed() -> list[dict[str, Any]]:
    return [{"n": 1}, {"n": "x"}]


def number() -> int:
    return 5


def numbers() -> list[int]:
    return [1, 2]


def failing() -> str:
    raise ValueError("no data today")


def failing_late() -> Iterator[dict[str, Any]]:
    yield from many()
    raise ValueError("no more data")


def unavailable() -> str:
    raise SourceUnavailable("The database does not answer.")


text.version = "7"  # type: ignore[attr-defined]
data.version = lambda: 8  # type: ignore[attr-defined]
