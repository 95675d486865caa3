"""The interface by which rooms that use uploaded objects tell which assets they make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class UsesUploads(Protocol):
    """A room that makes assets of uploaded objects."""

    def upload_assets(self) -> Sequence[tuple[str, ...]]:
        """Return the paths of the keys of these assets."""
        ...
