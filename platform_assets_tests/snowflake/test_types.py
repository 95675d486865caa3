"""Every Parquet type has a Snowflake type that holds it exactly, or an error that says what to do."""

from __future__ import annotations

import itertools
import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_assets.errors import ParquetError
from platform_assets.parquet.footers import declared_columns
from platform_assets.parquet.types import ParquetType, parquet_type, widened
from platform_assets.snowflake.types import checked_kind, checked_type, override_for, snowflake_type

UTC = "UTC"

ARROW_TYPES = [
    (pa.bool_(), "boolean", "BOOLEAN"),
    (pa.int8(), "int8", "NUMBER(3, 0)"),
    (pa.int16(), "int16", "NUMBER(5, 0)"),
    (pa.int32(), "int32", "NUMBER(10, 0)"),
    (pa.int64(), "int64", "NUMBER(19, 0)"),
    (pa.uint8(), "uint8", "NUMBER(3, 0)"),
    (pa.uint16(), "uint16", "NUMBER(5, 0)"),
    (pa.uint32(), "uint32", "NUMBER(10, 0)"),
    (pa.uint64(), "uint64", "NUMBER(20, 0)"),
    (pa.float16(), "float16", "FLOAT"),
    (pa.float32(), "float32", "FLOAT"),
    (pa.float64(), "float64", "FLOAT"),
    (pa.decimal128(9, 4), "decimal(9,4)", "NUMBER(9, 4)"),
    (pa.decimal128(38, 0), "decimal(38,0)", "NUMBER(38, 0)"),
    (pa.string(), "string", "VARCHAR"),
    (pa.large_string(), "string", "VARCHAR"),
    (pa.dictionary(pa.int8(), pa.string()), "string", "VARCHAR"),
    (pa.json_(), "json", "VARIANT"),
    (pa.uuid(), "uuid", "BINARY"),
    (pa.binary(), "binary", "BINARY"),
    (pa.binary(5), "fixed(5)", "BINARY"),
    (pa.date32(), "date", "DATE"),
    (pa.time32("ms"), "time(ms)", "TIME(3)"),
    (pa.time64("us"), "time(us)", "TIME(6)"),
    (pa.time64("ns"), "time(ns)", "TIME(9)"),
    *(
        (pa.timestamp(u), f"timestamp({u})", f"TIMESTAMP_NTZ({n})")
        for u, n in (("ms", 3), ("us", 6), ("ns", 9))
    ),
    *(
        (pa.timestamp(u, UTC), f"timestamp({u},utc)", f"TIMESTAMP_TZ({n})")
        for u, n in (("ms", 3), ("us", 6), ("ns", 9))
    ),
    (pa.list_(pa.int32()), "list", "ARRAY"),
    (pa.large_list(pa.struct([("a", pa.int32())])), "list", "ARRAY"),
    (pa.struct([("a", pa.list_(pa.int32()))]), "struct", "OBJECT"),
    (pa.map_(pa.string(), pa.int32()), "map", "OBJECT"),
    (pa.null(), "null", "VARIANT"),
]


@pytest.mark.parametrize(("arrow", "name", "expected"), ARROW_TYPES, ids=[str(one[0]) for one in ARROW_TYPES])
def test_every_type_that_arrow_writes_has_one_in_snowflake(
    arrow: pa.DataType, name: str, expected: str
) -> None:
    (column,) = declared_columns(pa.schema([("a", arrow)]))
    assert (column.type.name, snowflake_type(column.type)) == (name, expected)


@pytest.mark.parametrize(
    ("physical", "logical", "converted", "name", "expected"),
    [
        ("BYTE_ARRAY", '{"Type": "Enum"}', "ENUM", "enum", "VARCHAR"),
        ("BYTE_ARRAY", '{"Type": "BSON"}', "BSON", "bson", "BINARY"),
        ("BYTE_ARRAY", '{"Type": "None"}', "NONE", "binary", "BINARY"),
        ("INT96", '{"Type": "None"}', "NONE", "int96", "TIMESTAMP_NTZ(9)"),
        ("INT32", '{"Type": "None"}', "NONE", "int32", "NUMBER(10, 0)"),
        ("FIXED_LEN_BYTE_ARRAY", '{"Type": "Interval"}', "INTERVAL", "interval", None),
        ("FIXED_LEN_BYTE_ARRAY", '{"Type": "None"}', "INTERVAL", "interval", None),
    ],
)
def test_every_type_that_others_write_has_one_or_says_what_to_do(
    physical: str, logical: str, converted: str, name: str, expected: str | None
) -> None:
    found = parquet_type(physical, logical, converted, 12)
    assert found.name == name
    if expected is not None:
        assert snowflake_type(found) == expected
    else:
        with pytest.raises(ParquetError, match="Choose one, interval=BINARY"):
            snowflake_type(found)


def test_more_digits_than_snowflake_has_are_refused_with_what_to_do() -> None:
    (column,) = declared_columns(pa.schema([("a", pa.decimal256(50, 10))]))
    with pytest.raises(ParquetError, match=re.escape("decimal(50,10)=NUMBER(38,10)")):
        snowflake_type(column.type)
    with pytest.raises(ParquetError, match="more than the 37 decimal places"):
        snowflake_type(ParquetType("decimal", precision=38, scale=38))


def test_a_type_can_be_another_by_its_name_or_by_its_kind() -> None:
    overrides = {"decimal": "FLOAT", "decimal(9,2)": "NUMBER(38,2)"}
    assert override_for(ParquetType("decimal", precision=9, scale=2), overrides) == "NUMBER(38,2)"
    assert override_for(ParquetType("decimal", precision=9, scale=3), overrides) == "FLOAT"
    assert override_for(ParquetType("date"), overrides) is None


@pytest.mark.parametrize("text", ["NUMBER(38,2)", "varchar", "timestamp_ltz(6)", "Number( 9 , 2 )"])
def test_types_of_snowflake_are_taken_in_any_case(text: str) -> None:
    assert checked_type(text) == text.upper()


@pytest.mark.parametrize("text", ["NUMBR", "", "VARCHAR); DROP TABLE x --", "VARCHAR NOT NULL", "NUMBER(a)"])
def test_what_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(ParquetError, match="is not a Snowflake type"):
        checked_type(text)


def test_what_parquet_does_not_have_cannot_be_overridden() -> None:
    assert checked_kind("timestamp(us, UTC)") == "timestamp(us,utc)"
    with pytest.raises(ParquetError, match="Parquet has no type 'text'"):
        checked_kind("text")


def integer(name: str) -> ParquetType:
    return ParquetType("int", bits=int(name.lstrip("uint")), signed=not name.startswith("u"))


def decimal(precision: int, scale: int) -> ParquetType:
    return ParquetType("decimal", precision=precision, scale=scale)


def moment(unit: str, utc: bool = False) -> ParquetType:
    return ParquetType("timestamp", unit=unit, utc=utc)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (integer("int8"), integer("int64"), integer("int64")),
        (integer("uint8"), integer("uint64"), integer("uint64")),
        (integer("uint32"), integer("int32"), decimal(10, 0)),
        (integer("uint64"), integer("int64"), decimal(20, 0)),
        (integer("int32"), decimal(9, 4), decimal(14, 4)),
        (decimal(10, 2), decimal(8, 4), decimal(12, 4)),
        (decimal(38, 0), decimal(38, 2), None),
        (integer("int32"), ParquetType("float32"), ParquetType("float64")),
        (integer("int64"), ParquetType("float64"), None),
        (ParquetType("float16"), ParquetType("float32"), ParquetType("float32")),
        (decimal(9, 2), ParquetType("float64"), None),
        (ParquetType("enum"), ParquetType("string"), ParquetType("string")),
        (ParquetType("json"), ParquetType("string"), ParquetType("string")),
        (ParquetType("binary"), ParquetType("string"), None),
        (ParquetType("fixed", length=4), ParquetType("fixed", length=5), ParquetType("binary")),
        (ParquetType("uuid"), ParquetType("binary"), ParquetType("binary")),
        (ParquetType("time", unit="ms"), ParquetType("time", unit="ns"), ParquetType("time", unit="ns")),
        (moment("ms"), moment("us"), moment("us")),
        (moment("ms"), moment("ms", utc=True), None),
        (ParquetType("int96"), moment("ms"), moment("ns")),
        (ParquetType("date"), moment("ms"), None),
        (ParquetType("null"), ParquetType("list"), ParquetType("list")),
        (ParquetType("list"), ParquetType("struct"), None),
    ],
)
def test_two_types_widen_to_the_narrowest_that_holds_both(
    one: ParquetType, other: ParquetType, expected: ParquetType | None
) -> None:
    assert widened(one, other) == expected
    assert widened(other, one) == expected


ALL_TYPES = st.sampled_from([declared_columns(pa.schema([("a", one[0])]))[0].type for one in ARROW_TYPES])


@given(st.lists(ALL_TYPES, min_size=2, max_size=4))
def test_what_many_types_widen_to_does_not_depend_on_their_order(types: list[ParquetType]) -> None:
    found = {_fold(order) for order in itertools.permutations(types)}
    # An order may pass a type that no longer fits, but no two orders end with different types.
    assert len(found - {None}) <= 1


def _fold(types: tuple[ParquetType, ...]) -> ParquetType | None:
    current: ParquetType | None = types[0]
    for type_ in types[1:]:
        if current is None:
            return None
        current = widened(current, type_)
    return current
