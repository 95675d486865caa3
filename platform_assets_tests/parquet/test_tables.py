"""Files become the tables that somebody who looks at the folders would take them for."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Field, write_deltalake
from deltalake.schema import PrimitiveType

from platform_assets.errors import ParquetError
from platform_assets.parquet.tables import FoundTables, ParquetTable, read_tables
from platform_assets_tests.fixtures.delta_features import allow_vectors, delete_in_vectors, map_columns
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.parquet.conftest import Write


def shape(reading: FoundTables) -> dict[str, list[str]]:
    assert reading.problems == ()
    return {table.name: [file.path for file in table.files] for table in reading.tables}


def types(table: ParquetTable) -> dict[str, str]:
    return {column.name: column.type.name for column in table.columns}


def one(*places: str, **options: Any) -> ParquetTable:
    reading = read_tables(places, **options)
    assert reading.problems == ()
    assert len(reading.tables) == 1
    return reading.tables[0]


@pytest.mark.parametrize(
    "name",
    [
        *("orders.parquet", "orders.gzip", "orders.parquet.gzip", "orders.snappy.parquet", "orders.pq"),
        *("orders.PARQUET", "orders.gz.parquet", "orders"),
    ],
)
def test_a_file_is_a_table_of_its_name_whatever_its_suffix(write: Write, tmp_path: Path, name: str) -> None:
    table = one(write(name, id=[1, 2, 3]))
    assert (table.name, table.rows, table.root) == ("orders", 3, str(tmp_path))
    assert [file.path for file in table.files] == [name]


def test_every_file_of_a_folder_is_a_table(write: Write, tmp_path: Path) -> None:
    write("orders.parquet")
    write("orders.gzip")
    write("customers.parquet")
    write("sub/dates.parquet")
    assert shape(read_tables([str(tmp_path)])) == {
        "customers": ["customers.parquet"],
        "dates": ["dates.parquet"],
        "orders": ["orders.gzip", "orders.parquet"],
    }


@pytest.mark.parametrize(
    "name",
    [
        "part-00000-287d3b88-7691-4dfc-a760-258e33e64536-c000.snappy.parquet",
        *("part.0.parquet", "data_0.parquet", "000000000000.parquet", "0000_part_00.parquet", "1.gzip"),
        *("287d3b88-7691-4dfc-a760-258e33e64536-0.parquet", "data_0_0_0.snappy.parquet"),
    ],
)
def test_numbered_parts_are_the_table_that_their_folder_is_named_for(
    write: Write, tmp_path: Path, name: str
) -> None:
    write(f"orders/{name}")
    assert shape(read_tables([str(tmp_path)])) == {"orders": [name]}


def test_what_one_table_is_can_be_said(write: Write, tmp_path: Path) -> None:
    write("orders/part-0.parquet")
    write("orders/rest.parquet")
    place = [str(tmp_path)]
    assert set(shape(read_tables(place, grouping="file"))) == {"part-0", "rest"}
    assert set(shape(read_tables(place, grouping="folder"))) == {"orders"}
    assert shape(read_tables(place, name="sales")) == {"sales": ["part-0.parquet", "rest.parquet"]}
    assert set(shape(read_tables(place, pattern="r*"))) == {"rest"}


def test_what_writers_mark_as_no_data_is_passed_over(write: Write, tmp_path: Path) -> None:
    for name in ("_SUCCESS", "_delta_tmp/x.parquet", ".crc/x.parquet", "orders/_metadata", "orders/.x.crc"):
        write(name)
    write("orders/part-0.parquet")
    assert shape(read_tables([str(tmp_path)])) == {"orders": ["part-0.parquet"]}


def test_partitions_are_columns_with_the_types_of_their_values(write: Write, tmp_path: Path) -> None:
    write("orders/year=2023/month=01/day=2023-01-02/a.parquet")
    write("orders/year=2024/month=02/day=__HIVE_DEFAULT_PARTITION__/b.parquet")
    table = one(str(tmp_path))
    assert table.name == "orders"
    assert types(table) == {"id": "int64", "year": "int64", "month": "string", "day": "date"}
    assert [column.nullable for column in table.columns[1:]] == [False, False, True]
    assert table.root == str(tmp_path / "orders")


def test_what_paths_encode_is_decoded(write: Write, tmp_path: Path) -> None:
    write("t/sort%20of=a%2Fb/x.parquet")
    write("t/sort%20of=c/x.parquet")
    (_, partition) = one(str(tmp_path)).columns
    assert partition.name == "sort of"
    assert partition.partition is not None
    assert (partition.partition.key, dict(partition.partition.values)) == (
        "sort%20of",
        {"a%2Fb": "a/b", "c": "c"},
    )


def test_a_column_that_is_in_the_files_too_is_read_from_them(write: Write, tmp_path: Path) -> None:
    write("t/year=2024/x.parquet", year=[2024])
    (column,) = one(str(tmp_path)).columns
    assert (column.type.name, column.partition) == ("int64", None)


def test_a_folder_of_one_partition_is_still_that_table(write: Write, tmp_path: Path) -> None:
    write("t/year=2024/x.parquet")
    table = one(str(tmp_path / "t" / "year=2024"))
    assert (table.name, [file.path for file in table.files]) == ("t", ["year=2024/x.parquet"])
    assert table.below is None


def test_files_with_other_partitions_are_refused(write: Write, tmp_path: Path) -> None:
    write("t/year=2024/x.parquet")
    write("t/month=2/x.parquet")
    (problem,) = read_tables([str(tmp_path)]).problems
    assert "month=2/x.parquet is partitioned by month, and year=2024/x.parquet by year" in str(problem)


def test_where_a_table_is_below_what_was_read_is_known(write: Write, tmp_path: Path) -> None:
    write("a/x.parquet")
    write("b/c/part-0.parquet")
    tables = read_tables([str(tmp_path / "a"), str(tmp_path / "b")]).tables
    assert [(table.name, table.below) for table in tables] == [("c", "b/c"), ("x", "a")]


def test_columns_are_the_union_of_all_files_as_wide_as_needed(write: Write, tmp_path: Path) -> None:
    write("t/part-0.parquet", a=pa.array([1], pa.int16()), b=["x"])
    write("t/part-1.parquet", b=["y"], a=pa.array([1], pa.int32()), c=[dt.date(2024, 1, 1)])
    write("t/part-2.parquet", b=pa.array([None]), a=pa.array([1], pa.uint8()))
    table = one(str(tmp_path))
    assert types(table) == {"a": "decimal(10,0)", "b": "string", "c": "date"}
    assert all(column.nullable for column in table.columns)


def test_a_column_that_a_file_lacks_may_be_null(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("a", pa.int32(), nullable=False), pa.field("b", pa.int32(), nullable=False)])
    pq.write_table(pa.table({"a": [1], "b": [1]}, schema=schema), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [1]}, schema=pa.schema([schema.field(0)])), tmp_path / "2.parquet")
    table = one(str(tmp_path), name="t")
    assert [(column.name, column.nullable) for column in table.columns] == [("a", False), ("b", True)]


def test_types_that_nothing_holds_are_refused_with_both_files_and_the_column(
    write: Write, tmp_path: Path
) -> None:
    first, second = write("t/part-0.parquet", a=[1]), write("t/part-1.parquet", a=["x"])
    write("other.parquet")
    reading = read_tables([str(tmp_path)])
    assert [table.name for table in reading.tables] == ["other"]
    (problem,) = reading.problems
    assert problem.place == "t"
    assert f"column a is int64 in {first} and string in {second}" in problem.reason


def test_names_that_differ_in_case_only_are_refused(write: Write, tmp_path: Path) -> None:
    first, second = write("t/part-0.parquet", Id=[1]), write("t/part-1.parquet", id=[1])
    (problem,) = read_tables([str(tmp_path)]).problems
    assert f"a column is Id in {first} and id in {second}" in problem.reason


def test_columns_that_differ_in_case_in_one_file_are_two_columns(write: Write) -> None:
    assert types(one(write("t.parquet", a=[1], A=["x"]))) == {"a": "int64", "A": "string"}


def test_bad_files_are_named_and_the_others_still_read(write: Write, tmp_path: Path) -> None:
    write("good.parquet")
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "text.parquet").write_text("id,name\n1,a\n")
    reading = read_tables([str(tmp_path)])
    assert [table.name for table in reading.tables] == ["good"]
    assert [problem.place for problem in reading.problems] == [
        str(tmp_path / "empty.parquet"),
        str(tmp_path / "text.parquet"),
    ]
    assert str(reading.problems[1]).endswith("it has neither the beginning nor the end of one.")


def test_a_file_whose_columns_have_names_that_are_no_utf8_is_named_and_the_others_still_read(
    write: Write, tmp_path: Path
) -> None:
    write("sound.parquet")
    file = Path(write("staff.parquet", tel_fono=[1]))
    file.write_bytes(file.read_bytes().replace(b"tel_fono", b"tel\xe9fono"))
    reading = read_tables([str(tmp_path)])
    assert [table.name for table in reading.tables] == ["sound"]
    (problem,) = reading.problems
    assert (problem.place, "is not UTF-8" in problem.reason) == (str(file), True)


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ParquetError, match="Nothing exists at"):
        read_tables([str(tmp_path / "nowhere")])
    with pytest.raises(ParquetError, match="No data file was found in"):
        read_tables([str(tmp_path)])
    with pytest.raises(ParquetError, match="No path was given"):
        read_tables([])
    with pytest.raises(ParquetError, match="are in different stores"):
        read_tables([str(tmp_path), "s3://bucket/x"])
    with pytest.raises(ParquetError, match="Parquet is read from local paths"):
        read_tables(["ftp://host/x"])


def test_a_delta_table_is_its_active_files_only(tmp_path: Path) -> None:
    place = tmp_path / "orders"
    for number in range(3):
        write_deltalake(place, pa.table({"id": [number]}), mode="append")
    DeltaTable(place).optimize.compact()
    table = one(str(tmp_path))
    assert (table.name, table.rows, len(table.files)) == ("orders", 3, 1)
    assert table.delta is not None
    assert (table.delta.version, table.delta.id) == (3, str(DeltaTable(place).metadata().id))


def test_a_delta_table_says_the_types_of_its_partitions(tmp_path: Path) -> None:
    rows = pa.table(
        {"id": [1, 2, 3], "code": ["007", "a b/ü%=+", None], "size": pa.array([1, 2, 3], pa.int16())}
    )
    write_deltalake(tmp_path / "t", rows, partition_by=["code", "size"])
    table = one(str(tmp_path / "t"))
    assert types(table) == {"id": "int64", "code": "string", "size": "int16"}
    partition = table.columns[1].partition
    assert partition is not None
    assert set(partition.values.values()) == {"007", "a b/ü%=+", None}


def test_a_delta_table_without_files_has_the_columns_of_its_log(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.table({"id": [1], "at": pa.array([None], pa.timestamp("us", "UTC"))}))
    DeltaTable(tmp_path / "t").delete()
    table = one(str(tmp_path / "t"))
    assert (table.rows, table.files, types(table)) == (0, (), {"id": "int64", "at": "timestamp(us,utc)"})


def test_two_delta_tables_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    for zone in ("bronze", "silver"):
        write_deltalake(tmp_path / zone / "t", pa.table({"id": [1]}))
    reading = read_tables([str(tmp_path)])
    assert [table.root for table in reading.tables] == [str(tmp_path / "bronze" / "t")]
    assert "read them one by one" in reading.problems[0].reason


def test_a_table_that_two_places_have_is_read_once(write: Write, tmp_path: Path) -> None:
    write_deltalake(tmp_path / "zone" / "t", pa.table({"id": [1]}))
    DeltaTable(tmp_path / "zone" / "t").delete()
    file = write("zone/orders/part-0.parquet")
    reading = read_tables([str(tmp_path), str(tmp_path / "zone"), str(tmp_path / "zone" / "t"), file])
    assert shape(reading) == {"orders": ["part-0.parquet"], "t": []}


def test_a_log_that_holds_no_table_is_named(write: Write, tmp_path: Path) -> None:
    write("t/_delta_log/00000000000000000000.json.tmp")
    write("good.parquet")
    reading = read_tables([str(tmp_path)])
    assert [table.name for table in reading.tables] == ["good"]
    assert reading.problems[0].place == str(tmp_path / "t")


def test_deletion_vectors_count_where_there_are_some(tmp_path: Path) -> None:
    allow_vectors(tmp_path / "t")
    assert one(str(tmp_path)).rows == 30
    delete_in_vectors(tmp_path / "u", 3, 4)
    (problem,) = read_tables([str(tmp_path)]).problems
    assert problem.place == str(tmp_path / "u")
    assert "deletion vectors mark deleted rows" in problem.reason


@pytest.mark.parametrize("version", [2, 3])
def test_columns_that_are_called_otherwise_in_the_files_are_refused(tmp_path: Path, version: int) -> None:
    map_columns(tmp_path / "t", version=version)
    (problem,) = read_tables([str(tmp_path)]).problems
    assert "its columns have other names in the files (column mapping: name)" in problem.reason


@pytest.mark.parametrize("version", [2, 3])
def test_column_mapping_that_renames_nothing_does_no_harm(tmp_path: Path, version: int) -> None:
    map_columns(tmp_path / "t", version=version, mapped=None)
    assert types(one(str(tmp_path))) == {"id": "int64", "name": "string"}


def test_the_columns_of_a_delta_table_are_those_of_its_log(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.table({"year": [2024], "id": [1]}), partition_by=["year"])
    DeltaTable(tmp_path / "t").alter.add_columns(Field("note", PrimitiveType("string")))
    table = one(str(tmp_path))
    assert list(types(table).items()) == [("year", "int64"), ("id", "int64"), ("note", "string")]
    assert table.absent == ("note",)
    write_deltalake(tmp_path / "t", pa.table({"year": [2025], "id": [2], "note": ["x"]}), mode="append")
    table = one(str(tmp_path))
    assert (table.rows, table.absent, len(table.examples)) == (2, (), 2)


def test_a_place_inside_of_a_delta_table_is_not_read_without_its_log(tmp_path: Path) -> None:
    for year in (1, 2):
        rows = pa.table({"id": [year], "year": [2024]})
        write_deltalake(tmp_path / "t", rows, mode="overwrite", partition_by=["year"])
    inside = tmp_path / "t" / "year=2024"
    for place in (inside, next(inside.iterdir())):
        (problem,) = read_tables([str(place)]).problems
        assert f"it is inside the Delta table {tmp_path}/t, whose log lists" in problem.reason


LAYOUTS = {
    "Database Migration Service": "LOAD00000001.parquet",
    "Sqoop": "part-m-00000.parquet",
    "a folder for each": "data.parquet",
    "a snapshot export": "1/part-00000-287d3b88-7691-4dfc-a760-258e33e64536-c000.gz.parquet",
    "a snapshot export of many batches": "12/part-00003-287d3b88-7691-4dfc-a760-258e33e64536-c000.gz.parquet",
    "Migration Service by date": "2024/02/29/20240229-101500123.parquet",
    "Flink": "2024-02-29--13/part-a87d3b88-7691-4dfc-a760-258e33e64536-0-1.parquet",
    "Hive": "000000_0_copy_1",
    "Hive's UNION ALL": "HIVE_UNION_SUBDIR_1/000000_0",
    "Impala": "8a4b2ac1c1d8bd5a-5b9b9d0900000000_1573292283_data.0.parq",
    "pandas below a partition": "year=2024/0cc175b9c0f1b6a831c399e269772661-0.parquet",
}


@pytest.mark.parametrize("name", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("grouping", ["auto", "file"])
def test_tables_of_writers_that_name_only_folders_are_told_apart(
    write: Write, tmp_path: Path, name: str, grouping: Any
) -> None:
    write(f"public.customers/{name}", id=[1], name=["a"])
    write(f"public.orders/{name}", id=[1], total=[2])
    reading = read_tables([str(tmp_path)], grouping=grouping)
    assert reading.problems == ()
    columns = {table.name: [*types(table)] for table in reading.tables}
    names = [*columns]
    if grouping == "auto" or "year=" in name:
        assert names == ["public.customers", "public.orders"]
    assert [column[:2] for column in columns.values()] == [["id", "name"], ["id", "total"]]


def test_files_that_are_tables_by_themselves_have_names_of_their_own(write: Write, tmp_path: Path) -> None:
    for place in ("a/x/LOAD00000001.parquet", "b/x/LOAD00000001.parquet", "b/y.parquet", "c/z.pq", "c/z.gz"):
        write(place)
    found = shape(read_tables([str(tmp_path)], grouping="file"))
    assert found == {
        "a_x_LOAD00000001": ["LOAD00000001.parquet"],
        "b_x_LOAD00000001": ["LOAD00000001.parquet"],
        "y": ["y.parquet"],
        "z.gz": ["z.gz"],
        "z.pq": ["z.pq"],
    }


def test_names_of_files_differ_whatever_their_folders_are_called(write: Write, tmp_path: Path) -> None:
    places = ["a/b/c.pq", "a/b_c.pq", "b/c.pq", "a_b/c.pq", "a_b_c.pq", "a/b/c.gz", "b_c.pq", "c.pq", "c.gz"]
    for place in places:
        write(place)
    tables = read_tables([str(tmp_path)], grouping="file").tables
    assert len({table.name for table in tables}) == len(places)
    assert sorted(f"{table.root}/{table.files[0].path}" for table in tables) == sorted(
        f"{tmp_path}/{place}" for place in places
    )


@pytest.mark.parametrize(
    ("one_name", "other_name", "options"),
    [
        ("a/orders.parquet", "b/orders.parquet", {}),
        ("a/x.parquet", "b/y.parquet", {"name": "all"}),
        ("t/part-0.parquet", "t/part-1.parquet", {}),
        ("t/x.parquet", "t/y.parquet", {"grouping": "folder"}),
        ("t/year=1/x.parquet", "t/year=2/x.parquet", {}),
    ],
)
def test_files_without_a_column_in_common_are_not_one_table(
    write: Write, tmp_path: Path, one_name: str, other_name: str, options: dict[str, Any]
) -> None:
    first, second = write(one_name, id=[1], name=["a"]), write(other_name, key=[1], total=[2])
    reading = read_tables([str(tmp_path)], **options)
    assert reading.tables == ()
    (problem,) = reading.problems
    assert f"{first} and {second} have no column in common (id, name; key, total)" in problem.reason


def test_folders_of_one_name_are_two_tables_unless_somebody_says_otherwise(
    write: Write, tmp_path: Path
) -> None:
    for schema in ("hr", "sales"):
        write(f"{schema}/orders/LOAD00000001.parquet")
    for options in ({}, {"grouping": "folder"}):
        reading = read_tables([str(tmp_path)], **options)  # type: ignore[arg-type]
        assert [table.root for table in reading.tables] == [str(tmp_path / "hr" / "orders")]
        (problem,) = reading.problems
        assert problem.place == str(tmp_path / "sales" / "orders")
        assert f"another table with the same name, orders, is in {tmp_path}/hr/orders" in problem.reason
    assert one(str(tmp_path), name="orders").rows == 4


def test_folders_that_only_count_are_of_one_table(write: Write, tmp_path: Path) -> None:
    for place in ("1/part-0.parquet", "2/part-0.parquet", "2024-02-29/part-0.parquet"):
        write(f"orders/{place}")
    assert shape(read_tables([str(tmp_path)])) == {
        "orders": ["1/part-0.parquet", "2/part-0.parquet", "2024-02-29/part-0.parquet"]
    }


def test_folders_with_names_below_partitions_are_not_mixed(write: Write, tmp_path: Path) -> None:
    write("landing/day=1/customers/LOAD00000001.parquet", id=[1], name=["a"])
    write("landing/day=1/orders/LOAD00000001.parquet", id=[1], total=[1])
    write("sales/day=1/12/part-0.parquet", id=[1])
    write("sales/day=2/13/part-0.parquet", id=[1])
    reading = read_tables([str(tmp_path)])
    assert [(table.name, table.rows) for table in reading.tables] == [("landing", 1), ("sales", 2)]
    (problem,) = reading.problems
    assert problem.place == f"{tmp_path}/landing/day=1/orders"
    known = f"{tmp_path}/landing/day=1/customers"
    assert f"another table with the same name, landing, is in {known};" in problem.reason
    assert one(str(tmp_path / "landing" / "day=1" / "orders")).name == "orders"
    assert one(str(tmp_path / "landing"), name="all").rows == 2


def test_the_rows_of_snowflakes_null_partition_are_rows_of_the_table(write: Write, tmp_path: Path) -> None:
    write("orders/date=2024-02-29/hour=3/data_01b2c3d4-0000-1111-0000-0001222233e4_006_0_0.snappy.parquet")
    write("orders/__NULL__/data_01b2c3d4-0000-1111-0000-0001222233e4_006_4_0.snappy.parquet")
    table = one(str(tmp_path))
    assert (table.name, table.rows, types(table)) == (
        "orders",
        4,
        {"id": "int64", "date": "date", "hour": "int64"},
    )
    assert [column.nullable for column in table.columns[1:]] == [True, True]


def test_partitions_are_data_whatever_their_columns_are_called(write: Write, tmp_path: Path) -> None:
    write("orders/_load=1/part-0.parquet")
    write("orders/_load=2/part-0.parquet")
    write("orders/.spark-staging-1/_load=3/part-0.parquet")
    table = one(str(tmp_path))
    assert (table.rows, types(table)) == (4, {"id": "int64", "_load": "int64"})


def test_what_writers_put_beside_data_is_passed_over(write: Write, tmp_path: Path) -> None:
    write("orders/part-0.parquet")
    for name in (
        "export_info_a.json",
        "export_tables_info_a_1_to_9.json",
        "orders_$folder$",
        "x.parquet.crc",
    ):
        (tmp_path / name).write_bytes(b"{}")
    (tmp_path / "orders" / "manifest").write_bytes(b"{}")
    reading = read_tables([str(tmp_path)])
    assert (shape(reading), reading.problems) == ({"orders": ["part-0.parquet"]}, ())


@pytest.mark.parametrize(
    "places",
    [
        ("crm/accounts.parquet", "bank/accounts.parquet"),
        ("accounts.parquet", "accounts/part-0.parquet"),
        ("landing/day=1/customers.parquet", "landing/day=1/orders.parquet"),
    ],
)
def test_files_that_share_an_id_only_are_not_one_table(
    write: Write, tmp_path: Path, places: tuple[str, str]
) -> None:
    for place, column in zip(places, ("total", "name"), strict=True):
        write(place, **{"id": [1], column: ["a"]})
    write("sound.parquet")
    reading = read_tables([str(tmp_path)])
    assert [table.name for table in reading.tables] == ["sound"]
    (problem,) = reading.problems
    assert all(f"{tmp_path}/{place}" in problem.reason for place in places)
    assert "share id only" in problem.reason
    assert one(str(tmp_path), name="all", pattern="[!s]*").rows == 2


def test_files_of_one_name_that_have_grown_are_one_table(write: Write, tmp_path: Path) -> None:
    write("jan/orders.parquet", id=[1], total=[1])
    write("feb/orders.parquet", id=[1], total=[1], note=["a"], shop=[1])
    assert [*types(one(str(tmp_path)))] == ["id", "total", "note", "shop"]


def test_a_partition_that_only_some_files_have_as_a_column_is_refused(write: Write, tmp_path: Path) -> None:
    write("t/year=2024/x.parquet", id=[1], year=[2024])
    write("t/year=2025/x.parquet", id=[1])
    (problem,) = read_tables([str(tmp_path)]).problems
    assert f"year is also a column of {tmp_path}/t/year=2024/x.parquet, but only in " in str(problem)
    assert f"{tmp_path}/t/year=2025/x.parquet" in str(problem)


def test_a_partition_is_the_files_column_whatever_its_case(write: Write, tmp_path: Path) -> None:
    write("t/Year=2024/x.parquet", year=[2024])
    assert types(one(str(tmp_path))) == {"year": "int64"}


def test_a_partition_that_is_no_text_is_refused(write: Write, tmp_path: Path) -> None:
    write("t/name=%FF/x.parquet")
    (problem,) = read_tables([str(tmp_path)]).problems
    assert "has %FF, which is not UTF-8 once it is decoded" in problem.reason


def test_partitions_above_a_tables_folder_are_not_its_own(write: Write, tmp_path: Path) -> None:
    write("year=2020/exports/orders/year=2024/x.parquet")
    for place in ("year=2020/exports/orders", "year=2020/exports"):
        table = one(str(tmp_path / place))
        assert table.root == str(tmp_path / "year=2020" / "exports" / "orders")
        partition = table.columns[1].partition
        assert (table.name, partition is not None and dict(partition.values)) == ("orders", {"2024": "2024"})
    (problem,) = read_tables([str(tmp_path)]).problems
    assert "has two folders for the same partition" in problem.reason


def test_s3_is_read_as_local_disk_is(s3_server: S3Server, s3_bucket: str, write: Write) -> None:
    client = s3_server.client()
    client.upload_file(write("a.parquet", id=[1, 2]), s3_bucket, "landing/orders/year=2024/a.gzip")
    client.put_object(Bucket=s3_bucket, Key="landing/broken.parquet", Body=b"PAR1")
    write_deltalake(
        f"s3://{s3_bucket}/landing/staff", pa.table({"id": [1]}), storage_options=s3_server.storage_options
    )
    reading = read_tables([f"s3://{s3_bucket}/landing"], storage_options=lambda: s3_server.storage_options)
    assert [(table.name, table.root, table.rows) for table in reading.tables] == [
        ("orders", f"s3://{s3_bucket}/landing/orders", 2),
        ("staff", f"s3://{s3_bucket}/landing/staff", 1),
    ]
    assert [problem.place for problem in reading.problems] == [f"s3://{s3_bucket}/landing/broken.parquet"]


def test_a_bucket_that_lets_nobody_in_is_an_error(s3_server: S3Server, s3_bucket: str) -> None:
    options = s3_server.storage_options | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    with pytest.raises(ParquetError, match="Check the address, the credentials and the region"):
        read_tables([f"s3://{s3_bucket}/landing"], storage_options=lambda: options)
