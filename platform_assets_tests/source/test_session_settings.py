"""Settings of a role or a database change nothing in what is read, found, deleted or proved."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pg8000.native
import pytest

from platform_assets.errors import SourceError, SourceUnavailable
from platform_assets.source.bulk import BulkReader
from platform_assets.source.catalogue import Relation, declare
from platform_assets.source.connection import Connection
from platform_assets.source.extract import Extractor
from platform_assets.source.scan import table_scan
from platform_assets.source.session import translated
from platform_assets_tests.fixtures.capture import Capture, session
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.postgres import OlderServer

POOLER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

TABLES = ("item", "guarded", "labelled", "parted")
SCHEMA = (
    "CREATE TYPE mood AS ENUM ('calm', 'cross')",
    "CREATE TYPE pair AS (amount numeric(8, 2), moment timestamptz)",
    "CREATE DOMAIN percent AS numeric(5, 2) CHECK (VALUE < 101)",
    """
    CREATE TABLE item (
      id integer PRIMARY KEY, name text NOT NULL, price numeric(10, 2), share percent, ratio float8,
      factor real, day date, moment timestamp, stamp timestamptz, gap interval, hour time, zoned timetz,
      raw bytea, cost money, mood mood, pair pair, tags text[], span tstzrange, document jsonb, address inet,
      code char(4), of regclass, kind regtype, function regprocedure, bits bit(3), number uuid)
    """,
    """
    INSERT INTO item SELECT
      n, 'It''s \\ "' || n, n / 7.0, n % 100, n / 3.0, n / 3.0, DATE '2023-03-04' + n,
      TIMESTAMP '2023-03-04 05:06:07.891' + n * INTERVAL '1 hour',
      TIMESTAMPTZ '2023-03-04 05:06:07+00' + n * INTERVAL '1 hour', n * INTERVAL '1 day 2 hours',
      '12:30:15.5', '12:30:15+03', decode('00ff5c', 'hex'), n::numeric::money,
      'calm', ROW(1.5, '2023-03-04 05:06:07+00')::pair, ARRAY['a "quoted"', 'NULL', NULL],
      tstzrange('2023-03-04 05:06:07+00', NULL), '{"a": [1, null]}', '10.0.0.1', 'ab', 'item', 'mood',
      'lower(text)', '101', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'
    FROM generate_series(1, 300) AS n
    """,
    "CREATE TABLE guarded (id integer PRIMARY KEY, name text)",
    "INSERT INTO guarded SELECT n, 'guarded ' || n FROM generate_series(1, 300) AS n",
    "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY all_of_it ON guarded USING (true)",
    # What a view calls is resolved when it is read, on the path of the role.
    "CREATE FUNCTION label_of(integer) RETURNS text LANGUAGE plpgsql STABLE AS "
    "$$ BEGIN RETURN (SELECT name FROM guarded WHERE id = $1); END $$",
    "CREATE TABLE parted (id integer NOT NULL, name text, PRIMARY KEY (id)) PARTITION BY RANGE (id)",
    "CREATE TABLE part_low PARTITION OF parted FOR VALUES FROM (0) TO (150)",
    "CREATE TABLE part_high PARTITION OF parted FOR VALUES FROM (150) TO (100000)",
    "INSERT INTO parted SELECT n, 'parted ' || n FROM generate_series(1, 300) AS n",
    """
    CREATE VIEW labelled AS
    SELECT id, label_of(id) AS label, to_char(moment, 'Mon DD') AS month, raw::text AS raw,
           '12:00 EST'::timetz::text AS zoned, (id = NULL) AS never FROM item
    """,
    # Everything that the platform's statements name in pg_catalog, as somebody else's.
    "CREATE SCHEMA shadow",
    "CREATE DOMAIN shadow.text AS varchar(1)",
    "CREATE DOMAIN shadow.int4 AS pg_catalog.int8",
    "CREATE DOMAIN shadow.oid AS pg_catalog.text",
    "CREATE TABLE shadow.pg_class AS SELECT 1 AS oid",
    "CREATE TABLE shadow.pg_type AS SELECT 1 AS oid",
    "CREATE TABLE shadow.pg_settings AS SELECT 1 AS name",
    *(
        f"CREATE FUNCTION shadow.{name}({arguments}) RETURNS {returned} LANGUAGE sql AS $$ SELECT {value} $$"
        for name, arguments, returned, value in (
            ("md5", "pg_catalog.bytea", "pg_catalog.text", "'shadow'::pg_catalog.text"),
            ("md5", "pg_catalog.text", "pg_catalog.text", "'shadow'::pg_catalog.text"),
            ("length", "pg_catalog.text", "pg_catalog.int4", "1"),
            ("current_setting", "pg_catalog.text", "pg_catalog.text", "'shadow'::pg_catalog.text"),
            (
                "format_type",
                "pg_catalog.oid, pg_catalog.int4",
                "pg_catalog.text",
                "'shadow'::pg_catalog.text",
            ),
            ("has_schema_privilege", "pg_catalog.text, pg_catalog.text", "pg_catalog.bool", "false"),
            ("pg_export_snapshot", "", "pg_catalog.text", "'shadow'::pg_catalog.text"),
            ("age", "pg_catalog.xid", "pg_catalog.int4", "-1"),
        )
    ),
    *(
        statement
        for left, right, operators in (
            ("int4", "int4", ("=", ">=")),
            ("oid", "oid", ("=",)),
            ("name", "text", ("=",)),
            ("text", "text", ("=", "<>", "||")),
        )
        for statement in (
            f"CREATE FUNCTION shadow.never(pg_catalog.{left}, pg_catalog.{right}) RETURNS pg_catalog.bool "
            "LANGUAGE sql AS $$ SELECT false $$",
            *(
                f"CREATE OPERATOR shadow.{operator} (LEFTARG = pg_catalog.{left}, "
                f"RIGHTARG = pg_catalog.{right}, FUNCTION = shadow.never)"
                for operator in operators
            ),
        )
    ),
)

PRINTED = {
    "DateStyle": "German",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Kathmandu",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "quote_all_identifiers": "on",
    "xmlbinary": "hex",
    "xmloption": "document",
    "client_encoding": "LATIN1",
    "client_min_messages": "debug5",
    "lc_monetary": "POSIX",
    "lc_numeric": "POSIX",
    "lc_time": "POSIX",
    "debug_print_plan": "on",
}
RESOLVED = {
    "search_path": "shadow, pg_catalog",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "row_security": "off",
    "gin_fuzzy_search_limit": "1",
    "timezone_abbreviations": "Australia",
    "restrict_nonsystem_relation_kind": "view,foreign-table",
    "default_text_search_config": "pg_catalog.simple",
    "default_tablespace": "pg_default",
    "temp_tablespaces": "pg_default",
    "session_replication_role": "replica",
    "zero_damaged_pages": "on",
    "ignore_checksum_failure": "on",
    "lo_compat_privileges": "on",
}
PLANNED = {
    "enable_seqscan": "off",
    "enable_tidscan": "off",
    "enable_hashjoin": "off",
    "enable_hashagg": "off",
    "enable_sort": "off",
    "enable_material": "off",
    "enable_nestloop": "off",
    "enable_mergejoin": "off",
    "enable_partition_pruning": "off",
    "debug_parallel_query": "regress",
    "force_parallel_mode": "regress",
    "parallel_setup_cost": "0",
    "min_parallel_table_scan_size": "0",
    "max_parallel_workers_per_gather": "0",
    "geqo_threshold": "2",
    "join_collapse_limit": "1",
    "from_collapse_limit": "1",
    "plan_cache_mode": "force_generic_plan",
    "constraint_exclusion": "on",
    "cursor_tuple_fraction": "0",
    "seq_page_cost": "1e10",
    "jit_above_cost": "0",
    "jit_optimize_above_cost": "0",
    "work_mem": "64kB",
    "synchronize_seqscans": "off",
    "compute_query_id": "off",
    "stats_fetch_consistency": "none",
}
LOCKED_OR_ENDED = {
    "statement_timeout": "1",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "idle_session_timeout": "1",
    "transaction_timeout": "50",
    "tcp_user_timeout": "1",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "exit_on_error": "on",
    "log_min_duration_statement": "0",
    "log_statement": "all",
    "event_triggers": "off",
}
HOSTILE = {"printed": PRINTED, "resolved": RESOLVED, "planned": PLANNED, "ended": LOCKED_OR_ENDED}
"""What can change what is printed, resolved, planned, or locked and ended, at its worst."""


@dataclass(frozen=True)
class Hostile:
    """A database, a role that reads it, and a lake that follows it while their settings change."""

    capture: Capture
    role: str

    def set(self, level: str, name: str, value: str) -> None:
        """Sets something for the role or for the database, as a superuser."""
        target = f"ROLE {self.role}" if level == "role" else f"DATABASE {self.capture.owner().database}"
        value = value if name == "search_path" else f"'{value}'"
        with session(replace(self.capture.owner(), database="postgres")) as owner:
            known = owner.run("SELECT 1 FROM pg_settings WHERE lower(name) = lower(:name)", name=name)
            if known:  # Versions have settings that others lack.
                owner.run(f"ALTER {target} SET {name} = {value}")

    def reset(self) -> None:
        """Takes back whatever was set."""
        with session(replace(self.capture.owner(), database="postgres")) as owner:
            owner.run(f"ALTER ROLE {self.role} RESET ALL")
            owner.run(f"ALTER DATABASE {self.capture.owner().database} RESET ALL")

    def change(self) -> None:
        """Changes the first, deletes the second and adds one more row of each table, in default settings."""
        with session(self.capture.owner()) as owner:
            owner.run("BEGIN READ WRITE")
            owner.run("SET LOCAL search_path = public; SET LOCAL row_security = on; SET LOCAL TimeZone = UTC")
            for table in ("item", "guarded", "parted"):
                [[first, second]] = owner.run(f"SELECT min(id), min(id) + 1 FROM {table}")
                owner.run(f"DELETE FROM {table} WHERE id = {second}")
                owner.run(f"UPDATE {table} SET name = name || '!', id = {second} WHERE id = {first}")
                names = [
                    row[0]
                    for row in owner.run(
                        "SELECT attname FROM pg_catalog.pg_attribute "
                        f"WHERE attrelid = '{table}'::regclass AND attnum > 0 AND attname <> 'id'"
                    )
                ]
                listed = ", ".join(names)
                owner.run(
                    f"INSERT INTO {table} (id, {listed}) "
                    f"SELECT max(id) OVER () + 1, {listed} FROM {table} LIMIT 1"
                )
            owner.run("COMMIT")

    def tick(self) -> dict[str, tuple[int, int, int]]:
        """One tick and a verification; how many rows were inserted, updated and deleted, by table."""
        capture = self.capture
        found = capture.extract().tables
        assert {name: change.stopped for name, change in found.items()} == dict.fromkeys(TABLES, "")
        tables = capture.tables()
        verified = Extractor(capture.source(tables), capture.lake, capture.engine).verify(tables)
        assert {name: one.sentence for name, one in verified.items() if not one.passed} == {}
        return {name: (one.inserted, one.updated, one.deleted) for name, one in found.items()}


@contextlib.contextmanager
def followed(owner: Connection, folder: Path) -> Iterator[Hostile]:
    role = f"hostile_{secrets.token_hex(4)}"
    database = f"hostile_{secrets.token_hex(4)}"
    with session(owner) as opened:
        opened.run(f"CREATE ROLE {role} LOGIN PASSWORD 'only in this test'")
        opened.run(f"CREATE DATABASE {database}")
    owner_there = replace(owner, database=database)
    reader = replace(owner_there, user=role, password="only in this test")
    try:
        with session(owner_there) as opened:
            for statement in SCHEMA:
                opened.run(statement)
            for schema in ("public", "shadow"):
                opened.run(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
                opened.run(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
        capture = Capture(
            lambda: owner_there,
            lambda: reader,
            folder,
            TABLES,
            settings={"keys": {"labelled": ("id",)}},
        )
        hostile = Hostile(capture, role)
        assert hostile.tick() == dict.fromkeys(TABLES, (300, 0, 0))
        yield hostile
    finally:
        with session(owner) as opened:
            opened.run(f"DROP DATABASE {database} WITH (FORCE)")
            opened.run(f"DROP ROLE {role}")


@pytest.fixture(scope="module", params=["bundled", "older"])
def hostile(request: pytest.FixtureRequest) -> Iterator[Hostile]:
    if request.param == "bundled":
        owner = request.getfixturevalue("postgres_server").owner("postgres")
    else:
        older: OlderServer = request.getfixturevalue("older_postgres")
        owner = older.owner
    with tempfile.TemporaryDirectory() as folder, followed(owner, Path(folder)) as found:
        yield found


@pytest.mark.sampled(3)
@pytest.mark.parametrize("level", ["role", "database"])
@pytest.mark.parametrize("what", HOSTILE)
def test_settings_of_a_role_or_database_change_nothing(hostile: Hostile, what: str, level: str) -> None:
    hostile.change()
    try:
        for name, value in HOSTILE[what].items():
            hostile.set(level, name, value)
        changed = hostile.tick()
    finally:
        hostile.reset()
    assert changed == dict.fromkeys(TABLES, (1, 1, 1))


@pytest.mark.parametrize("how", ["gone", "idle for too long"])
def test_a_snapshot_that_was_lost_may_be_taken_again(hostile: Hostile, how: str) -> None:
    """PostgreSQL 14 to 16 say invalid_parameter_value where later ones say undefined_object."""
    capture = hostile.capture
    source = capture.source(capture.tables())
    with source.snapshot() as snapshot:
        [[pid]] = snapshot.run("SELECT pg_backend_pid()")
        if how == "gone":
            capture.run(f"SELECT pg_terminate_backend({pid}, 30000)")
        else:
            snapshot.run("SELECT set_config('idle_in_transaction_session_timeout', '1', true)")
            deadline = time.monotonic() + PATIENCE
            while capture.run(f"SELECT pid FROM pg_stat_activity WHERE pid = {pid}"):
                assert time.monotonic() < deadline
        relation = snapshot_relation(capture, "guarded")
        scan = table_scan(declare(relation), relation, snapshot.version)
        with (
            pytest.raises(
                SourceUnavailable,
                match=r"cannot be reached, or the connection was lost .*snapshot.*[Rr]un the job again",
            ),
            BulkReader(snapshot, [scan]) as bulk,
            bulk.stream("guarded") as rows,
        ):
            rows.read_all()
        with pytest.raises(SourceUnavailable, match="cannot be reached, or the connection was lost"):
            snapshot.relations()


def snapshot_relation(capture: Capture, name: str) -> Relation:
    with capture.source().snapshot() as snapshot:
        return snapshot.relations([name])[name]


@pytest.fixture
def pooled(hostile: Hostile, tmp_path: Path) -> Iterator[Connection]:
    """The same database through pgbouncer, with one server session that all transactions share."""
    if POOLER is None:
        pytest.skip("this machine has no pgbouncer to read through")
    reader = hostile.capture.reader()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="platform-assets-pooler-"))
    users = folder / "users.txt"
    users.write_text(f'"{reader.user}" "{reader.password}"\n')
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\n{reader.database} = host={reader.host} port={reader.port} pool_size=4\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = plain\n"
        f"auth_file = {users}\npool_mode = transaction\nlogfile = {folder / 'log'}\n"
        f"server_reset_query = \n"
    )
    command = [POOLER, str(configuration)]
    if os.geteuid() == 0:
        account = pwd.getpwnam("nobody")
        for path in (folder, users, configuration):
            os.chown(path, account.pw_uid, account.pw_gid)
        command = [POOLER, "-u", "nobody", str(configuration)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        pooler = replace(reader, port=port)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with session(pooler):
                    break
            except (OSError, pg8000.native.InterfaceError):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield pooler
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def test_nothing_of_a_tick_stays_in_a_pooled_session(hostile: Hostile, pooled: Connection) -> None:
    def of_sessions() -> tuple[list[int], list[str]]:
        with session(pooled) as opened:
            rows = opened.run(
                "SELECT name || ' = ' || setting FROM pg_settings "
                "WHERE source = 'session' OR setting <> reset_val"
            )
        pids = hostile.capture.run(
            "SELECT pid FROM pg_stat_activity "
            f"WHERE usename = '{hostile.role}' AND datname = current_database() ORDER BY pid"
        )
        return [pid for [pid] in pids], [row[0] for row in rows]

    with_pooler = replace(hostile.capture, reader=lambda: pooled)
    hostile.set("role", "work_mem", "128kB")
    try:
        assert set(with_pooler.extract().tables) == set(TABLES)
        pids, before = of_sessions()
        hostile.change()
        found = with_pooler.extract().tables
        assert {name: (one.inserted, one.updated, one.deleted) for name, one in found.items()} == (
            dict.fromkeys(TABLES, (1, 1, 1))
        )
        # They are the same sessions, as each was given back at the end of its transaction. The pooler may
        # have opened one more: how many are needed at one moment depends on how fast they are read from.
        left, after = of_sessions()
        assert (set(pids) - set(left), after) == (set(), before)
        for name in ("statement_timeout", "search_path", "jit", "row_security", "DateStyle", "lock_timeout"):
            assert not any(one.startswith(f"{name} = ") for one in before), before
    finally:
        hostile.reset()


@pytest.mark.parametrize(
    ("code", "is_retryable", "advice"),
    [
        ("42P01", False, "the next run reads its new form"),
        ("40001", True, "hot_standby_feedback = on"),
        ("25P03", True, "run the job again"),
        ("55P03", True, "Another session holds a lock"),
        ("57014", True, "statement_timeout"),
        ("53300", True, "CONNECTION LIMIT"),
        ("53400", False, "temp_file_limit"),
        ("42501", False, "to grant the role the privilege"),
        ("22012", False, "Correct the value"),
        ("22021", False, "encoding = LATIN1"),
        ("XX001", False, "files may be damaged"),
    ],
)
def test_what_the_server_refuses_is_told_with_what_to_do(code: str, is_retryable: bool, advice: str) -> None:
    def fail() -> None:
        with translated(Connection("db", 5432, "shop", "reader", "secret"), "reading table item"):
            raise pg8000.native.DatabaseError({"C": code, "M": "it is so"})

    with pytest.raises(SourceError, match="reading table item: it is so") as refused:
        fail()
    assert refused.value.retryable == is_retryable
    assert advice in str(refused.value)
    assert "Check host and port" not in str(refused.value)
