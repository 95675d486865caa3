"""The complete configuration as one model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr

from platform_assets.settings.alerts import AlertsSettings
from platform_assets.settings.feeds import FeedSettings
from platform_assets.settings.inspection import DlpSettings, WatchSettings
from platform_assets.settings.lake import EngineSettings, LakeSettings
from platform_assets.settings.sources import SourcesSettings
from platform_assets.settings.values import Block, FreshnessSettings, LocalPath, ScheduleSettings
from platform_assets.settings.warehouses import SnowflakeTablesSettings, WarehouseSettings


class Settings(Block):
    """The complete configuration; all paths are absolute."""

    state_dir: LocalPath = Field(description="the path of the folder for local state")
    sources: SourcesSettings = Field(description="a block with totesys")
    lake: LakeSettings = Field(description="a block with ingestion and processed")
    warehouse: WarehouseSettings = Field(description="a block with engine, and a block of the engine's name")
    warehouses: dict[str, WarehouseSettings] = Field(
        default_factory=dict, description="a block of further warehouses by name, each as warehouse"
    )
    snowflake: SnowflakeTablesSettings | None = Field(
        default=None, description="a block with account, user, private_key, warehouse, database and schema"
    )
    watches: dict[str, WatchSettings] = Field(
        default_factory=dict, description="a block of folders and buckets by name, each with a place"
    )
    feeds: dict[str, FeedSettings] = Field(
        default_factory=dict, description="a block of feeds by name, each with watch, pattern and format"
    )
    dlp: DlpSettings = Field(default_factory=DlpSettings, description="a block with key, inspect and rules")
    alerts: AlertsSettings = Field(
        default_factory=AlertsSettings, description="a block with dagster_url and channels"
    )
    engine: EngineSettings = Field(
        default_factory=EngineSettings, description="a block with memory_limit_mb and threads"
    )
    schedule: ScheduleSettings = Field(
        default_factory=ScheduleSettings, description="a block with cron and timezone"
    )
    freshness: FreshnessSettings = Field(default_factory=FreshnessSettings, description="a block with within")
    _config_dir: Path = PrivateAttr(default_factory=Path.cwd)

    def model_post_init(self, context: Any) -> None:
        """Remember the location of the configuration file."""
        if context and "base" in context:
            self._config_dir = context["base"]

    def fresh_within(self, source: str) -> int:
        """The freshness limit of a source's tables, in minutes."""
        discovered = self.sources.discovered
        own = discovered[source].freshness if source in discovered else None
        return (own or self.freshness).within

    @property
    def config_dir(self) -> Path:
        """The folder of the configuration file; it contains `sources/` and `catalogue/`."""
        return self._config_dir

    def catalogue_file(self, source: str) -> Path:
        """The catalogue file of a source that the model does not declare; it may not exist yet."""
        return self._config_dir / "catalogue" / f"{source}.json"

    def source_file(self, source: str) -> Path:
        """The source's own configuration file, if it has one."""
        return self._config_dir / "sources" / f"{source}.conf"


def dagster_home(settings: Settings) -> Path:
    """The folder for Dagster's runs and events: DAGSTER_HOME, else `dagster/` in the state folder."""
    named = os.environ.get("DAGSTER_HOME")
    return Path(named).expanduser() if named else settings.state_dir / "dagster"


def hand_on_dagster_home(home: Path) -> None:
    """Set DAGSTER_HOME for Dagster's code in this process and its child processes, and disable telemetry."""
    os.environ |= {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes"}
