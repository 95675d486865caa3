"""Settings of the lineage of columns."""

from __future__ import annotations

from pydantic import Field

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.values import Block, Names, Text


class LineageBlock(Block):
    """The lineage of columns."""

    masking: Names = Field(default=(), description="a list of SQL functions, such as [my_token]")
    """Further SQL functions whose result hides their arguments, beside hashes and counts."""
    namespace: Text = Field(default="platform_assets", description="text")
    """Namespace of the tables in OpenLineage."""


class LineageSettings(RoomSettings):
    """The lineage's key."""

    lineage: LineageBlock = Field(
        default_factory=LineageBlock, description="a block with masking and namespace"
    )


SETTINGS = LineageSettings
