"""Dead letters: row versions of a batch that break a declared rule, and earlier dead letters now mended.

All other rows continue. The rules themselves are in `lake.rules`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.lake.delta import non_empty, statistics_of_batch
from platform_assets.lake.duck import ROWS_PER_BATCH, stored_type
from platform_assets.lake.interfaces import Outdated
from platform_assets.lake.lake import DEAD_LETTER_COLUMNS, BronzeReader, key_json
from platform_assets.lake.races import retry_while_others_progress
from platform_assets.lake.rules import broken_rules_sql, conditions, proven_rules
from platform_assets.model.dialects import columns_sql, literal, quote
from platform_assets.model.table import Table

if TYPE_CHECKING:
    import duckdb

    from platform_assets.lake.lake import Lake
    from platform_assets.lake.ledger import LedgerState
    from platform_assets.source.catalogue import Relation
    from platform_assets.source.snapshot import SourceDatabase

_ROWS_WORTH_A_LOOK_BY_COLUMN = 100_000
EMPTIED = {"row": "'{}'"}
"""Values that retention gives dead letters whose content is no longer needed."""


@dataclass(frozen=True)
class DeadLetters:
    """The dead letters of one attempt at a batch.

    Args:
        source: The source.
        reader: Reader of the lake's state when the attempt began.
        connection: The attempt's DuckDB connection.
        relations: Catalogue entries of the source's tables.
        batch: Number of the batch.
        stream: Name of the app transaction in the attempt's commits.
        stopped: Names of tables that were stopped.
        written: Names of tables of which this attempt wrote rows.
        found: Names of tables with dead letters in this batch.
    """

    source: SourceDatabase
    reader: BronzeReader
    connection: duckdb.DuckDBPyConnection
    relations: Mapping[str, Relation]
    batch: int
    stream: str
    stopped: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    found: set[str] = field(default_factory=set)

    def batch_of(self, table: str) -> int | None:
        """Return the batch being written if it has rows of a table that count, otherwise None.

        Another run may have begun at the same time, with the same number. A table that this run did not write
        may hold its rows.
        """
        return self.batch if table in self.written - self.stopped else None

    def mended_sql(self, table: Table) -> str:
        """Return SQL for the latest versions of dead letters that no longer break a rule.

        The SQL reads the view `all versions`, which has all committed versions of the table. It is empty if
        the table has no dead letters.
        """
        if not self._has_dead_letters(table.name):
            return ""
        self.reader.create_dead_letters_view(self.connection, ["dead letters"], table)
        key = columns_sql(table.primary_key)
        dead_keys = ", ".join(
            f"CAST(json_extract_string(key, {literal(_pointer(name))}) AS "
            f"{stored_type(table.column(name).type)}) AS {quote(name)}"
            for name in table.primary_key
        )
        reason = broken_rules_sql(table, "latest", self._parents(table))
        return f"""
            SELECT latest.* FROM (
              SELECT * FROM "all versions" AS version
              SEMI JOIN (SELECT DISTINCT {dead_keys} FROM "dead letters") USING ({key})
              QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY _batch DESC) = 1) AS latest
            JOIN "dead letters" AS dead
              ON dead._batch = latest._batch AND dead.key = {key_json(table, "latest")}
            WHERE latest._change <> 'delete' AND ({reason}) IS NULL
        """

    def set_apart(self, table: Table, written: int) -> int:
        """Add the batch's rows that break a rule to the dead-letter table, and return their number."""
        self.written.add(table.name)
        lake, source = self.reader.lake, self.source.name
        handle = lake.bronze(source, table).look()
        self.reader.create_versions_view(
            self.connection,
            ["batch"],
            table,
            after=self.batch - 1,
            uncommitted=self.batch,
            handle=handle,
            valid_only=False,
        )
        parents = self._parents(table)
        # File statistics prove most rules without reading the rows.
        kept = proven_rules(table, statistics_of_batch(handle, self.batch) if handle is not None else {})
        if written > _ROWS_WORTH_A_LOOK_BY_COLUMN:
            kept |= self._kept_by_column(table, parents, kept)
        reason = broken_rules_sql(table, "version", parents, kept)
        if reason == "NULL":
            return 0
        members = ", ".join(f"{literal(name)}, {quote('version', name)}" for name in table.column_names)
        names = columns_sql([column.name for column in DEAD_LETTER_COLUMNS])
        query = f"""
            SELECT {names} FROM (
              SELECT {literal(source)} AS source, {literal(table.name)} AS "table",
                     {key_json(table, "version")} AS key, {reason} AS reason,
                     CAST(json_object({members}) AS VARCHAR) AS row, _change, _batch, _seen_at
              FROM "batch" AS version)
            WHERE reason IS NOT NULL
            """
        letters = lake.dead_letters

        def append() -> int:
            counted = _CountedRows(self.connection.sql(query).to_arrow_reader(ROWS_PER_BATCH))
            rows = non_empty(counted.reader)
            if rows is not None:
                letters.append(letters.open(), rows, stream=f"{self.stream}/{table.name}", version=self.batch)
            return counted.rows

        # All tables of all sources share this table, so any of them may create it.
        found = retry_while_others_progress(append, letters.version)
        if not found:
            return 0
        self.found.add(table.name)
        return found

    def _kept_by_column(
        self, table: Table, parents: Mapping[str, str], kept: Set[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        """Return rules that no row of a large batch breaks; checking one by one takes a fifth of the time."""
        return {
            (column.name, rule)
            for column in table.columns
            for rule, condition in conditions(column, quote("version", column.name), parents)
            if (column.name, rule) not in kept
            and not self.connection.sql(
                f'SELECT 1 FROM "batch" AS version WHERE {condition} LIMIT 1'
            ).fetchall()
        }

    def _has_dead_letters(self, table: str) -> bool:
        return table in self.found or self.reader.state.dead_letters(self.source.name, table) > 0

    def _parents(self, table: Table) -> dict[str, str]:
        """Return the SELECTs of valid parent keys, for the foreign keys that a row could break.

        A foreign key that the source enforces cannot be broken, unless the parent row itself is a dead letter
        or its table was stopped.
        """
        selects = {}
        by_name = {parent.name: parent for parent in self._declared_parents(table)}
        for column, name in table.foreign_keys:
            if self._is_enforced(table, column, name):
                continue
            parent = by_name.get(name)
            if parent is None:
                continue
            view = f"parent {name}"
            self.reader.create_versions_view(self.connection, [view], parent, uncommitted=self.batch_of(name))
            selects[column] = f"SELECT {columns_sql(parent.primary_key)} FROM {quote(view)}"
        return selects

    def _is_enforced(self, table: Table, column: str, parent: str) -> bool:
        relation = self.relations.get(table.name)
        return (
            relation is not None
            and (column, parent) in relation.foreign_keys
            and not self._has_dead_letters(parent)
            and parent not in self.stopped
        )

    def _declared_parents(self, table: Table) -> list[Table]:
        """Return the tables that `table` references and that the lake holds, this batch included."""
        lake, source = self.reader.lake, self.source
        names = {name for _, name in table.foreign_keys}
        return [
            parent
            for parent in source.tables
            if parent.name in names and lake.bronze(source.name, parent).look() is not None
        ]


def mended_before(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    state: LedgerState,
    tables: Mapping[str, Sequence[Table]],
    before: dt.datetime,
) -> Outdated | None:
    """Return the dead letters of rows that have a later valid version, whose content is no longer needed.

    Key, batch and reason stay: they keep the version out of the star schema, also when it is rebuilt.

    Args:
        connection: A connection in which the view `stored` has all dead letters.
        lake: The lake.
        state: State of the ledger.
        tables: The tables of each source.
        before: Only versions that were seen before this time (UTC).
    """
    old = f"_seen_at < {literal(before.isoformat())}::TIMESTAMPTZ AND row <> '{{}}'"
    found = connection.sql(f'SELECT DISTINCT source, "table" FROM stored WHERE {old}').fetchall()
    by_name = {(source, table.name): table for source, listed in tables.items() for table in listed}
    known = [(pair, by_name[pair]) for pair in found if pair in by_name and by_name[pair].columns]
    if not known:
        return None
    connection.execute(
        'CREATE OR REPLACE TEMP TABLE mended (source VARCHAR, "table" VARCHAR, key VARCHAR, _batch BIGINT)'
    )
    for (source, name), table in known:
        BronzeReader(lake, source, state).create_versions_view(connection, ["valid versions"], table)
        connection.execute(
            f'INSERT INTO mended SELECT source, "table", stored.key, _batch FROM stored JOIN ('
            f"SELECT {key_json(table, 'version')} AS key, max(_batch) AS last "
            f'FROM "valid versions" AS version GROUP BY 1) AS valid ON valid.key = stored.key '
            f'WHERE {old} AND source = {literal(source)} AND "table" = {literal(name)} AND last > _batch'
        )
    return Outdated(
        'EXISTS (FROM mended WHERE mended.source = stored.source AND mended."table" = stored."table" '
        "AND mended.key = stored.key AND mended._batch = stored._batch)",
        EMPTIED,
    )


class _CountedRows:
    """A stream that counts its rows."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self.rows = 0
        self.reader = pa.RecordBatchReader.from_batches(reader.schema, self._count(reader))

    def _count(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            self.rows += batch.num_rows
            yield batch


def _pointer(name: str) -> str:
    """Return the JSON pointer (RFC 6901) to a member of an object."""
    return "/" + name.replace("~", "~0").replace("/", "~1")
