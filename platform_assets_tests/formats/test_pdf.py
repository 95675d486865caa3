"""What is in a PDF is inspected, or it is said that it was not, however the file is broken."""

from __future__ import annotations

import base64
import io
import random
import zlib

import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig, InspectResult, Status
from platform_assets.dlp.scan import scan_object
from platform_assets.formats.pdf_repair import shown_text
from platform_assets.formats.problems import ProblemKind
from platform_assets_tests.dlp.test_columns import card

CARD = card(random.Random(5))
CONTENT = f"BT /F1 12 Tf 72 720 Td (card number {CARD}) Tj ET".encode()
FONT = b"/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
PAGE = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << %s >> >>" % FONT


def a_stream(content: bytes, head: bytes = b"") -> bytes:
    return b"<< %s/Length %d >>\nstream\n%s\nendstream" % (head, len(content), content)


def flate(content: bytes, head: bytes = b"") -> bytes:
    return a_stream(zlib.compress(content), b"/Filter /FlateDecode " + head)


def a_file(*objects: bytes, trailer: bytes | None = b"/Root 1 0 R") -> bytes:
    """A PDF of these objects, numbered from 1; empty ones are left out. It may have no trailer."""
    data, places = b"%PDF-1.5\n", {}
    for number, body in enumerate(objects, 1):
        if body:
            places[number] = len(data)
            data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    if trailer is None:
        return data
    start = len(data)
    data += b"xref\n0 1\n0000000000 65535 f \n"
    data += b"".join(b"%d 1\n%010d 00000 n \n" % place for place in places.items())
    size = len(objects) + 1
    return data + b"trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, start)


CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
PAGES = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"


def packed(*members: tuple[int, bytes]) -> bytes:
    """A stream that packs objects together."""
    bodies = [body + b" " for _, body in members]
    offsets = [sum(map(len, bodies[:at])) for at in range(len(bodies))]
    index = (
        b" ".join(b"%d %d" % (number, at) for (number, _), at in zip(members, offsets, strict=True)) + b" "
    )
    head = b"/Type /ObjStm /N %d /First %d " % (len(members), len(index))
    return flate(index + b"".join(bodies), head)


def scan(data: bytes) -> InspectResult:
    inspector = LocalInspector(InspectConfig(), b"k" * 32)
    return scan_object(io.BytesIO(data), "x.pdf", inspector, size=len(data))


def kinds(result: InspectResult) -> set[ProblemKind]:
    return {problem.kind for problem in result.problems}


def test_a_sound_file_is_inspected_and_nothing_is_said() -> None:
    result = scan(a_file(CATALOG, PAGES, PAGE, flate(CONTENT)))
    assert (result.status, set(result.tallies)) == (Status.INSPECTED, {"CREDIT_CARD_NUMBER"})


@pytest.mark.parametrize(
    "data",
    [
        a_file(CATALOG, PAGES, PAGE, flate(CONTENT), trailer=None),
        a_file(CATALOG, PAGES, PAGE, flate(CONTENT)).replace(b"startxref\n", b"startxref\n9"),
        a_file(b"", PAGES, PAGE, flate(CONTENT), trailer=None),
        a_file(b"", b"", PAGE, flate(CONTENT), trailer=None),
        a_file(packed((1, CATALOG), (2, PAGES), (3, PAGE)), b"", b"", flate(CONTENT), trailer=None)
        .replace(b"1 0 obj", b"9 0 obj", 1),
        a_file(b"", b"", b"", flate(CONTENT), trailer=None),
        a_file(b"", b"", b"", flate(CONTENT + b" % the end" * 9)[:-16], trailer=None),
        a_file(b"", b"", b"", a_stream(CONTENT), trailer=None),
        a_file(
            b"", b"", b"",
            a_stream(base64.a85encode(zlib.compress(CONTENT)) + b"~>", b"/Filter [/A85 /FlateDecode] "),
            trailer=None,
        ),
        a_file(b"", b"", b"", a_stream(CONTENT.hex().encode() + b">", b"/Filter /AHx "), trailer=None),
        a_file(b"", b"", b"", flate(f"a list\n{CARD}\n".encode(), b"/Type /EmbeddedFile "), trailer=None),
    ],
    ids=[
        "no-trailer", "wrong-startxref", "no-catalog", "no-pages", "packed-objects", "no-page", "cut-stream",
        "plain-stream", "two-filters", "hexadecimal", "attachment",
    ],
)  # fmt: skip
def test_what_can_be_saved_of_a_broken_file_is_inspected_and_it_is_never_called_whole(data: bytes) -> None:
    result = scan(data)
    assert "CREDIT_CARD_NUMBER" in result.tallies
    assert result.status is Status.PARTIAL or kinds(result) <= {ProblemKind.CORRUPT, ProblemKind.TRUNCATED}
    assert result.reason or result.status is Status.INSPECTED


@pytest.mark.parametrize(
    "data",
    [
        b"%PDF-1.4\n" + bytes(45),
        b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n",
        a_file(b"", b"", b"", a_stream(bytes(range(256)), b"/Filter /JBIG2Decode "), trailer=None),
        a_file(b"", b"", b"", a_stream(bytes(range(256)), b"/Filter [/Crypt] "), trailer=None),
        a_file(b"", b"", b"", a_stream(b"no zlib" * 20, b"/Filter /FlateDecode "), trailer=None),
        a_file(b"", b"", b"", flate(b"BT <00010002001F> Tj ET"), trailer=None),
    ],
    ids=["54-bytes", "no-pages", "fax", "locked", "no-zlib", "glyphs"],
)
def test_bytes_that_were_read_are_no_content_that_was_inspected(data: bytes) -> None:
    result = scan(data)
    assert (result.status, result.tallies) == (Status.UNREADABLE, {})
    assert ProblemKind.CORRUPT in kinds(result)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (a_file(CATALOG, PAGES, PAGE, flate(CONTENT * 9)[:-60] + b"\nendstream"), ProblemKind.CORRUPT),
        (a_file(CATALOG, PAGES, PAGE), ProblemKind.CORRUPT),
        (
            a_file(CATALOG, PAGES, PAGE.replace(b"4 0 R", b"[4 0 R 5 0 R]"), flate(CONTENT)),
            ProblemKind.CORRUPT,
        ),
        (
            a_file(
                CATALOG, PAGES, PAGE.replace(FONT, b"/XObject << /I 5 0 R >>"), flate(CONTENT),
                a_stream(b"xyz", b"/Type /XObject /Subtype /Image "),
            ),
            ProblemKind.UNSUPPORTED,
        ),
    ],
    ids=["cut-contents", "no-contents", "one-of-two", "picture-beside-text"],
)  # fmt: skip
def test_a_page_of_which_something_was_not_read_says_so(data: bytes, kind: ProblemKind) -> None:
    result = scan(data)
    assert result.status is not Status.INSPECTED
    assert kind in kinds(result)


def test_bookmarks_and_properties_are_inspected() -> None:
    catalog = b"<< /Type /Catalog /Pages 2 0 R /Outlines 5 0 R /Metadata 7 0 R >>"
    outlines = b"<< /Type /Outlines /First 6 0 R /Last 6 0 R /Count 1 >>"
    title = b"<< /Title (write to somebody@company-three.com) /Parent 5 0 R >>"
    xmp = f'<x:xmpmeta xmlns:x="https://ns.example.org/"><dc>card number {CARD}</dc></x:xmpmeta>'.encode()
    data = a_file(catalog, PAGES, PAGE, flate(b"BT ET"), outlines, title, flate(xmp, b"/Type /Metadata "))
    result = scan(data)
    assert set(result.tallies) == {"CREDIT_CARD_NUMBER", "EMAIL_ADDRESS"}
    assert result.status is Status.INSPECTED


def test_strings_of_a_content_stream_are_put_together_as_they_are_shown() -> None:
    content = rb"BT [(41) -20 (11)] TJ 0 -12 Td (a \(b\) \101\
c) Tj T* <646566> Tj ET BT (last) ' ET"
    assert shown_text(content) == b"4111\na (b) Ac\ndef\nlast\n"
