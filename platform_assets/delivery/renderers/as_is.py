"""The renderer that leaves files as they are."""

from __future__ import annotations

from collections.abc import Iterator

from platform_assets.delivery.interfaces import Bytes, Rows, Stamp
from platform_assets.delivery.renderers.workshop import files_only


class AsIs:
    """Passes files on unchanged."""

    def render(self, content: Iterator[Rows | Bytes], stamp: Stamp) -> Iterator[Bytes]:
        """See `Renderer.render`."""
        return files_only(content, "as_is")
