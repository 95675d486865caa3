"""The explorer's page over HTTP, so that pages of the Dagster UI can link to it.

Browsers do not follow a link from a page over HTTP to a file, and the UI's own server has no place for files
of others. This server knows one page and nothing else.
"""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from platform_assets.errors import LineageError, PlatformError

_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@contextlib.contextmanager
def serving_page(page: Callable[[], str], host: str, port: int) -> Iterator[int]:
    """Serve the page in a thread for the duration of the block; yields the port.

    Args:
        page: Returns the page; called for each request.
        host: Address to serve on.
        port: Port to serve on; 0 for any that is free.

    Raises:
        LineageError: The port is in use, or the address is not this machine's.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            if self.path.partition("?")[0] not in ("/", "/index.html"):
                self.send_error(HTTPStatus.NOT_FOUND, "There is one page here: /")
                return
            try:
                body, status = page().encode(), HTTPStatus.OK
            except PlatformError as error:
                # A mistake in a declaration: people see it where they look for the page.
                body, status = f"<!doctype html><pre>{_escaped(str(error))}</pre>".encode(), _BROKEN
            self.send_response(status)
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                # The browser may have left.
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Write nothing: the terminal belongs to the UI."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise LineageError(
            f"The lineage page cannot be served on {host}:{port}: {error.strerror}. Choose another port."
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="lineage page", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def address_for(host: str, port: int) -> str:
    """Return the address by which a browser on this machine reaches a server.

    Args:
        host: The address that the server is bound to; for all of the machine's, that of the machine itself.
        port: Its port.
    """
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


_BROKEN = HTTPStatus.INTERNAL_SERVER_ERROR


def _escaped(text: str) -> str:
    import html

    return html.escape(text)
