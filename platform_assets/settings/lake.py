"""The lake's zones and their object store, and what the engine that works on them may use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from platform_assets.settings.secrets import ENV_NAME, Secret, absolute_path, base_folder, to_secret
from platform_assets.settings.values import Block, Integer

SECRET_OPTION = re.compile(r"secret|password|token|private|account_key$|credential", re.IGNORECASE)


_BUCKET_URI = re.compile(r"(s3|gs)://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^/\s@?#]+)*")


def _zone(value: object, info: ValidationInfo) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("it is not text")
    if "://" not in value:
        return str(absolute_path(value, base_folder(info)))
    uri = value.rstrip("/")
    if not _BUCKET_URI.fullmatch(uri):
        raise ValueError("only s3:// and gs:// with a bucket name in lower case are known")
    return uri


Zone = Annotated[str, BeforeValidator(_zone)]


def parse_options(value: object, info: ValidationInfo) -> dict[str, str | Secret]:
    """Turn what HOCON gives into text and secrets, and report every mistake of the block at its own key."""
    if not isinstance(value, Mapping):
        raise ValueError("it is not a block")
    options: dict[str, str | Secret] = {}
    mistakes: list[InitErrorDetails] = []
    for name, given in value.items():
        try:
            if not ENV_NAME.fullmatch(name):
                raise ValueError("an option's name is made of letters, digits and underscores")
            if isinstance(given, Secret) or SECRET_OPTION.search(name) or str(given).startswith("secret://"):
                options[name] = to_secret(given, info)
            elif isinstance(given, bool):
                options[name] = str(given).lower()
            elif isinstance(given, str | int | float):
                options[name] = str(given)
            else:
                raise ValueError("it is a block, a list or null")
        except ValueError as error:
            problem = PydanticCustomError("storage_option", "{reason}", {"reason": str(error)})
            mistakes.append(InitErrorDetails(type=problem, loc=(name,), input=given))
    if mistakes:
        raise ValidationError.from_exception_data("storage_options", mistakes)
    return options


class LakeSettings(Block):
    """The lake's two zones: absolute local paths, or `s3://` and `gs://` URIs without a trailing slash."""

    ingestion: Zone = Field(description="a local path, s3://bucket/prefix or gs://bucket/prefix")
    processed: Zone = Field(description="a local path, s3://bucket/prefix or gs://bucket/prefix")
    storage_options: Annotated[dict[str, str | Secret], BeforeValidator(parse_options)] = Field(
        default_factory=dict,
        description="text, a number, true or false, as deltalake takes it",
    )

    def resolve_storage_options(self) -> dict[str, str]:
        """Give the options as `deltalake` takes them, secrets fetched; never log or keep the result.

        Raises:
            SettingsError: if a secret cannot be had.
        """
        return {
            name: option.resolve() if isinstance(option, Secret) else option
            for name, option in self.storage_options.items()
        }


class EngineSettings(Block):
    """What the engine that runs the star schema's SQL may use of this machine."""

    memory_limit_mb: Integer = Field(
        default=112, ge=64, le=1_048_576, description="whole megabytes, 64 or more"
    )
    threads: Integer = Field(default=2, ge=1, le=1024, description="a whole number, 1 or more")
