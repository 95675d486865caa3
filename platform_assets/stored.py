"""Everything that the platform stores, and the versions of its formats.

`FORMATS` is the list. Each format has a version of its own. A table or file that was stored without one has
version 1, like everything that platform-assets 0.1.0 has written. What a newer program has written is refused
before anything is changed. What is too old to be read is refused, too; `platform-assets upgrade` migrates it.
Nothing here knows the content of what is stored, or how it is read and written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from platform_assets.errors import StoredFileError, path_error
from platform_assets.isolation import is_isolated, reason_of
from platform_assets.processes import write_whole

_TABLE_NAME = re.compile(r"platform_assets\.(\w+)/(\d{1,9})")
_STATE_FILE = "format.json"
_MADE_BEFORE = "dagster.yaml"


@dataclass(frozen=True)
class StoredFormat:
    """A kind of stored table or file.

    Args:
        name: Its name where it is stored.
        title: Its name in messages, at the start of a sentence.
        where: Where it is stored, for people.
        version: The version that this program writes.
        oldest: The oldest version that this program reads as it is.
    """

    name: str
    title: str
    where: str
    version: int = 1
    oldest: int = 1

    def refusal(self, found: object, place: str) -> str:
        """Return why something stored cannot be used; empty if it can.

        Args:
            found: Its version as it was stored; None if it was stored without one.
            place: Where it is stored.
        """
        number = 1 if found is None else found
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            return (
                f"{self.title} {place} has the format version {number!r}, which is not a version. Restore it "
                "from a backup; nothing was changed."
            )
        if number > self.version:
            return (
                f"{self.title} {place} has format version {number}, and platform-assets {program_version()} "
                f"knows versions up to {self.version}: a newer program has written it. Install that version "
                "of platform-assets or a later one; nothing was changed."
            )
        if number < self.oldest:
            return (
                f"{self.title} {place} has format version {number}, and platform-assets {program_version()} "
                f"reads version {self.oldest} and later. Stop the schedules, then migrate it: "
                "platform-assets upgrade shows what would be done, and with --apply does it. Nothing was "
                "changed."
            )
        return ""

    @property
    def table_name(self) -> str:
        """Name that a new Delta table of this format gets in its metadata."""
        return self.table_name_of(self.version)

    def table_name_of(self, version: int) -> str:
        """Return the name of a Delta table of this format and version."""
        return f"platform_assets.{self.name}/{version}"


_INGESTION, _PROCESSED = "lake, ingestion zone: ", "lake, processed zone: "
_WAREHOUSE = "each warehouse: "
_STATE = "state folder: "

LEDGER = StoredFormat("ledger", "The ledger", f"{_INGESTION}`_ledger`")
BRONZE = StoredFormat("bronze", "The source table", f"{_INGESTION}`<source>/<table>`")
DEAD_LETTERS = StoredFormat("dead_letters", "The table of dead letters", f"{_INGESTION}`_dead_letters`")
FEED = StoredFormat("feed", "The feed's table", f"{_INGESTION}`uploads/<feed>`")
FEED_LEDGER = StoredFormat("feed_ledger", "The feed's ledger", f"{_INGESTION}`_uploads/<feed>`")
STAR = StoredFormat("star", "The star table", f"{_PROCESSED}`star/<table>`")
COPY = StoredFormat("copy", "The copy for a warehouse", f"{_PROCESSED}`protected/...`, `<warehouse>/<feed>`")
ASSET = StoredFormat("asset", "The table", f"{_PROCESSED}tables of your own assets")
OBJECT_LOG = StoredFormat("object_log", "The object log", f"{_PROCESSED}`objects/<watch>`")
INSPECTIONS = StoredFormat("inspections", "The table of inspections", f"{_PROCESSED}`dlp/objects`")
FINDINGS = StoredFormat("findings", "The table of findings", f"{_PROCESSED}`dlp/findings`")
INSPECTED_COLUMNS = StoredFormat("columns", "The table of inspected columns", f"{_PROCESSED}`dlp/columns`")
OUTBOX = StoredFormat("outbox", "The outbox", f"{_PROCESSED}`alerts/outbox`")
INCIDENTS = StoredFormat("incidents", "The table of incidents", f"{_PROCESSED}`alerts/incidents`")
RECEIPTS = StoredFormat("receipts", "The log of receipts", f"{_PROCESSED}`delivery/receipts`")
UPKEEP = StoredFormat("upkeep", "The journal of upkeep", f"{_PROCESSED}`_upkeep`")
INVENTORY = StoredFormat("inventory", "The history of an inventory", f"{_PROCESSED}`inventory/<name>`")
LOADS = StoredFormat("loads", "The record of loads", f"{_WAREHOUSE}`platform.loads`")
SNOWFLAKE_LOADS = StoredFormat("copies", "The record of copies", "Snowflake: `PLATFORM_DELTA_LOADS`")
CATALOGUE = StoredFormat("catalogue", "The catalogue", "configuration: `catalogue/<source>.json`")
STAGED = StoredFormat("staged", "The list of staged files", f"{_STATE}`deliveries/.../complete.json`")
TASK_OUTPUT = StoredFormat("task_output", "The record of a task's files", f"{_STATE}`tasks/.outputs/...json`")
STATE = StoredFormat("state", "The state folder", f"{_STATE}`{_STATE_FILE}`")

FORMATS: Mapping[str, StoredFormat] = {
    file.name: file
    for file in (
        *(LEDGER, BRONZE, DEAD_LETTERS, FEED, FEED_LEDGER, STAR, COPY, ASSET, OBJECT_LOG, INSPECTIONS),
        *(FINDINGS, INSPECTED_COLUMNS, OUTBOX, INCIDENTS, RECEIPTS, UPKEEP, INVENTORY, LOADS),
        *(SNOWFLAKE_LOADS, CATALOGUE, STAGED, TASK_OUTPUT, STATE),
    )
}
"""Everything that the platform stores in a format of its own, by the formats' names."""


@dataclass(frozen=True)
class Stored:
    """A stored table or file, for upgrades and reports.

    Args:
        format: Its format.
        place: Its path, URI or name.
        version: Returns its version, 1 if it was stored without one, None if it does not exist. Refuses none.
        stamp: Stores another version in it.
        subject: The table, warehouse, file or folder, for the steps of an upgrade.
    """

    format: StoredFormat
    place: str
    version: Callable[[], int | None]
    stamp: Callable[[int], None]
    subject: Any = None


@runtime_checkable
class StoresFormats(Protocol):
    """A room that stores tables or files in formats of the platform."""

    def stored(self) -> Iterable[Stored | FormatProblem]:
        """Yield what it stores, and the reasons for what it cannot list; what does not exist is left out."""
        ...


@dataclass(frozen=True)
class FormatProblem:
    """A stored table or file that this program cannot use, or cannot look at.

    Args:
        place: Where it is; the name of a room if the room cannot list what it stores.
        reason: What is wrong and what to do.
    """

    place: str
    reason: str


def format_problems(stored: Iterable[Stored | FormatProblem]) -> list[FormatProblem]:
    """Return what this program cannot use, each with what to do; nothing is changed.

    Args:
        stored: As `everything_stored` yields it.
    """
    found = []
    for holding in stored:
        if isinstance(holding, FormatProblem):
            found.append(holding)
            continue
        try:
            version = holding.version()
            reason = "" if version is None else holding.format.refusal(version, holding.place)
        except BaseException as error:
            if not is_isolated(error):
                raise
            reason = reason_of(error)
        if reason:
            found.append(FormatProblem(holding.place, reason))
    return found


def everything_stored(state_dir: Path, rooms: Iterable[StoresFormats]) -> Iterator[Stored | FormatProblem]:
    """Yield everything that is stored; for a room that cannot list its part, the reason.

    Args:
        state_dir: The folder for local state.
        rooms: The rooms: `rooms.offering(StoresFormats)`.
    """
    yield state_folder(state_dir)
    for room in rooms:
        try:
            yield from room.stored()
        except BaseException as error:
            if not is_isolated(error):
                raise
            yield FormatProblem(type(room).__name__, reason_of(error))


def table_format(name: str | None) -> tuple[str, int] | None:
    """Return format and version of a Delta table from the name in its metadata; None if it has none."""
    found = _TABLE_NAME.fullmatch(name or "")
    return (found[1], int(found[2])) if found else None


def program_version() -> str:
    """Return the version of this program."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("platform-assets")
    except PackageNotFoundError:
        return "of this checkout"


def json_file(format_: StoredFormat, file: Path, place: Path | None = None) -> Stored:
    """Return a JSON file whose key `format` holds its version, for upgrades and reports.

    Args:
        format_: Its format.
        file: The file.
        place: The folder that it speaks for; None for the file itself.
    """

    def version() -> int | None:
        if not file.is_file():
            return 1 if place is not None and place.is_dir() else None
        found = format_version(_content(file))
        return found if isinstance(found, int) else -1

    def stamp(version: int) -> None:
        before = _content(file) if file.is_file() else {}
        write_whole(file, f"{json.dumps({**before, 'format': version})}\n".encode())

    return Stored(format_, str(place or file), version, stamp, place or file)


def format_version(content: Mapping[str, Any]) -> object:
    """Return the version in a JSON object of the platform, as it was stored; 1 if it has none."""
    return content.get("format", 1)


def _content(file: Path) -> dict[str, Any]:
    """Return the content of a JSON file.

    Raises:
        StoredFileError: It is not a JSON object.
    """
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise StoredFileError(f"The file {file} is not JSON: {error}. Restore it from a backup.") from error
    if not isinstance(content, dict):
        raise StoredFileError(f"The file {file} is not a JSON object. Restore it from a backup.")
    return content


def state_folder(state_dir: Path) -> Stored:
    """Return the folder for local state, whose file `format.json` holds the version of the whole."""
    return json_file(STATE, state_dir / _STATE_FILE, state_dir)


def refuse_state(state_dir: Path) -> None:
    """Raise an error if another version's state folder cannot be used.

    Raises:
        StoredFileError: It was written by a newer program, or has to be migrated first.
    """
    if reason := STATE.refusal(state_folder(state_dir).version(), str(state_dir)):
        raise StoredFileError(reason)


def stamp_new_state(state_dir: Path) -> None:
    """Store the format's version in a state folder that has none; called before anything is stored in it.

    Raises:
        PathError: The folder cannot be written to.
    """
    file = state_dir / _STATE_FILE
    if not file.is_file():
        is_new = all(entry.name == _MADE_BEFORE or entry.is_dir() for entry in state_dir.rglob("*"))
        version = STATE.version if is_new else 1
        content = {"format": version, "written_by": program_version()}
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            write_whole(file, f"{json.dumps(content)}\n".encode())
        except OSError as error:
            raise path_error(error) or error from error
