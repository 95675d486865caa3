"""The declared rules as SQL, to find the rules that a row breaks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Set
from typing import TYPE_CHECKING

from platform_assets.model.dialects import literal, quote
from platform_assets.model.table import Column, Decimal, Integer, RowRule, Table, Text, Timestamp

if TYPE_CHECKING:
    from platform_assets.lake.delta import ColumnStatistics

RULES_OF_CHECK: Mapping[str, tuple[RowRule, ...]] = {
    "not_null": ("not_null",),
    "accepted_values": ("accepted_values", "max_length", "iso_date", "range"),
    "foreign_key": ("foreign_key",),
}
"""Asset checks of row rules, and the rules that each of them covers."""


_FORGIVEN = "' +-' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)"


def proven_rules(table: Table, statistics: Mapping[str, ColumnStatistics]) -> frozenset[tuple[str, str]]:
    """Return the rules, as pairs of column and rule, that rows with these statistics cannot break."""
    proven = set()
    for column in table.columns:
        known = statistics.get(column.name)
        if known is None:
            continue
        if known.nulls == 0:
            proven.add((column.name, "not_null"))
        least, greatest = known.least, known.greatest
        if isinstance(column.type, Timestamp):
            least, greatest = least.date(), greatest.date()
        elif not isinstance(column.type, Integer | Decimal):
            continue
        if (column.minimum is None or least >= column.minimum) and (
            column.maximum is None or greatest <= column.maximum
        ):
            proven.add((column.name, "range"))
    return frozenset(proven)


def broken_rules_sql(
    table: Table, alias: str, parents: Mapping[str, str], proven: Set[tuple[str, str]] = frozenset()
) -> str:
    """Return DuckDB SQL for the rules that a row breaks; NULL for a row that keeps all rules.

    The SQL yields text of the form `rule(column)`, joined with a semicolon and a blank.

    Args:
        table: The declaration.
        alias: Alias of the row in the query.
        parents: For each foreign key column to check, the SELECT that returns the valid keys.
        proven: Pairs of column and rule that no row breaks, which are not checked.
    """
    terms = [
        f"CASE WHEN {condition} THEN {literal(f'{rule}({column.name})')} END"
        for column in table.columns
        for rule, condition in conditions(column, quote(alias, column.name), parents)
        if (column.name, rule) not in proven
    ]
    return f"nullif(concat_ws('; ', {', '.join(terms)}), '')" if terms else "NULL"


def row_checks(table: Table) -> dict[str, tuple[str, ...]]:
    """Return the checks in `RULES_OF_CHECK` that a table needs, each with the columns that it looks at."""
    parents = {column: "parent" for column, _ in table.foreign_keys}
    declared = [
        (rule, column.name)
        for column in table.columns
        for rule, _ in conditions(column, column.name, parents)
    ]
    found = {
        check: tuple(dict.fromkeys(column for rule, column in declared if rule in rules))
        for check, rules in RULES_OF_CHECK.items()
    }
    return {check: columns for check, columns in found.items() if columns}


def conditions(column: Column, value: str, parents: Mapping[str, str]) -> Iterator[tuple[RowRule, str]]:
    """Yield each rule of a column with the SQL that is true if the rule is broken."""
    if not column.nullable:
        yield "not_null", f"{value} IS NULL"
    if column.accepted:
        yield (
            "accepted_values",
            f"{value} NOT IN ({', '.join(literal(accepted) for accepted in column.accepted)})",
        )
    if isinstance(column.type, Text) and column.type.max_length is not None:
        yield "max_length", f"length({value}) > {column.type.max_length:d}"
    if column.iso_date:
        # The pattern rejects forms that a cast accepts: blanks, signs, slashes, missing zeros, the year 0.
        # Comparing with the date formatted as text would also work, but takes ten times as long.
        yield (
            "iso_date",
            f"{value} NOT LIKE '____-__-__' OR strlen({value}) <> 10 OR {value} < '0001' "
            f"OR trim({value}, {_FORGIVEN}) <> {value} "
            f"OR (try_cast({value} AS DATE) IS NULL AND {value} IS NOT NULL)",
        )
    comparable = value
    if column.iso_date:
        comparable = f"try_cast({value} AS DATE)"
    elif isinstance(column.type, Timestamp):
        # The limit of a timestamp is a day, and the last day is included up to midnight.
        comparable = f"CAST({value} AS DATE)"
    limits = [
        f"{comparable} {operator} {_limit(limit)}"
        for operator, limit in (("<", column.minimum), (">", column.maximum))
        if limit is not None
    ]
    if limits:
        yield "range", " OR ".join(limits)
    if column.name in parents:
        yield "foreign_key", f"{value} IS NOT NULL AND {value} NOT IN ({parents[column.name]})"


def _limit(limit: object) -> str:
    return f"DATE '{limit.isoformat()}'" if isinstance(limit, dt.date) else str(limit)
