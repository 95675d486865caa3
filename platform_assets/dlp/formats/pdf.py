"""The text of PDF files: pages, annotations, form fields, properties and attached files."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

from platform_assets.dlp.formats.reading import Item, Part, Reading, Stream, TextPiece
from platform_assets.dlp.formats.text import read_strings, windows
from platform_assets.dlp.model import ProblemKind

# What a broken file can make the reader raise beside its own errors: it is Python that trusts its input.
_ERRORS = (
    ArithmeticError, AttributeError, IndexError, KeyError, LookupError, NotImplementedError, OSError,
    RecursionError, RuntimeError, TypeError, ValueError, AssertionError, MemoryError,
)  # fmt: skip


def read_pdf(stream: Stream, reading: Reading) -> Iterator[Item]:
    """Read a PDF file; what it draws as pictures is not read, and a page of nothing else is reported."""
    import pypdf
    from pypdf.errors import DependencyError, PyPdfError

    # Every oddity of a file is a warning there; they may quote it.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    errors = (*_ERRORS, PyPdfError)
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
    try:
        with bounded():
            reader = pypdf.PdfReader(source, strict=False)
            is_locked = reader.is_encrypted and not reader.decrypt("")
            pages = 0 if is_locked else len(reader.pages)
    except DependencyError:
        yield reading.problem(ProblemKind.ENCRYPTED, "the PDF is encrypted in a way not known here")
        return
    except errors as error:
        yield reading.problem(
            ProblemKind.CORRUPT,
            f"it cannot be read as a PDF ({type(error).__name__}); its strings were read",
        )
        stream.rewind()
        yield from read_strings(stream, reading)
        return
    if is_locked:
        yield reading.problem(ProblemKind.ENCRYPTED, "the PDF is protected by a password")
        return
    if _has_lost_its_end(source) or pages == 0:
        yield reading.problem(ProblemKind.TRUNCATED, "the PDF does not end as one does, or has no pages")
    unread, pictures = 0, 0
    for number in range(pages):
        within = reading.within(f"page {number + 1}")
        try:
            with bounded():
                page = reader.pages[number]
                text = page.extract_text()
                notes = "\n".join(_notes(page))
                has_pictures = not text.strip() and "/XObject" in (page.get("/Resources") or {})
        except errors:
            unread += 1
            continue
        pictures += has_pictures
        yield Part(within.container)
        for piece in windows(
            [text.encode(errors="replace"), b"\n" + notes.encode(errors="replace")], reading.limits
        ):
            yield TextPiece(
                piece.text, within.container, piece.byte_offset, piece.codepoint_offset, piece.own
            )
    if unread:
        yield reading.problem(ProblemKind.CORRUPT, f"{unread:,} of {pages:,} pages cannot be read")
    if pictures:
        yield reading.problem(
            ProblemKind.UNSUPPORTED, f"{pictures:,} of {pages:,} pages are pictures, which are not read"
        )
    try:
        with bounded():
            about = [f"{key.lstrip('/')}: {value}" for key, value in (reader.metadata or {}).items()]
            about += [f"{key}: {field.get('/V')}" for key, field in (reader.get_fields() or {}).items()]
            attached = [(name, data) for name, files in reader.attachments.items() for data in files]
    except errors:
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


def _notes(page: Any) -> Iterator[str]:
    """What a page's annotations say and link to."""
    for reference in page.get("/Annots") or []:
        note = reference.get_object()
        for key in ("/Contents", "/T", "/V"):
            if isinstance(note.get(key), str):
                yield note[key]
        action = note.get("/A")
        if action is not None and isinstance(action.get_object().get("/URI"), str):
            yield action.get_object()["/URI"]


def _has_lost_its_end(source: Any) -> bool:
    source.seek(0, 2)
    size = source.tell()
    source.seek(max(size - 2_048, 0))
    return b"%%EOF" not in source.read()
