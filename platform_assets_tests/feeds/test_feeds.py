"""Uploaded files become rows of a feed's table, exactly once per version, and only where they may."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import gzip
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Never

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platform_assets.errors import FeedError, LakeError
from platform_assets.feeds.feed import CsvDialect, Feed
from platform_assets.feeds.layout import Layout
from platform_assets.feeds.ledger import FeedLedger
from platform_assets.feeds.load import Feeds, Loaded, Result, UploadedObject
from platform_assets.feeds.settings import FeedSettings
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.interfaces import KeptTable
from platform_assets.lake.lake import Lake
from platform_assets.lake.lookback import compare, look_back
from platform_assets.model.table import (
    Boolean,
    Column,
    Date,
    Decimal,
    Float,
    Integer,
    Text,
    Time,
    Timestamp,
)
from platform_assets.objects.bucket import Bucket, ObjectVersion
from platform_assets.objects.places import open_bucket
from platform_assets.objects.s3 import S3Bucket
from platform_assets.rooms import Rooms
from platform_assets.source.assembly import SourceRoom
from platform_assets.warehouse.duckdb import DuckDBWarehouse
from platform_assets_tests.fixtures.house import with_keys
from platform_assets_tests.fixtures.properties import examples
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.upkeep import merged, settings_of, upkeep_of

ORDERS = Feed(
    "orders",
    "inbox",
    "orders/**/*.csv",
    "csv",
    (
        Column("id", Integer(64)),
        Column("amount", Decimal(10, 2), nullable=True),
        Column("note", Text(), nullable=True),
    ),
)


@dataclass
class Inbox:
    """A watched folder, and the feeds of its lake."""

    root: Path
    feeds: Feeds
    bucket: Bucket
    writes: int = field(default=0)

    def put(self, key: str, content: bytes | str) -> None:
        path = self.root / "inbox" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        new = self.root / "new"
        new.write_bytes(content if isinstance(content, bytes) else content.encode())
        # Each file is a second newer than the one before it.
        self.writes += 1
        os.utime(new, (1_700_000_000 + self.writes, 1_700_000_000 + self.writes))
        new.rename(path)

    def upload(self, key: str, decision: str | None = "allow", *, is_clean: bool = True) -> UploadedObject:
        found = self.bucket.find(key)
        assert found is not None
        return UploadedObject(found, decision, key, is_clean)

    def withdraw(self, feed: Feed, key: str) -> int | None:
        upload = self.upload(key)
        return self.feeds.withdraw(feed, upload.object.uri, [upload], "found by a newer inspection")

    def load(self, feed: Feed, *keys: str, is_clean: bool = True) -> list[Loaded]:
        uploads = [self.upload(key, is_clean=is_clean) for key in keys]
        return self.feeds.load(feed, self.bucket, uploads)

    def rows(self, feed: Feed, *columns: str) -> list[tuple[Any, ...]]:
        """The rows that count, in order of object and line."""
        table = (
            self.feeds.relation(feed).read_all().sort_by([("_object", "ascending"), ("_line", "ascending")])
        )
        names = columns or [name for name in table.column_names if not name.startswith("_")]
        return list(zip(*(table[name].to_pylist() for name in names), strict=True))

    def letters(self, feed: Feed) -> list[tuple[int, str, Any]]:
        found = self.feeds.dead_letters(feed).read_all().to_pylist()
        found.sort(key=lambda one: (one["_batch"], json.loads(one["key"])["line"]))
        return [(json.loads(one["key"])["line"], one["reason"], json.loads(one["row"])) for one in found]


def make_inbox(root: Path) -> Inbox:
    (root / "inbox").mkdir(parents=True)
    lake = Lake(str(root / "lake" / "ingestion"), str(root / "lake" / "processed"))
    engine = SqlEngine(256, 1, root / "spill")
    return Inbox(root, Feeds(lake, engine, root / "scratch"), open_bucket(str(root / "inbox")))


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return make_inbox(tmp_path)


def test_a_file_becomes_rows_with_the_place_that_each_is_from(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", 'id,amount,note\n1,9.50,first\n2,,"two\nlines"\n3,-1,\n')
    begun = dt.datetime.now(dt.UTC)
    [loaded] = inbox.load(ORDERS, "orders/1.csv")
    assert (loaded.result, loaded.rows, loaded.dead_letters) == (Result.LOADED, 3, 0)
    assert inbox.rows(ORDERS, "id", "amount", "note", "_object", "_line", "_batch") == [
        (1, decimal.Decimal("9.50"), "first", "orders/1.csv", 2, 1),
        (2, None, "two\nlines", "orders/1.csv", 3, 1),
        (3, decimal.Decimal("-1.00"), None, "orders/1.csv", 5, 1),
    ]
    [seen_at] = {row[0] for row in inbox.rows(ORDERS, "_seen_at")}
    assert begun <= seen_at <= dt.datetime.now(dt.UTC)


def test_a_version_that_was_loaded_is_not_loaded_again(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\n")
    upload = inbox.upload("orders/1.csv")
    assert inbox.feeds.pending(ORDERS, [upload]) == [upload]
    results = [inbox.feeds.load(ORDERS, inbox.bucket, [upload])[0].result for _ in range(2)]
    assert results == [Result.LOADED, Result.SETTLED]
    assert inbox.feeds.pending(ORDERS, [upload]) == []
    assert len(inbox.rows(ORDERS)) == 1


@pytest.mark.parametrize("decision", ["quarantine", "block", "QUARANTINE", "", None])
def test_what_its_inspection_does_not_allow_never_gets_in(inbox: Inbox, decision: str | None) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\n")
    inbox.put("orders/2.csv", "id,amount,note\n2,2,b\n")
    refused, loaded = inbox.feeds.load(
        ORDERS, inbox.bucket, [inbox.upload("orders/1.csv", decision), inbox.upload("orders/2.csv", "alert")]
    )
    assert (refused.result, refused.rows) == (Result.REFUSED, 0)
    assert loaded.result is Result.LOADED
    assert inbox.rows(ORDERS, "id") == [(2,)]
    assert inbox.feeds.pending(ORDERS, [inbox.upload("orders/1.csv", decision)]) == []


def test_in_append_mode_an_overwritten_file_takes_the_place_of_its_older_version(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\n2,2,b\n")
    inbox.put("orders/2.csv", "id,amount,note\n1,1,a\n")
    inbox.load(ORDERS, "orders/1.csv", "orders/2.csv")
    assert inbox.rows(ORDERS, "_object", "id") == [
        ("orders/1.csv", 1),
        ("orders/1.csv", 2),
        ("orders/2.csv", 1),
    ]
    inbox.put("orders/1.csv", "id,amount,note\n9,9,z\n")
    inbox.load(ORDERS, "orders/1.csv")
    assert inbox.rows(ORDERS, "_object", "id") == [("orders/1.csv", 9), ("orders/2.csv", 1)]


def test_in_merge_mode_the_row_counts_that_was_uploaded_last_whenever_it_was_loaded(inbox: Inbox) -> None:
    feed = replace(ORDERS, mode="merge", key=("id",))
    inbox.put("orders/1.csv", "id,amount,note\n1,1,old\n2,2,kept\n")
    late = inbox.upload("orders/1.csv")
    inbox.put("orders/2.csv", "id,amount,note\n1,5,new\n3,3,x\n3,4,last line\n")
    inbox.load(feed, "orders/2.csv")
    inbox.feeds.load(feed, inbox.bucket, [late])
    assert sorted(inbox.rows(feed, "id", "note")) == [(1, "new"), (2, "kept"), (3, "last line")]
    inbox.put("orders/1.csv", "id,amount,note\n1,7,newest\n")
    inbox.load(feed, "orders/1.csv")
    # What a new version says nothing of stays: a merge never deletes.
    assert sorted(inbox.rows(feed, "id", "note")) == [(1, "newest"), (2, "kept"), (3, "last line")]


def test_rows_that_do_not_fit_are_set_apart_with_line_and_reason(inbox: Inbox) -> None:
    inbox.put(
        "orders/1.csv",
        'id,amount,note\n1,1,a\nx,1.234,b\n3,3\n,4,d\n5,5,"e"e\n6,6,f\n7,7,g,h\n',
    )
    [loaded] = inbox.load(ORDERS, "orders/1.csv")
    assert (loaded.rows, loaded.dead_letters) == (2, 5)
    assert inbox.rows(ORDERS, "id", "_line") == [(1, 2), (6, 7)]
    assert inbox.letters(ORDERS) == [
        (3, "integer(id); decimal(amount)", {"id": "x", "amount": "1.234", "note": "b"}),
        (4, "fields(2 instead of 3)", ["3", "3"]),
        (5, "not_null(id)", {"id": None, "amount": "4", "note": "d"}),
        (6, "quote(in the middle of a field)", []),
        (8, "fields(4 instead of 3)", ["7", "7", "g", "h"]),
    ]


def test_of_a_file_in_which_something_was_found_dead_letters_have_no_value(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n4111 1111,1,jane@example.org\n2,2,b,secret word\n")
    inbox.load(ORDERS, "orders/1.csv", is_clean=False)
    assert inbox.letters(ORDERS) == [
        (
            2,
            "integer(id)",
            {
                "id": {"length": 9, "of": "digits, blanks"},
                "amount": {"length": 1, "of": "digits"},
                "note": {"length": 16, "of": "letters, others"},
            },
        ),
        (
            3,
            "fields(4 instead of 3)",
            [
                {"length": 1, "of": "digits"},
                {"length": 1, "of": "digits"},
                {"length": 1, "of": "letters"},
                {"length": 11, "of": "letters, blanks"},
            ],
        ),
    ]


def test_another_layout_stops_the_feed_until_the_file_is_mended(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,total,note\n1,1,a\n")
    inbox.put("orders/2.csv", "id,amount,note\n2,2,b\n")
    stopped, waiting = inbox.load(ORDERS, "orders/1.csv", "orders/2.csv")
    assert (stopped.result, waiting.result) == (Result.STOPPED, Result.WAITING)
    assert stopped.reason == (
        "The feed orders is stopped: the columns of orders/1.csv differ from its table's: it has no column "
        "amount; it has column total, which is not declared; a column may have been renamed. Upload "
        "the file again with the expected columns, or change the feed's declaration; then the feed continues "
        "by itself. Other feeds are not affected."
    )
    assert inbox.feeds.stopped(ORDERS) is not None
    assert inbox.load(ORDERS, "orders/2.csv")[0].result is Result.WAITING
    other = replace(ORDERS, name="others")
    assert inbox.load(other, "orders/2.csv")[0].result is Result.LOADED
    inbox.put("orders/1.csv", "note,amount,id\na,1,1\n")
    assert [one.result for one in inbox.load(ORDERS, "orders/1.csv", "orders/2.csv")] == [Result.LOADED] * 2
    assert inbox.feeds.stopped(ORDERS) is None
    assert inbox.rows(ORDERS, "id", "note") == [(1, "a"), (2, "b")]


def test_a_stopped_feed_goes_on_when_it_is_declared_otherwise_resumed_or_the_file_is_gone(
    inbox: Inbox,
) -> None:
    inbox.put("orders/1.csv", "id,amount,note,more\n1,1,a,x\n")
    first = inbox.upload("orders/1.csv")
    inbox.put("orders/2.csv", "id,amount,note\n2,2,b\n")
    assert inbox.load(ORDERS, "orders/1.csv")[0].result is Result.STOPPED
    assert inbox.feeds.stopped(replace(ORDERS, new_columns="ignore")) is None
    inbox.feeds.resume(ORDERS)
    assert inbox.feeds.stopped(ORDERS) is None
    assert inbox.load(ORDERS, "orders/1.csv")[0].result is Result.STOPPED
    (inbox.root / "inbox" / "orders" / "1.csv").unlink()
    gone, loaded = inbox.feeds.load(ORDERS, inbox.bucket, [first, inbox.upload("orders/2.csv")])
    assert (gone.result, loaded.result) == (Result.GONE, Result.LOADED)
    assert inbox.feeds.pending(ORDERS, [first]) == []


@pytest.mark.parametrize(("choice", "expected"), [("ignore", [(1,)]), ("add", [(1, True)])])
def test_new_columns_are_left_out_or_added_where_the_feed_says_so(
    inbox: Inbox, choice: Any, expected: list[Any]
) -> None:
    feed = replace(ORDERS, columns=(Column("id", Integer(64)),), new_columns=choice)
    inbox.put("orders/0.csv", "id\n0\n")
    inbox.load(feed, "orders/0.csv")
    inbox.put("orders/1.csv", "paid,id\ntrue,1\n")
    inbox.load(feed, "orders/1.csv")
    assert inbox.rows(feed) == [(0, None) if choice == "add" else (0,), *expected]
    inbox.put("orders/2.csv", "id,paid\n2,false\n")
    inbox.load(feed, "orders/2.csv")
    assert inbox.rows(feed)[-1] == ((2, False) if choice == "add" else (2,))


def test_columns_that_are_not_declared_are_found_in_the_first_file_and_kept(inbox: Inbox) -> None:
    feed = replace(ORDERS, columns=())
    header = "id,code,price,share,is_new,day,at,local,empty\n"
    with pytest.raises(FeedError, match="no table yet"):
        inbox.feeds.relation(feed)
    inbox.put("orders/0.csv", header)
    inbox.load(feed, "orders/0.csv")
    row = "7,007,12.5,1e-3,true,2024-02-29,2024-02-29T10:00:00+02:00,2024-02-29 10:00,\n"
    inbox.put("orders/1.csv", header + row)
    inbox.load(feed, "orders/1.csv")
    assert [column.type for column in inbox.feeds.layout(feed).columns] == [
        Integer(64),
        Text(),
        Decimal(38, 9),
        Float(64),
        Boolean(),
        Date(),
        Timestamp(utc=True),
        Timestamp(),
        Text(),
    ]
    inbox.put("orders/2.csv", header + "1.5" + row[1:] + row)
    assert inbox.load(feed, "orders/2.csv")[0].dead_letters == 1
    inbox.put("orders/3.csv", header.replace("price", "cost") + row)
    assert inbox.load(feed, "orders/3.csv")[0].result is Result.STOPPED
    assert inbox.rows(feed, "id", "code", "day") == [(7, "007", dt.date(2024, 2, 29))] * 2


def test_a_column_without_one_value_of_its_type_stops_the_feed(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n" + "".join(f"{n},free,x\n" for n in range(10)))
    [stopped] = inbox.load(ORDERS, "orders/1.csv")
    assert stopped.result is Result.STOPPED
    assert "column amount has another type: none of its 10 values is decimal(10,2)" in stopped.reason


def test_names_of_columns_are_not_repeated_where_something_sensitive_was_found(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "jane@example.org,1,a\n")
    [stopped] = inbox.load(ORDERS, "orders/1.csv", is_clean=False)
    assert stopped.result is Result.STOPPED
    assert "jane" not in stopped.reason
    assert "it has 3 other columns" in stopped.reason


@pytest.mark.parametrize("header", ["jane@example.org,x", "y,4111a1111", "a,b1234"])
@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_values_do_not_become_names_of_columns_where_something_sensitive_was_found(
    inbox: Inbox, header: str, format_: Any
) -> None:
    feed = Feed("values", "inbox", "*", format_)
    names = header.split(",")
    inbox.put("a", f"{header}\n1,2\n" if format_ == "csv" else json.dumps(dict.fromkeys(names, 1)))
    [stopped] = inbox.load(feed, "a", is_clean=False)
    assert stopped.result is Result.STOPPED
    assert "looks like a value" in stopped.reason
    assert not any(name in stopped.reason for name in names if len(name) > 1)
    assert inbox.load(feed, "a", is_clean=False)[0].result is Result.STOPPED
    inbox.feeds.resume(feed)
    assert inbox.load(feed, "a")[0].result is Result.LOADED


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("id,,note", "column 2 has no name in the header; give it one, or leave the column out"),
        ("id,ID,note", "column ID occurs twice, as columns 1 and 2"),
        ("id,_batch,note", "has the name of one of the platform's own columns"),
        ("1,2.5,2024", "the header may be missing: the name of column 1 has no letter"),
    ],
)
def test_a_header_that_cannot_be_one_stops_the_feed(inbox: Inbox, header: str, told: str) -> None:
    inbox.put("orders/1.csv", f"{header}\n1,2,3\n")
    [stopped] = inbox.load(replace(ORDERS, columns=()), "orders/1.csv")
    assert stopped.result is Result.STOPPED
    assert told in stopped.reason


def test_all_types_are_read_and_nothing_is_guessed(inbox: Inbox) -> None:
    feed = Feed(
        "types",
        "inbox",
        "*.csv",
        "csv",
        (
            Column("i", Integer(32), nullable=True),
            Column("f", Float(64), nullable=True),
            Column("b", Boolean(), nullable=True),
            Column("d", Date(), nullable=True),
            Column("t", Time(), nullable=True),
            Column("z", Timestamp(utc=True), nullable=True),
            Column("n", Timestamp(), nullable=True),
            Column("w", Date(), nullable=True),
            Column("x", Text(max_length=3), nullable=True),
        ),
        formats={"w": "%d.%m.%Y"},
    )
    inbox.put(
        "a.csv",
        "i,f,b,d,t,z,n,w,x\n"
        "+7, 1e3 ,Yes,2024-02-29,9:00,2024-01-01T00:00:00Z,2024-01-01,31.12.2024,abc\n"
        "-7,nan,0,2024-02-29,09:30,2024-01-01T02:00:00+02:00,2024-01-01 10:11:12.5,01.02.2024,äöü\n"
        "2147483648,,,,,,,,\n,1.2.3,,,,,,,\n,,maybe,,,,,,\n,,,2024-02-30,,,,,\n,,,,24:00,,,,\n"
        ",,,,,2024-01-01T00:00:00,,,\n,,,,,,2024-01-01T00:00:00Z,,\n,,,,,,,31.13.2024,\n,,,,,,,,abcd\n",
    )
    inbox.load(feed, "a.csv")
    [row] = inbox.rows(feed)
    assert repr(row[1]) == "nan"
    utc = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    assert (row[0], *row[2:]) == (
        -7,
        False,
        dt.date(2024, 2, 29),
        "09:30:00.000000",
        utc,
        dt.datetime(2024, 1, 1, 10, 11, 12, 500_000),  # noqa: DTZ001
        dt.date(2024, 2, 1),
        "äöü",
    )
    assert [(line, reason) for line, reason, _ in inbox.letters(feed)] == [
        (2, "time(t)"),
        (4, "integer(i)"),
        (5, "float(f)"),
        (6, "boolean(b)"),
        (7, "date(d)"),
        (8, "time(t)"),
        (9, "timestamp(z)"),
        (10, "timestamp(n)"),
        (11, "date(w)"),
        (12, "max_length(x)"),
    ]


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("utf-8", "id,amount,note\n1,1,é\n".encode()),
        ("utf-8", "id,amount,note\n1,1,é\n".encode("utf-8-sig")),
        ("latin-1", "id,amount,note\n1,1,é\n".encode("latin-1")),
        ("utf-16", "id,amount,note\r\n1,1,é\r\n".encode("utf-16")),
        ("utf-8", "id,amount,note\r1,1,é\r".encode()),
    ],
)
def test_encodings_and_line_ends_are_understood(inbox: Inbox, encoding: str, content: bytes) -> None:
    feed = replace(ORDERS, encoding=encoding)
    inbox.put("orders/1.csv", content)
    inbox.load(feed, "orders/1.csv")
    assert inbox.rows(feed, "note", "_line") == [("é", 2)]


def test_bytes_that_are_no_text_cost_their_row_and_not_the_file(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", b"id,amount,note\n1,1,a\n2,2,\xff\xfe\n3,3,c\n")
    inbox.load(ORDERS, "orders/1.csv")
    assert inbox.rows(ORDERS, "id", "_line") == [(1, 2), (3, 4)]
    [(line, reason, _)] = inbox.letters(ORDERS)
    assert (line, reason) == (3, "encoding(note)")


def test_a_dialect_is_what_the_feed_says(inbox: Inbox) -> None:
    dialect = CsvDialect(delimiter=";", quote="'", escape="\\", header=False, skip=1, nulls=("", "NULL"))
    feed = replace(ORDERS, dialect=dialect)
    inbox.put("orders/1.csv", "Orders of May\n1;NULL;'it\\'s; here'\n\n2;2;NULL\n")
    inbox.load(feed, "orders/1.csv")
    assert inbox.rows(feed) == [(1, None, "it's; here"), (2, decimal.Decimal("2.00"), None)]
    assert inbox.rows(feed, "_line") == [(2,), (4,)]


JSONL = replace(ORDERS, name="events", pattern="*.jsonl*", format="jsonl")


def test_json_lines_are_rows_with_their_numbers_as_written(inbox: Inbox) -> None:
    inbox.put(
        "a.jsonl.gz",
        gzip.compress(
            b'{"id": 1, "amount": 0.10, "note": {"a": [1, 2.5, "\xc3\xa9"]}}\n\n{"id": 12345678901}\n'
            b'{"id": true}\nnope\n[1]\n{"id": 2, "note": "\\ud800"}\n{"note": "no id"}\n'
            b'{"id": 3, "amount": "4"}\n'
        ),
    )
    [loaded] = inbox.load(JSONL, "a.jsonl.gz")
    assert loaded.rows == 3
    assert inbox.rows(JSONL, "id", "amount", "note", "_line") == [
        (1, decimal.Decimal("0.10"), '{"a": [1, 2.5, "é"]}', 1),
        (12345678901, None, None, 3),
        (3, decimal.Decimal("4.00"), None, 9),
    ]
    assert [(line, reason) for line, reason, _ in inbox.letters(JSONL)] == [
        (4, "integer(id)"),
        (5, "json(not valid)"),
        (6, "json(no object)"),
        (7, "encoding(note)"),
        (8, "not_null(id)"),
    ]


def test_a_line_that_is_too_long_costs_itself_only(inbox: Inbox) -> None:
    long = b"x" * 40_000_000
    inbox.put("a.jsonl", b'{"id": 1}\n{"id": 2, "note": "' + long + b'"}\n{"id": 3}\n')
    inbox.load(JSONL, "a.jsonl")
    assert inbox.rows(JSONL, "id", "_line") == [(1, 1), (3, 3)]
    assert inbox.letters(JSONL) == [(2, "length(line)", [])]
    inbox.put(
        "orders/1.csv",
        b"id,amount,note\n1,1,a\n2,2," + long + b"\n3,3,c\n4,4," + long[:2_000_000] + b"\n5,5,e\n",
    )
    inbox.load(ORDERS, "orders/1.csv")
    assert inbox.rows(ORDERS, "id", "_line") == [(1, 2), (3, 4), (5, 6)]
    assert inbox.letters(ORDERS) == [(3, "length(line)", []), (5, "length(field)", [])]


def test_a_quote_that_is_never_closed_costs_what_comes_behind_it(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", 'id,amount,note\n1,1,a\n2,2,"b\n3,3,c\n')
    inbox.load(ORDERS, "orders/1.csv")
    assert inbox.rows(ORDERS, "id") == [(1,)]
    assert inbox.letters(ORDERS) == [(3, "quote(not closed)", [])]


def test_a_value_that_is_not_among_the_accepted_ones_costs_its_row(inbox: Inbox) -> None:
    accepted = replace(ORDERS.columns[2], accepted=("a", "b"))
    feed = replace(ORDERS, columns=(*ORDERS.columns[:2], accepted))
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\n2,2,c\n3,3,\n")
    inbox.load(feed, "orders/1.csv")
    assert inbox.rows(feed, "id") == [(1,), (3,)]
    assert [(line, reason) for line, reason, _ in inbox.letters(feed)] == [(3, "accepted_values(note)")]


def test_a_file_of_which_no_row_fits_stops_the_feed(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n" + "1,2,a,b\n" * 12)
    [stopped] = inbox.load(ORDERS, "orders/1.csv")
    assert stopped.result is Result.STOPPED
    assert "none of its 12 rows is valid; 12 break the rule fields(4 instead of 3)" in stopped.reason


def test_of_a_store_that_does_not_answer_the_object_is_tried_again(inbox: Inbox) -> None:
    import boto3
    from botocore.config import Config

    # Nobody listens at port 9, the discard service's.
    never = Config(connect_timeout=1, retries={"total_max_attempts": 1})
    client = boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:9",
        region_name="eu-west-2",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",
        config=never,
    )
    found = ObjectVersion("s3://bucket/orders/1.csv", "orders/1.csv", "1", 1, dt.datetime.now(dt.UTC))
    upload = UploadedObject(found, "allow", found.key)
    [failed] = inbox.feeds.load(ORDERS, S3Bucket("bucket", "", client), [upload])
    assert (failed.result, failed.retryable) == (Result.FAILED, True)
    assert inbox.feeds.pending(ORDERS, [upload]) == [upload]


def test_two_versions_of_one_object_are_not_loaded_at_once(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\n")
    upload = inbox.upload("orders/1.csv")
    other = replace(upload, object=replace(upload.object, version="other"))
    with pytest.raises(FeedError, match="two versions of one object"):
        inbox.feeds.load(ORDERS, inbox.bucket, [upload, other])


def test_a_name_that_is_new_in_json_stops_the_feed_wherever_it_comes(inbox: Inbox) -> None:
    rows = "".join(f'{{"id": {n}}}\n' for n in range(20_000))
    inbox.put("a.jsonl", rows + '{"id": 1, "more": 2}\n')
    [stopped] = inbox.load(JSONL, "a.jsonl")
    assert stopped.result is Result.STOPPED
    assert stopped.reason.count("undeclared columns that its first rows lack") == 1


def test_a_json_array_is_read_piece_by_piece(inbox: Inbox) -> None:
    feed = replace(JSONL, name="arrays", pattern="*.json", format="json")
    rows = [{"id": number, "note": "x" * 200} for number in range(10_000)]
    inbox.put("a.json", json.dumps(rows, indent=1))
    [loaded] = inbox.load(feed, "a.json")
    assert (loaded.rows, loaded.dead_letters) == (10_000, 0)
    assert inbox.rows(feed, "id", "_line")[-1] == (9_999, 2 + 4 * 9_999)


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("a.json", b'[{"id": 1}, {"id": 2}'),
        ("a.json", b'[{"id": 1} {"id": 2}]'),
        ("a.json", b'{"id": 1}'),
        ("a.json", b""),
        ("a.json", b"[1] 2"),
        ("a.json", b"[" * 100_000),
        ("a.csv", b""),
        ("a.csv.gz", b"id,amount,note\n"),
        ("a.csv.gz", gzip.compress(b"id,amount,note\n1,1,1\n" * 1000)[:-20]),
        ("a.parquet", b"PAR1 no parquet PAR1"),
        ("a.parquet", b""),
    ],
)
def test_a_file_that_cannot_be_read_is_given_up_and_leaves_the_others_alone(
    inbox: Inbox, key: str, content: bytes
) -> None:
    format_: Any = key.split(".")[1]
    feed = replace(ORDERS, name="broken", pattern="*", format=format_)
    inbox.put(key, content)
    [failed] = inbox.load(feed, key)
    assert (failed.result, failed.retryable) == (Result.FAILED, False)
    assert failed.reason.startswith(f"{key} cannot be loaded into the feed broken: ")
    assert inbox.load(feed, key)[0].result is Result.SETTLED
    assert inbox.feeds.pending(feed, [inbox.upload(key)]) == []
    assert inbox.feeds.stopped(feed) is None
    assert inbox.feeds.pending(replace(feed, encoding="latin-1"), [inbox.upload(key)]) != []


def test_parquet_is_read_by_its_types_and_another_type_stops_the_feed(inbox: Inbox) -> None:
    feed = replace(ORDERS, name="tables", pattern="*.parquet", format="parquet")
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int16()),
            "amount": pa.array([decimal.Decimal("1.5"), decimal.Decimal("1.234")], pa.decimal128(9, 3)),
            "note": pa.array(["a", "b"]).dictionary_encode(),
        }
    )
    pq.write_table(table, inbox.root / "file")
    inbox.put("a.parquet", (inbox.root / "file").read_bytes())
    inbox.load(feed, "a.parquet")
    assert inbox.rows(feed) == [(1, decimal.Decimal("1.50"), "a")]
    assert inbox.letters(feed) == [(2, "decimal(amount)", {"id": "2", "amount": "1.234", "note": "b"})]
    pq.write_table(table.set_column(0, "id", pa.array([1.5, 2.5])), inbox.root / "file")
    inbox.put("b.parquet", (inbox.root / "file").read_bytes())
    [stopped] = inbox.load(feed, "b.parquet")
    assert "column id is double, but declared as integer of 64 bits" in stopped.reason


def test_types_of_parquet_are_found_where_none_are_declared(inbox: Inbox) -> None:
    feed = Feed("found", "inbox", "*.parquet", "parquet")
    at = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    table = pa.table(
        {
            "u": pa.array([2**64 - 1], pa.uint64()),
            "h": pa.array([1.5], pa.float32()),
            "t": pa.array([dt.time(9, 30)], pa.time32("s")),
            "at": pa.array([at], pa.timestamp("ms", "Europe/Paris")),
            "raw": pa.array([b"\x00\xff"]),
        }
    )
    pq.write_table(table, inbox.root / "file")
    inbox.put("a.parquet", (inbox.root / "file").read_bytes())
    inbox.load(feed, "a.parquet")
    assert inbox.rows(feed) == [(decimal.Decimal(2**64 - 1), 1.5, "09:30:00.000000", at, b"\x00\xff")]


def test_a_withdrawn_object_counts_no_longer_and_is_not_loaded_again(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\n")
    inbox.put("orders/2.csv", "id,amount,note\n2,2,b\n")
    inbox.load(ORDERS, "orders/1.csv", "orders/2.csv")
    upload = inbox.upload("orders/1.csv")
    assert inbox.withdraw(ORDERS, "orders/1.csv") == 1
    assert inbox.rows(ORDERS, "id") == [(2,)]
    assert inbox.feeds.load(ORDERS, inbox.bucket, [upload])[0].result is Result.SETTLED
    inbox.put("orders/1.csv", "id,amount,note\n3,3,c\n")
    inbox.load(ORDERS, "orders/1.csv")
    assert inbox.rows(ORDERS, "id") == [(3,), (2,)]


def test_a_file_that_is_gone_is_withdrawn_by_its_name_in_the_ledger_with_all_its_versions(
    inbox: Inbox,
) -> None:
    merge = replace(ORDERS, mode="merge", key=("id",))
    for row in ("1,1,a", "2,2,b"):
        inbox.put("orders/1.csv", f"id,amount,note\n{row}\n")
        inbox.load(merge, "orders/1.csv")
    assert inbox.rows(merge, "id") == [(1,), (2,)]
    assert inbox.feeds.withdraw(merge, "orders/other.csv", [], "a mistake") is None
    assert inbox.feeds.withdraw(merge, "orders/1.csv", [], "a mistake") == 2
    assert inbox.rows(merge, "id") == []
    assert inbox.feeds.withdraw(merge, "orders/1.csv", [], "a mistake") is None


def test_upkeep_removes_the_rows_of_withdrawn_files_from_the_table_of_their_feed(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\n")
    inbox.put("orders/2.csv", "id,amount,note\n2,2,b\n")
    inbox.load(ORDERS, "orders/1.csv", "orders/2.csv")
    ledger = inbox.feeds.ledger(ORDERS)
    table = inbox.feeds.table(ORDERS, inbox.feeds.layout(ORDERS))
    inbox.withdraw(ORDERS, "orders/1.csv")
    merged(KeptTable("uploads/orders", table, outdated=ledger.withdrawn_rows), inbox.root / "kept")
    assert table.row_count(table.open()) == 1
    assert inbox.rows(ORDERS, "id") == [(2,)]


def rooms_over(inbox: Inbox) -> Rooms:
    """The rooms of a configuration with the feed of orders, over the lake of an inbox."""
    columns = {"id": {"type": "integer"}, "amount": {"type": "decimal(10,2)", "nullable": True}}
    columns["note"] = {"type": "text", "nullable": True}
    given = {"watch": "inbox", "pattern": "orders/**/*.csv", "format": "csv", "columns": columns}
    settings = settings_of(inbox.root, inbox.feeds.lake)
    return Rooms(with_keys(settings, feeds={"orders": FeedSettings.model_validate(given)}))


def test_a_look_back_shows_the_rows_that_counted_at_the_time(inbox: Inbox, tmp_path: Path) -> None:
    times = []

    def note() -> None:
        times.append(dt.datetime.now(dt.UTC))

    note()
    inbox.put("orders/1.csv", "id,amount,note\n1,9.50,a\n2,,b\n")
    inbox.load(ORDERS, "orders/1.csv")
    note()
    inbox.put("orders/2.csv", "id,amount,note\n3,1,c\n")
    inbox.load(ORDERS, "orders/2.csv")
    note()
    inbox.put("orders/1.csv", "id,amount,note\n1,7.25,a\n")
    inbox.load(ORDERS, "orders/1.csv")
    note()
    inbox.withdraw(ORDERS, "orders/2.csv")
    note()
    rooms = rooms_over(inbox)
    seen = [look_back(rooms, time, ["uploads/orders"]).rows("uploads/orders", 9) for time in times]
    old, third = {(1, "9.50"), (2, "None")}, (3, "1.00")
    assert [{(row["id"], str(row["amount"])) for row in rows} for rows in seen] == [
        set(), old, {*old, third}, {third, (1, "7.25")}, {(1, "7.25")}
    ]  # fmt: skip
    [changed] = compare(rooms, times[2], times[4], ["orders"]).tables()
    assert (changed.inserted, changed.updated, changed.deleted, changed.problem) == (1, 0, 3, "")
    file = tmp_path / "then.duckdb"
    assert look_back(rooms, times[2], ["uploads"]).write(file) == {}
    with duckdb.connect(str(file), read_only=True) as connection:
        assert connection.sql('SELECT count(*) FROM "uploads"."orders"').fetchall() == [(3,)]


def test_rejected_rows_lose_their_content_once_their_file_was_replaced_or_withdrawn(inbox: Inbox) -> None:
    for key, bad in (("orders/1.csv", "x"), ("orders/2.csv", "y"), ("orders/3.csv", "z")):
        inbox.put(key, f"id,amount,note\n{bad},1,a\n")
    inbox.load(ORDERS, "orders/1.csv", "orders/2.csv", "orders/3.csv")
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\nw,1,a\n")
    inbox.load(ORDERS, "orders/1.csv")
    inbox.withdraw(ORDERS, "orders/2.csv")
    rooms = rooms_over(inbox)
    [kept] = [
        delta_table
        for delta_table in rooms.of(SourceRoom).delta_tables()
        if delta_table.name == "dead_letters"
    ]

    def after(days: int) -> int:
        [one] = upkeep_of(kept, inbox.root / str(days), later=dt.timedelta(days=days)).run()
        assert not one.error, one.error
        return one.outdated

    assert after(364) == 0
    assert after(366) == 2
    assert [row.get("id") for _, _, row in inbox.letters(ORDERS)] == [None, None, "z", "w"]
    assert after(367) == 0


def test_a_feed_whose_ledger_is_damaged_keeps_no_other_table_from_a_look_back_or_from_retention(
    inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.put("orders/1.csv", "id,amount,note\nx,1,a\n")
    inbox.load(ORDERS, "orders/1.csv")
    inbox.withdraw(ORDERS, "orders/1.csv")
    rooms = rooms_over(inbox)

    def damaged(*_: object) -> Never:
        raise OverflowError("a number beyond all bounds")

    monkeypatch.setattr(Feeds, "ledger", damaged)
    problems = look_back(rooms, dt.datetime.now(dt.UTC)).write(tmp_path / "then.duckdb")
    assert list(problems) == ["uploads/orders"]
    assert "a number beyond all bounds" in problems["uploads/orders"]
    [kept] = [
        delta_table
        for delta_table in rooms.of(SourceRoom).delta_tables()
        if delta_table.name == "dead_letters"
    ]
    [one] = upkeep_of(kept, inbox.root / "later", later=dt.timedelta(days=400)).run()
    assert (one.error, one.outdated) == ("", 0)


def test_a_name_in_other_upper_and_lower_case_stops_the_feed(inbox: Inbox) -> None:
    feed = replace(ORDERS, columns=(Column("id", Integer(64), nullable=True),), new_columns="add")
    inbox.put("orders/1.csv", "id,Id2,ID2\n1,2,3\n")
    inbox.put("orders/2.csv", "id,x\n1,2\n")
    assert "column ID2 occurs twice" in inbox.load(feed, "orders/1.csv")[0].reason
    inbox.put("orders/1.csv", "id,x\n1,2\n")
    inbox.load(feed, "orders/1.csv")
    inbox.put("orders/2.csv", "id,x,X\n1,2,3\n")
    assert inbox.load(feed, "orders/2.csv")[0].result is Result.STOPPED


def test_the_rows_that_count_go_on_to_a_warehouse(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n1,9.50,a\n2,,b\n")
    inbox.load(ORDERS, "orders/1.csv")
    warehouse = DuckDBWarehouse(inbox.root / "warehouse.duckdb", inbox.feeds.engine)
    for expected in ([(1, decimal.Decimal("9.50")), (2, None)], [(3, decimal.Decimal("1.00"))]):
        assert warehouse.write(("uploads", ORDERS.name), inbox.feeds.relation(ORDERS)) == len(expected)
        with warehouse.query("SELECT id, amount FROM uploads.orders ORDER BY id") as rows:
            assert [tuple(row.values()) for row in rows.read_all().to_pylist()] == expected
        inbox.put("orders/1.csv", "id,amount,note\n3,1,c\n")
        inbox.load(ORDERS, "orders/1.csv")


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", ["append", "commit"])
def test_a_crash_between_two_steps_repeats_nothing_and_loses_nothing(
    inbox: Inbox, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\nx,2,b\n")
    for before in (True, False) if step == "append" else (True,):
        crash_once(monkeypatch, step, is_before=before)
        with pytest.raises(Crash):
            inbox.load(ORDERS, "orders/1.csv")
        monkeypatch.undo()
        assert inbox.rows(ORDERS) == []
        assert inbox.letters(ORDERS) == []
    [loaded] = inbox.load(ORDERS, "orders/1.csv")
    assert (loaded.result, loaded.rows, loaded.dead_letters) == (Result.LOADED, 1, 1)
    assert inbox.rows(ORDERS, "id") == [(1,)]
    assert len(inbox.letters(ORDERS)) == 1
    assert list((inbox.root / "scratch").iterdir()) == []


def crash_once(monkeypatch: pytest.MonkeyPatch, step: str, *, is_before: bool) -> None:
    """End the process before or after rows are appended, or before they are declared."""
    place: Any = LakeTable if step == "append" else FeedLedger
    real = getattr(place, step)

    def crash(*args: Any, **options: Any) -> Any:
        if not is_before:
            real(*args, **options)
        raise Crash

    monkeypatch.setattr(place, step, crash)


def test_what_a_crash_left_of_a_first_file_does_not_decide_on_the_columns(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = replace(ORDERS, columns=())
    inbox.put("orders/1.csv", "wrong,columns\n1,2\n")
    crash_once(monkeypatch, "commit", is_before=True)
    with pytest.raises(Crash):
        inbox.load(feed, "orders/1.csv")
    monkeypatch.undo()
    inbox.put("orders/2.csv", "id,note\n1,a\n")
    inbox.load(feed, "orders/2.csv")
    assert inbox.rows(feed) == [(1, "a")]


def test_of_two_runs_that_load_the_same_object_one_counts(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.put("orders/0.csv", "id,amount,note\n0,0,z\n")
    inbox.load(ORDERS, "orders/0.csv")
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\n")
    real = FeedLedger.commit
    others: list[Loaded] = []

    def later(*args: Any) -> None:
        monkeypatch.undo()
        others.extend(inbox.load(ORDERS, "orders/1.csv"))
        real(*args)

    monkeypatch.setattr(FeedLedger, "commit", later)
    [mine] = inbox.load(ORDERS, "orders/1.csv")
    assert (mine.result, others[0].result) == (Result.SETTLED, Result.LOADED)
    assert inbox.rows(ORDERS, "id") == [(0,), (1,)]


def test_of_two_runs_that_make_the_table_the_later_one_finds_other_columns(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = replace(ORDERS, columns=())
    inbox.put("orders/1.csv", "a\n1\n")
    inbox.put("orders/2.csv", "b\n1\n")
    real = FeedLedger.commit

    def later(*args: Any) -> None:
        monkeypatch.undo()
        inbox.load(feed, "orders/2.csv")
        real(*args)

    monkeypatch.setattr(FeedLedger, "commit", later)
    [stopped] = inbox.load(feed, "orders/1.csv")
    assert stopped.result is Result.STOPPED
    assert inbox.rows(feed) == [(1,)]
    assert inbox.feeds.layout(feed).columns[0].name == "b"


def test_runs_that_load_at_the_same_time_lose_nothing_and_repeat_nothing(inbox: Inbox) -> None:
    keys = [f"orders/{number}.csv" for number in range(9)]
    for number, key in enumerate(keys):
        inbox.put(key, f"id,amount,note\n{number},1,a\nx,1,b\n")

    def run(first: int) -> None:
        for key in keys[first:] + keys[:first]:
            inbox.load(ORDERS, key)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, (0, 3, 6)))
    assert inbox.rows(ORDERS, "id") == [(number,) for number in range(9)]
    assert len(inbox.letters(ORDERS)) == 9


def test_merging_files_changes_no_row_and_loads_go_on(inbox: Inbox, tmp_path: Path) -> None:
    for number in range(4):
        inbox.put(f"orders/{number}.csv", f"id,amount,note\n{number},1,a\n")
        inbox.load(ORDERS, f"orders/{number}.csv")
    ledger = inbox.feeds.ledger(ORDERS)
    assert merged(KeptTable("orders", inbox.feeds.table(ORDERS, Layout())), tmp_path)
    assert merged(ledger.log.kept("ledger"), tmp_path)
    inbox.put("orders/1.csv", "id,amount,note\n9,1,a\n")
    assert inbox.load(ORDERS, "orders/1.csv", "orders/2.csv")[1].result is Result.SETTLED
    assert inbox.rows(ORDERS, "id") == [(0,), (9,), (2,), (3,)]


def test_columns_may_be_called_anything(inbox: Inbox) -> None:
    feed = Feed("names", "inbox", "*", "csv", mode="merge", key=("a.b",))
    names = ["a.b", 'say "hi"', "it's", "é", "a,b", "a;b{}", "a=b", "SELECT", "a\tb", "a\\b"]
    for number in (1, 2):
        written = io.StringIO(newline="")
        csv.writer(written).writerows([names, [f"{number}{place}" for place in range(len(names))]])
        inbox.put(f"{number}", written.getvalue())
        inbox.load(feed, f"{number}")
    assert [column.name for column in inbox.feeds.layout(feed).columns] == names
    assert inbox.rows(feed) == [tuple(int(f"{n}{place}") for place in range(len(names))) for n in (1, 2)]


def test_an_object_that_was_overwritten_before_it_was_read_is_gone(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\n")
    old = inbox.upload("orders/1.csv")
    inbox.put("orders/1.csv", "id,amount,note\n2,2,b\n")
    [gone] = inbox.feeds.load(ORDERS, inbox.bucket, [old])
    assert gone.result is Result.GONE
    inbox.load(ORDERS, "orders/1.csv")
    assert inbox.rows(ORDERS, "id") == [(2,)]


def test_objects_of_a_bucket_are_loaded_into_a_lake_in_buckets(tmp_path: Path, s3_server: S3Server) -> None:
    name, client = s3_server.create_bucket(), s3_server.client()
    lake = Lake(f"s3://{name}/ingestion", f"s3://{name}/processed", lambda: s3_server.storage_options)
    feeds = Feeds(lake, SqlEngine(256, 1, tmp_path / "spill"), tmp_path / "scratch")
    bucket = open_bucket(f"s3://{name}/inbox", s3_server.storage_options)
    feed = replace(ORDERS, mode="merge", key=("id",))
    for body in ("id,amount,note\n1,1,a\nx,1,b\n2,2,b\n", "id,amount,note\n1,9,new\n"):
        client.put_object(Bucket=name, Key="inbox/orders/1.csv", Body=body.encode())
        found = bucket.find("orders/1.csv")
        assert found is not None
        [loaded] = feeds.load(feed, bucket, [UploadedObject(found, "allow", found.key)])
        assert loaded.result is Result.LOADED
    rows = feeds.relation(feed).read_all().sort_by("id")
    assert rows.select(["id", "note"]).to_pylist() == [{"id": 1, "note": "new"}, {"id": 2, "note": "b"}]
    assert feeds.dead_letters(feed).read_all()["reason"].to_pylist() == ["integer(id)"]


@pytest.mark.parametrize(
    ("pattern", "key", "is_taken"),
    [
        ("*.csv", "a.csv", True),
        ("*.csv", "a/b.csv", False),
        ("**/*.csv", "b.csv", True),
        ("**/*.csv", "a/b/c.csv", True),
        ("in/**", "in/a/b", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab]*.csv", "b1.csv", True),
        ("[!ab]*.csv", "b1.csv", False),
        ("[!ab]*.csv", "/1.csv", False),
        ("a[0-9].csv", "a5.csv", True),
        ("a[b.csv", "a[b.csv", True),
        ("a.csv", "aXcsv", False),
        ("a\nb*", "a\nb\nc", True),
        ("orders-*.csv", "orders-.csv\n", False),
    ],
)
def test_a_pattern_stands_for_keys(pattern: str, key: str, is_taken: bool) -> None:
    assert replace(ORDERS, pattern=pattern).takes("inbox", key) is is_taken
    assert not replace(ORDERS, pattern=pattern).takes("other", key)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "Orders"}, "its name must"),
        ({"mode": "merge"}, "it has no key"),
        ({"key": ("nothing",)}, "the columns nothing are not declared"),
        ({"encoding": "klingon"}, "encoding klingon does not exist"),
        ({"encoding": "base64"}, "encoding base64 does not exist"),
        ({"pattern": "[z-a].csv"}, "its pattern is not valid"),
        ({"dialect": CsvDialect(delimiter='"')}, "all different"),
        ({"dialect": CsvDialect(delimiter="")}, "one character each"),
        ({"dialect": CsvDialect(quote="\n")}, "no line end"),
        ({"columns": (), "dialect": CsvDialect(header=False)}, "have to be declared"),
        ({"columns": (Column("_line", Text()),)}, "platform's own"),
        ({"columns": (Column("a", Text()), Column("A", Text()))}, "more than once"),
    ],
)
def test_a_feed_that_cannot_work_is_refused_when_it_is_declared(changes: Any, told: str) -> None:
    with pytest.raises(FeedError, match=told):
        replace(ORDERS, **changes)


def test_a_type_that_is_declared_otherwise_later_stops_the_feed(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\n")
    inbox.load(ORDERS, "orders/1.csv")
    inbox.put("orders/2.csv", "id,amount,note\n2,2,b\n")
    changed = replace(ORDERS, columns=(ORDERS.columns[0], Column("amount", Float()), ORDERS.columns[2]))
    [stopped] = inbox.load(changed, "orders/2.csv")
    assert stopped.result is Result.STOPPED
    assert "column amount is declared as float, but its table has decimal128(10, 2)" in stopped.reason
    assert inbox.load(ORDERS, "orders/2.csv")[0].result is Result.LOADED


def test_a_lake_that_cannot_be_written_to_is_told(inbox: Inbox) -> None:
    inbox.put("orders/1.csv", "id,amount,note\n1,1,a\n")
    (inbox.root / "lake").mkdir()
    (inbox.root / "lake" / "ingestion").write_text("no folder")
    with pytest.raises(LakeError):
        inbox.load(ORDERS, "orders/1.csv")


TEXTS = st.text(max_size=12) | st.sampled_from(
    ['"', '""', ",", "\n", "\r\n", "\r", '"\n"', "'", "\\", " ", "\u2028", "\x00", "\x85", "\ufeff"]
)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(st.tuples(TEXTS, TEXTS), max_size=8), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_whatever_a_csv_file_holds_its_rows_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], end: str
) -> None:
    inbox = make_inbox(tmp_path_factory.mktemp("csv"))
    feed = Feed(
        "texts", "inbox", "*", "csv", tuple(Column(name, Text(), nullable=True) for name in ("a", "b"))
    )
    written, lines = io.StringIO(newline=""), []
    # Of line ends, Python's writer only quotes the one that it writes itself.
    has_ends = any(character in "".join(map("".join, rows)) for character in "\r\n")
    dialect: Any = {"quoting": csv.QUOTE_ALL if has_ends else csv.QUOTE_MINIMAL}
    writer = csv.writer(written, lineterminator=end, **dialect)
    writer.writerow(["a", "b"])
    for row in rows:
        # A lone carriage return ends a line as well.
        lines.append(len(io.StringIO(written.getvalue(), newline=None).read().split("\n")))
        writer.writerow(row)
    inbox.put("x", written.getvalue())
    [loaded] = inbox.load(feed, "x")
    assert (loaded.rows, loaded.dead_letters) == (len(rows), 0)
    assert inbox.rows(feed, "a", "b", "_line") == [
        (a or None, b or None, line) for (a, b), line in zip(rows, lines, strict=True)
    ]


@settings(max_examples=examples(40), deadline=None)
@given(content=st.binary(max_size=200) | st.text(alphabet='a,b"\n\r{}[]:1', max_size=200).map(str.encode))
@pytest.mark.parametrize("format_", ["csv", "jsonl", "json", "parquet"])
def test_no_bytes_make_a_load_fail(
    tmp_path_factory: pytest.TempPathFactory, format_: Any, content: bytes
) -> None:
    inbox = make_inbox(tmp_path_factory.mktemp("bytes"))
    inbox.put("x", content)
    [loaded] = inbox.load(Feed("bytes", "inbox", "*", format_), "x")
    assert loaded.result in (Result.LOADED, Result.STOPPED, Result.FAILED)


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 99)), max_size=4),
        st.sampled_from(["load", "load", "crash before append", "crash after append", "crash before commit"]),
    ),
    max_size=6,
)


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, mode=st.sampled_from(["append", "merge"]))
def test_after_any_uploads_overwrites_and_crashes_the_rows_are_those_of_the_uploads(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], mode: Any
) -> None:
    inbox = make_inbox(tmp_path_factory.mktemp("steps"))
    feed = Feed(
        "steps",
        "inbox",
        "*",
        "csv",
        (Column("id", Integer(64)), Column("value", Integer(64))),
        key=("id",),
        mode=mode,
    )
    newest: dict[str, list[tuple[int, int]]] = {}
    merged: dict[int, int] = {}
    for key, rows, fate in steps:
        inbox.put(key, "id,value\n" + "".join(f"{id_},{value}\n" for id_, value in rows))
        newest[key] = rows
        merged |= dict(rows)
        if fate != "load":
            with pytest.MonkeyPatch.context() as patch:
                crash_once(patch, fate.split()[-1], is_before="before" in fate)
                with pytest.raises(Crash):
                    inbox.load(feed, key)
        inbox.load(feed, *sorted(newest))
    if steps:
        found = sorted(inbox.rows(feed, "id", "value"))
        expected = [row for rows in newest.values() for row in rows] if mode == "append" else merged.items()
        assert found == sorted(expected)
