"""The reference inputs as tables of the lineage graph; the code location reads this without pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from platform_assets.column_lineage import ColumnRef, DeclaredTable, StatedEdge, Subtype
from platform_assets.model.table import Column, Date, Integer, Table, Text, Timestamp


def declared_inputs(tables: Sequence[Table]) -> Iterator[DeclaredTable]:
    """Yield the reference inputs as tables of the lineage graph.

    Args:
        tables: The star tables.
    """
    named = "Shipped with the platform: the Unicode CLDR, as Babel has it"
    yield DeclaredTable(
        ("reference", "currency_name"),
        (Column("currency_code", Text(), "ISO 4217 code"), Column("currency_name", Text(), "English name")),
        constants={"currency_code": named, "currency_name": named},
        description="The English names of all currencies.",
        is_asset=False,
        kind="reference input",
    )
    by_name = {table.name: table for table in tables}
    edges = []
    for calendar in (table for table in tables if "calendar" in table.inputs):
        for fact in (by_name[name] for name in calendar.derived_from):
            asset = ("star", fact.name)
            edges += [
                StatedEdge(ColumnRef(asset, column), "date_id", Subtype.AGGREGATION)
                for column, parent in fact.foreign_keys
                if parent == calendar.name
            ]
            edges += [
                StatedEdge(ColumnRef(asset, name), name, Subtype.AGGREGATION)
                for name in ("_batch", "_seen_at")
            ]
    yield DeclaredTable(
        ("reference", "calendar"),
        (
            Column("date_id", Date(), "The day"),
            Column("_batch", Integer(64), "The batch that first needed the day's year"),
            Column("_seen_at", Timestamp(utc=True), "When that batch was seen, UTC"),
        ),
        edges=tuple(edges),
        constants={} if edges else dict.fromkeys(("date_id", "_batch", "_seen_at"), "Nothing reads it"),
        description="The days of whole years from the first to the last date of any fact.",
        is_asset=False,
        kind="reference input",
    )
