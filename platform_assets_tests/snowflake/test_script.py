"""The generated statements are Snowflake's SQL, in the order they run, and say what the options say."""

from __future__ import annotations

import datetime as dt
import glob
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from deltalake import DeltaTable, Field, write_deltalake
from deltalake.schema import PrimitiveType
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from platform_assets.errors import ParquetError
from platform_assets.parquet.schemas import TableColumn
from platform_assets.parquet.tables import ParquetTable, TableFile, read_tables
from platform_assets.parquet.types import ParquetType
from platform_assets.snowflake.options import ScriptOptions
from platform_assets.snowflake.script import Script, _patterns, script
from platform_assets_tests.fixtures.properties import examples
from platform_assets_tests.snowflake.conftest import Write
from platform_assets_tests.snowflake.test_identifiers import NAMES


def remote(*columns: TableColumn, name: str = "orders", files: int = 1, scheme: str = "s3") -> ParquetTable:
    listed = tuple(TableFile(f"part-{number}.parquet", 10, 100) for number in range(files))
    named = columns or (TableColumn("id", ParquetType("int", bits=64), nullable=False),)
    return ParquetTable(name, f"{scheme}://bucket/landing/{name}", name, listed, named)


def of(*tables: ParquetTable, **options: Any) -> Script:
    made = script(tables, ScriptOptions(**options))
    assert made.problems == ()
    verify(made)
    return made


def verify(made: Script) -> None:
    """Every statement is one that sqlglot knows as Snowflake's, and the text holds just these statements."""
    parsed = [normal(one) for one in sqlglot.parse(known(made.text), dialect="snowflake") if one]
    assert parsed == [
        normal(sqlglot.parse_one(known(statement.sql), dialect="snowflake")) for statement in made.statements
    ]


def known(sql: str) -> str:
    """SQL without the two things in it that Snowflake's reference has and sqlglot does not parse."""
    return re.sub(r" KMS_KEY_ID = '[\w/]+'", "", sql).replace("DROP FILE FORMAT", "DROP STAGE")


def normal(parsed: exp.Expression) -> str:
    assert not list(parsed.find_all(exp.Command)), parsed
    return parsed.sql(dialect="snowflake", comments=False).strip()


def only(made: Script, purpose: str) -> str:
    (sql,) = [statement.sql for statement in made.statements if statement.purpose == purpose]
    return sql


def problem_of(*tables: ParquetTable, **options: Any) -> str:
    made = script(tables, ScriptOptions(**options))
    (problem,) = made.problems
    return problem.reason


def test_a_table_is_made_then_its_stage_then_loaded_then_the_stage_is_dropped(write: Write) -> None:
    reading = read_tables([write("staff.parquet", Time_ID=[1, 2])])
    made = of(*reading.tables, database="analytics", schema="star", prefix="dim_")
    folder = reading.tables[0].root
    assert made.text == (
        "-- 1 table with 2 rows of Parquet files\n"
        "\n"
        "-- 1 of 1: staff\n"
        f"-- 1 file, 2 rows in {folder}\n"
        "\n"
        "-- Table\n"
        'CREATE OR REPLACE TABLE ANALYTICS.STAR."dim_staff" (\n'
        '  "Time_ID" NUMBER(19, 0)\n'
        ");\n"
        "\n"
        "-- Stage\n"
        "CREATE OR REPLACE TEMPORARY STAGE ANALYTICS.STAR.DIM_STAFF_LOAD;\n"
        "\n"
        "-- Upload: PUT runs in SnowSQL, the Snowflake CLI and the drivers, not in a worksheet\n"
        f"PUT 'file://{folder}/staff.parquet' @ANALYTICS.STAR.DIM_STAFF_LOAD "
        "AUTO_COMPRESS = FALSE SOURCE_COMPRESSION = NONE OVERWRITE = TRUE;\n"
        "\n"
        "-- Load\n"
        'COPY INTO ANALYTICS.STAR."dim_staff" (\n'
        '  "Time_ID"\n'
        ")\n"
        "FROM (\n"
        "  SELECT\n"
        '    $1:"Time_ID"::NUMBER(19, 0)\n'
        "  FROM @ANALYTICS.STAR.DIM_STAFF_LOAD\n"
        ")\n"
        "FILE_FORMAT = (TYPE = PARQUET BINARY_AS_TEXT = FALSE USE_LOGICAL_TYPE = TRUE "
        "USE_VECTORIZED_SCANNER = TRUE NULL_IF = ())\n"
        "ON_ERROR = ABORT_STATEMENT;\n"
        "\n"
        "-- Clean up\n"
        "DROP STAGE ANALYTICS.STAR.DIM_STAFF_LOAD;\n"
    )


def test_the_tables_of_a_folder_come_in_order_each_with_its_own_statements(
    write: Write, tmp_path: Path
) -> None:
    for name in ("b", "a"):
        write(f"{name}.parquet")
    made = of(*read_tables([str(tmp_path)]).tables)
    assert [statement.purpose for statement in made.statements] == [
        *("table", "stage", "upload", "load", "clean-up"),
    ] * 2
    assert [table.target for table in made.tables] == ['"a"', '"b"']


def test_an_external_stage_is_where_the_files_are() -> None:
    made = of(remote(), storage_integration="lake_reader", encryption="sse-s3")
    assert only(made, "stage") == (
        "CREATE OR REPLACE TEMPORARY STAGE ORDERS_LOAD\n"
        "  URL = 's3://bucket/landing/orders/'\n"
        "  STORAGE_INTEGRATION = LAKE_READER\n"
        "  ENCRYPTION = (TYPE = 'AWS_SSE_S3')"
    )
    assert "FILES = (\n  'part-0.parquet'\n)" in only(made, "load")


@pytest.mark.parametrize(
    ("scheme", "options", "expected"),
    [
        (
            "s3",
            {"encryption": "sse-kms", "kms_key": "alias/k"},
            "(TYPE = 'AWS_SSE_KMS' KMS_KEY_ID = 'alias/k')",
        ),
        ("gs", {"encryption": "sse-kms", "kms_key": "k"}, "(TYPE = 'GCS_SSE_KMS' KMS_KEY_ID = 'k')"),
        ("s3", {"encryption": "none"}, "(TYPE = 'NONE')"),
    ],
)
def test_encryption_is_said_in_the_words_of_the_store(
    scheme: str, options: dict[str, str], expected: str
) -> None:
    stage = only(of(remote(scheme=scheme), **options), "stage")
    assert stage.endswith(f"ENCRYPTION = {expected}")
    assert "URL = 'gcs://bucket/" in stage or scheme == "s3"


def test_files_that_are_read_in_one_place_can_be_loaded_from_another(write: Write, tmp_path: Path) -> None:
    write("orders/part-0.parquet")
    write("staff.parquet")
    made = of(*read_tables([str(tmp_path)]).tables, stage_url="gs://bucket/landing")
    stages = [statement.sql for statement in made.statements if statement.purpose == "stage"]
    assert ["'gcs://bucket/landing/orders/'" in stages[0], "'gcs://bucket/landing/'" in stages[1]] == [
        True
    ] * 2
    assert not [statement for statement in made.statements if statement.purpose == "upload"]


def test_more_files_than_one_copy_takes_are_loaded_by_several_in_one_transaction() -> None:
    made = of(remote(files=2500))
    loads = [statement.sql for statement in made.statements if statement.purpose == "load"]
    assert [load.count(".parquet'") for load in loads] == [1000, 1000, 500]
    assert [statement.purpose for statement in made.statements] == [
        *("table", "stage", "begin", "load", "load", "load", "commit", "clean-up"),
    ]
    assert "-- All or nothing: stop at the first error" in made.text
    assert [statement.purpose for statement in of(remote(files=1000)).statements] == [
        "table",
        "stage",
        "load",
        "clean-up",
    ]


def test_files_are_not_removed_before_all_of_them_are_loaded() -> None:
    of(remote(files=1000), purge=True)
    assert "PURGE would remove files before all 1,001 are loaded" in problem_of(
        remote(files=1001), purge=True
    )


@pytest.mark.parametrize(
    ("on_error", "vectorized"),
    [("ABORT_STATEMENT", True), ("SKIP_FILE", True), ("CONTINUE", False), ("SKIP_FILE_3", False)],
)
@pytest.mark.parametrize("mode", ["projection", "match-by-name", "infer-schema"])
def test_the_scanner_and_what_is_null_are_said_in_every_mode(
    on_error: str, vectorized: bool, mode: Any
) -> None:
    text = of(remote(), on_error=on_error, mode=mode).text
    assert text.count(f"USE_VECTORIZED_SCANNER = {str(vectorized).upper()} NULL_IF = ()") == 1
    nested = remote(TableColumn("items", ParquetType("list")))
    if vectorized:
        of(nested, on_error=on_error, mode=mode)
    else:
        said = problem_of(nested, on_error=on_error, mode=mode)
        assert f"the vectorized scanner does not support ON_ERROR = {on_error}" in said
        assert "(items). Use ABORT_STATEMENT or SKIP_FILE." in said


INSTANT = ParquetType("timestamp", unit="us", utc=True)


@pytest.mark.parametrize(
    ("type_", "options"),
    [
        (INSTANT, {}),
        *((INSTANT, {"types": {"timestamp": one}}) for one in ("TIMESTAMP_NTZ", "DATE", "VARCHAR", "TIME")),
        (INSTANT, {"columns": {"at": "NUMBER"}}),
        *((INSTANT, {"mode": mode}) for mode in ("match-by-name", "infer-schema")),
        (ParquetType("int96"), {}),
        (ParquetType("list", utc=True), {}),
        *((ParquetType("string"), {"columns": {"at": one}}) for one in ("TIMESTAMP_LTZ", "TIMESTAMP(3)")),
    ],
)
def test_what_depends_on_the_time_zone_is_loaded_in_utc(type_: ParquetType, options: dict[str, Any]) -> None:
    made = of(remote(TableColumn("at", type_)), **options)
    assert made.before[0].sql == "ALTER SESSION SET TIMEZONE = 'UTC'"
    assert made.after[-1].sql == "ALTER SESSION UNSET TIMEZONE"


@pytest.mark.parametrize("kind", ["timestamp", "date", "string", "list"])
def test_the_time_zone_is_left_alone_where_nothing_depends_on_it(kind: str) -> None:
    unit = "us" if kind == "timestamp" else ""
    made = of(remote(TableColumn("TIMESTAMP_TZ", ParquetType(kind, unit=unit))))
    assert (made.before, made.after) == ((), ())


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        (ParquetType("duration", unit="us"), "no type for duration(us), a duration"),
        (ParquetType("period"), "a period of pandas"),
        (ParquetType("variant"), "encoded bytes, which COPY does not decode"),
    ],
)
def test_what_would_be_loaded_as_something_else_is_refused_unless_a_type_is_named(
    type_: ParquetType, said: str
) -> None:
    table = remote(TableColumn("a", type_))
    for mode in ("projection", "match-by-name"):
        problem = problem_of(table, mode=mode)
        assert problem.startswith("column a: ")
        assert said in problem
        assert f"{type_.name}=" in problem
    assert f"column a is {type_.name}" in problem_of(table, mode="infer-schema")
    assert '"a" OBJECT' in only(of(table, types={type_.kind: "OBJECT"}), "table")


def test_a_column_that_no_file_has_is_not_to_be_found_in_files(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.table({"id": [1]}))
    DeltaTable(tmp_path / "t").alter.add_columns(Field("note", PrimitiveType("string")))
    tables = read_tables([str(tmp_path)]).tables
    for mode in ("projection", "match-by-name"):
        assert '"note" VARCHAR' in only(of(*tables, mode=mode), "table")
    assert "the columns note are in the Delta log but in no file" in problem_of(*tables, mode="infer-schema")


def test_a_null_is_not_the_null_of_json() -> None:
    load = only(of(remote(TableColumn("a", ParquetType("null")))), "load")
    assert "    NULL::VARIANT\n" in load
    of(remote(TableColumn("a", ParquetType("null"))), mode="match-by-name")


def test_places_on_earth_are_bytes_or_what_is_asked_for() -> None:
    table = remote(TableColumn("a", ParquetType("geography")), TableColumn("b", ParquetType("binary")))
    assert '"a" BINARY,\n  "b" BINARY' in only(of(table), "table")
    load = only(of(table, columns={"a": "GEOGRAPHY", "b": "GEOMETRY"}), "load")
    assert 'TO_GEOGRAPHY($1:"a"::BINARY),\n    TO_GEOMETRY($1:"b"::BINARY)\n' in load


def test_of_more_files_than_are_looked_at_one_of_each_schema_is() -> None:
    files = tuple(TableFile(f"part-{number}.parquet", 1, 1) for number in range(1001))
    named = (TableColumn("id", ParquetType("date")),)
    table = ParquetTable("t", "s3://b/t", "t", files, named, examples=("part-0.parquet", "part-1000.parquet"))
    made = only(of(table, mode="infer-schema"), "table")
    assert "FILES => ('part-0.parquet', 'part-1000.parquet')" in made
    many = ParquetTable("t", "s3://b/t", "t", files, named, examples=tuple(file.path for file in files))
    assert "its files have 1,001 schemas" in problem_of(many, mode="infer-schema")


def uploaded(made: Script) -> list[str]:
    uploads = [statement.sql for statement in made.statements if statement.purpose == "upload"]
    return [sql.partition("'file://")[2].partition("'")[0] for sql in uploads]


@pytest.mark.parametrize(
    ("others", "patterns"),
    [
        ([], ["part-*0.parquet"]),
        (["_SUCCESS", "part-1.crc", ".hidden"], ["part-*0.parquet"]),
        (["part-50.parquet"], ["part-1*0.parquet", "part-2*0.parquet", "part-30.parquet"]),
        (
            ["part-120.parquet"],
            ["part-100.parquet", "part-110.parquet", "part-2*0.parquet", "part-30.parquet"],
        ),
    ],
)
def test_files_of_a_folder_are_put_by_patterns_that_match_no_other(
    write: Write, tmp_path: Path, others: list[str], patterns: list[str]
) -> None:
    names = [
        "part-100.parquet",
        "part-110.parquet",
        "part-200.parquet",
        "part-210.parquet",
        "part-30.parquet",
    ]
    for name in names:
        write(f"t/{name}")
    for name in others:
        (tmp_path / "t" / name).touch()  # empty: left out, and not to be uploaded either
    made = script(read_tables([str(tmp_path)]).tables, ScriptOptions())
    assert uploaded(made) == [f"{tmp_path}/t/{pattern}" for pattern in patterns]
    found = [Path(file).name for one in uploaded(made) for file in glob.glob(one)]
    assert sorted(found) == names


def test_many_files_are_few_uploads(write: Write, tmp_path: Path) -> None:
    first = Path(write("t/day=1/part-00000.parquet"))
    for day in (1, 2):
        (tmp_path / f"t/day={day}").mkdir(exist_ok=True)
        for number in range(150):
            (tmp_path / f"t/day={day}/part-{number:05}.parquet").write_bytes(first.read_bytes())
    made = of(*read_tables([str(tmp_path)]).tables)
    assert uploaded(made) == [f"{tmp_path}/t/day={day}/part-00*.parquet" for day in (1, 2)]


@settings(max_examples=examples(100), deadline=None)
@given(st.sets(st.text("ab1", min_size=1, max_size=5), min_size=2), st.sets(st.text("ab1", max_size=5)))
@example({"ab", "b", "bb"}, {"1b", "b1"})  # the group b, bb has a shorter suffix than all three
def test_patterns_match_just_the_names_that_they_are_made_of(names: set[str], others: set[str]) -> None:
    patterns = _patterns(sorted(names), sorted(others - names))
    assert {name for name in names | others if any(fnmatch(name, pattern) for pattern in patterns)} == names


def test_partitions_that_are_in_the_log_of_a_delta_table_alone_are_refused(tmp_path: Path) -> None:
    rows = pa.table({"id": [1], "year": [2024]})
    write_deltalake(tmp_path / "t", rows, partition_by=["year"])
    log = tmp_path / "t" / "_delta_log" / f"{0:020}.json"
    (file,) = (tmp_path / "t" / "year=2024").iterdir()
    file.rename(tmp_path / "t" / file.name)
    log.write_text(log.read_text().replace("year=2024/", ""))
    said = problem_of(*read_tables([str(tmp_path)]).tables)
    assert "the partition columns year are in the Delta log but not in the files' paths" in said


def test_options_of_tables_and_copies_are_written_as_snowflake_has_them() -> None:
    made = of(
        remote(),
        create="if-not-exists",
        transient=True,
        cluster_by={"orders": ["id"]},
        on_error="SKIP_FILE_10%",
        purge=True,
        force=True,
        file_format="formats.parquet",
    )
    assert only(made, "table") == (
        'CREATE TRANSIENT TABLE IF NOT EXISTS "orders" (\n  "id" NUMBER(19, 0) NOT NULL\n)\nCLUSTER BY ("id")'
    )
    assert only(made, "load").endswith(
        "FILE_FORMAT = (FORMAT_NAME = 'FORMATS.PARQUET')\n"
        "ON_ERROR = 'SKIP_FILE_10%'\nPURGE = TRUE\nFORCE = TRUE"
    )
    assert only(made, "file format") == (
        "CREATE FILE FORMAT IF NOT EXISTS FORMATS.PARQUET "
        "TYPE = PARQUET BINARY_AS_TEXT = FALSE USE_LOGICAL_TYPE = TRUE USE_VECTORIZED_SCANNER = FALSE "
        "NULL_IF = ()"
    )


def test_names_can_be_made_upper_case_so_that_nobody_has_to_quote_them() -> None:
    made = of(remote(TableColumn("Time_ID", ParquetType("date"))), case="upper", prefix="fact_")
    assert only(made, "table") == "CREATE OR REPLACE TABLE FACT_ORDERS (\n  TIME_ID DATE\n)"
    assert '$1:"Time_ID"::DATE' in only(made, "load")


def test_columns_that_are_one_in_upper_case_are_refused() -> None:
    table = remote(*(TableColumn(name, ParquetType("date")) for name in ("a", "A")))
    assert "columns a and A are both A in upper case" in problem_of(table, case="upper")


def test_tables_that_are_one_in_upper_case_are_refused() -> None:
    assert "orders is also ORDERS in Snowflake" in problem_of(remote(), remote(name="Orders"), case="upper")


def test_types_can_be_chosen_for_a_type_a_column_and_a_column_of_one_table() -> None:
    numbers = [TableColumn(name, ParquetType("int", bits=64)) for name in ("a", "b", "c")]
    made = of(
        remote(*numbers),
        types={"int64": "number(38,0)"},
        columns={"b": "varchar", "orders.c": "FLOAT", "staff.a": "DATE"},
    )
    assert '"a" NUMBER(38,0),\n  "b" VARCHAR,\n  "c" FLOAT' in only(made, "table")


def test_a_type_that_snowflake_lacks_is_a_problem_of_its_table_alone() -> None:
    wide = remote(TableColumn("price", ParquetType("decimal", precision=50, scale=2)), name="wide")
    made = script([wide, remote()], ScriptOptions())
    assert [table.name for table in made.tables] == ["orders"]
    assert made.problems[0].place == "wide"
    assert made.problems[0].reason.startswith("column price: decimal(50,2) has more than the 38 digits")
    of(wide, types={"decimal(50,2)": "FLOAT"})


def test_json_is_parsed_and_bytes_are_text_where_text_is_asked_for() -> None:
    table = remote(
        *(TableColumn(kind, ParquetType(kind)) for kind in ("json", "uuid", "binary", "null")),
    )
    load = only(of(table, columns={"uuid": "VARCHAR(36)", "binary": "VARCHAR"}), "load")
    assert 'PARSE_JSON($1:"json"::VARCHAR),' in load
    assert 'LOWER(REGEXP_REPLACE(HEX_ENCODE($1:"uuid"::BINARY), \'(.{8})(.{4})' in load
    assert "TO_VARCHAR($1:\"binary\"::BINARY, 'UTF-8')::VARCHAR," in load


def test_instants_are_loaded_in_utc_whatever_the_account_says() -> None:
    made = of(remote(TableColumn("at", ParquetType("timestamp", unit="us", utc=True))))
    assert made.before[0].sql == "ALTER SESSION SET TIMEZONE = 'UTC'"
    assert made.after[0].sql == "ALTER SESSION UNSET TIMEZONE"


def test_partitions_are_taken_from_the_files_names(write: Write, tmp_path: Path) -> None:
    write("t/year=2024/a.parquet")
    load = only(of(*read_tables([str(tmp_path)]).tables), "load")
    assert "REGEXP_SUBSTR(METADATA$FILENAME, '^(.*/)?year=([^/]*)/', 1, 1, 'e', 2)::NUMBER(19, 0)" in load


def test_files_keep_their_folders_in_the_stage(write: Write, tmp_path: Path) -> None:
    write("t/year=2024/it's.parquet")
    upload = only(of(*read_tables([str(tmp_path)]).tables), "upload")
    assert upload.startswith(f"PUT 'file://{tmp_path}/t/year=2024/it''s.parquet' @T_LOAD/year=2024/ ")


def test_columns_can_be_matched_by_name() -> None:
    made = of(remote(), mode="match-by-name")
    assert only(made, "load") == (
        "COPY INTO \"orders\"\nFROM @ORDERS_LOAD\nFILES = (\n  'part-0.parquet'\n)\n"
        "FILE_FORMAT = (TYPE = PARQUET BINARY_AS_TEXT = FALSE USE_LOGICAL_TYPE = TRUE "
        "USE_VECTORIZED_SCANNER = TRUE NULL_IF = ())\n"
        "MATCH_BY_COLUMN_NAME = CASE_SENSITIVE\nON_ERROR = ABORT_STATEMENT"
    )
    upper = only(of(remote(), mode="match-by-name", case="upper"), "load")
    assert "MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE" in upper


def test_snowflake_can_find_the_columns_itself() -> None:
    made = of(remote(), mode="infer-schema", database="d", schema="s")
    assert [statement.purpose for statement in made.statements] == [
        *("file format", "stage", "table", "load", "clean-up", "clean-up"),
    ]
    assert only(made, "table") == (
        'CREATE OR REPLACE TABLE D.S."orders" USING TEMPLATE (\n'
        "  SELECT ARRAY_AGG(OBJECT_CONSTRUCT(*)) WITHIN GROUP (ORDER BY ORDER_ID)\n"
        "  FROM TABLE(INFER_SCHEMA(LOCATION => '@D.S.ORDERS_LOAD', "
        "FILE_FORMAT => 'D.S.PLATFORM_PARQUET_LOAD', IGNORE_CASE => FALSE, FILES => ('part-0.parquet')))\n)"
    )


def test_what_needs_a_projection_is_refused_in_the_other_modes(write: Write, tmp_path: Path) -> None:
    write("t/year=2024/a.parquet")
    tables = read_tables([str(tmp_path)]).tables
    for mode in ("match-by-name", "infer-schema"):
        assert "use mode projection, which reads them" in problem_of(*tables, mode=mode)
    json = remote(TableColumn("j", ParquetType("json")))
    assert "use mode projection" in problem_of(json, mode="match-by-name")
    of(json, mode="match-by-name", columns={"j": "VARCHAR"})


def test_purge_never_removes_files_of_a_delta_table(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.table({"id": [1]}))
    tables = read_tables([str(tmp_path)]).tables
    of(*tables, purge=True)  # what was uploaded is a copy
    assert "that the Delta log still lists" in problem_of(*tables, purge=True, stage_url="s3://bucket/x")


def test_what_cannot_be_is_a_problem_with_what_to_do(write: Write, tmp_path: Path) -> None:
    write("t/year=2024/a.parquet")
    local = read_tables([str(tmp_path)]).tables
    assert "leave these options out" in problem_of(*local, storage_integration="i").lower()
    assert "is not on S3" in problem_of(remote(scheme="gs"), encryption="sse-s3")
    assert "it has no column day to cluster by; it has id" in problem_of(
        remote(), cluster_by={"orders": ["day"]}
    )
    inside = read_tables([str(tmp_path / "t" / "year=2024")]).tables
    assert f"Read {tmp_path}/t, and set stage_url" in problem_of(*inside, stage_url="s3://bucket/t")
    starred = read_tables([write("a*.parquet")]).tables
    assert "as a pattern" in problem_of(*starred)


def test_columns_to_cluster_by_are_taken_where_a_table_has_them_all() -> None:
    day = remote(TableColumn("day", ParquetType("date")), name="days")
    made = of(remote(), day, cluster_by={"*": ["day"]})
    tables = [statement.sql for statement in made.statements if statement.purpose == "table"]
    assert ["CLUSTER BY" in table for table in tables] == [False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "guess"}, "mode is 'guess', but must be one of projection, match-by-name, infer-schema"),
        ({"create": "replace"}, "create is 'replace', but must be one of or-replace, if-not-exists"),
        ({"case": "lower"}, "case is 'lower', but must be one of keep, upper"),
        ({"database": "d"}, "a database requires a schema"),
        ({"schema": "a; DROP TABLE b"}, "is not an identifier"),
        ({"file_format": "a b"}, "is not an identifier"),
        ({"types": {"int64": "NUMBR"}}, "'NUMBR' is not a Snowflake type"),
        ({"types": {"integer": "NUMBER"}}, "Parquet has no type 'integer'"),
        ({"on_error": "IGNORE"}, "on_error is 'IGNORE', but must be ABORT_STATEMENT"),
        ({"stage_url": "http://x"}, "stage_url is 'http://x'"),
        ({"encryption": "sse-kms"}, "kms_key and the encryption sse-kms need each other"),
        ({"kms_key": "k"}, "kms_key and the encryption sse-kms need each other"),
        ({"mode": "infer-schema", "columns": {"a": "DATE"}}, "to set types, use mode projection"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_read(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParquetError, match=re.escape(message)):
        ScriptOptions(**options)


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(ParquetError, match=r"mode is .*; case is .*; on_error is "):
        ScriptOptions(mode="x", case="y", on_error="z")  # type: ignore[arg-type]


@settings(max_examples=examples(40), deadline=None)
@given(NAMES, st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_any_names_make_a_script_of_these_statements_and_no_others(table: str, columns: list[str]) -> None:
    types = [ParquetType("date"), ParquetType("json"), ParquetType("string"), ParquetType("boolean")]
    named = [TableColumn(name, type_) for name, type_ in zip(columns, types, strict=False)]
    made = script([remote(*named, name=table.replace("/", "-"))], ScriptOptions())
    assert made.problems == ()
    statements = [one for one in sqlglot.parse(made.text, dialect="snowflake") if one is not None]
    assert len(statements) == len(made.statements)
    assert not any(list(statement.find_all(exp.Command)) for statement in statements)
    created = statements[0].find(exp.Schema)
    assert created is not None
    assert [column.name for column in created.expressions] == columns


def test_a_script_of_dates_before_any_calendar_keeps_their_type(write: Write) -> None:
    tables = read_tables([write("d.parquet", day=[dt.date(1, 1, 1)])]).tables
    assert '"day" DATE' in only(of(*tables), "table")
