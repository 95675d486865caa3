"""A consistent snapshot of a PostgreSQL database: its position in the server's history, and reads in it.

pg8000 holds the snapshot and reads the catalogue. The ADBC connections of `bulk` import the snapshot and
stream the rows, which never become Python objects. Change detection and loading are in other modules.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from platform_assets.errors import SourceError
from platform_assets.model.dialects import quote
from platform_assets.model.table import LogicalType, Table
from platform_assets.source.catalogue import Kind, Relation, read_kinds, read_relations
from platform_assets.source.connection import Connection
from platform_assets.source.policy import DEFAULT_POLICY, CapturePolicy
from platform_assets.source.session import neutralise, open_control, translated

if TYPE_CHECKING:
    from pg8000.native import Connection as ControlConnection

_BEGIN = (
    # Sent in one message, so that timeouts for idle or long transactions cannot end it in between.
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; "
    "SET LOCAL idle_in_transaction_session_timeout = 0"
)
_FIRST_VERSION_WITH_TRANSACTION_TIMEOUT = 17
_NO_ENCODING = "SQL_ASCII"
# Seconds to wait for a lock that another statement has waited for in vain.
_BRIEF_WAIT = 0.2
# A rejected statement rolls back everything after the savepoint, which is only reads.
_READABLE = "SAVEPOINT readable"
_READABLE_AGAIN = "ROLLBACK TO SAVEPOINT readable"
# Identity of the server: its cluster, the timeline of the cluster's history, and the database.
_WHERE = """
SELECT pg_export_snapshot(), CAST(pg_current_snapshot() AS text), transaction_timestamp(),
       CAST(current_setting('server_version_num') AS int),
       has_function_privilege('pg_control_system()', 'EXECUTE')
         AND has_function_privilege('pg_control_checkpoint()', 'EXECUTE'),
       (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()),
       CAST(current_user AS text), current_setting('server_encoding')
"""
_IDENTITY = """
SELECT CAST(s.system_identifier AS text) || '/' || CASE
    WHEN pg_is_in_recovery() THEN CAST(c.timeline_id AS text)
    ELSE CAST(CAST(CAST('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) AS bit(32)) AS int)
      AS text) END
FROM pg_control_system() AS s, pg_control_checkpoint() AS c
"""


@dataclass(frozen=True)
class SnapshotPosition:
    """PostgreSQL's definition of a snapshot: the visible transactions, as 64-bit transaction ids.

    Args:
        xmin: Every transaction before it has ended, and is visible if it was committed.
        xmax: No transaction from it on is visible.
        in_progress: Transactions between the two that had not ended; subtransactions are not listed.
    """

    xmin: int
    xmax: int
    in_progress: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> SnapshotPosition:
        """Read PostgreSQL's text form, `xmin:xmax:xip_list`."""
        xmin, xmax, listed = text.split(":")
        return cls(int(xmin), int(xmax), tuple(int(xid) for xid in listed.split(",") if xid))


@dataclass(frozen=True)
class Counted:
    """Row count of a table.

    Args:
        rows: Number of rows.
        seconds: Time that the server took to count them.
    """

    rows: int
    seconds: float


@dataclass(frozen=True)
class SourceDatabase:
    """A PostgreSQL database that the platform reads.

    Args:
        name: Name of the source, the first part of its tables' asset keys.
        tables: Declarations of its tables.
        connect: Returns the connection when it is needed: resolves secrets and starts an embedded server.
        statement_timeout: Longest duration of a statement, in seconds.
        lock_timeout: Longest time that a statement waits for a lock, in seconds.
        connections: Number of connections that read rows in parallel.
        policy: Policy for finding changes in tables without their own policy.
        policies: Policies for finding changes, by table.
        declared: Whether `tables` is a contract, as for Totesys: a missing column stops its table. Otherwise
            the tables are read with the columns that the server has.
        keys: Columns that identify a row, by table, to override the key of an undeclared table.
        types: Logical types by table and column, to override the defaults.
        encoding: Encoding of text, by its PostgreSQL name, in a database with the encoding SQL_ASCII.
        encodings: Encodings of single tables that differ from `encoding`.
        adbc: What the driver knows of the server's types: scans cast what they read to built-in types, which
            are the same in all databases.
    """

    name: str
    tables: tuple[Table, ...]
    connect: Callable[[], Connection] = field(repr=False)
    statement_timeout: float = 3600
    lock_timeout: float = 10
    connections: int = 2
    policy: CapturePolicy = DEFAULT_POLICY
    policies: Mapping[str, CapturePolicy] = field(default_factory=dict)
    declared: bool = True
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    types: Mapping[str, Mapping[str, LogicalType]] = field(default_factory=dict)
    encoding: str = ""
    encodings: Mapping[str, str] = field(default_factory=dict)

    def policy_of(self, table: str) -> CapturePolicy:
        """Return the policy for finding changes in a table."""
        return self.policies.get(table, self.policy)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a read-only REPEATABLE READ transaction and export its snapshot while the block runs.

        Raises:
            SourceUnavailable: The server does not answer.
            SourceError: The server rejects the login, or lacks the database.
        """
        connection = self.connect()
        control = open_control(connection)
        try:
            with translated(connection):
                control.run(_begin(control))
                timeouts = (
                    ("statement_timeout", self.statement_timeout),
                    ("lock_timeout", self.lock_timeout),
                )
                settings = neutralise(control, {name: str(int(seconds * 1000)) for name, seconds in timeouts})
                exported, position, taken_at, version, may_ask, database, role, encoding = control.run(
                    _WHERE
                )[0]
                cluster = control.run(_IDENTITY)[0][0] if may_ask else "unknown"
                control.run(_READABLE)
            yield Snapshot(
                self,
                connection,
                control,
                exported,
                position,
                f"{cluster}/{database}",
                version,
                taken_at.astimezone(dt.UTC),
                settings,
                role,
                encoding,
            )
            # A pooler can reuse a session only after its transaction has ended; all reads are done by now.
            with contextlib.suppress(SourceError), translated(connection):
                control.run("ROLLBACK")
        finally:
            # Closing fails only if the connection is already gone.
            with contextlib.suppress(Exception):
                control.close()


def _begin(control: ControlConnection) -> str:
    version = str(control.parameter_statuses.get("server_version", ""))
    knows_more = int(version.partition(".")[0] or 0) >= _FIRST_VERSION_WITH_TRANSACTION_TIMEOUT
    return f"{_BEGIN}; SET LOCAL transaction_timeout = 0" if knows_more else _BEGIN


@dataclass(frozen=True)
class Snapshot:
    """A point in the source's history that every read of a batch sees.

    Args:
        source: The database.
        connection: Parameters of the connection.
        control: The connection that holds the snapshot.
        exported_id: Id by which other connections import the snapshot.
        position: PostgreSQL's text form of the snapshot, `xmin:xmax:xip_list`.
        server: Identity of the database: system identifier, timeline and database OID, joined by slashes.
        version: The server's version as a number: 180001 is 18.1.
        taken_at: Time of the snapshot by the source's clock, UTC.
        settings: Settings of the transactions that read it, by name.
        role: The role whose privileges the server checks; a setting may make it differ from the user.
        encoding: PostgreSQL's name of the database's encoding.
    """

    source: SourceDatabase
    connection: Connection = field(repr=False)
    control: ControlConnection = field(repr=False)
    exported_id: str
    position: str
    server: str
    version: int
    taken_at: dt.datetime
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    role: str = ""
    encoding: str = "UTF8"

    def run(self, sql: str, attempt: str = "", **parameters: object) -> list[list[Any]]:
        """Run a statement in the snapshot and fetch its rows; for small results.

        The snapshot stays readable after a statement that the server rejected.

        Args:
            sql: The statement, with `:name` for parameters.
            attempt: Purpose of the statement, for error messages.
            **parameters: Values of its parameters.

        Raises:
            SourceUnavailable: The connection broke.
            SourceError: The server rejected the statement.
        """
        with translated(self.connection, attempt):
            try:
                return list(self.control.run(sql, **parameters) or ())
            except Exception:
                # If the session has ended, the raised error says so.
                with contextlib.suppress(Exception):
                    self.control.run(_READABLE_AGAIN)
                raise

    def is_open(self) -> bool:
        """Return whether the session that holds the snapshot still answers."""
        try:
            self.run("SELECT 1")
        except SourceError:
            return False
        return True

    def relations(
        self,
        names: Sequence[str] | None = None,
        attempt: str = "reading the tables' catalogue entries",
    ) -> dict[str, Relation]:
        """Read the catalogue entries of these tables, or of all in the schema; missing tables are left out.

        Raises:
            SourceUnavailable: The connection broke.
            SourceError: The server rejected the query, or the configured encoding is not the database's.
        """
        self._refuse_another_encoding()
        encoding = self.source.encoding if self.encoding == _NO_ENCODING else ""
        run = partial(self.run, attempt=attempt)
        relations = read_relations(run, self.connection.schema, names, encoding)
        return {name: self._with_encoding(relation) for name, relation in relations.items()}

    def kinds(self) -> dict[str, Kind]:
        """Read the kinds of all tables in the schema by name; no table's lock is waited for.

        Raises:
            SourceUnavailable: The connection broke.
            SourceError: The server rejected the query.
        """
        return read_kinds(partial(self.run, attempt="listing the tables"), self.connection.schema)

    def relations_or_reasons(
        self, names: Sequence[str]
    ) -> tuple[dict[str, Relation], dict[str, BaseException]]:
        """Read catalogue entries as `relations` does, and isolate the tables whose entry cannot be read.

        The server opens a table for some of its entry, so another session's lock on one table makes the
        query for all tables wait. The tables are then halved until each locked one is alone.

        Returns:
            The relations by name, and the reason for each table without an entry that can be read.

        Raises:
            SourceUnavailable: The connection broke.
            SourceError: The configured encoding is not that of the database.
        """
        reasons: dict[str, BaseException] = {}

        def read(part: Sequence[str], attempt: str, wait: float) -> dict[str, Relation]:
            try:
                with self._waiting_for_locks(wait):
                    return self.relations(part, attempt)
            except SourceError as error:
                if not self.is_open():
                    raise
                if len(part) == 1:
                    reasons[part[0]] = error
                    return {}
            found: dict[str, Relation] = {}
            for half in (part[: len(part) // 2], part[len(part) // 2 :]):
                what = f"entry of {half[0]}" if len(half) == 1 else "entries of some tables"
                # A lock that outlasted the configured time is not waited for again.
                found |= read(half, f"reading the catalogue {what}", min(wait, _BRIEF_WAIT))
            return found

        wait = self.source.lock_timeout
        return read(names, "reading the tables' catalogue entries", wait), reasons

    @contextlib.contextmanager
    def _waiting_for_locks(self, seconds: float) -> Iterator[None]:
        """Have statements in the block wait this long for a lock."""
        if seconds == self.source.lock_timeout:
            yield
            return
        self._set_lock_timeout(seconds)
        yield
        # A rejected statement has restored the value itself, as it was set after the savepoint.
        self._set_lock_timeout(self.source.lock_timeout)

    def _set_lock_timeout(self, seconds: float) -> None:
        self.run(f"SET LOCAL lock_timeout = {int(seconds * 1000)}", "setting lock_timeout")

    def _refuse_another_encoding(self) -> None:
        source = self.source
        others = {source.encoding, *source.encodings.values()} - {"", "UTF8", self.encoding}
        if self.encoding != _NO_ENCODING and others:
            raise SourceError(
                f"Source {source.name} has the encoding {', '.join(sorted(others))} in the configuration, "
                f"but its database {self.connection.database} has the encoding {self.encoding}, which the "
                "server converts. Remove `encoding` from the source and from its overrides."
            )

    def _with_encoding(self, relation: Relation) -> Relation:
        encoding = self.source.encodings.get(relation.name, self.source.encoding)
        if not encoding or self.encoding != _NO_ENCODING:
            return relation
        columns = (
            dataclasses.replace(column, type=dataclasses.replace(column.type, encoding=encoding))
            for column in relation.columns
        )
        return dataclasses.replace(relation, columns=tuple(columns))

    def is_still_there(self, relation: Relation) -> bool:
        """Return whether a relation that was read is the one in the snapshot, with the same content.

        After TRUNCATE or a rewriting ALTER TABLE, a table looks empty to an older snapshot, and its name may
        refer to another table (PostgreSQL manual, "MVCC: Caveats"). Once a table is read, neither can happen
        before the reading transaction ends.
        """
        [[same]] = self.run(
            """
            SELECT coalesce(to_regclass(format('%I.%I', CAST(:schema AS text), CAST(:name AS text))) =
                            CAST(:relation AS oid), false)
               AND coalesce(bool_and(coalesce(pg_relation_filenode(oid) = relfilenode, false)), true)
            FROM pg_catalog.pg_class WHERE oid = ANY (CAST(:parts AS oid[]))
            """,
            "looking whether a table was rewritten",
            schema=relation.schema,
            name=relation.name,
            relation=relation.oid,
            parts="{" + ",".join(map(str, relation.parts)) + "}",
        )
        return bool(same)

    def count(self, relations: Sequence[Relation]) -> dict[str, Counted]:
        """Count the rows of each table as of the snapshot, in one statement."""
        if not relations:
            return {}
        counts = " UNION ALL ".join(
            f"SELECT {number}, count(*), clock_timestamp() FROM {quote(relation.schema, relation.name)}"
            for number, relation in enumerate(relations)
        )
        rows = self.run(f"SELECT -1, 0, clock_timestamp() UNION ALL {counts}", "counting rows")
        # The tables are counted one after the other; each result row has the time at which its count ended.
        rows.sort(key=lambda row: row[2])
        return {
            relations[number].name: Counted(count, (end - before).total_seconds())
            for (_, _, before), (number, count, end) in itertools.pairwise(rows)
            if number >= 0
        }
