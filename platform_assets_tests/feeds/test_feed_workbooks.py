"""Sheets of workbooks become rows of a feed's table; no workbook ends the process that reads it."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import random
import zipfile
from dataclasses import replace
from decimal import Decimal as Number
from pathlib import Path
from typing import Any

import pytest

from platform_assets.errors import FeedError
from platform_assets.feeds.feed import CsvDialect, Feed, Sheet
from platform_assets.feeds.load import Result
from platform_assets.model.table import Boolean, Column, Date, Decimal, Float, Integer, Text, Time, Timestamp
from platform_assets_tests.feeds.test_feeds import Inbox, make_inbox
from platform_assets_tests.feeds.workbooks import a_workbook, encrypted, far_apart, rows_xml, sheet_xml

pytestmark = pytest.mark.sampled(2)

ORDERS = Feed(
    "orders",
    "inbox",
    "**/*.xlsx",
    "excel",
    (
        Column("id", Integer(64)),
        Column("amount", Decimal(10, 2), nullable=True),
        Column("day", Date(), nullable=True),
    ),
)


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return make_inbox(tmp_path)


def test_a_sheet_becomes_rows_with_their_numbers(inbox: Inbox) -> None:
    rows = [
        ["id", "amount", "day"],
        [1, 9.5, dt.date(2024, 2, 29)],
        [],
        [2, None, None],
        ["3", "1.25", "2024-03-01"],
    ]
    inbox.put("a.xlsx", a_workbook({"Orders": rows}))
    [loaded] = inbox.load(ORDERS, "a.xlsx")
    assert (loaded.result, loaded.rows, loaded.dead_letters) == (Result.LOADED, 3, 0)
    assert inbox.rows(ORDERS, "id", "amount", "day", "_line", "_object") == [
        (1, Number("9.50"), dt.date(2024, 2, 29), 2, "a.xlsx"),
        (2, None, None, 4, "a.xlsx"),
        (3, Number("1.25"), dt.date(2024, 3, 1), 5, "a.xlsx"),
    ]
    assert inbox.load(ORDERS, "a.xlsx")[0].result is Result.SETTLED
    assert len(inbox.rows(ORDERS)) == 3


@pytest.mark.parametrize(("sheet", "expected"), [("Second", 2), (2, 2), (1, 1), ("3", 3), ("Fünf & vier", 4)])
def test_a_sheet_is_named_or_numbered_and_its_header_may_be_below_a_title(
    inbox: Inbox, sheet: str | int, expected: int
) -> None:
    sheets = {
        name: [["Orders of a day"], [], [None, "id", None, "amount", "day"], [None, number]]
        for number, name in enumerate(("First", "Second", "3", "Fünf & vier"), 1)
    }
    inbox.put("a.xlsx", a_workbook(sheets))
    feed = replace(ORDERS, sheet=Sheet(sheet, header_row=3))
    assert inbox.load(feed, "a.xlsx")[0].result is Result.LOADED
    assert inbox.rows(feed, "id", "_line") == [(expected, 4)]


def test_rows_that_do_not_fit_are_set_apart_with_sheet_row_and_reason(inbox: Inbox) -> None:
    rows = [
        ["id", "amount", "day"],
        [1, 1],
        ["x", 1.234],
        [3, 3, "soon", "more"],
        [None, 4],
        [5.5],
        [1e17],
        [True],
    ]
    inbox.put("a.xlsx", a_workbook({"Orders": rows}))
    feed = replace(ORDERS, sheet=Sheet("Orders"))
    [loaded] = inbox.load(feed, "a.xlsx")
    assert (loaded.rows, loaded.dead_letters) == (1, 6)
    assert inbox.letters(feed) == [
        (3, "integer(id); decimal(amount)", {"id": "x", "amount": "1.234", "day": None}),
        (4, "header(none above column D)", ["3", "3", "soon", "more"]),
        (5, "not_null(id)", {"id": None, "amount": "4", "day": None}),
        (6, "integer(id)", {"id": "5.5", "amount": None, "day": None}),
        # A number with more digits than can be told apart is no integer.
        (7, "integer(id)", {"id": "1e+17", "amount": None, "day": None}),
        (8, "integer(id)", {"id": "true", "amount": None, "day": None}),
    ]
    told = [json.loads(key) for key in inbox.feeds.dead_letters(feed).read_all()["key"].to_pylist()]
    assert {(one["object"], one["sheet"]) for one in told} == {("a.xlsx", "Orders")}


def test_of_a_workbook_in_which_something_was_found_dead_letters_have_no_value(inbox: Inbox) -> None:
    inbox.put("a.xlsx", a_workbook({"Orders": [["id", "amount", "day"], ["4111 1111", 1], [1, 1]]}))
    inbox.load(ORDERS, "a.xlsx", is_clean=False)
    [(_, reason, row)] = inbox.letters(ORDERS)
    assert (reason, row["id"]) == ("integer(id)", {"length": 9, "of": "digits, blanks"})


def test_cells_are_read_as_what_they_are(inbox: Inbox) -> None:
    columns = (
        Column("number", Float(64), nullable=True),
        Column("price", Decimal(12, 6), nullable=True),
        Column("flag", Boolean(), nullable=True),
        Column("at", Timestamp(), nullable=True),
        Column("day", Date(), nullable=True),
        Column("time", Time(), nullable=True),
        Column("text", Text(), nullable=True),
    )
    feed = replace(
        ORDERS, columns=columns, formats={"day": "%d.%m.%Y"}, dialect=CsvDialect(nulls=("", "n/a"))
    )
    noon, day = dt.datetime.fromisoformat("2024-02-29T12:30:00"), dt.date(2024, 2, 29)
    rows: list[list[Any]] = [
        [column.name for column in columns],
        [0.1 + 0.2, 0.1 + 0.2, True, noon, day, dt.timedelta(hours=8, minutes=5), "a b "],
        [-7, 0.00001, "no", day, "01.03.2024", "08:05", 12],
        [None, "n/a", None, "2024-02-29T12:30:00", None, None, 9007199254740991],
        [1, 1, True, noon, noon, None, "a date with a time is none"],
        [1, 1, True, noon, day, dt.timedelta(hours=30), "a duration is no time"],
        ["one", 1, True, noon, day, None, "none"],
        [1, 1, "perhaps", noon, day, None, day],
    ]
    inbox.put("a.xlsx", a_workbook({"All": rows}))
    inbox.load(feed, "a.xlsx")
    midnight = dt.datetime.fromisoformat("2024-02-29T00:00:00")
    assert inbox.rows(feed) == [
        (0.3, Number("0.300000"), True, noon, day, "08:05:00.000000", "a b "),
        (-7.0, Number("0.000010"), False, midnight, dt.date(2024, 3, 1), "08:05:00.000000", "12"),
        (None, None, None, noon, None, None, "9007199254740991"),
    ]
    assert [(line, reason) for line, reason, _ in inbox.letters(feed)] == [
        (5, "date(day)"),
        (6, "time(time)"),
        (7, "float(number)"),
        (8, "boolean(flag)"),
    ]


def test_columns_that_are_not_declared_are_found_in_the_first_workbook(inbox: Inbox) -> None:
    feed = replace(ORDERS, columns=())
    day, hour = dt.date(2024, 2, 29), dt.datetime.fromisoformat("2024-02-29T06:00:00")
    rows = [["id", "price", "code", "at"], [1, 2, "007", day], [2, 2.5, "008", hour]]
    inbox.put("a.xlsx", a_workbook({"Orders": rows}))
    inbox.load(feed, "a.xlsx")
    assert [(column.name, type(column.type)) for column in inbox.feeds.layout(feed).columns] == [
        ("id", Integer),
        ("price", Decimal),
        ("code", Text),
        ("at", Timestamp),
    ]


def test_without_a_header_columns_are_taken_in_order(inbox: Inbox) -> None:
    feed = replace(ORDERS, sheet=Sheet(header_row=0))
    inbox.put("a.xlsx", a_workbook({"Orders": [[], [1, 2, dt.date(2024, 1, 1)], [None, 3]]}))
    inbox.load(feed, "a.xlsx")
    assert inbox.rows(feed, "id", "_line") == [(1, 2)]
    assert [(line, reason) for line, reason, _ in inbox.letters(feed)] == [(3, "not_null(id)")]


@pytest.mark.parametrize(
    ("content", "sheet", "told"),
    [
        (
            {"Orders": [["id", "total", "day"], [1, 1, 1]]},
            Sheet(),
            "it has column total, which is not declared",
        ),
        ({"Other": [["id", "amount", "day"], [1]]}, Sheet("Orders"), "none of its 1 sheets is 'Orders'"),
        ({"Other": [["id", "amount", "day"], [1]]}, Sheet(3), "none of its 1 sheets is 3"),
        ({"Orders": [["id", "amount", "day"], [1]]}, Sheet(header_row=4), ""),
        (
            {"Orders": [["a"], [], ["id", "amount", "day"], [1]]},
            Sheet(header_row=2),
            "its row 2 is not a header",
        ),
        (
            {"Orders": [["title"], *([[n, 2, "x", "y"]] * 12 for n in (1,))][0:1] + [[1, 2, 3]] * 12},
            Sheet(),
            "it has no",
        ),
    ],
)
def test_another_layout_stops_the_feed_until_the_workbook_is_mended(
    inbox: Inbox, content: Any, sheet: Sheet, told: str
) -> None:
    feed = replace(ORDERS, sheet=sheet)
    inbox.put("a.xlsx", a_workbook(content))
    good = {name: [["id", "amount", "day"], [7]] for name in ("Orders", "More", "Most")}
    inbox.put("b.xlsx", a_workbook(good))
    found = inbox.load(feed, "a.xlsx")[0]
    if sheet.header_row == 4:
        assert (found.result, "it is empty from row 4 on" in found.reason) == (Result.FAILED, True)
        return
    assert (found.result, told in found.reason) == (Result.STOPPED, True), found.reason
    assert inbox.load(feed, "b.xlsx")[0].result is Result.WAITING
    assert inbox.load(replace(ORDERS, name="others"), "b.xlsx")[0].result is Result.LOADED
    inbox.put(
        "a.xlsx", a_workbook(good) if sheet.header_row == 1 else a_workbook({"Orders": [[], *good["Orders"]]})
    )
    assert inbox.load(feed, "a.xlsx")[0].result is Result.LOADED


GOOD = a_workbook({"Orders": [["id", "amount", "day"], [1, 2, None]]})


def bomb(*, says: int | None = None) -> bytes:
    """A sheet with a text of 400 MB in half a megabyte, which may say that it has another number of bytes."""
    written = io.BytesIO()
    start, end = sheet_xml(rows_xml([["id", "amount", "day"], ["|"]])).split("|")
    with (
        zipfile.ZipFile(io.BytesIO(GOOD)) as given,
        zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for name in given.namelist():
            with made.open(name, "w") as part:
                if "sheet1" not in name:
                    part.write(given.read(name))
                    continue
                part.write(start.encode())
                for _ in range(400):
                    part.write(b"x" * 1024**2)
                part.write(end.encode())
    content = bytearray(written.getvalue())
    record = content.rindex(b"PK\1\2", 0, content.rindex(b"xl/worksheets/sheet1.xml"))
    if says is not None:
        content[record + 24 : record + 28] = says.to_bytes(4, "little")
    return bytes(content)


def nested() -> bytes:
    """Tags within tags."""
    return a_workbook({"Orders": "<row>" * 200_000})


def other_sheet() -> bytes:
    """A workbook that lacks the sheet that it lists."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as given, zipfile.ZipFile(written, "w") as archive:
        for name in given.namelist():
            if "sheet1" not in name:
                archive.writestr(name, given.read(name))
    return written.getvalue()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: b"", "it is not a workbook, or it is truncated or damaged"),
        (lambda: b"id,amount\n1,2\n", "it is not a workbook"),
        (lambda: GOOD[:-40], "it is not a workbook"),
        (lambda: GOOD[: len(GOOD) // 2], "it is not a workbook"),
        (encrypted, "it is protected by a password"),
        (far_apart, "its reader ended with -6: it needs more memory than sheet.memory_mb, 2,048 MB"),
        (other_sheet, "it is not a workbook"),
        (nested, "it "),
    ],
    ids=["empty", "text", "cut off", "half", "encrypted", "far apart", "lacks its sheet", "nested"],
)
def test_a_workbook_that_cannot_be_read_is_given_up_with_its_reason_and_leaves_the_others_alone(
    inbox: Inbox, make: Any, told: str
) -> None:
    inbox.put("bad.xlsx", make())
    inbox.put("good.xlsx", GOOD)
    bad, good = inbox.load(ORDERS, "bad.xlsx", "good.xlsx")
    assert (bad.result, good.result) == (Result.FAILED, Result.LOADED)
    assert told in bad.reason
    assert inbox.load(ORDERS, "bad.xlsx")[0].result is Result.SETTLED
    inbox.put("bad.xlsx", a_workbook({"Orders": [["id", "amount", "day"], [5]]}))
    assert inbox.load(ORDERS, "bad.xlsx")[0].result is Result.LOADED
    assert inbox.rows(ORDERS, "id") == [(5,), (1,)]


@pytest.mark.parametrize(("says", "told"), [(None, "sheet.memory_mb, 256 MB"), (100, "truncated or damaged")])
def test_memory_is_limited_whatever_a_workbook_makes_of_itself(
    inbox: Inbox, says: int | None, told: str
) -> None:
    feed = replace(ORDERS, sheet=Sheet(memory_mb=256))
    inbox.put("bad.xlsx", bomb(says=says))
    inbox.put("good.xlsx", GOOD)
    bad, good = inbox.load(feed, "bad.xlsx", "good.xlsx")
    assert (bad.result, good.result) == (Result.FAILED, Result.LOADED)
    assert told in bad.reason
    # Where it may take more, it is tried again.
    assert inbox.feeds.pending(feed, [inbox.upload("bad.xlsx")]) == []
    assert inbox.feeds.pending(replace(feed, sheet=Sheet(memory_mb=512)), [inbox.upload("bad.xlsx")])


def test_a_workbook_that_is_too_large_is_not_even_copied(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform_assets.feeds.workbook.BYTES_OF_A_WORKBOOK", 100)
    inbox.put("bad.xlsx", GOOD)
    assert "the limit for workbooks" in inbox.load(ORDERS, "bad.xlsx")[0].reason


def test_time_is_limited_too(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_assets.feeds.workbook._SECONDS", 1)
    many = "".join(f'<row r="{n}"><c r="A{n}"><v>{n}</v></c></row>' for n in range(2, 900_000))
    inbox.put("a.xlsx", a_workbook({"Orders": rows_xml([["id", "amount", "day"]]) + many}))
    [loaded] = inbox.load(ORDERS, "a.xlsx")
    assert (loaded.result, "its reader ended with" in loaded.reason) == (Result.FAILED, True)
    assert inbox.rows(ORDERS) == []


def test_a_compressed_workbook_is_read(inbox: Inbox) -> None:
    inbox.put("a.xlsx.gz", gzip.compress(GOOD))
    feed = replace(ORDERS, pattern="*.gz")
    assert inbox.load(feed, "a.xlsx.gz")[0].rows == 1


def test_an_opendocument_sheet_is_read_too(inbox: Inbox) -> None:
    office, table = (f"urn:oasis:names:tc:opendocument:xmlns:{name}:1.0" for name in ("office", "table"))
    text = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
    named = "".join(
        f'<table:table-cell office:value-type="string"><text:p>{name}</text:p></table:table-cell>'
        for name in ("id", "amount", "day")
    )
    cells = (
        '<table:table-cell office:value-type="float" office:value="7"/>'
        '<table:table-cell office:value-type="float" office:value="1.5"/>'
        '<table:table-cell office:value-type="date" office:date-value="2024-02-29"/>'
    )
    rows = "".join(f"<table:table-row>{row}</table:table-row>" for row in (named, cells))
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        archive.writestr(
            "content.xml",
            f'<office:document-content xmlns:office="{office}" xmlns:table="{table}" xmlns:text="{text}">'
            f'<office:body><office:spreadsheet><table:table table:name="Orders">{rows}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
    inbox.put("a.xlsx", written.getvalue())
    [loaded] = inbox.load(ORDERS, "a.xlsx")
    assert loaded.result is Result.LOADED, loaded.reason
    assert inbox.rows(ORDERS) == [(7, Number("1.50"), dt.date(2024, 2, 29))]


@pytest.mark.parametrize("seed", range(12))
def test_no_broken_workbook_ends_a_load(inbox: Inbox, seed: int) -> None:
    chance = random.Random(seed)
    broken = bytearray(
        a_workbook({"Orders": [["id", "amount", "day"], *([n, n / 7, "x"] for n in range(50))]})
    )
    for _ in range(chance.randrange(1, 40)):
        broken[chance.randrange(len(broken))] = chance.randrange(256)
    inbox.put("bad.xlsx", bytes(broken[: chance.randrange(len(broken) // 2, len(broken) + 1)]))
    inbox.put("good.xlsx", GOOD)
    # What is left of it may have another layout, or be read.
    bad = inbox.load(ORDERS, "bad.xlsx")[0]
    assert bad.result in (Result.FAILED, Result.STOPPED, Result.LOADED)
    assert bad.reason or bad.result is Result.LOADED


def test_a_sheet_that_cannot_be_is_refused_when_it_is_declared() -> None:
    with pytest.raises(FeedError, match="sheets are counted from 1"):
        replace(ORDERS, sheet=Sheet(0))
    with pytest.raises(FeedError, match="without a header the columns have to be declared"):
        replace(ORDERS, columns=(), sheet=Sheet(header_row=0))
    assert replace(ORDERS, sheet=Sheet(2)).definition != ORDERS.definition
