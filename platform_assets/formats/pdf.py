"""The text of PDF files: pages, annotations, form fields, properties and attached files."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any

from platform_assets.formats.isolation import is_about_content
from platform_assets.formats.pdf_repair import is_whole, repaired, shown_text, streams
from platform_assets.formats.problems import ProblemKind
from platform_assets.formats.reading import Item, Part, Reading, Stream, TextPiece
from platform_assets.formats.text import read_strings, windows

# Errors that a broken file can cause besides the reader's own: it is Python code that trusts its input.
_ERRORS = (
    ArithmeticError, AttributeError, IndexError, KeyError, LookupError, NotImplementedError, OSError,
    RecursionError, RuntimeError, TypeError, ValueError, AssertionError, MemoryError,
)  # fmt: skip

_Bounds = Callable[[], AbstractContextManager[object]]
_NAMESPACE = re.compile(r"""\sxmlns(?::[\w.-]+)?\s*=\s*(?:"[^"]*"|'[^']*')""")
_TAIL = 1 << 20
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\r\n"


class _Opening(Enum):
    """Results of opening a PDF file."""

    OPENED = "opened"
    REPAIRED = "repaired"
    LOCKED = "locked"
    UNKNOWN_ENCRYPTION = "unknown encryption"
    UNREADABLE = "unreadable"


# Every other result than OPENED is reported.
_REPORTS = {
    _Opening.REPAIRED: (
        ProblemKind.CORRUPT,
        "its directory is damaged or missing; a new directory was built from its objects",
    ),
    _Opening.LOCKED: (ProblemKind.ENCRYPTED, "the PDF is protected by a password"),
    _Opening.UNKNOWN_ENCRYPTION: (ProblemKind.ENCRYPTED, "the PDF has an unknown encryption"),
    _Opening.UNREADABLE: (
        ProblemKind.CORRUPT,
        "it is not a readable PDF ({failure}); the streams that could be unpacked and its strings were read",
    ),
}


@dataclass(frozen=True)
class _Opened:
    """A PDF file after opening.

    Args:
        opening: The result.
        reader: The reader; None if the pages cannot be read.
        pages: Number of pages.
        failure: Kind of the error that made the file unreadable; empty if it only has no pages.
        data: The whole unreadable file, if it is not too large.
    """

    opening: _Opening
    reader: Any = None
    pages: int = 0
    failure: str = ""
    data: bytes = b""


def read_pdf(stream: Stream, reading: Reading) -> Iterator[Item]:
    """Read a PDF file; images are not read, and a page that contains only images is reported."""
    import pypdf

    # The reader warns about every oddity of a file; the warnings may quote the file.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    limit = reading.limits.document
    source = stream.random_access()
    source.seek(0, 2)
    if source.tell() > 8 * limit:
        yield reading.problem(
            ProblemKind.TOO_LARGE, f"it is longer than {8 * limit:,} bytes; its strings were read"
        )
        stream.rewind()
        yield from read_strings(stream, reading)
        return
    source.seek(0)
    most = 2 * limit
    bounded = partial(
        pypdf.apply_configuration,
        maximum_declared_stream_length=most,
        array_based_stream_maximum_output_length=most,
        lzw_maximum_output_length=most,
        run_length_maximum_output_length=most,
        zlib_maximum_output_length=most,
    )
    document = _opened_or_repaired(source, bounded, most)
    if report := _REPORTS.get(document.opening):
        kind, message = report
        yield reading.problem(kind, message.format(failure=document.failure or "it has no pages"))
    if document.opening is _Opening.UNREADABLE:
        yield from _unpacked(document.data, reading, most)
        stream.rewind()
        for item in read_strings(stream, reading):
            yield replace(item, is_content=False) if isinstance(item, TextPiece) else item
    if document.reader is not None:
        if _has_lost_its_end(source):
            yield reading.problem(ProblemKind.TRUNCATED, "the PDF does not end with an end marker")
        yield from _pages(document.reader, document.pages, source, reading, bounded)
        yield from _besides_pages(document.reader, reading, bounded)


def _errors() -> tuple[type[Exception], ...]:
    from pypdf.errors import PyPdfError

    return (*_ERRORS, PyPdfError)


def _opened(file: Any, bounded: _Bounds) -> _Opened:
    import pypdf
    from pypdf.errors import DependencyError

    try:
        with bounded():
            reader = pypdf.PdfReader(file, strict=False)
            if reader.is_encrypted and not reader.decrypt(""):
                return _Opened(_Opening.LOCKED)
            pages = len(reader.pages)
    except DependencyError:
        return _Opened(_Opening.UNKNOWN_ENCRYPTION)
    except _errors() as error:
        return _Opened(_Opening.UNREADABLE, failure=type(error).__name__)
    return _Opened(_Opening.OPENED, reader, pages) if pages else _Opened(_Opening.UNREADABLE)


def _opened_or_repaired(source: Any, bounded: _Bounds, most: int) -> _Opened:
    """Open a PDF file; if it is unreadable, open it with a new directory."""
    first = _opened(source, bounded)
    if first.opening is not _Opening.UNREADABLE:
        return first
    data = _whole(source, most)
    with_directory = None if data is None else repaired(data, most)
    second = first if with_directory is None else _opened(io.BytesIO(with_directory), bounded)
    if second.opening is _Opening.OPENED:
        return replace(second, opening=_Opening.REPAIRED)
    if second.opening is _Opening.UNREADABLE:
        return replace(second, failure=second.failure or first.failure, data=data or b"")
    return second


def _besides_pages(reader: Any, reading: Reading, bounded: _Bounds) -> Iterator[Item]:
    """The properties of a file as text, and its attached files."""
    try:
        with bounded():
            about = [line for lines_of in _PROPERTIES for line in lines_of(reader)]
            attached = [(name, data) for name, files in reader.attachments.items() for data in files]
    except _errors():
        yield reading.problem(
            ProblemKind.CORRUPT, "its properties, form fields or attached files cannot be read"
        )
        return
    if about:
        lines = "\n".join(about).encode(errors="replace")
        yield TextPiece(lines, (*reading.container, "(metadata)"))
    for name, data in attached:
        reading.budget.expanded -= len(data)
        yield from reading.part(io.BytesIO(data), name, len(data))


def _pages(
    reader: Any,
    pages: int,
    source: Any,
    reading: Reading,
    bounded: _Bounds,
) -> Iterator[Item]:
    """The text of the pages, and of what no page shows; problems for what cannot be read."""
    most = 2 * reading.limits.document
    unread, pictures = 0, 0
    drawn: set[int] = set()
    for number in range(pages):
        within = reading.within(f"page {number + 1}")
        try:
            with bounded():
                page = reader.pages[number]
                text = page.extract_text()
                notes = "\n".join(_notes(page))
                has_pictures = _has_pictures(page, is_blank=not text.strip())
                is_complete = _is_complete(page) and (_is_readable(text) or not _shows_text(page))
                _note_drawn(page, drawn)
        except BaseException as error:
            if not is_about_content(error):
                raise
            unread += 1
            continue
        unread += not is_complete
        pictures += has_pictures
        yield Part(within.container)
        for piece in windows(
            [text.encode(errors="replace"), b"\n" + notes.encode(errors="replace")], reading.limits
        ):
            yield TextPiece(
                piece.text, within.container, piece.byte_offset, piece.codepoint_offset, piece.own
            )
    if unread:
        yield reading.problem(
            ProblemKind.CORRUPT, f"{unread:,} of {pages:,} pages could not be read completely"
        )
        yield from _unpacked(_whole(source, most) or b"", reading, most)
    elif not reader.is_encrypted:
        yield from _undrawn(_whole(source, most) or b"", frozenset(drawn), reading, most)
    yield from _behind_the_end(source, reading)
    if pictures:
        yield reading.problem(
            ProblemKind.UNSUPPORTED, f"{pictures:,} of {pages:,} pages have pictures, which were not read"
        )


def _notes(page: Any) -> Iterator[str]:
    """The text and links of a page's annotations."""
    for reference in page.get("/Annots") or []:
        note = reference.get_object()
        for key in ("/Contents", "/T", "/V"):
            if isinstance(note.get(key), str):
                yield note[key]
        action = note.get("/A")
        if action is not None and isinstance(action.get_object().get("/URI"), str):
            yield action.get_object()["/URI"]


def _whole(source: Any, most: int) -> bytes | None:
    """The whole file, or None if it exceeds the limit."""
    source.seek(0, 2)
    if source.tell() > most:
        return None
    source.seek(0)
    data: bytes = source.read()
    return data


def _unpacked(data: bytes, reading: Reading, most: int) -> Iterator[Item]:
    """The text of all streams of a file, of any page, and the number of streams that failed."""
    left, total = 0, 0
    for number, stream in enumerate(streams(data, most), 1):
        total += 1
        left += stream is None or not stream.is_whole
        if stream is None:
            continue
        reading.budget.expanded -= len(stream.data)
        if reading.budget.expanded < 0:
            yield reading.problem(
                ProblemKind.BOMB, "it unpacks to more bytes than an object of its size may have"
            )
            return
        if stream.is_attachment:
            yield from reading.part(io.BytesIO(stream.data), f"attachment {number}", len(stream.data))
            continue
        is_drawn = b"BT" in stream.data and b"T" in stream.data
        text = shown_text(stream.data) if is_drawn else stream.data
        if not text.strip():
            continue
        if is_drawn and b"\0" in text:
            # Two bytes for each character: its glyph number in a font, mostly not a character code.
            left += stream.is_whole
            text = text.translate(None, b"\0")
        printable = len(text) - len(text.translate(None, _PRINTABLE))
        if printable * 10 < len(text) * 7:
            # Glyph numbers, or other data.
            left += stream.is_whole
            continue
        decoded = text.decode("utf-8" if not is_drawn else "latin-1", "replace").encode()
        for piece in windows([decoded], reading.limits):
            yield replace(piece, container=reading.container, byte_offset=None)
    if left:
        yield reading.problem(
            ProblemKind.UNSUPPORTED,
            f"{left:,} of {total:,} streams could not be unpacked completely",
        )


def _undrawn(data: bytes, drawn: frozenset[int], reading: Reading, most: int) -> Iterator[Item]:
    """The text of streams that no page draws: of earlier versions of the file, of removed pages."""
    for stream in streams(data, most, drawn):
        if stream is None or b"BT" not in stream.data or b"T" not in stream.data:
            continue
        reading.budget.expanded -= len(stream.data)
        text = shown_text(stream.data).translate(None, b"\0")
        if text.strip():
            decoded = text.decode("latin-1").encode()
            for piece in windows([decoded], reading.limits):
                yield replace(piece, container=(*reading.container, "(not on a page)"), byte_offset=None)


def _behind_the_end(source: Any, reading: Reading) -> Iterator[Item]:
    """Yield the content of the bytes after the end of the PDF file, if there are any."""
    source.seek(0, 2)
    size = source.tell()
    source.seek(max(size - _TAIL, 0))
    _, end, rest = source.read().rpartition(b"%%EOF")
    rest = rest.strip(b"\0\t\r\n\x1a\f ")
    if end and rest:
        yield from reading.part(io.BytesIO(rest), "(behind the end)", len(rest))


def _is_readable(text: str) -> bool:
    """Return whether a page's text is mostly characters; a broken font gives replacement characters."""
    return text.strip() != "" and text.count("\N{REPLACEMENT CHARACTER}") * 4 <= len(text)


def _shows_text(page: Any) -> bool:
    """Return whether a page's streams show strings; if no text came out, its fonts cannot be read."""
    contents = page.get_contents()
    return contents is not None and bool(shown_text(contents.get_data()).strip(b"\0\t\r\n "))


def _note_drawn(page: Any, drawn: set[int]) -> None:
    """Add the numbers of the streams that a page's text comes from: its own, and the forms that it draws."""
    contents = page.raw_get("/Contents") if "/Contents" in page else None
    held = contents.get_object() if contents is not None else None
    parts = [contents, *(held if isinstance(held, list) else [])]
    left = [page]
    while left:
        resources = left.pop().get("/Resources")
        forms = resources.get_object().get("/XObject") if resources is not None else None
        for form in forms.get_object().values() if forms is not None else ():
            known = getattr(form, "idnum", None)
            if known is None or known in drawn:
                continue
            one = form.get_object()
            if hasattr(one, "get") and one.get("/Subtype") == "/Form":
                drawn.add(known)
                left.append(one)
    drawn.update(part.idnum for part in parts if hasattr(part, "idnum"))


def _scripts(reader: Any) -> list[str]:
    """The programs that a file runs when it is opened."""
    root = reader.root_object
    names = root.get("/Names")
    listed = names.get_object().get("/JavaScript") if names is not None else None
    actions = [
        root.get("/OpenAction"),
        *((listed.get_object().get("/Names") or []) if listed is not None else []),
    ]
    found = []
    for action in actions:
        held = action.get_object() if hasattr(action, "get_object") else action
        script = held.get("/JS") if isinstance(held, dict) else None
        if script is not None:
            script = script.get_object()
            data = (
                script.get_data().decode("utf-8", "replace") if hasattr(script, "get_data") else str(script)
            )
            found.append(data)
    return found


def _is_complete(page: Any) -> bool:
    """Return True if all streams of a page exist and can be decompressed completely.

    The reader treats a missing stream as empty, and returns the content of a broken stream up to the error.
    """
    if "/Contents" not in page:
        return True
    contents = page["/Contents"]
    parts = contents if isinstance(contents, list) else [page.raw_get("/Contents")]
    for part in parts:
        one = part.get_object()
        if not hasattr(one, "get_data"):
            return False
        if one.get("/Filter") in ("/FlateDecode", ["/FlateDecode"]):
            written = io.BytesIO()
            one.write_to_stream(written)
            data = written.getvalue().partition(b"stream\n")[2]
            if not is_whole(data):
                return False
    return True


def _has_pictures(page: Any, *, is_blank: bool) -> bool:
    resources = page.get("/Resources")
    drawn = (resources.get_object() if resources is not None else {}).get("/XObject")
    if drawn is None:
        return False
    objects = [reference.get_object() for reference in drawn.get_object().values()]
    return is_blank or any(
        object_.get("/Subtype") == "/Image" for object_ in objects if hasattr(object_, "get")
    )


def _titles(outline: Any) -> Iterator[str]:
    """The titles of bookmarks, which are nested lists."""
    left = [outline]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += reversed(one)
        elif one.get("/Title"):
            yield str(one["/Title"])


def _packets(reader: Any) -> list[str]:
    """The XML of a file's properties and of an XFA form."""
    packets = [
        data.decode("utf-8", "replace") for data in (reader.xfa or {}).values() if isinstance(data, bytes)
    ]
    metadata = reader.root_object.get("/Metadata")
    if metadata is not None:
        packets.append(metadata.get_object().get_data().decode("utf-8", "replace"))
    # Addresses of namespaces belong to the format and are not data.
    return [_NAMESPACE.sub("", packet) for packet in packets]


_PROPERTIES: tuple[Callable[[Any], Iterable[str]], ...] = (
    lambda reader: (f"{key.lstrip('/')}: {value}" for key, value in (reader.metadata or {}).items()),
    lambda reader: (f"{key}: {field.get('/V')}" for key, field in (reader.get_fields() or {}).items()),
    lambda reader: _titles(reader.outline),
    _scripts,
    _packets,
)
"""Content of a file beside its pages, as lines: properties, form fields, bookmarks, programs, XML."""


def _has_lost_its_end(source: Any) -> bool:
    source.seek(0, 2)
    size = source.tell()
    source.seek(max(size - 2_048, 0))
    return b"%%EOF" not in source.read()
