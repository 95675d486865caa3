"""Where Parquet files are: local disk, S3 or Google Cloud Storage, listed and read from their ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs

from platform_assets.errors import ParquetError

_SCHEMES = ("s3", "gs")


@dataclass(frozen=True)
class Store:
    """A file system, and how what is in it is called outside.

    Args:
        scheme: s3, gs, or empty for local disk.
        files: The file system.
    """

    scheme: str
    files: pyarrow.fs.FileSystem

    def uri(self, path: str) -> str:
        """A path as a local path or a URI."""
        return f"{self.scheme}://{path}" if self.scheme else path

    def kind(self, path: str) -> str:
        """Whether a path is a `file` or a `folder`, or `nothing`.

        Raises:
            ParquetError: The place cannot be looked at.
        """
        try:
            info = self.files.get_file_info(path)
        except OSError as error:
            raise ParquetError(
                f"{self.uri(path)} cannot be looked at: {_reason(error)}. Check the address, the credentials "
                "and the region."
            ) from error
        kinds = {pyarrow.fs.FileType.File: "file", pyarrow.fs.FileType.Directory: "folder"}
        return kinds.get(info.type, "nothing")

    def below(self, folder: str) -> list[str]:
        """All files below a folder, in order, whatever they are called.

        Raises:
            ParquetError: It cannot be listed.
        """
        selector = pyarrow.fs.FileSelector(folder, recursive=True)
        try:
            found = self.files.get_file_info(selector)
        except OSError as error:
            raise ParquetError(f"{self.uri(folder)} cannot be listed: {_reason(error)}.") from error
        return sorted(info.path for info in found if info.type == pyarrow.fs.FileType.File)

    def names_in(self, folder: str) -> list[str]:
        """The names of what is in a folder, none where it cannot be listed or is not there."""
        selector = pyarrow.fs.FileSelector(folder, allow_not_found=True)
        try:
            return [info.base_name for info in self.files.get_file_info(selector)]
        except OSError:
            return []  # who may read a folder may not be allowed to look above it

    def has_folder(self, path: str) -> bool:
        """Whether there is such a folder, as far as one may look."""
        try:
            return self.kind(path) == "folder"
        except ParquetError:
            return False


def is_data(path: str, folder: str) -> bool:
    """Whether neither the file nor a folder on the way to it has a name that begins with `_` or `.`.

    Writers mark with these what is not data: logs, markers, checksums, files in the making.
    """
    below = path[len(folder) :]
    # Nearly always there is nothing to look at.
    if "/_" not in below and "/." not in below and not below.startswith(("_", ".")):
        return True
    return not any(part.startswith(("_", ".")) for part in below.strip("/").split("/"))


def open_store(place: str, options: Mapping[str, str]) -> tuple[Store, str]:
    """The store that a path or URI is in, and the path there.

    Args:
        place: A local path, `s3://bucket/key` or `gs://bucket/name`.
        options: As `lake.storage_options`, secrets resolved: `AWS_REGION`, `AWS_ACCESS_KEY_ID`,
            `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT` (the
            path of a key file). What is missing is looked for where the vendor's own tools look.

    Raises:
        ParquetError: The address is neither.
    """
    scheme, separator, rest = place.partition("://")
    if not separator:
        return Store("", pyarrow.fs.LocalFileSystem()), str(Path(place).expanduser().absolute())
    if scheme not in _SCHEMES or not rest.strip("/"):
        raise ParquetError(
            f"{place} cannot be read: Parquet is read from local paths, s3://bucket/key and gs://bucket/name."
        )
    given = {name.lower().removeprefix("aws_").removeprefix("google_"): v for name, v in options.items()}
    files = _s3(given, rest.split("/")[0]) if scheme == "s3" else _gcs(given)
    return Store(scheme, files), rest.rstrip("/")


def _s3(given: Mapping[str, str], bucket: str) -> pyarrow.fs.S3FileSystem:
    arguments: dict[str, Any] = {}
    region = given.get("region") or given.get("default_region")
    endpoint = given.get("endpoint_url") or given.get("endpoint")
    if region is None and endpoint is None:
        try:
            region = pyarrow.fs.resolve_s3_region(bucket)
        except OSError as error:
            raise ParquetError(
                f"The region of the bucket {bucket} cannot be found out: {_reason(error)}. Name it as "
                "AWS_REGION."
            ) from error
    if region:
        arguments["region"] = region
    if endpoint:
        scheme, _, arguments["endpoint_override"] = endpoint.rpartition("://")
        arguments["scheme"] = scheme or "https"
    for name, key in (
        ("access_key", "access_key_id"),
        ("secret_key", "secret_access_key"),
        ("session_token", "session_token"),
    ):
        if given.get(key):
            arguments[name] = given[key]
    return pyarrow.fs.S3FileSystem(**arguments, connect_timeout=20, request_timeout=60)


def _gcs(given: Mapping[str, str]) -> pyarrow.fs.GcsFileSystem:
    key_file = given.get("service_account") or given.get("service_account_path")
    if key_file is None:
        return pyarrow.fs.GcsFileSystem()
    import google.auth.transport.requests
    from google.oauth2 import service_account

    # Without types in the versions that have no stubs, and with some in others.
    from_file: Any = service_account.Credentials.from_service_account_file
    credentials = from_file(key_file, scopes=["https://www.googleapis.com/auth/devstorage.read_only"])
    credentials.refresh(google.auth.transport.requests.Request())
    return pyarrow.fs.GcsFileSystem(
        access_token=credentials.token, credential_token_expiration=credentials.expiry
    )


def _reason(error: OSError) -> str:
    """What went wrong in one line of at most 300 characters, without a full stop at its end."""
    return " ".join(str(error).split())[:300].rstrip(".")
