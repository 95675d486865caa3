"""Names of delivered files from a template, and the manifest that lists them."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from platform_assets.delivery.interfaces import StagedFile, Stamp

FIELDS = ("name", "suffix", "date", "time", "uuid", "rows", "part", "version")
"""Fields of a template.

`name` and `suffix` are the two parts of the name that the file has already; `rows` is its number of rows,
`part` its number among the files of the delivery, from 1; `date` and `time` are those of the delivery.
"""

MANIFEST_TYPE = "application/json"

_DEFAULTS = {"date": "%Y-%m-%d", "time": "%H%M%S", "part": "04d"}
_TIME_DIRECTIVES = frozenset("aAbBdfHIjmMpSuUVwWyYzZG%")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_VERSION = 40
_LONGEST_NAME = 255
# Suffixes that stand behind that of another format.
_OUTER = frozenset({".gz", ".zst", ".bz2", ".xz", ".pgp", ".gpg", ".asc", ".zip"})


@dataclass(frozen=True)
class FileNames:
    """A template of file names.

    Args:
        template: The template; None keeps the names that files have.
        timezone: The time zone of `date` and `time`.
    """

    template: str | None
    timezone: str = "UTC"

    @property
    def fields(self) -> frozenset[str]:
        """The fields that the template uses."""
        if self.template is None:
            return frozenset({"name", "suffix"})
        return frozenset(field for _, field, _, _ in string.Formatter().parse(self.template) if field)

    def name(self, stamp: Stamp, given: str, part: int, rows: int | None) -> str:
        """Return the name of a file at its destination.

        Args:
            stamp: The delivery.
            given: The name that the renderers gave it.
            part: Its number among the files of the delivery, from 1.
            rows: Its number of rows.

        Raises:
            DeliveryError: The template needs the number of rows, which is unknown, or the name is not usable.
        """
        # Names are checked when the code location is loaded, which needs none of the interfaces.
        from platform_assets.delivery.interfaces import DeliveryError

        if self.template is None:
            name = given
        elif rows is None and "rows" in self.fields:
            raise DeliveryError(
                f"The name {self.template} needs the number of rows, and it is not known for {given}. Take "
                "{rows} out of the name, or deliver rows instead of files."
            )
        else:
            at = stamp.at.astimezone(_zone(self.timezone))
            name = _filled(self.template, given, part, rows, at, stamp.uuid, stamp.version)
        if mistake := _name_mistake(name, self.template or given):
            raise DeliveryError(mistake)
        return name


def _filled(
    template: str, given: str, part: int, rows: int | None, at: dt.datetime, uuid: str, version: str
) -> str:
    stem, suffix = split_name(given)
    values: dict[str, Any] = {
        "name": stem,
        "suffix": suffix,
        "date": _At(at, _DEFAULTS["date"]),
        "time": _At(at, _DEFAULTS["time"]),
        "uuid": uuid,
        "rows": rows,
        "part": _Part(part),
        "version": _short(version),
    }
    return template.format(**values)


@functools.lru_cache(maxsize=1_000)
def template_mistake(template: str) -> str:
    """Return what is wrong with a template; empty if nothing is."""
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        return f"its braces cannot be read: {error}"
    for _, field, format_, conversion in pieces:
        if field is None:
            continue
        if field not in FIELDS:
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            return f"there is no field {{{field}}}; known are {known}"
        if conversion:
            return f"!{conversion} cannot be used in {{{field}}}"
        if reason := _format_mistake(field, format_ or ""):
            return reason
    now, uuid = dt.datetime.now(dt.UTC), "00000000-0000-0000-0000-000000000000"
    try:
        example = _filled(template, "name.csv", 1, 1, now, uuid, "1")
    except ValueError as error:
        return f"a format in it cannot be used: {error}"
    return _name_mistake(example, template)


def _format_mistake(field: str, format_: str) -> str:
    if "{" in format_:
        return f"the format of {{{field}}} has braces"
    if field in ("date", "time"):
        unknown = [
            directive for directive in re.findall(r"%(.?)", format_) if directive not in _TIME_DIRECTIVES
        ]
        if unknown:
            return f"%{unknown[0]} in {{{field}:{format_}}} is not known, such as in {{date:%Y%m%d}}"
        if format_ and "%" not in format_:
            return f"{{{field}:{format_}}} is always the same; a format is written as {{date:%Y%m%d}}"
        return ""
    if format_ and field not in ("rows", "part"):
        return f"{{{field}}} takes no format"
    if format_ and not re.fullmatch(r"0?\d{0,2}d?", format_):
        return f"the format of {{{field}}} is a number of digits, such as {{{field}:06d}}"
    return ""


@dataclass(frozen=True)
class _At:
    """A time with a format of its own."""

    at: dt.datetime
    default: str

    def __format__(self, format_: str) -> str:
        return self.at.strftime(format_ or self.default)


class _Part(int):
    """A number that has leading zeros unless the template says otherwise."""

    def __format__(self, format_: str) -> str:
        return super().__format__(format_ or _DEFAULTS["part"])


def _zone(name: str) -> dt.tzinfo:
    import zoneinfo

    return dt.UTC if name == "UTC" else zoneinfo.ZoneInfo(name)


def split_name(name: str) -> tuple[str, str]:
    """Split a file name before its suffixes: `sales.csv.gz` gives `sales` and `.csv.gz`."""
    stem, dot, last = name.rpartition(".")
    if not stem or not dot:
        return name, ""
    suffix = f".{last}"
    if suffix.lower() in _OUTER:
        inner, more = split_name(stem)
        return inner, more + suffix
    return stem, suffix


def _short(version: str) -> str:
    """Return a version as it may stand in a file name."""
    plain = _UNSAFE.sub("-", version).strip("-.")
    if len(plain) <= _LONGEST_VERSION and plain:
        return plain
    return hashlib.sha256(version.encode()).hexdigest()[:16]


def _name_mistake(name: str, template: str) -> str:
    """Return why no destination can have a file of this name; empty if destinations can."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        reason = "it has an empty part, or . or .."
    elif re.search(r"[\x00-\x1f\x7f\\]", name):
        reason = "it has control characters or a backslash"
    elif any(part != part.strip() for part in parts):
        reason = "a part starts or ends with white space"
    elif max(len(part.encode("utf-8", "surrogateescape")) for part in parts) > _LONGEST_NAME:
        reason = f"a part is longer than {_LONGEST_NAME} bytes"
    else:
        return ""
    return f"No file can be called {name!r}: {reason}. Correct file, now {template!r}."


def manifest_name(stamp: Stamp) -> str:
    """Return the name that the manifest has before the template."""
    return f"{stamp.delivery}.manifest.json"


def manifest(files: Sequence[StagedFile], stamp: Stamp) -> bytes:
    """Return the manifest of a delivery: its files with sizes, checksums and numbers of rows, as JSON."""
    counts = [file.rows for file in files]
    content = {
        "delivery": stamp.delivery,
        "title": stamp.title,
        "generator": stamp.generator,
        "uuid": stamp.uuid,
        "timestamp": stamp.at.astimezone(dt.UTC).isoformat(timespec="seconds"),
        "version": stamp.version,
        "rows": None if None in counts else sum(count for count in counts if count is not None),
        "files": [
            {
                "name": file.name,
                "size": file.size,
                "sha256": file.sha256,
                "md5": file.md5,
                "rows": file.rows,
                "content_type": file.content_type,
            }
            for file in files
        ],
    }
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()
