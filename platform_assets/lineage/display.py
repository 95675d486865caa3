"""Walks along the graph as text: trees, JSON, Mermaid and OpenLineage."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from platform_assets.column_lineage import ROWS, ColumnRef
from platform_assets.lineage.graph import Edge, Graph, Step
from platform_assets.lineage.openlineage import dataset

if TYPE_CHECKING:
    from rich.tree import Tree

_LONGEST_EXPRESSION = 90


def trees(graph: Graph, column: ColumnRef, *, up: bool, down: bool, indirect: bool) -> Iterator[Tree]:
    """Yield a column's lineage as trees: what it is made from, what decides about it, what is made from it.

    Args:
        graph: The graph.
        column: The column.
        up: Show what it depends on.
        down: Show what depends on it.
        indirect: Show what only decides about values and rows.
    """
    from rich.text import Text
    from rich.tree import Tree

    if up:
        yield _tree(graph, column, "is made from", graph.up(column, indirect=False), upwards=True)
        decides = [step.edge for step in graph.up(column) if not step.edge.is_direct] if indirect else []
        if decides:
            listed = Tree(Text(f"What decides about {column}, or about the rows that it is in"))
            for edge in _unique(decides):
                listed.add(
                    Text(f"{edge.source}  {_described(graph, edge)}  (in {'/'.join(edge.target.asset)})")
                )
            yield listed
    if down:
        yield _tree(graph, column, "becomes", graph.down(column, indirect=False), upwards=False)
        decided = [step.edge for step in graph.down(column) if not step.edge.is_direct] if indirect else []
        if decided:
            listed = Tree(Text(f"What {column} decides about"))
            for edge in _unique(decided):
                rows = edge.target.column == ROWS
                target = f"the rows of {'/'.join(edge.target.asset)}" if rows else str(edge.target)
                listed.add(Text(f"{target}  {_described(graph, edge)}"))
            yield listed


def _tree(graph: Graph, column: ColumnRef, verb: str, steps: Sequence[Step], *, upwards: bool) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    edges: dict[ColumnRef, list[Edge]] = {}
    for step in steps:
        edges.setdefault(step.edge.target if upwards else step.edge.source, []).append(step.edge)
    if not steps:
        return Tree(Text(f"{column} {_nothing(graph, column, upwards=upwards)}"))
    root = Tree(Text(f"{column} {verb}"))
    waiting, shown = [(column, root)], {column}
    while waiting:
        ref, branch = waiting.pop()
        for edge in edges.get(ref, ()):
            following = edge.source if upwards else edge.target
            seen = following in shown
            text = f"{_name(following)}  {_described(graph, edge)}{'  (see above)' if seen else ''}"
            added = branch.add(Text(text))
            if not seen:
                shown.add(following)
                waiting.append((following, added))
    return root


def _nothing(graph: Graph, column: ColumnRef, *, upwards: bool) -> str:
    if not upwards:
        return "is read by nothing."
    table = graph.tables[column.asset]
    if table.unknown:
        return f"has unknown lineage: {table.unknown}."
    found = table.column(column.column)
    if found is not None and found.constant:
        return f"has no source: {found.constant}."
    return "is made from no column."


def _name(ref: ColumnRef) -> str:
    return f"the rows of {'/'.join(ref.asset)}" if ref.column == ROWS else str(ref)


def _described(graph: Graph, edge: Edge) -> str:
    """Return what happens along an edge: its subtype, whether it masks, and its expression."""
    text = edge.subtype.lower().replace("_", " ")
    if edge.masking:
        text += ", masked"
    if edge.proved is False:
        text += ", not proved"
    sql = graph.tables[edge.target.asset].sql
    if sql is None or edge.expression is None or edge.subtype == "IDENTITY":
        return text
    expression = " ".join(sql[slice(*edge.expression)].split())
    if len(expression) > _LONGEST_EXPRESSION:
        expression = f"{expression[:_LONGEST_EXPRESSION]} ..."
    return f"{text}: {expression}"


def _unique(edges: Sequence[Edge]) -> list[Edge]:
    return list({(edge.source, edge.target, edge.subtype): edge for edge in edges}.values())


def as_json(graph: Graph, column: ColumnRef, steps: Mapping[str, Sequence[Step]]) -> str:
    """Return walks as JSON.

    Args:
        graph: The graph.
        column: Where they start.
        steps: The walks by their direction: up, down.
    """
    table = graph.tables[column.asset]
    found = table.column(column.column)
    content: dict[str, Any] = {
        "column": str(column),
        "type": found.type if found else "",
        "description": found.description if found else "",
        "constant": found.constant if found else "",
        "unknown": table.unknown,
    }
    for direction, walk in steps.items():
        content[direction] = [
            {
                "source": str(step.edge.source),
                "target": str(step.edge.target),
                "type": str(step.edge.kind),
                "subtype": str(step.edge.subtype),
                "masking": step.edge.masking,
                "proved": step.edge.proved,
                "depth": step.depth,
            }
            for step in walk
        ]
    return json.dumps(content, indent=2, ensure_ascii=False)


def as_mermaid(column: ColumnRef, steps: Mapping[str, Sequence[Step]]) -> str:
    """Return walks as a flowchart in Mermaid; direct edges are solid, indirect ones dotted."""
    edges = _unique([step.edge for walk in steps.values() for step in walk])
    refs = dict.fromkeys([column, *(ref for edge in edges for ref in (edge.source, edge.target))])
    names = {ref: f"c{number}" for number, ref in enumerate(refs)}
    lines = ["flowchart LR"]
    by_table: dict[tuple[str, ...], list[ColumnRef]] = {}
    for ref in refs:
        by_table.setdefault(ref.asset, []).append(ref)
    for number, (asset, columns) in enumerate(by_table.items()):
        lines.append(f'  subgraph t{number}["{_quoted("/".join(asset))}"]')
        lines += [
            f'    {names[ref]}["{"rows" if ref.column == ROWS else _quoted(ref.column)}"]' for ref in columns
        ]
        lines.append("  end")
    for edge in edges:
        arrow = "-->" if edge.is_direct else "-.->"
        text = edge.subtype.lower().replace("_", " ")
        lines.append(f"  {names[edge.source]} {arrow}|{text}| {names[edge.target]}")
    lines.append(f"  style {names[column]} stroke-width:3px")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """Escape text for a quoted label of Mermaid."""
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")


def as_openlineage(graph: Graph, namespace: str, steps: Mapping[str, Sequence[Step]]) -> str:
    """Return the tables of walks as OpenLineage's datasets, with the edges of the walks only."""
    into: dict[tuple[str, ...], dict[Edge, None]] = {}
    for walk in steps.values():
        for step in walk:
            into.setdefault(step.edge.target.asset, {})[step.edge] = None
    found = [dataset(graph, graph.tables[asset], namespace, list(edges)) for asset, edges in into.items()]
    return json.dumps(found, indent=2, ensure_ascii=False)
