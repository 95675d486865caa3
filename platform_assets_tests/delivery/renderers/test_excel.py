"""Rows as Excel workbooks, read back by another reader."""

from __future__ import annotations

import datetime as dt
import io
import math
import zipfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import python_calamine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platform_assets.delivery.interfaces import DeliveryError
from platform_assets.delivery.renderers.excel import ExcelForm
from platform_assets_tests.delivery.renderers.rendering import Kitchen
from platform_assets_tests.fixtures.properties import examples


def sheets(content: bytes) -> dict[str, list[list[Any]]]:
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
    return {name: book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in book.sheet_names}


def rows(kitchen: Kitchen, table: pa.Table, **options: Any) -> list[list[Any]]:
    [found] = sheets(kitchen.one([{"excel": options}], table).content).values()
    return found


def column(kitchen: Kitchen, values: Sequence[Any], type_: pa.DataType | None = None) -> list[Any]:
    return [row[0] for row in rows(kitchen, pa.table({"v": pa.array(values, type_)}))[1:]]


def test_each_type_is_a_cell_of_its_type(kitchen: Kitchen) -> None:
    at = dt.datetime(2026, 7, 1, 8, 30, tzinfo=dt.UTC)
    table = pa.table(
        {
            "text": ["=1+1"],
            "whole": [42],
            "amount": pa.array([Decimal("-1234.50")], pa.decimal128(20, 2)),
            "share": [0.25],
            "flag": [True],
            "day": [dt.date(2026, 1, 31)],
            "at": pa.array([at.replace(tzinfo=None)], pa.timestamp("us")),
            "zone": pa.array([at], pa.timestamp("us", "UTC")),
            "time": [dt.time(8, 30, 15)],
            "list": [[1, None]],
            "binary": [b"\x00\xff"],
        }
    )
    names, values = rows(kitchen, table, timezone="Europe/Berlin")
    assert dict(zip(names, values, strict=True)) == {
        "text": "=1+1",
        "whole": 42,
        "amount": -1234.5,
        "share": 0.25,
        "flag": True,
        "day": dt.date(2026, 1, 31),
        "at": dt.datetime(2026, 7, 1, 8, 30),  # noqa: DTZ001 - cells have no zone
        "zone": dt.datetime(2026, 7, 1, 10, 30),  # noqa: DTZ001
        "time": dt.time(8, 30, 15),
        "list": "[1,null]",
        "binary": "AP8=",
    }


def test_numbers_of_more_than_fifteen_digits_are_texts(kitchen: Kitchen) -> None:
    assert column(kitchen, [10**15 - 1, 10**15, -(2**63)]) == [
        10**15 - 1,
        "1000000000000000",
        "-9223372036854775808",
    ]
    amounts = [Decimal("0.00000000000001"), Decimal("1234567890123.45"), Decimal("12345678901234.56")]
    found = column(kitchen, amounts, pa.decimal128(38, 14))
    assert found[0] == 1e-14
    assert found[1] == "1234567890123.45000000000000"
    found = column(kitchen, amounts[1:], pa.decimal128(38, 2))
    assert found == [1234567890123.45, "12345678901234.56"]


def test_what_a_sheet_has_no_value_for_is_text(kitchen: Kitchen) -> None:
    assert column(kitchen, [float("nan"), float("inf"), float("-inf")]) == ["NaN", "Infinity", "-Infinity"]
    assert column(kitchen, [dt.date(1, 1, 1), dt.date(1900, 2, 28), dt.date(9999, 12, 31)]) == [
        "0001-01-01",
        "1900-02-28",
        dt.date(9999, 12, 31),
    ]


def test_times_with_nanoseconds_as_pandas_has_them_are_times(kitchen: Kitchen) -> None:
    at = dt.datetime(2026, 7, 1, 8, 30)  # noqa: DTZ001 - cells have no zone
    nanoseconds = 1_782_894_600 * 10**9
    for type_ in (pa.timestamp("ns"), pa.timestamp("ns", "UTC")):
        assert column(kitchen, [nanoseconds], type_) == [at]


def test_awkward_texts_and_missing_values(kitchen: Kitchen) -> None:
    texts = [
        "a\nb",
        "😀 \u05d0",
        "tab\there",
        " x ",
        "_x0041_",
        "nul \x00 and \x1f",
        "<&>'\"",
        "http://example.org",
    ]
    assert column(kitchen, texts) == texts
    assert column(kitchen, ["x", None, "y"]) == ["x", "", "y"]


def test_the_header_is_bold_stays_in_view_and_columns_fit(kitchen: Kitchen) -> None:
    table = pa.table({"n": [1], "a long name of a column": ["x" * 200], "day": [dt.date(2026, 1, 31)]})
    content = kitchen.one(["excel"], table).content
    sheet = zipfile.ZipFile(io.BytesIO(content)).read("xl/worksheets/sheet1.xml").decode()
    assert 'state="frozen"' in sheet
    widths = [float(part.split('"')[0]) for part in sheet.split(' width="')[1:]]
    assert widths[0] < 5
    assert 60 <= widths[1] < 62
    assert 11 < widths[2] < 14
    assert rows(kitchen, table, header=False)[0][0] == 1


def test_rows_beyond_a_sheet_are_refused_or_go_to_further_sheets(kitchen: Kitchen) -> None:
    table = pa.table({"n": range(10)})
    with pytest.raises(DeliveryError, match="customers has more than 4 rows, the most of a sheet"):
        kitchen.render([{"excel": {"rows_per_sheet": 4}}], table)
    found = sheets(kitchen.one([{"excel": {"rows_per_sheet": 4, "too_many_rows": "sheets"}}], table).content)
    assert found == {
        "customers": [["n"], [0], [1], [2], [3]],
        "customers 2": [["n"], [4], [5], [6], [7]],
        "customers 3": [["n"], [8], [9]],
    }


def test_a_sheet_holds_a_header_and_1048575_rows() -> None:
    # Seen to hold with a sheet of that size, which takes twenty seconds to write.
    assert ExcelForm().most_rows == 1_048_575
    assert ExcelForm(header=False).most_rows == 1_048_576
    assert ExcelForm(rows_per_sheet=10).most_rows == 10


def test_files_by_rows_have_the_sheet_of_the_whole(kitchen: Kitchen) -> None:
    found = kitchen.render([{"excel": {"split": {"rows": 6}}}], pa.table({"n": range(10)}))
    assert [(one.name, one.rows) for one in found] == [("customers-0001.xlsx", 6), ("customers-0002.xlsx", 4)]
    assert [list(sheets(one.content)) for one in found] == [["customers"], ["customers"]]


def test_a_text_too_long_for_a_cell_is_refused_or_cut(kitchen: Kitchen) -> None:
    table = pa.table({"id": [1, 2], "the text": ["x" * 32_767, "y" * 32_768]})
    with pytest.raises(DeliveryError, match="column the text, row 2, has a text of 32,768 characters"):
        kitchen.render(["excel"], table)
    found = rows(kitchen, table, long_texts="cut")
    assert [row[1] for row in found[1:]] == ["x" * 32_767, "y" * 32_767]


def test_characters_that_excel_counts_twice_count_twice(kitchen: Kitchen) -> None:
    table = pa.table({"t": ["😀" * 16_383, "😀" * 16_384]})
    with pytest.raises(DeliveryError, match="row 2, has a text of 32,768 characters"):
        kitchen.render(["excel"], table)
    found = rows(kitchen, table, long_texts="cut", sheet="😀" * 20)
    assert [row[0] for row in found[1:]] == ["😀" * 16_383, "😀" * 16_383]
    content = kitchen.one([{"excel": {"long_texts": "cut", "sheet": "😀" * 20}}], table).content
    assert list(sheets(content)) == ["😀" * 15]


def test_the_name_of_a_sheet_is_one_that_excel_takes(kitchen: Kitchen) -> None:
    table = pa.table({"n": [1]})
    found = sheets(kitchen.one([{"excel": {"sheet": "Januar 2026"}}], table).content)
    assert list(found) == ["Januar 2026"]


def test_a_workbook_says_what_it_is_and_equal_data_give_equal_bytes(tmp_path: Path) -> None:
    table = pa.table({"n": range(5_000), "t": [f"text {n}" for n in range(5_000)]})
    first, second = (Kitchen(tmp_path / name).one(["excel"], table) for name in ("one", "two"))
    assert first.content == second.content
    core = zipfile.ZipFile(io.BytesIO(first.content)).read("docProps/core.xml").decode()
    assert "<dc:title>Customers in the morning</dc:title>" in core
    assert "2026-01-31T23:30:05Z" in core
    assert "3f0c1f7e-6b1e-4c7e-9a0e-0c8a5b1d2e3f, version v1" in core


def test_an_empty_table_and_duplicate_names(kitchen: Kitchen) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "A"])
    assert rows(kitchen, table) == [["a", "A"], [1, 2]]
    assert rows(kitchen, table.slice(0, 0)) == [["a", "A"]]


@settings(
    deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.lists(
        st.tuples(
            st.text(min_size=1),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(),
            st.dates(),
            st.booleans(),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_values_are_read_back(kitchen: Kitchen, values: list[tuple[Any, ...]]) -> None:
    types = [pa.string(), pa.int64(), pa.float64(), pa.date32(), pa.bool_()]
    arrays = [pa.array([row[n] for row in values], type_) for n, type_ in enumerate(types)]
    found = rows(kitchen, pa.Table.from_arrays(arrays, names=list("abcde")))[1:]
    for cells, (text, whole, number, day, flag) in zip(found, values, strict=True):
        assert cells[0] == text.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")
        assert int(cells[1]) == whole
        if math.isfinite(number) and abs(number) >= 1e308:  # beyond the numbers of a sheet: text
            assert cells[2] == repr(number)
        elif math.isfinite(number):
            assert cells[2] == pytest.approx(number, rel=1e-14, abs=5e-324)
        assert cells[3] == (day if day >= dt.date(1900, 3, 1) else day.isoformat())
        assert cells[4] is flag
