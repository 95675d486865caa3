"""What the paths of Parquet files say."""

from __future__ import annotations

import pytest

from platform_assets.parquet.layouts import (
    is_counting,
    is_part,
    kind_of_values,
    partition_of,
    stem_of,
    table_in,
)


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
        (["2024-02-30"], "text"),
        (["0000-01-01"], "text"),
        (["1", "2024-01-31"], "text"),
        ([None], "text"),
        ([], "text"),
    ],
)
def test_values_are_what_all_of_them_are(values: list[str | None], kind: str) -> None:
    assert kind_of_values(values) == kind


UUID = "a87d3b88-7691-4dfc-a760-258e33e64536"
BY_FOLDER = {
    "Spark 1": [f"part-r-00000-{UUID}.gz.parquet", "part-r-1.parquet"],
    "Spark 2 to 4": [
        f"part-00000-{UUID}-c000.snappy.parquet",
        f"part-00000-{UUID}_00000.c000.snappy.parquet",
    ],
    "Databricks": [f"part-00000-tid-123-{UUID}-1-1-c000.snappy.parquet"],
    "Hive": ["000000_0", "000000_0_copy_1", "bucket_00000"],
    "Impala": ["8a4b2ac1c1d8bd5a-5b9b9d0900000000_1573292283_data.0.parq"],
    "Sqoop": ["part-m-00000.parquet", f"{UUID}.parquet"],
    "Pig and Glue": ["part-v000-o000-r-00000", "part-block-0-0-r-00000-snappy.parquet", "run-1-part-r-00001"],
    "Database Migration Service": [
        "LOAD00000001.parquet",
        "LOAD0000000A.parquet",
        "20240229-101500123.parquet",
    ],
    "BigQuery": ["000000000000.parquet", "data-000000000000.parquet", "export_000000000001.parquet"],
    "Snowflake": ["data_0_0_0.snappy.parquet", f"data_{UUID}_006_0_0.snappy.parquet"],
    "Redshift": ["0000_part_00.parquet"],
    "Trino and Athena": [f"20240229_101500_00012_abcde_{UUID}", f"20240229_101500_00012_abcde-{UUID}.gz"],
    "Flink": ["part-0-0.parquet", f"part-{UUID}-0-1.parquet", f"compacted-part-{UUID}-0-1.parquet"],
    "Iceberg": [f"00000-0-{UUID}-00001.parquet", f"00000-0-{UUID}.parquet"],
    "Hudi": [f"{UUID}-0_0-22-34_20240229101500000.parquet"],
    "delta-rs": [f"part-00001-{UUID}-c000.snappy.parquet", f"0-{UUID}-0.parquet"],
    "pandas, pyarrow and Dask": ["0cc175b9c0f1b6a831c399e269772661-0.parquet", "part.0.parquet"],
    "Data Factory and Ray": [
        f"data_{UUID}_{UUID}.parquet",
        "acc175b9c0f1b6a831c399e269772661_000000_000001.parquet",
    ],
    "Polars and DuckDB": ["00000000.parquet", "0.parquet", "data_0.parquet", f"ducklake-{UUID}.parquet"],
    "dlt, Airbyte, CockroachDB": [
        *("1709201700.123456.3f9a8b7c1d.parquet", "2024_02_29_1709201700_0.parquet"),
        "export16808a04292505c80000000000000001-n1.0.parquet",
    ],
    "whoever names a file for nothing": ["data.parquet", "output.parquet", "export.parquet"],
}
BY_NAME = {
    "orders-000000000012.parquet": "orders",
    "orders000000000012.parquet": "orders",
    "orders.1709201700.123456.3f9a8b7c1d.parquet": "orders",
    "shop.orders.000000000.parquet": "shop.orders",
    "orders_0_7_0.snappy.parquet": "orders",
    f"orders_{UUID}_006_0_0.snappy.parquet": "orders",
    "orders_0000_part_00.parquet": "orders",
    "orders0000_part_00.parquet": "orders",
    f"orders-1-2024-02-29-10-15-00-{UUID}.parquet": "orders",
    "orders+0+0000000000.parquet": "orders",
    "train-00000-of-00004.parquet": "train",
    f"orders_{UUID}.parquet": "orders",
    "orders_1_20240229T101500123Z.parquet": "orders",
    "orders.parquet": "orders",
    "orders_2024.parquet": "orders_2024",
    "orders_20240229.parquet": "orders_20240229",
    "orders_202402291015.parquet": "orders_202402291015",
    "orders_1.parquet": "orders_1",
    "part.parquet": "part",
    "part-time.parquet": "part-time",
    "partners.parquet": "partners",
    "loader.parquet": "loader",
    "data-dictionary.parquet": "data-dictionary",
    "export_2024.parquet": "export_2024",
}


@pytest.mark.parametrize("name", [name for names in BY_FOLDER.values() for name in names])
def test_what_a_writer_numbers_is_of_the_table_of_its_folder(name: str) -> None:
    assert table_in(stem_of(name)) is None


@pytest.mark.parametrize(("name", "table"), BY_NAME.items())
def test_what_somebody_names_is_of_the_table_of_its_name(name: str, table: str) -> None:
    assert table_in(stem_of(name)) == table


@pytest.mark.parametrize(
    ("folder", "counts"),
    [
        *((name, True) for name in ("1", "2024", "2024-02-29", "2024-02-29--13", "20240229")),
        *((name, True) for name in ("2024-02-29T10:15:00Z", "HIVE_UNION_SUBDIR_1", "00000000000000000012")),
        *((name, False) for name in ("orders", "v2", "2024Q1", "year=2024", "T", "-", "s3")),
    ],
)
def test_folders_that_count_give_no_table_its_name(folder: str, counts: bool) -> None:
    assert is_counting(folder) is counts
