"""Sessions with a PostgreSQL server: how pg8000 and ADBC open them, and its errors as the platform's.

What is asked in them is not known here.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as url_quote
from urllib.parse import urlencode

from platform_assets.errors import SourceError, SourceUnavailable
from platform_assets.source.connection import Connection

if TYPE_CHECKING:
    from pg8000.native import Connection as ControlConnection


def adbc_uri(connection: Connection) -> str:
    """The URI that libpq, and so ADBC, opens the connection by; it holds the password."""
    options = {
        "sslmode": connection.sslmode,
        "connect_timeout": str(max(2, round(connection.connect_timeout))),
        "application_name": connection.application_name,
        # Arrow's text is UTF-8; without this the rows come in the database's encoding.
        "client_encoding": "UTF8",
    }
    if connection.sslrootcert:
        options["sslrootcert"] = connection.sslrootcert
    user, password = url_quote(connection.user, safe=""), url_quote(connection.password, safe="")
    host = f"[{connection.host}]" if ":" in connection.host else url_quote(connection.host, safe="")
    database = url_quote(connection.database, safe="")
    query = urlencode(options, quote_via=url_quote)
    return f"postgresql://{user}:{password}@{host}:{connection.port}/{database}?{query}"


def open_control(connection: Connection) -> ControlConnection:
    """Open a pg8000 session, for catalogues and bookkeeping.

    Raises:
        SourceUnavailable: The server does not answer.
        SourceError: It refuses the login, or lacks the database.
    """
    import pg8000.native

    def attempt(context: ssl.SSLContext | bool) -> ControlConnection:
        return pg8000.native.Connection(
            connection.user,
            host=connection.host,
            port=connection.port,
            database=connection.database,
            password=connection.password,
            timeout=connection.connect_timeout,
            ssl_context=context,
            application_name=connection.application_name,
        )

    context = _ssl_context(connection)
    with translated(connection):
        try:
            control = attempt(context)
        except pg8000.native.InterfaceError as error:
            if connection.sslmode not in ("allow", "prefer") or "SSL" not in str(error):
                raise
            control = attempt(False)
        # The time-out was for the connection; how long a statement may take is the server's to enforce.
        control._usock.settimeout(None)
    return control


def _ssl_context(connection: Connection) -> ssl.SSLContext | bool:
    """Give libpq's sslmode as a context: `require` encrypts, `verify-ca` and `verify-full` check.

    False is no encryption: without a context, pg8000 tries it.
    """
    if connection.sslmode == "disable":
        return False
    try:
        context = ssl.create_default_context(cafile=connection.sslrootcert)
    except OSError as error:
        raise SourceError(
            f"The root certificates in {connection.sslrootcert} cannot be read: {error.strerror or error}. "
            "Correct sources.<name>.connection.sslrootcert in the configuration."
        ) from error
    if connection.sslmode != "verify-full":
        context.check_hostname = False
    if connection.sslmode not in ("verify-ca", "verify-full"):
        context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.contextmanager
def translated(connection: Connection, attempt: str = "") -> Iterator[None]:
    """Turn pg8000's errors into the platform's.

    Args:
        connection: Where the error came from, for its message.
        attempt: What was attempted, for the message.
    """
    import pg8000.native

    prefix = f"{attempt}: " if attempt else ""
    try:
        yield
    except pg8000.native.DatabaseError as error:
        details: Any = error.args[0] if error.args else {}
        if not isinstance(details, dict):
            raise _unavailable(connection, f"{prefix}{error}") from error
        message = f"{prefix}{details.get('M', error)}"
        raise _server_error(connection, details.get("C", ""), message) from error
    except (pg8000.native.InterfaceError, OSError) as error:
        cause = error.__cause__ or error.__context__ or error
        raise _unavailable(connection, f"{prefix}{cause}") from error


def _server_error(connection: Connection, code: str, message: str) -> SourceError:
    """The platform's error for a SQLSTATE (PostgreSQL manual, appendix A)."""
    where = f"{connection.host}:{connection.port}"
    if code in ("28P01", "28000"):
        return SourceError(
            f"PostgreSQL at {where} refused the login of {connection.user} to {connection.database}: "
            f"{message}. "
            "Check user and password under sources in the configuration, and the server's pg_hba.conf."
        )
    if code == "3D000":
        return SourceError(
            f"PostgreSQL at {where} has no database {connection.database}. "
            "Check sources.<name>.connection.database in the configuration."
        )
    if code[:2] in ("08", "53", "57", "58", "55", "40"):
        return _unavailable(connection, message)
    return SourceError(f"PostgreSQL at {where} refused to go on: {message} (SQLSTATE {code}).")


def _unavailable(connection: Connection, reason: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"PostgreSQL at {connection.host}:{connection.port} cannot be reached or broke off "
        f"({reason.rstrip('.')}). "
        "Check host and port under sources in the configuration, and that the server runs and lets this "
        "machine in."
    )


def adbc_error(
    error: Exception, connection: Connection, attempt: str, *, lost: str | None = None
) -> SourceError:
    """The platform's error for one of ADBC's, without the password that a driver may repeat.

    Args:
        error: ADBC's.
        connection: Where it came from.
        attempt: What was attempted, for the message.
        lost: The SQLSTATE that says that what the attempt needs has gone with another connection.
    """
    code = getattr(error, "sqlstate", None) or ""
    reason = " ".join(str(error).replace(connection.password or "\0", "***").split())
    if code and code != lost:
        return _server_error(connection, code, f"{attempt}: {reason}")
    return _unavailable(connection, f"{attempt}: {reason}")
