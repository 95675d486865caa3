"""The Snowflake warehouse: what the conformance suite does not ask of every engine."""

from __future__ import annotations

import datetime as dt
import gzip
import http.client
import json
import math
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlglot import exp

from platform_assets.errors import WarehouseBusy, WarehouseError
from platform_assets.lake.duck import SqlEngine
from platform_assets.model.totesys import star
from platform_assets.snowflake.access import SnowflakeAccess
from platform_assets.snowflake.resources import snowflake_resource
from platform_assets.warehouse.interface import Load
from platform_assets.warehouse.snowflake import SnowflakeStage, SnowflakeWarehouse
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.snowflake import SnowflakeServer
from platform_assets_tests.fixtures.warehouse_snowflake import local_access
from platform_assets_tests.warehouse.conformance import MODEL, StarLake, fetch, row_of

pytestmark = pytest.mark.sampled(2)

_, DESIGN, _, PAYMENT = MODEL
ACCOUNT = {"account": "ORGANISATION-ACCOUNT", "user": "LOADER", "database": "SALES", "warehouse": "COMPUTE"}


# Statements of a load that write one star table.
OF_ONE_TABLE = ('INSERT INTO "star"."fact_payment"', 'MERGE INTO "star"."dim_date"')


@dataclass(frozen=True)
class Denial:
    """What Snowflake says to statements that begin in some way."""

    statement: str
    code: int
    message: str
    state: str = "42501"


@dataclass
class Race:
    """Another session that acts once before a statement of some beginning, and the server's answer then."""

    statement: str
    other: Callable[[], object]
    answer: Denial | None
    is_over: bool = False


@dataclass
class Gate:
    """Stands before the local server: keeps what is asked, and denies what a role may not do.

    The local server has no roles. What is denied here is told as Snowflake tells it.
    """

    server: SnowflakeServer
    denials: list[Denial] = field(default_factory=list)
    races: list[Race] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    logins: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> SnowflakeServer:
        return SnowflakeServer(self.server.host, self.port)

    def answer(self, path: str, body: bytes) -> dict[str, Any] | None:
        """What is said here; None where the server is to answer."""
        if path.startswith("/session/v1/login-request"):
            self.logins.append(json.loads(body)["data"])
            return self._denied("LOGIN", login=True)
        if path.startswith("/queries/v1/query-request"):
            asked = json.loads(body)
            if not asked.get("describeOnly"):
                self.statements.append(asked["sqlText"])
            return self._overtaken(asked["sqlText"]) or self._denied(asked["sqlText"])
        return None

    def _overtaken(self, statement: str) -> dict[str, Any] | None:
        for race in self.races:
            if not race.is_over and re.match(race.statement, statement, re.DOTALL):
                race.is_over = True
                race.other()
                return self._said(race.answer, login=False) if race.answer is not None else None
        return None

    def _denied(self, statement: str, *, login: bool = False) -> dict[str, Any] | None:
        for denial in self.denials:
            if re.match(denial.statement, statement, re.DOTALL):
                return self._said(denial, login=login)
        return None

    def _said(self, denial: Denial, *, login: bool) -> dict[str, Any]:
        code = f"{denial.code:06d}"
        data = {} if login else {"errorCode": code, "sqlState": denial.state}
        return {"data": data, "code": code, "message": denial.message, "success": False}


@pytest.fixture
def gate(snowflake_server: SnowflakeServer) -> Iterator[Gate]:
    gate = Gate(snowflake_server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without these, each answer waits for an acknowledgement that is sent late.
        wbufsize = 65_536
        disable_nagle_algorithm = True

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            plain = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            said = gate.answer(self.path, plain)
            if said is not None:
                return self._reply(200, [("Content-Type", "application/json")], json.dumps(said).encode())
            behind = http.client.HTTPConnection(gate.server.host, gate.server.port, timeout=PATIENCE)
            behind.request(self.command, self.path, body, dict(self.headers))
            response = behind.getresponse()
            answer = response.read()
            kept = [
                (k, v) for k, v in response.getheaders() if k.lower() in ("content-type", "content-encoding")
            ]
            behind.close()
            return self._reply(response.status, kept, answer)

        do_GET = do_POST = do_PUT = do_HEAD = _pass_on  # noqa: N815 - as http.server calls them

        def _reply(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    gate.port = httpd.server_address[1]
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
    thread.start()
    yield gate
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def access(gate: Gate) -> SnowflakeAccess:
    """Access to the server by way of the gate, in a new database."""
    return local_access(gate.address, gate.server.create_database(schema="PUBLIC"))


@pytest.fixture
def warehouse(access: SnowflakeAccess, tmp_path: Path) -> SnowflakeWarehouse:
    return SnowflakeWarehouse(access, SqlEngine(256, 2, tmp_path / "spill"), wait=300, tables=MODEL)


@pytest.fixture
def lake(tmp_path: Path) -> StarLake:
    return StarLake.with_rows(tmp_path / "lake", MODEL)


def load(warehouse: SnowflakeWarehouse, lake: StarLake, *names: str) -> dict[str, Load]:
    return warehouse.load(lake.lake, [lake.table(name) for name in names] if names else lake.tables)


@pytest.mark.parametrize(
    ("module", "dagster"),
    [
        ("platform_assets.warehouse.snowflake", "dagster"),
        ("platform_assets.snowflake.resources", "dagster_snowflake"),
    ],
)
def test_importing_the_warehouse_imports_nothing_of_snowflakes(module: str, dagster: str) -> None:
    heavy = ("snowflake.", dagster, "cryptography", "pandas")
    code = f"import sys, {module}; print([name for name in sys.modules if name.startswith({heavy!r})])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_secrets_are_asked_for_when_a_session_is_opened_and_are_in_no_repr() -> None:
    asked: list[str] = []

    def secret() -> str:
        asked.append("password")
        return "correct horse"

    access = SnowflakeAccess(**ACCOUNT, password=secret)
    assert repr(access).count("secret") == 0
    assert asked == []
    assert access.arguments()["password"] == "correct horse"
    assert "correct horse" not in repr(access)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey, passphrase: str | None = None) -> str:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return text.decode()


@pytest.mark.parametrize("passphrase", [None, "pässphrase"])
def test_a_key_pair_is_given_to_the_connector_as_it_takes_it(
    key: rsa.RSAPrivateKey, passphrase: str | None
) -> None:
    access = SnowflakeAccess(
        **ACCOUNT,
        role="LOADERS",
        private_key=lambda: pem(key, passphrase),
        private_key_passphrase=None if passphrase is None else lambda: passphrase,
    )
    arguments = access.arguments({"LOCK_TIMEOUT": 60})
    given = serialization.load_der_private_key(arguments["private_key"], None)
    assert given.private_numbers() == key.private_numbers()  # type: ignore[union-attr]
    assert "password" not in arguments
    assert {name: arguments[name] for name in (*ACCOUNT, "role")} == ACCOUNT | {"role": "LOADERS"}
    parameters = arguments["session_parameters"]
    assert parameters["QUERY_TAG"] == "platform_assets"
    assert (parameters["TIMEZONE"], parameters["LOCK_TIMEOUT"]) == ("UTC", 60)


@pytest.mark.parametrize(
    ("stored", "given", "says"),
    [
        (None, None, "it is not PEM text"),
        ("right", None, "it has a passphrase, but no passphrase is configured"),
        ("right", "wrong", "the passphrase does not open it"),
        (None, "one too many", "it has no passphrase, but a passphrase is configured"),
    ],
    ids=["no key", "a passphrase that is missing", "another passphrase", "a passphrase too many"],
)
def test_a_key_that_cannot_be_used_is_told_without_its_text(
    key: rsa.RSAPrivateKey, stored: str | None, given: str | None, says: str
) -> None:
    text = "something else" if (stored, given) == (None, None) else pem(key, stored)
    access = SnowflakeAccess(
        **ACCOUNT,
        private_key=lambda: text,
        private_key_passphrase=None if given is None else lambda: given,
    )
    with pytest.raises(WarehouseError) as error:
        access.arguments()
    told = str(error.value)
    assert says in told
    assert "LOADER" in told
    assert not any(
        part in told for part in (text, text.splitlines()[-2 if "\n" in text else 0], given or text)
    )
    assert error.value.__cause__ is None


def test_a_user_who_is_refused_is_told_what_to_check(gate: Gate, access: SnowflakeAccess) -> None:
    gate.denials.append(Denial("LOGIN", 390144, "JWT token is invalid. [0ce9eb56]"))
    with pytest.raises(WarehouseError) as error, access.connect():
        pass
    assert not error.value.retryable
    assert "could not sign platform in to the account local: " in str(error.value)
    assert "JWT token is invalid" in str(error.value)
    assert "DESCRIBE USER platform shows the key's fingerprint" in str(error.value)


def test_an_account_that_does_not_answer_may_answer_later(access: SnowflakeAccess) -> None:
    unreachable = replace(
        access,
        login_timeout=1,
        connection_options={**access.connection_options, "port": 9, "login_timeout": 1},
    )
    with pytest.raises(WarehouseBusy) as error, unreachable.connect():
        pass
    assert error.value.retryable
    assert "could not sign platform in" in str(error.value)


def test_a_session_has_its_tag_its_time_zone_and_its_longest_wait(
    gate: Gate, warehouse: SnowflakeWarehouse, lake: StarLake
) -> None:
    tagged = replace(warehouse, access=replace(warehouse.access, query_tag="nightly", role="LOADERS"))
    load(tagged, lake, "dim_date")
    parameters = gate.logins[0]["SESSION_PARAMETERS"]
    assert (parameters["QUERY_TAG"], parameters["TIMEZONE"], parameters["LOCK_TIMEOUT"]) == (
        "nightly",
        "UTC",
        300,
    )


INSUFFICIENT = "SQL access control error:\nInsufficient privileges to operate on {}"


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("denial", "grants"),
    [
        pytest.param(
            Denial("CREATE SCHEMA", 3001, INSUFFICIENT.format("database 'SALES'")),
            ['GRANT CREATE SCHEMA ON DATABASE "{database}" TO ROLE "LOADERS";'],
            id="to create a schema",
        ),
        pytest.param(
            Denial("CREATE TABLE", 3001, INSUFFICIENT.format("schema 'star'")),
            [
                f'GRANT CREATE TABLE, CREATE VIEW, CREATE STAGE ON SCHEMA "{{database}}"."{schema}" '
                'TO ROLE "LOADERS";'
                for schema in ("platform", "star")
            ],
            id="to create a table",
        ),
        pytest.param(
            Denial("CREATE TEMPORARY STAGE", 3001, INSUFFICIENT.format("schema 'platform'")),
            ['GRANT CREATE STAGE ON SCHEMA "{database}"."platform" TO ROLE "LOADERS";'],
            id="to create a stage",
        ),
        pytest.param(
            Denial('INSERT INTO "star"."fact_payment"', 3001, INSUFFICIENT.format("table 'fact_payment'")),
            [
                "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "
                '"{database}"."star"."fact_payment" TO ROLE "LOADERS";'
            ],
            id="to write a fact",
        ),
        pytest.param(
            Denial('MERGE INTO "star"."dim_date"', 3001, INSUFFICIENT.format("table 'dim_date'")),
            [
                "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "
                '"{database}"."star"."dim_date" TO ROLE "LOADERS";'
            ],
            id="to merge a dimension",
        ),
        pytest.param(
            Denial('INSERT INTO "platform"."loads"', 3001, INSUFFICIENT.format("table 'loads'")),
            ['GRANT SELECT, INSERT ON TABLE "{database}"."platform"."loads" TO ROLE "LOADERS";'],
            id="to record a load",
        ),
        pytest.param(
            Denial("CREATE", 606, "No active warehouse selected in the current session.", "57P03"),
            ['GRANT USAGE ON WAREHOUSE COMPUTE TO ROLE "LOADERS";'],
            id="to use the virtual warehouse",
        ),
    ],
)
def test_a_missing_permission_is_named_with_its_grant_before_anything_is_uploaded(
    gate: Gate, warehouse: SnowflakeWarehouse, lake: StarLake, denial: Denial, grants: list[str]
) -> None:
    access = replace(warehouse.access, role="LOADERS", warehouse="COMPUTE")
    gate.denials.append(denial)
    refused = False
    try:
        # Where one table alone may not be written, the others are loaded.
        done = load(replace(warehouse, access=access), lake)
        reason = next(one.stopped for one in done.values() if one.stopped)
    except WarehouseError as error:
        refused, reason = not error.retryable, str(error)
    assert refused == (denial.statement not in OF_ONE_TABLE)
    if refused:
        assert not any(sql.startswith(("PUT", "COPY", "BEGIN")) for sql in gate.statements)
    for grant in grants:
        assert grant.format(database=access.database) in reason
    gate.denials.clear()
    load(replace(warehouse, access=access), lake)
    assert {status.table: status.row_count for status in warehouse.status()} == {
        table.name: 2 if table.kind == "fact" else 1 for table in lake.tables
    }


def test_every_statement_of_a_load_is_snowflakes_sql(
    gate: Gate, warehouse: SnowflakeWarehouse, tmp_path: Path
) -> None:
    warehouse, lake = replace(warehouse, tables=star.TABLES), StarLake.with_rows(tmp_path / "whole")
    load(warehouse, lake)
    lake.put("dim_design", 2, row_of(DESIGN, 1, 2, "update"))
    load(warehouse, lake)
    warehouse.write(["mine", "report"], pa.table({"x": [1]}).to_reader())
    warehouse.status()
    for statement in gate.statements:
        for parsed in sqlglot.parse(statement, dialect="snowflake"):
            assert parsed is not None
            assert not list(parsed.find_all(exp.Command)), statement
    kinds = [statement.split()[0] for statement in gate.statements]
    # Whatever makes tables commits by itself: nothing of that is between BEGIN and COMMIT.
    first, last = kinds.index("BEGIN"), kinds.index("COMMIT")
    assert set(kinds[first + 1 : last]) == {"UPDATE", "SELECT", "INSERT", "MERGE"}


def test_the_lakes_own_files_are_read_where_a_storage_integration_lets_snowflake(
    gate: Gate, warehouse: SnowflakeWarehouse, lake: StarLake
) -> None:
    # The local server reads what is on local disk, and looks at no integration.
    stage = SnowflakeStage(Path(lake.lake.processed).as_uri(), "LAKE_READER")
    reading = replace(warehouse, stage=stage)
    assert load(reading, lake)["fact_payment"] == Load(0, 1, 2, 2)
    lake.put("fact_payment", 2, row_of(PAYMENT, 3, 2, "update", payment_id=1))
    assert load(reading, lake, "fact_payment")["fact_payment"] == Load(1, 2, 1, 3)
    created = [sql for sql in gate.statements if sql.startswith("CREATE TEMPORARY STAGE")]
    assert all(f"URL = '{stage.url}/' STORAGE_INTEGRATION = LAKE_READER" in sql for sql in created)
    copies = [sql for sql in gate.statements if sql.startswith("COPY") and "fact_payment" in sql]
    assert [len(re.findall(r"\.parquet'", sql)) for sql in copies] == [1, 1]
    assert not any(sql.startswith("PUT") for sql in gate.statements)
    columns = PAYMENT.primary_key
    assert fetch(warehouse, f'SELECT "{columns[0]}" FROM "star"."fact_payment" ORDER BY 1') == [
        (1,),
        (2,),
        (3,),
    ]


def test_an_integration_that_may_not_be_used_is_named_with_its_grant(
    gate: Gate, warehouse: SnowflakeWarehouse, lake: StarLake
) -> None:
    gate.denials.append(
        Denial("CREATE TEMPORARY STAGE", 3001, INSUFFICIENT.format("integration 'LAKE_READER'"))
    )
    reading = replace(warehouse, stage=SnowflakeStage("s3://lake/processed", "LAKE_READER"))
    with pytest.raises(WarehouseError, match=r"GRANT USAGE ON INTEGRATION LAKE_READER TO ROLE"):
        load(reading, lake, "dim_date")


def test_files_of_batches_that_were_loaded_are_not_read_again(
    warehouse: SnowflakeWarehouse, lake: StarLake
) -> None:
    load(warehouse, lake)
    old = list(Path(lake.lake.processed, "star", "fact_payment").glob("*.parquet"))
    lake.put("fact_payment", 2, row_of(PAYMENT, 3, 2, "update", payment_id=1))
    for file in old:
        file.write_bytes(b"no Parquet")
    assert load(warehouse, lake, "fact_payment")["fact_payment"] == Load(1, 2, 1, 3)


def test_a_loader_that_waits_too_long_for_another_says_so(
    warehouse: SnowflakeWarehouse, lake: StarLake
) -> None:
    load(warehouse, lake)
    lake.put("fact_payment", 2, row_of(PAYMENT, 3, 2, "update", payment_id=1))
    with warehouse.access.connect() as other, other.cursor() as cursor:
        cursor.execute("BEGIN TRANSACTION")
        cursor.execute('UPDATE "platform"."load_lock" SET "loads" = "loads" + 1')
        with pytest.raises(WarehouseBusy, match="Another session is writing to the same tables"):
            load(replace(warehouse, wait=0.5), lake, "fact_payment")
        cursor.execute("ROLLBACK")
    assert load(warehouse, lake, "fact_payment")["fact_payment"] == Load(1, 2, 1, 3)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ('CREATE SCHEMA IF NOT EXISTS "platform"', 2002),
        ('CREATE SCHEMA IF NOT EXISTS "star"', 2002),
        ('CREATE TABLE IF NOT EXISTS "platform"."loads"', 2002),
        ('CREATE TABLE IF NOT EXISTS "star"."dim_date"', 2002),
        ("CREATE .*VIEW", 2002),
        ("ALTER TABLE .* ADD CONSTRAINT", 2002),
        ("ALTER TABLE .* ADD COLUMN", 1430),
        ('CREATE TABLE IF NOT EXISTS "star"."dim_date"', 0),
        ("BEGIN", 0),
    ],
)
def test_what_another_load_creates_between_the_look_and_the_creation_is_no_failure(
    gate: Gate, warehouse: SnowflakeWarehouse, lake: StarLake, statement: str, code: int
) -> None:
    other = replace(warehouse, access=local_access(gate.server, warehouse.access.database))
    if "COLUMN" in statement:
        load(other, lake, "dim_date")
        with other.access.connect() as session, session.cursor() as cursor:
            cursor.execute('ALTER TABLE "star"."dim_design" DROP COLUMN "design_name"')
    answer = Denial(statement, code, "SQL compilation error: it already exists.", "42710")
    race = Race(statement, lambda: load(other, lake), answer if code else None)
    gate.races.append(race)
    done = load(warehouse, lake)
    assert race.is_over
    assert {name: (one.rows_written, one.stopped) for name, one in done.items()} == {
        table.name: (0, "") for table in MODEL
    }
    assert {name: one.row_count for name, one in done.items()} == {
        one.table: one.row_count for one in other.status()
    }


def test_a_schema_that_another_write_creates_at_the_same_moment_is_used(
    gate: Gate, warehouse: SnowflakeWarehouse
) -> None:
    other = replace(warehouse, access=local_access(gate.server, warehouse.access.database))
    statement = 'CREATE SCHEMA IF NOT EXISTS "mine"'
    answer = Denial(statement, 2002, "Object 'mine' already exists.", "42710")
    gate.races.append(Race(statement, lambda: write(other, "theirs"), answer))
    assert write(warehouse, "ours") == 1
    for name in ("ours", "theirs"):
        with warehouse.query(f'SELECT "one" FROM "mine"."{name}"') as rows:
            assert rows.read_all().to_pydict() == {"one": [1]}


def write(warehouse: SnowflakeWarehouse, name: str) -> int:
    return warehouse.write(("mine", name), pa.table({"one": [1]}).to_reader())


def test_a_lock_that_is_lost_is_made_anew(warehouse: SnowflakeWarehouse, lake: StarLake) -> None:
    load(warehouse, lake, "dim_date")
    with warehouse.access.connect() as other, other.cursor() as cursor:
        cursor.execute('DELETE FROM "platform"."load_lock"')
    assert load(warehouse, lake, "fact_payment")["fact_payment"].rows_written == 2


def test_the_resource_of_dagster_snowflake_opens_the_same_sessions(
    gate: Gate, access: SnowflakeAccess
) -> None:
    pytest.importorskip(
        "dagster_snowflake", reason="dagster-snowflake is not installed; `make test` installs it"
    )
    resource = snowflake_resource(replace(access, query_tag="mine", role="READERS"))
    assert resource.account == access.account
    with resource.get_connection() as connection, connection.cursor() as cursor:
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]
    [login] = gate.logins
    assert login["SESSION_PARAMETERS"]["QUERY_TAG"] == "mine"
    assert login["SESSION_PARAMETERS"]["TIMEZONE"] == "UTC"


def test_a_null_that_is_not_allowed_is_named_by_its_column(
    warehouse: SnowflakeWarehouse, lake: StarLake
) -> None:
    rows = [row_of(PAYMENT, key, 2, paid=None) for key in (7, 8)]
    lake.put("fact_payment", 2, *rows)
    stopped = load(warehouse, lake)["fact_payment"].stopped
    assert "columns that must not be NULL have NULLs, paid (2). Correct the source tables" in stopped


def test_an_undone_load_leaves_no_temporary_files(
    warehouse: SnowflakeWarehouse, lake: StarLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    lake.put("fact_payment", 2, row_of(PAYMENT, 7, 2, paid=None))
    assert load(warehouse, lake)["fact_payment"].stopped
    warehouse.write(["mine", "report"], pa.table({"x": [1]}).to_reader())
    assert list(scratch.iterdir()) == []


def test_an_upload_that_does_nothing_is_no_load(
    warehouse: SnowflakeWarehouse, lake: StarLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("platform_assets.warehouse.snowflake._Connected.put", lambda *_: None)
        with pytest.raises(WarehouseError, match="Snowflake staged 0 of 1 rows of dim_date: "):
            warehouse.load(lake.lake, lake.tables)
    assert {name: done.rows_written for name, done in warehouse.load(lake.lake, lake.tables).items()} == {
        table.name: 2 if table.kind == "fact" else 1 for table in lake.tables
    }


def test_a_relation_is_read_by_name_whatever_it_is_called(warehouse: SnowflakeWarehouse) -> None:
    rows = pa.table({'a "b"': [1, 2], "select": ["x", None]})
    warehouse.write(["Mine", "order"], rows.to_reader())
    with warehouse.read(["Mine", "order"]) as found:
        assert found.read_all().sort_by('a "b"').to_pydict() == rows.to_pydict()
    with warehouse.read(["Mine", "order"], ["select"]) as found:
        assert found.schema.names == ["select"]


def test_results_have_one_type_for_all_their_chunks(warehouse: SnowflakeWarehouse) -> None:
    sql = (
        'SELECT 1::NUMBER(3, 0) AS "tiny", 12345678901234567890::NUMBER(20, 0) AS "huge", 1.50::NUMBER(5, 2) '
        'AS "money", 0.5::FLOAT AS "ratio", \'NaN\'::FLOAT AS "nothing", NULL::VARCHAR AS "none", '
        'TRUE AS "yes", \'2024-02-29\'::DATE AS "day", \'23:59:59.999999\'::TIME AS "time"'
    )
    with warehouse.query(sql) as rows:
        types, found = rows.schema.types, rows.read_all().to_pylist()[0]
    assert types == [
        *(pa.int64(), pa.decimal128(20, 0), pa.decimal128(5, 2), pa.float64(), pa.float64(), pa.string()),
        *(pa.bool_(), pa.date32(), pa.time64("us")),
    ]
    assert math.isnan(found.pop("nothing"))
    assert found["huge"] == 12345678901234567890
    assert (found["day"], found["time"]) == (dt.date(2024, 2, 29), dt.time(23, 59, 59, 999999))


def test_a_query_is_a_select_whatever_it_begins_with(warehouse: SnowflakeWarehouse, lake: StarLake) -> None:
    load(warehouse, lake, "dim_date")
    with (
        pytest.raises(WarehouseError, match="Only SELECT statements are allowed"),
        warehouse.query('DELETE FROM "star"."dim_date"'),
    ):
        pass
    sql = '-- days\nWITH days AS (SELECT * FROM "star"."dim_date")\nSELECT COUNT(*) AS "n" FROM days;\n'
    with warehouse.query(sql) as rows:
        assert rows.read_all().to_pydict() == {"n": [1]}
