"""Users' own assets in the graph, by what their metadata declares."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from platform_assets.errors import LineageError
from platform_assets.lineage.assembly import LineageRoom
from platform_assets.lineage.graph import Graph
from platform_assets.lineage.modules import has_own_assets
from platform_assets.lineage.settings import LineageBlock
from platform_assets.rooms import Rooms
from platform_assets.settings import Settings
from platform_assets_tests.fixtures.house import with_keys

GraphOf = Callable[[str], Graph]
MODULE = "own_assets_of_a_test"


@pytest.fixture
def graph_of(shipped: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GraphOf:
    """Return the graph of a code location with one more asset, which has this metadata."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def build(metadata: str) -> Graph:
        (tmp_path / f"{MODULE}.py").write_text(
            "import dagster as dg\n"
            "@dg.asset(key=['marts', 'revenue'], group_name='marts', owners=['team:sales'],\n"
            f"    metadata={{{metadata}}}, description='Revenue by day.')\n"
            "def revenue(): ...\n"
            "defs = dg.Definitions(assets=[revenue])\n"
        )
        sys.modules.pop(MODULE, None)
        settings = with_keys(shipped, lineage=LineageBlock(definitions=MODULE))
        return Rooms(settings).of(LineageRoom).graph

    yield build
    sys.modules.pop(MODULE, None)


def edges_into(graph: Graph) -> list[str]:
    return [
        f"{edge.target.column} <- {edge.source} {edge.subtype}{' masked' if edge.masking else ''}"
        for edge in graph.into_table(("marts", "revenue"))
    ]


def test_an_asset_declares_from_which_columns_its_columns_are_made(graph_of: GraphOf) -> None:
    graph = graph_of(
        "'platform_assets/lineage': {"
        "'amount': ['star/fact_sales_order.units_sold aggregation',"
        "'star/fact_sales_order.unit_price aggregation'],"
        "'currency': 'star/dim_currency.currency_code identity',"
        "'who': 'star/dim_staff.email_address masked',"
        "'run': 'constant: id of the run',"
        "'*': ['star/fact_sales_order.currency_id join', 'star/fact_sales_order._change']}"
    )
    assert edges_into(graph) == [
        "amount <- star/fact_sales_order.units_sold AGGREGATION",
        "amount <- star/fact_sales_order.unit_price AGGREGATION",
        "currency <- star/dim_currency.currency_code IDENTITY",
        "who <- star/dim_staff.email_address TRANSFORMATION masked",
        "* <- star/fact_sales_order.currency_id JOIN",
        "* <- star/fact_sales_order._change FILTER",
    ]
    table = graph.tables["marts", "revenue"]
    assert (table.owners, table.group, table.description) == (("team:sales",), "marts", "Revenue by day.")
    run = table.column("run")
    assert run is not None
    assert run.constant == "id of the run"


def test_dagsters_own_metadata_is_read_too(graph_of: GraphOf) -> None:
    graph = graph_of(
        "'dagster/column_schema': dg.TableSchema([dg.TableColumn('day'), dg.TableColumn('amount')]),"
        "'dagster/column_lineage': dg.TableColumnLineage({'amount': [dg.TableColumnDep("
        "dg.AssetKey(['star', 'fact_sales_order']), 'units_sold')]})"
    )
    assert edges_into(graph) == ["amount <- star/fact_sales_order.units_sold TRANSFORMATION"]
    assert [column.name for column in graph.tables["marts", "revenue"].columns] == ["day", "amount"]


def test_a_table_that_declares_nothing_is_shown_as_unknown(graph_of: GraphOf) -> None:
    graph = graph_of("'dagster/column_schema': dg.TableSchema([dg.TableColumn('day')])")
    assert graph.tables["marts", "revenue"].unknown.startswith(
        "its asset declares no lineage; set the metadata"
    )
    assert ("marts", "revenue") not in graph_of("").tables


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("{'a': 'nonsense'}", "a: found 'nonsense'; expected a column such as star/dim_staff.location"),
        (
            "{'a': 'star/dim_staff.location sorted'}",
            "a: found sorted; expected one of identity, ",
        ),
        ("'text'", "found str; expected a block of columns"),
        ("{'a': 'star/dim_staff.lost'}", r"names star/dim_staff\.lost, which does not exist"),
    ],
)
def test_a_mistake_in_a_declaration_is_told(graph_of: GraphOf, declared: str, message: str) -> None:
    with pytest.raises(LineageError, match=message):
        graph_of(f"'platform_assets/lineage': {declared}")


def test_a_module_that_cannot_be_imported_is_told(shipped: Settings, tmp_path: Path) -> None:
    settings = with_keys(shipped, lineage=LineageBlock(definitions="no_such_module_here"))
    with pytest.raises(LineageError, match=r"no_such_module_here, set in lineage\.definitions, cannot"):
        _ = Rooms(settings).of(LineageRoom).graph


def test_the_shipped_code_location_is_not_imported_for_the_graph() -> None:
    assert not has_own_assets("platform_assets.definitions")
    assert has_own_assets("no_such_module_here")
