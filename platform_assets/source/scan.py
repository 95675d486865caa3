"""Scans of tables: the SELECTs, split for large tables, and the conversion of ADBC batches to rows.

This module reads no data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from platform_assets.model.dialects import quote
from platform_assets.model.table import Table, Text
from platform_assets.source.catalogue import Relation
from platform_assets.source.compare import hashed_schema, with_hash
from platform_assets.source.fields import Fields, fields_of
from platform_assets.source.types import select_expression

_PAGES_WORTH_SPLITTING = 4_096
PARTS = 8
"""Parts of a large table, unless more workers are there to read it."""
_HAS_CTID = ("table", "partitioned", "materialized view")
_FIRST_VERSION_WITH_CTID_RANGES = 140_000


@dataclass(frozen=True)
class Scan:
    """A single read of a table.

    Args:
        table: Name of the table, which identifies its stream and appears in messages.
        queries: The SELECTs that together return its rows.
        schema: Arrow schema of the result of `finish`.
        finish: Converts a batch from ADBC to the schema; called in the reading threads.
        probes: For each column, a SELECT that fails if one of its values cannot be read.
    """

    table: str
    queries: tuple[str, ...]
    schema: pa.Schema
    finish: Callable[[pa.RecordBatch], pa.RecordBatch]
    probes: Mapping[str, str] = field(default_factory=dict)


def _split(
    relation: Relation, select: str, predicate: str | None, version: int, parts: int
) -> tuple[str, ...]:
    """Return the queries that together read a relation, split by physical position if it is large."""
    ranges = [""]
    large = relation.pages >= _PAGES_WORTH_SPLITTING
    if large and relation.kind in _HAS_CTID and version >= _FIRST_VERSION_WITH_CTID_RANGES:
        starts = [relation.pages * part // parts for part in range(1, parts)]
        # The last range is open, because the table may have grown since its size was read.
        ranges = [
            " AND ".join(
                f"ctid {operator} '({page},0)'::tid"
                for operator, page in ((">=", low), ("<", high))
                if page is not None
            )
            for low, high in zip([None, *starts], [*starts, None], strict=True)
        ]
    conditions = (
        " AND ".join(f"({condition})" for condition in (part, predicate) if condition) for part in ranges
    )
    return tuple(f"{select} WHERE {condition}" if condition else select for condition in conditions)


def table_scan(
    table: Table, relation: Relation, version: int, predicate: str | None = None, parts: int = PARTS
) -> Scan:
    """Create the scan of a table's rows, with their content hash as the last column.

    Args:
        table: Declaration of the table with the columns to read, all of which `relation` has.
        relation: Catalogue entry of the table.
        version: The server's version as a number.
        predicate: SQL for the rows to read; None for all rows.
        parts: Number of queries for a large table.
    """
    fields = fields_of(table, relation, table.column_names)
    queries = _split(relation, _select(fields, relation), predicate, version, parts)
    return Scan(
        table.name,
        queries,
        hashed_schema(table),
        lambda batch: with_hash(fields.decode(batch)),
        _probes(table, relation, table.column_names, predicate),
    )


def key_scan(table: Table, relation: Relation) -> Scan:
    """Create the scan of all primary keys of a table; the arguments are those of `table_scan`."""
    fields = fields_of(table, relation, table.primary_key)
    return Scan(
        table.name,
        (_select(fields, relation),),
        fields.schema,
        fields.decode,
        _probes(table, relation, table.primary_key),
    )


def _select(fields: Fields, relation: Relation) -> str:
    return f"SELECT {fields.select_list} FROM {quote(relation.schema, relation.name)}"


def _probes(
    table: Table, relation: Relation, names: Sequence[str], predicate: str | None = None
) -> dict[str, str]:
    """Return one SELECT per column that evaluates it as the scan does, without sending rows."""
    rows = f"FROM {quote(relation.schema, relation.name)}" + (f" WHERE {predicate}" if predicate else "")
    types = {column.name: column.type for column in relation.columns}
    probes = {}
    for name in names:
        value = select_expression(table.column(name), types[name])
        checked = f"convert_to({value}, 'UTF8')" if isinstance(table.column(name).type, Text) else value
        probes[name] = f"SELECT count({checked}) {rows}"
    return probes
