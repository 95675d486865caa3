"""Completion of names in the magics' queries, through IPython's own completer."""

from __future__ import annotations

import warnings

import pytest
from IPython.core.completer import provisionalcompleter

from platform_assets_tests.notebook.conftest import Notebook


def completions(notebook: Notebook, text: str) -> list[str]:
    """Return what the shell offers at the bar in a text."""
    cursor = text.index("|")
    with provisionalcompleter(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = notebook.shell.Completer.completions(text.replace("|", ""), cursor)
        return [one.text for one in found]


def test_tables_are_offered_where_a_table_stands(notebook: Notebook) -> None:
    offered = completions(notebook, "%%warehouse\nSELECT * FROM star.dim_st|")
    assert offered == ["star.dim_staff"]
    assert "star.fact_sales_order_current" in completions(notebook, "%warehouse FROM star.fact_sales|")
    assert "platform.loads" in completions(notebook, "rows = %warehouse SELECT 1 FROM plat|")


def test_columns_of_the_tables_in_the_query_are_offered(notebook: Notebook) -> None:
    cell = "%%warehouse --limit 3\nSELECT first_n|\nFROM star.dim_staff WHERE true"
    assert completions(notebook, cell) == ["first_name"]
    cell = "%%warehouse\nSELECT s.la|, d.x FROM star.dim_staff AS s JOIN star.dim_date d USING (x)"
    assert completions(notebook, cell) == ["s.last_name"]
    assert "last_name" not in completions(notebook, "%%warehouse\nSELECT la| FROM star.dim_date")
    assert completions(notebook, "%%warehouse\nSELECT locatio| FROM dim_staff") == ["location"]


def test_the_lake_has_its_own_names(notebook: Notebook) -> None:
    assert completions(notebook, "%%warehouse --lake\nFROM totesys.sta|") == ["totesys.staff"]
    cell = "%%warehouse --lake\nSELECT department_| FROM totesys.staff"
    assert completions(notebook, cell) == ["department_id"]


@pytest.mark.parametrize(
    "text",
    ["star.dim_st|", "%%warehouse\nSELECT 'star.dim_st|'", "%%stackql\nSELECT * FROM star.dim_st|"],
)
def test_nothing_is_offered_elsewhere(notebook: Notebook, text: str) -> None:
    assert "star.dim_staff" not in completions(notebook, text)


def test_a_warehouse_that_cannot_be_asked_offers_what_the_model_declares(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    from platform_assets.warehouse.duckdb import DuckDBWarehouse

    def busy(*arguments: object, **options: object) -> object:
        raise OSError("locked")

    monkeypatch.setattr(DuckDBWarehouse, "query", busy)
    assert completions(notebook, "%warehouse FROM star.dim_st|") == ["star.dim_staff"]


def test_unloading_takes_the_completion_away(notebook: Notebook) -> None:
    before = len(notebook.shell.Completer.custom_matchers)
    notebook.value("%unload_ext platform_assets.notebook")
    assert len(notebook.shell.Completer.custom_matchers) == before - 1
    notebook.value("%load_ext platform_assets.notebook")
    notebook.value("%reload_ext platform_assets.notebook")
    assert len(notebook.shell.Completer.custom_matchers) == before
