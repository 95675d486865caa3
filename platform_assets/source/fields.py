"""The fields that a SELECT sends for the columns of a table, and the columns made of them again.

Most of a bulk read, on the server as in the driver, is spent on each field and little on its bytes. Two
integers that are never NULL therefore share a field: the first is its high half, and the second its low one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from platform_assets.lake.arrow import arrow_schema
from platform_assets.lake.duck import quote
from platform_assets.model.table import Integer, LogicalType, Table
from platform_assets.source.catalogue import Relation
from platform_assets.source.types import decode, select_expression

_HALF = 2**32


@dataclass(frozen=True)
class Fields:
    """How some columns of a table travel.

    Args:
        columns: For each field, in order, the columns that are in it: one, or two integers.
        expressions: For each field, the SQL that makes it.
        types: Logical type of each column.
        schema: Arrow schema of the columns as they are declared.
    """

    columns: tuple[tuple[str, ...], ...]
    expressions: tuple[str, ...]
    types: Mapping[str, LogicalType]
    schema: pa.Schema

    @property
    def select_list(self) -> str:
        """What follows SELECT. A field is named by the first of its columns."""
        named = zip(self.expressions, self.columns, strict=True)
        return ", ".join(f"{expression} AS {quote(columns[0])}" for expression, columns in named)

    def decode(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The columns, of the fields as ADBC made them.

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
    """Say how columns of a table travel.

    Args:
        table: Its declaration.
        relation: What the catalogue says of it, with all these columns.
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
            # Exclusive or, because neither it nor the product has a value that overflows.
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
    """Whether a column can be half a field: an integer of up to 32 bits that no row can have NULL in.

    What is NOT NULL in a table need not be in those that inherit from it, and nobody enforces it in a foreign
    one.
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
