"""The platform's settings: typed, read from HOCON and the environment, fully validated at load time.

Only this package reads the environment. It connects to nothing: a `Secret` is a reference until it is
resolved. Durations are whole numbers; the description of each field gives the unit.
"""

from platform_assets.settings.alerts import AlertsSettings, ChannelSettings
from platform_assets.settings.feeds import FeedColumnSettings, FeedSettings
from platform_assets.settings.inspection import (
    DlpSettings,
    InspectSettings,
    RuleSettings,
    WatchSettings,
)
from platform_assets.settings.lake import EngineSettings, LakeSettings
from platform_assets.settings.load import load_settings
from platform_assets.settings.schema import Settings, dagster_home, hand_on_dagster_home
from platform_assets.settings.secrets import Secret
from platform_assets.settings.sources import (
    SOURCE_NAMES,
    CaptureOverrides,
    CaptureSettings,
    ConnectionSettings,
    DeclaredSourceSettings,
    SourceSettings,
    SourcesSettings,
    TableOverrides,
    is_pattern,
    matches,
)
from platform_assets.settings.values import FreshnessSettings, ScheduleSettings, ServerSettings
from platform_assets.settings.warehouses import (
    BigQueryWarehouseSettings,
    DuckDBSettings,
    PostgresWarehouseSettings,
    SnowflakeConnectionSettings,
    SnowflakeStageSettings,
    SnowflakeTablesSettings,
    SnowflakeWarehouseSettings,
    WarehouseSettings,
)

__all__ = [
    "SOURCE_NAMES",
    "AlertsSettings",
    "BigQueryWarehouseSettings",
    "CaptureOverrides",
    "CaptureSettings",
    "ChannelSettings",
    "ConnectionSettings",
    "DeclaredSourceSettings",
    "DlpSettings",
    "DuckDBSettings",
    "EngineSettings",
    "FeedColumnSettings",
    "FeedSettings",
    "FreshnessSettings",
    "InspectSettings",
    "LakeSettings",
    "PostgresWarehouseSettings",
    "RuleSettings",
    "ScheduleSettings",
    "Secret",
    "ServerSettings",
    "Settings",
    "SnowflakeConnectionSettings",
    "SnowflakeStageSettings",
    "SnowflakeTablesSettings",
    "SnowflakeWarehouseSettings",
    "SourceSettings",
    "SourcesSettings",
    "TableOverrides",
    "WarehouseSettings",
    "WatchSettings",
    "dagster_home",
    "hand_on_dagster_home",
    "is_pattern",
    "load_settings",
    "matches",
]
