"""Excel and OpenDocument workbooks, sheet by sheet."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence, Set
from itertools import islice, zip_longest
from typing import Any

import pyarrow as pa

from platform_assets.formats.archive import read_zip
from platform_assets.formats.delimited import unique_names
from platform_assets.formats.headers import is_header
from platform_assets.formats.problems import ProblemKind
from platform_assets.formats.reading import (
    ColumnsPiece,
    Item,
    NamePiece,
    Part,
    Reading,
    Stream,
    TextPiece,
)
from platform_assets.formats.sheets import SheetUnreadable, read_sheet
from platform_assets.formats.text import read_strings

_ROWS = 8_192
_CELLS = 1 << 19
_HEADER_ROWS = 220
_SLICE = 1 << 20
# Bytes of the limit assumed for each cell: the reader allocates all cells between a sheet's first and last.
_CELL = 128
# Address space of the interpreter and the reader, in addition to the workbook.
_READER = 512 << 20
_READER_SECONDS = 300
# Parts of a workbook that are read as cells, or that contain formats and relations only.
_CELLS_AND_LOOKS = re.compile(
    r"\[content_types\]\.xml|(?:.*/)?_rels/[^/]*\.rels|xl/(?:workbook|sharedstrings|styles|metadata|calcchain)\.\w+"
    r"|xl/worksheets/[^/]*|xl/worksheets/binaryindex\d*\.bin|xl/theme/.*|xl/printersettings/.*"
    r"|docprops/thumbnail\.\w+|mimetype|content\.xml|styles\.xml|settings\.xml|meta-inf/manifest\.xml"
    r"|manifest\.rdf|thumbnails/.*|configurations2/.*"
)
_RELATION = re.compile(r"<[^>]*\bRelationship\b[^>]*>")
_TARGET = re.compile(r"""\bTarget\s*=\s*["']([^"']*)""")
_LONGEST_RELATIONS = 4 << 20
_PLACE = re.compile(rb"""\sr\s*=\s*["']([A-Za-z]{0,3})([0-9]{1,10})""")
_ROW = re.compile(rb"<(?:[\w.-]+:)?row[\s/>]")
# A cell or a row without a position. Most positions come first, and prefixes of namespaces are rare.
_UNPLACED = rb"(?:c|row)(?=[\s/>])(?! r=)(?![^>]*\sr\s*=)"
_CELL_ANYWHERE = re.compile(rb"<" + _UNPLACED)
_PREFIXED_ANYWHERE = re.compile(rb"<(?:[\w.-]+:)?" + _UNPLACED)


def read_workbook(stream: Stream, reading: Reading) -> Iterator[Item]:
    """Read all sheets of a workbook, also hidden ones. It is held in memory, so its size is checked first."""
    import python_calamine

    source = stream.random_access()
    size = _unpacked_size(source)
    is_zip = stream.head.startswith(b"PK")
    limit = reading.limits.memory // 4
    if size > limit or not _fits(source, reading.limits.memory):
        yield reading.problem(
            ProblemKind.TOO_LARGE,
            f"as a workbook it needs more than {limit:,} bytes; its parts were read one by one. Raise the "
            "memory that an inspection may use to have it read as tables",
        )
        stream.rewind()
        yield from read_zip(stream, reading) if is_zip else read_strings(stream, reading)
        return
    source.seek(0)
    try:
        workbook = python_calamine.CalamineWorkbook.from_filelike(source)
        names = list(workbook.sheet_names)
    except python_calamine.PasswordError:
        yield reading.problem(ProblemKind.ENCRYPTED, "the workbook is protected by a password")
        return
    except BaseException as error:
        # The reader is native code: its panics are exceptions of its own kind.
        if not _is_about_the_file(error):
            raise
        yield from _as_strings(stream, reading, "it cannot be read as a workbook")
        return
    for name in names:
        yield Part((*reading.container, name))
        yield NamePiece(name.encode(errors="replace"), reading.container)
        within = reading.within(name)
        try:
            yield from _sheet(workbook.get_sheet_by_name(name).iter_rows(), within)
        except BaseException as error:
            if not _is_about_the_file(error):
                raise
            yield within.problem(ProblemKind.CORRUPT, f"the sheet cannot be read ({type(error).__name__})")
    if is_zip:
        links = _links(source)
        if links:
            yield TextPiece("\n".join(links).encode(errors="replace"), (*reading.container, "(links)"))
        stream.rewind()
        yield from read_zip(stream, reading, wanted=_is_beside_cells)


def _is_beside_cells(name: str) -> bool:
    """Return True if a part of a workbook contains anything besides cells and their formats."""
    return not name.endswith("/") and not _CELLS_AND_LOOKS.fullmatch(name.lower())


def _links(source: Any) -> list[str]:
    """The external addresses that a workbook refers to."""
    found: list[str] = []
    try:
        with zipfile.ZipFile(source) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".rels"):
                    with archive.open(member) as file:
                        data = file.read(_LONGEST_RELATIONS).decode("utf-8", "replace")
                    for tag in _RELATION.findall(data):
                        if "External" in tag and (target := _TARGET.search(tag)):
                            found.append(target[1])
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError, zlib.error):
        # Errors of the file are reported where its parts are read.
        return found
    return found


def _is_about_the_file(error: BaseException) -> bool:
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _as_strings(stream: Stream, reading: Reading, what: str) -> Iterator[Item]:
    yield reading.problem(ProblemKind.CORRUPT, f"{what}; its strings were read")
    stream.rewind()
    yield from read_strings(stream, reading)


def _unpacked_size(source: Any) -> int:
    """The uncompressed size of a workbook; sizes in the zip file must be plausible."""
    source.seek(0, 2)
    size: int = source.tell()
    source.seek(0)
    try:
        with zipfile.ZipFile(source) as archive:
            return sum(_real_size(archive, member) for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        return size


def _fits(source: Any, memory: int) -> bool:
    """Return True if a workbook can be read in the given memory, tested in a separate process if needed."""
    try:
        with zipfile.ZipFile(source) as archive:
            has_book = "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        has_book = False
    if has_book:
        return _cells(source) <= memory // _CELL
    # Other formats have no cell positions that can be checked quickly: try in another process.
    with tempfile.TemporaryFile() as copy:
        source.seek(0)
        shutil.copyfileobj(source, copy)
        copy.flush()
        limits = {"memory": _READER + memory, "seconds": _READER_SECONDS}
        try:
            with read_sheet(copy, None, **limits) as rows:
                list(rows)
        except SheetUnreadable as error:
            # Whatever else is wrong with the workbook is found where it is read.
            return error.problem not in ("memory", "killed", "garbled")
    return True


def _cells(source: Any) -> int:
    """Number of cells in the largest rectangle that a sheet spans; a few distant cells span a large one."""
    most = 0
    try:
        with zipfile.ZipFile(source) as archive:
            for member in archive.infolist():
                data = archive.read(member)
                if data.startswith((b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")):
                    # Cell positions cannot be searched in this encoding.
                    return 1 << 62
                if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
                    most = max(most, _cells_of_sheet(data))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError, zlib.error):
        return most
    return most


def _cells_of_sheet(data: bytes) -> int:
    if b"sheetData" not in data:
        return 0
    if b"<!--" in data or b"<![CDATA[" in data:
        # Comments and CDATA may contain text that looks like elements.
        return 1 << 62
    columns: set[bytes] = set()
    numbers: set[bytes] = set()
    start = 0
    while start < len(data):
        end = data.rfind(b"<", start + 1, start + _SLICE) if len(data) > start + _SLICE else len(data)
        end = end if end > start else len(data)
        places = _PLACE.findall(data, start, end)
        columns.update({column for column, _ in places})
        numbers.update({number for _, number in places})
        start = end
    width = max(map(_number_of, columns), default=0)
    last_row = max(map(int, numbers), default=0)
    has_prefixes = b":c" in data or b":row" in data
    if (_PREFIXED_ANYWHERE if has_prefixes else _CELL_ANYWHERE).search(data):
        # Rows and cells without a position follow those before them.
        rows = _ROW.split(data) if b":row" in data else data.split(b"<row")
        last_row += len(rows)
        width += max(row.count(b"<c") + row.count(b":c") for row in rows)
    return last_row * width


def _number_of(column: bytes) -> int:
    number = 0
    for letter in column.upper():
        number = number * 26 + letter - 64
    return number


def _real_size(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    # The maximum expansion of deflate.
    return member.file_size if member.file_size <= 1_032 * member.compress_size + 64 else 1 << 62


def _sheet(rows: Iterator[Sequence[Any]], reading: Reading) -> Iterator[Item]:
    header: list[str] | None = None
    first_row = 0
    for first in rows:
        at_once = max(min(_ROWS, _CELLS // max(len(first), 1)), 1)
        gathered = [first, *islice(rows, at_once - 1)]
        if header is None:
            header, above = _header(gathered, reading.column_words)
            if above:
                yield TextPiece("\n".join(map("\t".join, above)).encode(), reading.container)
                gathered = gathered[len(above) :]
        if gathered:
            columns = dict(zip(header, map(_column, zip_longest(*gathered)), strict=False))
            yield ColumnsPiece(columns, first_row, reading.container)
        first_row += len(gathered)


def _header(rows: Sequence[Sequence[Any]], words: Set[str]) -> tuple[list[str], list[list[str]]]:
    """Names of the columns, and the texts of the rows up to and including the header."""
    texts = [[_text(cell) or "" for cell in row] for row in rows[:_HEADER_ROWS]]
    # A title or empty rows may precede the table.
    at = next((place for place, row in enumerate(texts[:20]) if sum(map(bool, row)) * 2 > len(row)), 0)
    width = max(map(len, rows))
    if is_header(texts[at], texts[at + 1 : at + 200], words):
        return unique_names(texts[at] + [""] * (width - len(texts[at]))), texts[: at + 1]
    return unique_names([""] * width), []


def _column(cells: Sequence[Any]) -> pa.Array:
    texts = cells
    if set(map(type, cells)) != {str} or "" in cells:
        texts = [_text(cell) for cell in cells]
    return pa.array(texts, pa.large_string())


def _text(cell: Any) -> str | None:
    if isinstance(cell, str):
        return cell or None
    if isinstance(cell, bool) or cell is None:
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e20:
        return str(int(cell))
    if isinstance(cell, dt.datetime) and cell.time() == dt.time():
        return cell.date().isoformat()
    return str(cell)
