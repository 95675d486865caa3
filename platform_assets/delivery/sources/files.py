"""Files on disk, by path or glob pattern."""

from __future__ import annotations

import contextlib
import hashlib
import mimetypes
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from platform_assets.configuration.globs import fixed_part, glob_regex, has_wildcards
from platform_assets.delivery.interfaces import Bytes, DeliveryError, DestinationUnavailable, Rows
from platform_assets.errors import path_error

_CHUNK = 1024 * 1024


@dataclass
class FileSource:
    """Files on disk, in the order of their paths.

    Args:
        pattern: An absolute path, or a glob pattern of paths; `**` stands for any folders.
        may_be_empty: True if a pattern may match nothing.
        links_out: True to follow links that lead out of the pattern's folder.
    """

    pattern: str
    may_be_empty: bool = False
    links_out: bool = False
    _seen: str | None = None

    def version(self) -> str | None:
        """See `DataSource.version`: names, sizes and times of changes."""
        self._seen = version_of_files(self._found())
        return self._seen

    @contextlib.contextmanager
    def open(self) -> Iterator[Iterator[Rows | Bytes]]:
        """See `DataSource.open`."""
        found = self._found()
        seen, self._seen = self._seen, None
        if seen not in (None, version_of_files(found)):
            raise DestinationUnavailable(
                f"{self.pattern} changed in between. The next attempt delivers the new content."
            )
        yield (file_bytes(file) for file in found)

    def _found(self) -> list[FoundFile]:
        """Find the files.

        Raises:
            DeliveryError: There are none, one is no regular file, or a link leads out of the folder.
        """
        if not has_wildcards(self.pattern):
            path = Path(self.pattern)
            return [found_file(path, path.name)]
        root = Path(fixed_part(self.pattern) or "/")
        matches = re.compile(glob_regex(self.pattern.removeprefix(f"{root}/")), re.DOTALL).fullmatch
        found = [
            found_file(path, name)
            for name, path in sorted(_below(root, ""))
            if _is_wanted(name) and matches(name)
        ]
        if not self.links_out:
            home = os.path.realpath(root)
            for file in found:
                if not os.path.realpath(file.path).startswith(f"{home.rstrip('/')}/"):
                    raise DeliveryError(
                        f"{file.path} is a link that leads out of {root}. Remove it, or set links_out = true."
                    )
        if not found and not self.may_be_empty:
            raise DeliveryError(
                f"No file matches {self.pattern}. Correct the path, or set may_be_empty = true."
            )
        return found


@dataclass(frozen=True)
class FoundFile:
    """A file as it was found.

    Attributes:
        path: Where it is.
        name: Its name in the delivery.
        size: Size in bytes.
        modified: Modification time in nanoseconds; programs can set it.
        changed: Time of the last change of anything, in nanoseconds; nobody can set it.
        inode: Number of its inode.
    """

    path: Path
    name: str
    size: int
    modified: int
    changed: int
    inode: int


def found_file(path: Path, name: str) -> FoundFile:
    """Look at a file.

    Raises:
        DeliveryError: It is not there, cannot be accessed, or is not a regular file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise _refused(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise DeliveryError(f"{path} cannot be delivered: it is not a file. Name a file, or a pattern.")
    return FoundFile(path, name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def version_of_files(found: list[FoundFile]) -> str:
    """Return a text that changes when a file is added, removed or written.

    A program may set the time of modification to an earlier one, as copies do; then the other time tells.
    """
    versions = [
        (file.name, file.size, file.modified)
        if file.changed == file.modified
        else (file.name, file.size, file.modified, file.changed)
        for file in found
    ]
    return hashlib.sha256(repr(versions).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def file_bytes(found: FoundFile) -> Bytes:
    """Return a file's content; an error is raised at its end if the file has changed since it was found."""
    return Bytes(found.name, _chunks(found), found.size, found.path, content_type=content_type_of(found.name))


def content_type_of(name: str) -> str:
    """Return the media type that a file name stands for."""
    type_, packed = mimetypes.guess_type(name)
    if packed is not None:
        return "application/gzip" if packed == "gzip" else "application/octet-stream"
    return type_ or "application/octet-stream"


def _chunks(found: FoundFile) -> Iterator[bytes]:
    try:
        file = found.path.open("rb")
    except OSError as error:
        raise _refused(found.path, error) from error
    with file:
        while True:
            try:
                chunk = file.read(_CHUNK)
            except OSError as error:
                raise _refused(found.path, error) from error
            status = os.fstat(file.fileno())
            now = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            if now != (found.size, found.modified, found.changed, found.inode):
                raise DestinationUnavailable(
                    f"{found.path} was written while it was read. The next attempt delivers its new content."
                )
            if not chunk:
                return
            yield chunk


def _refused(path: Path, error: OSError) -> DeliveryError:
    return DeliveryError(str(path_error(error) or f"{path} cannot be read: {error.strerror or error}."))


def _is_wanted(name: str) -> bool:
    """Return False for hidden files, which patterns do not match, as in a shell."""
    return not any(part.startswith(".") for part in name.split("/"))


def _below(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """Yield the files in a folder and its subfolders; links to folders are not followed."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _below(Path(entry.path), f"{prefix}{entry.name}/")
                elif entry.is_file():
                    yield f"{prefix}{entry.name}", Path(entry.path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refused(folder, error) from error
