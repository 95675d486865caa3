"""What lost a race is tried again as long as others make progress, and no longer."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from platform_assets.errors import LakeConflict, LakeError
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.lake import Lake, stream_table, write_table
from platform_assets.lake.races import Patience, attempts, retry_while_others_progress
from platform_assets.model.table import Column, Integer, Text
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.racing import together

HASTY = Patience(idle_tries=3, first_wait=0, longest_wait=0, quiet=0.01)
COLUMNS = (Column("id", Integer()), Column("name", Text()))
STREAM = "test"


def test_as_long_as_others_make_progress_no_number_of_lost_races_is_too_many() -> None:
    version = iter(range(100))
    tries: list[int] = []

    def attempt() -> str:
        tries.append(len(tries))
        if len(tries) < 50:
            raise LakeConflict("lost")
        return "won"

    assert retry_while_others_progress(attempt, lambda: next(version), patience=HASTY) == "won"
    assert len(tries) == 50


def test_where_nobody_makes_progress_the_failure_is_a_real_one() -> None:
    tries: list[int] = []

    def attempt() -> None:
        tries.append(len(tries))
        raise LakeConflict(f"lost {len(tries)}")

    with pytest.raises(LakeConflict, match="lost 5"):
        retry_while_others_progress(attempt, lambda: 7, patience=HASTY)


def test_progress_starts_the_count_of_idle_tries_again() -> None:
    progress = iter([1, 1, 1, 2, 2, 2, 2, 2])
    assert len(list(attempts(lambda: next(progress), patience=HASTY))) == 8


def test_other_errors_are_not_tried_again() -> None:
    def attempt() -> None:
        raise LakeError("no lost race")

    with pytest.raises(LakeError, match="no lost race"):
        retry_while_others_progress(attempt, lambda: pytest.fail("nobody was to be asked"))


def test_the_loser_waits_until_the_winner_is_done_with_all_of_its_work() -> None:
    steps = iter(range(1000))
    done: list[int] = []
    seen: list[int] = []

    def progress() -> int:
        step = next(steps)
        if step == 20:
            done.append(step)
        return step

    def attempt() -> None:
        seen.append(len(done))
        if not done:
            raise LakeConflict("lost")

    retry_while_others_progress(attempt, progress, settled=lambda: bool(done), patience=HASTY)
    assert seen == [0, 1]


def test_the_work_of_a_winner_that_died_is_taken_over() -> None:
    tries: list[int] = []

    def attempt() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise LakeConflict("lost to somebody who is dead")

    retry_while_others_progress(attempt, lambda: 1, settled=lambda: False, patience=HASTY)
    assert len(tries) == 3


def test_of_two_writers_that_make_the_first_commit_at_the_same_moment_one_counts(tmp_path: Path) -> None:
    table, winner = (LakeTable(str(tmp_path / name), COLUMNS) for name in ("table", "winner"))
    winner.append(None, _row(winner, 1), stream=STREAM, version=1)

    def rows() -> Iterator[pa.RecordBatch]:
        # The loser has seen that there is no table, and has not committed yet.
        shutil.copytree(winner.uri, table.uri, dirs_exist_ok=True)
        yield from _row(table, 2).to_batches()

    stream = pa.RecordBatchReader.from_batches(table.arrow_schema, rows())
    with pytest.raises(LakeConflict):
        table.append(None, stream, stream=STREAM, version=1)
    assert table.scan(table.open()).read_all()["id"].to_pylist() == [1]


@pytest.mark.parametrize("writers", [2, 4, 8])
def test_of_writers_that_make_a_table_one_counts_however_many_they_are(tmp_path: Path, writers: int) -> None:
    table = LakeTable(str(tmp_path / "table"), COLUMNS)
    all_there = threading.Barrier(writers)

    def write(number: int) -> bool:
        all_there.wait(PATIENCE)
        try:
            table.append(None, _row(table, number), stream=STREAM, version=1)
        except LakeConflict:
            return False
        return True

    won = together(write, writers)
    assert sum(won) == 1
    assert table.scan(table.open()).read_all()["id"].to_pylist() == [won.index(True)]


@pytest.mark.parametrize("is_there", [False, True], ids=["a new table", "a table with rows"])
def test_writers_of_different_streams_all_count_however_many_they_are(tmp_path: Path, is_there: bool) -> None:
    table = LakeTable(str(tmp_path / "table"), COLUMNS)
    if is_there:
        table.append(None, _row(table, -1), stream="first", version=1)
    all_there = threading.Barrier(8)

    def write(number: int) -> None:
        handle = table.open()
        all_there.wait(PATIENCE)

        def attempt() -> None:
            nonlocal handle
            try:
                table.append(handle, _row(table, number), stream=f"stream {number}", version=1)
            finally:
                handle = table.open()

        retry_while_others_progress(attempt, table.version)

    together(write, 8)
    stored = sorted(table.scan(table.open()).read_all()["id"].to_pylist())
    assert stored == [*([-1] if is_there else []), *range(8)]


def test_the_metadata_of_commits_is_as_of_the_version_that_was_read(tmp_path: Path) -> None:
    table = LakeTable(str(tmp_path / "table"), COLUMNS)
    for version in (1, 2, 3):
        table.append(
            table.open(), _row(table, version), stream=STREAM, version=version, metadata={"at": str(version)}
        )
    old, new = table.open(), table.open()
    assert new is not None
    table.append(new, _row(table, 4), stream=STREAM, version=4, metadata={"at": "4"})
    assert table.commit_metadata(old, "at", look_back=10) == "3"
    assert table.commit_metadata(new, "at", look_back=10) == "4"
    assert table.commit_metadata(None, "at", look_back=10) is None
    # A commit that is not the platform's says nothing.
    new.optimize.compact()
    latest = table.open()
    assert table.commit_metadata(latest, "at", look_back=1) is None
    assert table.commit_metadata(latest, "at", look_back=2) == "4"


def test_what_a_compaction_wrote_meanwhile_does_not_outlive_an_overwrite(tmp_path: Path) -> None:
    table = LakeTable(str(tmp_path / "table"), COLUMNS)
    for number in (1, 2):
        table.append(table.open(), _row(table, number), stream=STREAM, version=number)
    old, compacted = table.open(), table.open()
    assert compacted is not None
    compacted.optimize.compact()
    with pytest.raises(LakeConflict):
        table.overwrite(old, _row(table, 3), stream=STREAM, version=3)
    table.overwrite(table.open(), _row(table, 3), stream=STREAM, version=3)
    assert table.scan(table.open()).read_all()["id"].to_pylist() == [3]


def test_of_writers_that_replace_a_table_at_once_all_end_well_and_the_last_one_counts(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "ingestion"), str(tmp_path / "processed"))
    schema = pa.schema([("id", pa.int64())])

    def write(number: int) -> int:
        return write_table(lake, ["marts", "t"], lambda: pa.table([[number] * 3], schema=schema).to_reader())

    for _ in range(2):
        assert together(write, 4) == [3] * 4
        stored = stream_table(lake, ["marts", "t"]).read_all()["id"].to_pylist()
        assert len(stored) == 3
        assert len(set(stored)) == 1


def _row(table: LakeTable, number: int) -> pa.Table:
    return pa.table([[number], [str(number)]], schema=table.arrow_schema)
