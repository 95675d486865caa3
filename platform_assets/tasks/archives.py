"""Archives: written so that the same files give the same bytes, and read without trusting them."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, cast

from platform_assets.tasks.publishing import set_executable
from platform_assets.tasks.task import TaskError

ArchiveKind = Literal["gz", "zst", "zip"]
_SUFFIXES: dict[str, ArchiveKind] = {".tar.gz": "gz", ".tgz": "gz", ".tar.zst": "zst", ".zip": "zip"}
_CHUNK = 1 << 20
_LEVEL = 6
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold."""
_HEADERS = 4_096
"""Bytes of a tar for each file beside its content: headers and padding."""
_LONGEST_NAME = 4_096


@dataclass(frozen=True)
class ArchiveLimits:
    """Limits of the files that may come out of an archive.

    Attributes:
        files: Number of files and folders.
        bytes: Bytes of all files together.
    """

    files: int
    bytes: int


def archive_kind(file: Path) -> ArchiveKind:
    """Return the kind of an archive by its suffix.

    Raises:
        TaskError: It has none of the known suffixes.
    """
    for suffix, kind in _SUFFIXES.items():
        if file.name.lower().endswith(suffix):
            return kind
    raise TaskError(f"{file} has an unknown suffix. Use one of {', '.join(_SUFFIXES)}.")


def write_archive(target: Path, kind: ArchiveKind, files: Sequence[tuple[str, Path]]) -> None:
    """Write an archive; only names, bytes and the right to execute count, no times and owners.

    Args:
        target: The file to write.
        kind: The kind.
        files: Names in the archive, in order, with their files.
    """
    if kind == "zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as packed:
            for name, file in files:
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system = 3
                entry.external_attr = (stat.S_IFREG | _mode(file)) << 16
                entry.file_size = file.stat().st_size
                with file.open("rb") as content, packed.open(entry, "w") as inner:
                    shutil.copyfileobj(content, inner, _CHUNK)
        return
    with (
        _compressed(target, kind) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as packed_tar,
    ):
        for name, file in files:
            with file.open("rb") as content:
                member = tarfile.TarInfo(name)
                member.size, member.mode = os.fstat(content.fileno()).st_size, _mode(file)
                packed_tar.addfile(member, content)


def _mode(file: Path) -> int:
    return 0o755 if file.stat().st_mode & 0o100 else 0o644


@contextlib.contextmanager
def _compressed(target: Path, kind: ArchiveKind) -> Iterator[IO[bytes]]:
    if kind == "gz":
        with target.open("wb") as raw, gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as stream:
            yield cast("IO[bytes]", stream)
        return
    import pyarrow as pa

    with pa.OSFile(str(target), "wb") as raw, pa.CompressedOutputStream(raw, "zstd") as stream:
        yield stream


def extract_archive(source: Path, kind: ArchiveKind, target: Path, limits: ArchiveLimits) -> None:
    """Extract the files of an archive into an empty folder.

    Args:
        source: The archive.
        kind: Its kind.
        target: The folder.
        limits: What may come out.

    Raises:
        TaskError: It is damaged, or has what must not be extracted; the folder may have a part of the files.
    """
    try:
        if kind == "zip":
            _extract_zip(source, target, limits)
        else:
            _extract_tar(source, kind, target, limits)
    except (
        tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError, NotImplementedError
    ) as error:  # fmt: skip
        raise TaskError(f"{source} is damaged or no such archive: {error}. Get it again.") from None
    except OSError as error:
        if error.errno is not None:
            raise
        # pyarrow reports damaged data so.
        raise TaskError(f"{source} is damaged or no such archive: {error}. Get it again.") from None


def _extract_zip(source: Path, target: Path, limits: ArchiveLimits) -> None:
    left = _Left(source, limits)
    with zipfile.ZipFile(source) as packed:
        for entry in packed.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise left.refused(entry.filename, "a link or a special file")
            if entry.flag_bits & 0x1:
                raise TaskError(f"{source} is encrypted, which is not supported.")
            place = left.place(target, entry.filename)
            if entry.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            with packed.open(entry) as content:
                left.write(content, place, executable=bool((entry.external_attr >> 16) & 0o100))


def _extract_tar(source: Path, kind: ArchiveKind, target: Path, limits: ArchiveLimits) -> None:
    left = _Left(source, limits)
    with _decompressed(source, kind) as raw:
        bounded = _Bounded(raw, limits.bytes + _HEADERS * (limits.files + 16), left)
        with tarfile.open(fileobj=cast("IO[bytes]", bounded), mode="r|") as packed:
            for member in packed:
                if not (member.isreg() or member.isdir()):
                    raise left.refused(member.name, "a link or a special file")
                place = left.place(target, member.name)
                if member.isdir():
                    place.mkdir(parents=True, exist_ok=True)
                    continue
                content = packed.extractfile(member)
                if content is not None:
                    left.write(content, place, executable=bool(member.mode & 0o100))


@contextlib.contextmanager
def _decompressed(source: Path, kind: ArchiveKind) -> Iterator[Any]:
    if kind == "gz":
        with gzip.open(source) as stream:
            yield stream
        return
    import pyarrow as pa

    with pa.OSFile(str(source), "rb") as raw, pa.CompressedInputStream(raw, "zstd") as stream:
        yield stream


class _Left:
    """The rest of the limits of an archive."""

    def __init__(self, source: Path, limits: ArchiveLimits) -> None:
        self._source = source
        self._limits = limits
        self._files = 0
        self._bytes = 0
        self._names: set[str] = set()

    def refused(self, name: str, reason: str) -> TaskError:
        return TaskError(
            f"{self._source} is refused: {name[:200]!r} in it is {reason}. Nothing was unpacked; ask who "
            "made it."
        )

    def too_much(self) -> TaskError:
        return TaskError(
            f"{self._source} is refused: it unpacks to more than {self._limits.files:,} files or "
            f"{self._limits.bytes >> 20:,} MB. Nothing was unpacked; if that is right, raise max_files or "
            "max_mb."
        )

    def place(self, target: Path, name: str) -> Path:
        """Return where an entry goes; it counts as one of the files."""
        self._files += 1
        if self._files > self._limits.files:
            raise self.too_much()
        path = PurePosixPath(name)
        if (
            path.is_absolute()
            or ".." in path.parts
            or "\0" in name
            or len(name) > _LONGEST_NAME
            or not path.parts
        ):
            if not path.parts and name.strip("./") == "":
                return target
            raise self.refused(name, "outside of the target")
        if str(path) in self._names and not name.endswith("/"):
            raise self.refused(name, "there twice")
        self._names.add(str(path))
        return target / path

    def write(self, content: Any, place: Path, *, executable: bool) -> None:
        """Write a file, as long as the limit allows."""
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as written:
            while chunk := content.read(_CHUNK):
                self._bytes += len(chunk)
                if self._bytes > self._limits.bytes:
                    raise self.too_much()
                written.write(chunk)
        set_executable(place, executable=executable)


class _Bounded:
    """A stream that ends with an error after so many bytes: headers of a tar can be as large as they like."""

    def __init__(self, stream: Any, limit: int, left: _Left) -> None:
        self._stream = stream
        self._limit = limit
        self._left = left

    def read(self, size: int = -1) -> bytes:
        chunk: bytes = self._stream.read(min(size, _CHUNK) if size >= 0 else _CHUNK)
        self._limit -= len(chunk)
        if self._limit < 0:
            raise self._left.too_much()
        return chunk
