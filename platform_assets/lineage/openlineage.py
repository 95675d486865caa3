"""The graph in OpenLineage's terms: datasets with their schema and their column lineage.

https://openlineage.io/spec/facets/1-2-0/ColumnLineageDatasetFacet.json
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from platform_assets.column_lineage import ROWS, ColumnRef
from platform_assets.lineage.graph import Edge, Graph, GraphTable

PRODUCER = "https://github.com/OpenLineage/OpenLineage/tree/main/client/python"
COLUMN_LINEAGE = "https://openlineage.io/spec/facets/1-2-0/ColumnLineageDatasetFacet.json"
_SCHEMA = "https://openlineage.io/spec/facets/1-1-1/SchemaDatasetFacet.json"
_FACET = "#/$defs/"


def dataset(
    graph: Graph, table: GraphTable, namespace: str, edges: Collection[Edge] | None = None
) -> dict[str, Any]:
    """Return a table as a dataset of OpenLineage.

    Args:
        graph: The graph.
        table: The table.
        namespace: Namespace of all datasets.
        edges: The edges to tell; all into the table by default.
    """
    facets: dict[str, Any] = {"schema": _schema(table)}
    into: dict[str, list[Edge]] = {}
    for edge in graph.into_table(table.asset) if edges is None else edges:
        into.setdefault(edge.target.column, []).append(edge)
    rows = into.pop(ROWS, [])
    if into or rows:
        facets["columnLineage"] = {
            "_producer": PRODUCER,
            "_schemaURL": f"{COLUMN_LINEAGE}{_FACET}ColumnLineageDatasetFacet",
            "fields": {name: {"inputFields": _inputs(edges, namespace)} for name, edges in into.items()},
            **({"dataset": _inputs(rows, namespace)} if rows else {}),
        }
    return {"namespace": namespace, "name": table.name, "facets": facets}


def _schema(table: GraphTable) -> dict[str, Any]:
    return {
        "_producer": PRODUCER,
        "_schemaURL": f"{_SCHEMA}{_FACET}SchemaDatasetFacet",
        "fields": [
            {
                "name": column.name,
                **({"type": column.type} if column.type else {}),
                **({"description": column.description} if column.description else {}),
            }
            for column in table.columns
        ],
    }


def _inputs(edges: Iterable[Edge], namespace: str) -> list[dict[str, Any]]:
    """Return input fields with their transformations; a source that is read in several ways is one field."""
    fields: dict[ColumnRef, dict[str, Any]] = {}
    for edge in edges:
        source = edge.source
        one = fields.setdefault(
            source,
            {
                "namespace": namespace,
                "name": "/".join(source.asset),
                "field": source.column,
                "transformations": [],
            },
        )
        one["transformations"].append(
            {"type": str(edge.kind), "subtype": str(edge.subtype), "description": "", "masking": edge.masking}
        )
    return list(fields.values())
