"""Bytes that were read are not content that was inspected: of every format, what was not is said."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from email.message import EmailMessage

import pyarrow as pa
import pytest

from platform_assets.formats.problems import ProblemKind
from platform_assets_tests.formats.test_formats import (
    NEEDLE,
    PEOPLE,
    Item,
    Problem,
    a_parquet,
    a_tar,
    a_workbook,
    a_zip,
    items,
    problems,
    texts,
    zstd,
)


def said(found: list[Item]) -> str:
    return " ".join(item.message for item in found if isinstance(item, Problem))


def by_method(method: int) -> bytes:
    data = bytearray(a_zip({"a.txt": NEEDLE.encode() * 9, "b.txt": NEEDLE.encode()}))
    struct.pack_into("<H", data, 8, method)
    struct.pack_into("<H", data, data.index(b"PK\x01\x02") + 10, method)
    return bytes(data)


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (1, "shrink"),
        (6, "implode"),
        (9, "Deflate64"),
        (93, "Zstandard"),
        (95, "XZ"),
        (98, "PPMd"),
        (77, "unknown"),
    ],
)
@pytest.mark.parametrize("cut", [0, 40])
def test_a_compression_of_zip_that_is_not_supported_is_named_and_the_other_files_are_read(
    method: int, name: str, cut: int
) -> None:
    data = by_method(method)
    found = items(data[: len(data) - cut], "x.zipx")
    assert (ProblemKind.UNSUPPORTED, ("a.txt",)) in problems(found)
    assert f"method {method} " in said(found)
    assert name in said(found)
    assert texts(found).count(NEEDLE) == 1
    assert "NotImplementedError" not in said(found)


@pytest.mark.parametrize("flag", [1, 1 << 6, 1 << 13])
def test_every_kind_of_lock_on_a_zip_s_file_is_encryption(flag: int) -> None:
    data = bytearray(a_zip({"a.txt": b"x"}))
    for place in (6, data.index(b"PK\x01\x02") + 8):
        struct.pack_into("<H", data, place, flag)
    assert problems(items(bytes(data), "x.zip")) == [(ProblemKind.ENCRYPTED, ("a.txt",))]


def test_what_follows_the_end_of_an_archive_is_read() -> None:
    one = a_tar({"a.txt": NEEDLE.encode()})
    twice = items(one + one, "x.tar")
    assert (texts(twice).count(NEEDLE), problems(twice)) == (2, [])
    other = items(one + b"no tar " + NEEDLE.encode(), "x.tar")
    assert (texts(other).count(NEEDLE), problems(other)) == (2, [(ProblemKind.UNSUPPORTED, ())])
    for pack in (gzip.compress, zstd):
        packed = pack(NEEDLE.encode())
        assert texts(items(packed + packed, "x.txt")).count(NEEDLE) == 2
    padded = gzip.compress(NEEDLE.encode()) + bytes(200_000)
    assert problems(items(padded, "x.gz")) == []
    assert texts(items(padded + padded, "x.gz")).count(NEEDLE) == 2


ARMOURED = (
    b"-----BEGIN PGP MESSAGE-----\n\nhQEMA1\n-----END PGP MESSAGE-----\n",
    b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n",
    b"$ANSIBLE_VAULT;1.1;AES256\n6231\n",
    b"U2FsdGVkX1+abcdefghijklmnopqrstuvwxyz0123456789==\n",
    b"-----BEGIN PKCS7-----\nMIIB\n-----END PKCS7-----\n",
)


@pytest.mark.parametrize("data", ARMOURED, ids=lambda data: data[:16].decode())
def test_an_encrypted_message_in_letters_was_not_inspected(data: bytes) -> None:
    for given in (data, b"see below\n\n" + data, data.decode().encode("utf-16")):
        assert ProblemKind.ENCRYPTED in {kind for kind, _ in problems(items(given, "x.txt"))}
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@b.example", "c@d.example", "x"
    message["Message-ID"] = "<1@b.example>"
    message.set_content("hello\n" + data.decode())
    message.add_attachment(data, maintype="application", subtype="octet-stream", filename="encrypted.asc")
    kinds = [kind for kind, _ in problems(items(message.as_bytes(), "x.eml"))]
    assert kinds.count(ProblemKind.ENCRYPTED) == 2


def test_a_signature_or_a_key_is_no_encrypted_message() -> None:
    for text in (
        b"-----BEGIN PGP SIGNED MESSAGE-----\n\nhello\n-----BEGIN PGP SIGNATURE-----\n\nx\n",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n",
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    ):
        assert problems(items(text, "x.txt")) == []


def test_what_stands_between_the_parts_of_a_message_is_read_and_an_unknown_coding_is_said() -> None:
    message = (
        "From: a@b.example\nTo: c@d.example\nMessage-ID: <1@b>\nMIME-Version: 1.0\n"
        'Content-Type: multipart/mixed; boundary="x"\n\n'
        f"before {NEEDLE}\n--x\nContent-Type: text/plain\nContent-Transfer-Encoding: x-gzip64\n\nH4sI\n"
        f"--x--\nafter {NEEDLE}\n"
    )
    found = items(message.encode(), "x.eml")
    assert texts(found).count(NEEDLE) == 2
    assert [kind for kind, _ in problems(found)] == [ProblemKind.UNSUPPORTED]


def test_values_nested_deeper_than_tables_are_made_are_read_as_text() -> None:
    for wrap in (lambda value: [value], lambda value: {"a": value}):
        value: object = NEEDLE
        for _ in range(14):
            value = wrap(value)
        found = items(a_parquet(pa.table({"v": pa.array([value, None])})), "x.parquet")
        assert (NEEDLE in texts(found), problems(found)) == (True, [])


def a_full_workbook() -> bytes:
    """A workbook with what stands beside its cells, as spreadsheet programs write it."""
    schemas = "http://schemas.openxmlformats.org"
    link = f'Id="rId1" Type="{schemas}/officeDocument/2006/relationships/hyperlink"'
    parts = {
        "docProps/core.xml": f'<c:coreProperties xmlns:c="{schemas}/package/2006/metadata/core-properties" '
        f'xmlns="{schemas}/x"><creator>author-{NEEDLE}</creator></c:coreProperties>',
        "xl/comments1.xml": f'<comments xmlns="{schemas}/spreadsheetml/2006/main"><commentList>'
        f'<comment ref="A1"><text><t>comment-{NEEDLE}</t></text></comment></commentList></comments>',
        "xl/drawings/drawing1.xml": f'<wsDr xmlns="{schemas}/drawingml/2006/spreadsheetDrawing" '
        f'xmlns:a="{schemas}/drawingml/2006/main"><sp><a:t>box-{NEEDLE}</a:t></sp></wsDr>',
        "xl/worksheets/_rels/sheet1.xml.rels": f'<Relationships xmlns="{schemas}/package/2006/relationships">'
        f'<Relationship {link} Target="https://company.example/{NEEDLE}" TargetMode="External"/>'
        f'<Relationship Id="rId2" Type="{schemas}/comments" Target="../comments1.xml"/></Relationships>',
    }
    buffer = io.BytesIO(a_workbook([["a", "b"], ["1", "2"]]))
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, text in parts.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return buffer.getvalue()


def test_comments_boxes_links_and_properties_of_a_workbook_are_read() -> None:
    found = items(a_full_workbook(), "x.xlsx")
    everything = texts(found)
    for part in ("author-", "comment-", "box-", "https://company.example/"):
        assert part + NEEDLE in everything
    assert "schemas.openxmlformats.org" not in everything
    assert problems(found) == []


def test_pictures_and_embedded_files_of_a_workbook_are_opened_or_reported() -> None:
    buffer = io.BytesIO(a_workbook([["a", "b"], ["1", "2"]]))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("xl/media/image1.png", b"\x89PNG\r\n\x1a\n" + bytes(100))
        archive.writestr("xl/embeddings/table.parquet", a_parquet(PEOPLE))
        archive.writestr("xl/vbaProject.bin", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    found = items(buffer.getvalue(), "x.xlsx")
    assert {container for _, container in problems(found)} == {
        ("xl/media/image1.png",),
        ("xl/vbaProject.bin",),
    }
    assert NEEDLE in texts(found)
