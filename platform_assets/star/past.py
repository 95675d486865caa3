"""Star tables after an earlier batch: facts by batch, dimensions computed from bronze by today's SQL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from platform_assets.errors import LakeError
from platform_assets.lake.arrow import logical_type_of, python_rows
from platform_assets.lake.lake import as_stored
from platform_assets.lake.past import TOUCHED, Past, PastTable
from platform_assets.model.dialects import DUCKDB, columns_sql, literal, quote
from platform_assets.model.star_model import STREAM
from platform_assets.star.engine import EmbeddedEngine
from platform_assets.star.reference_inputs import REFERENCE_INPUTS, Written

if TYPE_CHECKING:
    import pyarrow as pa

    from platform_assets.lake.duck import SqlEngine
    from platform_assets.lake.lake import Lake
    from platform_assets.model.star_model import StarModel
    from platform_assets.model.table import Table


def past_star_table(lake: Lake, model: StarModel, engine: SqlEngine, table: Table) -> PastTable:
    """Return a table of a star schema at an earlier time.

    Args:
        lake: The lake.
        model: The star schema.
        engine: Memory and threads.
        table: The table.
    """
    key = columns_sql(table.primary_key)
    is_computed = table.kind == "dimension" and not table.is_backdated

    def whole(past: Past) -> str:
        return (
            _computed(past, lake, model, engine, table) if is_computed else _stored(past, lake, model, table)
        )

    def select(past: Past, touched: bool) -> str:
        some = f" SEMI JOIN {quote(TOUCHED)} USING ({key})" if touched else ""
        return f"SELECT * FROM ({whole(past)}){some}" if some else whole(past)

    def changed(past: Past, after: int) -> str:
        return f"SELECT {key} FROM ({whole(past)}) WHERE _batch > {after:d}"

    present = "_change <> 'delete'" if table.kind == "dimension" else "true"
    name = f"star/{table.name}"
    return PastTable(name, table.primary_key, table.column_names, select, changed, present)


def _stored(past: Past, lake: Lake, model: StarModel, table: Table) -> str:
    """Return the SELECT of rows that stay as they were built."""
    target = lake.star(table)
    cursor = target.cursor(target.open(), STREAM)
    due = past.state.last_batch_of((model.source, name) for name in table.reads)
    if cursor < min(due, past.batch):
        raise LakeError(
            f"star/{table.name} is at batch {cursor}, so that batch {past.batch} cannot be shown. "
            "Build it first: platform-assets run."
        )
    return past.rows(target)


def _computed(past: Past, lake: Lake, model: StarModel, engine: SqlEngine, table: Table) -> str:
    """Return the SELECT of a dimension from bronze, in one statement."""
    by_name = {source_table.name: source_table for source_table in model.source_tables}
    parts = {
        f"{model.source}.{name}": past.latest(model.source, as_stored(lake, model.source, by_name[name]))
        for name in table.reads
    }
    for name in table.inputs:
        rows = REFERENCE_INPUTS[name].rows(Written(table, None, [], lake, EmbeddedEngine(engine)))
        parts[f"reference.{name}"] = _values(rows)
    names = "|".join(re.escape(part) for part in parts)
    # Texts and comments stay as they are.
    references = re.compile(rf"""('(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*)|\b({names})\b""")
    sql = references.sub(lambda found: found[1] or quote(found[2]), model.select_of(table))
    common = ",\n".join(f"{quote(name)} AS ({part})" for name, part in parts.items())
    columns = columns_sql([column.name for column in lake.star(table).columns])
    return f"WITH {common}\nSELECT {columns} FROM (\n{sql}\n) AS built"


def _values(rows: pa.Table) -> str:
    """Return the SELECT of a few rows of constants."""
    types = [DUCKDB.type_name(logical_type_of(field.type)) for field in rows.schema]
    columns = columns_sql(rows.schema.names)
    lines = ", ".join(
        "("
        + ", ".join(
            "NULL" if value is None else f"CAST({literal(str(value))} AS {type_})"
            for value, type_ in zip(row.values(), types, strict=True)
        )
        + ")"
        for row in python_rows(rows)
    )
    return f"SELECT * FROM (VALUES {lines}) AS constants({columns})"
