"""What the paths of Parquet files say."""

from __future__ import annotations

import pytest

from platform_assets.lake.parquet_paths import is_part, kind_of_values, partition_of, stem_of


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.parquet", "a"),
        ("a.parquet.gzip", "a"),
        ("part-0.c000.snappy.PARQUET", "part-0"),
        ("v1.2.parquet", "v1.2"),
        (".parquet", ".parquet"),
        ("a", "a"),
    ],
)
def test_a_stem_is_the_name_without_what_only_says_how_it_is_written(name: str, stem: str) -> None:
    assert stem_of(name) == stem


@pytest.mark.parametrize(
    ("stem", "part"),
    [
        ("part-00000-5f0f", True),
        ("data_0", True),
        ("run1", True),
        ("000000000003", True),
        ("0000_part_00", True),
        ("d2967a7f-57ac-44b6-9d52-368a8757f423-0", True),
        ("orders", False),
        ("part", False),
        ("partners", False),
        ("orders_2024", False),
    ],
)
def test_a_part_is_a_name_that_only_numbers(stem: str, part: bool) -> None:
    assert is_part(stem) is part


def test_a_partition_is_a_column_and_a_value_as_they_are_written() -> None:
    assert partition_of("year=2024") == ("year", "2024")
    assert partition_of("day=a%3Db") == ("day", "a%3Db")
    assert partition_of("year=") == ("year", "")
    assert partition_of("year") is None
    assert partition_of("=2024") is None


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-20", None], "integer"),
        (["01", "2"], "text"),
        (["2024-01-31"], "date"),
        (["2024-13-01"], "text"),
        (["1", "2024-01-31"], "text"),
        ([None], "text"),
        ([], "text"),
    ],
)
def test_values_are_what_all_of_them_are(values: list[str | None], kind: str) -> None:
    assert kind_of_values(values) == kind
