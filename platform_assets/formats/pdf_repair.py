"""Recovery of PDF files with a damaged directory: a new directory, or the text of the streams.

The directory only lists where each object is, and every object also identifies itself. If not even the pages
can be found, streams are decompressed one by one, and the strings that their operators show are the text.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_OBJECT = re.compile(rb"(?<![0-9])([0-9]{1,10})[ \t\r\n\f\0]{1,8}([0-9]{1,5})[ \t\r\n\f\0]{1,8}obj\b")
_STREAM = re.compile(rb"\bstream\r?\n")
_FILTER = re.compile(rb"/Filter\s*(\[[^\]]*\]|/[A-Za-z0-9]+)")
_NAME = re.compile(rb"/([A-Za-z0-9]+)")
_NUMBER = re.compile(rb"-?[0-9]+")
_SHOWN = re.compile(
    rb"\(((?:[^()\\]|\\.|\((?:[^()\\]|\\.)*\))*)\)|<([0-9A-Fa-f\s]*)>|\b(T[dDm*]|ET|Tj|TJ)(?![A-Za-z0-9])|(['\"])",
    re.DOTALL,
)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|\r\n|.)", re.DOTALL)
_ESCAPED = {
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"b": b"\b",
    b"f": b"\f",
    b"\n": b"",
    b"\r": b"",
    b"\r\n": b"",
}
_LONGEST_DICTIONARY = 64 << 10
_MOST_OBJECTS = 200_000
# Streams without text: images are counted, fonts and directories are skipped.
_NO_CONTENT = re.compile(
    rb"/Type\s*/(?:XRef|ObjStm)\b|/Length[12]\b|/Subtype\s*/(?:Type1C|CIDFontType0C|OpenType)\b"
)
_NEVER_DRAWN = re.compile(
    rb"/Type\s*/(?:Metadata|EmbeddedFile|CMap)\b|/FunctionType\b|/ShadingType\b|/CMapName\b|/Alternate\b"
)
_PICTURE = re.compile(rb"/Subtype\s*/Image\b")


@dataclass(frozen=True)
class Decoded:
    """A stream of a file.

    Args:
        data: Its content; if it could not be decompressed completely, the part before the error.
        is_whole: True if `data` is complete.
        is_attachment: True if it is an attached file.
    """

    data: bytes
    is_whole: bool
    is_attachment: bool = False


def repaired(data: bytes, most: int) -> bytes | None:
    """The file with a new directory, made from the objects found in it.

    Args:
        data: The file.
        most: Maximum size of one decompressed stream, in bytes.

    Returns:
        The file, followed by the objects from its object streams and a directory of all objects; None if no
        object leads to pages.
    """
    places = {int(match[1]): (match.start(), match.end(), int(match[2])) for match in _objects(data)}
    packed = {
        number: body
        for match in _objects(data)
        if b"/ObjStm" in (head := _dictionary(data, match.end()))
        for number, body in _members(head, _decoded(data, match.end(), head, most))
    }
    added = {number: body for number, body in packed.items() if number not in places}
    bodies = {number: _dictionary(data, end) for number, (_, end, _) in places.items()} | added
    root = _last(bodies, rb"/Type\s*/Catalog\b")
    if root is None:
        pages = [number for number, body in bodies.items() if re.search(rb"/Type\s*/Page\b", body)]
        trees = [number for number, body in bodies.items() if re.search(rb"/Type\s*/Pages\b", body)]
        tree = next((number for number in trees if b"/Parent" not in bodies[number]), None)
        if tree is None and not pages:
            return None
        root = max(bodies) + 1
        if tree is None:
            tree = root + 1
            kids = b" ".join(b"%d 0 R" % number for number in sorted(pages))
            added[tree] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(pages), kids)
        added[root] = b"<< /Type /Catalog /Pages %d 0 R >>" % tree
    out = bytearray(data + b"\n")
    entries = {number: (start, generation) for number, (start, _, generation) in places.items()}
    for number, body in added.items():
        entries[number] = (len(out), 0)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 1\n0000000000 65535 f \n"
    for number in sorted(entries):
        out += b"%d 1\n%010d %05d n \n" % (number, *entries[number])
    out += b"trailer\n<< /Size %d /Root %d 0 R%s >>\nstartxref\n%d\n%%%%EOF\n" % (
        max(entries) + 1, root, _kept(data), start,
    )  # fmt: skip
    return bytes(out)


def streams(data: bytes, most: int, known: frozenset[int] | None = None) -> Iterator[Decoded | None]:
    """The decoded streams of a file; None for an image or a stream that cannot be decompressed.

    Args:
        data: The file.
        most: Most bytes that one stream may come to.
        known: Numbers of objects that were read elsewhere, as their last version in the file. With it, only
            streams that may show text on a page are given, superseded versions included.
    """
    found = list(_objects(data))
    last = {int(match[1]): match.start() for match in found}
    for match in found:
        head = _dictionary(data, match.end())
        if _STREAM.search(data, match.end() + len(head), match.end() + len(head) + 16) is None:
            continue
        if known is not None:
            number = int(match[1])
            is_read = number in known and last[number] == match.start()
            if is_read or _PICTURE.search(head) or _NO_CONTENT.search(head) or _NEVER_DRAWN.search(head):
                continue
        if _PICTURE.search(head):
            yield None
        elif not _NO_CONTENT.search(head):
            yield _decoded(data, match.end(), head, most)


def shown_text(content: bytes) -> bytes:
    """The strings that a content stream shows, a line for each position.

    Glyph numbers of embedded fonts are not characters: they are returned unchanged.
    """
    lines: list[bytes] = []
    line: list[bytes] = []
    for written, hexadecimal, operator, quote in (match.groups() for match in _SHOWN.finditer(content)):
        if written is not None:
            line.append(_ESCAPE.sub(_unescaped, written))
        elif hexadecimal is not None:
            digits = b"".join(hexadecimal.split())
            line.append(bytes.fromhex((digits + b"0" * (len(digits) % 2)).decode()))
        elif line and (quote or operator not in (b"Tj", b"TJ")):
            lines.append(b"".join(line))
            line = []
    return b"\n".join([*lines, b"".join(line)])


def is_whole(data: bytes) -> bool:
    """Return True if compressed data (RFC 1950) can be decompressed completely."""
    inflater = zlib.decompressobj()
    try:
        while data and not inflater.eof:
            inflater.decompress(data, 1 << 20)
            data = inflater.unconsumed_tail
    except zlib.error:
        return False
    return inflater.eof


def _objects(data: bytes) -> Iterator[re.Match[bytes]]:
    for count, match in enumerate(_OBJECT.finditer(data)):
        if count >= _MOST_OBJECTS:
            return
        yield match


def _dictionary(data: bytes, start: int) -> bytes:
    """The dictionary of an object before its stream, or the whole object if it has none."""
    ends = (data.find(word, start, start + _LONGEST_DICTIONARY) for word in (b"endobj", b"stream"))
    end = min((end for end in ends if end >= 0), default=min(start + _LONGEST_DICTIONARY, len(data)))
    return data[start:end]


def _decoded(data: bytes, start: int, head: bytes, most: int) -> Decoded | None:
    """The decoded stream of an object."""
    begins = _STREAM.search(data, start + len(head), start + len(head) + 16)
    if begins is None:
        return None
    first = begins.end()
    end = data.find(b"endstream", first)
    raw, has_end = data[first : end if end >= 0 else len(data)], end >= 0
    given = _FILTER.search(head)
    for name in _NAME.findall(given[1]) if given else ():
        match name:
            case b"FlateDecode" | b"Fl":
                inflater = zlib.decompressobj()
                raw, finished = _inflated(inflater, raw, most)
                has_end &= finished
            case b"ASCIIHexDecode" | b"AHx":
                digits = re.sub(rb"[^0-9A-Fa-f]", b"", raw.partition(b">")[0])
                raw = bytes.fromhex((digits + b"0" * (len(digits) % 2)).decode())
            case b"ASCII85Decode" | b"A85":
                try:
                    raw = base64.a85decode(raw.partition(b"~>")[0].strip().removeprefix(b"<~"))
                except ValueError:
                    return None
            case _:
                return None
    if b"/Predictor" in head and not raw.isascii():
        return None
    return Decoded(raw, has_end, re.search(rb"/Type\s*/EmbeddedFile\b", head) is not None) if raw else None


def _inflated(inflater: zlib._Decompress, raw: bytes, most: int) -> tuple[bytes, bool]:
    out = bytearray()
    try:
        # In small steps, to keep the content before an error.
        for start in range(0, len(raw), 512):
            out += inflater.decompress(inflater.unconsumed_tail + raw[start : start + 512], most - len(out))
            if inflater.eof:
                return bytes(out), True
            if len(out) >= most:
                return bytes(out), False
    except zlib.error:
        return bytes(out), False
    return bytes(out), False


def _members(head: bytes, decoded: Decoded | None) -> Iterator[tuple[int, bytes]]:
    """The objects in an object stream."""
    first = re.search(rb"/First\s+([0-9]{1,9})", head)
    if decoded is None or first is None:
        return
    start = int(first[1])
    numbers = [int(number) for number in _NUMBER.findall(decoded.data[:start])]
    pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
    for at, (number, offset) in enumerate(pairs):
        end = start + pairs[at + 1][1] if at + 1 < len(pairs) else len(decoded.data)
        body = decoded.data[start + offset : end].strip()
        if body and number > 0:
            yield number, body


def _last(bodies: dict[int, bytes], pattern: bytes) -> int | None:
    found = [number for number, body in bodies.items() if re.search(pattern, body)]
    return found[-1] if found else None


def _kept(data: bytes) -> bytes:
    """Entries about encryption and properties from an older directory, if there is one."""
    kept = b""
    for name, value in (
        (b"/Encrypt", rb"[0-9]+ [0-9]+ R"),
        (b"/Info", rb"[0-9]+ [0-9]+ R"),
        (b"/ID", rb"\[[^\]]*\]"),
    ):
        if found := re.findall(name + rb"\s*(" + value + rb")", data, re.DOTALL):
            kept += b" " + name + b" " + found[-1]
    return kept


def _unescaped(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    return (
        bytes([int(escaped, 8) & 0xFF])
        if escaped[:1].isdigit() and escaped[:1] < b"8"
        else _ESCAPED.get(escaped, escaped)
    )
