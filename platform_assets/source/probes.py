"""Probes of a source database: address, role, privileges, and the server's settings.

Everything is read in one short session. The limits come from the PostgreSQL manual: "Preventing Transaction
ID Wraparound Failures" for the age of transaction ids, "Hot Standby" for standby servers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from platform_assets.diagnosis import Observation, error, ok, warning
from platform_assets.model.dialects import literal, quote
from platform_assets.source.connection import Connection
from platform_assets.source.session import open_control, translated

if TYPE_CHECKING:
    from pg8000.native import Connection as ControlConnection

_OLDEST_SUPPORTED = 140_000
_OLD_IDS, _TOO_OLD_IDS = 1_000_000_000, 1_800_000_000
_SKEW, _LARGE_SKEW = dt.timedelta(seconds=5), dt.timedelta(minutes=5)
_LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")

_SERVER = """
SELECT current_setting('server_version_num')::int, current_setting('server_version'), clock_timestamp(),
       pg_is_in_recovery(), current_setting('hot_standby_feedback'),
       current_setting('max_standby_streaming_delay'), current_setting('wal_level'),
       current_setting('max_connections')::int,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'),
       (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user),
       (SELECT max(age(datfrozenxid)) FROM pg_catalog.pg_database WHERE datallowconn),
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user),
       current_user::text, current_setting('transaction_timeout', true),
       has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
"""
_TABLES = """
SELECT given.name, found.oid IS NOT NULL, coalesce(has_table_privilege(found.oid, 'SELECT'), false),
       coalesce(has_any_column_privilege(found.oid, 'SELECT'), false),
       coalesce(has_table_privilege(found.oid, 'INSERT') OR has_table_privilege(found.oid, 'UPDATE')
                OR has_table_privilege(found.oid, 'DELETE'), false),
       coalesce(row_security_active(found.oid), false)
FROM unnest(CAST(:names AS text[])) AS given (name)
LEFT JOIN (
  SELECT c.oid, c.relname FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
) AS found ON found.relname = given.name
"""


def look_at_source(connect: Callable[[], Connection], tables: Sequence[str]) -> Iterator[Observation]:
    """Yield the findings about a source.

    Args:
        connect: Returns the connection.
        tables: Names of the tables that are read.

    Raises:
        SourceUnavailable: The server does not answer.
        SourceError: The server refuses the login or a statement.
        SettingsError: The password cannot be fetched.
    """
    connection = connect()
    control = open_control(connection)
    try:
        with translated(connection):
            before = dt.datetime.now(dt.UTC)
            [row] = control.run(_SERVER)
            after = dt.datetime.now(dt.UTC)
            yield from _server(connection, row, before, after)
            yield from _privileges(connection, control, row[12], is_superuser=row[11], tables=tables)
    finally:
        control.close()


def _server(
    connection: Connection, row: Sequence[Any], before: dt.datetime, after: dt.datetime
) -> Iterator[Observation]:
    number, version, clock, is_standby, feedback, delay, wal, most, used, limit, age, *_ = row
    transaction_timeout, has_identity = row[13], row[14]
    place = f"{connection.host}:{connection.port}/{connection.database}"
    role = "a standby" if is_standby else "a primary"
    if number < _OLDEST_SUPPORTED:
        yield error(
            "server", f"{place} is PostgreSQL {version}", "The platform reads PostgreSQL 14 and later."
        )
    else:
        yield ok("server", f"{place} is PostgreSQL {version}, {role}, wal_level {wal}")
    yield _encryption(connection)
    yield _skew(clock, before, after)
    if age >= _OLD_IDS:
        tell = error if age >= _TOO_OLD_IDS else warning
        yield tell(
            "transaction ids",
            f"the oldest is {age:,} transactions old; the server stops at about 2,100,000,000",
            "Ask an administrator to look for what holds VACUUM back: old transactions, replication slots, "
            "prepared transactions; and to run VACUUM FREEZE.",
        )
    else:
        yield ok("transaction ids", f"the oldest is {age:,} transactions old, far from wraparound")
    free = min(most - used, limit - used if limit is not None and limit >= 0 else most)
    if free < 4:
        advice = "Raise max_connections or the role's CONNECTION LIMIT, or lower `connections` of the source."
        yield warning("connections", f"{used} of {most} are in use; a run needs up to 3 more", advice)
    else:
        yield ok("connections", f"{used} of {most} are in use")
    if is_standby and feedback == "off" and delay not in ("-1",):
        yield warning(
            "standby",
            f"it cancels queries that delay its replay for more than {delay}",
            "Set hot_standby_feedback = on there, or raise max_standby_streaming_delay above the duration "
            "of a run.",
        )
    if transaction_timeout not in (None, "0"):
        # Runs set it to 0 for their own transactions; a pooler may forbid that.
        yield ok(
            "timeouts", f"transaction_timeout is {transaction_timeout}; runs switch it off for themselves"
        )
    if not has_identity:
        yield warning(
            "identity",
            "the role cannot see which server this is, so a restored backup is not recognized at once",
            "GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint() TO "
            f"{quote(connection.user)};",
        )


def _encryption(connection: Connection) -> Observation:
    if connection.host in _LOCAL_HOSTS or connection.host.startswith("/"):
        return ok("encryption", "not needed: the server is on this machine")
    if connection.sslmode in ("verify-ca", "verify-full"):
        return ok("encryption", f"sslmode is {connection.sslmode}")
    sentence = (
        "the connection is encrypted, and the server is not verified"
        if connection.sslmode == "require"
        else f"sslmode is {connection.sslmode}: the connection may be unencrypted"
    )
    return warning(
        "encryption", sentence, "Set sslmode = verify-full, and sslrootcert if the authority is your own."
    )


def _skew(clock: dt.datetime, before: dt.datetime, after: dt.datetime) -> Observation:
    skew = max(before - clock, clock - after, dt.timedelta(0))
    sentence = f"the server's clock differs from this machine's by {skew.total_seconds():.1f} s"
    if skew <= _SKEW:
        return ok("clock", sentence)
    advice = "Synchronize both by NTP: ages and freshness are wrong by as much."
    return (error if skew > _LARGE_SKEW else warning)("clock", sentence, advice)


def _privileges(
    connection: Connection,
    control: ControlConnection,
    user: str,
    *,
    is_superuser: bool,
    tables: Sequence[str],
) -> Iterator[Observation]:
    schema, role = quote(connection.schema), quote(user)
    found = control.run(
        "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = :schema",
        schema=connection.schema,
    )
    if not found:
        advice = "Correct `schema` of the source's connection."
        yield error("privileges", f"the database has no schema {connection.schema}", advice)
        return
    if not found[0][0]:
        yield error(
            "privileges", f"{user} may not use the schema", f"GRANT USAGE ON SCHEMA {schema} TO {role};"
        )
        return
    rows = control.run(_TABLES, names=list(tables), schema=connection.schema)
    missing = [name for name, exists, *_ in rows if not exists]
    unreadable = [name for name, exists, whole, some, *_ in rows if exists and not whole and not some]
    partly = [name for name, _, whole, some, *_ in rows if some and not whole]
    filtered = [row[0] for row in rows if row[5]]
    writable = [row[0] for row in rows if row[4]]
    for name in missing:
        advice = "Correct the name, or discover the source again."
        yield error(name, f"the schema {connection.schema} has no such table", advice)
    for name in unreadable:
        yield error(name, f"{user} may not read it", f"GRANT SELECT ON {schema}.{quote(name)} TO {role};")
    for name in partly:
        yield warning(
            name,
            f"{user} may read only some of its columns",
            f"GRANT SELECT ON {schema}.{quote(name)} TO {role}; or leave the other columns out on purpose.",
        )
    for name in filtered:
        yield warning(
            name,
            f"row security hides rows from {user}; they count as deleted",
            f"Write a policy that lets {role} see all rows, or ALTER ROLE {role} BYPASSRLS.",
        )
    readable = len(rows) - len(missing) - len(unreadable)
    if readable:
        yield ok("privileges", f"{user} may read {readable} of {len(rows)} tables")
    if is_superuser or writable:
        what = "is a superuser" if is_superuser else f"may write to {', '.join(writable)}"
        yield warning(
            "least privilege",
            f"{user} {what}; reading is enough",
            f"Use a role of its own: {_role_sql(schema)}",
        )


def _role_sql(schema: str) -> str:
    return (
        f"CREATE ROLE reader LOGIN PASSWORD {literal('...')}; GRANT USAGE ON SCHEMA {schema} TO reader; "
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader;"
    )
