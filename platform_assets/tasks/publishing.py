"""Files that appear as a whole or not at all, and that are left alone where they are as they should be."""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from platform_assets.errors import path_error
from platform_assets.processes import is_alive
from platform_assets.tasks.task import TaskError

_MODE = 0o666


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a temporary path beside a target to write to; at the end, publish it under the target's name.

    A target that has the same bytes stays as it is, with its modification time. After an error, or a kill,
    the target is as it was.

    Args:
        target: The file; its folder is created.

    Raises:
        TaskError: The target is a folder.
    """
    with temporary_path(target) as part:
        yield part
        publish(part, target)


@contextlib.contextmanager
def temporary_path(target: Path) -> Iterator[Path]:
    """Give a path beside a target for a temporary file or folder, and remove it at the end.

    Leftovers of processes of this machine that were killed are removed first.
    """
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    host = re.sub(r"[^\w.]", "_", socket.gethostname())[:40]
    for left in folder.glob(f".{_escaped(target.name)}.{_escaped(host)}-*.part"):
        owner = left.name.rpartition(f".{host}-")[2].split("-")[0]
        if owner.isdecimal() and int(owner) != os.getpid() and not is_alive(int(owner)):
            remove(left)
    part = folder / f".{target.name[:120]}.{host}-{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        yield part
    finally:
        remove(part)


def publish(part: Path, target: Path) -> bool:
    """Move a complete file to its name, durably, unless the target has the same bytes.

    Returns:
        True if the target changed.

    Raises:
        TaskError: The target is a folder.
    """
    if target.is_dir():
        raise TaskError(f"{target} is a folder; a file of this name cannot be written. Name a file in it.")
    if is_same(part, target):
        part.unlink()
        return False
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(target)
    return True


def is_same(path: Path, other: Path) -> bool:
    """Return True if both are files, no links, with the same bytes and the same right to execute."""
    if other.is_symlink() or not other.is_file():
        return False
    return (_executable(path) == _executable(other)) and filecmp.cmp(path, other, shallow=False)


def set_executable(file: Path, *, executable: bool) -> None:
    """Give a file the usual mode, with or without the right to execute it."""
    mask = os.umask(0)
    os.umask(mask)
    file.chmod((_MODE | (0o111 if executable else 0)) & ~mask)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it exists; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def plain_paths() -> Iterator[None]:
    """Raise the operating system's errors about paths as errors of the platform."""
    try:
        yield
    except OSError as error:
        if (known := path_error(error)) is None:
            raise
        raise known from error


def _executable(file: Path) -> bool:
    return bool(file.stat().st_mode & 0o100)


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name[:120])
