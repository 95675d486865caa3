"""The command writes a script, runs it on request, and its exit code says whether anything was left out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from platform_assets.errors import SettingsError
from platform_assets.snowflake import command
from platform_assets.snowflake.execute import Rejection, TableResult
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.snowflake import SnowflakeServer
from platform_assets_tests.snowflake.conftest import Write


def unconfigured() -> Any:
    raise SettingsError("The configuration has no block snowflake.")


def run(*arguments: str, app: typer.Typer | None = None) -> Result:
    return CliRunner().invoke(app or command.snowflake_app(unconfigured), ["script", *arguments])


def test_the_script_goes_to_the_file(write: Write, tmp_path: Path) -> None:
    write("in/staff.parquet")
    done = run(
        *(
            str(tmp_path / "in"),
            "-o",
            str(tmp_path / "all_tables.sql"),
            "--prefix",
            "dim_",
            "--case",
            "upper",
        ),
        *("--database", "analytics", "--schema", "star", "--create", "if-not-exists", "--transient"),
    )
    assert (done.exit_code, done.stderr) == (0, "")
    assert "all_tables.sql: 1 table with 2 rows." in done.stdout
    text = (tmp_path / "all_tables.sql").read_text()
    assert "CREATE TRANSIENT TABLE IF NOT EXISTS ANALYTICS.STAR.DIM_STAFF (" in text


def test_without_a_file_the_script_goes_to_standard_output(write: Write) -> None:
    done = run(
        write("staff.parquet", id=[1], name=["x"]),
        *("--type", "int64=NUMBER(38,0)", "--column", "staff.name=VARCHAR(10)", "--cluster-by", "name,id"),
        *("--on-error", "SKIP_FILE", "--purge", "--force", "--mode", "projection", "--name", "people"),
        *("--column", "people.name=VARCHAR(20)"),
    )
    assert done.exit_code == 0
    assert done.stdout.startswith("-- 1 table with 1 row of Parquet files\n")
    for piece in (
        '"id" NUMBER(38,0)',
        '"name" VARCHAR(20)',
        'CLUSTER BY ("name", "id")',
        "ON_ERROR = SKIP_FILE\nPURGE = TRUE\nFORCE = TRUE;",
    ):
        assert piece in done.stdout


def test_a_bad_file_is_named_the_others_are_written_and_the_exit_code_is_1(
    write: Write, tmp_path: Path
) -> None:
    write("in/good.parquet")
    (tmp_path / "in" / "bad.parquet").write_bytes(b"PAR1 and no more")
    done = run(str(tmp_path / "in"), "-o", str(tmp_path / "out.sql"))
    assert done.exit_code == 1
    assert f"Left out: {tmp_path}/in/bad.parquet: it is truncated at 16 bytes" in done.stderr
    assert "1 table with 2 rows, 1 left out." in done.stdout
    assert '"good"' in (tmp_path / "out.sql").read_text()


CONFIG = """
paths = [PATH]
database = analytics
schema = star
prefix = dim_
stage-url = "s3://lake/landing"
storage_integration = lake_reader
encryption = sse-s3
transient = true
on-error = CONTINUE
type { "decimal(9,2)" = FLOAT, int64 = "NUMBER(38,0)" }
column { staff.id = VARCHAR, "note" = "VARCHAR(10)" }
cluster-by { staff = [id] }
"""


def test_options_can_be_in_a_file_and_what_is_given_wins(write: Write, tmp_path: Path) -> None:
    write("in/staff.parquet", id=[1], n=[2])
    config = tmp_path / "load.conf"
    config.write_text(CONFIG.replace("PATH", f'"{tmp_path}/in"'))
    done = run("--config", str(config), "--prefix", "d_", "--permanent", "--column", "n=FLOAT")
    assert (done.exit_code, done.stderr) == (0, "")
    for piece in (
        'CREATE OR REPLACE TABLE ANALYTICS.STAR."d_staff" (\n  "id" VARCHAR,\n  "n" FLOAT\n)',
        'CLUSTER BY ("id")',
        "URL = 's3://lake/landing/'\n  STORAGE_INTEGRATION = LAKE_READER\n",
        "  ENCRYPTION = (TYPE = 'AWS_SSE_S3')",
        "ON_ERROR = CONTINUE;",
    ):
        assert piece in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prefx = a", "prefx is not an option"),
        ("purge = often", "purge is 'often', but must be true or false"),
        ("prefix = [a]", "prefix is ['a'], not text"),
        ("type = a", "type is not a block of NAME = TYPE"),
        ("column { a = 1 }", "column is 1 at a, but must be the name of a type"),
        ("paths = [1]", "paths is not a list of texts"),
        ("paths = [", "cannot be read"),
        ("mode = guess, paths = [x]", "mode is 'guess'"),
        ("grouping = guess, paths = [x]", "grouping is 'guess', but must be auto, file, folder"),
    ],
)
def test_what_is_wrong_in_the_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "load.conf").write_text(text)
    done = run("--config", str(tmp_path / "load.conf"))
    assert done.exit_code == 1
    assert message in done.stderr


def test_a_file_of_options_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = run("--config", str(tmp_path / "none.conf"))
    assert (done.exit_code, "none.conf cannot be read" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "No path was given"),
        (("nowhere",), "Nothing exists at nowhere. Check the path."),
        (("nowhere", "--type", "int64"), "--type int64 names no type; write it as NAME=TYPE."),
        (("nowhere", "--encryption", "x"), "encryption is 'x', but must be one of none, sse-s3, sse-kms"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_script_that_cannot_be_written_is_said(write: Write, tmp_path: Path) -> None:
    done = run(write("a.parquet"), "-o", str(tmp_path / "no" / "folder.sql"))
    assert done.exit_code == 1
    assert "cannot be written to" in done.stderr


def test_where_to_load_is_asked_for_only_when_it_is_to_be_loaded(write: Write) -> None:
    file = write("a.parquet")
    assert run(file).exit_code == 0
    done = run(file, "--execute")
    assert (done.exit_code, "no block snowflake" in done.stderr) == (1, True)


def test_a_connection_that_the_tools_of_snowflake_do_not_know_is_said(write: Write) -> None:
    done = run(write("a.parquet"), "--execute", "--connection", "nowhere")
    assert done.exit_code == 1
    assert "The connection nowhere of connections.toml could not be opened: " in done.stderr


@pytest.fixture
def app(snowflake_server: SnowflakeServer, snowflake_database: str) -> typer.Typer:
    return command.snowflake_app(lambda: snowflake_server.connect(snowflake_database, "STAR"))


def test_it_is_loaded_and_what_became_of_it_is_told(
    write: Write, tmp_path: Path, app: typer.Typer, snowflake_server: SnowflakeServer, snowflake_database: str
) -> None:
    write("in/staff.parquet", id=[1, 2, 3])
    write("in/dates.parquet", id=[1])
    done = run(str(tmp_path / "in"), "--execute", "--case", "upper", app=app)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "4 rows were loaded and 0 rejected in" in done.stdout
    assert ["staff", "3", "0"] in [line.split()[:3] for line in done.stdout.splitlines()]
    with snowflake_server.connect(snowflake_database, "STAR") as connection:
        assert connection.cursor().execute("SELECT COUNT(*) FROM staff").fetchall() == [(3,)]


def test_a_table_that_cannot_be_loaded_is_told_and_the_exit_code_is_1(write: Write, app: typer.Typer) -> None:
    done = run(
        *(write("a.parquet", day=["x"]), write("b.parquet"), "--execute", "--column", "day=DATE"), app=app
    )
    assert done.exit_code == 1
    assert 'a: Snowflake refused `COPY INTO "a" (`' in done.stderr
    assert "2 rows were loaded and 0 rejected in" in done.stdout


def test_rows_that_were_rejected_are_told_with_their_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    rejections = tuple(Rejection(f"part-{number}", 1, "not a date") for number in range(25))
    result = TableResult("t[0]", '"t[0]"', 1234, rejections, 2.0, (), None)
    command._print_results([result])
    said = capsys.readouterr().out
    assert "t[0]" in said
    assert "1,234 rows were loaded and 25 rejected in 2.0 s." in said
    assert not command._is_whole([result])
    said = capsys.readouterr().err
    assert "t[0]: 1 rows of part-0 were rejected: not a date" in said
    assert "5 further files had rows rejected." in said


def test_s3_is_read_with_the_options_of_the_lake(s3_server: S3Server, s3_bucket: str, write: Write) -> None:
    s3_server.client().upload_file(write("a.parquet"), s3_bucket, "in/a.gzip")
    app = command.snowflake_app(unconfigured, lambda: s3_server.storage_options)
    done = run(f"s3://{s3_bucket}/in", "--storage-integration", "lake", app=app)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"URL = 's3://{s3_bucket}/in/'\n  STORAGE_INTEGRATION = LAKE;" in done.stdout


def loaded_by(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


# An empty `snowflake` and `google` are there from the start where a package shares the name with others.
HEAVY = {
    "snowflake.connector",
    "google.auth",
    "google.cloud",
    "cryptography",
    "deltalake",
    "duckdb",
    "pandas",
    "dagster",
    "boto3",
}


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import platform_assets.snowflake.command", HEAVY | {"pyarrow", "rich.progress"}),
        (
            "import platform_assets.snowflake.script, platform_assets.snowflake.execute, "
            "platform_assets.snowflake.refresh, platform_assets.snowflake.connect",
            HEAVY,
        ),
    ],
)
def test_importing_costs_nothing_that_is_not_used(code: str, unwanted: set[str]) -> None:
    assert loaded_by(code) & unwanted == set()


def test_writing_a_script_of_local_files_needs_no_package_of_snowflake(write: Write) -> None:
    file: Callable[..., str] = write
    code = (
        "from platform_assets.parquet.tables import read_tables\n"
        "from platform_assets.snowflake.script import script\n"
        "from platform_assets.snowflake.options import ScriptOptions\n"
        f"script(read_tables([{file('a.parquet')!r}]).tables, ScriptOptions())"
    )
    assert loaded_by(code) & HEAVY == set()
