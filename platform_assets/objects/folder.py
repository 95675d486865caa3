"""A local folder as a bucket.

Keys are paths relative to the folder. Bytes of a file name that are not valid UTF-8 become private-use
characters, so that every file has a key that can be stored, and none is missed.
"""

from __future__ import annotations

import datetime as dt
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from platform_assets.errors import ObjectGone, ObjectsError
from platform_assets.isolation import Isolation
from platform_assets.objects.bucket import ObjectVersion, Readable, raise_if_partly_listed

# Python decodes a byte that is not UTF-8 to U+DC80..U+DCFF, which no encoding can store.
_STORABLE = {0xDC00 + byte: 0x10FC00 + byte for byte in range(0x80, 0x100)}
_FIRST = dt.datetime.min.replace(tzinfo=dt.UTC)
_LAST = dt.datetime.max.replace(tzinfo=dt.UTC)
_ON_DISK = {stored: lone for lone, stored in _STORABLE.items()}


@dataclass(frozen=True)
class FolderBucket:
    """A local folder with all subfolders; symbolic links are skipped, as they may lead out of it.

    Args:
        folder: The folder.
    """

    folder: Path

    @property
    def uri(self) -> str:
        """The folder's path."""
        return str(self.folder)

    @property
    def is_atomic(self) -> bool:
        """See `Bucket.is_atomic`."""
        return False

    def objects(self, after: str = "") -> Iterator[ObjectVersion]:
        """See `Bucket.objects`; a file that vanishes during the listing is skipped."""
        if not self.folder.is_dir():
            raise ObjectsError(
                f"The folder {self.folder} cannot be watched: the folder does not exist. Create it, or "
                "correct its path in the configuration."
            )
        failing = Isolation("Listing")
        yield from self._below(str(self.folder), "", after, failing)
        raise_if_partly_listed(self.uri, failing)

    def _below(self, folder: str, prefix: str, after: str, failing: Isolation) -> Iterator[ObjectVersion]:
        found: list[tuple[str, str]] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    with failing.guard(entry.path):
                        # Folders sort as in object stores: by their name with a slash at the end.
                        is_folder = entry.is_dir(follow_symlinks=False)
                        if is_folder or entry.is_file(follow_symlinks=False):
                            key = prefix + entry.name.translate(_STORABLE) + ("/" if is_folder else "")
                            found.append((key, entry.path))
        except FileNotFoundError:
            return
        except OSError as error:
            refused = ObjectsError(
                f"The folder {folder} cannot be listed: {error.strerror}. Grant the platform's user the "
                "right to read it."
            )
            if not prefix:
                raise refused from error
            # A folder that cannot be read does not affect the others.
            failing.record(folder, refused)
            return
        for key, path in sorted(found):
            if key.endswith("/"):
                # All keys in this folder sort before `after`, unless `after` itself is in the folder.
                if key > after or after.startswith(key):
                    yield from self._below(path, key, after, failing)
            elif key > after:
                version: ObjectVersion | None = None
                with failing.guard(path):
                    version = self._version(key, path)
                if version is not None:
                    yield version

    def find(self, key: str) -> ObjectVersion | None:
        """See `Bucket.find`."""
        if not key or key.startswith("/") or any(part in ("", ".", "..") for part in key.split("/")):
            return None
        return self._version(key, self._path(key))

    @contextmanager
    def open(self, found: ObjectVersion) -> Iterator[Readable]:
        """See `Bucket.open`; if the file is overwritten while it is read, the error is raised at the end."""
        path = self._path(found.key)
        try:
            # Do not follow a symbolic link, and do not wait for the writer of a pipe.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise _gone(found) from None
        except OSError as error:
            raise ObjectsError(f"{path} cannot be read: {error.strerror}.") from error
        with os.fdopen(descriptor, "rb") as file:
            _expect(file, found)
            yield file
            _expect(file, found)

    def _path(self, key: str) -> str:
        return os.path.join(self.folder, key.translate(_ON_DISK))

    def _version(self, key: str, path: str) -> ObjectVersion | None:
        try:
            status = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ObjectsError(f"{path} cannot be accessed: {error.strerror}.") from error
        if not stat.S_ISREG(status.st_mode):
            return None
        return ObjectVersion(path, key, _version_of(status), status.st_size, _time(status.st_mtime))


def _time(seconds: float) -> dt.datetime:
    """The modification time of a file, clamped to the range of datetime."""
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return _LAST if seconds > 0 else _FIRST


def _version_of(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"


def _expect(file: BinaryIO, found: ObjectVersion) -> None:
    if _version_of(os.fstat(file.fileno())) != found.version:
        raise _gone(found)


def _gone(found: ObjectVersion) -> ObjectGone:
    return ObjectGone(
        f"{found.uri} was deleted or overwritten since it was noticed. The new version, if any, is "
        "inspected as a version of its own."
    )
