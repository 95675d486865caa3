"""A file at an HTTPS address.

Unless it is allowed, no connection is made to an address of a private network, of this machine, or of a
cloud's metadata server. The address is checked on each connection, after the name was resolved: neither a
redirect nor a name server that changes its answer leads there.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import socket
import ssl
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from platform_assets.configuration.secrets import Secret
from platform_assets.delivery.interfaces import Bytes, DeliveryError, DestinationUnavailable, Rows
from platform_assets.delivery.sources.files import content_type_of
from platform_assets.networks import is_public

_CHUNK = 256 * 1024
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LATER = frozenset({408, 425, 429})
_NO_HEAD = frozenset({403, 404, 405, 501})
_LONGEST_WAIT = 86_400.0
_AGENT = "platform-assets"
_GZIP = frozenset({"gzip", "x-gzip"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


@dataclass
class UrlSource:
    """A file at an address.

    Args:
        address: The address.
        name: Name of the file; None for the last part of the address.
        headers: Further headers, such as one with credentials; they are sent to the server of `address` only.
        largest: The largest size in bytes.
        connect_timeout: Seconds until a connection is given up.
        idle_timeout: Seconds without a byte until the transfer is given up.
        allow_http: True to allow addresses that start with http://.
        allow_private: True to allow addresses of private networks and of this machine.
        ca_file: Certificates to trust in place of the system's.
    """

    address: str
    name: str | None = None
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    largest: int = 1024 * 1024 * 1024
    connect_timeout: float = 10
    idle_timeout: float = 60
    allow_http: bool = False
    allow_private: bool = False
    ca_file: Path | None = None
    _seen: str | None = None

    def version(self) -> str | None:
        """See `DataSource.version`: the ETag, or else time and size; None if the server tells neither."""
        with self._answer("HEAD") as answer:
            if answer.status in _NO_HEAD:
                return None
            self._refuse_failure(answer)
            self._seen = _version_of(answer)
        return self._seen

    @contextlib.contextmanager
    def open(self) -> Iterator[Iterator[Rows | Bytes]]:
        """See `DataSource.open`."""
        with self._answer("GET") as answer:
            self._refuse_failure(answer)
            seen, self._seen = self._seen, None
            if seen is not None and _version_of(answer) != seen:
                raise DestinationUnavailable(
                    f"{self.address} changed in between. The next attempt delivers the new content."
                )
            size = _length(answer)
            if size is not None and size > self.largest:
                raise self._too_large()
            name = self.name or _name_of(self.address)
            type_ = answer.getheader("Content-Type") or content_type_of(name)
            chunks = self._chunks(answer, size)
            if coding := _coding_of(answer, name):
                chunks, size = self._decoded(chunks, coding), None
            yield iter([Bytes(name, chunks, size, content_type=type_)])

    def _chunks(self, answer: http.client.HTTPResponse, size: int | None) -> Iterator[bytes]:
        received = 0
        while True:
            try:
                chunk = answer.read(_CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise self._unavailable(f"it broke off after {received:,} bytes: {_reason(error)}") from error
            received += len(chunk)
            if received > self.largest:
                raise self._too_large()
            if not chunk:
                break
            yield chunk
        if size is not None and received != size:
            raise self._unavailable(f"it broke off: {received:,} of {size:,} bytes came")

    def _decoded(self, chunks: Iterator[bytes], coding: str) -> Iterator[bytes]:
        """Undo the compression of a server that compresses although the request does not allow it."""
        if coding not in (*_GZIP, "deflate"):
            raise DeliveryError(
                f"{self.address} was not read: the server compresses it as {coding}, and only gzip and "
                "deflate can be undone. Have the server send it without Content-Encoding."
            )
        unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        received, is_begun = 0, False
        try:
            for chunk in chunks:
                packed, is_begun = chunk, True
                while packed:
                    if unpacker.eof:
                        unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
                    part = unpacker.decompress(packed, _CHUNK)
                    while part:
                        received += len(part)
                        if received > self.largest:
                            raise self._too_large()
                        yield part
                        part = b"" if unpacker.eof else unpacker.decompress(unpacker.unconsumed_tail, _CHUNK)
                    packed = unpacker.unused_data
        except zlib.error as error:
            raise self._unavailable(f"its content is not {coding}, as the server says: {error}") from error
        if is_begun and not unpacker.eof:
            raise self._unavailable(f"it broke off: its {coding} content has no end")

    @contextlib.contextmanager
    def _answer(self, method: str) -> Iterator[http.client.HTTPResponse]:
        """Send a request, follow redirects, and yield the last answer."""
        address = self.address
        for _ in range(_MOST_REDIRECTS + 1):
            self._refuse_address(address)
            connection = self._connection(address)
            try:
                answer = self._request(connection, method, address)
                target = answer.getheader("Location") if answer.status in _REDIRECTS else None
                if target is None:
                    yield answer
                    return
                address = self._redirected(address, target)
            finally:
                connection.close()
        raise DeliveryError(f"{self.address} was not read: it redirects more than {_MOST_REDIRECTS} times.")

    def _redirected(self, address: str, target: str) -> str:
        try:
            return urljoin(address, target)
        except ValueError:
            raise DeliveryError(
                f"{self.address} was not read: it redirects to something that is no address."
            ) from None

    def _request(
        self, connection: http.client.HTTPConnection, method: str, address: str
    ) -> http.client.HTTPResponse:
        parts = urlsplit(address)
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (
            f"?{parts.query}" if parts.query else ""
        )
        headers = {"User-Agent": _AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
        if _origin(address) == _origin(self.address):
            headers |= {
                name: value.resolve() if isinstance(value, Secret) else value
                for name, value in self.headers.items()
            }
        try:
            connection.request(method, path, headers=headers)
            return connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise DeliveryError(
                f"{self.address} was not read: the certificate of {parts.hostname} is not trusted: "
                f"{error.verify_message}. Correct the address, or name the certificate to trust in ca_file."
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unavailable(_reason(error)) from error

    def _connection(self, address: str) -> http.client.HTTPConnection:
        scheme, host, port = _origin(address)
        arguments: dict[str, Any] = {"timeout": self.idle_timeout}
        if scheme == "http":
            return _CheckedConnection(self, host, port, **arguments)
        try:
            context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        except (OSError, ssl.SSLError) as error:
            raise DeliveryError(
                f"The certificates in {self.ca_file} cannot be read: {_reason(error)}. Correct ca_file."
            ) from error
        return _CheckedTlsConnection(self, host, port, context=context, **arguments)

    def connect(self, host: str, port: int) -> socket.socket:
        """Connect to the first address of a host that answers and may be connected to.

        Raises:
            DeliveryError: All its addresses are private.
            OSError: None answers.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise DeliveryError(
                f"{self.address} was not read: {host} is no name of a host. Correct the address."
            ) from None
        last: OSError | None = None
        refused = ""
        for family, kind, protocol, _, where in found:
            if not self.allow_private and not is_public(str(where[0])):
                refused = str(where[0])
                continue
            opened = socket.socket(family, kind, protocol)
            try:
                opened.settimeout(self.connect_timeout)
                opened.connect(where)
            except OSError as error:
                opened.close()
                last = error
                continue
            opened.settimeout(self.idle_timeout)
            return opened
        if last is not None:
            raise last
        raise DeliveryError(
            f"{self.address} was not read: {host} is {refused}, an address of a private network or of this "
            "machine. If that is meant, set allow_private = true."
        )

    def _refuse_address(self, address: str) -> None:
        try:
            scheme, host, _ = _origin(address)
        except ValueError as error:
            shown = address.partition("?")[0]
            raise DeliveryError(f"{self.address} was not read: {shown} is no address: {error}.") from None
        if scheme == "https" or (scheme == "http" and self.allow_http):
            if host:
                return
            raise DeliveryError(f"{self.address} was not read: {address} names no host.")
        raise DeliveryError(
            f"{self.address} was not read: {address.partition('?')[0]} does not start with https://. If "
            "plain HTTP is meant, set allow_http = true."
        )

    def _refuse_failure(self, answer: http.client.HTTPResponse) -> None:
        status = answer.status
        if status == http.client.OK:
            return
        sentence = f"the server answers {status} {answer.reason}".strip()
        if status in _LATER or status >= http.client.INTERNAL_SERVER_ERROR:
            raise self._unavailable(sentence, _wait(answer))
        raise DeliveryError(
            f"{self.address} was not read: {sentence}. Check the address and the credentials."
        )

    def _unavailable(self, reason: str, wait: float | None = None) -> DestinationUnavailable:
        return DestinationUnavailable(f"{self.address} was not read: {reason}.", wait)

    def _too_large(self) -> DeliveryError:
        return DeliveryError(
            f"{self.address} was not read: it is larger than {self.largest:,} bytes. Raise megabytes if "
            "that is fine."
        )


class _CheckedConnection(http.client.HTTPConnection):
    """A connection that is made only to addresses that are allowed."""

    def __init__(self, source: UrlSource, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._source = source

    def connect(self) -> None:
        self.sock = self._source.connect(self.host, self.port)


class _CheckedTlsConnection(http.client.HTTPSConnection):
    """A TLS connection that is made only to addresses that are allowed."""

    def __init__(self, source: UrlSource, *arguments: Any, context: ssl.SSLContext, **options: Any) -> None:
        super().__init__(*arguments, context=context, **options)
        self._source = source
        self._tls = context

    def connect(self) -> None:
        opened = self._source.connect(self.host, self.port)
        try:
            self.sock = self._tls.wrap_socket(opened, server_hostname=self.host)
        except BaseException:
            opened.close()
            raise


def _origin(address: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of an address.

    The port is never left out of a connection: without it, `http.client` takes the end of an IPv6 address
    for one.

    Raises:
        ValueError: The port is no port, or the brackets around an IPv6 address are no pair.
    """
    parts = urlsplit(address)
    port = parts.port if parts.port is not None else {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port


def _version_of(answer: http.client.HTTPResponse) -> str | None:
    if etag := answer.getheader("ETag"):
        return hashlib.sha256(etag.removeprefix("W/").encode("latin-1")).hexdigest()[:16]
    if modified := answer.getheader("Last-Modified"):
        facts = json.dumps([modified, answer.getheader("Content-Length")])
        return hashlib.sha256(facts.encode()).hexdigest()[:16]
    return None


def _coding_of(answer: http.client.HTTPResponse, name: str) -> str:
    """Return the compression that has to be undone; empty if the content is the file itself.

    Servers also send a file that is compressed itself, such as `a.csv.gz`, as one that they have compressed.
    """
    coding = answer.getheader("Content-Encoding", "").strip().lower()
    is_file_itself = coding in _GZIP and name.lower().endswith((".gz", ".tgz", ".svgz"))
    return "" if coding == "identity" or is_file_itself else coding


def _length(answer: http.client.HTTPResponse) -> int | None:
    """Return the length of the content that an answer announces."""
    text = answer.getheader("Content-Length", "")
    return int(text) if re.fullmatch(r"\d{1,18}", text) else None


def _wait(answer: http.client.HTTPResponse) -> float | None:
    """Return the seconds that a server asks to wait; a date is left to the delivery's own delays."""
    text = answer.getheader("Retry-After", "")
    return min(float(text), _LONGEST_WAIT) if re.fullmatch(r"\d{1,9}", text) else None


def _name_of(address: str) -> str:
    return unquote(urlsplit(address).path).rstrip("/").rpartition("/")[2] or "download"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer came in time"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return f"{type(error).__name__}: {text}".rstrip(".: ")
