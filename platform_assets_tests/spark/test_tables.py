"""Lake tables through Spark and Sail: values come back as they were, and numbers stay in order."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import replace
from decimal import Decimal as Number
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from platform_assets.errors import LakeError
from platform_assets.lake.delta import LakeTable
from platform_assets.model.dialects import SPARK
from platform_assets.model.table import (
    Binary,
    Boolean,
    Column,
    Date,
    Decimal,
    Float,
    Integer,
    Text,
    Time,
    Timestamp,
)
from platform_assets.spark.dialect import Numbering, constant, spark_sql, sql_of
from platform_assets.spark.files import written
from platform_assets.spark.session import SparkError, SparkTarget
from platform_assets.spark.tables import Views

COLUMNS = (
    Column("id", Integer(), ""),
    Column("big one", Integer(64), ""),
    Column("exact", Decimal(38, 10), ""),
    Column("whole", Decimal(38, 0), ""),
    Column("single", Float(32), ""),
    Column("double", Float(64), ""),
    Column("te`xt", Text(), ""),
    Column("bytes", Binary(), ""),
    Column("yes", Boolean(), ""),
    Column("day", Date(), ""),
    Column("hour", Time(), ""),
    Column("naive", Timestamp(), ""),
    Column("instant", Timestamp(utc=True), ""),
    Column("_batch", Integer(64), ""),
)
FIRST = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
LAST = dt.datetime(9999, 12, 31, 23, 59, 59, 999999, dt.UTC)
# A time that the calendar of 1582 left out in most of Europe.
GAP = dt.datetime(1582, 10, 10, 1, 2, 3, 4, dt.UTC)
ROWS: list[tuple[Any, ...]] = [
    (
        *(1, 2**63 - 1, Number("9999999999999999999999999999.9999999999"), Number(10**38 - 1)),
        *(3.4e38, 1.7976931348623157e308, "Łódź 🜁\n'\"\\", b"\x00\xff", True),
        *(dt.date(9999, 12, 31), "23:59:59.999999"),
        *(LAST.replace(tzinfo=None), LAST),
    ),
    (
        *(2, -(2**63), Number("-0.0000000001"), Number(-1), float("nan"), float("-inf"), "", b"", False),
        *(dt.date(1, 1, 1), "00:00:00.000000", FIRST.replace(tzinfo=None), FIRST),
    ),
    (
        *(3, 0, Number(0), Number(0), -0.0, 5e-324, " ", b" ", None, dt.date(1582, 10, 10), None),
        *(GAP.replace(tzinfo=None), GAP),
    ),
    (4, *(None,) * 12),
]


@pytest.fixture(params=["spark_target", "sail_target"])
def target(request: pytest.FixtureRequest) -> SparkTarget:
    found: SparkTarget = request.getfixturevalue(request.param)
    return found


def table_of(folder: Path, columns: tuple[Column, ...] = COLUMNS) -> LakeTable:
    return LakeTable(str(folder), columns)


def rows_in(table: LakeTable) -> pa.Table:
    return table.scan(table.open()).read_all().sort_by("id")


@pytest.fixture
def stored(tmp_path: Path) -> LakeTable:
    table = table_of(tmp_path / "a folder with blanks")
    values = [list(column) for column in zip(*((*row, 1) for row in ROWS), strict=True)]
    table.append(None, pa.table(values, schema=table.arrow_schema), stream="s", version=1)
    return table


def test_values_of_every_type_come_back_as_they_were(
    target: SparkTarget, stored: LakeTable, tmp_path: Path
) -> None:
    copy = table_of(tmp_path / "copy")
    with target.working("a test") as session, Views.open(session, target) as views:
        name, is_mixed = views.add_table(stored, stored.open())
        with written(session.table(name), copy, target) as files:
            copy.append_files(None, files.placed(), stream="s", version=1, also={"t": 7})
        assert (views.rows, files.rows, is_mixed) == (4, 4, False)
    handle = copy.open()
    assert handle is not None
    assert rows_in(copy).schema == rows_in(stored).schema
    # NaN differs from itself, and 0 equals -0: texts tell them as they are.
    assert [list(map(repr, row.values())) for row in rows_in(copy).to_pylist()] == [
        list(map(repr, row.values())) for row in rows_in(stored).to_pylist()
    ]
    assert copy.cursor(handle, "t") == 7
    assert copy.row_count(handle) == 4
    assert copy.last_batch(handle) == 1
    beside = {path.name for path in Path(copy.uri).iterdir() if path.suffix != ".parquet"}
    assert beside == {"_delta_log", "_upkeep"}
    assert list((Path(copy.uri) / "_upkeep").iterdir()) == []


def test_columns_that_were_added_are_null_in_older_files(
    sail_target: SparkTarget, stored: LakeTable, tmp_path: Path
) -> None:
    wider = replace(stored, columns=(*COLUMNS, Column("added", Integer(64), "")))
    with sail_target.working("a test") as session, Views.open(session, sail_target) as views:
        name, _ = views.add_table(wider, wider.open())
        with written(session.table(name), wider, sail_target) as files:
            assert not files.fit(wider.open())
            wider.append(wider.open(), files.stream(), stream="s", version=2)
    assert rows_in(wider)["added"].to_pylist() == [None] * 8


def test_a_missing_file_is_told_and_not_passed_over(target: SparkTarget, tmp_path: Path) -> None:
    table = table_of(tmp_path, (Column("id", Integer(), ""), Column("_batch", Integer(64), "")))
    for batch in (1, 2):
        rows = pa.table({"id": pa.array([batch], pa.int32()), "_batch": [batch]})
        table.append(table.open(), rows.to_reader(), stream="t", version=batch)
    lost = sorted(Path(table.uri).glob("*.parquet"))[0]
    lost.unlink()
    with (
        pytest.raises((SparkError, LakeError), match=f"{lost.name}.*(cannot be read|SQLSTATE)"),
        target.working("reading") as session,
        Views.open(session, target) as views,
    ):
        session.table(views.add_table(table, table.open())[0]).toArrow()


def test_a_query_without_rows_writes_no_file(
    sail_target: SparkTarget, stored: LakeTable, tmp_path: Path
) -> None:
    empty = table_of(tmp_path / "empty")
    with sail_target.working("a test") as session, Views.open(session, sail_target) as views:
        name, _ = views.add_table(stored, stored.open(), batches=(1, 5))
        assert views.rows == 0
        with written(session.table(name), empty, sail_target) as files:
            assert (files.files, files.rows) == ([], 0)
    assert empty.open() is None


@pytest.mark.parametrize("parts", [2, 7, 64])
def test_rows_that_are_numbered_in_ranges_have_the_numbers_of_one_range(
    sail_target: SparkTarget, parts: int
) -> None:
    chance = random.Random(parts)
    rows = pa.table(
        {
            "_batch": pa.array([chance.choice([1, 1, 1, 2, 5]) for _ in range(3000)], pa.int64()),
            "k": [f"{chance.randrange(40)}'ł\\{number}" for number in range(3000)],
        }
    )
    number = "$last_record_id + ROW_NUMBER() OVER (ORDER BY r._batch, r.k)"
    sql = f"SELECT {number} AS n, r._batch, r.k FROM s.r AS r"
    with sail_target.working("a test") as session, Views.open(session, sail_target) as views:
        select = spark_sql(sql, {"s.r": views.add_arrow(rows)}, {"last_record_id": 100})
        numbering = Numbering.find(select)
        assert numbering is not None
        sample = session.sql(numbering.sample(3)).toArrow().to_pylist()
        assert 700 < len(sample) < 1300
        bounds = [
            tuple(
                constant(value, type_)
                for value, type_ in zip(row.values(), (Integer(64), Text()), strict=True)
            )
            for row in sample[:: len(sample) // parts + 1][1:]
        ]
        counted = {
            row["place"]: row["how_many"]
            for row in session.sql(numbering.counts(bounds)).toArrow().to_pylist()
        }
        sizes = [counted.get(place, 0) for place in range(len(bounds) + 1)]
        assert sum(sizes) == 3000
        assert len([size for size in sizes if size]) == len(bounds) + 1
        before = [sum(sizes[:place]) for place in range(len(sizes))]
        found = session.sql(sql_of(numbering.numbered(bounds, before))).toArrow()
    expected = duckdb.sql(
        "SELECT 100 + row_number() OVER (ORDER BY _batch, k) AS n, _batch, k FROM rows ORDER BY n"
    ).fetchall()
    assert [tuple(row.values()) for row in found.sort_by("n").to_pylist()] == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 AS n FROM s.r AS r",
        "SELECT row_number() OVER (PARTITION BY r.k ORDER BY r._batch) AS n FROM s.r AS r",
        "SELECT row_number() OVER (ORDER BY r.k DESC) AS n FROM s.r AS r",
        "SELECT rank() OVER (ORDER BY r.k) AS n FROM s.r AS r",
        "SELECT row_number() OVER (ORDER BY r.k) AS n, rank() OVER (ORDER BY r.k) AS m FROM s.r AS r",
        "SELECT r.k, row_number() OVER (ORDER BY r.k) AS n FROM s.r AS r GROUP BY r.k",
        "SELECT row_number() OVER (ORDER BY r.k) AS n FROM s.r AS r LIMIT 5",
        "SELECT DISTINCT row_number() OVER (ORDER BY r.k) AS n FROM s.r AS r",
        "WITH t AS (FROM s.r) SELECT row_number() OVER (ORDER BY t.k) AS n FROM t",
    ],
)
def test_only_a_plain_numbering_of_all_rows_is_split(sql: str) -> None:
    assert Numbering.find(spark_sql(sql, {})) is None


def test_every_logical_type_has_a_name_in_spark() -> None:
    names = [SPARK.type_name(one.type) for one in COLUMNS]
    assert names == [
        *(
            "INT",
            "BIGINT",
            "DECIMAL(38,10)",
            "DECIMAL(38,0)",
            "FLOAT",
            "DOUBLE",
            "STRING",
            "BINARY",
            "BOOLEAN",
        ),
        *("DATE", "STRING", "TIMESTAMP_NTZ", "TIMESTAMP", "BIGINT"),
    ]


@pytest.mark.parametrize(
    "text", ["plain", "o'clock", "back\\slash", "two\nlines", 'a "b"', "`c`", "Łódź", ""]
)
def test_spark_reads_quoted_names_and_texts_as_they_were(sail_target: SparkTarget, text: str) -> None:
    name = text or "x"
    with sail_target.working("a test") as session:
        found = session.sql(f"SELECT {SPARK.literal(text)} AS {SPARK.quote(name)}").toArrow().to_pylist()
    assert found == [{name: text}]
