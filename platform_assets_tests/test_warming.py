"""A process that has prepared for steps: its forked children work as new processes do, and import little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from platform_assets.sample.database import create_sample
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.integration.installation import ROOT, Installation

CHILDREN = 5
LIMIT = 300
BEGIN = """
import json, os, signal, ssl, sys
from pathlib import Path
from platform_assets.dagster_internals import load_code_location
from platform_assets.rooms import Rooms
from platform_assets.settings import dagster_home, load_settings
from platform_assets.warming import warm_up

def prepare():
    settings = load_settings()
    load_code_location(dagster_home(settings))
    warm_up(Rooms(settings))

def in_a_child(work):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(250)  # a child that waits for a thread of its parent ends by this
        code = 1
        try:
            os.write(writer, json.dumps(work()).encode())
            code = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader) as answer:
        told = answer.read()
    assert os.waitpid(child, 0)[1] == 0, "a child has died"
    return json.loads(told)
"""
# Everything that has threads or locks of its own: the parent only imports it, each child uses it.
WORK = """
import sqlite3, tempfile

def work():
    import duckdb, numpy, pandas, pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq, re2
    from deltalake import DeltaTable, write_deltalake
    found = {}
    square = numpy.arange(90_000, dtype=float).reshape(300, 300)
    found["numpy"] = float((square @ square).trace())
    texts = pa.array([f"word {number % 1000}" for number in range(60_000)])
    words = pa.table({"word": texts.dictionary_encode().cast(pa.string()), "size": pc.utf8_length(texts)})
    found["arrow"] = pc.sum(words["size"]).as_py()
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        pq.write_table(words, f"{folder}/words.parquet", row_group_size=5_000)
        found["parquet"] = pq.read_table(f"{folder}/words.parquet").num_rows
        connection.execute("SET threads = 2")
        query = "SELECT count(DISTINCT word), sum(size) FROM words"
        found["duckdb"] = [int(one) for one in connection.execute(query).fetchone()]
        write_deltalake(f"{folder}/delta", words)
        found["delta"] = DeltaTable(f"{folder}/delta").to_pyarrow_table().num_rows
        with sqlite3.connect(f"{folder}/file.db") as file:
            found["sqlite"] = file.execute("SELECT 1").fetchone()[0]
    found["pandas"] = int(pandas.Series(range(1000)).sum())
    found["re2"] = len(re2.findall(r"w(\\w+)", "word " * 100))
    context, sides = ssl.create_default_context(), (ssl.MemoryBIO(), ssl.MemoryBIO())
    with_tls = context.wrap_bio(*sides, server_hostname="example.org")
    try:
        with_tls.do_handshake()
    except ssl.SSLWantReadError:
        found["tls"] = sides[1].pending > 0
    found["random"] = os.urandom(4).hex()
    return found

if sys.argv[1] == "warmed":
    prepare()
print(json.dumps([in_a_child(work) for _ in range(int(sys.argv[2]))]))
"""
IMPORTS = """
prepare()
names = []
for thread in os.listdir("/proc/self/task"):
    if int(thread) != os.getpid():
        names.append(Path(f"/proc/self/task/{thread}/comm").read_text().strip())
paths = [Path(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd")]
# The one of the list itself is gone when it is looked at.
links = [str(path.readlink()) for path in paths if os.path.lexists(path)]
before = set(sys.modules)

def work():
    from platform_assets.definitions import defs
    from platform_assets.runs import open_instance, run_job
    done = []
    with open_instance(Path(os.environ["DAGSTER_HOME"])) as instance:
        for job in ("totesys_to_warehouse", "inspect_uploads"):
            done.append(run_job(defs.resolve_job_def(job), instance, lambda line: None).succeeded)
    return [done, sorted(set(sys.modules) - before)]

print(json.dumps([names, [one for one in links if one.startswith("socket:")], *in_a_child(work)]))
"""


def told_by(program: str, *arguments: str, platform: Installation | None = None, **variables: str) -> Any:
    """Run a program and return the JSON that it printed last."""
    given = platform.environment if platform is not None else dict(os.environ)
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program, *arguments],
        cwd=ROOT,
        env={**given, **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_children_of_a_process_that_has_prepared_compute_read_and_write_like_those_of_a_new_one(
    tmp_path: Path,
) -> None:
    platform = Installation.create_embedded(tmp_path / "platform", 10)
    warmed = told_by(WORK, "warmed", str(CHILDREN), platform=platform)
    (new,) = told_by(WORK, "new", "1", platform=platform)
    assert len({one.pop("random") for one in warmed}) == CHILDREN
    new.pop("random")
    assert warmed == [new] * CHILDREN


def test_a_process_that_has_prepared_is_idle_and_the_first_steps_of_its_child_import_almost_nothing(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    database = new_database()
    create_sample(database.owner, sales=20, seed=8)
    platform = Installation.create(tmp_path / "platform", database.reader)
    with (platform.folder / "platform.conf").open("a") as file:
        file.write("watches.uploads { place = uploads }\n")
    (platform.folder / "uploads").mkdir()
    (platform.folder / "uploads" / "people.csv").write_text("name,email\nMary,mary@example.org\n")
    # OpenBLAS starts its threads when numpy is imported, and stops them before a fork.
    told = told_by(IMPORTS, platform=platform, OPENBLAS_NUM_THREADS="1")
    threads, sockets, done, imported = told
    assert set(threads) <= {"jemalloc_bg_thd"}
    assert sockets == []
    assert done == [True, True]
    ours = [name for name in imported if name.startswith("platform_assets.")]
    heavy = {"duckdb", "pandas", "deltalake", "numpy", "sqlalchemy", "boto3", "phonenumbers", "alembic"}
    assert ours == []
    assert [name for name in imported if name.split(".")[0] in heavy and "." not in name] == []
    assert len(imported) < 60, imported
