"""Files compressed with gzip."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from platform_assets.delivery.interfaces import Bytes, Rows, Stamp
from platform_assets.delivery.renderers.workshop import CHUNK, files_only

_GZIP = 16 + zlib.MAX_WBITS
"""zlib's way to ask for a gzip header; it has no time and no name, so that equal data give equal bytes."""


@dataclass(frozen=True)
class Gzip:
    """Compresses files.

    Args:
        level: From 1, fast, to 9, small.
    """

    level: int = 6

    def render(self, content: Iterator[Rows | Bytes], stamp: Stamp) -> Iterator[Bytes]:
        """See `Renderer.render`."""
        for file in files_only(content, "gzip"):
            yield replace(
                file,
                name=f"{file.name}.gz",
                chunks=self._compressed(file.chunks),
                size=None,
                path=None,
                content_type="application/gzip",
            )

    def _compressed(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        compressor = zlib.compressobj(self.level, zlib.DEFLATED, _GZIP)
        waiting: list[bytes] = []
        size = 0
        for chunk in chunks:
            # A call for each small chunk would cost more than its compression.
            waiting.append(chunk)
            size += len(chunk)
            if size >= CHUNK:
                if made := compressor.compress(b"".join(waiting)):
                    yield made
                waiting, size = [], 0
        yield compressor.compress(b"".join(waiting)) + compressor.flush()
