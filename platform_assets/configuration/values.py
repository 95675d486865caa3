"""Types of configuration values: texts, numbers, paths, and blocks shared by several parts.

A field's description is also the "expected" half of an error message, and is worded to fit there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.cron import cron_expression
from platform_assets.configuration.secrets import absolute_path, base_folder


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("true and false are not numbers")
    return value


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("put text that looks like something else into quotes")
    if value != value.strip() or not value:
        raise ValueError("it is empty, or starts or ends with white space")
    return value


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path) or not str(value).strip():
        raise ValueError("it is not a path")
    if "://" in str(value):
        raise ValueError("it must be a local path, not a URI")
    if str(value) != str(value).strip():
        raise ValueError("it starts or ends with white space")
    return absolute_path(str(value), base_folder(info))


def _host(value: str) -> str:
    # An IPv6 address has more than one colon.
    if re.search(r"[\s/@?]", value) or re.fullmatch(r"([^:]*|\[.*\]):\d*", value):
        raise ValueError("only the host's name or address; port, user and database have keys of their own")
    return value


def timezone_name(value: str) -> str:
    """Validate the name of a time zone."""
    if value == "UTC":
        return value
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(value).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("no such time zone exists") from None


# A field's description is also the "expected" half of an error message, and is worded to fit there.
Integer = Annotated[int, BeforeValidator(_no_bool)]


Text = Annotated[str, BeforeValidator(_text)]


Cron = Annotated[Text, AfterValidator(cron_expression)]
LocalPath = Annotated[Path, BeforeValidator(_path)]


def _address(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", value):
        raise ValueError("an address starts with http:// or https:// and contains no user")
    try:
        port = urlsplit(value).port
    except ValueError as error:
        raise ValueError(f"it cannot be read: {error}") from None
    if port == 0:
        raise ValueError("no server has the port 0")
    return value


def _mailbox(value: str) -> str:
    if not re.fullmatch(r"(?:[^<>@]*<)?[^\s@<>]+@[^\s@<>]+>?", value):
        raise ValueError("a mail address has one @")
    return value


HostName = Annotated[Text, AfterValidator(_host)]
Address = Annotated[Text, AfterValidator(_address)]
Mailbox = Annotated[Text, AfterValidator(_mailbox)]


class Block(BaseModel):
    """A configuration block; unknown keys are rejected.

    Attributes:
        stand_ins: Values for required keys, so that the rest of a block can be checked without them.
    """

    stand_ins: ClassVar[Mapping[str, Any]] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


def _no_repetition(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("an item is in it twice")
    return values


Names = Annotated[tuple[Text, ...], AfterValidator(_no_repetition)]


TYPES = "integer, decimal(P,S), real, double, text, binary, boolean, date, time, timestamp or timestamptz"


_TYPE = re.compile(r"integer|real|double|text|binary|boolean|date|time|timestamp|timestamptz")


_DECIMAL = re.compile(r"decimal\((\d{1,2}), ?(\d{1,2})\)")


def type_word(value: str) -> str:
    """Validate a column's lake type; decimals are normalized to one spelling."""
    if _TYPE.fullmatch(value):
        return value
    digits = _DECIMAL.fullmatch(value)
    if digits is None:
        raise ValueError("no such type exists")
    precision, scale = int(digits[1]), int(digits[2])
    if not 1 <= precision <= 38 or scale > precision:
        raise ValueError("a decimal has 1 to 38 digits, and its scale is at most the number of digits")
    return f"decimal({precision},{scale})"
