"""An append-only log: the latest row of each key, commits on top of the newest version only, no pandas."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_assets.errors import LakeConflict
from platform_assets.lake import races
from platform_assets.lake.arrow import micros_of, one_array, python_rows, table_of, time_of
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.lake.log import AppendLog
from platform_assets.model.table import Column, Integer, Text, Timestamp
from platform_assets_tests.fixtures.properties import examples

COLUMNS = (
    Column("key", Text()),
    Column("part", Integer(32)),
    Column("status", Text()),
    Column("at", Timestamp(utc=True), nullable=True),
    Column("commit", Integer(64)),
)
NOON = dt.datetime(2033, 3, 4, 12, 0, 0, 123_456, tzinfo=dt.UTC)


@pytest.fixture
def log(tmp_path: Path) -> AppendLog:
    return AppendLog(LakeTable(str(tmp_path / "log"), COLUMNS), "The log", "test", ("key", "part"))


def row(key: str, status: str, part: int = 1, at: dt.datetime | None = NOON) -> dict[str, object]:
    return {"key": key, "part": part, "status": status, "at": at}


def latest(log: AppendLog, condition: str = "true", *statuses: str) -> list[tuple[str, int, str, int]]:
    found = log.read().latest(condition, statuses)
    return [(key, part, status, commit) for key, part, status, _, commit in found]


def test_the_latest_row_of_each_key_counts_and_bears_the_number_of_its_commit(log: AppendLog) -> None:
    assert (latest(log), log.read().number) == ([], 0)
    log.append([row("b", "new"), row("a", "new", 2), row("a", "new", 1)])
    log.append([row("a", "done", 2)])
    assert latest(log) == [("a", 1, "new", 1), ("a", 2, "done", 2), ("b", 1, "new", 1)]
    assert latest(log, "part = 2") == [("a", 2, "done", 2)]
    assert log.read().number == 2


def test_a_status_is_asked_of_the_latest_rows_and_a_condition_of_all_of_them(log: AppendLog) -> None:
    log.append([row("a", "new"), row("it's", "new")])
    log.append([row("a", "done")])
    assert latest(log, "true", "new") == [("it's", 1, "new", 1)]
    assert latest(log, "status = 'new'") == [("a", 1, "new", 1), ("it's", 1, "new", 1)]
    assert latest(log, "true", "new", "done") == [("a", 1, "done", 2), ("it's", 1, "new", 1)]


def test_more_keys_than_a_query_takes_are_all_found_in_order(log: AppendLog) -> None:
    keys = [f"{number:05}" for number in range(5_000)]
    log.append([row(key, "new") for key in keys])
    log.append([row(keys[7], "done")])
    found = list(log.read().latest_of([*reversed(keys), "missing"]))
    assert [key for key, *_ in found] == keys
    assert found[7][2] == "done"
    assert [key for key, *_ in log.read().latest_of(["missing", keys[3], keys[3]])] == [keys[3]]
    assert list(log.read().latest_of([])) == []


def test_a_commit_on_an_old_version_is_refused_also_if_it_is_the_first(log: AppendLog) -> None:
    before, other = log.read(), log.read()
    before.append([row("a", "first")])
    assert not other.try_append([row("a", "late")])
    with pytest.raises(LakeConflict):
        other.append([row("a", "late")])
    now, other = log.read(), log.read()
    assert now.try_append([row("a", "second")])
    assert not other.try_append([row("a", "late")])
    # A version moves on with its own commits.
    assert now.try_append([row("a", "third")])
    assert latest(log) == [("a", 1, "third", 3)]


def test_writers_at_the_same_moment_all_get_their_turn(log: AppendLog) -> None:
    def write(number: int) -> None:
        log.append([row("shared", str(number)), row(str(number), "own")])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert log.read().number == 4
    assert [(key, status) for key, _, status, _ in latest(log, "true", "own")] == [
        (str(number), "own") for number in range(4)
    ]


def test_the_version_that_is_known_is_the_base_of_the_first_attempt_only(log: AppendLog) -> None:
    old = log.read()
    log.append([row("a", "by another")])
    tried = []
    for version in log.attempts(old):
        tried.append(version.number)
        if version.try_append([row("b", "new")]):
            break
    assert tried == [0, 1]


def test_a_log_that_refuses_every_commit_says_where_to_look(
    log: AppendLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(progress: object) -> Iterator[None]:
        yield from (None, None)

    def refuse(*_: object, **__: object) -> None:
        raise LakeConflict("lost")

    monkeypatch.setattr(races, "attempts", twice)
    monkeypatch.setattr(LakeTable, "append", refuse)
    with pytest.raises(LakeConflict, match=r"The log .*/log could not be written.*Check that"):
        log.append([row("a", "new")])


def test_a_compaction_changes_no_row_and_no_number(log: AppendLog) -> None:
    for number in range(6):
        log.append([row(f"{number}", "new"), row("again", str(number))])
    before = latest(log)
    assert not log.compact(files=7)
    assert log.compact(files=6)
    assert not log.compact(files=2)
    assert (latest(log), log.read().number) == (before, 6)


def test_a_view_holds_all_rows_of_its_version(log: AppendLog, tmp_path: Path) -> None:
    with SqlEngine(128, 1, tmp_path / "spill").connect() as connection:
        log.read().create_view(connection, "rows")
        assert connection.sql("FROM rows").fetchall() == []
        log.append([row("a", "new")])
        old = log.read()
        log.append([row("a", "done")])
        old.create_view(connection, "rows")
        assert connection.sql('SELECT key, status, "at", "commit" FROM rows').fetchall() == [
            ("a", "new", NOON, 1)
        ]


def test_a_table_without_numbers_in_its_rows_is_numbered_by_its_commits_alone(tmp_path: Path) -> None:
    log = AppendLog(LakeTable(str(tmp_path / "log"), COLUMNS[:-1]), "The log", "test", ("key",))
    log.append([row("a", "new")])
    log.append([row("a", "new")])
    assert log.read().number == 2
    assert log.table.scan(log.read().handle).schema.names == ["key", "part", "status", "at"]


class Word(StrEnum):
    SAID = "said"


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | st.text(st.characters(exclude_categories=["Cs"])) | st.just(Word.SAID),
            "short": st.none() | st.integers(-(2**31), 2**31 - 1),
            "long": st.none() | st.integers(-(2**63), 2**63 - 1),
            "number": st.none() | st.floats(allow_nan=False),
            "day": st.none() | st.dates(),
            "at": st.none()
            | st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-9))])),
        }
    )
)
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("short", pa.int32()),
        ("long", pa.int64()),
        ("number", pa.float64()),
        ("day", pa.date32()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)


@given(ROWS)
@settings(max_examples=examples(200))
def test_a_table_of_python_values_is_the_one_that_pyarrow_makes(rows: list[dict[str, object]]) -> None:
    made = table_of(rows, SCHEMA)
    made.validate(full=True)
    assert made == pa.Table.from_pylist(rows, schema=SCHEMA)
    assert python_rows(made) == made.to_pylist()


@pytest.mark.parametrize("chunks", [[], [[1, None]], [[], [3], [4, 5]]])
def test_chunks_are_one_array(chunks: list[list[int | None]]) -> None:
    values = pa.chunked_array(chunks, pa.int32())
    assert one_array(values) == values.combine_chunks()


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("text", "caf\udce9", UnicodeEncodeError),
        ("text", 5, TypeError),
        ("short", 2**31, OverflowError),
        ("long", "5", TypeError),
    ],
)
def test_a_value_that_a_column_cannot_hold_is_an_error(
    name: str, value: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        table_of([{name: "a" if name == "text" else 1}, {name: value}], pa.schema([SCHEMA.field(name)]))


@pytest.mark.parametrize(
    "at", [NOON, dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)]
)
def test_a_time_is_the_same_after_it_was_microseconds(at: dt.datetime) -> None:
    assert time_of(micros_of(at)) == at


def test_a_log_is_written_and_read_without_pandas(tmp_path: Path) -> None:
    script = """
import sys
from platform_assets_tests.lake.test_log import AppendLog, COLUMNS, LakeTable, row
before = "pandas" in sys.modules
log = AppendLog(LakeTable(sys.argv[1], COLUMNS), "The log", "test", ("key", "part"))
log.append([row("a", "new"), row("b", "new", at=None)])
print(before, len(list(log.read().latest_of(["a", "b"]))), "pandas" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log")], capture_output=True, text=True, check=False
    )
    assert done.stdout == "False 2 False\n", done.stderr
