"""The StackQL client, with a server that speaks StackQL's part of the protocol, and with PostgreSQL."""

from __future__ import annotations

import datetime as dt
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from platform_assets.errors import StackqlError, StackqlUnavailable
from platform_assets.inventory.stackql import Protocol, SslMode, StackqlServer, parse_address
from platform_assets_tests.fixtures.certificates import new_certificate
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.stackql import (
    BOOLEAN,
    DATE,
    INTEGER,
    NUMERIC,
    TEXT,
    TIMESTAMPTZ,
    FakeStackql,
    Kind,
    Reply,
    answering,
    serving_stackql,
)

INSTANCES = "SELECT name, zone, status, cpus, preemptible, price FROM google.compute.instances"


@pytest.fixture
def server() -> Iterator[FakeStackql]:
    with serving_stackql() as running:
        yield running


def client(server: FakeStackql, **changed: object) -> StackqlServer:
    return replace(StackqlServer(port=server.port), **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "protocol"),
    [
        ("new", "simple"),
        ("new", "extended"),
        ("new", "auto"),
        ("old", "simple"),
        ("old", "auto"),
        ("refusing", "simple"),
        ("refusing", "auto"),
    ],
)
def test_rows_come_typed_in_every_form_of_the_protocol(kind: Kind, protocol: Protocol) -> None:
    with serving_stackql(kind) as server:
        result = client(server, protocol=protocol).run(INSTANCES)
        assert result.table().to_pylist()[1:] == [
            {
                "name": "vm-2",
                "zone": "europe-west2-b",
                "status": "TERMINATED",
                "cpus": 8,
                "preemptible": False,
                "price": 0.38,
            },
            {
                "name": "vm-3",
                "zone": "us-east1-b",
                "status": "RUNNING",
                "cpus": 4,
                "preemptible": True,
                "price": None,
            },
        ]
        assert server.cloud.asked == [INSTANCES]


@pytest.mark.parametrize("kind", ["old", "refusing"])
def test_a_server_without_the_extended_protocol_is_named_before_anything_runs(kind: Kind) -> None:
    with serving_stackql(kind) as server:
        with pytest.raises(StackqlError, match=r"extended protocol: .*Use the simple one: --protocol simple"):
            client(server, protocol="extended").run("DELETE FROM google.compute.instances")
        assert server.cloud.asked == []


def test_several_statements_run_one_after_the_other_and_the_last_rows_count(server: FakeStackql) -> None:
    result = client(server, protocol="auto").run(f"SHOW PROVIDERS; {INSTANCES}; EXEC google.compute.x.y")
    assert [len(answer.rows) for answer in result.answers] == [2, 3, 0]
    assert result.table().column_names[0] == "name"
    assert result.table().num_rows == 3


def test_statements_without_rows_say_what_happened(server: FakeStackql) -> None:
    run = client(server).run
    assert run("REGISTRY PULL google").table().to_pydict() == {
        "message": ["a notice level event has occurred: google provider, version 'v24.1' installed"]
    }
    despatched = {"message": ["The operation was despatched successfully"]}
    for statement in ("INSERT INTO google.x.y(a) SELECT 1", "DELETE FROM google.x.y", "EXEC google.x.y.z"):
        assert run(statement).table().to_pydict() == despatched
    server.cloud.answers["SET x"] = Reply()
    assert run("SET x").table().to_pydict() == {"message": ["OK"]}


def test_an_empty_result_has_its_columns(server: FakeStackql) -> None:
    table = client(server).run(f"{INSTANCES} WHERE zone = 'nowhere'").table()
    assert table.num_rows == 0
    assert table.column_names == ["name", "zone", "status", "cpus", "preemptible", "price"]


def test_values_that_are_not_of_their_declared_type_make_a_column_of_text(server: FakeStackql) -> None:
    columns = [("a", INTEGER), ("b", BOOLEAN), ("c", TIMESTAMPTZ), ("d", NUMERIC), ("e", DATE)]
    server.cloud.answers["SELECT odd"] = Reply(
        columns,
        [
            ["1", "t", "2026-01-02 03:04:05+00", "1.10", "2026-01-02"],
            ["many", "maybe", "soon", "NaN!", "later"],
        ],
    )
    server.cloud.answers["SELECT even"] = Reply(
        columns, [["1", "t", "2026-01-02 03:04:05+00", "1.10", "2026-01-02"], [None] * 5]
    )
    odd = client(server).run("SELECT odd").table()
    assert odd.to_pylist()[1] == {"a": "many", "b": "maybe", "c": "soon", "d": "NaN!", "e": "later"}
    even = client(server).run("SELECT even").table()
    assert even.to_pylist()[0] == {
        "a": 1,
        "b": True,
        "c": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        "d": Decimal("1.10"),
        "e": dt.date(2026, 1, 2),
    }


def test_rows_beyond_the_limit_are_left_out(server: FakeStackql) -> None:
    answer = client(server).run(INSTANCES, limit=2).answer
    assert [row[0] for row in answer.rows] == ["vm-1", "vm-2"]
    assert answer.has_more
    assert not client(server).run(INSTANCES, limit=3).answer.has_more


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_a_rejected_statement_says_why(server: FakeStackql, protocol: Protocol) -> None:
    with pytest.raises(
        StackqlError, match=r"rejected the statement: syntax error at position 7\. near 'BROKEN'"
    ):
        client(server, protocol=protocol).run("BROKEN")


def test_a_statement_that_takes_too_long_is_given_up(server: FakeStackql) -> None:
    server.cloud.answers["SELECT slow"] = Reply([("a", TEXT)], [["1"]], wait=5)
    started = time.monotonic()
    with pytest.raises(StackqlError, match=r"took longer than 0\.3 seconds"):
        client(server).run("SELECT slow", timeout=0.3)
    assert time.monotonic() - started < 5


def test_a_password_is_sent_and_never_told() -> None:
    with serving_stackql(password="very secret") as server:
        assert client(server, password=lambda: "very secret").run("SHOW PROVIDERS").table().num_rows == 2
        with pytest.raises(StackqlError, match=r"refused the login of stackql: invalid username") as refused:
            client(server, password=lambda: "other words").run("SHOW PROVIDERS")
        assert "other words" not in str(refused.value)
        with pytest.raises(StackqlError, match=r"asks for a password, and none is configured"):
            client(server).run("SHOW PROVIDERS")


def test_tls_is_mutual_and_verified_as_far_as_is_asked(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    certificate, key = new_certificate(tmp_path, "stackql")
    other, _ = new_certificate(tmp_path / "other", "somebody")
    own = {"sslcert": str(certificate), "sslkey": str(key)}
    with serving_stackql(certificate=(certificate, key)) as server:
        for mode in ("prefer", "require"):
            assert client(server, sslmode=mode, **own).run("SHOW PROVIDERS").table().num_rows == 2
        for mode in ("verify-ca", "verify-full"):
            trusting = client(server, sslmode=mode, sslrootcert=str(certificate), **own)
            assert trusting.run("SHOW PROVIDERS").table().num_rows == 2
        with pytest.raises(StackqlError, match=r"do not agree on TLS: .*sslrootcert"):
            client(server, sslmode="verify-full", sslrootcert=str(other), **own).run("SHOW PROVIDERS")
        with pytest.raises(StackqlError, match=r"set stackql\.sslcert and sslkey|broke the connection"):
            client(server, sslmode="require").run("SHOW PROVIDERS")
        with pytest.raises(StackqlError, match=r"certificates for .* cannot be used .*missing\.pem"):
            client(server, sslmode="require", sslcert=str(tmp_path / "missing.pem")).run("SHOW PROVIDERS")


def test_a_statement_over_tls_is_given_up_in_time(tmp_path: Path) -> None:
    certificate, key = new_certificate(tmp_path, "stackql")
    with serving_stackql(certificate=(certificate, key)) as server:
        server.cloud.answers["SELECT slow"] = Reply([("a", TEXT)], [["1"]], wait=5)
        asking = client(server, sslmode="require", sslcert=str(certificate), sslkey=str(key))
        with pytest.raises(StackqlError, match=r"took longer than 0\.3 seconds"):
            asking.run("SELECT slow", timeout=0.3)


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(server: FakeStackql) -> None:
    modes: tuple[SslMode, ...] = ("require", "verify-full")
    for mode in modes:
        with pytest.raises(StackqlError, match=r"has no TLS, and sslmode = "):
            client(server, sslmode=mode).run("SHOW PROVIDERS")


def test_a_server_that_is_not_there_is_named_with_how_to_start_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(StackqlUnavailable, match=rf"127\.0\.0\.1:{port} cannot be reached: .*`stackql srv"):
        StackqlServer(port=port).run("SHOW PROVIDERS")


def _http(connection: socket.socket) -> None:
    connection.recv(100)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def _rubbish(connection: socket.socket) -> None:
    connection.recv(8)
    connection.sendall(b"N")
    connection.recv(1000)
    connection.sendall(b"?" + struct.pack("!i", 8) + b"????")


def _hangs_up(connection: socket.socket) -> None:
    connection.recv(8)
    connection.sendall(b"N")
    connection.recv(1000)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (_http, "does not speak the PostgreSQL protocol: it answered b'H'"),
        (_rubbish, "sent something that is not the PostgreSQL protocol"),
        (_hangs_up, "broke the connection"),
    ],
)
def test_a_server_that_speaks_something_else_is_told_in_one_sentence(reply: object, says: str) -> None:
    with answering(reply) as port, pytest.raises(StackqlError, match=says) as failed:  # type: ignore[arg-type]
        StackqlServer(port=port).run("SHOW PROVIDERS", timeout=10)
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("protocol", ["simple", "extended", "auto"])
def test_postgresql_answers_as_well(new_database: NewDatabase, protocol: Protocol) -> None:
    owner = new_database().owner
    server = StackqlServer(
        owner.host, owner.port, owner.database, owner.user, lambda: owner.password, protocol=protocol
    )
    rows = server.run(
        "SELECT 1 AS a, NULL::int8 AS b, 'é' AS c, true AS d, 1.50 AS e, date '2026-01-02' AS f, "
        "timestamptz '2026-01-02 03:04:05+00' AS g, 2.5::float8 AS h, '{\"x\": 1}'::jsonb AS i"
    ).table()
    assert rows.to_pylist() == [
        {
            "a": 1,
            "b": None,
            "c": "é",
            "d": True,
            "e": Decimal("1.50"),
            "f": dt.date(2026, 1, 2),
            "g": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
            "h": 2.5,
            "i": '{"x": 1}',
        }
    ]
    assert server.run("CREATE TABLE t (a int)").table().to_pydict() == {"message": ["CREATE TABLE"]}
    assert server.run("INSERT INTO t VALUES (1), (2)").table().to_pydict() == {"message": ["INSERT 0 2"]}
    assert server.run("SELECT a FROM t ORDER BY a", limit=1).answer.rows == [["1"]]
    assert server.run("SHOW server_version").table().column_names == ["server_version"]
    dropped = server.run("DROP TABLE IF EXISTS missing").table().to_pydict()
    assert dropped == {"message": ['table "missing" does not exist, skipping', "DROP TABLE"]}
    with pytest.raises(StackqlError, match=r'relation "nothing" does not exist'):
        server.run("SELECT * FROM nothing")


def test_an_address_overrides_what_it_names() -> None:
    configured = StackqlServer("there", 5466, user="me", sslmode="require")
    assert parse_address("here", configured) == replace(configured, host="here")
    assert parse_address("here:77", configured) == replace(configured, host="here", port=77)
    full = parse_address("postgresql://you:p%40ss@[::1]:77/db?sslmode=disable", configured)
    assert (full.host, full.port, full.user, full.database, full.sslmode) == (
        "::1",
        77,
        "you",
        "db",
        "disable",
    )
    assert full.password is not None
    assert full.password() == "p@ss"
    assert "p@ss" not in repr(full)


@pytest.mark.parametrize(
    "text", ["", ":77", "http://here", "here:port", "here:99999999", "here?sslmode=some", "here?other=1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(StackqlError, match=r"^The address after --connect "):
        parse_address(text, StackqlServer())
