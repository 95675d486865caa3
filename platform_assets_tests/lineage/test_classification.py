"""Marks that travel along the graph: where they go, where they end, and what contradicts them."""

from __future__ import annotations

import pytest

from platform_assets.classification import Mark, Origin
from platform_assets.column_lineage import ROWS, ColumnRef, Subtype
from platform_assets.lineage.classification import Classified, classify, contradictions
from platform_assets.lineage.graph import Edge, Graph, GraphColumn, GraphTable


def ref(text: str) -> ColumnRef:
    table, _, column = text.rpartition(".")
    return ColumnRef(tuple(table.split("/")), column)


def graph(*edges: tuple[str, str, Subtype] | Edge, constants: dict[str, str] | None = None) -> Graph:
    made = [edge if isinstance(edge, Edge) else Edge(ref(edge[0]), ref(edge[1]), edge[2]) for edge in edges]
    names: dict[tuple[str, ...], list[str]] = {}
    constant = {ref(text): reason for text, reason in (constants or {}).items()}
    for column in [*(end for edge in made for end in (edge.source, edge.target)), *constant]:
        if column.column not in names.setdefault(column.asset, []) and column.column != ROWS:
            names[column.asset].append(column.column)
    return Graph(
        [
            GraphTable(
                asset,
                tuple(
                    GraphColumn(name, constant=constant.get(ColumnRef(asset, name), "")) for name in columns
                ),
                "SELECT" if asset[0] != "source" else None,
            )
            for asset, columns in names.items()
        ],
        made,
    )


def mark(
    text: str, info_type: str = "EMAIL_ADDRESS", likelihood: str = "LIKELY", origin: Origin = Origin.FOUND
) -> Mark:
    return Mark(ref(text), info_type, likelihood, origin)


def ways(classified: Classified) -> dict[str, list[str]]:
    """The columns with marks, each with its way."""
    return {str(trail.mark.column): [str(edge.source) for edge in trail.edges] for trail in classified.trails}


COPY = (("source/staff.mail", "star/staff.mail", Subtype.IDENTITY),)


def test_a_mark_reaches_all_that_is_made_from_its_column_with_the_shortest_way() -> None:
    found = classify(
        graph(
            *COPY,
            ("star/staff.mail", "warehouse/staff.mail", Subtype.IDENTITY),
            ("warehouse/staff.mail", "delivery/people.address", Subtype.TRANSFORMATION),
            ("star/staff.mail", "delivery/people.address", Subtype.TRANSFORMATION),
        ),
        [mark("source/staff.mail")],
    )
    assert ways(found) == {
        "source/staff.mail": [],
        "star/staff.mail": ["source/staff.mail"],
        "warehouse/staff.mail": ["source/staff.mail", "star/staff.mail"],
        "delivery/people.address": ["source/staff.mail", "star/staff.mail"],
    }
    last = found.marks[-1]
    assert (last.origin, last.likelihood, last.source) == (Origin.DERIVED, "LIKELY", ref("source/staff.mail"))


@pytest.mark.parametrize("subtype", [one for one in Subtype if one.kind == "INDIRECT"])
def test_a_mark_does_not_travel_along_indirect_edges(subtype: Subtype) -> None:
    found = classify(
        graph(
            *COPY,
            ("star/staff.mail", "star/other.number", subtype),
            ("star/staff.mail", f"star/other.{ROWS}", subtype),
        ),
        [mark("source/staff.mail")],
    )
    assert list(ways(found)) == ["source/staff.mail", "star/staff.mail"]


def test_an_expression_that_removes_the_information_ends_the_trail_and_one_that_masks_does_not() -> None:
    hashed = Edge(ref("star/staff.mail"), ref("star/other.hash"), Subtype.TRANSFORMATION, masking=True)
    counted = Edge(
        ref("star/staff.mail"), ref("star/other.people"), Subtype.AGGREGATION, masking=True, removing=True
    )
    later = ("star/other.people", "star/last.people", Subtype.IDENTITY)
    found = classify(graph(*COPY, hashed, counted, later), [mark("source/staff.mail")])
    assert list(ways(found)) == ["source/staff.mail", "star/staff.mail", "star/other.hash"]


def test_another_way_around_the_expression_keeps_the_trail() -> None:
    counted = Edge(
        ref("star/staff.mail"), ref("star/other.text"), Subtype.AGGREGATION, masking=True, removing=True
    )
    seen = ("star/staff.mail", "star/other.text", Subtype.TRANSFORMATION)
    assert "star/other.text" in ways(classify(graph(*COPY, counted, seen), [mark("source/staff.mail")]))


def test_the_policy_ends_a_trail_on_the_way_into_a_warehouse_and_the_end_is_known() -> None:
    nodes = graph(
        *COPY,
        ("star/staff.mail", "warehouse/staff.mail", Subtype.IDENTITY),
        ("warehouse/staff.mail", "delivery/people.mail", Subtype.IDENTITY),
    )

    def removes(column: ColumnRef, info_type: str, likelihood: str) -> bool:
        return (str(column), info_type, likelihood) == ("warehouse/staff.mail", "EMAIL_ADDRESS", "LIKELY")

    found = classify(nodes, [mark("source/staff.mail")], removes)
    assert list(ways(found)) == ["source/staff.mail", "star/staff.mail"]
    assert [str(trail.mark.column) for trail in found.stopped] == ["warehouse/staff.mail"]
    # What is found behind the policy all the same stays, and has no way.
    both = classify(nodes, [mark("source/staff.mail"), mark("warehouse/staff.mail")], removes)
    assert ways(both)["warehouse/staff.mail"] == []
    assert ways(both)["delivery/people.mail"] == ["warehouse/staff.mail"]


def test_the_most_likely_of_two_marks_is_carried_and_types_do_not_mix() -> None:
    found = classify(
        graph(
            ("source/a.x", "star/both.text", Subtype.TRANSFORMATION),
            ("source/b.y", "star/both.text", Subtype.TRANSFORMATION),
        ),
        [
            mark("source/a.x", likelihood="POSSIBLE"),
            mark("source/b.y", likelihood="VERY_LIKELY"),
            mark("source/a.x", "PERSON_NAME"),
        ],
    )
    held = {
        (mark_.info_type, mark_.likelihood) for mark_ in found.marks if str(mark_.column) == "star/both.text"
    }
    assert held == {("EMAIL_ADDRESS", "VERY_LIKELY"), ("PERSON_NAME", "LIKELY")}


def test_what_was_found_further_down_has_its_way_from_the_beginning() -> None:
    found = classify(graph(*COPY), [mark("star/staff.mail"), mark("source/staff.mail")])
    assert ways(found) == {"source/staff.mail": [], "star/staff.mail": ["source/staff.mail"]}
    assert {mark_.origin for mark_ in found.marks} == {Origin.FOUND}


def test_circles_end() -> None:
    found = classify(
        graph(("star/a.x", "star/b.x", Subtype.IDENTITY), ("star/b.x", "star/a.x", Subtype.IDENTITY)),
        [mark("star/a.x")],
    )
    assert ways(found) == {"star/a.x": [], "star/b.x": ["star/a.x"]}


def test_a_finding_where_nothing_sensitive_flows_is_reported_with_the_reason() -> None:
    counted = Edge(
        ref("source/staff.mail"), ref("star/report.people"), Subtype.AGGREGATION, masking=True, removing=True
    )
    nodes = graph(
        *COPY,
        ("source/staff.note", "star/staff.note", Subtype.IDENTITY),
        ("source/staff.id", "star/report.rank", Subtype.CONDITIONAL),
        counted,
        constants={"star/report.region": "one region only"},
    )
    given = [
        mark("source/staff.mail"),
        mark("star/staff.mail"),
        mark("star/staff.note"),
        mark("star/report.people"),
        mark("star/report.rank"),
        mark("star/report.region"),
    ]
    inspected = frozenset({("source", "staff"), ("star", "staff"), ("star", "report")})
    found = contradictions(nodes, classify(nodes, given), inspected)
    assert {str(one.mark.column): one.reason for one in found} == {
        "star/staff.note": "nothing sensitive is known in what it is made from (source/staff.note)",
        "star/report.people": "the expression that makes it from source/staff.mail removes such information",
        "star/report.rank": "no value flows into it, only decisions",
        "star/report.region": "it is declared to have no source (one region only)",
    }
    assert str(found[0]).startswith("star/staff.note holds EMAIL_ADDRESS (LIKELY), but nothing sensitive")


def test_a_finding_with_sources_that_were_not_inspected_or_hold_another_type_is_no_contradiction() -> None:
    nodes = graph(("source/staff.note", "star/staff.note", Subtype.IDENTITY))
    classified = classify(nodes, [mark("star/staff.note")])
    assert contradictions(nodes, classified, frozenset({("star", "staff")})) == []
    assert len(contradictions(nodes, classified, frozenset({("source", "staff")}))) == 1
    both = classify(nodes, [mark("star/staff.note"), mark("source/staff.note", "PERSON_NAME")])
    assert contradictions(nodes, both, frozenset({("source", "staff")})) == []


def test_a_column_where_data_begins_contradicts_nothing() -> None:
    nodes = graph(*COPY)
    assert contradictions(nodes, classify(nodes, [mark("source/staff.mail")]), frozenset()) == []
