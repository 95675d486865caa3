"""PostgreSQL statements that create a sample database, derived from the declarations of its tables.

The physical column order is that of the real database, which differs from the declared one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from platform_assets.model.dialects import POSTGRES, type_name
from platform_assets.model.table import Column, LogicalType, Table
from platform_assets.model.totesys.source import DESIGN, PAYMENT, PURCHASE_ORDER, SALES_ORDER, TABLES

quote, literal = POSTGRES.quote, POSTGRES.literal

_STAMPS_FIRST = (SALES_ORDER, PURCHASE_ORDER, PAYMENT)

MIGRATIONS_TABLE = "_prisma_migrations"
"""Bookkeeping table of the real database's schema migration tool: in the schema, but not business data."""


def enum_types() -> dict[str, tuple[str, ...]]:
    """Return the labels of every enumerated type in the tables, by type name."""
    return {column.enum: column.accepted for table in TABLES for column in table.columns if column.enum}


def create_types(schema: str) -> Iterator[str]:
    """Yield the statements that create the enumerated types."""
    for name, labels in enum_types().items():
        yield f"CREATE TYPE {quote(schema, name)} AS ENUM ({', '.join(map(literal, labels))})"


def create_table(schema: str, table: Table) -> str:
    """Return the statement that creates the table, without keys."""
    columns = [_column(schema, table, table.column(name)) for name in physical_order(table)]
    return f"CREATE TABLE {quote(schema, table.name)} ({', '.join(columns)})"


def create_migrations_table(schema: str) -> Iterator[str]:
    """Yield the statements that create the schema tool's bookkeeping table with one migration."""
    name = quote(schema, MIGRATIONS_TABLE)
    yield (
        f"CREATE TABLE {name} (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, "
        "finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text, "
        "rolled_back_at timestamptz, "
        "started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0)"
    )
    yield (
        f"INSERT INTO {name} VALUES ('5b0c1e52-7d0a-4f0e-9a6e-2f6f3c9d1a77', '{'0f1e2d3c' * 8}', "
        "'2022-11-03 14:19:58.204+00', '20221103141950_init', NULL, NULL, '2022-11-03 14:19:57.911+00', 1)"
    )


def create_keys(schema: str, table: Table) -> Iterator[str]:
    """Yield the statements that add the primary key and the unique keys."""
    name = quote(schema, table.name)
    for kind, suffix, keys in (
        ("PRIMARY KEY", "pkey", (table.primary_key,)),
        ("UNIQUE", "key", table.uniques),
    ):
        for key in keys:
            parts = (table.name, suffix) if suffix == "pkey" else (table.name, *key, suffix)
            columns = POSTGRES.columns(key)
            yield f"ALTER TABLE {name} ADD CONSTRAINT {quote('_'.join(parts))} {kind} ({columns})"


def create_foreign_keys(schema: str, table: Table) -> Iterator[str]:
    """Yield the statements that add the foreign keys; the referenced tables must have their primary keys."""
    targets = {target.name: target for target in TABLES}
    for name, target in table.foreign_keys:
        on_delete = "SET NULL" if _may_be_orphaned(table, name) else "RESTRICT"
        yield (
            f"ALTER TABLE {quote(schema, table.name)} "
            f"ADD CONSTRAINT {quote(f'{table.name}_{name}_fkey')} FOREIGN KEY ({quote(name)}) "
            f"REFERENCES {quote(schema, target)} ({quote(targets[target].primary_key[0])}) "
            f"ON UPDATE CASCADE ON DELETE {on_delete}"
        )


def physical_order(table: Table) -> tuple[str, ...]:
    """Return the table's column names in the order in which the real database stores them."""
    names = table.column_names
    if table in _STAMPS_FIRST:
        return (names[0], *names[-2:], *names[1:-2])
    if table == DESIGN:
        return (names[0], names[-2], *names[1:-2], names[-1])
    return names


def _may_be_orphaned(table: Table, column: str) -> bool:
    return table.column(column).nullable


def _column(schema: str, table: Table, column: Column) -> str:
    words = [quote(column.name)]
    if column.name in table.primary_key:
        words.append("serial")
    elif column.enum:
        words.append(quote(schema, column.enum))
    else:
        words.append(_type(column.type))
    if not column.nullable:
        words.append("NOT NULL")
    if column.name == "created_at":
        words.append("DEFAULT CURRENT_TIMESTAMP")
    return " ".join(words)


def _type(logical: LogicalType) -> str:
    # The real database keeps milliseconds.
    return re.sub("^time(stamp)?", r"\g<0>(3)", type_name(logical))
