"""Content of an object: detect its format, and yield its content in pieces for an inspector.

The format is detected from the content; a contradicting name is reported. Content without a reader, or
content that its reader cannot handle, is read as text or as strings: nothing is skipped, and what could not
be read is a `Problem`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Set
from itertools import chain
from pathlib import PurePosixPath
from typing import BinaryIO

from platform_assets.formats import (
    archive,
    avro,
    columnar,
    delimited,
    json_values,
    mail,
    markup,
    pdf,
    text,
    workbook,
)
from platform_assets.formats.isolation import is_about_content, kind_of_error
from platform_assets.formats.problems import Problem, ProblemKind
from platform_assets.formats.reading import (
    Budget,
    ColumnsPiece,
    Item,
    Limits,
    NamePiece,
    Part,
    Reading,
    Sampling,
    Skipped,
    Stream,
    TextPiece,
)

__all__ = [
    "ColumnsPiece",
    "Item",
    "Limits",
    "NamePiece",
    "Part",
    "Problem",
    "Sampling",
    "Skipped",
    "TextPiece",
    "kind_of",
    "read_content",
]

_MAGIC = (
    (b"PAR1", "parquet"),
    (b"PARE", "encrypted parquet"),
    (avro.MAGIC, "avro"),
    (b"ORC", "orc"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "compound"),
    *archive.COMPRESSED.items(),
)
_BY_SUFFIX: Mapping[str, frozenset[str]] = {
    suffix: frozenset(kinds.split())
    for suffixes, kinds in (
        ("parquet parq", "parquet"),
        ("avro", "avro"),
        ("orc", "orc"),
        # A workbook with a password is wrapped in the older format.
        ("xlsx xlsm xlsb xls", "workbook compound"),
        ("ods", "workbook"),
        ("pdf", "pdf"),
        ("zip jar whl docx pptx odt odp epub", "zip"),
        ("gz gzip tgz", "gzip"),
        ("bz2 tbz2", "bzip2"),
        ("xz txz", "xz"),
        ("zst zstd tzst", "zstd"),
        ("lz4", "lz4"),
        ("tar", "tar"),
        ("json jsonl ndjson geojson ipynb", "json"),
        ("xml xsd xsl svg", "xml"),
        ("html htm xhtml", "html xml text"),
        ("csv tsv", "delimited text"),
        ("eml", "mail text"),
        ("mbox", "mail text"),
        ("txt md log", "text delimited json xml html mail"),
    )
    for suffix in suffixes.split()
}
_TEXTS = frozenset({"text", "delimited", "json", "xml", "html", "mail"})
_TABLES = frozenset({"csv", "tsv", "tab", "psv"})
_NAMES = {
    "strings": "a binary file of unknown format",
    "compound": "a file of an older Office program",
    "delimited": "a table as text",
    "workbook": "a workbook",
    "text": "plain text",
    "pdf": "a PDF",
    "mail": "an e-mail",
    "json": "JSON",
    "xml": "XML",
    "html": "HTML",
    "parquet": "Parquet",
    "avro": "Avro",
    "orc": "ORC",
    "tar": "a tar file",
    "zip": "a zip file",
}


def kind_of(head: bytes, name: str, *, is_whole: bool) -> str:
    """Detect the format of a file from its start; the name decides only if the content is ambiguous.

    Args:
        head: Its start; 64 KiB are enough.
        name: Its name.
        is_whole: True if `head` is the whole file.

    Returns:
        `parquet`, `avro`, `orc`, `compound`, `pdf`, `zip`, `tar`, the name of a compression, `mail`, `json`,
        `xml`, `html`, `delimited`, `text`, `strings` for other binary files, `empty`.
    """
    if not head:
        return "empty"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if archive.looks_like_tar(head):
        return "tar"
    encoding = text.detect_encoding(head, is_whole=is_whole)
    if encoding is None:
        return "strings"
    start = _start(head, encoding)
    suffix = _suffix(name)
    if mail.looks_like_mail(head) or (suffix == "mbox" and head.startswith(b"From ")):
        return "mail"
    if suffix in ("json", "jsonl", "ndjson") and start.lstrip().startswith(("{", "[")):
        return "json"
    if json_values.looks_like_json(start, is_whole=is_whole):
        return "json"
    is_named_xml = suffix in ("xml", "xsd", "xsl", "svg") and not markup.starts_as_html(start)
    if markup.looks_like_html(start) and not is_named_xml:
        return "html"
    if markup.looks_like_xml(start) and (suffix in ("xml", "xsd", "xsl", "svg") or _closes(start)):
        return "xml"
    if delimited.detect_dialect(start, is_whole=is_whole, is_named=suffix in _TABLES) is not None:
        return "delimited"
    return "text"


def _closes(start: str) -> bool:
    return start.lstrip().startswith("<?xml") or "</" in start


def _start(head: bytes, encoding: text.Encoding) -> str:
    decoder = text.Decoder(encoding)
    return b"".join(decoder.utf8([head[encoding.mark :]])).decode()


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower().lstrip(".")


def read_content(
    file: BinaryIO,
    name: str,
    *,
    size: int | None = None,
    metadata: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    sampling: Sampling | None = None,
    in_full: Callable[[], bool] = lambda: False,
    column_words: Set[str] = frozenset(),
) -> Iterator[Item]:
    """Read an object in pieces.

    Args:
        file: The object, from its start; if it supports seeking, less is copied.
        name: Its name, which is also a piece.
        size: Its size in bytes, if known.
        metadata: Its tags and headers.
        limits: Limits on memory, time, and expanded content.
        sampling: How much of a large object is read at first.
        in_full: Called repeatedly; returns True once a sample is no longer enough.
        column_words: Words that are typical of column names, beside common ones.

    Yields:
        Pieces of text and columns, and problems.
    """
    limits = limits or Limits()
    reading = Reading(
        limits=limits,
        sampling=sampling or Sampling(),
        in_full=in_full,
        budget=Budget(limits.allowance(size), limits.parts),
        open_part=_read_part,
        column_words=column_words,
    )
    yield NamePiece(name.encode(errors="replace"))
    if metadata:
        lines = "\n".join(f"{key}: {value}" for key, value in metadata.items())
        yield TextPiece(lines.encode(errors="replace"), ("(metadata)",))
    yield from _read_part(Stream(file, name, size), reading)


def _read_part(stream: Stream, reading: Reading) -> Iterator[Item]:
    yield Part(reading.container)
    try:
        yield from _read_kind(stream, reading)
    except BaseException as error:
        if not is_about_content(error):
            raise
        yield reading.problem(
            ProblemKind.FAILED, f"its reader failed ({kind_of_error(error)}); its strings were read"
        )
        yield from _as_strings(stream, reading)
    finally:
        stream.close()
    if stream.problem is not None:
        yield reading.problem(stream.problem.kind, stream.problem.message)


def _as_strings(stream: Stream, reading: Reading) -> Iterator[Item]:
    """The strings of a part that its own reader could not finish."""
    try:
        if stream.is_rewindable:
            stream.rewind()
        yield from text.read_strings(stream, reading)
    except BaseException as error:
        if not is_about_content(error):
            raise
        yield reading.problem(ProblemKind.FAILED, f"its strings cannot be read ({kind_of_error(error)})")


def _read_kind(stream: Stream, reading: Reading) -> Iterator[Item]:
    kind = kind_of(stream.head, stream.name, is_whole=stream.is_in_head)
    if kind == "zip":
        kind = _kind_of_zip(stream)
    expected = _BY_SUFFIX.get(_suffix(stream.name))
    if expected and kind not in expected and kind not in ("empty", "encrypted parquet"):
        what = _NAMES.get(kind, "something else")
        yield reading.problem(
            ProblemKind.WRONG_SUFFIX, f"its name says .{_suffix(stream.name)}, its content is {what}"
        )
    yield from _reader(kind, stream, reading)


def _reader(kind: str, stream: Stream, reading: Reading) -> Iterator[Item]:
    match kind:
        case "empty":
            return iter(())
        case "parquet":
            return columnar.read_parquet(stream, reading)
        case "orc":
            return columnar.read_orc(stream, reading)
        case "avro":
            return avro.read_avro(stream, reading)
        case "workbook":
            return workbook.read_workbook(stream, reading)
        case "pdf":
            return pdf.read_pdf(stream, reading)
        case "zip":
            return archive.read_zip(stream, reading)
        case "tar":
            return archive.read_tar(stream, reading)
        case "compound":
            return _read_compound(stream, reading)
        case "encrypted parquet":
            return iter([reading.problem(ProblemKind.ENCRYPTED, "the Parquet file's footer is encrypted")])
        case "mail":
            return mail.read_mail(stream, reading)
        case "strings":
            return _read_binary(stream, reading)
    if kind in archive.COMPRESSED.values():
        return archive.read_compressed(stream, reading, kind)
    return chain(text.encrypted_text(stream.head, reading), _read_text_of_kind(kind, stream, reading))


def _read_text_of_kind(kind: str, stream: Stream, reading: Reading) -> Iterator[Item]:
    encoding = text.detect_encoding(stream.head, is_whole=stream.is_in_head)
    if encoding is None:
        return _read_binary(stream, reading)
    if kind == "json":
        return json_values.read_json(stream, reading, encoding)
    if kind == "xml":
        return markup.read_xml(stream, reading, encoding, as_text=_is_in_office_file(reading))
    if kind == "html":
        return markup.read_html(stream, reading, encoding)
    if kind == "delimited":
        start = _start(stream.head, encoding)
        dialect = delimited.detect_dialect(
            start,
            is_whole=stream.is_in_head,
            is_named=_suffix(stream.name) in _TABLES,
            column_words=reading.column_words,
        )
        if dialect is not None:
            return delimited.read_delimited(stream, reading, encoding, dialect)
    return text.read_text(stream, reading, encoding)


def _is_in_office_file(reading: Reading) -> bool:
    """Return True for parts of word processor and presentation files, where words are split over elements."""
    name = reading.container[-1] if reading.container else ""
    return len(reading.container) > 0 and (
        name.startswith(("word/", "ppt/")) or name in ("content.xml", "styles.xml", "meta.xml")
    )


def _read_binary(stream: Stream, reading: Reading) -> Iterator[Item]:
    yield from text.read_strings(stream, reading)
    yield reading.problem(
        ProblemKind.UNSUPPORTED, "its format is unknown; only its printable strings were read"
    )


def _kind_of_zip(stream: Stream) -> str:
    """Tell workbooks from other zip files by their content."""
    is_named = any(word in stream.head for word in (b"xl/", b"opendocument.spreadsheet"))
    if not is_named and _suffix(stream.name) not in ("xlsx", "xlsm", "xlsb", "ods"):
        return "zip"
    source = stream.random_access()
    try:
        with zipfile.ZipFile(source) as file:
            names = set(file.namelist()[:10_000])
            is_workbook = "[Content_Types].xml" in names and any(name.startswith("xl/") for name in names)
            if not is_workbook and "mimetype" in names:
                with file.open("mimetype") as mimetype:
                    is_workbook = b"spreadsheet" in mimetype.read(100)
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        NotImplementedError,
        EOFError,
    ):
        is_workbook = False
    stream.rewind()
    return "workbook" if is_workbook else "zip"


def _read_compound(stream: Stream, reading: Reading) -> Iterator[Item]:
    """Read a file of the older Office programs: a workbook, an encrypted document, or else its strings."""
    start = stream.head
    if "EncryptedPackage".encode("utf-16-le") in start or b"EncryptedPackage" in start:
        yield reading.problem(ProblemKind.ENCRYPTED, "the document is protected by a password")
        return
    is_workbook = any(word.encode("utf-16-le") in start for word in ("Workbook", "Book"))
    if is_workbook or _suffix(stream.name) == "xls":
        yield from workbook.read_workbook(stream, reading)
        return
    yield from _read_binary(stream, reading)
