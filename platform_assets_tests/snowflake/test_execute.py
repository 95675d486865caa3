"""A script, run against a server, gives the rows of the files back: values, types and nulls."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from platform_assets.errors import WarehouseError
from platform_assets.parquet.tables import read_tables
from platform_assets.snowflake.execute import Rejection, TableResult, copied, execute
from platform_assets.snowflake.options import ScriptOptions
from platform_assets.snowflake.script import Script, Statement, script
from platform_assets_tests.fixtures.snowflake import SnowflakeServer
from platform_assets_tests.snowflake.conftest import Write

NOW = dt.datetime(2024, 2, 29, 23, 59, 59, 999999)  # noqa: DTZ001 - a time of no zone
UTC = dt.UTC
NASTY = 'O\'Brien \\ "x"\n\tüñ😀 $1 %s ; -- /*'


def extended(type_: Any, *values: Any) -> pa.Array:
    return pa.ExtensionArray.from_storage(type_, pa.array(values, type_.storage_type))


COLUMNS: dict[str, tuple[pa.Array, list[Any]]] = {
    "boolean": (pa.array([True, None, False]), [True, False]),
    "int8": (pa.array([-128, None, 127], pa.int8()), [-128, 127]),
    "int16": (pa.array([-(2**15), None, 2**15 - 1], pa.int16()), [-(2**15), 2**15 - 1]),
    "int32": (pa.array([-(2**31), None, 2**31 - 1], pa.int32()), [-(2**31), 2**31 - 1]),
    "int64": (pa.array([-(2**63), None, 2**63 - 1], pa.int64()), [-(2**63), 2**63 - 1]),
    "uint8": (pa.array([0, None, 255], pa.uint8()), [0, 255]),
    "uint16": (pa.array([0, None, 2**16 - 1], pa.uint16()), [0, 2**16 - 1]),
    "uint32": (pa.array([0, None, 2**32 - 1], pa.uint32()), [0, 2**32 - 1]),
    "uint64": (pa.array([0, None, 2**64 - 1], pa.uint64()), [0, 2**64 - 1]),
    "decimal9": (
        pa.array([Decimal("-99999.9999"), None], pa.decimal128(9, 4)),
        [Decimal("-99999.9999")],
    ),
    "decimal38": (
        pa.array([Decimal("9" * 36 + ".99"), None], pa.decimal128(38, 2)),
        [Decimal("9" * 36 + ".99")],
    ),
    "float16": (pa.array([1.5, None], pa.float16()), [1.5]),
    "float32": (pa.array([-0.1, None], pa.float32()), [-0.10000000149011612]),
    "float64": (pa.array([0.1, None, -1.7976931348623157e308]), [0.1, -1.7976931348623157e308]),
    "string": (pa.array([NASTY, None, "", "007", "NULL"]), ["", "007", "NULL", NASTY]),
    "category": (pa.array(["a", None, "b"]).dictionary_encode(), ["a", "b"]),
    "some_bytes": (pa.array([b"\x00\xff'", None, b""]), [b"", b"\x00\xff'"]),
    "fixed": (pa.array([b"abcd", None], pa.binary(4)), [b"abcd"]),
    "uuid": (extended(pa.uuid(), uuid.UUID(int=5).bytes, None), [uuid.UUID(int=5).bytes]),
    "json": (extended(pa.json_(), '{"a": [1, "x"]}', None), ['{"a":[1,"x"]}']),
    "date": (
        pa.array([dt.date(1, 1, 1), None, dt.date(9999, 12, 31)]),
        [dt.date(1, 1, 1), dt.date(9999, 12, 31)],
    ),
    "time_ms": (
        pa.array([dt.time(23, 59, 59, 999000), None], pa.time32("ms")),
        [dt.time(23, 59, 59, 999000)],
    ),
    "time_us": (
        pa.array([dt.time(23, 59, 59, 999999), None], pa.time64("us")),
        [dt.time(23, 59, 59, 999999)],
    ),
    "time_ns": (pa.array([dt.time(0, 0, 0, 1), None], pa.time64("ns")), [dt.time(0, 0, 0, 1)]),
    **{
        f"timestamp_{unit}": (
            pa.array([value, None], pa.timestamp(unit)),
            [value],
        )
        for unit, value in (("ms", NOW.replace(microsecond=999000)), ("us", NOW), ("ns", NOW))
    },
    **{
        f"instant_{unit}": (
            pa.array([value, None], pa.timestamp(unit, "UTC")),
            [value.replace(tzinfo=UTC)],
        )
        for unit, value in (("ms", NOW.replace(microsecond=999000)), ("us", NOW), ("ns", NOW))
    },
    "list": (pa.array([[1, 2], None, []], pa.list_(pa.int32())), ["[1,2]", "[]"]),
    "struct": (pa.array([{"a": 1, "b": {"c": "x"}}, None]), ['{"a":1,"b":{"c":"x"}}']),
    "map": (pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int32())), ['{"k":1}']),
    "nothing": (pa.array([None, None]), []),
}
ROWS = max(len(values) for values, _ in COLUMNS.values())
SNOWFLAKE_TYPES = {
    "boolean": "BOOLEAN",
    "int8": "NUMBER(3,0)",
    "uint64": "NUMBER(20,0)",
    "decimal38": "NUMBER(38,2)",
    "string": "VARCHAR(16777216)",
    "some_bytes": "BINARY(8388608)",
    "date": "DATE",
    "time_us": "TIME(9)",  # the server knows no other fractions
    "timestamp_us": "TIMESTAMP_NTZ(9)",
    "instant_us": "TIMESTAMP_TZ(9)",
    "float64": "FLOAT",
    "list": "VARIANT",  # the server keeps all of JSON as one type
}


def query(connection: Any, sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        return [tuple(row) for row in cursor.execute(sql).fetchall()]


def load(connection: Any, *places: str, **options: Any) -> tuple[TableResult, ...]:
    reading = read_tables(places)
    made = script(reading.tables, ScriptOptions(**options))
    assert (reading.problems, made.problems) == ((), ())
    return execute(made, connection)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, snowflake_server: SnowflakeServer) -> Iterator[Any]:
    """A connection to where all types are loaded, by the text of a script, one statement after the other."""
    file = tmp_path_factory.mktemp("types") / "types.parquet"
    columns = {
        name: pa.concat_arrays([values, pa.nulls(ROWS - len(values), values.type)])
        for name, (values, _) in COLUMNS.items()
    }
    pq.write_table(pa.table(columns), file)
    made = script(read_tables([str(file)]).tables, ScriptOptions(case="upper"))
    with snowflake_server.connect(snowflake_server.create_database(), "STAR") as connection:
        for cursor in connection.execute_string(made.text, remove_comments=True):
            cursor.fetchall()
        yield connection


@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_comes_back_unchanged(loaded: Any, name: str) -> None:
    _, expected = COLUMNS[name]
    column = f'"{name.upper()}"'
    found = query(loaded, f"SELECT {column} FROM types WHERE {column} IS NOT NULL ORDER BY 1")
    assert [row[0] for row in found] == sorted(expected)
    assert [type(row[0]) for row in found] == [
        bytearray if isinstance(value, bytes) else type(value) for value in sorted(expected)
    ]
    assert query(loaded, f"SELECT COUNT(*) FROM types WHERE {column} IS NULL") == [(ROWS - len(expected),)]


def test_columns_have_the_types_of_the_files(loaded: Any) -> None:
    described = {row[0].lower(): row[1] for row in query(loaded, "DESCRIBE TABLE types")}
    assert {name: described[name] for name in SNOWFLAKE_TYPES} == SNOWFLAKE_TYPES


def test_tables_of_a_folder_are_loaded_and_their_rows_counted(
    connection: Any, write: Write, tmp_path: Path
) -> None:
    write("in/staff.parquet", Id=[1, 2], order=["a", "b"])
    write("in/orders/part-0.parquet", id=pa.array([1], pa.int16()))
    write("in/orders/part-1.parquet", id=pa.array([2**40]))
    write("in/sales.gzip", id=[1])
    told: list[tuple[str, int, int]] = []
    reading = read_tables([str(tmp_path / "in")])
    results = execute(
        script(reading.tables, ScriptOptions(prefix="dim_")),
        connection,
        lambda *progress: told.append(progress),
    )
    assert [(result.name, result.rows_loaded, result.rows_rejected, result.error) for result in results] == [
        ("orders", 2, 0, None),
        ("sales", 1, 0, None),
        ("staff", 2, 0, None),
    ]
    assert query(connection, 'SELECT "id" FROM "dim_orders" ORDER BY 1') == [(1,), (2**40,)]
    assert query(connection, 'SELECT "Id", "order" FROM "dim_staff" ORDER BY 1') == [(1, "a"), (2, "b")]
    assert [one for one in told if one[0] == "sales"] == [("sales", number, 5) for number in range(6)]
    assert results[1].statements[0].startswith('CREATE OR REPLACE TABLE "dim_sales"')
    assert len(results[1].statements) == 5


def test_a_delta_table_is_loaded_as_it_is_now(connection: Any, tmp_path: Path) -> None:
    for number in range(3):
        write_deltalake(tmp_path / "t", pa.table({"id": [number]}), mode="append")
    DeltaTable(tmp_path / "t").delete("id = 1")
    DeltaTable(tmp_path / "t").optimize.compact()
    load(connection, str(tmp_path / "t"))
    assert query(connection, 'SELECT "id" FROM "t" ORDER BY 1') == [(0,), (2,)]


def test_columns_that_are_matched_by_name_are_loaded(connection: Any, write: Write) -> None:
    (result,) = load(connection, write("t.parquet", B=[1], A=["x"]), mode="match-by-name", case="upper")
    assert (result.rows_loaded, query(connection, "SELECT A, B FROM T")) == (1, [("x", 1)])


def test_uuids_can_be_text(connection: Any, write: Write) -> None:
    name = uuid.UUID("0f0e0d0c-0b0a-4908-8706-050403020100")
    load(connection, write("t.parquet", u=extended(pa.uuid(), name.bytes)), columns={"u": "VARCHAR(36)"})
    assert query(connection, 'SELECT "u" FROM "t"') == [(str(name),)]


@pytest.mark.parametrize("above", ["", "year=1999/", "x/year=1999/sort%20of=z/"])
def test_partitions_are_found_in_the_names_of_files(
    connection: Any, write: Write, tmp_path: Path, above: str
) -> None:
    for name in ("year=2024/sort%20of=a%2Fb", "year=2023/sort%20of=__HIVE_DEFAULT_PARTITION__"):
        write(f"t/{name}/x.parquet")
    made = script(read_tables([str(tmp_path)]).tables, ScriptOptions())
    (copy,) = [statement.sql for statement in made.statements if statement.purpose == "load"]
    expressions = [line.strip().rstrip(",") for line in copy.splitlines() if "METADATA$FILENAME" in line]
    found = []
    for name in ("year=2024/sort%20of=a%2Fb", "year=2023/sort%20of=__HIVE_DEFAULT_PARTITION__"):
        # The server has no METADATA$FILENAME; what Snowflake gives there is the path in the bucket.
        selected = ", ".join(
            expression.replace("METADATA$FILENAME", f"'{above}landing/t/{name}/x.parquet'")
            for expression in expressions
        )
        found += query(connection, f"SELECT {selected}")
    assert found == [(2024, "a/b"), (2023, None)]


def test_a_table_that_fails_is_told_and_the_others_are_loaded(connection: Any, write: Write) -> None:
    files = [write("bad.parquet", day=["not a day"]), write("good.parquet")]
    bad, good = load(connection, *files, columns={"day": "DATE"})
    assert bad.error is not None
    assert bad.error.startswith('Snowflake refused `COPY INTO "bad" (`: ')
    assert "not a day" in bad.error
    assert (bad.rows_loaded, bad.statements[-1]) == (0, "DROP STAGE BAD_LOAD")
    assert (good.error, good.rows_loaded) == (None, 2)


def without(made: Script, purpose: str) -> Script:
    """The same script, with the statements of one purpose lost on the way."""
    tables = [
        replace(
            table,
            statements=tuple(statement for statement in table.statements if statement.purpose != purpose),
        )
        for table in made.tables
    ]
    return replace(made, tables=tuple(tables))


def test_a_table_that_nothing_was_loaded_into_has_failed(connection: Any, write: Write) -> None:
    made = script(read_tables([write("t.parquet", id=[1, 2, 3])]).tables, ScriptOptions())
    (result,) = execute(without(made, "upload"), connection)
    assert result.error is not None
    assert result.error.startswith('COPY loaded 0 rows into "t" of files with 3. ')
    assert (result.rows_loaded, result.statements[-1]) == (0, "DROP STAGE T_LOAD")


def test_rows_that_footers_do_not_tell_of_are_a_failure_too(connection: Any, write: Write) -> None:
    file = write("t.parquet", id=[1, 2, 3])
    made = script(read_tables([file]).tables, ScriptOptions())
    write("t.parquet", id=[1, 2, 3, 4])  # written anew after its footer was read
    (result,) = execute(made, connection)
    assert result.error is not None
    assert result.error.startswith('COPY loaded 4 rows into "t" of files with 3. ')


@pytest.mark.parametrize("options", [{}, {"case": "upper"}])
@pytest.mark.parametrize("how", ["refused", "short"])
def test_a_load_that_fails_leaves_the_table_that_it_was_to_replace(
    connection: Any, write: Write, how: str, options: dict[str, Any]
) -> None:
    made = ScriptOptions(columns={"day": "DATE"}, **options)
    first = script(read_tables([write("t.parquet", day=["2024-02-29"])]).tables, made)
    (result,) = execute(first, connection)
    assert (result.error, result.rows_loaded) == (None, 1)
    second = script(read_tables([write("t.parquet", day=["not a day", "2024-03-01"])]).tables, made)
    (result,) = execute(without(second, "upload") if how == "short" else second, connection)
    assert str(result.error).endswith(". The table keeps its last loaded data.")
    assert result.rows_loaded == 0
    assert query(connection, f"SELECT * FROM {result.target}") == [(dt.date(2024, 2, 29),)]
    third = script(read_tables([write("t.parquet", day=["2024-03-02"])]).tables, made)
    (result,) = execute(third, connection)
    assert query(connection, f"SELECT * FROM {result.target}") == [(dt.date(2024, 3, 2),)]
    assert not [name for (_, name, *_) in query(connection, "SHOW TABLES") if "_BEFORE_" in name]


@pytest.mark.parametrize("second", ["good", "bad", "short"])
def test_loads_of_many_statements_are_all_or_nothing(connection: Any, write: Write, second: str) -> None:
    write("t/part-0.parquet", day=["2024-02-29"])
    file = write("t/part-1.parquet", day=["not a day" if second == "bad" else "2024-03-01"])
    (made,) = script(
        read_tables([str(Path(file).parent)]).tables, ScriptOptions(columns={"day": "DATE"})
    ).tables
    *before, load, drop = made.statements
    # The server takes FILES of external stages only.
    loads = [
        Statement("load", load.sql.replace("FROM @T_LOAD", f"FROM @T_LOAD/part-{number}.parquet"))
        for number in ((0,) if second == "short" else (0, 1))
    ]
    whole = (*before, Statement("begin", "BEGIN"), *loads, Statement("commit", "COMMIT"), drop)
    (result,) = execute(Script((), (replace(made, statements=whole),), ()), connection)
    rows = 2 if second == "good" else 0
    assert (result.rows_loaded, query(connection, 'SELECT COUNT(*) FROM "t"')) == (rows, [(rows,)])
    said = {"good": "None", "bad": "not a day", "short": 'COPY loaded 1 rows into "t" of files with 2.'}[
        second
    ]
    assert said in str(result.error)
    assert result.statements[-1] == "DROP STAGE T_LOAD"
    assert query(connection, "SELECT 1") == [(1,)]  # the session goes on


def test_files_that_were_loaded_before_are_not_missing(write: Write, tmp_path: Path) -> None:
    write("t/part-0.parquet", id=[1])
    write("t/part-1.parquet", id=[2, 3])
    made = script(read_tables([str(tmp_path)]).tables, ScriptOptions())
    before = ("s/part-0.parquet", "LOAD_SKIPPED", 0, 0, 1, 1, "File was loaded before.")
    now = ("s/part-1.parquet", "LOADED", 2, 2, 1, 0, None)
    refused = ("s/part-1.parquet", "LOAD_FAILED", 1, 0, 1, 1, "Date 'x' is not recognized")
    for answers, rows, error in (((before, now), 2, None), ((before, refused), 0, None)):
        (result,) = execute(made, Answering(*answers))  # type: ignore[arg-type]
        assert (result.rows_loaded, result.error) == (rows, error)
    (result,) = execute(made, Answering(before))  # type: ignore[arg-type]
    assert str(result.error).startswith('COPY loaded 0 rows into "t" of files with 2. ')


def test_a_file_that_copy_names_is_not_taken_for_another_of_the_same_ending(
    write: Write, tmp_path: Path
) -> None:
    write("t/part-0.parquet", id=[1])
    write("t/1/part-0.parquet", id=[2, 3])
    made = script(read_tables([str(tmp_path)]).tables, ScriptOptions())
    refused = ("s/1/part-0.parquet", "LOAD_FAILED", 1, 0, 1, 1, "Date 'x' is not recognized")
    loaded = ("s/part-0.parquet", "LOADED", 1, 1, 1, 0, None)
    (result,) = execute(made, Answering(refused, loaded))  # type: ignore[arg-type]
    assert (result.rows_loaded, result.error) == (1, None)
    (result,) = execute(made, Answering(refused))  # type: ignore[arg-type]
    assert str(result.error).startswith('COPY loaded 0 rows into "t" of files with 1. ')


def test_an_error_that_is_not_snowflakes_is_the_failure_of_one_table(write: Write, tmp_path: Path) -> None:
    class Breaking(Answering):
        def execute(self, sql: str) -> None:
            if sql.startswith("PUT") and "bad" in sql:
                raise KeyError("no such key")

    write("bad.parquet")
    write("good.parquet")
    made = script(read_tables([str(tmp_path)]).tables, ScriptOptions())
    answer = ("s/good.parquet", "LOADED", 2, 2, 1, 0, None)
    bad, good = execute(made, Breaking(answer))  # type: ignore[arg-type]
    assert "failed before Snowflake answered" in str(bad.error)
    assert "no such key" in str(bad.error)
    assert (good.error, good.rows_loaded) == (None, 2)


def test_a_script_that_cannot_even_begin_is_an_error(connection: Any) -> None:
    broken = Script((Statement("file format", "CREATE NONSENSE x"),), (), ())
    with pytest.raises(WarehouseError, match="Snowflake refused `CREATE NONSENSE x`"):
        execute(broken, connection)


class Answer:
    """What a cursor holds after a COPY, with the columns that Snowflake gives."""

    def __init__(self, names: list[str], *rows: tuple[Any, ...]) -> None:
        self.description = [type("Column", (), {"name": name})() for name in names]
        self._rows = rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self._rows)


class Answering(Answer):
    """A connection, its cursor at the same time, to which every COPY gives these rows."""

    def __init__(self, *rows: tuple[Any, ...]) -> None:
        super().__init__(COPY_COLUMNS, *rows)

    def cursor(self) -> Answering:
        return self

    def execute(self, sql: str) -> None:
        pass

    def __enter__(self) -> Answering:
        return self

    def __exit__(self, *error: object) -> None:
        pass


COPY_COLUMNS = ["file", "status", "rows_parsed", "rows_loaded", "error_limit", "errors_seen", "first_error"]


def test_rows_that_copy_rejects_are_counted_with_the_reason() -> None:
    answer = Answer(
        COPY_COLUMNS,
        ("s/a.parquet", "LOADED", 10, 10, 1, 0, None),
        ("s/b.parquet", "PARTIALLY_LOADED", 10, 7, 10, 3, "Numeric value 'x' is not recognized"),
        ("s/c.parquet", "LOAD_FAILED", 5, 0, 1, 1, "Date 'x' is not recognized"),
        ("s/d.parquet", "LOAD_SKIPPED", 0, 0, 1, 1, "File was loaded before."),
    )
    loaded, rejections = copied(answer)  # type: ignore[arg-type]
    assert loaded == 17
    assert list(rejections) == [
        Rejection("s/b.parquet", 3, "Numeric value 'x' is not recognized"),
        Rejection("s/c.parquet", 5, "Date 'x' is not recognized"),
    ]


def test_a_copy_that_finds_no_file_loads_nothing() -> None:
    answer = Answer(["status"], ("Copy executed with 0 files processed.",))
    assert copied(answer) == (0, [])  # type: ignore[arg-type]
