"""Sessions with a PostgreSQL server: opening them with pg8000 and ADBC, their settings and their errors.

The statements themselves are in other modules.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as url_quote
from urllib.parse import urlencode

from platform_assets.errors import SourceError, SourceUnavailable
from platform_assets.source.connection import Connection
from platform_assets.source.types import SESSION_SETTINGS

if TYPE_CHECKING:
    from adbc_driver_manager import AdbcConnection, AdbcDatabase
    from pg8000.native import Connection as ControlConnection

# Settings of the role or database apply from the first statement on, and the driver queries types before a
# SET is possible. These settings are therefore part of the login. PostgreSQL 14 knows all of them.
_LOGIN_SETTINGS: Mapping[str, str] = {
    "client_min_messages": "warning",
    "default_transaction_deferrable": "off",
    "default_transaction_isolation": "read committed",
    "exit_on_error": "off",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
    "quote_all_identifiers": "off",
    "statement_timeout": "0",
}
# Messages of pgbouncer and cloud proxies that reject settings in a login.
_NO_LOGIN_SETTINGS = ("unsupported startup parameter", "command-line options")

_READING_SETTINGS: Mapping[str, str] = {
    **SESSION_SETTINGS,
    "array_nulls": "on",
    "backslash_quote": "safe_encoding",
    "client_encoding": "UTF8",
    "client_min_messages": "warning",
    "exit_on_error": "off",
    "gin_fuzzy_search_limit": "0",
    # The catalogue query's cost is estimated far too high: JIT compilation takes longer than running it.
    "jit": "off",
    "idle_in_transaction_session_timeout": "0",
    "row_security": "on",
    "standard_conforming_strings": "on",
    "transaction_timeout": "0",
    "transform_null_equals": "off",
}
"""Settings of every reading transaction, as far as the server knows them; they override all others."""
_RESET_SETTINGS = (
    "constraint_exclusion",
    "cpu_index_tuple_cost",
    "cpu_operator_cost",
    "cpu_tuple_cost",
    "cursor_tuple_fraction",
    "debug_parallel_query",
    "force_parallel_mode",
    "from_collapse_limit",
    "geqo",
    "geqo_effort",
    "geqo_generations",
    "geqo_pool_size",
    "geqo_seed",
    "geqo_selection_bias",
    "geqo_threshold",
    "join_collapse_limit",
    "min_parallel_index_scan_size",
    "min_parallel_table_scan_size",
    "parallel_setup_cost",
    "parallel_tuple_cost",
    "plan_cache_mode",
    "random_page_cost",
    "recursive_worktable_factor",
    "restrict_nonsystem_relation_kind",
    "seq_page_cost",
    "tcp_user_timeout",
    "temp_tablespaces",
    "timezone_abbreviations",
    "xmlbinary",
    "xmloption",
)
"""Settings, besides all `enable_*`, that roles and databases cannot change for the platform; servers can."""
# The session's locale determines the number of digits of money. The database or cluster has the intended
# locale; a role's own setting is not what the owner meant.
_LOCALES = ("lc_monetary", "lc_numeric", "lc_time")
_OF_ROLE = ("user", "database user")
_OF_ROLE_OR_DATABASE = ("global", "database", *_OF_ROLE)

SET_PATH = """
SELECT 'search_path', pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', 'pg_catalog',
         CASE WHEN pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.<>) ''
              THEN pg_catalog.current_setting('search_path') END,
         '"$user"', 'public', 'pg_temp'), true)
"""
"""Puts pg_catalog first in the search path of a transaction, whatever the path of the session is.

The session's own path follows, for functions that views call, and then the default path, so that names print
the same under most paths.
"""


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


WRITING_SETTINGS: Mapping[str, str] = {
    **SESSION_SETTINGS,
    "array_nulls": "on",
    "client_min_messages": "warning",
    "exit_on_error": "off",
    "idle_in_transaction_session_timeout": "0",
    "quote_all_identifiers": "off",
    "row_security": "on",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
}
"""Settings of every writing transaction; PostgreSQL 14 knows all of them."""


def neutralise(control: ControlConnection, timeouts: Mapping[str, str]) -> dict[str, str]:
    """Make a transaction independent of the settings of its role and database, until the transaction ends.

    Args:
        control: A session in a transaction.
        timeouts: Further settings, by name.

    Returns:
        The settings, for use in other sessions of the same role.
    """
    given = ", ".join(
        f"('{name.lower()}', '{value}')" for name, value in {**_READING_SETTINGS, **timeouts}.items()
    )
    path = control.run(SET_PATH)
    settings = control.run(
        f"""
        SELECT name, set_config(name, value, true) FROM (
          SELECT s.name, CASE
            WHEN given.value IS NOT NULL THEN given.value
            WHEN s.name NOT IN ({_listed(_LOCALES)}) THEN s.boot_val
            ELSE coalesce(
              (SELECT substr(one, strpos(one, '=') + 1)
               FROM pg_db_role_setting AS r
               JOIN pg_database AS d ON d.oid = r.setdatabase AND d.datname = current_database()
               CROSS JOIN unnest(r.setconfig) AS one
               WHERE r.setrole = 0 AND starts_with(one, s.name || '=')),
              (SELECT CAST(datcollate AS text) FROM pg_database WHERE datname = 'template0'))
            END AS value
          FROM pg_settings AS s
          LEFT JOIN (VALUES {given}) AS given (name, value) ON given.name = lower(s.name)
          WHERE s.context = 'user' AND (given.value IS NOT NULL
            OR (s.source IN ({_listed(_OF_ROLE_OR_DATABASE)})
                AND (starts_with(s.name, 'enable_') OR s.name IN ({_listed(_RESET_SETTINGS)})))
            OR (s.source IN ({_listed(_OF_ROLE)}) AND s.name IN ({_listed(_LOCALES)})))
        ) AS wanted
        """
    )
    return dict((*path, *settings))


def adbc_uri(connection: Connection, settings: Mapping[str, str] | None = None) -> str:
    """Return the connection's URI for libpq, and so for ADBC; it contains the password.

    Args:
        connection: The database and the role.
        settings: Settings in the login.
    """
    options = {
        "sslmode": connection.sslmode,
        "connect_timeout": str(max(2, round(connection.connect_timeout))),
        "application_name": connection.application_name,
        # Arrow's text is UTF-8; without this setting, rows arrive in the database's encoding.
        "client_encoding": "UTF8",
    }
    if connection.sslrootcert:
        options["sslrootcert"] = connection.sslrootcert
    if settings:
        options["options"] = _command_line(settings)
    user, password = url_quote(connection.user, safe=""), url_quote(connection.password, safe="")
    host = f"[{connection.host}]" if ":" in connection.host else url_quote(connection.host, safe="")
    database = url_quote(connection.database, safe="")
    query = urlencode(options, quote_via=url_quote)
    return f"postgresql://{user}:{password}@{host}:{connection.port}/{database}?{query}"


def _command_line(settings: Mapping[str, str]) -> str:
    """Format settings as options of the server's command line."""
    escaped = {name: value.replace("\\", "\\\\").replace(" ", "\\ ") for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


class SharedAdbc:
    """The driver's knowledge of a server's types, kept for several sessions of one login.

    The driver queries all types of a database before the first session, which takes it ten times as long as
    a login. Sessions that share this do not see types which were created or changed meanwhile, so it is for
    statements whose types are all built in.
    """

    def __init__(self) -> None:
        # Python may finalise a session that was abandoned, and so close it, while this thread opens another.
        self._lock = threading.RLock()
        self._uri = ""
        self._database: AdbcDatabase | None = None

    @contextlib.contextmanager
    def open(self, connection: Connection) -> Iterator[AdbcConnection]:
        """Open a connection; see `open_adbc`."""
        import adbc_driver_manager

        # The driver counts the connections of a database without a lock.
        with self._lock:
            uri = adbc_uri(connection, _LOGIN_SETTINGS)
            if self._database is None or uri != self._uri:
                self._uri, self._database = uri, _adbc_database(connection, _LOGIN_SETTINGS)
                weakref.finalize(self, _close, self._database)
            opened = adbc_driver_manager.AdbcConnection(self._database)
        try:
            yield opened
        finally:
            with self._lock:
                opened.close()


def _close(database: AdbcDatabase) -> None:
    """Close the driver's database; while a session is open, the driver keeps it until that session ends."""
    with contextlib.suppress(RuntimeError):
        database.close()


@contextlib.contextmanager
def open_adbc(connection: Connection, **settings: str) -> Iterator[AdbcConnection]:
    """Open an ADBC connection, also through a pooler that rejects settings in a login.

    Args:
        connection: The database and the role.
        **settings: Further settings in the login.

    Raises:
        adbc_driver_manager.Error: The server does not answer, or rejects the login.
    """
    import adbc_driver_manager

    database = _adbc_database(connection, {**_LOGIN_SETTINGS, **settings})
    with database, adbc_driver_manager.AdbcConnection(database) as opened:
        yield opened


def _adbc_database(connection: Connection, settings: Mapping[str, str]) -> AdbcDatabase:
    import adbc_driver_manager
    import adbc_driver_postgresql

    database: AdbcDatabase
    try:
        database = adbc_driver_postgresql.connect(adbc_uri(connection, settings))
    except adbc_driver_manager.Error as error:
        if not any(sign in str(error) for sign in _NO_LOGIN_SETTINGS):
            raise
        database = adbc_driver_postgresql.connect(adbc_uri(connection))
    return database


def open_control(connection: Connection) -> ControlConnection:
    """Open a pg8000 session for catalogue queries and bookkeeping.

    Raises:
        SourceUnavailable: The server does not answer.
        SourceError: The server rejects the login, or lacks the database.
    """
    import pg8000.native

    def attempt(context: ssl.SSLContext | bool, options: str | None) -> ControlConnection:
        return pg8000.native.Connection(
            connection.user,
            host=connection.host,
            port=connection.port,
            database=connection.database,
            password=connection.password,
            timeout=connection.connect_timeout,
            ssl_context=context,
            application_name=connection.application_name,
            startup_params={"client_encoding": "UTF8", **({"options": options} if options else {})},
        )

    def attempt_with_settings(context: ssl.SSLContext | bool) -> ControlConnection:
        try:
            return attempt(context, _command_line({**_LOGIN_SETTINGS, "jit": "off"}))
        except pg8000.native.DatabaseError as error:
            if not any(sign in str(error) for sign in _NO_LOGIN_SETTINGS):
                raise
            return attempt(context, None)

    context = _ssl_context(connection)
    with translated(connection):
        try:
            control = attempt_with_settings(context)
        except pg8000.native.InterfaceError as error:
            if connection.sslmode not in ("allow", "prefer") or "SSL" not in str(error):
                raise
            control = attempt_with_settings(False)
        # The timeout was for connecting; the server itself limits the duration of statements.
        control._usock.settimeout(None)
    return control


def _ssl_context(connection: Connection) -> ssl.SSLContext | bool:
    """Convert libpq's sslmode to an SSL context: `require` encrypts, `verify-ca` and `verify-full` verify.

    False disables encryption: without a context, pg8000 would try to encrypt.
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
    """Convert pg8000's errors to the platform's errors.

    Args:
        connection: The connection, for the message.
        attempt: The attempted action, for the message.
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


@dataclass(frozen=True)
class _Meaning:
    """Meaning of a SQLSTATE for reading a source.

    Args:
        advice: Advice for the user.
        passes: Whether the same attempt may succeed a moment later.
        is_broken: Whether the connection is no longer usable.
    """

    advice: str
    passes: bool = True
    is_broken: bool = False


_REACH = _Meaning(
    "Check host and port under sources in the configuration, that the server runs, and that it accepts "
    "connections from this machine.",
    is_broken=True,
)
_ALTERED = _Meaning(
    "If the table was altered or dropped while it was read, the next run reads its new form. If a view or "
    "function of the source caused it, correct it or exclude what uses it.",
    passes=False,
)
_ENDED = _Meaning(
    "An administrator, a time-out or a restart of the server ended the session; see the server's log, and "
    "run the job again.",
    is_broken=True,
)
_STANDBY = _Meaning(
    "A standby server cancels queries that delay its replay. On the standby, set hot_standby_feedback = on, "
    "or raise max_standby_streaming_delay above the duration of a run; or read from the primary."
)
_CORRUPT = _Meaning(
    "The database's files may be damaged: see the server's log, and ask an administrator to check them with "
    "pg_amcheck.",
    passes=False,
)
_FILES = _Meaning("The server could not use its own files: see the server's log.")
_VALUE = _Meaning(
    "Correct the value in the source, or have the platform read a view without the column.",
    passes=False,
)
_ENCODING = _Meaning(
    "Correct the value in the source. If the database's encoding is SQL_ASCII, declare the encoding of its "
    "text, such as `encoding = LATIN1`, for the whole source or for one table under overrides.",
    passes=False,
)
_MEANINGS: Mapping[str, _Meaning] = {
    "08": _REACH,
    "21": _VALUE,
    "22": _VALUE,
    "22021": _ENCODING,
    "22023": _Meaning(
        "If the value is the name of an encoding, correct `encoding` of the source; otherwise correct the "
        "view or function that the statement reads.",
        passes=False,
    ),
    "22P05": _ENCODING,
    "25P03": _ENDED,
    "25P04": _ENDED,
    "40": _STANDBY,
    "42501": _Meaning("Ask an administrator of the database to grant the role the privilege.", passes=False),
    "42703": _ALTERED,
    "42P01": _ALTERED,
    "53": _Meaning("The server is short of a resource: see its log."),
    "53100": _Meaning("The server's disk is full: free some space on it."),
    "53200": _Meaning("The server is out of memory: lower `connections` of the source, or try again later."),
    "53300": _Meaning(
        "Lower `connections` of the source, or raise max_connections of the server or the CONNECTION LIMIT "
        "of role or database."
    ),
    "53400": _Meaning(
        "Ask an administrator to raise the limit for the role, such as temp_file_limit.", False
    ),
    "54": _Meaning("Ask an administrator to raise the role's limit, such as max_stack_depth.", False),
    "55": _Meaning(
        "The source was not ready. A materialized view that is not populated needs REFRESH MATERIALIZED "
        "VIEW. Then run the job again."
    ),
    "55P03": _Meaning(
        "Another session holds a lock on the table, for example for ALTER TABLE, VACUUM FULL or TRUNCATE. "
        "Run the job again when that session has finished, or raise connection.lock_timeout of the source."
    ),
    "57": _ENDED,
    "57014": _Meaning(
        "The statement was cancelled, or took longer than connection.statement_timeout of the source: raise "
        "this limit."
    ),
    "57P03": _Meaning("The server is starting or stopping. Run the job again when it is up.", is_broken=True),
    "58": _FILES,
    "58P01": _Meaning(
        "The server could not use its own files: see the server's log. If a library is missing, remove it "
        "from session_preload_libraries or local_preload_libraries of the role or database, or install it.",
        passes=False,
    ),
    "XX001": _CORRUPT,
    "XX002": _CORRUPT,
}


class ValueRefused(SourceError):
    """The server cannot convert a value to the requested form."""


def _server_error(connection: Connection, code: str, message: str) -> SourceError:
    """Create the platform's error for a SQLSTATE (PostgreSQL manual, appendix A)."""
    where, reason = f"{connection.host}:{connection.port}", message.rstrip(".")
    if code in ("28P01", "28000"):
        return SourceError(
            f"PostgreSQL at {where} refused the login of {connection.user} to {connection.database}: "
            f"{reason}. "
            "Check user and password under sources in the configuration, and the server's pg_hba.conf."
        )
    if code == "3D000":
        return SourceError(
            f"PostgreSQL at {where} has no database {connection.database}. "
            "Check sources.<name>.connection.database in the configuration."
        )
    meaning = _MEANINGS.get(code) or _MEANINGS.get(code[:2])
    if meaning is None:
        return SourceError(
            f"PostgreSQL at {where} refused a statement: {reason} (SQLSTATE {code}). See the server's log. "
            "If a view or function of the source caused it, correct it or exclude what uses it."
        )
    if meaning.is_broken:
        return _unavailable(connection, reason, meaning.advice)
    kind = SourceUnavailable if meaning.passes else ValueRefused if code[:2] in ("21", "22") else SourceError
    return kind(f"PostgreSQL at {where} could not continue: {reason} (SQLSTATE {code}). {meaning.advice}")


def _unavailable(connection: Connection, reason: str, advice: str = _REACH.advice) -> SourceUnavailable:
    return SourceUnavailable(
        f"PostgreSQL at {connection.host}:{connection.port} cannot be reached, or the connection was lost "
        f"({reason.rstrip('.')}). {advice}"
    )


def adbc_error(
    error: Exception, connection: Connection, attempt: str, *, lost: Sequence[str] = ()
) -> SourceError:
    """Convert an ADBC error to the platform's error, without the password that a driver may repeat.

    Args:
        error: The ADBC error.
        connection: The connection in which it occurred.
        attempt: The attempted action, for the message.
        lost: SQLSTATEs of attempts that depend on another connection which has closed.
    """
    import adbc_driver_manager

    code = getattr(error, "sqlstate", None) or ""
    reason = f"{attempt}: {server_message(error, connection)}"
    if code in lost:
        return _unavailable(connection, reason, _ENDED.advice)
    if code:
        return _server_error(connection, code, reason)
    if isinstance(error, OSError | adbc_driver_manager.OperationalError):
        # libpq returns no SQLSTATE for a session that never began; a FATAL message proves that the server was
        # reached.
        return _unavailable(
            connection, reason, _MEANINGS["53300"].advice if "FATAL" in reason else _REACH.advice
        )
    return ValueRefused(f"Rows from PostgreSQL cannot be converted: {reason.rstrip('.')}. {_VALUE.advice}")


def server_message(error: Exception, connection: Connection, parts: Sequence[str] = ("PRIMARY",)) -> str:
    """Return an ADBC error's message in one line, without the password that a driver may repeat.

    Args:
        error: The error.
        connection: The connection in which it occurred.
        parts: The parts of the server's message to return; DETAIL may contain values of rows.
    """
    details = dict(getattr(error, "details", None) or ())
    names = [f"PG_DIAG_MESSAGE_{part}" for part in parts]
    found = [details.get(name) or details.get(name.encode()) for name in names]
    texts = [text.decode(errors="replace") if isinstance(text, bytes) else text for text in found if text]
    message = " ".join(text if text.endswith((".", "?")) else f"{text}." for text in texts) or str(error)
    return " ".join(message.replace(connection.password or "\0", "***").split())
