"""Staging: rendered files on local disk, so that every destination gets the same bytes and a retry resumes.

A folder for each delivery of each version. It counts once its list of files is written; what a crash has left
is removed by the next run of the delivery.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Protocol

from platform_assets.delivery.interfaces import (
    Bytes,
    DeliveryError,
    DestinationUnavailable,
    NothingToDeliver,
    StagedFile,
    Stamp,
)
from platform_assets.delivery.writers.content import sha256_of
from platform_assets.errors import path_error
from platform_assets.processes import write_whole
from platform_assets.stored import STAGED, format_version

_COMPLETE, _MANIFEST = "complete.json", "manifest"
_CHUNK = 1024 * 1024
# File systems take the times of changes from a clock that may stand still this long, in nanoseconds.
_CLOCK_STEP = 50_000_000


@dataclass(frozen=True)
class LocalState:
    """The marks by which a change of a local file is noticed.

    Attributes:
        size: Bytes.
        modified: Time of the last change of the content, in nanoseconds; programs can set it.
        changed: Time of the last change of the content or of anything about the file; nobody can set it.
        inode: Its place on the disk.
        is_settled: False if the file was changed so lately that a further change could leave the times equal.
    """

    size: int
    modified: int
    changed: int
    inode: int
    is_settled: bool

    @classmethod
    def of(cls, path: Path) -> LocalState:
        """Look at a file."""
        now, found = time.time_ns(), path.stat()
        is_settled = max(found.st_mtime_ns, found.st_ctime_ns) < now - _CLOCK_STEP
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, is_settled)

    def holds(self, file: StagedFile) -> bool:
        """Return whether a file still has the content that was staged; it is read if the marks are no proof.

        Args:
            file: The file, whose state this was before its checksum was computed.
        """
        try:
            now = LocalState.of(file.path)
            if now.size != self.size:
                return False
            if self.is_settled and replace(now, is_settled=True) == self:
                return True
            return sha256_of(file.path) == file.sha256
        except OSError:
            return False


@dataclass(frozen=True)
class StagedData:
    """The files of a delivery, ready to be sent.

    Attributes:
        files: The files.
        version: A checksum of the data that they were rendered from; empty if it was not asked for.
        columns: The names in the data that rules of the policy apply to, as `DataReading` found them.
        originals: The state of each file that is not a copy, by its path.
    """

    files: tuple[StagedFile, ...]
    version: str
    columns: tuple[tuple[str, ...], ...]
    originals: dict[Path, LocalState]

    def check_unchanged(self, file: StagedFile) -> None:
        """Raise an error if a file that is not a copy has changed since its checksum was computed.

        Raises:
            DestinationUnavailable: It has changed; the next attempt delivers its new content.
        """
        before = self.originals.get(file.path)
        if before is None:
            return
        if not before.holds(file):
            raise DestinationUnavailable(
                f"The file {file.path} changed while it was sent. The next run delivers its new content; "
                "write such files under another name and rename them, and none is ever sent half."
            )


class DataRead(Protocol):
    """Facts about data that are known once it has been read."""

    @property
    def version(self) -> str:
        """Its checksum."""
        ...

    @property
    def columns(self) -> Sequence[tuple[str, ...]]:
        """The names in it that rules apply to."""
        ...


@dataclass(frozen=True)
class Naming:
    """Names of delivered files.

    Args:
        name: Returns the name of a file, from the delivery, the name that it was rendered with, its number
            from 1, and its number of rows.
        manifest: Returns the name and the content of a further file that lists the others; None for no such
            file.
    """

    name: Callable[[Stamp, str, int, int | None], str]
    manifest: Callable[[Sequence[StagedFile], Stamp], tuple[str, bytes]] | None = None


@dataclass(frozen=True)
class Staging:
    """The folder of one delivery's staged files.

    Args:
        folder: The folder; it has a folder for each version.
        limit: The most bytes of one version.
    """

    folder: Path
    limit: int

    def stage(
        self, files: Iterable[Bytes], stamp: Stamp, variant: str, data: DataRead, naming: Naming
    ) -> StagedData:
        """Write rendered files to the staging folder.

        Args:
            files: The files, each read before the next is asked for.
            stamp: The delivery that they are part of.
            variant: Name of the variant of the data, for destinations with rules of their own.
            data: The data; asked when all files have been written.
            naming: Names the files.

        Raises:
            DeliveryError: Two files have the same name, or a name cannot be used, or they are too large.
            FullDisk: The disk is full.
        """
        folder = self.folder / stamp.uuid / variant
        shutil.rmtree(folder, ignore_errors=True)
        written: list[StagedFile] = []
        originals: dict[Path, LocalState] = {}
        try:
            folder.mkdir(parents=True)
            size = 0
            for number, source_file in enumerate(files):
                if source_file.path is not None and self._is_original(source_file):
                    originals[source_file.path] = LocalState.of(source_file.path)
                file = self._written(source_file, folder / f"{number:06d}", stamp, self.limit - size)
                size += 0 if file.path in originals else file.size
                written.append(file)
            if not written:
                raise NothingToDeliver(
                    f"The delivery {stamp.delivery} has no file: its source has no data. Check the source."
                )
            stamp = replace(stamp, version=stamp.version or data.version)
            staged = _named(written, stamp, naming)
            if naming.manifest is not None:
                given, content = naming.manifest(staged, stamp)
                listed = Bytes(given, iter([content]), content_type="application/json")
                file = self._written(listed, folder / _MANIFEST, stamp, self.limit)
                staged += _named([file], stamp, naming, taken=[file.name for file in staged])
            done = StagedData(tuple(staged), data.version, tuple(data.columns), originals)
            write_whole(folder / _COMPLETE, json.dumps(_listed(done)).encode())
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError) and (known := path_error(_with_path(error, folder))) is not None:
                raise known from error
            raise
        return done

    def _written(self, content: Bytes, target: Path, stamp: Stamp, left: int) -> StagedFile:
        """Write a file and compute its checksums; a local file is only read."""
        sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        in_place = self._is_original(content)
        chunks = content.chunks if content.path is None else chunks_of(content.path)
        with open(os.devnull if in_place else target, "wb") as sink:
            for chunk in chunks:
                size += len(chunk)
                if not in_place and size > left:
                    raise DeliveryError(
                        f"The files of {stamp.delivery} take more than {self.limit // 2**20:,} MB on local "
                        "disk. Raise delivery.staging_limit_mb, or deliver less."
                    )
                sha256.update(chunk)
                md5.update(chunk)
                sink.write(chunk)
        checksums = sha256.hexdigest(), md5.hexdigest()
        place, rows = content.path if in_place and content.path is not None else target, content.row_count()
        return StagedFile(place, content.name, size, *checksums, rows, content.content_type, stamp)

    def _is_original(self, content: Bytes) -> bool:
        """Return True if the content is a file of the user's, which need not be copied."""
        return content.path is not None and not content.path.is_relative_to(self.folder)

    @contextmanager
    def workshop(self, stamp: Stamp, variant: str) -> Iterator[Path]:
        """The path of a folder for files that are needed while others are rendered; removed after the block.

        Most deliveries need none, and to remove a folder takes longer than anything else of staging: it is
        created by what needs it.
        """
        folder = self.folder / stamp.uuid / f"{variant}.work"
        try:
            yield folder
        except OSError as error:
            raise path_error(_with_path(error, folder)) or error from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def found(self, stamp: Stamp, variant: str) -> StagedData | None:
        """Return the files that an earlier run has staged completely; None if there are none, or no longer.

        Args:
            stamp: The delivery.
            variant: The variant of the data.

        Raises:
            DeliveryError: Another version of the platform has staged them.
        """
        folder = self.folder / stamp.uuid / variant
        try:
            listed = json.loads((folder / _COMPLETE).read_bytes())
            if reason := STAGED.refusal(format_version(listed), str(folder)):
                raise DeliveryError(reason)
            stamp = replace(stamp, version=stamp.version or listed["version"])
            files = tuple(
                StagedFile(Path(path), name, size, sha256, md5, rows, content_type, stamp)
                for path, name, size, sha256, md5, rows, content_type in listed["files"]
            )
            originals = {Path(path): LocalState(*state) for path, state in listed["originals"].items()}
            columns = tuple(tuple(names) for names in listed["columns"])
            staged = StagedData(files, listed["version"], columns, originals)
            # A power cut may have kept the list and lost what was written before it.
            if all(_is_there(file, originals) for file in files):
                return staged
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return None

    def remove(self, uuid: str) -> None:
        """Remove what is left of one version."""
        if (self.folder / uuid).is_dir():
            shutil.rmtree(self.folder / uuid, ignore_errors=True)
            self._remove_empty()

    def remove_others(self, uuid: str) -> None:
        """Remove what is left of other versions than this; all if empty."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name != uuid:
                    shutil.rmtree(path, ignore_errors=True)
            self._remove_empty()

    def _remove_empty(self) -> None:
        # Another run may have begun to fill the folder.
        with suppress(OSError):
            self.folder.rmdir()


def staged_lists(folder: Path) -> list[Path]:
    """Return the lists of completely staged files, of all deliveries in a folder."""
    return sorted(folder.glob(f"*/*/*/{_COMPLETE}"))


def local_files(staging: Staging, files: Mapping[str, Path], generator: str) -> StagedData:
    """Files of this machine as they are, ready to be sent.

    The uuid of each is made of its name and content: the same file again is known where it has arrived.

    Args:
        staging: Where their list is kept.
        files: The files by their name at the destination.
        generator: Name and version of the program.
    """
    names = list(files)
    stamp = Stamp("upload", "Upload", generator, str(uuid.uuid4()), dt.datetime.now(dt.UTC), "")
    content = (Bytes(name, iter(()), path=path) for name, path in files.items())
    naming = Naming(lambda _stamp, given, _number, _rows: given)
    staged = staging.stage(content, stamp, "files", _AsTheyAre("", [(name,) for name in names]), naming)
    own = (str(uuid.uuid5(uuid.NAMESPACE_URL, f"{file.name}\n{file.sha256}")) for file in staged.files)
    marked = (
        replace(file, stamp=replace(stamp, uuid=mark)) for file, mark in zip(staged.files, own, strict=True)
    )
    return replace(staged, files=tuple(marked))


@dataclass(frozen=True)
class _AsTheyAre:
    """See `DataRead`."""

    version: str
    columns: Sequence[tuple[str, ...]]


def _named(
    files: Sequence[StagedFile], stamp: Stamp, naming: Naming, taken: Sequence[str] = ()
) -> list[StagedFile]:
    """The files with the names that they get at their destinations."""
    named: list[StagedFile] = []
    names = set(taken)
    for number, file in enumerate(files, 1):
        name = naming.name(stamp, file.name, number, file.rows)
        if name in names:
            raise DeliveryError(
                f"Two files of the delivery would be named {name}. Put {{part}} or {{name}} into the "
                "delivery's key file, so that their names differ."
            )
        names.add(name)
        named.append(replace(file, name=name, stamp=stamp))
    return named


def chunks_of(path: Path) -> Iterator[bytes]:
    """The content of a file in chunks."""
    with open(path, "rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk


def _is_there(file: StagedFile, originals: Mapping[Path, LocalState]) -> bool:
    if file.path in originals:
        return originals[file.path].holds(file)
    return sha256_of(file.path) == file.sha256


def _with_path(error: OSError, folder: Path) -> OSError:
    """The error with a path: writes to an open file fail without one."""
    if error.filename is None and error.errno is not None:
        return OSError(error.errno, error.strerror, str(folder))
    return error


def _listed(staged: StagedData) -> dict[str, object]:
    return {
        "format": STAGED.version,
        "version": staged.version,
        "columns": staged.columns,
        "files": [
            [str(file.path), file.name, file.size, file.sha256, file.md5, file.rows, file.content_type]
            for file in staged.files
        ],
        "originals": {str(path): astuple(original) for path, original in staged.originals.items()},
    }
