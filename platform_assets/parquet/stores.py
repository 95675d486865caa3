"""Stores of Parquet files: local disk, S3 or Google Cloud Storage; listing, and reading the end of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs

from platform_assets.errors import ParquetError
from platform_assets.parquet.layouts import is_hidden

_SCHEMES = ("s3", "gs")


@dataclass(frozen=True)
class Store:
    """A file system with the URI scheme of its paths."""

    scheme: str
    files: pyarrow.fs.FileSystem

    def uri(self, path: str) -> str:
        """Convert a path to a local path or a URI."""
        return f"{self.scheme}://{path}" if self.scheme else path

    def kind(self, path: str) -> str:
        """The kind of a path: `file`, `folder` or `nothing`.

        Raises:
            ParquetError: The place cannot be read.
        """
        try:
            info = self.files.get_file_info(path)
        except OSError as error:
            raise ParquetError(
                f"{self.uri(path)} cannot be accessed: {_reason(error)}. Check the address, the credentials "
                "and the region."
            ) from error
        kinds = {pyarrow.fs.FileType.File: "file", pyarrow.fs.FileType.Directory: "folder"}
        return kinds.get(info.type, "nothing")

    def below(self, folder: str) -> list[str]:
        """All files below a folder, sorted, whatever their names.

        Raises:
            ParquetError: The folder cannot be listed.
        """
        selector = pyarrow.fs.FileSelector(folder, recursive=True)
        try:
            found = self.files.get_file_info(selector)
        except OSError as error:
            raise ParquetError(f"{self.uri(folder)} cannot be listed: {_reason(error)}.") from error
        return sorted(info.path for info in found if info.type == pyarrow.fs.FileType.File)

    def names_in(self, folder: str) -> list[str]:
        """The names of a folder's entries; empty if the folder does not exist or cannot be listed."""
        selector = pyarrow.fs.FileSelector(folder, allow_not_found=True)
        try:
            return [info.base_name for info in self.files.get_file_info(selector)]
        except OSError:
            return []  # permission to read a folder does not imply permission to list its parents

    def has_folder(self, path: str) -> bool:
        """Return True if the folder exists and is visible."""
        try:
            return self.kind(path) == "folder"
        except ParquetError:
            return False


def is_data(path: str, folder: str) -> bool:
    """Return True if neither the file nor a folder in its path has a name that marks it as no data."""
    folders, _, name = path[len(folder) :].rpartition("/")
    if is_hidden(name, is_folder=False):
        return False
    # Shortcut for the usual case.
    if "/_" not in folders and "/." not in folders and not folders.startswith(("_", ".")):
        return True
    return not any(is_hidden(folder, is_folder=True) for folder in folders.strip("/").split("/"))


def open_store(place: str, options: Mapping[str, str]) -> tuple[Store, str]:
    """Open the store of a path or URI, and return it with the path inside the store.

    Args:
        place: A local path, `s3://bucket/key` or `gs://bucket/name`.
        options: As `lake.storage_options`, secrets resolved: `AWS_REGION`, `AWS_ACCESS_KEY_ID`,
            `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT` (the
            path of a key file). Missing options are taken from where the vendor's own tools look.

    Raises:
        ParquetError: The address is neither a local path nor a supported URI.
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
                f"The region of the bucket {bucket} is not known: {_reason(error)}. Set AWS_REGION."
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

    # Some versions have no type stubs, others have.
    from_file: Any = service_account.Credentials.from_service_account_file
    credentials = from_file(key_file, scopes=["https://www.googleapis.com/auth/devstorage.read_only"])
    credentials.refresh(google.auth.transport.requests.Request())
    return pyarrow.fs.GcsFileSystem(
        access_token=credentials.token, credential_token_expiration=credentials.expiry
    )


def _reason(error: OSError) -> str:
    """The reason of an error in one line of at most 300 characters, without a final full stop."""
    return " ".join(str(error).split())[:300].rstrip(".")
