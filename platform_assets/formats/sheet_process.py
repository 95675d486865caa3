"""A child process that reads one sheet of a workbook and prints its rows; run as a script only.

The workbook reader is native code that trusts its input: with two cells far apart it allocates more memory
than there is, which kills the process without an error. So it runs in a process of its own with limits. This
module imports only the standard library and the reader.

Each line on standard output is JSON: `[row, [cell, ...]]` where a cell is text, null, or `[text]` for a date;
`[row, "reason"]` for a row that cannot be converted; at last `{"end": true}`, or `{"problem": ...}`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import fcntl
import json
import os
import select
import signal
import sys
from typing import IO, Any

_LONGEST_CELL = 1024 * 1024
_LONGEST_ROW = 16 * 1024 * 1024
_EXACT = 2**53
_SMALLEST_EXPONENT = -30
_COMPOUND_FILE = b"\xd0\xcf\x11\xe0"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


def main(sheet: int | str | None, memory: int, seconds: int, parent_lives: int) -> None:
    """Print the rows of a sheet of the workbook on standard input, which is a file.

    Args:
        sheet: Name of the sheet, or its number from 1; null to load all sheets and print no row.
        memory: Limit of this process's memory, in bytes.
        seconds: Limit of its processor time, in seconds.
        parent_lives: A pipe that ends with the parent process.
    """
    _end_with(parent_lives)
    _limit(memory, seconds)
    import python_calamine

    # Pass a stream: the reader detects the format from the content, but would trust a path's suffix.
    with open(0, "rb", closefd=False) as file:
        try:
            book = python_calamine.CalamineWorkbook.from_filelike(file)
            kind = python_calamine.SheetTypeEnum.WorkSheet
            sheets = [sheet.name for sheet in book.sheets_metadata if sheet.typ == kind]
            if sheet is None:
                for name in book.sheet_names:
                    book.get_sheet_by_name(name)
            elif (named := _name(sheet, sheets)) is None:
                _print({"problem": "sheet", "sheets": len(sheets)})
                return
            else:
                _print_rows(book.get_sheet_by_name(named))
        except python_calamine.PasswordError:
            _print({"problem": "password"})
        except MemoryError:
            _print({"problem": "memory"})
        except BaseException as error:
            # The reader's panics are exceptions of its own kind that do not derive from Exception.
            if isinstance(error, KeyboardInterrupt | SystemExit | BrokenPipeError):
                raise
            _print({"problem": "password" if _is_encrypted(file) else "unreadable"})
        else:
            _print({"end": True})


def _name(sheet: int | str, sheets: list[str]) -> str | None:
    if isinstance(sheet, int):
        return sheets[sheet - 1] if sheet <= len(sheets) else None
    return sheet if sheet in sheets else None


def _print_rows(found: Any) -> None:
    empty = [None] * (found.start[1] if found.start else 0)
    for number, cells in enumerate(found.iter_rows(), 1):
        row = [_as_text(cell) for cell in cells]
        while row and row[-1] is None:
            row.pop()
        if row:
            _print([number, _refusal(cells) or [*empty, *row]])


def _end_with(pipe: int) -> None:
    """End this process when a pipe ends, also while native code runs: on Linux, SIGIO ends a process."""
    if sys.platform != "linux":
        signal.signal(signal.SIGIO, lambda *_: os._exit(1))
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([pipe], [], [], 0)[0]:
        sys.exit("the parent process has ended")


def _limit(memory: int, seconds: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # some systems have no such limits
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _print(line: Any) -> None:
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")


def _refusal(cells: list[Any]) -> str | None:
    lengths = [len(cell) for cell in cells if isinstance(cell, str)]
    if max(lengths, default=0) > _LONGEST_CELL:
        return "length(field)"
    return "length(line)" if sum(lengths) > _LONGEST_ROW else None


def _as_text(cell: Any) -> str | list[str] | None:
    """A cell's value as text."""
    match cell:
        case str():
            return cell or None
        case bool():
            return "true" if cell else "false"
        case float():
            return _number(cell)
        case dt.datetime() | dt.date():
            return [cell.isoformat()]
        case dt.time():
            return cell.isoformat()
        case dt.timedelta():
            return _duration(cell)
        case None:
            return None
        case _:
            return str(cell)


def _number(value: float) -> str:
    """A number with the 15 digits of Excel's precision, so that 0.1 + 0.2 appears as in Excel."""
    if value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    text = f"{value:.15g}"
    _, _, exponent = text.partition("e")
    # Numbers beyond exact integers keep their exponent and are not integers.
    is_small = exponent.startswith("-") and int(exponent) >= _SMALLEST_EXPONENT
    return format(decimal.Decimal(text), "f") if is_small else text


def _duration(value: dt.timedelta) -> str:
    sign = "-" if value < dt.timedelta() else ""
    whole = abs(value)
    minutes, seconds = divmod(whole.days * 86_400 + whole.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{whole.microseconds:06d}" if whole.microseconds else ""
    return f"{sign}{hours:02d}:{minutes:02d}:{seconds:02d}{fraction}"


def _is_encrypted(file: IO[bytes]) -> bool:
    """Return True if the file is a workbook encrypted by Office."""
    file.seek(0)
    head = file.read(_LONGEST_CELL)
    return head.startswith(_COMPOUND_FILE) and _ENCRYPTED in head


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
