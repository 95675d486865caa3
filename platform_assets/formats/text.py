"""Text of any encoding, split into windows; and the strings of binary data."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from platform_assets.formats.problems import Problem, ProblemKind
from platform_assets.formats.reading import (
    KIB,
    Item,
    Limits,
    Reading,
    Stream,
    TextPiece,
    Unit,
    sampled,
)

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Characters that never occur in text: controls except white space, backspace and escape.
_CONTROLS = bytes(code for code in range(32) if code not in (8, 9, 10, 11, 12, 13, 26, 27)) + b"\x7f"
_ASCII = bytes(range(0x20, 0x7F))
_NOT_PRINTABLE = bytes(code for code in range(256) if code not in _ASCII and code not in b"\t\n\r")
_WIDE = (("utf-32-le", 4, 0), ("utf-32-be", 4, 3), ("utf-16-le", 2, 0), ("utf-16-be", 2, 1))
_SHORTEST = 6
_PRINTABLE = np.isin(np.arange(256), [9, *range(0x20, 0x7F)])
_WIDE_STRING = re.compile(rb"(?:[\t\x20-\x7e]\x00){6,}")
_CONTINUATION = bytes(range(0x80, 0xC0))


@dataclass(frozen=True)
class Encoding:
    """The encoding of bytes as text.

    Args:
        name: Python's name of the encoding.
        mark: Length of the byte order mark, in bytes.
        is_guess: True if nothing in the data confirms it.
    """

    name: str
    mark: int = 0
    is_guess: bool = False


def detect_encoding(head: bytes, *, is_whole: bool) -> Encoding | None:
    """Detect the encoding of a text from its start.

    Args:
        head: The start.
        is_whole: True if `head` is the whole text; otherwise its last character may be cut.

    Returns:
        The encoding, or None if the data is not text.
    """
    for mark, name in _MARKS:
        if head.startswith(mark) and not (name == "utf-16-le" and len(head) % 2 and is_whole):
            return Encoding(name, len(mark))
    if b"\0" in head:
        return _wide_encoding(head)
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls * 200 > len(head):
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, is_whole)
    except UnicodeDecodeError:
        return _narrow_encoding(head)
    return Encoding("utf-8")


def _wide_encoding(head: bytes) -> Encoding | None:
    """Detect UTF-16 or UTF-32 without a mark: in most scripts one byte of a character is often zero."""
    for name, width, at in _WIDE:
        whole = head[: len(head) // width * width]
        if not whole:
            continue
        zeros = [whole[place::width].count(0) / (len(whole) // width) for place in range(width)]
        if zeros[at] == 0 and all(share > 0.4 for place, share in enumerate(zeros) if place != at):
            try:
                text = codecs.getincrementaldecoder(name)().decode(whole)
            except UnicodeDecodeError:
                continue
            if sum(character.isprintable() or character.isspace() for character in text) > 0.95 * len(text):
                return Encoding(name)
    return None


def _narrow_encoding(head: bytes) -> Encoding | None:
    lenient = head.decode("utf-8", "surrogateescape")
    invalid = sum(0xDC80 <= ord(character) <= 0xDCFF for character in lenient)
    valid = sum(ord(character) > 127 for character in lenient) - invalid
    if valid > invalid:
        return Encoding("utf-8")
    high = len(head) - len(head.translate(None, bytes(range(128, 256))))
    from charset_normalizer import from_bytes

    start = max(next((at for at, byte in enumerate(head) if byte > 127), 0) - 2 * KIB, 0)
    ascii_share = len(head.translate(None, _NOT_PRINTABLE)) / len(head)
    for match in from_bytes(head[start : start + 8 * KIB]):
        # Valid ASCII is ASCII: a guess at another encoding would hide its content.
        if ascii_share < 0.5 or _keeps_ascii(match.encoding):
            return Encoding(match.encoding)
    # No encoding explains the bytes: binary data, or a text with a few invalid bytes.
    return Encoding("latin-1", is_guess=True) if high * 5 < len(head) else None


def _keeps_ascii(name: str) -> bool:
    try:
        return codecs.getincrementaldecoder(name)("replace").decode(_ASCII) == _ASCII.decode()
    except LookupError:
        return False


_LOCKED = re.compile(
    rb"(?:^|\n)[> ]*(?:-----BEGIN (?:PGP MESSAGE|AGE ENCRYPTED FILE|PKCS7|CMS|ENCRYPTED MESSAGE)-----"
    rb"|\$ANSIBLE_VAULT;|U2FsdGVkX1[0-9A-Za-z+/]{20})"
)


def encrypted_text(head: bytes, reading: Reading) -> Iterator[Problem]:
    """The problem of a text that is, or contains, an encrypted message in ASCII armour.

    Args:
        head: The text, or its start.
        reading: The settings of this reading.
    """
    if b"\0" in head[:4]:
        head = head.replace(b"\0", b"")
    if _LOCKED.search(head.lstrip(b"\xff\xfe\xef\xbb\xbf")):
        yield reading.problem(
            ProblemKind.ENCRYPTED, "it contains an encrypted message, which was not inspected"
        )


class Decoder:
    """Converts a stream of bytes to UTF-8; invalid bytes become question marks."""

    def __init__(self, encoding: Encoding) -> None:
        self.invalid = 1 if encoding.is_guess else 0
        self._is_utf8 = encoding.name == "utf-8"
        errors = "surrogateescape" if self._is_utf8 else "replace"
        self._decoder = codecs.getincrementaldecoder(encoding.name)(errors)

    def utf8(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks in UTF-8."""
        for chunk in chunks:
            if text := self._decoder.decode(chunk):
                yield self._encoded(text)
        if text := self._decoder.decode(b"", True):
            yield self._encoded(text)

    def _encoded(self, text: str) -> bytes:
        # Text has none: what follows is of another encoding, or no text.
        self.invalid += text.count("\0")
        if not self._is_utf8:
            self.invalid += text.count("\N{REPLACEMENT CHARACTER}")
        try:
            return text.encode()
        except UnicodeEncodeError:
            encoded = text.encode(errors="replace")
            self.invalid += max(encoded.count(b"?") - text.count("?"), 1)
            return encoded

    def problems(self, reading: Reading) -> Iterator[Problem]:
        """The problems caused by invalid bytes."""
        if self.invalid:
            yield reading.problem(
                ProblemKind.INVALID_ENCODING, "some bytes are not valid in the text's encoding"
            )


def windows(chunks: Iterable[bytes], limits: Limits, container: tuple[str, ...] = ()) -> Iterator[TextPiece]:
    """Split UTF-8 text into overlapping windows, at line ends if possible.

    Args:
        chunks: The text.
        limits: The sizes of windows and overlaps.
        container: The place of the text.
    """
    half = limits.overlap // 2
    buffer = bytearray()
    own_from, offset, codepoints = 0, 0, 0
    for chunk in chunks:
        buffer += chunk
        while len(buffer) > limits.window + limits.overlap:
            end = _boundary(buffer, limits.window)
            line_end = buffer.rfind(b"\n", end - 2 * half, end - half)
            own_to = line_end + 1 if line_end >= 0 else _boundary(buffer, end - half)
            yield TextPiece(bytes(buffer[:end]), container, offset, codepoints, (own_from, own_to))
            start = _boundary(buffer, own_to - half)
            codepoints += _codepoints(buffer[:start])
            offset += start
            own_from = own_to - start
            del buffer[:start]
    if len(buffer) > own_from:
        yield TextPiece(bytes(buffer), container, offset, codepoints, (own_from, len(buffer)))


def _boundary(data: bytearray, at: int) -> int:
    """The next position, from a given one on, where a character starts."""
    for place in range(at, min(at + 4, len(data))):
        if not 0x80 <= data[place] < 0xC0:
            return place
    return at


def _codepoints(data: bytearray) -> int:
    return len(data.translate(None, _CONTINUATION))


def read_text(stream: Stream, reading: Reading, encoding: Encoding) -> Iterator[Item]:
    """Read a text in windows."""
    decoders: list[Decoder] = []

    def units() -> Iterator[Unit]:
        stream.read(encoding.mark)
        decoder = Decoder(encoding)
        decoders[:] = [decoder]
        for piece in windows(decoder.utf8(stream.chunks()), reading.limits, reading.container):
            at = (
                None
                if piece.byte_offset is None
                else piece.byte_offset + encoding.mark * (encoding.name == "utf-8")
            )
            yield Unit(lambda piece=piece, at=at: [replace(piece, byte_offset=at)])  # type: ignore[misc]

    yield from sampled(units, stream, reading)
    yield from decoders[0].problems(reading)


def read_rest_as_text(chunks: Iterable[bytes], reading: Reading) -> Iterator[TextPiece]:
    """The rest of a UTF-8 text that its own format's reader could not read."""
    for piece in windows(chunks, reading.limits, reading.container):
        yield replace(piece, byte_offset=None)


def read_strings(stream: Stream, reading: Reading) -> Iterator[Item]:
    """Read the strings in bytes of any kind: printable runs of 6 characters or more."""
    for piece in windows(stream.chunks(), reading.limits, reading.container):
        data = np.frombuffer(piece.text, np.uint8)
        printable = _PRINTABLE[data]
        strings = _runs(printable, 1)
        if strings.any():
            masked = np.where(strings, data, np.uint8(ord("\n"))).tobytes()
            yield replace(piece, text=masked, codepoint_offset=piece.byte_offset or 0)
        wide = printable.copy()
        wide[:-1] &= data[1:] == 0
        wide[-1:] = False
        if _runs(wide, 2).any():
            first, last = piece.own or (0, len(piece.text))
            found = [m.group()[::2] for m in _WIDE_STRING.finditer(piece.text) if first <= m.start() < last]
            yield TextPiece(b"\n".join(found), reading.container)


def _runs(mask: npt.NDArray[np.bool_], step: int) -> npt.NDArray[np.bool_]:
    """The positions in runs long enough for a string; members of a run are `step` positions apart."""
    length = len(mask) - (_SHORTEST - 1) * step
    runs = np.zeros(len(mask), np.bool_)
    if length > 0:
        starts = np.logical_and.reduce([mask[step * n : step * n + length] for n in range(_SHORTEST)])
        for n in range(_SHORTEST):
            runs[step * n : step * n + length] |= starts
    return runs
