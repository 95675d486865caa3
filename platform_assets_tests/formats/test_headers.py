"""A row is a header by all of its cells against the rows below; a row of data stays data."""

from __future__ import annotations

import io
import itertools
import json
import random

import pytest

from platform_assets.dlp.local.inspector import LocalInspector
from platform_assets.dlp.model import InspectConfig, InspectResult
from platform_assets.dlp.scan import scan_object
from platform_assets.formats.headers import is_header
from platform_assets_tests.formats.test_formats import a_workbook

HEADERS = (
    ("name,ssn,dob,active?\nNancy Wood,536221234,1968-02-10,yes\nTom Reed,212334455,1971-07-01,no"),
    ("name,ssn,dob,active?\nNancy Wood,536221234,1968-02-10,yes"),
    (
        "What is your name?|Date of birth (dd/mm/yyyy)|Weight [kg]|Δ%\n"
        "Nancy|01/02/1968|70|3\n"
        "Tom|03/04/1971|81|-2"
    ),
    ("1st name,2nd name,3rd party\nAnn,Lee,yes\nBob,Ray,no\nCid,Poe,no"),
    ("'name','e-mail'\n'Ann','a@b.com'\n'Bob','b@c.com'"),
    ("Owner's name,% of total,# items,$ amount\nAnn,5,3,10.2\nBob,6,4,11.5"),
    ("country,2019,2020,2021\nFrance,1,2,3\nSpain,4,5,6\nItaly,7,8,9"),
    ("name,notes (see https://wiki/x)\nAnn,hello\nBob,bye"),
    ("contact (e.g. a@b.com),phone\nsue@x.com,212-555-0143\nbob@x.com,212-555-0144"),
    (
        "On a scale from 1 to 10 how satisfied are you with the service that our staff in the store gave you "
        "during your last visit?|"
        "Please tell us your full name and your e-mail address so that we can send "
        "the voucher that we promised to you\n"
        "7|Ann Lee\n"
        "8|Bob Ray"
    ),
    ("Full Name,City\nNancy Wood,Paris\nJohn Smith,London\nAnn Lee,Rome"),
    ("Name,Name,Phone\nAnn,Lee,212-555-0143\nBob,Ray,212-555-0144"),
    ("id,,value\n1,a,2\n2,b,3"),
    ("id,10000 steps?,42195 m run\n1,yes,3:10\n2,no,2:50"),
    ("a,b,c\n1,2,3\n4,5,6"),
    ("Account #,Name\n536221234,Nancy\n536221235,Tom"),
    ("ID No.,Nombre/Apellido\n1,Ann\n2,Bob"),
    ("住所,電話\n東京,03-1234-5678\n大阪,06-1234-5678"),
    ("sku*,price (£),in stock?\nA-1,2.50,y\nB-2,3.50,n"),
    ("name,email\nAnn Lee,ann@x.com"),
    ("email\nann@x.com\nbob@x.com"),
    ("2023 revenue,2024 revenue\n100,200\n300,400"),
    ("first-name,last-name\nann,lee\nbob,ray\ncid,poe"),
    ("_id,$oid,@type\n1,abc,x\n2,def,y"),
    ("status,priority\nopen,high\nclosed,low\nopen,low\nopen,high\nclosed,high"),
)
DATA = (
    (
        "Nancy Wood,536221234,1968-02-10,yes\n"
        "Tom Reed,212334455,1971-07-01,no\n"
        "Ann Lee,212334456,1971-07-02,no"
    ),
    ("Nancy Wood,Paris\nJohn Smith,London\nAnn Lee,Rome"),
    ("nancy,paris,yes\ntom,london,no\nann,rome,yes\nbob,rome,no"),
    ("open,high\nclosed,low\nopen,low\nopen,high"),
    ("A-1,2.50,y\nB-2,3.50,n\nC-3,1.00,y"),
    ("ann@x.com\nbob@x.com\ncid@x.com"),
    ("N/A,536221234,1968-02-10\nTom,212334455,1971-07-01"),
    ("4111111111111111,Ann\n4242424242424242,Bob"),
    ("1,2,3\n4,5,6\n7,8,9"),
    ("What a nice day it was when we met,7\nI do not know what to say about it,8\nThis was good,9"),
    ("2024-01-01,ok\n2024-01-02,failed\n2024-01-03,ok"),
    ("Smith,John\nReed,Tom\nLee,Ann\nWood,Nancy\nPoe,Sid"),
    ("192.168.0.1,GET,/index\n192.168.0.2,POST,/login\n10.0.0.1,GET,/"),
    ("Berlin,Germany\nParis,France\nRome,Italy\nLyon,France\nNice,France"),
    ("https://a.com/x,200\nhttps://b.com/y,404"),
    ("Mr. O'Neil (senior),12 Main St.\nMrs. Smith,13 High St.\nMs. Poe (jr),1 Elm St."),
)


def rows(text: str) -> list[list[str]]:
    return [line.split("|" if "|" in text else ",") for line in text.split("\n")]


@pytest.mark.parametrize("text", HEADERS, ids=lambda text: text[:30])
def test_a_header_is_one_whatever_is_in_its_cells(text: str) -> None:
    first, *others = rows(text)
    assert is_header(first, others)


@pytest.mark.parametrize("text", DATA, ids=lambda text: text[:30])
def test_a_row_of_data_is_no_header(text: str) -> None:
    first, *others = rows(text)
    assert not is_header(first, others)


ODD = (
    "active?", "% done", "# of items", "$ paid", "weight [kg]", "height (cm)", "1st choice", "2nd, choice",
    "owner's name", "e-mail*", "Δ", "a/b", "a&b", "is it 100%?", "10,000 steps", "temp °C", "=sum", "+/-",
    "24h", "foo@bar (see the wiki)", "see https://wiki/x", "Nº", "_", "x" * 120,
    "How satisfied are you, on a scale of 1 to 10, with " + "the service " * 8,
)  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd[:20])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_one_odd_cell_does_not_lose_the_header(odd: str, place: int) -> None:
    names = ["name", "ssn", "dob", "note"]
    names.insert(place, odd)
    table = [
        ["Nancy Wood", "536221234", "1968-02-10", "a note"],
        ["Tom Reed", "212334455", "1971-07-01", "more"],
    ]
    for values in table:
        values.insert(place, "yes")
    for count in (1, 2):
        assert is_header(names, table[:count])


VALUES = {
    "name": ["Nancy Wood", "Tom Reed", "Ann Lee", "Bob Ray Poe", "Ed O'Neil", "Sue Li"],
    "mail": [f"member{n}@company-{n}.com" for n in range(6)],
    "born": [f"19{n}8-0{n}-1{n}" for n in range(3, 9)],
    "paid": ["10.50", "3.00", "112.99", "0.75", "8.00", "19.95"],
    "ok": ["yes", "no", "no", "yes", "yes", "no"],
    "code": ["AB-1234", "CD-5678", "EF-9012", "GH-3456", "IJ-7890", "KL-1230"],
    "note": ["was late", "came twice, in a hurry", "", "asked for a refund", "nothing to say", "-"],
    "state": ["open", "closed", "open", "open", "closed", "open"],
}
KINDS = list(itertools.combinations(VALUES, 3))


@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_tables_of_any_columns_are_told_with_and_without_a_header(kinds: tuple[str, ...]) -> None:
    data = [[VALUES[kind][n] for kind in kinds] for n in range(6)]
    assert is_header([f"{kind}?" for kind in kinds], data)
    assert is_header([kind.upper() for kind in kinds], data)
    order = random.Random(1)
    for _ in range(4):
        order.shuffle(data)
        if "" not in data[0]:
            assert not is_header(data[0], data[1:]), data[0]


def scan(data: bytes, name: str) -> InspectResult:
    inspector = LocalInspector(InspectConfig(), b"k" * 32)
    return scan_object(io.BytesIO(data), name, inspector, size=len(data))


def held(result: InspectResult) -> set[tuple[str, str]]:
    return {(column.column, column.info_type.name) for column in result.columns}


PEOPLE = ("Nancy Wood,536221234,1968-02-10,yes", "Tom Reed,212334455,1971-07-01,no")
EVIDENCE = {("name", "PERSON_NAME"), ("ssn", "US_SOCIAL_SECURITY_NUMBER"), ("dob", "DATE_OF_BIRTH")}


@pytest.mark.parametrize(
    "last", ["active", "active?", "is active (y/n)", "100% sure?", "still here, or not?"]
)
@pytest.mark.parametrize("count", [1, 2])
def test_the_columns_of_a_table_give_evidence_whatever_one_of_them_is_called(last: str, count: int) -> None:
    text = "\n".join([f'name,ssn,dob,"{last}"', *PEOPLE[:count]])
    assert held(scan(text.encode(), "people.csv")) == EVIDENCE
    sheet = a_workbook([["name", "ssn", "dob", last], *(line.split(",") for line in PEOPLE[:count])])
    assert held(scan(sheet, "people.xlsx")) == EVIDENCE


@pytest.mark.parametrize(
    "text",
    [
        "name,ssn,dob\nNancy Wood,536221234,1968-02-10,\nTom Reed,212334455,1971-07-01,\n",
        "name,ssn,dob\n1,Nancy Wood,536221234,1968-02-10\n2,Tom Reed,212334455,1971-07-01\n",
    ],
    ids=["a-delimiter-at-the-end", "names-of-rows"],
)
def test_a_header_may_have_a_cell_less_than_its_rows(text: str) -> None:
    assert held(scan(text.encode(), "people.csv")) == EVIDENCE


def test_sentences_of_a_survey_are_names_of_columns() -> None:
    first = (
        "Please tell us the social security number that you were given, so that we find you " + "soon " * 20
    )
    second = (
        "When were you born (day, month and year, as it is on the certificate that the registrar gave you)?"
    )
    people = ["536221234,10.02.1968", "212334455,01.07.1971", "212334457,01.07.1972"]
    text = "\n".join([f'"{first.strip()}","{second}"', *people])
    for name in ("survey.csv", "survey"):
        assert {kind for _, kind in held(scan(text.encode(), name))} == {
            "US_SOCIAL_SECURITY_NUMBER", "DATE_OF_BIRTH",
        }  # fmt: skip


def test_keys_of_json_with_blanks_are_names_where_they_are_words_of_columns() -> None:
    row = {"Full name": "Nancy Wood", "What is your SSN?": "536221234", "Date of birth": "1968-02-10"}
    assert held(scan(json.dumps([row] * 3).encode(), "a.json")) == {
        ("Full name", "PERSON_NAME"),
        ("What is your SSN?", "US_SOCIAL_SECURITY_NUMBER"),
        ("Date of birth", "DATE_OF_BIRTH"),
    }
    named = {"Nancy Wood": {"x": 1}, "Tom Reed": {"x": 2}}
    assert held(scan(json.dumps(named).encode(), "a.json")) == {("(key)", "PERSON_NAME")}
