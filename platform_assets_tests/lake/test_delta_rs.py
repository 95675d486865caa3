"""delta-rs goes on while its threads wait for rows from Python, with one processor too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform_assets.lake.delta import LakeTable
from platform_assets.lake.delta_rs import WRITES_AT_ONCE
from platform_assets.lake.upkeep.store import TableStore
from platform_assets_tests.fixtures.http import HttpServer, http_server
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.s3 import S3Server

__all__ = ["http_server"]

ROOT = Path(__file__).parents[2]
WRITES = WRITES_AT_ONCE + 1
"""One more than read rows from Python at once."""
ONE_PROCESSOR = """
import json, os, sys
if hasattr(os, "sched_setaffinity"):  # delta-rs counts the processors that it may use
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
uri, options = json.load(sys.stdin)
"""
WHILE_LISTED = """
import threading
from concurrent.futures import ThreadPoolExecutor
import pyarrow as pa
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.upkeep.store import TableStore
from platform_assets.model.table import Column, Integer

COLUMN = Column("id", Integer(64))
is_listed = threading.Event()
at_rows = threading.Semaphore(0)

def table(name):
    return LakeTable(f"{uri}/{name}", (COLUMN,), lambda: options)

def write(number):
    def rows():
        at_rows.release()
        is_listed.wait()
        yield pa.record_batch({"id": pa.array([number], pa.int64())})

    written = table(number)
    reader = pa.RecordBatchReader.from_batches(written.arrow_schema, rows())
    written.append(None, reader, stream="s", version=1)
    return written.scan(written.open()).read_all()["id"].to_pylist()

first = table("first")
first.append(None, pa.table({"id": pa.array([1], pa.int64())}), stream="s", version=1)
with ThreadPoolExecutor(WRITES) as pool:
    written = [pool.submit(write, number) for number in range(WRITES)]
    for _ in range(WRITES - 1):
        at_rows.acquire()
    store = TableStore(first)
    names = [file.path for file in store.listed(deep=True)]
    properties = first.open()
    properties.alter.set_table_properties({"a.b": "c"}, raise_if_not_exists=False)
    history = first.open().history()
    info = first.commit_info(0)
    store.remove(names)
    is_listed.set()
    print(json.dumps([len(names), len(history), bool(info), [one.result() for one in written]]))
"""
MERGE = """
import pathlib
import pyarrow as pa
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.interfaces import KeptTable
from platform_assets.model.table import Column, Integer
from platform_assets_tests.fixtures.upkeep import merged

table = LakeTable(f"{uri}/table", (Column("id", Integer(64)),), lambda: options)
for version in (1, 2):
    table.append(table.open(), pa.table({"id": pa.array([version], pa.int64())}), stream="s", version=version)
kept = KeptTable("table", table, order=tuple(order))
print(json.dumps([merged(kept, pathlib.Path(folder)), table.open().count()]))
"""


def place_of(request: pytest.FixtureRequest, storage: str, folder: Path) -> tuple[str, dict[str, str]]:
    if storage == "local":
        return str(folder), {}
    server: S3Server = request.getfixturevalue("s3_server")
    return f"s3://{server.create_bucket()}/lake", dict(server.storage_options)


def ended(program: str, place: tuple[str, dict[str, str]]) -> Any:
    """The result of a program in a process of its own, which may use one processor."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_PROCESSOR + program],
        cwd=ROOT,
        input=json.dumps(place),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("storage", ["local", "s3"])
def test_a_folder_is_listed_while_all_writes_wait_for_their_rows(
    request: pytest.FixtureRequest, tmp_path: Path, storage: str
) -> None:
    program = f"WRITES = {WRITES}\n{WHILE_LISTED}"
    names, commits, has_info, rows = ended(program, place_of(request, storage, tmp_path))
    assert (names > 1, commits, has_info) == (True, 2, True)
    assert rows == [[number] for number in range(WRITES)]


@pytest.mark.parametrize("order", [[], ["id"]])
@pytest.mark.parametrize("storage", ["local", "s3"])
def test_files_are_merged_with_one_processor(
    request: pytest.FixtureRequest, tmp_path: Path, storage: str, order: list[str]
) -> None:
    program = f"folder, order = {str(tmp_path)!r}, {order!r}\n{MERGE}"
    assert ended(program, place_of(request, storage, tmp_path / "lake")) == [True, 2]


@pytest.mark.parametrize("question", [TableStore.listed, TableStore.folders])
def test_a_listing_lets_other_threads_go_on_until_the_store_answers(
    http_server: HttpServer, question: Callable[[TableStore], object]
) -> None:
    options = {
        "AWS_ENDPOINT_URL": http_server.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_REGION": "us-east-1",
    }
    store = TableStore(LakeTable("s3://bucket/table", (), lambda: options))
    # The server, a thread of this process, answers what no store would.
    with pytest.raises(OSError, match="invalid list response"):
        question(store)
