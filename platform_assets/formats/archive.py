"""Files that contain files: zip, tar, and single compressed files. All levels share one budget."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol, cast

import pyarrow as pa

from platform_assets.formats.isolation import is_about_content, kind_of_error
from platform_assets.formats.problems import ProblemKind
from platform_assets.formats.reading import (
    KIB,
    Budget,
    Corrupt,
    Guarded,
    Item,
    NamePiece,
    Reading,
    Stream,
    TextPiece,
)
from platform_assets.formats.text import read_strings

COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
"""Compressions of single files by their first bytes."""

_STEP = 64 * KIB
_END_OF_DIRECTORY = b"PK\x05\x06"
_ENTRY = 46
_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, NotImplementedError,
    RuntimeError, KeyError, IndexError, OverflowError, struct.error, tarfile.TarError,
)  # fmt: skip
_LARGEST_TAR_HEADER = 1 << 20
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
# APPNOTE.TXT of PKWARE, 4.4.5.
_METHOD_NAMES = {
    1: "shrink", 2: "reduce 1", 3: "reduce 2", 4: "reduce 3", 5: "reduce 4", 6: "implode", 9: "Deflate64",
    10: "PKWARE implode", 16: "IBM CMPSC", 18: "IBM TERSE", 19: "IBM LZ77", 20: "Zstandard, as of old",
    93: "Zstandard", 94: "MP3", 95: "XZ", 96: "JPEG", 97: "WavPack", 98: "PPMd", 99: "AES encryption",
}  # fmt: skip
# Flags of a member: password, strong encryption, masked entry.
_LOCKED = 1 | 1 << 6 | 1 << 13
# A budget for bytes that are counted elsewhere.
_ENDLESS = 1 << 62


class _Decompressor(Protocol):
    eof: bool

    def feed(self, data: bytes, limit: int) -> bytes: ...

    @property
    def rest(self) -> bytes: ...

    @property
    def wants_data(self) -> bool: ...


class _Inflate:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    def feed(self, data: bytes, limit: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, limit)

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data

    @property
    def wants_data(self) -> bool:
        return not self._inner.unconsumed_tail


class _Buffering:
    """A bz2 or lzma decompressor, which buffers unused input itself."""

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return self._inner.eof

    def feed(self, data: bytes, limit: int) -> bytes:
        return self._inner.decompress(data, limit)

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data

    @property
    def wants_data(self) -> bool:
        return self._inner.needs_input


class _Decompressed:
    """The decompressed content of a file, in steps; content before an error is returned."""

    def __init__(self, stream: Stream, new: Callable[[], Any]) -> None:
        self._stream = stream
        self._new = new
        self._inner: _Decompressor = new()
        self._started = False

    def read(self, size: int) -> bytes:
        while True:
            if self._inner.eof:
                rest = self._inner.rest or self._stream.read(_STEP)
                # Zeros may fill up a block or a tape, and another compressed file may follow them.
                while rest and not rest.strip(b"\0"):
                    rest = self._stream.read(_STEP)
                if not rest:
                    return b""
                rest = rest.lstrip(b"\0")
                self._inner = self._new()
            else:
                rest = self._stream.read(_STEP) if self._inner.wants_data else b""
                if not rest and self._inner.wants_data:
                    raise Corrupt(ProblemKind.TRUNCATED, "the compressed file is truncated")
            try:
                data = self._inner.feed(rest, size)
            except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as error:
                raise Corrupt(
                    ProblemKind.CORRUPT, f"decompression failed ({type(error).__name__})"
                ) from error
            if data:
                return data


class _ByArrow:
    """The content of a file that Arrow decompresses."""

    def __init__(self, stream: Stream, codec: str) -> None:
        self._stream = stream
        self._file = pa.CompressedInputStream(
            pa.PythonFile(cast("BinaryIO", Guarded(stream.read, Budget(_ENDLESS, 0))), mode="r"), codec
        )

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._file.read(min(size, 16 * KIB)))
        except (OSError, ValueError) as error:
            is_cut = "Truncated" in str(error)
            raise Corrupt(
                ProblemKind.TRUNCATED if is_cut else ProblemKind.CORRUPT,
                "the compressed file is truncated" if is_cut else "it cannot be decompressed further",
            ) from error


def read_compressed(stream: Stream, reading: Reading, codec: str) -> Iterator[Item]:
    """Read the content of a single compressed file."""
    memory = reading.limits.memory
    read: Callable[[int], bytes]
    if codec == "gzip":
        yield from _gzip_names(stream.head, reading)
    match codec:
        case "gzip":
            read = _Decompressed(stream, _Inflate).read
        case "bzip2":
            read = _Decompressed(stream, lambda: _Buffering(bz2.BZ2Decompressor())).read
        case "xz":
            read = _Decompressed(stream, lambda: _Buffering(lzma.LZMADecompressor(memlimit=memory))).read
        case _:
            read = _ByArrow(stream, codec).read
    yield from reading.part(cast("BinaryIO", Guarded(read, reading.budget)), _inner_name(stream.name, codec))


def _gzip_names(head: bytes, reading: Reading) -> Iterator[Item]:
    """Yield the name and the comment in the header of a gzip file (RFC 1952, 2.3)."""
    if len(head) < 10:
        return
    flags, at = head[3], 10
    if flags & 4:
        at += 2 + int.from_bytes(head[at : at + 2], "little")
    texts = []
    for flag in (8, 16):
        if flags & flag:
            text, _, _ = head[at:].partition(b"\0")
            at += len(text) + 1
            texts.append(text.decode("latin-1"))
    if texts:
        yield NamePiece("\n".join(texts).encode(), reading.container)


def _inner_name(name: str, codec: str) -> str:
    path = PurePosixPath(name)
    if path.suffix.lower() in (".tgz", ".tbz2", ".txz", ".tzst"):
        return path.stem + ".tar"
    if path.suffix.lower() in (".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd", ".lz4"):
        return path.stem
    return f"({codec} content)"


def read_zip(
    stream: Stream, reading: Reading, *, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[Item]:
    """Read the files of a zip file, with their names and comments.

    Args:
        stream: The file.
        reading: The settings of this reading.
        wanted: Returns True for the names of files to read.
    """
    source = stream.random_access()
    try:
        entries = _entries(source)
        if entries * _ENTRY > reading.limits.document:
            yield reading.problem(ProblemKind.TOO_MANY_PARTS, "its directory is larger than allowed")
            return
        source.seek(0)
        archive = zipfile.ZipFile(source)
    except NotImplementedError:
        yield reading.problem(
            ProblemKind.UNSUPPORTED,
            "it needs a newer version of zip than is supported; its strings were read",
        )
        stream.rewind()
        yield from read_strings(stream, reading)
        return
    except _ERRORS as error:
        is_cut = isinstance(error, zipfile.BadZipFile) and not _has_directory(source)
        yield reading.problem(
            ProblemKind.TRUNCATED if is_cut else ProblemKind.CORRUPT,
            "its directory is missing, as it is truncated or damaged; its files were read one by one"
            if is_cut
            else "its directory cannot be read; its strings were read",
        )
        stream.rewind()
        if is_cut:
            yield from _salvaged(stream, reading)
        else:
            yield from read_strings(stream, reading)
        return
    with archive:
        if archive.comment:
            text = archive.comment.decode("utf-8", "replace").encode()
            yield TextPiece(text, (*reading.container, "(comment)"))
        for member in archive.infolist():
            if not wanted(member.filename):
                continue
            if reading.budget.expanded < 0:
                yield reading.within(member.filename).problem(
                    ProblemKind.BOMB, "the limit of unpacked bytes is reached"
                )
                return
            yield from _read_member(archive, member, reading)
        for start, end in _unlisted(archive, source):
            yield reading.problem(
                ProblemKind.CORRUPT,
                f"{end - start:,} bytes of it contain files that its directory does not list; they were read "
                "one by one",
            )
            source.seek(start)
            yield from _salvaged(Stream(cast("BinaryIO", _Region(source, end)), stream.name), reading)


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, reading: Reading) -> Iterator[Item]:
    yield NamePiece(member.filename.encode(errors="replace"), reading.container)
    if member.is_dir():
        return
    within = reading.within(member.filename)
    if member.comment:
        text = member.comment.decode("utf-8", "replace").encode()
        yield TextPiece(text, (*within.container, "(comment)"))
    if member.flag_bits & _LOCKED:
        yield within.problem(ProblemKind.ENCRYPTED, "the file is protected by a password")
        return
    if member.compress_type not in _METHODS:
        yield within.problem(ProblemKind.UNSUPPORTED, _unsupported(member.compress_type))
        return
    try:
        with archive.open(member) as file:
            guarded = Guarded(_translated(file.read), reading.budget)
            yield from reading.part(cast("BinaryIO", guarded), member.filename, member.file_size)
    except NotImplementedError:
        yield within.problem(ProblemKind.UNSUPPORTED, "it uses an unsupported feature of zip files")
    except _ERRORS as error:
        yield within.problem(ProblemKind.CORRUPT, f"it cannot be opened ({type(error).__name__})")
    except BaseException as error:
        if not is_about_content(error):
            raise
        yield within.problem(ProblemKind.FAILED, f"it cannot be opened ({kind_of_error(error)})")


def _unlisted(archive: zipfile.ZipFile, source: BinaryIO) -> Iterator[tuple[int, int]]:
    """Find files that the directory does not list, as in concatenated zip files."""
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    places = [
        (0, 0, 0),
        *((member.header_offset, len(member.orig_filename), member.compress_size) for member in members),
    ]
    ends = [*(start for start, _, _ in places[1:]), archive.start_dir]
    for (start, name, size), end in zip(places, ends, strict=True):
        after = start + (30 + name if size or name else 0) + size
        if end - after < 30:
            continue
        if start or size or name:
            source.seek(start + 26)
            after = start + 30 + sum(struct.unpack("<HH", source.read(4))) + size
        source.seek(min(after, end))
        at = source.read(min(max(end - after, 0), _STEP)).find(b"PK\x03\x04")
        if at >= 0:
            yield after + at, end


class _Region(io.RawIOBase):
    """A file up to a place."""

    def __init__(self, source: BinaryIO, end: int) -> None:
        super().__init__()
        self._source = source
        self._at, self._end = source.tell(), end

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        left = self._end - self._at
        self._source.seek(self._at)
        data = self._source.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data


def _unsupported(method: int) -> str:
    name = _METHOD_NAMES.get(method, "of an unknown name")
    return (
        f"it is compressed by method {method} ({name}), which is not supported; nothing of it was inspected"
    )


def _translated(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def translated(size: int) -> bytes:
        try:
            return read(size)
        except _ERRORS as error:
            if isinstance(error, EOFError):
                raise Corrupt(ProblemKind.TRUNCATED, "the compressed data is truncated") from error
            raise Corrupt(
                ProblemKind.CORRUPT, f"reading stopped before its end ({type(error).__name__})"
            ) from error

    return translated


def _has_directory(source: BinaryIO) -> bool:
    source.seek(0, 2)
    source.seek(max(source.tell() - 66 * KIB, 0))
    return _END_OF_DIRECTORY in source.read()


def _entries(source: BinaryIO) -> int:
    """The number of files in a zip file's end record, read before Python loads the directory."""
    source.seek(0, 2)
    size = source.tell()
    source.seek(max(size - 66 * KIB, 0))
    tail = source.read()
    at = tail.rfind(_END_OF_DIRECTORY)
    if at < 0 or len(tail) < at + 20:
        return 0
    _, directory = struct.unpack_from("<HI", tail, at + 10)
    if directory == 0xFFFFFFFF:
        at64 = tail.rfind(b"PK\x06\x06")
        if at64 >= 0 and len(tail) >= at64 + 48:
            (directory,) = struct.unpack_from("<Q", tail, at64 + 40)
    return int(min(directory, size)) // _ENTRY


def _salvaged(stream: Stream, reading: Reading) -> Iterator[Item]:
    """Files of a zip file without a directory, found by their headers, as long as the headers have sizes."""
    while len(header := _exactly(stream, 30)) == 30 and header.startswith(b"PK\x03\x04"):
        flags, method = struct.unpack_from("<HH", header, 6)
        size, _, name_size, extra_size = struct.unpack_from("<IIHH", header, 18)
        name = _exactly(stream, name_size).decode("utf-8", "replace")
        _exactly(stream, extra_size)
        yield NamePiece(name.encode(), reading.container)
        if name.endswith("/"):
            continue
        source: Any = _LimitedStream(stream, size if size or not flags & 8 else None)
        if flags & _LOCKED or method not in (0, 8):
            within = reading.within(name)
            if flags & _LOCKED:
                yield within.problem(ProblemKind.ENCRYPTED, "the file is protected by a password")
            else:
                yield within.problem(ProblemKind.UNSUPPORTED, _unsupported(method))
            if not size and flags & 8:
                return
            source.skip()
            continue
        read = source.read if method == 0 else _Decompressed(source, _RawInflate).read
        yield from reading.part(cast("BinaryIO", Guarded(read, reading.budget)), name)
        if not size and flags & 8:
            # The size follows the content, so the start of the next file is unknown.
            yield from read_strings(stream, reading)
            return
        source.skip()


class _RawInflate(_Inflate):
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(-15)


class _LimitedStream:
    """A limited number of bytes of a stream."""

    def __init__(self, stream: Stream, size: int | None) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int) -> bytes:
        data = self._stream.read(size if self._left is None else min(size, self._left))
        if self._left is not None:
            self._left -= len(data)
        return data

    def skip(self) -> None:
        while self.read(_STEP):
            pass


def _exactly(stream: Stream, size: int) -> bytes:
    data = b""
    while len(data) < size and (chunk := stream.read(size - len(data))):
        data += chunk
    return data


def looks_like_tar(head: bytes) -> bool:
    """Return True if a file starts with a tar header with a valid checksum."""
    if len(head) < tarfile.BLOCKSIZE or not head.strip(b"\0"):
        return False
    try:
        return bool(tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "replace").name)
    except tarfile.HeaderError:
        return False


def read_tar(stream: Stream, reading: Reading) -> Iterator[Item]:
    """Read the files of a tar file, in the order of the file."""
    forward = _Forward(stream)
    problem: tuple[ProblemKind, str] | None = None
    try:
        archive = tarfile.TarFile(
            fileobj=cast("BinaryIO", forward), mode="r", encoding="utf-8", errors="replace"
        )
    except _ERRORS:
        yield reading.problem(ProblemKind.CORRUPT, "it cannot be read as a tar file; its strings were read")
        yield from read_strings(stream, reading)
        return
    while True:
        try:
            member = archive.next()
        except Corrupt as error:
            problem = (error.kind, str(error))
            break
        except _ERRORS:
            # A truncated file is reported below.
            problem = None if forward.is_at_end else (ProblemKind.CORRUPT, "reading stopped here")
            break
        if member is None:
            break
        # The archive would keep every member in memory.
        archive.members = []  # type: ignore[attr-defined]
        names = [member.name, member.linkname, *(f"{k}={v}" for k, v in member.pax_headers.items())]
        yield NamePiece("\n".join(filter(None, names)).encode(errors="replace"), reading.container)
        # A type that is not known is a file's, as tar itself takes it (POSIX, pax, typeflag).
        if not member.isreg() and member.type in tarfile.SUPPORTED_TYPES:
            continue
        file = archive.extractfile(member)
        if file is None:
            continue
        # A sparse file can expand far beyond the archive; other members are not larger than the archive,
        # which was counted.
        budget = reading.budget if member.issparse() else Budget(_ENDLESS, 0)
        guarded = Guarded(_translated(file.read), budget)
        yield from reading.part(cast("BinaryIO", guarded), member.name, member.size)
        if reading.budget.expanded < 0:
            return
    if problem is None and forward.saw_end:
        yield from _behind_the_end(stream, reading)
    if problem is None and not forward.saw_end:
        problem = (
            (ProblemKind.TRUNCATED, "the tar file is truncated")
            if forward.is_at_end
            else (ProblemKind.CORRUPT, "a header of the tar file is damaged; the rest was not read")
        )
    if problem is not None:
        yield reading.problem(*problem)


def _behind_the_end(stream: Stream, reading: Reading) -> Iterator[Item]:
    """The content after the blocks that end a tar file: mostly nothing, but possibly another tar file."""
    for chunk in stream.chunks():
        rest = chunk.lstrip(b"\0")
        if rest:
            break
    else:
        return
    file = _Rest(rest, stream)
    if looks_like_tar(rest):
        yield from reading.part(cast("BinaryIO", file), "(behind the end).tar")
        return
    yield reading.problem(
        ProblemKind.UNSUPPORTED,
        "the data after the end of the tar file is not a tar file; its strings were read",
    )
    yield from read_strings(Stream(cast("BinaryIO", file), stream.name), reading)


class _Rest(io.RawIOBase):
    """The rest of a stream that was partly read."""

    def __init__(self, taken: bytes, stream: Stream) -> None:
        super().__init__()
        self._taken = taken
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._taken:
            data, self._taken = self._taken[:size], self._taken[size:]
            return data
        return self._stream.read(size)


class _Forward(io.RawIOBase):
    """A forward-only stream as the file that tarfile needs: with a position, seeking by reading on."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream
        self._at = 0
        self.saw_end = False
        self.is_at_end = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence != 0 or offset < self._at:
            raise OSError("a stream can only be read forward")
        while self._at < offset and (data := self._stream.read(min(offset - self._at, _STEP))):
            self._at += len(data)
        self.is_at_end = self._at < offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        if size > _LARGEST_TAR_HEADER:
            raise Corrupt(ProblemKind.BOMB, "a header of the tar file is too large")
        data = _exactly(self._stream, max(size, 0))
        self._at += len(data)
        self.is_at_end = len(data) < size
        # Two blocks of zeros end a tar file; tarfile stops at the first.
        if size == tarfile.BLOCKSIZE and len(data) == size and not data.strip(b"\0"):
            self.saw_end = True
        return data
