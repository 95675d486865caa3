"""A process ends well although a query of a table in a bucket ended before its last row."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from platform_assets.lake.delta import LakeTable
from platform_assets.model.table import Column, Integer, Text
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.s3 import S3Server

ROOT = Path(__file__).parents[2]
COLUMNS = (Column("id", Integer(64)), Column("letters", Text()))
FILES, ROWS = 12, 20_000
PROGRAM = """
import json, pathlib, sys
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets_tests.lake.test_dataset import COLUMNS

uri, options, folder, sql = json.load(sys.stdin)
table = LakeTable(uri, COLUMNS, lambda: options)
with SqlEngine(256, 2, pathlib.Path(folder)).connect() as connection:
    table.create_view(connection, ["rows"], table.open())
    print(len(connection.sql(sql).fetchall()))
"""


@pytest.fixture(scope="module")
def table(s3_server: S3Server) -> LakeTable:
    table = LakeTable(f"s3://{s3_server.create_bucket()}/table", COLUMNS, lambda: s3_server.storage_options)
    for version in range(1, FILES + 1):
        rows = {"id": pa.array(range(ROWS), pa.int64()), "letters": [chr(96 + version) * 50] * ROWS}
        table.append(table.open(), pa.table(rows), stream="s", version=version)
    return table


@pytest.mark.parametrize(
    ("sql", "code", "output"),
    [
        ("FROM rows LIMIT 5", 0, "5\n"),
        ("SELECT letters::INTEGER FROM rows", 1, ""),
        ("SELECT count(*) FROM rows GROUP BY letters", 0, f"{FILES}\n"),
    ],
)
def test_a_process_ends_after_a_query_of_a_bucket(
    table: LakeTable, tmp_path: Path, sql: str, code: int, output: str
) -> None:
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            input=json.dumps([table.uri, table.storage_options(), str(tmp_path), sql]),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert (done.returncode, done.stdout) == (code, output), done.stderr


def test_a_process_ends_although_a_reader_is_kept(table: LakeTable, tmp_path: Path) -> None:
    program = PROGRAM.replace(
        "print(len(connection.sql(sql).fetchall()))",
        "kept = connection.sql(sql).to_arrow_reader(1000); print(kept.read_next_batch().num_rows)",
    )
    assert program != PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        input=json.dumps([table.uri, table.storage_options(), str(tmp_path), "FROM rows"]),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (0, "1000\n"), done.stderr
