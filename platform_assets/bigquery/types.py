"""Mapping of the platform's logical types and Arrow's types to BigQuery's types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from platform_assets.errors import WarehouseError
from platform_assets.model.dialects import BIGQUERY
from platform_assets.model.table import Decimal

if TYPE_CHECKING:
    from google.cloud import bigquery

# https://cloud.google.com/bigquery/docs/schemas#flexible-column-names
_REFUSED_IN_NAMES = frozenset('!"$()*,./;?@[\\]^`{}~')
_RESERVED_STARTS = (
    "_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier", "_change_type"
)  # fmt: skip


def loadable(schema: pa.Schema) -> pa.Schema:
    """The Arrow schema to cast rows to, so that BigQuery can read the resulting Parquet file.

    Args:
        schema: The schema of the rows.

    Raises:
        WarehouseError: BigQuery does not support a column's name or type; the message names the column.
    """
    seen: dict[str, str] = {}
    fields = []
    for field in schema:
        refused = sorted(_REFUSED_IN_NAMES.intersection(field.name))
        folded = field.name.casefold()
        if refused or not field.name.strip() or folded.startswith(_RESERVED_STARTS) or len(folded) > 300:
            found = (
                f"it has {' '.join(refused)} in it" if refused else "the name is empty, reserved or too long"
            )
            raise WarehouseError(
                f"BigQuery cannot have a column called {field.name!r}: {found}. Give it another name."
            )
        if folded in seen:
            raise WarehouseError(
                f"BigQuery takes the columns {seen[folded]!r} and {field.name!r} for one and the same, as it "
                "does not tell upper from lower case. Give one of them another name."
            )
        seen[folded] = field.name
        fields.append(pa.field(field.name, _loadable_type(field.name, field.type), nullable=True))
    return pa.schema(fields)


def _loadable_type(name: str, type_: pa.DataType) -> pa.DataType:
    is_ = pa.types
    if is_.is_dictionary(type_):
        return _loadable_type(name, type_.value_type)
    if is_.is_null(type_) or is_.is_large_string(type_) or is_.is_string_view(type_):
        return pa.string()
    if is_.is_large_binary(type_) or is_.is_fixed_size_binary(type_) or is_.is_binary_view(type_):
        return pa.binary()
    if is_.is_uint64(type_):
        return pa.decimal128(20, 0)
    if is_.is_integer(type_):
        return pa.int64()
    if is_.is_floating(type_):
        return pa.float64()
    if is_.is_date(type_):
        return pa.date32()
    if is_.is_time(type_):
        return pa.time64("us")
    if is_.is_timestamp(type_):
        return pa.timestamp("us", "UTC" if type_.tz else None)
    if (
        is_.is_decimal(type_)
        and type_.scale >= 0
        and type_.scale <= 38
        and type_.precision - type_.scale <= 38
    ):
        return type_
    if is_.is_list(type_) or is_.is_large_list(type_) or is_.is_fixed_size_list(type_):
        if not is_.is_nested(type_.value_type) or is_.is_struct(type_.value_type):
            return pa.list_(_loadable_type(name, type_.value_type))
    elif is_.is_struct(type_):
        return pa.struct([pa.field(member.name, _loadable_type(name, member.type)) for member in type_])
    elif is_.is_boolean(type_) or is_.is_string(type_) or is_.is_binary(type_):
        return type_
    raise WarehouseError(
        f"BigQuery has no type for the column {name!r} of Arrow type {type_}. Cast it to text, or "
        "leave it out."
    )


def schema_fields(schema: pa.Schema) -> list[bigquery.SchemaField]:
    """BigQuery's schema of a table whose rows have the schema that `loadable` returned."""
    return [_schema_field(field) for field in schema]


def _schema_field(field: pa.Field) -> bigquery.SchemaField:
    from google.cloud import bigquery

    type_, mode = field.type, "NULLABLE"
    if pa.types.is_list(type_):
        type_, mode = type_.value_type, "REPEATED"
    if pa.types.is_struct(type_):
        return bigquery.SchemaField(
            field.name, "RECORD", mode, fields=[_schema_field(member) for member in type_]
        )
    if pa.types.is_decimal(type_):
        kind = BIGQUERY.type_name(Decimal(type_.precision, type_.scale)).partition("(")[0]
        return bigquery.SchemaField(field.name, kind, mode, precision=type_.precision, scale=type_.scale)
    return bigquery.SchemaField(field.name, _SCALARS[type_], mode)


_SCALARS = {
    pa.bool_(): "BOOL",
    pa.int64(): "INT64",
    pa.float64(): "FLOAT64",
    pa.string(): "STRING",
    pa.binary(): "BYTES",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
    pa.timestamp("us"): "DATETIME",
    pa.timestamp("us", "UTC"): "TIMESTAMP",
}
