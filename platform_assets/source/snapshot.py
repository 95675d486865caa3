"""One consistent snapshot of a PostgreSQL database: where it is in the server's history, and reading it.

pg8000 holds the snapshot and reads the catalogue; the ADBC connections of `bulk` import it and stream the
rows, which never become Python objects. What changed, and where it goes, is not known here.
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
from platform_assets.lake.duck import quote
from platform_assets.model.table import LogicalType, Table
from platform_assets.source.catalogue import Relation, read_relations
from platform_assets.source.connection import Connection
from platform_assets.source.policy import DEFAULT_POLICY, CapturePolicy
from platform_assets.source.session import neutralise, open_control, translated

if TYPE_CHECKING:
    from pg8000.native import Connection as ControlConnection

_BEGIN = (
    # In one message: what ends idle or long transactions has no time to.
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; "
    "SET LOCAL idle_in_transaction_session_timeout = 0"
)
_FIRST_VERSION_WITH_TRANSACTION_TIMEOUT = 17
_NO_ENCODING = "SQL_ASCII"
# A refused statement ends all that came after the savepoint, and nothing did but reading.
_READABLE = "SAVEPOINT readable"
_READABLE_AGAIN = "ROLLBACK TO SAVEPOINT readable"
# Which server this is: its cluster, the branch of that cluster's history, and the database in it.
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
class Position:
    """What PostgreSQL calls a snapshot: which transactions it sees. All are 64-bit transaction ids.

    Args:
        xmin: Every transaction before it is over, and seen if it was committed.
        xmax: No transaction from it on is seen.
        in_progress: Transactions between the two that were not over; their subtransactions are not listed.
    """

    xmin: int
    xmax: int
    in_progress: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read PostgreSQL's text form, `xmin:xmax:xip_list`."""
        xmin, xmax, listed = text.split(":")
        return cls(int(xmin), int(xmax), tuple(int(one) for one in listed.split(",") if one))


@dataclass(frozen=True)
class Counted:
    """A table's rows, counted.

    Args:
        rows: How many there are.
        seconds: How long the server took to count them.
    """

    rows: int
    seconds: float


@dataclass(frozen=True)
class SourceDatabase:
    """A PostgreSQL that the platform reads.

    Args:
        name: Name of the source, the first part of its tables' asset keys.
        tables: Declarations of its tables.
        connect: Says how to reach it, when that is needed: secrets are resolved, an embedded server is
            started.
        statement_timeout: Longest a statement may run, in seconds.
        lock_timeout: Longest a statement may wait for a lock, in seconds.
        connections: How many connections read rows at the same time.
        policy: How changes are found in tables that have no policy of their own.
        policies: How changes are found, by table.
        declared: Whether `tables` is a contract, as for Totesys: a column that is missing stops its table.
            Otherwise the tables are read as the server has them.
        keys: Columns that identify a row, for tables that are not declared and whose own key is not meant.
        types: Logical types of columns, by table and column, where the default one is not meant.
        encoding: What text is encoded in, as PostgreSQL calls it, in a database of encoding SQL_ASCII.
        encodings: The same by table, where it is another one.
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
        """How changes are found in a table."""
        return self.policies.get(table, self.policy)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a read-only REPEATABLE READ transaction and export its snapshot for as long as the block runs.

        Raises:
            SourceUnavailable: The server does not answer.
            SourceError: It refuses the login, or lacks the database.
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
            # A pooler can only use a session again whose transaction has ended; all has been read by now.
            with contextlib.suppress(SourceError), translated(connection):
                control.run("ROLLBACK")
        finally:
            # A close can only fail where the connection is gone already.
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
        connection: How it was reached.
        control: The connection that holds the snapshot.
        exported_id: What other connections import it by.
        position: PostgreSQL's text form of the snapshot, `xmin:xmax:xip_list`.
        server: Identity of the database: system identifier, timeline and database OID, joined by slashes.
        version: The server's version as a number: 180001 is 18.1.
        taken_at: When it was taken, by the source's clock, UTC.
        settings: What is set in a transaction that reads it, by name.
        role: The role that the server checks privileges of, which a setting may make another than the user.
        encoding: The database's encoding, as PostgreSQL calls it.
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

        After one that the server refused, the snapshot can be read on.

        Args:
            sql: The statement, with `:name` for parameters.
            attempt: What it is for, for the message of an error.
            **parameters: Values of its parameters.

        Raises:
            SourceUnavailable: The connection broke.
            SourceError: The server refused the statement.
        """
        with translated(self.connection, attempt):
            try:
                return list(self.control.run(sql, **parameters) or ())
            except Exception:
                # Where the session is over, what is raised says so.
                with contextlib.suppress(Exception):
                    self.control.run(_READABLE_AGAIN)
                raise

    def is_open(self) -> bool:
        """Whether the session that holds the snapshot still answers."""
        try:
            self.run("SELECT 1")
        except SourceError:
            return False
        return True

    def relations(self, names: Sequence[str] | None = None) -> dict[str, Relation]:
        """What the catalogue says of these tables, or of all in the schema; what is missing is not in it.

        Raises:
            SourceUnavailable: The connection broke.
            SourceError: The server refused.
        """
        source = self.source
        others = {source.encoding, *source.encodings.values()} - {"", "UTF8", self.encoding}
        if self.encoding != _NO_ENCODING and others:
            raise SourceError(
                f"Source {source.name} has the encoding {', '.join(sorted(others))} in the configuration, "
                f"and its database {self.connection.database} says itself that it is {self.encoding}, which "
                "the server converts. Take `encoding` out of the source and of its overrides."
            )
        run = partial(self.run, attempt="reading what the catalogue says of the tables")
        encoding = source.encoding if self.encoding == _NO_ENCODING else ""
        relations = read_relations(run, self.connection.schema, names, encoding)
        return {name: self._with_encoding(one) for name, one in relations.items()}

    def _with_encoding(self, relation: Relation) -> Relation:
        encoding = self.source.encodings.get(relation.name, self.source.encoding)
        if not encoding or self.encoding != _NO_ENCODING:
            return relation
        columns = (
            dataclasses.replace(one, type=dataclasses.replace(one.type, encoding=encoding))
            for one in relation.columns
        )
        return dataclasses.replace(relation, columns=tuple(columns))

    def is_still_there(self, relation: Relation) -> bool:
        """Whether a relation that has been read is the one that the snapshot sees, with the same content.

        What TRUNCATE or a rewriting ALTER TABLE leaves behind looks empty to an older snapshot, and a name
        may have come to mean another table (PostgreSQL manual, "MVCC: Caveats"). Once a table is read,
        nobody can do this to it any more before the reading transaction ends.
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
        # The tables are counted one after the other, and each row has the time at which its count was done.
        rows.sort(key=lambda row: row[2])
        return {
            relations[number].name: Counted(count, (end - before).total_seconds())
            for (_, _, before), (number, count, end) in itertools.pairwise(rows)
            if number >= 0
        }
