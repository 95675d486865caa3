"""The script that prepares an account: what is in it, where it runs, and whether its grants are enough."""

from __future__ import annotations

import base64
import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlglot import exp
from typer.testing import CliRunner

from platform_assets.cli import app
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.duck import SqlEngine
from platform_assets.model.totesys import star
from platform_assets.rooms import Rooms
from platform_assets.settings import load_settings
from platform_assets.snowflake.access import SnowflakeAccess
from platform_assets.snowflake.assembly import SnowflakeRoom
from platform_assets.snowflake.refresh import refresh
from platform_assets.warehouse.snowflake import SnowflakeStage, SnowflakeWarehouse
from platform_assets_tests.fixtures.snowflake import SnowflakeServer
from platform_assets_tests.fixtures.warehouse_snowflake import local_access
from platform_assets_tests.warehouse.conformance import StarLake

ROOT = Path(__file__).parents[2]
LOADER = "PLATFORM_LOADER"
Script = Callable[..., list[str]]


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True)
class Given:
    """A configuration and the commands on it."""

    folder: Path
    database: str

    @property
    def file(self) -> Path:
        return self.folder / "own.conf"

    def configure(self, *blocks: str) -> None:
        lines = [
            f'include file("{ROOT / "config" / "platform.conf"}")',
            f'state_dir = "{self.folder / "state"}"',
            *blocks,
        ]
        self.file.write_text("\n".join(lines), encoding="utf-8")

    def run(self, *options: str) -> Any:
        return CliRunner().invoke(
            app, ["snowflake", "setup-script", *options], env={"PLATFORM_CONFIG": str(self.file)}
        )

    def statements(self, *options: str) -> list[str]:
        done = self.run(*options)
        assert done.exit_code == 0, done.output
        return statements_in(done.stdout)

    def account(self, more: str = "", user: str = "loader") -> str:
        return (
            f'account = "org-acc", user = {user}, private_key = "secret://file/./key.p8", '
            f"role = platform_loader, warehouse = loading_wh, database = {self.database} {more}"
        )


def statements_in(script: str) -> list[str]:
    lines = [line for line in script.splitlines() if line and not line.startswith("--")]
    assert all(line.endswith(";") for line in lines)
    return [line.removesuffix(";") for line in lines]


@pytest.fixture
def given(tmp_path: Path, key: rsa.RSAPrivateKey) -> Given:
    (tmp_path / "key.p8").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return Given(tmp_path, "ANALYTICS")


STAGE = ', stage { url = "s3://processed/lake", storage_integration = lake_reader }'
FEED = 'watches.landing.place = landing\nfeeds.prices { watch = landing, pattern = "*.csv", format = csv }'


def whole(given: Given) -> None:
    """Configure all that there is: a warehouse with a stage, the copies, feeds, a column that is masked."""
    given.configure(
        f"warehouse {{ engine = snowflake, snowflake {{ {given.account(STAGE)} }} }}",
        f"snowflake {{ {given.account(', schema = copies')} }}",
        FEED,
        "dlp.rules = null",
        'dlp.rules.staff { action = mask, info_types = [EMAIL_ADDRESS], places = ["star/dim_staff.*"] }',
    )


WHOLE = ("--storage-role", "arn:aws:iam::123456789012:role/lake", "--allow", "203.0.113.0/24", "--columns")


def test_everything_that_the_configuration_uses_is_created(given: Given, key: rsa.RSAPrivateKey) -> None:
    whole(given)
    made = given.statements(*WHOLE)
    assert made[:7] == [
        "USE ROLE SYSADMIN",
        "CREATE WAREHOUSE IF NOT EXISTS LOADING_WH WAREHOUSE_SIZE = XSMALL AUTO_SUSPEND = 60 "
        "AUTO_RESUME = TRUE INITIALLY_SUSPENDED = TRUE",
        "CREATE DATABASE IF NOT EXISTS ANALYTICS",
        *(
            f"CREATE SCHEMA IF NOT EXISTS ANALYTICS.{name} WITH MANAGED ACCESS"
            for name in ("COPIES", '"policies"', '"star"', '"platform"')
        ),
    ]
    assert 'CREATE SCHEMA IF NOT EXISTS ANALYTICS."uploads" WITH MANAGED ACCESS' in made
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert f"ALTER USER LOADER SET RSA_PUBLIC_KEY = '{base64.b64encode(public).decode()}'" in made
    assert "CREATE USER IF NOT EXISTS LOADER TYPE = SERVICE" in " ".join(made)
    assert (
        "CREATE STORAGE INTEGRATION IF NOT EXISTS LAKE_READER TYPE = EXTERNAL_STAGE STORAGE_PROVIDER = 'S3' "
        "ENABLED = TRUE STORAGE_AWS_ROLE_ARN = 'arn:aws:iam::123456789012:role/lake' "
        "STORAGE_ALLOWED_LOCATIONS = ('s3://processed/lake/')"
    ) in made
    assert "ALTER USER LOADER SET NETWORK_POLICY = LOADER_NETWORK" in made
    assert "ALTER NETWORK POLICY LOADER_NETWORK SET ALLOWED_IP_LIST = ('203.0.113.0/24')" in made
    for table, column in (
        ('"star"."dim_staff"', '"email_address"'),
        ('"COPIES"."DIM_STAFF"', '"EMAIL_ADDRESS"'),
    ):
        place = f"ALTER TABLE {table} MODIFY COLUMN {column}"
        assert f'{place} SET TAG "policies"."PLATFORM_INFO_TYPE" = \'EMAIL_ADDRESS\'' in made
        assert f'{place} SET MASKING POLICY "policies"."PLATFORM_MASK_VARCHAR"' in made
    assert len(made) - len(set(made)) == sum(one.startswith("USE ROLE") for one in made) - len(
        {one for one in made if one.startswith("USE ROLE")}
    )


def test_the_role_that_sees_masked_values_is_given_to_nobody(given: Given) -> None:
    whole(given)
    made = given.statements(*WHOLE)
    assert "CREATE ROLE IF NOT EXISTS PII_READER" in made
    assert [one for one in made if one.startswith("GRANT") and "PII_READER" in one] == []
    assert [one for one in made if "IS_ROLE_IN_SESSION('PII_READER')" in one]


def test_before_the_first_load_nothing_is_set_on_columns(given: Given) -> None:
    whole(given)
    text = given.run(*WHOLE[:-1]).stdout
    assert "CREATE MASKING POLICY" in text
    assert "ALTER TABLE" not in text
    assert "the script of --columns sets them on the tables' columns" in text


# What the parser takes as it is. All else it parses to the end.
PASSED_THROUGH = (
    *("CREATE SCHEMA", "CREATE ROLE", "CREATE USER", "ALTER USER", "GRANT ROLE", "GRANT SELECT ON ALL"),
    *("GRANT SELECT ON FUTURE", "CREATE NETWORK POLICY", "ALTER NETWORK POLICY", "CREATE MASKING POLICY"),
    *("ALTER TABLE",),
)


def test_a_parser_of_snowflakes_dialect_takes_every_statement(
    given: Given, caplog: pytest.LogCaptureFixture
) -> None:
    whole(given)
    caplog.set_level(logging.CRITICAL, "sqlglot")
    passed = set()
    for statement in given.statements(*WHOLE):
        [parsed] = sqlglot.parse(statement, dialect="snowflake")
        assert parsed is not None
        if list(parsed.find_all(exp.Command)):
            passed.add(next((one for one in PASSED_THROUGH if statement.startswith(one)), statement))
    assert passed == set(PASSED_THROUGH)


# What fakesnow has run, and what it does not know: roles, users, grants, integrations, policies.
RAN = {
    *("USE ROLE", "USE DATABASE", "CREATE DATABASE", "CREATE SCHEMA", "CREATE STAGE", "CREATE TAG"),
    "ALTER TABLE SET TAG",
}
NOT_KNOWN = {
    *("CREATE WAREHOUSE", "CREATE ROLE", "CREATE USER", "ALTER USER", "GRANT", "CREATE STORAGE INTEGRATION"),
    *("DESCRIBE INTEGRATION", "CREATE NETWORK POLICY", "ALTER NETWORK POLICY", "CREATE MASKING POLICY"),
    "ALTER TABLE SET MASKING POLICY",
}


def test_a_local_snowflake_runs_what_it_knows(given: Given, caplog: pytest.LogCaptureFixture) -> None:
    instance = pytest.importorskip("fakesnow.instance", reason="`make test` installs fakesnow")
    caplog.set_level(logging.CRITICAL, "sqlglot")
    whole(given)
    ran, refused = set(), set()
    with instance.FakeSnow().connect("OTHER", "PUBLIC") as connection, connection.cursor() as cursor:
        for statement in given.statements(*WHOLE):
            kind = kind_of(statement)
            try:
                # It knows schemas, and not who manages access to them.
                cursor.execute(statement.removesuffix(" WITH MANAGED ACCESS"))
                ran.add(kind)
            except Exception:  # noqa: BLE001 - it fails in many ways at what it does not know
                refused.add(kind)
        cursor.execute("SELECT schema_name FROM ANALYTICS.information_schema.schemata")
        schemas = {name for (name,) in cursor.fetchall()}
    assert {"COPIES", "policies", "star", "platform", "uploads"} <= schemas
    assert (ran, refused) == (RAN, NOT_KNOWN)


def kind_of(statement: str) -> str:
    if statement.startswith("ALTER TABLE"):
        return "ALTER TABLE SET TAG" if " SET TAG " in statement else "ALTER TABLE SET MASKING POLICY"
    return next(kind for kind in (*RAN, *NOT_KNOWN) if statement.startswith(f"{kind} "))


@dataclass(frozen=True)
class _RecordedCursor:
    given: Any
    said: list[str]

    def __enter__(self) -> _RecordedCursor:
        return self

    def __exit__(self, *_: object) -> None:
        self.given.close()

    def execute(self, sql: str, *arguments: Any, **options: Any) -> Any:
        self.said.append(sql)
        return self.given.execute(sql, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.given, name)


@dataclass(frozen=True)
class _RecordedConnection:
    given: Any
    said: list[str]

    def cursor(self) -> _RecordedCursor:
        return _RecordedCursor(self.given.cursor(), self.said)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.given, name)


@dataclass(frozen=True)
class RecordedAccess(SnowflakeAccess):
    """Access whose sessions note every statement."""

    said: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def connect(self, **session_parameters: Any) -> Iterator[Any]:
        with super().connect(**session_parameters) as connection:
            yield _RecordedConnection(connection, self.said)


Privilege = tuple[str, str]
"""A privilege and what it is on, such as `CREATE TABLE` and `SCHEMA star`."""


def needed(sql: str, schema: str) -> Iterator[Privilege]:
    """Give the privileges on what exists before the first load; what a load creates is its own.

    Args:
        sql: A statement of a load.
        schema: The session's schema.
    """
    for parsed in sqlglot.parse(sql, dialect="snowflake"):
        assert parsed is not None
        if isinstance(parsed, exp.Create):
            name = parsed.find(exp.Table)
            kind = parsed.kind
            assert name is not None
            # A temporary table needs no privilege; a temporary stage does.
            is_temporary = parsed.find(exp.TemporaryProperty) is not None
            assert kind in ("TABLE", "VIEW", "STAGE"), sql
            if kind != "TABLE" or not is_temporary:
                yield f"CREATE {kind}", f"SCHEMA {name.db or schema}"
        if found := re.search(r"STORAGE_INTEGRATION = (\w+)", sql):
            yield "USAGE", f"INTEGRATION {found[1]}"
        for table in parsed.find_all(exp.Table):
            if table.db and table.db.lower() != "information_schema":
                yield "USAGE", f"SCHEMA {table.db}"


def granted(statements: list[str], role: str, database: str) -> set[Privilege]:
    found = set()
    for statement in statements:
        match = re.fullmatch(rf"GRANT (.+) ON (\w+) (\S+) TO ROLE {role}", statement)
        if match is not None:
            on = match[3].removeprefix(f"{database}.").strip('"')
            found |= {(privilege, f"{match[2]} {on}") for privilege in match[1].split(", ")}
    return found


def test_loads_need_every_privilege_that_is_granted_and_no_other(
    given: Given, snowflake_server: SnowflakeServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database = snowflake_server.create_database(schema="PUBLIC")
    request.addfinalizer(lambda: snowflake_server.drop_database(database))
    given = Given(given.folder, database)
    whole(given)
    made = given.statements(*WHOLE)
    plain = local_access(snowflake_server, database)
    access = RecordedAccess(**{column.name: getattr(plain, column.name) for column in fields(plain)})
    with plain.connect() as administrator, administrator.cursor() as cursor:
        for statement in made:
            if statement.startswith("CREATE SCHEMA"):
                cursor.execute(statement.removesuffix(" WITH MANAGED ACCESS"))
    # A warehouse whose lake Snowflake reads itself; a feed's table; the copies, uploaded.
    lake = StarLake.with_rows(tmp_path / "lake")
    stage = SnowflakeStage(Path(lake.lake.processed).as_uri(), "LAKE_READER")
    warehouse = SnowflakeWarehouse(
        access, SqlEngine(256, 2, tmp_path / "spill"), tables=star.TABLES, stage=stage
    )
    loaded = warehouse.load(lake.lake, lake.tables)
    assert not [one.stopped for one in loaded.values() if one.stopped]
    assert warehouse.write(("uploads", "prices"), pa.table({"price": [1, 2]}).to_reader()) == 2
    assert warehouse.status()
    asked = {one for sql in access.said for one in needed(sql, "platform")}
    options = Rooms(load_settings(given.file)).of(SnowflakeRoom).copies().options
    table: LakeTable = lake.lake.star(star.TABLES[0])
    with access.connect() as connection:
        connection.cursor().execute('USE SCHEMA "COPIES"')
        start = len(access.said)
        done = refresh(table.uri, options, connection, name=star.TABLES[0].name)
    assert done.result.error is None
    asked |= {one for sql in access.said[start:] for one in needed(sql, "COPIES")}
    asked |= {
        ("USAGE", "SCHEMA COPIES"),
        ("USAGE", "WAREHOUSE LOADING_WH"),
        ("USAGE", f"DATABASE {database}"),
    }
    assert granted(made, LOADER, database) == asked


@pytest.mark.parametrize(
    ("blocks", "options", "expected"),
    [
        ((), (), "The configuration uses no Snowflake account"),
        (("warehouse",), (), "needs the AWS role by which Snowflake reads the bucket"),
        (("warehouse",), ("--account", "other"), "found other; expected ORG-ACC"),
        (("warehouse",), (*WHOLE, "--allow", "2001:db8::1"), "2001:db8::1 is not an IPv4 address"),
        (("warehouse",), (*WHOLE, "--public-key", "key.p8"), "holds no public key as PEM text"),
        (("warehouse",), (*WHOLE, "--warehouse-size", "huge"), "--warehouse-size huge does not exist"),
        (("warehouse", "two"), WHOLE, "found no --account; expected ORG-ACC or TWO-ACC"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_missing_is_said(
    given: Given,
    blocks: tuple[str, ...],
    options: tuple[str, ...],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(given.folder)
    known = {
        "warehouse": f"warehouse {{ engine = snowflake, snowflake {{ {given.account(STAGE)} }} }}",
        "two": f"snowflake {{ {given.account().replace('org-acc', 'two-acc')} }}",
    }
    given.configure(*(known[name] for name in blocks))
    done = given.run(*options)
    assert done.exit_code == 1
    assert expected in " ".join(done.output.split())


def test_the_public_key_of_a_file_needs_no_private_key(given: Given, key: rsa.RSAPrivateKey) -> None:
    whole(given)
    expected = next(statement for statement in given.statements(*WHOLE) if "RSA_PUBLIC_KEY" in statement)
    (given.folder / "key.p8").unlink()
    public = given.folder / "key.pub"
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    assert expected in given.statements(*WHOLE, "--public-key", str(public))
    refused = given.run(*WHOLE)
    assert refused.exit_code == 1
    assert "key.p8 cannot be read" in refused.output


def test_a_user_with_a_password_is_of_the_type_that_may_have_one(given: Given) -> None:
    given.configure(
        'snowflake { account = org-acc, user = loader, password = "secret://env/NO_SUCH_PASSWORD", '
        "warehouse = w, database = d }"
    )
    done = given.run("--output", str(given.folder / "setup.sql"))
    assert (done.exit_code, done.stdout) == (0, "")
    made = (given.folder / "setup.sql").read_text(encoding="utf-8")
    assert "CREATE USER IF NOT EXISTS LOADER TYPE = LEGACY_SERVICE" in made
    assert "Set the password of LOADER yourself" in made
    assert "RSA_PUBLIC_KEY" not in made
    assert "GRANT USAGE, CREATE TABLE, CREATE STAGE ON SCHEMA D.PUBLIC TO ROLE PLATFORM_LOADER" in made
