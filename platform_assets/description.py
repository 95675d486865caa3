"""Descriptions by one room of the columns of other rooms' tables, for their assets' pages in Dagster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from platform_assets.column_lineage import ColumnRef


@dataclass(frozen=True)
class TableNotes:
    """Notes about a table.

    Args:
        tags: Tags of its columns, by column.
        sources: The columns that its columns are made from, by column.
        link: Address of a page about it.
    """

    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sources: Mapping[str, Sequence[ColumnRef]] = field(default_factory=dict)
    link: str = ""


@runtime_checkable
class DescribesTables(Protocol):
    """A room that has notes about tables."""

    def notes_on(self, asset: tuple[str, ...]) -> TableNotes | None:
        """Return the notes about the table with an asset key; None without notes. No server is asked."""
        ...


@runtime_checkable
class ServesPage(Protocol):
    """A room with a page that is served beside the Dagster UI."""

    def serve_page(self, host: str, port: int) -> AbstractContextManager[str]:
        """Serve the page for the duration of the block, which gets its address.

        Args:
            host: Address to serve on.
            port: Port to serve on.

        Raises:
            PlatformError: The port is in use.
        """
        ...
