"""Encoding of a table's columns as fields of a SELECT, and decoding of the fields.

Server and driver spend most of a bulk read's time per field, and little per byte. Two integers that are never
NULL therefore share a field: the first is its high half, the second its low half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from platform_assets.lake.arrow import arrow_schema
from platform_assets.model.dialects import quote
from platform_assets.model.table import Integer, LogicalType, Table
from platform_assets.source.catalogue import Relation
from platform_assets.source.types import decode, select_expression

_HALF = 2**32


@dataclass(frozen=True)
class Fields:
    """Fields that encode some columns of a table.

    Args:
        columns: For each field, in order, its columns: a single column, or two integer columns.
        expressions: For each field, its SQL.
        types: Logical type of each column.
        schema: Arrow schema of the columns as they are declared.
    """

    columns: tuple[tuple[str, ...], ...]
    expressions: tuple[str, ...]
    types: Mapping[str, LogicalType]
    schema: pa.Schema

    @property
    def select_list(self) -> str:
        """The list after SELECT. A field has the name of its first column."""
        named = zip(self.expressions, self.columns, strict=True)
        return ", ".join(f"{expression} AS {quote(columns[0])}" for expression, columns in named)

    def decode(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Decode the columns from the fields returned by ADBC.

        Raises:
            pa.ArrowInvalid: A value does not fit.
        """
        arrays = {}
        for columns, field in zip(self.columns, batch.columns, strict=True):
            parts = [field] if len(columns) == 1 else _halves(field, columns)
            for name, part in zip(columns, parts, strict=True):
                try:
                    arrays[name] = decode(part, self.types[name])
                except pa.ArrowInvalid as error:
                    raise pa.ArrowInvalid(f"column {name}: {error}") from error
        return pa.RecordBatch.from_arrays([arrays[name] for name in self.schema.names], schema=self.schema)


def fields_of(table: Table, relation: Relation, names: Sequence[str]) -> Fields:
    """Choose the fields for columns of a table.

    Args:
        table: Declaration of the table.
        relation: Catalogue entry of the table, with all these columns.
        names: The columns.
    """
    source_types = {column.name: column.type for column in relation.columns}
    halves = [name for name in names if _is_half(table, relation, name)]
    second_of = dict(zip(halves[::2], halves[1::2], strict=False))
    seconds = set(second_of.values())
    columns: list[tuple[str, ...]] = []
    expressions = []
    for name in names:
        second = second_of.get(name)
        if second is not None:
            # Exclusive or, because neither the product nor the exclusive or can overflow.
            both = f"{quote(name)}::pg_catalog.int4 * {_HALF} # {quote(second)}::pg_catalog.int8"
            columns.append((name, second))
            expressions.append(both)
        elif name not in seconds:
            columns.append((name,))
            expressions.append(select_expression(table.column(name), source_types[name]))
    selected = [table.column(name) for name in names]
    types = {column.name: column.type for column in selected}
    return Fields(tuple(columns), tuple(expressions), types, arrow_schema(selected))


def _is_half(table: Table, relation: Relation, name: str) -> bool:
    """Return whether a column fits half a field: an integer of up to 32 bits that is NULL in no row.

    A column that is NOT NULL in a table may be NULL in inheriting tables, and NOT NULL is not enforced in
    foreign tables.
    """
    column = relation.column(name)
    return (
        isinstance(table.column(name).type, Integer)
        and column is not None
        and column.type.is_builtin("int2", "int4")
        and not column.nullable
        and relation.has_xmin
        and (relation.kind == "partitioned" or (relation.kind == "table" and len(relation.parts) <= 1))
    )


def _halves(field: pa.Array, columns: Sequence[str]) -> list[pa.Array]:
    if field.null_count:
        raise pa.ArrowInvalid(f"{' or '.join(columns)} is NULL where the source says NOT NULL")
    whole = np.frombuffer(field.buffers()[1] or b"", np.int64, len(field), field.offset * 8)
    low = whole.astype(np.int32)
    high = (whole >> 32).astype(np.int32) ^ (low >> 31)
    return [pa.Array.from_buffers(pa.int32(), len(field), [None, pa.py_buffer(part)]) for part in (high, low)]
