"""One HTTP request with limits: time, size, redirects, and the addresses that redirects may lead to."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from platform_assets.networks import is_public
from platform_assets.tasks.task import Deadline, TaskError

_CHUNK = 65_536
_REDIRECTS = (301, 302, 303, 307, 308)
_SEE_OTHER = (301, 302, 303)
_REASONS = (OSError, http.client.HTTPException, ssl.SSLError)


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        method: The method.
        url: The address, http:// or https://.
        headers: Headers; they may be secret.
        body: The body: bytes, a file, or None.
        seconds: Seconds that the server may stay silent.
        max_bytes: The most bytes of the answer.
        max_redirects: The most redirects to follow.
        allow_private: Whether redirects may lead to private addresses.
        deadline: The time until which it has to be done.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | Path | None
    seconds: float
    max_bytes: int
    max_redirects: int
    allow_private: bool
    deadline: Deadline


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        status: The status code.
        size: Bytes of its body.
        shown_url: The address that gave it, without the query, which may be secret.
    """

    status: int
    size: int
    shown_url: str


def send(request: Request, output: Path | None) -> Answer:
    """Send a request, follow its redirects, and read the answer.

    Args:
        request: The request.
        output: The file to write the answer's body to; None to only count it.

    Raises:
        TaskError: The server cannot be reached, or the answer breaks a limit.
    """
    current, is_redirected = request, False
    for _ in range(request.max_redirects + 1):
        target = _shown(current.url)
        with _explained(target), _sent(current, is_redirected=is_redirected) as answer:
            location = answer.getheader("Location")
            if answer.status in _REDIRECTS and location:
                current = _redirected(current, urljoin(current.url, location), answer.status)
                is_redirected = True
                continue
            size = _read(answer, current, output, target)
            return Answer(answer.status, size, target)
    raise TaskError(f"{_shown(request.url)} redirects more than {request.max_redirects} times.")


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


def _redirected(request: Request, url: str, status: int) -> Request:
    """Return the request that a redirect asks for; another server does not get the headers."""
    old, new = urlsplit(request.url), urlsplit(url)
    if new.scheme not in ("http", "https") or not new.hostname or new.username:
        raise TaskError(f"{_shown(request.url)} redirects to an address that is not http or https.")
    if old.scheme == "https" and new.scheme == "http":
        raise TaskError(f"{_shown(request.url)} redirects from https to http, which is not followed.")
    method, body = request.method, request.body
    if status in _SEE_OTHER and method not in ("GET", "HEAD"):
        method, body = "GET", None
    same = (old.scheme, old.netloc) == (new.scheme, new.netloc)
    return replace(request, url=url, method=method, body=body, headers=request.headers if same else {})


@contextlib.contextmanager
def _sent(request: Request, *, is_redirected: bool) -> Iterator[http.client.HTTPResponse]:
    parts = urlsplit(request.url)
    wait = request.deadline.at_most(request.seconds)
    guarded = is_redirected and not request.allow_private
    kind = _TlsConnection if parts.scheme == "https" else _PlainConnection
    # Without a port, http.client takes the end of an IPv6 address for one.
    port = parts.port if parts.port is not None else kind.default_port
    connection: http.client.HTTPConnection = kind(parts.hostname or "", port, wait, guarded)
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    headers = {"User-Agent": "platform_assets", "Accept-Encoding": "identity", **request.headers}
    with contextlib.closing(connection), contextlib.ExitStack() as stack:
        if isinstance(request.body, Path):
            content = stack.enter_context(request.body.open("rb"))
            headers["Content-Length"] = str(request.body.stat().st_size)
            connection.request(request.method, path, content, headers)
        else:
            connection.request(request.method, path, request.body, headers)
        with connection.getresponse() as answer:
            yield answer


def _read(answer: http.client.HTTPResponse, request: Request, output: Path | None, target: str) -> int:
    size = 0
    with output.open("wb") if output is not None else contextlib.nullcontext() as written:
        while chunk := answer.read1(_CHUNK):
            request.deadline.left()
            size += len(chunk)
            if size > request.max_bytes:
                raise TaskError(
                    f"{target} answered with more than {request.max_bytes:,} bytes. Raise max_mb if that "
                    "is right."
                )
            if written is not None:
                written.write(chunk)
    # A connection that ends early is not an error of read1.
    expected = answer.getheader("Content-Length")
    if request.method != "HEAD" and expected is not None and expected.isdecimal() and size < int(expected):
        raise TaskError(f"{target} ended its answer after {size:,} of {int(expected):,} bytes. Try again.")
    return size


@contextlib.contextmanager
def _explained(target: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise TaskError(f"{target} did not answer in time. Try again later, or raise `seconds`.") from None
    except _REASONS as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise TaskError(
            f"{target} cannot be reached: {reason}. Check the address, and that the server runs."
        ) from None
    except (UnicodeError, ValueError) as error:
        # The text may quote a header.
        raise TaskError(f"The request to {target} cannot be sent: {type(error).__name__}.") from None


def _guard(connected: socket.socket, host: str) -> None:
    """Refuse a connection to a private address; the address that was connected to counts, not a name's."""
    if not is_public(str(connected.getpeername()[0])):
        connected.close()
        raise TaskError(
            f"A redirect leads to {host}, an address of a private network or of this machine, and was not "
            "followed. Set "
            "allow_private_redirects if that is right."
        )


class _PlainConnection(http.client.HTTPConnection):
    def __init__(self, host: str, port: int, seconds: float, guarded: bool) -> None:
        super().__init__(host, port, timeout=seconds)
        self._guarded = guarded

    def connect(self) -> None:
        super().connect()
        if self._guarded:
            _guard(self.sock, self.host)


class _TlsConnection(http.client.HTTPConnection):
    default_port = http.client.HTTPS_PORT

    def __init__(self, host: str, port: int, seconds: float, guarded: bool) -> None:
        super().__init__(host, port, timeout=seconds)
        self._guarded = guarded

    def connect(self) -> None:
        super().connect()
        if self._guarded:
            _guard(self.sock, self.host)
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)
