"""The other built-in tasks: functions, queries, inspections, objects, requests and messages."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import ipaddress
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from platform_assets.alerts.assembly import AlertsRoom
from platform_assets.isolation import reason_of
from platform_assets.tasks import http as limits
from platform_assets.tasks.interfaces import FoundObject
from platform_assets.tasks.task import TaskError, TaskOutcome
from platform_assets_tests.tasks.conftest import Bench, TaskHouse, tree

ROWS = pa.table({"id": [1, 2], "name": ["a", None]})


def test_a_function_of_a_file_or_a_package_gets_its_arguments_and_the_context(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", "planted-value")
    (tmp_path / "mine.py").write_text(
        "from platform_assets.tasks.task import TaskOutcome\n"
        "def f(a, *, b, token, context):\n"
        "    context.log(f'{a} {b} {token} {context.task}')\n"
        "    return TaskOutcome(facts={'sum': a + b})\n"
    )
    made = bench.run(
        "python_function",
        function="mine.py:f",
        args=[1],
        kwargs={"b": 2},
        secrets={"token": "secret://env/PLANTED"},
    )
    assert made.facts == {"sum": 3}
    assert bench.lines == ["1 2 planted-value task"]
    assert bench.run("python_function", function="json:dumps", args=[{"a": 1}]) == TaskOutcome()


@pytest.mark.parametrize(
    ("text", "function", "reason"),
    [
        ("def f(a): ...", "mine.py:f", "does not take these arguments: missing a required argument: 'a'"),
        ("", "mine.py:f", "has no function f"),
        ("1 / 0", "mine.py:f", "cannot be imported: ZeroDivisionError"),
        ("import sys; sys.exit(3)", "mine.py:f", "ends the program when it is imported"),
        ("", "missing.py:f", "does not exist"),
        ("", "nowhere_at_all:f", "cannot be imported: ModuleNotFoundError"),
        ("import sys\ndef f(): sys.exit(3)", "mine.py:f", "mine.py:f ended the program with exit code 3"),
        ("def f(): yield 1", "mine.py:f", "is a generator or a coroutine, whose code has not run"),
        ("async def f(): ...", "mine.py:f", "is a generator or a coroutine, whose code has not run"),
        ("async def f(): yield 1", "mine.py:f", "is a generator or a coroutine, whose code has not run"),
    ],
)
def test_a_function_that_cannot_be_called_says_why(
    bench: Bench, tmp_path: Path, text: str, function: str, reason: str
) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(TaskError) as raised:
        bench.run("python_function", function=function)
    assert reason in str(raised.value)


def test_a_function_that_exits_with_0_has_succeeded(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import sys\ndef f(): sys.exit(0)")
    assert bench.run("python_function", function="mine.py:f") == TaskOutcome()


class Rows:
    """Queries that answer with the same rows, and remember what was written."""

    def __init__(self) -> None:
        self.written: dict[tuple[str, ...], pa.Table] = {}
        self.asked: list[tuple[str, str]] = []

    @contextlib.contextmanager
    def open(self, database: str, sql: str) -> Iterator[pa.RecordBatchReader]:
        self.asked.append((database, sql))
        yield ROWS.to_reader(max_chunksize=1)

    def replace(self, warehouse: str, table: Sequence[str], rows: pa.RecordBatchReader) -> int:
        self.written[warehouse, *table] = rows.read_all()
        return 2


def test_the_result_of_a_query_is_a_file_that_stays_if_it_is_the_same(bench: Bench, tmp_path: Path) -> None:
    queries = bench.services["queries"] = Rows()
    for name in ("out/x.csv", "out/x.parquet"):
        made = bench.run("sql", query="SELECT 1;", output=name)
        assert (made.facts, made.changed, list(made.files)) == ({"rows": 2}, True, [tmp_path / name])
        before = tree(tmp_path / "out")
        assert not bench.run("sql", query="SELECT 1;", output=name).changed
        assert tree(tmp_path / "out") == before
    assert queries.asked[0] == ("warehouse", "SELECT 1")
    assert pyarrow.csv.read_csv(tmp_path / "out" / "x.csv")["id"].to_pylist() == [1, 2]
    assert pyarrow.parquet.read_table(tmp_path / "out" / "x.parquet").equals(ROWS)


def test_the_result_of_a_query_is_a_table_or_a_check(bench: Bench, tmp_path: Path) -> None:
    queries = bench.services["queries"] = Rows()
    (tmp_path / "q.sql").write_text("SELECT 2")
    bench.run("sql", query_file="q.sql", database="totesys", table="mart.x", table_in="finance")
    assert queries.asked == [("totesys", "SELECT 2")]
    assert queries.written["finance", "mart", "x"].equals(ROWS)
    bench.run("sql", query="SELECT 1", expect_rows=True)
    with pytest.raises(TaskError, match="returned 2 rows, and there must be none"):
        bench.run("sql", query="SELECT 1", expect_rows=False)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"query": "a", "query_file": "b"},
        {"query": "a", "output": "x.xlsx"},
        {"query": "a", "output": "x.csv", "table": "a.b"},
    ],
)
def test_a_query_needs_arguments_that_fit_together(bench: Bench, arguments: dict[str, str]) -> None:
    with pytest.raises(TaskError):
        bench.run("sql", **arguments)


def test_files_with_sensitive_data_fail_the_inspection_and_values_are_not_logged(
    bench: Bench, house: TaskHouse
) -> None:
    bench.services["inspection"] = house.room.runner.services.inspection
    folder = bench.folder / "files"
    folder.mkdir()
    (folder / "clean.txt").write_text("nothing to see")
    (folder / "cards.csv").write_text("name,card\nAnn,4111 1111 1111 1111\n")
    with pytest.raises(TaskError, match=r"1 of 2 files hold sensitive data: .*CREDIT_CARD_NUMBER"):
        bench.run("dlp_scan", paths=["files"])
    assert "cards.csv: 1 CREDIT_CARD_NUMBER" in bench.warnings[0]
    assert "4111" not in str(bench.warnings) + str(bench.lines)
    assert bench.run("dlp_scan", paths=["files"], on_findings="warn").facts["findings"] != 0
    assert bench.run("dlp_scan", paths=["files/clean.txt"]).facts == {"files": 1, "findings": 0}
    assert bench.run("dlp_scan", paths=["files"], info_types=["IBAN_CODE"]).facts["findings"] == 0
    with pytest.raises(TaskError, match="does not exist"):
        bench.run("dlp_scan", paths=["missing"])


def test_a_file_that_cannot_be_inspected_in_full_fails_unless_that_is_allowed(
    bench: Bench, house: TaskHouse
) -> None:
    bench.services["inspection"] = house.room.runner.services.inspection
    (bench.folder / "x.zip").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(TaskError, match="could not be inspected in full"):
        bench.run("dlp_scan", paths=["x.zip"])
    bench.run("dlp_scan", paths=["x.zip"], allow_partial=True)


def test_waiting_ends_when_the_object_is_there(bench: Bench, house: TaskHouse) -> None:
    bench.services["buckets"] = house.room.runner.services.buckets
    (bench.folder / "in").mkdir()
    with pytest.raises(TaskError, match=r"Nothing that matches \*\.csv came to .*/in within 0 minutes"):
        bench.run("wait_for_object", place="in", pattern="*.csv", minutes=0)
    writer = threading.Timer(0.3, lambda: (bench.folder / "in" / "x.csv").write_text("abc"))
    writer.start()
    made = bench.run("wait_for_object", place="in", pattern="*.csv", every=0.05, minutes=5, min_size=3)
    writer.join()
    assert made.facts == {"objects": 1}
    assert bench.lines[-1] == f"{bench.folder / 'in' / 'x.csv'} is there"
    bench.run("wait_for_object", place="in", pattern="x.csv", minutes=0, newer_than_hours=1)


def test_an_object_that_is_too_old_does_not_count(bench: Bench) -> None:
    class Old:
        def find(self, place: str, pattern: str) -> list[FoundObject]:
            return [FoundObject("x", 1, dt.datetime.now(dt.UTC) - dt.timedelta(hours=3))]

    bench.services["buckets"] = Old()
    bench.run("wait_for_object", place="s3://b/p", pattern="x", minutes=0, newer_than_hours=4)
    with pytest.raises(TaskError):
        bench.run("wait_for_object", place="s3://b/p", pattern="x", minutes=0, newer_than_hours=2)


def test_a_message_is_sent_once_in_its_scope(bench: Bench) -> None:
    sent: list[tuple[str, str, str, Mapping[str, str]]] = []

    class Recorded:
        def send(self, key: str, severity: str, title: str, facts: Mapping[str, str]) -> None:
            sent.append((key, severity, title, facts))

    bench.services["alerts"] = Recorded()
    for once in ("run", "run", "day", "ever"):
        bench.run("notify", title="Done", message="All of it", severity="WARNING", once=once)
    keys = [one[0] for one in sent]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert sent[0][1:] == ("WARNING", "Done", {"Job": "file", "Message": "All of it"})


def test_a_message_goes_to_the_platforms_outbox(bench: Bench, house: TaskHouse) -> None:
    bench.services["alerts"] = house.room.runner.services.alerts
    for severity in ("INFO", "ERROR"):
        bench.run("notify", title="The report is there", once="ever", severity=severity)
    kept = house.room.rooms.of(AlertsRoom).outbox.messages()
    in_log = [one for one in kept if one.channel == "log"]
    assert [(one.alert.title, one.alert.severity.name) for one in in_log] == [("The report is there", "INFO")]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str, dict[str, str], bytes]]]

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.seen.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        status, headers, body = {
            "/ok": (200, {}, b"hello"),
            "/missing": (404, {}, b""),
            "/large": (200, {}, b"x" * 3_000_000),
            "/loop": (302, {"Location": "/loop"}, b""),
            "/to-ok": (303, {"Location": "/ok"}, b""),
            "/to-file": (302, {"Location": "file:///etc/passwd"}, b""),
            "/to-other": (302, {"Location": f"http://localhost:{self.server.server_address[1]}/ok"}, b""),
        }[self.path.partition("?")[0]]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

    do_GET = do_POST = do_HEAD = do_PUT = _answer  # noqa: N815 - names that http.server looks for

    def log_message(self, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def server() -> Iterator[str]:
    _Handler.seen = []
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    made.server_close()
    thread.join()


def test_a_request_sends_headers_and_body_and_keeps_the_answer(
    bench: Bench, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", "planted-token")
    made = bench.run(
        "http_request",
        url=f"{server}/ok?key=1",
        method="POST",
        headers={"Authorization": "secret://env/PLANTED", "X-Plain": "a"},
        json_body={"a": [1]},
        output="answer.txt",
    )
    method, path, headers, body = _Handler.seen[0]
    assert (method, path, json.loads(body)) == ("POST", "/ok?key=1", {"a": [1]})
    assert (headers["Authorization"], headers["X-Plain"]) == ("planted-token", "a")
    assert headers["Content-Type"] == "application/json"
    assert made.facts == {"status": 200, "bytes": 5}
    assert (tmp_path / "answer.txt").read_text() == "hello"
    assert "planted-token" not in str(bench.lines)
    assert "key=1" not in str(bench.lines)
    before = tree(tmp_path)
    assert not bench.run("http_request", url=f"{server}/ok", output="answer.txt").changed
    assert tree(tmp_path) == before


def test_a_file_is_sent_as_it_is(bench: Bench, server: str, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(bytes(range(256)) * 1000)
    bench.run("http_request", url=f"{server}/ok", method="PUT", body_file="body")
    assert _Handler.seen[0][3] == (tmp_path / "body").read_bytes()


@pytest.mark.parametrize(
    ("path", "arguments", "reason"),
    [
        ("/missing", {}, "answered 404; expected 200 to 299"),
        ("/ok", {"expect": [201, 202]}, "answered 200; expected 201, 202"),
        ("/large", {"max_mb": 1}, "answered with more than 1,048,576 bytes"),
        ("/loop", {"allow_private_redirects": True}, "redirects more than 5 times"),
        ("/to-file", {}, "redirects to an address that is not http or https"),
        ("/to-ok", {}, "A redirect leads to 127.0.0.1, an address of a private network"),
    ],
)
def test_what_breaks_a_limit_fails_and_leaves_no_file(
    bench: Bench, server: str, tmp_path: Path, path: str, arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TaskError) as raised:
        bench.run("http_request", url=f"{server}{path}", output="x", **arguments)
    assert reason in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_an_expected_status_is_success(bench: Bench, server: str) -> None:
    assert bench.run("http_request", url=f"{server}/missing", expect=[404]).facts["status"] == 404


def test_another_host_does_not_get_the_headers(bench: Bench, server: str) -> None:
    bench.run(
        "http_request",
        url=f"{server}/to-other",
        headers={"Authorization": "mine"},
        method="GET",
        allow_private_redirects=True,
    )
    assert [("Authorization" in headers) for _, _, headers, _ in _Handler.seen] == [True, False]


def test_a_redirect_after_a_post_is_a_get_without_body(bench: Bench, server: str) -> None:
    bench.run("http_request", url=f"{server}/to-ok", method="POST", body="x", allow_private_redirects=True)
    assert [(one[0], one[3]) for one in _Handler.seen] == [("POST", b"x"), ("GET", b"")]


def test_a_server_that_stays_silent_or_ends_early_is_told(bench: Bench, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(TaskError, match="did not answer in time"):
            bench.run("http_request", url=url, seconds=0.2)

        def answer() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    with contextlib.suppress(TimeoutError):
                        connection.settimeout(0.5)
                        connection.recv(65_536)
                    with contextlib.suppress(OSError):
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(TaskError, match=r"ended its answer after 4 of 100 bytes|cannot be reached"):
            bench.run("http_request", url=url, output="x")
        thread.join()
    with pytest.raises(TaskError, match="cannot be reached"):
        bench.run("http_request", url=url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:10.0.0.1"),
        *("0.0.0.0", "224.0.0.1", "fc00::1", "100.64.0.1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1%eth0"),
    ],
)
def test_addresses_of_private_networks_are_known(address: str) -> None:
    class Connected:
        def getpeername(self) -> tuple[str, int]:
            return (address, 80)

        def close(self) -> None: ...

    assert ipaddress.ip_address(address)
    connected: Any = Connected()
    with pytest.raises(TaskError, match="was not followed"):
        limits._guard(connected, "host")


def test_a_header_that_cannot_be_sent_is_not_repeated(bench: Bench, server: str) -> None:
    with pytest.raises(TaskError) as raised:
        bench.run("http_request", url=f"{server}/ok", headers={"X": "planted\nvalue"})
    assert "planted" not in reason_of(raised.value)
