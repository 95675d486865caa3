"""Notes about tables for their assets' pages in Dagster, from the graph and the marks; and their JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from platform_assets.classification import INFO_TYPE_TAG, ORIGIN_TAG, Mark
from platform_assets.column_lineage import ROWS, ColumnRef
from platform_assets.description import TableNotes

if TYPE_CHECKING:
    from platform_assets.lineage.graph import Graph

Notes = Mapping[tuple[str, ...], TableNotes]
"""The notes by the path of the table's asset key."""


def notes_of(graph: Graph, marks: Iterable[Mark]) -> Notes:
    """Return the notes about all assets of a graph, without links.

    Args:
        graph: The graph.
        marks: The marks of its columns.
    """
    tags: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
    held: dict[ColumnRef, list[Mark]] = {}
    for mark in marks:
        held.setdefault(mark.column, []).append(mark)
    for column, of_column in held.items():
        tags.setdefault(column.asset, {})[column.column] = {
            INFO_TYPE_TAG: ", ".join(mark.info_type for mark in of_column),
            ORIGIN_TAG: ", ".join(mark.origin.value for mark in of_column),
        }
    sources: dict[tuple[str, ...], dict[str, list[ColumnRef]]] = {}
    for edge in graph.edges:
        if edge.is_direct and edge.source.column != ROWS and edge.target.column != ROWS:
            into = sources.setdefault(edge.target.asset, {}).setdefault(edge.target.column, [])
            if edge.source not in into:
                into.append(edge.source)
    return {
        asset: TableNotes(tags.get(asset, {}), sources.get(asset, {}))
        for asset, table in graph.tables.items()
        if table.is_asset
    }


def notes_to_json(notes: Notes) -> str:
    """Return notes as JSON; see `notes_from_json`."""
    rows = [[asset, found.tags, found.sources] for asset, found in notes.items()]
    return json.dumps(rows, separators=(",", ":"), ensure_ascii=False)


def notes_from_json(text: str) -> Notes:
    """Return the notes that `notes_to_json` has written.

    Raises:
        ValueError: The text is something else.
    """
    try:
        return {
            tuple(asset): TableNotes(
                {column: dict(of_column) for column, of_column in tags.items()},
                {
                    column: [ColumnRef(tuple(path), name) for path, name in of_column]
                    for column, of_column in sources.items()
                },
            )
            for asset, tags, sources in json.loads(text)
        }
    except (AttributeError, TypeError) as error:
        raise ValueError(f"not the JSON of notes: {error!r}") from error
