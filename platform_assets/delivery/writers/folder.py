"""A folder of this machine, or one that is mounted on it."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from platform_assets.delivery.interfaces import (
    DeliveryError,
    DestinationUnavailable,
    Progress,
    Receipt,
    StagedFile,
)
from platform_assets.delivery.writers.content import (
    SIDECAR,
    blocks,
    changed,
    is_sidecar_of,
    safe_name,
    sha256_of,
    sidecar,
    temporary_name,
)

# A full disk is emptied, and a mounted one comes back.
_LATER = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY, errno.EHOSTDOWN}
_ADVICE = {
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some space, or have the quota raised",
    errno.EFBIG: "Deliver smaller files, or raise the limit on the size of a file",
    errno.ENAMETOOLONG: "Choose a shorter file name",
    errno.EEXIST: "A file is where a folder is needed: move it away",
    errno.ENOTDIR: "A file is where a folder is needed: move it away",
    errno.EISDIR: "A folder is where the file is needed: move it away",
    errno.ELOOP: "A symbolic link has the name under which the file is written first: remove it",
    errno.EACCES: "Grant the account that runs the platform access to it",
    errno.EPERM: "Grant the account that runs the platform access to it",
    errno.EROFS: "Choose a folder that can be written to",
}


@dataclass(frozen=True)
class FolderWriter:
    """Writes into a folder, which is created if it is missing.

    Args:
        folder: The folder.
        has_sidecar: True to write metadata beside every file.
    """

    folder: Path
    has_sidecar: bool = True

    @property
    def address(self) -> str:
        """See `Writer.address`."""
        return str(self.folder)

    @contextmanager
    def open(self) -> Iterator[FolderTransfer]:
        """See `Writer.open`."""
        yield FolderTransfer(self.folder, self.has_sidecar)

    def try_out(self) -> str:
        """See `CanBeTried.try_out`."""
        there = self.folder
        while not there.exists() and there != there.parent:
            there = there.parent
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise DeliveryError(
                f"{self.folder} cannot be written to. Give this user write access to {there}."
            )
        return "files may be written"

    def link(self, file: StagedFile, expires: dt.timedelta) -> str:
        """Return the file's URI, which opens on this machine only and does not expire."""
        return (self.folder / safe_name(file)).as_uri()


@dataclass(frozen=True)
class FolderTransfer:
    """Writes files into one folder.

    Args:
        folder: The folder.
        has_sidecar: True to write metadata beside every file.
    """

    folder: Path
    has_sidecar: bool

    def write(self, file: StagedFile, progress: Progress) -> Receipt:
        """See `Transfer.write`."""
        final = self.folder / safe_name(file)
        temporary = self.folder / temporary_name(file)
        with explained(final, file.path):
            if self._is_there(file, final):
                progress(file.size)
                return Receipt(str(final), file.size, "sha256", 0)
            final.parent.mkdir(parents=True, exist_ok=True)
            with _locked(temporary) as target:
                self._copy(file, target, progress)
                if sha256_of(temporary) != file.sha256:
                    temporary.unlink()
                    raise _damaged(file, final)
                temporary.replace(final)
            if self.has_sidecar:
                write_new(Path(f"{final}{SIDECAR}"), temporary.with_suffix(SIDECAR), sidecar(file))
            _sync(final.parent)
        return Receipt(str(final), file.size, "sha256", file.size)

    def _is_there(self, file: StagedFile, final: Path) -> bool:
        try:
            if final.stat().st_size != file.size or not final.is_file():
                return False
            if self.has_sidecar and not is_sidecar_of(Path(f"{final}{SIDECAR}").read_bytes(), file):
                return False
            return sha256_of(final) == file.sha256
        except (FileNotFoundError, NotADirectoryError):
            return False

    @staticmethod
    def _copy(file: StagedFile, target: BinaryIO, progress: Progress) -> None:
        with file.path.open("rb") as source:
            for block in blocks(source, progress):
                target.write(block)
        target.flush()
        os.fsync(target.fileno())


def write_new(final: Path, temporary: Path, content: bytes) -> None:
    """Write a small file so that nobody sees half of it under its name."""
    with temporary.open("wb") as target:
        target.write(content)
        target.flush()
        os.fsync(target.fileno())
    temporary.replace(final)


@contextmanager
def _locked(temporary: Path) -> Iterator[BinaryIO]:
    """Open the temporary file, empty, for this process alone."""
    # NOFOLLOW: in a folder that others write to, the name may have become a link to another file.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with os.fdopen(handle, "wb") as target:
        try:
            fcntl.flock(target, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(temporary) from None
        except OSError as error:
            # Some mounted file systems have no locks.
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
        if not (temporary.exists() and os.path.samestat(os.fstat(target.fileno()), temporary.stat())):
            # The process that wrote it has given it its final name between the opening and the lock.
            raise _busy(temporary)
        target.truncate()
        yield target


def _busy(temporary: Path) -> DestinationUnavailable:
    return DestinationUnavailable(
        f"Another process is writing {temporary} at this moment. The next attempt looks again."
    )


def _sync(folder: Path) -> None:
    """Make the new names last through a power failure, where the file system can."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def explained(final: Path, staged: Path | None = None) -> Iterator[None]:
    """Translate the errors of the operating system about a file that is written.

    Args:
        final: The file.
        staged: The file that it is a copy of; errors about that one are raised as they are.
    """
    try:
        yield
    except OSError as error:
        if staged is not None and error.filename == str(staged):
            raise
        reason = error.strerror or type(error).__name__
        advice = _ADVICE.get(error.errno or 0, "Check the folder")
        message = f"{final} was not written: {reason}. {advice}; the next attempt writes the file again."
        if error.errno in _LATER:
            raise DestinationUnavailable(message) from None
        raise DeliveryError(message) from None


def _damaged(file: StagedFile, final: Path) -> DeliveryError:
    if file.path.stat().st_size != file.size or sha256_of(file.path) != file.sha256:
        return changed(file)
    return DestinationUnavailable(
        f"{final} was not written: what the disk gives back has another checksum than what was sent. Check "
        "the disk; the next attempt writes the file again."
    )
