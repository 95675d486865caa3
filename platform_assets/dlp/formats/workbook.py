"""Excel and OpenDocument workbooks, sheet by sheet."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from platform_assets.dlp.formats.archive import read_zip
from platform_assets.dlp.formats.delimited import is_header, unique_names
from platform_assets.dlp.formats.reading import (
    ColumnsPiece,
    Item,
    NamePiece,
    Part,
    Reading,
    Stream,
    TextPiece,
)
from platform_assets.dlp.formats.text import read_strings
from platform_assets.dlp.model import ProblemKind

_ROWS = 8_192


def read_workbook(stream: Stream, reading: Reading) -> Iterator[Item]:
    """Read the sheets of a workbook, hidden ones too. It is held whole, so its size is looked at first."""
    import python_calamine

    source = stream.random_access()
    size = _unpacked_size(source)
    is_zip = stream.head.startswith(b"PK")
    limit = reading.limits.document
    if size > limit:
        yield reading.problem(
            ProblemKind.TOO_LARGE,
            f"as a workbook it takes more than {limit:,} bytes; its parts were read one by one. Raise the "
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
        # The reader is not Python: what it stumbles over may also come as its own kind of panic.
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


def _is_about_the_file(error: BaseException) -> bool:
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _as_strings(stream: Stream, reading: Reading, what: str) -> Iterator[Item]:
    yield reading.problem(ProblemKind.CORRUPT, f"{what}; its strings were read")
    stream.rewind()
    yield from read_strings(stream, reading)


def _unpacked_size(source: Any) -> int:
    """Bytes of a workbook without its compression; what a zip file says of them has to be possible."""
    source.seek(0, 2)
    size: int = source.tell()
    source.seek(0)
    try:
        with zipfile.ZipFile(source) as archive:
            return sum(_real_size(archive, member) for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        return size


def _real_size(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    # What deflate can make of so many bytes at the most.
    return member.file_size if member.file_size <= 1_032 * member.compress_size + 64 else 1 << 62


def _sheet(rows: Iterator[Sequence[Any]], reading: Reading) -> Iterator[Item]:
    header: list[str] | None = None
    gathered: list[list[str | None]] = []
    first_row = 0
    for cells in rows:
        gathered.append([_text(cell) for cell in cells])
        if len(gathered) >= _ROWS:
            header, pieces = _piece(gathered, header, first_row, reading)
            yield from pieces
            first_row += len(gathered)
            gathered = []
    if gathered:
        _, pieces = _piece(gathered, header, first_row, reading)
        yield from pieces


def _piece(
    rows: list[list[str | None]], header: list[str] | None, first_row: int, reading: Reading
) -> tuple[list[str], list[Item]]:
    items: list[Item] = []
    if header is None:
        texts = [[cell or "" for cell in row] for row in rows]
        # A title or empty rows may stand above the table.
        at = next((place for place, row in enumerate(texts[:20]) if sum(map(bool, row)) * 2 > len(row)), 0)
        width = max(len(row) for row in rows)
        if is_header(texts[at], texts[at + 1 : at + 200]):
            header = unique_names(texts[at] + [""] * (width - len(texts[at])))
            above = "\n".join("\t".join(row) for row in texts[: at + 1])
            items.append(TextPiece(above.encode(errors="replace"), reading.container))
            rows = rows[at + 1 :]
        else:
            header = unique_names([""] * width)
    columns = {
        name: pa.array([row[at] if at < len(row) else None for row in rows], pa.large_string())
        for at, name in enumerate(header)
    }
    if rows:
        items.append(ColumnsPiece(columns, first_row, reading.container))
    return header, items


def _text(cell: Any) -> str | None:
    if isinstance(cell, str):
        return cell.encode(errors="replace").decode() or None
    if isinstance(cell, bool) or cell is None:
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e20:
        return str(int(cell))
    if isinstance(cell, dt.datetime) and cell.time() == dt.time():
        return cell.date().isoformat()
    return str(cell)
