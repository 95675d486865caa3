"""Checks of lake tables against their declarations, over all rows or only new rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from platform_assets.lake.lake import BronzeReader, key_json
from platform_assets.lake.rules import RULES_OF_CHECK, conditions
from platform_assets.model.dialects import columns_sql, literal, quote
from platform_assets.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

_EXAMPLES = 5


@dataclass(frozen=True)
class CheckOutcome:
    """Outcome of a check.

    Args:
        broken: Number of rows, or keys, that break the rule.
        examples: A few of these rows: their keys and rules, never other values.
    """

    broken: int
    examples: Sequence[str] = field(default=())

    @property
    def passed(self) -> bool:
        """True if nothing breaks the rule."""
        return self.broken == 0


def check_rows(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    table: Table,
    check: str,
    *,
    after: int,
    parents: Mapping[str, str],
) -> CheckOutcome:
    """Find rows that break any of the rules of a check.

    Args:
        connection: Connection in which `relation` exists.
        relation: Quoted relation with the table's rows.
        table: The declaration.
        check: Name of the check, as in `RULES_OF_CHECK`.
        after: Check only rows of later batches.
        parents: For each foreign key column, the SELECT that returns the valid keys.
    """
    terms = [
        condition
        for column in table.columns
        for kind, condition in conditions(column, quote("checked", column.name), parents)
        if kind in RULES_OF_CHECK[check]
    ]
    rows = connection.sql(
        f"SELECT {key_json(table, 'checked')}, count(*) OVER () FROM {relation} AS checked "
        f"WHERE _batch > {after:d} AND ({' OR '.join(f'({term})' for term in terms)}) LIMIT {_EXAMPLES}"
    ).fetchall()
    return _outcome(rows)


def check_unique(
    connection: duckdb.DuckDBPyConnection, relation: str, key: Sequence[str], *, after: int
) -> CheckOutcome:
    """Find keys of batches later than `after` that more than one row has.

    Keys that contain a null are ignored.
    """
    names = columns_sql(key)
    new = f"SELECT DISTINCT {names} FROM {relation} WHERE _batch > {after:d}"
    source = relation if after <= 0 else f"(SELECT * FROM {relation} SEMI JOIN ({new}) USING ({names}))"
    members = ", ".join(f"{literal(name)}, {quote(name)}" for name in key)
    filled = " AND ".join(f"{quote(name)} IS NOT NULL" for name in key)
    rows = connection.sql(
        f"SELECT CAST(json_object({members}) AS VARCHAR), count(*) OVER () FROM {source} WHERE {filled} "
        f"GROUP BY {names} HAVING count(*) > 1 LIMIT {_EXAMPLES}"
    ).fetchall()
    return _outcome(rows)


def check_dead_letters(
    connection: duckdb.DuckDBPyConnection, reader: BronzeReader, table: Table, check: str
) -> CheckOutcome:
    """Find rows whose latest version is a dead letter because it breaks a rule of this check."""
    if not reader.state.dead_letters(reader.source, table.name):
        return CheckOutcome(0)
    reader.create_versions_view(connection, ["versions"], table, valid_only=False)
    reader.create_dead_letters_view(connection, ["dead letters"], table)
    key = columns_sql(table.primary_key)
    broken = " OR ".join(f"contains(dead.reason, {literal(rule + '(')})" for rule in RULES_OF_CHECK[check])
    rows = connection.sql(
        f"""
        SELECT dead.key || ': ' || dead.reason, count(*) OVER ()
        FROM (SELECT {key}, max(_batch) AS _batch, arg_max(_change, _batch) AS _change
              FROM versions GROUP BY {key}) AS latest
        JOIN "dead letters" AS dead ON dead._batch = latest._batch AND dead.key = {key_json(table, "latest")}
        WHERE latest._change <> 'delete' AND ({broken})
        LIMIT {_EXAMPLES}
        """
    ).fetchall()
    return _outcome(rows)


def _outcome(rows: Sequence[tuple[str, int]]) -> CheckOutcome:
    return CheckOutcome(rows[0][1] if rows else 0, tuple(example for example, _ in rows))
