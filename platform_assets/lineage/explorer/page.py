"""The explorer's page, put together from its files and the graph.

The page is one file without any address in it: its style and script are allowed by their hashes, everything
else is forbidden by its Content-Security-Policy. Names reach it as JSON in which `<` is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from platform_assets.column_lineage import ROWS, ColumnRef, EdgeKind, Subtype

if TYPE_CHECKING:
    from platform_assets.classification import Mark
    from platform_assets.lineage.graph import Edge, Graph, GraphTable

_FILES = resources.files(__package__)
_SUBTYPES = list(Subtype)
_OUTSIDE = "outside the platform"


def explorer_page(graph: Graph, marks: Sequence[Mark], made: str) -> str:
    """Return the page as HTML.

    Args:
        graph: The graph to show.
        marks: What columns hold, found, declared and derived.
        made: A line about when the page was made, for its end.
    """
    style, script = (_file(name) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"policy": policy, "style": style, "script": script, "data": _data(graph, marks, made)}
    # In one pass: what is filled in is not searched for further places.
    before, *rest = _file("page.html").split("{{")
    return before + "".join(parts[name] + text for name, _, text in (piece.partition("}}") for piece in rest))


def anchor(asset: Sequence[str], column: str = "") -> str:
    """Return the part of a link after `#` that leads to a table's or a column's place in the page."""
    from urllib.parse import quote

    return quote("/".join(asset) + (f".{column}" if column else ""), safe="/!'()*-._~")


def _file(name: str) -> str:
    return _FILES.joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _data(graph: Graph, marks: Sequence[Mark], made: str) -> str:
    """Return the graph as JSON for page.js, which describes it; safe inside a script element."""
    with_rows = {
        end.asset for edge in graph.edges for end in (edge.source, edge.target) if end.column == ROWS
    }
    numbers: dict[ColumnRef, int] = {}
    for table in graph.tables.values():
        names = [column.name for column in table.columns] + ([ROWS] if table.asset in with_rows else [])
        for name in names:
            numbers[ColumnRef(table.asset, name)] = len(numbers)
    marked: dict[ColumnRef, list[list[Any]]] = {}
    origins = ["found", "declared", "derived"]
    for mark in marks:
        source = numbers.get(mark.source, -1) if mark.source is not None else -1
        marked.setdefault(mark.column, []).append([mark.info_type, origins.index(mark.origin.value), source])
    content = {
        "made": made,
        "subtypes": [str(subtype) for subtype in _SUBTYPES],
        "tables": [_table(table, marked, table.asset in with_rows) for table in graph.tables.values()],
        "edges": [value for edge in graph.edges for value in _edge(edge, graph, numbers)],
    }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c")


def _table(table: GraphTable, marked: Mapping[ColumnRef, list[list[Any]]], with_rows: bool) -> list[Any]:
    columns: list[list[Any]] = []
    for column in table.columns:
        row = [
            column.name,
            column.type,
            column.description,
            marked.get(ColumnRef(table.asset, column.name), []),
        ]
        columns.append([*row, column.constant] if column.constant else row)
    if with_rows:
        columns.append([ROWS, "", "", []])
    group = table.group or _OUTSIDE
    return [table.name, group, table.description, table.owners, table.sql or "", table.unknown, columns]


def _edge(edge: Edge, graph: Graph, numbers: Mapping[ColumnRef, int]) -> list[int]:
    start, end = -1, -1
    sql = graph.tables[edge.target.asset].sql
    if edge.expression is not None and sql is not None:
        start, end = (_utf16(sql, at) for at in edge.expression)
    return [
        numbers[edge.source],
        numbers[edge.target],
        int(edge.kind is EdgeKind.INDIRECT),
        _SUBTYPES.index(edge.subtype),
        2 if edge.removing else int(edge.masking),
        2 if edge.proved is None else int(edge.proved),
        start,
        end,
    ]


def _utf16(text: str, at: int) -> int:
    """Return a place in a text as JavaScript counts: characters beyond U+FFFF are two."""
    before = text[:at]
    return at if before.isascii() else len(before.encode("utf-16-le")) // 2
