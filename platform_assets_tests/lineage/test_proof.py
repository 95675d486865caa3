"""Proof by experiment: the star's edges hold, and a graph that is wrong is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from platform_assets.column_lineage import ROWS, ColumnRef, DeclaredTable, LineageQuery, Subtype
from platform_assets.errors import LineageError
from platform_assets.lineage.assembly import LineageRoom
from platform_assets.lineage.construction import build_graph
from platform_assets.lineage.graph import Edge, Graph
from platform_assets.lineage.proof import Proof, shares, try_edges
from platform_assets.model.table import Boolean, Column, Date, Integer, LogicalType, Text, Timestamp
from platform_assets.rooms import Rooms
from platform_assets.settings import Settings

T, U, MADE = ("t",), ("u",), ("made",)
COLUMNS: dict[str, LogicalType] = {
    "id": Integer(),
    "name": Text(),
    "day": Date(),
    "moment": Timestamp(),
    "ok": Boolean(),
}


def table(path: tuple[str, ...]) -> DeclaredTable:
    columns = tuple(Column(name, kind) for name, kind in COLUMNS.items())
    return DeclaredTable(path, columns, constants=dict.fromkeys(COLUMNS, "given"))


def graph_of(sql: str) -> Graph:
    query = LineageQuery(sql, {"t": T, "u": U})
    return build_graph([table(T), table(U), DeclaredTable(MADE, query=query)])


def unproved(graph: Graph, proof: Proof) -> list[str]:
    edges = graph.with_proof(proof.observed).edges
    return [f"{edge.source} {edge.target}" for edge in edges if edge.proved is False]


@pytest.fixture(scope="module")
def shipped_graph(shipped: Settings) -> Graph:
    return build_graph(Rooms(shipped).of(LineageRoom).declared())


@pytest.fixture(scope="module")
def proof(shipped_graph: Graph) -> Proof:
    return try_edges(shipped_graph)


def test_no_change_is_seen_that_the_graph_does_not_have(proof: Proof) -> None:
    assert [f"{source} -> {target}" for source, target in proof.wrong] == []
    assert proof.failed == {}
    assert {name.split("/")[0] for name in proof.tables} == {"star", "warehouse", "delivery"}


def test_at_least_95_percent_of_the_direct_edges_of_the_star_are_proved(
    shipped_graph: Graph, proof: Proof
) -> None:
    edges = shipped_graph.with_proof(proof.observed).edges
    for layer in ("star", "delivery"):
        found = shares([edge for edge in edges if edge.target.asset[0] == layer])
        assert found.direct[0] >= 0.95 * found.direct[1] > 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id, upper(name) AS n, day + 1 AS d, moment, NOT ok AS o FROM t",
        "SELECT t.id, u.name FROM t JOIN u USING (id)",
        "SELECT t.id, COALESCE(u.name, t.name) AS n FROM t LEFT JOIN u ON u.id = t.id",
        "SELECT name, sum(id) AS s FROM t GROUP BY name",
        "SELECT id, CASE WHEN ok THEN name ELSE 'x' END AS c FROM t",
        "SELECT id, row_number() OVER (ORDER BY day) AS r FROM t WHERE ok ORDER BY moment",
        "SELECT id, name FROM t UNION ALL SELECT id, name FROM u",
        "WITH x AS (SELECT id, max(day) AS m FROM t GROUP BY id) "
        "SELECT x.m, u.name FROM x JOIN u ON u.id = x.id",
        "SELECT id, list_transform([name], lambda n: n || 'x')[1] AS l FROM t",
        "SELECT id, unnest(range(id % 4)) AS n FROM t",
        "SELECT t.id, g.n FROM t, generate_series(1, id % 3) AS g(n)",
        "SELECT name, sum(id) OVER (ORDER BY day ROWS BETWEEN id PRECEDING AND CURRENT ROW) AS s FROM t",
        "SELECT name, count(*) OVER (w ORDER BY day) AS n FROM t WINDOW w AS (PARTITION BY ok)",
        "SELECT name, day AS id FROM t ORDER BY -id LIMIT 5",
        "SELECT (SELECT max(id) FROM u) AS m, ok, count(*) AS n FROM t GROUP BY ALL",
    ],
)
def test_every_edge_of_small_queries_is_proved(sql: str) -> None:
    graph = graph_of(sql)
    found = try_edges(graph)
    assert (found.wrong, found.failed, unproved(graph, found)) == ((), {}, [])


def test_an_edge_that_is_missing_is_found() -> None:
    graph = graph_of("SELECT id, upper(name) AS n, day AS d FROM t")
    without = Graph(graph.tables.values(), [edge for edge in graph.edges if edge.target.column != "n"])
    found = ((ColumnRef(T, "name"), ColumnRef(MADE, "n")),)
    assert try_edges(without).wrong == found
    moved = [
        replace(edge, target=ColumnRef(MADE, "d")) if edge.source.column == "name" else edge
        for edge in graph.edges
    ]
    assert try_edges(Graph(graph.tables.values(), moved)).wrong == found


def test_a_filter_that_is_missing_is_found() -> None:
    graph = graph_of("SELECT id, name FROM t WHERE ok")
    without = Graph(graph.tables.values(), [edge for edge in graph.edges if edge.target.column != ROWS])
    assert {source for source, _ in try_edges(without).wrong} == {ColumnRef(T, "ok")}


def test_an_edge_too_many_is_not_proved() -> None:
    graph = graph_of("SELECT id, upper(name) AS n FROM t")
    more = [*graph.edges, Edge(ColumnRef(T, "day"), ColumnRef(MADE, "n"), Subtype.TRANSFORMATION)]
    graph = Graph(graph.tables.values(), more)
    assert unproved(graph, try_edges(graph)) == ["t.day made.n"]


def test_a_column_that_differs_in_every_run_is_left_out() -> None:
    graph = graph_of("SELECT id, random() AS r, name FROM t")
    assert try_edges(graph).wrong == ()


def test_a_query_that_takes_no_missing_values_is_tried_with_the_others() -> None:
    graph = graph_of("SELECT id, map {name: day} AS m FROM t")
    found = try_edges(graph)
    assert (found.wrong, found.failed, unproved(graph, found)) == ((), {}, [])


def test_a_query_that_fails_concerns_no_other() -> None:
    query = LineageQuery("SELECT CAST(name AS DATE) AS d FROM t", {"t": T})
    fine = DeclaredTable(("fine",), query=LineageQuery("SELECT id FROM t", {"t": T}))
    found = try_edges(build_graph([table(T), DeclaredTable(MADE, query=query), fine]))
    assert found.tables == ("fine",)
    assert found.failed["made"].startswith("The query of made fails on small data: Conversion Error")


def test_a_group_without_queries_is_answered_with_those_that_have_some() -> None:
    with pytest.raises(
        LineageError, match=r"No table of nowhere has a query\. Groups with queries are made\."
    ):
        try_edges(graph_of("SELECT id FROM t"), "nowhere")
