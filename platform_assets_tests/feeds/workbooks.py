"""Workbooks as small as the format allows, written here; what is broken in them is broken on purpose."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_EPOCH = dt.datetime.fromisoformat("1899-12-30T00:00:00")
_DAY, _TIME, _HOURS = 1, 2, 3
"""Styles of cells: a date, a date with a time of day, a duration."""


def cell(value: Any, place: str) -> str:
    """A cell; `place` is what the sheet calls it."""
    match value:
        case None:
            return ""
        case bool():
            return f'<c r="{place}" t="b"><v>{value:d}</v></c>'
        case int() | float():
            return f'<c r="{place}"><v>{value!r}</v></c>'
        case dt.datetime():
            return f'<c r="{place}" s="{_TIME}"><v>{(value - _EPOCH) / dt.timedelta(days=1)!r}</v></c>'
        case dt.date():
            days = dt.datetime.combine(value, dt.time()) - _EPOCH
            return f'<c r="{place}" s="{_DAY}"><v>{days.days}</v></c>'
        case dt.timedelta():
            return f'<c r="{place}" s="{_HOURS}"><v>{value / dt.timedelta(days=1)!r}</v></c>'
        case _:
            return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'


def rows_xml(rows: Iterable[Sequence[Any]], first: int = 1) -> str:
    """Rows of a sheet, the first of which has this number; an empty one is not written."""
    told = []
    for number, row in enumerate(rows, first):
        cells = "".join(cell(value, f"{letter(place)}{number}") for place, value in enumerate(row))
        told.append(f'<row r="{number}">{cells}</row>' if cells else "")
    return "".join(told)


def sheet_xml(rows: str) -> str:
    """A sheet of rows."""
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{rows}</sheetData></worksheet>'


def letter(place: int) -> str:
    """What a sheet calls one of its first 26 columns."""
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[place]


def a_workbook(sheets: Mapping[str, str | Iterable[Sequence[Any]]]) -> bytes:
    """A workbook of sheets, by name, each given by its rows or as XML."""
    named = enumerate(sheets, 1)
    listed = "".join(f'<sheet name="{escape(name)}" sheetId="{at}" r:id="r{at}"/>' for at, name in named)
    targets = "".join(
        f'<Relationship Id="r{at}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{at}.xml"/>'
        for at in range(1, len(sheets) + 1)
    )
    styles = f'<Relationship Id="styles" Type="{_OFFICE}/styles" Target="styles.xml"/>'
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">{targets}{styles}'
        "</Relationships>",
        "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}"><numFmts count="1"><numFmt numFmtId="170" '
        'formatCode="[h]:mm:ss"/></numFmts><cellXfs count="4"><xf numFmtId="0"/><xf numFmtId="14"/>'
        '<xf numFmtId="22"/><xf numFmtId="170"/></cellXfs></styleSheet>',
    }
    for at, content in enumerate(sheets.values(), 1):
        data = content if isinstance(content, str) else rows_xml(content)
        parts[f"xl/worksheets/sheet{at}.xml"] = sheet_xml(data)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, f'<?xml version="1.0"?>{text}')
    return written.getvalue()


def far_apart(sheet: str = "Orders") -> bytes:
    """Two cells, between which a reader makes room for 17 billion."""
    places = {1: "A1", 1_048_576: "XFD1048576"}
    return a_workbook(
        {sheet: "".join(f'<row r="{row}"><c r="{place}"><v>1</v></c></row>' for row, place in places.items())}
    )


def encrypted() -> bytes:
    """What Office makes of a workbook with a password, as far as a reader looks."""
    return (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + "EncryptedPackage".encode("utf-16-le") + bytes(512)
    )
