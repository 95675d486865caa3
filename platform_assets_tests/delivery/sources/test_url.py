"""Files at addresses: what comes, what does not, and where no connection is made to."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from platform_assets.delivery.interfaces import Bytes, DeliveryError, DestinationUnavailable
from platform_assets.delivery.sources.url import UrlSource
from platform_assets.networks import is_public
from platform_assets.rooms import Rooms
from platform_assets_tests.delivery.sources.house import files_of, source_of
from platform_assets_tests.fixtures.certificates import new_certificate

CONTENT = bytes(range(256)) * 5_000


@dataclass
class Site:
    """A server that answers each path as told, and what was asked of it."""

    url: str = ""
    answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def source(self, path: str, **options: Any) -> UrlSource:
        settings: dict[str, Any] = {"allow_http": True, "allow_private": True, "idle_timeout": 1, **options}
        return UrlSource(f"{self.url}{path}", **settings)


def serving() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append((self.command, self.path, dict(self.headers)))
            site.answers[self.path](self)

        do_HEAD = do_GET  # noqa: N815 - the library's name

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Log nothing: a test that fails shows its own request."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield site
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    yield from serving()


@pytest.fixture
def other_site() -> Iterator[Site]:
    yield from serving()


def answer(
    content: bytes = CONTENT, status: int = 200, *, announced: int | None = None, **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with a content; `announced` is the length that is told."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content) if announced is None else announced))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(content)

    return act


def redirect(target: str) -> Callable[[BaseHTTPRequestHandler], None]:
    return answer(b"", 302, Location=target)


def read(source: UrlSource) -> dict[str, bytes]:
    return files_of(source)


def test_a_file_comes_under_the_last_part_of_its_address(site: Site) -> None:
    site.answers["/reports/a%20b.csv?x=1"] = answer(Content_Type="text/csv")
    source = site.source("/reports/a%20b.csv?x=1")
    assert read(source) == {"a b.csv": CONTENT}
    with source.open() as content:
        one = next(content)
        assert isinstance(one, Bytes)
        assert (one.content_type, one.size) == ("text/csv", len(CONTENT))
    assert read(site.source("/reports/a%20b.csv?x=1", name="x.csv")) == {"x.csv": CONTENT}


def test_the_version_is_the_etag_or_else_the_time(site: Site) -> None:
    site.answers["/a"] = answer(ETag='"1"')
    source = site.source("/a")
    first = source.version()
    assert site.asked[-1][0] == "HEAD"
    site.answers["/a"] = answer(ETag='"2"')
    assert source.version() != first
    site.answers["/a"] = answer(Last_Modified="Sat, 31 Jan 2026 08:00:00 GMT")
    dated = source.version()
    site.answers["/a"] = answer(Last_Modified="Sat, 31 Jan 2026 09:00:00 GMT")
    assert source.version() != dated
    site.answers["/a"] = answer()
    assert source.version() is None
    site.answers["/a"] = answer(b"", 405)
    assert source.version() is None


def test_content_that_changes_after_its_version_was_asked_fails_for_now(site: Site) -> None:
    site.answers["/a"] = answer(ETag='"1"')
    source = site.source("/a")
    source.version()
    site.answers["/a"] = answer(ETag='"2"')
    with pytest.raises(DestinationUnavailable, match="changed in between"):
        read(source)
    assert read(source) == {"a": CONTENT}


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", " GZIP ", "deflate"])
def test_the_compression_of_a_server_that_was_asked_for_none_is_undone(site: Site, coding: str) -> None:
    content = CONTENT * 4
    packed = zlib.compress(content) if coding == "deflate" else gzip.compress(content)
    site.answers["/a.csv"] = answer(packed, Content_Encoding=coding)
    assert read(site.source("/a.csv")) == {"a.csv": content}
    with pytest.raises(DeliveryError, match=f"larger than {len(content) - 1:,} bytes"):
        read(site.source("/a.csv", largest=len(content) - 1))


def test_a_compressed_answer_of_several_parts_is_read_to_its_end(site: Site) -> None:
    site.answers["/a.csv"] = answer(gzip.compress(CONTENT) + gzip.compress(b"more"), Content_Encoding="gzip")
    assert read(site.source("/a.csv")) == {"a.csv": CONTENT + b"more"}
    site.answers["/none.csv"] = answer(gzip.compress(b""), Content_Encoding="gzip")
    assert read(site.source("/none.csv")) == {"none.csv": b""}


def test_a_file_that_is_compressed_itself_stays_as_it_is(site: Site) -> None:
    packed = gzip.compress(CONTENT)
    site.answers["/a.csv.gz"] = answer(packed, Content_Encoding="gzip")
    assert read(site.source("/a.csv.gz")) == {"a.csv.gz": packed}
    site.answers["/a.csv"] = answer(CONTENT, Content_Encoding="identity")
    assert read(site.source("/a.csv")) == {"a.csv": CONTENT}


@pytest.mark.parametrize(
    ("packed", "coding", "error", "reason"),
    [
        (b"not compressed", "gzip", DestinationUnavailable, "its content is not gzip, as the server says"),
        (gzip.compress(CONTENT)[:-9], "gzip", DestinationUnavailable, "its gzip content has no end"),
        (gzip.compress(CONTENT)[:10], "gzip", DestinationUnavailable, "its gzip content has no end"),
        (CONTENT, "br", DeliveryError, "compresses it as br, and only gzip and deflate can be undone"),
    ],
)
def test_a_compression_that_cannot_be_undone_is_an_error(
    site: Site, packed: bytes, coding: str, error: type[DeliveryError], reason: str
) -> None:
    site.answers["/a.csv"] = answer(packed, Content_Encoding=coding)
    with pytest.raises(error, match=reason):
        read(site.source("/a.csv"))


def test_a_truncated_body_is_an_error(site: Site) -> None:
    site.answers["/a"] = answer(CONTENT[:1000], announced=len(CONTENT))
    with pytest.raises(DestinationUnavailable, match=r"1,000 of 1,280,000 bytes|broke off after"):
        read(site.source("/a"))


def test_a_truncated_chunked_body_is_an_error(site: Site) -> None:
    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"5\r\nhello\r\n10\r\nhalf")
        handler.close_connection = True

    site.answers["/a"] = act
    with pytest.raises(DestinationUnavailable, match="broke off"):
        read(site.source("/a"))


def test_a_server_that_stops_sending_is_given_up(site: Site) -> None:
    released = threading.Event()

    def act(handler: BaseHTTPRequestHandler) -> None:
        answer(CONTENT[:1000], announced=len(CONTENT))(handler)
        handler.wfile.flush()
        released.wait(30)

    site.answers["/a"] = act
    with pytest.raises(DestinationUnavailable, match="no answer came in time"):
        read(site.source("/a", idle_timeout=0.3))
    released.set()


def test_a_server_that_does_not_answer_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        source = UrlSource(address, allow_http=True, allow_private=True, idle_timeout=0.3)
        with pytest.raises(DestinationUnavailable, match="no answer came in time"):
            read(source)
    with pytest.raises(DestinationUnavailable, match="refused"):
        read(source)


def test_a_file_larger_than_allowed_is_refused_whatever_is_announced(site: Site) -> None:
    site.answers["/announced"] = answer()

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(CONTENT)

    site.answers["/silent"] = act
    for path in ("/announced", "/silent"):
        with pytest.raises(DeliveryError, match="it is larger than 1,000,000 bytes"):
            read(site.source(path, largest=1_000_000))
    assert read(site.source("/silent", largest=2_000_000)) == {"silent": CONTENT}


@pytest.mark.parametrize(
    ("status", "error"), [(404, DeliveryError), (401, DeliveryError), (503, DestinationUnavailable)]
)
def test_a_failure_is_told_with_its_status(site: Site, status: int, error: type[DeliveryError]) -> None:
    site.answers["/a"] = answer(b"", status, Retry_After="7")
    with pytest.raises(error, match=f"the server answers {status}") as caught:
        read(site.source("/a"))
    assert isinstance(caught.value, DestinationUnavailable) == (status == 503)
    if isinstance(caught.value, DestinationUnavailable):
        assert caught.value.wait == 7


def test_redirects_are_followed_but_not_for_ever(site: Site) -> None:
    site.answers |= {
        "/a": redirect("/b"),
        "/b": redirect("c?d=e"),
        "/c?d=e": answer(),
        "/loop": redirect("/loop"),
    }
    assert read(site.source("/a")) == {"a": CONTENT}
    with pytest.raises(DeliveryError, match=r"it redirects more than 5 times"):
        read(site.source("/loop"))


def test_credentials_are_not_sent_to_another_server(site: Site, other_site: Site) -> None:
    site.answers["/a"] = redirect(f"{other_site.url}/b")
    other_site.answers["/b"] = answer()
    assert read(site.source("/a", headers={"Authorization": "Bearer of-tests"})) == {"a": CONTENT}
    assert site.asked[0][2]["Authorization"] == "Bearer of-tests"
    assert "Authorization" not in other_site.asked[0][2]


def test_no_connection_is_made_to_this_machine_unless_allowed(site: Site) -> None:
    site.answers["/a"] = answer()
    for address in (site.url, site.url.replace("127.0.0.1", "localhost")):
        with pytest.raises(DeliveryError, match=r"an address of a private network or of this machine"):
            read(UrlSource(f"{address}/a", allow_http=True))
    assert site.asked == []


@pytest.mark.parametrize(
    "target",
    ["http://[::1", "http://example.org:99999/", "http://a..b/", f"http://{'a' * 70}.org/", "http://"],
)
def test_a_redirect_to_something_that_is_no_address_is_final(site: Site, target: str) -> None:
    site.answers["/a"] = redirect(target)
    with pytest.raises(DeliveryError, match=r"127\.0\.0\.1:\d+/a was not read: "):
        read(site.source("/a"))


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("http://[::1]/a", ("::1", 80)),
        ("https://[::1]/a", ("::1", 443)),
        ("https://[::ffff:127.0.0.1]/a", ("::ffff:127.0.0.1", 443)),
        ("https://[fd00::1]:8443/a", ("fd00::1", 8443)),
    ],
)
def test_an_ipv6_address_is_connected_to_with_its_port(
    address: str, asked: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def resolved(host: str, port: int, **options: Any) -> list[Any]:
        found.append((host, port))
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, port, 0, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with pytest.raises(DeliveryError, match="an address of a private network or of this machine"):
        read(UrlSource(address, allow_http=True))
    assert found == [asked]


def test_a_redirect_to_a_private_address_is_not_followed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # The first server has a public address as far as names go; its redirect leads to the metadata server.
    site.answers["/a"] = redirect("http://169.254.169.254/latest/meta-data")
    monkeypatch.setattr(
        "platform_assets.delivery.sources.url.is_public",
        lambda found: found == "127.0.0.1" or is_public(found),
    )
    with pytest.raises(DeliveryError, match=r"169\.254\.169\.254, an address of a private network"):
        read(site.source("/a", allow_private=False))


def test_a_name_that_resolves_to_another_address_later_does_not_help(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.answers["/a"] = answer(ETag='"1"')
    port = int(site.url.rpartition(":")[2])
    found = iter(["93.184.216.34", "127.0.0.1"])
    asked = []

    def resolved(host: str, *arguments: Any, **options: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(found), port))]

    # The first answer is public, so any check made before the connection would pass.
    assert is_public(resolved("rebinding.example.org")[0][4][0])
    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with pytest.raises(
        DeliveryError, match=r"rebinding\.example\.org is 127\.0\.0\.1, an address of a private"
    ):
        read(UrlSource(f"http://rebinding.example.org:{port}/a", allow_http=True))
    assert site.asked == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_plain_http_is_refused_unless_allowed(site: Site) -> None:
    with pytest.raises(DeliveryError, match="does not start with https://"):
        read(UrlSource(f"{site.url}/a", allow_private=True))
    for target in ("ftp://example.org/x", "file:///etc/passwd"):
        site.answers["/a"] = redirect(target)
        with pytest.raises(DeliveryError, match="does not start with https://"):
            read(site.source("/a"))


def test_a_certificate_is_checked(tmp_path: Path) -> None:
    trusted, key = new_certificate(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, key)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(b"over TLS")(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Log nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        address = f"https://127.0.0.1:{listening.server_port}/a"
        assert read(UrlSource(address, allow_private=True, ca_file=trusted)) == {"a": b"over TLS"}
        with pytest.raises(DeliveryError, match=r"the certificate of 127\.0\.0\.1 is not trusted"):
            read(UrlSource(address, allow_private=True))
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def test_the_settings_make_the_source(site: Site, rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", "Bearer of-tests")
    site.answers["/a"] = answer()
    block = {
        "address": f"{site.url}/a",
        "allow_http": True,
        "allow_private": True,
        "headers": {"Authorization": "secret://env/TEST_TOKEN"},
        "megabytes": 2,
    }
    assert files_of(source_of(rooms, url=block)) == {"a": CONTENT}
    assert site.asked[0][2]["Authorization"] == "Bearer of-tests"
