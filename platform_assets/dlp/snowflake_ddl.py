"""DDL for Snowflake's tags and masking policies, from what columns hold and the policy.

Snowflake itself then shows a column's values only to a role, whoever loads them. The user that runs the
statements needs CREATE TAG and CREATE MASKING POLICY on the schema, APPLY MASKING POLICY and APPLY TAG.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from platform_assets.dlp.model import Likelihood
from platform_assets.dlp.policy import Action, Policy
from platform_assets.model.dialects import SNOWFLAKE
from platform_assets.model.table import Integer, Table

if TYPE_CHECKING:
    from platform_assets.classification import Mark

quote, literal = SNOWFLAKE.quote, SNOWFLAKE.literal

_TAG = "PLATFORM_INFO_TYPE"
_CREATE_SCHEMA = "CREATE SCHEMA IF NOT EXISTS"


@dataclass(frozen=True)
class Place:
    """The location of the star schema in Snowflake.

    Args:
        schema: Schema of the star tables.
        policies: Schema of tags and masking policies.
        role: The role that sees unmasked values.
        is_upper: True if the tables' names are in upper case there, as for `snowflake/<table>`.
    """

    schema: str
    policies: str
    role: str
    is_upper: bool = False


def statements(marks: Iterable[Mark], star: Iterable[Table], policy: Policy, place: Place) -> Iterator[str]:
    """The statements, without semicolons: each sensitive column is tagged, and masked if a rule says so.

    Args:
        marks: What columns hold: found, declared, and derived from such columns.
        star: The star tables.
        policy: The policy.
        place: The location of the tables.
    """
    tables = {f"star/{table.name}": table for table in star}
    found: dict[tuple[str, str], list[tuple[str, Likelihood]]] = {}
    for mark in marks:
        key = ("/".join(mark.column.asset), mark.column.column)
        if key[0] in tables:
            found.setdefault(key, []).append((mark.info_type, Likelihood[mark.likelihood]))
    tag = quote(place.policies, _TAG)
    if found:
        yield f"{_CREATE_SCHEMA} {quote(place.policies)}"
        yield f"CREATE TAG IF NOT EXISTS {tag} COMMENT = {literal('What the column holds')}"
    made = set()
    for (table, name), held in sorted(found.items()):
        column = next((column for column in tables[table].columns if column.name == name), None)
        if column is None:
            continue
        target = _named(place, tables[table].name, is_table=True)
        cell = _named(place, name)
        surest = max(held, key=lambda kind: (kind[1], kind[0]))[0]
        yield f"ALTER TABLE {target} MODIFY COLUMN {cell} SET TAG {tag} = {literal(surest)}"
        decision = policy.decide_column(held, f"{table}.{name}")
        if decision.action is Action.DEIDENTIFY:
            # One policy serves columns of any width and precision.
            widest = Integer(64) if isinstance(column.type, Integer) else column.type
            type_ = SNOWFLAKE.type_name(widest).removesuffix("(6)")
            mask = quote(place.policies, f"PLATFORM_MASK_{type_.split('(')[0]}")
            if mask not in made:
                made.add(mask)
                yield _masking_policy(mask, type_, place.role)
            yield f"ALTER TABLE {target} MODIFY COLUMN {cell} SET MASKING POLICY {mask}"


def apart(made: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the statements that create tags and masking policies, and those that set them on columns.

    Args:
        made: Statements from `statements`. The one that creates the schema is in neither list.
    """
    kept = [sql for sql in made if not sql.startswith(_CREATE_SCHEMA)]
    on_columns = [sql for sql in kept if sql.startswith("ALTER")]
    return [sql for sql in kept if sql not in on_columns], on_columns


def _named(place: Place, name: str, *, is_table: bool = False) -> str:
    written = quote(name.upper() if place.is_upper else name)
    return f"{quote(place.schema)}.{written}" if is_table else written


def _masking_policy(name: str, type_: str, role: str) -> str:
    hidden = literal("********") if type_ == "VARCHAR" else f"CAST(NULL AS {type_})"
    return (
        f"CREATE MASKING POLICY IF NOT EXISTS {name} AS (VAL {type_}) RETURNS {type_} -> "
        f"CASE WHEN IS_ROLE_IN_SESSION({literal(role)}) THEN VAL ELSE {hidden} END"
    )
