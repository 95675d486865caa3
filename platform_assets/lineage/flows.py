"""Values of the derivation: columns that reach an expression, and relations made of such columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from platform_assets.column_lineage import ColumnRef, EdgeKind, Subtype
from platform_assets.lineage.masking import Hiding

_RANK = {Subtype.IDENTITY: 0, Subtype.TRANSFORMATION: 1, Subtype.AGGREGATION: 2}


class Flow(NamedTuple):
    """A way by which a column reaches an expression.

    Attributes:
        source: The column of a table.
        subtype: What happens to it on the way.
    """

    source: ColumnRef
    subtype: Subtype


class Passage(NamedTuple):
    """Properties of a flow.

    Attributes:
        hiding: What every path of the flow hides of the source's value: the least of them.
        span: The place of the expression in the SQL; None if it is not known.
    """

    hiding: Hiding = Hiding.NOTHING
    span: tuple[int, int] | None = None


Flows = dict[Flow, Passage]
"""The columns that reach an expression."""


def merged(parts: Iterable[Mapping[Flow, Passage]]) -> Flows:
    """Return the flows of several expressions together; the path that hides least counts."""
    found: Flows = {}
    for part in parts:
        for flow, passage in part.items():
            known = found.get(flow)
            if known is None:
                found[flow] = passage
            elif passage.hiding < known.hiding:
                found[flow] = Passage(passage.hiding, known.span)
    return found


def made(flows: Mapping[Flow, Passage], subtype: Subtype, *, hiding: Hiding = Hiding.NOTHING) -> Flows:
    """Return flows after a step that makes a value from them; a weaker step does not undo a stronger one."""
    found: Flows = {}
    for flow, passage in flows.items():
        stronger = flow.subtype
        if flow.subtype.kind is EdgeKind.DIRECT and _RANK[subtype] > _RANK[flow.subtype]:
            stronger = subtype
        key = Flow(flow.source, stronger)
        after = Passage(max(passage.hiding, hiding), passage.span)
        known = found.get(key)
        found[key] = after if known is None else Passage(min(known.hiding, after.hiding), known.span)
    return found


def deciding(flows: Mapping[Flow, Passage], subtype: Subtype, span: tuple[int, int] | None = None) -> Flows:
    """Return flows of an expression that only decides about a value or a row, as a condition does."""
    found: Flows = {}
    for flow, passage in flows.items():
        key = Flow(flow.source, subtype)
        known = found.get(key)
        hides = passage.hiding if known is None else min(passage.hiding, known.hiding)
        found[key] = Passage(hides, span or (known or passage).span)
    return found


def placed(flows: Mapping[Flow, Passage], span: tuple[int, int] | None) -> Flows:
    """Return flows whose direct ones are at this place of the SQL."""
    if span is None:
        return dict(flows)
    return {
        flow: Passage(passage.hiding, span)
        if flow.subtype.kind is EdgeKind.DIRECT or passage.span is None
        else passage
        for flow, passage in flows.items()
    }


@dataclass(frozen=True)
class QueryRelation:
    """Rows that a query can read: columns with their flows, and what decides about the rows.

    Args:
        columns: Flows of the columns by their names in lower case, in order.
        names: Names of the columns as they are written, by their names in lower case.
        rows: What decides which rows there are.
        rest: Flows of columns that are not listed; None if all are.
        tables: The tables whose rows it is made of.
        places: Places of the columns' expressions in the SQL, by name.
    """

    columns: Mapping[str, Flows]
    names: Mapping[str, str] = field(default_factory=dict)
    rows: Flows = field(default_factory=dict)
    rest: Flows | None = None
    tables: tuple[tuple[str, ...], ...] = ()
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def renamed(self, names: Iterable[str]) -> QueryRelation:
        """Return the relation with other names for its first columns."""
        given = list(names)
        if not given:
            return self
        kept = list(self.columns.items())
        if self.rest is not None and not kept:
            kept = [(name.lower(), self.rest) for name in given]
        shown = [*given, *(self.names.get(name, name) for name, _ in kept[len(given) :])]
        columns = {name.lower(): flows for name, (_, flows) in zip(shown, kept, strict=False)}
        return QueryRelation(
            columns, {name.lower(): name for name in shown}, self.rows, self.rest, self.tables
        )
