"""Folders whose files are a table only together with a log are recognised, and most of them refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from platform_assets.parquet.formats import formats_below
from platform_assets.parquet.tables import read_tables
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.parquet.conftest import Write

UUID = "a87d3b88-7691-4dfc-a760-258e33e64536"
FOLDERS = {
    "an Iceberg table": (f"metadata/00001-{UUID}.metadata.json", f"data/00000-0-{UUID}-00001.parquet"),
    "an Iceberg table ": ("metadata/v2.gz.metadata.json", "data/year=2024/00000-0-a.parquet"),
    "a Hudi table": (".hoodie/hoodie.properties", f"year=2024/{UUID}-0_0-22-34_20240229101500000.parquet"),
    "a Hudi table ": ("2024/.hoodie_partition_metadata", f"2024/{UUID}-0_0-22-34_20240229101500000.parquet"),
    "a transactional table of Hive": ("delta_0000002_0000002_0000/_x", "base_0000001/000000_0"),
    "a Paimon table": ("snapshot/snapshot-1", f"bucket-0/data-{UUID}-0.parquet"),
    "a table of DuckLake": (f"ducklake-{UUID}-delete.parquet", f"ducklake-{UUID}.parquet"),
}


@pytest.mark.parametrize(("said", "names"), FOLDERS.items())
def test_a_table_of_a_format_that_is_not_read_is_refused_and_the_others_are_read(
    write: Write, tmp_path: Path, said: str, names: tuple[str, str]
) -> None:
    write(f"orders/{names[0]}")
    write(f"orders/{names[1]}")
    write("staff/part-0.parquet")
    reading = read_tables([str(tmp_path)])
    assert [table.name for table in reading.tables] == ["staff"]
    (problem,) = reading.problems
    assert problem.place == f"{tmp_path}/orders" + ("/2024" if names[0].startswith("2024") else "")
    assert f"it is {said.strip()}" in problem.reason
    assert "Write its rows out as plain Parquet first" in problem.reason


@pytest.mark.parametrize(
    ("log", "inside", "said"),
    [
        ("metadata/v1.metadata.json", "data", "it is an Iceberg table"),
        (".hoodie/hoodie.properties", "year=2024", "it is a Hudi table"),
    ],
)
def test_a_folder_inside_of_such_a_table_is_refused_too(
    write: Write, tmp_path: Path, log: str, inside: str, said: str
) -> None:
    write(f"orders/{log}")
    file = write(f"orders/{inside}/part-0.parquet")
    for place in (file, str(Path(file).parent)):
        reading = read_tables([place])
        assert reading.tables == ()
        (problem,) = reading.problems
        assert problem.reason.startswith(f"it is inside {tmp_path}/orders: {said}")


def test_a_delta_table_with_metadata_of_iceberg_is_a_delta_table(write: Write, tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.table({"id": [1]}))
    write("t/metadata/v1.metadata.json")
    reading = read_tables([str(tmp_path)])
    assert ([table.rows for table in reading.tables], reading.problems) == ([1], ())


def test_a_format_inside_of_another_is_a_part_of_it() -> None:
    paths = [
        "/t/_delta_log/0.json",
        "/t/x/.hoodie/y",
        "/u/metadata/v1.metadata.json",
        "/v/metadata/notes.json",
    ]
    assert formats_below(paths) == {"/t": "delta", "/u": "iceberg"}


def test_of_a_stream_of_spark_the_committed_files_count(write: Write, tmp_path: Path) -> None:
    names = [f"part-0000{number}-{UUID}-c000.snappy.parquet" for number in range(4)]
    for name in names:
        write(f"orders/{name}")
    log = tmp_path / "orders" / "_spark_metadata"
    log.mkdir()

    def committed(name: str) -> str:
        return json.dumps({"path": f"file:///elsewhere/orders/{name}", "size": 1, "action": "add"})

    (log / "0").write_text("v1\n" + committed("gone"))
    (log / "1.compact").write_text("\n".join(["v1", committed(names[0]), committed(names[1])]))
    (log / "2").write_text("v1\n" + committed(names[2]))
    (table,) = read_tables([str(tmp_path)]).tables
    assert [file.path for file in table.files] == names[:3]
    (log / "3").write_text("v1\nno JSON")
    reading = read_tables([str(tmp_path)])
    assert reading.tables == ()
    assert "the log of the stream that writes it" in reading.problems[0].reason


def test_formats_are_recognised_on_s3(s3_server: S3Server, s3_bucket: str, write: Write) -> None:
    client = s3_server.client()
    client.put_object(Bucket=s3_bucket, Key="ice/orders/metadata/v1.metadata.json", Body=b"{}")
    client.upload_file(write("a.parquet"), s3_bucket, "ice/orders/data/00000-0-a.parquet")
    for place in ("ice", "ice/orders/data"):
        reading = read_tables(
            [f"s3://{s3_bucket}/{place}"], storage_options=lambda: s3_server.storage_options
        )
        assert reading.tables == ()
        assert "it is an Iceberg table" in reading.problems[0].reason
