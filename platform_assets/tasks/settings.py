"""Task settings: where tasks and their files are, and the assets of others that they may read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from platform_assets.configuration.blocks import RoomSettings
from platform_assets.configuration.values import Block, LocalPath, Names


class TasksSettings(Block):
    """Tasks by configuration; their files are `tasks/*.conf` beside the configuration file."""

    folders: Annotated[tuple[LocalPath, ...], Field()] = Field(
        default=(), description="a list of folders with modules of tasks"
    )
    """Folders with Python modules that define tasks."""
    external_assets: Names = Field(default=(), description='a list of asset keys, such as ["crm/customers"]')
    """Assets that task files may read although nothing here produces them."""


class TasksRoomSettings(RoomSettings):
    """The tasks' key."""

    tasks: TasksSettings = Field(
        default_factory=TasksSettings, description="a block with folders and external_assets"
    )


SETTINGS = TasksRoomSettings
