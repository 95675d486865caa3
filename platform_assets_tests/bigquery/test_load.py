"""Parquet files go into BigQuery, a table for a file or a folder, and the command says what it did."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Field, write_deltalake
from deltalake.schema import PrimitiveType
from typer.testing import CliRunner

from platform_assets.bigquery.command import bigquery_app
from platform_assets.bigquery.load import LoadOptions, LoadResult, load_parquet
from platform_assets.errors import ParquetError, WarehouseError
from platform_assets_tests.fixtures.bigquery import FakeBigQuery, FakeProject
from platform_assets_tests.fixtures.delta_features import delete_in_vectors, map_columns

DAY = dt.date(2024, 2, 29)
MOMENT = dt.datetime(2024, 2, 29, 10, 30, 0, 123456, tzinfo=dt.UTC)
EVERY_TYPE = {
    "whole": pa.array([2**63 - 1, None], pa.int64()),
    "small": pa.array([7, None], pa.int16()),
    "money": pa.array([Decimal("0.10"), None], pa.decimal128(10, 2)),
    "digits": pa.array([Decimal("-1.0000000001"), None], pa.decimal128(38, 10)),
    "ratio": pa.array([0.1, None], pa.float64()),
    "yes": pa.array([True, None]),
    "words": pa.array(["it's \\ \n 東京", None]),
    "bytes": pa.array([b"\x00\xff", None], pa.binary()),
    "day": pa.array([DAY, None]),
    "at": pa.array([dt.time(23, 59, 59, 999999), None], pa.time64("us")),
    "moment": pa.array([MOMENT, None], pa.timestamp("us", "UTC")),
    "wall_clock": pa.array([MOMENT.replace(tzinfo=None), None], pa.timestamp("us")),
}


def put(file: Path, **columns: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns or {"id": [1, 2]}), file)
    return file


class Loader:
    """Loads into the dataset `sales` of one project."""

    def __init__(self, server: FakeBigQuery, project: str) -> None:
        self.access = server.access(project)
        self._server, self._project = server, project

    def __call__(self, *places: Path | str, **options: Any) -> LoadResult:
        bucket = options.pop("bucket", None)
        return load_parquet(
            self.access,
            [str(place) for place in places],
            LoadOptions("sales", **options),
            open_bucket=lambda: pyarrow.fs.SubTreeFileSystem(str(bucket), pyarrow.fs.LocalFileSystem()),
        )

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        return self._server.rows(f'FROM "{self._project}".sales."{table}" ORDER BY ALL')


@pytest.fixture
def load(bigquery_server: FakeBigQuery, project: str) -> Loader:
    return Loader(bigquery_server, project)


def counts(result: LoadResult) -> dict[str, tuple[int, int]]:
    return {table.name: (table.files, table.rows) for table in result.tables}


def test_a_file_is_a_table_of_its_name_with_its_values(
    load: Loader, asked: FakeProject, tmp_path: Path
) -> None:
    result = load(put(tmp_path / "every type.parquet.gzip", **EVERY_TYPE))
    assert (counts(result), result.problems) == ({"every_type": (1, 2)}, ())
    assert load.rows("every_type") == [
        tuple(column[0].as_py() for column in EVERY_TYPE.values()),
        (None,) * len(EVERY_TYPE),
    ]
    types = {field["name"]: field["type"] for field in asked.table("sales", "every_type").fields}
    assert types == {
        "whole": "INTEGER",
        "small": "INTEGER",
        "money": "NUMERIC",
        "digits": "BIGNUMERIC",
        "ratio": "FLOAT",
        "yes": "BOOLEAN",
        "words": "STRING",
        "bytes": "BYTES",
        "day": "DATE",
        "at": "TIME",
        "moment": "TIMESTAMP",
        "wall_clock": "DATETIME",
    }
    [job] = asked.loads
    assert job["decimalTargetTypes"] == ["NUMERIC", "BIGNUMERIC", "STRING"]
    assert job["parquetOptions"] == {"enableListInference": True, "enumAsString": True}
    assert asked.datasets["sales"].location == "EU"


@pytest.mark.parametrize(
    ("write", "rows"), [("append", [1, 1, 2, 2]), ("truncate", [1, 2])], ids=["append", "truncate"]
)
@pytest.mark.parametrize("files", [1, 2])
def test_rows_that_are_there_stay_or_go_as_asked(
    load: Loader, tmp_path: Path, write: Any, rows: list[int], files: int
) -> None:
    folder = tmp_path / "orders"
    for number in range(files):
        put(folder / f"part-{number}.parquet", id=[1, 2] if files == 1 else [number + 1])
    for _ in range(2):
        assert counts(load(folder, write=write)) == {"orders": (files, 2)}
    assert load.rows("orders") == [(row,) for row in rows]


@pytest.mark.parametrize("files", [1, 2])
def test_a_table_that_was_to_be_empty_and_is_not_is_left_alone(
    load: Loader, tmp_path: Path, files: int
) -> None:
    for number in range(files):
        put(tmp_path / "orders" / f"part-{number}.parquet", id=[number])
    load(tmp_path / "orders", write="empty")
    before = load.rows("orders")
    result = load(tmp_path / "orders", write="empty")
    assert result.tables == ()
    [problem] = result.problems
    assert "sales.orders" in problem.place
    assert "Already Exists" in problem.reason
    assert load.rows("orders") == before


def test_several_files_become_visible_at_once_and_leave_nothing_else(
    load: Loader, asked: FakeProject, tmp_path: Path
) -> None:
    for number in range(3):
        put(tmp_path / "orders" / f"part-{number}.parquet", id=[number])
    put(tmp_path / "orders" / "part-3.parquet", id=[3], note=["a column that the others lack"])
    assert counts(load(tmp_path / "orders")) == {"orders": (4, 4)}
    assert load.rows("orders") == [(0, None), (1, None), (2, None), (3, "a column that the others lack")]
    assert list(asked.datasets["sales"].tables) == ["orders"]
    targets = [load_["destinationTable"]["tableId"] for load_ in asked.loads]
    assert all(target.startswith("orders_loading_") for target in targets)


def test_bad_files_are_named_and_the_others_are_loaded(load: Loader, tmp_path: Path) -> None:
    good = put(tmp_path / "good.parquet")
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "text.parquet").write_text("id\n1\n2\n3\n4\n")
    (tmp_path / "truncated.parquet").write_bytes(good.read_bytes()[:-10])
    put(tmp_path / "parts" / "part-1.parquet", id=[1])
    put(tmp_path / "parts" / "part-2.parquet", id=["another type"])
    result = load(tmp_path)
    assert counts(result) == {"good": (1, 2)}
    problems = {Path(problem.place).name: problem.reason for problem in result.problems}
    assert {name: reason.partition(":")[0].partition(" at ")[0] for name, reason in problems.items()} == {
        "empty.parquet": "it is empty, 0 bytes; remove it or write it again.",
        "text.parquet": "it is not a Parquet file",
        "truncated.parquet": "it is truncated",
        "parts": problems["parts"],
    }
    first, second = (f"{tmp_path}/parts/part-{number}.parquet" for number in (1, 2))
    assert problems["parts"].startswith(f"column id is int64 in {first} and string in {second}, and no type")


def test_a_file_that_bigquery_refuses_is_named_and_the_others_of_its_table_are_loaded(
    load: Loader, tmp_path: Path
) -> None:
    put(tmp_path / "parts" / "part-1.parquet", id=[{"a": 1}])
    put(tmp_path / "parts" / "part-2.parquet", id=[{"a": 1}], **{"": [1]})
    result = load(tmp_path)
    assert (counts(result), load.rows("parts")) == ({"parts": (1, 1)}, [({"a": 1},)])
    [problem] = result.problems
    assert problem.place == f"{tmp_path}/parts/part-2.parquet"
    assert "BigQuery could not load" in problem.reason


@pytest.mark.parametrize(
    ("first", "second", "kind", "rows"),
    [
        (pa.array([1]), pa.array([Decimal("2.50")]), "NUMERIC", [Decimal("1"), Decimal("2.50")]),
        (pa.array([1], pa.int32()), pa.array([2.5]), "FLOAT", [1.0, 2.5]),
        (pa.array([2.5]), pa.array([1], pa.int16()), "FLOAT", [1.0, 2.5]),
        (pa.nulls(1), pa.array([DAY]), "DATE", [DAY, None]),
        (pa.array([1], pa.int32()), pa.array([2**40]), "INTEGER", [1, 2**40]),
    ],
)
def test_local_files_are_as_wide_as_their_table(
    load: Loader, asked: FakeProject, tmp_path: Path, first: pa.Array, second: pa.Array, kind: str, rows: Any
) -> None:
    put(tmp_path / "parts" / "part-1.parquet", id=first)
    put(tmp_path / "parts" / "part-2.parquet", id=second)
    result = load(tmp_path)
    assert (counts(result), result.problems) == ({"parts": (2, 2)}, ())
    assert load.rows("parts") == [(row,) for row in rows]
    assert [field["type"] for field in asked.datasets["sales"].tables["parts"].fields] == [kind]


def test_a_column_that_a_file_must_have_and_another_lacks_may_be_null(load: Loader, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    needed = [pa.field(name, pa.int64(), nullable=False) for name in ("id", "total")]
    for number in (2, 1):
        rows = pa.table([[number]] * number, schema=pa.schema(needed[:number]))
        pq.write_table(rows, tmp_path / "t" / f"part-{3 - number}.parquet")
    result = load(tmp_path)
    assert (counts(result), result.problems) == ({"t": (2, 2)}, ())
    assert load.rows("t") == [(1, None), (2, 2)]


def test_hive_partitions_are_columns(load: Loader, tmp_path: Path) -> None:
    folder = tmp_path / "sales"
    put(folder / "year=2023/day=2023-03-01/shop=Z%C3%BCrich/a.parquet", id=[1])
    put(folder / "year=2024/day=2024-02-29/shop=__HIVE_DEFAULT_PARTITION__/b.parquet", id=[2])
    assert counts(load(tmp_path)) == {"sales": (2, 2)}
    assert load.rows("sales") == [(1, 2023, dt.date(2023, 3, 1), "Zürich"), (2, 2024, DAY, None)]


def test_of_a_delta_table_only_the_active_files_are_loaded(load: Loader, tmp_path: Path) -> None:
    folder = tmp_path / "shops"
    for mode, ids in (("overwrite", [1]), ("overwrite", [2, 3]), ("append", [4])):
        rows = pa.table({"id": ids, "year": pa.array([2020 + id_ for id_ in ids], pa.int32())})
        write_deltalake(str(folder), rows, mode=mode, partition_by=["year"])
    assert counts(load(folder, prefix="dim_")) == {"dim_shops": (3, 3)}
    assert load.rows("dim_shops") == [(2, 2022), (3, 2023), (4, 2024)]
    assert DeltaTable(str(folder)).version() == 2


def test_files_in_a_bucket_are_read_by_bigquery_itself(
    load: Loader, asked: FakeProject, tmp_path: Path
) -> None:
    put(tmp_path / "lake" / "orders" / "part-1.parquet", id=[1])
    put(tmp_path / "lake" / "orders" / "part-2.parquet", id=[2])
    put(tmp_path / "lake" / "days" / "year=2024" / "a.parquet", id=[1])
    asked.objects["gs://lake"] = tmp_path / "lake"
    result = load("gs://lake/orders", "gs://lake/days", bucket=tmp_path)
    assert (counts(result), result.problems) == ({"days": (1, 1), "orders": (2, 2)}, ())
    assert load.rows("orders") == [(1,), (2,)]
    days, orders = asked.loads
    assert orders["sourceUris"] == ["gs://lake/orders/part-1.parquet", "gs://lake/orders/part-2.parquet"]
    assert days["hivePartitioningOptions"] == {"mode": "AUTO", "sourceUriPrefix": "gs://lake/days"}
    assert not [path for _, path in asked.requests if path == "upload"]


def test_a_large_file_is_uploaded_in_pieces(load: Loader, tmp_path: Path) -> None:
    data = [bytes((one * 31 + number) % 251 for number in range(1000)) for one in range(700)]
    file = tmp_path / "blobs.parquet"
    pq.write_table(pa.table({"data": data * 10}), file, compression="none", use_dictionary=False)
    assert file.stat().st_size > 5 * 1024 * 1024
    assert counts(load(file)) == {"blobs": (1, 7000)}
    assert sum(len(one) for (one,) in load.rows("blobs")) == sum(len(one) for one in data) * 10


@pytest.mark.parametrize("place", ["no/such/file.parquet", "s3://bucket/orders", "gs://"])
def test_a_place_that_is_none_is_said(load: Loader, place: str) -> None:
    with pytest.raises(ParquetError, match=place):
        load(place)


def test_buckets_are_not_opened_with_credentials_that_are_none(load: Loader) -> None:
    access = replace(load.access, credentials=lambda: '{"private_key": "hush"}')
    with pytest.raises(ParquetError, match="not the JSON of a service account's key") as error:
        load_parquet(access, ["gs://lake/orders"], LoadOptions("sales"))
    assert "hush" not in str(error.value)


def test_two_files_of_one_table_name_in_different_stores_are_told_apart(load: Loader, tmp_path: Path) -> None:
    put(tmp_path / "lake" / "orders.parquet", id=[1])
    local = put(tmp_path / "here" / "orders.parquet", id=[2])
    result = load(local, "gs://lake/orders.parquet", bucket=tmp_path)
    assert counts(result) == {"orders": (1, 1)}
    assert [str(problem) for problem in result.problems] == [
        "gs://lake/orders.parquet: the table orders is in another store too; load the two apart"
    ]


def test_deletion_vectors_that_are_declared_and_not_used_do_no_harm(load: Loader, tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    write_deltalake(str(folder), pa.table({"id": [1]}))
    log = folder / "_delta_log" / f"{1:020}.json"
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    log.write_text(json.dumps({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7} | features}))
    result = load(folder)
    assert (counts(result), result.problems) == ({"orders": (1, 1)}, ())


def test_delta_tables_whose_files_do_not_tell_all_are_left_out(load: Loader, tmp_path: Path) -> None:
    delete_in_vectors(tmp_path / "orders", 3, 4)
    map_columns(tmp_path / "staff", version=2)
    result = load(tmp_path)
    assert result.tables == ()
    assert {Path(problem.place).name: problem.reason for problem in result.problems} == {
        "orders": "it cannot be loaded file by file: deletion vectors mark deleted rows, which the files "
        "still contain; run REORG TABLE ... APPLY (PURGE) or rewrite the table.",
        "staff": "it cannot be loaded file by file: its columns have other names in the files (column "
        "mapping: name); write it as a table without column mapping.",
    }


@pytest.mark.parametrize("files", [0, 1, 2])
def test_a_column_that_the_delta_log_has_and_no_file_is_a_column_of_the_table(
    load: Loader, tmp_path: Path, files: int
) -> None:
    folder = tmp_path / "shops"
    for number in range(max(files, 1)):
        write_deltalake(str(folder), pa.table({"id": [number]}), mode="append")
    DeltaTable(str(folder)).alter.add_columns(Field("note", PrimitiveType("string")))
    if not files:
        DeltaTable(str(folder)).delete()
    result = load(folder, write="truncate")
    assert (counts(result), result.problems) == ({"shops": (files, files)}, ())
    assert load.rows("shops") == [(number, None) for number in range(files)]


def test_a_delta_table_without_rows_empties_what_it_is_to_replace(load: Loader, tmp_path: Path) -> None:
    folder = tmp_path / "shops"
    write_deltalake(str(folder), pa.table({"id": [1]}))
    load(folder, write="truncate")
    DeltaTable(str(folder)).delete()
    assert counts(load(folder, write="truncate")) == {"shops": (0, 0)}
    assert load.rows("shops") == []


def test_what_one_table_is_can_be_said(load: Loader, tmp_path: Path) -> None:
    put(tmp_path / "in" / "sales" / "LOAD00000001.parquet", id=[1])
    put(tmp_path / "in" / "sales" / "rest.parquet", id=[2])
    put(tmp_path / "in" / "sales" / "notes.txt", id=[3])
    assert counts(load(tmp_path, pattern="*.parquet")) == {"sales": (1, 1), "rest": (1, 1)}
    assert counts(load(tmp_path, pattern="r*", prefix="a_")) == {"a_rest": (1, 1)}
    assert counts(load(tmp_path, grouping="folder", prefix="b_")) == {"b_sales": (3, 3)}
    assert set(counts(load(tmp_path, grouping="file", prefix="c_"))) == {
        *("c_LOAD00000001", "c_rest", "c_notes_txt"),
    }


def test_tables_are_told_apart_as_in_the_other_loaders(load: Loader, tmp_path: Path) -> None:
    put(tmp_path / "customers" / "LOAD00000001.parquet", id=[1], name=["a"])
    put(tmp_path / "orders" / "LOAD00000001.parquet", id=[1], total=[2])
    (tmp_path / "ice" / "metadata").mkdir(parents=True)
    (tmp_path / "ice" / "metadata" / "v1.metadata.json").write_text("{}")
    put(tmp_path / "ice" / "data" / "00000-0-a.parquet")
    result = load(tmp_path)
    assert counts(result) == {"customers": (1, 1), "orders": (1, 1)}
    assert [(problem.place, "it is an Iceberg table" in problem.reason) for problem in result.problems] == [
        (f"{tmp_path}/ice", True)
    ]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (
            pa.array([5], pa.duration("us")),
            "column a is a length of time, which Parquet holds as a bare number",
        ),
        (pa.array([{"metadata": b"a", "value": b"b"}]), "column a is Parquet's variant type"),
    ],
)
def test_what_bigquery_would_load_as_something_else_is_refused(
    load: Loader, tmp_path: Path, column: pa.Array, said: str
) -> None:
    result = load(put(tmp_path / "t.parquet", a=column))
    assert result.tables == ()
    [problem] = result.problems
    assert said in problem.reason


NANOSECONDS = {
    "moment": pa.array([1_709_202_600_123_456_000], pa.timestamp("ns", "UTC")),
    "walls": pa.array(
        [[{"at": 1_709_202_600_123_456_000}]], pa.list_(pa.struct([("at", pa.timestamp("ns"))]))
    ),
    "half": pa.array([1.5], pa.float16()),
}


def test_local_times_in_nanoseconds_and_short_floats_are_loaded_as_what_they_are(
    load: Loader, asked: FakeProject, tmp_path: Path
) -> None:
    load(put(tmp_path / "t.parquet", **NANOSECONDS))
    [(moment, walls, half)] = load.rows("t")
    assert (moment, walls, half) == (MOMENT, [{"at": MOMENT.replace(tzinfo=None)}], 1.5)
    kinds = [field["type"] for field in asked.datasets["sales"].tables["t"].fields]
    assert kinds == ["TIMESTAMP", "RECORD", "FLOAT"]


@pytest.mark.parametrize("column", NANOSECONDS)
def test_in_a_bucket_they_are_refused_as_bigquery_would_load_bare_numbers_and_bytes(
    load: Loader, tmp_path: Path, column: str
) -> None:
    put(tmp_path / "lake" / "t.parquet", **{column: NANOSECONDS[column]})
    result = load("gs://lake/t.parquet", bucket=tmp_path)
    assert result.tables == ()
    [problem] = result.problems
    assert f"column {column} is a " in problem.reason
    assert "load a local copy of the files" in problem.reason


def test_nanoseconds_that_would_be_cut_off_are_refused_and_other_tables_loaded(
    load: Loader, tmp_path: Path
) -> None:
    put(tmp_path / "t.parquet", at=pa.array([1_709_202_600_123_456_789], pa.timestamp("ns")))
    put(tmp_path / "u.parquet")
    result = load(tmp_path)
    assert counts(result) == {"u": (1, 2)}
    [problem] = result.problems
    assert f"{tmp_path}/t.parquet was not loaded, as column at has a value" in problem.reason


def test_a_file_whose_rows_are_damaged_is_named_and_the_others_are_loaded(
    load: Loader, tmp_path: Path
) -> None:
    bad = put(tmp_path / "sales" / "year=2023" / "a.parquet", id=[1] * 100)
    put(tmp_path / "sales" / "year=2024" / "a.parquet", id=[2])
    put(tmp_path / "orders.parquet")
    data = bytearray(bad.read_bytes())
    data[4:24] = b"\xff" * 20
    bad.write_bytes(data)
    result = load(tmp_path)
    assert (counts(result), load.rows("sales")) == ({"orders": (1, 2), "sales": (1, 1)}, [(2, 2024)])
    [problem] = result.problems
    assert problem.place == str(bad)
    assert "its rows cannot be read" in problem.reason


def test_the_rows_of_snowflakes_null_partition_have_no_value(load: Loader, tmp_path: Path) -> None:
    put(tmp_path / "orders" / "__NULL__" / "data_0_0_0.parquet", id=[1])
    put(tmp_path / "orders" / "day=2024-02-29" / "data_0_0_0.parquet", id=[2])
    assert counts(load(tmp_path)) == {"orders": (2, 2)}
    assert load.rows("orders") == [(1, None), (2, DAY)]


def test_columns_that_only_some_files_in_a_bucket_have_are_declared(
    load: Loader, asked: FakeProject, tmp_path: Path
) -> None:
    # BigQuery takes the columns of the last file.
    folder = tmp_path / "lake" / "orders" / "year=2024"
    put(folder / "part-1.parquet", id=[1], note=["a"])
    put(folder / "part-2.parquet", id=[2])
    asked.objects["gs://lake"] = tmp_path / "lake"
    load("gs://lake/orders", bucket=tmp_path)
    [job] = asked.loads
    assert [one["name"] for one in job["schema"]["fields"]] == ["id", "note"]
    assert load.rows("orders") == [(1, "a"), (2, None)]


def test_partitions_in_a_bucket_have_the_types_that_local_ones_have(
    load: Loader, asked: FakeProject, tmp_path: Path
) -> None:
    # Left alone, BigQuery takes 01 for the number 1.
    put(tmp_path / "lake" / "orders" / "year=2024" / "month=01" / "a.parquet", id=[1])
    asked.objects["gs://lake"] = tmp_path / "lake"
    load("gs://lake/orders", bucket=tmp_path)
    [job] = asked.loads
    assert job["hivePartitioningOptions"] == {
        "mode": "CUSTOM",
        "sourceUriPrefix": "gs://lake/orders/{year:INTEGER}/{month:STRING}",
    }


@pytest.mark.parametrize("folder", ["shop=Z%C3%BCrich", "shop=__HIVE_DEFAULT_PARTITION__", "shop="])
def test_partitions_in_a_bucket_that_are_not_what_is_written_are_refused(
    load: Loader, tmp_path: Path, folder: str
) -> None:
    put(tmp_path / "lake" / "orders" / folder / "a.parquet", id=[1])
    result = load("gs://lake/orders", bucket=tmp_path)
    assert result.tables == ()
    [problem] = result.problems
    assert f"as BigQuery takes the folders {folder} as they are written" in problem.reason


def test_partitions_above_a_tables_folder_are_not_columns_of_it(load: Loader, tmp_path: Path) -> None:
    put(tmp_path / "year=2020" / "sales" / "year=2024" / "a.parquet", id=[1])
    assert counts(load(tmp_path / "year=2020" / "sales")) == {"sales": (1, 1)}
    assert load.rows("sales") == [(1, 2024)]


def test_a_name_that_no_dataset_can_have_is_refused(load: Loader, tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="cannot have a dataset called 'my-sales'"):
        load_parquet(load.access, [str(put(tmp_path / "a.parquet"))], LoadOptions("my-sales"))


def test_the_command_ends_with_a_summary_and_with_1_where_a_file_was_bad(
    load: Loader, tmp_path: Path, project: str
) -> None:
    put(tmp_path / "good" / "orders.parquet")
    (tmp_path / "bad.parquet").write_text("no Parquet, and long enough")
    app = bigquery_app(lambda: load.access)
    run = CliRunner().invoke(app, ["load", str(tmp_path / "good"), "--dataset", "sales", "--prefix", "fact_"])
    assert run.exit_code == 0, run.output
    assert "fact_orders" in run.output
    assert "2 rows of 1 files were loaded into 1 tables in" in run.output
    assert load.rows("fact_orders") == [(1,), (2,)]
    run = CliRunner().invoke(app, ["load", str(tmp_path), "--dataset", "sales", "--write", "truncate"])
    assert run.exit_code == 1
    assert f"Left out: {tmp_path}/bad.parquet: it is not a Parquet file" in run.output
    assert load.rows("orders") == [(1,), (2,)]


def test_the_command_says_what_is_wrong_with_its_options(load: Loader, tmp_path: Path) -> None:
    app = bigquery_app(lambda: load.access)
    run = CliRunner().invoke(app, ["load", str(tmp_path), "--dataset", "sales", "--write", "replace"])
    assert run.exit_code == 2
    assert "--write is 'replace', but must be one of append, truncate, empty." in run.output
    run = CliRunner().invoke(app, ["load", f"{tmp_path}/nothing", "--dataset", "sales"])
    assert run.exit_code == 1
    assert f"Nothing exists at {tmp_path}/nothing." in run.output


def test_the_commands_project_and_location_win(
    bigquery_server: FakeBigQuery, load: Loader, tmp_path: Path
) -> None:
    another = bigquery_server.create_project()
    arguments = ["load", str(put(tmp_path / "a.parquet")), "--dataset", "sales"]
    app = bigquery_app(lambda: load.access)
    run = CliRunner().invoke(app, [*arguments, "--project", another, "--location", "europe-west2"])
    assert run.exit_code == 0, run.output
    assert bigquery_server.projects[another].datasets["sales"].location == "europe-west2"
