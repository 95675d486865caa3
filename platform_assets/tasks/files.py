"""The content of a task file, as pydantic models: one file in `config/tasks/` is one job."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from platform_assets.configuration.values import Block, Cron, Integer, Names, Text, timezone_name
from platform_assets.errors import SettingsError
from platform_assets.tasks.names import RESERVED_IDS

ID = re.compile(r"[A-Za-z0-9_]+")
MOST_RETRIES = 100


def _id(value: str) -> str:
    if not ID.fullmatch(value):
        raise ValueError("an id is made of letters, digits and _")
    if value in RESERVED_IDS:
        raise ValueError("this name has a meaning of its own in Dagster")
    return value


def _key(value: str) -> str:
    if not all(part.strip() == part and part for part in value.split("/")):
        raise ValueError("the parts of an asset key are separated by single slashes")
    return value


def _own_key(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*", value):
        raise ValueError("the parts of a new asset key are made of letters, digits, _, . and -")
    return value


_KEYS = 'a list of asset keys, such as ["star/dim_staff"]'
_NEW_KEYS = 'a list of asset keys of its own, such as ["tasks/report"]'
AssetKeys = Annotated[tuple[Annotated[Text, AfterValidator(_key)], ...], Field(description=_KEYS)]
NewAssetKeys = Annotated[tuple[Annotated[Text, AfterValidator(_own_key)], ...], Field(description=_NEW_KEYS)]


def replacement(text: str) -> str:
    """Return a line of HOCON that sets a value, from `key=value`.

    Raises:
        SettingsError: The text is not of this form.
    """
    key, separator, value = text.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(re.fullmatch(r"[A-Za-z0-9_-]+", part) for part in parts):
        raise SettingsError(f"--set {key.strip()!r}: write KEY=VALUE, such as vars.days=7.")
    if parts[0] not in TaskFile.model_fields:
        parts = ["vars", *parts]
    given = value.strip()
    is_literal = re.fullmatch(r"-?\d+(\.\d+)?|true|false|null|\[.*\]|\{.*\}|\".*\"", given, re.DOTALL)
    return f"{'.'.join(parts)} = {given if is_literal else json.dumps(given)}"


class TaskSchedule(Block):
    """When a job runs."""

    cron: Cron = Field(description='five cron fields, such as "0 6 * * *"')
    timezone: Annotated[Text, AfterValidator(timezone_name)] = Field(
        default="UTC", description="a time zone's name, such as UTC or Europe/London"
    )


class TaskEntry(Block):
    """One task of a file."""

    stand_ins: ClassVar[Mapping[str, Any]] = {"name": "-"}

    name: Text = Field(description="the name of a task; `platform-assets tasks list` shows all")
    args: dict[str, Any] = Field(default_factory=dict, description="a block with the task's arguments")
    id: Annotated[Text, AfterValidator(_id)] | None = Field(
        default=None, description="a name of letters, digits and _"
    )
    needs: Names | None = Field(default=None, description="a list of ids of tasks of this file")
    retries: Integer = Field(default=0, ge=0, le=MOST_RETRIES, description="a number from 0 to 100")
    retry_delay: Integer = Field(default=10, ge=0, le=86_400, description="seconds from 0 to 86400")
    timeout: Integer | None = Field(default=None, ge=1, le=604_800, description="seconds from 1 to 604800")
    when: bool | Literal["success", "failure", "always"] = Field(
        default="success", description="true, false, success, failure or always"
    )
    reads: AssetKeys = Field(default=(), description=_KEYS)
    produces: NewAssetKeys = Field(default=(), description=_NEW_KEYS)


class TaskFile(Block):
    """A task file."""

    stand_ins: ClassVar[Mapping[str, Any]] = {"tasks": [{"name": "-"}]}

    description: Text | None = Field(default=None, description="a sentence about the job")
    vars: dict[str, Any] = Field(
        default_factory=dict, description="a block of values for substitution, such as ${vars.days}"
    )
    schedule: TaskSchedule | None = Field(default=None, description="a block with cron and timezone")
    reads: AssetKeys = Field(default=(), description=_KEYS)
    produces: NewAssetKeys = Field(default=(), description=_NEW_KEYS)
    tasks: Annotated[tuple[TaskEntry, ...], Field(min_length=1)] = Field(
        description="a list of tasks, each with name and args"
    )
