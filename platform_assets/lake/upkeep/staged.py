"""Files that killed runs have left on this machine: staged uploads, spilled data, files for loaders."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from platform_assets.isolation import Isolation
from platform_assets.processes import is_alive

_IN_TEMPORARY_FOLDER = "platform-assets-*"


def remove_staged_files(folder: Path, older_than: dt.timedelta, now: dt.datetime) -> tuple[int, Isolation]:
    """Remove what is left in the folder for spilled data, and of this platform in the system's own.

    Args:
        folder: The folder for spilled data.
        older_than: What was changed later stays.
        now: The time, UTC.

    Returns:
        The bytes that were removed, and what could not be removed.
    """
    removing = Isolation("Removing staged files")
    size = 0
    for place in leftovers(folder, older_than, now):
        with removing.guard(place.name):
            found = sum(file.lstat().st_size for file in _with_files(place))
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink()
            size += found
    return size, removing


def leftovers(folder: Path, older_than: dt.timedelta, now: dt.datetime) -> Iterator[Path]:
    """Yield the files and folders that killed runs have left; see `remove_staged_files`."""
    before = (now - older_than).timestamp()
    places = [*folder.iterdir()] if folder.is_dir() else []
    places += Path(tempfile.gettempdir()).glob(_IN_TEMPORARY_FOLDER)
    for place in places:
        pid = place.name.partition("-")[0]
        if pid.isdecimal() and is_alive(int(pid)):
            continue
        try:
            # Only files of a folder that is old are all looked at: one that is in use may have millions.
            is_left = all(file.lstat().st_mtime < before for file in _with_files(place))
        except OSError:
            continue  # somebody removes it at this moment, or another account owns it
        if is_left:
            yield place


def _with_files(place: Path) -> Iterator[Path]:
    yield place
    if place.is_dir() and not place.is_symlink():
        yield from place.rglob("*")
