"""Avro object container files, read block by block by this module, so that no block exceeds the limit."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate, islice
from typing import Any, TypeAlias

import pyarrow as pa

from platform_assets.formats.problems import ProblemKind
from platform_assets.formats.reading import Item, Reading, Stream, TextPiece, Unit, sampled
from platform_assets.formats.text import read_strings
from platform_assets.formats.trees import Tables

MAGIC = b"Obj\x01"
_LONGEST_VARINT = 10
_LARGEST_HEADER = 4 << 20
_SHARE_OF_BLOCK = 8
_MOST_AT_ONCE = 1 << 16
_SYNC = bytes(16)
# Errors that fastavro raises for bytes that do not match the schema.
_UNDECODABLE = (
    ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError, RuntimeError, AttributeError,
    StopIteration,
)  # fmt: skip

_Block: TypeAlias = tuple[int, bytes]
"""A number of records, and their bytes."""


class _Broken(Exception):
    """The file violates the format."""

    def __init__(self, what: str, kind: ProblemKind = ProblemKind.CORRUPT) -> None:
        super().__init__(what)
        self.kind = kind


def read_avro(stream: Stream, reading: Reading) -> Iterator[Item]:
    """Read the records of an Avro file."""
    import fastavro

    try:
        header = _header(stream)
        codec = header.get("avro.codec", b"null").decode("ascii", "replace")
        declared = json.loads(header["avro.schema"])
        if not _has_size(fastavro.parse_schema(declared), frozenset()):
            raise _Broken("its schema allows any number of values in no bytes", ProblemKind.UNSUPPORTED)
    except (_Broken, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        yield from _as_strings(stream, reading, "its Avro header cannot be read", error)
        return
    except fastavro.schema.SchemaParseException as error:
        yield from _as_strings(stream, reading, "its Avro schema cannot be read", error)
        return
    own = [f"{key}: ".encode() + value for key, value in header.items() if not key.startswith("avro.")]
    if own:
        text = b"\n".join(own).decode("utf-8", "replace").encode()
        yield TextPiece(text, (*reading.container, "(metadata)"))
    schema = json.dumps(declared).encode()
    failures: list[tuple[ProblemKind, str]] = []

    def units() -> Iterator[Unit]:
        failures.clear()
        if stream.is_rewindable:
            stream.rewind()
            _header(stream)
        group: list[_Block] = []
        first_row, rows, size = 0, 0, 0
        try:
            for count, data in _blocks(stream, header["sync"], reading.limits.document):
                group.append((count, data))
                rows += count
                size += len(data)
                if size >= reading.limits.block // _SHARE_OF_BLOCK:
                    yield Unit(partial(_records, group, first_row, codec, schema, reading, failures), rows)
                    first_row += rows
                    group, rows, size = [], 0, 0
        except _Broken as error:
            failures.append((error.kind, str(error)))
        if group:
            yield Unit(partial(_records, group, first_row, codec, schema, reading, failures), rows)

    yield from sampled(units, stream, reading)
    if failures:
        kind, what = failures[0]
        yield reading.problem(kind, f"{what}; the strings of the other blocks were read")
        if stream.is_rewindable:
            stream.rewind()
        yield from read_strings(stream, reading)


def _as_strings(stream: Stream, reading: Reading, what: str, error: Exception) -> Iterator[Item]:
    kind = error.kind if isinstance(error, _Broken) else ProblemKind.CORRUPT
    yield reading.problem(kind, f"{what}; its strings were read")
    if stream.is_rewindable:
        stream.rewind()
    yield from read_strings(stream, reading)


def _records(
    blocks: Sequence[_Block],
    first_row: int,
    codec: str,
    schema: bytes,
    reading: Reading,
    failures: list[tuple[ProblemKind, str]],
) -> Iterator[Item]:
    """The records of blocks, as many blocks at once as may be decompressed in memory."""
    held: list[_Block] = []
    size, row = 0, first_row
    for count, data in blocks:
        try:
            block = _decompressed(data, codec, reading.limits.document)
        except _Broken as error:
            failures.append((error.kind, str(error)))
            yield from _decoded(held, row, schema, reading, failures)
            row += sum(rows for rows, _ in held) + count
            held, size = [], 0
            continue
        held.append((count, block))
        size += len(block)
        if size >= reading.limits.block // 4:
            yield from _decoded(held, row, schema, reading, failures)
            row += sum(rows for rows, _ in held)
            held, size = [], 0
    yield from _decoded(held, row, schema, reading, failures)


def _decoded(
    blocks: Sequence[_Block],
    first_row: int,
    schema: bytes,
    reading: Reading,
    failures: list[tuple[ProblemKind, str]],
) -> Iterator[Item]:
    """The records of blocks; of a broken block, those before the error."""
    import fastavro

    tables = Tables(reading.container, reading.column_words)
    while blocks:
        ends = list(accumulate(count for count, _ in blocks))
        size = sum(len(block) for _, block in blocks)
        # Records may take no bytes at all.
        at_once = min(ends[-1] * (reading.limits.block // _SHARE_OF_BLOCK) // max(size, 1) + 1, _MOST_AT_ONCE)
        # Decode a small file made of these blocks, because one call per record would be slow.
        records = iter(fastavro.reader(_file_of(schema, blocks)))
        taken, failed = 0, False
        while taken < ends[-1] and not failed:
            batch: list[Any] = []
            try:
                batch.extend(islice(records, at_once))
                failed = not batch
            except _UNDECODABLE as error:
                failed = True
                what = f"a block cannot be read as records ({type(error).__name__})"
                failures.append((ProblemKind.CORRUPT, what))
            yield from tables.pieces(batch, first_row + taken)
            taken += len(batch)
        broken = bisect_right(ends, taken) if failed else len(blocks)
        first_row += ends[min(broken, len(ends) - 1)]
        blocks = blocks[broken + 1 :]


def _file_of(schema: bytes, blocks: Iterable[_Block]) -> io.BytesIO:
    """An uncompressed Avro file made of some blocks."""
    file = io.BytesIO()
    file.write(MAGIC + _number(2))
    for text in (b"avro.schema", schema, b"avro.codec", b"null"):
        file.write(_number(len(text)) + text)
    file.write(_number(0) + _SYNC)
    for count, block in blocks:
        file.write(_number(count) + _number(len(block)) + block + _SYNC)
    file.seek(0)
    return file


def _number(value: int) -> bytes:
    """A non-negative number in Avro's encoding."""
    value <<= 1
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _header(stream: Stream) -> dict[str, bytes]:
    if stream.read(len(MAGIC)) != MAGIC:
        raise _Broken("it does not start as an Avro file")
    entries: dict[str, bytes] = {}
    taken = 0
    while count := _varint(stream):
        if count < 0:
            count = -count
            _varint(stream)
        for _ in range(count):
            key = _sized(stream, _LARGEST_HEADER - taken).decode("utf-8", "replace")
            entries[key] = _sized(stream, _LARGEST_HEADER - taken)
            taken += len(key) + len(entries[key]) + 2
    entries["sync"] = _exactly(stream, 16)
    return entries


def _blocks(stream: Stream, sync: bytes, limit: int) -> Iterator[tuple[int, bytes]]:
    while first := stream.read(1):
        count = _varint(stream, first)
        size = _varint(stream)
        if count < 0 or size < 0 or count > max(size, 1) * 4_096:
            raise _Broken("a block has an invalid size")
        if size > limit:
            raise _Broken(f"a block is larger than {limit:,} bytes", ProblemKind.TOO_LARGE)
        yield count, _exactly(stream, size)
        if _exactly(stream, 16) != sync:
            raise _Broken("a block does not end with the file's sync marker")


def _varint(stream: Stream, first: bytes = b"") -> int:
    value = 0
    for place in range(_LONGEST_VARINT):
        byte = first if place == 0 and first else _exactly(stream, 1)
        value |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            return (value >> 1) ^ -(value & 1)
    raise _Broken("a number is too long")


def _sized(stream: Stream, limit: int) -> bytes:
    size = _varint(stream)
    if not 0 <= size <= limit:
        raise _Broken("its header is too large")
    return _exactly(stream, size)


def _exactly(stream: Stream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = stream.read(size - len(data))
        if not chunk:
            raise _Broken("the file ends within a block", ProblemKind.TRUNCATED)
        data += chunk
    return bytes(data)


def _decompressed(data: bytes, codec: str, limit: int) -> bytes:
    """The decompressed content of a block.

    Raises:
        _Broken: The block exceeds the limit, or is not valid in its compression.
    """
    try:
        match codec:
            case "null":
                return data
            case "deflate":
                inflater = zlib.decompressobj(-15)
                return _within(inflater.decompress(data, limit + 1), limit)
            case "bzip2":
                return _within(bz2.BZ2Decompressor().decompress(data, limit + 1), limit)
            case "xz":
                return _within(lzma.LZMADecompressor(memlimit=limit).decompress(data, limit + 1), limit)
            case "zstandard":
                with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as source:
                    return _within(source.read(limit + 1), limit)
            case "snappy":
                size = _snappy_size(data)
                if size > limit:
                    raise _Broken(f"a block is larger than {limit:,} bytes", ProblemKind.TOO_LARGE)
                # The last four bytes are a checksum of the decompressed content.
                return bytes(pa.decompress(data[:-4], decompressed_size=size, codec="snappy", asbytes=True))
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise _Broken(f"a block cannot be decompressed ({type(error).__name__})") from error
    raise _Broken("its compression is not supported", ProblemKind.UNSUPPORTED)


def _within(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise _Broken(f"a block is larger than {limit:,} bytes", ProblemKind.BOMB)
    return data


def _snappy_size(data: bytes) -> int:
    size = 0
    for place, byte in enumerate(data[:5]):
        size |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            break
    return size


def _has_size(schema: Any, above: frozenset[str]) -> bool:
    """Return True if the items of all lists in a schema take bytes; else a few bytes could be endless."""
    if isinstance(schema, list):
        return all(_has_size(member, above) for member in schema)
    if not isinstance(schema, Mapping):
        return True
    kind = schema.get("type")
    if isinstance(kind, Mapping | list):
        return _has_size(kind, above)
    if kind == "array":
        return _takes_bytes(schema["items"], above) and _has_size(schema["items"], above)
    if kind == "map":
        return _has_size(schema["values"], above)
    if kind in ("record", "error"):
        name = str(schema.get("name"))
        if name in above:
            return True
        return all(_has_size(field["type"], above | {name}) for field in schema["fields"])
    return True


def _takes_bytes(schema: Any, above: frozenset[str]) -> bool:
    if isinstance(schema, list):
        return True
    if not isinstance(schema, Mapping):
        # The name of a record declared further up: its size is unknown here, so it counts as empty.
        return schema != "null" and schema in _PRIMITIVES
    kind = schema.get("type")
    if isinstance(kind, Mapping | list):
        return _takes_bytes(kind, above)
    if kind in ("record", "error"):
        return any(_takes_bytes(field["type"], above) for field in schema["fields"])
    if kind == "fixed":
        return bool(schema.get("size", 0) > 0)
    return kind != "null"


_PRIMITIVES = frozenset({"boolean", "int", "long", "float", "double", "bytes", "string"})
