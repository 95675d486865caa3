"""PostgreSQL statements that create a sample database, derived from the declarations of its tables.

The physical column order is that of the real database, which differs from the declared one.
"""

from __future__ import annotations

from collections.abc import Iterator

from platform_assets.model.table import (
    Binary,
    Boolean,
    Column,
    Date,
    Decimal,
    Float,
    Integer,
    LogicalType,
    Table,
    Text,
    Time,
    Timestamp,
)
from platform_assets.model.totesys import DESIGN, PAYMENT, PURCHASE_ORDER, SALES_ORDER, TABLES

_STAMPS_FIRST = (SALES_ORDER, PURCHASE_ORDER, PAYMENT)

MIGRATIONS_TABLE = "_prisma_migrations"
"""Bookkeeping table of the real database's schema migration tool: in the schema, but not business data."""


def identifier(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, name: str) -> str:
    """Quote a name and its schema for SQL."""
    return f"{identifier(schema)}.{identifier(name)}"


def literal(value: str) -> str:
    """Quote a text as an SQL string."""
    return "'" + value.replace("'", "''") + "'"


def enum_types() -> dict[str, tuple[str, ...]]:
    """Return the labels of every enumerated type in the tables, by type name."""
    return {column.enum: column.accepted for table in TABLES for column in table.columns if column.enum}


def create_types(schema: str) -> Iterator[str]:
    """Yield the statements that create the enumerated types."""
    for name, labels in enum_types().items():
        yield f"CREATE TYPE {qualified(schema, name)} AS ENUM ({', '.join(map(literal, labels))})"


def create_table(schema: str, table: Table) -> str:
    """Return the statement that creates the table, without keys."""
    columns = [_column(schema, table, table.column(name)) for name in physical_order(table)]
    return f"CREATE TABLE {qualified(schema, table.name)} ({', '.join(columns)})"


def create_migrations_table(schema: str) -> Iterator[str]:
    """Yield the statements that create the schema tool's bookkeeping table with one migration."""
    name = qualified(schema, MIGRATIONS_TABLE)
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
    name = qualified(schema, table.name)
    for kind, suffix, keys in (
        ("PRIMARY KEY", "pkey", (table.primary_key,)),
        ("UNIQUE", "key", table.uniques),
    ):
        for key in keys:
            parts = (table.name, suffix) if suffix == "pkey" else (table.name, *key, suffix)
            columns = ", ".join(map(identifier, key))
            yield f"ALTER TABLE {name} ADD CONSTRAINT {identifier('_'.join(parts))} {kind} ({columns})"


def create_foreign_keys(schema: str, table: Table) -> Iterator[str]:
    """Yield the statements that add the foreign keys; the referenced tables must have their primary keys."""
    targets = {target.name: target for target in TABLES}
    for name, target in table.foreign_keys:
        on_delete = "SET NULL" if _may_be_orphaned(table, name) else "RESTRICT"
        yield (
            f"ALTER TABLE {qualified(schema, table.name)} "
            f"ADD CONSTRAINT {identifier(f'{table.name}_{name}_fkey')} FOREIGN KEY ({identifier(name)}) "
            f"REFERENCES {qualified(schema, target)} ({identifier(targets[target].primary_key[0])}) "
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
    words = [identifier(column.name)]
    if column.name in table.primary_key:
        words.append("serial")
    elif column.enum:
        words.append(qualified(schema, column.enum))
    else:
        words.append(_type(column.type))
    if not column.nullable:
        words.append("NOT NULL")
    if column.name == "created_at":
        words.append("DEFAULT CURRENT_TIMESTAMP")
    return " ".join(words)


def _type(logical: LogicalType) -> str:
    match logical:
        case Integer(bits=bits):
            return "integer" if bits == 32 else "bigint"
        case Decimal(precision=precision, scale=scale):
            return f"numeric({precision},{scale})"
        case Float(bits=bits):
            return "double precision" if bits == 64 else "real"
        case Binary():
            return "bytea"
        case Text(max_length=None):
            return "text"
        case Text(max_length=length):
            return f"varchar({length})"
        case Boolean():
            return "boolean"
        case Date():
            return "date"
        case Time():
            return "time(3)"
        case Timestamp(utc=utc):
            return "timestamptz(3)" if utc else "timestamp(3)"
