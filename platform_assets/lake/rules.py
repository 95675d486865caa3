"""The declared rules as SQL: which of them does a row break?"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping

from platform_assets.lake.duck import literal, quote
from platform_assets.model.table import Column, RowRule, Table, Text, Timestamp

RULES_OF_CHECK: Mapping[str, tuple[RowRule, ...]] = {
    "not_null": ("not_null",),
    "accepted_values": ("accepted_values", "max_length", "iso_date", "range"),
    "foreign_key": ("foreign_key",),
}
"""The asset checks that watch the rules of a row, and which rules each of them watches."""


def broken_rules_sql(table: Table, alias: str, parents: Mapping[str, str]) -> str:
    """SQL (DuckDB) for the rules that a row breaks, as `rule(column)` separated by `.

    `, or NULL where it keeps all.

    Args:
        table: The declaration.
        alias: What the row is called in the query.
        parents: For each foreign key column that is to be checked, the SELECT of the keys it may point to.
    """
    terms = [
        f"CASE WHEN {condition} THEN {literal(f'{rule}({column.name})')} END"
        for column in table.columns
        for rule, condition in conditions(column, quote(alias, column.name), parents)
    ]
    return f"nullif(concat_ws('; ', {', '.join(terms)}), '')" if terms else "NULL"


def row_checks(table: Table) -> tuple[str, ...]:
    """Names of the checks, as in `RULES_OF_CHECK`, for which a table declares a rule."""
    parents = {column: "parent" for column, _ in table.foreign_keys}
    declared = {rule for column in table.columns for rule, _ in conditions(column, column.name, parents)}
    return tuple(check for check, rules in RULES_OF_CHECK.items() if declared.intersection(rules))


def conditions(column: Column, value: str, parents: Mapping[str, str]) -> Iterator[tuple[RowRule, str]]:
    """Each rule of a column with the SQL that is true where it is broken."""
    if not column.nullable:
        yield "not_null", f"{value} IS NULL"
    if column.accepted:
        yield "accepted_values", f"{value} NOT IN ({', '.join(literal(one) for one in column.accepted)})"
    if isinstance(column.type, Text) and column.type.max_length is not None:
        yield "max_length", f"length({value}) > {column.type.max_length:d}"
    if column.iso_date:
        # The round trip refuses what a cast alone forgives: blanks, slashes, missing zeros.
        yield (
            "iso_date",
            f"{value} IS NOT NULL AND CAST(try_cast({value} AS DATE) AS VARCHAR) IS DISTINCT FROM {value}",
        )
    comparable = value
    if column.iso_date:
        comparable = f"try_cast({value} AS DATE)"
    elif isinstance(column.type, Timestamp):
        # A limit of a timestamp is a day, and the last day lasts until midnight.
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
