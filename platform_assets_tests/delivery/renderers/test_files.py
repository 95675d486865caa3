"""Rows as JSON and Parquet, files compressed, and equal bytes for equal data."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import itertools
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platform_assets.delivery.interfaces import DeliveryError, Query, Rows
from platform_assets.errors import LakeError
from platform_assets_tests.delivery.renderers.rendering import Kitchen, Rendered, files
from platform_assets_tests.fixtures.properties import examples

FIRST = dt.datetime.min  # noqa: DTZ901 - times without a zone
LAST = dt.datetime.max  # noqa: DTZ901
TYPES = pa.table(
    {
        "text": ['a "b"\n\x00\u2028😀', "", None],
        "whole": pa.array([2**63 - 1, -(2**63), None]),
        "amount": pa.array(
            [Decimal("12345678901234567890.12"), Decimal("-0.01"), None], pa.decimal128(38, 2)
        ),
        "float": [0.1, 1e300, None],
        "flag": [True, False, None],
        "day": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
        "at": pa.array([LAST, FIRST, None], pa.timestamp("us")),
        "zone": pa.array([dt.datetime(2026, 7, 1, 8, tzinfo=dt.UTC)] * 2 + [None], pa.timestamp("us", "UTC")),
        "time": [dt.time(8, 30), dt.time(0, 0, 0, 5), None],
        "binary": [b"\x00\xff", b"", None],
        "list": [[1, None], [], None],
        "struct": [{"a": 1, 'b"': None}, {"a": None, 'b"': "x"}, None],
    }
)


def test_json_is_an_array_that_other_readers_load(kitchen: Kitchen) -> None:
    found = kitchen.one(["json"], TYPES)
    assert (found.name, found.rows, found.content_type) == ("customers.json", 3, "application/json")
    first, second, third = json.loads(found.text, parse_float=Decimal)
    assert first == {
        "text": 'a "b"\n\x00\u2028😀',
        "whole": 2**63 - 1,
        "amount": Decimal("12345678901234567890.12"),
        "float": Decimal("0.1"),
        "flag": True,
        "day": "0001-01-01",
        "at": "9999-12-31T23:59:59.999999",
        "zone": "2026-07-01T08:00:00Z",
        "time": "08:30:00",
        "binary": "AP8=",
        "list": [1, None],
        "struct": {"a": 1, 'b"': None},
    }
    assert (second["text"], second["list"], second["struct"]) == ("", [], {"a": None, 'b"': "x"})
    assert set(third.values()) == {None}


def test_json_lines_are_one_object_per_line(kitchen: Kitchen) -> None:
    found = kitchen.one(["jsonl"], TYPES)
    assert (found.name, found.content_type) == ("customers.jsonl", "application/x-ndjson")
    lines = found.text.split("\n")
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == json.loads(kitchen.one(["json"], TYPES).text)


def test_what_json_has_no_number_for_is_text(kitchen: Kitchen) -> None:
    rows = pa.table({"n": [float("nan"), float("inf"), float("-inf")], "l": [[float("nan")], [], None]})
    found = json.loads(kitchen.one(["json"], rows).text, parse_constant=pytest.fail)
    assert [row["n"] for row in found] == ["NaN", "Infinity", "-Infinity"]
    assert found[0]["l"] == ["NaN"]


def test_parts_of_json_are_each_whole(kitchen: Kitchen) -> None:
    rows = pa.table({"n": range(7)})
    for steps in ([{"json": {"split": {"rows": 3}}}], [{"json": {"split": {"megabytes": 0.000035}}}]):
        found = kitchen.render(steps, rows)
        assert len(found) == 3
        assert [row["n"] for one in found for row in json.loads(one.text)] == list(range(7))
    assert json.loads(kitchen.one(["json"], rows.slice(0, 0)).text) == []
    assert kitchen.one(["jsonl"], rows.slice(0, 0)).text == ""


@pytest.mark.parametrize("step", ["json", "jsonl", "parquet"])
def test_formats_with_names_refuse_two_columns_of_one_name(kitchen: Kitchen, step: str) -> None:
    rows = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["Name", "name"])
    with pytest.raises(DeliveryError, match="duplicate column names: 'Name' and 'name'"):
        kitchen.render([step], rows)


@settings(
    deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "t": st.none() | st.text(),
                "n": st.none() | st.integers(-(2**63), 2**63 - 1),
                "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
                "l": st.none() | st.lists(st.none() | st.text(), max_size=3),
                "s": st.none() | st.fixed_dictionaries({"x": st.none() | st.booleans()}),
            }
        ),
        max_size=6,
    )
)
def test_any_values_are_read_back_from_json(kitchen: Kitchen, rows: list[dict[str, Any]]) -> None:
    schema = pa.schema(
        [
            ("t", pa.string()),
            ("n", pa.int64()),
            ("f", pa.float64()),
            ("l", pa.list_(pa.string())),
            ("s", pa.struct([("x", pa.bool_())])),
        ]
    )
    table = pa.Table.from_pylist(rows, schema)
    assert json.loads(kitchen.one(["json"], table).text) == rows


def test_a_decimal_below_one_has_its_zero(kitchen: Kitchen) -> None:
    values = [Decimal("0.05"), Decimal("-0.50"), Decimal("0.00"), None]
    rows = pa.table({"share": pa.array(values, pa.decimal128(2, 2)), "in": [[one] for one in values]})
    rows = rows.set_column(1, "in", rows["in"].cast(pa.list_(pa.decimal128(2, 2))))
    found = json.loads(kitchen.one(["json"], rows).text, parse_float=Decimal)
    assert [row["share"] for row in found] == [row["in"][0] for row in found] == values
    assert kitchen.one(["csv"], rows.select(["share"])).text == 'share\n0.05\n-0.50\n0.00\n""\n'


def test_parquet_refuses_a_column_without_a_name(kitchen: Kitchen) -> None:
    rows = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["id", ""])
    with pytest.raises(DeliveryError, match="has a column without a name"):
        kitchen.one(["parquet"], rows)


def test_parquet_keeps_values_and_types(kitchen: Kitchen) -> None:
    found = kitchen.one(["parquet"], TYPES)
    assert (found.name, found.rows, found.size) == ("customers.parquet", 3, len(found.content))
    read = pq.read_table(io.BytesIO(found.content))
    assert read.to_pylist() == TYPES.to_pylist()
    assert str(read.schema.field("amount").type) == "decimal128(38, 2)"
    assert str(read.schema.field("zone").type) == "timestamp[us, tz=UTC]"


def test_parquet_says_what_it_is(kitchen: Kitchen) -> None:
    found = kitchen.one(["parquet"], TYPES)
    metadata = pq.read_metadata(io.BytesIO(found.content)).metadata
    assert {name.decode(): value.decode() for name, value in metadata.items()} == {
        "title": "Customers in the morning",
        "generator": "platform-assets 1.0",
        "uuid": "3f0c1f7e-6b1e-4c7e-9a0e-0c8a5b1d2e3f",
        "timestamp": "2026-01-31T23:30:05+00:00",
        "version": "v1",
    }


def test_parquet_in_parts_and_row_groups(kitchen: Kitchen) -> None:
    rows = pa.table({"n": range(10_000)})
    options = {"split": {"rows": 6_000}, "row_group_rows": 2_048, "compression": "snappy"}
    found = kitchen.render([{"parquet": options}], rows)
    assert [(one.name, one.rows) for one in found] == [
        ("customers-0001.parquet", 6_000),
        ("customers-0002.parquet", 4_000),
    ]
    read = [pq.ParquetFile(io.BytesIO(one.content)) for one in found]
    assert [n for one in read for n in one.read()["n"].to_pylist()] == list(range(10_000))
    assert read[0].metadata.num_row_groups == 3
    assert read[0].metadata.row_group(0).column(0).compression == "SNAPPY"


def test_parquet_of_an_empty_table_has_its_columns(kitchen: Kitchen) -> None:
    found = kitchen.one(["parquet"], TYPES.slice(0, 0))
    assert pq.read_table(io.BytesIO(found.content)).schema.names == TYPES.schema.names
    assert found.rows == 0


def test_gzip_is_read_by_others_and_has_no_time_in_it(kitchen: Kitchen) -> None:
    found = kitchen.one(["csv", {"gzip": {"level": 9}}], TYPES)
    assert gzip.decompress(found.content) == kitchen.one(["csv"], TYPES).content
    assert (found.name, found.rows, found.content_type) == ("customers.csv.gz", 3, "application/gzip")
    assert found.content[4:8] == b"\0\0\0\0"


def test_files_are_compressed_too(kitchen: Kitchen) -> None:
    [one, other] = kitchen.render(["gzip"], files(("a.txt", b"a" * 3_000_000), ("b.txt", b"")))
    assert (one.name, gzip.decompress(one.content)) == ("a.txt.gz", b"a" * 3_000_000)
    assert (other.name, gzip.decompress(other.content)) == ("b.txt.gz", b"")


def test_files_pass_as_they_are(kitchen: Kitchen) -> None:
    for steps in ([], ["as_is"], ["manifest"]):
        [one] = kitchen.render(steps, files(("a.pdf", b"%PDF")))
        assert (one.name, one.content) == ("a.pdf", b"%PDF")


@pytest.mark.parametrize("steps", [[], ["as_is"], ["gzip"]])
def test_rows_without_a_format_are_refused(kitchen: Kitchen, steps: list[str]) -> None:
    with pytest.raises(DeliveryError, match="Put a format such as csv before"):
        kitchen.render(steps, TYPES)


@pytest.mark.parametrize("step", ["csv", "json", "parquet"])
def test_formats_refuse_files(kitchen: Kitchen, step: str) -> None:
    with pytest.raises(DeliveryError, match=f"a.txt is a file already, and {step} is made of rows"):
        kitchen.render([step], files(("a.txt", b"")))


@pytest.mark.parametrize("steps", [["csv"], ["json"], ["jsonl"], ["parquet"], ["csv", "gzip"]], ids=str)
def test_equal_data_and_stamp_give_equal_bytes(tmp_path: Path, steps: list[str]) -> None:
    rows = pa.table({"n": range(50_000), "t": [f"text {n}" for n in range(50_000)]})
    first, second = (Kitchen(tmp_path / name).one(steps, rows).content for name in ("one", "two"))
    assert first == second


@pytest.mark.parametrize("step", ["csv", "json", "parquet"])
def test_the_error_of_the_rows_themselves_is_the_one_that_is_told(kitchen: Kitchen, step: str) -> None:
    class RefusedError(DeliveryError):
        retryable = True

    def batches() -> Any:
        yield pa.record_batch({"n": [1]})
        raise RefusedError("The policy refuses the column n.")

    rows = Rows("customers", pa.RecordBatchReader.from_batches(pa.schema([("n", pa.int64())]), batches()))
    with pytest.raises(RefusedError, match=r"^The policy refuses the column n\.$"):
        kitchen.render([step], iter([rows]))


def test_rendering_takes_no_more_memory_for_more_rows(kitchen: Kitchen) -> None:
    def rows(count: int) -> Rows:
        batch = pa.record_batch({"t": ["x" * 100] * 10_000})
        return Rows(
            "customers", pa.RecordBatchReader.from_batches(batch.schema, itertools.repeat(batch, count))
        )

    largest = []
    for count in (10, 200):
        before = pa.total_allocated_bytes()
        peak = 0
        for one in kitchen.stream(["csv", "gzip"], iter([rows(count)])):
            for _ in one.chunks:
                peak = max(peak, pa.total_allocated_bytes() - before)
        largest.append(peak)
    assert largest[1] < largest[0] + 8_000_000


ALIKE = """
SELECT i::INTEGER AS small, i AS big, i * 1.5 AS "half of it", (i / 7)::DECIMAL(18, 3) AS amount,
  i % 2 = 0 AS even, CASE WHEN i % 5 > 0 THEN 'name ' || i END AS name, 'x'::BLOB AS data,
  DATE '2026-01-01' + i::INTEGER AS day, TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_seconds(i) AS at
FROM range(20000) AS rows(i)
"""


def copied_and_streamed(kitchen: Kitchen, sql: str) -> tuple[Rendered, Rendered]:
    """Render the same rows from a query that DuckDB copies, and from a stream."""
    options = [{"parquet": {"row_group_rows": 4_096}}]
    with kitchen.workshop.engine.connect() as connection:
        relation = connection.sql(sql)
        table, types = relation.to_arrow_table(), tuple(map(str, relation.types))
        unread = pa.RecordBatchReader.from_batches(table.schema, iter([]))
        copied = kitchen.one(options, iter([Rows("customers", unread, Query(connection, sql, types))]))
    return copied, kitchen.one(options, table)


def test_parquet_that_duckdb_copies_is_that_of_the_stream(kitchen: Kitchen) -> None:
    copied, streamed = copied_and_streamed(kitchen, ALIKE)
    assert (copied.name, copied.rows) == (streamed.name, streamed.rows) == ("customers.parquet", 20_000)
    read = [pq.ParquetFile(io.BytesIO(one.content)) for one in (copied, streamed)]
    assert read[0].schema_arrow.equals(read[1].schema_arrow)
    assert read[0].metadata.metadata == read[1].metadata.metadata
    assert {one.metadata.num_row_groups for one in read} <= {4, 5}
    assert read[0].read().equals(read[1].read())


def test_values_that_duckdb_would_copy_otherwise_are_streamed(kitchen: Kitchen) -> None:
    rows = pa.table({"large": pa.array([2**100], pa.decimal128(38, 0))})
    with kitchen.workshop.engine.connect() as connection:
        query = Query(connection, f"SELECT {2**100}::HUGEINT AS large", ("HUGEINT",))
        found = kitchen.one(["parquet"], iter([Rows("customers", rows.to_reader(), query)]))
    assert pq.read_table(io.BytesIO(found.content)).equals(rows)


def test_a_lost_file_of_the_lake_is_named_when_duckdb_copies(kitchen: Kitchen, tmp_path: Path) -> None:
    file = tmp_path / "part.parquet"
    pq.write_table(pa.table({"n": [1]}), file)
    with kitchen.workshop.engine.connect() as connection:
        connection.execute(f"CREATE VIEW found AS FROM read_parquet('{file}')")
        unread = pa.RecordBatchReader.from_batches(pa.schema([("n", pa.int64())]), iter([]))
        file.write_bytes(b"PAR1 no longer")
        query = Query(connection, "FROM found", ("BIGINT",))
        with pytest.raises(LakeError, match=f"{file} cannot be read: it is damaged"):
            kitchen.one(["parquet"], iter([Rows("customers", unread, query)]))
