"""The graph of columns: walks, names and JSON."""

from __future__ import annotations

import pytest

from platform_assets.column_lineage import ROWS, ColumnRef, EdgeKind, Subtype
from platform_assets.errors import LineageError
from platform_assets.lineage.graph import Edge, Graph, GraphColumn, GraphTable

A, B, C = ("src", "orders"), ("star", "fact"), ("warehouse", "fact")


def table(asset: tuple[str, ...], *names: str) -> GraphTable:
    return GraphTable(asset, tuple(GraphColumn(name) for name in names))


@pytest.fixture
def graph() -> Graph:
    return Graph(
        [
            table(A, "id", "price", "country"),
            GraphTable(
                B,
                (GraphColumn("id", "integer", "Key", "", {"pii": "no"}), GraphColumn("amount")),
                sql="SELECT id, price * 2 AS amount FROM orders WHERE country = 'GB'",
                dialect="duckdb",
                file="star/fact.sql",
                owners=("team:a",),
                group="star",
                description="Orders",
            ),
            GraphTable(C, (GraphColumn("amount", constant="made up"),), is_asset=False, unknown="PIVOT"),
        ],
        [
            Edge(ColumnRef(A, "id"), ColumnRef(B, "id"), Subtype.IDENTITY),
            Edge(ColumnRef(A, "price"), ColumnRef(B, "amount"), Subtype.TRANSFORMATION, True, (11, 20), True),
            Edge(ColumnRef(A, "country"), ColumnRef(B, ROWS), Subtype.FILTER),
            Edge(ColumnRef(B, "amount"), ColumnRef(C, "amount"), Subtype.IDENTITY, proved=False),
        ],
    )


def test_a_walk_up_follows_direct_edges_and_lists_what_decides_about_the_rows(graph: Graph) -> None:
    steps = graph.up(ColumnRef(C, "amount"))
    assert [(str(step.edge.source), step.edge.kind, step.depth) for step in steps] == [
        ("star/fact.amount", EdgeKind.DIRECT, 1),
        ("src/orders.price", EdgeKind.DIRECT, 2),
        ("src/orders.country", EdgeKind.INDIRECT, 2),
    ]
    assert [str(step.edge.source) for step in graph.up(ColumnRef(C, "amount"), indirect=False)] == [
        "star/fact.amount",
        "src/orders.price",
    ]


def test_a_walk_down_ends_at_rows_that_a_column_decides_about(graph: Graph) -> None:
    assert [str(step.edge.target) for step in graph.down(ColumnRef(A, "price"))] == [
        "star/fact.amount",
        "warehouse/fact.amount",
    ]
    assert [str(step.edge.target) for step in graph.down(ColumnRef(A, "country"))] == ["star/fact.*"]
    assert graph.down(ColumnRef(A, "country"), indirect=False) == []


def test_a_walk_ends_where_edges_form_a_circle() -> None:
    one, other = ColumnRef(A, "id"), ColumnRef(B, "id")
    circle = Graph(
        [table(A, "id"), table(B, "id")],
        [Edge(one, other, Subtype.IDENTITY), Edge(other, one, Subtype.IDENTITY)],
    )
    assert [step.depth for step in circle.up(one)] == [1, 2]


def test_json_holds_the_whole_graph(graph: Graph) -> None:
    again = Graph.from_json(graph.to_json())
    assert again.tables == graph.tables
    assert again.edges == graph.edges


@pytest.mark.parametrize("text", ["[]", "{}", '{"format":99}', '{"format":1,"tables":[{}]}', "no"])
def test_what_is_not_a_graph_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"graph|Expecting"):
        Graph.from_json(text)


def test_a_column_is_found_by_the_end_of_its_path_and_in_any_case(graph: Graph) -> None:
    assert graph.find("star/fact.amount") == ColumnRef(B, "amount")
    assert graph.find("orders.PRICE") == ColumnRef(A, "price")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fact.amount", r"2 columns: star/fact\.amount, warehouse/fact\.amount"),
        ("star/fact.amont", r"star/fact has no column amont\. The nearest are: amount"),
        ("star/facts.amount", r"no column star/facts\.amount.*star/fact\.amount"),
        ("zzz", r"no column zzz\. Write a column as star/fact_sales_order\.units_sold\."),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(graph: Graph, text: str, message: str) -> None:
    with pytest.raises(LineageError, match=message):
        graph.find(text)


def test_edges_say_what_an_experiment_has_shown(graph: Graph) -> None:
    seen = graph.with_proof({(ColumnRef(A, "id"), ColumnRef(B, "id")): True})
    assert [edge.proved for edge in seen.edges] == [True, True, None, False]
