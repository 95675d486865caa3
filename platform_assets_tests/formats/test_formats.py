"""Every kind of file gives what is in it, where it is; what is wrong with it is said."""

from __future__ import annotations

import bz2
import datetime as dt
import gzip
import io
import json
import lzma
import os
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from email.message import EmailMessage
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest

from platform_assets.formats.content import (
    ColumnsPiece,
    Item,
    Limits,
    NamePiece,
    Part,
    Problem,
    Sampling,
    Skipped,
    TextPiece,
    read_content,
)
from platform_assets.formats.problems import ProblemKind

NEEDLE = "needle-7316"


def items(data: bytes, name: str, **options: Any) -> list[Item]:
    return list(read_content(io.BytesIO(data), name, size=len(data), **options))


def problems(found: list[Item]) -> list[tuple[ProblemKind, tuple[str, ...]]]:
    return [(item.kind, item.container) for item in found if isinstance(item, Problem)]


def texts(found: list[Item]) -> str:
    """Everything that is handed to an inspector, as one text."""
    parts = []
    for item in found:
        if isinstance(item, TextPiece):
            start, end = item.own or (0, len(item.text))
            parts.append(item.text[start:end].decode())
        elif isinstance(item, ColumnsPiece):
            parts += [value for column in item.columns.values() for value in column.to_pylist() if value]
    return "\n".join(parts)


def columns(found: list[Item]) -> dict[str, list[str | None]]:
    gathered: dict[str, list[str | None]] = {}
    for item in found:
        if isinstance(item, ColumnsPiece):
            for name, values in item.columns.items():
                gathered.setdefault(name, []).extend(values.to_pylist())
    return gathered


def a_workbook(rows: list[list[str]], sheet: str = "People") -> bytes:
    """An .xlsx file as small as the format allows, its texts inline."""
    cells = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{cell}</t></is></c>' for cell in row) + "</row>"
        for row in rows
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    relationships = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    sheet_type = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{sheet_type}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{sheet_type}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
        f'Type="{relationships}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{relationships}"><sheets>'
        f'<sheet name="{sheet}" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship '
        f'Id="rId1" Type="{relationships}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>',
    }
    return a_zip({name: text.encode() for name, text in files.items()})


def a_zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def a_tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def a_pdf(text: str) -> bytes:
    """A PDF of one page, written by hand: objects, their places, and the page's text."""
    content = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Author (author-%s) >>" % NEEDLE.encode(),
    ]
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"trailer\n<< /Size %d /Root 1 0 R /Info 6 0 R >>\n" % (len(objects) + 1)
    return data + b"startxref\n%d\n%%%%EOF\n" % start


def a_message(attachments: dict[str, bytes]) -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = "Ann <ann@example.test>", "bob@example.test"
    message["Subject"], message["Message-ID"] = f"Café {NEEDLE}", "<1@example.test>"
    message.set_content(f"In the body: naïve {NEEDLE}\n", cte="base64")
    for name, data in attachments.items():
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def an_avro(records: list[dict[str, Any]], schema: dict[str, Any], codec: str = "deflate") -> bytes:
    import fastavro

    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, records, codec=codec, sync_interval=2_000)
    return buffer.getvalue()


def a_parquet(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, **options)
    return buffer.getvalue()


def an_orc(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pyarrow.orc.write_table(table, buffer)
    return buffer.getvalue()


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


PEOPLE = pa.table(
    {
        "name": ["Ann", "Bob", NEEDLE],
        "id": pa.array([4111, None, 4012888888881881], pa.int64()),
        "amount": pa.array([Decimal("1.50"), None, Decimal("2.25")]),
        "floating": [4012888888881881.0, 0.5, None],
        "born": [dt.date(1970, 1, 2), None, None],
        "raw": [b"\xff\xfe", NEEDLE.encode(), None],
    }
)
PEOPLE_SCHEMA = {
    "type": "record",
    "name": "Person",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "phones", "type": {"type": "array", "items": "string"}},
        {"name": "address", "type": ["null", {"type": "record", "name": "A", "fields": [
            {"name": "city", "type": "string"}]}]},
    ],
}  # fmt: skip
A_PERSON = {"name": NEEDLE, "phones": ["1", "2"], "address": {"city": "Leeds"}}
CSV = (
    f"id,email,note\n1,ann@example.test,first\n2,bob@example.test,{NEEDLE}\n3,cy@example.test,last\n".encode()
)

GOOD: dict[str, Callable[[], bytes]] = {
    "notes.txt": f"a note with {NEEDLE} in it\n".encode,
    "people.csv": lambda: CSV,
    "people.json": lambda: json.dumps({"people": [A_PERSON]}).encode(),
    "people.jsonl": lambda: b"".join(json.dumps(A_PERSON).encode() + b"\n" for _ in range(3)),
    "people.xml": f"<?xml version='1.0'?><people><person id='{NEEDLE}'/></people>".encode,
    "page.html": f"<!doctype html><html><body><p>Hello {NEEDLE}</p></body></html>".encode,
    "people.parquet": partial(a_parquet, PEOPLE),
    "people.avro": partial(an_avro, [A_PERSON], PEOPLE_SCHEMA),
    "people.orc": partial(an_orc, PEOPLE),
    "people.xlsx": lambda: a_workbook([["id", "email"], ["1", "a@example.test"], ["2", NEEDLE]]),
    "letter.pdf": lambda: a_pdf(f"Dear {NEEDLE}"),
    "message.eml": lambda: a_message({"inner.csv": CSV}),
    "files.zip": lambda: a_zip({"a/people.csv": CSV}),
    "files.tar": lambda: a_tar({"a/people.csv": CSV}),
    "files.tgz": lambda: gzip.compress(a_tar({"a/people.csv": CSV})),
    "people.csv.gz": lambda: gzip.compress(CSV),
    "people.csv.bz2": lambda: bz2.compress(CSV),
    "people.csv.xz": lambda: lzma.compress(CSV),
    "people.csv.zst": lambda: zstd(CSV),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_in_a_good_file_is_given_and_nothing_is_said_about_it(name: str) -> None:
    found = items(GOOD[name](), name)
    assert NEEDLE in texts(found)
    assert problems(found) == []


@pytest.mark.parametrize("name", [name for name in GOOD if name not in ("notes.txt",)])
def test_the_content_is_recognized_whatever_the_name_says(name: str) -> None:
    found = items(GOOD[name](), "upload")
    assert NEEDLE in texts(found)
    assert problems(found) == []
    wrong = items(GOOD[name](), "upload.parq" if name.endswith("xlsx") else "upload.xlsx")
    assert NEEDLE in texts(wrong)
    assert problems(wrong)[0][0] in (ProblemKind.WRONG_SUFFIX,)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "cp1252"]
)
def test_text_is_decoded_from_any_encoding(encoding: str) -> None:
    text = f"Größe, naïveté et œuvre; façade: {NEEDLE} £ 20 - ça va. " * 20
    found = items(text.encode(encoding), "a.txt")
    assert texts(found) == text
    assert problems(found) == []


@pytest.mark.parametrize("encoding", ["shift_jis", "gb18030", "koi8-r"])
def test_text_in_other_scripts_keeps_what_is_latin_in_it(encoding: str) -> None:
    words = {
        "shift_jis": "これは日本語のテキストです。",
        "gb18030": "这是一段中文文本。",
        "koi8-r": "Это русский текст. ",
    }
    found = items((words[encoding] * 20 + NEEDLE + words[encoding] * 20).encode(encoding), "a.txt")
    assert NEEDLE in texts(found)


def test_a_few_invalid_bytes_do_not_move_what_comes_after_them() -> None:
    data = "é ".encode() * 5 + b"\xff\xfe bad " + NEEDLE.encode()
    found = items(data, "a.txt")
    (piece,) = [item for item in found if isinstance(item, TextPiece)]
    assert piece.text.index(NEEDLE.encode()) == data.index(NEEDLE.encode())
    assert problems(found) == [(ProblemKind.INVALID_ENCODING, ())]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_dialect_and_header_of_a_table_are_found(delimiter: str) -> None:
    rows = [["id", "card number", "comment"], ["1", "4111", "a"], ["2", "4222", f"b{delimiter}c\nd"]]
    data = "\r\n".join(
        delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in rows
    ).encode()
    found = items(data, "x.csv")
    assert columns(found) == {
        "id": ["1", "2"], "card number": ["4111", "4222"], "comment": ["a", f"b{delimiter}c\nd"]
    }  # fmt: skip


def test_a_title_above_a_table_is_read_and_does_not_hide_its_header() -> None:
    data = f"Report of {NEEDLE}\n\nid,e-mail,revenue_2024\n1,a@x.test,3.5\n2,b@x.test,4.5\n".encode()
    found = items(data, "x.csv")
    assert list(columns(found)) == ["id", "e-mail", "revenue_2024"]
    assert columns(found)["e-mail"] == ["a@x.test", "b@x.test"]
    assert NEEDLE in texts(found)


def test_a_table_without_header_has_its_first_row_inspected() -> None:
    found = items(b"1,ann@example.test\n2,bob@example.test\n3,cy@example.test\n", "x.csv")
    assert columns(found) == {
        "column_1": ["1", "2", "3"],
        "column_2": ["ann@example.test", "bob@example.test", "cy@example.test"],
    }


def test_ragged_rows_of_a_table_keep_their_numbers_and_their_values() -> None:
    found = items(b"id,email\n1,a@x.test\n2,b@x.test,extra\n3\n4,c@x.test\n", "x.csv")
    pieces = [item for item in found if isinstance(item, ColumnsPiece)]
    assert [(piece.rows, piece.row_count) for piece in pieces] == [([0, 3], 2), ([1, 2], 2)]
    assert pieces[1].columns["email"].to_pylist() == ["b@x.test", None]
    assert pieces[1].columns["column_3"].to_pylist() == ["extra", None]


def test_prose_with_commas_is_text() -> None:
    prose = (
        b"Dear Ann, how are you.\nI am well, thank you.\nBob and Cy, my friends, too, are well.\nYours, D.\n"
    )
    assert columns(items(prose, "letter.txt")) == {}


def test_blocks_of_a_table_are_cut_at_the_ends_of_rows() -> None:
    limits = Limits(memory=4 << 20)
    rows = [f'{number},"a ""quoted""\nvalue, {number}"' for number in range(30_000)]
    found = items(("id,text\n" + "\n".join(rows)).encode(), "x.csv", limits=limits)
    assert columns(found)["id"] == [str(number) for number in range(30_000)]
    assert columns(found)["text"][-1] == 'a "quoted"\nvalue, 29999'
    starts = [item.first_row for item in found if isinstance(item, ColumnsPiece)]
    assert len(starts) > 3
    assert starts == sorted(starts)


def test_json_becomes_columns_by_path_with_lists_as_tables() -> None:
    document = {
        "owner": {"mail": "o@x.test"},
        "people": [{"n": 1, "tags": ["a", "b"]}, {"n": 22222222222222222222.0}],
    }
    found = items(json.dumps(document).encode(), "x.json")
    assert columns(found) == {
        "owner.mail": ["o@x.test"],
        "people[].n": ["1", "2.222222222222222e+19"],
        "people[].tags[]": ["a", "b"],
    }


def test_keys_of_json_that_are_data_become_values() -> None:
    found = items(json.dumps({"users": {"ann@example.test": {"age": 3}}}).encode(), "x.json")
    assert columns(found) == {"users.(key)": ["ann@example.test"], "users.*.age": ["3"]}


def test_half_a_pair_of_surrogates_in_json_is_no_hindrance() -> None:
    data = b'{"a\\ud800": "x\\udc00 ' + NEEDLE.encode() + b'", "b": "\\ud83d\\ude00"}'
    assert columns(items(data, "x.json")) == {"a?": [f"x? {NEEDLE}"], "b": ["\N{GRINNING FACE}"]}


def test_names_that_are_no_text_are_made_such() -> None:
    data = a_message({"plain.txt": b"text"}).replace(b'"plain.txt"', b'"pl\xff\xfen.txt"')
    for item in items(data, "x.eml"):
        if isinstance(item, TextPiece | Part):
            assert "/".join(item.container).encode().decode().isprintable()


def test_elements_of_a_long_json_array_are_read_one_by_one() -> None:
    limits = Limits(memory=4 << 20)
    data = json.dumps([{"id": number, "text": "x" * 100} for number in range(20_000)], indent=1).encode()
    found = items(data, "x.json", limits=limits)
    pieces = [item for item in found if isinstance(item, ColumnsPiece)]
    assert columns(found)["id"] == [str(number) for number in range(20_000)]
    assert len(pieces) > 5
    assert problems(found) == []


def test_a_json_value_that_is_too_long_is_read_as_text_with_its_escapes_resolved() -> None:
    limits = Limits(memory=4 << 20)
    text = "x" * 400_000 + "\nann\u0040example.test\n" + NEEDLE
    data = json.dumps({"text": text}).replace("@", "\\u0040").encode()
    found = items(data, "x.json", limits=limits)
    assert "\nann@example.test\n" in texts(found)
    assert problems(found) == []


def test_broken_lines_among_json_lines_are_read_as_text() -> None:
    found = items(b'{"a": "1"}\n{"a": oops ' + NEEDLE.encode() + b'}\n{"a": "3"}\n', "x.jsonl")
    assert columns(found)["a"] == ["1", "3"]
    assert NEEDLE in texts(found)
    assert problems(found) == [(ProblemKind.CORRUPT, ())]


def test_endless_nesting_of_json_and_xml_is_read_as_text() -> None:
    found = items(b"[" * 100_000 + NEEDLE.encode(), "x.json")
    assert NEEDLE in texts(found)
    assert problems(found)[0][0] in (ProblemKind.TOO_DEEP, ProblemKind.CORRUPT)
    found = items(b"<?xml version='1.0'?>" + b"<a>" * 100_000 + NEEDLE.encode(), "x.xml")
    assert NEEDLE in texts(found)
    assert problems(found)[0][0] is ProblemKind.TOO_DEEP


def test_xml_becomes_columns_by_path_and_keeps_mixed_content_and_comments() -> None:
    data = (
        b"<people><person id='7'><mail>a@x.test</mail><mail>b@x.test</mail></person><person id='8'>"
        b"<mail>c@x.test</mail>mixed <b>bold</b></person><!-- remark --><![CDATA[<raw>]]></people>"
    )
    found = items(data, "x.xml")
    assert columns(found)["people/person/@id"] == ["7", "8"]
    assert columns(found)["people/person/mail"] == ["a@x.test", "b@x.test", "c@x.test"]
    for word in ("mixed", "bold", "remark", "<raw>"):
        assert word in texts(found)


def test_entities_of_xml_are_not_expanded_but_read() -> None:
    bomb = "<!ENTITY a0 'lol'>" + "".join(
        f"<!ENTITY a{level} '{f'&a{level - 1};' * 10}'>" for level in range(1, 12)
    )
    data = f"<?xml version='1.0'?><!DOCTYPE x [{bomb}<!ENTITY n '{NEEDLE}'>]><x>&a11;&n;</x>".encode()
    found = items(data, "x.xml")
    assert NEEDLE in texts(found)
    assert len(texts(found)) < 10_000
    assert problems(found) == [(ProblemKind.UNSUPPORTED, ())]


def test_html_gives_its_text_attributes_scripts_and_comments() -> None:
    data = (
        b"<html><script>var key = 'one';</script><body><a href='mailto:two@x.test'>th<b>ree</b></a>"
        b"<input name='card' value='four'><!-- five --><td>six</td><td>seven</td></body></html>"
    )
    text = texts(items(data, "x.html"))
    for word in ("'one'", "mailto:two@x.test", "three", "card: four", "five", "six\n"):
        assert word in text


def test_html_longer_than_a_parser_takes_loses_nothing() -> None:
    limits = Limits(memory=4 << 20)
    script = "<script>" + "".join(f"if (a<b) key = 'k{number}k';\n" for number in range(30_000)) + "</script>"
    cells = "".join(f"<td title='t{number}t'>c{number}c</td>" for number in range(30_000))
    text = texts(items(f"<html>{cells}{script}{cells}</html>".encode(), "x.html", limits=limits))
    seen = Counter(re.findall(r"\b[tck]\d+[tck]\b", text))
    expected = {
        f"{kind}{number}{kind}": 2 if kind != "k" else 1 for kind in "tck" for number in range(30_000)
    }
    assert seen == expected


def test_columns_of_parquet_and_orc_of_all_types_become_text() -> None:
    for data, name in ((a_parquet(PEOPLE), "p.parquet"), (an_orc(PEOPLE), "p.orc")):
        assert columns(items(data, name)) == {
            "name": ["Ann", "Bob", NEEDLE],
            "id": ["4111", None, "4012888888881881"],
            "amount": ["1.50", None, "2.25"],
            "floating": ["4012888888881881", "0.5", None],
            "born": ["1970-01-02", None, None],
            "raw": ["\ufffd\ufffd", NEEDLE, None],
        }


def test_nested_columns_of_parquet_are_taken_apart() -> None:
    table = pa.table(
        {
            "person": [{"mail": "a@x.test", "tags": ["p", "q"]}, {"mail": "b@x.test", "tags": None}, None],
            "pairs": pa.array([[("k", "v")], None, [("l", "w")]], pa.map_(pa.string(), pa.string())),
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        }
    )
    found = items(a_parquet(table), "p.parquet")
    assert columns(found) == {
        "person.mail": ["a@x.test", "b@x.test", None],
        "person.tags[]": ["p", "q"],
        "pairs[].key": ["k", "l"],
        "pairs[].value": ["v", "w"],
        "kind": ["x", "y", "x"],
    }
    rows = {tuple(item.columns): item.rows for item in found if isinstance(item, ColumnsPiece)}
    assert rows["person.tags[]",] == [0, 0]
    assert rows["pairs[].key", "pairs[].value"] == [0, 2]


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_records_of_avro_become_columns_block_by_block(codec: str) -> None:
    records = [{"name": f"n{number}", "phones": [], "address": None} for number in range(5_000)]
    found = items(an_avro([*records, A_PERSON], PEOPLE_SCHEMA, codec), "x.avro")
    assert columns(found)["name"] == [*(f"n{number}" for number in range(5_000)), NEEDLE]
    assert columns(found)["phones[]"] == ["1", "2"]
    assert problems(found) == []


@pytest.mark.parametrize("codec", ["snappy", "zstandard"])
def test_blocks_of_avro_that_arrow_decompresses_are_read(codec: str) -> None:
    plain = an_avro([A_PERSON] * 3, PEOPLE_SCHEMA, "null")
    sync = plain[-16:]
    header, block, _ = plain.split(sync)
    # A block is its count of records and its size, of a byte and of two here, and then the records.
    count, records = block[:1], block[3:] if block[1] & 0x80 else block[2:]
    pressed = pa.compress(records, codec="snappy", asbytes=True) + b"\0" * 4
    if codec == "zstandard":
        pressed = zstd(records)
    size = len(pressed) * 2
    assert size < 1 << 14
    written = bytes([size & 0x7F | 0x80, size >> 7])
    name = codec.encode()
    header = header.replace(b"\x14avro.codec\x08null", b"\x14avro.codec" + bytes([len(name) * 2]) + name)
    found = items(header + sync + count + written + pressed + sync, "x.avro")
    assert problems(found) == []
    assert columns(found)["name"] == [NEEDLE] * 3


def test_an_avro_schema_of_endless_lists_is_refused() -> None:
    schema = {"type": "record", "name": "R", "fields": [
        {"name": "a", "type": {"type": "array", "items": "null"}}]}  # fmt: skip
    found = items(an_avro([{"a": []}], schema), "x.avro")
    assert problems(found) == [(ProblemKind.UNSUPPORTED, ())]


def test_sheets_of_a_workbook_are_tables_with_their_headers() -> None:
    found = items(GOOD["people.xlsx"](), "x.xlsx")
    assert columns(found) == {"id": ["1", "2"], "email": ["a@example.test", NEEDLE]}
    assert ("People",) in {item.container for item in found if isinstance(item, ColumnsPiece)}


def test_a_message_gives_headers_body_and_attached_files() -> None:
    found = items(a_message({"inner.zip": a_zip({"deep.csv": CSV})}), "x.eml")
    text = texts(found)
    assert f"Subject: Café {NEEDLE}" in text
    assert f"naïve {NEEDLE}" in text
    assert columns(found)["email"][0] == "ann@example.test"
    assert ("inner.zip", "deep.csv") in {item.container for item in found}


def test_messages_of_a_mailbox_are_read_one_by_one() -> None:
    box = b"".join(b"From ann Mon Jan  5 10:00:00 2026\n" + a_message({}) + b"\n" for _ in range(3))
    found = items(box, "x.mbox")
    assert texts(found).count(f"naïve {NEEDLE}") == 3


def test_words_that_a_word_processor_spreads_over_elements_are_put_together() -> None:
    runs = "<w:r><w:t>4111 1111</w:t></w:r><w:r><w:t> 1111</w:t></w:r>"
    document = f"<w:document xmlns:w='w'><w:p>{runs}</w:p></w:document>"
    data = a_zip({"[Content_Types].xml": b"<Types/>", "word/document.xml": document.encode()})
    assert "4111 1111 1111" in texts(items(data, "x.docx"))


def test_strings_of_binary_files_are_read_and_the_rest_is_reported() -> None:
    data = (
        os.urandom(5_000) + NEEDLE.encode() + b"\0" * 50 + "wide-string-1".encode("utf-16-le") + b"\0\1\2" * 9
    )
    found = items(data, "x.bin")
    assert NEEDLE in texts(found)
    assert "wide-string-1" in texts(found)
    assert problems(found) == [(ProblemKind.UNSUPPORTED, ())]


def test_names_and_metadata_are_given_too() -> None:
    found = items(a_zip({"dir/4111.txt": b"x"}), "obj.zip", metadata={"owner": NEEDLE})
    assert [item.text for item in found if isinstance(item, NamePiece)] == [b"obj.zip", b"dir/4111.txt"]
    assert f"owner: {NEEDLE}" in texts(found)
    described = PEOPLE.replace_schema_metadata({"steward": f"mail {NEEDLE}"})
    assert f"steward: mail {NEEDLE}" in texts(items(a_parquet(described), "x.parquet"))


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("x.gz", gzip.compress(os.urandom(90_000) + CSV)[:-20], ProblemKind.TRUNCATED),
        ("x.zst", zstd(os.urandom(90_000) + CSV)[:-20], ProblemKind.TRUNCATED),
        ("x.bz2", bz2.compress(os.urandom(90_000) + CSV)[:-20], ProblemKind.TRUNCATED),
        ("x.xz", lzma.compress(os.urandom(90_000) + CSV)[:-20], ProblemKind.TRUNCATED),
        ("x.tar", a_tar({"a.csv": CSV, "b.csv": CSV})[:1_800], ProblemKind.TRUNCATED),
        ("x.zip", a_zip({"a.csv": CSV, "b.csv": CSV})[:-60], ProblemKind.TRUNCATED),
        ("x.parquet", a_parquet(PEOPLE)[:-200], ProblemKind.CORRUPT),
        ("x.orc", an_orc(PEOPLE)[:-100], ProblemKind.CORRUPT),
        ("x.avro", an_avro([A_PERSON] * 500, PEOPLE_SCHEMA)[:-10], ProblemKind.TRUNCATED),
        ("x.json", json.dumps([A_PERSON] * 5).encode()[:-30], ProblemKind.TRUNCATED),
        ("x.xml", b"<?xml version='1.0'?><a><b>text</b><c>", ProblemKind.TRUNCATED),
        ("x.pdf", a_pdf("text")[:-200], ProblemKind.CORRUPT),
        ("x.xlsx", a_workbook([["a", "b"]])[:-40], ProblemKind.TRUNCATED),
        ("x.json", b"{'a': no}", ProblemKind.CORRUPT),
        ("x.gz", b"\x1f\x8b" + os.urandom(500), ProblemKind.CORRUPT),
    ],
)  # fmt: skip
def test_broken_files_say_so(name: str, data: bytes, kind: ProblemKind) -> None:
    kinds = {found for found, _ in problems(items(data, name))}
    assert kind in kinds or (kind is ProblemKind.CORRUPT and ProblemKind.TRUNCATED in kinds)


def test_what_comes_before_the_break_is_read() -> None:
    assert NEEDLE in texts(items(gzip.compress(CSV + os.urandom(1_000))[:-600], "x.csv.gz"))
    assert NEEDLE in texts(items(a_zip({"a.csv": CSV, "b.csv": CSV})[:-60], "x.zip"))
    assert NEEDLE in texts(items(a_tar({"a.csv": CSV, "b.csv": CSV})[:1_800], "x.tar"))
    assert NEEDLE in texts(items(b'[{"a": "' + NEEDLE.encode() + b'"}, {"a"', "x.json"))


def test_encrypted_files_say_so() -> None:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(a_pdf("secret"))))
    writer.encrypt("word", algorithm="RC4-128")
    buffer = io.BytesIO()
    writer.write(buffer)
    assert problems(items(buffer.getvalue(), "x.pdf")) == [(ProblemKind.ENCRYPTED, ())]
    office = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "EncryptedPackage".encode("utf-16-le")
    assert problems(items(office, "x.xlsx")) == [(ProblemKind.ENCRYPTED, ())]
    locked = bytearray(a_zip({"a.csv": CSV}))
    locked[6] |= 1
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    assert problems(items(bytes(locked), "x.zip")) == [(ProblemKind.ENCRYPTED, ("a.csv",))]


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bz2.compress, lambda data: a_zip({"zeros": data})])
def test_a_bomb_is_left_after_what_its_size_allows(pack: Callable[[bytes], bytes]) -> None:
    limits = Limits(expanded=10 << 20)
    found = items(pack(b"\0" * (64 << 20)), "x", limits=limits)
    assert ProblemKind.BOMB in {kind for kind, _ in problems(found)}
    assert sum(len(item.text) for item in found if isinstance(item, TextPiece)) < 14 << 20


def test_a_small_file_of_many_levels_is_left_after_some() -> None:
    data = CSV
    for level in range(12):
        data = a_zip({f"{level}.zip": data})
    assert problems(items(data, "x.zip"))[-1][0] is ProblemKind.TOO_DEEP


def test_no_more_files_are_opened_than_allowed() -> None:
    found = items(a_zip({f"{n}.txt": b"x" for n in range(50)}), "x.zip", limits=Limits(parts=10))
    assert len([item for item in found if isinstance(item, Part)]) == 11
    assert ProblemKind.TOO_MANY_PARTS in {kind for kind, _ in problems(found)}


def test_a_line_longer_than_the_memory_is_read_in_windows_that_overlap() -> None:
    limits = Limits(memory=4 << 20)
    data = bytearray(b"x" * (3 << 20))
    for place in range(1_000, len(data) - 100, 65_521):
        data[place : place + len(NEEDLE)] = NEEDLE.encode()
    for name in ("x.txt", "x.csv"):
        found = [item for item in items(bytes(data), name, limits=limits) if isinstance(item, TextPiece)]
        owned = 0
        for piece in found:
            start, end = piece.own or (0, len(piece.text))
            at = -1
            while (at := piece.text.find(NEEDLE.encode(), at + 1)) >= 0:
                owned += start <= at < end
        assert owned == len(range(1_000, len(data) - 100, 65_521))
        assert max(len(piece.text) for piece in found) <= limits.window + limits.overlap


def test_large_files_are_sampled_and_read_in_full_once_that_is_asked_for() -> None:
    table = pa.table({"n": [str(number) for number in range(10_000)]})
    data = a_parquet(table, row_group_size=100, compression="none")
    found = items(data, "x.parquet", sampling=Sampling(above=len(data) // 10))
    (skipped,) = [item for item in found if isinstance(item, Skipped)]
    assert 80 <= skipped.units < 100
    assert len(columns(found)["n"]) == 10_000 - skipped.rows
    assert problems(found) == [(ProblemKind.SAMPLED, ())]
    asked = iter([False] * skipped.units)
    full = items(
        data, "x.parquet", sampling=Sampling(above=len(data) // 10), in_full=lambda: next(asked, True)
    )
    assert sorted(columns(full)["n"], key=str) == sorted(table["n"].to_pylist(), key=str)
    assert problems(full) == []
    lines = "".join(f"{number},a{number}\n" for number in range(200_000)).encode()
    limits = Limits(memory=4 << 20)
    sampling = Sampling(above=len(lines) // 5)
    found = items(lines, "x.csv", limits=limits, sampling=sampling)
    read = len(columns(found)["column_1"])
    (skipped,) = [item for item in found if isinstance(item, Skipped)]
    assert read + skipped.rows == 200_000
    assert skipped.rows > 100_000


def test_a_stream_that_cannot_be_sought_in_is_read_as_well() -> None:
    class Forward(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            super().__init__()
            self._data = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            return self._data.read(min(size, 1_000))

    for name, make in GOOD.items():
        found = list(read_content(Forward(make()), name))  # type: ignore[arg-type]
        assert NEEDLE in texts(found), name
        assert problems(found) == [], name


def test_a_source_that_breaks_off_is_reported_and_what_came_is_read() -> None:
    class Breaking(io.RawIOBase):
        def __init__(self) -> None:
            super().__init__()
            self._left = [b"the first line\n", NEEDLE.encode()]

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            if self._left:
                return self._left.pop(0)
            raise ConnectionResetError(104, "Connection reset by peer")

    found = list(read_content(Breaking(), "x.txt"))  # type: ignore[arg-type]
    assert NEEDLE in texts(found)
    assert problems(found) == [(ProblemKind.UNREACHABLE, ())]


def test_attachments_and_form_fields_of_a_pdf_are_read() -> None:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(a_pdf("text"))))
    writer.add_attachment("list.csv", CSV)
    buffer = io.BytesIO()
    writer.write(buffer)
    found = items(buffer.getvalue(), "x.pdf")
    assert columns(found)["email"][0] == "ann@example.test"
    assert ("list.csv",) in {item.container for item in found}


def test_a_pdf_page_that_is_a_picture_is_reported() -> None:
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import DictionaryObject, NameObject

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(a_pdf(""))))
    resources = writer.pages[0]["/Resources"]
    assert isinstance(resources, DictionaryObject)
    resources[NameObject("/XObject")] = DictionaryObject()
    buffer = io.BytesIO()
    writer.write(buffer)
    assert problems(items(buffer.getvalue(), "x.pdf")) == [(ProblemKind.UNSUPPORTED, ())]


def test_a_workbook_that_would_not_fit_into_memory_is_read_part_by_part() -> None:
    data = a_workbook([["x" * 1_000] * 10] * 200 + [[NEEDLE]])
    found = items(data, "x.xlsx", limits=Limits(memory=4 << 20))
    assert problems(found) == [(ProblemKind.TOO_LARGE, ())]
    assert NEEDLE in texts(found)


def an_open_document(rows: str) -> bytes:
    """A spreadsheet of OpenDocument with one sheet of these rows."""
    office = "urn:oasis:names:tc:opendocument:xmlns"
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    files = {
        "mimetype": kind,
        "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="{office}:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/></manifest:manifest>',
        "content.xml": f'<?xml version="1.0"?><office:document-content xmlns:office="{office}:office:1.0" '
        f'xmlns:table="{office}:table:1.0" xmlns:text="{office}:text:1.0"><office:body><office:spreadsheet>'
        f'<table:table table:name="People">{rows}</table:table></office:spreadsheet></office:body>'
        "</office:document-content>",
    }
    return a_zip({name: text.encode() for name, text in files.items()})


def an_open_row(*cells: str, attributes: str = "") -> str:
    told = "".join(
        f'<table:table-cell office:value-type="string"{attributes}><text:p>{cell}</text:p></table:table-cell>'
        for cell in cells
    )
    return f"<table:table-row>{told}</table:table-row>"


def test_an_open_document_is_read_as_tables_where_it_fits_and_else_part_by_part() -> None:
    rows = an_open_row("id", "email") + "".join(an_open_row(str(n), f"{n}{NEEDLE}") for n in range(30))
    found = items(an_open_document(rows), "x.ods")
    assert problems(found) == []
    assert columns(found)["email"][:2] == [f"0{NEEDLE}", f"1{NEEDLE}"]
    # 90 million cells in a kilobyte, 3 GB for who makes them: fewer than the reader's own limit.
    wide = an_open_row(NEEDLE, attributes=' table:number-columns-repeated="9000"')
    wide = wide.replace("<table:table-row>", '<table:table-row table:number-rows-repeated="10000">')
    found = items(an_open_document(wide), "x.ods")
    assert problems(found) == [(ProblemKind.TOO_LARGE, ())]
    assert NEEDLE in texts(found)


@pytest.mark.parametrize("place", ['r="XFD1048576"', "r = 'XFD1048576'", 's="0"\tr="XFD1048576"'])
def test_a_workbook_of_few_cells_far_apart_is_read_part_by_part(place: str) -> None:
    # The reader makes a cell of everything between them, and ends the process where memory does not do.
    parts = zipfile.ZipFile(io.BytesIO(a_workbook([["id", "email"], ["1", "@@"]])))
    files = {name: parts.read(name) for name in parts.namelist()}
    files["xl/worksheets/sheet1.xml"] = files["xl/worksheets/sheet1.xml"].replace(
        b'<c t="inlineStr"><is><t>@@', f'<c {place} t="inlineStr"><is><t>{NEEDLE}'.encode()
    )
    found = items(a_zip(files), "x.xlsx")
    assert problems(found) == [(ProblemKind.TOO_LARGE, ())]
    assert NEEDLE in texts(found)
    assert problems(items(a_workbook([["1"] * 300] * 2_000), "x.xlsx")) == []


@pytest.mark.parametrize("prefix", ["", "x:"])
def test_cells_without_a_position_count_as_after_the_last_row(prefix: str) -> None:
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    text = f'{prefix}c t="inlineStr"><{prefix}is><{prefix}t>{NEEDLE}</{prefix}t></{prefix}is></{prefix}c>'
    parts = zipfile.ZipFile(io.BytesIO(a_workbook([["id"]])))
    files = {name: parts.read(name) for name in parts.namelist()}
    for cells, expected in ((1, []), (3, [(ProblemKind.TOO_LARGE, ())])):
        files["xl/worksheets/sheet1.xml"] = (
            f'<worksheet xmlns="{main}" xmlns:x="{main}"><sheetData>'
            f'<row r="600000"><c r="A600000" t="inlineStr"><is><t>id</t></is></c></row>'
            f"<{prefix}row>{f'<{text}' * cells}</{prefix}row></sheetData></worksheet>"
        ).encode()
        assert problems(items(a_zip(files), "x.xlsx")) == expected
