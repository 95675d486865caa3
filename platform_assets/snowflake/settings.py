"""Settings of the Snowflake account that the assets `snowflake/*` are loaded into."""

from __future__ import annotations

from pydantic import Field

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.connections import SnowflakeConnectionSettings, SnowflakeStageSettings
from platform_assets.configuration.values import Text


class SnowflakeTablesSettings(SnowflakeConnectionSettings):
    """The schema in which the assets `snowflake/<table>` are created from the lake's star schema."""

    db_schema: Text = Field(default="PUBLIC", alias="schema", description="the name of the schema")
    """The schema that the tables are created in."""
    stage: SnowflakeStageSettings | None = Field(
        default=None, description="a block with url and storage_integration"
    )


class SnowflakeRoomSettings(RoomSettings):
    """The key of the Snowflake account."""

    snowflake: SnowflakeTablesSettings | None = Field(
        default=None, description="a block with account, user, private_key, warehouse, database and schema"
    )


SETTINGS = SnowflakeRoomSettings
