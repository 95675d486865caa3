"""What a file holds beside what its directory or its pages lead to is inspected, or said not to be."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import tarfile
import zipfile

import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig, InspectResult, Status
from platform_assets.dlp.scan import scan_object
from platform_assets.formats.problems import ProblemKind
from platform_assets_tests.formats.test_formats import a_pdf, a_zip

MAIL = "nancy.wood@mailbox.org"
LINE = f"write to {MAIL} please\n".encode()
INSPECTOR = LocalInspector(InspectConfig(), b"k" * 32)


def scan(data: bytes, name: str) -> InspectResult:
    return scan_object(io.BytesIO(data), name, INSPECTOR, size=len(data))


def a_tar_of(typeflag: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("odd")
        member.size, member.type = len(LINE), typeflag
        archive.addfile(member, io.BytesIO(LINE))
    return buffer.getvalue()


def a_gzip_named(name: str) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=buffer) as file:
        file.write(b"x")
    return buffer.getvalue()


def no_entries(data: bytes) -> bytes:
    """A zip file with an end that says that its directory has no entries."""
    return data[: data.rindex(b"PK\x01\x02")] + b"PK\x05\x06" + bytes(18)


SOUND = {
    "a type that tar does not know": (a_tar_of(b"Z"), "a.tar"),
    "a part of several volumes": (a_tar_of(b"M"), "a.tar"),
    "a name in a gzip header": (a_gzip_named(MAIL), "a.gz"),
    "text behind a PDF": (a_pdf("nothing") + LINE, "a.pdf"),
    "a stream that no page draws": (
        a_pdf(MAIL).replace(b"/Contents 4 0 R", b"/Xontents 4 0 R"),
        "a.pdf",
    ),
    "an earlier version of a page": (
        a_pdf("nothing").replace(b"%%EOF", b"%%EOF\n") + a_pdf(MAIL).partition(b"\n")[2],
        "a.pdf",
    ),
    "a program in a PDF": (
        a_pdf("x").replace(b"/Catalog", b"/Catalog /OpenAction << /S /JavaScript /JS (%s) >>" % LINE.strip()),
        "a.pdf",
    ),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_is_hidden_in_a_sound_file_is_found(case: str) -> None:
    assert "EMAIL_ADDRESS" in scan(*SOUND[case]).tallies


BROKEN = {
    "a zip file behind another": a_zip({"a.txt": LINE}) + a_zip({"b.txt": b"hello"}),
    "a directory without entries": no_entries(a_zip({"a.txt": LINE})),
    "members before the directory": a_zip({"a.txt": LINE})[: a_zip({"a.txt": LINE}).rindex(b"PK\x01\x02")]
    + a_zip({"b.txt": b"hello"}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_files_that_a_zips_directory_does_not_list_are_read_and_told(case: str) -> None:
    result = scan(BROKEN[case], "a.zip")
    assert result.status is Status.PARTIAL
    assert {problem.kind for problem in result.problems} == {ProblemKind.CORRUPT}
    assert "EMAIL_ADDRESS" in result.tallies


def test_a_sound_zip_file_has_nothing_that_is_not_listed() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("inner.zip", a_zip({"a.txt": LINE}))
        with file.open("streamed.txt", "w") as member:
            member.write(LINE)
        file.comment = b"a comment"
    result = scan(buffer.getvalue(), "a.zip")
    assert result.status is Status.INSPECTED
    assert result.tallies["EMAIL_ADDRESS"].count == 2


def test_a_page_whose_font_is_missing_was_not_inspected() -> None:
    result = scan(a_pdf(MAIL).replace(b"/F1 5 0 R", b"/F1 9 0 R"), "a.pdf")
    assert result.status is Status.PARTIAL
    assert "EMAIL_ADDRESS" in result.tallies


def test_text_that_goes_on_in_another_encoding_was_not_inspected() -> None:
    result = scan(b"hello world\n" * 10_000 + MAIL.encode("utf-16-le"), "a.txt")
    assert [problem.kind for problem in result.problems] == [ProblemKind.INVALID_ENCODING]


def test_xml_with_elements_that_html_has_too_is_xml() -> None:
    assert scan(f"<r><p><email>{MAIL}</email></p></r>".encode(), "a.xml").status is Status.INSPECTED


@pytest.mark.parametrize("by", ["\u00a0", "\u202f", "\u2009", "\u3000", "\u2011", "\u2013", "\u2212"])
@pytest.mark.parametrize(
    ("number", "info_type"),
    [
        ("4111 1111 1111 1111", "CREDIT_CARD_NUMBER"),
        ("3782 822463 10005", "CREDIT_CARD_NUMBER"),
        ("3056 930902 5904", "CREDIT_CARD_NUMBER"),
        ("536 22 1234", "US_SOCIAL_SECURITY_NUMBER"),
    ],
)
def test_blanks_and_hyphens_of_word_processors_group_numbers_too(
    number: str, info_type: str, by: str
) -> None:
    text = f"é SSN or card: {number.replace(' ', by)} - merci".encode()
    (finding,) = [one for one in scan(text, "a.txt").findings if one.info_type.name == info_type]
    place = finding.location.byte_range
    assert place is not None
    assert text[place.start : place.end].decode() == number.replace(" ", by)


@pytest.mark.parametrize("instead", ["\uff10", "\u200b"])
def test_wide_digits_and_blanks_without_width_do_not_hide_a_number(instead: str) -> None:
    number = "4012888888881881"
    written = (
        number.translate({ord("0") + digit: chr(0xFF10 + digit) for digit in range(10)})
        if instead == "\uff10"
        else number[:5] + instead + number[5:]
    )
    assert "CREDIT_CARD_NUMBER" in scan(written.encode(), "a.txt").tallies
    column = f"id,card\n1,{written}\n2,{written}\n3,{written}\n".encode()
    assert scan(column, "a.csv").tallies["CREDIT_CARD_NUMBER"].count == 3


DAYS = [dt.datetime(1948 + n, 1 + n % 12, 1 + n % 28, tzinfo=dt.UTC) for n in range(40)]


@pytest.mark.parametrize("form", ["%d%m%Y", "%m%d%Y"])
def test_days_of_birth_may_be_written_day_or_month_first_without_signs(form: str) -> None:
    rows = "".join(f"{n},{day:{form}}\n" for n, day in enumerate(DAYS))
    assert scan(f"id,birth_date\n{rows}".encode(), "a.csv").tallies["DATE_OF_BIRTH"].count == 40


@pytest.mark.parametrize("parts", [1, 10**3, 10**6, 10**9])
def test_days_of_birth_may_be_counted_from_1970_as_programs_write_them(parts: int) -> None:
    rows = [{"id": n, "birth_date": int(day.timestamp()) * parts} for n, day in enumerate(DAYS)]
    assert scan(json.dumps(rows).encode(), "a.json").tallies["DATE_OF_BIRTH"].count == 40
    others = [{"id": n, "birth_number": 48_211_007 + n * 7_919} for n in range(40)]
    assert "DATE_OF_BIRTH" not in scan(json.dumps(others).encode(), "a.json").tallies


@pytest.mark.parametrize("name", ["bday", "b-day", "生年月日", "geb.datum"])
def test_short_and_foreign_names_of_birth_lead_to_dates_too(name: str) -> None:
    rows = "".join(f"{n},{day:%Y-%m-%d}\n" for n, day in enumerate(DAYS))
    assert scan(f"id,{name}\n{rows}".encode(), "a.csv").tallies["DATE_OF_BIRTH"].count == 40


@pytest.mark.parametrize("before", ["\\n", "\\r\\n", "\\t", "\x1b[1;31m", "\\u003e", "\\u0022"])
@pytest.mark.parametrize(
    ("words", "value", "info_type"),
    [
        ("card", "4539578763621486", "CREDIT_CARD_NUMBER"),
        ("iban", "DE89370400440532013000", "IBAN_CODE"),
        ("ssn", "536-22-8726", "US_SOCIAL_SECURITY_NUMBER"),
        ("phone", "+44 20 7946 0958", "PHONE_NUMBER"),
    ],
)
@pytest.mark.parametrize("name", ["a.log", "a.csv"])
def test_escapes_and_colours_before_a_value_hide_it_in_no_log(
    name: str, words: str, value: str, info_type: str, before: str
) -> None:
    line = f"{words}: {before}{value}\x1b[0m of the customer"
    text = "\n".join(["level,message"] + [f"info,{line}"] * 3) if name == "a.csv" else f"hello\n{line}\n"
    assert info_type in scan(text.encode(), name).tallies
