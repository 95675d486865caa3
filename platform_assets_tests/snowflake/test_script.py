"""The generated statements are Snowflake's SQL, in the order they run, and say what the options say."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from platform_assets.errors import ParquetError
from platform_assets.parquet.schemas import TableColumn
from platform_assets.parquet.tables import ParquetTable, TableFile, read_tables
from platform_assets.parquet.types import ParquetType
from platform_assets.snowflake.options import ScriptOptions
from platform_assets.snowflake.script import Script, script
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


def test_more_files_than_one_copy_takes_are_loaded_by_several() -> None:
    made = of(remote(files=2500))
    loads = [statement.sql for statement in made.statements if statement.purpose == "load"]
    assert [load.count(".parquet'") for load in loads] == [1000, 1000, 500]


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
    assert "orders is ORDERS in Snowflake too" in problem_of(remote(), remote(name="Orders"), case="upper")


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
        assert "where mode projection alone finds them" in problem_of(*tables, mode=mode)
    json = remote(TableColumn("j", ParquetType("json")))
    assert "use mode projection" in problem_of(json, mode="match-by-name")
    of(json, mode="match-by-name", columns={"j": "VARCHAR"})


def test_purge_never_removes_files_of_a_delta_table(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.table({"id": [1]}))
    tables = read_tables([str(tmp_path)]).tables
    of(*tables, purge=True)  # what was uploaded is a copy
    assert "from under its log" in problem_of(*tables, purge=True, stage_url="s3://bucket/x")


def test_what_cannot_be_is_a_problem_with_what_to_do(write: Write, tmp_path: Path) -> None:
    write("t/year=2024/a.parquet")
    local = read_tables([str(tmp_path)]).tables
    assert "leave these out" in problem_of(*local, storage_integration="i").lower()
    assert "is not on S3" in problem_of(remote(scheme="gs"), encryption="sse-s3")
    assert "it has no column day to cluster by; it has id" in problem_of(
        remote(), cluster_by={"orders": ["day"]}
    )
    inside = read_tables([str(tmp_path / "t" / "year=2024")]).tables
    assert f"Read {tmp_path}/t, and say with stage_url" in problem_of(*inside, stage_url="s3://bucket/t")
    starred = read_tables([write("a*.parquet")]).tables
    assert "for a pattern" in problem_of(*starred)


def test_columns_to_cluster_by_are_taken_where_a_table_has_them_all() -> None:
    day = remote(TableColumn("day", ParquetType("date")), name="days")
    made = of(remote(), day, cluster_by={"*": ["day"]})
    tables = [statement.sql for statement in made.statements if statement.purpose == "table"]
    assert ["CLUSTER BY" in table for table in tables] == [False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "guess"}, "mode is 'guess', and can be projection, match-by-name, infer-schema"),
        ({"create": "replace"}, "create is 'replace', and can be or-replace, if-not-exists"),
        ({"case": "lower"}, "case is 'lower', and can be keep, upper"),
        ({"database": "d"}, "a database needs a schema beside it"),
        ({"schema": "a; DROP TABLE b"}, "is no identifier"),
        ({"file_format": "a b"}, "is no identifier"),
        ({"types": {"int64": "NUMBR"}}, "'NUMBR' is no Snowflake type"),
        ({"types": {"integer": "NUMBER"}}, "Parquet has no type 'integer'"),
        ({"on_error": "IGNORE"}, "on_error is 'IGNORE', and can be ABORT_STATEMENT"),
        ({"stage_url": "http://x"}, "stage_url is 'http://x'"),
        ({"encryption": "sse-kms"}, "kms_key and the encryption sse-kms go together"),
        ({"kms_key": "k"}, "kms_key and the encryption sse-kms go together"),
        ({"mode": "infer-schema", "columns": {"a": "DATE"}}, "name types with mode projection"),
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
    assert not any(list(one.find_all(exp.Command)) for one in statements)
    created = statements[0].find(exp.Schema)
    assert created is not None
    assert [column.name for column in created.expressions] == columns


def test_a_script_of_dates_before_any_calendar_keeps_their_type(write: Write) -> None:
    tables = read_tables([write("d.parquet", day=[dt.date(1, 1, 1)])]).tables
    assert '"day" DATE' in only(of(*tables), "table")
