"""Values that are masked, redacted, made tokens of, moved in time and dropped."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal as Exact

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.dlp.deidentify import ColumnChange, TransformedTable, shift_in_days
from platform_assets.dlp.policy import Deidentification
from platform_assets.errors import DlpError
from platform_assets.lake.arrow import arrow_schema
from platform_assets.model.table import (
    Boolean,
    Column,
    Date,
    Decimal,
    Float,
    Integer,
    LogicalType,
    Table,
    Text,
    Timestamp,
)

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
TEXT = Text()
WALL_CLOCK = dt.datetime.fromisoformat("2024-02-28T12:30:01.000005")


def changed(
    values: list[object], how: Deidentification, type_: LogicalType = TEXT, *, nullable: bool = True,
    info_type: str = "EMAIL_ADDRESS", key: bytes = KEY, scope: str = "staff",
) -> list[object]:  # fmt: skip
    column = Column("value", type_, nullable=nullable)
    array = pa.array(values, arrow_schema([column]).field(0).type)
    result = ColumnChange(column, how, info_type, scope).apply(array, key)
    assert len(result) == len(array)
    assert result.cast(array.type).null_count >= array.null_count
    found: list[object] = result.cast(array.type).to_pylist()
    return found


def test_a_mask_hides_all_but_the_end_and_keeps_the_length() -> None:
    how = Deidentification("mask", keep_last=4)
    assert changed(["4111111111111111", "añejo-ß12345", None], how) == [
        "************1111",
        "********2345",
        None,
    ]
    assert changed(["ab", ""], Deidentification("mask", character="x")) == ["xx", ""]


def test_a_mask_shows_nothing_of_a_value_of_which_it_would_show_half() -> None:
    assert changed(["1234567", "12345678"], Deidentification("mask", keep_last=4)) == ["*******", "****5678"]


def test_a_redaction_says_what_was_there() -> None:
    assert changed(["a@b.example", None], Deidentification("redact")) == ["[EMAIL_ADDRESS]", None]
    assert changed(["x"], Deidentification("redact", replacement="-")) == ["-"]


def test_tokens_are_equal_for_equal_values_under_one_key_and_for_no_others() -> None:
    how = Deidentification("tokenize", prefix="tok_")
    first, second, again, nothing = changed(["ann", "bob", "ann", None], how)
    assert first == again != second
    assert nothing is None
    assert str(first).startswith("tok_")
    assert len(str(first)) == 36
    assert changed(["ann"], how, key=OTHER_KEY) != [first]
    assert changed(["ann"], how, scope="other table") == [first]


@pytest.mark.parametrize("bits", [32, 64])
def test_tokens_of_numbers_are_positive_numbers_of_the_columns_width(bits: int) -> None:
    values = changed([7, 8, 7, None, -1], Deidentification("tokenize"), Integer(bits))  # type: ignore[arg-type]
    numbers = [value for value in values if isinstance(value, int)]
    assert len(numbers) == 4
    assert numbers[0] == numbers[2]
    assert len({*numbers}) == 3
    assert all(0 < number < 2 ** (bits - 1) for number in numbers)


def test_dates_of_one_scope_keep_their_distances() -> None:
    how = Deidentification("date_shift", days=20)
    days = [dt.date(2024, 2, 28), dt.date(2024, 3, 1), None]
    moved = changed(days, how, Date())
    assert moved[2] is None
    assert moved[1] - moved[0] == dt.timedelta(days=2)  # type: ignore[operator]
    by = (moved[0] - days[0]).days  # type: ignore[operator]
    assert by == shift_in_days(KEY, "staff", 20)
    assert 0 < abs(by) <= 20
    assert changed([WALL_CLOCK], how, Timestamp()) == [WALL_CLOCK + dt.timedelta(days=by)]


@given(st.binary(min_size=16), st.text(max_size=9), st.integers(1, 400))
def test_a_shift_is_never_none_and_never_more_than_allowed(key: bytes, scope: str, most: int) -> None:
    days = shift_in_days(key, scope, most)
    assert 0 < abs(days) <= most


@pytest.mark.parametrize(
    ("type_", "value", "neutral"),
    [
        (Text(), "secret", ""),
        (Integer(), 5, 0),
        (Decimal(10, 2), Exact("3.50"), Exact("0.00")),
        (Float(), 2.5, 0.0),
        (Boolean(), True, False),
        (Date(), dt.date(2024, 1, 1), dt.date(1970, 1, 1)),
        (Timestamp(), WALL_CLOCK, dt.datetime.fromisoformat("1970-01-01")),
    ],
)
def test_a_dropped_value_is_null_or_where_that_may_not_be_nothing(
    type_: LogicalType, value: object, neutral: object
) -> None:
    how = Deidentification("drop")
    assert changed([value], how, type_) == [None]
    assert changed([value], how, type_, nullable=False) == [neutral]


STAFF = Table(
    "dim_staff",
    "Staff",
    (
        Column("staff_id", Integer()),
        Column("mail", Text(20)),
        Column("department_id", Integer(), references="department"),
        Column("since", Date()),
        Column("grade", Text(), accepted=("a", "b")),
    ),
    primary_key=("staff_id",),
)


@pytest.mark.parametrize(
    ("column", "how", "reason"),
    [
        ("staff_id", Deidentification("tokenize"), "it is a key"),
        ("department_id", Deidentification("tokenize"), "it is a key"),
        ("since", Deidentification("mask"), "mask needs a column of text"),
        ("mail", Deidentification("date_shift"), "date_shift needs a column of date or timestamp"),
        ("mail", Deidentification("tokenize"), "at most 20 characters, but 32 are needed"),
        (
            "mail",
            Deidentification("redact", replacement="x" * 21),
            "at most 20 characters, but 21 are needed",
        ),
        ("grade", Deidentification("redact"), "from a list"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_row_is_read(
    column: str, how: Deidentification, reason: str
) -> None:
    change = ColumnChange(STAFF.column(column), how)
    with pytest.raises(DlpError, match=f"dim_staff.{column} cannot be de-identified.*{reason}"):
        TransformedTable(STAFF, (change,), lambda: KEY)


def test_rows_are_changed_as_they_stream_and_keep_their_schema() -> None:
    change = TransformedTable(
        STAFF,
        (
            ColumnChange(STAFF.column("mail"), Deidentification("mask"), "EMAIL_ADDRESS"),
            ColumnChange(STAFF.column("since"), Deidentification("date_shift"), scope="dim_staff"),
        ),
        lambda: KEY,
    )
    schema = arrow_schema(STAFF.columns)
    rows = pa.table(
        [[1, 2], ["a@b.example", None], [1, 1], [dt.date(2024, 1, 1), None], ["a", "b"]], schema=schema
    )
    result = change.applied(rows.to_reader(1)).read_all()
    assert result.schema == schema
    assert result["mail"].to_pylist() == ["***********", None]
    assert result["staff_id"].to_pylist() == [1, 2]
    assert result["since"].to_pylist()[0] != dt.date(2024, 1, 1)


def test_the_fingerprint_tells_other_keys_and_changes_apart_and_is_stable() -> None:
    def of(how: Deidentification, key: bytes) -> str:
        return TransformedTable(STAFF, (ColumnChange(STAFF.column("mail"), how),), lambda: key).fingerprint

    mask = Deidentification("mask")
    assert of(mask, KEY) == of(mask, KEY)
    assert len({of(mask, KEY), of(mask, OTHER_KEY), of(Deidentification("drop"), KEY)}) == 3
    assert "k" * 16 not in repr(TransformedTable(STAFF, (), lambda: KEY))
