"""The interface by which rooms offer resources to the user's own assets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias, runtime_checkable

AssetResources: TypeAlias = Mapping[str, tuple[str, Callable[[], object]]]
"""Resources by their keys: what each is, and what builds it."""


@runtime_checkable
class HasAssetResources(Protocol):
    """A room with resources for the user's own assets."""

    def asset_resources(self) -> AssetResources:
        """Return the resources; nothing is imported, fetched or connected to before one of them is built."""
        ...
