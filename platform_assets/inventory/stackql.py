"""Client of a StackQL server, which speaks a part of the PostgreSQL protocol.

What that part lacks shapes this client. Values come as text. Statements such as REGISTRY PULL answer by
notices and have no columns. Older servers answer the messages of the extended protocol by silence, so that
form is used only on request, and its absence is noticed before anything runs. TLS is mutual where the server
has it.

Each statement has a connection of its own, so that none that was interrupted is used again.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from platform_assets.errors import StackqlError, StackqlUnavailable
from platform_assets.isolation import is_isolated

if TYPE_CHECKING:
    import pyarrow as pa

Protocol = Literal["simple", "extended", "auto"]
SslMode = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]
SSL_MODES: tuple[SslMode, ...] = ("disable", "prefer", "require", "verify-ca", "verify-full")
PROTOCOLS: tuple[Protocol, ...] = ("simple", "extended", "auto")
DEFAULT_PORT = 5466
"""The port on which `stackql srv` listens if none is named."""

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
# Object identifiers of PostgreSQL's types.
_BOOLEAN, _NUMERIC, _DATE, _TIMESTAMP, _TIMESTAMPTZ = 16, 1700, 1082, 1114, 1184
_INTEGERS, _FLOATS = (20, 21, 23, 26), (700, 701)
_TRUTH = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}
_PROVIDER_FAILED = re.compile(r"\bstatus code:? ?[45]\d\d\b|\berror\b", re.IGNORECASE)


@dataclass
class StackqlAnswer:
    """The answer to one statement.

    Attributes:
        columns: Name and type of each column, as PostgreSQL's object identifier; empty without rows.
        rows: The rows as text.
        tag: What the server says about the end of the statement, such as `INSERT 0 1` or `OK`.
        has_more: Rows beyond the limit were left out.
    """

    columns: list[tuple[str, int]] = field(default_factory=list)
    rows: list[list[str | None]] = field(default_factory=list)
    tag: str = ""
    has_more: bool = False


@dataclass(frozen=True)
class StackqlResult:
    """The result of one or more statements.

    Attributes:
        answers: The answer to each statement.
        notices: Messages that the server sent meanwhile, such as the outcome of REGISTRY PULL.
    """

    answers: Sequence[StackqlAnswer]
    notices: Sequence[str]

    @property
    def answer(self) -> StackqlAnswer:
        """The last answer with columns, else the last one."""
        with_columns = [answer for answer in self.answers if answer.columns]
        return (with_columns or list(self.answers) or [StackqlAnswer()])[-1]

    @property
    def messages(self) -> list[str]:
        """The notices and the statements' ends, for statements that have no columns."""
        lines = [line.strip() for answer in self.answers for line in answer.tag.splitlines()]
        messages = [*self.notices, *(line for line in lines if line and line != "OK")]
        return messages or ["OK"]

    @property
    def failures(self) -> list[str]:
        """Notices by which the server says that a provider did not answer completely."""
        return [notice for notice in self.notices if _PROVIDER_FAILED.search(notice)]

    def table(self) -> pa.Table:
        """Return the rows as Arrow; without columns, the server's messages in a column `message`.

        A column has the type that the server declares, or text if a value does not fit it.
        """
        import pyarrow as pa

        answer = self.answer
        if not answer.columns:
            return pa.table({"message": pa.array(self.messages, pa.string())})
        arrays = [
            _array(oid, [row[place] if place < len(row) else None for row in answer.rows])
            for place, (_, oid) in enumerate(answer.columns)
        ]
        return pa.Table.from_arrays(arrays, names=[name for name, _ in answer.columns])


@dataclass(frozen=True)
class StackqlServer:
    """Address of a StackQL server, or of any server that speaks the PostgreSQL protocol.

    Args:
        host: The server.
        port: Its port.
        database: Name of the database, which StackQL ignores.
        user: The user, which StackQL ignores unless the server asks for a password.
        password: Returns the password; called when a connection is opened.
        sslmode: Encryption of the connection and verification of the server, as in libpq.
        sslrootcert: File with the certificates that the server's certificate is checked against.
        sslcert: File with the client's certificate: StackQL's TLS asks for one.
        sslkey: File with the key of the client's certificate.
        connect_timeout: Longest wait for a connection, in seconds.
        statement_timeout: Longest duration of a statement, in seconds.
        protocol: The form in which statements are sent: `extended` needs a server that has it, `auto` tries
            it first.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    database: str = "stackql"
    user: str = "stackql"
    password: Callable[[], str] | None = field(default=None, repr=False)
    sslmode: SslMode = "prefer"
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None
    connect_timeout: float = 5
    statement_timeout: float = 600
    protocol: Protocol = "simple"

    @property
    def name(self) -> str:
        """The server at the start of a message."""
        return f"The StackQL server {self.host}:{self.port}"

    def run(
        self,
        sql: str,
        *,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> StackqlResult:
        """Run one or more statements.

        Args:
            sql: The statements.
            limit: The most rows to keep of each answer; None for all.
            timeout: Seconds that the statements may take; None for `statement_timeout`.

        Raises:
            StackqlUnavailable: The server cannot be reached, or the connection broke.
            StackqlError: The server rejects the login or a statement, or takes too long.
        """
        seconds = timeout if timeout is not None else self.statement_timeout
        if self.protocol != "simple":
            try:
                return self._run(sql, limit, seconds, is_extended=True)
            except _NoExtendedProtocol as error:
                # Nothing ran yet. The session is out of step: old servers count messages differently.
                if self.protocol == "extended":
                    raise StackqlError(
                        f"{self.name} does not take the statement in the extended protocol: {error}. Use the "
                        "simple one: --protocol simple, or stackql.protocol = simple in the configuration."
                    ) from error
        return self._run(sql, limit, seconds, is_extended=False)

    def _run(self, sql: str, limit: int | None, seconds: float, *, is_extended: bool) -> StackqlResult:
        password = self.password() if self.password is not None else None
        has_expired = threading.Event()
        with contextlib.ExitStack() as stack:
            opened = stack.enter_context(self._connected())

            def expire() -> None:
                has_expired.set()
                with contextlib.suppress(OSError):
                    # The plain method, because that of a TLS socket would take its keys from under a reader.
                    socket.socket.shutdown(opened, socket.SHUT_RDWR)

            timer = threading.Timer(seconds, expire)
            timer.daemon = True
            timer.start()
            stack.callback(timer.join)
            stack.callback(timer.cancel)
            try:
                session = _Session(
                    limit,
                    user=self.user,
                    password=password,
                    database=self.database,
                    host=self.host,
                    sock=opened,
                    ssl_context=False,
                    application_name="platform_assets",
                )
                stack.callback(_close, session)
                if is_extended:
                    session.execute_unnamed(sql)
                else:
                    session.execute_simple(sql)
            except _NoExtendedProtocol:
                raise
            except BaseException as error:
                if not is_isolated(error):
                    raise
                if has_expired.is_set():
                    raise StackqlError(
                        f"{self.name} took longer than {seconds:g} seconds, and the connection was closed. "
                        "Ask for less, or allow more time: --timeout SECONDS, or stackql.statement_timeout."
                    ) from error
                raise self._explained(error) from error
        return StackqlResult(session.answers, session.notice_lines())

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        try:
            plain = socket.create_connection((self.host, self.port), self.connect_timeout)
        except OSError as error:
            raise self._unreachable(error) from error
        with contextlib.closing(plain):
            if self.sslmode == "disable":
                plain.settimeout(None)
                yield plain
                return
            try:
                plain.sendall(_SSL_REQUEST)
                reply = plain.recv(1)
            except OSError as error:
                raise self._unreachable(error) from error
            if reply == b"S":
                with contextlib.closing(self._encrypted(plain)) as encrypted:
                    encrypted.settimeout(None)
                    yield encrypted
            elif reply == b"N" and self.sslmode == "prefer":
                plain.settimeout(None)
                yield plain
            elif reply == b"N":
                raise StackqlError(
                    f"{self.name} has no TLS, and sslmode = {self.sslmode} asks for it. Start it with "
                    "--pgsrv.tls, or set stackql.sslmode = disable."
                )
            else:
                raise StackqlUnavailable(
                    f"{self.name} does not speak the PostgreSQL protocol: it answered {reply!r} to the first "
                    f"message. Check the port; {_START}"
                )

    def _encrypted(self, plain: socket.socket) -> ssl.SSLSocket:
        try:
            context = ssl.create_default_context(cafile=self.sslrootcert)
            context.check_hostname = self.sslmode == "verify-full"
            if self.sslmode in ("prefer", "require"):
                context.verify_mode = ssl.CERT_NONE
            if self.sslcert is not None:
                context.load_cert_chain(self.sslcert, self.sslkey)
        except OSError as error:
            files = ", ".join(file for file in (self.sslrootcert, self.sslcert, self.sslkey) if file)
            raise StackqlError(
                f"The certificates for {self.host}:{self.port} cannot be used ({files}): {_reason(error)}. "
                "Check stackql.sslrootcert, sslcert and sslkey."
            ) from error
        try:
            return context.wrap_socket(plain, server_hostname=self.host)
        except ssl.SSLError as error:
            raise StackqlError(
                f"{self.name} and this client do not agree on TLS: {_reason(error)}. Check stackql.sslmode "
                "and sslrootcert, and that sslcert and sslkey are set if the server asks for the client's "
                "certificate."
            ) from error
        except OSError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: BaseException) -> StackqlUnavailable:
        return StackqlUnavailable(
            f"{self.name} cannot be reached: {_reason(error)}. {_START} Another address: --connect "
            "HOST:PORT, or STACKQL_HOST and STACKQL_PORT."
        )

    def _explained(self, error: BaseException) -> StackqlError:
        """Convert an error of the client library to one sentence."""
        if isinstance(error, DatabaseError):
            fields = error.args[0] if error.args and isinstance(error.args[0], dict) else {"M": str(error)}
            text = " ".join(
                ". ".join(fields[key].strip(" .") for key in ("M", "D", "H") if fields.get(key)).split()
            )
            if str(fields.get("C", "")).startswith("28"):
                return StackqlError(
                    f"{self.name} refused the login of {self.user}: {text}. Check stackql.user and "
                    "stackql.password in the configuration."
                )
            return StackqlError(f"{self.name} rejected the statement: {text}.")
        asks = isinstance(error, InterfaceError) and "password" in str(error)
        # The library looks for the bytes of a password that it was not given.
        if asks or (isinstance(error, AttributeError) and self.password is None):
            return StackqlError(
                f"{self.name} asks for a password, and none is configured: set stackql.password to a "
                "reference such as secret://env/STACKQL_PASSWORD."
            )
        if isinstance(error, ssl.SSLError):
            return StackqlError(
                f"{self.name} closed the encrypted connection: {_reason(error)}. If it asks for the client's "
                "certificate, set stackql.sslcert and sslkey."
            )
        if isinstance(error, InterfaceError | OSError):
            return StackqlUnavailable(
                f"{self.name} broke the connection ({_reason(error)}). Look at the server's log, and run the "
                "statement again."
            )
        return StackqlError(
            f"{self.name} sent something that is not the PostgreSQL protocol ({type(error).__name__}: "
            f"{_reason(error)}). Check that the port is that of `stackql srv`."
        )


def parse_address(text: str, configured: StackqlServer) -> StackqlServer:
    """Return the server of an address; what it does not name stays as configured.

    Args:
        text: `HOST`, `HOST:PORT` or `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE`.
        configured: The configured server.

    Raises:
        StackqlError: It is no address.
    """
    import dataclasses

    wrong = StackqlError(
        "The address after --connect cannot be read. Write HOST, HOST:PORT or "
        "postgresql://USER@HOST:PORT/DATABASE?sslmode=require."
    )
    try:
        parts = urlsplit(text if "://" in text else f"postgresql://{text}")
        port = parts.port
    except ValueError:
        raise wrong from None
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname:
        raise wrong
    if unknown := options.keys() - {"sslmode", "sslrootcert", "sslcert", "sslkey"}:
        raise StackqlError(
            f"The address after --connect has the unknown option {min(unknown)}. It may have sslmode, "
            "sslrootcert, sslcert and sslkey."
        )
    if options.get("sslmode", "prefer") not in SSL_MODES:
        raise StackqlError(
            f"The address after --connect has sslmode={options['sslmode']}. "
            f"Use one of {', '.join(SSL_MODES)}."
        )
    named: dict[str, Any] = {"host": parts.hostname, "port": port or configured.port, **options}
    if parts.username:
        named["user"] = unquote(parts.username)
    if parts.password is not None:
        given = unquote(parts.password)
        named["password"] = lambda: given
    if parts.path.strip("/"):
        named["database"] = unquote(parts.path.strip("/"))
    return dataclasses.replace(configured, **named)


_START = "Start it with `stackql srv --pgsrv.port=5466`."


class _NoExtendedProtocol(Exception):
    """The server does not take a statement in the extended protocol; nothing ran."""


class _Session(Connection):  # type: ignore[misc]
    """A connection that keeps each answer apart, and all values as text."""

    def __init__(self, limit: int | None, **arguments: Any) -> None:
        self.answers: list[StackqlAnswer] = []
        self._limit = limit
        self._is_open = False
        self._is_parsed = False
        super().__init__(**arguments)
        # A value that is not of its declared type would otherwise end the connection in mid-answer.
        self.pg_types: defaultdict[int, Callable[[str], str]] = defaultdict(lambda: _as_it_is)

    def notice_lines(self) -> list[str]:
        """Return the notices so far."""
        return [_notice(notice) for notice in self.notices]

    def execute_unnamed(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().execute_unnamed(*arguments, **options)
        except DatabaseError as error:
            if self._is_parsed:
                raise
            raise _NoExtendedProtocol(_message(error)) from error

    def send_DESCRIBE_STATEMENT(self, statement_name_bin: bytes) -> None:  # noqa: N802 - pg8000's name
        if not self._is_parsed:
            raise _NoExtendedProtocol("it did not answer")
        super().send_DESCRIBE_STATEMENT(statement_name_bin)

    def handle_PARSE_COMPLETE(self, data: bytes, context: Any) -> None:  # noqa: N802 - pg8000's name
        self._is_parsed = True
        super().handle_PARSE_COMPLETE(data, context)

    def handle_ROW_DESCRIPTION(self, data: bytes, context: Any) -> None:  # noqa: N802 - pg8000's name
        super().handle_ROW_DESCRIPTION(data, context)
        if self._is_open and not self.answers[-1].rows:
            self.answers.pop()  # described twice: by the statement, and by its execution
        self.answers.append(
            StackqlAnswer([(column["name"], column["type_oid"]) for column in context.columns])
        )
        self._is_open = True
        context.rows = self.answers[-1].rows

    def handle_DATA_ROW(self, data: bytes, context: Any) -> None:  # noqa: N802 - pg8000's name
        answer = self.answers[-1] if self._is_open else None
        if answer is None:
            context.rows = []
        elif self._limit is not None and len(answer.rows) >= self._limit:
            answer.has_more = True
            return
        super().handle_DATA_ROW(data, context)

    def handle_COMMAND_COMPLETE(self, data: bytes, context: Any) -> None:  # noqa: N802 - pg8000's name
        super().handle_COMMAND_COMPLETE(data, context)
        if not self._is_open:
            self.answers.append(StackqlAnswer())
        self.answers[-1].tag = data[:-1].decode("utf-8", "replace")
        self._is_open = False


def _as_it_is(text: str) -> str:
    return text


def _close(session: Connection) -> None:
    with contextlib.suppress(InterfaceError, OSError, ValueError):
        session.close()


def _message(error: DatabaseError) -> str:
    fields = error.args[0] if error.args else ""
    return " ".join(str(fields.get("M", fields) if isinstance(fields, dict) else fields).split()).rstrip(".")


def _notice(fields: dict[bytes, bytes]) -> str:
    """Return a notice as one line: StackQL says in the detail what happened."""
    parts = [fields[key].decode("utf-8", "replace").strip() for key in (b"M", b"D", b"H") if fields.get(key)]
    return " ".join(": ".join(parts).split())


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    cause = error.__cause__
    if isinstance(error, InterfaceError) and isinstance(cause, OSError):
        return _reason(cause)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__


def _array(oid: int, values: Sequence[str | None]) -> pa.Array:
    """Return a column in its declared type, or as text if a value does not fit it."""
    import pyarrow as pa
    from pg8000.converters import PG_TYPES

    def converted(convert: Callable[[str], Any]) -> list[Any]:
        return [None if value is None else convert(value) for value in values]

    try:
        if oid in _INTEGERS:
            return pa.array(converted(int), pa.int64())
        if oid in _FLOATS:
            return pa.array(converted(float), pa.float64())
        if oid == _BOOLEAN:
            return pa.array(converted(lambda text: _TRUTH[text.lower()]), pa.bool_())
        if oid == _NUMERIC and any(value is not None for value in values):
            return pa.array(converted(PG_TYPES[oid]))
        if oid == _DATE:
            return pa.array(converted(PG_TYPES[oid]), pa.date32())
        if oid in (_TIMESTAMP, _TIMESTAMPTZ):
            zone = "UTC" if oid == _TIMESTAMPTZ else None
            return pa.array(converted(PG_TYPES[oid]), pa.timestamp("us", tz=zone))
    except (ValueError, KeyError, TypeError, OverflowError, ArithmeticError, pa.ArrowException):
        pass
    return pa.array(values, pa.string())
