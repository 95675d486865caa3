"""The graph of a whole configuration: what each room declares, its cache, and mistakes in model SQL."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import dagster as dg
import pytest

from platform_assets.build import build_defs
from platform_assets.column_lineage import (
    ROWS,
    ColumnRef,
    DeclaredTable,
    LineageQuery,
    StatedEdge,
    Subtype,
)
from platform_assets.configuration.document import Document
from platform_assets.errors import LineageError
from platform_assets.feeds.settings import FeedColumnSettings, FeedSettings
from platform_assets.lineage.assembly import LineageRoom
from platform_assets.lineage.cache import cached_graph
from platform_assets.lineage.construction import build_graph, without_lineage
from platform_assets.lineage.graph import Graph
from platform_assets.model.table import Column, Integer, Text
from platform_assets.rooms import Rooms
from platform_assets.settings import Settings
from platform_assets_tests.fixtures.house import with_keys


@pytest.fixture(scope="module")
def graph(shipped: Settings) -> Graph:
    return build_graph(Rooms(shipped).of(LineageRoom).declared())


@pytest.fixture(scope="module")
def specs(shipped: Settings) -> list[dg.AssetSpec]:
    return list(build_defs(shipped).resolve_all_asset_specs())


def sources(graph: Graph, column: str) -> list[str]:
    return [f"{edge.source} {edge.subtype}" for edge in graph.into(graph.find(column))]


def test_every_column_has_lineage_or_is_a_declared_constant(graph: Graph) -> None:
    assert [str(ref) for ref in without_lineage(graph)] == []
    assert {table.name: table.unknown for table in graph.tables.values() if table.unknown} == {}


def test_the_graph_has_the_columns_of_all_table_assets(graph: Graph, specs: list[dg.AssetSpec]) -> None:
    declared = {}
    for spec in specs:
        schema = spec.metadata.get("dagster/column_schema")
        if schema is not None:
            value = getattr(schema, "value", schema)
            declared[tuple(spec.key.path)] = [column.name for column in value.columns]
    assert len(declared) > 40
    found = {asset: [column.name for column in graph.tables[asset].columns] for asset in declared}
    assert found == declared


def test_every_asset_of_a_delivery_or_a_table_is_in_the_graph(
    graph: Graph, specs: list[dg.AssetSpec]
) -> None:
    missing = {spec.key.to_user_string() for spec in specs} - {table.name for table in graph.tables.values()}
    # The job of a task file stands for no rows.
    assert {name for name in missing if not name.startswith(("tasks/", "lineage/"))} == set()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("totesys/staff.first_name", ["database/totesys/staff.first_name IDENTITY"]),
        ("star/dim_staff.location", ["totesys/department.location TRANSFORMATION"]),
        ("star/fact_sales_order.sales_staff_id", ["totesys/sales_order.staff_id IDENTITY"]),
        (
            "star/fact_sales_order.sales_record_id",
            ["totesys/sales_order._batch WINDOW", "totesys/sales_order.sales_order_id WINDOW"],
        ),
        (
            "star/dim_staff._change",
            [
                *("totesys/staff._change TRANSFORMATION", "totesys/staff._change CONDITIONAL"),
                *("totesys/staff._batch CONDITIONAL", "totesys/department._batch CONDITIONAL"),
            ],
        ),
        ("star/dim_date.year", ["reference/calendar.date_id TRANSFORMATION"]),
        ("warehouse/dim_staff.location", ["star/dim_staff.location IDENTITY"]),
        ("warehouse/fact_payment_current.paid", ["warehouse/fact_payment.paid IDENTITY"]),
        ("snowflake/dim_staff.location", ["star/dim_staff.location IDENTITY"]),
        ("delivery/midnight.currency_code", ["star/dim_currency.currency_code IDENTITY"]),
        (
            "delivery/daily_sales.amount",
            ["star/fact_sales_order.units_sold AGGREGATION", "star/fact_sales_order.unit_price AGGREGATION"],
        ),
        (
            "delivery/daily_sales.orders",
            ["star/fact_sales_order.* AGGREGATION", "star/dim_currency.* AGGREGATION"],
        ),
        ("dlp/findings.uri", ["file/objects.uri IDENTITY"]),
    ],
)
def test_rooms_declare_how_their_columns_come_about(graph: Graph, column: str, expected: list[str]) -> None:
    assert sources(graph, column) == expected


def test_a_column_is_followed_from_the_database_to_a_delivery(graph: Graph) -> None:
    names = [
        str(step.edge.target) for step in graph.down(graph.find("database/totesys/sales_order.unit_price"))
    ]
    assert "delivery/daily_sales.amount" in names
    assert names.index("star/fact_sales_order.unit_price") < names.index(
        "warehouse/fact_sales_order.unit_price"
    )


def test_the_columns_of_a_delivery_have_the_type_and_description_of_what_they_take_over(graph: Graph) -> None:
    column = graph.tables["delivery", "daily_sales"].column("day")
    assert column is not None
    assert (column.type, column.description) == ("date", "Day of the source row's last_updated")


def test_the_columns_of_a_feed_come_from_its_files(shipped: Settings) -> None:
    columns = {"id": FeedColumnSettings(type="integer"), "name": FeedColumnSettings(type="text")}
    feeds = {
        "orders": FeedSettings(watch="uploads", pattern="*.csv", format="csv", columns=columns),
        "others": FeedSettings(watch="uploads", pattern="*.json", format="json"),
    }
    graph = build_graph(Rooms(with_keys(shipped, feeds=feeds)).of(LineageRoom).declared())
    assert [str(step.edge.source) for step in graph.up(graph.find("warehouse/uploads/orders.name"))] == [
        "uploads/orders.name",
        "file/uploads/orders.name",
    ]
    assert (
        graph.tables["uploads", "others"].unknown
        == "its columns are those of the first file that is uploaded"
    )
    assert without_lineage(graph) == []


def with_files(settings: Settings, folder: str, **files: dict[str, object]) -> Graph:
    """Return the graph of a configuration with further files of deliveries or tasks."""
    documents = {name: Document(Path(f"{name}.conf"), content) for name, content in files.items()}
    return build_graph(Rooms(settings, given={folder: documents}).of(LineageRoom).declared())


def test_the_results_of_sql_tasks_are_followed_from_sources_and_warehouses(shipped: Settings) -> None:
    tasks = [
        {
            "name": "sql",
            "id": "people",
            "args": {
                "query": "SELECT upper(first_name) AS name FROM staff",
                "database": "totesys",
                "table": "own.people",
            },
            "produces": ["marts/people"],
        },
        {
            "name": "sql",
            "id": "file",
            "args": {"query": "SELECT day_name FROM dim_date WHERE year = 2024", "output": "days.csv"},
        },
        {"name": "sql", "id": "odd", "args": {"query": "PIVOT dim_date ON year USING count(*)"}},
    ]
    graph = with_files(shipped, "tasks", report={"tasks": tasks})
    assert [str(step.edge.source) for step in graph.up(graph.find("marts/people.name"))] == [
        "warehouse/own/people.name",
        "database/totesys/staff.first_name",
    ]
    assert sources(graph, "tasks/report/file.day_name") == ["warehouse/dim_date.day_name IDENTITY"]
    assert "it has PIVOT or UNPIVOT" in graph.tables["tasks", "report", "odd"].unknown
    assert without_lineage(graph) == []


def test_a_delivery_whose_sql_cannot_be_followed_is_made_and_its_lineage_is_unknown(
    shipped: Settings,
) -> None:
    def delivery(source: dict[str, object]) -> dict[str, object]:
        return {"title": "Test", "source": source, "to": {"there": {"address": "sent"}}}

    def rows(source: dict[str, object]) -> dict[str, object]:
        return {**delivery(source), "render": ["csv"], "file": "x.csv"}

    graph = with_files(
        shipped,
        "deliveries",
        pivoted=rows({"asset": "star/dim_date", "query": "PIVOT dim_date ON year USING count(*)"}),
        whole=rows({"asset": "star/dim_date", "query": 'SELECT _batch, day FROM "star/dim_date"'}),
        text=delivery({"text": "hello"}),
    )
    assert "it has PIVOT or UNPIVOT" in graph.tables["delivery", "pivoted"].unknown
    assert sources(graph, "delivery/whole._batch") == ["star/dim_date._batch IDENTITY"]
    assert graph.tables["delivery", "text"].unknown == "it delivers text, not rows"


BASE = DeclaredTable(("base",), (Column("a", Integer()), Column("b", Text())), constants={"a": "x", "b": "x"})


def model(name: str, sql: str, *columns: str, is_model: bool = True, **more: object) -> DeclaredTable:
    query = LineageQuery(sql, {"base": ("base",)}, file=f"{name}.sql", is_model=is_model)
    return DeclaredTable((name,), tuple(Column(column, Text()) for column in columns), query=query, **more)  # type: ignore[arg-type]


def test_all_mistakes_in_model_sql_are_told_with_their_file_and_what_to_write() -> None:
    declared = [
        BASE,
        model("one", "SELECT COLUMNS(*) FROM base", "a"),
        model("two", "SELECT a FROM base", "a", "lost"),
        model("fine", "SELECT a FROM base", "a"),
        DeclaredTable(("own",), (Column("a", Text()),), edges=(StatedEdge(ColumnRef(("base",), "z"), "a"),)),
    ]
    with pytest.raises(LineageError) as caught:
        build_graph(declared)
    assert str(caught.value).splitlines() == [
        "The lineage of columns cannot be derived:",
        "  one.sql: it has COLUMNS(...); name the columns one by one.",
        "  two.sql: its SELECT has no column lost, which the table declares.",
        "  own: its declared lineage names base.z, which does not exist. "
        "Correct the name in the declaration.",
    ]


def test_other_sql_that_cannot_be_followed_is_unknown_and_says_why() -> None:
    graph = build_graph(
        [BASE, model("sent", "PIVOT base ON a USING max(b)", is_model=False), model("fine", "FROM base")]
    )
    assert graph.tables["sent",].unknown.startswith(
        "its SQL cannot be followed: it has PIVOT or UNPIVOT; write"
    )
    assert [str(edge.target) for edge in graph.edges] == ["fine.a", "fine.b"]


def test_tables_that_are_copies_of_each_other_are_refused() -> None:
    with pytest.raises(LineageError, match="copies or queries of each other"):
        build_graph([DeclaredTable(("a",), copy_of=("b",)), DeclaredTable(("b",), copy_of=("a",))])


def test_a_column_without_a_source_is_found() -> None:
    declared = model("one", "SELECT a, 'x' AS b FROM base", "a", "b")
    assert [str(ref) for ref in without_lineage(build_graph([BASE, declared]))] == ["one.b"]
    constant = dataclasses.replace(declared, constants={"b": "always x"})
    assert without_lineage(build_graph([BASE, constant])) == []


def test_a_literal_of_a_query_without_declared_columns_names_its_expression() -> None:
    column = build_graph([BASE, model("one", "SELECT a, now() AS t FROM base")]).tables["one",].column("t")
    assert column is not None
    assert column.constant == "No column is read by now() AS t"


def test_the_cache_is_used_until_a_declaration_changes(tmp_path: Path) -> None:
    declared = [BASE, model("one", "SELECT a FROM base", "a")]
    first = cached_graph(tmp_path, declared, ())
    file = tmp_path / "graph.json"
    fingerprint, _, _ = file.read_text().partition("\n")
    file.write_text(f"{fingerprint}\n{Graph([], []).to_json()}")
    assert cached_graph(tmp_path, declared, ()).tables == {}
    for other in ([BASE, model("one", "SELECT b AS a FROM base", "a")], [BASE]):
        assert cached_graph(tmp_path, other, ()).tables.keys() <= first.tables.keys()
    file.write_text("damaged")
    assert cached_graph(tmp_path, declared, ()).edges == first.edges
    assert [one.name for one in tmp_path.iterdir()] == ["graph.json"]


def test_a_state_folder_that_cannot_be_written_costs_only_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    graph = cached_graph(tmp_path / "file", [BASE, model("one", "SELECT a FROM base WHERE b", "a")], ())
    assert [str(edge.target) for edge in graph.edges] == ["one.a", f"one.{ROWS}"]
    assert graph.edges[1].subtype is Subtype.FILTER
