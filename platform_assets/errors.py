"""Errors that platform_assets raises on purpose.

Every error is a `PlatformError`, and its message says what to do next.
"""

import errno
import os
import re


class PlatformError(Exception):
    """Base class of the platform's errors.

    The message says what was attempted, on what, what was found, and what to do.

    Attributes:
        retryable: True if the same attempt may succeed a moment later (a dropped connection, a commit that
            lost a race), False if something must be changed first (a wrong password, a missing table).
    """

    retryable = False


class SettingsError(PlatformError):
    """The configuration cannot be used; the message lists every mistake in it."""


class NoConfiguration(SettingsError):
    """The default configuration file does not exist, and no other file was named."""


class PathError(PlatformError):
    """A file or folder of this machine cannot be used."""


class FullDisk(PathError):
    """The disk has no space left for a file."""

    retryable = True


class AlreadyServed(PlatformError):
    """Another process serves or uses the same local state."""


_ADVICE = {
    errno.EEXIST: "A file is where a folder is needed: move the file away, or configure another place.",
    errno.ENOTDIR: "A file is where a folder is needed: move the file away, or configure another place.",
    errno.EISDIR: "A folder is where a file is needed: move it away, or configure another place.",
    errno.ENOENT: "Correct the path in the configuration.",
    errno.EACCES: "Grant the account that runs the platform access to it, or configure another place.",
    errno.EPERM: "Grant the account that runs the platform access to it, or configure another place.",
    errno.EROFS: "Configure a place that can be written to.",
}


def path_error(error: OSError) -> PathError | None:
    """Convert an operating system error about a path to a platform error; None if it names no path."""
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return None
    path, reason = os.fsdecode(error.filename), error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FullDisk(f"{path} cannot be written: {reason}. Free some space; the next run continues.")
    advice = _ADVICE.get(error.errno or 0, "Check the path on this machine, or configure another place.")
    return PathError(f"{path} cannot be used: {reason}. {advice}")


class StoredFileError(PlatformError):
    """A file of the platform's own state is damaged, or has the format of another version of the platform."""


class SourceError(PlatformError):
    """The source cannot be read as configured: credentials, privileges, missing tables or columns."""


class SourceUnavailable(SourceError):
    """The source database did not answer, or the connection to it broke."""

    retryable = True


class SampleError(PlatformError):
    """The embedded sample database cannot be created, started or advanced."""


class LakeError(PlatformError):
    """The lake contains data that the platform did not write, or lacks data that it did write."""


class LakeConflict(LakeError):
    """Another writer committed the same batch first.

    This attempt is discarded, and a retry starts again from the beginning.
    """

    retryable = True


class UpkeepBusy(LakeError):
    """Another run of upkeep works on the lake."""

    retryable = True


_UNREADABLE_FILE = re.compile(
    r"(No magic bytes found|too small to be a Parquet|No files found|Failed to read file|Cannot open file"
    r"|Failed to fetch metadata)"
)
_PARQUET_FILE = re.compile(r"""(?:the pattern|[Ff]ile) ["']?(?P<path>[^"'\n]+?\.parquet)["']?""")


_RESTORE = "Restore it from a backup or an older version in the bucket"


def lake_file_error(message: str) -> LakeError | None:
    """Convert a library's error about an unreadable Parquet file to a platform error.

    Args:
        message: The message of DuckDB, Arrow or delta-rs.

    Returns:
        The error; None if the message is not about such a file.
    """
    found = _PARQUET_FILE.search(message)
    if found is None or not _UNREADABLE_FILE.search(message):
        return None
    if re.search("No files found|not found|No such file", message):
        return missing_lake_file(found["path"])
    if "Permission denied" in message:
        return _unreadable_lake_file(
            found["path"], "permission denied", "Grant the platform's user access to it"
        )
    return _unreadable_lake_file(found["path"], "it is damaged", _RESTORE)


def missing_lake_file(path: str) -> LakeError:
    """Return the error about a Parquet file that does not exist."""
    return _unreadable_lake_file(path, "it does not exist", _RESTORE)


def _unreadable_lake_file(path: str, reason: str, advice: str) -> LakeError:
    return LakeError(
        f"The lake's file {path} cannot be read: {reason}. {advice}; the next run then continues."
    )


class WarehouseError(PlatformError):
    """The warehouse rejected a load or a query."""


class WarehouseBusy(WarehouseError):
    """Another process held the warehouse for longer than the configured wait."""

    retryable = True


class QueryTimeout(WarehouseError):
    """A query took longer than its caller allowed.

    Args:
        seconds: The time that it was allowed.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The query took longer than {seconds:g} seconds and was stopped. Ask for less, or allow more "
            "time."
        )


class StackqlError(PlatformError):
    """The StackQL server rejected a statement, or cannot be used as configured."""


class StackqlUnavailable(StackqlError):
    """The StackQL server did not answer, or the connection to it broke."""

    retryable = True


class ParquetError(PlatformError):
    """Parquet files cannot be read, or cannot be loaded as requested."""


class ObjectsError(PlatformError):
    """A folder or bucket of objects, or a queue of its events, cannot be used as configured."""


class ObjectsUnavailable(ObjectsError):
    """The store or the queue did not answer, or asked to retry later."""

    retryable = True


class ObjectGone(ObjectsError):
    """The requested version of an object no longer exists: it was deleted or overwritten."""


class FeedError(PlatformError):
    """A feed cannot be used as declared, or a file does not match its feed's declaration."""


class AlertError(PlatformError):
    """A channel did not accept an alert.

    Args:
        message: What was attempted and what was found.
        retryable: Whether the channel may accept the alert later.
        wait: Seconds that the channel asked to wait, None if it did not say.
    """

    def __init__(self, message: str, *, retryable: bool, wait: float | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.wait = wait


class DlpError(PlatformError):
    """An inspection for sensitive data cannot be performed as requested."""


class LineageError(PlatformError):
    """The lineage of a column cannot be derived, or there is no such column."""
