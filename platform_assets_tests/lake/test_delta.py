"""A lake table takes each version of a stream once, and says so when it cannot."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import Schema

from platform_assets.errors import LakeConflict, LakeError
from platform_assets.lake.arrow import arrow_schema
from platform_assets.lake.delta import ColumnStatistics, LakeTable, non_empty, statistics_of_batch
from platform_assets.lake.duck import SqlEngine, fetch_rows
from platform_assets.model.table import HASH_COLUMN, Column, Date, Integer, Text, Timestamp
from platform_assets.stored import BRONZE

COLUMNS = (Column("id", Integer()), Column("name", Text()), Column("_batch", Integer(64)))
STREAM = "test"


@pytest.fixture
def table(tmp_path: Path) -> LakeTable:
    return LakeTable(str(tmp_path / "a table"), COLUMNS)


def rows(table: LakeTable, *names: str, batch: int = 1) -> pa.Table:
    values = [list(range(1, len(names) + 1)), list(names), [batch] * len(names)]
    return pa.table(values, schema=table.arrow_schema)


def names(table: LakeTable) -> list[str]:
    return sorted(table.scan(table.open(), ["name"]).read_all()["name"].to_pylist())


def test_a_table_that_was_never_written_is_empty(table: LakeTable) -> None:
    assert (table.open(), table.cursor(None, STREAM), table.row_count(None)) == (None, 0, 0)
    assert table.scan(None).read_all().schema == table.arrow_schema
    assert table.scan(None, ["name"]).read_all().schema.names == ["name"]


def test_data_and_cursor_are_one_commit(table: LakeTable) -> None:
    assert table.append(None, rows(table, "a", "b"), stream=STREAM, version=7, description="of a test") == 0
    handle = table.open()
    assert handle is not None
    assert (table.cursor(handle, STREAM), table.cursor(handle, "another"), table.row_count(handle)) == (
        7,
        0,
        2,
    )
    assert handle.metadata().description == "of a test"
    assert table.append(handle, rows(table, "c"), stream=STREAM, version=9) == 1
    assert table.cursor(table.open(), STREAM) == 9
    assert names(table) == ["a", "b", "c"]


def test_a_table_that_is_only_read_is_opened_again_when_it_has_changed(table: LakeTable) -> None:
    assert table.look() is None
    table.append(None, rows(table, "a"), stream=STREAM, version=1)
    first = table.look()
    assert first is not None
    again = replace(table)
    assert again.look() is first
    table.append(table.open(), rows(table, "b"), stream=STREAM, version=2)
    second = again.look()
    assert second is not None
    assert (first.version(), second.version(), table.cursor(second, STREAM)) == (0, 1, 2)


def test_a_table_that_took_the_place_of_another_is_opened_again(table: LakeTable, tmp_path: Path) -> None:
    other = replace(table, uri=str(tmp_path / "another"))
    table.append(None, rows(table, "a"), stream=STREAM, version=1)
    other.append(None, rows(table, "a", "b"), stream=STREAM, version=1)
    assert table.row_count(table.look()) == 1
    shutil.rmtree(table.uri)
    assert table.look() is None
    shutil.move(other.uri, table.uri)
    assert table.row_count(table.look()) == 2


def test_a_table_whose_log_was_cleared_since_is_opened_again(table: LakeTable) -> None:
    table.append(None, rows(table, "a"), stream=STREAM, version=1)
    assert table.row_count(table.look()) == 1
    for version in (2, 3, 4):
        table.append(table.open(), rows(table, "b"), stream=STREAM, version=version)
    handle = table.open()
    assert handle is not None
    handle.create_checkpoint()
    table.forget_versions(handle, keep=0)
    assert table.row_count(table.look()) == 4


def test_a_table_of_a_newer_format_is_refused_also_by_who_has_seen_it(table: LakeTable) -> None:
    newer = replace(table, format=replace(BRONZE, version=2))
    newer.append(None, rows(table, "a"), stream=STREAM, version=1)
    assert newer.look() is not None
    with pytest.raises(LakeError, match="format version 2"):
        replace(table, format=BRONZE).look()


@pytest.mark.parametrize("how", ["append", "append_files", "overwrite", "upsert", "note", "forget"])
def test_nothing_is_written_with_a_handle_that_readers_share(table: LakeTable, how: str) -> None:
    table.append(None, rows(table, "a"), stream=STREAM, version=1)
    shared = table.look()
    assert shared is not None
    writes = {
        "append": lambda: table.append(shared, rows(table, "b"), stream=STREAM, version=2),
        "append_files": lambda: table.append_files(shared, [], stream=STREAM, version=2),
        "overwrite": lambda: table.overwrite(shared, rows(table, "b"), stream=STREAM, version=2),
        "upsert": lambda: table.upsert(shared, rows(table, "b"), key=["id"], stream=STREAM, version=2),
        "note": lambda: table.note(shared, {STREAM: 2}),
        "forget": lambda: table.forget(shared, {}, stream=STREAM, version=2),
    }
    with pytest.raises(RuntimeError, match="readers share"):
        writes[how]()
    assert table.version() == 0


@pytest.mark.parametrize("how", ["append", "overwrite", "upsert"])
def test_of_two_writers_from_one_state_the_second_loses(table: LakeTable, how: str) -> None:
    table.append(None, rows(table, "a", "b"), stream=STREAM, version=1)
    first, second = table.open(), table.open()
    assert first is not None
    assert second is not None
    table.append(first, rows(table, "first", batch=2), stream=STREAM, version=2)
    attempts = {
        "append": lambda: table.append(second, rows(table, "second"), stream=STREAM, version=2),
        "overwrite": lambda: table.overwrite(second, rows(table, "second"), stream=STREAM, version=2),
        "upsert": lambda: table.upsert(second, rows(table, "second"), key=["id"], stream=STREAM, version=2),
    }
    with pytest.raises(LakeConflict, match="another run wrote to it at the same time") as error:
        attempts[how]()
    assert error.value.retryable
    assert "Batch 2" in str(error.value)
    assert names(table) == ["a", "b", "first"]


def test_of_two_writers_that_make_a_table_the_second_loses(table: LakeTable) -> None:
    table.append(None, rows(table, "first"), stream=STREAM, version=1)
    with pytest.raises(LakeConflict):
        table.append(None, rows(table, "second"), stream=STREAM, version=1)
    assert names(table) == ["first"]


def test_an_upsert_replaces_rows_with_the_same_key_and_adds_the_others(table: LakeTable) -> None:
    table.append(None, rows(table, "a", "b"), stream=STREAM, version=1)
    handle = table.open()
    assert handle is not None
    table.upsert(handle, rows(table, "A", "B", "C", batch=2), key=["id"], stream=STREAM, version=2)
    assert names(table) == ["A", "B", "C"]
    assert table.cursor(table.open(), STREAM) == 2


def test_rows_that_do_not_fit_the_table_change_nothing(table: LakeTable) -> None:
    table.append(None, rows(table, "a"), stream=STREAM, version=1)
    handle = table.open()
    assert handle is not None
    wrong = pa.table({"name": ["x"]})
    for attempt in (
        lambda: table.append(handle, wrong, stream=STREAM, version=2),
        lambda: table.upsert(handle, wrong, key=["id"], stream=STREAM, version=2),
    ):
        with pytest.raises(LakeError, match=r"Writing to the lake table .* failed") as error:
            attempt()
        assert not isinstance(error.value, LakeConflict)
    assert names(table) == ["a"]


def test_a_stream_that_breaks_in_the_middle_leaves_the_table_as_it_was(table: LakeTable) -> None:
    table.append(None, rows(table, "a"), stream=STREAM, version=1)

    def breaking():  # type: ignore[no-untyped-def]
        yield rows(table, "b").to_batches()[0]
        raise ValueError("the rows end here")

    stream = pa.RecordBatchReader.from_batches(table.arrow_schema, breaking())
    with pytest.raises((LakeError, ValueError), match="the rows end here"):
        table.append(table.open(), stream, stream=STREAM, version=2)
    assert (names(table), table.cursor(table.open(), STREAM)) == (["a"], 1)


FURTHER = (*COLUMNS, Column("colour", Text()), Column("at", Timestamp()), Column("day", Date()))
FURTHER_SCHEMA = arrow_schema(FURTHER)


def whole(table: LakeTable) -> list[dict[str, Any]]:
    """All rows, read by DuckDB as the platform's own queries do."""
    with SqlEngine(64, 1, Path(table.uri).parent / "tmp").connect() as connection:
        table.create_view(connection, ["read"], table.open())
        return fetch_rows(connection, "SELECT * FROM read ORDER BY name")


def test_a_stream_that_breaks_after_a_column_was_added_leaves_no_column_behind(table: LakeTable) -> None:
    table.append(None, rows(table, "a"), stream=STREAM, version=1)
    further = replace(table, columns=FURTHER)
    new = pa.table([[2], ["b"], [2], ["red"], [None], [dt.date(2024, 2, 29)]], FURTHER_SCHEMA)

    def broken() -> Iterator[pa.RecordBatch]:
        yield from new.to_batches()
        raise ValueError("the source is gone")

    with pytest.raises(Exception, match="the source is gone"):
        further.append(
            table.open(), pa.RecordBatchReader.from_batches(new.schema, broken()), stream=STREAM, version=2
        )
    assert [row["name"] for row in whole(table)] == ["a"]
    assert whole(further) == [{"id": 1, "name": "a", "_batch": 1, "colour": None, "at": None, "day": None}]
    further.append(table.open(), new, stream=STREAM, version=2)
    assert [(row["name"], row["colour"], row["day"]) for row in whole(further)] == [
        ("a", None, None),
        ("b", "red", dt.date(2024, 2, 29)),
    ]


@pytest.mark.parametrize("is_marked", [False, True], ids=["before the mark", "after the mark"])
def test_a_table_whose_column_was_added_without_a_row_is_read_and_continued(
    table: LakeTable, is_marked: bool
) -> None:
    """As version 0.1.0 left it where a read broke off: a column in the log that no file has."""
    table.append(None, rows(table, "a"), stream=STREAM, version=1)
    handle = table.open()
    assert handle is not None
    further = replace(table, columns=FURTHER)
    missing = pa.schema([further.arrow_schema.field(name) for name in ("colour", "at", "day")])
    handle.alter.add_columns(list(Schema.from_arrow(missing).fields))
    if is_marked:
        handle.alter.set_table_properties({"platform_assets.evolved": "true"}, raise_if_not_exists=False)
    assert [(row["name"], row["colour"]) for row in whole(further)] == [("a", None)]
    new = pa.table([[2], ["b"], [2], ["red"], [None], [None]], FURTHER_SCHEMA)
    further.append(table.open(), new, stream=STREAM, version=2)
    further.append(table.open(), new.set_column(1, "name", [["c"]]), stream=STREAM, version=3)
    assert [(row["name"], row["colour"]) for row in whole(further)] == [
        ("a", None),
        ("b", "red"),
        ("c", "red"),
    ]


def test_a_writer_that_comes_second_with_a_new_column_loses(table: LakeTable) -> None:
    table.append(None, rows(table, "a"), stream=STREAM, version=1)
    first, second = table.open(), table.open()
    further = replace(table, columns=FURTHER)
    new = pa.table([[2], ["b"], [2], ["red"], [None], [None]], FURTHER_SCHEMA)
    table.append(first, rows(table, "first", batch=2), stream=STREAM, version=2)
    with pytest.raises(LakeConflict):
        further.append(second, new, stream=STREAM, version=2)
    assert names(table) == ["a", "first"]


DAYS_OF_POSTGRESQL = (
    ("0001-06-01 (BC)", "294000-01-01"),
    ("2024-02-29", "2024-02-29"),
)


def test_statistics_leave_out_days_that_python_has_no_value_for(tmp_path: Path) -> None:
    columns = (Column("id", Integer()), Column("at", Timestamp()), Column("_batch", Integer(64)), HASH_COLUMN)
    table = LakeTable(str(tmp_path / "table"), columns)
    for batch, moments in enumerate(DAYS_OF_POSTGRESQL, 1):
        with SqlEngine(64, 1, tmp_path / "tmp").connect() as connection:
            given = connection.sql(
                "SELECT * FROM (VALUES "
                + ", ".join(
                    f"(CAST({number} AS INTEGER), TIMESTAMP '{moment} 00:00:00', CAST({batch} AS BIGINT), "
                    "CAST(0 AS BIGINT))"
                    for number, moment in enumerate(moments)
                )
                + ")"
            ).to_arrow_table()
        new = given.rename_columns([column.name for column in columns]).cast(table.arrow_schema)
        table.append(table.open(), new, stream=STREAM, version=batch)
    handle = table.open()
    assert handle is not None
    assert set(statistics_of_batch(handle, 1)) == {"id", "_batch", "_hash"}
    assert statistics_of_batch(handle, 1)["id"] == ColumnStatistics(0, 0, 1)
    leap = dt.datetime.fromisoformat("2024-02-29 00:00:00")
    assert statistics_of_batch(handle, 2)["at"] == ColumnStatistics(0, leap, leap)


def test_a_folder_with_a_damaged_log_is_named(table: LakeTable) -> None:
    table.append(None, rows(table, "a"), stream=STREAM, version=1)
    [log] = (Path(table.uri) / "_delta_log").glob("*.json")
    log.write_text("no commit")
    with pytest.raises(
        LakeError, match=r"The lake table .* cannot be read: .*only the platform writes there"
    ):
        table.open()


def test_a_peek_loses_no_row_and_finds_none_where_there_is_none(table: LakeTable) -> None:
    empty, full = table.arrow_schema.empty_table(), rows(table, "a", "b", "c")
    batches = [*empty.to_batches(), *empty.to_batches(), *full.to_batches(max_chunksize=1)]
    peeked = non_empty(pa.RecordBatchReader.from_batches(table.arrow_schema, batches))
    assert peeked is not None
    assert peeked.read_all()["name"].to_pylist() == ["a", "b", "c"]
    assert non_empty(pa.RecordBatchReader.from_batches(table.arrow_schema, empty.to_batches())) is None
