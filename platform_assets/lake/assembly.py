"""The lake and the SQL engine, from the settings."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from platform_assets.lake.settings import LakeSettings
from platform_assets.rooms import Assembly

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from platform_assets.lake.delta import LakeTable
    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.lake import Lake
    from platform_assets.model.table import Column


class LakeRoom(Assembly[LakeSettings]):
    """The lake and the SQL engine."""

    settings_class = LakeSettings

    @cached_property
    def engine(self) -> SqlEngine:
        """The embedded SQL engine."""
        from platform_assets.lake.duck import SqlEngine

        given = self.settings.engine
        return SqlEngine(given.memory_limit_mb, given.threads, self.spill_directory)

    @cached_property
    def lake(self) -> Lake:
        """The lake; its secrets are resolved when a table is opened."""
        from platform_assets.lake.lake import Lake

        given = self.settings.lake
        return Lake(given.ingestion, given.processed, given.resolve_storage_options)

    @property
    def spill_directory(self) -> Path:
        """Folder for data that does not fit into memory."""
        return self.platform.state_dir / "tmp"

    def storage_options(self) -> dict[str, str]:
        """Return the options of the lake's object store, with secrets fetched; never log or store them.

        Raises:
            SettingsError: A secret cannot be fetched.
        """
        return self.settings.lake.resolve_storage_options()

    def processed_table(self, columns: Sequence[Column], *path: str) -> LakeTable:
        """Return a table of the processed zone.

        Args:
            columns: Its columns.
            *path: Its path in the zone.
        """
        from platform_assets.lake.delta import LakeTable

        return LakeTable(self.lake.path("processed", *path), tuple(columns), self.lake.storage_options)


ROOM = LakeRoom
