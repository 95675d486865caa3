"""Settings of the lineage of columns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.secrets import REFERENCES, Secret
from platform_assets.configuration.values import Address, Block, Names, Text


class OpenLineageSettings(Block):
    """A server that gets an event of OpenLineage for each run that has ended."""

    url: Address = Field(description="an address that starts with http:// or https://")
    """Address of the server, such as that of Marquez."""
    endpoint: Text = Field(default="api/v1/lineage", description="a path")
    """Path of the events below the address."""
    api_key: Secret | None = Field(default=None, description=f"a reference to a secret: {REFERENCES}")
    """Key that is sent as a bearer token."""
    timeout: Annotated[float, Field(gt=0, le=300)] = Field(
        default=10, description="a number of seconds from 0 to 300"
    )
    """Seconds to wait for the server."""


class LineageBlock(Block):
    """The lineage of columns."""

    masking: Names = Field(default=(), description="a list of SQL functions, such as [my_token]")
    """SQL functions whose result tells nothing about single arguments, beside counts and years of dates: the
    trail of what is sensitive ends there."""
    url: Address | None = Field(
        default="http://127.0.0.1:3001",
        description="the address of a page, such as https://lineage.example.org",
    )
    """Address of the lineage's page, for links on the pages of assets. `make ui` serves the page on the port
    after the UI's; where the UI is served in another way, publish the page. null leaves the links out."""
    namespace: Text = Field(default="platform_assets", description="text")
    """Namespace of the tables in OpenLineage."""
    definitions: Text = Field(
        default="platform_assets.definitions", description="the name of a Python module"
    )
    """The module that Dagster loads; what its own assets declare is in the graph."""
    openlineage: OpenLineageSettings | None = Field(
        default=None, description="a block with url, endpoint, api_key and timeout"
    )
    """The server that gets events of OpenLineage; none by default. Needs the extra `openlineage`."""


class LineageSettings(RoomSettings):
    """The lineage's key."""

    lineage: LineageBlock = Field(
        default_factory=LineageBlock,
        description="a block with masking, url, namespace, definitions and openlineage",
    )


SETTINGS = LineageSettings
