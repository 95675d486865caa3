"""Rendering in tests: content through the steps of `render`, as a delivery does it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from platform_assets.delivery.interfaces import Bytes, Rows, Stamp
from platform_assets.delivery.renderers.settings import RenderSettings, build_renderers
from platform_assets.delivery.renderers.workshop import Workshop
from platform_assets.lake.duck import SqlEngine

STAMP = Stamp(
    "customers",
    "Customers in the morning",
    "platform-assets 1.0",
    "3f0c1f7e-6b1e-4c7e-9a0e-0c8a5b1d2e3f",
    dt.datetime(2026, 1, 31, 23, 30, 5, tzinfo=dt.UTC),
    "v1",
)
STEPS: TypeAdapter[Any] = TypeAdapter(RenderSettings)


@dataclass(frozen=True)
class Rendered:
    """A rendered file with its whole content."""

    name: str
    content: bytes
    rows: int | None
    content_type: str
    size: int | None

    @property
    def text(self) -> str:
        return self.content.decode()


@dataclass(frozen=True)
class Kitchen:
    """A folder to render in."""

    folder: Path
    memory_mb: int = 256

    @property
    def workshop(self) -> Workshop:
        scratch = self.folder / "rendering"
        scratch.mkdir(parents=True, exist_ok=True)
        return Workshop(SqlEngine(self.memory_mb, 2, self.folder / "spill"), scratch)

    def stream(self, steps: Sequence[Any], content: Iterator[Rows | Bytes]) -> Iterator[Bytes]:
        for renderer in build_renderers(STEPS.validate_python(steps), self.workshop):
            content = renderer.render(content, STAMP)
        return content  # type: ignore[return-value]

    def render(self, steps: Sequence[Any], content: pa.Table | Iterator[Rows | Bytes]) -> list[Rendered]:
        if isinstance(content, pa.Table):
            content = iter(
                [Rows("customers", content.to_reader(max_chunksize=max(3, content.num_rows // 20)))]
            )
        found = []
        for one in self.stream(steps, content):
            data = b"".join(one.chunks)
            found.append(Rendered(one.name, data, one.row_count(), one.content_type, one.size))
        return found

    def one(self, steps: Sequence[Any], content: pa.Table | Iterator[Rows | Bytes]) -> Rendered:
        [found] = self.render(steps, content)
        return found


def files(*named: tuple[str, bytes]) -> Iterator[Rows | Bytes]:
    return (Bytes(name, iter([content]), len(content)) for name, content in named)
