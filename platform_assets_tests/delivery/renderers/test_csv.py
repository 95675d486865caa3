"""Rows as CSV: other readers get the same values, whatever they are, in every dialect."""

from __future__ import annotations

import csv
import datetime as dt
import io
import zoneinfo
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platform_assets.delivery.interfaces import DeliveryError
from platform_assets_tests.delivery.renderers.rendering import Kitchen
from platform_assets_tests.fixtures.properties import examples

AWKWARD = [
    "",
    '"',
    'a "quoted" one',
    "two\nlines",
    "two\r\nlines",
    "nul \x00 in it",
    "😀",
    "\u05d0\u05d1 rtl",
    ";,\t|",
    " x ",
]
FIRST = dt.datetime(1, 1, 1, 23, 59, 59, 999999)  # noqa: DTZ001 - a time without a zone


def read(text: str, **dialect: Any) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), **dialect))


def test_awkward_texts_are_read_back_by_another_reader(kitchen: Kitchen) -> None:
    found = kitchen.one(["csv"], pa.table({"t": AWKWARD, "n": range(len(AWKWARD))}))
    assert read(found.text) == [["t", "n"], *([text, str(n)] for n, text in enumerate(AWKWARD))]
    assert found.rows == len(AWKWARD)
    assert (found.name, found.content_type) == ("customers.csv", "text/csv; charset=utf-8")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", ":", "-", " ", "."])
@pytest.mark.parametrize("quoting", ["minimal", "all", "text"])
def test_values_of_every_type_are_read_back_in_every_dialect(
    kitchen: Kitchen, delimiter: str, quoting: str
) -> None:
    rows = pa.table(
        {
            "text": pa.array(["it's; a:b-c, d.e|f\tg h", None]),
            "whole": pa.array([-(2**63), None]),
            "amount": pa.array([Decimal("-12345678901234567890.123456"), None], pa.decimal128(38, 6)),
            "day": pa.array([dt.date(9999, 12, 31), None]),
            "at": pa.array([FIRST, None], pa.timestamp("us")),
            "flag": pa.array([True, None]),
        }
    )
    steps = [{"csv": {"delimiter": delimiter, "quoting": quoting, "null": "<none>"}}]
    found = read(kitchen.one(steps, rows).text, delimiter=delimiter)
    assert found[1] == [
        "it's; a:b-c, d.e|f\tg h",
        "-9223372036854775808",
        "-12345678901234567890.123456",
        "9999-12-31",
        "0001-01-01 23:59:59.999999",
        "true",
    ]
    assert found[2] == ["<none>"] * 6


def test_the_textual_form_of_each_type_is_fixed(kitchen: Kitchen) -> None:
    berlin = dt.datetime(2026, 7, 1, 10, 0, 0, 5, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    columns = {
        "float": pa.array([0.1]),
        "large": pa.array([1e300]),
        "single": pa.array([0.1], pa.float32()),
        "half": pa.array([1.5], pa.float16()),
        "nan": pa.array([float("nan")]),
        "plus": pa.array([float("inf")]),
        "minus": pa.array([float("-inf")]),
        "unsigned": pa.array([2**64 - 1], pa.uint64()),
        "wide": pa.array([Decimal("1.5")], pa.decimal256(60, 2)),
        "zone": pa.array([berlin], pa.timestamp("us", "Europe/Berlin")),
        "nanoseconds": pa.array([1], pa.timestamp("ns")),
        "zoned nanoseconds": pa.array([1], pa.timestamp("ns", "UTC")),
        "duration": pa.array([dt.timedelta(days=1, microseconds=5)]),
        "uuid": pa.array([bytes(15) + b"\x05"], pa.uuid()),
        "bool8": pa.array([1], pa.bool8()),
        "run": pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array(["x"])),
        "large list": pa.array([[1]], pa.large_list(pa.int32())),
        "list view": pa.array([[1]], pa.list_view(pa.int32())),
        "pair": pa.array([[1.5, 2]], pa.list_(pa.float16(), 2)),
        "wide list": pa.array([[Decimal("1.5")]], pa.list_(pa.decimal256(60, 1))),
        "no members": pa.array([{}], pa.struct([])),
        "two members": pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "A"]),
        "time": pa.array([dt.time(8, 30, 0, 500)]),
        "binary": pa.array([b"\x00\xff"]),
        "list": pa.array([[1, None]]),
        "struct": pa.array([{"a": float("nan"), "at": berlin}]),
        "map": pa.array([[("k", [dt.date(2026, 1, 31)])]], pa.map_(pa.string(), pa.list_(pa.date32()))),
        "category": pa.array(["x"]).dictionary_encode(),
        "nothing": pa.nulls(1),
    }
    names, values = read(kitchen.one(["csv"], pa.table(columns)).text)
    assert dict(zip(names, values, strict=True)) == {
        "float": "0.1",
        "large": "1e+300",
        "single": "0.1",
        "half": "1.5",
        "nan": "NaN",
        "plus": "Infinity",
        "minus": "-Infinity",
        "unsigned": "18446744073709551615",
        "wide": "1.50",
        "zone": "2026-07-01 08:00:00.000005+00:00",
        "nanoseconds": "1970-01-01 00:00:00.000000001",
        "zoned nanoseconds": "1970-01-01 00:00:00.000000001+00:00",
        "duration": "24:00:00.000005",
        "uuid": "00000000-0000-0000-0000-000000000005",
        "bool8": "true",
        "run": "x",
        "large list": "[1]",
        "list view": "[1]",
        "pair": "[1.5,2.0]",
        "wide list": '["1.5"]',
        "no members": "{}",
        "two members": '{"a":1,"A":2}',
        "time": "08:30:00.0005",
        "binary": "AP8=",
        "list": "[1,null]",
        "struct": '{"a":"NaN","at":"2026-07-01T08:00:00.000005Z"}',
        "map": '{"k":["2026-01-31"]}',
        "category": "x",
        "nothing": "",
    }


def test_dates_numbers_and_times_are_written_as_a_country_expects(kitchen: Kitchen) -> None:
    rows = pa.table(
        {
            "day": [dt.date(2026, 1, 31)],
            "at": pa.array([dt.datetime(2026, 7, 1, 8, tzinfo=dt.UTC)], pa.timestamp("us", "UTC")),
            "amount": pa.array([Decimal("1234567.50")]),
            "share": [0.25],
        }
    )
    options = {
        "delimiter": ";",
        "decimal_sign": ",",
        "date_format": "%d.%m.%Y",
        "timestamp_format": "%d.%m.%Y %H:%M",
        "timezone": "Europe/Berlin",
        "line_end": "crlf",
    }
    found = kitchen.one([{"csv": options}], rows)
    assert found.text == "day;at;amount;share\r\n31.01.2026;01.07.2026 10:00;1234567,50;0,25\r\n"


def test_times_in_a_zone_have_its_offset_with_minutes(kitchen: Kitchen) -> None:
    at = pa.array([dt.datetime(2026, 7, 1, tzinfo=dt.UTC)], pa.timestamp("us", "UTC"))
    for zone, text in (
        ("Europe/Berlin", "2026-07-01 02:00:00+02:00"),
        ("Asia/Kolkata", "2026-07-01 05:30:00+05:30"),
    ):
        found = kitchen.one([{"csv": {"timezone": zone, "header": False}}], pa.table({"at": at}))
        assert found.text == f"{text}\n"


def test_a_missing_value_differs_from_an_empty_text(kitchen: Kitchen) -> None:
    rows = pa.table({"a": ["", None, "NULL"], "b": pa.array([b"", None, b"x"])})
    assert kitchen.one([{"csv": {"header": False}}], rows).text == '"",""\n,\nNULL,eA==\n'
    assert (
        kitchen.one([{"csv": {"header": False, "null": "NULL"}}], rows).text == ',\nNULL,NULL\n"NULL",eA==\n'
    )


def test_a_missing_value_in_the_only_column_is_no_blank_line(kitchen: Kitchen) -> None:
    found = kitchen.one(["csv"], pa.table({"a": pa.array([1, None, 3])}))
    assert found.text == 'a\n1\n""\n3\n'


def test_formulas_are_guarded_where_that_is_wanted(kitchen: Kitchen) -> None:
    texts = ["=1+1", "+1", "-1", "@x", "\t=1", "plain", "\uff1d1", None]
    rows = pa.table({"=a": texts, "n": pa.array([-1] * len(texts))})
    found = read(kitchen.one([{"csv": {"guard_formulas": True}}], rows).text)
    assert [row[0] for row in found] == [
        "'=a",
        "'=1+1",
        "'+1",
        "'-1",
        "'@x",
        "'\t=1",
        "plain",
        "'\uff1d1",
        "",
    ]
    assert {row[1] for row in found[1:]} == {"-1"}
    assert "'" not in kitchen.one(["csv"], rows).text


def test_duplicate_column_names_stay_and_an_empty_table_has_a_header(kitchen: Kitchen) -> None:
    rows = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "A", "a"])
    assert kitchen.one(["csv"], rows).text == "a,A,a\n1,2,3\n"
    empty = kitchen.one(["csv"], rows.slice(0, 0))
    assert (empty.text, empty.rows) == ("a,A,a\n", 0)


def test_rows_without_columns_are_refused(kitchen: Kitchen) -> None:
    with pytest.raises(DeliveryError, match="customers has no columns"):
        kitchen.render(["csv"], pa.table({}))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "cp1252"])
def test_each_encoding_is_read_back(kitchen: Kitchen, encoding: str) -> None:
    rows = pa.table({"name": ["Zoë", "Müller"] * 5, "n": range(10)})
    found = kitchen.one([{"csv": {"encoding": encoding}}], rows)
    assert read(found.content.decode(encoding))[1:] == [[r["name"], str(r["n"])] for r in rows.to_pylist()]


def test_a_character_outside_the_encoding_names_its_column_and_row(kitchen: Kitchen) -> None:
    rows = pa.table({"id": range(8), "the note": ["x, y\nz"] * 6 + ['a "b" €', "c"], "last": ["z"] * 8})
    with pytest.raises(DeliveryError, match=r"column the note, row 7, has '€' \(U\+20AC\)"):
        kitchen.render([{"csv": {"encoding": "latin-1"}}], rows)
    with pytest.raises(DeliveryError, match=r"column €, its name, has '€'"):
        kitchen.render([{"csv": {"encoding": "latin-1"}}], pa.table({"id": [1], "€": [1]}))


def test_a_value_that_needs_quotes_fails_where_there_are_none(kitchen: Kitchen) -> None:
    plain = [{"csv": {"quoting": "none"}}]
    assert kitchen.one(plain, pa.table({"a": ["x", ""], "b": ["y", None]})).text == "a,b\nx,y\n,\n"
    with pytest.raises(DeliveryError, match="column the text: a value needs quotes"):
        kitchen.render(plain, pa.table({"the text": ["x,y"]}))
    with pytest.raises(DeliveryError, match="name of the column 'a,b' cannot be written"):
        kitchen.render(plain, pa.table({"a,b": ["x"]}))


def test_parts_by_rows_have_a_header_each(kitchen: Kitchen) -> None:
    rows = pa.table({"n": range(10)})
    found = kitchen.render([{"csv": {"split": {"rows": 4}}}], rows)
    assert [(one.name, one.rows) for one in found] == [
        ("customers-0001.csv", 4),
        ("customers-0002.csv", 4),
        ("customers-0003.csv", 2),
    ]
    assert [one.text.splitlines() for one in found] == [
        ["n", "0", "1", "2", "3"],
        ["n", "4", "5", "6", "7"],
        ["n", "8", "9"],
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_parts_by_size_stay_below_it_and_hold_all_rows(kitchen: Kitchen, encoding: str) -> None:
    texts = ["é" * (n * 7 % 60) for n in range(500)]
    options = {"split": {"megabytes": 0.0005}, "encoding": encoding}
    found = kitchen.render([{"csv": options}], pa.table({"n": range(500), "t": texts}))
    assert all(len(one.content) <= 500 for one in found)
    assert all(len(one.content) > 350 for one in found[:-1])
    lines = [line for one in found for line in read(one.content.decode(encoding))[1:]]
    assert lines == [[str(n), text] for n, text in enumerate(texts)]
    assert sum(one.rows or 0 for one in found) == 500


def test_a_row_larger_than_a_part_has_a_part_of_its_own(kitchen: Kitchen) -> None:
    rows = pa.table({"t": ["a", "b" * 900, "c"]})
    found = kitchen.render([{"csv": {"split": {"megabytes": 0.0001}}}], rows)
    assert [one.text.splitlines()[1:] for one in found] == [["a"], ["b" * 900], ["c"]]


def test_an_empty_table_is_one_part(kitchen: Kitchen) -> None:
    empty = pa.table({"n": pa.array([], pa.int64())})
    [found] = kitchen.render([{"csv": {"split": {"rows": 4}}}], empty)
    assert (found.text, found.rows) == ("n\n", 0)


def test_the_order_of_many_rows_stays(kitchen: Kitchen) -> None:
    rows = pa.table({"n": range(200_000)})
    found = kitchen.one([{"csv": {"header": False}}], rows)
    assert found.text == "".join(f"{n}\n" for n in range(200_000))


@settings(
    deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.tuples(
            st.none() | st.text(),
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.floats(),
            st.none() | st.decimals(-(10**20), 10**20, places=4),
            st.none() | st.datetimes(),
            st.none() | st.binary(max_size=5),
        ),
        max_size=8,
    ),
    delimiter=st.sampled_from(",;\t|:- ~"),
    quoting=st.sampled_from(["minimal", "all", "text"]),
    line_end=st.sampled_from(["lf", "crlf"]),
)
def test_any_values_are_read_back(
    kitchen: Kitchen, rows: list[tuple[Any, ...]], delimiter: str, quoting: str, line_end: str
) -> None:
    types = [pa.string(), pa.int64(), pa.float64(), pa.decimal128(38, 4), pa.timestamp("us"), pa.binary()]
    arrays = [pa.array([row[n] for row in rows], type_) for n, type_ in enumerate(types)]
    table = pa.Table.from_arrays(arrays, names=list("abcdef"))
    options = {"delimiter": delimiter, "quoting": quoting, "line_end": line_end, "null": "\\N"}
    [_, *found] = read(kitchen.one([{"csv": options}], table).text, delimiter=delimiter)
    assert len(found) == len(rows)
    for texts, (text, whole, number, amount, at, data) in zip(found, rows, strict=True):
        assert texts[0] == (text if text is not None else "\\N")
        assert texts[1] == (str(whole) if whole is not None else "\\N")
        assert texts[2] == "\\N" if number is None else repr(float(texts[2])) == repr(number)
        assert texts[3] == "\\N" if amount is None else Decimal(texts[3]) == amount
        assert texts[4] == "\\N" if at is None else dt.datetime.fromisoformat(texts[4]) == at
        assert (texts[5] == "\\N") == (data is None)


def test_a_value_that_fails_far_into_the_rows_is_told_with_its_column(kitchen: Kitchen) -> None:
    rows = pa.table({"the text": ["x"] * 100_000 + ["x,y"]})
    with pytest.raises(
        DeliveryError, match=r"customers could not be rendered: .*column the text: a value needs"
    ):
        kitchen.render([{"csv": {"quoting": "none"}}], rows)


def test_infinite_dates_of_a_source_are_named(kitchen: Kitchen) -> None:
    days = pa.array([2**31 - 1, -(2**31) + 1], pa.int32()).cast(pa.date32())
    at = pa.array([2**63 - 1, -(2**63) + 1]).cast(pa.timestamp("us", "UTC"))
    found = kitchen.one([{"csv": {"header": False}}], pa.table({"day": days, "at": at}))
    assert found.text == "infinity,infinity\n-infinity,-infinity\n"
    found = kitchen.one(["json"], pa.table({"day": days, "at": at}))
    assert found.text.splitlines()[1] == '{"day":"infinity","at":"infinity"},'


def test_what_no_format_has_is_refused_with_its_column(kitchen: Kitchen) -> None:
    union = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])])
    with pytest.raises(DeliveryError, match="column either is of type dense_union"):
        kitchen.render(["csv"], pa.table({"either": union}))
    with pytest.raises(
        DeliveryError,
        match="column took, of type duration\\[ns\\], cannot be converted to",
    ):
        kitchen.render(["csv"], pa.table({"took": pa.array([5], pa.duration("ns"))}))
