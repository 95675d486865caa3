"""Impact of a change: what differs between two graphs, and all that depends on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from platform_assets.column_lineage import ROWS, ColumnRef
from platform_assets.lineage.graph import Edge, Graph, GraphTable

_MOST_COLUMNS = 12


@dataclass(frozen=True)
class Impact:
    """Columns, checks and deliveries that a change touches.

    Args:
        changed: Changed columns, or `ROWS` of a table, each with how it changed.
        downstream: Columns that depend on them, by table.
        checks: Checks of changed and dependent columns, as `table: check`.
        ends: Deliveries, dashboards and other results that people get.
        owners: Owners of all tables that are touched, with their number.
        unknown: Tables whose lineage is unknown, so that they may be touched too, each with the reason.
    """

    changed: dict[ColumnRef, str] = field(default_factory=dict)
    downstream: dict[str, list[str]] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    ends: tuple[GraphTable, ...] = ()
    owners: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)


def impact_of(before: Graph, after: Graph) -> Impact:
    """Compare two graphs, and follow what differs through both of them.

    Args:
        before: The graph of an earlier revision.
        after: The graph now.
    """
    changed = dict(_changes(before, after))
    touched = dict.fromkeys(changed)
    for graph in (before, after):
        touched |= dict.fromkeys(_downstream(graph, [ref for ref in changed if ref.asset in graph.tables]))
    tables = {**before.tables, **after.tables}
    downstream: dict[tuple[str, ...], list[str]] = {}
    for ref in touched:
        if ref not in changed and ref.asset in tables:
            downstream.setdefault(ref.asset, []).append(ref.column)
    by_table: dict[tuple[str, ...], set[str]] = {}
    for ref in touched:
        by_table.setdefault(ref.asset, set()).add(ref.column)
    found = [(tables[asset], columns) for asset, columns in by_table.items() if asset in tables]
    owners: dict[str, int] = {}
    for table, _ in found:
        for owner in table.owners:
            owners[owner] = owners.get(owner, 0) + 1
    return Impact(
        changed,
        {"/".join(asset): columns for asset, columns in downstream.items()},
        tuple(
            f"{table.name}: {check}"
            for table, columns in found
            for check, looked_at in table.checks.items()
            if ROWS in looked_at or ROWS in columns or columns.intersection(looked_at)
        ),
        tuple(table for table, _ in found if table.is_asset and table.kind not in ("table", "view")),
        owners,
        {table.name: table.unknown for table in after.tables.values() if table.unknown},
    )


def _changes(before: Graph, after: Graph) -> Iterator[tuple[ColumnRef, str]]:
    """Yield the columns that differ, each with how."""
    for asset, table in before.tables.items():
        if asset not in after.tables:
            yield ColumnRef(asset, ROWS), "the table was removed"
            for column in table.columns:
                yield ColumnRef(asset, column.name), "removed with its table"
    for asset, table in after.tables.items():
        earlier = before.tables.get(asset)
        if earlier is None:
            yield ColumnRef(asset, ROWS), "the table is new"
            continue
        yield from _column_changes(before, after, earlier, table)


def _column_changes(
    before: Graph, after: Graph, earlier: GraphTable, table: GraphTable
) -> Iterator[tuple[ColumnRef, str]]:
    found = False
    known = {column.name: column for column in earlier.columns}
    names = {column.name for column in table.columns}
    for name in known:
        if name not in names:
            found = True
            yield ColumnRef(table.asset, name), "removed"
    for column in table.columns:
        ref = ColumnRef(table.asset, column.name)
        if (old := known.get(column.name)) is None:
            found = True
            yield ref, "new"
            continue
        how = []
        # Without a declaration, only a column that is taken over as it is has a known type.
        if old.type and column.type and old.type != column.type:
            how.append(f"type {old.type} -> {column.type}")
        if _text(earlier, old.expression) != _text(table, column.expression):
            how.append(f"`{_text(earlier, old.expression)}` -> `{_text(table, column.expression)}`")
        elif _edges(before, earlier, ref) != _edges(after, table, ref):
            how.append("made from other columns, or by another expression below")
        if not how and (old.constant, old.accepted) != (column.constant, column.accepted):
            how.append("its declaration")
        if how:
            found = True
            yield ref, "; ".join(how)
    rows = ColumnRef(table.asset, ROWS)
    if _edges(before, earlier, rows) != _edges(after, table, rows):
        found = True
        yield rows, "which rows there are, or their order"
    if not found and _plain(earlier.sql) != _plain(table.sql):
        # Something that no column and no condition shows, such as a LIMIT.
        yield rows, "its SQL"
    if earlier.unknown != table.unknown:
        if table.unknown:
            yield rows, f"its lineage is unknown: {table.unknown}"
        else:
            yield rows, "its lineage is known now"


def _text(table: GraphTable, span: tuple[int, int] | None) -> str:
    return _plain(table.sql[slice(*span)]) if table.sql is not None and span is not None else ""


def _plain(sql: str | None) -> str:
    """Return SQL without the layout of its lines and without whole lines of comments."""
    lines = (line for line in (sql or "").splitlines() if not line.lstrip().startswith("--"))
    return " ".join(" ".join(lines).split())


def _edges(graph: Graph, table: GraphTable, ref: ColumnRef) -> set[tuple[ColumnRef, str, bool, str]]:
    def key(edge: Edge) -> tuple[ColumnRef, str, bool, str]:
        return edge.source, edge.subtype, edge.masking, _text(table, edge.expression)

    return {key(edge) for edge in graph.into(ref)}


def _downstream(graph: Graph, changed: Sequence[ColumnRef]) -> Iterator[ColumnRef]:
    """Yield all that depends on columns, directly or not; other rows of a table are other values in it."""
    seen: set[ColumnRef] = set()
    waiting = list(changed)
    while waiting:
        ref = waiting.pop()
        if ref in seen:
            continue
        seen.add(ref)
        yield ref
        waiting += (edge.target for edge in graph.out_of(ref))
        if ref.column == ROWS:
            waiting += (ColumnRef(ref.asset, column.name) for column in graph.tables[ref.asset].columns)


def impact_markdown(impact: Impact, revision: str) -> str:
    """Return an impact as Markdown, for a comment on a pull request.

    Args:
        impact: The impact.
        revision: The earlier revision.
    """
    lines = [f"## Lineage since `{revision}`", ""]
    if not impact.changed:
        return "\n".join([*lines, "No column changes."])
    count = sum(
        len([column for column in columns if column != ROWS]) for columns in impact.downstream.values()
    )
    lines += [
        f"**{_many(len(impact.changed), 'change')}; downstream {_many(count, 'column')} of "
        f"{_many(len(impact.downstream), 'table')}, {_many(len(impact.checks), 'check')}, "
        f"{_many(len(impact.ends), 'delivery or result', 'deliveries or results')}.**",
        "",
    ]
    if impact.owners:
        lines += [f"Owners: {', '.join(f'{owner} ({n})' for owner, n in impact.owners.items())}", ""]
    lines += ["### Changed", "", "| Column | Change |", "| --- | --- |"]
    lines += [f"| {_named(ref)} | {_cell(how)} |" for ref, how in impact.changed.items()]
    lines += ["", "### Deliveries and other results", ""]
    lines += [f"- {table.name}: {table.description}" for table in impact.ends] or ["None."]
    lines += ["", "### Downstream", ""]
    if impact.downstream:
        lines += ["| Table | Columns |", "| --- | --- |"]
        lines += [f"| {name} | {_listed(columns)} |" for name, columns in impact.downstream.items()]
    else:
        lines.append("Nothing.")
    lines += ["", "### Checks", ""]
    lines += [f"- {check}" for check in impact.checks] or ["None."]
    if impact.unknown:
        lines += ["", "### May be touched too: their lineage is unknown", ""]
        lines += [f"- {name}: {reason}" for name, reason in impact.unknown.items()]
    return "\n".join(lines)


def _many(count: int, one: str, several: str = "") -> str:
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def _named(ref: ColumnRef) -> str:
    return f"rows of {'/'.join(ref.asset)}" if ref.column == ROWS else str(ref)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _listed(columns: Iterable[str]) -> str:
    names = [column for column in columns if column != ROWS]
    if not names:
        return "rows"
    more = len(names) - _MOST_COLUMNS
    return ", ".join(names[:_MOST_COLUMNS]) + (f" and {more} more" if more > 0 else "")
